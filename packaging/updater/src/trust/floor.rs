//! What never falls: the highest version of each role that was ever believed, and the latest time
//! that signed metadata vouched for. Kept apart from the metadata itself and in two copies, because
//! torn metadata must not bring old releases back. Only a newer root with other online keys, or a
//! signed order, lowers anything.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::outline::Outline;

/// Layout of the file.
const FORMAT: u32 = 1;
/// Largest file that is read; 256 names of 255 bytes.
pub(super) const FLOOR_BYTES_MAX: u64 = 128 * 1024;

/// The floor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    format: u32,
    /// Version of the newest root.
    pub root: u64,
    /// Of the newest timestamp.
    pub timestamp: u64,
    /// Of the newest snapshot, or of one that a timestamp named.
    pub snapshot: u64,
    /// Of the lists of targets by their file's name, as a snapshot named them.
    pub lists: BTreeMap<String, u64>,
    /// Names the online keys under which the versions above, but for the root's, were counted;
    /// empty when it is not known.
    pub online_keys: String,
    /// The latest time at which metadata was found in force.
    pub time: Timestamp,
    /// Number of the last order of repair that was obeyed.
    pub repair: u64,
}

impl Floor {
    /// The floor of a terminal that has believed nothing yet.
    pub fn new(time: Timestamp) -> Self {
        Self {
            format: FORMAT,
            root: 0,
            timestamp: 0,
            snapshot: 0,
            lists: BTreeMap::new(),
            online_keys: String::new(),
            time,
            repair: 0,
        }
    }

    /// Reads a floor; `None` when it is torn, or of a layout that this version does not know.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() as u64 > FLOOR_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(bytes)
            .ok()
            .filter(|floor: &Self| floor.format == FORMAT)
    }

    /// The file's content.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and text always make JSON")
    }

    /// The floor that is under both.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        let (mut newer, older) = if (self.root, self.repair) >= (other.root, other.repair) {
            (self, other)
        } else {
            (other, self)
        };
        if newer.online_keys == older.online_keys {
            newer.timestamp = newer.timestamp.max(older.timestamp);
            newer.snapshot = newer.snapshot.max(older.snapshot);
            for (name, version) in older.lists {
                let highest = newer.lists.entry(name).or_insert(0);
                *highest = version.max(*highest);
            }
        }
        // A repair may lower the time, so the copy that has seen it is right.
        match newer.repair.cmp(&older.repair) {
            std::cmp::Ordering::Less => {
                newer.time = older.time;
                newer.repair = older.repair;
            }
            std::cmp::Ordering::Equal => newer.time = newer.time.max(older.time),
            std::cmp::Ordering::Greater => {}
        }
        newer
    }

    /// Counts anew when the root names other online keys: whoever had the old ones may have raised
    /// versions beyond reach (TUF 1.0.34, 5.3.11). True when it did.
    pub(super) fn follow_keys(&mut self, online_keys: &str) -> bool {
        let is_anew = self.counts_anew(online_keys);
        online_keys.clone_into(&mut self.online_keys);
        if is_anew {
            self.timestamp = 0;
            self.snapshot = 0;
            self.lists.clear();
        }
        is_anew
    }

    /// True when versions under these keys are not comparable with those that were counted.
    pub(super) fn counts_anew(&self, online_keys: &str) -> bool {
        !self.online_keys.is_empty() && self.online_keys != online_keys
    }

    /// True when a timestamp is not older than what was believed, nor the snapshot that it names.
    pub(super) fn admits_timestamp(&self, timestamp: &Outline) -> bool {
        timestamp.version >= self.timestamp
            && timestamp
                .meta
                .get("snapshot.json")
                .is_some_and(|named| named.version >= self.snapshot)
    }

    /// True when a snapshot is not older, and every list that was named is named still and not older.
    pub(super) fn admits_snapshot(&self, snapshot: &Outline) -> bool {
        snapshot.version >= self.snapshot
            && self.lists.iter().all(|(name, version)| {
                snapshot
                    .meta
                    .get(name)
                    .is_some_and(|named| named.version >= *version)
            })
    }

    /// Counts a timestamp.
    pub(super) fn raise_timestamp(&mut self, timestamp: &Outline) {
        self.timestamp = self.timestamp.max(timestamp.version);
        if let Some(named) = timestamp.meta.get("snapshot.json") {
            self.snapshot = self.snapshot.max(named.version);
        }
    }

    /// Counts a snapshot.
    pub(super) fn raise_snapshot(&mut self, snapshot: &Outline) {
        self.snapshot = self.snapshot.max(snapshot.version);
        for (name, named) in &snapshot.meta {
            let highest = self.lists.entry(name.clone()).or_insert(0);
            *highest = named.version.max(*highest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn floor(root: u64, timestamp: u64, time_s: i64) -> Floor {
        Floor {
            root,
            timestamp,
            online_keys: "a".to_owned(),
            ..Floor::new(at(time_s))
        }
    }

    #[test]
    fn of_two_copies_the_higher_of_each_counts() {
        let joined = floor(3, 5, 10).joined(floor(2, 9, 20));
        assert_eq!(joined, floor(3, 9, 20));
        let joined = floor(2, 9, 20).joined(floor(3, 5, 10));
        assert_eq!(joined, floor(3, 9, 20));
    }

    #[test]
    fn versions_of_other_online_keys_do_not_count() {
        let other = Floor {
            online_keys: "b".to_owned(),
            ..floor(2, 900, 20)
        };
        assert_eq!(other.joined(floor(3, 5, 10)), floor(3, 5, 20));
    }

    #[test]
    fn the_copy_that_has_seen_a_repair_says_the_time() {
        let repaired = Floor {
            repair: 1,
            ..floor(3, 5, 10)
        };
        let joined = floor(3, 5, 2_000_000_000).joined(repaired.clone());
        assert_eq!(joined, repaired);
    }

    #[test]
    fn a_floor_comes_back_as_it_was_and_a_torn_one_not_at_all() {
        let floor = floor(3, 5, 10);
        let bytes = floor.to_bytes();
        assert_eq!(Floor::parse(&bytes), Some(floor));
        for length in 0..bytes.len() {
            assert_eq!(Floor::parse(&bytes[..length]), None);
        }
    }
}
