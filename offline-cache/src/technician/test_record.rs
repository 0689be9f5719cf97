//! The outcomes of tests: who tested what, when, what was measured. A record is written once and
//! never changed; the same one again changes nothing.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::json;
use uuid::Uuid;

use super::{
    ROWS_MAX, id_of, maybe_id_of, stored_map, stored_time, time_of, word, word_or_nothing,
};
use crate::CacheError;
use crate::audit::{self, NewAudit};
use crate::cache::{Cache, count_of, stored_count};

/// The columns of a record, in the order of [`read`].
const RECORD: &str = "SELECT id, test, device, verdict, figures, problem, tested_by, tested_at,
         took_ms, ticket, sequence FROM test_record";
/// Place of the sequence in [`RECORD`].
const SEQUENCE: usize = 10;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Not done, because something it needs is missing.
    Skipped,
    /// Ended by the person before there was an outcome.
    Canceled,
}

impl Verdict {
    /// The verdict as it is stored and sent, `passed`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Canceled => "canceled",
        }
    }

    fn from_word(word: &str) -> Result<Self, CacheError> {
        match word {
            "passed" => Ok(Self::Passed),
            "failed" => Ok(Self::Failed),
            "skipped" => Ok(Self::Skipped),
            "canceled" => Ok(Self::Canceled),
            _ => Err(CacheError::Inconsistent { what: "verdict" }),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The outcome of one test. Texts have 64 bytes at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRecord {
    /// Its id, minted once; storing it again is harmless.
    pub id: Uuid,
    /// Id of the test.
    pub test: String,
    /// Id of the device in the configuration; empty for the machine itself.
    pub device: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was measured, by name, with its unit; 4 KiB of JSON at most. Nothing personal.
    pub figures: BTreeMap<String, String>,
    /// Problem code; empty when there is none.
    pub problem: String,
    /// Account name of the staff member, or `terminal`.
    pub by: String,
    /// When it ended, by the terminal's clock; kept in whole milliseconds.
    pub at: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The ticket it was done for.
    pub ticket: Option<Uuid>,
}

impl TestRecord {
    /// The record within its bounds, as it comes back from the store, with its figures as JSON.
    fn validated(&self) -> Result<(Self, String), CacheError> {
        word(&self.test, "test")?;
        word_or_nothing(&self.device, "device id")?;
        word_or_nothing(&self.problem, "problem code")?;
        word(&self.by, "account name")?;
        let figures = stored_map(&json!(self.figures), "figures of a test")?;
        stored_count(self.took_ms, "duration of a test")?;
        let stored = Self {
            at: stored_time(self.at),
            ..self.clone()
        };
        Ok((stored, figures))
    }
}

impl Cache {
    /// Stores the outcome of a test durably. The same record again changes nothing.
    ///
    /// # Errors
    /// `OutOfRange` for a text or figures beyond their bounds; `UnknownTicket` when it names a
    /// ticket that is not there; `RecordDiffers` when the id was used for another record;
    /// `DiskFull`, `Store`.
    pub fn record_test(&mut self, record: &TestRecord, now: Timestamp) -> Result<(), CacheError> {
        let (record, figures) = record.validated()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some((_, known)) = find(&transaction, record.id)? {
            return if known == record {
                Ok(())
            } else {
                Err(CacheError::RecordDiffers { id: record.id })
            };
        }
        if let Some(ticket) = record.ticket {
            super::ticket::find(&transaction, ticket)?;
        }
        transaction
            .prepare_cached(
                "INSERT INTO test_record (id, test, device, verdict, figures, problem, tested_by,
                     tested_at, took_ms, ticket, recorded_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                record.id.as_bytes(),
                record.test,
                record.device,
                record.verdict.word(),
                figures,
                record.problem,
                record.by,
                record.at.as_millisecond(),
                stored_count(record.took_ms, "duration of a test")?,
                record.ticket.as_ref().map(Uuid::as_bytes),
                now.as_millisecond(),
            ])?;
        let detail = json!({
            "id": record.id,
            "test": record.test,
            "device": record.device,
            "verdict": record.verdict.word(),
            "problem": record.problem,
        });
        audit::append(
            &transaction,
            &self.directory.options.terminal,
            &NewAudit::own("check.recorded", &record.by, &detail),
            now,
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// The newest record of each test of each device, by device and test, at most 1,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn latest_tests(&self) -> Result<Vec<TestRecord>, CacheError> {
        let sql = format!(
            "{RECORD} WHERE sequence IN (
                 SELECT max(sequence) FROM test_record GROUP BY device, test)
             ORDER BY device, test LIMIT ?1"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([ROWS_MAX])?;
        collect(&mut rows)
    }

    /// The records of a device, newest first, at most `limit` and never more than 1,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn tests_of(&self, device: &str, limit: u32) -> Result<Vec<TestRecord>, CacheError> {
        let sql = format!("{RECORD} WHERE device = ?1 ORDER BY sequence DESC LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![device, limit.min(ROWS_MAX)])?;
        collect(&mut rows)
    }
}

/// A record by its id, with its sequence.
pub(super) fn find(
    connection: &Connection,
    id: Uuid,
) -> Result<Option<(i64, TestRecord)>, CacheError> {
    let mut statement = connection.prepare_cached(&format!("{RECORD} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some((row.get(SEQUENCE)?, read(row)?)))
}

/// The sequence of the newest record that there ever was; 0 for none.
pub(super) fn last_sequence(connection: &Connection) -> Result<i64, CacheError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'test_record'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

fn collect(rows: &mut rusqlite::Rows<'_>) -> Result<Vec<TestRecord>, CacheError> {
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(read(row)?);
    }
    Ok(records)
}

fn read(row: &Row<'_>) -> Result<TestRecord, CacheError> {
    let verdict: String = row.get(3)?;
    let figures: String = row.get(4)?;
    Ok(TestRecord {
        id: id_of(row, 0)?,
        test: row.get(1)?,
        device: row.get(2)?,
        verdict: Verdict::from_word(&verdict)?,
        figures: serde_json::from_str(&figures).map_err(|_| CacheError::Inconsistent {
            what: "figure of a test",
        })?,
        problem: row.get(5)?,
        by: row.get(6)?,
        at: time_of(row, 7)?,
        took_ms: count_of(row.get(8)?)?,
        ticket: maybe_id_of(row, 9)?,
    })
}
