//! What one device did since the start: how often it was opened, asked, failed and was brought back,
//! and how long it was well. Counters only; a technician reads them, nothing decides by them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::lock;
use crate::clock;
use crate::driver::Completion;
use crate::fault::Fault;
use crate::status::{Capabilities, Status};

/// Codes counted one by one. Chosen: all classes together have fewer than a hundred.
const CODES_MAX: usize = 64;

/// Counters of one device since the start of the terminal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diary {
    /// How often it was opened.
    pub opened: u64,
    /// Commands that were accepted and have ended.
    pub commands: u64,
    /// Commands that succeeded.
    pub succeeded: u64,
    /// Commands that the visit gave up.
    pub canceled: u64,
    /// Commands that ran into their deadline.
    pub timed_out: u64,
    /// Commands that failed, by problem code.
    pub failed: BTreeMap<&'static str, u64>,
    /// Faults that appeared in its status, by problem code.
    pub faults: BTreeMap<&'static str, u64>,
    /// Rungs of the recovery ladder that were climbed, by name.
    pub recovered: BTreeMap<&'static str, u64>,
    /// What it made, by the words of whoever gave the commands: `pages`, `slips`, `cards`, `codes`.
    pub made: BTreeMap<&'static str, u64>,
    /// How long it was ready to work.
    pub ready: Duration,
}

/// How a device is and what it did, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// What it is, as of the last opening; `None` when it was never opened.
    pub capabilities: Option<Capabilities>,
    /// How it is.
    pub status: Status,
    /// The last fault that it had, even if it has gone.
    pub last_fault: Option<Fault>,
    /// Its counters.
    pub diary: Diary,
}

/// A look at one device from any thread, without asking it anything.
#[derive(Clone, Debug, Default)]
pub struct Observer(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    snapshot: Snapshot,
    ready_since: Option<Instant>,
}

impl Observer {
    /// The device as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let record = lock(&self.0);
        let mut snapshot = record.snapshot.clone();
        if let Some(since) = record.ready_since {
            snapshot.diary.ready += clock::now().saturating_duration_since(since);
        }
        snapshot
    }

    /// Counts what the device made: so many more of `what`.
    pub fn made(&self, what: &'static str, count: u64) {
        let made = &mut lock(&self.0).snapshot.diary.made;
        if made.len() < CODES_MAX || made.contains_key(what) {
            *made.entry(what).or_default() += count;
        }
    }

    pub(super) fn opened(&self, capabilities: &Capabilities) {
        let snapshot = &mut lock(&self.0).snapshot;
        snapshot.diary.opened += 1;
        snapshot.capabilities = Some(capabilities.clone());
    }

    pub(super) fn status(&self, status: &Status) {
        let mut record = lock(&self.0);
        let now = clock::now();
        if status.is_ready() {
            record.ready_since.get_or_insert(now);
        } else if let Some(since) = record.ready_since.take() {
            record.snapshot.diary.ready += now.saturating_duration_since(since);
        }
        let snapshot = &mut record.snapshot;
        for fault in &status.faults {
            let was_there = snapshot
                .status
                .faults
                .iter()
                .any(|old| old.code == fault.code);
            if !was_there {
                count(&mut snapshot.diary.faults, fault.code);
            }
        }
        if let Some(fault) = status.faults.first() {
            snapshot.last_fault = Some(fault.clone());
        }
        snapshot.status = status.clone();
    }

    pub(super) fn completed(&self, completion: &Completion) {
        let snapshot = &mut lock(&self.0).snapshot;
        let diary = &mut snapshot.diary;
        diary.commands += 1;
        match completion {
            Completion::Success => diary.succeeded += 1,
            Completion::Canceled => diary.canceled += 1,
            Completion::TimeOut => diary.timed_out += 1,
            Completion::NotReady(fault) | Completion::Failed(fault) => {
                count(&mut diary.failed, fault.code);
                snapshot.last_fault = Some(fault.clone());
            }
        }
    }

    pub(super) fn recovered(&self, rung: &'static str) {
        count(&mut lock(&self.0).snapshot.diary.recovered, rung);
    }
}

fn count(counters: &mut BTreeMap<&'static str, u64>, code: &'static str) {
    if counters.len() < CODES_MAX || counters.contains_key(code) {
        *counters.entry(code).or_default() += 1;
    }
}
