//! One item package, format version 1: what is asked, of whom, in which order, and what happens
//! without a line. Plain data; the visit interprets it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiosk_device::DeviceClass;
use serde::Deserialize;

use crate::words::Lang;

/// A service as the terminal offers it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Stable id, the name of the directory.
    pub id: String,
    /// Version of the package.
    pub version: u32,
    /// Department that answers.
    pub department: String,
    /// The system behind the platform that takes the cases, as the platform names it; empty where the
    /// platform answers itself.
    pub upstream: String,
    /// Groups of the home page that list it.
    pub groups: Vec<String>,
    /// Symbol.
    pub icon: String,
    /// Search words: initials and numbers, lower case.
    pub search: Vec<String>,
    /// What happens without a line.
    pub offline: Offline,
    /// Who approved taking evidence without a line; only for `capture-evidence`.
    pub approved_by: String,
    /// Who may act.
    pub who: Vec<Who>,
    /// How people may be identified.
    pub identification: Vec<Identification>,
    /// Devices without which the item cannot start.
    pub required: Vec<DeviceClass>,
    /// Devices that it uses when they work.
    pub optional: Vec<DeviceClass>,
    /// Minutes that a visit takes.
    pub minutes: u32,
    /// Working days within which the department answers; 0 = at once.
    pub promised_days: u32,
    /// Days that the platform's receipt is kept here.
    pub retention_days: u32,
    /// Youngest age, in full years.
    pub age_min: Option<u32>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Texts by language and dotted key.
    pub words: BTreeMap<Lang, BTreeMap<String, String>>,
    /// The directory of the package.
    pub directory: PathBuf,
    /// The directory of the files that several packages share.
    pub shared: PathBuf,
}

/// What happens to an item without a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Offline {
    /// It cannot start, and says so before anything is asked.
    OnlineOnly,
    /// The application is accepted and sent later.
    AcceptAndQueue,
    /// Evidence is taken and judged later.
    CaptureEvidence,
    /// It needs no line at all.
    Local,
}

impl Offline {
    /// The word in packages and texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnlineOnly => "online-only",
            Self::AcceptAndQueue => "accept-and-queue",
            Self::CaptureEvidence => "capture-evidence",
            Self::Local => "local",
        }
    }
}

/// Who may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The person concerned.
    #[serde(rename = "self")]
    Oneself,
    /// Somebody for the person concerned, who is also identified and agrees.
    Other,
}

/// How a person may be identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identification {
    /// The chip of an identity card.
    IdCard,
    /// The chip of a social security card.
    SocialCard,
    /// A typed identity number.
    TypedNumber,
}

/// One step of an item.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Who are you (and for whom do you act)?
    Identify {},
    /// The principal agrees to be represented; skipped when nobody acts for another.
    Consent {},
    /// Compare the face, or take the way without a face.
    Face {
        /// Offer a witness instead of a face.
        #[serde(default)]
        witness: bool,
    },
    /// Questions, one per page.
    Form {
        /// The questions.
        fields: Vec<Field>,
    },
    /// Photograph documents.
    Capture {
        /// Ids of the documents, in order.
        documents: Vec<String>,
    },
    /// Everything once more; the last step that can be left.
    Review {},
    /// Durable here.
    Submit {
        /// Seconds to wait for the platform's receipt before telling that it is pending; 0 to 30.
        #[serde(default = "default_wait")]
        wait_s: u32,
    },
    /// Fetch a sealed document from the platform.
    Fetch {},
    /// Show the document and print it.
    Print {},
    /// Print the slip.
    Slip {
        /// Template below `print/`, or a shared one.
        template: String,
    },
    /// Ask how it was.
    Rating {},
}

const fn default_wait() -> u32 {
    6
}

impl Step {
    /// The word after `do =`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Identify {} => "identify",
            Self::Consent {} => "consent",
            Self::Face { .. } => "face",
            Self::Form { .. } => "form",
            Self::Capture { .. } => "capture",
            Self::Review {} => "review",
            Self::Submit { .. } => "submit",
            Self::Fetch {} => "fetch",
            Self::Print {} => "print",
            Self::Slip { .. } => "slip",
            Self::Rating {} => "rating",
        }
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Id, in the payload.
    pub id: String,
    /// What kind of answer.
    pub kind: FieldKind,
    /// Ids of the answers of a choice.
    #[serde(default)]
    pub options: Vec<String>,
    /// Ask only when somebody acts for another.
    #[serde(default)]
    pub only_for_other: bool,
}

/// Kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldKind {
    /// One of several.
    Choice,
    /// A mainland mobile or fixed number, 7 to 12 digits.
    Phone,
    /// A bank card number, 16 to 19 digits with a check digit.
    BankCard,
    /// A year, four digits.
    Year,
}

impl FieldKind {
    /// Most characters that can be typed.
    pub fn length_max(self) -> usize {
        match self {
            Self::Choice => 0,
            Self::Phone => 12,
            Self::BankCard => 19,
            Self::Year => 4,
        }
    }

    /// True when `text` is a complete answer.
    pub fn is_valid(self, text: &str) -> bool {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match self {
            Self::Choice => !text.is_empty(),
            Self::Phone => is_digits && is_phone(text),
            Self::BankCard => is_digits && (16..=19).contains(&text.len()) && luhn(text),
            Self::Year => {
                is_digits && text.len() == 4 && (text.starts_with("19") || text.starts_with("20"))
            }
        }
    }
}

fn is_phone(digits: &str) -> bool {
    if digits.starts_with('1') {
        return digits.len() == 11 && digits.as_bytes()[1] >= b'3';
    }
    (7..=12).contains(&digits.len())
}

/// The check of ISO/IEC 7812-1 annex B. Catches each single wrong digit.
fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0');
            match (index % 2, digit * 2) {
                (0, _) => digit,
                (_, double) if double > 9 => double - 9,
                (_, double) => double,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

impl Item {
    /// The text under a dotted key in the visitor's language; the key itself where a package lacks
    /// it, which validation excludes for every key that the terminal uses.
    pub fn text<'a>(&'a self, lang: Lang, key: &'a str) -> &'a str {
        self.words
            .get(&lang)
            .and_then(|words| words.get(key))
            .map_or(key, String::as_str)
    }

    /// Texts `key.0`, `key.1` … in order.
    pub fn texts(&self, lang: Lang, key: &str) -> Vec<String> {
        (0..)
            .map_while(|index| {
                self.words
                    .get(&lang)?
                    .get(&format!("{key}.{index}"))
                    .cloned()
            })
            .collect()
    }

    /// What people call the system behind the platform; only for an item that names one.
    pub fn upstream_name(&self, lang: Lang) -> &str {
        self.text(lang, "upstream")
    }

    /// True when a step of that name belongs to the item.
    pub fn has_step(&self, name: &str) -> bool {
        self.steps.iter().any(|step| step.name() == name)
    }
}

/// Where a print template lies: in the package, else among the shared ones.
pub(crate) fn template_path(directory: &Path, shared: &Path, template: &str) -> Option<PathBuf> {
    let own = directory.join("print").join(format!("{template}.typ"));
    let shared = shared.join(format!("{template}.typ"));
    [own, shared].into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bank_card_with_one_wrong_digit_is_refused() {
        assert!(FieldKind::BankCard.is_valid("6222020000000000000"));
        assert!(!FieldKind::BankCard.is_valid("6222020000000000010"));
        assert!(!FieldKind::BankCard.is_valid("62220200"));
    }

    #[test]
    fn phones_are_mobile_or_fixed() {
        for (text, expected) in [
            ("13800000000", true),
            ("1380000000", false),
            ("12800000000", false),
            ("06601234567", true),
            ("123456", false),
        ] {
            assert_eq!(FieldKind::Phone.is_valid(text), expected, "{text}");
        }
    }
}
