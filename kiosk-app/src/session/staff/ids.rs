//! The grammar of ids on staff pages: what a row leads to and what a button does, as one text that
//! goes out to the glass and comes back by a touch. Whoever writes a page writes ids with
//! [`Id::to_text`]; the pages read them with [`Id::parse`], which knows nothing else.
//!
//! An id says what is wanted, never that it is allowed: the mode looks at the scopes each time.

use std::path::{Path, PathBuf};

use kiosk_device::Rung;
use uuid::Uuid;

use crate::calibration;
use crate::logging::LEVELS;
use crate::workbench::Topic;

/// How long a log level can be kept beyond the mode, in hours; 0 for not at all. Chosen: a morning, and
/// the day that is specified as the longest.
pub(crate) const KEEP_HOURS: [u8; 3] = [0, 4, 24];

/// Longest id that is read. Chosen: a mount point of a stick and its word fit several times over.
pub(crate) const ID_BYTES_MAX: usize = 1024;
/// Longest name of a device, a test or a part in an id. Chosen: longer than any configuration has.
const NAME_BYTES_MAX: usize = 128;

/// What somebody wants who touches a row or a button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    /// To a page of facts.
    Open(Topic),
    /// To a page that the mode makes itself.
    Go(Place),
    /// A guided test of a device; the device is empty for the machine.
    Test {
        /// Stable name of the test.
        plan: String,
        /// The device.
        device: String,
    },
    /// A stick, where one was asked for.
    Stick(PathBuf),
    /// A button.
    Act(Button),
}

/// A page of the mode itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// What there is to do.
    Menu,
    /// How to ask for help, and what each page is for.
    Help,
    /// Opening and closing the day.
    Day,
    /// The readiness report as it was made last in this mode.
    Report,
}

impl Place {
    const ALL: [Self; 4] = [Self::Menu, Self::Help, Self::Day, Self::Report];

    fn word(self) -> &'static str {
        match self {
            Self::Menu => "menu",
            Self::Help => "help",
            Self::Day => "day",
            Self::Report => "report",
        }
    }
}

/// What a button does. Those that write onto a stick ask for the stick themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Button {
    /// Look for a signed text on the sticks.
    UnlockFromStick,
    /// Acknowledge a ticket.
    Acknowledge(Uuid),
    /// Say which part was replaced: leads to the list of parts.
    Replace {
        /// The ticket.
        ticket: Uuid,
        /// Class of the device, for its list of parts; may be empty.
        class: String,
    },
    /// This part was replaced.
    Part {
        /// The ticket.
        ticket: Uuid,
        /// The part, by its word in the list of parts.
        what: String,
    },
    /// Close a mended ticket.
    Close(Uuid),
    /// Something was filled up.
    Replenish {
        /// `paper`, `toner`, ...
        what: String,
        /// The device.
        device: String,
    },
    /// Try a device anew.
    Retry(String),
    /// Bring a device back by force.
    Climb {
        /// One of [`Rung::NAMES`].
        rung: &'static str,
        /// The device.
        device: String,
    },
    /// Choose a log level: leads to the list of levels.
    Levels(String),
    /// Set a log level; `None` takes it away.
    Level {
        /// One of the levels of the log.
        level: Option<&'static str>,
        /// One of [`KEEP_HOURS`].
        keep_h: u8,
        /// The device.
        device: String,
    },
    /// On the list of levels: keep the one that is chosen next for so long, one of [`KEEP_HOURS`].
    Keep(u8),
    /// Begin or end a recording.
    Recording {
        /// Begin or end.
        is_on: bool,
        /// The device.
        device: String,
    },
    /// Begin a calibration: `touch`, `camera-crop`, `print-offset`, `slip-offset`, `scanner`.
    Calibrate(Calibration),
    /// Send a dead letter again.
    RetryCase(Uuid),
    /// Give a dead letter up; asked twice.
    CloseCase(Uuid),
    /// Write the queue onto a stick.
    ExportQueue,
    /// Read receipts from a stick.
    ImportReceipts,
    /// Write the log onto a stick.
    ExportLog {
        /// Only warnings and errors.
        errors_only: bool,
    },
    /// Write the evidence onto a stick.
    ExportEvidence,
    /// Ask for an update from a stick.
    UpdateFromStick,
    /// Make the readiness report.
    MakeReport,
    /// Write the report onto a stick.
    SaveReport,
    /// Print the report.
    PrintReport,
    /// Print the checklist that was answered last.
    PrintCheck,
    /// Print the numbers of the day.
    PrintDay,
    /// The daily check, before the day is opened or after it is closed.
    Daily {
        /// Before the day.
        is_opening: bool,
    },
    /// Serve visitors again, without a check.
    OpenDay,
    /// Serve no visitors until the day is opened.
    CloseDay,
    /// One after another, the tests of the page that have not passed.
    TestRest,
    /// Out of safe mode: try everything again.
    TryNormally,
    /// The page's own button (`yes`, `no`, `again`, `save`, `next`, ...).
    Plain(Plain),
}

/// What can be calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calibration {
    /// Where the glass feels a finger.
    Touch,
    /// Which part of the camera's picture is the tray.
    CameraCrop,
    /// Where on the paper the page printer begins.
    PrintOffset,
    /// Where on the roll the slip printer begins.
    SlipOffset,
    /// How fast and how surely the scanner reads; measured only.
    Scanner,
}

impl Calibration {
    pub(crate) const ALL: [Self; 5] = [
        Self::Touch,
        Self::CameraCrop,
        Self::PrintOffset,
        Self::SlipOffset,
        Self::Scanner,
    ];

    /// The word in ids and in the store.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Touch => calibration::TOUCH,
            Self::CameraCrop => calibration::CAMERA_CROP,
            Self::PrintOffset => calibration::PRINT_OFFSET,
            Self::SlipOffset => calibration::SLIP_OFFSET,
            Self::Scanner => calibration::SCANNER,
        }
    }
}

/// Buttons that mean something on their page only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Well, or agreed.
    Yes,
    /// Not well.
    No,
    /// Do the same again.
    Again,
    /// Keep it.
    Save,
    /// On.
    Next,
    /// One before.
    Before,
    /// Show the certificate's code, or the pages again.
    Certificate,
    /// To the left, or inwards.
    Less,
    /// To the right, or outwards.
    More,
    /// Upwards.
    Up,
    /// Downwards.
    Down,
}

impl Plain {
    const ALL: [Self; 11] = [
        Self::Yes,
        Self::No,
        Self::Again,
        Self::Save,
        Self::Next,
        Self::Before,
        Self::Certificate,
        Self::Less,
        Self::More,
        Self::Up,
        Self::Down,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Again => "again",
            Self::Save => "save",
            Self::Next => "next",
            Self::Before => "before",
            Self::Certificate => "certificate",
            Self::Less => "less",
            Self::More => "more",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Id {
    /// The text that a row or a button carries.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Open(topic) => topic_text(topic),
            Self::Go(place) => format!("page:{}", place.word()),
            Self::Test { plan, device } => format!("test:{plan}:{device}"),
            Self::Stick(path) => format!("stick:{}", path.display()),
            Self::Act(button) => format!("act:{}", button.text()),
        }
    }

    /// What a text from the glass means; `None` for anything that is not in the grammar.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > ID_BYTES_MAX || text.chars().any(char::is_control) {
            return None;
        }
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "page" => Place::ALL
                .into_iter()
                .find(|place| place.word() == rest)
                .map(Self::Go),
            "test" => {
                let (plan, device) = rest.split_once(':')?;
                let device = if device.is_empty() {
                    String::new()
                } else {
                    name(device)?
                };
                let plan = name(plan)?;
                Some(Self::Test { plan, device })
            }
            "stick" => stick(rest).map(Self::Stick),
            "act" => Button::parse(rest).map(Self::Act),
            _ => topic(kind, rest).map(Self::Open),
        }
    }
}

/// Topics of one word, in the order of the menu.
const TOPICS: [(&str, Topic); 16] = [
    ("devices", Topic::Devices),
    ("tests", Topic::Tests),
    ("tickets", Topic::Tickets),
    ("consumables", Topic::Consumables),
    ("daily", Topic::Daily),
    ("queue", Topic::Queue),
    ("network", Topic::Network),
    ("configuration", Topic::Configuration),
    ("evidence", Topic::Evidence),
    ("machine", Topic::Machine),
    ("update", Topic::Update),
    ("calibration", Topic::Calibration),
    ("sticks", Topic::Sticks),
    ("log", Topic::Log { errors_only: false }),
    ("log-errors", Topic::Log { errors_only: true }),
    ("readiness", Topic::Readiness),
];

/// The id of a page of facts.
pub(crate) fn topic_text(topic: &Topic) -> String {
    match topic {
        Topic::Device(device) => format!("device:{device}"),
        Topic::Ticket(ticket) => format!("ticket:{ticket}"),
        Topic::DeadLetter(case) => format!("dead:{case}"),
        Topic::Monitor(device) => format!("monitor:{device}"),
        Topic::Devices
        | Topic::Tests
        | Topic::Tickets
        | Topic::Consumables
        | Topic::Daily
        | Topic::Queue
        | Topic::Network
        | Topic::Configuration
        | Topic::Evidence
        | Topic::Machine
        | Topic::Update
        | Topic::Calibration
        | Topic::Sticks
        | Topic::Log { .. }
        | Topic::Readiness => format!("topic:{}", topic_word(topic)),
    }
}

/// The word of a topic, as page names and texts have it: `devices`, `device`, `ticket`, ...
pub(crate) fn topic_word(topic: &Topic) -> &'static str {
    match topic {
        Topic::Device(_) => "device",
        Topic::Ticket(_) => "ticket",
        Topic::DeadLetter(_) => "dead-letter",
        Topic::Monitor(_) => "monitor",
        Topic::Devices
        | Topic::Tests
        | Topic::Tickets
        | Topic::Consumables
        | Topic::Daily
        | Topic::Queue
        | Topic::Network
        | Topic::Configuration
        | Topic::Evidence
        | Topic::Machine
        | Topic::Update
        | Topic::Calibration
        | Topic::Sticks
        | Topic::Log { .. }
        | Topic::Readiness => TOPICS
            .iter()
            .find(|(_, other)| other == topic)
            .map_or("facts", |(word, _)| word),
    }
}

fn topic(kind: &str, rest: &str) -> Option<Topic> {
    match kind {
        "device" => name(rest).map(Topic::Device),
        "ticket" => rest.parse().ok().map(Topic::Ticket),
        "dead" => rest.parse().ok().map(Topic::DeadLetter),
        "monitor" => name(rest).map(Topic::Monitor),
        "topic" => TOPICS
            .iter()
            .find(|(word, _)| *word == rest)
            .map(|(_, topic)| topic.clone()),
        _ => None,
    }
}

impl Button {
    fn text(&self) -> String {
        match self {
            Self::Acknowledge(ticket) => format!("acknowledge:{ticket}"),
            Self::Replace { ticket, class } => format!("replace:{ticket}:{class}"),
            Self::Part { ticket, what } => format!("part:{ticket}:{what}"),
            Self::Close(ticket) => format!("close:{ticket}"),
            Self::Replenish { what, device } => format!("replenish:{what}:{device}"),
            Self::Retry(device) => format!("retry:{device}"),
            Self::Climb { rung, device } => format!("climb:{rung}:{device}"),
            Self::Levels(device) => format!("levels:{device}"),
            Self::Level {
                level,
                keep_h,
                device,
            } => format!("level:{}:{keep_h}:{device}", level.unwrap_or("off")),
            Self::Keep(hours) => format!("keep:{hours}"),
            Self::Recording { is_on, device } => {
                format!("recording:{}:{device}", if *is_on { "on" } else { "off" })
            }
            Self::Calibrate(what) => format!("calibrate:{}", what.word()),
            Self::RetryCase(case) => format!("retry-case:{case}"),
            Self::CloseCase(case) => format!("close-case:{case}"),
            Self::Plain(plain) => plain.word().to_owned(),
            Self::UnlockFromStick
            | Self::ExportQueue
            | Self::ImportReceipts
            | Self::ExportLog { .. }
            | Self::ExportEvidence
            | Self::UpdateFromStick
            | Self::MakeReport
            | Self::SaveReport
            | Self::PrintReport
            | Self::PrintCheck
            | Self::PrintDay
            | Self::Daily { .. }
            | Self::OpenDay
            | Self::CloseDay
            | Self::TestRest
            | Self::TryNormally => SINGLE
                .iter()
                .find(|(_, button)| button == self)
                .map_or_else(String::new, |(word, _)| (*word).to_owned()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let Some((word, rest)) = text.split_once(':') else {
            let single = SINGLE.iter().find(|(word, _)| *word == text);
            return match single {
                Some((_, button)) => Some(button.clone()),
                None => Plain::ALL
                    .into_iter()
                    .find(|plain| plain.word() == text)
                    .map(Self::Plain),
            };
        };
        match word {
            "acknowledge" => rest.parse().ok().map(Self::Acknowledge),
            "close" => rest.parse().ok().map(Self::Close),
            "retry-case" => rest.parse().ok().map(Self::RetryCase),
            "close-case" => rest.parse().ok().map(Self::CloseCase),
            "retry" => name(rest).map(Self::Retry),
            "climb" => {
                let (rung, device) = rest.split_once(':')?;
                Some(Self::Climb {
                    rung: Rung::NAMES.into_iter().find(|known| *known == rung)?,
                    device: name(device)?,
                })
            }
            "levels" => name(rest).map(Self::Levels),
            "calibrate" => Calibration::ALL
                .into_iter()
                .find(|what| what.word() == rest)
                .map(Self::Calibrate),
            "replace" => {
                let (ticket, class) = rest.split_once(':')?;
                Some(Self::Replace {
                    ticket: ticket.parse().ok()?,
                    class: if class.is_empty() {
                        String::new()
                    } else {
                        name(class)?
                    },
                })
            }
            "part" => {
                let (ticket, what) = rest.split_once(':')?;
                Some(Self::Part {
                    ticket: ticket.parse().ok()?,
                    what: name(what)?,
                })
            }
            "replenish" => {
                let (what, device) = rest.split_once(':')?;
                Some(Self::Replenish {
                    what: name(what)?,
                    device: name(device)?,
                })
            }
            "level" => level(rest),
            "keep" => keep_hours(rest).map(Self::Keep),
            "recording" => {
                let (state, device) = rest.split_once(':')?;
                let is_on = match state {
                    "on" => true,
                    "off" => false,
                    _ => return None,
                };
                let device = name(device)?;
                Some(Self::Recording { is_on, device })
            }
            _ => None,
        }
    }
}

/// Buttons that need no more than their word.
const SINGLE: [(&str, Button); 18] = [
    ("unlock-from-stick", Button::UnlockFromStick),
    ("export-queue", Button::ExportQueue),
    ("import-receipts", Button::ImportReceipts),
    ("export-log", Button::ExportLog { errors_only: false }),
    ("export-log-errors", Button::ExportLog { errors_only: true }),
    ("export-evidence", Button::ExportEvidence),
    ("update-from-stick", Button::UpdateFromStick),
    ("make-report", Button::MakeReport),
    ("save-report", Button::SaveReport),
    ("print-report", Button::PrintReport),
    ("print-check", Button::PrintCheck),
    ("print-day", Button::PrintDay),
    ("daily-open", Button::Daily { is_opening: true }),
    ("daily-close", Button::Daily { is_opening: false }),
    ("open-day", Button::OpenDay),
    ("close-day", Button::CloseDay),
    ("test-rest", Button::TestRest),
    ("try-normally", Button::TryNormally),
];

/// A level, how long it is kept, and the device.
fn level(rest: &str) -> Option<Button> {
    let (level, rest) = rest.split_once(':')?;
    let (hours, device) = rest.split_once(':')?;
    let level = if level == "off" {
        None
    } else {
        Some(LEVELS.into_iter().find(|known| *known == level)?)
    };
    Some(Button::Level {
        level,
        keep_h: keep_hours(hours)?,
        device: name(device)?,
    })
}

/// One of the times that are offered.
fn keep_hours(text: &str) -> Option<u8> {
    let hours = text.parse().ok()?;
    KEEP_HOURS.contains(&hours).then_some(hours)
}

/// A name that cannot be mistaken for anything else.
fn name(text: &str) -> Option<String> {
    let is_name = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    is_name.then(|| text.to_owned())
}

/// A mount point: absolute, and nowhere above itself.
fn stick(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_plain = path.is_absolute()
        && path
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
    is_plain.then(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buttons() -> Vec<Button> {
        let (ticket, device) = (Uuid::from_u128(7), "printer-1".to_owned());
        let mut buttons: Vec<Button> = SINGLE.iter().map(|(_, button)| button.clone()).collect();
        buttons.extend(Plain::ALL.map(Button::Plain));
        buttons.extend(Calibration::ALL.map(Button::Calibrate));
        buttons.extend(KEEP_HOURS.map(Button::Keep));
        buttons.extend([
            Button::Acknowledge(ticket),
            Button::Replace {
                ticket,
                class: "slip-printer".to_owned(),
            },
            Button::Replace {
                ticket,
                class: String::new(),
            },
            Button::Part {
                ticket,
                what: "print-head".to_owned(),
            },
            Button::Close(ticket),
            Button::Replenish {
                what: "paper".to_owned(),
                device: device.clone(),
            },
            Button::Retry(device.clone()),
            Button::Climb {
                rung: Rung::POWER_CYCLE,
                device: device.clone(),
            },
            Button::Levels(device.clone()),
            Button::Level {
                level: Some("debug"),
                keep_h: 24,
                device: device.clone(),
            },
            Button::Level {
                level: None,
                keep_h: 0,
                device: "a:b".to_owned(),
            },
            Button::Recording {
                is_on: true,
                device: device.clone(),
            },
            Button::Recording {
                is_on: false,
                device,
            },
            Button::RetryCase(ticket),
            Button::CloseCase(ticket),
        ]);
        buttons
    }

    fn ids() -> Vec<Id> {
        let mut ids: Vec<Id> = TOPICS
            .iter()
            .map(|(_, topic)| Id::Open(topic.clone()))
            .collect();
        ids.extend(Place::ALL.map(Id::Go));
        ids.extend(buttons().into_iter().map(Id::Act));
        ids.extend([
            Id::Open(Topic::Device("scanner".to_owned())),
            Id::Open(Topic::Ticket(Uuid::from_u128(1))),
            Id::Open(Topic::DeadLetter(Uuid::from_u128(2))),
            Id::Open(Topic::Monitor("a:b".to_owned())),
            Id::Test {
                plan: "slip-printer.pattern".to_owned(),
                device: "slip-printer".to_owned(),
            },
            Id::Test {
                plan: "machine.disk".to_owned(),
                device: String::new(),
            },
            Id::Stick(PathBuf::from("/media/usb 0")),
        ]);
        ids
    }

    #[test]
    fn every_id_comes_back_from_the_glass_as_it_was_written() {
        let mut texts = std::collections::BTreeSet::new();
        for id in ids() {
            let text = id.to_text();
            assert_eq!(Id::parse(&text).as_ref(), Some(&id), "{text}");
            assert!(texts.insert(text.clone()), "{text} means two things");
        }
    }

    #[test]
    fn what_is_not_in_the_grammar_means_nothing() {
        let long = format!("device:{}", "x".repeat(NAME_BYTES_MAX + 1));
        let huge = "x".repeat(ID_BYTES_MAX + 1);
        for text in [
            "",
            ":",
            "devices",
            "device:",
            "device:a\nb",
            "page:",
            "page:root",
            "ticket:7",
            "dead:../../x",
            "test:",
            "test:plan",
            "test::device",
            "stick:relative",
            "stick:/media/../etc",
            "act:",
            "act:format",
            "act:climb:hammer:printer",
            "act:climb:power-cycle:",
            "act:level:loud:0:printer",
            "act:level:debug:printer",
            "act:level:debug:25:printer",
            "act:keep:48",
            "act:recording:maybe:printer",
            "act:replenish:paper",
            "act:calibrate:everything",
            "topic:secrets",
            long.as_str(),
            huge.as_str(),
        ] {
            assert_eq!(Id::parse(text), None, "{text}");
        }
    }
}
