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

impl ScannedCode {
    /// The code that consists of exactly these bytes.
    pub fn from_bytes(raw: &[u8]) -> Self {
        Self {
            text: Sensitive::new(text(raw)),
            raw: Sensitive::new(raw.to_vec()),
        }
    }
}

/// What a scanner sends behind each code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suffix {
    /// CR LF, CR, LF or nothing: whatever comes.
    #[default]
    Any,
    /// Nothing; a line end belongs to the code.
    None,
    /// CR, always.
    Cr,
    /// LF, always.
    Lf,
    /// CR LF, always.
    CrLf,
    /// The key that ends a code on a keyboard: Enter (as LF) or Tab.
    Key,
}

impl Suffix {
    /// The names in the configuration.
    pub const WORDS: [&'static str; 5] = ["any", "none", "cr", "lf", "cr-lf"];

    /// The suffix of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "any" => Some(Self::Any),
            "none" => Some(Self::None),
            "cr" => Some(Self::Cr),
            "lf" => Some(Self::Lf),
            "cr-lf" => Some(Self::CrLf),
            _ => None,
        }
    }

    /// True when no code is whole without it.
    pub fn is_required(self) -> bool {
        match self {
            Self::Any | Self::None | Self::Key => false,
            Self::Cr | Self::Lf | Self::CrLf => true,
        }
    }

    /// True when the bytes end with it.
    pub fn ends(self, bytes: &[u8]) -> bool {
        match self {
            Self::Any => matches!(bytes, [.., b'\r' | b'\n']),
            Self::None => false,
            Self::Cr => bytes.ends_with(b"\r"),
            Self::Lf => bytes.ends_with(b"\n"),
            Self::CrLf => bytes.ends_with(b"\r\n"),
            Self::Key => matches!(bytes, [.., b'\n' | b'\t']),
        }
    }

    fn strip(self, bytes: &[u8]) -> &[u8] {
        match self {
            Self::Any => {
                let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                body.strip_suffix(b"\r").unwrap_or(body)
            }
            Self::None => bytes,
            Self::Cr => bytes.strip_suffix(b"\r").unwrap_or(bytes),
            Self::Lf => bytes.strip_suffix(b"\n").unwrap_or(bytes),
            Self::CrLf => bytes.strip_suffix(b"\r\n").unwrap_or(bytes),
            Self::Key => match bytes {
                [body @ .., b'\n' | b'\t'] => body,
                _ => bytes,
            },
        }
    }
}

/// The code in `bytes`; `None` when there is nothing but a suffix. A code that was sent several times
/// in a row counts once.
pub fn decode(bytes: &[u8]) -> Option<ScannedCode> {
    decode_with(bytes, Suffix::Any)
}

/// As [`decode`], for a scanner whose suffix is known.
pub fn decode_with(bytes: &[u8], suffix: Suffix) -> Option<ScannedCode> {
    let body = suffix.strip(bytes);
    let raw = once(body, bytes.get(body.len()..).unwrap_or_default());
    (!raw.is_empty()).then(|| ScannedCode::from_bytes(raw))
}

/// The first of several equal codes with `end` between them; anything else as it is.
fn once<'a>(body: &'a [u8], end: &[u8]) -> &'a [u8] {
    if end.is_empty() {
        return body;
    }
    let places = body.windows(end.len());
    let Some(length) = places.into_iter().position(|window| window == end) else {
        return body;
    };
    let first = body.get(..length).unwrap_or(body);
    let repeated = [first, end].concat();
    let rest = body.get(repeated.len()..).unwrap_or_default();
    let mut codes = rest.chunks(repeated.len());
    let is_last = |code: &[u8]| code == first;
    let is_repeated = codes.next_back().is_some_and(is_last) && codes.all(|code| code == repeated);
    if is_repeated { first } else { body }
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
    fn a_known_suffix_is_the_only_one_taken_off() {
        let check = |bytes: &[u8], suffix: Suffix, expect: &[u8], is_end: bool| {
            let code = decode_with(bytes, suffix).unwrap();
            assert_eq!(code.raw.expose(), expect, "{suffix:?}");
            assert_eq!(suffix.ends(bytes), is_end, "{suffix:?}");
        };
        check(b"A\n", Suffix::None, b"A\n", false);
        check(b"A\r", Suffix::Cr, b"A", true);
        check(b"A\r\n", Suffix::Cr, b"A\r\n", false);
        check(b"A\r\n", Suffix::Lf, b"A\r", true);
        check(b"A\r\n", Suffix::CrLf, b"A", true);
        check(b"A\r", Suffix::CrLf, b"A\r", false);
        check(b"A\t", Suffix::Key, b"A", true);
        check(b"A\r", Suffix::Key, b"A\r", false);
        for word in Suffix::WORDS {
            assert!(Suffix::from_word(word).is_some(), "{word}");
        }
    }

    #[test]
    fn a_code_sent_several_times_counts_once() {
        check(b"TESTQR\r\nTESTQR\r\nTESTQR\r\n", Some("TESTQR"));
        check(b"TESTQR\rTESTQR\r", Some("TESTQR"));
        check(b"A\nA\nA\n", Some("A"));
        check(b"A\r\nA\r\nB\r\n", Some("A\r\nA\r\nB"));
        check(b"A\r\nAA\r\n", Some("A\r\nAA"));
        // Nothing says that these are two codes.
        check(b"A\r\nA", Some("A\r\nA"));
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
