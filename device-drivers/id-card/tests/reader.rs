//! The reader driver against a module that follows a script byte by byte on a pseudo-terminal. A
//! request that is not in the script, and a script that is not used up, fail the test.

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

use kiosk_device::{Action, Cancel, Completion, Context, DeviceState, Driver, Media};
use kiosk_id_card::{Command, Event, IdCardReader};
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
    let config =
        format!("id = \"reader-1\"\nclass = \"id-card\"\ndriver = \"sdt\"\nport = \"{path}\"");
    let reader = IdCardReader::new(&toml::from_str(&config).unwrap()).unwrap();
    (reader, Module { thread, end })
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
    let (mut reader, module) = start([open_steps(), steps].concat());
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
