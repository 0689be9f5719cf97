//! Is this terminal ready for a day: the outcomes of the guided tests of the last day, versions and
//! digests, calibrations, counters, open faults; as a document for people, as canonical JSON, and as a
//! certificate of a few hundred bytes that a telephone can verify with no network.
//!
//! The certificate binds the digest of exactly the JSON that is saved beside the document. Nothing of
//! a citizen is in either.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use kiosk_device::DeviceClass;
use kiosk_documents::{DocumentError, Template, Typesetter, qr_svg};
use kiosk_sealing::certificate::{
    CertificateError, FAULTS_MAX, LIFE_S_MAX, Readiness, SITE_BYTES_MAX,
};
use kiosk_sealing::{DeviceKey, hex, sha256};
use kiosk_ui::Picture;
use offline_cache::{Cache, CacheError, TestRecord, Verdict};
use serde::Serialize;
use serde_json::{Value, json};

use super::pages::{calibration_key, class_word, made_word, minute, plan_title, state_key};
use crate::calibration::Calibrated;
use crate::config::Config;
use crate::devices::{Listed, Report};
use crate::problem;
use crate::selftest;
use crate::session::staff::ids::Calibration;
use crate::words::{Lang, fill, text};

/// A certificate speaks for a day, and outcomes count for a day.
const VALID_S: i64 = LIFE_S_MAX;
/// A record may lie so far ahead of the clock, in seconds: it was set back a little.
const AHEAD_S: i64 = 5 * 60;
/// Width of a page on the screen.
const PAGE_WIDTH_PX: u32 = 840;
/// Most pages that are shown.
const PAGES_MAX: usize = 12;
/// Largest file that is digested, in bytes. Chosen: a program with all its symbols.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Most files of item packages that are digested.
const FILES_MAX: usize = 10_000;
/// The verdict of a test for which the machine has no part.
const NOT_APPLICABLE: &str = "not-applicable";
/// Version of the JSON.
const FORMAT: u32 = 1;
const TEMPLATE: &str = include_str!("../../documents/templates/readiness.typ");

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// The certificate could not be signed.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The document could not be typeset.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A file whose digest belongs to the report cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ReportError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Certificate(_) => "report.not-signed",
            Self::Document(error) => error.code(),
            Self::File { .. } => "report.file-unreadable",
        }
    }
}

/// What a report is made of.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The store.
    pub cache: &'a Cache,
    /// Signs the certificate.
    pub key: &'a DeviceKey,
    /// The devices as they are now.
    pub devices: &'a Report,
    /// What time it is, as far as it can be known.
    pub at: Timestamp,
    /// Who asks for it.
    pub by: &'a str,
}

/// A report.
#[derive(Clone)]
pub struct ReadinessReport {
    /// The document, A4.
    pub pdf: Vec<u8>,
    /// Its pages as pictures.
    pub pages: Vec<Picture>,
    /// The canonical JSON whose digest the certificate binds.
    pub json: Vec<u8>,
    /// The certificate, for a QR code.
    pub certificate: String,
    /// What it says.
    pub readiness: Readiness,
}

impl std::fmt::Debug for ReadinessReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadinessReport")
            .field("pages", &self.pages.len())
            .field("is_ready", &self.readiness.is_ready)
            .finish_non_exhaustive()
    }
}

/// Everything that the report says, in the order in which it is written.
#[derive(Serialize)]
struct Outcomes<'a> {
    format: u32,
    terminal: &'a str,
    site: &'a str,
    at: String,
    by: &'a str,
    program: &'static str,
    program_digest: String,
    configuration_digest: String,
    items_digest: String,
    tests: Vec<TestLine>,
    devices: Vec<DeviceLine<'a>>,
    calibrations: BTreeMap<String, CalibrationLine>,
    open_faults: &'a [String],
    audit: AuditLine,
}

/// One test that the terminal should have passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestLine {
    /// Which test.
    pub test: String,
    /// Of which device; empty for the machine.
    pub device: String,
    /// `passed`, `failed`, `skipped`, `canceled`, `not-run`, or `not-applicable` where the machine has
    /// nothing that could be tested.
    pub verdict: &'static str,
    /// Problem code; may be empty.
    pub problem: String,
    /// What was measured.
    pub figures: BTreeMap<String, String>,
    /// Who tested; may be empty.
    pub by: String,
    /// When; may be empty.
    pub at: String,
}

impl TestLine {
    /// True where there is something to test.
    pub(super) fn is_applicable(&self) -> bool {
        self.verdict != NOT_APPLICABLE
    }

    /// True where somebody still has to test.
    pub(super) fn is_left(&self) -> bool {
        self.verdict != "passed" && self.is_applicable()
    }
}

#[derive(Serialize)]
struct DeviceLine<'a> {
    id: &'a str,
    class: &'a str,
    driver: &'a str,
    model: &'a str,
    serial: &'a str,
    firmware: &'a str,
    state: &'a str,
    faults: Vec<&'a str>,
    made: &'a BTreeMap<String, u64>,
    failed: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct CalibrationLine {
    at: String,
    by: String,
    digest: String,
    /// What is kept, as it is kept.
    values: Value,
    /// This program understands it, and has put it in force; a measurement changes nothing.
    in_force: bool,
    #[serde(skip)]
    one: Option<Calibrated>,
}

#[derive(Serialize)]
struct AuditLine {
    sequence: u64,
    head: String,
}

/// Makes the report.
///
/// # Errors
/// [`ReportError`]; nothing was signed then.
///
/// # Panics
/// Never: plain values become JSON.
pub fn report(
    subject: &Subject<'_>,
    typesetter: &Typesetter,
    lang: Lang,
) -> Result<ReadinessReport, ReportError> {
    let tests = expected(subject.devices, &subject.cache.latest_tests()?, subject.at);
    let open_faults = open_faults(subject.devices);
    let (sequence, head) = subject.cache.audit_head()?.unwrap_or((0, [0; 32]));
    let program_digest = program_digest()?;
    let configuration_digest = sha256(subject.config.source.text().as_bytes());
    let items_digest = directory_digest(&subject.config.paths.items)?;
    let calibrations = subject.cache.calibrations()?.into_iter().map(|each| {
        let one = Calibrated::parse(&each.what, &each.json).ok();
        let line = CalibrationLine {
            at: each.at.to_string(),
            by: each.by,
            digest: hex(&sha256(each.json.as_bytes())),
            values: serde_json::from_str(&each.json).unwrap_or_default(),
            in_force: one.is_some_and(|one| !matches!(one, Calibrated::Scanner(_))),
            one,
        };
        (each.what, line)
    });
    let outcomes = Outcomes {
        format: FORMAT,
        terminal: &subject.config.terminal.id,
        site: &subject.config.terminal.site,
        at: subject.at.to_string(),
        by: subject.by,
        program: env!("CARGO_PKG_VERSION"),
        program_digest: hex(&program_digest),
        configuration_digest: hex(&configuration_digest),
        items_digest: hex(&items_digest),
        devices: subject.devices.devices.iter().map(device_line).collect(),
        calibrations: calibrations.collect(),
        open_faults: &open_faults,
        audit: AuditLine {
            sequence,
            head: hex(&head),
        },
        tests,
    };
    let json = serde_json::to_vec(&outcomes).expect("plain values become JSON");
    let [passed, failed, not_run] = count(&outcomes.tests);
    let issued_at_s = subject.at.as_second();
    let readiness = Readiness {
        terminal: subject.config.terminal.id.clone(),
        site: short(&subject.config.terminal.site),
        issued_at_s,
        valid_until_s: issued_at_s + VALID_S,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        program_digest,
        configuration_digest,
        items_digest,
        report_digest: sha256(&json),
        passed,
        failed,
        not_run,
        open_faults: open_faults.iter().take(FAULTS_MAX).cloned().collect(),
        audit_sequence: sequence,
        audit_head: head,
        is_ready: is_ready(&outcomes.tests, open_faults.is_empty()),
    };
    let certificate = readiness.sign(subject.key)?;
    let content = content(&outcomes, &readiness, lang);
    let (pdf, pages) = typeset(typesetter, &content, &certificate)?;
    Ok(ReadinessReport {
        pdf,
        pages,
        json,
        certificate,
        readiness,
    })
}

/// Ready is a terminal on which nothing failed, nothing is broken, and each device has passed a test.
/// Tests of the machine that were not run stand beside it.
pub(super) fn is_ready(tests: &[TestLine], is_without_faults: bool) -> bool {
    let has_passed = |device: &str| {
        tests
            .iter()
            .any(|test| test.device == device && test.verdict == "passed")
    };
    is_without_faults
        && tests.iter().any(|test| test.verdict == "passed")
        && tests.iter().all(|test| {
            test.verdict != "failed" && (test.device.is_empty() || has_passed(&test.device))
        })
}

/// The name of the place as far as a certificate holds it.
fn short(site: &str) -> String {
    site[..site.floor_char_boundary(SITE_BYTES_MAX)].to_owned()
}

fn device_line(device: &Listed) -> DeviceLine<'_> {
    DeviceLine {
        id: &device.id,
        class: &device.class,
        driver: &device.driver,
        model: &device.model,
        serial: &device.serial,
        firmware: &device.firmware,
        state: &device.state,
        faults: device
            .faults
            .iter()
            .map(|fault| fault.code.as_str())
            .collect(),
        made: &device.counters.made,
        failed: &device.counters.failed,
    }
}

/// The codes of everything that is wrong now, each once.
fn open_faults(devices: &Report) -> Vec<String> {
    let faults = devices.devices.iter().flat_map(|device| &device.faults);
    let mut codes: Vec<String> = faults
        .filter(|fault| fault.action != "reset")
        .map(|fault| fault.code.clone())
        .collect();
    codes.sort();
    codes.dedup();
    codes
}

/// Every test that belongs to this terminal with its outcome of the last day, devices in the order of
/// the configuration, then the machine.
pub fn expected(devices: &Report, records: &[TestRecord], at: Timestamp) -> Vec<TestLine> {
    let of_devices = devices.devices.iter().flat_map(|device| {
        let class = DeviceClass::from_name(&device.class);
        let plans = selftest::plans().iter();
        plans
            .filter(move |plan| class.is_some() && plan.class == class)
            .map(|plan| (plan.id, device.id.as_str()))
    });
    let of_machine = selftest::plans()
        .iter()
        .filter(|plan| plan.class.is_none())
        .map(|plan| (plan.id, ""));
    of_devices
        .chain(of_machine)
        .map(|(test, device)| {
            let record = records
                .iter()
                .find(|record| record.test == test && record.device == device);
            test_line(test, device, record.filter(|record| is_fresh(record, at)))
        })
        .collect()
}

/// Outcomes of more than a day ago, or of a clock that was wrong, say nothing about today.
pub(super) fn is_fresh(record: &TestRecord, at: Timestamp) -> bool {
    let age_s = at.as_second() - record.at.as_second();
    (-AHEAD_S..=VALID_S).contains(&age_s)
}

fn test_line(test: &str, device: &str, record: Option<&TestRecord>) -> TestLine {
    let Some(record) = record else {
        return TestLine {
            test: test.to_owned(),
            device: device.to_owned(),
            verdict: "not-run",
            problem: String::new(),
            figures: BTreeMap::new(),
            by: String::new(),
            at: String::new(),
        };
    };
    TestLine {
        test: test.to_owned(),
        device: device.to_owned(),
        verdict: if record.problem == selftest::NO_SENSOR {
            NOT_APPLICABLE
        } else {
            record.verdict.word()
        },
        problem: record.problem.clone(),
        figures: record.figures.clone(),
        by: record.by.clone(),
        at: record.at.to_string(),
    }
}

/// Passed, failed, not run.
fn count(tests: &[TestLine]) -> [u16; 3] {
    let number = |word: &[&str]| {
        let count = tests.iter().filter(|test| word.contains(&test.verdict));
        u16::try_from(count.count()).unwrap_or(u16::MAX)
    };
    [
        number(&[Verdict::Passed.word()]),
        number(&[Verdict::Failed.word()]),
        number(&["not-run", Verdict::Skipped.word(), Verdict::Canceled.word()]),
    ]
}

/// SHA-256 of the running program.
pub(super) fn program_digest() -> Result<[u8; 32], ReportError> {
    // The file behind the link is the one that runs, even after an update has replaced its name.
    let path = PathBuf::from("/proc/self/exe");
    file_digest(&path).map_err(|source| ReportError::File { path, source })
}

fn file_digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?.take(FILE_BYTES_MAX);
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut bytes = vec![0; 256 * 1024];
    loop {
        match file.read(&mut bytes)? {
            0 => break,
            count => context.update(&bytes[..count]),
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

/// SHA-256 of a directory: of the list of its files with their digests, sorted by name.
fn directory_digest(directory: &Path) -> Result<[u8; 32], ReportError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| ReportError::File { path, source }
    };
    let mut lines = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(current) = open.pop() {
        let entries = match std::fs::read_dir(&current) {
            // A terminal without packages is an empty one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed(&current))?,
        };
        for entry in entries {
            let entry = entry.map_err(failed(&current))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(failed(&path))?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let digest = file_digest(&path).map_err(failed(&path))?;
                let name = path.strip_prefix(directory).unwrap_or(&path);
                lines.insert(name.display().to_string(), hex(&digest));
            }
            if lines.len() + open.len() > FILES_MAX {
                let source = io::Error::from(io::ErrorKind::FileTooLarge);
                return Err(failed(&current)(source));
            }
        }
    }
    let list: Vec<String> = lines
        .iter()
        .map(|(name, digest)| format!("{digest}  {name}\n"))
        .collect();
    Ok(sha256(list.concat().as_bytes()))
}

fn typeset(
    typesetter: &Typesetter,
    content: &Value,
    certificate: &str,
) -> Result<(Vec<u8>, Vec<Picture>), ReportError> {
    let document = typesetter.compile(&Template {
        source: TEMPLATE,
        data: content,
        files: &[("certificate.svg", qr_svg(certificate)?)],
    })?;
    let pages = (0..document.page_count().min(PAGES_MAX))
        .map(|index| {
            let page = document.page_rgb(index, PAGE_WIDTH_PX)?;
            Ok(Picture {
                width: page.width,
                height: page.height,
                rgb: Arc::new(page.rgb),
            })
        })
        .collect::<Result<_, DocumentError>>()?;
    Ok((document.pdf()?, pages))
}

/// What the document shows.
fn content(outcomes: &Outcomes<'_>, readiness: &Readiness, lang: Lang) -> Value {
    let word = |key| text(lang, key);
    let people = |at_s: i64| Timestamp::from_second(at_s).map(minute).unwrap_or_default();
    let counts = fill(
        lang,
        "bench.counts",
        &[
            ("passed", &readiness.passed.to_string()),
            ("failed", &readiness.failed.to_string()),
            ("not-run", &readiness.not_run.to_string()),
        ],
    );
    let tests: Vec<Value> = outcomes
        .tests
        .iter()
        .map(|test| test_row(test, lang))
        .collect();
    let devices: Vec<Value> = outcomes
        .devices
        .iter()
        .map(|device| device_row(device, lang))
        .collect();
    let faults: Vec<Value> = outcomes
        .open_faults
        .iter()
        .map(|code| json!([code, problem::get(code).title(lang)]))
        .collect();
    let calibrations: Vec<Value> = outcomes
        .calibrations
        .iter()
        .map(|(what, line)| calibration_row(what, line, lang))
        .collect();
    json!({
        "title": word("bench.report-title"),
        "verdict": word(if readiness.is_ready { "bench.ready" } else { "bench.not-ready" }),
        "is_ready": readiness.is_ready,
        "counts": counts,
        "head": [
            [word("bench.terminal"), outcomes.terminal],
            [word("bench.site"), outcomes.site],
            [word("bench.made-at"), people(readiness.issued_at_s)],
            [word("bench.valid-until"), people(readiness.valid_until_s)],
            [word("bench.made-by"), outcomes.by],
        ],
        "scan": word("bench.scan-certificate"),
        "sections": [
            { "title": word("bench.tests"), "columns": 4, "rows": tests },
            { "title": word("bench.open-faults"), "columns": 2, "rows": faults },
            { "title": word("bench.devices"), "columns": 4, "rows": devices },
            { "title": word("bench.calibrations"), "columns": 4, "rows": calibrations },
            { "title": word("bench.digests"), "columns": 2, "rows": digest_rows(outcomes, readiness, lang) },
        ],
        "nothing": word("bench.nothing"),
    })
}

/// What it is of, whether it is in force, its values, when and by whom.
fn calibration_row(what: &str, line: &CalibrationLine, lang: Lang) -> Value {
    let state = match line.one {
        Some(Calibrated::Scanner(_)) => "bench.cal-measured",
        Some(_) => "bench.cal-in-force",
        None => "bench.cal-not-in-force",
    };
    let values = line.one.map(|one| one.words(lang)).unwrap_or_default();
    let known = Calibration::ALL
        .into_iter()
        .find(|each| each.word() == what);
    let label = known.map_or(what, |known| text(lang, calibration_key(known)));
    json!([
        label,
        text(lang, state),
        values,
        when_and_who(&line.at, &line.by),
    ])
}

fn digest_rows(outcomes: &Outcomes<'_>, readiness: &Readiness, lang: Lang) -> Value {
    let word = |key| text(lang, key);
    json!([
        [
            word("bench.program"),
            format!("{}  {}", outcomes.program, outcomes.program_digest)
        ],
        [word("bench.config-digest"), outcomes.configuration_digest],
        [word("bench.items-digest"), outcomes.items_digest],
        [word("bench.report-digest"), hex(&readiness.report_digest)],
        [
            word("bench.log-head"),
            format!("{}  {}", outcomes.audit.sequence, outcomes.audit.head)
        ],
    ])
}

fn test_row(test: &TestLine, lang: Lang) -> Value {
    let figures: Vec<String> = test
        .figures
        .iter()
        .map(|(name, value)| {
            let words = selftest::figure_value(lang, name, value);
            format!("{} {words}", selftest::figure_name(lang, name))
        })
        .collect();
    let mut detail = figures.join(", ");
    if !test.problem.is_empty() {
        detail = format!(
            "{} ({}) {detail}",
            problem::get(&test.problem).title(lang),
            test.problem
        );
    }
    json!([
        format!("{} {}", plan_title(&test.test, lang), test.device),
        text(lang, verdict_key(test.verdict)),
        detail.trim(),
        when_and_who(&test.at, &test.by),
    ])
}

/// A stored time as people read it, and a name; either may be empty.
fn when_and_who(at: &str, by: &str) -> String {
    let at = at.parse().map(minute).unwrap_or_default();
    format!("{at} {by}").trim().to_owned()
}

fn device_row(device: &DeviceLine<'_>, lang: Lang) -> Value {
    let made: Vec<String> = device
        .made
        .iter()
        .map(|(what, count)| format!("{} {count}", made_word(what, lang)))
        .collect();
    let identity = [device.model, device.serial, device.firmware];
    let identity: Vec<&str> = identity
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect();
    json!([
        format!("{} {}", class_word(device.class, lang), device.id),
        text(lang, state_key(device.state)),
        identity.join(" "),
        made.join(", "),
    ])
}

/// The text of a verdict.
pub(super) fn verdict_key(verdict: &str) -> &'static str {
    match verdict {
        "passed" => "bench.passed",
        "failed" => "bench.failed",
        "skipped" => "bench.skipped",
        "canceled" => "bench.canceled",
        NOT_APPLICABLE => "bench.not-applicable",
        _ => "bench.not-run",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(test: &str, device: &str, age_s: i64) -> TestRecord {
        TestRecord {
            id: uuid::Uuid::from_u128(1),
            test: test.to_owned(),
            device: device.to_owned(),
            verdict: Verdict::Passed,
            figures: BTreeMap::new(),
            problem: String::new(),
            by: "tech".to_owned(),
            at: Timestamp::from_second(1_795_311_660 - age_s).unwrap(),
            took_ms: 1,
            ticket: None,
        }
    }

    #[test]
    fn what_the_machine_has_not_is_no_test_that_is_left() {
        let mut none = record("machine.sensors", "", 60);
        none.verdict = Verdict::Skipped;
        none.problem = "test.skipped".to_owned();
        assert!(test_line("machine.sensors", "", Some(&none)).is_left());
        none.problem = "test.no-sensor".to_owned();
        let line = test_line("machine.sensors", "", Some(&none));
        assert!(!line.is_left() && !line.is_applicable());
        assert_eq!(count(std::slice::from_ref(&line)), [0, 0, 0]);
        let row = test_row(&line, Lang::ZhHans);
        assert_eq!(row[1], "不用测");
        assert!(row[2].as_str().unwrap().contains("没有温度传感器"));
    }

    #[test]
    fn ready_is_only_what_was_tried_on_each_device_and_failed_nowhere() {
        let line = |test: &str, device: &str, verdict| TestLine {
            test: test.to_owned(),
            device: device.to_owned(),
            verdict,
            problem: String::new(),
            figures: BTreeMap::new(),
            by: String::new(),
            at: String::new(),
        };
        let disk = line("machine.disk", "", "not-run");
        let card = line("id-card.reading", "card", "passed");
        let slips = line("slip-printer.pattern", "slips", "passed");
        let with = |verdict| line("slip-printer.pattern", "slips", verdict);
        assert!(is_ready(&[disk.clone(), card.clone(), slips.clone()], true));
        assert!(!is_ready(&[card.clone(), slips.clone()], false), "a fault");
        for verdict in ["failed", "skipped", "canceled", "not-run"] {
            assert!(!is_ready(&[card.clone(), with(verdict)], true), "{verdict}");
        }
        let failed = line("machine.clock", "", "failed");
        assert!(!is_ready(&[card, slips, failed], true));
        assert!(!is_ready(&[disk], true), "nothing was tried");
        assert!(!is_ready(&[], true));
    }

    #[test]
    fn outcomes_count_for_a_day_and_not_from_the_future() {
        let at = Timestamp::from_second(1_795_311_660).unwrap();
        for (age_s, expected) in [
            (0, true),
            (VALID_S, true),
            (VALID_S + 1, false),
            (-AHEAD_S, true),
            (-AHEAD_S - 1, false),
        ] {
            assert_eq!(
                is_fresh(&record("machine.disk", "", age_s), at),
                expected,
                "{age_s}"
            );
        }
    }

    #[test]
    fn every_test_of_this_terminal_is_on_the_list_and_the_old_ones_were_not_run() {
        let at = Timestamp::from_second(1_795_311_660).unwrap();
        let devices = Report {
            is_terminal_running: true,
            devices: Vec::new(),
            unknown: Vec::new(),
        };
        let records = [
            record("machine.disk", "", 10),
            record("machine.clock", "", VALID_S + 1),
            record("slip-printer.pattern", "gone", 10),
        ];
        let lines = expected(&devices, &records, at);
        let verdict = |test: &str| {
            let found = lines.iter().find(|line| line.test == test);
            found.map(|line| line.verdict)
        };
        assert_eq!(verdict("machine.disk"), Some("passed"));
        assert_eq!(verdict("machine.clock"), Some("not-run"));
        assert_eq!(verdict("slip-printer.pattern"), None);
        let [passed, failed, not_run] = count(&lines);
        assert_eq!((passed, failed), (1, 0));
        assert_eq!(usize::from(not_run), lines.len() - 1);
    }

    #[test]
    fn a_directory_has_another_digest_when_a_file_in_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let none = directory_digest(&directory.path().join("absent")).unwrap();
        assert_eq!(none, directory_digest(directory.path()).unwrap());
        let file = directory.path().join("item/item.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "version = 1").unwrap();
        let first = directory_digest(directory.path()).unwrap();
        assert_eq!(first, directory_digest(directory.path()).unwrap());
        std::fs::write(&file, "version = 2").unwrap();
        assert_ne!(first, directory_digest(directory.path()).unwrap());
    }
}
