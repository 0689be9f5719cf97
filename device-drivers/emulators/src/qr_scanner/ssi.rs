//! Zebra's Simple Serial Interface (`device-protocols`, section 4.4): packets with a checksum, each
//! acknowledged by the other side.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::dialect::{Asked, Build, Dialect, Mode, Turn};

/// Bytes of a packet's head.
const HEAD_BYTES: usize = 4;
/// Bytes of a code in one packet: 255, less the head and the kind of code.
const PIECE_BYTES: usize = 250;
/// How long the host may think about a packet.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How often a packet is sent again.
const RETRIES_MAX: u8 = 3;

const FROM_DECODER: u8 = 0x00;
const FROM_HOST: u8 = 0x04;
/// Status bit of a packet that is sent again.
const AGAIN: u8 = 0x01;
/// Status bit of a packet that is not the last.
const MORE: u8 = 0x02;

const ACK: u8 = 0xD0;
const NAK: u8 = 0xD1;
const DECODE_DATA: u8 = 0xF3;

const RESEND: u8 = 0x01;
const BAD_CONTEXT: u8 = 0x02;
const DENIED: u8 = 0x06;

/// Parameter of the trigger's mode.
const TRIGGER_MODE: u8 = 0x8A;
/// Parameter of the line's speed.
const SPEED: u8 = 0x9C;
/// Parameter that selects packets (1) or raw bytes (0) for codes.
const PACKETS: u8 = 0xEE;

/// A scanner that speaks it.
#[derive(Debug)]
pub(crate) struct Ssi {
    build: Build,
    /// Codes leave in packets at power-on.
    is_packeted_at_power_on: bool,
    kind: u8,
    is_packeted: bool,
    is_enabled: bool,
    mode: Mode,
    sending: VecDeque<Vec<u8>>,
    tries: u8,
    answer_until: Option<Instant>,
}

/// One packet of the host.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    Whole { operation: u8, data: Vec<u8> },
    WrongCheck,
}

impl Ssi {
    /// `kind` is the code of the symbology in front of each piece of a code.
    pub(crate) fn new(build: Build, is_packeted: bool, kind: u8) -> Self {
        Self {
            mode: build.mode,
            build,
            is_packeted_at_power_on: is_packeted,
            kind,
            is_packeted,
            is_enabled: true,
            sending: VecDeque::new(),
            tries: 0,
            answer_until: None,
        }
    }

    fn stop_sending(&mut self) {
        self.sending.clear();
        self.answer_until = None;
        self.tries = 0;
    }

    /// The packet that waits to be acknowledged, once more.
    fn again(&mut self) -> Vec<u8> {
        self.tries += 1;
        if self.tries > RETRIES_MAX {
            self.stop_sending();
        }
        let Some(packet) = self.sending.front() else {
            return Vec::new();
        };
        let mut again = packet[..packet.len() - 2].to_vec();
        again[3] |= AGAIN;
        checked(again)
    }

    fn obey(&mut self, operation: u8, data: &[u8]) -> Turn {
        let done = |act| Turn::done(packet(ACK, 0, &[]), act);
        match (operation, data) {
            (ACK, []) => {
                if self.answer_until.is_some() {
                    self.sending.pop_front();
                    self.tries = 0;
                }
                let next = self.sending.front().cloned();
                if next.is_none() {
                    self.answer_until = None;
                }
                Turn {
                    reply: next.unwrap_or_default(),
                    ..Turn::default()
                }
            }
            (NAK, [_]) => Turn {
                reply: self.again(),
                ..Turn::default()
            },
            (0xE4, []) if self.is_enabled => done(Asked::Trigger),
            (0xE4, []) => refused(DENIED),
            (0xE5, []) => done(Asked::Release),
            (0xE9, []) => {
                self.is_enabled = true;
                done(Asked::Nothing)
            }
            (0xEA, []) => {
                self.is_enabled = false;
                done(Asked::Release)
            }
            // Light, beeper, aim and sleep make no difference to the line.
            (0xE6..=0xE8, [_]) | (0xC4 | 0xC5 | 0xEB, []) => done(Asked::Nothing),
            (0xD2, []) => {
                self.stop_sending();
                done(Asked::Nothing)
            }
            (0xA3, []) => Turn::done(packet(0xA4, 0, b"EMU-SSI 1.00"), Asked::Nothing),
            (0xD3, []) => Turn::done(packet(0xD4, 0, &CAPABILITIES), Asked::Nothing),
            (0xC8, []) => {
                self.reset();
                done(Asked::Release)
            }
            // The first byte is a beep; parameters and values follow in pairs.
            (0xC6, [_, pairs @ ..]) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
                let mut turn = done(Asked::Nothing);
                for pair in pairs.chunks_exact(2) {
                    match self.set(pair[0], pair[1]) {
                        Some(act) => turn.acts.push(act),
                        None => return refused(BAD_CONTEXT),
                    }
                }
                turn
            }
            _ => refused(BAD_CONTEXT),
        }
    }

    /// Sets one parameter; `None` for one that does not exist or cannot be so.
    fn set(&mut self, parameter: u8, value: u8) -> Option<Asked> {
        match (parameter, value) {
            (TRIGGER_MODE, 0 | 2 | 8) => self.mode = Mode::Level,
            (TRIGGER_MODE, 4) => self.mode = Mode::Continuous,
            (TRIGGER_MODE, 7 | 9) => self.mode = Mode::Presentation,
            (SPEED, 5..=10) => {
                let speeds = [4800, 9600, 19_200, 38_400, 57_600, 115_200];
                return speeds.get(usize::from(value - 5)).copied().map(Asked::Baud);
            }
            (PACKETS, 0 | 1) => self.is_packeted = value == 1,
            _ => return None,
        }
        Some(Asked::Nothing)
    }
}

/// Speeds, check and packets it can do, then the operations it knows.
const CAPABILITIES: [u8; 20] = [
    0x0F, 0xE0, 0x01, 0x02, 0xC4, 0xC5, 0xC6, 0xC8, 0xD0, 0xD1, 0xD2, 0xD3, 0xE4, 0xE5, 0xE6, 0xE7,
    0xE8, 0xE9, 0xEA, 0xEB,
];

impl Dialect for Ssi {
    fn reset(&mut self) {
        *self = Self::new(self.build.clone(), self.is_packeted_at_power_on, self.kind);
    }

    fn hear(&mut self, received: &mut Vec<u8>, is_refused: bool) -> Option<Turn> {
        Some(match take_packet(received)? {
            Packet::WrongCheck => refused(RESEND),
            Packet::Whole { operation, .. } if is_refused && !matches!(operation, ACK | NAK) => {
                refused(RESEND)
            }
            Packet::Whole { operation, data } => self.obey(operation, &data),
        })
    }

    fn mode(&self) -> Mode {
        if self.is_enabled {
            self.mode
        } else {
            Mode::Level
        }
    }

    fn trigger_time(&self) -> Duration {
        self.build.trigger_time()
    }

    fn code(&mut self, code: &[u8], now: Instant) -> Vec<Vec<u8>> {
        let bytes = [code, self.build.suffix.bytes(b"")].concat();
        if !self.is_packeted {
            return vec![bytes];
        }
        let pieces = bytes.len().div_ceil(PIECE_BYTES);
        self.sending = bytes
            .chunks(PIECE_BYTES)
            .enumerate()
            .map(|(place, piece)| {
                let status = if place + 1 < pieces { MORE } else { 0 };
                packet(DECODE_DATA, status, &[&[self.kind], piece].concat())
            })
            .collect();
        self.tries = 0;
        self.answer_until = Some(now + ANSWER_WITHIN);
        self.sending.front().cloned().into_iter().collect()
    }

    fn is_busy(&self) -> bool {
        self.answer_until.is_some()
    }

    fn late(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.answer_until? > now {
            return None;
        }
        self.answer_until = Some(now + ANSWER_WITHIN);
        Some(self.again())
    }

    fn is_checked(&self, piece: &[u8]) -> bool {
        piece.len() >= HEAD_BYTES + 2 && usize::from(piece[0]) + 2 == piece.len()
    }
}

fn refused(cause: u8) -> Turn {
    Turn::refused(packet(NAK, 0, &[cause]))
}

/// A packet of the decoder.
fn packet(operation: u8, status: u8, data: &[u8]) -> Vec<u8> {
    let length = u8::try_from(data.len() + HEAD_BYTES).unwrap_or(u8::MAX);
    let mut bytes = vec![length, operation, FROM_DECODER, status];
    bytes.extend(data);
    checked(bytes)
}

/// Adds the two's complement of the sum of all bytes.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(check(&bytes));
    bytes
}

fn check(bytes: &[u8]) -> [u8; 2] {
    bytes
        .iter()
        .fold(0_u16, |sum, byte| sum.wrapping_sub(u16::from(*byte)))
        .to_be_bytes()
}

/// Takes the first packet out of `received`; bytes that cannot begin one are dropped, zeros among
/// them, which only wake the decoder.
fn take_packet(received: &mut Vec<u8>) -> Option<Packet> {
    // Each turn removes at least one byte, so the loop is bounded by the buffer.
    while !received.is_empty() {
        let length = usize::from(received[0]);
        if length < HEAD_BYTES || received.get(2).is_some_and(|source| *source != FROM_HOST) {
            received.remove(0);
            continue;
        }
        if received.len() < length + 2 {
            return None;
        }
        let whole: Vec<u8> = received.drain(..length + 2).collect();
        let (body, rest) = whole.split_at(length);
        if check(body) != rest {
            return Some(Packet::WrongCheck);
        }
        return Some(Packet::Whole {
            operation: body[1],
            data: body[HEAD_BYTES..].to_vec(),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner() -> Ssi {
        Ssi::new(Build::default(), true, 0x03)
    }

    fn check(request: &[u8], expect: &[u8]) {
        let turn = scanner().hear(&mut request.to_vec(), false).unwrap();
        assert_eq!(turn.reply, expect, "{request:02X?}");
    }

    #[test]
    fn packets_equal_the_fact_sheet() {
        const ACKNOWLEDGED: [u8; 6] = [0x04, 0xD0, 0x00, 0x00, 0xFF, 0x2C];
        check(&[0x04, 0xE4, 0x04, 0x00, 0xFF, 0x14], &ACKNOWLEDGED);
        check(&[0x00, 0x04, 0xE5, 0x04, 0x00, 0xFF, 0x13], &ACKNOWLEDGED);
        check(&[0x05, 0xE6, 0x04, 0x00, 0x01, 0xFF, 0x10], &ACKNOWLEDGED);
        check(
            &[0x07, 0xC6, 0x04, 0x08, 0x00, 0x8A, 0x08, 0xFE, 0x95],
            &ACKNOWLEDGED,
        );
        check(
            &[0x04, 0xE4, 0x04, 0x00, 0xFF, 0x15],
            &[0x05, 0xD1, 0x00, 0x00, 0x01, 0xFF, 0x29],
        );
        check(
            &[0x04, 0x77, 0x04, 0x00, 0xFF, 0x81],
            &[0x05, 0xD1, 0x00, 0x00, 0x02, 0xFF, 0x28],
        );
        let now = crate::steering::now();
        assert_eq!(
            scanner().code(b"TEST123", now),
            [[
                0x0C, 0xF3, 0x00, 0x00, 0x03, 0x54, 0x45, 0x53, 0x54, 0x31, 0x32, 0x33, 0xFD, 0x28
            ]]
        );
    }

    #[test]
    fn a_long_code_comes_packet_by_packet() {
        let mut scanner = scanner();
        let now = crate::steering::now();
        let first = scanner.code(&[b'A'; 600], now).remove(0);
        assert_eq!((first.len(), first[3]), (257, MORE));
        let acknowledge = [0x04, 0xD0, 0x04, 0x00, 0xFF, 0x28];
        let mut next = || {
            let mut received = acknowledge.to_vec();
            scanner.hear(&mut received, false).unwrap().reply
        };
        assert_eq!(next()[3], MORE);
        let last = next();
        assert_eq!((last.len(), last[3]), (107, 0));
        assert!(next().is_empty());
        assert!(!scanner.is_busy());
    }

    #[test]
    fn a_packet_without_answer_is_sent_again_and_then_forgotten() {
        let mut scanner = scanner();
        let mut now = crate::steering::now();
        scanner.code(b"X", now);
        assert_eq!(scanner.late(now), None);
        for _ in 0..RETRIES_MAX {
            now += ANSWER_WITHIN;
            assert_eq!(scanner.late(now).unwrap()[3], AGAIN);
        }
        now += ANSWER_WITHIN;
        assert_eq!(scanner.late(now), Some(vec![]));
        assert!(!scanner.is_busy());
    }

    #[test]
    fn a_disabled_scanner_denies_a_session() {
        let mut scanner = scanner();
        let disable = [0x04, 0xEA, 0x04, 0x00, 0xFF, 0x0E];
        let start = [0x04, 0xE4, 0x04, 0x00, 0xFF, 0x14];
        scanner.hear(&mut disable.to_vec(), false).unwrap();
        let turn = scanner.hear(&mut start.to_vec(), false).unwrap();
        assert_eq!(turn.reply, [0x05, 0xD1, 0x00, 0x00, 0x06, 0xFF, 0x24]);
    }
}
