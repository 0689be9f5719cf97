//! A device that is a line, a little world behind it, and a firmware that answers one request after
//! another: all that a UPS and an input-output board need.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::mischief::{self, ENDLESS_BYTES, Fate, Misbehavior};
use crate::serial::{LineReport, SerialLine};
use crate::steering::{Rubbish, Running, Steered, TICK, now};
use crate::usb::UsbBus;

/// Bytes of requests kept. Chosen: more than the longest of any such device.
const RECEIVED_BYTES_MAX: usize = 1024;
/// Errors kept for the report. Chosen.
const ERRORS_MAX: usize = 100;

/// How a driver reaches a device that is a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineTransport {
    /// A pseudo terminal below the bench's directory.
    #[default]
    Serial,
    /// A serial line over USB (CDC-ACM).
    UsbSerial,
}

/// Opens the line of such a device; one over USB has a bus of its own unless one is given.
pub(crate) fn open(
    transport: LineTransport,
    bus: Option<&UsbBus>,
    path: &Path,
    baud: u32,
    model: &str,
) -> io::Result<SerialLine> {
    match (transport, bus) {
        (LineTransport::Serial, _) => SerialLine::open(path, baud),
        (LineTransport::UsbSerial, Some(bus)) => Ok(SerialLine::open_usb(bus, model)),
        (LineTransport::UsbSerial, None) => {
            let bus = UsbBus::start(&crate::usb::UsbConfig::default())?;
            Ok(SerialLine::open_usb(&bus, model))
        }
    }
}

/// What follows from one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) reply: Vec<u8>,
    /// What was wrong with it.
    pub(crate) error: Option<String>,
}

impl Heard {
    pub(crate) fn reply(reply: Vec<u8>) -> Self {
        Self { reply, error: None }
    }

    pub(crate) fn error(error: String) -> Self {
        Self {
            reply: Vec::new(),
            error: Some(error),
        }
    }
}

/// What a device does with requests.
pub(crate) trait Firmware<W>: Send + 'static {
    /// Silence in the middle of a request that drops it.
    const SILENCE: Duration;

    /// Power has been away.
    fn reset(&mut self, world: &mut W);

    /// Takes the first complete request out of `received`, at least one byte of it.
    fn hear(&mut self, received: &mut Vec<u8>, world: &mut W) -> Option<Heard>;
}

/// What the thread of a device and its steering calls share.
#[derive(Debug)]
pub(crate) struct LineState<W> {
    pub(crate) world: W,
    misbehavior: Option<Misbehavior>,
    wants_cable: bool,
    has_cable: bool,
    requests: u64,
    errors: Vec<String>,
}

/// The running device; dropping it removes its port.
#[derive(Debug)]
pub(crate) struct LineDevice<W> {
    running: Running<LineState<W>>,
    port: PathBuf,
    line: LineReport,
}

impl<W: Send + 'static> LineDevice<W> {
    pub(crate) fn start(
        name: &str,
        line: SerialLine,
        world: W,
        firmware: impl Firmware<W>,
    ) -> io::Result<Self> {
        let port = line.path().to_owned();
        let report = line.report();
        let mut side = Side {
            baud: line.baud,
            line,
            firmware,
            received: Vec::new(),
            last_byte: now(),
            rubbish: Rubbish::new(0x115),
        };
        let mut running = Running::new(Steered::new(LineState {
            world,
            misbehavior: None,
            wants_cable: true,
            has_cable: true,
            requests: 0,
            errors: Vec::new(),
        }));
        running.spawn(name, move |steered| side.run(steered))?;
        Ok(Self {
            running,
            port,
            line: report,
        })
    }

    pub(crate) fn port(&self) -> &Path {
        &self.port
    }

    pub(crate) fn change<R>(&self, act: impl FnOnce(&mut W) -> R) -> R {
        self.running.steered.change(|state| act(&mut state.world))
    }

    pub(crate) fn look<R>(&self, read: impl FnOnce(&W) -> R) -> R {
        self.running.steered.look(|state| read(&state.world))
    }

    pub(crate) fn misbehave(&self, how: Option<Misbehavior>) {
        self.running.steered.change(|state| state.misbehavior = how);
    }

    pub(crate) fn set_cable(&self, is_plugged: bool) -> bool {
        let steered = &self.running.steered;
        steered.change(|state| state.wants_cable = is_plugged);
        steered.follow(|state| state.has_cable == is_plugged)
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        self.running.steered.look(|state| state.errors.clone())
    }

    /// Adds what every such device tells to what this one tells.
    pub(crate) fn report(&self, mut own: Value) -> Value {
        self.running.steered.look(|state| {
            own["port"] = self.port.display().to_string().into();
            own["cable"] = state.has_cable.into();
            own["requests"] = state.requests.into();
            own["errors"] = state.errors.clone().into();
            own["usb"] = self.line.value();
        });
        own
    }
}

/// The thread's own side of a device.
struct Side<F> {
    line: SerialLine,
    baud: u32,
    firmware: F,
    received: Vec<u8>,
    last_byte: Instant,
    rubbish: Rubbish,
}

impl<F> Side<F> {
    fn run<W>(&mut self, steered: &Steered<LineState<W>>)
    where
        F: Firmware<W>,
    {
        while !steered.is_stopping() {
            if let Err(error) = self.step(steered) {
                tracing::warn!(%error, "an emulated device lost its line");
                self.line.cut();
                steered.change(|state| {
                    state.wants_cable = false;
                    state.has_cable = false;
                });
            }
        }
    }

    fn step<W>(&mut self, steered: &Steered<LineState<W>>) -> io::Result<()>
    where
        F: Firmware<W>,
    {
        let wanted = steered.look(|state| state.wants_cable);
        if wanted != self.line.is_plugged() {
            self.received.clear();
            if wanted {
                steered.change(|state| self.firmware.reset(&mut state.world));
                self.line.baud = self.baud;
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
        let keep = |state: &LineState<W>| state.wants_cable;
        if steered.look(|state| state.misbehavior == Some(Misbehavior::EndlessGarbage)) {
            let rubbish = self.rubbish.bytes(ENDLESS_BYTES);
            self.line.send(&rubbish, steered, keep)?;
        }
        let mut buffer = [0; 256];
        let count = self.line.receive(&mut buffer, TICK)?;
        if count > 0 {
            self.received.extend(&buffer[..count]);
            self.received.truncate(RECEIVED_BYTES_MAX);
            self.last_byte = now();
        } else if now().duration_since(self.last_byte) >= F::SILENCE {
            self.received.clear();
        }
        // Bounded by the buffer: each turn takes at least one byte of it.
        while let Some(heard) =
            steered.change(|state| self.firmware.hear(&mut self.received, &mut state.world))
        {
            self.answer(&heard, steered)?;
        }
        Ok(())
    }

    fn answer<W>(&mut self, heard: &Heard, steered: &Steered<LineState<W>>) -> io::Result<()> {
        let misbehavior = steered.change(|state| {
            state.requests += 1;
            if let Some(error) = &heard.error
                && state.errors.len() < ERRORS_MAX
            {
                state.errors.push(error.clone());
            }
            state.misbehavior
        });
        if heard.reply.is_empty() {
            return Ok(());
        }
        let keep = |state: &LineState<W>| state.wants_cable && state.misbehavior == misbehavior;
        let (line, rubbish) = (&mut self.line, &mut self.rubbish);
        match mischief::send(line, &heard.reply, misbehavior, rubbish, steered, keep)? {
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
