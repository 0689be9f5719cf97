//! Bar code and QR scanners: five dialects on serial lines, HID-POS on USB, a keyboard that is really
//! a scanner, and QR codes in camera frames. What a code says may be personal (a credential, a
//! receipt): it travels as `Sensitive`, unchanged, and is judged elsewhere.

pub mod datalogic;
mod dialect;
pub mod frame;
pub mod gm65;
mod hid_pos;
pub mod hid_report;
pub mod honeywell;
mod identity;
pub mod keyboard;
mod line;
pub mod newland;
mod recent;
mod scanner;
pub mod ssi;
pub mod text;

pub use scanner::{Command, DRIVERS, Event, ScannedCode, Scanner};
