//! A file that the operator signed: its length, its hash, and the reading of it. Nothing that was
//! read may be used before the reading has ended well.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ring::digest::{self, Context, SHA256};

use super::error::{TransportError, TrustError};
use super::outline::hex;
use super::transport::{Sink, Transport};

/// Bytes that are read at once from the disk.
const PIECE_BYTES: usize = 64 * 1024;

/// A signed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// What the operator signed beside it.
    pub custom: BTreeMap<String, serde_json::Value>,
    /// True when the file's name on the server begins with its hash.
    pub(super) is_by_hash: bool,
}

impl Target {
    /// Where the file lies below the address of the targets, in the characters of an address.
    pub fn address(&self) -> String {
        let name = if self.is_by_hash {
            let hash = hex(&self.sha256);
            match self.name.rsplit_once('/') {
                Some((folder, file)) => format!("{folder}/{hash}.{file}"),
                None => format!("{hash}.{}", self.name),
            }
        } else {
            self.name.clone()
        };
        name.split('/').map(quoted).collect::<Vec<_>>().join("/")
    }

    /// Hands the file to `sink`, piece by piece, and checks it. What `sink` took may be used only
    /// when this ends well.
    ///
    /// # Errors
    /// `WrongTarget` when length or hash are not those that were signed, `TargetTransport`.
    pub fn read(&self, targets: &dyn Transport, sink: &mut Sink<'_>) -> Result<(), TrustError> {
        let mut hash = Context::new(&SHA256);
        let outcome = targets.fetch(&self.address(), 0, self.length, &mut |piece| {
            hash.update(piece);
            sink(piece)
        });
        let length = match outcome {
            Ok(length) => length,
            Err(TransportError::TooLong { .. }) => return Err(TrustError::WrongTarget),
            Err(error) => return Err(TrustError::TargetTransport(error)),
        };
        if length != self.length || hash.finish().as_ref() != self.sha256 {
            return Err(TrustError::WrongTarget);
        }
        Ok(())
    }

    /// The file in memory, checked.
    ///
    /// # Errors
    /// Those of [`Self::read`]; `TooLong` when more than `bytes_max` were signed.
    pub fn read_whole(
        &self,
        targets: &dyn Transport,
        bytes_max: u64,
    ) -> Result<Vec<u8>, TrustError> {
        if self.length > bytes_max {
            return Err(TrustError::TargetTransport(TransportError::TooLong {
                bytes_max,
            }));
        }
        let mut bytes = Vec::new();
        self.read(targets, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Writes the file to `path`: whole, checked and durable, or not at all. A file that is there
    /// already and is the right one is not fetched again.
    ///
    /// # Errors
    /// Those of [`Self::read`], `Store`.
    pub fn save(&self, targets: &dyn Transport, path: &Path) -> Result<(), TrustError> {
        if self.is_at(path).map_err(TrustError::Store)? {
            return Ok(());
        }
        let mut part = OsString::from(path);
        part.push(".part");
        let part = Path::new(&part);
        let outcome = self.save_part(targets, part);
        if outcome.is_err() {
            // The error that came first is the one that tells.
            drop(fs::remove_file(part));
            return outcome;
        }
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        fs::rename(part, path)
            .and_then(|()| File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all())
            .map_err(TrustError::Store)
    }

    fn save_part(&self, targets: &dyn Transport, part: &Path) -> Result<(), TrustError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .open(part)
            .map_err(TrustError::Store)?;
        self.read(targets, &mut |piece| file.write_all(piece))?;
        file.sync_all().map_err(TrustError::Store)
    }

    /// True when the file at `path` is this one.
    ///
    /// # Errors
    /// Those of the file system, but for a file that is not there.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let status = file.metadata()?;
        if !status.is_file() || status.len() != self.length {
            return Ok(false);
        }
        let mut hash = Context::new(&SHA256);
        let mut piece = vec![0; PIECE_BYTES];
        let mut left = self.length;
        while left > 0 {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Ok(false);
            }
            hash.update(&piece[..count]);
            left = left.saturating_sub(count as u64);
        }
        Ok(hash.finish().as_ref() == self.sha256)
    }
}

/// A part of a path in the characters of an address (RFC 3986, 2.3).
fn quoted(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    text
}

/// The SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::Directory;

    fn target(content: &[u8]) -> Target {
        Target {
            name: "release.json".to_owned(),
            length: content.len() as u64,
            sha256: sha256(content),
            custom: BTreeMap::new(),
            is_by_hash: false,
        }
    }

    #[test]
    fn a_file_lies_under_its_hash_in_its_folder() {
        let mut target = target(b"abc");
        target.is_by_hash = true;
        let hash = hex(&sha256(b"abc"));
        assert_eq!(target.address(), format!("{hash}.release.json"));
        target.name = "a b/ü.json".to_owned();
        assert_eq!(target.address(), format!("a%20b/{hash}.%C3%BC.json"));
    }

    #[test]
    fn nothing_is_left_of_a_file_that_is_not_the_signed_one() {
        let (stick, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directory = Directory::open(stick.path()).unwrap();
        let target = target(b"signed");
        for content in [&b"Signed"[..], b"signe", b"signed!", b""] {
            fs::write(stick.path().join("release.json"), content).unwrap();
            let outcome = target.save(&directory, &disk.path().join("release.json"));
            assert!(
                matches!(outcome, Err(TrustError::WrongTarget)),
                "{content:?}"
            );
            assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_fetched_again() {
        let (stick, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directory = Directory::open(stick.path()).unwrap();
        let target = target(b"signed");
        let path = disk.path().join("release.json");
        fs::write(stick.path().join("release.json"), b"signed").unwrap();
        target.save(&directory, &path).unwrap();
        fs::remove_file(stick.path().join("release.json")).unwrap();
        target.save(&directory, &path).unwrap();
        fs::write(&path, b"SIGNED").unwrap();
        assert!(matches!(
            target.save(&directory, &path),
            Err(TrustError::TargetTransport(TransportError::NotFound))
        ));
    }
}
