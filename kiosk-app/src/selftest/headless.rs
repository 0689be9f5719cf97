//! The guided tests without the glass: `kiosk selftest`. A running terminal is asked through its
//! socket and runs them between two visits; where none runs, the devices are opened just for this.
//! Both run the same [`Exam`].

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use kiosk_device::{DeviceClass, DeviceState, Status};
use offline_cache::Cache;
use serde::Serialize;

use super::machine::{Machine, Surroundings};
use super::{Exam, Outcome, Run, Setting, Verdict, Wanted};
use crate::calibration::Calibrations;
use crate::clock::{self, Moment};
use crate::config::Config;
use crate::desk::Desk;
use crate::devices::Roster;
use crate::event::{Effect, Ending, Event, PrintNews};
use crate::hub::Hub;
use crate::keys::Keys;
use crate::pictures::Pictures;
use crate::platform::Identity;
use crate::platform::measure::Gauge;
use crate::runtime::Input;
use crate::workbench::tickets;

/// Reports that may wait; devices and pictures together send a few dozen a second.
const INBOX_LIMIT: usize = 256;
/// The loop turns at least this often, for limits.
const TICK: Duration = Duration::from_millis(100);
/// How long devices are waited for when they are opened just to be tested.
const SETTLE_LIMIT: Duration = Duration::from_secs(12);
/// Longest exam, whatever its tests do: more than the limits of all plans on a terminal with two
/// devices of each class.
pub const EXAM_LIMIT: Duration = Duration::from_hours(1);

/// Who tested, where no member of staff did.
const BY: &str = "terminal";

/// What an exam in the running terminal tells whoever asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A test has ended.
    Ended(Outcome),
    /// All have, and so many were wanted.
    Over,
    /// It was not begun, or was broken off, for this reason.
    Refused(String),
}

/// An exam that somebody wants of the running terminal.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which tests.
    pub wanted: Wanted,
    /// Where the news goes; when nobody takes it, the exam ends.
    pub news: SyncSender<News>,
}

/// Everything that an exam found, as `kiosk selftest --json` writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Number of the terminal.
    pub terminal: String,
    /// When it was over, UTC.
    pub at: String,
    /// True when the terminal itself ran the tests.
    pub is_terminal_running: bool,
    /// How many passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// How many could not be run, or were broken off.
    pub skipped: usize,
    /// Each test.
    pub tests: Vec<Outcome>,
}

impl Summary {
    /// The sum of these tests.
    pub fn new(terminal: &str, is_terminal_running: bool, tests: Vec<Outcome>) -> Self {
        let count = |wanted: &[Verdict]| {
            let is_wanted = |test: &&Outcome| wanted.contains(&test.verdict);
            tests.iter().filter(is_wanted).count()
        };
        Self {
            terminal: terminal.to_owned(),
            at: clock::now().at.to_string(),
            is_terminal_running,
            passed: count(&[Verdict::Passed]),
            failed: count(&[Verdict::Failed]),
            skipped: count(&[Verdict::Skipped, Verdict::Canceled]),
            tests,
        }
    }

    /// Exit status of the command: 0 when nothing failed, 1 when something did, 2 when nothing could
    /// be run.
    pub fn exit_status(&self) -> u8 {
        let is_broken_off = self
            .tests
            .iter()
            .any(|test| test.verdict == Verdict::Canceled);
        if self.failed > 0 {
            1
        } else if is_broken_off || self.tests.is_empty() {
            2
        } else {
            0
        }
    }
}

/// Whoever follows an exam: is told of each test that has ended, and answers where a person is asked.
pub trait Witness {
    /// A test has ended.
    fn ended(&mut self, outcome: &Outcome);
    /// A test has begun or asks something; an answer of its page, where there is one.
    fn asked(&mut self, run: &Run) -> Option<String>;
}

/// Why an exam beside the terminal could not be run.
#[derive(Debug, thiserror::Error)]
pub enum HeadlessError {
    /// Nothing fits what is wanted, in words.
    #[error("{0}")]
    Wanted(String),
    /// A device is configured wrongly.
    #[error(transparent)]
    Device(#[from] kiosk_device::ConfigError),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// What tests see of this machine: the line and the store as far as they can be had.
pub(crate) fn surroundings(
    config: &Config,
    keys: Option<&Keys>,
    cache: Option<&Cache>,
) -> Surroundings {
    let desk = keys.zip(cache.and_then(|cache| cache.another().ok()));
    let desk = desk.map(|(keys, cache)| Desk::new(config, cache, Arc::clone(keys.device()), None));
    let identity = keys.map(|keys| Identity {
        terminal: config.terminal.id.clone(),
        key: Arc::clone(keys.device()),
    });
    let gauge = identity.and_then(|identity| {
        Gauge::new(&config.platform, identity)
            .inspect_err(|error| tracing::warn!(code = error.code(), %error, "no gauge"))
            .ok()
    });
    Surroundings {
        gauge,
        desk,
        ..Surroundings::new(config)
    }
}

/// Opens the devices, runs the tests that are wanted, and lets the devices go.
///
/// # Errors
/// [`HeadlessError`] says why nothing was run.
pub fn examine(
    config: &Config,
    wanted: &Wanted,
    has_person: bool,
    witness: &mut dyn Witness,
) -> Result<Vec<Outcome>, HeadlessError> {
    let (out, inbox) = sync_channel(INBOX_LIMIT);
    let mut hub = Hub::start(&config.devices, &out)?;
    let keys = Keys::open(&config.paths.state, &config.key_source())
        .inspect_err(|error| tracing::warn!(%error, "no keys: the line is not measured"))
        .ok();
    let store = config.paths.state.join("store");
    let cache = Cache::open_with(&store, &config.store_options(), clock::now().at)
        .inspect_err(|error| tracing::warn!(code = error.code(), %error, "nothing is kept"))
        .ok();
    let cache = cache.map(|(cache, _)| cache);
    if let Some(Ok(calibrations)) = cache.as_ref().map(Calibrations::load) {
        hub.calibrate(&calibrations);
    }
    let looks = surroundings(config, keys.as_ref(), cache.as_ref());
    let machine = Machine::start(looks, out.clone())?;
    hub.play_by(machine.clone());
    let pictures = Pictures::start(out)?;
    let mut setting = Setting {
        has_person,
        ..Setting::default()
    };
    for device in &config.devices {
        let unknown = (device.class, Status::default());
        setting.devices.insert(device.id.clone(), unknown);
    }
    let devices: Vec<_> = config
        .devices
        .iter()
        .map(|device| (device.id.clone(), device.class))
        .collect();
    let tests = wanted.choose(&devices).map_err(HeadlessError::Wanted)?;
    settle(&mut hub, &inbox, &mut setting);
    let mut bench = Bench {
        hub,
        pictures,
        inbox,
        exam: Exam::new(tests, setting),
        cache,
    };
    let outcomes = bench.run(witness);
    drop(bench);
    // Whoever comes next opens the store.
    machine.end();
    Ok(outcomes)
}

/// Waits until every device has said how it is, by what it reports: what was reported before would be
/// taken for news later.
fn settle(hub: &mut Hub, inbox: &Receiver<Input>, setting: &mut Setting) {
    let until = clock::now().uptime + SETTLE_LIMIT;
    let is_starting = |(_, status): &(DeviceClass, Status)| status.state == DeviceState::Starting;
    while setting.devices.values().any(is_starting) {
        let left = until.saturating_sub(clock::now().uptime);
        if left.is_zero() {
            return;
        }
        match inbox.recv_timeout(left.min(TICK)) {
            Ok(Input::Device(device, report)) => {
                if let Some(event) = hub.translate(device, report) {
                    setting.note(&event);
                }
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Devices that were opened just to be tested.
struct Bench {
    hub: Hub,
    pictures: Pictures,
    inbox: Receiver<Input>,
    exam: Exam,
    /// Where outcomes are kept; `None` where the store cannot be opened.
    cache: Option<Cache>,
}

impl Bench {
    fn run(&mut self, witness: &mut dyn Witness) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let until = clock::now().uptime + EXAM_LIMIT;
        self.advance(Event::Tick, &mut outcomes, witness);
        while !self.exam.is_over() {
            if clock::now().uptime >= until {
                let (effects, ended) = self.exam.cancel();
                outcomes.extend(ended);
                self.perform(effects);
                break;
            }
            if let Some(answer) = self.exam.run().and_then(|run| witness.asked(run)) {
                let touch = match answer.as_str() {
                    "next" => kiosk_ui::Touch::Next,
                    _ => kiosk_ui::Touch::Choose(answer),
                };
                self.advance(Event::Touch(touch), &mut outcomes, witness);
            }
            let input = self.inbox.recv_timeout(TICK);
            if let Some(event) = input.ok().and_then(|input| self.take(input)) {
                self.advance(event, &mut outcomes, witness);
            }
            self.advance(Event::Tick, &mut outcomes, witness);
        }
        outcomes
    }

    fn take(&mut self, input: Input) -> Option<Event> {
        if let Input::Device(device, report) = input {
            return self.hub.translate(device, report);
        }
        if let Input::TestSheet(ticket, typeset) = input {
            let code = self.hub.print_test(ticket, typeset).err()?;
            return Some(Event::Print(ticket, PrintNews::Failed(code)));
        }
        match input {
            Input::Event(event) => Some(event),
            Input::Device(..)
            | Input::TestSheet(..)
            | Input::SlipReady(..)
            | Input::PrintReport(..)
            | Input::PagesMoved(..)
            | Input::StaffSlip(..)
            | Input::Examine(_)
            | Input::Visit(_)
            | Input::Stop => None,
        }
    }

    fn advance(&mut self, event: Event, outcomes: &mut Vec<Outcome>, witness: &mut dyn Witness) {
        let mut events = VecDeque::from([event]);
        // An effect answers with one event at most, and no event asks for itself again.
        while let Some(event) = events.pop_front() {
            let (effects, ended) = self.exam.apply(&event, clock::now());
            events.extend(self.perform(effects));
            for outcome in ended {
                witness.ended(&outcome);
                if let Some(cache) = &mut self.cache {
                    record(cache, &self.hub.roster(), &outcome, clock::now());
                }
                outcomes.push(outcome);
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Vec<Event> {
        let one = |effect| perform(&mut self.hub, &self.pictures, effect);
        effects.into_iter().filter_map(one).collect()
    }
}

/// Keeps an outcome that nobody on the glass sees, with the tickets that it opens or mends.
pub(crate) fn record(cache: &mut Cache, roster: &Roster, outcome: &Outcome, now: Moment) {
    let vitals = roster.vitals();
    let device = vitals.iter().find(|device| device.id == outcome.device);
    let class = device.map_or("", |device| device.class.as_str());
    let faults = device.map_or(&[][..], |device| device.faults.as_slice());
    if let Err(error) = tickets::record(cache, outcome, class, faults, BY, now) {
        tracing::error!(code = error.code(), %error, "the outcome of a test is not kept");
    }
}

/// Does what a test asks for; an answer where there is one at once. What only visits ask for is let
/// pass: no test does.
pub(crate) fn perform(hub: &mut Hub, pictures: &Pictures, effect: Effect) -> Option<Event> {
    if let Effect::Probe(ticket, probe) = effect {
        let is_print = matches!(
            probe,
            super::Probe::TestSlip { .. } | super::Probe::TestPage { .. }
        );
        return match hub.probe(ticket, &probe) {
            Ok(finding) => finding.map(|finding| Event::Probed(ticket, finding)),
            Err(code) if is_print => Some(Event::Print(ticket, PrintNews::Failed(code))),
            Err(code) => {
                let finding = super::Finding {
                    figures: BTreeMap::new(),
                    problem: Some(code),
                    is_partial: false,
                };
                Some(Event::Probed(ticket, finding))
            }
        };
    }
    if let Effect::Scan(ticket) = effect {
        let code = hub.scan(ticket).err()?;
        return Some(Event::CodeEnded(ticket, Ending::Failed(code)));
    }
    if let Effect::Stream(ticket, lens) = effect {
        let code = hub.stream(ticket, lens).err()?;
        return Some(Event::CameraEnded(ticket, Ending::Failed(code)));
    }
    if let Effect::Cancel(ticket) = effect {
        hub.cancel(ticket);
    } else if let Effect::Judge(ticket, preview) = effect {
        pictures.judge(ticket, preview);
    } else if let Effect::Decode(ticket, jpeg) = effect {
        pictures.decode(ticket, jpeg);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome {
            test: "machine.disk".to_owned(),
            device: String::new(),
            verdict,
            figures: BTreeMap::new(),
            problem: String::new(),
            took_ms: 1,
        }
    }

    #[test]
    fn the_exit_status_says_whether_something_failed() {
        let check = |verdicts: &[Verdict], expect: u8| {
            let tests = verdicts.iter().map(|verdict| outcome(*verdict)).collect();
            let summary = Summary::new("T001", false, tests);
            assert_eq!(summary.exit_status(), expect, "{verdicts:?}");
            let sum = summary.passed + summary.failed + summary.skipped;
            assert_eq!(sum, verdicts.len());
        };
        check(&[Verdict::Passed, Verdict::Skipped], 0);
        check(&[Verdict::Skipped], 0);
        check(&[Verdict::Passed, Verdict::Failed, Verdict::Canceled], 1);
        check(&[Verdict::Passed, Verdict::Canceled], 2);
        check(&[], 2);
    }

    #[test]
    fn the_keys_of_the_summary_are_those_of_the_guide() {
        let summary = Summary::new("T001", true, vec![outcome(Verdict::Skipped)]);
        let json = serde_json::to_value(&summary).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        let expect = [
            "at",
            "failed",
            "is_terminal_running",
            "passed",
            "skipped",
            "terminal",
            "tests",
        ];
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(sorted, expect);
        let test = &json["tests"][0];
        for key in ["test", "device", "verdict", "figures", "problem", "took_ms"] {
            assert!(test.get(key).is_some(), "{key}");
        }
        assert_eq!(test["verdict"], "skipped");
    }
}
