//! What was set at the place where the terminal stands, and is no configuration of the fleet: the
//! touch panel's corners, the camera's crop, the printer's offset. One JSON value for each.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use serde_json::json;

use super::{ROWS_MAX, time_of, word};
use crate::CacheError;
use crate::audit::{self, NewAudit};
use crate::cache::Cache;

/// Longest value in bytes (the schema says the same); the largest is some hundred numbers.
const JSON_BYTES_MAX: usize = 16 * 1024;

/// One calibration as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// What is calibrated.
    pub what: String,
    /// The value, JSON.
    pub json: String,
    /// When it was set.
    pub at: Timestamp,
    /// Account name of who set it.
    pub by: String,
}

impl Cache {
    /// Stores a calibration durably, over an earlier one.
    ///
    /// # Errors
    /// `OutOfRange` for an empty or overlong text or a value that is not JSON or over 16 KiB;
    /// `DiskFull`, `Store`.
    pub fn set_calibration(
        &mut self,
        what: &str,
        json: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        word(what, "calibration")?;
        word(by, "account name")?;
        // The length first: what is far too long is not read.
        if json.len() > JSON_BYTES_MAX || serde_json::from_str::<serde_json::Value>(json).is_err() {
            return Err(CacheError::OutOfRange {
                what: "value of a calibration",
            });
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached(
                "INSERT INTO calibration (what, json, set_at, set_by) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (what) DO UPDATE SET json = excluded.json,
                     set_at = excluded.set_at, set_by = excluded.set_by",
            )?
            .execute(params![what, json, now.as_millisecond(), by])?;
        let digest = kiosk_sealing::hex(&kiosk_sealing::sha256(json.as_bytes()));
        audit::append(
            &transaction,
            &self.directory.options.terminal,
            &NewAudit::own(
                "staff.calibration.set",
                by,
                &json!({ "what": what, "sha256": digest }),
            ),
            now,
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// The value of a calibration, JSON; `None` when it was never set.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn calibration(&self, what: &str) -> Result<Option<String>, CacheError> {
        let value = self
            .connection
            .prepare_cached("SELECT json FROM calibration WHERE what = ?1")?
            .query_row([what], |row| row.get(0))
            .optional()?;
        Ok(value)
    }

    /// All calibrations, by what they are of, at most 1,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn calibrations(&self) -> Result<Vec<Calibration>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT what, json, set_at, set_by FROM calibration ORDER BY what LIMIT ?1",
        )?;
        let mut rows = statement.query([ROWS_MAX])?;
        let mut calibrations = Vec::new();
        while let Some(row) = rows.next()? {
            calibrations.push(Calibration {
                what: row.get(0)?,
                json: row.get(1)?,
                at: time_of(row, 2)?,
                by: row.get(3)?,
            });
        }
        Ok(calibrations)
    }
}
