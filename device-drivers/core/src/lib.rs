//! The vocabulary of devices (status, capability, fault and action), the contract of a driver, the
//! wire it speaks over, and the supervisor that keeps it alive. Knows no device by name.

pub mod clock;
pub mod config;
pub mod driver;
pub mod fault;
pub mod http;
pub mod sensitive;
pub mod status;
pub mod supervisor;
pub mod wire;

pub use config::{ConfigError, DeviceConfig};
pub use driver::{Cancel, Completion, Context, Driver};
pub use fault::{Action, Fault};
pub use sensitive::Sensitive;
pub use status::{Capabilities, DeviceClass, DeviceState, Media, Status, Supply};
pub use supervisor::{Busy, CommandId, DeviceEvent, DeviceHandle, spawn};
pub use wire::{Wire, WireError};
