//! Page printers that speak IPP: network printers, ipp-usb and CUPS queues.
//!
//! A print is followed to the end of the job in the device itself: pages completed, stops for paper
//! or jams, and what the printer gives as the reason. A job that is given up is canceled in the
//! device, so that it cannot come out in front of the next person. IPP is encoded by hand: the replies
//! of real printers need a tolerant, bounded reader and hard limits.

mod message;
mod reasons;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kiosk_device::http::{self, HttpError, Target};
use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Sensitive, Status, Wire, clock, wire,
};

pub use self::message::{Answer, MessageError};
use self::message::{GROUP_JOB, Operation, Request, Version};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["ipp"];

const SCHEMES: &[(&str, u16)] = &[("ipp://", 631), ("http://", 80)];
/// Longest answer taken. Chosen: a full description is about 20 KiB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest address in the configuration. Chosen; IPP allows 1023 bytes.
const ADDRESS_BYTES_MAX: usize = 512;
/// Wait for an answer without a document. Chosen: sleeping printers take a second or two.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// Wait for the answer to a document. Chosen: a weak printer takes a few pages in that time.
const DOCUMENT_LIMIT: Duration = Duration::from_mins(1);
/// Wait for the answer to a cancellation, which comes when the deadline has passed. Chosen below the
/// margin after which the supervisor takes the driver for hanging.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);
/// How often a job is asked for (§6.1).
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Questions in a row that may fail before a running job is given up. Chosen.
const MISSES_MAX: u32 = 3;
/// How often a busy printer is asked to take the document. Chosen; the deadline bounds it as well.
const SUBMISSIONS_MAX: u32 = 20;

const STATUS_VERSION_NOT_SUPPORTED: u16 = 0x0503;
const STATUS_TEMPORARY: [u16; 2] = [0x0505, 0x0507];
const JOB_STOPPED: i32 = 6;
const JOB_CANCELED: i32 = 7;
const JOB_ABORTED: i32 = 8;
const JOB_COMPLETED: i32 = 9;

const PRINTER_ATTRIBUTES: &[&str] = &[
    "printer-state",
    "printer-state-reasons",
    "printer-state-message",
    "printer-is-accepting-jobs",
    "queued-job-count",
    "printer-make-and-model",
    "printer-firmware-string-version",
    "printer-device-id",
    "document-format-supported",
    "page-ranges-supported",
    "media-ready",
    "marker-names",
    "marker-types",
    "marker-levels",
    "marker-low-levels",
    "printer-supply",
];
const JOB_ATTRIBUTES: &[&str] = &[
    "job-state",
    "job-state-reasons",
    "job-impressions-completed",
];
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
    target: Target,
    /// The address in IPP's own scheme, as the printer expects it.
    uri: String,
    model: Option<String>,
    version: Version,
    next_request: u32,
}

/// A job in the printer and what is known of it.
struct Job {
    id: i32,
    pages: u32,
    impressions: u32,
    stopped: Option<Fault>,
}

impl PagePrinter {
    /// A driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::PagePrinter, DRIVERS, &[])?;
        let target = Some(config.port.as_str())
            .filter(|port| port.len() <= ADDRESS_BYTES_MAX)
            .and_then(|port| Target::parse(port, SCHEMES))
            .ok_or_else(|| {
                config.not_accepted("port", &config.port, "ipp://HOST:PORT/PATH or http://…")
            })?;
        Ok(Self {
            uri: format!("ipp://{}{}", target.authority(), target.path),
            target,
            model: config.model.clone(),
            version: Version::V2_0,
            next_request: 1,
        })
    }

    fn request(&mut self, operation: Operation) -> Request {
        let id = self.next_request;
        // Ids are positive 32-bit integers.
        self.next_request = id % 0x7FFF_FFFF + 1;
        Request::new(self.version, operation, id, &self.uri)
    }

    /// Sends one request over a connection of its own and reads the answer.
    fn exchange(
        &self,
        attributes: &[u8],
        document: &[u8],
        limit: Duration,
    ) -> Result<Answer, Fault> {
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/ipp\r\nContent-Length: {}\r\nAccept: application/ipp\r\nUser-Agent: kiosk\r\nConnection: close\r\n\r\n",
            self.target.path,
            self.target.authority(),
            attributes.len() + document.len(),
        )
        .into_bytes();
        request.extend_from_slice(attributes);
        let mut wire = wire::TcpWire::connect(&self.target.host, self.target.port)?;
        let deadline = clock::now() + limit;
        let left = || deadline.saturating_duration_since(clock::now());
        wire.write_all(&request, left())?;
        wire.write_all(document, left())?;
        let mut answer = http::send(&mut wire, &[], left()).map_err(bad_reply)?;
        if answer.head.status != 200 {
            return Err(Fault::new(
                "printer.bad-reply",
                Action::Maintenance,
                format!(
                    "the printer answers with HTTP status {}",
                    answer.head.status
                ),
            ));
        }
        let body =
            http::read_body(&mut wire, &mut answer, ANSWER_BYTES_MAX, left()).map_err(bad_reply)?;
        Answer::parse(&body).map_err(|error| malformed(&error.to_string()))
    }

    /// As [`PagePrinter::exchange`], for requests that can be repeated in the older version.
    fn ask(&mut self, build: impl Fn(&mut Self) -> Vec<u8>) -> Result<Answer, Fault> {
        let request = build(self);
        let answer = self.exchange(&request, &[], ANSWER_LIMIT)?;
        if answer.status != STATUS_VERSION_NOT_SUPPORTED || self.version == Version::V1_1 {
            return Ok(answer);
        }
        self.version = Version::V1_1;
        let request = build(self);
        self.exchange(&request, &[], ANSWER_LIMIT)
    }

    fn printer(&mut self) -> Result<(Answer, Status), Fault> {
        let answer = self.ask(|printer| {
            printer
                .request(Operation::GetPrinterAttributes)
                .keywords("requested-attributes", PRINTER_ATTRIBUTES)
                .finish()
        })?;
        if !is_success(answer.status) {
            return Err(refused(answer.status));
        }
        let status =
            reasons::status(&answer).ok_or_else(|| malformed("the answer has no printer-state"))?;
        Ok((answer, status))
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
        let (answer, status) = self.printer()?;
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
        let mut formats = answer.texts("document-format-supported").peekable();
        if formats.peek().is_some() && !formats.any(|format| format == PDF) {
            return Err(Fault::new(
                "printer.no-pdf",
                Action::Configuration,
                "the printer does not print PDF",
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

    /// Hands the document over; the job's number in the printer.
    fn submit(
        &mut self,
        document: &PageDocument,
        context: &Context<'_, Event>,
    ) -> Result<i32, Completion> {
        for _ in 0..SUBMISSIONS_MAX {
            context.check()?;
            let attributes = self.print_job(document);
            let limit = context.remaining().min(DOCUMENT_LIMIT);
            let answer = self
                .exchange(&attributes, document.pdf.expose(), limit)
                .map_err(Completion::Failed)?;
            if is_success(answer.status) {
                return answer
                    .number("job-id")
                    .ok_or_else(|| Completion::Failed(malformed("the answer has no job-id")));
            }
            if answer.status == STATUS_VERSION_NOT_SUPPORTED && self.version == Version::V2_0 {
                self.version = Version::V1_1;
            } else if STATUS_TEMPORARY.contains(&answer.status) {
                context.pause(POLL_INTERVAL)?;
            } else {
                return Err(Completion::Failed(refused(answer.status)));
            }
        }
        Err(Completion::Failed(Fault::new(
            "printer.busy",
            Action::Reset,
            "the printer stays busy with other jobs",
        )))
    }

    fn print_job(&mut self, document: &PageDocument) -> Vec<u8> {
        let bounded = |page: u32| i32::try_from(page).unwrap_or(i32::MAX);
        let mut request = self
            .request(Operation::PrintJob)
            // Neither name says whose document it is: printers keep job lists.
            .name("requesting-user-name", "kiosk")
            .name("job-name", "kiosk");
        if document.first_page > 1 {
            // All pages again would be worse than a refusal.
            request = request.boolean_true("ipp-attribute-fidelity");
        }
        request = request
            .mime_type("document-format", PDF)
            .group(GROUP_JOB)
            .integer("copies", 1)
            .keyword("media", "iso_a4_210x297mm")
            .keyword("sides", "one-sided")
            .keyword("print-color-mode", "monochrome");
        if document.first_page > 1 {
            request = request.range(
                "page-ranges",
                bounded(document.first_page),
                bounded(document.pages),
            );
        }
        request.finish()
    }

    fn cancel(&mut self, job: i32) {
        let request = self
            .request(Operation::CancelJob)
            .integer("job-id", job)
            .name("requesting-user-name", "kiosk")
            .finish();
        match self.exchange(&request, &[], CANCEL_LIMIT) {
            Ok(answer) if is_success(answer.status) => {}
            Ok(answer) => tracing::warn!(status = answer.status, "job not canceled"),
            Err(fault) => tracing::warn!(code = fault.code, "job not canceled"),
        }
    }

    /// Follows the job to its end.
    fn follow(&mut self, job: &mut Job, context: &Context<'_, Event>) -> Completion {
        let mut misses = 0;
        loop {
            if let Err(completion) = context.pause(POLL_INTERVAL) {
                // Else it would come out in front of the next person.
                self.cancel(job.id);
                return match (completion, job.stopped.take()) {
                    (Completion::TimeOut, Some(fault)) => Completion::Failed(fault),
                    (completion, _) => completion,
                };
            }
            match self.look(job, context) {
                Ok(Some(completion)) => return completion,
                Ok(None) => misses = 0,
                Err(fault) => {
                    misses += 1;
                    if misses == MISSES_MAX {
                        self.cancel(job.id);
                        return Completion::Failed(fault);
                    }
                }
            }
        }
    }

    /// One look at the job: its completion when it has ended.
    fn look(
        &mut self,
        job: &mut Job,
        context: &Context<'_, Event>,
    ) -> Result<Option<Completion>, Fault> {
        let id = job.id;
        let answer = self.ask(|printer| {
            printer
                .request(Operation::GetJobAttributes)
                .integer("job-id", id)
                .name("requesting-user-name", "kiosk")
                .keywords("requested-attributes", JOB_ATTRIBUTES)
                .finish()
        })?;
        if !is_success(answer.status) {
            return Err(refused(answer.status));
        }
        let state = answer
            .number("job-state")
            .ok_or_else(|| malformed("the answer has no job-state"))?;
        let impressions = answer
            .number("job-impressions-completed")
            .and_then(|count| u32::try_from(count).ok());
        if let Some(impressions_completed) = impressions.filter(|count| *count > job.impressions) {
            job.impressions = impressions_completed;
            context.emit(Event::Progress {
                impressions_completed,
            });
        }
        match state {
            JOB_COMPLETED => {
                let has_errors = answer.texts("job-state-reasons").any(|reason| {
                    reason == "job-completed-with-errors" || reason == "completed-with-errors"
                });
                Ok(Some(self.completed(job, has_errors)))
            }
            JOB_CANCELED | JOB_ABORTED => Ok(Some(self.ended_early(state))),
            _ => {
                self.look_at_printer(job, state, context)?;
                Ok(None)
            }
        }
    }

    fn completed(&mut self, job: &Job, has_errors: bool) -> Completion {
        // A printer that counts pages and counted too few has not printed them all; zero means that
        // it does not count.
        let is_short = job.impressions > 0 && job.impressions < job.pages;
        if !has_errors && !is_short {
            return Completion::Success;
        }
        Completion::Failed(self.cause().unwrap_or_else(|| {
            Fault::new(
                "printer.pages-missing",
                Action::Reset,
                format!("{} of {} pages came out", job.impressions, job.pages),
            )
        }))
    }

    fn ended_early(&mut self, state: i32) -> Completion {
        let (code, detail) = if state == JOB_CANCELED {
            ("printer.job-canceled", "the job was canceled at the device")
        } else {
            ("printer.job-aborted", "the printer gave the job up")
        };
        let fault = self.cause();
        Completion::Failed(fault.unwrap_or_else(|| Fault::new(code, Action::Reset, detail)))
    }

    /// What the device itself gives as the reason, if it does.
    fn cause(&mut self) -> Option<Fault> {
        let (_, status) = self.printer().ok()?;
        status.faults.into_iter().next()
    }

    /// Tells stops and resumptions of a job that has not ended.
    fn look_at_printer(
        &mut self,
        job: &mut Job,
        state: i32,
        context: &Context<'_, Event>,
    ) -> Result<(), Fault> {
        if context.check().is_err() {
            // Its end has come: no further question.
            return Ok(());
        }
        let (_, status) = self.printer()?;
        let mut fault = status.faults.into_iter().next();
        if fault.is_none() && state == JOB_STOPPED {
            fault = Some(Fault::new(
                "printer.stopped",
                Action::Maintenance,
                "the job stopped and the printer does not say why",
            ));
        }
        match (&fault, &job.stopped) {
            (Some(new), Some(old)) if new.code == old.code => {}
            (Some(new), _) => context.emit(Event::Stopped(new.clone())),
            (None, Some(_)) => context.emit(Event::Resumed),
            (None, None) => {}
        }
        job.stopped = fault;
        Ok(())
    }
}

impl Driver for PagePrinter {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        let (answer, _) = self.printer()?;
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
        Ok(Capabilities {
            model: model.or_else(|| self.model.clone()).unwrap_or_default(),
            firmware: told("printer-firmware-string-version"),
            serial: String::new(),
            abilities,
        })
    }

    fn close(&mut self) {
        // Every exchange has a connection of its own: there is nothing to close.
        self.version = Version::V2_0;
    }

    fn status(&mut self) -> Result<Status, Fault> {
        self.printer().map(|(_, status)| status)
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
        let mut job = Job {
            id,
            pages: document.pages - document.first_page + 1,
            impressions: 0,
            stopped: None,
        };
        let completion = self.follow(&mut job, context);
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

/// `successful-ok` and its two relatives (ignored or conflicting attributes).
fn is_success(status: u16) -> bool {
    status <= 0x0002
}

fn refused(status: u16) -> Fault {
    Fault::new(
        "printer.refused",
        Action::Maintenance,
        format!("the printer answers with IPP status {status:#06x}"),
    )
}

fn malformed(what: &str) -> Fault {
    Fault::new("printer.bad-reply", Action::Maintenance, what)
}

fn bad_reply(error: HttpError) -> Fault {
    match error {
        HttpError::Wire(error) => error.into(),
        HttpError::Malformed(what) => malformed(what),
    }
}
