//! Signed texts: commands, desired state, receipts and checkpoints on their way through hands
//! that may not change them.
//!
//! A text is `<key id>.<base64url body>.<base64url signature>`. The signature covers a domain, a
//! zero byte and the body, so a text of one kind never passes for another. Whether it is fresh,
//! or was seen before, is the caller's to say.

use crate::encoding::{base64url, from_base64url};
use crate::{DeviceKey, KeyError, PublicKey};

/// Domain of commands.
pub const COMMAND: &str = "kiosk.command.v1";
/// Domain of the desired state.
pub const DESIRED_STATE: &str = "kiosk.desired-state.v1";
/// Domain of receipts that travel on a stick.
pub const RECEIPTS: &str = "kiosk.receipts.v1";
/// Domain of checkpoints of the audit chain.
pub const CHECKPOINT: &str = "kiosk.audit-checkpoint.v1";
/// Domain of carry-out bundles.
pub const BUNDLE: &str = "kiosk.bundle.v1";

/// Letters of a key id.
const KEY_ID_LETTERS: usize = 16;
/// Letters of a signature: 64 bytes in base64url.
const SIGNATURE_LETTERS: usize = 86;

/// Why a signed text was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// Longer than the caller allows; not looked at.
    #[error("the signed text is longer than {body_bytes_max} bytes of content allow")]
    TooLarge {
        /// Most bytes the body may have.
        body_bytes_max: usize,
    },
    /// Not of the form `key id.body.signature`.
    #[error("the text is not a signed text")]
    Malformed,
    /// Signed by a key that is not trusted here.
    #[error("the text is signed by key {key_id}, which is not trusted here")]
    UnknownKey {
        /// Id the text names.
        key_id: String,
    },
    /// The signature does not cover this body in this domain.
    #[error("the signature does not fit the text")]
    Forged,
}

impl SignedError {
    /// Stable problem code, explained in `kiosk-app/problems.toml`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "command.too-large",
            Self::Malformed => "command.malformed",
            Self::UnknownKey { .. } => "command.unknown-key",
            Self::Forged => "command.forged",
        }
    }
}

/// Signs a body for a domain.
///
/// # Errors
/// What [`DeviceKey::sign`] says.
pub fn sign(key: &DeviceKey, domain: &str, body: &[u8]) -> Result<String, KeyError> {
    let signature = key.sign(&message(domain, body))?;
    Ok(format!(
        "{}.{}.{}",
        key.public().key_id(),
        base64url(body),
        base64url(&signature)
    ))
}

/// Checks a text against the trusted keys and gives its body of at most `body_max` bytes.
///
/// # Errors
/// [`SignedError`]; nothing of the text is to be used then.
pub fn verify(
    keys: &[PublicKey],
    domain: &str,
    text: &str,
    body_max: usize,
) -> Result<Vec<u8>, SignedError> {
    let too_large = SignedError::TooLarge {
        body_bytes_max: body_max,
    };
    let body_letters_max = body_max.saturating_mul(4).div_ceil(3);
    let letters_max = body_letters_max.saturating_add(KEY_ID_LETTERS + SIGNATURE_LETTERS + 2);
    if text.len() > letters_max {
        return Err(too_large);
    }
    let mut parts = text.splitn(3, '.');
    let (Some(key_id), Some(body), Some(signature)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(SignedError::Malformed);
    };
    let is_key_id = key_id.len() == KEY_ID_LETTERS
        && key_id
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_key_id || signature.len() != SIGNATURE_LETTERS {
        return Err(SignedError::Malformed);
    }
    if body.len() > body_letters_max {
        return Err(too_large);
    }
    let body = from_base64url(body).ok_or(SignedError::Malformed)?;
    let signature = from_base64url(signature).ok_or(SignedError::Malformed)?;
    let key = keys
        .iter()
        .find(|key| key.key_id() == key_id)
        .ok_or_else(|| SignedError::UnknownKey {
            key_id: key_id.to_owned(),
        })?;
    if key.verify(&message(domain, &body), &signature) {
        Ok(body)
    } else {
        Err(SignedError::Forged)
    }
}

/// What a signature covers; no domain holds a zero byte.
fn message(domain: &str, body: &[u8]) -> Vec<u8> {
    [domain.as_bytes(), &[0], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;

    fn key() -> DeviceKey {
        DeviceKey::generate(Algorithm::Ed25519).unwrap()
    }

    #[test]
    fn a_signed_text_gives_its_body_back() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
            let (other, key) = (key(), DeviceKey::generate(algorithm).unwrap());
            for body in [&b""[..], b"{}", &[255; 999]] {
                let text = sign(&key, COMMAND, body).unwrap();
                let keys = [other.public(), key.public()];
                assert_eq!(verify(&keys, COMMAND, &text, body.len()).unwrap(), body);
                if !body.is_empty() {
                    assert!(verify(&keys, COMMAND, &text, body.len() - 1).is_err());
                }
            }
        }
    }

    #[test]
    fn a_text_of_one_kind_does_not_pass_for_another() {
        let key = key();
        let text = sign(&key, COMMAND, b"{}").unwrap();
        for domain in [DESIRED_STATE, RECEIPTS, CHECKPOINT, BUNDLE, ""] {
            assert_eq!(
                verify(&[key.public()], domain, &text, 100),
                Err(SignedError::Forged)
            );
        }
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let text = sign(&key(), COMMAND, b"{}").unwrap();
        let error = verify(&[key().public()], COMMAND, &text, 100).unwrap_err();
        assert_eq!(error.code(), "command.unknown-key");
        assert!(verify(&[], COMMAND, &text, 100).is_err());
    }

    #[test]
    fn a_strangers_signature_under_a_trusted_name_is_forged() {
        let (ours, theirs) = (key(), key());
        let text = sign(&theirs, COMMAND, b"{}").unwrap();
        let text = text.replacen(&theirs.public().key_id(), &ours.public().key_id(), 1);
        assert_eq!(
            verify(&[ours.public()], COMMAND, &text, 100),
            Err(SignedError::Forged)
        );
    }

    #[test]
    fn every_altered_byte_and_every_cut_is_refused() {
        let key = key();
        let text = sign(&key, COMMAND, b"{\"kind\":\"lock\"}").unwrap();
        let keys = [key.public()];
        for index in 0..text.len() {
            for bit in [1, 2, 4, 8, 16, 32, 64] {
                let mut altered = text.clone().into_bytes();
                altered[index] ^= bit;
                let altered = String::from_utf8(altered).unwrap();
                assert!(
                    verify(&keys, COMMAND, &altered, 1000).is_err(),
                    "{index} {bit}"
                );
            }
            assert!(verify(&keys, COMMAND, &text[..index], 1000).is_err());
        }
        assert!(verify(&keys, COMMAND, &(text.clone() + "A"), 1000).is_err());
        assert!(verify(&keys, COMMAND, &(text + "."), 1000).is_err());
    }

    #[test]
    fn a_text_that_is_too_long_is_not_looked_at() {
        let error = verify(&[], COMMAND, &"A".repeat(1_000_000), 100).unwrap_err();
        assert_eq!(
            error,
            SignedError::TooLarge {
                body_bytes_max: 100
            }
        );
        assert_eq!(
            verify(&[], COMMAND, "a.b.c", usize::MAX),
            Err(SignedError::Malformed)
        );
    }
}
