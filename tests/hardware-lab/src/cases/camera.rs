//! Cameras through V4L2: the kernel's test camera (YUYV, GREY) and a USB camera (MJPG).

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kiosk_camera::{Camera, Command, Event, Frame};
use kiosk_device::{Cancel, Completion, Driver as _, clock};

use crate::case::{Measure, Outcome};
use crate::driven::{self, Done, config};
use crate::plug::Plug;
use crate::until;
use crate::webcam::{Webcam, sent_at};

/// Time for one stream in emulation, where a raw picture takes a second to become a JPEG.
const STREAM_LIMIT: Duration = Duration::from_mins(1);
/// Fewer than a camera sends, so that emulation keeps pace and no picture waits for another.
const FRAMES_PER_SECOND: u32 = 2;
/// Pictures taken where a few are enough.
const PICTURES: u32 = 5;
/// Pictures among which pairs are looked for.
const PICTURES_PAIRED: u32 = 6;
/// Pictures for the measurement of latency.
const PICTURES_MEASURED: u32 = 15;

fn camera(port: &Path, options: &str) -> anyhow::Result<Camera> {
    let port = port.to_str().context("a node has a plain name")?;
    let config = config(
        "camera",
        "v4l2",
        port,
        &format!("options = {{ {options} }}"),
    )?;
    Ok(Camera::new(&config)?)
}

/// Streams until `count` pictures have come.
fn stream(camera: &mut Camera, count: u32, on_picture: impl Fn(&Frame)) -> Done<Event> {
    let seen = Cell::new(0);
    let command = Command::Stream {
        preview_width: 320,
        frames_per_second: FRAMES_PER_SECOND,
    };
    driven::execute(
        camera,
        command,
        STREAM_LIMIT,
        |Event::Frame(frame), cancel: &Cancel| {
            on_picture(frame);
            seen.set(seen.get() + 1);
            if seen.get() >= count {
                cancel.cancel();
            }
        },
    )
}

fn check_stream(done: &Done<Event>, count: u32) -> anyhow::Result<()> {
    ensure!(
        done.completion == Completion::Canceled,
        "the stream ended as {:?} after {} pictures",
        done.completion,
        done.events.len()
    );
    ensure!(
        u32::try_from(done.events.len())? >= count,
        "too few pictures"
    );
    Ok(())
}

/// The node of the kernel's test camera with this number. Its nodes share one stable name, so it is
/// found by what the kernel calls it.
fn test_camera(number: u32) -> anyhow::Result<PathBuf> {
    let node = until::entry("/sys/class/video4linux", |name| {
        fs::read_to_string(format!("/sys/class/video4linux/{name}/name"))
            .is_ok_and(|name| name.starts_with(&format!("vivid-{number:03}")))
    })?;
    Ok(Path::new("/dev").join(node.file_name().context("a node has a name")?))
}

fn control(node: &Path, setting: &str) -> anyhow::Result<()> {
    let status = Program::new("/usr/bin/v4l2-ctl")
        .arg("-d")
        .arg(node)
        .args(["-c", setting])
        .status()
        .context("v4l2-ctl does not run")?;
    ensure!(status.success(), "v4l2-ctl refuses {setting}");
    Ok(())
}

/// A bright and a dark place in the color bars of the test picture.
fn has_contrast(frame: &Frame) -> bool {
    let brightest = frame.rgb.iter().max().copied().unwrap_or(0);
    let darkest = frame.rgb.iter().min().copied().unwrap_or(0);
    brightest > 180 && darkest < 60
}

pub(crate) fn raw_formats_in_pairs() -> Outcome {
    let (color, infrared) = (test_camera(0)?, test_camera(1)?);
    let options = format!(
        "width = 320, height = 180, infrared = \"{}\"",
        infrared.display()
    );
    let mut camera = camera(&color, &options)?;
    let (capabilities, status) = driven::open(&mut camera)?;
    ensure!(!capabilities.model.is_empty(), "the camera has no name");
    ensure!(
        status.faults.is_empty(),
        "the faults are {:?}",
        status.faults
    );
    let done = stream(&mut camera, PICTURES_PAIRED, |_| ());
    check_stream(&done, PICTURES_PAIRED)?;
    let shows = done.events.iter().all(|Event::Frame(frame)| {
        frame.width == 320 && has_contrast(frame) && frame.jpeg.starts_with(&[0xFF, 0xD8])
    });
    ensure!(shows, "a picture does not show the test card");
    let pairs = done.events.iter().filter(|Event::Frame(frame)| {
        frame.infrared.as_ref().is_some_and(|infrared| {
            let pixels = u64::from(infrared.width) * u64::from(infrared.height);
            let has_all = u64::try_from(infrared.gray.len()) == Ok(pixels);
            let brightest = infrared.gray.iter().max().copied().unwrap_or(0);
            has_all && brightest > 150
        })
    });
    let (pairs, pictures) = (pairs.count(), done.events.len());
    // Both run at the same pace, so that a picture without its pair is the exception.
    ensure!(
        pairs * 2 > pictures,
        "{pairs} of {pictures} pictures have a pair"
    );
    Ok(Vec::new())
}

pub(crate) fn stall() -> Outcome {
    let node = test_camera(0)?;
    let mut camera = camera(&node, "width = 640, height = 360")?;
    driven::open(&mut camera)?;
    let dropped = Cell::new(None);
    let done = stream(&mut camera, u32::MAX, |_| {
        if dropped.get().is_none() {
            // The case fails below when the control was refused: pictures go on.
            let result = control(&node, "percentage_of_dropped_buffers=100");
            dropped.set(result.is_ok().then(clock::now));
        }
    });
    control(&node, "percentage_of_dropped_buffers=0")?;
    let dropped = dropped.get().context("the camera could not be stalled")?;
    let took = clock::now().saturating_duration_since(dropped);
    let fault = done.fault()?;
    ensure!(fault.code == "camera.stalled", "the fault is {fault}");
    camera.close();
    driven::open(&mut camera).context("after the stall")?;
    check_stream(&stream(&mut camera, PICTURES, |_| ()), PICTURES)?;
    Ok(vec![Measure::new("camera-stall-to-fault", took)])
}

pub(crate) fn in_use() -> Outcome {
    let node = test_camera(0)?;
    let mut holder = camera(&node, "width = 640, height = 360")?;
    driven::open(&mut holder)?;
    let mut second = camera(&node, "width = 640, height = 360")?;
    let found: Cell<Option<String>> = Cell::new(None);
    let done = stream(&mut holder, 1, |_| {
        let fault = match second_fault(&node) {
            Ok(code) => code,
            Err(error) => format!("{error:#}"),
        };
        found.set(Some(fault));
    });
    check_stream(&done, 1)?;
    let code = found.take().context("no picture")?;
    ensure!(code == "device.in-use", "a second user is told {code}");
    // Afterwards it is free.
    holder.close();
    driven::open(&mut second)?;
    check_stream(&stream(&mut second, 1, |_| ()), 1)?;
    Ok(Vec::new())
}

/// What a second user of a streaming camera is told.
fn second_fault(node: &Path) -> anyhow::Result<String> {
    let mut second = camera(node, "width = 640, height = 360")?;
    match second.open() {
        Err(fault) => Ok(fault.code.to_owned()),
        Ok(_) => Ok(stream(&mut second, 1, |_| ()).fault()?.code.to_owned()),
    }
}

/// The USB camera in the kernel with the stable name of its capture node.
fn usb_camera() -> anyhow::Result<(Webcam, Plug, PathBuf)> {
    let webcam = Webcam::start()?;
    let plug = Plug::into_kernel(&webcam.address())?;
    // The second node carries metadata only.
    let link = until::entry("/dev/v4l/by-path", |name| {
        name.contains("vhci") && name.ends_with("video-index0")
    })?;
    Ok((webcam, plug, link))
}

pub(crate) fn usb_picture_latency() -> Outcome {
    let (webcam, plug, node) = usb_camera()?;
    let mut camera = camera(&node, "width = 640, height = 480")?;
    driven::open(&mut camera)?;
    let times = std::cell::RefCell::new(Vec::new());
    let done = stream(&mut camera, PICTURES_MEASURED, |frame| {
        if let Some(sent) = sent_at(&frame.jpeg) {
            times.borrow_mut().push(webcam.time().saturating_sub(sent));
        }
    });
    check_stream(&done, PICTURES_MEASURED)?;
    let shows = done
        .events
        .iter()
        .all(|Event::Frame(frame)| has_contrast(frame));
    ensure!(shows, "a picture does not show the test card");
    let mut times = times.into_inner();
    ensure!(
        times.len() == done.events.len(),
        "the JPEG did not pass unchanged"
    );
    ensure!(
        webcam.power_line() == 1,
        "power-line frequency is {} and not 50 Hz",
        webcam.power_line()
    );
    camera.close();
    plug.pull()?;
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(vec![
        Measure::new("capture-to-frame-median", at(50)),
        Measure::new("capture-to-frame-p90", at(90)),
    ])
}

pub(crate) fn usb_stall_and_unplug() -> Outcome {
    let (webcam, plug, node) = usb_camera()?;
    let mut camera = camera(&node, "width = 640, height = 480")?;
    driven::open(&mut camera)?;
    let seen = Cell::new(0);
    let done = stream(&mut camera, u32::MAX, |_| {
        seen.set(seen.get() + 1);
        webcam.stall(seen.get() >= 3);
    });
    let fault = done.fault()?;
    ensure!(
        fault.code == "camera.stalled",
        "the fault of a stall is {fault}"
    );
    webcam.stall(false);
    camera.close();
    driven::open(&mut camera).context("after the stall")?;
    let pulled = Cell::new(None);
    let done = stream(&mut camera, u32::MAX, |_| {
        if pulled.get().is_none() {
            webcam.pull();
            pulled.set(Some(clock::now()));
        }
    });
    let pulled = pulled.get().context("no picture after the stall")?;
    let took = clock::now().saturating_duration_since(pulled);
    let fault = done.fault()?;
    ensure!(
        fault.code == "device.gone",
        "the fault of a pulled plug is {fault}"
    );
    camera.close();
    plug.pull()?;
    driven::expect_absent(&mut camera)?;
    let plugged = clock::now();
    let plug = Plug::into_kernel(&webcam.address())?;
    until::there(&node)?;
    driven::open(&mut camera).context("after the replug")?;
    check_stream(&stream(&mut camera, 1, |_| ()), 1)?;
    let back = clock::now().saturating_duration_since(plugged);
    camera.close();
    plug.pull()?;
    Ok(vec![
        Measure::new("camera-unplug-to-fault", took),
        Measure::new("camera-replug-to-picture", back),
    ])
}
