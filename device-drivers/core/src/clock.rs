//! The one place of the device crates that reads the clock.

use std::time::Instant;

/// The monotonic time now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the clock below device-drivers"
)]
pub fn now() -> Instant {
    Instant::now()
}
