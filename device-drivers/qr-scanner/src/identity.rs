//! What a scanner says about itself, sorted into model, firmware and serial number.
//!
//! Makers agree on nothing but lines with a label, a colon and a value; what has no label is the model.

use kiosk_device::Capabilities;

/// Longest value kept, in characters. Chosen: one line of the technician's screen.
const VALUE_LENGTH_MAX: usize = 80;
/// Lines looked at. Chosen: product information has about ten.
const LINES_MAX: usize = 32;

/// Model, firmware and serial number in `text`.
pub(crate) fn capabilities(text: &[u8]) -> Capabilities {
    let text = String::from_utf8_lossy(text);
    let mut found = Capabilities::default();
    let mut has_label = false;
    for line in text.split(['\r', '\n']).take(LINES_MAX) {
        let Some((label, value)) = line.trim_start_matches([':', ' ']).split_once(':') else {
            continue;
        };
        let label = label.to_ascii_lowercase();
        let field = if label.contains("serial") || label.trim() == "sn" {
            &mut found.serial
        } else if label.contains("firmware") || label.contains("software") {
            &mut found.firmware
        } else if label.contains("product") || label.contains("model") {
            &mut found.model
        } else {
            continue;
        };
        has_label = true;
        if field.is_empty() {
            *field = plain(value);
        }
    }
    if !has_label {
        found.model = plain(&text);
    }
    found
}

/// `text` without control characters, bounded.
pub(crate) fn plain(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(VALUE_LENGTH_MAX)
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, model: &str, firmware: &str, serial: &str) {
        let found = capabilities(text.as_bytes());
        assert_eq!(
            (
                found.model.as_str(),
                found.firmware.as_str(),
                found.serial.as_str()
            ),
            (model, firmware, serial)
        );
    }

    #[test]
    fn labels_sort_the_values() {
        check(
            "Product Name: TEST\r\nFirmware Version: 1.00\r\nSerial Number: S1\r\nOther: x\r\n",
            "TEST",
            "1.00",
            "S1",
        );
        check(
            ": Product Name: T. 1\rSoftware Revision: 2",
            "T. 1",
            "2",
            "",
        );
    }

    #[test]
    fn text_without_labels_is_the_model_and_bounded() {
        check("GRYPHON\x1bX", "GRYPHON X", "", "");
        check("", "", "", "");
        assert_eq!(capabilities(&[b'a'; 5000]).model.len(), VALUE_LENGTH_MAX);
    }
}
