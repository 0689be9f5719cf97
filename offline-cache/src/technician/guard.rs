//! What keeps the unlocking from being guessed or repeated: how often it failed, how long it
//! waits, the numbers of boots and challenges, and which grants were used. All of it survives a
//! restart, and no number runs back.

use jiff::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};
use serde_json::json;
use uuid::Uuid;

use super::small_of;
use crate::CacheError;
use crate::audit::{self, NewAudit, TERMINAL};
use crate::cache::Cache;

/// Where the unlocking stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// Failures since the last success.
    pub failures: u32,
    /// Seconds that the next attempt has to wait, counted from the start of the program or the
    /// last attempt, whichever is later.
    pub wait_s: u32,
    /// Starts of the program; only grows.
    pub boots: u32,
    /// Challenges shown; only grows.
    pub counter: u32,
}

impl Cache {
    /// Where the unlocking stands; all 0 at first.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when the row cannot be understood.
    pub fn unlock_guard(&self) -> Result<Guard, CacheError> {
        Ok(stored(&self.connection)?.unwrap_or_default())
    }

    /// Stores where the unlocking stands and why, in one commit.
    ///
    /// # Errors
    /// `OutOfRange` when the number of boots or of challenges would run back, or for an entry that
    /// the audit log does not take; `DiskFull`, `Store`.
    pub fn set_unlock_guard(
        &mut self,
        guard: &Guard,
        entry: &NewAudit,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        entry.validate()?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = stored(&transaction)?.unwrap_or_default();
        if guard.boots < before.boots || guard.counter < before.counter {
            return Err(CacheError::OutOfRange {
                what: "number of challenges",
            });
        }
        transaction
            .prepare_cached(
                "INSERT INTO unlock_guard (only, failures, wait_s, boots, counter)
                 VALUES (1, ?1, ?2, ?3, ?4)
                 ON CONFLICT (only) DO UPDATE SET failures = excluded.failures,
                     wait_s = excluded.wait_s, boots = excluded.boots, counter = excluded.counter",
            )?
            .execute([guard.failures, guard.wait_s, guard.boots, guard.counter])?;
        audit::append(&transaction, &self.directory.options.terminal, entry, now)?;
        transaction.commit()?;
        Ok(())
    }

    /// Takes a grant durably; `false` when it was taken before and opens nothing.
    ///
    /// # Errors
    /// `DiskFull`, `Store`: then it opens nothing either.
    pub fn grant_used(&mut self, id: Uuid, now: Timestamp) -> Result<bool, CacheError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let added = transaction
            .prepare_cached(
                "INSERT INTO used_grant (id, used_at) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
            )?
            .execute(params![id.as_bytes(), now.as_millisecond()])?;
        if added == 0 {
            return Ok(false);
        }
        audit::append(
            &transaction,
            &self.directory.options.terminal,
            &NewAudit::own(
                "staff.unlock.grant-taken",
                TERMINAL,
                &json!({ "grant": id }),
            ),
            now,
        )?;
        transaction.commit()?;
        Ok(true)
    }
}

fn stored(connection: &Connection) -> Result<Option<Guard>, CacheError> {
    let mut statement =
        connection.prepare_cached("SELECT failures, wait_s, boots, counter FROM unlock_guard")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Guard {
        failures: small_of(row, 0)?,
        wait_s: small_of(row, 1)?,
        boots: small_of(row, 2)?,
        counter: small_of(row, 3)?,
    }))
}
