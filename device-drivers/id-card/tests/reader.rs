//! The reader driver against a module that follows a script byte by byte on a pseudo-terminal. A
//! request that is not in the script, and a script that is not used up, fail the test.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{
    Action, Cancel, Completion, Context, DeviceConfig, DeviceState, Driver, Fault, Media,
};
use kiosk_id_card::{Command, Event, IdCardReader, sdt};
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

fn start(script: Vec<Step>) -> (IdCardReader, Module) {
    start_with("", script)
}

/// `options` are lines of the options table.
fn start_with(options: &str, script: Vec<Step>) -> (IdCardReader, Module) {
    let (mut master, slave) = TTYPort::pair().unwrap();
    let path = slave.name().unwrap();
    drop(slave);
    // Held open, so that the script survives the driver's closing and opening.
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
            let mut request = vec![0_u8; expect.len()];
            master.read_exact(&mut request).unwrap();
            assert_eq!(request, expect, "step {number}");
            master.write_all(&answer).unwrap();
        }
        ended.recv_timeout(LONG).unwrap();
        assert_eq!(
            master.bytes_to_read().unwrap(),
            0,
            "requests beyond the script"
        );
        drop(slave);
    });
    let reader = IdCardReader::new(&config(&path, options)).unwrap();
    (reader, Module { thread, end })
}

fn config(port: &str, options: &str) -> DeviceConfig {
    toml::from_str(&format!(
        "id = \"reader-1\"\nclass = \"id-card\"\ndriver = \"sdt\"\nport = \"{port}\"\n[options]\n{options}"
    ))
    .unwrap()
}

/// A frame around `content`, checked by the rule of §1.2.
fn frame(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 1).unwrap().to_be_bytes();
    let check = length
        .iter()
        .chain(content)
        .fold(0, |check, byte| check ^ byte);
    [
        &[0xAA, 0xAA, 0xAA, 0x96, 0x69],
        &length[..],
        content,
        &[check],
    ]
    .concat()
}

fn request(command: u8, parameter: u8) -> Vec<u8> {
    frame(&[command, parameter])
}

fn reply(status: u8, data: &[u8]) -> Vec<u8> {
    frame(&[&[0, 0, status], data].concat())
}

fn block_r() -> Vec<u8> {
    let fields: [(usize, &str); 9] = [
        (0, "测试甲"),
        (30, "1"),
        (32, "01"),
        (36, "19900101"),
        (52, "广东省广州市测试区样例路1号"),
        (122, "440100199001011237"),
        (158, "测试市公安局"),
        (188, "20260101"),
        (204, "长期"),
    ];
    let mut block: Vec<u8> = [0x20, 0x00].repeat(128);
    for (at, text) in fields {
        for (index, unit) in text.encode_utf16().enumerate() {
            block[at + 2 * index..][..2].copy_from_slice(&unit.to_le_bytes());
        }
    }
    block
}

fn base_reply() -> Vec<u8> {
    reply(0x90, &[&[1, 0, 4, 0], &block_r()[..], &[0; 1024]].concat())
}

fn open_steps() -> Vec<Step> {
    let sam_id = [
        5, 0, 3, 0, 0x05, 0x25, 0x35, 0x01, 1, 0, 0, 0, 0xD2, 2, 0x96, 0x49,
    ];
    vec![
        (request(0x11, 0xFF), reply(0x90, &[])),
        (request(0x12, 0xFF), reply(0x90, &sam_id)),
    ]
}

fn no_card() -> Step {
    (request(0x20, 0x01), reply(0x80, &[]))
}

fn found_and_selected() -> Vec<Step> {
    vec![
        (request(0x20, 0x01), reply(0x9F, &[0; 4])),
        (request(0x20, 0x02), reply(0x90, &[0; 8])),
    ]
}

fn read_steps() -> Vec<Step> {
    let mut steps = found_and_selected();
    steps.push((request(0x30, 0x01), base_reply()));
    steps.push((request(0x30, 0x03), reply(0x91, &[])));
    steps
}

/// Runs one reading; what it reported, in words, and how it ended.
fn read(reader: &mut IdCardReader) -> (Vec<String>, Completion) {
    let words = RefCell::new(Vec::new());
    let emit = |event| {
        words.borrow_mut().push(match event {
            Event::CardFound => "found".to_owned(),
            Event::Card(card) => format!("{} {}", card.name.expose(), card.address.expose()),
            Event::ReadAgain(fault) => fault.code.to_owned(),
            Event::CardRemoved => "removed".to_owned(),
        });
    };
    let cancel = Cancel::default();
    let completion = reader.execute(Command::Read, &Context::new(LONG, &cancel, &emit));
    (words.into_inner(), completion)
}

const R_READ: &str = "测试甲 广东省广州市测试区样例路1号";

fn check_reading(steps: Vec<Step>, expect: &[&str]) {
    check_reading_with("", steps, expect);
}

fn check_reading_with(options: &str, steps: Vec<Step>, expect: &[&str]) {
    let (mut reader, module) = start_with(options, [open_steps(), steps].concat());
    reader.open().unwrap();
    let (words, completion) = read(&mut reader);
    assert_eq!(words, expect);
    assert_eq!(completion, Completion::Success);
    module.finish();
}

#[test]
fn the_session_of_the_fact_sheet_reads_the_card() {
    let base = base_reply();
    assert_eq!((base.len(), base[1294]), (1295, 0x54));
    let mut steps = vec![no_card()];
    steps.extend(read_steps());
    check_reading(steps, &["found", R_READ]);
}

#[test]
fn opening_tells_the_module_id() {
    let (mut reader, module) = start(open_steps());
    let capabilities = reader.open().unwrap();
    assert_eq!(capabilities.serial, "05.03-20260101-0000000001-1234567890");
    module.finish();
}

#[test]
fn the_appended_address_is_the_address() {
    let newest = "广东省珠海市测试区样例路3号";
    let padded = format!("{newest}{}", " ".repeat(35 - newest.chars().count()));
    let data: Vec<u8> = padded.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let answer = reply(0x90, &data);
    // The check byte of the fact sheet's own frame.
    assert_eq!(answer.last(), Some(&0x55));
    let mut steps = read_steps();
    steps[3].1 = answer;
    check_reading(steps, &["found", &format!("测试甲 {newest}")]);
}

#[test]
fn a_card_pulled_away_is_asked_for_again() {
    let mut steps = found_and_selected();
    let cut_off = base_reply()[..14].to_vec();
    steps.push((request(0x30, 0x01), cut_off));
    steps.push(no_card());
    steps.extend(read_steps());
    check_reading(steps, &["found", "id-card.read-failed", "found", R_READ]);
}

#[test]
fn a_card_that_cannot_be_read_is_asked_for_once() {
    let mut steps = Vec::new();
    for _ in 0..2 {
        steps.extend(found_and_selected());
        steps.push((request(0x30, 0x01), reply(0x41, &[])));
    }
    steps.extend(read_steps());
    check_reading(
        steps,
        &["found", "id-card.read-failed", "found", "found", R_READ],
    );
}

#[test]
fn garbled_and_noisy_answers_do_not_stop_the_waiting() {
    let mut wrong_check = reply(0x9F, &[0; 4]);
    *wrong_check.last_mut().unwrap() ^= 0x0F;
    let noisy = [&[0xAA, 0xAA, 0x00][..], &reply(0x80, &[])].concat();
    let mut steps = vec![
        (request(0x20, 0x01), wrong_check),
        (request(0x20, 0x01), noisy),
    ];
    steps.extend(read_steps());
    check_reading(steps, &["found", R_READ]);
}

#[test]
fn an_answer_that_comes_late_is_not_taken_for_the_next_one() {
    let late = [reply(0x9F, &[0; 4]), reply(0x90, &[])].concat();
    let (mut reader, module) = start([open_steps(), vec![(request(0x11, 0xFF), late)]].concat());
    reader.open().unwrap();
    assert_eq!(reader.status().unwrap().state, DeviceState::Online);
    module.finish();
}

#[test]
fn presence_is_known_after_a_reading_and_removal_shows() {
    let management = (request(0x30, 0x05), reply(0x90, &[7; 28]));
    let lifted = (request(0x30, 0x05), reply(0x41, &[]));
    let alive = (request(0x11, 0xFF), reply(0x90, &[]));
    let steps = [
        open_steps(),
        vec![alive.clone()],
        read_steps(),
        vec![management, lifted, alive.clone(), alive],
    ];
    let (mut reader, module) = start(steps.concat());
    reader.open().unwrap();
    assert_eq!(reader.status().unwrap().media, Media::Unknown);
    assert_eq!(read(&mut reader).1, Completion::Success);
    let media = [0; 3].map(|_| reader.status().unwrap().media);
    assert_eq!(
        media,
        [Media::Present, Media::NotPresent, Media::NotPresent]
    );
    module.finish();
}

#[test]
fn a_card_left_from_before_must_be_lifted_first() {
    let stays = (request(0x30, 0x05), reply(0x90, &[7; 28]));
    let lifted = (request(0x30, 0x05), reply(0x41, &[]));
    let steps = [
        open_steps(),
        read_steps(),
        vec![stays.clone(), stays, lifted, no_card()],
        read_steps(),
    ];
    let (mut reader, module) = start(steps.concat());
    reader.open().unwrap();
    assert_eq!(read(&mut reader).1, Completion::Success);
    let (words, completion) = read(&mut reader);
    assert_eq!(words, ["id-card.card-left", "removed", "found", R_READ]);
    assert_eq!(completion, Completion::Success);
    module.finish();
}

#[test]
fn a_module_that_fails_its_self_test_does_not_open_and_is_a_hardware_error() {
    let failed = (request(0x11, 0xFF), reply(0x60, &[]));
    let (mut reader, module) = start([vec![failed.clone()], open_steps(), vec![failed]].concat());
    let fault = reader.open().unwrap_err();
    assert_eq!(
        (fault.code, fault.action),
        ("id-card.sam-failed", Action::Maintenance)
    );
    reader.close();
    reader.open().unwrap();
    assert_eq!(reader.status().unwrap().state, DeviceState::HardwareError);
    module.finish();
}

#[test]
fn a_reading_ends_by_cancellation_or_at_its_deadline() {
    let (mut reader, module) = start([open_steps(), vec![no_card()]].concat());
    reader.open().unwrap();
    let emit = |_: Event| ();
    let cancel = Cancel::default();
    let short = Context::new(Duration::from_millis(100), &cancel, &emit);
    assert_eq!(reader.execute(Command::Read, &short), Completion::TimeOut);
    cancel.cancel();
    let canceled = Context::new(LONG, &cancel, &emit);
    assert_eq!(
        reader.execute(Command::Read, &canceled),
        Completion::Canceled
    );
    module.finish();
}

#[test]
fn a_reader_that_is_unplugged_is_gone() {
    let (mut reader, module) = start(open_steps());
    reader.open().unwrap();
    module.finish();
    assert_eq!(reader.status().unwrap_err().code, "device.gone");
    let (_, completion) = read(&mut reader);
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "device.gone"),
        "{completion:?}"
    );
}

/// What a reading comes to when the step at `at` is answered with `status`.
fn reading_with_status(at: usize, status: u8) -> (Vec<String>, Completion) {
    let mut steps = read_steps();
    steps.truncate(at + 1);
    steps[at].1 = reply(status, &[]);
    let fault = sdt::fault(status);
    match fault.action {
        // The machine tries three times by itself while nobody has been told of a card.
        Action::Reset if at == 0 => {
            steps.extend([steps[0].clone(), steps[0].clone()]);
        }
        Action::Clear | Action::Reset => steps.extend(read_steps()),
        Action::Maintenance | Action::Configuration | Action::Suspend => {}
    }
    let (mut reader, module) = start([open_steps(), steps].concat());
    reader.open().unwrap();
    let (words, completion) = read(&mut reader);
    module.finish();
    (words, completion)
}

#[test]
fn every_status_byte_ends_in_another_try_or_in_its_fault() {
    // All of §1.4 but success, "found" and "not found", and one without a known meaning.
    const STATUSES: [u8; 16] = [
        0x10, 0x11, 0x21, 0x23, 0x24, 0x31, 0x32, 0x33, 0x37, 0x3F, 0x40, 0x41, 0x47, 0x50, 0x60,
        0x66,
    ];
    // Find, select, read: one thread each, because every try takes its time.
    let checks = [0, 1, 2].map(|at| {
        thread::spawn(move || {
            for status in STATUSES {
                let fault = sdt::fault(status);
                let (words, completion) = reading_with_status(at, status);
                let mut expect = vec!["found"; usize::from(at > 0)];
                let is_over = match fault.action {
                    Action::Clear => false,
                    Action::Reset => at == 0,
                    Action::Maintenance | Action::Configuration | Action::Suspend => true,
                };
                if is_over {
                    assert_eq!(
                        completion,
                        Completion::Failed(fault),
                        "{status:02x} at {at}"
                    );
                } else {
                    assert_eq!(completion, Completion::Success, "{status:02x} at {at}");
                    expect.extend([fault.code, "found", R_READ]);
                }
                assert_eq!(words, expect, "{status:02x} at {at}");
            }
        })
    });
    for check in checks {
        check.join().unwrap();
    }
}

#[test]
fn a_module_that_failed_or_lost_its_authorization_says_which_in_its_status() {
    let steps = [0x60, 0x66].map(|status| (request(0x11, 0xFF), reply(status, &[])));
    let (mut reader, module) = start([open_steps(), steps.to_vec()].concat());
    reader.open().unwrap();
    for (code, detail) in [
        (
            "id-card.sam-failed",
            "the module answers 60: its self-test failed",
        ),
        (
            "id-card.sam-unauthorised",
            "the module answers 66: it is not authorized",
        ),
    ] {
        let status = reader.status().unwrap();
        assert_eq!(status.state, DeviceState::HardwareError);
        let expect = Fault::new(code, Action::Maintenance, detail);
        assert_eq!(status.faults, [expect]);
    }
    module.finish();
}

fn full_reply(fingerprints: usize) -> Vec<u8> {
    let length = u16::try_from(fingerprints).unwrap().to_be_bytes();
    let block = block_r();
    let data = [
        &[1, 0, 4, 0],
        &length[..],
        &block,
        &[0; 1024],
        &vec![0; fingerprints],
    ];
    reply(0x90, &data.concat())
}

/// Reads once; how many bytes of fingerprints the card has, and the fault codes on the way.
fn read_fingerprints(reader: &mut IdCardReader) -> (Option<usize>, Vec<&'static str>) {
    let found = RefCell::new(None);
    let codes = RefCell::new(Vec::new());
    let emit = |event| match event {
        Event::Card(card) => {
            let bytes = card.fingerprints.map(|block| block.expose().len());
            found.replace(Some(bytes));
        }
        Event::ReadAgain(fault) => codes.borrow_mut().push(fault.code),
        Event::CardFound | Event::CardRemoved => {}
    };
    let cancel = Cancel::default();
    let completion = reader.execute(Command::Read, &Context::new(LONG, &cancel, &emit));
    assert_eq!(completion, Completion::Success);
    (found.into_inner().unwrap(), codes.into_inner())
}

/// A reading of text, photo and fingerprints that is answered so, and what follows it.
fn full_steps(answer: Vec<u8>, rest: &[Step]) -> Vec<Step> {
    let mut steps = found_and_selected();
    steps.push((request(0x30, 0x10), answer));
    steps.extend(rest.to_vec());
    steps
}

fn no_address() -> Step {
    (request(0x30, 0x03), reply(0x91, &[]))
}

fn lifted() -> Step {
    (request(0x30, 0x05), reply(0x41, &[]))
}

#[test]
fn fingerprints_are_read_where_they_are_wanted() {
    for (fingerprints, bytes, check) in [(1024, 2321, 0x5E), (512, 1809, 0), (0, 1297, 0x56)] {
        let answer = full_reply(fingerprints);
        assert_eq!(answer.len(), bytes);
        // The check bytes of the fact sheet.
        assert!(check == 0 || answer.last() == Some(&check));
        let steps = [open_steps(), full_steps(answer, &[no_address()])].concat();
        let (mut reader, module) = start_with("fingerprints = true", steps);
        let capabilities = reader.open().unwrap();
        assert!(capabilities.abilities.contains(&"fingerprints".to_owned()));
        assert_eq!(read_fingerprints(&mut reader), (Some(fingerprints), vec![]));
        module.finish();
    }
}

#[test]
fn a_module_that_refuses_fingerprints_reads_without_them_from_then_on() {
    let base = (request(0x30, 0x01), base_reply());
    for refusal in [0x21, 0x23] {
        let steps = [
            open_steps(),
            full_steps(reply(refusal, &[]), &[base.clone(), no_address()]),
            vec![lifted()],
            read_steps(),
        ];
        let (mut reader, module) = start_with("fingerprints = true", steps.concat());
        reader.open().unwrap();
        assert_eq!(read_fingerprints(&mut reader), (None, vec![]));
        assert_eq!(read_fingerprints(&mut reader), (None, vec![]));
        module.finish();
    }
}

#[test]
fn a_card_whose_fingerprints_do_not_verify_is_read_without_them_this_time() {
    let steps = [
        open_steps(),
        full_steps(
            reply(0x37, &[]),
            // The module wants the card found again.
            &[(request(0x30, 0x01), reply(0x41, &[]))],
        ),
        read_steps(),
        vec![lifted()],
        full_steps(full_reply(512), &[no_address()]),
    ];
    let (mut reader, module) = start_with("fingerprints = true", steps.concat());
    reader.open().unwrap();
    assert_eq!(
        read_fingerprints(&mut reader),
        (None, vec!["id-card.read-failed"])
    );
    assert_eq!(read_fingerprints(&mut reader), (Some(512), vec![]));
    module.finish();
}

fn not_selected() -> Step {
    (request(0x20, 0x02), reply(0x81, &[]))
}

#[test]
fn a_reader_that_never_finds_is_asked_to_select_where_configured() {
    let mut steps = vec![no_card(), not_selected(), no_card()];
    steps.extend(read_steps().into_iter().skip(1));
    check_reading_with("select_without_find = true", steps, &["found", R_READ]);
}

#[test]
fn a_module_that_does_not_tell_presence_is_trusted_and_not_called_empty() {
    let untold = (request(0x30, 0x05), reply(0x21, &[]));
    let alive = (request(0x11, 0xFF), reply(0x90, &[]));
    let steps = [
        open_steps(),
        read_steps(),
        vec![untold, alive.clone(), alive],
        // It finds no card before the old one was lifted.
        vec![no_card()],
        read_steps(),
    ];
    let (mut reader, module) = start(steps.concat());
    reader.open().unwrap();
    assert_eq!(read(&mut reader).1, Completion::Success);
    for _ in 0..2 {
        assert_eq!(reader.status().unwrap().media, Media::Unknown);
    }
    let (words, completion) = read(&mut reader);
    assert_eq!(words, ["found", R_READ]);
    assert_eq!(completion, Completion::Success);
    module.finish();
}

#[test]
fn a_reader_that_neither_finds_nor_tells_presence_does_not_read_an_old_card_again() {
    let untold = (request(0x30, 0x05), reply(0x21, &[]));
    let selected = found_and_selected().remove(1);
    let without_find = || {
        let mut steps = read_steps();
        steps[0] = no_card();
        steps
    };
    let steps = [
        open_steps(),
        without_find(),
        vec![untold, no_card(), selected, no_card(), not_selected()],
        without_find(),
    ];
    let (mut reader, module) = start_with("select_without_find = true", steps.concat());
    reader.open().unwrap();
    assert_eq!(read(&mut reader).1, Completion::Success);
    let (words, completion) = read(&mut reader);
    assert_eq!(words, ["id-card.card-left", "removed", "found", R_READ]);
    assert_eq!(completion, Completion::Success);
    module.finish();
}

#[test]
fn a_portrait_comes_with_the_card_where_a_program_decodes_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("decode");
    let head = r"BM\316\227\0\0\0\0\0\0\066\0\0\0\050\0\0\0\146\0\0\0\176\0\0\0\001\0\030\0";
    std::fs::write(
        &path,
        format!("#!/bin/sh\ncat >/dev/null\nprintf '{head}'\nhead -c 38832 /dev/zero\n"),
    )
    .unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    for (program, expect) in [(path.as_path(), Some(38_862)), (Path::new("/none"), None)] {
        let options = format!("portrait_program = {:?}", program.to_str().unwrap());
        let (mut reader, module) = start_with(&options, [open_steps(), read_steps()].concat());
        let capabilities = reader.open().unwrap();
        let has_portrait = capabilities.abilities.contains(&"portrait".to_owned());
        assert_eq!(has_portrait, expect.is_some());
        let found = RefCell::new(None);
        let emit = |event| {
            if let Event::Card(card) = event {
                found.replace(card.portrait.map(|portrait| portrait.expose().len()));
            }
        };
        let cancel = Cancel::default();
        let completion = reader.execute(Command::Read, &Context::new(LONG, &cancel, &emit));
        assert_eq!(completion, Completion::Success);
        assert_eq!(found.into_inner(), expect);
        module.finish();
    }
}

#[test]
fn a_wrong_option_is_refused_with_what_is_accepted() {
    let check = |port: &str, options: &str, expect: &str| {
        let error = IdCardReader::new(&config(port, options)).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("/dev/ttyS0", "fingerprints = 1", "true or false");
    check(
        "/dev/ttyS0",
        "select_without_find = \"yes\"",
        "true or false",
    );
    check("/dev/ttyS0", "portrait_program = \"wlt\"", "absolute path");
    check("/dev/ttyS0", "portrait = true", "known: fingerprints");
    check("usb:0400", "", "usb:VVVV:PPPP");
    check("ttyS0", "", "an absolute path");
    for port in [
        "usb:0400:c35a",
        "usbip:127.0.0.1:3240/1-1",
        "tcp:reader:50000",
    ] {
        assert!(IdCardReader::new(&config(port, "")).is_ok(), "{port}");
    }
}
