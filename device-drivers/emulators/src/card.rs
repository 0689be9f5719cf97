//! What is stored on an identity card: the 256-byte text block of each kind, the photo and the
//! appended address, built from plain fields after the layouts of `device-protocols`, section 2.
//!
//! All people here are synthetic; `cards.toml` names them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// Bytes of the text block of every kind of card.
pub(crate) const TEXT_BYTES: usize = 256;
/// Bytes of the compressed photo.
pub(crate) const PHOTO_BYTES: usize = 1024;
/// Bytes of an appended address.
pub(crate) const APPENDED_ADDRESS_BYTES: usize = 70;

/// Why a card cannot be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CardError {
    /// A field has more characters than its place on the card: shorten it.
    #[error("{field} has {characters} characters, the card holds {room}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Characters given (UTF-16 units).
        characters: usize,
        /// Characters the card holds.
        room: usize,
    },
    /// Only a resident has a social security card here: take another person.
    #[error("only a resident's card has a chip with a social security account")]
    NoChip,
    /// No person of that name in `cards.toml`.
    #[error("no card is named {0:?}")]
    UnknownName(String),
}

/// The fields of one card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CardSpec {
    /// Resident identity card.
    Resident {
        /// Name, at most 15 characters.
        name: String,
        /// `1` male, `2` female, `0` unknown, `9` not stated (GB/T 2261.1).
        sex: String,
        /// Two digits (GB/T 3304).
        nation: String,
        /// YYYYMMDD.
        birth: String,
        /// At most 35 characters.
        address: String,
        /// 18 characters.
        number: String,
        /// Issuing authority, at most 15 characters.
        authority: String,
        /// YYYYMMDD.
        valid_from: String,
        /// YYYYMMDD or `长期`.
        valid_until: String,
        /// A newer address written to the card after it was issued.
        #[serde(default)]
        appended_address: Option<String>,
    },
    /// Residence permit for people of Hong Kong, Macao and Taiwan (marker `J`).
    Hmt {
        /// Name, at most 15 characters.
        name: String,
        /// As on a resident card.
        sex: String,
        /// YYYYMMDD.
        birth: String,
        /// At most 35 characters.
        address: String,
        /// 18 characters; starts 81, 82 or 83.
        number: String,
        /// Issuing authority, at most 15 characters.
        authority: String,
        /// YYYYMMDD.
        valid_from: String,
        /// YYYYMMDD.
        valid_until: String,
        /// Number of the travel permit, at most 9 characters.
        pass_number: String,
        /// Number of issues, two digits.
        issues: String,
    },
    /// Foreigner's permanent residence card of 2017 (marker `I`).
    Foreigner {
        /// English name, at most 60 characters.
        english_name: String,
        /// Chinese name, at most 15 characters.
        name: String,
        /// As on a resident card.
        sex: String,
        /// 15 characters.
        number: String,
        /// Three letters (GB/T 2659).
        nationality: String,
        /// YYYYMMDD.
        valid_from: String,
        /// YYYYMMDD.
        valid_until: String,
        /// YYYYMMDD.
        birth: String,
        /// Version of the card, two digits.
        version: String,
        /// Accepting authority, four digits.
        authority: String,
    },
    /// Foreigner's permanent residence card of 2023 (marker `Y`).
    #[serde(rename = "foreigner-2023")]
    Foreigner2023 {
        /// Chinese name, at most 15 characters.
        name: String,
        /// English name, at most 46 characters.
        english_name: String,
        /// As on a resident card.
        sex: String,
        /// Number of renewals, two digits.
        renewals: String,
        /// YYYYMMDD.
        birth: String,
        /// 18 digits; starts 9.
        number: String,
        /// YYYYMMDD.
        valid_from: String,
        /// YYYYMMDD.
        valid_until: String,
        /// Three characters.
        nationality: String,
        /// Item that links to the earlier number, at most 3 characters.
        #[serde(default)]
        earlier_number: String,
    },
}

impl CardSpec {
    /// The synthetic person of that name.
    ///
    /// # Errors
    /// [`CardError::UnknownName`]: see [`names`].
    pub fn named(name: &str) -> Result<Self, CardError> {
        people()
            .get(name)
            .cloned()
            .ok_or_else(|| CardError::UnknownName(name.to_owned()))
    }

    /// The text block as it is stored on the card.
    ///
    /// # Errors
    /// [`CardError::TooLong`]: a field does not fit.
    pub fn text(&self) -> Result<[u8; TEXT_BYTES], CardError> {
        let mut text = Text::new();
        match self {
            Self::Resident { .. } => self.put_resident(&mut text)?,
            Self::Hmt { .. } => self.put_hmt(&mut text)?,
            Self::Foreigner { .. } => self.put_foreigner(&mut text)?,
            Self::Foreigner2023 { .. } => self.put_foreigner_2023(&mut text)?,
        }
        Ok(text.0)
    }

    /// The appended address as the reader sends it, when the card has one.
    ///
    /// # Errors
    /// [`CardError::TooLong`]: more than 35 characters.
    pub fn appended_address(&self) -> Result<Option<Vec<u8>>, CardError> {
        let Self::Resident {
            appended_address: Some(address),
            ..
        } = self
        else {
            return Ok(None);
        };
        let mut text = Text::new();
        text.put(0, APPENDED_ADDRESS_BYTES, "appended_address", address)?;
        Ok(Some(text.0[..APPENDED_ADDRESS_BYTES].to_vec()))
    }

    fn put_resident(&self, text: &mut Text) -> Result<(), CardError> {
        if let Self::Resident {
            name,
            sex,
            nation,
            birth,
            address,
            number,
            authority,
            valid_from,
            valid_until,
            appended_address: _,
        } = self
        {
            text.put(0, 30, "name", name)?;
            text.put(30, 2, "sex", sex)?;
            text.put(32, 4, "nation", nation)?;
            text.put(36, 16, "birth", birth)?;
            text.put(52, 70, "address", address)?;
            text.put(122, 36, "number", number)?;
            text.put(158, 30, "authority", authority)?;
            text.put(188, 16, "valid_from", valid_from)?;
            text.put(204, 16, "valid_until", valid_until)?;
        }
        Ok(())
    }

    fn put_hmt(&self, text: &mut Text) -> Result<(), CardError> {
        if let Self::Hmt {
            name,
            sex,
            birth,
            address,
            number,
            authority,
            valid_from,
            valid_until,
            pass_number,
            issues,
        } = self
        {
            text.put(0, 30, "name", name)?;
            text.put(30, 2, "sex", sex)?;
            text.put(36, 16, "birth", birth)?;
            text.put(52, 70, "address", address)?;
            text.put(122, 36, "number", number)?;
            text.put(158, 30, "authority", authority)?;
            text.put(188, 16, "valid_from", valid_from)?;
            text.put(204, 16, "valid_until", valid_until)?;
            text.put(220, 18, "pass_number", pass_number)?;
            text.put(238, 4, "issues", issues)?;
            text.put(248, 2, "marker", "J")?;
        }
        Ok(())
    }

    fn put_foreigner(&self, text: &mut Text) -> Result<(), CardError> {
        if let Self::Foreigner {
            english_name,
            name,
            sex,
            number,
            nationality,
            valid_from,
            valid_until,
            birth,
            version,
            authority,
        } = self
        {
            text.put(0, 120, "english_name", english_name)?;
            text.put(120, 2, "sex", sex)?;
            text.put(122, 30, "number", number)?;
            text.put(152, 6, "nationality", nationality)?;
            text.put(158, 30, "name", name)?;
            text.put(188, 16, "valid_from", valid_from)?;
            text.put(204, 16, "valid_until", valid_until)?;
            text.put(220, 16, "birth", birth)?;
            text.put(236, 4, "version", version)?;
            text.put(240, 8, "authority", authority)?;
            text.put(248, 2, "marker", "I")?;
        }
        Ok(())
    }

    fn put_foreigner_2023(&self, text: &mut Text) -> Result<(), CardError> {
        if let Self::Foreigner2023 {
            name,
            english_name,
            sex,
            renewals,
            birth,
            number,
            valid_from,
            valid_until,
            nationality,
            earlier_number,
        } = self
        {
            // The English name is split after its 35th character.
            let split = english_name
                .char_indices()
                .nth(35)
                .map_or(english_name.len(), |(at, _)| at);
            let (first, second) = english_name.split_at(split);
            text.put(0, 30, "name", name)?;
            text.put(30, 2, "sex", sex)?;
            text.put(32, 4, "renewals", renewals)?;
            text.put(36, 16, "birth", birth)?;
            text.put(52, 70, "english_name", first)?;
            text.put(122, 36, "number", number)?;
            text.put(188, 16, "valid_from", valid_from)?;
            text.put(204, 16, "valid_until", valid_until)?;
            text.put(220, 22, "english_name", second)?;
            text.put(242, 6, "nationality", nationality)?;
            text.put(248, 2, "marker", "Y")?;
            text.put(250, 6, "earlier_number", earlier_number)?;
        }
        Ok(())
    }
}

/// Names of the synthetic people, sorted.
pub fn names() -> Vec<&'static str> {
    people().keys().map(String::as_str).collect()
}

fn people() -> &'static BTreeMap<String, CardSpec> {
    static PEOPLE: OnceLock<BTreeMap<String, CardSpec>> = OnceLock::new();
    PEOPLE.get_or_init(|| {
        toml::from_str(include_str!("cards.toml")).expect("cards.toml is part of the program")
    })
}

/// A text block under construction, padded with U+0020.
struct Text([u8; TEXT_BYTES]);

impl Text {
    fn new() -> Self {
        let mut bytes = [0; TEXT_BYTES];
        bytes.iter_mut().step_by(2).for_each(|byte| *byte = b' ');
        Self(bytes)
    }

    fn put(
        &mut self,
        offset: usize,
        room_bytes: usize,
        field: &'static str,
        value: &str,
    ) -> Result<(), CardError> {
        let units: Vec<u16> = value.encode_utf16().collect();
        if units.len() * 2 > room_bytes {
            return Err(CardError::TooLong {
                field,
                characters: units.len(),
                room: room_bytes / 2,
            });
        }
        for (place, unit) in self.0[offset..].chunks_exact_mut(2).zip(units) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace()
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    fn check_start(name: &str, offset: usize, expect: &str) {
        let text = CardSpec::named(name).unwrap().text().unwrap();
        let expect = hex(expect);
        assert_eq!(
            &text[offset..offset + expect.len()],
            expect,
            "{name} at {offset}"
        );
    }

    /// Lines of the text blocks in the fact sheet, section 10.1: card, offset, bytes.
    const LINES: [(&str, usize, &str); 20] = [
        (
            "adult",
            0,
            "4B 6D D5 8B 32 75 20 00 20 00 20 00 20 00 20 00",
        ),
        (
            "adult",
            16,
            "20 00 20 00 20 00 20 00 20 00 20 00 20 00 31 00",
        ),
        (
            "adult",
            32,
            "30 00 31 00 31 00 39 00 39 00 30 00 30 00 31 00",
        ),
        (
            "adult",
            48,
            "30 00 31 00 7F 5E 1C 4E 01 77 7F 5E DE 5D 02 5E",
        ),
        (
            "adult",
            64,
            "4B 6D D5 8B 3A 53 37 68 8B 4F EF 8D 31 00 F7 53",
        ),
        (
            "adult",
            112,
            "20 00 20 00 20 00 20 00 20 00 34 00 34 00 30 00",
        ),
        (
            "adult",
            144,
            "31 00 30 00 31 00 31 00 32 00 33 00 37 00 4B 6D",
        ),
        (
            "adult",
            192,
            "32 00 36 00 30 00 31 00 30 00 31 00 7F 95 1F 67",
        ),
        (
            "adult",
            240,
            "20 00 20 00 20 00 20 00 20 00 20 00 20 00 20 00",
        ),
        ("hmt", 0, "4B 6D D5 8B 59 4E 20 00 20 00 20 00 20 00 20 00"),
        ("hmt", 32, "20 00 20 00 31 00 39 00 39 00 30 00 30 00 32 00"),
        (
            "hmt",
            208,
            "33 00 30 00 31 00 32 00 33 00 31 00 48 00 30 00",
        ),
        (
            "hmt",
            240,
            "31 00 20 00 20 00 20 00 4A 00 20 00 20 00 20 00",
        ),
        (
            "foreigner",
            0,
            "54 00 45 00 53 00 54 00 2C 00 20 00 53 00 41 00",
        ),
        (
            "foreigner",
            112,
            "20 00 20 00 20 00 20 00 31 00 58 00 58 00 58 00",
        ),
        (
            "foreigner",
            208,
            "33 00 30 00 31 00 32 00 33 00 31 00 31 00 39 00",
        ),
        (
            "foreigner",
            240,
            "30 00 30 00 30 00 30 00 49 00 20 00 20 00 20 00",
        ),
        (
            "foreigner-2023",
            0,
            "4B 6D D5 8B 01 4E 20 00 20 00 20 00 20 00 20 00",
        ),
        (
            "foreigner-2023",
            48,
            "30 00 34 00 54 00 45 00 53 00 54 00 2C 00 20 00",
        ),
        (
            "foreigner-2023",
            240,
            "20 00 39 00 39 00 39 00 59 00 20 00 20 00 20 00",
        ),
    ];

    #[test]
    fn named_cards_equal_the_text_blocks_of_the_fact_sheet() {
        for (name, offset, expect) in LINES {
            check_start(name, offset, expect);
        }
    }

    #[test]
    fn the_appended_address_equals_the_fact_sheet() {
        let bytes = CardSpec::named("cadre")
            .unwrap()
            .appended_address()
            .unwrap()
            .unwrap();
        assert_eq!(bytes.len(), APPENDED_ADDRESS_BYTES);
        assert!(bytes.starts_with(&hex(
            "7F 5E 1C 4E 01 77 E0 73 77 6D 02 5E 4B 6D D5 8B 3A 53 37 68 8B 4F EF 8D 33 00 F7 53 20 00"
        )));
    }

    #[test]
    fn every_number_of_eighteen_digits_has_its_check_digit() {
        const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
        for name in names() {
            let (CardSpec::Resident { number, .. }
            | CardSpec::Hmt { number, .. }
            | CardSpec::Foreigner2023 { number, .. }) = CardSpec::named(name).unwrap()
            else {
                continue;
            };
            let digits: Vec<u32> = number[..17]
                .chars()
                .map(|c| c.to_digit(10).unwrap())
                .collect();
            let sum: u32 = digits.iter().zip(WEIGHTS).map(|(d, w)| d * w).sum();
            let last = "10X98765432".chars().nth((sum % 11) as usize).unwrap();
            assert!(number.ends_with(last), "{name}");
        }
    }

    #[test]
    fn sex_birth_and_number_of_each_resident_agree() {
        for name in names() {
            if let CardSpec::Resident {
                sex, birth, number, ..
            } = CardSpec::named(name).unwrap()
            {
                assert_eq!(&number[6..14], birth, "{name}");
                let odd = number.as_bytes()[16] % 2 == 1;
                assert_eq!(odd, sex == "1", "{name}");
            }
        }
    }

    #[test]
    fn a_field_that_does_not_fit_is_refused() {
        let mut card = CardSpec::named("adult").unwrap();
        if let CardSpec::Resident { name, .. } = &mut card {
            *name = "测".repeat(16);
        }
        assert_eq!(
            card.text(),
            Err(CardError::TooLong {
                field: "name",
                characters: 16,
                room: 15
            })
        );
        assert!(CardSpec::named("nobody").is_err());
    }
}
