//! The chip of a social security card (`device-protocols`, section 3.1): files, records and the status
//! words of ISO/IEC 7816-4 for short commands with T=0.

use encoding_rs::GB18030;
use serde::{Deserialize, Serialize};

use crate::card::{CardError, CardSpec};

/// `sx1.sh.社会保障` in GBK.
const ENVIRONMENT: [u8; 15] = [
    0x73, 0x78, 0x31, 0x2E, 0x73, 0x68, 0x2E, 0xC9, 0xE7, 0xBB, 0xE1, 0xB1, 0xA3, 0xD5, 0xCF,
];
/// Data about the issuer.
const EF05: u16 = 0xEF05;
/// Data about the holder.
const EF06: u16 = 0xEF06;
/// Fingerprint and photo: there, and closed.
const CLOSED: [u16; 2] = [0xEF07, 0xEF08];
/// Bytes of the name, filled with zeros.
const NAME_BYTES: usize = 30;
/// Bytes of what the name has beyond that.
const NAME_MORE_BYTES: usize = 20;
/// The synthetic holder's number.
const PIN: [u8; 3] = [0x12, 0x34, 0x56];
const PIN_TRIES: u8 = 3;

/// Numbering of a card's records and files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChipVersion {
    /// "1.00": six records about the holder.
    #[serde(rename = "1")]
    V1,
    /// "2.00": seven records, the third continues the name.
    #[serde(rename = "2")]
    V2,
    /// "3.00": as 2.
    #[default]
    #[serde(rename = "3")]
    V3,
}

/// Which P1 a card takes when a file is selected by its id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectBy {
    /// 00 and 02.
    #[default]
    #[serde(rename = "both")]
    Both,
    /// 00 only.
    #[serde(rename = "00")]
    Any,
    /// 02 only.
    #[serde(rename = "02")]
    Child,
}

/// How a chip is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChipBuild {
    pub(crate) version: ChipVersion,
    /// Another kind of card: it does not have the environment.
    pub(crate) is_foreign: bool,
    pub(crate) select_by: SelectBy,
}

/// A chip in the slot, powered or not.
#[derive(Debug)]
pub(crate) struct Chip {
    build: ChipBuild,
    issuer: Vec<Vec<u8>>,
    holder: Vec<Vec<u8>>,
    is_selected: bool,
    file: Option<u16>,
    /// What `GET RESPONSE` fetches.
    pending: Vec<u8>,
    pin_tries: u8,
}

/// A status word.
type Word = u16;

impl Chip {
    /// The chip of a resident.
    ///
    /// # Errors
    /// [`CardError::NoChip`]: the card is no resident's.
    pub(crate) fn new(card: &CardSpec, build: ChipBuild) -> Result<Self, CardError> {
        let CardSpec::Resident {
            name,
            sex,
            nation,
            birth,
            number,
            ..
        } = card
        else {
            return Err(CardError::NoChip);
        };
        let name = GB18030.encode(name).0;
        let mut name_first = name.to_vec();
        name_first.resize(NAME_BYTES, 0);
        let mut name_more: Vec<u8> = name.iter().skip(NAME_BYTES).copied().collect();
        name_more.resize(NAME_MORE_BYTES, 0);
        let mut holder = vec![
            record(0x08, number.as_bytes()),
            record(0x09, &name_first),
            record(0x4E, &name_more),
            record(0x0A, sex.as_bytes()),
            record(0x0B, &decimal(nation)),
            // Where the person was born: the district of the number.
            record(0x0C, &decimal(number.get(..6).unwrap_or_default())),
            record(0x0D, &decimal(birth)),
        ];
        let version: &[u8] = match build.version {
            ChipVersion::V1 => {
                holder.remove(2);
                b"1.00"
            }
            ChipVersion::V2 => b"2.00",
            ChipVersion::V3 => b"3.00",
        };
        let mut identification = vec![0x44, 0x01, 0x00];
        identification.resize(16, 0x5A);
        let issuer = vec![
            record(0x01, &identification),
            record(0x02, b"3"),
            record(0x03, version),
            record(0x04, &[0x91, 0x56, 0, 0, 2, 0x44, 0x01, 0, 0, 0, 0, 0]),
            record(0x05, &[0x20, 0x26, 0x01, 0x01]),
            record(0x06, &[0x20, 0x36, 0x01, 0x01]),
            record(0x07, b"A00000001"),
        ];
        Ok(Self {
            build,
            issuer,
            holder,
            is_selected: false,
            file: None,
            pending: Vec::new(),
            pin_tries: PIN_TRIES,
        })
    }

    /// Answer to reset: T=0, eight historical bytes.
    pub(crate) fn atr() -> Vec<u8> {
        [&[0x3B, 0x68, 0x00, 0x00][..], b"EMU-SSC1"].concat()
    }

    /// Power has been away.
    pub(crate) fn reset(&mut self) {
        self.is_selected = false;
        self.file = None;
        self.pending.clear();
    }

    /// Answers one command: data and status word.
    pub(crate) fn answer(&mut self, apdu: &[u8]) -> Vec<u8> {
        let (data, word) = match self.obey(apdu) {
            Ok(data) => (data, 0x9000),
            Err(word) => (Vec::new(), word),
        };
        let mut reply = data;
        reply.extend(word.to_be_bytes());
        reply
    }

    fn obey(&mut self, apdu: &[u8]) -> Result<Vec<u8>, Word> {
        let &[class, instruction, p1, p2, ref rest @ ..] = apdu else {
            return Err(0x6700);
        };
        if class != 0 {
            return Err(0x6E00);
        }
        let fetched = std::mem::take(&mut self.pending);
        match instruction {
            0xA4 => self.select(p1, p2, data(rest)?),
            0xB2 => exactly(self.read(p1, p2)?, rest),
            0xC0 if fetched.is_empty() => Err(0x6985),
            0xC0 => {
                let answer = exactly(fetched.clone(), rest);
                if answer.is_err() {
                    // Asked with a wrong length: it can be asked again.
                    self.pending = fetched;
                }
                answer
            }
            0x84 => exactly(vec![0xC7; 8], rest),
            0x20 => self.verify(data(rest)?),
            _ => Err(0x6D00),
        }
    }

    fn select(&mut self, p1: u8, p2: u8, name: &[u8]) -> Result<Vec<u8>, Word> {
        if p2 != 0 {
            return Err(0x6A86);
        }
        match (p1, name) {
            (0x04, _) => {
                if self.build.is_foreign || name != ENVIRONMENT {
                    return Err(0x6A82);
                }
                self.is_selected = true;
                self.file = None;
                self.pending = [
                    &[0x6F, 0x1C, 0x84, 0x0F],
                    &ENVIRONMENT[..],
                    b"\xA5\x09\x50\x07TESTSSC",
                ]
                .concat();
                Err(0x6100 | u16::try_from(self.pending.len()).unwrap_or(0))
            }
            (0x00 | 0x02, [high, low]) => {
                let is_taken = match self.build.select_by {
                    SelectBy::Both => true,
                    SelectBy::Any => p1 == 0x00,
                    SelectBy::Child => p1 == 0x02,
                };
                let id = u16::from_be_bytes([*high, *low]);
                let is_known = [EF05, EF06].contains(&id) || CLOSED.contains(&id);
                if !is_taken {
                    return Err(0x6A86);
                }
                if !self.is_selected || !is_known {
                    return Err(0x6A82);
                }
                self.file = Some(id);
                Ok(Vec::new())
            }
            _ => Err(0x6A86),
        }
    }

    /// A record by its number (P2 = 04, or a short file id and 4) or by its tag (P2 = 00).
    fn read(&mut self, p1: u8, p2: u8) -> Result<Vec<u8>, Word> {
        let file = match p2 >> 3 {
            0 => self.file,
            short if self.is_selected => {
                self.file = Some(0xEF00 | u16::from(short));
                self.file
            }
            _ => None,
        };
        let records = match file {
            Some(EF05) => &self.issuer,
            Some(EF06) => &self.holder,
            Some(file) if CLOSED.contains(&file) => return Err(0x6982),
            Some(_) => return Err(0x6A82),
            None => return Err(0x6986),
        };
        let found = match p2 & 7 {
            4 => usize::from(p1)
                .checked_sub(1)
                .and_then(|place| records.get(place)),
            0 => records.iter().find(|record| record[0] == p1),
            _ => return Err(0x6A86),
        };
        found.cloned().ok_or(0x6A83)
    }

    fn verify(&mut self, pin: &[u8]) -> Result<Vec<u8>, Word> {
        if self.pin_tries == 0 {
            return Err(0x6983);
        }
        if pin == PIN {
            self.pin_tries = PIN_TRIES;
            return Ok(Vec::new());
        }
        self.pin_tries -= 1;
        Err(0x63C0 | u16::from(self.pin_tries))
    }
}

/// The data of a command: behind its length, before an Le that may follow.
fn data(rest: &[u8]) -> Result<&[u8], Word> {
    let (&length, rest) = rest.split_first().ok_or(0x6700_u16)?;
    let length = usize::from(length);
    match rest.len() {
        more if more == length || more == length + 1 => Ok(&rest[..length]),
        _ => Err(0x6700),
    }
}

/// The answer, when it is asked for with its own length; `6Cxx` says which that is.
fn exactly(answer: Vec<u8>, le: &[u8]) -> Result<Vec<u8>, Word> {
    let length = u8::try_from(answer.len()).unwrap_or(0);
    match le {
        [le] if *le == length => Ok(answer),
        [] | [_] => Err(0x6C00 | u16::from(length)),
        _ => Err(0x6700),
    }
}

fn record(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag, u8::try_from(value.len()).unwrap_or(u8::MAX)];
    bytes.extend(value);
    bytes
}

/// Digits, two a byte; anything else counts as zero.
fn decimal(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .bytes()
        .map(|digit| {
            if digit.is_ascii_digit() {
                digit - b'0'
            } else {
                0
            }
        })
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(version: ChipVersion) -> Chip {
        let build = ChipBuild {
            version,
            is_foreign: false,
            select_by: SelectBy::Both,
        };
        Chip::new(&CardSpec::named("adult").unwrap(), build).unwrap()
    }

    fn select(chip: &mut Chip) {
        let mut apdu = vec![0x00, 0xA4, 0x04, 0x00, 0x0F];
        apdu.extend(ENVIRONMENT);
        assert_eq!(chip.answer(&apdu), [0x61, 0x1E]);
        let fci = chip.answer(&[0x00, 0xC0, 0x00, 0x00, 0x1E]);
        assert_eq!((fci.len(), fci[0]), (32, 0x6F));
    }

    #[test]
    fn records_equal_the_fact_sheet() {
        let mut chip = chip(ChipVersion::V3);
        select(&mut chip);
        assert_eq!(chip.answer(&[0, 0xA4, 2, 0, 2, 0xEF, 0x05]), [0x90, 0x00]);
        assert_eq!(
            chip.answer(&[0, 0xB2, 3, 0, 6]),
            [0x03, 0x04, 0x33, 0x2E, 0x30, 0x30, 0x90, 0x00]
        );
        assert_eq!(
            chip.answer(&[0, 0xB2, 7, 0x2C, 0x0B]),
            [
                0x07, 0x09, 0x41, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x30, 0x31, 0x90, 0x00
            ]
        );
        // By short id: the holder's number, then the name, by number.
        let number = chip.answer(&[0, 0xB2, 1, 0x34, 0x14]);
        assert_eq!(number[..2], [0x08, 0x12]);
        assert_eq!(number[2..20], *b"440100199001011237");
        let name = chip.answer(&[0, 0xB2, 2, 4, 0x20]);
        assert_eq!(name[..8], [0x09, 0x1E, 0xB2, 0xE2, 0xCA, 0xD4, 0xBC, 0xD7]);
        assert_eq!(name[8..32], [0; 24]);
    }

    #[test]
    fn the_generations_number_their_records_differently() {
        for (version, tag) in [(ChipVersion::V1, 0x0A), (ChipVersion::V3, 0x4E)] {
            let mut chip = chip(version);
            select(&mut chip);
            chip.answer(&[0, 0xA4, 2, 0, 2, 0xEF, 0x06]);
            let reply = chip.answer(&[0, 0xB2, 3, 4, 0]);
            let reply = chip.answer(&[0, 0xB2, 3, 4, reply[1]]);
            assert_eq!(reply[0], tag);
            // By tag the question does not arise.
            assert_eq!(chip.answer(&[0, 0xB2, 0x0D, 0, 6])[..2], [0x0D, 4]);
        }
    }

    #[test]
    fn what_is_wrong_has_its_status_word() {
        let mut chip = chip(ChipVersion::V3);
        let mut check = |apdu: &[u8], word: [u8; 2]| {
            assert_eq!(chip.answer(apdu), word, "{apdu:02X?}");
        };
        check(&[0, 0xB2, 1, 4, 0], [0x69, 0x86]);
        check(&[0, 0xA4, 2, 0, 2, 0xEF, 0x05], [0x6A, 0x82]);
        check(&[0, 0xA4, 4, 0, 1, 0x41], [0x6A, 0x82]);
        check(&[0, 0xC0, 0, 0, 1], [0x69, 0x85]);
        check(&[0x80, 0xB2, 1, 4, 0], [0x6E, 0x00]);
        check(&[0, 0x99, 0, 0], [0x6D, 0x00]);
        check(&[0], [0x67, 0x00]);
        select(&mut chip);
        let mut check = |apdu: &[u8], word: [u8; 2]| {
            assert_eq!(chip.answer(apdu), word, "{apdu:02X?}");
        };
        check(&[0, 0xB2, 8, 0x34, 0], [0x6A, 0x83]);
        check(&[0, 0xB2, 0, 0x34, 0], [0x6A, 0x83]);
        check(&[0, 0xB2, 1, 0x34, 0], [0x6C, 0x14]);
        check(&[0, 0xB2, 1, 0x3C, 0], [0x69, 0x82]);
        check(&[0, 0xB2, 1, 0x7C, 0], [0x6A, 0x82]);
        check(&[0, 0x20, 0, 0, 3, 1, 2, 3], [0x63, 0xC2]);
        check(&[0, 0x20, 0, 0, 3, 0x12, 0x34, 0x56], [0x90, 0x00]);
    }
}
