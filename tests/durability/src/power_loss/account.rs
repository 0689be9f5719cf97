//! What the store has acknowledged, kept outside it: the measure of what must be there after a
//! cut. Whatever was under way may be there or not; everything else is exactly as acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;

use kiosk_sealing::audit;
use offline_cache::{
    Cache, CacheError, NewAttachment, NewTransaction, Opening, Options, QueuedTransaction, Receipt,
    Sequence, State,
};
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::TERMINAL;
use kiosk_tests::random::{Random, bytes_of};

/// People in turn, so that several transactions wait for one another.
const SUBJECTS: u64 = 7;
/// Rows asked for at a time.
const PAGE: u32 = 500;
/// Pages read at most: a life enqueues some hundred transactions.
const PAGES_MAX: u32 = 1000;
/// Reason under which a transaction is closed.
pub(super) const CLOSED: &str = "done-by-hand";
/// Key of the setting that counts up.
pub(super) const SETTING: &str = "count";

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Absent,
    Open,
    Settled,
    Dead,
    Closed,
}

#[derive(Debug)]
struct Known {
    sequence: Option<Sequence>,
    standing: Standing,
    /// What it becomes when the change under way is kept.
    under_way: Option<Standing>,
}

/// All that was acknowledged in one life.
#[derive(Debug)]
pub(super) struct Account {
    seed: u64,
    known: BTreeMap<u64, Known>,
    setting: (u64, Option<u64>),
    case_number: u32,
    anchor: Option<(u64, audit::Hash)>,
    acknowledged: u64,
    kept: u64,
    lost: u64,
}

impl Account {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            known: BTreeMap::new(),
            setting: (0, None),
            case_number: 0,
            anchor: None,
            acknowledged: 0,
            kept: 0,
            lost: 0,
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn take_kept(&mut self) -> u64 {
        std::mem::take(&mut self.kept)
    }

    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// A number no transaction has had.
    pub(super) fn next_number(&self) -> u64 {
        self.known
            .last_key_value()
            .map_or(1, |(number, _)| number + 1)
    }

    /// A transaction whose content follows from the seed and its number.
    pub(super) fn transaction(&self, number: u64) -> NewTransaction {
        let mut random = Random::new(self.seed ^ number.rotate_left(24));
        let length = 40 + usize::try_from(random.below(2000)).unwrap_or(0);
        let payload = bytes_of(random.bits(), length);
        let files = if number.is_multiple_of(3) {
            1 + random.below(2)
        } else {
            0
        };
        let attachments = (0..files)
            .map(|position| NewAttachment {
                id: self.id(number, 1 + position),
                name: format!("page-{position}.jpg"),
                media_type: "image/jpeg".to_owned(),
                bytes: bytes_of(
                    random.bits(),
                    1 + usize::try_from(random.below(9000)).unwrap_or(0),
                ),
            })
            .collect();
        NewTransaction {
            id: self.id(number, 0),
            kind: "case".to_owned(),
            item: "old-age-allowance".to_owned(),
            item_version: 1,
            case_number: format!("{TERMINAL}-{number}"),
            subject: subject(number),
            payload,
            payload_suite: "intl".to_owned(),
            key_id: "0123456789abcdef".to_owned(),
            upstream: if number.is_multiple_of(5) { "tax" } else { "" }.to_owned(),
            can_wait: number.is_multiple_of(4),
            attachments,
        }
    }

    fn id(&self, number: u64, part: u64) -> Uuid {
        let high = u128::from(self.seed) << 64;
        Uuid::from_u128(high | u128::from(number << 4 | part))
    }

    fn number_of(&self, id: Uuid) -> Option<u64> {
        let bits = id.as_u128();
        let is_ours = bits >> 64 == u128::from(self.seed);
        is_ours.then(|| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0) >> 4)
    }

    /// Does something to a transaction: while the store works on it, it may stand before or after.
    pub(super) fn change<T>(
        &mut self,
        number: u64,
        to: Standing,
        act: impl FnOnce() -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let known = self.known.entry(number).or_insert(Known {
            sequence: None,
            standing: Standing::Absent,
            under_way: None,
        });
        known.under_way = Some(to);
        let answer = act()?;
        known.standing = to;
        known.under_way = None;
        self.acknowledged += 1;
        Ok(answer)
    }

    pub(super) fn enqueued(&mut self, number: u64, sequence: Sequence) {
        if let Some(known) = self.known.get_mut(&number) {
            known.sequence = Some(sequence);
        }
    }

    /// Sets the counting setting to its next value.
    pub(super) fn count(
        &mut self,
        act: impl FnOnce(&str) -> Result<(), CacheError>,
    ) -> Result<(), CacheError> {
        let next = self.setting.0 + 1;
        self.setting.1 = Some(next);
        act(&next.to_string())?;
        self.setting = (next, None);
        self.acknowledged += 1;
        Ok(())
    }

    /// Takes a case number; says what is wrong with it.
    pub(super) fn numbered(&mut self, number: u32) -> Option<String> {
        let before = std::mem::replace(&mut self.case_number, number);
        self.acknowledged += 1;
        (number <= before).then(|| format!("case number {number} was given out after {before}"))
    }

    /// The head of the audit log, which must not go back behind this.
    pub(super) fn anchor(&mut self, head: Option<(u64, audit::Hash)>) {
        self.anchor = head;
    }

    /// Numbers of dead transactions nobody has closed.
    pub(super) fn dead(&self) -> Vec<u64> {
        self.known
            .iter()
            .filter(|(_, known)| known.standing == Standing::Dead)
            .map(|(number, _)| *number)
            .collect()
    }

    /// What is wrong with a transaction that was handed out.
    pub(super) fn check_due(&self, due: &QueuedTransaction) -> Result<u64, String> {
        let number = self
            .number_of(due.id)
            .filter(|number| self.known.contains_key(number))
            .ok_or_else(|| format!("{} was handed out and never enqueued", due.id))?;
        self.check_content(number, due)?;
        let first = self
            .known
            .iter()
            .find(|(other, known)| {
                subject(**other) == subject(number)
                    && matches!(known.standing, Standing::Open | Standing::Dead)
            })
            .map(|(other, _)| *other);
        if first == Some(number) {
            Ok(number)
        } else {
            Err(format!("{number} was handed out before {first:?}"))
        }
    }

    fn check_content(&self, number: u64, queued: &QueuedTransaction) -> Result<(), String> {
        let expected = self.transaction(number);
        let files = expected
            .attachments
            .iter()
            .map(|each| (each.id, each.bytes.len() as u64));
        let is_same = queued.payload == expected.payload
            && queued.case_number == expected.case_number
            && queued.upstream == expected.upstream
            && queued
                .attachments
                .iter()
                .map(|each| (each.id, each.size))
                .eq(files);
        if is_same {
            Ok(())
        } else {
            Err(format!("{number} has other content than was enqueued"))
        }
    }

    /// Compares a store that was just opened with all that is known, and takes what is there for
    /// known from now on.
    pub(super) fn compare(
        &mut self,
        cache: &mut Cache,
        opening: &Opening,
        directory: &Path,
        options: &Options,
    ) -> Vec<String> {
        let mut findings = Vec::new();
        if let Some(name) = &opening.quarantined {
            findings.push(format!("a damaged database was moved aside: {name}"));
            return findings;
        }
        let compared = self
            .compare_rows(cache, &mut findings)
            .and_then(|()| self.compare_content(cache, &mut findings))
            .and_then(|()| self.compare_setting(cache, &mut findings))
            .and_then(|()| self.compare_audit(cache, &mut findings));
        if let Err(error) = compared {
            findings.push(format!("the store cannot be read: {error:?}"));
        }
        self.compare_files(directory, &mut findings);
        match quick_check(directory, options) {
            Ok(verdict) if verdict == "ok" => {}
            Ok(verdict) => findings.push(format!("quick_check: {verdict}")),
            Err(error) => findings.push(format!("quick_check cannot run: {error}")),
        }
        findings
    }

    fn compare_rows(
        &mut self,
        cache: &Cache,
        findings: &mut Vec<String>,
    ) -> Result<(), CacheError> {
        let mut there = BTreeMap::new();
        for row in cache.recent(u32::MAX)? {
            let Some(number) = self.number_of(row.id) else {
                findings.push(format!("{} was never enqueued", row.id));
                continue;
            };
            let standing = match row.state {
                State::WaitingAttachments | State::Pending | State::InFlight => Standing::Open,
                State::Acked => Standing::Settled,
                State::Dead if row.ended_reason.as_deref() == Some(CLOSED) => Standing::Closed,
                State::Dead => Standing::Dead,
            };
            if row.state == State::Acked
                && row.receipt_reference.as_deref() != Some(receipt(number).reference.as_str())
            {
                findings.push(format!("{number} has another receipt than was given"));
            }
            if there.insert(number, (standing, row.sequence)).is_some() {
                findings.push(format!("{number} is there twice"));
            }
        }
        for (number, known) in &mut self.known {
            let (standing, sequence) = match there.remove(number) {
                Some((standing, sequence)) => (standing, Some(sequence)),
                None => (Standing::Absent, None),
            };
            if known.under_way == Some(standing) && standing != known.standing {
                self.kept += 1;
                known.standing = standing;
                known.sequence = sequence;
            } else if known.under_way.is_some() {
                self.lost += 1;
            }
            known.under_way = None;
            if standing != known.standing {
                findings.push(format!(
                    "{number} is {standing:?}, acknowledged was {:?}",
                    known.standing
                ));
            }
            if sequence.is_some() && known.sequence.is_some() && sequence != known.sequence {
                findings.push(format!("{number} has changed its place in the line"));
            }
        }
        findings.extend(
            there
                .keys()
                .map(|number| format!("{number} was never enqueued")),
        );
        self.known
            .retain(|_, known| known.standing != Standing::Absent);
        Ok(())
    }

    /// Every transaction that is to be sent yet is whole, with its attachments.
    fn compare_content(&self, cache: &Cache, findings: &mut Vec<String>) -> Result<(), CacheError> {
        let mut after = Sequence(0);
        let mut seen = BTreeSet::new();
        for _ in 0..PAGES_MAX {
            let page = cache.carry_out(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.sequence;
            for queued in &page {
                let Some(number) = self.number_of(queued.id) else {
                    continue;
                };
                seen.insert(number);
                findings.extend(self.check_content(number, queued).err());
                for attachment in self.transaction(number).attachments {
                    match cache.attachment_bytes(attachment.id) {
                        Ok(bytes) if bytes == attachment.bytes => {}
                        Ok(_) => findings.push(format!("an attachment of {number} is altered")),
                        Err(error) => findings.push(format!(
                            "an attachment of {number} is gone: {}",
                            error.code()
                        )),
                    }
                }
            }
        }
        for (number, known) in &self.known {
            let is_open = matches!(known.standing, Standing::Open | Standing::Dead);
            if is_open != seen.contains(number) {
                findings.push(format!(
                    "{number} has lost its content, or kept it too long"
                ));
            }
        }
        Ok(())
    }

    fn compare_setting(
        &mut self,
        cache: &Cache,
        findings: &mut Vec<String>,
    ) -> Result<(), CacheError> {
        let value = cache.setting(SETTING)?;
        let value: u64 = value.and_then(|text| text.parse().ok()).unwrap_or(0);
        let (acknowledged, under_way) = self.setting;
        if value != acknowledged && Some(value) != under_way {
            findings.push(format!(
                "the setting is {value}, acknowledged was {acknowledged}"
            ));
        }
        self.setting = (value, None);
        Ok(())
    }

    fn compare_audit(
        &mut self,
        cache: &Cache,
        findings: &mut Vec<String>,
    ) -> Result<(), CacheError> {
        let mut entries = Vec::new();
        let mut after = 0;
        for _ in 0..PAGES_MAX {
            let page = cache.audit_entries(after, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            after = last.sequence;
            entries.extend(page);
        }
        let entries = entries.into_iter().map(Ok::<_, Infallible>);
        let report = audit::verify(TERMINAL, entries, &[], &[], self.anchor);
        findings.extend(
            report
                .findings
                .iter()
                .map(|finding| format!("audit: {finding}")),
        );
        self.anchor = cache.audit_head()?;
        Ok(())
    }

    /// Files are there for what is open, and for nothing else.
    fn compare_files(&self, directory: &Path, findings: &mut Vec<String>) {
        let expected: BTreeSet<String> = self
            .known
            .iter()
            .filter(|(_, known)| matches!(known.standing, Standing::Open | Standing::Dead))
            .flat_map(|(number, _)| self.transaction(*number).attachments)
            .map(|attachment| attachment.id.to_string())
            .collect();
        let found: BTreeSet<String> = std::fs::read_dir(directory.join("attachments"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        if expected != found {
            findings.push(format!(
                "{} files are missing and {} are left over",
                expected.difference(&found).count(),
                found.difference(&expected).count()
            ));
        }
    }
}

/// The person of a transaction.
fn subject(number: u64) -> [u8; 32] {
    [u8::try_from(number % SUBJECTS).unwrap_or(0); 32]
}

/// The receipt a transaction gets.
pub(super) fn receipt(number: u64) -> Receipt {
    Receipt {
        reference: format!("R-{number}"),
        outcome: "accepted".to_owned(),
        message: String::new(),
        valid_until: None,
        raw: "{}".to_owned(),
    }
}

/// The engine's own word on its file, through the same layer.
fn quick_check(directory: &Path, options: &Options) -> rusqlite::Result<String> {
    let path = directory.join("kiosk.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
}
