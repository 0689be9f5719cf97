//! Why a document could not be made. No variant holds a value from the document's data:
//! a compiler message that quotes the data is withheld before it gets here.

/// Why a document could not be typeset or read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// No installed font contains Chinese characters. Install one (Debian: `fonts-noto-cjk`).
    #[error("no font with Chinese characters under {searched}")]
    NoCjkFont {
        /// The searched directories, separated by commas.
        searched: String,
    },
    /// The template is wrong. The author of the item package must correct the named place.
    #[error("{file}, line {line}, column {column}: {message}")]
    Template {
        /// `template.typ` for the template itself, else the name of one of its files.
        file: String,
        /// Line, from 1; 0 where the compiler names no place.
        line: u32,
        /// Column in characters, from 1; 0 where the compiler names no place.
        column: u32,
        /// What is wrong, in the compiler's words and without values of the data.
        message: String,
    },
    /// A file name leaves the template's directory, is reserved, or stands twice in the list.
    #[error("file name {name:?} is not allowed beside a template")]
    FileName {
        /// The refused name, as the caller gave it.
        name: String,
    },
    /// Template, data, files or raster exceed a fixed limit.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The largest allowed value.
        limit: usize,
    },
    /// The document has no page of this index.
    #[error("there is no page {index}; the document has {count}")]
    NoSuchPage {
        /// The asked page, from 0.
        index: usize,
        /// How many pages there are.
        count: usize,
    },
    /// The raster width is zero or larger than the limit.
    #[error("a raster width of {width_px} pixels is not possible")]
    Width {
        /// The asked width, in pixels.
        width_px: u32,
    },
    /// The document cannot be written as PDF.
    #[error("cannot write the document as PDF: {message}")]
    PdfExport {
        /// What is wrong, in the exporter's words and without values of the data.
        message: String,
    },
    /// The bytes are not a PDF that can be shown: damaged, encrypted, without pages, or beyond the renderer.
    #[error("the PDF cannot be shown: {reason}")]
    PdfUnreadable {
        /// What is known about the cause.
        reason: &'static str,
    },
    /// The PDF was not rendered within the deadline, or too many renderings are still running.
    #[error("the PDF takes too long to show")]
    PdfTooSlow,
    /// The text does not fit in a QR symbol of error correction level M.
    #[error("{bytes} bytes do not fit in a QR code")]
    QrTooLong {
        /// Length of the text, in bytes of UTF-8.
        bytes: usize,
    },
}

impl DocumentError {
    /// Stable problem code, explained in `kiosk-app/problems.toml`. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCjkFont { .. } => "document.no-cjk-font",
            Self::Template { .. } | Self::FileName { .. } | Self::PdfExport { .. } => {
                "document.template-invalid"
            }
            Self::TooLarge { .. } => "document.too-large",
            Self::NoSuchPage { .. } | Self::Width { .. } => "document.page-missing",
            Self::PdfUnreadable { .. } => "document.pdf-unreadable",
            Self::PdfTooSlow => "document.pdf-too-slow",
            Self::QrTooLong { .. } => "document.qr-too-long",
        }
    }
}
