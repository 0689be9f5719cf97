//! Page printers that speak IPP: network printers, ipp-usb and CUPS queues.
//!
//! A print is followed to the end of the job in the device itself: pages completed, stops for paper
//! or jams, and what the printer gives as the reason. Behind a queue the device is asked as well,
//! past the spooler. A document is never sent twice, and a job that is given up is canceled in the
//! device, so that it cannot come out in front of the next person. IPP is encoded by hand: the
//! replies of real printers need a tolerant, bounded reader and hard limits.

mod endpoint;
mod job;
mod message;
pub(crate) mod reasons;
mod witness;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Sensitive, Status, clock,
};

use self::endpoint::{Endpoint, is_success};
use self::job::Job;
pub use self::message::{Answer, MessageError};
use self::message::{Operation, Version};
pub use self::reasons::status as printer_status;
use self::witness::{Source, Witness};
use crate::snmp::Agent;

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["ipp"];

const OPTIONS: &[&str] = &["device", "status", "snmp_community", "resume_queue"];
/// Longest SNMP community. Chosen.
const COMMUNITY_BYTES_MAX: usize = 64;
/// Wait between two requests to resume a paused queue. Chosen: a queue that pauses again at once has a
/// reason that is not paper.
const RESUME_INTERVAL: Duration = Duration::from_secs(30);
/// Wait for the answer to such a request. Chosen.
const RESUME_LIMIT: Duration = Duration::from_secs(2);
const PDF: &str = "application/pdf";

/// A document for the page printer.
#[derive(Clone)]
pub struct PageDocument {
    /// The document as PDF, A4.
    pub pdf: Arc<Sensitive<Vec<u8>>>,
    /// How many pages it has.
    pub pages: u32,
    /// First page to print, from 1; later ones resume after a jam.
    pub first_page: u32,
}

impl fmt::Debug for PageDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageDocument")
            .field("pages", &self.pages)
            .field("first_page", &self.first_page)
            .finish_non_exhaustive()
    }
}

/// What a page printer can be asked.
#[derive(Clone, Debug)]
pub enum Command {
    /// Print one document, A4, one-sided, black and white.
    Print(PageDocument),
}

/// What a page printer reports while it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many pages of this job are out.
    Progress {
        /// Pages printed since the command began.
        impressions_completed: u32,
    },
    /// It stopped and goes on by itself once this is mended.
    Stopped(Fault),
    /// It goes on.
    Resumed,
    /// All pages are out.
    Presented,
}

/// The driver of one page printer.
#[derive(Debug)]
pub struct PagePrinter {
    /// Where documents go.
    queue: Endpoint,
    /// Who else knows how the printer is.
    witnesses: Vec<Witness>,
    model: Option<String>,
    /// A paused queue is this terminal's to resume.
    resumes_queue: bool,
    /// The queue does not let us resume it.
    is_resuming_refused: bool,
    resumed_at: Option<Instant>,
    /// Tells this run's tickets from those of all others.
    run: u64,
    tickets: u32,
}

/// How queue and device are, taken together.
struct Sight {
    answer: Answer,
    status: Status,
    /// A witness sees the device at work.
    is_busy: bool,
}

impl PagePrinter {
    /// A driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::PagePrinter, DRIVERS, OPTIONS)?;
        let queue = Endpoint::parse(&config.port).ok_or_else(|| {
            config.not_accepted("port", &config.port, "ipp://HOST:PORT/PATH or http://…")
        })?;
        let text = |key: &str, default: &str| match config.options.get(key) {
            None => Ok(default.to_owned()),
            Some(value) => value.as_str().map(str::to_owned).ok_or_else(|| {
                config.not_accepted(&format!("options.{key}"), value.to_string(), "text")
            }),
        };
        let community = text("snmp_community", "public")?;
        if community.is_empty() || community.len() > COMMUNITY_BYTES_MAX {
            let accepted = format!("1 to {COMMUNITY_BYTES_MAX} bytes");
            return Err(config.not_accepted("options.snmp_community", "another length", accepted));
        }
        let mut witnesses = Vec::new();
        if config.options.contains_key("device") {
            let address = text("device", "")?;
            let endpoint = Endpoint::parse(&address).ok_or_else(|| {
                config.not_accepted(
                    "options.device",
                    &address,
                    "ipp://HOST:PORT/PATH or http://…",
                )
            })?;
            witnesses.push(Witness::new(Source::Ipp(endpoint)));
        }
        if config.options.contains_key("status") {
            let address = text("status", "")?;
            let agent = Agent::parse(&address, &community).ok_or_else(|| {
                config.not_accepted("options.status", &address, "snmp:HOST or snmp:HOST:PORT")
            })?;
            witnesses.push(Witness::new(Source::Snmp(agent)));
        }
        let resumes_queue = match config.options.get("resume_queue") {
            None => false,
            Some(value) => value.as_bool().ok_or_else(|| {
                config.not_accepted("options.resume_queue", value.to_string(), "true or false")
            })?,
        };
        Ok(Self {
            queue,
            witnesses,
            model: config.model.clone(),
            resumes_queue,
            is_resuming_refused: false,
            resumed_at: None,
            // The standard library's seed is the only randomness needed here.
            run: RandomState::new().hash_one(0),
            tickets: 0,
        })
    }

    /// A name for a job that no other job of any terminal has.
    fn next_ticket(&mut self) -> String {
        self.tickets = self.tickets.wrapping_add(1);
        format!("kiosk-{:016x}-{}", self.run, self.tickets)
    }

    /// Asks the queue and every witness how the printer is, and resumes a queue that is paused for
    /// no reason any more.
    fn observe(&mut self) -> Result<Sight, Fault> {
        let mut sight = self.glance()?;
        let is_only_paused =
            matches!(sight.status.faults.as_slice(), [fault] if fault.code == "printer.paused");
        if is_only_paused && self.resume_queue() {
            sight = self.glance()?;
        }
        Ok(sight)
    }

    fn hurry(&mut self, left: Option<Duration>) {
        self.queue.hurry(left);
        for witness in &mut self.witnesses {
            witness.hurry(left);
        }
    }

    fn glance(&mut self) -> Result<Sight, Fault> {
        let (answer, mut status) = self.queue.printer()?;
        let is_busy = witness::consult(&mut self.witnesses, &mut status);
        Ok(Sight {
            answer,
            status,
            is_busy,
        })
    }

    /// Asks a paused queue to go on; true when it said yes.
    fn resume_queue(&mut self) -> bool {
        let now = clock::now();
        let is_too_soon = self
            .resumed_at
            .is_some_and(|at| now.saturating_duration_since(at) < RESUME_INTERVAL);
        if !self.resumes_queue || self.is_resuming_refused || is_too_soon {
            return false;
        }
        self.resumed_at = Some(now);
        let request = self
            .queue
            .request(Operation::ResumePrinter)
            .name("requesting-user-name", "kiosk")
            .finish();
        match self.queue.exchange(&request, RESUME_LIMIT) {
            Ok(answer) if is_success(answer.status) => {
                tracing::info!("paused queue resumed");
                true
            }
            Ok(answer) => {
                tracing::warn!(
                    status = answer.status,
                    "the queue does not let us resume it"
                );
                self.is_resuming_refused = true;
                false
            }
            Err(fault) => {
                tracing::warn!(code = fault.code, "paused queue not resumed");
                false
            }
        }
    }

    /// Refuses what cannot be printed now; nothing is sent then.
    fn check(&mut self, document: &PageDocument) -> Result<(), Fault> {
        if document.first_page == 0 || document.first_page > document.pages {
            return Err(Fault::new(
                "printer.bad-document",
                Action::Configuration,
                format!("no page {} of {}", document.first_page, document.pages),
            ));
        }
        let Sight { answer, status, .. } = self.observe()?;
        if let Some(fault) = status.faults.into_iter().next() {
            return Err(fault);
        }
        if answer.boolean("printer-is-accepting-jobs") == Some(false) {
            return Err(Fault::new(
                "printer.not-accepting-jobs",
                Action::Maintenance,
                "the printer does not accept jobs",
            ));
        }
        let formats: Vec<&str> = answer.texts("document-format-supported").collect();
        if !formats.is_empty() && !formats.contains(&PDF) {
            let known: String = formats.join(" ").chars().take(200).collect();
            return Err(Fault::new(
                "printer.no-pdf",
                Action::Configuration,
                format!("the printer does not print PDF but: {known}"),
            ));
        }
        if document.first_page > 1 && answer.boolean("page-ranges-supported") == Some(false) {
            return Err(Fault::new(
                "printer.no-page-ranges",
                Action::Configuration,
                "the printer cannot begin at a later page",
            ));
        }
        Ok(())
    }
}

impl Driver for PagePrinter {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        let (answer, _) = self.queue.printer()?;
        let told = |name: &str| -> String {
            let text = answer.texts(name).next().unwrap_or_default();
            text.chars()
                .filter(|character| !character.is_control())
                .take(120)
                .collect()
        };
        let model = Some(told("printer-make-and-model")).filter(|model| !model.is_empty());
        let mut abilities = vec!["a4".to_owned()];
        if answer
            .texts("document-format-supported")
            .any(|format| format == PDF)
        {
            abilities.push("pdf".to_owned());
        }
        if answer.boolean("page-ranges-supported") == Some(true) {
            abilities.push("page-ranges".to_owned());
        }
        if !self.witnesses.is_empty() {
            abilities.push("device-asked".to_owned());
        }
        Ok(Capabilities {
            model: model.or_else(|| self.model.clone()).unwrap_or_default(),
            firmware: told("printer-firmware-string-version"),
            serial: String::new(),
            abilities,
        })
    }

    fn close(&mut self) {
        // Every exchange has a connection of its own: there is nothing to close.
        self.queue.version = Version::V2_0;
        self.is_resuming_refused = false;
        self.witnesses.iter_mut().for_each(Witness::reset);
    }

    fn status(&mut self) -> Result<Status, Fault> {
        self.observe().map(|sight| sight.status)
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        let Command::Print(document) = command;
        if let Err(fault) = self.check(&document) {
            return Completion::NotReady(fault);
        }
        let id = match self.submit(&document, context) {
            Ok(id) => id,
            Err(completion) => return completion,
        };
        let completion = self.follow(&mut Job::new(id, &document), context);
        if completion == Completion::Success {
            context.emit(Event::Presented);
        }
        completion
    }

    fn poll_interval(&self) -> Duration {
        // Each question wakes a sleeping printer's network side: less often than serial devices.
        Duration::from_secs(5)
    }
}
