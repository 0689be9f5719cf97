//! QR symbols (ISO/IEC 18004) of signed words: as a picture, as blocks of a text terminal, and read
//! back out of a picture. Also texts that are told to the tool in a file, whichever form they have.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::imageops::FilterType;
use image::{GrayImage, ImageFormat, ImageReader, Limits, Luma};
use qrcode::{Color, EcLevel, QrCode};
use rxing::common::HybridBinarizer;
use rxing::qrcode::QRCodeReader;
use rxing::{BarcodeFormat, BinaryBitmap, DecodeHints, Luma8Source, Reader as _};

use crate::files::{self, FileError};

/// Pixels of a module: the largest permission, of version 24, is then 968 pixels wide.
const MODULE_PIXELS: u32 = 8;
/// White modules on each side: ISO/IEC 18004 asks for four.
const QUIET_MODULES: usize = 4;
/// Largest file that is read. Chosen, above every photo of a telephone.
const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Longest side of a picture; chosen, as the terminals' scanner does.
const SIDE_PIXELS_MAX: u32 = 16_384;
/// Most memory for a picture, in bytes: 64 megapixels in four channels.
const DECODE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Side to which a photo is reduced where it cannot be read as it is.
const WORK_SIDE_PIXELS: u32 = 1280;
/// Longest text that is taken out of a text file: several times any signed word.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// Why there is no symbol, or no text of one.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// The text does not fit in any symbol.
    #[error("{bytes} letters do not fit in a QR symbol")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The picture was not made or not understood.
    #[error("the picture cannot be used")]
    Picture(#[from] image::ImageError),
    /// There is no symbol in the picture that can be read.
    #[error("no QR symbol was found in the picture; come closer, hold it straight, use more light")]
    NoSymbol,
    /// The file is neither a picture nor a short text.
    #[error("the file is neither a PNG or JPEG picture nor a short text")]
    NoText,
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A symbol as its rows of modules, dark ones true, with the quiet zone.
fn modules(text: &str) -> Result<Vec<Vec<bool>>, CodeError> {
    let too_long = |_| CodeError::TooLong { bytes: text.len() };
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .or_else(|_| QrCode::with_error_correction_level(text, EcLevel::L))
        .map_err(too_long)?;
    let width = code.width();
    let side = width + 2 * QUIET_MODULES;
    let mut rows = vec![vec![false; side]; side];
    let colors = code.to_colors();
    for (y, row) in colors.chunks_exact(width).enumerate() {
        for (x, color) in row.iter().enumerate() {
            rows[y + QUIET_MODULES][x + QUIET_MODULES] = *color == Color::Dark;
        }
    }
    Ok(rows)
}

/// The symbol of a text as a PNG.
///
/// # Errors
/// `TooLong`, `Picture`.
pub fn png(text: &str) -> Result<Vec<u8>, CodeError> {
    let rows = modules(text)?;
    let modules =
        u32::try_from(rows.len()).map_err(|_| CodeError::TooLong { bytes: text.len() })?;
    let side = modules * MODULE_PIXELS;
    let picture = GrayImage::from_fn(side, side, |x, y| {
        let is_dark = rows[(y / MODULE_PIXELS) as usize][(x / MODULE_PIXELS) as usize];
        Luma([if is_dark { 0 } else { 255 }])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// The symbol of a text as lines for a text terminal, black on white whatever its colors are: one
/// letter holds a module above and one below.
///
/// # Errors
/// `TooLong`.
pub fn blocks(text: &str) -> Result<String, CodeError> {
    const BLACK_ON_WHITE: &str = "\x1b[30;47m";
    const AS_BEFORE: &str = "\x1b[0m";
    let rows = modules(text)?;
    let mut lines = String::new();
    for pair in rows.chunks(2) {
        let below = pair.get(1);
        let letters: String = pair[0]
            .iter()
            .enumerate()
            .map(
                |(x, upper)| match (*upper, below.is_some_and(|row| row[x])) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                },
            )
            .collect();
        writeln!(lines, "{BLACK_ON_WHITE}{letters}{AS_BEFORE}").expect("a string takes any text");
    }
    Ok(lines)
}

/// The text of the symbol in a PNG or JPEG picture.
///
/// # Errors
/// `Picture`, `NoSymbol`.
pub fn read_picture(bytes: &[u8]) -> Result<String, CodeError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PIXELS_MAX);
    limits.max_image_height = Some(SIDE_PIXELS_MAX);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(image::ImageError::IoError)?;
    reader.limits(limits);
    let picture = reader.decode()?;
    if let Some(text) = read_symbol(&picture.to_luma8()) {
        return Ok(text);
    }
    let reduced = picture.resize(WORK_SIDE_PIXELS, WORK_SIDE_PIXELS, FilterType::Triangle);
    read_symbol(&reduced.to_luma8()).ok_or(CodeError::NoSymbol)
}

fn read_symbol(picture: &GrayImage) -> Option<String> {
    let source =
        Luma8Source::new_with_slice(picture.as_raw(), picture.width(), picture.height()).ok()?;
    let hints = DecodeHints {
        TryHarder: Some(true),
        PossibleFormats: Some(HashSet::from([BarcodeFormat::QR_CODE])),
        ..DecodeHints::default()
    };
    // A picture from outside must not end the tool by a slip in the decoder.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut bitmap = BinaryBitmap::new(HybridBinarizer::new(source));
        QRCodeReader.decode_with_hints(&mut bitmap, &hints)
    }));
    Some(result.ok()?.ok()?.getText().to_owned())
}

/// The signed word in a file: the text itself, or a picture of its symbol.
///
/// # Errors
/// [`CodeError`].
pub fn read_file(path: &Path) -> Result<String, CodeError> {
    read_content(&files::read_bounded(path, FILE_BYTES_MAX)?)
}

/// The signed word in the content of a file; a picture is told by its first bytes.
///
/// # Errors
/// `Picture`, `NoSymbol`, `NoText`.
pub fn read_content(bytes: &[u8]) -> Result<String, CodeError> {
    if bytes.starts_with(b"\x89PNG") || bytes.starts_with(&[0xff, 0xd8]) {
        return read_picture(bytes);
    }
    let text = Some(bytes)
        .filter(|bytes| bytes.len() <= TEXT_BYTES_MAX)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .map(str::trim)
        .filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or(CodeError::NoText)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: &str = "KR1:6BFOXN TS3DHPVO3J *B%Y4$M";

    #[test]
    fn a_symbol_is_read_back_from_its_picture() {
        let long = WORD.repeat(70);
        for text in [WORD, &long] {
            assert_eq!(read_content(&png(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn blocks_show_every_module_with_its_quiet_zone() {
        let blocks = blocks("KC1:").unwrap();
        // Version 1 has 21 modules, and four white ones on each side.
        assert_eq!(blocks.lines().count(), 15);
        for line in blocks.lines() {
            let letters = line
                .strip_prefix("\x1b[30;47m")
                .and_then(|line| line.strip_suffix("\x1b[0m"))
                .unwrap();
            assert_eq!(letters.chars().count(), 29);
        }
        assert!(blocks.contains("█▀▀▀▀▀█"));
    }

    #[test]
    fn what_holds_no_word_is_refused() {
        assert!(matches!(
            png(&"A".repeat(5000)),
            Err(CodeError::TooLong { bytes: 5000 })
        ));
        let empty = GrayImage::from_pixel(64, 64, Luma([255]));
        let mut picture = Cursor::new(Vec::new());
        empty.write_to(&mut picture, ImageFormat::Png).unwrap();
        assert!(matches!(
            read_content(picture.get_ref()),
            Err(CodeError::NoSymbol)
        ));
        assert!(matches!(
            read_content(b"\x89PNG\r\n"),
            Err(CodeError::Picture(_))
        ));
        for content in [
            &b""[..],
            b" \n",
            b"\xff\xfe",
            &vec![b'A'; TEXT_BYTES_MAX + 1],
        ] {
            assert!(matches!(read_content(content), Err(CodeError::NoText)));
        }
        assert_eq!(read_content(b" KR1:X\r\n").unwrap(), "KR1:X");
    }
}
