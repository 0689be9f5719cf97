//! The outbox: a confirmed transaction is in it from one durable commit until the platform's
//! receipt or a named person's act, and is handed out in the order of its sequence.
//!
//! Transactions of one subject leave one after another; one that is dead blocks its own subject
//! only. Rate of retries is bounded, their count is not. No clock decides an order: a time of the
//! future is believed for [`DEFER_MAX`] at most, so that a wrong clock cannot stall the line.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use ring::digest;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use uuid::Uuid;

use crate::attachment::{self, QueuedAttachment};
use crate::cache::{Cache, bounded_text, timestamp};
use crate::{CacheError, CaseRecord, NewTransaction, QueuedTransaction, Receipt, Sequence, State};

/// Longest delay of a retry. Retries wait 15 minutes at most; a `Retry-After` may ask for more.
const DEFER_MAX: Duration = Duration::from_hours(1);
/// How long a settled transaction is remembered, without its content.
const TOMBSTONE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A clock further than this past the newest record is not believed when forgetting.
const CLOCK_LEAP: SignedDuration = SignedDuration::from_hours(180 * 24);
/// Most rows one call promotes or forgets; what is left is done by the next call.
const ROWS_MAX: i64 = 10_000;
/// Room of one batch of the platform contract (256 KiB) less its own frame.
const BATCH_BYTES_MAX: usize = 240 * 1024;
/// What a transaction and an attachment cost in a batch beside the payload, at most; counted from
/// the contract with the longest texts that occur.
const TRANSACTION_BYTES: usize = 640;
const ATTACHMENT_BYTES: usize = 384;

/// What is ready to go, in order; the partial index makes it flat in everything that is not.
const READY: &str = "SELECT sequence, id, kind, item, item_version, case_number, enqueued_at,
        attempts, payload, payload_suite, subject, content_digest
    FROM outbox INDEXED BY outbox_ready
    WHERE state = 1 AND is_blocked = 0 AND next_at = 0
    ORDER BY sequence LIMIT ?1";

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
    /// Where it stands.
    pub state: State,
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
    /// Who parked or closed it.
    pub ended_by: Option<String>,
    /// Why it was parked or closed.
    pub ended_reason: Option<String>,
    /// The platform's reference, once it has answered.
    pub receipt_reference: Option<String>,
}

impl Cache {
    /// Makes a transaction durable: when this returns, a power cut cannot take it back. The same
    /// call again gives the same sequence and changes nothing, also after the receipt.
    ///
    /// # Errors
    /// `ContentDiffers` when the id was used for something else; `OutOfRange` when it could not
    /// be sent; `DiskFull` (tell the villager that nothing was submitted); `Io`, `Store`.
    pub fn enqueue(
        &mut self,
        transaction: &NewTransaction,
        now: Timestamp,
    ) -> Result<Sequence, CacheError> {
        transaction.validate()?;
        let content = content_of_new(transaction);
        if let Some(sequence) = enqueued_before(&self.connection, transaction.id, &content)? {
            return Ok(sequence);
        }
        attachment::refuse_used_ids(&self.connection, &transaction.attachments)?;
        let directory = self.directory.attachments();
        let ids = transaction.attachments.iter().map(|each| each.id);
        if let Err(error) = attachment::write_files(&directory, &transaction.attachments) {
            attachment::remove_files(&directory, ids);
            return Err(error);
        }
        let commit = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // The other connection may have enqueued it since the first look.
        if let Some(sequence) = enqueued_before(&commit, transaction.id, &content)? {
            return Ok(sequence);
        }
        let sequence = insert(&commit, transaction, &content, now)?;
        attachment::insert(&commit, sequence, &transaction.attachments)?;
        // A failed commit may still be on disk, so its files stay; if it is not, they are
        // orphans and go at the next start.
        commit.commit()?;
        Ok(Sequence(sequence))
    }

    /// Claims what is to be sent now, oldest first, at most `limit` and never more than fits one
    /// batch of the contract; what is claimed is in flight until it is settled, deferred,
    /// released or parked.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn due(
        &mut self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<QueuedTransaction>, CacheError> {
        promote_deferred(&self.connection, now)?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (due, damaged) = read_ready(&transaction, limit)?;
        for claimed in &due {
            transaction
                .prepare_cached("UPDATE outbox SET state = 2 WHERE sequence = ?1")?
                .execute([claimed.sequence.0])?;
        }
        // What was altered on disk must not be sent, nor stop the others: a person looks at it.
        for sequence in damaged {
            transaction.execute(
                "UPDATE outbox SET state = 4, last_code = 'queue.inconsistent', ended_at = ?2,
                     ended_by = 'terminal', ended_reason = 'queue.inconsistent'
                 WHERE sequence = ?1",
                params![sequence, now.as_millisecond()],
            )?;
        }
        transaction.commit()?;
        Ok(due)
    }

    /// When there is something to send or to upload next; `now` when there is already.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn next_due_at(&self, now: Timestamp) -> Result<Option<Timestamp>, CacheError> {
        let is_ready: bool = self
            .connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_ready
                     WHERE state = 1 AND is_blocked = 0 AND next_at = 0)
                 OR EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_uploading
                     WHERE state = 0 AND is_blocked = 0 AND next_at = 0)",
            )?
            .query_row([], |row| row.get(0))?;
        if is_ready {
            return Ok(Some(now));
        }
        let next: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT min(next_at) FROM outbox INDEXED BY outbox_deferred
                 WHERE state <= 1 AND next_at > 0",
            )?
            .query_row([], |row| row.get(0))?;
        let Some(next) = next else { return Ok(None) };
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
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = find(&transaction, id)?;
        if found.state == State::Acked {
            return Ok(Settled::Before);
        }
        let files = attachment::forget(&transaction, found.sequence)?;
        transaction.execute(
            "UPDATE outbox SET state = 3, is_open = 0, is_blocked = 0, next_at = 0,
                 payload = NULL, content_digest = NULL, ended_at = ?2,
                 receipt_reference = ?3, receipt_outcome = ?4, receipt_message = ?5,
                 receipt_valid_until = ?6, receipt_raw = ?7
             WHERE sequence = ?1",
            params![
                found.sequence,
                now.as_millisecond(),
                receipt.reference,
                receipt.outcome,
                receipt.message,
                receipt.valid_until.map(|date| date.to_string()),
                receipt.raw,
            ],
        )?;
        unblock_next(&transaction, &found.subject)?;
        transaction.commit()?;
        attachment::remove_files(&self.directory.attachments(), files);
        Ok(Settled::Now)
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
    /// operator's id, or `platform` for a refusal.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is settled; `OutOfRange`, `DiskFull`, `Store`.
    pub fn park(
        &mut self,
        id: Uuid,
        by: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        bounded_text(by, "name of who parks")?;
        bounded_text(reason, "reason")?;
        self.change(
            id,
            |found| found.is_open,
            |transaction, found| {
                transaction.execute(
                    "UPDATE outbox SET state = 4, next_at = 0, last_code = ?4, ended_at = ?2,
                     ended_by = ?3, ended_reason = ?4
                 WHERE sequence = ?1",
                    params![found.sequence, now.as_millisecond(), by, reason],
                )?;
                Ok(())
            },
        )
    }

    /// Puts a dead transaction back into its place in the line, on a named person's word.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is not dead or has been closed; `OutOfRange`,
    /// `DiskFull`, `Store`.
    pub fn reinstate(&mut self, id: Uuid, by: &str) -> Result<(), CacheError> {
        bounded_text(by, "name of who reinstates")?;
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
            Ok(())
        })
    }

    /// Ends a dead transaction on a named person's word, after it was dealt with by other means:
    /// its content is erased and the next one of its subject moves up.
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
        let files = self.change(id, FoundRow::is_parked, |transaction, found| {
            let files = attachment::forget(transaction, found.sequence)?;
            transaction.execute(
                "UPDATE outbox SET is_open = 0, is_blocked = 0, payload = NULL,
                     content_digest = NULL, ended_at = ?2, ended_by = ?3, ended_reason = ?4
                 WHERE sequence = ?1",
                params![found.sequence, now.as_millisecond(), by, reason],
            )?;
            unblock_next(transaction, &found.subject)?;
            Ok(files)
        })?;
        attachment::remove_files(&self.directory.attachments(), files);
        Ok(())
    }

    /// What this terminal knows of a case number; the case itself before its ratings.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when the row cannot be understood.
    pub fn case(&self, case_number: &str) -> Result<Option<CaseRecord>, CacheError> {
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
        let count = |sql: &str| -> Result<u64, CacheError> {
            let count: i64 = self
                .connection
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))?;
            u64::try_from(count).map_err(|_| CacheError::Inconsistent { what: "count" })
        };
        let oldest: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT enqueued_at FROM outbox INDEXED BY outbox_unsettled
                 WHERE state <= 2 ORDER BY sequence LIMIT 1",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(Depth {
            waiting: count(
                "SELECT count(*) FROM outbox INDEXED BY outbox_unsettled WHERE state <= 2",
            )?,
            dead: count(
                "SELECT count(*) FROM outbox INDEXED BY outbox_dead
                 WHERE state = 4 AND is_open = 1",
            )?,
            oldest_enqueued_at: oldest.map(timestamp).transpose()?,
        })
    }

    /// What is in the outbox, in order, for staff: on its way and dead, at most `limit` rows.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn list(&self, limit: u32) -> Result<Vec<QueueRow>, CacheError> {
        self.rows("WHERE is_open = 1 ORDER BY sequence LIMIT ?1", limit)
    }

    /// The newest transactions, settled or not, newest first, at most `limit` rows.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn recent(&self, limit: u32) -> Result<Vec<QueueRow>, CacheError> {
        self.rows("ORDER BY sequence DESC LIMIT ?1", limit)
    }

    /// Forgets settled transactions and finished prints after 90 days; returns how many. Does
    /// nothing while the clock has run far past the newest record: then the clock is wrong.
    ///
    /// # Errors
    /// `DiskFull`, `Store` when the database fails.
    pub fn purge(&mut self, now: Timestamp) -> Result<u32, CacheError> {
        let newest: Option<i64> = self
            .connection
            .query_row(
                "SELECT enqueued_at FROM outbox ORDER BY sequence DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()?;
        let Some(newest) = newest else { return Ok(0) };
        if now.duration_since(timestamp(newest)?) > CLOCK_LEAP {
            return Ok(0);
        }
        let before = now
            .saturating_sub(TOMBSTONE)
            .unwrap_or(Timestamp::MIN)
            .as_millisecond();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let prints = transaction.execute(
            "DELETE FROM print WHERE id IN (
                 SELECT id FROM print INDEXED BY print_finished
                 WHERE state IN ('taken', 'spoiled') AND changed_at < ?1 LIMIT ?2)",
            [before, ROWS_MAX],
        )?;
        let transactions = transaction.execute(
            "DELETE FROM outbox WHERE sequence IN (
                 SELECT sequence FROM outbox INDEXED BY outbox_tombstone
                 WHERE is_open = 0 AND ended_at < ?1 LIMIT ?2)",
            [before, ROWS_MAX],
        )?;
        transaction.commit()?;
        Ok(u32::try_from(prints + transactions).unwrap_or(u32::MAX))
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
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT sequence, id, kind, item, case_number, state, is_blocked, attempts,
                 enqueued_at, next_at, last_code, ended_by, ended_reason, receipt_reference
             FROM outbox {condition}"
        ))?;
        let mut rows = statement.query([limit])?;
        let mut listed = Vec::new();
        while let Some(row) = rows.next()? {
            let next_at: i64 = row.get(9)?;
            listed.push(QueueRow {
                sequence: Sequence(row.get(0)?),
                id: id_of(row, 1)?,
                kind: row.get(2)?,
                item: row.get(3)?,
                case_number: row.get(4)?,
                state: State::from_number(row.get(5)?)?,
                is_blocked: row.get(6)?,
                attempts: row.get(7)?,
                enqueued_at: timestamp(row.get(8)?)?,
                next_at: (next_at > 0).then(|| timestamp(next_at)).transpose()?,
                last_code: row.get(10)?,
                ended_by: row.get(11)?,
                ended_reason: row.get(12)?,
                receipt_reference: row.get(13)?,
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
    subject: [u8; 32],
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

/// Deferred rows whose time has come are ready again; so are those of an impossible future, left
/// by a clock that has gone back since.
pub(crate) fn promote_deferred(connection: &Connection, now: Timestamp) -> Result<(), CacheError> {
    let latest = now.saturating_add(DEFER_MAX).unwrap_or(Timestamp::MAX);
    for (condition, limit_time) in [("<= ?1", now), ("> ?1", latest)] {
        let sql = format!(
            "UPDATE outbox SET next_at = 0 WHERE sequence IN (
                 SELECT sequence FROM outbox INDEXED BY outbox_deferred
                 WHERE state <= 1 AND next_at > 0 AND next_at {condition} LIMIT ?2)"
        );
        connection
            .prepare_cached(&sql)?
            .execute([limit_time.as_millisecond(), ROWS_MAX])?;
    }
    Ok(())
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
    id: Uuid,
    content: &[u8; 32],
) -> Result<Option<Sequence>, CacheError> {
    let found: Option<(i64, Option<[u8; 32]>)> = connection
        .prepare_cached("SELECT sequence, content_digest FROM outbox WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((_, Some(digest))) if digest != *content => Err(CacheError::ContentDiffers { id }),
        // Without a digest the content was erased after the receipt; the id alone must do.
        Some((sequence, _)) => Ok(Some(Sequence(sequence))),
        None => Ok(None),
    }
}

fn insert(
    connection: &Connection,
    transaction: &NewTransaction,
    content: &[u8; 32],
    now: Timestamp,
) -> Result<i64, CacheError> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (id, kind, item, item_version, case_number, subject, state,
                 is_blocked, enqueued_at, payload_suite, payload, content_digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7,
                 EXISTS (SELECT 1 FROM outbox INDEXED BY outbox_line
                         WHERE subject = ?6 AND is_open = 1),
                 ?8, ?9, ?10, ?11)",
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
        ])?;
    Ok(connection.last_insert_rowid())
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

/// Ready rows that fit one batch, and the sequences of rows whose content was altered on disk.
fn read_ready(
    connection: &Connection,
    limit: u32,
) -> Result<(Vec<QueuedTransaction>, Vec<i64>), CacheError> {
    let mut statement = connection.prepare_cached(READY)?;
    let mut rows = statement.query([limit])?;
    let (mut due, mut damaged, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
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
            attachments: attachment::of_transaction(connection, sequence)?,
        };
        let content: Option<[u8; 32]> = row.get(11)?;
        if content != Some(content_of_queued(&queued, &row.get(10)?)) {
            damaged.push(sequence);
            continue;
        }
        bytes +=
            queued.payload.len() + TRANSACTION_BYTES + queued.attachments.len() * ATTACHMENT_BYTES;
        if bytes > BATCH_BYTES_MAX && !due.is_empty() {
            break;
        }
        due.push(queued);
    }
    Ok((due, damaged))
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

/// Digest over everything that must not change between enqueueing and sending.
struct Content(digest::Context);

impl Content {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Lengths go in too, so that no two contents run together alike.
    fn add(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn finish(self) -> [u8; 32] {
        self.0
            .finish()
            .as_ref()
            .try_into()
            .expect("a SHA-256 digest has 32 bytes")
    }
}

fn content_of_new(transaction: &NewTransaction) -> [u8; 32] {
    let mut content = Content::new()
        .add(transaction.id.as_bytes())
        .add(transaction.kind.as_bytes())
        .add(transaction.item.as_bytes())
        .add(&transaction.item_version.to_be_bytes())
        .add(transaction.case_number.as_bytes())
        .add(&transaction.subject)
        .add(transaction.payload_suite.as_bytes())
        .add(&transaction.payload);
    for attachment in &transaction.attachments {
        content = content
            .add(attachment.id.as_bytes())
            .add(attachment.name.as_bytes())
            .add(attachment.media_type.as_bytes())
            .add(&attachment::sha256(&attachment.bytes));
    }
    content.finish()
}

fn content_of_queued(transaction: &QueuedTransaction, subject: &[u8; 32]) -> [u8; 32] {
    let mut content = Content::new()
        .add(transaction.id.as_bytes())
        .add(transaction.kind.as_bytes())
        .add(transaction.item.as_bytes())
        .add(&transaction.item_version.to_be_bytes())
        .add(transaction.case_number.as_bytes())
        .add(subject)
        .add(transaction.payload_suite.as_bytes())
        .add(&transaction.payload);
    for QueuedAttachment {
        id,
        name,
        media_type,
        sha256,
        ..
    } in &transaction.attachments
    {
        content = content
            .add(id.as_bytes())
            .add(name.as_bytes())
            .add(media_type.as_bytes())
            .add(sha256);
    }
    content.finish()
}

#[cfg(test)]
pub(crate) mod tests;
