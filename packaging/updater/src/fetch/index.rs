//! The list of chunks of a release's files, and how files are cut into them. Cuts follow the content
//! (`FastCDC` 2020), so that a change moves only the cuts beside it. Reads bytes from outside even
//! though they are signed: bounded, strict, and never panics.

use std::io::{self, Read};

use fastcdc::v2020::{self, StreamCDC};

use crate::manifest::{FILES_MAX, Release, Sha256};

/// Largest chunk in bytes, and so the most that is fetched twice after a cut line.
pub const CHUNK_BYTES_MAX: u32 = 256 * 1024;
/// Size that most chunks are near. Chosen: a change of a few bytes costs one or two chunks, and
/// their list (40 bytes a chunk) stays below a thousandth of the program.
const CHUNK_BYTES_USUAL: u32 = 64 * 1024;
/// Smallest chunk but the last of a file.
const CHUNK_BYTES_MIN: u32 = 16 * 1024;
/// Largest list in bytes. Chosen: that of an image of 4 GiB in chunks of the usual size, with room.
pub const INDEX_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes that zstd adds to what it cannot compress (`ZSTD_COMPRESSBOUND`: 1/256 and 64).
const PACKED_BYTES_MAX: u32 = CHUNK_BYTES_MAX + CHUNK_BYTES_MAX / 256 + 64;
/// Compression of published chunks. Chosen: a release is packed once and fetched thousands of times.
const LEVEL: i32 = 19;

/// First bytes of a list, with the layout.
const MAGIC: &[u8; 8] = b"KIOSKIX1";
/// Bytes of one chunk in the list: hash, size, packed size.
const CHUNK_ENTRY_BYTES: usize = 40;

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Hash of its content.
    pub sha256: Sha256,
    /// Its size in bytes, 1 to [`CHUNK_BYTES_MAX`].
    pub size: u32,
    /// Bytes that are fetched for it.
    pub packed: u32,
}

impl Chunk {
    /// Name of its file below the repository's directory of chunks.
    pub fn name(&self) -> String {
        let hash = self.sha256.to_string();
        format!("{}/{hash}.zst", &hash[..2])
    }

    /// The content, if these packed bytes are what was signed.
    pub fn unpack(&self, packed: &[u8]) -> Option<Vec<u8>> {
        let size = usize::try_from(self.size).ok()?;
        if self.size > CHUNK_BYTES_MAX || packed.len() as u64 != u64::from(self.packed) {
            return None;
        }
        // Bounded by the signed size, whatever the bytes say.
        let content = zstd::bulk::decompress(packed, size).ok()?;
        self.is(&content).then_some(content)
    }

    /// Its entry in a list.
    fn to_bytes(self) -> [u8; CHUNK_ENTRY_BYTES] {
        let mut bytes = [0; CHUNK_ENTRY_BYTES];
        bytes[..32].copy_from_slice(&self.sha256.0);
        bytes[32..36].copy_from_slice(&self.size.to_le_bytes());
        bytes[36..].copy_from_slice(&self.packed.to_le_bytes());
        bytes
    }

    /// True when the content is this chunk.
    pub fn is(&self, content: &[u8]) -> bool {
        content.len() as u64 == u64::from(self.size) && Sha256::of(content) == self.sha256
    }
}

/// The chunks of one file, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// The file's path in the release.
    pub path: String,
    /// Its chunks; none for an empty file.
    pub chunks: Vec<Chunk>,
}

/// The chunks of all files of a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// Each file, in the order of the release.
    pub files: Vec<Chunks>,
}

/// The bytes are no list of chunks, or not that of the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list of chunks is not that of the release")]
pub struct IndexError;

impl IndexError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(self) -> &'static str {
        "update.release-malformed"
    }
}

impl Index {
    /// Reads a list.
    ///
    /// # Errors
    /// [`IndexError`] when the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, IndexError> {
        if bytes.len() > INDEX_BYTES_MAX {
            return Err(IndexError);
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(IndexError)?;
        let count = number(&mut rest)?;
        if count > FILES_MAX {
            return Err(IndexError);
        }
        let mut files = Vec::new();
        for _ in 0..count {
            files.push(Chunks {
                path: taken_path(&mut rest)?,
                chunks: taken_chunks(&mut rest)?,
            });
        }
        rest.is_empty().then_some(Self { files }).ok_or(IndexError)
    }

    /// The list as it is published.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, self.files.len());
        for file in &self.files {
            put_path(&mut bytes, &file.path);
            put_chunks(&mut bytes, &file.chunks);
        }
        bytes
    }

    /// True when it lists the files of the release, each with its size.
    pub fn fits(&self, release: &Release) -> bool {
        self.files.len() == release.files.len()
            && self.files.iter().zip(&release.files).all(|(file, entry)| {
                let size: u64 = file.chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
                file.path == entry.path && size == entry.size
            })
    }

    /// Each chunk of each file.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.files.iter().flat_map(|file| &file.chunks)
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, count: usize) {
    // Nobody reads a list that is longer: its bound is far below.
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
}

pub(super) fn put_path(bytes: &mut Vec<u8>, path: &str) {
    put(bytes, path.len());
    bytes.extend_from_slice(path.as_bytes());
}

pub(super) fn put_chunks(bytes: &mut Vec<u8>, chunks: &[Chunk]) {
    put(bytes, chunks.len());
    for chunk in chunks {
        bytes.extend_from_slice(&chunk.to_bytes());
    }
}

pub(super) fn taken_path(rest: &mut &[u8]) -> Result<String, IndexError> {
    let length = number(rest)?;
    let path = str::from_utf8(taken(rest, length)?).map_err(|_| IndexError)?;
    Ok(path.to_owned())
}

pub(super) fn taken_chunks(rest: &mut &[u8]) -> Result<Vec<Chunk>, IndexError> {
    let length = number(rest)?
        .checked_mul(CHUNK_ENTRY_BYTES)
        .ok_or(IndexError)?;
    let entries = taken(rest, length)?.chunks_exact(CHUNK_ENTRY_BYTES);
    entries.map(chunk).collect()
}

pub(super) fn taken<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], IndexError> {
    let (first, last) = rest.split_at_checked(length).ok_or(IndexError)?;
    *rest = last;
    Ok(first)
}

pub(super) fn number(rest: &mut &[u8]) -> Result<usize, IndexError> {
    let (first, last) = rest.split_first_chunk::<4>().ok_or(IndexError)?;
    *rest = last;
    usize::try_from(u32::from_le_bytes(*first)).map_err(|_| IndexError)
}

fn chunk(entry: &[u8]) -> Result<Chunk, IndexError> {
    let (hash, rest) = entry.split_first_chunk::<32>().ok_or(IndexError)?;
    let (size, packed) = rest.split_first_chunk::<4>().ok_or(IndexError)?;
    let packed = packed.first_chunk::<4>().ok_or(IndexError)?;
    let chunk = Chunk {
        sha256: Sha256(*hash),
        size: u32::from_le_bytes(*size),
        packed: u32::from_le_bytes(*packed),
    };
    let is_bounded = (1..=CHUNK_BYTES_MAX).contains(&chunk.size)
        && (1..=PACKED_BYTES_MAX).contains(&chunk.packed);
    is_bounded.then_some(chunk).ok_or(IndexError)
}

/// Cuts a file into chunks and hands each with its place in the file and its content to `take`.
///
/// # Errors
/// Those of reading, and those of `take`.
pub fn cut(file: impl Read, take: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let cuts = StreamCDC::new(file, CHUNK_BYTES_MIN, CHUNK_BYTES_USUAL, CHUNK_BYTES_MAX);
    for found in cuts {
        match found {
            Ok(chunk) => take(chunk.offset, &chunk.data)?,
            Err(v2020::Error::Empty) => break,
            Err(v2020::Error::IoError(error)) => return Err(error),
            Err(v2020::Error::Other(words)) => return Err(io::Error::other(words)),
        }
    }
    Ok(())
}

/// Cuts a file for publication: each chunk and what is fetched for it are handed to `take`.
///
/// # Errors
/// Those of reading and compressing, and those of `take`.
pub fn pack(
    file: impl Read,
    take: &mut dyn FnMut(&Chunk, &[u8]) -> io::Result<()>,
) -> io::Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    cut(file, &mut |_, content| {
        let packed = zstd::bulk::compress(content, LEVEL)?;
        let size = |length: usize| u32::try_from(length).map_err(io::Error::other);
        let chunk = Chunk {
            sha256: Sha256::of(content),
            size: size(content.len())?,
            packed: size(packed.len())?,
        };
        take(&chunk, &packed)?;
        chunks.push(chunk);
        Ok(())
    })?;
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that no compression makes smaller, the same each time.
    fn noise(length: usize) -> Vec<u8> {
        let mut state: u32 = 1;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(length)
        .collect()
    }

    fn sample() -> (Index, Vec<u8>) {
        let content = noise(700_000);
        let chunks = pack(&content[..], &mut |chunk, packed| {
            assert!(chunk.unpack(packed).is_some());
            Ok(())
        })
        .unwrap();
        let file = |path: &str, chunks| Chunks {
            path: path.to_owned(),
            chunks,
        };
        let files = vec![file("bin/kiosk", chunks), file("empty", Vec::new())];
        (Index { files }, content)
    }

    #[test]
    fn a_list_comes_back_as_it_was_published_and_a_torn_one_not_at_all() {
        let (index, _) = sample();
        let bytes = index.to_bytes();
        assert_eq!(Index::parse(&bytes), Ok(index));
        for length in 0..bytes.len() {
            assert_eq!(Index::parse(&bytes[..length]), Err(IndexError));
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Index::parse(&longer), Err(IndexError));
    }

    #[test]
    fn a_list_that_promises_more_than_it_holds_costs_nothing() {
        let many = [&MAGIC[..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Index::parse(&many), Err(IndexError));
        let one = [
            &MAGIC[..],
            &1_u32.to_le_bytes(),
            &0_u32.to_le_bytes(),
            &u32::MAX.to_le_bytes(),
        ];
        assert_eq!(Index::parse(&one.concat()), Err(IndexError));
        for (size, packed) in [
            (0, 1),
            (1, 0),
            (CHUNK_BYTES_MAX + 1, 1),
            (1, PACKED_BYTES_MAX + 1),
        ] {
            let entry = [
                &[7; 32][..],
                &u32::to_le_bytes(size),
                &u32::to_le_bytes(packed),
            ]
            .concat();
            assert_eq!(chunk(&entry), Err(IndexError), "{size} {packed}");
        }
    }

    #[test]
    fn a_change_in_the_middle_changes_the_chunks_beside_it_only() {
        let (index, mut content) = sample();
        content.splice(350_000..350_010, *b"one line more than before");
        let old: Vec<Sha256> = index.chunks().map(|chunk| chunk.sha256).collect();
        let new = pack(&content[..], &mut |_, _| Ok(())).unwrap();
        let changed = new
            .iter()
            .filter(|chunk| !old.contains(&chunk.sha256))
            .count();
        assert!(
            (1..=2).contains(&changed),
            "{changed} of {} changed",
            new.len()
        );
    }

    #[test]
    fn a_chunk_that_was_tampered_with_is_none() {
        let content = vec![5; 50_000];
        let mut packed = Vec::new();
        let chunks = pack(&content[..], &mut |_, bytes| {
            packed = bytes.to_vec();
            Ok(())
        })
        .unwrap();
        assert_eq!(chunks[0].unpack(&packed), Some(content));
        for place in 0..packed.len() {
            let mut other = packed.clone();
            other[place] ^= 1;
            // A bit that means nothing, as of the frame's checksum flag, may leave the content whole.
            assert!(
                chunks[0]
                    .unpack(&other)
                    .is_none_or(|content| chunks[0].is(&content))
            );
        }
        // A bomb: far more zeros than were signed.
        let bomb = zstd::bulk::compress(&vec![0; 50_000_000], 3).unwrap();
        let packed = u32::try_from(bomb.len()).unwrap();
        assert_eq!(
            Chunk {
                packed,
                ..chunks[0]
            }
            .unpack(&bomb),
            None
        );
        assert_eq!(chunks[0].unpack(&[]), None);
    }
}
