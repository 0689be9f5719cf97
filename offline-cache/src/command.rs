//! Commands of the platform: performed once, however often they come, and their result reported
//! until the platform has heard it, also across a restart that the command itself asked for.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use crate::CacheError;
use crate::cache::{Cache, bounded_text};
use crate::outbox::id_of;

/// Longest result in bytes; a code and some words.
const RESULT_BYTES_MAX: usize = 4 * 1024;

/// What is known of a command that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandStanding {
    /// It came for the first time and is to be performed now.
    New,
    /// It was begun and not finished: the process ended meanwhile, or it is under way.
    Begun,
    /// It was performed; the result is to be told again, nothing is to be done.
    Finished {
        /// The result as it was stored, JSON.
        result: String,
    },
}

impl Cache {
    /// Records durably that a command is begun, before it is performed.
    ///
    /// # Errors
    /// `OutOfRange` for an empty or overlong kind; `DiskFull`, `Store`.
    pub fn command_begin(
        &mut self,
        id: Uuid,
        kind: &str,
        now: Timestamp,
    ) -> Result<CommandStanding, CacheError> {
        bounded_text(kind, "command kind")?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: Option<Option<String>> = transaction
            .prepare_cached("SELECT result FROM command WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        match found {
            Some(Some(result)) => return Ok(CommandStanding::Finished { result }),
            Some(None) => return Ok(CommandStanding::Begun),
            None => {}
        }
        transaction
            .prepare_cached("INSERT INTO command (id, kind, begun_at) VALUES (?1, ?2, ?3)")?
            .execute(params![id.as_bytes(), kind, now.as_millisecond()])?;
        transaction.commit()?;
        Ok(CommandStanding::New)
    }

    /// Stores the result of a begun command; a result that is there already stays.
    ///
    /// # Errors
    /// `UnknownCommand`; `OutOfRange` for an empty or overlong result; `DiskFull`, `Store`.
    pub fn command_finish(
        &mut self,
        id: Uuid,
        result_json: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        if result_json.is_empty() || result_json.len() > RESULT_BYTES_MAX {
            return Err(CacheError::OutOfRange {
                what: "command result",
            });
        }
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE command SET result = coalesce(result, ?2),
                     finished_at = coalesce(finished_at, ?3)
                 WHERE id = ?1",
            )?
            .execute(params![id.as_bytes(), result_json, now.as_millisecond()])?;
        known(changed, id)
    }

    /// Results the platform has not confirmed yet, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn commands_unreported(&self, limit: u32) -> Result<Vec<(Uuid, String)>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, result FROM command INDEXED BY command_unreported
             WHERE finished_at IS NOT NULL AND reported_at IS NULL
             ORDER BY finished_at LIMIT ?1",
        )?;
        let mut rows = statement.query([limit])?;
        let mut results = Vec::new();
        while let Some(row) = rows.next()? {
            results.push((id_of(row, 0)?, row.get(1)?));
        }
        Ok(results)
    }

    /// The platform has the result. The same word again is harmless.
    ///
    /// # Errors
    /// `UnknownCommand` when there is none or it is not finished; `DiskFull`, `Store`.
    pub fn command_reported(&mut self, id: Uuid) -> Result<(), CacheError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE command SET reported_at = coalesce(reported_at, finished_at)
                 WHERE id = ?1 AND finished_at IS NOT NULL",
            )?
            .execute([id.as_bytes()])?;
        known(changed, id)
    }
}

fn known(changed: usize, id: Uuid) -> Result<(), CacheError> {
    if changed == 0 {
        return Err(CacheError::UnknownCommand { id });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{at, scratch};

    const DONE: &str = "{\"state\":\"done\"}";

    #[test]
    fn a_command_is_performed_once_however_often_it_comes() {
        let mut scratch = scratch();
        let id = Uuid::from_u128(1);
        let begin = |cache: &mut Cache| cache.command_begin(id, "restart", at(0)).unwrap();
        assert_eq!(begin(&mut scratch.cache), CommandStanding::New);
        // The command restarted the program before it could say so.
        let mut scratch = scratch.reopen();
        assert_eq!(begin(&mut scratch.cache), CommandStanding::Begun);
        scratch.cache.command_finish(id, DONE, at(1)).unwrap();
        let mut scratch = scratch.reopen();
        let finished = CommandStanding::Finished {
            result: DONE.to_owned(),
        };
        assert_eq!(begin(&mut scratch.cache), finished);
        scratch.cache.command_finish(id, "{}", at(2)).unwrap();
        assert_eq!(begin(&mut scratch.cache), finished);
    }

    #[test]
    fn a_result_is_reported_until_the_platform_has_it() {
        let mut scratch = scratch();
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        for (index, id) in ids.iter().enumerate() {
            let second = i64::try_from(index).unwrap();
            scratch.cache.command_begin(*id, "lock", at(0)).unwrap();
            scratch.cache.command_finish(*id, DONE, at(second)).unwrap();
        }
        let unreported = scratch.cache.commands_unreported(2).unwrap();
        assert_eq!(
            unreported,
            [(ids[0], DONE.to_owned()), (ids[1], DONE.to_owned())]
        );
        scratch.cache.command_reported(ids[0]).unwrap();
        scratch.cache.command_reported(ids[0]).unwrap();
        let mut scratch = scratch.reopen();
        let unreported = scratch.cache.commands_unreported(9).unwrap();
        assert_eq!(unreported.len(), 2);
        scratch.cache.command_reported(ids[1]).unwrap();
        scratch.cache.command_reported(ids[2]).unwrap();
        assert_eq!(scratch.cache.commands_unreported(9).unwrap(), []);
    }

    #[test]
    fn an_unknown_or_unfinished_command_is_told() {
        let mut scratch = scratch();
        let id = Uuid::from_u128(1);
        let error = scratch.cache.command_finish(id, DONE, at(0)).unwrap_err();
        assert_eq!(error.code(), "command.unknown");
        scratch.cache.command_begin(id, "lock", at(0)).unwrap();
        assert!(scratch.cache.command_reported(id).is_err());
        let long = "x".repeat(5_000);
        let error = scratch.cache.command_finish(id, &long, at(0)).unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }
}
