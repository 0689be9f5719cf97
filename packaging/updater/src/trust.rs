//! What may be installed: the one module that knows The Update Framework. Keeps true that nothing is
//! believed which too few keys signed, which is older than what was believed before, or which does
//! not belong together; that this survives torn files, wrong clocks and lying servers; and that a
//! file is used only when it is the signed one. Knows nothing of releases, waves or slots.
//!
//! Names of files are flat, hashes are SHA-256, and nothing is delegated (limits of the engine).

mod error;
mod floor;
mod http;
mod judge;
mod load;
mod outline;
mod repair;
mod root;
mod store;
mod target;
mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use tough::TargetName;
use tough::schema::{self, Signed};

pub use self::error::{TransportError, TrustError, told};
pub use self::floor::Floor;
pub use self::http::{Http, Pace, Tls};
pub use self::outline::{Named, Outline};
pub use self::repair::{RepairKind, RepairOrder, RepairedVersions};
pub use self::root::RootKeys;
pub use self::target::{Target, sha256};
pub use self::transport::{Directory, Sink, Transport, fetch_whole, is_plain_name};

use self::load::Believed;
use self::repair::Addressee;
use self::store::Store;

/// An alarm comes this long before signed metadata ends. Chosen: half of the thirty days that a
/// timestamp lives, so that a village without a line for two weeks is heard of in time.
pub const EXPIRY_ALARM: SignedDuration = SignedDuration::from_hours(15 * 24);
/// A floor of time this far ahead of the clock is worth a technician's look.
const FLOOR_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Whose metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Names the keys of all others; signed at a ceremony.
    Root,
    /// Names the newest snapshot; signed often, and soon over.
    Timestamp,
    /// Names the versions that belong together.
    Snapshot,
    /// Names the files.
    Targets,
    /// Names files for another; our repositories have none.
    Delegated,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
            Self::Delegated => "delegated",
        })
    }
}

/// What a terminal believes of one repository.
#[derive(Debug)]
pub struct Trust {
    path: PathBuf,
    store: Store,
    pinned_root: Vec<u8>,
    pinned_version: u64,
    built_at: Timestamp,
}

/// How things stand without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The highest versions that were believed.
    pub floor: Floor,
    /// Whose metadata ends first, and when; `None` before the first refresh.
    pub first_end: Option<(Role, Timestamp)>,
    /// The clock was ahead once: by this much the floor of time lies ahead of it now. Only an order
    /// of repair lowers it.
    pub time_ahead: Option<SignedDuration>,
    /// Both copies of the floor are unreadable; only an order of repair opens the store again.
    pub is_damaged: bool,
}

impl Standing {
    /// Whole days until the first metadata ends; negative when it has.
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        let (_, end) = self.first_end?;
        Some(end.duration_since(now).as_hours().div_euclid(24))
    }

    /// True when an alarm is due.
    pub fn is_expiring(&self, now: Timestamp) -> bool {
        self.first_end
            .is_some_and(|(_, end)| end.duration_since(now) <= EXPIRY_ALARM)
    }
}

/// Metadata that was checked and is in force.
#[derive(Clone, Debug)]
pub struct Trusted {
    targets: schema::Targets,
    has_hashed_names: bool,
    first_end: (Role, Timestamp),
    floor: Floor,
}

impl Trust {
    /// Opens what is believed. `pinned_root` came with the program and is where belief begins;
    /// `built_at` is when the program was built, before which it cannot be.
    ///
    /// # Errors
    /// `PinnedRoot`, `Store`.
    pub fn open(path: &Path, pinned_root: &[u8], built_at: Timestamp) -> Result<Self, TrustError> {
        let pinned_version = root_version(pinned_root).ok_or(TrustError::PinnedRoot)?;
        let store = Store::open(path, built_at).map_err(TrustError::Store)?;
        Ok(Self {
            path: path.to_path_buf(),
            store,
            pinned_root: pinned_root.to_vec(),
            pinned_version,
            built_at,
        })
    }

    /// Asks the repository what is new and believes what can be believed. What is believed already
    /// is not fetched again.
    ///
    /// # Errors
    /// [`TrustError`]; nothing may be installed then. What could be believed is kept all the same.
    pub fn refresh(
        &mut self,
        metadata: &dyn Transport,
        now: Timestamp,
    ) -> Result<Trusted, TrustError> {
        self.pass(Some(metadata), now)
    }

    /// Checks what is believed already, without a line.
    ///
    /// # Errors
    /// [`TrustError`]: what is believed has ended, or is not whole.
    pub fn recall(&mut self, now: Timestamp) -> Result<Trusted, TrustError> {
        self.pass(None, now)
    }

    fn pass(
        &mut self,
        metadata: Option<&dyn Transport>,
        now: Timestamp,
    ) -> Result<Trusted, TrustError> {
        if self.store.is_damaged {
            return Err(TrustError::StoreDamaged);
        }
        let believed = Believed {
            root: self.root(),
            files: &self.store.files,
            floor: &self.store.floor,
            time: self.time(now),
        };
        let pass = load::run(metadata, believed, &self.path)?;
        let verdict = judge::judge(believed, pass);
        self.store
            .commit(&verdict.files, &verdict.floor)
            .map_err(TrustError::Store)?;
        let targets = verdict.outcome?;
        let first_end = self.first_end().ok_or(TrustError::Malformed {
            role: Role::Targets,
        })?;
        Ok(Trusted {
            targets,
            has_hashed_names: has_hashed_names(self.root()),
            first_end,
            floor: self.store.floor.clone(),
        })
    }

    /// Obeys an order of repair.
    ///
    /// # Errors
    /// `Repair` says why it is not obeyed, `Store`.
    pub fn repair(
        &mut self,
        order: &[u8],
        terminal: &str,
        now: Timestamp,
    ) -> Result<RepairOrder, TrustError> {
        let addressee = Addressee {
            root: self.root(),
            terminal,
            last: self.store.floor.repair,
            built_at: self.built_at,
            now,
        };
        let order = repair::check(order, &addressee)?;
        let mut floor = self.store.floor.clone();
        floor.time = order.time;
        floor.repair = order.version.get();
        match order.versions {
            Some(versions) if self.store.is_damaged => {
                floor.root = versions.root;
                floor.timestamp = versions.timestamp;
                floor.snapshot = versions.snapshot;
                floor.lists = BTreeMap::from([("targets.json".to_owned(), versions.targets)]);
                // Whatever root is newest by then, these versions count under its keys.
                floor.online_keys.clear();
            }
            None if self.store.is_damaged => {
                return Err(TrustError::Repair(
                    "it names no versions, and ours are lost",
                ));
            }
            Some(_) | None => {}
        }
        let files = self.store.files.clone();
        self.store
            .commit(&files, &floor)
            .map_err(TrustError::Store)?;
        Ok(order)
    }

    /// How things stand.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let ahead = self.store.floor.time.duration_since(now);
        Standing {
            floor: self.store.floor.clone(),
            first_end: self.first_end(),
            time_ahead: (ahead > FLOOR_AHEAD).then_some(ahead),
            is_damaged: self.store.is_damaged,
        }
    }

    /// The believed metadata by its unversioned names, byte for byte as it was served.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.store.files.named()
    }

    /// The newest root: the stored one, unless the program came with a newer.
    fn root(&self) -> &[u8] {
        let stored = self.store.files.root.as_deref();
        stored
            .filter(|root| root_version(root).is_some_and(|version| version > self.pinned_version))
            .unwrap_or(&self.pinned_root)
    }

    /// The time that is believed: never before anything that proves how late it is.
    fn time(&self, now: Timestamp) -> Timestamp {
        now.max(self.store.floor.time).max(self.built_at)
    }

    fn first_end(&self) -> Option<(Role, Timestamp)> {
        let roles = [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets];
        let ends: Option<Vec<_>> = roles
            .into_iter()
            .map(|role| {
                let outline = Outline::parse(self.store.files.of(role)?)?;
                Some((role, outline.expires))
            })
            .collect();
        ends?.into_iter().min_by_key(|(_, end)| *end)
    }
}

impl Trusted {
    /// The signed file of this name.
    ///
    /// # Errors
    /// `NoTarget`.
    pub fn target(&self, name: &str) -> Result<Target, TrustError> {
        let name = TargetName::new(name).map_err(|_| TrustError::NoTarget)?;
        let target = self
            .targets
            .find_target(&name, false)
            .map_err(|_| TrustError::NoTarget)?;
        let sha256 =
            <[u8; 32]>::try_from(&target.hashes.sha256[..]).map_err(|_| TrustError::NoTarget)?;
        Ok(Target {
            name: name.raw().to_owned(),
            length: target.length,
            sha256,
            custom: target
                .custom
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            is_by_hash: self.has_hashed_names,
        })
    }

    /// The names of all signed files, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.targets.targets.keys().map(TargetName::raw).collect();
        names.sort_unstable();
        names
    }

    /// Whose metadata ends first, and when.
    pub fn first_end(&self) -> (Role, Timestamp) {
        self.first_end
    }

    /// The versions that are believed.
    pub fn floor(&self) -> &Floor {
        &self.floor
    }

    /// Says whether an installation may begin at `now`: a download may have taken days.
    ///
    /// # Errors
    /// `Expired`.
    pub fn may_install(&self, now: Timestamp) -> Result<(), TrustError> {
        let (role, end) = self.first_end;
        if now < end {
            return Ok(());
        }
        Err(TrustError::Expired { role })
    }
}

/// The version of a root that is signed by its own keys and counts none twice.
fn root_version(bytes: &[u8]) -> Option<u64> {
    let root: Signed<schema::Root> = serde_json::from_slice(bytes).ok()?;
    root.signed.verify_role(&root).ok()?;
    if RootKeys::parse(bytes)?.doubled().is_some() {
        return None;
    }
    Outline::parse(bytes).map(|outline| outline.version)
}

fn has_hashed_names(root: &[u8]) -> bool {
    serde_json::from_slice::<Signed<schema::Root>>(root)
        .is_ok_and(|root| root.signed.consistent_snapshot)
}
