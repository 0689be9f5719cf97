//! The outbox: a confirmed transaction is in it from one durable commit until the platform's
//! receipt or a named person's act, and is handed out in the order of its sequence.
//!
//! Transactions of one subject leave one after another; one that is dead blocks its own subject
//! only. Rate of retries is bounded, their count is not. No clock decides an order: a time of the
//! future is believed for [`DEFER_MAX`] at most, so that a wrong clock cannot stall the line.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{self, NewAudit, PLATFORM, TERMINAL, VISITOR};
use crate::cache::{Cache, Directory, bounded_text, cut, timestamp};
use crate::line::{self, Line, Ready};
use crate::{
    CacheError, CaseRecord, NewTransaction, QueuedTransaction, Receipt, Sequence, State,
    attachment, content, quota,
};

pub(crate) mod arrival;
mod commit;
mod confirmation;

use arrival::Known;
use commit::Commit;
pub use confirmation::Confirmation;

/// Longest delay of a retry. Retries wait 15 minutes at most; a `Retry-After` may ask for more.
pub(crate) const DEFER_MAX: Duration = Duration::from_hours(1);
/// Most keys told at once; a key lives for months.
const KEYS_MAX: usize = 1_000;
/// Longest words on a failure that are kept for staff, in bytes.
const DETAIL_BYTES_MAX: usize = 512;
/// Room of one batch of the platform contract (256 KiB) less its own frame.
const BATCH_BYTES_MAX: usize = 240 * 1024;
/// What a transaction and an attachment cost in a batch beside the payload, at most; counted from
/// the contract with the longest texts that occur.
const TRANSACTION_BYTES: usize = 640;
const ATTACHMENT_BYTES: usize = 384;

/// Columns of [`QueuedTransaction`] and the digest of its content, in the order [`read_queued`]
/// takes them.
pub(crate) const QUEUED: &str = "SELECT sequence, id, kind, item, item_version, case_number,
        enqueued_at, attempts, payload, payload_suite, subject, upstream, can_wait, key_id,
        content_digest
    FROM outbox";

/// Whether settling changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The receipt was stored and the content erased.
    Now,
    /// A receipt was there before; it stays.
    Before,
}

/// How much waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// Transactions on their way: waiting, pending or in flight.
    pub waiting: u64,
    /// Dead transactions nobody has closed.
    pub dead: u64,
    /// When the first one on its way was enqueued.
    pub oldest_enqueued_at: Option<Timestamp>,
}

/// One line of the queue for staff, without personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRow {
    /// Place in the outbox.
    pub sequence: Sequence,
    /// Id of the transaction.
    pub id: Uuid,
    /// What it is.
    pub kind: String,
    /// Item id.
    pub item: String,
    /// The number on the slip.
    pub case_number: String,
    /// The upstream it is for; empty for the platform itself.
    pub upstream: String,
    /// Where it stands.
    pub state: State,
    /// Whether it may be left for the off-hours.
    pub can_wait: bool,
    /// Whether an earlier transaction of the same person has to go first.
    pub is_blocked: bool,
    /// Failed attempts.
    pub attempts: u32,
    /// When it was made durable.
    pub enqueued_at: Timestamp,
    /// When it is tried again, if it was deferred.
    pub next_at: Option<Timestamp>,
    /// Problem code of the last failure.
    pub last_code: Option<String>,
    /// The platform's words on the last failure, at most 512 bytes; for staff, never for a log.
    pub last_detail: Option<String>,
    /// Who parked or closed it.
    pub ended_by: Option<String>,
    /// Why it was parked or closed.
    pub ended_reason: Option<String>,
    /// The platform's reference, once it has answered.
    pub receipt_reference: Option<String>,
    /// When it was written into a carry-out bundle last.
    pub carried_at: Option<Timestamp>,
}

impl Cache {
    /// Makes a transaction durable: when this returns, a power cut cannot take it back. The same
    /// call again gives the same sequence and changes nothing, also after the receipt.
    ///
    /// # Errors
    /// `ContentDiffers` when the id was used for something else; `OutOfRange` when it could not
    /// be sent; `NoRoom` and `DiskFull` (tell the villager that nothing was submitted); `Io`,
    /// `Store`.
    pub fn enqueue(
        &mut self,
        transaction: &NewTransaction,
        now: Timestamp,
    ) -> Result<Sequence, CacheError> {
        let content = content::of_new(transaction);
        if let Some(sequence) = self.prepare(transaction, &content)? {
            return Ok(sequence);
        }
        let commit = Commit::begin(&self.connection)?;
        let sequence = take_in(
            &self.connection,
            &self.directory,
            transaction,
            &content,
            now,
        )?;
        // A failed commit may still be on disk, so its files stay; if it is not, they are
        // orphans and go at the next start.
        commit.make()?;
        Ok(sequence)
    }

    /// Claims what is to be sent now, oldest first, at most `limit` and never more than fits one
    /// batch of the contract; what is claimed is in flight until it is settled, deferred,
    /// released or parked. What `ready` holds back is not looked at.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn due(
        &mut self,
        now: Timestamp,
        limit: u32,
        ready: &Ready<'_>,
    ) -> Result<Vec<QueuedTransaction>, CacheError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        arrival::place(&transaction)?;
        line::promote_deferred(&transaction, now, ready)?;
        let (due, damaged) = read_ready(&transaction, limit, ready)?;
        for claimed in &due {
            transaction
                .prepare_cached("UPDATE outbox SET state = 2 WHERE sequence = ?1")?
                .execute([claimed.sequence.0])?;
        }
        // What was altered on disk must not be sent, nor stop the others: a person looks at it.
        for altered in damaged {
            let terminal = &self.directory.options.terminal;
            set_aside(&transaction, terminal, &altered, now)?;
        }
        transaction.commit()?;
        Ok(due)
    }

    /// When there is something to send or to upload next; `now` when there is already.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn next_due_at(
        &self,
        now: Timestamp,
        ready: &Ready<'_>,
    ) -> Result<Option<Timestamp>, CacheError> {
        self.place_arrivals()?;
        let is_ready = line::has_any(&self.connection, Line::Ready, ready)?
            || line::has_any(&self.connection, Line::Uploading, ready)?;
        if is_ready {
            return Ok(Some(now));
        }
        let Some(next) = line::next_deferred(&self.connection, ready)? else {
            return Ok(None);
        };
        let next = timestamp(next)?;
        // Deferred under a clock that has since gone back: believed no longer.
        let is_believed = next <= now.saturating_add(DEFER_MAX).unwrap_or(Timestamp::MAX);
        Ok(Some(if is_believed { next.max(now) } else { now }))
    }

    /// Stores the platform's receipt and erases the content in the same commit; the files go
    /// right after. Settling again is harmless and leaves the first receipt.
    ///
    /// # Errors
    /// `UnknownTransaction` when there is none or it was forgotten; `DiskFull`, `Store`.
    pub fn settle(
        &mut self,
        id: Uuid,
        receipt: &Receipt,
        now: Timestamp,
    ) -> Result<Settled, CacheError> {
        let settlement = [(id, receipt.clone())];
        let settled = self.settle_all(&settlement, now)?.pop();
        settled.unwrap_or(Err(CacheError::UnknownTransaction { id }))
    }

    /// Settles the results of a whole reply in one commit, each as [`Cache::settle`] does; what
    /// became of each stands in the same place of the answer. An unknown transaction stops no other.
    ///
    /// # Errors
    /// `DiskFull`, `Store`: nothing was settled.
    pub fn settle_all(
        &mut self,
        settlements: &[(Uuid, Receipt)],
        now: Timestamp,
    ) -> Result<Vec<Result<Settled, CacheError>>, CacheError> {
        let commit = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        arrival::place(&commit)?;
        let terminal = &self.directory.options.terminal;
        let mut files = Vec::new();
        let mut outcomes = Vec::with_capacity(settlements.len());
        for (id, receipt) in settlements {
            outcomes.push(match settle_one(&commit, terminal, *id, receipt, now) {
                Ok(None) => Ok(Settled::Before),
                Ok(Some(erased)) => {
                    files.extend(erased);
                    Ok(Settled::Now)
                }
                Err(error @ CacheError::UnknownTransaction { .. }) => Err(error),
                Err(error) => return Err(error),
            });
        }
        commit.commit()?;
        attachment::remove_files(&self.directory, files);
        Ok(outcomes)
    }

    /// Puts a transaction back after a failed attempt, not before `until` (one hour ahead at
    /// most), with the problem code of the failure.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is settled or dead; `OutOfRange` for an
    /// overlong code; `DiskFull`, `Store`.
    pub fn defer(
        &mut self,
        id: Uuid,
        until: Timestamp,
        code: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        bounded_text(code, "problem code")?;
        self.change(id, FoundRow::is_unsettled, |transaction, found| {
            transaction.execute(
                "UPDATE outbox SET state = min(state, 1), attempts = attempts + 1,
                     next_at = ?2, last_code = ?3
                 WHERE sequence = ?1",
                params![found.sequence, bounded_delay(until, now), code],
            )?;
            Ok(())
        })
    }

    /// Puts a claimed transaction back at once, as if it had not been handed out.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is settled or dead; `DiskFull`, `Store`.
    pub fn release(&mut self, id: Uuid) -> Result<(), CacheError> {
        self.change(id, FoundRow::is_unsettled, |transaction, found| {
            transaction.execute(
                "UPDATE outbox SET state = min(state, 1) WHERE sequence = ?1",
                [found.sequence],
            )?;
            Ok(())
        })
    }

    /// Takes a transaction out of the line without losing it: it is dead, keeps its content and
    /// blocks its own subject until it is reinstated or closed. `by` names who decided: an
    /// operator's id, or `platform` for a refusal. `detail` are the words for staff beside the
    /// code in `reason`; what is beyond 512 bytes is cut, and they are erased with the content.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is settled; `OutOfRange`, `DiskFull`, `Store`.
    pub fn park(
        &mut self,
        id: Uuid,
        by: &str,
        reason: &str,
        detail: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        bounded_text(by, "name of who parks")?;
        bounded_text(reason, "reason")?;
        let words = cut(detail, DETAIL_BYTES_MAX);
        let terminal = self.terminal();
        self.change(
            id,
            |found| found.is_open,
            |transaction, found| {
                transaction
                    .prepare_cached(
                        "UPDATE outbox SET state = 4, next_at = 0, last_code = ?4,
                             last_detail = ?5, ended_at = ?2, ended_by = ?3, ended_reason = ?4
                         WHERE sequence = ?1",
                    )?
                    .execute(params![
                        found.sequence,
                        now.as_millisecond(),
                        by,
                        reason,
                        (!words.is_empty()).then_some(words),
                    ])?;
                let detail = json!({ "reason": audit::word(reason) });
                let entry = NewAudit::of(found, id, "transaction.parked", by, &detail);
                audit::append(transaction, &terminal, &entry, now)?;
                Ok(())
            },
        )
    }

    /// Puts a dead transaction back into its place in the line, on a named person's word.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is not dead or has been closed; `OutOfRange`,
    /// `DiskFull`, `Store`.
    pub fn reinstate(&mut self, id: Uuid, by: &str, now: Timestamp) -> Result<(), CacheError> {
        bounded_text(by, "name of who reinstates")?;
        let terminal = self.terminal();
        self.change(id, FoundRow::is_parked, |transaction, found| {
            // Waiting (0) while an attachment is incomplete, else pending (1).
            transaction.execute(
                "UPDATE outbox SET next_at = 0, ended_at = NULL, ended_by = ?2,
                     ended_reason = 'reinstated',
                     state = NOT EXISTS (SELECT 1 FROM attachment
                         WHERE transaction_sequence = ?1 AND is_complete = 0)
                 WHERE sequence = ?1",
                params![found.sequence, by],
            )?;
            let entry = NewAudit::of(found, id, "transaction.reinstated", by, &json!({}));
            audit::append(transaction, &terminal, &entry, now)?;
            Ok(())
        })
    }

    /// Ends a dead transaction on a named person's word, after it was dealt with by other means:
    /// its content is erased and the next one of its subject moves up. `reason` goes into the
    /// audit log and must not name a visitor.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is not dead or was closed before (park it
    /// first); `OutOfRange`, `DiskFull`, `Store`.
    pub fn close(
        &mut self,
        id: Uuid,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        bounded_text(by, "name of who closes")?;
        bounded_text(reason, "reason")?;
        let terminal = self.terminal();
        let files = self.change(id, FoundRow::is_parked, |transaction, found| {
            let files = attachment::forget(transaction, found.sequence)?;
            transaction.execute(
                "UPDATE outbox SET is_open = 0, is_blocked = 0, payload = NULL,
                     content_digest = NULL, last_detail = NULL, ended_at = ?2, ended_by = ?3,
                     ended_reason = ?4
                 WHERE sequence = ?1",
                params![found.sequence, now.as_millisecond(), by, reason],
            )?;
            unblock_next(transaction, &found.subject)?;
            let detail = json!({ "reason": reason, "erased_attachments": files.len() });
            let entry = NewAudit::of(found, id, "transaction.closed", by, &detail);
            audit::append(transaction, &terminal, &entry, now)?;
            Ok(files)
        })?;
        attachment::remove_files(&self.directory, files);
        Ok(())
    }

    /// What this terminal knows of a case number; the case itself before its ratings.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when the row cannot be understood.
    pub fn case(&self, case_number: &str) -> Result<Option<CaseRecord>, CacheError> {
        self.place_arrivals()?;
        let mut statement = self.connection.prepare_cached(
            "SELECT id, kind, item, state, last_code, enqueued_at, ended_at, receipt_reference,
                 receipt_outcome, receipt_message, receipt_valid_until, receipt_raw
             FROM outbox WHERE case_number = ?1
             ORDER BY kind <> 'case', sequence LIMIT 1",
        )?;
        let mut rows = statement.query([case_number])?;
        rows.next()?.map(read_case).transpose()
    }

    /// How much waits, and since when.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn depth(&self) -> Result<Depth, CacheError> {
        let depths = self.upstream_depths()?;
        Ok(Depth {
            waiting: depths.iter().map(|depth| depth.waiting).sum(),
            dead: depths.iter().map(|depth| depth.dead).sum(),
            oldest_enqueued_at: depths
                .iter()
                .filter_map(|depth| depth.oldest_enqueued_at)
                .min(),
        })
    }

    /// What is in the outbox, in order, for staff: on its way and dead, at most `limit` rows.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn list(&self, limit: u32) -> Result<Vec<QueueRow>, CacheError> {
        self.rows("WHERE is_open = 1 ORDER BY sequence LIMIT ?1", limit)
    }

    /// Dead transactions that nobody has closed, in order, at most `limit` rows: what a person has
    /// to look at, with the words on why.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn dead(&self, limit: u32) -> Result<Vec<QueueRow>, CacheError> {
        self.rows(
            "WHERE sequence IN (
                 SELECT sequence FROM outbox INDEXED BY outbox_dead
                 WHERE state = 4 AND is_open = 1 ORDER BY sequence LIMIT ?1)
             ORDER BY sequence",
            limit,
        )
    }

    /// Ids of the platform's keys that open rows are sealed to: the platform must keep these.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn queued_key_ids(&self) -> Result<Vec<String>, CacheError> {
        self.place_arrivals()?;
        let mut statement = self.connection.prepare_cached(
            "SELECT key_id FROM outbox INDEXED BY outbox_key
             WHERE is_open = 1 AND key_id <> '' AND key_id > ?1 ORDER BY key_id LIMIT 1",
        )?;
        let mut found: Vec<String> = Vec::new();
        while found.len() < KEYS_MAX {
            // Skipping from key to key: a million rows of one key are not looked at.
            let last = found.last().map_or("", String::as_str);
            match statement.query_row([last], |row| row.get(0)).optional()? {
                Some(next) => found.push(next),
                None => break,
            }
        }
        Ok(found)
    }

    /// The newest transactions, settled or not, newest first, at most `limit` rows.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn recent(&self, limit: u32) -> Result<Vec<QueueRow>, CacheError> {
        self.rows("ORDER BY sequence DESC LIMIT ?1", limit)
    }

    pub(crate) fn terminal(&self) -> String {
        self.directory.options.terminal.clone()
    }

    /// What comes before the commit of an enqueuing: refusals, and the files on disk. The place of
    /// one that was enqueued before.
    fn prepare(
        &self,
        transaction: &NewTransaction,
        content: &[u8; 32],
    ) -> Result<Option<Sequence>, CacheError> {
        transaction.validate()?;
        if transaction.attachments.is_empty() {
            return Ok(None);
        }
        // Files are on disk before the commit that speaks of them, so all refusals come first.
        if let Some(sequence) =
            enqueued_before(&self.connection, &self.directory, transaction.id, content)?
        {
            return Ok(Some(sequence));
        }
        attachment::refuse_used_ids(&self.connection, &transaction.attachments)?;
        quota::refuse_without_room(&self.connection, &self.directory, transaction)?;
        let ids = transaction.attachments.iter().map(|each| each.id);
        if let Err(error) = attachment::write_files(&self.directory, &transaction.attachments) {
            attachment::remove_files(&self.directory, ids);
            return Err(error);
        }
        Ok(None)
    }

    /// Looks a transaction up, refuses a wrong state, acts and commits.
    fn change<T>(
        &mut self,
        id: Uuid,
        is_allowed: impl Fn(&FoundRow) -> bool,
        act: impl FnOnce(&Connection, &FoundRow) -> Result<T, CacheError>,
    ) -> Result<T, CacheError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        arrival::place(&transaction)?;
        let found = find(&transaction, id)?;
        if !is_allowed(&found) {
            return Err(CacheError::WrongState {
                id,
                state: found.state,
            });
        }
        let outcome = act(&transaction, &found)?;
        transaction.commit()?;
        Ok(outcome)
    }

    fn rows(&self, condition: &str, limit: u32) -> Result<Vec<QueueRow>, CacheError> {
        self.place_arrivals()?;
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT sequence, id, kind, item, case_number, state, is_blocked, attempts,
                 enqueued_at, next_at, last_code, ended_by, ended_reason, receipt_reference,
                 upstream, can_wait, last_detail, carried_at
             FROM outbox {condition}"
        ))?;
        let mut rows = statement.query([limit])?;
        let mut listed = Vec::new();
        while let Some(row) = rows.next()? {
            let next_at: i64 = row.get(9)?;
            let carried_at: Option<i64> = row.get(17)?;
            listed.push(QueueRow {
                sequence: Sequence(row.get(0)?),
                id: id_of(row, 1)?,
                kind: row.get(2)?,
                item: row.get(3)?,
                case_number: row.get(4)?,
                upstream: row.get(14)?,
                state: State::from_number(row.get(5)?)?,
                can_wait: row.get(15)?,
                is_blocked: row.get(6)?,
                attempts: row.get(7)?,
                enqueued_at: timestamp(row.get(8)?)?,
                next_at: (next_at > 0).then(|| timestamp(next_at)).transpose()?,
                last_code: row.get(10)?,
                last_detail: row.get(16)?,
                ended_by: row.get(11)?,
                ended_reason: row.get(12)?,
                receipt_reference: row.get(13)?,
                carried_at: carried_at.map(timestamp).transpose()?,
            });
        }
        Ok(listed)
    }
}

/// What a change needs to know of a row.
pub(crate) struct FoundRow {
    pub(crate) sequence: i64,
    pub(crate) state: State,
    is_open: bool,
    pub(crate) subject: [u8; 32],
}

impl FoundRow {
    pub(crate) fn is_unsettled(&self) -> bool {
        match self.state {
            State::WaitingAttachments | State::Pending | State::InFlight => true,
            State::Acked | State::Dead => false,
        }
    }

    fn is_parked(&self) -> bool {
        self.state == State::Dead && self.is_open
    }
}

pub(crate) fn find(connection: &Connection, id: Uuid) -> Result<FoundRow, CacheError> {
    let mut statement = connection
        .prepare_cached("SELECT sequence, state, is_open, subject FROM outbox WHERE id = ?1")?;
    let mut rows = statement.query([id.as_bytes()])?;
    let row = rows.next()?.ok_or(CacheError::UnknownTransaction { id })?;
    Ok(FoundRow {
        sequence: row.get(0)?,
        state: State::from_number(row.get(1)?)?,
        is_open: row.get(2)?,
        subject: row.get(3)?,
    })
}

/// Rows left in flight by the process before this one are pending again; returns how many.
pub(crate) fn recover_in_flight(connection: &Connection) -> Result<u32, CacheError> {
    let recovered = connection.execute(
        "UPDATE outbox INDEXED BY outbox_in_flight SET state = 1 WHERE state = 2",
        [],
    )?;
    Ok(u32::try_from(recovered).unwrap_or(u32::MAX))
}

/// A stored time of retry: never 0, which means at once, and never beyond [`DEFER_MAX`].
pub(crate) fn bounded_delay(until: Timestamp, now: Timestamp) -> i64 {
    let latest = now.saturating_add(DEFER_MAX).unwrap_or(Timestamp::MAX);
    until.min(latest).as_millisecond().max(1)
}

pub(crate) fn id_of(row: &Row<'_>, index: usize) -> Result<Uuid, CacheError> {
    Ok(Uuid::from_bytes(row.get(index)?))
}

/// The sequence of an id that is in the outbox already, after comparing the content.
fn enqueued_before(
    connection: &Connection,
    directory: &Directory,
    id: Uuid,
    content: &[u8; 32],
) -> Result<Option<Sequence>, CacheError> {
    let found = match arrival::find(connection, directory, &id)? {
        Some(arrived) => Some(arrived),
        None => connection
            .prepare_cached("SELECT sequence, content_digest FROM outbox WHERE id = ?1")?
            .query_row([id.as_bytes()], Known::read)
            .optional()?,
    };
    match found {
        Some(Known {
            content: Some(digest),
            ..
        }) if digest != *content => Err(CacheError::ContentDiffers { id }),
        // Without a digest the content was erased after the receipt; the id alone must do.
        Some(known) => Ok(Some(Sequence(known.sequence))),
        None => Ok(None),
    }
}

/// Takes a transaction in, with its entry in the audit log; to be called inside a commit, after its
/// files are on disk.
fn take_in(
    commit: &Connection,
    directory: &Directory,
    transaction: &NewTransaction,
    content: &[u8; 32],
    now: Timestamp,
) -> Result<Sequence, CacheError> {
    // The other connection may have enqueued it since the first look.
    if let Some(sequence) = enqueued_before(commit, directory, transaction.id, content)? {
        return Ok(sequence);
    }
    let sequence = if transaction.attachments.is_empty() {
        quota::refuse_without_room(commit, directory, transaction)?;
        arrival::insert(commit, directory, transaction, content, now)?
    } else {
        arrival::place(commit)?;
        insert(commit, transaction, content, now)?
    };
    let entry = NewAudit {
        subject: Some(transaction.subject),
        transaction: Some(transaction.id),
        ..NewAudit::own(
            "transaction.enqueued",
            VISITOR,
            &json!({
                "kind": audit::word(&transaction.kind),
                "item": audit::word(&transaction.item),
                "attachments": transaction.attachments.len(),
            }),
        )
    };
    audit::append(commit, &directory.options.terminal, &entry, now)?;
    Ok(sequence)
}

/// Stores a transaction with attachments in its place: they are recorded beside it.
fn insert(
    connection: &Connection,
    transaction: &NewTransaction,
    content: &[u8; 32],
    now: Timestamp,
) -> Result<Sequence, CacheError> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (id, kind, item, item_version, case_number, subject, state,
                 is_blocked, enqueued_at, payload_suite, payload, content_digest, key_id,
                 upstream, can_wait)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
                 EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_line
                         WHERE subject = ?6 AND is_open = 1),
                 ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            transaction.id.as_bytes(),
            transaction.kind,
            transaction.item,
            transaction.item_version,
            transaction.case_number,
            transaction.subject,
            attachment::first_state(&transaction.attachments).number(),
            now.as_millisecond(),
            transaction.payload_suite,
            transaction.payload,
            content,
            transaction.key_id,
            transaction.upstream,
            transaction.can_wait,
        ])?;
    let sequence = connection.last_insert_rowid();
    if !transaction.can_wait {
        // What stands behind patient work makes it urgent: it can only leave after it.
        connection
            .prepare_cached(
                "UPDATE outbox INDEXED BY outbox_line SET can_wait = 0
                 WHERE subject = ?1 AND is_open = 1 AND can_wait = 1",
            )?
            .execute([transaction.subject])?;
    }
    attachment::insert(connection, sequence, &transaction.attachments)?;
    Ok(Sequence(sequence))
}

/// Stores one receipt inside a commit and names the files to remove after it; `None` when a receipt
/// was there before.
fn settle_one(
    commit: &Connection,
    terminal: &str,
    id: Uuid,
    receipt: &Receipt,
    now: Timestamp,
) -> Result<Option<Vec<Uuid>>, CacheError> {
    let found = find(commit, id)?;
    if found.state == State::Acked {
        return Ok(None);
    }
    let files = attachment::forget(commit, found.sequence)?;
    commit
        .prepare_cached(
            "UPDATE outbox SET state = 3, is_open = 0, is_blocked = 0, next_at = 0,
                 payload = NULL, content_digest = NULL, last_detail = NULL, ended_at = ?2,
                 receipt_reference = ?3, receipt_outcome = ?4, receipt_message = ?5,
                 receipt_valid_until = ?6, receipt_raw = ?7
             WHERE sequence = ?1",
        )?
        .execute(params![
            found.sequence,
            now.as_millisecond(),
            receipt.reference,
            receipt.outcome,
            receipt.message,
            receipt.valid_until.map(|date| date.to_string()),
            receipt.raw,
        ])?;
    unblock_next(commit, &found.subject)?;
    let detail = json!({
        "outcome": audit::word(&receipt.outcome),
        "erased_attachments": files.len(),
    });
    let entry = NewAudit::of(&found, id, "transaction.settled", PLATFORM, &detail);
    audit::append(commit, terminal, &entry, now)?;
    Ok(Some(files))
}

/// The first open row of a subject may go.
fn unblock_next(connection: &Connection, subject: &[u8; 32]) -> Result<(), CacheError> {
    connection
        .prepare_cached(
            "UPDATE outbox SET is_blocked = 0 WHERE sequence = (
                 SELECT min(sequence) FROM outbox INDEXED BY outbox_line
                 WHERE subject = ?1 AND is_open = 1)",
        )?
        .execute([subject])?;
    Ok(())
}

/// A row whose content was altered on disk.
pub(crate) struct Altered {
    sequence: i64,
    id: Uuid,
    subject: [u8; 32],
}

/// Takes an altered row out of the line; a person looks at it.
pub(crate) fn set_aside(
    connection: &Connection,
    terminal: &str,
    altered: &Altered,
    now: Timestamp,
) -> Result<(), CacheError> {
    connection
        .prepare_cached(
            "UPDATE outbox SET state = 4, next_at = 0, last_code = 'queue.inconsistent',
                 ended_at = ?2, ended_by = 'terminal', ended_reason = 'queue.inconsistent'
             WHERE sequence = ?1",
        )?
        .execute(params![altered.sequence, now.as_millisecond()])?;
    let entry = NewAudit {
        subject: Some(altered.subject),
        transaction: Some(altered.id),
        ..NewAudit::own(
            "transaction.parked",
            TERMINAL,
            &json!({ "reason": "queue.inconsistent" }),
        )
    };
    audit::append(connection, terminal, &entry, now)?;
    Ok(())
}

/// Ready rows that fit one batch, and those whose content was altered on disk.
fn read_ready(
    connection: &Connection,
    limit: u32,
    ready: &Ready<'_>,
) -> Result<(Vec<QueuedTransaction>, Vec<Altered>), CacheError> {
    let mut statement = connection.prepare_cached(&format!("{QUEUED} WHERE sequence = ?1"))?;
    let (mut due, mut damaged, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
    for sequence in line::sequences(connection, Line::Ready, ready, limit)? {
        let mut rows = statement.query([sequence])?;
        let row = rows.next()?.ok_or(CacheError::Inconsistent {
            what: "index of the outbox",
        })?;
        let queued = match read_queued(connection, row)? {
            Ok(queued) => queued,
            Err(altered) => {
                damaged.push(altered);
                continue;
            }
        };
        bytes += bytes_in_batch(&queued);
        if bytes > BATCH_BYTES_MAX && !due.is_empty() {
            break;
        }
        due.push(queued);
    }
    Ok((due, damaged))
}

/// What a transaction takes in a batch: JSON as it is, an envelope as base64.
fn bytes_in_batch(queued: &QueuedTransaction) -> usize {
    let payload = if queued.payload_suite == "plain" {
        queued.payload.len()
    } else {
        queued.payload.len().div_ceil(3) * 4
    };
    payload
        + queued.upstream.len()
        + TRANSACTION_BYTES
        + queued.attachments.len() * ATTACHMENT_BYTES
}

/// Reads a row of [`QUEUED`] with its attachments and compares its content.
pub(crate) fn read_queued(
    connection: &Connection,
    row: &Row<'_>,
) -> Result<Result<QueuedTransaction, Altered>, CacheError> {
    let sequence: i64 = row.get(0)?;
    let queued = QueuedTransaction {
        sequence: Sequence(sequence),
        id: id_of(row, 1)?,
        kind: row.get(2)?,
        item: row.get(3)?,
        item_version: row.get(4)?,
        case_number: row.get(5)?,
        enqueued_at: timestamp(row.get(6)?)?,
        attempts: row.get(7)?,
        payload: row.get(8)?,
        payload_suite: row.get(9)?,
        subject: row.get(10)?,
        upstream: row.get(11)?,
        can_wait: row.get(12)?,
        key_id: row.get(13)?,
        attachments: attachment::of_transaction(connection, sequence)?,
    };
    let stored: Option<[u8; 32]> = row.get(14)?;
    if stored == Some(content::of_queued(&queued)) {
        return Ok(Ok(queued));
    }
    Ok(Err(Altered {
        sequence,
        id: queued.id,
        subject: queued.subject,
    }))
}

fn read_case(row: &Row<'_>) -> Result<CaseRecord, CacheError> {
    let reference: Option<String> = row.get(7)?;
    let receipt = match reference {
        Some(reference) => Some(Receipt {
            reference,
            outcome: row.get(8)?,
            message: row.get(9)?,
            valid_until: row
                .get::<_, Option<String>>(10)?
                .map(|text| text.parse::<Date>())
                .transpose()
                .map_err(|_| CacheError::Inconsistent { what: "date" })?,
            raw: row.get(11)?,
        }),
        None => None,
    };
    let ended_at: Option<i64> = row.get(6)?;
    Ok(CaseRecord {
        id: id_of(row, 0)?,
        kind: row.get(1)?,
        item: row.get(2)?,
        state: State::from_number(row.get(3)?)?,
        last_code: row.get(4)?,
        enqueued_at: timestamp(row.get(5)?)?,
        ended_at: ended_at.map(timestamp).transpose()?,
        receipt,
    })
}

#[cfg(test)]
pub(crate) mod tests;
