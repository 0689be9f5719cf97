//! The list of terminals' public keys, by which certificates are checked: a text with one line a
//! key, `TERMINAL ALGORITHM:KEY` as `kiosk key show` prints it, and `#` before remarks. A terminal may
//! have several keys, the one before a repair and the one after.

use std::path::Path;

use kiosk_sealing::PublicKey;
use kiosk_sealing::unlock::TERMINAL_BYTES_MAX;

use crate::files::{self, FileError};

/// Largest list in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most keys; chosen, above every province's terminals of one kind.
const KEYS_MAX: usize = 20_000;

/// Why the list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TerminalKeysError {
    /// A line is not of the form.
    #[error("line {line}: {reason}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is no key in it.
    #[error("the list holds no key")]
    Empty,
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Public keys of terminals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TerminalKeys {
    keys: Vec<(String, PublicKey)>,
}

impl TerminalKeys {
    /// Reads a list from a file.
    ///
    /// # Errors
    /// [`TerminalKeysError`].
    pub fn read(path: &Path) -> Result<Self, TerminalKeysError> {
        let bytes = files::read_bounded(path, FILE_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| TerminalKeysError::Malformed {
            line: 1,
            reason: "the list is no text",
        })?;
        Self::parse(text)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// `Malformed`, `Empty`.
    pub fn parse(text: &str) -> Result<Self, TerminalKeysError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |reason| TerminalKeysError::Malformed {
                line: index + 1,
                reason,
            };
            let mut words = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_ascii_whitespace();
            let Some(terminal) = words.next() else {
                continue;
            };
            let is_terminal = terminal.len() <= TERMINAL_BYTES_MAX
                && terminal
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            if !is_terminal {
                return Err(wrong("a terminal's number has letters, digits and `-._`"));
            }
            let key = words
                .next()
                .and_then(|key| key.parse().ok())
                .ok_or(wrong("a public key is ALGORITHM:KEY"))?;
            if words.next().is_some() {
                return Err(wrong("something follows the key; remarks begin with `#`"));
            }
            if keys.len() >= KEYS_MAX {
                return Err(wrong("more keys than a list may have"));
            }
            keys.push((terminal.to_owned(), key));
        }
        if keys.is_empty() {
            return Err(TerminalKeysError::Empty);
        }
        Ok(Self { keys })
    }

    /// The key of that id of that terminal.
    pub fn find(&self, terminal: &str, key_id: &str) -> Option<PublicKey> {
        self.keys
            .iter()
            .find(|(known, key)| known == terminal && key.key_id() == key_id)
            .map(|(_, key)| key.clone())
    }

    /// Terminals with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &PublicKey)> {
        self.keys
            .iter()
            .map(|(terminal, key)| (terminal.as_str(), key))
    }
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::{Algorithm, DeviceKey};

    use super::*;

    fn key() -> PublicKey {
        DeviceKey::generate(Algorithm::Ed25519).unwrap().public()
    }

    #[test]
    fn a_terminal_may_have_several_keys() {
        let (old, new, other) = (key(), key(), key());
        let list =
            format!("# of the county\n\nT001 {old} # until May\nT001\t{new}\r\nT002 {other}");
        let keys = TerminalKeys::parse(&list).unwrap();
        assert_eq!(keys.iter().count(), 3);
        assert_eq!(keys.find("T001", &old.key_id()), Some(old.clone()));
        assert_eq!(keys.find("T001", &new.key_id()), Some(new));
        assert_eq!(keys.find("T002", &old.key_id()), None);
    }

    #[test]
    fn a_list_that_is_none_is_refused_with_its_line() {
        let key = key();
        for (text, at) in [
            (format!("T001 {key}\nT002"), 2),
            (format!("T001 {key} {key}"), 1),
            (format!("村 {key}"), 1),
            (format!("{} {key}", "T".repeat(33)), 1),
            ("\nT001 rot13:abc".to_owned(), 2),
        ] {
            let error = TerminalKeys::parse(&text).unwrap_err();
            assert!(
                matches!(error, TerminalKeysError::Malformed { line, .. } if line == at),
                "{error}"
            );
        }
        assert!(matches!(
            TerminalKeys::parse("# nobody\n"),
            Err(TerminalKeysError::Empty)
        ));
    }
}
