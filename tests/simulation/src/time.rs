//! Three clocks: the true time that drives the world, the wall clock that may lie, and the
//! monotonic clock that starts anew with every program start. Nothing here reads a real clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kiosk_app::clock::Moment;

/// Midnight of 2026-11-22 at the terminal, when every month begins.
const START: i64 = 1_795_276_800;
/// A minute after midnight of 1970-01-01, where a clock without a battery wakes up.
const DEAD_BATTERY: i64 = 60;

/// How the wall clock lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It does not.
    None,
    /// The battery is dead: it began in 1970 when the program started.
    DeadBattery,
    /// Seventy years ahead.
    YearsAhead,
    /// A day behind.
    DayBehind,
}

/// Time in the world.
#[derive(Debug)]
pub(crate) struct Time {
    since: Duration,
    started: Duration,
    lie: Lie,
}

impl Time {
    pub(crate) fn new() -> Self {
        Self {
            since: Duration::ZERO,
            started: Duration::ZERO,
            lie: Lie::None,
        }
    }

    /// True time since the month began.
    pub(crate) fn since(&self) -> Duration {
        self.since
    }

    /// The true wall clock, which platform and officials have.
    pub(crate) fn truth(&self) -> Timestamp {
        at(START)
            .saturating_add(self.since)
            .unwrap_or(Timestamp::MAX)
    }

    /// What the terminal believes.
    pub(crate) fn now(&self) -> Moment {
        let uptime = self.since.saturating_sub(self.started);
        let truth = self.truth();
        let shifted = match self.lie {
            Lie::None => Ok(truth),
            Lie::DeadBattery => at(DEAD_BATTERY).saturating_add(uptime),
            Lie::YearsAhead => truth.saturating_add(SignedDuration::from_hours(70 * 365 * 24)),
            Lie::DayBehind => truth.saturating_sub(SignedDuration::from_hours(24)),
        };
        Moment {
            at: shifted.unwrap_or(truth),
            uptime,
        }
    }

    /// Time goes on.
    pub(crate) fn pass(&mut self, duration: Duration) {
        self.since += duration;
    }

    /// A program starts: its monotonic clock begins at zero.
    pub(crate) fn start_program(&mut self) {
        self.started = self.since;
    }

    /// The wall clock begins to lie, or is put right.
    pub(crate) fn tell(&mut self, lie: Lie) {
        self.lie = lie;
    }

    pub(crate) fn lie(&self) -> Lie {
        self.lie
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_lies_and_the_monotonic_one_does_not() {
        let mut time = Time::new();
        time.pass(Duration::from_hours(5));
        time.start_program();
        time.pass(Duration::from_secs(10));
        for (lie, year) in [
            (Lie::None, 2026),
            (Lie::DeadBattery, 1970),
            (Lie::YearsAhead, 2096),
            (Lie::DayBehind, 2026),
        ] {
            time.tell(lie);
            let now = time.now();
            assert_eq!(now.date().year(), year, "{lie:?}");
            assert_eq!(now.uptime, Duration::from_secs(10), "{lie:?}");
            assert_eq!(
                time.since(),
                Duration::from_hours(5) + Duration::from_secs(10)
            );
        }
        assert_eq!(time.now().date().day(), 21);
    }
}
