//! One citizen's visit: what the kiosk does next. No I/O, no clock, no threads: everything enters as
//! an [`Event`] and leaves as an [`Effect`], so that a visit can be replayed from its events.
//!
//! Invariants kept here: no slip and no "accepted" before `Event::Committed`; a late answer of an
//! earlier request is dropped by its ticket; when a visit ends, everything personal is dropped with
//! its `Visit` value and the erasure is recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kiosk_device::{DeviceClass, Media, Status};
use kiosk_ui::{Contrast, Language, Paper, Reading, TextSize, Touch, View};
use uuid::Uuid;

use crate::boot::Mode;
use crate::calibration::Calibrations;
use crate::catalogue::Catalogue;
use crate::clock::Moment;
use crate::event::{
    Commitment, Effect, Erasure, Event, Frame, Note, Slip, Standing, Ticket, Unanswered,
};
use crate::words::Lang;

mod answer;
mod device;
mod ending;
mod face;
mod finger;
mod flow;
mod order;
mod paper;
mod safe;
mod show;
pub(crate) mod staff;
mod visit;

pub use staff::StaffRules;

use ending::Leaving;
use visit::{Role, Visit};

/// What the terminal knows of the place where it stands.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Name of the place, shown in the header and on slips.
    pub name: String,
    /// Number of the terminal.
    pub terminal: String,
    /// Telephone of the help line.
    pub help_phone: String,
    /// Notices of the village, one sentence each.
    pub board: Vec<String>,
}

/// The heart: one loop feeds it events and performs its effects.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact that was told to the visit, true or false by itself"
)]
pub struct Session {
    catalogue: Arc<Catalogue>,
    site: Site,
    devices: BTreeMap<String, (DeviceClass, Status)>,
    is_online: bool,
    pending: u32,
    tickets: u64,
    language: Language,
    text_size: TextSize,
    contrast: Contrast,
    page: Page,
    visit: Visit,
    /// When the visitor was last active, on the monotonic clock.
    active_at: Duration,
    /// A slip that a power cut left unprinted.
    missed: Option<Ticket>,
    /// What orders have made of the terminal.
    standing: Standing,
    /// Items that the desired state withdraws.
    withdrawn: BTreeSet<String>,
    /// Upstreams that take nothing now.
    upstreams_down: BTreeSet<String>,
    /// The store takes new work.
    has_room: bool,
    /// A restart that waits until nobody is here.
    restart: Option<Uuid>,
    /// The program is about to end.
    is_ending: bool,
    /// How much of the terminal was started.
    mode: Mode,
    /// Upstreams as they were reported last.
    upstreams: BTreeMap<String, bool>,
    /// How the staff's mode is set.
    staff: StaffRules,
    /// What is calibrated at this place, and in force.
    calibrations: Calibrations,
    /// Until when the visitor is asked whether staff may use the terminal.
    staff_request: Option<Duration>,
    /// Staff come in when the farewell has been read.
    is_staff_wanted: bool,
}

/// Where the visitor is. Personal data lives in [`Visit`], except what is being typed.
#[derive(Debug)]
enum Page {
    Attract,
    Home {
        group: String,
        query: String,
        is_searching: bool,
    },
    Introduction,
    Identify {
        role: Role,
        ticket: Ticket,
        reading: Reading,
        code: &'static str,
    },
    Number {
        role: Role,
        text: kiosk_device::Sensitive<String>,
        has_error: bool,
    },
    Confirm {
        role: Role,
    },
    OfferElder,
    Checking {
        role: Role,
        ticket: Ticket,
        until: Duration,
    },
    Consent,
    Question {
        index: usize,
        text: kiosk_device::Sensitive<String>,
        has_error: bool,
    },
    Face {
        stream: Ticket,
        live: Option<Frame>,
        asked: Option<Ticket>,
        code: &'static str,
        /// The picture that is being looked at, and since when.
        judging: Option<(Ticket, Duration)>,
        /// What would keep the face from being compared, as last seen.
        advice: &'static str,
    },
    Capture {
        index: usize,
        stream: Ticket,
        live: Option<Frame>,
        taken: Option<Frame>,
        /// The picture in which the page is being looked for.
        straightening: Option<Ticket>,
        code: &'static str,
    },
    Review,
    Committing {
        ticket: Ticket,
    },
    AwaitingReceipt {
        until: Duration,
    },
    Done {
        print: Option<Ticket>,
        paper: Paper,
        code: &'static str,
    },
    Fetching {
        ticket: Ticket,
        until: Duration,
    },
    Painting {
        ticket: Ticket,
    },
    Preview {
        index: u32,
    },
    PrintingPages {
        ticket: Ticket,
        pages_out: u32,
        code: &'static str,
    },
    Rating {
        chosen: String,
    },
    TrackScan {
        ticket: Ticket,
        code: &'static str,
    },
    TrackAsking {
        ticket: Ticket,
        number: String,
        until: Duration,
    },
    TrackResult {
        number: String,
        state: String,
        text: String,
        updated: String,
    },
    Trouble {
        code: &'static str,
        words: String,
        ways: &'static [Way],
    },
    Leave {
        until: Duration,
        is_timed_out: bool,
    },
    Staff(Box<staff::Mode>),
}

/// Ways on from a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Do the current step again.
    Retry,
    /// Type the number instead of using the card.
    TypeNumber,
    /// Back to the choice of items.
    Home,
    /// End the visit.
    Leave,
}

impl Way {
    fn id(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::TypeNumber => "type-number",
            Self::Home => "home",
            Self::Leave => "leave",
        }
    }
}

/// How long the terminal waits for the platform on a visitor's question; chosen: people wait this
/// long without looking for help.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A sealed document takes longer to make.
const FETCH_LIMIT: Duration = Duration::from_secs(25);
/// How long the farewell stays; long enough to read it, short enough not to hold the next person.
const LEAVE_LIMIT: Duration = Duration::from_secs(6);
/// How much longer it stays while the printer says that its slip was not taken. Chosen: as long as a
/// presenter waits before it draws a slip back.
const PAPER_LIMIT: Duration = Duration::from_mins(1);
/// The time-out warning is shown this long before the end.
const WARNING: Duration = Duration::from_secs(20);
/// A touched rating is seen to be chosen before the farewell comes.
const THANKS: Duration = Duration::from_millis(1500);
/// From this age on, larger texts are offered (the law on the elderly counts from 60).
const ELDER_AGE: u32 = 60;

impl Session {
    /// A session that waits for its first visitor.
    pub fn new(catalogue: Arc<Catalogue>, site: Site) -> Self {
        Self {
            catalogue,
            site,
            devices: BTreeMap::new(),
            is_online: false,
            pending: 0,
            tickets: 0,
            language: Language::default(),
            text_size: TextSize::default(),
            contrast: Contrast::default(),
            page: Page::Attract,
            visit: Visit::default(),
            active_at: Duration::ZERO,
            missed: None,
            standing: Standing::default(),
            withdrawn: BTreeSet::new(),
            upstreams_down: BTreeSet::new(),
            has_room: true,
            restart: None,
            is_ending: false,
            mode: Mode::Normal,
            upstreams: BTreeMap::new(),
            staff: StaffRules::default(),
            calibrations: Calibrations::default(),
            staff_request: None,
            is_staff_wanted: false,
        }
    }

    /// The same session, standing as orders had left the terminal before it was started.
    #[must_use]
    pub fn standing(mut self, standing: Standing) -> Self {
        self.standing = standing;
        self
    }

    /// The same session with what was calibrated at this place.
    #[must_use]
    pub fn calibrations(mut self, calibrations: Calibrations) -> Self {
        self.calibrations = calibrations;
        self
    }

    /// Offers other items and shows another site from the next visit on. Does nothing and says false
    /// while somebody is here: a visit keeps the items that it began with.
    pub fn take_up(&mut self, catalogue: &Arc<Catalogue>, site: Site) -> bool {
        let is_idle = self.is_idle();
        if is_idle {
            self.catalogue = Arc::clone(catalogue);
            self.site = site;
        }
        is_idle
    }

    /// Advances by one event and says what to do about it, in order.
    pub fn apply(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.staff_took(&event, now, &mut effects) {
            return effects;
        }
        match event {
            Event::Touch(touch) => {
                self.active_at = now.uptime;
                self.touched(touch, now, &mut effects);
            }
            Event::Tick => self.tick(now, &mut effects),
            Event::Status {
                class,
                device,
                status,
            } => self.status(class, device, status, now, &mut effects),
            Event::CardFound(ticket) => self.card_found(ticket, now),
            Event::Card(ticket, person) => self.card(ticket, *person, now, &mut effects),
            Event::CardAgain(ticket, code) => self.card_again(ticket, code, now),
            Event::CardEnded(ticket, ending) => self.card_ended(ticket, ending, &mut effects),
            Event::Code(ticket, code) => self.code(ticket, &code, now, &mut effects),
            Event::CodeEnded(ticket, ending) => self.code_ended(ticket, ending, &mut effects),
            Event::Frame(ticket, frame) => self.frame(ticket, frame, now, &mut effects),
            Event::FaceJudged(ticket, code) => self.face_judged(ticket, code.unwrap_or_default()),
            Event::Straightened(ticket, frame) => self.straightened(ticket, frame),
            Event::CameraEnded(ticket, ending) => self.camera_ended(ticket, ending, &mut effects),
            Event::Print(ticket, news) => self.print_news(ticket, news, now),
            Event::Committed(ticket, commitment) => {
                self.committed(ticket, commitment, now, &mut effects);
            }
            Event::CommitFailed(ticket, code) => effects.extend(self.commit_failed(ticket, code)),
            Event::Answer(ticket, answer) => self.answered(ticket, answer, now, &mut effects),
            Event::Settled { id, receipt } => self.settled(id, receipt, now, &mut effects),
            Event::Pages(ticket, pages) => effects.extend(self.painted(ticket, pages, now)),
            Event::Link(is_online) => self.is_online = is_online,
            Event::Pending(count) => self.pending = count,
            Event::SlipMissed(commitment) => self.slip_missed(commitment, &mut effects),
            Event::Ordered { id, order } => self.ordered(id, order, &mut effects),
            Event::Suspended(items) => self.withdrawn = items.into_iter().collect(),
            Event::Upstream { name, is_up } => {
                self.upstreams.insert(name.clone(), is_up);
                self.upstream(name, is_up, now, &mut effects);
            }
            Event::Tested {
                test,
                device,
                has_passed,
            } => self.tested(&test, &device, has_passed, &mut effects),
            Event::Room(has_room) => self.has_room = has_room,
            Event::Calibrated(calibrations) => self.calibrations = *calibrations,
            // Sealing is the store's business; the visit goes on as before.
            // And answers to a mode of staff that was left.
            Event::SealingKey(_) | Event::Staff(..) | Event::Probed(..) => {}
        }
        self.restart_if_idle(&mut effects);
        effects
    }

    /// What the glass shows now.
    pub fn view(&self, now: Moment) -> View {
        show::view(self, now)
    }

    /// True while nobody is at the terminal, so that updates and restarts may happen.
    pub fn is_idle(&self) -> bool {
        matches!(self.page, Page::Attract)
    }

    fn lang(&self) -> Lang {
        self.language.into()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Leaves the current page: device commands that belong to it are canceled.
    fn turn_to(&mut self, page: Page, effects: &mut Vec<Effect>) {
        match &self.page {
            Page::Identify { ticket, .. } | Page::TrackScan { ticket, .. } => {
                effects.push(Effect::Cancel(*ticket));
            }
            Page::Face { stream, .. } | Page::Capture { stream, .. } => {
                effects.push(Effect::Cancel(*stream));
            }
            Page::Attract
            | Page::Home { .. }
            | Page::Introduction
            | Page::Number { .. }
            | Page::Confirm { .. }
            | Page::OfferElder
            | Page::Checking { .. }
            | Page::Consent
            | Page::Question { .. }
            | Page::Review
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Done { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::Preview { .. }
            | Page::PrintingPages { .. }
            | Page::Rating { .. }
            | Page::TrackAsking { .. }
            | Page::TrackResult { .. }
            | Page::Trouble { .. }
            | Page::Leave { .. }
            | Page::Staff(_) => {}
        }
        self.page = page;
    }

    fn trouble(
        &mut self,
        code: &'static str,
        words: String,
        ways: &'static [Way],
        effects: &mut Vec<Effect>,
    ) {
        self.turn_to(Page::Trouble { code, words, ways }, effects);
    }

    /// Ends the visit: everything personal is dropped here and nowhere later.
    fn end_visit(&mut self, now: Moment, leaving: Leaving, effects: &mut Vec<Effect>) {
        let erasure = self.visit.erasure();
        let was_empty = self.visit.is_empty();
        self.note_end(leaving, effects);
        let until = now.uptime + LEAVE_LIMIT;
        let has_paper = self.visit.has_paper;
        self.turn_to(
            Page::Leave {
                until,
                is_timed_out: leaving == Leaving::TimedOut,
            },
            effects,
        );
        self.visit = Visit::default();
        self.visit.has_paper = has_paper;
        if was_empty {
            self.rest();
        } else {
            effects.push(Effect::Erased(erasure));
        }
    }

    /// Drops what the visitor has given so far, and records that it was dropped.
    fn forget(&mut self, effects: &mut Vec<Effect>) {
        self.note_end(Leaving::OfOwnAccord, effects);
        let erasure = self.visit.erasure();
        self.visit = Visit::default();
        if erasure != Erasure::default() {
            effects.push(Effect::Erased(erasure));
        }
    }

    /// An item was begun and is over, whatever came of it.
    fn note_end(&self, leaving: Leaving, effects: &mut Vec<Effect>) {
        if let Some(item) = self.visit.item.as_ref().filter(|_| self.visit.has_begun) {
            effects.push(Effect::Note(Note::VisitEnded {
                item: item.id.clone(),
                end: self.end_now(leaving),
                is_timed_out: leaving == Leaving::TimedOut,
            }));
        }
    }

    /// Back to the attract screen with the defaults of a new visitor.
    fn rest(&mut self) {
        self.page = Page::Attract;
        self.visit = Visit::default();
        self.language = Language::default();
        self.text_size = TextSize::default();
        self.contrast = Contrast::default();
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_over = |until: &Duration| now.uptime >= *until;
        match &self.page {
            Page::Leave { until, .. } => {
                // A forgotten card keeps the farewell on the glass: the next person must not find it.
                // So does a slip, as far as the printer tells, but not for ever: it may be torn.
                let is_paper_left =
                    self.has_media(DeviceClass::SlipPrinter) && now.uptime < *until + PAPER_LIMIT;
                if is_over(until) && !self.is_card_present() && !is_paper_left {
                    self.rest();
                }
            }
            Page::AwaitingReceipt { until } if is_over(until) => self.after_commit(now, effects),
            Page::Rating { chosen }
                if !chosen.is_empty() && now.uptime >= self.active_at + THANKS =>
            {
                self.end_visit(now, Leaving::OfOwnAccord, effects);
            }
            Page::Checking {
                role,
                ticket,
                until,
            } if is_over(until) => {
                // No answer is an answer that failed: it takes the same way as one.
                let (role, ticket) = (*role, *ticket);
                self.check_is_late(role, ticket, now, effects);
            }
            Page::Fetching { until, .. } if is_over(until) => {
                self.trouble("platform.slow", String::new(), ONLINE_WAYS, effects);
            }
            Page::TrackAsking { until, .. } if is_over(until) => {
                self.trouble("platform.slow", String::new(), TRACK_WAYS, effects);
            }
            Page::Attract
            | Page::Home { .. }
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
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Done { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::Preview { .. }
            | Page::PrintingPages { .. }
            | Page::Rating { .. }
            | Page::TrackScan { .. }
            | Page::TrackAsking { .. }
            | Page::TrackResult { .. }
            | Page::Trouble { .. }
            | Page::Staff(_) => {}
        }
        if self.is_card_present() {
            // A card on the reader means a person at the terminal: the visit never times out.
            self.active_at = now.uptime;
        }
        if self.time_left(now) == Some(Duration::ZERO) {
            self.end_visit(now, Leaving::TimedOut, effects);
        }
    }

    fn check_is_late(
        &mut self,
        role: Role,
        ticket: Ticket,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let slow = Unanswered {
            code: "platform.slow",
            words: String::new(),
        };
        match role {
            Role::Witness => self.witness_answered(ticket, Err(slow), now, effects),
            Role::Principal | Role::Helper => {
                self.unchecked(slow.code, slow.words, now, effects);
            }
        }
    }

    /// How long the current page may stay untouched; `None` where it may stay for ever.
    fn idle_limit(&self) -> Option<Duration> {
        let seconds = match self.page {
            Page::Attract
            | Page::Leave { .. }
            | Page::Checking { .. }
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::TrackAsking { .. }
            | Page::Staff(_) => return None,
            Page::PrintingPages { code, .. } => {
                if code.is_empty() {
                    return None;
                }
                180
            }
            Page::Rating { .. } => 30,
            Page::Home { .. }
            | Page::Introduction
            | Page::Identify { .. }
            | Page::Confirm { .. }
            | Page::OfferElder
            | Page::Done { .. }
            | Page::TrackScan { .. }
            | Page::TrackResult { .. }
            | Page::Trouble { .. } => 60,
            Page::Number { .. }
            | Page::Consent
            | Page::Question { .. }
            | Page::Face { .. }
            | Page::Preview { .. } => 90,
            Page::Capture { .. } | Page::Review => 120,
        };
        let is_slow = matches!(self.text_size, TextSize::Larger | TextSize::Largest);
        // Who needs large type needs time as well.
        Some(Duration::from_secs(if is_slow {
            seconds * 3 / 2
        } else {
            seconds
        }))
    }

    /// Time until the visit ends by itself; `None` while it cannot.
    fn time_left(&self, now: Moment) -> Option<Duration> {
        if let Page::Staff(mode) = &self.page {
            return mode.time_left(self.active_at, &self.staff, now);
        }
        if self.is_card_present() {
            return None;
        }
        let limit = self.idle_limit()?;
        let idle = now.uptime.saturating_sub(self.active_at);
        Some(limit.saturating_sub(idle))
    }

    fn is_card_present(&self) -> bool {
        self.devices
            .values()
            .any(|(class, status)| *class == DeviceClass::IdCard && status.media == Media::Present)
    }

    /// A case was durable when the power went, but its slip was not out: print it for the person
    /// who may still stand here, without anything personal on it.
    fn slip_missed(&mut self, commitment: Commitment, effects: &mut Vec<Effect>) {
        let Some(item) = self.catalogue.get(&commitment.item).cloned() else {
            return;
        };
        let Some(template) = flow::slip_template(&item) else {
            return;
        };
        let ticket = self.ticket();
        self.missed = Some(ticket);
        let content = paper::slip_content(self, &item, &commitment, None, true);
        effects.push(Effect::PrintSlip(
            ticket,
            Box::new(Slip {
                commitment,
                template,
                content,
                is_copy: true,
            }),
        ));
    }
}

/// After a failure of the platform inside an item.
const ONLINE_WAYS: &[Way] = &[Way::Retry, Way::Home, Way::Leave];
/// After a failure while asking for a case.
const TRACK_WAYS: &[Way] = &[Way::Home, Way::Leave];
/// Where trying again cannot help.
const NO_RETRY: &[Way] = &[Way::Home, Way::Leave];

/// True for touches that only change how the page looks.
fn is_setting(touch: &Touch) -> bool {
    matches!(
        touch,
        Touch::Language(_)
            | Touch::TextSize(_)
            | Touch::Contrast(_)
            | Touch::Activity
            | Touch::Stay
    )
}
