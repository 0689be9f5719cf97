//! Every page that stands still looks as it did when a person last approved of it.
//!
//! The pictures in `golden/` are gray and a quarter of the size of the glass: small enough to read in a review, and
//! blind to what another edition of the same font does to the edges of a glyph. A moved, missing or clipped element
//! is still seen; the tests at the end prove both. `UPDATE_GOLDEN=1` rewrites the pictures: read the change as code.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose input cannot be prepared has failed"
)]

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
/// Mean difference of a square that is still the same, of 255. Chosen between what was measured: up to 14 where the
/// whole glass is shifted by a pixel each way, 23 and more where a button has moved or a line of text is gone.
const BLOCK_MEAN_MAX: u32 = 18;
/// Mean difference of a whole picture that is still the same, of 255. Chosen: a glass shifted by a pixel has up to 3.5;
/// what is above is a shade that has changed everywhere.
const MEAN_MAX: f64 = 4.0;
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
fn a_glass_shifted_by_one_pixel_is_the_same() {
    let glass = glass();
    // A large heading, many small texts, a table and a dark page.
    for name in ["attract", "home", "review", "time-out"] {
        let view = samples::named(name);
        let picture = photograph(&glass, view);
        let whole = (0, 0, picture.width, picture.height);
        let shifted = redrawn(&picture, whole, |x, y| {
            (x.saturating_sub(1), y.saturating_sub(1))
        });
        let alike = compare(&shrunk(&picture), &shrunk(&shifted));
        assert_eq!(alike, Ok(()), "{name}");
    }
}

#[test]
fn a_button_moved_by_twelve_pixels_is_seen() {
    let glass = glass();
    for name in ["review", "rating", "done-pending"] {
        let picture = photograph(&glass, samples::named(name));
        let golden = shrunk(&picture);
        for button in elements(&glass, "button") {
            let actual = shrunk(&slipped(&picture, &button, 12));
            assert!(compare(&golden, &actual).is_err(), "{name}: {button:?}");
        }
    }
}

#[test]
fn a_line_of_text_that_is_missing_is_seen() {
    let glass = glass();
    for name in ["home", "done-pending"] {
        let picture = photograph(&glass, samples::named(name));
        let golden = shrunk(&picture);
        for text in elements(&glass, "text") {
            let actual = shrunk(&blanked(&picture, &text));
            assert!(compare(&golden, &actual).is_err(), "{name}: {text:?}");
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
