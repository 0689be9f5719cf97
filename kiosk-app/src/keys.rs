//! The terminal's own keys: one Ed25519 key that signs slips, one secret that makes digests of
//! persons. Both are made at the first start and live in the state directory, readable by the
//! terminal alone.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file cannot be read or written.
    #[error("the key file cannot be read or written")]
    Io(#[from] std::io::Error),
    /// A key file does not hold a key.
    #[error("the key file {0} is damaged; restore it, or remove it to make the terminal a new one")]
    Damaged(String),
}

/// The keys of this terminal.
pub struct Keys {
    signing: Ed25519KeyPair,
    digest: ring::hmac::Key,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(<redacted>)")
    }
}

impl Keys {
    /// Opens the keys in `directory`, making them when they do not exist.
    ///
    /// # Errors
    /// [`KeyError`]; a damaged file is never overwritten.
    pub fn open(directory: &Path) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let signing = open_file(&directory.join("device-key.pk8"), || {
            Ed25519KeyPair::generate_pkcs8(&random)
                .map(|document| document.as_ref().to_vec())
                .map_err(|_| KeyError::Damaged("device-key.pk8".to_owned()))
        })?;
        let digest = open_file(&directory.join("digest-key"), || {
            let mut secret = vec![0_u8; 32];
            random
                .fill(&mut secret)
                .map_err(|_| KeyError::Damaged("digest-key".to_owned()))?;
            Ok(secret)
        })?;
        if digest.len() != 32 {
            return Err(KeyError::Damaged("digest-key".to_owned()));
        }
        Ok(Self {
            signing: Ed25519KeyPair::from_pkcs8(&signing)
                .map_err(|_| KeyError::Damaged("device-key.pk8".to_owned()))?,
            digest: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &digest),
        })
    }

    /// Signs a text; base64url without padding.
    pub fn sign(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.signing.sign(text.as_bytes()))
    }

    /// The public key, base64url without padding.
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.signing.public_key())
    }

    /// A keyed digest that stands for a person where the number must not.
    pub fn subject(&self, number: &str) -> [u8; 32] {
        let tag = ring::hmac::sign(&self.digest, number.as_bytes());
        let mut subject = [0; 32];
        subject.copy_from_slice(tag.as_ref());
        subject
    }
}

/// Reads a file, or writes what `make` makes: synced, owner-only, then renamed into place.
fn open_file(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, KeyError>,
) -> Result<Vec<u8>, KeyError> {
    match std::fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(4096).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes = make()?;
            let new = path.with_extension("new");
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, path)?;
            if let Some(directory) = path.parent() {
                std::fs::File::open(directory)?.sync_all()?;
            }
            Ok(bytes)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_a_restart_and_damage_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let first = Keys::open(directory.path()).unwrap();
        let second = Keys::open(directory.path()).unwrap();
        assert_eq!(first.public(), second.public());
        assert_eq!(first.subject("a"), second.subject("a"));
        assert_ne!(first.subject("a"), first.subject("b"));
        std::fs::write(directory.path().join("digest-key"), b"short").unwrap();
        assert!(matches!(
            Keys::open(directory.path()),
            Err(KeyError::Damaged(_))
        ));
        assert_eq!(
            std::fs::read(directory.path().join("digest-key")).unwrap(),
            b"short"
        );
    }
}
