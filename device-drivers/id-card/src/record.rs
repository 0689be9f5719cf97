//! The content of the four kinds of cards (`device-protocols.md` §2.1 to §2.4), out of 256 bytes of
//! UTF-16. Pure functions of bytes; unknown codes degrade, a card without name, number or dates is
//! refused.

use kiosk_device::Sensitive;
use zeroize::Zeroizing;

use crate::date::Date;
use crate::nation::Nation;

/// Bytes of the text block.
pub const TEXT_BYTES: usize = 256;
/// Longest appended address accepted, in bytes (§1.3: 70).
const ADDRESS_BYTES_MAX: usize = 140;
const LONG_TERM: &str = "长期";

/// Which card it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardKind {
    /// Resident identity card.
    Resident,
    /// Foreigner's permanent residence card of 2017 (`I`).
    ForeignerOld,
    /// Residence permit for Hong Kong, Macao and Taiwan residents (`J`).
    HkMoTw,
    /// Foreigner's permanent residence card of 2023 (`Y`).
    Foreigner,
}

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

/// What a card says.
#[derive(Clone, PartialEq, Eq)]
pub struct CardRecord {
    /// Which card it is.
    pub kind: CardKind,
    /// Chinese name; may be empty on foreigners' cards.
    pub name: Sensitive<String>,
    /// English name; empty on cards without one.
    pub english_name: Sensitive<String>,
    /// Number of the person.
    pub number: Sensitive<String>,
    /// Sex.
    pub sex: Sex,
    /// Nation of a resident; other cards have none.
    pub nation: Option<Nation>,
    /// Nationality code of a foreigner's card, as it stands there.
    pub nationality: Sensitive<String>,
    /// Birthday.
    pub birth: Sensitive<Date>,
    /// Address: the appended one when there is one; empty on foreigners' cards.
    pub address: Sensitive<String>,
    /// Issuing authority (a code on the card of 2017).
    pub authority: String,
    /// Number of the travel permit on the card for Hong Kong, Macao and Taiwan.
    pub pass_number: Sensitive<String>,
    /// First day of validity.
    pub valid_from: Date,
    /// Last day of validity; `None` is 长期 (without end).
    pub valid_until: Option<Date>,
    /// The photo, WLT encoded, as it came.
    pub photo: Sensitive<Vec<u8>>,
    /// The photo as a 24-bit bitmap of 102 × 126 pixels; only where a portrait program decodes it.
    pub portrait: Option<Sensitive<Vec<u8>>>,
    /// The fingerprint templates as they came, 0, 512 or 1024 bytes; `None` when they were not read.
    pub fingerprints: Option<Sensitive<Vec<u8>>>,
}

impl std::fmt::Debug for CardRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CardRecord")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Why a text block is no card. Says what, never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The block has another length.
    #[error("the text block has {bytes} bytes instead of {TEXT_BYTES}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// A field that every card has is empty or no date.
    #[error("field `{field}` cannot be read")]
    Field {
        /// The field.
        field: &'static str,
    },
}

impl CardRecord {
    /// Reads the text block of a card; `photo` is kept as it is.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(text: &[u8], photo: &[u8]) -> Result<Self, RecordError> {
        if text.len() != TEXT_BYTES {
            return Err(RecordError::Length { bytes: text.len() });
        }
        let block = Block(text);
        let mut record = match field(text, 248, 2).as_str() {
            "I" => block.foreigner_old(),
            "J" => block.resident(CardKind::HkMoTw),
            "Y" => block.foreigner(),
            _ => block.resident(CardKind::Resident),
        }?;
        record.photo = Sensitive::new(photo.to_vec());
        let has_name = !record.name.expose().is_empty() || !record.english_name.expose().is_empty();
        for (is_there, field) in [
            (has_name, "name"),
            (!record.number.expose().is_empty(), "number"),
        ] {
            if !is_there {
                return Err(RecordError::Field { field });
            }
        }
        Ok(record)
    }

    /// True while `day` lies within the card's validity.
    pub fn is_valid_on(&self, day: Date) -> bool {
        self.valid_from <= day && self.valid_until.is_none_or(|until| day <= until)
    }
}

/// An appended address as the card sends it; empty when it is too long to be one.
pub fn parse_address(data: &[u8]) -> Sensitive<String> {
    if data.len() > ADDRESS_BYTES_MAX {
        return Sensitive::default();
    }
    Sensitive::new(field(data, 0, data.len()))
}

struct Block<'a>(&'a [u8]);

impl Block<'_> {
    fn text(&self, at: usize, length: usize) -> Sensitive<String> {
        Sensitive::new(field(self.0, at, length))
    }

    fn date(&self, at: usize, name: &'static str) -> Result<Date, RecordError> {
        Date::parse(self.text(at, 16).expose()).ok_or(RecordError::Field { field: name })
    }

    fn until(&self, at: usize) -> Result<Option<Date>, RecordError> {
        // Taking an unreadable end for "without end" would let an expired card pass.
        if self.text(at, 16).expose() == LONG_TERM {
            return Ok(None);
        }
        self.date(at, "valid_until").map(Some)
    }

    fn sex(&self, at: usize) -> Sex {
        match self.text(at, 2).expose().as_str() {
            "1" => Sex::Male,
            "2" => Sex::Female,
            _ => Sex::Unknown,
        }
    }

    fn resident(&self, kind: CardKind) -> Result<CardRecord, RecordError> {
        let is_resident = kind == CardKind::Resident;
        Ok(CardRecord {
            kind,
            name: self.text(0, 30),
            english_name: Sensitive::default(),
            number: self.text(122, 36),
            sex: self.sex(30),
            nation: is_resident.then(|| Nation::from_digits(self.text(32, 4).expose())),
            nationality: Sensitive::default(),
            birth: Sensitive::new(self.date(36, "birth")?),
            address: self.text(52, 70),
            authority: field(self.0, 158, 30),
            pass_number: if is_resident {
                Sensitive::default()
            } else {
                self.text(220, 18)
            },
            valid_from: self.date(188, "valid_from")?,
            valid_until: self.until(204)?,
            photo: Sensitive::default(),
            portrait: None,
            fingerprints: None,
        })
    }

    fn foreigner_old(&self) -> Result<CardRecord, RecordError> {
        Ok(CardRecord {
            kind: CardKind::ForeignerOld,
            name: self.text(158, 30),
            english_name: self.text(0, 120),
            number: self.text(122, 30),
            sex: self.sex(120),
            nation: None,
            nationality: self.text(152, 6),
            birth: Sensitive::new(self.date(220, "birth")?),
            address: Sensitive::default(),
            authority: field(self.0, 240, 8),
            pass_number: Sensitive::default(),
            valid_from: self.date(188, "valid_from")?,
            valid_until: self.until(204)?,
            photo: Sensitive::default(),
            portrait: None,
            fingerprints: None,
        })
    }

    fn foreigner(&self) -> Result<CardRecord, RecordError> {
        // The English name is cut in two; only the end of the whole is padding.
        let name = Zeroizing::new([slice(self.0, 52, 70), slice(self.0, 220, 22)].concat());
        Ok(CardRecord {
            kind: CardKind::Foreigner,
            name: self.text(0, 30),
            english_name: Sensitive::new(field(&name, 0, name.len())),
            number: self.text(122, 36),
            sex: self.sex(30),
            nation: None,
            nationality: self.text(242, 6),
            birth: Sensitive::new(self.date(36, "birth")?),
            address: Sensitive::default(),
            authority: String::new(),
            pass_number: Sensitive::default(),
            valid_from: self.date(188, "valid_from")?,
            valid_until: self.until(204)?,
            photo: Sensitive::default(),
            portrait: None,
            fingerprints: None,
        })
    }
}

fn slice(bytes: &[u8], at: usize, length: usize) -> &[u8] {
    bytes.get(at..at + length).unwrap_or_default()
}

/// Text of a field: little-endian UTF-16, padding and control characters taken off.
fn field(bytes: &[u8], at: usize, length: usize) -> String {
    let (units, _) = slice(bytes, at, length).as_chunks::<2>();
    // One unit becomes three bytes at most: never grown, so that no copy stays behind in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(3 * units.len()));
    text.extend(
        char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
            .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
            .filter(|character| !character.is_control()),
    );
    text.trim().to_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A block of blanks with `fields` written into it.
    pub(crate) fn block(fields: &[(usize, &str)]) -> Vec<u8> {
        let mut block: Vec<u8> = [0x20, 0x00].repeat(TEXT_BYTES / 2);
        for (at, text) in fields {
            for (index, unit) in text.encode_utf16().enumerate() {
                let at = at + 2 * index;
                block[at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
        }
        block
    }

    /// Text block R of `device-protocols.md` §10.1.
    pub(crate) const BLOCK_R: &[(usize, &str)] = &[
        (0, "测试甲"),
        (30, "1"),
        (32, "01"),
        (36, "19900101"),
        (52, "广东省广州市测试区样例路1号"),
        (122, "440100199001011237"),
        (158, "测试市公安局"),
        (188, "20260101"),
        (204, "长期"),
    ];

    const BLOCK_J: &[(usize, &str)] = &[
        (0, "测试乙"),
        (30, "2"),
        (36, "19900202"),
        (52, "广东省深圳市测试区样例路2号"),
        (122, "810000199002020024"),
        (158, "测试市公安局"),
        (188, "20260101"),
        (204, "20301231"),
        (220, "H00000000"),
        (238, "01"),
        (248, "J"),
    ];

    const BLOCK_I: &[(usize, &str)] = &[
        (0, "TEST, SAMPLE ONE"),
        (120, "1"),
        (122, "XXX000000000000"),
        (152, "XXX"),
        (158, "测试丙"),
        (188, "20260101"),
        (204, "20301231"),
        (220, "19900303"),
        (236, "01"),
        (240, "0000"),
        (248, "I"),
    ];

    const BLOCK_Y: &[(usize, &str)] = &[
        (0, "测试丁"),
        (30, "2"),
        (32, "00"),
        (36, "19900404"),
        (52, "TEST, SAMPLE TWO"),
        (122, "911000199004040015"),
        (188, "20260101"),
        (204, "20301231"),
        (242, "999"),
        (248, "Y"),
    ];

    fn parse(fields: &[(usize, &str)]) -> CardRecord {
        CardRecord::parse(&block(fields), &[7; 1024]).unwrap()
    }

    fn day(text: &str) -> Date {
        Date::parse(text).unwrap()
    }

    #[test]
    fn the_block_builder_of_these_tests_agrees_with_the_fact_sheet() {
        let r = block(BLOCK_R);
        // Rows 000, 048 and 192 of text block R.
        assert_eq!(r[..8], [0x4B, 0x6D, 0xD5, 0x8B, 0x32, 0x75, 0x20, 0x00]);
        assert_eq!(r[48..56], [0x30, 0x00, 0x31, 0x00, 0x7F, 0x5E, 0x1C, 0x4E]);
        assert_eq!(r[204..210], [0x7F, 0x95, 0x1F, 0x67, 0x20, 0x00]);
        assert_eq!(
            block(BLOCK_Y)[242..250],
            [0x39, 0, 0x39, 0, 0x39, 0, 0x59, 0]
        );
    }

    #[test]
    fn a_resident_card_is_read() {
        let card = parse(BLOCK_R);
        assert_eq!(card.kind, CardKind::Resident);
        assert_eq!(card.name.expose(), "测试甲");
        assert_eq!(card.number.expose(), "440100199001011237");
        assert_eq!(card.sex, Sex::Male);
        assert_eq!(card.nation.unwrap().name, "汉");
        assert_eq!(card.birth.expose().to_string(), "1990-01-01");
        assert_eq!(card.address.expose(), "广东省广州市测试区样例路1号");
        assert_eq!(card.authority, "测试市公安局");
        assert_eq!(card.valid_until, None);
        assert_eq!(card.photo.expose(), &[7; 1024]);
        assert!(card.portrait.is_none() && card.fingerprints.is_none());
        assert!(card.is_valid_on(day("20990101")));
        assert!(!card.is_valid_on(day("20251231")));
    }

    #[test]
    fn a_residence_permit_is_read() {
        let card = parse(BLOCK_J);
        assert_eq!(card.kind, CardKind::HkMoTw);
        assert_eq!(card.nation, None);
        assert_eq!(card.pass_number.expose(), "H00000000");
        assert_eq!(card.number.expose(), "810000199002020024");
        assert!(card.is_valid_on(day("20301231")));
        assert!(!card.is_valid_on(day("20310101")));
    }

    #[test]
    fn both_foreigners_cards_are_read() {
        let old = parse(BLOCK_I);
        assert_eq!(old.kind, CardKind::ForeignerOld);
        assert_eq!(old.english_name.expose(), "TEST, SAMPLE ONE");
        assert_eq!(old.name.expose(), "测试丙");
        assert_eq!(old.number.expose(), "XXX000000000000");
        assert_eq!(old.nationality.expose(), "XXX");
        assert_eq!(old.birth.expose().to_string(), "1990-03-03");
        let new = parse(BLOCK_Y);
        assert_eq!(new.kind, CardKind::Foreigner);
        assert_eq!(new.english_name.expose(), "TEST, SAMPLE TWO");
        assert_eq!(new.nationality.expose(), "999");
        assert_eq!(new.sex, Sex::Female);
    }

    #[test]
    fn an_english_name_over_both_fields_is_joined() {
        let first = "A".repeat(35);
        let card = parse(&[BLOCK_Y, &[(52, first.as_str()), (220, "BCD")]].concat());
        assert_eq!(card.english_name.expose(), &format!("{first}BCD"));
    }

    #[test]
    fn unknown_codes_degrade() {
        let card = parse(&[BLOCK_R, &[(30, "5"), (32, "83")]].concat());
        assert_eq!(card.sex, Sex::Unknown);
        assert_eq!(card.nation.unwrap().name, "其他");
    }

    #[test]
    fn rare_characters_beyond_the_basic_plane_survive() {
        assert_eq!(
            parse(&[BLOCK_R, &[(0, "䶮𬱖㛃")]].concat()).name.expose(),
            "䶮𬱖㛃"
        );
        let mut broken = block(BLOCK_R);
        broken[..2].copy_from_slice(&0xD800_u16.to_le_bytes());
        let card = CardRecord::parse(&broken, &[]).unwrap();
        assert_eq!(card.name.expose(), "\u{FFFD}试甲");
    }

    #[test]
    fn what_is_no_card_is_refused_without_its_values() {
        let check = |fields: &[(usize, &str)], field: &'static str| {
            let result = CardRecord::parse(&block(&[BLOCK_R, fields].concat()), &[]);
            assert_eq!(result.map(|_| ()), Err(RecordError::Field { field }));
        };
        check(&[(0, "   ")], "name");
        check(&[(122, &" ".repeat(18))], "number");
        check(&[(36, "19901301")], "birth");
        check(&[(188, "长期    ")], "valid_from");
        check(&[(204, "永远")], "valid_until");
        assert_eq!(
            CardRecord::parse(&[0; 255], &[]).map(|_| ()),
            Err(RecordError::Length { bytes: 255 })
        );
        assert!(CardRecord::parse(&[0; 256], &[]).is_err());
        assert!(CardRecord::parse(&[0xFF; 256], &[]).is_err());
    }

    #[test]
    fn nothing_personal_shows_in_debug_output() {
        let shown = format!("{:?}", parse(BLOCK_R));
        assert_eq!(shown, "CardRecord { kind: Resident, .. }");
    }
}
