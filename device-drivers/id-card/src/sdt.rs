//! The framing between host and security module (SDT) and its status byte.
//!
//! Source: `device-protocols.md` §1.2 to §1.5. Pure functions of bytes: the decoder synchronizes
//! byte by byte, bounds every length and never panics. What a card said is overwritten when the
//! decoder and the answer are dropped.

use kiosk_device::{Action, Fault};
use zeroize::{Zeroize, Zeroizing};

const PREAMBLE: [u8; 5] = [0xAA, 0xAA, 0xAA, 0x96, 0x69];
/// Preamble and length field.
pub(crate) const HEAD_BYTES: usize = PREAMBLE.len() + 2;
/// Largest length field accepted; the largest real one is 0x090A (§1.5).
const LENGTH_MAX: usize = 4096;
/// Largest frame accepted.
pub(crate) const FRAME_BYTES_MAX: usize = HEAD_BYTES + LENGTH_MAX;
/// Status word and check byte.
const LENGTH_MIN: usize = 4;

/// Success.
pub const SUCCESS: u8 = 0x90;
/// The card has no such item.
pub const NO_SUCH_ITEM: u8 = 0x91;
/// A card was found.
pub const FOUND: u8 = 0x9F;
/// No card in the field.
pub const NOT_FOUND: u8 = 0x80;
/// The module does not know the command, or not now.
pub(crate) const BAD_COMMAND: u8 = 0x21;
/// The module may not do that.
pub(crate) const NOT_PERMITTED: u8 = 0x23;
/// The fingerprints of the card did not verify.
pub(crate) const BAD_FINGERPRINTS: u8 = 0x37;

/// The requests in use: CMD and PARA (§1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Module status.
    Status,
    /// Module id.
    SamId,
    /// Find a card.
    Find,
    /// Select the card that was found.
    Select,
    /// Read text and photo.
    ReadBase,
    /// Read text, photo and fingerprints.
    ReadFull,
    /// Read the newest appended address.
    ReadNewAddress,
    /// Read the chip's management number.
    ReadManagementNumber,
}

impl Request {
    /// The whole frame.
    pub fn frame(self) -> [u8; 10] {
        let [command, parameter] = match self {
            Self::Status => [0x11, 0xFF],
            Self::SamId => [0x12, 0xFF],
            Self::Find => [0x20, 0x01],
            Self::Select => [0x20, 0x02],
            Self::ReadBase => [0x30, 0x01],
            Self::ReadFull => [0x30, 0x10],
            Self::ReadNewAddress => [0x30, 0x03],
            Self::ReadManagementNumber => [0x30, 0x05],
        };
        let mut frame = [0; 10];
        let (preamble, rest) = frame.split_at_mut(PREAMBLE.len());
        preamble.copy_from_slice(&PREAMBLE);
        rest.copy_from_slice(&[0, 3, command, parameter, 3 ^ command ^ parameter]);
        frame
    }

    /// True when `reply` can be the answer to this request (§1.3, §1.5). An answer carries no name of
    /// its request; one that came late to an earlier request mostly shows by its status or length.
    pub(crate) fn accepts(self, reply: &Reply) -> bool {
        let is_of_find = matches!(reply.status, FOUND | NOT_FOUND);
        let count = reply.data.len();
        let is_success = reply.status == SUCCESS;
        match self {
            Self::Status => !is_of_find && (!is_success || count == 0),
            Self::SamId => !is_of_find && (!is_success || count == 16),
            Self::Find => (!is_success && reply.status != FOUND) || count <= 4,
            Self::Select => reply.status != FOUND && (!is_success || count <= 8),
            Self::ReadBase | Self::ReadFull => !is_of_find && (!is_success || count >= 256),
            Self::ReadNewAddress | Self::ReadManagementNumber => {
                !is_of_find && (!is_success || count <= 256)
            }
        }
    }

    /// True when the answer says something about a person.
    pub(crate) fn is_personal(self) -> bool {
        match self {
            Self::Status | Self::SamId | Self::Find | Self::Select => false,
            Self::ReadBase | Self::ReadFull | Self::ReadNewAddress | Self::ReadManagementNumber => {
                true
            }
        }
    }
}

/// An answer of the module.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// SW3.
    pub status: u8,
    /// What follows the status word.
    pub data: Vec<u8>,
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("status", &format_args!("{:02x}", self.status))
            .field("bytes", &self.data.len())
            .finish()
    }
}

/// Finds answers in a stream of bytes.
pub struct Decoder {
    buffer: Zeroizing<Vec<u8>>,
    has_dropped_frame: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            // Never grown for one answer, so that no copy of it stays behind in freed memory.
            buffer: Zeroizing::new(Vec::with_capacity(2 * FRAME_BYTES_MAX)),
            has_dropped_frame: false,
        }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// Takes bytes in; the first complete answer with a right check byte, if there is one.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Reply> {
        self.buffer.extend_from_slice(bytes);
        let mut start = 0;
        let mut found = None;
        // Each turn ends the loop or goes on by at least one byte.
        while let Some(rest) = self.buffer.get(start..)
            && !rest.is_empty()
        {
            match parse(rest) {
                Parsed::Incomplete => break,
                Parsed::Noise => start += 1,
                Parsed::Broken => {
                    self.has_dropped_frame = true;
                    start += 1;
                }
                Parsed::Frame(reply, length) => {
                    start += length;
                    found = Some(reply);
                    break;
                }
            }
        }
        self.buffer.drain(..start);
        found
    }

    /// True when a frame has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// True when a frame was dropped because its length or its check byte is wrong.
    pub fn has_dropped_frame(&self) -> bool {
        self.has_dropped_frame
    }

    /// Bytes that the frame at the head still lacks; `None` until its length has come.
    pub fn missing(&self) -> Option<usize> {
        let length = self.buffer.get(PREAMBLE.len()..HEAD_BYTES)?;
        let length = usize::from(u16::from_be_bytes(length.try_into().ok()?));
        (HEAD_BYTES + length).checked_sub(self.buffer.len())
    }
}

enum Parsed {
    Incomplete,
    /// No frame begins at the first byte.
    Noise,
    /// One begins there, and is wrong.
    Broken,
    Frame(Reply, usize),
}

fn parse(bytes: &[u8]) -> Parsed {
    let begins = PREAMBLE
        .iter()
        .zip(bytes)
        .all(|(expect, byte)| expect == byte);
    if !begins {
        return Parsed::Noise;
    }
    let &[_, _, _, _, _, high, low, ..] = bytes else {
        return Parsed::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(LENGTH_MIN..=LENGTH_MAX).contains(&length) {
        return Parsed::Broken;
    }
    let end = HEAD_BYTES + length;
    let Some(checked) = bytes.get(PREAMBLE.len()..end) else {
        return Parsed::Incomplete;
    };
    if checked.iter().fold(0, |check, byte| check ^ byte) != 0 {
        return Parsed::Broken;
    }
    match checked {
        [_, _, _, _, status, data @ .., _] => Parsed::Frame(
            Reply {
                status: *status,
                data: data.to_vec(),
            },
            end,
        ),
        _ => Parsed::Broken,
    }
}

/// Text and photo of a base read, by its two length words (§1.5).
pub fn split_base(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let &[a, b, c, d, ref rest @ ..] = data else {
        return None;
    };
    let text = usize::from(u16::from_be_bytes([a, b]));
    let photo = usize::from(u16::from_be_bytes([c, d]));
    (rest.len() == text + photo).then(|| rest.split_at(text))
}

/// Text, photo and fingerprints of a full read, by its three length words (§1.5); a card without
/// fingerprints has none.
pub fn split_full(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (words, rest) = data.split_at_checked(6)?;
    let (words, _) = words.as_chunks::<2>();
    let lengths = words
        .iter()
        .map(|word| usize::from(u16::from_be_bytes(*word)));
    let [text, photo, fingerprints] = lengths.collect::<Vec<_>>().try_into().ok()?;
    if rest.len() != text + photo + fingerprints {
        return None;
    }
    let (text, rest) = rest.split_at(text);
    let (photo, fingerprints) = rest.split_at(photo);
    Some((text, photo, fingerprints))
}

/// The module's id as the vendor library writes it (§1.7); `None` unless there are 16 bytes.
pub fn format_sam_id(data: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = data.try_into().ok()?;
    let [a0, a1, b0, b1, c @ ..] = bytes;
    let word = |at: usize| -> u32 {
        let bytes = c.get(at..at + 4).and_then(|four| four.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    };
    Some(format!(
        "{:02}.{:02}-{:08}-{:010}-{:010}",
        u16::from_le_bytes([a0, a1]),
        u16::from_le_bytes([b0, b1]),
        word(0),
        word(4),
        word(8),
    ))
}

/// What a status byte other than success means (§1.4).
pub fn fault(status: u8) -> Fault {
    let (code, action) = match status {
        0x10 | 0x11 | BAD_COMMAND | 0x24 => ("id-card.command-refused", Action::Reset),
        NOT_PERMITTED => ("id-card.not-permitted", Action::Maintenance),
        0x31 | 0x32 => ("id-card.authentication-failed", Action::Clear),
        0x33 | BAD_FINGERPRINTS => ("id-card.verification-failed", Action::Clear),
        0x40 => ("id-card.card-not-recognised", Action::Clear),
        0x3F | 0x41 | 0x47 | 0x81 | NO_SUCH_ITEM => ("id-card.read-failed", Action::Clear),
        NOT_FOUND => ("id-card.no-card", Action::Clear),
        0x60 => ("id-card.sam-failed", Action::Maintenance),
        0x66 => ("id-card.sam-unauthorised", Action::Maintenance),
        _ => ("id-card.other-failure", Action::Clear),
    };
    let meaning = meaning(status);
    Fault::new(
        code,
        action,
        format!("the module answers {status:02x}: {meaning}"),
    )
}

fn meaning(status: u8) -> &'static str {
    match status {
        0x10 => "a request came with a wrong check byte",
        0x11 => "a request came with a wrong length",
        BAD_COMMAND => "a request is unknown or came out of order",
        NOT_PERMITTED => "the operation is not permitted",
        0x24 => "an error that it does not recognize",
        0x31 => "the card did not accept the module",
        0x32 => "the module did not accept the card",
        0x33 => "the content of the card did not verify",
        BAD_FINGERPRINTS => "the fingerprints of the card did not verify",
        0x3F => "the content of the card has a wrong length",
        0x40 => "the kind of the card is unknown",
        0x41 => "reading failed",
        0x47 => "no random number could be had",
        0x60 => "its self-test failed",
        0x66 => "it is not authorized",
        NOT_FOUND => "no card lies on the reader",
        0x81 => "selecting failed",
        NO_SUCH_ITEM => "the card has no such item",
        _ => "no known meaning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(hex: &str) -> Vec<u8> {
        format!("AA AA AA 96 69 {hex}")
            .split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn check_request(request: Request, hex: &str) {
        assert_eq!(request.frame().to_vec(), frame(hex), "{request:?}");
    }

    #[test]
    fn requests_are_those_of_the_fact_sheet() {
        check_request(Request::Status, "00 03 11 FF ED");
        check_request(Request::SamId, "00 03 12 FF EE");
        check_request(Request::Find, "00 03 20 01 22");
        check_request(Request::Select, "00 03 20 02 21");
        check_request(Request::ReadBase, "00 03 30 01 32");
        check_request(Request::ReadFull, "00 03 30 10 23");
        check_request(Request::ReadNewAddress, "00 03 30 03 30");
        check_request(Request::ReadManagementNumber, "00 03 30 05 36");
    }

    #[test]
    fn a_late_answer_is_not_taken_for_that_of_another_request() {
        use Request as R;
        let check = |status: u8, count: usize, expect: &[Request]| {
            let reply = Reply {
                status,
                data: vec![0; count],
            };
            let all = [
                R::Status,
                R::SamId,
                R::Find,
                R::Select,
                R::ReadBase,
                R::ReadFull,
                R::ReadNewAddress,
                R::ReadManagementNumber,
            ];
            let accepting = all.into_iter().filter(|request| request.accepts(&reply));
            assert_eq!(
                accepting.collect::<Vec<_>>(),
                expect,
                "{status:02x} {count}"
            );
        };
        check(FOUND, 4, &[R::Find]);
        check(NOT_FOUND, 0, &[R::Find, R::Select]);
        let short = [R::ReadNewAddress, R::ReadManagementNumber];
        check(
            SUCCESS,
            0,
            &[&[R::Status, R::Find, R::Select], &short[..]].concat(),
        );
        check(SUCCESS, 8, &[&[R::Select], &short[..]].concat());
        check(SUCCESS, 16, &[&[R::SamId], &short[..]].concat());
        check(SUCCESS, 70, &short);
        check(SUCCESS, 1284, &[R::ReadBase, R::ReadFull]);
        check(
            0x21,
            0,
            &[
                R::Status,
                R::SamId,
                R::Find,
                R::Select,
                R::ReadBase,
                R::ReadFull,
                R::ReadNewAddress,
                R::ReadManagementNumber,
            ],
        );
    }

    fn check_reply(bytes: &[u8], status: u8, data: &[u8]) {
        let expect = Reply {
            status,
            data: data.to_vec(),
        };
        // At once, and split at every position.
        for split in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let early = decoder.push(&bytes[..split]);
            assert_eq!(early, None);
            assert_eq!(decoder.push(&bytes[split..]).as_ref(), Some(&expect));
            assert!(!decoder.is_partial());
        }
    }

    #[test]
    fn replies_of_the_fact_sheet_are_read_at_every_split() {
        check_reply(&frame("00 04 00 00 90 94"), 0x90, &[]);
        check_reply(&frame("00 04 00 00 80 84"), 0x80, &[]);
        check_reply(&frame("00 04 00 00 91 95"), 0x91, &[]);
        check_reply(&frame("00 08 00 00 9F 00 00 00 00 97"), 0x9F, &[0; 4]);
        check_reply(
            &frame("00 0C 00 00 90 00 00 00 00 00 00 00 00 9C"),
            0x90,
            &[0; 8],
        );
    }

    #[test]
    fn noise_before_a_frame_is_skipped() {
        let mut bytes = vec![0xAA, 0xAA];
        bytes.extend(frame("00 04 00 00 90 94"));
        check_reply(&bytes, 0x90, &[]);
        let mut bytes = vec![0x00, 0xFF, 0xAA, 0x96];
        bytes.extend(frame("00 04 00 00 90 94"));
        check_reply(&bytes, 0x90, &[]);
    }

    #[test]
    fn a_broken_frame_is_dropped_and_the_next_one_found() {
        for broken in [
            "00 08 00 00 9F 00 00 00 00 98",
            "FF FF",
            "00 03 90 00 93",
            "00 00",
        ] {
            let mut bytes = frame(broken);
            bytes.extend(frame("00 04 00 00 90 94"));
            let mut decoder = Decoder::default();
            let reply = decoder.push(&bytes).unwrap();
            assert_eq!((reply.status, reply.data.len()), (0x90, 0), "{broken}");
            assert!(decoder.has_dropped_frame(), "{broken}");
        }
    }

    #[test]
    fn no_garbage_panics_or_piles_up() {
        let mut decoder = Decoder::default();
        let mut seed = 3_u32;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = seed.to_be_bytes()[0];
            // Preamble bytes are frequent, so that frames begin often.
            let byte = if byte < 0x80 {
                PREAMBLE[usize::from(byte % 5)]
            } else {
                byte
            };
            decoder.push(&[byte]);
            assert!(decoder.buffer.len() <= LENGTH_MAX + 7);
            assert!(decoder.missing().is_none_or(|missing| missing > 0));
        }
    }

    #[test]
    fn what_a_frame_lacks_is_known_from_its_length_field_on() {
        let bytes = frame("00 08 00 00 9F 00 00 00 00 97");
        let mut decoder = Decoder::default();
        for (count, byte) in bytes.iter().enumerate() {
            let expect = (count >= HEAD_BYTES).then(|| bytes.len() - count);
            assert_eq!(decoder.missing(), expect, "after {count} bytes");
            let reply = decoder.push(&[*byte]);
            assert_eq!(reply.is_some(), count + 1 == bytes.len());
        }
        assert_eq!(decoder.missing(), None);
        assert!(!decoder.has_dropped_frame());
    }

    #[test]
    fn the_module_id_of_the_fact_sheet_is_formatted() {
        let bytes = frame("00 14 00 00 90 05 00 03 00 05 25 35 01 01 00 00 00 D2 02 96 49 98");
        let reply = Decoder::default().push(&bytes).unwrap();
        assert_eq!(
            format_sam_id(&reply.data).as_deref(),
            Some("05.03-20260101-0000000001-1234567890")
        );
        assert_eq!(format_sam_id(&[0; 15]), None);
    }

    #[test]
    fn a_base_read_is_split_by_its_length_words() {
        let mut data = vec![1, 0, 4, 0];
        data.extend([1; 256]);
        data.extend([2; 1024]);
        let (text, photo) = split_base(&data).unwrap();
        assert_eq!((text.len(), photo.len()), (256, 1024));
        data.pop();
        assert_eq!(split_base(&data), None);
        assert_eq!(split_base(&[1, 0]), None);
    }

    #[test]
    fn a_full_read_is_split_by_its_three_length_words() {
        for (fingerprints, total) in [(0_u16, 1297), (512, 1809), (1024, 2321)] {
            let mut data = vec![1, 0, 4, 0];
            data.extend(fingerprints.to_be_bytes());
            data.extend([1; 256]);
            data.extend([2; 1024]);
            data.resize(data.len() + usize::from(fingerprints), 3);
            // Preamble, length, status word and check byte around it.
            assert_eq!(data.len() + 11, total);
            let (text, photo, block) = split_full(&data).unwrap();
            assert_eq!((text.len(), photo.len()), (256, 1024));
            assert_eq!(block, vec![3; usize::from(fingerprints)]);
            data.push(0);
            assert_eq!(split_full(&data), None);
        }
        assert_eq!(split_full(&[1, 0, 4, 0, 0]), None);
        assert_eq!(split_full(&[0xFF; 6]), None);
    }

    #[test]
    fn every_status_byte_of_the_fact_sheet_has_its_fault() {
        let check = |statuses: &[u8], code: &str, action: Action| {
            for status in statuses {
                let fault = fault(*status);
                assert_eq!((fault.code, fault.action), (code, action), "{status:02x}");
                assert!(fault.detail.contains(&format!("{status:02x}")));
            }
        };
        check(
            &[0x10, 0x11, 0x21, 0x24],
            "id-card.command-refused",
            Action::Reset,
        );
        check(&[0x23], "id-card.not-permitted", Action::Maintenance);
        check(
            &[0x31, 0x32],
            "id-card.authentication-failed",
            Action::Clear,
        );
        check(&[0x33, 0x37], "id-card.verification-failed", Action::Clear);
        check(
            &[0x3F, 0x41, 0x47, 0x81, 0x91],
            "id-card.read-failed",
            Action::Clear,
        );
        check(&[0x40], "id-card.card-not-recognised", Action::Clear);
        check(&[0x60], "id-card.sam-failed", Action::Maintenance);
        check(&[0x66], "id-card.sam-unauthorised", Action::Maintenance);
        check(&[0x80], "id-card.no-card", Action::Clear);
    }

    #[test]
    fn a_status_byte_without_a_known_meaning_degrades() {
        let known = [
            0x10,
            0x11,
            0x21,
            0x23,
            0x24,
            0x31,
            0x32,
            0x33,
            0x37,
            0x3F,
            0x40,
            0x41,
            0x47,
            0x60,
            0x66,
            0x80,
            0x81,
            NO_SUCH_ITEM,
        ];
        for status in (0..=0xFF).filter(|status| !known.contains(status)) {
            let fault = fault(status);
            assert_eq!(
                (fault.code, fault.action),
                ("id-card.other-failure", Action::Clear),
                "{status:02x}"
            );
        }
    }
}
