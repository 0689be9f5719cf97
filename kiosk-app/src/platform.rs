//! The central platform: answers to a visitor's questions, the drain of the outbox, commands and
//! the desired state, the heartbeat, counters, fault tickets, the state of the line. The only place (with the
//! updater) that knows HTTP and Tokio; one thread, one runtime, one task for each of these, so that
//! none of them ever waits for another.
//!
//! Everything that comes back is bounded and checked before it becomes an [`Event`]. A fault of the
//! line is never a fault of a transaction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use offline_cache::{Cache, State};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{Notify, mpsc, watch};
use uuid::Uuid;

use crate::clock;
use crate::event::{Answer, CaseState, Event, Question, Ticket, Unanswered};
use crate::runtime::Input;

mod catalogue;
pub mod certificate;
mod client;
pub mod commands;
pub mod desired;
pub mod drain;
pub mod enrolment;
mod error;
mod heartbeat;
pub mod measure;
pub mod messages;
mod questions;
pub mod renewal;
mod sync;
pub mod telemetry;
pub mod tickets;
mod time;
mod tls;

pub use catalogue::read_catalogue;
pub use client::{Client, Identity};
pub use error::{PlatformError, Words};
pub use heartbeat::{DeviceVitals, RolledBack, UpdateVitals, UsageVitals, Vitals};

use desired::DesiredState;
use drain::Policy;

/// Questions and wake-ups that may wait; a visit asks one at a time.
const INBOX_LIMIT: usize = 32;
/// Seconds between two heartbeats until the desired state says otherwise.
const HEARTBEAT_S: u32 = 60;
/// The backlog is spread over so many probes after an outage, 30 seconds with the usual probe.
const SPREAD_PROBES: u32 = 2;
/// … and over no more than this.
const SPREAD_MAX: Duration = Duration::from_secs(30);

/// What time it is at the platform, as far as this terminal can know without a line: its own clock
/// where that can be believed, else the last time that is known.
pub(crate) fn believed_time(cache: &Cache, now: clock::Moment) -> jiff::Timestamp {
    let stored = cache.setting(time::FLOOR).unwrap_or_else(|error| {
        tracing::warn!(code = error.code(), %error, "the last time is not known");
        None
    });
    time::PlatformClock::new(stored.as_deref()).for_certificates(now)
}

/// No program of this version ran before.
pub(crate) fn built_at() -> jiff::Timestamp {
    jiff::Timestamp::from_second(time::BUILT_AT_S).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// What the loop asks of the platform thread.
enum Request {
    Ask(Ticket, Question),
    Ordered(Uuid, Result<(), &'static str>),
}

/// The platform thread's inbox.
#[derive(Clone)]
pub struct Platform {
    inbox: mpsc::Sender<Request>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Platform")
    }
}

/// What the tasks of the platform thread have in common.
struct Shared {
    client: Client,
    out: SyncSender<Input>,
    /// Something was enqueued, or somebody wants everything sent now.
    stir: Notify,
    is_woken: AtomicBool,
    is_hurried: AtomicBool,
    /// A command has a result that the platform does not know.
    reports: Notify,
    /// The heartbeat is wanted now.
    beat: Notify,
    /// A ticket may have something that the platform does not know.
    tickets: Notify,
    policy: watch::Sender<Policy>,
    heartbeat: watch::Sender<Duration>,
    line: watch::Sender<bool>,
    vitals: Mutex<Vitals>,
}

impl Shared {
    fn send(&self, event: Event) {
        if self.out.send(Input::Event(event)).is_err() {
            tracing::debug!("the loop has ended");
        }
    }

    /// Drains by what the configuration says, changed by what the platform wants.
    fn apply(&self, base: &Policy, desired: &DesiredState) {
        self.policy.send_replace(Policy {
            bytes_per_s: desired.bytes_per_s.or(base.bytes_per_s),
            off_hours: desired.off_hours.or(base.off_hours),
            ..base.clone()
        });
        self.heartbeat
            .send_replace(Duration::from_secs(u64::from(desired.heartbeat_s)));
        self.send(Event::SealingKey(desired.sealing_key.clone()));
        self.send(Event::Suspended(desired.suspended_items.clone()));
    }

    /// Waits until there is a line.
    async fn online(&self) {
        let mut line = self.line.subscribe();
        // An error means that the sender is gone, and this task with it.
        drop(line.wait_for(|is_online| *is_online).await);
    }
}

impl Platform {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the client cannot be made (a wrong key in the configuration), the store gives no
    /// connections, or no thread can be started.
    pub fn start(
        config: &crate::config::Platform,
        identity: Identity,
        cache: Cache,
        out: SyncSender<Input>,
    ) -> Result<Self, PlatformError> {
        let stored = cache.setting(time::FLOOR).map_err(PlatformError::Store)?;
        let clock = time::PlatformClock::new(stored.as_deref());
        let client = Client::new(config, identity, clock)?;
        let probe = Duration::from_secs(u64::from(config.probe_s));
        let policy = Policy {
            off_hours: config.off_hours,
            bytes_per_s: config.bytes_per_s,
            probe,
            spread: (probe * SPREAD_PROBES).min(SPREAD_MAX),
            ..Policy::default()
        };
        let shared = Arc::new(Shared {
            client,
            out,
            stir: Notify::new(),
            is_woken: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
            reports: Notify::new(),
            beat: Notify::new(),
            tickets: Notify::new(),
            policy: watch::Sender::new(policy.clone()),
            heartbeat: watch::Sender::new(Duration::from_secs(u64::from(HEARTBEAT_S))),
            line: watch::Sender::new(false),
            vitals: Mutex::new(Vitals::default()),
        });
        let tasks = Tasks::new(&shared, config, policy, cache)?;
        let (inbox, requests) = mpsc::channel(INBOX_LIMIT);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PlatformError::Start)?;
        crate::vital::spawn("platform", move || runtime.block_on(tasks.run(requests)))
            .map_err(PlatformError::Start)?;
        Ok(Self { inbox, shared })
    }

    /// Asks a question; its answer comes back as `Event::Answer`.
    pub(crate) fn ask(&self, ticket: Ticket, question: Question) -> Result<(), &'static str> {
        self.inbox
            .try_send(Request::Ask(ticket, question))
            .map_err(|_| "platform.busy")
    }

    /// Something was enqueued: send it now rather than at the next probe.
    pub fn wake(&self) {
        self.shared.is_woken.store(true, Ordering::Release);
        self.shared.stir.notify_one();
    }

    /// A named person wants everything sent now, whatever was deferred.
    pub fn hurry(&self) {
        self.shared.is_hurried.store(true, Ordering::Release);
        self.shared.stir.notify_one();
        self.shared.tickets.notify_one();
    }

    /// A fault ticket was opened or changed: tell it now rather than with the next heartbeat.
    pub fn report_tickets(&self) {
        self.shared.tickets.notify_one();
    }

    /// What became of an order that came as `Event::Ordered`.
    pub fn ordered(&self, id: Uuid, result: Result<(), &'static str>) {
        // The inbox is the loop's own; it is full only when this thread hangs, and then the order
        // is offered again after the restart that follows.
        if self.inbox.try_send(Request::Ordered(id, result)).is_err() {
            tracing::error!(%id, "the result of an order could not be kept");
        }
    }

    /// How the terminal is, for the next heartbeat. Another word of the updater makes it beat at once:
    /// the sooner it is known that a release was taken back, the fewer terminals try it.
    pub fn report(&self, vitals: Vitals) {
        let mut told = self
            .shared
            .vitals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The first report of a start goes with the first heartbeat anyway.
        if told.update.is_some() && told.update != vitals.update {
            self.shared.beat.notify_one();
        }
        *told = vitals;
    }
}

/// Everything that runs on the platform thread, each with a connection to the store of its own.
struct Tasks {
    shared: Arc<Shared>,
    cases: Cache,
    outbox: Cache,
    commands: commands::Listener,
    heartbeat: heartbeat::Heartbeat,
    tickets: tickets::Reporter,
    telemetry: telemetry::Reporter,
}

impl Tasks {
    fn new(
        shared: &Arc<Shared>,
        config: &crate::config::Platform,
        policy: Policy,
        cache: Cache,
    ) -> Result<Self, PlatformError> {
        let another = || cache.another().map_err(PlatformError::Store);
        Ok(Self {
            shared: Arc::clone(shared),
            cases: another()?,
            commands: commands::Listener::new(
                Arc::clone(shared),
                another()?,
                config.command_keys.clone(),
            ),
            heartbeat: heartbeat::Heartbeat::new(
                Arc::clone(shared),
                another()?,
                config.command_keys.clone(),
                policy,
            ),
            tickets: tickets::Reporter::new(Arc::clone(shared), another()?),
            telemetry: telemetry::Reporter::new(Arc::clone(shared), another()?),
            outbox: cache,
        })
    }

    /// Ends with the last handle of the thread; the other tasks end with the runtime.
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        tokio::spawn(sync::drain(Arc::clone(&self.shared), self.outbox, seed()));
        tokio::spawn(self.commands.listen());
        tokio::spawn(self.heartbeat.beat());
        tokio::spawn(self.tickets.report());
        tokio::spawn(self.telemetry.report());
        tokio::spawn(renewal::keep(Arc::clone(&self.shared)));
        while let Some(request) = requests.recv().await {
            match request {
                Request::Ask(ticket, question) => {
                    let known = if let Question::Case { number } = &question {
                        known_case(&self.cases, number)
                    } else {
                        None
                    };
                    // A task of its own, so that one answer never keeps another waiting.
                    tokio::spawn(answer(Arc::clone(&self.shared), ticket, question, known));
                }
                Request::Ordered(id, result) => {
                    commands::finished(&mut self.cases, id, result, clock::now());
                    self.shared.reports.notify_one();
                }
            }
        }
    }
}

/// The seed of this start's jitter; a terminal without randomness falls back to its clock.
fn seed() -> u64 {
    let mut bytes = [0_u8; 8];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return clock::now().at.as_millisecond().unsigned_abs();
    }
    u64::from_le_bytes(bytes)
}

/// A case as this terminal knows it.
#[derive(Debug)]
struct KnownCase {
    state: State,
    case: CaseState,
}

/// What this terminal knows of a case.
fn known_case(cache: &Cache, number: &str) -> Option<KnownCase> {
    let record = match cache.case(number) {
        Ok(record) => record?,
        Err(error) => {
            tracing::error!(code = error.code(), %error, "outbox");
            return None;
        }
    };
    let (state, text) = match (&record.state, &record.receipt) {
        (State::Acked, Some(receipt)) => (receipt.outcome.clone(), receipt.message.clone()),
        (State::Dead, _) => ("correction".to_owned(), String::new()),
        (State::Acked | State::WaitingAttachments | State::Pending | State::InFlight, _) => {
            ("pending".to_owned(), String::new())
        }
    };
    Some(KnownCase {
        state: record.state,
        case: CaseState {
            state,
            text,
            updated: for_people(record.ended_at.unwrap_or(record.enqueued_at)),
        },
    })
}

async fn answer(shared: Arc<Shared>, ticket: Ticket, question: Question, known: Option<KnownCase>) {
    let client = &shared.client;
    let answer = match question {
        Question::Identity { person, item } => Answer::Identity(
            client
                .identity(&person, &item)
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Face { person, jpeg } => Answer::Face(
            client
                .face(&person, jpeg.expose())
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Witness { person, item } => Answer::Witness(
            client
                .witness(&person, &item)
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Credential {
            person,
            item,
            answers,
        } => Answer::Credential(
            client
                .credential(&person, &item, &answers)
                .await
                .map_err(|error| unanswered(&error)),
        ),
        Question::Case { number } => Answer::Case(case(client, &number, known).await),
    };
    shared.send(Event::Answer(ticket, answer));
}

/// The state of a case: what waits here is known here; for the rest the platform is asked, and what
/// this terminal remembers of its receipt is better than nothing.
async fn case(
    client: &Client,
    number: &str,
    known: Option<KnownCase>,
) -> Result<Option<CaseState>, Unanswered> {
    if let Some(known) = &known
        && known.state != State::Acked
    {
        return Ok(Some(known.case.clone()));
    }
    match (client.case(number).await, known) {
        (Ok(Some(case)), _) => Ok(Some(case)),
        (_, Some(known)) => Ok(Some(known.case)),
        (Ok(None), None) => Ok(None),
        (Err(error), None) => Err(unanswered(&error)),
    }
}

fn unanswered(error: &PlatformError) -> Unanswered {
    tracing::warn!(code = error.code(), %error, "the platform did not answer");
    Unanswered {
        code: error.code(),
        words: error.words().to_owned(),
    }
}

/// Seconds of the wall clock for people, `2026-11-22 09:41`.
fn for_people(timestamp: jiff::Timestamp) -> String {
    timestamp
        .to_zoned(clock::local_zone())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}
