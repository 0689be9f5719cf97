//! The two cryptographic suites, and the digest each of them uses.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use serde::{Deserialize, Serialize};
use sm3::{Digest as _, Sm3};

use crate::SealingError;

/// Which family of algorithms is in use. Both work everywhere; the platform's key chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Suite {
    /// HPKE with X25519 and AES-256-GCM (RFC 9180), SHA-256.
    Intl,
    /// SM2 (GB/T 32918), SM4-GCM (GB/T 32907, RFC 8998), SM3 (GB/T 32905).
    Gm,
}

impl Suite {
    /// The suite's digest of `bytes`: SHA-256 or SM3.
    pub fn digest(self, bytes: &[u8]) -> [u8; 32] {
        match self {
            Self::Intl => sha256_of(&[bytes]),
            Self::Gm => Sm3::digest(bytes).into(),
        }
    }

    /// Its word in configuration, texts of keys and on the wire.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Intl => "intl",
            Self::Gm => "gm",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl FromStr for Suite {
    type Err = SealingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "intl" => Ok(Self::Intl),
            "gm" => Ok(Self::Gm),
            _ => Err(SealingError::UnknownSuite),
        }
    }
}

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha256_of(&[bytes])
}

/// SHA-256 of the parts, one after the other.
pub(crate) fn sha256_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

/// The value of a running SHA-256.
pub(crate) fn finish(context: digest::Context) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::hex;

    #[test]
    fn sm3_agrees_with_the_standard() {
        // GB/T 32905-2016, A.1 and A.2.
        assert_eq!(
            hex(&Suite::Gm.digest(b"abc")),
            "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
        );
        assert_eq!(
            hex(&Suite::Gm.digest("abcd".repeat(16).as_bytes())),
            "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
        );
    }

    #[test]
    fn sha256_agrees_with_the_standard() {
        // FIPS 180-2, B.1.
        assert_eq!(
            hex(&Suite::Intl.digest(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn words_survive_a_round_trip() {
        for suite in [Suite::Intl, Suite::Gm] {
            assert_eq!(suite.to_string().parse(), Ok(suite));
            assert_eq!(
                serde_json::to_string(&suite).unwrap(),
                format!("\"{suite}\"")
            );
        }
        assert_eq!("GM".parse::<Suite>(), Err(SealingError::UnknownSuite));
    }
}
