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

mod approval;
mod samples;

use std::sync::MutexGuard;

use approval::{check, compare, goldens, shrunk};
use kiosk_ui::probe::Element;
use kiosk_ui::{Contrast, Frame, Language, Picture, TextSize, View};
use stage::Stage;

/// Where the pictures in portrait are.
const FOLDER: &str = "golden";
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
        .filter_map(|(name, view)| check(FOLDER, &name, &shrunk(&photograph(&glass, view))).err())
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let names = pages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(goldens(FOLDER), names, "a golden that no page has");
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
        (
            "staff-device-largest",
            looked("staff-device", TextSize::Largest, Contrast::Normal),
        ),
        (
            "staff-unlock-largest",
            looked("staff-unlock", TextSize::Largest, Contrast::Normal),
        ),
        (
            "staff-menu-yellow-on-black",
            looked("staff-menu", TextSize::Normal, Contrast::YellowOnBlack),
        ),
        (
            "staff-device-black-on-white",
            looked("staff-device", TextSize::Normal, Contrast::BlackOnWhite),
        ),
        ("staff-pin-english", in_language("staff-pin", Language::En)),
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
