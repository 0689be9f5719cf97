//! The IEEE 1284 device id of a USB printer (`device-protocols.md` §5.5): maker, model and languages
//! in `KEY:value;` pairs. Read as far as it makes sense, because boards get lengths and keys wrong.

/// Longest device id that is read. Chosen: real ones stay below 300 bytes.
pub(crate) const DEVICE_ID_BYTES_MAX: usize = 1024;
/// Longest value that is kept, in characters. Chosen.
const VALUE_LENGTH_MAX: usize = 120;

/// What a printer says it is; empty where it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceId {
    /// `MFG`: maker.
    pub maker: String,
    /// `MDL`: model.
    pub model: String,
    /// `CMD`: command languages, separated by commas.
    pub languages: String,
    /// `SN`: serial number.
    pub serial: String,
    /// `CLS`: kind of device.
    pub class: String,
}

impl DeviceId {
    /// Reads the answer to `GET_DEVICE_ID`: two bytes of length, which may be wrong, and text.
    pub fn parse(bytes: &[u8]) -> Self {
        let bytes = bytes.get(..DEVICE_ID_BYTES_MAX).unwrap_or(bytes);
        let text = match bytes {
            // A length never looks like the beginning of a key; some boards leave it out.
            [first, ..] if first.is_ascii_uppercase() => bytes,
            _ => bytes.get(2..).unwrap_or_default(),
        };
        let end = text.iter().position(|byte| *byte == 0);
        let text =
            String::from_utf8_lossy(text.get(..end.unwrap_or(text.len())).unwrap_or_default());
        let mut id = Self::default();
        for (key, value) in text.split(';').filter_map(|pair| pair.split_once(':')) {
            let field = match key.trim().to_ascii_uppercase().as_str() {
                "MFG" | "MANUFACTURER" => &mut id.maker,
                "MDL" | "MODEL" => &mut id.model,
                "CMD" | "COMMAND SET" => &mut id.languages,
                "SN" | "SERN" | "SERIALNUMBER" => &mut id.serial,
                "CLS" | "CLASS" => &mut id.class,
                _ => continue,
            };
            if field.is_empty() {
                *field = value
                    .trim()
                    .chars()
                    .filter(|character| !character.is_control())
                    .take(VALUE_LENGTH_MAX)
                    .collect();
            }
        }
        id
    }

    /// Maker and model as one name.
    pub fn name(&self) -> String {
        // Some models begin with their maker.
        if self.model.starts_with(&self.maker) {
            self.model.clone()
        } else {
            format!("{} {}", self.maker, self.model).trim().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], name: &str, languages: &str, serial: &str) {
        let id = DeviceId::parse(bytes);
        assert_eq!(
            (
                id.name().as_str(),
                id.languages.as_str(),
                id.serial.as_str()
            ),
            (name, languages, serial)
        );
    }

    #[test]
    fn device_ids_are_read_with_short_and_long_keys() {
        check(
            b"\x00\x3EMFG:Xprinter ;MDL:XP-T58H;CMD:ESC/POS;CLS:PRINTER;SN:A1;",
            "Xprinter XP-T58H",
            "ESC/POS",
            "A1",
        );
        check(
            b"\x00\x30MANUFACTURER:Custom;COMMAND SET: ESCPOS ;MODEL:Custom K80;",
            "Custom K80",
            "ESCPOS",
            "",
        );
    }

    #[test]
    fn wrong_lengths_and_rubbish_do_not_hide_what_is_there() {
        check(b"\xFF\xFFMFG:A;MDL:B", "A B", "", "");
        check(b"MFG:A;MDL:B;\0\0\0SN:9;", "A B", "", "");
        check(b"\x00\x08;;:;MDL:\x1B[2JB:C;MDL:D;", "[2JB:C", "", "");
        check(b"", "", "", "");
        check(b"\x00", "", "", "");
        check(&[b'M'; 5000], "", "", "");
        let long = [b"\x00\x00MDL:".as_slice(), &[b'x'; 4000]].concat();
        assert_eq!(DeviceId::parse(&long).model.len(), VALUE_LENGTH_MAX);
    }
}
