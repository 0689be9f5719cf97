//! The directory and its owner: one process at a time, every commit on disk before a call
//! returns, and an opening that puts right what a power cut left behind.
//!
//! A damaged database is moved aside together with its attachments, salvaged row by row and
//! reported; it holds the only copy of what villagers confirmed, so nothing here ever deletes it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::check::{self, Check};
use crate::outbox::arrival::Arrived;
use crate::quarantine::{self, Pending};
use crate::{CacheError, Quota, Salvage, attachment, outbox, salvage, schema};

/// Name of the database inside the directory.
pub(crate) const DATABASE: &str = "kiosk.db";
/// Name of the directory of attachment files.
pub(crate) const ATTACHMENTS: &str = "attachments";
/// Statements kept compiled; claiming, settling and their audit entries take some forty.
const STATEMENTS_MAX: usize = 128;
/// Longest wait for the other connection of this process; a commit takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The log file is cut back to this size after a checkpoint; 16 MiB is some 10,000 rows.
const JOURNAL_BYTES_MAX: i64 = 16 * 1024 * 1024;
/// Longest short text (kind, item, case number, code, name) in bytes; chosen.
const TEXT_BYTES_MAX: usize = 256;

/// One connection to the cache. A process opens it once and takes [`Cache::another`] for each
/// further thread.
#[derive(Debug)]
pub struct Cache {
    pub(crate) connection: Connection,
    pub(crate) directory: Arc<Directory>,
}

/// How a cache is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// How much room the store may take and must leave.
    pub quota: Quota,
    /// Name of the terminal; the audit chain begins with it.
    pub terminal: String,
    /// Name of a registered `SQLite` VFS, for tests that lose what was not synced; `None` is the
    /// file system of the machine.
    pub vfs: Option<String>,
}

/// What was found and put right when the cache was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opening {
    /// Transactions that were in flight when the process ended and are pending again.
    pub recovered_in_flight: u32,
    /// Name of the damaged database that was moved aside, inside the cache directory. Its
    /// attachments lie beside it in `attachments.corrupt-<same suffix>`.
    pub quarantined: Option<String>,
    /// What was saved out of the damaged database. `None` beside a quarantined one when the power
    /// failed after the last row was saved; the audit log has the numbers.
    pub salvaged: Option<Salvage>,
    /// Whether the whole database was checked; if not, [`Cache::continue_check`] goes on in idle
    /// time.
    pub is_checked_whole: bool,
    /// Attachment files removed because no transaction speaks of them.
    pub orphans_removed: u32,
    /// Settled transactions and finished prints whose 90 days are over and that were forgotten.
    pub tombstones_removed: u32,
}

/// The place on disk, locked as long as any connection lives.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    /// Bytes of all attachment files, kept so that the quota needs no look at each.
    pub(crate) attachment_bytes: AtomicU64,
    /// Bytes that new work may still take before disk and store are measured again.
    pub(crate) room_left: AtomicU64,
    /// Which ids may be among the arrivals.
    pub(crate) arrived: Arrived,
    /// What is left of the check of the database.
    check: Mutex<Option<Check>>,
    /// Held for its lock only.
    _lock: File,
}

impl Directory {
    pub(crate) fn attachments(&self) -> PathBuf {
        self.path.join(ATTACHMENTS)
    }

    /// A file is gone. Never below nothing: one that grew on disk must not look like a full store.
    pub(crate) fn take_attachment_bytes(&self, bytes: u64) {
        let mut known = self.attachment_bytes.load(Ordering::Relaxed);
        while let Err(other) = self.attachment_bytes.compare_exchange_weak(
            known,
            known.saturating_sub(bytes),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            known = other;
        }
    }

    /// What is left of the check. A holder that panicked left a place to go on from all the same.
    pub(crate) fn check(&self) -> MutexGuard<'_, Option<Check>> {
        self.check.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// Opens the cache with [`Options::default`].
    ///
    /// # Errors
    /// As [`Cache::open_with`].
    pub fn open(directory: &Path, now: Timestamp) -> Result<(Self, Opening), CacheError> {
        Self::open_with(directory, &Options::default(), now)
    }

    /// Opens the cache in a directory, makes it if it is not there, and recovers: in-flight
    /// transactions are pending again, a damaged database is moved aside and salvaged, orphans
    /// are removed. The check of the database is bounded; see [`Opening::is_checked_whole`].
    ///
    /// # Errors
    /// `InUse` when another process has it open (try later or give up); `NewerSchema` when a
    /// later program wrote it and this one may not touch it; `DiskFull`, `Io` and `Store` when
    /// the disk does not serve.
    pub fn open_with(
        directory: &Path,
        options: &Options,
        now: Timestamp,
    ) -> Result<(Self, Opening), CacheError> {
        make_directory(directory)?;
        let directory = Arc::new(Directory {
            _lock: lock(directory)?,
            path: directory.to_owned(),
            options: options.clone(),
            attachment_bytes: AtomicU64::new(0),
            room_left: AtomicU64::new(0),
            arrived: Arrived::default(),
            check: Mutex::new(None),
        });
        let damaged = match Pending::read(&directory.path)? {
            // A salvage was cut short: nothing else may be done before it is whole.
            Some(pending) => pending,
            None => match Self::begin(&directory, now) {
                Err(error) if error.is_corruption() => quarantine::begin(&directory.path, now)?,
                outcome => return outcome,
            },
        };
        let salvaged = if damaged.is_rebuilt(&directory.path) {
            None
        } else {
            damaged.move_aside(&directory.path)?;
            Some(salvage::rebuild(&directory, &damaged, now)?)
        };
        Pending::finish(&directory.path)?;
        let (cache, mut opening) = Self::begin(&directory, now)?;
        opening.quarantined = Some(damaged.database());
        opening.salvaged = salvaged;
        Ok((cache, opening))
    }

    /// Opens what is there; an error with [`CacheError::is_corruption`] asks for quarantine.
    fn begin(directory: &Arc<Directory>, now: Timestamp) -> Result<(Self, Opening), CacheError> {
        quarantine::refuse_marked(&directory.path)?;
        make_database(&directory.path.join(DATABASE))?;
        quarantine::refuse_emptied(&directory.path)?;
        let mut connection = connect(&directory.path.join(DATABASE), &directory.options)?;
        let left = check::at_start(&mut connection)?;
        schema::migrate(&mut connection)?;
        check::tables(&connection)?;
        let mut opening = Opening {
            recovered_in_flight: outbox::recover_in_flight(&connection)?,
            is_checked_whole: left.is_none(),
            ..Opening::default()
        };
        make_directory(&directory.attachments())?;
        sync_directory(&directory.path)?;
        *directory.check() = left;
        let mut cache = Self {
            connection,
            directory: Arc::clone(directory),
        };
        opening.tombstones_removed = cache.purge(now)?;
        let found = attachment::remove_orphans(&cache)?;
        opening.orphans_removed = found.orphans_removed;
        directory
            .attachment_bytes
            .store(found.kept_bytes, Ordering::Relaxed);
        Ok((cache, opening))
    }

    /// A second connection of the same process, for another thread.
    ///
    /// # Errors
    /// `Store` when the database cannot be opened again.
    pub fn another(&self) -> Result<Self, CacheError> {
        Ok(Self {
            connection: connect(&self.directory.path.join(DATABASE), &self.directory.options)?,
            directory: Arc::clone(&self.directory),
        })
    }
}

pub(crate) fn make_directory(path: &Path) -> Result<(), CacheError> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // A new name is only on disk once the directory that holds it is.
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
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

/// Makes the file first, because the database engine would make it readable for everybody.
pub(crate) fn make_database(path: &Path) -> Result<(), CacheError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    Ok(())
}

pub(crate) fn connect(path: &Path, options: &Options) -> Result<Connection, CacheError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open_file(path, flags, options)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: the log is synced on every commit. NORMAL loses the last commits on a power cut.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_size_limit", JOURNAL_BYTES_MAX)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // No page of the store in a temporary file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Else the engine compiles a statement anew whenever a bound value could change its plan.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    #[cfg(test)]
    let connection = tests::recorded(connection);
    Ok(connection)
}

/// Opens a database file as it is.
pub(crate) fn open_file(
    path: &Path,
    flags: OpenFlags,
    options: &Options,
) -> Result<Connection, CacheError> {
    let connection = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str())?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// The log file of the database.
pub(crate) fn wal_path(directory: &Path) -> PathBuf {
    directory.join(format!("{DATABASE}-wal"))
}

/// Makes names in a directory durable: a new or renamed file is lost without it.
pub(crate) fn sync_directory(path: &Path) -> Result<(), CacheError> {
    File::open(path)?.sync_all()?;
    Ok(())
}

/// Refuses an empty or overlong short text.
pub(crate) fn bounded_text(text: &str, what: &'static str) -> Result<(), CacheError> {
    if text.is_empty() {
        return Err(CacheError::OutOfRange { what });
    }
    bounded_or_empty_text(text, what)
}

/// Refuses an overlong short text.
pub(crate) fn bounded_or_empty_text(text: &str, what: &'static str) -> Result<(), CacheError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(CacheError::OutOfRange { what });
    }
    Ok(())
}

/// The first bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A stored time; a value out of range means that the file was changed from outside.
pub(crate) fn timestamp(millisecond: i64) -> Result<Timestamp, CacheError> {
    Timestamp::from_millisecond(millisecond).map_err(|_| CacheError::Inconsistent { what: "time" })
}

/// A stored count.
pub(crate) fn count_of(value: i64) -> Result<u64, CacheError> {
    u64::try_from(value).map_err(|_| CacheError::Inconsistent { what: "count" })
}

/// A count to be stored.
pub(crate) fn stored_count(value: u64, what: &'static str) -> Result<i64, CacheError> {
    i64::try_from(value).map_err(|_| CacheError::OutOfRange { what })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::io::{Seek, SeekFrom, Write};

    use rusqlite::trace::{TraceEvent, TraceEventCodes};
    use tempfile::TempDir;
    use uuid::Uuid;

    use std::fs;

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
            let options = cache.directory.options.clone();
            drop(cache);
            let (cache, _) = Cache::open_with(directory.path(), &options, at(0)).unwrap();
            Self { cache, directory }
        }
    }

    pub(crate) fn scratch() -> Scratch {
        scratch_with(&Options::default())
    }

    pub(crate) fn scratch_with(options: &Options) -> Scratch {
        let directory = tempfile::tempdir().unwrap();
        let (cache, _) = Cache::open_with(directory.path(), options, at(0)).unwrap();
        Scratch { cache, directory }
    }

    thread_local! {
        /// Every statement this thread has run on a cache, as it was prepared.
        pub(crate) static STATEMENTS: RefCell<BTreeSet<String>> =
            const { RefCell::new(BTreeSet::new()) };
    }

    /// Records what a connection runs.
    pub(crate) fn recorded(mut connection: Connection) -> Connection {
        let record = |event: TraceEvent<'_>| {
            if let TraceEvent::Stmt(_, sql) = event {
                STATEMENTS.with_borrow_mut(|statements| {
                    statements.insert(sql.split_whitespace().collect::<Vec<_>>().join(" "));
                });
            }
        };
        connection
            .trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(record))
            .unwrap();
        connection
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
            key_id: String::new(),
            upstream: String::new(),
            can_wait: false,
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
        let expected = Opening {
            is_checked_whole: true,
            ..Opening::default()
        };
        assert_eq!(opening, expected);
    }
}
