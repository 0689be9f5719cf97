//! The platform's key that envelopes are sealed to, and its secret half.
//!
//! The terminal holds only the public half, so it cannot read back what it queues. Keys travel
//! as one line of text that names its suite.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::encoding::{base64url, from_base64url, hex};
use crate::{SealingError, Suite, gm, intl};

/// Longest text of a key that is looked at: a `gm` key has 90 letters.
const TEXT_BYTES_MAX: usize = 128;
/// Draws of a random scalar before giving up; one of 2³² fails for want of range.
const DRAWS_MAX: usize = 8;

/// A public key to seal to. Its text is `intl:<base64url>` (X25519, 32 bytes) or
/// `gm:<base64url>` (SM2, 65 bytes, uncompressed point).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecipientKey {
    suite: Suite,
    bytes: Vec<u8>,
}

impl RecipientKey {
    /// Checks that the bytes are a key of the suite.
    pub(crate) fn new(suite: Suite, bytes: Vec<u8>) -> Result<Self, SealingError> {
        let is_key = match suite {
            Suite::Intl => intl::is_public_key(&bytes),
            Suite::Gm => gm::is_public_key(&bytes),
        };
        if is_key {
            Ok(Self { suite, bytes })
        } else {
            Err(SealingError::BadKey)
        }
    }

    /// The suite that goes with this key.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Sixteen hexadecimal digits that name the key: the first 8 bytes of the suite's digest of
    /// the suite's word and the key's bytes.
    pub fn key_id(&self) -> String {
        hex(&self.key_id_bytes())
    }

    pub(crate) fn key_id_bytes(&self) -> [u8; 8] {
        let digest = self
            .suite
            .digest(&[self.suite.word().as_bytes(), &self.bytes].concat());
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        id
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for RecipientKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.suite, base64url(&self.bytes))
    }
}

impl FromStr for RecipientKey {
    type Err = SealingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(SealingError::BadKey);
        }
        let (suite, key) = text.split_once(':').ok_or(SealingError::BadKey)?;
        Self::new(
            suite.parse()?,
            from_base64url(key).ok_or(SealingError::BadKey)?,
        )
    }
}

impl TryFrom<String> for RecipientKey {
    type Error = SealingError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RecipientKey> for String {
    fn from(key: RecipientKey) -> Self {
        key.to_string()
    }
}

/// The secret half: opens envelopes. Wiped from memory when dropped.
#[derive(Clone)]
pub struct RecipientSecret {
    bytes: Zeroizing<[u8; 32]>,
    public: RecipientKey,
}

impl RecipientSecret {
    /// Makes a new pair of keys.
    ///
    /// # Errors
    /// `Random` when the system gives no randomness.
    pub fn generate(suite: Suite) -> Result<Self, SealingError> {
        let random = SystemRandom::new();
        for _ in 0..DRAWS_MAX {
            let mut bytes = Zeroizing::new([0; 32]);
            random
                .fill(bytes.as_mut())
                .map_err(|_| SealingError::Random)?;
            if let Ok(secret) = Self::new(suite, bytes) {
                return Ok(secret);
            }
        }
        Err(SealingError::Random)
    }

    fn new(suite: Suite, bytes: Zeroizing<[u8; 32]>) -> Result<Self, SealingError> {
        let public = match suite {
            Suite::Intl => intl::public_of(&bytes),
            Suite::Gm => gm::public_of(&bytes),
        };
        let public = RecipientKey::new(suite, public.ok_or(SealingError::BadKey)?)?;
        Ok(Self { bytes, public })
    }

    /// The key that envelopes for this secret are sealed to.
    pub fn public(&self) -> RecipientKey {
        self.public.clone()
    }

    /// The secret as text, `intl-secret:…` or `gm-secret:…`, to be kept in a file of mode 0600.
    pub fn to_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(base64url(self.bytes.as_ref()));
        Zeroizing::new(format!("{}-secret:{}", self.public.suite, encoded.as_str()))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    pub(crate) fn public_ref(&self) -> &RecipientKey {
        &self.public
    }
}

impl fmt::Debug for RecipientSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RecipientSecret")
            .field("key_id", &self.public.key_id())
            .finish_non_exhaustive()
    }
}

impl FromStr for RecipientSecret {
    type Err = SealingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(SealingError::BadKey);
        }
        let (word, secret) = text.split_once(':').ok_or(SealingError::BadKey)?;
        let suite = word.strip_suffix("-secret").ok_or(SealingError::BadKey)?;
        let decoded = Zeroizing::new(from_base64url(secret).ok_or(SealingError::BadKey)?);
        let mut bytes = Zeroizing::new([0; 32]);
        if decoded.len() != bytes.len() {
            return Err(SealingError::BadKey);
        }
        bytes.copy_from_slice(&decoded);
        Self::new(suite.parse()?, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_text() {
        for suite in [Suite::Intl, Suite::Gm] {
            let secret = RecipientSecret::generate(suite).unwrap();
            let public = secret.public();
            assert_eq!(public.suite(), suite);
            assert_eq!(public.to_string().parse::<RecipientKey>().unwrap(), public);
            assert_eq!(public.key_id().len(), 16);
            let again: RecipientSecret = secret.to_text().parse().unwrap();
            assert_eq!(again.public(), public);
            let json = serde_json::to_string(&public).unwrap();
            assert_eq!(json, format!("\"{public}\""));
            assert_eq!(serde_json::from_str::<RecipientKey>(&json).unwrap(), public);
        }
    }

    #[test]
    fn a_secret_never_shows() {
        let secret = RecipientSecret::generate(Suite::Gm).unwrap();
        let text = secret.to_text();
        let (_, hidden) = text.split_once(':').unwrap();
        assert!(!format!("{secret:?}").contains(hidden));
        assert!(!format!("{secret:?}").contains(&hex(secret.bytes())));
    }

    #[test]
    fn texts_that_are_no_keys_are_refused() {
        let off_the_curve = format!("gm:{}", base64url(&[4; 65]));
        let zero = format!("intl:{}", base64url(&[0; 32]));
        let short = format!("intl:{}", base64url(&[9; 31]));
        let long = "intl:".to_owned() + &"A".repeat(1000);
        for text in [
            "",
            "intl",
            "intl:",
            "gm:AAAA",
            "x:AAAA",
            &off_the_curve,
            &zero,
            &short,
            &long,
        ] {
            assert!(text.parse::<RecipientKey>().is_err(), "{text}");
        }
        let zero = format!("gm-secret:{}", base64url(&[0; 32]));
        let over = format!("gm-secret:{}", base64url(&[255; 32]));
        for text in ["", "gm:", "gm-secret:AA", &zero, &over] {
            assert!(text.parse::<RecipientSecret>().is_err(), "{text}");
        }
    }
}
