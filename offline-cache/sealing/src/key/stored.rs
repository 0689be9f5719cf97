//! Keys that are bytes: a PKCS#8 file of our own making, or a credential handed over by the
//! service manager. A file is made once and never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use sm2::elliptic_curve::Generate as _;
use sm2::elliptic_curve::common::getrandom::SysRng;
use sm2::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use zeroize::Zeroizing;

use super::protected::is_protected;
use super::{Algorithm, DeviceKey};
use crate::KeyError;
use crate::encoding::from_base64;

/// Largest key file that is read, in bytes; a PEM file of the longest kind has 250.
pub const KEY_FILE_BYTES_MAX: usize = 4096;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Opens the file, or makes it when there is none.
pub(super) fn open_file(path: &Path, algorithm: Algorithm) -> Result<DeviceKey, KeyError> {
    let wrap = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let document = match File::open(path) {
        Ok(file) => {
            let mode = file.metadata().map_err(wrap)?.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                return Err(KeyError::LoosePermissions {
                    path: path.to_owned(),
                    mode,
                });
            }
            read_bounded(file).map_err(wrap)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let document = generate(algorithm)?;
            write_private(path, &document).map_err(wrap)?;
            document
        }
        Err(error) => return Err(wrap(error)),
    };
    if is_protected(&document) {
        return Err(KeyError::Protected {
            path: path.to_owned(),
        });
    }
    let key = read_key(&document).ok_or_else(|| KeyError::Damaged {
        path: path.to_owned(),
    })?;
    let found = key.public.algorithm();
    if found == algorithm {
        Ok(key)
    } else {
        Err(KeyError::OtherAlgorithm {
            path: path.to_owned(),
            found,
            wanted: algorithm,
        })
    }
}

/// Opens a credential of the service manager; `directory` is `$CREDENTIALS_DIRECTORY`.
pub(super) fn open_credential(directory: Option<&Path>, name: &str) -> Result<DeviceKey, KeyError> {
    let is_plain_name = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    let path = directory
        .filter(|_| is_plain_name)
        .map(|directory| directory.join(name))
        .ok_or_else(|| KeyError::NoCredential {
            name: name.to_owned(),
        })?;
    let document = match File::open(&path).and_then(read_bounded) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(KeyError::NoCredential {
                name: name.to_owned(),
            });
        }
        Err(source) => return Err(KeyError::Io { path, source }),
        Ok(document) => document,
    };
    read_key(&document).ok_or(KeyError::Damaged { path })
}

/// A new key as a PKCS#8 document in DER.
pub(super) fn generate(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let random = SystemRandom::new();
    let document = match algorithm {
        Algorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random)
            .map_err(|_| KeyError::Random)?
            .as_ref()
            .to_vec(),
        Algorithm::EcdsaP256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .map_err(|_| KeyError::Random)?
                .as_ref()
                .to_vec()
        }
        Algorithm::Sm2 => sm2::SecretKey::try_generate_from_rng(&mut SysRng)
            .map_err(|_| KeyError::Random)?
            .to_pkcs8_der()
            .map_err(|_| KeyError::Random)?
            .as_bytes()
            .to_vec(),
    };
    Ok(Zeroizing::new(document))
}

/// The SM2 secret of a PKCS#8 document.
pub(super) fn sm2_secret(document: &[u8]) -> Option<sm2::SecretKey> {
    sm2::SecretKey::from_pkcs8_der(document).ok()
}

/// The DER document of a key file: as it is, or out of its PEM armor (RFC 7468 §10). Nothing
/// when the armor is broken. At most [`KEY_FILE_BYTES_MAX`] bytes are looked at.
pub fn pkcs8_document(file: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    if file.len() > KEY_FILE_BYTES_MAX {
        return None;
    }
    if !file.starts_with(b"-----") {
        return Some(Zeroizing::new(file.to_vec()));
    }
    let armored = std::str::from_utf8(file).ok()?.trim_end();
    let body = armored.strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let letters = Zeroizing::new(
        body.chars()
            .filter(|letter| !letter.is_ascii_whitespace())
            .collect::<String>(),
    );
    from_base64(&letters).map(Zeroizing::new)
}

fn read_key(file: &[u8]) -> Option<DeviceKey> {
    DeviceKey::from_pkcs8(&pkcs8_document(file)?)
}

fn read_bounded(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Grown once, so that no copy of the secret stays behind in a smaller buffer.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 2));
    file.take(KEY_FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file that is whole or not there, readable by its owner alone and on disk when this
/// returns; one of the same name is replaced.
///
/// # Errors
/// What the file system says; an earlier file is then as it was.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // A power cut may have left one; its rights are not to be trusted, so it is made anew.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::base64;
    use crate::{KeySource, PublicKey};

    const ALGORITHMS: [Algorithm; 3] = [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2];

    fn source(path: &Path, algorithm: Algorithm) -> KeySource {
        KeySource::File {
            path: path.to_owned(),
            algorithm,
        }
    }

    fn public(path: &Path, algorithm: Algorithm) -> PublicKey {
        DeviceKey::open(&source(path, algorithm)).unwrap().public()
    }

    #[test]
    fn a_file_key_is_made_once_for_its_owner_alone() {
        for algorithm in ALGORITHMS {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("device-key.pk8");
            // What a power cut may leave behind, open to all.
            let left_over = directory.path().join("device-key.pk8.new");
            fs::write(&left_over, b"half").unwrap();
            let first = public(&path, algorithm);
            assert_eq!(public(&path, algorithm), first);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
            assert!(!left_over.exists());
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let first = public(&path, Algorithm::Ed25519);
        for mode in [0o640, 0o604, 0o660, 0o622] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = DeviceKey::open(&source(&path, Algorithm::Ed25519)).unwrap_err();
            assert_eq!(error.code(), "key.permissions");
            let words = error.to_string();
            assert!(words.contains(path.to_str().unwrap()), "{words}");
            assert!(words.contains(&format!("{mode:04o}")), "{words}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert_eq!(public(&path, Algorithm::Ed25519), first);
    }

    #[test]
    fn a_damaged_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let whole = generate(Algorithm::Sm2).unwrap();
        for content in [&b""[..], b"x", &whole[..whole.len() - 1], &[0; 10_000]] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let error = DeviceKey::open(&source(&path, Algorithm::Sm2)).unwrap_err();
            assert_eq!(error.code(), "key.damaged");
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_file_that_asks_for_a_passphrase_is_no_key_of_a_terminal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let document = generate(Algorithm::Ed25519).unwrap();
        let sealed = crate::protect_key(&document, "four words for a test").unwrap();
        write_private(&path, sealed.as_bytes()).unwrap();
        let error = DeviceKey::open(&source(&path, Algorithm::Ed25519)).unwrap_err();
        assert_eq!(error.code(), "key.protected");
        assert_eq!(fs::read(&path).unwrap(), sealed.as_bytes());
    }

    #[test]
    fn a_key_of_another_algorithm_is_not_taken_for_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        public(&path, Algorithm::Ed25519);
        let error = DeviceKey::open(&source(&path, Algorithm::Sm2)).unwrap_err();
        assert_eq!(error.code(), "key.other-algorithm");
        assert!(error.to_string().contains("ed25519"));
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/key");
        let error = DeviceKey::open(&source(&path, Algorithm::Ed25519)).unwrap_err();
        assert_eq!(error.code(), "key.io");
    }

    #[test]
    fn a_credential_is_read_in_both_forms() {
        let directory = tempfile::tempdir().unwrap();
        for algorithm in ALGORITHMS {
            let document = generate(algorithm).unwrap();
            let armored = format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", base64(&document));
            for content in [document.as_slice(), armored.as_bytes()] {
                fs::write(directory.path().join("device-key"), content).unwrap();
                let key = open_credential(Some(directory.path()), "device-key").unwrap();
                assert_eq!(key.public.algorithm(), algorithm);
                let signature = key.sign(b"x").unwrap();
                assert!(key.public().verify(b"x", &signature));
            }
        }
    }

    #[test]
    fn a_credential_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        fs::write(&outside, &*generate(Algorithm::Ed25519).unwrap()).unwrap();
        let inside = directory.path().join("inside");
        fs::create_dir(&inside).unwrap();
        for name in ["missing", "../outside", "", ".", outside.to_str().unwrap()] {
            let error = open_credential(Some(&inside), name).unwrap_err();
            assert_eq!(error.code(), "key.no-credential", "{name}");
        }
        let error = open_credential(None, "device-key").unwrap_err();
        assert_eq!(error.code(), "key.no-credential");
        fs::write(inside.join("damaged"), b"?").unwrap();
        let error = open_credential(Some(&inside), "damaged").unwrap_err();
        assert_eq!(error.code(), "key.damaged");
    }

    #[test]
    fn broken_armor_holds_no_key() {
        for file in [
            "-----BEGIN PRIVATE KEY-----",
            "-----",
            "-----BEGIN X-----\n-----END X-----",
        ] {
            assert!(pkcs8_document(file.as_bytes()).is_none(), "{file}");
        }
        assert!(pkcs8_document(&vec![0; KEY_FILE_BYTES_MAX + 1]).is_none());
    }
}
