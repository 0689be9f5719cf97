//! A USB camera (UVC 1.0, motion JPEG, bulk) behind a small USB/IP server, so that the kernel's
//! `uvcvideo` and not a driver for tests stands between camera and program.
//!
//! Each picture carries the moment it left the camera in a JPEG comment, and what the host has set can
//! be looked at, so that a case can measure the way of a picture and see that a setting arrived.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kiosk_device::clock;

mod description;
mod picture;

use description::{ENDPOINT_IN, PAYLOAD_BYTES, POWER_LINE_DEFAULT};
pub(crate) use picture::sent_at;

/// Pictures a second; the same as the frame interval in the descriptors.
const FRAME_INTERVAL: Duration = Duration::from_micros(66_666);
/// Head of every transfer (`usbip_protocol.rst`).
const HEADER_BYTES: usize = 48;
/// Longest transfer to the camera that is taken. Chosen: it only gets control requests.
const OUT_BYTES_MAX: usize = 4096;
/// Transfers the kernel keeps open at once; uvcvideo uses five.
const OPEN_MAX: usize = 64;
/// Wait between looks at the wish to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// `-EPIPE` and `-ECONNRESET` of the kernel.
const STALLED: i32 = -32;
const TAKEN_BACK: i32 = -104;

/// The camera. Dropping it pulls its plug and ends its threads.
#[derive(Debug)]
pub(crate) struct Webcam {
    shared: Arc<Shared>,
    port: u16,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    started: Instant,
    picture: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    host: Option<TcpStream>,
    /// Open IN transfers: sequence number and room.
    waiting: VecDeque<(u32, usize)>,
    is_streaming: bool,
    is_stalled: bool,
    is_stopping: bool,
    /// Power-line frequency as it was set (0 off, 1 50 Hz, 2 60 Hz).
    power_line: u8,
}

impl Webcam {
    /// Starts the server on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket, or no picture could be made.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                power_line: POWER_LINE_DEFAULT,
                ..State::default()
            }),
            changed: Condvar::new(),
            started: clock::now(),
            picture: picture::test_card().context("no test card")?,
        });
        let server = Arc::clone(&shared);
        thread::Builder::new()
            .name("webcam".to_owned())
            .spawn(move || {
                // One host after the other, as a cable has one end.
                for stream in listener.incoming() {
                    if server.lock().is_stopping {
                        return;
                    }
                    // A connection that breaks is a pulled plug.
                    if let Ok(stream) = stream {
                        drop(server.serve(stream));
                        server.release();
                    }
                }
            })?;
        let producer = Arc::clone(&shared);
        thread::Builder::new()
            .name("webcam-pictures".to_owned())
            .spawn(move || producer.produce())?;
        Ok(Self { shared, port })
    }

    /// Where it is exported.
    pub(crate) fn address(&self) -> String {
        format!("usbip:127.0.0.1:{}/1-1", self.port)
    }

    /// From now on it sends no picture, or sends them again.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.shared.lock().is_stalled = is_stalled;
        self.shared.changed.notify_all();
    }

    /// Pulls the plug.
    pub(crate) fn pull(&self) {
        self.shared.release();
    }

    /// The power-line frequency that the host has set.
    pub(crate) fn power_line(&self) -> u8 {
        self.shared.lock().power_line
    }

    /// Time since the camera was started, the clock of [`sent_at`].
    pub(crate) fn time(&self) -> Duration {
        self.shared.time()
    }
}

impl Drop for Webcam {
    fn drop(&mut self) {
        self.shared.lock().is_stopping = true;
        self.shared.release();
        self.shared.changed.notify_all();
        // Wakes the listener, which then sees the wish.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    /// Closes the connection and forgets what belonged to it.
    fn release(&self) {
        let mut state = self.lock();
        if let Some(host) = state.host.take() {
            // A host that is gone already needs no farewell.
            drop(host.shutdown(Shutdown::Both));
        }
        state.waiting.clear();
        state.is_streaming = false;
        self.changed.notify_all();
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut request = [0; 40];
        stream.read_exact(&mut request)?;
        if request[..4] != [0x01, 0x11, 0x80, 0x03] {
            return Ok(());
        }
        stream.write_all(&description::import_reply())?;
        self.lock().host = Some(stream.try_clone()?);
        let mut header = [0; HEADER_BYTES];
        loop {
            stream.read_exact(&mut header)?;
            let word = |at: usize| {
                header[at..at + 4]
                    .iter()
                    .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            };
            let (sequence, is_in) = (word(4), word(12) == 1);
            match word(0) {
                1 => {
                    let length = usize::try_from(word(24)).unwrap_or(usize::MAX);
                    let mut data = Vec::new();
                    if !is_in {
                        data.resize(length.min(OUT_BYTES_MAX), 0);
                        stream.read_exact(&mut data)?;
                    }
                    if word(16) == 0 {
                        self.control(sequence, &header[40..48], &data)?;
                    } else {
                        self.wait_for_picture(sequence, length)?;
                    }
                }
                2 => self.take_back(sequence, word(20))?,
                _ => return Ok(()),
            }
        }
    }

    fn control(&self, sequence: u32, setup: &[u8], data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let answer = description::answer(setup, state.power_line);
        match (setup, data) {
            // Commit of the video stream.
            ([0x21, 0x01, 0x00, 0x02, 0x01, ..], _) => state.is_streaming = true,
            // The host stops a bulk stream by clearing its endpoint.
            ([0x02, 0x01, 0x00, 0x00, endpoint, ..], _) if *endpoint == ENDPOINT_IN => {
                state.is_streaming = false;
            }
            ([0x21, 0x01, 0x00, 0x05, ..], [frequency, ..]) => state.power_line = *frequency,
            _ => {}
        }
        self.changed.notify_all();
        let (status, taken) = match &answer {
            Some(_) => (0, data.len()),
            None => (STALLED, 0),
        };
        let answer = answer.unwrap_or_default();
        state.send(
            &reply(3, sequence, status, taken.max(answer.len())),
            &answer,
        )
    }

    fn wait_for_picture(&self, sequence: u32, room: usize) -> io::Result<()> {
        let mut state = self.lock();
        if state.waiting.len() >= OPEN_MAX {
            return state.send(&reply(3, sequence, STALLED, 0), &[]);
        }
        state.waiting.push_back((sequence, room));
        self.changed.notify_all();
        Ok(())
    }

    fn take_back(&self, sequence: u32, target: u32) -> io::Result<()> {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.retain(|(waiting, _)| *waiting != target);
        let status = if state.waiting.len() < before {
            TAKEN_BACK
        } else {
            0
        };
        state.send(&reply(4, sequence, status, 0), &[])
    }

    /// Sends pictures at the camera's pace for as long as somebody asks.
    fn produce(&self) {
        let mut due = clock::now();
        let mut toggle = false;
        loop {
            let state = self.lock();
            let left = due.saturating_duration_since(clock::now());
            if state.is_stopping {
                return;
            }
            let is_due = state.is_streaming && !state.is_stalled && left.is_zero();
            if !is_due {
                let wait = if left.is_zero() {
                    LOOK_INTERVAL
                } else {
                    left.min(LOOK_INTERVAL)
                };
                drop(self.changed.wait_timeout(state, wait));
                continue;
            }
            drop(state);
            due = clock::now() + FRAME_INTERVAL;
            toggle = !toggle;
            self.send_picture(toggle);
        }
    }

    fn send_picture(&self, toggle: bool) {
        let bytes = picture::stamped(&self.picture, self.time());
        let chunks = bytes.chunks(PAYLOAD_BYTES - 2);
        let last = chunks.len().saturating_sub(1);
        for (number, chunk) in chunks.enumerate() {
            let Some(mut state) = self.wait_for_transfer() else {
                return;
            };
            let Some((sequence, _)) = state.waiting.pop_front() else {
                return;
            };
            // End of header, end of frame, frame toggle (UVC 1.0 §2.4.3.3).
            let flags = 0x80 | u8::from(number == last) << 1 | u8::from(toggle);
            let payload = [&[2, flags], chunk].concat();
            // A connection that breaks here is noticed by its reader.
            drop(state.send(&reply(3, sequence, 0, payload.len()), &payload));
        }
    }

    /// The state once a transfer with room waits; `None` when the stream has ended.
    fn wait_for_transfer(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = self.lock();
        while state.is_streaming && !state.is_stopping && !state.is_stalled {
            match state.waiting.front() {
                Some((_, room)) if *room >= PAYLOAD_BYTES => return Some(state),
                Some(_) => return None,
                None => {}
            }
            state = self
                .changed
                .wait_timeout(state, LOOK_INTERVAL)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        None
    }
}

impl State {
    fn send(&mut self, head: &[u8], data: &[u8]) -> io::Result<()> {
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        host.write_all(&[head, data].concat())
    }
}

/// `RET_SUBMIT` (3) or `RET_UNLINK` (4).
fn reply(command: u32, sequence: u32, status: i32, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(0);
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    for word in [command, sequence, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(status.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.resize(HEADER_BYTES, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use kiosk_device::WireError;
    use kiosk_device::usb::UsbDevice;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// The streaming interface.
    fn open(webcam: &Webcam) -> UsbDevice {
        UsbDevice::open(&webcam.address(), |interface| {
            (interface.class, interface.subclass) == (0x0E, 0x02)
        })
        .unwrap()
    }

    /// One whole picture from its payloads.
    fn picture(device: &mut UsbDevice) -> Vec<u8> {
        let mut buffer = vec![0; PAYLOAD_BYTES];
        let mut bytes = Vec::new();
        for _ in 0..100 {
            let count = device.read(ENDPOINT_IN, &mut buffer, LIMIT).unwrap();
            bytes.extend_from_slice(&buffer[2..count]);
            if buffer[1] & 2 != 0 {
                return bytes;
            }
        }
        panic!("no end of a picture");
    }

    #[test]
    fn pictures_come_while_they_are_asked_for_and_end_with_the_plug() {
        let webcam = Webcam::start().unwrap();
        let mut device = open(&webcam);
        device
            .control_write(0x21, 0x01, 0x0500, 0x0200, &[1], LIMIT)
            .unwrap();
        assert_eq!(webcam.power_line(), 1);
        device
            .control_write(0x21, 0x01, 0x0200, 0x0001, &[0; 26], LIMIT)
            .unwrap();
        for _ in 0..2 {
            let picture = picture(&mut device);
            assert!(sent_at(&picture).unwrap() <= webcam.time());
            assert!(image::load_from_memory(&picture).is_ok());
        }
        webcam.pull();
        let mut buffer = vec![0; PAYLOAD_BYTES];
        let ended = (0..100).find_map(|_| device.read(ENDPOINT_IN, &mut buffer, LIMIT).err());
        assert!(matches!(ended, Some(WireError::Gone)));
        // Plugged again it is as new.
        drop(open(&webcam));
    }
}
