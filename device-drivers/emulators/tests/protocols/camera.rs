//! The network camera over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kiosk_emulators::{Camera, CameraConfig, CameraFault, scenes};

use crate::common::{connect, receive};

fn view(camera: &Camera) -> TcpStream {
    let port = camera.port();
    let (address, path) = port["tcp:".len()..].split_once('/').unwrap();
    let mut stream = connect(address);
    stream
        .write_all(format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .unwrap();
    let head = head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("multipart/x-mixed-replace; boundary=kiosk-frame"));
    stream
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(receive(stream, 1));
    }
    String::from_utf8(head).unwrap()
}

fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let head = head(stream);
    assert!(head.starts_with("--kiosk-frame\r\n"), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap()
        .parse()
        .unwrap();
    let frame = receive(stream, length);
    assert_eq!(receive(stream, 2), b"\r\n");
    frame
}

fn camera() -> Camera {
    Camera::start("test-camera", &CameraConfig { frames_per_s: 30 }).unwrap()
}

#[test]
fn frames_are_the_picture_that_is_shown() {
    let camera = camera();
    let (face, page) = (scenes::face().unwrap(), scenes::document(1).unwrap());
    camera.show(face.clone());
    let mut stream = view(&camera);
    assert!(frame(&mut stream) == face);
    camera.show(page.clone());
    assert!((0..60).any(|_| frame(&mut stream) == page));
}

#[test]
fn faults_change_the_stream_and_mending_ends_them() {
    let camera = camera();
    camera.show(scenes::empty().unwrap());
    let mut stream = view(&camera);
    let is_picture = |bytes: &[u8]| image::load_from_memory(bytes).is_ok();
    assert!(is_picture(&frame(&mut stream)));
    camera.fault(CameraFault::Garbage);
    assert!((0..60).any(|_| !is_picture(&frame(&mut stream))));
    camera.mend();
    assert!((0..60).any(|_| is_picture(&frame(&mut stream))));
    camera.fault(CameraFault::Stall);
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut buffer = vec![0; 65536];
    let is_stalled = (0..200).any(|_| stream.read(&mut buffer).is_err());
    assert!(is_stalled);
}

#[test]
fn a_cut_cable_ends_the_stream_and_refuses() {
    let camera = camera();
    camera.show(scenes::empty().unwrap());
    let mut stream = view(&camera);
    assert!(camera.cut_cable());
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).is_ok() || !rest.is_empty());
    let port = camera.port();
    let address = port["tcp:".len()..].split_once('/').unwrap().0.to_owned();
    assert!(TcpStream::connect(&address).is_err());
    assert!(camera.plug_cable());
    frame(&mut view(&camera));
}

#[test]
fn other_requests_are_refused() {
    let camera = camera();
    let port = camera.port();
    let address = port["tcp:".len()..].split_once('/').unwrap().0.to_owned();
    for (request, expect) in [("GET /other", "404"), ("POST /stream", "405")] {
        let mut stream = connect(&address);
        stream
            .write_all(format!("{request} HTTP/1.1\r\n\r\n").as_bytes())
            .unwrap();
        assert_eq!(&head(&mut stream)[9..12], expect);
    }
}
