//! An A4 printer that speaks IPP over HTTP (`device-protocols`, section 6.1).
//!
//! Pages come out one by one over time; paper, cover, jam and toner stop them where they would,
//! and job and printer states follow. Each received document is kept as a file with a description
//! of what became of it. Nothing is rendered: the sheets are counted, not drawn.

mod ipp;
mod operations;
mod pdf;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Connection, NoRequest};
use crate::steering::{Rubbish, Running, Steered, TICK, now};
use crate::tcp::TcpPort;

/// Connections served at once. Chosen: more than one terminal opens.
const CONNECTIONS_MAX: usize = 16;
/// Jobs remembered. Chosen.
const JOBS_MAX: usize = 1000;
/// Toner level at and below which the printer warns, percent.
const TONER_LOW_PERCENT: u8 = 10;
/// Extra time of each reply of a slow printer.
const SLOW_REPLY: Duration = Duration::from_secs(3);
/// A job that still waits for its document is given up after this time.
const DOCUMENT_WITHIN: Duration = Duration::from_mins(1);
/// The resource of the printer.
const PATH: &str = "/ipp/print";

/// How the printer is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PagePrinterConfig {
    /// Time of one page, milliseconds.
    pub page_ms: u64,
    /// Sheets in a full tray.
    pub tray_sheets: u32,
    /// Sheets left at which the printer warns.
    pub low_sheets: u32,
}

impl Default for PagePrinterConfig {
    fn default() -> Self {
        Self {
            page_ms: 1500,
            tray_sheets: 250,
            low_sheets: 20,
        }
    }
}

/// A way in which the printer misbehaves; lasts until mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageFault {
    /// While it is stopped, printer and job states say processing (the reasons stay true).
    StoppedButProcessing,
    /// `marker-levels` and its kin come as single values beside sets.
    SingleMarkerLevels,
    /// Replies end in the middle of their attributes.
    TruncatedReply,
    /// Replies announce names and values longer than the reply.
    AbsurdLengths,
    /// Replies are rubbish.
    Garbage,
    /// Connections are refused.
    Refused,
    /// Each reply takes three seconds more.
    Slow,
    /// HTTP 503.
    Unavailable,
}

/// What became of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrintOutcome {
    /// Waits for its turn.
    Waiting,
    /// Pages are coming.
    Printing,
    /// The printer stopped in it.
    Stopped,
    /// Every page came out.
    Complete,
    /// Canceled.
    Canceled,
    /// Given up by the printer.
    Aborted,
}

/// One document the printer received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagePrint {
    /// The document as received; a `.json` of the same name holds this description.
    pub file: PathBuf,
    /// Its `job-id`.
    pub job: i32,
    /// Pages asked for, copies included.
    pub pages: u32,
    /// Pages that came out well.
    pub pages_printed: u32,
    /// Sheets that jammed.
    pub sheets_spoiled: u32,
    /// What became of it.
    pub outcome: PrintOutcome,
    /// A person has taken the sheets.
    pub taken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Jam {
    None,
    /// Waits for that page.
    At(u32),
    Jammed,
}

/// `job-state` of RFC 8011.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum JobState {
    Pending = 3,
    Processing = 5,
    Stopped = 6,
    Canceled = 7,
    Aborted = 8,
    Completed = 9,
}

#[derive(Debug)]
struct Job {
    id: i32,
    state: JobState,
    reason: &'static str,
    pages: u32,
    printed: u32,
    spoiled: u32,
    is_two_sided: bool,
    copies: u32,
    ranges: Vec<(i32, i32)>,
    /// None while the job still waits for it.
    file: Option<PathBuf>,
    is_closed: bool,
    opened: Instant,
    taken: bool,
}

impl Job {
    fn is_ended(&self) -> bool {
        self.state >= JobState::Canceled
    }

    fn print(&self) -> Option<PagePrint> {
        Some(PagePrint {
            file: self.file.clone()?,
            job: self.id,
            pages: self.pages,
            pages_printed: self.printed,
            sheets_spoiled: self.spoiled,
            outcome: match self.state {
                JobState::Pending => PrintOutcome::Waiting,
                JobState::Processing => PrintOutcome::Printing,
                JobState::Stopped => PrintOutcome::Stopped,
                JobState::Canceled => PrintOutcome::Canceled,
                JobState::Aborted => PrintOutcome::Aborted,
                JobState::Completed => PrintOutcome::Complete,
            },
            taken: self.taken,
        })
    }
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one switch or sensor of the machine, all independent"
)]
struct State {
    config: PagePrinterConfig,
    dir: PathBuf,
    address: SocketAddr,
    started: Instant,
    jobs: Vec<Job>,
    documents: u32,
    page_due: Option<Instant>,
    sheets: u32,
    is_cover_open: bool,
    jam: Jam,
    toner_percent: u8,
    is_paused: bool,
    fault: Option<PageFault>,
    identified: u32,
    wants_cable: bool,
    has_cable: bool,
}

impl State {
    /// Reasons that stop the printer.
    fn stops(&self) -> Vec<&'static str> {
        let causes = [
            (self.is_paused, "paused"),
            (self.sheets == 0, "media-empty-error"),
            (self.jam == Jam::Jammed, "media-jam-error"),
            (self.is_cover_open, "cover-open-error"),
            (self.toner_percent == 0, "toner-empty-error"),
        ];
        causes
            .iter()
            .filter(|(is_so, _)| *is_so)
            .map(|(_, reason)| *reason)
            .collect()
    }

    /// `printer-state-reasons`.
    fn reasons(&self) -> Vec<&'static str> {
        let mut reasons = self.stops();
        if (1..=self.config.low_sheets).contains(&self.sheets) {
            reasons.push("media-low-warning");
        }
        if (1..=TONER_LOW_PERCENT).contains(&self.toner_percent) {
            reasons.push("toner-low-warning");
        }
        if reasons.is_empty() {
            reasons.push("none");
        }
        reasons
    }

    /// The first job that is ready and not ended.
    fn current(&self) -> Option<usize> {
        self.jobs
            .iter()
            .position(|job| !job.is_ended() && job.is_closed)
    }

    /// `printer-state`: 3 idle, 4 processing, 5 stopped.
    fn printer_state(&self) -> i32 {
        let is_lying = self.fault == Some(PageFault::StoppedButProcessing);
        match (self.stops().is_empty(), self.current()) {
            (false, Some(_)) if is_lying => 4,
            (false, _) => 5,
            (true, Some(_)) => 4,
            (true, None) => 3,
        }
    }

    /// Moves the machine on to `at`; files whose description changed are returned.
    fn advance(&mut self, at: Instant) -> Vec<PagePrint> {
        let mut changed = Vec::new();
        for job in &mut self.jobs {
            if !job.is_closed && !job.is_ended() && at >= job.opened + DOCUMENT_WITHIN {
                job.state = JobState::Aborted;
                job.reason = "aborted-by-system";
                changed.extend(job.print());
            }
        }
        let Some(index) = self.current() else {
            self.page_due = None;
            return changed;
        };
        let is_stopped = !self.stops().is_empty();
        let page = Duration::from_millis(self.config.page_ms);
        let job = &mut self.jobs[index];
        let (state, reason) = if is_stopped {
            (JobState::Stopped, "printer-stopped")
        } else {
            (JobState::Processing, "job-printing")
        };
        if job.state != state {
            job.state = state;
            job.reason = reason;
            changed.extend(job.print());
        }
        if is_stopped {
            self.page_due = None;
            return changed;
        }
        let due = *self.page_due.get_or_insert(at + page);
        if at < due {
            return changed;
        }
        self.page_due = Some(due + page);
        self.finish_page(index);
        changed.extend(self.jobs[index].print());
        changed
    }

    /// One page leaves the fuser, or jams before it.
    fn finish_page(&mut self, index: usize) {
        let job = &mut self.jobs[index];
        let number = job.printed + 1;
        // The back of a sheet needs no new one.
        if !(job.is_two_sided && number.is_multiple_of(2)) {
            self.sheets = self.sheets.saturating_sub(1);
        }
        if matches!(self.jam, Jam::At(page) if page == number) {
            self.jam = Jam::Jammed;
            job.spoiled += 1;
            self.page_due = None;
            return;
        }
        job.printed = number;
        if job.printed >= job.pages {
            job.state = JobState::Completed;
            job.reason = "job-completed-successfully";
            self.page_due = None;
        }
    }
}

/// The running printer; dropping it closes its port.
#[derive(Debug)]
pub struct PagePrinter {
    running: Running<State>,
    address: SocketAddr,
}

impl PagePrinter {
    /// Starts a printer whose documents become `<dir>/document-001.pdf` and so on.
    ///
    /// # Errors
    /// No port is left.
    pub fn start(dir: &Path, config: PagePrinterConfig) -> io::Result<Self> {
        let mut port = TcpPort::open()?;
        let address = port.address();
        let mut running = Running::new(Steered::new(State {
            sheets: config.tray_sheets,
            config,
            dir: dir.to_owned(),
            address,
            started: now(),
            jobs: Vec::new(),
            documents: 0,
            page_due: None,
            is_cover_open: false,
            jam: Jam::None,
            toner_percent: 80,
            is_paused: false,
            fault: None,
            identified: 0,
            wants_cable: true,
            has_cable: true,
        }));
        running.spawn("emulated-page-printer", |steered| print(steered))?;
        running.spawn("emulated-page-printer-http", move |steered| {
            listen(&mut port, steered);
        })?;
        Ok(Self { running, address })
    }

    /// Where a driver reaches the printer: `ipp://127.0.0.1:N/ipp/print`.
    pub fn port(&self) -> String {
        format!("ipp://{}{PATH}", self.address)
    }

    /// Leaves so many sheets in the tray.
    pub fn set_sheets(&self, sheets: u32) {
        self.change(|state| state.sheets = sheets);
    }

    /// Fills the tray.
    pub fn refill(&self) {
        self.change(|state| state.sheets = state.config.tray_sheets);
    }

    /// Opens or closes the cover.
    pub fn set_cover(&self, is_open: bool) {
        self.change(|state| state.is_cover_open = is_open);
    }

    /// The paper jams at that page (from 1) of the current or next job.
    pub fn jam_at(&self, page: u32) {
        self.change(|state| state.jam = Jam::At(page.max(1)));
    }

    /// Clears a jam; the jammed page is printed again.
    pub fn clear_jam(&self) {
        self.change(|state| state.jam = Jam::None);
    }

    /// Sets the toner level, 0 to 100.
    pub fn set_toner(&self, percent: u8) {
        self.change(|state| state.toner_percent = percent.min(100));
    }

    /// Pauses the printer or lets it go on.
    pub fn set_paused(&self, is_paused: bool) {
        self.change(|state| state.is_paused = is_paused);
    }

    /// A person takes every sheet that lies in the output.
    pub fn take_paper(&self) {
        self.change(|state| {
            for job in state.jobs.iter_mut().filter(|job| job.printed > 0) {
                job.taken = true;
            }
        });
    }

    /// Makes the printer misbehave; false when it did not follow in time.
    pub fn fault(&self, fault: PageFault) -> bool {
        self.change(|state| state.fault = Some(fault));
        self.set_cable(fault != PageFault::Refused)
    }

    /// From now on answers rubbish.
    pub fn garble(&self) {
        self.change(|state| state.fault = Some(PageFault::Garbage));
    }

    /// From now on answers late.
    pub fn slow(&self) {
        self.change(|state| state.fault = Some(PageFault::Slow));
    }

    /// Ends all misbehavior; false when it did not follow in time.
    pub fn mend(&self) -> bool {
        let was_refusing = self
            .running
            .steered
            .change(|state| state.fault.take() == Some(PageFault::Refused));
        !was_refusing || self.set_cable(true)
    }

    /// Cuts the cable; connections are refused when this returns true.
    pub fn cut_cable(&self) -> bool {
        self.set_cable(false)
    }

    /// Plugs the cable; the port answers when this returns true.
    pub fn plug_cable(&self) -> bool {
        self.set_cable(true)
    }

    fn set_cable(&self, is_plugged: bool) -> bool {
        self.change(|state| state.wants_cable = is_plugged);
        self.running
            .steered
            .follow(|state| state.has_cable == is_plugged)
    }

    fn change(&self, act: impl FnOnce(&mut State)) {
        self.running.steered.change(act);
    }

    /// Documents received so far, oldest first.
    pub fn prints(&self) -> Vec<PagePrint> {
        self.running
            .steered
            .look(|state| state.jobs.iter().filter_map(Job::print).collect())
    }

    /// The state, for people.
    pub fn report(&self) -> Value {
        let documents = self.prints();
        self.running.steered.look(|state| {
            json!({
                "port": self.port(),
                "printer-state": state.printer_state(),
                "reasons": state.reasons(),
                "sheets": state.sheets,
                "toner-percent": state.toner_percent,
                "cover-open": state.is_cover_open,
                "jammed": state.jam == Jam::Jammed,
                "paused": state.is_paused,
                "fault": state.fault,
                "identified": state.identified,
                "cable": state.has_cable,
                "documents": documents,
            })
        })
    }
}

/// The machine: pages and states over time.
fn print(steered: &Steered<State>) {
    while steered.pause(TICK) {
        let changed = steered.change(|state| state.advance(now()));
        for print in changed {
            describe(&print);
        }
    }
}

/// Writes the description beside the document.
fn describe(print: &PagePrint) {
    let json = serde_json::to_vec_pretty(print).unwrap_or_default();
    if let Err(error) = std::fs::write(print.file.with_extension("json"), json) {
        tracing::warn!(%error, "cannot describe a print");
    }
}

/// The network side: accepts while the cable is plugged.
fn listen(port: &mut TcpPort, steered: &Arc<Steered<State>>) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    while !steered.is_stopping() {
        connections.retain(|connection| !connection.is_finished());
        let wanted = steered.look(|state| state.wants_cable);
        if wanted != port.is_plugged() {
            if !wanted {
                port.cut();
            } else if let Err(error) = port.plug() {
                tracing::warn!(%error, "cannot listen again");
            }
        }
        // Cut means cut: the connections that were open are gone, too.
        let is_followed = port.is_plugged() == wanted && (wanted || connections.is_empty());
        if is_followed {
            steered.change(|state| state.has_cable = wanted);
        }
        let accepted = if connections.len() < CONNECTIONS_MAX {
            port.accept().unwrap_or(None)
        } else {
            None
        };
        match accepted {
            Some(stream) => {
                let steered = Arc::clone(steered);
                connections.push(std::thread::spawn(move || serve(stream, &steered)));
            }
            None => {
                steered.pause(TICK);
            }
        }
    }
    for connection in connections {
        if connection.join().is_err() {
            tracing::error!("an emulated printer's connection ended with a panic");
        }
    }
}

fn serve(stream: TcpStream, steered: &Steered<State>) {
    let keep = || !steered.is_stopping() && steered.look(|state| state.wants_cable);
    let mut connection = Connection::new(stream, &keep);
    // A client may keep its connection; a thousand requests is a day of one.
    for _ in 0..1000 {
        let request = match connection.request() {
            Ok(request) => request,
            Err(NoRequest::Closed) => return,
            Err(NoRequest::Bad(status, reason)) => {
                if let Err(error) = connection.reply(status, reason, "text/plain", b"") {
                    tracing::debug!(%error, "a bad request left without its answer");
                }
                return;
            }
        };
        let fault = steered.look(|state| state.fault);
        if fault == Some(PageFault::Slow) && !steered.pause(SLOW_REPLY) {
            return;
        }
        let kind = request.header("content-type").unwrap_or_default();
        let (status, reason, body) = if fault == Some(PageFault::Unavailable) {
            (503, "Service Unavailable", Vec::new())
        } else if request.path != PATH {
            (404, "Not Found", Vec::new())
        } else if request.method != "POST" {
            (405, "Method Not Allowed", Vec::new())
        } else if kind.split(';').next() != Some("application/ipp") {
            (415, "Unsupported Media Type", Vec::new())
        } else {
            let reply = operations::answer(&request.body, steered);
            (200, "OK", spoil(reply, fault))
        };
        if connection
            .reply(status, reason, "application/ipp", &body)
            .is_err()
        {
            return;
        }
    }
}

fn spoil(mut reply: Vec<u8>, fault: Option<PageFault>) -> Vec<u8> {
    match fault {
        Some(PageFault::TruncatedReply) => reply.truncate(reply.len() * 2 / 3),
        Some(PageFault::AbsurdLengths) => {
            // In place of the end: a keyword whose name is said to have 32767 bytes.
            reply.pop();
            reply.extend([0x44, 0x7F, 0xFF, b'x', 0xFF, 0xFF, 0x03]);
        }
        Some(PageFault::Garbage) => reply = Rubbish::new(0x1BB).bytes(reply.len()),
        Some(
            PageFault::StoppedButProcessing
            | PageFault::SingleMarkerLevels
            | PageFault::Refused
            | PageFault::Slow
            | PageFault::Unavailable,
        )
        | None => {}
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(pages: u32) -> State {
        State {
            config: PagePrinterConfig::default(),
            dir: PathBuf::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 631)),
            started: now(),
            jobs: vec![Job {
                id: 1,
                state: JobState::Pending,
                reason: "none",
                pages,
                printed: 0,
                spoiled: 0,
                is_two_sided: false,
                copies: 1,
                ranges: Vec::new(),
                file: Some(PathBuf::from("document-001.pdf")),
                is_closed: true,
                opened: now(),
                taken: false,
            }],
            documents: 1,
            page_due: None,
            sheets: 10,
            is_cover_open: false,
            jam: Jam::None,
            toner_percent: 50,
            is_paused: false,
            fault: None,
            identified: 0,
            wants_cable: true,
            has_cable: true,
        }
    }

    fn run(state: &mut State, from: Instant, seconds: u64) {
        for tenth in 0..=seconds * 10 {
            state.advance(from + Duration::from_millis(tenth * 100));
        }
    }

    #[test]
    fn pages_take_their_time_and_then_the_job_is_complete() {
        let mut state = machine(3);
        let start = now();
        run(&mut state, start, 4);
        assert_eq!(
            (state.jobs[0].printed, state.jobs[0].state),
            (2, JobState::Processing)
        );
        run(&mut state, start + Duration::from_secs(4), 1);
        assert_eq!(
            (state.jobs[0].printed, state.jobs[0].state),
            (3, JobState::Completed)
        );
        assert_eq!((state.sheets, state.printer_state()), (7, 3));
    }

    #[test]
    fn a_jam_spoils_a_sheet_and_its_page_is_printed_again() {
        let mut state = machine(3);
        state.jam = Jam::At(2);
        let start = now();
        run(&mut state, start, 9);
        assert_eq!(
            (state.jobs[0].printed, state.jobs[0].state),
            (1, JobState::Stopped)
        );
        assert_eq!(state.printer_state(), 5);
        assert_eq!(state.reasons()[0], "media-jam-error");
        state.jam = Jam::None;
        run(&mut state, start + Duration::from_secs(9), 9);
        assert_eq!((state.jobs[0].printed, state.jobs[0].spoiled), (3, 1));
        assert_eq!(state.sheets, 6);
    }

    #[test]
    fn a_lying_printer_says_processing_but_keeps_its_reason() {
        let mut state = machine(3);
        state.sheets = 1;
        state.config.low_sheets = 0;
        state.fault = Some(PageFault::StoppedButProcessing);
        run(&mut state, now(), 9);
        assert_eq!(state.jobs[0].printed, 1);
        assert_eq!(
            (state.printer_state(), state.reasons()),
            (4, vec!["media-empty-error"])
        );
    }

    #[test]
    fn two_pages_share_a_two_sided_sheet() {
        let mut state = machine(3);
        state.jobs[0].is_two_sided = true;
        run(&mut state, now(), 9);
        assert_eq!((state.jobs[0].printed, state.sheets), (3, 8));
    }
}
