//! The camera driver against the emulated network camera, and what is done with its pictures.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use kiosk_camera::document::straighten_jpeg;
use kiosk_camera::picture::decode_whole;
use kiosk_camera::{Camera, Command, Crop, Event, Frame, face};
use kiosk_device::{
    Cancel, Completion, Context, DeviceConfig, DeviceEvent, DeviceState, Driver, clock, spawn,
};
use kiosk_emulators::{self as emulators, CameraConfig, CameraFault, scenes};

const LONG: Duration = Duration::from_secs(30);
const STREAM: Command = Command::Stream {
    preview_width: 640,
    frames_per_second: 30,
};

fn emulated() -> (emulators::Camera, DeviceConfig) {
    let camera = emulators::Camera::start("camera", &CameraConfig { frames_per_s: 30 }).unwrap();
    let config = toml::from_str(&format!(
        "id = \"camera\"\nclass = \"camera\"\ndriver = \"mjpeg\"\nport = \"{}\"",
        camera.port()
    ))
    .unwrap();
    (camera, config)
}

/// The first picture of a stream.
fn first(config: &DeviceConfig) -> Frame {
    first_of(config, STREAM)
}

fn first_of(config: &DeviceConfig, command: Command) -> Frame {
    let mut camera = Camera::new(config).unwrap();
    camera.open().unwrap();
    let cancel = Cancel::default();
    let frames = RefCell::new(Vec::new());
    let emit = |Event::Frame(frame): Event| {
        frames.borrow_mut().push(frame);
        cancel.cancel();
    };
    let completion = camera.execute(command, &Context::new(LONG, &cancel, &emit));
    assert_eq!(completion, Completion::Canceled);
    frames.into_inner().remove(0)
}

#[test]
fn a_document_before_the_camera_is_seen_and_made_straight() {
    let (camera, config) = emulated();
    camera.show(scenes::document(5).unwrap());
    let frame = first(&config);
    assert_eq!((frame.width, frame.height), (640, 360));
    assert_eq!(*frame.jpeg, scenes::document(5).unwrap());
    assert_eq!(frame.infrared, None);
    assert!(straighten_jpeg(&frame.jpeg).is_some());
    let verdict = face::judge(&frame.rgb, frame.width, frame.height);
    assert_eq!(verdict, face::Verdict::Missing);
}

#[test]
fn of_a_stream_only_the_part_that_is_the_tray_comes_out() {
    let (camera, config) = emulated();
    camera.show(scenes::document(5).unwrap());
    let whole = first(&config);
    let full = decode_whole(&whole.jpeg).unwrap();
    let margins = [100, 50, 200, 100];
    let command = Command::StreamPart {
        crop: Crop::new(margins).unwrap(),
        preview_width: 640,
        frames_per_second: 30,
    };
    let part = first_of(&config, command);
    let kept = decode_whole(&part.jpeg).unwrap();
    assert_eq!(
        kept.width(),
        full.width() - full.width() / 10 - full.width() / 5
    );
    assert_eq!(
        kept.height(),
        full.height() - full.height() / 20 - full.height() / 10
    );
    // The same place has the same color, but for what encoding once more does to it.
    let (full, kept) = (full.into_rgb8(), kept.into_rgb8());
    let (x, y) = (kept.width() / 2, kept.height() / 2);
    let there = full.get_pixel(x + full.width() / 10, y + full.height() / 20);
    for (found, expect) in kept.get_pixel(x, y).0.iter().zip(there.0) {
        assert!(found.abs_diff(expect) < 24, "{found} is not {expect}");
    }
    // What was cut off before is not looked for a page in; the page on the tray is still found.
    let whole_tray = Command::StreamPart {
        crop: Crop::new([20, 20, 20, 20]).unwrap(),
        preview_width: 640,
        frames_per_second: 30,
    };
    assert!(straighten_jpeg(&first_of(&config, whole_tray).jpeg).is_some());
}

#[test]
fn a_face_before_the_camera_is_seen() {
    let (camera, config) = emulated();
    camera.show(scenes::face().unwrap());
    let frame = first(&config);
    let verdict = face::judge(&frame.rgb, frame.width, frame.height);
    assert_eq!(verdict, face::Verdict::Good);
    assert!(straighten_jpeg(&frame.jpeg).is_none());
}

#[test]
fn a_misbehaving_camera_is_told_apart() {
    for (fault, code) in [
        (CameraFault::Stall, "camera.stalled"),
        (CameraFault::Garbage, "camera.bad-picture"),
        (CameraFault::Truncated, "camera.bad-picture"),
    ] {
        let (emulated, config) = emulated();
        emulated.show(scenes::empty().unwrap());
        emulated.fault(fault);
        let mut camera = Camera::new(&config).unwrap();
        let context_cancel = Cancel::default();
        let context = Context::new(LONG, &context_cancel, &|_| ());
        let completion = camera.execute(STREAM, &context);
        assert!(
            matches!(&completion, Completion::Failed(fault) if fault.code == code),
            "{fault:?}: {completion:?}"
        );
    }
}

#[test]
fn a_camera_whose_cable_is_pulled_during_a_stream_is_back_after_it() {
    let (emulated, config) = emulated();
    emulated.show(scenes::empty().unwrap());
    let (sender, receiver) = sync_channel(1024);
    let make = move || Camera::new(&config).unwrap();
    let handle = spawn("camera".to_owned(), make, move |event| {
        drop(sender.try_send(event));
    });
    let wait = |is_it: &dyn Fn(&DeviceEvent<Event>) -> bool| {
        let until = clock::now() + LONG;
        loop {
            let left = until.saturating_duration_since(clock::now());
            let event = receiver.recv_timeout(left).expect("it is told");
            if is_it(&event) {
                return;
            }
        }
    };
    let is_state = |state: DeviceState| move |event: &DeviceEvent<Event>| matches!(event, DeviceEvent::Status(status) if status.state == state);
    wait(&is_state(DeviceState::Online));
    handle.command(STREAM, LONG).unwrap();
    wait(&|event| matches!(event, DeviceEvent::Command { .. }));
    assert!(emulated.cut_cable());
    wait(&|event| {
        matches!(event, DeviceEvent::Completed { completion: Completion::Failed(fault), .. }
            if fault.code == "device.gone")
    });
    wait(&is_state(DeviceState::NoDevice));
    assert!(emulated.plug_cable());
    wait(&is_state(DeviceState::Online));
    handle.stop();
}
