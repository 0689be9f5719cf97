//! Texts of bytes, and back: base64url for keys and signed texts, hexadecimal for digests.
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
    fn digests_survive_their_digits() {
        let hash: [u8; 32] = std::array::from_fn(|index| u8::try_from(index * 8).unwrap());
        assert_eq!(hash_from_hex(&hex(&hash)), Some(hash));
        assert_eq!(hash_from_hex(&hex(&hash).to_uppercase()), None);
        assert_eq!(hash_from_hex(&hex(&hash[1..])), None);
        assert_eq!(hash_from_hex(&"é".repeat(32)), None);
    }
}
