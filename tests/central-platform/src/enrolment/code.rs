//! A code that makes a machine a terminal, once: twelve letters of Crockford's alphabet, 60 random
//! bits. Kept as a digest under a salt; compared in constant time.

use std::fmt;
use std::str::FromStr;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Crockford's base32: no I, L, O, U, so that nothing is misread on a slip of paper.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Letters of a code: 60 bits.
const LETTERS: usize = 12;
/// Letters between two hyphens.
const GROUP: usize = 4;
/// Longest text that is looked at: the letters with as many spaces and hyphens.
const TEXT_MAX: usize = 32;
/// Bytes of a salt, half of the digest.
pub(crate) const SALT_BYTES: usize = 16;
/// What is digested is this, the terminal and the letters, with zero bytes between.
const DOMAIN: &[u8] = b"kiosk/enrolment-code/1";

/// A code. Its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Code([u8; LETTERS]);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(<redacted>)")
    }
}

impl fmt::Display for Code {
    /// In groups of four, for paper.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.iter().enumerate() {
            if at > 0 && at % GROUP == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

impl FromStr for Code {
    type Err = ();

    /// As somebody typed it: any case, spaces and hyphens anywhere, O for 0, I and L for 1.
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() > TEXT_MAX {
            return Err(());
        }
        let mut letters = [0; LETTERS];
        let mut count = 0;
        for byte in text.bytes().filter(|byte| !matches!(byte, b' ' | b'-')) {
            let letter = match byte.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                other => other,
            };
            let place = letters.get_mut(count).ok_or(())?;
            if !ALPHABET.contains(&letter) {
                return Err(());
            }
            *place = letter;
            count += 1;
        }
        (count == LETTERS).then_some(Self(letters)).ok_or(())
    }
}

impl Code {
    /// A new one; `None` where the machine has no randomness.
    pub(crate) fn generate() -> Option<Self> {
        let mut letters = [0; LETTERS];
        SystemRandom::new().fill(&mut letters).ok()?;
        // 32 divides 256: every letter is as likely as any other.
        for letter in &mut letters {
            *letter = ALPHABET[usize::from(*letter) % ALPHABET.len()];
        }
        Some(Self(letters))
    }

    /// What is kept of it.
    pub(crate) fn digest(&self, salt: &[u8], terminal: &str) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
        hmac::sign(&key, &self.message(terminal)).as_ref().to_vec()
    }

    /// Whether it is the one that was kept; takes as long for a wrong one.
    pub(crate) fn is(&self, salt: &[u8], terminal: &str, digest: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
        hmac::verify(&key, &self.message(terminal), digest).is_ok()
    }

    fn message(&self, terminal: &str) -> Vec<u8> {
        [DOMAIN, terminal.as_bytes(), &self.0].join(&0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code: Code = "7K3M-9QXT-01AB".parse().unwrap();
        assert_eq!(code.to_string(), "7K3M-9QXT-01AB");
        for text in ["7k3m9qxt01ab", " 7K3M 9QXT oiab ", "7K3M-9QXT-OLAB"] {
            assert_eq!(text.parse(), Ok(code.clone()), "{text}");
        }
        for text in [
            "",
            "7K3M-9QXT-01A",
            "7K3M-9QXT-01ABC",
            "7K3M-9QXT-01AU",
            "7K3M-9QXT-01A测",
            &" ".repeat(33),
        ] {
            assert_eq!(text.parse::<Code>(), Err(()), "{text}");
        }
        assert!(!format!("{code:?}").contains("7K3M"));
    }

    #[test]
    fn a_digest_is_of_one_code_one_salt_and_one_terminal() {
        let (one, other) = (Code::generate().unwrap(), Code::generate().unwrap());
        assert_ne!(one, other);
        let digest = one.digest(b"salt", "T1");
        assert!(one.is(b"salt", "T1", &digest));
        assert!(!one.is(b"salt", "T2", &digest));
        assert!(!one.is(b"tlas", "T1", &digest));
        assert!(!other.is(b"salt", "T1", &digest));
        assert!(!one.is(b"salt", "T1", &digest[1..]));
    }
}
