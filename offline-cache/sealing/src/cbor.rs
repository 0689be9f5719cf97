//! The part of CBOR (RFC 8949) that compact signed words use, in its one deterministic form (§4.2):
//! integers, byte and text strings, arrays, maps with integer keys, booleans.
//!
//! Reading is as strict as writing: every length is stated and the shortest, keys ascend, nothing
//! follows the end. So one value has one text, and what was signed is what is read. Lengths are
//! compared with what is there before anything is taken; nothing is allocated by a stated length.

use crate::FormatError;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
/// The whole first byte of a boolean (RFC 8949 §3.3).
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;

/// Writes one item after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UNSIGNED, value)
    }

    pub(crate) fn int(&mut self, value: i64) -> &mut Self {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            // RFC 8949 §3.1: −1 − n.
            Err(_) => self.head(NEGATIVE, !value.cast_unsigned()),
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    /// Begins an array; `count` items follow.
    pub(crate) fn array(&mut self, count: usize) -> &mut Self {
        self.head(ARRAY, count as u64)
    }

    /// Begins a map; `count` keys with their values follow, the keys in ascending order of their
    /// bytes.
    pub(crate) fn map(&mut self, count: usize) -> &mut Self {
        self.head(MAP, count as u64)
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.0.push(if value { TRUE } else { FALSE });
        self
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let bytes = value.to_be_bytes();
        let (short, from) = match value {
            0..=23 => (bytes[7], 8),
            24..=0xff => (24, 7),
            0x100..=0xffff => (25, 6),
            0x1_0000..=0xffff_ffff => (26, 4),
            _ => (27, 0),
        };
        self.0.push(major << 5 | short);
        self.0.extend_from_slice(&bytes[from..]);
        self
    }
}

/// Reads one item after the other.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Says that nothing may follow.
    pub(crate) fn end(&self) -> Result<(), FormatError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FormatError::TrailingBytes)
        }
    }

    pub(crate) fn uint(&mut self) -> Result<u64, FormatError> {
        self.expect(UNSIGNED)
    }

    pub(crate) fn int(&mut self) -> Result<i64, FormatError> {
        let (major, value) = self.head()?;
        let value =
            i64::try_from(value).map_err(|_| FormatError::OutOfRange { field: "integer" })?;
        match major {
            UNSIGNED => Ok(value),
            NEGATIVE => Ok(!value),
            _ => Err(FormatError::UnexpectedType),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FormatError> {
        let length = self.expect(BYTES)?;
        self.take(length)
    }

    /// Bytes of a fixed length.
    pub(crate) fn exactly<const LENGTH: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; LENGTH], FormatError> {
        self.bytes()?
            .try_into()
            .map_err(|_| FormatError::OutOfRange { field })
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, FormatError> {
        let length = self.expect(TEXT)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| FormatError::NotText)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, FormatError> {
        match self.take(1)? {
            [TRUE] => Ok(true),
            [FALSE] => Ok(false),
            _ => Err(FormatError::UnexpectedType),
        }
    }

    /// Begins an array of at most `count_max` items and says how many there are.
    pub(crate) fn array(
        &mut self,
        count_max: usize,
        field: &'static str,
    ) -> Result<usize, FormatError> {
        let count = self.expect(ARRAY)?;
        bounded(count, count_max, field)
    }

    /// Reads a map of at most `count_max` entries: `each` gets every key and reads its value.
    pub(crate) fn map(
        &mut self,
        count_max: usize,
        mut each: impl FnMut(i64, &mut Self) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let count = self.expect(MAP)?;
        // What has more entries than there are fields has one that nobody knows.
        let count = bounded(count, count_max, "map").map_err(|_| FormatError::UnknownField)?;
        let mut previous: Option<&[u8]> = None;
        for _ in 0..count {
            let before = self.rest;
            let key = self.int()?;
            let written = &before[..before.len() - self.rest.len()];
            match previous.map(|previous| previous.cmp(written)) {
                None | Some(std::cmp::Ordering::Less) => previous = Some(written),
                Some(std::cmp::Ordering::Equal) => return Err(FormatError::DuplicateKey),
                Some(std::cmp::Ordering::Greater) => return Err(FormatError::KeyOrder),
            }
            each(key, self)?;
        }
        Ok(())
    }

    fn expect(&mut self, wanted: u8) -> Result<u64, FormatError> {
        let (major, value) = self.head()?;
        if major == wanted {
            Ok(value)
        } else {
            Err(FormatError::UnexpectedType)
        }
    }

    /// The type of the next item and its number or length.
    fn head(&mut self) -> Result<(u8, u64), FormatError> {
        let first = self.take(1)?[0];
        let (major, short) = (first >> 5, first & 31);
        let (width, smallest) = match short {
            0..=23 => return Ok((major, u64::from(short))),
            24 => (1, 24),
            25 => (2, 0x100),
            26 => (4, 0x1_0000),
            27 => (8, 0x1_0000_0000),
            31 => return Err(FormatError::IndefiniteLength),
            _ => return Err(FormatError::UnexpectedType),
        };
        let value = self
            .take(width)?
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        if value < smallest {
            return Err(FormatError::NotShortest);
        }
        Ok((major, value))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], FormatError> {
        let length = usize::try_from(length).map_err(|_| FormatError::Truncated)?;
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(FormatError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn bounded(count: u64, count_max: usize, field: &'static str) -> Result<usize, FormatError> {
    usize::try_from(count)
        .ok()
        .filter(|count| *count <= count_max)
        .ok_or(FormatError::OutOfRange { field })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::hex;

    fn written(write: impl FnOnce(&mut Writer) -> &mut Writer) -> String {
        let mut writer = Writer::new();
        write(&mut writer);
        hex(&writer.finish())
    }

    #[test]
    fn writing_agrees_with_rfc_8949() {
        // RFC 8949, appendix A.
        for (value, expected) in [
            (0, "00"),
            (23, "17"),
            (24, "1818"),
            (100, "1864"),
            (1000, "1903e8"),
            (1_000_000, "1a000f4240"),
            (1_000_000_000_000, "1b000000e8d4a51000"),
            (-1, "20"),
            (-100, "3863"),
            (-1000, "3903e7"),
        ] {
            assert_eq!(written(|writer| writer.int(value)), expected);
        }
        assert_eq!(written(|writer| writer.bytes(&[1, 2, 3, 4])), "4401020304");
        assert_eq!(written(|writer| writer.text("水")), "63e6b0b4");
        assert_eq!(
            written(|writer| writer.array(3).uint(1).uint(2).uint(3)),
            "83010203"
        );
        assert_eq!(
            written(|writer| writer.map(2).uint(1).uint(2).uint(3).bool(true)),
            "a2010203f5"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        for value in [
            0,
            23,
            24,
            255,
            256,
            65_535,
            65_536,
            u32::MAX.into(),
            i64::MAX,
            -1,
            -24,
            -25,
            -65_537,
            i64::MIN,
        ] {
            let mut writer = Writer::new();
            writer.int(value);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.int(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
            for cut in 0..bytes.len() {
                assert_eq!(
                    Reader::new(&bytes[..cut]).int(),
                    Err(FormatError::Truncated)
                );
            }
        }
    }

    #[test]
    fn every_other_form_of_a_value_is_refused() {
        for (bytes, expected) in [
            (&[0x18, 23][..], FormatError::NotShortest),
            (&[0x19, 0, 255], FormatError::NotShortest),
            (&[0x1a, 0, 0, 255, 255], FormatError::NotShortest),
            (
                &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
                FormatError::NotShortest,
            ),
            (&[0x1c], FormatError::UnexpectedType),
            (&[0x1f], FormatError::IndefiniteLength),
            (&[0x40], FormatError::UnexpectedType),
            (&[0xc2, 0x40], FormatError::UnexpectedType),
            (&[0xf9, 0, 0], FormatError::NotShortest),
            (&[], FormatError::Truncated),
            (
                &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255],
                FormatError::OutOfRange { field: "integer" },
            ),
        ] {
            assert_eq!(Reader::new(bytes).int(), Err(expected), "{}", hex(bytes));
        }
        for bytes in [&[0x5f, 0x41, 0, 0xff][..], &[0x7f, 0xff]] {
            assert_eq!(
                Reader::new(bytes).bytes(),
                Err(FormatError::IndefiniteLength)
            );
        }
        assert_eq!(Reader::new(&[0x61, 0xff]).text(), Err(FormatError::NotText));
        assert_eq!(
            Reader::new(&[0xf6]).bool(),
            Err(FormatError::UnexpectedType)
        );
    }

    #[test]
    fn a_stated_length_buys_no_memory() {
        let long = [0x5b, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0];
        assert_eq!(Reader::new(&long).bytes(), Err(FormatError::Truncated));
        let many = [0x9a, 255, 255, 255, 255];
        assert_eq!(
            Reader::new(&many).array(8, "terminals"),
            Err(FormatError::OutOfRange { field: "terminals" })
        );
    }

    #[test]
    fn keys_of_a_map_stand_once_and_in_order() {
        fn read(bytes: &[u8]) -> Result<(), FormatError> {
            let mut reader = Reader::new(bytes);
            reader.map(3, |_, reader| reader.uint().map(drop))?;
            reader.end()
        }
        assert_eq!(read(&[0xa2, 1, 0, 0x20, 0]), Ok(()));
        assert_eq!(read(&[0xa2, 1, 0, 1, 0]), Err(FormatError::DuplicateKey));
        assert_eq!(read(&[0xa2, 2, 0, 1, 0]), Err(FormatError::KeyOrder));
        assert_eq!(read(&[0xa3, 1, 0, 2, 0, 1, 0]), Err(FormatError::KeyOrder));
        assert_eq!(read(&[0xa4]), Err(FormatError::UnknownField));
        assert_eq!(read(&[0xa1, 1, 0, 0]), Err(FormatError::TrailingBytes));
        assert_eq!(
            read(&[0xbf, 1, 0, 0xff]),
            Err(FormatError::IndefiniteLength)
        );
    }
}
