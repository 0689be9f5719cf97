//! Which characters a printer's own font has, and their bytes. Whatever is not printable never
//! becomes a byte below 20, so that no text can command the printer.

use encoding_rs::{EncoderResult, Encoding, GB18030, GBK};

use super::profile::Charset;

/// U+3013, the mark that printers' fonts have for a character they lack.
pub(crate) const SUBSTITUTE: [u8; 2] = [0xA1, 0xFE];

/// The bytes of one character, one, two or four of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    bytes: [u8; 4],
    length: usize,
}

impl Encoded {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The bytes of a character in this character set; `None` when the printer lacks it.
pub(crate) fn encode(character: char, charset: Charset) -> Option<Encoded> {
    if character.is_control() {
        // Spaces keep words apart and command nothing.
        return Some(single(b' '));
    }
    if character.is_ascii() {
        return u8::try_from(u32::from(character)).ok().map(single);
    }
    // Fonts of printers are blank in the areas for private use.
    if ('\u{E000}'..='\u{F8FF}').contains(&character) || character > '\u{EFFFF}' {
        return None;
    }
    let encoded = match charset {
        Charset::Gb2312 => encode_with(GBK, character).filter(is_gb2312),
        Charset::Gbk => encode_with(GBK, character),
        Charset::Gb18030 => encode_with(GB18030, character),
    }?;
    // The encoder writes the euro sign as 80, which no printer's GBK has.
    (encoded.length > 1).then_some(encoded)
}

fn single(byte: u8) -> Encoded {
    Encoded {
        bytes: [byte, 0, 0, 0],
        length: 1,
    }
}

fn encode_with(encoding: &'static Encoding, character: char) -> Option<Encoded> {
    let mut text = [0; 4];
    let text = character.encode_utf8(&mut text);
    // The encoder asks for room beyond what it writes.
    let mut room = [0; 16];
    let (result, _, length) = encoding
        .new_encoder()
        .encode_from_utf8_without_replacement(text, &mut room, true);
    let mut bytes = [0; 4];
    match result {
        EncoderResult::InputEmpty if (1..=4).contains(&length) => {
            bytes.copy_from_slice(&room[..4]);
            Some(Encoded { bytes, length })
        }
        EncoderResult::InputEmpty | EncoderResult::OutputFull | EncoderResult::Unmappable(_) => {
            None
        }
    }
}

/// Rows 1 to 9 and 16 to 87 of GB 2312.
fn is_gb2312(encoded: &Encoded) -> bool {
    matches!(encoded.bytes(), [0xA1..=0xA9 | 0xB0..=0xF7, 0xA1..=0xFE])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(character: char, charset: Charset, expect: Option<&[u8]>) {
        let found = encode(character, charset);
        assert_eq!(found.as_ref().map(Encoded::bytes), expect, "{character:?}");
    }

    #[test]
    fn characters_of_each_set_have_their_bytes() {
        use Charset::{Gb2312, Gb18030, Gbk};
        for charset in [Gb2312, Gbk, Gb18030] {
            check('A', charset, Some(b"A"));
            check('测', charset, Some(&[0xB2, 0xE2]));
            check('〓', charset, Some(&SUBSTITUTE));
        }
        // In GBK and not in GB 2312.
        check('喆', Gb2312, None);
        check('喆', Gbk, Some(&[0x86, 0xB4]));
        // Beyond two bytes.
        check('㐱', Gbk, None);
        check('㐱', Gb18030, Some(&[0x81, 0x39, 0xF3, 0x38]));
        check('𬭩', Gb2312, None);
        check('𬭩', Gbk, None);
        assert_eq!(
            encode('𬭩', Gb18030).map(|encoded| encoded.bytes().len()),
            Some(4)
        );
    }

    #[test]
    fn no_character_becomes_a_command() {
        for charset in [Charset::Gb2312, Charset::Gbk, Charset::Gb18030] {
            for character in '\0'..='\u{FFFF}' {
                if let Some(encoded) = encode(character, charset) {
                    let is_text = |byte: &u8| *byte >= 0x20 && *byte != 0x7F;
                    assert!(encoded.bytes().iter().all(is_text), "{character:?}");
                }
            }
        }
        check('\x1B', Charset::Gbk, Some(b" "));
        check('\u{E5E5}', Charset::Gb18030, None);
        check('€', Charset::Gbk, None);
    }
}
