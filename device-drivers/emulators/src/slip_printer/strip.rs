//! What the head does with commands: settings in force, the line being set, and the rows of dots
//! that come out.

use image::{GrayImage, Luma};
use qrcode::{EcLevel, QrCode};

use super::command::{Command, Picture};
use crate::font::{Bitmap, glyph};

/// Dots across the head of an 80 mm printer at 203 dpi (section 5.1).
pub(crate) const WIDTH_DOTS: usize = 576;
/// Dots per millimetre at 203 dpi.
pub(crate) const DOTS_PER_MM: u32 = 8;
/// White at each side of the saved picture, where the paper is wider than the head.
pub(crate) const MARGIN_DOTS: usize = 16;
/// Bytes of one row.
const ROW_BYTES: usize = WIDTH_DOTS / 8;
/// Default line spacing, dots: one sixth of an inch less rounding, as common boards have it.
const LINE_DOTS: u8 = 30;
/// Cell of font A.
const CELL: (usize, usize) = (12, 24);

/// One row of dots.
pub(crate) type Row = [u8; ROW_BYTES];

/// A blank row.
pub(crate) const BLANK: Row = [0; ROW_BYTES];

#[derive(Debug)]
struct Cell {
    bitmap: Bitmap,
    is_reversed: bool,
    underline: usize,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent mode of the protocol"
)]
struct Settings {
    align: u8,
    is_bold: bool,
    underline: u8,
    is_reversed: bool,
    scale: (usize, usize),
    chinese_scale: Option<(usize, usize)>,
    is_chinese: bool,
    chinese_spacing: (u8, u8),
    is_utf8: bool,
    line_dots: u8,
    qr_size: u8,
    qr_level: EcLevel,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            align: 0,
            is_bold: false,
            underline: 0,
            is_reversed: false,
            scale: (1, 1),
            chinese_scale: None,
            is_chinese: true,
            chinese_spacing: (0, 0),
            is_utf8: false,
            line_dots: LINE_DOTS,
            qr_size: 3,
            qr_level: EcLevel::L,
        }
    }
}

/// Turns commands into rows.
#[derive(Debug, Default)]
pub(crate) struct Head {
    settings: Settings,
    line: Vec<Cell>,
    stored_picture: Option<Picture>,
    stored_code: Vec<u8>,
}

impl Head {
    /// Obeys one command; rows it makes are added to `rows`. An error is a complaint for the
    /// record: the command was understood but cannot be done as asked.
    pub(crate) fn obey(&mut self, command: Command, rows: &mut Vec<Row>) -> Result<(), String> {
        match command {
            Command::Text(bytes) => self.set_text(&bytes, rows),
            Command::Initialize => *self = Self::default(),
            Command::LineFeed => self.end_line(rows),
            Command::FeedDots(dots) => self.flush(usize::from(dots), rows),
            Command::FeedLines(lines) => {
                let dots = usize::from(lines) * usize::from(self.settings.line_dots);
                self.flush(dots, rows);
            }
            Command::Cut { feed } => self.flush(usize::from(feed), rows),
            Command::LineSpacing(dots) => self.settings.line_dots = dots.unwrap_or(LINE_DOTS),
            Command::Align(align) => self.settings.align = align,
            Command::Emphasis(is_bold) => self.settings.is_bold = is_bold,
            Command::Underline(dots) => self.settings.underline = dots,
            Command::Mode(mode) => {
                self.settings.is_bold = mode & 0x08 != 0;
                self.settings.scale = (
                    1 + usize::from(mode >> 5 & 1),
                    1 + usize::from(mode >> 4 & 1),
                );
                self.settings.underline = mode >> 7;
            }
            Command::Size(size) => {
                self.settings.scale = (1 + usize::from(size >> 4 & 7), 1 + usize::from(size & 7));
            }
            Command::Reverse(is_reversed) => self.settings.is_reversed = is_reversed,
            Command::Chinese(is_chinese) => self.settings.is_chinese = is_chinese,
            Command::ChineseMode(mode) => {
                let scale = (
                    1 + usize::from(mode >> 2 & 1),
                    1 + usize::from(mode >> 3 & 1),
                );
                self.settings.chinese_scale = (scale != (1, 1)).then_some(scale);
            }
            Command::ChineseQuadruple(is_on) => {
                self.settings.chinese_scale = is_on.then_some((2, 2));
            }
            Command::ChineseSpacing(left, right) => self.settings.chinese_spacing = (left, right),
            Command::TextEncoding(code) => self.settings.is_utf8 = code == 1,
            Command::Raster(picture) => return self.print_picture(&picture, rows),
            Command::StoreGraphics(picture) => self.stored_picture = Some(picture),
            Command::PrintGraphics => {
                let picture = self.stored_picture.take().ok_or("no graphics stored")?;
                return self.print_picture(&picture, rows);
            }
            Command::QrSize(size) => self.settings.qr_size = size,
            Command::QrLevel(level) => {
                self.settings.qr_level = match level {
                    0x31 => EcLevel::M,
                    0x32 => EcLevel::Q,
                    0x33 => EcLevel::H,
                    _ => EcLevel::L,
                }
            }
            Command::QrStore(data) => self.stored_code = data,
            Command::QrPrint => return self.print_code(rows),
            Command::CarriageReturn
            | Command::CodePage(_)
            | Command::QrModel(_)
            | Command::QrQuery
            | Command::Pulse
            | Command::StatusBack(_)
            | Command::Transmit(_)
            | Command::Identify(_)
            | Command::Echo(_)
            | Command::Presenter(_)
            | Command::FullStatusBack(_) => {}
        }
        Ok(())
    }

    /// Size in dots of the stored code, for the query.
    pub(crate) fn code_dots(&self) -> Option<usize> {
        let code = QrCode::with_error_correction_level(&self.stored_code, self.settings.qr_level);
        Some(code.ok()?.width() * usize::from(self.settings.qr_size))
    }

    fn set_text(&mut self, bytes: &[u8], rows: &mut Vec<Row>) {
        let text = if self.settings.is_utf8 {
            String::from_utf8_lossy(bytes).into_owned()
        } else if self.settings.is_chinese {
            encoding_rs::GB18030.decode(bytes).0.into_owned()
        } else {
            bytes.iter().map(|byte| char::from(*byte)).collect()
        };
        for character in text.chars() {
            let is_wide = !character.is_ascii();
            let scale = match self.settings.chinese_scale {
                Some(scale) if is_wide => scale,
                Some(_) | None => self.settings.scale,
            };
            let (left, right) = if is_wide {
                self.settings.chinese_spacing
            } else {
                (0, 0)
            };
            let width = if is_wide { CELL.0 * 2 } else { CELL.0 };
            let mut bitmap = glyph(character, width, CELL.1).scaled(scale.0, scale.1);
            if self.settings.is_bold {
                embolden(&mut bitmap);
            }
            if (left, right) != (0, 0) {
                bitmap = widened(&bitmap, usize::from(left), usize::from(right));
            }
            let used: usize = self.line.iter().map(|cell| cell.bitmap.width).sum();
            if used + bitmap.width > WIDTH_DOTS {
                self.end_line(rows);
            }
            self.line.push(Cell {
                bitmap,
                is_reversed: self.settings.is_reversed,
                underline: usize::from(self.settings.underline),
            });
        }
    }

    fn end_line(&mut self, rows: &mut Vec<Row>) {
        let height = self.print_line(rows);
        let spacing = usize::from(self.settings.line_dots);
        rows.extend(std::iter::repeat_n(BLANK, spacing.saturating_sub(height)));
    }

    fn flush(&mut self, feed: usize, rows: &mut Vec<Row>) {
        self.print_line(rows);
        rows.extend(std::iter::repeat_n(BLANK, feed));
    }

    /// Prints the line being set; returns its height.
    fn print_line(&mut self, rows: &mut Vec<Row>) -> usize {
        let line = std::mem::take(&mut self.line);
        let height = line
            .iter()
            .map(|cell| cell.bitmap.height)
            .max()
            .unwrap_or(0);
        let width: usize = line.iter().map(|cell| cell.bitmap.width).sum();
        let left = self.left_of(width);
        let first = rows.len();
        rows.extend(std::iter::repeat_n(BLANK, height));
        let mut x = left;
        for cell in &line {
            let top = height - cell.bitmap.height;
            for y in 0..cell.bitmap.height {
                let is_line = y + cell.underline >= cell.bitmap.height;
                for column in 0..cell.bitmap.width {
                    let is_black = (cell.bitmap.is_black(column, y) || is_line) != cell.is_reversed;
                    if is_black {
                        blacken(&mut rows[first + top + y], x + column);
                    }
                }
            }
            x += cell.bitmap.width;
        }
        height
    }

    fn left_of(&self, width: usize) -> usize {
        let free = WIDTH_DOTS.saturating_sub(width);
        match self.settings.align {
            1 => free / 2,
            2 => free,
            _ => 0,
        }
    }

    fn print_picture(&mut self, picture: &Picture, rows: &mut Vec<Row>) -> Result<(), String> {
        self.print_line(rows);
        let width = picture.width_bytes * 8 * picture.scale.0;
        let left = self.left_of(width);
        for packed in picture.rows.chunks(picture.width_bytes.max(1)) {
            let mut row = BLANK;
            for x in 0..width.min(WIDTH_DOTS) {
                let dot = x / picture.scale.0;
                if packed
                    .get(dot / 8)
                    .is_some_and(|byte| byte >> (7 - dot % 8) & 1 == 1)
                {
                    blacken(&mut row, left + x);
                }
            }
            rows.extend(std::iter::repeat_n(row, picture.scale.1));
        }
        if width > WIDTH_DOTS {
            return Err(format!("a picture of {width} dots is wider than the head"));
        }
        Ok(())
    }

    fn print_code(&mut self, rows: &mut Vec<Row>) -> Result<(), String> {
        if self.stored_code.is_empty() {
            return Err("no code stored".to_owned());
        }
        let code = QrCode::with_error_correction_level(&self.stored_code, self.settings.qr_level)
            .map_err(|error| format!("the code cannot be made: {error}"))?;
        let size = usize::from(self.settings.qr_size);
        let mut bitmap = Bitmap::new(code.width(), code.width());
        for (at, color) in code.to_colors().into_iter().enumerate() {
            if color == qrcode::Color::Dark {
                bitmap.blacken(at % code.width(), at / code.width());
            }
        }
        self.print_line(rows);
        let bitmap = bitmap.scaled(size, size);
        let left = self.left_of(bitmap.width);
        for y in 0..bitmap.height {
            let mut row = BLANK;
            for x in 0..bitmap.width {
                if bitmap.is_black(x, y) {
                    blacken(&mut row, left + x);
                }
            }
            rows.push(row);
        }
        if bitmap.width > WIDTH_DOTS {
            return Err("the code is wider than the head".to_owned());
        }
        Ok(())
    }
}

fn blacken(row: &mut Row, x: usize) {
    if let Some(byte) = row.get_mut(x / 8) {
        *byte |= 0x80 >> (x % 8);
    }
}

fn embolden(bitmap: &mut Bitmap) {
    for y in 0..bitmap.height {
        for x in (1..bitmap.width).rev() {
            if bitmap.is_black(x - 1, y) {
                bitmap.blacken(x, y);
            }
        }
    }
}

fn widened(bitmap: &Bitmap, left: usize, right: usize) -> Bitmap {
    let mut wide = Bitmap::new(left + bitmap.width + right, bitmap.height);
    for y in 0..bitmap.height {
        for x in 0..bitmap.width {
            if bitmap.is_black(x, y) {
                wide.blacken(x + left, y);
            }
        }
    }
    wide
}

/// The strip as a picture: 0 black, 255 white, with the paper's margins.
pub(crate) fn picture(rows: &[Row]) -> GrayImage {
    let width = u32::try_from(WIDTH_DOTS + 2 * MARGIN_DOTS).unwrap_or(u32::MAX);
    let height = u32::try_from(rows.len().max(1)).unwrap_or(u32::MAX);
    GrayImage::from_fn(width, height, |x, y| {
        let is_black = (x as usize)
            .checked_sub(MARGIN_DOTS)
            .zip(rows.get(y as usize))
            .and_then(|(x, row)| row.get(x / 8).map(|byte| byte >> (7 - x % 8) & 1 == 1))
            .unwrap_or(false);
        Luma([if is_black { 0 } else { 255 }])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(commands: Vec<Command>) -> Vec<Row> {
        let mut head = Head::default();
        let mut rows = Vec::new();
        for command in commands {
            head.obey(command, &mut rows).unwrap();
        }
        rows
    }

    fn ink(row: &Row) -> u32 {
        row.iter().map(|byte| byte.count_ones()).sum()
    }

    #[test]
    fn a_raster_is_printed_dot_by_dot() {
        let rows = rows_of(vec![Command::Raster(Picture {
            width_bytes: 1,
            rows: vec![0xFF, 0x81],
            scale: (1, 1),
        })]);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0][0], rows[1][0]), (0xFF, 0x81));
        let centered = rows_of(vec![
            Command::Align(1),
            Command::Raster(Picture {
                width_bytes: 2,
                rows: vec![0xFF; 2],
                scale: (1, 1),
            }),
        ]);
        assert_eq!(centered[0][35..37], [0xFF, 0xFF]);
    }

    #[test]
    fn a_line_of_text_takes_its_spacing_and_leaves_ink() {
        let rows = rows_of(vec![Command::Text(vec![0xB2, 0xE2]), Command::LineFeed]);
        assert_eq!(rows.len(), usize::from(LINE_DOTS));
        assert!(rows.iter().map(ink).sum::<u32>() > 40);
        let double = rows_of(vec![
            Command::Size(0x11),
            Command::Text(vec![0xB2, 0xE2]),
            Command::LineFeed,
        ]);
        assert_eq!(double.len(), 48);
    }

    #[test]
    fn a_code_has_the_size_it_was_asked_for() {
        let rows = rows_of(vec![
            Command::QrSize(6),
            Command::QrLevel(0x31),
            Command::QrStore(b"TESTQR".to_vec()),
            Command::QrPrint,
        ]);
        // Version 1 has 21 modules; the top left finder is seven of them black.
        assert_eq!(rows.len(), 126);
        assert_eq!(rows[0][..5], [0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    }

    #[test]
    fn what_does_not_fit_is_complained_about() {
        let mut head = Head::default();
        let wide = Picture {
            width_bytes: 80,
            rows: vec![0; 80],
            scale: (1, 1),
        };
        assert!(head.obey(Command::Raster(wide), &mut Vec::new()).is_err());
        assert!(head.obey(Command::PrintGraphics, &mut Vec::new()).is_err());
        assert!(head.obey(Command::QrPrint, &mut Vec::new()).is_err());
    }
}
