//! What is forgotten, and when: the content with the receipt, the tombstone after 90 days, the
//! diary, tests and closed tickets after two years. Unsent work, tickets that the platform does not
//! know and the audit log are never forgotten.
//!
//! No clock is believed that has leapt: a dead battery, a wrong year or a prank must not make the
//! terminal forget what it has settled. A clock counts once it has run steadily for 90 days, by
//! what it showed at each entry of the audit log and at each look at this file.

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde_json::json;

use crate::audit::{self, NewAudit, TERMINAL};
use crate::cache::{Cache, timestamp};
use crate::{CacheError, technician};

/// How long a settled transaction is remembered, without its content.
const TOMBSTONE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// How long the diary of the devices and the records of tests and tickets are kept: two years, so
/// that seasons can be compared.
const RECORDS: SignedDuration = SignedDuration::from_hours(2 * 366 * 24);
/// A clock that moved further than this between two looks has leapt. A terminal that was switched
/// off for longer starts its 90 days anew, which only keeps tombstones longer.
const LEAP_AHEAD: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Time servers set a clock back by minutes; a wrong time zone by a day at most.
const LEAP_BACK: SignedDuration = SignedDuration::from_hours(2 * 24);
/// Most rows of a kind that one call forgets; what is left is done by the next call.
const ROWS_MAX: i64 = 10_000;

impl Cache {
    /// Forgets settled transactions, finished prints and reported commands after 90 days, and the
    /// diary, tests and closed tickets after two years; returns how many transactions and prints.
    /// Forgets nothing while the clock is not believed. To be called at start (opening does) and once a day.
    ///
    /// # Errors
    /// `DiskFull`, `Store` when the database fails.
    pub fn purge(&mut self, now: Timestamp) -> Result<u32, CacheError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let steady_since = look_at_clock(&transaction, now)?;
        if now.duration_since(steady_since) < TOMBSTONE {
            transaction.commit()?;
            return Ok(0);
        }
        begin_again_what_ended_in_the_future(&transaction, now)?;
        let before = earlier(now, TOMBSTONE).as_millisecond();
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
        transaction.execute(
            "DELETE FROM command WHERE id IN (
                 SELECT id FROM command INDEXED BY command_reported
                 WHERE reported_at IS NOT NULL AND reported_at < ?1 LIMIT ?2)",
            [before, ROWS_MAX],
        )?;
        let records = forget_after_two_years(&transaction, now)?;
        if transactions + prints + records.tickets + records.tests > 0 {
            let detail = json!({
                "transactions": transactions,
                "prints": prints,
                "tickets": records.tickets,
                "tests": records.tests,
            });
            audit::append(
                &transaction,
                &self.directory.options.terminal,
                &NewAudit::own("store.purged", TERMINAL, &detail),
                now,
            )?;
        }
        transaction.commit()?;
        Ok(u32::try_from(prints + transactions).unwrap_or(u32::MAX))
    }

    /// Cuts the log file to nothing, so that content erased from the database is not left there
    /// either. To be called after receipts, when nothing else is to do; `false` when another
    /// connection was reading and it has to be done again.
    ///
    /// # Errors
    /// `DiskFull`, `Store` when the database fails.
    pub fn scrub(&mut self) -> Result<bool, CacheError> {
        let is_busy: bool =
            self.connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(!is_busy)
    }
}

/// The diary, tests, daily checks and closed tickets; with them the used grants of 90 days ago.
fn forget_after_two_years(
    connection: &Connection,
    now: Timestamp,
) -> Result<technician::Purged, CacheError> {
    let first = earlier(now, RECORDS);
    let first_day = first.to_string();
    let first_day = first_day.get(..10).unwrap_or_default();
    technician::before_diary_forgets(connection, first_day)?;
    connection.execute("DELETE FROM diary WHERE day < ?1", [first_day])?;
    let limits = technician::Limits {
        record: first,
        grant: earlier(now, TOMBSTONE),
        rows_max: ROWS_MAX,
    };
    technician::purge(connection, &limits)
}

fn earlier(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

/// Whether the clock has leapt since a stored time. A ruined time is a leap: it must neither
/// stop the terminal nor make it forget.
fn has_leapt(stored_ms: i64, now: Timestamp) -> bool {
    let Ok(before) = timestamp(stored_ms) else {
        return true;
    };
    let moved = now.duration_since(before);
    moved > LEAP_AHEAD || moved < -LEAP_BACK
}

/// Compares the clock with the last entry of the audit log; to be called before a new one.
pub(crate) fn watch_clock(
    connection: &Connection,
    last_ms: i64,
    now: Timestamp,
) -> Result<(), CacheError> {
    if has_leapt(last_ms, now) {
        connection
            .prepare_cached("UPDATE clock SET seen_at = ?1, steady_since = ?1")?
            .execute([now.as_millisecond()])?;
    }
    Ok(())
}

/// Since when the clock has run without a leap, with this look counted.
fn look_at_clock(connection: &Connection, now: Timestamp) -> Result<Timestamp, CacheError> {
    let seen: Option<(i64, i64)> = connection
        .query_row("SELECT seen_at, steady_since FROM clock", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let last_entry: Option<i64> = connection
        .query_row(
            "SELECT at FROM audit_entry ORDER BY sequence DESC LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    let steady_since = match seen {
        Some((seen_at, steady_since)) => {
            let mut is_steady = !has_leapt(seen_at, now);
            if let Some(last_entry) = last_entry {
                is_steady |= !has_leapt(last_entry, now);
            }
            // Steady since a time that is yet to come: the clock has been back from there.
            if is_steady {
                timestamp(steady_since).unwrap_or(now).min(now)
            } else {
                now
            }
        }
        None => now,
    };
    connection.execute(
        "INSERT INTO clock (only, seen_at, steady_since) VALUES (1, ?1, ?2)
         ON CONFLICT (only) DO UPDATE SET seen_at = excluded.seen_at,
             steady_since = excluded.steady_since",
        params![now.as_millisecond(), steady_since.as_millisecond()],
    )?;
    Ok(steady_since)
}

/// What ended under a clock that was far ahead would be kept for ever; under a clock that is
/// believed its 90 days begin now.
fn begin_again_what_ended_in_the_future(
    connection: &Connection,
    now: Timestamp,
) -> Result<(), CacheError> {
    let latest = now.saturating_add(LEAP_BACK).unwrap_or(Timestamp::MAX);
    let times = params![now.as_millisecond(), latest.as_millisecond(), ROWS_MAX];
    connection.execute(
        "UPDATE outbox SET ended_at = ?1 WHERE sequence IN (
             SELECT sequence FROM outbox INDEXED BY outbox_tombstone
             WHERE is_open = 0 AND ended_at > ?2 LIMIT ?3)",
        times,
    )?;
    connection.execute(
        "UPDATE print SET changed_at = ?1 WHERE id IN (
             SELECT id FROM print INDEXED BY print_finished
             WHERE state IN ('taken', 'spoiled') AND changed_at > ?2 LIMIT ?3)",
        times,
    )?;
    technician::begin_again(connection, now, latest, ROWS_MAX)
}

#[cfg(test)]
mod tests;
