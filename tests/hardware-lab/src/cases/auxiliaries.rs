//! The signature pad on the kernel's input layer and the loudspeaker on its mixer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use kiosk_auxiliaries::{signature_pad, speaker};
use kiosk_device::{Completion, Driver as _};

use crate::case::Outcome;
use crate::driven::{self, config};
use crate::virtual_input::{PEN_MAX, VirtualInput};

const SIGN_LIMIT: Duration = Duration::from_secs(15);
/// Pace of the pen. Chosen: digitizers report 100 to 200 times a second.
const PEN_INTERVAL: Duration = Duration::from_millis(10);

/// Signs again and again until told to stop, because nobody sees when the pad begins to listen.
fn sign_until(stop: &AtomicBool, mut pen: VirtualInput) -> anyhow::Result<VirtualInput> {
    while !stop.load(Ordering::SeqCst) {
        for step in 0..=4 {
            pen.pen_at(
                step * PEN_MAX / 4,
                PEN_MAX - step * PEN_MAX / 4,
                PEN_MAX / 2,
            )?;
            thread::park_timeout(PEN_INTERVAL);
        }
        pen.pen_at(PEN_MAX, 0, 0)?;
        thread::park_timeout(PEN_INTERVAL);
    }
    Ok(pen)
}

pub(crate) fn signature() -> Outcome {
    let pen = VirtualInput::pen("lab signature pad")?;
    let config = config("signature-pad", "evdev-pen", &pen.node(), "")?;
    let mut pad = signature_pad::SignaturePad::new(&config)?;
    let (capabilities, _) = driven::open(&mut pad)?;
    ensure!(
        capabilities.model == "lab signature pad",
        "the pad is {}",
        capabilities.model
    );
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let signer = thread::Builder::new()
        .name("signer".to_owned())
        .spawn(move || sign_until(&stopped, pen))?;
    let strokes = std::cell::Cell::new(0);
    let done = driven::execute(
        &mut pad,
        signature_pad::Command::Sign,
        SIGN_LIMIT,
        |event, cancel| {
            if matches!(event, signature_pad::Event::Up) {
                strokes.set(strokes.get() + 1);
            }
            // The first stroke may have begun before anybody listened.
            if strokes.get() >= 2 {
                cancel.cancel();
            }
        },
    );
    stop.store(true, Ordering::SeqCst);
    let pen = match signer.join() {
        Ok(pen) => pen?,
        Err(_) => anyhow::bail!("the signer panicked"),
    };
    ensure!(
        done.completion == Completion::Canceled,
        "signing ended as {:?}",
        done.completion
    );
    let reaches = |least: f32, most: f32| {
        done.events.iter().any(|event| match event {
            signature_pad::Event::Down(point) | signature_pad::Event::Moved(point) => {
                (least..=most).contains(&point.x())
                    && (0.99..=1.01).contains(&(point.x() + point.y()))
                    && (0.49..=0.51).contains(&point.pressure())
            }
            signature_pad::Event::Up => false,
        })
    };
    ensure!(
        reaches(0.2, 0.3) && reaches(0.99, 1.0),
        "the line is not where it was drawn"
    );
    // Pulled while nobody signs: the next look tells.
    drop(pen);
    let code = pad.status().err().map_or("nothing", |fault| fault.code);
    ensure!(code == "device.gone", "an absent pad is told as {code}");
    Ok(Vec::new())
}

pub(crate) fn volume() -> Outcome {
    let mut speaker = speaker::Speaker::new(&config("speaker", "amixer", "hw:0", "")?)?;
    driven::open(&mut speaker)?;
    for percent in [20_u8, 80] {
        let command = speaker::Command::SetVolume { percent };
        driven::execute(
            &mut speaker,
            command,
            SIGN_LIMIT,
            |event, _| match *event {},
        )
        .success()?;
        let status = speaker.status()?;
        let told = status.readings.get("volume-percent").map(String::as_str);
        // The mixer has 150 steps, so the percentage may differ by one.
        let is_near = told
            .and_then(|told| told.parse::<i16>().ok())
            .is_some_and(|told| (told - i16::from(percent)).abs() <= 1);
        ensure!(is_near, "{percent} % was set, {told:?} is told");
    }
    Ok(Vec::new())
}
