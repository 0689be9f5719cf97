//! A damaged database is moved aside, never deleted, and nothing is done before what can be saved
//! of it has been. Each step survives a power cut: a marker on disk says from the first move to
//! the last copied row that the salvage is not whole yet, and the next start goes on with it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::CacheError;
use crate::cache::{ATTACHMENTS, DATABASE, sync_directory};

/// Names the quarantine whose salvage is not finished.
const SALVAGE: &str = "salvage";
/// Says that the check in idle time found the database damaged.
const DAMAGED: &str = "damaged";
/// The new database while it is being filled.
const REBUILT: &str = "kiosk.db.rebuilt";
/// Most names tried for a quarantined file before giving up.
const NAMES_MAX: u32 = 100;
/// Longest suffix of a quarantined file; ours has under 40 bytes.
const SUFFIX_BYTES_MAX: u64 = 64;

/// A quarantine that is not finished.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    suffix: String,
}

impl Pending {
    /// The unfinished quarantine of a directory, if there is one.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, CacheError> {
        let mut suffix = String::new();
        match fs::File::open(directory.join(SALVAGE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?.take(SUFFIX_BYTES_MAX).read_to_string(&mut suffix)?,
        };
        let is_ours = suffix.starts_with("corrupt-")
            && suffix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_ours {
            return Err(CacheError::Io(io::Error::from(io::ErrorKind::InvalidData)));
        }
        Ok(Some(Self { suffix }))
    }

    /// New name of the database.
    pub(crate) fn database(&self) -> String {
        format!("{DATABASE}.{}", self.suffix)
    }

    /// Where the files of the damaged database's attachments are.
    pub(crate) fn attachments(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{ATTACHMENTS}.{}", self.suffix))
    }

    /// Whether the new database was in its place already when the power failed.
    pub(crate) fn is_rebuilt(&self, directory: &Path) -> bool {
        directory.join(self.database()).exists() && directory.join(DATABASE).exists()
    }

    /// Moves database, log and attachments to their new names; again is harmless.
    pub(crate) fn move_aside(&self, directory: &Path) -> Result<(), CacheError> {
        let name = self.database();
        // The log first: should the power fail between the moves, a database without its log is
        // still seen as damaged or merely old, while a log beside a new database would be wrong.
        for part in ["-wal", "-shm", ""] {
            move_if_there(
                &directory.join(format!("{DATABASE}{part}")),
                &directory.join(format!("{name}{part}")),
            )?;
            sync_directory(directory)?;
        }
        // Later, salvaged files are back in their place and the directory there is the new one.
        move_if_there(&directory.join(ATTACHMENTS), &self.attachments(directory))?;
        sync_directory(directory)?;
        remove_if_there(&directory.join(DAMAGED))?;
        sync_directory(directory)
    }

    /// A place for the new database, without what an earlier attempt left there.
    pub(crate) fn rebuilt(directory: &Path) -> Result<PathBuf, CacheError> {
        for part in ["", "-wal", "-shm"] {
            remove_if_there(&directory.join(format!("{REBUILT}{part}")))?;
        }
        Ok(directory.join(REBUILT))
    }

    /// Puts the new database, whole and synced, into its place.
    pub(crate) fn put_in_place(directory: &Path) -> Result<(), CacheError> {
        fs::rename(directory.join(REBUILT), directory.join(DATABASE))?;
        sync_directory(directory)
    }

    /// Ends the quarantine.
    pub(crate) fn finish(directory: &Path) -> Result<(), CacheError> {
        remove_if_there(&directory.join(SALVAGE))?;
        sync_directory(directory)
    }
}

/// Begins a quarantine: from now on it is on disk that one is under way.
pub(crate) fn begin(directory: &Path, now: Timestamp) -> Result<Pending, CacheError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    for attempt in 0..NAMES_MAX {
        // A clock that stands still must not let a second damaged file replace the first.
        let suffix = match attempt {
            0 => format!("corrupt-{stamp}"),
            _ => format!("corrupt-{stamp}-{attempt}"),
        };
        let pending = Pending { suffix };
        if directory.join(pending.database()).exists() {
            continue;
        }
        kiosk_sealing::write_private(&directory.join(SALVAGE), pending.suffix.as_bytes())?;
        return Ok(pending);
    }
    Err(CacheError::Io(io::Error::from(
        io::ErrorKind::AlreadyExists,
    )))
}

/// How many damaged databases have been moved aside so far.
pub(crate) fn count(directory: &Path) -> Result<u32, CacheError> {
    let prefix = format!("{DATABASE}.corrupt-");
    let mut found = 0;
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let is_database = name.to_str().is_some_and(|name| {
            name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm")
        });
        found += u32::from(is_database);
    }
    Ok(found)
}

/// Remembers over a restart that the database is damaged.
pub(crate) fn mark_damaged(directory: &Path) -> Result<(), CacheError> {
    Ok(kiosk_sealing::write_private(&directory.join(DAMAGED), b"")?)
}

/// Refuses a database that an earlier check found damaged.
pub(crate) fn refuse_marked(directory: &Path) -> Result<(), CacheError> {
    if directory.join(DAMAGED).exists() {
        return Err(CacheError::Inconsistent { what: "database" });
    }
    Ok(())
}

/// Refuses an empty database where there was a store: the directory of attachments is made after the
/// first commit. The engine would take it for a new one, and nobody would hear of the loss. To be
/// asked once the file is made, so that one that was gone is counted among those moved aside.
pub(crate) fn refuse_emptied(directory: &Path) -> Result<(), CacheError> {
    let is_empty =
        |name: &str| fs::metadata(directory.join(name)).map_or(0, |file| file.len()) == 0;
    let is_emptied = is_empty(DATABASE) && is_empty(&format!("{DATABASE}-wal"));
    if is_emptied && directory.join(ATTACHMENTS).is_dir() {
        return Err(CacheError::Inconsistent { what: "database" });
    }
    Ok(())
}

/// What has its new name already is left alone: the old name may be in use again.
fn move_if_there(from: &Path, to: &Path) -> Result<(), CacheError> {
    if to.exists() {
        return Ok(());
    }
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<(), CacheError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
