//! What the tests of the updater share: a disk whose power is cut or which is full at a chosen step
//! and which forgets what was not durable, and a publisher of small releases.

#![expect(
    clippy::unwrap_used,
    reason = "a workshop that cannot work has nothing to prove"
)]
#![expect(dead_code, reason = "each test file takes the part that it needs")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kiosk_update::fetch::{Chunks, Index, Lists, Patch, pack, patch};
use kiosk_update::manifest::{Entry, Mode, Release, Sha256, Version};
use kiosk_update::slots::{Content, Disk, LocalDisk};

/// What happens to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Never,
    /// The power is cut before the step of this number.
    Cut(u32),
    /// No more can be written from the step of this number on.
    Full(u32),
}

/// A name that is not durable yet.
#[derive(Debug)]
enum Undo {
    Created(PathBuf),
    Renamed {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<Replaced>,
    },
}

#[derive(Debug)]
enum Replaced {
    Link(PathBuf),
    File(Vec<u8>),
}

/// A disk with a fault.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    steps: Cell<u32>,
    pub(crate) fault: Cell<Fault>,
    undo: RefCell<Vec<Undo>>,
    pub(crate) free: Cell<u64>,
}

impl FaultyDisk {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            steps: Cell::new(0),
            fault: Cell::new(fault),
            undo: RefCell::default(),
            free: Cell::new(u64::MAX),
        }
    }

    /// One step that needs no room.
    pub(crate) fn step(&self) -> io::Result<()> {
        let step = self.steps.get();
        self.steps.set(step + 1);
        match self.fault.get() {
            Fault::Cut(at) if step >= at => Err(io::Error::other("the power was cut")),
            Fault::Cut(_) | Fault::Full(_) | Fault::Never => Ok(()),
        }
    }

    /// One step that needs room.
    fn fill(&self) -> io::Result<()> {
        let step = self.steps.get();
        self.step()?;
        match self.fault.get() {
            Fault::Full(at) if step >= at => Err(io::ErrorKind::StorageFull.into()),
            Fault::Full(_) | Fault::Cut(_) | Fault::Never => Ok(()),
        }
    }

    /// True when the fault has struck.
    pub(crate) fn has_struck(&self) -> bool {
        match self.fault.get() {
            Fault::Never => false,
            Fault::Cut(at) | Fault::Full(at) => self.steps.get() > at,
        }
    }

    /// Forgets every name that was not durable, as a machine without power does.
    pub(crate) fn forget(&self) {
        for undo in self.undo.take().into_iter().rev() {
            match undo {
                Undo::Created(path) => {
                    if path.is_dir() && !path.is_symlink() {
                        fs::remove_dir_all(&path).unwrap();
                    } else {
                        drop(fs::remove_file(&path));
                    }
                }
                Undo::Renamed { from, to, replaced } => {
                    if fs::rename(&to, &from).is_err() {
                        continue;
                    }
                    match replaced {
                        Some(Replaced::Link(target)) => {
                            std::os::unix::fs::symlink(target, &to).unwrap();
                        }
                        Some(Replaced::File(bytes)) => fs::write(&to, bytes).unwrap(),
                        None => {}
                    }
                }
            }
        }
    }

    fn created(&self, path: &Path) {
        self.undo
            .borrow_mut()
            .push(Undo::Created(path.to_path_buf()));
    }
}

impl Disk for FaultyDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.fill()?;
        if !path.is_dir() {
            LocalDisk.create_directory(path)?;
            self.created(path);
        }
        Ok(())
    }

    fn write_new(&self, path: &Path, mode: u32, content: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.fill()?;
        LocalDisk.write_new(path, mode, &mut &b""[..])?;
        self.created(path);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        let mut file = fs::OpenOptions::new().append(true).open(path)?;
        self.fill()?;
        file.write_all(first)?;
        self.fill()?;
        file.write_all(second)?;
        self.step()?;
        file.sync_all()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.sync_directory(path)?;
        self.undo.borrow_mut().retain(|undo| match undo {
            Undo::Created(at) | Undo::Renamed { to: at, .. } => at.parent() != Some(path),
        });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let replaced = if let Ok(target) = fs::read_link(to) {
            Some(Replaced::Link(target))
        } else {
            fs::read(to).ok().map(Replaced::File)
        };
        LocalDisk.rename(from, to)?;
        let mut undo = self.undo.borrow_mut();
        for undo in undo.iter_mut() {
            if let Undo::Created(path) = undo
                && path != from
                && let Ok(below) = path.strip_prefix(from)
            {
                *path = to.join(below);
            }
        }
        undo.push(Undo::Renamed {
            from: from.to_path_buf(),
            to: to.to_path_buf(),
            replaced,
        });
        Ok(())
    }

    fn link(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.fill()?;
        LocalDisk.link(target, path)?;
        self.created(path);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        LocalDisk.remove_file(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        // The power may be cut when half of it is gone.
        if let Ok(entries) = fs::read_dir(path) {
            for entry in entries.take(1) {
                let path = entry?.path();
                if path.is_dir() {
                    LocalDisk.remove_directory(&path)?;
                } else {
                    LocalDisk.remove_file(&path)?;
                }
            }
            self.step()?;
        }
        LocalDisk.remove_directory(path)
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(self.free.get())
    }
}

/// A published release with its content.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) release: Release,
    pub(crate) manifest: Vec<u8>,
    pub(crate) lists: Lists,
    pub(crate) files: Vec<Vec<u8>>,
    /// What is fetched, by name.
    pub(crate) chunks: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Publishes these files, open to everybody at once.
pub(crate) fn publish(version: Version, files: &[(&str, Vec<u8>)]) -> Published {
    let mut chunks = BTreeMap::new();
    let mut index = Index::default();
    let mut entries = Vec::new();
    for (path, content) in files {
        let cut = pack(&content[..], &mut |chunk, packed| {
            chunks.insert(chunk.name(), packed.to_vec());
            Ok(())
        })
        .unwrap();
        index.files.push(Chunks {
            path: (*path).to_owned(),
            chunks: cut,
        });
        entries.push(Entry {
            path: (*path).to_owned(),
            size: content.len() as u64,
            sha256: Sha256::of(content),
            mode: if path.starts_with("bin/") {
                Mode::Program
            } else {
                Mode::Plain
            },
        });
    }
    let mut release = Release::new(version, entries, time("2026-11-01T00:00:00Z"));
    release.hardware.push("kiosk-21".to_owned());
    let manifest = release.to_bytes().unwrap();
    Published {
        release,
        manifest,
        lists: Lists {
            index,
            ..Lists::default()
        },
        files: files.iter().map(|(_, content)| content.clone()).collect(),
        chunks,
    }
}

impl Content for Published {
    fn open(&self, entry: usize) -> Box<dyn Read + '_> {
        Box::new(&self.files[entry][..])
    }
}

impl Published {
    /// Publishes a patch beside it and says how many chunks it has: what turns `made_from` into the file
    /// at `path`, offered to whoever has `offered_to` there.
    pub(crate) fn patch(&mut self, path: &str, made_from: &[u8], offered_to: &[u8]) -> usize {
        let number = self
            .release
            .files
            .iter()
            .position(|entry| entry.path == path);
        let made = patch::make(made_from, &self.files[number.unwrap()]).unwrap();
        let chunks = pack(&made[..], &mut |chunk, packed| {
            self.chunks.insert(chunk.name(), packed.to_vec());
            Ok(())
        })
        .unwrap();
        let count = chunks.len();
        self.lists.patches.patches.push(Patch {
            path: path.to_owned(),
            from: Sha256::of(offered_to),
            chunks,
        });
        count
    }

    /// Asserts that a slot holds this release and nothing else.
    pub(crate) fn assert_in(&self, slot: &Path) {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::read(slot.join("release.json")).unwrap(), self.manifest);
        for (entry, content) in self.release.files.iter().zip(&self.files) {
            let path = slot.join(&entry.path);
            assert_eq!(&fs::read(&path).unwrap(), content, "{}", entry.path);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, entry.mode.bits(), "{}", entry.path);
        }
    }
}

/// Code of a program: calls to places, which move when `grown` stands before them.
pub(crate) fn code(calls: u32, grown_at: u32, grown: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (call, place) in noise(7, 3 * calls as usize).chunks_exact(3).enumerate() {
        if call == grown_at as usize {
            bytes.extend_from_slice(grown);
        }
        let place = u32::from_le_bytes([place[0], place[1], place[2], 0]) % (8 * calls);
        let is_behind = place > 8 * grown_at;
        let moved = if is_behind { grown.len() } else { 0 };
        let place = place + u32::try_from(moved).unwrap();
        bytes.extend_from_slice(&[0x48, 0x89, 0xc7, 0xe8]);
        bytes.extend_from_slice(&place.to_le_bytes());
    }
    bytes
}

/// Bytes that no compression makes smaller, the same for the same seed.
pub(crate) fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}
