//! What the platform wants of this terminal, by version: a newer one replaces an older one and an
//! older one never a newer, whatever order they come in.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use crate::CacheError;
use crate::cache::{Cache, count_of, stored_count};

/// Longest body in bytes; a thousand suspended items have under 64 KiB.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The desired state that was applied last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredState {
    /// The platform's version of it.
    pub version: u64,
    /// The verified body, JSON.
    pub body: String,
}

impl Cache {
    /// The desired state stored last, if any.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn desired_state(&self) -> Result<Option<DesiredState>, CacheError> {
        let found: Option<(i64, String)> = self
            .connection
            .prepare_cached("SELECT version, body FROM desired_state")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((version, body)) = found else {
            return Ok(None);
        };
        Ok(Some(DesiredState {
            version: count_of(version)?,
            body,
        }))
    }

    /// Stores a newer desired state durably; `false` when it is not newer and nothing changed.
    ///
    /// # Errors
    /// `OutOfRange` for an overlong body or a version beyond measure; `DiskFull`, `Store`.
    pub fn set_desired_state(
        &mut self,
        version: u64,
        body: &str,
        now: Timestamp,
    ) -> Result<bool, CacheError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(CacheError::OutOfRange {
                what: "desired state",
            });
        }
        let version = stored_count(version, "desired version")?;
        let changed = self
            .connection
            .prepare_cached(
                "INSERT INTO desired_state (only, version, body, set_at) VALUES (1, ?1, ?2, ?3)
                 ON CONFLICT (only) DO UPDATE SET version = excluded.version,
                     body = excluded.body, set_at = excluded.set_at
                 WHERE excluded.version > version",
            )?
            .execute(params![version, body, now.as_millisecond()])?;
        Ok(changed > 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::cache::tests::{at, scratch};

    #[test]
    fn only_a_newer_state_replaces_the_stored_one() {
        let mut scratch = scratch();
        assert_eq!(scratch.cache.desired_state().unwrap(), None);
        assert!(
            scratch
                .cache
                .set_desired_state(5, "{\"v\":5}", at(0))
                .unwrap()
        );
        assert!(
            !scratch
                .cache
                .set_desired_state(5, "{\"v\":0}", at(1))
                .unwrap()
        );
        assert!(
            !scratch
                .cache
                .set_desired_state(4, "{\"v\":4}", at(1))
                .unwrap()
        );
        let scratch = scratch.reopen();
        let state = scratch.cache.desired_state().unwrap().unwrap();
        assert_eq!((state.version, state.body.as_str()), (5, "{\"v\":5}"));
        let mut scratch = scratch.reopen();
        assert!(scratch.cache.set_desired_state(6, "{}", at(2)).unwrap());
    }

    #[test]
    fn what_is_beyond_measure_is_refused() {
        let mut scratch = scratch();
        let long = "x".repeat(300 * 1024);
        assert!(scratch.cache.set_desired_state(1, &long, at(0)).is_err());
        assert!(
            scratch
                .cache
                .set_desired_state(u64::MAX, "{}", at(0))
                .is_err()
        );
        assert_eq!(scratch.cache.desired_state().unwrap(), None);
    }
}
