//! Every other dialect against a module that follows a script byte by byte, with the exchanges of the
//! fact sheet (`device-protocols.md` §4.2–4.5, §10.3), over a pseudo-terminal and over TCP.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::time::Duration;

use kiosk_device::{Action, Completion, DeviceState, Driver};

mod peer;

use peer::{Afterwards, LONG, Step, check_failed, read, scan, start, start_on_network, start_with};

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

fn hex(expect: &str, answer: &str) -> Step {
    Step::new(bytes(expect), bytes(answer))
}

const GM65_OK: &str = "02 00 00 01 00 33 31";
const GM65_START: &str = "7E 00 08 01 00 02 01 02 DA";
const GM65_STOP: &str = "7E 00 08 01 00 02 02 32 B9";

fn gm65_open() -> Vec<Step> {
    let mode = [0x08, 0x01, 0x00, 0x00, 0x15];
    let check = kiosk_qr_scanner::gm65::check(&mode).to_be_bytes();
    vec![
        hex(GM65_STOP, GM65_OK),
        Step::new(
            [&[0x7E, 0x00], &mode[..], &check[..]].concat(),
            bytes(GM65_OK),
        ),
    ]
}

#[test]
fn gm65_the_answer_comes_first_and_then_the_code() {
    let steps = [
        gm65_open(),
        vec![
            hex(GM65_START, GM65_OK).and(b"TESTQR\r"),
            hex(GM65_STOP, GM65_OK),
            // A poll.
            hex(GM65_STOP, GM65_OK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("gm65", "model = \"GM65\"", steps);
    let capabilities = scanner.open().unwrap();
    assert_eq!(capabilities.model, "GM65");
    assert_eq!(capabilities.abilities, ["trigger"]);
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    assert_eq!(scanner.status().unwrap().state, DeviceState::Online);
    module.finish();
}

#[test]
fn gm65_a_damaged_command_is_sent_again_and_a_refused_one_fails() {
    let steps = [
        gm65_open(),
        vec![
            hex(GM65_START, "02 00 01 01 00 04 01"),
            hex(GM65_START, GM65_OK).and(b"TESTQR\r"),
            hex(GM65_STOP, GM65_OK),
            hex(GM65_START, "02 00 03 01 00 6A 61"),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("gm65", "baud = 9600", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    let (_, completion) = scan(&mut scanner, LONG);
    check_failed(&completion, "qr-scanner.command-refused");
    module.finish();
}

#[test]
fn gm65_a_code_that_looks_like_the_answer_is_a_code() {
    let steps = [
        gm65_open(),
        vec![
            hex(GM65_START, GM65_OK).and(&bytes(GM65_OK)),
            hex(GM65_STOP, GM65_OK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("gm65", "baud = 9600", steps);
    scanner.open().unwrap();
    let expect = String::from_utf8(bytes(GM65_OK)).unwrap();
    assert_eq!(scan(&mut scanner, LONG), read(&expect));
    module.finish();
}

fn honeywell_open() -> Vec<Step> {
    vec![
        Step::new(bytes("16 55 0D"), []),
        Step::new(
            bytes("16 4D 0D 63 62 72 65 6E 61 2A 2E"),
            *b"CBRENA0-1\x06.",
        ),
        Step::new(
            bytes("16 4D 0D 52 45 56 49 4E 46 2E"),
            *b"REVINF: Product Name: TEST\r\nSoftware Revision: T 1.2\r\nSerial Number: S1\x06.",
        ),
    ]
}

#[test]
fn honeywell_the_trigger_gives_the_code() {
    let steps = [
        honeywell_open(),
        vec![
            Step::new(bytes("16 54 0D"), *b"TESTQR\r"),
            Step::new(bytes("16 55 0D"), []),
            Step::new(
                bytes("16 4D 0D 63 62 72 65 6E 61 2A 2E"),
                *b"CBRENA0-1\x06.",
            ),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("honeywell", "baud = 115200", steps);
    let capabilities = scanner.open().unwrap();
    assert_eq!(
        (
            capabilities.model.as_str(),
            capabilities.firmware.as_str(),
            capabilities.serial.as_str()
        ),
        ("TEST", "T 1.2", "S1")
    );
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    assert_eq!(scanner.status().unwrap().state, DeviceState::Online);
    module.finish();
}

#[test]
fn honeywell_both_speeds_are_tried() {
    let steps = [
        vec![
            Step::new(bytes("16 55 0D"), []),
            Step::new(bytes("16 4D 0D 63 62 72 65 6E 61 2A 2E"), []),
        ],
        honeywell_open(),
    ]
    .concat();
    let (mut scanner, module) = start("honeywell", "", steps);
    scanner.open().unwrap();
    module.finish();
}

#[test]
fn a_scanner_of_another_dialect_is_named() {
    let probe = "16 4D 0D 63 62 72 65 6E 61 2A 2E";
    let check = |answer: &str, driver: &str| {
        let steps = vec![Step::new(bytes("16 55 0D"), []), hex(probe, answer)];
        let (mut scanner, module) = start("honeywell", "baud = 9600", steps);
        let fault = scanner.open().unwrap_err();
        assert_eq!(
            (fault.code, fault.action),
            ("qr-scanner.wrong-dialect", Action::Configuration)
        );
        assert!(fault.detail.contains(driver), "{}", fault.detail);
        module.finish();
    };
    check("02 00 01 01 00 04 01", "gm65");
    check("05 D1 00 00 02 FF 28", "ssi");
}

const SSI_ACK: &str = "04 D0 00 00 FF 2C";
const SSI_HOST_ACK: &str = "04 D0 04 00 FF 28";
const SSI_START: &str = "04 E4 04 00 FF 14";
const SSI_STOP: &str = "04 E5 04 00 FF 13";
const SSI_CODE: &str = "0C F3 00 00 03 54 45 53 54 31 32 33 FD 28";

/// A packet of the decoder.
fn ssi(opcode: u8, status: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len() + 4).unwrap();
    let mut packet = [&[length, opcode, 0, status], content].concat();
    let sum = kiosk_qr_scanner::ssi::check(&packet);
    packet.extend(sum.to_be_bytes());
    packet
}

fn ssi_open() -> Vec<Step> {
    vec![
        hex(SSI_STOP, SSI_ACK),
        hex("07 C6 04 00 00 8A 08 FE 9D", SSI_ACK),
        Step::new(bytes("04 A3 04 00 FF 55"), ssi(0xA4, 0, b"TEST-001-R00")),
        hex(SSI_HOST_ACK, ""),
    ]
}

#[test]
fn ssi_the_exchange_of_the_fact_sheet_gives_the_code() {
    let steps = [
        ssi_open(),
        vec![
            hex(SSI_START, SSI_ACK).and(&bytes(SSI_CODE)),
            hex(SSI_HOST_ACK, ""),
            hex(SSI_STOP, SSI_ACK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("ssi", "", steps);
    assert_eq!(scanner.open().unwrap().firmware, "TEST-001-R00");
    assert_eq!(scan(&mut scanner, LONG), read("TEST123"));
    module.finish();
}

#[test]
fn ssi_raw_codes_are_read_too() {
    let steps = [
        ssi_open(),
        vec![
            hex(SSI_START, SSI_ACK).and(b"TESTQR\r\n"),
            hex(SSI_STOP, SSI_ACK),
            hex(SSI_START, SSI_ACK).and(b"7"),
            hex(SSI_STOP, SSI_ACK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("ssi", "baud = 9600", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    assert_eq!(scan(&mut scanner, LONG), read("7"));
    module.finish();
}

#[test]
fn ssi_a_code_of_four_kibibytes_comes_in_packets_and_no_packet_counts_twice() {
    let code: Vec<u8> = (0..4094_u32)
        .map(|at| b'a' + u8::try_from(at % 26).unwrap())
        .collect();
    let mut steps = [ssi_open(), vec![hex(SSI_START, SSI_ACK)]].concat();
    let chunks: Vec<&[u8]> = code.chunks(250).collect();
    for (number, chunk) in chunks.iter().enumerate() {
        let status = if number + 1 < chunks.len() { 0x02 } else { 0 };
        let packet = ssi(0xF3, status, &[&[0x1C], *chunk].concat());
        let last = steps.pop().unwrap();
        steps.push(last.and(&packet));
        steps.push(hex(SSI_HOST_ACK, ""));
        if number == 3 {
            // As if the acknowledgment was lost: the same packet again.
            let again = ssi(0xF3, status | 0x01, &[&[0x1C], *chunk].concat());
            steps.push(Step::new([], again));
            steps.push(hex(SSI_HOST_ACK, ""));
        }
    }
    steps.push(hex(SSI_STOP, SSI_ACK));
    let (mut scanner, module) = start("ssi", "baud = 9600", steps);
    scanner.open().unwrap();
    assert_eq!(
        scan(&mut scanner, LONG),
        read(&String::from_utf8(code).unwrap())
    );
    module.finish();
}

#[test]
fn ssi_damaged_packets_are_asked_for_again_and_equal_ones_are_no_repetition() {
    let mut damaged = ssi(0xF3, 0x02, b"\x1Caaaa");
    damaged[5] ^= 1;
    let steps = [
        ssi_open(),
        vec![
            hex(SSI_START, SSI_ACK).and(&ssi(0xF3, 0x02, b"\x1Caaaa")),
            Step::new(bytes(SSI_HOST_ACK), damaged),
            Step::new(bytes("05 D1 04 00 01 FF 25"), ssi(0xF3, 0x03, b"\x1Caaaa")),
            Step::new(bytes(SSI_HOST_ACK), ssi(0xF3, 0x00, b"\x1Cb")),
            hex(SSI_HOST_ACK, ""),
            hex(SSI_STOP, SSI_ACK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("ssi", "baud = 9600", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("aaaaaaaab"));
    module.finish();
}

#[test]
fn ssi_a_code_whose_beginning_was_missed_is_not_reported() {
    let steps = [
        ssi_open(),
        vec![
            // The rest of an older code: sent again, because nobody acknowledged it.
            hex(SSI_START, SSI_ACK).and(&ssi(0xF3, 0x03, b"\x1Cold")),
            Step::new(bytes(SSI_HOST_ACK), ssi(0xF3, 0x00, b"\x1Cer")),
            Step::new(bytes(SSI_HOST_ACK), bytes(SSI_CODE)),
            hex(SSI_HOST_ACK, ""),
            hex(SSI_STOP, SSI_ACK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("ssi", "baud = 9600", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TEST123"));
    module.finish();
}

#[test]
fn ssi_a_code_in_endless_packets_is_too_long() {
    let mut steps = [ssi_open(), vec![hex(SSI_START, SSI_ACK)]].concat();
    for _ in 0..17 {
        let last = steps.pop().unwrap();
        steps.push(last.and(&ssi(0xF3, 0x02, &[&[0x1C][..], &[b'a'; 250]].concat())));
        steps.push(hex(SSI_HOST_ACK, ""));
    }
    steps.push(hex(SSI_STOP, SSI_ACK));
    let (mut scanner, module) = start("ssi", "baud = 9600", steps);
    scanner.open().unwrap();
    let (_, completion) = scan(&mut scanner, LONG);
    check_failed(&completion, "qr-scanner.code-too-long");
    module.finish();
}

#[test]
fn ssi_a_sleeping_decoder_is_woken_and_a_refused_packet_sent_again() {
    let again = "04 E5 04 01 FF 12";
    let steps = vec![
        hex(SSI_STOP, ""),
        // Wake-up, then the same packet marked as sent again.
        hex("00", ""),
        hex(again, "05 D1 00 00 01 FF 29"),
        hex(again, SSI_ACK),
        hex("07 C6 04 00 00 8A 08 FE 9D", "05 D1 00 00 06 FF 24"),
        hex("04 A3 04 00 FF 55", "05 D1 00 00 02 FF 28"),
        hex(SSI_START, "05 D1 00 00 06 FF 24"),
    ];
    let (mut scanner, module) = start("ssi", "baud = 9600\nmodel = \"SE\"", steps);
    assert_eq!(scanner.open().unwrap().model, "SE");
    let (_, completion) = scan(&mut scanner, LONG);
    check_failed(&completion, "qr-scanner.command-refused");
    module.finish();
}

#[test]
fn ssi_a_code_that_breaks_off_between_packets_is_given_up() {
    let steps = [
        ssi_open(),
        vec![
            hex(SSI_START, SSI_ACK).and(&ssi(0xF3, 0x02, b"\x1Caaaa")),
            hex(SSI_HOST_ACK, ""),
            // Started again, and the next code is whole.
            hex(SSI_START, SSI_ACK).and(&bytes(SSI_CODE)),
            hex(SSI_HOST_ACK, ""),
            hex(SSI_STOP, SSI_ACK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("ssi", "baud = 9600", steps);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TEST123"));
    module.finish();
}

fn datalogic_open() -> Vec<Step> {
    vec![
        Step::new(*b"XD", []),
        Step::new(*b"h", *b"OK\r\n"),
        Step::new(*b"i", *b"GRYPHON TEST\r\n"),
    ]
}

#[test]
fn datalogic_is_on_only_while_somebody_waits() {
    let steps = [
        datalogic_open(),
        vec![
            Step::new(*b"ET", *b"TESTQR\r\n"),
            Step::new(*b"XD", []),
            Step::new(*b"h", *b"OK\r\n"),
        ],
    ]
    .concat();
    let (mut scanner, module) = start("datalogic", "", steps);
    assert_eq!(scanner.open().unwrap().model, "GRYPHON TEST");
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    assert_eq!(scanner.status().unwrap().state, DeviceState::Online);
    module.finish();
}

#[test]
fn datalogic_a_code_under_way_is_never_taken_for_the_name_of_the_scanner() {
    let steps = vec![
        Step::slow(*b"XD", b"SECRET\r\n", Duration::from_millis(5)),
        Step::new(*b"h", *b"OK\r\n"),
        Step::new(*b"i", []),
    ];
    let (mut scanner, module) = start("datalogic", "baud = 9600", steps);
    assert_eq!(scanner.open().unwrap().model, "");
    module.finish();
}

#[test]
fn line_ends_inside_a_code_and_gb18030_survive_every_dialect() {
    let code = [&[0xB2, 0xE2, 0xCA, 0xD4][..], b"\r\nB\r\n"].concat();
    let check = |driver: &str, mut steps: Vec<Step>, stop: Step| {
        let start_step = steps.pop().unwrap();
        steps.extend([start_step.and(&code), stop]);
        let (mut scanner, module) = start(driver, "baud = 9600", steps);
        scanner.open().unwrap();
        assert_eq!(scan(&mut scanner, LONG), read("测试\r\nB"), "{driver}");
        module.finish();
    };
    let with = |open: Vec<Step>, start: Step| [open, vec![start]].concat();
    check(
        "gm65",
        with(gm65_open(), hex(GM65_START, GM65_OK)),
        hex(GM65_STOP, GM65_OK),
    );
    check(
        "honeywell",
        with(honeywell_open(), hex("16 54 0D", "")),
        hex("16 55 0D", ""),
    );
    check(
        "datalogic",
        with(datalogic_open(), Step::new(*b"ET", [])),
        Step::new(*b"XD", []),
    );
    check(
        "ssi",
        with(ssi_open(), hex(SSI_START, SSI_ACK)),
        hex(SSI_STOP, SSI_ACK),
    );
}

#[test]
fn garbage_for_ever_never_opens_a_scanner_and_never_hangs_it() {
    for driver in ["honeywell", "gm65", "ssi"] {
        for garbage in [
            &b"\x00\xFF\x55garbage"[..],
            b"\x0C\xF3\x00\x00\x03aaaaaaaaaa",
        ] {
            let flood = Afterwards::Flood(garbage);
            let (mut scanner, module) = start_with(driver, "baud = 9600", vec![], flood);
            assert_eq!(
                scanner.open().unwrap_err().code,
                "device.silent",
                "{driver}"
            );
            module.finish();
        }
    }
}

#[test]
fn a_scanner_that_disappears_between_two_packets_reports_no_code() {
    let steps = [
        ssi_open(),
        vec![hex(SSI_START, SSI_ACK).and(&ssi(0xF3, 0x02, b"\x1Caaaa"))],
    ]
    .concat();
    let (mut scanner, module) = start_with("ssi", "baud = 9600", steps, Afterwards::Leave);
    scanner.open().unwrap();
    let (codes, completion) = scan(&mut scanner, LONG);
    assert_eq!(codes, Vec::<String>::new());
    check_failed(&completion, "device.gone");
    module.wait();
}

#[test]
fn a_scanner_behind_a_network_port_is_driven_the_same_way() {
    let script = [
        gm65_open(),
        vec![
            hex(GM65_START, GM65_OK).and(b"TESTQR\r"),
            hex(GM65_STOP, GM65_OK),
        ],
    ]
    .concat();
    let (mut scanner, module) = start_on_network("gm65", script);
    scanner.open().unwrap();
    assert_eq!(scan(&mut scanner, LONG), read("TESTQR"));
    module.finish();
}

#[test]
fn without_a_code_the_deadline_ends_every_scan() {
    let steps = [
        datalogic_open(),
        vec![Step::new(*b"ET", []), Step::new(*b"XD", [])],
    ]
    .concat();
    let (mut scanner, module) = start("datalogic", "baud = 9600", steps);
    scanner.open().unwrap();
    let result = scan(&mut scanner, Duration::from_millis(150));
    assert_eq!(result, (vec![], Completion::TimeOut));
    module.finish();
}
