//! What a disk keeps when the power fails: bytes and names that were synced, and of the rest
//! whatever chance has it: whole sectors of 512 bytes, in any combination.
//!
//! Pure bytes in memory. The engine's file layer ([`crate::vfs`]) and the file system
//! ([`crate::mount`]) write here what a program writes, and take from here what it finds after
//! the cut.

use std::collections::BTreeMap;

use kiosk_tests::random::Random;

/// What a drive writes whole or not at all, in bytes; every drive in use promises this much.
const SECTOR_BYTES: usize = 512;
/// Largest file in bytes; the proofs write a few MiB.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The file would be larger than this disk takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file is larger than the disk takes")]
pub(crate) struct Full;

/// How much of what was not synced is on the platter all the same, in one cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Survival {
    /// Sectors and names of a thousand that were written in time.
    per_mille: u64,
    /// Whether names go in the order in which they were changed, as in a journal.
    is_journaled: bool,
}

impl Survival {
    /// Chance decides between nothing, half, nearly all, all and anything between.
    pub(crate) fn draw(random: &mut Random) -> Self {
        let per_mille = match random.below(5) {
            0 => 0,
            1 => 500,
            2 => 900,
            3 => 1000,
            _ => random.below(1000),
        };
        Self {
            per_mille,
            is_journaled: random.happens(500),
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(file, *offset, bytes),
            Self::Length(length) => file.resize(*length, 0),
        }
    }

    /// Applies what chance has left of it.
    fn apply_torn(&self, file: &mut Vec<u8>, survival: Survival, random: &mut Random) {
        match self {
            Self::Write { offset, bytes } => {
                let mut start = 0;
                while start < bytes.len() {
                    let to_boundary = SECTOR_BYTES - (offset + start) % SECTOR_BYTES;
                    let end = bytes.len().min(start + to_boundary);
                    if random.happens(survival.per_mille) {
                        put(file, offset + start, &bytes[start..end]);
                    }
                    start = end;
                }
            }
            Self::Length(length) => {
                if random.happens(survival.per_mille) {
                    file.resize(*length, 0);
                }
            }
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// The bytes of one file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    seen: Vec<u8>,
    platter: Vec<u8>,
    pending: Vec<Change>,
}

impl Content {
    /// A file that has been there for long.
    pub(crate) fn synced(bytes: Vec<u8>) -> Self {
        Self {
            seen: bytes.clone(),
            platter: bytes,
            pending: Vec::new(),
        }
    }

    /// Length as a reader sees it.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Bytes as a reader sees them; fewer at the end of the file.
    pub(crate) fn read(&self, offset: usize, length: usize) -> &[u8] {
        let start = offset.min(self.seen.len());
        let end = offset.saturating_add(length).min(self.seen.len());
        &self.seen[start..end]
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Full> {
        if offset.saturating_add(bytes.len()) > FILE_BYTES_MAX {
            return Err(Full);
        }
        self.change(Change::Write {
            offset,
            bytes: bytes.to_vec(),
        });
        Ok(())
    }

    pub(crate) fn set_length(&mut self, length: usize) -> Result<(), Full> {
        if length > FILE_BYTES_MAX {
            return Err(Full);
        }
        self.change(Change::Length(length));
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    /// Brings everything to the platter.
    pub(crate) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.platter);
        }
    }

    /// What is left after the power failed.
    pub(crate) fn after_cut(&self, survival: Survival, random: &mut Random) -> Vec<u8> {
        let mut file = self.platter.clone();
        for change in &self.pending {
            change.apply_torn(&mut file, survival, random);
        }
        file
    }
}

#[derive(Debug, Clone)]
enum Naming<Node> {
    Link(String, Node),
    Unlink(String),
    Rename(String, String, Node),
}

impl<Node: Copy + PartialEq> Naming<Node> {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, node) => {
                // The old name may be gone, or stand for something else, when changes are lost.
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

/// The names in one directory. A rename is on the platter whole or not at all.
#[derive(Debug, Clone)]
pub(crate) struct Names<Node> {
    seen: BTreeMap<String, Node>,
    platter: BTreeMap<String, Node>,
    pending: Vec<Naming<Node>>,
}

impl<Node> Default for Names<Node> {
    fn default() -> Self {
        Self {
            seen: BTreeMap::new(),
            platter: BTreeMap::new(),
            pending: Vec::new(),
        }
    }
}

impl<Node: Copy + PartialEq> Names<Node> {
    /// Names as a reader sees them.
    pub(crate) fn seen(&self) -> &BTreeMap<String, Node> {
        &self.seen
    }

    /// A name that has been there for long.
    pub(crate) fn find(&mut self, name: &str, node: Node) {
        self.seen.insert(name.to_owned(), node);
        self.platter.insert(name.to_owned(), node);
    }

    pub(crate) fn link(&mut self, name: &str, node: Node) {
        self.change(Naming::Link(name.to_owned(), node));
    }

    pub(crate) fn unlink(&mut self, name: &str) -> Option<Node> {
        let node = self.seen.get(name).copied()?;
        self.change(Naming::Unlink(name.to_owned()));
        Some(node)
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Option<Node> {
        let node = self.seen.get(from).copied()?;
        self.change(Naming::Rename(from.to_owned(), to.to_owned(), node));
        Some(node)
    }

    fn change(&mut self, naming: Naming<Node>) {
        naming.apply(&mut self.seen);
        self.pending.push(naming);
    }

    /// Brings every name to the platter.
    pub(crate) fn sync(&mut self) {
        for naming in self.pending.drain(..) {
            naming.apply(&mut self.platter);
        }
    }

    /// Which names are left after the power failed.
    pub(crate) fn after_cut(
        &self,
        survival: Survival,
        random: &mut Random,
    ) -> BTreeMap<String, Node> {
        let mut names = self.platter.clone();
        for naming in &self.pending {
            if random.happens(survival.per_mille) {
                naming.apply(&mut names);
            } else if survival.is_journaled {
                break;
            }
        }
        names
    }
}

/// What a change meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Current {
    /// The disk works.
    On,
    /// The power fails during this very change: it may be left, and is not acknowledged.
    Failing,
    /// Nothing works any more.
    Off,
}

/// The power of a disk: it fails at a change counted from now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Power {
    changes_left: Option<u64>,
    is_off: bool,
}

impl Power {
    /// Has the power fail at the change of this number, counted from 1; never for `None`.
    pub(crate) fn arm(&mut self, at_change: Option<u64>) {
        *self = Self {
            changes_left: at_change,
            is_off: false,
        };
    }

    pub(crate) fn is_off(&self) -> bool {
        self.is_off
    }

    /// Counts one change.
    pub(crate) fn draw(&mut self) -> Current {
        if self.is_off {
            return Current::Off;
        }
        match &mut self.changes_left {
            None => Current::On,
            Some(left) if *left > 1 => {
                *left -= 1;
                Current::On
            }
            Some(_) => {
                self.is_off = true;
                Current::Failing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Survival = Survival {
        per_mille: 0,
        is_journaled: false,
    };
    const HALF: Survival = Survival {
        per_mille: 500,
        is_journaled: false,
    };

    #[test]
    fn what_was_synced_is_kept_and_the_rest_may_be_lost() {
        let mut content = Content::default();
        content.write(0, b"kept").unwrap();
        content.sync();
        content.write(4, b"lost").unwrap();
        assert_eq!(content.read(0, 99), b"keptlost");
        assert_eq!(content.after_cut(NOTHING, &mut Random::new(1)), b"kept");
    }

    #[test]
    fn a_write_tears_at_sectors_and_nowhere_else() {
        let mut content = Content::synced(vec![0; 4096]);
        content.write(100, &[1; 3000]).unwrap();
        let mut torn = false;
        for seed in 0..50 {
            let left = content.after_cut(HALF, &mut Random::new(seed));
            assert_eq!(left.len(), 4096);
            for (index, sector) in left.chunks(SECTOR_BYTES).enumerate() {
                let start = (index * SECTOR_BYTES).max(100);
                let end = ((index + 1) * SECTOR_BYTES).min(3100);
                let written: Vec<u8> = (start..end).map(|at| left[at]).collect();
                assert!(written.iter().all(|byte| *byte == written[0]));
                assert_eq!(sector.len(), SECTOR_BYTES);
            }
            torn |= left.contains(&1) && left[100..3100].contains(&0);
        }
        assert!(torn);
    }

    #[test]
    fn a_rename_without_a_directory_sync_can_be_lost_and_is_never_half() {
        let mut names = Names::default();
        names.link("a.part", 1);
        names.sync();
        names.rename("a.part", "a");
        assert_eq!(names.seen().keys().collect::<Vec<_>>(), ["a"]);
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let left = names.after_cut(HALF, &mut Random::new(seed));
            assert_eq!(left.len(), 1);
            outcomes.extend(left.into_keys());
        }
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["a", "a.part"]);
        names.sync();
        assert!(
            names
                .after_cut(NOTHING, &mut Random::new(1))
                .contains_key("a")
        );
    }

    #[test]
    fn the_power_fails_once_and_stays_off() {
        let mut power = Power::default();
        power.arm(Some(2));
        assert_eq!(power.draw(), Current::On);
        assert_eq!(power.draw(), Current::Failing);
        assert_eq!(power.draw(), Current::Off);
        assert!(power.is_off());
        power.arm(None);
        assert_eq!(power.draw(), Current::On);
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let mut content = Content::default();
        assert_eq!(content.write(usize::MAX, b"x"), Err(Full));
        assert_eq!(content.set_length(usize::MAX), Err(Full));
    }
}
