//! Photographs every sample page, so that a person can look at them:
//! `cargo run -p kiosk-ui --features probe --example gallery -- DIRECTORY [landscape]`.

#[path = "../tests/samples/mod.rs"]
mod samples;

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use anyhow::Context;
use kiosk_ui::probe::Probe;
use kiosk_ui::{
    Backend, Contrast, Frame, Language, Options, Screen, StaffPage, TextSize, Ui, UiHandle, View,
};

/// Every drawing for those who mend the terminal.
const DRAWINGS: [&str; 22] = [
    "paper-roll",
    "tray",
    "jam",
    "cable",
    "reader",
    "card-on-reader",
    "code-to-scanner",
    "phone-code",
    "slip",
    "document",
    "lens",
    "touch",
    "usb-stick",
    "ups",
    "door",
    "power",
    "router",
    "repair",
    "sound",
    "memory",
    "cover-open",
    "no-network",
];

/// Nobody listens to the touches of a gallery.
const TOUCHES_MAX: usize = 1;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(
        arguments
            .next()
            .context("name a directory for the pictures")?,
    );
    let is_landscape = arguments.next().is_some();
    std::fs::create_dir_all(&directory)?;
    let (touches, _inbox) = sync_channel(TOUCHES_MAX);
    let (width_px, height_px) = if is_landscape {
        (1920, 1080)
    } else {
        (1080, 1920)
    };
    let options = Options {
        width_px,
        height_px,
        backend: Backend::Headless,
        on_first_frame: None,
    };
    let ui = Ui::new(options, touches)?;
    let handle = ui.handle();
    let photographer = std::thread::spawn(move || {
        let outcome = photograph_all(&handle, &directory);
        handle.quit();
        outcome
    });
    ui.run()?;
    photographer
        .join()
        .map_err(|_| anyhow::anyhow!("the photographer panicked"))?
}

fn photograph_all(handle: &UiHandle, directory: &Path) -> anyhow::Result<()> {
    let probe = handle.probe();
    for (name, view) in samples::all() {
        let largest = samples::with_look(view.clone(), TextSize::Largest, Contrast::Normal);
        photograph(handle, &probe, view, &directory.join(format!("{name}.png")))?;
        photograph(
            handle,
            &probe,
            largest,
            &directory.join(format!("{name}-largest.png")),
        )?;
    }
    for name in DRAWINGS {
        photograph(
            handle,
            &probe,
            drawing(name),
            &directory.join(format!("drawing-{name}.png")),
        )?;
    }
    for (name, view) in variants() {
        photograph(
            handle,
            &probe,
            view,
            &directory.join(format!("variant-{name}.png")),
        )?;
    }
    Ok(())
}

fn drawing(name: &str) -> View {
    View {
        frame: samples::named("staff-menu").frame,
        screen: Screen::Staff(Box::new(StaffPage {
            name: "drawing".to_owned(),
            title: name.to_owned(),
            drawing: name.to_owned(),
            ..StaffPage::default()
        })),
    }
}

fn variants() -> Vec<(&'static str, View)> {
    let looked = |view, contrast| samples::with_look(view, TextSize::Large, contrast);
    vec![
        (
            "attract-english",
            in_language(samples::named("attract"), Language::En),
        ),
        (
            "home-english",
            in_language(samples::named("home"), Language::En),
        ),
        (
            "review-english",
            in_language(samples::named("review"), Language::En),
        ),
        (
            "home-traditional",
            in_language(samples::named("home"), Language::ZhHant),
        ),
        (
            "rating-traditional",
            in_language(samples::named("rating"), Language::ZhHant),
        ),
        (
            "attract-white-on-black",
            looked(samples::named("attract"), Contrast::WhiteOnBlack),
        ),
        (
            "home-white-on-black",
            looked(samples::named("home"), Contrast::WhiteOnBlack),
        ),
        (
            "question-yellow-on-black",
            looked(samples::named("question-digits"), Contrast::YellowOnBlack),
        ),
        (
            "done-black-on-white",
            looked(samples::named("done-pending"), Contrast::BlackOnWhite),
        ),
        (
            "problem-white-on-black",
            looked(samples::named("problem-paper-out"), Contrast::WhiteOnBlack),
        ),
        (
            "warning-yellow-on-black",
            looked(samples::named("time-out"), Contrast::YellowOnBlack),
        ),
        (
            "staff-device-english",
            in_language(samples::named("staff-device"), Language::En),
        ),
        (
            "staff-menu-yellow-on-black",
            looked(samples::named("staff-menu"), Contrast::YellowOnBlack),
        ),
        (
            "staff-device-black-on-white",
            looked(samples::named("staff-device"), Contrast::BlackOnWhite),
        ),
        (
            "staff-report-white-on-black",
            looked(samples::named("staff-report"), Contrast::WhiteOnBlack),
        ),
        (
            "introduction-black-on-white",
            looked(samples::named("introduction"), Contrast::BlackOnWhite),
        ),
    ]
}

fn photograph(handle: &UiHandle, probe: &Probe, view: View, path: &Path) -> anyhow::Result<()> {
    handle.show(view);
    let picture = probe.snapshot()?;
    let pixels = image::RgbImage::from_raw(picture.width, picture.height, picture.rgb.to_vec())
        .context("the picture is incomplete")?;
    pixels
        .save(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn in_language(view: View, language: Language) -> View {
    View {
        frame: Frame {
            language,
            ..view.frame
        },
        ..view
    }
}
