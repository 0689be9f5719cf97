//! The directory and its owner: one process at a time, every commit on disk before a call
//! returns, and an opening that puts right what a power cut left behind.
//!
//! A damaged database is moved aside together with its attachments and reported; it holds the
//! only copy of what villagers confirmed, so nothing here ever deletes it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use crate::{CacheError, attachment, outbox, schema};

/// Name of the database inside the directory.
const DATABASE: &str = "kiosk.db";
/// Name of the directory of attachment files.
const ATTACHMENTS: &str = "attachments";
/// Longest wait for the other connection of this process; a commit takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The log file is cut back to this size after a checkpoint; 16 MiB is some 10,000 rows.
const JOURNAL_BYTES_MAX: i64 = 16 * 1024 * 1024;
/// Databases up to this size are checked page by page at start, which takes well under a second;
/// larger ones only have their header and schema read, so that the start stays bounded.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest short text (kind, item, case number, code, name) in bytes; chosen.
const TEXT_BYTES_MAX: usize = 256;
/// Most names tried for a quarantined file before giving up.
const QUARANTINE_NAMES_MAX: u32 = 100;

/// One connection to the cache. A process opens it once and takes [`Cache::another`] for each
/// further thread.
#[derive(Debug)]
pub struct Cache {
    pub(crate) connection: Connection,
    pub(crate) directory: Arc<Directory>,
}

/// What was found and put right when the cache was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// Transactions that were in flight when the process ended and are pending again.
    pub recovered_in_flight: u32,
    /// Name of the damaged database that was moved aside, inside the cache directory. Its
    /// attachments lie beside it in `attachments.corrupt-<same suffix>`.
    pub quarantined: Option<String>,
    /// Attachment files removed because no transaction speaks of them.
    pub orphans_removed: u32,
    /// Settled transactions and finished prints whose 90 days are over and that were forgotten.
    pub tombstones_removed: u32,
}

/// The place on disk, locked as long as any connection lives.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Held for its lock only.
    _lock: File,
}

impl Directory {
    pub(crate) fn attachments(&self) -> PathBuf {
        self.path.join(ATTACHMENTS)
    }
}

impl Cache {
    /// Opens the cache in a directory, makes it if it is not there, and recovers: in-flight
    /// transactions are pending again, a damaged database is moved aside, orphans are removed.
    ///
    /// # Errors
    /// `InUse` when another process has it open (try later or give up); `NewerSchema` when a
    /// later program wrote it; `DiskFull`, `Io` and `Store` when the disk does not serve.
    pub fn open(directory: &Path, now: Timestamp) -> Result<(Self, Opening), CacheError> {
        make_directory(directory)?;
        let directory = Arc::new(Directory {
            _lock: lock(directory)?,
            path: directory.to_owned(),
        });
        let mut opening = Opening::default();
        let (connection, recovered) = match open_checked(&directory.path) {
            Err(error) if error.is_corruption() => {
                opening.quarantined = Some(quarantine(&directory.path, now)?);
                open_checked(&directory.path)?
            }
            outcome => outcome?,
        };
        opening.recovered_in_flight = recovered;
        make_directory(&directory.attachments())?;
        sync_directory(&directory.path)?;
        let mut cache = Self {
            connection,
            directory,
        };
        opening.tombstones_removed = cache.purge(now)?;
        opening.orphans_removed = attachment::remove_orphans(&cache)?;
        Ok((cache, opening))
    }

    /// A second connection of the same process, for another thread.
    ///
    /// # Errors
    /// `Store` when the database cannot be opened again.
    pub fn another(&self) -> Result<Self, CacheError> {
        Ok(Self {
            connection: connect(&self.directory.path)?,
            directory: Arc::clone(&self.directory),
        })
    }
}

fn make_directory(path: &Path) -> Result<(), CacheError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    Ok(())
}

fn lock(directory: &Path) -> Result<File, CacheError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(CacheError::InUse),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Opens, checks, migrates and puts in-flight rows back, whose number is returned too; an error
/// with [`CacheError::is_corruption`] asks for quarantine.
fn open_checked(directory: &Path) -> Result<(Connection, u32), CacheError> {
    let path = directory.join(DATABASE);
    // Made here first, because the database engine would make it readable for everybody.
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)?;
    let size = fs::metadata(&path)?.len();
    let mut connection = connect(directory)?;
    if size > 0 && size <= CHECKED_BYTES_MAX {
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(CacheError::Inconsistent { what: "database" });
        }
    }
    schema::migrate(&mut connection)?;
    let recovered = outbox::recover_in_flight(&connection)?;
    Ok((connection, recovered))
}

fn connect(directory: &Path) -> Result<Connection, CacheError> {
    let connection = Connection::open_with_flags(
        directory.join(DATABASE),
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: the log is synced on every commit. NORMAL loses the last commits on a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Moves the database, its log and its attachments aside and returns the database's new name.
fn quarantine(directory: &Path, now: Timestamp) -> Result<String, CacheError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    for attempt in 0..QUARANTINE_NAMES_MAX {
        // A clock that stands still must not let a second damaged file replace the first.
        let suffix = match attempt {
            0 => format!("corrupt-{stamp}"),
            _ => format!("corrupt-{stamp}-{attempt}"),
        };
        let name = format!("{DATABASE}.{suffix}");
        if directory.join(&name).exists() {
            continue;
        }
        // The log first: should the power fail between the moves, a database without its log is
        // still seen as damaged or merely old, while a log beside a new database would be wrong.
        for part in ["-wal", "-shm", ""] {
            move_if_there(
                &directory.join(format!("{DATABASE}{part}")),
                &directory.join(format!("{name}{part}")),
            )?;
        }
        move_if_there(
            &directory.join(ATTACHMENTS),
            &directory.join(format!("{ATTACHMENTS}.{suffix}")),
        )?;
        sync_directory(directory)?;
        return Ok(name);
    }
    Err(CacheError::Io(io::Error::from(
        io::ErrorKind::AlreadyExists,
    )))
}

fn move_if_there(from: &Path, to: &Path) -> Result<(), CacheError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes names in a directory durable: a new or renamed file is lost without it.
pub(crate) fn sync_directory(path: &Path) -> Result<(), CacheError> {
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Refuses an empty or overlong short text.
pub(crate) fn bounded_text(text: &str, what: &'static str) -> Result<(), CacheError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(CacheError::OutOfRange { what });
    }
    Ok(())
}

/// A stored time; a value out of range means that the file was changed from outside.
pub(crate) fn timestamp(millisecond: i64) -> Result<Timestamp, CacheError> {
    Timestamp::from_millisecond(millisecond).map_err(|_| CacheError::Inconsistent { what: "time" })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use tempfile::TempDir;
    use uuid::Uuid;

    use super::*;
    use crate::NewTransaction;

    /// A cache in a directory of its own.
    pub(crate) struct Scratch {
        pub(crate) cache: Cache,
        pub(crate) directory: TempDir,
    }

    impl Scratch {
        pub(crate) fn reopen(self) -> Self {
            let Self { cache, directory } = self;
            drop(cache);
            let (cache, _) = Cache::open(directory.path(), at(0)).unwrap();
            Self { cache, directory }
        }
    }

    pub(crate) fn scratch() -> Scratch {
        let directory = tempfile::tempdir().unwrap();
        let (cache, _) = Cache::open(directory.path(), at(0)).unwrap();
        Scratch { cache, directory }
    }

    /// A moment so many seconds after a fixed one.
    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    /// A transaction without attachments whose id and content follow from a number.
    pub(crate) fn sample(number: u8) -> NewTransaction {
        NewTransaction {
            id: Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)),
            kind: "case".to_owned(),
            item: "old-age-allowance".to_owned(),
            item_version: 3,
            case_number: format!("T1-20261122-{number:04}"),
            subject: [number; 32],
            payload: format!("{{\"n\":{number}}}").into_bytes(),
            payload_suite: "plain".to_owned(),
            attachments: Vec::new(),
        }
    }

    pub(crate) fn enqueue_sample(cache: &mut Cache, number: u8) -> Uuid {
        let transaction = sample(number);
        cache.enqueue(&transaction, at(0)).unwrap();
        transaction.id
    }

    fn pragma(cache: &Cache, name: &str) -> i64 {
        cache
            .connection
            .pragma_query_value(None, name, |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn every_connection_syncs_fully_and_enforces_foreign_keys() {
        let scratch = scratch();
        let other = scratch.cache.another().unwrap();
        for cache in [&scratch.cache, &other] {
            assert_eq!(pragma(cache, "synchronous"), 2);
            assert_eq!(pragma(cache, "foreign_keys"), 1);
            assert_eq!(pragma(cache, "secure_delete"), 1);
            assert_eq!(pragma(cache, "journal_size_limit"), JOURNAL_BYTES_MAX);
            let mode: String = cache
                .connection
                .pragma_query_value(None, "journal_mode", |row| row.get(0))
                .unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn only_the_owner_can_read_what_is_queued() {
        use std::os::unix::fs::PermissionsExt;
        let mut scratch = scratch();
        enqueue_sample(&mut scratch.cache, 1);
        for name in ["kiosk.db", "kiosk.db-wal", "lock"] {
            let mode = fs::metadata(scratch.directory.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }

    #[test]
    fn a_second_owner_is_refused_until_the_first_has_gone() {
        let scratch = scratch();
        let other = scratch.cache.another().unwrap();
        let error = Cache::open(scratch.directory.path(), at(0)).unwrap_err();
        assert_eq!(error.code(), "queue.in-use");
        drop(scratch.cache);
        assert!(Cache::open(scratch.directory.path(), at(0)).is_err());
        drop(other);
        assert!(Cache::open(scratch.directory.path(), at(0)).is_ok());
    }

    fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
        let mut file = OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn check_quarantine(damage: impl Fn(&Path)) {
        let mut scratch = scratch();
        for number in 1..60 {
            enqueue_sample(&mut scratch.cache, number);
        }
        let Scratch { cache, directory } = scratch;
        // Closing checkpoints the log into the file, so that the damage is what is read.
        drop(cache);
        let path = directory.path();
        fs::write(path.join("attachments/kept"), b"evidence").unwrap();
        damage(&path.join(DATABASE));
        let damaged = fs::read(path.join(DATABASE)).unwrap();

        let (mut cache, opening) = Cache::open(path, at(7)).unwrap();
        let name = opening.quarantined.unwrap();
        assert!(name.starts_with("kiosk.db.corrupt-20261"), "{name}");
        assert_eq!(fs::read(path.join(&name)).unwrap(), damaged);
        let suffix = name.strip_prefix("kiosk.db.").unwrap();
        let kept = path.join(format!("attachments.{suffix}/kept"));
        assert_eq!(fs::read(kept).unwrap(), b"evidence");
        assert_eq!(cache.depth().unwrap().waiting, 0);
        enqueue_sample(&mut cache, 1);
        drop(cache);

        // A second damage in the same second does not replace the first.
        damage(&path.join(DATABASE));
        let (_cache, opening) = Cache::open(path, at(7)).unwrap();
        assert_ne!(opening.quarantined.unwrap(), name);
        assert_eq!(fs::read(path.join(&name)).unwrap(), damaged);
    }

    #[test]
    fn a_file_that_is_no_database_is_moved_aside_and_reported() {
        check_quarantine(|path| overwrite(path, 0, &[0x5A; 100]));
    }

    #[test]
    fn a_database_with_a_ruined_page_is_moved_aside_and_reported() {
        check_quarantine(|path| {
            let size = fs::metadata(path).unwrap().len();
            // Every page but the first, so that the header still looks right.
            overwrite(
                path,
                4096,
                &vec![0xA5; usize::try_from(size - 4096).unwrap()],
            );
        });
    }

    #[test]
    fn an_undamaged_cache_opens_without_a_report() {
        let mut scratch = scratch();
        enqueue_sample(&mut scratch.cache, 1);
        let Scratch { cache, directory } = scratch;
        drop(cache);
        let (_cache, opening) = Cache::open(directory.path(), at(0)).unwrap();
        assert_eq!(opening, Opening::default());
    }
}
