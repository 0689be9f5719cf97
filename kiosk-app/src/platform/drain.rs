//! What to send next, and what an answer means: the policy of the outbox without sockets, threads
//! or clocks. [`Drain::step`] says what to do, the caller does it and gives the [`Outcome`] back;
//! a test or a simulation is as good a caller as the platform thread. A caller that can do several
//! things at once asks [`Drain::beside`] for more while it waits, so that a line with a long way is
//! not idle for the time of the way; whoever does not ask has one thing on its way at a time.
//!
//! Kept true: a fault of the line or the platform never costs a transaction its place; a
//! transaction ends only by a receipt or by a refusal in the words of the contract; what is not
//! answered stays; nothing waits for ever, and no wait depends on the wall clock.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{Cache, CacheError, QueuedAttachment, QueuedTransaction, Ready, Receipt};
use uuid::Uuid;

use crate::clock::Moment;

mod pace;
mod settle;
#[cfg(test)]
mod tests;
mod upload;

pub use super::error::{PlatformError, Words};
pub use super::messages::{
    BatchReply, BatchResult, ProblemReply, batch_body, batch_reply, upload_metadata,
};
pub use pace::{Breaker, Policy, off_hours};
use pace::{Bucket, Pace, Random};
pub use settle::receipt;
#[cfg(test)]
pub(super) use tests::sample;
use upload::Upload;

/// Setting under which the last off-hours window that was open is remembered, in milliseconds.
const WINDOW_SEEN: &str = "platform.off-hours-seen";
/// How often that is written while the window is open.
const WINDOW_SEEN_EVERY: Duration = Duration::from_hours(1);
/// A window that has not come for so long does not come: the terminal is switched off at night,
/// or its clock is wrong. What can wait is then sent at any time.
const WINDOW_OVERDUE: Duration = Duration::from_hours(25);
/// Longest wait that is asked for, so that a change of the policy or of the hour is noticed.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Shortest wait that is asked for; chosen, so that a mistake is never a busy loop.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// What was erased leaves the log file this long after the last time, when nothing is to be sent …
const SCRUB_PAUSE: Duration = Duration::from_secs(10);
/// … and this long after it even while there is.
const SCRUB_MAX: Duration = Duration::from_mins(10);
/// Most requests on their way at once; chosen: four of them are more than a line of 10 Mbit/s and
/// 80 ms has on its way.
const ON_THE_WAY_MAX: usize = 4;
/// Most of them that are batches: what a visitor confirms now waits for no more than these.
const BATCHES_MAX: usize = 3;
/// Most upstreams that are held at once; a platform with more than this many down is down itself.
const HELD_MAX: usize = 64;

/// What to do next. Each but `Wait` is answered by [`Drain::outcome`]; an outcome that never
/// comes is made up for by the next step.
#[derive(Debug)]
pub enum Step {
    /// Look whether the platform answers at all (`GET /v1/health`): [`Outcome::Reachable`].
    Probe,
    /// Find out where the upload stands (`HEAD` when it has an `upload_url`), or make it (`POST`):
    /// [`Outcome::Placed`].
    Place(QueuedAttachment),
    /// Send a piece of an attachment (`PATCH`): [`Outcome::ChunkDone`].
    Chunk {
        /// The attachment.
        attachment: Uuid,
        /// Where it goes.
        url: String,
        /// Byte it starts with.
        offset: u64,
        /// The piece, 512 KiB at most.
        bytes: Vec<u8>,
    },
    /// Send these in one batch, in this order: [`Outcome::Batch`].
    Submit(Vec<QueuedTransaction>),
    /// Cut erased content out of the log file (`Cache::scrub`): [`Outcome::Scrubbed`].
    Scrub,
    /// Nothing to do for so long; ask again then, or when something was enqueued
    /// ([`Drain::wake`]).
    Wait(Duration),
}

/// What came of a step.
#[derive(Debug)]
pub enum Outcome {
    /// Whether the platform answered the probe.
    Reachable(bool),
    /// Where the upload of this attachment goes on.
    Placed(Uuid, Result<Place, PlatformError>),
    /// How much of this attachment the platform has now, in bytes.
    ChunkDone(Uuid, Result<u64, PlatformError>),
    /// The answer to the batch of these transactions.
    Batch(Vec<Uuid>, Result<BatchReply, PlatformError>),
    /// Whether the log file was cut back.
    Scrubbed(bool),
}

/// Where an upload goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address the platform named.
    pub url: String,
    /// Bytes it has.
    pub offset: u64,
}

/// Something that others want to know.
#[derive(Clone, PartialEq, Eq)]
pub enum News {
    /// The line came or went.
    Line(bool),
    /// The receipt is stored and the content erased.
    Settled {
        /// The transaction.
        id: Uuid,
        /// The receipt.
        receipt: Receipt,
    },
    /// The platform refused the transaction; it is parked until a named person acts.
    Rejected {
        /// The transaction.
        id: Uuid,
        /// The platform's code.
        code: String,
        /// Its sentence for the citizen.
        words: Words,
    },
    /// The terminal parked the transaction itself: its attachment is damaged.
    Parked {
        /// The transaction.
        id: Uuid,
        /// Problem code.
        code: &'static str,
    },
    /// What stands behind the platform came or went.
    Upstream {
        /// Its name.
        name: String,
        /// Whether it serves.
        is_up: bool,
    },
    /// Something that staff must see, by problem code.
    Alarm(&'static str),
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(is_up) => write!(f, "Line({is_up})"),
            Self::Settled { id, .. } => write!(f, "Settled({id})"),
            Self::Rejected { id, code, .. } => write!(f, "Rejected({id}, {code})"),
            Self::Parked { id, code } => write!(f, "Parked({id}, {code})"),
            Self::Upstream { name, is_up } => write!(f, "Upstream({name}, {is_up})"),
            Self::Alarm(code) => write!(f, "Alarm({code})"),
        }
    }
}

/// What was counted since the start; none of it is personal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Receipts stored.
    pub settled: u64,
    /// Transactions the platform refused.
    pub rejected: u64,
    /// Transactions that were put back for a later attempt.
    pub deferred: u64,
    /// Requests that failed as a whole.
    pub failures: u64,
    /// Batches refused as a whole and split.
    pub splits: u64,
    /// Results for transactions that were not sent.
    pub unknown_results: u64,
    /// Results that came twice for one transaction.
    pub doubled_results: u64,
    /// Transactions an answer left out.
    pub missing_results: u64,
    /// Results that could not be understood.
    pub bad_results: u64,
    /// Uploads that started over.
    pub uploads_restarted: u64,
}

/// When something was sent, by the monotonic clock, and in which round.
#[derive(Clone, Copy, Debug, Default)]
struct Departure {
    at: Duration,
    round: u32,
}

/// A batch on its way beside another.
#[derive(Debug)]
struct Flight {
    transactions: VecDeque<QueuedTransaction>,
    departure: Departure,
}

/// An upstream that is not sent to now.
#[derive(Debug)]
struct Held {
    upstream: String,
    until: Duration,
    failures: u32,
}

/// The drain of one outbox to one platform.
#[derive(Debug)]
pub struct Drain {
    policy: Policy,
    random: Random,
    pace: Pace,
    bucket: Bucket,
    is_online: bool,
    /// The line is looked at not before, unless something else shows that it is there.
    probe_at: Duration,
    /// The wall clock at the first step, and the monotonic time of it: deferrals are counted from
    /// there, so that a wall clock that jumps moves none of them.
    origin: Option<(Timestamp, Duration)>,
    /// How far deferrals were brought forward by hand.
    ahead: Duration,
    /// The batch whose answer is awaited.
    sent: VecDeque<QueuedTransaction>,
    /// When it was sent, and in which round.
    sent_in: Departure,
    /// Further batches whose answers are awaited.
    beside: Vec<Flight>,
    /// Failures counted so far; what was sent before one of them says nothing new by failing too.
    round: u32,
    /// What was claimed and goes in the next batches, last first.
    open: Vec<Vec<QueuedTransaction>>,
    uploads: Vec<Upload>,
    is_batch_turn: bool,
    held: Vec<Held>,
    /// Refusals of single transactions since the platform last took one.
    refusals: u32,
    erased_at: Option<Duration>,
    scrubbed_at: Duration,
    window_seen: Option<Timestamp>,
    is_window_loaded: bool,
    counts: Counts,
}

impl Drain {
    /// A drain at rest; the seed makes its jitter.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            random: Random::new(seed),
            pace: Pace::new(),
            bucket: Bucket::default(),
            is_online: false,
            probe_at: Duration::ZERO,
            origin: None,
            ahead: Duration::ZERO,
            sent: VecDeque::new(),
            sent_in: Departure::default(),
            beside: Vec::new(),
            round: 0,
            open: Vec::new(),
            uploads: Vec::new(),
            is_batch_turn: true,
            held: Vec::new(),
            refusals: 0,
            erased_at: None,
            scrubbed_at: Duration::ZERO,
            window_seen: None,
            is_window_loaded: false,
            counts: Counts::default(),
        }
    }

    /// What to do next. What is still on its way counts as lost: whoever waits for it asks
    /// [`Drain::beside`] instead.
    ///
    /// # Errors
    /// [`CacheError`] when the store fails: wait a little and ask again; nothing is lost.
    pub fn step(&mut self, cache: &mut Cache, now: Moment) -> Result<Step, CacheError> {
        self.give_back(cache)?;
        if !self.is_online {
            return Ok(self.knock(now.uptime));
        }
        if let Some(batch) = self.open.pop() {
            return Ok(self.hand_out(batch, now.uptime));
        }
        if now.uptime >= self.probe_at {
            self.probe_at = now.uptime + self.policy.probe;
            return Ok(Step::Probe);
        }
        let hold = self.pace.hold_until();
        if now.uptime < hold {
            return Ok(wait(hold.min(self.probe_at), now.uptime));
        }
        if self.is_scrub_overdue(now.uptime) {
            return Ok(self.scrub());
        }
        let capped = self.bucket.wait(self.policy.bytes_per_s, now.uptime);
        let names = self.held_names(now.uptime);
        let ready = self.ready(cache, &names, capped, now)?;
        if let Some(step) = self.next_work(cache, &ready, capped, now)? {
            return Ok(step);
        }
        let steady = self.steady(now);
        self.rest(cache, now, steady, &ready, capped)
    }

    /// Something more to do while earlier steps are on their way: a batch of other people's work, or
    /// a piece of another attachment. `None` while the line has no room for it: when one request
    /// fills it, when the platform has not yet taken anything since it last failed, under a
    /// bandwidth cap, and when enough is on its way. Outcomes may come in any order.
    ///
    /// # Errors
    /// [`CacheError`] when the store fails; nothing is lost.
    pub fn beside(&mut self, cache: &mut Cache, now: Moment) -> Result<Option<Step>, CacheError> {
        let is_room = self.is_online
            && self.policy.bytes_per_s.is_none()
            && self.on_the_way() < ON_THE_WAY_MAX
            && self.pace.has_room(now.uptime)
            && now.uptime < self.probe_at
            && !self.is_scrub_overdue(now.uptime);
        if !is_room {
            return Ok(None);
        }
        if self.batches_on_the_way() < BATCHES_MAX
            && let Some(batch) = self.open.pop()
        {
            return Ok(Some(self.hand_out(batch, now.uptime)));
        }
        let names = self.held_names(now.uptime);
        let ready = self.ready(cache, &names, Duration::ZERO, now)?;
        self.next_work(cache, &ready, Duration::ZERO, now)
    }

    /// What the caller found out by doing the last step.
    ///
    /// # Errors
    /// [`CacheError`] when the store fails; what was not yet written goes back into the line at
    /// the next step and is sent again under the same id.
    pub fn outcome(
        &mut self,
        cache: &mut Cache,
        outcome: Outcome,
        now: Moment,
    ) -> Result<Vec<News>, CacheError> {
        let mut news = Vec::new();
        match outcome {
            Outcome::Reachable(true) => {
                self.in_contact(now.uptime);
                if !self.is_online {
                    self.line_up(cache, now.uptime, &mut news)?;
                }
            }
            Outcome::Reachable(false) => self.line_down(now.uptime, &mut news),
            Outcome::Placed(id, place) => self.placed(cache, id, place, now, &mut news)?,
            Outcome::ChunkDone(id, offset) => self.chunk_done(cache, id, offset, now, &mut news)?,
            Outcome::Batch(ids, reply) => self.batch_done(cache, &ids, reply, now, &mut news)?,
            Outcome::Scrubbed(is_done) => {
                self.scrubbed_at = now.uptime;
                if !is_done {
                    self.erased_at = self.erased_at.or(Some(now.uptime));
                }
            }
        }
        Ok(news)
    }

    /// Something was enqueued: a visitor may be waiting for it.
    pub fn wake(&mut self, now: Moment) {
        self.pace.woken(&self.policy, now.uptime);
        if !self.is_online {
            let soon = now.uptime + self.random.up_to(pace::VISITOR_WAIT);
            self.probe_at = self.probe_at.min(soon);
        }
    }

    /// A named person wants everything sent now: no pause, no hold and no deferral is left.
    pub fn hurry(&mut self, now: Moment) {
        self.pace.hurry(now.uptime);
        self.probe_at = now.uptime;
        for held in &mut self.held {
            held.until = now.uptime;
        }
        // Every deferral lies at most this far ahead of the drain's own clock.
        self.ahead += pace::BACKOFF_MAX + Duration::from_mins(1);
    }

    /// Drains by another policy from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The policy it drains by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether the platform answered when it was last looked at.
    pub fn is_online(&self) -> bool {
        self.is_online
    }

    /// Where the breaker stands.
    pub fn breaker(&self, now: Moment) -> Breaker {
        self.pace.breaker(&self.policy, now.uptime)
    }

    /// What was counted since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What may be sent now.
    fn ready<'a>(
        &mut self,
        cache: &mut Cache,
        held: &'a [String],
        capped: Duration,
        now: Moment,
    ) -> Result<Ready<'a>, CacheError> {
        Ok(Ready {
            held,
            with_patient: capped.is_zero() && self.is_patient_time(cache, now)?,
        })
    }

    /// The next batch or piece of an upload. Batches are small and somebody waits for them; uploads
    /// are large. They take turns.
    fn next_work(
        &mut self,
        cache: &mut Cache,
        ready: &Ready<'_>,
        capped: Duration,
        now: Moment,
    ) -> Result<Option<Step>, CacheError> {
        let steady = self.steady(now);
        for is_batch in [self.is_batch_turn, !self.is_batch_turn] {
            let is_batch_free = self.open.is_empty() && self.batches_on_the_way() < BATCHES_MAX;
            let step = if is_batch && is_batch_free {
                self.next_batch(cache, steady, ready, now.uptime)?
            } else if !is_batch && capped.is_zero() {
                self.next_upload(cache, steady, ready, now.uptime)?
            } else {
                None
            };
            if let Some(step) = step {
                self.is_batch_turn = !is_batch;
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    fn batches_on_the_way(&self) -> usize {
        self.beside.len() + usize::from(!self.sent.is_empty())
    }

    fn on_the_way(&self) -> usize {
        let uploads = self.uploads.iter().filter(|upload| upload.is_out()).count();
        self.batches_on_the_way() + uploads
    }

    /// When what is sent now is sent.
    fn departure(&self, now: Duration) -> Departure {
        Departure {
            at: now,
            round: self.round,
        }
    }

    /// The platform did what it was asked. What was sent before it failed proves nothing.
    fn succeeded(&mut self, departure: Departure, now: Duration) -> bool {
        let is_news = departure.round == self.round;
        if is_news {
            self.pace.succeeded(now.saturating_sub(departure.at));
        }
        is_news
    }

    /// Puts back what was handed out and never answered.
    fn give_back(&mut self, cache: &mut Cache) -> Result<(), CacheError> {
        for upload in &mut self.uploads {
            upload.is_back();
        }
        for flight in self.beside.drain(..) {
            self.sent.extend(flight.transactions);
        }
        if self.sent.is_empty() {
            return Ok(());
        }
        for batch in self.open.drain(..) {
            self.sent.extend(batch);
        }
        while let Some(transaction) = self.sent.front() {
            unless_gone(cache.release(transaction.id))?;
            self.sent.pop_front();
        }
        Ok(())
    }

    /// Without a line: look for it from time to time.
    fn knock(&mut self, now: Duration) -> Step {
        if now < self.probe_at {
            return wait(self.probe_at, now);
        }
        let probe = self.policy.probe;
        self.probe_at = now + probe + self.random.up_to(probe / 5);
        Step::Probe
    }

    fn hand_out(&mut self, batch: Vec<QueuedTransaction>, now: Duration) -> Step {
        let bytes: usize = batch.iter().map(|each| each.payload.len()).sum();
        self.bucket.take(bytes);
        let transactions = batch.iter().cloned().collect();
        let departure = self.departure(now);
        if self.sent.is_empty() {
            self.sent = transactions;
            self.sent_in = departure;
        } else {
            self.beside.push(Flight {
                transactions,
                departure,
            });
        }
        Step::Submit(batch)
    }

    fn next_batch(
        &mut self,
        cache: &mut Cache,
        steady: Timestamp,
        ready: &Ready<'_>,
        now: Duration,
    ) -> Result<Option<Step>, CacheError> {
        let due = cache.due(steady, self.pace.window(), ready)?;
        let mut batches = super::messages::fitting(due);
        batches.reverse();
        let first = batches.pop();
        self.open = batches;
        Ok(first.map(|batch| self.hand_out(batch, now)))
    }

    /// Nothing can be sent: how long to rest.
    fn rest(
        &mut self,
        cache: &Cache,
        now: Moment,
        steady: Timestamp,
        ready: &Ready<'_>,
        capped: Duration,
    ) -> Result<Step, CacheError> {
        let is_scrub_due = now.uptime >= self.scrubbed_at + SCRUB_PAUSE;
        if self.erased_at.is_some() && is_scrub_due {
            return Ok(self.scrub());
        }
        let mut rest = WAIT_MAX.min(self.probe_at.saturating_sub(now.uptime));
        if self.erased_at.is_some() {
            rest = rest.min((self.scrubbed_at + SCRUB_PAUSE).saturating_sub(now.uptime));
        }
        if let Some(at) = cache.next_due_at(steady, ready)? {
            let to_due = Duration::try_from(at.duration_since(steady)).unwrap_or_default();
            // What is due and yet was not handed out waits for the cap.
            rest = rest.min(to_due.max(capped));
        }
        if !capped.is_zero() {
            rest = rest.min(capped);
        }
        for held in &self.held {
            if held.until > now.uptime {
                rest = rest.min(held.until.saturating_sub(now.uptime));
            }
        }
        Ok(Step::Wait(rest.max(WAIT_MIN)))
    }

    fn is_scrub_overdue(&self, now: Duration) -> bool {
        self.erased_at.is_some_and(|at| now >= at + SCRUB_MAX)
    }

    fn scrub(&mut self) -> Step {
        self.erased_at = None;
        Step::Scrub
    }

    /// The drain's own clock: the wall clock of the first step, carried on by the monotonic one.
    fn steady(&mut self, now: Moment) -> Timestamp {
        let (at, uptime) = *self.origin.get_or_insert((now.at, now.uptime));
        later(at, now.uptime.saturating_sub(uptime) + self.ahead)
    }

    /// Whether what can wait may be sent now.
    fn is_patient_time(&mut self, cache: &mut Cache, now: Moment) -> Result<bool, CacheError> {
        let Some(window) = self.policy.off_hours else {
            return Ok(true);
        };
        if !self.is_window_loaded {
            let stored = cache.setting(WINDOW_SEEN)?;
            self.window_seen = stored
                .and_then(|text| text.parse().ok())
                .and_then(|ms| Timestamp::from_millisecond(ms).ok());
            self.is_window_loaded = true;
        }
        let is_open = pace::is_inside(window, now.local().time());
        // A time of the future was written under a clock that has since gone back.
        let age = self
            .window_seen
            .and_then(|seen| Duration::try_from(now.at.duration_since(seen)).ok());
        let is_news = age.is_none_or(|age| is_open && age >= WINDOW_SEEN_EVERY);
        if is_news {
            cache.set_setting(WINDOW_SEEN, &now.at.as_millisecond().to_string())?;
            self.window_seen = Some(now.at);
        }
        Ok(is_open || age.is_some_and(|age| age >= WINDOW_OVERDUE))
    }

    fn held_names(&self, now: Duration) -> Vec<String> {
        self.held
            .iter()
            .filter(|held| now < held.until)
            .map(|held| held.upstream.clone())
            .collect()
    }

    /// The platform said something: the line is there.
    fn in_contact(&mut self, now: Duration) {
        self.probe_at = now + self.policy.probe;
    }

    fn line_up(
        &mut self,
        cache: &Cache,
        now: Duration,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        let has_backlog = cache.depth()?.waiting > 0;
        self.is_online = true;
        self.pace
            .line_up(has_backlog, &mut self.random, &self.policy, now);
        news.push(News::Line(true));
        Ok(())
    }

    fn line_down(&mut self, now: Duration, news: &mut Vec<News>) {
        if self.is_online {
            self.is_online = false;
            self.probe_at = now + self.random.up_to(self.policy.probe);
            news.push(News::Line(false));
        }
    }
}

/// What was settled, closed or forgotten by somebody else meanwhile needs nothing more.
fn unless_gone(outcome: Result<(), CacheError>) -> Result<bool, CacheError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(
            CacheError::UnknownTransaction { .. }
            | CacheError::WrongState { .. }
            | CacheError::UnknownAttachment { .. },
        ) => Ok(false),
        Err(error) => Err(error),
    }
}

fn wait(until: Duration, now: Duration) -> Step {
    Step::Wait(until.saturating_sub(now).clamp(WAIT_MIN, WAIT_MAX))
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(now)
}
