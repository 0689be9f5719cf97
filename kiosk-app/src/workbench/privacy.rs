//! Looks for what could name a citizen in a text that leaves the terminal: identity numbers, mobile
//! telephone numbers, bank cards. The log holds none of them by construction; this is the second look
//! before a stick is written, by somebody who does not trust the first.

/// Shortest run of digits that is looked at: a mobile telephone number.
const DIGITS_MIN: usize = 11;
/// Stands where something was.
const MASK: &str = "[***]";

/// The text without numbers that could be of a person, and how many were taken out. Blanks and
/// hyphens between digits do not hide one.
pub fn mask(text: &str) -> (String, usize) {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut kept, mut at, mut found) = (0, 0, 0);
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let end = run_end(bytes, at);
        // Digits right behind a letter belong to a word: a digest, an id, a unit.
        let is_word = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if !is_word && is_personal(&bytes[at..end]) {
            out.push_str(&text[kept..at]);
            out.push_str(MASK);
            kept = end;
            found += 1;
        }
        at = end;
    }
    out.push_str(&text[kept..]);
    (out, found)
}

/// Where a run of digits with single blanks or hyphens in it ends; a closing X belongs to it.
fn run_end(bytes: &[u8], start: usize) -> usize {
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = start;
    loop {
        while is_digit(end) {
            end += 1;
        }
        if matches!(bytes.get(end), Some(b' ' | b'-')) && is_digit(end + 1) {
            end += 1;
            continue;
        }
        let is_check = matches!(bytes.get(end), Some(b'X' | b'x'))
            && !bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
        return end + usize::from(is_check);
    }
}

/// The whole run, each of its groups, and each stretch of groups could be a number of a person.
fn is_personal(run: &[u8]) -> bool {
    let groups: Vec<&[u8]> = run.split(|byte| matches!(byte, b' ' | b'-')).collect();
    // A number is written in six groups at most; a longer run is a table, and is looked at by these.
    for start in 0..groups.len() {
        let mut digits: Vec<u8> = Vec::new();
        for group in &groups[start..groups.len().min(start + 6)] {
            digits.extend_from_slice(group);
            if digits.len() >= DIGITS_MIN && is_number(&digits) {
                return true;
            }
        }
    }
    false
}

fn is_number(digits: &[u8]) -> bool {
    match digits.len() {
        11 => is_mobile(digits),
        18 => is_identity(digits) || is_card(digits),
        16 | 17 | 19 => is_card(digits),
        _ => false,
    }
}

/// Mobile numbers begin with 13 to 19 (GB/T and numbering plan of the ministry, 2017).
fn is_mobile(digits: &[u8]) -> bool {
    digits[0] == b'1' && (b'3'..=b'9').contains(&digits[1]) && digits.iter().all(u8::is_ascii_digit)
}

/// A citizen's number with its check character (GB 11643-1999, ISO 7064 MOD 11-2).
fn is_identity(digits: &[u8]) -> bool {
    let (body, check) = digits.split_at(17);
    let mut rest = 0_u32;
    for digit in body {
        if !digit.is_ascii_digit() {
            return false;
        }
        rest = (rest + u32::from(digit - b'0')) * 2 % 11;
    }
    let expected = match (12 - rest) % 11 {
        10 => b'X',
        value => b'0' + u8::try_from(value).unwrap_or(0),
    };
    check
        .first()
        .is_some_and(|byte| byte.to_ascii_uppercase() == expected)
}

/// A bank card: begins with 6 (`UnionPay`) or 4 or 5, and the Luhn sum is right (ISO/IEC 7812-1).
fn is_card(digits: &[u8]) -> bool {
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(digits[0], b'4' | b'5' | b'6') {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0');
            match place % 2 {
                0 => value,
                _ if value > 4 => value * 2 - 9,
                _ => value * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let (masked, _) = mask(text);
        assert_eq!(masked, expected, "{text}");
    }

    #[test]
    fn numbers_of_persons_are_taken_out_however_they_are_written() {
        check("number=440100197505050046.", "number=[***].");
        check("440100 19750505 0046", "[***]");
        check("身份证440100197505050046号", "身份证[***]号");
        check(
            "phone 13900000000 and 139-0000-0000",
            "phone [***] and [***]",
        );
        check("card 6222020000000000000 x", "card [***] x");
        check("card 6222020000000000001 x", "card 6222020000000000001 x");
        check("card 4111 1111 1111 1111", "card [***]");
        assert_eq!(mask("13900000000, 13900000001").1, 2);
    }

    #[test]
    fn what_a_log_is_made_of_stays() {
        for line in [
            "2026-11-22T12:33:32.123456Z  INFO kiosk: first frame milliseconds=341",
            "id=018f3c2a-1234-7890-8abc-0123456789ab number=T001-20261122-00017",
            "digest=0123456789abcdef01234567890123456789",
            "uptime 1795311660000 ms, 10.0.0.12:9100, usb:6868:0200#12345678",
        ] {
            check(line, line);
        }
    }

    #[test]
    fn any_bytes_are_looked_at_without_a_panic() {
        for text in [
            "",
            "1",
            "X",
            "1-",
            "- 1 -",
            "１２３",
            "\u{0}1\u{7f}",
            "1 2 3 4 5 6 7 8 9 0 1 2 3",
        ] {
            mask(text);
        }
        assert_eq!(mask(&"9".repeat(100_000)).1, 0);
    }
}
