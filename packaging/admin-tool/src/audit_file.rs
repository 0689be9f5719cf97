//! An exported audit log, read and verified: JSON lines with a head, the signed heads, then the
//! entries. Every line is bounded, and only the signed heads are kept in memory.

use std::io::{self, BufRead, Read};

use kiosk_sealing::PublicKey;
use kiosk_sealing::audit::{self, Checkpoint, Entry, Hash, Report};
use serde::Deserialize;

/// The format that this tool reads.
const FORMAT: u32 = 1;
/// Longest line in bytes: an entry with its detail of 4 KiB, escaped, and a margin.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Most signed heads: one a day for 25 years and more.
const CHECKPOINTS_MAX: usize = 10_000;

/// Why an audit log could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum AuditFileError {
    /// It cannot be read.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// It is no exported log.
    #[error("line {line}: {reason}")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    terminal: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    checkpoint: Option<Checkpoint>,
    entry: Option<Entry>,
    hash: Option<String>,
}

enum Piece {
    Checkpoint(Checkpoint),
    Entry(Entry, Hash),
}

/// Bounded lines with their numbers.
struct Lines<R> {
    input: R,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn malformed(&self, reason: &'static str) -> AuditFileError {
        AuditFileError::Malformed {
            line: self.number,
            reason,
        }
    }

    /// The next line; `None` at the end. A last line without an end was cut.
    fn next(&mut self) -> Result<Option<&[u8]>, AuditFileError> {
        self.buffer.clear();
        self.number += 1;
        let count = self
            .input
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut self.buffer)?;
        if count == 0 {
            return Ok(None);
        }
        if self.buffer.last() != Some(&b'\n') {
            return Err(self.malformed("the line is cut short, or far too long"));
        }
        Ok(Some(&self.buffer))
    }

    fn piece(&mut self) -> Result<Option<Piece>, AuditFileError> {
        let line = match self.next()? {
            None => return Ok(None),
            Some(bytes) => serde_json::from_slice::<Line>(bytes),
        };
        match line {
            Ok(Line {
                checkpoint: Some(checkpoint),
                entry: None,
                hash: None,
            }) => Ok(Some(Piece::Checkpoint(checkpoint))),
            Ok(Line {
                checkpoint: None,
                entry: Some(entry),
                hash: Some(hash),
            }) => {
                let hash = audit::parse_hash(&hash)
                    .ok_or_else(|| self.malformed("the hash is no hash"))?;
                Ok(Some(Piece::Entry(entry, hash)))
            }
            Ok(_) | Err(_) => Err(self.malformed("neither an entry nor a signed head")),
        }
    }
}

/// Verifies an exported log against keys, and against a head that is known from elsewhere. Gives the
/// terminal that the log says it is of.
///
/// # Errors
/// [`AuditFileError`]; what is wrong with the log itself is in the report.
pub fn verify(
    input: impl BufRead,
    keys: &[PublicKey],
    anchor: Option<(u64, Hash)>,
) -> Result<(String, Report), AuditFileError> {
    let mut lines = Lines {
        input,
        number: 0,
        buffer: Vec::new(),
    };
    let head = match lines.next()? {
        None => None,
        Some(bytes) => serde_json::from_slice::<Head>(bytes).ok(),
    };
    let head = head
        .filter(|head| head.format == FORMAT)
        .ok_or_else(|| lines.malformed("not the head of an exported audit log"))?;
    let mut checkpoints = Vec::new();
    let first = loop {
        match lines.piece()? {
            Some(Piece::Checkpoint(_)) if checkpoints.len() >= CHECKPOINTS_MAX => {
                return Err(lines.malformed("more signed heads than a log can have"));
            }
            Some(Piece::Checkpoint(checkpoint)) => checkpoints.push(checkpoint),
            Some(Piece::Entry(entry, hash)) => break Some((entry, hash)),
            None => break None,
        }
    };
    // A line that cannot be read ends the log, and is told when the rest is judged.
    let mut failure = None;
    let rest = std::iter::from_fn(|| match lines.piece() {
        Ok(Some(Piece::Entry(entry, hash))) => Some((entry, hash)),
        Ok(Some(Piece::Checkpoint(_))) => {
            failure = Some(lines.malformed("a signed head among the entries"));
            None
        }
        Ok(None) => None,
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let entries = first.into_iter().chain(rest).map(Ok::<_, io::Error>);
    let report = audit::verify(&head.terminal, entries, &checkpoints, keys, anchor);
    match failure {
        Some(error) => Err(error),
        None => Ok((head.terminal, report)),
    }
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::{Algorithm, DeviceKey};
    use serde_json::json;

    use super::*;

    /// A log of five entries, signed at the fourth.
    fn log(key: &DeviceKey) -> String {
        let mut head = audit::genesis("T001");
        let mut entries = Vec::new();
        let mut checkpoint = None;
        for sequence in 1..=5 {
            let entry = Entry {
                sequence,
                at_ms: 1_795_311_660_000,
                kind: "visit.begun".to_owned(),
                actor: "terminal".to_owned(),
                subject: None,
                transaction: None,
                detail: "{}".to_owned(),
            };
            head = audit::link(&head, &entry);
            if sequence == 4 {
                checkpoint = Checkpoint::sign(key, "T001", 4, head, entry.at_ms).ok();
            }
            entries.push(json!({ "entry": entry, "hash": audit::hash_text(&head) }));
        }
        let mut lines = vec![
            json!({ "format": 1, "terminal": "T001" }),
            json!({ "checkpoint": checkpoint.unwrap() }),
        ];
        lines.extend(entries);
        let texts: Vec<String> = lines.iter().map(ToString::to_string).collect();
        texts.join("\n") + "\n"
    }

    fn findings(text: &str, key: &DeviceKey) -> usize {
        let (terminal, report) = verify(text.as_bytes(), &[key.public()], None).unwrap();
        assert_eq!(terminal, "T001");
        report.findings.len()
    }

    fn without_line(text: &str, index: usize) -> String {
        let kept: Vec<&str> = text
            .lines()
            .enumerate()
            .filter_map(|(at, line)| (at != index).then_some(line))
            .collect();
        kept.join("\n") + "\n"
    }

    #[test]
    fn an_edit_a_gap_and_a_cut_are_found() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let good = log(&key);
        assert_eq!(findings(&good, &key), 0);
        assert!(findings(&good.replacen("visit.begun", "visit.ended", 1), &key) > 0);
        assert!(findings(&without_line(&good, 3), &key) > 0);
        let cut = without_line(&without_line(&good, 6), 5);
        assert!(findings(&cut, &key) > 0, "the signed fourth entry is gone");
        let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        assert!(findings(&good, &stranger) > 0, "nobody known signed it");
    }

    #[test]
    fn an_entry_that_was_cut_after_the_last_signature_needs_the_anchor() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let good = log(&key);
        let (_, report) = verify(good.as_bytes(), &[key.public()], None).unwrap();
        let anchor = Some((report.sequence, report.head));
        let cut = without_line(&good, 6);
        assert_eq!(findings(&cut, &key), 0);
        let (_, report) = verify(cut.as_bytes(), &[key.public()], anchor).unwrap();
        assert_eq!(report.findings.len(), 1);
    }

    #[test]
    fn what_is_no_log_is_refused_with_its_line() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let good = log(&key);
        let long = format!(
            "{{\"format\":1,\"terminal\":\"{}\"}}\n",
            "x".repeat(100_000)
        );
        for (text, at) in [
            (String::new(), 1),
            ("{}\n".to_owned(), 1),
            (long, 1),
            (good.replacen("\"format\":1", "\"format\":2", 1), 1),
            (good.trim_end().to_owned(), 7),
            (format!("{good}[]\n"), 8),
        ] {
            let error = verify(text.as_bytes(), &[], None).unwrap_err();
            assert!(
                matches!(error, AuditFileError::Malformed { line, .. } if line == at),
                "{error} instead of line {at}"
            );
        }
    }
}
