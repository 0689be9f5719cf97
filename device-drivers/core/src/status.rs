//! How a device is and what it can do, in the words of XFS4IoT. No driver invents its own.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fault::Fault;

/// The classes of devices a terminal may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// Resident identity card reader.
    IdCard,
    /// Bar code and QR scanner.
    QrScanner,
    /// Slip printer (80 mm).
    SlipPrinter,
    /// Page printer (A4).
    PagePrinter,
    /// Camera.
    Camera,
    /// Chip card reader (social security card).
    SmartCard,
    /// Uninterruptible power supply.
    Ups,
    /// Board with inputs (door, tamper, presence) and outputs (lights, power relays).
    IoBoard,
    /// Pad or pen screen for signatures.
    SignaturePad,
    /// Loudspeaker volume.
    Speaker,
}

impl DeviceClass {
    /// Every class, in the order a technician reads them.
    pub const ALL: [Self; 10] = [
        Self::IdCard,
        Self::QrScanner,
        Self::SlipPrinter,
        Self::PagePrinter,
        Self::Camera,
        Self::SmartCard,
        Self::Ups,
        Self::IoBoard,
        Self::SignaturePad,
        Self::Speaker,
    ];

    /// The word used in configuration files, item packages and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::IdCard => "id-card",
            Self::QrScanner => "qr-scanner",
            Self::SlipPrinter => "slip-printer",
            Self::PagePrinter => "page-printer",
            Self::Camera => "camera",
            Self::SmartCard => "smart-card",
            Self::Ups => "ups",
            Self::IoBoard => "io-board",
            Self::SignaturePad => "signature-pad",
            Self::Speaker => "speaker",
        }
    }

    /// The class of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// Whether the device can work (XFS4IoT `Common.Status.device`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// Not yet known: the start-up grace period runs.
    #[default]
    Starting,
    /// Ready.
    Online,
    /// Reachable, but refuses to work and does not say why.
    Offline,
    /// Powered off, or present without a sign of life.
    PowerOff,
    /// Not there: no port, no cable, refused connection.
    NoDevice,
    /// Broken; a technician is needed.
    HardwareError,
    /// Somebody on site can mend it (paper, cover, jam).
    UserError,
    /// Working on something.
    DeviceBusy,
}

/// A supply with thresholds (XFS4IoT paper, toner).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Supply {
    /// Enough.
    Full,
    /// Near its end; work goes on.
    Low,
    /// Used up; work stops.
    Out,
    /// Paper only: jammed.
    Jammed,
    /// The device does not tell, or has none.
    #[default]
    Unknown,
}

/// Whether something lies in or on the device (XFS4IoT `media`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Media {
    /// A card on the reader, a slip in the outlet.
    Present,
    /// Nothing.
    NotPresent,
    /// Stuck.
    Jammed,
    /// The device does not tell.
    #[default]
    Unknown,
}

/// How a device is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether it can work.
    pub state: DeviceState,
    /// What lies in or on it.
    pub media: Media,
    /// Paper of a printer.
    pub paper: Supply,
    /// Toner of a printer.
    pub toner: Supply,
    /// What is wrong, the most serious first; empty when nothing is.
    pub faults: Vec<Fault>,
    /// What else it tells, by kebab-case name, in plain words or numbers that do not chatter
    /// (`door` is `open`, `load-percent` is `20`).
    pub readings: BTreeMap<String, String>,
}

impl Status {
    /// A status without anything wrong.
    pub fn online() -> Self {
        Self {
            state: DeviceState::Online,
            ..Self::default()
        }
    }

    /// A status that consists of one fault.
    pub fn failed(state: DeviceState, fault: Fault) -> Self {
        Self {
            state,
            faults: vec![fault],
            ..Self::default()
        }
    }

    /// True when the next command can be expected to succeed.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, DeviceState::Online | DeviceState::DeviceBusy)
    }
}

/// What a device is, as far as it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Maker and model in its own words; empty when it does not tell.
    pub model: String,
    /// Serial number, SAM id or the like; empty when it does not tell.
    pub serial: String,
    /// Firmware version; empty when it does not tell.
    pub firmware: String,
    /// Abilities as short kebab-case words (`cut`, `status-asb`, `pdf`).
    pub abilities: Vec<String>,
}
