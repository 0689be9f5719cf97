//! From a template and its data to a document, and from a document to PDF, pixels and dots.
//!
//! The compiler remembers pieces of earlier documents to be fast. What it remembers is bounded by age,
//! and [`Typesetter::forget`] empties it at the end of a visit, because those pieces hold what was printed.

use std::fmt;
use std::path::PathBuf;

use typst::diag::{SourceDiagnostic, Warned};
use typst::foundations::Smart;
use typst::syntax::DiagSpan;
use typst::{World, WorldExt};
use typst_layout::PagedDocument;
use typst_pdf::PdfOptions;
use typst_render::RenderOptions;

use crate::DocumentError;
use crate::fonts::{Fonts, SYSTEM_FONT_DIRS};
use crate::raster::{self, Bits, Page};
use crate::world::{DATA_NAME, TEMPLATE_NAME, TemplateWorld};

/// Chosen: remembered pieces that two following documents did not use are dropped. One is the slip between two forms.
const CACHE_AGE_MAX: usize = 2;
/// Chosen: the longest local document, a readiness report, has about ten pages.
const PAGES_MAX: usize = 200;
/// Chosen: shorter values ("en", "12", "是") stand in any message by chance; two Chinese characters have six bytes.
const QUOTED_BYTES_MIN: usize = 4;

/// Turns templates into documents. Shared between threads; every call blocks until it is done.
pub struct Typesetter {
    fonts: Fonts,
}

/// What one document is made of.
#[derive(Clone, Copy)]
pub struct Template<'a> {
    /// Typst source. Reads `json("data.json")` and the files by name.
    pub source: &'a str,
    /// The document's data. May hold personal data; it reaches neither errors nor `Debug`.
    pub data: &'a serde_json::Value,
    /// Pictures and included templates: name without a leading slash, content.
    /// Names come from the item package and never from a visit, because the compiler keeps them for ever.
    pub files: &'a [(&'a str, Vec<u8>)],
}

/// A typeset document. Pages count from 0.
pub struct Document {
    paged: PagedDocument,
}

impl Typesetter {
    /// Looks for `.ttf`, `.otf`, `.ttc` and `.otc` files under the directories; absent ones are skipped.
    /// Takes milliseconds: the faces are read with the first document or by [`Self::warm_up`].
    ///
    /// # Errors
    /// [`DocumentError::NoCjkFont`] when no file holds Chinese characters; nothing useful can be printed then.
    pub fn new(font_dirs: &[PathBuf]) -> Result<Self, DocumentError> {
        Ok(Self {
            fonts: Fonts::find(font_dirs)?,
        })
    }

    /// Like [`Self::new`] with [`SYSTEM_FONT_DIRS`].
    ///
    /// # Errors
    /// [`DocumentError::NoCjkFont`].
    pub fn with_system_fonts() -> Result<Self, DocumentError> {
        Self::new(
            &SYSTEM_FONT_DIRS
                .iter()
                .map(PathBuf::from)
                .collect::<Vec<_>>(),
        )
    }

    /// Reads the faces of all fonts now, so that the first citizen does not wait for it.
    /// Meant for a background thread after the first screen.
    pub fn warm_up(&self) {
        self.fonts.shelf();
    }

    /// Whether each character of the text has a glyph in some font, so that a rare name will not print as a box.
    pub fn can_print(&self, text: &str) -> bool {
        let fonts = self.fonts.shelf();
        text.chars()
            .all(|character| character.is_whitespace() || fonts.covers(character))
    }

    /// Typesets a template.
    ///
    /// # Errors
    /// [`DocumentError::Template`] names the place in the template; [`DocumentError::FileName`] and
    /// [`DocumentError::TooLarge`] refuse the input. None of them holds values of the data.
    pub fn compile(&self, template: &Template<'_>) -> Result<Document, DocumentError> {
        let world = TemplateWorld::new(self.fonts.shelf(), template)?;
        let Warned { output, .. } = typst::compile::<PagedDocument>(&world);
        typst::comemo::evict(CACHE_AGE_MAX);
        let paged = output.map_err(|errors| template_error(&world, template, &errors))?;
        if paged.pages().len() > PAGES_MAX {
            return Err(DocumentError::TooLarge {
                what: "pages of the document",
                limit: PAGES_MAX,
            });
        }
        Ok(Document { paged })
    }

    /// Drops everything the compiler remembers of earlier documents. Call it at the end of each visit;
    /// the next document is typeset from cold.
    pub fn forget(&self) {
        typst::comemo::evict(0);
    }
}

impl Document {
    /// How many pages the document has.
    pub fn page_count(&self) -> usize {
        self.paged.pages().len()
    }

    /// The document as PDF 1.7 with subset fonts. The same template and data give the same bytes.
    ///
    /// # Errors
    /// [`DocumentError::PdfExport`] when a picture or font cannot be embedded.
    pub fn pdf(&self) -> Result<Vec<u8>, DocumentError> {
        let options = PdfOptions {
            creator: Smart::Custom(Some("kiosk".to_owned())),
            ..PdfOptions::default()
        };
        typst_pdf::pdf(&self.paged, &options).map_err(|_| DocumentError::PdfExport {
            // The exporter's words may quote the text that has no glyph; the caller cannot use them anyway.
            message: "a font or picture cannot be embedded".to_owned(),
        })
    }

    /// One page as opaque RGB on white, as wide as asked.
    ///
    /// # Errors
    /// [`DocumentError::NoSuchPage`], [`DocumentError::Width`], or [`DocumentError::TooLarge`] for an over-long page.
    pub fn page_rgb(&self, index: usize, width_px: u32) -> Result<Page, DocumentError> {
        let pages = self.paged.pages();
        let page = pages.get(index).ok_or(DocumentError::NoSuchPage {
            index,
            count: pages.len(),
        })?;
        let size = page.frame.size();
        let (pixels_per_point, _) = raster::scale(size.x.to_pt(), size.y.to_pt(), width_px)?;
        let options = RenderOptions {
            pixel_per_pt: pixels_per_point.into(),
            ..RenderOptions::default()
        };
        let pixmap = typst_render::render(page, &options);
        Ok(Page::from_premultiplied(
            pixmap.width(),
            pixmap.height(),
            pixmap.data(),
            width_px,
        ))
    }

    /// One page as printer dots, as wide as asked (576 for 72 mm at 8 dots a millimeter).
    /// Tones between black and white become one or the other: for text and line drawings, not for photographs.
    ///
    /// # Errors
    /// As [`Self::page_rgb`].
    pub fn page_bits(&self, index: usize, width_dots: u32) -> Result<Bits, DocumentError> {
        Ok(Bits::from_page(&self.page_rgb(index, width_dots)?))
    }
}

impl fmt::Debug for Typesetter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Typesetter")
            .field("font_files", &self.fonts.file_count())
            .finish()
    }
}

impl fmt::Debug for Template<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.files.iter().map(|(name, _)| name).collect();
        formatter
            .debug_struct("Template")
            .field("files", &names)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Document")
            .field("page_count", &self.page_count())
            .finish_non_exhaustive()
    }
}

fn template_error(
    world: &TemplateWorld<'_>,
    template: &Template<'_>,
    errors: &[SourceDiagnostic],
) -> DocumentError {
    let Some(error) = errors.first() else {
        return DocumentError::Template {
            file: TEMPLATE_NAME.to_owned(),
            line: 0,
            column: 0,
            message: "unknown error".to_owned(),
        };
    };
    let mut message = error.message.to_string();
    if let Some(hint) = error.hints.first() {
        message = format!("{message} ({})", hint.v);
    }
    // Messages such as `panicked with: "..."` repeat values, and values are people.
    if quotes(&message, template.data) {
        "the message is withheld, because it quotes the data".clone_into(&mut message);
    }
    let called_from = error.trace.iter().map(|point| DiagSpan::from(point.span));
    let place = std::iter::once(error.span)
        .chain(called_from)
        .find_map(|span| place(world, span));
    let (file, line, column) = place.unwrap_or_else(|| (TEMPLATE_NAME.to_owned(), 0, 0));
    DocumentError::Template {
        file,
        line,
        column,
        message,
    }
}

/// File, line and column of a span in template code. A place inside the data is no help to the author: its caller is.
fn place(world: &TemplateWorld<'_>, span: DiagSpan) -> Option<(String, u32, u32)> {
    let id = span.id()?;
    let file = id.get().vpath().get_without_slash();
    if file == DATA_NAME {
        return None;
    }
    let source = world.source(id).ok()?;
    let (line, column) = source
        .lines()
        .byte_to_line_column(world.range(span)?.start)?;
    Some((
        file.to_owned(),
        u32::try_from(line).ok()? + 1,
        u32::try_from(column).ok()? + 1,
    ))
}

/// Whether a text repeats some value of the data.
fn quotes(text: &str, data: &serde_json::Value) -> bool {
    match data {
        serde_json::Value::String(value) => value.len() >= QUOTED_BYTES_MIN && text.contains(value),
        serde_json::Value::Number(value) => {
            let value = value.to_string();
            value.len() >= QUOTED_BYTES_MIN && text.contains(&value)
        }
        // Depth is bounded: the values come from a JSON parser, which stops at 128 levels.
        serde_json::Value::Array(values) => values.iter().any(|value| quotes(text, value)),
        serde_json::Value::Object(values) => values.values().any(|value| quotes(text, value)),
        serde_json::Value::Null | serde_json::Value::Bool(_) => false,
    }
}
