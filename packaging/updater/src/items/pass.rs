//! One look for items: the catalogues of the terminal's regions are read, what is missing is fetched,
//! the whole set is written beside the one in force, the terminal's own program looks at it, and then
//! it is switched to at once. Any time of the day, for items are small; but within the bandwidth cap,
//! and never half.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::catalogue::{
    CATALOGUE_BYTES_MAX, Catalogue, Package, Wanted, catalogue_target, combine, levels,
};
use super::set::{RefusedSet, SetDescription, SetError, Sets};
use crate::fetch::{Limit, ROOM_LEFT_BYTES, Watch, is_of_the_line};
use crate::manifest::Sha256;
use crate::slots::disk::Disk;
use crate::trust::{Target, Transport, TransportError, TrustError, Trusted, told};

/// How often a package is fetched whole when it is not what was signed.
const WHOLE_TRIES_MAX: u32 = 2;
/// How often the line may break within one package before the pass ends.
const LINE_TRIES_MAX: u32 = 4;
/// Wait before the line is tried again, times the number of the try. Chosen: a modem dials again.
const LINE_PATIENCE: Duration = Duration::from_secs(5);
/// A package unpacks to this many times its size at most, for the room that is asked for. Chosen:
/// text presses to a third; what unpacks to more finds the disk full and is thrown away.
const UNPACKED_FACTOR: u64 = 4;
/// Most letters of what the terminal's check said that are kept.
const WORDS_MAX: usize = 500;

/// Asks the terminal's own program.
pub trait Check {
    /// Version of the program that is asked.
    fn program(&self) -> Option<String>;
    /// Looks at the set in a directory.
    ///
    /// # Errors
    /// [`Refusal`] says whether the set is wrong or nobody could look.
    fn check(&mut self, set: &Path) -> Result<(), Refusal>;
    /// True while somebody stands before the terminal.
    fn is_busy(&mut self) -> bool;
}

/// Why a set was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The set is wrong, in the words of who looked.
    Wrong(String),
    /// Nobody could look; it is tried again.
    Unknown(String),
}

/// How a look for items ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemsOutcome {
    /// No region of the terminal says anything.
    NothingOffered,
    /// What is wanted is in force.
    UpToDate {
        /// Version of the set.
        version: String,
    },
    /// Another set is in force now.
    Switched {
        /// Version of the set.
        version: String,
    },
    /// The set is here, and somebody is at the terminal who may still read the one before the last.
    Waiting,
    /// It is no good time any more; what was fetched is kept.
    Paused,
    /// The terminal's own check refuses the set. It is not tried again until it changes.
    Refused {
        /// Version of the set.
        version: String,
        /// What was said.
        words: String,
    },
    /// Something is wrong; what is in force stays.
    Problem {
        /// Stable problem code.
        code: &'static str,
        /// The same in words.
        words: String,
    },
}

impl ItemsOutcome {
    /// Stable problem code, where something is wrong.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::NothingOffered
            | Self::UpToDate { .. }
            | Self::Switched { .. }
            | Self::Waiting
            | Self::Paused => None,
            Self::Refused { .. } => Some("items.set-refused"),
            Self::Problem { code, .. } => Some(code),
        }
    }
}

impl fmt::Display for ItemsOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingOffered => write!(formatter, "no region offers items"),
            Self::UpToDate { version } => write!(formatter, "items {version} are in force"),
            Self::Switched { version } => write!(formatter, "items {version} came into force"),
            Self::Waiting => write!(formatter, "items wait until nobody is there"),
            Self::Paused => write!(formatter, "items are fetched later"),
            Self::Refused { version, words } => {
                write!(formatter, "items {version} are refused: {words}")
            }
            Self::Problem { words, .. } => formatter.write_str(words),
        }
    }
}

/// Why a pass ended early.
enum End {
    Paused,
    Problem(&'static str, String),
}

impl From<TrustError> for End {
    fn from(error: TrustError) -> Self {
        Self::Problem(error.code(), told(&error))
    }
}

impl From<SetError> for End {
    fn from(error: SetError) -> Self {
        Self::Problem(error.code(), told(&error))
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        SetError::from(error).into()
    }
}

/// What a look for items works with.
pub struct ItemsPass<'a, 'b> {
    /// Code of the terminal's region.
    pub region: &'a str,
    /// What is believed.
    pub trusted: &'a Trusted,
    /// Brings signed files.
    pub targets: &'a dyn Transport,
    /// The sets.
    pub sets: &'a mut Sets<'b>,
    /// The disk on which packages are kept.
    pub disk: &'a dyn Disk,
    /// Directory of the packages that are kept.
    pub packages: &'a Path,
    /// Bandwidth.
    pub limit: &'a mut Limit,
    /// Time.
    pub watch: &'a mut dyn Watch,
    /// The terminal's own program.
    pub check: &'a mut dyn Check,
}

impl fmt::Debug for ItemsPass<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ItemsPass")
            .field("region", &self.region)
            .field("sets", &self.sets)
            .finish_non_exhaustive()
    }
}

impl ItemsPass<'_, '_> {
    /// Looks once. `now` is the time that is believed.
    pub fn run(&mut self, now: Timestamp) -> ItemsOutcome {
        match self.look(now) {
            Ok(outcome) => outcome,
            Err(End::Paused) => ItemsOutcome::Paused,
            Err(End::Problem(code, words)) => ItemsOutcome::Problem { code, words },
        }
    }

    fn look(&mut self, now: Timestamp) -> Result<ItemsOutcome, End> {
        let began = self.watch.elapsed();
        self.trusted.may_install(now)?;
        let catalogues = self.catalogues()?;
        if catalogues.is_empty() && self.sets.state().current.is_none() {
            return Ok(ItemsOutcome::NothingOffered);
        }
        let wanted = combine(&catalogues);
        let targets = self.trusted.floor().lists.get("targets.json").copied();
        let description = SetDescription::new(&wanted, targets.unwrap_or_default());
        let version = description.version.clone();
        if self.sets.is_in_force(description.digest) {
            let held = self.sets.state().current.as_ref();
            let version = held.map_or(version, |held| held.version.clone());
            return Ok(ItemsOutcome::UpToDate { version });
        }
        let program = self.check.program();
        let refused = self.sets.state().refused.as_ref();
        if let Some(refused) = refused
            .filter(|refused| refused.digest == description.digest && refused.program == program)
        {
            return Ok(ItemsOutcome::Refused {
                version: refused.version.clone(),
                words: refused.words.clone(),
            });
        }
        self.gather(&wanted)?;
        // Fetching may have taken hours.
        let now = later(now, self.watch.elapsed().saturating_sub(began));
        self.trusted.may_install(now)?;
        // Who has begun a visit reads on in the set of its beginning, which is the one in force or
        // the one before; that one would go now.
        if self.sets.has_former() && self.check.is_busy() {
            return Ok(ItemsOutcome::Waiting);
        }
        self.install(&wanted, &description, program, now)
    }

    /// The catalogues of the terminal's regions, from the top down.
    fn catalogues(&self) -> Result<Vec<Catalogue>, End> {
        let levels = levels(self.region);
        if levels.is_empty() {
            let words = "terminal.region is the code of no region".to_owned();
            return Err(End::Problem("update.configuration", words));
        }
        let mut catalogues = Vec::new();
        for region in levels {
            let target = match self.trusted.target(&catalogue_target(region)) {
                Err(TrustError::NoTarget) => continue,
                found => found?,
            };
            let bytes = target.read_whole(self.targets, CATALOGUE_BYTES_MAX as u64)?;
            let wrong = |words: String| {
                let words = format!("the catalogue of {region}: {words}");
                End::Problem("items.catalogue-malformed", words)
            };
            let catalogue = Catalogue::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
            // Signed under another name it would be another region's.
            if catalogue.region != region {
                return Err(wrong("it is of another region".to_owned()));
            }
            catalogues.push(catalogue);
        }
        Ok(catalogues)
    }

    /// Brings every package that is wanted; what is here already is not fetched again.
    fn gather(&mut self, wanted: &Wanted) -> Result<(), End> {
        self.disk.create_directory(self.packages)?;
        let mut missing = Vec::new();
        let mut kept = BTreeSet::new();
        for package in wanted.packages.values() {
            let target = self.target(package)?;
            let path = self.place(package);
            for path in [path.clone(), part(&path)] {
                kept.extend(path.file_name().map(ToOwned::to_owned));
            }
            if !target.is_at(&path)? {
                missing.push((target, path));
            }
        }
        self.sweep(&kept)?;
        self.refuse_without_room(wanted, &missing)?;
        for (target, path) in &missing {
            self.fetch(target, path)?;
        }
        Ok(self.disk.sync_directory(self.packages)?)
    }

    /// The signed file of a package: the catalogue and the targets must say the same of it.
    fn target(&self, package: &Package) -> Result<Target, End> {
        let entry = &package.entry;
        let target = match self.trusted.target(&entry.target) {
            Err(TrustError::NoTarget) => None,
            found => Some(found?),
        };
        target
            .filter(|target| target.length == entry.bytes && target.sha256 == entry.sha256.0)
            .ok_or_else(|| {
                let words = format!(
                    "the catalogue of {} names a package of `{}` that was not signed",
                    package.region, entry.item
                );
                End::Problem("items.catalogue-malformed", words)
            })
    }

    fn place(&self, package: &Package) -> PathBuf {
        self.packages.join(package.entry.sha256.to_string())
    }

    /// Forgets what is wanted no more.
    fn sweep(&self, kept: &BTreeSet<std::ffi::OsString>) -> Result<(), End> {
        for entry in fs::read_dir(self.packages)? {
            let entry = entry?;
            if !kept.contains(&entry.file_name()) {
                self.disk.remove_file(&entry.path())?;
            }
        }
        Ok(())
    }

    fn refuse_without_room(
        &self,
        wanted: &Wanted,
        missing: &[(Target, PathBuf)],
    ) -> Result<(), End> {
        let fetched: u64 = missing.iter().map(|(target, _)| target.length).sum();
        let packed = wanted.packages.values().map(|package| package.entry.bytes);
        let unpacked = packed.sum::<u64>().saturating_mul(UNPACKED_FACTOR);
        let needed_bytes = fetched.saturating_add(unpacked);
        let free = self.disk.free_bytes(self.packages)?;
        let free_bytes = free.saturating_sub(ROOM_LEFT_BYTES);
        if needed_bytes <= free_bytes {
            return Ok(());
        }
        let words = format!(
            "the items need {needed_bytes} bytes of the disk, and {free_bytes} may be used"
        );
        Err(End::Problem("update.no-room", words))
    }

    /// Fetches a package until it is what was signed, at most twice.
    fn fetch(&mut self, target: &Target, path: &Path) -> Result<(), End> {
        let part = part(path);
        for _ in 0..WHOLE_TRIES_MAX {
            if !self.watch.may_go_on() {
                return Err(End::Paused);
            }
            self.fetch_part(target, &part)?;
            if target.is_at(&part)? {
                File::open(&part)?.sync_all()?;
                return Ok(self.disk.rename(&part, path)?);
            }
            self.disk.remove_file(&part)?;
        }
        Err(TrustError::WrongTarget.into())
    }

    /// The bytes of a package, right or wrong; what an earlier pass has of them is gone on with, and
    /// so is a broken line.
    fn fetch_part(&mut self, target: &Target, part: &Path) -> Result<(), End> {
        let mut file = OpenOptions::new().append(true).create(true).open(part)?;
        let mut length = file.metadata()?.len();
        let mut tries = 0;
        while length < target.length {
            let most = target.length - length;
            let (limit, watch) = (&mut *self.limit, &mut *self.watch);
            let mut came = 0;
            let outcome = self
                .targets
                .fetch(&target.address(), length, most, &mut |piece| {
                    came += piece.len() as u64;
                    // A transport keeps to its bound; whether it does is not left to it.
                    if came > most {
                        return Err(io::ErrorKind::FileTooLarge.into());
                    }
                    file.write_all(piece)?;
                    let wait = limit.take(piece.len() as u64, watch.elapsed());
                    if !wait.is_zero() {
                        watch.wait(wait);
                    }
                    Ok(())
                });
            length = file.metadata()?.len();
            tries += 1;
            match outcome {
                // One that is too short or too long is as wrong as one with other bytes.
                Ok(_) | Err(TransportError::TooLong { .. }) => return Ok(()),
                Err(_) if length == target.length || came > most => return Ok(()),
                Err(error) if !is_of_the_line(&error) || tries >= LINE_TRIES_MAX => {
                    return Err(TrustError::TargetTransport(error).into());
                }
                Err(_) => self.watch.wait(LINE_PATIENCE * tries),
            }
            if !self.watch.may_go_on() {
                return Err(End::Paused);
            }
        }
        Ok(())
    }

    /// Writes the set, lets it be looked at, and switches to it.
    fn install(
        &mut self,
        wanted: &Wanted,
        description: &SetDescription,
        program: Option<String>,
        now: Timestamp,
    ) -> Result<ItemsOutcome, End> {
        let version = description.version.clone();
        let directory = self.packages;
        let staged = self.sets.stage(wanted, description, &mut |item| {
            let package = wanted.packages.get(item).ok_or(io::ErrorKind::NotFound)?;
            let hash = package.entry.sha256;
            let mut bytes = Vec::new();
            File::open(directory.join(hash.to_string()))?
                .take(package.entry.bytes + 1)
                .read_to_end(&mut bytes)?;
            // Looked at a last time where it is used.
            if Sha256::of(&bytes) != hash {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(bytes)
        });
        let staging = match staged {
            Ok(staging) => staging,
            Err(error) => {
                // The error that came first is the one that tells.
                drop(self.sets.discard());
                return Err(error.into());
            }
        };
        match self.check.check(&staging) {
            Ok(()) => {}
            Err(Refusal::Unknown(words)) => {
                self.sets.discard()?;
                return Err(End::Problem("items.not-checked", words));
            }
            Err(Refusal::Wrong(words)) => {
                let words: String = words.chars().take(WORDS_MAX).collect();
                self.sets.refuse(RefusedSet {
                    version: version.clone(),
                    digest: description.digest,
                    program,
                    code: "items.set-refused".to_owned(),
                    words: words.clone(),
                    at: now,
                })?;
                return Ok(ItemsOutcome::Refused { version, words });
            }
        }
        self.sets.switch(description)?;
        Ok(ItemsOutcome::Switched { version })
    }
}

fn later(now: Timestamp, length: Duration) -> Timestamp {
    now.saturating_add(length).unwrap_or(Timestamp::MAX)
}

fn part(path: &Path) -> PathBuf {
    path.with_extension("part")
}
