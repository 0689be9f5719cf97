//! Texts of bytes, and back: base64url for keys and signed texts, hexadecimal for digests, Base45
//! for what travels as a QR symbol.
//! Decoding is strict (one text for each value) and bounded by the caller.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Bytes as base64url without padding (RFC 4648 §5).
pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Bytes of a base64url text without padding; refuses padding, other letters and loose bits.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Bytes as padded base64 (RFC 4648 §4), as structured fields want it (RFC 9651 §3.3.5).
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes of a padded base64 text.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The letters of Base45 (RFC 9285 §4): those of the alphanumeric mode of a QR symbol.
const BASE45: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";

/// Bytes as Base45 (RFC 9285 §4). The text never ends in a space, which a scanner or a form could
/// cut off: the last letter of a group stands for 32 at most, a space for 36.
pub(crate) fn base45(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(2) * 3);
    for pair in bytes.chunks(2) {
        let value = pair
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte));
        let letters = [value % 45, value / 45 % 45, value / (45 * 45)];
        // A byte alone takes two letters.
        for digit in &letters[..=pair.len()] {
            text.push(char::from(BASE45[*digit]));
        }
    }
    text
}

/// Bytes of a Base45 text; refuses other letters, a lone letter at the end and groups that stand
/// for more than their bytes can hold.
pub(crate) fn from_base45(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 3 * 2 + 1);
    for group in text.as_bytes().chunks(3) {
        let mut value = 0;
        for letter in group.iter().rev() {
            let digit = BASE45.iter().position(|known| known == letter)?;
            value = value * 45 + digit;
        }
        if group.len() == 3 {
            bytes.extend(u16::try_from(value).ok()?.to_be_bytes());
        } else if group.len() == 2 {
            bytes.push(u8::try_from(value).ok()?);
        } else {
            return None;
        }
    }
    Some(bytes)
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Thirty-two bytes of sixty-four lower-case hexadecimal digits.
pub(crate) fn hash_from_hex(text: &str) -> Option<[u8; 32]> {
    fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        }
    }
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

/// A digest as hexadecimal digits in JSON.
pub(crate) mod hex_hash {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(
        hash: &[u8; 32],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::hex(hash))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        super::hash_from_hex(&text).ok_or_else(|| D::Error::custom("not a digest in hexadecimal"))
    }
}

/// A digest that may be absent, as hexadecimal digits in JSON.
pub(crate) mod hex_hash_option {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(
        clippy::ref_option,
        reason = "the form that serde's `with` attribute calls"
    )]
    pub(crate) fn serialize<S: Serializer>(
        hash: &Option<[u8; 32]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match hash {
            Some(hash) => serializer.serialize_some(&super::hex(hash)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<[u8; 32]>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| {
                super::hash_from_hex(&text)
                    .ok_or_else(|| D::Error::custom("not a digest in hexadecimal"))
            })
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_one_text() {
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(from_base64url("-_8"), Some(vec![0xfb, 0xff]));
        // Loose bits, padding and the other alphabet.
        for text in ["-_9", "-_8=", "+/8", "-_ 8", "-"] {
            assert_eq!(from_base64url(text), None, "{text}");
        }
        assert_eq!(base64(&[0xfb]), "+w==");
        assert_eq!(from_base64("+w"), None);
    }

    #[test]
    fn base45_agrees_with_rfc_9285() {
        // RFC 9285, 4.3 and 4.4.
        for (bytes, text) in [
            (&b"AB"[..], "BB8"),
            (b"Hello!!", "%69 VD92EX0"),
            (b"base-45", "UJCLQE7W581"),
            (b"ietf!", "QED8WEX0"),
            (b"", ""),
        ] {
            assert_eq!(base45(bytes), text);
            assert_eq!(from_base45(text).as_deref(), Some(bytes));
        }
        // A lone letter, a group too large, a small letter, a letter of more than one byte.
        for text in ["A", "BB8A", "GGW", "::", "bb8", "BB8é"] {
            assert_eq!(from_base45(text), None, "{text}");
        }
        assert_eq!(from_base45("FGW"), Some(vec![0xff, 0xff]));
    }

    #[test]
    fn no_base45_text_ends_in_a_space() {
        for first in 0..=255 {
            assert!(!base45(&[first]).ends_with(' '));
            for second in 0..=255 {
                let text = base45(&[first, second]);
                assert!(!text.ends_with(' '));
                assert_eq!(from_base45(&text), Some(vec![first, second]));
            }
        }
    }

    #[test]
    fn digests_survive_their_digits() {
        let hash: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 8).unwrap());
        assert_eq!(hash_from_hex(&hex(&hash)), Some(hash));
        assert_eq!(hash_from_hex(&hex(&hash).to_uppercase()), None);
        assert_eq!(hash_from_hex(&hex(&hash[1..])), None);
        assert_eq!(hash_from_hex(&"é".repeat(32)), None);
    }
}
