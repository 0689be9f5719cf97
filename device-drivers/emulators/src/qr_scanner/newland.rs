//! Newland's unified commands (`device-protocols`, section 4.1).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::dialect::{Asked, Build, Dialect, Mode, Turn};

/// Longest command frame accepted. Chosen: the manual's longest example has 42 bytes.
const COMMAND_BYTES_MAX: usize = 512;
/// Longest trigger of a scanner that is told to look without end.
const TRIGGER_MAX: u32 = 3_600_000;

const ACCEPTED: u8 = 0x06;
const REFUSED: u8 = 0x15;
const UNKNOWN: u8 = 0x05;

/// A scanner of this make.
#[derive(Debug)]
pub(crate) struct Newland {
    build: Build,
    settings: Settings,
}

impl Newland {
    pub(crate) fn new(build: Build) -> Self {
        Self {
            settings: Settings::new(&build),
            build,
        }
    }
}

impl Dialect for Newland {
    fn reset(&mut self) {
        // Settings stored with '@' and '#' alike are forgotten here: a factory-fresh device is the
        // harder case for a driver.
        self.settings = Settings::new(&self.build);
    }

    fn hear(&mut self, received: &mut Vec<u8>, is_refused: bool) -> Option<Turn> {
        match take_input(received)? {
            Input::Short(b'1') if self.settings.get("SCNTCE") == 1 => {
                Some(Turn::act(Asked::Trigger))
            }
            Input::Short(mode @ (b'2' | b'3')) => {
                let mode = u32::from(mode - b'0');
                self.settings.values.insert("SCNMOD", mode);
                Some(Turn::default())
            }
            Input::Short(_) => Some(Turn::refused(Vec::new())),
            Input::Command(storage, body) => {
                let (echo, acts, refused) = if is_refused {
                    let mut echo = body.into_bytes();
                    echo.push(REFUSED);
                    (echo, Vec::new(), 1)
                } else {
                    apply_body(&mut self.settings, &body)
                };
                let mut reply = vec![0x02, 0x01, 0x30, 0x30, 0x30, 0x30, storage];
                reply.extend(echo);
                reply.extend([0x3B, 0x03]);
                Some(Turn {
                    reply,
                    acts,
                    refused,
                    is_command: true,
                })
            }
        }
    }

    fn mode(&self) -> Mode {
        self.settings.mode()
    }

    fn trigger_time(&self) -> Duration {
        let time = match self.settings.get("ORTSET") {
            0 => TRIGGER_MAX,
            milliseconds => milliseconds,
        };
        Duration::from_millis(time.into())
    }

    fn code(&mut self, code: &[u8], _now: Instant) -> Vec<Vec<u8>> {
        let mut bytes = code.to_vec();
        if self.settings.get("TSUENA") == 1 {
            bytes.extend(self.build.suffix.bytes(b"\r\n"));
        }
        vec![bytes]
    }
}

/// Settings by tag and sub-tag, all numbers, with their ranges.
#[derive(Debug, Clone)]
struct Settings {
    values: BTreeMap<&'static str, u32>,
    build: Build,
}

/// Tag with sub-tag, default, smallest and largest value.
const KNOWN: [(&str, u32, u32, u32); 17] = [
    ("232BAD", 8, 0, 8),
    ("AMLENA", 1, 0, 2),
    ("C11ENA", 0, 0, 1),
    ("C11MAX", 48, 1, 127),
    ("C11MIN", 4, 1, 127),
    ("GRBENA", 1, 0, 1),
    ("ILLSCN", 1, 0, 2),
    ("ORTSET", 3000, 0, 3_600_000),
    ("RRDDUR", 1500, 1, 3_600_000),
    ("RRDENA", 1, 0, 1),
    ("SCNMOD", 0, 0, 3),
    ("SCNTCE", 0, 0, 1),
    ("SCNTRG", 0, 0, 1),
    ("SETUPE", 1, 0, 1),
    ("SUFENA", 1, 0, 1),
    ("PREENA", 0, 0, 1),
    ("TSUENA", 1, 0, 1),
];

/// Speeds that `232BAD` selects, by value.
const BAUDS: [u32; 9] = [
    1200, 2400, 4800, 9600, 14_400, 19_200, 38_400, 57_600, 115_200,
];

impl Settings {
    fn new(build: &Build) -> Self {
        let mut values: BTreeMap<_, _> = KNOWN
            .iter()
            .map(|(name, value, _, _)| (*name, *value))
            .collect();
        values.insert("ORTSET", build.trigger_ms);
        values.insert(
            "SCNMOD",
            match build.mode {
                Mode::Level => 0,
                Mode::Presentation => 2,
                Mode::Continuous => 3,
            },
        );
        Self {
            values,
            build: build.clone(),
        }
    }

    fn get(&self, name: &str) -> u32 {
        self.values.get(name).copied().unwrap_or_default()
    }

    fn mode(&self) -> Mode {
        match self.get("SCNMOD") {
            2 => Mode::Presentation,
            3 => Mode::Continuous,
            _ => Mode::Level,
        }
    }
}

/// Answers one `TAGSUBdata` piece: the echoed text, the result byte, and what it asks for.
fn apply(settings: &mut Settings, name: &str, data: &str) -> (String, u8, Asked) {
    let echo = format!("{name}{data}");
    match (name, data) {
        ("FACDEF", "") => {
            *settings = Settings::new(&settings.build.clone());
            return (echo, ACCEPTED, Asked::Release);
        }
        ("QRYSYS", "") => {
            let text = format!(
                "{echo}Product Name: EMU-QR\r\nFirmware Version: 1.00\r\nSerial Number: EMU0000001\r\n"
            );
            return (text, ACCEPTED, Asked::Nothing);
        }
        ("DFMADD" | "SCNTCT", _)
            if !data.is_empty() && data.bytes().all(|b| b.is_ascii_hexdigit()) =>
        {
            return (echo, ACCEPTED, Asked::Nothing);
        }
        _ => {}
    }
    let Some((known, default, least, most)) = KNOWN.iter().find(|known| known.0 == name) else {
        return (echo, UNKNOWN, Asked::Nothing);
    };
    match data {
        "*" => (
            format!("{name}{}", settings.get(name)),
            ACCEPTED,
            Asked::Nothing,
        ),
        "&" => (format!("{name}{default}"), ACCEPTED, Asked::Nothing),
        "^" => (format!("{name}{least}-{most}"), ACCEPTED, Asked::Nothing),
        _ => match data.parse::<u32>() {
            Ok(value) if (*least..=*most).contains(&value) && !(name == "SCNMOD" && value == 1) => {
                // A trigger is an act and not a setting: it is not kept.
                let asked = match (name, value) {
                    ("SCNTRG", 1) => Asked::Trigger,
                    ("SCNTRG", _) => Asked::Release,
                    ("232BAD", _) => {
                        Asked::Baud(BAUDS.get(value as usize).copied().unwrap_or(115_200))
                    }
                    _ => Asked::Nothing,
                };
                if name != "SCNTRG" {
                    settings.values.insert(known, value);
                }
                (echo, ACCEPTED, asked)
            }
            Ok(_) | Err(_) => (echo, REFUSED, Asked::Nothing),
        },
    }
}

/// Answers the body of a frame (between storage byte and the last `;`).
fn apply_body(settings: &mut Settings, body: &str) -> (Vec<u8>, Vec<Asked>, usize) {
    let mut reply = Vec::new();
    let mut asked = Vec::new();
    let mut refused = 0;
    for (index, command) in body.split(';').enumerate() {
        if index > 0 {
            reply.push(b';');
        }
        // Further sub-tags after a comma belong to the same tag.
        let tag = command.get(..3).unwrap_or(command);
        if command.get(3..) == Some("*") {
            let (text, result) = whole_tag(settings, tag);
            reply.extend(text.as_bytes());
            reply.push(result);
            refused += usize::from(result != ACCEPTED);
            continue;
        }
        for (place, piece) in command.split(',').enumerate() {
            let full = if place == 0 {
                piece.to_owned()
            } else {
                format!("{tag}{piece}")
            };
            let (name, data) = full.split_at_checked(6).unwrap_or((&full, ""));
            let (echo, result, act) = apply(settings, name, data);
            if place > 0 {
                reply.push(b',');
                reply.extend(echo.as_bytes().get(3..).unwrap_or_default());
            } else {
                reply.extend(echo.as_bytes());
            }
            reply.push(result);
            refused += usize::from(result != ACCEPTED);
            asked.push(act);
        }
    }
    (reply, asked, refused)
}

/// Answers a query for every sub-tag of a tag.
fn whole_tag(settings: &Settings, tag: &str) -> (String, u8) {
    let all: Vec<String> = settings
        .values
        .iter()
        .filter(|(name, _)| name.starts_with(tag))
        .map(|(name, value)| format!("{}{value}", &name[3..]))
        .collect();
    if tag.len() == 3 && !all.is_empty() {
        (format!("{tag}{}", all.join(",")), ACCEPTED)
    } else {
        (format!("{tag}*"), UNKNOWN)
    }
}

/// One piece of what the host sent.
#[derive(Debug, PartialEq, Eq)]
enum Input {
    /// Storage byte and body of a unified command.
    Command(u8, String),
    /// `1B n`.
    Short(u8),
}

/// Takes the first complete input out of `received`; rubbish before it is dropped.
fn take_input(received: &mut Vec<u8>) -> Option<Input> {
    const HEADER: [u8; 6] = [0x7E, 0x01, 0x30, 0x30, 0x30, 0x30];
    // Each turn removes at least one byte, so the loop is bounded by the buffer.
    while !received.is_empty() {
        if received[0] == 0x1B {
            let second = *received.get(1)?;
            received.drain(..2);
            return Some(Input::Short(second));
        }
        let seen = received.len().min(HEADER.len());
        if received[..seen] != HEADER[..seen] {
            received.remove(0);
            continue;
        }
        let Some(end) = received.windows(2).position(|pair| pair == [0x3B, 0x03]) else {
            if received.len() > COMMAND_BYTES_MAX {
                received.remove(0);
                continue;
            }
            return None;
        };
        let frame: Vec<u8> = received.drain(..end + 2).collect();
        let storage = frame[6];
        if !matches!(storage, b'@' | b'#') {
            continue;
        }
        let body = frame.get(7..end).unwrap_or_default();
        if body.is_ascii() {
            return Some(Input::Command(
                storage,
                String::from_utf8_lossy(body).into_owned(),
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: &str) {
        let (reply, _, _) = apply_body(&mut Settings::new(&Build::default()), body);
        let text: String = reply
            .iter()
            .map(|byte| match byte {
                &ACCEPTED => '+',
                &REFUSED => '-',
                &UNKNOWN => '?',
                other => char::from(*other),
            })
            .collect();
        assert_eq!(text, expect, "{body}");
    }

    #[test]
    fn each_piece_of_a_command_gets_its_result() {
        check("SCNTRG1", "SCNTRG1+");
        check("C11ENA1,MIN12,MAX22", "C11ENA1+,MIN12+,MAX22+");
        check("DFMADD06999003999 9F141", "DFMADD06999003999 9F141?");
        check("DFMADD069990039999F141", "DFMADD069990039999F141+");
        check("SCNMOD2;SCNTCE1", "SCNMOD2+;SCNTCE1+");
        check("SCNMOD7", "SCNMOD7-");
        check("SCNMOD", "SCNMOD-");
        check("XYZABC1", "XYZABC1?");
        check("SCNMOD*", "SCNMOD0+");
        check("C11*", "C11ENA0,MAX48,MIN4+");
        check("ORTSET^", "ORTSET0-3600000+");
        check("", "?");
    }

    #[test]
    fn rubbish_between_commands_is_dropped() {
        let trigger = b"\x7E\x010000#SCNTRG1;\x03";
        let mut received = [&b"\x00\x7E\x01xx"[..], trigger, b"\x1B1"].concat();
        assert_eq!(
            take_input(&mut received),
            Some(Input::Command(b'#', "SCNTRG1".to_owned()))
        );
        assert_eq!(take_input(&mut received), Some(Input::Short(b'1')));
        assert_eq!(take_input(&mut received), None);
    }

    #[test]
    fn a_command_that_never_ends_does_not_fill_the_memory() {
        let mut received = b"\x7E\x010000#".to_vec();
        received.extend([b'A'; COMMAND_BYTES_MAX]);
        assert_eq!(take_input(&mut received), None);
        assert!(received.len() < COMMAND_BYTES_MAX);
    }
}
