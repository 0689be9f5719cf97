//! Commands to a chip card and its responses (ISO/IEC 7816-4), as bytes.
//!
//! Hides what the protocol T=0 adds: a response that must be fetched (`61xx`) and a command that must
//! be repeated with the right length (`6Cxx`), in a bounded number of rounds. Knows no file of any
//! card. What a card said is overwritten when a response is dropped.

use zeroize::Zeroizing;

/// Success.
pub const OK: u16 = 0x9000;
/// The file ended before the length asked for; what there is was sent.
pub const END_OF_FILE: u16 = 0x6282;
/// The card demands a PIN or a key first.
pub const NOT_SATISFIED: u16 = 0x6982;
/// There is no such file.
pub const NO_FILE: u16 = 0x6A82;

/// There is no such record.
pub const NO_RECORD: u16 = 0x6A83;

/// Commands sent for one at most, with the fetching and the repeating. Chosen: T=0 needs two.
const ROUNDS_MAX: usize = 8;
/// Data of one short response (ISO/IEC 7816-4 §5.1), and its status word.
pub(crate) const RESPONSE_BYTES_MAX: usize = 256 + 2;

/// The way to one card, which sends a command and waits for the response.
pub trait Channel {
    /// Sends `command`; the response with its status word.
    ///
    /// # Errors
    /// [`ChannelError`]: the card or the reader went away.
    fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChannelError>;
}

/// Why a card gave no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The card was pulled out.
    #[error("the card was pulled out")]
    Removed,
    /// The card is in the reader and does not answer.
    #[error("the card does not answer")]
    Mute,
    /// The exchange failed, or another program reset the card.
    #[error("the exchange with the card failed")]
    Broken,
    /// The reader or its service is gone, and why.
    #[error("the reader is gone: {0}")]
    ReaderGone(kiosk_device::Fault),
}

/// Why a command has no response to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApduError {
    /// The channel failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The response is shorter than a status word or longer than one may be.
    #[error("a response of {bytes} bytes")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// The card wants the command repeated or the response fetched again and again.
    #[error("the card does not come to an end")]
    Endless,
}

/// A response.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status word.
    pub status_word: u16,
    /// What comes before it.
    pub data: Zeroizing<Vec<u8>>,
}

impl Response {
    /// Takes a response apart.
    ///
    /// # Errors
    /// [`ApduError::Length`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ApduError> {
        match bytes {
            [data @ .., high, low] if bytes.len() <= RESPONSE_BYTES_MAX => Ok(Self {
                status_word: u16::from_be_bytes([*high, *low]),
                data: Zeroizing::new(data.to_vec()),
            }),
            _ => Err(ApduError::Length { bytes: bytes.len() }),
        }
    }

    /// True when the command was carried out.
    pub fn is_success(&self) -> bool {
        matches!(self.status_word, OK | END_OF_FILE)
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status_word", &format_args!("{:04x}", self.status_word))
            .field("bytes", &self.data.len())
            .finish()
    }
}

/// SELECT by name. Names have 16 bytes at most.
pub fn select_name(name: &[u8]) -> Vec<u8> {
    let name = name.get(..16).unwrap_or(name);
    let length = u8::try_from(name.len()).unwrap_or(16);
    [&[0x00, 0xA4, 0x04, 0x00, length], name].concat()
}

/// SELECT of a file below the current one by its id; `how` is P1: 02 for an elementary file, 00 for
/// any.
pub fn select_file(how: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![0x00, 0xA4, how, 0x00, 0x02, high, low]
}

/// READ RECORD of the current file by its number, which counts from 1.
pub fn read_record(number: u8, length: u8) -> Vec<u8> {
    vec![0x00, 0xB2, number, 0x04, length]
}

/// READ RECORD of the first record of the current file with this tag.
pub fn read_tag(tag: u8, length: u8) -> Vec<u8> {
    vec![0x00, 0xB2, tag, 0x00, length]
}

fn get_response(length: u8) -> Vec<u8> {
    vec![0x00, 0xC0, 0x00, 0x00, length]
}

/// Sends `command` until its own response is there.
///
/// # Errors
/// [`ApduError`].
pub fn exchange(channel: &mut dyn Channel, command: &[u8]) -> Result<Response, ApduError> {
    let mut command = command.to_vec();
    // Never grown, so that no copy of it stays behind in freed memory.
    let mut collected = Zeroizing::new(Vec::with_capacity(ROUNDS_MAX * RESPONSE_BYTES_MAX));
    for _ in 0..ROUNDS_MAX {
        let response = Response::parse(&channel.transmit(&command)?)?;
        let [high, low] = response.status_word.to_be_bytes();
        match (high, command.as_mut_slice()) {
            (0x61, _) => {
                collected.extend_from_slice(&response.data);
                command = get_response(low);
            }
            // Only a command without data ends with the length it asks for.
            (0x6C, [_, _, _, _, length]) => *length = low,
            _ => {
                collected.extend_from_slice(&response.data);
                return Ok(Response {
                    status_word: response.status_word,
                    data: collected,
                });
            }
        }
    }
    Err(ApduError::Endless)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A card that follows a script; a command that is not in it fails the test.
    pub(crate) struct Script(VecDeque<(Vec<u8>, Step)>);

    type Step = Result<Vec<u8>, ChannelError>;

    impl Script {
        /// Commands and responses in hexadecimal.
        pub(crate) fn new(steps: &[(&str, &str)]) -> Self {
            let steps = steps.iter().map(|(command, response)| {
                let response = match *response {
                    "removed" => Err(ChannelError::Removed),
                    "mute" => Err(ChannelError::Mute),
                    hex => Ok(bytes(hex)),
                };
                (bytes(command), response)
            });
            Self(steps.collect())
        }
    }

    impl Drop for Script {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                assert!(self.0.is_empty(), "{} steps are left", self.0.len());
            }
        }
    }

    impl Channel for Script {
        fn transmit(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, ChannelError> {
            let (expect, response) = self.0.pop_front().expect("a command beyond the script");
            assert_eq!(command, expect, "{command:02x?}");
            response.map(Zeroizing::new)
        }
    }

    pub(crate) fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn check(command: &[u8], steps: &[(&str, &str)], status_word: u16, data: &str) {
        let response = exchange(&mut Script::new(steps), command).unwrap();
        assert_eq!(response.status_word, status_word);
        assert_eq!(*response.data, bytes(data));
    }

    #[test]
    fn commands_are_those_of_the_fact_sheet() {
        let name = [
            0x73, 0x78, 0x31, 0x2E, 0x73, 0x68, 0x2E, 0xC9, 0xE7, 0xBB, 0xE1, 0xB1, 0xA3, 0xD5,
            0xCF,
        ];
        assert_eq!(
            select_name(&name),
            bytes("00 A4 04 00 0F 73 78 31 2E 73 68 2E C9 E7 BB E1 B1 A3 D5 CF")
        );
        assert_eq!(select_file(2, 0xEF05), bytes("00 A4 02 00 02 EF 05"));
        assert_eq!(read_record(1, 0x14), bytes("00 B2 01 04 14"));
        assert_eq!(read_tag(0x4E, 0x16), bytes("00 B2 4E 00 16"));
        assert_eq!(select_name(&[7; 40]).len(), 21);
    }

    #[test]
    fn a_response_that_must_be_fetched_is_fetched() {
        check(
            &select_file(2, 0xEF05),
            &[
                ("00 A4 02 00 02 EF 05", "61 1E"),
                ("00 C0 00 00 1E", "6F 01 61 02"),
                ("00 C0 00 00 02", "07 08 90 00"),
            ],
            OK,
            "6F 01 07 08",
        );
    }

    #[test]
    fn a_command_with_the_wrong_length_is_repeated_with_the_right_one() {
        check(
            &read_record(1, 0),
            &[
                ("00 B2 01 04 00", "6C 14"),
                ("00 B2 01 04 14", "08 12 90 00"),
            ],
            OK,
            "08 12",
        );
        // A command with data has no length to correct: the card's answer is the answer.
        check(
            &select_file(2, 0xEF05),
            &[("00 A4 02 00 02 EF 05", "6C 14")],
            0x6C14,
            "",
        );
    }

    #[test]
    fn a_refusal_is_a_response() {
        check(
            &select_file(0, 0xEF06),
            &[("00 A4 00 00 02 EF 06", "6A 82")],
            NO_FILE,
            "",
        );
    }

    fn check_error(steps: &[(&str, &str)], expect: &ApduError) {
        let result = exchange(&mut Script::new(steps), &read_record(1, 0));
        assert_eq!(result.as_ref().err(), Some(expect));
    }

    #[test]
    fn a_card_that_never_ends_or_answers_nothing_is_an_error() {
        let again = ("00 B2 01 04 00", "6C 00");
        check_error(&[again; ROUNDS_MAX], &ApduError::Endless);
        check_error(&[("00 B2 01 04 00", "90")], &ApduError::Length { bytes: 1 });
        let long = "00 ".repeat(RESPONSE_BYTES_MAX + 1);
        check_error(
            &[("00 B2 01 04 00", &long)],
            &ApduError::Length {
                bytes: RESPONSE_BYTES_MAX + 1,
            },
        );
        check_error(
            &[("00 B2 01 04 00", "removed")],
            &ApduError::Channel(ChannelError::Removed),
        );
    }

    #[test]
    fn nothing_a_card_said_shows_in_debug_output() {
        let response = Response::parse(&bytes("41 42 43 90 00")).unwrap();
        let shown = format!("{response:?}");
        assert_eq!(shown, "Response { status_word: 9000, bytes: 3 }");
    }
}
