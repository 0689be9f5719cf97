//! Reads the time; nobody else in this crate does. Everyone takes a [`Moment`] as an argument,
//! so that a day of kiosk life is one replayable function.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// One moment by two clocks.
///
/// The wall clock is what is written down; it may jump (a dead battery, a time server).
/// The monotonic clock is what deadlines are measured by; it never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Wall clock.
    pub at: Timestamp,
    /// Monotonic time since the process started.
    pub uptime: Duration,
}

impl Moment {
    /// The local date at the place of all terminals (China Standard Time has no daylight saving).
    pub fn date(self) -> Date {
        self.local().date()
    }

    /// Local time for people: `2026-11-22 09:41`.
    pub fn minute(self) -> String {
        self.local().strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// Local date and time of day.
    pub fn local(self) -> jiff::Zoned {
        self.at.to_zoned(local_zone())
    }
}

/// UTC+8, the legal time of the whole country.
pub fn local_zone() -> TimeZone {
    TimeZone::fixed(jiff::tz::offset(8))
}

static START: OnceLock<Instant> = OnceLock::new();

/// The moment now. The first call marks the start of the process.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the clock in kiosk-app"
)]
pub fn now() -> Moment {
    let start = START.get_or_init(Instant::now);
    Moment {
        at: Timestamp::now(),
        uptime: start.elapsed(),
    }
}
