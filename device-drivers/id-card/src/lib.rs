//! Resident identity card readers: the SDT protocol of the certified modules over serial lines, TCP
//! and the three USB layouts, the content of the four kinds of cards, and the driver that waits for a
//! card and reads it.
//!
//! What a card says is personal: it travels as `Sensitive` and never reaches a log or an error.

pub mod date;
pub mod hid;
mod line;
pub mod nation;
pub mod number;
pub mod portrait;
mod reader;
pub mod record;
pub mod sdt;

pub use date::Date;
pub use nation::Nation;
pub use reader::{Command, DRIVERS, Event, IdCardReader};
pub use record::{CardKind, CardRecord, RecordError, Sex};
