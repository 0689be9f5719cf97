//! Every page that stands still looks as it did when a person last approved of it.
//!
//! The pictures in `golden/` are gray and a quarter of the size of the glass: small enough to read in a review.
//! A button moved by twelve pixels and a missing line of text are seen; the tests below prove it. `UPDATE_GOLDEN=1` rewrites the pictures: read the change as code.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

#[expect(
    dead_code,
    reason = "these tests look and touch nothing; the other suites do both"
)]
mod stage;

mod samples;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

use image::GrayImage;
use kiosk_ui::probe::Element;
use kiosk_ui::{Contrast, Frame, Language, Picture, TextSize, View};
use stage::Stage;

/// Pixels of the glass to one of the golden, each way.
const SHRINK: u32 = 4;
/// Side of the square that is compared on its own, in golden pixels: 40 pixels of the glass, a line of text.
const BLOCK: u32 = 10;
/// Squares overlap by half, so that no element hides on the seam between two.
const STEP: usize = 5;
/// Mean difference of a square that is still the same, of 255. Chosen by the tests below: a button moved by twelve
/// pixels and a line of text taken away are seen; the glyphs of one font version differ by nothing.
const BLOCK_MEAN_MAX: u32 = 9;
/// Mean difference of a whole picture that is still the same, of 255: a change of a shade everywhere.
const MEAN_MAX: f64 = 2.0;
/// What moves by a timer has no one picture.
const MOVING: &[&str] = &[
    "starting",
    "identify",
    "identify-failed",
    "scan",
    "working",
    "done-completed",
];

#[test]
fn every_page_looks_as_it_was_approved() {
    let glass = glass();
    let differences: Vec<String> = pages()
        .into_iter()
        .filter_map(|(name, view)| check(&name, &shrunk(&photograph(&glass, view))).err())
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let names = pages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(goldens(), names, "a golden that no page has");
}

#[test]
fn a_button_moved_by_twelve_pixels_is_seen() {
    let glass = glass();
    for name in ["home", "review", "rating", "done-pending"] {
        let picture = photograph(&glass, samples::named(name));
        let golden = shrunk(&picture);
        for button in elements(&glass, "button") {
            let actual = shrunk(&slipped(&picture, &button, 12));
            assert!(compare(&golden, &actual).is_err(), "{name}");
        }
    }
}

#[test]
fn a_line_of_text_that_is_missing_is_seen() {
    let glass = glass();
    for name in ["home", "review", "consent", "done-pending"] {
        let picture = photograph(&glass, samples::named(name));
        let golden = shrunk(&picture);
        for text in elements(&glass, "text") {
            let actual = shrunk(&blanked(&picture, &text));
            assert!(compare(&golden, &actual).is_err(), "{name}");
        }
    }
}

fn glass() -> MutexGuard<'static, Stage> {
    Stage::take(1080, 1920)
}

/// What has a golden: each page that stands still, and one of each way to show it.
fn pages() -> Vec<(String, View)> {
    let in_language = |name: &str, language| {
        let view = samples::named(name);
        View {
            frame: Frame {
                language,
                ..view.frame
            },
            ..view
        }
    };
    let looked = |name: &str, text_size, contrast| {
        samples::with_look(samples::named(name), text_size, contrast)
    };
    let variants = [
        ("home-english", in_language("home", Language::En)),
        (
            "introduction-traditional",
            in_language("introduction", Language::ZhHant),
        ),
        (
            "review-largest",
            looked("review", TextSize::Largest, Contrast::Normal),
        ),
        (
            "done-pending-white-on-black",
            looked("done-pending", TextSize::Normal, Contrast::WhiteOnBlack),
        ),
    ];
    samples::all()
        .into_iter()
        .filter(|(name, _)| !MOVING.contains(name))
        .chain(variants)
        .map(|(name, view)| (name.to_owned(), view))
        .collect()
}

fn photograph(glass: &Stage, view: View) -> Picture {
    glass.show(view);
    glass.probe.snapshot().unwrap()
}

fn elements(glass: &Stage, role: &str) -> Vec<Element> {
    let elements = glass.probe.elements().unwrap();
    let found: Vec<Element> = elements
        .into_iter()
        .filter(|element| element.role == role)
        .collect();
    assert!(!found.is_empty(), "no {role} to try");
    found
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
        let seen = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ui-{name}.png"));
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

/// `Err` says how two pictures differ, and where on the glass.
fn compare(golden: &GrayImage, actual: &GrayImage) -> Result<(), String> {
    let (width, height) = golden.dimensions();
    if actual.dimensions() != (width, height) {
        let (is, was) = (actual.dimensions(), (width, height));
        return Err(format!("{is:?} pixels instead of {was:?}"));
    }
    for top in (0..=height - BLOCK).step_by(STEP) {
        for left in (0..=width - BLOCK).step_by(STEP) {
            let mean = block_difference(golden, actual, (left, top));
            if mean > BLOCK_MEAN_MAX {
                let (x, y) = (left * SHRINK, top * SHRINK);
                return Err(format!("differs by {mean} of 255 around ({x}, {y})"));
            }
        }
    }
    let pairs = golden.as_raw().iter().zip(actual.as_raw());
    let sum: u32 = pairs.map(|(was, is)| u32::from(was.abs_diff(*is))).sum();
    let mean = f64::from(sum) / f64::from(width * height);
    if mean > MEAN_MAX {
        return Err(format!("differs by {mean:.1} of 255 everywhere"));
    }
    Ok(())
}

/// Mean difference of one square.
fn block_difference(golden: &GrayImage, actual: &GrayImage, (left, top): (u32, u32)) -> u32 {
    let width = golden.width();
    let mut sum = 0;
    for y in top..top + BLOCK {
        for x in left..left + BLOCK {
            let at = (y * width + x) as usize;
            sum += u32::from(golden.as_raw()[at].abs_diff(actual.as_raw()[at]));
        }
    }
    sum / (BLOCK * BLOCK)
}

/// The picture in gray at a quarter of its size; each pixel is the mean of those it stands for.
fn shrunk(picture: &Picture) -> GrayImage {
    let row = picture.width as usize * 3;
    GrayImage::from_fn(
        picture.width / SHRINK,
        picture.height / SHRINK,
        |left, top| {
            let start = (left * SHRINK) as usize * 3;
            let sum: u32 = (top * SHRINK..(top + 1) * SHRINK)
                .map(|y| y as usize * row + start)
                .flat_map(|at| picture.rgb[at..at + SHRINK as usize * 3].chunks_exact(3))
                .map(|rgb| (u32::from(rgb[0]) * 3 + u32::from(rgb[1]) * 6 + u32::from(rgb[2])) / 10)
                .sum();
            let mean = sum / (SHRINK * SHRINK);
            image::Luma([u8::try_from(mean).expect("a mean of bytes is a byte")])
        },
    )
}

/// Left, top, right and bottom, in pixels of the glass.
type Area = (u32, u32, u32, u32);

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whatever stands on the glass has small positions, and a pixel outside does not count"
)]
fn area(element: &Element) -> Area {
    let edge = |at: f32, max: f32| at.clamp(0.0, max) as u32;
    (
        edge(element.x, 1080.0),
        edge(element.y, 1920.0),
        edge(element.x + element.width, 1080.0),
        edge(element.y + element.height, 1920.0),
    )
}

/// The same picture, but within `area` each pixel is the one that `from` names.
fn redrawn(picture: &Picture, area: Area, from: impl Fn(u32, u32) -> (u32, u32)) -> Picture {
    let at = |x: u32, y: u32| (y * picture.width + x) as usize * 3;
    let (left, top, right, bottom) = area;
    let mut rgb = picture.rgb.to_vec();
    for y in top..bottom.min(picture.height) {
        for x in left..right {
            let (from_x, from_y) = from(x, y);
            let from = at(from_x, from_y);
            rgb[at(x, y)..at(x, y) + 3].copy_from_slice(&picture.rgb[from..from + 3]);
        }
    }
    Picture {
        rgb: rgb.into(),
        ..picture.clone()
    }
}

/// The element has slipped down; what was above it has grown.
fn slipped(picture: &Picture, element: &Element, by: u32) -> Picture {
    let (left, top, right, bottom) = area(element);
    let above = top.saturating_sub(1);
    redrawn(picture, (left, top, right, bottom + by), |x, y| {
        (x, if y < top + by { above } else { y - by })
    })
}

/// The text is gone; its background is what its corner shows.
fn blanked(picture: &Picture, element: &Element) -> Picture {
    let (left, top, ..) = area(element);
    redrawn(picture, area(element), |_, _| (left, top))
}
