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

use kiosk_device::{DeviceClass, hotplug};
use kiosk_printer::escpos::SlipRaster;
use kiosk_ui::{Touch, UiHandle, View};
use offline_cache::{Cache, CacheError, LedgerEntry, NewPrint, PrintKind, PrintState, UsageKind};
use uuid::Uuid;

use crate::catalogue::{Catalogue, item::template_path};
use crate::clock::{self, Moment};
use crate::config::Config;
use crate::devices;
use crate::documents::{Documents, TypesetSlip};
use crate::event::{Commitment, Credential, Effect, Event, PrintNews, Slip, Submission, Ticket};
use crate::hub::{DeviceReport, Hub};
use crate::keys::Keys;
use crate::pictures::Pictures;
use crate::platform::Platform;
use crate::queue;
use crate::session::{Session, Site};
use crate::vital;
use crate::watchdog::{self, Pulse};

/// Inputs that may wait for the loop; devices, platform and fingers together send a few dozen a
/// second, and the loop handles thousands.
const INBOX_LIMIT: usize = 512;
/// Touches that may wait; a finger that is faster than this is noise.
const TOUCH_LIMIT: usize = 16;
/// The loop turns at least this often, for clocks and countdowns.
const TICK: Duration = Duration::from_millis(250);
/// A slip that a power cut left unprinted is printed if the terminal is back this soon.
const MISSED_LIMIT: Duration = Duration::from_mins(10);

/// What the loop takes in.
#[derive(Debug)]
pub enum Input {
    /// An event in the words of the visit.
    Event(Event),
    /// A report of a device, by its id.
    Device(String, DeviceReport),
    /// A slip was typeset, or could not be.
    SlipReady(Ticket, Result<TypesetSlip, &'static str>),
    /// End of the program.
    Stop,
}

/// Why the terminal cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The durable store cannot be opened.
    #[error("the store in {} cannot be opened: {source}", path.display())]
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
    thread: JoinHandle<()>,
}

impl Terminal {
    /// The channel for touches: give one end to the glass, the other to [`Terminal::start`].
    pub fn touches() -> (SyncSender<Touch>, Receiver<Touch>) {
        sync_channel(TOUCH_LIMIT)
    }

    /// Opens the store and starts every thread.
    ///
    /// # Errors
    /// [`StartError`] when the configuration or the store does not allow it. Devices and the
    /// platform may be missing: they are waited for.
    pub fn start(
        config: &Config,
        ui: UiHandle,
        touches: Receiver<Touch>,
    ) -> Result<Self, StartError> {
        let now = clock::now();
        let (inbox, inputs) = sync_channel(INBOX_LIMIT);
        let store = config.paths.state.join("store");
        let (cache, opening) = Cache::open(&store, now.at).map_err(|source| StartError::Store {
            path: store.clone(),
            source,
        })?;
        if let Some(file) = &opening.quarantined {
            tracing::error!(
                file,
                "the store was damaged; it was moved aside and a new one was made"
            );
        }
        tracing::info!(recovered = opening.recovered_in_flight, "store opened");
        let keys = Keys::open(&config.paths.state)?;
        let catalogue = Arc::new(Catalogue::load(&config.paths.items));
        for mistake in &catalogue.mistakes {
            tracing::error!(%mistake, "item package left out");
        }
        let second = cache.another().map_err(|source| StartError::Store {
            path: store,
            source,
        })?;
        let platform =
            Platform::start(&config.platform, &config.terminal.id, second, inbox.clone())?;
        let documents = Documents::start(config.paths.fonts.clone(), inbox.clone())?;
        let pictures = Pictures::start(inbox.clone())?;
        let hub = Hub::start(&config.devices, &inbox)?;
        let plugs = hub.roster().watch_plugs();
        if let Err(error) = devices::socket::serve(&config.paths.state, hub.roster()) {
            // A terminal that nobody can look into still serves its village.
            tracing::warn!(%error, "the socket for `kiosk devices` cannot be served");
        }
        forward_touches(touches, inbox.clone())?;
        let pulse = watchdog::start(&ui)?;
        let site = Site {
            name: config.terminal.site.clone(),
            terminal: config.terminal.id.clone(),
            help_phone: config.terminal.help_phone.clone(),
            board: config.terminal.board.clone(),
        };
        let mut turns = Loop {
            session: Session::new(Arc::clone(&catalogue), site),
            catalogue,
            terminal: config.terminal.id.clone(),
            hub,
            _plugs: plugs,
            cache,
            keys,
            documents,
            pictures,
            platform,
            ui,
            pulse,
            prints: HashMap::new(),
            missed: None,
            shown: None,
        };
        turns.find_missed_slip(now);
        let thread = vital::spawn("session", move || turns.run(&inputs))?;
        Ok(Self { inbox, thread })
    }

    /// Ends the loop and waits for it.
    pub fn stop(self) {
        if self.inbox.send(Input::Stop).is_ok() && self.thread.join().is_err() {
            tracing::error!("the session thread ended with a panic");
        }
    }
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
    item: String,
    /// It lies in the outlet; kept until it is taken or something else is printed.
    is_presented: bool,
}

struct Loop {
    session: Session,
    catalogue: Arc<Catalogue>,
    terminal: String,
    hub: Hub,
    /// Held only: dropping it ends the watch.
    _plugs: Option<hotplug::Watch>,
    cache: Cache,
    keys: Keys,
    documents: Documents,
    pictures: Pictures,
    platform: Platform,
    ui: UiHandle,
    pulse: Pulse,
    prints: HashMap<Ticket, Print>,
    /// A durable case whose slip is not out; printed when the printer is ready.
    missed: Option<Commitment>,
    shown: Option<View>,
}

impl Loop {
    fn run(mut self, inputs: &Receiver<Input>) {
        self.show(clock::now());
        loop {
            let input = match inputs.recv_timeout(TICK) {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
            };
            self.pulse.turn();
            let now = clock::now();
            if let Some(event) = input.and_then(|input| self.take(input, now)) {
                self.advance(event, now);
            }
            // Cheap, and it must not starve when inputs never pause.
            self.advance(Event::Tick, now);
            self.show(now);
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
            Input::Stop => None,
        }
    }

    fn advance(&mut self, event: Event, now: Moment) {
        let mut events = VecDeque::from([event]);
        // Each effect answers with one event at most, and no event asks for itself again.
        while let Some(event) = events.pop_front() {
            self.record(&event, now);
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
            Effect::Judge(ticket, preview) => {
                self.pictures.judge(ticket, preview);
                None
            }
            Effect::Decode(ticket, jpeg) => {
                self.pictures.decode(ticket, jpeg);
                None
            }
            Effect::Straighten(ticket, jpeg) => {
                self.pictures.straighten(ticket, jpeg);
                None
            }
            Effect::Scan(ticket) => {
                let code = self.hub.scan(ticket).err()?;
                Some(Event::CodeEnded(ticket, Failed(code)))
            }
            Effect::Stream(ticket, lens) => {
                let code = self.hub.stream(ticket, lens).err()?;
                Some(Event::CameraEnded(ticket, Failed(code)))
            }
            Effect::Cancel(ticket) => {
                self.hub.cancel(ticket);
                None
            }
            Effect::Ask(ticket, question) => {
                let kind = queue::unanswered(&question);
                let code = self.platform.ask(ticket, question).err()?;
                Some(Event::Answer(ticket, kind(code)))
            }
            Effect::Commit(ticket, submission) => Some(self.commit(ticket, &submission, now)),
            Effect::Rate(rating) => {
                match queue::rate(&mut self.cache, &self.keys, &rating, now) {
                    Ok(()) => self.platform.wake(),
                    Err(error) => tracing::warn!(code = error.code(), %error, "rating lost"),
                }
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
            Effect::Erased(erasure) => {
                self.documents.forget();
                tracing::info!(?erasure, "visit ended; personal data erased");
                None
            }
        }
    }

    /// Makes a case durable; only then does the visit hear of it.
    fn commit(&mut self, ticket: Ticket, submission: &Submission, now: Moment) -> Event {
        match queue::commit(&mut self.cache, &self.keys, &self.terminal, submission, now) {
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
            .and_then(|item| template_path(&item.directory, &slip.template));
        let Some(template) = template else {
            return failed("document.template");
        };
        let print = NewPrint {
            id: queue::mint(now),
            // The ledger refuses a slip whose transaction is not durable.
            transaction_id: Some(slip.commitment.id),
            case_number: Some(slip.commitment.number.clone()),
            kind: PrintKind::Slip,
            digest: queue::sha256(slip.content.to_string().as_bytes()),
            pages: 1,
            first_page: 1,
            copy_no: if slip.is_copy { 2 } else { 1 },
            reprint_of: None,
        };
        if let Err(error) = self.cache.prepare_print(&print, now.at) {
            tracing::error!(code = error.code(), %error, "slip not printed");
            return failed(error.code());
        }
        self.remember_print(ticket, print.id, slip.commitment.item.clone());
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

    fn print_pages(
        &mut self,
        ticket: Ticket,
        item: String,
        credential: &Credential,
        pages: u32,
        now: Moment,
    ) -> Option<Event> {
        let failed = |code| Some(Event::Print(ticket, PrintNews::Failed(code)));
        let print = NewPrint {
            id: queue::mint(now),
            transaction_id: None,
            case_number: Some(credential.number.clone()),
            kind: PrintKind::Page,
            digest: queue::sha256(credential.pdf.expose()),
            pages,
            first_page: 1,
            copy_no: 1,
            reprint_of: None,
        };
        if let Err(error) = self.cache.prepare_print(&print, now.at) {
            tracing::error!(code = error.code(), %error, "document not printed");
            return failed(error.code());
        }
        self.remember_print(ticket, print.id, item);
        self.move_print(ticket, PrintState::Printing, None, now);
        failed(self.hub.print_pages(ticket, credential, pages).err()?)
    }

    /// From now on, news about `ticket` concern this entry of the ledger. Prints in the outlet that
    /// nobody was seen to take are let go: the ledger keeps them as presented.
    fn remember_print(&mut self, ticket: Ticket, id: Uuid, item: String) {
        self.prints.retain(|_, print| !print.is_presented);
        let print = Print {
            id,
            item,
            is_presented: false,
        };
        self.prints.insert(ticket, print);
    }

    /// Keeps the print ledger in step with what printers report.
    fn record(&mut self, event: &Event, now: Moment) {
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
                    let item = print.item.clone();
                    self.count(&item, UsageKind::Print, now);
                }
            }
            PrintNews::Taken => {
                self.move_print(*ticket, PrintState::Taken, None, now);
                self.prints.remove(ticket);
            }
            PrintNews::Failed(code) => {
                self.move_print(*ticket, PrintState::Spoiled, Some(code), now);
                self.prints.remove(ticket);
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
