//! A journey as data: what a person and the world do, one `[[step]]` after the other.
//!
//! `tests/README.md` documents every step. A mistake in a file is told with file, line, step and
//! field before anything is started; nothing unknown is ever skipped.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use central_platform::{FaceAnswer, Fault};
use kiosk_emulators::{Act, Device};
use serde::Deserialize;
use toml::Spanned;

/// Longest journey file. Chosen: ten times the longest written so far.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Longest wait that a step may ask for.
const WAIT_MAX_S: u64 = 180;
/// How long a step waits where its file says nothing.
const WAIT_DEFAULT_S: u64 = 15;

/// A whole journey.
#[derive(Clone, Debug)]
pub struct Journey {
    /// What it is called.
    pub title: String,
    /// What it proves.
    pub about: String,
    /// How the world is at the start.
    pub start: Start,
    /// What happens, in order.
    pub steps: Vec<Numbered>,
}

/// How the world is at the start.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Start {
    /// Is there a line to the platform?
    pub network: bool,
    /// Devices as fast as they can be instead of at their real speed.
    pub hurried: bool,
    /// There is an operator who lets staff in.
    pub staff: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            network: true,
            hurried: false,
            staff: false,
        }
    }
}

/// A step and where it stands.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// Its number in the file, from 1.
    pub index: usize,
    /// Its line, from 1.
    pub line: usize,
    /// What is done, as the file spells it.
    pub name: String,
    /// What is done.
    pub deed: Deed,
}

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {} (line {}, {})", self.index, self.line, self.name)
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A step of a person or of the world.
    Step(Step),
    /// Something at the bench.
    Act(Act),
    /// The platform misbehaves.
    Fault(Fault),
}

impl Deed {
    /// Reads one step as a journey file spells it, without its `[[step]]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let name = table
            .get("do")
            .and_then(toml::Value::as_str)
            .ok_or("`do` is missing")?
            .to_owned();
        deed(&name, table)
    }
}

/// A step, tagged by `do`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Touches a button, as soon as it can be touched.
    Touch {
        /// Its label, or a part that only one button has.
        label: String,
        /// How long it may take to appear.
        #[serde(default)]
        within_s: Wait,
    },
    /// Touches a button and keeps the finger there.
    Hold {
        /// Its label, or a part that only one button has.
        label: String,
        /// How long, milliseconds; at most 30000.
        ms: u64,
    },
    /// Touches one key of the keypad after the other.
    Type {
        /// The keys.
        text: String,
    },
    /// Waits for a page.
    WaitScreen {
        /// Its stable name.
        screen: String,
        /// How long it may take.
        #[serde(default)]
        within_s: Wait,
    },
    /// Waits until some label contains a text.
    WaitText {
        /// The text.
        text: String,
        /// How long it may take.
        #[serde(default)]
        within_s: Wait,
    },
    /// Waits until no label contains a text.
    WaitNoText {
        /// The text.
        text: String,
        /// How long it may take.
        #[serde(default)]
        within_s: Wait,
    },
    /// Some label contains a text now.
    ExpectText {
        /// The text.
        text: String,
    },
    /// No label contains a text now.
    ExpectNoText {
        /// The text.
        text: String,
    },
    /// The page stays and none of its labels comes to contain a text.
    Stay {
        /// The page's stable name.
        screen: String,
        /// For how long.
        seconds: u64,
        /// What must not appear meanwhile.
        #[serde(default)]
        without: String,
    },
    /// Shows a code to the scanner.
    ShowCode {
        /// Its content.
        #[serde(default)]
        text: Option<String>,
        /// Where its content comes from instead.
        #[serde(default)]
        from: Option<CodeSource>,
    },
    /// Lays the newest printed slip under the document camera.
    LaySlip,
    /// Wipes with a finger over every field of the touch test.
    Wipe,
    /// The line to the platform comes or goes.
    Network {
        /// True when it comes.
        up: bool,
    },
    /// What the platform says to the next faces.
    PlatformFace {
        /// The answer.
        answer: FaceAnswer,
    },
    /// Kills the terminal process, as a power cut does.
    Kill,
    /// Starts the terminal process again.
    Restart,
    /// Waits until nothing waits in the terminal's outbox.
    WaitSynced {
        /// How long it may take.
        #[serde(default)]
        within_s: Wait,
    },
    /// The platform has exactly so many cases of an item; several arrivals of one count once.
    ExpectAccepted {
        /// The item's id.
        item: String,
        /// How many.
        count: usize,
    },
    /// A printer made exactly so many prints that ended so.
    ExpectPrints {
        /// `slip-printer` or `page-printer`.
        device: Device,
        /// How many.
        count: usize,
        /// `complete`, `torn`, `uncut`, `canceled`, …
        outcome: String,
        /// How long it may take.
        #[serde(default)]
        within_s: Wait,
    },
    /// Comes in as staff: the operator signs the challenge on the glass, the scanner reads the answer,
    /// and the glass asks for the second factor.
    Unlock {
        /// Name of the account.
        person: String,
        /// `village-staff`, `technician`, `vendor` or `inspector`.
        role: String,
        /// The second factor that the operator knows; it is typed in a step of its own.
        pin: String,
        /// For how long.
        #[serde(default = "default_minutes")]
        minutes: u16,
    },
    /// The operator checks the certificate on the glass, and finds an altered one out.
    VerifyCertificate,
    /// A technician's command beside the terminal, as over SSH.
    Command {
        /// Its words without `kiosk` and without `--config`.
        words: Vec<String>,
        /// Its exit status.
        #[serde(default)]
        status: i32,
        /// What it must say.
        #[serde(default)]
        says: Vec<String>,
        /// How long it may take until it does.
        #[serde(default)]
        within_s: Wait,
    },
    /// Takes a picture of the glass.
    Snapshot {
        /// Its name.
        name: String,
    },
}

/// How long a permission lasts where the file says nothing.
fn default_minutes() -> u16 {
    60
}

/// Names of [`Step`] and `platform-fault`; every other name is an act of the bench.
const STEP_NAMES: &[&str] = &[
    "touch",
    "hold",
    "type",
    "wait-screen",
    "wait-text",
    "wait-no-text",
    "expect-text",
    "expect-no-text",
    "stay",
    "show-code",
    "lay-slip",
    "wipe",
    "network",
    "platform-face",
    "platform-fault",
    "kill",
    "restart",
    "wait-synced",
    "expect-accepted",
    "expect-prints",
    "unlock",
    "verify-certificate",
    "command",
    "snapshot",
];

/// Where the content of a code comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeSource {
    /// The QR code on the newest printed slip, read from its picture.
    LastSlip,
    /// The QR code on the first page that the page printer made last, read from its picture.
    LastPage,
    /// The QR code on the glass, read from its picture.
    Glass,
}

/// A number of seconds within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Wait(u64);

impl Wait {
    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self(WAIT_DEFAULT_S)
    }
}

impl TryFrom<u64> for Wait {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        if (1..=WAIT_MAX_S).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(format!(
                "a wait of {seconds} s is not accepted; accepted: 1 to {WAIT_MAX_S}"
            ))
        }
    }
}

/// What is wrong with a journey file.
#[derive(Debug, thiserror::Error)]
pub enum JourneyError {
    /// The file cannot be read: check its path.
    #[error("{file} cannot be read")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{file}:{line}: {message}")]
    Wrong {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with step and field.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    title: String,
    #[serde(default)]
    about: String,
    #[serde(default)]
    start: Start,
    #[serde(rename = "step")]
    steps: Vec<Spanned<toml::Table>>,
}

impl Journey {
    /// Reads and checks a journey file.
    ///
    /// # Errors
    /// [`JourneyError`] names file, line, step and field.
    pub fn read(path: &Path) -> Result<Self, JourneyError> {
        let file = path.display().to_string();
        let text = std::fs::metadata(path)
            .and_then(|metadata| {
                if metadata.len() > FILE_BYTES_MAX {
                    return Err(std::io::Error::other("a journey is at most 256 KiB long"));
                }
                std::fs::read_to_string(path)
            })
            .map_err(|source| JourneyError::Unreadable {
                file: file.clone(),
                source,
            })?;
        let mut journey = Self::parse(&text).map_err(|(line, message)| JourneyError::Wrong {
            file,
            line,
            message,
        })?;
        for step in &mut journey.steps {
            // A picture lies beside its journey, wherever that is played from.
            if let Deed::Act(Act::ShowScene {
                file: Some(picture),
                ..
            }) = &mut step.deed
                && let Some(directory) = path.parent()
            {
                *picture = directory.join(&*picture);
            }
        }
        Ok(journey)
    }

    /// Checks the text of a journey; errors are a line and a message.
    ///
    /// # Errors
    /// The line, from 1, and what is wrong there.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            (line, error.message().to_owned())
        })?;
        let steps = raw
            .steps
            .into_iter()
            .enumerate()
            .map(|(at, table)| numbered(text, at + 1, table))
            .collect::<Result<Vec<_>, _>>()?;
        if steps.is_empty() {
            return Err((1, "a journey needs at least one [[step]]".to_owned()));
        }
        Ok(Self {
            title: raw.title,
            about: raw.about,
            start: raw.start,
            steps,
        })
    }

    /// Everything that a person types in this journey.
    pub fn typed(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match &step.deed {
            Deed::Step(Step::Type { text } | Step::Unlock { pin: text, .. }) => Some(text.as_str()),
            Deed::Step(_) | Deed::Act(_) | Deed::Fault(_) => None,
        })
    }
}

fn line_at(text: &str, at: usize) -> usize {
    text.char_indices()
        .take_while(|(index, _)| *index < at)
        .filter(|(_, character)| *character == '\n')
        .count()
        + 1
}

fn numbered(
    text: &str,
    index: usize,
    table: Spanned<toml::Table>,
) -> Result<Numbered, (usize, String)> {
    let span = table.span();
    let line = line_at(text, span.start);
    let table = table.into_inner();
    let name = match table.get("do") {
        Some(toml::Value::String(name)) => name.clone(),
        Some(_) => return Err((line, format!("step {index}: `do` is a text"))),
        None => return Err((line, format!("step {index}: `do` is missing"))),
    };
    let deed = deed(&name, table).map_err(|message| {
        let at = line + field_offset(text.get(span.start..).unwrap_or_default(), &message);
        (at, format!("step {index} ({name}): {message}"))
    })?;
    Ok(Numbered {
        index,
        line,
        name,
        deed,
    })
}

/// How many lines below the head of a step the field stands that a complaint quotes; 0 where it
/// quotes none of this step.
fn field_offset(from_head: &str, complaint: &str) -> usize {
    let field = complaint.split('`').nth(1).unwrap_or_default();
    from_head
        .lines()
        .enumerate()
        .skip(1)
        .take_while(|(_, line)| !line.trim_start().starts_with("[["))
        .find(|(_, line)| {
            line.split_once('=')
                .is_some_and(|(key, _)| key.trim() == field)
        })
        .map_or(0, |(offset, _)| offset)
}

fn deed(name: &str, mut table: toml::Table) -> Result<Deed, String> {
    let told = |error: toml::de::Error| error.message().to_owned();
    if name == "platform-fault" {
        table.remove("do");
        if let Some(field) = table
            .keys()
            .find(|key| !["fault", "ms", "status"].contains(&key.as_str()))
        {
            return Err(format!(
                "unknown field `{field}`, expected one of `fault`, `ms`, `status`"
            ));
        }
        return Fault::deserialize(toml::Value::Table(table))
            .map(Deed::Fault)
            .map_err(told);
    }
    // A code may come from a slip, which the bench does not know.
    if STEP_NAMES.contains(&name) {
        let step = Step::deserialize(toml::Value::Table(table)).map_err(told)?;
        return check(step).map(Deed::Step);
    }
    Act::deserialize(toml::Value::Table(table))
        .map(Deed::Act)
        .map_err(|error| {
            let message = told(error);
            if message.contains("unknown variant") {
                format!(
                    "unknown step; the steps are {} and the acts of the bench: {message}",
                    STEP_NAMES.join(", ")
                )
            } else {
                message
            }
        })
}

/// What the type of a field cannot say.
fn check(step: Step) -> Result<Step, String> {
    let told = |is_good: bool, message: &str| {
        if is_good {
            Ok(())
        } else {
            Err(message.to_owned())
        }
    };
    if let Step::ShowCode { text, from } = &step {
        told(
            text.is_some() != from.is_some(),
            "either `text` or `from` is needed",
        )?;
    }
    if let Step::Hold { ms, .. } = &step {
        told(*ms <= 30_000, "`ms` is at most 30000")?;
    }
    if let Step::Stay { seconds, .. } = &step {
        told((1..=WAIT_MAX_S).contains(seconds), "`seconds` is 1 to 180")?;
    }
    if let Step::Snapshot { name } = &step {
        told(
            is_file_name(name),
            "`name` is made of lower-case letters, digits and hyphens",
        )?;
    }
    if let Step::ExpectPrints { device, .. } = &step {
        let is_printer = matches!(device, Device::SlipPrinter | Device::PagePrinter);
        told(is_printer, "`device` is slip-printer or page-printer")?;
    }
    Ok(step)
}

fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 60
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
title = "Test"
[start]
network = false
[[step]]
do = "touch"
label = "打印"
[[step]]
do = "insert-card"
card = "adult"
[[step]]
do = "platform-fault"
fault = "slow"
ms = 100
[[step]]
do = "show-code"
from = "last-slip"
[[step]]
do = "wait-screen"
screen = "home"
within_s = 3
"#;

    #[test]
    fn steps_acts_and_faults_stand_side_by_side() {
        let journey = Journey::parse(GOOD).unwrap();
        assert!(!journey.start.network);
        assert_eq!(journey.steps.len(), 5);
        assert!(matches!(
            &journey.steps[1].deed,
            Deed::Act(Act::InsertCard { .. })
        ));
        assert_eq!(journey.steps[2].deed, Deed::Fault(Fault::Slow { ms: 100 }));
        assert_eq!(
            (journey.steps[4].index, journey.steps[4].name.as_str()),
            (5, "wait-screen")
        );
    }

    #[test]
    fn a_mistake_names_line_step_and_field() {
        for (from, to, line, words) in [
            (
                "label = ",
                "lable = ",
                7,
                "step 1 (touch): unknown field `lable`",
            ),
            ("\"touch\"", "\"tuch\"", 5, "unknown step"),
            (
                "card = \"adult\"",
                "crad = \"adult\"",
                10,
                "step 2 (insert-card)",
            ),
            ("ms = 100", "mms = 100", 14, "unknown field `mms`"),
            ("within_s = 3", "within_s = 999", 18, "999"),
            ("from = \"last-slip\"", "", 15, "either `text` or `from`"),
            ("network = false", "netwrok = false", 4, "netwrok"),
            ("do = \"touch\"", "", 5, "`do` is missing"),
            ("title", "titel", 2, "titel"),
        ] {
            let (at, message) = Journey::parse(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(message.contains(words), "{message}");
            assert!(
                at.abs_diff(line) <= 1,
                "{to}: line {at}, expected {line}: {message}"
            );
        }
    }

    #[test]
    fn a_journey_without_steps_is_refused() {
        assert!(Journey::parse("title = \"x\"\nstep = []").is_err());
        assert!(Journey::parse("").is_err());
    }
}
