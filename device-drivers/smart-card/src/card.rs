//! The social security card: which files and records it has, and what they say
//! (`device-protocols.md` §3.1).
//!
//! A record is asked for by its tag, and by its number where a card does not know tags; the number
//! depends on the card's version, and the tag in the record decides whether it is the right one. A
//! card is known by its environment and never by its answer to reset. Only what can be read without
//! a PIN is read. Unknown codes degrade, a card without name or number is refused.

use std::fmt;

use encoding_rs::GBK;
use kiosk_device::{Action, Fault, Sensitive};
use zeroize::{Zeroize, Zeroizing};

use crate::apdu::{self, ApduError, Channel, ChannelError, Response};

/// `sx1.sh.社会保障` in GBK.
const ENVIRONMENT: [u8; 15] = [
    0x73, 0x78, 0x31, 0x2E, 0x73, 0x68, 0x2E, 0xC9, 0xE7, 0xBB, 0xE1, 0xB1, 0xA3, 0xD5, 0xCF,
];
/// What the issuer says.
const ISSUER_FILE: u16 = 0xEF05;
/// What is said of the holder.
const HOLDER_FILE: u16 = 0xEF06;
/// P1 of selecting a file: cards know the first, or the second (§3.1).
const SELECT_HOW: [u8; 2] = [0x02, 0x00];
/// Longest digit text that is believed. Chosen: three times the longest real one.
const DIGITS_MAX: usize = 64;

/// One record: its tag, the length of its value, its number on cards of version 2 and 3, and on
/// cards of version 1 (zero: there is none).
#[derive(Clone, Copy, Debug)]
struct Item {
    tag: u8,
    length: u8,
    number: u8,
    number_v1: u8,
}

const fn item(tag: u8, length: u8, number: u8, number_v1: u8) -> Item {
    Item {
        tag,
        length,
        number,
        number_v1,
    }
}

const CARD_ID: Item = item(0x01, 16, 1, 1);
const VERSION: Item = item(0x03, 4, 3, 3);
const ISSUED: Item = item(0x05, 4, 5, 5);
const EXPIRES: Item = item(0x06, 4, 6, 6);
const CARD_NUMBER: Item = item(0x07, 9, 7, 7);
const NUMBER: Item = item(0x08, 18, 1, 1);
const NAME: Item = item(0x09, 30, 2, 2);
const NAME_REST: Item = item(0x4E, 20, 3, 0);
const SEX: Item = item(0x0A, 1, 4, 3);
const NATION: Item = item(0x0B, 1, 5, 4);
const BIRTH: Item = item(0x0D, 4, 7, 6);

/// GB/T 2261.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    /// 男.
    Male,
    /// 女.
    Female,
    /// Not known or not stated.
    Unknown,
}

/// A day as cards store it: eight digits, two to a byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Zeroize)]
pub struct Date {
    /// Year, 1800 to 2299.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

impl Date {
    /// Reads four bytes of two digits each; `None` for anything but a day that exists.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[century, year, month, day] = bytes else {
            return None;
        };
        let date = Self {
            year: u16::from(two_digits(century)?) * 100 + u16::from(two_digits(year)?),
            month: two_digits(month)?,
            day: two_digits(day)?,
        };
        let is_day = (1800..2300).contains(&date.year)
            && (1..=12).contains(&date.month)
            && (1..=days_of_month(date.year, date.month)).contains(&date.day);
        is_day.then_some(date)
    }
}

fn two_digits(byte: u8) -> Option<u8> {
    let (high, low) = (byte >> 4, byte & 0x0F);
    (high < 10 && low < 10).then_some(high * 10 + low)
}

fn days_of_month(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A date on a card is mostly a birthday.
        f.write_str("<redacted>")
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// What a card says. An item that the card does not have is empty or `None`.
#[derive(Clone, PartialEq, Eq)]
pub struct SocialCard {
    /// Version of the specification, for example `3.00`.
    pub version: String,
    /// Identification code of the card (卡识别码), 32 hexadecimal digits.
    pub card_id: Sensitive<String>,
    /// Region of issue: the six digits that begin the identification code.
    pub region: String,
    /// Number of the card (卡号).
    pub card_number: Sensitive<String>,
    /// Day of issue.
    pub issued: Option<Date>,
    /// Last day of validity.
    pub expires: Option<Date>,
    /// Social security number (社会保障号码): for residents, the number of the identity card.
    pub number: Sensitive<String>,
    /// Name.
    pub name: Sensitive<String>,
    /// Sex.
    pub sex: Sex,
    /// Two-digit nation code (GB/T 3304).
    pub nation_code: Option<u8>,
    /// Birthday.
    pub birth: Option<Sensitive<Date>>,
}

impl fmt::Debug for SocialCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocialCard")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Why a card was not read. Says what, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It has no environment of a social security card.
    #[error("the card is no social security card: {status_word:04x}")]
    Foreign {
        /// What it answers.
        status_word: u16,
    },
    /// It gives what is needed only after a PIN or a key.
    #[error("the card demands a PIN or a key")]
    Protected,
    /// The card went away, or the exchange failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A response is none, or never comes to an end.
    #[error("the card does not keep to the protocol")]
    Protocol,
    /// A file or a record that every card has is missing or empty.
    #[error("`{item}` cannot be read")]
    Item {
        /// What is missing.
        item: &'static str,
    },
}

impl From<ApduError> for ReadError {
    fn from(error: ApduError) -> Self {
        match error {
            ApduError::Channel(error) => Self::Channel(error),
            ApduError::Length { .. } | ApduError::Endless => Self::Protocol,
        }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        let code = match &error {
            ReadError::Channel(ChannelError::ReaderGone(fault)) => return fault.clone(),
            ReadError::Channel(ChannelError::Removed) => "smart-card.card-removed",
            ReadError::Channel(ChannelError::Mute) => "smart-card.card-mute",
            ReadError::Foreign { .. } => "smart-card.not-social-security",
            ReadError::Protected => "smart-card.protected",
            ReadError::Channel(ChannelError::Broken) | ReadError::Protocol => {
                "smart-card.read-failed"
            }
            ReadError::Item { .. } => "smart-card.unreadable-content",
        };
        Self::new(code, Action::Clear, error.to_string())
    }
}

/// Reads a card from end to end.
///
/// # Errors
/// [`ReadError`].
pub fn read(channel: &mut dyn Channel) -> Result<SocialCard, ReadError> {
    let mut session = Session {
        channel,
        tags: Tags::Untried,
        is_v1: false,
    };
    session.select_environment()?;
    session.select_file(ISSUER_FILE, "EF05")?;
    let version = session.value(VERSION)?.map(|value| ascii(&value));
    let version = version.unwrap_or_default();
    session.is_v1 = version.starts_with('1');
    let card_id = session.value(CARD_ID)?.unwrap_or_default();
    let issued = session.value(ISSUED)?;
    let expires = session.value(EXPIRES)?;
    let card_number = session.value(CARD_NUMBER)?.unwrap_or_default();
    session.select_file(HOLDER_FILE, "EF06")?;
    let number = session.needed(NUMBER, "number")?;
    let name = session.needed(NAME, "name")?;
    let name_rest = session.value(NAME_REST)?.unwrap_or_default();
    let sex = session.value(SEX)?.unwrap_or_default();
    let nation = session.value(NATION)?.unwrap_or_default();
    let birth = session.value(BIRTH)?;
    let card = SocialCard {
        version,
        region: card_id.get(..3).map(digits).unwrap_or_default(),
        card_id: Sensitive::new(digits(&card_id)),
        card_number: Sensitive::new(ascii(&card_number)),
        issued: issued.and_then(|value| Date::parse(&value)),
        expires: expires.and_then(|value| Date::parse(&value)),
        number: Sensitive::new(ascii(&number)),
        name: parse_name(&name, &name_rest),
        sex: match sex.as_slice() {
            b"1" => Sex::Male,
            b"2" => Sex::Female,
            _ => Sex::Unknown,
        },
        nation_code: nation.first().copied().and_then(two_digits),
        birth: birth.and_then(|value| Date::parse(&value).map(Sensitive::new)),
    };
    for (text, item) in [(&card.number, "number"), (&card.name, "name")] {
        if text.expose().is_empty() {
            return Err(ReadError::Item { item });
        }
    }
    Ok(card)
}

/// The conversation with one card.
struct Session<'a> {
    channel: &'a mut dyn Channel,
    tags: Tags,
    is_v1: bool,
}

/// Whether the records of the current file can be read by tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tags {
    Untried,
    Known,
    Refused,
}

type Value = Zeroizing<Vec<u8>>;

impl Session<'_> {
    fn send(&mut self, command: &[u8]) -> Result<Response, ReadError> {
        Ok(apdu::exchange(self.channel, command)?)
    }

    fn select_environment(&mut self) -> Result<(), ReadError> {
        let response = self.send(&apdu::select_name(&ENVIRONMENT))?;
        if response.is_success() {
            return Ok(());
        }
        Err(ReadError::Foreign {
            status_word: response.status_word,
        })
    }

    fn select_file(&mut self, id: u16, item: &'static str) -> Result<(), ReadError> {
        let mut is_protected = false;
        for how in SELECT_HOW {
            let response = self.send(&apdu::select_file(how, id))?;
            if response.is_success() {
                // In EF05 a card that takes tags for numbers answers right by chance.
                if self.tags == Tags::Known {
                    self.tags = Tags::Untried;
                }
                return Ok(());
            }
            is_protected |= response.status_word == apdu::NOT_SATISFIED;
        }
        Err(if is_protected {
            ReadError::Protected
        } else {
            ReadError::Item { item }
        })
    }

    /// The value of a record without which the card is of no use.
    fn needed(&mut self, item: Item, name: &'static str) -> Result<Value, ReadError> {
        match self.look_up(item)? {
            Ok(value) => Ok(value),
            Err(apdu::NOT_SATISFIED) => Err(ReadError::Protected),
            Err(_) => Err(ReadError::Item { item: name }),
        }
    }

    /// The value of a record; `None` when the card does not have it or does not give it.
    fn value(&mut self, item: Item) -> Result<Option<Value>, ReadError> {
        Ok(self.look_up(item)?.ok())
    }

    /// The value of a record, or what the card answered instead, in three tries at most.
    fn look_up(&mut self, item: Item) -> Result<Result<Value, u16>, ReadError> {
        let length = item.length + 2;
        let mut refusal = apdu::NO_FILE;
        if self.tags != Tags::Refused {
            let response = self.send(&apdu::read_tag(item.tag, length))?;
            if let Some(value) = parse_record(&response.data, item.tag, item.length)
                && response.is_success()
            {
                self.tags = Tags::Known;
                return Ok(Ok(value));
            }
            refusal = response.status_word;
            if self.tags == Tags::Known && refusal == apdu::NO_RECORD {
                return Ok(Err(refusal));
            }
            // Something else was read, or nothing: numbers from now on.
            self.tags = Tags::Refused;
        }
        let mut numbers = [item.number, item.number_v1];
        if self.is_v1 {
            numbers.reverse();
        }
        let [first, second] = numbers;
        let numbers = if first == second {
            [first, 0]
        } else {
            [first, second]
        };
        for number in numbers.into_iter().filter(|number| *number != 0) {
            let response = self.send(&apdu::read_record(number, length))?;
            match parse_record(&response.data, item.tag, item.length) {
                Some(value) if response.is_success() => return Ok(Ok(value)),
                Some(_) | None => refusal = response.status_word,
            }
        }
        Ok(Err(refusal))
    }
}

/// The value of a record: tag, length, value. `None` when the tag is another one or the record is
/// shorter than it says; a value longer than `length` is cut.
pub fn parse_record(record: &[u8], tag: u8, length: u8) -> Option<Zeroizing<Vec<u8>>> {
    match record {
        [found, count, rest @ ..] if *found == tag => {
            let value = rest.get(..usize::from(*count))?;
            let value = value.get(..usize::from(length)).unwrap_or(value);
            Some(Zeroizing::new(value.to_vec()))
        }
        _ => None,
    }
}

/// A name and its continuation: GBK, padded with zeros. They are joined before they are decoded,
/// because a character may be cut in two.
pub fn parse_name(name: &[u8], rest: &[u8]) -> Sensitive<String> {
    let bytes = Zeroizing::new([unpadded(name), unpadded(rest)].concat());
    let (text, _) = GBK.decode_without_bom_handling(&bytes);
    // Owned in every case but plain ASCII, and then it is `bytes` itself.
    let text = Zeroizing::new(text.into_owned());
    let mut clean = String::with_capacity(text.len());
    clean.extend(
        text.trim()
            .chars()
            .filter(|character| !character.is_control()),
    );
    Sensitive::new(clean)
}

fn unpadded(bytes: &[u8]) -> &[u8] {
    let is_padding = |byte: &u8| matches!(byte, 0x00 | 0xFF);
    let end = bytes.iter().rposition(|byte| !is_padding(byte));
    end.and_then(|end| bytes.get(..=end)).unwrap_or_default()
}

/// The printable characters of an ASCII item.
fn ascii(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    text.extend(
        bytes
            .iter()
            .filter(|byte| byte.is_ascii_graphic())
            .map(|byte| char::from(*byte)),
    );
    text
}

/// Bytes as hexadecimal digits; two decimal digits to a byte where the item is BCD.
fn digits(bytes: &[u8]) -> String {
    let bytes = bytes.get(..DIGITS_MAX / 2).unwrap_or(bytes);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 0x0F] {
            text.extend(
                char::from_digit(u32::from(digit), 16).map(|digit| digit.to_ascii_uppercase()),
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apdu::tests::{Script, bytes};

    type Step = (&'static str, &'static str);

    const SELECT: [Step; 2] = [
        (
            "00 A4 04 00 0F 73 78 31 2E 73 68 2E C9 E7 BB E1 B1 A3 D5 CF",
            "61 1E",
        ),
        ("00 C0 00 00 1E", "6F 00 90 00"),
    ];
    /// The issuer's file by tag.
    const ISSUER: [Step; 6] = [
        ("00 A4 02 00 02 EF 05", "90 00"),
        ("00 B2 03 00 06", "03 04 33 2E 30 30 90 00"),
        (
            "00 B2 01 00 12",
            "01 10 44 01 00 00 00 00 00 00 00 00 00 00 00 00 00 01 90 00",
        ),
        ("00 B2 05 00 06", "05 04 20 26 01 01 90 00"),
        ("00 B2 06 00 06", "06 04 20 36 01 01 90 00"),
        ("00 B2 07 00 0B", "07 09 41 30 30 30 30 30 30 30 31 90 00"),
    ];
    const NUMBER_440100: &str = "08 12 34 34 30 31 30 30 31 39 39 30 30 31 30 31 31 32 33 37 90 00";
    const NAME_JIA: &str = "09 1E B2 E2 CA D4 BC D7 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
                            00 00 00 00 00 00 00 00 00 90 00";
    const NO_NAME_REST: &str =
        "4E 14 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 90 00";
    /// The holder's file by tag.
    const HOLDER: [Step; 7] = [
        ("00 A4 02 00 02 EF 06", "90 00"),
        ("00 B2 08 00 14", NUMBER_440100),
        ("00 B2 09 00 20", NAME_JIA),
        ("00 B2 4E 00 16", NO_NAME_REST),
        ("00 B2 0A 00 03", "0A 01 31 90 00"),
        ("00 B2 0B 00 03", "0B 01 01 90 00"),
        ("00 B2 0D 00 06", "0D 04 19 90 01 01 90 00"),
    ];

    fn read_steps(steps: &[Step]) -> Result<SocialCard, ReadError> {
        read(&mut Script::new(steps))
    }

    fn check_jia(card: &SocialCard) {
        assert_eq!(card.name.expose(), "测试甲");
        assert_eq!(card.number.expose(), "440100199001011237");
        assert_eq!(card.sex, Sex::Male);
        assert_eq!(card.nation_code, Some(1));
        let birth = card.birth.as_ref().map(|birth| birth.expose().to_string());
        assert_eq!(birth.as_deref(), Some("1990-01-01"));
    }

    #[test]
    fn a_card_that_knows_tags_is_read_by_them() {
        let card = read_steps(&[&SELECT[..], &ISSUER, &HOLDER].concat()).unwrap();
        check_jia(&card);
        assert_eq!(
            (card.version.as_str(), card.region.as_str()),
            ("3.00", "440100")
        );
        assert_eq!(card.card_number.expose(), "A00000001");
        assert_eq!(card.card_id.expose(), "44010000000000000000000000000001");
        let dates = [card.issued, card.expires].map(|date| date.unwrap().to_string());
        assert_eq!(dates, ["2026-01-01", "2036-01-01"]);
    }

    /// The issuer's file of a card that knows numbers only.
    fn issuer_by_number(version: &'static str) -> Vec<Step> {
        vec![
            ("00 A4 02 00 02 EF 05", "90 00"),
            ("00 B2 03 00 06", "6A 83"),
            ("00 B2 03 04 06", version),
            ("00 B2 01 04 12", "6A 83"),
            ("00 B2 05 04 06", "6A 83"),
            ("00 B2 06 04 06", "6A 83"),
            ("00 B2 07 04 0B", "6A 83"),
            ("00 A4 02 00 02 EF 06", "90 00"),
        ]
    }

    #[test]
    fn a_card_of_version_1_is_read_by_its_own_numbers() {
        let holder = [
            ("00 B2 01 04 14", NUMBER_440100),
            ("00 B2 02 04 20", NAME_JIA),
            ("00 B2 03 04 16", "0A 01 31 90 00"),
            ("00 B2 03 04 03", "0A 01 31 90 00"),
            ("00 B2 04 04 03", "0B 01 01 90 00"),
            ("00 B2 06 04 06", "0D 04 19 90 01 01 90 00"),
        ];
        let issuer = issuer_by_number("03 04 31 2E 30 30 90 00");
        let card = read_steps(&[&SELECT[..], &issuer, &holder].concat()).unwrap();
        check_jia(&card);
        assert_eq!(card.version, "1.00");
        assert_eq!((card.region.as_str(), card.issued), ("", None));
    }

    #[test]
    fn a_card_of_version_2_or_3_is_read_by_its_own_numbers() {
        let holder = [
            ("00 B2 01 04 14", NUMBER_440100),
            ("00 B2 02 04 20", NAME_JIA),
            ("00 B2 03 04 16", NO_NAME_REST),
            ("00 B2 04 04 03", "0A 01 31 90 00"),
            ("00 B2 05 04 03", "0B 01 01 90 00"),
            ("00 B2 07 04 06", "0D 04 19 90 01 01 90 00"),
        ];
        let issuer = issuer_by_number("03 04 32 2E 30 30 90 00");
        let card = read_steps(&[&SELECT[..], &issuer, &holder].concat()).unwrap();
        check_jia(&card);
    }

    #[test]
    fn the_tag_in_the_record_decides_when_a_version_lies() {
        // Says version 3 and numbers its records as version 1 does.
        let holder = [
            ("00 B2 01 04 14", NUMBER_440100),
            ("00 B2 02 04 20", NAME_JIA),
            ("00 B2 03 04 16", "0A 01 31 90 00"),
            ("00 B2 04 04 03", "0B 01 01 90 00"),
            ("00 B2 03 04 03", "0A 01 31 90 00"),
            ("00 B2 05 04 03", "6C 05"),
            ("00 B2 05 04 05", "0C 03 44 01 00 90 00"),
            ("00 B2 04 04 03", "0B 01 01 90 00"),
            ("00 B2 07 04 06", "6A 83"),
            ("00 B2 06 04 06", "0D 04 19 90 01 01 90 00"),
        ];
        let issuer = issuer_by_number("03 04 33 2E 30 30 90 00");
        check_jia(&read_steps(&[&SELECT[..], &issuer, &holder].concat()).unwrap());
    }

    #[test]
    fn a_record_that_a_card_with_tags_lacks_is_not_looked_for_by_number() {
        let mut steps = [&SELECT[..], &ISSUER, &HOLDER].concat();
        steps[11].1 = "6A 83";
        check_jia(&read_steps(&steps).unwrap());
    }

    #[test]
    fn a_file_is_selected_the_other_way_when_the_first_is_refused() {
        let mut steps = [&SELECT[..], &ISSUER, &HOLDER].concat();
        steps[2].1 = "6A 86";
        steps.insert(3, ("00 A4 00 00 02 EF 05", "90 00"));
        check_jia(&read_steps(&steps).unwrap());
    }

    fn check_error(steps: &[Step], code: &str) -> ReadError {
        let error = read_steps(steps).unwrap_err();
        let fault = Fault::from(error.clone());
        assert_eq!((fault.code, fault.action), (code, Action::Clear));
        error
    }

    #[test]
    fn another_card_is_said_to_be_one() {
        let error = check_error(&[(SELECT[0].0, "6A 82")], "smart-card.not-social-security");
        assert_eq!(
            error,
            ReadError::Foreign {
                status_word: 0x6A82
            }
        );
    }

    #[test]
    fn a_card_pulled_between_records_or_mute_is_asked_for_again() {
        let whole = [&SELECT[..], &ISSUER, &HOLDER].concat();
        for count in 1..whole.len() {
            let mut steps = whole[..=count].to_vec();
            steps[count].1 = "removed";
            check_error(&steps, "smart-card.card-removed");
            steps[count].1 = "mute";
            check_error(&steps, "smart-card.card-mute");
            steps[count].1 = "90";
            check_error(&steps, "smart-card.read-failed");
        }
    }

    #[test]
    fn a_card_that_demands_a_pin_is_never_asked_for_one() {
        let select = [&SELECT[..], &ISSUER].concat();
        let file = [
            ("00 A4 02 00 02 EF 06", "69 82"),
            ("00 A4 00 00 02 EF 06", "69 82"),
        ];
        check_error(&[&select[..], &file].concat(), "smart-card.protected");
        let record = [
            ("00 A4 02 00 02 EF 06", "90 00"),
            ("00 B2 08 00 14", "69 82"),
            ("00 B2 01 04 14", "69 82"),
        ];
        check_error(&[&select[..], &record].concat(), "smart-card.protected");
    }

    #[test]
    fn a_card_without_files_number_or_name_is_refused_without_its_values() {
        let no_file = [
            ("00 A4 02 00 02 EF 05", "6A 82"),
            ("00 A4 00 00 02 EF 05", "6A 82"),
        ];
        let error = check_error(
            &[&SELECT[..], &no_file].concat(),
            "smart-card.unreadable-content",
        );
        assert_eq!(error, ReadError::Item { item: "EF05" });
        let mut steps = [&SELECT[..], &ISSUER, &HOLDER].concat();
        steps[9].1 = "08 02 00 00 90 00";
        let error = check_error(&steps, "smart-card.unreadable-content");
        assert_eq!(error, ReadError::Item { item: "number" });
    }

    #[test]
    fn unknown_codes_degrade() {
        let mut steps = [&SELECT[..], &ISSUER, &HOLDER].concat();
        let count = steps.len();
        steps[count - 3].1 = "0A 01 35 90 00";
        steps[count - 2].1 = "0B 01 FF 90 00";
        steps[count - 1].1 = "0D 04 19 90 13 01 90 00";
        let card = read_steps(&steps).unwrap();
        assert_eq!(
            (card.sex, card.nation_code, card.birth),
            (Sex::Unknown, None, None)
        );
    }

    #[test]
    fn a_name_over_both_records_is_joined_before_it_is_decoded() {
        let check = |name: &str, rest: &str, expect: &str| {
            assert_eq!(parse_name(&bytes(name), &bytes(rest)).expose(), expect);
        };
        check("B2 E2 CA D4 BC D7 00 00", "00 00", "测试甲");
        check("B2 E2 CA", "D4 BC D7 00", "测试甲");
        check("54 45 53 54 20 00", "", "TEST");
        check("", "", "");
        check("FF FF", "FF", "");
        // 㛃 has four bytes in GB18030; half a character is a replacement character.
        check("82 30 B7 31", "", "㛃");
        check("B2 E2 CA", "", "测\u{FFFD}");
        check("B2 E2 07 0A", "", "测");
    }

    #[test]
    fn a_record_is_read_by_its_own_length_and_never_beyond_it() {
        let check = |record: &str, expect: Option<&str>| {
            let value = parse_record(&bytes(record), 0x08, 4).map(|value| value.to_vec());
            assert_eq!(value, expect.map(bytes), "{record}");
        };
        check("08 02 41 42", Some("41 42"));
        check("08 02 41 42 43", Some("41 42"));
        check("08 06 41 42 43 44 45 46", Some("41 42 43 44"));
        check("08 00", Some(""));
        check("08 03 41 42", None);
        check("09 02 41 42", None);
        check("08", None);
        check("", None);
    }

    #[test]
    fn only_days_that_exist_are_dates() {
        let check = |hex: &str, expect: Option<&str>| {
            let date = Date::parse(&bytes(hex)).map(|date| date.to_string());
            assert_eq!(date.as_deref(), expect, "{hex}");
        };
        check("19 90 01 01", Some("1990-01-01"));
        check("20 24 02 29", Some("2024-02-29"));
        for hex in [
            "19 00 02 29",
            "20 24 13 01",
            "20 24 01 00",
            "20 24 0A 01",
            "99 99 01 01",
            "20 24 01",
            "FF FF FF FF",
        ] {
            check(hex, None);
        }
    }

    #[test]
    fn nothing_personal_shows_in_debug_output() {
        let card = read_steps(&[&SELECT[..], &ISSUER, &HOLDER].concat()).unwrap();
        assert_eq!(format!("{card:?}"), "SocialCard { version: \"3.00\", .. }");
    }
}
