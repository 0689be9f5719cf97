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
mod io_board;
mod line_device;
mod mischief;
mod page_printer;
mod qr_scanner;
mod replay;
pub mod scenes;
mod serial;
pub mod slip_code;
mod slip_printer;
mod smart_card;
mod steering;
mod tcp;
mod ups;
mod usb;

pub use act::{Act, CardChoice, Device};
pub use bench::{Bench, BenchConfig, BenchError, Ports};
pub use camera::{Camera, CameraConfig, CameraFault};
pub use card::{CardError, CardSpec, names as card_names};
pub use control::{Control, LINE_BYTES_MAX};
pub use id_card::{CardFault, IdCardConfig, IdCardReader, IdCardTransport, Operation};
pub use io_board::{InputChoice, IoBoard, IoBoardConfig, IoDialect, IoFault};
pub use line_device::LineTransport;
pub use mischief::Misbehavior;
pub use page_printer::{PageFault, PagePrint, PagePrinter, PagePrinterConfig, PrintOutcome};
pub use qr_scanner::{
    CodeEncoding, CodeFault, CodeSuffix, CodeTooLong, HidLayout, QrScanner, QrScannerConfig,
    ScanMode, ScannerDialect, ScannerTransport,
};
pub use replay::{Replay, ReplayError};
pub use slip_printer::{SlipOutcome, SlipPrint, SlipPrinter, SlipPrinterConfig, SlipTransport};
pub use smart_card::{ChipCard, ChipFault, ChipVersion, SelectBy, SmartCardConfig, SmartCardSlot};
pub use ups::{Ups, UpsConfig};
pub use usb::{UsbBus, UsbConfig};
