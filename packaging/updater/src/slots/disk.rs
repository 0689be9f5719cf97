//! The few changes that the updater makes to a disk, each one step that is either done or not. They
//! are a trait so that tests can cut the power between any two of them, lose what was not yet
//! durable, and fill the disk.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Changes to a disk.
pub trait Disk: fmt::Debug {
    /// Makes a directory; one that is there already is right.
    ///
    /// # Errors
    /// Those of the file system.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
    /// Writes a file that is not there yet and makes its content durable. Its name is durable after
    /// [`Disk::sync_directory`].
    ///
    /// # Errors
    /// Those of the file system and of reading the content.
    fn write_new(&self, path: &Path, mode: u32, content: &mut dyn Read) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Those of the file system.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Gives a file or link another name, in the place of what had it; a directory only where nothing
    /// has it.
    ///
    /// # Errors
    /// Those of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a symbolic link.
    ///
    /// # Errors
    /// Those of the file system.
    fn link(&self, target: &Path, path: &Path) -> io::Result<()>;
    /// Removes a file or link; one that is not there is right.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with everything in it; one that is not there is right.
    ///
    /// # Errors
    /// Those of the file system.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written where `path` is.
    ///
    /// # Errors
    /// Those of the file system.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
    }

    fn write_new(&self, path: &Path, mode: u32, content: &mut dyn Read) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        io::copy(content, &mut file)?;
        // Whatever mask the process has.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        symlink(target, path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        gone(fs::remove_file(path))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        gone(fs::remove_dir_all(path))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Writes a small file in the place of another: a reader sees the old one or the new one, whole.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, mut bytes: &[u8]) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let new = directory.join(format!("{}.new", name.to_string_lossy()));
    disk.remove_file(&new)?;
    disk.write_new(&new, 0o644, &mut bytes)?;
    disk.rename(&new, path)?;
    disk.sync_directory(directory)
}

/// As [`replace`], with a value as people read it.
pub(crate) fn replace_json(disk: &dyn Disk, path: &Path, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    replace(disk, path, &bytes)
}

/// The value of a small file; `None` for more bytes, or for another layout.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Option<T> {
    if bytes.len() > bytes_max {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// The bytes of a small file; `None` where there is none or where it is larger than was ever written.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= bytes_max))
}
