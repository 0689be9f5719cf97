//! A received PDF as pictures, for the preview. The bytes are outside bytes: bounded in size, pages, pixels and time.
//!
//! The renderer runs in a thread of its own, because a damaged or hostile file may make it panic, recurse deeply
//! or take very long, and none of that may reach the visit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use hayro::hayro_interpret::InterpreterSettings;
use hayro::hayro_syntax::{LoadPdfError, Pdf};
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::{RenderCache, RenderSettings};

use crate::DocumentError;
use crate::raster::{Page, scale};

/// The largest PDF that is looked at, in bytes. Chosen: a scanned proof of twenty pages has about 10 MiB.
pub const PDF_BYTES_MAX: usize = 20 << 20;
/// The most pages rendered in one call. Chosen: a preview shows a few at a time.
pub const PDF_PAGES_MAX: u32 = 100;

/// Chosen: a page takes some tens of milliseconds; after this time nobody waits for a preview any more.
const RENDER_DEADLINE: Duration = Duration::from_secs(20);
/// Chosen: twice the main thread's usual stack, for deeply nested page trees and forms.
const RENDER_STACK_BYTES: usize = 16 << 20;
/// Chosen: a renderer past its deadline cannot be stopped, only counted; more than these are a flood.
const RENDERERS_MAX: usize = 8;
/// The header stands within the first kilobyte (ISO 32000-1, annex H.3, note 13).
const HEADER_WITHIN_BYTES: usize = 1024;

static RENDERERS: AtomicUsize = AtomicUsize::new(0);

/// Renders the first pages of a PDF, each as wide as asked, on white. Never more than `max_pages` or
/// [`PDF_PAGES_MAX`]; [`pdf_page_count`] tells how many there are.
///
/// # Errors
/// [`DocumentError::TooLarge`] beyond [`PDF_BYTES_MAX`], [`DocumentError::Width`], [`DocumentError::PdfUnreadable`]
/// for anything that is not a readable PDF, [`DocumentError::PdfTooSlow`] after 20 s.
pub fn pdf_pages(pdf: &[u8], width_px: u32, max_pages: u32) -> Result<Vec<Page>, DocumentError> {
    // The width is the caller's mistake, not the file's: tell it before anything else.
    scale(1.0, 1.0, width_px)?;
    let pages_max = max_pages.min(PDF_PAGES_MAX) as usize;
    apart(pdf, move |pdf| render(&load(pdf)?, width_px, pages_max))
}

/// How many pages a PDF has.
///
/// # Errors
/// As [`pdf_pages`].
pub fn pdf_page_count(pdf: &[u8]) -> Result<usize, DocumentError> {
    apart(pdf, |pdf| Ok(load(pdf)?.pages().len()))
}

/// Runs the foreign code in a thread of its own and waits for it with a deadline.
pub(crate) fn apart<T: Send + 'static>(
    pdf: &[u8],
    work: impl FnOnce(Vec<u8>) -> Result<T, DocumentError> + Send + 'static,
) -> Result<T, DocumentError> {
    if pdf.len() > PDF_BYTES_MAX {
        return Err(DocumentError::TooLarge {
            what: "PDF bytes",
            limit: PDF_BYTES_MAX,
        });
    }
    let head = &pdf[..pdf.len().min(HEADER_WITHIN_BYTES)];
    if !head.windows(5).any(|window| window == b"%PDF-") {
        return Err(DocumentError::PdfUnreadable {
            reason: "it does not begin like a PDF",
        });
    }
    let running = Running::start().ok_or(DocumentError::PdfTooSlow)?;
    let pdf = pdf.to_vec();
    let (sender, receiver) = sync_channel(1);
    let spawned = thread::Builder::new()
        .name("pdf-preview".to_owned())
        .stack_size(RENDER_STACK_BYTES)
        .spawn(move || {
            // Owned by the thread, so that a rendering past its deadline still counts.
            let _running = running;
            let result = work(pdf);
            // Nobody listens any more after the deadline.
            drop(sender.send(result));
        });
    if spawned.is_err() {
        return Err(DocumentError::PdfTooSlow);
    }
    match receiver.recv_timeout(RENDER_DEADLINE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(DocumentError::PdfTooSlow),
        // The thread ended without an answer: the renderer panicked. The file is to blame, our state is untouched.
        Err(RecvTimeoutError::Disconnected) => Err(DocumentError::PdfUnreadable {
            reason: "the renderer gave up",
        }),
    }
}

pub(crate) fn load(pdf: Vec<u8>) -> Result<Pdf, DocumentError> {
    let pdf = Pdf::new(pdf).map_err(|error| DocumentError::PdfUnreadable {
        reason: match error {
            LoadPdfError::Decryption(_) => "it is encrypted",
            LoadPdfError::Invalid => "its structure is damaged",
        },
    })?;
    if pdf.pages().is_empty() {
        return Err(DocumentError::PdfUnreadable {
            reason: "it has no pages",
        });
    }
    Ok(pdf)
}

fn render(pdf: &Pdf, width_px: u32, pages_max: usize) -> Result<Vec<Page>, DocumentError> {
    let cache = RenderCache::new();
    let interpreter = InterpreterSettings::default();
    let mut pages = Vec::new();
    for page in pdf.pages().iter().take(pages_max) {
        let (width, height) = page.render_dimensions();
        let (factor, height_px) = scale(f64::from(width), f64::from(height), width_px)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a scale factor needs no more digits"
        )]
        let factor = factor as f32;
        let settings = RenderSettings {
            x_scale: factor,
            y_scale: factor,
            width: u16::try_from(width_px).ok(),
            height: u16::try_from(height_px).ok(),
            bg_color: WHITE,
        };
        let pixmap = hayro::render(page, &cache, &interpreter, &settings);
        let (width, height) = (u32::from(pixmap.width()), u32::from(pixmap.height()));
        pages.push(Page::from_premultiplied(
            width,
            height,
            pixmap.data_as_u8_slice(),
            width_px,
        ));
    }
    Ok(pages)
}

/// One running renderer; counted until dropped.
struct Running;

impl Running {
    fn start() -> Option<Self> {
        let add = |running| (running < RENDERERS_MAX).then_some(running + 1);
        RENDERERS
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .ok()
            .map(|_| Self)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RENDERERS.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_renderer_becomes_an_error_and_is_not_counted_for_ever() {
        for _ in 0..=RENDERERS_MAX {
            let outcome: Result<(), _> = apart(b"%PDF-1.7", |_| panic!("as foreign code does"));
            assert_eq!(outcome.unwrap_err().code(), "document.pdf-unreadable");
        }
    }
}
