//! Sets of items: two slots, of which one is in force, below one directory. The state is written
//! first and the link `current` follows it; whoever opens the sets brings the link to where the state
//! says. A slot gets its name only when everything in it is durable, and what is in force is never
//! written to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::catalogue::{Setting, Wanted, is_item};
use super::{PackageError, unpack};
use crate::manifest::Sha256;
use crate::slots::disk::{self, Disk};
use crate::slots::pair::{Pair, SLOTS, STAGING, STATE, other_than};

/// The file of a set that says what is in it.
pub const SET_FILE: &str = "set.json";
/// The file of a set with what the regions set.
pub const SETTINGS_FILE: &str = "region.toml";
/// The directory of a set with its items, one directory each.
pub const ITEMS_DIRECTORY: &str = "items";

/// Layout of the state and of the description.
const FORMAT: u32 = 1;
/// Largest state and description in bytes. Chosen: a thousand items with their hashes, with room.
const STATE_BYTES_MAX: u64 = 64 * 1024;
const DESCRIPTION_BYTES_MAX: usize = 1024 * 1024;
/// Digits of the digest in the version of a set: enough to tell apart what one terminal ever has.
const VERSION_DIGITS: usize = 8;

/// What is in a set, as its file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetDescription {
    format: u32,
    /// Its version: that of the signed targets which it came with first, and a digest.
    pub version: String,
    /// Digest of what was wanted.
    pub digest: Sha256,
    /// Version of each item and the region that says so, by item.
    pub items: BTreeMap<String, (u32, String)>,
    /// Items that are not offered, and the region that says so.
    pub removed: BTreeMap<String, String>,
    /// The region that sets it, by name of the setting.
    pub settings: BTreeMap<String, String>,
}

impl SetDescription {
    /// Describes what is wanted, as the targets of this version want it.
    pub fn new(wanted: &Wanted, targets: u64) -> Self {
        let digest = digest(wanted);
        let short = digest.to_string();
        let short = short.get(..VERSION_DIGITS).unwrap_or_default();
        Self {
            format: FORMAT,
            version: format!("{targets}-{short}"),
            digest,
            items: wanted
                .packages
                .iter()
                .map(|(item, package)| {
                    let said = (package.entry.version, package.region.clone());
                    (item.clone(), said)
                })
                .collect(),
            removed: wanted.removed.clone(),
            settings: wanted
                .settings
                .iter()
                .map(|(name, (_, region))| (name.clone(), region.clone()))
                .collect(),
        }
    }

    /// Reads a description; `None` when the bytes are none of this layout. A function of outside
    /// bytes for the terminal: bounded, and it never panics.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > DESCRIPTION_BYTES_MAX {
            return None;
        }
        let description: Self = serde_json::from_slice(bytes).ok()?;
        let are_items = description
            .items
            .keys()
            .chain(description.removed.keys())
            .all(|item| is_item(item));
        let is_version = (1..=64).contains(&description.version.len())
            && description
                .version
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        (description.format == FORMAT && are_items && is_version).then_some(description)
    }
}

/// Digest of what a terminal gets: the same for the same packages, removals and settings, whichever
/// region says so and however the targets are numbered.
fn digest(wanted: &Wanted) -> Sha256 {
    let packages: Vec<_> = wanted
        .packages
        .iter()
        .map(|(item, package)| (item, package.entry.version, package.entry.sha256))
        .collect();
    let removed: Vec<&String> = wanted.removed.keys().collect();
    let settings: BTreeMap<&String, &Setting> = wanted
        .settings
        .iter()
        .map(|(name, (setting, _))| (name, setting))
        .collect();
    // Text, numbers and lists: JSON has all of them, and the order is that of the names.
    let bytes = serde_json::to_vec(&(packages, removed, settings)).unwrap_or_default();
    Sha256::of(&bytes)
}

/// A set in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSet {
    /// The slot.
    pub slot: String,
    /// Version of the set.
    pub version: String,
    /// Digest of what was wanted.
    pub digest: Sha256,
}

/// A set that the terminal's own check refused. It is not tried again by the same program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSet {
    /// Version of the set.
    pub version: String,
    /// Digest of what was wanted.
    pub digest: Sha256,
    /// Version of the program that refused it; another one may know more.
    pub program: Option<String>,
    /// Problem code.
    pub code: String,
    /// What it said.
    pub words: String,
    /// When.
    pub at: Timestamp,
}

/// What is known of the sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetsState {
    format: u32,
    /// What is in force; `None` while the terminal has the items of its program alone.
    pub current: Option<HeldSet>,
    /// What was refused last.
    pub refused: Option<RefusedSet>,
}

impl Default for SetsState {
    fn default() -> Self {
        Self {
            format: FORMAT,
            current: None,
            refused: None,
        }
    }
}

impl SetsState {
    /// Reads a state; `None` when the bytes are none of this layout.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let state: Self = serde_json::from_slice(bytes).ok()?;
        let is_slot = state
            .current
            .as_ref()
            .is_none_or(|held| SLOTS.contains(&held.slot.as_str()));
        (state.format == FORMAT && is_slot).then_some(state)
    }
}

/// Why a set could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Another updater is at work.
    #[error("another updater is at work")]
    Locked,
    /// A package breaks a rule, though it was signed.
    #[error("the package of `{item}`: {source}")]
    Package {
        /// Of which item.
        item: String,
        /// What it breaks.
        source: PackageError,
    },
    /// The settings cannot be written as a configuration.
    #[error("the settings of the region cannot be written down")]
    Settings,
    /// The disk failed.
    #[error("the set cannot be written")]
    Storage(#[from] io::Error),
}

impl SetError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked => "update.already-running",
            Self::Package { source, .. } => source.code(),
            Self::Settings => "items.catalogue-malformed",
            Self::Storage(error) if error.kind() == io::ErrorKind::StorageFull => "update.no-room",
            Self::Storage(_) => "update.storage",
        }
    }
}

/// The sets below one directory.
#[derive(Debug)]
pub struct Sets<'a> {
    pair: Pair<'a>,
    state: SetsState,
}

impl<'a> Sets<'a> {
    /// Opens the sets below `root`, making what is missing, and finishes what a power cut has
    /// interrupted.
    ///
    /// # Errors
    /// `Locked` while another updater has them open; `Storage`.
    pub fn open(root: &Path, disk: &'a dyn Disk) -> Result<Self, SetError> {
        let pair = Pair::open(root, disk)?.ok_or(SetError::Locked)?;
        let bytes = disk::read(&root.join(STATE), STATE_BYTES_MAX)?;
        let mut sets = Self {
            pair,
            state: SetsState::default(),
        };
        match bytes.as_deref().map(SetsState::parse) {
            Some(Some(state)) => sets.state = state,
            // Unreadable: what is in force says itself what it is.
            Some(None) => {
                sets.state.current = sets.pair.linked().and_then(|slot| sets.found(&slot));
            }
            None => {}
        }
        sets.drop_what_is_gone()?;
        sets.follow()?;
        Ok(sets)
    }

    /// What is known of them.
    pub fn state(&self) -> &SetsState {
        &self.state
    }

    /// The directory below which they lie.
    pub fn root(&self) -> &Path {
        self.pair.root()
    }

    /// True when there is a set that was in force before, which a visit may still read.
    pub fn has_former(&self) -> bool {
        self.state.current.is_some() && self.pair.root().join(self.spare()).is_dir()
    }

    /// Writes what is wanted beside what is in force and says where it lies. `package` gives the
    /// bytes of a package, which were checked.
    ///
    /// # Errors
    /// [`SetError`]; what was written is thrown away by the next attempt.
    pub fn stage(
        &self,
        wanted: &Wanted,
        description: &SetDescription,
        package: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>,
    ) -> Result<PathBuf, SetError> {
        let staging = self.pair.root().join(STAGING);
        self.pair.disk().remove_directory(&staging)?;
        self.pair.disk().create_directory(&staging)?;
        let items = staging.join(ITEMS_DIRECTORY);
        self.pair.disk().create_directory(&items)?;
        for item in wanted.packages.keys() {
            let packed = package(item)?;
            unpack(&packed, &items.join(item), self.pair.disk()).map_err(|error| {
                if let PackageError::Storage(error) = error {
                    return SetError::Storage(error);
                }
                let item = item.clone();
                SetError::Package {
                    item,
                    source: error,
                }
            })?;
        }
        self.pair.disk().sync_directory(&items)?;
        let settings: BTreeMap<&String, &Setting> = wanted
            .settings
            .iter()
            .map(|(name, (setting, _))| (name, setting))
            .collect();
        let settings = toml::to_string(&settings).map_err(|_| SetError::Settings)?;
        let description = serde_json::to_vec_pretty(description).map_err(io::Error::other)?;
        for (name, bytes) in [
            (SETTINGS_FILE, settings.as_bytes()),
            (SET_FILE, &description[..]),
        ] {
            let mut bytes = bytes;
            self.pair
                .disk()
                .write_new(&staging.join(name), 0o644, &mut bytes)?;
        }
        self.pair.disk().sync_directory(&staging)?;
        Ok(staging)
    }

    /// Brings into force what was staged. The set before it is kept.
    ///
    /// # Errors
    /// `Storage`; reopening the sets finishes it or leaves everything as it was.
    pub fn switch(&mut self, description: &SetDescription) -> Result<(), SetError> {
        let slot = self.spare();
        let place = self.pair.root().join(slot);
        self.pair.disk().remove_directory(&place)?;
        self.pair
            .disk()
            .rename(&self.pair.root().join(STAGING), &place)?;
        self.pair.disk().sync_directory(self.pair.root())?;
        let held = HeldSet {
            slot: slot.to_owned(),
            version: description.version.clone(),
            digest: description.digest,
        };
        self.change(|state| {
            state.current = Some(held);
            state.refused = None;
        })?;
        self.follow()
    }

    /// Throws away what was staged and remembers why.
    ///
    /// # Errors
    /// `Storage`.
    pub fn refuse(&mut self, refused: RefusedSet) -> Result<(), SetError> {
        self.discard()?;
        self.change(|state| state.refused = Some(refused))
    }

    /// Throws away what was staged.
    ///
    /// # Errors
    /// `Storage`.
    pub fn discard(&self) -> Result<(), SetError> {
        Ok(self
            .pair
            .disk()
            .remove_directory(&self.pair.root().join(STAGING))?)
    }

    /// True when the set in force says of itself that it is this one.
    pub fn is_in_force(&self, digest: Sha256) -> bool {
        self.state
            .current
            .as_ref()
            .filter(|held| held.digest == digest)
            .is_some_and(|held| {
                let found = self.found(&held.slot);
                found.is_some_and(|found| found.digest == digest)
            })
    }

    /// What a slot says of itself.
    fn found(&self, slot: &str) -> Option<HeldSet> {
        let path = self.pair.root().join(slot).join(SET_FILE);
        let bytes = disk::read(&path, DESCRIPTION_BYTES_MAX as u64).ok()??;
        let description = SetDescription::parse(&bytes)?;
        Some(HeldSet {
            slot: slot.to_owned(),
            version: description.version,
            digest: description.digest,
        })
    }

    /// A set whose directory is not there is not in force.
    fn drop_what_is_gone(&mut self) -> Result<(), SetError> {
        let is_gone = self
            .state
            .current
            .as_ref()
            .is_some_and(|held| !self.pair.root().join(&held.slot).join(SET_FILE).is_file());
        if !is_gone {
            return Ok(());
        }
        self.change(|state| state.current = None)
    }

    /// Lets the link follow the state.
    fn follow(&self) -> Result<(), SetError> {
        let current = self.state.current.as_ref();
        Ok(self.pair.follow(current.map(|held| held.slot.as_str()))?)
    }

    /// Writes the changed state; the one before stays when that fails.
    fn change(&mut self, change: impl FnOnce(&mut SetsState)) -> Result<(), SetError> {
        let before = self.state.clone();
        change(&mut self.state);
        let bytes = serde_json::to_vec_pretty(&self.state).map_err(io::Error::other);
        let saved = bytes.and_then(|bytes| {
            disk::replace(self.pair.disk(), &self.pair.root().join(STATE), &bytes)
        });
        if saved.is_err() {
            self.state = before;
        }
        Ok(saved?)
    }

    /// The slot that is not in force.
    fn spare(&self) -> &'static str {
        let current = self.state.current.as_ref();
        other_than(current.map(|held| held.slot.as_str()))
    }
}
