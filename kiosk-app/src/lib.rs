//! The terminal: ties the glass, the metal and the store together. `runtime` is the loop, `session`
//! the visit, `hub` the devices, `platform` the line, `queue` the way from a touch to a durable record.

mod audit;
pub mod boot;
pub mod calibration;
pub mod carry;
pub mod catalogue;
pub mod clock;
pub mod config;
pub mod desk;
pub mod devices;
mod diary;
pub mod documents;
pub mod event;
pub mod hub;
pub mod keys;
pub mod logging;
pub mod person;
pub mod pictures;
pub mod platform;
pub mod problem;
pub mod queue;
pub mod runtime;
pub mod safe;
pub mod selftest;
pub mod session;
pub mod slip_code;
pub mod usage;
pub mod vital;
pub mod watchdog;
pub mod words;
pub mod workbench;

pub use config::Config;
pub use runtime::{Farewell, Terminal};
