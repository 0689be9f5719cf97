//! Protocol-level emulators of every device of the terminal, on real transports, and the bench
//! that runs them.
//!
//! Each protocol is implemented here a second time, from the fact sheet and never from a driver,
//! so that the two check each other. Emulators are strict (wrong frames and wrong order are
//! refused as the device refuses them), paced (bytes, rows and pages take their time) and
//! steerable (cards, paper, covers, cables) by API ([`Bench`]) and by a control socket
//! ([`Control`]). The terminal itself never links this crate.

mod act;
mod bench;
mod camera;
mod card;
mod control;
mod font;
mod http;
mod id_card;
mod page_printer;
mod qr_scanner;
pub mod scenes;
mod serial;
pub mod slip_code;
mod slip_printer;
mod steering;
mod tcp;

pub use act::{Act, CardChoice, Device};
pub use bench::{Bench, BenchConfig, BenchError, Ports};
pub use camera::{Camera, CameraConfig, CameraFault};
pub use card::{CardError, CardSpec, names as card_names};
pub use control::{Control, LINE_BYTES_MAX};
pub use id_card::{CardFault, IdCardConfig, IdCardReader, Operation};
pub use page_printer::{PageFault, PagePrint, PagePrinter, PagePrinterConfig, PrintOutcome};
pub use qr_scanner::{CodeEncoding, CodeTooLong, QrScanner, QrScannerConfig};
pub use slip_printer::{SlipOutcome, SlipPrint, SlipPrinter, SlipPrinterConfig, SlipTransport};
