//! Guided tests: steps in words and pictures, judged by the machine where it can, by a person only
//! where it cannot. A test is a pure function of events like a visit: [`Run`] asks for what it needs
//! in effects, so that the glass, the command `kiosk selftest` and the update agent run the same one.
//!
//! What a card, a code or a pen says never reaches a test: the hub tells only that it was read, how
//! long it took and what was wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use kiosk_device::{DeviceClass, Status};
use kiosk_ui::{Choice, Pattern, Picture};
use serde::{Deserialize, Serialize};

use crate::event::Event;

pub mod exam;
pub mod headless;
pub mod machine;
pub mod plan;
pub mod run;
pub(crate) mod step;

pub use exam::{Exam, Wanted};
pub use plan::{plan, plans, plans_for};
pub(crate) use run::NO_SENSOR;
pub use run::{Run, figure_name, figure_value};

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// It could not be run: it needs a person, or something that is not here.
    Skipped,
    /// Somebody stopped it.
    Canceled,
}

/// What a test found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which test, for instance `slip-printer.pattern`.
    pub test: String,
    /// Which device; empty for the machine.
    pub device: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was measured, by name, with units.
    pub figures: BTreeMap<String, String>,
    /// Problem code of a failure or of what kept it from running; empty when passed.
    pub problem: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Outcome {
    /// Of a test that was not run, because its device rests while the terminal is in safe mode.
    pub(crate) fn resting(plan: &Plan, device: &str) -> Self {
        Self {
            test: plan.id.to_owned(),
            device: device.to_owned(),
            verdict: Verdict::Skipped,
            figures: BTreeMap::new(),
            problem: "test.safe-mode".to_owned(),
            took_ms: 0,
        }
    }
}

/// Something that a test asks of a device or of the machine, beside what visits ask.
/// Owner: the self-test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// How the device is now.
    Status {
        /// The device.
        device: String,
    },
    /// Print the test slip, with this text in its code. News come as `Event::Print`.
    TestSlip {
        /// What the QR code on it says.
        code: String,
    },
    /// Print the test page, with this text in its code. News come as `Event::Print`.
    TestPage {
        /// What the QR code on it says.
        code: String,
    },
    /// Let a light or another output do something.
    Output {
        /// The board.
        device: String,
        /// The output.
        output: String,
        /// On or off.
        is_on: bool,
    },
    /// Let the power supply try its battery.
    Battery {
        /// The device.
        device: String,
    },
    /// Play a tone at a volume in percent.
    Tone {
        /// The device.
        device: String,
        /// Volume in percent.
        volume: u8,
    },
    /// Let somebody write on the pad; each stroke is an answer.
    Sign {
        /// The device.
        device: String,
    },
    /// Read whatever card is put on or into a reader. What it says stays in the hub.
    Card {
        /// The reader.
        device: String,
    },
    /// Set a volume, in silence.
    Volume {
        /// The loudspeaker.
        device: String,
        /// Volume in percent.
        percent: u8,
    },
    /// Look at the machine itself.
    Machine(Part),
}

/// A part of the machine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Room, speed and health of the disk.
    Disk,
    /// The clock against the platform's, and whether it was ever set.
    Clock,
    /// Working memory.
    Memory,
    /// The line: names, both families, the platform, each upstream, throughput.
    Network,
    /// The store and the audit log.
    Store,
    /// Sensors of the board: temperature and the like, where the kernel shows some.
    Sensors,
}

/// What a probe found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// What was measured, by name, with units.
    pub figures: BTreeMap<String, String>,
    /// What is wrong, by problem code.
    pub problem: Option<&'static str>,
    /// More comes for the same ticket.
    pub is_partial: bool,
}

/// What a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its stable name, for instance `slip-printer.pattern`.
    pub id: &'static str,
    /// The class whose devices it is for; `None` for the machine itself.
    pub class: Option<DeviceClass>,
    /// Somebody must stand before the glass.
    pub needs_person: bool,
    /// Longest time it takes.
    pub limit: Duration,
}

/// What is known of the terminal when a test begins.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Every device with its class and its last status.
    pub devices: BTreeMap<String, (DeviceClass, Status)>,
    /// The platform answers.
    pub is_online: bool,
    /// Upstreams behind the platform, and whether each takes transactions.
    pub upstreams: BTreeMap<String, bool>,
    /// Somebody stands before the glass and answers. Without a person, steps that need one are left
    /// out, and a test that is nothing without one is skipped.
    pub has_person: bool,
}

impl Setting {
    /// Takes what an event tells of the terminal.
    pub fn note(&mut self, event: &Event) {
        if let Event::Status {
            class,
            device,
            status,
        } = event
        {
            let known = (*class, status.clone());
            self.devices.insert(device.clone(), known);
        } else if let Event::Upstream { name, is_up } = event {
            self.upstreams.insert(name.clone(), *is_up);
        } else if let Event::Link(is_online) = event {
            self.is_online = *is_online;
        }
    }
}

/// What the page of a running test shows; words are in the language that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestPage {
    /// Name of the test.
    pub title: String,
    /// Which step of how many.
    pub step: (u32, u32),
    /// What to do or to look at.
    pub words: String,
    /// Name of a drawn picture; empty for none.
    pub drawing: String,
    /// What the camera sees, where that helps.
    pub picture: Option<Picture>,
    /// Text to be drawn as a QR code.
    pub code: Option<String>,
    /// What covers the glass.
    pub pattern: Pattern,
    /// Answers that a person can give (`yes`, `no`, `skip`, `done`); empty while the machine works.
    pub answers: Vec<Choice>,
    /// What was measured so far: name and value.
    pub figures: Vec<(String, String)>,
}
