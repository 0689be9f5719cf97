//! What the victim said it had done, and what must therefore be in the store after each kill, and
//! at the platform and in the store in the end. Reads both databases itself, so that nobody counts
//! for them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;

use jiff::Timestamp;
use kiosk_sealing::audit;
use offline_cache::{Cache, Options, State};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use uuid::Uuid;

use super::autopsy::Remains;
use super::case::{Case, number_of, subject};
use super::ledger::Ledger;
use super::{CLOCK_S, TERMINAL};

/// Findings that are told; one is enough to fail.
const FINDINGS_MAX: usize = 20;
/// Audit entries read at a time, and pages of them at most.
const PAGE: u32 = 10_000;
const PAGES_MAX: u32 = 10_000;

/// What is known of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Asked for; the victim did not live to say more.
    InDoubt,
    /// Acknowledged, or found in the store later.
    Enqueued,
    /// Never made durable, and never said to be.
    Absent,
}

/// All that was heard.
#[derive(Debug)]
pub(super) struct Oracle {
    seed: u64,
    fates: BTreeMap<u64, Fate>,
    receipts: BTreeMap<u64, String>,
    /// What the last life began, whatever came of it.
    begun: BTreeSet<u64>,
    ledger: Ledger,
    acknowledged: u64,
    before_commit: u32,
    after_commit: u32,
}

/// The end of the loop.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) findings: Vec<String>,
    pub(super) arrived: u64,
    pub(super) arrived_again: u64,
}

impl Compared {
    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// One row of the platform.
struct Arrived {
    case_number: String,
    payload: Value,
    reference: String,
    times_received: u64,
}

impl Oracle {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            fates: BTreeMap::new(),
            receipts: BTreeMap::new(),
            begun: BTreeSet::new(),
            ledger: Ledger::new(seed),
            acknowledged: 0,
            before_commit: 0,
            after_commit: 0,
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn settled(&self) -> u64 {
        self.receipts.len() as u64
    }

    /// What staff were told is recorded.
    pub(super) fn recorded(&self) -> u64 {
        self.ledger.acknowledged()
    }

    /// How many kills came before the commit they hit, and how many after it.
    pub(super) fn doubts_resolved(&self) -> (u32, u32) {
        (self.before_commit, self.after_commit)
    }

    /// Numbers the next victim is asked about.
    pub(super) fn in_doubt(&self) -> Vec<u64> {
        let in_doubt = |(number, fate): (&u64, &Fate)| (*fate == Fate::InDoubt).then_some(*number);
        self.fates.iter().filter_map(in_doubt).collect()
    }

    /// Takes one line down; says what is wrong with it.
    pub(super) fn hear(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let word = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let number = || rest.first().and_then(|text| text.parse::<u64>().ok());
        match (word, number()) {
            ("begun", Some(number)) => {
                self.begun.insert(number);
                self.fates.insert(number, Fate::InDoubt);
            }
            ("enqueued", Some(number)) => {
                self.acknowledged += 1;
                self.fates.insert(number, Fate::Enqueued);
            }
            ("there", Some(number)) => {
                self.after_commit += 1;
                self.fates.insert(number, Fate::Enqueued);
            }
            ("absent", Some(number)) => {
                self.before_commit += 1;
                self.fates.insert(number, Fate::Absent);
            }
            ("settled", _) => return self.hear_receipt(&rest),
            _ => {
                let heard = self.ledger.hear(word, &rest);
                return heard.unwrap_or_else(|| Err(line.to_owned()));
            }
        }
        Ok(())
    }

    fn hear_receipt(&mut self, rest: &[&str]) -> Result<(), String> {
        let [id, reference] = rest else {
            return Err("a receipt without a reference".to_owned());
        };
        let number = id
            .parse()
            .ok()
            .and_then(|id| number_of(self.seed, id))
            .ok_or_else(|| format!("a receipt for {id}, which was never begun"))?;
        match self.receipts.insert(number, (*reference).to_owned()) {
            Some(_) => Err(format!("{number} was settled twice")),
            None => Ok(()),
        }
    }

    /// Compares what the last life did with what it left: all that was acknowledged is there, in
    /// the outbox or among the arrivals that have not yet taken their place in it, and in one of
    /// them only. Returns how many were among the arrivals.
    pub(super) fn compare_remains(
        &mut self,
        remains: Option<&Remains>,
        compared: &mut Compared,
    ) -> anyhow::Result<u64> {
        let begun = std::mem::take(&mut self.begun);
        let Some(remains) = remains else {
            if self.acknowledged + self.ledger.acknowledged() > 0 {
                compared.find("the store is lost".to_owned());
            }
            return Ok(0);
        };
        let store = &remains.connection;
        let mut statement = store.prepare(
            "SELECT (SELECT count(*) FROM outbox WHERE id = ?1),
                 (SELECT count(*) FROM arrival WHERE id = ?1)",
        )?;
        for number in begun {
            let id = Case::new(self.seed, number).id;
            let (placed, arrived): (u32, u32) =
                statement.query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let is_acknowledged = self.fates.get(&number) == Some(&Fate::Enqueued);
            match placed + arrived {
                0 if is_acknowledged => compared.find(format!("{number} is lost")),
                0 | 1 => {}
                _ => compared.find(format!("{number} is in the store twice")),
            }
        }
        let overtaken: u64 = store.query_row(
            "SELECT count(*) FROM arrival
             WHERE sequence <= (SELECT max(sequence) FROM outbox)",
            [],
            |row| row.get::<_, i64>(0).map(i64::unsigned_abs),
        )?;
        if overtaken > 0 {
            compared.find(format!("{overtaken} arrivals have the place of another"));
        }
        for finding in self.ledger.compare_new(store)? {
            compared.find(finding);
        }
        let arrivals: i64 =
            store.query_row("SELECT count(*) FROM arrival", [], |row| row.get(0))?;
        Ok(arrivals.unsigned_abs())
    }

    /// Compares everything that was heard with what is there.
    pub(super) fn compare(&mut self, store: &Path, platform: &Path) -> anyhow::Result<Compared> {
        let mut compared = Compared::default();
        let arrived = self.compare_platform(platform, &mut compared)?;
        self.compare_store(store, &arrived, &mut compared)?;
        self.compare_staff(store, platform, &mut compared)?;
        Ok(compared)
    }

    /// Everything that staff were told is recorded is there, and the platform knows every ticket.
    fn compare_staff(
        &mut self,
        store: &Path,
        platform: &Path,
        compared: &mut Compared,
    ) -> anyhow::Result<()> {
        let store = Connection::open(store.join("kiosk.db"))?;
        let platform = Connection::open(platform)?;
        let mut findings = self.ledger.compare_all(&store)?;
        findings.extend(self.ledger.compare_platform(&platform)?);
        for finding in findings {
            compared.find(finding);
        }
        Ok(())
    }

    fn compare_platform(
        &self,
        platform: &Path,
        compared: &mut Compared,
    ) -> anyhow::Result<BTreeMap<u64, Arrived>> {
        let connection = Connection::open_with_flags(platform, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut rows = connection.prepare(
            "SELECT id, case_number, document, receipt, times_received FROM accepted
             ORDER BY position",
        )?;
        let mut rows = rows.query([])?;
        let mut arrived = BTreeMap::new();
        let mut last_of: BTreeMap<[u8; 32], u64> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let id: Uuid = row.get::<_, String>(0)?.parse()?;
            let document: Value = serde_json::from_str(&row.get::<_, String>(2)?)?;
            let receipt: Value = serde_json::from_str(&row.get::<_, String>(3)?)?;
            let Some(number) = number_of(self.seed, id) else {
                compared.find(format!("{id} arrived and was never begun"));
                continue;
            };
            let found = Arrived {
                case_number: row.get(1)?,
                payload: document["payload"].clone(),
                reference: receipt["reference"].as_str().unwrap_or_default().to_owned(),
                times_received: u64::try_from(row.get::<_, i64>(4)?)?,
            };
            compared.arrived += 1;
            compared.arrived_again += u64::from(found.times_received > 1);
            if let Some(before) = last_of.insert(subject(number), number)
                && before > number
            {
                compared.find(format!(
                    "{number} arrived after {before} of the same person"
                ));
            }
            if arrived.insert(number, found).is_some() {
                compared.find(format!("{number} took effect twice"));
            }
        }
        for (number, fate) in &self.fates {
            match (fate, arrived.get(number)) {
                (Fate::Enqueued, Some(found)) => {
                    self.compare_content(&connection, *number, found, compared)?;
                }
                (Fate::Enqueued, None) => compared.find(format!("{number} is lost")),
                (Fate::Absent, Some(_)) => compared.find(format!("{number} came from nowhere")),
                (Fate::InDoubt, _) => compared.find(format!("{number} is in doubt to the end")),
                (Fate::Absent, None) => {}
            }
        }
        for number in arrived.keys() {
            if !self.fates.contains_key(number) {
                compared.find(format!("{number} arrived and was never begun"));
            }
        }
        Ok(arrived)
    }

    fn compare_content(
        &self,
        connection: &Connection,
        number: u64,
        found: &Arrived,
        compared: &mut Compared,
    ) -> anyhow::Result<()> {
        let case = Case::new(self.seed, number);
        let payload: Value = serde_json::from_str(&case.payload)?;
        if found.payload != payload || found.case_number != case.slip_number {
            compared.find(format!("{number} arrived with other content"));
        }
        let mut statement = connection
            .prepare_cached("SELECT id, content FROM attachment WHERE transaction_id = ?1")?;
        let mut rows = statement.query([case.id.to_string()])?;
        let mut attachments = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let id: Uuid = row.get::<_, String>(0)?.parse()?;
            attachments.insert(id, row.get::<_, Vec<u8>>(1)?);
        }
        if attachments != case.attachments.into_iter().collect() {
            compared.find(format!("{number} arrived with other attachments"));
        }
        if let Some(told) = self.receipts.get(&number)
            && *told != found.reference
        {
            compared.find(format!("{number} was given another receipt"));
        }
        Ok(())
    }

    fn compare_store(
        &self,
        store: &Path,
        arrived: &BTreeMap<u64, Arrived>,
        compared: &mut Compared,
    ) -> anyhow::Result<()> {
        let options = Options {
            terminal: TERMINAL.to_owned(),
            ..Options::default()
        };
        let now = Timestamp::from_second(CLOCK_S)?;
        let (cache, opening) = Cache::open_with(store, &options, now)?;
        if opening.quarantined.is_some() || opening.orphans_removed > 0 {
            compared.find(format!("the last opening was not clean: {opening:?}"));
        }
        let mut kept = BTreeSet::new();
        for row in cache.recent(u32::MAX)? {
            let Some(number) = number_of(self.seed, row.id) else {
                compared.find(format!("{} is in the store and was never begun", row.id));
                continue;
            };
            if !kept.insert(number) {
                compared.find(format!("{number} is in the store twice"));
            }
            let reference = arrived.get(&number).map(|found| found.reference.as_str());
            if row.state != State::Acked || row.receipt_reference.as_deref() != reference {
                compared.find(format!("{number} is {} without its receipt", row.state));
            }
        }
        for number in arrived.keys() {
            if !kept.contains(number) {
                compared.find(format!("the store has forgotten {number}"));
            }
        }
        let files = std::fs::read_dir(store.join("attachments"))?.count();
        if files > 0 {
            compared.find(format!("{files} files outlived their transactions"));
        }
        compare_audit(&cache, compared)
    }
}

/// The audit log is one unbroken chain.
fn compare_audit(cache: &Cache, compared: &mut Compared) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    let mut after = 0;
    for _ in 0..PAGES_MAX {
        let page = cache.audit_entries(after, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = last.sequence;
        entries.extend(page);
    }
    let head = cache.audit_head()?;
    let entries = entries.into_iter().map(Ok::<_, Infallible>);
    let report = audit::verify(TERMINAL, entries, &[], &[], head);
    for finding in &report.findings {
        compared.find(format!("audit: {finding}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_understood_is_a_finding() {
        let mut oracle = Oracle::new(1);
        for line in [
            "",
            "wrong step queue.io",
            "enqueued x",
            "settled",
            "settled y R-1",
            "noted nothing 1",
            "ticket 1",
        ] {
            assert!(oracle.hear(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_doubt_ends_with_the_next_life() {
        let mut oracle = Oracle::new(1);
        for number in 1..=3 {
            oracle.hear(&format!("begun {number}")).unwrap();
        }
        oracle.hear("enqueued 1").unwrap();
        assert_eq!(oracle.in_doubt(), [2, 3]);
        oracle.hear("there 2").unwrap();
        oracle.hear("absent 3").unwrap();
        assert_eq!(oracle.in_doubt(), Vec::<u64>::new());
        assert_eq!(oracle.doubts_resolved(), (1, 1));
    }

    #[test]
    fn a_second_receipt_is_a_finding() {
        let mut oracle = Oracle::new(1);
        let line = format!("settled {} R-1", Case::new(1, 5).id);
        oracle.hear(&line).unwrap();
        assert!(oracle.hear(&line).is_err());
    }
}
