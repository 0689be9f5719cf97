//! When the drain may speak and how much at once: full jitter, the breaker, the spread after an
//! outage, the bandwidth cap and the off-hours window. Measured by the monotonic clock alone, so
//! that a jump of the wall clock neither stalls nor hurries anything.

use std::time::Duration;

use jiff::civil::Time;

use crate::platform::error::RETRY_AFTER_MAX;

/// First bound of the full jitter (`design.md` §6).
const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// Longest pause between two attempts (`design.md` §6).
pub(super) const BACKOFF_MAX: Duration = RETRY_AFTER_MAX;
/// No attempt follows the failed one sooner than this; chosen, so that a jitter of nearly nothing
/// is no busy loop.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// A new item of a visitor ends a pause of the drain's own choosing after this at the latest.
pub(super) const VISITOR_WAIT: Duration = Duration::from_secs(2);
/// Whose item was enqueued this short before the line came back still stands at the glass.
const VISITOR_STAYS: Duration = Duration::from_mins(1);
/// Transactions of one batch (`openapi.yaml`).
const BATCH_MAX: u32 = 100;
/// The window grows and shrinks by these; one probe, ten, then whole batches.
const WINDOW_GROWTH: u32 = 10;
const WINDOW_SHRINK: u32 = 4;
/// A line on which one request takes this long is full with it; chosen: a full batch takes a tenth
/// of it on a line of 10 Mbit/s and all of it on one of 1 Mbit/s.
const FULL_LINE: Duration = Duration::from_secs(2);
/// Most that a platform's wish to wait is exceeded, so that a county of terminals told the same
/// second does not come back in it.
const ASKED_SPREAD: Duration = Duration::from_secs(5);
/// Slowest cap that is obeyed, in bytes a second; below it nothing would ever arrive.
const RATE_MIN: u32 = 1_000;

/// How an outbox is drained; may change while it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When what can wait is sent, local time, from and until; always when there is none. A
    /// window may span midnight.
    pub off_hours: Option<(Time, Time)>,
    /// Cap on uploads and on what can wait, in bytes a second.
    pub bytes_per_s: Option<u32>,
    /// Time between two looks at a silent line.
    pub probe: Duration,
    /// After an outage the backlog starts at a random moment of this span.
    pub spread: Duration,
    /// The breaker opens after so many failures in a row.
    pub failures_max: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            off_hours: None,
            bytes_per_s: None,
            probe: Duration::from_secs(15),
            spread: Duration::from_secs(30),
            failures_max: 5,
        }
    }
}

/// Where the breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Everything flows.
    Closed,
    /// Too many failures in a row: nothing is sent before the pause is over.
    Open,
    /// The pause is over; one transaction goes first.
    HalfOpen,
}

/// Reads an off-hours window, `22:00-06:00`.
pub fn off_hours(text: &str) -> Option<(Time, Time)> {
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let is_short = hour.len() == 2 && minute.len() == 2;
        Time::new(
            hour.parse().ok().filter(|_| is_short)?,
            minute.parse().ok()?,
            0,
            0,
        )
        .ok()
    };
    let (from, until) = text.split_once('-')?;
    Some((time(from)?, time(until)?))
}

/// Whether a time of day lies in a window that may span midnight. Equal ends mean all day.
pub(super) fn is_inside((from, until): (Time, Time), time: Time) -> bool {
    if from < until {
        from <= time && time < until
    } else {
        time >= from || time < until
    }
}

/// A small seeded generator (`SplitMix64`): the jitter must differ between terminals, be
/// replayable in a test, and be nothing else.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Anything from nothing up to a bound.
    pub(super) fn up_to(&mut self, bound: Duration) -> Duration {
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.next() % bound_us.saturating_add(1).max(1))
    }

    /// Full jitter: anything up to a bound that doubles with each failed attempt.
    pub(super) fn backoff(&mut self, attempts: u32) -> Duration {
        let bound = BACKOFF_MIN
            .saturating_mul(1 << attempts.min(16))
            .min(BACKOFF_MAX);
        self.up_to(bound).max(PAUSE_MIN)
    }

    /// What the platform asked for and a little more, never less.
    pub(super) fn asked(&mut self, asked: Duration) -> Duration {
        let asked = asked.min(BACKOFF_MAX);
        asked + self.up_to((asked / 10).min(ASKED_SPREAD))
    }
}

/// Failures in a row and the pauses that follow from them.
#[derive(Debug)]
pub(super) struct Pace {
    failures: u32,
    /// Nothing is sent before, by the monotonic clock.
    pause_until: Duration,
    /// The platform named the pause: nobody shortens it.
    is_asked: bool,
    /// The backlog starts not before, after an outage.
    spread_until: Duration,
    woken_at: Option<Duration>,
    window: u32,
    /// How long the last request took that the platform did, since it last failed.
    took: Option<Duration>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            failures: 0,
            pause_until: Duration::ZERO,
            is_asked: false,
            spread_until: Duration::ZERO,
            woken_at: None,
            window: 1,
            took: None,
        }
    }

    /// Nothing is sent before this.
    pub(super) fn hold_until(&self) -> Duration {
        self.pause_until.max(self.spread_until)
    }

    /// Transactions of the next batch.
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    pub(super) fn breaker(&self, policy: &Policy, now: Duration) -> Breaker {
        if self.failures < policy.failures_max {
            Breaker::Closed
        } else if now < self.pause_until {
            Breaker::Open
        } else {
            Breaker::HalfOpen
        }
    }

    /// The platform did what it was asked, in this time.
    pub(super) fn succeeded(&mut self, took: Duration) {
        self.failures = 0;
        self.is_asked = false;
        self.took = Some(took);
    }

    /// Whether the line has room for more than one request at a time.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        self.took.is_some_and(|took| took < FULL_LINE) && now >= self.hold_until()
    }

    /// It did so with a batch: more may come.
    pub(super) fn widen(&mut self) {
        self.window = (self.window * WINDOW_GROWTH).min(BATCH_MAX);
    }

    /// A request as a whole failed; how long everything pauses.
    pub(super) fn failed(
        &mut self,
        asked: Option<Duration>,
        random: &mut Random,
        policy: &Policy,
        now: Duration,
    ) -> Duration {
        let pause = match asked {
            Some(asked) => random.asked(asked),
            None => random.backoff(self.failures),
        };
        self.failures = self.failures.saturating_add(1);
        self.took = None;
        self.is_asked = asked.is_some();
        self.pause_until = now + pause;
        // A smaller batch finds a transaction that makes the platform fail without blaming it.
        self.window = if self.failures >= policy.failures_max {
            1
        } else {
            (self.window / WINDOW_SHRINK).max(1)
        };
        pause
    }

    /// The line is back. A backlog starts at a random moment of the policy's span, at most two
    /// seconds late when somebody waits at the glass for what was enqueued a moment ago.
    pub(super) fn line_up(
        &mut self,
        has_backlog: bool,
        random: &mut Random,
        policy: &Policy,
        now: Duration,
    ) {
        self.failures = 0;
        self.window = 1;
        self.took = None;
        self.is_asked = false;
        self.pause_until = now;
        let is_awaited = self
            .woken_at
            .is_some_and(|woken_at| now.saturating_sub(woken_at) < VISITOR_STAYS);
        let span = match (has_backlog, is_awaited) {
            (false, _) => Duration::ZERO,
            (true, true) => policy.spread.min(VISITOR_WAIT),
            (true, false) => policy.spread,
        };
        self.spread_until = now + random.up_to(span);
    }

    /// A visitor confirmed something. People do not confirm in step, so the spread has no more
    /// to spread; a pause that the platform asked for and an open breaker stay.
    pub(super) fn woken(&mut self, policy: &Policy, now: Duration) {
        self.woken_at = Some(now);
        self.spread_until = self.spread_until.min(now);
        if !self.is_asked && self.failures < policy.failures_max {
            self.pause_until = self.pause_until.min(now + VISITOR_WAIT);
        }
    }

    /// A named person wants it now: no pause of any kind is left.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.spread_until = now;
        self.pause_until = now;
        self.is_asked = false;
    }
}

/// The bandwidth cap: a bucket of one second that may go into debt by one request.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Bytes that may still be sent; negative is debt.
    left: i64,
    filled_at: Duration,
}

impl Bucket {
    /// How long until the next upload may start.
    pub(super) fn wait(&mut self, rate: Option<u32>, now: Duration) -> Duration {
        let Some(rate) = rate.map(|rate| i64::from(rate.max(RATE_MIN))) else {
            self.left = 0;
            self.filled_at = now;
            return Duration::ZERO;
        };
        let passed_ms = i64::try_from(now.saturating_sub(self.filled_at).as_millis())
            .unwrap_or(i64::MAX)
            // A day pays every debt; keeps the product in range.
            .min(86_400_000);
        let earned = passed_ms * rate / 1000;
        if earned > 0 {
            self.left = (self.left + earned).min(rate);
            self.filled_at = now;
        }
        if self.left >= 0 {
            return Duration::ZERO;
        }
        let owed_ms = (-self.left) * 1000 / rate + 1;
        Duration::from_millis(u64::try_from(owed_ms).unwrap_or(0))
    }

    /// So many bytes are being sent.
    pub(super) fn take(&mut self, bytes: usize) {
        self.left = self
            .left
            .saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_may_span_midnight() {
        let night = off_hours("22:00-06:00").unwrap();
        let noon = off_hours("11:30-13:00").unwrap();
        let check = |window, hour, minute, expected| {
            let time = Time::new(hour, minute, 0, 0).unwrap();
            assert_eq!(is_inside(window, time), expected, "{hour}:{minute}");
        };
        check(night, 22, 0, true);
        check(night, 23, 59, true);
        check(night, 5, 59, true);
        check(night, 6, 0, false);
        check(night, 12, 0, false);
        check(noon, 11, 29, false);
        check(noon, 12, 0, true);
        check(noon, 13, 0, false);
    }

    #[test]
    fn a_window_that_is_none_is_refused() {
        for text in [
            "",
            "22:00",
            "22:00-",
            "24:00-06:00",
            "22:60-06:00",
            "9:00-10:00",
            "a-b",
            "22:00-06:00-07:00",
        ] {
            assert_eq!(off_hours(text), None, "{text}");
        }
    }

    #[test]
    fn jitter_stays_between_nothing_much_and_a_quarter_of_an_hour() {
        let mut random = Random::new(7);
        let mut longest = Duration::ZERO;
        for attempt in 0..10_000_u32 {
            let pause = random.backoff(attempt % 40);
            assert!((PAUSE_MIN..=BACKOFF_MAX).contains(&pause));
            longest = longest.max(pause);
        }
        assert!(longest > BACKOFF_MAX * 9 / 10);
        assert!((0..1000).all(|_| random.backoff(0) <= BACKOFF_MIN));
    }

    #[test]
    fn two_terminals_do_not_come_in_step() {
        let (mut one, mut other) = (Random::new(1), Random::new(2));
        let same = (0..100)
            .filter(|attempt| one.backoff(*attempt) == other.backoff(*attempt))
            .count();
        assert!(same < 5, "{same}");
    }

    #[test]
    fn a_wish_to_wait_is_never_undercut_and_hardly_exceeded() {
        let mut random = Random::new(3);
        for _ in 0..1000 {
            let pause = random.asked(60 * S);
            assert!(pause >= 60 * S && pause <= 65 * S);
        }
        assert!(random.asked(Duration::from_hours(9)) <= BACKOFF_MAX + ASKED_SPREAD);
    }

    #[test]
    fn over_a_minute_no_more_than_the_cap_is_sent() {
        let mut bucket = Bucket::default();
        let (mut now, mut sent) = (S, 0_u64);
        while now < 61 * S {
            let wait = bucket.wait(Some(100_000), now);
            if wait.is_zero() {
                bucket.take(262_144);
                sent += 262_144;
            } else {
                now += wait;
            }
        }
        // One second in the bucket and one request in debt.
        assert!(sent <= 6_000_000 + 100_000 + 2 * 262_144, "{sent}");
        assert!(sent >= 5_500_000, "{sent}");
        assert_eq!(bucket.wait(None, now), Duration::ZERO);
    }

    #[test]
    fn the_breaker_opens_after_the_last_straw_and_one_success_closes_it() {
        let (mut pace, mut random, policy) = (Pace::new(), Random::new(1), Policy::default());
        pace.widen();
        pace.widen();
        assert_eq!(pace.window(), 100);
        for _ in 0..4 {
            pace.failed(None, &mut random, &policy, S);
        }
        assert_eq!(pace.breaker(&policy, S), Breaker::Closed);
        let pause = pace.failed(Some(60 * S), &mut random, &policy, S);
        assert_eq!(pace.breaker(&policy, S), Breaker::Open);
        assert_eq!(pace.window(), 1);
        assert_eq!(pace.breaker(&policy, S + pause), Breaker::HalfOpen);
        pace.woken(&policy, 2 * S);
        assert_eq!(
            pace.breaker(&policy, 2 * S),
            Breaker::Open,
            "a visitor does not close it"
        );
        pace.succeeded(S);
        assert_eq!(pace.breaker(&policy, 2 * S), Breaker::Closed);
    }

    #[test]
    fn a_visitor_shortens_our_own_pause_but_not_the_platforms() {
        let (mut pace, mut random, policy) = (Pace::new(), Random::new(9), Policy::default());
        for _ in 0..4 {
            pace.failed(None, &mut random, &policy, 100 * S);
        }
        pace.woken(&policy, 100 * S);
        assert!(pace.hold_until() <= 102 * S);
        pace.failed(Some(300 * S), &mut random, &policy, 100 * S);
        pace.woken(&policy, 100 * S);
        assert!(pace.hold_until() >= 400 * S);
    }

    #[test]
    fn after_an_outage_the_backlog_is_spread_and_a_visitor_is_not() {
        let (mut random, policy) = (Random::new(5), Policy::default());
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            let mut pace = Pace::new();
            pace.line_up(true, &mut random, &policy, 100 * S);
            longest = longest.max(pace.hold_until());
            pace.woken(&policy, 100 * S);
            assert!(pace.hold_until() <= 100 * S);
            pace.line_up(true, &mut random, &policy, 110 * S);
            assert!(pace.hold_until() <= 112 * S, "somebody waits at the glass");
            pace.line_up(false, &mut random, &policy, 110 * S);
            assert_eq!(pace.hold_until(), 110 * S, "nothing to spread");
        }
        assert!(longest > 125 * S && longest <= 130 * S);
    }
}
