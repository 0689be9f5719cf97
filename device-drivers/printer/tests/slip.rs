//! The slip printer driver against a printer on TCP that understands exactly the commands in use, in
//! whatever pieces they come; any other byte fails the test.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{Action, Cancel, Completion, Context, DeviceState, Driver, Supply};
use kiosk_printer::escpos::{Command, Event, SlipPrinter, SlipRaster};

const LONG: Duration = Duration::from_secs(20);

/// How the printer behaves.
#[derive(Clone, Default)]
struct Habits {
    /// Answers to `DLE EOT 1` to `4`; none when empty.
    real_time: Vec<u8>,
    /// What it sends when the process id comes; `None` is the echo.
    at_the_end: Option<Vec<u8>>,
    /// What `DLE EOT` answers once the process id has come.
    real_time_at_the_end: Vec<u8>,
    automatic_status: Vec<u8>,
}

fn ready() -> Habits {
    Habits {
        real_time: vec![0x12; 4],
        at_the_end: None,
        real_time_at_the_end: vec![0x12; 4],
        automatic_status: vec![0x10, 0, 0, 0x0F],
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
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        connection.set_read_timeout(Some(LONG)).unwrap();
        Peer { connection, habits }.run()
    });
    let config = format!(
        "id = \"slip-1\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\nmodel = \"TEST\"\nport = \"tcp:127.0.0.1:{port}\""
    );
    let printer = SlipPrinter::new(&toml::from_str(&config).unwrap()).unwrap();
    (printer, Printer { thread })
}

struct Peer {
    connection: TcpStream,
    habits: Habits,
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
            let second = self.bytes(1)[0];
            match (first, second) {
                (0x10, 0x04) => {
                    let n = usize::from(self.bytes(1)[0]);
                    if let Some(answer) = self.habits.real_time.get(n - 1).copied() {
                        self.say(&[answer]);
                    }
                }
                (0x10, 0x05) => told.push(format!("recover {}", self.bytes(1)[0])),
                (0x1B, 0x40) => told.push("initialize".to_owned()),
                (0x1D, 0x61) => {
                    told.push(format!("automatic status {}", self.bytes(1)[0]));
                    let status = self.habits.automatic_status.clone();
                    self.say(&status);
                }
                (0x1D, 0x76) => {
                    let head = self.bytes(6);
                    assert_eq!(head[..2], [0x30, 0x00]);
                    let width = usize::from(u16::from_le_bytes([head[2], head[3]]));
                    let rows = usize::from(u16::from_le_bytes([head[4], head[5]]));
                    let ink: u32 = self
                        .bytes(width * rows)
                        .iter()
                        .map(|b| b.count_ones())
                        .sum();
                    told.push(format!("raster {width}x{rows} ink {ink}"));
                }
                (0x1B, 0x64) => told.push(format!("feed {}", self.bytes(1)[0])),
                (0x1D, 0x56) => told.push(format!("cut {:?}", self.bytes(2))),
                (0x1D, 0x28) => {
                    let request = self.bytes(9);
                    assert_eq!(request[..5], [0x48, 0x06, 0x00, 0x30, 0x30]);
                    told.push("process id".to_owned());
                    self.habits.real_time = self.habits.real_time_at_the_end.clone();
                    let echo = [&[0x37, 0x22], &request[5..], &[0]].concat();
                    let answer = self.habits.at_the_end.clone().unwrap_or(echo);
                    self.say(&answer);
                }
                other => panic!("unexpected command {other:02x?}"),
            }
        }
        told
    }
}

fn slip(rows: usize) -> Command {
    Command::Print(SlipRaster {
        width_dots: 12,
        rows: [0xFF, 0xF0].repeat(rows),
    })
}

fn print(
    printer: &mut SlipPrinter,
    command: Command,
    limit: Duration,
) -> (Vec<String>, Completion) {
    let words = RefCell::new(Vec::new());
    let emit = |event| {
        words.borrow_mut().push(match event {
            Event::Presented => "presented".to_owned(),
            Event::Stopped(fault) => fault.code.to_owned(),
        });
    };
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

const PRINTED: [&str; 7] = [
    "initialize",
    "automatic status 15",
    "raster 2x128 ink 1536",
    "raster 2x72 ink 864",
    "feed 3",
    "cut [66, 0]",
    "process id",
];

#[test]
fn a_slip_is_presented_when_the_printer_echoes_its_process_id() {
    let (mut printer, peer) = start(ready());
    assert_eq!(printer.open().unwrap().model, "TEST");
    let result = print(&mut printer, slip(200), LONG);
    assert_eq!(result, (vec!["presented".to_owned()], Completion::Success));
    printer.close();
    assert_eq!(peer.told(), PRINTED);
}

#[test]
fn without_the_echo_a_well_printer_is_believed_after_the_printing_time() {
    let (mut printer, peer) = start(Habits {
        at_the_end: Some(Vec::new()),
        ..ready()
    });
    printer.open().unwrap();
    let result = print(&mut printer, slip(200), LONG);
    assert_eq!(result, (vec!["presented".to_owned()], Completion::Success));
    printer.close();
    assert_eq!(peer.told(), PRINTED);
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
    assert_eq!(words, Vec::<String>::new());
    assert!(matches!(completion, Completion::Failed(_)));
    assert_eq!(code(&completion), expect);
    printer.close();
    // The buffer is cleared, so that the rest cannot come out in front of the next person.
    assert_eq!(peer.told().last().unwrap(), "recover 2");
}

#[test]
fn faults_in_the_middle_fail_the_print_and_clear_the_buffer() {
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
fn a_hot_head_is_waited_for_until_the_deadline() {
    let (mut printer, peer) = start(Habits {
        at_the_end: Some(vec![0x18, 0x40, 0x00, 0x00]),
        real_time_at_the_end: vec![0x1A, 0x52, 0x52, 0x12],
        ..ready()
    });
    printer.open().unwrap();
    let (words, completion) = print(&mut printer, slip(8), Duration::from_millis(700));
    assert_eq!(words, ["printer.head-hot"]);
    assert_eq!(
        completion,
        Completion::Failed(kiosk_device::Fault::new(
            "printer.head-hot",
            Action::Reset,
            "an error that passes by itself, mostly a hot head",
        ))
    );
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
    assert_eq!(peer.told(), Vec::<String>::new());
}

#[test]
fn a_printer_that_does_not_answer_is_silent() {
    let (mut printer, peer) = start(Habits::default());
    assert_eq!(printer.open().unwrap_err().code, "device.silent");
    printer.close();
    drop(peer.told());
}
