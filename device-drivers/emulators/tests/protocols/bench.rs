//! The whole bench: acts, ports, and the control socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use kiosk_emulators::{
    Act, Bench, BenchConfig, BenchError, CardChoice, Control, Device, LINE_BYTES_MAX, card_names,
};
use serde_json::Value;

fn bench() -> (Bench, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), BenchConfig::hurried()).unwrap();
    (bench, dir)
}

fn act(json: &str) -> Act {
    serde_json::from_str(json).unwrap()
}

#[test]
fn every_named_person_can_put_a_card_on_the_reader() {
    let (bench, _dir) = bench();
    assert!(card_names().len() >= 10);
    for name in card_names() {
        let card = CardChoice::Name(name.to_owned());
        assert_eq!(
            bench.apply(Act::InsertCard { card }).unwrap()["card"],
            true,
            "{name}"
        );
        assert_eq!(bench.apply(Act::RemoveCard).unwrap()["card"], false);
    }
}

#[test]
fn ports_stay_the_same_through_every_cut() {
    let (bench, _dir) = bench();
    let ports = bench.ports();
    assert!(ports.slip_printer.starts_with("tcp:127.0.0.1:"));
    assert!(ports.page_printer.starts_with("ipp://127.0.0.1:"));
    assert!(ports.camera.ends_with("/stream"));
    for device in [
        Device::IdCard,
        Device::QrScanner,
        Device::SlipPrinter,
        Device::PagePrinter,
        Device::Camera,
        Device::DocumentCamera,
    ] {
        assert_eq!(
            bench.apply(Act::CableCut { device }).unwrap()["cable"],
            false,
            "{device:?}"
        );
        assert_eq!(
            bench.apply(Act::CablePlug { device }).unwrap()["cable"],
            true,
            "{device:?}"
        );
    }
    assert_eq!(bench.ports(), ports);
    assert!(ports.id_card.exists() && ports.qr_scanner.exists());
}

/// An act, a field of the state it answers with, and the value (JSON) it must have.
const CHANGES: [(&str, &str, &str); 18] = [
    (
        r#"{"do":"paper-out","device":"slip-printer"}"#,
        "paper-mm",
        "0",
    ),
    (
        r#"{"do":"paper-left","device":"slip-printer","mm":40}"#,
        "paper-mm",
        "40",
    ),
    (
        r#"{"do":"paper-in","device":"slip-printer"}"#,
        "paper-mm",
        "80000",
    ),
    (
        r#"{"do":"cover-open","device":"slip-printer"}"#,
        "ready",
        "false",
    ),
    (
        r#"{"do":"cover-close","device":"slip-printer"}"#,
        "ready",
        "true",
    ),
    (r#"{"do":"head-hot"}"#, "head-hot", "true"),
    (r#"{"do":"head-cool"}"#, "head-hot", "false"),
    (
        r#"{"do":"off-line","device":"slip-printer"}"#,
        "on-line",
        "false",
    ),
    (
        r#"{"do":"paper-out","device":"page-printer"}"#,
        "sheets",
        "0",
    ),
    (
        r#"{"do":"paper-left","device":"page-printer","pages":3}"#,
        "sheets",
        "3",
    ),
    (r#"{"do":"toner-low"}"#, "toner-percent", "7"),
    (
        r#"{"do":"off-line","device":"page-printer"}"#,
        "paused",
        "true",
    ),
    (
        r#"{"do":"show-code","text":"TESTQR"}"#,
        "code-shown",
        "true",
    ),
    (r#"{"do":"hide-code"}"#, "code-shown", "false"),
    (r#"{"do":"page-fault","fault":"refused"}"#, "cable", "false"),
    (r#"{"do":"mend","device":"page-printer"}"#, "cable", "true"),
    (
        r#"{"do":"garble","device":"camera"}"#,
        "fault",
        r#""garbage""#,
    ),
    (r#"{"do":"mend","device":"camera"}"#, "fault", "null"),
];

#[test]
fn acts_change_what_the_state_says() {
    let (bench, _dir) = bench();
    for (json, field, expect) in CHANGES {
        let expect: Value = serde_json::from_str(expect).unwrap();
        assert_eq!(bench.apply(act(json)).unwrap()[field], expect, "{json}");
    }
    let state = bench.apply(Act::State).unwrap();
    assert_eq!(state["page-printer"]["toner-percent"], 7);
    assert_eq!(state.as_object().unwrap().len(), 6);
}

#[test]
fn scenes_are_shown_by_name_and_by_file() {
    let (bench, dir) = bench();
    let shown = |json: &str| {
        bench.apply(act(json)).unwrap()["picture-bytes"]
            .as_u64()
            .unwrap()
    };
    let face = shown(r#"{"do":"show-scene","camera":"camera","scene":"face"}"#);
    let page = shown(r#"{"do":"show-scene","camera":"document-camera","scene":"document-2"}"#);
    assert!(face > 1000 && page > 1000 && face != page);
    let file = dir.path().join("picture.jpg");
    std::fs::write(&file, kiosk_emulators::scenes::face().unwrap()).unwrap();
    let json = format!(r#"{{"do":"show-scene","camera":"document-camera","file":{file:?}}}"#);
    assert_eq!(shown(&json), face);
}

#[test]
fn acts_that_make_no_sense_are_refused_and_change_nothing() {
    let (bench, dir) = bench();
    let refused = |json: &str| bench.apply(act(json)).unwrap_err();
    assert!(matches!(
        refused(r#"{"do":"paper-out","device":"camera"}"#),
        BenchError::NotForDevice {
            device: Device::Camera,
            ..
        }
    ));
    assert!(matches!(
        refused(r#"{"do":"show-scene","camera":"id-card","scene":"face"}"#),
        BenchError::NotForDevice { .. }
    ));
    assert!(matches!(
        refused(r#"{"do":"insert-card","card":"nobody"}"#),
        BenchError::Card(_)
    ));
    assert!(matches!(
        refused(r#"{"do":"show-scene","camera":"camera","scene":"moon"}"#),
        BenchError::UnknownScene(_)
    ));
    assert!(matches!(
        refused(r#"{"do":"paper-left","device":"slip-printer","pages":3}"#),
        BenchError::Missing("mm")
    ));
    let file = dir.path().join("no-picture.jpg");
    std::fs::write(&file, b"nothing").unwrap();
    let json = format!(r#"{{"do":"show-scene","camera":"camera","file":{file:?}}}"#);
    assert!(matches!(refused(&json), BenchError::Picture(_)));
}

#[test]
fn further_devices_are_there_when_their_section_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut config: BenchConfig = toml::from_str(
        r#"
        [id-card]
        transport = "usb-pair"
        [slip-printer]
        transport = "usb"
        [ups]
        [io-board]
        transport = "usb-serial"
        [smart-card]
        vpcd = "127.0.0.1:9"
        "#,
    )
    .unwrap();
    config.id_card.find_ms = 0;
    let bench = Bench::start(dir.path(), config).unwrap();
    let ports = bench.ports();
    let usb = ports.usb.clone().unwrap();
    assert_eq!(
        ports.id_card.display().to_string(),
        format!("usbip:{usb}/1-1")
    );
    assert_eq!(ports.slip_printer, format!("usbip:{usb}/1-2"));
    assert!(ports.ups.clone().unwrap().exists());
    assert_eq!(
        ports.io_board.clone().unwrap().display().to_string(),
        format!("usbip:{usb}/1-3")
    );
    assert_eq!(ports.smart_card.as_deref(), Some("127.0.0.1:9"));
    for device in [
        Device::IdCard,
        Device::Ups,
        Device::IoBoard,
        Device::SmartCard,
    ] {
        let cut = bench.apply(Act::CableCut { device }).unwrap();
        assert_eq!(cut["cable"], false, "{device:?}");
        let plugged = bench.apply(Act::CablePlug { device }).unwrap();
        assert_eq!(plugged["cable"], true, "{device:?}");
    }
    for (json, field, expect) in [
        (r#"{"do":"mains-lost"}"#, "mains", "false"),
        (r#"{"do":"battery-low"}"#, "battery-low", "true"),
        (r#"{"do":"mains-back"}"#, "battery-low", "false"),
        (r#"{"do":"ups-failed"}"#, "failed", "true"),
        (r#"{"do":"mend","device":"ups"}"#, "failed", "false"),
        (r#"{"do":"ups-load","percent":80}"#, "load-percent", "80"),
        (
            r#"{"do":"input","input":"tamper","on":true}"#,
            "inputs",
            "[false,true,false,false,false,false,false,false]",
        ),
        (
            r#"{"do":"insert-chip-card","card":"elder"}"#,
            "card",
            "true",
        ),
        (r#"{"do":"remove-chip-card"}"#, "card", "false"),
    ] {
        let expect: Value = serde_json::from_str(expect).unwrap();
        assert_eq!(bench.apply(act(json)).unwrap()[field], expect, "{json}");
    }
    assert_eq!(bench.state().as_object().unwrap().len(), 9);
    assert_eq!(bench.ports(), ports);
    assert!(matches!(
        bench.apply(act(r#"{"do":"input","input":"moon","on":true}"#)),
        Err(BenchError::UnknownInput(_))
    ));
}

#[test]
fn a_device_that_is_not_on_the_bench_cannot_be_touched() {
    let (bench, _dir) = bench();
    for json in [
        r#"{"do":"mains-lost"}"#,
        r#"{"do":"input","input":0,"on":true}"#,
        r#"{"do":"remove-chip-card"}"#,
        r#"{"do":"cable-cut","device":"ups"}"#,
    ] {
        assert!(
            matches!(bench.apply(act(json)), Err(BenchError::Absent(_))),
            "{json}"
        );
    }
    assert!(matches!(
        bench.apply(act(
            r#"{"do":"misbehave","device":"page-printer","how":"trickle"}"#
        )),
        Err(BenchError::NotForDevice { .. })
    ));
}

#[test]
fn the_control_socket_answers_line_by_line() {
    let (bench, dir) = bench();
    let path = dir.path().join("control.sock");
    let control = Control::start(Arc::new(bench), &path).unwrap();
    let mut stream = UnixStream::connect(control.path()).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut ask = |line: &str| {
        stream.write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        replies.read_line(&mut reply).unwrap();
        serde_json::from_str::<Value>(&reply).unwrap()
    };
    let reply = ask("{\"do\":\"insert-card\",\"card\":\"elder\"}\n");
    assert_eq!(
        (&reply["ok"], &reply["state"]["card"]),
        (&true.into(), &true.into())
    );
    let inline = r#"{"do":"insert-card","card":{"kind":"resident","name":"测试癸","sex":"1","nation":"01","birth":"19900101","address":"x","number":"440100199001011237","authority":"x","valid_from":"20260101","valid_until":"长期"}}"#;
    assert_eq!(ask(&format!("{inline}\n"))["ok"], true);
    let reply = ask("{\"do\":\"fly\"}\n");
    assert_eq!(reply["ok"], false);
    assert!(reply["error"].as_str().unwrap().contains("unknown variant"));
    assert_eq!(ask("nonsense\n")["ok"], false);
    assert_eq!(
        ask("{\"do\":\"state\"}\n")["state"]["id-card"]["card"],
        true
    );
    let long = "x".repeat(LINE_BYTES_MAX + 5000);
    assert_eq!(ask(&long)["error"], "the line is too long");
    drop(control);
    assert!(!path.exists());
}
