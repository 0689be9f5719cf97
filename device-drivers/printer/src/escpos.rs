//! Slip printers that speak ESC/POS over a serial line or TCP port 9100.
//!
//! Slips are rasters, so that rare characters in names print on every model. A print counts as
//! presented when the printer echoes the job's process id, or, on printers without the echo, when
//! the time to print has passed and the printer says that nothing is wrong.

mod commands;
mod status;

use std::fmt;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, Driver,
    Fault, Status, Wire, WireError, clock, wire,
};
use zeroize::Zeroize;

use self::commands::{BAND_ROWS, Cut};
pub use self::status::{Condition, Report, ReportParser};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["escpos"];

const OPTIONS: &[&str] = &["width_dots", "cut", "feed_lines"];
/// Default speed of serial slip printers with fast interfaces (`device-protocols.md` has no single
/// value; chosen, `baud` overrides).
const BAUD_DEFAULT: u32 = 115_200;
/// 80 mm head at 203 dpi (§5.1).
const WIDTH_DOTS_DEFAULT: u32 = 576;
/// Longest slip: 2.5 m at 8 dots a millimetre. Chosen.
const ROWS_MAX: usize = 20_000;
/// Wait for one real-time answer. Chosen: the printer answers at once, the line may be slow.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Wait for the model name; many boards never answer.
const MODEL_LIMIT: Duration = Duration::from_millis(300);
/// How long the printer may refuse bytes before it is asked what is wrong. Chosen.
const WRITE_LIMIT: Duration = Duration::from_secs(4);
/// Wait between looks at the printer while it prints, so that cancellation is prompt.
const LOOK_LIMIT: Duration = Duration::from_millis(100);
/// Slow paper: 50 mm/s at 8 dots a millimetre. Chosen below the slowest common mechanism.
const ROWS_PER_SECOND_MIN: usize = 400;
/// Cutting and starting the motor. Chosen.
const PRINT_TIME_EXTRA: Duration = Duration::from_secs(3);
/// How often the printer is asked while it prints without automatic status. Chosen.
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// Reports thrown away before a question. Chosen: more than one job can cause.
const STALE_REPORTS_MAX: usize = 256;

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
}

/// What a slip printer reports while it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It waits for a condition that passes by itself; printing goes on afterwards.
    Stopped(Fault),
    /// The slip is out and cut.
    Presented,
}

/// The driver of one slip printer.
pub struct SlipPrinter {
    port: String,
    baud: u32,
    model: Option<String>,
    width_dots: u32,
    cut: Cut,
    feed_lines: u8,
    wire: Option<Box<dyn Wire>>,
    parser: ReportParser,
    echo: Echo,
    job: u32,
    /// The process id that was echoed last.
    printed: Option<[u8; 4]>,
    /// What delays the running print, when it passes by itself.
    delay: Option<Fault>,
}

/// Whether the printer answers `GS ( H`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Echo {
    Unknown,
    Works,
    Missing,
}

/// Ends a print on its way; what the caller turns into the command's completion.
type Step<T> = Result<T, Completion>;

impl SlipPrinter {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::SlipPrinter, DRIVERS, OPTIONS)?;
        wire::Port::parse(&config.port).map_err(|_| {
            config.not_accepted("port", &config.port, "an absolute path or tcp:HOST:PORT")
        })?;
        let cut = match config.option_word("cut", &["partial", "full", "none"], "partial")? {
            "full" => Cut::Full,
            "none" => Cut::None,
            _ => Cut::Partial,
        };
        let feed_lines = config.option_number("feed_lines", 0..=20, 3)?;
        Ok(Self {
            port: config.port.clone(),
            baud: config.baud.unwrap_or(BAUD_DEFAULT),
            model: config.model.clone(),
            width_dots: config.option_number("width_dots", 8..=4096, WIDTH_DOTS_DEFAULT)?,
            cut,
            feed_lines: u8::try_from(feed_lines).unwrap_or(3),
            wire: None,
            parser: ReportParser::default(),
            echo: Echo::Unknown,
            job: 0,
            printed: None,
            delay: None,
        })
    }

    fn wire(&mut self) -> Result<&mut (dyn Wire + 'static), WireError> {
        self.wire.as_deref_mut().ok_or(WireError::Gone)
    }

    /// The next report within `limit`; `None` when nothing came.
    fn next_report(&mut self, limit: Duration) -> Result<Option<Report>, WireError> {
        let deadline = clock::now() + limit;
        let mut byte = [0_u8; 1];
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            if self.wire()?.read(&mut byte, left)? == 0 {
                return Ok(None);
            }
            if let Some(report) = self.parser.push(byte[0]) {
                if let Report::ProcessId(id) = report {
                    self.printed = Some(id);
                }
                return Ok(Some(report));
            }
            if clock::now() >= deadline && !self.parser.is_partial() {
                return Ok(None);
            }
        }
    }

    /// Asks `DLE EOT n`. Automatic status that comes in between is dropped: the answer is newer.
    fn ask(&mut self, n: u8) -> Result<u8, WireError> {
        self.wire()?
            .write_all(&commands::real_time_status(n), ANSWER_LIMIT)?;
        let deadline = clock::now() + ANSWER_LIMIT;
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            match self.next_report(left)? {
                Some(Report::RealTime(answer)) => return Ok(answer),
                Some(Report::Automatic(_) | Report::ProcessId(_)) if !left.is_zero() => {}
                Some(_) | None => return Err(WireError::TimedOut),
            }
        }
    }

    /// Asks for the four status bytes. What was said before is forgotten, except a process id.
    fn condition(&mut self) -> Result<Condition, WireError> {
        for _ in 0..STALE_REPORTS_MAX {
            if self.next_report(Duration::ZERO)?.is_none() {
                break;
            }
        }
        Ok(Condition::from_real_time([
            self.ask(1)?,
            self.ask(2)?,
            self.ask(3)?,
            self.ask(4)?,
        ]))
    }

    /// The model in the printer's own words; empty when it does not tell.
    fn model_name(&mut self) -> Result<String, WireError> {
        self.wire()?.write_all(commands::MODEL_NAME, ANSWER_LIMIT)?;
        let mut name = Vec::new();
        let mut byte = [0_u8; 1];
        // `_`, at most 80 characters (Epson's own bound), NUL.
        while name.len() < 82 && self.wire()?.read(&mut byte, MODEL_LIMIT)? == 1 && byte[0] != 0 {
            name.push(byte[0]);
        }
        let text = name.strip_prefix(b"_").unwrap_or_default();
        Ok(String::from_utf8_lossy(text)
            .chars()
            .filter(|character| !character.is_control())
            .collect())
    }

    fn print(&mut self, slip: &SlipRaster, context: &Context<'_, Event>) -> Step<()> {
        let row_bytes = self.check(slip)?;
        let condition = self
            .condition()
            .map_err(|e| Completion::NotReady(e.into()))?;
        if let Some(fault) = condition.faults().into_iter().next() {
            return Err(Completion::NotReady(fault));
        }
        self.delay = None;
        self.send(commands::INITIALIZE, context)?;
        self.send(commands::AUTOMATIC_STATUS_ON, context)?;
        for rows in slip.rows.chunks(usize::from(row_bytes) * BAND_ROWS) {
            self.send(&commands::raster_band(row_bytes, rows), context)?;
            self.hear(Duration::ZERO, context)?;
        }
        self.send(&commands::feed_lines(self.feed_lines), context)?;
        self.send(commands::cut(self.cut), context)?;
        let row_count = slip.rows.len() / usize::from(row_bytes);
        self.wait_until_printed(row_count, context)
    }

    /// Bytes of a row, when the slip can be printed at all.
    fn check(&self, slip: &SlipRaster) -> Step<u16> {
        let bad = |detail: String| {
            let fault = Fault::new("printer.bad-raster", Action::Configuration, detail);
            Err(Completion::NotReady(fault))
        };
        if slip.width_dots == 0 || slip.width_dots > self.width_dots {
            return bad(format!(
                "the slip is {} dots wide, the head {}",
                slip.width_dots, self.width_dots
            ));
        }
        let row_bytes = slip.width_dots.div_ceil(8) as usize;
        let bytes = slip.rows.len();
        if bytes == 0 || !bytes.is_multiple_of(row_bytes) || bytes / row_bytes > ROWS_MAX {
            return bad(format!("{bytes} bytes are no 1 to {ROWS_MAX} rows"));
        }
        Ok(u16::try_from(row_bytes).unwrap_or(u16::MAX))
    }

    /// Sends one command. A printer that refuses bytes is asked why.
    fn send(&mut self, bytes: &[u8], context: &Context<'_, Event>) -> Step<()> {
        self.check_time(context)?;
        let limit = context.remaining().min(WRITE_LIMIT);
        let Err(error) = self.wire().and_then(|wire| wire.write_all(bytes, limit)) else {
            return Ok(());
        };
        let fault = match error {
            WireError::TimedOut => self
                .condition()
                .ok()
                .and_then(|condition| condition.faults().into_iter().next()),
            WireError::BadName { .. }
            | WireError::NotThere { .. }
            | WireError::InUse { .. }
            | WireError::Gone
            | WireError::Io(_) => None,
        };
        Err(Completion::Failed(fault.unwrap_or_else(|| error.into())))
    }

    /// Takes in what the printer says within `limit`. Ends the print when it cannot go on.
    fn hear(&mut self, limit: Duration, context: &Context<'_, Event>) -> Step<()> {
        match self.next_report(limit) {
            Ok(Some(Report::Automatic(bytes))) => {
                self.judge(Condition::from_automatic(bytes), context)
            }
            Ok(Some(Report::RealTime(_) | Report::ProcessId(_)) | None) => Ok(()),
            Err(error) => Err(Completion::Failed(error.into())),
        }
    }

    /// Ends the print for faults that do not pass by themselves; remembers those that do.
    fn judge(&mut self, condition: Condition, context: &Context<'_, Event>) -> Step<()> {
        let fault = condition.faults().into_iter().next();
        if let Some(fault) = &fault
            && fault.action != Action::Reset
            // Off-line without a cause: the cause follows in a moment, or the deadline ends it.
            && fault.code != "printer.offline"
        {
            return Err(Completion::Failed(fault.clone()));
        }
        if let Some(fault) = &fault
            && self.delay.as_ref() != Some(fault)
        {
            context.emit(Event::Stopped(fault.clone()));
        }
        self.delay = fault;
        Ok(())
    }

    fn wait_until_printed(&mut self, rows: usize, context: &Context<'_, Event>) -> Step<()> {
        self.job = (self.job + 1) % 10_000;
        let mut id = [b'0'; 4];
        id.copy_from_slice(format!("{:04}", self.job).as_bytes());
        self.printed = None;
        self.send(&commands::process_id(id), context)?;
        let seconds = u64::try_from(rows / ROWS_PER_SECOND_MIN).unwrap_or(u64::MAX);
        let print_time = Duration::from_secs(seconds) + PRINT_TIME_EXTRA;
        let expected_end = clock::now() + print_time;
        let mut next_question = clock::now() + ASK_INTERVAL;
        loop {
            self.check_time(context)?;
            self.hear(LOOK_LIMIT, context)?;
            let now = clock::now();
            if self.printed != Some(id) && now >= next_question {
                // Automatic status may be lost or missing: the question is the safety net. Behind a
                // full buffer it may go unanswered for a while, which says nothing.
                match self.condition() {
                    Ok(condition) => self.judge(condition, context)?,
                    Err(WireError::TimedOut) => {}
                    Err(error) => return Err(Completion::Failed(error.into())),
                }
                next_question = now + ASK_INTERVAL;
            }
            if self.printed == Some(id) {
                self.echo = Echo::Works;
                return self.verify(context);
            }
            // What is delayed, or has an echo to wait for, ends by the echo or the deadline.
            if now >= expected_end && self.echo != Echo::Works && self.delay.is_none() {
                self.echo = Echo::Missing;
                return self.verify(context);
            }
        }
    }

    /// As [`Context::check`], but a deadline that passed during a known trouble is that trouble.
    fn check_time(&self, context: &Context<'_, Event>) -> Step<()> {
        context.check().map_err(|completion| match &self.delay {
            Some(fault) if completion == Completion::TimeOut => Completion::Failed(fault.clone()),
            Some(_) | None => completion,
        })
    }

    /// A last question before success is claimed. Paper that ended behind a finished slip is the next
    /// slip's trouble; without the echo it may have ended inside this one.
    fn verify(&mut self, context: &Context<'_, Event>) -> Step<()> {
        let mut condition = self.condition().map_err(|e| Completion::Failed(e.into()))?;
        if self.echo == Echo::Works {
            condition.is_paper_out = false;
            condition.is_offline = false;
        }
        self.judge(condition, context)
    }
}

impl Driver for SlipPrinter {
    type Command = Command;
    type Event = Event;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        self.wire = Some(wire::open(&self.port, self.baud)?);
        self.condition()?;
        let model = match &self.model {
            Some(model) => model.clone(),
            None => self.model_name()?,
        };
        Ok(Capabilities {
            model,
            abilities: ["raster", "cut", "status-asb"].map(str::to_owned).to_vec(),
            ..Capabilities::default()
        })
    }

    fn close(&mut self) {
        self.wire = None;
        self.parser = ReportParser::default();
    }

    fn status(&mut self) -> Result<Status, Fault> {
        Ok(self.condition()?.status())
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Event>) -> Completion {
        let Command::Print(slip) = command;
        match self.print(&slip, context) {
            Ok(()) => {
                context.emit(Event::Presented);
                Completion::Success
            }
            Err(completion) => {
                if !matches!(completion, Completion::NotReady(_)) {
                    // Else the rest of this slip would come out in front of the next person.
                    let cleared = self
                        .wire()
                        .and_then(|wire| wire.write_all(commands::RECOVER_AND_CLEAR, ANSWER_LIMIT));
                    if let Err(error) = cleared {
                        tracing::debug!(%error, "buffer not cleared");
                    }
                }
                completion
            }
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
