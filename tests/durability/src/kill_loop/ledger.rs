//! What staff were told is recorded, kept outside the store: rows that are written once, values
//! that only rise, and how far each ticket has come. Compared with the rows themselves, after
//! every kill what is new and in the end everything.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::case::record_id;
use super::staff::{Row, Value, daily, record};

/// Tickets of before an opening that may have been opened again by it: one a device, and a mended
/// one is not far back.
const NEWEST: i64 = 100;

/// How far a ticket had come when it was last spoken of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    revision: u32,
    state: String,
    number: String,
}

/// What is known of a value that only rises.
#[derive(Debug, Clone, Copy, Default)]
struct Risen {
    acknowledged: u64,
    begun: u64,
}

/// All that was heard of what staff did.
#[derive(Debug)]
pub(super) struct Ledger {
    seed: u64,
    /// Whether each row was acknowledged.
    rows: BTreeMap<(Row, u64), bool>,
    values: BTreeMap<Value, Risen>,
    tickets: BTreeMap<Uuid, Said>,
    /// Of this life only.
    new_rows: BTreeSet<(Row, u64)>,
    new_tickets: BTreeSet<Uuid>,
    /// The act that the victim did not live to speak of.
    under_way: Option<Deed>,
    acknowledged: u64,
}

/// What is done to tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Opening,
    Acting(Uuid),
}

impl Ledger {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rows: BTreeMap::new(),
            values: BTreeMap::new(),
            tickets: BTreeMap::new(),
            new_rows: BTreeSet::new(),
            new_tickets: BTreeSet::new(),
            under_way: None,
            acknowledged: 0,
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Takes one line down, if it is about what staff do.
    pub(super) fn hear(&mut self, word: &str, rest: &[&str]) -> Option<Result<(), String>> {
        let number = || rest.get(1).and_then(|text| text.parse::<u64>().ok());
        let row = || {
            Row::ALL
                .into_iter()
                .find(|row| rest.first() == Some(&row.word()))
        };
        let value = || {
            Value::ALL
                .into_iter()
                .find(|value| rest.first() == Some(&value.word()))
        };
        let is_done = match word {
            "noting" | "noted" => row()
                .zip(number())
                .map(|row| self.note(row, word == "noted")),
            "raising" | "raised" => value()
                .zip(number())
                .map(|(value, number)| self.raise(value, number, word == "raised")),
            "opening" => {
                self.under_way = Some(Deed::Opening);
                Some(())
            }
            "acting" => super::staff::ticket_id(rest.first().unwrap_or(&""))
                .map(|id| self.under_way = Some(Deed::Acting(id))),
            "left" => {
                self.under_way = None;
                Some(())
            }
            "ticket" => self.hear_ticket(rest),
            _ => return None,
        };
        Some(is_done.ok_or_else(|| format!("{word} {}", rest.join(" "))))
    }

    fn note(&mut self, row: (Row, u64), is_acknowledged: bool) {
        self.acknowledged += u64::from(is_acknowledged);
        self.rows.insert(row, is_acknowledged);
        self.new_rows.insert(row);
    }

    fn raise(&mut self, value: Value, number: u64, is_acknowledged: bool) {
        self.acknowledged += u64::from(is_acknowledged);
        let risen = self.values.entry(value).or_default();
        if is_acknowledged {
            risen.acknowledged = number;
        } else {
            risen.begun = number;
        }
    }

    fn hear_ticket(&mut self, rest: &[&str]) -> Option<()> {
        let [id, revision, state, number] = rest else {
            return None;
        };
        let id = super::staff::ticket_id(id)?;
        let said = Said {
            revision: revision.parse().ok()?,
            state: super::staff::is_state(state).then(|| (*state).to_owned())?,
            number: (*number).to_owned(),
        };
        self.under_way = None;
        self.acknowledged += 1;
        self.new_tickets.insert(id);
        self.tickets.insert(id, said);
        Some(())
    }

    /// Compares what the last life did with what it left.
    pub(super) fn compare_new(&mut self, store: &Connection) -> rusqlite::Result<Vec<String>> {
        let mut findings = Vec::new();
        for row in std::mem::take(&mut self.new_rows) {
            self.compare_row(store, row, &mut findings)?;
        }
        self.compare_values(store, &mut findings)?;
        let acted = match self.under_way.take() {
            Some(Deed::Acting(id)) => {
                self.new_tickets.insert(id);
                Some(id)
            }
            Some(Deed::Opening) => {
                self.adopt_newest(store)?;
                None
            }
            None => None,
        };
        for id in std::mem::take(&mut self.new_tickets) {
            self.compare_ticket(store, id, acted == Some(id), &mut findings)?;
        }
        let count: u64 = count(store, "SELECT count(*) FROM ticket")?;
        if count != self.tickets.len() as u64 {
            findings.push(format!(
                "there are {count} tickets, {} were spoken of",
                self.tickets.len()
            ));
        }
        Ok(findings)
    }

    /// Compares everything that was ever heard with what is there.
    pub(super) fn compare_all(&mut self, store: &Connection) -> rusqlite::Result<Vec<String>> {
        self.new_rows = self.rows.keys().copied().collect();
        self.new_tickets = self.tickets.keys().copied().collect();
        self.compare_new(store)
    }

    /// Compares with the platform: it has the newest revision of every ticket, and no other.
    pub(super) fn compare_platform(&self, platform: &Connection) -> rusqlite::Result<Vec<String>> {
        let mut findings = Vec::new();
        let mut there = BTreeMap::new();
        let mut statement = platform.prepare("SELECT id, revision FROM ticket")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            there.insert(row.get::<_, String>(0)?, row.get::<_, u32>(1)?);
        }
        for (id, said) in &self.tickets {
            let arrived = there.remove(&id.to_string());
            if arrived != Some(said.revision) {
                findings.push(format!(
                    "ticket {} has revision {} and the platform {arrived:?}",
                    said.number, said.revision
                ));
            }
        }
        if !there.is_empty() {
            findings.push(format!(
                "the platform has {} tickets of nobody",
                there.len()
            ));
        }
        Ok(findings)
    }

    fn compare_row(
        &mut self,
        store: &Connection,
        (row, number): (Row, u64),
        findings: &mut Vec<String>,
    ) -> rusqlite::Result<()> {
        let id = record_id(self.seed, number);
        let (sql, expected) = match row {
            Row::Test => {
                let record = record(self.seed, number);
                let took = record.took_ms.to_string();
                (
                    "SELECT device, took_ms FROM test_record WHERE id = ?1",
                    (record.device, took),
                )
            }
            Row::Daily => {
                let check = daily(self.seed, number);
                (
                    "SELECT checked_by, note FROM daily_check WHERE id = ?1",
                    (check.by, check.note),
                )
            }
            Row::Grant => (
                "SELECT 'used', 'once' FROM used_grant WHERE id = ?1",
                ("used".to_owned(), "once".to_owned()),
            ),
        };
        let mut statement = store.prepare_cached(sql)?;
        let found = statement
            .query_row([id.as_bytes()], |found| {
                Ok((found.get::<_, String>(0)?, text(found, 1)?))
            })
            .optional()?;
        match found {
            // What was under way may be there; then it is there for good.
            Some(found) if found == expected => {
                self.rows.insert((row, number), true);
            }
            Some(_) => findings.push(format!("{row} {number} has other content")),
            None if self.rows.get(&(row, number)) == Some(&true) => {
                findings.push(format!("{row} {number} is lost"));
            }
            None => {}
        }
        Ok(())
    }

    fn compare_values(
        &mut self,
        store: &Connection,
        findings: &mut Vec<String>,
    ) -> rusqlite::Result<()> {
        for (value, risen) in &mut self.values {
            let sql = match value {
                Value::Guard => "SELECT counter FROM unlock_guard",
                Value::Calibration => {
                    "SELECT CAST(json AS INTEGER) FROM calibration WHERE what = 'touch'"
                }
                Value::Filling => "SELECT amount FROM replenishment WHERE device = 'printer-0'",
            };
            let found = count(store, sql)?;
            if found != risen.acknowledged && found != risen.begun {
                findings.push(format!(
                    "{value} is {found}, acknowledged was {} and begun {}: it is lost",
                    risen.acknowledged, risen.begun
                ));
            }
            risen.acknowledged = found;
            risen.begun = found;
        }
        Ok(())
    }

    /// A ticket was being opened: it is there or not, or another one was counted up.
    fn adopt_newest(&mut self, store: &Connection) -> rusqlite::Result<()> {
        let newest = store
            .prepare_cached(
                "SELECT id, revision, state, number FROM ticket ORDER BY sequence DESC LIMIT 1",
            )?
            .query_row([], read_ticket)
            .optional()?;
        if let Some((id, said)) = newest {
            self.tickets.entry(id).or_insert(said);
        }
        // A fault that was seen again may have changed its open ticket.
        let mut statement = store.prepare_cached(
            "SELECT id, revision, state, number FROM ticket
             WHERE state IN ('open', 'acknowledged') OR sequence > ?1",
        )?;
        let newest: i64 =
            store.query_row("SELECT coalesce(max(sequence), 0) FROM ticket", [], |row| {
                row.get(0)
            })?;
        let mut rows = statement.query([newest - NEWEST])?;
        while let Some(row) = rows.next()? {
            let (id, found) = read_ticket(row)?;
            if let Some(said) = self.tickets.get_mut(&id)
                && found.revision == said.revision + 1
            {
                *said = found;
            }
        }
        Ok(())
    }

    fn compare_ticket(
        &mut self,
        store: &Connection,
        id: Uuid,
        was_acted_on: bool,
        findings: &mut Vec<String>,
    ) -> rusqlite::Result<()> {
        let found = store
            .prepare_cached("SELECT id, revision, state, number FROM ticket WHERE id = ?1")?
            .query_row([id.as_bytes()], read_ticket)
            .optional()?;
        let Some(said) = self.tickets.get_mut(&id) else {
            findings.push(format!("ticket {id} was acted on and never opened"));
            return Ok(());
        };
        match found {
            Some((_, found)) if found == *said => {}
            Some((_, found))
                if was_acted_on
                    && found.revision == said.revision + 1
                    && found.number == said.number =>
            {
                *said = found;
            }
            Some((_, found)) => findings.push(format!(
                "ticket {} has revision {} ({}), told was {} ({}): an act is lost",
                said.number, found.revision, found.state, said.revision, said.state
            )),
            None => findings.push(format!("ticket {} is lost", said.number)),
        }
        Ok(())
    }
}

fn read_ticket(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Uuid, Said)> {
    Ok((
        Uuid::from_bytes(row.get(0)?),
        Said {
            revision: row.get(1)?,
            state: row.get(2)?,
            number: row.get(3)?,
        },
    ))
}

/// A column as text, whether it is text or a number.
fn text(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<String> {
    let value: rusqlite::types::Value = row.get(index)?;
    Ok(match value {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Null
        | rusqlite::types::Value::Real(_)
        | rusqlite::types::Value::Blob(_) => String::new(),
    })
}

/// A number of the store; 0 where there is no row.
fn count(store: &Connection, sql: &str) -> rusqlite::Result<u64> {
    let found: Option<i64> = store
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(u64::try_from(found.unwrap_or(0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Connection {
        let store = Connection::open_in_memory().unwrap();
        store
            .execute_batch(
                "CREATE TABLE test_record (id, device, took_ms);
                 CREATE TABLE daily_check (id, checked_by, note);
                 CREATE TABLE used_grant (id);
                 CREATE TABLE unlock_guard (counter);
                 CREATE TABLE calibration (what, json);
                 CREATE TABLE replenishment (device, amount);
                 CREATE TABLE ticket (sequence, id, revision, state, number);",
            )
            .unwrap();
        store
    }

    fn heard(ledger: &mut Ledger, line: &str) {
        let mut words = line.split(' ');
        let word = words.next().unwrap();
        let rest: Vec<&str> = words.collect();
        ledger.hear(word, &rest).unwrap().unwrap();
    }

    #[test]
    fn what_was_noted_and_is_not_there_is_a_finding_and_what_was_begun_is_not() {
        let (store, mut ledger) = (store(), Ledger::new(1));
        heard(&mut ledger, "noting test 7");
        assert!(ledger.compare_new(&store).unwrap().is_empty());
        heard(&mut ledger, "noted test 7");
        assert_eq!(ledger.compare_new(&store).unwrap(), ["test 7 is lost"]);
        heard(&mut ledger, "noted grant 7");
        store
            .execute(
                "INSERT INTO used_grant VALUES (?1)",
                [record_id(1, 7).as_bytes()],
            )
            .unwrap();
        assert!(ledger.compare_new(&store).unwrap().is_empty());
    }

    #[test]
    fn a_value_that_runs_back_is_a_finding() {
        let (store, mut ledger) = (store(), Ledger::new(1));
        store
            .execute("INSERT INTO unlock_guard VALUES (8)", [])
            .unwrap();
        heard(&mut ledger, "raising guard 8");
        heard(&mut ledger, "raised guard 8");
        heard(&mut ledger, "raising guard 9");
        assert!(ledger.compare_new(&store).unwrap().is_empty());
        heard(&mut ledger, "raising guard 10");
        heard(&mut ledger, "raised guard 10");
        let findings = ledger.compare_new(&store).unwrap();
        assert!(findings[0].starts_with("guard is 8"), "{findings:?}");
    }

    #[test]
    fn a_ticket_stands_as_it_was_told_or_one_act_further() {
        let (store, mut ledger) = (store(), Ledger::new(1));
        let id = Uuid::from_u128(9);
        store
            .execute(
                "INSERT INTO ticket VALUES (1, ?1, 2, 'acknowledged', 'T001-0001')",
                [id.as_bytes()],
            )
            .unwrap();
        heard(&mut ledger, &format!("ticket {id} 1 open T001-0001"));
        let findings = ledger.compare_new(&store).unwrap();
        assert!(findings[0].ends_with("an act is lost"), "{findings:?}");
        heard(&mut ledger, &format!("ticket {id} 1 open T001-0001"));
        heard(&mut ledger, &format!("acting {id}"));
        assert!(ledger.compare_new(&store).unwrap().is_empty());
        heard(&mut ledger, &format!("ticket {id} 3 closed T001-0001"));
        assert_eq!(ledger.compare_new(&store).unwrap().len(), 1);
        assert!(ledger.hear("ticket", &["x"]).unwrap().is_err());
        assert!(ledger.hear("begun", &["1"]).is_none());
    }
}
