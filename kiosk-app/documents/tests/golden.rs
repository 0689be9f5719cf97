//! Every kind of slip prints as it did when a person last approved of it.
//!
//! The pictures in `golden/` are the dots of the printer, gray and a quarter of the size: small enough to read in a
//! review, and blind to what another edition of the same font does to the edges of a glyph. What is moved, missing
//! or clipped is still seen; the tests at the end prove both. `UPDATE_GOLDEN=1` rewrites the pictures.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose input cannot be prepared has failed"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use image::GrayImage;
use kiosk_documents::{Bits, Template, Typesetter, qr_svg};
use serde_json::{Value, json};

const SLIP: &str = include_str!("../../items/_shared/slip.typ");
const SLIP_DATA: &str = include_str!("slip.json");
const SLIP_DOTS: u32 = 576;

/// Dots of the slip to one pixel of the golden, each way.
const SHRINK: u32 = 4;
/// Side of the square that is compared on its own, in golden pixels: 5 mm of the slip, a line of text.
const BLOCK: u32 = 10;
/// Squares overlap by half, so that no element hides on the seam between two.
const STEP: usize = 5;
/// Mean difference of a square that is still the same, of 255. Chosen between what was measured: up to 15 where the
/// whole slip is shifted by a dot each way, 31 and more where a line has moved or is gone.
const BLOCK_MEAN_MAX: u32 = 22;
/// Mean difference of a whole slip that is still the same, of 255. Chosen: a slip shifted by a dot has up to 5.
const MEAN_MAX: f64 = 6.0;

/// A kind of slip: its name and how its data differ from those of an application that waits for the line.
type Kind = (&'static str, fn(&mut Value));

const KINDS: &[Kind] = &[
    ("pending", |_| ()),
    ("completed", |data| {
        data["outcome"] = json!("completed");
        data["outcome_text"] = json!("已办结");
    }),
    ("rejected", |data| {
        data["outcome"] = json!("rejected");
        data["outcome_text"] = json!("未通过");
        data["lines"] = json!([{ "label": "原因", "value": "申请人未满 80 周岁" }]);
    }),
    ("copy", |data| data["copy_note"] = json!("补打")),
    ("rehearsal", |data| data["rehearsal"] = json!(true)),
    ("without-qr", |data| data["qr"] = json!(false)),
    ("traditional", |data| {
        data["lang"] = json!("zh-Hant-HK");
        data["title"] = json!("辦事收條");
        data["outcome_text"] = json!("已受理·待上傳");
        data["item"] = json!("高齡津貼申請");
        data["labels"]["number"] = json!("受理編號");
        data["labels"]["time"] = json!("辦理時間");
        data["labels"]["applicant"] = json!("申請人");
        data["labels"]["scan_hint"] = json!("在自助服務機掃描此碼，可查進度");
        data["labels"]["help"] = json!("求助電話");
    }),
];

#[test]
fn every_slip_looks_as_it_was_approved() {
    let typesetter = Typesetter::with_system_fonts().unwrap();
    let differences: Vec<String> = KINDS
        .iter()
        .filter_map(|(name, change)| check(name, &shrunk(&slip(&typesetter, change))).err())
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let names = KINDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(goldens(), names, "a golden that no kind of slip has");
}

#[test]
fn a_slip_shifted_by_one_dot_is_the_same() {
    let typesetter = Typesetter::with_system_fonts().unwrap();
    for (name, change) in KINDS {
        let bits = slip(&typesetter, change);
        let shifted = redrawn(&bits, |x, y| {
            bits.is_black(x.wrapping_sub(1), y.wrapping_sub(1))
        });
        let alike = compare(&shrunk(&bits), &shrunk(&shifted));
        assert_eq!(alike, Ok(()), "{name}");
    }
}

#[test]
fn a_line_that_is_missing_or_moved_by_twelve_dots_is_seen() {
    let bits = slip(&Typesetter::with_system_fonts().unwrap(), |_| ());
    let golden = shrunk(&bits);
    let lines = lines(&bits);
    assert!(lines.len() > 12, "{lines:?}");
    for (top, bottom) in lines {
        let is_in = |y| (top..bottom).contains(&y);
        let missing = redrawn(&bits, |x, y| !is_in(y) && bits.is_black(x, y));
        assert!(
            compare(&golden, &shrunk(&missing)).is_err(),
            "rows {top} to {bottom} taken away"
        );
        let moved = redrawn(&bits, |x, y| {
            bits.is_black(if is_in(y) { x.wrapping_sub(12) } else { x }, y)
        });
        assert!(
            compare(&golden, &shrunk(&moved)).is_err(),
            "rows {top} to {bottom} moved"
        );
    }
}

#[test]
fn a_word_that_is_missing_is_seen() {
    let typesetter = Typesetter::with_system_fonts().unwrap();
    let golden = shrunk(&slip(&typesetter, |_| ()));
    let words: [fn(&mut Value); 4] = [
        |data| data["help_phone"] = json!("\u{a0}"),
        |data| data["labels"]["terminal"] = json!("\u{a0}"),
        |data| data["lines"][0]["value"] = json!("\u{a0}"),
        |data| data["outcome_text"] = json!("已受理"),
    ];
    for (index, change) in words.into_iter().enumerate() {
        let actual = shrunk(&slip(&typesetter, change));
        assert!(compare(&golden, &actual).is_err(), "word {index}");
    }
}

fn slip(typesetter: &Typesetter, change: impl Fn(&mut Value)) -> Bits {
    let mut data: Value = serde_json::from_str(SLIP_DATA).unwrap();
    change(&mut data);
    let code = qr_svg("https://kiosk.example/s/GL20261122000042").unwrap();
    let files = [("qr.svg", code)];
    let template = Template {
        source: SLIP,
        data: &data,
        files: &files,
    };
    let document = typesetter.compile(&template).unwrap();
    document.page_bits(0, SLIP_DOTS).unwrap()
}

/// Compares with the golden of this name, or writes it when asked to.
fn check(name: &str, actual: &GrayImage) -> Result<(), String> {
    let path = golden_path(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        actual.save(&path).unwrap();
        return Ok(());
    }
    let golden = image::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    compare(&golden.into_luma8(), actual).map_err(|difference| {
        let seen = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("slip-{name}.png"));
        actual.save(&seen).unwrap();
        let (seen, path) = (seen.display(), path.display());
        format!("{name}: {difference}\n  seen:     {seen}\n  approved: {path}")
    })
}

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.png"))
}

/// The names of all goldens there are.
fn goldens() -> BTreeSet<String> {
    std::fs::read_dir(golden_path("").parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// `Err` says how two slips differ, and where on the paper, in dots.
fn compare(golden: &GrayImage, actual: &GrayImage) -> Result<(), String> {
    let (width, height) = golden.dimensions();
    if actual.dimensions() != (width, height) {
        let (is, was) = (actual.dimensions(), (width, height));
        return Err(format!("{is:?} pixels instead of {was:?}"));
    }
    let differences = smooth_differences(golden, actual);
    for top in (0..=height - BLOCK).step_by(STEP) {
        for left in (0..=width - BLOCK).step_by(STEP) {
            let rows = (top..top + BLOCK).map(|y| (y * width + left) as usize);
            let sum: u32 = rows
                .flat_map(|start| &differences[start..start + BLOCK as usize])
                .sum();
            let mean = sum / (BLOCK * BLOCK);
            if mean > BLOCK_MEAN_MAX {
                let (x, y) = (left * SHRINK, top * SHRINK);
                return Err(format!("differs by {mean} of 255 around ({x}, {y})"));
            }
        }
    }
    let mean = f64::from(differences.iter().sum::<u32>()) / f64::from(width * height);
    if mean > MEAN_MAX {
        return Err(format!("differs by {mean:.1} of 255 everywhere"));
    }
    Ok(())
}

/// How far the mean of the nine pixels around each pixel differs. Ink that is a little further left cancels out,
/// ink that is gone does not.
fn smooth_differences(golden: &GrayImage, actual: &GrayImage) -> Vec<u32> {
    let pairs = golden.as_raw().iter().zip(actual.as_raw());
    let raw: Vec<i32> = pairs
        .map(|(was, is)| i32::from(*was) - i32::from(*is))
        .collect();
    let width = golden.width() as usize;
    let at = |index: usize, by: usize| (index + by).checked_sub(width + 1).and_then(|i| raw.get(i));
    (0..raw.len())
        .map(|index| {
            let around = (0..3).flat_map(|y| (0..3).map(move |x| y * width + x));
            let sum: i32 = around.filter_map(|by| at(index, by)).sum();
            sum.unsigned_abs() / 9
        })
        .collect()
}

/// The slip in gray at a quarter of its size; each pixel is the share of white in the dots it stands for.
fn shrunk(bits: &Bits) -> GrayImage {
    let height = u32::try_from(bits.height_dots()).unwrap();
    GrayImage::from_fn(
        bits.width_dots / SHRINK,
        height.div_ceil(SHRINK),
        |left, top| {
            let dots = SHRINK * SHRINK;
            let black = (0..dots)
                .filter(|at| bits.is_black(left * SHRINK + at % SHRINK, top * SHRINK + at / SHRINK))
                .count();
            let white = dots - u32::try_from(black).unwrap();
            image::Luma([u8::try_from(white * 255 / dots).unwrap()])
        },
    )
}

/// The same paper with other dots.
fn redrawn(bits: &Bits, is_black: impl Fn(u32, u32) -> bool) -> Bits {
    let mut rows = vec![0; bits.rows.len()];
    let height = u32::try_from(bits.height_dots()).unwrap();
    for y in 0..height {
        for x in (0..bits.width_dots).filter(|x| is_black(*x, y)) {
            rows[y as usize * bits.row_bytes() + x as usize / 8] |= 0x80 >> (x % 8);
        }
    }
    Bits {
        width_dots: bits.width_dots,
        rows,
    }
}

/// First and last row, exclusive, of what stands between white rows: lines of text, rules, the code.
/// Rules stay out: they are as wide as the paper and have nowhere to move.
fn lines(bits: &Bits) -> Vec<(u32, u32)> {
    let mut lines = Vec::new();
    let mut top = None;
    for (y, row) in (0..).zip(bits.rows.chunks(bits.row_bytes())) {
        match (top, row.iter().any(|byte| *byte != 0)) {
            (None, true) => top = Some(y),
            (Some(first), false) => {
                lines.push((first, y));
                top = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    lines.retain(|(top, bottom)| bottom - top > 12);
    lines
}
