//! Reads a recording of [`crate::tap`] back: what was sent, what came, what happened, when.
//!
//! A pure function of text with bounds, so that a file from the field cannot hurt.

use std::time::Duration;

use crate::tap::{Direction, FILE_BYTES_MAX, TITLE};

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Time since the recording began.
    pub at: Duration,
    /// What happened.
    pub what: What,
}

/// What one line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes in full.
    Bytes(Direction, Vec<u8>),
    /// So many bytes that were masked.
    Masked(Direction, usize),
    /// Something else, in words.
    Note(String),
}

/// Why a text is no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// The first line or the size is wrong.
    #[error("not a recording of this version")]
    NotARecording,
    /// A line that makes no sense.
    #[error("line {line} of the recording is not understood")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
}

/// Takes a recording apart.
///
/// # Errors
/// [`RecordingError`] with the line.
pub fn parse(text: &str) -> Result<Vec<Step>, RecordingError> {
    let mut lines = text.lines().enumerate();
    let title = lines.next().map(|(_, line)| line);
    if text.len() > FILE_BYTES_MAX || title != Some(TITLE) {
        return Err(RecordingError::NotARecording);
    }
    lines
        .filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty())
        .map(|(at, line)| step(line).ok_or(RecordingError::Line { line: at + 1 }))
        .collect()
}

fn step(line: &str) -> Option<Step> {
    let (at, rest) = line.split_once(' ')?;
    let seconds: f64 = at.parse().ok()?;
    let at = Duration::try_from_secs_f64(seconds).ok()?;
    let (sign, rest) = rest.split_once(' ')?;
    let direction = match sign {
        ">" => Direction::Sent,
        "<" => Direction::Received,
        "-" => {
            let what = What::Note(rest.to_owned());
            return Some(Step { at, what });
        }
        _ => return None,
    };
    let what = if let Some(count) = rest.strip_prefix('*') {
        What::Masked(direction, count.parse().ok()?)
    } else {
        let bytes = rest
            .split(' ')
            .map(|byte| {
                (byte.len() == 2)
                    .then(|| u8::from_str_radix(byte, 16).ok())
                    .flatten()
            })
            .collect::<Option<Vec<u8>>>()?;
        What::Bytes(direction, bytes)
    };
    Some(Step { at, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expect: Option<What>) {
        let text = format!("{TITLE}\n# about\n\n{line}\n");
        let expect = expect.map(|what| {
            let at = Duration::from_millis(1500);
            vec![Step { at, what }]
        });
        assert_eq!(parse(&text).ok(), expect, "{line}");
    }

    #[test]
    fn lines_are_read_back() {
        check(
            "1.500000 > AA 0b",
            Some(What::Bytes(Direction::Sent, vec![0xAA, 0x0B])),
        );
        check(
            "1.500000 < *30",
            Some(What::Masked(Direction::Received, 30)),
        );
        check("1.5 - opened port", Some(What::Note("opened port".into())));
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for line in [
            "x > AA",
            "1.5 > A",
            "1.5 > AA GG",
            "1.5 = AA",
            "1.5",
            "-1 > AA",
            "1.5 < *x",
            "NaN > AA",
            "1e300 > AA",
        ] {
            check(line, None);
        }
        assert_eq!(parse(""), Err(RecordingError::NotARecording));
        assert_eq!(
            parse(&format!("{TITLE}\n\nbad\n")),
            Err(RecordingError::Line { line: 3 })
        );
    }
}
