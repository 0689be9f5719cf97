//! A file layer under the database engine that forgets: what was written and not synced is lost
//! or torn when the power fails, and so are files whose name was never synced.
//!
//! It stands on the engine's own layer for Unix and passes everything on, so that reads, locks
//! and shared memory are the real ones; beside that it keeps, in a [`Content`] per file, what a
//! platter would hold. [`LossyEngine::cut`] writes that into the real files. Syncs go to the
//! platter in memory only, which makes a round cheap.
//!
//! The foreign interface is C (<https://www.sqlite.org/vfs.html>), hence the unsafe code of this
//! file; nothing else of the proofs has any.

#![expect(
    unsafe_code,
    reason = "the engine's file layer is a table of C functions"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use offline_cache::Options;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use crate::disk::{Content, Current, Names, Power, Survival};
use crate::power_loss::{LossyDisk, Weakness};
use kiosk_tests::random::{Random, bytes_of};

/// Version of the method table: with shared memory, without memory maps of the database.
const METHODS_VERSION: c_int = 2;
/// The lock of the write-ahead index that a checkpoint holds (`WAL_CKPT_LOCK`,
/// <https://www.sqlite.org/walformat.html> §2.3.1).
const CHECKPOINT_LOCK: c_int = 1;
/// What is left in the index of the log after a power cut: rubbish of one region's size. The
/// engine must build it anew.
const INDEX_BYTES: usize = 32 * 1024;
/// Suffixes of the engine's files.
const LOG: &str = "-wal";
const INDEX: &str = "-shm";

/// Numbers the layers of this process, which the engine knows by name.
static LAYERS: AtomicU32 = AtomicU32::new(0);

/// A directory on a disk that forgets what the engine did not sync.
#[derive(Debug)]
pub(crate) struct LossyEngine {
    name: String,
    directory: PathBuf,
    shadow: Arc<Mutex<Shadow>>,
}

/// What the platter holds.
#[derive(Debug, Default)]
struct Shadow {
    power: Power,
    names: Names<usize>,
    files: Vec<Content>,
    weakness: Weakness,
    is_checkpointing: bool,
}

/// What the C functions find in `pAppData`; lives as long as the process.
struct Layer {
    real: *mut sqlite3_vfs,
    methods: sqlite3_io_methods,
    shadow: Arc<Mutex<Shadow>>,
}

/// An open file; the real one follows it in the engine's allocation.
#[repr(C)]
struct Handle {
    base: sqlite3_file,
    layer: *const Layer,
    /// Which file of the shadow; `None` for temporary ones, which need not survive.
    node: Option<usize>,
    is_log: bool,
    /// The layer for Unix syncs the directory with the first sync of a log or journal it may
    /// have made, on every connection.
    owes_directory_sync: bool,
}

impl LossyEngine {
    /// Puts the layer under a directory that must stay as long as this.
    pub(crate) fn new(directory: PathBuf, weakness: Weakness) -> anyhow::Result<Self> {
        let shadow = Arc::new(Mutex::new(Shadow {
            weakness,
            ..Shadow::default()
        }));
        let name = format!("lossy-{}", LAYERS.fetch_add(1, Ordering::Relaxed));
        register(&name, Arc::clone(&shadow))?;
        Ok(Self {
            name,
            directory,
            shadow,
        })
    }

    fn shadow(&self) -> MutexGuard<'_, Shadow> {
        unpoisoned(&self.shadow)
    }
}

impl LossyDisk for LossyEngine {
    fn directory(&self) -> &Path {
        &self.directory
    }

    fn options(&self) -> Options {
        Options {
            vfs: Some(self.name.clone()),
            ..Options::default()
        }
    }

    fn arm(&mut self, at_change: Option<u64>) -> anyhow::Result<()> {
        self.shadow().power.arm(at_change);
        Ok(())
    }

    fn is_off(&mut self) -> anyhow::Result<bool> {
        Ok(self.shadow().power.is_off())
    }

    fn cut(&mut self, random: &mut Random) -> anyhow::Result<()> {
        let mut shadow = unpoisoned(&self.shadow);
        let survival = Survival::draw(random);
        let left: BTreeMap<String, Vec<u8>> = shadow
            .names
            .after_cut(survival, random)
            .into_iter()
            .map(|(name, node)| (name, shadow.files[node].after_cut(survival, random)))
            .collect();
        for name in shadow.names.seen().keys() {
            if !left.contains_key(name) {
                remove_if_there(&self.directory.join(name))?;
            }
            if !name.ends_with(LOG) {
                let index = self.directory.join(format!("{name}{INDEX}"));
                fs::write(index, bytes_of(random.bits(), INDEX_BYTES))?;
            }
        }
        let weakness = shadow.weakness;
        *shadow = Shadow {
            weakness,
            ..Shadow::default()
        };
        for (name, bytes) in left {
            fs::write(self.directory.join(&name), &bytes)?;
            shadow.find(&name, bytes);
        }
        Ok(())
    }
}

impl Shadow {
    /// A file that was there before.
    fn find(&mut self, name: &str, bytes: Vec<u8>) -> usize {
        self.files.push(Content::synced(bytes));
        let node = self.files.len() - 1;
        self.names.find(name, node);
        node
    }

    /// The file of an open, known, found on the real disk or made now.
    fn open(&mut self, path: &Path, name: &str) -> Result<usize, ()> {
        if self.power.is_off() {
            return Err(());
        }
        if path.exists() {
            if let Some(node) = self.names.seen().get(name) {
                return Ok(*node);
            }
            let bytes = fs::read(path).map_err(drop)?;
            return Ok(self.find(name, bytes));
        }
        let current = self.power.draw();
        self.files.push(Content::default());
        let node = self.files.len() - 1;
        self.names.link(name, node);
        match current {
            Current::On => Ok(node),
            Current::Failing | Current::Off => Err(()),
        }
    }

    /// Counts a change, records it while there is power, and says whether it goes on.
    fn change(&mut self, record: impl FnOnce(&mut Self) -> bool) -> bool {
        match self.power.draw() {
            Current::On => record(self),
            Current::Failing => {
                record(self);
                false
            }
            Current::Off => false,
        }
    }

    /// Brings a file to the platter, unless a weakness loses it.
    fn sync(&mut self, node: usize, is_log: bool, with_names: bool) -> bool {
        if self.power.draw() != Current::On {
            return false;
        }
        // Exactly what `synchronous = NORMAL` leaves out: the log at a commit.
        let is_lost = self.weakness == Weakness::LogSyncLost && is_log && !self.is_checkpointing;
        if !is_lost {
            self.files[node].sync();
            if with_names {
                self.names.sync();
            }
        }
        true
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the layer known to the engine, for the rest of the process.
fn register(name: &str, shadow: Arc<Mutex<Shadow>>) -> anyhow::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: null asks for the default layer, which the engine keeps for the whole process.
    let real = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    anyhow::ensure!(!real.is_null(), "the engine has no layer of its own");
    // SAFETY: not null, and initialized by the engine; the struct is plain data.
    let mut vfs = unsafe { *real };
    let layer = Box::leak(Box::new(Layer {
        real,
        methods: methods(),
        shadow,
    }));
    vfs.szOsFile += c_int::try_from(size_of::<Handle>())?;
    vfs.pNext = ptr::null_mut();
    vfs.zName = name.into_raw();
    vfs.pAppData = ptr::from_mut(layer).cast();
    vfs.xOpen = Some(open);
    vfs.xDelete = Some(delete);
    let vfs = Box::leak(Box::new(vfs));
    // SAFETY: the struct, its name and its data are leaked, so they outlive the engine.
    let code = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
    anyhow::ensure!(code == ffi::SQLITE_OK, "the engine refuses the layer");
    Ok(())
}

fn methods() -> sqlite3_io_methods {
    sqlite3_io_methods {
        iVersion: METHODS_VERSION,
        xClose: Some(close),
        xRead: Some(read),
        xWrite: Some(write),
        xTruncate: Some(truncate),
        xSync: Some(sync),
        xFileSize: Some(file_size),
        xLock: Some(lock),
        xUnlock: Some(unlock),
        xCheckReservedLock: Some(check_reserved_lock),
        xFileControl: Some(file_control),
        xSectorSize: Some(sector_size),
        xDeviceCharacteristics: Some(device_characteristics),
        xShmMap: Some(shm_map),
        xShmLock: Some(shm_lock),
        xShmBarrier: Some(shm_barrier),
        xShmUnmap: Some(shm_unmap),
        xFetch: None,
        xUnfetch: None,
    }
}

/// The last part of a path the engine gave.
///
/// # Safety
/// `name` is null or ends with a zero byte.
unsafe fn path_of(name: *const c_char) -> Option<(PathBuf, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: not null; the caller promises the zero byte.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    let path = PathBuf::from(OsStr::from_bytes(bytes));
    let last = path.file_name()?.to_str()?.to_owned();
    Some((path, last))
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: the engine passes the struct that was registered, whose data is a `Layer`.
    let layer: &Layer = unsafe { &*(*vfs).pAppData.cast::<Layer>() };
    let handle = file.cast::<Handle>();
    // SAFETY: the engine allocated `szOsFile` bytes, a `Handle` and the real file behind it.
    let real_file = unsafe { handle.add(1) }.cast::<sqlite3_file>();
    // SAFETY: as above; null methods tell the engine that there is nothing to close.
    unsafe { (*file).pMethods = ptr::null() };
    let is_journal = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
    let is_kept = is_journal || flags & ffi::SQLITE_OPEN_MAIN_DB != 0;
    // SAFETY: the engine's names are null or end with a zero byte.
    let place = unsafe { path_of(name) }.filter(|_| is_kept);
    let mut node = None;
    if let Some((path, last)) = place {
        let Ok(found) = unpoisoned(&layer.shadow).open(&path, &last) else {
            return ffi::SQLITE_CANTOPEN;
        };
        node = Some(found);
    }
    // SAFETY: `real` is the engine's own layer and gets its own struct and room for its file.
    let code = unsafe {
        (*layer.real)
            .xOpen
            .map_or(ffi::SQLITE_CANTOPEN, |real_open| {
                real_open(layer.real, name, real_file, flags, out_flags)
            })
    };
    if code == ffi::SQLITE_OK {
        let opened = Handle {
            base: sqlite3_file {
                pMethods: &raw const layer.methods,
            },
            layer,
            node,
            is_log: flags & ffi::SQLITE_OPEN_WAL != 0,
            owes_directory_sync: is_journal && flags & ffi::SQLITE_OPEN_CREATE != 0,
        };
        // SAFETY: room for a `Handle` at the front of the allocation, aligned as all of them.
        unsafe { handle.write(opened) };
    }
    code
}

unsafe extern "C" fn delete(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    with_directory: c_int,
) -> c_int {
    // SAFETY: the engine passes the struct that was registered, whose data is a `Layer`.
    let layer: &Layer = unsafe { &*(*vfs).pAppData.cast::<Layer>() };
    // SAFETY: the engine's names end with a zero byte.
    if let Some((_, last)) = unsafe { path_of(name) } {
        let mut shadow = unpoisoned(&layer.shadow);
        if shadow.names.seen().contains_key(&last) {
            let goes_on = shadow.change(|shadow| shadow.names.unlink(&last).is_some());
            if !goes_on {
                return ffi::SQLITE_IOERR_DELETE;
            }
            if with_directory != 0 {
                shadow.names.sync();
            }
        }
    }
    // SAFETY: `real` is the engine's own layer and gets its own struct.
    unsafe {
        (*layer.real)
            .xDelete
            .map_or(ffi::SQLITE_IOERR_DELETE, |real_delete| {
                real_delete(layer.real, name, 0)
            })
    }
}

/// The handle, its shadow and the real file with its methods.
///
/// # Safety
/// `file` was opened by [`open`] and not closed since; the engine does not use one file in two
/// threads at once.
unsafe fn parts<'a>(
    file: *mut sqlite3_file,
) -> (
    &'a mut Handle,
    &'a Mutex<Shadow>,
    *mut sqlite3_file,
    &'a sqlite3_io_methods,
) {
    let handle = file.cast::<Handle>();
    // SAFETY: the real file stands behind the handle and was opened with it, so it has methods,
    // which live as long as the process; so does the layer. The caller promises the rest.
    unsafe {
        let real_file = handle.add(1).cast::<sqlite3_file>();
        let handle = &mut *handle;
        let shadow = &*(*handle.layer).shadow;
        (handle, shadow, real_file, &*(*real_file).pMethods)
    }
}

/// Passes a call on to the real file.
macro_rules! pass_on {
    ($file:expr, $method:ident, $missing:expr $(, $argument:expr)*) => {{
        // SAFETY: the engine calls the methods of files that `open` has opened, one at a time,
        // and the arguments are the ones it means for the real file.
        unsafe {
            let (_, _, real_file, methods) = parts($file);
            methods.$method.map_or($missing, |method| method(real_file $(, $argument)*))
        }
    }};
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    pass_on!(file, xClose, ffi::SQLITE_OK)
}

unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    pass_on!(file, xRead, ffi::SQLITE_IOERR_READ, buffer, amount, offset)
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    // SAFETY: the engine calls with a file that `open` has opened.
    let (handle, shadow, _, _) = unsafe { parts(file) };
    if let Some(node) = handle.node {
        let (Ok(length), Ok(place)) = (usize::try_from(amount), usize::try_from(offset)) else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        // SAFETY: the engine gives `amount` readable bytes.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), length) };
        let goes_on =
            unpoisoned(shadow).change(|shadow| shadow.files[node].write(place, bytes).is_ok());
        if !goes_on {
            return ffi::SQLITE_IOERR_WRITE;
        }
    }
    pass_on!(
        file,
        xWrite,
        ffi::SQLITE_IOERR_WRITE,
        buffer,
        amount,
        offset
    )
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: the engine calls with a file that `open` has opened.
    let (handle, shadow, _, _) = unsafe { parts(file) };
    if let Some(node) = handle.node {
        let Ok(length) = usize::try_from(size) else {
            return ffi::SQLITE_IOERR_TRUNCATE;
        };
        let goes_on =
            unpoisoned(shadow).change(|shadow| shadow.files[node].set_length(length).is_ok());
        if !goes_on {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
    }
    pass_on!(file, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, size)
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the engine calls with a file that `open` has opened.
    let (handle, shadow, _, _) = unsafe { parts(file) };
    let Some(node) = handle.node else {
        return pass_on!(file, xSync, ffi::SQLITE_IOERR_FSYNC, flags);
    };
    if !unpoisoned(shadow).sync(node, handle.is_log, handle.owes_directory_sync) {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    handle.owes_directory_sync = false;
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, size: *mut sqlite3_int64) -> c_int {
    pass_on!(file, xFileSize, ffi::SQLITE_IOERR_FSTAT, size)
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(file, xLock, ffi::SQLITE_IOERR_LOCK, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    pass_on!(file, xUnlock, ffi::SQLITE_IOERR_UNLOCK, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, answer: *mut c_int) -> c_int {
    pass_on!(file, xCheckReservedLock, ffi::SQLITE_IOERR_LOCK, answer)
}

unsafe extern "C" fn file_control(
    file: *mut sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    pass_on!(
        file,
        xFileControl,
        ffi::SQLITE_NOTFOUND,
        operation,
        argument
    )
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    pass_on!(file, xSectorSize, 0)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    pass_on!(file, xDeviceCharacteristics, 0)
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extends: c_int,
    address: *mut *mut c_void,
) -> c_int {
    pass_on!(
        file,
        xShmMap,
        ffi::SQLITE_IOERR_SHMMAP,
        region,
        size,
        extends,
        address
    )
}

unsafe extern "C" fn shm_lock(
    file: *mut sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let code = pass_on!(
        file,
        xShmLock,
        ffi::SQLITE_IOERR_SHMLOCK,
        offset,
        count,
        flags
    );
    // SAFETY: the engine calls with a file that `open` has opened.
    let (_, shadow, _, _) = unsafe { parts(file) };
    let is_exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
    if code == ffi::SQLITE_OK && is_exclusive && offset == CHECKPOINT_LOCK {
        unpoisoned(shadow).is_checkpointing = flags & ffi::SQLITE_SHM_LOCK != 0;
    }
    code
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: the engine calls with a file that `open` has opened.
    let (_, _, real_file, methods) = unsafe { parts(file) };
    if let Some(barrier) = methods.xShmBarrier {
        // SAFETY: the real file's own method on the real file.
        unsafe { barrier(real_file) };
    }
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, deletes: c_int) -> c_int {
    pass_on!(file, xShmUnmap, ffi::SQLITE_OK, deletes)
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    fn connect(disk: &LossyEngine, synchronous: &str) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags_and_vfs(
            disk.directory.join("test.db"),
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
            disk.name.as_str(),
        )?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER) STRICT")?;
        Ok(connection)
    }

    /// Rows left of 20 commits when the power fails right after them.
    fn rows_after_a_cut(synchronous: &str, weakness: Weakness, seed: u64) -> i64 {
        let directory = tempfile::tempdir().unwrap();
        // The name of the database itself is synced by whoever makes it, as the cache does.
        fs::write(directory.path().join("test.db"), b"").unwrap();
        let mut disk = LossyEngine::new(directory.path().to_owned(), weakness).unwrap();
        let connection = connect(&disk, synchronous).unwrap();
        for number in 0..20 {
            connection
                .execute("INSERT INTO t VALUES (?1)", [number])
                .unwrap();
        }
        disk.arm(Some(1)).unwrap();
        assert!(connection.execute("INSERT INTO t VALUES (99)", []).is_err());
        drop(connection);
        disk.cut(&mut Random::new(seed)).unwrap();
        let connection = connect(&disk, synchronous).unwrap();
        let verdict: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok");
        connection
            .query_row("SELECT count(*) FROM t WHERE n < 99", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn full_keeps_every_commit_and_normal_loses_some() {
        let rows = |synchronous, weakness| {
            (0..20)
                .map(|seed| rows_after_a_cut(synchronous, weakness, seed))
                .min()
        };
        assert_eq!(rows("FULL", Weakness::None), Some(20));
        assert!(rows("NORMAL", Weakness::None) < Some(20));
        // The weakness is the same as lowering it.
        assert!(rows("FULL", Weakness::LogSyncLost) < Some(20));
    }
}
