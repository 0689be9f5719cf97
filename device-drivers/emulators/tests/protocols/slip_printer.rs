//! The slip printer over TCP and a pseudo terminal, against the vectors of the fact sheet.
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::common::{Serial, bytes, connect, receive, until};
use kiosk_emulators::{Misbehavior, SlipOutcome, SlipPrinter, SlipPrinterConfig, SlipTransport};

const RECEIPT: &str = "1B 40 1C 26 1B 61 01 1D 21 11 B2 E2 CA D4 BB D8 D6 B4 0A 1D 21 00 1B 61
00 B1 E0 BA C5 3A 30 30 30 31 0A 1B 61 01 1D 28 6B 04 00 31 41 32 00 1D
28 6B 03 00 31 43 06 1D 28 6B 03 00 31 45 31 1D 28 6B 09 00 31 50 30 54
45 53 54 51 52 1D 28 6B 03 00 31 51 30 1B 64 04 1D 56 42 00";
const ECHO: &str = "1D 28 48 06 00 30 30 41 42 43 44";

struct Rig {
    printer: SlipPrinter,
    line: TcpStream,
    _dir: tempfile::TempDir,
}

fn rig(config: SlipPrinterConfig) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let printer = SlipPrinter::start(dir.path(), config).unwrap();
    let line = connect(printer.port().strip_prefix("tcp:").unwrap());
    Rig {
        printer,
        line,
        _dir: dir,
    }
}

fn quick() -> SlipPrinterConfig {
    SlipPrinterConfig {
        speed_mm_per_s: 5000,
        ..SlipPrinterConfig::default()
    }
}

impl Rig {
    fn send(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).unwrap();
    }

    #[track_caller]
    fn status(&mut self, expect: &str) {
        self.send(&bytes("10 04 01 10 04 02 10 04 03 10 04 04"));
        assert_eq!(receive(&mut self.line, 4), bytes(expect));
    }

    /// Waits until everything sent so far has been printed.
    fn finish(&mut self) {
        self.send(&bytes(ECHO));
        assert_eq!(receive(&mut self.line, 7), bytes("37 22 41 42 43 44 00"));
    }

    /// A black picture of the whole width.
    fn send_black(&mut self, rows: u16) {
        let mut command = bytes("1D 76 30 00 48 00");
        command.extend(rows.to_le_bytes());
        command.extend(vec![0xFF; 72 * usize::from(rows)]);
        self.send(&command);
    }
}

#[test]
fn the_receipt_of_the_fact_sheet_becomes_a_picture() {
    let mut rig = rig(quick());
    rig.send(&bytes(RECEIPT));
    rig.finish();
    let slips = rig.printer.prints();
    assert_eq!(slips.len(), 1);
    assert_eq!(slips[0].outcome, SlipOutcome::Complete);
    let picture = image::open(&slips[0].file).unwrap().to_luma8();
    // Double line 48, line 30, code of 21 × 6 modules, four lines of 30.
    assert_eq!(
        (picture.width(), picture.height()),
        (608, 48 + 30 + 126 + 120)
    );
    assert_eq!(slips[0].height_mm, 324_u32.div_ceil(8));
    // The code is centered: its left top finder pattern is black, the paper beside it white.
    let left = 16 + (576 - 126) / 2;
    assert_eq!(picture.get_pixel(left, 78).0, [0]);
    assert_eq!(picture.get_pixel(left - 1, 78).0, [255]);
    assert_eq!(rig.printer.errors(), Vec::<String>::new());
}

#[test]
fn statuses_equal_the_fact_sheet() {
    let mut rig = rig(quick());
    rig.status("12 12 12 12");
    rig.printer.set_cover(true);
    rig.status("1A 16 12 12");
    rig.printer.set_cover(false);
    rig.printer.set_paper_mm(10);
    rig.status("12 12 12 1E");
    rig.printer.set_paper_mm(0);
    rig.status("1A 32 12 7E");
    rig.printer.refill();
    rig.printer.set_head_hot(true);
    rig.status("1A 52 52 12");
    rig.printer.set_head_hot(false);
    rig.printer.set_on_line(false);
    rig.status("1A 12 12 12");
    rig.printer.set_on_line(true);
    rig.status("12 12 12 12");
    rig.send(&bytes("10 04 14"));
    assert_eq!(receive(&mut rig.line, 6), bytes("10 0F 00 00 00 00"));
    rig.send(&bytes("1D 72 01 1D 49 01"));
    assert_eq!(receive(&mut rig.line, 2), bytes("00 20"));
}

#[test]
fn changes_are_reported_by_themselves() {
    let mut rig = rig(quick());
    rig.send(&bytes("1D 61 0F"));
    assert_eq!(receive(&mut rig.line, 4), bytes("10 00 00 00"));
    rig.printer.set_cover(true);
    assert_eq!(receive(&mut rig.line, 4), bytes("38 00 00 00"));
    rig.printer.set_cover(false);
    assert_eq!(receive(&mut rig.line, 4), bytes("10 00 00 00"));
    rig.printer.set_paper_mm(0);
    assert_eq!(receive(&mut rig.line, 4), bytes("18 00 0F 00"));
}

#[test]
fn a_jammed_cutter_holds_the_slip_until_a_person_frees_it() {
    let mut rig = rig(quick());
    rig.printer.jam_cutter();
    rig.send_black(80);
    rig.send(&bytes("1D 56 42 00"));
    until("the cutter jams", || {
        rig.printer.report()["cutter-jammed"] == true
    });
    rig.status("1A 52 1A 12");
    assert!(rig.printer.prints().is_empty());
    rig.printer.clear_jam();
    rig.finish();
    assert_eq!(rig.printer.prints()[0].outcome, SlipOutcome::Uncut);
    rig.status("12 12 12 12");
}

#[test]
fn paper_that_ends_in_the_middle_tears_the_slip_and_the_rest_is_not_printed() {
    let mut rig = rig(quick());
    rig.printer.set_paper_mm(20);
    rig.send_black(400);
    rig.send(&bytes("1D 56 42 00"));
    rig.send(&bytes(ECHO));
    until("the slip is torn", || !rig.printer.prints().is_empty());
    let slip = rig.printer.prints().remove(0);
    assert_eq!((slip.outcome, slip.height_mm), (SlipOutcome::Torn, 20));
    assert_eq!(image::open(&slip.file).unwrap().height(), 160);
    rig.status("1A 32 12 7E");
    rig.printer.refill();
    // The echo of the torn slip never comes; the next slip starts clean.
    rig.send(&bytes("1B 40"));
    rig.send_black(8);
    rig.send(&bytes("1D 56 00"));
    rig.finish();
    let slips = rig.printer.prints();
    assert_eq!((slips.len(), slips[1].outcome), (2, SlipOutcome::Complete));
    assert_eq!(slips[1].height_mm, 1);
}

#[test]
fn a_printer_that_resumes_prints_the_rest_on_the_new_roll() {
    let mut rig = rig(SlipPrinterConfig {
        resumes_after_paper_end: true,
        ..quick()
    });
    rig.printer.set_paper_mm(20);
    rig.send_black(400);
    rig.send(&bytes("1D 56 42 00"));
    until("the slip is torn", || !rig.printer.prints().is_empty());
    rig.printer.refill();
    rig.finish();
    let heights: Vec<u32> = rig
        .printer
        .prints()
        .iter()
        .map(|slip| slip.height_mm)
        .collect();
    assert_eq!(heights, [20, 30]);
}

#[test]
fn an_open_cover_pauses_and_buffers_can_be_cleared() {
    let mut rig = rig(quick());
    rig.printer.set_cover(true);
    rig.send_black(80);
    rig.send(&bytes("1D 56 00"));
    rig.status("1A 16 12 12");
    assert!(rig.printer.prints().is_empty());
    rig.send(&bytes("10 05 02"));
    rig.printer.set_cover(false);
    rig.finish();
    assert!(rig.printer.prints().is_empty());
}

#[test]
fn rows_take_their_time() {
    let mut rig = rig(SlipPrinterConfig {
        speed_mm_per_s: 100,
        ..SlipPrinterConfig::default()
    });
    // 50 mm at 100 mm/s: half a second.
    rig.send_black(400);
    rig.send(&bytes("1D 56 00"));
    rig.status("12 12 12 12");
    rig.line
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    rig.send(&bytes(ECHO));
    let mut early = [0];
    assert!(
        std::io::Read::read(&mut rig.line, &mut early).is_err(),
        "it was too fast"
    );
    rig.line
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(receive(&mut rig.line, 7), bytes("37 22 41 42 43 44 00"));
    assert_eq!(rig.printer.prints().len(), 1);
}

#[test]
fn graphics_and_raster_print_the_same_dots() {
    let mut rig = rig(quick());
    rig.send(&bytes("1D 76 30 00 01 00 02 00 FF 81 1D 56 00"));
    rig.send(&bytes(
        "1D 28 4C 0C 00 30 70 30 01 01 31 08 00 02 00 FF 81 1D 28 4C 02 00 30 32 1D 56 00",
    ));
    rig.send(&bytes(
        "1D 38 4C 0C 00 00 00 30 70 30 01 01 31 08 00 02 00 FF 81 1D 28 4C 02 00 30 32 1D 56 00",
    ));
    rig.finish();
    let pictures: Vec<_> = rig
        .printer
        .prints()
        .iter()
        .map(|slip| image::open(&slip.file).unwrap().to_luma8())
        .collect();
    assert_eq!(pictures.len(), 3);
    assert!(pictures.iter().all(|picture| *picture == pictures[0]));
    assert_eq!(pictures[0].get_pixel(16, 1).0, [0]);
    assert_eq!(pictures[0].get_pixel(17, 1).0, [255]);
}

#[test]
fn strange_commands_are_kept_as_errors() {
    let mut rig = rig(quick());
    rig.send(&bytes("1B 7A 1D 76 30 00 50 00 01 00"));
    rig.send(&[0; 80]);
    rig.finish();
    let errors = rig.printer.errors();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].ends_with("1B 7A"));
    assert!(errors[1].contains("wider"));
}

#[test]
fn the_size_of_a_code_can_be_asked() {
    let mut rig = rig(quick());
    rig.send(&bytes(
        "1D 28 6B 03 00 31 43 06 1D 28 6B 09 00 31 50 30 54 45 53 54 51 52",
    ));
    rig.send(&bytes("1D 28 6B 03 00 31 52 30"));
    assert_eq!(
        receive(&mut rig.line, 13),
        b"\x37\x36126\x1F126\x1F\x31\x1F\x30"
    );
}

#[test]
fn a_cut_cable_refuses_and_a_plugged_one_keeps_the_port() {
    let mut rig = rig(quick());
    let address = rig.printer.port().strip_prefix("tcp:").unwrap().to_owned();
    assert!(rig.printer.cut_cable());
    assert!(TcpStream::connect(&address).is_err());
    assert!(rig.printer.plug_cable());
    rig.line = connect(&address);
    rig.status("12 12 12 12");
}

#[test]
fn the_same_protocol_runs_on_a_serial_line() {
    let dir = tempfile::tempdir().unwrap();
    let config = SlipPrinterConfig {
        transport: SlipTransport::Serial,
        baud: 0,
        ..quick()
    };
    let printer = SlipPrinter::start(dir.path(), config).unwrap();
    let port = printer.port();
    let mut line = Serial::open(std::path::Path::new(port.strip_prefix("serial:").unwrap()));
    assert_eq!(line.ask(&bytes("10 04 01"), 1), [0x12]);
    line.send(&bytes(RECEIPT));
    assert_eq!(line.ask(&bytes(ECHO), 7), bytes("37 22 41 42 43 44 00"));
    assert_eq!(printer.prints().len(), 1);
    printer.garble();
    assert_ne!(line.ask(&bytes("10 04 01"), 1), [0x12]);
}

#[test]
fn taking_the_paper_is_seen() {
    let mut rig = rig(quick());
    rig.send_black(8);
    rig.send(&bytes("1D 56 00"));
    rig.finish();
    assert!(!rig.printer.prints()[0].taken);
    rig.send(&bytes("10 04 14"));
    assert_eq!(receive(&mut rig.line, 6)[2], 0x20);
    rig.printer.take_paper();
    assert!(rig.printer.prints()[0].taken);
}

#[test]
fn a_presenter_holds_the_slip_until_it_is_presented_and_taken() {
    let mut rig = rig(SlipPrinterConfig {
        has_presenter: true,
        ..quick()
    });
    rig.send(&bytes("1D E0 01"));
    assert_eq!(receive(&mut rig.line, 6), bytes("10 0F 00 00 00 00"));
    rig.send(&bytes("1D E0 00 1B 40"));
    rig.send_black(40);
    rig.send(&bytes("1D 56 42 00"));
    rig.finish();
    assert_eq!(rig.printer.report()["ticket-in-presenter"], true);
    rig.printer.take_paper();
    assert!(!rig.printer.prints()[0].taken, "it is still inside");
    // Presented: the sensor of the mouth sees it.
    rig.send(&bytes("1D 65 03 50 1D 65 06"));
    assert_eq!(receive(&mut rig.line, 1), bytes("0C"));
    rig.send(&bytes("10 04 14"));
    assert_eq!(receive(&mut rig.line, 6), bytes("10 0F 20 00 00 00"));
    rig.printer.take_paper();
    assert!(rig.printer.prints()[0].taken);
    rig.send(&bytes("10 04 14"));
    assert_eq!(receive(&mut rig.line, 6), bytes("10 0F 00 00 00 00"));
    // The next one is drawn back.
    rig.send_black(40);
    rig.send(&bytes("1D 56 42 00 1D 65 03 50 1D 65 01"));
    rig.finish();
    assert_eq!(rig.printer.prints()[1].outcome, SlipOutcome::Retracted);
    assert_eq!(rig.printer.errors(), Vec::<String>::new());
}

#[test]
fn a_board_without_echo_and_presenter_steps_over_both() {
    let mut rig = rig(SlipPrinterConfig {
        echoes: false,
        ..quick()
    });
    rig.send(&bytes(ECHO));
    rig.send(&bytes("1D 65 05 1D 72 01"));
    assert_eq!(receive(&mut rig.line, 1), bytes("00"));
    assert_eq!(rig.printer.errors(), ["there is no presenter"]);
}

#[test]
fn a_misbehaving_printer_prints_and_does_not_answer() {
    let mut rig = rig(quick());
    rig.printer.misbehave(Misbehavior::Silence);
    rig.send(&bytes("10 04 01"));
    rig.send_black(8);
    rig.send(&bytes("1D 56 42 00"));
    until("the slip is printed", || rig.printer.prints().len() == 1);
    rig.printer.mend();
    rig.status("12 12 12 12");
    rig.printer.misbehave(Misbehavior::Vanish);
    rig.send(&bytes("10 04 01"));
    until("the printer is gone", || {
        rig.printer.report()["cable"] == false
    });
}
