//! One function a parser of outside bytes: takes anything, returns, never panics.
//!
//! The fuzzer (`tests/fuzz`) and the short seeded run of `make test` call the same functions.
//! What a parser accepts is looked at a little further, so that a wrong acceptance shows too.

pub mod app;
pub mod devices;
pub mod items;
pub mod sealing;
mod store;
pub mod update;

pub use devices::Target;

/// Every parser of outside bytes.
pub fn targets() -> impl Iterator<Item = &'static Target> {
    devices::TARGETS
        .iter()
        .chain(sealing::TARGETS)
        .chain(app::TARGETS)
        .chain(update::TARGETS)
        .chain(items::TARGETS)
}
