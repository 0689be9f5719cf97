//! What a dead victim left, looked at before the next one opens it: a copy of the database and its
//! log, so that the look itself changes nothing for the next life.

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

/// The files of a database.
const PARTS: [&str; 2] = ["kiosk.db", "kiosk.db-wal"];

/// A copy of a store as its owner left it.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) connection: Connection,
    _copy: TempDir,
}

/// Copies a store; `None` while it is not even made.
pub(super) fn look(store: &Path) -> anyhow::Result<Option<Remains>> {
    let copy = tempfile::tempdir()?;
    for part in PARTS {
        let from = store.join(part);
        if from.exists() {
            fs::copy(from, copy.path().join(part))?;
        }
    }
    if !copy.path().join(PARTS[0]).exists() {
        return Ok(None);
    }
    let connection = Connection::open(copy.path().join(PARTS[0]))?;
    // The newest table: without it the first opening had not come to its end.
    let is_made = connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'calibration'")?
        .exists([])?;
    Ok(is_made.then_some(Remains {
        connection,
        _copy: copy,
    }))
}
