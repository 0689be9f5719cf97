//! The UPS driver against a scripted line that speaks Q1, and against lines that speak nonsense.

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

use kiosk_auxiliaries::ups::{Command, Ups};
use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver};

const LONG: Duration = Duration::from_secs(20);
const VALUES: &str = "(209.7 209.7 219.7 020 50.0 41.8 23.3 ";

/// A UPS that follows commands by its flags, and what it was sent.
struct Peer {
    thread: JoinHandle<Vec<String>>,
}

fn driver(port: u16) -> Ups {
    let config = format!(
        "id = \"ups\"\nclass = \"ups\"\ndriver = \"megatec-q1\"\nport = \"tcp:127.0.0.1:{port}\""
    );
    Ups::new(&toml::from_str(&config).unwrap()).unwrap()
}

/// Answers each line with what `answer` says to it.
fn start(answer: impl Fn(&str) -> String + Send + 'static) -> (Ups, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = thread::spawn(move || {
        let (mut line, _) = listener.accept().unwrap();
        line.set_read_timeout(Some(LONG)).unwrap();
        let mut told = Vec::new();
        while let Some(request) = request(&mut line) {
            line.write_all(answer(&request).as_bytes()).unwrap();
            told.push(request);
        }
        told
    });
    (driver(port), Peer { thread })
}

fn request(line: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0_u8];
    loop {
        match line.read(&mut byte) {
            Ok(1) if byte[0] == b'\r' => return Some(String::from_utf8(bytes).unwrap()),
            Ok(1) => bytes.push(byte[0]),
            Ok(_) | Err(_) => return None,
        }
    }
}

/// A well-behaved one; its flags can be changed.
fn ups(flags: &Arc<Mutex<u8>>) -> impl Fn(&str) -> String + Send + use<> {
    let flags = Arc::clone(flags);
    move |request| {
        let mut flags = flags.lock().unwrap();
        match request {
            "Q1" => format!("{VALUES}{flags:08b}\r", flags = *flags),
            "I" => "#MEGATEC         SAMPLE-1K  VER 1.07  \r".to_owned(),
            "F" => "#220.0 004 36.00 50.0\r".to_owned(),
            "T" => {
                *flags |= 0b100;
                String::new()
            }
            "S03" => {
                *flags |= 0b10;
                String::new()
            }
            "C" => {
                *flags &= !0b10;
                String::new()
            }
            other => panic!("unscripted {other:?}"),
        }
    }
}

fn execute(driver: &mut Ups, command: Command) -> Completion {
    let cancel = Cancel::default();
    let emit = |event: Infallible| match event {};
    driver.execute(command, &Context::new(LONG, &cancel, &emit))
}

#[test]
fn a_ups_is_known_and_a_power_cut_is_told() {
    let flags = Arc::new(Mutex::new(1));
    let (mut driver, peer) = start(ups(&flags));
    let capabilities = driver.open().unwrap();
    assert_eq!(capabilities.model, "MEGATEC SAMPLE-1K");
    assert_eq!(capabilities.firmware, "VER 1.07");
    assert!(
        capabilities
            .abilities
            .contains(&"rated-220-volts".to_owned())
    );
    let check = |driver: &mut Ups, now: u8, expect: &[&str]| {
        *flags.lock().unwrap() = now;
        let status = driver.status().unwrap();
        assert_eq!(status.state, DeviceState::Online);
        let codes: Vec<_> = status.faults.iter().map(|fault| fault.code).collect();
        assert_eq!(codes, expect);
        status.readings["on-battery"].clone()
    };
    assert_eq!(check(&mut driver, 1, &[]), "no");
    assert_eq!(check(&mut driver, 0x80, &["ups.on-battery"]), "yes");
    let both = ["ups.battery-low", "ups.on-battery"];
    assert_eq!(check(&mut driver, 0xC0, &both), "yes");
    driver.close();
    assert_eq!(peer.thread.join().unwrap()[..3], ["Q1", "I", "F"]);
}

#[test]
fn a_command_is_done_when_the_flags_show_it() {
    let flags = Arc::new(Mutex::new(0));
    let (mut driver, peer) = start(ups(&flags));
    driver.open().unwrap();
    assert_eq!(execute(&mut driver, Command::Test), Completion::Success);
    let shutdown = Command::Shutdown { minutes: 3 };
    assert_eq!(execute(&mut driver, shutdown), Completion::Success);
    assert_eq!(driver.status().unwrap().readings["shutdown-active"], "yes");
    let completion = execute(&mut driver, Command::CancelShutdown);
    assert_eq!(completion, Completion::Success);
    driver.close();
    let told = peer.thread.join().unwrap();
    let commands: Vec<_> = told.iter().filter(|line| *line != "Q1").collect();
    assert_eq!(commands, ["I", "F", "T", "S03", "C"]);
}

#[test]
fn a_command_that_is_not_followed_fails() {
    let (mut driver, peer) = start(|request| match request {
        "Q1" => format!("{VALUES}00000000\r"),
        // It knows no command and sends it back.
        other => format!("{other}\r"),
    });
    driver.open().unwrap();
    let completion = execute(&mut driver, Command::Test);
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "ups.command-ignored"),
        "{completion:?}"
    );
    driver.close();
    peer.thread.join().unwrap();
}

#[test]
fn an_answer_behind_an_echo_counts() {
    let (mut driver, peer) = start(|request| match request {
        "Q1" => format!("Q1\r(209.7 20{VALUES}00000000\r"),
        other => format!("{other}\r"),
    });
    let capabilities = driver.open().unwrap();
    assert_eq!(capabilities.model, "");
    assert_eq!(driver.status().unwrap().readings["load-percent"], "20");
    driver.close();
    peer.thread.join().unwrap();
}

/// What the line does instead of answering; the code that the driver must say.
fn check_line(code: &str, line: fn(TcpStream)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut driver = driver(listener.local_addr().unwrap().port());
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
fn silence_is_told_from_rubbish() {
    check_line("device.silent", read_to_end);
    check_line("ups.bad-reply", |mut line| {
        line.write_all(b"").unwrap();
        assert!(request(&mut line).is_some());
        line.write_all(b"(208.4 140.0 2").unwrap();
        read_to_end(line);
    });
    check_line("ups.bad-reply", |mut line| {
        assert!(request(&mut line).is_some());
        line.write_all(b"(none of this makes any sense\r").unwrap();
        read_to_end(line);
    });
}

#[test]
fn garbage_without_end_does_not_keep_the_driver() {
    check_line("ups.bad-reply", |mut line| {
        // Until the driver hangs up.
        while line.write_all(&[b'('; 512]).is_ok() {}
    });
}

#[test]
fn one_byte_a_second_is_too_slow() {
    check_line("ups.bad-reply", |mut line| {
        assert!(request(&mut line).is_some());
        for answer in format!("{VALUES}00000000\r").bytes() {
            // Until the driver hangs up. Nobody wakes this thread: it is the pace of the line.
            if line.write_all(&[answer]).is_err() {
                return;
            }
            thread::park_timeout(Duration::from_secs(1));
        }
    });
}

#[test]
fn a_ups_that_goes_away_in_the_answer_is_gone() {
    check_line("device.gone", |mut line| {
        assert!(request(&mut line).is_some());
        line.write_all(b"(208.4 140.0").unwrap();
    });
}
