//! Brings a database to the schema of this program, one version a step, in one commit each. A
//! database that a newer program wrote is refused, never guessed at.

use super::StoreError;
use crate::Config;
use crate::database::{Database, DatabaseError, Value};

/// `SQLite`: the step to version 1, to version 2, and so on.
const SQLITE_STEPS: &[&str] = &[
    include_str!("../../sql/001_initial.sql"),
    include_str!("../../sql/002_whole_contract.sql"),
    include_str!("../../sql/003_tickets.sql"),
    include_str!("../../sql/004_held_releases.sql"),
    include_str!("../../sql/005_enrolment.sql"),
    include_str!("../../sql/006_fleet.sql"),
];
/// `PostgreSQL` began with version 2: the steps to each version.
const POSTGRES_STEPS: &[(i64, &str)] = &[
    (
        2,
        include_str!("../../sql/postgresql/002_whole_contract.sql"),
    ),
    (3, include_str!("../../sql/postgresql/003_tickets.sql")),
    (
        4,
        include_str!("../../sql/postgresql/004_held_releases.sql"),
    ),
    (5, include_str!("../../sql/postgresql/005_enrolment.sql")),
    (6, include_str!("../../sql/postgresql/006_fleet.sql")),
];
/// The version this program knows.
const VERSION: i64 = 6;

/// Brings a database to this program's version; a new one gets the first catalogue too.
pub(super) fn bring_up_to_date(database: &mut Database, config: &Config) -> Result<(), StoreError> {
    let found = match database {
        Database::Sqlite(connection) => sqlite_version(connection)?,
        Database::Postgres(_) => return bring_server_up_to_date(database, config),
    };
    if found > VERSION {
        return Err(StoreError::Newer {
            found,
            known: VERSION,
        });
    }
    let done = usize::try_from(found).unwrap_or(0);
    for (step, sql) in SQLITE_STEPS.iter().enumerate().skip(done) {
        database.transaction(|database| {
            // Another program may have come first since the version was read.
            let Database::Sqlite(connection) = database else {
                return Ok(());
            };
            if sqlite_version(connection)? > i64::try_from(step).unwrap_or(i64::MAX) {
                return Ok::<_, StoreError>(());
            }
            connection
                .execute_batch(&format!("{sql}\nPRAGMA user_version = {};", step + 1))
                .map_err(DatabaseError::from)?;
            if step == 0 {
                first_catalogue(database, config)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn sqlite_version(connection: &rusqlite::Connection) -> Result<i64, DatabaseError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn bring_server_up_to_date(database: &mut Database, config: &Config) -> Result<(), StoreError> {
    // Instances that start at the same moment wait for each other here, before anything is read;
    // the lock ends with the session's transaction.
    database.script("BEGIN; SELECT pg_advisory_xact_lock(7463187)")?;
    let outcome = server_steps(database, config);
    database.script(if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    })?;
    outcome
}

fn server_steps(database: &mut Database, config: &Config) -> Result<(), StoreError> {
    let table = database.query_one(
        "SELECT 'there' FROM pg_catalog.pg_tables
         WHERE schemaname = current_schema() AND tablename = 'schema_version'",
        &[],
    )?;
    let found = if table.is_none() {
        0
    } else {
        let row = database.query_one("SELECT version FROM schema_version", &[])?;
        row.map_or(Ok(0), |row| row.integer(0))?
    };
    if found > VERSION {
        return Err(StoreError::Newer {
            found,
            known: VERSION,
        });
    }
    for (_, sql) in POSTGRES_STEPS.iter().filter(|(to, _)| *to > found) {
        database.script(sql)?;
    }
    if found == 0 {
        first_catalogue(database, config)?;
    }
    Ok(())
}

fn first_catalogue(database: &mut Database, config: &Config) -> Result<(), StoreError> {
    for (id, version) in &config.items {
        database.execute(
            "INSERT INTO catalogue_item (id, version, is_suspended) VALUES (?1, ?2, 0)",
            &[Value::Text(id), Value::Integer((*version).into())],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::Store;
    use super::*;

    #[test]
    fn a_database_of_the_first_version_opens_with_its_rows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("platform.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(SQLITE_STEPS[0]).unwrap();
        let receipt = r#"{"reference":"P1","accepted_at":"2026-11-22T01:00:00Z","outcome":"accepted","message":"m"}"#;
        for id in [
            "01930000-0000-7000-8000-000000000002",
            "01930000-0000-7000-8000-000000000001",
        ] {
            connection
                .execute(
                    "INSERT INTO accepted VALUES (?1, 'T1', 'case', 'a', 'T1-1', x'00', '{}', 0, ?2,
                     '2026-11-22T01:00:00Z', 3)",
                    [id, receipt],
                )
                .unwrap();
        }
        connection
            .execute_batch("INSERT INTO catalogue_item VALUES ('a', 7, 0); PRAGMA user_version = 1")
            .unwrap();
        drop(connection);
        for _ in 0..2 {
            let mut store =
                Store::open(directory.path(), &Config::default(), Timestamp::UNIX_EPOCH).unwrap();
            let accepted = store.accepted().unwrap();
            assert_eq!(accepted.len(), 2);
            assert!(
                accepted[0].id > accepted[1].id,
                "the order of arrival was lost"
            );
            assert_eq!(
                (accepted[0].times_received, accepted[0].road.as_str()),
                (3, "network")
            );
            let items = store.catalogue().unwrap().items;
            assert_eq!((items.len(), items[0].version), (1, 7));
        }
    }

    #[test]
    fn a_newer_database_is_refused_and_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("platform.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        drop(connection);
        let refused = Store::open(directory.path(), &Config::default(), Timestamp::UNIX_EPOCH);
        assert!(matches!(refused, Err(StoreError::Newer { found: 99, .. })));
    }
}
