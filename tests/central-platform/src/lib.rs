//! The reference central platform: the platform contract over HTTP on `SQLite`, and nothing beyond
//! the contract. The default of demo and tests, and what an integrator reads to connect a real one.
//!
//! What it promises: a transaction takes effect once, however often it arrives; a repeated one
//! gets the same receipt; nothing is answered before it is durable. Its network can be cut and
//! its answers be spoiled by switches, so that a terminal can be tried against every misery.

mod admin;
mod clock;
mod config;
mod contract;
mod credential;
mod network;
mod platform;
mod problem;
mod router;
mod seal;
mod store;
mod switches;
mod uploads;

pub use config::{Config, ConfigError};
pub use platform::{Platform, PlatformError};
pub use seal::verify_seal;
pub use store::{Accepted, StoreError};
pub use switches::{FaceAnswer, Fault};
