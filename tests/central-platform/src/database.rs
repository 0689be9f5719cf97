//! One narrow door to two engines: `SQLite` in a file of its own, or a `PostgreSQL` server that
//! several instances share. Statements are written once, with `?1` for values; types are whole
//! numbers of 64 bits, text and bytes, which both engines keep alike.
//!
//! A transaction is as if nothing else ran beside it (`SQLite` has one writer, `PostgreSQL` runs
//! it serializable), and one that lost against another instance is run again.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use postgres::NoTls;
use postgres::error::SqlState;
use postgres::types::{ToSql, Type};
use rusqlite::types::{ToSqlOutput, ValueRef};

/// Longest wait for another process that writes to the same file.
const BUSY_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a connection to the server.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How often a transaction is run before it counts as failed. Of those that meet, one always
/// commits, so that this is also how many may meet.
const ATTEMPTS_MAX: u32 = 20;
/// Statements of this package; each is prepared once a connection.
const STATEMENTS_MAX: usize = 256;

/// The engine failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file.
    #[error("the database file failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The server, or the way to it.
    #[error("the database server failed")]
    Postgres(#[from] postgres::Error),
    /// The file cannot be made.
    #[error("the database file cannot be made")]
    Io(#[from] std::io::Error),
    /// A column is not of the type that the statement says.
    #[error("column {column} is not what was expected")]
    Column {
        /// Its place in the row, from 0.
        column: usize,
    },
}

impl DatabaseError {
    /// True when the same transaction may succeed if it is run again at once.
    fn is_lost_race(&self) -> bool {
        let Self::Postgres(error) = self else {
            return false;
        };
        error.code().is_some_and(|code| {
            *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
        })
    }
}

/// A value that goes into a statement.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Integer(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// A row that came out.
pub(crate) struct Row(Vec<Cell>);

enum Cell {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// A connection to one of the engines.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, and it is never moved"
)]
pub(crate) enum Database {
    Sqlite(rusqlite::Connection),
    Postgres(Server),
}

/// A connection to a server; made anew when it broke.
pub(crate) struct Server {
    client: postgres::Client,
    url: String,
    statements: HashMap<&'static str, postgres::Statement>,
    is_in_transaction: bool,
}

impl Database {
    /// Opens a file; makes it, readable by its owner alone, when there is none.
    pub(crate) fn sqlite(path: &Path) -> Result<Self, DatabaseError> {
        // Only ever made here, never opened: closing a second handle would take the engine's locks.
        if let Err(error) = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(path)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error.into());
        }
        let connection = rusqlite::Connection::open(path)?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self::Sqlite(connection))
    }

    /// Connects to a server, such as `postgres://platform@host/platform`.
    pub(crate) fn postgres(url: &str) -> Result<Self, DatabaseError> {
        Ok(Self::Postgres(Server {
            client: connect(url)?,
            url: url.to_owned(),
            statements: HashMap::new(),
            is_in_transaction: false,
        }))
    }

    /// Runs a statement; says how many rows it changed.
    pub(crate) fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, DatabaseError> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                Ok(statement.execute(rusqlite::params_from_iter(values))? as u64)
            }
            Self::Postgres(server) => {
                let statement = server.statement(sql)?;
                Ok(server.client.execute(&statement, &parameters(values))?)
            }
        }
    }

    /// Runs a statement that answers with rows; the statement itself bounds them.
    pub(crate) fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, DatabaseError> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let columns = statement.column_count();
                let mut found = statement.query(rusqlite::params_from_iter(values))?;
                let mut rows = Vec::new();
                while let Some(row) = found.next()? {
                    let cells: Result<_, _> = (0..columns)
                        .map(|column| row.get_ref(column).map(Cell::from))
                        .collect();
                    rows.push(Row(cells?));
                }
                Ok(rows)
            }
            Self::Postgres(server) => {
                let statement = server.statement(sql)?;
                let found = server.client.query(&statement, &parameters(values))?;
                found.iter().map(Row::of_server).collect()
            }
        }
    }

    /// Like [`Self::query`], for at most one row.
    pub(crate) fn query_one(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, DatabaseError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// Runs several statements without values, such as a schema.
    pub(crate) fn script(&mut self, sql: &str) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.execute_batch(sql)?,
            Self::Postgres(server) => server.client.batch_execute(sql)?,
        }
        Ok(())
    }

    /// Runs `act` as one transaction: all of it is durable when this returns `Ok`, and nothing of
    /// it otherwise. It may be run several times, so that it must do nothing outside the database.
    pub(crate) fn transaction<T, E>(
        &mut self,
        mut act: impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<DatabaseError> + MaybeDatabase,
    {
        let mut attempt = 1;
        loop {
            self.begin()?;
            let outcome = act(self).and_then(|value| {
                self.commit()?;
                Ok(value)
            });
            match outcome {
                Ok(value) => return Ok(value),
                Err(error) => {
                    self.roll_back();
                    let is_lost_race = error.database().is_some_and(DatabaseError::is_lost_race);
                    if !is_lost_race || attempt == ATTEMPTS_MAX {
                        return Err(error);
                    }
                    attempt += 1;
                }
            }
        }
    }

    fn begin(&mut self) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => {
                // Left open only by a handler that panicked.
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK")?;
                }
                connection.execute_batch("BEGIN IMMEDIATE")?;
            }
            Self::Postgres(server) => {
                server.reconnect()?;
                if server.is_in_transaction {
                    server.client.batch_execute("ROLLBACK")?;
                }
                server.is_in_transaction = true;
                server
                    .client
                    .batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE")?;
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), DatabaseError> {
        self.script("COMMIT")?;
        if let Self::Postgres(server) = self {
            server.is_in_transaction = false;
        }
        Ok(())
    }

    /// Takes back what an unfinished transaction did. If even that fails, the next one begins
    /// with it; a broken connection takes it back by itself.
    fn roll_back(&mut self) {
        let undone = match self {
            Self::Sqlite(connection) if connection.is_autocommit() => Ok(()),
            Self::Sqlite(_) | Self::Postgres(_) => self.script("ROLLBACK"),
        };
        match (undone, self) {
            (Ok(()), Self::Postgres(server)) => server.is_in_transaction = false,
            (Ok(()), Self::Sqlite(_)) => {}
            (Err(error), _) => tracing::warn!(%error, "a transaction could not be rolled back"),
        }
    }
}

/// An error that may come from the engine.
pub(crate) trait MaybeDatabase {
    /// The engine's part of it.
    fn database(&self) -> Option<&DatabaseError>;
}

impl MaybeDatabase for DatabaseError {
    fn database(&self) -> Option<&DatabaseError> {
        Some(self)
    }
}

impl Server {
    /// The prepared form of a statement, for this connection.
    fn statement(&mut self, sql: &'static str) -> Result<postgres::Statement, DatabaseError> {
        if !self.is_in_transaction {
            self.reconnect()?;
        }
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&with_dollars(sql))?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }

    fn reconnect(&mut self) -> Result<(), DatabaseError> {
        if self.client.is_closed() {
            self.client = connect(&self.url)?;
            self.statements.clear();
            self.is_in_transaction = false;
        }
        Ok(())
    }
}

fn connect(url: &str) -> Result<postgres::Client, DatabaseError> {
    let mut config: postgres::Config = url.parse()?;
    config.connect_timeout(CONNECT_MAX);
    Ok(config.connect(NoTls)?)
}

/// Writes `?1` as `$1`. No statement of this package has a question mark elsewhere.
fn with_dollars(sql: &str) -> String {
    sql.replace('?', "$")
}

fn parameters<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| -> &(dyn ToSql + Sync) {
            match value {
                Value::Integer(integer) => integer,
                Value::Text(text) => text,
                Value::Blob(blob) => blob,
            }
        })
        .collect()
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(blob) => ValueRef::Blob(blob),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            // No column of the schema holds fractions.
            ValueRef::Null | ValueRef::Real(_) => Self::Null,
            ValueRef::Integer(integer) => Self::Integer(integer),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(blob) => Self::Blob(blob.to_vec()),
        }
    }
}

impl Row {
    fn of_server(row: &postgres::Row) -> Result<Self, DatabaseError> {
        let mut cells = Vec::with_capacity(row.len());
        for (column, described) in row.columns().iter().enumerate() {
            let kind = described.type_();
            let cell = if *kind == Type::INT8 {
                row.try_get::<_, Option<i64>>(column)?.map(Cell::Integer)
            } else if *kind == Type::BYTEA {
                row.try_get::<_, Option<Vec<u8>>>(column)?.map(Cell::Blob)
            } else {
                row.try_get::<_, Option<String>>(column)?.map(Cell::Text)
            };
            cells.push(cell.unwrap_or(Cell::Null));
        }
        Ok(Self(cells))
    }

    /// A whole number.
    pub(crate) fn integer(&self, column: usize) -> Result<i64, DatabaseError> {
        match self.0.get(column) {
            Some(Cell::Integer(integer)) => Ok(*integer),
            Some(Cell::Null | Cell::Text(_) | Cell::Blob(_)) | None => {
                Err(DatabaseError::Column { column })
            }
        }
    }

    /// A count, which is never below 0.
    pub(crate) fn count(&self, column: usize) -> Result<u64, DatabaseError> {
        u64::try_from(self.integer(column)?).map_err(|_| DatabaseError::Column { column })
    }

    /// A small count.
    pub(crate) fn small(&self, column: usize) -> Result<u32, DatabaseError> {
        u32::try_from(self.integer(column)?).map_err(|_| DatabaseError::Column { column })
    }

    /// Text.
    pub(crate) fn text(&self, column: usize) -> Result<String, DatabaseError> {
        self.maybe_text(column)?
            .ok_or(DatabaseError::Column { column })
    }

    /// Text, or none.
    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<String>, DatabaseError> {
        match self.0.get(column) {
            Some(Cell::Text(text)) => Ok(Some(text.clone())),
            Some(Cell::Null) => Ok(None),
            Some(Cell::Integer(_) | Cell::Blob(_)) | None => Err(DatabaseError::Column { column }),
        }
    }

    /// Bytes.
    pub(crate) fn blob(&self, column: usize) -> Result<&[u8], DatabaseError> {
        match self.0.get(column) {
            Some(Cell::Blob(blob)) => Ok(blob),
            Some(Cell::Null | Cell::Integer(_) | Cell::Text(_)) | None => {
                Err(DatabaseError::Column { column })
            }
        }
    }
}

/// A count as the engines keep it.
pub(crate) fn stored(count: u64) -> Value<'static> {
    Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> (tempfile::TempDir, Database) {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Database::sqlite(&directory.path().join("a.db")).unwrap();
        database
            .script("CREATE TABLE t (a INTEGER, b TEXT, c BLOB)")
            .unwrap();
        (directory, database)
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_went() {
        let (_directory, mut database) = database();
        let values = [
            Value::Integer(-7),
            Value::Text("测"),
            Value::Blob(b"\0\xFF"),
        ];
        database
            .execute("INSERT INTO t VALUES (?1, ?2, ?3)", &values)
            .unwrap();
        let row = database.query_one("SELECT a, b, c, NULL FROM t", &[]);
        let row = row.unwrap().unwrap();
        assert_eq!(row.integer(0).unwrap(), -7);
        assert_eq!(row.text(1).unwrap(), "测");
        assert_eq!(row.blob(2).unwrap(), b"\0\xFF");
        assert_eq!(row.maybe_text(3).unwrap(), None);
        assert!(row.count(0).is_err() && row.text(3).is_err() && row.integer(9).is_err());
    }

    #[test]
    fn a_failed_transaction_leaves_nothing() {
        let (_directory, mut database) = database();
        let outcome: Result<(), DatabaseError> = database.transaction(|database| {
            database.execute("INSERT INTO t (a) VALUES (1)", &[])?;
            Err(DatabaseError::Column { column: 0 })
        });
        assert!(outcome.is_err());
        assert!(database.query("SELECT a FROM t", &[]).unwrap().is_empty());
        let outcome: Result<(), DatabaseError> = database.transaction(|database| {
            database.execute("INSERT INTO t (a) VALUES (1)", &[])?;
            Ok(())
        });
        outcome.unwrap();
        assert_eq!(database.query("SELECT a FROM t", &[]).unwrap().len(), 1);
    }

    #[test]
    fn a_handler_that_panicked_leaves_no_open_transaction() {
        let (_directory, mut database) = database();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(
                database.transaction(|database| -> Result<(), DatabaseError> {
                    database.execute("INSERT INTO t (a) VALUES (1)", &[])?;
                    panic!("a bug");
                }),
            );
        }));
        assert!(panicked.is_err());
        let rows: Result<usize, DatabaseError> =
            database.transaction(|database| Ok(database.query("SELECT a FROM t", &[])?.len()));
        assert_eq!(rows.unwrap(), 0);
    }

    #[test]
    fn a_file_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (directory, _database) = database();
        let mode = std::fs::metadata(directory.path().join("a.db"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn places_for_values_are_written_as_each_engine_wants_them() {
        assert_eq!(with_dollars("a = ?1 AND b = ?12"), "a = $1 AND b = $12");
    }
}
