//! The vocabulary of devices (status, capability, fault and action), the contract of a driver, the
//! wire it speaks over, and the supervisor that keeps it alive. Knows no device by name.

pub mod clock;
pub mod config;
pub mod driver;
pub mod fault;
pub mod hotplug;
pub mod http;

pub mod recording;
pub mod sensitive;
pub mod status;
pub mod supervisor;
pub mod tap;
pub mod usb;
pub mod wire;

pub use config::{ConfigError, DeviceConfig, Power};
pub use driver::{Cancel, Completion, Context, Driver};
pub use fault::{Action, Fault};
pub use sensitive::Sensitive;
pub use status::{Capabilities, DeviceClass, DeviceState, Media, Status, Supply};
pub use supervisor::{
    Busy, CommandId, DeviceEvent, DeviceHandle, Diary, Observer, Rung, Snapshot, Support, Waker,
    spawn, spawn_supported,
};
pub use tap::Tap;
pub use wire::{Wire, WireError};
