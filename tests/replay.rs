//! Recordings of device sessions, replayed byte for byte through today's drivers. A failure in the
//! field is recorded with `kiosk devices record`, put into `tests/recordings`, and can never come
//! back unseen. `UPDATE_GOLDEN=1` records the sessions below anew, against the emulators.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use kiosk_auxiliaries::ups::Ups;
use kiosk_device::tap::{Privacy, Tap};
use kiosk_device::{Cancel, Completion, Context, DeviceConfig, Driver};
use kiosk_emulators::{
    CardFault, CardSpec, IdCardConfig, IdCardReader, QrScanner, QrScannerConfig, Replay, UpsConfig,
};
use kiosk_id_card as id_card;
use kiosk_qr_scanner as qr_scanner;

/// How long one session may take; a recording keeps short pauses only.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks of the person who steers an emulator while it is recorded.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a driver and tells what came of it; calls back with each event.
type Drive = fn(&DeviceConfig, &mut dyn FnMut(&str)) -> String;

/// A recording and what the driver makes of it.
struct Session {
    file: &'static str,
    drive: Drive,
    record: fn(&Path) -> Recorded,
    expect: &'static str,
}

/// An emulated device while it is recorded.
struct Recorded {
    port: String,
    class: &'static str,
    driver: &'static str,
    /// Called with each event of the driver, as a person at the device would act.
    react: Box<dyn FnMut(&str)>,
}

const SESSIONS: &[Session] = &[
    Session {
        file: "card-with-appended-address.txt",
        drive: read_card,
        record: |directory| {
            let reader = reader(directory);
            reader.insert(&CardSpec::named("cadre").unwrap()).unwrap();
            recorded_card(reader)
        },
        expect: "found, card, success",
    },
    Session {
        file: "card-lifted-while-it-is-read.txt",
        drive: read_card,
        record: |directory| {
            let reader = reader(directory);
            reader.insert(&CardSpec::named("adult").unwrap()).unwrap();
            reader.fault(CardFault::RemoveMidRead);
            recorded_card(reader)
        },
        expect: "found, again id-card.read-failed, found, card, success",
    },
    Session {
        file: "scan-of-a-slip.txt",
        drive: scan,
        record: |directory| {
            let config = QrScannerConfig {
                decode_ms: 0,
                ..QrScannerConfig::default()
            };
            let scanner = QrScanner::start(directory, config).unwrap();
            scanner
                .present(b"KC1.T001-20261122-00001.202611220941.0123456789ab.x")
                .unwrap();
            Recorded {
                port: scanner.port().display().to_string(),
                class: "qr-scanner",
                driver: "newland",
                react: Box::new(move |_| assert!(scanner.port().exists())),
            }
        },
        expect: "code of 51 bytes, success",
    },
    Session {
        file: "power-supply-on-battery.txt",
        drive: look_at_ups,
        record: |directory| {
            let ups = kiosk_emulators::Ups::start(directory, &UpsConfig::default()).unwrap();
            ups.set_mains(false);
            Recorded {
                port: ups.port().display().to_string(),
                class: "ups",
                driver: "megatec-q1",
                react: Box::new(move |_| assert!(ups.port().exists())),
            }
        },
        expect: "ups.on-battery",
    },
];

fn reader(directory: &Path) -> IdCardReader {
    let config = IdCardConfig {
        find_ms: 0,
        read_ms: 0,
        ..IdCardConfig::default()
    };
    IdCardReader::start(directory, config).unwrap()
}

/// A person who lays the card down again when asked.
fn recorded_card(reader: IdCardReader) -> Recorded {
    Recorded {
        port: reader.port().display().to_string(),
        class: "id-card",
        driver: "sdt",
        react: Box::new(move |event| {
            if event.starts_with("again") {
                reader.remove();
                reader.insert(&CardSpec::named("adult").unwrap()).unwrap();
            }
        }),
    }
}

fn config(class: &str, driver: &str, port: &str) -> DeviceConfig {
    toml::from_str(&format!(
        "id = \"replayed\"\nclass = \"{class}\"\ndriver = \"{driver}\"\nport = \"{port}\"\nbaud = 115200"
    ))
    .unwrap()
}

/// Runs one command and tells its events and its end in words.
fn command<D: Driver>(
    driver: &mut D,
    command: D::Command,
    word: impl Fn(&D::Event) -> String,
    react: &mut dyn FnMut(&str),
) -> String {
    let cancel = Cancel::default();
    let words = std::cell::RefCell::new(Vec::new());
    let react = std::cell::RefCell::new(react);
    let emit = |event: D::Event| {
        let word = word(&event);
        (react.borrow_mut())(&word);
        words.borrow_mut().push(word);
    };
    let completion = driver.execute(command, &Context::new(LIMIT, &cancel, &emit));
    let end = match completion {
        Completion::Success => "success".to_owned(),
        Completion::Canceled => "canceled".to_owned(),
        Completion::TimeOut => "too late".to_owned(),
        Completion::NotReady(fault) | Completion::Failed(fault) => fault.code.to_owned(),
    };
    let mut words = words.into_inner();
    words.push(end);
    words.join(", ")
}

fn read_card(config: &DeviceConfig, react: &mut dyn FnMut(&str)) -> String {
    let mut driver = id_card::IdCardReader::new(config).unwrap();
    driver.open().unwrap();
    let word = |event: &id_card::Event| match event {
        id_card::Event::CardFound => "found".to_owned(),
        id_card::Event::Card(_) => "card".to_owned(),
        id_card::Event::ReadAgain(fault) => format!("again {}", fault.code),
        id_card::Event::CardRemoved => "removed".to_owned(),
    };
    command(&mut driver, id_card::Command::Read, word, react)
}

fn scan(config: &DeviceConfig, react: &mut dyn FnMut(&str)) -> String {
    let mut driver = qr_scanner::Scanner::new(config).unwrap();
    driver.open().unwrap();
    let word = |event: &qr_scanner::Event| {
        let qr_scanner::Event::Code(code) = event;
        format!("code of {} bytes", code.text.expose().len())
    };
    command(&mut driver, qr_scanner::Command::Scan, word, react)
}

fn look_at_ups(config: &DeviceConfig, _react: &mut dyn FnMut(&str)) -> String {
    let mut driver = Ups::new(config).unwrap();
    driver.open().unwrap();
    let status = driver.status().unwrap();
    let codes: Vec<&str> = status.faults.iter().map(|fault| fault.code).collect();
    codes.join(", ")
}

fn path(session: &Session) -> PathBuf {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    recordings.join(session.file)
}

fn record(session: &Session) {
    let directory = tempfile::tempdir().unwrap();
    let mut recorded = (session.record)(directory.path());
    let file = directory.path().join("recording");
    let tap = Tap::default();
    tap.install();
    let about = [format!(
        "class {} driver {}",
        recorded.class, recorded.driver
    )];
    tap.start(&file, Privacy::Everything, &about).unwrap();
    let config = config(recorded.class, recorded.driver, &recorded.port);
    let result = (session.drive)(&config, &mut recorded.react);
    tap.stop().unwrap();
    assert_eq!(result, session.expect, "{}", session.file);
    std::fs::copy(&file, path(session)).unwrap();
}

#[test]
fn e7_every_recorded_session_goes_through_todays_driver_as_it_did() {
    for session in SESSIONS {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            record(session);
        }
        let text = std::fs::read_to_string(path(session)).unwrap();
        let about = text.lines().nth(1).unwrap();
        let words: Vec<&str> = about.split(' ').collect();
        let ["#", "class", class, "driver", driver] = words[..] else {
            panic!("{}: {about}", session.file);
        };
        let directory = tempfile::tempdir().unwrap();
        let replay = Replay::start(directory.path(), "device", &text).unwrap();
        let config = config(class, driver, &replay.port());
        let result = (session.drive)(&config, &mut |_| {});
        assert_eq!(result, session.expect, "{}", session.file);
        replay.finish(LOOK).unwrap();
    }
}

#[test]
fn every_recording_has_its_session() {
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    for entry in std::fs::read_dir(recordings).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_known = SESSIONS.iter().any(|session| session.file == name);
        assert!(is_known, "nothing replays {name}");
    }
}

#[test]
fn a_driver_that_says_something_else_fails_its_replay() {
    let text = "kiosk-recording 1\n0.0 > 01 02\n0.1 < 03\n";
    let directory = tempfile::tempdir().unwrap();
    let replay = Replay::start(directory.path(), "device", text).unwrap();
    let mut wire = kiosk_device::wire::open(&replay.port(), 9600).unwrap();
    wire.write_all(&[0x01, 0x07], LIMIT).unwrap();
    let error = replay.finish(LIMIT).unwrap_err();
    assert!(error.contains("step 1"), "{error}");
}
