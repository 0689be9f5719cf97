//! Moves the content of every page of a PDF on its paper, for a printer that begins at another place than it should.
//!
//! Nothing of the document is composed anew: an incremental update (ISO 32000-1, 7.5.6) is appended in which only the
//! boxes of the pages differ, so that everything drawn, a seal among it, stays byte for byte what it was. What cannot
//! be moved like this for certain is refused; the caller prints it as it is.

use std::fmt::Write as _;

use hayro::hayro_syntax::Pdf;
use hayro::hayro_syntax::object::Rect;
use hayro::hayro_syntax::page::{Page, Rotation};

use crate::DocumentError;
use crate::pdf::{PDF_PAGES_MAX, apart, load};

/// Points of 1/72 inch in a tenth of a millimeter.
const POINTS_PER_TENTH_MM: f64 = 72.0 / 254.0;
/// `startxref` stands within so many bytes of the end. Chosen as readers do (ISO 32000-1, annex H.3, note 18).
const TAIL_BYTES: usize = 1024;
/// Longest dictionary of a page or of a trailer. Chosen: with every entry of the standard it has a few kilobytes.
const DICTIONARY_BYTES_MAX: usize = 64 * 1024;
/// The boxes of a page (ISO 32000-1, table 30); the first two may be inherited.
const BOXES: [&str; 5] = ["MediaBox", "CropBox", "TrimBox", "BleedBox", "ArtBox"];
/// How far the boxes read back may be from those that were meant, in points. Chosen: what rounding does.
const ROUNDING: f64 = 0.01;

/// How far content is moved on the paper, as a person sees the page, in tenths of a millimeter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    /// To the right; negative to the left.
    pub right_tenth_mm: i32,
    /// Downwards; negative upwards.
    pub down_tenth_mm: i32,
}

impl Offset {
    /// True when nothing is moved.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// How far the boxes of a page move, in its own units.
    fn of_boxes(self, rotation: Rotation, unit: f64) -> (f64, f64) {
        let scale = POINTS_PER_TENTH_MM / unit;
        let right = f64::from(self.right_tenth_mm) * scale;
        let down = f64::from(self.down_tenth_mm) * scale;
        // The content moves against its box; the page's own axes run to the right and upwards before it is turned.
        match rotation {
            Rotation::None => (-right, down),
            Rotation::Horizontal => (-down, -right),
            Rotation::Flipped => (right, -down),
            Rotation::FlippedHorizontal => (down, right),
        }
    }
}

/// The same document with the content of each page moved by `offset`; what leaves the paper is cut off, the size of
/// the paper stays.
///
/// # Errors
/// As [`crate::pdf_pages`], and [`DocumentError::PdfUnreadable`] for a document that can be shown but is built in
/// another way than an update can follow: encrypted, or with a damaged table of its objects.
pub fn pdf_shifted(pdf: &[u8], offset: Offset) -> Result<Vec<u8>, DocumentError> {
    apart(pdf, move |pdf| {
        let shifted = shift(&load(pdf)?, offset)?;
        // Pair assertion: read back before anybody prints it.
        check(&load(shifted.bytes.clone())?, &shifted.media)?;
        Ok(shifted.bytes)
    })
}

struct Shifted {
    bytes: Vec<u8>,
    /// The media box that each page should have.
    media: Vec<Rect>,
}

fn refused(reason: &'static str) -> DocumentError {
    DocumentError::PdfUnreadable { reason }
}

fn shift(pdf: &Pdf, offset: Offset) -> Result<Shifted, DocumentError> {
    let old: &[u8] = pdf.data().as_ref();
    if !old.starts_with(b"%PDF-") {
        return Err(refused("its places are not counted from its first byte"));
    }
    let pages = pdf.pages();
    if pages.len() > PDF_PAGES_MAX as usize {
        return Err(DocumentError::TooLarge {
            what: "pages of the document",
            limit: PDF_PAGES_MAX as usize,
        });
    }
    let table = Table::read(old)?;
    let mut bytes = old.to_vec();
    bytes.push(b'\n');
    let mut places = Vec::new();
    let mut media = Vec::new();
    for page in pages.iter() {
        let id = page
            .raw()
            .obj_id()
            .ok_or(refused("a page is no object of its own"))?;
        let (dictionary, moved) = moved_page(page, offset)?;
        places.push(Place {
            number: u32::try_from(id.obj_number).map_err(|_| refused("a page has no number"))?,
            generation: u16::try_from(id.gen_number)
                .map_err(|_| refused("a page has no number"))?,
            at: bytes.len(),
        });
        media.push(moved);
        bytes.extend(format!("{} {} obj\n", id.obj_number, id.gen_number).bytes());
        bytes.extend(dictionary);
        bytes.extend(b"\nendobj\n");
    }
    places.sort_by_key(|place| place.number);
    if places
        .windows(2)
        .any(|pair| pair[0].number == pair[1].number)
    {
        return Err(refused("two of its pages are one object"));
    }
    let root = pdf.xref().root_id();
    let root = format!("{} {} R", root.obj_number, root.gen_number);
    table.append(&mut bytes, &places, &root)?;
    Ok(Shifted { bytes, media })
}

/// The dictionary of a page with its boxes moved, and where its media box lies then.
fn moved_page(page: &Page<'_>, offset: Offset) -> Result<(Vec<u8>, Rect), DocumentError> {
    let raw = page.raw();
    let old = raw.data();
    let body = old
        .strip_prefix(b"<<")
        .and_then(|rest| rest.strip_suffix(b">>"))
        .filter(|body| body.len() <= DICTIONARY_BYTES_MAX)
        .ok_or(refused("the dictionary of a page is damaged"))?;
    let unit = raw.get::<f64>("UserUnit").unwrap_or(1.0);
    if !(0.01..=1000.0).contains(&unit) {
        return Err(refused("the unit of a page is damaged"));
    }
    let (x, y) = offset.of_boxes(page.rotation(), unit);
    let mut body = body.to_vec();
    let mut boxes = String::new();
    let mut media = page.media_box();
    for name in BOXES {
        let found = match name {
            "MediaBox" => Some(page.media_box()),
            "CropBox" => Some(page.crop_box()),
            _ => raw.get::<Rect>(name),
        };
        let Some(found) = found else { continue };
        let moved = Rect::new(found.x0 + x, found.y0 + y, found.x1 + x, found.y1 + y);
        if name == "MediaBox" {
            media = moved;
        }
        put_aside(&mut body, name);
        write!(
            boxes,
            "\n/{name} [{:.4} {:.4} {:.4} {:.4}]",
            moved.x0, moved.y0, moved.x1, moved.y1
        )
        .expect("writing into a text cannot fail");
    }
    let dictionary = [b"<<", &body[..], boxes.as_bytes(), b"\n>>"].concat();
    Ok((dictionary, media))
}

/// Gives the old entry another key, so that the new one is the only one. Readers let unknown keys pass
/// (ISO 32000-1, annex E.1 keeps names like this one for private use).
fn put_aside(body: &mut Vec<u8>, name: &str) {
    let key = format!("/{name}");
    let key = key.as_bytes();
    let is_end = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let mut at = 0;
    // Each turn goes on behind what it has found; a page names each box once or twice.
    while let Some(found) = body.get(at..).and_then(|rest| {
        rest.windows(key.len())
            .position(|window| window == key)
            .map(|position| at + position)
    }) {
        at = found + key.len();
        if is_end(body.get(at)) {
            drop(body.splice(found..=found, *b"/KIOSK_"));
            at += 6;
        }
    }
}

/// One object of the update.
struct Place {
    number: u32,
    generation: u16,
    at: usize,
}

/// The newest table of objects of a document.
struct Table {
    /// Where it stands.
    at: usize,
    /// One more than the highest number of an object.
    size: u32,
    /// It is a stream (ISO 32000-1, 7.5.8) and no list of lines.
    is_stream: bool,
}

impl Table {
    fn read(pdf: &[u8]) -> Result<Self, DocumentError> {
        const BROKEN: &str = "its table of objects is damaged";
        let tail = &pdf[pdf.len().saturating_sub(TAIL_BYTES)..];
        let mark = b"startxref";
        let last = tail.windows(mark.len()).rposition(|window| window == mark);
        let number = last.and_then(|at| number_in(&tail[at + mark.len()..]));
        let at = number
            .and_then(|at| usize::try_from(at).ok())
            .filter(|at| *at < pdf.len())
            .ok_or(refused(BROKEN))?;
        let table = &pdf[at..];
        let find = |word: &[u8]| table.windows(word.len()).position(|window| window == word);
        let is_stream = !table.trim_ascii_start().starts_with(b"xref");
        let trailer = if is_stream {
            let end = find(b"stream").ok_or(refused(BROKEN))?;
            &table[..end]
        } else {
            let start = find(b"trailer").ok_or(refused(BROKEN))?;
            let end = table[start..]
                .windows(9)
                .position(|window| window == b"startxref");
            &table[start..start + end.ok_or(refused(BROKEN))?]
        };
        if trailer.len() > DICTIONARY_BYTES_MAX {
            return Err(refused(BROKEN));
        }
        let has = |key: &[u8]| trailer.windows(key.len()).position(|window| window == key);
        if has(b"/Encrypt").is_some() {
            return Err(refused("it is encrypted"));
        }
        let size = has(b"/Size")
            .and_then(|at| number_in(&trailer[at + 5..]))
            .and_then(|size| u32::try_from(size).ok())
            // One more must still be a number of an object (ISO 32000-1, annex C.2).
            .filter(|size| (1..8_388_607).contains(size))
            .ok_or(refused(BROKEN))?;
        Ok(Self {
            at,
            size,
            is_stream,
        })
    }

    /// Appends the table of the update in the form that the document has already.
    fn append(
        &self,
        bytes: &mut Vec<u8>,
        places: &[Place],
        root: &str,
    ) -> Result<(), DocumentError> {
        let start = bytes.len();
        let (previous, size) = (self.at, self.size);
        if self.is_stream {
            let own = Place {
                number: size,
                generation: 0,
                at: start,
            };
            let mut index = String::new();
            let mut rows = Vec::new();
            for place in places.iter().chain([&own]) {
                write!(index, "{} 1 ", place.number).expect("writing into a text cannot fail");
                let at = u32::try_from(place.at).map_err(|_| refused("it is too long"))?;
                rows.push(1);
                rows.extend(at.to_be_bytes());
                rows.extend(place.generation.to_be_bytes());
            }
            let head = format!(
                "{size} 0 obj\n<< /Type /XRef /Size {} /Root {root} /Prev {previous} /W [1 4 2] /Index [{}] /Length {} >>\nstream\n",
                size + 1,
                index.trim_end(),
                rows.len()
            );
            bytes.extend(head.bytes());
            bytes.extend(rows);
            bytes.extend(b"\nendstream\nendobj\n");
        } else {
            bytes.extend(b"xref\n");
            for Place {
                number,
                generation,
                at,
            } in places
            {
                bytes.extend(format!("{number} 1\n{at:010} {generation:05} n \n").bytes());
            }
            let trailer = format!("trailer\n<< /Size {size} /Root {root} /Prev {previous} >>\n");
            bytes.extend(trailer.bytes());
        }
        bytes.extend(format!("startxref\n{start}\n%%EOF\n").bytes());
        Ok(())
    }
}

/// The number behind white space at the start of `text`.
fn number_in(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

/// The pages of the written document are those that were meant.
fn check(pdf: &Pdf, media: &[Rect]) -> Result<(), DocumentError> {
    let pages = pdf.pages();
    let is_near = |found: Rect, meant: &Rect| {
        let near = |found: f64, meant: f64| (found - meant).abs() < ROUNDING;
        near(found.x0, meant.x0)
            && near(found.y0, meant.y0)
            && near(found.x1, meant.x1)
            && near(found.y1, meant.y1)
    };
    let is_meant = pages.len() == media.len()
        && pages
            .iter()
            .zip(media)
            .all(|(page, meant)| is_near(page.media_box(), meant));
    is_meant
        .then_some(())
        .ok_or(refused("an update cannot follow how it is built"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdf_pages;

    /// A document of one page with a black square of 100 points at 100 points from the left and 600 from the bottom.
    fn document(page: &str) -> Vec<u8> {
        let content = "100 600 100 100 re f";
        let objects = [
            "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
            "<< /Type /Pages /Kids [3 0 R] /Count 1 /MediaBox [0 0 595 842] >>".to_owned(),
            format!("<< /Type /Page /Parent 2 0 R /Contents 4 0 R {page} >>"),
            format!(
                "<< /Length {} >>\nstream\n{content}\nendstream",
                content.len()
            ),
        ];
        let mut bytes = b"%PDF-1.4\n".to_vec();
        let mut table = "xref\n0 5\n0000000000 65535 f \n".to_owned();
        for (index, object) in objects.iter().enumerate() {
            writeln!(table, "{:010} 00000 n ", bytes.len()).unwrap();
            bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", index + 1).bytes());
        }
        let start = bytes.len();
        bytes.extend(table.bytes());
        let end = format!("trailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n");
        bytes.extend(end.bytes());
        bytes
    }

    /// The same document with its table in a stream, as newer programs write it.
    fn streamed() -> Vec<u8> {
        let old = document("");
        let end = old
            .windows(5)
            .position(|window| window == b"xref\n")
            .unwrap();
        let mut bytes = old[..end].to_vec();
        let place = |number: usize| {
            let mark = format!("{number} 0 obj");
            old.windows(mark.len())
                .position(|window| window == mark.as_bytes())
                .unwrap()
        };
        let mut rows = vec![0, 0, 0, 0xFF];
        for at in (1..5).map(place).chain([end]) {
            rows.push(1);
            rows.extend(u16::try_from(at).unwrap().to_be_bytes());
            rows.push(0);
        }
        let head = "5 0 obj\n<< /Type /XRef /Size 6 /Root 1 0 R /W [1 2 1] /Length 24 >>\nstream\n";
        bytes.extend(head.bytes());
        bytes.extend(rows);
        bytes.extend(format!("\nendstream\nendobj\nstartxref\n{end}\n%%EOF\n").bytes());
        bytes
    }

    /// Upper left corner and size of what is black, one pixel for each tenth of a millimeter.
    fn black(pdf: &[u8], width_px: u32) -> (u32, u32, u32, u32) {
        let page = pdf_pages(pdf, width_px, 1).unwrap().remove(0);
        let is_black = |x: u32, y: u32| {
            let at = (y as usize * page.width as usize + x as usize) * 3;
            page.rgb[at] < 128
        };
        let all = (0..page.height).flat_map(|y| (0..page.width).map(move |x| (x, y)));
        let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
        for (x, y) in all.filter(|(x, y)| is_black(*x, *y)) {
            (left, top) = (left.min(x), top.min(y));
            (right, bottom) = (right.max(x), bottom.max(y));
        }
        (left, top, right - left, bottom - top)
    }

    const MOVE: Offset = Offset {
        right_tenth_mm: 30,
        down_tenth_mm: -45,
    };

    fn check_moved(pdf: &[u8], width_px: u32) {
        let before = black(pdf, width_px);
        let shifted = pdf_shifted(pdf, MOVE).unwrap();
        assert!(shifted.starts_with(pdf), "nothing is composed anew");
        let after = black(&shifted, width_px);
        let is_near = |found: u32, meant: u32| found.abs_diff(meant) <= 1;
        assert!(
            is_near(after.0, before.0 + 30)
                && is_near(after.1, before.1 - 45)
                && is_near(after.2, before.2)
                && is_near(after.3, before.3),
            "{before:?} {after:?}"
        );
    }

    #[test]
    fn the_content_moves_by_what_was_asked_and_nothing_else_changes() {
        // 595 points are 209.9 mm.
        check_moved(&document(""), 2099);
        check_moved(
            &document("/CropBox [0 0 595 842] /MediaBox[0 0 595 842]"),
            2099,
        );
        check_moved(
            &document("/MediaBox [-10 -20 585 822] /TrimBox [0 0 500 800]"),
            2099,
        );
    }

    #[test]
    fn a_document_whose_table_is_a_stream_moves_alike() {
        check_moved(&streamed(), 2099);
        let moved = pdf_shifted(&streamed(), MOVE).unwrap();
        let update = &moved[streamed().len()..];
        assert!(update.windows(10).any(|window| window == b"/Type /XRe"));
    }

    #[test]
    fn a_page_that_lies_on_its_side_moves_as_a_person_sees_it() {
        for (turn, width_px) in [(90, 2970), (180, 2099), (270, 2970), (-90, 2970)] {
            check_moved(&document(&format!("/Rotate {turn}")), width_px);
        }
    }

    #[test]
    fn a_document_can_be_moved_again_and_back() {
        let first = pdf_shifted(&document(""), MOVE).unwrap();
        let back = Offset {
            right_tenth_mm: -30,
            down_tenth_mm: 45,
        };
        let back = pdf_shifted(&first, back).unwrap();
        assert_eq!(black(&back, 2099), black(&document(""), 2099));
    }

    #[test]
    fn what_an_update_cannot_follow_is_refused() {
        let good = document("");
        let text = String::from_utf8(good.clone()).unwrap();
        let encrypted = text.replace("/Size 5", "/Size 5 /Encrypt 9 0 R");
        let behind = format!("  {text}");
        let no_table = text.replace("startxref", "startxxxx");
        let size = text.replace("/Size 5", "/Size 99999999999");
        for wrong in [encrypted, behind, no_table, size] {
            let outcome = pdf_shifted(wrong.as_bytes(), MOVE);
            let code = outcome.map(drop).unwrap_err().code();
            assert_eq!(code, "document.pdf-unreadable", "{wrong}");
        }
        for end in 0..good.len() {
            // Whatever is cut off: an answer, never a panic.
            drop(shift_or_refuse(&good[..end]));
        }
    }

    fn shift_or_refuse(pdf: &[u8]) -> Result<Shifted, DocumentError> {
        shift(&load(pdf.to_vec())?, MOVE)
    }
}
