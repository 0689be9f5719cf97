//! Typesets slips and paints pages on a thread of its own, so that the loop never waits for paper.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kiosk_device::Sensitive;
use kiosk_documents::{
    Bits, DocumentError, Offset, Template, Typesetter, pdf_pages, pdf_shifted, qr_svg,
};
use kiosk_ui::Picture;

use crate::event::{Event, PageSet, Slip, Ticket};
use crate::runtime::Input;

/// Work that may wait; a visit has one piece at a time.
const INBOX_LIMIT: usize = 8;
/// Width of a slip in dots: an 80 mm head at 203 dpi.
const SLIP_WIDTH_DOTS: u32 = 576;
/// Width of a page on the screen.
const PAGE_WIDTH_PX: u32 = 840;
/// Most pages of a document that are shown and printed; chosen: the longest official proof has 6.
const PAGES_MAX: u32 = 20;

/// Why a slip could not be typeset.
#[derive(Debug, thiserror::Error)]
enum SlipError {
    #[error("the template {path} cannot be read: {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Document(#[from] DocumentError),
}

enum Work {
    Slip(Ticket, Box<Slip>, PathBuf),
    Paint(Ticket, Arc<Sensitive<Vec<u8>>>),
    Move(Ticket, Arc<Sensitive<Vec<u8>>>, u32, Offset),
    Forget,
}

/// The typesetter's inbox.
#[derive(Debug)]
pub struct Documents {
    inbox: SyncSender<Work>,
}

/// A slip ready for the printer.
#[derive(Clone, Debug)]
pub struct TypesetSlip {
    /// The slip.
    pub slip: Box<Slip>,
    /// Its dots.
    pub bits: Bits,
}

impl Documents {
    /// Starts the thread. Fonts are looked for at the first document, not at the start.
    ///
    /// # Errors
    /// When the machine cannot start a thread.
    pub fn start(fonts: Vec<PathBuf>, out: SyncSender<Input>) -> std::io::Result<Self> {
        let (inbox, work) = sync_channel(INBOX_LIMIT);
        crate::vital::spawn("documents", move || run(&fonts, &work, &out))?;
        Ok(Self { inbox })
    }

    /// Typesets a slip with the template file; the answer is `Input::SlipReady`.
    pub(crate) fn typeset(
        &self,
        ticket: Ticket,
        slip: Box<Slip>,
        template: PathBuf,
    ) -> Result<(), &'static str> {
        self.inbox
            .try_send(Work::Slip(ticket, slip, template))
            .map_err(|_| "document.busy")
    }

    /// Paints the pages of a document; the answer is `Event::Pages`.
    pub(crate) fn paint(
        &self,
        ticket: Ticket,
        pdf: Arc<Sensitive<Vec<u8>>>,
    ) -> Result<(), &'static str> {
        self.inbox
            .try_send(Work::Paint(ticket, pdf))
            .map_err(|_| "document.busy")
    }

    /// Moves the pages of a document on their paper; the answer is `Input::PagesMoved`.
    pub(crate) fn shift(
        &self,
        ticket: Ticket,
        pdf: Arc<Sensitive<Vec<u8>>>,
        pages: u32,
        offset: Offset,
    ) -> Result<(), &'static str> {
        self.inbox
            .try_send(Work::Move(ticket, pdf, pages, offset))
            .map_err(|_| "document.busy")
    }

    /// Drops what typesetting keeps for speed: it holds text of the visit.
    pub(crate) fn forget(&self) {
        if self.inbox.try_send(Work::Forget).is_err() {
            tracing::error!("the typesetter is busy and keeps its cache until the next visit ends");
        }
    }
}

fn run(fonts: &[PathBuf], work: &Receiver<Work>, out: &SyncSender<Input>) {
    let mut typesetter = None;
    // Ends when the terminal drops its side.
    for work in work {
        let answer = match work {
            Work::Slip(ticket, slip, template) => {
                let bits = typeset(&mut typesetter, fonts, &slip, &template).map_err(|error| {
                    tracing::error!(%error, "slip cannot be typeset");
                    "document.template"
                });
                Input::SlipReady(ticket, bits.map(|bits| TypesetSlip { slip, bits }))
            }
            Work::Forget => {
                if let Some(typesetter) = &typesetter {
                    typesetter.forget();
                }
                continue;
            }
            Work::Paint(ticket, pdf) => Input::Event(Event::Pages(ticket, paint(&pdf))),
            Work::Move(ticket, pdf, pages, offset) => {
                Input::PagesMoved(ticket, moved(pdf, offset), pages)
            }
        };
        if out.send(answer).is_err() {
            return;
        }
    }
}

fn typeset(
    typesetter: &mut Option<Typesetter>,
    fonts: &[PathBuf],
    slip: &Slip,
    template: &std::path::Path,
) -> Result<Bits, SlipError> {
    let typesetter = match typesetter {
        Some(typesetter) => typesetter,
        None if fonts.is_empty() => typesetter.insert(Typesetter::with_system_fonts()?),
        None => typesetter.insert(Typesetter::new(fonts)?),
    };
    let source = std::fs::read_to_string(template).map_err(|source| SlipError::Unreadable {
        path: template.display().to_string(),
        source,
    })?;
    let qr = qr_svg(&slip.commitment.code)?;
    let document = typesetter.compile(&Template {
        source: &source,
        data: &slip.content,
        files: &[("qr.svg", qr)],
    })?;
    Ok(document.page_bits(0, SLIP_WIDTH_DOTS)?)
}

/// The document where it should stand; as it is where that cannot be done: somebody waits for it.
fn moved(pdf: Arc<Sensitive<Vec<u8>>>, offset: Offset) -> Arc<Sensitive<Vec<u8>>> {
    match pdf_shifted(pdf.expose(), offset) {
        Ok(moved) => Arc::new(Sensitive::new(moved)),
        Err(error) => {
            tracing::warn!(%error, "a document is printed where the printer begins");
            pdf
        }
    }
}

fn paint(pdf: &Sensitive<Vec<u8>>) -> Result<PageSet, &'static str> {
    let pages = pdf_pages(pdf.expose(), PAGE_WIDTH_PX, PAGES_MAX).map_err(|error| {
        tracing::error!(%error, "document cannot be painted");
        "document.unreadable"
    })?;
    Ok(PageSet {
        pages: pages
            .into_iter()
            .map(|page| Picture {
                width: page.width,
                height: page.height,
                rgb: Arc::new(page.rgb),
            })
            .collect(),
    })
}
