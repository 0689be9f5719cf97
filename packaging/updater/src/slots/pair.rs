//! Two directories, `a` and `b`, and a link `current` to the one in force, below one directory that one
//! updater at a time may write to. What is in the directories, and which of them is in force, is the
//! business of whoever has them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::disk::Disk;

/// Names of the two.
pub(crate) const SLOTS: [&str; 2] = ["a", "b"];
/// Where the next one is written before it gets its name.
pub(crate) const STAGING: &str = "staging";
/// The file that says which one is in force; the link follows it.
pub(crate) const STATE: &str = "state.json";
const CURRENT: &str = "current";
/// Name of the file that an updater at work holds locked.
const LOCK: &str = "lock";

/// The two below one directory.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    root: PathBuf,
    disk: &'a dyn Disk,
    /// Held for the life of the process, so that no two updaters write.
    _lock: File,
}

impl<'a> Pair<'a> {
    /// Opens them, making the directory where it is missing; `None` while another updater has them.
    pub(crate) fn open(root: &Path, disk: &'a dyn Disk) -> io::Result<Option<Self>> {
        if !root.is_dir() {
            disk.create_directory(root)?;
            if let Some(parent) = root.parent() {
                disk.sync_directory(parent)?;
            }
        }
        Ok(lock(root)?.map(|lock| Self {
            root: root.to_path_buf(),
            disk,
            _lock: lock,
        }))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn disk(&self) -> &'a dyn Disk {
        self.disk
    }

    /// The one that the link names.
    pub(crate) fn linked(&self) -> Option<String> {
        let target = fs::read_link(self.root.join(CURRENT)).ok()?;
        let slot = target.to_str()?;
        SLOTS.contains(&slot).then(|| slot.to_owned())
    }

    /// Lets the link name the one that is in force; without one there is no link, and what came with
    /// the package counts.
    pub(crate) fn follow(&self, in_force: Option<&str>) -> io::Result<()> {
        if self.linked().as_deref() == in_force {
            return Ok(());
        }
        let link = self.root.join(CURRENT);
        if let Some(slot) = in_force {
            let new = self.root.join(format!("{CURRENT}.new"));
            self.disk.remove_file(&new)?;
            self.disk.link(Path::new(slot), &new)?;
            self.disk.rename(&new, &link)?;
        } else {
            self.disk.remove_file(&link)?;
        }
        self.disk.sync_directory(&self.root)
    }
}

/// The one that is not this one.
pub(crate) fn other_than(slot: Option<&str>) -> &'static str {
    if slot == Some(SLOTS[0]) {
        SLOTS[1]
    } else {
        SLOTS[0]
    }
}

/// Locks a directory for the life of the file; `None` while another process has it.
pub(super) fn lock(root: &Path) -> io::Result<Option<File>> {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(root.join(LOCK))?;
    let is_ours = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok(is_ours.then_some(lock))
}
