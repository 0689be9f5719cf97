//! The scanner driver against a module that follows a script byte by byte on a pseudo-terminal. A
//! frame that is not in the script, and a script that is not used up, fail the test.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver};
use kiosk_qr_scanner::{Command, Event, Scanner};
use serialport::{SerialPort, TTYPort};

const LONG: Duration = Duration::from_secs(20);
/// Keeps the pseudo-terminal from becoming the test's controlling terminal (`open(2)`, Linux).
const O_NOCTTY: i32 = 0o400;

/// One exchange: what must come, what is answered.
type Step = (Vec<u8>, Vec<u8>);

struct Module {
    thread: JoinHandle<()>,
    end: SyncSender<()>,
}

impl Module {
    fn finish(self) {
        self.end.try_send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn start(keys: &str, script: Vec<Step>) -> (Scanner, Module) {
    let (mut master, slave) = TTYPort::pair().unwrap();
    let path = slave.name().unwrap();
    drop(slave);
    // Held open, so that the script survives the driver's change of speed.
    let slave: File = File::options()
        .read(true)
        .write(true)
        .custom_flags(O_NOCTTY)
        .open(&path)
        .unwrap();
    let (end, ended) = sync_channel(1);
    let thread = thread::spawn(move || {
        master.set_timeout(LONG).unwrap();
        for (number, (expect, answer)) in script.into_iter().enumerate() {
            let mut frame = vec![0_u8; expect.len()];
            master.read_exact(&mut frame).unwrap();
            assert_eq!(frame, expect, "step {number}");
            master.write_all(&answer).unwrap();
        }
        ended.recv_timeout(LONG).unwrap();
        assert_eq!(
            master.bytes_to_read().unwrap(),
            0,
            "frames beyond the script"
        );
        drop(slave);
    });
    let config = format!(
        "id = \"scanner-1\"\nclass = \"qr-scanner\"\ndriver = \"newland\"\nport = \"{path}\"\n{keys}"
    );
    let scanner = Scanner::new(&toml::from_str(&config).unwrap()).unwrap();
    (scanner, Module { thread, end })
}

fn frame(storage: char, tag: &str) -> Vec<u8> {
    format!("\x7E\x010000{storage}{tag};\x03").into_bytes()
}

fn answer(storage: char, content: &str, result: u8) -> Vec<u8> {
    let mut answer = format!("\x02\x010000{storage}{content}").into_bytes();
    answer.extend([result, b';', 3]);
    answer
}

fn step(tag: &str) -> Step {
    (frame('#', tag), answer('#', tag, 6))
}

fn open_steps() -> Vec<Step> {
    vec![
        step("SCNTRG0"),
        step("SCNMOD0"),
        (
            frame('@', "QRYSYS"),
            answer('@', "QRYSYSProduct Name: TEST", 6),
        ),
    ]
}

/// Starting, with the bytes of `code` right behind the answer.
fn scan_steps(code: &[u8]) -> Vec<Step> {
    let (expect, answer) = step("SCNTRG1");
    vec![(expect, [&answer, code].concat()), step("SCNTRG0")]
}

fn scan(scanner: &mut Scanner, limit: Duration) -> (Vec<String>, Completion) {
    let codes = RefCell::new(Vec::new());
    let emit = |Event::Code(code): Event| codes.borrow_mut().push(code.text.expose().clone());
    let cancel = Cancel::default();
    let completion = scanner.execute(Command::Scan, &Context::new(limit, &cancel, &emit));
    (codes.into_inner(), completion)
}

fn check_scan(code: &[u8], expect: &str) {
    let (mut scanner, module) = start("baud = 9600", [open_steps(), scan_steps(code)].concat());
    scanner.open().unwrap();
    let result = scan(&mut scanner, LONG);
    assert_eq!(result, (vec![expect.to_owned()], Completion::Success));
    module.finish();
}

#[test]
fn the_exchange_of_the_fact_sheet_gives_the_code() {
    check_scan(b"TESTQR\r\n", "TESTQR");
}

#[test]
fn codes_with_lines_of_their_own_and_repeated_codes_are_one_code() {
    check_scan("第一行\r\n第二行\r\n".as_bytes(), "第一行\r\n第二行");
    check_scan(b"TESTQR\r\nTESTQR\r\n", "TESTQR");
}

#[test]
fn codes_without_suffix_and_in_gb18030_are_read() {
    check_scan(&[0xB2, 0xE2, 0xCA, 0xD4], "测试");
}

#[test]
fn a_code_of_four_kibibytes_is_read_and_a_longer_one_refused() {
    let longest = "a".repeat(4094);
    check_scan(format!("{longest}\r\n").as_bytes(), &longest);
    let steps = [open_steps(), scan_steps(&[b'a'; 5000])].concat();
    let (mut scanner, module) = start("baud = 9600", steps);
    scanner.open().unwrap();
    let (codes, completion) = scan(&mut scanner, LONG);
    assert_eq!(codes, Vec::<String>::new());
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "qr-scanner.code-too-long"),
        "{completion:?}"
    );
    module.finish();
}

#[test]
fn the_speed_is_found_out_when_it_is_not_given() {
    let silence = (frame('#', "SCNTRG0"), Vec::new());
    let (mut scanner, module) = start("", [vec![silence], open_steps()].concat());
    let capabilities = scanner.open().unwrap();
    assert_eq!(capabilities.model, "Product Name: TEST");
    module.finish();
}

#[test]
fn a_scanner_that_never_answers_is_silent() {
    let silence = (frame('#', "SCNTRG0"), Vec::new());
    let (mut scanner, module) = start("", vec![silence.clone(), silence]);
    assert_eq!(scanner.open().unwrap_err().code, "device.silent");
    module.finish();
}

#[test]
fn without_a_code_the_deadline_ends_the_scan_and_the_light_goes_out() {
    let steps = [open_steps(), scan_steps(b""), vec![step("SCNTRG0")]].concat();
    let (mut scanner, module) = start("baud = 115200", steps);
    scanner.open().unwrap();
    let result = scan(&mut scanner, Duration::from_millis(150));
    assert_eq!(result, (vec![], Completion::TimeOut));
    assert_eq!(scanner.status().unwrap().state, DeviceState::Online);
    module.finish();
}

#[test]
fn a_refused_start_is_a_failure() {
    let refusal = (frame('#', "SCNTRG1"), answer('#', "SCNTRG1", 0x15));
    let (mut scanner, module) = start("baud = 9600", [open_steps(), vec![refusal]].concat());
    scanner.open().unwrap();
    let (_, completion) = scan(&mut scanner, LONG);
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "qr-scanner.command-refused"),
        "{completion:?}"
    );
    module.finish();
}

#[test]
fn an_unplugged_scanner_is_gone() {
    let (mut scanner, module) = start("baud = 9600", open_steps());
    scanner.open().unwrap();
    module.finish();
    assert_eq!(scanner.status().unwrap_err().code, "device.gone");
}
