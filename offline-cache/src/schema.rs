//! Which version the database has and how it comes to the newest: one SQL file a version, each
//! applied in a transaction of its own together with its version number.

use rusqlite::{Connection, TransactionBehavior};

use crate::CacheError;

/// Every version ever shipped, in order; the first is version 1.
const VERSIONS: &[&str] = &[include_str!("../sql/001_initial.sql")];

/// Marks the file as ours for `file(1)` and for a person with a hex dump: "KIOS".
const APPLICATION_ID: i64 = 0x4B49_4F53;

/// Brings the database to the newest version.
///
/// # Errors
/// `NewerSchema` when a later program wrote the file; `Store` when a step fails, which leaves the
/// version before it in place.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), CacheError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = version_number(VERSIONS.len());
    if found > known {
        return Err(CacheError::NewerSchema { found, known });
    }
    let applied = usize::try_from(found).map_err(|_| CacheError::Inconsistent {
        what: "schema version",
    })?;
    for (index, sql) in VERSIONS.iter().enumerate().skip(applied) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version_number(index + 1))?;
        transaction.commit()?;
    }
    Ok(())
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
        migrate(&mut connection).unwrap();
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, version_number(VERSIONS.len()));
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection).unwrap_err();
        assert_eq!(error.code(), "queue.newer-schema");
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }
}
