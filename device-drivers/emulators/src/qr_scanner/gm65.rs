//! The commands of Grow's GM65 and modules like it (`device-protocols`, section 4.2): a zone of
//! memory that is read and written.

use std::time::{Duration, Instant};

use super::dialect::{Asked, Build, Dialect, Mode, Turn};

/// Bytes of the zone of settings.
const ZONE_BYTES: usize = 0x100;
/// Address of the mode flags; the two lowest bits select the mode.
const MODE: usize = 0x00;
/// Address of the trigger: 1 starts, 2 ends.
const TRIGGER: usize = 0x02;
/// Address of the time of one trigger, in tenths of a second; 0 is without end.
const TRIGGER_TIME: usize = 0x06;
/// Address of the divisor of the line's speed, two bytes, low one first.
const SPEED: usize = 0x2A;
/// What that divisor divides.
const SPEED_CLOCK: u32 = 3_000_000;
/// Address of the settings as a whole.
const WHOLE: usize = 0xD9;
/// Longest trigger of a module that is told to look without end.
const TRIGGER_MAX: Duration = Duration::from_hours(1);

/// A check that says "not checked".
const UNCHECKED: [u8; 2] = [0xAB, 0xCD];

/// A module of this make.
#[derive(Debug)]
pub(crate) struct Gm65 {
    build: Build,
    zone: Vec<u8>,
}

impl Gm65 {
    pub(crate) fn new(build: Build) -> Self {
        Self {
            zone: factory(&build),
            build,
        }
    }

    fn obey(&mut self, kind: u8, address: usize, data: &[u8]) -> Turn {
        let accepted = reply(0x00, &[0x00]);
        match kind {
            0x07 => {
                // One byte says how many are wanted; 0 stands for all 256.
                let count = match data {
                    [0] => ZONE_BYTES,
                    [count] => usize::from(*count),
                    _ => return invalid(),
                };
                match self.zone.get(address..address + count) {
                    Some(bytes) => Turn::done(reply(0x00, bytes), Asked::Nothing),
                    None => invalid(),
                }
            }
            0x08 => {
                let Some(place) = self.zone.get_mut(address..address + data.len()) else {
                    return invalid();
                };
                if address == WHOLE {
                    return match data {
                        // User defaults are the factory's here: nobody has stored others.
                        [0x50 | 0x55] => {
                            self.reset();
                            Turn::done(accepted, Asked::Release)
                        }
                        [0x56] => Turn::done(accepted, Asked::Nothing),
                        _ => invalid(),
                    };
                }
                place.copy_from_slice(data);
                let asked = match (address, data) {
                    (TRIGGER, [1]) => Asked::Trigger,
                    (TRIGGER, [2]) => Asked::Release,
                    (SPEED, [low, high, ..]) => match u16::from_le_bytes([*low, *high]) {
                        0 => Asked::Nothing,
                        divisor => Asked::Baud(SPEED_CLOCK / u32::from(divisor)),
                    },
                    _ => Asked::Nothing,
                };
                Turn::done(accepted, asked)
            }
            0x09 => Turn::done(accepted, Asked::Nothing),
            _ => invalid(),
        }
    }
}

impl Dialect for Gm65 {
    fn reset(&mut self) {
        self.zone = factory(&self.build);
    }

    fn hear(&mut self, received: &mut Vec<u8>, is_refused: bool) -> Option<Turn> {
        // Each turn removes at least one byte, so the loop is bounded by the buffer.
        while !received.is_empty() {
            let is_begun = received[0] == 0x7E && received.get(1).is_none_or(|byte| *byte == 0);
            if !is_begun {
                received.remove(0);
                continue;
            }
            let length = usize::from(*received.get(3)?);
            if received.len() < 8 + length {
                return None;
            }
            let frame: Vec<u8> = received.drain(..8 + length).collect();
            let (body, check) = frame[2..].split_at(4 + length);
            if is_refused || (check != UNCHECKED && check != crc(body).to_be_bytes()) {
                return Some(Turn::refused(reply(0x01, &[0x00])));
            }
            let address = usize::from(u16::from_be_bytes([body[2], body[3]]));
            return Some(self.obey(body[0], address, &body[4..]));
        }
        None
    }

    fn mode(&self) -> Mode {
        match self.zone[MODE] & 3 {
            2 => Mode::Continuous,
            3 => Mode::Presentation,
            _ => Mode::Level,
        }
    }

    fn trigger_time(&self) -> Duration {
        match self.zone[TRIGGER_TIME] {
            0 => TRIGGER_MAX,
            tenths => Duration::from_millis(u64::from(tenths) * 100),
        }
    }

    fn code(&mut self, code: &[u8], _now: Instant) -> Vec<Vec<u8>> {
        vec![[code, self.build.suffix.bytes(b"\r")].concat()]
    }

    fn is_checked(&self, piece: &[u8]) -> bool {
        piece.starts_with(&[0x02, 0x00])
    }
}

fn factory(build: &Build) -> Vec<u8> {
    let mut zone = vec![0; ZONE_BYTES];
    zone[MODE] = 0x14
        | match build.mode {
            Mode::Level => 1,
            Mode::Continuous => 2,
            Mode::Presentation => 3,
        };
    zone[TRIGGER_TIME] = u8::try_from(build.trigger_ms.div_ceil(100)).unwrap_or(u8::MAX);
    zone
}

fn invalid() -> Turn {
    Turn::refused(reply(0x03, &[0x00]))
}

/// Kind 00 success, 01 wrong check, 03 invalid.
fn reply(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut body = vec![0x00, kind];
    // 256 bytes are told as 0.
    body.push(data.len().to_le_bytes()[0]);
    body.extend(data);
    let check = crc(&body[..]);
    let mut frame = vec![0x02];
    frame.extend(body);
    frame.extend(check.to_be_bytes());
    frame
}

/// CCITT, polynomial 1021, from 0000.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            crc << 1 ^ if crc & 0x8000 != 0 { 0x1021 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &[u8], expect: &[u8]) {
        let mut module = Gm65::new(Build::default());
        let turn = module.hear(&mut frame.to_vec(), false).unwrap();
        assert_eq!(turn.reply, expect, "{frame:02X?}");
    }

    #[test]
    fn checks_equal_the_fact_sheet() {
        const OK: [u8; 7] = [0x02, 0, 0, 1, 0, 0x33, 0x31];
        const BAD: [u8; 7] = [0x02, 0, 1, 1, 0, 0x04, 0x01];
        const INVALID: [u8; 7] = [0x02, 0, 3, 1, 0, 0x6A, 0x61];
        check(&[0x7E, 0, 8, 1, 0, 2, 1, 0xAB, 0xCD], &OK);
        check(&[0x7E, 0, 8, 1, 0, 2, 1, 0x02, 0xDA], &OK);
        check(&[0x7E, 0, 8, 1, 0, 2, 2, 0x32, 0xB9], &OK);
        check(&[0x7E, 0, 9, 1, 0, 0, 0, 0xDE, 0xC8], &OK);
        check(&[0x7E, 0, 8, 1, 0, 2, 1, 0x02, 0xDB], &BAD);
        check(&[0x7E, 0, 4, 1, 0, 2, 1, 0xAB, 0xCD], &INVALID);
        check(&[0x7E, 0, 8, 1, 1, 0, 1, 0xAB, 0xCD], &INVALID);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut module = Gm65::new(Build::default());
        let write = [0x7E, 0, 8, 1, 0, 0, 0x16, 0xAB, 0xCD];
        let read = [0x7E, 0, 7, 1, 0, 0, 1, 0xAB, 0xCD];
        let mut received = [&[0x33][..], &write, &read].concat();
        assert_eq!(module.hear(&mut received, false).unwrap().refused, 0);
        assert_eq!(module.mode(), Mode::Continuous);
        let told = module.hear(&mut received, false).unwrap().reply;
        assert_eq!(told[..5], [0x02, 0, 0, 1, 0x16]);
        assert_eq!(module.hear(&mut received, false), None);
    }
}
