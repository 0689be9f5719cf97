//! Brings the content of a release over a thin line. What is on the terminal already is not fetched
//! again: chunks come from the release that runs, then from what an earlier pass has fetched, then
//! from the repository. Where the repository has a patch from a file that runs and it is smaller than
//! the chunks that are missing, the new file is rebuilt with it. Nothing that is found is believed before its hash is right, wherever it lies.
//! A pass that is cut goes on where it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::manifest::{FILES_MAX, Release, Sha256};
use crate::slots::Content;
use crate::slots::disk::Disk;
use crate::trust::{Transport, TransportError};

pub mod index;
pub mod limit;
pub mod patch;
mod rebuild;
mod store;

pub use index::{CHUNK_BYTES_MAX, Chunk, Chunks, INDEX_BYTES_MAX, Index, IndexError, pack};
pub use limit::Limit;
pub use patch::{Patch, Patches};
use rebuild::Useful;
use store::Store;

/// Room that stays free on the disk, in bytes. Chosen: the terminal's own store refuses new work
/// below 512 MiB less what a day of it takes.
pub const ROOM_LEFT_BYTES: u64 = 256 * 1024 * 1024;
/// How often a chunk is fetched whole when it is not what was signed: a cache on the way may have
/// kept a torn one, but nobody tries for ever.
const WHOLE_TRIES_MAX: u32 = 2;
/// How often the line may break within one chunk before the pass ends.
const LINE_TRIES_MAX: u32 = 4;
/// Wait before the line is tried again, times the number of the try. Chosen: a modem dials again.
const LINE_PATIENCE: Duration = Duration::from_secs(5);
/// Deepest directory of the running release that is searched for chunks.
const DEPTH_MAX: usize = 8;

/// The course of time, and whether it is still a good time to fetch.
pub trait Watch {
    /// Time since any fixed moment; it never falls.
    fn elapsed(&self) -> Duration;
    /// Waits so long, or less when there is a reason to look earlier.
    fn wait(&mut self, length: Duration);
    /// False when a visit has begun or off-hours are over.
    fn may_go_on(&mut self) -> bool;
    /// Hears that `bytes` of `of` have come over the line.
    fn fetched(&mut self, _bytes: u64, _of: u64) {}
}

/// Why the content of a release is not here.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The list of chunks is not that of the release.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The disk has not enough room; nothing was fetched.
    #[error("the release needs {needed_bytes} bytes of the disk, and {free_bytes} may be used")]
    NoRoom {
        /// Bytes that are needed.
        needed_bytes: u64,
        /// Bytes that may be used.
        free_bytes: u64,
    },
    /// It is no good time any more; what was fetched is kept.
    #[error("it is no good time to fetch any more")]
    Paused,
    /// A chunk came twice and was not what was signed.
    #[error("a part of the release is not what was signed")]
    ChunkWrong,
    /// A chunk did not come; what was fetched is kept.
    #[error("a part of the release did not come")]
    Transport(#[source] TransportError),
    /// The disk failed.
    #[error("what was fetched cannot be kept")]
    Storage(#[from] io::Error),
}

impl FetchError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Index(error) => error.code(),
            Self::NoRoom { .. } => "update.no-room",
            Self::Paused => "update.paused",
            Self::ChunkWrong => "update.chunk-wrong",
            Self::Transport(error) => error.code(),
            Self::Storage(error) if error.kind() == io::ErrorKind::StorageFull => "update.no-room",
            Self::Storage(_) => "update.storage",
        }
    }
}

/// What a pass has fetched and what it did not have to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Different chunks of the release.
    pub chunks: usize,
    /// Of these, how many the running release had.
    pub reused: usize,
    /// How many a patch gave.
    pub patched: usize,
    /// How many an earlier pass had fetched.
    pub kept: usize,
    /// How many came over the line.
    pub fetched: usize,
    /// Bytes that came over the line.
    pub bytes: u64,
}

/// What was signed about where the bytes of a release are had from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// The chunks of each file.
    pub index: Index,
    /// How files come from those of earlier releases.
    pub patches: Patches,
}

/// Fetches releases into a directory of chunks.
#[derive(Debug)]
pub struct Fetcher<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    limit: Limit,
}

/// Where on this terminal a chunk lies within a file: in the running release, or in what a patch made.
type Found = BTreeMap<Sha256, (PathBuf, u64)>;

/// The content of a release, all of it on this terminal. Reading checks each chunk.
#[derive(Debug)]
pub struct Supply<'a> {
    store: Store<'a>,
    found: Found,
    index: Index,
    /// What it took.
    pub tally: Tally,
}

impl<'a> Fetcher<'a> {
    /// Keeps chunks in the directory `path`, which is made when it is not there.
    pub fn new(disk: &'a dyn Disk, path: &Path, limit: Limit) -> Self {
        Self {
            disk,
            path: path.to_path_buf(),
            limit,
        }
    }

    /// Brings every chunk of the release. `running` is the directory of the release that runs;
    /// `transport` brings files below the repository's directory of chunks.
    ///
    /// # Errors
    /// [`FetchError`]; another pass goes on where this one ended.
    pub fn fetch(
        &mut self,
        release: &Release,
        lists: Lists,
        running: Option<&Path>,
        transport: &dyn Transport,
        watch: &mut dyn Watch,
    ) -> Result<Supply<'a>, FetchError> {
        let Lists { index, patches } = lists;
        if !index.fits(release) || !patches.fits(release) {
            return Err(IndexError.into());
        }
        let wanted: BTreeMap<Sha256, Chunk> =
            index.chunks().map(|chunk| (chunk.sha256, *chunk)).collect();
        let store = Store::open(&self.path, self.disk)?;
        let mut found = Found::new();
        if let Some(running) = running {
            search(running, DEPTH_MAX, &wanted, &mut found, watch)?;
        }
        let mut tally = Tally {
            chunks: wanted.len(),
            reused: found.len(),
            ..Tally::default()
        };
        rebuild::search(&store, release, &index, &mut found);
        let mut missing = BTreeMap::new();
        for chunk in unfound(&wanted, &found) {
            match store.read(&chunk)? {
                Some(_) => tally.kept += 1,
                None => drop(missing.insert(chunk.sha256, chunk)),
            }
        }
        let useful = match running {
            Some(running) => {
                let missing = missing.keys().copied().collect();
                rebuild::useful(&patches, release, &index, running, &missing, &store)?
            }
            None => Vec::new(),
        };
        let useful = self.with_room(release, &missing, useful)?;
        store.keep_only(&names(release, &wanted, &useful))?;
        let mut errand = Errand {
            limit: &mut self.limit,
            store: &store,
            transport,
            watch,
            tally,
            of: due_bytes(&missing, &useful),
        };
        for useful in &useful {
            errand.patch(useful)?;
        }
        rebuild::search(&store, release, &index, &mut found);
        errand.tally.patched = found.len() - errand.tally.reused;
        missing.retain(|hash, _| !found.contains_key(hash));
        errand.of = errand.tally.bytes + due_bytes(&missing, &[]);
        for chunk in missing.values() {
            errand.bring(chunk)?;
            errand.tally.fetched += 1;
        }
        let tally = errand.tally;
        store.sync()?;
        Ok(Supply {
            store,
            found,
            index,
            tally,
        })
    }

    /// Forgets all chunks, once their release is installed.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn clear(&self) -> io::Result<()> {
        self.disk.remove_directory(&self.path)
    }

    /// Both what is fetched and the installed files must find room. A patch needs room for what it
    /// makes as well: where there is not so much, chunks are fetched.
    fn with_room<'p>(
        &self,
        release: &Release,
        missing: &BTreeMap<Sha256, Chunk>,
        useful: Vec<Useful<'p>>,
    ) -> Result<Vec<Useful<'p>>, FetchError> {
        let free_bytes = self
            .disk
            .free_bytes(&self.path)?
            .saturating_sub(ROOM_LEFT_BYTES);
        // Patches were chosen because they are smaller.
        let needed_bytes = due_bytes(missing, &[]).saturating_add(release.size());
        let rebuilt_bytes: u64 = useful.iter().map(|useful| useful.entry.size).sum();
        if needed_bytes.saturating_add(rebuilt_bytes) <= free_bytes {
            Ok(useful)
        } else if needed_bytes <= free_bytes {
            Ok(Vec::new())
        } else {
            Err(FetchError::NoRoom {
                needed_bytes,
                free_bytes,
            })
        }
    }
}

/// The chunks that are not found.
fn unfound(wanted: &BTreeMap<Sha256, Chunk>, found: &Found) -> Vec<Chunk> {
    let wanted = wanted.values();
    let unfound = wanted.filter(|chunk| !found.contains_key(&chunk.sha256));
    unfound.copied().collect()
}

/// What the store keeps for this release.
fn names(
    release: &Release,
    wanted: &BTreeMap<Sha256, Chunk>,
    useful: &[Useful<'_>],
) -> BTreeSet<String> {
    let chunks = wanted.keys().map(Sha256::to_string);
    let rebuilt = release.files.iter();
    let rebuilt = rebuilt.map(|entry| store::rebuilt_name(&entry.sha256));
    let patches = useful.iter().flat_map(Useful::names);
    chunks.chain(rebuilt).chain(patches).collect()
}

/// Bytes that are to be fetched.
fn due_bytes(missing: &BTreeMap<Sha256, Chunk>, useful: &[Useful<'_>]) -> u64 {
    let chunks: u64 = missing.values().map(|chunk| u64::from(chunk.packed)).sum();
    useful.iter().fold(chunks, |due, useful| {
        due.saturating_sub(useful.saved_bytes) + useful.missing_bytes()
    })
}

/// What is fetched in one pass, and how it goes.
struct Errand<'e, 'a> {
    limit: &'e mut Limit,
    store: &'e Store<'a>,
    transport: &'e dyn Transport,
    watch: &'e mut dyn Watch,
    tally: Tally,
    /// Bytes that are to be fetched.
    of: u64,
}

impl Errand<'_, '_> {
    /// Fetches a patch and rebuilds its file. One that is not there or wrong is done without.
    fn patch(&mut self, useful: &Useful<'_>) -> Result<(), FetchError> {
        for chunk in &useful.missing {
            match self.bring(chunk) {
                Err(FetchError::ChunkWrong | FetchError::Transport(TransportError::NotFound)) => {
                    return Ok(());
                }
                outcome => outcome?,
            }
        }
        useful.rebuild(self.store)?;
        Ok(())
    }

    /// Fetches a chunk and keeps it.
    fn bring(&mut self, chunk: &Chunk) -> Result<(), FetchError> {
        self.watch.fetched(self.tally.bytes, self.of);
        let bytes = self.fetch_chunk(chunk)?;
        Ok(self.store.put(chunk, &bytes)?)
    }

    /// Fetches a chunk until it is what was signed, at most twice.
    fn fetch_chunk(&mut self, chunk: &Chunk) -> Result<Vec<u8>, FetchError> {
        for _ in 0..WHOLE_TRIES_MAX {
            // Waiting is done between chunks, so that no connection is held open over it.
            let size = u64::from(chunk.packed);
            let wait = self.limit.take(size, self.watch.elapsed());
            if !wait.is_zero() {
                self.watch.wait(wait);
            }
            if !self.watch.may_go_on() {
                return Err(FetchError::Paused);
            }
            let packed = fetch_bytes(chunk, self.transport, self.watch, &mut self.tally)?;
            if chunk.unpack(&packed).is_some() {
                return Ok(packed);
            }
        }
        Err(FetchError::ChunkWrong)
    }
}

/// The bytes for a chunk, right or wrong; a broken line goes on where it broke.
fn fetch_bytes(
    chunk: &Chunk,
    transport: &dyn Transport,
    watch: &mut dyn Watch,
    tally: &mut Tally,
) -> Result<Vec<u8>, FetchError> {
    let name = chunk.name();
    let packed_max = usize::try_from(chunk.packed).unwrap_or(usize::MAX);
    let mut packed = Vec::new();
    let mut tries = 0;
    loop {
        let offset = packed.len() as u64;
        let most = u64::from(chunk.packed) - offset;
        let mut is_too_long = false;
        let outcome = transport.fetch(&name, offset, most, &mut |piece| {
            // A transport keeps to its bound; whether it does is not left to it.
            is_too_long = packed.len() + piece.len() > packed_max;
            if is_too_long {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            packed.extend_from_slice(piece);
            Ok(())
        });
        tally.bytes += packed.len() as u64 - offset;
        if is_too_long {
            return Ok(packed);
        }
        tries += 1;
        match outcome {
            // A file that is too short or too long is as wrong as one with other bytes.
            Ok(_) | Err(TransportError::TooLong { .. }) => return Ok(packed),
            // Whole, and yet the line broke: nothing is left to fetch.
            Err(_) if packed.len() as u64 == u64::from(chunk.packed) => return Ok(packed),
            Err(error) if !is_of_the_line(&error) || tries >= LINE_TRIES_MAX => {
                return Err(FetchError::Transport(error));
            }
            Err(_) => watch.wait(LINE_PATIENCE * tries),
        }
    }
}

/// True for what may go well a moment later.
pub(crate) fn is_of_the_line(error: &TransportError) -> bool {
    match error {
        TransportError::Line(_) | TransportError::TooSlow { .. } => true,
        TransportError::Refused { status } => (500..600).contains(status),
        TransportError::NotFound
        | TransportError::TooLong { .. }
        | TransportError::Name
        | TransportError::TooMany
        | TransportError::Configuration(_)
        | TransportError::NotBelieved
        | TransportError::Io(_) => false,
    }
}

/// Looks for wanted chunks in the files below a directory. Links are not followed.
fn search(
    directory: &Path,
    depth: usize,
    wanted: &BTreeMap<Sha256, Chunk>,
    found: &mut Found,
    watch: &mut dyn Watch,
) -> Result<(), FetchError> {
    for entry in fs::read_dir(directory)?.take(FILES_MAX) {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            search(&entry.path(), depth - 1, wanted, found, watch)?;
        }
        if !kind.is_file() {
            continue;
        }
        if !watch.may_go_on() {
            return Err(FetchError::Paused);
        }
        let path = entry.path();
        // A file that cannot be read is no reason not to update: its chunks are fetched.
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let searched = index::cut(file, &mut |offset, content| {
            let hash = Sha256::of(content);
            if wanted.get(&hash).is_some_and(|chunk| chunk.is(content)) {
                found.entry(hash).or_insert_with(|| (path.clone(), offset));
            }
            Ok(())
        });
        if searched.is_err() {
            found.retain(|_, (place, _)| *place != path);
        }
    }
    Ok(())
}

impl Content for Supply<'_> {
    fn open(&self, entry: usize) -> Box<dyn Read + '_> {
        let file = self.index.files.get(entry);
        let chunks = file.map_or(&[][..], |file| &file.chunks);
        Box::new(Reader::new(chunks, |chunk| self.content(chunk)))
    }
}

impl Supply<'_> {
    /// The content of a chunk, checked.
    fn content(&self, chunk: &Chunk) -> io::Result<Vec<u8>> {
        let content = match self.found.get(&chunk.sha256) {
            Some((path, offset)) => read_at(path, *offset, chunk)?,
            None => self.store.read(chunk)?,
        };
        content.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a chunk has changed"))
    }
}

fn read_at(path: &Path, offset: u64, chunk: &Chunk) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut content = Vec::new();
    file.take(u64::from(chunk.size)).read_to_end(&mut content)?;
    Ok(chunk.is(&content).then_some(content))
}

/// Reads a file, chunk by chunk.
struct Reader<'a, F> {
    chunks: &'a [Chunk],
    content_of: F,
    content: Vec<u8>,
    read: usize,
}

impl<'a, F: FnMut(&Chunk) -> io::Result<Vec<u8>>> Reader<'a, F> {
    fn new(chunks: &'a [Chunk], content_of: F) -> Self {
        Self {
            chunks,
            content_of,
            content: Vec::new(),
            read: 0,
        }
    }
}

impl<F: FnMut(&Chunk) -> io::Result<Vec<u8>>> Read for Reader<'_, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.content.len() {
            let Some((first, rest)) = self.chunks.split_first() else {
                return Ok(0);
            };
            self.content = (self.content_of)(first)?;
            self.read = 0;
            self.chunks = rest;
        }
        let count = (&self.content[self.read..]).read(buffer)?;
        self.read += count;
        Ok(count)
    }
}
