//! Raw clients for the transports, without any driver: what goes in and out are bytes.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

/// Longest wait for bytes that must come.
const WITHIN: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    hex.split_whitespace()
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// The driver's side of an emulated serial line.
pub(crate) struct Serial(pub(crate) File);

impl Serial {
    pub(crate) fn open(path: &Path) -> Self {
        let file = rustix::fs::open(
            path,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        Self(File::from(file))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Exactly `count` bytes.
    pub(crate) fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut received = Vec::new();
        while received.len() < count {
            let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
            assert!(
                poll(&mut polled, Some(&WITHIN)).unwrap() > 0,
                "only {} of {count} bytes came: {received:02X?}",
                received.len()
            );
            let mut buffer = vec![0; count - received.len()];
            let got = self.0.read(&mut buffer).unwrap();
            received.extend(&buffer[..got]);
        }
        received
    }

    /// Sets the speed of the line, as a driver does.
    pub(crate) fn set_speed(&self, baud: u32) {
        let mut settings = rustix::termios::tcgetattr(&self.0).unwrap();
        settings.set_speed(baud).unwrap();
        rustix::termios::tcsetattr(&self.0, rustix::termios::OptionalActions::Now, &settings)
            .unwrap();
    }

    /// True when nothing comes for a while.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        let time = Timespec {
            tv_sec: time.as_secs().try_into().unwrap(),
            tv_nsec: time.subsec_nanos().into(),
        };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)).unwrap() == 0
    }

    pub(crate) fn ask(&mut self, request: &[u8], reply_bytes: usize) -> Vec<u8> {
        self.send(request);
        self.receive(reply_bytes)
    }
}

pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream
}

pub(crate) fn receive(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut received = vec![0; count];
    stream.read_exact(&mut received).unwrap();
    received
}

/// Asks again and again, in turns of an exchange with the device, until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<()>(1);
    for _ in 0..1500 {
        if is_so() {
            return;
        }
        // Waits without sleeping: nobody sends.
        assert!(receiver.recv_timeout(Duration::from_millis(10)).is_err());
    }
    drop(sender);
    panic!("never: {what}");
}
