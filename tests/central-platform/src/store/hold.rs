//! What became of releases at the terminals, and which ones are held. A release that too many
//! terminals took back is held by itself, once; what an administrator says afterwards stands.
//! Every change makes each desired state newer, so that every terminal hears of it.

use jiff::Timestamp;
use serde::Serialize;

use super::{Store, StoreError, notice};
use crate::config::{HoldRule, Webhook};
use crate::database::{Database, Value};
use crate::messages::Heartbeat;
use crate::webhooks::of_held_release;

/// Most releases that are held at once, as the contract says, and most that are shown.
const RELEASES_MAX: i64 = 64;
/// State of an updater whose release is not marked good yet.
const TRIAL: &str = "trial";
/// Why a release was held by itself.
const ROLLED_BACK: &str = "update.rolled-back";
/// Why a release was held or let go by an administrator.
const ORDERED: &str = "update.ordered";

/// A release as an administrator sees it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ReleaseOutcome {
    pub(crate) version: String,
    /// Terminals that marked it good.
    pub(crate) good: u64,
    /// Terminals that took it back.
    pub(crate) taken_back: u64,
    pub(crate) is_held: bool,
    /// Why it is, or was, held; empty when it never was.
    pub(crate) reason: String,
}

impl Store {
    /// Notes what a heartbeat says of releases, and holds one that the rule is against.
    pub(crate) fn note_release(
        &mut self,
        heartbeat: &Heartbeat,
        rule: HoldRule,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(update) = &heartbeat.update else {
            return Ok(());
        };
        let terminal = heartbeat.terminal.as_str();
        let at = now.to_string();
        let Self {
            database, hooks, ..
        } = self;
        database.transaction(|database| {
            // Whatever else the updater is about, what runs outside of a trial was marked good.
            if update.state != TRIAL && !update.version.is_empty() {
                note(database, &update.version, terminal, None, &at)?;
            }
            let back = update.rolled_back.as_ref();
            // Taken back once and good at a later try: the try that runs now is what counts.
            let back =
                back.filter(|back| !back.version.is_empty() && back.version != update.version);
            let Some(back) = back else {
                return Ok(());
            };
            let is_news = note(database, &back.version, terminal, Some(&back.code), &at)?;
            if !is_news {
                return Ok(());
            }
            count_rollback(database, terminal, &back.code)?;
            let (good, taken_back) = counted(database, &back.version)?;
            if !is_too_many(rule, good, taken_back) {
                return Ok(());
            }
            let held = database.execute(
                "INSERT INTO held_release (version, is_held, reason, changed_at)
                 SELECT ?1, 1, ?2, ?3
                 WHERE (SELECT COUNT(*) FROM held_release WHERE is_held = 1) < ?4
                 ON CONFLICT (version) DO NOTHING",
                &[
                    Value::Text(&back.version),
                    Value::Text(ROLLED_BACK),
                    Value::Text(&at),
                    Value::Integer(RELEASES_MAX),
                ],
            )?;
            if held > 0 {
                tell_everybody(database, &at)?;
                tell_staff(database, hooks, &back.version, ROLLED_BACK, now)?;
            }
            Ok(())
        })
    }

    /// Holds a release or lets it go, for an administrator.
    pub(crate) fn set_hold(
        &mut self,
        version: &str,
        is_held: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let at = now.to_string();
        let Self {
            database, hooks, ..
        } = self;
        database.transaction(|database| {
            database.execute(
                "INSERT INTO held_release (version, is_held, reason, changed_at)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (version) DO UPDATE
                 SET is_held = excluded.is_held, reason = excluded.reason,
                     changed_at = excluded.changed_at",
                &[
                    Value::Text(version),
                    Value::Integer(is_held.into()),
                    Value::Text(ORDERED),
                    Value::Text(&at),
                ],
            )?;
            if is_held {
                tell_staff(database, hooks, version, ORDERED, now)?;
            }
            tell_everybody(database, &at)
        })
    }

    /// The releases that are held, newest first.
    pub(crate) fn held_releases(&mut self) -> Result<Vec<String>, StoreError> {
        let rows = self.database.query(
            "SELECT version FROM held_release WHERE is_held = 1
             ORDER BY changed_at DESC, version LIMIT ?1",
            &[Value::Integer(RELEASES_MAX)],
        )?;
        rows.iter().map(|row| Ok(row.text(0)?)).collect()
    }

    /// Every release that was tried or held, by name.
    pub(crate) fn releases(&mut self) -> Result<Vec<ReleaseOutcome>, StoreError> {
        self.database.transaction(|database| {
            let rows = database.query(
                "SELECT version FROM release_outcome UNION SELECT version FROM held_release
                 ORDER BY version DESC LIMIT ?1",
                &[Value::Integer(RELEASES_MAX)],
            )?;
            rows.iter()
                .map(|row| outcome(database, row.text(0)?))
                .collect()
        })
    }
}

fn outcome(database: &mut Database, version: String) -> Result<ReleaseOutcome, StoreError> {
    let (good, taken_back) = counted(database, &version)?;
    let held = database.query_one(
        "SELECT is_held, reason FROM held_release WHERE version = ?1",
        &[Value::Text(&version)],
    )?;
    let (is_held, reason) = match held {
        Some(row) => (row.integer(0)? == 1, row.text(1)?),
        None => (false, String::new()),
    };
    Ok(ReleaseOutcome {
        version,
        good,
        taken_back,
        is_held,
        reason,
    })
}

/// Notes what became of a release at a terminal; false when that was known, so that the same
/// heartbeat a minute later writes nothing.
fn note(
    database: &mut Database,
    version: &str,
    terminal: &str,
    taken_back: Option<&str>,
    at: &str,
) -> Result<bool, StoreError> {
    let written = database.execute(
        "INSERT INTO release_outcome (version, terminal, is_taken_back, code, reported_at)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (version, terminal) DO UPDATE
         SET is_taken_back = excluded.is_taken_back, code = excluded.code,
             reported_at = excluded.reported_at
         WHERE release_outcome.is_taken_back <> excluded.is_taken_back
            OR release_outcome.code <> excluded.code",
        &[
            Value::Text(version),
            Value::Text(terminal),
            Value::Integer(taken_back.is_some().into()),
            Value::Text(taken_back.unwrap_or("")),
            Value::Text(at),
        ],
    )?;
    Ok(written > 0)
}

/// Tells those who look after all places that a release is held.
fn tell_staff(
    database: &mut Database,
    hooks: &[Webhook],
    version: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (_, taken_back) = counted(database, version)?;
    let body = of_held_release(version, reason, taken_back);
    for hook in hooks.iter().filter(|hook| hook.regions.is_empty()) {
        notice::add(database, hook, &body, now)?;
    }
    Ok(())
}

/// Counts that a terminal took a release back; this never goes down, whatever becomes of the release.
fn count_rollback(database: &mut Database, terminal: &str, code: &str) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO rollback_count (terminal, code, times) VALUES (?1, ?2, 1)
         ON CONFLICT (terminal, code) DO UPDATE SET times = rollback_count.times + 1",
        &[Value::Text(terminal), Value::Text(code)],
    )?;
    Ok(())
}

/// Terminals that marked a release good, and those that took it back.
fn counted(database: &mut Database, version: &str) -> Result<(u64, u64), StoreError> {
    let mut count = |is_taken_back: bool| -> Result<u64, StoreError> {
        let row = database.query_one(
            "SELECT COUNT(*) FROM release_outcome WHERE version = ?1 AND is_taken_back = ?2",
            &[Value::Text(version), Value::Integer(is_taken_back.into())],
        )?;
        Ok(row.map_or(Ok(0), |row| row.count(0))?)
    };
    Ok((count(false)?, count(true)?))
}

fn is_too_many(rule: HoldRule, good: u64, taken_back: u64) -> bool {
    let tried = good.saturating_add(taken_back);
    rule.terminals > 0
        && taken_back >= u64::from(rule.terminals)
        && taken_back.saturating_mul(100) >= tried.saturating_mul(rule.percent.into())
}

fn tell_everybody(database: &mut Database, at: &str) -> Result<(), StoreError> {
    database.execute(
        "UPDATE desired_state SET version = version + 1, issued_at = ?1",
        &[Value::Text(at)],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::Config;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const RULE: HoldRule = HoldRule {
        terminals: 2,
        percent: 50,
    };

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        (directory, store)
    }

    fn says(store: &mut Store, terminal: &str, update: &Json) {
        let heartbeat: Heartbeat = serde_json::from_value(json!({
            "terminal": terminal, "sent_at": "2026-11-22T01:00:00Z", "program_version": "1.4.1",
            "boot": "01930000-0000-7000-8000-000000000001", "uptime_s": 1, "clock_offset_s": 0,
            "queue": {"waiting": 0, "dead": 0, "oldest_enqueued_at": null, "upstreams": [],
                      "key_ids": []},
            "devices": [], "audit": null,
            "usage": {"visits": 0, "transactions": 0, "prints": 0}, "desired_version": 0,
            "catalogue_etag": "", "update": update,
        }))
        .unwrap();
        store.note_release(&heartbeat, RULE, NOW).unwrap();
    }

    fn good(version: &str) -> Json {
        json!({"version": version, "slot": "b", "state": "current"})
    }

    fn taken_back() -> Json {
        json!({"version": "1.4.1", "slot": "a", "state": "rolled-back", "rolled_back":
            {"version": "1.4.2", "code": "health.device", "reason": "printer"}})
    }

    #[test]
    fn a_release_that_enough_terminals_took_back_is_held_and_every_terminal_hears_of_it() {
        let (_directory, mut store) = store();
        assert_eq!(store.desired_state("T9", NOW).unwrap().version, 1);
        says(&mut store, "T1", &taken_back());
        // One terminal is one terminal, however often it says so.
        says(&mut store, "T1", &taken_back());
        assert!(store.held_releases().unwrap().is_empty());
        says(&mut store, "T2", &taken_back());
        assert_eq!(store.held_releases().unwrap(), ["1.4.2"]);
        assert_eq!(store.desired_state("T9", NOW).unwrap().version, 2);
        says(&mut store, "T3", &taken_back());
        assert_eq!(store.desired_state("T9", NOW).unwrap().version, 2);
        let releases = store.releases().unwrap();
        assert_eq!(
            (releases[0].taken_back, releases[0].reason.as_str()),
            (3, ROLLED_BACK)
        );
    }

    #[test]
    fn a_release_that_most_marked_good_goes_on() {
        let (_directory, mut store) = store();
        for terminal in ["T3", "T4", "T5"] {
            says(&mut store, terminal, &good("1.4.2"));
        }
        says(&mut store, "T1", &taken_back());
        says(&mut store, "T2", &taken_back());
        assert!(store.held_releases().unwrap().is_empty());
        // A terminal that had marked it good and takes it back changes sides.
        says(&mut store, "T3", &taken_back());
        assert_eq!(store.held_releases().unwrap(), ["1.4.2"]);
        assert_eq!(counted(&mut store.database, "1.4.2").unwrap(), (2, 3));
    }

    #[test]
    fn what_an_administrator_let_go_is_never_held_again_by_itself() {
        let (_directory, mut store) = store();
        says(&mut store, "T1", &taken_back());
        says(&mut store, "T2", &taken_back());
        store.set_hold("1.4.2", false, NOW).unwrap();
        says(&mut store, "T3", &taken_back());
        assert!(store.held_releases().unwrap().is_empty());
        store.set_hold("1.4.2", true, NOW).unwrap();
        assert_eq!(store.held_releases().unwrap(), ["1.4.2"]);
        assert!(store.releases().unwrap()[0].is_held);
    }

    #[test]
    fn a_release_on_trial_is_not_good_yet_and_an_unknown_state_drops_nothing() {
        let (_directory, mut store) = store();
        let trial = json!({"version": "1.4.2", "slot": "b", "state": "trial"});
        says(&mut store, "T1", &trial);
        assert!(store.releases().unwrap().is_empty());
        let unknown = json!({"version": "1.4.2", "slot": "b", "state": "of-tomorrow"});
        says(&mut store, "T1", &unknown);
        assert_eq!(store.releases().unwrap()[0].good, 1);
    }

    #[test]
    fn a_rule_of_no_terminals_never_holds() {
        let never = HoldRule {
            terminals: 0,
            percent: 0,
        };
        assert!(!is_too_many(never, 0, 1000));
        assert!(is_too_many(RULE, 2, 2));
        assert!(!is_too_many(RULE, 3, 2));
        assert!(!is_too_many(RULE, 0, 1));
    }
}
