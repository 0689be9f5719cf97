//! The electronic seal of the reference platform: an Ed25519 key made at the first start, and
//! signatures over the digest of a certificate. The issuer says that it is a sample.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiosk_sealing::{hex, sha256, write_private};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::Serialize;

/// Whose seal it is; synthetic.
pub(crate) const ISSUER: &str = "测试市人力资源和社会保障局(样例)";
/// File of the key pair, PKCS#8.
const KEY_FILE: &str = "seal-key.pk8";

/// The key that seals.
pub(crate) struct SealKey {
    pair: Ed25519KeyPair,
    pub(crate) key_id: String,
}

/// A seal beside the document it covers.
#[derive(Serialize)]
pub(crate) struct Seal {
    issuer: &'static str,
    key_id: String,
    algorithm: &'static str,
    digest: String,
    signature: String,
    sealed_at: jiff::Timestamp,
}

/// A public key of the platform.
#[derive(Serialize)]
pub(crate) struct PublishedKey {
    pub(crate) key_id: String,
    issuer: &'static str,
    pub(crate) public_key: String,
}

impl SealKey {
    /// Where the key of a directory lies.
    pub(crate) fn path(directory: &Path) -> PathBuf {
        directory.join(KEY_FILE)
    }

    /// Reads the key of a directory; makes it when there is none.
    pub(crate) fn load_or_make(directory: &Path) -> io::Result<Self> {
        let path = Self::path(directory);
        let document = match fs::read(&path) {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path)?,
            Err(error) => return Err(error),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&document)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the seal key is damaged"))?;
        let key_id = hex(&sha256(pair.public_key().as_ref()))[..16].to_owned();
        Ok(Self { pair, key_id })
    }

    pub(crate) fn seal(&self, document: &[u8], now: jiff::Timestamp) -> Seal {
        let digest = hex(&sha256(document));
        Seal {
            issuer: ISSUER,
            key_id: self.key_id.clone(),
            algorithm: "ed25519",
            signature: STANDARD.encode(self.pair.sign(digest.as_bytes())),
            digest,
            sealed_at: now,
        }
    }

    pub(crate) fn public_key(&self) -> PublishedKey {
        PublishedKey {
            key_id: self.key_id.clone(),
            issuer: ISSUER,
            public_key: STANDARD.encode(self.pair.public_key()),
        }
    }
}

fn make(path: &Path) -> io::Result<Vec<u8>> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| io::Error::other("the system gives no randomness"))?;
    write_private(path, document.as_ref())?;
    Ok(document.as_ref().to_vec())
}

/// Whether a seal covers a document: `public_key` and `signature` are base64 as they travel.
pub fn verify_seal(public_key: &str, document: &[u8], signature: &str) -> bool {
    let (Ok(public_key), Ok(signature)) = (STANDARD.decode(public_key), STANDARD.decode(signature))
    else {
        return false;
    };
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(hex(&sha256(document)).as_bytes(), &signature)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_covers_its_document_only_and_the_key_stays() {
        let directory = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        let key = SealKey::load_or_make(directory.path()).unwrap();
        let seal = key.seal(b"proof", now);
        let public = key.public_key().public_key;
        assert!(verify_seal(&public, b"proof", &seal.signature));
        assert!(!verify_seal(&public, b"proof!", &seal.signature));
        assert!(!verify_seal(&public, b"proof", "AAAA"));
        assert!(!verify_seal("?", b"proof", &seal.signature));
        let again = SealKey::load_or_make(directory.path()).unwrap();
        assert_eq!(again.key_id, key.key_id);
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_FILE), b"x").unwrap();
        assert!(SealKey::load_or_make(directory.path()).is_err());
        assert_eq!(fs::read(directory.path().join(KEY_FILE)).unwrap(), b"x");
    }
}
