//! The identity card reader over its pseudo terminal, against the vectors of the fact sheet.
use std::time::Duration;

use crate::common::{Serial, bytes};
use kiosk_emulators::{CardFault, CardSpec, IdCardConfig, IdCardReader, Operation};

const STATUS: &str = "AA AA AA 96 69 00 03 11 FF ED";
const FIND: &str = "AA AA AA 96 69 00 03 20 01 22";
const SELECT: &str = "AA AA AA 96 69 00 03 20 02 21";
const READ: &str = "AA AA AA 96 69 00 03 30 01 32";
const READ_FINGER: &str = "AA AA AA 96 69 00 03 30 10 23";
const READ_ADDRESS: &str = "AA AA AA 96 69 00 03 30 03 30";
const READ_CHIP: &str = "AA AA AA 96 69 00 03 30 05 36";
const OK: &str = "AA AA AA 96 69 00 04 00 00 90 94";
const FOUND: &str = "AA AA AA 96 69 00 08 00 00 9F 00 00 00 00 97";
const NOT_FOUND: &str = "AA AA AA 96 69 00 04 00 00 80 84";
const SELECTED: &str = "AA AA AA 96 69 00 0C 00 00 90 00 00 00 00 00 00 00 00 9C";
const NOT_SELECTED: &str = "AA AA AA 96 69 00 04 00 00 81 85";
const NO_ADDRESS: &str = "AA AA AA 96 69 00 04 00 00 91 95";
const FAILED: &str = "AA AA AA 96 69 00 04 00 00 41 45";
const WRONG_ORDER: &str = "AA AA AA 96 69 00 04 00 00 21 25";

fn quick() -> IdCardConfig {
    IdCardConfig {
        baud: 0,
        find_ms: 0,
        read_ms: 0,
        ..IdCardConfig::default()
    }
}

struct Rig {
    reader: IdCardReader,
    line: Serial,
    _dir: tempfile::TempDir,
}

fn rig(config: IdCardConfig) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let reader = IdCardReader::start(dir.path(), config).unwrap();
    let line = Serial::open(reader.port());
    Rig {
        reader,
        line,
        _dir: dir,
    }
}

impl Rig {
    fn insert(&self, name: &str) {
        self.reader.insert(&CardSpec::named(name).unwrap()).unwrap();
    }

    #[track_caller]
    fn check(&mut self, request: &str, reply: &str) {
        let expect = bytes(reply);
        let got = self.line.ask(&bytes(request), expect.len());
        assert_eq!(got, expect, "{request}");
    }

    #[track_caller]
    fn select(&mut self) {
        self.check(FIND, FOUND);
        self.check(SELECT, SELECTED);
    }
}

#[test]
fn the_session_of_the_fact_sheet_goes_byte_by_byte() {
    let mut rig = rig(quick());
    rig.check(STATUS, OK);
    rig.check(FIND, NOT_FOUND);
    rig.insert("adult");
    rig.select();
    let reply = rig.line.ask(&bytes(READ), 1295);
    assert_eq!(
        reply[..14],
        bytes("AA AA AA 96 69 05 08 00 00 90 01 00 04 00")
    );
    assert_eq!(reply[14..20], bytes("4B 6D D5 8B 32 75"));
    assert_eq!(reply[1294], 0x54);
    rig.check(READ_ADDRESS, NO_ADDRESS);
    rig.check(
        "AA AA AA 96 69 00 03 12 FF EE",
        "AA AA AA 96 69 00 14 00 00 90 05 00 03 00 05 25 35 01 01 00 00 00 D2 02 96 49 98",
    );
    rig.check("AA AA AA 96 69 00 03 10 FF EC", OK);
    rig.check("AA AA AA 96 69 00 04 61 FF 50 CA", OK);
}

#[test]
fn fingerprints_come_by_the_three_lengths() {
    for (count, total, check) in [(0, 1297, 0x56), (2, 2321, 0x5E)] {
        let mut rig = rig(IdCardConfig {
            fingerprints: count,
            ..quick()
        });
        rig.insert("adult");
        rig.select();
        let reply = rig.line.ask(&bytes(READ_FINGER), total);
        assert_eq!(reply[total - 1], check);
    }
}

#[test]
fn a_card_that_was_read_is_not_found_again_until_it_is_lifted() {
    let mut rig = rig(quick());
    rig.insert("cadre");
    rig.select();
    rig.line.ask(&bytes(READ), 1295);
    rig.check(FIND, NOT_FOUND);
    rig.check(SELECT, NOT_SELECTED);
    let address = rig.line.ask(&bytes(READ_ADDRESS), 81);
    assert_eq!(address[80], 0x55);
    assert_eq!(
        rig.line.ask(&bytes(READ_CHIP), 39)[..10],
        bytes("AA AA AA 96 69 00 20 00 00 90")
    );
    rig.reader.remove();
    rig.check(READ_ADDRESS, FAILED);
    rig.check(READ_CHIP, FAILED);
    rig.insert("cadre");
    rig.select();
}

#[test]
fn the_order_find_select_read_is_enforced() {
    let mut rig = rig(quick());
    rig.check(SELECT, NOT_SELECTED);
    rig.check(READ, FAILED);
    rig.insert("elder");
    rig.check(SELECT, NOT_SELECTED);
    rig.check(READ, WRONG_ORDER);
    rig.check(READ_ADDRESS, WRONG_ORDER);
    rig.check(FIND, FOUND);
    rig.check(READ, WRONG_ORDER);
}

#[test]
fn wrong_frames_get_their_status() {
    let mut rig = rig(quick());
    rig.check(
        "AA AA AA 96 69 00 03 20 01 23",
        "AA AA AA 96 69 00 04 00 00 10 14",
    );
    rig.check("AA AA AA 96 69 FF FF", "AA AA AA 96 69 00 04 00 00 11 15");
    rig.check(
        "AA AA AA 96 69 00 04 20 01 00 25",
        "AA AA AA 96 69 00 04 00 00 11 15",
    );
    rig.check("AA AA AA 96 69 00 03 20 00 23", WRONG_ORDER);
    rig.check("AA AA AA 96 69 00 03 77 01 75", WRONG_ORDER);
    rig.check("AA AA AA AA AA 96 69 00 03 11 FF ED", OK);
    // A request in two pieces is one request.
    rig.line.send(&bytes("AA AA AA 96"));
    assert!(rig.line.is_silent(Duration::from_millis(60)));
    rig.check("69 00 03 11 FF ED", OK);
}

#[test]
fn every_speed_can_be_set() {
    let mut rig = rig(IdCardConfig {
        baud: 115_200,
        ..quick()
    });
    for request in [
        "AA AA AA 96 69 00 03 60 01 62",
        "AA AA AA 96 69 00 03 60 04 67",
        "AA AA AA 96 69 00 03 60 00 63",
    ] {
        rig.check(request, OK);
    }
    rig.check("AA AA AA 96 69 00 03 60 05 66", WRONG_ORDER);
}

#[test]
fn forced_statuses_come_once_and_spend_the_card() {
    let mut rig = rig(quick());
    for code in [0x31, 0x32, 0x33, 0x37, 0x3F, 0x40, 0x41, 0x47, 0x50] {
        rig.insert("adult");
        rig.reader.fault(CardFault::Status {
            on: Operation::Read,
            code,
        });
        rig.select();
        let reply = rig.line.ask(&bytes(READ), 11);
        assert_eq!((reply[9], reply[10]), (code, 4 ^ code));
        rig.check(FIND, NOT_FOUND);
    }
    rig.reader.fault(CardFault::Status {
        on: Operation::Sam,
        code: 0x60,
    });
    rig.check(STATUS, "AA AA AA 96 69 00 04 00 00 60 64");
    rig.reader.mend();
    rig.check(STATUS, OK);
}

#[test]
fn a_card_lifted_while_it_is_read_cuts_the_reply() {
    let mut rig = rig(quick());
    rig.insert("adult");
    rig.reader.fault(CardFault::RemoveMidRead);
    rig.select();
    rig.line.ask(&bytes(READ), 647);
    assert!(rig.line.is_silent(Duration::from_millis(100)));
    rig.check(READ_CHIP, FAILED);
    rig.check(FIND, NOT_FOUND);
}

#[test]
fn a_card_lifted_before_the_reply_fails_the_read() {
    let mut rig = rig(IdCardConfig {
        read_ms: 3000,
        ..quick()
    });
    rig.insert("adult");
    rig.select();
    rig.line.send(&bytes(READ));
    assert!(rig.line.is_silent(Duration::from_millis(100)));
    rig.reader.remove();
    assert_eq!(rig.line.receive(11), bytes(FAILED));
}

#[test]
fn spoiled_replies_are_spoiled_as_asked() {
    let mut rig = rig(quick());
    rig.reader.fault(CardFault::BadChecksum);
    rig.check(STATUS, "AA AA AA 96 69 00 04 00 00 90 95");
    rig.reader.fault(CardFault::Truncated { bytes: 7 });
    rig.check(STATUS, "AA AA AA 96 69 00 04");
    assert!(rig.line.is_silent(Duration::from_millis(60)));
    rig.reader.fault(CardFault::BadLength);
    rig.check(STATUS, "AA AA AA 96 69 FF FF 00 00 90 94");
    rig.reader.fault(CardFault::Noise);
    rig.check(STATUS, "AA AA AA AA AA 96 69 00 04 00 00 90 94");
    rig.reader.fault(CardFault::Chopped);
    rig.check(STATUS, OK);
    rig.reader.fault(CardFault::Silence);
    rig.line.send(&bytes(STATUS));
    assert!(rig.line.is_silent(Duration::from_millis(150)));
    rig.reader.mend();
    rig.reader.fault(CardFault::Garbage);
    assert_ne!(rig.line.ask(&bytes(STATUS), 300)[..11], bytes(OK));
    rig.reader.mend();
    rig.check(STATUS, OK);
}

#[test]
fn a_reply_takes_the_time_of_its_wire() {
    let mut rig = rig(IdCardConfig {
        baud: 57_600,
        ..quick()
    });
    rig.insert("adult");
    rig.select();
    rig.line.send(&bytes(READ));
    // 1295 bytes at 57600 baud need 225 ms: not there after 150, whatever this machine does.
    rig.line.receive(11);
    let total = 1295 - 11;
    let mut early = 0;
    while early < total && !rig.line.is_silent(Duration::from_micros(1)) {
        rig.line.receive(1);
        early += 1;
    }
    assert!(early < total, "the whole reply came at once");
    rig.line.receive(total - early);
}

#[test]
fn a_cut_cable_breaks_the_line_and_a_plugged_one_is_at_the_same_path() {
    let mut rig = rig(quick());
    rig.check(STATUS, OK);
    let path = rig.reader.port().to_owned();
    assert!(rig.reader.cut_cable());
    assert!(!path.exists());
    assert!(rustix::io::write(&rig.line.0, &bytes(STATUS)).is_err());
    assert!(rig.reader.plug_cable());
    rig.line = Serial::open(&path);
    rig.check(STATUS, OK);
}

#[test]
fn a_driver_may_close_and_open_its_port() {
    let mut rig = rig(quick());
    for _ in 0..3 {
        rig.line = Serial::open(rig.reader.port());
        rig.check(STATUS, OK);
    }
}
