//! A second source about the same printer: the device itself behind a spooler's queue, asked by IPP
//! or by SNMP. A queue may say that a job is done when the last byte has left the computer; the
//! device knows whether paper has left the machine.

use std::time::Duration;

use kiosk_device::{Fault, Status};

use super::endpoint::Endpoint;
use super::reasons;
use crate::snmp::{Agent, Testimony};

/// `printer-state` of a printer that prints.
const STATE_PROCESSING: i32 = 4;
/// Questions in a row that may stay unanswered. Chosen: three misses.
const MISSES_MAX: u32 = 3;

/// Who is asked.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Ipp(Endpoint),
    Snmp(Agent),
}

/// One source with its recent past.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    source: Source,
    misses: u32,
    last: Option<Testimony>,
}

impl Witness {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            misses: 0,
            last: None,
        }
    }

    /// Forgets the past.
    pub(super) fn reset(&mut self) {
        self.misses = 0;
        self.last = None;
    }

    /// As [`Endpoint::hurry`]; questions by SNMP are short anyway.
    pub(super) fn hurry(&mut self, left: Option<Duration>) {
        if let Source::Ipp(endpoint) = &mut self.source {
            endpoint.hurry(left);
        }
    }

    fn ask(&mut self) -> Result<Testimony, Fault> {
        match &mut self.source {
            Source::Snmp(agent) => agent.ask(),
            Source::Ipp(endpoint) => {
                let (answer, status) = endpoint.printer()?;
                let is_busy = answer.number("printer-state") == Some(STATE_PROCESSING);
                Ok(Testimony { status, is_busy })
            }
        }
    }

    /// What it says now; for a question or two that are lost, what it said before.
    fn testify(&mut self) -> Testimony {
        match self.ask() {
            Ok(testimony) => {
                self.misses = 0;
                self.last = Some(testimony.clone());
                testimony
            }
            Err(fault) => {
                self.misses = self.misses.saturating_add(1);
                tracing::debug!(code = fault.code, misses = self.misses, "device not asked");
                match &self.last {
                    Some(last) if self.misses < MISSES_MAX => last.clone(),
                    _ => Testimony {
                        status: Status {
                            faults: vec![fault],
                            ..Status::online()
                        },
                        // Whether it still prints is not known: nothing may be taken for done.
                        is_busy: true,
                    },
                }
            }
        }
    }
}

/// Adds to `status` what every witness says; true when one of them is at work.
pub(super) fn consult(witnesses: &mut [Witness], status: &mut Status) -> bool {
    let mut is_busy = false;
    for witness in witnesses {
        let testimony = witness.testify();
        is_busy |= testimony.is_busy;
        reasons::merge(status, testimony.status);
    }
    is_busy
}
