//! The board with inputs (door, tamper, presence) and outputs (guidance lights, power relays): Modbus-RTU
//! boards and LCUS relay boards, which have outputs only.
//!
//! Inputs and outputs have names in the configuration; `door`, `tamper` and `presence` have a meaning,
//! also behind a hyphen (`cabinet-door`). An input counts when two polls agree. Outputs flash in time with the polls, so a light may be one poll late, and never
//! costs a thread. What was wanted of an output is wanted again after the board was away: a device whose
//! power was cut for a moment never stays without it.

pub mod lcus;
pub mod modbus;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::time::{Duration, Instant};

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, DeviceState,
    Driver, Fault, Status, Wire, WireError, clock, wire,
};

use modbus::{Reply, Request};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["modbus-rtu", "lcus-1"];

const OPTIONS_MODBUS: &[&str] = &[
    "address",
    "input_count",
    "output_count",
    "inputs",
    "outputs",
    "normally_closed",
];
const OPTIONS_LCUS: &[&str] = &["outputs", "normally_closed"];
/// Speed of both kinds as delivered (§9.4).
const BAUD: u32 = 9600;
/// Wait for an answer. Chosen: the longest takes 40 ms at 9600 baud.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// Questions asked for one answer: a frame garbled on the line is no reason to reopen it.
const ATTEMPTS: u32 = 2;
/// Bytes without an answer in them that are taken at most. Chosen: six of the longest answers.
const INPUT_BYTES_MAX: usize = 256;
/// Time between two polls; the briefest press that counts is twice as long.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The same where nothing is read and nothing flashes.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);
/// Polls between two looks at what the coils really are. Chosen: every two seconds.
const POLLS_PER_CHECK: u32 = 10;
/// Shortest and longest time without power.
const OFF_MIN: Duration = Duration::from_millis(500);
const OFF_MAX: Duration = Duration::from_mins(1);
/// Named inputs or outputs of one board. Chosen.
const NAMES_MAX: usize = 32;
/// Longest name of an input or output. Chosen.
const NAME_LENGTH_MAX: usize = 32;

/// How an output shall be (XFS4IoT lights).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Dark; without power.
    Off,
    /// Lit; with power.
    On,
    /// On for a second, off for a second.
    Slow,
    /// On and off for six tenths of a second each.
    Medium,
    /// On and off for two tenths of a second each.
    Quick,
}

impl Pattern {
    /// Length of each half of the pattern.
    fn half(self) -> Option<Duration> {
        match self {
            Self::Off | Self::On => None,
            Self::Slow => Some(Duration::from_secs(1)),
            Self::Medium => Some(Duration::from_millis(600)),
            Self::Quick => Some(Duration::from_millis(200)),
        }
    }

    /// Whether the output is on `elapsed` after the pattern began.
    fn is_on_after(self, elapsed: Duration) -> bool {
        match self.half() {
            None => self == Self::On,
            Some(half) => (elapsed.as_millis() / half.as_millis()).is_multiple_of(2),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Slow => "slow",
            Self::Medium => "medium",
            Self::Quick => "quick",
        }
    }
}

/// What the board can be asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Switch an output or make it flash.
    Set {
        /// Its name in the configuration.
        output: String,
        /// How it shall be from now on.
        pattern: Pattern,
    },
    /// Take the power from a device for a moment. It has power again when the command ends, however
    /// it ends.
    PowerCycle {
        /// The name of the output that feeds the device.
        output: String,
        /// How long; brought into the range of half a second to a minute.
        off: Duration,
    },
}

/// The driver of one board.
pub struct IoBoard {
    port: String,
    baud: u32,
    model: String,
    dialect: Dialect,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    wire: Option<Box<dyn Wire>>,
    polls: u32,
}

#[derive(Clone, Copy, Debug)]
enum Dialect {
    Modbus {
        address: u8,
        input_count: u16,
        output_count: u16,
    },
    Lcus,
}

/// A named input.
#[derive(Debug)]
struct Input {
    name: String,
    index: u16,
    is_normally_closed: bool,
    last: Option<bool>,
    /// What two polls agreed on.
    is_active: Option<bool>,
}

/// What an input says, by the last word of its name (`door`, `cabinet-door`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Door,
    Tamper,
    Presence,
    Other,
}

impl Input {
    /// Takes what one poll said about the contact.
    fn poll(&mut self, is_closed: bool) {
        let is_active = is_closed != self.is_normally_closed;
        if self.last == Some(is_active) {
            self.is_active = Some(is_active);
        }
        self.last = Some(is_active);
    }

    /// What its name says it is.
    fn meaning(&self) -> Meaning {
        match self.name.rsplit('-').next() {
            Some("door") => Meaning::Door,
            Some("tamper") => Meaning::Tamper,
            Some("presence") => Meaning::Presence,
            Some(_) | None => Meaning::Other,
        }
    }

    /// What it means, in a word.
    fn word(&self) -> Option<&'static str> {
        let is_active = self.is_active?;
        let (active, passive) = match self.meaning() {
            Meaning::Door => ("open", "closed"),
            Meaning::Presence => ("present", "not-present"),
            Meaning::Tamper => ("yes", "no"),
            Meaning::Other => ("on", "off"),
        };
        Some(if is_active { active } else { passive })
    }
}

/// A named output.
#[derive(Debug)]
struct Output {
    name: String,
    index: u16,
    /// It is fed through the relay's normally closed contact: on when the coil is off.
    is_normally_closed: bool,
    /// What was asked of it, and when; nothing yet when the board is left as it is.
    wanted: Option<(Pattern, Instant)>,
    /// What the coil is, as far as known since the port was opened.
    coil: Option<bool>,
}

impl Output {
    /// What the coil must be at `now`.
    fn wanted_coil(&self, now: Instant) -> Option<bool> {
        let (pattern, since) = self.wanted?;
        let is_on = pattern.is_on_after(now.saturating_duration_since(since));
        Some(is_on != self.is_normally_closed)
    }
}

impl IoBoard {
    /// A closed driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        let is_lcus = config.driver == "lcus-1";
        let options = if is_lcus {
            OPTIONS_LCUS
        } else {
            OPTIONS_MODBUS
        };
        config.expect(DeviceClass::IoBoard, DRIVERS, options)?;
        wire::Port::parse(&config.port).map_err(|_| {
            config.not_accepted("port", &config.port, "an absolute path or tcp:HOST:PORT")
        })?;
        let points_max = if is_lcus {
            u16::from(lcus::RELAYS_MAX)
        } else {
            modbus::POINTS_MAX
        };
        let inputs = names(config, "inputs", points_max)?;
        let outputs = names(config, "outputs", points_max)?;
        let closed = normally_closed(config, &inputs, &outputs)?;
        let dialect = if is_lcus {
            Dialect::Lcus
        } else {
            modbus_dialect(config, &inputs, &outputs)?
        };
        Ok(Self {
            port: config.port.clone(),
            baud: config.baud.unwrap_or(BAUD),
            model: config.model.clone().unwrap_or_default(),
            dialect,
            inputs: inputs
                .into_iter()
                .map(|(name, index)| Input {
                    is_normally_closed: closed.contains(&name),
                    name,
                    index,
                    last: None,
                    is_active: None,
                })
                .collect(),
            outputs: outputs
                .into_iter()
                .map(|(name, index)| Output {
                    is_normally_closed: closed.contains(&name),
                    name,
                    index,
                    wanted: None,
                    coil: None,
                })
                .collect(),
            wire: None,
            polls: 0,
        })
    }

    fn wire(&mut self) -> Result<&mut (dyn Wire + 'static), WireError> {
        self.wire.as_deref_mut().ok_or(WireError::Gone)
    }

    /// Asks a Modbus board; the body of its answer.
    fn ask(&mut self, request: &Request) -> Result<Vec<u8>, Fault> {
        let mut garbled = None;
        for _ in 0..ATTEMPTS {
            match self.ask_once(request) {
                Ok(Reply::Body(body)) => return Ok(body),
                Ok(Reply::Exception(code)) => return Err(refused(code)),
                Err(fault) if fault.code == "io-board.bad-reply" => garbled = Some(fault),
                // A board that talked a moment ago is not silent: what it said is the fault.
                Err(fault) if fault.code == "device.silent" => {
                    return Err(garbled.unwrap_or(fault));
                }
                Err(fault) => return Err(fault),
            }
        }
        Err(garbled.unwrap_or_else(|| bad_reply("no answer was asked for")))
    }

    fn ask_once(&mut self, request: &Request) -> Result<Reply, Fault> {
        let wire = self.wire()?;
        wire.discard_input();
        wire.write_all(&request.bytes, ANSWER_LIMIT)?;
        let deadline = clock::now() + ANSWER_LIMIT;
        let mut input = Vec::new();
        let mut buffer = [0_u8; 64];
        loop {
            if let Some(reply) = request.find_reply(&input) {
                return Ok(reply);
            }
            if input.len() > INPUT_BYTES_MAX {
                return Err(bad_reply("no answer among the bytes that came"));
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(if input.is_empty() {
                    WireError::TimedOut.into()
                } else {
                    bad_reply("the answer is garbled or incomplete")
                });
            }
            let count = wire.read(&mut buffer, left)?;
            input.extend_from_slice(buffer.get(..count).unwrap_or_default());
        }
    }

    fn read_inputs(&mut self) -> Result<(), Fault> {
        if let Dialect::Modbus {
            address,
            input_count,
            ..
        } = self.dialect
            && input_count > 0
        {
            let body = self.ask(&modbus::read(address, modbus::READ_INPUTS, input_count))?;
            let bits: Vec<bool> = modbus::bits(&body).collect();
            for input in &mut self.inputs {
                let is_closed = bits.get(usize::from(input.index)).copied();
                input.poll(is_closed.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Learns what the coils are. A board that was without power has forgotten what it was told.
    fn read_coils(&mut self) -> Result<Vec<bool>, Fault> {
        let Dialect::Modbus {
            address,
            output_count,
            ..
        } = self.dialect
        else {
            return Ok(Vec::new());
        };
        if output_count == 0 {
            return Ok(Vec::new());
        }
        let body = self.ask(&modbus::read(address, modbus::READ_COILS, output_count))?;
        let coils: Vec<bool> = modbus::bits(&body)
            .take(usize::from(output_count))
            .collect();
        for output in &mut self.outputs {
            output.coil = coils.get(usize::from(output.index)).copied();
        }
        Ok(coils)
    }

    /// After opening: makes all outputs as they are wanted, in one frame where the board can.
    fn restore(&mut self) -> Result<(), Fault> {
        let mut coils = self.read_coils()?;
        let now = clock::now();
        let mut wrong = 0;
        for output in &self.outputs {
            if let Some(wanted) = output.wanted_coil(now)
                && let Some(coil) = coils.get_mut(usize::from(output.index))
                && *coil != wanted
            {
                *coil = wanted;
                wrong += 1;
            }
        }
        if let Dialect::Modbus { address, .. } = self.dialect
            && wrong > 1
        {
            match self.ask(&modbus::write_coils(address, &coils)) {
                Ok(_) => {
                    for output in &mut self.outputs {
                        output.coil = coils.get(usize::from(output.index)).copied();
                    }
                }
                // Small boards know only the writing of one coil.
                Err(fault) if fault.code == "io-board.refused" => {}
                Err(fault) => return Err(fault),
            }
        }
        self.drive()
    }

    /// Switches the coils that are not as they are wanted.
    fn drive(&mut self) -> Result<(), Fault> {
        let now = clock::now();
        for position in 0..self.outputs.len() {
            let Some(output) = self.outputs.get(position) else {
                break;
            };
            let (index, wanted) = (output.index, output.wanted_coil(now));
            if let Some(is_on) = wanted
                && output.coil != wanted
            {
                self.write_coil(index, is_on)?;
                if let Some(output) = self.outputs.get_mut(position) {
                    output.coil = wanted;
                }
            }
        }
        Ok(())
    }

    fn write_coil(&mut self, index: u16, is_on: bool) -> Result<(), Fault> {
        match self.dialect {
            Dialect::Modbus { address, .. } => {
                self.ask(&modbus::write_coil(address, index, is_on))?;
            }
            Dialect::Lcus => {
                let frame = lcus::frame(u8::try_from(index).unwrap_or(u8::MAX), is_on);
                self.wire()?.write_all(&frame, ANSWER_LIMIT)?;
            }
        }
        Ok(())
    }

    /// Finds out whether the board is there. One that never answers is told again what it knows: a
    /// pulled cable shows in the writing.
    fn check(&mut self) -> Result<(), Fault> {
        match self.dialect {
            Dialect::Modbus { input_count, .. } => {
                if input_count == 0 || self.polls.is_multiple_of(POLLS_PER_CHECK) {
                    self.read_coils()?;
                }
            }
            Dialect::Lcus => {
                let told = self
                    .outputs
                    .iter()
                    .find_map(|output| Some((output.index, output.coil?)));
                if let Some((index, is_on)) = told {
                    self.write_coil(index, is_on)?;
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, output: &str, pattern: Pattern) -> Result<(), Completion> {
        let known = self.outputs.iter_mut().find(|known| known.name == output);
        let known = known.ok_or_else(|| {
            Completion::NotReady(Fault::new(
                "io-board.unknown-output",
                Action::Configuration,
                "no output of that name is configured",
            ))
        })?;
        known.wanted = Some((pattern, clock::now()));
        self.drive().map_err(Completion::Failed)
    }

    fn power_cycle(
        &mut self,
        output: &str,
        off: Duration,
        context: &Context<'_, Infallible>,
    ) -> Result<(), Completion> {
        let off = off.clamp(OFF_MIN, OFF_MAX);
        if context.remaining() <= off {
            return Err(Completion::TimeOut);
        }
        let switched_off = self.set(output, Pattern::Off);
        let waited = match switched_off {
            Ok(()) => self.wait_off(clock::now() + off, context),
            Err(completion) => Err(completion),
        };
        // Whatever happened, the device gets its power back.
        let switched_on = self.set(output, Pattern::On);
        waited.and(switched_on)
    }

    fn wait_off(
        &mut self,
        until: Instant,
        context: &Context<'_, Infallible>,
    ) -> Result<(), Completion> {
        loop {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Ok(());
            }
            context.pause(left.min(POLL_INTERVAL))?;
            // The lights go on flashing meanwhile.
            self.drive().map_err(Completion::Failed)?;
        }
    }

    fn readings(&self) -> BTreeMap<String, String> {
        let inputs = self
            .inputs
            .iter()
            .filter_map(|input| Some((input.name.clone(), input.word()?.to_owned())));
        let outputs = self.outputs.iter().filter_map(|output| {
            let pattern = match (output.wanted, output.coil) {
                (Some((pattern, _)), _) => pattern,
                (None, Some(coil)) if coil != output.is_normally_closed => Pattern::On,
                (None, Some(_)) => Pattern::Off,
                (None, None) => return None,
            };
            Some((output.name.clone(), pattern.name().to_owned()))
        });
        inputs.chain(outputs).collect()
    }

    fn faults(&self) -> Vec<Fault> {
        let is_active = |meaning: Meaning| {
            self.inputs
                .iter()
                .any(|input| input.meaning() == meaning && input.is_active == Some(true))
        };
        let mut faults = Vec::new();
        if is_active(Meaning::Tamper) {
            faults.push(Fault::new(
                "io-board.tamper",
                Action::Suspend,
                "the tamper contact is active",
            ));
        }
        if is_active(Meaning::Door) {
            faults.push(Fault::new(
                "io-board.door-open",
                Action::Clear,
                "the door of the cabinet is open",
            ));
        }
        faults
    }

    fn is_flashing(&self) -> bool {
        self.outputs.iter().any(|output| {
            output
                .wanted
                .is_some_and(|(pattern, _)| pattern.half().is_some())
        })
    }
}

impl Driver for IoBoard {
    type Command = Command;
    type Event = Infallible;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        self.wire = Some(wire::open(&self.port, self.baud)?);
        self.polls = 0;
        self.read_inputs()?;
        self.restore()?;
        let inputs = self.inputs.iter().map(|input| ("input", &input.name));
        let outputs = self.outputs.iter().map(|output| ("output", &output.name));
        Ok(Capabilities {
            model: self.model.clone(),
            abilities: inputs
                .chain(outputs)
                .map(|(kind, name)| format!("{kind}-{name}"))
                .collect(),
            ..Capabilities::default()
        })
    }

    fn close(&mut self) {
        self.wire = None;
        for output in &mut self.outputs {
            output.coil = None;
        }
        for input in &mut self.inputs {
            input.last = None;
        }
    }

    fn status(&mut self) -> Result<Status, Fault> {
        self.polls = self.polls.wrapping_add(1);
        self.read_inputs()?;
        self.check()?;
        self.drive()?;
        Ok(Status {
            state: DeviceState::Online,
            faults: self.faults(),
            readings: self.readings(),
            ..Status::default()
        })
    }

    fn execute(&mut self, command: Command, context: &Context<'_, Infallible>) -> Completion {
        let result = match command {
            Command::Set { output, pattern } => self.set(&output, pattern),
            Command::PowerCycle { output, off } => self.power_cycle(&output, off, context),
        };
        match result {
            Ok(()) => Completion::Success,
            Err(completion) => completion,
        }
    }

    fn poll_interval(&self) -> Duration {
        if self.inputs.is_empty() && !self.is_flashing() {
            IDLE_INTERVAL
        } else {
            POLL_INTERVAL
        }
    }
}

impl fmt::Debug for IoBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoBoard")
            .field("port", &self.port)
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

fn modbus_dialect(
    config: &DeviceConfig,
    inputs: &[(String, u16)],
    outputs: &[(String, u16)],
) -> Result<Dialect, ConfigError> {
    // A board is asked for whole bytes, as its manual shows; it may have fewer points than that.
    let needed = |names: &[(String, u16)]| {
        let highest = names.iter().map(|(_, index)| index + 1).max();
        u32::from(highest.unwrap_or_default().next_multiple_of(8))
    };
    let count = |key: &str, names: &[(String, u16)]| {
        let highest = names.iter().map(|(_, index)| u32::from(*index) + 1).max();
        let range = highest.unwrap_or_default()..=u32::from(modbus::POINTS_MAX);
        config
            .option_number(key, range, needed(names))
            .map(|count| u16::try_from(count).unwrap_or(modbus::POINTS_MAX))
    };
    let address = config.option_number("address", 1..=247, 1)?;
    Ok(Dialect::Modbus {
        address: u8::try_from(address).unwrap_or(1),
        input_count: count("input_count", inputs)?,
        output_count: count("output_count", outputs)?,
    })
}

/// The table `key` of the options: names and the numbers of their inputs or outputs.
fn names(
    config: &DeviceConfig,
    key: &str,
    points_max: u16,
) -> Result<Vec<(String, u16)>, ConfigError> {
    let Some(value) = config.options.get(key) else {
        return Ok(Vec::new());
    };
    let accepted = || {
        format!(
            "a table of up to {NAMES_MAX} names (lower-case letters, digits, hyphens) with different numbers from 0 to {}",
            points_max - 1
        )
    };
    let refuse = || config.not_accepted(&format!("options.{key}"), value.to_string(), accepted());
    let table = value.as_table().ok_or_else(refuse)?;
    let mut names: Vec<(String, u16)> = Vec::new();
    for (name, number) in table.iter().take(NAMES_MAX + 1) {
        let is_name = !name.is_empty()
            && name.len() <= NAME_LENGTH_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let index = number
            .as_integer()
            .and_then(|number| u16::try_from(number).ok())
            .filter(|index| *index < points_max)
            .filter(|index| names.iter().all(|(_, other)| other != index));
        match index {
            Some(index) if is_name && names.len() < NAMES_MAX => names.push((name.clone(), index)),
            Some(_) | None => return Err(refuse()),
        }
    }
    Ok(names)
}

/// The names under `normally_closed`, each of them an input or an output.
fn normally_closed(
    config: &DeviceConfig,
    inputs: &[(String, u16)],
    outputs: &[(String, u16)],
) -> Result<Vec<String>, ConfigError> {
    let Some(value) = config.options.get("normally_closed") else {
        return Ok(Vec::new());
    };
    let known = |name: &str| {
        inputs
            .iter()
            .chain(outputs)
            .any(|(known, _)| known.as_str() == name)
    };
    value
        .as_array()
        .and_then(|names| {
            names
                .iter()
                .map(|name| name.as_str().filter(|name| known(name)).map(str::to_owned))
                .collect()
        })
        .ok_or_else(|| {
            config.not_accepted(
                "options.normally_closed",
                value.to_string(),
                "a list of names of inputs and outputs",
            )
        })
}

fn bad_reply(detail: &str) -> Fault {
    Fault::new("io-board.bad-reply", Action::Maintenance, detail)
}

fn refused(code: u8) -> Fault {
    Fault::new(
        "io-board.refused",
        Action::Configuration,
        format!(
            "the board refuses with exception {code}: {}",
            modbus::exception_words(code)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(driver: &str, options: &str) -> DeviceConfig {
        toml::from_str(&format!(
            "id = \"board\"\nclass = \"io-board\"\ndriver = \"{driver}\"\nport = \"/dev/ttyUSB0\"\n[options]\n{options}"
        ))
        .unwrap()
    }

    #[test]
    fn names_and_numbers_are_read_and_nonsense_is_refused() {
        let board = IoBoard::new(&config(
            "modbus-rtu",
            "address = 7\ninputs = { door = 0, tamper = 9 }\noutputs = { card-light = 0 }\nnormally_closed = [\"door\"]",
        ))
        .unwrap();
        assert!(matches!(
            board.dialect,
            Dialect::Modbus {
                address: 7,
                input_count: 16,
                output_count: 8
            }
        ));
        assert!(board.inputs.iter().any(|input| input.is_normally_closed));
        for (driver, options, expect) in [
            ("modbus-rtu", "inputs = { door = 256 }", "options.inputs"),
            (
                "modbus-rtu",
                "inputs = { door = 1, tamper = 1 }",
                "options.inputs",
            ),
            ("modbus-rtu", "inputs = { Door = 1 }", "options.inputs"),
            ("modbus-rtu", "inputs = 3", "options.inputs"),
            ("modbus-rtu", "address = 0", "options.address"),
            (
                "modbus-rtu",
                "inputs = { a = 9 }\ninput_count = 8",
                "options.input_count",
            ),
            (
                "modbus-rtu",
                "normally_closed = [\"door\"]",
                "options.normally_closed",
            ),
            ("lcus-1", "outputs = { light = 8 }", "options.outputs"),
            (
                "lcus-1",
                "inputs = { door = 0 }",
                "option `inputs` is unknown",
            ),
        ] {
            let error = IoBoard::new(&config(driver, options)).unwrap_err();
            assert!(error.to_string().contains(expect), "{options}: {error}");
        }
    }

    #[test]
    fn an_input_counts_when_two_polls_agree() {
        let mut board = IoBoard::new(&config(
            "modbus-rtu",
            "inputs = { door = 0 }\nnormally_closed = [\"door\"]",
        ))
        .unwrap();
        let door = &mut board.inputs[0];
        let mut word_after = |is_closed| {
            door.poll(is_closed);
            door.word()
        };
        assert_eq!(word_after(true), None);
        assert_eq!(word_after(true), Some("closed"));
        assert_eq!(word_after(false), Some("closed"));
        assert_eq!(word_after(true), Some("closed"));
        assert_eq!(word_after(false), Some("closed"));
        assert_eq!(word_after(false), Some("open"));
        assert_eq!(board.faults()[0].code, "io-board.door-open");
    }

    #[test]
    fn patterns_are_on_and_off_for_equal_times() {
        let check = |pattern: Pattern, expect: &str| {
            let shown: String = (0..12)
                .map(|tick| pattern.is_on_after(Duration::from_millis(tick * 200)))
                .map(|is_on| if is_on { '1' } else { '0' })
                .collect();
            assert_eq!(shown, expect, "{pattern:?}");
        };
        check(Pattern::Off, "000000000000");
        check(Pattern::On, "111111111111");
        check(Pattern::Slow, "111110000011");
        check(Pattern::Medium, "111000111000");
        check(Pattern::Quick, "101010101010");
    }

    #[test]
    fn an_output_on_a_normally_closed_contact_is_on_without_its_coil() {
        let mut board = IoBoard::new(&config(
            "lcus-1",
            "outputs = { printer-power = 0, light = 1 }\nnormally_closed = [\"printer-power\"]",
        ))
        .unwrap();
        let now = clock::now();
        for output in &mut board.outputs {
            output.wanted = Some((Pattern::On, now));
        }
        let coils: Vec<_> = board
            .outputs
            .iter()
            .map(|output| (output.name.as_str(), output.wanted_coil(now)))
            .collect();
        assert!(coils.contains(&("printer-power", Some(false))));
        assert!(coils.contains(&("light", Some(true))));
    }
}
