//! Reads the monotonic clock and waits; nobody else in this crate does either.
//!
//! A wait is a pause on a channel that stays silent, cut by the deadline that every caller has.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// When something must have happened.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So far from now.
    pub fn after(time: Duration) -> Self {
        Self(now() + time)
    }

    /// Time that is left; zero when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// True when no time is left.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }
}

/// The moment now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the clock in this crate"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Whole milliseconds since `start`.
pub fn milliseconds_since(start: Instant) -> u64 {
    u64::try_from(now().saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX)
}

/// Lets `time` pass. Nothing ever arrives on this channel.
pub fn pause(time: Duration) {
    let (keeper, silence): (_, Receiver<()>) = sync_channel(1);
    if silence.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
        drop(keeper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_when_its_time_is_over() {
        assert!(!Deadline::after(Duration::from_mins(1)).has_passed());
        let deadline = Deadline::after(Duration::from_millis(1));
        pause(Duration::from_millis(2));
        assert!(deadline.has_passed());
    }
}
