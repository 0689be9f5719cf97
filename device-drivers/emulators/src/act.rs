//! Everything a person (or a mishap) can do at the bench, as data: one [`Act`] is one line of the
//! control socket and one step of a journey.
//!
//! The names here are a contract with journey files and with users of the control socket: add,
//! never rename.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::camera::CameraFault;
use crate::card::{CardError, CardSpec};
use crate::id_card::CardFault;
use crate::io_board::{InputChoice, IoFault};
use crate::mischief::Misbehavior;
use crate::page_printer::PageFault;
use crate::qr_scanner::{CodeEncoding, CodeFault};
use crate::smart_card::{ChipFault, ChipVersion, SelectBy};

/// One device of the bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Device {
    /// The resident identity card reader.
    IdCard,
    /// The bar and QR code scanner.
    QrScanner,
    /// The slip (receipt) printer.
    SlipPrinter,
    /// The A4 printer.
    PagePrinter,
    /// The camera that looks at the person.
    Camera,
    /// The camera that looks at documents.
    DocumentCamera,
    /// The uninterruptible power supply.
    Ups,
    /// The board of inputs and outputs.
    IoBoard,
    /// The slot for cards with a chip.
    SmartCard,
}

/// A card by the name of a synthetic person, or spelled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CardChoice {
    /// A name of `cards.toml`: `adult`, `elder`, `helper`, ...
    Name(String),
    /// Every field given.
    Spec(Box<CardSpec>),
}

impl CardChoice {
    /// The fields of the card.
    ///
    /// # Errors
    /// [`CardError::UnknownName`]: no synthetic person has that name.
    pub fn spec(self) -> Result<CardSpec, CardError> {
        match self {
            Self::Name(name) => CardSpec::named(&name),
            Self::Spec(card) => Ok(*card),
        }
    }
}

/// Something that is done to the devices, tagged by `do`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Act {
    /// Puts a card on the reader; one that lies there is taken away first.
    InsertCard {
        /// Which card.
        card: CardChoice,
    },
    /// Lifts the card.
    RemoveCard,
    /// Makes the reader misbehave.
    CardFault {
        /// How.
        fault: CardFault,
    },
    /// Holds a code before the scanner.
    ShowCode {
        /// Content of the code.
        text: String,
        /// How the content is turned into bytes.
        #[serde(default)]
        encoding: CodeEncoding,
    },
    /// Takes the code away from the scanner.
    HideCode,
    /// Takes the paper out of a printer.
    PaperOut {
        /// Which printer.
        device: Device,
    },
    /// Puts new paper in: a full roll or tray.
    PaperIn {
        /// Which printer.
        device: Device,
    },
    /// Leaves just so much paper.
    PaperLeft {
        /// Which printer.
        device: Device,
        /// Millimetres of the roll (slip printer).
        #[serde(default)]
        mm: Option<u32>,
        /// Sheets in the tray (page printer).
        #[serde(default)]
        pages: Option<u32>,
    },
    /// Opens the cover of a printer.
    CoverOpen {
        /// Which printer.
        device: Device,
    },
    /// Closes the cover of a printer.
    CoverClose {
        /// Which printer.
        device: Device,
    },
    /// Jams a printer: the page printer at a page, the slip printer in its cutter.
    Jam {
        /// Which printer.
        device: Device,
        /// Page of the current or next job at which the paper jams, from 1.
        #[serde(default)]
        page: Option<u32>,
    },
    /// Clears a jam.
    ClearJam {
        /// Which printer.
        device: Device,
    },
    /// The slip printer's cutter jams at the next cut.
    CutterJam,
    /// The slip printer's head is too hot.
    HeadHot,
    /// The slip printer's head has cooled.
    HeadCool,
    /// Takes a printer off line (slip printer) or pauses it (page printer).
    OffLine {
        /// Which printer.
        device: Device,
    },
    /// Takes a printer on line again.
    OnLine {
        /// Which printer.
        device: Device,
    },
    /// The page printer's toner runs low (7 %).
    TonerLow,
    /// Sets the page printer's toner level; 0 is empty.
    Toner {
        /// 0 to 100.
        percent: u8,
    },
    /// Makes the page printer misbehave.
    PageFault {
        /// How.
        fault: PageFault,
    },
    /// Cuts the cable of a device.
    CableCut {
        /// Which device.
        device: Device,
    },
    /// Plugs the cable again.
    CablePlug {
        /// Which device.
        device: Device,
    },
    /// From now on the device sends rubbish.
    Garble {
        /// Which device.
        device: Device,
    },
    /// From now on the device is slow.
    Slow {
        /// Which device.
        device: Device,
    },
    /// Ends every injected misbehavior of a device (not paper, covers, jams and cables).
    Mend {
        /// Which device.
        device: Device,
    },
    /// Shows a camera a synthetic scene or a JPEG file.
    ShowScene {
        /// `camera` or `document-camera`.
        camera: Device,
        /// `face`, `empty`, `document` or `document-2`, `document-3`, ...
        #[serde(default)]
        scene: Option<String>,
        /// A JPEG file instead.
        #[serde(default)]
        file: Option<PathBuf>,
    },
    /// Makes a camera misbehave.
    CameraFault {
        /// `camera` or `document-camera`.
        camera: Device,
        /// How.
        fault: CameraFault,
    },
    /// Takes what lies in the output of a printer.
    TakePaper {
        /// Which printer.
        device: Device,
    },
    /// Makes the scanner misbehave as only scanners do.
    CodeFault {
        /// How.
        fault: CodeFault,
    },
    /// From now on the device misbehaves.
    Misbehave {
        /// Which device.
        device: Device,
        /// How.
        how: Misbehavior,
    },
    /// The mains fails: the UPS is on its battery.
    MainsLost,
    /// The mains is back, and the battery full.
    MainsBack,
    /// The battery of the UPS is nearly empty.
    BatteryLow,
    /// The UPS itself fails.
    UpsFailed,
    /// Sets the load of the UPS.
    UpsLoad {
        /// Percent; above 100 is too much.
        percent: u16,
    },
    /// Sets an input of the board: a door, a tamper switch, a presence sensor.
    Input {
        /// Its number from 0, or its name.
        input: InputChoice,
        /// On or off.
        on: bool,
    },
    /// Spoils the next reply of the board.
    IoFault {
        /// How.
        fault: IoFault,
    },
    /// Puts a card with a chip into the slot; one that is in there is drawn first.
    InsertChipCard {
        /// Whose.
        card: CardChoice,
        /// `1`, `2` or `3` (default): numbering of its records.
        #[serde(default)]
        version: ChipVersion,
        /// It is some other kind of card.
        #[serde(default)]
        foreign: bool,
        /// Which P1 it takes when a file is selected: `both` (default), `00` or `02`.
        #[serde(default)]
        select_by: SelectBy,
    },
    /// Draws the card with a chip.
    RemoveChipCard,
    /// Makes the card with a chip misbehave.
    ChipCardFault {
        /// How.
        fault: ChipFault,
    },
    /// Changes nothing; answers with the state of every device.
    State,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expect: &Act) {
        let act: Act = serde_json::from_str(json).unwrap();
        assert_eq!(&act, expect, "{json}");
        let again: Act = serde_json::from_str(&serde_json::to_string(&act).unwrap()).unwrap();
        assert_eq!(&again, expect, "{json} does not survive a round trip");
    }

    #[test]
    fn acts_are_spelled_as_documented() {
        check(r#"{"do":"remove-card"}"#, &Act::RemoveCard);
        check(
            r#"{"do":"insert-card","card":"adult"}"#,
            &Act::InsertCard {
                card: CardChoice::Name("adult".to_owned()),
            },
        );
        check(
            r#"{"do":"paper-left","device":"slip-printer","mm":40}"#,
            &Act::PaperLeft {
                device: Device::SlipPrinter,
                mm: Some(40),
                pages: None,
            },
        );
        check(
            r#"{"do":"card-fault","fault":{"truncated":{"bytes":14}}}"#,
            &Act::CardFault {
                fault: CardFault::Truncated { bytes: 14 },
            },
        );
        check(
            r#"{"do":"page-fault","fault":"absurd-lengths"}"#,
            &Act::PageFault {
                fault: PageFault::AbsurdLengths,
            },
        );
    }

    #[test]
    fn acts_on_further_devices_are_spelled_as_documented() {
        check(
            r#"{"do":"misbehave","device":"ups","how":"endless-garbage"}"#,
            &Act::Misbehave {
                device: Device::Ups,
                how: Misbehavior::EndlessGarbage,
            },
        );
        check(
            r#"{"do":"input","input":"presence","on":true}"#,
            &Act::Input {
                input: InputChoice::Name("presence".to_owned()),
                on: true,
            },
        );
        check(
            r#"{"do":"input","input":2,"on":false}"#,
            &Act::Input {
                input: InputChoice::Number(2),
                on: false,
            },
        );
        check(
            r#"{"do":"insert-chip-card","card":"adult","version":"1"}"#,
            &Act::InsertChipCard {
                card: CardChoice::Name("adult".to_owned()),
                version: ChipVersion::V1,
                foreign: false,
                select_by: SelectBy::Both,
            },
        );
        check(
            r#"{"do":"chip-card-fault","fault":{"pull-after":{"records":2}}}"#,
            &Act::ChipCardFault {
                fault: ChipFault::PullAfter { records: 2 },
            },
        );
        check(
            r#"{"do":"code-fault","fault":"wrong-checksum"}"#,
            &Act::CodeFault {
                fault: CodeFault::WrongChecksum,
            },
        );
    }

    #[test]
    fn a_misspelled_act_or_field_is_refused() {
        for json in [
            r#"{"do":"fly"}"#,
            r#"{"do":"paper-out"}"#,
            r#"{"do":"paper-out","device":"fridge"}"#,
            r#"{"do":"jam","device":"page-printer","pgae":2}"#,
        ] {
            assert!(serde_json::from_str::<Act>(json).is_err(), "{json}");
        }
    }
}
