//! The scanner driver against a module that speaks Newland's commands, and what holds for every
//! dialect: the end of a code, repeated codes, garbage, silence and pulled plugs.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::time::Duration;

use kiosk_device::tap::{Privacy, Tap};
use kiosk_device::{Completion, DeviceState, Driver};

mod peer;

use peer::{
    Afterwards, LONG, Module, Step, check_failed, read, scan, start_on_network, start_with,
};

fn start(keys: &str, script: Vec<Step>) -> (kiosk_qr_scanner::Scanner, Module) {
    peer::start("newland", keys, script)
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
    Step::new(frame('#', tag), answer('#', tag, 6))
}

fn open_steps() -> Vec<Step> {
    vec![
        step("SCNTRG0"),
        step("SCNMOD0"),
        Step::new(
            frame('@', "QRYSYS"),
            answer(
                '@',
                "QRYSYSProduct Name: TEST\r\nFirmware Version: 1.00\r\nSerial Number: S1\r\n",
                6,
            ),
        ),
    ]
}

/// Starting, with the bytes of `code` right behind the answer.
fn scan_steps(code: &[u8]) -> Vec<Step> {
    vec![step("SCNTRG1").and(code), step("SCNTRG0")]
}

fn check_scan(code: &[u8], expect: &str) {
    let (mut scanner, module) = start("baud = 9600", [open_steps(), scan_steps(code)].concat());
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read(expect));
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
fn a_code_that_comes_while_the_scanner_is_asked_how_it_is_is_masked_in_a_recording() {
    let code = b"TESTQR\r\n";
    let behind_code = [&code[..], &answer('#', "SCNTRG0", 6)].concat();
    let health = Step::new(frame('#', "SCNTRG0"), behind_code);
    let (mut scanner, module) = start("baud = 9600", [open_steps(), vec![health]].concat());
    scanner.open().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let tap = Tap::default();
    tap.install();
    tap.start(&path, Privacy::Masked, &[]).unwrap();
    scanner.status().unwrap();
    tap.stop().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("> 7E 01") && text.contains("< *"), "{text}");
    assert!(!text.contains("54 45 53 54"), "{text}");
    module.finish();
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
    check_failed(&completion, "qr-scanner.code-too-long");
    module.finish();
}

#[test]
fn the_speed_is_found_out_when_it_is_not_given() {
    let silence = Step::new(frame('#', "SCNTRG0"), []);
    let (mut scanner, module) = start("", [vec![silence], open_steps()].concat());
    let capabilities = scanner.open().unwrap();
    assert_eq!(capabilities.model, "TEST");
    assert_eq!(
        (capabilities.firmware.as_str(), capabilities.serial.as_str()),
        ("1.00", "S1")
    );
    module.finish();
}

#[test]
fn a_scanner_that_never_answers_is_silent() {
    let silence = Step::new(frame('#', "SCNTRG0"), []);
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
    let refusal = Step::new(frame('#', "SCNTRG1"), answer('#', "SCNTRG1", 0x15));
    let (mut scanner, module) = start("baud = 9600", [open_steps(), vec![refusal]].concat());
    scanner.open().unwrap();
    let (_, completion) = scan(&mut scanner, LONG);
    check_failed(&completion, "qr-scanner.command-refused");
    module.finish();
}

#[test]
fn an_unplugged_scanner_is_gone() {
    let (mut scanner, module) = start("baud = 9600", open_steps());
    scanner.open().unwrap();
    module.finish();
    assert_eq!(scanner.status().unwrap_err().code, "device.gone");
}

#[test]
fn a_code_that_looks_like_an_answer_is_a_code() {
    let look_alike = answer('#', "SCNTRG1", 6);
    let expect = String::from_utf8(look_alike.clone()).unwrap();
    check_scan(&look_alike, &expect);
}

#[test]
fn a_code_that_stays_in_sight_is_reported_once() {
    let steps = [
        open_steps(),
        scan_steps(b"TESTQR\r\n"),
        // The second visit: the same code is still there, then another one comes.
        vec![step("SCNTRG1").and(b"TESTQR\r\n")],
        scan_steps(b"OTHER\r\n"),
    ]
    .concat();
    let (mut scanner, module) = start("baud = 9600", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    assert_eq!(scan(&mut scanner, LONG), read("OTHER"));
    module.finish();
}

#[test]
fn a_code_is_reported_each_time_when_that_is_wanted() {
    let steps = [
        open_steps(),
        scan_steps(b"TESTQR\r\n"),
        scan_steps(b"TESTQR\r\n"),
    ]
    .concat();
    let (mut scanner, module) = start("baud = 9600\n[options]\nsame_code_ms = 0", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    module.finish();
}

#[test]
fn a_code_that_comes_byte_by_byte_is_whole_when_its_suffix_is_known() {
    let pause = Duration::from_millis(400);
    let steps = [
        open_steps(),
        vec![
            step("SCNTRG1").and(b"T"),
            // Nothing is expected here: the script just goes on sending.
            Step::slow([], b"EST\r", pause),
            step("SCNTRG0"),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("baud = 9600\n[options]\nsuffix = \"cr\"", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TEST"));
    module.finish();
}

#[test]
fn a_code_that_breaks_off_before_its_known_suffix_is_not_reported() {
    let steps = [
        open_steps(),
        vec![
            step("SCNTRG1").and(b"BROKEN"),
            Step::slow([], b"", Duration::ZERO),
            step("SCNTRG0"),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("baud = 9600\n[options]\nsuffix = \"cr\"", steps);
    scanner.open().unwrap();
    let result = scan(&mut scanner, Duration::from_millis(2500));
    assert_eq!(result, (vec![], Completion::TimeOut));
    module.finish();
}

#[test]
fn a_scanner_that_disappears_in_the_middle_of_a_code_reports_none() {
    let steps = [open_steps(), vec![step("SCNTRG1").and(b"TESTQ")]].concat();
    let (mut scanner, module) = start_with("newland", "baud = 9600", steps, Afterwards::Leave);
    scanner.open().unwrap();
    let (codes, completion) = scan(&mut scanner, LONG);
    assert_eq!(codes, Vec::<String>::new());
    check_failed(&completion, "device.gone");
    module.wait();
}

#[test]
fn garbage_for_ever_is_silence_while_opening() {
    let flood = Afterwards::Flood(b"\x02\x010000#\x55\xAAgarbage");
    let (mut scanner, module) = start_with("newland", "", vec![], flood);
    assert_eq!(scanner.open().unwrap_err().code, "device.silent");
    module.finish();
}

#[test]
fn garbage_for_ever_is_no_code() {
    let steps = [open_steps(), vec![step("SCNTRG1")]].concat();
    let flood = Afterwards::Flood(b"\x00\xFFgarbage");
    let (mut scanner, module) = start_with("newland", "baud = 9600", steps, flood);
    scanner.open().unwrap();
    let (codes, completion) = scan(&mut scanner, LONG);
    assert_eq!(codes, Vec::<String>::new());
    check_failed(&completion, "qr-scanner.code-too-long");
    module.finish();
}

#[test]
fn behind_a_network_port_there_is_no_speed_to_find_out() {
    let steps = [open_steps(), scan_steps(b"TESTQR\r\n")].concat();
    let (mut scanner, module) = start_on_network("newland", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    module.finish();
}
