//! Datalogic's single letters (`device-protocols.md` §4.5). Pure functions of bytes.
//!
//! Switching is never answered. Questions are answered by a line of text that nothing tells from a
//! code, so the scanner is switched off before it is asked.

/// Switch on and pull the trigger.
pub const START: [u8; 2] = *b"ET";
/// Release the trigger and switch off.
pub const STOP: [u8; 2] = *b"XD";
/// How it is.
pub const HEALTH: [u8; 1] = *b"h";
/// What it is.
pub const IDENTIFICATION: [u8; 1] = *b"i";

/// Longest answer that is waited for. Chosen.
const ANSWER_BYTES_MAX: usize = 512;

/// The line of text at the front of `bytes`: its length with the line end, and the line. `None`: it
/// has no end yet. Line ends in front of it are part of it.
pub fn answer(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = bytes.iter().position(|byte| !is_end(byte))?;
    let rest = bytes.get(start..)?;
    match rest.iter().position(is_end) {
        Some(end) => {
            // CR and LF are one end.
            let tail = rest.get(end..).unwrap_or_default();
            let end_bytes = if tail.starts_with(b"\r\n") { 2 } else { 1 };
            Some((start + end + end_bytes, rest.get(..end)?))
        }
        None if rest.len() >= ANSWER_BYTES_MAX => {
            Some((start + ANSWER_BYTES_MAX, rest.get(..ANSWER_BYTES_MAX)?))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_line() {
        assert_eq!(answer(b"GRYPHON\r\nmore"), Some((9, &b"GRYPHON"[..])));
        assert_eq!(answer(b"\r\nGRYPHON\r"), Some((10, &b"GRYPHON"[..])));
        assert_eq!(answer(b"GRYPH"), None);
        assert_eq!(answer(b"\r\n\r\n"), None);
        assert_eq!(answer(b""), None);
    }

    #[test]
    fn an_endless_answer_ends() {
        let flood = [b'a'; 2 * ANSWER_BYTES_MAX];
        assert_eq!(answer(&flood).map(|(length, _)| length), Some(512));
    }
}
