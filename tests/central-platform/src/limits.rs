//! What a text of a request may be: the patterns and lengths of the `OpenAPI` document beside the
//! terminal's client. A refusal names the field, never its value.

use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use crate::problem::Problem;

/// What a text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Number of a terminal: 2 to 16 letters, digits and hyphens.
    Terminal,
    /// An item or a case number: 1 to 64 letters, digits and `._-`.
    Word,
    /// A system behind the platform: like a word, or nothing.
    Upstream,
    /// A kind of transaction: 1 to 32 small letters and hyphens.
    Kind,
    /// A time of an appointment: like a word, and colons.
    Slot,
    /// 64 small hexadecimal digits.
    Digest,
    /// 16 small hexadecimal digits.
    KeyId,
    /// Anything of this many characters.
    Text {
        /// Fewest.
        least: usize,
        /// Most.
        most: usize,
    },
}

/// Words of the contract that many requests have.
pub(crate) const NUMBER: Limit = Limit::Text { least: 1, most: 64 };
/// Empty where the number was typed.
pub(crate) const NAME: Limit = Limit::Text { least: 0, most: 64 };

impl Limit {
    fn allows(self, text: &str) -> bool {
        let made_of = |least, most, is_part: fn(u8) -> bool| {
            (least..=most).contains(&text.len()) && text.bytes().all(is_part)
        };
        match self {
            Self::Terminal => made_of(2, 16, |byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            Self::Word => made_of(1, 64, is_word_part),
            Self::Upstream => made_of(0, 64, is_word_part),
            Self::Kind => made_of(1, 32, |byte| byte.is_ascii_lowercase() || byte == b'-'),
            Self::Slot => made_of(1, 64, |byte| is_word_part(byte) || byte == b':'),
            Self::Digest => made_of(64, 64, is_hex),
            Self::KeyId => made_of(16, 16, is_hex),
            Self::Text { least, most } => {
                // The bytes first: what is far too long is not counted.
                text.len() <= 4 * most && (least..=most).contains(&text.chars().count())
            }
        }
    }
}

fn is_word_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// Refuses the first text that is not what it may be.
pub(crate) fn within(fields: &[(&'static str, &str, Limit)]) -> Result<(), Problem> {
    match fields.iter().find(|(_, text, limit)| !limit.allows(text)) {
        Some((name, ..)) => Err(outside(name)),
        None => Ok(()),
    }
}

/// Refuses a list or a number that is outside its limits.
pub(crate) fn bounded(name: &'static str, is_inside: bool) -> Result<(), Problem> {
    if is_inside {
        Ok(())
    } else {
        Err(outside(name))
    }
}

fn outside(name: &str) -> Problem {
    Problem::unprocessable("request.field", format!("`{name}` is outside its limits"))
}

/// An id in the one spelling of the contract: 36 characters, small digits.
pub(crate) fn id(text: &str) -> Option<Uuid> {
    let id = Uuid::parse_str(text).ok()?;
    (id.hyphenated().to_string() == text).then_some(id)
}

/// Reads an id out of JSON, in its one spelling.
pub(crate) fn strict_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    let text = String::deserialize(deserializer)?;
    id(&text).ok_or_else(|| serde::de::Error::custom("not an id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_within_its_limits_or_refused() {
        let check = |limit: Limit, text: &str, expected| {
            assert_eq!(limit.allows(text), expected, "{limit:?} {text:?}");
        };
        check(Limit::Terminal, "T1", true);
        check(Limit::Terminal, "T", false);
        check(Limit::Terminal, "T_1", false);
        check(Limit::Word, "old-age_1.0", true);
        check(Limit::Word, "", false);
        check(Limit::Word, "a b", false);
        check(Limit::Upstream, "", true);
        check(Limit::Kind, "Case", false);
        check(Limit::Slot, "2026-11-23:0900", true);
        check(Limit::Digest, &"a".repeat(64), true);
        check(Limit::Digest, &"A".repeat(64), false);
        check(Limit::KeyId, &"0".repeat(15), false);
        check(NAME, "", true);
        check(NUMBER, "", false);
        check(NAME, &"测".repeat(64), true);
        check(NAME, &"测".repeat(65), false);
        check(NAME, &"𬱖".repeat(64), true);
    }

    #[test]
    fn an_id_has_one_spelling() {
        let text = "01930000-0000-7000-8000-0000000000f1";
        assert!(id(text).is_some());
        for other in [
            "",
            "01930000000070008000000000000 0f1",
            "{01930000-0000-7000-8000-0000000000f1}",
            "01930000-0000-7000-8000-0000000000F1",
            "019300000000700080000000000000f1",
        ] {
            assert!(id(other).is_none(), "{other}");
        }
    }
}
