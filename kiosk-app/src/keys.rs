//! The terminal's own keys: the device key, which signs slips, requests and the audit log and may live
//! in a file, a systemd credential or a TPM; and one secret that makes digests of persons, which is
//! made at the first start and lives in the state directory, readable by the terminal alone.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kiosk_sealing::{DeviceKey, KeySource, PublicKey, write_private};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// File of the secret that makes digests of persons.
const DIGEST_KEY: &str = "digest-key";
/// Its length in bytes, that of the digest (RFC 2104 section 3).
const DIGEST_KEY_BYTES: usize = 32;

/// Most bytes of a key file that are read; more is no key.
const KEY_BYTES_MAX: usize = 4096;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file cannot be read or written.
    #[error("the key file cannot be read or written")]
    Io(#[from] std::io::Error),
    /// A key file does not hold a key.
    #[error("the key file {0} is damaged; restore it, or remove it to make the terminal a new one")]
    Damaged(String),
    /// The device key cannot be used.
    #[error("the device key cannot be used: {0}")]
    Device(#[from] kiosk_sealing::KeyError),
}

/// The keys of this terminal.
pub struct Keys {
    device: Arc<DeviceKey>,
    digest: ring::hmac::Key,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(<redacted>)")
    }
}

impl Keys {
    /// Opens the device key where it is kept and the secret of digests in `directory`, making what
    /// does not exist yet.
    ///
    /// # Errors
    /// [`KeyError`]; a damaged file is never overwritten.
    pub fn open(directory: &Path, source: &KeySource) -> Result<Self, KeyError> {
        let device = Arc::new(DeviceKey::open(source)?);
        let digest = open_file(&directory.join(DIGEST_KEY), || {
            let mut secret = Zeroizing::new(vec![0_u8; DIGEST_KEY_BYTES]);
            SystemRandom::new()
                .fill(&mut secret)
                .map_err(|_| KeyError::Damaged(DIGEST_KEY.to_owned()))?;
            Ok(secret)
        })?;
        if digest.len() != DIGEST_KEY_BYTES {
            return Err(KeyError::Damaged(DIGEST_KEY.to_owned()));
        }
        Ok(Self {
            device,
            digest: ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &digest),
        })
    }

    /// The device key, for whoever else signs with it.
    pub fn device(&self) -> &Arc<DeviceKey> {
        &self.device
    }

    /// Signs a text; base64url without padding.
    ///
    /// # Errors
    /// `Device` when whoever keeps the key does not sign.
    pub fn sign(&self, text: &str) -> Result<String, KeyError> {
        Ok(URL_SAFE_NO_PAD.encode(self.device.sign(text.as_bytes())?))
    }

    /// The public half of the device key.
    pub fn public(&self) -> PublicKey {
        self.device.public()
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
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, KeyError>,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    match std::fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES_MAX));
            file.take(KEY_BYTES_MAX as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes = make()?;
            write_private(path, &bytes)?;
            Ok(bytes)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::Algorithm;

    use super::*;

    fn open(directory: &Path) -> Result<Keys, KeyError> {
        let source = KeySource::File {
            path: directory.join("device-key.pk8"),
            algorithm: Algorithm::Ed25519,
        };
        Keys::open(directory, &source)
    }

    #[test]
    fn keys_survive_a_restart_and_damage_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path()).unwrap();
        let second = open(directory.path()).unwrap();
        assert_eq!(first.public(), second.public());
        assert_eq!(first.subject("a"), second.subject("a"));
        assert_ne!(first.subject("a"), first.subject("b"));
        for (file, is_device) in [("digest-key", false), ("device-key.pk8", true)] {
            let path = directory.path().join(file);
            std::fs::write(&path, b"short").unwrap();
            let error = open(directory.path()).unwrap_err();
            assert_eq!(matches!(error, KeyError::Device(_)), is_device, "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), b"short");
        }
    }

    #[test]
    fn a_signature_of_the_terminal_verifies_under_its_public_key() {
        let directory = tempfile::tempdir().unwrap();
        let keys = open(directory.path()).unwrap();
        let signature = URL_SAFE_NO_PAD.decode(keys.sign("slip").unwrap()).unwrap();
        assert!(keys.public().verify(b"slip", &signature));
        assert!(!keys.public().verify(b"slop", &signature));
    }
}
