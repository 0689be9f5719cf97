//! What the store does so that nothing is lost, nothing stays behind that was erased, and the log
//! cannot be rewritten: read from the open store as it is now, never from what the program meant to
//! set. For those who audit a terminal (GB/T 22239-2019).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;

use crate::cache::{ATTACHMENTS, Cache, DATABASE};
use crate::{CacheError, schema};

/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;
/// `synchronous` as the engine counts it: 2 is FULL, 3 is EXTRA.
const SYNC_FULL: i64 = 2;
/// `temp_store`: 2 is memory.
const TEMPORARIES_IN_MEMORY: i64 = 2;
/// Most files of the directory that are looked at. Chosen: a sound one has five, and two more for
/// each time that it was damaged.
const FILES_MAX: usize = 1000;
/// Most names that are told.
const NAMES_MAX: usize = 8;

/// One thing that the store does for what lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SafeguardKind {
    /// What is deleted is overwritten.
    SecureDelete,
    /// Each commit is on disk before it counts.
    FullSync,
    /// Commits go to a log first, which a power cut cannot tear.
    WriteAheadLog,
    /// No row speaks of another that is not there.
    ForeignKeys,
    /// Nothing that somebody wrote into the schema is trusted.
    DistrustedSchema,
    /// No page of the store in a temporary file.
    TemporariesInMemory,
    /// The triggers that keep the audit log append-only are all there, and as they were made.
    Triggers,
    /// Nobody but the owner can read or change the files.
    FileModes,
}

impl SafeguardKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SecureDelete,
        Self::FullSync,
        Self::WriteAheadLog,
        Self::ForeignKeys,
        Self::DistrustedSchema,
        Self::TemporariesInMemory,
        Self::Triggers,
        Self::FileModes,
    ];
}

/// One safeguard as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safeguard {
    /// Which.
    pub kind: SafeguardKind,
    /// It is as it should be.
    pub is_kept: bool,
    /// What was found, without anything of a citizen.
    pub found: String,
}

impl Cache {
    /// Every safeguard of the open store, in the order of [`SafeguardKind::ALL`]; settings of the
    /// engine are those of this connection.
    ///
    /// # Errors
    /// `Store` and `Io` when the store cannot be asked.
    pub fn safeguards(&self) -> Result<Vec<Safeguard>, CacheError> {
        let connection = &self.connection;
        let mut found = Vec::with_capacity(SafeguardKind::ALL.len());
        for (kind, name, is_good) in NUMBERS {
            let value: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
            found.push(Safeguard {
                kind,
                is_kept: is_good(value),
                found: format!("{name}={value}"),
            });
        }
        let journal: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        found.push(Safeguard {
            kind: SafeguardKind::WriteAheadLog,
            is_kept: journal == "wal",
            found: format!("journal_mode={journal}"),
        });
        found.push(triggers(connection)?);
        found.push(file_modes(&self.directory.path)?);
        found.sort_by_key(|safeguard| safeguard.kind);
        Ok(found)
    }
}

/// A setting of the engine by its name, and whether a value of it is good.
type Number = (SafeguardKind, &'static str, fn(i64) -> bool);

/// Settings of the engine that are numbers.
const NUMBERS: [Number; 5] = [
    // 2 would overwrite only where that costs nothing.
    (SafeguardKind::SecureDelete, "secure_delete", |is| is == 1),
    (SafeguardKind::FullSync, "synchronous", |is| is >= SYNC_FULL),
    (SafeguardKind::ForeignKeys, "foreign_keys", |is| is == 1),
    (SafeguardKind::DistrustedSchema, "trusted_schema", |is| {
        is == 0
    }),
    (SafeguardKind::TemporariesInMemory, "temp_store", |is| {
        is == TEMPORARIES_IN_MEMORY
    }),
];

/// Compares the triggers with those of a store that is made now.
fn triggers(connection: &Connection) -> Result<Safeguard, CacheError> {
    let mut fresh = Connection::open_in_memory()?;
    schema::migrate(&mut fresh)?;
    let (wanted, there) = (trigger_texts(&fresh)?, trigger_texts(connection)?);
    // A later program may have made one anew in other words, but must not have left it out.
    let is_same_version = version(&fresh)? == version(connection)?;
    let is_well = |name: &String, text: &String| {
        there
            .get(name)
            .is_some_and(|found| found == text || !is_same_version)
    };
    let wrong: Vec<&str> = wanted
        .iter()
        .filter(|(name, text)| !is_well(name, text))
        .map(|(name, _)| name.as_str())
        .collect();
    Ok(Safeguard {
        kind: SafeguardKind::Triggers,
        is_kept: wrong.is_empty(),
        found: if wrong.is_empty() {
            wanted.len().to_string()
        } else {
            wrong[..wrong.len().min(NAMES_MAX)].join(" ")
        },
    })
}

/// Every trigger by name, with its text.
fn trigger_texts(connection: &Connection) -> Result<BTreeMap<String, String>, CacheError> {
    let mut statement =
        connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn version(connection: &Connection) -> Result<i64, CacheError> {
    Ok(connection.query_row("SELECT version FROM schema_info", [], |row| row.get(0))?)
}

/// Looks at the directory and everything that lies directly in it; what lies deeper is behind a
/// directory that was looked at.
fn file_modes(directory: &Path) -> Result<Safeguard, CacheError> {
    let mut open = Vec::new();
    let mut look = |name: &str, metadata: &fs::Metadata| {
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & OTHERS != 0 && open.len() < NAMES_MAX {
            open.push(format!("{name} {mode:04o}"));
        }
    };
    look(".", &fs::metadata(directory)?);
    let mut count = 0;
    for entry in fs::read_dir(directory)?.take(FILES_MAX) {
        let entry = entry?;
        // One that has gone meanwhile is open to nobody.
        if let Ok(metadata) = entry.metadata() {
            look(&entry.file_name().to_string_lossy(), &metadata);
            count += 1;
        }
    }
    let is_whole = [DATABASE, ATTACHMENTS]
        .iter()
        .all(|name| directory.join(name).exists());
    if !is_whole {
        open.push("-".to_owned());
    }
    Ok(Safeguard {
        kind: SafeguardKind::FileModes,
        is_kept: open.is_empty(),
        found: if open.is_empty() {
            count.to_string()
        } else {
            open.join(", ")
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{self, Scratch, enqueue_sample};

    /// A store in a directory of its owner alone, as the store makes its own.
    fn scratch() -> Scratch {
        let scratch = tests::scratch();
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(scratch.directory.path(), mode).unwrap();
        scratch
    }

    fn broken(scratch: &Scratch) -> Vec<SafeguardKind> {
        let found = scratch.cache.safeguards().unwrap();
        let kinds: Vec<SafeguardKind> = found.iter().map(|each| each.kind).collect();
        assert_eq!(kinds, SafeguardKind::ALL);
        let broken = found.into_iter().filter(|each| !each.is_kept);
        broken.map(|each| each.kind).collect()
    }

    #[test]
    fn a_store_that_was_just_opened_keeps_them_all_on_every_connection() {
        let mut scratch = scratch();
        enqueue_sample(&mut scratch.cache, 1);
        assert_eq!(broken(&scratch), []);
        let other = scratch.cache.another().unwrap();
        let found = other.safeguards().unwrap();
        assert!(found.iter().all(|each| each.is_kept), "{found:?}");
    }

    #[test]
    fn each_setting_that_was_taken_away_is_found() {
        for (kind, sql) in [
            (SafeguardKind::SecureDelete, "PRAGMA secure_delete = FAST"),
            (SafeguardKind::FullSync, "PRAGMA synchronous = NORMAL"),
            (SafeguardKind::ForeignKeys, "PRAGMA foreign_keys = OFF"),
            (
                SafeguardKind::DistrustedSchema,
                "PRAGMA trusted_schema = ON",
            ),
            (
                SafeguardKind::TemporariesInMemory,
                "PRAGMA temp_store = FILE",
            ),
            (SafeguardKind::WriteAheadLog, "PRAGMA journal_mode = DELETE"),
            (
                SafeguardKind::Triggers,
                "DROP TRIGGER audit_entry_is_not_deleted",
            ),
            (
                SafeguardKind::Triggers,
                "DROP TRIGGER audit_entry_is_not_changed;
                 CREATE TRIGGER audit_entry_is_not_changed BEFORE UPDATE ON audit_entry
                 WHEN NEW.sequence < 0 BEGIN SELECT RAISE(ABORT, 'no'); END",
            ),
        ] {
            let scratch = scratch();
            scratch.cache.connection.execute_batch(sql).unwrap();
            assert_eq!(broken(&scratch), [kind], "{sql}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_named() {
        let scratch = scratch();
        let path = scratch.directory.path().join("kiosk.db");
        let mode = |bits| fs::Permissions::from_mode(bits);
        fs::set_permissions(&path, mode(0o640)).unwrap();
        assert_eq!(broken(&scratch), [SafeguardKind::FileModes]);
        let found = scratch.cache.safeguards().unwrap();
        assert_eq!(found.last().unwrap().found, "kiosk.db 0640");
        fs::set_permissions(&path, mode(0o600)).unwrap();
        fs::set_permissions(scratch.directory.path(), mode(0o755)).unwrap();
        let found = scratch.cache.safeguards().unwrap();
        assert_eq!(found.last().unwrap().found, ". 0755");
    }

    #[test]
    fn a_store_of_a_later_program_need_not_have_the_same_words_but_must_have_the_triggers() {
        let scratch = scratch();
        let run = |sql: &str| scratch.cache.connection.execute_batch(sql).unwrap();
        run("UPDATE schema_info SET version = 99;
             DROP TRIGGER audit_entry_is_not_deleted;
             CREATE TRIGGER audit_entry_is_not_deleted BEFORE DELETE ON audit_entry
             BEGIN SELECT RAISE(ABORT, 'otherwise'); END");
        assert_eq!(broken(&scratch), []);
        run("DROP TRIGGER audit_entry_is_not_deleted");
        assert_eq!(broken(&scratch), [SafeguardKind::Triggers]);
    }
}
