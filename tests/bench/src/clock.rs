//! Reads the clock; nobody else in this package does. A measuring program is about time, so it
//! hands out moments and spans, and everything that computes with them takes them as arguments.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A running watch.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Instant);

impl Watch {
    /// Starts one.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the clock in this package"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since it was started.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Nanoseconds since it was started.
    pub fn nanoseconds(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The wall clock, for what is written down.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the clock in this package"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
