//! Whose turn it is: each upstream has its own line, patient work has a line beside it, and what
//! may go now is merged by sequence. A line that is held is not looked at, however long it is.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::CacheError;
use crate::cache::{Cache, count_of, timestamp};
use crate::outbox::DEFER_MAX;

/// Most upstreams looked at in one call; a county has a dozen.
const UPSTREAMS_MAX: usize = 1_000;
/// Most rows of a line one call promotes; what is left is done by the next call.
const ROWS_MAX: i64 = 10_000;

/// The index and its condition of each line.
const READY: &str = "outbox INDEXED BY outbox_ready
    WHERE state = 1 AND is_blocked = 0 AND next_at = 0";
const UPLOADING: &str = "outbox INDEXED BY outbox_uploading
    WHERE state = 0 AND is_blocked = 0 AND next_at = 0";
const DEFERRED: &str = "outbox INDEXED BY outbox_deferred
    WHERE state <= 1 AND next_at > 0";
const UNSETTLED: &str = "outbox INDEXED BY outbox_unsettled
    WHERE state <= 2";
const DEAD: &str = "outbox INDEXED BY outbox_dead
    WHERE state = 4 AND is_open = 1";

/// What may be sent now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ready<'a> {
    /// Upstreams that nothing is to be sent to now.
    pub held: &'a [String],
    /// Whether what can wait may go too.
    pub with_patient: bool,
}

impl Ready<'_> {
    /// Everything may go.
    pub const ALL: Ready<'static> = Ready {
        held: &[],
        with_patient: true,
    };

    fn is_held(&self, upstream: &str) -> bool {
        self.held.iter().any(|held| held == upstream)
    }

    /// The lines beside one upstream: urgent work, then what can wait.
    fn patience(&self) -> &'static [bool] {
        if self.with_patient {
            &[false, true]
        } else {
            &[false]
        }
    }
}

/// How much waits for one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamDepth {
    /// The upstream; empty for the platform itself.
    pub upstream: String,
    /// Transactions on their way: waiting, pending or in flight.
    pub waiting: u64,
    /// Dead transactions nobody has closed.
    pub dead: u64,
    /// When the first one on its way was enqueued.
    pub oldest_enqueued_at: Option<Timestamp>,
}

/// A line that is claimed from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Line {
    /// Ready to be sent.
    Ready,
    /// Attachments are to be uploaded first.
    Uploading,
}

impl Line {
    fn index(self) -> &'static str {
        match self {
            Self::Ready => READY,
            Self::Uploading => UPLOADING,
        }
    }

    pub(crate) fn sequences_sql(self) -> String {
        format!(
            "SELECT sequence FROM {} AND upstream = ?1 AND can_wait = ?2
             ORDER BY sequence LIMIT ?3",
            self.index()
        )
    }

    fn any_sql(self) -> String {
        format!(
            "SELECT 1 FROM {} AND upstream = ?1 AND can_wait = ?2 LIMIT 1",
            self.index()
        )
    }
}

impl Cache {
    /// How much waits for each upstream that has something waiting or dead, by name.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn upstream_depths(&self) -> Result<Vec<UpstreamDepth>, CacheError> {
        self.place_arrivals()?;
        // One read transaction, so that the numbers are of one moment.
        let transaction = self.connection.unchecked_transaction()?;
        let mut names: BTreeSet<String> = BTreeSet::new();
        names.extend(upstreams(&transaction, UNSETTLED)?);
        names.extend(upstreams(&transaction, DEAD)?);
        let mut depths = Vec::new();
        for upstream in names {
            let count = |line: &str| -> Result<u64, CacheError> {
                let sql = format!("SELECT count(*) FROM {line} AND upstream = ?1");
                let mut statement = transaction.prepare_cached(&sql)?;
                count_of(statement.query_row([&upstream], |row| row.get(0))?)
            };
            let (waiting, dead) = (count(UNSETTLED)?, count(DEAD)?);
            if waiting == 0 && dead == 0 {
                continue;
            }
            let oldest: Option<i64> = transaction
                .prepare_cached(&format!(
                    "SELECT enqueued_at FROM {UNSETTLED} AND upstream = ?1
                     ORDER BY sequence LIMIT 1"
                ))?
                .query_row([&upstream], |row| row.get(0))
                .optional()?;
            depths.push(UpstreamDepth {
                upstream,
                waiting,
                dead,
                oldest_enqueued_at: oldest.map(timestamp).transpose()?,
            });
        }
        Ok(depths)
    }
}

/// Upstreams with rows in a line, found by skipping from one to the next; the platform itself is
/// always among them.
fn upstreams(connection: &Connection, line: &str) -> Result<Vec<String>, CacheError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT upstream FROM {line} AND upstream > ?1 ORDER BY upstream LIMIT 1"
    ))?;
    let mut found = vec![String::new()];
    while found.len() < UPSTREAMS_MAX {
        let next: Option<String> = statement
            .query_row([found.last()], |row| row.get(0))
            .optional()?;
        match next {
            Some(next) => found.push(next),
            None => break,
        }
    }
    Ok(found)
}

/// The lines that may go, each an upstream and whether it is the patient one.
fn open_lines(
    connection: &Connection,
    line: &str,
    ready: &Ready<'_>,
) -> Result<Vec<(String, bool)>, CacheError> {
    let mut open = Vec::new();
    for upstream in upstreams(connection, line)? {
        if !ready.is_held(&upstream) {
            open.extend(
                ready
                    .patience()
                    .iter()
                    .map(|can_wait| (upstream.clone(), *can_wait)),
            );
        }
    }
    Ok(open)
}

/// The first sequences of a line over all upstreams that may go, in order, at most `limit`.
pub(crate) fn sequences(
    connection: &Connection,
    line: Line,
    ready: &Ready<'_>,
    limit: u32,
) -> Result<Vec<i64>, CacheError> {
    let mut merged = Vec::new();
    for (upstream, can_wait) in open_lines(connection, line.index(), ready)? {
        let mut statement = connection.prepare_cached(&line.sequences_sql())?;
        let mut rows = statement.query(params![upstream, can_wait, limit])?;
        while let Some(row) = rows.next()? {
            merged.push(row.get(0)?);
        }
    }
    merged.sort_unstable();
    merged.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(merged)
}

/// Whether anything of a line may go now.
pub(crate) fn has_any(
    connection: &Connection,
    line: Line,
    ready: &Ready<'_>,
) -> Result<bool, CacheError> {
    for (upstream, can_wait) in open_lines(connection, line.index(), ready)? {
        let mut statement = connection.prepare_cached(&line.any_sql())?;
        if statement.exists(params![upstream, can_wait])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When the first deferred row that may go is tried again, as stored.
pub(crate) fn next_deferred(
    connection: &Connection,
    ready: &Ready<'_>,
) -> Result<Option<i64>, CacheError> {
    let mut earliest: Option<i64> = None;
    for (upstream, can_wait) in open_lines(connection, DEFERRED, ready)? {
        let next: Option<i64> = connection
            .prepare_cached(&format!(
                "SELECT next_at FROM {DEFERRED} AND upstream = ?1 AND can_wait = ?2
                 ORDER BY next_at LIMIT 1"
            ))?
            .query_row(params![upstream, can_wait], |row| row.get(0))
            .optional()?;
        earliest = match (earliest, next) {
            (Some(earliest), Some(next)) => Some(earliest.min(next)),
            (earliest, next) => earliest.or(next),
        };
    }
    Ok(earliest)
}

/// Deferred rows whose time has come are ready again; so are those of an impossible future, left
/// by a clock that has gone back since.
pub(crate) fn promote_deferred(
    connection: &Connection,
    now: Timestamp,
    ready: &Ready<'_>,
) -> Result<(), CacheError> {
    let latest = now.saturating_add(DEFER_MAX).unwrap_or(Timestamp::MAX);
    for (upstream, can_wait) in open_lines(connection, DEFERRED, ready)? {
        for (condition, limit_time) in [("<= ?1", now), ("> ?1", latest)] {
            let sql = format!(
                "UPDATE outbox SET next_at = 0 WHERE sequence IN (
                     SELECT sequence FROM {DEFERRED} AND upstream = ?3 AND can_wait = ?4
                       AND next_at {condition} LIMIT ?2)"
            );
            connection.prepare_cached(&sql)?.execute(params![
                limit_time.as_millisecond(),
                ROWS_MAX,
                upstream,
                can_wait
            ])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
