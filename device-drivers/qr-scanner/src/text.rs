//! From the bytes a scanner sends to text: suffix, repetition, character set.
//!
//! Codes come in UTF-8 or GB18030 (`device-protocols.md` §4.6): strict UTF-8 first, then GB18030; the
//! bytes are kept beside the text.

use std::borrow::Cow;

use encoding_rs::GB18030;
use kiosk_device::Sensitive;

/// What was scanned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedCode {
    /// As text; what is neither UTF-8 nor GB18030 has replacement characters.
    pub text: Sensitive<String>,
    /// As it came, without the suffix.
    pub raw: Sensitive<Vec<u8>>,
}

/// The code in `bytes`; `None` when there is nothing but a suffix. A code that was sent several times
/// in a row counts once.
pub fn decode(bytes: &[u8]) -> Option<ScannedCode> {
    let raw = once(without_suffix(bytes));
    (!raw.is_empty()).then(|| ScannedCode {
        text: Sensitive::new(text(raw)),
        raw: Sensitive::new(raw.to_vec()),
    })
}

/// True when the bytes end with the suffix scanners are set to: CR LF, CR or LF.
pub fn has_suffix(bytes: &[u8]) -> bool {
    matches!(bytes, [.., b'\r' | b'\n'])
}

fn without_suffix(bytes: &[u8]) -> &[u8] {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    body.strip_suffix(b"\r").unwrap_or(body)
}

/// The first of several equal lines.
fn once(bytes: &[u8]) -> &[u8] {
    let mut lines = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    match lines.next() {
        Some(first) if lines.all(|line| line == first) => first,
        Some(_) | None => bytes,
    }
}

fn text(raw: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(raw) {
        return text.to_owned();
    }
    GB18030
        .decode_without_bom_handling_and_without_replacement(raw)
        .map_or_else(
            || String::from_utf8_lossy(raw).into_owned(),
            Cow::into_owned,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expect: Option<&str>) {
        let code = decode(bytes);
        assert_eq!(
            code.as_ref().map(|code| code.text.expose().as_str()),
            expect
        );
    }

    #[test]
    fn suffixes_are_taken_off_and_nothing_else() {
        check(b"TESTQR\r\n", Some("TESTQR"));
        check(b"TESTQR\r", Some("TESTQR"));
        check(b"TESTQR\n", Some("TESTQR"));
        check(b"TESTQR", Some("TESTQR"));
        check(b" A \r\nB\r\n", Some(" A \r\nB"));
        check(b"\r\n", None);
        check(b"", None);
    }

    #[test]
    fn a_code_sent_several_times_counts_once() {
        check(b"TESTQR\r\nTESTQR\r\nTESTQR\r\n", Some("TESTQR"));
        check(b"A\r\nA\r\nB\r\n", Some("A\r\nA\r\nB"));
    }

    #[test]
    fn both_character_sets_are_read_and_garbage_is_kept_as_bytes() {
        check("测试回执".as_bytes(), Some("测试回执"));
        check(
            &[0xB2, 0xE2, 0xCA, 0xD4, 0xBB, 0xD8, 0xD6, 0xB4],
            Some("测试回执"),
        );
        // Four-byte GB18030: 㛃 (U+36C3).
        let (bytes, _, _) = GB18030.encode("㛃");
        assert_eq!(bytes.len(), 4);
        check(&bytes, Some("㛃"));
        let garbage = decode(&[0x41, 0xFF, 0xFF, 0x42]).unwrap();
        assert_eq!(garbage.raw.expose(), &[0x41, 0xFF, 0xFF, 0x42]);
        assert!(garbage.text.expose().contains('\u{FFFD}'));
    }

    #[test]
    fn nothing_scanned_shows_in_debug_output() {
        let shown = format!("{:?}", decode(b"TESTQR").unwrap());
        assert!(
            !shown.contains("TESTQR") && !shown.contains("84"),
            "{shown}"
        );
    }
}
