//! Where the files of a repository come from. A transport brings bytes within bounds of size and
//! speed and is trusted in nothing else: a web server, a cache on the way and a stick that was found
//! on the street are all the same to what checks the bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::error::TransportError;

/// Bytes that are handed on at once. Chosen: a page cache read-ahead.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest name below the base, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Takes a piece of a file; an error ends the fetch.
pub type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Brings the files below one address.
pub trait Transport {
    /// Hands the bytes of the file `name` from `offset` to its end to `sink`, and says how many
    /// there were. More than `bytes_max` of them are an error, and no more are handed on. `name` is
    /// relative, in the characters of an address.
    ///
    /// # Errors
    /// [`TransportError`]; only `NotFound` means that there is no such file.
    fn fetch(
        &self,
        name: &str,
        offset: u64,
        bytes_max: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError>;
}

/// The whole file in memory.
///
/// # Errors
/// Those of [`Transport::fetch`].
pub fn fetch_whole(
    transport: &dyn Transport,
    name: &str,
    bytes_max: u64,
) -> Result<Vec<u8>, TransportError> {
    let mut bytes = Vec::new();
    transport.fetch(name, 0, bytes_max, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// A directory with a copy of a repository, such as a USB stick.
#[derive(Debug)]
pub struct Directory {
    root: OwnedFd,
}

impl Directory {
    /// Opens the directory below which the files lie.
    ///
    /// # Errors
    /// `Io` when it is none.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
        Ok(Self { root })
    }

    /// Opens a plain file. A stick may hold links, pipes and devices, which are not followed and
    /// not waited for.
    fn file(&self, name: &str) -> Result<File, TransportError> {
        if !is_plain_name(name) {
            return Err(TransportError::Name);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.root, name, flags, Mode::empty(), resolve);
        let file = match opened {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                return Err(TransportError::NotFound);
            }
            Err(error) => return Err(TransportError::Io(error.into())),
        };
        if !file.metadata()?.is_file() {
            return Err(TransportError::Name);
        }
        Ok(file)
    }
}

impl Transport for Directory {
    fn fetch(
        &self,
        name: &str,
        offset: u64,
        bytes_max: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError> {
        let mut file = self.file(name)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut total: u64 = 0;
        loop {
            let count = file.read(&mut piece)?;
            if count == 0 {
                return Ok(total);
            }
            total += count as u64;
            if total > bytes_max {
                return Err(TransportError::TooLong { bytes_max });
            }
            sink(&piece[..count])?;
        }
    }
}

/// True for a relative name in characters that mean the same in an address and on a disk.
pub fn is_plain_name(name: &str) -> bool {
    let is_character =
        |character: char| character.is_ascii_alphanumeric() || "._-~+@=,".contains(character);
    name.len() <= NAME_BYTES_MAX
        && name.split('/').all(|part| {
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_character)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stick() -> (tempfile::TempDir, Directory) {
        let stick = tempfile::tempdir().unwrap();
        std::fs::create_dir(stick.path().join("targets")).unwrap();
        std::fs::write(stick.path().join("targets/a.bin"), vec![7; 100_000]).unwrap();
        let directory = Directory::open(stick.path()).unwrap();
        (stick, directory)
    }

    #[test]
    fn a_file_comes_from_any_place_to_its_end() {
        let (_stick, directory) = stick();
        let whole = fetch_whole(&directory, "targets/a.bin", 100_000).unwrap();
        assert_eq!(whole, vec![7; 100_000]);
        let mut rest = 0;
        let count = directory
            .fetch("targets/a.bin", 99_990, 100, &mut |piece| {
                rest += piece.len();
                Ok(())
            })
            .unwrap();
        assert_eq!((count, rest), (10, 10));
    }

    #[test]
    fn a_file_that_is_too_long_is_cut_off() {
        let (_stick, directory) = stick();
        let mut taken = 0;
        let outcome = directory.fetch("targets/a.bin", 0, 70_000, &mut |piece| {
            taken += piece.len();
            Ok(())
        });
        assert!(matches!(
            outcome,
            Err(TransportError::TooLong { bytes_max: 70_000 })
        ));
        assert!(taken <= 70_000);
    }

    #[test]
    fn links_pipes_and_ways_out_are_not_followed() {
        let (stick, directory) = stick();
        std::os::unix::fs::symlink("/dev/zero", stick.path().join("link")).unwrap();
        std::os::unix::fs::symlink("targets", stick.path().join("folder")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            stick.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        for name in [
            "link",
            "folder/a.bin",
            "pipe",
            "targets",
            "../x",
            "/etc/passwd",
            "",
            "a//b",
        ] {
            let outcome = fetch_whole(&directory, name, 10);
            assert!(
                matches!(outcome, Err(TransportError::Io(_) | TransportError::Name)),
                "{name}: {outcome:?}"
            );
        }
    }

    #[test]
    fn only_a_missing_file_is_said_to_be_missing() {
        let (_stick, directory) = stick();
        let missing = fetch_whole(&directory, "2.root.json", 10);
        assert!(matches!(missing, Err(TransportError::NotFound)));
    }
}
