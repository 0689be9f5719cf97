//! The key files of operators and technicians: sealed by a passphrase, unless somebody says that they
//! are not to be. Files of before passphrases are read as they are. What is said of a file names it,
//! and what to do; never what is in it.

use std::path::{Path, PathBuf};

use kiosk_sealing::{
    Algorithm, DeviceKey, KEY_FILE_BYTES_MAX, KeyFileError, is_protected, new_key_document,
    open_key_file, protect_key,
};
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::passphrase::{self, PassphraseError};

/// Why a key cannot be used, made or sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum KeyUseError {
    /// There is no such file.
    #[error("{}: there is no such key", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It holds a key for another way of signing.
    #[error("{} holds a key for {found}; say --algorithm {found}, or name another file", path.display())]
    OtherAlgorithm {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: Algorithm,
    },
    /// The passphrase is another one, or the file was altered.
    #[error(
        "the passphrase does not fit {}; try again, and if it never fits, take the copy of the file that you keep, or make a new key and let the terminals know it",
        path.display()
    )]
    WrongPassphrase {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened or made for another reason.
    #[error("{} cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyFileError,
    },
    /// There is no passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl KeyUseError {
    fn of(path: &Path, source: KeyFileError) -> Self {
        let path = path.to_path_buf();
        if source == KeyFileError::WrongPassphrase {
            Self::WrongPassphrase { path }
        } else {
            Self::Key { path, source }
        }
    }
}

/// How a key file is to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// By a passphrase, out of this file or typed.
    Passphrase(Option<PathBuf>),
    /// Not at all: whoever copies the file signs in its owner's name.
    None,
}

/// Makes a key in a new file.
///
/// # Errors
/// [`KeyUseError`].
pub fn make(
    path: &Path,
    algorithm: Algorithm,
    protection: &Protection,
) -> Result<DeviceKey, KeyUseError> {
    files::refuse_existing(path)?;
    let document = new_key_document(algorithm).map_err(|error| KeyUseError::of(path, error))?;
    write(path, &document, protection)
}

/// Opens a key; the passphrase is asked for where the file has one and no file is named.
///
/// # Errors
/// [`KeyUseError`].
pub fn open(
    path: &Path,
    algorithm: Algorithm,
    passphrase_file: Option<&Path>,
) -> Result<DeviceKey, KeyUseError> {
    let document = document(path, passphrase_file)?;
    let key = key_of(path, &document)?;
    let found = key.public().algorithm();
    if found == algorithm {
        Ok(key)
    } else {
        let path = path.to_path_buf();
        Err(KeyUseError::OtherAlgorithm { path, found })
    }
}

/// Seals a key anew, in place of the earlier file.
///
/// # Errors
/// [`KeyUseError`]; the earlier file is then as it was.
pub fn change(
    path: &Path,
    passphrase_file: Option<&Path>,
    protection: &Protection,
) -> Result<DeviceKey, KeyUseError> {
    let document = document(path, passphrase_file)?;
    key_of(path, &document)?;
    write(path, &document, protection)
}

fn document(
    path: &Path,
    passphrase_file: Option<&Path>,
) -> Result<Zeroizing<Vec<u8>>, KeyUseError> {
    if !path.is_file() {
        let path = path.to_path_buf();
        return Err(KeyUseError::Missing { path });
    }
    let file = files::read_private(path, KEY_FILE_BYTES_MAX as u64)?;
    let typed = if is_protected(&file) {
        Some(passphrase::of(path, passphrase_file)?)
    } else {
        None
    };
    let passphrase = typed.as_ref().map(|typed| typed.as_str());
    open_key_file(&file, passphrase).map_err(|error| KeyUseError::of(path, error))
}

fn write(path: &Path, document: &[u8], protection: &Protection) -> Result<DeviceKey, KeyUseError> {
    match protection {
        Protection::Passphrase(file) => {
            let passphrase = passphrase::new(path, file.as_deref())?;
            let sealed =
                protect_key(document, &passphrase).map_err(|error| KeyUseError::of(path, error))?;
            // The only copy of a key is replaced by what was seen to open.
            let again = open_key_file(sealed.as_bytes(), Some(&passphrase))
                .map_err(|error| KeyUseError::of(path, error))?;
            files::write_result(path, &sealed)?;
            key_of(path, &again)
        }
        Protection::None => {
            files::write_result(path, document)?;
            key_of(path, document)
        }
    }
}

fn key_of(path: &Path, document: &[u8]) -> Result<DeviceKey, KeyUseError> {
    DeviceKey::from_file(document, None).map_err(|error| KeyUseError::of(path, error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            for (name, passphrase) in [
                ("first", "four words for a test"),
                ("second", "another four words now"),
                ("short", "too short"),
            ] {
                files::write_secret(&place.path(name), passphrase).unwrap();
            }
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn by(&self, name: &str) -> Protection {
            Protection::Passphrase(Some(self.path(name)))
        }

        fn open(&self, passphrase: &str) -> Result<DeviceKey, KeyUseError> {
            let passphrase = self.path(passphrase);
            open(&self.path("key"), Algorithm::Sm2, Some(&passphrase))
        }
    }

    #[test]
    fn a_key_is_sealed_opened_and_sealed_anew() {
        let place = Place::new();
        let path = place.path("key");
        let public = make(&path, Algorithm::Sm2, &place.by("first"))
            .unwrap()
            .public();
        assert_eq!(place.open("first").unwrap().public(), public);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = place.open("second").unwrap_err();
        assert!(matches!(error, KeyUseError::WrongPassphrase { .. }));
        let words = error.to_string();
        assert!(words.contains(path.to_str().unwrap()) && words.contains("try again"));
        // What cannot be opened, or has no good passphrase to come, stays as it is.
        let before = std::fs::read(&path).unwrap();
        let (first, second) = (place.path("first"), place.path("second"));
        assert!(change(&path, Some(&second), &place.by("first")).is_err());
        assert!(change(&path, Some(&first), &place.by("short")).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        change(&path, Some(&first), &place.by("second")).unwrap();
        assert!(place.open("first").is_err());
        assert_eq!(place.open("second").unwrap().public(), public);
        change(&path, Some(&second), &Protection::None).unwrap();
        assert_eq!(open(&path, Algorithm::Sm2, None).unwrap().public(), public);
    }

    #[test]
    fn a_file_of_before_passphrases_is_read_and_can_be_sealed() {
        let place = Place::new();
        let path = place.path("key");
        // As the tool wrote it when there were no passphrases.
        let source = kiosk_sealing::KeySource::File {
            path: path.clone(),
            algorithm: Algorithm::Sm2,
        };
        let public = DeviceKey::open(&source).unwrap().public();
        assert_eq!(open(&path, Algorithm::Sm2, None).unwrap().public(), public);
        let error = open(&path, Algorithm::Ed25519, None).unwrap_err();
        assert!(error.to_string().contains("sm2-sm3"), "{error}");
        let sealed = change(&path, None, &place.by("first")).unwrap();
        assert_eq!(sealed.public(), public);
        assert!(is_protected(&std::fs::read(&path).unwrap()));
        assert!(place.open("first").is_ok());
    }

    #[test]
    fn what_is_no_key_of_its_owner_alone_is_refused() {
        let place = Place::new();
        let path = place.path("key");
        assert!(matches!(
            place.open("first"),
            Err(KeyUseError::Missing { .. })
        ));
        make(&path, Algorithm::Sm2, &Protection::None).unwrap();
        assert!(matches!(
            make(&path, Algorithm::Sm2, &Protection::None),
            Err(KeyUseError::File(FileError::Exists { .. }))
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            place.open("first"),
            Err(KeyUseError::File(FileError::Loose { .. }))
        ));
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(
            place.open("first"),
            Err(KeyUseError::Key {
                source: KeyFileError::NoKey,
                ..
            })
        ));
    }
}
