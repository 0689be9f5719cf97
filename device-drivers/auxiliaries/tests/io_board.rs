//! The driver of I/O boards against a scripted Modbus board and against relays that only listen.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_auxiliaries::io_board::modbus::crc16;
use kiosk_auxiliaries::io_board::{Command, IoBoard, Pattern};
use kiosk_device::{Action, Cancel, Completion, Context, Driver};

const LONG: Duration = Duration::from_secs(20);

/// What the board is and how it misbehaves.
#[derive(Debug, Default)]
struct Board {
    coils: u8,
    inputs: u8,
    /// Answers that are garbled before one is whole.
    garbled: u32,
    /// Refuses to write several coils.
    is_small: bool,
    /// Refuses everything.
    refuses: bool,
    /// Frames it took, without the questions.
    written: Vec<Vec<u8>>,
}

type Shared = Arc<Mutex<Board>>;

fn driver(port: u16, name: &str, options: &str) -> IoBoard {
    let config = format!(
        "id = \"board\"\nclass = \"io-board\"\ndriver = \"{name}\"\nport = \"tcp:127.0.0.1:{port}\"\n[options]\n{options}"
    );
    IoBoard::new(&toml::from_str(&config).unwrap()).unwrap()
}

/// A board at address 1 for two connections, one after the other.
fn start(board: &Shared, options: &str) -> (IoBoard, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let driver = driver(listener.local_addr().unwrap().port(), "modbus-rtu", options);
    let board = Arc::clone(board);
    let peer = thread::spawn(move || {
        for _ in 0..2 {
            let (mut line, _) = listener.accept().unwrap();
            line.set_read_timeout(Some(LONG)).unwrap();
            while let Some(request) = request(&mut line) {
                let reply = board.lock().unwrap().reply(&request);
                line.write_all(&reply).unwrap();
            }
        }
    });
    (driver, peer)
}

/// One question; its length follows from its function.
fn request(line: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0_u8; 7];
    line.read_exact(&mut head).ok()?;
    let rest = match head[1] {
        0x0F => usize::from(head[6]) + 2,
        _ => 1,
    };
    let mut tail = vec![0; rest];
    line.read_exact(&mut tail).ok()?;
    let request = [&head[..], &tail].concat();
    let (bytes, crc) = request.split_at(request.len() - 2);
    assert_eq!(crc16(bytes).to_le_bytes(), crc, "{request:02X?}");
    assert_eq!(request[0], 1);
    Some(bytes.to_vec())
}

impl Board {
    fn reply(&mut self, request: &[u8]) -> Vec<u8> {
        let function = request[1];
        let body = match function {
            _ if self.refuses => return frame(&[1, function | 0x80, 2]),
            0x01 => vec![1, self.coils],
            0x02 => vec![1, self.inputs],
            0x05 => {
                let bit = 1 << request[3];
                match request[4..6] {
                    [0xFF, 0] => self.coils |= bit,
                    [0, 0] => self.coils &= !bit,
                    _ => panic!("unscripted {request:02X?}"),
                }
                self.written.push(request.to_vec());
                request[2..6].to_vec()
            }
            0x0F if self.is_small => return frame(&[1, 0x8F, 1]),
            0x0F => {
                self.coils = request[7];
                self.written.push(request.to_vec());
                request[2..6].to_vec()
            }
            _ => panic!("unscripted {request:02X?}"),
        };
        let mut reply = frame(&[&[1, function][..], &body].concat());
        if self.garbled > 0 {
            self.garbled -= 1;
            let last = reply.len() - 1;
            reply[last] ^= 0xFF;
        }
        // Noise of the line when its direction changes.
        [&[0x00][..], &reply].concat()
    }
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc16(bytes).to_le_bytes()].concat()
}

fn execute(driver: &mut IoBoard, command: Command, limit: Duration) -> Completion {
    let cancel = Cancel::default();
    let emit = |event: Infallible| match event {};
    driver.execute(command, &Context::new(limit, &cancel, &emit))
}

fn set(driver: &mut IoBoard, output: &str, pattern: Pattern) -> Completion {
    let output = output.to_owned();
    execute(driver, Command::Set { output, pattern }, LONG)
}

/// Ends the peer: it serves two connections.
fn finish(driver: &mut IoBoard, peer: JoinHandle<()>) {
    driver.close();
    drop(driver.open());
    driver.close();
    peer.join().unwrap();
}

#[test]
fn inputs_are_told_when_two_polls_agree() {
    let board = Shared::default();
    let (mut driver, peer) = start(
        &board,
        "inputs = { door = 0, tamper = 1, presence = 2 }\nnormally_closed = [\"door\"]",
    );
    board.lock().unwrap().inputs = 0b001;
    driver.open().unwrap();
    let readings = |driver: &mut IoBoard| {
        let status = driver.status().unwrap();
        let words = ["door", "tamper", "presence"];
        let words = words.map(|name| status.readings.get(name).cloned().unwrap_or_default());
        let faults = status.faults.iter();
        let faults: Vec<_> = faults.map(|fault| (fault.code, fault.action)).collect();
        (words.join(" "), faults)
    };
    let quiet = ("closed no not-present".to_owned(), vec![]);
    assert_eq!(readings(&mut driver), quiet);
    board.lock().unwrap().inputs = 0b110;
    assert_eq!(readings(&mut driver), quiet);
    assert_eq!(
        readings(&mut driver),
        (
            "open yes present".to_owned(),
            vec![
                ("io-board.tamper", Action::Suspend),
                ("io-board.door-open", Action::Clear)
            ]
        )
    );
    finish(&mut driver, peer);
}

#[test]
fn outputs_are_switched_flash_and_are_wanted_again_after_a_power_cut() {
    let board = Shared::default();
    let (mut driver, peer) = start(
        &board,
        "outputs = { card-light = 0, slip-light = 1, printer-power = 3 }",
    );
    driver.open().unwrap();
    // What nobody asked for is left alone.
    assert!(board.lock().unwrap().written.is_empty());
    for (output, pattern) in [
        ("card-light", Pattern::Quick),
        ("slip-light", Pattern::On),
        ("printer-power", Pattern::On),
    ] {
        assert_eq!(set(&mut driver, output, pattern), Completion::Success);
    }
    assert_eq!(board.lock().unwrap().coils, 0b1011);
    let status = driver.status().unwrap();
    assert_eq!(status.readings["card-light"], "quick");
    assert_eq!(status.readings["printer-power"], "on");
    assert!(driver.poll_interval() <= Duration::from_millis(200));
    // It flashes: within a second of polls both halves are seen.
    let cancel = Cancel::default();
    let emit = |event: Infallible| match event {};
    let clock = Context::new(LONG, &cancel, &emit);
    let mut seen = [false; 2];
    for _ in 0..40 {
        clock.pause(Duration::from_millis(50)).unwrap();
        driver.status().unwrap();
        seen[usize::from(board.lock().unwrap().coils & 1 == 1)] = true;
        if seen == [true; 2] {
            break;
        }
    }
    assert_eq!(seen, [true; 2]);
    assert_eq!(
        set(&mut driver, "card-light", Pattern::Off),
        Completion::Success
    );
    // The board loses its power and forgets; the driver has the port opened again.
    driver.close();
    board.lock().unwrap().coils = 0;
    board.lock().unwrap().written.clear();
    driver.open().unwrap();
    assert_eq!(board.lock().unwrap().coils, 0b1010);
    let written = board.lock().unwrap().written.clone();
    assert_eq!(written, [vec![1, 0x0F, 0, 0, 0, 8, 1, 0b1010]]);
    driver.close();
    peer.join().unwrap();
}

#[test]
fn a_board_that_writes_one_coil_only_is_restored_coil_by_coil() {
    let board = Shared::default();
    board.lock().unwrap().is_small = true;
    let (mut driver, peer) = start(&board, "outputs = { a = 0, b = 1 }");
    driver.open().unwrap();
    for output in ["a", "b"] {
        assert_eq!(set(&mut driver, output, Pattern::On), Completion::Success);
    }
    driver.close();
    board.lock().unwrap().coils = 0;
    driver.open().unwrap();
    assert_eq!(board.lock().unwrap().coils, 0b11);
    driver.close();
    peer.join().unwrap();
}

#[test]
fn power_is_back_however_the_cycle_ends() {
    let board = Shared::default();
    board.lock().unwrap().coils = 0b1000;
    let (mut driver, peer) = start(&board, "outputs = { printer-power = 3 }");
    driver.open().unwrap();
    let cycle = |off| Command::PowerCycle {
        output: "printer-power".to_owned(),
        off,
    };
    let half = Duration::from_millis(500);
    assert_eq!(execute(&mut driver, cycle(half), LONG), Completion::Success);
    let off_and_on = |board: &Shared| {
        let mut board = board.lock().unwrap();
        assert_eq!(board.coils, 0b1000);
        let values: Vec<_> = board.written.drain(..).map(|frame| frame[4]).collect();
        values
    };
    assert_eq!(off_and_on(&board), [0x00, 0xFF]);
    // No time for it: nothing is switched.
    assert_eq!(execute(&mut driver, cycle(LONG), half), Completion::TimeOut);
    assert_eq!(off_and_on(&board), []);
    let cancel = Cancel::default();
    let other = cancel.clone();
    let canceler = thread::spawn({
        let board = Arc::clone(&board);
        move || {
            while board.lock().unwrap().written.is_empty() {
                thread::yield_now();
            }
            other.cancel();
        }
    });
    let emit = |event: Infallible| match event {};
    let context = Context::new(LONG, &cancel, &emit);
    let completion = driver.execute(cycle(Duration::from_secs(10)), &context);
    assert_eq!(completion, Completion::Canceled);
    assert_eq!(off_and_on(&board), [0x00, 0xFF]);
    canceler.join().unwrap();
    finish(&mut driver, peer);
}

#[test]
fn coils_that_changed_by_themselves_are_mended() {
    let board = Shared::default();
    let (mut driver, peer) = start(&board, "inputs = { door = 0 }\noutputs = { light = 0 }");
    driver.open().unwrap();
    assert_eq!(set(&mut driver, "light", Pattern::On), Completion::Success);
    board.lock().unwrap().coils = 0;
    for _ in 0..10 {
        driver.status().unwrap();
    }
    assert_eq!(board.lock().unwrap().coils, 1);
    finish(&mut driver, peer);
}

#[test]
fn one_garbled_answer_is_asked_for_again_and_two_are_a_fault() {
    let board = Shared::default();
    let (mut driver, peer) = start(&board, "inputs = { door = 0 }");
    driver.open().unwrap();
    board.lock().unwrap().garbled = 1;
    driver.status().unwrap();
    board.lock().unwrap().garbled = 2;
    assert_eq!(driver.status().unwrap_err().code, "io-board.bad-reply");
    finish(&mut driver, peer);
}

#[test]
fn a_refusal_says_what_is_configured_wrongly() {
    let board = Shared::default();
    board.lock().unwrap().refuses = true;
    let (mut driver, peer) = start(&board, "inputs = { door = 0 }");
    let fault = driver.open().unwrap_err();
    assert_eq!(fault.code, "io-board.refused");
    assert!(fault.detail.contains("no such coil or input"), "{fault}");
    let completion = set(&mut driver, "unknown", Pattern::On);
    assert!(
        matches!(&completion, Completion::NotReady(fault) if fault.code == "io-board.unknown-output"),
        "{completion:?}"
    );
    finish(&mut driver, peer);
}

/// What the line does instead of answering; the code that the driver must say.
fn check_line(code: &str, line: fn(TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut driver = driver(port, "modbus-rtu", "inputs = { door = 0 }");
    let peer = thread::spawn(move || line(listener.accept().unwrap().0));
    assert_eq!(driver.open().unwrap_err().code, code);
    driver.close();
    peer.join().unwrap();
}

fn read_to_end(mut line: TcpStream) {
    line.set_read_timeout(Some(LONG)).unwrap();
    let mut rest = Vec::new();
    drop(line.read_to_end(&mut rest));
}

#[test]
fn silence_garbage_slowness_and_absence_are_told_apart() {
    check_line("device.silent", read_to_end);
    check_line("io-board.bad-reply", |mut line| {
        // Until the driver hangs up.
        while line.write_all(&[0x01; 512]).is_ok() {}
    });
    check_line("io-board.bad-reply", |mut line| {
        assert!(request(&mut line).is_some());
        for answer in frame(&[1, 2, 1, 0]) {
            // Until the driver hangs up. Nobody wakes this thread: it is the pace of the line.
            if line.write_all(&[answer]).is_err() {
                return;
            }
            thread::park_timeout(Duration::from_secs(1));
        }
    });
    check_line("device.gone", |mut line| {
        assert!(request(&mut line).is_some());
        line.write_all(&[1, 2]).unwrap();
    });
}

#[test]
fn relays_that_never_answer_are_switched_and_told_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut driver = driver(
        listener.local_addr().unwrap().port(),
        "lcus-1",
        "outputs = { light = 0, lock = 1 }\nnormally_closed = [\"lock\"]",
    );
    let peer = thread::spawn(move || {
        let mut frames = Vec::new();
        for _ in 0..2 {
            let (mut line, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            line.set_read_timeout(Some(LONG)).unwrap();
            line.read_to_end(&mut bytes).unwrap();
            frames.push(bytes);
        }
        frames
    });
    driver.open().unwrap();
    assert_eq!(set(&mut driver, "light", Pattern::On), Completion::Success);
    assert_eq!(set(&mut driver, "light", Pattern::Off), Completion::Success);
    assert_eq!(set(&mut driver, "lock", Pattern::On), Completion::Success);
    assert_eq!(driver.status().unwrap().readings["lock"], "on");
    driver.close();
    driver.open().unwrap();
    driver.close();
    let frames = peer.join().unwrap();
    let [on, off, lock] = [
        [0xA0, 0x01, 0x01, 0xA2],
        [0xA0, 0x01, 0x00, 0xA1],
        [0xA0, 0x02, 0x00, 0xA2],
    ];
    assert_eq!(frames[0], [on, off, lock, off].concat());
    assert_eq!(frames[1], [off, lock].concat());
}
