//! A repository on the operator's desk: which keys count, which files are in force, and what the web
//! server gets. Nothing is published that a terminal would not believe: the terminal's own client
//! reads it first. What is written is whole or not there; the newest timestamp comes last, so that who
//! reads meanwhile has the old state or the new one.
//!
//! `metadata/` and `targets/` and `chunks/` are what is published; `draft/` holds the files that the
//! next list of targets will name; `kept/` what was signed once; `repository.json` says how long signatures last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use kiosk_sealing::{DeviceKey, PublicKey};
use kiosk_update::trust::{Directory, Trust, TrustError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::files::{self, FileError};
use crate::tuf::{self, Described, Keys, Role, Signed, TufError};

/// Layout of the directory.
const FORMAT: u32 = 1;
/// What says what the directory is.
const SETTINGS: &str = "repository.json";
/// The parts of it.
const METADATA: &str = "metadata";
const TARGETS: &str = "targets";
const CHUNKS: &str = "chunks";
const DRAFT: &str = "draft";
const KEPT: &str = "kept";
/// Largest file of metadata or of the directory itself. Chosen: 4096 targets have a fifth of it.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest file that is listed.
const TARGET_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Days in hours.
const DAY_H: i64 = 24;
/// Days left of an offline signature that are few. Chosen: a ceremony is called for a month before.
const OFFLINE_DAYS_FEW: i64 = 30;
/// Days left of an online signature that are few. Chosen: half of its life, a week without signing.
const ONLINE_DAYS_FEW: i64 = 7;

/// How long signatures last, in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lives {
    /// Of roots.
    pub root: u16,
    /// Of lists of files.
    pub targets: u16,
    /// Of snapshots and timestamps, which are signed by a machine every day.
    pub online: u16,
}

impl Default for Lives {
    /// Chosen: a ceremony a year; a list outlives half a year without releases; two weeks are noticed
    /// before the online signatures end.
    fn default() -> Self {
        Self {
            root: 365,
            targets: 180,
            online: 14,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    format: u32,
    name: String,
    lives: Lives,
}

/// Why a repository is not as it should be, or something is not done.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The directory is none.
    #[error("{} is no repository; make one with `kiosk-admin repository init`", path.display())]
    None {
        /// The directory.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{} is a repository already", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// Its name leads elsewhere.
    #[error("a repository's name has letters, digits and `-` only")]
    Name,
    /// A threshold that cannot be met, or that one thief meets.
    #[error("{role}: {keys} keys cannot have a threshold of {threshold}")]
    Threshold {
        /// Of which role.
        role: &'static str,
        /// How many different keys there are.
        keys: usize,
        /// How many of them should sign.
        threshold: usize,
    },
    /// A file of it cannot be understood.
    #[error("{} is not what was written there", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
    /// Too few have signed.
    #[error(
        "{what} has {signed} of {threshold} signatures; let another holder run `kiosk-admin repository sign`"
    )]
    Unsigned {
        /// What.
        what: String,
        /// How many have.
        signed: usize,
        /// How many must.
        threshold: usize,
    },
    /// No list of files was signed.
    #[error("no list of files is signed yet; begin with `kiosk-admin release sign`")]
    NoList,
    /// The terminal's own client refuses it.
    #[error("a terminal would not believe this; nothing was published")]
    Refused(#[source] TrustError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be signed.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// The file system failed.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RepositoryError + '_ {
    |source| RepositoryError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// The keys of a repository's first or next root.
#[derive(Clone, Debug)]
pub struct Holders {
    /// Who says which keys count; offline.
    pub root: Keys,
    /// Who says which files are in force; offline.
    pub targets: Keys,
    /// What says every day that this is still so; on a machine with a line.
    pub online: PublicKey,
}

impl Holders {
    fn roles(&self) -> Result<BTreeMap<Role, Keys>, RepositoryError> {
        let online = Keys {
            keys: vec![self.online.clone()],
            threshold: 1,
        };
        let roles = BTreeMap::from([
            (Role::Root, self.root.clone()),
            (Role::Targets, self.targets.clone()),
            (Role::Snapshot, online.clone()),
            (Role::Timestamp, online),
        ]);
        for (role, keys) in &roles {
            let different: BTreeSet<String> = keys
                .keys
                .iter()
                .map(tuf::key_id)
                .collect::<Result<_, _>>()?;
            if !(1..=different.len()).contains(&keys.threshold)
                || different.len() != keys.keys.len()
            {
                return Err(RepositoryError::Threshold {
                    role: role.word(),
                    keys: different.len(),
                    threshold: keys.threshold,
                });
            }
        }
        Ok(roles)
    }
}

/// What was written, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Each thing in words.
    pub words: Vec<String>,
}

impl Done {
    fn note(&mut self, words: String) {
        self.words.push(words);
    }
}

/// A repository.
#[derive(Debug)]
pub struct Repository {
    path: PathBuf,
    name: String,
    lives: Lives,
    is_dry: bool,
}

impl Repository {
    /// Makes one with a first root, which nobody has signed yet.
    ///
    /// # Errors
    /// `Exists`, `Name`, `Threshold`, `Tuf`, `Io`.
    pub fn init(
        path: &Path,
        name: &str,
        lives: Lives,
        holders: &Holders,
        now: Timestamp,
        is_dry: bool,
    ) -> Result<Done, RepositoryError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err(RepositoryError::Name);
        }
        if path.join(SETTINGS).exists() {
            let path = path.to_path_buf();
            return Err(RepositoryError::Exists { path });
        }
        let repository = Self {
            path: path.to_path_buf(),
            name: name.to_owned(),
            lives,
            is_dry,
        };
        let root = tuf::root(1, later(now, lives.root), &holders.roles()?)?;
        let mut done = Done::default();
        repository.write_role(Role::Root, &root, &mut done)?;
        let settings = Settings {
            format: FORMAT,
            name: name.to_owned(),
            lives,
        };
        let settings = serde_json::to_vec_pretty(&settings).map_err(|_| TufError::Form)?;
        for part in [TARGETS, CHUNKS, DRAFT] {
            repository.make(&repository.path.join(part))?;
        }
        repository.write(&repository.path.join(SETTINGS), &settings)?;
        Ok(done)
    }

    /// Opens one.
    ///
    /// # Errors
    /// `None`, `Broken`, `File`.
    pub fn open(path: &Path, is_dry: bool) -> Result<Self, RepositoryError> {
        let settings = path.join(SETTINGS);
        if !settings.is_file() {
            let path = path.to_path_buf();
            return Err(RepositoryError::None { path });
        }
        let bytes = files::read_bounded(&settings, FILE_BYTES_MAX)?;
        let read: Option<Settings> = serde_json::from_slice(&bytes).ok();
        let read = read.filter(|read| read.format == FORMAT);
        let read = read.ok_or(RepositoryError::Broken { path: settings })?;
        Ok(Self {
            path: path.to_path_buf(),
            name: read.name,
            lives: read.lives,
            is_dry,
        })
    }

    /// True when nothing is written.
    pub fn is_dry(&self) -> bool {
        self.is_dry
    }

    /// Where chunks of releases lie.
    pub fn chunks(&self) -> PathBuf {
        self.path.join(CHUNKS)
    }

    /// The next root, with other keys for the roles that are named; nobody has signed it yet. It
    /// counts when enough holders of the keys before and of those to come have.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn new_root(
        &self,
        root: Option<Keys>,
        targets: Option<Keys>,
        online: Option<PublicKey>,
        now: Timestamp,
    ) -> Result<Done, RepositoryError> {
        let last = self.root()?;
        self.check_root(last.version())?;
        let kept = |role| {
            let path = self.file(Role::Root, last.version());
            last.keys(role).ok_or(RepositoryError::Broken { path })
        };
        let online = if let Some(online) = online {
            online
        } else {
            let path = self.file(Role::Root, last.version());
            let first = kept(Role::Timestamp)?.keys.into_iter().next();
            first.ok_or(RepositoryError::Broken { path })?
        };
        let holders = Holders {
            root: root.map_or_else(|| kept(Role::Root), Ok)?,
            targets: targets.map_or_else(|| kept(Role::Targets), Ok)?,
            online,
        };
        let next = last.version() + 1;
        let root = tuf::root(next, later(now, self.lives.root), &holders.roles()?)?;
        let mut done = Done::default();
        self.write_role(Role::Root, &root, &mut done)?;
        Ok(done)
    }

    /// Adds a signature to the newest root or list of files.
    ///
    /// # Errors
    /// `NotListed` for somebody else's key, `SignedAlready`, and those of reading and writing.
    pub fn sign(&self, role: Role, key: &DeviceKey) -> Result<Done, RepositoryError> {
        let version = self.newest(role)?;
        let mut file = self.read(role, version)?;
        let id = tuf::key_id(&key.public())?;
        let mut is_listed = self.root()?.listed(role).0.contains(&id);
        if role == Role::Root && version > 1 {
            // A root is signed by those before it too.
            let before = self.read(Role::Root, version - 1)?;
            is_listed |= before.listed(role).0.contains(&id);
        }
        if !is_listed {
            let role = role.word();
            return Err(TufError::NotListed { role }.into());
        }
        file.sign(key)?;
        let mut done = Done::default();
        self.write_role(role, &file, &mut done)?;
        Ok(done)
    }

    /// Puts a file into the draft; `None` takes it out.
    ///
    /// # Errors
    /// `Io`.
    pub fn draft(&self, name: &str, content: Option<&[u8]>) -> Result<(), RepositoryError> {
        let path = self.path.join(DRAFT).join(name);
        match content {
            Some(content) => self.write(&path, content),
            None if self.is_dry || !path.exists() => Ok(()),
            None => fs::remove_file(&path).map_err(at(&path)),
        }
    }

    /// A file of the draft.
    ///
    /// # Errors
    /// `File`.
    pub fn drafted(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        self.read_in(DRAFT, name)
    }

    /// Names of the draft's files.
    ///
    /// # Errors
    /// `Io`.
    pub fn draft_names(&self) -> Result<BTreeSet<String>, RepositoryError> {
        self.names_in(DRAFT)
    }

    /// Keeps a file for good beside what is published.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep(&self, name: &str, content: &[u8]) -> Result<(), RepositoryError> {
        self.write(&self.path.join(KEPT).join(name), content)
    }

    /// A kept file.
    ///
    /// # Errors
    /// `File`.
    pub fn kept(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        self.read_in(KEPT, name)
    }

    /// Names of the kept files.
    ///
    /// # Errors
    /// `Io`.
    pub fn kept_names(&self) -> Result<BTreeSet<String>, RepositoryError> {
        self.names_in(KEPT)
    }

    fn read_in(&self, part: &str, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        let path = self.path.join(part).join(name);
        if !path.is_file() {
            return Ok(None);
        }
        Ok(Some(files::read_bounded(&path, TARGET_BYTES_MAX)?.to_vec()))
    }

    fn names_in(&self, part: &str) -> Result<BTreeSet<String>, RepositoryError> {
        let path = self.path.join(part);
        let mut names = BTreeSet::new();
        if !path.is_dir() {
            return Ok(names);
        }
        for entry in fs::read_dir(&path).map_err(at(&path))? {
            let entry = entry.map_err(at(&path))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if entry.path().is_dir() {
                let below = self.names_in(&format!("{part}/{name}"))?;
                names.extend(below.iter().map(|file| format!("{name}/{file}")));
            } else {
                names.insert(name);
            }
        }
        Ok(names)
    }

    /// Signs these files as the next list, with all of these keys.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn sign_list(
        &self,
        files: &BTreeMap<String, Vec<u8>>,
        keys: &[DeviceKey],
        now: Timestamp,
    ) -> Result<Done, RepositoryError> {
        let mut described = BTreeMap::new();
        let mut done = Done::default();
        for (name, content) in files {
            let file = Described::of(content);
            self.write(&self.target(name, &file.sha256.to_string()), content)?;
            described.insert(name.clone(), file);
        }
        let version = self.newest(Role::Targets)? + 1;
        let mut list = tuf::targets(version, later(now, self.lives.targets), &described);
        self.sign_by(&mut list, keys)?;
        self.write_role(Role::Targets, &list, &mut done)?;
        Ok(done)
    }

    /// The files of the newest list; none when there is no list.
    ///
    /// # Errors
    /// `Broken`, `File`.
    pub fn listed(&self) -> Result<BTreeMap<String, Vec<u8>>, RepositoryError> {
        let Some(list) = self.list()? else {
            return Ok(BTreeMap::new());
        };
        let broken = || RepositoryError::Broken {
            path: self.file(Role::Targets, list.version()),
        };
        let mut files = BTreeMap::new();
        for (name, file) in list.signed["targets"].as_object().ok_or_else(broken)? {
            let hash = file["hashes"]["sha256"].as_str().ok_or_else(broken)?;
            let path = self.target(name, hash);
            let content = files::read_bounded(&path, TARGET_BYTES_MAX)?;
            if Described::of(&content).sha256.to_string() != hash {
                return Err(RepositoryError::Broken { path });
            }
            files.insert(name.clone(), content.to_vec());
        }
        Ok(files)
    }

    /// The files of the draft.
    ///
    /// # Errors
    /// `File`, `Io`.
    pub fn draft_files(&self) -> Result<BTreeMap<String, Vec<u8>>, RepositoryError> {
        let mut files = BTreeMap::new();
        for name in self.draft_names()? {
            if let Some(content) = self.drafted(&name)? {
                files.insert(name, content);
            }
        }
        Ok(files)
    }

    fn target(&self, name: &str, hash: &str) -> PathBuf {
        // The hash stands before the last part of the name (specification, 6.2).
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        self.path
            .join(TARGETS)
            .join(folder)
            .join(format!("{hash}.{file}"))
    }

    /// Signs with keys that are those of the list of files.
    fn sign_by(&self, file: &mut Signed, keys: &[DeviceKey]) -> Result<(), RepositoryError> {
        let listed = self.root()?.listed(Role::Targets).0;
        for key in keys {
            if !listed.contains(&tuf::key_id(&key.public())?) {
                let role = Role::Targets.word();
                return Err(TufError::NotListed { role }.into());
            }
            file.sign(key)?;
        }
        Ok(())
    }

    /// Signs for today, lets the terminal's own client read the whole, and lays it into the directory
    /// of this repository's name below `to`.
    ///
    /// # Errors
    /// `Refused`, `Unsigned`, `NoList`, and those of files and keys.
    pub fn publish(
        &self,
        key: &DeviceKey,
        to: &Path,
        now: Timestamp,
    ) -> Result<Done, RepositoryError> {
        let root = self.root()?;
        self.check_root(root.version())?;
        self.check_targets(&root)?;
        // What is listed is there as it was signed; the client below looks at the lists alone.
        self.listed()?;
        let mut done = Done::default();
        let staged = tempfile::tempdir().map_err(at(&self.path))?;
        let metadata = staged.path().join(METADATA);
        copy_new(&self.path.join(METADATA), &metadata)?;
        let expires = later(now, self.lives.online);
        let targets = self.newest(Role::Targets)?;
        let list = self.read(Role::Targets, targets)?.to_bytes()?;
        let snapshot = self.newest(Role::Snapshot)? + 1;
        let described = Described::of(&list);
        let of = Role::Targets;
        let mut file = tuf::pointer(Role::Snapshot, snapshot, expires, of, targets, described);
        file.sign(key)?;
        let snapshot_bytes = file.to_bytes()?;
        let timestamp = self.newest(Role::Timestamp)? + 1;
        let described = Described::of(&snapshot_bytes);
        let of = Role::Snapshot;
        let mut file = tuf::pointer(Role::Timestamp, timestamp, expires, of, snapshot, described);
        file.sign(key)?;
        let timestamp_bytes = file.to_bytes()?;
        let snapshot_name = format!("{snapshot}.snapshot.json");
        for (name, bytes) in [
            (snapshot_name.as_str(), &snapshot_bytes),
            ("timestamp.json", &timestamp_bytes),
        ] {
            let path = metadata.join(name);
            fs::write(&path, bytes).map_err(at(&path))?;
        }
        self.rehearse(staged.path(), now)?;
        let own = self.path.join(METADATA);
        self.write(&own.join(&snapshot_name), &snapshot_bytes)?;
        self.write(&own.join("timestamp.json"), &timestamp_bytes)?;
        self.lay_out(to, &mut done)?;
        done.note(format!(
            "root {}, targets {targets}, snapshot {snapshot}, timestamp {timestamp}; good until {expires}",
            root.version()
        ));
        Ok(done)
    }

    /// Lets the terminal's own client read what would be published.
    fn rehearse(&self, staged: &Path, now: Timestamp) -> Result<(), RepositoryError> {
        let first = self.read(Role::Root, 1)?.to_bytes()?;
        let refused = RepositoryError::Refused;
        let trust_path = staged.join("trust");
        let mut trust = Trust::open(&trust_path, &first, now).map_err(refused)?;
        let metadata = staged.join(METADATA);
        let directory = Directory::open(&metadata).map_err(|error| RepositoryError::Io {
            path: metadata,
            source: io::Error::other(error),
        })?;
        trust
            .refresh(&directory, now)
            .map(drop)
            .map_err(RepositoryError::Refused)
    }

    /// Copies what is new: first what is named, then what names it, the timestamp last.
    fn lay_out(&self, to: &Path, done: &mut Done) -> Result<(), RepositoryError> {
        let to = to.join(&self.name);
        done.note(format!("published in {}", to.display()));
        if self.is_dry {
            return Ok(());
        }
        for part in [CHUNKS, TARGETS, METADATA] {
            copy_new(&self.path.join(part), &to.join(part))?;
        }
        let from = self.path.join(METADATA).join("timestamp.json");
        let bytes = files::read_bounded(&from, FILE_BYTES_MAX)?;
        public(&to.join(METADATA).join("timestamp.json"), &bytes)
    }

    /// The newest root.
    ///
    /// # Errors
    /// `Broken`, `File`.
    pub fn root(&self) -> Result<Signed, RepositoryError> {
        self.read(Role::Root, self.newest(Role::Root)?)
    }

    /// The newest list of files; `None` when there is none yet.
    ///
    /// # Errors
    /// `Broken`, `File`.
    pub fn list(&self) -> Result<Option<Signed>, RepositoryError> {
        match self.newest(Role::Targets)? {
            0 => Ok(None),
            version => self.read(Role::Targets, version).map(Some),
        }
    }

    /// How the repository is, each thing in words; what is missing begins with `!`.
    ///
    /// # Errors
    /// `Broken`, `File`, `Io`.
    pub fn describe(&self, now: Timestamp) -> Result<Vec<String>, RepositoryError> {
        let root = self.root()?;
        let mut words = vec![format!("repository {}", self.name)];
        for role in Role::ALL {
            let (ids, threshold) = root.listed(role);
            words.push(format!(
                "{}: {threshold} of {} keys",
                role.word(),
                ids.len()
            ));
            words.extend(ids.iter().map(|id| format!("  {id}")));
            let version = self.newest(role)?;
            if version == 0 {
                words.push("  ! nothing signed yet".to_owned());
                continue;
            }
            let file = self.read(role, version)?;
            let end = file.expires();
            let days = end.map(|end| end.duration_since(now).as_hours() / DAY_H);
            let few = match role {
                Role::Root | Role::Targets => OFFLINE_DAYS_FEW,
                Role::Snapshot | Role::Timestamp => ONLINE_DAYS_FEW,
            };
            let mark = if days.is_none_or(|days| days < few) {
                "! "
            } else {
                ""
            };
            words.push(format!(
                "  {mark}version {version}, {} days left",
                days.unwrap_or_default()
            ));
        }
        for check in [self.check_root(root.version()), self.check_targets(&root)] {
            if let Err(error) = check {
                words.push(format!("! {error}"));
            }
        }
        Ok(words)
    }

    /// Whether enough have signed this root: of its own holders, and of those of the root before it.
    fn check_root(&self, version: u64) -> Result<(), RepositoryError> {
        let root = self.read(Role::Root, version)?;
        let first = version.saturating_sub(1).max(1);
        for lister in first..=version {
            self.check_signed(&root, Role::Root, &self.read(Role::Root, lister)?)?;
        }
        Ok(())
    }

    /// Whether enough have signed the newest list of files.
    fn check_targets(&self, root: &Signed) -> Result<(), RepositoryError> {
        let list = self.list()?.ok_or(RepositoryError::NoList)?;
        self.check_signed(&list, Role::Targets, root)
    }

    fn check_signed(
        &self,
        file: &Signed,
        role: Role,
        lister: &Signed,
    ) -> Result<(), RepositoryError> {
        let path = self.file(Role::Root, lister.version());
        let keys = lister.keys(role).ok_or(RepositoryError::Broken { path })?;
        let signed = file.signers(&keys);
        if signed >= keys.threshold {
            return Ok(());
        }
        Err(RepositoryError::Unsigned {
            what: format!("{} {}", role.word(), file.version()),
            signed,
            threshold: keys.threshold,
        })
    }

    fn file(&self, role: Role, version: u64) -> PathBuf {
        let name = match role {
            Role::Timestamp => "timestamp.json".to_owned(),
            Role::Root | Role::Targets | Role::Snapshot => {
                format!("{version}.{}.json", role.word())
            }
        };
        self.path.join(METADATA).join(name)
    }

    fn read(&self, role: Role, version: u64) -> Result<Signed, RepositoryError> {
        let path = self.file(role, version);
        let bytes = files::read_bounded(&path, FILE_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map_err(|_| RepositoryError::Broken { path })
    }

    /// The newest version of a role; 0 when there is none.
    fn newest(&self, role: Role) -> Result<u64, RepositoryError> {
        let path = self.path.join(METADATA);
        if role == Role::Timestamp {
            let is_there = path.join("timestamp.json").is_file();
            return if is_there {
                Ok(self.read(role, 0)?.version())
            } else {
                Ok(0)
            };
        }
        let suffix = format!(".{}.json", role.word());
        let mut newest = 0;
        for entry in fs::read_dir(&path).map_err(at(&path))? {
            let name = entry.map_err(at(&path))?.file_name();
            let version = name
                .to_str()
                .and_then(|name| name.strip_suffix(&suffix)?.parse().ok());
            newest = newest.max(version.unwrap_or(0));
        }
        Ok(newest)
    }

    fn write_role(
        &self,
        role: Role,
        file: &Signed,
        done: &mut Done,
    ) -> Result<(), RepositoryError> {
        let path = self.file(role, file.version());
        done.note(format!(
            "{} {}, {} signatures",
            role.word(),
            file.version(),
            file.signatures.len()
        ));
        self.write(&path, &file.to_bytes()?)
    }

    /// Writes a file of the repository, whole.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
        if self.is_dry {
            return Ok(());
        }
        public(path, bytes)
    }

    fn make(&self, path: &Path) -> Result<(), RepositoryError> {
        if self.is_dry {
            return Ok(());
        }
        fs::create_dir_all(path).map_err(at(path))
    }

    /// Signs an order of repair for one terminal: its floor of time falls to now, and, where what it
    /// believed is lost, today's versions count.
    ///
    /// # Errors
    /// [`RepositoryError`].
    pub fn repair_order(
        &self,
        terminal: &str,
        has_lost_versions: bool,
        keys: &[DeviceKey],
        now: Timestamp,
    ) -> Result<Vec<u8>, RepositoryError> {
        let mut order = json!({
            "_type": "repair",
            "spec_version": "1.0.31",
            // A terminal obeys none that is not above its last: seconds rise.
            "version": now.as_second(),
            "expires": whole(now + REPAIR_LIFE).to_string(),
            "terminal": terminal,
            "time": whole(now).to_string(),
        });
        if has_lost_versions {
            order["versions"] = json!({
                "root": self.newest(Role::Root)?,
                "timestamp": self.newest(Role::Timestamp)?,
                "snapshot": self.newest(Role::Snapshot)?,
                "targets": self.newest(Role::Targets)?,
            });
        }
        let mut order = tuf::unsigned(order);
        self.sign_by(&mut order, keys)?;
        Ok(order.to_bytes()?)
    }
}

/// Life of an order of repair: the longest that a terminal takes.
const REPAIR_LIFE: SignedDuration = SignedDuration::from_hours(7 * DAY_H);

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn later(now: Timestamp, days: u16) -> Timestamp {
    now.saturating_add(SignedDuration::from_hours(i64::from(days) * DAY_H))
        .unwrap_or(Timestamp::MAX)
}

/// Copies the files of a directory that are not there yet, each whole; the timestamp is left out.
fn copy_new(from: &Path, to: &Path) -> Result<(), RepositoryError> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, goal) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_new(&source, &goal)?;
        } else if entry.file_name() != "timestamp.json" && !is_same_length(&source, &goal) {
            let bytes = files::read_bounded(&source, TARGET_BYTES_MAX)?;
            public(&goal, &bytes)?;
        }
    }
    Ok(())
}

/// Names hold a version or a hash; only a root can grow, by a signature.
fn is_same_length(first: &Path, second: &Path) -> bool {
    let length = |path| fs::metadata(path).map(|data| data.len()).ok();
    length(second).is_some() && length(first) == length(second)
}

/// Writes a file that everybody may read: whole, durable, or not at all.
fn public(path: &Path, bytes: &[u8]) -> Result<(), RepositoryError> {
    use std::io::Write as _;
    let failed = at(path);
    let written = (|| {
        let parent = path.parent().unwrap_or_else(|| Path::new("."));
        fs::create_dir_all(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(bytes)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(parent)?.sync_all()
    })();
    written.map_err(failed)
}
