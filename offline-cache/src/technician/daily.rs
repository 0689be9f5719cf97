//! The two minutes of the village staff: what was looked at when the day was opened or closed, by
//! whom, with what outcome. A record is written once and never changed.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use rusqlite::{Connection, Row, TransactionBehavior, params};
use serde_json::json;
use uuid::Uuid;

use super::{ROWS_MAX, id_of, stored_map, stored_time, time_of, word, words};
use crate::CacheError;
use crate::audit::{self, NewAudit};
use crate::cache::Cache;

/// Longest note in bytes (the schema says the same); a few sentences.
const NOTE_BYTES_MAX: usize = 1024;
/// The columns of a check, in the order of [`read`].
const CHECK: &str = "SELECT id, kind, checked_by, checked_at, answers, note FROM daily_check";

/// Which end of the day it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DailyKind {
    /// The terminal was opened.
    Open,
    /// The terminal was closed.
    Close,
}

impl DailyKind {
    /// The kind as it is stored, `open`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Close => "close",
        }
    }

    fn from_word(word: &str) -> Result<Self, CacheError> {
        match word {
            "open" => Ok(Self::Open),
            "close" => Ok(Self::Close),
            _ => Err(CacheError::Inconsistent {
                what: "kind of a daily check",
            }),
        }
    }
}

/// What was looked at. Its `Debug` hides the note.
#[derive(Clone, PartialEq, Eq)]
pub struct DailyCheck {
    /// Its id, minted once; storing it again is harmless.
    pub id: Uuid,
    /// Account name of the staff member, at most 64 bytes.
    pub by: String,
    /// When, by the terminal's clock; kept in whole milliseconds.
    pub at: Timestamp,
    /// Each question by its id, and whether it is well; 4 KiB of JSON at most.
    pub answers: BTreeMap<String, bool>,
    /// The staff's own words, at most 1 KiB.
    pub note: String,
    /// Which end of the day.
    pub kind: DailyKind,
}

impl fmt::Debug for DailyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DailyCheck")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}

impl Cache {
    /// Stores a daily check durably. The same one again changes nothing.
    ///
    /// # Errors
    /// `OutOfRange` for a text or answers beyond their bounds; `RecordDiffers` when the id was
    /// used for another check; `DiskFull`, `Store`.
    pub fn record_daily(&mut self, check: &DailyCheck, now: Timestamp) -> Result<(), CacheError> {
        word(&check.by, "account name")?;
        words(&check.note, NOTE_BYTES_MAX, "note")?;
        let answers = stored_map(&json!(check.answers), "answers of a daily check")?;
        let check = DailyCheck {
            at: stored_time(check.at),
            ..check.clone()
        };
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(known) = find(&transaction, check.id)? {
            return if known == check {
                Ok(())
            } else {
                Err(CacheError::RecordDiffers { id: check.id })
            };
        }
        transaction
            .prepare_cached(
                "INSERT INTO daily_check (id, kind, checked_by, checked_at, answers, note,
                     recorded_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                check.id.as_bytes(),
                check.kind.word(),
                check.by,
                check.at.as_millisecond(),
                answers,
                check.note,
                now.as_millisecond(),
            ])?;
        let bad = check.answers.values().filter(|is_well| !**is_well).count();
        let detail = json!({
            "id": check.id,
            "kind": check.kind.word(),
            "answers": check.answers.len(),
            "bad": bad,
        });
        audit::append(
            &transaction,
            &self.directory.options.terminal,
            &NewAudit::own("daily.checked", &check.by, &detail),
            now,
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Daily checks, newest first, at most `limit` and never more than 1,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn daily_checks(&self, limit: u32) -> Result<Vec<DailyCheck>, CacheError> {
        let sql = format!("{CHECK} ORDER BY sequence DESC LIMIT ?1");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([limit.min(ROWS_MAX)])?;
        let mut checks = Vec::new();
        while let Some(row) = rows.next()? {
            checks.push(read(row)?);
        }
        Ok(checks)
    }
}

fn find(connection: &Connection, id: Uuid) -> Result<Option<DailyCheck>, CacheError> {
    let mut statement = connection.prepare_cached(&format!("{CHECK} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    rows.next()?.map(read).transpose()
}

fn read(row: &Row<'_>) -> Result<DailyCheck, CacheError> {
    let kind: String = row.get(1)?;
    let answers: String = row.get(4)?;
    Ok(DailyCheck {
        id: id_of(row, 0)?,
        kind: DailyKind::from_word(&kind)?,
        by: row.get(2)?,
        at: time_of(row, 3)?,
        answers: serde_json::from_str(&answers).map_err(|_| CacheError::Inconsistent {
            what: "answer of a daily check",
        })?,
        note: row.get(5)?,
    })
}
