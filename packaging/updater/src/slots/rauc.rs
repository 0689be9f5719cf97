//! Slots as images of the operating system, in the hands of RAUC. A release for it is one bundle; its
//! own signature is checked by RAUC beside ours. RAUC is a program and is asked by arguments, never
//! through a shell. Its configuration says `activate-installed=false`: an image is installed at one
//! time and started at another (RAUC reference, section "system.conf").

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::disk::{self, Disk};
use super::state::{Held, STATE_BYTES_MAX, State, Trial};
use super::{Content, SlotError, Slots, Start};
use crate::engine::command::{Asked, Command};
use crate::engine::health::Health;
use crate::manifest::{Release, Sha256, Version};

/// Name that a bundle has to end with.
const BUNDLE: &str = ".raucb";
const STATE: &str = "state.json";
const BUNDLES: &str = "bundles";
/// Longest answer about the status, in bytes.
const STATUS_BYTES_MAX: usize = 64 * 1024;
/// Starts of the machine after which an image that does not come up is given up.
const STARTS_MAX: u32 = 2;
/// Longest installation where nothing else is configured. Chosen: 4 GiB onto a slow card.
pub const INSTALL_LIMIT: Duration = Duration::from_hours(2);
/// Longest answer to anything else.
const ASK_LIMIT: Duration = Duration::from_mins(1);

/// The slots that RAUC keeps.
#[derive(Debug)]
pub struct Rauc<'a> {
    root: PathBuf,
    program: PathBuf,
    install_limit: Duration,
    disk: &'a dyn Disk,
    state: State,
    /// Held for the life of the process, so that no two updaters write.
    _lock: File,
}

/// The name under which the boot loader knows the slot that was started, as
/// `rauc status --output-format=json` says it; `None` when the bytes do not say.
pub fn parse_status(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Status {
        booted: String,
    }
    if bytes.len() > STATUS_BYTES_MAX {
        return None;
    }
    let status: Status = serde_json::from_slice(bytes).ok()?;
    let is_name = (1..=64).contains(&status.booted.len())
        && status
            .booted
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    is_name.then_some(status.booted)
}

impl<'a> Rauc<'a> {
    /// Opens the slots. State and bundles are kept below `root`, which no image overwrites; `program`
    /// is RAUC itself, which has `install_limit` for an image. `running` is the release of the image that is started when no state is known
    /// yet.
    ///
    /// # Errors
    /// `Locked` while another updater has them open; `Image` when RAUC does not answer; `Storage`.
    pub fn open(
        root: &Path,
        program: &Path,
        install_limit: Duration,
        disk: &'a dyn Disk,
        running: Option<Version>,
    ) -> Result<Self, SlotError> {
        disk.create_directory(&root.join(BUNDLES))?;
        let lock = super::pair::lock(root)?.ok_or(SlotError::Locked)?;
        let bytes = disk::read(&root.join(STATE), STATE_BYTES_MAX as u64)?;
        let mut slots = Self {
            root: root.to_path_buf(),
            program: program.to_path_buf(),
            install_limit,
            disk,
            state: State::default(),
            _lock: lock,
        };
        if let Some(state) = bytes.as_deref().and_then(State::parse) {
            slots.state = state;
        } else if let Some(version) = running {
            let slot = slots.booted()?;
            slots.state.good = Some(Held { slot, version });
        }
        Ok(slots)
    }

    fn booted(&self) -> Result<String, SlotError> {
        let answer = self.ask(&["status", "--output-format=json"], ASK_LIMIT)?;
        parse_status(&answer).ok_or_else(|| SlotError::Image {
            words: "status does not say what was started".to_owned(),
        })
    }

    /// True when the image on trial is the one that was started.
    fn is_running(&self, trial: &Trial) -> Result<bool, SlotError> {
        Ok(other_than(&self.booted()?) != trial.held.slot)
    }

    fn ask(&self, arguments: &[&str], limit: Duration) -> Result<Vec<u8>, SlotError> {
        let command = Command::new(&self.program, arguments, limit);
        let refused = |how: String| SlotError::Image {
            words: format!("{} {how}", arguments.first().copied().unwrap_or_default()),
        };
        let asked = command.ask(STATUS_BYTES_MAX);
        match asked.map_err(|error| refused(format!("cannot be run: {error}")))? {
            Asked::Ended {
                status: Some(0),
                output,
            } => Ok(output),
            Asked::Ended { status, .. } => Err(refused(match status {
                Some(status) => format!("ended with {status}"),
                None => "was killed".to_owned(),
            })),
            Asked::TooLate => Err(refused("took too long".to_owned())),
            Asked::TooLong => Err(refused("said too much".to_owned())),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut State)) -> Result<(), SlotError> {
        let mut state = self.state.clone();
        change(&mut state);
        disk::replace(self.disk, &self.root.join(STATE), &state.to_bytes())?;
        self.state = state;
        Ok(())
    }

    /// The bundle of a release, if it is one.
    fn bundle(release: &Release) -> Option<&str> {
        match release.files.as_slice() {
            [entry] if entry.path.ends_with(BUNDLE) && !entry.path.contains('/') => {
                Some(&entry.path)
            }
            _ => None,
        }
    }
}

impl Slots for Rauc<'_> {
    fn state(&self) -> &State {
        &self.state
    }

    fn running_files(&self) -> Option<PathBuf> {
        Some(self.root.join(BUNDLES))
    }

    fn stage(
        &mut self,
        release: &Release,
        _manifest: &[u8],
        content: &dyn Content,
    ) -> Result<(), SlotError> {
        if self.state.trial.is_some() {
            return Err(SlotError::Order);
        }
        let name = Self::bundle(release).ok_or_else(|| SlotError::Image {
            words: "the release is not one bundle".to_owned(),
        })?;
        let bundles = self.root.join(BUNDLES);
        let (new, place) = (self.root.join("new.part"), bundles.join(name));
        self.disk.remove_file(&new)?;
        let entry = &release.files[0];
        let mut reader = content.open(0);
        match self.disk.write_new(&new, entry.mode.bits(), &mut reader) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(SlotError::ContentWrong { index: 0 });
            }
            written => written?,
        }
        drop(reader);
        // RAUC checks its own signature over all of it while it installs.
        let mut content = File::open(&new)?;
        if sha256_of(&mut content)? != entry.sha256 {
            return Err(SlotError::ContentWrong { index: 0 });
        }
        // The one before lies in a directory that is searched for unchanged parts until here.
        self.disk.remove_directory(&bundles)?;
        self.disk.create_directory(&bundles)?;
        self.disk.rename(&new, &place)?;
        self.disk.sync_directory(&bundles)?;
        self.disk.sync_directory(&self.root)?;
        let place = place
            .to_str()
            .ok_or(io::ErrorKind::InvalidFilename)
            .map_err(io::Error::from)?;
        self.ask(&["install", place], self.install_limit).map(drop)
    }

    fn switch(
        &mut self,
        release: &Release,
        before: Health,
        now: Timestamp,
    ) -> Result<(), SlotError> {
        if self.state.trial.is_some() {
            return Err(SlotError::Order);
        }
        let slot = other_than(&self.booted()?);
        self.change(|state| {
            let version = release.version;
            state.trial = Some(Trial {
                held: Held { slot, version },
                tries: 0,
                since: now,
                before,
                doubt: BTreeSet::new(),
            });
        })?;
        self.ask(&["status", "mark-active", "other"], ASK_LIMIT)
            .map(drop)
    }

    fn start(&mut self) -> Result<Start, SlotError> {
        let Some(trial) = &self.state.trial else {
            let is_due = self.state.is_restart_due;
            return Ok(if is_due {
                Start::Machine
            } else {
                Start::Nothing
            });
        };
        if self.is_running(trial)? {
            return Ok(Start::Nothing);
        }
        if trial.tries > STARTS_MAX {
            return Ok(Start::FellBack);
        }
        // The power may have been cut before this was said; saying it twice does no harm.
        self.ask(&["status", "mark-active", "other"], ASK_LIMIT)?;
        Ok(Start::Machine)
    }

    fn count_try(&mut self) -> Result<(), SlotError> {
        self.change(State::count_try)
    }

    fn uncount_try(&mut self) -> Result<(), SlotError> {
        self.change(State::uncount_try)
    }

    fn doubt(&mut self, tests: &BTreeSet<String>) -> Result<(), SlotError> {
        self.change(|state| state.doubt(tests))
    }

    fn settle_doubt(&mut self, is_to_blame: bool) -> Result<(), SlotError> {
        self.change(|state| state.settle_doubt(is_to_blame))
    }

    fn mark_good(&mut self) -> Result<(), SlotError> {
        self.ask(&["status", "mark-good", "booted"], ASK_LIMIT)?;
        let slot = self.booted()?;
        self.change(|state| {
            if let Some(trial) = state.trial.take() {
                let version = trial.held.version;
                state.good = Some(Held { slot, version });
            }
        })
    }

    fn roll_back(&mut self, code: &str, reason: &str, now: Timestamp) -> Result<(), SlotError> {
        let is_running = match &self.state.trial {
            Some(trial) => self.is_running(trial)?,
            None => return Err(SlotError::Order),
        };
        if is_running {
            self.ask(&["status", "mark-bad", "booted"], ASK_LIMIT)?;
            self.ask(&["status", "mark-active", "other"], ASK_LIMIT)?;
        } else {
            self.ask(&["status", "mark-active", "booted"], ASK_LIMIT)?;
        }
        self.change(|state| {
            state.fail(code, reason, now);
            state.is_restart_due = is_running;
        })
    }

    fn restarted(&mut self) -> Result<(), SlotError> {
        self.change(|state| state.is_restart_due = false)
    }
}

/// The slot of an image on trial is known by what it is not: its name is RAUC's affair.
fn other_than(slot: &str) -> String {
    format!("other-than-{slot}")
}

fn sha256_of(file: &mut File) -> io::Result<Sha256> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(Sha256::from_digest(&context.finish()));
        }
        context.update(&piece[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_is_read_from_the_status() {
        let status = br#"{"compatible":"kiosk","variant":"","booted":"A","boot_primary":"rootfs.0",
            "slots":[{"rootfs.0":{"class":"rootfs","bootname":"A","state":"booted","boot_status":"good"}}]}"#;
        assert_eq!(parse_status(status).as_deref(), Some("A"));
        for bytes in [
            &b""[..],
            b"{}",
            br#"{"booted":""}"#,
            br#"{"booted":"../x"}"#,
            br#"{"booted":null}"#,
        ] {
            assert_eq!(parse_status(bytes), None);
        }
    }
}
