//! Honeywell's serial commands (`device-protocols.md` §4.3): the frames, and the answers told from
//! scanned codes. Pure functions of bytes.
//!
//! The trigger is not answered. A menu command is answered by its own tag with one result byte before
//! the end; nothing marks the start of an answer, so only the tag that was asked for is one.

/// Start scanning; never answered.
pub const TRIGGER: [u8; 3] = [0x16, b'T', b'\r'];
/// Stop scanning; never answered.
pub const UNTRIGGER: [u8; 3] = [0x16, b'U', b'\r'];
/// Asks which values the Codabar switch may have: a question without consequences.
pub const HEALTH: &str = "cbrena";
/// Asks for product and revision.
pub const REVISION: &str = "REVINF";

/// Longest answer taken for one. Chosen: revision texts have some 300 bytes.
const ANSWER_BYTES_MAX: usize = 2048;
const ACCEPTED: u8 = 0x06;
const UNKNOWN: u8 = 0x05;
const REFUSED: u8 = 0x15;

/// The question [`HEALTH`].
pub fn health() -> Vec<u8> {
    menu("cbrena*")
}

/// The question [`REVISION`].
pub fn revision() -> Vec<u8> {
    menu(REVISION)
}

fn menu(command: &str) -> Vec<u8> {
    let mut frame = vec![0x16, b'M', b'\r'];
    frame.extend_from_slice(command.as_bytes());
    frame.push(b'.');
    frame
}

/// What the beginning of the input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing, or too little to say.
    Incomplete,
    /// The answer that was waited for.
    Answer {
        /// Bytes of the whole answer.
        length: usize,
        /// Whether the command was accepted.
        is_accepted: bool,
        /// What stands between the tag and the result byte.
        text: Vec<u8>,
    },
    /// A scanned code, or the beginning of one.
    Code,
}

/// Judges the beginning of `bytes` while the answer to `tag` is waited for.
pub fn parse(bytes: &[u8], tag: &str) -> Input {
    // Models echo the tag in capitals or as it was sent.
    let begins = tag
        .bytes()
        .zip(bytes)
        .all(|(expect, byte)| byte.eq_ignore_ascii_case(&expect));
    if bytes.is_empty() {
        return Input::Incomplete;
    }
    if !begins {
        return Input::Code;
    }
    let searched = bytes.get(..ANSWER_BYTES_MAX).unwrap_or(bytes);
    let end = searched
        .windows(2)
        .position(|pair| matches!(pair, [ACCEPTED | UNKNOWN | REFUSED, b'.' | b'!']));
    match end {
        Some(end) => Input::Answer {
            length: end + 2,
            is_accepted: bytes.get(end) == Some(&ACCEPTED),
            text: bytes.get(tag.len()..end).unwrap_or_default().to_vec(),
        },
        None if bytes.len() >= ANSWER_BYTES_MAX => Input::Code,
        None => Input::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_fact_sheet() {
        assert_eq!(TRIGGER, [0x16, 0x54, 0x0D]);
        assert_eq!(UNTRIGGER, [0x16, 0x55, 0x0D]);
        assert_eq!(
            revision(),
            [0x16, 0x4D, 0x0D, 0x52, 0x45, 0x56, 0x49, 0x4E, 0x46, 0x2E]
        );
        assert_eq!(
            health(),
            [
                0x16, 0x4D, 0x0D, 0x63, 0x62, 0x72, 0x65, 0x6E, 0x61, 0x2A, 0x2E
            ]
        );
    }

    #[test]
    fn the_answer_ends_at_its_result_and_not_at_a_full_stop() {
        let stream = b"REVINF: Product Name: T. 1\x06.TESTQR";
        let Input::Answer {
            length,
            is_accepted,
            text,
        } = parse(stream, REVISION)
        else {
            panic!("no answer");
        };
        assert!(is_accepted);
        assert_eq!(text, b": Product Name: T. 1");
        assert_eq!(&stream[length..], b"TESTQR");
        for end in 1..length {
            assert_eq!(parse(&stream[..end], REVISION), Input::Incomplete, "{end}");
        }
    }

    #[test]
    fn refusals_are_refusals_in_either_case() {
        for answer in [&b"CBRENA\x05."[..], b"cbrena*\x15!"] {
            assert!(matches!(
                parse(answer, HEALTH),
                Input::Answer {
                    is_accepted: false,
                    ..
                }
            ));
        }
    }

    #[test]
    fn a_code_and_an_endless_answer_are_codes() {
        assert_eq!(parse(b"TESTQR\r", REVISION), Input::Code);
        let mut flood = b"REVINF".to_vec();
        flood.extend([b'a'; ANSWER_BYTES_MAX]);
        assert_eq!(parse(&flood, REVISION), Input::Code);
        assert_eq!(parse(b"", REVISION), Input::Incomplete);
    }
}
