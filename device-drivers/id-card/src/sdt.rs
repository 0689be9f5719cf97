//! The framing between host and security module (SDT over a serial line) and its status byte.
//!
//! Source: `device-protocols.md` §1.2 to §1.5. Pure functions of bytes: the decoder synchronizes
//! byte by byte, bounds every length and never panics.

use kiosk_device::{Action, Fault};

const PREAMBLE: [u8; 5] = [0xAA, 0xAA, 0xAA, 0x96, 0x69];
/// Largest length field accepted; the largest real one is 0x090A (§1.5).
const LENGTH_MAX: usize = 4096;
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
            Self::ReadNewAddress => [0x30, 0x03],
            Self::ReadManagementNumber => [0x30, 0x05],
        };
        let mut frame = [0; 10];
        let (preamble, rest) = frame.split_at_mut(PREAMBLE.len());
        preamble.copy_from_slice(&PREAMBLE);
        rest.copy_from_slice(&[0, 3, command, parameter, 3 ^ command ^ parameter]);
        frame
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

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("status", &format_args!("{:02x}", self.status))
            .field("bytes", &self.data.len())
            .finish()
    }
}

/// Finds answers in a stream of bytes.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
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
        // Each turn returns or drops at least one byte.
        while !self.buffer.is_empty() {
            match parse(&self.buffer) {
                Parsed::Incomplete => return None,
                Parsed::Noise => {
                    self.buffer.remove(0);
                }
                Parsed::Frame(reply, length) => {
                    self.buffer.drain(..length);
                    return Some(reply);
                }
            }
        }
        None
    }

    /// True when a frame has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }
}

enum Parsed {
    Incomplete,
    /// No frame begins at the first byte.
    Noise,
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
        return Parsed::Noise;
    }
    let end = PREAMBLE.len() + 2 + length;
    let Some(checked) = bytes.get(PREAMBLE.len()..end) else {
        return Parsed::Incomplete;
    };
    if checked.iter().fold(0, |check, byte| check ^ byte) != 0 {
        return Parsed::Noise;
    }
    match checked {
        [_, _, _, _, status, data @ .., _] => Parsed::Frame(
            Reply {
                status: *status,
                data: data.to_vec(),
            },
            end,
        ),
        _ => Parsed::Noise,
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
        0x10 | 0x11 | 0x21 | 0x24 => ("id-card.command-refused", Action::Reset),
        0x23 => ("id-card.not-permitted", Action::Maintenance),
        0x31 | 0x32 => ("id-card.authentication-failed", Action::Clear),
        0x33 | 0x37 => ("id-card.verification-failed", Action::Clear),
        0x40 => ("id-card.card-not-recognised", Action::Clear),
        0x3F | 0x41 | 0x47 | 0x81 | NO_SUCH_ITEM => ("id-card.read-failed", Action::Clear),
        NOT_FOUND => ("id-card.no-card", Action::Clear),
        0x60 => ("id-card.sam-failed", Action::Maintenance),
        0x66 => ("id-card.sam-unauthorised", Action::Maintenance),
        _ => ("id-card.other-failure", Action::Clear),
    };
    Fault::new(code, action, format!("the module answers {status:02x}"))
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
        check_request(Request::ReadNewAddress, "00 03 30 03 30");
        check_request(Request::ReadManagementNumber, "00 03 30 05 36");
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
        }
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
    fn every_status_byte_of_the_fact_sheet_has_its_fault() {
        let check = |status: u8, code: &str, action: Action| {
            let fault = fault(status);
            assert_eq!((fault.code, fault.action), (code, action), "{status:02x}");
        };
        check(0x60, "id-card.sam-failed", Action::Maintenance);
        check(0x66, "id-card.sam-unauthorised", Action::Maintenance);
        check(0x41, "id-card.read-failed", Action::Clear);
        check(0x81, "id-card.read-failed", Action::Clear);
        check(0x40, "id-card.card-not-recognised", Action::Clear);
        check(0x31, "id-card.authentication-failed", Action::Clear);
        check(0x33, "id-card.verification-failed", Action::Clear);
        check(0x10, "id-card.command-refused", Action::Reset);
        check(0x23, "id-card.not-permitted", Action::Maintenance);
        check(0x50, "id-card.other-failure", Action::Clear);
    }
}
