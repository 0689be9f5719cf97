//! An update from a stick that a technician asked for. The terminal leaves a wish, which names a stick
//! and nothing else: what is on it is believed by the same trust as what comes over the line, so that
//! a wish can make nobody install what the operator has not signed. How it goes stands in one small
//! file that the terminal reads. Reads bytes of the terminal and names of a stick: bounded, and never
//! panics.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::Outcome;
use crate::manifest::Version;
use crate::slots::disk::{self, Disk};

/// Largest wish and largest file of progress, in bytes.
pub const WISH_BYTES_MAX: usize = 4096;
/// Layout of both files.
const FORMAT: u32 = 1;
/// Longest number of a wish, in bytes: a UUID has 36.
const ID_BYTES_MAX: usize = 64;
/// Where on a stick the program's repository is looked for, in this order.
const PLACES: [&str; 2] = ["kiosk-updates/program", "program"];
/// A file that every repository has.
const SIGN: &str = "metadata/timestamp.json";
/// How deep below a directory of mounts a stick is mounted (udisks: `/run/media/USER/LABEL`).
const DEPTH_MAX: usize = 2;

/// What the terminal wishes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Wish {
    format: u32,
    /// Number of the wish.
    pub id: String,
    /// Where the stick is mounted.
    pub stick: PathBuf,
}

impl Wish {
    /// Reads a wish; `None` when the bytes are none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let wish: Self = disk::parse_json(bytes, WISH_BYTES_MAX)?;
        let is_id = (1..=ID_BYTES_MAX).contains(&wish.id.len())
            && wish
                .id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (wish.format == FORMAT && is_id).then_some(wish)
    }
}

/// What an update from a stick is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StickPhase {
    /// It looks for the repository on the stick.
    Searching,
    /// It checks what is signed.
    Checking,
    /// It reads the release.
    Fetching,
    /// It waits for the glass, examines the terminal and switches.
    Switching,
    /// The release is started and examined.
    Trying,
    /// Nothing more comes.
    Done,
}

/// How an update from a stick goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StickProgress {
    format: u32,
    /// The wish that it answers.
    pub id: String,
    /// What it is doing.
    pub phase: StickPhase,
    /// Bytes that have been read.
    pub bytes: u64,
    /// Of so many; 0 while nobody knows.
    pub of: u64,
    /// The release on the stick.
    pub version: Option<Version>,
    /// Behind `Done`: problem code of why it was not taken; empty when it was.
    pub code: String,
    /// When.
    pub at: Timestamp,
}

impl StickProgress {
    /// The beginning of the answer to a wish.
    pub fn new(wish: &Wish, at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            id: wish.id.clone(),
            phase: StickPhase::Searching,
            bytes: 0,
            of: 0,
            version: None,
            code: String::new(),
            at,
        }
    }

    /// Reads an answer; `None` when the bytes are none of this layout.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let progress: Self = disk::parse_json(bytes, WISH_BYTES_MAX)?;
        (progress.format == FORMAT).then_some(progress)
    }

    /// Writes the answer; a reader sees the old one or the new one, whole.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        disk::replace_json(disk, path, self)
    }
}

/// Why a stick is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StickError {
    /// It is not there, or no stick.
    #[error("the stick is not there")]
    Missing,
    /// It holds no updates.
    #[error("the stick holds no updates")]
    Empty,
    /// It was pulled out; what was read of it is kept.
    #[error("the stick was pulled out")]
    Pulled,
}

impl StickError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "update.stick-missing",
            Self::Empty => "update.stick-empty",
            Self::Pulled => "update.stick-pulled",
        }
    }
}

/// The program's repository on the stick of a wish, which has to be mounted below one of `roots`.
///
/// # Errors
/// `Missing`, `Empty`.
pub fn find(wish: &Wish, roots: &[PathBuf]) -> Result<PathBuf, StickError> {
    let is_below = |stick: &Path, root: &PathBuf| {
        root.canonicalize().is_ok_and(|root| {
            stick
                .strip_prefix(root)
                .is_ok_and(|rest| (1..=DEPTH_MAX).contains(&rest.components().count()))
        })
    };
    // Links are followed first: what counts is where they lead.
    let stick = fs::canonicalize(&wish.stick).map_err(|_| StickError::Missing)?;
    if !stick.is_dir() || !roots.iter().any(|root| is_below(&stick, root)) {
        return Err(StickError::Missing);
    }
    PLACES
        .iter()
        .map(|place| stick.join(place))
        .find(|place| is_there(place))
        .ok_or(StickError::Empty)
}

/// True while the repository can be read.
pub fn is_there(repository: &Path) -> bool {
    repository.join(SIGN).is_file()
}

/// What the terminal is told of how a pass ended: empty when the release on the stick is in force.
pub fn code_of(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Updated { .. } => "",
        Outcome::NothingOffered | Outcome::UpToDate => "update.nothing-newer",
        Outcome::Waiting { .. } | Outcome::Paused => "update.occupied",
        Outcome::Restarting => "update.restarting",
        Outcome::Held { .. }
        | Outcome::FailedBefore { .. }
        | Outcome::RolledBack { .. }
        | Outcome::Problem { .. } => outcome.code().unwrap_or("update.not-run"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(stick: &Path) -> Wish {
        let text = format!(
            r#"{{"format":1,"id":"0b9e7a4c-1","person":"w1","stick":"{}"}}"#,
            stick.display()
        );
        Wish::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_no_wish_is_none() {
        let long = format!(r#"{{"format":1,"id":"a","stick":"/{}"}}"#, "x".repeat(5000));
        for bytes in [
            "",
            "{}",
            r#"{"format":2,"id":"a","stick":"/media/a"}"#,
            r#"{"format":1,"id":"","stick":"/media/a"}"#,
            r#"{"format":1,"id":"a/b","stick":"/media/a"}"#,
            &long,
        ] {
            assert_eq!(Wish::parse(bytes.as_bytes()), None, "{bytes:.60}");
        }
    }

    #[test]
    fn updates_are_found_on_a_stick_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let media = directory.path().join("media");
        let roots = [media.clone(), directory.path().join("absent")];
        let make = |place: &Path| {
            fs::create_dir_all(place.join("metadata")).unwrap();
            fs::write(place.join(SIGN), "{}").unwrap();
        };
        let stick = media.join("STICK");
        make(&stick.join("program"));
        assert_eq!(find(&wish(&stick), &roots), Ok(stick.join("program")));
        make(&stick.join("kiosk-updates/program"));
        assert_eq!(
            find(&wish(&stick), &roots),
            Ok(stick.join("kiosk-updates/program"))
        );
        fs::create_dir_all(media.join("user/EMPTY")).unwrap();
        assert_eq!(
            find(&wish(&media.join("user/EMPTY")), &roots),
            Err(StickError::Empty)
        );
        let elsewhere = directory.path().join("elsewhere");
        make(&elsewhere.join("program"));
        std::os::unix::fs::symlink(&elsewhere, media.join("link")).unwrap();
        for stick in [
            elsewhere,
            media.join("link"),
            media.join("../elsewhere"),
            media.clone(),
            media.join("absent"),
        ] {
            assert_eq!(
                find(&wish(&stick), &roots),
                Err(StickError::Missing),
                "{}",
                stick.display()
            );
        }
    }

    #[test]
    fn progress_comes_back_as_it_was_told() {
        let mut progress = StickProgress::new(&wish(Path::new("/media/a")), Timestamp::UNIX_EPOCH);
        progress.phase = StickPhase::Fetching;
        progress.version = Some(Version::new(1, 4, 2));
        let bytes = serde_json::to_vec(&progress).unwrap();
        assert_eq!(StickProgress::parse(&bytes), Some(progress));
        assert!(
            String::from_utf8(bytes)
                .unwrap()
                .contains(r#""phase":"fetching""#)
        );
    }
}
