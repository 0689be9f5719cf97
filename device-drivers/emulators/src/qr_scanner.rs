//! A code scanner that speaks Newland's unified commands on a pseudo terminal
//! (`device-protocols`, sections 4.1 and 10.3).
//!
//! A code lies before the window until it is read, hidden, or the person gives up. It is read only
//! while a trigger is on, or in presentation and continuous mode.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::serial::SerialLine;
use crate::steering::{Rubbish, Running, Steered, TICK, now};

const PORT_NAME: &str = "qr-scanner";
/// Longest command frame accepted. Chosen: the manual's longest example has 42 bytes.
const COMMAND_BYTES_MAX: usize = 512;
/// Longest code accepted. Chosen: a version 40 QR code holds 2953 bytes.
const CODE_BYTES_MAX: usize = 4096;
/// Silence in the middle of a command that drops it. Chosen.
const FRAME_SILENCE: Duration = Duration::from_millis(500);

const ACCEPTED: u8 = 0x06;
const REFUSED: u8 = 0x15;
const UNKNOWN: u8 = 0x05;

/// How the scanner is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct QrScannerConfig {
    /// Speed after power-on, bits per second; 0 sends without pacing.
    pub baud: u32,
    /// Time from light to data, milliseconds.
    pub decode_ms: u64,
    /// How long a person holds a code before the window, milliseconds.
    pub patience_ms: u64,
}

impl Default for QrScannerConfig {
    fn default() -> Self {
        Self {
            baud: 115_200,
            decode_ms: 120,
            patience_ms: 20_000,
        }
    }
}

/// How the text of a code becomes bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeEncoding {
    /// UTF-8.
    #[default]
    Utf8,
    /// GB18030, as many Chinese codes are.
    Gb18030,
}

impl CodeEncoding {
    /// The bytes of `text` in this encoding.
    pub fn bytes(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Gb18030 => encoding_rs::GB18030.encode(text).0.into_owned(),
        }
    }
}

/// Why a code cannot be shown.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a code of {bytes} bytes cannot be read, at most {CODE_BYTES_MAX}")]
pub struct CodeTooLong {
    /// Bytes given.
    pub bytes: usize,
}

#[derive(Debug)]
struct Shown {
    code: Vec<u8>,
    until: Instant,
}

#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one independent switch of the device or its cable"
)]
struct State {
    shown: Option<Shown>,
    reads: u64,
    commands: u64,
    refused: u64,
    is_triggered: bool,
    is_garbled: bool,
    is_slow: bool,
    wants_cable: bool,
    has_cable: bool,
}

/// The running scanner; dropping it removes its port.
#[derive(Debug)]
pub struct QrScanner {
    running: Running<State>,
    port: PathBuf,
    patience: Duration,
}

impl QrScanner {
    /// Starts a scanner whose driver side is `<dir>/qr-scanner`.
    ///
    /// # Errors
    /// No pseudo terminal, or the directory cannot be written.
    pub fn start(dir: &Path, config: QrScannerConfig) -> io::Result<Self> {
        let port = dir.join(PORT_NAME);
        let patience = Duration::from_millis(config.patience_ms);
        let mut scanner = Scanner {
            line: SerialLine::open(&port, config.baud)?,
            settings: Settings::new(config.baud),
            config,
            received: Vec::new(),
            last_byte: now(),
            trigger_until: None,
            rubbish: Rubbish::new(0x9A7),
        };
        let mut running = Running::new(Steered::new(State {
            shown: None,
            reads: 0,
            commands: 0,
            refused: 0,
            is_triggered: false,
            is_garbled: false,
            is_slow: false,
            wants_cable: true,
            has_cable: true,
        }));
        running.spawn("emulated-qr-scanner", move |steered| scanner.run(steered))?;
        Ok(Self {
            running,
            port,
            patience,
        })
    }

    /// Where a driver reaches the scanner.
    pub fn port(&self) -> &Path {
        &self.port
    }

    /// Holds a code before the window.
    ///
    /// # Errors
    /// [`CodeTooLong`]: no symbol holds it.
    pub fn present(&self, code: &[u8]) -> Result<(), CodeTooLong> {
        if code.len() > CODE_BYTES_MAX {
            return Err(CodeTooLong { bytes: code.len() });
        }
        let shown = Shown {
            code: code.to_vec(),
            until: now() + self.patience,
        };
        self.running
            .steered
            .change(|state| state.shown = Some(shown));
        Ok(())
    }

    /// Takes the code away.
    pub fn hide(&self) {
        self.running.steered.change(|state| state.shown = None);
    }

    /// From now on sends rubbish.
    pub fn garble(&self) {
        self.running.steered.change(|state| state.is_garbled = true);
    }

    /// From now on sends at a tenth of the speed and needs two seconds to decode.
    pub fn slow(&self) {
        self.running.steered.change(|state| state.is_slow = true);
    }

    /// Ends all misbehavior.
    pub fn mend(&self) {
        self.running.steered.change(|state| {
            state.is_garbled = false;
            state.is_slow = false;
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

    /// The state, for people: no content of a code is in it.
    pub fn report(&self) -> Value {
        self.running.steered.look(|state| {
            json!({
                "port": self.port,
                "code-shown": state.shown.is_some(),
                "triggered": state.is_triggered,
                "reads": state.reads,
                "cable": state.has_cable,
                "commands": state.commands,
                "refused-commands": state.refused,
            })
        })
    }
}

/// How the scanner decides when to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Level,
    Presentation,
    Continuous,
}

/// Settings by tag and sub-tag, all numbers, with their ranges.
#[derive(Debug, Clone)]
struct Settings {
    values: BTreeMap<&'static str, u32>,
    baud_at_power_on: u32,
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
    fn new(baud: u32) -> Self {
        Self {
            values: KNOWN
                .iter()
                .map(|(name, value, _, _)| (*name, *value))
                .collect(),
            baud_at_power_on: baud,
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

/// What a command asks for beyond a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Trigger,
    Release,
    Baud(u32),
}

/// Answers one `TAGSUBdata` piece: the echoed text, the result byte, and what it asks for.
fn apply(settings: &mut Settings, name: &str, data: &str) -> (String, u8, Asked) {
    let echo = format!("{name}{data}");
    match (name, data) {
        ("FACDEF", "") => {
            *settings = Settings::new(settings.baud_at_power_on);
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

/// The thread's own side of the scanner.
struct Scanner {
    line: SerialLine,
    config: QrScannerConfig,
    settings: Settings,
    received: Vec<u8>,
    last_byte: Instant,
    trigger_until: Option<Instant>,
    rubbish: Rubbish,
}

impl Scanner {
    fn run(&mut self, steered: &Steered<State>) {
        while !steered.is_stopping() {
            if let Err(error) = self.step(steered) {
                tracing::warn!(%error, "emulated scanner lost its line");
                self.line.cut();
                steered.change(|state| {
                    state.wants_cable = false;
                    state.has_cable = false;
                });
            }
        }
    }

    fn step(&mut self, steered: &Steered<State>) -> io::Result<()> {
        let wanted = steered.look(|state| state.wants_cable);
        if wanted != self.line.is_plugged() {
            self.received.clear();
            self.trigger_until = None;
            if wanted {
                // Settings stored with '@' and '#' alike are forgotten here: a factory-fresh device
                // is the harder case for a driver.
                self.settings = Settings::new(self.config.baud);
                self.line.baud = self.config.baud;
                self.line.plug()?;
            } else {
                self.line.cut();
            }
        }
        steered.change(|state| state.has_cable = wanted);
        if !wanted {
            steered.pause(TICK);
            return Ok(());
        }
        let mut buffer = [0; 512];
        let count = self.line.receive(&mut buffer, TICK)?;
        if count > 0 {
            self.received.extend(&buffer[..count]);
            self.last_byte = now();
        } else if now().duration_since(self.last_byte) >= FRAME_SILENCE {
            self.received.clear();
        }
        while let Some(input) = take_input(&mut self.received) {
            self.obey(input, steered)?;
        }
        self.look(steered)
    }

    fn obey(&mut self, input: Input, steered: &Steered<State>) -> io::Result<()> {
        match input {
            Input::Short(b'1') if self.settings.get("SCNTCE") == 1 => self.trigger(),
            Input::Short(b'2') => self.set_mode(2),
            Input::Short(b'3') => self.set_mode(3),
            Input::Short(_) => steered.change(|state| state.refused += 1),
            Input::Command(storage, body) => {
                let (echo, asked, refused) = apply_body(&mut self.settings, &body);
                steered.change(|state| {
                    state.commands += 1;
                    state.refused += refused as u64;
                });
                let mut reply = vec![0x02, 0x01, 0x30, 0x30, 0x30, 0x30, storage];
                reply.extend(echo);
                reply.extend([0x3B, 0x03]);
                self.put(&reply, steered)?;
                for act in asked {
                    match act {
                        Asked::Trigger => self.trigger(),
                        Asked::Release => self.trigger_until = None,
                        Asked::Baud(baud) if self.line.baud != 0 => self.line.baud = baud,
                        Asked::Baud(_) | Asked::Nothing => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn set_mode(&mut self, mode: u32) {
        self.settings.values.insert("SCNMOD", mode);
    }

    fn trigger(&mut self) {
        let time = match self.settings.get("ORTSET") {
            0 => 3_600_000,
            milliseconds => milliseconds,
        };
        self.trigger_until = Some(now() + Duration::from_millis(time.into()));
    }

    /// Reads what lies before the window, when the scanner looks at all.
    fn look(&mut self, steered: &Steered<State>) -> io::Result<()> {
        if self.trigger_until.is_some_and(|until| now() >= until) {
            self.trigger_until = None;
        }
        let is_looking = self.trigger_until.is_some() || self.settings.mode() != Mode::Level;
        let is_seen = steered.change(|state| {
            state.is_triggered = is_looking;
            if state
                .shown
                .as_ref()
                .is_some_and(|shown| now() >= shown.until)
            {
                state.shown = None;
            }
            state.shown.is_some()
        });
        if !is_looking || !is_seen {
            return Ok(());
        }
        let is_slow = steered.look(|state| state.is_slow);
        let decode = Duration::from_millis(if is_slow { 2000 } else { self.config.decode_ms });
        if !steered.pause_while(decode, |state| state.shown.is_some() && state.wants_cable) {
            return Ok(());
        }
        let Some(shown) = steered.change(|state| {
            state.reads += 1;
            state.shown.take()
        }) else {
            return Ok(());
        };
        self.trigger_until = None;
        let mut bytes = shown.code;
        if self.settings.get("TSUENA") == 1 {
            bytes.extend(b"\r\n");
        }
        self.put(&bytes, steered)
    }

    fn put(&mut self, bytes: &[u8], steered: &Steered<State>) -> io::Result<()> {
        let (is_garbled, is_slow) = steered.look(|state| (state.is_garbled, state.is_slow));
        let baud = self.line.baud;
        if is_slow {
            self.line.baud = if baud == 0 { 11_520 } else { baud / 10 };
        }
        let result = if is_garbled {
            let rubbish = self.rubbish.bytes(bytes.len());
            self.line.send(&rubbish, steered, |state| state.wants_cable)
        } else {
            self.line.send(bytes, steered, |state| state.wants_cable)
        };
        self.line.baud = baud;
        result.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: &str) {
        let (reply, _, _) = apply_body(&mut Settings::new(115_200), body);
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
