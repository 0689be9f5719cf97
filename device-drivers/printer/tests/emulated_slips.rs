//! The slip printer driver against the emulated printer, which was written from the fact sheet alone,
//! over every transport: whole prints, and every fault that a roll of paper knows.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kiosk_device::{
    Cancel, Completion, Context, DeviceState, Driver, Media, Sensitive, Status, Supply,
};
use kiosk_emulators::{
    Misbehavior, SlipOutcome, SlipPrinter as Emulator, SlipPrinterConfig, SlipTransport,
};
use kiosk_printer::escpos::{
    Align, Command, Edge, Element, Event, QrCode, QrLevel, SlipPrinter, SlipRaster, SlipText,
    TextLine,
};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(40);
/// Steps of one test's wait for something of the emulator.
const STEPS_MAX: u32 = 400;
const STEP: Duration = Duration::from_millis(20);

struct Bench {
    emulator: Arc<Emulator>,
    driver: SlipPrinter,
    _folder: TempDir,
}

fn bench(config: SlipPrinterConfig, options: &str) -> Bench {
    let folder = TempDir::new().unwrap();
    let emulator = Arc::new(Emulator::start(folder.path(), config).unwrap());
    let port = emulator.port();
    let port = port.strip_prefix("serial:").unwrap_or(&port);
    let config = format!(
        "id = \"slip-1\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\nport = \"{port}\"\n[options]\n{options}"
    );
    let driver = SlipPrinter::new(&toml::from_str(&config).unwrap()).unwrap();
    Bench {
        emulator,
        driver,
        _folder: folder,
    }
}

fn over(transport: SlipTransport) -> SlipPrinterConfig {
    SlipPrinterConfig {
        transport,
        ..SlipPrinterConfig::default()
    }
}

/// A slip of so many millimetres, black at the edge.
fn slip(mm: usize) -> Command {
    Command::Print(SlipRaster {
        width_dots: 576,
        rows: [[0xFF; 4].as_slice(), &[0; 68]].concat().repeat(mm * 8),
    })
}

fn word(event: &Event) -> String {
    match event {
        Event::Progress { .. } => "progress".to_owned(),
        Event::Stopped(fault) => fault.code.to_owned(),
        Event::Resumed => "resumed".to_owned(),
        Event::Presented => "presented".to_owned(),
        Event::Taken => "taken".to_owned(),
        Event::Retracted => "retracted".to_owned(),
    }
}

fn code(completion: &Completion) -> &str {
    match completion {
        Completion::NotReady(fault) | Completion::Failed(fault) => fault.code,
        Completion::Success => "success",
        Completion::Canceled => "canceled",
        Completion::TimeOut => "time-out",
    }
}

impl Bench {
    /// Prints; `on_event` may act on what the driver tells. The words come without progress.
    fn print(
        &mut self,
        command: Command,
        on_event: impl Fn(&Emulator, &Event, &Cancel),
    ) -> (Vec<String>, Completion) {
        let words = RefCell::new(Vec::new());
        let cancel = Cancel::default();
        let emulator = &self.emulator;
        let emit = |event: Event| {
            on_event(emulator, &event, &cancel);
            if !matches!(event, Event::Progress { .. }) {
                words.borrow_mut().push(word(&event));
            }
        };
        let context = Context::new(LONG, &cancel, &emit);
        let completion = self.driver.execute(command, &context);
        (words.into_inner(), completion)
    }

    fn outcomes(&self) -> Vec<SlipOutcome> {
        let prints = self.emulator.prints();
        prints.iter().map(|print| print.outcome).collect()
    }

    /// Asks until the status is as wanted; the last one when it never is.
    fn status_until(&mut self, is_wanted: impl Fn(&Status) -> bool) -> Status {
        let cancel = Cancel::default();
        let emit = |()| {};
        let context = Context::new(LONG, &cancel, &emit);
        for _ in 0..STEPS_MAX {
            let status = self.driver.status().unwrap();
            if is_wanted(&status) || context.pause(STEP).is_err() {
                return status;
            }
        }
        self.driver.status().unwrap()
    }

    fn assert_strict(&self) {
        assert_eq!(self.emulator.errors(), Vec::<String>::new());
    }
}

fn ignore(_: &Emulator, _: &Event, _: &Cancel) {}

fn has(status: &Status, code: &str) -> bool {
    status.faults.iter().any(|fault| fault.code == code)
}

fn check_transport(transport: SlipTransport, model: &str) {
    let mut bench = bench(over(transport), "");
    let capabilities = bench.driver.open().unwrap();
    assert_eq!(capabilities.model, model);
    let (words, completion) = bench.print(slip(30), ignore);
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["presented"]);
    assert_eq!(bench.outcomes(), [SlipOutcome::Complete]);
    assert!(bench.emulator.prints()[0].height_mm >= 30);
    assert_eq!(
        bench.driver.status().unwrap().readings["confirmation"],
        "process-id"
    );
    bench.assert_strict();
}

/// The first black column of the newest slip, of the paper's dots.
fn first_column(bench: &Bench) -> u32 {
    let file = bench.emulator.prints().pop().unwrap().file;
    let picture = image::open(file).unwrap().into_luma8();
    let is_black = |x: &u32| (0..picture.height()).any(|y| picture.get_pixel(*x, y).0[0] < 128);
    (0..picture.width()).find(is_black).unwrap()
}

#[test]
fn a_moved_slip_comes_out_just_so_far_beside_the_other() {
    let mut bench = bench(over(SlipTransport::Tcp), "");
    bench.driver.open().unwrap();
    let slip = || SlipRaster {
        width_dots: 576,
        rows: [[0; 9].as_slice(), &[0xFF; 8], &[0; 55]]
            .concat()
            .repeat(80),
    };
    let (_, completion) = bench.print(Command::Print(slip()), ignore);
    assert_eq!(completion, Completion::Success);
    let before = first_column(&bench);
    for dots in [13, -16, 3] {
        let (moved, by) = slip().shifted(dots, 576, Edge::Keep);
        assert_eq!(by, dots);
        let (_, completion) = bench.print(Command::Print(moved), ignore);
        assert_eq!(completion, Completion::Success);
        assert_eq!(
            first_column(&bench),
            before.checked_add_signed(dots).unwrap()
        );
    }
    bench.assert_strict();
}

#[test]
fn a_slip_is_printed_over_tcp() {
    check_transport(SlipTransport::Tcp, "EMU80");
}

#[test]
fn a_slip_is_printed_over_a_serial_line() {
    check_transport(SlipTransport::Serial, "EMU80");
}

#[test]
fn a_slip_is_printed_over_usb() {
    check_transport(SlipTransport::Usb, "TEST EMU80");
}

#[test]
fn a_usb_printer_is_known_by_its_device_id_and_another_one_is_refused() {
    let mut right = bench(over(SlipTransport::Usb), "device_id = \"EMU80\"");
    assert_eq!(right.driver.open().unwrap().serial, "EMU0000001");
    let mut wrong = bench(over(SlipTransport::Usb), "device_id = \"XP-T58H\"");
    assert_eq!(
        wrong.driver.open().unwrap_err().code,
        "printer.other-device"
    );
}

#[test]
fn a_usb_printer_without_a_way_back_degrades_to_its_port_status() {
    let config = SlipPrinterConfig {
        is_uni_directional: true,
        speed_mm_per_s: 300,
        ..over(SlipTransport::Usb)
    };
    let mut bench = bench(config, "");
    let capabilities = bench.driver.open().unwrap();
    assert!(capabilities.abilities.contains(&"status-port".to_owned()));
    let (words, completion) = bench.print(slip(30), ignore);
    assert_eq!(
        (words, completion),
        (vec!["presented".to_owned()], Completion::Success)
    );
    assert_eq!(bench.outcomes(), [SlipOutcome::Complete]);
    let status = bench.driver.status().unwrap();
    assert_eq!(
        (status.state, status.paper),
        (DeviceState::Online, Supply::Unknown)
    );
    bench.emulator.set_paper_mm(0);
    let status = bench.driver.status().unwrap();
    assert_eq!(
        (status.state, status.paper),
        (DeviceState::UserError, Supply::Out)
    );
    let (_, completion) = bench.print(slip(30), ignore);
    assert!(matches!(completion, Completion::NotReady(_)));
    bench.assert_strict();
}

#[test]
fn a_printer_without_the_echo_is_believed_by_its_answer_in_turn() {
    let config = SlipPrinterConfig {
        echoes: false,
        port_status_is_fixed: true,
        ..over(SlipTransport::Usb)
    };
    let mut bench = bench(config, "");
    bench.driver.open().unwrap();
    let (words, completion) = bench.print(slip(40), ignore);
    assert_eq!(
        (words, completion),
        (vec!["presented".to_owned()], Completion::Success)
    );
    // It was out when this was claimed.
    assert_eq!(bench.outcomes(), [SlipOutcome::Complete]);
    assert_eq!(
        bench.driver.status().unwrap().readings["confirmation"],
        "in-turn"
    );
    bench.assert_strict();
}

fn check_paper_end(config: SlipPrinterConfig) {
    let mut bench = bench(config, "");
    bench.driver.open().unwrap();
    bench.emulator.set_paper_mm(90);
    let (words, completion) = bench.print(slip(120), ignore);
    assert_eq!(words, ["printer.media-empty"]);
    assert!(matches!(completion, Completion::Failed(_)));
    assert_eq!(code(&completion), "printer.media-empty");
    bench.emulator.refill();
    let status = bench.status_until(|status| status.state == DeviceState::Online);
    assert_eq!(status.state, DeviceState::Online);
    let (words, completion) = bench.print(slip(20), ignore);
    assert_eq!(
        (words, completion),
        (vec!["presented".to_owned()], Completion::Success)
    );
    // The torn piece and the whole slip, and nothing printed twice.
    assert_eq!(bench.outcomes(), [SlipOutcome::Torn, SlipOutcome::Complete]);
    bench.assert_strict();
}

#[test]
fn e8_paper_that_ends_in_the_middle_is_never_a_success() {
    check_paper_end(over(SlipTransport::Tcp));
    check_paper_end(SlipPrinterConfig {
        echoes: false,
        ..over(SlipTransport::Tcp)
    });
}

#[test]
fn how_much_came_out_before_the_paper_ended_is_known() {
    let mut bench = bench(over(SlipTransport::Tcp), "");
    bench.driver.open().unwrap();
    bench.emulator.set_paper_mm(90);
    let (_, completion) = bench.print(slip(120), ignore);
    // 90 mm are 720 rows; the last echo came behind 512.
    assert!(
        matches!(&completion, Completion::Failed(fault)
            if fault.detail.ends_with("at least 512 of 960 rows are out")),
        "{completion:?}"
    );
}

#[test]
fn e9_the_end_of_the_roll_is_seen_while_nothing_is_printed() {
    let mut bench = bench(over(SlipTransport::Serial), "");
    bench.driver.open().unwrap();
    assert_eq!(bench.driver.status().unwrap().paper, Supply::Full);
    bench.emulator.set_paper_mm(1000);
    let status = bench.driver.status().unwrap();
    assert_eq!(
        (status.state, status.paper),
        (DeviceState::Online, Supply::Low)
    );
    bench.emulator.set_paper_mm(0);
    let status = bench.driver.status().unwrap();
    assert_eq!(
        (status.state, status.paper),
        (DeviceState::UserError, Supply::Out)
    );
    assert!(has(&status, "printer.media-empty"));
    bench.emulator.refill();
    assert_eq!(bench.driver.status().unwrap().state, DeviceState::Online);
    bench.assert_strict();
}

#[test]
fn e6_each_condition_has_its_own_words() {
    let mut bench = bench(over(SlipTransport::Tcp), "");
    bench.driver.open().unwrap();
    bench.emulator.set_cover(true);
    assert!(has(&bench.driver.status().unwrap(), "printer.cover-open"));
    bench.emulator.set_cover(false);
    bench.emulator.set_head_hot(true);
    let status = bench.driver.status().unwrap();
    assert!(has(&status, "printer.head-hot"));
    bench.emulator.set_head_hot(false);
    bench.emulator.set_on_line(false);
    let status = bench.driver.status().unwrap();
    assert!(has(&status, "printer.offline"));
    assert_eq!(status.state, DeviceState::Offline);
    bench.emulator.set_on_line(true);
    assert!(bench.emulator.cut_cable());
    assert_eq!(bench.driver.status().unwrap_err().code, "device.gone");
    bench.driver.close();
    assert_eq!(bench.driver.open().unwrap_err().code, "device.not-there");
    assert!(bench.emulator.plug_cable());
    bench.driver.close();
    bench.driver.open().unwrap();
    bench.emulator.misbehave(Misbehavior::Silence);
    assert_eq!(bench.driver.status().unwrap_err().code, "device.silent");
}

#[test]
fn e14_a_jammed_cutter_fails_the_slip_and_the_next_one_is_whole() {
    let mut bench = bench(over(SlipTransport::Tcp), "");
    bench.driver.open().unwrap();
    bench.emulator.jam_cutter();
    let (words, completion) = bench.print(slip(20), ignore);
    assert_eq!(words, ["printer.cutter-jam"]);
    assert_eq!(code(&completion), "printer.cutter-jam");
    bench.emulator.clear_jam();
    let status = bench.status_until(|status| status.state == DeviceState::Online);
    assert_eq!(status.state, DeviceState::Online);
    let (words, completion) = bench.print(slip(20), ignore);
    assert_eq!(
        (words, completion),
        (vec!["presented".to_owned()], Completion::Success)
    );
    assert_eq!(bench.outcomes().last(), Some(&SlipOutcome::Complete));
    bench.assert_strict();
}

#[test]
fn a_hot_head_is_waited_for_and_the_slip_comes_out_once() {
    let mut bench = bench(over(SlipTransport::Tcp), "");
    bench.driver.open().unwrap();
    let (words, completion) = bench.print(slip(160), |emulator, event, _| match event {
        Event::Progress { rows_printed: 512 } => emulator.set_head_hot(true),
        Event::Stopped(_) => emulator.set_head_hot(false),
        Event::Progress { .. }
        | Event::Resumed
        | Event::Presented
        | Event::Taken
        | Event::Retracted => {}
    });
    assert_eq!(words, ["printer.head-hot", "resumed", "presented"]);
    assert_eq!(completion, Completion::Success);
    assert_eq!(bench.outcomes(), [SlipOutcome::Complete]);
    bench.assert_strict();
}

#[test]
fn a_cover_opened_in_the_middle_fails_the_slip() {
    let mut bench = bench(over(SlipTransport::Serial), "");
    bench.driver.open().unwrap();
    let (words, completion) = bench.print(slip(160), |emulator, event, _| {
        if matches!(event, Event::Progress { .. }) {
            emulator.set_cover(true);
        }
    });
    assert_eq!(words, ["printer.cover-open"]);
    assert_eq!(code(&completion), "printer.cover-open");
    bench.assert_strict();
}

#[test]
fn a_canceled_slip_is_cut_off_and_the_next_one_is_whole() {
    let config = SlipPrinterConfig {
        speed_mm_per_s: 60,
        ..over(SlipTransport::Tcp)
    };
    let mut bench = bench(config, "");
    bench.driver.open().unwrap();
    let (_, completion) = bench.print(slip(300), |_, event, cancel| {
        if matches!(event, Event::Progress { .. }) {
            cancel.cancel();
        }
    });
    assert_eq!(completion, Completion::Canceled);
    let (_, completion) = bench.print(slip(20), ignore);
    assert_eq!(completion, Completion::Success);
    let prints = bench.emulator.prints();
    assert_eq!(prints.len(), 2, "{prints:?}");
    assert!(prints[0].height_mm < 300, "{prints:?}");
    // Nothing of the first slip hangs on the second.
    assert!(prints[1].height_mm < 60, "{prints:?}");
    bench.assert_strict();
}

#[test]
fn a_printer_that_disappears_in_the_middle_is_gone_and_comes_back() {
    for transport in [
        SlipTransport::Tcp,
        SlipTransport::Serial,
        SlipTransport::Usb,
    ] {
        let mut bench = bench(over(transport), "");
        bench.driver.open().unwrap();
        let (_, completion) = bench.print(slip(160), |emulator, event, _| {
            if matches!(event, Event::Progress { .. }) {
                assert!(emulator.cut_cable());
            }
        });
        assert!(matches!(completion, Completion::Failed(_)));
        assert_eq!(code(&completion), "device.gone", "{transport:?}");
        bench.driver.close();
        assert!(bench.emulator.plug_cable());
        bench.driver.open().unwrap();
        assert!(bench.driver.status().unwrap().is_ready());
    }
}

#[test]
fn garbage_for_ever_is_told_from_silence() {
    let mut bench = bench(over(SlipTransport::Tcp), "");
    bench.driver.open().unwrap();
    bench.emulator.misbehave(Misbehavior::EndlessGarbage);
    let garbage = (0..STEPS_MAX)
        .filter_map(|_| bench.driver.status().err())
        .find(|fault| fault.code == "printer.bad-reply");
    assert!(garbage.is_some());
}

#[test]
fn a_printer_that_trickles_is_given_up_in_time() {
    let mut bench = bench(over(SlipTransport::Serial), "profile = \"custom\"");
    bench.driver.open().unwrap();
    bench.emulator.misbehave(Misbehavior::Trickle);
    assert!(bench.driver.status().is_err());
    bench.emulator.mend();
    let cancel = Cancel::default();
    let emit = |()| {};
    let context = Context::new(LONG, &cancel, &emit);
    // What still trickles in is thrown away.
    while bench.driver.status().is_err() {
        context.pause(STEP).unwrap();
    }
}

#[test]
fn a_stalled_pipe_is_cleared_and_the_printer_answers_again() {
    let mut bench = bench(over(SlipTransport::Usb), "");
    bench.driver.open().unwrap();
    bench.emulator.misbehave(Misbehavior::Stall);
    assert_eq!(bench.driver.status().unwrap_err().code, "device.stalled");
    let status = bench.driver.status().unwrap();
    assert_eq!(status.state, DeviceState::Online);
}

fn kiosk_printer(transport: SlipTransport) -> SlipPrinterConfig {
    SlipPrinterConfig {
        has_presenter: true,
        echoes: false,
        ..over(transport)
    }
}

#[test]
fn a_slip_is_presented_and_its_taking_is_known() {
    let mut bench = bench(kiosk_printer(SlipTransport::Usb), "profile = \"custom\"");
    bench.driver.open().unwrap();
    let is_out = Arc::new(AtomicBool::new(false));
    let person = {
        let (emulator, is_out) = (Arc::clone(&bench.emulator), Arc::clone(&is_out));
        thread::spawn(move || take_what_comes(&emulator, &is_out))
    };
    let (words, completion) = bench.print(slip(30), |_, event, _| {
        if matches!(event, Event::Presented) {
            is_out.store(true, Ordering::SeqCst);
        }
    });
    person.join().unwrap();
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["presented", "taken"]);
    assert_eq!(bench.driver.status().unwrap().media, Media::NotPresent);
    bench.assert_strict();
}

/// A person who takes a slip two seconds after it has come out.
fn take_what_comes(emulator: &Emulator, is_out: &AtomicBool) {
    let cancel = Cancel::default();
    let emit = |()| {};
    let context = Context::new(LONG, &cancel, &emit);
    while !is_out.load(Ordering::SeqCst) && context.pause(STEP).is_ok() {}
    assert!(context.pause(Duration::from_secs(2)).is_ok());
    emulator.take_paper();
}

#[test]
fn a_slip_that_nobody_takes_is_pulled_back_into_the_printer() {
    let options = "profile = \"custom\"\nretract_s = 1";
    let mut bench = bench(kiosk_printer(SlipTransport::Tcp), options);
    bench.driver.open().unwrap();
    let (words, completion) = bench.print(slip(30), ignore);
    assert_eq!(completion, Completion::Success);
    assert_eq!(words, ["presented", "retracted"]);
    let status = bench.status_until(|status| status.media == Media::NotPresent);
    assert_eq!(status.media, Media::NotPresent);
    assert_eq!(bench.outcomes(), [SlipOutcome::Retracted]);
    bench.assert_strict();
}

#[test]
fn a_slip_of_text_is_printed_in_the_printers_own_font() {
    let mut bench = bench(over(SlipTransport::Serial), "");
    bench.driver.open().unwrap();
    let rare = SlipRaster {
        width_dots: 24,
        rows: vec![0xAA; 3 * 24],
    };
    let text = SlipText {
        elements: vec![
            Element::Line(TextLine {
                align: Align::Center,
                width: 2,
                height: 2,
                is_bold: true,
                ..TextLine::new("测试回执")
            }),
            Element::Line(TextLine::new("编号:0001")),
            Element::Line(TextLine::new("㐱")),
            Element::Qr(QrCode {
                content: Sensitive::new(b"TESTQR".to_vec()),
                align: Align::Center,
                module_dots: 6,
                level: QrLevel::M,
                picture: None,
            }),
            Element::Feed(4),
            Element::Cut,
        ],
        glyphs: HashMap::from([('㐱', rare)]),
    };
    let (words, completion) = bench.print(Command::PrintText(text), ignore);
    assert_eq!(
        (words, completion),
        (vec!["presented".to_owned()], Completion::Success)
    );
    assert_eq!(bench.outcomes(), [SlipOutcome::Complete]);
    bench.assert_strict();
}
