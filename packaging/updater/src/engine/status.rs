//! What the updater tells: one small file that the terminal shows its technician and its heartbeat
//! carries to the platform. Nothing in it is secret or personal.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::manifest::Version;
use crate::slots::disk::{self, Disk};
use crate::slots::{Failure, State};

/// Largest file of status in bytes.
pub const STATUS_BYTES_MAX: usize = 16 * 1024;
/// Layout of the file.
const FORMAT: u32 = 1;

/// Where the updater stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing newer is offered.
    UpToDate,
    /// Something newer will be taken later.
    Waiting,
    /// Something newer is offered and not for this terminal, or not now.
    Held,
    /// A release is on trial.
    Trial,
    /// The last release was taken back.
    RolledBack,
    /// Something is wrong.
    Problem,
}

/// What the updater tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    format: u32,
    /// When.
    pub at: Timestamp,
    /// The release that runs; `None` for the program of the package.
    pub running: Option<Version>,
    /// Its slot.
    pub slot: Option<String>,
    /// Where the updater stands.
    pub phase: Phase,
    /// The release that is offered.
    pub offered: Option<Version>,
    /// When it is taken at the earliest.
    pub until: Option<Timestamp>,
    /// Problem code of what holds or fails.
    pub code: Option<String>,
    /// The same in words.
    pub words: String,
    /// The last roll-back, with its reason.
    pub last_roll_back: Option<Failure>,
    /// When the operator's metadata ends.
    pub metadata_expires: Option<Timestamp>,
}

impl Status {
    /// What is to be told after a pass.
    pub fn new(
        outcome: &Outcome,
        state: &State,
        offered: Option<Version>,
        metadata_expires: Option<Timestamp>,
        at: Timestamp,
    ) -> Self {
        let current = state.current();
        let until = if let Outcome::Waiting { until, .. } = outcome {
            Some(*until)
        } else {
            None
        };
        let phase = match outcome {
            Outcome::UpToDate | Outcome::NothingOffered | Outcome::Updated { .. } => {
                Phase::UpToDate
            }
            Outcome::Waiting { .. } if state.trial.is_some() => Phase::Trial,
            Outcome::Restarting => Phase::Trial,
            Outcome::Waiting { .. } | Outcome::Paused => Phase::Waiting,
            Outcome::Held { .. } | Outcome::FailedBefore { .. } => Phase::Held,
            Outcome::RolledBack { .. } => Phase::RolledBack,
            Outcome::Problem { .. } => Phase::Problem,
        };
        Self {
            format: FORMAT,
            at,
            running: current.map(|held| held.version),
            slot: current.map(|held| held.slot.clone()),
            phase,
            offered,
            until,
            code: outcome.code().map(str::to_owned),
            words: outcome.to_string(),
            last_roll_back: state.last_failure().cloned(),
            metadata_expires,
        }
    }

    /// Reads a status; `None` when the bytes are none of this layout.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let status: Self = disk::parse_json(bytes, STATUS_BYTES_MAX)?;
        (status.format == FORMAT).then_some(status)
    }

    /// Writes the status; a reader sees the old one or the new one, whole.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        disk::replace_json(disk, path, self)
    }
}
