//! The mode of staff and technicians: how somebody comes in, what they see and do, how it ends.
//! Pure as the visit: it enters only when no visitor's data is held, and nothing of a citizen can be
//! on its pages, because it is never given any.
//!
//! Invariants kept here: no page but the unlocking before `Found::Unlocked`; what the role may not do
//! is refused when it is touched, not only hidden; a late answer is dropped by its ticket; every way
//! out releases the devices, ends the recordings and says `Work::Ended`; the mode commits nothing and
//! prints nothing of a citizen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kiosk_device::{DeviceClass, Status};
use kiosk_sealing::unlock::Scope;
use kiosk_ui::{Choice, Key, Paper, Picture, Screen, StaffPage, Touch};

use super::ending::Leaving;
use super::{Page, Session, Site, is_setting};
use crate::calibration::Calibrations;
use crate::clock::Moment;
use crate::config::Mistake;
use crate::event::{Effect, Event, Standing, Ticket};
use crate::selftest::Outcome;
use crate::words::{Lang, text};
use crate::workbench::{Act, Found, Permission, Topic, Work};

mod access;
mod calibration;
mod daily;
mod facts;
pub(crate) mod ids;
mod menu;
mod report;
mod testing;
mod unlock;

pub(crate) use daily::checks_of;
use ids::{Button, Id, Place};

/// How long the visitor is asked before the visit simply goes on. Specified: staff can touch again.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How long the pages before the unlocking may stay untouched. Chosen: enough to send a code to an
/// operator by telephone and to get the answer, which is good for this code only; a visitor who comes
/// meanwhile leaves the page by its button.
const UNLOCK_IDLE: Duration = Duration::from_mins(5);
/// After this long without an answer a page of facts says so. Chosen: as visitors wait.
const SHOW_LIMIT: Duration = Duration::from_secs(10);
/// An act may take as long: a stick of a hundred thousand files, a report with all its pages.
const ACT_LIMIT: Duration = Duration::from_mins(5);
/// Pages that can lie on each other; the oldest but the menu goes when there are more. Chosen.
const DEPTH_MAX: usize = 8;
/// Acts that may be on their way at once; more are refused. Chosen: a test's outcome and the daily
/// check, and as many again.
const ACTS_MAX: usize = 4;

/// What the configuration says about this mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaffRules {
    /// After this long without a touch the mode ends.
    pub idle: Duration,
    /// Input of an I/O board whose closing ends the mode, for instance `cabinet-door`; empty for none.
    pub door: String,
    /// What is wrong with the file that says all this, where a copy is used in its place or none.
    pub mistake: Option<Mistake>,
}

impl Default for StaffRules {
    fn default() -> Self {
        Self {
            // Chosen: a repair has its hands full for minutes; a walk to the car takes longer.
            idle: Duration::from_mins(5),
            door: String::new(),
            mistake: None,
        }
    }
}

/// How codes can be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Scanner,
    Camera,
    None,
}

/// What the pages look at; they change nothing of it.
#[derive(Clone, Copy)]
struct Sight<'a> {
    devices: &'a BTreeMap<String, (DeviceClass, Status)>,
    site: &'a Site,
    standing: &'a Standing,
    rules: &'a StaffRules,
    calibrations: &'a Calibrations,
    reader: Reader,
    is_online: bool,
    /// What is known of the upstreams behind the platform.
    upstreams: &'a BTreeMap<String, bool>,
    /// The terminal was started in safe mode.
    is_safe: bool,
    lang: Lang,
    now: Moment,
}

/// What an event may use: what is seen, and what is to be done about it.
struct Hand<'a> {
    sight: Sight<'a>,
    /// The standing as it will be.
    standing: Standing,
    tickets: &'a mut u64,
    effects: &'a mut Vec<Effect>,
    /// Somebody was active although nobody touched the glass.
    is_active: bool,
    /// Why the mode is over, when it is.
    end: Option<&'static str>,
    /// Who wants safe mode to be left.
    try_normally: Option<String>,
}

impl Hand<'_> {
    fn ticket(&mut self) -> Ticket {
        *self.tickets += 1;
        Ticket(*self.tickets)
    }

    fn ask(&mut self, work: Work) -> Ticket {
        let ticket = self.ticket();
        self.effects.push(Effect::Staff(ticket, Box::new(work)));
        ticket
    }

    fn uptime(&self) -> Duration {
        self.sight.now.uptime
    }
}

/// A permission that runs.
#[derive(Debug)]
struct Pass {
    permission: Permission,
    /// When it is over, on the monotonic clock.
    until: Duration,
}

/// One page; what lies below it comes back by "back".
#[derive(Debug)]
enum Leaf {
    Unlock(unlock::Unlock),
    Menu,
    Help,
    Facts(facts::FactsPage),
    List(facts::List),
    Testing(Box<testing::Testing>),
    Outcome(Box<testing::Ended>),
    Daily(daily::Daily),
    Calibration(Box<calibration::Calibrating>),
    Report(report::Report),
}

/// An act that has not been answered.
#[derive(Debug)]
struct OnItsWay {
    ticket: Ticket,
    since: Duration,
    /// The language in which the answer will come.
    lang: Lang,
}

/// A sentence over the page. What can be said again is kept as a key, so that it follows the language.
#[derive(Debug)]
enum Said {
    /// A text of ours, by its key.
    Text(&'static str),
    /// A problem, by its code.
    Problem(&'static str),
    /// What the workbench wrote, which knows figures and names that are nowhere else. In another
    /// language it is not shown; it comes back with its own.
    Sentence { words: String, lang: Lang },
}

impl Said {
    fn words(&self, lang: Lang) -> Option<&str> {
        match self {
            Self::Text(key) => Some(text(lang, key)),
            Self::Problem(code) => Some(crate::problem::get(code).title(lang)),
            Self::Sentence {
                words,
                lang: written,
            } => (*written == lang).then_some(words),
        }
    }
}

/// Where a member of staff is.
#[derive(Debug)]
pub(super) struct Mode {
    pass: Option<Pass>,
    /// Never empty; the last is on the glass.
    leaves: Vec<Leaf>,
    /// Acts on their way, and since when.
    acts: Vec<OnItsWay>,
    /// How the last act went and whether well, until another page is opened.
    said: Option<(Said, bool)>,
    /// Devices that this mode records.
    recordings: BTreeSet<String>,
    /// Last outcome of each test of this mode, by test and device: the "before" of the next.
    outcomes: BTreeMap<(String, String), Outcome>,
    /// The report that was made last.
    report: Option<(Vec<Picture>, String)>,
    /// The print of the report, or of a slip of the staff, on its way.
    printing: Option<Ticket>,
    /// The door has been open while somebody was in here.
    was_open: bool,
}

impl Session {
    /// The same session with the settings of the staff's mode.
    #[must_use]
    pub fn staff_rules(mut self, rules: StaffRules) -> Self {
        self.staff = rules;
        self
    }

    /// Somebody touched the way in. A visit is never taken away: whoever is here is asked first.
    pub(super) fn staff_asked(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        // Without a store nobody is known.
        if self.is_ending || matches!(self.mode, crate::boot::Mode::Bare(_)) {
            return;
        }
        if matches!(self.page, Page::Attract | Page::Home { .. }) {
            self.enter_staff(now, effects);
        } else if matches!(self.page, Page::Leave { .. }) {
            self.is_staff_wanted = true;
        } else if self.may_be_asked() {
            self.staff_request = Some(now.uptime + REQUEST_LIMIT);
        }
    }

    /// False while a commitment is being made or paper comes out, and where nobody visits.
    fn may_be_asked(&self) -> bool {
        match &self.page {
            Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Attract
            | Page::Leave { .. }
            | Page::Staff(_) => false,
            // A printer that has stopped is perhaps just why somebody has come.
            Page::PrintingPages { code, .. } => !code.is_empty(),
            Page::Done { paper, code, .. } => *paper != Paper::Printing || !code.is_empty(),
            Page::Home { .. }
            | Page::Introduction
            | Page::Identify { .. }
            | Page::Number { .. }
            | Page::Confirm { .. }
            | Page::OfferElder
            | Page::Checking { .. }
            | Page::Consent
            | Page::Question { .. }
            | Page::Face { .. }
            | Page::Capture { .. }
            | Page::Review
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::Preview { .. }
            | Page::Rating { .. }
            | Page::TrackScan { .. }
            | Page::TrackAsking { .. }
            | Page::TrackResult { .. }
            | Page::Trouble { .. } => true,
        }
    }

    /// True while the visitor is asked whether staff may use the terminal.
    pub(super) fn is_staff_asking(&self) -> bool {
        self.staff_request.is_some() && self.may_be_asked()
    }

    /// The page that asks the visitor.
    pub(super) fn staff_request_screen(&self) -> Screen {
        let lang = self.lang();
        let way = |id: &str, key: &str, icon: &str| Choice {
            id: id.to_owned(),
            label: text(lang, key).to_owned(),
            icon: icon.to_owned(),
            ..Choice::default()
        };
        Screen::Problem {
            title: text(lang, "staff.request").to_owned(),
            advice: text(lang, "staff.request-advice").to_owned(),
            picture: String::new(),
            code: String::new(),
            ways: vec![
                way(STAY, "staff.request-stay", "person"),
                way(FINISH, "staff.request-finish", "cross"),
            ],
        }
    }

    /// True when the event was for the mode, and is dealt with.
    pub(super) fn staff_took(
        &mut self,
        event: &Event,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if matches!(self.page, Page::Staff(_)) {
            return self.in_staff(event, now, effects);
        }
        self.request_took(event, now, effects) || self.farewell_took(event, now, effects)
    }

    /// The visitor's answer, or none in time: then the visit goes on.
    fn request_took(&mut self, event: &Event, now: Moment, effects: &mut Vec<Effect>) -> bool {
        let Some(until) = self.staff_request else {
            return false;
        };
        if now.uptime >= until || !self.may_be_asked() {
            self.staff_request = None;
            return false;
        }
        let Event::Touch(touch) = event else {
            return false;
        };
        if is_setting(touch) {
            return false;
        }
        self.active_at = now.uptime;
        let is_chosen = |way: &str| matches!(touch, Touch::Choose(id) if id == way);
        let is_finished = is_chosen(FINISH) || matches!(touch, Touch::Leave);
        if is_finished {
            self.staff_request = None;
            self.is_staff_wanted = true;
            self.end_visit(now, Leaving::ForStaff, effects);
            if matches!(self.page, Page::Attract) {
                self.enter_staff(now, effects);
            }
        } else if is_chosen(STAY) {
            self.staff_request = None;
        }
        true
    }

    /// The farewell has been read: now staff may come in. A card that the reader still reports keeps
    /// nobody out who may have come to mend that reader; the notice to take it stays.
    fn farewell_took(&mut self, event: &Event, now: Moment, effects: &mut Vec<Effect>) -> bool {
        if !self.is_staff_wanted {
            return false;
        }
        let Page::Leave { until, .. } = self.page else {
            self.is_staff_wanted = false;
            return false;
        };
        let is_read = (matches!(event, Event::Tick) && now.uptime >= until)
            || (matches!(event, Event::Touch(Touch::Next)) && !self.is_card_present());
        if is_read {
            self.enter_staff(now, effects);
        }
        is_read
    }

    /// From here on nothing of a visit is left.
    fn enter_staff(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.is_staff_wanted = false;
        self.staff_request = None;
        self.forget(effects);
        self.visit = super::Visit::default();
        self.active_at = now.uptime;
        let was_open = self.is_door_open();
        let mode = Box::new(Mode::new(was_open));
        self.turn_to(Page::Staff(mode), effects);
        self.with_mode(now, effects, Mode::challenge);
    }

    fn is_door_open(&self) -> bool {
        let door = self.staff.door.as_str();
        self.devices.values().any(|(class, status)| {
            *class == DeviceClass::IoBoard
                && status
                    .readings
                    .get(door)
                    .is_some_and(|state| state == "open")
        })
    }

    fn in_staff(&mut self, event: &Event, now: Moment, effects: &mut Vec<Effect>) -> bool {
        let mut is_taken = matches!(event, Event::Tick | Event::Staff(..) | Event::Probed(..));
        if let Event::Touch(touch) = event {
            self.active_at = now.uptime;
            is_taken = true;
            if is_setting(touch) {
                self.set(touch);
            }
        }
        if matches!(event, Event::Tick) && self.time_left(now) == Some(Duration::ZERO) {
            self.with_mode(now, effects, |_, hand| hand.end = Some("idle"));
            return true;
        }
        self.with_mode(now, effects, |mode, hand| mode.event(event, hand));
        is_taken
    }

    /// Lets the mode act, then does what it said: keeps the standing, ends the mode.
    fn with_mode(
        &mut self,
        now: Moment,
        effects: &mut Vec<Effect>,
        act: impl FnOnce(&mut Mode, &mut Hand<'_>),
    ) {
        let (reader, lang) = (self.reader(), self.lang());
        let is_safe = self.safe_reason().is_some();
        let Page::Staff(mode) = &mut self.page else {
            return;
        };
        let mut hand = Hand {
            sight: Sight {
                devices: &self.devices,
                site: &self.site,
                standing: &self.standing,
                rules: &self.staff,
                calibrations: &self.calibrations,
                reader,
                is_online: self.is_online,
                upstreams: &self.upstreams,
                is_safe,
                lang,
                now,
            },
            standing: self.standing.clone(),
            tickets: &mut self.tickets,
            effects,
            is_active: false,
            end: None,
            try_normally: None,
        };
        act(mode, &mut hand);
        if let Some(why) = hand.end {
            mode.release(&mut hand);
            hand.ask(Work::Ended { why });
        }
        let (standing, is_active, is_over) = (hand.standing, hand.is_active, hand.end.is_some());
        let try_normally = hand.try_normally;
        if standing != self.standing {
            self.standing = standing;
            effects.push(Effect::Keep(self.standing.clone()));
        }
        if is_active {
            self.active_at = now.uptime;
        }
        if is_over {
            self.rest();
        }
        if let Some(person) = try_normally {
            self.try_normally(&person, effects);
        }
    }

    /// How a code can be read: the document camera where there is no scanner that works. One whose test
    /// failed is tried all the same: somebody has come to mend it.
    fn reader(&self) -> Reader {
        if self.is_ready(DeviceClass::QrScanner) {
            Reader::Scanner
        } else if self.is_ready(DeviceClass::Camera) {
            Reader::Camera
        } else {
            Reader::None
        }
    }

    /// The page of the mode.
    pub(super) fn staff_page(&self, mode: &Mode, now: Moment) -> StaffPage {
        mode.page(&Sight {
            devices: &self.devices,
            site: &self.site,
            standing: &self.standing,
            rules: &self.staff,
            calibrations: &self.calibrations,
            reader: self.reader(),
            is_online: self.is_online,
            upstreams: &self.upstreams,
            is_safe: self.safe_reason().is_some(),
            lang: self.lang(),
            now,
        })
    }

    /// The last guided test of this device failed: it serves no visitors until one passes.
    pub(super) fn has_failed_test(&self, device: &str) -> bool {
        self.standing.failed_tests.contains_key(device)
    }

    /// A guided test was run.
    pub(super) fn tested(
        &mut self,
        test: &str,
        device: &str,
        has_passed: bool,
        effects: &mut Vec<Effect>,
    ) {
        let before = self.standing.clone();
        testing::keep(&mut self.standing, test, device, has_passed);
        if self.standing != before {
            effects.push(Effect::Keep(self.standing.clone()));
        }
    }
}

/// The visitor goes on.
const STAY: &str = "staff-stay";
/// The visitor has finished.
const FINISH: &str = "staff-finish";

impl Mode {
    fn new(was_open: bool) -> Self {
        Self {
            pass: None,
            leaves: vec![Leaf::Unlock(unlock::Unlock::default())],
            acts: Vec::new(),
            said: None,
            recordings: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            report: None,
            printing: None,
            was_open,
        }
    }

    /// What somebody may do here; nothing before the unlocking.
    fn scopes(&self) -> &BTreeSet<Scope> {
        static NONE: BTreeSet<Scope> = BTreeSet::new();
        self.pass
            .as_ref()
            .map_or(&NONE, |pass| &pass.permission.scopes)
    }

    /// Time until the mode ends because nobody touches the glass; `None` while a test or an act runs,
    /// which have limits of their own.
    pub(super) fn time_left(
        &self,
        active_at: Duration,
        rules: &StaffRules,
        now: Moment,
    ) -> Option<Duration> {
        let is_working =
            !self.acts.is_empty() || matches!(self.leaves.last(), Some(Leaf::Testing(_)));
        let limit = match &self.pass {
            Some(_) if is_working => return None,
            Some(_) => rules.idle,
            None => UNLOCK_IDLE,
        };
        Some(limit.saturating_sub(now.uptime.saturating_sub(active_at)))
    }

    /// True where "back" leads to another page than out.
    pub(super) fn can_go_back(&self) -> bool {
        self.leaves.len() > 1
    }

    fn event(&mut self, event: &Event, hand: &mut Hand<'_>) {
        if let Event::Status {
            class,
            device,
            status,
        } = event
        {
            self.status(*class, device, status, hand);
        }
        if hand.end.is_some() {
            return;
        }
        // What is answered to a test means nothing to the page that comes after it.
        let is_answer = matches!(self.leaves.last(), Some(Leaf::Testing(_)))
            && matches!(event, Event::Touch(Touch::Choose(_) | Touch::Next));
        self.test_event(event, hand);
        self.unlock_event(event, hand);
        self.calibration_event(event, hand);
        if let Event::Print(ticket, news) = event {
            self.print_news(*ticket, *news, hand);
        }
        if let Event::Touch(touch) = event {
            if !is_answer {
                self.touched(touch, hand);
            }
        } else if let Event::Staff(ticket, found) = event {
            self.found(*ticket, found, hand);
        } else if matches!(event, Event::Tick) {
            self.tick(hand);
        }
    }

    /// A device says how it is: the door may have been closed, a page of devices may be out of date.
    fn status(&mut self, class: DeviceClass, device: &str, status: &Status, hand: &mut Hand<'_>) {
        let door = hand.sight.rules.door.as_str();
        let state = status.readings.get(door).map(String::as_str);
        if class == DeviceClass::IoBoard && !door.is_empty() {
            if state == Some("open") {
                self.was_open = true;
            } else if state == Some("closed") && self.was_open {
                hand.end = Some("door");
            }
        }
        if let Some(Leaf::Facts(page)) = self.leaves.last_mut() {
            page.device_changed(device);
        }
    }

    fn touched(&mut self, touch: &Touch, hand: &mut Hand<'_>) {
        match touch {
            Touch::Leave => hand.end = Some("left"),
            Touch::Back => self.back(hand),
            Touch::Language(_) => self.renew(hand),
            Touch::Key(key) => self.key(*key),
            Touch::Next => self.next(hand),
            Touch::Page { is_forward } => self.turn_report(*is_forward),
            Touch::Choose(id) => self.choose(id, hand),
            Touch::Start
            | Touch::Other
            | Touch::Staff
            | Touch::Search
            | Touch::Stay
            | Touch::TextSize(_)
            | Touch::Contrast(_)
            | Touch::Felt { .. }
            | Touch::Activity => {}
        }
    }

    /// The primary button without an id of its own.
    fn next(&mut self, hand: &mut Hand<'_>) {
        if let Some(Leaf::Unlock(_)) = self.leaves.last() {
            self.enter_pin(hand);
        } else if let Some(Leaf::Daily(_)) = self.leaves.last() {
            self.daily_answer(true, hand);
        }
    }

    fn choose(&mut self, id: &str, hand: &mut Hand<'_>) {
        let Some(id) = Id::parse(id) else {
            return;
        };
        if !access::may(&id, self.scopes()) {
            return;
        }
        if self.pass.is_none() {
            if id == Id::Act(Button::UnlockFromStick) {
                self.unlock_from_stick(hand);
            } else if id == Id::Act(Button::Plain(ids::Plain::Next)) {
                self.enter_pin(hand);
            }
            return;
        }
        match id {
            Id::Open(topic) => self.open_topic(topic, hand),
            Id::Go(Place::Menu) => self.show_menu(hand),
            Id::Go(Place::Help) => self.open(Leaf::Help, hand),
            Id::Go(Place::Day) => self.open_topic(Topic::Daily, hand),
            Id::Go(Place::Report) => self.open_report(hand),
            Id::Test { plan, device } => self.begin_test(&plan, &device, hand),
            Id::Stick(path) => self.stick_chosen(&path, hand),
            Id::Act(button) => self.press(button, hand),
        }
    }

    /// Another page over this one.
    fn open(&mut self, leaf: Leaf, hand: &mut Hand<'_>) {
        self.leave_leaf(hand);
        self.said = None;
        if self.leaves.len() >= DEPTH_MAX {
            // The menu stays at the bottom.
            self.leaves.remove(1);
        }
        self.leaves.push(leaf);
    }

    /// Back to what lies below.
    fn back(&mut self, hand: &mut Hand<'_>) {
        if self.leaves.len() <= 1 {
            return;
        }
        self.said = None;
        if matches!(self.leaves.last(), Some(Leaf::Testing(_))) {
            self.cancel_test(hand);
        } else {
            self.leave_leaf(hand);
            self.leaves.pop();
        }
        // A daily check without its test is none.
        while matches!(self.leaves.last(), Some(Leaf::Daily(daily)) if daily.is_testing()) {
            self.leaves.pop();
        }
        self.renew(hand);
    }

    fn show_menu(&mut self, hand: &mut Hand<'_>) {
        self.leave_leaf(hand);
        self.said = None;
        self.leaves.truncate(1);
    }

    /// What the shown page holds of devices is released when it is covered or gone.
    fn leave_leaf(&mut self, hand: &mut Hand<'_>) {
        match self.leaves.last_mut() {
            Some(Leaf::Unlock(unlock)) => unlock.stop(hand),
            Some(Leaf::Calibration(calibrating)) => calibrating.stop(hand),
            Some(Leaf::Testing(testing)) => testing.cancel(hand),
            Some(
                Leaf::Menu
                | Leaf::Help
                | Leaf::Facts(_)
                | Leaf::List(_)
                | Leaf::Outcome(_)
                | Leaf::Daily(_)
                | Leaf::Report(_),
            )
            | None => {}
        }
    }

    fn tick(&mut self, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        if self.pass.as_ref().is_some_and(|pass| now >= pass.until) {
            hand.end = Some("expired");
            return;
        }
        let before = self.acts.len();
        self.acts.retain(|act| now < act.since + ACT_LIMIT);
        if self.acts.len() < before {
            self.said = Some((Said::Problem("staff.no-answer"), false));
            // Whoever waited for it is here, and has to read this.
            hand.is_active = true;
        }
        self.unlock_tick(hand);
        self.facts_tick(hand);
    }

    fn found(&mut self, ticket: Ticket, found: &Found, hand: &mut Hand<'_>) {
        match found {
            Found::Challenge { .. }
            | Found::NeedsPin { .. }
            | Found::Unlocked(_)
            | Found::Refused { .. } => {
                if self.pass.is_none() {
                    self.unlock_found(ticket, found, hand);
                } else if let Found::Refused { code, .. } = found
                    && !self.facts_refused(ticket, code)
                {
                    self.act_over(ticket, |_| Some(Said::Problem(code)), false, hand);
                }
            }
            Found::PutOut { why } => {
                if self.pass.is_some() {
                    hand.end = Some(*why);
                }
            }
            Found::Facts(facts) => self.facts_found(ticket, facts, hand.uptime()),
            Found::Said { words, is_done } => {
                self.act_over(ticket, |lang| sentence(words, lang), *is_done, hand);
            }
            Found::Recorded {
                words,
                ticket: of_outcome,
            } => {
                self.outcome_kept(ticket, *of_outcome);
                // In a row of tests the page is another one by now.
                let is_past = matches!(self.leaves.last(), Some(Leaf::Testing(_) | Leaf::Facts(_)));
                let words = if is_past { "" } else { words };
                self.act_over(ticket, |lang| sentence(words, lang), true, hand);
            }
            Found::Report { pages, certificate } => {
                self.report_made(ticket, pages, certificate, hand);
            }
        }
    }

    /// Asks for an act; its answer says how it went.
    fn act(&mut self, act: Act, hand: &mut Hand<'_>) -> Option<Ticket> {
        if self.acts.len() >= ACTS_MAX {
            return None;
        }
        let lang = hand.sight.lang;
        let ticket = hand.ask(Work::Act { act, lang });
        self.acts.push(OnItsWay {
            ticket,
            since: hand.uptime(),
            lang,
        });
        Some(ticket)
    }

    /// The language of its answer when the ticket was that of an act on its way.
    fn act_ended(&mut self, ticket: Ticket, hand: &mut Hand<'_>) -> Option<Lang> {
        let at = self.acts.iter().position(|act| act.ticket == ticket)?;
        hand.is_active = true;
        Some(self.acts.remove(at).lang)
    }

    /// An act has been answered; an answer without words leaves those that stand there.
    fn act_over(
        &mut self,
        ticket: Ticket,
        said: impl FnOnce(Lang) -> Option<Said>,
        is_done: bool,
        hand: &mut Hand<'_>,
    ) {
        let Some(lang) = self.act_ended(ticket, hand) else {
            return;
        };
        if let Some(said) = said(lang) {
            self.said = Some((said, is_done));
        }
        self.renew(hand);
    }

    /// Devices and recordings of this mode are let go.
    fn release(&mut self, hand: &mut Hand<'_>) {
        self.cancel_test(hand);
        self.leave_leaf(hand);
        let lang = hand.sight.lang;
        for device in std::mem::take(&mut self.recordings) {
            let act = Act::Recording {
                device,
                is_on: false,
            };
            hand.ask(Work::Act { act, lang });
        }
    }

    fn key(&mut self, key: Key) {
        if let Some(Leaf::Unlock(unlock)) = self.leaves.last_mut() {
            unlock.key(key);
        }
    }

    fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let mut page = match self.leaves.last() {
            Some(Leaf::Unlock(unlock)) => unlock.page(sight),
            Some(Leaf::Menu) | None => self.menu_page(sight),
            Some(Leaf::Help) => self.help_page(sight),
            Some(Leaf::Facts(facts)) => self.facts_page(facts, sight),
            Some(Leaf::List(list)) => list.page(sight),
            Some(Leaf::Testing(testing)) => testing.page(sight),
            Some(Leaf::Outcome(ended)) => self.outcome_page(ended, sight),
            Some(Leaf::Daily(daily)) => daily.page(sight),
            Some(Leaf::Calibration(calibrating)) => calibrating.page(sight),
            Some(Leaf::Report(report)) => self.report_page(*report, sight),
        };
        if let Some(pass) = &self.pass {
            page.person = menu::who(sight.lang, &pass.permission);
            let left = pass.until.saturating_sub(sight.now.uptime);
            page.seconds_left = u32::try_from(left.as_secs()).ok();
        }
        page.is_busy |= !self.acts.is_empty();
        if let Some((said, is_done)) = &self.said
            && let Some(words) = said.words(sight.lang)
        {
            let place = if *is_done {
                &mut page.intro
            } else {
                &mut page.warning
            };
            words.clone_into(place);
        }
        page
    }
}

/// What the workbench wrote; `None` when it had nothing to say.
fn sentence(words: &str, lang: Lang) -> Option<Said> {
    let words = words.to_owned();
    (!words.is_empty()).then_some(Said::Sentence { words, lang })
}
