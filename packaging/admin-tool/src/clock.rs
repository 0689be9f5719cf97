//! Reads the time; nobody else in this tool does.

use jiff::Timestamp;

/// The moment now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one reader of the clock in kiosk-admin"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
