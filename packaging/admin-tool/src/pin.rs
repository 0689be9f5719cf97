//! A PIN on its way in: out of a file, or typed twice on a terminal that does not show it. PINs that
//! everybody tries first are refused here, where somebody can still choose another one.

use std::io;
use std::path::Path;

use kiosk_sealing::unlock::PIN_DIGITS;
use zeroize::Zeroizing;

use crate::files::{self, FileError};
use crate::hidden::Hidden;

/// Most bytes of a line that is typed.
const LINE_BYTES_MAX: u16 = 64;
/// Fewest different digits of a PIN; chosen.
const DIFFERENT_DIGITS_MIN: usize = 3;

/// Why there is no PIN.
#[derive(Debug, thiserror::Error)]
pub enum PinInputError {
    /// Not as many digits as a PIN has.
    #[error("a PIN has {} to {} digits", PIN_DIGITS.start(), PIN_DIGITS.end())]
    NotDigits,
    /// Everybody tries it first.
    #[error("this PIN is among the first that anybody tries; choose another one")]
    TooSimple,
    /// The two that were typed differ.
    #[error("the two PINs differ")]
    Differ,
    /// There is nobody to ask.
    #[error("there is no terminal to type the PIN on; give --pin-file")]
    NoTerminal,
    /// The terminal failed.
    #[error("the terminal failed")]
    Io(#[from] io::Error),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Reads a PIN out of a file that only its owner can read.
///
/// # Errors
/// `File`, `NotDigits`, `TooSimple`.
pub fn from_file(path: &Path) -> Result<Zeroizing<String>, PinInputError> {
    let pin = files::read_secret(path)?;
    check(&pin)?;
    Ok(pin)
}

/// Asks for a PIN twice, on the terminal of the standard input, without showing it.
///
/// # Errors
/// [`PinInputError`].
pub fn ask(name: &str) -> Result<Zeroizing<String>, PinInputError> {
    let hidden = Hidden::begin()?.ok_or(PinInputError::NoTerminal)?;
    let first = hidden.ask(&format!("PIN of {name}"), LINE_BYTES_MAX)?;
    check(&first)?;
    let second = hidden.ask("the same PIN again", LINE_BYTES_MAX)?;
    if first == second {
        Ok(first)
    } else {
        Err(PinInputError::Differ)
    }
}

/// Whether a PIN is one, and not one of the first that anybody tries.
///
/// # Errors
/// `NotDigits`, `TooSimple`.
pub fn check(pin: &str) -> Result<(), PinInputError> {
    let digits = pin.as_bytes();
    if !PIN_DIGITS.contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(PinInputError::NotDigits);
    }
    let different = (b'0'..=b'9').filter(|digit| digits.contains(digit)).count();
    let is_run = |step: i16| {
        digits
            .windows(2)
            .all(|pair| (i16::from(pair[1]) - i16::from(pair[0])).rem_euclid(10) == step)
    };
    if different < DIFFERENT_DIGITS_MIN || is_run(1) || is_run(9) {
        return Err(PinInputError::TooSimple);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_that_everybody_tries_first_are_refused() {
        for pin in ["402917", "19283746", "200131"] {
            check(pin).unwrap();
        }
        for pin in ["123456", "654321", "890123", "000000", "121212", "111222"] {
            assert!(matches!(check(pin), Err(PinInputError::TooSimple)), "{pin}");
        }
        for pin in ["", "12345", "1234567890123", "40291a", "４０２９１７"] {
            assert!(matches!(check(pin), Err(PinInputError::NotDigits)), "{pin}");
        }
    }
}
