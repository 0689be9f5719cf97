//! Slip printers that speak ESC/POS over a serial line, TCP port 9100 or the USB printer class.
//!
//! A slip is printed when the printer confirms it: by echoing a process id, by answering a question
//! that waits its turn behind the cut, or by saying that its motor rests. Only printers that can do
//! none of these are believed after the time it takes. What is wrong is asked again and again, also
//! while nothing is printed; a slip that did not come out whole is never reported as printed.

mod charset;
mod commands;
mod device_id;
mod full_status;
mod link;
mod presenter;
mod print;
mod profile;
mod raster;
mod status;
mod text;

use std::fmt;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Media, Status, Supply, WireError, clock,
};
use zeroize::Zeroize;

pub use self::device_id::DeviceId;
pub use self::full_status::FullStatus;
use self::link::Link;
pub use self::profile::{Charset, Cut, Dialect, Profile, QrPrinting};
pub use self::raster::Edge;
pub use self::status::{Condition, Report, ReportParser};
pub use self::text::{Align, Element, QrCode, QrLevel, SlipText, TextLine, encode};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["escpos"];

/// Options besides those of the profile.
const OPTIONS: [&str; 3] = ["present_steps", "retract_s", "device_id"];
/// Default speed of serial slip printers with fast interfaces (`device-protocols.md` has no single
/// value; chosen, `baud` overrides).
const BAUD_DEFAULT: u32 = 115_200;
/// Steps by which a presenter hands the slip out. Chosen: about 9 cm of Custom's VKP80.
const PRESENT_STEPS_DEFAULT: u32 = 12;
/// Longest text of the option `device_id`. Chosen.
const DEVICE_ID_OPTION_MAX: usize = 120;
/// Longest slip: 2.5 m at 8 dots a millimetre. Chosen.
const ROWS_MAX: usize = 20_000;
/// Wait for one real-time answer. Chosen: the printer answers at once, the line may be slow.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Wait for the model name; many boards never answer.
const MODEL_LIMIT: Duration = Duration::from_millis(300);
/// Bytes of the model name: the answer to a probe, `_`, at most 80 characters (Epson's own bound) and
/// NUL, rounded up.
const MODEL_BYTES_MAX: usize = 100;
/// Reports thrown away before a question. Chosen: more than one job can cause.
const STALE_REPORTS_MAX: usize = 256;
/// Bytes that may make no sense during one round of questions. Chosen: more than a disturbed line,
/// less than a device that talks another language.
const NOISE_MAX: u32 = 16;

/// A slip as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct SlipRaster {
    /// Width in dots; a row takes `width_dots` / 8 bytes, rounded up.
    pub width_dots: u32,
    /// Rows from the top, one bit a dot, most significant bit first, 1 is black.
    pub rows: Vec<u8>,
}

impl Drop for SlipRaster {
    fn drop(&mut self) {
        // A slip names a person: nothing of it stays in memory.
        self.rows.zeroize();
    }
}

impl fmt::Debug for SlipRaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlipRaster")
            .field("width_dots", &self.width_dots)
            .finish_non_exhaustive()
    }
}

/// What a slip printer can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print one slip and cut it off.
    Print(SlipRaster),
    /// Print one slip as text in the printer's own font and cut it off.
    PrintText(SlipText),
}

/// What a slip printer reports while it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many rows of dots are known to be out.
    Progress {
        /// Rows since the command began.
        rows_printed: u32,
    },
    /// It stopped. With the action `reset` it waits for a condition that passes by itself and goes
    /// on afterwards; otherwise the command fails next.
    Stopped(Fault),
    /// It goes on.
    Resumed,
    /// The slip is out and cut.
    Presented,
    /// The slip was taken. Only printers with a sensor in the output tell.
    Taken,
    /// Nobody took the slip, and the printer pulled it back.
    Retracted,
}

/// How the end of a slip is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Confirmation {
    /// Not probed yet.
    Unknown,
    /// `GS ( H` is echoed.
    ProcessId,
    /// `GS r` is answered in its turn.
    InTurn,
    /// The full status tells that nothing waits and nothing moves.
    FullStatus,
    /// Nothing of the kind: the time to print passes without a complaint.
    Time,
}

impl Confirmation {
    fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::ProcessId => "process-id",
            Self::InTurn => "in-turn",
            Self::FullStatus => "full-status",
            Self::Time => "time",
        }
    }
}

/// Who tells how the printer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// `DLE EOT`.
    RealTime,
    /// `GS a`, which tells at once when it is switched on.
    Automatic,
    /// The status byte of the USB port, which may mean nothing.
    Port,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::RealTime => "real-time",
            Self::Automatic => "automatic",
            Self::Port => "port",
        }
    }
}

/// Why the printer's condition is not known.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("the printer answers with bytes that make no sense")]
    Noise,
}

impl AskError {
    fn is_silence(&self) -> bool {
        matches!(self, Self::Wire(WireError::TimedOut))
    }
}

impl From<AskError> for Fault {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Wire(error) => error.into(),
            AskError::Noise => {
                Self::new("printer.bad-reply", Action::Maintenance, error.to_string())
            }
        }
    }
}

/// The driver of one slip printer.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact about the device, independent of the others"
)]
pub struct SlipPrinter {
    port: String,
    baud: u32,
    model: Option<String>,
    profile: Profile,
    present_steps: u8,
    /// How long a slip may lie in the output before it is pulled back.
    retract_after: Option<Duration>,
    /// Text that the USB device id must contain.
    device_id: Option<String>,
    link: Option<Link>,
    parser: ReportParser,
    source: Source,
    confirmation: Confirmation,
    job: u32,
    /// The process id that was echoed last.
    printed: Option<[u8; 4]>,
    /// The paper sensors as they were told last.
    sensors: Option<u8>,
    /// The full status as it was told last.
    full: Option<FullStatus>,
    /// It has a full status and a presenter, as configured and as found.
    has_full_status: bool,
    /// XOFF came, and no XON since.
    is_held: bool,
    /// Freeing the cutter was tried, and it still sticks.
    is_cutter_tried: bool,
    /// A piece of a slip that was given up hangs in the printer.
    has_remains: bool,
    run: print::Run,
}

impl SlipPrinter {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        let options = [profile::OPTIONS, &OPTIONS].concat();
        config.expect(DeviceClass::SlipPrinter, DRIVERS, &options)?;
        Link::check(&config.port).map_err(|_| {
            config.not_accepted(
                "port",
                &config.port,
                "an absolute path, tcp:HOST:PORT, usb:VVVV:PPPP or usbip:HOST:PORT/BUSID",
            )
        })?;
        let present_steps =
            config.option_number("present_steps", 1..=255, PRESENT_STEPS_DEFAULT)?;
        let retract_s = config.option_number("retract_s", 0..=600, 0)?;
        let device_id = match config.options.get("device_id") {
            None => None,
            Some(value) => Some(
                value
                    .as_str()
                    .filter(|text| (1..=DEVICE_ID_OPTION_MAX).contains(&text.len()))
                    .ok_or_else(|| {
                        let accepted = "text of the printer's USB device id, such as XP-T58H";
                        config.not_accepted("options.device_id", value.to_string(), accepted)
                    })?
                    .to_owned(),
            ),
        };
        Ok(Self {
            port: config.port.clone(),
            baud: config.baud.unwrap_or(BAUD_DEFAULT),
            model: config.model.clone(),
            profile: Profile::from_config(config)?,
            present_steps: u8::try_from(present_steps).unwrap_or(u8::MAX),
            retract_after: (retract_s > 0).then(|| Duration::from_secs(retract_s.into())),
            device_id,
            link: None,
            parser: ReportParser::default(),
            source: Source::RealTime,
            confirmation: Confirmation::Unknown,
            job: 0,
            printed: None,
            sensors: None,
            full: None,
            has_full_status: false,
            is_held: false,
            is_cutter_tried: false,
            has_remains: false,
            run: print::Run::default(),
        })
    }

    /// What slips must be like for this printer.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    fn link(&mut self) -> Result<&mut Link, WireError> {
        self.link.as_mut().ok_or(WireError::Gone)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.link()?.write_all(bytes, ANSWER_LIMIT)
    }

    /// The next report within `limit`; `None` when nothing came.
    fn next_report(&mut self, limit: Duration) -> Result<Option<Report>, WireError> {
        let deadline = clock::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let Some(byte) = self.link()?.read_byte(left)? else {
                return Ok(None);
            };
            if let Some(report) = self.parser.push(byte) {
                match report {
                    Report::ProcessId(id) => {
                        self.printed = Some(id);
                        self.run.heard(id);
                    }
                    Report::PaperSensors(byte) => self.sensors = Some(byte),
                    Report::Full(bytes) => self.full = Some(FullStatus::from_bytes(bytes)),
                    Report::Hold => self.is_held = true,
                    Report::Release => self.is_held = false,
                    Report::RealTime(_) | Report::Automatic(_) => {}
                }
                return Ok(Some(report));
            }
            if clock::now() >= deadline && !self.parser.is_partial() {
                return Ok(None);
            }
        }
    }

    /// Reports until `choose` takes one. What else comes in between is older than the answer.
    fn await_report<T>(&mut self, choose: impl Fn(Report) -> Option<T>) -> Result<T, WireError> {
        let deadline = clock::now() + ANSWER_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            match self.next_report(left)? {
                Some(report) => {
                    if let Some(chosen) = choose(report) {
                        return Ok(chosen);
                    }
                    if left.is_zero() {
                        return Err(WireError::TimedOut);
                    }
                }
                None => return Err(WireError::TimedOut),
            }
        }
    }

    /// Asks `DLE EOT n`.
    fn ask(&mut self, n: u8) -> Result<u8, WireError> {
        self.write(&commands::real_time_status(n))?;
        self.await_report(|report| {
            if let Report::RealTime(answer) = report {
                Some(answer)
            } else {
                None
            }
        })
    }

    fn ask_automatic(&mut self) -> Result<Condition, WireError> {
        self.write(commands::AUTOMATIC_STATUS_ON)?;
        self.await_report(|report| {
            if let Report::Automatic(bytes) = report {
                Some(Condition::from_automatic(bytes))
            } else {
                None
            }
        })
    }

    fn ask_full(&mut self) -> Result<FullStatus, WireError> {
        self.full = None;
        self.write(commands::FULL_STATUS)?;
        self.await_report(|report| {
            if let Report::Full(bytes) = report {
                Some(FullStatus::from_bytes(bytes))
            } else {
                None
            }
        })
    }

    fn ask_port(&mut self) -> Result<Condition, WireError> {
        match self.link()?.port_status() {
            // Nothing selected, nothing right, nothing wrong: the board does not know.
            Some(Ok(0) | Err(WireError::Stalled)) => Ok(Condition::default()),
            Some(status) => Ok(Condition::from_port_status(status?)),
            None => Err(WireError::TimedOut),
        }
    }

    /// Asks how the printer is. What was said before is forgotten, except confirmations.
    fn condition(&mut self) -> Result<Condition, AskError> {
        if self.source == Source::Port {
            return Ok(self.ask_port()?);
        }
        for _ in 0..STALE_REPORTS_MAX {
            if self.next_report(Duration::ZERO)?.is_none() {
                break;
            }
        }
        self.parser.take_noise();
        let result = self.ask_source();
        let noise = self.parser.take_noise();
        match result {
            // A line that carries rubbish must not be taken for a silent one, nor believed.
            Err(WireError::TimedOut) if noise > 0 => Err(AskError::Noise),
            Ok(_) if noise > NOISE_MAX => Err(AskError::Noise),
            result => Ok(result?),
        }
    }

    fn ask_source(&mut self) -> Result<Condition, WireError> {
        if self.source == Source::Automatic {
            return self.ask_automatic();
        }
        let condition =
            Condition::from_real_time([self.ask(1)?, self.ask(2)?, self.ask(3)?, self.ask(4)?]);
        if self.has_full_status {
            return Ok(condition.or(self.ask_full()?.condition()));
        }
        Ok(condition)
    }

    /// Finds out who tells how the printer is.
    fn find_source(&mut self) -> Result<Condition, AskError> {
        if !self.link()?.can_answer() {
            self.source = Source::Port;
            return self.condition();
        }
        self.source = Source::RealTime;
        self.has_full_status = false;
        let mut result = self.condition();
        if result.as_ref().is_err_and(AskError::is_silence) && self.link()?.soft_reset() {
            // What another program left behind in the buffer may block the answer.
            result = self.condition();
        }
        if result.is_ok() && self.profile.dialect == Dialect::Custom {
            return self.find_full_status();
        }
        if !result.as_ref().is_err_and(AskError::is_silence) {
            return result;
        }
        let other = match self.profile.dialect {
            Dialect::Epson | Dialect::Custom => Source::Automatic,
            Dialect::Plain => Source::Port,
        };
        self.source = other;
        let found = self.condition();
        if found.is_err() {
            self.source = Source::RealTime;
            return result;
        }
        found
    }

    /// Finds out whether the printer has the full status that its profile promises.
    fn find_full_status(&mut self) -> Result<Condition, AskError> {
        self.has_full_status = true;
        let result = self.condition();
        if !result.as_ref().is_err_and(AskError::is_silence) {
            return result;
        }
        tracing::warn!("the printer has no full status: it is taken for one without a presenter");
        self.has_full_status = false;
        self.condition()
    }

    /// Finds out how the end of a slip will be known, when the printer is ready to tell. Both
    /// questions wait their turn, so an answer to the second means that the first has none.
    fn probe(&mut self) -> Result<(), WireError> {
        if self.confirmation != Confirmation::Unknown {
            return Ok(());
        }
        let can_answer = self.link()?.can_answer();
        self.confirmation = match self.profile.dialect {
            _ if !can_answer => Confirmation::Time,
            Dialect::Custom if self.has_full_status => Confirmation::FullStatus,
            Dialect::Plain => Confirmation::Time,
            Dialect::Epson | Dialect::Custom => {
                let id = self.next_id();
                self.write(&commands::process_id(id))?;
                self.parser.expect_paper_sensors();
                self.write(commands::PAPER_SENSORS)?;
                let found = self.await_report(|report| match report {
                    Report::ProcessId(echo) => (echo == id).then_some(Confirmation::ProcessId),
                    Report::PaperSensors(_) => Some(Confirmation::InTurn),
                    Report::RealTime(_)
                    | Report::Automatic(_)
                    | Report::Full(_)
                    | Report::Hold
                    | Report::Release => None,
                });
                match found {
                    Ok(confirmation) => confirmation,
                    Err(WireError::TimedOut) => Confirmation::Time,
                    Err(error) => return Err(error),
                }
            }
        };
        tracing::debug!(
            confirmation = self.confirmation.name(),
            source = self.source.name(),
            "slip printer probed"
        );
        Ok(())
    }

    /// Tries once to free a stuck cutter; again when somebody has opened the cover.
    fn free_cutter(&mut self, condition: Condition) -> Result<Condition, AskError> {
        if !condition.is_cutter_jammed || condition.is_cover_open {
            self.is_cutter_tried = false;
            return Ok(condition);
        }
        if self.is_cutter_tried {
            return Ok(condition);
        }
        self.is_cutter_tried = true;
        self.write(commands::RECOVER_AND_CLEAR)?;
        self.condition()
    }

    fn next_id(&mut self) -> [u8; 4] {
        self.job = (self.job + 1) % 10_000;
        let mut id = [b'0'; 4];
        id.copy_from_slice(format!("{:04}", self.job).as_bytes());
        id
    }

    /// The model in the printer's own words; empty when it does not tell.
    fn model_name(&mut self) -> Result<String, WireError> {
        self.write(commands::MODEL_NAME)?;
        let mut name = Vec::new();
        for _ in 0..MODEL_BYTES_MAX {
            match self.link()?.read_byte(MODEL_LIMIT)? {
                Some(b'_') if name.is_empty() => name.push(b'_'),
                Some(0) if !name.is_empty() => break,
                Some(byte) if !name.is_empty() => name.push(byte),
                Some(_) => {}
                None => break,
            }
        }
        let text = name.strip_prefix(b"_").unwrap_or_default();
        Ok(String::from_utf8_lossy(text)
            .chars()
            .filter(|character| !character.is_control())
            .collect())
    }

    /// Refuses another USB device than the one that was meant.
    fn check_device_id(&self, found: Option<&DeviceId>) -> Result<(), Fault> {
        let Some(wanted) = &self.device_id else {
            return Ok(());
        };
        let name = found.map(DeviceId::name).unwrap_or_default();
        if name.contains(wanted.as_str()) {
            return Ok(());
        }
        Err(Fault::new(
            "printer.other-device",
            Action::Configuration,
            format!("the device calls itself {name:?}, not {wanted:?}"),
        ))
    }

    fn abilities(&self) -> Vec<String> {
        let mut abilities = vec!["raster", "text", "cut"];
        if self.profile.qr == QrPrinting::Printer {
            abilities.push("qr");
        }
        abilities.push(match self.source {
            Source::RealTime if self.profile.dialect == Dialect::Plain => "status-real-time",
            Source::RealTime | Source::Automatic => "status-asb",
            Source::Port => "status-port",
        });
        if self.confirmation == Confirmation::ProcessId {
            abilities.push("process-id");
        }
        if self.has_full_status {
            abilities.extend(["presenter", "taken"]);
        }
        abilities.into_iter().map(str::to_owned).collect()
    }

    fn opened(&mut self) -> Result<Capabilities, Fault> {
        let id = self.link()?.device_id();
        self.check_device_id(id.as_ref())?;
        let condition = self.find_source()?;
        let condition = self.free_cutter(condition)?;
        // A printer that waits for paper would not answer in turn, and be taken for a dumb one.
        if condition.faults().is_empty() {
            self.probe()?;
        }
        let id = id.unwrap_or_default();
        let model = match &self.model {
            Some(model) => model.clone(),
            None if !id.name().is_empty() => id.name(),
            None if self.source == Source::Port => String::new(),
            None => self.model_name()?,
        };
        Ok(Capabilities {
            model,
            serial: id.serial,
            abilities: self.abilities(),
            ..Capabilities::default()
        })
    }
}

impl Driver for SlipPrinter {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        self.link = Some(Link::open(&self.port, self.baud)?);
        self.opened()
    }

    fn close(&mut self) {
        self.link = None;
        self.parser = ReportParser::default();
        self.source = Source::RealTime;
        self.confirmation = Confirmation::Unknown;
        self.is_held = false;
        self.full = None;
        self.has_full_status = false;
    }

    fn status(&mut self) -> Result<Status, Fault> {
        let condition = self.condition()?;
        let condition = self.free_cutter(condition)?;
        let mut status = condition.status();
        if let Some(full) = self.full.filter(|_| self.has_full_status) {
            status.media = full.media();
        }
        if self.source == Source::Port {
            // Many boards always say that all is well.
            if status.paper != Supply::Out {
                status.paper = Supply::Unknown;
            }
        }
        let readings = [
            ("status-source", self.source.name()),
            ("confirmation", self.confirmation.name()),
        ];
        status
            .readings
            .extend(readings.map(|(name, value)| (name.to_owned(), value.to_owned())));
        if status.media == Media::Present {
            status
                .readings
                .insert("output".to_owned(), "slip not taken".to_owned());
        }
        Ok(status)
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        let result = match &command {
            Command::Print(slip) => self.print_raster(slip, context),
            Command::PrintText(slip) => self.print_text(slip, context),
        };
        match result {
            Ok(()) => self.present(context),
            Err(completion) => self.give_up(completion),
        }
    }
}

impl fmt::Debug for SlipPrinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlipPrinter")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
