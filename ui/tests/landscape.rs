//! The same pages on a panel that lies on its side.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose input cannot be prepared has failed"
)]

mod approval;
mod samples;
mod stage;

use std::collections::BTreeSet;

use approval::{check, goldens, shrunk};
use kiosk_ui::{Contrast, TextSize, Touch};
use stage::Stage;

/// Where the footer begins.
const FOOTER: f32 = 1080.0 - 116.0;

/// Where the pictures in landscape are.
const FOLDER: &str = "golden-landscape";

#[test]
fn every_page_fits_on_its_side() {
    let glass = Stage::take(1920, 1080);
    for text_size in [TextSize::Normal, TextSize::Largest] {
        for (name, view) in samples::all() {
            let elements = glass.show(samples::with_look(view, text_size, Contrast::Normal));
            for element in elements.iter().filter(|element| element.role == "button") {
                let is_inside = element.x >= -1.0
                    && element.y >= -1.0
                    && element.x + element.width <= 1921.0
                    && element.y + element.height <= 1081.0;
                assert!(
                    is_inside,
                    "{name} {text_size:?}: off the glass: {element:?}"
                );
                let is_clear =
                    element.y + element.height <= FOOTER + 1.0 || element.y >= FOOTER - 1.0;
                let is_covered = matches!(name, "staff-color" | "staff-grid");
                assert!(
                    is_clear || is_covered || !name.starts_with("staff-"),
                    "{name} {text_size:?}: under the footer: {element:?}"
                );
            }
        }
    }
    glass.show(samples::named("rating"));
    assert_eq!(glass.touch("满意"), Touch::Choose("4".into()));
    assert!(glass.touched().is_empty());
    let picture = glass.probe.snapshot().unwrap();
    assert_eq!((picture.width, picture.height), (1920, 1080));
}

#[test]
fn staff_pages_on_their_side_look_as_they_were_approved() {
    let glass = Stage::take(1920, 1080);
    let looked = |name: &str, text_size, contrast| {
        samples::with_look(samples::named(name), text_size, contrast)
    };
    let plain = |name| looked(name, TextSize::Normal, Contrast::Normal);
    let pages = [
        ("attract", plain("attract")),
        ("staff-unlock", plain("staff-unlock")),
        ("staff-pin", plain("staff-pin")),
        ("staff-menu", plain("staff-menu")),
        ("staff-device", plain("staff-device")),
        ("staff-safe", plain("staff-safe")),
        (
            "staff-device-largest",
            looked("staff-device", TextSize::Largest, Contrast::Normal),
        ),
        (
            "staff-menu-white-on-black",
            looked("staff-menu", TextSize::Normal, Contrast::WhiteOnBlack),
        ),
    ];
    let names: BTreeSet<String> = pages.iter().map(|(name, _)| (*name).to_owned()).collect();
    let differences: Vec<String> = pages
        .into_iter()
        .filter_map(|(name, view)| {
            glass.show(view);
            let picture = glass.probe.snapshot().unwrap();
            check(FOLDER, name, &shrunk(&picture)).err()
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(goldens(FOLDER), names, "a golden that no page has");
}
