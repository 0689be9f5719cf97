//! The uninterruptible power supply, asked with the Megatec Q1 protocol (`device-protocols.md` §9.1) on
//! a serial line of 2400 baud.
//!
//! A power cut is not a failure of the terminal: the state stays online, and a fault tells staff what
//! happened. Readings are rounded and move only when the value has really moved, because every change
//! of a status is an event. A command counts as done when the flags of the UPS show it.

use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, DeviceState,
    Driver, Fault, Status, Wire, WireError, clock, wire,
};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["megatec-q1"];

/// Speed of the line (§9.1).
const BAUD: u32 = 2400;
/// How it is now.
const QUESTION: &[u8] = b"Q1\r";
/// Who it is.
const IDENTITY: &[u8] = b"I\r";
/// For what it is built.
const RATINGS: &[u8] = b"F\r";
/// A battery test of ten seconds.
const TEST: &[u8] = b"T\r";
/// Takes a shutdown back.
const CANCEL: &[u8] = b"C\r";
/// First byte of the answer to `Q1`.
const STATUS_START: u8 = b'(';
/// First byte of the answers to `I` and `F`.
const TEXT_START: u8 = b'#';
/// Wait for an answer. Chosen: 47 bytes take 200 ms, and slow ones think for half a second.
const ANSWER_LIMIT: Duration = Duration::from_millis(1500);
/// Bytes without an answer in them that are taken at most. Chosen: five times the longest answer.
const INPUT_BYTES_MAX: usize = 256;
/// Values in front of the flags (§9.1).
const VALUES: usize = 7;
/// Longest number. Chosen: real ones have five characters.
const NUMBER_LENGTH_MAX: usize = 8;
/// Looks at the flags after a command. Chosen.
const CONFIRMATIONS_MAX: u32 = 4;
/// Time between these looks. Chosen: two polls of the slowest kind.
const CONFIRMATION_PAUSE: Duration = Duration::from_millis(500);
/// Longest delay of a shutdown that all kinds take, in minutes.
const SHUTDOWN_MINUTES_MAX: u32 = 10;
/// Load from which the UPS is overloaded, in percent.
const LOAD_PERCENT_MAX: f64 = 100.0;
/// Below this a battery voltage is that of one cell.
const CELL_VOLTS_MAX: f64 = 5.0;
/// A reading moves when the value is three quarters of a step away from what is shown. Chosen.
const STEP_TO_MOVE: f64 = 0.75;

/// What the UPS can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run on the battery for ten seconds and see whether it holds.
    Test,
    /// Switch the output off after so many minutes; it returns with the mains.
    Shutdown {
        /// Delay in minutes; brought into the range 1 to 10.
        minutes: u32,
    },
    /// Take a shutdown back.
    CancelShutdown,
}

/// The driver of one UPS.
pub struct Ups {
    port: String,
    baud: u32,
    model: String,
    wire: Option<Box<dyn Wire>>,
    shown: Shown,
}

impl Ups {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::Ups, DRIVERS, &[])?;
        wire::Port::parse(&config.port).map_err(|_| {
            config.not_accepted("port", &config.port, "an absolute path or tcp:HOST:PORT")
        })?;
        Ok(Self {
            port: config.port.clone(),
            baud: config.baud.unwrap_or(BAUD),
            model: config.model.clone().unwrap_or_default(),
            wire: None,
            shown: Shown::default(),
        })
    }

    fn wire(&mut self) -> Result<&mut (dyn Wire + 'static), WireError> {
        self.wire.as_deref_mut().ok_or(WireError::Gone)
    }

    /// Asks and takes the line that begins with `start`; what else comes (an echo) is skipped.
    fn ask(&mut self, request: &[u8], start: u8) -> Result<Vec<u8>, Fault> {
        let wire = self.wire()?;
        wire.discard_input();
        wire.write_all(request, ANSWER_LIMIT)?;
        let deadline = clock::now() + ANSWER_LIMIT;
        let mut input = Vec::new();
        let mut buffer = [0_u8; 64];
        loop {
            if let Some(line) = find_line(&input, start) {
                return Ok(line.to_vec());
            }
            if input.len() > INPUT_BYTES_MAX {
                return Err(bad_reply("the answer does not end"));
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(if input.is_empty() {
                    WireError::TimedOut.into()
                } else {
                    bad_reply("the answer is incomplete")
                });
            }
            let count = wire.read(&mut buffer, left)?;
            input.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    fn measure(&mut self) -> Result<Measurement, Fault> {
        let line = self.ask(QUESTION, STATUS_START)?;
        parse_status(&line).ok_or_else(|| bad_reply("the answer to Q1 has no flags"))
    }

    /// An optional question: a UPS that does not know it stays silent or sends it back.
    fn ask_text(&mut self, request: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        match self.ask(request, TEXT_START) {
            Ok(line) => Ok(Some(line)),
            Err(fault) if ["device.silent", "ups.bad-reply"].contains(&fault.code) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Sends a command, which has no answer, and waits until the flags show that it is followed.
    fn tell(
        &mut self,
        request: &[u8],
        is_followed: impl Fn(Flags) -> bool,
        context: &Context<'_, Infallible>,
    ) -> Result<(), Completion> {
        let failed = |fault: Fault| Completion::Failed(fault);
        let sent = self
            .wire()
            .and_then(|wire| wire.write_all(request, ANSWER_LIMIT));
        sent.map_err(|error| failed(error.into()))?;
        for _ in 0..CONFIRMATIONS_MAX {
            context.pause(CONFIRMATION_PAUSE)?;
            if is_followed(self.measure().map_err(failed)?.flags) {
                return Ok(());
            }
        }
        Err(failed(Fault::new(
            "ups.command-ignored",
            Action::Maintenance,
            "the flags do not show that the command is followed",
        )))
    }
}

impl Driver for Ups {
    type Command = Command;
    type Event = Infallible;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        self.wire = Some(wire::open(&self.port, self.baud)?);
        self.measure()?;
        let identity = self.ask_text(IDENTITY)?;
        let identity = identity.as_deref().map(parse_identity).unwrap_or_default();
        let mut abilities = ["test", "shutdown", "cancel-shutdown"]
            .map(str::to_owned)
            .to_vec();
        let ratings = self.ask_text(RATINGS)?;
        if let Some(ratings) = ratings.as_deref().and_then(parse_ratings) {
            abilities.push(format!("rated-{:.0}-volts", ratings.volts));
            abilities.push(format!("battery-{:.0}-volts", ratings.battery_volts));
        }
        Ok(Capabilities {
            model: if identity.model.is_empty() {
                self.model.clone()
            } else {
                identity.model
            },
            firmware: identity.firmware,
            abilities,
            ..Capabilities::default()
        })
    }

    fn close(&mut self) {
        self.wire = None;
    }

    fn status(&mut self) -> Result<Status, Fault> {
        let measurement = self.measure()?;
        Ok(self.shown.status(&measurement))
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Infallible>) -> Completion {
        let result = match command {
            Command::Test => self.tell(TEST, Flags::is_testing, context),
            Command::Shutdown { minutes } => {
                let minutes = minutes.clamp(1, SHUTDOWN_MINUTES_MAX);
                let request = format!("S{minutes:02}\r");
                self.tell(request.as_bytes(), Flags::is_shutting_down, context)
            }
            Command::CancelShutdown => {
                self.tell(CANCEL, |flags| !flags.is_shutting_down(), context)
            }
        };
        match result {
            Ok(()) => Completion::Success,
            Err(completion) => completion,
        }
    }

    fn poll_interval(&self) -> Duration {
        // The line is slow, and a battery lasts minutes.
        Duration::from_secs(5)
    }
}

impl fmt::Debug for Ups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ups")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// What the UPS says about itself in one answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Voltage of the mains.
    pub input_volts: Option<f64>,
    /// Voltage of the mains at the last transfer to the battery.
    pub fault_volts: Option<f64>,
    /// Voltage given to the terminal.
    pub output_volts: Option<f64>,
    /// Load in percent of what the UPS can carry.
    pub load_percent: Option<f64>,
    /// Frequency of the mains in hertz.
    pub frequency_hertz: Option<f64>,
    /// Voltage of the battery, or of one cell of it.
    pub battery_volts: Option<f64>,
    /// Temperature inside in degrees Celsius.
    pub temperature_celsius: Option<f64>,
    /// The rest.
    pub flags: Flags,
}

/// The eight flags of an answer, the leftmost in the highest bit (§9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// The mains failed; the terminal runs on the battery.
    pub fn is_on_battery(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// The battery is nearly empty, or worn out.
    pub fn is_battery_low(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// On-line kind: the load hangs on the bare mains. Stand-by kind: the voltage is being corrected.
    pub fn is_bypassed_or_boosting(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// The UPS itself is broken.
    pub fn is_failed(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// A stand-by or line-interactive kind, else an on-line one.
    pub fn is_standby_kind(self) -> bool {
        self.0 & 0x08 != 0
    }

    /// A battery test runs.
    pub fn is_testing(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// The output will be switched off.
    pub fn is_shutting_down(self) -> bool {
        self.0 & 0x02 != 0
    }
}

/// Maker, model and version as the UPS tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Maker and model.
    pub model: String,
    /// Version of the program in it.
    pub firmware: String,
}

/// For what the UPS is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratings {
    /// Voltage of the output.
    pub volts: f64,
    /// Voltage of the full battery.
    pub battery_volts: f64,
}

/// The first complete line of `input` that begins with `start`, without its end. A beginning that was
/// cut off by another beginning is skipped.
pub fn find_line(input: &[u8], start: u8) -> Option<&[u8]> {
    input
        .split_inclusive(|byte| *byte == b'\r')
        .filter_map(|line| line.strip_suffix(b"\r"))
        .find_map(|line| {
            let at = line.iter().rposition(|byte| *byte == start)?;
            line.get(at..)
        })
}

/// Reads the answer to `Q1`, from its parenthesis on, without the line end. Numbers that are none
/// (`---.-`) are absent; so are all of them when their count is wrong. `None` without flags.
pub fn parse_status(line: &[u8]) -> Option<Measurement> {
    let line = line.strip_prefix(b"(")?;
    let text = String::from_utf8_lossy(line.get(..INPUT_BYTES_MAX).unwrap_or(line)).into_owned();
    let fields: Vec<&str> = text.split_ascii_whitespace().take(2 * VALUES).collect();
    let at = fields.iter().rposition(|field| is_flags(field))?;
    let flags = u8::from_str_radix(fields.get(at)?, 2).ok()?;
    let value = |index: usize| {
        (at == VALUES)
            .then(|| fields.get(index).and_then(|field| number(field)))
            .flatten()
    };
    Some(Measurement {
        input_volts: value(0),
        fault_volts: value(1),
        output_volts: value(2),
        load_percent: value(3),
        frequency_hertz: value(4),
        battery_volts: value(5),
        temperature_celsius: value(6),
        flags: Flags(flags),
    })
}

/// Reads the answer to `I`: maker in 15 columns, model in 10, version in 10, blanks between them.
pub fn parse_identity(line: &[u8]) -> Identity {
    let text: String = String::from_utf8_lossy(line.get(1..).unwrap_or_default())
        .chars()
        .take(INPUT_BYTES_MAX)
        .map(|character| match character {
            ' '..='~' => character,
            _ => ' ',
        })
        .collect();
    let column = |from: usize, length: usize| {
        let text: String = text.chars().skip(from).take(length).collect();
        text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
    };
    let model = format!("{} {}", column(0, 15), column(16, 10));
    Identity {
        model: model.trim().to_owned(),
        firmware: column(27, 10),
    }
}

/// Reads the answer to `F`: `#` voltage, current, battery voltage, frequency.
pub fn parse_ratings(line: &[u8]) -> Option<Ratings> {
    let line = line.strip_prefix(b"#")?;
    let text = String::from_utf8_lossy(line.get(..INPUT_BYTES_MAX).unwrap_or(line)).into_owned();
    let mut fields = text.split_ascii_whitespace();
    let volts = fields.next().and_then(number)?;
    let battery_volts = fields.nth(1).and_then(number)?;
    Some(Ratings {
        volts,
        battery_volts,
    })
}

fn is_flags(field: &str) -> bool {
    field.len() == 8 && field.bytes().all(|byte| matches!(byte, b'0' | b'1'))
}

/// A number with a point or, as some speak, a comma.
fn number(field: &str) -> Option<f64> {
    let is_number = field.len() <= NUMBER_LENGTH_MAX
        && field
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b',');
    is_number
        .then(|| field.replace(',', ".").parse().ok())
        .flatten()
}

/// The readings as they were told last.
#[derive(Debug, Default)]
struct Shown {
    input: Steady,
    output: Steady,
    load: Steady,
    battery: Steady,
    temperature: Steady,
}

impl Shown {
    fn status(&mut self, measurement: &Measurement) -> Status {
        let flags = measurement.flags;
        let faults = faults(measurement);
        let mut status = Status {
            state: if flags.is_failed() {
                DeviceState::HardwareError
            } else {
                DeviceState::Online
            },
            faults,
            ..Status::default()
        };
        let mut read = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                status.readings.insert(name.to_owned(), value);
            }
        };
        read(
            "input-voltage",
            self.input.show(measurement.input_volts, 2.0),
        );
        read(
            "output-voltage",
            self.output.show(measurement.output_volts, 2.0),
        );
        read(
            "load-percent",
            self.load.show(measurement.load_percent, 5.0),
        );
        let battery_step = match measurement.battery_volts {
            Some(volts) if volts < CELL_VOLTS_MAX => 0.05,
            Some(_) | None => 0.5,
        };
        read(
            "battery-voltage",
            self.battery.show(measurement.battery_volts, battery_step),
        );
        read(
            "temperature-celsius",
            self.temperature.show(measurement.temperature_celsius, 2.0),
        );
        for (name, is_so) in [
            ("on-battery", flags.is_on_battery()),
            ("test-running", flags.is_testing()),
            ("shutdown-active", flags.is_shutting_down()),
        ] {
            read(name, Some(if is_so { "yes" } else { "no" }.to_owned()));
        }
        status
    }
}

/// What somebody must act on, the most serious first.
fn faults(measurement: &Measurement) -> Vec<Fault> {
    let flags = measurement.flags;
    let mut faults = Vec::new();
    let mut add = |is_so: bool, code: &'static str, action: Action, detail: &str| {
        if is_so {
            faults.push(Fault::new(code, action, detail));
        }
    };
    add(
        flags.is_failed(),
        "ups.failed",
        Action::Maintenance,
        "the UPS says that it is broken",
    );
    add(
        flags.is_battery_low(),
        "ups.battery-low",
        Action::Maintenance,
        "the battery is nearly empty or worn out",
    );
    add(
        measurement.load_percent.unwrap_or_default() > LOAD_PERCENT_MAX,
        "ups.overload",
        Action::Clear,
        "more hangs on the UPS than it can carry",
    );
    add(
        flags.is_bypassed_or_boosting() && !flags.is_standby_kind(),
        "ups.bypass",
        Action::Maintenance,
        "the terminal hangs on the bare mains",
    );
    // A running test is on the battery because somebody wanted it.
    add(
        flags.is_on_battery() && !flags.is_testing(),
        "ups.on-battery",
        Action::Clear,
        "the mains failed",
    );
    faults
}

/// A value that is shown in steps and does not chatter between two of them.
#[derive(Debug, Default)]
struct Steady(Option<f64>);

impl Steady {
    fn show(&mut self, value: Option<f64>, step: f64) -> Option<String> {
        let value = value?;
        let shown = match self.0 {
            Some(shown) if (value - shown).abs() < step * STEP_TO_MOVE => shown,
            Some(_) | None => (value / step).round() * step,
        };
        self.0 = Some(shown);
        let decimals = if step < 0.1 {
            2
        } else {
            usize::from(step < 1.0)
        };
        Some(format!("{shown:.decimals$}"))
    }
}

fn bad_reply(detail: &str) -> Fault {
    Fault::new("ups.bad-reply", Action::Maintenance, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(line: &str) -> Status {
        Shown::default().status(&parse_status(line.as_bytes()).unwrap())
    }

    fn check_faults(line: &str, expect: &[&str]) {
        let codes: Vec<_> = status(line).faults.iter().map(|fault| fault.code).collect();
        assert_eq!(codes, expect, "{line}");
    }

    #[test]
    fn the_answers_of_the_fact_sheet_are_read() {
        let first = parse_status(b"(208.4 140.0 208.4 034 59.9 2.05 35.0 00110000").unwrap();
        assert_eq!(first.input_volts, Some(208.4));
        assert_eq!(first.fault_volts, Some(140.0));
        assert_eq!(first.load_percent, Some(34.0));
        assert_eq!(first.frequency_hertz, Some(59.9));
        assert_eq!(first.battery_volts, Some(2.05));
        assert_eq!(first.temperature_celsius, Some(35.0));
        assert_eq!(first.flags, Flags(0x30));
        let second = status("(209.7 209.7 219.7 020 50.0 41.8 23.3 00000001");
        assert_eq!(second.state, DeviceState::Online);
        assert!(second.faults.is_empty());
        let readings: Vec<_> = second
            .readings
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            readings,
            [
                "battery-voltage=42.0",
                "input-voltage=210",
                "load-percent=20",
                "on-battery=no",
                "output-voltage=220",
                "shutdown-active=no",
                "temperature-celsius=24",
                "test-running=no",
            ]
        );
    }

    #[test]
    fn every_flag_has_its_fault() {
        let with = |flags: &str| format!("(209.7 209.7 219.7 020 50.0 41.8 23.3 {flags}");
        check_faults(&with("00000001"), &[]);
        check_faults(&with("10000000"), &["ups.on-battery"]);
        check_faults(&with("11000000"), &["ups.battery-low", "ups.on-battery"]);
        check_faults(&with("01000000"), &["ups.battery-low"]);
        check_faults(&with("00010000"), &["ups.failed"]);
        // A stand-by kind corrects the voltage; an on-line kind has stepped aside.
        check_faults(&with("00101000"), &[]);
        check_faults(&with("00100000"), &["ups.bypass"]);
        check_faults(&with("10000100"), &[]);
        check_faults(
            "(209.7 209.7 219.7 112 50.0 41.8 23.3 00000000",
            &["ups.overload"],
        );
        assert_eq!(status(&with("00010000")).state, DeviceState::HardwareError);
        assert_eq!(status(&with("11000000")).state, DeviceState::Online);
    }

    #[test]
    fn junk_of_locales_and_missing_fields_leave_what_is_certain() {
        let comma = parse_status(b"(208,4 140,0 208,4 034 59,9 2,05 35,0 10000000").unwrap();
        assert_eq!(comma.input_volts, Some(208.4));
        let dashes = parse_status(b"(---.- ---.- 220.1 --- 50.0 ---.- --.- 00000000").unwrap();
        assert_eq!(dashes.input_volts, None);
        assert_eq!(dashes.output_volts, Some(220.1));
        let short = parse_status(b"(208.4 140.0 208.4 034 59.9 2.05 10000000").unwrap();
        assert_eq!(short.input_volts, None);
        assert!(short.flags.is_on_battery());
        let trailing = parse_status(b"(1 2 3 4 5 6 7 00000000 extra").unwrap();
        assert_eq!(trailing.temperature_celsius, Some(7.0));
        for line in [
            &b"(209.7 209.7 219.7 020 50.0 41.8 23.3 0000000"[..],
            b"(209.7 209.7 219.7 020 50.0 41.8 23.3 0000000x",
            b"(",
            b"",
            b"209.7 00000000",
            b"(\xFF\xFE",
        ] {
            assert_eq!(parse_status(line), None, "{line:?}");
        }
        let infinite = parse_status(b"(inf NaN -1 1e9 +2 99999999999 . 00000000").unwrap();
        assert_eq!(infinite.input_volts, None);
        assert_eq!(infinite.battery_volts, None);
        assert_eq!(infinite.temperature_celsius, None);
    }

    #[test]
    fn lines_are_found_behind_echoes_and_cut_beginnings() {
        let check = |input: &[u8], expect: Option<&[u8]>| {
            assert_eq!(find_line(input, b'('), expect, "{input:?}");
        };
        check(b"(1 2\r", Some(b"(1 2"));
        check(b"Q1\r(1 2\r(3\r", Some(b"(1 2"));
        check(b"(12(1 2\r", Some(b"(1 2"));
        check(b"NAK\r", None);
        check(b"(1 2", None);
        check(b"", None);
    }

    #[test]
    fn identity_and_ratings_are_read() {
        let identity = parse_identity(b"#MEGATEC         SAMPLE-1K  VER 1.07  ");
        assert_eq!(identity.model, "MEGATEC SAMPLE-1K");
        assert_eq!(identity.firmware, "VER 1.07");
        assert_eq!(parse_identity(b""), Identity::default());
        assert_eq!(parse_identity(b"#\x00\xFF"), Identity::default());
        let ratings = parse_ratings(b"#220.0 004 36.00 50.0").unwrap();
        assert_eq!((ratings.volts, ratings.battery_volts), (220.0, 36.0));
        assert_eq!(parse_ratings(b"#220.0 004"), None);
    }

    #[test]
    fn a_reading_does_not_chatter_between_two_steps() {
        let mut steady = Steady::default();
        let mut shown = |value: f64| steady.show(Some(value), 2.0).unwrap();
        assert_eq!(shown(208.9), "208");
        for value in [209.1, 208.8, 209.3, 207.0] {
            assert_eq!(shown(value), "208", "{value}");
        }
        assert_eq!(shown(209.6), "210");
        assert_eq!(shown(208.9), "210");
    }

    #[test]
    fn no_bytes_make_a_parser_panic() {
        let mut seed = 7_u32;
        for length in 0..400 {
            let mut line = b"(".to_vec();
            line.extend((0..length).map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *b" .,01(#\r\xFF9".get(seed as usize >> 16 & 7).unwrap()
            }));
            // Values that were read are numbers, whatever the bytes are.
            if let Some(volts) = parse_status(&line).and_then(|told| told.input_volts) {
                assert!(volts.is_finite() && volts >= 0.0);
            }
            if let Some(ratings) = parse_ratings(&line) {
                assert!(ratings.volts.is_finite() && ratings.battery_volts.is_finite());
            }
            assert!(parse_identity(&line).firmware.len() <= 10);
            let whole = find_line(&line, b'(').unwrap_or_default();
            assert!(whole.len() <= line.len() && !whole.contains(&b'\r'));
        }
    }
}
