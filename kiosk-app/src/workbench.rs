//! What staff and technicians ask of the terminal behind the glass: whether a permission is good,
//! how everything is, and the acts that they may do. A thread of its own with its own connection to
//! the store, so that neither a slow stick nor a slow test of a password holds a screen.
//!
//! Answers never hold anything of a citizen: case numbers, items, devices and problem words only.
//! Whatever is asked is allowed by the permission that this thread itself has given, or refused: the
//! pages hide what a role may not, this side does not do it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kiosk_device::Sensitive;
use kiosk_sealing::unlock::{Role, Scope};
use kiosk_ui::{Picture, StaffSection};
use uuid::Uuid;

use crate::selftest::Outcome;
use crate::words::Lang;

mod acts;
mod bench;
mod day;
pub mod evidence;
pub mod host;
mod levels;
mod monitor;
mod pages;
pub mod privacy;
pub mod readiness;
mod revocations;
pub mod settings;
mod slips;
pub mod sticks;
pub mod tickets;
mod unlock;
pub mod update;

#[cfg(test)]
mod tests;

pub(crate) use bench::{Parts, Workbench};
pub(crate) use pages::{class_word, log_level_word, remedy};

/// Something to find out or to do. Owner: the workbench.
#[derive(Clone, Debug)]
pub enum Work {
    /// Make a challenge for somebody who wants to come in.
    Challenge,
    /// Look at the signed text that came back.
    Unlock {
        /// As it was scanned or read from a stick.
        text: Sensitive<String>,
    },
    /// Look for a signed text for this challenge on every stick.
    UnlockFromStick,
    /// Compare the second factor with the permission that was just found good.
    Pin {
        /// As it was typed.
        pin: Sensitive<String>,
    },
    /// The permission is over, for this reason (`left`, `idle`, `expired`, `door`,
    /// `ordered`, `revoked`).
    Ended {
        /// Why.
        why: &'static str,
    },
    /// Fill a page.
    Show {
        /// Which.
        topic: Topic,
        /// In which language.
        lang: Lang,
    },
    /// Do something.
    Act {
        /// What.
        act: Act,
        /// Language of the words that say how it went.
        lang: Lang,
    },
}

/// A page of facts. Rows that lead on carry the id of their page, as `session::staff::ids` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Every device, known and unknown, with its state, fault and last test.
    Devices,
    /// One device: what is wrong and what to do, its tests, open tickets and acts; behind them state,
    /// readings, identity, earlier tests and counters.
    Device(String),
    /// Every guided test with its last outcome.
    Tests,
    /// Tickets, open ones first.
    Tickets,
    /// One ticket with its clock, tests, parts and what can be done.
    Ticket(Uuid),
    /// Paper and other consumables.
    Consumables,
    /// The daily check of today, and the last ones.
    Daily,
    /// The queue: depth, age, each upstream, what waits for a person.
    Queue,
    /// One dead letter with words and the ways out.
    DeadLetter(Uuid),
    /// Lines: each upstream, IPv4 and IPv6, names, time, throughput of the last test.
    Network,
    /// Settings in force and how they differ from the signed ones.
    Configuration,
    /// What an auditor asks: algorithms, keys by fingerprint, accounts, baseline, log chain.
    Evidence,
    /// Versions, digests, store, disk, memory, clock.
    Machine,
    /// The updater: which program runs, what comes, and how an update from a stick goes.
    Update,
    /// Calibrations and when they were made.
    Calibration,
    /// Sticks that are plugged in and what could be written on them.
    Sticks,
    /// The bytes of one device as they come, personal content masked; asked again every second.
    Monitor(String),
    /// The last lines of the log, optionally errors only.
    Log {
        /// Only warnings and errors.
        errors_only: bool,
    },
    /// Is the terminal ready for a day: outcomes, open faults, what is missing.
    Readiness,
}

impl Topic {
    /// Whoever has one of these scopes may see the page.
    pub fn scopes(&self) -> &'static [Scope] {
        match self {
            Self::Devices | Self::Device(_) => &[Scope::Help],
            Self::Tests => &[Scope::Test, Scope::Day],
            Self::Tickets | Self::Ticket(_) | Self::Log { .. } | Self::Calibration => {
                &[Scope::Mend, Scope::Evidence]
            }
            Self::Consumables => &[Scope::Paper, Scope::Evidence],
            Self::Daily => &[Scope::Day, Scope::Evidence],
            Self::Queue | Self::DeadLetter(_) => &[Scope::Queue],
            Self::Configuration => &[Scope::Evidence, Scope::Configure, Scope::Mend],
            Self::Evidence => &[Scope::Evidence],
            Self::Network | Self::Machine | Self::Readiness => {
                &[Scope::Test, Scope::Mend, Scope::Evidence]
            }
            Self::Sticks => &[Scope::Queue, Scope::Evidence, Scope::Mend, Scope::Test],
            Self::Monitor(_) | Self::Update => &[Scope::Mend],
        }
    }
}

/// An act of somebody who may. Owner: the workbench.
#[derive(Clone, Debug)]
pub enum Act {
    /// Keep the outcome of a guided test; opens or mends the ticket that it belongs to.
    Record(Box<Outcome>),
    /// Acknowledge a ticket.
    Acknowledge(Uuid),
    /// A part was replaced.
    Replace {
        /// The ticket.
        ticket: Uuid,
        /// What was replaced, by its word in the list of parts.
        what: String,
    },
    /// Close a mended ticket.
    Close(Uuid),
    /// Paper or something else was filled up.
    Replenish {
        /// The device.
        device: String,
        /// `paper`, `ribbon`, `toner`, ...
        what: String,
    },
    /// The daily check: each question with whether it is well.
    Daily {
        /// `open` or `close`.
        kind: &'static str,
        /// By question.
        answers: Vec<(String, bool)>,
    },
    /// Try one device anew now: the first rung of the ladder.
    Retry {
        /// The device.
        device: String,
    },
    /// Bring one device back by force: a further rung of the ladder.
    Climb {
        /// The device.
        device: String,
        /// `usb-rebind` or `power-cycle`.
        rung: &'static str,
    },
    /// Another log level; `None` takes it away.
    Level {
        /// The device.
        device: String,
        /// One of `logging::LEVELS`.
        level: Option<&'static str>,
        /// Hours that it is kept beyond the mode, over a restart too; 0 for not at all, 24 at most.
        keep_h: u8,
    },
    /// Begin or end a recording of a device onto a stick, or into the store where none is plugged in.
    Recording {
        /// The device.
        device: String,
        /// Begin or end.
        is_on: bool,
    },
    /// Keep a calibration.
    Calibrate {
        /// `touch`, `camera-crop`, `print-offset`, `slip-offset`, `scanner`.
        what: &'static str,
        /// Its values as JSON.
        values: String,
    },
    /// Send a dead letter again.
    RetryCase(Uuid),
    /// Give a dead letter up.
    CloseCase(Uuid),
    /// Write the queue onto a stick.
    ExportQueue(PathBuf),
    /// Read receipts from a stick.
    ImportReceipts(PathBuf),
    /// Write the log onto a stick.
    ExportLog {
        /// Where.
        stick: PathBuf,
        /// Only warnings and errors.
        errors_only: bool,
    },
    /// Write the evidence of an audit onto a stick.
    ExportEvidence(PathBuf),
    /// Ask the updater for an update from this stick.
    UpdateFromStick(PathBuf),
    /// Make the readiness report and its certificate.
    MakeReport,
    /// Write the report onto a stick.
    SaveReport(PathBuf),
    /// Print the report.
    PrintReport,
    /// Print the checklist that was answered last on the slip printer.
    PrintCheck,
    /// Print the numbers of the day on the slip printer.
    PrintDay,
}

impl Act {
    /// Whoever has one of these scopes may do it.
    pub fn scopes(&self) -> &'static [Scope] {
        match self {
            // The daily check ends with the test slip.
            Self::Record(_) => &[Scope::Test, Scope::Day],
            Self::Acknowledge(_)
            | Self::Replace { .. }
            | Self::Close(_)
            | Self::Retry { .. }
            | Self::Climb { .. }
            | Self::Level { .. }
            | Self::Recording { .. }
            | Self::UpdateFromStick(_)
            | Self::Calibrate { .. } => &[Scope::Mend],
            Self::Replenish { .. } => &[Scope::Paper],
            Self::Daily { .. } | Self::PrintCheck | Self::PrintDay => &[Scope::Day],
            Self::RetryCase(_)
            | Self::CloseCase(_)
            | Self::ExportQueue(_)
            | Self::ImportReceipts(_) => &[Scope::Queue],
            Self::ExportLog { .. } => &[Scope::Mend, Scope::Evidence],
            Self::ExportEvidence(_) => &[Scope::Evidence],
            Self::MakeReport | Self::SaveReport(_) | Self::PrintReport => {
                &[Scope::Test, Scope::Evidence]
            }
        }
    }

    /// The word in the audit log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Record(_) => "record-test",
            Self::Acknowledge(_) => "acknowledge-ticket",
            Self::Replace { .. } => "replace-part",
            Self::Close(_) => "close-ticket",
            Self::Replenish { .. } => "replenish",
            Self::Daily { .. } => "daily-check",
            Self::Retry { .. } => "retry-device",
            Self::Climb { .. } => "reset-device",
            Self::Level { .. } => "log-level",
            Self::Recording { .. } => "record-device",
            Self::Calibrate { .. } => "calibrate",
            Self::RetryCase(_) => "retry-case",
            Self::CloseCase(_) => "close-case",
            Self::ExportQueue(_) => "export-queue",
            Self::ImportReceipts(_) => "import-receipts",
            Self::ExportLog { .. } => "export-log",
            Self::ExportEvidence(_) => "export-evidence",
            Self::UpdateFromStick(_) => "update-from-stick",
            Self::MakeReport => "make-report",
            Self::SaveReport(_) => "save-report",
            Self::PrintReport => "print-report",
            Self::PrintCheck => "print-check",
            Self::PrintDay => "print-day",
        }
    }
}

/// What was found. Owner: the workbench.
#[derive(Clone, Debug)]
pub enum Found {
    /// Show this challenge.
    Challenge {
        /// The text of the QR code.
        text: String,
        /// Seconds until somebody may try; 0 = now.
        wait_s: u32,
    },
    /// The signed text is good; now the second factor.
    NeedsPin {
        /// Who.
        person: String,
        /// As what.
        role: Role,
    },
    /// Come in.
    Unlocked(Permission),
    /// Not so. After `unlock.wrong-pin` the second factor may be typed again; after every other code
    /// a new challenge is needed, except that a text which is no token at all (`unlock.malformed`,
    /// `unlock.too-long`) leaves the challenge as it is.
    Refused {
        /// Problem code.
        code: &'static str,
        /// Seconds until somebody may try again; 0 = now.
        wait_s: u32,
    },
    /// Nobody asked: whoever is inside is put out, for this reason (`revoked`).
    PutOut {
        /// Why.
        why: &'static str,
    },
    /// A page of facts.
    Facts(Box<Facts>),
    /// How an act went.
    Said {
        /// In words.
        words: String,
        /// It was done.
        is_done: bool,
    },
    /// The outcome of a guided test is kept.
    Recorded {
        /// What that changed, in words.
        words: String,
        /// The ticket that it opened or proved to be mended.
        ticket: Option<Uuid>,
    },
    /// The report is made.
    Report {
        /// Its pages, for the screen.
        pages: Vec<Picture>,
        /// The certificate, for a QR code.
        certificate: String,
    },
}

/// What somebody may do, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The account.
    pub person: String,
    /// As what.
    pub role: Role,
    /// What is allowed.
    pub scopes: BTreeSet<Scope>,
    /// For how long, from now.
    pub minutes: u16,
}

/// A page of facts in the language that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The title where it says more than the topic; may be empty.
    pub title: String,
    /// What to do; may be empty.
    pub intro: String,
    /// What is wrong; may be empty.
    pub warning: String,
    /// Name of a drawn picture; empty for none.
    pub drawing: String,
    /// Text to be drawn as a QR code.
    pub code: Option<String>,
    /// A picture.
    pub picture: Option<Picture>,
    /// The rows.
    pub sections: Vec<StaffSection>,
    /// How many sections stand before what can be done; behind it are figures. `None` where everything
    /// that is to be read stands before it.
    pub figures_from: Option<usize>,
    /// Acts that this page offers; their ids are understood by the staff pages.
    pub acts: Vec<kiosk_ui::Choice>,
}
