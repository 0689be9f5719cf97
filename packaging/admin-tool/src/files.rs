//! Files of secrets and of results: made whole, durable and readable by their owner alone, or not at
//! all. A secret is never written over; whoever wants another one names another file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Most bytes of a secret that are read; a key in base64 has about a hundred.
const SECRET_BYTES_MAX: u64 = 4096;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It exists and is not written over.
    #[error("{} exists; it is never written over", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read it.
    #[error("{} can be read by others; make it yours alone with `chmod 600`", path.display())]
    Loose {
        /// The file.
        path: PathBuf,
    },
    /// It is empty, too long, or no text.
    #[error("{} holds no secret of one line", path.display())]
    NoSecret {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than anything of its kind.
    #[error("{} has more than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes that are read.
        bytes_max: u64,
    },
    /// The file system failed.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Refuses a name that is taken.
///
/// # Errors
/// `Exists`.
pub fn refuse_existing(path: &Path) -> Result<(), FileError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Err(FileError::Exists {
            path: path.to_path_buf(),
        }),
        Err(_) => Ok(()),
    }
}

/// Writes a secret into a new file with mode 0600.
///
/// # Errors
/// `Exists`, `Io`.
pub fn write_secret(path: &Path, secret: &str) -> Result<(), FileError> {
    let failed = |source: io::Error| {
        let path = path.to_path_buf();
        if source.kind() == io::ErrorKind::AlreadyExists {
            return FileError::Exists { path };
        }
        FileError::Io { path, source }
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(secret.as_bytes()).map_err(failed)?;
    file.write_all(b"\n").map_err(failed)?;
    file.sync_all().map_err(failed)?;
    sync_parent(path).map_err(failed)
}

/// Reads a secret of one line, without the line's end.
///
/// # Errors
/// `Loose`, `NoSecret`, `Io`.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let failed = |source| FileError::Io {
        path: path.to_path_buf(),
        source,
    };
    let none = || FileError::NoSecret {
        path: path.to_path_buf(),
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(FileError::Loose {
            path: path.to_path_buf(),
        });
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    file.take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|_| none())?;
    let secret = Zeroizing::new(text.trim().to_owned());
    if secret.is_empty() || secret.chars().any(char::is_control) {
        return Err(none());
    }
    Ok(secret)
}

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// `TooLarge`, `Io`.
pub fn read_bounded(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |source| FileError::Io {
        path: path.to_path_buf(),
        source,
    };
    read_open(&File::open(path).map_err(failed)?, path, bytes_max)
}

/// Reads a file of at most `bytes_max` bytes that nobody but its owner may read.
///
/// # Errors
/// `Loose`, `TooLarge`, `Io`.
pub fn read_private(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |source| FileError::Io {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(FileError::Loose {
            path: path.to_path_buf(),
        });
    }
    read_open(&file, path, bytes_max)
}

fn read_open(file: &File, path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::Io {
            path: path.to_path_buf(),
            source,
        })?;
    if bytes.len() as u64 > bytes_max {
        return Err(FileError::TooLarge {
            path: path.to_path_buf(),
            bytes_max,
        });
    }
    Ok(bytes)
}

/// Writes a result, in place of an earlier one of the same name: whole, durable, or not at all.
///
/// # Errors
/// `Io`.
pub fn write_result(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    let failed = |source| FileError::Io {
        path: path.to_path_buf(),
        source,
    };
    kiosk_sealing::write_private(path, content.as_ref()).map_err(failed)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_owners_alone_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        write_secret(&path, "first").unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(
            write_secret(&path, "second"),
            Err(FileError::Exists { .. })
        ));
        assert_eq!(*read_secret(&path).unwrap(), "first");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_secret(&path), Err(FileError::Loose { .. })));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("empty", &b""[..]),
            ("blank", b" \n\n"),
            ("binary", b"\xff\xfe"),
            ("lines", b"a\nb"),
        ] {
            let path = directory.path().join(name);
            write_secret(&path, "").unwrap();
            std::fs::write(&path, content).unwrap();
            assert!(
                matches!(read_secret(&path), Err(FileError::NoSecret { .. })),
                "{name}"
            );
        }
    }
}
