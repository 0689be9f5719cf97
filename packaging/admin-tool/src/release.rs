//! Releases of the program: a tree of files becomes chunks and a signed description of who takes it
//! when. A version that was signed never changes and never comes again; going back is a withdrawal,
//! or a higher version with the old content.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use kiosk_sealing::DeviceKey;
use kiosk_update::fetch::{Chunks, Index, IndexError, Patches, pack};
use kiosk_update::manifest::{
    Entry, FILES_MAX, Mode, PLACES, RELEASE_TARGET, Release, ReleaseError, Sha256, Version, Wave,
    patches_name,
};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::repository::{Done, Repository, RepositoryError};

mod patches;
use patches::Earlier;

/// Deepest directory of a release; the terminal takes no deeper one.
const DEPTH_MAX: usize = 8;

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The version is not above all that were signed.
    #[error("{new} is not above {last}, which was signed; a version never comes twice")]
    Version {
        /// The version.
        new: Version,
        /// The highest that was signed.
        last: Version,
    },
    /// A file that cannot be released.
    #[error("{}: only files and directories can be released", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
    },
    /// A name in other characters than ASCII.
    #[error("{}: the name is not allowed in a release", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Too many files, or too deep directories.
    #[error("{} has more than {FILES_MAX} files or is deeper than {DEPTH_MAX} directories", path.display())]
    Size {
        /// The tree.
        path: PathBuf,
    },
    /// No release is in the draft.
    #[error("no release is there; begin with `kiosk-admin release add`")]
    None,
    /// It is so already.
    #[error("{0} is {1} already")]
    Already(Version, &'static str),
    /// No random number could be had.
    #[error("the system gives no random numbers")]
    Random,
    /// A rule of releases is broken.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The kept list of chunks is broken.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The repository refuses.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The file system failed.
    #[error("{} cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A release to be.
#[derive(Clone, Debug)]
pub struct New {
    /// Its version.
    pub version: Version,
    /// The lowest version that is updated to it directly.
    pub minimum: Version,
    /// Kinds of hardware that it is for.
    pub hardware: Vec<String>,
    /// Where its files lie.
    pub tree: PathBuf,
    /// Who takes it when; none for everybody at once.
    pub waves: Vec<Wave>,
    /// Longest jitter inside a wave in seconds.
    pub spread_s: u64,
    /// Regions that may take it; none for all.
    pub regions: Vec<String>,
    /// What draws the first ones; drawn when it is not given.
    pub seed: Option<u32>,
    /// From how many releases before it patches are made.
    pub patches_from: usize,
}

/// Reads a wave such as `5@1h`: 5 percent one hour after the publication. Units are `s`, `m`, `h` and
/// `d`.
///
/// # Errors
/// What is wrong, in words.
pub fn wave(text: &str) -> Result<Wave, String> {
    let form = "a wave is PERCENT@TIME, such as 5@1h";
    let (percent, time) = text.split_once('@').ok_or(form)?;
    let percent: u16 = percent.parse().map_err(|_| form)?;
    if !(1..=100).contains(&percent) {
        return Err("percent are 1 to 100".to_owned());
    }
    let bound = u32::from(percent) * u32::from(PLACES) / 100;
    Ok(Wave {
        bound: u16::try_from(bound).map_err(|_| form)?.max(1),
        after_s: seconds(time)?,
    })
}

/// Reads a time such as `90s`, `5m`, `2h` or `1d`, in seconds.
///
/// # Errors
/// What is wrong, in words.
pub fn seconds(text: &str) -> Result<u64, String> {
    let form = "a time is a number and s, m, h or d, such as 12h";
    let unit = text.chars().last().ok_or(form)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(form.to_owned()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| form)?;
    number.checked_mul(factor).ok_or_else(|| form.to_owned())
}

fn index_name(version: Version) -> String {
    format!("release-{version}.chunks")
}

fn kept_name(version: Version) -> String {
    format!("{version}.json")
}

/// Cuts a tree into chunks and puts the release into the draft. Nobody takes it before it is signed
/// and published.
///
/// # Errors
/// [`PublishError`]; the draft is then as it was.
pub fn add(repository: &Repository, new: &New, now: Timestamp) -> Result<Done, PublishError> {
    let before = highest(repository)?;
    if let Some(last) = before.filter(|last| *last >= new.version) {
        let new = new.version;
        return Err(PublishError::Version { new, last });
    }
    let paths = walk(&new.tree)?;
    let mut entries = Vec::new();
    let mut index = Index::default();
    for path in &paths {
        let (entry, chunks) = take(repository, &new.tree, path)?;
        entries.push(entry);
        index.files.push(chunks);
    }
    let mut seed = [0; 4];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| PublishError::Random)?;
    let release = Release {
        minimum_version: new.minimum,
        hardware: new.hardware.clone(),
        waves: new.waves.clone(),
        spread_s: new.spread_s,
        regions: (!new.regions.is_empty()).then(|| new.regions.clone()),
        seed: new.seed.unwrap_or(u32::from_le_bytes(seed)),
        chunks: index_name(new.version),
        ..Release::new(new.version, entries, whole(now))
    };
    let bytes = release.to_bytes()?;
    for name in repository.draft_names()? {
        repository.draft(&name, None)?;
    }
    let mut earlier = Vec::new();
    let count = new.patches_from.max(1);
    for version in versions(repository)?.into_iter().rev().take(count) {
        earlier.extend(Earlier::open(repository, version)?);
    }
    let from = &earlier[..earlier.len().min(new.patches_from)];
    let (patches, words) = patches::make(repository, from, (&release, &index), &new.tree)?;
    repository.draft(RELEASE_TARGET, Some(&bytes))?;
    repository.draft(&release.chunks, Some(&index.to_bytes()))?;
    if !patches.patches.is_empty() {
        repository.draft(&release.patches(), Some(&patches.to_bytes()))?;
    }
    let mut done = Done::default();
    done.words.push(format!(
        "{}: {} files, {} bytes; seed {}",
        release.version,
        release.files.len(),
        release.size(),
        release.seed
    ));
    done.words.extend(words);
    let loads = earlier.iter().map(|earlier| earlier.load(&index, &patches));
    done.words.extend(loads);
    let whole = whole_bytes(&index);
    done.words.push(if earlier.is_empty() {
        format!("a terminal fetches {whole} bytes")
    } else {
        format!("another terminal fetches {whole} bytes")
    });
    done.words.extend(waves_in_words(&release));
    Ok(done)
}

/// What a terminal fetches that has nothing of it.
fn whole_bytes(index: &Index) -> u64 {
    let mut seen = BTreeSet::new();
    let chunks = index.chunks().filter(|chunk| seen.insert(chunk.sha256));
    chunks.map(|chunk| u64::from(chunk.packed)).sum()
}

/// Signs what is in the draft.
///
/// # Errors
/// [`PublishError`].
pub fn sign(
    repository: &Repository,
    keys: &[DeviceKey],
    now: Timestamp,
) -> Result<Done, PublishError> {
    let mut files = repository.draft_files()?;
    let mut release = release_of(&files)?;
    if repository.kept(&kept_name(release.version))?.is_some() {
        return Err(PublishError::Already(release.version, "signed"));
    }
    // The waves are counted from now, not from when it was cut.
    release.published_at = whole(now);
    let index = files.get(&release.chunks).ok_or(PublishError::None)?;
    if !Index::parse(index)?.fits(&release) {
        return Err(IndexError.into());
    }
    let patches = files.get(&release.patches()).cloned();
    if let Some(patches) = &patches
        && !Patches::parse(patches)?.fits(&release)
    {
        return Err(IndexError.into());
    }
    let (index, bytes) = (index.clone(), release.to_bytes()?);
    files.insert(RELEASE_TARGET.to_owned(), bytes.clone());
    let mut done = Done::default();
    done.words.push(format!("{} is offered", release.version));
    done.words
        .extend(repository.sign_list(&files, keys, now)?.words);
    // Only what was signed counts as a version that there was.
    repository.keep(&release.chunks, &index)?;
    if let Some(patches) = patches {
        repository.keep(&release.patches(), &patches)?;
    }
    repository.keep(&kept_name(release.version), &bytes)?;
    repository.draft(RELEASE_TARGET, Some(&bytes))?;
    Ok(done)
}

/// Holds what is offered, or lets it go on: nobody takes it meanwhile who has not taken it. A release
/// that is in the draft stays there.
///
/// # Errors
/// [`PublishError`].
pub fn hold(
    repository: &Repository,
    is_halted: bool,
    keys: &[DeviceKey],
    now: Timestamp,
) -> Result<Done, PublishError> {
    let mut files = repository.listed()?;
    let release = release_of(&files)?;
    let word = if is_halted { "paused" } else { "under way" };
    if release.is_halted == is_halted {
        return Err(PublishError::Already(release.version, word));
    }
    let release = Release {
        is_halted,
        ..release
    };
    files.insert(RELEASE_TARGET.to_owned(), release.to_bytes()?);
    let mut done = Done::default();
    done.words.push(format!("{} is {word}", release.version));
    done.words
        .extend(repository.sign_list(&files, keys, now)?.words);
    Ok(done)
}

/// Takes what is offered away: the one before it is offered again, or none. Who has taken it keeps it;
/// they are brought back by a higher version with the old content.
///
/// # Errors
/// [`PublishError`].
pub fn withdraw(
    repository: &Repository,
    keys: &[DeviceKey],
    now: Timestamp,
) -> Result<Done, PublishError> {
    let withdrawn = release_of(&repository.listed()?)?.version;
    let before = versions(repository)?
        .range(..withdrawn)
        .next_back()
        .copied();
    let mut files = BTreeMap::new();
    let mut done = Done::default();
    let offered = if let Some(before) = before {
        for (kept, target) in [
            (kept_name(before), RELEASE_TARGET.to_owned()),
            (index_name(before), index_name(before)),
        ] {
            files.insert(target, repository.kept(&kept)?.ok_or(PublishError::None)?);
        }
        if let Some(patches) = repository.kept(&patches_name(before))? {
            files.insert(patches_name(before), patches);
        }
        before.to_string()
    } else {
        "nothing".to_owned()
    };
    done.words
        .push(format!("{withdrawn} is withdrawn; {offered} is offered"));
    done.words
        .extend(repository.sign_list(&files, keys, now)?.words);
    Ok(done)
}

/// What is offered, which waves have begun, what is in the draft, and which versions were signed.
///
/// # Errors
/// [`PublishError`].
pub fn describe(repository: &Repository, now: Timestamp) -> Result<Vec<String>, PublishError> {
    let mut words = Vec::new();
    let offered = repository.listed()?;
    if offered.contains_key(RELEASE_TARGET) {
        let release = release_of(&offered)?;
        let state = if release.is_halted {
            "paused"
        } else {
            "under way"
        };
        words.push(format!(
            "{}: {state}, since {}",
            release.version, release.published_at
        ));
        words.extend(waves_in_words(&release));
        let begun = release
            .waves
            .iter()
            .filter(|wave| has_begun(&release, wave, now));
        words.push(format!(
            "{} of {} waves have begun",
            begun.count(),
            release.waves.len()
        ));
    } else {
        words.push("nothing is offered".to_owned());
    }
    if let Some(bytes) = repository.drafted(RELEASE_TARGET)? {
        let release = Release::parse(&bytes)?;
        if repository.kept(&kept_name(release.version))?.is_none() {
            words.push(format!("{}: not signed yet", release.version));
        }
    }
    let signed: Vec<String> = versions(repository)?
        .iter()
        .map(ToString::to_string)
        .collect();
    words.push(format!("signed so far: {}", signed.join(" ")));
    Ok(words)
}

fn has_begun(release: &Release, wave: &Wave, now: Timestamp) -> bool {
    let after = i64::try_from(wave.after_s).map(SignedDuration::from_secs);
    after.is_ok_and(|after| {
        let begins = release.published_at.saturating_add(after);
        begins.is_ok_and(|begins| begins <= now)
    })
}

fn waves_in_words(release: &Release) -> Vec<String> {
    let mut words = Vec::new();
    for wave in &release.waves {
        let percent = u32::from(wave.bound) * 100 / u32::from(PLACES);
        let time = if wave.after_s % 3600 == 0 {
            format!("{} h", wave.after_s / 3600)
        } else {
            format!("{} s", wave.after_s)
        };
        words.push(format!("  {percent} % after {time}"));
    }
    if release.waves.is_empty() {
        words.push("  everybody at once".to_owned());
    }
    if let Some(regions) = &release.regions {
        words.push(format!("  only {}", regions.join(" ")));
    }
    words
}

fn release_of(files: &BTreeMap<String, Vec<u8>>) -> Result<Release, PublishError> {
    let bytes = files.get(RELEASE_TARGET).ok_or(PublishError::None)?;
    Ok(Release::parse(bytes)?)
}

/// The versions that were signed, in order.
fn versions(repository: &Repository) -> Result<BTreeSet<Version>, PublishError> {
    let names = repository.kept_names()?;
    Ok(names
        .iter()
        .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
        .collect())
}

fn highest(repository: &Repository) -> Result<Option<Version>, PublishError> {
    Ok(versions(repository)?.into_iter().next_back())
}

/// The files of a tree, by their paths in it, in order.
fn walk(tree: &Path) -> Result<Vec<String>, PublishError> {
    let mut found = Vec::new();
    let mut left = vec![(tree.to_path_buf(), 0)];
    while let Some((directory, depth)) = left.pop() {
        let failed = |source| PublishError::Io {
            path: directory.clone(),
            source,
        };
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            if kind.is_dir() {
                left.push((path, depth + 1));
            } else if kind.is_file() {
                let name = path.strip_prefix(tree).ok().and_then(Path::to_str);
                let name = name.map(str::to_owned);
                found.push(name.ok_or(PublishError::Name { path })?);
            } else {
                return Err(PublishError::Kind { path });
            }
            if found.len() > FILES_MAX || depth > DEPTH_MAX {
                let path = tree.to_path_buf();
                return Err(PublishError::Size { path });
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Cuts a file into chunks, which are kept where terminals fetch them.
fn take(repository: &Repository, tree: &Path, name: &str) -> Result<(Entry, Chunks), PublishError> {
    let path = tree.join(name);
    let failed = |source| PublishError::Io {
        path: path.clone(),
        source,
    };
    let file = File::open(&path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    let mut size = 0;
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut reader = Tee {
        file,
        hash: &mut hash,
        size: &mut size,
    };
    let chunks = pack(&mut reader, &mut |chunk, packed| {
        let path = repository.chunks().join(chunk.name());
        if path.exists() {
            return Ok(());
        }
        repository.write(&path, packed).map_err(io::Error::other)
    })
    .map_err(failed)?;
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    let entry = Entry {
        path: name.to_owned(),
        size,
        sha256: Sha256(sha256),
        mode: if mode & 0o111 == 0 {
            Mode::Plain
        } else {
            Mode::Program
        },
    };
    let chunks = Chunks {
        path: name.to_owned(),
        chunks,
    };
    Ok((entry, chunks))
}

/// Hashes what is read.
struct Tee<'a> {
    file: File,
    hash: &'a mut digest::Context,
    size: &'a mut u64,
}

impl io::Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(&buffer[..count]);
        *self.size += count as u64;
        Ok(count)
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_and_times_are_read_and_nonsense_is_refused() {
        assert_eq!(
            wave("100@1d").unwrap(),
            Wave {
                bound: PLACES,
                after_s: 86_400
            }
        );
        assert_eq!(
            wave("1@90s").unwrap(),
            Wave {
                bound: 20,
                after_s: 90
            }
        );
        for text in [
            "", "5", "0@1h", "101@1h", "5@", "5@h", "5@1w", "5@1é", "x@1h",
        ] {
            assert!(wave(text).is_err(), "{text}");
        }
    }
}
