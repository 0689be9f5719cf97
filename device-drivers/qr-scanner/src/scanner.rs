//! The driver: starts the scanner on command, takes one code, stops it again.
//!
//! A code has no length and may hold line ends of its own, so its end is a pause behind it: a short
//! one behind the suffix, a longer one without. Codes the scanner sends unasked are thrown away.

use std::fmt;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Status, Wire, WireError, clock, wire,
};
use zeroize::Zeroizing;

use crate::newland::{self, Input};
pub use crate::text::ScannedCode;
use crate::text::{decode, has_suffix};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["newland"];

/// Both defaults seen in the field (§4.1), the faster one first.
const BAUDS: [u32; 2] = [115_200, 9600];
/// Wait for the answer to a command. Chosen: one frame at 9600 baud takes 20 ms.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Wait for the answer while the speed is being found out. Chosen.
const PROBE_LIMIT: Duration = Duration::from_millis(500);
/// Wait between looks at the caller's wish to stop.
const LOOK_LIMIT: Duration = Duration::from_millis(100);
/// Pause that ends a code with a suffix. Chosen: 50 bytes at 9600 baud.
const END_PAUSE: Duration = Duration::from_millis(60);
/// Pause that ends a code without a suffix. Chosen: longer than a busy machine delays a byte.
const END_PAUSE_WITHOUT_SUFFIX: Duration = Duration::from_millis(300);
/// Modules end one scan by themselves after a few seconds (`ORTSET`): started again in time.
const RESTART_INTERVAL: Duration = Duration::from_secs(4);
/// Longest code: 4 KiB, more than a QR code of version 40 holds.
const CODE_BYTES_MAX: usize = 4096;
/// Bytes read at once.
const READ_BYTES: usize = 512;

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
    baud: Option<u32>,
    model: String,
    wire: Option<Box<dyn Wire>>,
    /// Input that was read and not used; bounded by [`CODE_BYTES_MAX`] and one reading.
    input: Zeroizing<Vec<u8>>,
}

impl Scanner {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::QrScanner, DRIVERS, &[])?;
        wire::Port::parse(&config.port).map_err(|_| {
            config.not_accepted("port", &config.port, "an absolute path or tcp:HOST:PORT")
        })?;
        Ok(Self {
            port: config.port.clone(),
            baud: config.baud,
            model: config.model.clone().unwrap_or_default(),
            wire: None,
            input: empty_input(),
        })
    }

    fn wire(&mut self) -> Result<&mut (dyn Wire + 'static), WireError> {
        self.wire.as_deref_mut().ok_or(WireError::Gone)
    }

    fn forget_input(&mut self) {
        self.input = empty_input();
        if let Some(wire) = self.wire.as_deref_mut() {
            wire.discard_input();
        }
    }

    /// Reads more input; the number of bytes that came.
    fn read_more(&mut self, limit: Duration) -> Result<usize, WireError> {
        let mut buffer = Zeroizing::new([0_u8; READ_BYTES]);
        let count = self.wire()?.read(buffer.as_mut_slice(), limit)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        self.input.extend_from_slice(bytes);
        Ok(count)
    }

    /// The content of the answer at the front of the input, taken off it.
    fn take_answer(&mut self) -> Option<Vec<u8>> {
        let Input::Answer { length, content } = newland::parse(&self.input) else {
            return None;
        };
        self.input.drain(..length);
        Some(content)
    }

    /// Sends a frame and waits for the answer that `accept` recognizes.
    fn ask<T>(
        &mut self,
        frame: &[u8],
        limit: Duration,
        accept: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, WireError> {
        self.wire()?.write_all(frame, ANSWER_LIMIT)?;
        let deadline = clock::now() + limit;
        loop {
            while let Some(content) = self.take_answer() {
                if let Some(found) = accept(&content) {
                    return Ok(found);
                }
            }
            // A code in front of the answer was not asked for.
            if newland::parse(&self.input) == Input::Code {
                self.drop_until_answer();
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(WireError::TimedOut);
            }
            self.read_more(left)?;
        }
    }

    /// Drops what stands before the next byte that may begin an answer.
    fn drop_until_answer(&mut self) {
        let next = self.input.iter().skip(1).position(|byte| *byte == 0x02);
        let length = next.map_or(self.input.len(), |at| at + 1);
        self.input.drain(..length);
    }

    fn command(&mut self, tag: &'static str, limit: Duration) -> Result<bool, WireError> {
        self.ask(&newland::command(tag), limit, |content| {
            newland::verdict(content, tag)
        })
    }

    /// Opens the port at the configured speed, or at the first one at which the scanner answers.
    fn connect(&mut self) -> Result<(), WireError> {
        let bauds = match self.baud {
            Some(baud) => vec![baud],
            None => BAUDS.to_vec(),
        };
        let mut failure = WireError::TimedOut;
        for baud in bauds {
            self.wire = None;
            self.wire = Some(wire::open(&self.port, baud)?);
            self.forget_input();
            // "Stop" is harmless to a scanner that does nothing.
            match self.command(newland::STOP, PROBE_LIMIT) {
                Ok(_) => return Ok(()),
                Err(WireError::TimedOut) => {}
                Err(error) => failure = error,
            }
        }
        self.wire = None;
        Err(failure)
    }

    fn start(&mut self) -> Result<(), Completion> {
        match self.command(newland::START, ANSWER_LIMIT) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Completion::Failed(Fault::new(
                "qr-scanner.command-refused",
                Action::Configuration,
                "the scanner refuses the command to start",
            ))),
            Err(error) => Err(Completion::Failed(error.into())),
        }
    }

    /// Stops scanning. A scanner that does not answer shows at the next status.
    fn stop(&mut self) {
        if let Err(error) = self.command(newland::STOP, ANSWER_LIMIT) {
            tracing::debug!(%error, "scanner not stopped");
        }
        self.forget_input();
    }

    /// Waits for one code.
    fn scan(&mut self, context: &Context<'_, Event>) -> Result<ScannedCode, Completion> {
        let failed = |error: WireError| Completion::Failed(error.into());
        let mut restart_at = clock::now() + RESTART_INTERVAL;
        loop {
            context.check()?;
            while self.take_answer().is_some() {}
            if newland::parse(&self.input) == Input::Code {
                if let Some(code) = self.rest_of_code()? {
                    return Ok(code);
                }
                continue;
            }
            if clock::now() >= restart_at {
                let frame = newland::command(newland::START);
                let sent = self
                    .wire()
                    .and_then(|wire| wire.write_all(&frame, ANSWER_LIMIT));
                sent.map_err(failed)?;
                restart_at = clock::now() + RESTART_INTERVAL;
            }
            let limit = context.remaining().min(LOOK_LIMIT);
            self.read_more(limit).map_err(failed)?;
        }
    }

    /// Reads on until the pause that ends a code; `None` when it was only a suffix.
    fn rest_of_code(&mut self) -> Result<Option<ScannedCode>, Completion> {
        loop {
            if self.input.len() > CODE_BYTES_MAX {
                return Err(Completion::Failed(Fault::new(
                    "qr-scanner.code-too-long",
                    Action::Clear,
                    "the code is longer than 4 KiB",
                )));
            }
            let pause = if has_suffix(&self.input) {
                END_PAUSE
            } else {
                END_PAUSE_WITHOUT_SUFFIX
            };
            let count = self
                .read_more(pause)
                .map_err(|e| Completion::Failed(e.into()))?;
            if count == 0 {
                let bytes = std::mem::replace(&mut self.input, empty_input());
                return Ok(decode(newland::without_answer(&bytes, newland::START)));
            }
        }
    }
}

/// Large enough from the start, so that growing leaves no copies behind.
fn empty_input() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(CODE_BYTES_MAX + READ_BYTES))
}

impl Driver for Scanner {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        self.connect()?;
        if !self.command(newland::COMMAND_MODE, ANSWER_LIMIT)? {
            tracing::warn!("the scanner refuses command mode");
        }
        let told = self.ask(&newland::query(newland::PRODUCT), ANSWER_LIMIT, |content| {
            // A refused query is an answer too: then the configuration says what it is.
            newland::verdict(content, newland::PRODUCT)
                .map(|_| newland::query_text(content, newland::PRODUCT).unwrap_or_default())
        });
        let model = match told {
            Ok(text) if !text.is_empty() => text,
            Ok(_) | Err(WireError::TimedOut) => self.model.clone(),
            Err(error) => return Err(error.into()),
        };
        Ok(Capabilities {
            model,
            abilities: vec!["trigger".to_owned()],
            ..Capabilities::default()
        })
    }

    fn close(&mut self) {
        self.wire = None;
        self.input = empty_input();
    }

    fn status(&mut self) -> Result<Status, Fault> {
        self.forget_input();
        self.command(newland::STOP, ANSWER_LIMIT)?;
        Ok(Status::online())
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        let Command::Scan = command;
        self.forget_input();
        if let Err(completion) = self.start() {
            return completion;
        }
        let result = self.scan(context);
        self.stop();
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
