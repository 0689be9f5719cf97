//! The terminal, as the updater sees it: somebody stands before it or not, it says how well it is,
//! and it can be started anew. The machine's own is asked by programs.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{Asked, Command};
use super::health::{Health, INPUT_DEVICES_BYTES_MAX, SUMMARY_BYTES_MAX, parse_touch_devices};
use crate::items::Refusal;
use crate::manifest::Version;

/// Longest self-test. Chosen: what the terminal itself allows for all of them.
const EXAMINE_LIMIT: Duration = Duration::from_hours(1);
/// Longest start until the terminal says that it is ready. Chosen: the unit's own limit, twice.
const RESTART_LIMIT: Duration = Duration::from_mins(2);
/// Longest answer whether a visit is under way.
const BUSY_LIMIT: Duration = Duration::from_secs(10);
/// Status by which a release is said to be held back. Chosen: one that neither `runuser` nor a program
/// that does not know the question ends with.
const HELD: i32 = 4;
/// Longest look at a set of items. Chosen: a thousand of them are read in seconds.
const CHECK_LIMIT: Duration = Duration::from_mins(1);
/// Most that is said of a set of items.
const CHECK_BYTES_MAX: usize = 64 * 1024;
/// Status of a self-test that a visitor kept from beginning or ended (`kiosk selftest`).
const NOT_NOW: i32 = 3;
/// Most words of a program that only does something.
const WORDS_BYTES_MAX: usize = 4096;
/// Where the kernel lists what can be touched.
const INPUT_DEVICES: &str = "/proc/bus/input/devices";

/// A terminal.
pub trait Terminal {
    /// True while somebody stands before it.
    fn is_busy(&mut self) -> bool;
    /// True while the platform holds this release back. It can only delay.
    fn is_held(&mut self, version: Version) -> bool;
    /// Lets it examine itself.
    ///
    /// # Errors
    /// [`TerminalError`] when it does not answer.
    fn examine(&mut self) -> Result<Health, TerminalError>;
    /// Starts its program anew and waits until its screen is painted.
    ///
    /// # Errors
    /// [`TerminalError`] when it does not come up.
    fn restart(&mut self) -> Result<(), TerminalError>;
    /// Starts the machine anew. Comes back before it goes down.
    ///
    /// # Errors
    /// [`TerminalError`] when it will not go down.
    fn restart_machine(&mut self) -> Result<(), TerminalError>;
}

/// Why the terminal did not do it.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// A program cannot be run.
    #[error("{what} cannot be run")]
    Run {
        /// What it is for.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It lets nobody examine it now: somebody is there, or tests run already.
    #[error("somebody is at the terminal")]
    Occupied,
    /// A program did not do it.
    #[error("{what}: {how}")]
    Refused {
        /// What it is for.
        what: &'static str,
        /// How it ended.
        how: String,
    },
}

/// A terminal that is asked by programs. Each is a program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// Starts it anew, ends with 0 when it is ready (`systemctl restart kiosk.service` of a unit that
    /// notifies).
    pub restart: Vec<String>,
    /// Starts the machine anew.
    pub restart_machine: Vec<String>,
    /// Writes the report of a self-test (`kiosk selftest --json`).
    pub examine: Vec<String>,
    /// Ends with 1 while somebody stands before it; so it does, and nothing is started anew, where the
    /// terminal's user cannot be had to ask.
    pub busy: Vec<String>,
    /// Looks at a set of items whose directory follows; ends with 0 when it is right
    /// (`kiosk services check`).
    pub check_items: Vec<String>,
    /// Asks whether the platform holds the release back whose version follows; ends with 4 when it does
    /// (`kiosk held`). A terminal of an earlier day does not know the question: nothing is held by it.
    pub held: Vec<String>,
    /// Where the kernel lists input devices.
    pub input_devices: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().copied().map(str::to_owned).collect();
        Self {
            restart: words(&["/usr/bin/systemctl", "restart", "kiosk.service"]),
            restart_machine: words(&["/usr/bin/systemctl", "reboot"]),
            // Only the terminal's own user may ask it.
            examine: words(&[
                "/usr/sbin/runuser",
                "--user=kiosk",
                "--",
                "/usr/bin/kiosk",
                "selftest",
                "--json",
            ]),
            busy: words(&[
                "/usr/sbin/runuser",
                "--user=kiosk",
                "--",
                "/usr/bin/kiosk",
                "visit",
            ]),
            check_items: words(&[
                "/usr/sbin/runuser",
                "--user=kiosk",
                "--",
                "/usr/bin/kiosk",
                "services",
                "check",
            ]),
            held: words(&[
                "/usr/sbin/runuser",
                "--user=kiosk",
                "--",
                "/usr/bin/kiosk",
                "held",
            ]),
            input_devices: PathBuf::from(INPUT_DEVICES),
        }
    }
}

impl Programs {
    fn ask(
        words: &[String],
        what: &'static str,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<(Option<i32>, Vec<u8>), TerminalError> {
        let refused = |how: &str| TerminalError::Refused {
            what,
            how: how.to_owned(),
        };
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| refused("no program is configured"))?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let command = Command::new(Path::new(program), &arguments, limit);
        let asked = command.ask(bytes_max);
        match asked.map_err(|source| TerminalError::Run { what, source })? {
            Asked::Ended { status, output } => Ok((status, output)),
            Asked::TooLate => Err(refused("it took too long")),
            Asked::TooLong => Err(refused("it said too much")),
        }
    }

    /// Lets the terminal's program look at a set of items.
    ///
    /// # Errors
    /// `Wrong` in the words of the program, `Unknown` when it cannot be asked.
    pub fn check_items(&self, set: &Path) -> Result<(), Refusal> {
        let mut words = self.check_items.clone();
        words.push(set.display().to_string());
        match Self::ask(&words, "items", CHECK_LIMIT, CHECK_BYTES_MAX) {
            Ok((Some(0), _)) => Ok(()),
            // Who could not run it ends with the same status, and says nothing.
            Ok((Some(1), said)) if !said.is_empty() => {
                let said = String::from_utf8_lossy(&said);
                let is_plain = |character: &char| !character.is_control() || *character == '\n';
                Err(Refusal::Wrong(said.chars().filter(is_plain).collect()))
            }
            Ok((status, _)) => Err(Refusal::Unknown(status.map_or_else(
                || "the check of the items was killed".to_owned(),
                |status| format!("the check of the items ended with {status}"),
            ))),
            Err(error) => Err(Refusal::Unknown(error.to_string())),
        }
    }

    /// Runs a program that only does something.
    fn act(words: &[String], what: &'static str) -> Result<(), TerminalError> {
        match Self::ask(words, what, RESTART_LIMIT, WORDS_BYTES_MAX)? {
            (Some(0), _) => Ok(()),
            (status, _) => Err(TerminalError::Refused {
                what,
                how: status.map_or("killed".to_owned(), |status| format!("ended with {status}")),
            }),
        }
    }

    fn touch_devices(&self) -> usize {
        let mut bytes = Vec::new();
        let read = File::open(&self.input_devices).and_then(|file| {
            file.take(INPUT_DEVICES_BYTES_MAX as u64)
                .read_to_end(&mut bytes)
        });
        // A list that cannot be read shows no touch screen, before as after.
        read.map_or(0, |_| parse_touch_devices(&bytes))
    }
}

impl Terminal for Programs {
    fn is_busy(&mut self) -> bool {
        // A terminal that does not answer serves nobody, and perhaps this update mends it.
        Self::ask(&self.busy, "visit", BUSY_LIMIT, WORDS_BYTES_MAX)
            .is_ok_and(|(status, _)| status == Some(1))
    }

    fn is_held(&mut self, version: Version) -> bool {
        let mut words = self.held.clone();
        words.push(version.to_string());
        // An order that nobody can tell of holds nothing: the operator's own halt is signed.
        Self::ask(&words, "order", BUSY_LIMIT, WORDS_BYTES_MAX)
            .is_ok_and(|(status, _)| status == Some(HELD))
    }

    fn examine(&mut self) -> Result<Health, TerminalError> {
        let what = "self-test";
        let (status, report) = Self::ask(&self.examine, what, EXAMINE_LIMIT, SUMMARY_BYTES_MAX)?;
        if status == Some(NOT_NOW) {
            // Also half a report: what a visitor broke off is no device that failed.
            return Err(TerminalError::Occupied);
        }
        // Any other status says that something failed; the report says what.
        let health = Health::parse(&report).ok_or_else(|| TerminalError::Refused {
            what,
            how: "it said no report".to_owned(),
        })?;
        Ok(Health {
            touch_devices: self.touch_devices(),
            ..health
        })
    }

    fn restart(&mut self) -> Result<(), TerminalError> {
        Self::act(&self.restart, "start")
    }

    fn restart_machine(&mut self) -> Result<(), TerminalError> {
        Self::act(&self.restart_machine, "start of the machine")
    }
}
