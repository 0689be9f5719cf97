//! What is believed, on the disk: whole or not at all. Metadata lies in a directory that is written
//! beside its predecessor, made durable and renamed; the floor is a file of its own that is durable
//! before the metadata that raises it. A power cut at any step leaves one whole generation.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Role;
use super::floor::{FLOOR_BYTES_MAX, Floor};
use super::outline::Outline;

/// Largest metadata file that is read back; none that is larger was ever taken.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most entries of the store that are looked at; there are three.
const ENTRIES_MAX: usize = 64;
const FLOOR: &str = "floor.json";
const GENERATION: &str = "metadata-";
const STAGING: &str = "staging";

/// The believed metadata, byte for byte as it was served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) root: Option<Vec<u8>>,
    pub(super) timestamp: Option<Vec<u8>>,
    pub(super) snapshot: Option<Vec<u8>>,
    pub(super) targets: Option<Vec<u8>>,
}

impl Files {
    /// The files that there are, with their names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        [
            ("root.json", &self.root),
            ("timestamp.json", &self.timestamp),
            ("snapshot.json", &self.snapshot),
            ("targets.json", &self.targets),
        ]
        .into_iter()
        .filter_map(|(name, bytes)| Some((name, bytes.as_deref()?)))
    }

    pub(super) fn of(&self, role: Role) -> Option<&[u8]> {
        match role {
            Role::Root => self.root.as_deref(),
            Role::Timestamp => self.timestamp.as_deref(),
            Role::Snapshot => self.snapshot.as_deref(),
            Role::Targets => self.targets.as_deref(),
            Role::Delegated => None,
        }
    }
}

/// The store of one repository.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    generation: u64,
    pub(super) files: Files,
    pub(super) floor: Floor,
    /// Both copies of the floor are unreadable although there was one.
    pub(super) is_damaged: bool,
    /// Steps until the power is cut, in tests.
    steps_left: Cell<Option<u32>>,
}

impl Store {
    /// Opens the store, making an empty one where there is none. `time` is the floor's when it has
    /// none yet.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn open(path: &Path, time: Timestamp) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)?;
        let mut generations = generations(path)?;
        generations.sort_unstable();
        let newest = generations.last().copied().unwrap_or(0);
        let directory = path.join(directory_name(newest));
        let files = Files {
            root: read(&directory.join("root.json"))?,
            timestamp: read(&directory.join("timestamp.json"))?,
            snapshot: read(&directory.join("snapshot.json"))?,
            targets: read(&directory.join("targets.json"))?,
        };
        let copies = [read(&path.join(FLOOR))?, read(&directory.join(FLOOR))?];
        let was_there = newest > 0 || copies.iter().any(Option::is_some);
        let floor = copies
            .iter()
            .flatten()
            .filter_map(|bytes| Floor::parse(bytes))
            .reduce(Floor::joined);
        let store = Self {
            path: path.to_path_buf(),
            generation: newest,
            files: whole(files),
            is_damaged: was_there && floor.is_none(),
            floor: floor.unwrap_or_else(|| Floor::new(time)),
            steps_left: Cell::new(None),
        };
        store.sweep(&generations)?;
        Ok(store)
    }

    /// Makes `floor` durable, then `files`. Writes nothing that is there already.
    ///
    /// # Errors
    /// Those of the file system; what was believed before stays whole.
    pub(super) fn commit(&mut self, files: &Files, floor: &Floor) -> io::Result<()> {
        if *floor != self.floor || self.is_damaged {
            self.replace(FLOOR, &floor.to_bytes())?;
            self.floor = floor.clone();
            self.is_damaged = false;
        }
        if *files == self.files {
            return Ok(());
        }
        let staging = self.path.join(STAGING);
        self.step()?;
        remove_directory(&staging)?;
        fs::DirBuilder::new().mode(0o755).create(&staging)?;
        for (name, bytes) in files.named() {
            self.write(&staging.join(name), bytes)?;
        }
        self.write(&staging.join(FLOOR), &floor.to_bytes())?;
        self.sync_directory(&staging)?;
        let next = self.generation + 1;
        self.step()?;
        fs::rename(&staging, self.path.join(directory_name(next)))?;
        self.sync_directory(&self.path)?;
        let old = self.generation;
        self.generation = next;
        self.files = files.clone();
        self.step()?;
        remove_directory(&self.path.join(directory_name(old)))
    }

    /// Removes what an interrupted commit left.
    fn sweep(&self, generations: &[u64]) -> io::Result<()> {
        remove_directory(&self.path.join(STAGING))?;
        for generation in generations {
            if *generation != self.generation {
                remove_directory(&self.path.join(directory_name(*generation)))?;
            }
        }
        Ok(())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.path.join(format!("{name}.new"));
        self.step()?;
        match fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.write(&new, bytes)?;
        self.step()?;
        fs::rename(&new, self.path.join(name))?;
        self.sync_directory(&self.path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)?;
        // A cut may leave a part of a file that was not yet made durable.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write_all(first)?;
        self.step()?;
        file.write_all(second)?;
        self.step()?;
        file.sync_all()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        File::open(path)?.sync_all()
    }

    /// One step of the file system; the power is cut before it when a test says so.
    fn step(&self) -> io::Result<()> {
        match self.steps_left.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power was cut")),
            Some(left) => {
                self.steps_left.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

/// Without the files that cannot be read; the floor stands in for them.
fn whole(files: Files) -> Files {
    let readable = |bytes: Option<Vec<u8>>| bytes.filter(|bytes| Outline::parse(bytes).is_some());
    Files {
        root: readable(files.root),
        timestamp: readable(files.timestamp),
        snapshot: readable(files.snapshot),
        targets: readable(files.targets),
    }
}

fn directory_name(generation: u64) -> String {
    format!("{GENERATION}{generation:020}")
}

fn generations(path: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)?.take(ENTRIES_MAX) {
        let name = entry?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix(GENERATION))
            .and_then(|digits| digits.parse().ok());
        found.extend(number);
    }
    Ok(found)
}

/// The bytes of a file of ours; `None` where there is none, or where it is larger than ever written.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX.max(FLOOR_BYTES_MAX) + 1)
        .read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= FILE_BYTES_MAX))
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn file(version: u64) -> Vec<u8> {
        format!(r#"{{"signed":{{"version":{version},"expires":"2030-01-01T00:00:00Z"}}}}"#)
            .into_bytes()
    }

    fn generation(version: u64) -> (Files, Floor) {
        let files = Files {
            root: Some(file(1)),
            timestamp: Some(file(version)),
            snapshot: Some(file(version)),
            targets: Some(file(version)),
        };
        let mut floor = Floor::new(time());
        floor.root = 1;
        floor.timestamp = version;
        floor.snapshot = version;
        "keys".clone_into(&mut floor.online_keys);
        (files, floor)
    }

    #[test]
    fn a_power_cut_at_any_step_leaves_one_whole_generation_and_no_lower_floor() {
        let (old_files, old_floor) = generation(1);
        let (new_files, new_floor) = generation(2);
        let mut cuts = 0;
        for steps in 0..1000 {
            let directory = tempfile::tempdir().unwrap();
            let mut store = Store::open(directory.path(), time()).unwrap();
            store.commit(&old_files, &old_floor).unwrap();
            store.steps_left.set(Some(steps));
            let is_done = store.commit(&new_files, &new_floor).is_ok();
            drop(store);
            let store = Store::open(directory.path(), time()).unwrap();
            assert!(!store.is_damaged);
            assert!(
                store.files == old_files || store.files == new_files,
                "cut {steps}"
            );
            assert!(store.floor == old_floor || store.floor == new_floor);
            if store.files == new_files {
                assert_eq!(
                    store.floor, new_floor,
                    "metadata before its floor, cut {steps}"
                );
            }
            if is_done {
                assert_eq!(store.files, new_files);
                break;
            }
            cuts += 1;
            // The next pass goes on.
            let mut store = store;
            store.commit(&new_files, &new_floor).unwrap();
            let store = Store::open(directory.path(), time()).unwrap();
            assert_eq!(
                (store.files, store.floor),
                (new_files.clone(), new_floor.clone())
            );
        }
        assert!(cuts > 20, "{cuts} steps were cut");
    }

    #[test]
    fn one_readable_copy_of_the_floor_is_enough_and_none_is_said() {
        let (files, floor) = generation(3);
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path(), time())
            .unwrap()
            .commit(&files, &floor)
            .unwrap();
        let outer = directory.path().join(FLOOR);
        let inner = directory.path().join(directory_name(1)).join(FLOOR);
        fs::write(&outer, b"{").unwrap();
        let store = Store::open(directory.path(), time()).unwrap();
        assert_eq!((store.is_damaged, &store.floor), (false, &floor));
        fs::write(&inner, b"").unwrap();
        assert!(Store::open(directory.path(), time()).unwrap().is_damaged);
        fs::remove_file(&outer).unwrap();
        fs::remove_file(&inner).unwrap();
        assert!(Store::open(directory.path(), time()).unwrap().is_damaged);
    }

    #[test]
    fn torn_metadata_is_none_but_its_versions_count() {
        let (files, floor) = generation(9);
        let directory = tempfile::tempdir().unwrap();
        Store::open(directory.path(), time())
            .unwrap()
            .commit(&files, &floor)
            .unwrap();
        let torn = directory
            .path()
            .join(directory_name(1))
            .join("timestamp.json");
        fs::write(torn, b"{\"signed\":").unwrap();
        let store = Store::open(directory.path(), time()).unwrap();
        assert_eq!(store.files.timestamp, None);
        assert_eq!(store.files.snapshot, files.snapshot);
        assert_eq!(store.floor.timestamp, 9);
    }

    #[test]
    fn nothing_is_written_when_nothing_changed() {
        let (files, floor) = generation(1);
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), time()).unwrap();
        store.commit(&files, &floor).unwrap();
        store.steps_left.set(Some(0));
        store.commit(&files, &floor).unwrap();
    }
}
