//! The key by which the platform knows this device. It signs requests, checkpoints of the audit
//! chain and bundles; it opens nothing.
//!
//! Where it lives is one `enum`: a file only its owner may read, a credential of the service
//! manager, or a TPM that never lets it out. The algorithm follows from the key, never from a
//! header that came with a signature.

mod protected;
mod stored;
mod tpm;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use sm2::dsa::signature::{RandomizedSigner as _, Verifier as _};
use sm2::dsa::{Signature, SigningKey, VerifyingKey};
use sm2::elliptic_curve::common::getrandom::SysRng;
use sm2::elliptic_curve::sec1::ToSec1Point as _;

use crate::encoding::{base64url, from_base64url, hex};
use crate::{KeyError, Suite};
use tpm::Tpm;

pub use protected::{
    KeyFileError, PASSPHRASE_BYTES, is_protected, new_key_document, open_key_file, protect_key,
};
pub use stored::{KEY_FILE_BYTES_MAX, pkcs8_document, write_private};

/// Who signs by SM2 (GM/T 0009 §10): the id that everybody uses when none was agreed on.
const SM2_SIGNER: &str = "1234567812345678";
/// Bytes of every signature: R ‖ S, 32 bytes each, in all three algorithms.
const SIGNATURE_BYTES: usize = 64;
/// Longest text of a public key that is looked at: `ecdsa-p256-sha256:` and 87 letters.
const TEXT_BYTES_MAX: usize = 128;

/// How a key signs. The words are those of the `alg` parameter of RFC 9421 §6.2, and
/// `sm2-sm3`, which is not registered there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Algorithm {
    /// `ed25519` (RFC 8032).
    Ed25519,
    /// `ecdsa-p256-sha256` (FIPS 186-5), R ‖ S.
    EcdsaP256,
    /// `sm2-sm3` (GB/T 32918.2), R ‖ S, signer id `1234567812345678`.
    Sm2,
}

impl Algorithm {
    fn word(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256-sha256",
            Self::Sm2 => "sm2-sm3",
        }
    }

    /// The suite whose digest names its keys.
    fn suite(self) -> Suite {
        match self {
            Self::Ed25519 | Self::EcdsaP256 => Suite::Intl,
            Self::Sm2 => Suite::Gm,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Ed25519, Self::EcdsaP256, Self::Sm2]
            .into_iter()
            .find(|algorithm| algorithm.word() == text)
            .ok_or(KeyError::BadText)
    }
}

impl TryFrom<String> for Algorithm {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Algorithm> for String {
    fn from(algorithm: Algorithm) -> Self {
        algorithm.word().to_owned()
    }
}

/// Where the key of the device is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A PKCS#8 file of mode 0600; made at the first start.
    File {
        /// The file.
        path: PathBuf,
        /// What to make when there is none, and what it must be when there is one.
        algorithm: Algorithm,
    },
    /// A credential that the service manager decrypted for us (`LoadCredentialEncrypted=`):
    /// PKCS#8, DER or PEM, of any of the algorithms.
    Credential {
        /// Name of the file in `$CREDENTIALS_DIRECTORY`.
        name: String,
    },
    /// A TPM 2.0. The key is derived from its owner seed by a fixed template, so nothing is
    /// stored: the same TPM gives the same key until its owner seed is cleared.
    Tpm {
        /// How to reach it: `device:/dev/tpmrm0`, or `swtpm:host=127.0.0.1,port=2321`.
        tcti: String,
    },
}

/// The key of the device.
pub struct DeviceKey {
    inner: Inner,
    public: PublicKey,
}

enum Inner {
    Ed25519(Box<Ed25519KeyPair>),
    EcdsaP256(Box<EcdsaKeyPair>),
    Sm2(Box<SigningKey>),
    Tpm(Box<Tpm>),
}

impl DeviceKey {
    /// Opens the key. A file key is made when there is none: written, synced, readable by its
    /// owner alone, then renamed into place.
    ///
    /// # Errors
    /// [`KeyError`]. A damaged or loosely protected file is never overwritten.
    pub fn open(source: &KeySource) -> Result<Self, KeyError> {
        match source {
            KeySource::File { path, algorithm } => stored::open_file(path, *algorithm),
            KeySource::Credential { name } => stored::open_credential(
                std::env::var_os("CREDENTIALS_DIRECTORY")
                    .map(PathBuf::from)
                    .as_deref(),
                name,
            ),
            KeySource::Tpm { tcti } => {
                let (tpm, public) = Tpm::open(tcti)?;
                Ok(Self {
                    inner: Inner::Tpm(Box::new(tpm)),
                    public,
                })
            }
        }
    }

    /// Makes a key that lives in memory only.
    ///
    /// # Errors
    /// `Random` when the system gives no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let document = stored::generate(algorithm)?;
        Self::from_pkcs8(&document).ok_or(KeyError::Random)
    }

    /// A key of a PKCS#8 document in DER; nothing when it is none of the three algorithms.
    pub(crate) fn from_pkcs8(document: &[u8]) -> Option<Self> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document) {
            let public = PublicKey::new(Algorithm::Ed25519, pair.public_key().as_ref())?;
            return Some(Self {
                inner: Inner::Ed25519(Box::new(pair)),
                public,
            });
        }
        if let Some(secret) = stored::sm2_secret(document) {
            let point = secret.public_key().to_sec1_point(false);
            let public = PublicKey::new(Algorithm::Sm2, point.as_bytes())?;
            let key = SigningKey::new(SM2_SIGNER, &secret).ok()?;
            return Some(Self {
                inner: Inner::Sm2(Box::new(key)),
                public,
            });
        }
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            document,
            &SystemRandom::new(),
        )
        .ok()?;
        let public = PublicKey::new(Algorithm::EcdsaP256, pair.public_key().as_ref())?;
        Some(Self {
            inner: Inner::EcdsaP256(Box::new(pair)),
            public,
        })
    }

    /// Signs a message. A TPM takes some tens to hundreds of milliseconds and serves one
    /// caller at a time.
    ///
    /// # Errors
    /// `Random`; `Tpm` when the TPM cannot be reached even after connecting anew; `TpmCleared`
    /// when it has become another one: the terminal must be registered again.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.inner {
            Inner::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Inner::EcdsaP256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Random),
            Inner::Sm2(key) => key
                .try_sign_with_rng(&mut SysRng, message)
                .map(|signature: Signature| signature.to_vec())
                .map_err(|_| KeyError::Random),
            Inner::Tpm(tpm) => tpm.sign(message),
        }
    }

    /// The public half, for the platform.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DeviceKey")
            .field("algorithm", &self.public.algorithm)
            .field("key_id", &self.public.key_id())
            .finish_non_exhaustive()
    }
}

/// A public key that signatures are checked with. Its text is `algorithm:<base64url>`: 32 bytes
/// for Ed25519, an uncompressed point of 65 bytes for the two others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Checks the form; an SM2 key also for being a point on its curve. For the others ring
    /// does so at each verification.
    pub(crate) fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        let is_key = match algorithm {
            Algorithm::Ed25519 => bytes.len() == 32,
            Algorithm::EcdsaP256 => bytes.len() == 65 && bytes[0] == 4,
            Algorithm::Sm2 => crate::gm::is_public_key(bytes),
        };
        is_key.then(|| Self {
            algorithm,
            bytes: bytes.to_vec(),
        })
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the signature is this key's over this message.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        if signature.len() != SIGNATURE_BYTES {
            return false;
        }
        match self.algorithm {
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.bytes)
                .verify(message, signature)
                .is_ok(),
            Algorithm::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes)
                .verify(message, signature)
                .is_ok(),
            Algorithm::Sm2 => {
                let (Ok(key), Ok(signature)) = (
                    VerifyingKey::from_sec1_bytes(SM2_SIGNER, &self.bytes),
                    Signature::from_slice(signature),
                ) else {
                    return false;
                };
                key.verify(message, &signature).is_ok()
            }
        }
    }

    /// Sixteen hexadecimal digits that name the key: the first 8 bytes of the digest (SHA-256,
    /// for SM2 keys SM3) of the algorithm's word and the key's bytes.
    pub fn key_id(&self) -> String {
        hex(&self.key_id_bytes())
    }

    /// What [`Self::key_id`] writes in digits.
    pub(crate) fn key_id_bytes(&self) -> [u8; 8] {
        let digest = self
            .algorithm
            .suite()
            .digest(&[self.algorithm.word().as_bytes(), &self.bytes].concat());
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        id
    }

    /// The key as its algorithm writes it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.algorithm, base64url(&self.bytes))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(KeyError::BadText);
        }
        let (algorithm, key) = text.split_once(':').ok_or(KeyError::BadText)?;
        let bytes = from_base64url(key).ok_or(KeyError::BadText)?;
        Self::new(algorithm.parse()?, &bytes).ok_or(KeyError::BadText)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2];

    #[test]
    fn a_signature_covers_its_message_and_key_only() {
        for algorithm in ALGORITHMS {
            let key = DeviceKey::generate(algorithm).unwrap();
            let other = DeviceKey::generate(algorithm).unwrap().public();
            let public = key.public();
            assert_eq!(public.algorithm(), algorithm);
            let signature = key.sign(b"message").unwrap();
            assert!(public.verify(b"message", &signature));
            assert!(!public.verify(b"massage", &signature));
            assert!(!other.verify(b"message", &signature));
            for index in 0..signature.len() {
                let mut altered = signature.clone();
                altered[index] ^= 1;
                assert!(!public.verify(b"message", &altered), "{algorithm} {index}");
                assert!(!public.verify(b"message", &signature[..index]));
            }
        }
    }

    #[test]
    fn public_keys_survive_their_text_and_have_distinct_names() {
        let mut names = std::collections::BTreeSet::new();
        for algorithm in ALGORITHMS {
            let public = DeviceKey::generate(algorithm).unwrap().public();
            assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
            assert_eq!(public.key_id().len(), 16);
            assert!(names.insert(public.key_id()));
            let json = serde_json::to_string(&public).unwrap();
            assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), public);
        }
    }

    #[test]
    fn texts_that_are_no_public_keys_are_refused() {
        for text in [
            "",
            "ed25519",
            "ed25519:AAAA",
            "ed448:AAAA",
            "sm2-sm3:AAAA",
            "ecdsa-p256-sha256:AAAA",
            &format!("sm2-sm3:{}", base64url(&[4; 65])),
            &"ed25519:".repeat(100),
        ] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_may_be_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>(value: &T) -> &T {
            value
        }
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        assert_eq!(shared(&key).public(), key.public());
    }

    #[test]
    fn a_key_never_shows() {
        let document = stored::generate(Algorithm::Ed25519).unwrap();
        let key = DeviceKey::from_pkcs8(&document).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains(&key.public().key_id()));
        assert!(shown.len() < 100, "{shown}");
    }

    #[test]
    fn sm2_signatures_agree_with_the_standard() {
        // GB/T 32918.5-2017, annex A.2: "message digest", the default signer.
        let bytes = |digits: &str| crate::encoding::hash_from_hex(digits).unwrap();
        let point = [
            vec![4],
            bytes("09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020").to_vec(),
            bytes("ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13").to_vec(),
        ]
        .concat();
        let mut signature = [
            bytes("f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"),
            bytes("b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"),
        ]
        .concat();
        let public = PublicKey::new(Algorithm::Sm2, &point).unwrap();
        assert!(public.verify(b"message digest", &signature));
        signature[63] ^= 1;
        assert!(!public.verify(b"message digest", &signature));
    }
}
