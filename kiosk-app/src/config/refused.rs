//! The configuration that could be read and with which the program did not start all the same: a driver
//! that does not exist, a port that no driver takes. The first such start writes down which text it
//! was; the next one takes the copy of the last good configuration in its place, and says so.
//!
//! A text is known by its digest: as soon as somebody changes the file, it is tried again. What stands
//! in the file is never written down here.

use std::io;
use std::path::Path;

use kiosk_sealing::{hex, sha256};
use serde::{Deserialize, Serialize};

use super::mistake::{Mistake, MistakeKind};
use super::{Config, kept};

/// Name of the note in the directory of the durable state.
pub const NAME: &str = "refused-configuration.json";
/// Largest note that is believed, in bytes; ours have a hundred.
const NOTE_BYTES_MAX: usize = 1024;

/// What is remembered of a configuration that does not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// SHA-256 of its text, in hexadecimal digits.
    pub digest: String,
    /// The line that is to blame, from 1; 0 where the whole file is meant.
    pub line: usize,
}

impl Refused {
    /// Reads the note; `None` for what this program did not write. Bounded, never panics.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > NOTE_BYTES_MAX {
            return None;
        }
        serde_json::from_str(text).ok()
    }
}

impl Config {
    /// Writes down that the program does not start with this configuration, and which line is to
    /// blame. A copy is never refused: there is nothing behind it.
    ///
    /// # Errors
    /// The note cannot be written; then the next start tries the file again.
    pub(crate) fn refuse(&self, line: usize) -> io::Result<()> {
        if !self.source.is_of_file() {
            return Ok(());
        }
        let refused = Refused {
            digest: digest(self.source.text()),
            line,
        };
        let note = serde_json::to_string(&refused).expect("plain words become JSON");
        kiosk_sealing::write_private(&self.paths.state.join(NAME), note.as_bytes())
    }

    /// The program has started with the file: what was refused before it is forgotten.
    pub(super) fn forget_refused(&self) -> io::Result<()> {
        match std::fs::remove_file(self.paths.state.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// What is known to be wrong with a file that can be read.
pub(super) fn mistake_of(config: &Config, path: &Path) -> Option<Mistake> {
    let note = kept::read_text(&config.paths.state.join(NAME)).ok()?;
    let refused = Refused::read(&note)?;
    let is_this = refused.digest == digest(config.source.text());
    is_this.then(|| Mistake {
        file: path.to_path_buf(),
        line: refused.line,
        kind: MistakeKind::NotStarting,
    })
}

fn digest(text: &str) -> String {
    hex(&sha256(text.as_bytes()))
}

/// The line, from 1, that says `key` of the device `id`; the line of its `id` where the key is not
/// written, 0 where there is no such device. Bounded by the text, never panics.
pub fn line_of_device(text: &str, id: &str, key: &str) -> usize {
    let mut table = 0;
    let mut is_it = false;
    let mut found = 0;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.starts_with("[[") {
            if is_it {
                break;
            }
            (table, found) = (index + 1, 0);
        } else if value_of(line, "id") == Some(id) && table > 0 {
            is_it = true;
            found = if found == 0 { index + 1 } else { found };
        }
        if table > 0 && value_of(line, key).is_some() {
            found = index + 1;
        }
    }
    if is_it { found } else { 0 }
}

/// The line, from 1, that begins with `key`; 0 where none does. Bounded by the text, never panics.
pub fn line_of_key(text: &str, key: &str) -> usize {
    text.lines()
        .position(|line| value_of(line.trim(), key).is_some())
        .map_or(0, |index| index + 1)
}

/// What stands behind `key =`, without quotes.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let value = line.strip_prefix(key)?.trim_start().strip_prefix('=')?;
    let value = value.trim_start();
    let quote = value.chars().next().filter(|mark| "\"'".contains(*mark));
    Some(match quote {
        Some(quote) => value[1..].split(quote).next().unwrap_or_default(),
        None => value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[platform]\nurl = \"http://h\"\n\n[[device]]\nid = \"one\"\nclass = \"camera\"\n\
        driver = \"mjpeg\"\n[[device]]\nport = 'x'\nid = \"two\"\ndriver = \"nonsense\"\n[[device]]\nid = \"three\"\n";

    #[test]
    fn the_line_of_a_device_is_found_in_its_own_table() {
        for (id, key, line) in [
            ("one", "driver", 7),
            ("two", "driver", 11),
            ("two", "port", 9),
            ("one", "port", 5),
            ("three", "driver", 13),
            ("four", "driver", 0),
            ("", "", 0),
        ] {
            assert_eq!(line_of_device(TEXT, id, key), line, "{id} {key}");
        }
        assert_eq!(line_of_key(TEXT, "url"), 2);
        assert_eq!(line_of_key(TEXT, "tls"), 0);
        assert_eq!(line_of_device("id = é\n[[\nid =", "é", "é"), 0);
    }

    #[test]
    fn a_note_that_this_program_did_not_write_is_none() {
        for text in ["", "[]", "{}", "{\"digest\":\"\",\"line\":-1}", "\u{0}"] {
            assert_eq!(Refused::read(text), None, "{text}");
        }
        let long = format!("{{\"digest\":\"{}\",\"line\":1}}", "a".repeat(2000));
        assert_eq!(Refused::read(&long), None);
        let refused = Refused::read("{\"digest\":\"ab\",\"line\":3}").unwrap();
        assert_eq!((refused.digest.as_str(), refused.line), ("ab", 3));
    }
}
