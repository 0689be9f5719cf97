//! The audit log: append-only, hash-chained from the name of the terminal, and written in the
//! same commit as the effect it speaks of. A subject is a keyed digest, never a number.
//!
//! The chain, its verification and the signatures are `kiosk_sealing::audit`; this file keeps the
//! entries. After a salvage the log goes on with an entry that says so: a gap is never closed.

use jiff::Timestamp;
use kiosk_sealing::audit::{self, Checkpoint, DETAIL_BYTES_MAX, Entry, Hash, WORD_BYTES_MAX};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::json;
use uuid::Uuid;

use crate::cache::{Cache, bounded_text, count_of, cut, stored_count};
use crate::outbox::FoundRow;
use crate::{CacheError, retention};

/// Longest signed checkpoint in bytes; one has about 500.
const SIGNED_BYTES_MAX: usize = 4 * 1024;
/// Most entries or checkpoints of one answer.
const ENTRIES_MAX: u32 = 10_000;

/// The actor of what a villager confirmed at the glass.
pub(crate) const VISITOR: &str = "visitor";
/// The actor of what the platform answered.
pub(crate) const PLATFORM: &str = "platform";
/// The actor of what the program did by itself.
pub(crate) const TERMINAL: &str = "terminal";

/// What is to be written into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// What happened, `class.deed`, such as `technician.unlocked`.
    pub kind: String,
    /// Who did it: an operator's id, `visitor`, `platform` or `terminal`.
    pub actor: String,
    /// Keyed digest of the person it concerns.
    pub subject: Option<[u8; 32]>,
    /// The transaction it concerns.
    pub transaction: Option<Uuid>,
    /// More about it, JSON without personal data, at most 4 KiB.
    pub detail: String,
}

impl NewAudit {
    /// An entry about a transaction.
    pub(crate) fn of(
        found: &FoundRow,
        id: Uuid,
        kind: &str,
        actor: &str,
        detail: &serde_json::Value,
    ) -> Self {
        Self {
            subject: Some(found.subject),
            transaction: Some(id),
            ..Self::own(kind, actor, detail)
        }
    }

    /// An entry about the store itself.
    pub(crate) fn own(kind: &str, actor: &str, detail: &serde_json::Value) -> Self {
        Self {
            kind: kind.to_owned(),
            actor: cut(actor, WORD_BYTES_MAX).to_owned(),
            subject: None,
            transaction: None,
            detail: detail.to_string(),
        }
    }

    pub(crate) fn validate(&self) -> Result<(), CacheError> {
        bounded_text(&self.kind, "audit kind")?;
        bounded_text(&self.actor, "audit actor")?;
        if self.kind.len() > WORD_BYTES_MAX || self.actor.len() > WORD_BYTES_MAX {
            return Err(CacheError::OutOfRange { what: "audit word" });
        }
        let is_json = serde_json::from_str::<serde_json::Value>(&self.detail).is_ok();
        if self.detail.len() > DETAIL_BYTES_MAX || !is_json {
            return Err(CacheError::OutOfRange {
                what: "audit detail",
            });
        }
        Ok(())
    }
}

/// The words of an outcome as the log keeps them: a code, never a sentence.
pub(crate) fn word(text: &str) -> serde_json::Value {
    let is_word = text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    json!(is_word.then_some(text))
}

impl Cache {
    /// Appends an entry durably and returns its sequence, from 1.
    ///
    /// # Errors
    /// `OutOfRange` for an empty or overlong text or a detail that is not JSON; `DiskFull`,
    /// `Store`.
    pub fn audit(&mut self, new: &NewAudit, now: Timestamp) -> Result<u64, CacheError> {
        new.validate()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sequence = append(&transaction, &self.directory.options.terminal, new, now)?;
        transaction.commit()?;
        Ok(sequence)
    }

    /// The last entry's sequence and hash; `None` while the log is empty.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when the row cannot be understood.
    pub fn audit_head(&self) -> Result<Option<(u64, Hash)>, CacheError> {
        Ok(last(&self.connection)?.map(|last| (last.sequence, last.hash)))
    }

    /// Entries after a sequence, in order, at most `limit` and never more than 10,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn audit_entries(&self, after: u64, limit: u32) -> Result<Vec<(Entry, Hash)>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, at, kind, actor, subject, transaction_id, detail, hash
             FROM audit_entry WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
        )?;
        let after = stored_count(after, "audit sequence")?;
        let mut rows = statement.query(params![after, limit.min(ENTRIES_MAX)])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push((read(row)?, row.get(7)?));
        }
        Ok(entries)
    }

    /// Checkpoints after a sequence, in order, at most `limit` and never more than 10,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn audit_checkpoints(&self, after: u64, limit: u32) -> Result<Vec<Checkpoint>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, head, at, signed FROM audit_checkpoint
             WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
        )?;
        let after = stored_count(after, "audit sequence")?;
        let mut rows = statement.query(params![after, limit.min(ENTRIES_MAX)])?;
        let mut checkpoints = Vec::new();
        while let Some(row) = rows.next()? {
            checkpoints.push(read_checkpoint(row)?);
        }
        Ok(checkpoints)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when the row cannot be understood.
    pub fn latest_checkpoint(&self) -> Result<Option<Checkpoint>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, head, at, signed FROM audit_checkpoint
             ORDER BY sequence DESC LIMIT 1",
        )?;
        let mut rows = statement.query([])?;
        rows.next()?.map(read_checkpoint).transpose()
    }

    /// Stores a signed checkpoint of this log; one of the same or an earlier place than the
    /// newest changes nothing.
    ///
    /// # Errors
    /// `OutOfRange` when it does not speak of an entry of this log with its hash, or when its
    /// signed text is empty or overlong; `DiskFull`, `Store`.
    pub fn add_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), CacheError> {
        if checkpoint.signed.is_empty() || checkpoint.signed.len() > SIGNED_BYTES_MAX {
            return Err(CacheError::OutOfRange {
                what: "signed checkpoint",
            });
        }
        let sequence = stored_count(checkpoint.sequence, "audit sequence")?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let hash: Option<Hash> = transaction
            .prepare_cached("SELECT hash FROM audit_entry WHERE sequence = ?1")?
            .query_row([sequence], |row| row.get(0))
            .optional()?;
        if hash != Some(checkpoint.head) {
            return Err(CacheError::OutOfRange {
                what: "checkpoint of another log",
            });
        }
        transaction
            .prepare_cached(
                "INSERT INTO audit_checkpoint (sequence, head, at, signed)
                 SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (
                     SELECT 1 FROM audit_checkpoint WHERE sequence >= ?1)",
            )?
            .execute(params![
                sequence,
                checkpoint.head,
                checkpoint.at_ms,
                checkpoint.signed
            ])?;
        transaction.commit()?;
        Ok(())
    }
}

/// Where the log ends.
struct Last {
    sequence: u64,
    hash: Hash,
    at_ms: i64,
}

fn last(connection: &Connection) -> Result<Option<Last>, CacheError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, hash, at FROM audit_entry ORDER BY sequence DESC LIMIT 1",
    )?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Last {
        sequence: count_of(row.get(0)?)?,
        hash: row.get(1)?,
        at_ms: row.get(2)?,
    }))
}

/// Appends an entry; to be called inside the commit of its effect.
pub(crate) fn append(
    connection: &Connection,
    terminal: &str,
    new: &NewAudit,
    now: Timestamp,
) -> Result<u64, CacheError> {
    append_after(connection, terminal, new, 0, now)
}

/// Appends an entry whose sequence is greater than `after` too: a salvage knows of entries that
/// are lost, and their places must not be taken.
pub(crate) fn append_after(
    connection: &Connection,
    terminal: &str,
    new: &NewAudit,
    after: u64,
    now: Timestamp,
) -> Result<u64, CacheError> {
    let (sequence, previous) = match last(connection)? {
        Some(last) => {
            retention::watch_clock(connection, last.at_ms, now)?;
            (last.sequence, last.hash)
        }
        None => (0, audit::genesis(terminal)),
    };
    let sequence = sequence.max(after) + 1;
    let entry = Entry {
        sequence,
        at_ms: now.as_millisecond(),
        kind: new.kind.clone(),
        actor: new.actor.clone(),
        subject: new.subject,
        transaction: new.transaction,
        detail: new.detail.clone(),
    };
    connection
        .prepare_cached(
            "INSERT INTO audit_entry
                 (sequence, at, kind, actor, subject, transaction_id, detail, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            stored_count(sequence, "audit sequence")?,
            entry.at_ms,
            entry.kind,
            entry.actor,
            entry.subject,
            entry.transaction.as_ref().map(Uuid::as_bytes),
            entry.detail,
            audit::link(&previous, &entry),
        ])?;
    Ok(sequence)
}

fn read(row: &Row<'_>) -> Result<Entry, CacheError> {
    let transaction: Option<[u8; 16]> = row.get(5)?;
    Ok(Entry {
        sequence: count_of(row.get(0)?)?,
        at_ms: row.get(1)?,
        kind: row.get(2)?,
        actor: row.get(3)?,
        subject: row.get(4)?,
        transaction: transaction.map(Uuid::from_bytes),
        detail: row.get(6)?,
    })
}

fn read_checkpoint(row: &Row<'_>) -> Result<Checkpoint, CacheError> {
    Ok(Checkpoint {
        sequence: count_of(row.get(0)?)?,
        head: row.get(1)?,
        at_ms: row.get(2)?,
        signed: row.get(3)?,
    })
}

#[cfg(test)]
mod tests;
