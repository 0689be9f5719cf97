//! The loop: take one input, apply it to the visit, perform the effects, show the view.
//!
//! The order of a commitment is kept here: the record is durable before `Event::Committed` exists,
//! and the print ledger knows of every sheet before a printer does.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiosk_device::{DeviceClass, DeviceConfig, Sensitive, hotplug};
use kiosk_documents::Bits;
use kiosk_printer::escpos::SlipRaster;
use kiosk_ui::{Touch, UiHandle, View};
use offline_cache::{Cache, CacheError, LedgerEntry, NewPrint, PrintKind, PrintState, UsageKind};
use uuid::Uuid;

use crate::audit::AuditLog;
use crate::boot::{Boot, Mode};
use crate::calibration::Calibrations;
use crate::catalogue::{Catalogue, Offered, Offering, item::template_path};
use crate::clock::{self, Moment};
use crate::config::{Config, Paths};
use crate::desk::Desk;
use crate::devices;
use crate::diary::DeviceDiary;
use crate::documents::{Documents, TypesetSlip};
use crate::event::{
    Commitment, Credential, Effect, Event, Note, Order, PrintNews, Rating, Slip, Standing,
    Submission, Ticket, VisitEnd,
};
use crate::hub::{DeviceReport, Hub};
use crate::keys::Keys;
use crate::logging;
use crate::pictures::Pictures;
use crate::platform::{DeviceVitals, Identity, Platform, UsageVitals, Vitals};
use crate::queue::{self, Sealing};
use crate::safe;
use crate::selftest::headless::{self, News, Request};
use crate::selftest::machine::{Machine, Typeset};
use crate::selftest::{Exam, Outcome, Setting, Verdict};
use crate::session::{Session, Site, StaffRules};
use crate::vital;
use crate::watchdog::{self, Pulse};
use crate::workbench::{self, Found, Workbench};

/// Inputs that may wait for the loop; devices, platform and fingers together send a few dozen a
/// second, and the loop handles thousands.
const INBOX_LIMIT: usize = 512;
/// Touches that may wait; a finger that is faster than this is noise.
const TOUCH_LIMIT: usize = 16;
/// The loop turns at least this often, for clocks and countdowns.
const TICK: Duration = Duration::from_millis(250);
/// A slip that a power cut left unprinted is printed if the terminal is back this soon.
const MISSED_LIMIT: Duration = Duration::from_mins(10);

/// Setting under which orders' effects are kept over a restart.
const STANDING: &str = "standing";
/// Room that a case may need: the largest payload and three photographs. It is looked for when
/// somebody comes, so that nobody types for nothing.
const CASE_BYTES: u64 = 8 * 1024 * 1024;
/// How long the program still runs after an ordered restart, so that the answer can be sent.
const RESTART_GRACE: Duration = Duration::from_secs(2);
/// Rows of the store that are checked in one idle turn of the loop. Chosen: some milliseconds.
const CHECK_STEPS: u32 = 1000;
/// How often it is looked whether there are other items, while nobody is here. Chosen: whoever sent
/// them to a terminal and stands before it sees them within half a minute.
const OFFERING_INTERVAL: Duration = Duration::from_secs(15);
/// How often the loop tells the platform how the terminal is; the heartbeat is slower.
const VITALS_INTERVAL: Duration = Duration::from_secs(15);

/// What the loop takes in.
#[derive(Debug)]
pub enum Input {
    /// An event in the words of the visit.
    Event(Event),
    /// A report of a device, by its id.
    Device(String, DeviceReport),
    /// A slip was typeset, or could not be.
    SlipReady(Ticket, Result<TypesetSlip, &'static str>),
    /// A test print was typeset, or could not be.
    TestSheet(Ticket, Result<Typeset, &'static str>),
    /// A document was moved on its paper, by the calibration of the printer.
    PagesMoved(Ticket, Arc<Sensitive<Vec<u8>>>, u32),
    /// Somebody at a terminal window or the update agent wants the guided tests run.
    Examine(Request),
    /// Somebody wants to start the terminal anew and asks whether a visit is under way.
    Visit(SyncSender<bool>),
    /// The readiness report is to be printed: its document and its pages. It speaks of no case, and the
    /// ledger says so.
    PrintReport(Ticket, Arc<Sensitive<Vec<u8>>>, u32),
    /// A slip of the staff is to be printed. It speaks of no case, and the ledger says so.
    StaffSlip(Ticket, Bits),
    /// End of the program.
    Stop,
}

/// Why the terminal cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The durable store cannot be opened.
    #[error("the store in {} cannot be opened", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: CacheError,
    },
    /// The keys cannot be opened.
    #[error(transparent)]
    Keys(#[from] crate::keys::KeyError),
    /// A device is configured wrongly.
    #[error(transparent)]
    Device(#[from] kiosk_device::ConfigError),
    /// The platform is configured wrongly, or its thread cannot start.
    #[error(transparent)]
    Platform(#[from] crate::platform::PlatformError),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[from] std::io::Error),
}

/// The running terminal behind the glass.
#[derive(Debug)]
pub struct Terminal {
    inbox: SyncSender<Input>,
    thread: JoinHandle<Farewell>,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It was asked to.
    Stopped,
    /// It wants to be started anew, by whoever watches it: the platform ordered so, or the store is
    /// damaged and is salvaged by the next opening.
    Restart,
}

impl Terminal {
    /// The channel for touches: give one end to the glass, the other to [`Terminal::start`].
    pub fn touches() -> (SyncSender<Touch>, Receiver<Touch>) {
        sync_channel(TOUCH_LIMIT)
    }

    /// Opens the store and starts every thread; in safe mode without items, and of the devices with
    /// the scanner at most.
    ///
    /// # Errors
    /// [`StartError`] when the configuration or the store does not allow it. Devices and the
    /// platform may be missing: they are waited for.
    pub fn start(
        config: &Config,
        boot: &Boot,
        ui: UiHandle,
        touches: Receiver<Touch>,
    ) -> Result<Self, StartError> {
        let now = clock::now();
        let (inbox, inputs) = sync_channel(INBOX_LIMIT);
        let failed = |source| store_failed(config, source);
        let cache = open_store(config, boot, now)?;
        let keys = Keys::open(&config.paths.state, &config.key_source())?;
        let is_whole = *boot.mode() == Mode::Normal;
        let (offering, offered) = open_offering(config, is_whole);
        let platform = Platform::start(
            &config.platform,
            Identity {
                terminal: config.terminal.id.clone(),
                key: Arc::clone(keys.device()),
            },
            cache.another().map_err(failed)?,
            inbox.clone(),
        )?;
        let documents = Documents::start(config.paths.fonts.clone(), inbox.clone())?;
        let pictures = Pictures::start(inbox.clone())?;
        let (mut hub, resting) = start_hub(config, boot, &inbox)?;
        let plugs = hub.roster().watch_plugs();
        let desk = Desk::new(
            config,
            cache.another().map_err(failed)?,
            Arc::clone(keys.device()),
            Some(platform.clone()),
        );
        let workbench = Workbench::start(workbench::Parts {
            config: config.clone(),
            cache: cache.another().map_err(failed)?,
            desk: desk.another().map_err(failed)?,
            key: Arc::clone(keys.device()),
            roster: hub.roster(),
            out: inbox.clone(),
        })?;
        let looks = headless::surroundings(config, Some(&keys), Some(&cache));
        hub.play_by(Machine::start(looks, inbox.clone())?);
        let served =
            devices::socket::serve_with(&config.paths.state, hub.roster(), Some(desk), &inbox);
        if let Err(error) = served {
            // A terminal that nobody can look into still serves its village.
            tracing::warn!(%error, "the socket for `kiosk devices` and `kiosk queue` cannot be served");
        }
        forward_touches(touches, inbox.clone())?;
        let proven = boot.clone();
        let pulse = watchdog::start(&ui, move || proven.proven())?;
        let turns = Loop::new(
            config,
            Parts {
                boot: boot.clone(),
                hub,
                resting,
                plugs,
                cache,
                keys,
                offering,
                offered,
                documents,
                pictures,
                platform,
                ui,
                pulse,
                workbench,
            },
            now,
        );
        let thread = spawn_loop(turns, inputs)?;
        Ok(Self { inbox, thread })
    }

    /// Ends the loop, if it has not ended already, and says how it ended.
    pub fn stop(self) -> Farewell {
        if self.inbox.send(Input::Stop).is_err() {
            tracing::debug!("the loop has ended by itself");
        }
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the session thread ended with a panic");
            Farewell::Stopped
        })
    }
}

fn store_failed(config: &Config, source: CacheError) -> StartError {
    let path = config.paths.state.join("store");
    StartError::Store { path, source }
}

/// Opens the store and writes down that the terminal starts.
fn open_store(config: &Config, boot: &Boot, now: Moment) -> Result<Cache, StartError> {
    let store = config.paths.state.join("store");
    let (mut cache, opening) = Cache::open_with(&store, &config.store_options(), now.at)
        .map_err(|source| store_failed(config, source))?;
    AuditLog::started(&mut cache, &opening, now);
    AuditLog::booted(&mut cache, boot, now);
    if let Some(mistake) = config.source.mistake() {
        AuditLog::kept(&mut cache, mistake, now);
    }
    if let Some(file) = &opening.quarantined {
        tracing::error!(
            file,
            "the store was damaged; it was moved aside and what can be read was taken over"
        );
    }
    tracing::info!(recovered = opening.recovered_in_flight, "store opened");
    Ok(cache)
}

/// The items, and none in safe mode.
fn open_offering(config: &Config, is_whole: bool) -> (Offering, Offered) {
    let mut offering = Offering::new(&config.paths.items, &config.paths.region());
    let offered = if is_whole {
        offering.load()
    } else {
        Offered::default()
    };
    (offering, offered)
}

/// Starts the devices, and names those that rest: in safe mode all but the scanner, by which staff
/// come in, and the scanner too where it may be what ends badly.
fn start_hub(
    config: &Config,
    boot: &Boot,
    inbox: &SyncSender<Input>,
) -> Result<(Hub, Vec<(String, DeviceClass)>), StartError> {
    if *boot.mode() == Mode::Normal {
        return Ok((Hub::start(&config.devices, inbox)?, Vec::new()));
    }
    let is_awake =
        |device: &DeviceConfig| boot.may_scan() && device.class == DeviceClass::QrScanner;
    let awake: Vec<DeviceConfig> = config
        .devices
        .iter()
        .filter(|device| is_awake(device))
        .cloned()
        .collect();
    let rest = |is_awake: &dyn Fn(&DeviceConfig) -> bool| {
        let resting = config.devices.iter().filter(|device| !is_awake(device));
        resting
            .map(|device| (device.id.clone(), device.class))
            .collect()
    };
    match Hub::start(&awake, inbox) {
        Ok(hub) => Ok((hub, rest(&is_awake))),
        Err(error) => {
            // A scanner that is configured wrongly must not take safe mode away.
            tracing::warn!(%error, "the scanner rests too");
            Ok((Hub::start(&[], inbox)?, rest(&|_| false)))
        }
    }
}

/// What the loop is made of, opened and started.
struct Parts {
    boot: Boot,
    hub: Hub,
    resting: Vec<(String, DeviceClass)>,
    plugs: Option<hotplug::Watch>,
    cache: Cache,
    keys: Keys,
    offering: Offering,
    offered: Offered,
    documents: Documents,
    pictures: Pictures,
    platform: Platform,
    ui: UiHandle,
    pulse: Pulse,
    workbench: Workbench,
}

/// The glass speaks by a channel of its own, so that a burst of device reports never loses a touch.
fn forward_touches(touches: Receiver<Touch>, inbox: SyncSender<Input>) -> std::io::Result<()> {
    vital::spawn("touches", move || {
        for touch in touches {
            match inbox.try_send(Input::Event(Event::Touch(touch))) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => tracing::warn!("touch dropped: the loop is busy"),
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    })
    .map(drop)
}

/// One print on its way, by ticket.
#[derive(Debug)]
struct Print {
    /// Its entry in the ledger.
    id: Uuid,
    /// The transaction of a slip.
    transaction: Option<Uuid>,
    /// The item that it belongs to; empty for a slip of the staff.
    item: String,
    /// It lies in the outlet; kept until it is taken or something else is printed.
    is_presented: bool,
}

struct Loop {
    session: Session,
    boot: Boot,
    catalogue: Arc<Catalogue>,
    offering: Offering,
    /// What `kiosk.toml` says of the place; the region may set some of it.
    site: Site,
    /// What is wrong with items or with what the region sets.
    offering_alarm: Option<DeviceVitals>,
    /// When it is looked next whether there are other items, on the monotonic clock.
    offering_at: Duration,
    /// Where things lie.
    paths: Paths,
    sealing: Sealing,
    hub: Hub,
    /// Held only: dropping it ends the watch.
    _plugs: Option<hotplug::Watch>,
    cache: Cache,
    keys: Keys,
    audit: AuditLog,
    diary: DeviceDiary,
    documents: Documents,
    pictures: Pictures,
    platform: Platform,
    ui: UiHandle,
    pulse: Pulse,
    workbench: Workbench,
    prints: HashMap<Ticket, Print>,
    /// A durable case whose slip is not out; printed when the printer is ready.
    missed: Option<Commitment>,
    shown: Option<View>,
    /// When the program ends for an ordered restart, on the monotonic clock.
    ends_at: Option<Duration>,
    /// When the platform thread is told next how the terminal is, on the monotonic clock.
    vitals_at: Duration,
    /// What is wrong with the terminal itself, and is no device's fault.
    alarm: Option<DeviceVitals>,
    /// Devices of the configuration that rest in safe mode.
    resting: Vec<(String, DeviceClass)>,
    /// The store's check at start was cut short and goes on in idle time.
    is_checking: bool,
    /// What is calibrated at this place, and in force.
    calibrations: Calibrations,
    /// What tests must know of the terminal.
    setting: Setting,
    /// Guided tests that run while nobody is here, and who is told of them.
    exam: Option<(Exam, SyncSender<News>)>,
}

impl Loop {
    fn new(config: &Config, parts: Parts, now: Moment) -> Self {
        let site = safe::site(config);
        let standing = standing(&parts.cache);
        let calibrations = calibrations(&parts.cache);
        let Offered {
            catalogue,
            region,
            alarm: offering_alarm,
        } = parts.offered;
        let catalogue = Arc::new(catalogue);
        let settings = region.map(|region| region.settings).unwrap_or_default();
        let session = Session::new(Arc::clone(&catalogue), safe::site_in(&site, &settings))
            .standing(standing)
            .calibrations(calibrations.clone())
            .staff_rules(StaffRules {
                idle: Duration::from_mins(u64::from(config.staff.idle_minutes)),
                door: config.staff.door.clone(),
                mistake: config.source.mistake().cloned(),
            })
            .safe(parts.boot.mode().clone());
        let mut turns = Self {
            session,
            boot: parts.boot,
            catalogue,
            offering: parts.offering,
            site,
            offering_alarm,
            offering_at: now.uptime + OFFERING_INTERVAL,
            paths: config.paths.clone(),
            sealing: Sealing {
                key: config.platform.sealing_key.clone(),
                terminal: config.terminal.id.clone(),
            },
            hub: parts.hub,
            _plugs: parts.plugs,
            cache: parts.cache,
            keys: parts.keys,
            audit: AuditLog::new(&config.terminal.id, now),
            diary: DeviceDiary::new(now),
            documents: parts.documents,
            pictures: parts.pictures,
            platform: parts.platform,
            ui: parts.ui,
            pulse: parts.pulse,
            workbench: parts.workbench,
            prints: HashMap::new(),
            missed: None,
            shown: None,
            ends_at: None,
            vitals_at: now.uptime,
            alarm: config.alarm(),
            resting: parts.resting,
            is_checking: true,
            calibrations: Calibrations::default(),
            setting: Setting::default(),
            exam: None,
        };
        turns.calibrate(calibrations);
        turns.find_missed_slip(now);
        turns
    }

    fn run(mut self, inputs: &Receiver<Input>) -> Farewell {
        self.show(clock::now());
        let farewell = self.turn(inputs);
        let now = clock::now();
        self.diary
            .write(self.hub.roster().counters(), &mut self.cache, now);
        self.audit.stopped(&mut self.cache, &self.keys, now);
        if farewell == Farewell::Restart {
            self.ui.quit();
        }
        farewell
    }

    fn turn(&mut self, inputs: &Receiver<Input>) -> Farewell {
        loop {
            let input = match inputs.recv_timeout(TICK) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return Farewell::Stopped,
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
            };
            self.pulse.turn();
            let now = clock::now();
            let is_quiet = input.is_none();
            if let Some(event) = input.and_then(|input| self.take(input, now)) {
                self.advance(event, now);
            }
            // Cheap, and it must not starve when inputs never pause.
            self.advance(Event::Tick, now);
            self.show(now);
            self.keep_books(is_quiet, now);
            if self.ends_at.is_some_and(|end| now.uptime >= end) {
                return Farewell::Restart;
            }
        }
    }

    /// What nobody waits for: diary, audit log, vitals, and the rest of the store's check.
    fn keep_books(&mut self, is_quiet: bool, now: Moment) {
        self.diary.turn(&self.hub.roster(), &mut self.cache, now);
        self.audit.turn(&mut self.cache, &self.keys, now);
        if now.uptime >= self.vitals_at {
            self.vitals_at = now.uptime + VITALS_INTERVAL;
            self.tell_vitals(now);
        }
        if is_quiet && self.is_checking && self.session.is_idle() {
            self.check_store(now);
        }
        if is_quiet && now.uptime >= self.offering_at && self.session.is_idle() {
            self.offering_at = now.uptime + OFFERING_INTERVAL;
            self.look_for_items(now);
        }
    }

    /// Takes up what the updater has brought. Nobody is here: a visit keeps what it began with.
    fn look_for_items(&mut self, now: Moment) {
        if *self.boot.mode() != Mode::Normal || !self.offering.has_changed() {
            return;
        }
        let Offered {
            catalogue,
            region,
            alarm,
        } = self.offering.load();
        let region = region.unwrap_or_default();
        tracing::info!(
            version = region.version,
            items = catalogue.iter().count(),
            "other items are offered from now on"
        );
        let catalogue = Arc::new(catalogue);
        let site = safe::site_in(&self.site, &region.settings);
        if self.session.take_up(&catalogue, site) {
            self.catalogue = catalogue;
            self.offering_alarm = alarm;
            self.show(now);
        }
    }

    fn tell_vitals(&mut self, now: Moment) {
        let mut usage = UsageVitals::default();
        match self.cache.usage(now.date().year()) {
            Ok(counted) => {
                for count in counted {
                    let sum = match count.kind {
                        UsageKind::Visit => &mut usage.visits,
                        UsageKind::Transaction => &mut usage.transactions,
                        UsageKind::Print => &mut usage.prints,
                    };
                    *sum += count.count;
                }
            }
            Err(error) => tracing::warn!(code = error.code(), %error, "usage counter"),
        }
        // First, so that a terminal with many devices cannot crowd it out.
        let alarms = self.alarm.iter().chain(&self.offering_alarm);
        let mut devices: Vec<DeviceVitals> = alarms.cloned().collect();
        devices.extend(self.hub.roster().vitals());
        let update = workbench::update::vitals(&self.paths.updater, self.offering.version());
        self.platform.report(Vitals {
            devices,
            usage,
            update,
        });
    }

    /// A few steps of the check that the start had no time for.
    fn check_store(&mut self, now: Moment) {
        let Some(is_sound) = self.cache.continue_check(CHECK_STEPS) else {
            return;
        };
        self.is_checking = false;
        if !is_sound {
            // Nobody is here; the next opening moves the store aside and salvages it.
            tracing::error!("the store is damaged; the program ends to salvage it");
            AuditLog::damaged(&mut self.cache, now);
            self.ends_at = Some(now.uptime);
        }
    }

    /// An input as an event of the visit.
    fn take(&mut self, input: Input, now: Moment) -> Option<Event> {
        match input {
            Input::Event(event) => Some(event),
            Input::Device(device, report) => self.hub.translate(device, report),
            Input::SlipReady(ticket, Ok(typeset)) => self.slip_ready(ticket, typeset, now),
            Input::SlipReady(ticket, Err(code)) => {
                Some(Event::Print(ticket, PrintNews::Failed(code)))
            }
            Input::TestSheet(ticket, typeset) => {
                let code = self.hub.print_test(ticket, typeset).err()?;
                Some(Event::Print(ticket, PrintNews::Failed(code)))
            }
            Input::PrintReport(ticket, pdf, pages) => self.print_report(ticket, pdf, pages, now),
            Input::PagesMoved(ticket, pdf, pages) => {
                let code = self.hub.print_moved(ticket, pdf, pages).err()?;
                Some(Event::Print(ticket, PrintNews::Failed(code)))
            }
            Input::StaffSlip(ticket, bits) => self.print_staff_slip(ticket, bits, now),
            Input::Examine(request) => {
                self.begin_exam(request, now);
                None
            }
            Input::Visit(answer) => {
                if answer.try_send(!self.session.is_idle()).is_err() {
                    tracing::debug!("whoever asked for a visit is gone");
                }
                None
            }
            Input::Stop => None,
        }
    }

    fn advance(&mut self, event: Event, now: Moment) {
        let mut events = VecDeque::from([event]);
        if let Some(Event::Touch(_)) = events.front()
            && self.session.is_idle()
        {
            events.push_front(self.look_for_room());
        }
        // Each effect answers with one event at most, and no event asks for itself again.
        while let Some(event) = events.pop_front() {
            self.record(&event, now);
            self.workbench.hear(&event);
            self.setting.note(&event);
            events.extend(self.examine(&event, now));
            let is_printer = matches!(&event, Event::Status { class: DeviceClass::SlipPrinter, status, .. } if status.is_ready());
            for effect in self.session.apply(event, now) {
                events.extend(self.perform(effect, now));
            }
            if is_printer && let Some(commitment) = self.missed.take() {
                tracing::info!(
                    number = commitment.number,
                    "printing the slip that an interruption left out"
                );
                events.push_back(Event::SlipMissed(commitment));
            }
        }
    }

    /// Begins an exam that `kiosk selftest` wants; not while somebody is here.
    fn begin_exam(&mut self, request: Request, now: Moment) {
        let refused = if self.exam.is_some() {
            Some("the tests are running already".to_owned())
        } else if !self.session.is_idle() {
            Some("somebody is at the terminal; try again when it is free".to_owned())
        } else {
            None
        };
        let statuses = self.hub.roster().statuses();
        let devices: Vec<_> = statuses
            .into_iter()
            .map(|(id, class, _)| (id, class))
            .chain(self.resting.iter().cloned())
            .collect();
        let tests = match refused {
            Some(words) => Err(words),
            None => request.wanted.choose(&devices),
        };
        match tests {
            Ok(mut tests) => {
                tests.retain(|(plan, device)| {
                    let is_resting = self.resting.iter().any(|(id, _)| id == device);
                    if is_resting {
                        let outcome = Outcome::resting(plan, device);
                        drop(request.news.try_send(News::Ended(outcome)));
                    }
                    !is_resting
                });
                tracing::info!(count = tests.len(), "guided tests begin");
                let setting = Setting {
                    has_person: false,
                    ..self.setting.clone()
                };
                self.exam = Some((Exam::new(tests, setting), request.news));
                self.advance(Event::Tick, now);
            }
            // Whoever asked may be gone; then nobody wants to know.
            Err(words) => drop(request.news.try_send(News::Refused(words))),
        }
    }

    /// Lets a running exam have an event. The first touch ends it: a visitor never waits for a test.
    fn examine(&mut self, event: &Event, now: Moment) -> Vec<Event> {
        let Some((mut exam, news)) = self.exam.take() else {
            return Vec::new();
        };
        let is_touch = matches!(event, Event::Touch(_));
        let (effects, outcomes) = if is_touch {
            exam.cancel()
        } else {
            exam.apply(event, now)
        };
        let perform = |effect| self.perform(effect, now);
        let mut events: Vec<Event> = effects.into_iter().filter_map(perform).collect();
        let mut is_heard = true;
        for outcome in outcomes {
            tracing::info!(test = outcome.test, device = outcome.device, verdict = ?outcome.verdict, problem = outcome.problem, "guided test");
            is_heard &= news.try_send(News::Ended(outcome.clone())).is_ok();
            headless::record(&mut self.cache, &self.hub.roster(), &outcome, now);
            if matches!(outcome.verdict, Verdict::Passed | Verdict::Failed) {
                events.push(Event::Tested {
                    has_passed: outcome.verdict == Verdict::Passed,
                    test: outcome.test,
                    device: outcome.device,
                });
            }
        }
        if is_touch {
            let words = "somebody came to the terminal; the tests were broken off".to_owned();
            drop(news.try_send(News::Refused(words)));
        } else if exam.is_over() {
            drop(news.try_send(News::Over));
        } else if is_heard {
            self.exam = Some((exam, news));
        } else {
            let (effects, _) = exam.cancel();
            let perform = |effect| self.perform(effect, now);
            events.extend(effects.into_iter().filter_map(perform));
        }
        events
    }

    fn show(&mut self, now: Moment) {
        let view = self.session.view(now);
        if self.shown.as_ref() != Some(&view) {
            self.ui.show(view.clone());
            self.shown = Some(view);
        }
    }

    fn perform(&mut self, effect: Effect, now: Moment) -> Option<Event> {
        use crate::event::Ending::Failed;
        match effect {
            Effect::ReadCard(ticket) => {
                let code = self.hub.read_card(ticket).err()?;
                Some(Event::CardEnded(ticket, Failed(code)))
            }
            Effect::ReadSocialCard(ticket) => {
                self.hub.read_social_card(ticket);
                None
            }
            // What visits and tests ask alike.
            Effect::Judge(..)
            | Effect::Decode(..)
            | Effect::Scan(_)
            | Effect::Stream(..)
            | Effect::Cancel(_)
            | Effect::Probe(..) => headless::perform(&mut self.hub, &self.pictures, effect),
            Effect::Straighten(ticket, jpeg) => {
                self.pictures.straighten(ticket, jpeg);
                None
            }
            Effect::Ask(ticket, question) => {
                let kind = queue::unanswered(&question);
                let code = self.platform.ask(ticket, question).err()?;
                Some(Event::Answer(ticket, kind(code)))
            }
            Effect::Commit(ticket, submission) => Some(self.commit(ticket, &submission, now)),
            Effect::Rate(rating) => {
                self.rate(&rating, now);
                None
            }
            Effect::PrintSlip(ticket, slip) => self.typeset(ticket, slip, now),
            Effect::Paint(ticket, pdf) => {
                let code = self.documents.paint(ticket, pdf).err()?;
                Some(Event::Pages(ticket, Err(code)))
            }
            Effect::PrintPages {
                ticket,
                item,
                credential,
                pages,
            } => self.print_pages(ticket, item, &credential, pages, now),
            Effect::Staff(ticket, work) => {
                let code = self.workbench.ask(ticket, work).err()?;
                let found = Box::new(Found::Refused { code, wait_s: 0 });
                Some(Event::Staff(ticket, found))
            }
            Effect::Erased(_)
            | Effect::Note(_)
            | Effect::Keep(_)
            | Effect::Performed(..)
            | Effect::CollectLogs(_)
            | Effect::TryNormally(_)
            | Effect::Restart(_) => {
                self.book(&effect, now);
                None
            }
        }
    }

    /// What goes into the books and is answered by nothing.
    fn book(&mut self, effect: &Effect, now: Moment) {
        if let Effect::Erased(erasure) = effect {
            self.documents.forget();
            tracing::info!(?erasure, "visit ended; personal data erased");
            AuditLog::erased(&mut self.cache, *erasure, now);
        } else if let Effect::Note(note) = effect {
            self.note(note, now);
        } else if let Effect::Keep(standing) = effect {
            self.keep(standing);
        } else if let Effect::Performed(id, order, result) = effect {
            self.performed(*id, order, *result, now);
        } else if let Effect::CollectLogs(id) = effect {
            let result = self.collect_logs();
            self.performed(*id, &Order::CollectLogs, result, now);
        } else if let Effect::Restart(id) = effect {
            self.performed(*id, &Order::Restart, Ok(()), now);
            self.ends_at = Some(now.uptime + RESTART_GRACE);
        } else if let Effect::TryNormally(by) = effect {
            self.try_normally(by, now);
        }
    }

    fn rate(&mut self, rating: &Rating, now: Moment) {
        let Self {
            cache,
            keys,
            sealing,
            ..
        } = self;
        match queue::rate(cache, keys, sealing, rating, now) {
            Ok(()) => self.platform.wake(),
            Err(error) => tracing::warn!(code = error.code(), %error, "rating lost"),
        }
    }

    fn note(&mut self, note: &Note, now: Moment) {
        if let Note::VisitBegun { item } = note {
            self.count(item, UsageKind::Visit, now);
        } else if let Note::VisitEnded { item, end, .. } = note {
            self.count_end(item, *end, now);
        }
        AuditLog::note(&mut self.cache, &self.keys, note, now);
    }

    /// How orders have left the terminal, over a restart.
    fn keep(&mut self, standing: &Standing) {
        let text = serde_json::to_string(standing).expect("plain words become JSON");
        if let Err(error) = self.cache.set_setting(STANDING, &text) {
            tracing::error!(code = error.code(), %error, "an order is forgotten at the next start");
        }
    }

    fn performed(
        &mut self,
        id: Uuid,
        order: &Order,
        result: Result<(), &'static str>,
        now: Moment,
    ) {
        tracing::info!(%id, order = order.name(), ?result, "order of the platform");
        AuditLog::ordered(&mut self.cache, id, order.name(), result, now);
        self.platform.ordered(id, result);
    }

    /// Out of safe mode: the next start is a whole one.
    fn try_normally(&mut self, by: &str, now: Moment) {
        match self.boot.try_normally(by, now.at) {
            Ok(()) => self.ends_at = Some(now.uptime + RESTART_GRACE),
            Err(error) => tracing::error!(%error, "the terminal stays in safe mode"),
        }
    }

    fn collect_logs(&self) -> Result<(), &'static str> {
        match logging::current().collect(&self.paths.state) {
            Ok(path) => {
                tracing::info!(path = %path.display(), "log collected");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the log cannot be collected");
                Err("command.log-not-written")
            }
        }
    }

    /// Whether a case would still find room; what cannot be told does not close the terminal.
    fn look_for_room(&self) -> Event {
        let has_room = self.cache.has_room(CASE_BYTES).unwrap_or_else(|error| {
            tracing::warn!(code = error.code(), %error, "room for new work");
            true
        });
        Event::Room(has_room)
    }

    /// Makes a case durable; only then does the visit hear of it.
    fn commit(&mut self, ticket: Ticket, submission: &Submission, now: Moment) -> Event {
        let upstream = self
            .catalogue
            .get(&submission.item)
            .map_or("", |item| item.upstream.as_str());
        let Self {
            cache,
            keys,
            sealing,
            ..
        } = self;
        match queue::commit(cache, keys, sealing, submission, upstream, now) {
            Ok(commitment) => {
                tracing::info!(id = %commitment.id, number = commitment.number, item = submission.item, "case is durable");
                self.count(&submission.item, UsageKind::Transaction, now);
                self.platform.wake();
                Event::Committed(ticket, commitment)
            }
            Err(error) => {
                tracing::error!(code = error.code(), %error, "case could not be made durable");
                Event::CommitFailed(ticket, error.code())
            }
        }
    }

    fn typeset(&mut self, ticket: Ticket, slip: Box<Slip>, now: Moment) -> Option<Event> {
        let failed = |code| Some(Event::Print(ticket, PrintNews::Failed(code)));
        let template = self
            .catalogue
            .get(&slip.commitment.item)
            .and_then(|item| template_path(&item.directory, &item.shared, &slip.template));
        let Some(template) = template else {
            return failed("document.template");
        };
        let print = NewPrint {
            id: queue::mint(now),
            // The ledger refuses a slip whose transaction is not durable.
            transaction_id: Some(slip.commitment.id),
            case_number: Some(slip.commitment.number.clone()),
            kind: PrintKind::Slip,
            digest: kiosk_sealing::sha256(slip.content.to_string().as_bytes()),
            pages: 1,
            first_page: 1,
            copy_no: if slip.is_copy { 2 } else { 1 },
            reprint_of: None,
        };
        let item = slip.commitment.item.clone();
        if let Err(code) = self.enter_print(ticket, &print, item, now) {
            return failed(code);
        }
        failed(self.documents.typeset(ticket, slip, template).err()?)
    }

    fn slip_ready(&mut self, ticket: Ticket, typeset: TypesetSlip, now: Moment) -> Option<Event> {
        self.move_print(ticket, PrintState::Printing, None, now);
        let raster = SlipRaster {
            width_dots: typeset.bits.width_dots,
            rows: typeset.bits.rows,
        };
        let code = self.hub.print_slip(ticket, raster).err()?;
        Some(Event::Print(ticket, PrintNews::Failed(code)))
    }

    fn print_staff_slip(&mut self, ticket: Ticket, bits: Bits, now: Moment) -> Option<Event> {
        let failed = |code| Some(Event::Print(ticket, PrintNews::Failed(code)));
        let print = first_copy(PrintKind::Slip, kiosk_sealing::sha256(&bits.rows), 1, now);
        if let Err(code) = self.enter_print(ticket, &print, String::new(), now) {
            return failed(code);
        }
        self.move_print(ticket, PrintState::Printing, None, now);
        let raster = SlipRaster {
            width_dots: bits.width_dots,
            rows: bits.rows,
        };
        failed(self.hub.print_staff_slip(ticket, raster).err()?)
    }

    fn print_report(
        &mut self,
        ticket: Ticket,
        pdf: Arc<Sensitive<Vec<u8>>>,
        pages: u32,
        now: Moment,
    ) -> Option<Event> {
        let digest = kiosk_sealing::sha256(pdf.expose());
        let print = first_copy(PrintKind::Page, digest, pages, now);
        self.print_entered(ticket, &print, String::new(), pdf, now)
    }

    /// Enters pages into the ledger, then hands them to the printer.
    fn print_entered(
        &mut self,
        ticket: Ticket,
        print: &NewPrint,
        item: String,
        pdf: Arc<Sensitive<Vec<u8>>>,
        now: Moment,
    ) -> Option<Event> {
        let failed = |code| Some(Event::Print(ticket, PrintNews::Failed(code)));
        if let Err(code) = self.enter_print(ticket, print, item, now) {
            return failed(code);
        }
        self.move_print(ticket, PrintState::Printing, None, now);
        failed(self.put_pages(ticket, pdf, print.pages).err()?)
    }

    fn print_pages(
        &mut self,
        ticket: Ticket,
        item: String,
        credential: &Credential,
        pages: u32,
        now: Moment,
    ) -> Option<Event> {
        let digest = kiosk_sealing::sha256(credential.pdf.expose());
        let print = NewPrint {
            case_number: Some(credential.number.clone()),
            ..first_copy(PrintKind::Page, digest, pages, now)
        };
        self.print_entered(ticket, &print, item, Arc::clone(&credential.pdf), now)
    }

    /// Hands pages to the printer, moved first where it begins at another place than it should.
    fn put_pages(
        &mut self,
        ticket: Ticket,
        pdf: Arc<Sensitive<Vec<u8>>>,
        pages: u32,
    ) -> Result<(), &'static str> {
        let offset = self.calibrations.page;
        if offset.is_zero() {
            return self.hub.print_report(ticket, pdf, pages);
        }
        self.documents.shift(ticket, pdf, pages, offset)?;
        self.hub.await_pages(ticket);
        Ok(())
    }

    /// Puts calibrations in force: the glass gets its own with the view.
    fn calibrate(&mut self, calibrations: Calibrations) {
        self.hub.calibrate(&calibrations);
        self.workbench.calibrated(&calibrations);
        self.calibrations = calibrations;
    }

    /// Enters a print into the ledger before anything of it goes to a printer.
    fn enter_print(
        &mut self,
        ticket: Ticket,
        print: &NewPrint,
        item: String,
        now: Moment,
    ) -> Result<(), &'static str> {
        if let Err(error) = self.cache.prepare_print(print, now.at) {
            tracing::error!(code = error.code(), %error, kind = ?print.kind, "not printed");
            return Err(error.code());
        }
        self.remember_print(ticket, print, item);
        Ok(())
    }

    /// From now on, news about `ticket` concern this entry of the ledger. Prints in the outlet that
    /// nobody was seen to take are let go: the ledger keeps them as presented.
    fn remember_print(&mut self, ticket: Ticket, new: &NewPrint, item: String) {
        self.prints.retain(|_, print| !print.is_presented);
        let print = Print {
            id: new.id,
            transaction: new.transaction_id,
            item,
            is_presented: false,
        };
        self.prints.insert(ticket, print);
    }

    /// Keeps the print ledger in step with what printers report, and the key with what is ordered.
    fn record(&mut self, event: &Event, now: Moment) {
        if let Event::SealingKey(key) = event
            && *key != self.sealing.key
        {
            tracing::info!(key = key.key_id(), "new work is sealed to another key");
            self.sealing.key = key.clone();
        }
        if let Event::Calibrated(calibrations) = event {
            tracing::info!("a calibration is in force");
            self.calibrate(calibrations.as_ref().clone());
        }
        let Event::Print(ticket, news) = event else {
            return;
        };
        match news {
            PrintNews::Progress(count) => {
                if let Some(print) = self.prints.get(ticket)
                    && let Err(error) = self.cache.record_pages_done(print.id, *count)
                {
                    tracing::warn!(code = error.code(), %error, "print ledger");
                }
            }
            PrintNews::Resumed => tracing::info!("print goes on"),
            PrintNews::Stopped(code) => tracing::warn!(code, "print stopped; it resumes by itself"),
            PrintNews::Presented => {
                self.move_print(*ticket, PrintState::Presented, None, now);
                if let Some(print) = self.prints.get_mut(ticket) {
                    print.is_presented = true;
                    let (id, transaction) = (print.id, print.transaction);
                    let item = print.item.clone();
                    if !item.is_empty() {
                        self.count(&item, UsageKind::Print, now);
                    }
                    AuditLog::printed(&mut self.cache, id, transaction, None, now);
                }
            }
            PrintNews::Taken => {
                self.move_print(*ticket, PrintState::Taken, None, now);
                self.prints.remove(ticket);
            }
            PrintNews::Failed(code) => {
                self.move_print(*ticket, PrintState::Spoiled, Some(code), now);
                if let Some(print) = self.prints.remove(ticket) {
                    let Print {
                        id, transaction, ..
                    } = print;
                    AuditLog::printed(&mut self.cache, id, transaction, Some(code), now);
                }
            }
        }
    }

    fn move_print(&mut self, ticket: Ticket, to: PrintState, code: Option<&str>, now: Moment) {
        let Some(print) = self.prints.get(&ticket) else {
            return;
        };
        if let Err(error) = self.cache.advance_print(print.id, to, code, now.at) {
            tracing::error!(code = error.code(), %error, "print ledger");
        }
    }

    fn count(&mut self, item: &str, kind: UsageKind, now: Moment) {
        if let Err(error) = self.cache.count_use(item, kind, now.date().year()) {
            tracing::warn!(code = error.code(), %error, "usage counter");
        }
    }

    fn count_end(&mut self, item: &str, end: VisitEnd, now: Moment) {
        let counted = self.cache.count_visit_end(item, end, now.date().year());
        if let Err(error) = counted {
            tracing::warn!(code = error.code(), %error, "usage counter");
        }
    }

    /// After an interruption: closes what the ledger left open, and finds the slip that is owed.
    fn find_missed_slip(&mut self, now: Moment) {
        match self.cache.unfinished_prints() {
            Ok(open) => {
                // What lies in the tray is out, even if nobody saw it taken.
                let is_cut_short = |entry: &LedgerEntry| entry.state != PrintState::Presented;
                for entry in open.into_iter().filter(is_cut_short) {
                    let spoiled = self.cache.advance_print(
                        entry.print.id,
                        PrintState::Spoiled,
                        Some("printer.interrupted"),
                        now.at,
                    );
                    if let Err(error) = spoiled {
                        tracing::error!(code = error.code(), %error, "print ledger");
                    }
                }
            }
            Err(error) => tracing::error!(code = error.code(), %error, "print ledger"),
        }
        match queue::owed_slip(&self.cache, now, MISSED_LIMIT) {
            Ok(owed) => self.missed = owed,
            Err(error) => tracing::error!(code = error.code(), %error, "last case"),
        }
    }
}

/// The ledger's entry of a first copy that speaks of no case.
fn first_copy(kind: PrintKind, digest: [u8; 32], pages: u32, now: Moment) -> NewPrint {
    NewPrint {
        id: queue::mint(now),
        transaction_id: None,
        case_number: None,
        kind,
        digest,
        pages,
        first_page: 1,
        copy_no: 1,
        reprint_of: None,
    }
}

/// How orders had left the terminal; what cannot be read is as if nothing had been ordered.
fn standing(cache: &Cache) -> Standing {
    match cache.setting(STANDING) {
        Ok(Some(text)) => serde_json::from_str(&text).unwrap_or_else(|error| {
            tracing::error!(%error, "what was ordered cannot be read; order it again");
            Standing::default()
        }),
        Ok(None) => Standing::default(),
        Err(error) => {
            tracing::error!(code = error.code(), %error, "what was ordered is not known");
            Standing::default()
        }
    }
}

/// What was calibrated; nothing of it where the store cannot tell.
fn calibrations(cache: &Cache) -> Calibrations {
    Calibrations::load(cache).unwrap_or_else(|error| {
        tracing::error!(code = error.code(), %error, "no calibration is in force");
        Calibrations::default()
    })
}

/// The loop on a thread of its own; it says how it ended when it is joined.
fn spawn_loop(turns: Loop, inputs: Receiver<Input>) -> std::io::Result<JoinHandle<Farewell>> {
    vital::spawn("session", move || turns.run(&inputs))
}
