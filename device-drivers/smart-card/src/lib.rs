//! Chip cards over PC/SC: the social security card, as far as it can be read without a PIN.
//!
//! What a card says is personal: it travels as `Sensitive` and never reaches a log or an error. No
//! PIN is ever tried.

pub mod apdu;
pub mod card;
mod reader;

pub use card::{Date, ReadError, Sex, SocialCard};
pub use reader::{Command, DRIVERS, Event, SmartCardReader};
