//! A code scanner on a pseudo terminal or over USB, in the dialects of `device-protocols`,
//! sections 4.1–4.6 and 10.3.
//!
//! A code lies before the window until it is read, hidden, or the person gives up. It is read only
//! while a trigger is on, or in presentation and continuous mode.

mod datalogic;
mod dialect;
mod gm65;
mod hid_pos;
mod honeywell;
mod newland;
mod ssi;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::mischief::{self, ENDLESS_BYTES, Fate, Misbehavior};
use crate::serial::{LineReport, SerialLine};
use crate::steering::{Rubbish, Running, Steered, TICK, now};
use crate::usb::{UsbBus, UsbConfig, hid};
use dialect::{Asked, Build, Dialect};
pub use dialect::{Mode as ScanMode, Suffix as CodeSuffix};
pub use hid_pos::HidLayout;

const PORT_NAME: &str = "qr-scanner";
/// Longest code accepted. Chosen: a version 40 QR code holds 2953 bytes.
const CODE_BYTES_MAX: usize = 4096;
/// Silence in the middle of a command that drops it. Chosen.
const FRAME_SILENCE: Duration = Duration::from_millis(500);
/// Bytes of commands kept. Chosen: more than the longest of any dialect.
const RECEIVED_BYTES_MAX: usize = 8192;
/// Time to decode of a slow scanner.
const SLOW_DECODE: Duration = Duration::from_secs(2);

/// What the scanner speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScannerDialect {
    /// Newland's unified commands.
    #[default]
    Newland,
    /// Honeywell's trigger and menu commands.
    Honeywell,
    /// Grow GM65 and modules like it.
    Gm65,
    /// Zebra's Simple Serial Interface.
    Ssi,
    /// Datalogic's single-byte commands.
    Datalogic,
    /// HID point of sale; over USB whatever the transport says.
    HidPos,
    /// HID keyboard; over USB whatever the transport says.
    HidKeyboard,
}

/// How a driver reaches the scanner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScannerTransport {
    /// A pseudo terminal, `<dir>/qr-scanner`.
    #[default]
    Serial,
    /// A serial line over USB (CDC-ACM).
    UsbSerial,
}

/// How the scanner is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct QrScannerConfig {
    /// What it speaks.
    pub dialect: ScannerDialect,
    /// How a driver reaches it.
    pub transport: ScannerTransport,
    /// Speed after power-on, bits per second; 0 sends without pacing.
    pub baud: u32,
    /// Rubbish goes both ways while the driver has set another speed: for drivers that probe.
    pub heeds_speed: bool,
    /// Time from light to data, milliseconds.
    pub decode_ms: u64,
    /// How long a person holds a code before the window, milliseconds.
    pub patience_ms: u64,
    /// When it looks, after power-on.
    pub mode: ScanMode,
    /// How long one trigger lasts after power-on, milliseconds.
    pub trigger_ms: u32,
    /// What follows a code.
    pub suffix: CodeSuffix,
    /// Layout of point-of-sale reports.
    pub hid_layout: HidLayout,
    /// SSI: codes leave in packets after power-on, not raw.
    pub ssi_packets: bool,
    /// SSI: kind of code in those packets. `1C` is a QR code.
    pub ssi_kind: u8,
}

impl Default for QrScannerConfig {
    fn default() -> Self {
        Self {
            dialect: ScannerDialect::Newland,
            transport: ScannerTransport::Serial,
            baud: 115_200,
            heeds_speed: false,
            decode_ms: 120,
            patience_ms: 20_000,
            mode: ScanMode::Level,
            trigger_ms: 3000,
            suffix: CodeSuffix::Factory,
            hid_layout: HidLayout::Common,
            ssi_packets: true,
            ssi_kind: 0x1C,
        }
    }
}

/// A way in which the scanner misbehaves that other devices do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeFault {
    /// Each code is sent twice; lasts.
    Duplicate,
    /// The next command is refused.
    Nak,
    /// The next piece with a checksum has a wrong one (GM65 replies, SSI packets).
    WrongChecksum,
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

#[derive(Debug, Default)]
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
    is_duplicating: bool,
    /// A code that will be sent once more.
    echo: Option<Vec<u8>>,
    once: Option<CodeFault>,
    misbehavior: Option<Misbehavior>,
    wants_cable: bool,
    has_cable: bool,
}

/// The running scanner; dropping it removes its port.
#[derive(Debug)]
pub struct QrScanner {
    running: Running<State>,
    port: PathBuf,
    line: LineReport,
    patience: Duration,
}

impl QrScanner {
    /// Starts a scanner; its driver side is `<dir>/qr-scanner`, or on a USB bus of its own.
    ///
    /// # Errors
    /// No pseudo terminal or port, or the directory cannot be written.
    pub fn start(dir: &Path, config: QrScannerConfig) -> io::Result<Self> {
        Self::start_at(None, dir, config)
    }

    /// Starts a scanner that is plugged into `bus`, if it is one for USB.
    ///
    /// # Errors
    /// As [`QrScanner::start`].
    pub fn start_on(bus: &UsbBus, dir: &Path, config: QrScannerConfig) -> io::Result<Self> {
        Self::start_at(Some(bus), dir, config)
    }

    pub(crate) fn start_at(
        bus: Option<&UsbBus>,
        dir: &Path,
        config: QrScannerConfig,
    ) -> io::Result<Self> {
        let line = match bus {
            _ if !config.is_usb() => {
                let mut line = SerialLine::open(&dir.join(PORT_NAME), config.baud)?;
                line.heeds_speed = config.heeds_speed;
                line
            }
            Some(bus) => plug(bus, &config),
            None => plug(&UsbBus::start(&UsbConfig::default())?, &config),
        };
        Self::run(line, config)
    }

    fn run(line: SerialLine, config: QrScannerConfig) -> io::Result<Self> {
        let port = line.path().to_owned();
        let report = line.report();
        let patience = Duration::from_millis(config.patience_ms);
        let mut scanner = Scanner {
            line,
            dialect: speak(&config),
            config,
            received: Vec::new(),
            last_byte: now(),
            trigger_until: None,
            rubbish: Rubbish::new(0x9A7),
        };
        let mut running = Running::new(Steered::new(State {
            wants_cable: true,
            has_cable: true,
            ..State::default()
        }));
        running.spawn("emulated-qr-scanner", move |steered| scanner.run(steered))?;
        Ok(Self {
            running,
            port,
            line: report,
            patience,
        })
    }

    /// Where a driver reaches the scanner: a path, or `usbip:HOST:PORT/BUSID`.
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

    /// Makes the scanner misbehave as only scanners do.
    pub fn fault(&self, fault: CodeFault) {
        self.running.steered.change(|state| match fault {
            CodeFault::Duplicate => state.is_duplicating = true,
            CodeFault::Nak | CodeFault::WrongChecksum => state.once = Some(fault),
        });
    }

    /// From now on misbehaves.
    pub fn misbehave(&self, how: Misbehavior) {
        self.running
            .steered
            .change(|state| state.misbehavior = Some(how));
    }

    /// From now on sends rubbish.
    pub fn garble(&self) {
        self.misbehave(Misbehavior::Garbage);
    }

    /// From now on sends at a tenth of the speed and needs two seconds to decode.
    pub fn slow(&self) {
        self.misbehave(Misbehavior::Slow);
    }

    /// Ends all misbehavior.
    pub fn mend(&self) {
        self.running.steered.change(|state| {
            state.misbehavior = None;
            state.once = None;
            state.is_duplicating = false;
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
                "usb": self.line.value(),
            })
        })
    }
}

impl QrScannerConfig {
    pub(crate) fn is_usb(&self) -> bool {
        let is_hid = matches!(
            self.dialect,
            ScannerDialect::HidPos | ScannerDialect::HidKeyboard
        );
        is_hid || self.transport == ScannerTransport::UsbSerial
    }
}

/// Plugs the scanner into the bus.
fn plug(bus: &UsbBus, config: &QrScannerConfig) -> SerialLine {
    let reports = |description| SerialLine::open_reports(bus.export(description, hid::control()));
    match config.dialect {
        ScannerDialect::HidPos => reports(hid_pos::HidPos::description(config.hid_layout)),
        ScannerDialect::HidKeyboard => reports(hid_pos::Keyboard::description()),
        ScannerDialect::Newland
        | ScannerDialect::Honeywell
        | ScannerDialect::Gm65
        | ScannerDialect::Ssi
        | ScannerDialect::Datalogic => SerialLine::open_usb(bus, "Code scanner"),
    }
}

fn speak(config: &QrScannerConfig) -> Box<dyn Dialect> {
    let build = Build {
        mode: config.mode,
        trigger_ms: config.trigger_ms,
        suffix: config.suffix,
    };
    match config.dialect {
        ScannerDialect::Newland => Box::new(newland::Newland::new(build)),
        ScannerDialect::Honeywell => Box::new(honeywell::Honeywell::new(build)),
        ScannerDialect::Gm65 => Box::new(gm65::Gm65::new(build)),
        ScannerDialect::Ssi => Box::new(ssi::Ssi::new(build, config.ssi_packets, config.ssi_kind)),
        ScannerDialect::Datalogic => Box::new(datalogic::Datalogic::new(build)),
        ScannerDialect::HidPos => Box::new(hid_pos::HidPos::new(&build, config.hid_layout)),
        ScannerDialect::HidKeyboard => Box::new(hid_pos::Keyboard::new(build)),
    }
}

/// The thread's own side of the scanner.
struct Scanner {
    line: SerialLine,
    dialect: Box<dyn Dialect>,
    config: QrScannerConfig,
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
        if !self.follow_cable(steered)? {
            steered.pause(TICK);
            return Ok(());
        }
        if steered.look(|state| state.misbehavior == Some(Misbehavior::EndlessGarbage)) {
            let rubbish = self.rubbish.bytes(ENDLESS_BYTES);
            self.line
                .send(&rubbish, steered, |state| state.wants_cable)?;
        }
        let mut buffer = [0; 512];
        let count = self.line.receive(&mut buffer, TICK)?;
        if count > 0 {
            self.received.extend(&buffer[..count]);
            self.received.truncate(RECEIVED_BYTES_MAX);
            self.last_byte = now();
        } else if now().duration_since(self.last_byte) >= FRAME_SILENCE {
            self.received.clear();
        }
        // Bounded by the buffer: each turn takes at least one byte of it.
        while self.obey(steered)? {}
        if let Some(again) = self.dialect.late(now()) {
            self.put(&again, steered)?;
        }
        self.repeat(steered)?;
        self.look(steered)
    }

    fn follow_cable(&mut self, steered: &Steered<State>) -> io::Result<bool> {
        let wanted = steered.look(|state| state.wants_cable);
        if wanted != self.line.is_plugged() {
            self.received.clear();
            self.trigger_until = None;
            if wanted {
                self.dialect.reset();
                if self.line.baud != 0 {
                    self.line.baud = self.config.baud;
                }
                self.line.plug()?;
            } else {
                self.line.cut();
            }
        }
        steered.change(|state| state.has_cable = wanted);
        Ok(wanted)
    }

    /// Takes one input; false when none is complete.
    fn obey(&mut self, steered: &Steered<State>) -> io::Result<bool> {
        let is_refused = steered.look(|state| state.once == Some(CodeFault::Nak));
        let Some(turn) = self.dialect.hear(&mut self.received, is_refused) else {
            return Ok(false);
        };
        steered.change(|state| {
            state.commands += u64::from(turn.is_command);
            state.refused += turn.refused as u64;
            if is_refused && turn.is_command {
                state.once = None;
            }
        });
        self.put(&turn.reply, steered)?;
        for act in turn.acts {
            match act {
                Asked::Trigger => self.trigger_until = Some(now() + self.dialect.trigger_time()),
                Asked::Release => self.trigger_until = None,
                Asked::Baud(baud) if self.line.baud != 0 => self.line.baud = baud,
                Asked::Baud(_) | Asked::Nothing => {}
            }
        }
        Ok(true)
    }

    /// Reads what lies before the window, when the scanner looks at all.
    fn look(&mut self, steered: &Steered<State>) -> io::Result<()> {
        if self.trigger_until.is_some_and(|until| now() >= until) {
            self.trigger_until = None;
        }
        let is_looking = self.trigger_until.is_some() || self.dialect.mode() != ScanMode::Level;
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
        if !is_looking || !is_seen || self.dialect.is_busy() {
            return Ok(());
        }
        let is_slow = steered.look(|state| state.misbehavior == Some(Misbehavior::Slow));
        let decode = if is_slow {
            SLOW_DECODE
        } else {
            Duration::from_millis(self.config.decode_ms)
        };
        if !steered.pause_while(decode, |state| state.shown.is_some() && state.wants_cable) {
            return Ok(());
        }
        let Some(shown) = steered.change(|state| {
            state.reads += 1;
            let shown = state.shown.take();
            if state.is_duplicating {
                // Once more, as soon as the first is over; then the person takes it away.
                state.echo = shown.as_ref().map(|shown| shown.code.clone());
            }
            shown
        }) else {
            return Ok(());
        };
        self.trigger_until = None;
        self.deliver(&shown.code, steered)
    }

    /// Sends a code a second time.
    fn repeat(&mut self, steered: &Steered<State>) -> io::Result<()> {
        if self.dialect.is_busy() {
            return Ok(());
        }
        match steered.change(|state| state.echo.take()) {
            Some(code) => self.deliver(&code, steered),
            None => Ok(()),
        }
    }

    fn deliver(&mut self, code: &[u8], steered: &Steered<State>) -> io::Result<()> {
        for piece in self.dialect.code(code, now()) {
            self.put(&piece, steered)?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], steered: &Steered<State>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut bytes = bytes.to_vec();
        let is_checked = self.dialect.is_checked(&bytes);
        let misbehavior = steered.change(|state| {
            if is_checked && state.once == Some(CodeFault::WrongChecksum) {
                state.once = None;
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
            }
            state.misbehavior
        });
        let keep = |state: &State| state.wants_cable && state.misbehavior == misbehavior;
        let rubbish = &mut self.rubbish;
        match mischief::send(&mut self.line, &bytes, misbehavior, rubbish, steered, keep)? {
            Fate::Over => {}
            Fate::Vanished => steered.change(|state| {
                state.misbehavior = None;
                state.wants_cable = false;
                // At once: whoever sees the line gone and plugs it must wait for the new one.
                state.has_cable = false;
            }),
            Fate::Stalled => steered.change(|state| state.misbehavior = None),
        }
        Ok(())
    }
}
