//! The eighteen-character number (GB 11643): check character and plausibility.
//! Division codes are not checked: old numbers keep codes that were abolished.

use crate::date::Date;

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK_CHARACTERS: [char; 11] = ['1', '0', 'X', '9', '8', '7', '6', '5', '4', '3', '2'];

/// The check character of the first seventeen digits (ISO 7064 MOD 11-2); `None` when there are no
/// seventeen digits.
pub fn check_digit(number: &str) -> Option<char> {
    let digits = number.as_bytes().get(..WEIGHTS.len())?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let sum: u32 = digits
        .iter()
        .zip(WEIGHTS)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    CHECK_CHARACTERS.get(sum as usize % 11).copied()
}

/// True for a number a resident (or a holder of a residence permit for Hong Kong, Macao and Taiwan)
/// can have: eighteen characters, a real birthday, the right check character. A lower-case `x`
/// counts as `X`, because people type it.
pub fn is_valid_resident_number(number: &str) -> bool {
    number.len() == 18
        && number.is_ascii()
        && !number.starts_with('0')
        && number.get(6..14).and_then(Date::parse).is_some()
        && check_digit(number).is_some()
        && check_digit(number) == number.chars().last().map(|last| last.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_numbers_of_the_fact_sheet_check() {
        for (body, digit) in [
            ("44010019900101123", '7'),
            ("81000019900202002", '4'),
            ("91100019900404001", '5'),
        ] {
            assert_eq!(check_digit(body), Some(digit));
            assert!(is_valid_resident_number(&format!("{body}{digit}")));
        }
    }

    #[test]
    fn every_single_wrong_digit_is_found() {
        let number = "440100199001011237";
        for at in 0..17 {
            for digit in b'0'..=b'9' {
                let mut wrong = number.as_bytes().to_vec();
                if wrong[at] != digit {
                    wrong[at] = digit;
                    let wrong = String::from_utf8(wrong).unwrap();
                    assert!(!is_valid_resident_number(&wrong), "{wrong}");
                }
            }
        }
    }

    #[test]
    fn the_letter_x_checks_in_both_cases() {
        let body = (0..1000)
            .map(|order| format!("44010019900101{order:03}"))
            .find(|body| check_digit(body) == Some('X'))
            .unwrap();
        assert!(is_valid_resident_number(&format!("{body}X")));
        assert!(is_valid_resident_number(&format!("{body}x")));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "44010019900101123",
            "4401001990010112377",
            "44010019901301123X",
            "４４０１００１９９００１０１",
            "44010019900101 237",
            "测试测试测试",
            "044010199001011237",
        ] {
            assert!(!is_valid_resident_number(text), "{text}");
        }
        assert_eq!(check_digit("4401001990010112"), None);
        assert_eq!(check_digit("4401001990010112x"), None);
    }
}
