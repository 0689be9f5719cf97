//! One guided test on its way: events in, effects out, no clock and no device.
//!
//! Kept true here: a test ends, whatever happens (each step and the whole have a limit); a device that
//! fails or vanishes in the middle ends it with the device's own code; whatever way it ends, every
//! command is canceled, every light is put out and the volume is as it was; an event that was not asked
//! for changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kiosk_device::{DeviceClass, DeviceState, Media, Sensitive, Status};
use kiosk_ui::{Pattern, Picture, Touch};

use super::step::{
    COLOR_TIME, COLORS, COLUMNS, LIFT_TIME, Lamp, ROWS, STROKES, Sheet, Sound, Step, is_movable,
};
use super::{Finding, Outcome, Plan, Probe, Setting, TestPage, Verdict};
use crate::clock::Moment;
use crate::event::{Effect, Ending, Event, Frame, Lens, PrintNews, Ticket};
use crate::words::{Lang, text};

/// The machine has nothing that could be measured: neither good nor bad, so nobody may read it as
/// either.
pub(crate) const NO_SENSOR: &str = "test.no-sensor";
/// How codes of tests begin; no case number does.
const CODE_START: &str = "KT-";
/// Letters and digits that nobody confuses; 32 of them.
const CODE_LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Characters of a code behind its start: fifty bits, so that an old slip never passes for a new one.
const CODE_LENGTH: usize = 10;
/// Pictures that are looked at, and the longest time for them.
const PICTURES: u32 = 16;
const PICTURES_TIME: Duration = Duration::from_secs(4);
/// Fewest pictures a second with which somebody can aim a document. Chosen.
const RATE_MIN: f64 = 1.5;
/// Mean brightness, 0 to 255, below which a lens is covered or the room black, and above which
/// nothing is seen. Chosen: a covered lens gives 0 to 6, a lamp in the lens 250 and more.
const BRIGHTNESS_MIN: u32 = 8;
const BRIGHTNESS_MAX: u32 = 250;
/// A battery test takes ten seconds; a UPS that never showed it is asked again no longer than this.
const BATTERY_TIME: Duration = Duration::from_secs(16);
/// The two volumes of the tone.
const VOLUMES: [u8; 2] = [30, 70];
/// Contacts and lights that are gone through at most; chosen, a board has eight of each.
const POINTS_MAX: usize = 8;
/// Figures that are kept at most, and the longest value: what the store takes.
const FIGURES_MAX: usize = 40;
const FIGURE_LENGTH_MAX: usize = 64;

/// Names of figures whose words stand in the texts.
const FIGURES: &[(&str, &str)] = &[
    ("state", "figure.state"),
    ("model", "figure.model"),
    ("serial", "figure.serial"),
    ("firmware", "figure.firmware"),
    ("paper", "figure.paper"),
    ("confirmation", "figure.confirmation"),
    ("status-source", "figure.status-source"),
    ("toner", "figure.toner"),
    ("read-time", "figure.read-time"),
    ("print-time", "figure.print-time"),
    ("impressions", "figure.impressions"),
    ("read-back", "figure.read-back"),
    ("left-out", "figure.left-out"),
    ("picture-size", "figure.picture-size"),
    ("picture-rate", "figure.picture-rate"),
    ("brightness", "figure.brightness"),
    ("sharpness", "figure.sharpness"),
    ("battery-voltage", "figure.battery-voltage"),
    ("load-percent", "figure.load-percent"),
    ("strokes", "figure.strokes"),
    ("points", "figure.points"),
    ("contacts", "figure.contacts"),
    ("lights", "figure.lights"),
    ("volume-percent", "figure.volume-percent"),
    ("fields", "figure.fields"),
    ("addresses", "figure.addresses"),
    ("resolve-time", "figure.resolve-time"),
    ("ipv4", "figure.ipv4"),
    ("ipv6", "figure.ipv6"),
    ("health-time", "figure.health-time"),
    ("time-difference", "figure.time-difference"),
    ("throughput", "figure.throughput"),
    ("disk-free", "figure.disk-free"),
    ("disk-speed", "figure.disk-speed"),
    ("disk-errors", "figure.disk-errors"),
    ("clock", "figure.clock"),
    ("clock-board", "figure.clock-board"),
    ("memory-free", "figure.memory-free"),
    ("memory-used", "figure.memory-used"),
    ("audit-entries", "figure.audit-entries"),
    ("audit-head", "figure.audit-head"),
    ("temperature", "figure.temperature"),
    ("input-voltage", "figure.input-voltage"),
    ("output-voltage", "figure.output-voltage"),
    ("temperature-celsius", "figure.temperature-celsius"),
    ("on-battery", "figure.on-battery"),
    ("test-running", "figure.test-running"),
    ("shutdown-active", "figure.shutdown-active"),
    ("toner-percent", "figure.toner-percent"),
    ("waste-toner-percent", "figure.waste-toner-percent"),
    ("service-requested", "figure.service-requested"),
    ("maintenance-overdue", "figure.maintenance-overdue"),
    ("muted", "figure.muted"),
    ("output", "figure.output"),
    ("portrait", "figure.portrait"),
    ("fingerprints", "figure.fingerprints"),
    ("card", "figure.card"),
    // Points of a board, as configurations usually call them.
    ("door", "figure.door"),
    ("cabinet-door", "figure.door"),
    ("tamper", "figure.tamper"),
    ("presence", "figure.presence"),
    ("card-light", "figure.card-light"),
    ("printer-light", "figure.printer-light"),
    ("scanner-light", "figure.scanner-light"),
];

/// Values of figures and readings whose words stand in the texts. What is kept and sent is the value;
/// the words are for people. Names and numbers are their own words.
const VALUES: &[(&str, &str)] = &[
    ("full", "value.full"),
    ("low", "value.low"),
    ("out", "value.out"),
    ("jammed", "value.jammed"),
    ("process-id", "value.process-id"),
    ("in-turn", "value.in-turn"),
    ("full-status", "value.full-status"),
    ("time", "value.time"),
    ("unknown", "value.not-known"),
    ("real-time", "value.real-time"),
    ("automatic", "value.automatic"),
    ("port", "value.port"),
    ("scanner", "value.scanner"),
    ("camera", "value.camera"),
    ("person", "value.person"),
    ("up", "value.up"),
    ("down", "value.down"),
    ("failed", "value.failed"),
    ("yes", "value.yes"),
    ("no", "value.no"),
    ("on", "value.on"),
    ("off", "value.off"),
    ("slow", "value.slow"),
    ("medium", "value.medium"),
    ("quick", "value.quick"),
    ("open", "value.open"),
    ("closed", "value.closed"),
    ("present", "value.present"),
    ("not-present", "value.not-present"),
    ("refused", "value.refused"),
    ("mute", "value.mute"),
    ("slip not taken", "value.slip-not-taken"),
];

/// Figures whose values are names of the maker's own: they are never translated.
const NAMES: [&str; 3] = ["model", "serial", "firmware"];

/// What a figure is called; its own name where there are no words for it (a reading of a device, an
/// upstream).
pub fn figure_name(lang: Lang, name: &str) -> String {
    FIGURES
        .iter()
        .find(|(known, _)| *known == name)
        .map_or_else(|| name.to_owned(), |(_, key)| text(lang, key).to_owned())
}

/// A figure's value in words; the value itself where there are none for it (a number, a name).
pub fn figure_value(lang: Lang, name: &str, value: &str) -> String {
    VALUES
        .iter()
        .find(|(known, _)| *known == value && !NAMES.contains(&name))
        .map_or_else(|| value.to_owned(), |(_, key)| text(lang, key).to_owned())
}

/// Where a step leaves the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It goes on.
    Stay,
    /// On to the next step.
    Done,
    /// The test has failed.
    Failed(&'static str),
    /// The test cannot be run.
    Skipped(&'static str),
}

/// What one event brings about.
struct Act<'a> {
    effects: Vec<Effect>,
    tickets: &'a mut dyn FnMut() -> Ticket,
    now: Moment,
}

impl Act<'_> {
    fn probe(&mut self, probe: Probe) -> Ticket {
        let ticket = (self.tickets)();
        self.effects.push(Effect::Probe(ticket, probe));
        ticket
    }

    fn scan(&mut self) -> Ticket {
        let ticket = (self.tickets)();
        self.effects.push(Effect::Scan(ticket));
        ticket
    }

    fn stream(&mut self, lens: Lens) -> Ticket {
        let ticket = (self.tickets)();
        self.effects.push(Effect::Stream(ticket, lens));
        ticket
    }
}

/// One guided test on its way.
#[derive(Debug)]
pub struct Run {
    plan: &'static Plan,
    device: String,
    status: Status,
    setting: Setting,
    code: String,
    lens: Lens,
    step: Step,
    rest: VecDeque<Step>,
    steps_done: u32,
    /// The command of this step.
    ticket: Option<Ticket>,
    /// The camera's pictures, over several steps.
    stream: Option<Ticket>,
    /// What must be put right when it ends.
    undo: Vec<(Ticket, Probe)>,
    picture: Option<Picture>,
    figures: BTreeMap<String, String>,
    began_at: Duration,
    step_at: Duration,
    seen_at: Duration,
    outcome: Option<Outcome>,
}

impl Run {
    /// Begins a test. `device` is empty for the glass and the machine. The test may be over at once:
    /// a device that is not ready fails with its own code.
    pub fn begin(
        plan: &'static Plan,
        device: &str,
        setting: &Setting,
        tickets: &mut dyn FnMut() -> Ticket,
        now: Moment,
    ) -> (Self, Vec<Effect>) {
        let known = setting
            .devices
            .get(device)
            .map(|(_, status)| status.clone());
        let mut run = Self {
            plan,
            device: device.to_owned(),
            status: known.clone().unwrap_or_default(),
            setting: setting.clone(),
            code: code(tickets(), now),
            lens: Lens::Face,
            step: Step::Over,
            rest: VecDeque::new(),
            steps_done: 0,
            ticket: None,
            stream: None,
            undo: Vec::new(),
            picture: None,
            figures: BTreeMap::new(),
            began_at: now.uptime,
            step_at: now.uptime,
            seen_at: now.uptime,
            outcome: None,
        };
        let mut act = Act {
            effects: Vec::new(),
            tickets,
            now,
        };
        run.rest = run.first_steps();
        let is_missing = plan.class.is_some() && known.is_none();
        let turn = if is_missing {
            Turn::Failed("device.not-there")
        } else if plan.class.is_none() {
            if run.lacks_person() {
                Turn::Skipped("test.needs-person")
            } else {
                run.next(&mut act)
            }
        } else if let Some(code) = unready(&run.status) {
            Turn::Failed(code)
        } else {
            run.next(&mut act)
        };
        run.settle(turn, &mut act);
        (run, act.effects)
    }

    /// Advances by one event. Events that this test did not ask for are ignored.
    pub fn apply(
        &mut self,
        event: &Event,
        tickets: &mut dyn FnMut() -> Ticket,
        now: Moment,
    ) -> Vec<Effect> {
        if self.outcome.is_some() {
            return Vec::new();
        }
        self.seen_at = now.uptime;
        let mut act = Act {
            effects: Vec::new(),
            tickets,
            now,
        };
        let mut step = std::mem::replace(&mut self.step, Step::Over);
        let turn = self.heard(&mut step, event, &mut act);
        self.step = step;
        self.settle(turn, &mut act);
        act.effects
    }

    /// What the glass shows.
    pub fn page(&self, lang: Lang, _now: Moment) -> TestPage {
        let left = u32::try_from(self.rest.len()).unwrap_or(u32::MAX);
        let of = self.steps_done.saturating_add(left).saturating_add(1);
        TestPage {
            title: text(lang, self.plan.id).to_owned(),
            step: (self.steps_done.saturating_add(1), of),
            words: self.step.words(lang),
            drawing: self.step.drawing().to_owned(),
            picture: self.picture.clone(),
            code: matches!(self.step, Step::Scan { .. }).then(|| self.code.clone()),
            pattern: self.pattern(),
            answers: self.step.answers(lang),
            figures: self
                .figures
                .iter()
                .map(|(name, value)| (figure_name(lang, name), figure_value(lang, name, value)))
                .collect(),
        }
    }

    /// The result, once it is over. The effects that came with it have released every device.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The plan.
    pub fn plan(&self) -> &'static Plan {
        self.plan
    }

    /// The device that is tested; empty for the glass and the machine.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Ends it, whatever it does.
    pub fn cancel(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.outcome.is_none() {
            self.end(Verdict::Canceled, "test.canceled", &mut effects);
        }
        effects
    }

    fn pattern(&self) -> Pattern {
        if let Step::Colors { index, .. } = &self.step {
            Pattern::Color(COLORS.get(*index).copied().unwrap_or_default())
        } else if let Step::Grid { touched } = &self.step {
            Pattern::Grid {
                columns: COLUMNS,
                touched: touched.clone(),
            }
        } else {
            Pattern::None
        }
    }

    fn lacks_person(&self) -> bool {
        self.plan.needs_person && !self.setting.has_person
    }

    /// The steps that are known before the device was looked at.
    fn first_steps(&self) -> VecDeque<Step> {
        let count = usize::try_from(COLUMNS * ROWS).unwrap_or_default();
        match (self.plan.class, self.plan.part()) {
            (Some(_), _) => VecDeque::from([Step::Look]),
            (None, Some(part @ super::Part::Network)) => {
                VecDeque::from([Step::Machine(part), Step::Upstreams])
            }
            (None, Some(part)) => VecDeque::from([Step::Machine(part)]),
            (None, None) if self.plan.id == "glass.touch" => VecDeque::from([Step::Grid {
                touched: vec![false; count],
            }]),
            (None, None) => VecDeque::from([
                Step::Colors {
                    index: 0,
                    since: self.began_at,
                },
                Step::AskScreen,
            ]),
        }
    }

    /// The steps of a device that has been looked at.
    fn further_steps(&self, class: DeviceClass, outputs: &str) -> Vec<Step> {
        let card = Step::Card {
            found_at: None,
            again: "",
        };
        let steps = match class {
            DeviceClass::IdCard | DeviceClass::SmartCard => {
                vec![card, Step::Lift { has_lain: false }]
            }
            DeviceClass::QrScanner => vec![Step::Scan { is_other: false }],
            DeviceClass::SlipPrinter => vec![Step::Print { sheet: Sheet::Slip }, self.judge()],
            DeviceClass::PagePrinter => vec![Step::Print { sheet: Sheet::Page }, self.judge()],
            DeviceClass::Camera => vec![
                Step::Pictures {
                    first_at: None,
                    count: 0,
                },
                match self.lens {
                    Lens::Face => Step::Face {
                        is_judging: false,
                        advice: "",
                    },
                    Lens::Document | Lens::WholeTray => Step::Document,
                },
            ],
            DeviceClass::Ups => vec![Step::Battery {
                has_run: false,
                is_followed: false,
            }],
            DeviceClass::IoBoard => self.points(outputs),
            DeviceClass::SignaturePad => vec![Step::Strokes { count: 0 }],
            DeviceClass::Speaker => VOLUMES.map(tone).to_vec(),
        };
        let has_person = self.setting.has_person;
        let is_kept = |step: &Step| has_person || !step.needs_person();
        steps.into_iter().filter(is_kept).collect()
    }

    /// Who judges a print: a machine that can read its code, else a person.
    fn judge(&self) -> Step {
        let is_ready = |wanted| {
            let mut devices = self.setting.devices.values();
            devices.any(|(class, status)| *class == wanted && status.is_ready())
        };
        if is_ready(DeviceClass::QrScanner) || is_ready(DeviceClass::Camera) {
            Step::ReadBack {
                scan: None,
                stream: None,
                is_other: false,
            }
        } else {
            Step::AskPrint
        }
    }

    /// Doors, presence sensors and lights of a board, one by one.
    fn points(&self, outputs: &str) -> Vec<Step> {
        let contacts = self
            .status
            .readings
            .iter()
            .filter(|(_, word)| is_movable(word))
            .take(POINTS_MAX)
            .map(|(name, word)| Step::Contact {
                name: name.clone(),
                first: word.clone(),
                has_changed: false,
            });
        let lights = outputs
            .split(',')
            .filter(|output| !output.is_empty())
            .take(POINTS_MAX)
            .map(|output| Step::Light {
                output: output.to_owned(),
                lamp: Lamp::Dark,
            });
        contacts.chain(lights).collect()
    }

    /// Takes the next step; [`Turn::Done`] when there is none.
    fn next(&mut self, act: &mut Act<'_>) -> Turn {
        let Some(mut step) = self.rest.pop_front() else {
            self.step = Step::Over;
            return Turn::Done;
        };
        self.step_at = act.now.uptime;
        let turn = self.enter(&mut step, act);
        self.step = step;
        turn
    }

    fn settle(&mut self, mut turn: Turn, act: &mut Act<'_>) {
        // Each turn leaves a step behind, and there are not many.
        loop {
            match turn {
                Turn::Stay => return,
                Turn::Failed(code) => return self.end(Verdict::Failed, code, &mut act.effects),
                Turn::Skipped(code) => return self.end(Verdict::Skipped, code, &mut act.effects),
                Turn::Done if self.rest.is_empty() => {
                    return self.end(Verdict::Passed, "", &mut act.effects);
                }
                Turn::Done => {
                    act.effects.extend(self.ticket.take().map(Effect::Cancel));
                    self.steps_done += 1;
                    turn = self.next(act);
                }
            }
        }
    }

    /// The end: everything is released and put right, and the outcome stands.
    fn end(&mut self, verdict: Verdict, problem: &str, effects: &mut Vec<Effect>) {
        effects.extend(self.ticket.take().map(Effect::Cancel));
        effects.extend(self.stream.take().map(Effect::Cancel));
        if let Step::ReadBack { scan, stream, .. } = &mut self.step {
            let read = [scan.take(), stream.take()];
            effects.extend(read.into_iter().flatten().map(Effect::Cancel));
        }
        let undo = self.undo.drain(..);
        effects.extend(undo.map(|(ticket, probe)| Effect::Probe(ticket, probe)));
        self.step = Step::Over;
        self.rest.clear();
        self.picture = None;
        let took = self.seen_at.saturating_sub(self.began_at);
        self.outcome = Some(Outcome {
            test: self.plan.id.to_owned(),
            device: self.device.clone(),
            verdict,
            figures: self.figures.clone(),
            problem: problem.to_owned(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// Keeps a figure, within bounds: readings come from devices.
    fn figure(&mut self, name: &str, value: impl Into<String>) {
        let mut value: String = value.into();
        if self.figures.len() >= FIGURES_MAX && !self.figures.contains_key(name) {
            return;
        }
        if let Some((end, _)) = value.char_indices().nth(FIGURE_LENGTH_MAX) {
            value.truncate(end);
        }
        let name: String = name.chars().take(FIGURE_LENGTH_MAX).collect();
        self.figures.insert(name, value);
    }

    fn add(&mut self, finding: &Finding) {
        for (name, value) in &finding.figures {
            self.figure(name, value.clone());
        }
    }

    /// Takes up a step.
    fn enter(&mut self, step: &mut Step, act: &mut Act<'_>) -> Turn {
        let device = self.device.clone();
        match step {
            Step::Look => self.ticket = Some(act.probe(Probe::Status { device })),
            Step::Card { .. } => self.ticket = Some(act.probe(Probe::Card { device })),
            Step::Lift { has_lain } => return self.lifted(has_lain),
            Step::Scan { .. } => self.ticket = Some(act.scan()),
            Step::Print { sheet } => {
                let code = self.code.clone();
                self.ticket = Some(act.probe(match sheet {
                    Sheet::Slip => Probe::TestSlip { code },
                    Sheet::Page => Probe::TestPage { code },
                }));
            }
            Step::ReadBack { scan, stream, .. } => {
                *scan = self.is_ready(DeviceClass::QrScanner).then(|| act.scan());
                let has_camera = self.is_ready(DeviceClass::Camera);
                *stream = has_camera.then(|| act.stream(Lens::Document));
            }
            Step::Pictures { .. } => self.stream = Some(act.stream(self.lens)),
            Step::Battery { .. } => {
                if let Some(fault) = self.status.faults.first() {
                    return Turn::Failed(fault.code);
                }
                self.ticket = Some(act.probe(Probe::Battery { device }));
            }
            Step::Contact { name, first, .. } => {
                if let Some(word) = self.status.readings.get(name) {
                    first.clone_from(word);
                }
            }
            Step::Light { output, .. } => {
                let off = self.output(output, false);
                let ticket = (act.tickets)();
                self.undo.push((ticket, off));
                self.ticket = Some(act.probe(self.output(output, true)));
            }
            Step::Strokes { .. } => self.ticket = Some(act.probe(Probe::Sign { device })),
            Step::Tone { volume, .. } => {
                self.keep_volume(act);
                let volume = *volume;
                self.ticket = Some(act.probe(Probe::Tone { device, volume }));
            }
            Step::Colors { since, .. } => *since = act.now.uptime,
            Step::Machine(part) => self.ticket = Some(act.probe(Probe::Machine(*part))),
            Step::Upstreams => return self.upstreams(),
            Step::Face { .. }
            | Step::Document
            | Step::AskPrint
            | Step::AskScreen
            | Step::Grid { .. }
            | Step::Over => {}
        }
        Turn::Stay
    }

    fn is_ready(&self, wanted: DeviceClass) -> bool {
        let mut devices = self.setting.devices.values();
        devices.any(|(class, status)| *class == wanted && status.is_ready())
    }

    fn output(&self, output: &str, is_on: bool) -> Probe {
        Probe::Output {
            device: self.device.clone(),
            output: output.to_owned(),
            is_on,
        }
    }

    /// Once, before the first tone: what the volume was.
    fn keep_volume(&mut self, act: &mut Act<'_>) {
        let volume = self.status.readings.get("volume-percent");
        let Some(percent) = volume.and_then(|percent| percent.parse().ok()) else {
            return;
        };
        if self.undo.is_empty() {
            let device = self.device.clone();
            let ticket = (act.tickets)();
            self.undo.push((ticket, Probe::Volume { device, percent }));
        }
    }

    fn lifted(&self, has_lain: &mut bool) -> Turn {
        match self.status.media {
            Media::Present | Media::Jammed => {
                *has_lain = true;
                Turn::Stay
            }
            Media::NotPresent if !*has_lain => Turn::Stay,
            // It is gone, or this reader never tells.
            Media::NotPresent | Media::Unknown => Turn::Done,
        }
    }

    fn upstreams(&mut self) -> Turn {
        let upstreams = self.setting.upstreams.clone();
        for (name, is_up) in &upstreams {
            self.figure(name, if *is_up { "up" } else { "down" });
        }
        if upstreams.values().all(|is_up| *is_up) {
            Turn::Done
        } else {
            Turn::Failed("platform.upstream-unavailable")
        }
    }

    /// What an event means to the current step.
    fn heard(&mut self, step: &mut Step, event: &Event, act: &mut Act<'_>) -> Turn {
        match event {
            Event::Tick => self.ticked(step, act),
            Event::Touch(touch) if self.setting.has_person => self.touched(step, touch, act),
            Event::Status { device, status, .. } => self.told(step, device, status),
            Event::Probed(ticket, finding) if self.ticket == Some(*ticket) => {
                self.probed(step, finding, act)
            }
            Event::Print(ticket, news) if self.ticket == Some(*ticket) => {
                self.printed(step, *news, act)
            }
            Event::Code(ticket, text) => self.decoded(step, *ticket, text, act),
            Event::CodeEnded(ticket, ending) => self.scan_ended(step, *ticket, *ending, act),
            Event::Frame(ticket, frame) => self.seen(step, *ticket, frame, act),
            Event::FaceJudged(ticket, code) if self.stream == Some(*ticket) => {
                let Step::Face { is_judging, advice } = step else {
                    return Turn::Stay;
                };
                *is_judging = false;
                *advice = code.unwrap_or_default();
                match code {
                    None => Turn::Done,
                    Some(_) => Turn::Stay,
                }
            }
            Event::CameraEnded(ticket, ending) => self.stream_ended(step, *ticket, *ending),
            Event::Upstream { name, is_up } => {
                self.setting.upstreams.insert(name.clone(), *is_up);
                Turn::Stay
            }
            Event::Touch(_)
            | Event::Probed(..)
            | Event::Print(..)
            | Event::FaceJudged(..)
            | Event::CardFound(_)
            | Event::Card(..)
            | Event::CardAgain(..)
            | Event::CardEnded(..)
            | Event::Straightened(..)
            | Event::Committed(..)
            | Event::CommitFailed(..)
            | Event::Answer(..)
            | Event::Settled { .. }
            | Event::Pages(..)
            | Event::Link(_)
            | Event::Pending(_)
            | Event::SlipMissed(_)
            | Event::Ordered { .. }
            | Event::Suspended(_)
            | Event::SealingKey(_)
            | Event::Room(_)
            | Event::Staff(..)
            | Event::Calibrated(_)
            | Event::Tested { .. } => Turn::Stay,
        }
    }

    fn ticked(&mut self, step: &mut Step, act: &mut Act<'_>) -> Turn {
        let now = act.now.uptime;
        if now.saturating_sub(self.began_at) >= self.plan.limit {
            return Turn::Failed("test.time-out");
        }
        if now.saturating_sub(self.step_at) >= step.limit() {
            if let Step::Grid { touched } = step {
                self.count_fields(touched);
            }
            let (code, is_failure) = step.late(self.plan.class);
            return if is_failure {
                Turn::Failed(code)
            } else {
                Turn::Skipped(code)
            };
        }
        let in_step = now.saturating_sub(self.step_at);
        if matches!(step, Step::Lift { has_lain: false }) && in_step >= LIFT_TIME {
            return Turn::Done;
        }
        if let Step::Colors { index, since } = step
            && now.saturating_sub(*since) >= COLOR_TIME
        {
            return next_color(index, since, now);
        }
        let is_followed = matches!(
            step,
            Step::Battery {
                is_followed: true,
                ..
            }
        );
        if is_followed && in_step >= BATTERY_TIME {
            return self.battery();
        }
        Turn::Stay
    }

    fn touched(&mut self, step: &mut Step, touch: &Touch, act: &mut Act<'_>) -> Turn {
        let id = if let Touch::Choose(id) = touch {
            id.as_str()
        } else if *touch == Touch::Next {
            "next"
        } else {
            return Turn::Stay;
        };
        let can_skip = step.needs_person();
        match (step, id) {
            (Step::Colors { index, since }, "next") => next_color(index, since, act.now.uptime),
            (Step::Grid { touched }, id) if id.starts_with("cell-") => {
                let number = id
                    .strip_prefix("cell-")
                    .and_then(|n| n.parse::<usize>().ok());
                if let Some(field) = number.and_then(|number| touched.get_mut(number)) {
                    *field = true;
                }
                if touched.iter().all(|field| *field) {
                    let touched = touched.clone();
                    self.count_fields(&touched);
                    return Turn::Done;
                }
                Turn::Stay
            }
            (_, "skip") if can_skip => Turn::Skipped("test.skipped"),
            (Step::AskPrint, "yes") => {
                self.figure("read-back", "person");
                Turn::Done
            }
            (Step::AskPrint | Step::ReadBack { .. }, "no") => Turn::Failed("test.print-unreadable"),
            (
                Step::AskScreen
                | Step::Tone {
                    sound: Sound::Played,
                    ..
                },
                "yes",
            ) => Turn::Done,
            (Step::AskScreen, "no") => Turn::Failed("test.screen-spots"),
            (
                Step::Tone {
                    sound: Sound::Played,
                    ..
                },
                "no",
            ) => Turn::Failed("test.tone-not-heard"),
            (
                Step::Light {
                    lamp: lamp @ Lamp::Lit,
                    output,
                },
                answer,
            ) => self.light(output, lamp, answer, act),
            (_, _) => Turn::Stay,
        }
    }

    /// Somebody says whether a light is lit.
    fn light(&mut self, output: &str, lamp: &mut Lamp, answer: &str, act: &mut Act<'_>) -> Turn {
        if answer == "no" {
            return Turn::Failed("test.light-dark");
        }
        if answer != "yes" {
            return Turn::Stay;
        }
        self.count("lights");
        *lamp = Lamp::PutOut;
        self.step_at = act.now.uptime;
        self.ticket = Some(act.probe(self.output(output, false)));
        Turn::Stay
    }

    /// The board did what was asked of a light.
    fn lamp_answered(&mut self, output: &str, lamp: &mut Lamp, now: Moment) -> Turn {
        self.ticket = None;
        if *lamp == Lamp::PutOut {
            let off = self.output(output, false);
            self.undo.retain(|(_, probe)| *probe != off);
            return Turn::Done;
        }
        *lamp = Lamp::Lit;
        // A person takes the whole limit to look.
        self.step_at = now.uptime;
        Turn::Stay
    }

    /// A status: of the device that is tested, or of another one that may help.
    fn told(&mut self, step: &mut Step, device: &str, status: &Status) -> Turn {
        if let Some((_, known)) = self.setting.devices.get_mut(device) {
            known.clone_from(status);
        }
        if device != self.device || self.device.is_empty() {
            return Turn::Stay;
        }
        self.status = status.clone();
        if let Some(code) = unready(status) {
            return Turn::Failed(code);
        }
        if let Step::Lift { has_lain } = step {
            return self.lifted(has_lain);
        }
        if let Step::Battery { has_run, .. } = step {
            let word = status.readings.get("test-running").map(String::as_str);
            if word != Some("yes") && *has_run {
                return self.battery();
            }
            *has_run |= word == Some("yes");
        }
        if let Step::Contact {
            name,
            first,
            has_changed,
        } = step
            && let Some(word) = status.readings.get(name)
            && is_movable(word)
        {
            if word != first {
                *has_changed = true;
            } else if *has_changed {
                self.count("contacts");
                return Turn::Done;
            }
        }
        Turn::Stay
    }

    /// The battery test is over: what the UPS says now.
    fn battery(&mut self) -> Turn {
        for name in ["battery-voltage", "load-percent"] {
            if let Some(value) = self.status.readings.get(name).cloned() {
                self.figure(name, value);
            }
        }
        match self.status.faults.first() {
            Some(fault) => Turn::Failed(fault.code),
            None => Turn::Done,
        }
    }

    fn probed(&mut self, step: &mut Step, finding: &Finding, act: &mut Act<'_>) -> Turn {
        if let (Some(code), false) = (finding.problem, finding.is_partial) {
            self.add(finding);
            self.ticket = None;
            return if code == NO_SENSOR {
                Turn::Skipped(code)
            } else {
                Turn::Failed(code)
            };
        }
        match step {
            Step::Look => self.looked(finding),
            Step::Card { found_at, again } if finding.is_partial => {
                *again = finding.problem.unwrap_or_default();
                *found_at = again.is_empty().then_some(act.now.uptime);
                Turn::Stay
            }
            Step::Card { found_at, .. } => {
                self.ticket = None;
                self.figure("read-time", milliseconds(act.now.uptime, *found_at));
                Turn::Done
            }
            Step::Battery { is_followed, .. } => {
                self.ticket = None;
                *is_followed = true;
                Turn::Stay
            }
            Step::Light { lamp, output } => self.lamp_answered(output, lamp, act.now),
            Step::Tone { sound, volume } => {
                self.ticket = None;
                *sound = Sound::Played;
                let volume = volume.to_string();
                self.step_at = act.now.uptime;
                self.figure("volume-percent", volume);
                Turn::Stay
            }
            Step::Strokes { count } => {
                self.add(finding);
                *count += 1;
                let count = *count;
                self.figure("strokes", count.to_string());
                if count >= STROKES {
                    Turn::Done
                } else {
                    Turn::Stay
                }
            }
            Step::Machine(_) => {
                self.add(finding);
                if finding.is_partial {
                    return Turn::Stay;
                }
                self.ticket = None;
                Turn::Done
            }
            Step::Lift { .. }
            | Step::Scan { .. }
            | Step::Print { .. }
            | Step::ReadBack { .. }
            | Step::AskPrint
            | Step::Pictures { .. }
            | Step::Face { .. }
            | Step::Document
            | Step::Contact { .. }
            | Step::Colors { .. }
            | Step::AskScreen
            | Step::Grid { .. }
            | Step::Upstreams
            | Step::Over => Turn::Stay,
        }
    }

    /// The device has told what it is: now the steps are known.
    fn looked(&mut self, finding: &Finding) -> Turn {
        self.ticket = None;
        let Some(class) = self.plan.class else {
            return Turn::Done;
        };
        let mut outputs = String::new();
        for (name, value) in &finding.figures {
            match name.as_str() {
                "role" if value == "document" => self.lens = Lens::Document,
                "role" => {}
                "outputs" => outputs.clone_from(value),
                // How a point stood before is no finding: it is moved now.
                point
                    if class == DeviceClass::IoBoard
                        && self.status.readings.contains_key(point) => {}
                _ => self.figure(name, value.clone()),
            }
        }
        if self.lacks_person() {
            return Turn::Skipped("test.needs-person");
        }
        let steps = self.further_steps(class, &outputs);
        if !self.setting.has_person && class != DeviceClass::Ups {
            self.figure("left-out", "person");
        }
        self.rest.extend(steps);
        Turn::Done
    }

    fn printed(&mut self, step: &mut Step, news: PrintNews, act: &mut Act<'_>) -> Turn {
        if !matches!(step, Step::Print { .. }) {
            return Turn::Stay;
        }
        match news {
            PrintNews::Progress(count) => {
                self.figure("impressions", count.to_string());
                Turn::Stay
            }
            PrintNews::Stopped(code) => Turn::Failed(code),
            PrintNews::Failed(code) => {
                self.ticket = None;
                Turn::Failed(code)
            }
            PrintNews::Presented => {
                self.ticket = None;
                let took = milliseconds(act.now.uptime, Some(self.step_at));
                self.figure("print-time", took);
                Turn::Done
            }
            PrintNews::Resumed | PrintNews::Taken => Turn::Stay,
        }
    }

    /// A code was read by the scanner or found in a picture.
    fn decoded(
        &mut self,
        step: &mut Step,
        ticket: Ticket,
        text: &Sensitive<String>,
        act: &mut Act<'_>,
    ) -> Turn {
        let text = text.expose().trim();
        let is_it = text == self.code;
        if let Step::Scan { is_other } = step
            && self.ticket == Some(ticket)
        {
            if is_it {
                self.ticket = None;
                let took = milliseconds(act.now.uptime, Some(self.step_at));
                self.figure("read-time", took);
                return Turn::Done;
            }
            *is_other = true;
            self.ticket = Some(act.scan());
            return Turn::Stay;
        }
        if matches!(step, Step::Document) {
            if self.stream != Some(ticket) || !text.starts_with(CODE_START) {
                return Turn::Stay;
            }
            if let Some(picture) = &self.picture {
                let look = look_at(picture);
                self.figure("sharpness", look.sharpness.to_string());
            }
            return Turn::Done;
        }
        self.read_back(step, ticket, is_it, act)
    }

    /// A code while the one on the print is wanted.
    fn read_back(
        &mut self,
        step: &mut Step,
        ticket: Ticket,
        is_it: bool,
        act: &mut Act<'_>,
    ) -> Turn {
        let Step::ReadBack {
            scan,
            stream,
            is_other,
        } = step
        else {
            return Turn::Stay;
        };
        let is_scan = *scan == Some(ticket);
        if is_it && (is_scan || *stream == Some(ticket)) {
            if is_scan {
                // A scanner that has read a code has ended by itself.
                *scan = None;
            }
            let open = [scan.take(), stream.take()];
            act.effects
                .extend(open.into_iter().flatten().map(Effect::Cancel));
            self.figure("read-back", if is_scan { "scanner" } else { "camera" });
            return Turn::Done;
        }
        if is_scan {
            *is_other = true;
            *scan = Some(act.scan());
        }
        Turn::Stay
    }

    fn scan_ended(
        &mut self,
        step: &mut Step,
        ticket: Ticket,
        ending: Ending,
        act: &mut Act<'_>,
    ) -> Turn {
        if matches!(step, Step::Scan { .. }) && self.ticket == Some(ticket) {
            self.ticket = None;
            if let Ending::Failed(code) = ending {
                return Turn::Failed(code);
            }
            self.ticket = Some(act.scan());
        }
        if let Step::ReadBack { scan, stream, .. } = step
            && *scan == Some(ticket)
        {
            *scan = (ending == Ending::TimeOut).then(|| act.scan());
            if scan.is_none() && stream.is_none() {
                self.ask_instead(step, act.now.uptime);
            }
        }
        Turn::Stay
    }

    fn stream_ended(&mut self, step: &mut Step, ticket: Ticket, ending: Ending) -> Turn {
        if let Step::ReadBack { scan, stream, .. } = step
            && *stream == Some(ticket)
        {
            *stream = None;
            if scan.is_none() {
                self.ask_instead(step, self.seen_at);
            }
            return Turn::Stay;
        }
        if self.stream != Some(ticket) {
            return Turn::Stay;
        }
        self.stream = None;
        match ending {
            Ending::Failed(code) => Turn::Failed(code),
            Ending::TimeOut | Ending::Canceled => Turn::Failed("camera.no-picture"),
        }
    }

    /// No machine can read the print any more: a person looks at it.
    fn ask_instead(&mut self, step: &mut Step, now: Duration) {
        *step = Step::AskPrint;
        self.step_at = now;
    }

    fn seen(&mut self, step: &mut Step, ticket: Ticket, frame: &Frame, act: &mut Act<'_>) -> Turn {
        if let Step::ReadBack { stream, .. } = step {
            if *stream == Some(ticket) {
                self.picture = Some(frame.preview.clone());
                let jpeg = Arc::clone(&frame.jpeg);
                act.effects.push(Effect::Decode(ticket, jpeg));
            }
            return Turn::Stay;
        }
        if self.stream != Some(ticket) {
            return Turn::Stay;
        }
        self.picture = Some(frame.preview.clone());
        if let Step::Pictures { first_at, count } = step {
            let first = *first_at.get_or_insert(act.now.uptime);
            *count += 1;
            let took = act.now.uptime.saturating_sub(first);
            let is_enough = *count >= PICTURES || took >= PICTURES_TIME;
            return if is_enough {
                self.pictures(*count, took, &frame.preview)
            } else {
                Turn::Stay
            };
        }
        if let Step::Face { is_judging, .. } = step
            && !*is_judging
        {
            *is_judging = true;
            let judge = Effect::Judge(ticket, frame.preview.clone());
            act.effects.push(judge);
        }
        if matches!(step, Step::Document) {
            let jpeg = Arc::clone(&frame.jpeg);
            act.effects.push(Effect::Decode(ticket, jpeg));
        }
        Turn::Stay
    }

    /// Enough pictures have come.
    fn pictures(&mut self, count: u32, took: Duration, last: &Picture) -> Turn {
        let look = look_at(last);
        // The first picture begins the time and is not counted in it.
        let rate = f64::from(count.saturating_sub(1)) / took.as_secs_f64().max(0.001);
        self.figure("picture-rate", format!("{:.1}/s", rate.min(99.0)));
        self.figure("picture-size", format!("{}x{}", last.width, last.height));
        self.figure("brightness", look.brightness.to_string());
        self.figure("sharpness", look.sharpness.to_string());
        if rate < RATE_MIN {
            Turn::Failed("test.camera-slow")
        } else if look.brightness < BRIGHTNESS_MIN {
            Turn::Failed("test.picture-dark")
        } else if look.brightness > BRIGHTNESS_MAX {
            Turn::Failed("test.picture-bright")
        } else {
            Turn::Done
        }
    }

    fn count(&mut self, name: &str) {
        let count = self
            .figures
            .get(name)
            .and_then(|count| count.parse::<u32>().ok());
        self.figure(name, (count.unwrap_or_default() + 1).to_string());
    }

    fn count_fields(&mut self, touched: &[bool]) {
        let count = touched.iter().filter(|field| **field).count();
        self.figure("fields", format!("{count}/{}", touched.len()));
    }
}

fn tone(volume: u8) -> Step {
    Step::Tone {
        volume,
        sound: Sound::Playing,
    }
}

fn next_color(index: &mut usize, since: &mut Duration, now: Duration) -> Turn {
    *index += 1;
    *since = now;
    if *index >= COLORS.len() {
        Turn::Done
    } else {
        Turn::Stay
    }
}

fn milliseconds(now: Duration, since: Option<Duration>) -> String {
    let took = now.saturating_sub(since.unwrap_or(now));
    format!("{} ms", took.as_millis())
}

/// Why a device cannot be tested: its fault, or what its state means where it tells none.
fn unready(status: &Status) -> Option<&'static str> {
    if status.is_ready() {
        return None;
    }
    let told = status.faults.first().map(|fault| fault.code);
    Some(told.unwrap_or(match status.state {
        DeviceState::Starting => "device.starting",
        DeviceState::NoDevice => "device.not-there",
        DeviceState::PowerOff
        | DeviceState::Offline
        | DeviceState::HardwareError
        | DeviceState::UserError
        | DeviceState::Online
        | DeviceState::DeviceBusy => "device.silent",
    }))
}

/// The text of this test's code: another one each time, so that an old slip does not pass.
fn code(ticket: Ticket, now: Moment) -> String {
    let nanoseconds = now.at.as_nanosecond().to_le_bytes();
    let seed = nanoseconds
        .iter()
        .chain(&ticket.0.to_le_bytes())
        .chain(&now.uptime.as_nanos().to_le_bytes())
        // FNV-1a, 64 bits.
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
        });
    let letter = |place: usize| {
        let index = usize::try_from((seed >> (place * 5)) & 31).unwrap_or_default();
        char::from(CODE_LETTERS[index])
    };
    let letters: String = (0..CODE_LENGTH).map(letter).collect();
    format!("{CODE_START}{letters}")
}

/// How a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Mean brightness, 0 to 255.
    pub brightness: u32,
    /// Mean step between neighbors, in tenths: 0 for a gray wall, tens for a page in focus.
    pub sharpness: u32,
}

/// Looks at a picture: how bright it is and how sharp. A picture whose size and content differ is
/// black.
pub fn look_at(picture: &Picture) -> Look {
    let width = usize::try_from(picture.width).unwrap_or_default();
    let mut before = 0_u64;
    let (mut sum, mut steps, mut count) = (0_u64, 0_u64, 0_u64);
    for (index, point) in picture.rgb.chunks_exact(3).enumerate() {
        let [red, green, blue] = [point[0], point[1], point[2]].map(u64::from);
        // Rec. 601, in 256ths.
        let gray = (red * 77 + green * 150 + blue * 29) >> 8;
        sum += gray;
        count += 1;
        if width > 0 && index % width > 0 {
            steps += gray.abs_diff(before);
        }
        before = gray;
    }
    let mean = |sum: u64| u32::try_from(sum.checked_div(count).unwrap_or_default()).unwrap_or(0);
    Look {
        brightness: mean(sum),
        sharpness: mean(steps * 10),
    }
}

#[cfg(test)]
mod tests;
