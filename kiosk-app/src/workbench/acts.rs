//! What staff do: each act is allowed or refused here, done, written into the audit log by name, and
//! answered in one sentence.

use std::path::Path;
use std::sync::Arc;

use kiosk_device::Sensitive;
use kiosk_device::tap::Privacy;
use kiosk_documents::DocumentError;
use offline_cache::{CacheError, DailyCheck, DailyKind, Part, TicketAct};
use serde_json::json;
use uuid::Uuid;

use super::bench::Bench;
use super::pages::{consumable_of, minute, remedy, sentence};
use super::readiness::{self, ReportError, Subject};
use super::slips::StaffSlip;
use super::sticks::{self, StickTrouble};
use super::tickets;
use super::{Act, Found, privacy};
use crate::calibration::{Calibrated, Calibrations};
use crate::carry::{self, stick};
use crate::clock::Moment;
use crate::desk::{Answer, Ask, Counter};
use crate::event::{Event, Ticket};
use crate::logging::{self, LEVELS};
use crate::queue;
use crate::runtime::Input;
use crate::selftest::Outcome;
use crate::words::{Lang, fill, text};

/// Recordings that are kept in the store where no stick was there; the oldest goes.
const RECORDINGS_MAX: usize = 8;
/// How files of receipts are called, as `kiosk-admin` writes them beside the bundles.
const RECEIPTS: (&[u8], &[u8]) = (b"receipts-", b".txt");
/// A quarter more than the content: it is in base64.
const RECEIPTS_BYTES_MAX: usize = carry::RECEIPTS_BYTES_MAX / 3 * 4;
/// Longest text of an act in the audit log.
const SUBJECT_BYTES_MAX: usize = 128;

/// How an act went.
enum Done {
    /// In words.
    Words(String),
    /// With more than words.
    Found(Found),
}

/// Why it was not done.
enum Trouble {
    /// By problem code.
    Code(&'static str),
    /// In words that came with it.
    Words(String),
}

impl From<CacheError> for Trouble {
    fn from(error: CacheError) -> Self {
        tracing::warn!(code = error.code(), %error, "an act of staff");
        Self::Code(error.code())
    }
}

impl From<StickTrouble> for Trouble {
    fn from(trouble: StickTrouble) -> Self {
        Self::Code(trouble.code())
    }
}

impl From<ReportError> for Trouble {
    fn from(error: ReportError) -> Self {
        tracing::error!(code = error.code(), %error, "readiness report");
        Self::Code(error.code())
    }
}

impl From<DocumentError> for Trouble {
    fn from(error: DocumentError) -> Self {
        tracing::error!(code = error.code(), %error, "a slip of the staff");
        Self::Code(error.code())
    }
}

type Outcomes = Result<Done, Trouble>;

impl Bench {
    /// Does what is allowed.
    pub(super) fn act(&mut self, ticket: Ticket, act: Act, lang: Lang, now: Moment) -> Found {
        let name = act.name();
        let subject = subject(&act);
        let is_own_audit = has_own_audit(&act);
        let outcome = self.perform(ticket, act, lang, now);
        if !is_own_audit {
            let code = match &outcome {
                Ok(_) => "",
                Err(Trouble::Code(code)) => code,
                Err(Trouble::Words(_)) => "refused",
            };
            let detail = json!({ "act": name, "of": subject, "problem": code });
            self.audit("staff.act.done", &detail, now);
        }
        match outcome {
            Ok(Done::Found(found)) => found,
            Ok(Done::Words(words)) => said(words, true),
            Err(Trouble::Words(words)) => said(words, false),
            Err(Trouble::Code(code)) => said(
                format!("{} {}", sentence(code, lang), remedy(code, lang)),
                false,
            ),
        }
    }

    fn perform(&mut self, ticket: Ticket, act: Act, lang: Lang, now: Moment) -> Outcomes {
        match act {
            Act::Record(outcome) => self.record(&outcome, lang, now),
            Act::Acknowledge(id) => self.on_ticket(id, &TicketAct::Acknowledge, lang, now),
            Act::Close(id) => self.on_ticket(id, &TicketAct::Close, lang, now),
            Act::Replace { ticket: id, what } => {
                let part = Part {
                    what,
                    old_serial: String::new(),
                    new_serial: String::new(),
                };
                self.on_ticket(id, &TicketAct::Replace(part), lang, now)
            }
            Act::Replenish { device, what } => self.replenish(&device, &what, lang, now),
            Act::Daily { kind, answers } => self.check_day(kind, answers, lang, now),
            Act::Retry { device } => self.retry_device(&device, lang),
            Act::Climb { device, rung } => self.reset_device(&device, rung, lang),
            Act::Level {
                device,
                level,
                keep_h,
            } => self.set_level(&device, level, keep_h, lang, now),
            Act::Recording { device, is_on } => self.recording(&device, is_on, lang, now),
            Act::Calibrate { what, values } => self.calibrate(what, &values, lang, now),
            Act::RetryCase(id) => {
                let by = self.by();
                self.at_desk(&Ask::Retry { id, by }, "bench.done-retry-case", lang, now)
            }
            Act::CloseCase(id) => {
                let by = self.by();
                let reason = "given up at the terminal".to_owned();
                let ask = Ask::Close { id, by, reason };
                self.at_desk(&ask, "bench.done-close-case", lang, now)
            }
            Act::ExportQueue(stick) => self.export_queue(&stick, lang, now),
            Act::ImportReceipts(stick) => self.import_receipts(&stick, lang, now),
            Act::ExportLog { stick, errors_only } => {
                self.export_log(&stick, errors_only, lang, now)
            }
            Act::ExportEvidence(stick) => self.export_evidence(&stick, lang, now),
            Act::UpdateFromStick(stick) => self.update_from_stick(&stick, lang, now),
            Act::MakeReport => self.make_report(lang, now),
            Act::SaveReport(stick) => self.save_report(&stick, lang, now),
            Act::PrintReport => self.print_report(ticket, lang),
            Act::PrintCheck => {
                let slip = self.check_slip(lang)?;
                let slip = slip.ok_or(Trouble::Code("staff.no-check"))?;
                self.print_slip(ticket, &slip, lang)
            }
            Act::PrintDay => {
                let slip = self.day_slip(lang, now)?;
                self.print_slip(ticket, &slip, lang)
            }
        }
    }

    /// The updater takes it from here; it verifies whatever it finds.
    fn update_from_stick(&mut self, stick: &Path, lang: Lang, now: Moment) -> Outcomes {
        if self.update.is_busy(now) {
            return Err(Trouble::Code("workbench.update-runs"));
        }
        let by = self.by();
        let id = queue::mint(now);
        self.update.ask(id, &by, stick, now).map_err(|error| {
            tracing::error!(%error, "the wish for an update cannot be written");
            Trouble::Code("workbench.update-not-asked")
        })?;
        Ok(words(text(lang, "bench.done-update-stick")))
    }

    /// Who acts: the account that is inside, else the terminal itself.
    pub(super) fn by(&self) -> String {
        self.inside().map_or_else(
            || "terminal".to_owned(),
            |permission| permission.person.clone(),
        )
    }

    fn record(&mut self, outcome: &Outcome, lang: Lang, now: Moment) -> Outcomes {
        let by = self.by();
        let vitals = self.roster.vitals();
        let device = vitals.iter().find(|device| device.id == outcome.device);
        let (class, faults) = device.map_or_else(
            || (String::new(), Vec::new()),
            |device| (device.class.clone(), device.faults.clone()),
        );
        let recorded = tickets::record(&mut self.cache, outcome, &class, &faults, &by, now)?;
        let ticket = recorded.mended.first().or(recorded.opened.as_ref());
        let ticket = ticket.map(|ticket| ticket.id);
        let mut words = text(lang, "bench.done-record").to_owned();
        if let Some(ticket) = recorded.opened {
            words = fill(lang, "bench.done-opened", &[("number", &ticket.number)]);
        }
        if !recorded.mended.is_empty() {
            let numbers: Vec<&str> = recorded
                .mended
                .iter()
                .map(|ticket| ticket.number.as_str())
                .collect();
            words = fill(lang, "bench.done-mended", &[("number", &numbers.join(" "))]);
        }
        Ok(Done::Found(Found::Recorded { words, ticket }))
    }

    fn on_ticket(&mut self, id: Uuid, act: &TicketAct, lang: Lang, now: Moment) -> Outcomes {
        let by = self.by();
        let ticket = self.cache.ticket_act(id, act, &by, now.at)?;
        let key = if matches!(act, TicketAct::Close) {
            "bench.done-close"
        } else {
            "bench.done-ticket"
        };
        Ok(words(fill(lang, key, &[("number", &ticket.number)])))
    }

    fn replenish(&mut self, device: &str, what: &str, lang: Lang, now: Moment) -> Outcomes {
        let vitals = self.roster.vitals();
        let class = vitals
            .iter()
            .find(|known| known.id == device)
            .map(|known| known.class.as_str())
            .ok_or(Trouble::Code("device.not-there"))?;
        let by = self.by();
        // Something else was put in: that it was is kept, and nothing is counted by it.
        let mut filled = (what, 0);
        if let Some(consumable) = consumable_of(class).filter(|each| each.what == what) {
            // Paper of tests and of the staff is used up from the same roll, and counted from here too:
            // before the roll itself, so that a cut in between leaves the old filling and no wrong one.
            for made in consumable.beside {
                self.cache.replenish(device, made, 0, &by, now.at)?;
            }
            filled = (consumable.counted, consumable.amount);
        }
        let (counted, amount) = filled;
        self.cache.replenish(device, counted, amount, &by, now.at)?;
        Ok(words(text(lang, "bench.done-replenish")))
    }

    fn check_day(
        &mut self,
        kind: &'static str,
        answers: Vec<(String, bool)>,
        lang: Lang,
        now: Moment,
    ) -> Outcomes {
        let check = DailyCheck {
            id: queue::mint(now),
            by: self.by(),
            at: now.at,
            answers: answers.into_iter().collect(),
            note: String::new(),
            kind: if kind == "close" {
                DailyKind::Close
            } else {
                DailyKind::Open
            },
        };
        self.cache.record_daily(&check, now.at)?;
        Ok(words(text(lang, "bench.done-daily")))
    }

    fn reset_device(&mut self, device: &str, rung: &'static str, lang: Lang) -> Outcomes {
        self.roster.climb(device, rung).map_err(Trouble::Code)?;
        Ok(words(text(lang, "bench.done-reset")))
    }

    fn retry_device(&mut self, device: &str, lang: Lang) -> Outcomes {
        if !self.roster.wake(device) {
            return Err(Trouble::Code("device.not-there"));
        }
        Ok(words(text(lang, "bench.done-retry")))
    }

    fn set_level(
        &mut self,
        device: &str,
        level: Option<&'static str>,
        keep_h: u8,
        lang: Lang,
        now: Moment,
    ) -> Outcomes {
        let is_known = level.is_none_or(|level| LEVELS.contains(&level));
        if !is_known || !self.roster.contains(device) {
            return Err(Trouble::Code("device.not-there"));
        }
        let set = self.levels.set(&mut self.cache, device, level, keep_h, now);
        set.map_err(|error| Trouble::Code(error.code()))?;
        Ok(words(text(lang, "bench.done-level")))
    }

    /// A recording is made in the store and copied to a stick when it ends: a stick that is pulled in
    /// the middle costs nothing.
    fn recording(&mut self, device: &str, is_on: bool, lang: Lang, now: Moment) -> Outcomes {
        let failed = |words: String| {
            tracing::warn!(words, "recording");
            Trouble::Code("workbench.recording-failed")
        };
        let directory = self.config.paths.state.join("recordings");
        if is_on {
            make_private(&directory).map_err(|error| failed(error.to_string()))?;
            make_place(&directory).map_err(|error| failed(error.to_string()))?;
            let name = format!("{device}-{}.recording", compact(now));
            let path = directory.join(name);
            let begun = self.roster.record(device, &path, Privacy::Masked);
            begun.map_err(failed)?;
            self.recordings.insert(device.to_owned(), path);
            return Ok(words(text(lang, "bench.done-recording")));
        }
        self.roster.stop_recording(device).map_err(failed)?;
        let Some(path) = self.recordings.remove(device) else {
            return Ok(words(text(lang, "bench.done-recorded-here")));
        };
        let stick = self
            .sticks
            .find()
            .into_iter()
            .find(|stick| !stick.is_read_only);
        let Some(stick) = stick else {
            return Ok(words(text(lang, "bench.done-recorded-here")));
        };
        let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
        let name = format!("kiosk-{}-{}", self.config.terminal.id, file_name(&path));
        sticks::write(&stick.path, &name, &bytes)?;
        if let Err(error) = std::fs::remove_file(&path) {
            // It is masked and bounded; the next one has a name of its own.
            tracing::warn!(%error, "a recording that was copied stays");
        }
        Ok(words(fill(lang, "bench.done-file", &[("name", &name)])))
    }

    fn at_desk(&mut self, ask: &Ask, key: &str, lang: Lang, now: Moment) -> Outcomes {
        match self.ask_desk(ask, now)? {
            Answer::Refused { words, code } => Err(Trouble::Words(format!("{words} [{code}]"))),
            Answer::Rows { .. }
            | Answer::Load { .. }
            | Answer::Part { .. }
            | Answer::Imported { .. }
            | Answer::Verdict { .. }
            | Answer::Key { .. }
            | Answer::Held { .. }
            | Answer::Usage { .. }
            | Answer::Done { .. } => Ok(words(text(lang, key))),
        }
    }

    /// A question to the desk of this process.
    pub(super) fn ask_desk(&mut self, ask: &Ask, now: Moment) -> Result<Answer, CacheError> {
        let mut desk = self.desk.another()?;
        Ok(desk.answer(
            ask.clone(),
            &mut std::io::empty(),
            &mut std::io::sink(),
            now,
        ))
    }

    fn export_queue(&mut self, path: &Path, lang: Lang, now: Moment) -> Outcomes {
        self.sticks.at(path)?;
        let mut counter = Counter::Stopped(Box::new(self.desk.another()?));
        let by = self.by();
        let exported = stick::export(&mut counter, path, &by, stick::mint(now), now);
        let exported = exported.map_err(|error| {
            tracing::warn!(code = error.code(), %error, "carry-out");
            Trouble::Code(StickTrouble::from(&error).code())
        })?;
        if exported.files.is_empty() {
            return Ok(words(text(lang, "bench.nothing-waits")));
        }
        let values = [
            ("count", exported.transactions.to_string()),
            ("files", exported.files.len().to_string()),
        ];
        let values = values
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Ok(words(fill(lang, "bench.done-export-queue", &values)))
    }

    fn import_receipts(&mut self, path: &Path, lang: Lang, now: Moment) -> Outcomes {
        self.sticks.at(path)?;
        let (beginning, ending) = RECEIPTS;
        let is_wanted = |name: &[u8]| name.starts_with(beginning) && name.ends_with(ending);
        let files = sticks::find_files(path, is_wanted)?;
        if files.is_empty() {
            return Err(Trouble::Code("stick.no-receipts"));
        }
        let (mut settled_now, mut settled_earlier, mut refused) = (0, 0, None);
        for file in files {
            let Some(bytes) = sticks::read_regular(&file, RECEIPTS_BYTES_MAX) else {
                continue;
            };
            let mut desk = self.desk.another()?;
            let mut body = bytes.as_slice();
            let answer = desk.answer(Ask::Receipts {}, &mut body, &mut std::io::sink(), now);
            if let Answer::Imported {
                settled,
                settled_before,
                ..
            } = answer
            {
                settled_now += settled;
                settled_earlier += settled_before;
            } else if let Answer::Refused { words, code } = answer {
                refused = Some(format!("{words} [{code}]"));
            }
        }
        // A stick that goes round the county holds receipts of others too.
        if let (Some(words), 0, 0) = (refused, settled_now, settled_earlier) {
            return Err(Trouble::Words(words));
        }
        let values = [
            ("settled", settled_now.to_string()),
            ("before", settled_earlier.to_string()),
        ];
        let values = values
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        Ok(words(fill(lang, "bench.done-receipts", &values)))
    }

    fn export_log(&mut self, path: &Path, errors_only: bool, lang: Lang, now: Moment) -> Outcomes {
        self.sticks.at(path)?;
        let kind = if errors_only { "errors" } else { "log" };
        let name = format!(
            "kiosk-{}-{}-{kind}.txt",
            self.config.terminal.id,
            compact(now)
        );
        let file = log_file(&self.config.terminal.id, errors_only, lang, now);
        sticks::write(path, &name, file.as_bytes())?;
        Ok(words(fill(lang, "bench.done-file", &[("name", &name)])))
    }

    fn export_evidence(&mut self, path: &Path, lang: Lang, now: Moment) -> Outcomes {
        self.sticks.at(path)?;
        let evidence = self.evidence(now)?;
        let name = format!(
            "kiosk-{}-{}-evidence",
            self.config.terminal.id,
            compact(now)
        );
        let readable = evidence.text(lang).into_bytes();
        let files = [
            ("evidence.json", evidence.json()),
            ("evidence.txt", readable),
        ];
        sticks::write_directory(path, &name, &files)?;
        Ok(words(fill(lang, "bench.done-file", &[("name", &name)])))
    }

    fn make_report(&mut self, lang: Lang, now: Moment) -> Outcomes {
        let devices = self.report_of_devices();
        let at = self.time(now).at;
        let by = self.by();
        self.prepare_typesetter()
            .map_err(|error| Trouble::from(ReportError::from(error)))?;
        let typesetter = self
            .typesetter
            .as_ref()
            .ok_or(Trouble::Code("document.no-cjk-font"))?;
        let subject = Subject {
            config: &self.config,
            cache: &self.cache,
            key: &self.key,
            devices: &devices,
            at,
            by: &by,
        };
        let report = readiness::report(&subject, typesetter, lang)?;
        // What the typesetter remembers is of the staff, and of no use to the next report.
        typesetter.forget();
        let found = Found::Report {
            pages: report.pages.clone(),
            certificate: report.certificate.clone(),
        };
        self.report = Some(report);
        Ok(Done::Found(found))
    }

    fn save_report(&mut self, path: &Path, lang: Lang, now: Moment) -> Outcomes {
        self.sticks.at(path)?;
        let report = self.report.as_ref().ok_or(Trouble::Code("report.none"))?;
        let name = format!(
            "kiosk-{}-{}-readiness",
            self.config.terminal.id,
            compact(now)
        );
        let files = [
            ("readiness.pdf", report.pdf.clone()),
            ("readiness.json", report.json.clone()),
            ("certificate.txt", report.certificate.clone().into_bytes()),
        ];
        sticks::write_directory(path, &name, &files)?;
        Ok(words(fill(lang, "bench.done-file", &[("name", &name)])))
    }

    /// Keeps a calibration and has it put in force; what cannot be in force is not kept.
    fn calibrate(&mut self, what: &str, values: &str, lang: Lang, now: Moment) -> Outcomes {
        let one = Calibrated::parse(what, values).map_err(|error| Trouble::Code(error.code()))?;
        let by = self.by();
        self.cache.set_calibration(what, values, &by, now.at)?;
        let calibrations = Box::new(Calibrations::load(&self.cache)?);
        if self
            .out
            .send(Input::Event(Event::Calibrated(calibrations)))
            .is_err()
        {
            tracing::debug!("the loop has ended");
        }
        let key = if matches!(one, Calibrated::Scanner(_)) {
            "bench.done-measure"
        } else {
            "bench.done-calibrate"
        };
        Ok(words(text(lang, key)))
    }

    /// The loop owns the printers: it is handed the document, and tells the page under the same ticket
    /// how the print goes.
    fn print_report(&mut self, ticket: Ticket, lang: Lang) -> Outcomes {
        let report = self.report.as_ref().ok_or(Trouble::Code("report.none"))?;
        let pages = u32::try_from(report.pages.len()).unwrap_or(u32::MAX);
        let pdf = Arc::new(Sensitive::new(report.pdf.clone()));
        let print = Input::PrintReport(ticket, pdf, pages);
        if self.out.send(print).is_err() {
            tracing::debug!("the loop has ended");
        }
        Ok(words(text(lang, "bench.done-print")))
    }

    /// As [`Bench::print_report`]; the loop enters the slip into the print ledger first.
    fn print_slip(&mut self, ticket: Ticket, slip: &StaffSlip, lang: Lang) -> Outcomes {
        self.prepare_typesetter()?;
        let typesetter = self
            .typesetter
            .as_ref()
            .ok_or(Trouble::Code("document.no-cjk-font"))?;
        let bits = slip.typeset(typesetter);
        typesetter.forget();
        if self.out.send(Input::StaffSlip(ticket, bits?)).is_err() {
            tracing::debug!("the loop has ended");
        }
        Ok(words(text(lang, "bench.done-slip")))
    }
}

fn words(text: impl Into<String>) -> Done {
    Done::Words(text.into())
}

fn said(words: String, is_done: bool) -> Found {
    Found::Said { words, is_done }
}

/// What an act is of, for the audit log.
fn subject(act: &Act) -> String {
    let mut subject = match act {
        Act::Record(outcome) => format!("{} {}", outcome.test, outcome.device),
        Act::Acknowledge(id)
        | Act::Close(id)
        | Act::RetryCase(id)
        | Act::CloseCase(id)
        | Act::Replace { ticket: id, .. } => id.to_string(),
        Act::Replenish { device, .. } | Act::Retry { device } | Act::Recording { device, .. } => {
            device.clone()
        }
        Act::Climb { device, rung } => format!("{device} {rung}"),
        Act::Level {
            device,
            level,
            keep_h,
        } => format!("{device} {} {keep_h} h", level.unwrap_or("-")),
        Act::Daily { kind, .. } => (*kind).to_owned(),
        Act::Calibrate { what, .. } => (*what).to_owned(),
        Act::ExportQueue(path)
        | Act::ImportReceipts(path)
        | Act::ExportEvidence(path)
        | Act::SaveReport(path)
        | Act::UpdateFromStick(path)
        | Act::ExportLog { stick: path, .. } => path.display().to_string(),
        Act::MakeReport | Act::PrintReport | Act::PrintCheck | Act::PrintDay => String::new(),
    };
    subject.truncate(subject.floor_char_boundary(SUBJECT_BYTES_MAX));
    subject
}

/// The store writes these into the audit log itself, in the same commit.
fn has_own_audit(act: &Act) -> bool {
    match act {
        Act::Record(_)
        | Act::Acknowledge(_)
        | Act::Replace { .. }
        | Act::Close(_)
        | Act::Replenish { .. }
        | Act::Daily { .. }
        | Act::Calibrate { .. }
        | Act::RetryCase(_)
        | Act::CloseCase(_) => true,
        Act::Retry { .. }
        | Act::Climb { .. }
        | Act::Level { .. }
        | Act::Recording { .. }
        | Act::ExportQueue(_)
        | Act::ImportReceipts(_)
        | Act::ExportLog { .. }
        | Act::ExportEvidence(_)
        | Act::UpdateFromStick(_)
        | Act::MakeReport
        | Act::SaveReport(_)
        | Act::PrintReport
        | Act::PrintCheck
        | Act::PrintDay => false,
    }
}

/// The last lines of the log, or its warnings and errors only, without anything that could be a number
/// of a person.
pub(super) fn log_text(errors_only: bool) -> String {
    let lines = logging::current().last_lines();
    let text = String::from_utf8_lossy(&lines);
    let text = select(&text, errors_only);
    let (text, found) = privacy::mask(&text);
    if found > 0 {
        // A number in the log is a bug somewhere else; that it was there is told, it is not.
        tracing::error!(
            found,
            "numbers were taken out of the log before it was shown"
        );
    }
    text
}

/// The log as a file: what it holds and what it does not, so that nobody takes a selection for the
/// whole; then the lines.
fn log_file(terminal: &str, errors_only: bool, lang: Lang, now: Moment) -> String {
    let key = if errors_only {
        "bench.log-holds-errors"
    } else {
        "bench.log-holds-all"
    };
    let at = minute(now.at);
    let head = fill(lang, key, &[("terminal", terminal), ("at", &at)]);
    let lines = log_text(errors_only);
    if lines.is_empty() {
        let empty = text(lang, "bench.log-empty");
        return format!("# {head}\n# {empty}\n");
    }
    format!("# {head}\n{lines}")
}

/// Lines of the log; with `errors_only` those of warnings and errors.
fn select(text: &str, errors_only: bool) -> String {
    let is_wanted = |line: &&str| {
        !errors_only || matches!(logging::level_of_line(line), Some("WARN" | "ERROR"))
    };
    let lines: Vec<&str> = text.lines().filter(is_wanted).collect();
    if lines.is_empty() {
        return String::new();
    }
    lines.join("\n") + "\n"
}

/// Local time in the name of a file.
fn compact(now: Moment) -> String {
    now.local().strftime("%Y%m%d-%H%M%S").to_string()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// Removes the oldest recordings until there is place for one more.
fn make_place(directory: &Path) -> std::io::Result<()> {
    let mut kept: Vec<(std::time::SystemTime, std::path::PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(directory)?.take(RECORDINGS_MAX * 4) {
        let entry = entry?;
        kept.push((entry.metadata()?.modified()?, entry.path()));
    }
    kept.sort();
    let excess = (kept.len() + 1).saturating_sub(RECORDINGS_MAX);
    for (_, path) in kept.into_iter().take(excess) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_and_errors_are_taken_when_only_they_are_wanted() {
        let text = "1  INFO a\n2  WARN b\n3 ERROR c\n4 DEBUG d\n";
        assert_eq!(select(text, true), "2  WARN b\n3 ERROR c\n");
        assert_eq!(select(text, false), text);
        assert_eq!(select("1  INFO a", true), "");
    }

    #[test]
    fn the_oldest_recordings_make_place_for_a_new_one() {
        let directory = tempfile::tempdir().unwrap();
        for index in 0..RECORDINGS_MAX + 2 {
            let path = directory.path().join(format!("{index:02}"));
            std::fs::write(&path, b"x").unwrap();
            let time =
                std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(index as u64);
            std::fs::File::open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        make_place(directory.path()).unwrap();
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, RECORDINGS_MAX - 1);
        assert!(!directory.path().join("00").exists());
    }
}
