//! Pages of facts that the workbench fills, the acts they offer, and the small lists that lie between
//! a button and its act: which part, which level, which stick, really?

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use kiosk_device::DeviceClass;
use kiosk_ui::{Choice, Mark, StaffPage, StaffRow, StaffSection};
use uuid::Uuid;

use super::ids::{Button, Calibration, Id, KEEP_HOURS, Plain, topic_word};
use super::menu::{self, action, row};
use super::{Hand, Leaf, Mode, SHOW_LIMIT, Said, Sight, access};
use crate::event::Ticket;
use crate::logging::LEVELS;
use crate::problem;
use crate::selftest;
use crate::words::{Lang, fill, text};
use crate::workbench::{Act, Facts, Topic, Work, log_level_word};

/// How often a page whose facts move is filled anew. Specified for the monitor; for the others: as
/// fast as a person reads.
const REFRESH: Duration = Duration::from_secs(1);

/// Large buttons at the foot of a page that ends with figures: the first, and two beside each other.
/// Further ones are rows before the figures.
const BUTTONS: usize = 3;

/// A page of facts.
#[derive(Debug)]
pub(super) struct FactsPage {
    topic: Topic,
    /// The request on its way, and since when.
    asked: Option<(Ticket, Duration)>,
    /// When it was filled last.
    filled_at: Option<Duration>,
    facts: Option<Facts>,
    /// A device has changed since.
    is_stale: bool,
    /// Why there are no facts; empty while nothing is wrong.
    code: &'static str,
    /// For the page of sticks: what is to be written or read.
    carry: Option<Carry>,
}

/// What a stick is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carry {
    Queue,
    Receipts,
    Log { errors_only: bool },
    Evidence,
    Report,
    Update,
}

/// A short list before an act.
#[derive(Debug)]
pub(super) enum List {
    /// Which part was replaced.
    Parts { ticket: Uuid, class: String },
    /// Which level, and for how many hours beyond the mode.
    Levels { device: String, keep_h: u8 },
    /// Really?
    Sure { button: Button },
}

impl FactsPage {
    fn new(topic: Topic, carry: Option<Carry>) -> Self {
        Self {
            topic,
            asked: None,
            filled_at: None,
            facts: None,
            is_stale: false,
            code: "",
            carry,
        }
    }

    fn ask(&mut self, hand: &mut Hand<'_>) {
        let work = Work::Show {
            topic: self.topic.clone(),
            lang: hand.sight.lang,
        };
        let ticket = hand.ask(work);
        self.asked = Some((ticket, hand.uptime()));
        self.is_stale = false;
    }

    /// A device is in another state: what is shown of it is old.
    pub(super) fn device_changed(&mut self, device: &str) {
        let concerns = match &self.topic {
            Topic::Device(shown) | Topic::Monitor(shown) => shown == device,
            Topic::Devices | Topic::Consumables | Topic::Readiness => true,
            Topic::Tests
            | Topic::Tickets
            | Topic::Ticket(_)
            | Topic::Daily
            | Topic::Queue
            | Topic::DeadLetter(_)
            | Topic::Network
            | Topic::Configuration
            | Topic::Evidence
            | Topic::Machine
            | Topic::Update
            | Topic::Calibration
            | Topic::Sticks
            | Topic::Log { .. } => false,
        };
        self.is_stale |= concerns;
    }

    /// The tests on it that have not passed, by plan and device.
    pub(super) fn tests_to_pass(&self) -> VecDeque<(String, String)> {
        let sections = self.facts.iter().flat_map(|facts| &facts.sections);
        let rows = sections.flat_map(|section| &section.rows);
        // A row without a mark has nothing that could be tested.
        rows.filter(|row| !matches!(row.mark, Mark::Good | Mark::None))
            .filter_map(|row| match Id::parse(&row.id) {
                Some(Id::Test { plan, device }) => Some((plan, device)),
                _ => None,
            })
            .collect()
    }

    fn tick(&mut self, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        if let Some((_, since)) = self.asked {
            if now >= since + SHOW_LIMIT {
                self.asked = None;
                self.filled_at = Some(now);
                self.code = "staff.no-answer";
            }
            return;
        }
        // What moves by itself is looked at anew; a stick is plugged in while one looks.
        let is_moving = matches!(
            self.topic,
            Topic::Monitor(_) | Topic::Sticks | Topic::Update
        );
        let is_due = self.filled_at.is_none_or(|at| now >= at + REFRESH);
        if is_due && (is_moving || self.is_stale) && self.code.is_empty() {
            self.ask(hand);
        }
    }
}

impl Mode {
    /// Opens a page of facts and asks for them.
    pub(super) fn open_topic(&mut self, topic: Topic, hand: &mut Hand<'_>) {
        self.open_facts(FactsPage::new(topic, None), hand);
    }

    fn open_facts(&mut self, mut page: FactsPage, hand: &mut Hand<'_>) {
        page.ask(hand);
        self.open(Leaf::Facts(page), hand);
    }

    /// Fills the shown page anew: after an act, after "back", in another language.
    pub(super) fn renew(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Facts(page)) = self.leaves.last_mut() {
            page.code = "";
            page.ask(hand);
        }
    }

    pub(super) fn facts_tick(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Facts(page)) = self.leaves.last_mut() {
            page.tick(hand);
        }
    }

    /// Facts have come: for the shown page, or too late for one that was left.
    pub(super) fn facts_found(&mut self, ticket: Ticket, facts: &Facts, now: Duration) {
        if let Some(Leaf::Facts(page)) = self.leaves.last_mut()
            && page.asked.is_some_and(|(waited, _)| waited == ticket)
        {
            page.asked = None;
            page.filled_at = Some(now);
            page.code = "";
            page.facts = Some(facts.clone());
        }
    }

    /// The workbench has no facts for the shown page. True when it was asked for them.
    pub(super) fn facts_refused(&mut self, ticket: Ticket, code: &'static str) -> bool {
        if let Some(Leaf::Facts(page)) = self.leaves.last_mut()
            && page.asked.is_some_and(|(waited, _)| waited == ticket)
        {
            page.asked = None;
            page.code = code;
            return true;
        }
        false
    }

    /// A button that is neither of the unlocking nor of a running test. What the scopes say has been
    /// looked at.
    pub(super) fn press(&mut self, button: Button, hand: &mut Hand<'_>) {
        match button {
            Button::UnlockFromStick => {}
            Button::Replace { ticket, class } => {
                self.open(Leaf::List(List::Parts { ticket, class }), hand);
            }
            Button::Levels(device) => {
                let keep_h = KEEP_HOURS[0];
                self.open(Leaf::List(List::Levels { device, keep_h }), hand);
            }
            Button::Keep(hours) => {
                if let Some(Leaf::List(List::Levels { keep_h, .. })) = self.leaves.last_mut() {
                    *keep_h = hours;
                }
            }
            Button::CloseCase(_) | Button::CloseDay => self.ask_twice(button, hand),
            Button::ExportQueue => self.ask_stick(Carry::Queue, hand),
            Button::ImportReceipts => self.ask_stick(Carry::Receipts, hand),
            Button::ExportLog { errors_only } => self.ask_stick(Carry::Log { errors_only }, hand),
            Button::ExportEvidence => self.ask_stick(Carry::Evidence, hand),
            Button::SaveReport => self.ask_stick(Carry::Report, hand),
            Button::UpdateFromStick => self.ask_stick(Carry::Update, hand),
            Button::Daily { is_opening } => self.begin_daily(is_opening, hand),
            Button::OpenDay => self.set_day_closed(false, hand),
            Button::Calibrate(what) => self.begin_calibration(what, hand),
            Button::Plain(plain) => self.plain(plain, hand),
            Button::TestRest => self.test_rest(hand),
            Button::TryNormally => self.try_normally(hand),
            Button::Acknowledge(_)
            | Button::Part { .. }
            | Button::Close(_)
            | Button::Replenish { .. }
            | Button::Retry(_)
            | Button::Climb { .. }
            | Button::Level { .. }
            | Button::Recording { .. }
            | Button::RetryCase(_)
            | Button::MakeReport
            | Button::PrintReport
            | Button::PrintCheck
            | Button::PrintDay => self.act_at_once(button, hand),
        }
    }

    /// Acts that need no more than their button.
    fn act_at_once(&mut self, button: Button, hand: &mut Hand<'_>) {
        let is_choice = matches!(button, Button::Part { .. } | Button::Level { .. });
        let act = match button {
            Button::Acknowledge(ticket) => Act::Acknowledge(ticket),
            Button::Part { ticket, what } => Act::Replace { ticket, what },
            Button::Close(ticket) => Act::Close(ticket),
            Button::Replenish { what, device } => Act::Replenish { device, what },
            Button::Retry(device) => Act::Retry { device },
            Button::Climb { rung, device } => Act::Climb { device, rung },
            Button::Level {
                level,
                keep_h,
                device,
            } => Act::Level {
                device,
                level,
                keep_h,
            },
            Button::Recording { is_on, device } => {
                if is_on {
                    self.recordings.insert(device.clone());
                } else {
                    self.recordings.remove(&device);
                }
                Act::Recording { device, is_on }
            }
            Button::RetryCase(case) => Act::RetryCase(case),
            Button::MakeReport => Act::MakeReport,
            Button::PrintReport => Act::PrintReport,
            Button::PrintCheck => Act::PrintCheck,
            Button::PrintDay => Act::PrintDay,
            Button::UnlockFromStick
            | Button::Replace { .. }
            | Button::Levels(_)
            | Button::Keep(_)
            | Button::CloseCase(_)
            | Button::CloseDay
            | Button::ExportQueue
            | Button::ImportReceipts
            | Button::ExportLog { .. }
            | Button::ExportEvidence
            | Button::SaveReport
            | Button::UpdateFromStick
            | Button::Daily { .. }
            | Button::OpenDay
            | Button::Calibrate(_)
            | Button::Plain(_)
            | Button::TestRest
            | Button::TryNormally => return,
        };
        if is_choice && matches!(self.leaves.last(), Some(Leaf::List(_))) {
            // The list has been answered; its page below shows what came of it.
            self.leaves.pop();
        }
        self.said = None;
        let is_print = matches!(act, Act::PrintReport | Act::PrintCheck | Act::PrintDay);
        if is_print {
            self.print(act, hand);
        } else {
            self.act(act, hand);
        }
    }

    /// An act whose paper is told of by the same ticket.
    pub(super) fn print(&mut self, act: Act, hand: &mut Hand<'_>) {
        self.printing = self.act(act, hand);
    }

    /// A page's own button.
    fn plain(&mut self, plain: Plain, hand: &mut Hand<'_>) {
        match self.leaves.last() {
            Some(Leaf::List(List::Sure { button })) => {
                let button = button.clone();
                self.leaves.pop();
                if plain == Plain::Yes {
                    self.sure(&button, hand);
                }
            }
            Some(Leaf::Daily(_)) => match plain {
                Plain::Yes => self.daily_answer(true, hand),
                Plain::No => self.daily_answer(false, hand),
                Plain::Again
                | Plain::Save
                | Plain::Next
                | Plain::Before
                | Plain::Certificate
                | Plain::Less
                | Plain::More
                | Plain::Up
                | Plain::Down => {}
            },
            Some(Leaf::Outcome(_)) if plain == Plain::Again => self.test_again(hand),
            Some(Leaf::Outcome(_)) if plain == Plain::Next => self.test_next(hand),
            Some(Leaf::Calibration(_)) => self.calibration_pressed(plain, hand),
            Some(Leaf::Report(_)) => self.report_pressed(plain),
            Some(
                Leaf::Unlock(_)
                | Leaf::Menu
                | Leaf::Help
                | Leaf::Facts(_)
                | Leaf::List(_)
                | Leaf::Testing(_)
                | Leaf::Outcome(_),
            )
            | None => {}
        }
    }

    fn ask_twice(&mut self, button: Button, hand: &mut Hand<'_>) {
        self.open(Leaf::List(List::Sure { button }), hand);
    }

    fn sure(&mut self, button: &Button, hand: &mut Hand<'_>) {
        if let Button::CloseCase(case) = button {
            self.act(Act::CloseCase(*case), hand);
        } else if *button == Button::CloseDay {
            self.set_day_closed(true, hand);
        }
    }

    fn try_normally(&mut self, hand: &mut Hand<'_>) {
        if hand.sight.is_safe {
            hand.try_normally = self
                .pass
                .as_ref()
                .map(|pass| pass.permission.person.clone());
            hand.end = Some("ordered");
        }
    }

    /// The day is over, or begins: visitors are served again or not.
    pub(super) fn set_day_closed(&mut self, is_closed: bool, hand: &mut Hand<'_>) {
        hand.standing.is_day_closed = is_closed;
        let key = if is_closed {
            "staff.day-closed-now"
        } else {
            "staff.day-opened-now"
        };
        self.said = Some((Said::Text(key), true));
        self.renew(hand);
    }

    fn ask_stick(&mut self, carry: Carry, hand: &mut Hand<'_>) {
        self.open_facts(FactsPage::new(Topic::Sticks, Some(carry)), hand);
    }

    /// A stick was chosen for what was asked; the page of sticks has done its work.
    pub(super) fn stick_chosen(&mut self, path: &Path, hand: &mut Hand<'_>) {
        let Some(Leaf::Facts(FactsPage {
            topic: Topic::Sticks,
            carry: Some(carry),
            ..
        })) = self.leaves.last()
        else {
            return;
        };
        let stick = path.to_path_buf();
        let act = match carry {
            Carry::Queue => Act::ExportQueue(stick),
            Carry::Receipts => Act::ImportReceipts(stick),
            Carry::Log { errors_only } => Act::ExportLog {
                stick,
                errors_only: *errors_only,
            },
            Carry::Evidence => Act::ExportEvidence(stick),
            Carry::Report => Act::SaveReport(stick),
            Carry::Update => Act::UpdateFromStick(stick),
        };
        self.leaves.pop();
        self.said = None;
        self.act(act, hand);
    }

    /// What is wrong with a page of facts, and everything on it that this person may touch.
    pub(super) fn facts_page(&self, facts: &FactsPage, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let mut page = StaffPage {
            name: topic_word(&facts.topic).to_owned(),
            title: menu::title_on(sight, &facts.topic),
            is_busy: facts.facts.is_none() && facts.code.is_empty(),
            ..StaffPage::default()
        };
        if let Some(found) = &facts.facts {
            if !found.title.is_empty() {
                page.title.clone_from(&found.title);
            }
            page.intro.clone_from(&found.intro);
            page.warning.clone_from(&found.warning);
            page.drawing.clone_from(&found.drawing);
            page.code.clone_from(&found.code);
            page.picture.clone_from(&found.picture);
            page.sections.clone_from(&found.sections);
            page.actions.clone_from(&found.acts);
        }
        if let Some(carry) = facts.carry {
            text(lang, carry.key()).clone_into(&mut page.intro);
        }
        if !facts.code.is_empty() {
            let problem = problem::get(facts.code);
            page.warning = format!("{} {}", problem.title(lang), problem.advice(lang));
        }
        self.only_allowed(&mut page, facts.carry.is_some());
        let mut more = self.own_acts(&facts.topic, sight);
        let known: BTreeSet<String> = ids_of(&page).map(str::to_owned).collect();
        more.retain(|row| !known.contains(&row.id));
        let mut place = page.sections.len();
        if let Some(at) = facts.facts.as_ref().and_then(|found| found.figures_from) {
            let others = page.actions.split_off(page.actions.len().min(BUTTONS));
            more.splice(0..0, others.into_iter().map(act_row));
            place = at.min(place);
        }
        if !more.is_empty() {
            let section = StaffSection {
                title: text(lang, "staff.can-do").to_owned(),
                rows: more,
            };
            page.sections.insert(place, section);
        }
        page
    }

    /// Buttons that are not allowed are not there; rows stay and lead nowhere.
    fn only_allowed(&self, page: &mut StaffPage, is_stick_wanted: bool) {
        let may = |text: &str| {
            Id::parse(text).is_some_and(|id| {
                let is_idle_stick = matches!(id, Id::Stick(_)) && !is_stick_wanted;
                !is_idle_stick && access::may(&id, self.scopes())
            })
        };
        page.actions.retain(|choice| may(&choice.id));
        for row in page.sections.iter_mut().flat_map(|part| &mut part.rows) {
            if !may(&row.id) {
                row.id.clear();
            }
        }
    }

    /// What can be done on a page whatever the workbench found there.
    fn own_acts(&self, topic: &Topic, sight: &Sight<'_>) -> Vec<StaffRow> {
        let lang = sight.lang;
        let acts: Vec<(Button, &str)> = match topic {
            Topic::Device(device) => return self.device_acts(device, sight),
            Topic::Daily => vec![
                (Button::Daily { is_opening: true }, "staff.daily-open"),
                (Button::Daily { is_opening: false }, "staff.daily-close"),
                if sight.standing.is_day_closed {
                    (Button::OpenDay, "staff.open-day")
                } else {
                    (Button::CloseDay, "staff.close-day")
                },
            ],
            Topic::Queue => vec![
                (Button::ExportQueue, "staff.export-queue"),
                (Button::ImportReceipts, "staff.import-receipts"),
            ],
            Topic::Evidence => vec![(Button::ExportEvidence, "staff.export-evidence")],
            Topic::Log { errors_only } => {
                let errors_only = *errors_only;
                let mut acts = vec![(Button::ExportLog { errors_only }, "staff.export-log")];
                if !errors_only {
                    let errors = Button::ExportLog { errors_only: true };
                    acts.push((errors, "staff.export-log-errors"));
                }
                acts
            }
            Topic::Calibration => vec![
                (Button::Calibrate(Calibration::Touch), "staff.cal-touch"),
                (Button::Calibrate(Calibration::CameraCrop), "staff.cal-crop"),
                (
                    Button::Calibrate(Calibration::PrintOffset),
                    "staff.cal-print",
                ),
                (Button::Calibrate(Calibration::SlipOffset), "staff.cal-slip"),
                (Button::Calibrate(Calibration::Scanner), "staff.cal-scanner"),
            ],
            Topic::Readiness => vec![(Button::MakeReport, "staff.make-report")],
            Topic::Devices
            | Topic::Tests
            | Topic::Tickets
            | Topic::Ticket(_)
            | Topic::Consumables
            | Topic::DeadLetter(_)
            | Topic::Network
            | Topic::Configuration
            | Topic::Machine
            | Topic::Update
            | Topic::Sticks
            | Topic::Monitor(_) => Vec::new(),
        };
        acts.into_iter()
            .map(|(button, key)| row(&Id::Act(button), text(lang, key)))
            .filter(|row| self.may_touch(row))
            .collect()
    }

    fn may_touch(&self, row: &StaffRow) -> bool {
        Id::parse(&row.id).is_some_and(|id| access::may(&id, self.scopes()))
    }

    /// Tests of a device, the ladder, levels, recording, monitor.
    fn device_acts(&self, device: &str, sight: &Sight<'_>) -> Vec<StaffRow> {
        let lang = sight.lang;
        let Some((class, _)) = sight.devices.get(device) else {
            return Vec::new();
        };
        let tests = selftest::plans_for(Some(*class)).map(|plan| {
            let id = Id::Test {
                plan: plan.id.to_owned(),
                device: device.to_owned(),
            };
            row(&id, text(lang, plan.id))
        });
        let is_on = !self.recordings.contains(device);
        let recording = Button::Recording {
            is_on,
            device: device.to_owned(),
        };
        let record = if is_on {
            "staff.record"
        } else {
            "staff.record-end"
        };
        let device = device.to_owned();
        let buttons = [
            (Id::Act(Button::Retry(device.clone())), "staff.retry"),
            (Id::Act(recording), record),
            (Id::Act(Button::Levels(device.clone())), "staff.levels"),
            (Id::Open(Topic::Monitor(device)), "staff.monitor"),
        ];
        let buttons = buttons.map(|(id, key)| row(&id, text(lang, key)));
        tests
            .chain(buttons)
            .filter(|row| self.may_touch(row))
            .collect()
    }
}

/// A button as a row.
fn act_row(choice: Choice) -> StaffRow {
    StaffRow {
        id: choice.id,
        label: choice.label,
        detail: choice.detail,
        ..StaffRow::default()
    }
}

/// Every id on a page.
fn ids_of(page: &StaffPage) -> impl Iterator<Item = &str> {
    let rows = page.sections.iter().flat_map(|section| &section.rows);
    let actions = page
        .actions
        .iter()
        .map(|choice: &Choice| choice.id.as_str());
    rows.map(|row| row.id.as_str()).chain(actions)
}

impl Carry {
    fn key(self) -> &'static str {
        match self {
            Self::Queue => "staff.stick-queue",
            Self::Receipts => "staff.stick-receipts",
            Self::Log { .. } => "staff.stick-log",
            Self::Evidence => "staff.stick-evidence",
            Self::Report => "staff.stick-report",
            Self::Update => "staff.stick-update",
        }
    }
}

impl List {
    pub(super) fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        match self {
            Self::Parts { ticket, class } => parts_page(lang, *ticket, class),
            Self::Levels { device, keep_h } => levels_page(lang, device, *keep_h),
            Self::Sure { button } => sure_page(lang, button),
        }
    }
}

fn parts_page(lang: Lang, ticket: Uuid, class: &str) -> StaffPage {
    let rows = parts(DeviceClass::from_name(class))
        .iter()
        .map(|(what, key)| {
            let what = (*what).to_owned();
            row(&Id::Act(Button::Part { ticket, what }), text(lang, key))
        })
        .collect();
    StaffPage {
        name: "parts".to_owned(),
        title: text(lang, "staff.parts").to_owned(),
        intro: text(lang, "staff.parts-intro").to_owned(),
        sections: vec![StaffSection {
            rows,
            ..StaffSection::default()
        }],
        ..StaffPage::default()
    }
}

fn levels_page(lang: Lang, device: &str, keep_h: u8) -> StaffPage {
    let level = |level: Option<&'static str>, label: &str| {
        let button = Button::Level {
            level,
            keep_h,
            device: device.to_owned(),
        };
        row(&Id::Act(button), label)
    };
    let mut levels: Vec<StaffRow> = LEVELS
        .into_iter()
        .map(|name| StaffRow {
            detail: name.to_owned(),
            ..level(Some(name), &log_level_word(name, lang))
        })
        .collect();
    levels.push(level(None, text(lang, "staff.level-off")));
    let keeps = KEEP_HOURS.into_iter().map(|hours| {
        let mark = if hours == keep_h {
            Mark::Good
        } else {
            Mark::None
        };
        StaffRow {
            mark,
            ..row(&Id::Act(Button::Keep(hours)), &keep_words(lang, hours))
        }
    });
    let section = |key: &str, rows: Vec<StaffRow>| StaffSection {
        title: text(lang, key).to_owned(),
        rows,
    };
    StaffPage {
        name: "levels".to_owned(),
        title: format!("{} · {device}", text(lang, "staff.levels")),
        intro: text(lang, "staff.levels-intro").to_owned(),
        sections: vec![
            section("staff.level-keep", keeps.collect()),
            section("staff.level-which", levels),
        ],
        ..StaffPage::default()
    }
}

/// How long a level lasts.
fn keep_words(lang: Lang, hours: u8) -> String {
    if hours == 0 {
        return text(lang, "staff.level-visit").to_owned();
    }
    fill(lang, "staff.level-hours", &[("hours", &hours.to_string())])
}

fn sure_page(lang: Lang, button: &Button) -> StaffPage {
    let (intro, yes) = if *button == Button::CloseDay {
        ("staff.sure-close-day", "staff.close-day")
    } else {
        ("staff.sure-close-case", "staff.close-case")
    };
    let own = |plain| Id::Act(Button::Plain(plain));
    StaffPage {
        name: "sure".to_owned(),
        title: text(lang, "staff.sure").to_owned(),
        intro: text(lang, intro).to_owned(),
        actions: vec![
            action(&own(Plain::No), text(lang, "staff.sure-no")),
            action(&own(Plain::Yes), text(lang, yes)),
        ],
        ..StaffPage::default()
    }
}

/// The parts of each class that are replaced on site, with their words. Anything that a technician
/// carries in a bag; the whole device and its cable belong to each.
fn parts(class: Option<DeviceClass>) -> &'static [(&'static str, &'static str)] {
    match class {
        Some(DeviceClass::SlipPrinter) => &[
            ("device", "staff.part-device"),
            ("cable", "staff.part-cable"),
            ("print-head", "staff.part-print-head"),
            ("cutter", "staff.part-cutter"),
            ("roller", "staff.part-roller"),
            ("sensor", "staff.part-sensor"),
            ("power-supply", "staff.part-power-supply"),
        ],
        Some(DeviceClass::PagePrinter) => &[
            ("device", "staff.part-device"),
            ("cable", "staff.part-cable"),
            ("toner", "staff.part-toner"),
            ("drum", "staff.part-drum"),
            ("fuser", "staff.part-fuser"),
            ("roller", "staff.part-roller"),
        ],
        Some(DeviceClass::Camera) => &[
            ("device", "staff.part-device"),
            ("cable", "staff.part-cable"),
            ("lens", "staff.part-lens"),
            ("light", "staff.part-light"),
        ],
        Some(DeviceClass::Ups) => &[
            ("device", "staff.part-device"),
            ("cable", "staff.part-cable"),
            ("battery", "staff.part-battery"),
        ],
        Some(DeviceClass::IoBoard) => &[
            ("device", "staff.part-device"),
            ("cable", "staff.part-cable"),
            ("light", "staff.part-light"),
            ("sensor", "staff.part-sensor"),
            ("power-supply", "staff.part-power-supply"),
        ],
        Some(
            DeviceClass::IdCard
            | DeviceClass::QrScanner
            | DeviceClass::SmartCard
            | DeviceClass::SignaturePad
            | DeviceClass::Speaker,
        ) => &[
            ("device", "staff.part-device"),
            ("cable", "staff.part-cable"),
        ],
        None => &[
            ("device", "staff.part-device"),
            ("cable", "staff.part-cable"),
            ("power-supply", "staff.part-power-supply"),
            ("disk", "staff.part-disk"),
            ("memory", "staff.part-memory"),
            ("fan", "staff.part-fan"),
            ("battery", "staff.part-battery"),
            ("screen", "staff.part-screen"),
        ],
    }
}

/// How a verdict looks.
pub(super) fn mark(verdict: selftest::Verdict) -> Mark {
    match verdict {
        selftest::Verdict::Passed => Mark::Good,
        selftest::Verdict::Failed => Mark::Bad,
        selftest::Verdict::Skipped => Mark::Unknown,
        selftest::Verdict::Canceled => Mark::Caution,
    }
}
