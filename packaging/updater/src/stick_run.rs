//! A pass from a stick on a real terminal: the wish is read, the stick is searched, the same pass as
//! any other runs on what it holds, and how it goes is told while it goes.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use kiosk_update::config::Config;
use kiosk_update::engine::{Outcome, Step, Told};
use kiosk_update::manifest::Version;
use kiosk_update::slots::{LocalDisk, SlotError};
use kiosk_update::stick::{
    StickError, StickPhase, StickProgress, WISH_BYTES_MAX, Wish, code_of, find, is_there,
};
use kiosk_update::trust::TrustError;
use kiosk_update::waves::Wait;

use crate::clock;
use crate::run::{self, Passed};

/// Name of the file that says how it goes.
const PROGRESS: &str = "stick.json";
/// Passes for one wish. Chosen: one may settle what is on trial, the next takes what is on the stick.
const PASSES_MAX: u32 = 2;
/// Bytes between two words about a fetch. Chosen: a technician sees it move, the disk is spared.
const TELL_BYTES: u64 = 1024 * 1024;

/// Does what the terminal's wish asks, once.
///
/// # Errors
/// There is no wish, or how it goes cannot be written.
pub(crate) fn run(config: Config, root: &[u8], built_at: Timestamp) -> anyhow::Result<()> {
    let wish = read(&config.wish)?
        .as_deref()
        .and_then(Wish::parse)
        .context("update.no-wish")?;
    let path = config.state.join(PROGRESS);
    let last = read(&path)?.as_deref().and_then(StickProgress::parse);
    if last.is_some_and(|last| last.id == wish.id && last.phase == StickPhase::Done) {
        writeln!(std::io::stdout(), "this wish was answered before")?;
        return Ok(());
    }
    let progress = StickProgress::new(&wish, clock::now());
    let mut teller = Teller { progress, path };
    teller.write()?;
    let passed = match find(&wish, &config.sticks) {
        Ok(repository) => take(config, &repository, root, built_at, &mut teller),
        Err(error) => Err(error.into()),
    };
    let (code, words, version) = match passed {
        Ok(Passed { outcome, offered }) => {
            (code_of(&outcome).to_owned(), outcome.to_string(), offered)
        }
        Err(error) => (code_of_error(&error), format!("{error:#}"), None),
    };
    teller.progress.phase = StickPhase::Done;
    teller.progress.version = version;
    teller.progress.code.clone_from(&code);
    teller.write()?;
    writeln!(std::io::stdout(), "{words}")?;
    if !code.is_empty() {
        bail!("{code}");
    }
    Ok(())
}

/// Runs passes on the stick's repository until its release was looked at.
fn take(
    config: Config,
    repository: &Path,
    root: &[u8],
    built_at: Timestamp,
    teller: &mut Teller,
) -> anyhow::Result<Passed> {
    let config = config.carried(repository.to_path_buf());
    teller.progress.phase = StickPhase::Checking;
    teller.write()?;
    let mut passed = run::run(&config, root, built_at, Some(teller))?;
    for _ in 1..PASSES_MAX {
        if !is_of_another(&passed) {
            break;
        }
        passed = run::run(&config, root, built_at, Some(teller))?;
    }
    if matches!(passed.outcome, Outcome::Problem { .. }) && !is_there(repository) {
        return Err(StickError::Pulled.into());
    }
    Ok(passed)
}

/// True when the pass only settled what was on trial before.
fn is_of_another(passed: &Passed) -> bool {
    let settled: Option<Version> = match &passed.outcome {
        Outcome::Waiting {
            why: Wait::Doubt, ..
        } => return true,
        Outcome::Updated { version } | Outcome::RolledBack { version, .. } => Some(*version),
        Outcome::NothingOffered
        | Outcome::UpToDate
        | Outcome::Waiting { .. }
        | Outcome::Paused
        | Outcome::Held { .. }
        | Outcome::FailedBefore { .. }
        | Outcome::Restarting
        | Outcome::Problem { .. } => None,
    };
    settled.is_some() && settled != passed.offered
}

fn code_of_error(error: &anyhow::Error) -> String {
    let stick = error.downcast_ref::<StickError>().map(|error| error.code());
    let slot = error.downcast_ref::<SlotError>();
    let trust = error.downcast_ref::<TrustError>();
    stick
        .or(slot.map(SlotError::code))
        .or(trust.map(TrustError::code))
        .unwrap_or("update.not-run")
        .to_owned()
}

/// The bytes of a small file; `None` where there is none.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let place = || path.display().to_string();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(place),
    };
    let mut bytes = Vec::new();
    // One byte more than is believed, so that a longer file is told from one that fits.
    file.take(WISH_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(place)?;
    Ok(Some(bytes))
}

/// Tells the terminal how it goes.
struct Teller {
    progress: StickProgress,
    path: PathBuf,
}

impl Teller {
    fn write(&mut self) -> anyhow::Result<()> {
        self.progress.at = clock::now();
        let place = || self.path.display().to_string();
        self.progress
            .write(&LocalDisk, &self.path)
            .with_context(place)
    }
}

impl Told for Teller {
    fn tell(&mut self, step: Step) {
        let before = self.progress.clone();
        match step {
            Step::Fetching { bytes, of } => {
                let is_worth_it = before.phase != StickPhase::Fetching
                    || bytes >= before.bytes.saturating_add(TELL_BYTES);
                if !is_worth_it {
                    return;
                }
                self.progress.phase = StickPhase::Fetching;
                (self.progress.bytes, self.progress.of) = (bytes, of);
            }
            Step::Switching => self.progress.phase = StickPhase::Switching,
            Step::Trying => self.progress.phase = StickPhase::Trying,
        }
        // Nobody is updated the worse because a word about it could not be written.
        drop(self.write());
    }
}
