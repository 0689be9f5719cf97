//! Every dialect against the emulated scanner that was written from the fact sheet, not from the
//! driver: over pseudo-terminals, and HID-POS over USB/IP.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver};
use kiosk_emulators::{
    CodeEncoding, CodeFault, CodeSuffix, HidLayout, QrScanner, QrScannerConfig, ScanMode,
    ScannerDialect,
};
use kiosk_qr_scanner::{Command, Event, Scanner};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(400);

const LINES: [(&str, ScannerDialect); 5] = [
    ("newland", ScannerDialect::Newland),
    ("honeywell", ScannerDialect::Honeywell),
    ("gm65", ScannerDialect::Gm65),
    ("ssi", ScannerDialect::Ssi),
    ("datalogic", ScannerDialect::Datalogic),
];

struct Bench {
    emulator: QrScanner,
    scanner: Scanner,
    _dir: TempDir,
}

fn bench(driver: &str, config: QrScannerConfig, options: &str) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let emulator = QrScanner::start(dir.path(), config).unwrap();
    let port = emulator.port().display();
    let table = format!(
        "id = \"scanner-1\"\nclass = \"qr-scanner\"\ndriver = \"{driver}\"\nport = \"{port}\"\n[options]\n{options}\n"
    );
    let mut scanner = Scanner::new(&toml::from_str(&table).unwrap()).unwrap();
    scanner.open().unwrap();
    Bench {
        emulator,
        scanner,
        _dir: dir,
    }
}

fn config(dialect: ScannerDialect) -> QrScannerConfig {
    QrScannerConfig {
        dialect,
        decode_ms: 20,
        ..QrScannerConfig::default()
    }
}

fn hid(layout: HidLayout, mode: ScanMode) -> QrScannerConfig {
    QrScannerConfig {
        hid_layout: layout,
        mode,
        ..config(ScannerDialect::HidPos)
    }
}

fn scan(scanner: &mut Scanner, limit: Duration) -> (Vec<String>, Completion) {
    let codes = RefCell::new(Vec::new());
    let emit = |Event::Code(code): Event| codes.borrow_mut().push(code.text.expose().clone());
    let cancel = Cancel::default();
    let context = Context::new(limit, &cancel, &emit);
    let completion = scanner.execute(Command::Scan, &context);
    (codes.into_inner(), completion)
}

impl Bench {
    fn scan(&mut self, limit: Duration) -> (Vec<String>, Completion) {
        scan(&mut self.scanner, limit)
    }

    fn check(&mut self, code: &str, encoding: CodeEncoding) {
        self.emulator.present(&encoding.bytes(code)).unwrap();
        let expect = (vec![code.to_owned()], Completion::Success);
        let found = self.scan(LONG);
        assert_eq!(found, expect, "{}", self.emulator.report());
    }

    /// Holds the code before a scanner that looks by itself, while somebody waits for it.
    fn check_presented(&mut self, code: &str) {
        let (end, ended) = sync_channel::<()>(1);
        let Self {
            emulator, scanner, ..
        } = self;
        thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..100 {
                    emulator.present(code.as_bytes()).unwrap();
                    if ended.recv_timeout(Duration::from_millis(150))
                        == Err(RecvTimeoutError::Disconnected)
                    {
                        break;
                    }
                }
            });
            let expect = (vec![code.to_owned()], Completion::Success);
            assert_eq!(scan(scanner, LONG), expect);
            drop(end);
        });
    }

    fn refused(&self) -> u64 {
        self.emulator.report()["refused-commands"].as_u64().unwrap()
    }
}

#[test]
fn every_dialect_reads_short_and_long_codes_in_both_character_sets() {
    let longest = "0123456789abcdef".repeat(255);
    for (driver, dialect) in LINES {
        for suffix in [CodeSuffix::Factory, CodeSuffix::CrLf] {
            let config = QrScannerConfig {
                suffix,
                ..config(dialect)
            };
            let mut bench = bench(driver, config, "");
            bench.check("TESTQR", CodeEncoding::Utf8);
            bench.check("测试回执", CodeEncoding::Gb18030);
            bench.check("第一行\r\n第二行", CodeEncoding::Utf8);
            bench.check(&longest, CodeEncoding::Utf8);
            assert_eq!(bench.scanner.status().unwrap().state, DeviceState::Online);
            assert_eq!(bench.refused(), 0, "{driver} sent what the scanner refuses");
        }
    }
}

#[test]
fn every_dialect_is_found_at_its_other_speed() {
    for (driver, dialect) in LINES {
        for baud in [9600, 115_200] {
            let config = QrScannerConfig {
                baud,
                ..config(dialect)
            };
            bench(driver, config, "").check("TESTQR", CodeEncoding::Utf8);
        }
    }
}

#[test]
fn a_scan_outlives_the_trigger_of_the_scanner() {
    for (driver, dialect) in [LINES[0], LINES[2], LINES[3]] {
        let config = QrScannerConfig {
            trigger_ms: 1000,
            decode_ms: 3500,
            ..config(dialect)
        };
        let mut bench = bench(driver, config, "");
        // The first light goes out before the code is decoded, and the driver lights again.
        let (codes, completion) = bench.scan(Duration::from_millis(4500));
        assert_eq!(
            (codes, completion),
            (vec![], Completion::TimeOut),
            "{driver}"
        );
        assert_eq!(bench.refused(), 0, "{driver}");
    }
}

#[test]
fn codes_that_are_sent_twice_and_damaged_packets_are_one_good_code() {
    for (driver, dialect) in LINES {
        let mut bench = bench(driver, config(dialect), "");
        bench.emulator.fault(CodeFault::Duplicate);
        bench.check("TESTQR", CodeEncoding::Utf8);
    }
    let mut bench = bench("ssi", config(ScannerDialect::Ssi), "");
    bench.emulator.fault(CodeFault::WrongChecksum);
    bench.check(&"0123456789".repeat(60), CodeEncoding::Utf8);
}

#[test]
fn a_raw_ssi_scanner_and_a_packeted_one_read_the_same() {
    for ssi_packets in [false, true] {
        let config = QrScannerConfig {
            ssi_packets,
            ..config(ScannerDialect::Ssi)
        };
        let mut bench = bench("ssi", config, "");
        bench.check("TESTQR", CodeEncoding::Utf8);
        bench.check(&"x".repeat(600), CodeEncoding::Utf8);
    }
}

#[test]
fn a_refused_command_is_a_fault_of_the_configuration() {
    let mut bench = bench("newland", config(ScannerDialect::Newland), "");
    bench.emulator.fault(CodeFault::Nak);
    let (_, completion) = bench.scan(SHORT);
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "qr-scanner.command-refused"),
        "{completion:?}"
    );
}

#[test]
fn commands_and_answers_that_come_damaged_are_sent_again() {
    for (driver, dialect, fault) in [
        ("gm65", ScannerDialect::Gm65, CodeFault::Nak),
        ("gm65", ScannerDialect::Gm65, CodeFault::WrongChecksum),
        ("ssi", ScannerDialect::Ssi, CodeFault::Nak),
        ("ssi", ScannerDialect::Ssi, CodeFault::WrongChecksum),
    ] {
        let mut bench = bench(driver, config(dialect), "");
        bench.emulator.fault(fault);
        bench.check("TESTQR", CodeEncoding::Utf8);
    }
}

#[test]
fn point_of_sale_reports_of_both_layouts_are_put_together() {
    for layout in [HidLayout::Common, HidLayout::Packed] {
        for trigger in ["newland", "honeywell"] {
            let options = format!("trigger = \"{trigger}\"");
            let mut bench = bench("hid-pos", hid(layout, ScanMode::Level), &options);
            bench.check("TESTQR", CodeEncoding::Utf8);
            bench.check(&"0123456789".repeat(12), CodeEncoding::Utf8);
            bench.check(&"测试".repeat(500), CodeEncoding::Gb18030);
            bench.check(&"0123456789abcdef".repeat(255), CodeEncoding::Utf8);
            assert_eq!(bench.refused(), 0);
        }
    }
}

#[test]
fn without_a_trigger_codes_are_taken_only_while_somebody_waits() {
    let mut bench = bench(
        "hid-pos",
        hid(HidLayout::Common, ScanMode::Presentation),
        "",
    );
    bench.emulator.present(b"UNASKED").unwrap();
    bench.scanner.status().unwrap();
    while bench.emulator.report()["code-shown"] == true {
        bench.scanner.status().unwrap();
    }
    assert_eq!(bench.scan(SHORT), (vec![], Completion::TimeOut));
    bench.check_presented("TESTQR");
}

#[test]
fn a_point_of_sale_scanner_says_what_it_is_and_its_plug_can_be_pulled() {
    let mut bench = bench(
        "hid-pos",
        hid(HidLayout::Common, ScanMode::Presentation),
        "",
    );
    let capabilities = bench.scanner.open().unwrap();
    assert_eq!(capabilities.model, "TEST EMU-QR HID-POS");
    assert_eq!(capabilities.abilities, ["presentation"]);
    assert!(bench.emulator.cut_cable());
    assert_eq!(bench.scanner.status().unwrap_err().code, "device.gone");
    bench.scanner.close();
    assert!(bench.emulator.plug_cable());
    bench.scanner.open().unwrap();
    bench.check_presented("TESTQR");
}

#[test]
fn a_keyboard_is_no_point_of_sale_scanner() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = QrScanner::start(dir.path(), config(ScannerDialect::HidKeyboard)).unwrap();
    let table = format!(
        "id = \"scanner-1\"\nclass = \"qr-scanner\"\ndriver = \"hid-pos\"\nport = \"{}\"\n",
        emulator.port().display()
    );
    let mut scanner = Scanner::new(&toml::from_str(&table).unwrap()).unwrap();
    let fault = scanner.open().unwrap_err();
    assert_eq!(fault.code, "device.not-there", "{fault}");
}

#[test]
fn a_scanner_that_is_unplugged_and_plugged_again_reads_on() {
    for (driver, dialect) in LINES {
        let mut bench = bench(driver, config(dialect), "");
        assert!(bench.emulator.cut_cable());
        assert_eq!(bench.scanner.status().unwrap_err().code, "device.gone");
        bench.scanner.close();
        assert_eq!(bench.scanner.open().unwrap_err().code, "device.not-there");
        assert!(bench.emulator.plug_cable());
        bench.scanner.open().unwrap();
        bench.check("TESTQR", CodeEncoding::Utf8);
    }
}
