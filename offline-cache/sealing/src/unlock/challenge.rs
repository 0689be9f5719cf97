//! What a terminal shows to whoever wants to come in, and what a permission must answer.

use crate::FormatError;
use crate::cbor::{Reader, Writer};
use crate::cose;
use crate::suite::sha256_of;

use super::{UnlockError, check as check_field, check_terminal, read_text};

const PREFIX: &str = "KC1:";
const DOMAIN: &[u8] = b"kiosk.challenge.v1";
/// Bytes of the check: a slip in typing passes once in 65,536.
const CHECK_BYTES: usize = 2;

/// What a terminal asks. The nonce is drawn anew for each challenge and forgotten with it, so a
/// permission for it belongs to this boot and this counter; both are told so that whoever signs can
/// see how often somebody tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Number of the terminal: letters, digits and `-._`, at most
    /// [`TERMINAL_BYTES_MAX`](super::TERMINAL_BYTES_MAX) bytes.
    pub terminal: String,
    /// Random, used once.
    pub nonce: [u8; 16],
    /// How often the terminal has started.
    pub boot: u32,
    /// How many challenges it has made.
    pub counter: u32,
}

impl Challenge {
    /// Its text, for a QR symbol or for typing: 46 letters and a few more.
    pub fn to_text(&self) -> String {
        self.to_text_with_list(0)
    }

    /// Its text, which also tells the number of the list of revocations that the terminal holds; 0
    /// for none, which is not written, so that whoever has never made a list need not know of lists.
    pub fn to_text_with_list(&self, number: u32) -> String {
        let mut bytes = self.body(number, 1);
        let mut check = Writer::new();
        check.bytes(&self.check(number));
        bytes.extend(check.finish());
        cose::to_text(PREFIX, &bytes)
    }

    /// Reads its text.
    ///
    /// # Errors
    /// `TooLong`, or `Malformed` when it is no challenge or was mistyped.
    pub fn parse(text: &str) -> Result<Self, UnlockError> {
        Ok(Self::parse_with_list(text)?.0)
    }

    /// Reads its text, and the number of the list of revocations that the terminal holds; 0 for none.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with_list(text: &str) -> Result<(Self, u32), UnlockError> {
        let bytes = read_text(PREFIX, text)?;
        let mut reader = Reader::new(&bytes);
        let count = reader.array(6, "challenge")?;
        if count < 5 {
            return Err(FormatError::OutOfRange { field: "challenge" }.into());
        }
        let number = |value: u64| {
            u32::try_from(value).map_err(|_| FormatError::OutOfRange { field: "challenge" })
        };
        let challenge = Self {
            terminal: reader.text()?.to_owned(),
            nonce: reader.exactly("nonce")?,
            boot: number(reader.uint()?)?,
            counter: number(reader.uint()?)?,
        };
        let list = if count == 6 {
            // None is told by leaving it out.
            let list = number(reader.uint()?)?;
            check_field(list > 0, "list")?;
            list
        } else {
            0
        };
        let check: [u8; CHECK_BYTES] = reader.exactly("check")?;
        reader.end()?;
        check_terminal(&challenge.terminal)?;
        if check != challenge.check(list) {
            return Err(FormatError::Check.into());
        }
        Ok((challenge, list))
    }

    /// An array of what is told; `more` items follow that the caller writes.
    fn body(&self, list: u32, more: usize) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .array(4 + usize::from(list > 0) + more)
            .text(&self.terminal)
            .bytes(&self.nonce)
            .uint(self.boot.into())
            .uint(self.counter.into());
        if list > 0 {
            writer.uint(list.into());
        }
        writer.finish()
    }

    fn check(&self, list: u32) -> [u8; CHECK_BYTES] {
        let digest = sha256_of(&[DOMAIN, &[0], &self.body(list, 0)]);
        [digest[0], digest[1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge() -> Challenge {
        Challenge {
            terminal: "T001".to_owned(),
            nonce: *b"0123456789abcdef",
            boot: 12,
            counter: 345,
        }
    }

    #[test]
    fn a_challenge_survives_its_text() {
        let text = challenge().to_text();
        assert!(text.starts_with("KC1:"), "{text}");
        assert!(text.len() <= 60, "{}", text.len());
        assert_eq!(Challenge::parse(&text).unwrap(), challenge());
        assert_eq!(
            Challenge::parse(&format!("{text}\r\n")).unwrap(),
            challenge()
        );
        let largest = Challenge {
            terminal: "T".repeat(32),
            nonce: [255; 16],
            boot: u32::MAX,
            counter: u32::MAX,
        };
        assert_eq!(Challenge::parse(&largest.to_text()).unwrap(), largest);
    }

    #[test]
    fn a_challenge_tells_the_list_that_is_held_and_is_as_before_without_one() {
        assert_eq!(challenge().to_text_with_list(0), challenge().to_text());
        for number in [1, 23, 24, u32::MAX] {
            let text = challenge().to_text_with_list(number);
            assert!(text.len() <= 70, "{}", text.len());
            let read = Challenge::parse_with_list(&text).unwrap();
            assert_eq!(read, (challenge(), number));
            assert_eq!(Challenge::parse(&text).unwrap(), challenge());
        }
        // The number is under the check, and none is never written.
        for (list, written) in [(7, 6), (0, 0)] {
            let mut bytes = challenge().body(7, 1);
            *bytes.last_mut().unwrap() = written;
            let mut check = Writer::new();
            check.bytes(&challenge().check(list));
            bytes.extend(check.finish());
            let error = Challenge::parse(&cose::to_text(PREFIX, &bytes)).unwrap_err();
            assert_eq!(error.code(), "unlock.malformed", "{written}");
        }
    }

    #[test]
    fn a_mistyped_or_cut_challenge_is_refused() {
        let text = challenge().to_text();
        for index in 4..text.len() {
            assert!(Challenge::parse(&text[..index]).is_err(), "{index}");
            let mut altered = text.clone().into_bytes();
            altered[index] = if altered[index] == b'7' { b'8' } else { b'7' };
            let altered = String::from_utf8(altered).unwrap();
            let error = Challenge::parse(&altered).unwrap_err();
            assert_eq!(error.code(), "unlock.malformed", "{index}");
        }
        for text in ["", "KC1:", "KU1:00", "KC2:00", "测试一"] {
            assert!(Challenge::parse(text).is_err(), "{text}");
        }
        let error = Challenge::parse(&"KC1:".repeat(1000)).unwrap_err();
        assert_eq!(error.code(), "unlock.too-long");
    }
}
