//! A resident identity card reader that speaks the SDT protocol on a pseudo terminal or over USB
//! (`device-protocols`, sections 1.1–1.8).
//!
//! Strict about the order find → select → read; a card that was read, or whose reading failed,
//! answers "no card" until it is lifted. Replies leave at the line's speed.

mod transport;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::card::{CardError, CardSpec, PHOTO_BYTES, TEXT_BYTES};
use crate::mischief::{ENDLESS_BYTES, TRICKLE, slow};
use crate::steering::{Rubbish, Running, Steered, TICK, now};
use crate::usb::{UsbBus, UsbConfig};
pub use transport::IdCardTransport;
use transport::{Transport, TransportReport};

const PREAMBLE: [u8; 5] = [0xAA, 0xAA, 0xAA, 0x96, 0x69];
/// Shortest meaningful length field of a request: CMD, PARA, CHK.
const LENGTH_MIN: usize = 3;
/// Longest length field accepted. Chosen: no request of the protocol is longer than 4.
const LENGTH_MAX: usize = 64;
/// Silence in the middle of a frame that makes it a broken one (section 1.2).
const FRAME_SILENCE: Duration = Duration::from_millis(800);
/// Bytes a misbehaving reader sends instead of a reply. Chosen.
const GARBAGE_BYTES: usize = 300;
/// Name of the link below the bench's directory.
const PORT_NAME: &str = "id-card";
/// Module id in the reply to `12 FF`: `05.03-20260101-0000000001-1234567890` (section 1.7).
const SAM_ID: [u8; 16] = [
    0x05, 0x00, 0x03, 0x00, 0x05, 0x25, 0x35, 0x01, 0x01, 0x00, 0x00, 0x00, 0xD2, 0x02, 0x96, 0x49,
];

/// How the reader is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdCardConfig {
    /// How a driver reaches it.
    pub transport: IdCardTransport,
    /// Speed after power-on, bits per second; 0 sends without pacing.
    pub baud: u32,
    /// Rubbish goes both ways while the driver has set another speed: for drivers that probe.
    pub heeds_speed: bool,
    /// Time of the radio and the module for find and select, milliseconds.
    pub find_ms: u64,
    /// Time of the radio and the module for one read, milliseconds.
    pub read_ms: u64,
    /// Fingerprint templates on every card: 0, 1 or 2.
    pub fingerprints: u8,
    /// Seed of the opaque photo; 0 makes a photo of zeros.
    pub photo_seed: u32,
}

impl Default for IdCardConfig {
    fn default() -> Self {
        Self {
            transport: IdCardTransport::Serial,
            baud: 115_200,
            heeds_speed: false,
            find_ms: 15,
            read_ms: 300,
            fingerprints: 0,
            photo_seed: 0,
        }
    }
}

/// What a forced status answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// The security module's own status (`11 FF`); lasts until mended.
    Sam,
    /// The next find.
    Find,
    /// The next select.
    Select,
    /// The next read (`30 xx`).
    Read,
}

/// A way in which the reader misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CardFault {
    /// Answers with this SW3 instead of the truth.
    Status {
        /// Which command.
        on: Operation,
        /// The status byte.
        code: u8,
    },
    /// The card is lifted while the next read is on the wire: the reply ends in the middle.
    RemoveMidRead,
    /// The next reply has a wrong check byte.
    BadChecksum,
    /// The next reply ends after so many bytes.
    Truncated {
        /// Bytes that still come.
        bytes: usize,
    },
    /// The next reply announces the length FF FF.
    BadLength,
    /// Two AA bytes come before the next reply.
    Noise,
    /// The endpoint of the replies halts instead of the next reply (USB).
    Stall,
    /// The reader is gone between the next request and its reply, as if its cable had been cut.
    Vanish,
    /// Lasts: replies come in pieces of three bytes with pauses between.
    Chopped,
    /// Lasts: replies are rubbish.
    Garbage,
    /// Lasts: rubbish without end, asked or not.
    EndlessGarbage,
    /// Lasts: no replies.
    Silence,
    /// Lasts: replies come at a tenth of the speed.
    Slow,
    /// Lasts: one byte a second.
    Trickle,
}

/// A card as it lies on the reader.
#[derive(Debug, Clone)]
struct Card {
    text: [u8; TEXT_BYTES],
    photo: Vec<u8>,
    fingerprint: Vec<u8>,
    appended_address: Option<Vec<u8>>,
}

/// How far the present card has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Fresh,
    Found,
    Selected,
    /// Read well: answers 30 03 and 30 05, but not find.
    Read,
    /// A read failed: answers nothing until it is lifted.
    Spent,
}

/// Misbehavior that lasts.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent fault"
)]
struct Lasting {
    is_chopped: bool,
    is_garbled: bool,
    is_endless: bool,
    is_silent: bool,
    is_slow: bool,
    is_trickling: bool,
}

#[derive(Debug)]
struct State {
    card: Option<Card>,
    stage: Stage,
    /// Counts cards put on and lifted, so that a read can tell whether its card moved.
    moves: u64,
    once: Option<CardFault>,
    sam_status: u8,
    lasting: Lasting,
    wants_cable: bool,
    has_cable: bool,
    commands: u64,
    bad_frames: u64,
}

/// The running reader; dropping it removes its port.
#[derive(Debug)]
pub struct IdCardReader {
    running: Running<State>,
    port: PathBuf,
    transport: TransportReport,
    config: IdCardConfig,
}

impl IdCardReader {
    /// Starts a reader; its driver side is `<dir>/id-card`, or on a USB bus of its own.
    ///
    /// # Errors
    /// No pseudo terminal or port, or the directory cannot be written.
    pub fn start(dir: &Path, config: IdCardConfig) -> io::Result<Self> {
        Self::start_at(None, dir, config)
    }

    /// Starts a reader that is plugged into `bus`, if its transport is USB.
    ///
    /// # Errors
    /// As [`IdCardReader::start`].
    pub fn start_on(bus: &UsbBus, dir: &Path, config: IdCardConfig) -> io::Result<Self> {
        Self::start_at(Some(bus), dir, config)
    }

    pub(crate) fn start_at(
        bus: Option<&UsbBus>,
        dir: &Path,
        config: IdCardConfig,
    ) -> io::Result<Self> {
        let line = match (config.transport, bus) {
            (IdCardTransport::Serial, _) => {
                Transport::open_serial(&dir.join(PORT_NAME), config.baud, config.heeds_speed)?
            }
            (transport, Some(bus)) => Transport::open_usb(bus, transport),
            (transport, None) => {
                Transport::open_usb(&UsbBus::start(&UsbConfig::default())?, transport)
            }
        };
        Self::run(line, config)
    }

    fn run(line: Transport, config: IdCardConfig) -> io::Result<Self> {
        let port = line.name();
        let transport = line.report();
        let mut reader = Reader {
            line,
            config: config.clone(),
            received: Vec::new(),
            last_byte: now(),
            rubbish: Rubbish::new(0x5D7),
        };
        let mut running = Running::new(Steered::new(State {
            card: None,
            stage: Stage::Fresh,
            moves: 0,
            once: None,
            sam_status: 0x90,
            lasting: Lasting::default(),
            wants_cable: true,
            has_cable: true,
            commands: 0,
            bad_frames: 0,
        }));
        running.spawn("emulated-id-card", move |steered| reader.run(steered))?;
        Ok(Self {
            running,
            port,
            transport,
            config,
        })
    }

    /// Where a driver reaches the reader: a path, or `usbip:HOST:PORT/BUSID`.
    pub fn port(&self) -> &Path {
        &self.port
    }

    /// Puts a card on the reader; a card already there is taken away first.
    ///
    /// # Errors
    /// [`CardError::TooLong`]: the card cannot hold a field.
    pub fn insert(&self, card: &CardSpec) -> Result<(), CardError> {
        let card = Card {
            text: card.text()?,
            photo: opaque(self.config.photo_seed, PHOTO_BYTES),
            fingerprint: opaque(
                self.config.photo_seed,
                512 * usize::from(self.config.fingerprints.min(2)),
            ),
            appended_address: card.appended_address()?,
        };
        self.running.steered.change(|state| {
            state.card = Some(card);
            state.stage = Stage::Fresh;
            state.moves += 1;
        });
        Ok(())
    }

    /// Lifts the card.
    pub fn remove(&self) {
        self.running.steered.change(State::lift);
    }

    /// Makes the reader misbehave.
    pub fn fault(&self, fault: CardFault) {
        self.running.steered.change(|state| match fault {
            CardFault::Chopped => state.lasting.is_chopped = true,
            CardFault::Garbage => state.lasting.is_garbled = true,
            CardFault::Silence => state.lasting.is_silent = true,
            CardFault::Slow => state.lasting.is_slow = true,
            CardFault::EndlessGarbage => state.lasting.is_endless = true,
            CardFault::Trickle => state.lasting.is_trickling = true,
            CardFault::Status {
                on: Operation::Sam,
                code,
            } => state.sam_status = code,
            CardFault::Status { .. }
            | CardFault::RemoveMidRead
            | CardFault::BadChecksum
            | CardFault::Truncated { .. }
            | CardFault::BadLength
            | CardFault::Noise
            | CardFault::Stall
            | CardFault::Vanish => state.once = Some(fault),
        });
    }

    /// Ends all misbehavior.
    pub fn mend(&self) {
        self.running.steered.change(|state| {
            state.lasting = Lasting::default();
            state.once = None;
            state.sam_status = 0x90;
        });
    }

    /// Cuts the cable; the port is gone when this returns true.
    pub fn cut_cable(&self) -> bool {
        self.set_cable(false)
    }

    /// Plugs the cable; the port is back when this returns true.
    pub fn plug_cable(&self) -> bool {
        self.set_cable(true)
    }

    fn set_cable(&self, is_plugged: bool) -> bool {
        let steered = &self.running.steered;
        steered.change(|state| state.wants_cable = is_plugged);
        steered.follow(|state| state.has_cable == is_plugged)
    }

    /// The state, for people: no field of a card is in it.
    pub fn report(&self) -> Value {
        self.running.steered.look(|state| {
            json!({
                "port": self.port,
                "card": state.card.is_some(),
                "card-was-read": state.stage == Stage::Read,
                "cable": state.has_cable,
                "commands": state.commands,
                "bad-frames": state.bad_frames,
                "usb": self.transport.value(),
            })
        })
    }
}

impl State {
    fn lift(&mut self) {
        self.card = None;
        self.stage = Stage::Fresh;
        self.moves += 1;
    }

    /// Takes the forced status of an operation, if one waits.
    fn forced(&mut self, operation: Operation) -> Option<u8> {
        match self.once {
            Some(CardFault::Status { on, code }) if on == operation => {
                self.once = None;
                Some(code)
            }
            _ => None,
        }
    }
}

fn opaque(seed: u32, count: usize) -> Vec<u8> {
    if seed == 0 {
        vec![0; count]
    } else {
        Rubbish::new(seed).bytes(count)
    }
}

/// One request as found in the byte stream.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Command {
        command: u8,
        parameter: u8,
        data: Vec<u8>,
    },
    BadChecksum,
    BadLength,
}

/// Takes the first request out of `received`; rubbish before it is dropped.
fn take_request(received: &mut Vec<u8>) -> Option<Request> {
    // Each turn removes at least one byte, so the loop is bounded by the buffer.
    while !received.is_empty() {
        let seen = received.len().min(PREAMBLE.len());
        if received[..seen] != PREAMBLE[..seen] {
            received.remove(0);
            continue;
        }
        let (Some(&high), Some(&low)) = (received.get(5), received.get(6)) else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
            // Nobody can tell where such a frame ends: drop its header and look for the next.
            received.drain(..7);
            return Some(Request::BadLength);
        }
        if received.len() < 7 + length {
            return None;
        }
        let frame: Vec<u8> = received.drain(..7 + length).collect();
        if frame[5..].iter().fold(0, |sum, byte| sum ^ byte) != 0 {
            return Some(Request::BadChecksum);
        }
        return Some(Request::Command {
            command: frame[7],
            parameter: frame[8],
            data: frame[9..frame.len() - 1].to_vec(),
        });
    }
    None
}

/// A complete reply frame.
fn reply(status: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 4).unwrap_or(u16::MAX);
    let mut frame = PREAMBLE.to_vec();
    frame.extend(length.to_be_bytes());
    frame.extend([0, 0, status]);
    frame.extend(data);
    let check = frame[5..].iter().fold(0, |sum, byte| sum ^ byte);
    frame.push(check);
    frame
}

/// What to answer and what follows from it.
struct Answer {
    frame: Vec<u8>,
    /// Time before the first byte.
    after: Duration,
    is_read: bool,
    baud: Option<u32>,
}

impl Answer {
    fn of(status: u8, data: &[u8]) -> Self {
        Self {
            frame: reply(status, data),
            after: Duration::ZERO,
            is_read: false,
            baud: None,
        }
    }

    fn after_ms(mut self, milliseconds: u64) -> Self {
        self.after = Duration::from_millis(milliseconds);
        self
    }
}

/// The thread's own side of the reader.
struct Reader {
    line: Transport,
    config: IdCardConfig,
    received: Vec<u8>,
    last_byte: Instant,
    rubbish: Rubbish,
}

impl Reader {
    fn run(&mut self, steered: &Steered<State>) {
        while !steered.is_stopping() {
            if let Err(error) = self.step(steered) {
                tracing::warn!(%error, "emulated card reader lost its line");
                self.line.cut();
                steered.change(|state| {
                    state.wants_cable = false;
                    state.has_cable = false;
                });
            }
        }
    }

    fn step(&mut self, steered: &Steered<State>) -> io::Result<()> {
        self.follow_cable(steered)?;
        if !self.line.is_plugged() {
            steered.pause(TICK);
            return Ok(());
        }
        if steered.look(|state| state.lasting.is_endless) {
            let rubbish = self.rubbish.bytes(ENDLESS_BYTES);
            self.line
                .send(&rubbish, steered, |state| state.wants_cable)?;
        }
        if self.line.receive(&mut self.received, TICK)? {
            self.last_byte = now();
        } else if now().duration_since(self.last_byte) >= FRAME_SILENCE {
            self.received.clear();
        }
        while let Some(request) = take_request(&mut self.received) {
            let answer = self.answer(&request, steered);
            self.send(answer, steered)?;
        }
        Ok(())
    }

    fn follow_cable(&mut self, steered: &Steered<State>) -> io::Result<()> {
        let wanted = steered.look(|state| state.wants_cable);
        if wanted != self.line.is_plugged() {
            self.received.clear();
            if wanted {
                if self.config.transport == IdCardTransport::Serial {
                    self.line.set_baud(self.config.baud);
                }
                self.line.plug()?;
            } else {
                self.line.cut();
            }
        }
        steered.change(|state| state.has_cable = wanted);
        Ok(())
    }

    fn answer(&self, request: &Request, steered: &Steered<State>) -> Answer {
        let (command, parameter, data) = match request {
            Request::BadChecksum => {
                steered.change(|state| state.bad_frames += 1);
                return Answer::of(0x10, &[]);
            }
            Request::BadLength => {
                steered.change(|state| state.bad_frames += 1);
                return Answer::of(0x11, &[]);
            }
            Request::Command {
                command,
                parameter,
                data,
            } => (*command, *parameter, data.as_slice()),
        };
        steered.change(|state| {
            state.commands += 1;
            match (command, parameter, data) {
                (0x61, 0xFF, [24..=255]) => Answer::of(0x90, &[]),
                (0x61, 0xFF, [_]) => Answer::of(0x21, &[]),
                (0x61, 0xFF, []) | (_, _, [_, ..]) => Answer::of(0x11, &[]),
                (0x10, 0xFF, []) => {
                    if matches!(state.stage, Stage::Found | Stage::Selected) {
                        state.stage = Stage::Fresh;
                    }
                    Answer::of(state.sam_status, &[])
                }
                (0x11, 0xFF, []) => Answer::of(state.sam_status, &[]),
                (0x12, 0xFF, []) if state.sam_status == 0x90 => Answer::of(0x90, &SAM_ID),
                (0x20 | 0x30 | 0x12, _, []) if state.sam_status != 0x90 => {
                    Answer::of(state.sam_status, &[])
                }
                (0x20, 0x01, []) => self.find(state),
                (0x20, 0x02, []) => self.select(state),
                (0x30, 0x01 | 0x10, []) => self.read(state, parameter),
                (0x30, 0x02 | 0x03, []) => self.read_appended(state),
                (0x30, 0x05, []) => self.read_chip_number(state),
                (0x60, code, []) => set_baud(code),
                _ => Answer::of(0x21, &[]),
            }
        })
    }

    fn find(&self, state: &mut State) -> Answer {
        let forced = state.forced(Operation::Find);
        let is_found = state.card.is_some() && !matches!(state.stage, Stage::Read | Stage::Spent);
        let answer = match forced {
            Some(code) => Answer::of(code, &[]),
            None if is_found => {
                state.stage = Stage::Found;
                Answer::of(0x9F, &[0; 4])
            }
            None => Answer::of(0x80, &[]),
        };
        answer.after_ms(self.config.find_ms)
    }

    fn select(&self, state: &mut State) -> Answer {
        let forced = state.forced(Operation::Select);
        let answer = match forced {
            Some(code) => Answer::of(code, &[]),
            None if state.card.is_some() && state.stage == Stage::Found => {
                state.stage = Stage::Selected;
                Answer::of(0x90, &[0; 8])
            }
            None => Answer::of(0x81, &[]),
        };
        answer.after_ms(self.config.find_ms)
    }

    fn read(&self, state: &mut State, parameter: u8) -> Answer {
        if let Some(code) = state.forced(Operation::Read) {
            state.stage = Stage::Spent;
            return Answer::of(code, &[]).after_ms(self.config.read_ms);
        }
        let Some(card) = &state.card else {
            return Answer::of(0x41, &[]).after_ms(self.config.find_ms);
        };
        if state.stage != Stage::Selected {
            return Answer::of(0x21, &[]);
        }
        let mut data = vec![0x01, 0x00, 0x04, 0x00];
        if parameter == 0x10 {
            let length = u16::try_from(card.fingerprint.len()).unwrap_or(0);
            data.extend(length.to_be_bytes());
        }
        data.extend(card.text);
        data.extend(&card.photo);
        if parameter == 0x10 {
            data.extend(&card.fingerprint);
        }
        // Until the reply is on its way the card must not move; `send` decides.
        state.stage = Stage::Spent;
        Answer {
            is_read: true,
            ..Answer::of(0x90, &data).after_ms(self.config.read_ms)
        }
    }

    fn read_appended(&self, state: &mut State) -> Answer {
        let answer = match (&state.card, state.stage) {
            (None, _) => Answer::of(0x41, &[]),
            (Some(card), Stage::Read) => match &card.appended_address {
                Some(address) => Answer::of(0x90, address),
                None => Answer::of(0x91, &[]),
            },
            (Some(_), _) => Answer::of(0x21, &[]),
        };
        answer.after_ms(self.config.find_ms)
    }

    fn read_chip_number(&self, state: &mut State) -> Answer {
        let answer = match (&state.card, state.stage) {
            (None, _) => Answer::of(0x41, &[]),
            (Some(card), Stage::Read) => Answer::of(0x90, &chip_number(card)),
            (Some(_), _) => Answer::of(0x21, &[]),
        };
        answer.after_ms(self.config.find_ms)
    }

    fn send(&mut self, answer: Answer, steered: &Steered<State>) -> io::Result<()> {
        let moves = steered.look(|state| state.moves);
        let is_still = |state: &State| state.moves == moves && state.wants_cable;
        if answer.is_read && !steered.pause_while(answer.after, is_still) {
            // Lifted while the radio was at work.
            self.line.send(&reply(0x41, &[]), steered, |_| true)?;
            return Ok(());
        }
        if !answer.is_read {
            steered.pause(answer.after);
        }
        let (once, lasting) = steered.change(|state| {
            let once = match state.once {
                Some(CardFault::RemoveMidRead) if !answer.is_read => None,
                Some(CardFault::Status { .. }) | None => None,
                Some(_) => state.once.take(),
            };
            if once == Some(CardFault::RemoveMidRead) {
                state.lift();
            } else if answer.is_read && state.moves == moves {
                state.stage = Stage::Read;
            }
            (once, state.lasting)
        });
        match once {
            Some(CardFault::Vanish) => {
                steered.change(|state| {
                    state.wants_cable = false;
                    // At once: whoever sees the line gone and plugs it must wait for the new one.
                    state.has_cable = false;
                });
                return Ok(());
            }
            Some(CardFault::Stall) if self.line.stall() => return Ok(()),
            Some(_) | None => {}
        }
        let frame = self.spoil(answer.frame, once, lasting);
        self.put(&frame, lasting, steered)?;
        if let Some(baud) = answer.baud
            && self.line.baud() != 0
        {
            self.line.set_baud(baud);
        }
        Ok(())
    }

    fn spoil(&mut self, mut frame: Vec<u8>, once: Option<CardFault>, lasting: Lasting) -> Vec<u8> {
        if lasting.is_silent {
            return Vec::new();
        }
        if lasting.is_garbled {
            return self.rubbish.bytes(GARBAGE_BYTES);
        }
        match once {
            Some(CardFault::BadChecksum) => {
                if let Some(check) = frame.last_mut() {
                    *check = check.wrapping_add(1);
                }
            }
            Some(CardFault::Truncated { bytes }) => frame.truncate(bytes),
            Some(CardFault::RemoveMidRead) => frame.truncate(frame.len() / 2),
            Some(CardFault::BadLength) => frame[5..7].fill(0xFF),
            Some(CardFault::Noise) => frame.splice(0..0, [0xAA, 0xAA]).for_each(drop),
            Some(
                CardFault::Status { .. }
                | CardFault::Stall
                | CardFault::Vanish
                | CardFault::Chopped
                | CardFault::Garbage
                | CardFault::EndlessGarbage
                | CardFault::Silence
                | CardFault::Slow
                | CardFault::Trickle,
            )
            | None => {}
        }
        frame
    }

    fn put(&mut self, frame: &[u8], lasting: Lasting, steered: &Steered<State>) -> io::Result<()> {
        let keep = |state: &State| state.wants_cable;
        let baud = self.line.baud();
        if lasting.is_slow && baud == 0 {
            // No wire that could be slow: the whole reply is late instead.
            let bits = u64::try_from(frame.len() * 10).unwrap_or(u64::MAX);
            steered.pause_while(
                Duration::from_micros(bits * 1_000_000 / u64::from(slow(0))),
                keep,
            );
        } else if lasting.is_slow {
            self.line.set_baud(slow(baud));
        }
        let (piece, pause) = match lasting {
            Lasting {
                is_trickling: true, ..
            } => (1, TRICKLE),
            Lasting {
                is_chopped: true, ..
            } if self.line.is_stream() => (3, Duration::from_millis(2)),
            _ => (frame.len().max(1), Duration::ZERO),
        };
        let mut result = Ok(());
        for bytes in frame.chunks(piece) {
            match self.line.send(bytes, steered, keep) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
            let is_so = |state: &State| {
                keep(state) && (!lasting.is_trickling || state.lasting.is_trickling)
            };
            if !pause.is_zero() && !steered.pause_while(pause, is_so) {
                break;
            }
        }
        self.line.set_baud(baud);
        result
    }
}

fn set_baud(code: u8) -> Answer {
    let baud = match code {
        0 => 115_200,
        1 => 57_600,
        2 => 38_400,
        3 => 19_200,
        4 => 9600,
        _ => return Answer::of(0x21, &[]),
    };
    Answer {
        baud: Some(baud),
        ..Answer::of(0x90, &[])
    }
}

/// 28 bytes that belong to the chip: opaque, the same for the same card.
fn chip_number(card: &Card) -> Vec<u8> {
    let seed = card.text.iter().fold(0x811C_9DC5_u32, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    Rubbish::new(seed).bytes(28)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: &[Request]) {
        let mut received = bytes.to_vec();
        let mut found = Vec::new();
        while let Some(request) = take_request(&mut received) {
            found.push(request);
        }
        assert_eq!(found, expect, "{bytes:02X?}");
    }

    fn find() -> Request {
        Request::Command {
            command: 0x20,
            parameter: 1,
            data: vec![],
        }
    }

    const FIND: [u8; 10] = [0xAA, 0xAA, 0xAA, 0x96, 0x69, 0, 3, 0x20, 1, 0x22];

    #[test]
    fn a_frame_is_found_behind_noise() {
        check(&FIND, &[find()]);
        check(&[&[0xAA, 0xAA], &FIND[..]].concat(), &[find()]);
        check(
            &[&[0x00, 0xAA, 0x96], &FIND[..], &FIND[..]].concat(),
            &[find(), find()],
        );
        check(&FIND[..9], &[]);
    }

    #[test]
    fn bad_check_bytes_and_lengths_are_told_apart() {
        let mut wrong = FIND;
        wrong[9] = 0x21;
        check(&wrong, &[Request::BadChecksum]);
        let endless = [0xAA, 0xAA, 0xAA, 0x96, 0x69, 0xFF, 0xFF];
        check(
            &[&endless[..], &FIND[..]].concat(),
            &[Request::BadLength, find()],
        );
        check(&[0xAA, 0xAA, 0xAA, 0x96, 0x69, 0, 2], &[Request::BadLength]);
    }

    #[test]
    fn replies_equal_the_fact_sheet() {
        assert_eq!(
            reply(0x9F, &[0; 4]),
            [
                0xAA, 0xAA, 0xAA, 0x96, 0x69, 0, 8, 0, 0, 0x9F, 0, 0, 0, 0, 0x97
            ]
        );
        assert_eq!(*reply(0x90, &SAM_ID).last().unwrap(), 0x98);
        assert_eq!(*reply(0x90, &[0; 8]).last().unwrap(), 0x9C);
    }
}
