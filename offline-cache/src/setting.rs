//! Small settings that must survive a restart, one text value a key.

use rusqlite::{Connection, OptionalExtension, params};

use crate::CacheError;
use crate::cache::{Cache, bounded_text};

/// Longest value of a setting in bytes; chosen so that a setting stays a setting.
const VALUE_BYTES_MAX: usize = 16 * 1024;

impl Cache {
    /// The value stored under a key, if there is one.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn setting(&self, key: &str) -> Result<Option<String>, CacheError> {
        let value = self
            .connection
            .prepare_cached("SELECT value FROM setting WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        Ok(value)
    }

    /// Stores a value durably under a key, over an earlier one.
    ///
    /// # Errors
    /// `OutOfRange` when the key is empty or too long or the value over 16 KiB; `DiskFull`, `Store`.
    pub fn set_setting(&mut self, key: &str, value: &str) -> Result<(), CacheError> {
        validate(key, value)?;
        store(&self.connection, key, value)
    }
}

/// Refuses what is no setting.
pub(crate) fn validate(key: &str, value: &str) -> Result<(), CacheError> {
    bounded_text(key, "setting key")?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(CacheError::OutOfRange {
            what: "setting value",
        });
    }
    Ok(())
}

/// Stores a value over an earlier one.
pub(crate) fn store(connection: &Connection, key: &str, value: &str) -> Result<(), CacheError> {
    connection
        .prepare_cached(
            "INSERT INTO setting (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute(params![key, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cache::tests::scratch;

    #[test]
    fn a_setting_is_replaced_and_survives_reopening() {
        let mut scratch = scratch();
        assert_eq!(scratch.cache.setting("volume").unwrap(), None);
        scratch.cache.set_setting("volume", "3").unwrap();
        scratch.cache.set_setting("volume", "5").unwrap();
        let scratch = scratch.reopen();
        assert_eq!(
            scratch.cache.setting("volume").unwrap().as_deref(),
            Some("5")
        );
    }

    #[test]
    fn an_oversized_setting_is_refused() {
        let mut scratch = scratch();
        let error = scratch
            .cache
            .set_setting("notice", &"x".repeat(20_000))
            .unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
        assert!(scratch.cache.set_setting("", "x").is_err());
    }
}
