//! Slips as text: what a slip says, and the bytes that make a printer say it in GB 18030.
//!
//! A line with a character that the printer's font lacks is printed as dots from glyphs that the
//! caller drew; this crate has no fonts. Encoding is a pure function; it cannot fail and never lets
//! a text command the printer.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use kiosk_device::{Action, Fault, Sensitive};
use zeroize::{Zeroize, Zeroizing};

use super::SlipRaster;
use super::charset::{self, SUBSTITUTE};
use super::commands::{self, BAND_ROWS};
use super::profile::{Profile, QrPrinting};

/// Most elements of one slip. Chosen: a slip has twenty lines.
const ELEMENTS_MAX: usize = 500;
/// Longest line in characters. Chosen: a paragraph that wraps.
const LINE_LENGTH_MAX: usize = 1000;
/// Longest content of a QR code in bytes (ISO/IEC 18004, version 40, level L).
const QR_BYTES_MAX: usize = 2953;
/// Modules across the largest QR code and its margin (ISO/IEC 18004).
const QR_MODULES_MAX: usize = 185;
/// Largest glyph. Chosen: characters of printers have 24 dots, and large ones twice that.
const GLYPH_DOTS_MAX: usize = 64;
/// Most rows of dots of one drawn line. Chosen: the longest slip.
const DRAWN_ROWS_MAX: usize = 20_000;
/// Bytes after which nothing more is encoded. Chosen: the longest slip full of dots is half as long.
const ENCODED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Dots of a line with its spacing: one sixth of an inch at 203 dpi.
const LINE_DOTS: usize = 34;
/// Dots across one narrow character of font A.
const NARROW_DOTS: usize = 12;

/// Where a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// At the left edge.
    #[default]
    Left,
    /// In the middle.
    Center,
    /// At the right edge.
    Right,
}

/// How much damage a QR code bears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QrLevel {
    /// 7 %.
    L,
    /// 15 %.
    #[default]
    M,
    /// 25 %.
    Q,
    /// 30 %.
    H,
}

/// One line of text, or several when it is longer than the paper is wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLine {
    /// What it says.
    pub text: Sensitive<String>,
    /// Where it stands.
    pub align: Align,
    /// Magnification across, 1 to 8.
    pub width: u8,
    /// Magnification down, 1 to 8.
    pub height: u8,
    /// Emphasized.
    pub is_bold: bool,
}

impl TextLine {
    /// A plain line at the left edge.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: Sensitive::new(text.into()),
            align: Align::Left,
            width: 1,
            height: 1,
            is_bold: false,
        }
    }
}

/// A QR code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QrCode {
    /// What it contains.
    pub content: Sensitive<Vec<u8>>,
    /// Where it stands.
    pub align: Align,
    /// Dots of one module, 1 to 16.
    pub module_dots: u8,
    /// How much damage it bears.
    pub level: QrLevel,
    /// The code as dots, for printers that draw none.
    pub picture: Option<SlipRaster>,
}

/// One thing on a slip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// Text.
    Line(TextLine),
    /// A QR code.
    Qr(QrCode),
    /// A picture.
    Image(Align, SlipRaster),
    /// So many empty lines.
    Feed(u8),
    /// A cut; at the end of the slip the driver adds one that is missing.
    Cut,
}

/// A slip as text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SlipText {
    /// What stands on it, from the top.
    pub elements: Vec<Element>,
    /// Characters as dots, in their size at magnification 1: those of [`SlipText::glyphs_needed`].
    pub glyphs: HashMap<char, SlipRaster>,
}

impl fmt::Debug for SlipText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlipText")
            .field("elements", &self.elements.len())
            .finish_non_exhaustive()
    }
}

impl SlipText {
    /// The characters that must come as glyphs: all of each line in which the printer lacks one.
    /// Without them the printer's mark for a missing character stands in its place.
    pub fn glyphs_needed(&self, profile: &Profile) -> BTreeSet<char> {
        self.elements
            .iter()
            .filter_map(|element| match element {
                Element::Line(line) => Some(line.text.expose()),
                Element::Qr(_) | Element::Image(..) | Element::Feed(_) | Element::Cut => None,
            })
            .filter(|text| lacks_any(text, profile))
            .flat_map(|text| text.chars().filter(|character| needs_glyph(*character)))
            .collect()
    }

    /// Rows of dots that it takes, roughly, when it can be printed at all.
    pub(crate) fn check(&self, profile: &Profile, rows_max: usize) -> Result<usize, Fault> {
        let bad = |detail: String| {
            Err(Fault::new(
                "printer.bad-document",
                Action::Configuration,
                detail,
            ))
        };
        if self.elements.is_empty() || self.elements.len() > ELEMENTS_MAX {
            return bad(format!("a slip has 1 to {ELEMENTS_MAX} elements"));
        }
        let is_raster = |raster: &SlipRaster, width_max: usize| {
            let row_bytes = raster.row_bytes();
            (1..=width_max).contains(&raster.width())
                && !raster.rows.is_empty()
                && raster.rows.len().is_multiple_of(row_bytes)
                && raster.rows.len() / row_bytes <= rows_max
        };
        let width = profile.width_dots as usize;
        let is_sound = |element: &Element| match element {
            Element::Line(line) => line.text.expose().chars().count() <= LINE_LENGTH_MAX,
            Element::Image(_, image) => is_raster(image, width),
            Element::Qr(code) if profile.qr == QrPrinting::Raster => code
                .picture
                .as_ref()
                .is_some_and(|picture| is_raster(picture, width)),
            Element::Qr(code) => {
                (1..=QR_BYTES_MAX).contains(&code.content.expose().len())
                    && (1..=16).contains(&code.module_dots)
            }
            Element::Feed(_) | Element::Cut => true,
        };
        if let Some(index) = self.elements.iter().position(|element| !is_sound(element)) {
            return bad(format!("element {} cannot be printed", index + 1));
        }
        if !self
            .glyphs
            .values()
            .all(|glyph| is_raster(glyph, GLYPH_DOTS_MAX))
        {
            return bad("a glyph is no bitmap".to_owned());
        }
        let rows = self
            .elements
            .iter()
            .map(|element| rows_of(element, profile))
            .sum();
        if rows > rows_max {
            return bad(format!("{rows} rows are more than {rows_max}"));
        }
        Ok(rows)
    }
}

fn rows_of(element: &Element, profile: &Profile) -> usize {
    match element {
        Element::Line(line) => {
            let narrow: usize = line
                .text
                .expose()
                .chars()
                .map(|character| if character.is_ascii() { 1 } else { 2 })
                .sum();
            let across = narrow * NARROW_DOTS * usize::from(line.width.clamp(1, 8));
            let wrapped = across.div_ceil((profile.width_dots as usize).max(1)).max(1);
            wrapped * LINE_DOTS * usize::from(line.height.clamp(1, 8))
        }
        Element::Qr(code) => QR_MODULES_MAX * usize::from(code.module_dots),
        Element::Image(_, image) => image.rows.len() / image.row_bytes(),
        Element::Feed(lines) => usize::from(*lines) * LINE_DOTS,
        Element::Cut => LINE_DOTS,
    }
}

fn lacks_any(text: &str, profile: &Profile) -> bool {
    text.chars()
        .any(|character| charset::encode(character, profile.charset).is_none())
}

/// Spaces need no dots.
fn needs_glyph(character: char) -> bool {
    !character.is_whitespace() && !character.is_control()
}

/// The bytes that print a slip (`device-protocols.md` §5.1, §10.2). What has no place on the paper
/// (a glyph that is not there, a picture wider than the head) is left out, never an error.
pub fn encode(slip: &SlipText, profile: &Profile) -> Zeroizing<Vec<u8>> {
    let commands = commands(slip, profile);
    let length = commands.iter().map(|command| command.len()).sum::<usize>();
    // Room for all of it at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(commands::INITIALIZE.len() + length));
    bytes.extend_from_slice(commands::INITIALIZE);
    for command in &commands {
        bytes.extend_from_slice(command);
    }
    bytes
}

/// What follows the initialization, one command after the other.
pub(super) fn commands(slip: &SlipText, profile: &Profile) -> Vec<Zeroizing<Vec<u8>>> {
    let mut encoder = Encoder {
        commands: Vec::new(),
        bytes: 0,
        profile,
        align: Align::Left,
    };
    encoder.put(commands::CHINESE_ON);
    for element in slip.elements.iter().take(ELEMENTS_MAX) {
        if encoder.bytes > ENCODED_BYTES_MAX {
            break;
        }
        match element {
            Element::Line(line) => encoder.line(line, &slip.glyphs),
            Element::Qr(code) => encoder.qr(code),
            Element::Image(align, image) => {
                encoder.align(*align);
                encoder.raster(image);
            }
            Element::Feed(lines) => encoder.put(&commands::feed_lines(*lines)),
            Element::Cut => encoder.put(commands::cut(profile.cut)),
        }
    }
    encoder.commands
}

struct Encoder<'a> {
    commands: Vec<Zeroizing<Vec<u8>>>,
    bytes: usize,
    profile: &'a Profile,
    /// What the printer has been told; it keeps this from line to line.
    align: Align,
}

impl Encoder<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.push(Zeroizing::new(bytes.to_vec()));
    }

    fn push(&mut self, command: Zeroizing<Vec<u8>>) {
        self.bytes += command.len();
        self.commands.push(command);
    }

    fn align(&mut self, align: Align) {
        if align != self.align {
            let number = match align {
                Align::Left => 0,
                Align::Center => 1,
                Align::Right => 2,
            };
            self.put(&commands::align(number));
            self.align = align;
        }
    }

    fn line(&mut self, line: &TextLine, glyphs: &HashMap<char, SlipRaster>) {
        self.align(line.align);
        let text = line.text.expose();
        let is_drawn = lacks_any(text, self.profile)
            && text
                .chars()
                .all(|character| !needs_glyph(character) || glyphs.contains_key(&character));
        if is_drawn {
            for row in draw(line, glyphs, self.profile.width_dots as usize) {
                self.raster(&row);
            }
            return;
        }
        let is_large = line.width > 1 || line.height > 1;
        if is_large {
            self.put(&commands::size(line.width, line.height));
        }
        if line.is_bold {
            self.put(&commands::emphasis(1));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 * text.len() + 1));
        for character in text.chars().take(LINE_LENGTH_MAX) {
            match charset::encode(character, self.profile.charset) {
                Some(encoded) => bytes.extend_from_slice(encoded.bytes()),
                None => bytes.extend(SUBSTITUTE),
            }
        }
        bytes.push(b'\n');
        self.push(bytes);
        if line.is_bold {
            self.put(&commands::emphasis(0));
        }
        if is_large {
            self.put(&commands::size(1, 1));
        }
    }

    fn qr(&mut self, code: &QrCode) {
        self.align(code.align);
        match (&code.picture, self.profile.qr) {
            (Some(picture), QrPrinting::Raster) => self.raster(picture),
            (_, QrPrinting::Printer) => {
                let content = code.content.expose();
                let content = content.get(..QR_BYTES_MAX).unwrap_or(content);
                let module_dots = code.module_dots.clamp(1, 16);
                self.push(commands::qr_code(content, module_dots, code.level as u8));
            }
            (None, QrPrinting::Raster) => {}
        }
    }

    fn raster(&mut self, raster: &SlipRaster) {
        let row_bytes = raster.row_bytes();
        if raster.width_dots > self.profile.width_dots {
            return;
        }
        let Ok(across) = u16::try_from(row_bytes) else {
            return;
        };
        for rows in raster.rows.chunks(row_bytes * BAND_ROWS) {
            if rows.len().is_multiple_of(row_bytes) {
                self.push(commands::raster_band(across, rows));
            }
        }
    }
}

/// A line as dots, broken where the paper ends.
fn draw(line: &TextLine, glyphs: &HashMap<char, SlipRaster>, width_max: usize) -> Vec<SlipRaster> {
    let scale = (
        usize::from(line.width.clamp(1, 8)),
        usize::from(line.height.clamp(1, 8)),
    );
    let mut rows = Vec::new();
    let mut pending: Vec<Option<&SlipRaster>> = Vec::new();
    let mut across = 0;
    let mut height = 0;
    for character in line.text.expose().chars().take(LINE_LENGTH_MAX) {
        let glyph = glyphs
            .get(&character)
            .filter(|glyph| glyph.width() <= GLYPH_DOTS_MAX && glyph.height() <= GLYPH_DOTS_MAX);
        let width = glyph.map_or(NARROW_DOTS, SlipRaster::width) * scale.0;
        if across + width > width_max && !pending.is_empty() {
            let row = draw_row(&pending, across, scale, line.is_bold);
            height += row.as_ref().map_or(0, SlipRaster::height);
            rows.extend(row);
            pending.clear();
            across = 0;
            if height > DRAWN_ROWS_MAX {
                break;
            }
        }
        if width <= width_max {
            pending.push(glyph);
            across += width;
        }
    }
    rows.extend(draw_row(&pending, across, scale, line.is_bold));
    rows
}

/// Glyphs side by side, standing on one line; `None` is a space.
fn draw_row(
    glyphs: &[Option<&SlipRaster>],
    width: usize,
    (across, down): (usize, usize),
    is_bold: bool,
) -> Option<SlipRaster> {
    let tallest = glyphs.iter().flatten().map(|glyph| glyph.height()).max()?;
    let height = tallest * down;
    let mut raster = SlipRaster {
        width_dots: u32::try_from(width).ok()?,
        rows: vec![0; width.div_ceil(8) * height],
    };
    let mut left = 0;
    for glyph in glyphs {
        let Some(glyph) = glyph else {
            left += NARROW_DOTS * across;
            continue;
        };
        let top = tallest - glyph.height();
        for y in 0..glyph.height() * down {
            for x in 0..glyph.width() * across {
                if glyph.is_black(x / across, y / down) {
                    raster.blacken(left + x, top * down + y);
                    if is_bold {
                        raster.blacken(left + x + 1, top * down + y);
                    }
                }
            }
        }
        left += glyph.width() * across;
    }
    Some(raster)
}

impl SlipRaster {
    fn width(&self) -> usize {
        self.width_dots as usize
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.width().div_ceil(8).max(1)
    }

    fn height(&self) -> usize {
        self.rows.len() / self.row_bytes()
    }

    fn is_black(&self, x: usize, y: usize) -> bool {
        let byte = self.rows.get(y * self.row_bytes() + x / 8);
        x < self.width() && byte.is_some_and(|byte| byte & (0x80 >> (x % 8)) != 0)
    }

    fn blacken(&mut self, x: usize, y: usize) {
        let row_bytes = self.row_bytes();
        if x < self.width()
            && let Some(byte) = self.rows.get_mut(y * row_bytes + x / 8)
        {
            *byte |= 0x80 >> (x % 8);
        }
    }
}

impl Drop for SlipText {
    fn drop(&mut self) {
        // Which rare characters a slip needed points at a name.
        for (mut character, _) in self.glyphs.drain() {
            character.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escpos::profile::Charset;

    /// The receipt of `device-protocols.md` §10.2.
    const RECEIPT: &str = "1B 40 1C 26 1B 61 01 1D 21 11 B2 E2 CA D4 BB D8 D6 B4 0A 1D 21 00 1B 61
        00 B1 E0 BA C5 3A 30 30 30 31 0A 1B 61 01 1D 28 6B 04 00 31 41 32 00 1D
        28 6B 03 00 31 43 06 1D 28 6B 03 00 31 45 31 1D 28 6B 09 00 31 50 30 54
        45 53 54 51 52 1D 28 6B 03 00 31 51 30 1B 64 04 1D 56 42 00";

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn code(picture: Option<SlipRaster>) -> Element {
        Element::Qr(QrCode {
            content: Sensitive::new(b"TESTQR".to_vec()),
            align: Align::Center,
            module_dots: 6,
            level: QrLevel::M,
            picture,
        })
    }

    fn slip(elements: Vec<Element>) -> SlipText {
        SlipText {
            elements,
            glyphs: HashMap::new(),
        }
    }

    fn text(text: &str) -> SlipText {
        slip(vec![Element::Line(TextLine::new(text))])
    }

    /// A glyph of two by two dots, black in the upper left corner.
    fn corner() -> SlipRaster {
        SlipRaster {
            width_dots: 2,
            rows: vec![0x80, 0x00],
        }
    }

    #[test]
    fn the_receipt_of_the_fact_sheet_is_encoded_byte_for_byte() {
        let title = TextLine {
            align: Align::Center,
            width: 2,
            height: 2,
            ..TextLine::new("测试回执")
        };
        let receipt = slip(vec![
            Element::Line(title),
            Element::Line(TextLine::new("编号:0001")),
            code(None),
            Element::Feed(4),
            Element::Cut,
        ]);
        let profile = Profile::default();
        assert_eq!(*encode(&receipt, &profile), bytes(RECEIPT));
        assert!(receipt.check(&profile, 20_000).is_ok());
        assert!(receipt.glyphs_needed(&profile).is_empty());
    }

    #[test]
    fn a_line_with_a_character_the_printer_lacks_is_printed_from_glyphs() {
        let profile = Profile::default();
        let mut rare = text("㐱 a");
        let needed: Vec<char> = rare.glyphs_needed(&profile).into_iter().collect();
        assert_eq!(needed, ['a', '㐱']);
        // Without them the printer's own mark stands there.
        assert_eq!(
            *encode(&rare, &profile),
            bytes("1B 40 1C 26 A1 FE 20 61 0A")
        );
        rare.glyphs.extend([('㐱', corner()), ('a', corner())]);
        // 2 + 12 (the space) + 2 dots across, 2 down: dots at 0 and 14.
        assert_eq!(
            *encode(&rare, &profile),
            bytes("1B 40 1C 26 1D 76 30 00 02 00 02 00 80 02 00 00")
        );
        let four_bytes = Profile {
            charset: Charset::Gb18030,
            ..profile
        };
        assert!(rare.glyphs_needed(&four_bytes).is_empty());
        assert_eq!(
            *encode(&rare, &four_bytes),
            bytes("1B 40 1C 26 81 39 F3 38 20 61 0A")
        );
    }

    #[test]
    fn drawn_lines_are_magnified_emboldened_and_broken_at_the_edge() {
        let profile = Profile {
            width_dots: 8,
            ..Profile::default()
        };
        let line = TextLine {
            width: 2,
            height: 1,
            is_bold: true,
            ..TextLine::new("㐱㐱㐱")
        };
        let mut rare = slip(vec![Element::Line(line)]);
        rare.glyphs.insert('㐱', corner());
        assert_eq!(
            *encode(&rare, &profile),
            bytes("1B 40 1C 26 1D 76 30 00 01 00 02 00 EE 00 1D 76 30 00 01 00 02 00 E0 00")
        );
    }

    #[test]
    fn no_text_commands_the_printer() {
        let profile = Profile::default();
        assert_eq!(
            *encode(&text("a\x1B@\n\x10\x04\x01b\x7F"), &profile),
            bytes("1B 40 1C 26 61 20 40 20 20 20 20 62 20 0A")
        );
    }

    #[test]
    fn qr_codes_are_pictures_where_the_printer_draws_none() {
        let profile = Profile {
            qr: QrPrinting::Raster,
            ..Profile::default()
        };
        let with_picture = slip(vec![code(Some(corner()))]);
        assert_eq!(
            *encode(&with_picture, &profile),
            bytes("1B 40 1C 26 1B 61 01 1D 76 30 00 01 00 02 00 80 00")
        );
        let fault = slip(vec![code(None)]).check(&profile, 20_000).unwrap_err();
        assert_eq!(fault.code, "printer.bad-document");
    }

    #[test]
    fn what_cannot_be_printed_is_refused_with_its_place() {
        let profile = Profile::default();
        let check = |slip: &SlipText, expect: &str| {
            let fault = slip.check(&profile, 100).unwrap_err();
            assert_eq!(
                (fault.code, fault.detail.as_str()),
                ("printer.bad-document", expect)
            );
        };
        check(&slip(Vec::new()), "a slip has 1 to 500 elements");
        check(&text(&"长".repeat(1001)), "element 1 cannot be printed");
        let wide = SlipRaster {
            width_dots: 577,
            rows: vec![0; 73],
        };
        check(
            &slip(vec![Element::Cut, Element::Image(Align::Left, wide)]),
            "element 2 cannot be printed",
        );
        check(&slip(vec![Element::Feed(4)]), "136 rows are more than 100");
    }

    #[test]
    fn pictures_that_are_none_are_left_out_and_never_panic() {
        let profile = Profile::default();
        for (width_dots, bytes) in [(0, 0), (0, 3), (9, 1), (9, 3), (u32::MAX, 5), (577, 73)] {
            let raster = || SlipRaster {
                width_dots,
                rows: vec![0xFF; bytes],
            };
            let mut strange = slip(vec![
                Element::Image(Align::Right, raster()),
                Element::Line(TextLine {
                    width: 0,
                    height: 255,
                    ..TextLine::new("㐱㐱")
                }),
                Element::Feed(255),
            ]);
            strange.glyphs.insert('㐱', raster());
            assert!(
                encode(&strange, &profile).len() < 100,
                "{width_dots} {bytes}"
            );
            assert!(strange.check(&profile, 20_000).is_err());
        }
    }

    #[test]
    fn nothing_of_a_slip_is_in_its_debug_form() {
        let shown = format!("{:?}", text("测试甲"));
        assert!(!shown.contains("测试甲"), "{shown}");
    }
}
