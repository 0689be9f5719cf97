//! Which version the database has and how it comes to the newest: one SQL file a version, each
//! applied in a transaction of its own together with its version number.
//!
//! Updates roll back, so a file says which is the oldest program that may still open it. That
//! number stands in the engine's `user_version`, where version 1 looked already, and together
//! with the version of the file in the table `schema_info`. An older program that may open a file
//! works on it and does not change its schema.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::CacheError;

/// One version ever shipped.
struct Version {
    sql: &'static str,
    /// The oldest program version whose statements all work on a file of this version.
    oldest_reader: i64,
}

/// Every version ever shipped, in order; the first is version 1.
const VERSIONS: &[Version] = &[
    Version {
        sql: include_str!("../sql/001_initial.sql"),
        oldest_reader: 1,
    },
    Version {
        sql: include_str!("../sql/002_audit_upstreams_carry_out.sql"),
        oldest_reader: 1,
    },
    Version {
        sql: include_str!("../sql/003_arrivals.sql"),
        oldest_reader: 2,
    },
    Version {
        sql: include_str!("../sql/004_technician.sql"),
        oldest_reader: 2,
    },
    Version {
        sql: include_str!("../sql/005_visit_ends.sql"),
        oldest_reader: 2,
    },
];

/// Marks the file as ours for `file(1)` and for a person with a hex dump: "KIOS".
const APPLICATION_ID: i64 = 0x4B49_4F53;

/// Brings the database to the newest version, or leaves one that a later program wrote and that
/// this program may still open.
///
/// # Errors
/// `NewerSchema` when a later program wrote the file and this one may not touch it; `Store` when
/// a step fails, which leaves the version before it in place.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), CacheError> {
    let known = version_number(VERSIONS.len());
    let found = Found::read(connection)?;
    if found.version > known {
        if found.oldest_reader > known {
            return Err(CacheError::NewerSchema {
                found: found.version,
                known,
            });
        }
        return Ok(());
    }
    let applied = usize::try_from(found.version).map_err(|_| CacheError::Inconsistent {
        what: "schema version",
    })?;
    for (index, version) in VERSIONS.iter().enumerate().skip(applied) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(version.sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version.oldest_reader)?;
        if index > 0 {
            transaction.execute(
                "UPDATE schema_info SET version = ?1, oldest_reader = ?2",
                [version_number(index + 1), version.oldest_reader],
            )?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// What a file says of itself.
struct Found {
    version: i64,
    oldest_reader: i64,
}

impl Found {
    fn read(connection: &Connection) -> Result<Self, CacheError> {
        let user_version: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let has_info = connection
            .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_info'")?
            .exists([])?;
        if !has_info {
            return Ok(Self {
                version: user_version,
                oldest_reader: user_version,
            });
        }
        let info: Option<(i64, i64)> = connection
            .query_row(
                "SELECT version, oldest_reader FROM schema_info",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let (version, oldest_reader) = info.ok_or(CacheError::Inconsistent {
            what: "schema version",
        })?;
        Ok(Self {
            // A later program may count in the engine's number only.
            version: version.max(user_version),
            oldest_reader,
        })
    }
}

/// The version that this program makes.
#[cfg(test)]
pub(crate) fn newest() -> i64 {
    version_number(VERSIONS.len())
}

fn version_number(count: usize) -> i64 {
    i64::try_from(count).expect("fewer versions than an i64 holds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrating_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let before = tables(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(tables(&connection), before);
        let found = Found::read(&connection).unwrap();
        assert_eq!(found.version, newest());
        assert_eq!(found.oldest_reader, 2);
    }

    fn tables(connection: &Connection) -> i64 {
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection).unwrap_err();
        assert_eq!(error.code(), "queue.newer-schema");
        assert_eq!(tables(&connection), 0);
    }

    fn newer(oldest_reader: i64) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection
            .execute(
                "UPDATE schema_info SET version = 99, oldest_reader = ?1",
                [oldest_reader],
            )
            .unwrap();
        connection
            .pragma_update(None, "user_version", oldest_reader)
            .unwrap();
        connection
    }

    #[test]
    fn a_newer_database_that_names_this_version_is_opened_and_not_migrated() {
        let mut connection = newer(newest());
        let before = tables(&connection);
        migrate(&mut connection).unwrap();
        assert_eq!(tables(&connection), before);
        assert_eq!(Found::read(&connection).unwrap().version, 99);
    }

    #[test]
    fn a_newer_database_that_asks_for_a_newer_program_is_refused() {
        let error = migrate(&mut newer(newest() + 1)).unwrap_err();
        assert!(matches!(
            error,
            CacheError::NewerSchema { found: 99, known } if known == newest()
        ));
    }

    /// What version 2 looks at before it opens a file: it refuses one whose `oldest_reader` or
    /// `user_version` is above 2. Version 1, which looks at `user_version` alone, knows nothing of
    /// arrivals and is refused.
    #[test]
    fn version_2_still_opens_what_this_version_wrote_and_version_1_does_not() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let user_version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(user_version, 2);
        assert_eq!(Found::read(&connection).unwrap().oldest_reader, 2);
    }
}
