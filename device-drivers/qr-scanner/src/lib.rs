//! Bar code and QR scanners. What a code says may be personal (a credential, a receipt): it travels
//! as `Sensitive`, unchanged, and is judged elsewhere.

pub mod newland;
mod scanner;
pub mod text;

pub use scanner::{Command, DRIVERS, Event, ScannedCode, Scanner};
