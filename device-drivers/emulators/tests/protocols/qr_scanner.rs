//! The code scanner over its pseudo terminal, against the vectors of the fact sheet.
use std::time::Duration;

use crate::common::{Serial, bytes};
use kiosk_emulators::{CodeEncoding, QrScanner, QrScannerConfig};

const TRIGGER: &str = "7E 01 30 30 30 30 23 53 43 4E 54 52 47 31 3B 03";
const TRIGGERED: &str = "02 01 30 30 30 30 23 53 43 4E 54 52 47 31 06 3B 03";
const RELEASE: &str = "7E 01 30 30 30 30 23 53 43 4E 54 52 47 30 3B 03";
const RELEASED: &str = "02 01 30 30 30 30 23 53 43 4E 54 52 47 30 06 3B 03";
const QUIET: Duration = Duration::from_millis(80);

struct Rig {
    scanner: QrScanner,
    line: Serial,
    _dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let config = QrScannerConfig {
        baud: 0,
        decode_ms: 0,
        ..QrScannerConfig::default()
    };
    let scanner = QrScanner::start(dir.path(), config).unwrap();
    let line = Serial::open(scanner.port());
    Rig {
        scanner,
        line,
        _dir: dir,
    }
}

impl Rig {
    #[track_caller]
    fn check(&mut self, request: &str, reply: &str) {
        let expect = bytes(reply);
        assert_eq!(
            self.line.ask(&bytes(request), expect.len()),
            expect,
            "{request}"
        );
    }

    fn command(&mut self, body: &str) -> Vec<u8> {
        let mut request = b"\x7E\x010000@".to_vec();
        request.extend(body.as_bytes());
        request.extend(b";\x03");
        self.line.ask(&request, request.len() + 1)
    }
}

#[test]
fn a_triggered_scanner_delivers_the_code_with_its_suffix() {
    let mut rig = rig();
    rig.check(TRIGGER, TRIGGERED);
    assert!(rig.line.is_silent(QUIET));
    rig.scanner.present(b"TESTQR").unwrap();
    assert_eq!(rig.line.receive(8), b"TESTQR\r\n");
    // One trigger reads one code.
    rig.scanner.present(b"SECOND").unwrap();
    assert!(rig.line.is_silent(QUIET));
    rig.check(TRIGGER, TRIGGERED);
    assert_eq!(rig.line.receive(8), b"SECOND\r\n");
}

#[test]
fn a_code_before_a_sleeping_scanner_is_not_read() {
    let mut rig = rig();
    rig.scanner.present(b"TESTQR").unwrap();
    assert!(rig.line.is_silent(QUIET));
    rig.scanner.hide();
    rig.check(TRIGGER, TRIGGERED);
    assert!(rig.line.is_silent(QUIET));
    rig.check(RELEASE, RELEASED);
    rig.scanner.present(b"TESTQR").unwrap();
    assert!(rig.line.is_silent(QUIET));
}

#[test]
fn a_trigger_ends_by_itself() {
    let mut rig = rig();
    assert!(rig.command("ORTSET50").ends_with(b"ORTSET50\x06;\x03"));
    rig.check(TRIGGER, TRIGGERED);
    assert!(rig.line.is_silent(Duration::from_millis(150)));
    rig.scanner.present(b"LATE").unwrap();
    assert!(rig.line.is_silent(QUIET));
}

#[test]
fn presentation_mode_reads_without_a_trigger() {
    let mut rig = rig();
    rig.check(
        "7E 01 30 30 30 30 40 53 43 4E 4D 4F 44 32 3B 03",
        "02 01 30 30 30 30 40 53 43 4E 4D 4F 44 32 06 3B 03",
    );
    let code = CodeEncoding::Gb18030.bytes("测试");
    rig.scanner.present(&code).unwrap();
    assert_eq!(rig.line.receive(6), bytes("B2 E2 CA D4 0D 0A"));
}

#[test]
fn commands_of_the_fact_sheet_are_answered() {
    let mut rig = rig();
    rig.check(
        "7E 01 30 30 30 30 40 53 43 4E 54 43 45 31 3B 03",
        "02 01 30 30 30 30 40 53 43 4E 54 43 45 31 06 3B 03",
    );
    rig.check(
        "7E 01 30 30 30 30 40 32 33 32 42 41 44 38 3B 03",
        "02 01 30 30 30 30 40 32 33 32 42 41 44 38 06 3B 03",
    );
    rig.check(
        "7E 01 30 30 30 30 40 46 41 43 44 45 46 3B 03",
        "02 01 30 30 30 30 40 46 41 43 44 45 46 06 3B 03",
    );
    rig.check(
        "7E 01 30 30 30 30 40 43 31 31 45 4E 41 31 2C 4D 49 4E 31 32 2C 4D 41 58 32 32 3B 03",
        "02 01 30 30 30 30 40 43 31 31 45 4E 41 31 06 2C 4D 49 4E 31 32 06 2C 4D 41 58 32 32 06 3B 03",
    );
    rig.check(
        "7E 01 30 30 30 30 40 44 46 4D 41 44 44 30 36 39 39 39 30 30 33 39 39 39 39 46 31 34 31 3B 03",
        "02 01 30 30 30 30 40 44 46 4D 41 44 44 30 36 39 39 39 30 30 33 39 39 39 39 46 31 34 31 06 3B 03",
    );
    assert!(rig.command("SCNMOD9").ends_with(b"SCNMOD9\x15;\x03"));
    assert!(rig.command("ABCDEF1").ends_with(b"ABCDEF1\x05;\x03"));
}

#[test]
fn the_short_trigger_needs_permission() {
    let mut rig = rig();
    rig.scanner.present(b"TESTQR").unwrap();
    rig.line.send(&[0x1B, 0x31]);
    assert!(rig.line.is_silent(QUIET));
    rig.command("SCNTCE1");
    rig.line.send(&[0x1B, 0x31]);
    assert_eq!(rig.line.receive(8), b"TESTQR\r\n");
}

#[test]
fn a_cable_cut_and_plugged_leaves_a_fresh_scanner() {
    let mut rig = rig();
    rig.command("SCNMOD2");
    assert!(rig.scanner.cut_cable());
    assert!(!rig.scanner.port().exists());
    assert!(rig.scanner.plug_cable());
    rig.line = Serial::open(rig.scanner.port());
    rig.scanner.present(b"TESTQR").unwrap();
    assert!(rig.line.is_silent(QUIET));
    rig.check(TRIGGER, TRIGGERED);
    assert_eq!(rig.line.receive(8), b"TESTQR\r\n");
}

#[test]
fn a_code_too_long_for_any_symbol_is_refused() {
    assert!(rig().scanner.present(&[b'A'; 5000]).is_err());
}
