//! The frames of Grow GM65 and EM3095 modules (`device-protocols.md` §4.2). Pure functions of bytes.
//!
//! A command that starts a scan is answered first; the code follows as raw bytes.

/// Stands in place of a check that nobody shall verify.
const UNCHECKED: [u8; 2] = [0xAB, 0xCD];
const ANSWER_START: [u8; 2] = [0x02, 0x00];
const WRITE: u8 = 0x08;

/// Starts one scan.
pub fn start() -> Vec<u8> {
    write(0x0002, 0x01)
}

/// Ends the scan.
pub fn stop() -> Vec<u8> {
    write(0x0002, 0x02)
}

/// Scan on command only, until the power goes: not stored.
pub fn command_mode() -> Vec<u8> {
    write(0x0000, 0x15)
}

fn write(address: u16, value: u8) -> Vec<u8> {
    let [high, low] = address.to_be_bytes();
    let body = [WRITE, 0x01, high, low, value];
    let [check_high, check_low] = check(&body).to_be_bytes();
    let mut frame = vec![0x7E, 0x00];
    frame.extend(body);
    frame.extend([check_high, check_low]);
    frame
}

/// CRC-CCITT, polynomial 1021, from zero.
pub fn check(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0_u16, |check, byte| {
        (0..8).fold(check ^ (u16::from(*byte) << 8), |check, _| {
            let shifted = check << 1;
            if check & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// How the module answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Accepted,
    /// It came damaged: send it again.
    Damaged,
    /// Not a command of this module.
    Refused,
}

/// What the beginning of the input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing, or too little to say.
    Incomplete,
    /// An answer with a good check.
    Answer {
        /// Bytes of the whole frame.
        length: usize,
        /// What it says.
        verdict: Verdict,
        /// What it carries.
        content: Vec<u8>,
    },
    /// An answer with a wrong check.
    Damaged {
        /// Bytes of the whole frame.
        length: usize,
    },
    /// A scanned code, or the beginning of one.
    Code,
}

/// Judges the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Input {
    let begins = ANSWER_START
        .iter()
        .zip(bytes)
        .all(|(expect, byte)| expect == byte);
    if !begins {
        return Input::Code;
    }
    let (Some(kind), Some(count)) = (bytes.get(2), bytes.get(3)) else {
        return Input::Incomplete;
    };
    let verdict = match kind {
        0x00 => Verdict::Accepted,
        0x01 => Verdict::Damaged,
        0x03 => Verdict::Refused,
        _ => return Input::Code,
    };
    let end = 4 + usize::from(*count);
    let Some(stated) = bytes.get(end..end + 2) else {
        return Input::Incomplete;
    };
    let body = bytes.get(2..end).unwrap_or_default();
    if stated != UNCHECKED && stated != check(body).to_be_bytes() {
        return Input::Damaged { length: end + 2 };
    }
    Input::Answer {
        length: end + 2,
        verdict,
        content: bytes.get(4..end).unwrap_or_default().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: [u8; 7] = [0x02, 0x00, 0x00, 0x01, 0x00, 0x33, 0x31];

    #[test]
    fn commands_are_those_of_the_fact_sheet() {
        let start_frame = [0x7E, 0x00, 0x08, 0x01, 0x00, 0x02, 0x01, 0x02, 0xDA];
        let stop_frame = [0x7E, 0x00, 0x08, 0x01, 0x00, 0x02, 0x02, 0x32, 0xB9];
        assert_eq!(start(), start_frame);
        assert_eq!(stop(), stop_frame);
        assert_eq!(
            command_mode().get(..7),
            Some(&[0x7E, 0x00, 0x08, 0x01, 0x00, 0x00, 0x15][..])
        );
        // Save settings, the third check of the fact sheet.
        assert_eq!(check(&[0x09, 0x01, 0x00, 0x00, 0x00]), 0xDEC8);
    }

    #[test]
    fn the_answers_of_the_fact_sheet_are_read() {
        let check = |bytes: &[u8], expect: Verdict| {
            assert_eq!(
                parse(bytes),
                Input::Answer {
                    length: 7,
                    verdict: expect,
                    content: vec![bytes[4]],
                }
            );
        };
        check(&OK, Verdict::Accepted);
        check(&[2, 0, 1, 1, 0, 0x04, 0x01], Verdict::Damaged);
        check(&[2, 0, 3, 1, 0, 0x6A, 0x61], Verdict::Refused);
        check(&[2, 0, 0, 1, 7, 0xAB, 0xCD], Verdict::Accepted);
    }

    #[test]
    fn the_code_behind_the_answer_is_no_part_of_it() {
        let stream = [&OK[..], b"TESTQR\r"].concat();
        let Input::Answer { length, .. } = parse(&stream) else {
            panic!("no answer");
        };
        assert_eq!(&stream[length..], b"TESTQR\r");
        assert_eq!(parse(&stream[length..]), Input::Code);
        for end in 0..OK.len() {
            assert_eq!(parse(&OK[..end]), Input::Incomplete, "{end}");
        }
    }

    #[test]
    fn a_wrong_check_is_no_answer() {
        let mut damaged = OK;
        damaged[5] ^= 1;
        assert_eq!(parse(&damaged), Input::Damaged { length: 7 });
        assert_eq!(parse(&[2, 0, 9, 1, 0, 0, 0]), Input::Code);
    }
}
