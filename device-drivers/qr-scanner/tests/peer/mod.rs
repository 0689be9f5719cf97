//! A module that follows a script byte by byte on a pseudo-terminal. A frame that is not in the
//! script, and a script that is not used up, fail the test.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{Cancel, Completion, Context, Driver};
use kiosk_qr_scanner::{Command, Event, Scanner};
use serialport::{SerialPort, TTYPort};

pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Keeps the pseudo-terminal from becoming the test's controlling terminal (`open(2)`, Linux).
const O_NOCTTY: i32 = 0o400;

/// One exchange: what must come, and what is answered in how many parts, each after a pause.
#[derive(Clone)]
pub(crate) struct Step {
    expect: Vec<u8>,
    parts: Vec<Vec<u8>>,
    pause: Duration,
}

impl Step {
    /// `answer` comes at once.
    pub(crate) fn new(expect: impl Into<Vec<u8>>, answer: impl Into<Vec<u8>>) -> Self {
        Self {
            expect: expect.into(),
            parts: vec![answer.into()],
            pause: Duration::ZERO,
        }
    }

    /// `answer` comes byte by byte.
    pub(crate) fn slow(expect: impl Into<Vec<u8>>, answer: &[u8], pause: Duration) -> Self {
        Self {
            expect: expect.into(),
            parts: answer.iter().map(|byte| vec![*byte]).collect(),
            pause,
        }
    }

    /// The same exchange with `more` right behind the answer.
    pub(crate) fn and(mut self, more: &[u8]) -> Self {
        self.parts.push(more.to_vec());
        self
    }
}

pub(crate) struct Module {
    thread: JoinHandle<()>,
    end: SyncSender<()>,
}

impl Module {
    /// Unplugs the module; its script must be used up, and nothing else have come.
    pub(crate) fn finish(self) {
        self.end.try_send(()).unwrap();
        self.thread.join().unwrap();
    }

    /// Waits for a module that unplugs itself.
    pub(crate) fn wait(self) {
        self.thread.join().unwrap();
    }
}

/// What a module does after its script.
pub(crate) enum Afterwards {
    /// Waits until the test is over.
    Stay,
    /// Pulls its plug at once.
    Leave,
    /// Sends this again and again.
    Flood(&'static [u8]),
}

pub(crate) fn start(driver: &str, keys: &str, script: Vec<Step>) -> (Scanner, Module) {
    start_with(driver, keys, script, Afterwards::Stay)
}

pub(crate) fn start_with(
    driver: &str,
    keys: &str,
    script: Vec<Step>,
    afterwards: Afterwards,
) -> (Scanner, Module) {
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
        play(&mut master, script, &ended);
        match afterwards {
            Afterwards::Leave => {}
            Afterwards::Stay => {
                ended.recv_timeout(LONG).unwrap();
                assert_eq!(
                    master.bytes_to_read().unwrap(),
                    0,
                    "frames beyond the script"
                );
            }
            Afterwards::Flood(bytes) => {
                master.set_timeout(Duration::from_millis(20)).unwrap();
                while ended.try_recv().is_err() {
                    // A full pseudo-terminal takes the rest later, and what the driver sends is lost.
                    drop(master.write(bytes));
                    drop(master.clear(serialport::ClearBuffer::Input));
                }
            }
        }
        drop(slave);
    });
    (scanner(driver, &path, keys), Module { thread, end })
}

fn play(master: &mut (impl Read + Write), script: Vec<Step>, ended: &Receiver<()>) {
    for (number, step) in script.into_iter().enumerate() {
        let mut frame = vec![0_u8; step.expect.len()];
        if let Err(error) = master.read_exact(&mut frame) {
            panic!(
                "step {number}: {error}, {frame:02X?} of {:02X?}",
                step.expect
            );
        }
        assert_eq!(frame, step.expect, "step {number}");
        for part in step.parts {
            if !step.pause.is_zero() {
                assert!(ended.recv_timeout(step.pause).is_err(), "step {number}");
            }
            master.write_all(&part).unwrap();
        }
    }
}

/// The same behind a TCP port.
pub(crate) fn start_on_network(driver: &str, script: Vec<Step>) -> (Scanner, Module) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("tcp:{}", listener.local_addr().unwrap());
    let (end, ended) = sync_channel(1);
    let thread = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(LONG)).unwrap();
        play(&mut peer, script, &ended);
        ended.recv_timeout(LONG).unwrap();
    });
    (scanner(driver, &port, ""), Module { thread, end })
}

/// A driver for the module at `port`; `keys` are lines of its table.
pub(crate) fn scanner(driver: &str, port: &str, keys: &str) -> Scanner {
    let config = format!(
        "id = \"scanner-1\"\nclass = \"qr-scanner\"\ndriver = \"{driver}\"\nport = \"{port}\"\n{keys}"
    );
    Scanner::new(&toml::from_str(&config).unwrap()).unwrap()
}

/// Scans once: what was read, and how it ended.
pub(crate) fn scan(scanner: &mut Scanner, limit: Duration) -> (Vec<String>, Completion) {
    let codes = RefCell::new(Vec::new());
    let emit = |Event::Code(code): Event| codes.borrow_mut().push(code.text.expose().clone());
    let cancel = Cancel::default();
    let completion = scanner.execute(Command::Scan, &Context::new(limit, &cancel, &emit));
    (codes.into_inner(), completion)
}

pub(crate) fn read(code: &str) -> (Vec<String>, Completion) {
    (vec![code.to_owned()], Completion::Success)
}

pub(crate) fn check_failed(completion: &Completion, code: &str) {
    assert!(
        matches!(completion, Completion::Failed(fault) if fault.code == code),
        "{completion:?}"
    );
}
