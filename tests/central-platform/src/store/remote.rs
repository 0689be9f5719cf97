//! What the platform tells its terminals and what they say of themselves: desired states,
//! commands, heartbeats, and the newest head of each terminal's audit chain. An audit chain that
//! became shorter or another one raises an alarm that stays.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{ROWS_MAX, Store, StoreError, standing};
use crate::database::{Database, Row, Value, stored};
use crate::messages::{CommandResult, Heartbeat, Settings};

/// Most commands of one answer.
const COMMANDS_MAX: i64 = 20;

/// The desired state of a terminal before it is signed.
pub(crate) struct Desired {
    pub(crate) version: u64,
    pub(crate) settings: Settings,
    pub(crate) issued_at: String,
}

/// A command before it is sent.
pub(crate) struct NewCommand<'a> {
    pub(crate) id: Uuid,
    pub(crate) terminal: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) expires_at: Timestamp,
    pub(crate) signed: &'a str,
}

/// A command as the page shows it.
#[derive(Debug, Serialize)]
pub(crate) struct OpenCommand {
    pub(crate) id: String,
    pub(crate) terminal: String,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) code: String,
    pub(crate) times_reported: u64,
}

/// Something about a terminal that a person must look into.
#[derive(Debug, Serialize)]
pub(crate) struct Alarm {
    pub(crate) code: String,
    pub(crate) sequence: u64,
    pub(crate) raised_at: String,
}

/// A terminal as the platform knows it.
#[derive(Debug, Serialize)]
pub(crate) struct Heard {
    pub(crate) terminal: String,
    pub(crate) keys: u64,
    pub(crate) received_at: Option<String>,
    pub(crate) heartbeat: Option<serde_json::Value>,
    pub(crate) audit_sequence: Option<u64>,
    pub(crate) alarms: Vec<Alarm>,
}

/// What is known of the signature on an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The terminal signed exactly this.
    Good,
    /// No key of the terminal is known, so that nothing can be said.
    Unknown,
    /// It is not the terminal's signature, or not over this.
    Bad,
}

impl Store {
    /// Notes a heartbeat; an audit chain that is not a continuation raises an alarm.
    pub(crate) fn note_heartbeat(
        &mut self,
        heartbeat: &Heartbeat,
        proof: Proof,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let document = serde_json::to_string(heartbeat)?;
        let at = now.to_string();
        self.database.transaction(|database| {
            database.execute(
                "INSERT INTO heartbeat (terminal, received_at, document) VALUES (?1, ?2, ?3)
                 ON CONFLICT (terminal) DO UPDATE
                 SET received_at = excluded.received_at, document = excluded.document",
                &[
                    Value::Text(&heartbeat.terminal),
                    Value::Text(&at),
                    Value::Text(&document),
                ],
            )?;
            let terminal = heartbeat.terminal.as_str();
            standing::note_terminal(database, terminal)?;
            let Some(anchor) = &heartbeat.audit else {
                return Ok(());
            };
            if proof == Proof::Bad {
                return raise(
                    database,
                    terminal,
                    "audit.anchor-forged",
                    anchor.sequence,
                    &at,
                );
            }
            let known = database.query_one(
                "SELECT sequence, head FROM anchor WHERE terminal = ?1",
                &[Value::Text(terminal)],
            )?;
            if let Some(known) = known {
                let (sequence, head) = (known.count(0)?, known.text(1)?);
                if anchor.sequence < sequence {
                    return raise(database, terminal, "audit.truncated", anchor.sequence, &at);
                }
                if anchor.sequence == sequence && anchor.head != head {
                    return raise(database, terminal, "audit.forked", sequence, &at);
                }
            }
            database.execute(
                "INSERT INTO anchor (terminal, sequence, head, anchored_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (terminal) DO UPDATE SET sequence = excluded.sequence,
                    head = excluded.head, anchored_at = excluded.anchored_at",
                &[
                    Value::Text(terminal),
                    stored(anchor.sequence),
                    Value::Text(&anchor.head),
                    Value::Text(&at),
                ],
            )?;
            Ok(())
        })
    }

    /// Every terminal that has a key or was heard of.
    pub(crate) fn terminals(&mut self) -> Result<Vec<Heard>, StoreError> {
        self.database.transaction(|database| {
            let names = database.query(
                "SELECT terminal FROM terminal_key UNION SELECT terminal FROM heartbeat
                 UNION SELECT terminal FROM alarm ORDER BY terminal LIMIT ?1",
                &[Value::Integer(ROWS_MAX)],
            )?;
            names
                .iter()
                .map(|name| heard(database, name.text(0)?))
                .collect()
        })
    }

    /// The desired state of a terminal; the first question makes the first one.
    pub(crate) fn desired_state(
        &mut self,
        terminal: &str,
        now: Timestamp,
    ) -> Result<Desired, StoreError> {
        let first = serde_json::to_string(&Settings::default())?;
        let at = now.to_string();
        self.database.transaction(|database| {
            if let Some(desired) = desired(database, terminal)? {
                return Ok(desired);
            }
            database.execute(
                "INSERT INTO desired_state (terminal, version, settings, issued_at)
                 VALUES (?1, 1, ?2, ?3) ON CONFLICT (terminal) DO NOTHING",
                &[Value::Text(terminal), Value::Text(&first), Value::Text(&at)],
            )?;
            desired(database, terminal)?.ok_or(StoreError::Key)
        })
    }

    /// Sets what a terminal shall be like; it becomes a newer version.
    pub(crate) fn set_desired_state(
        &mut self,
        terminal: &str,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Desired, StoreError> {
        let text = serde_json::to_string(settings)?;
        let at = now.to_string();
        self.database.transaction(|database| {
            database.execute(
                "INSERT INTO desired_state (terminal, version, settings, issued_at)
                 VALUES (?1, 1, ?2, ?3) ON CONFLICT (terminal) DO UPDATE
                 SET version = desired_state.version + 1, settings = excluded.settings,
                     issued_at = excluded.issued_at",
                &[Value::Text(terminal), Value::Text(&text), Value::Text(&at)],
            )?;
            desired(database, terminal)?.ok_or(StoreError::Key)
        })
    }

    /// Puts a command where its terminal finds it.
    pub(crate) fn add_command(&mut self, command: &NewCommand<'_>) -> Result<(), StoreError> {
        self.database.execute(
            "INSERT INTO command (id, terminal, kind, expires_at, expires_s, signed, state, code,
                detail, times_reported)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', '', '', 0)",
            &[
                Value::Text(&command.id.to_string()),
                Value::Text(command.terminal),
                Value::Text(command.kind),
                Value::Text(&command.expires_at.to_string()),
                Value::Integer(command.expires_at.as_second()),
                Value::Text(command.signed),
            ],
        )?;
        Ok(())
    }

    /// The signed commands that a terminal has not answered, oldest first.
    pub(crate) fn open_commands(
        &mut self,
        terminal: &str,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let rows = self.database.query(
            "SELECT signed FROM command WHERE terminal = ?1 AND state = 'open' AND expires_s > ?2
             ORDER BY position LIMIT ?3",
            &[
                Value::Text(terminal),
                Value::Integer(now.as_second()),
                Value::Integer(COMMANDS_MAX),
            ],
        )?;
        rows.iter().map(|row| Ok(row.text(0)?)).collect()
    }

    /// Notes what became of a command; the first report stands. False when this terminal was
    /// never given such a command.
    pub(crate) fn report_command(
        &mut self,
        terminal: Option<&str>,
        id: Uuid,
        result: &CommandResult,
    ) -> Result<bool, StoreError> {
        let id = id.to_string();
        self.database.transaction(|database| {
            let row = database.query_one(
                "SELECT terminal FROM command WHERE id = ?1",
                &[Value::Text(&id)],
            )?;
            let Some(row) = row else {
                return Ok(false);
            };
            let owner = row.text(0)?;
            if terminal.is_some_and(|terminal| terminal != owner) {
                return Ok(false);
            }
            database.execute(
                "UPDATE command SET state = ?2, code = ?3, detail = ?4
                 WHERE id = ?1 AND state = 'open'",
                &[
                    Value::Text(&id),
                    Value::Text(result.state.word()),
                    Value::Text(&result.code),
                    Value::Text(&result.detail),
                ],
            )?;
            database.execute(
                "UPDATE command SET times_reported = times_reported + 1 WHERE id = ?1",
                &[Value::Text(&id)],
            )?;
            Ok(true)
        })
    }

    /// The newest commands, for the page.
    pub(crate) fn commands(&mut self) -> Result<Vec<OpenCommand>, StoreError> {
        let rows = self.database.query(
            "SELECT id, terminal, kind, state, code, times_reported FROM command
             ORDER BY position DESC LIMIT ?1",
            &[Value::Integer(ROWS_MAX)],
        )?;
        rows.iter().map(open_command).collect()
    }

    /// The newest commands of one terminal.
    pub(crate) fn commands_of(&mut self, terminal: &str) -> Result<Vec<OpenCommand>, StoreError> {
        let rows = self.database.query(
            "SELECT id, terminal, kind, state, code, times_reported FROM command
             WHERE terminal = ?1 ORDER BY position DESC LIMIT ?2",
            &[Value::Text(terminal), Value::Integer(COMMANDS_MAX)],
        )?;
        rows.iter().map(open_command).collect()
    }

    /// What a person must look into at one terminal.
    pub(crate) fn alarms_of(&mut self, terminal: &str) -> Result<Vec<Alarm>, StoreError> {
        alarms(&mut self.database, terminal)
    }

    /// Notes that a part of a bundle was imported; false when another content came under the
    /// same number before.
    pub(crate) fn note_bundle(
        &mut self,
        id: Uuid,
        part: u32,
        terminal: &str,
        digest: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let id = id.to_string();
        let key = [Value::Text(&id), Value::Integer(part.into())];
        self.database.transaction(|database| {
            let known = database.query_one(
                "SELECT digest FROM bundle WHERE id = ?1 AND part = ?2",
                &key,
            )?;
            if let Some(known) = known {
                if known.text(0)? != digest {
                    return Ok(false);
                }
                database.execute(
                    "UPDATE bundle SET times_imported = times_imported + 1
                     WHERE id = ?1 AND part = ?2",
                    &key,
                )?;
                return Ok(true);
            }
            database.execute(
                "INSERT INTO bundle (id, part, terminal, digest, imported_at, times_imported)
                 VALUES (?1, ?2, ?3, ?4, ?5, 1)",
                &[
                    key[0],
                    key[1],
                    Value::Text(terminal),
                    Value::Text(digest),
                    Value::Text(&now.to_string()),
                ],
            )?;
            Ok(true)
        })
    }
}

fn open_command(row: &Row) -> Result<OpenCommand, StoreError> {
    Ok(OpenCommand {
        id: row.text(0)?,
        terminal: row.text(1)?,
        kind: row.text(2)?,
        state: row.text(3)?,
        code: row.text(4)?,
        times_reported: row.count(5)?,
    })
}

fn desired(database: &mut Database, terminal: &str) -> Result<Option<Desired>, StoreError> {
    let row = database.query_one(
        "SELECT version, settings, issued_at FROM desired_state WHERE terminal = ?1",
        &[Value::Text(terminal)],
    )?;
    row.map(|row| {
        Ok(Desired {
            version: row.count(0)?,
            settings: serde_json::from_str(&row.text(1)?)?,
            issued_at: row.text(2)?,
        })
    })
    .transpose()
}

fn heard(database: &mut Database, terminal: String) -> Result<Heard, StoreError> {
    let by = [Value::Text(&terminal)];
    let keys = database.query_one("SELECT COUNT(*) FROM terminal_key WHERE terminal = ?1", &by)?;
    let heartbeat = database.query_one(
        "SELECT received_at, document FROM heartbeat WHERE terminal = ?1",
        &by,
    )?;
    let anchor = database.query_one("SELECT sequence FROM anchor WHERE terminal = ?1", &by)?;
    let alarms = alarms(database, &terminal)?;
    let (received_at, document) = match heartbeat {
        Some(row) => (
            Some(row.text(0)?),
            Some(serde_json::from_str(&row.text(1)?)?),
        ),
        None => (None, None),
    };
    Ok(Heard {
        keys: keys.map_or(Ok(0), |row| row.count(0))?,
        received_at,
        heartbeat: document,
        audit_sequence: anchor.map(|row| row.count(0)).transpose()?,
        alarms,
        terminal,
    })
}

fn alarms(database: &mut Database, terminal: &str) -> Result<Vec<Alarm>, StoreError> {
    let rows = database.query(
        "SELECT code, sequence, raised_at FROM alarm WHERE terminal = ?1
         ORDER BY position LIMIT 1000",
        &[Value::Text(terminal)],
    )?;
    rows.iter()
        .map(|row| {
            Ok(Alarm {
                code: row.text(0)?,
                sequence: row.count(1)?,
                raised_at: row.text(2)?,
            })
        })
        .collect()
}

fn raise(
    database: &mut Database,
    terminal: &str,
    code: &str,
    sequence: u64,
    at: &str,
) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO alarm (terminal, code, sequence, raised_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (terminal, code, sequence) DO NOTHING",
        &[
            Value::Text(terminal),
            Value::Text(code),
            stored(sequence),
            Value::Text(at),
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Config;
    use crate::messages::CommandState;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        (directory, store)
    }

    fn heartbeat(sequence: u64, head: &str) -> Heartbeat {
        serde_json::from_value(json!({
            "terminal": "T1", "sent_at": "2026-11-22T01:00:00Z", "program_version": "0.1.0",
            "boot": "01930000-0000-7000-8000-000000000001", "uptime_s": 1, "clock_offset_s": 0,
            "queue": {"waiting": 0, "dead": 0, "oldest_enqueued_at": null, "upstreams": [],
                      "key_ids": []},
            "devices": [], "audit": {"sequence": sequence, "head": head, "signed": ""},
            "usage": {"visits": 0, "transactions": 0, "prints": 0}, "desired_version": 0,
            "catalogue_etag": "",
        }))
        .unwrap()
    }

    #[test]
    fn an_audit_chain_that_is_cut_or_forked_raises_an_alarm_that_stays() {
        let (_directory, mut store) = store();
        let note = |store: &mut Store, sequence, head, proof| {
            store
                .note_heartbeat(&heartbeat(sequence, head), proof, NOW)
                .unwrap();
            let terminal = store.terminals().unwrap().remove(0);
            let codes: Vec<String> = terminal.alarms.into_iter().map(|each| each.code).collect();
            (terminal.audit_sequence, codes.join(" "))
        };
        let quiet = |sequence| (Some(sequence), String::new());
        assert_eq!(note(&mut store, 5, "aa", Proof::Good), quiet(5));
        assert_eq!(note(&mut store, 5, "aa", Proof::Good), quiet(5));
        assert_eq!(note(&mut store, 9, "bb", Proof::Unknown), quiet(9));
        let cut = note(&mut store, 4, "aa", Proof::Good);
        assert_eq!(cut, (Some(9), "audit.truncated".to_owned()));
        let forked = note(&mut store, 9, "cc", Proof::Good);
        assert_eq!(forked.1, "audit.truncated audit.forked");
        let bad = note(&mut store, 99, "dd", Proof::Bad);
        assert_eq!(bad.0, Some(9));
        assert_eq!(bad.1, "audit.truncated audit.forked audit.anchor-forged");
        assert_eq!(note(&mut store, 10, "ee", Proof::Good).1, bad.1);
    }

    #[test]
    fn a_desired_state_only_becomes_newer_and_a_rotation_makes_it_so() {
        let (_directory, mut store) = store();
        assert_eq!(store.desired_state("T1", NOW).unwrap().version, 1);
        let settings = Settings {
            suspended_items: vec!["a".to_owned()],
            ..Settings::default()
        };
        store.set_desired_state("T1", &settings, NOW).unwrap();
        let desired = store.desired_state("T1", NOW).unwrap();
        assert_eq!(
            (desired.version, desired.settings.suspended_items.len()),
            (2, 1)
        );
        store.rotate_sealing_key(NOW).unwrap();
        assert_eq!(store.desired_state("T1", NOW).unwrap().version, 3);
    }

    #[test]
    fn a_command_is_given_until_it_is_answered_and_its_first_answer_stands() {
        let (_directory, mut store) = store();
        let id = Uuid::from_u128(1);
        let command = NewCommand {
            id,
            terminal: "T1",
            kind: "restart",
            expires_at: NOW + jiff::SignedDuration::from_secs(60),
            signed: "k.b.s",
        };
        store.add_command(&command).unwrap();
        for _ in 0..2 {
            assert_eq!(store.open_commands("T1", NOW).unwrap(), ["k.b.s"]);
        }
        assert!(store.open_commands("T2", NOW).unwrap().is_empty());
        let late = NOW + jiff::SignedDuration::from_secs(60);
        assert!(store.open_commands("T1", late).unwrap().is_empty());
        let mut result = CommandResult {
            state: CommandState::Done,
            code: String::new(),
            detail: String::new(),
        };
        assert!(!store.report_command(Some("T2"), id, &result).unwrap());
        assert!(store.report_command(Some("T1"), id, &result).unwrap());
        result.state = CommandState::Failed;
        assert!(store.report_command(Some("T1"), id, &result).unwrap());
        let commands = store.commands().unwrap();
        assert_eq!(
            (commands[0].state.as_str(), commands[0].times_reported),
            ("done", 2)
        );
        assert!(store.open_commands("T1", NOW).unwrap().is_empty());
    }

    #[test]
    fn a_part_of_a_bundle_has_one_content() {
        let (_directory, mut store) = store();
        let id = Uuid::from_u128(1);
        assert!(store.note_bundle(id, 1, "T1", "aa", NOW).unwrap());
        assert!(store.note_bundle(id, 1, "T1", "aa", NOW).unwrap());
        assert!(!store.note_bundle(id, 1, "T1", "bb", NOW).unwrap());
        assert!(store.note_bundle(id, 2, "T1", "bb", NOW).unwrap());
    }
}
