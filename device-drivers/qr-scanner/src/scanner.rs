//! The driver: lights the scanner on command, takes one code, puts it out again. Codes that come
//! unasked are thrown away, and a code that merely stays in sight is not reported twice.

use std::fmt;
use std::time::Duration;

use kiosk_device::{
    Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver, Fault,
    Status, clock, tap, usb, wire,
};

use crate::dialect::Dialect;
use crate::hid_pos::{HidPos, Trigger};
use crate::line::Line;
use crate::recent::Recent;
pub use crate::text::ScannedCode;
use crate::text::Suffix;

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &[
    "newland",
    "honeywell",
    "gm65",
    "ssi",
    "datalogic",
    "hid-pos",
    "keyboard-wedge",
];

/// How long the same code counts as still the same, in milliseconds, and the longest that may be
/// chosen. Chosen: a hand with a phone is away within it.
const SAME_CODE_MS: u32 = 1500;
const SAME_CODE_MS_MAX: u32 = 60_000;

/// What the scanner can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Light up and wait for one code.
    Scan,
}

/// What the scanner reports meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The code; the command succeeds with it.
    Code(ScannedCode),
}

/// The driver of one scanner.
pub struct Scanner {
    port: String,
    model: String,
    recent: Recent,
    source: Source,
}

/// What kind of connection the scanner has.
enum Source {
    Line(Line),
    HidPos(HidPos),
}

impl Scanner {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        let options: &[&str] = match config.driver.as_str() {
            "hid-pos" => &["same_code_ms", "suffix", "trigger"],
            "keyboard-wedge" => &["same_code_ms"],
            _ => &["same_code_ms", "suffix"],
        };
        config.expect(DeviceClass::QrScanner, DRIVERS, options)?;
        let same_code_ms =
            config.option_number("same_code_ms", 0..=SAME_CODE_MS_MAX, SAME_CODE_MS)?;
        Ok(Self {
            port: config.port.clone(),
            model: config.model.clone().unwrap_or_default(),
            recent: Recent::new(Duration::from_millis(same_code_ms.into())),
            source: source(config)?,
        })
    }

    /// Waits for one code that is not the last one still in sight.
    fn scan(&mut self, context: &Context<'_, Event>) -> Result<ScannedCode, Completion> {
        loop {
            let code = self.source.next_code(context)?;
            if !self.recent.is_repeated(&code, clock::now()) {
                return Ok(code);
            }
            // A scanner puts out its light behind each code.
            self.source.start()?;
        }
    }
}

fn source(config: &DeviceConfig) -> Result<Source, ConfigError> {
    let word = config.option_word("suffix", &Suffix::WORDS, "any")?;
    let suffix = Suffix::from_word(word).unwrap_or_default();
    let port = &config.port;
    let Some(dialect) = Dialect::from_driver(&config.driver) else {
        usb::UsbPort::parse(port).map_err(|_| {
            config.not_accepted(
                "port",
                port,
                "usb:VVVV:PPPP, usb:@PATH or usbip:HOST:PORT/BUSID",
            )
        })?;
        let word = config.option_word("trigger", &Trigger::WORDS, "none")?;
        return Ok(Source::HidPos(HidPos::new(
            port,
            Trigger::from_word(word),
            suffix,
        )));
    };
    let parsed = wire::Port::parse(port).ok();
    let suffix = match (dialect, parsed) {
        (Dialect::Keyboard, Some(wire::Port::Serial { .. })) => dialect.suffix(),
        (Dialect::Keyboard, _) => {
            return Err(config.not_accepted("port", port, "an absolute path of an event node"));
        }
        (_, Some(_)) => suffix,
        (_, None) => {
            return Err(config.not_accepted("port", port, "an absolute path or tcp:HOST:PORT"));
        }
    };
    Ok(Source::Line(Line::new(port, config.baud, dialect, suffix)))
}

/// The model: what the scanner tells, else what is configured, else what the kernel calls it.
fn model(told: &str, configured: &str, name: &str) -> String {
    let known = [told, configured, name].into_iter();
    let mut known = known.filter(|model| !model.is_empty());
    known.next().unwrap_or_default().to_owned()
}

impl Source {
    fn open(&mut self) -> Result<Capabilities, Fault> {
        match self {
            Self::Line(line) => line.open(),
            Self::HidPos(scanner) => scanner.open(),
        }
    }

    /// What the kernel calls it; empty where it tells by itself what it is.
    fn name(&self) -> &str {
        match self {
            Self::Line(line) => line.name(),
            Self::HidPos(_) => "",
        }
    }

    fn close(&mut self) {
        match self {
            Self::Line(line) => line.close(),
            Self::HidPos(scanner) => scanner.close(),
        }
    }

    fn check(&mut self) -> Result<(), Fault> {
        match self {
            Self::Line(line) => line.check(),
            Self::HidPos(scanner) => scanner.check(),
        }
    }

    /// Throws away what came unasked.
    fn forget(&mut self) {
        match self {
            Self::Line(line) => line.forget(),
            Self::HidPos(scanner) => scanner.forget(),
        }
    }

    fn start(&mut self) -> Result<(), Completion> {
        match self {
            Self::Line(line) => line.start(),
            Self::HidPos(scanner) => scanner.start(),
        }
    }

    fn stop(&mut self) {
        match self {
            Self::Line(line) => line.stop(),
            Self::HidPos(scanner) => scanner.stop(),
        }
    }

    fn next_code(&mut self, context: &Context<'_, Event>) -> Result<ScannedCode, Completion> {
        match self {
            Self::Line(line) => line.next_code(context),
            Self::HidPos(scanner) => scanner.next_code(context),
        }
    }
}

impl Driver for Scanner {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        let mut capabilities = self.source.open()?;
        let told = std::mem::take(&mut capabilities.model);
        capabilities.model = model(&told, &self.model, self.source.name());
        Ok(capabilities)
    }

    fn close(&mut self) {
        self.source.close();
    }

    fn status(&mut self) -> Result<Status, Fault> {
        self.source.check()?;
        Ok(Status::online())
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        let Command::Scan = command;
        let _personal = tap::personal();
        self.source.forget();
        if let Err(completion) = self.source.start() {
            return completion;
        }
        let result = self.scan(context);
        self.source.stop();
        match result {
            Ok(code) => {
                context.emit(Event::Code(code));
                Completion::Success
            }
            Err(completion) => completion,
        }
    }

    fn poll_interval(&self) -> Duration {
        // Each poll is a frame that some models answer with a beep of light: not too often.
        Duration::from_secs(5)
    }
}

impl fmt::Debug for Scanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_told_configured_or_the_name_of_the_keyboard() {
        assert_eq!(model("told", "configured", "keyboard"), "told");
        assert_eq!(model("", "configured", "keyboard"), "configured");
        assert_eq!(model("", "", "keyboard"), "keyboard");
        assert_eq!(model("", "", ""), "");
    }
}
