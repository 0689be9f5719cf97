//! One commit on the path that a villager waits on: begun and made by statements that are kept
//! compiled, and undone when it is dropped before it was made.

use rusqlite::Connection;

use crate::CacheError;

/// A commit that has begun.
#[derive(Debug)]
pub(super) struct Commit<'a>(&'a Connection);

impl<'a> Commit<'a> {
    /// Begins one, as the only writer.
    pub(super) fn begin(connection: &'a Connection) -> Result<Self, CacheError> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self(connection))
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// `DiskFull`, `Store`: nothing of it was stored.
    pub(super) fn make(self) -> Result<(), CacheError> {
        self.0.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        // Also after a failed COMMIT, which may leave it open.
        if !self.0.is_autocommit() {
            // What cannot be undone now is undone by the engine when the connection goes.
            drop(self.0.execute_batch("ROLLBACK"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::scratch;

    #[test]
    fn what_was_not_made_is_undone() {
        let scratch = scratch();
        let connection = &scratch.cache.connection;
        for is_made in [false, true] {
            let commit = Commit::begin(connection).unwrap();
            connection
                .execute("INSERT INTO setting VALUES ('a', 'b')", [])
                .unwrap();
            if is_made {
                commit.make().unwrap();
            } else {
                drop(commit);
            }
            let is_there = scratch.cache.setting("a").unwrap().is_some();
            assert_eq!(is_there, is_made);
            assert!(connection.is_autocommit());
        }
    }

    #[test]
    fn there_is_one_writer_at_a_time() {
        let scratch = scratch();
        let other = scratch.cache.another().unwrap();
        other
            .connection
            .busy_timeout(std::time::Duration::ZERO)
            .unwrap();
        let commit = Commit::begin(&scratch.cache.connection).unwrap();
        assert!(Commit::begin(&other.connection).is_err());
        commit.make().unwrap();
        assert!(Commit::begin(&other.connection).is_ok());
    }
}
