//! Patches from the releases before: made when a release is added, because only here both files are at
//! hand. The earlier file is put together from the chunks that were published. A patch is offered
//! beside the chunks, where it saves half of them or more: applying it writes the file once more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use kiosk_update::fetch::{Chunk, Index, Patch, Patches, pack, patch};
use kiosk_update::manifest::{Entry, Release, Sha256, Version};

use super::{PublishError, index_name, kept_name};
use crate::files;
use crate::repository::Repository;

/// Largest file that is patched, in bytes. Chosen: making a patch takes seven times as much memory, and
/// images of an operating system are beyond it.
const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Fewest bytes of chunks that a patch is made for. Chosen: a chunk or two are no burden.
const SAVED_BYTES_MIN: u64 = 128 * 1024;

/// A release that terminals may still have.
pub(super) struct Earlier {
    version: Version,
    release: Release,
    index: Index,
    had: BTreeSet<Sha256>,
}

impl Earlier {
    /// A release that was signed; `None` where it was not kept whole.
    pub(super) fn open(
        repository: &Repository,
        version: Version,
    ) -> Result<Option<Self>, PublishError> {
        let release = repository.kept(&kept_name(version))?;
        let index = repository.kept(&index_name(version))?;
        let (Some(release), Some(index)) = (release, index) else {
            return Ok(None);
        };
        let (release, index) = (Release::parse(&release)?, Index::parse(&index)?);
        let had = index.chunks().map(|chunk| chunk.sha256).collect();
        Ok(Some(Self {
            version,
            release,
            index,
            had,
        }))
    }

    /// Its file of this path with the chunks of it, if it has one.
    fn file(&self, path: &str) -> Option<(&Entry, &[Chunk])> {
        let mut files = self.release.files.iter().zip(&self.index.files);
        let (entry, file) = files.find(|(entry, _)| entry.path == path)?;
        Some((entry, &file.chunks))
    }

    /// Bytes of these chunks that a terminal with it does not have; those in `seen` count no more.
    fn missing_bytes(&self, chunks: &[Chunk], seen: &mut BTreeSet<Sha256>) -> u64 {
        let missing = chunks
            .iter()
            .filter(|chunk| !self.had.contains(&chunk.sha256) && seen.insert(chunk.sha256));
        missing.map(|chunk| u64::from(chunk.packed)).sum()
    }

    /// What a terminal with it fetches, in words.
    pub(super) fn load(&self, index: &Index, patches: &Patches) -> String {
        let (mut bytes, mut saved) = (0, 0);
        let mut seen = BTreeSet::new();
        for file in &index.files {
            let missing = self.missing_bytes(&file.chunks, &mut seen);
            let patch = self.file(&file.path).and_then(|(old, _)| {
                let mut patches = patches.patches.iter();
                patches.find(|patch| patch.path == file.path && patch.from == old.sha256)
            });
            let due = patch.map_or(missing, Patch::packed_bytes).min(missing);
            bytes += due;
            saved += missing - due;
        }
        let version = self.version;
        if saved == 0 {
            format!("a terminal with {version} fetches {bytes} bytes")
        } else {
            format!("a terminal with {version} fetches {bytes} bytes; patches save {saved}")
        }
    }
}

/// Makes what helps terminals with the `earlier` releases to this one, whose files lie in `tree`, and
/// says which releases could not be patched from.
pub(super) fn make(
    repository: &Repository,
    earlier: &[Earlier],
    (release, index): (&Release, &Index),
    tree: &Path,
) -> Result<(Patches, Vec<String>), PublishError> {
    let mut all = Patches::default();
    let mut words = Vec::new();
    for before in earlier {
        for (entry, file) in release.files.iter().zip(&index.files) {
            let Some((old, chunks)) = before.file(&entry.path) else {
                continue;
            };
            let is_made = |patch: &Patch| patch.path == entry.path && patch.from == old.sha256;
            let saved = before.missing_bytes(&file.chunks, &mut BTreeSet::new());
            if saved < SAVED_BYTES_MIN
                || old.size.max(entry.size) > FILE_BYTES_MAX
                || all.patches.iter().any(is_made)
            {
                continue;
            }
            let Some(content) = put_together(repository, old, chunks) else {
                words.push(format!(
                    "no patch of {} from {}: its chunks are not here any more",
                    entry.path, before.version
                ));
                continue;
            };
            let place = tree.join(&entry.path);
            let made = fs::read(&place).and_then(|new| cut(entry, &old.sha256, &content, &new));
            let (patch, packed) = made.map_err(|source| PublishError::Io {
                path: place,
                source,
            })?;
            if patch.packed_bytes() > saved / 2 {
                continue;
            }
            for (chunk, bytes) in &packed {
                repository.write(&repository.chunks().join(chunk.name()), bytes)?;
            }
            all.patches.push(patch);
        }
    }
    Ok((all, words))
}

/// A chunk, and what is fetched for it.
type Packed = (Chunk, Vec<u8>);

/// A patch, and what is fetched for each of its chunks.
fn cut(entry: &Entry, from: &Sha256, old: &[u8], new: &[u8]) -> io::Result<(Patch, Vec<Packed>)> {
    if Sha256::of(new) != entry.sha256 {
        return Err(io::Error::other("it was changed while it was released"));
    }
    let bytes = patch::make(old, new)?;
    let mut packed = Vec::new();
    let chunks = pack(&bytes[..], &mut |chunk, bytes| {
        packed.push((*chunk, bytes.to_vec()));
        Ok(())
    })?;
    let patch = Patch {
        path: entry.path.clone(),
        from: *from,
        chunks,
    };
    Ok((patch, packed))
}

/// A file as it was published, if all of it is still here and right.
fn put_together(repository: &Repository, entry: &Entry, chunks: &[Chunk]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    for chunk in chunks {
        let path = repository.chunks().join(chunk.name());
        let packed = files::read_bounded(&path, u64::from(chunk.packed)).ok()?;
        content.extend(chunk.unpack(&packed)?);
    }
    (!content.is_empty() && Sha256::of(&content) == entry.sha256).then_some(content)
}
