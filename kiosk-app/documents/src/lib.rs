//! Paper before it is paper: Typst templates become PDF, pixels and printer dots, and a received PDF becomes pixels.
//!
//! A template sees its data and its files and nothing else: no clock, no network, no file system, so the same
//! input gives the same bytes on every terminal and in every year.
//! Outside bytes (a PDF from the platform) are bounded in size, pages and time, and never end the process.
//! Nothing here knows a printer, a screen or an item; callers hand over text and get pages back.

mod error;
mod fonts;
mod pdf;
mod qr;
mod raster;
mod shift;
mod typesetter;
mod world;

pub use error::DocumentError;
pub use fonts::SYSTEM_FONT_DIRS;
pub use pdf::{PDF_BYTES_MAX, PDF_PAGES_MAX, pdf_page_count, pdf_pages};
pub use qr::qr_svg;
pub use raster::{Bits, Page};
pub use shift::{Offset, pdf_shifted};
pub use typesetter::{Document, Template, Typesetter};
