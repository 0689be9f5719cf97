//! Compact signed words: one fixed profile of `COSE_Sign1` (RFC 9052 §4.2), small enough for a QR
//! symbol.
//!
//! Untagged; the algorithm and the key's id stand in the protected headers, with the certificate of
//! a delegated key where there is one; there is no unprotected header and nothing else is
//! understood. The domain of the word is the external data, so a word of one kind never passes for
//! another. The algorithm follows from the key; what the header says must agree. There is one
//! signature of a kind: for P-256 the smaller of the two values of S is the only one, Ed25519 has
//! one by RFC 8032 §5.1.7, SM2 by its construction.

use crate::cbor::{Reader, Writer};
use crate::encoding::{base45, from_base45, hex};
use crate::{Algorithm, DeviceKey, FormatError, KeyError, PublicKey};

/// Bytes of a key's id.
const KEY_ID_BYTES: usize = 8;
/// Bytes of a signature in all three algorithms.
const SIGNATURE_BYTES: usize = 64;
/// Labels of headers (RFC 9052 §3.1).
const ALGORITHM: i64 = 1;
const CRITICAL: i64 = 2;
const KEY_ID: i64 = 4;
/// Label of the certificate of a delegated key; of the range for private use.
const DELEGATION: i64 = -65_537;
/// Most headers: those three.
const HEADERS_MAX: usize = 3;

/// The order of P-256 (FIPS 186-5, SP 800-186 §3.2.1.3).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// Half of it, rounded down: the largest value of S that is taken.
const P256_ORDER_HALF: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// Number of an algorithm: those of IANA's COSE registry, and one of the range for private use for
/// SM2 with SM3, which is not registered.
pub(crate) fn algorithm_number(algorithm: Algorithm) -> i64 {
    match algorithm {
        Algorithm::Ed25519 => -8,
        Algorithm::EcdsaP256 => -7,
        Algorithm::Sm2 => -65_537,
    }
}

/// The algorithm of a number.
pub(crate) fn algorithm_of(number: i64) -> Option<Algorithm> {
    [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2]
        .into_iter()
        .find(|algorithm| algorithm_number(*algorithm) == number)
}

/// Bytes as text that a QR symbol holds in its alphanumeric mode.
pub(crate) fn to_text(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", base45(bytes))
}

/// Bytes of such a text; space around it, as a scanner or a form may add, is not part of it.
pub(crate) fn from_text(prefix: &'static str, text: &str) -> Result<Vec<u8>, FormatError> {
    let letters = text
        .trim_ascii()
        .strip_prefix(prefix)
        .ok_or(FormatError::Prefix { expected: prefix })?;
    from_base45(letters).ok_or(FormatError::NotBase45)
}

/// Signs a payload in a domain, with the certificate of the key where it is a delegated one.
pub(crate) fn sign(
    key: &DeviceKey,
    domain: &str,
    payload: &[u8],
    delegation: Option<&[u8]>,
) -> Result<Vec<u8>, KeyError> {
    let public = key.public();
    let mut headers = Writer::new();
    headers
        .map(2 + usize::from(delegation.is_some()))
        .int(ALGORITHM)
        .int(algorithm_number(public.algorithm()))
        .int(KEY_ID)
        .bytes(&public.key_id_bytes());
    if let Some(delegation) = delegation {
        headers.int(DELEGATION).bytes(delegation);
    }
    let headers = headers.finish();
    let mut signature = key.sign(&covered(&headers, domain, payload))?;
    if public.algorithm() == Algorithm::EcdsaP256 {
        make_low(&mut signature);
    }
    let mut message = Writer::new();
    message
        .array(4)
        .bytes(&headers)
        .map(0)
        .bytes(payload)
        .bytes(&signature);
    Ok(message.finish())
}

/// A signed word that was read and is not believed yet.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    headers: &'a [u8],
    algorithm: Algorithm,
    key_id: [u8; KEY_ID_BYTES],
    /// The certificate of the key that signed.
    pub(crate) delegation: Option<&'a [u8]>,
    /// What is signed.
    pub(crate) payload: &'a [u8],
    signature: [u8; SIGNATURE_BYTES],
}

/// Why a signature was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Signed by another key than this.
    OtherKey,
    /// The header names another algorithm than the key has.
    OtherAlgorithm,
    /// The signature does not fit.
    Forged,
}

impl<'a> Message<'a> {
    /// Reads a signed word without believing it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(bytes);
        if reader.array(4, "message")? != 4 {
            return Err(FormatError::OutOfRange { field: "message" });
        }
        let headers = reader.bytes()?;
        reader.map(0, |_, _| Ok(())).map_err(of_header)?;
        let payload = reader.bytes()?;
        let signature = reader.exactly("signature")?;
        reader.end()?;
        let (mut algorithm, mut key_id, mut delegation) = (None, None, None);
        let mut inner = Reader::new(headers);
        inner
            .map(HEADERS_MAX, |label, reader| {
                match label {
                    ALGORITHM => {
                        let number = reader.int()?;
                        algorithm =
                            Some(algorithm_of(number).ok_or(FormatError::UnknownAlgorithm)?);
                    }
                    KEY_ID => key_id = Some(reader.exactly("key id")?),
                    DELEGATION => delegation = Some(reader.bytes()?),
                    CRITICAL => return Err(FormatError::CriticalHeader),
                    _ => return Err(FormatError::UnknownHeader),
                }
                Ok(())
            })
            .map_err(of_header)?;
        inner.end()?;
        Ok(Self {
            headers,
            algorithm: algorithm.ok_or(FormatError::NoAlgorithm)?,
            key_id: key_id.ok_or(FormatError::NoKeyId)?,
            delegation,
            payload,
            signature,
        })
    }

    /// The id of the key that is said to have signed, in hexadecimal digits.
    pub(crate) fn key_id(&self) -> String {
        hex(&self.key_id)
    }

    /// What [`Self::key_id`] writes in digits.
    pub(crate) fn key_id_bytes(&self) -> [u8; KEY_ID_BYTES] {
        self.key_id
    }

    /// Whether this key signed it in this domain.
    pub(crate) fn verify(&self, key: &PublicKey, domain: &str) -> Result<(), Refusal> {
        if key.key_id_bytes() != self.key_id {
            return Err(Refusal::OtherKey);
        }
        if key.algorithm() != self.algorithm {
            return Err(Refusal::OtherAlgorithm);
        }
        let is_one = self.algorithm != Algorithm::EcdsaP256 || is_low(&self.signature);
        let covered = covered(self.headers, domain, self.payload);
        if is_one && key.verify(&covered, &self.signature) {
            Ok(())
        } else {
            Err(Refusal::Forged)
        }
    }
}

/// A field too many in the headers is a header that nobody knows.
fn of_header(error: FormatError) -> FormatError {
    if error == FormatError::UnknownField {
        FormatError::UnknownHeader
    } else {
        error
    }
}

/// `Sig_structure` of RFC 9052 §4.4; the domain is its external data.
fn covered(headers: &[u8], domain: &str, payload: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer
        .array(4)
        .text("Signature1")
        .bytes(headers)
        .bytes(domain.as_bytes())
        .bytes(payload);
    writer.finish()
}

/// Whether S of a P-256 signature is the smaller one of the two that fit.
fn is_low(signature: &[u8]) -> bool {
    signature[SIGNATURE_BYTES / 2..] <= P256_ORDER_HALF[..]
}

/// Puts n − S in the place of an S above n / 2; both fit, and only one is taken.
fn make_low(signature: &mut [u8]) {
    if is_low(signature) {
        return;
    }
    let mut borrow = false;
    for (byte, order) in signature[SIGNATURE_BYTES / 2..]
        .iter_mut()
        .zip(P256_ORDER)
        .rev()
    {
        let (difference, first) = order.overflowing_sub(*byte);
        let (difference, second) = difference.overflowing_sub(u8::from(borrow));
        *byte = difference;
        borrow = first || second;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2];
    const DOMAIN: &str = "kiosk.test.v1";

    fn message(headers: &[u8], unprotected: &[u8], signature: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(4).bytes(headers);
        let mut bytes = writer.finish();
        bytes.extend(unprotected);
        let mut writer = Writer::new();
        writer.bytes(b"payload").bytes(signature);
        bytes.extend(writer.finish());
        bytes
    }

    fn refused(headers: &[u8]) -> FormatError {
        Message::parse(&message(headers, &[0xa0], &[0; 64])).unwrap_err()
    }

    #[test]
    fn a_word_is_believed_in_its_domain_only() {
        for algorithm in ALGORITHMS {
            let key = DeviceKey::generate(algorithm).unwrap();
            for delegation in [None, Some(&b"certificate"[..])] {
                let bytes = sign(&key, DOMAIN, b"payload", delegation).unwrap();
                let message = Message::parse(&bytes).unwrap();
                assert_eq!(message.payload, b"payload");
                assert_eq!(message.delegation, delegation);
                assert_eq!(message.key_id(), key.public().key_id());
                assert_eq!(message.verify(&key.public(), DOMAIN), Ok(()));
                assert_eq!(
                    message.verify(&key.public(), "kiosk.test.v2"),
                    Err(Refusal::Forged)
                );
                let other = DeviceKey::generate(algorithm).unwrap();
                assert_eq!(
                    message.verify(&other.public(), DOMAIN),
                    Err(Refusal::OtherKey)
                );
            }
        }
    }

    #[test]
    fn headers_outside_the_profile_are_refused_each_for_its_reason() {
        const KEY: [u8; 10] = [4, 0x48, 0, 0, 0, 0, 0, 0, 0, 0];
        let with = |parts: &[&[u8]]| parts.concat();
        for (headers, expected) in [
            (with(&[&[0xa1], &KEY]), FormatError::NoAlgorithm),
            (with(&[&[0xa1, 1, 0x27]]), FormatError::NoKeyId),
            (
                with(&[&[0xa2, 1, 0x26], &KEY, &[0]]),
                FormatError::TrailingBytes,
            ),
            (
                with(&[&[0xa2, 1, 0x18, 0x18], &KEY]),
                FormatError::UnknownAlgorithm,
            ),
            (
                with(&[&[0xa3, 1, 0x27, 2, 0x81, 1], &KEY]),
                FormatError::CriticalHeader,
            ),
            (
                with(&[&[0xa3, 1, 0x27, 3, 0], &KEY]),
                FormatError::UnknownHeader,
            ),
            (
                with(&[&[0xa3, 1, 0x27, 1, 0x27], &KEY]),
                FormatError::DuplicateKey,
            ),
            (with(&[&[0xa2], &KEY, &[1, 0x27]]), FormatError::KeyOrder),
            (with(&[&[0xa4]]), FormatError::UnknownHeader),
            (
                with(&[&[0xa2, 1, 0x27, 4, 0x41, 0]]),
                FormatError::OutOfRange { field: "key id" },
            ),
            (with(&[&[0xa2, 1, 0x27, 4, 7]]), FormatError::UnexpectedType),
            (with(&[]), FormatError::Truncated),
        ] {
            assert_eq!(refused(&headers), expected, "{}", hex(&headers));
        }
        let good = with(&[&[0xa2, 1, 0x27], &KEY]);
        Message::parse(&message(&good, &[0xa0], &[0; 64])).unwrap();
        // An unprotected header could be put in by anyone.
        let error = Message::parse(&message(&good, &[0xa1, 1, 0x27], &[0; 64])).unwrap_err();
        assert_eq!(error, FormatError::UnknownHeader);
        let error = Message::parse(&message(&good, &[0xa0], &[0; 63])).unwrap_err();
        assert_eq!(error, FormatError::OutOfRange { field: "signature" });
        // The tag of `COSE_Sign1` is another form of the same.
        let tagged = [vec![0xd2], message(&good, &[0xa0], &[0; 64])].concat();
        let error = Message::parse(&tagged).unwrap_err();
        assert_eq!(error, FormatError::UnexpectedType);
    }

    #[test]
    fn an_algorithm_that_was_swapped_in_the_header_is_refused() {
        for (algorithm, number) in [(Algorithm::Ed25519, 0x26), (Algorithm::EcdsaP256, 0x27)] {
            let key = DeviceKey::generate(algorithm).unwrap();
            let mut bytes = sign(&key, DOMAIN, b"payload", None).unwrap();
            // The header stands first: 84 4d a2 01 ALGORITHM.
            assert_eq!(bytes[3], 1);
            bytes[4] = number;
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(
                message.verify(&key.public(), DOMAIN),
                Err(Refusal::OtherAlgorithm)
            );
        }
    }

    #[test]
    fn the_other_signature_of_a_curve_is_refused() {
        let key = DeviceKey::generate(Algorithm::EcdsaP256).unwrap();
        for _ in 0..8 {
            let bytes = sign(&key, DOMAIN, b"payload", None).unwrap();
            let message = Message::parse(&bytes).unwrap();
            assert!(is_low(&message.signature));
            let mut other = message.signature;
            let mut borrow = 0;
            for index in (32..64).rev() {
                let value = i16::from(P256_ORDER[index - 32]) - i16::from(other[index]) - borrow;
                borrow = i16::from(value < 0);
                other[index] = u8::try_from(value.rem_euclid(256)).unwrap();
            }
            let covered = covered(message.headers, DOMAIN, b"payload");
            assert!(key.public().verify(&covered, &other), "it fits by itself");
            let other = Message {
                signature: other,
                ..message
            };
            assert_eq!(other.verify(&key.public(), DOMAIN), Err(Refusal::Forged));
        }
    }

    #[test]
    fn a_signature_with_the_order_added_is_refused() {
        // The order of the base point of Ed25519 (RFC 8032 §5.1), little endian.
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let bytes = sign(&key, DOMAIN, b"payload", None).unwrap();
        let message = Message::parse(&bytes).unwrap();
        let mut signature = message.signature;
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            carry = sum >> 8;
            *byte = sum.to_le_bytes()[0];
        }
        assert_eq!(carry, 0);
        let other = Message {
            signature,
            ..message
        };
        assert_eq!(other.verify(&key.public(), DOMAIN), Err(Refusal::Forged));
    }

    #[test]
    fn half_of_the_order_is_half_of_it() {
        let mut carry = 1;
        for (half, order) in P256_ORDER_HALF.iter().zip(P256_ORDER).rev() {
            let sum = u16::from(*half) * 2 + carry;
            carry = sum >> 8;
            assert_eq!(sum.to_le_bytes()[0], order);
        }
        assert_eq!(carry, 0);
    }

    #[test]
    fn space_around_a_text_is_no_part_of_it() {
        let text = to_text("KX1:", b"bytes");
        assert_eq!(from_text("KX1:", &text), Ok(b"bytes".to_vec()));
        assert_eq!(
            from_text("KX1:", &format!(" {text}\r\n")),
            Ok(b"bytes".to_vec())
        );
        assert_eq!(
            from_text("KY1:", &text),
            Err(FormatError::Prefix { expected: "KY1:" })
        );
    }
}
