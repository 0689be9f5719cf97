//! Measures how many of a seeded set of distorted pictures are decoded, and in which time: by the
//! decoder alone, by the steps of `frame`, and by zbar where `zbarimg` is installed.
//!
//! `cargo run --release -p kiosk-qr-scanner --example measure [PICTURES [STEP …]]`; with names of
//! steps, each of them is measured alone as well.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::many_single_char_names,
    clippy::print_stdout,
    reason = "a measuring program computes with pixels, in the letters of the formulas, and prints its table"
)]

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kiosk_device::clock;
use kiosk_qr_scanner::frame::{self, Frame, STEPS, Step};
use rxing::BarcodeFormat;

#[path = "../tests/distorted/mod.rs"]
mod distorted;

use distorted::{Distortion, Picture, picture};

/// Sides of the pictures: what a cheap camera module sends.
const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
/// First picture: not those of the tests, by which the steps were chosen.
const SEED: u64 = 1000;
/// More than any set of steps takes.
const LONG: Duration = Duration::from_mins(1);

/// Decoded pictures and the time for all of them.
#[derive(Clone, Copy, Default)]
struct Score {
    decoded: usize,
    wrong: usize,
    time: Duration,
    slowest: Duration,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(40_u64);
    let wanted: Vec<String> = arguments.collect();
    let steps = STEPS.iter().copied();
    let alone: Vec<Step> = steps
        .filter(|step| {
            wanted
                .iter()
                .any(|name| *name == format!("{step:?}") || name == "all")
        })
        .collect();
    print!("{:14} {:>8} {:>8}", "", "plain", "steps");
    println!(" {:>8} steps that decoded", "zbar");
    let mut sums = [Score::default(); 3];
    let mut total = 0;
    for distortion in Distortion::ALL {
        let pictures: Vec<Picture> = (SEED..SEED + count)
            .map(|seed| picture(distortion, seed, WIDTH, HEIGHT))
            .collect();
        total += pictures.len();
        let scores = [
            plain(&pictures),
            stepwise(&pictures, STEPS),
            zbar(&pictures),
        ];
        print!("{:14}", format!("{distortion:?}"));
        for (sum, score) in sums.iter_mut().zip(scores) {
            sum.decoded += score.decoded;
            sum.wrong += score.wrong;
            sum.time += score.time;
            sum.slowest = sum.slowest.max(score.slowest);
            print!(" {:>4}/{:<3}", score.decoded, pictures.len());
        }
        for step in &alone {
            let score = stepwise(&pictures, &[*step]);
            let ms = score.time.as_secs_f64() * 1000.0 / pictures.len() as f64;
            print!(" {step:?} {} {ms:.1}ms,", score.decoded);
        }
        println!(" {}", winners(&pictures));
    }
    for (name, sum) in ["plain", "steps", "zbar"].iter().zip(sums) {
        let ms = sum.time.as_secs_f64() * 1000.0 / f64::from(u32::try_from(total).unwrap_or(1));
        let slowest = match sum.slowest {
            Duration::ZERO => String::new(),
            slowest => format!(", slowest {:.1} ms", slowest.as_secs_f64() * 1000.0),
        };
        println!(
            "{name:6} {:>5} of {total} decoded ({:.1} %), {} wrong, {ms:.2} ms each{slowest}",
            sum.decoded,
            sum.decoded as f64 * 100.0 / total as f64,
            sum.wrong,
        );
    }
    println!(
        "zbar: one process for each row, reading PNG; its time for as many empty ones is subtracted"
    );
}

fn measure(pictures: &[Picture], read: impl Fn(&Picture) -> Option<String>) -> Score {
    let mut score = Score::default();
    for picture in pictures {
        let start = clock::now();
        let text = read(picture);
        let time = clock::now() - start;
        score.time += time;
        score.slowest = score.slowest.max(time);
        match text {
            Some(text) if text == picture.text => score.decoded += 1,
            Some(_) => score.wrong += 1,
            None => {}
        }
    }
    score
}

fn plain(pictures: &[Picture]) -> Score {
    measure(pictures, |picture| {
        rxing::helpers::detect_in_luma_slice(
            &picture.gray,
            picture.width,
            picture.height,
            Some(BarcodeFormat::QR_CODE),
        )
        .ok()
        .map(|result| result.getText().to_owned())
    })
}

fn stepwise(pictures: &[Picture], steps: &[Step]) -> Score {
    measure(pictures, |picture| {
        let frame = Frame::new(&picture.gray, picture.width, picture.height).ok()?;
        let found = frame::decode_by(frame, steps, clock::now() + LONG)?;
        Some(found.code.text.expose().clone())
    })
}

/// How often each step was the one that decoded.
fn winners(pictures: &[Picture]) -> String {
    let winners: Vec<Step> = pictures
        .iter()
        .filter_map(|picture| {
            let frame = Frame::new(&picture.gray, picture.width, picture.height).ok()?;
            frame::decode(frame, clock::now() + LONG).map(|found| found.step)
        })
        .collect();
    let counts = STEPS
        .iter()
        .map(|step| (step, winners.iter().filter(|won| *won == step).count()));
    let counts: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(step, count)| format!("{step:?} {count}"))
        .collect();
    counts.join(", ")
}

fn zbar(pictures: &[Picture]) -> Score {
    let Ok(folder) = tempfile::tempdir() else {
        return Score::default();
    };
    let mut names = Vec::new();
    for (number, picture) in pictures.iter().enumerate() {
        let name = format!("{number}.png");
        let saved = image::save_buffer(
            folder.path().join(&name),
            &picture.gray,
            picture.width,
            picture.height,
            image::ExtendedColorType::L8,
        );
        if saved.is_ok() {
            names.push(name);
        }
    }
    let empty = image::GrayImage::from_pixel(WIDTH, HEIGHT, image::Luma([128]));
    if empty.save(folder.path().join("empty.png")).is_err() {
        return Score::default();
    }
    let nothing = vec!["empty.png".to_owned(); names.len()];
    let (_, start) = zbarimg(folder.path(), &nothing);
    let (output, time) = zbarimg(folder.path(), &names);
    let found: HashSet<&str> = output.lines().collect();
    Score {
        decoded: pictures
            .iter()
            .filter(|picture| found.contains(picture.text.as_str()))
            .count(),
        time: time.saturating_sub(start),
        ..Score::default()
    }
}

/// What `zbarimg` reads in all files, and the time of the process.
fn zbarimg(folder: &Path, names: &[String]) -> (String, Duration) {
    let start = clock::now();
    let output = Command::new("zbarimg")
        .args([
            "--quiet",
            "--raw",
            "--nodbus",
            "-Sdisable",
            "-Sqrcode.enable",
        ])
        .args(names)
        .current_dir(folder)
        .stderr(Stdio::null())
        .output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    (text, clock::now() - start)
}
