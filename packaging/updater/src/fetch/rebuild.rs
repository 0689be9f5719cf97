//! Files of the new release that are rebuilt from those which run, by patches. Which patches are worth
//! their bytes is decided before anything is fetched; what they give stands beside the chunks and is
//! searched for chunks as the running release is. A patch that is wrong costs its bytes and no more.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use ring::digest;

use super::index::{Chunk, Index};
use super::patch::{self, Patch, Patches};
use super::store::Store;
use super::{Found, Reader};
use crate::manifest::{Entry, Release, Sha256};

/// A patch that costs less than the chunks which it saves.
#[derive(Debug)]
pub(super) struct Useful<'p> {
    patch: &'p Patch,
    /// The file that it makes.
    pub(super) entry: &'p Entry,
    /// The file that it is made from.
    old: PathBuf,
    /// Its chunks that are not here yet.
    pub(super) missing: Vec<Chunk>,
    /// Bytes of chunks that need not be fetched then.
    pub(super) saved_bytes: u64,
}

impl Useful<'_> {
    /// Bytes that are still to be fetched for it.
    pub(super) fn missing_bytes(&self) -> u64 {
        packed_bytes(&self.missing)
    }

    /// Names under which the store keeps what belongs to it.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let chunks = self.patch.chunks.iter();
        chunks.map(|chunk| chunk.sha256.to_string())
    }

    /// Makes the file and keeps it; false when the patch is no use after all.
    ///
    /// # Errors
    /// Those of the disk that it is written to.
    pub(super) fn rebuild(&self, store: &Store<'_>) -> io::Result<bool> {
        let chunks = Reader::new(&self.patch.chunks, |chunk| {
            store.read(chunk)?.ok_or(io::ErrorKind::InvalidData.into())
        });
        let made = File::open(&self.old).and_then(|old| patch::apply(chunks, old, self.entry.size));
        let Ok(made) = made else {
            return Ok(false);
        };
        let mut made = Noted {
            made,
            has_failed: false,
        };
        match store.put_rebuilt(&self.entry.sha256, &mut made) {
            Err(_) if made.has_failed => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }
}

/// Remembers that reading failed, so that this is not taken for a fault of the disk written to.
struct Noted<R> {
    made: R,
    has_failed: bool,
}

impl<R: Read> Read for Noted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self.made.read(buffer);
        self.has_failed |= outcome.is_err();
        outcome
    }
}

fn packed_bytes(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| u64::from(chunk.packed)).sum()
}

/// For each file of which chunks are `missing`, the cheapest patch from the one that runs, where there
/// is one and it is cheaper than those chunks.
///
/// # Errors
/// Those of the store.
pub(super) fn useful<'p>(
    patches: &'p Patches,
    release: &'p Release,
    index: &Index,
    running: &Path,
    missing: &BTreeSet<Sha256>,
    store: &Store<'_>,
) -> io::Result<Vec<Useful<'p>>> {
    let mut useful = Vec::new();
    for (entry, file) in release.files.iter().zip(&index.files) {
        let mut counted = BTreeSet::new();
        let saved_bytes = file
            .chunks
            .iter()
            .filter(|chunk| missing.contains(&chunk.sha256) && counted.insert(chunk.sha256))
            .map(|chunk| u64::from(chunk.packed))
            .sum();
        let mut offered = patches
            .patches
            .iter()
            .filter(|patch| patch.path == entry.path);
        let old = running.join(&entry.path);
        if saved_bytes == 0 || offered.clone().next().is_none() {
            continue;
        }
        // One that cannot be read is no reason not to update.
        let Ok(hash) = hash_of(&old) else {
            continue;
        };
        let Some(patch) = offered.find(|patch| patch.from == hash) else {
            continue;
        };
        let mut missing = Vec::new();
        for chunk in &patch.chunks {
            if store.read(chunk)?.is_none() {
                missing.push(*chunk);
            }
        }
        if packed_bytes(&missing) < saved_bytes {
            useful.push(Useful {
                patch,
                entry,
                old,
                missing,
                saved_bytes,
            });
        }
    }
    Ok(useful)
}

fn hash_of(path: &Path) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256::from_digest(&context.finish())),
            count => context.update(&buffer[..count]),
        }
    }
}

/// Looks for chunks in what was rebuilt, in this pass or an earlier one. Only what is right is found.
pub(super) fn search(store: &Store<'_>, release: &Release, index: &Index, found: &mut Found) {
    for (entry, file) in release.files.iter().zip(&index.files) {
        let path = store.rebuilt(&entry.sha256);
        let Ok(rebuilt) = File::open(&path) else {
            continue;
        };
        let mut rebuilt = BufReader::new(rebuilt);
        let mut offset = 0;
        for chunk in &file.chunks {
            let mut content = Vec::new();
            let size = u64::from(chunk.size);
            // Where it ends or cannot be read, the rest is fetched.
            if (&mut rebuilt).take(size).read_to_end(&mut content).is_err() {
                break;
            }
            if chunk.is(&content) {
                let place = || (path.clone(), offset);
                found.entry(chunk.sha256).or_insert_with(place);
            }
            offset += size;
        }
    }
}
