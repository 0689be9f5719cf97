//! Honeywell's trigger and menu commands (`device-protocols`, section 4.3).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dialect::{Asked, Build, Dialect, Mode, Turn};

/// Longest menu command accepted. Chosen: the fact sheet's longest has 14 bytes.
const COMMAND_BYTES_MAX: usize = 512;

const ACCEPTED: u8 = 0x06;
const UNKNOWN: u8 = 0x05;
const REFUSED: u8 = 0x15;

/// Tag with sub-tag, default, smallest and largest value.
const KNOWN: [(&str, u32, u32, u32); 6] = [
    ("232BAD", 9, 0, 9),
    ("BEPBEP", 1, 0, 1),
    ("CBRENA", 1, 0, 1),
    ("TERMID", 0, 0, 999),
    ("TRGMOD", 0, 0, 8),
    ("TRGSTO", 30_000, 0, 300_000),
];

/// Speeds that `232BAD` selects, by value.
const BAUDS: [u32; 10] = [
    300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200,
];

/// A scanner of this make.
#[derive(Debug)]
pub(crate) struct Honeywell {
    build: Build,
    values: BTreeMap<&'static str, u32>,
    suffix: Vec<u8>,
}

/// One piece of what the host sent.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    Trigger,
    Untrigger,
    Beep,
    /// Body of a menu command and its end.
    Menu(String, u8),
}

impl Honeywell {
    pub(crate) fn new(build: Build) -> Self {
        let mut scanner = Self {
            build,
            values: BTreeMap::new(),
            suffix: Vec::new(),
        };
        scanner.reset();
        scanner
    }

    /// Answers one command of a menu line: its echo, its result, and what it asks for.
    fn obey(&mut self, command: &str) -> (String, u8, Asked) {
        let upper = command.to_ascii_uppercase();
        let (name, data) = upper.split_at_checked(6).unwrap_or((&upper, ""));
        match (name, data) {
            ("REVINF", "") => {
                let text = format!("{upper}: EMU-HW 1.00");
                return (text, ACCEPTED, Asked::Nothing);
            }
            ("DEFALT" | "DEFOVR", "") => {
                self.reset();
                return (upper, ACCEPTED, Asked::Release);
            }
            ("SUFBK2", _) => {
                // Symbology 99 is all of them; the rest are bytes in hexadecimal.
                let result = match data.strip_prefix("99").and_then(hexadecimal) {
                    Some(suffix) => {
                        self.suffix = suffix;
                        ACCEPTED
                    }
                    None => REFUSED,
                };
                return (upper, result, Asked::Nothing);
            }
            _ => {}
        }
        let Some((known, default, least, most)) = KNOWN.iter().find(|known| known.0 == name) else {
            return (upper, UNKNOWN, Asked::Nothing);
        };
        let value = self.values.get(known).copied().unwrap_or(*default);
        match data {
            "?" => (format!("{name}{value}"), ACCEPTED, Asked::Nothing),
            "^" => (format!("{name}{default}"), ACCEPTED, Asked::Nothing),
            "*" => (format!("{name}{least}-{most}"), ACCEPTED, Asked::Nothing),
            _ => match data.parse::<u32>() {
                Ok(value) if (*least..=*most).contains(&value) => {
                    self.values.insert(known, value);
                    let asked = match name {
                        "232BAD" => {
                            Asked::Baud(BAUDS.get(value as usize).copied().unwrap_or(115_200))
                        }
                        _ => Asked::Nothing,
                    };
                    (upper, ACCEPTED, asked)
                }
                Ok(_) | Err(_) => (upper, REFUSED, Asked::Nothing),
            },
        }
    }
}

impl Dialect for Honeywell {
    fn reset(&mut self) {
        self.values = KNOWN.iter().map(|known| (known.0, known.1)).collect();
        self.values.insert("TRGSTO", self.build.trigger_ms);
        let mode = match self.build.mode {
            Mode::Level => 0,
            Mode::Presentation | Mode::Continuous => 3,
        };
        self.values.insert("TRGMOD", mode);
        self.suffix = self.build.suffix.bytes(b"\r").to_vec();
    }

    fn hear(&mut self, received: &mut Vec<u8>, is_refused: bool) -> Option<Turn> {
        Some(match take_input(received)? {
            Input::Trigger if is_refused => Turn::refused(Vec::new()),
            Input::Trigger => Turn::act(Asked::Trigger),
            Input::Untrigger => Turn::act(Asked::Release),
            Input::Beep => Turn::act(Asked::Nothing),
            Input::Menu(body, end) => {
                let mut turn = Turn {
                    is_command: true,
                    ..Turn::default()
                };
                for (place, command) in body.split(';').enumerate() {
                    let (echo, result, asked) = if is_refused {
                        (command.to_owned(), REFUSED, Asked::Nothing)
                    } else {
                        self.obey(command)
                    };
                    if place > 0 {
                        turn.reply.push(b';');
                    }
                    turn.reply.extend(echo.as_bytes());
                    turn.reply.push(result);
                    turn.refused += usize::from(result != ACCEPTED);
                    turn.acts.push(asked);
                }
                turn.reply.push(end);
                turn
            }
        })
    }

    fn mode(&self) -> Mode {
        match self.values.get("TRGMOD") {
            Some(3) => Mode::Presentation,
            _ => Mode::Level,
        }
    }

    fn trigger_time(&self) -> Duration {
        let time = self.values.get("TRGSTO").copied().unwrap_or_default();
        // 0 means that the trigger lasts until it is released.
        Duration::from_millis(if time == 0 { 3_600_000 } else { time.into() })
    }

    fn code(&mut self, code: &[u8], _now: Instant) -> Vec<Vec<u8>> {
        vec![[code, &self.suffix].concat()]
    }
}

/// Takes the first complete input out of `received`; rubbish before it is dropped.
fn take_input(received: &mut Vec<u8>) -> Option<Input> {
    // Each turn removes at least one byte, so the loop is bounded by the buffer.
    while !received.is_empty() {
        if received[0] != 0x16 {
            received.remove(0);
            continue;
        }
        let (kind, end) = (*received.get(1)?, *received.get(2)?);
        let short = match (kind, end) {
            (0x54, 0x0D) => Some(Input::Trigger),
            (0x55, 0x0D) => Some(Input::Untrigger),
            (0x07, 0x0D) => Some(Input::Beep),
            _ => None,
        };
        if short.is_some() {
            received.drain(..3);
            return short;
        }
        if (kind, end) != (0x4D, 0x0D) {
            received.remove(0);
            continue;
        }
        let Some(length) = received[3..].iter().position(|b| matches!(b, b'.' | b'!')) else {
            if received.len() > COMMAND_BYTES_MAX {
                received.remove(0);
                continue;
            }
            return None;
        };
        let frame: Vec<u8> = received.drain(..4 + length).collect();
        let body = &frame[3..3 + length];
        if body.is_ascii() {
            let body = String::from_utf8_lossy(body).into_owned();
            return Some(Input::Menu(body, frame[3 + length]));
        }
    }
    None
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(menu: &str, expect: &str) {
        let mut scanner = Honeywell::new(Build::default());
        let mut received = [b"\x16M\r", menu.as_bytes()].concat();
        let reply = scanner.hear(&mut received, false).unwrap().reply;
        let text: String = reply
            .iter()
            .map(|byte| match byte {
                &ACCEPTED => '+',
                &REFUSED => '-',
                &UNKNOWN => '?',
                other => char::from(*other),
            })
            .collect();
        assert_eq!(text, expect, "{menu}");
    }

    #[test]
    fn menu_commands_are_echoed_with_their_result() {
        check("REVINF.", "REVINF: EMU-HW 1.00+.");
        check("TERMID130.", "TERMID130+.");
        check("cbrena*.", "CBRENA0-1+.");
        check("SUFBK2990D.", "SUFBK2990D+.");
        check("SUFBK2990.", "SUFBK2990-.");
        check("TRGMOD3;CBRENA7!", "TRGMOD3+;CBRENA7-!");
        check("XYZABC1.", "XYZABC1?.");
        check("TRGSTO^.", "TRGSTO30000+.");
    }

    #[test]
    fn triggers_are_found_behind_rubbish() {
        let mut received = b"\x00\x16\x16T\r\x16U\r\x16\x07\r".to_vec();
        assert_eq!(take_input(&mut received), Some(Input::Trigger));
        assert_eq!(take_input(&mut received), Some(Input::Untrigger));
        assert_eq!(take_input(&mut received), Some(Input::Beep));
        assert_eq!(take_input(&mut received), None);
    }

    #[test]
    fn a_command_that_never_ends_does_not_fill_the_memory() {
        let mut received = b"\x16M\r".to_vec();
        received.extend([b'A'; COMMAND_BYTES_MAX]);
        assert_eq!(take_input(&mut received), None);
        assert!(received.len() < COMMAND_BYTES_MAX);
    }
}
