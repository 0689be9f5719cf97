//! SNMP messages as bytes (BER, X.690, as far as RFC 1157 and RFC 3416 use it): one GET out, one
//! response in. Every length is checked against what is there.

use super::Version;

const TAG_INTEGER: u8 = 0x02;
const TAG_OCTETS: u8 = 0x04;
const TAG_NULL: u8 = 0x05;
const TAG_OBJECT: u8 = 0x06;
const TAG_SEQUENCE: u8 = 0x30;
const TAG_GET: u8 = 0xA0;
const TAG_RESPONSE: u8 = 0xA2;
/// `noSuchObject`, `noSuchInstance` and `endOfMibView`.
const TAGS_MISSING: [u8; 3] = [0x80, 0x81, 0x82];
/// Counters, gauges, ticks and addresses, which nothing here asks for, are numbers too.
const TAGS_NUMBER: [u8; 4] = [TAG_INTEGER, 0x41, 0x42, 0x43];
/// Most values of a response. Chosen: four are asked for.
const VALUES_MAX: usize = 16;
/// Longest object name (RFC 2578, section 3.5).
const OBJECT_PARTS_MAX: usize = 128;

/// One value of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number of any kind.
    Integer(i64),
    /// Text or bits.
    Octets(Vec<u8>),
    /// The agent does not know the object.
    Missing,
    /// A kind that nothing here asks for.
    Other,
}

/// Why bytes are no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnmpError {
    /// It ends in the middle, or a length is not what it says.
    #[error("the message is cut off")]
    CutOff,
    /// Another kind of message, or another order.
    #[error("no SNMP response")]
    Unexpected,
    /// It exceeds a bound.
    #[error("too many values")]
    TooLong,
}

/// A response, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The number of the request.
    pub request_id: i64,
    /// 0 when all is well.
    pub error_status: i64,
    /// Objects and their values.
    pub values: Vec<(Vec<u32>, Value)>,
}

impl Response {
    /// Decodes a datagram.
    ///
    /// # Errors
    /// [`SnmpError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SnmpError> {
        let mut message = Cursor(Cursor(bytes).expect(TAG_SEQUENCE)?);
        let version = integer(message.expect(TAG_INTEGER)?)?;
        if ![Version::V1 as i64, Version::V2c as i64].contains(&version) {
            return Err(SnmpError::Unexpected);
        }
        message.expect(TAG_OCTETS)?;
        let mut body = Cursor(message.expect(TAG_RESPONSE)?);
        let request_id = integer(body.expect(TAG_INTEGER)?)?;
        let error_status = integer(body.expect(TAG_INTEGER)?)?;
        integer(body.expect(TAG_INTEGER)?)?;
        let mut list = Cursor(body.expect(TAG_SEQUENCE)?);
        let mut values = Vec::new();
        while !list.0.is_empty() {
            if values.len() >= VALUES_MAX {
                return Err(SnmpError::TooLong);
            }
            let mut pair = Cursor(list.expect(TAG_SEQUENCE)?);
            let object = object(pair.expect(TAG_OBJECT)?)?;
            let (tag, content) = pair.element()?;
            let value = match tag {
                TAG_OCTETS => Value::Octets(content.to_vec()),
                _ if TAGS_NUMBER.contains(&tag) => Value::Integer(integer(content)?),
                _ if TAGS_MISSING.contains(&tag) || tag == TAG_NULL => Value::Missing,
                _ => Value::Other,
            };
            values.push((object, value));
        }
        Ok(Self {
            request_id,
            error_status,
            values,
        })
    }

    /// The value of an object, when the response is no refusal.
    pub fn value(&self, object: &[u32]) -> Option<&Value> {
        self.values
            .iter()
            .find(|(known, _)| known == object && self.error_status == 0)
            .map(|(_, value)| value)
    }
}

/// A GET of these objects.
pub(super) fn get(version: Version, community: &str, id: i32, objects: &[&[u32]]) -> Vec<u8> {
    let pairs: Vec<u8> = objects
        .iter()
        .flat_map(|object| {
            let pair = [
                element(TAG_OBJECT, &object_bytes(object)),
                element(TAG_NULL, &[]),
            ];
            element(TAG_SEQUENCE, &pair.concat())
        })
        .collect();
    let zero = element(TAG_INTEGER, &[0]);
    let body = [
        element(TAG_INTEGER, &id.to_be_bytes()),
        zero.clone(),
        zero,
        element(TAG_SEQUENCE, &pairs),
    ];
    let message = [
        element(TAG_INTEGER, &[version as u8]),
        element(TAG_OCTETS, community.as_bytes()),
        element(TAG_GET, &body.concat()),
    ];
    element(TAG_SEQUENCE, &message.concat())
}

/// Tag, length and content. Contents are ours and shorter than 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let content = content.get(..usize::from(length)).unwrap_or(content);
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![tag];
    match length {
        0..=0x7F => bytes.push(low),
        0x80..=0xFF => bytes.extend([0x81, low]),
        _ => bytes.extend([0x82, high, low]),
    }
    bytes.extend_from_slice(content);
    bytes
}

fn object_bytes(object: &[u32]) -> Vec<u8> {
    let (first, rest) = match object {
        [first, second, rest @ ..] => (first * 40 + second, rest),
        _ => (0, &[][..]),
    };
    let mut bytes = Vec::new();
    for part in std::iter::once(&first).chain(rest) {
        // Seven bits a byte, the most significant first, all but the last marked.
        for shift in [28, 21, 14, 7] {
            if part >> shift != 0 {
                bytes.push(0x80 | low_seven(part >> shift));
            }
        }
        bytes.push(low_seven(*part));
    }
    bytes
}

fn low_seven(number: u32) -> u8 {
    number.to_be_bytes()[3] & 0x7F
}

fn integer(content: &[u8]) -> Result<i64, SnmpError> {
    match content {
        [] => Err(SnmpError::CutOff),
        [first, ..] if content.len() <= 8 => {
            let sign = if first & 0x80 == 0 { 0 } else { -1 };
            Ok(content
                .iter()
                .fold(sign, |number, byte| number << 8 | i64::from(*byte)))
        }
        _ => Err(SnmpError::TooLong),
    }
}

fn object(content: &[u8]) -> Result<Vec<u32>, SnmpError> {
    let mut parts: Vec<u32> = Vec::new();
    let mut part = 0_u32;
    for byte in content {
        if part > u32::MAX >> 7 || parts.len() >= OBJECT_PARTS_MAX {
            return Err(SnmpError::TooLong);
        }
        part = part << 7 | u32::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            if parts.is_empty() {
                let first = (part / 40).min(2);
                parts.extend([first, part - first * 40]);
            } else {
                parts.push(part);
            }
            part = 0;
        }
    }
    Ok(parts)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn element(&mut self) -> Result<(u8, &'a [u8]), SnmpError> {
        let (tag, rest) = self.0.split_first().ok_or(SnmpError::CutOff)?;
        let (first, rest) = rest.split_first().ok_or(SnmpError::CutOff)?;
        let (length, rest) = match first {
            0..=0x7F => (usize::from(*first), rest),
            0x81..=0x84 => {
                let count = usize::from(first & 0x0F);
                let (bytes, rest) = rest.split_at_checked(count).ok_or(SnmpError::CutOff)?;
                let length = bytes
                    .iter()
                    .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
                (length, rest)
            }
            _ => return Err(SnmpError::Unexpected),
        };
        let (content, rest) = rest.split_at_checked(length).ok_or(SnmpError::CutOff)?;
        self.0 = rest;
        Ok((*tag, content))
    }

    fn expect(&mut self, expected: u8) -> Result<&'a [u8], SnmpError> {
        let (tag, content) = self.element()?;
        if tag == expected {
            Ok(content)
        } else {
            Err(SnmpError::Unexpected)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR_STATE: &[u32] = &[1, 3, 6, 1, 2, 1, 25, 3, 5, 1, 2, 1];

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    /// Put together by hand after X.690.
    const REQUEST: &str = "30 2C 02 01 00 04 06 70 75 62 6C 69 63 A0 1F 02 04 00 00 00 01 02 01 00
        02 01 00 30 11 30 0F 06 0B 2B 06 01 02 01 19 03 05 01 02 01 05 00";
    const RESPONSE: &str = "30 2C 02 01 00 04 06 70 75 62 6C 69 63 A2 1F 02 01 01 02 01 00 02 01 00
        30 14 30 12 06 0B 2B 06 01 02 01 19 03 05 01 02 01 04 03 40 00 00";

    #[test]
    fn a_request_is_built_byte_for_byte() {
        assert_eq!(
            get(Version::V1, "public", 1, &[ERROR_STATE]),
            bytes(REQUEST)
        );
    }

    #[test]
    fn a_response_is_read_and_a_refusal_has_no_values() {
        let mut wire = bytes(RESPONSE);
        let response = Response::parse(&wire).unwrap();
        assert_eq!(response.request_id, 1);
        assert_eq!(
            response.value(ERROR_STATE),
            Some(&Value::Octets(vec![0x40, 0, 0]))
        );
        assert_eq!(response.value(&[1, 3]), None);
        wire[20] = 2;
        assert_eq!(Response::parse(&wire).unwrap().value(ERROR_STATE), None);
    }

    #[test]
    fn numbers_and_names_of_any_length_are_read() {
        assert_eq!(integer(&[0xFF, 0xFE]), Ok(-2));
        assert_eq!(integer(&[0x00, 0x80]), Ok(128));
        assert_eq!(integer(&[]), Err(SnmpError::CutOff));
        assert_eq!(integer(&[1; 9]), Err(SnmpError::TooLong));
        for parts in [
            vec![1, 3, 6, 1, 4, 1, 11, 2, 16384, 4_294_967_295],
            vec![2, 999, 127, 128],
            vec![0, 0],
        ] {
            assert_eq!(object(&object_bytes(&parts)), Ok(parts));
        }
        assert_eq!(object(&[0xFF; 9]), Err(SnmpError::TooLong));
        let long = element(TAG_OCTETS, &[7; 300]);
        assert_eq!(long[..4], [0x04, 0x82, 0x01, 0x2C]);
        assert_eq!(Cursor(&long).expect(TAG_OCTETS), Ok(&[7; 300][..]));
    }

    #[test]
    fn cut_off_and_garbled_responses_are_errors_or_answers_and_never_more() {
        let whole = bytes(RESPONSE);
        for end in 0..whole.len() {
            assert!(Response::parse(&whole[..end]).is_err(), "{end}");
        }
        let mut seed = 5_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        };
        for _ in 0..5000 {
            let mut garbled = whole.clone();
            for _ in 0..3 {
                let at = usize::from(next()) % garbled.len();
                garbled[at] = next();
            }
            if let Ok(response) = Response::parse(&garbled) {
                assert!(response.values.len() <= VALUES_MAX);
            }
        }
    }
}
