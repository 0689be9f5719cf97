//! Reads the time; nobody else in this program does.

use std::time::Instant;

use jiff::Timestamp;

/// The time now, as the system has it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the clock in the updater"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A moment of the clock that is never set.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the clock in the updater"
)]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
