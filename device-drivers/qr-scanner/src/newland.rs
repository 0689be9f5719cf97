//! Newland's unified commands (`device-protocols.md` §4.1): the frames and their answers, told apart
//! from scanned codes in one stream of bytes. Pure functions of bytes.

/// Longest answer taken for one; a longer "answer" is a code that happens to begin like one.
/// Chosen: product information is about 300 bytes.
const ANSWER_BYTES_MAX: usize = 2048;
const ANSWER_START: [u8; 6] = [0x02, 0x01, 0x30, 0x30, 0x30, 0x30];
const END: [u8; 2] = [0x3B, 0x03];

/// Start scanning.
pub const START: &str = "SCNTRG1";
/// Stop scanning.
pub const STOP: &str = "SCNTRG0";
/// Scan on command only.
pub const COMMAND_MODE: &str = "SCNMOD0";
/// Product information.
pub const PRODUCT: &str = "QRYSYS";

/// The frame of a command that is not stored in flash memory.
pub fn command(tag: &str) -> Vec<u8> {
    let mut frame = b"\x7E\x010000#".to_vec();
    frame.extend_from_slice(tag.as_bytes());
    frame.extend(END);
    frame
}

/// The frame of a query.
pub fn query(tag: &str) -> Vec<u8> {
    let mut frame = b"\x7E\x010000@".to_vec();
    frame.extend_from_slice(tag.as_bytes());
    frame.extend(END);
    frame
}

/// What the beginning of the input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing, or too little to say.
    Incomplete,
    /// An answer: its length in bytes and what stands between start and end.
    Answer {
        /// Bytes of the whole frame.
        length: usize,
        /// Storage character, tag, data and result byte.
        content: Vec<u8>,
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
    if bytes.is_empty() {
        return Input::Incomplete;
    }
    if !begins {
        return Input::Code;
    }
    let searched = bytes.get(..ANSWER_BYTES_MAX).unwrap_or(bytes);
    match searched.windows(END.len()).position(|window| window == END) {
        Some(end) => Input::Answer {
            length: end + END.len(),
            content: searched
                .get(ANSWER_START.len()..end)
                .unwrap_or_default()
                .to_vec(),
        },
        None if bytes.len() >= ANSWER_BYTES_MAX => Input::Code,
        None => Input::Incomplete,
    }
}

/// Whether an answer accepts its command. `None`: it answers another one.
pub fn verdict(content: &[u8], tag: &str) -> Option<bool> {
    let (_, rest) = content.split_first()?;
    let rest = rest.strip_prefix(tag.as_bytes())?;
    Some(rest.last() == Some(&0x06))
}

/// What a query's answer tells, as it came: between the tag and the result byte.
pub fn query_bytes(content: &[u8], tag: &str) -> Vec<u8> {
    let told = content
        .split_first()
        .and_then(|(_, rest)| rest.strip_prefix(tag.as_bytes()))
        .and_then(|rest| rest.strip_suffix(&[0x06]));
    told.unwrap_or_default().to_vec()
}

/// The text of a query's answer.
pub fn query_text(content: &[u8], tag: &str) -> Option<String> {
    let (_, rest) = content.split_first()?;
    let text = rest.strip_prefix(tag.as_bytes())?.strip_suffix(&[0x06])?;
    let text: String = String::from_utf8_lossy(text)
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(200)
        .collect();
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    #[test]
    fn commands_are_those_of_the_fact_sheet() {
        let check = |frame: Vec<u8>, hex: &str| assert_eq!(frame, bytes(hex));
        check(
            command(START),
            "7E 01 30 30 30 30 23 53 43 4E 54 52 47 31 3B 03",
        );
        check(
            command(STOP),
            "7E 01 30 30 30 30 23 53 43 4E 54 52 47 30 3B 03",
        );
        check(
            query(PRODUCT),
            "7E 01 30 30 30 30 40 51 52 59 53 59 53 3B 03",
        );
    }

    #[test]
    fn an_answer_is_told_from_the_code_behind_it() {
        let answer = bytes("02 01 30 30 30 30 23 53 43 4E 54 52 47 31 06 3B 03");
        let mut stream = answer.clone();
        stream.extend(b"TESTQR\r\n");
        let Input::Answer { length, content } = parse(&stream) else {
            panic!("no answer");
        };
        assert_eq!(length, answer.len());
        assert_eq!(verdict(&content, START), Some(true));
        assert_eq!(verdict(&content, STOP), None);
        assert_eq!(parse(&stream[length..]), Input::Code);
        for end in 1..answer.len() {
            assert_eq!(parse(&answer[..end]), Input::Incomplete, "{end}");
        }
    }

    #[test]
    fn refusals_are_refusals() {
        for result in ["05", "15"] {
            let frame = format!("02 01 30 30 30 30 23 53 43 4E 54 52 47 31 {result} 3B 03");
            let Input::Answer { content, .. } = parse(&bytes(&frame)) else {
                panic!("no answer");
            };
            assert_eq!(verdict(&content, START), Some(false));
        }
        assert_eq!(verdict(&[], START), None);
    }

    #[test]
    fn product_information_is_plain_bounded_text() {
        let mut content = b"@QRYSYSProduct Name: TEST\r\nSN: 1\x06".to_vec();
        assert_eq!(
            query_text(&content, PRODUCT).as_deref(),
            Some("Product Name: TEST  SN: 1")
        );
        assert_eq!(
            query_bytes(&content, PRODUCT),
            b"Product Name: TEST\r\nSN: 1"
        );
        content.splice(10..10, [b'x'; 5000]);
        assert!(query_text(&content, PRODUCT).unwrap().len() <= 200);
        assert_eq!(query_text(b"@QRYSYS\x15", PRODUCT), None);
    }

    #[test]
    fn an_endless_answer_is_taken_for_a_code() {
        let mut flood = ANSWER_START.to_vec();
        flood.extend([b'a'; ANSWER_BYTES_MAX]);
        assert_eq!(parse(&flood), Input::Code);
    }
}
