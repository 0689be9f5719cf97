//! How long a document takes: the shared slip to printer dots and an A4 page to PDF, cold and warm.
//!
//! `cargo run --release -p kiosk-documents --example time_document [-- DIRECTORY]` prints milliseconds;
//! with a directory it also leaves there what was made, to be looked at.

#![expect(clippy::print_stdout, reason = "an example reports on the console")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use kiosk_documents::{Bits, Document, Template, Typesetter, pdf_pages, qr_svg};
use serde_json::{Value, json};

const SLIP: &str = include_str!("../../items/_shared/slip.typ");
const A4: &str = include_str!("../tests/a4.typ");
/// Chosen: enough for a stable median.
const WARM_RUNS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let (typesetter, new_time) = timed(Typesetter::with_system_fonts);
    let typesetter = typesetter?;
    let ((), fonts_time) = timed(|| typesetter.warm_up());
    println!("find fonts      {:8.1} ms", milliseconds(new_time));
    println!("read faces      {:8.1} ms", milliseconds(fonts_time));

    let slip: Value = serde_json::from_str(include_str!("../tests/slip.json"))?;
    let files = [(
        "qr.svg",
        qr_svg("https://kiosk.example/s/GL20261122000042?d=9F3A61C2&k=1")?,
    )];
    let slip = Template {
        source: SLIP,
        data: &slip,
        files: &files,
    };
    let bits = report("slip to dots", || {
        typesetter.compile(&slip)?.page_bits(0, 576)
    })?;

    let page = json!({ "name": "测试甲", "number": "440100199001011237", "months": (1..=24).collect::<Vec<_>>() });
    let page = Template {
        source: A4,
        data: &page,
        files: &[],
    };
    let pdf = report("A4 to PDF", || typesetter.compile(&page)?.pdf())?;
    let preview = report("PDF to pixels", || pdf_pages(&pdf, 1000, 1))?;

    if let Some(directory) = std::env::args().nth(1) {
        save(
            Path::new(&directory),
            &typesetter.compile(&slip)?,
            &bits,
            &pdf,
        )?;
        let first = preview.first().ok_or("no page")?;
        image::save_buffer(
            Path::new(&directory).join("a4.png"),
            &first.rgb,
            first.width,
            first.height,
            image::ColorType::Rgb8,
        )?;
    }
    println!(
        "resident        {:>8}",
        resident().as_deref().unwrap_or("unknown")
    );
    Ok(())
}

/// Runs the work once cold and several times warm, prints both and returns the last result.
fn report<T>(
    name: &str,
    mut work: impl FnMut() -> Result<T, kiosk_documents::DocumentError>,
) -> Result<T, Box<dyn Error>> {
    let (result, cold) = timed(&mut work);
    let mut result = result?;
    let mut warm = Vec::with_capacity(WARM_RUNS);
    for _ in 0..WARM_RUNS {
        let (again, time) = timed(&mut work);
        result = again?;
        warm.push(time);
    }
    warm.sort();
    println!(
        "{name:15} {:8.1} ms cold {:8.1} ms warm",
        milliseconds(cold),
        milliseconds(warm[WARM_RUNS / 2])
    );
    Ok(result)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the example measures real time; nothing depends on it"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn resident() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .map(|value| value.trim().to_owned())
}

fn save(directory: &Path, slip: &Document, bits: &Bits, pdf: &[u8]) -> Result<(), Box<dyn Error>> {
    let height = u32::try_from(bits.height_dots())?;
    let dots = image::GrayImage::from_fn(bits.width_dots, height, |x, y| {
        image::Luma([if bits.is_black(x, y) { 0 } else { 255 }])
    });
    dots.save(directory.join("slip.png"))?;
    std::fs::write(directory.join("slip.pdf"), slip.pdf()?)?;
    std::fs::write(directory.join("a4.pdf"), pdf)?;
    Ok(())
}
