//! Where releases are installed: two slots, of which one runs. Keeps true that what runs is whole,
//! that there is always a way back to what worked, and that a power cut at any step leaves one of the
//! two. Only the updater writes here. Whether a release is to be installed is not its business.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::engine::health::Health;
use crate::manifest::Release;

mod directories;
pub mod disk;
pub(crate) mod pair;
mod rauc;
pub mod state;

pub use directories::Directories;
pub use disk::{Disk, LocalDisk};
pub use rauc::{INSTALL_LIMIT, Rauc, parse_status};
pub use state::{Failure, Held, State, Trial};

/// The content of a release's files.
pub trait Content {
    /// Opens the file of this number, from 0 in the order of the release. A content that is not what
    /// was signed reads as an error of the kind `InvalidData`.
    fn open(&self, entry: usize) -> Box<dyn Read + '_>;
}

/// What has to be started anew before the release on trial runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The terminal's program.
    Terminal,
    /// The machine.
    Machine,
    /// Nothing: it runs.
    Nothing,
    /// It was started and did not come up: the one before runs again.
    FellBack,
}

/// Two slots for releases.
pub trait Slots {
    /// What is known of them.
    fn state(&self) -> &State;
    /// Files of the release that runs, where unchanged parts of the next one are found.
    fn running_files(&self) -> Option<PathBuf>;
    /// Writes a release into the slot that does not run. What runs stays untouched.
    ///
    /// # Errors
    /// [`SlotError`]; what was written is thrown away by the next attempt.
    fn stage(
        &mut self,
        release: &Release,
        manifest: &[u8],
        content: &dyn Content,
    ) -> Result<(), SlotError>;
    /// Makes the staged release the one that is started from now on, on trial. `before` is what
    /// worked until now.
    ///
    /// # Errors
    /// [`SlotError`]; reopening the slots finishes it or leaves everything as it was.
    fn switch(
        &mut self,
        release: &Release,
        before: Health,
        now: Timestamp,
    ) -> Result<(), SlotError>;
    /// What has to be started before the release on trial runs, or after a roll-back the one before.
    /// A switch that was broken off is finished here, so that nothing else is judged in its place.
    ///
    /// # Errors
    /// `Image` when the machine does not say.
    fn start(&mut self) -> Result<Start, SlotError>;
    /// Counts an attempt of the release on trial, before it is made.
    ///
    /// # Errors
    /// `Storage`.
    fn count_try(&mut self) -> Result<(), SlotError>;
    /// Takes the last count back: the attempt was not made, or a visitor kept it from being judged.
    ///
    /// # Errors
    /// `Storage`.
    fn uncount_try(&mut self) -> Result<(), SlotError>;
    /// Notes what asks for people since the release on trial runs, before it is taken back for it.
    ///
    /// # Errors
    /// `Storage`.
    fn doubt(&mut self, tests: &BTreeSet<String>) -> Result<(), SlotError>;
    /// Says of the release that was taken back in doubt that it is to blame, or that it may be tried
    /// again.
    ///
    /// # Errors
    /// `Storage`.
    fn settle_doubt(&mut self, is_to_blame: bool) -> Result<(), SlotError>;
    /// The release on trial works: it is what is gone back to from now on.
    ///
    /// # Errors
    /// [`SlotError`]; it stays on trial.
    fn mark_good(&mut self) -> Result<(), SlotError>;
    /// Goes back to what worked and remembers why. The terminal has to be started anew.
    ///
    /// # Errors
    /// [`SlotError`]; reopening the slots finishes it.
    fn roll_back(&mut self, code: &str, reason: &str, now: Timestamp) -> Result<(), SlotError>;
    /// The terminal, or the machine, was started anew after a roll-back.
    ///
    /// # Errors
    /// `Storage`.
    fn restarted(&mut self) -> Result<(), SlotError>;
}

/// Why a slot could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// Another updater is at work.
    #[error("another updater is at work")]
    Locked,
    /// A file of the release is not what was signed.
    #[error("file {index} of the release is not what was signed")]
    ContentWrong {
        /// Which file, from 0.
        index: usize,
    },
    /// A release is on trial, or none is, where it is the other way round.
    #[error("the slots are not in the state for this")]
    Order,
    /// The program that installs images refused or failed.
    #[error("the image could not be installed: {words}")]
    Image {
        /// What was asked of it and how it ended.
        words: String,
    },
    /// The disk failed.
    #[error("the slot cannot be written")]
    Storage(#[from] io::Error),
}

impl SlotError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Locked => "update.already-running",
            Self::ContentWrong { .. } => "update.chunk-wrong",
            Self::Order => "update.not-run",
            Self::Image { .. } => "update.image-refused",
            Self::Storage(error) if error.kind() == io::ErrorKind::StorageFull => "update.no-room",
            Self::Storage(_) => "update.storage",
        }
    }
}
