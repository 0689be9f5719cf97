//! The code scanner over its pseudo terminal, against the vectors of the fact sheet.
use std::time::Duration;

use crate::common::{Serial, bytes};
use kiosk_emulators::{
    CodeEncoding, CodeFault, CodeSuffix, Misbehavior, QrScanner, QrScannerConfig, ScanMode,
    ScannerDialect,
};

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
    rig_of(&QrScannerConfig::default())
}

fn rig_of(config: &QrScannerConfig) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let config = QrScannerConfig {
        baud: 0,
        decode_ms: 0,
        ..config.clone()
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

fn dialect(dialect: ScannerDialect) -> Rig {
    rig_of(&QrScannerConfig {
        dialect,
        ..QrScannerConfig::default()
    })
}

#[test]
fn honeywell_is_triggered_and_asked() {
    let mut rig = dialect(ScannerDialect::Honeywell);
    rig.scanner.present(b"TESTQR").unwrap();
    assert!(rig.line.is_silent(QUIET));
    rig.line.send(&bytes("16 54 0D"));
    assert_eq!(rig.line.receive(7), b"TESTQR\r");
    rig.line.send(&bytes("16 4D 0D 52 45 56 49 4E 46 2E"));
    let reply = rig.line.receive(21);
    assert!(reply.starts_with(b"REVINF: ") && reply.ends_with(b"\x06."));
    rig.check(
        "16 4D 0D 54 45 52 4D 49 44 31 33 30 2E",
        "54 45 52 4D 49 44 31 33 30 06 2E",
    );
    // Untriggered, it reads nothing.
    rig.line.send(&bytes("16 54 0D 16 55 0D"));
    assert!(rig.line.is_silent(QUIET));
    rig.scanner.present(b"LATE").unwrap();
    assert!(rig.line.is_silent(QUIET));
}

#[test]
fn gm65_says_ok_before_the_code() {
    let mut rig = dialect(ScannerDialect::Gm65);
    rig.scanner.present(b"TESTQR").unwrap();
    rig.check("7E 00 08 01 00 02 01 AB CD", "02 00 00 01 00 33 31");
    assert_eq!(rig.line.receive(7), b"TESTQR\r");
    rig.check("7E 00 08 01 00 02 02 32 B9", "02 00 00 01 00 33 31");
    rig.check("7E 00 08 01 00 02 01 02 DB", "02 00 01 01 00 04 01");
    rig.check("7E 00 05 01 00 02 01 AB CD", "02 00 03 01 00 6A 61");
    rig.scanner.fault(CodeFault::WrongChecksum);
    rig.check("7E 00 09 01 00 00 00 DE C8", "02 00 00 01 00 33 30");
}

#[test]
fn ssi_goes_by_packets_that_are_acknowledged() {
    let mut rig = rig_of(&QrScannerConfig {
        dialect: ScannerDialect::Ssi,
        ssi_kind: 0x03,
        ..QrScannerConfig::default()
    });
    let data = "0C F3 00 00 03 54 45 53 54 31 32 33 FD 28";
    rig.scanner.present(b"TEST123").unwrap();
    // A zero wakes it.
    rig.check("00 04 E4 04 00 FF 14", "04 D0 00 00 FF 2C");
    assert_eq!(rig.line.receive(14), bytes(data));
    // Not understood: once more, marked as such.
    rig.check(
        "05 D1 04 00 01 FF 25",
        "0C F3 00 01 03 54 45 53 54 31 32 33 FD 27",
    );
    rig.line.send(&bytes("04 D0 04 00 FF 28"));
    assert!(rig.line.is_silent(QUIET));
    // A damaged packet, and one that is refused.
    rig.scanner.fault(CodeFault::WrongChecksum);
    rig.check("04 E4 04 00 FF 14", "04 D0 00 00 FF 2D");
    rig.scanner.fault(CodeFault::Nak);
    rig.check("04 E5 04 00 FF 13", "05 D1 00 00 01 FF 29");
    rig.check("07 C6 04 08 00 8A 08 FE 95", "04 D0 00 00 FF 2C");
}

#[test]
fn a_code_of_4_kib_comes_whole_in_every_dialect() {
    let code = vec![b'A'; 4096];
    for (name, trigger, reply) in [
        (ScannerDialect::Newland, TRIGGER, 16 + 1),
        (ScannerDialect::Honeywell, "16 54 0D", 0),
        (ScannerDialect::Gm65, "7E 00 08 01 00 02 01 AB CD", 7),
        (ScannerDialect::Datalogic, "54", 0),
    ] {
        let mut rig = rig_of(&QrScannerConfig {
            dialect: name,
            suffix: CodeSuffix::None,
            ..QrScannerConfig::default()
        });
        rig.line.send(&bytes(trigger));
        rig.line.receive(reply);
        rig.scanner.present(&code).unwrap();
        assert_eq!(rig.line.receive(4096), code, "{name:?}");
        assert!(rig.line.is_silent(QUIET), "{name:?}");
    }
    let mut rig = dialect(ScannerDialect::Ssi);
    rig.scanner.present(&code).unwrap();
    rig.check("04 E4 04 00 FF 14", "04 D0 00 00 FF 2C");
    let mut got = Vec::new();
    while got.len() < 4096 {
        let head = rig.line.receive(5);
        let more = usize::from(head[0]) - 5;
        got.extend(rig.line.receive(more));
        rig.line.receive(2);
        let is_last = head[3] & 0x02 == 0;
        assert_eq!(is_last, got.len() == 4096);
        rig.line.send(&bytes("04 D0 04 00 FF 28"));
    }
    assert_eq!(got, code);
}

#[test]
fn datalogic_obeys_single_bytes() {
    let mut rig = dialect(ScannerDialect::Datalogic);
    rig.scanner.present(b"TESTQR").unwrap();
    rig.line.send(b"D");
    rig.line.send(b"T");
    assert!(rig.line.is_silent(QUIET));
    rig.line.send(b"ET");
    assert_eq!(rig.line.receive(8), b"TESTQR\r\n");
    rig.line.send(b"i");
    assert_eq!(rig.line.receive(13), b"EMU-DL 1.00\r\n");
}

#[test]
fn a_code_can_come_twice_and_without_a_trigger() {
    let mut rig = rig_of(&QrScannerConfig {
        mode: ScanMode::Presentation,
        suffix: CodeSuffix::Cr,
        ..QrScannerConfig::default()
    });
    rig.scanner.fault(CodeFault::Duplicate);
    rig.scanner.present(b"TESTQR").unwrap();
    assert_eq!(rig.line.receive(14), b"TESTQR\rTESTQR\r");
    rig.scanner.mend();
    rig.scanner.present(b"ONCE").unwrap();
    assert_eq!(rig.line.receive(5), b"ONCE\r");
    assert!(rig.line.is_silent(QUIET));
}

#[test]
fn a_refused_command_is_refused_in_the_words_of_its_dialect() {
    let mut rig = rig();
    rig.scanner.fault(CodeFault::Nak);
    rig.check(
        TRIGGER,
        "02 01 30 30 30 30 23 53 43 4E 54 52 47 31 15 3B 03",
    );
    rig.check(TRIGGER, TRIGGERED);
}

#[test]
fn garbage_without_end_comes_unasked() {
    let mut rig = rig();
    rig.scanner.misbehave(Misbehavior::EndlessGarbage);
    rig.line.receive(500);
    rig.scanner.mend();
    let mut rest = 0;
    while !rig.line.is_silent(QUIET) {
        rig.line.receive(1);
        rest += 1;
        assert!(rest < 20_000, "it never ends");
    }
    rig.check(TRIGGER, TRIGGERED);
}

#[test]
fn a_scanner_that_vanishes_leaves_no_reply_and_no_path() {
    let mut rig = rig();
    rig.scanner.misbehave(Misbehavior::Vanish);
    rig.line.send(&bytes(TRIGGER));
    crate::common::until("the scanner is gone", || !rig.scanner.port().exists());
    assert!(rig.scanner.plug_cable());
    rig.line = Serial::open(rig.scanner.port());
    rig.check(TRIGGER, TRIGGERED);
}

#[test]
fn a_scanner_that_heeds_its_speed_understands_only_that() {
    let dir = tempfile::tempdir().unwrap();
    let config = QrScannerConfig {
        baud: 9600,
        heeds_speed: true,
        ..QrScannerConfig::default()
    };
    let scanner = QrScanner::start(dir.path(), config).unwrap();
    let mut line = Serial::open(scanner.port());
    line.set_speed(115_200);
    line.send(&bytes(TRIGGER));
    assert!(line.is_silent(QUIET));
    line.set_speed(9600);
    assert_eq!(line.ask(&bytes(TRIGGER), 17), bytes(TRIGGERED));
    // Told to be faster, it answers at the old speed and then only at the new one.
    line.send(b"\x7E\x010000@232BAD8;\x03");
    assert!(line.receive(17).ends_with(b"232BAD8\x06;\x03"));
    line.send(&bytes(TRIGGER));
    assert!(line.is_silent(QUIET));
    line.set_speed(115_200);
    assert_eq!(line.ask(&bytes(TRIGGER), 17), bytes(TRIGGERED));
}
