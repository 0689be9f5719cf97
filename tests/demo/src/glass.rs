//! What the Slint compiler makes of `slint/panel.slint`. Nothing is written by hand here.

#![expect(
    clippy::let_underscore_must_use,
    clippy::todo,
    clippy::unwrap_used,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

slint::include_modules!();
