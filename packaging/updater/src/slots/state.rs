//! What is known of the slots: which one is good, which one is on trial, and what went wrong. It is
//! written before the slots follow it, so that after a power cut they can be brought to where it
//! says. Reads bytes that a failing disk may have changed: bounded, and never panics.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::health::Health;
use crate::manifest::Version;

/// Largest file of state in bytes. Chosen: the lists below with the health of forty devices.
pub const STATE_BYTES_MAX: usize = 256 * 1024;
/// Layout of the file.
const FORMAT: u32 = 1;
/// Failures that are remembered. Chosen: more releases than a terminal refuses in its life.
const FAILURES_MAX: usize = 32;
/// Longest name of a slot and of a reason, in bytes.
const SLOT_BYTES_MAX: usize = 64;
const REASON_BYTES_MAX: usize = 512;

/// A release in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Name of the slot.
    pub slot: String,
    /// The release in it.
    pub version: Version,
}

/// A release that has yet to show that the terminal works with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Where it is.
    #[serde(flatten)]
    pub held: Held,
    /// How often it was tried.
    pub tries: u32,
    /// When it was switched to.
    pub since: Timestamp,
    /// What worked before it.
    pub before: Health,
    /// Tests that ask for people since it runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub doubt: BTreeSet<String>,
}

/// A release that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The release.
    pub version: Version,
    /// Problem code.
    pub code: String,
    /// What was wrong, in words.
    pub reason: String,
    /// When it was taken back.
    pub at: Timestamp,
    /// Tests that asked for people while it ran, until the release before it has shown whose fault that
    /// is; empty where there is no doubt.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub doubt: BTreeSet<String>,
}

/// What is known of the slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    format: u32,
    /// What works; `None` while only the program of the package does.
    pub good: Option<Held>,
    /// What is on trial.
    pub trial: Option<Trial>,
    /// What was taken back, oldest first. None of these is tried again.
    pub failures: Vec<Failure>,
    /// The terminal still runs what was taken back.
    pub is_restart_due: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            format: FORMAT,
            good: None,
            trial: None,
            failures: Vec::new(),
            is_restart_due: false,
        }
    }
}

impl State {
    /// What is on trial is tried once more.
    pub(crate) fn count_try(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.tries = trial.tries.saturating_add(1);
        }
    }

    /// The last try was none.
    pub(crate) fn uncount_try(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.tries = trial.tries.saturating_sub(1);
        }
    }

    /// Reads a state; `None` when the bytes are none of this layout.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > STATE_BYTES_MAX {
            return None;
        }
        let state: Self = serde_json::from_slice(bytes).ok()?;
        let is_named = [
            state.good.as_ref(),
            state.trial.as_ref().map(|trial| &trial.held),
        ]
        .into_iter()
        .flatten()
        .all(|held| is_slot_name(&held.slot));
        let is_bounded = state.failures.len() <= FAILURES_MAX
            && state
                .failures
                .iter()
                .all(|failure| failure.reason.len() <= REASON_BYTES_MAX);
        (state.format == FORMAT && is_named && is_bounded).then_some(state)
    }

    /// The file's content.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("numbers and text always make JSON")
    }

    /// What the terminal runs, or will run when it is started the next time.
    pub fn current(&self) -> Option<&Held> {
        self.trial
            .as_ref()
            .map(|trial| &trial.held)
            .or(self.good.as_ref())
    }

    /// True when the release was taken back here.
    pub fn has_failed(&self, version: Version) -> bool {
        self.failures
            .iter()
            .any(|failure| failure.version == version)
    }

    /// What the release on trial may not be to blame for.
    pub(crate) fn doubt(&mut self, tests: &BTreeSet<String>) {
        if let Some(trial) = &mut self.trial {
            trial.doubt.clone_from(tests);
        }
    }

    /// The failure that nobody can be blamed for yet.
    pub fn doubted(&self) -> Option<&Failure> {
        self.failures
            .last()
            .filter(|failure| !failure.doubt.is_empty())
    }

    /// The last failure that is one.
    pub fn last_failure(&self) -> Option<&Failure> {
        let mut failures = self.failures.iter().rev();
        failures.find(|failure| failure.doubt.is_empty())
    }

    /// The release that was taken back in doubt is to blame, or may be tried again.
    pub(crate) fn settle_doubt(&mut self, is_to_blame: bool) {
        if self.doubted().is_none() {
            return;
        }
        if !is_to_blame {
            self.failures.pop();
        } else if let Some(failure) = self.failures.last_mut() {
            failure.doubt.clear();
        }
    }

    /// Takes the release on trial back.
    pub(super) fn fail(&mut self, code: &str, reason: &str, at: Timestamp) {
        let Some(trial) = self.trial.take() else {
            return;
        };
        self.failures.push(Failure {
            version: trial.held.version,
            code: code.to_owned(),
            reason: bounded(reason),
            at,
            doubt: trial.doubt,
        });
        let surplus = self.failures.len().saturating_sub(FAILURES_MAX);
        self.failures.drain(..surplus);
        self.is_restart_due = true;
    }
}

/// The words, not longer than a state may hold.
fn bounded(words: &str) -> String {
    let mut end = words.len().min(REASON_BYTES_MAX);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    words[..end].to_owned()
}

fn is_slot_name(name: &str) -> bool {
    (1..=SLOT_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let held = |slot: &str, major| Held {
            slot: slot.to_owned(),
            version: Version::new(major, 0, 0),
        };
        State {
            good: Some(held("a", 1)),
            trial: Some(Trial {
                held: held("b", 2),
                tries: 1,
                since: Timestamp::UNIX_EPOCH,
                before: Health::default(),
                doubt: BTreeSet::new(),
            }),
            ..State::default()
        }
    }

    #[test]
    fn a_state_comes_back_as_it_was_and_a_torn_one_not_at_all() {
        let bytes = state().to_bytes();
        assert_eq!(State::parse(&bytes), Some(state()));
        for length in 0..bytes.len() {
            assert_eq!(State::parse(&bytes[..length]), None);
        }
    }

    #[test]
    fn a_slot_never_leads_elsewhere() {
        for name in ["", "..", "../b", "a/b", "a b"] {
            let mut other = state();
            other.good.as_mut().unwrap().slot = name.to_owned();
            assert_eq!(State::parse(&other.to_bytes()), None, "{name}");
        }
    }

    #[test]
    fn the_newest_failures_are_remembered_and_their_reasons_bounded() {
        let mut kept = State::default();
        for patch in 0..FAILURES_MAX + 5 {
            let patch = u32::try_from(patch).unwrap();
            let mut next = state();
            next.trial.as_mut().unwrap().held.version = Version::new(2, 0, patch);
            kept.trial = next.trial;
            kept.fail(
                "update.device-lost",
                &"打".repeat(1000),
                Timestamp::UNIX_EPOCH,
            );
        }
        assert_eq!(kept.failures.len(), FAILURES_MAX);
        assert!(!kept.has_failed(Version::new(2, 0, 4)));
        assert!(kept.has_failed(Version::new(2, 0, 5)));
        assert!(kept.has_failed(Version::new(2, 0, 36)));
        assert!(State::parse(&kept.to_bytes()).is_some());
    }
}
