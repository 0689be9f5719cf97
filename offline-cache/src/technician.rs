//! What a technician's work leaves in the store: test records, fault tickets, replenishments, the
//! lock-out, daily checks, calibrations. The order of records is their sequence and never the
//! clock, and each change writes its entry of the audit log in the same commit.
//!
//! The people in here are staff accounts. Notes are the staff's free words: they go upstream with
//! their ticket and into no log and no `Debug`.

mod calibration;
mod daily;
mod guard;
mod supply;
mod test_record;
mod ticket;

#[cfg(test)]
pub(crate) mod statements;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::CacheError;
use crate::cache::timestamp;

pub use calibration::Calibration;
pub use daily::{DailyCheck, DailyKind};
pub use guard::Guard;
pub use supply::Consumable;
pub(crate) use supply::before_diary_forgets;
pub use test_record::{TestRecord, Verdict};
pub use ticket::{Level, NewTicket, Part, Sla, Ticket, TicketAct, TicketState};

/// Longest word in bytes: a test, a device, a code, an account name, a serial number. Chosen; the
/// longest problem code has 31.
const WORD_BYTES_MAX: usize = 64;
/// Longest JSON of figures and of answers in bytes (the schema says the same).
const MAP_BYTES_MAX: usize = 4 * 1024;
/// Most rows of one answer.
const ROWS_MAX: u32 = 1_000;

/// Refuses a word that is empty, overlong or has control characters in it.
fn word(text: &str, what: &'static str) -> Result<(), CacheError> {
    if text.is_empty() {
        return Err(CacheError::OutOfRange { what });
    }
    word_or_nothing(text, what)
}

/// Refuses a word that is overlong or has control characters in it.
fn word_or_nothing(text: &str, what: &'static str) -> Result<(), CacheError> {
    if text.len() > WORD_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(CacheError::OutOfRange { what });
    }
    Ok(())
}

/// Refuses free words that are overlong or have control characters but line breaks in them.
fn words(text: &str, bytes_max: usize, what: &'static str) -> Result<(), CacheError> {
    let is_strange = |each: char| each.is_control() && each != '\n';
    if text.len() > bytes_max || text.chars().any(is_strange) {
        return Err(CacheError::OutOfRange { what });
    }
    Ok(())
}

/// A map as JSON, within its bound.
fn stored_map(map: &serde_json::Value, what: &'static str) -> Result<String, CacheError> {
    let text = map.to_string();
    if text.len() > MAP_BYTES_MAX {
        return Err(CacheError::OutOfRange { what });
    }
    Ok(text)
}

fn id_of(row: &Row<'_>, index: usize) -> Result<Uuid, CacheError> {
    Ok(Uuid::from_bytes(row.get(index)?))
}

fn maybe_id_of(row: &Row<'_>, index: usize) -> Result<Option<Uuid>, CacheError> {
    let id: Option<[u8; 16]> = row.get(index)?;
    Ok(id.map(Uuid::from_bytes))
}

fn time_of(row: &Row<'_>, index: usize) -> Result<Timestamp, CacheError> {
    timestamp(row.get(index)?)
}

fn maybe_time_of(row: &Row<'_>, index: usize) -> Result<Option<Timestamp>, CacheError> {
    let at: Option<i64> = row.get(index)?;
    at.map(timestamp).transpose()
}

/// A count that was stored as 32 bits and must come back as that.
fn small_of(row: &Row<'_>, index: usize) -> Result<u32, CacheError> {
    let count: i64 = row.get(index)?;
    u32::try_from(count).map_err(|_| CacheError::Inconsistent { what: "count" })
}

/// A time as it is stored, in whole milliseconds and within what can be read back.
fn stored_time(at: Timestamp) -> Timestamp {
    let latest = Timestamp::MAX.as_second().saturating_mul(1000);
    timestamp(at.as_millisecond().min(latest)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// When what is to be forgotten.
pub(crate) struct Limits {
    /// Records, closed tickets and daily checks of before this.
    pub(crate) record: Timestamp,
    /// Used grants of before this.
    pub(crate) grant: Timestamp,
    /// Most rows of a kind.
    pub(crate) rows_max: i64,
}

/// What was forgotten, for the audit log.
pub(crate) struct Purged {
    pub(crate) tickets: usize,
    pub(crate) tests: usize,
}

/// Forgets what is old, a bounded number of rows of each kind: records and daily checks, tickets
/// that are over and known to the platform, grants. A record that a kept ticket speaks of stays.
pub(crate) fn purge(connection: &Connection, limits: &Limits) -> Result<Purged, CacheError> {
    let record = params![limits.record.as_millisecond(), limits.rows_max];
    let tickets = connection.execute(
        "DELETE FROM ticket WHERE sequence IN (
             SELECT sequence FROM ticket INDEXED BY ticket_ended
             WHERE state IN ('mended', 'closed') AND changed_at < ?1
               AND reported_revision = revision LIMIT ?2)",
        record,
    )?;
    let tests = connection.execute(
        "DELETE FROM test_record WHERE sequence IN (
             SELECT sequence FROM test_record INDEXED BY test_record_age
             WHERE recorded_at < ?1
               AND id NOT IN (SELECT before_test FROM ticket WHERE before_test IS NOT NULL)
               AND id NOT IN (SELECT after_test FROM ticket WHERE after_test IS NOT NULL)
             LIMIT ?2)",
        record,
    )?;
    connection.execute(
        "DELETE FROM daily_check WHERE sequence IN (
             SELECT sequence FROM daily_check INDEXED BY daily_check_age
             WHERE recorded_at < ?1 LIMIT ?2)",
        record,
    )?;
    connection.execute(
        "DELETE FROM used_grant WHERE id IN (
             SELECT id FROM used_grant INDEXED BY used_grant_age
             WHERE used_at < ?1 LIMIT ?2)",
        params![limits.grant.as_millisecond(), limits.rows_max],
    )?;
    Ok(Purged { tickets, tests })
}

/// What was written under a clock that was far ahead begins its days under one that is believed.
pub(crate) fn begin_again(
    connection: &Connection,
    now: Timestamp,
    latest: Timestamp,
    rows_max: i64,
) -> Result<(), CacheError> {
    let times = params![now.as_millisecond(), latest.as_millisecond(), rows_max];
    for sql in [
        "UPDATE ticket SET changed_at = ?1 WHERE sequence IN (
             SELECT sequence FROM ticket INDEXED BY ticket_ended
             WHERE state IN ('mended', 'closed') AND changed_at > ?2 LIMIT ?3)",
        "UPDATE test_record SET recorded_at = ?1 WHERE sequence IN (
             SELECT sequence FROM test_record INDEXED BY test_record_age
             WHERE recorded_at > ?2 LIMIT ?3)",
        "UPDATE daily_check SET recorded_at = ?1 WHERE sequence IN (
             SELECT sequence FROM daily_check INDEXED BY daily_check_age
             WHERE recorded_at > ?2 LIMIT ?3)",
        "UPDATE used_grant SET used_at = ?1 WHERE id IN (
             SELECT id FROM used_grant INDEXED BY used_grant_age
             WHERE used_at > ?2 LIMIT ?3)",
    ] {
        connection.execute(sql, times)?;
    }
    Ok(())
}

/// Numbers that may have been given to tickets whose rows a salvage could not read.
const NUMBERS_LOST_MAX: i64 = 100;

/// Puts right what a salvage leaves: parts of no ticket, tickets that wait for a test beyond all
/// that are left, and the next ticket's number, which goes on above all that may be given out.
pub(crate) fn mend(connection: &Connection) -> Result<(), CacheError> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         DELETE FROM ticket_part WHERE ticket NOT IN (SELECT id FROM ticket);
         UPDATE ticket SET tests_before = min(tests_before,
             coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'test_record'), 0));
         COMMIT",
    )?;
    let changed = connection.execute(
        "UPDATE sqlite_sequence SET seq = seq + ?1 WHERE name = 'ticket'",
        [NUMBERS_LOST_MAX],
    )?;
    if changed == 0 {
        connection.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('ticket', ?1)",
            [NUMBERS_LOST_MAX],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
