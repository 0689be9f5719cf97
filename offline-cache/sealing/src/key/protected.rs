//! Key files of people: what is in them is sealed by a passphrase, so that a copied file, a lost
//! laptop or a backup signs nothing. A terminal's own key is never such a file, for nobody is there
//! to type when it starts.
//!
//! The file is an armor around one array of deterministic CBOR: the version, a salt, a nonce, and the
//! PKCS#8 document under AES-256-GCM with its tag. The key is what Argon2id (RFC 9106) makes of the
//! passphrase. The costs belong to the version, so that no file can ask for more memory.

use std::ops::RangeInclusive;

use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::{AeadInPlace as _, Aes256Gcm, KeyInit as _};
use argon2::{Argon2, Block, Params, Version};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::{Zeroize as _, Zeroizing};

use super::stored::{self, KEY_FILE_BYTES_MAX};
use super::{Algorithm, DeviceKey};
use crate::cbor::{Reader, Writer};
use crate::encoding::{base64, from_base64};
use crate::{FormatError, KeyError};

/// How many bytes a passphrase has. The least is chosen: whoever has the file may try at home, and
/// each try costs them 64 MiB and some tenths of a second.
pub const PASSPHRASE_BYTES: RangeInclusive<usize> = 12..=1024;

const BEGIN: &str = "-----BEGIN KIOSK PROTECTED KEY-----";
const END: &str = "-----END KIOSK PROTECTED KEY-----";
/// Letters of a line (RFC 7468 §2).
const LINE_LETTERS: usize = 64;
/// What this file describes.
const VERSION: u64 = 1;
/// What the tag covers beside the key.
const DOMAIN: &[u8] = b"kiosk.protected-key.v1";
/// Memory in KiB, passes and lanes: RFC 9106 §4, the second recommended choice.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// RFC 9106 §3.1.
const SALT_BYTES: usize = 16;
/// SP 800-38D §8.2; the nonce is drawn with each salt, so no key is ever used twice.
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// Why a key file is not opened or made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// There is no key in it that is known here.
    #[error("it holds no key")]
    NoKey,
    /// It is sealed, and no passphrase was given.
    #[error("it is protected by a passphrase")]
    NeedsPassphrase,
    /// The passphrase is another one; or somebody altered the file.
    #[error("the passphrase does not fit")]
    WrongPassphrase,
    /// A new passphrase is too short, or longer than anybody types.
    #[error(
        "a passphrase has {} to {} bytes; take four words that have nothing to do with each other",
        PASSPHRASE_BYTES.start(),
        PASSPHRASE_BYTES.end()
    )]
    Length,
    /// The system gave no randomness, or not the 64 MiB of memory.
    #[error("the system gives no randomness or memory")]
    NoResources,
}

impl DeviceKey {
    /// The key in the content of a key file: a PKCS#8 document, its PEM armor, or one that was sealed
    /// by a passphrase. At most [`KEY_FILE_BYTES_MAX`] bytes are looked at.
    ///
    /// # Errors
    /// `NoKey`, `NeedsPassphrase`, `WrongPassphrase`, `NoResources`.
    pub fn from_file(file: &[u8], passphrase: Option<&str>) -> Result<Self, KeyFileError> {
        Self::from_pkcs8(&open_key_file(file, passphrase)?).ok_or(KeyFileError::NoKey)
    }
}

/// A new key as a PKCS#8 document, to be kept in a file.
///
/// # Errors
/// `NoResources`.
pub fn new_key_document(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    stored::generate(algorithm).map_err(|_: KeyError| KeyFileError::NoResources)
}

/// Whether the content of a key file is sealed by a passphrase.
pub fn is_protected(file: &[u8]) -> bool {
    file.starts_with(BEGIN.as_bytes())
}

/// The PKCS#8 document in the content of a key file; the passphrase is not looked at where the file
/// has none.
///
/// # Errors
/// As [`DeviceKey::from_file`].
pub fn open_key_file(
    file: &[u8],
    passphrase: Option<&str>,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    if !is_protected(file) {
        return stored::pkcs8_document(file).ok_or(KeyFileError::NoKey);
    }
    let sealed = Sealed::parse(file).ok_or(KeyFileError::NoKey)?;
    let passphrase = passphrase.ok_or(KeyFileError::NeedsPassphrase)?;
    sealed.open(passphrase)
}

/// The content of a key file for this document, sealed by the passphrase.
///
/// # Errors
/// `Length`, `NoKey` when the document is none, `NoResources`.
pub fn protect_key(document: &[u8], passphrase: &str) -> Result<String, KeyFileError> {
    if !PASSPHRASE_BYTES.contains(&passphrase.len()) {
        return Err(KeyFileError::Length);
    }
    if DeviceKey::from_pkcs8(document).is_none() {
        return Err(KeyFileError::NoKey);
    }
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
    let random = SystemRandom::new();
    for bytes in [&mut salt[..], &mut nonce[..]] {
        random.fill(bytes).map_err(|_| KeyFileError::NoResources)?;
    }
    let cipher = cipher(passphrase, &salt).ok_or(KeyFileError::NoResources)?;
    let mut body = Zeroizing::new(document.to_vec());
    let tag = cipher
        .encrypt_in_place_detached(GenericArray::from_slice(&nonce), DOMAIN, &mut body)
        .map_err(|_| KeyFileError::NoResources)?;
    let mut writer = Writer::new();
    writer
        .array(4)
        .uint(VERSION)
        .bytes(&salt)
        .bytes(&nonce)
        .bytes(&[&body[..], &tag].concat());
    Ok(armored(&base64(&writer.finish())))
}

/// A sealed document.
struct Sealed {
    salt: [u8; SALT_BYTES],
    nonce: [u8; NONCE_BYTES],
    /// The document under the key.
    body: Zeroizing<Vec<u8>>,
    tag: [u8; TAG_BYTES],
}

impl Sealed {
    /// Reads the content of a file; nothing when it is no such file.
    fn parse(file: &[u8]) -> Option<Self> {
        if file.len() > KEY_FILE_BYTES_MAX {
            return None;
        }
        let text = std::str::from_utf8(file).ok()?.trim_end();
        let letters: String = text
            .strip_prefix(BEGIN)?
            .strip_suffix(END)?
            .split_ascii_whitespace()
            .collect();
        Self::read(&from_base64(&letters)?).ok()
    }

    fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let wrong = |field| FormatError::OutOfRange { field };
        let mut reader = Reader::new(bytes);
        if reader.array(4, "key file")? != 4 || reader.uint()? != VERSION {
            return Err(wrong("version"));
        }
        let (salt, nonce) = (reader.exactly("salt")?, reader.exactly("nonce")?);
        let (body, tag) = reader
            .bytes()?
            .split_last_chunk()
            .ok_or(FormatError::Truncated)?;
        reader.end()?;
        Ok(Self {
            salt,
            nonce,
            body: Zeroizing::new(body.to_vec()),
            tag: *tag,
        })
    }

    fn open(mut self, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        if passphrase.len() > *PASSPHRASE_BYTES.end() {
            return Err(KeyFileError::WrongPassphrase);
        }
        let cipher = cipher(passphrase, &self.salt).ok_or(KeyFileError::NoResources)?;
        cipher
            .decrypt_in_place_detached(
                GenericArray::from_slice(&self.nonce),
                DOMAIN,
                &mut self.body,
                GenericArray::from_slice(&self.tag),
            )
            .map_err(|_| KeyFileError::WrongPassphrase)?;
        Ok(self.body)
    }
}

fn armored(letters: &str) -> String {
    let mut text = format!("{BEGIN}\n");
    let mut rest = letters;
    while !rest.is_empty() {
        // Base64 has letters of one byte only.
        let (line, more) = rest.split_at(LINE_LETTERS.min(rest.len()));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// The cipher of a passphrase; nothing when there is no memory for Argon2id.
fn cipher(passphrase: &str, salt: &[u8; SALT_BYTES]) -> Option<Aes256Gcm> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY_BYTES)).ok()?;
    let count = params.block_count();
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, params);
    let mut blocks: Vec<Block> = Vec::new();
    blocks.try_reserve_exact(count).ok()?;
    blocks.resize_with(count, Block::default);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let made = argon2.hash_password_into_with_memory(
        passphrase.as_bytes(),
        salt,
        key.as_mut_slice(),
        blocks.as_mut_slice(),
    );
    blocks.iter_mut().for_each(Block::zeroize);
    made.ok()?;
    Some(Aes256Gcm::new(GenericArray::from_slice(key.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &str = "玉米 river 17 lantern";

    fn wrong(file: &[u8], passphrase: Option<&str>) -> KeyFileError {
        open_key_file(file, passphrase).unwrap_err()
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
            let document = new_key_document(algorithm).unwrap();
            let public = DeviceKey::from_file(&document, None).unwrap().public();
            let file = protect_key(&document, PASSPHRASE).unwrap();
            assert!(is_protected(file.as_bytes()) && !is_protected(&document));
            assert!(file.len() < KEY_FILE_BYTES_MAX / 4, "{}", file.len());
            assert!(file.lines().all(|line| line.len() <= LINE_LETTERS));
            let key = DeviceKey::from_file(file.as_bytes(), Some(PASSPHRASE)).unwrap();
            assert_eq!(key.public(), public);
            assert_eq!(wrong(file.as_bytes(), None), KeyFileError::NeedsPassphrase);
            assert_eq!(
                wrong(file.as_bytes(), Some("玉米 river 17 lanterm")),
                KeyFileError::WrongPassphrase
            );
            // Nothing of the secret stands in the file.
            let letters: String = file
                .lines()
                .skip(1)
                .take_while(|line| *line != END)
                .collect();
            let bytes = from_base64(&letters).unwrap();
            assert!(
                !bytes
                    .windows(8)
                    .any(|part| document.windows(8).any(|secret| part == secret))
            );
        }
    }

    #[test]
    fn each_file_has_its_salt_and_an_unsealed_one_needs_nothing() {
        let document = new_key_document(Algorithm::Ed25519).unwrap();
        assert_ne!(
            protect_key(&document, PASSPHRASE).unwrap(),
            protect_key(&document, PASSPHRASE).unwrap()
        );
        for passphrase in [None, Some(PASSPHRASE)] {
            assert_eq!(open_key_file(&document, passphrase).unwrap(), document);
        }
    }

    #[test]
    fn an_altered_or_cut_file_opens_nothing() {
        let document = new_key_document(Algorithm::Ed25519).unwrap();
        let file = protect_key(&document, PASSPHRASE).unwrap();
        let letters: String = file
            .lines()
            .skip(1)
            .take_while(|line| *line != END)
            .collect();
        let bytes = from_base64(&letters).unwrap();
        // The version, the salt, the nonce, the body, the tag.
        for (index, expected) in [
            (1, KeyFileError::NoKey),
            (5, KeyFileError::WrongPassphrase),
            (22, KeyFileError::WrongPassphrase),
            (60, KeyFileError::WrongPassphrase),
            (bytes.len() - 1, KeyFileError::WrongPassphrase),
        ] {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            let file = armored(&base64(&altered));
            assert_eq!(
                wrong(file.as_bytes(), Some(PASSPHRASE)),
                expected,
                "{index}"
            );
        }
        for index in [0, 1, 30, bytes.len() - 1] {
            let file = armored(&base64(&bytes[..index]));
            assert_eq!(
                wrong(file.as_bytes(), Some(PASSPHRASE)),
                KeyFileError::NoKey
            );
        }
        let longer = armored(&base64(&[&bytes[..], &[0]].concat()));
        for text in [
            BEGIN,
            &file[..file.len() - 10],
            &longer,
            &file.replace(END, &" ".repeat(KEY_FILE_BYTES_MAX)),
            &format!("{BEGIN}\né\n{END}\n"),
        ] {
            assert_eq!(
                wrong(text.as_bytes(), Some(PASSPHRASE)),
                KeyFileError::NoKey
            );
        }
    }

    #[test]
    fn a_passphrase_that_is_no_protection_is_refused() {
        let document = new_key_document(Algorithm::Ed25519).unwrap();
        for passphrase in ["", "elevenbytes", &"x".repeat(1025)] {
            assert_eq!(
                protect_key(&document, passphrase),
                Err(KeyFileError::Length)
            );
        }
        assert_eq!(protect_key(b"?", PASSPHRASE), Err(KeyFileError::NoKey));
    }
}
