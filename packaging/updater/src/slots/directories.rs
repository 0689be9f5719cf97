//! Slots as two directories, `a` and `b`, and a link `current` to the one that runs. The state is
//! written first and the link follows it; whoever opens the slots brings the link to where the state
//! says. A slot gets its name only when everything in it is durable.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::disk::{self, Disk};
use super::pair::{Pair, STAGING, STATE, other_than};
use super::state::{Held, STATE_BYTES_MAX, State, Trial};
use super::{Content, SlotError, Slots, Start};
use crate::engine::health::Health;
use crate::manifest::{Entry, RELEASE_BYTES_MAX, RELEASE_TARGET, Release, Sha256};

/// Bytes that are hashed at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The slots below one directory.
#[derive(Debug)]
pub struct Directories<'a> {
    pair: Pair<'a>,
    state: State,
    is_state_lost: bool,
}

impl<'a> Directories<'a> {
    /// Opens the slots below `root`, making what is missing, and finishes what a power cut has
    /// interrupted.
    ///
    /// # Errors
    /// `Locked` while another updater has them open; `Storage`.
    pub fn open(root: &Path, disk: &'a dyn Disk) -> Result<Self, SlotError> {
        let pair = Pair::open(root, disk)?.ok_or(SlotError::Locked)?;
        let bytes = disk::read(&root.join(STATE), STATE_BYTES_MAX as u64)?;
        let state = bytes.as_deref().and_then(State::parse);
        let mut slots = Self {
            pair,
            is_state_lost: bytes.is_some() && state.is_none(),
            state: state.unwrap_or_default(),
        };
        slots.finish()?;
        Ok(slots)
    }

    /// True when the state was unreadable when the slots were opened, and was found anew from what
    /// runs: failures before that are forgotten, which is worth a line in the log.
    pub fn is_state_lost(&self) -> bool {
        self.is_state_lost
    }

    /// Brings the link to where the state says.
    fn finish(&mut self) -> Result<(), SlotError> {
        if self.is_state_lost {
            self.state.good = self.pair.linked().and_then(|slot| {
                let version = self.whole(&slot)?.version;
                Some(Held { slot, version })
            });
            self.save()?;
        }
        // What was on trial before its slot could be looked at is not there to be tried.
        let is_gone = |slot: &str| !self.pair.root().join(slot).is_dir();
        if self
            .state
            .trial
            .as_ref()
            .is_some_and(|trial| is_gone(&trial.held.slot))
        {
            self.state.trial = None;
            self.save()?;
        }
        self.follow()
    }

    /// Lets the link follow the state.
    fn follow(&self) -> Result<(), SlotError> {
        let current = self.state.current();
        let slot = current.map(|held| held.slot.as_str());
        Ok(self.pair.follow(slot)?)
    }

    fn save(&self) -> Result<(), SlotError> {
        let bytes = self.state.to_bytes();
        Ok(disk::replace(
            self.pair.disk(),
            &self.pair.root().join(STATE),
            &bytes,
        )?)
    }

    /// Writes the changed state; the one before stays when that fails.
    fn change(&mut self, change: impl FnOnce(&mut State)) -> Result<(), SlotError> {
        let before = self.state.clone();
        change(&mut self.state);
        let saved = self.save();
        if saved.is_err() {
            self.state = before;
        }
        saved
    }

    /// The slot that is not gone back to.
    fn spare(&self) -> &'static str {
        let good = self.state.good.as_ref();
        other_than(good.map(|held| held.slot.as_str()))
    }

    /// The release in a slot, if every file of it is there and right.
    fn whole(&self, slot: &str) -> Option<Release> {
        let directory = self.pair.root().join(slot);
        let manifest =
            disk::read(&directory.join(RELEASE_TARGET), RELEASE_BYTES_MAX as u64).ok()??;
        let release = Release::parse(&manifest).ok()?;
        let is_right = release.files.iter().all(|entry| {
            let file = File::open(directory.join(&entry.path));
            file.and_then(hash)
                .is_ok_and(|found| found == (entry.size, entry.sha256))
        });
        is_right.then_some(release)
    }

    /// Writes one file and checks what was read for it.
    fn write(
        &self,
        directory: &Path,
        index: usize,
        entry: &Entry,
        content: &dyn Content,
    ) -> Result<(), SlotError> {
        let mut reader = Checked::new(content.open(index), entry.size);
        let written = self.pair.disk().write_new(
            &directory.join(&entry.path),
            entry.mode.bits(),
            &mut reader,
        );
        match written {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(SlotError::ContentWrong { index });
            }
            written => written?,
        }
        if reader.finish() != (entry.size, entry.sha256) {
            return Err(SlotError::ContentWrong { index });
        }
        Ok(())
    }
}

impl Slots for Directories<'_> {
    fn state(&self) -> &State {
        &self.state
    }

    fn running_files(&self) -> Option<PathBuf> {
        self.pair.linked().map(|slot| self.pair.root().join(slot))
    }

    fn stage(
        &mut self,
        release: &Release,
        manifest: &[u8],
        content: &dyn Content,
    ) -> Result<(), SlotError> {
        if self.state.trial.is_some() {
            return Err(SlotError::Order);
        }
        let spare = self.spare();
        if self.whole(spare).as_ref() == Some(release) {
            return Ok(());
        }
        let staging = self.pair.root().join(STAGING);
        self.pair.disk().remove_directory(&staging)?;
        self.pair
            .disk()
            .remove_directory(&self.pair.root().join(spare))?;
        self.pair.disk().create_directory(&staging)?;
        let mut directories = BTreeSet::new();
        for entry in &release.files {
            for directory in Path::new(&entry.path).ancestors().skip(1) {
                directories.insert(staging.join(directory));
            }
        }
        // A set of paths is in the order from above to below.
        for directory in &directories {
            self.pair.disk().create_directory(directory)?;
        }
        for (index, entry) in release.files.iter().enumerate() {
            self.write(&staging, index, entry, content)?;
        }
        let mut manifest = manifest;
        self.pair
            .disk()
            .write_new(&staging.join(RELEASE_TARGET), 0o644, &mut manifest)?;
        for directory in directories.iter().rev() {
            self.pair.disk().sync_directory(directory)?;
        }
        self.pair
            .disk()
            .rename(&staging, &self.pair.root().join(spare))?;
        Ok(self.pair.disk().sync_directory(self.pair.root())?)
    }

    fn switch(
        &mut self,
        release: &Release,
        before: Health,
        now: Timestamp,
    ) -> Result<(), SlotError> {
        let slot = self.spare().to_owned();
        if self.state.trial.is_some()
            || !self.pair.root().join(&slot).join(RELEASE_TARGET).is_file()
        {
            return Err(SlotError::Order);
        }
        let version = release.version;
        self.change(|state| {
            state.trial = Some(Trial {
                held: Held { slot, version },
                tries: 0,
                since: now,
                before,
                doubt: BTreeSet::new(),
            });
        })?;
        self.follow()
    }

    fn start(&mut self) -> Result<Start, SlotError> {
        self.follow()?;
        Ok(Start::Terminal)
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
        self.change(|state| {
            if let Some(trial) = state.trial.take() {
                state.good = Some(trial.held);
            }
        })
    }

    fn roll_back(&mut self, code: &str, reason: &str, now: Timestamp) -> Result<(), SlotError> {
        self.change(|state| state.fail(code, reason, now))?;
        self.follow()
    }

    fn restarted(&mut self) -> Result<(), SlotError> {
        self.change(|state| state.is_restart_due = false)
    }
}

/// Size and hash of a file.
fn hash(file: File) -> io::Result<(u64, Sha256)> {
    let size = file.metadata()?.len();
    let mut reader = Checked::new(Box::new(file), size);
    io::copy(&mut reader, &mut io::sink())?;
    Ok(reader.finish())
}

/// Counts and hashes what is read through it, and ends what is longer than it should be.
struct Checked<'a> {
    inner: Box<dyn Read + 'a>,
    context: ring::digest::Context,
    size: u64,
    size_max: u64,
}

impl<'a> Checked<'a> {
    fn new(inner: Box<dyn Read + 'a>, size_max: u64) -> Self {
        Self {
            inner,
            context: ring::digest::Context::new(&ring::digest::SHA256),
            size: 0,
            size_max,
        }
    }

    fn finish(self) -> (u64, Sha256) {
        (self.size, Sha256::from_digest(&self.context.finish()))
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(PIECE_BYTES);
        let count = self.inner.read(&mut buffer[..most])?;
        self.context.update(&buffer[..count]);
        self.size += count as u64;
        if self.size > self.size_max {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(count)
    }
}
