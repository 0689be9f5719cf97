//! The slip printer driver against a printer on TCP that understands exactly the commands in use, in
//! whatever pieces they come; any other byte fails the test.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{
    Action, Cancel, Completion, Context, DeviceState, Driver, Media, Sensitive, Supply, clock,
};
use kiosk_printer::escpos::{
    Align, Command, Element, Event, QrCode, QrLevel, SlipPrinter, SlipRaster, SlipText, TextLine,
};
use serialport::{SerialPort, TTYPort};

const LONG: Duration = Duration::from_secs(20);

/// How the printer behaves.
#[derive(Clone, Default)]
struct Habits {
    /// Answers to `DLE EOT 1` to `4`; none when empty.
    real_time: Vec<u8>,
    /// Echoes process ids.
    echoes: bool,
    /// Answers `GS r` in its turn.
    sensors: Option<u8>,
    /// What it sends when it is asked for a proof behind the cut, instead of the proof.
    at_the_end: Option<Vec<u8>>,
    /// What `DLE EOT` answers from then on.
    real_time_at_the_end: Vec<u8>,
    automatic_status: Vec<u8>,
    /// Answers to `DLE EOT 20`, one after the other; the last one stays.
    full: Vec<[u8; 4]>,
}

fn ready() -> Habits {
    Habits {
        real_time: vec![0x12; 4],
        echoes: true,
        real_time_at_the_end: vec![0x12; 4],
        automatic_status: vec![0x10, 0, 0, 0x0F],
        ..Habits::default()
    }
}

struct Printer {
    thread: JoinHandle<Vec<String>>,
}

impl Printer {
    /// What it was told, without the questions. The driver must have been closed before.
    fn told(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

fn start(habits: Habits) -> (SlipPrinter, Printer) {
    start_with(habits, "")
}

fn start_with(habits: Habits, options: &str) -> (SlipPrinter, Printer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        connection.set_read_timeout(Some(LONG)).unwrap();
        let peer = Peer {
            connection,
            habits,
            is_cut: false,
        };
        peer.run()
    });
    let config = format!(
        "id = \"slip-1\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\nmodel = \"TEST\"\nport = \"tcp:127.0.0.1:{port}\"\n[options]\n{options}"
    );
    let printer = SlipPrinter::new(&toml::from_str(&config).unwrap()).unwrap();
    (printer, Printer { thread })
}

struct Peer {
    connection: TcpStream,
    habits: Habits,
    is_cut: bool,
}

impl Peer {
    /// `None` when the driver has hung up.
    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0_u8; 1];
        match self.connection.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte().unwrap()).collect()
    }

    fn say(&mut self, bytes: &[u8]) {
        self.connection.write_all(bytes).unwrap();
    }

    fn run(mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(first) = self.byte() {
            if first >= 0x20 || first == 0x0A {
                told.push(format!("text {first:02X}"));
                continue;
            }
            let second = self.bytes(1)[0];
            if let Some(word) = self.obey(first, second) {
                told.push(word);
            }
        }
        told
    }

    fn obey(&mut self, first: u8, second: u8) -> Option<String> {
        Some(match (first, second) {
            (0x10, 0x04) => {
                self.answer();
                return None;
            }
            (0x10, 0x05) => format!("recover {}", self.bytes(1)[0]),
            (0x1B, 0x40) => "initialize".to_owned(),
            (0x1C, 0x26) => "chinese".to_owned(),
            (0x1B, 0x61) => format!("align {}", self.bytes(1)[0]),
            (0x1B, 0x45) => format!("bold {}", self.bytes(1)[0]),
            (0x1D, 0x21) => format!("size {:02X}", self.bytes(1)[0]),
            (0x1D, 0x61) => {
                let status = self.habits.automatic_status.clone();
                let word = format!("automatic status {}", self.bytes(1)[0]);
                self.say(&status);
                word
            }
            (0x1D, 0x65) => {
                let action = self.bytes(1)[0];
                let steps = if action == 3 { self.bytes(1)[0] } else { 0 };
                format!("presenter {action} {steps}")
            }
            (0x1D, 0x72) => {
                assert_eq!(self.bytes(1), [1]);
                let answer = self.habits.sensors.map(|byte| vec![byte]);
                self.prove(answer);
                "paper sensors".to_owned()
            }
            (0x1D, 0x76) => self.raster(),
            (0x1B, 0x64) => format!("feed {}", self.bytes(1)[0]),
            (0x1D, 0x56) => {
                self.is_cut = true;
                format!("cut {:?}", self.bytes(2))
            }
            (0x1D, 0x28) => self.function(),
            other => panic!("unexpected command {other:02x?}"),
        })
    }

    fn answer(&mut self) {
        match usize::from(self.bytes(1)[0]) {
            0x14 => {
                if let Some(full) = self.habits.full.first().copied() {
                    if self.habits.full.len() > 1 {
                        self.habits.full.remove(0);
                    }
                    self.say(&[[0x10, 0x0F].as_slice(), &full].concat());
                }
            }
            n => {
                if let Some(answer) = self.habits.real_time.get(n - 1).copied() {
                    self.say(&[answer]);
                }
            }
        }
    }

    /// Answers what waits its turn: as it is, or behind the cut as the test wants it.
    fn prove(&mut self, answer: Option<Vec<u8>>) {
        let answer = if self.is_cut {
            self.habits.real_time = self.habits.real_time_at_the_end.clone();
            self.habits.at_the_end.clone().or(answer)
        } else {
            answer
        };
        self.say(&answer.unwrap_or_default());
    }

    fn raster(&mut self) -> String {
        let head = self.bytes(6);
        assert_eq!(head[..2], [0x30, 0x00]);
        let width = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let rows = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let ink: u32 = self
            .bytes(width * rows)
            .iter()
            .map(|byte| byte.count_ones())
            .sum();
        format!("raster {width}x{rows} ink {ink}")
    }

    fn function(&mut self) -> String {
        let head = self.bytes(3);
        let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let request = self.bytes(length);
        if head[0] == 0x6B {
            return format!("qr {:02X}", request[1]);
        }
        assert_eq!((head[0], &request[..2]), (0x48, [0x30, 0x30].as_slice()));
        let echo = [&[0x37, 0x22], &request[2..], &[0]].concat();
        let answer = self.habits.echoes.then_some(echo);
        self.prove(answer);
        "process id".to_owned()
    }
}

fn slip(rows: usize) -> Command {
    Command::Print(SlipRaster {
        width_dots: 12,
        rows: [0xFF, 0xF0].repeat(rows),
    })
}

fn word(event: Event) -> String {
    match event {
        Event::Progress { rows_printed } => format!("row {rows_printed}"),
        Event::Stopped(fault) => fault.code.to_owned(),
        Event::Resumed => "resumed".to_owned(),
        Event::Presented => "presented".to_owned(),
        Event::Taken => "taken".to_owned(),
        Event::Retracted => "retracted".to_owned(),
    }
}

fn print(
    printer: &mut SlipPrinter,
    command: Command,
    limit: Duration,
) -> (Vec<String>, Completion) {
    let words = RefCell::new(Vec::new());
    let emit = |event| words.borrow_mut().push(word(event));
    let cancel = Cancel::default();
    let completion = printer.execute(command, &Context::new(limit, &cancel, &emit));
    (words.into_inner(), completion)
}

fn code(completion: &Completion) -> &str {
    match completion {
        Completion::NotReady(fault) | Completion::Failed(fault) => fault.code,
        Completion::Success => "success",
        Completion::Canceled => "canceled",
        Completion::TimeOut => "time-out",
    }
}

const PROBED: [&str; 2] = ["process id", "paper sensors"];
const PRINTED: [&str; 6] = [
    "initialize",
    "automatic status 15",
    "raster 2x128 ink 1536",
    "raster 2x72 ink 864",
    "feed 3",
    "cut [66, 0]",
];

fn told(parts: &[&[&str]]) -> Vec<String> {
    let words = parts.iter().flat_map(|part| part.iter());
    words.map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_slip_is_presented_when_the_printer_echoes_its_process_id() {
    let (mut printer, peer) = start(ready());
    let capabilities = printer.open().unwrap();
    assert_eq!(capabilities.model, "TEST");
    assert!(capabilities.abilities.contains(&"process-id".to_owned()));
    let (words, completion) = print(&mut printer, slip(200), LONG);
    assert_eq!(words, ["row 200", "presented"]);
    assert_eq!(completion, Completion::Success);
    printer.close();
    assert_eq!(peer.told(), told(&[&PROBED, &PRINTED, &["process id"]]));
}

#[test]
fn how_far_a_long_slip_came_is_known_on_the_way() {
    let (mut printer, peer) = start(ready());
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(1000), LONG);
    assert_eq!(words, ["row 512", "row 1000", "presented"]);
    assert_eq!(completion, Completion::Success);
    printer.close();
    drop(peer.told());
}

#[test]
fn without_the_echo_an_answer_in_turn_is_the_proof_and_the_echo_is_not_tried_again() {
    let (mut printer, peer) = start(Habits {
        echoes: false,
        sensors: Some(0x00),
        ..ready()
    });
    printer.open().unwrap();
    for _ in 0..2 {
        let (words, completion) = print(&mut printer, slip(8), LONG);
        assert_eq!(words, ["presented"]);
        assert_eq!(completion, Completion::Success);
        assert_eq!(
            printer.status().unwrap().readings["confirmation"],
            "in-turn"
        );
    }
    printer.close();
    // The echo was tried once, when the printer was opened.
    let words = peer.told();
    assert_eq!(words.iter().filter(|word| *word == "process id").count(), 1);
}

#[test]
fn an_answer_in_turn_that_tells_no_paper_fails_the_slip() {
    let (mut printer, peer) = start(Habits {
        echoes: false,
        sensors: Some(0x00),
        at_the_end: Some(vec![0x0F]),
        ..ready()
    });
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(8), LONG);
    assert_eq!(words, ["printer.media-empty"]);
    assert_eq!(code(&completion), "printer.media-empty");
    printer.close();
    drop(peer.told());
}

#[test]
fn an_answer_that_comes_before_any_printer_could_print_proves_nothing() {
    let (mut printer, peer) = start(Habits {
        echoes: false,
        sensors: Some(0x00),
        ..ready()
    });
    printer.open().unwrap();
    let start = clock::now();
    let (words, completion) = print(&mut printer, slip(800), LONG);
    assert_eq!(
        (words, completion),
        (vec!["presented".to_owned()], Completion::Success)
    );
    assert!(clock::now() - start >= Duration::from_secs(2));
    printer.close();
    drop(peer.told());
}

#[test]
fn a_printer_that_proves_nothing_is_believed_after_the_printing_time() {
    let (mut printer, peer) = start(Habits {
        echoes: false,
        ..ready()
    });
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(200), LONG);
    assert_eq!(
        (words, completion),
        (vec!["presented".to_owned()], Completion::Success)
    );
    printer.close();
    assert_eq!(peer.told(), told(&[&PROBED, &PRINTED]));
}

#[test]
fn a_plain_printer_gets_no_command_it_may_not_know() {
    let (mut printer, peer) = start_with(ready(), "profile = \"plain\"");
    printer.open().unwrap();
    assert_eq!(print(&mut printer, slip(8), LONG).1, Completion::Success);
    printer.close();
    assert_eq!(
        peer.told(),
        ["initialize", "raster 2x8 ink 96", "feed 3", "cut [66, 0]"]
    );
}

#[test]
fn nothing_is_printed_without_paper() {
    let (mut printer, peer) = start(Habits {
        real_time: vec![0x1A, 0x32, 0x12, 0x7E],
        ..ready()
    });
    printer.open().unwrap();
    let status = printer.status().unwrap();
    assert_eq!(
        (status.state, status.paper),
        (DeviceState::UserError, Supply::Out)
    );
    let (words, completion) = print(&mut printer, slip(200), LONG);
    assert_eq!(words, Vec::<String>::new());
    assert!(matches!(&completion, Completion::NotReady(fault)
        if fault.code == "printer.media-empty" && fault.action == Action::Clear));
    printer.close();
    assert_eq!(peer.told(), Vec::<String>::new());
}

fn check_fault_during_print(at_the_end: &[u8], expect: &str) {
    let (mut printer, peer) = start(Habits {
        at_the_end: Some(at_the_end.to_vec()),
        ..ready()
    });
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(200), LONG);
    assert_eq!(words, [expect]);
    assert_eq!(code(&completion), expect);
    assert!(matches!(&completion, Completion::Failed(fault)
        if fault.detail.ends_with("at least 0 of 200 rows are out")));
    printer.close();
    // The buffer is cleared, so that the rest cannot come out in front of the next person.
    assert_eq!(peer.told().last().unwrap(), "recover 2");
}

#[test]
fn faults_in_the_middle_stop_and_fail_the_print_and_clear_the_buffer() {
    check_fault_during_print(&[0x18, 0x00, 0x0F, 0x00], "printer.media-empty");
    check_fault_during_print(&[0x38, 0x00, 0x00, 0x00], "printer.cover-open");
    check_fault_during_print(&[0x18, 0x08, 0x00, 0x00], "printer.cutter-jam");
}

#[test]
fn a_fault_that_only_the_question_shows_fails_the_print() {
    let (mut printer, peer) = start(Habits {
        at_the_end: Some(Vec::new()),
        real_time_at_the_end: vec![0x1A, 0x32, 0x12, 0x7E],
        ..ready()
    });
    printer.open().unwrap();
    let (_, completion) = print(&mut printer, slip(8), LONG);
    assert_eq!(code(&completion), "printer.media-empty");
    printer.close();
    drop(peer.told());
}

#[test]
fn a_hot_head_is_waited_for_until_the_deadline_and_the_piece_is_cut_off() {
    let (mut printer, peer) = start(Habits {
        at_the_end: Some(vec![0x18, 0x40, 0x00, 0x00]),
        real_time_at_the_end: vec![0x1A, 0x52, 0x52, 0x12],
        ..ready()
    });
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(8), Duration::from_millis(700));
    assert_eq!(words, ["printer.head-hot"]);
    assert!(matches!(&completion, Completion::Failed(fault)
        if fault.code == "printer.head-hot" && fault.action == Action::Reset));
    printer.close();
    let words = peer.told();
    assert_eq!(
        words[words.len() - 4..],
        ["recover 2", "initialize", "feed 3", "cut [66, 0]"]
    );
}

#[test]
fn what_passes_by_itself_is_told_and_waited_for() {
    let (mut printer, peer) = start(Habits {
        automatic_status: vec![0x18, 0x40, 0x00, 0x00, 0x13, 0x10, 0x00, 0x00, 0x00, 0x11],
        ..ready()
    });
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(8), LONG);
    assert_eq!(words, ["printer.head-hot", "resumed", "row 8", "presented"]);
    assert_eq!(completion, Completion::Success);
    printer.close();
    drop(peer.told());
}

#[test]
fn paper_that_ends_behind_a_finished_slip_does_not_fail_it() {
    let (mut printer, peer) = start(Habits {
        real_time_at_the_end: vec![0x1A, 0x32, 0x12, 0x7E],
        ..ready()
    });
    printer.open().unwrap();
    assert_eq!(print(&mut printer, slip(8), LONG).1, Completion::Success);
    assert_eq!(printer.status().unwrap().paper, Supply::Out);
    printer.close();
    drop(peer.told());
}

#[test]
fn rasters_that_do_not_fit_are_refused() {
    let (mut printer, peer) = start(ready());
    printer.open().unwrap();
    for (width_dots, bytes) in [(0, 2), (577, 73), (12, 3), (12, 0)] {
        let command = Command::Print(SlipRaster {
            width_dots,
            rows: vec![0; bytes],
        });
        let (_, completion) = print(&mut printer, command, LONG);
        assert_eq!(
            code(&completion),
            "printer.bad-raster",
            "{width_dots} {bytes}"
        );
    }
    printer.close();
    assert_eq!(peer.told(), PROBED);
}

#[test]
fn a_printer_that_does_not_answer_is_silent() {
    let (mut printer, peer) = start(Habits::default());
    assert_eq!(printer.open().unwrap_err().code, "device.silent");
    printer.close();
    drop(peer.told());
}

#[test]
fn a_printer_without_real_time_status_tells_by_automatic_status() {
    let (mut printer, peer) = start(Habits {
        real_time: Vec::new(),
        real_time_at_the_end: Vec::new(),
        automatic_status: vec![0x10, 0x00, 0x03, 0x00],
        ..ready()
    });
    printer.open().unwrap();
    let status = printer.status().unwrap();
    assert_eq!(
        (status.state, status.paper),
        (DeviceState::Online, Supply::Low)
    );
    assert_eq!(status.readings["status-source"], "automatic");
    assert_eq!(print(&mut printer, slip(8), LONG).1, Completion::Success);
    printer.close();
    drop(peer.told());
}

#[test]
fn a_stuck_cutter_is_freed_once_and_then_left_to_people() {
    let (mut printer, peer) = start(Habits {
        real_time: vec![0x1A, 0x52, 0x1A, 0x12],
        ..ready()
    });
    printer.open().unwrap();
    for _ in 0..3 {
        let status = printer.status().unwrap();
        assert_eq!(status.faults[0].code, "printer.cutter-jam");
    }
    printer.close();
    assert_eq!(peer.told(), ["recover 2"]);
}

#[test]
fn text_goes_out_in_chinese_mode_and_is_cut_off() {
    let (mut printer, peer) = start(ready());
    printer.open().unwrap();
    let elements = vec![
        Element::Line(TextLine {
            align: Align::Center,
            width: 2,
            height: 2,
            is_bold: true,
            ..TextLine::new("测A")
        }),
        Element::Qr(QrCode {
            content: Sensitive::new(b"TESTQR".to_vec()),
            align: Align::Center,
            module_dots: 6,
            level: QrLevel::M,
            picture: None,
        }),
    ];
    let command = Command::PrintText(SlipText {
        elements,
        glyphs: std::collections::HashMap::new(),
    });
    let (words, completion) = print(&mut printer, command, LONG);
    assert_eq!(words.last().unwrap(), "presented");
    assert_eq!(completion, Completion::Success);
    printer.close();
    let text = [
        "initialize",
        "automatic status 15",
        "chinese",
        "align 1",
        "size 11",
        "bold 1",
        "text B2",
        "text E2",
        "text 41",
        "text 0A",
        "bold 0",
        "size 00",
        "qr 41",
        "qr 43",
        "qr 45",
        "qr 50",
        "qr 51",
        "feed 3",
        "cut [66, 0]",
        "process id",
    ];
    assert_eq!(peer.told(), told(&[&PROBED, &text]));
}

const REST: [u8; 4] = [0, 0, 0, 0];
const MOVING: [u8; 4] = [0, 0x08, 0, 0];
const IN_OUTPUT: [u8; 4] = [0x20, 0, 0, 0];

#[test]
fn a_presenter_tells_when_the_motor_rests_and_when_the_slip_was_taken() {
    let habits = Habits {
        // Opening, before the print, twice moving, twice at rest, the last question.
        full: vec![
            REST, REST, MOVING, MOVING, REST, REST, REST, REST, IN_OUTPUT, IN_OUTPUT, REST,
        ],
        ..ready()
    };
    let (mut printer, peer) = start_with(habits, "profile = \"custom\"");
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(8), LONG);
    assert_eq!(words, ["presented", "taken"]);
    assert_eq!(completion, Completion::Success);
    assert_eq!(printer.status().unwrap().media, Media::NotPresent);
    printer.close();
    assert_eq!(peer.told().last().unwrap(), "presenter 3 12");
}

#[test]
fn a_printer_without_the_full_status_of_its_profile_still_prints() {
    let (mut printer, peer) = start_with(ready(), "profile = \"custom\"");
    let capabilities = printer.open().unwrap();
    assert!(!capabilities.abilities.contains(&"presenter".to_owned()));
    let (words, completion) = print(&mut printer, slip(8), LONG);
    assert_eq!(words, ["row 8", "presented"]);
    assert_eq!(completion, Completion::Success);
    assert_eq!(printer.status().unwrap().media, Media::Unknown);
    printer.close();
    drop(peer.told());
}

#[test]
fn a_slip_that_nobody_takes_is_pulled_back() {
    let habits = Habits {
        full: vec![REST, REST, REST, REST, REST, IN_OUTPUT],
        ..ready()
    };
    let options = "profile = \"custom\"\nretract_s = 1\npresent_steps = 9";
    let (mut printer, peer) = start_with(habits, options);
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(8), LONG);
    assert_eq!(words, ["presented", "retracted"]);
    assert_eq!(completion, Completion::Success);
    let status = printer.status().unwrap();
    assert_eq!(status.media, Media::Present);
    assert_eq!(status.readings["output"], "slip not taken");
    printer.close();
    let words = peer.told();
    assert_eq!(words[words.len() - 2..], ["presenter 3 9", "presenter 2 0"]);
}

/// A printer on a serial line that says `last_words` and takes no byte more once a picture begins.
fn check_stops_reading(last_words: &'static [u8], expect_words: &[&str], expect_code: &str) {
    let (mut master, slave) = TTYPort::pair().unwrap();
    let path = slave.name().unwrap();
    drop(slave);
    master.set_timeout(LONG).unwrap();
    let (done, is_done) = sync_channel::<()>(1);
    let thread = thread::spawn(move || {
        let mut heard = Vec::new();
        let mut byte = [0_u8; 1];
        let cancel = Cancel::default();
        let emit = |()| {};
        let context = Context::new(LONG, &cancel, &emit);
        while !heard.ends_with(&[0x1D, 0x76, 0x30]) {
            match master.read_exact(&mut byte) {
                // The driver has not opened the line yet.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    context.pause(Duration::from_millis(5)).unwrap();
                    continue;
                }
                result => result.unwrap(),
            }
            heard.push(byte[0]);
            match heard.as_slice() {
                [.., 0x10, 0x04, _] => master.write_all(&[0x12]).unwrap(),
                [.., 0x1D, 0x28, 0x48, 6, 0, 0x30, 0x30, a, b, c, d] => {
                    let echo = [0x37, 0x22, *a, *b, *c, *d, 0];
                    master.write_all(&echo).unwrap();
                }
                _ => {}
            }
        }
        master.write_all(last_words).unwrap();
        // The line stays open, and nobody reads it.
        assert!(is_done.recv_timeout(LONG).is_ok());
    });
    let config = format!(
        "id = \"slip-1\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\nmodel = \"TEST\"\nport = \"{path}\""
    );
    let mut printer = SlipPrinter::new(&toml::from_str(&config).unwrap()).unwrap();
    printer.open().unwrap();
    let rows = [[0xFF; 36].as_slice(), &[0; 36]].concat().repeat(800);
    let slip = Command::Print(SlipRaster {
        width_dots: 576,
        rows,
    });
    let (words, completion) = print(&mut printer, slip, LONG);
    assert_eq!(words, expect_words);
    assert_eq!(code(&completion), expect_code);
    assert!(matches!(completion, Completion::Failed(_)));
    done.send(()).unwrap();
    thread.join().unwrap();
}

#[test]
fn a_printer_that_stops_reading_in_the_middle_is_given_up_in_time() {
    check_stops_reading(&[], &[], "device.silent");
}

#[test]
fn a_printer_that_stops_reading_tells_why() {
    check_stops_reading(
        &[0x38, 0, 0, 0],
        &["printer.cover-open"],
        "printer.cover-open",
    );
    // XOFF in front of the news.
    check_stops_reading(
        &[0x13, 0x18, 0x08, 0, 0],
        &["printer.cutter-jam"],
        "printer.cutter-jam",
    );
}

#[test]
fn wrong_options_are_named() {
    let check = |options: &str, expect: &str| {
        let config = format!(
            "id = \"slip-1\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\nport = \"usb:0483:5743\"\n[options]\n{options}"
        );
        let error = SlipPrinter::new(&toml::from_str(&config).unwrap()).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("profile = \"other\"", "accepted: epson, custom, plain");
    check("charset = \"big5\"", "accepted: gb2312, gbk, gb18030");
    check("device_id = 5", "options.device_id");
    check("colour = 1", "known: profile, charset, qr, cut");
}
