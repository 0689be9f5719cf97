//! What is used up and filled again: how much was put in, and how much the diary has counted
//! since. The diary counts by device and word, so that a filling names the same two.

use jiff::Timestamp;
use rusqlite::{TransactionBehavior, params};
use serde_json::json;

use super::{ROWS_MAX, time_of, word};
use crate::CacheError;
use crate::audit::{self, NewAudit};
use crate::cache::{Cache, count_of, stored_count};

/// What was filled last, and what was used of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumable {
    /// Id of the device.
    pub device: String,
    /// What is used up, by the diary's word for its use, such as `page`.
    pub what: String,
    /// How much was put in, in the diary's unit.
    pub amount: u64,
    /// How much the diary has counted since; may exceed the amount when nobody told of a filling.
    pub used_since: u64,
    /// When it was filled.
    pub at: Timestamp,
    /// Account name of who filled it.
    pub by: String,
}

impl Cache {
    /// Notes durably that something was filled: its use is counted from here.
    ///
    /// # Errors
    /// `OutOfRange` for an empty or overlong text or an amount beyond measure; `DiskFull`,
    /// `Store`.
    pub fn replenish(
        &mut self,
        device: &str,
        what: &str,
        amount: u64,
        by: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        word(device, "device id")?;
        word(what, "diary word")?;
        word(by, "account name")?;
        let stored = stored_count(amount, "amount")?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        // total() and not sum(), which fails beyond measure.
        transaction
            .prepare_cached(
                "INSERT INTO replenishment (device, what, amount, counted, filled_at, filled_by)
                 SELECT ?1, ?2, ?3, CAST(total(count) AS INTEGER), ?4, ?5 FROM diary
                     WHERE device = ?1 AND what = ?2
                 ON CONFLICT (device, what) DO UPDATE SET amount = excluded.amount,
                     counted = excluded.counted, filled_at = excluded.filled_at,
                     filled_by = excluded.filled_by",
            )?
            .execute(params![device, what, stored, now.as_millisecond(), by])?;
        let detail = json!({ "device": device, "what": what, "amount": amount });
        audit::append(
            &transaction,
            &self.directory.options.terminal,
            &NewAudit::own("counter.replenished", by, &detail),
            now,
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Everything that was ever filled, by device and word, at most 1,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn consumables(&self) -> Result<Vec<Consumable>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT filling.device, filling.what, amount,
                 max(CAST(total(diary.count) AS INTEGER) - counted, 0), filled_at, filled_by
             FROM replenishment AS filling LEFT JOIN diary
                 ON diary.device = filling.device AND diary.what = filling.what
             GROUP BY filling.device, filling.what
             ORDER BY filling.device, filling.what LIMIT ?1",
        )?;
        let mut rows = statement.query([ROWS_MAX])?;
        let mut consumables = Vec::new();
        while let Some(row) = rows.next()? {
            consumables.push(Consumable {
                device: row.get(0)?,
                what: row.get(1)?,
                amount: count_of(row.get(2)?)?,
                used_since: count_of(row.get(3)?)?,
                at: time_of(row, 4)?,
                by: row.get(5)?,
            });
        }
        Ok(consumables)
    }
}

/// Keeps what was used since right when the diary forgets all days before one.
pub(crate) fn before_diary_forgets(
    connection: &rusqlite::Connection,
    first_day: &str,
) -> Result<(), CacheError> {
    connection.execute(
        "UPDATE replenishment SET counted = max(counted - (
             SELECT CAST(total(count) AS INTEGER) FROM diary
             WHERE day < ?1 AND diary.device = replenishment.device
               AND diary.what = replenishment.what), 0)",
        [first_day],
    )?;
    Ok(())
}
