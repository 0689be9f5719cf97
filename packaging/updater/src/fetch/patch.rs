//! Patches: what turns a file of an earlier release into one of this. A few more bytes of code move
//! everything behind them and nearly every address, so that two builds of a program share hardly a
//! chunk; what a patch says is how little is really new.
//!
//! A patch is a `bidiff` stream packed with zstd, and lies in the repository in chunks as files do.
//! The list of patches is signed; what a patch gives is believed only where it is the chunk that the
//! release names. Reads bytes from outside even though they are signed: bounded, and never panics.

use std::io::{self, BufReader, Read, Seek};

use super::index::{
    Chunk, INDEX_BYTES_MAX, IndexError, number, put, put_chunks, put_path, taken, taken_chunks,
    taken_path,
};
use crate::manifest::{FILES_MAX, Release, Sha256};

/// Most patches of a release. Chosen: each file from some earlier releases.
const PATCHES_MAX: usize = 4 * FILES_MAX;
/// Compression. Chosen: a patch is packed once and fetched thousands of times.
const LEVEL: i32 = 19;
/// Window of the compression as a power of two: 4 MiB, which is what applying a patch needs of memory.
const WINDOW_LOG: u32 = 22;
/// Most bytes of a stream over twice the size of what it makes. Chosen: orders without content, such
/// as a hostile stream could repeat for ever, stay few.
const STREAM_BYTES_MORE_MAX: u64 = 1024 * 1024;

/// First bytes of a list, with the layout.
const MAGIC: &[u8; 8] = b"KIOSKPT1";
/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// How one file of the release comes from one of an earlier release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The file's path, the same in both releases.
    pub path: String,
    /// Hash of the whole earlier file.
    pub from: Sha256,
    /// The patch, in chunks.
    pub chunks: Vec<Chunk>,
}

impl Patch {
    /// Bytes that are fetched for it.
    pub fn packed_bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| u64::from(chunk.packed))
            .sum()
    }
}

/// The patches of a release; often none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patches {
    /// Each patch.
    pub patches: Vec<Patch>,
}

impl Patches {
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
        if count > PATCHES_MAX {
            return Err(IndexError);
        }
        let mut patches = Vec::new();
        for _ in 0..count {
            let path = taken_path(&mut rest)?;
            let from = taken(&mut rest, HASH_BYTES)?;
            let from = from.first_chunk().ok_or(IndexError)?;
            patches.push(Patch {
                path,
                from: Sha256(*from),
                chunks: taken_chunks(&mut rest)?,
            });
        }
        rest.is_empty()
            .then_some(Self { patches })
            .ok_or(IndexError)
    }

    /// The list as it is published.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        put(&mut bytes, self.patches.len());
        for patch in &self.patches {
            put_path(&mut bytes, &patch.path);
            bytes.extend_from_slice(&patch.from.0);
            put_chunks(&mut bytes, &patch.chunks);
        }
        bytes
    }

    /// True when each is for a file of the release and is smaller than that.
    pub fn fits(&self, release: &Release) -> bool {
        self.patches.iter().all(|patch| {
            let mut files = release.files.iter();
            files.any(|entry| entry.path == patch.path && patch.packed_bytes() < entry.size)
        })
    }
}

/// Makes the patch that turns `old` into `new`. Takes about seven times the memory of `old`.
///
/// # Errors
/// `InvalidInput` when `old` is empty; `InvalidData` when what was made does not give `new`: it is no
/// use then.
pub fn make(old: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    if old.is_empty() {
        // The index of suffixes has no entry for it.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut packer = zstd::Encoder::new(Vec::new(), LEVEL)?;
    packer.window_log(WINDOW_LOG)?;
    bidiff::simple_diff(old, new, &mut packer)?;
    let patch = packer.finish()?;
    let mut made = Vec::new();
    apply(&patch[..], io::Cursor::new(old), new.len() as u64)?.read_to_end(&mut made)?;
    if made != new {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(patch)
}

/// What a patch makes of an earlier file, at most `size` bytes. Whether it is right is not known
/// before its hash is.
///
/// # Errors
/// Those of reading, and `InvalidData` for bytes that are no patch; so does reading from it.
pub fn apply<'a>(
    patch: impl Read + 'a,
    old: impl Read + Seek + 'a,
    size: u64,
) -> io::Result<impl Read + 'a> {
    let stream = BufReader::new(unpacked(patch, size)?);
    let made = bipatch::Reader::new(stream, BufReader::new(old))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    Ok(made.take(size))
}

/// The stream of a patch that makes a file of this size, unpacked in bounded memory to a bounded end.
fn unpacked<'a>(patch: impl Read + 'a, size: u64) -> io::Result<impl Read + 'a> {
    let mut stream = zstd::Decoder::new(patch)?;
    stream.window_log_max(WINDOW_LOG)?;
    let most = size.saturating_mul(2).saturating_add(STREAM_BYTES_MORE_MAX);
    Ok(stream.take(most))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn made(patch: &[u8], old: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        apply(patch, io::Cursor::new(old), size as u64)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn orders_without_content_come_to_an_end() {
        let mut packer = zstd::Encoder::new(Vec::new(), 1).unwrap();
        packer.window_log(WINDOW_LOG).unwrap();
        for word in [bipatch::MAGIC, bipatch::VERSION] {
            packer.write_all(&word.to_le_bytes()).unwrap();
        }
        packer.write_all(&vec![0; 50_000_000]).unwrap();
        let endless = packer.finish().unwrap();
        assert!(endless.len() < 10_000);
        let mut stream = unpacked(&endless[..], 10).unwrap();
        let given = made(&endless, b"old", 10);
        assert!(given.is_err() || given.is_ok_and(|bytes| bytes.is_empty()));
        // It was left long before its end.
        assert!(io::copy(&mut stream, &mut io::sink()).unwrap() < 2_000_000);
    }

    #[test]
    fn a_window_that_would_take_the_terminals_memory_is_refused() {
        let mut packer = zstd::Encoder::new(Vec::new(), 1).unwrap();
        packer.window_log(27).unwrap();
        bidiff::simple_diff(b"old", &vec![7; 100_000], &mut packer).unwrap();
        let wide = packer.finish().unwrap();
        assert!(made(&wide, b"old", 100_000).is_err());
    }

    #[test]
    fn a_list_comes_back_as_it_was_published_and_a_torn_one_not_at_all() {
        let chunk = Chunk {
            sha256: Sha256([3; 32]),
            size: 70_000,
            packed: 65_000,
        };
        let patch = |path: &str, chunks| Patch {
            path: path.to_owned(),
            from: Sha256([7; 32]),
            chunks,
        };
        let patches = vec![
            patch("bin/kiosk", vec![chunk, chunk]),
            patch("x", Vec::new()),
        ];
        let list = Patches { patches };
        let bytes = list.to_bytes();
        assert_eq!(Patches::parse(&bytes), Ok(list));
        for length in 0..bytes.len() {
            assert_eq!(Patches::parse(&bytes[..length]), Err(IndexError));
        }
        assert_eq!(
            Patches::parse(&[&bytes[..], b"x"].concat()),
            Err(IndexError)
        );
        let many = [&MAGIC[..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Patches::parse(&many), Err(IndexError));
    }
}
