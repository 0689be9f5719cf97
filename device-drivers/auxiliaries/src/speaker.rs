//! The loudspeaker: its volume and its mute switch, set through the external program `amixer`.
//!
//! The program gets a deadline and its output a bound; one that hangs is killed. What it says is a
//! pure function of bytes. Sound itself is not made here.

use std::convert::Infallible;
use std::io::{ErrorKind, Read};
use std::process::{Child, Command as Program, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use kiosk_device::{
    Action, Capabilities, Completion, ConfigError, Context, DeviceClass, DeviceConfig, DeviceState,
    Driver, Fault, Status, WireError,
};

/// Accepted `driver` names.
pub const DRIVERS: &[&str] = &["amixer"];

/// Longest run of the program. Chosen: it takes milliseconds.
const RUN_LIMIT: Duration = Duration::from_secs(3);
/// Output that is read at most. Chosen: a control with eight channels says less than 1 KiB.
const OUTPUT_BYTES_MAX: u64 = 16 * 1024;
/// Longest name of a sound card or control. Chosen.
const NAME_LENGTH_MAX: usize = 64;

/// What the loudspeaker can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Set the volume.
    SetVolume {
        /// In percent; more than 100 is 100.
        percent: u8,
    },
    /// Be silent, whatever the volume.
    Mute,
    /// Be heard again.
    Unmute,
}

/// The driver of one loudspeaker. The port is the name of a sound card (`default`, `hw:0`).
#[derive(Debug)]
pub struct Speaker {
    card: String,
    control: String,
    program: String,
    model: String,
}

impl Speaker {
    /// A driver for the device in `config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key that cannot be used.
    pub fn new(config: &DeviceConfig) -> Result<Self, ConfigError> {
        config.expect(DeviceClass::Speaker, DRIVERS, &["control", "program"])?;
        if !is_name(&config.port) {
            return Err(config.not_accepted("port", &config.port, "the name of a sound card"));
        }
        let text = |key: &str, default: &str, is_accepted: fn(&str) -> bool, accepted: &str| {
            let Some(value) = config.options.get(key) else {
                return Ok(default.to_owned());
            };
            let text = value.as_str().filter(|text| is_accepted(text));
            text.map(str::to_owned).ok_or_else(|| {
                config.not_accepted(&format!("options.{key}"), value.to_string(), accepted)
            })
        };
        Ok(Self {
            card: config.port.clone(),
            control: text("control", "Master", is_name, "the name of a mixer control")?,
            program: text("program", "amixer", is_program, "an absolute path")?,
            model: config.model.clone().unwrap_or_default(),
        })
    }

    /// Runs the program and reads the state of the control from what it says.
    fn run(&self, arguments: &[&str]) -> Result<Volume, Fault> {
        let child = Program::new(&self.program)
            .args(["-D", &self.card])
            .args(arguments)
            // Words in the output would follow the language otherwise.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                if error.kind() == ErrorKind::NotFound {
                    let detail = format!("{} is not installed", self.program);
                    Fault::new("speaker.no-program", Action::Configuration, detail)
                } else {
                    WireError::Io(error).into()
                }
            })?;
        let (output, status) = finish(child)?;
        if !status.success() {
            return Err(Fault::new(
                "speaker.no-control",
                Action::Configuration,
                format!("no control {} on {}", self.control, self.card),
            ));
        }
        parse_volume(&output).ok_or_else(|| {
            Fault::new(
                "speaker.bad-reply",
                Action::Maintenance,
                "the program tells no volume",
            )
        })
    }

    fn look(&self) -> Result<Volume, Fault> {
        self.run(&["sget", &self.control])
    }

    fn set(&self, value: &str) -> Result<Volume, Fault> {
        self.run(&["sset", &self.control, value])
    }

    fn set_mute(&self, value: &str, is_muted: bool) -> Result<(), Fault> {
        let volume = self.set(value)?;
        if volume.is_muted == Some(is_muted) {
            return Ok(());
        }
        Err(Fault::new(
            "speaker.no-mute",
            Action::Configuration,
            format!("the control {} has no working switch", self.control),
        ))
    }
}

/// Waits for the end of the program, [`RUN_LIMIT`] at most, and takes what it said.
fn finish(mut child: Child) -> Result<(Vec<u8>, ExitStatus), Fault> {
    let io = |error| Fault::from(WireError::Io(error));
    let (sender, answer) = sync_channel(1);
    let output = child.stdout.take();
    // A pipe has no reading with a limit, so a thread reads it; it ends with the program.
    let reader = thread::Builder::new()
        .name("amixer".to_owned())
        .spawn(move || {
            let mut bytes = Vec::new();
            let result = match output {
                Some(output) => output.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes),
                None => Ok(0),
            };
            // Nobody listens any more when the limit has passed.
            drop(sender.send(result.map(|_| bytes)));
        });
    let said = reader
        .map_err(io)
        .map(|_| answer.recv_timeout(RUN_LIMIT).ok());
    // A program that has closed its output has said what it had to say; this ends one that has not,
    // and changes nothing about one that is ending.
    child.kill().map_err(io)?;
    let status = child.wait().map_err(io)?;
    match said? {
        Some(Ok(bytes)) => Ok((bytes, status)),
        Some(Err(error)) => Err(io(error)),
        None => Err(WireError::TimedOut.into()),
    }
}

impl Driver for Speaker {
    type Command = Command;
    type Event = Infallible;

    fn open(&mut self) -> Result<Capabilities, Fault> {
        let volume = self.look()?;
        let mut abilities = vec!["volume".to_owned()];
        if volume.is_muted.is_some() {
            abilities.push("mute".to_owned());
        }
        Ok(Capabilities {
            model: self.model.clone(),
            abilities,
            ..Capabilities::default()
        })
    }

    fn close(&mut self) {
        // Each command runs a program of its own: there is nothing to close.
    }

    fn status(&mut self) -> Result<Status, Fault> {
        let volume = self.look()?;
        let mut status = Status {
            state: DeviceState::Online,
            ..Status::default()
        };
        let mut read = |name: &str, value: String| status.readings.insert(name.to_owned(), value);
        read("volume-percent", volume.percent.to_string());
        if let Some(is_muted) = volume.is_muted {
            read("muted", if is_muted { "yes" } else { "no" }.to_owned());
        }
        Ok(status)
    }

    fn execute(&mut self, command: Command, _context: &Context<'_, Infallible>) -> Completion {
        let result = match command {
            Command::SetVolume { percent } => {
                self.set(&format!("{}%", percent.min(100))).map(|_| ())
            }
            Command::Mute => self.set_mute("mute", true),
            Command::Unmute => self.set_mute("unmute", false),
        };
        match result {
            Ok(()) => Completion::Success,
            Err(fault) => Completion::Failed(fault),
        }
    }

    fn poll_interval(&self) -> Duration {
        // Each poll starts a program, and nobody turns a knob in a locked cabinet.
        Duration::from_secs(30)
    }
}

/// How loud it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// In percent of the loudest channel, 0 to 100.
    pub percent: u8,
    /// Whether it is silent; `None` when the control has no switch.
    pub is_muted: Option<bool>,
}

/// Reads the output of `amixer sget` and `sset`: `Front Left: Playback 26214 [40%] [on]`. What stands
/// behind `Capture` in a line is about a microphone.
pub fn parse_volume(output: &[u8]) -> Option<Volume> {
    let output = output
        .get(..usize::try_from(OUTPUT_BYTES_MAX).ok()?)
        .unwrap_or(output);
    let text = String::from_utf8_lossy(output);
    let mut percent = None;
    let mut is_muted = None;
    let words = text.lines().flat_map(|line| {
        line.split_ascii_whitespace()
            .take_while(|word| *word != "Capture")
            .filter_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
    });
    for word in words {
        if let Some(found) = word
            .strip_suffix('%')
            .and_then(|word| word.parse::<u8>().ok())
        {
            percent = percent.max(Some(found.min(100)));
        } else if word == "on" {
            is_muted = Some(false);
        } else if word == "off" && is_muted.is_none() {
            is_muted = Some(true);
        }
    }
    Some(Volume {
        percent: percent?,
        is_muted,
    })
}

/// Nothing that the program could take for an option.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_LENGTH_MAX
        && !text.starts_with('-')
        && text
            .chars()
            .all(|character| character.is_ascii_graphic() || character == ' ')
}

fn is_program(text: &str) -> bool {
    text.starts_with('/') && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEREO: &str = "Simple mixer control 'Master',0
  Capabilities: pvolume pswitch
  Playback channels: Front Left - Front Right
  Limits: Playback 0 - 65536
  Mono:
  Front Left: Playback 26214 [40%] [on]
  Front Right: Playback 22937 [35%] [on]
";

    fn check(output: &str, expect: Option<(u8, Option<bool>)>) {
        let found = parse_volume(output.as_bytes());
        assert_eq!(
            found.map(|volume| (volume.percent, volume.is_muted)),
            expect
        );
    }

    #[test]
    fn the_output_of_the_program_is_read() {
        check(STEREO, Some((40, Some(false))));
        check(&STEREO.replace("[on]", "[off]"), Some((40, Some(true))));
        check(&STEREO.replace(" [on]", ""), Some((40, None)));
        check(
            "  Mono: Playback 64 [74%] [-16.50dB] [off]",
            Some((74, Some(true))),
        );
        check("Mono: Playback 1 [153%] [on]", Some((100, Some(false))));
        // Volume for both ways, and a switch of the microphone only.
        check(
            "  Front Left: 25 [50%] [0.25dB] Capture [off]\n  Front Right: 10 [40%] [0.10dB] Capture [off]",
            Some((50, None)),
        );
        check(
            "  Mono: Playback 40 [40%] [on] Capture 90 [90%] [off]",
            Some((40, Some(false))),
        );
        check(
            "  Mono: Playback 40 [40%] [off] Capture 90 [90%] [on]",
            Some((40, Some(true))),
        );
        check("", None);
        check("[x%] [on]", None);
        check("[999%]", None);
        assert_eq!(parse_volume(&vec![0xFF; 40_000]), None);
    }

    #[test]
    fn names_that_could_be_options_are_refused() {
        let new = |port: &str, options: &str| {
            Speaker::new(
                &toml::from_str(&format!(
                    "id = \"speaker\"\nclass = \"speaker\"\ndriver = \"amixer\"\nport = \"{port}\"\n[options]\n{options}"
                ))
                .unwrap(),
            )
        };
        assert!(new("default", "").is_ok());
        assert!(new("hw:0", "control = \"PCM\"").is_ok());
        assert!(new("-c0", "").is_err());
        assert!(new("", "").is_err());
        assert!(new("default", "control = \"--help\"").is_err());
        assert!(new("default", "program = \"rm\"").is_err());
    }
}
