//! The second factor: a PIN, kept as what Argon2id (RFC 9106) makes of it.
//!
//! The memory is the smallest of the pairs that OWASP recommends (19 MiB, two passes, one lane):
//! 64 MiB would be a thirtieth of a terminal with 2 GB. The parameters belong to the version of the
//! signed word, so that nobody outside can ask for more memory. Six digits that somebody can try at
//! home are no secret for long; what protects is that the PIN is worth nothing without a permission
//! for the challenge that is shown, and that a terminal counts wrong ones.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use argon2::{Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use crate::FormatError;
use crate::cbor::{Reader, Writer};

/// How many digits a PIN has.
pub const PIN_DIGITS: RangeInclusive<usize> = 6..=12;

/// Memory in KiB, passes and lanes: OWASP Password Storage Cheat Sheet, Argon2id, first pair.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// RFC 9106 §3.1: 16 bytes of salt; §4: a tag of 128 bits suffices.
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 16;
/// Names those parameters in signed words.
const PARAMETERS: u64 = 1;
/// The same in the text form of the reference implementation (P-H-C/phc-winner-argon2).
const TEXT_PREFIX: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

/// Why there is no verifier of a PIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Not 6 to 12 digits.
    #[error("a PIN has 6 to 12 digits")]
    NotDigits,
    /// A text is not a verifier of this kind.
    #[error("the text is not what was kept of a PIN")]
    BadText,
    /// The system gave no randomness, or not the 19 MiB of memory.
    #[error("the system gives no randomness or memory")]
    NoResources,
}

/// What is kept of a PIN.
#[derive(Clone, PartialEq, Eq, ZeroizeOnDrop)]
pub struct PinVerifier {
    salt: [u8; SALT_BYTES],
    hash: [u8; HASH_BYTES],
}

impl PinVerifier {
    /// Makes a verifier with a new salt; takes 19 MiB and some tens of milliseconds.
    ///
    /// # Errors
    /// `NotDigits`, `NoResources`.
    pub fn new(pin: &str) -> Result<Self, PinError> {
        if !is_pin(pin) {
            return Err(PinError::NotDigits);
        }
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| PinError::NoResources)?;
        let hash = hash(pin, &salt).ok_or(PinError::NoResources)?;
        Ok(Self { salt, hash: *hash })
    }

    /// Whether this is the PIN; takes as long as [`Self::new`], however wrong it is.
    pub fn matches(&self, pin: &str) -> bool {
        is_pin(pin) && hash(pin, &self.salt).is_some_and(|hash| bool::from(hash.ct_eq(&self.hash)))
    }

    /// Its text, for a file of the operator's; [`FromStr`] reads it.
    pub fn to_text(&self) -> String {
        format!(
            "{TEXT_PREFIX}{}${}",
            STANDARD_NO_PAD.encode(self.salt),
            STANDARD_NO_PAD.encode(self.hash)
        )
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer
            .array(3)
            .uint(PARAMETERS)
            .bytes(&self.salt)
            .bytes(&self.hash);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let count = reader.array(3, "PIN")?;
        if count != 3 || reader.uint()? != PARAMETERS {
            return Err(FormatError::OutOfRange { field: "PIN" });
        }
        Ok(Self {
            salt: reader.exactly("PIN")?,
            hash: reader.exactly("PIN")?,
        })
    }
}

impl fmt::Debug for PinVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PinVerifier(<redacted>)")
    }
}

impl FromStr for PinVerifier {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn parse(text: &str) -> Option<PinVerifier> {
            let (salt, hash) = text.strip_prefix(TEXT_PREFIX)?.split_once('$')?;
            Some(PinVerifier {
                salt: STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?,
                hash: STANDARD_NO_PAD.decode(hash).ok()?.try_into().ok()?,
            })
        }
        // 31 letters of parameters, and 22 for each of the two.
        Some(text)
            .filter(|text| text.len() <= 128)
            .and_then(parse)
            .ok_or(PinError::BadText)
    }
}

fn is_pin(pin: &str) -> bool {
    PIN_DIGITS.contains(&pin.len()) && pin.bytes().all(|byte| byte.is_ascii_digit())
}

/// What Argon2id makes of a PIN; nothing when there is no memory for it.
fn hash(pin: &str, salt: &[u8; SALT_BYTES]) -> Option<Zeroizing<[u8; HASH_BYTES]>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).ok()?;
    let count = params.block_count();
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, params);
    let mut blocks: Vec<Block> = Vec::new();
    blocks.try_reserve_exact(count).ok()?;
    blocks.resize_with(count, Block::default);
    let mut hash = Zeroizing::new([0; HASH_BYTES]);
    let made = argon2.hash_password_into_with_memory(
        pin.as_bytes(),
        salt,
        hash.as_mut_slice(),
        blocks.as_mut_slice(),
    );
    blocks.iter_mut().for_each(Block::zeroize);
    made.ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_matches_itself_only() {
        let verifier = PinVerifier::new("402917").unwrap();
        assert!(verifier.matches("402917"));
        for wrong in ["402918", "4029170", "", "40291", "４０２９１７", "402917 "] {
            assert!(!verifier.matches(wrong), "{wrong}");
        }
        let again = PinVerifier::new("402917").unwrap();
        assert_ne!(verifier, again, "each has its salt");
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for pin in ["", "12345", "1234567890123", "12345a", "１２３４５６"] {
            assert_eq!(PinVerifier::new(pin), Err(PinError::NotDigits), "{pin}");
        }
    }

    #[test]
    fn the_text_is_that_of_the_reference_implementation() {
        // OpenSSL 3.2 (Argon2id, salt `saltsaltsaltsalt`, a tag of 16 bytes).
        let expected =
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$feOHjWTKG8Ls5eoMI3FFgQ";
        let verifier: PinVerifier = expected.parse().unwrap();
        assert!(verifier.matches("402917"));
        assert!(!verifier.matches("402916"));
        assert_eq!(verifier.to_text(), expected);
        for text in [
            "",
            "$argon2id$v=19$m=65536,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA",
            &format!("{expected}{}", "A".repeat(200)),
        ] {
            assert_eq!(text.parse::<PinVerifier>(), Err(PinError::BadText));
        }
    }

    #[test]
    fn a_verifier_never_shows() {
        let verifier = PinVerifier::new("402917").unwrap();
        assert_eq!(format!("{verifier:?}"), "PinVerifier(<redacted>)");
    }
}
