//! What time it is at the platform, as far as this terminal can know. Its own clock may stand in
//! 1970 after a dead battery or seventy years ahead after a mistake: signatures and certificates
//! must work all the same, and must not be fooled either.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Moment;

/// Setting under which the last time of the platform is kept, in milliseconds.
pub(super) const FLOOR: &str = "time-floor";
/// No program of this version ran before: 2026-11-01T00:00:00Z, raised with each release.
pub(super) const BUILT_AT_S: i64 = 1_793_491_200;
/// The system clock is believed so far past the floor: a terminal is not offline for longer than
/// half a year without a visit of a technician, who sets it.
const BELIEVED: Duration = Duration::from_hours(180 * 24);
/// The floor is written this often at most.
const STORE_EVERY: Duration = Duration::from_hours(1);

/// The platform's time. Shared by every request and by the check of certificates.
#[derive(Debug)]
pub(super) struct PlatformClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// It is not earlier than this.
    floor: Timestamp,
    /// How far the floor may rise while the program runs.
    ceiling: Timestamp,
    /// What is in the store.
    stored: Option<Timestamp>,
    /// The platform's last word, with the monotonic time at which it came.
    seen: Option<(Timestamp, Duration)>,
    /// The same, but only what came over a line whose other end had proved who it is.
    proved: Option<(Timestamp, Duration)>,
}

impl PlatformClock {
    /// A clock that knows what was stored before the restart; rubbish is as good as nothing.
    pub(super) fn new(stored: Option<&str>) -> Self {
        let stored = stored
            .and_then(|text| text.parse().ok())
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let built = Timestamp::from_second(BUILT_AT_S).unwrap_or(Timestamp::UNIX_EPOCH);
        let floor = stored.map_or(built, |stored| stored.max(built));
        Self {
            state: Mutex::new(State {
                floor,
                ceiling: later(floor, BELIEVED),
                stored,
                seen: None,
                proved: None,
            }),
        }
    }

    /// The platform said what time it is. Only a word over TLS moves the floor, and never further
    /// than half a year at a time: a forged date must not lock the terminal out for good.
    pub(super) fn saw(&self, date: Timestamp, is_proved: bool, now: Moment) {
        let mut state = self.state();
        state.seen = Some((date, now.uptime));
        if is_proved && date >= state.floor {
            state.floor = date.min(state.ceiling);
            state.proved = Some((state.floor, now.uptime));
        }
    }

    /// The platform's time.
    pub(super) fn now(&self, now: Moment) -> Timestamp {
        let state = self.state();
        state.seen.map_or_else(
            || believed(now.at, state.floor),
            |(date, uptime)| later(date, now.uptime.saturating_sub(uptime)),
        )
    }

    /// How far the platform is ahead of this terminal in seconds; 0 while it has not spoken.
    pub(super) fn offset_s(&self, now: Moment) -> i64 {
        if self.state().seen.is_none() {
            return 0;
        }
        self.now(now).duration_since(now.at).as_secs()
    }

    /// True once the platform has said what time it is.
    pub(super) fn has_seen(&self) -> bool {
        self.state().seen.is_some()
    }

    /// The time by which certificates are checked: the platform's proved word carried on by the
    /// monotonic clock, else the system clock as far as it is believed, else the floor.
    pub(super) fn for_certificates(&self, now: Moment) -> Timestamp {
        let state = self.state();
        state.proved.map_or_else(
            || believed(now.at, state.floor),
            |(date, uptime)| later(date, now.uptime.saturating_sub(uptime)),
        )
    }

    /// What is to be stored under [`FLOOR`], when it has risen enough.
    pub(super) fn to_store(&self) -> Option<String> {
        let mut state = self.state();
        let is_news = state
            .stored
            .is_none_or(|stored| later(stored, STORE_EVERY) <= state.floor);
        if !is_news || state.proved.is_none() {
            return None;
        }
        state.stored = Some(state.floor);
        Some(state.floor.as_millisecond().to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn believed(clock: Timestamp, floor: Timestamp) -> Timestamp {
    if clock >= floor && clock <= later(floor, BELIEVED) {
        clock
    } else {
        floor
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at: &str, uptime_s: u64) -> Moment {
        Moment {
            at: at.parse().unwrap(),
            uptime: Duration::from_secs(uptime_s),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn stored(text: &str) -> PlatformClock {
        PlatformClock::new(Some(&at(text).as_millisecond().to_string()))
    }

    #[test]
    fn a_clock_of_1970_or_of_the_far_future_is_not_believed() {
        let clock = stored("2026-12-01T00:00:00Z");
        let check = |now: &str, expected: &str| {
            assert_eq!(
                clock.for_certificates(moment(now, 5)),
                at(expected),
                "{now}"
            );
        };
        check("1970-01-01T00:00:07Z", "2026-12-01T00:00:00Z");
        check("2096-11-22T00:00:00Z", "2026-12-01T00:00:00Z");
        check("2026-11-30T00:00:00Z", "2026-12-01T00:00:00Z");
        check("2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z");
    }

    #[test]
    fn the_platforms_word_is_carried_on_by_the_monotonic_clock() {
        let clock = stored("2026-12-01T00:00:00Z");
        clock.saw(
            at("2026-12-24T12:00:00Z"),
            true,
            moment("1970-01-01T00:00:00Z", 10),
        );
        let later = moment("2096-01-01T00:00:00Z", 70);
        assert_eq!(clock.now(later), at("2026-12-24T12:01:00Z"));
        assert_eq!(clock.for_certificates(later), at("2026-12-24T12:01:00Z"));
        let sane = moment("2026-12-24T12:00:30Z", 70);
        assert_eq!(clock.offset_s(sane), 30);
    }

    #[test]
    fn an_unproved_word_never_moves_the_floor_and_a_proved_one_not_without_bound() {
        let clock = stored("2026-12-01T00:00:00Z");
        let now = moment("1970-01-01T00:00:00Z", 1);
        clock.saw(at("2096-01-01T00:00:00Z"), false, now);
        assert_eq!(clock.for_certificates(now), at("2026-12-01T00:00:00Z"));
        assert_eq!(clock.to_store(), None);
        clock.saw(at("2096-01-01T00:00:00Z"), true, now);
        assert_eq!(clock.for_certificates(now), at("2027-05-30T00:00:00Z"));
        assert!(clock.to_store().is_some());
        clock.saw(at("2020-01-01T00:00:00Z"), true, now);
        assert_eq!(
            clock.for_certificates(now),
            at("2027-05-30T00:00:00Z"),
            "never back"
        );
    }

    #[test]
    fn the_floor_is_stored_once_an_hour_and_survives_rubbish() {
        let clock = PlatformClock::new(Some("rubbish"));
        let now = moment("2026-12-01T00:00:00Z", 1);
        assert_eq!(clock.to_store(), None);
        clock.saw(at("2026-12-01T00:00:00Z"), true, now);
        let stored = clock.to_store().unwrap();
        assert_eq!(clock.to_store(), None);
        clock.saw(at("2026-12-01T00:59:59Z"), true, now);
        assert_eq!(clock.to_store(), None);
        clock.saw(at("2026-12-01T01:00:00Z"), true, now);
        assert!(clock.to_store().is_some());
        let again = PlatformClock::new(Some(&stored));
        assert_eq!(
            again.for_certificates(moment("1970-01-01T00:00:00Z", 0)),
            at("2026-12-01T00:00:00Z")
        );
    }
}
