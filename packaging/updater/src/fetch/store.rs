//! Chunks that were fetched and are not installed yet, one file each. A chunk is durable before it
//! has its name, so what is here after a power cut is whole; it is checked again when it is used all
//! the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::index::Chunk;
use crate::manifest::Sha256;
use crate::slots::disk::Disk;

/// Most files that are looked at when old ones are swept. Chosen: the chunks of the largest release.
const ENTRIES_MAX: usize = 100_000;
/// Ending of a chunk that is being written.
const PART: &str = ".part";

/// Ending of a file that a patch has made.
const REBUILT: &str = ".file";

/// The directory of chunks.
#[derive(Debug)]
pub(super) struct Store<'a> {
    path: PathBuf,
    disk: &'a dyn Disk,
}

impl<'a> Store<'a> {
    pub(super) fn open(path: &Path, disk: &'a dyn Disk) -> io::Result<Self> {
        disk.create_directory(path)?;
        Ok(Self {
            path: path.to_path_buf(),
            disk,
        })
    }

    /// The content of a chunk, if it is here and whole.
    pub(super) fn read(&self, chunk: &Chunk) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.place(chunk)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut packed = Vec::new();
        file.take(u64::from(chunk.packed) + 1)
            .read_to_end(&mut packed)?;
        Ok(chunk.unpack(&packed))
    }

    /// Keeps what was fetched for a chunk.
    pub(super) fn put(&self, chunk: &Chunk, mut packed: &[u8]) -> io::Result<()> {
        self.write(&self.place(chunk), &chunk.sha256, &mut packed)
    }

    /// Keeps what a patch has made, right or wrong, under the hash that it should have.
    pub(super) fn put_rebuilt(&self, sha256: &Sha256, made: &mut dyn Read) -> io::Result<()> {
        self.write(&self.rebuilt(sha256), sha256, made)
    }

    /// Where what a patch has made is kept.
    pub(super) fn rebuilt(&self, sha256: &Sha256) -> PathBuf {
        self.path.join(rebuilt_name(sha256))
    }

    fn write(&self, place: &Path, sha256: &Sha256, content: &mut dyn Read) -> io::Result<()> {
        let part = self.path.join(format!("{sha256}{PART}"));
        self.disk.remove_file(&part)?;
        let written = self.disk.write_new(&part, 0o600, content);
        if written.is_err() {
            // On a full disk half a chunk would take the room that is needed to say so.
            drop(self.disk.remove_file(&part));
        }
        written?;
        self.disk.rename(&part, place)
    }

    /// Makes the names durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk.sync_directory(&self.path)
    }

    /// Removes chunks and rebuilt files that nobody wants any more, and halves.
    pub(super) fn keep_only(&self, wanted: &BTreeSet<String>) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)?.take(ENTRIES_MAX) {
            let entry = entry?;
            let is_wanted = entry
                .file_name()
                .to_str()
                .is_some_and(|name| wanted.contains(name));
            if !is_wanted && !entry.file_type()?.is_dir() {
                self.disk.remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    fn place(&self, chunk: &Chunk) -> PathBuf {
        self.path.join(chunk.sha256.to_string())
    }
}

/// Name of what a patch has made for a file with this hash.
pub(super) fn rebuilt_name(sha256: &Sha256) -> String {
    format!("{sha256}{REBUILT}")
}
