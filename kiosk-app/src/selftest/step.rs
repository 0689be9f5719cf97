//! One step of a guided test: how long it may take, what the glass says and draws meanwhile, which
//! answers a person has, and what it means when its time is over.

use std::time::Duration;

use kiosk_device::DeviceClass;
use kiosk_ui::Choice;

use super::{Part, figure_name};
use crate::event::Ticket;
use crate::words::{Lang, fill, text};

/// Fields of the touch test in a row, and rows: about two fingers wide on a portrait screen.
pub(super) const COLUMNS: u32 = 6;
/// Rows of the touch test.
pub(super) const ROWS: u32 = 10;
/// Colors in which a dead or a stuck point shows: each of the three alone, all and none.
pub(super) const COLORS: [[u8; 3]; 5] = [
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 255],
    [0, 0, 0],
];
/// How long a color stays by itself: twenty seconds for all five.
pub(super) const COLOR_TIME: Duration = Duration::from_secs(4);
/// How long a reader may take to notice the card that it has read. Chosen: two polls.
pub(super) const LIFT_TIME: Duration = Duration::from_secs(5);
/// Strokes that are asked for; a pen that draws three is no accident.
pub(super) const STROKES: u32 = 3;

/// The paper that is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sheet {
    /// The test slip.
    Slip,
    /// The test page.
    Page,
}

/// How far a tone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sound {
    /// It is being played.
    Playing,
    /// A person is asked.
    Played,
}

/// How far a light is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lamp {
    /// It is being lit.
    Dark,
    /// A person is asked.
    Lit,
    /// It is being put out again: the test is over when that is done.
    PutOut,
}

/// Where a test is.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The device tells how it is.
    Look,
    /// A card is put on the reader.
    Card {
        found_at: Option<Duration>,
        again: &'static str,
    },
    /// It is lifted again; the reader notices a moment later that it lies there, and that it does not.
    Lift { has_lain: bool },
    /// The code on the glass is held before the scanner.
    Scan { is_other: bool },
    /// Paper comes.
    Print { sheet: Sheet },
    /// Its code is held before the scanner or the camera.
    ReadBack {
        scan: Option<Ticket>,
        stream: Option<Ticket>,
        is_other: bool,
    },
    /// Somebody looks at the paper.
    AskPrint,
    /// Pictures come.
    Pictures {
        first_at: Option<Duration>,
        count: u32,
    },
    /// A face is found in them.
    Face {
        is_judging: bool,
        advice: &'static str,
    },
    /// A code is found in them.
    Document,
    /// The UPS tries its battery.
    Battery { has_run: bool, is_followed: bool },
    /// A door is opened and closed, or somebody comes and goes.
    Contact {
        name: String,
        first: String,
        has_changed: bool,
    },
    /// A light is lit, and somebody says so.
    Light { output: String, lamp: Lamp },
    /// Somebody draws.
    Strokes { count: u32 },
    /// A tone is played, and somebody says so.
    Tone { volume: u8, sound: Sound },
    /// The whole glass in one color after another.
    Colors { index: usize, since: Duration },
    /// Somebody says whether there were spots.
    AskScreen,
    /// Every field of the glass is touched.
    Grid { touched: Vec<bool> },
    /// The machine looks at itself.
    Machine(Part),
    /// What the platform says of the systems behind it.
    Upstreams,
    /// Nothing more.
    Over,
}

impl Step {
    /// True where it is nothing without a person.
    pub(super) fn needs_person(&self) -> bool {
        match self {
            Self::Card { .. }
            | Self::Lift { .. }
            | Self::Scan { .. }
            | Self::ReadBack { .. }
            | Self::AskPrint
            | Self::Face { .. }
            | Self::Document
            | Self::Contact { .. }
            | Self::Light { .. }
            | Self::Strokes { .. }
            | Self::Tone { .. }
            | Self::Colors { .. }
            | Self::AskScreen
            | Self::Grid { .. } => true,
            Self::Look
            | Self::Print { .. }
            | Self::Pictures { .. }
            | Self::Battery { .. }
            | Self::Machine(_)
            | Self::Upstreams
            | Self::Over => false,
        }
    }

    /// How long it may take. Chosen: a machine's step what the machine's own limits allow, a
    /// person's step as long as it takes to walk to the cabinet and back.
    pub(super) fn limit(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Look => 3,
            Self::Card { .. }
            | Self::Contact { .. }
            | Self::Document
            | Self::Strokes { .. }
            | Self::Print { sheet: Sheet::Slip } => 60,
            Self::Lift { .. } | Self::AskScreen | Self::Light { .. } | Self::Tone { .. } => 30,
            Self::Scan { .. } | Self::ReadBack { .. } | Self::AskPrint => 90,
            Self::Print { sheet: Sheet::Page } => 150,
            Self::Pictures { .. } => 12,
            Self::Face { .. } | Self::Battery { .. } => 45,
            Self::Colors { .. } | Self::Grid { .. } | Self::Machine(_) | Self::Upstreams => 110,
            Self::Over => u64::from(u32::MAX),
        })
    }

    /// What it means when its time is over, and whether that is a failure; else nobody answered.
    pub(super) fn late(&self, class: Option<DeviceClass>) -> (&'static str, bool) {
        let code = match self {
            Self::Look
            | Self::Battery { .. }
            | Self::Tone {
                sound: Sound::Playing,
                ..
            }
            | Self::Light {
                lamp: Lamp::Dark | Lamp::PutOut,
                ..
            } => "device.silent",
            Self::Card { again: "", .. } => "test.no-card",
            Self::Card { again, .. } => again,
            Self::Lift { .. } if class == Some(DeviceClass::SmartCard) => "smart-card.card-left",
            Self::Lift { .. } => "id-card.card-left",
            Self::Scan { .. } | Self::Document => "test.no-code",
            Self::Print { .. } => "printer.time-out",
            Self::ReadBack { .. } => "test.print-unreadable",
            Self::Pictures { .. } => "camera.no-picture",
            Self::Face { advice: "", .. } => "camera.face-missing",
            Self::Face { advice, .. } => advice,
            Self::Contact { .. } => "test.contact-still",
            Self::Strokes { .. } => "test.no-stroke",
            Self::Grid { .. } => "test.fields-untouched",
            Self::Machine(_) | Self::Upstreams => "test.machine-silent",
            Self::AskPrint
            | Self::AskScreen
            | Self::Colors { .. }
            | Self::Tone { .. }
            | Self::Light { .. } => return ("test.no-answer", false),
            Self::Over => "test.time-out",
        };
        (code, true)
    }

    /// What somebody shall do or look at.
    pub(super) fn words(&self, lang: Lang) -> String {
        let key = match self {
            Self::Look => "test.look",
            Self::Card { again, .. } if !again.is_empty() => "test.card-again",
            Self::Card { found_at: None, .. } => "test.card",
            Self::Card { .. } => "test.card-stays",
            Self::Lift { .. } => "test.lift",
            Self::Scan { is_other: true } | Self::ReadBack { is_other: true, .. } => {
                "test.other-code"
            }
            Self::Scan { .. } => "test.scan",
            Self::Print {
                sheet: Sheet::Slip, ..
            } => "test.print-slip",
            Self::Print { .. } => "test.print-page",
            Self::ReadBack {
                scan: Some(_),
                stream: Some(_),
                ..
            } => "test.read-back",
            Self::ReadBack { stream: None, .. } => "test.read-back-scanner",
            Self::ReadBack { .. } => "test.read-back-camera",
            Self::AskPrint => "test.ask-print",
            Self::Pictures { .. } => "test.pictures",
            Self::Face { advice, .. } if !advice.is_empty() => {
                return crate::problem::get(advice).advice(lang).to_owned();
            }
            Self::Face { .. } => "test.face",
            Self::Document => "test.document",
            Self::Battery { .. } => "test.battery",
            Self::Contact {
                name,
                first,
                has_changed,
            } => {
                let key = match (is_presence(first), first == "present", *has_changed) {
                    (true, true, false) => "test.presence-leave",
                    (true, true, true) => "test.presence-back",
                    (true, false, false) => "test.presence-come",
                    (true, false, true) => "test.presence-gone",
                    (false, _, false) => "test.contact",
                    (false, _, true) => "test.contact-back",
                };
                return fill(lang, key, &[("name", &figure_name(lang, name))]);
            }
            Self::Light { output, .. } => {
                return fill(lang, "test.light", &[("name", &figure_name(lang, output))]);
            }
            Self::Strokes { count } => {
                let left = STROKES.saturating_sub(*count).to_string();
                return fill(lang, "test.strokes", &[("count", &left)]);
            }
            Self::Tone { volume, sound } => {
                let key = match sound {
                    Sound::Playing => "test.tone",
                    Sound::Played => "test.ask-tone",
                };
                return fill(lang, key, &[("volume", &volume.to_string())]);
            }
            Self::Colors { .. } => "test.colors",
            Self::AskScreen => "test.ask-screen",
            Self::Grid { .. } => "test.grid",
            Self::Machine(_) | Self::Upstreams => "test.machine",
            Self::Over => "test.over",
        };
        text(lang, key).to_owned()
    }

    /// Name of the drawn picture; empty for none. Never one of a fault: while a test runs nothing is
    /// known to be wrong.
    pub(super) fn drawing(&self) -> &'static str {
        match self {
            Self::Card { .. } => "card-on-reader",
            Self::Lift { .. } => "reader-free",
            Self::Scan { .. } | Self::ReadBack { .. } => "code-to-scanner",
            Self::Print { .. } | Self::AskPrint => "slip",
            Self::Document => "document",
            Self::Face { .. } => "person",
            Self::Battery { .. } => "ups",
            Self::Contact { first, .. } if is_presence(first) => "person",
            Self::Contact { .. } => "door",
            Self::Light { .. } => "lamp",
            Self::Strokes { .. } => "pad",
            Self::Tone { .. } => "volume",
            Self::Machine(Part::Network) | Self::Upstreams => "network",
            Self::Machine(_)
            | Self::Look
            | Self::Pictures { .. }
            | Self::Colors { .. }
            | Self::AskScreen
            | Self::Grid { .. }
            | Self::Over => "",
        }
    }

    /// The answers that a person can give; none while the machine works or the glass is covered.
    pub(super) fn answers(&self, lang: Lang) -> Vec<Choice> {
        let ids: &[&str] = match self {
            Self::AskPrint
            | Self::AskScreen
            | Self::Light {
                lamp: Lamp::Lit, ..
            }
            | Self::Tone {
                sound: Sound::Played,
                ..
            } => &["yes", "no", "skip"],
            Self::ReadBack { .. } => &["no", "skip"],
            Self::Card { .. }
            | Self::Scan { .. }
            | Self::Face { .. }
            | Self::Document
            | Self::Contact { .. }
            | Self::Strokes { .. } => &["skip"],
            Self::Look
            | Self::Lift { .. }
            | Self::Print { .. }
            | Self::Pictures { .. }
            | Self::Battery { .. }
            | Self::Light { .. }
            | Self::Tone { .. }
            | Self::Colors { .. }
            | Self::Grid { .. }
            | Self::Machine(_)
            | Self::Upstreams
            | Self::Over => &[],
        };
        ids.iter()
            .map(|id| Choice {
                id: (*id).to_owned(),
                label: self.label(lang, id),
                // What is waited for is done before the device, not on the glass.
                is_quiet: *id == "skip" || matches!(self, Self::ReadBack { .. }),
                ..Choice::default()
            })
            .collect()
    }

    fn label(&self, lang: Lang, id: &str) -> String {
        let key = match (id, self) {
            ("skip", _) => "test.skip",
            ("no", Self::ReadBack { .. }) => "test.unreadable",
            ("yes", Self::AskScreen) => "test.no-spots",
            ("no", Self::AskScreen) => "test.spots",
            ("yes", _) => "test.yes",
            (_, _) => "test.no",
        };
        text(lang, key).to_owned()
    }
}

/// The words of a presence sensor, unlike those of a door.
pub(super) fn is_presence(word: &str) -> bool {
    matches!(word, "present" | "not-present")
}

/// A contact that somebody can move: a door, a presence sensor.
pub(super) fn is_movable(word: &str) -> bool {
    is_presence(word) || matches!(word, "open" | "closed")
}
