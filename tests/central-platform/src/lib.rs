//! The reference central platform: the platform contract over HTTP, and nothing beyond the
//! contract. The default of demo and tests, and what an integrator reads to connect a real one.
//! It keeps everything in `SQLite`, or on a `PostgreSQL` server that several of it share.
//!
//! What it promises: a transaction takes effect once, however often and by whichever road it
//! arrives; a repeated one gets the same receipt; nothing is answered before it is durable. Its
//! network can be cut and its answers be spoiled by switches, so that a terminal can be tried
//! against every misery.

mod admin;
mod administrators;
mod admission;
pub mod authority;
mod carried;
mod clock;
mod config;
mod contract;
mod credential;
mod database;
mod enrolment;
mod fleet;
mod inflate;
mod limits;
mod messages;
mod metrics;
mod network;
mod otlp;
mod outbound;
mod overview;
mod platform;
mod problem;
mod region;
mod router;
mod seal;
mod services;
mod show;
mod signature;
mod standing;
mod store;
mod switches;
pub mod telemetry;
mod tickets;
pub mod tls;
mod uploads;
mod webhooks;

pub use config::{
    Administrator, Authority, Config, ConfigError, Enroll, HoldRule, Otlp, Role, Signatures, Tls,
    Webhook,
};
pub use contract::{Contract, Placement};
pub use database::DatabaseError;
pub use enrolment::code::Code;
pub use otlp::OtlpError;
pub use platform::{Platform, PlatformError};
pub use seal::verify_seal;
pub use store::{Accepted, Content, StoreError};
pub use switches::{FaceAnswer, Fault};
pub use webhooks::WebhookError;
