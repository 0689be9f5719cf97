//! A passphrase on its way in: out of a file that only its owner can read, or typed on a terminal that
//! does not show it; a new one twice.

use std::io;
use std::path::{Path, PathBuf};

use kiosk_sealing::PASSPHRASE_BYTES;
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::hidden::Hidden;

/// Variable of the environment that names the file of the passphrase where no option does.
pub const VARIABLE: &str = "KIOSK_PASSPHRASE_FILE";
/// Most bytes of a line that is typed; a longer one is no passphrase.
const LINE_BYTES_MAX: u16 = 1024;

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// A new one is too short or too long.
    #[error(
        "a passphrase has {} to {} bytes and no space around it; take four words that have nothing to do with each other",
        PASSPHRASE_BYTES.start(),
        PASSPHRASE_BYTES.end()
    )]
    Length,
    /// The two that were typed differ.
    #[error("the two passphrases differ")]
    Differ,
    /// There is nobody to ask.
    #[error(
        "there is no terminal to type the passphrase of {} on; give --passphrase-file, or set {VARIABLE} to the name of a file", key.display()
    )]
    NoTerminal {
        /// The key file.
        key: PathBuf,
    },
    /// The terminal failed.
    #[error("the terminal failed")]
    Io(#[from] io::Error),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The passphrase of a key file that exists.
///
/// # Errors
/// `NoTerminal`, `Io`, `File`.
pub fn of(key: &Path, file: Option<&Path>) -> Result<Zeroizing<String>, PassphraseError> {
    if let Some(file) = file {
        return Ok(files::read_secret(file)?);
    }
    let hidden = begin(key)?;
    let words = format!("passphrase of {}", key.display());
    Ok(hidden.ask(&words, LINE_BYTES_MAX)?)
}

/// A new passphrase for a key file.
///
/// # Errors
/// [`PassphraseError`].
pub fn new(key: &Path, file: Option<&Path>) -> Result<Zeroizing<String>, PassphraseError> {
    if let Some(file) = file {
        let passphrase = files::read_secret(file)?;
        check(&passphrase)?;
        return Ok(passphrase);
    }
    let hidden = begin(key)?;
    let words = format!("new passphrase of {}", key.display());
    let first = hidden.ask(&words, LINE_BYTES_MAX)?;
    check(&first)?;
    let second = hidden.ask("the same passphrase again", LINE_BYTES_MAX)?;
    if first == second {
        Ok(first)
    } else {
        Err(PassphraseError::Differ)
    }
}

fn begin(key: &Path) -> Result<Hidden, PassphraseError> {
    Hidden::begin()?.ok_or_else(|| PassphraseError::NoTerminal {
        key: key.to_path_buf(),
    })
}

/// A file's text is taken without the space around it, so one that is typed has none either.
fn check(passphrase: &str) -> Result<(), PassphraseError> {
    if PASSPHRASE_BYTES.contains(&passphrase.len()) && passphrase.trim() == passphrase {
        Ok(())
    } else {
        Err(PassphraseError::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_passphrase_is_long_enough_and_the_same_in_a_file() {
        check("four words for a test").unwrap();
        check("玉米玉米").unwrap();
        for passphrase in ["", "elevenbytes", " twelve bytes", "twelve bytes\n"] {
            assert!(
                matches!(check(passphrase), Err(PassphraseError::Length)),
                "{passphrase}"
            );
        }
    }
}
