//! Every emulator over its real transport, spoken to in raw bytes: the vectors of the fact sheet,
//! the negative cases, and the faults a person can make.

#![expect(
    clippy::unwrap_used,
    reason = "in a test, and in what tests share, a panic is the answer"
)]

mod auxiliaries;
mod bench;
mod camera;
mod common;
mod id_card;
mod page_printer;
mod qr_scanner;
mod slip_printer;
mod usb;
mod usbip;
