//! ESC/POS as a stream of tokens (`device-protocols`, section 5).
//!
//! A pure function of bytes: every length is bounded, payloads are stepped over as a whole, so
//! that status requests inside a picture are not mistaken for requests.

/// Longest payload of one command, bytes. Chosen: 576 dots × 5 m of raster is 2.9 MB.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A request answered at once, whatever the printer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RealTime {
    /// `10 04 n`.
    Status(u8),
    /// `10 05 n`.
    Recover(u8),
}

/// A picture of packed rows, most significant bit left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width_bytes: usize,
    pub(crate) rows: Vec<u8>,
    /// Times each dot is repeated across and down.
    pub(crate) scale: (usize, usize),
}

/// A command that is obeyed in its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Text(Vec<u8>),
    Initialize,
    LineFeed,
    CarriageReturn,
    FeedDots(u8),
    FeedLines(u8),
    LineSpacing(Option<u8>),
    Align(u8),
    Emphasis(bool),
    Underline(u8),
    Mode(u8),
    Size(u8),
    Reverse(bool),
    CodePage(u8),
    Chinese(bool),
    ChineseMode(u8),
    ChineseQuadruple(bool),
    ChineseSpacing(u8, u8),
    TextEncoding(u8),
    Raster(Picture),
    StoreGraphics(Picture),
    PrintGraphics,
    QrModel(u8),
    QrSize(u8),
    QrLevel(u8),
    QrStore(Vec<u8>),
    QrPrint,
    QrQuery,
    Cut {
        feed: u8,
    },
    Pulse,
    StatusBack(u8),
    Transmit(u8),
    Identify(u8),
    Echo([u8; 4]),
    /// `1D 65 n m` of printers with a presenter.
    Presenter(u8),
    /// `1D E0 n` of the same makers.
    FullStatusBack(u8),
}

impl Command {
    /// True for what needs paper, cutter and head.
    pub(crate) fn is_printing(&self) -> bool {
        matches!(
            self,
            Self::Text(_)
                | Self::LineFeed
                | Self::FeedDots(_)
                | Self::FeedLines(_)
                | Self::Raster(_)
                | Self::PrintGraphics
                | Self::QrPrint
                | Self::Cut { .. }
                | Self::Echo(_)
        )
    }
}

/// One piece of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    RealTime(RealTime),
    Command(Command),
    /// Bytes that are no command of the fact sheet (the first ones, at most eight).
    Unknown(Vec<u8>),
}

/// Takes the first complete token out of `received`.
pub(crate) fn take_token(received: &mut Vec<u8>) -> Option<Token> {
    let (length, token) = token(received)?;
    received.drain(..length);
    Some(token)
}

fn token(bytes: &[u8]) -> Option<(usize, Token)> {
    match *bytes.first()? {
        0x0A => command(1, Command::LineFeed),
        0x0D => command(1, Command::CarriageReturn),
        0x10 => real_time(bytes),
        0x1B => escape(bytes),
        0x1C => chinese(bytes),
        0x1D => group(bytes),
        0x00..=0x1F | 0x7F => unknown(bytes, 1),
        0x20..=0xFF => text(bytes),
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the table of commands reads best when every arm has the same shape"
)]
fn command(length: usize, command: Command) -> Option<(usize, Token)> {
    Some((length, Token::Command(command)))
}

fn unknown(bytes: &[u8], length: usize) -> Option<(usize, Token)> {
    // Waits for the whole of it, so that its payload is not taken for text.
    let seen = bytes.get(..length)?;
    Some((
        length,
        Token::Unknown(seen.iter().take(8).copied().collect()),
    ))
}

/// A run of characters; a multi-byte character that is not complete stays for the next time.
fn text(bytes: &[u8]) -> Option<(usize, Token)> {
    let mut end = 0;
    while let Some(first) = bytes.get(end) {
        let length = match *first {
            0x00..=0x1F | 0x7F => break,
            0x81..=0xFE => match bytes.get(end + 1) {
                Some(0x30..=0x39) => 4,
                // A lead byte before a control byte stands alone.
                Some(0x00..=0x1F) => 1,
                Some(_) | None => 2,
            },
            _ => 1,
        };
        if end + length > bytes.len() {
            break;
        }
        end += length;
    }
    (end > 0).then(|| (end, Token::Command(Command::Text(bytes[..end].to_vec()))))
}

fn real_time(bytes: &[u8]) -> Option<(usize, Token)> {
    let request = *bytes.get(1)?;
    let number = *bytes.get(2)?;
    match (request, number) {
        (0x04, 1..=4 | 0x14) => Some((3, Token::RealTime(RealTime::Status(number)))),
        (0x05, 1..=2) => Some((3, Token::RealTime(RealTime::Recover(number)))),
        (0x04 | 0x05, _) => unknown(bytes, 3),
        _ => unknown(bytes, 2),
    }
}

fn escape(bytes: &[u8]) -> Option<(usize, Token)> {
    let argument = bytes.get(2).copied();
    match *bytes.get(1)? {
        b'@' => command(2, Command::Initialize),
        b'2' => command(2, Command::LineSpacing(None)),
        b'3' => command(3, Command::LineSpacing(Some(argument?))),
        b'J' => command(3, Command::FeedDots(argument?)),
        b'd' => command(3, Command::FeedLines(argument?)),
        b'a' => match argument? {
            align @ 0..=2 => command(3, Command::Align(align)),
            align @ b'0'..=b'2' => command(3, Command::Align(align - b'0')),
            _ => unknown(bytes, 3),
        },
        b'E' => command(3, Command::Emphasis(argument? & 1 == 1)),
        b'-' => match argument? {
            dots @ 0..=2 => command(3, Command::Underline(dots)),
            dots @ b'0'..=b'2' => command(3, Command::Underline(dots - b'0')),
            _ => unknown(bytes, 3),
        },
        b'!' => command(3, Command::Mode(argument?)),
        b't' => command(3, Command::CodePage(argument?)),
        b'9' => command(3, Command::TextEncoding(argument?)),
        b'i' | b'm' => command(2, Command::Cut { feed: 0 }),
        b'p' => {
            bytes.get(4)?;
            command(5, Command::Pulse)
        }
        b'v' => command(2, Command::Transmit(1)),
        // Known elsewhere, not in the fact sheet: stepped over by their true length.
        b'*' => {
            let columns = length16(bytes, 3)?;
            let bytes_per_column = if argument? >= 32 { 3 } else { 1 };
            unknown(bytes, 5 + columns * bytes_per_column)
        }
        b'$' | b'\\' => unknown(bytes, 4),
        b' ' | b'G' | b'M' | b'R' | b'V' | b'{' | b'=' => unknown(bytes, 3),
        _ => unknown(bytes, 2),
    }
}

fn chinese(bytes: &[u8]) -> Option<(usize, Token)> {
    let argument = bytes.get(2).copied();
    match *bytes.get(1)? {
        b'&' => command(2, Command::Chinese(true)),
        b'.' => command(2, Command::Chinese(false)),
        b'!' => command(3, Command::ChineseMode(argument?)),
        b'W' => command(3, Command::ChineseQuadruple(argument? & 1 == 1)),
        b'S' => command(4, Command::ChineseSpacing(argument?, *bytes.get(3)?)),
        b'-' => unknown(bytes, 3),
        _ => unknown(bytes, 2),
    }
}

fn group(bytes: &[u8]) -> Option<(usize, Token)> {
    let argument = bytes.get(2).copied();
    match *bytes.get(1)? {
        b'!' => command(3, Command::Size(argument?)),
        b'B' => command(3, Command::Reverse(argument? & 1 == 1)),
        b'a' => command(3, Command::StatusBack(argument?)),
        b'r' => command(3, Command::Transmit(argument?)),
        b'I' => command(3, Command::Identify(argument?)),
        b'e' => match argument? {
            action @ (1 | 2 | 4..=6) => command(3, Command::Presenter(action)),
            3 => {
                bytes.get(3)?;
                command(4, Command::Presenter(3))
            }
            _ => unknown(bytes, 3),
        },
        0xE0 => command(3, Command::FullStatusBack(argument?)),
        b'V' => match argument? {
            0 | 1 | b'0' | b'1' => command(3, Command::Cut { feed: 0 }),
            b'A' | b'B' => command(
                4,
                Command::Cut {
                    feed: *bytes.get(3)?,
                },
            ),
            _ => unknown(bytes, 3),
        },
        b'v' => raster(bytes),
        b'(' => {
            let function = argument?;
            let length = length16(bytes, 3)?;
            let payload = bytes.get(5..5 + length)?;
            function_token(function, payload, 5 + length).or_else(|| unknown(bytes, 5 + length))
        }
        b'8' if argument? == b'L' => {
            let size = bytes.get(3..7)?;
            let length = u32::from_le_bytes([size[0], size[1], size[2], size[3]]);
            let length = usize::try_from(length)
                .ok()
                .filter(|&l| l <= PAYLOAD_BYTES_MAX);
            let Some(length) = length else {
                return unknown(bytes, 7);
            };
            let payload = bytes.get(7..7 + length)?;
            function_token(b'L', payload, 7 + length).or_else(|| unknown(bytes, 7 + length))
        }
        b'L' | b'W' | b'$' | b'\\' => unknown(bytes, 4),
        b'H' | b'f' | b'h' | b'w' | b'/' => unknown(bytes, 3),
        _ => unknown(bytes, 2),
    }
}

fn raster(bytes: &[u8]) -> Option<(usize, Token)> {
    let header = bytes.get(2..8)?;
    if header[0] != b'0' {
        return unknown(bytes, 3);
    }
    let mode = if header[1] >= b'0' {
        header[1] - b'0'
    } else {
        header[1]
    };
    let width_bytes = length16(bytes, 4)?;
    let height = length16(bytes, 6)?;
    let length = width_bytes * height;
    if mode > 3 || length == 0 || length > PAYLOAD_BYTES_MAX {
        return unknown(bytes, 8);
    }
    let rows = bytes.get(8..8 + length)?.to_vec();
    let scale = (1 + usize::from(mode & 1), 1 + usize::from(mode >> 1));
    command(
        8 + length,
        Command::Raster(Picture {
            width_bytes,
            rows,
            scale,
        }),
    )
}

/// A function of `GS (` or `GS 8`; `None` when the fact sheet does not have it.
fn function_token(function: u8, payload: &[u8], length: usize) -> Option<(usize, Token)> {
    let known = match (function, payload) {
        (b'k', [0x31, 0x41, model @ 0x31..=0x33, _]) => Command::QrModel(*model),
        (b'k', [0x31, 0x43, size @ 1..=16]) => Command::QrSize(*size),
        (b'k', [0x31, 0x45, level @ 0x30..=0x33]) => Command::QrLevel(*level),
        (b'k', [0x31, 0x50, 0x30, data @ ..]) if !data.is_empty() => {
            Command::QrStore(data.to_vec())
        }
        (b'k', [0x31, 0x51, 0x30]) => Command::QrPrint,
        (b'k', [0x31, 0x52, 0x30]) => Command::QrQuery,
        (
            b'L',
            [
                0x30,
                0x70,
                0x30,
                across @ 1..=2,
                down @ 1..=2,
                0x31,
                xl,
                xh,
                yl,
                yh,
                rows @ ..,
            ],
        ) => {
            let width_bytes = usize::from(u16::from_le_bytes([*xl, *xh])).div_ceil(8);
            let height = usize::from(u16::from_le_bytes([*yl, *yh]));
            if width_bytes * height != rows.len() || rows.is_empty() {
                return None;
            }
            Command::StoreGraphics(Picture {
                width_bytes,
                rows: rows.to_vec(),
                scale: (usize::from(*across), usize::from(*down)),
            })
        }
        (b'L', [0x30, 0x02 | 0x32]) => Command::PrintGraphics,
        (b'H', [0x30, 0x30, a, b, c, d]) => Command::Echo([*a, *b, *c, *d]),
        _ => return None,
    };
    command(length, known)
}

fn length16(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes([
        *bytes.get(at)?,
        *bytes.get(at + 1)?,
    ])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(bytes: &[u8]) -> (Vec<Token>, usize) {
        let mut received = bytes.to_vec();
        let mut found = Vec::new();
        while let Some(token) = take_token(&mut received) {
            found.push(token);
        }
        (found, received.len())
    }

    fn check(bytes: &[u8], expect: &[Token]) {
        assert_eq!(tokens(bytes), (expect.to_vec(), 0), "{bytes:02X?}");
        // The same bytes one by one give the same commands, text apart.
        let mut received = Vec::new();
        let mut found = Vec::new();
        for byte in bytes {
            received.push(*byte);
            while let Some(token) = take_token(&mut received) {
                found.push(token);
            }
        }
        let is_text = |token: &Token| matches!(token, Token::Command(Command::Text(_)));
        if !expect.iter().any(is_text) {
            assert_eq!(found, expect, "{bytes:02X?} one by one");
        }
    }

    #[test]
    fn commands_of_the_fact_sheet_are_known() {
        check(&[0x1B, 0x40], &[Token::Command(Command::Initialize)]);
        check(&[0x10, 0x04, 0x01], &[Token::RealTime(RealTime::Status(1))]);
        check(
            &[0x10, 0x04, 0x14],
            &[Token::RealTime(RealTime::Status(0x14))],
        );
        check(
            &[0x1D, 0x56, 0x42, 0],
            &[Token::Command(Command::Cut { feed: 0 })],
        );
        check(
            &[0x1D, 0x76, 0x30, 0, 1, 0, 2, 0, 0xFF, 0x81],
            &[Token::Command(Command::Raster(Picture {
                width_bytes: 1,
                rows: vec![0xFF, 0x81],
                scale: (1, 1),
            }))],
        );
        check(
            &[0x1D, 0x28, 0x48, 6, 0, 0x30, 0x30, 1, 2, 3, 4],
            &[Token::Command(Command::Echo([1, 2, 3, 4]))],
        );
        check(
            &[0x1D, 0x28, 0x6B, 5, 0, 0x31, 0x50, 0x30, 0x41, 0x42],
            &[Token::Command(Command::QrStore(b"AB".to_vec()))],
        );
    }

    #[test]
    fn a_status_request_inside_a_picture_is_part_of_the_picture() {
        let bytes = [0x1D, 0x76, 0x30, 0, 3, 0, 1, 0, 0x10, 0x04, 0x01];
        let (found, _) = tokens(&bytes);
        assert_eq!(found.len(), 1);
        assert!(matches!(found[0], Token::Command(Command::Raster(_))));
    }

    #[test]
    fn strangers_are_told_with_their_bytes() {
        check(&[0x1B, 0x7A], &[Token::Unknown(vec![0x1B, 0x7A])]);
        check(&[0x07], &[Token::Unknown(vec![0x07])]);
        check(
            &[0x1D, 0x28, 0x41, 2, 0, 0, 2],
            &[Token::Unknown(vec![0x1D, 0x28, 0x41, 2, 0, 0, 2])],
        );
        check(
            &[0x1D, 0x38, 0x4C, 0xFF, 0xFF, 0xFF, 0xFF],
            &[Token::Unknown(vec![
                0x1D, 0x38, 0x4C, 0xFF, 0xFF, 0xFF, 0xFF,
            ])],
        );
    }

    #[test]
    fn half_a_chinese_character_waits_for_its_other_half() {
        assert_eq!(tokens(&[0xB2]), (vec![], 1));
        assert_eq!(tokens(&[0xB2, 0xE2, 0xCA]).1, 1);
        // A four-byte character of GB18030.
        assert_eq!(tokens(&[0x81, 0x39, 0xEE]).1, 3);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut rubbish = crate::steering::Rubbish::new(3);
        for _ in 0..200 {
            let mut received = rubbish.bytes(400);
            let before = received.len();
            let mut turns = 0;
            while take_token(&mut received).is_some() {
                turns += 1;
            }
            assert!(turns <= before);
        }
    }
}
