//! Zebra's Simple Serial Interface (`device-protocols.md` §4.4): packets, their check, and scanned
//! codes in packets or as raw bytes. Pure functions of bytes.

/// Starts a decode session.
pub const START_SESSION: u8 = 0xE4;
/// Ends it.
pub const STOP_SESSION: u8 = 0xE5;
/// Accepts the last packet.
pub const ACK: u8 = 0xD0;
/// Refuses the last packet.
pub const NAK: u8 = 0xD1;
/// Asks for the revision.
pub const REQUEST_REVISION: u8 = 0xA3;
/// Tells the revision.
pub const REPLY_REVISION: u8 = 0xA4;
/// Sets parameters.
pub const PARAM_SEND: u8 = 0xC6;
/// Carries a scanned code.
pub const DECODE_DATA: u8 = 0xF3;
/// What the decoder sends beside these: capabilities and events.
const OTHER_FROM_DECODER: [u8; 2] = [0xD4, 0xF6];

/// Wakes a decoder that saves power; it needs [`WAKE_PAUSE_MS`] then.
pub const WAKE: u8 = 0x00;
/// Time a decoder needs to wake up, in milliseconds (§4.4).
pub const WAKE_PAUSE_MS: u64 = 50;
/// Cause of a refusal that asks for the same packet again.
pub const RESEND: u8 = 0x01;

const FROM_HOST: u8 = 0x04;
const FROM_DECODER: u8 = 0x00;
const RETRANSMISSION: u8 = 0x01;
const MORE_FOLLOWS: u8 = 0x02;
const STATUS_BITS: u8 = 0x0B;
/// Trigger mode: by the host.
const HOST_TRIGGER: [u8; 3] = [0x00, 0x8A, 0x08];

/// A packet from the host; `content` of more than 251 bytes is cut.
pub fn packet(opcode: u8, content: &[u8]) -> Vec<u8> {
    let content = content.get(..251).unwrap_or(content);
    let length = u8::try_from(content.len() + 4).unwrap_or(u8::MAX);
    let mut frame = vec![length, opcode, FROM_HOST, 0];
    frame.extend_from_slice(content);
    let sum = check(&frame);
    frame.extend(sum.to_be_bytes());
    frame
}

/// Scan on the host's command only, until the power goes: not stored.
pub fn host_trigger() -> Vec<u8> {
    packet(PARAM_SEND, &HOST_TRIGGER)
}

/// The same packet, marked as sent again.
pub fn again(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(status) = frame.get_mut(3) {
        *status |= RETRANSMISSION;
    }
    frame.truncate(frame.len().saturating_sub(2));
    let sum = check(&frame);
    frame.extend(sum.to_be_bytes());
    frame
}

/// Two's complement of the 16-bit sum.
pub fn check(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0_u16, |sum, byte| sum.wrapping_sub(u16::from(*byte)))
}

/// A packet of the decoder.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub opcode: u8,
    /// The decoder sent it before.
    pub is_again: bool,
    /// Its content goes on in the next packet.
    pub has_more: bool,
    /// What it carries: a cause, a text, or a kind of code and its bytes.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The content may be a scanned code.
        f.debug_struct("Packet")
            .field("opcode", &self.opcode)
            .finish_non_exhaustive()
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.content);
    }
}

/// What the beginning of the input is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing, or too little to say.
    Incomplete,
    /// A packet with a good check.
    Packet {
        /// Bytes of the whole packet.
        length: usize,
        /// The packet.
        packet: Packet,
    },
    /// A packet with a wrong check.
    Damaged {
        /// Bytes of the whole packet.
        length: usize,
    },
    /// A scanned code as raw bytes, or the beginning of one.
    Code,
}

/// True when three bytes and more begin like a packet of the decoder.
pub fn begins_packet(bytes: &[u8]) -> bool {
    matches!(bytes, [4..=0xFF, opcode, FROM_DECODER, rest @ ..]
        if is_from_decoder(*opcode) && rest.first().is_none_or(|status| status & !STATUS_BITS == 0))
}

/// Judges the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Input {
    match bytes {
        [] | [4..=0xFF] => return Input::Incomplete,
        [4..=0xFF, opcode] if is_from_decoder(*opcode) => return Input::Incomplete,
        _ if begins_packet(bytes) => {}
        _ => return Input::Code,
    }
    let end = bytes.first().map_or(0, |length| usize::from(*length));
    let Some(stated) = bytes.get(end..end + 2) else {
        return Input::Incomplete;
    };
    let body = bytes.get(..end).unwrap_or_default();
    let length = end + 2;
    match body {
        [_, opcode, _, status, content @ ..] if stated == check(body).to_be_bytes() => {
            Input::Packet {
                length,
                packet: Packet {
                    opcode: *opcode,
                    is_again: status & RETRANSMISSION != 0,
                    has_more: status & MORE_FOLLOWS != 0,
                    content: content.to_vec(),
                },
            }
        }
        _ => Input::Damaged { length },
    }
}

fn is_from_decoder(opcode: u8) -> bool {
    matches!(
        opcode,
        ACK | NAK | REPLY_REVISION | PARAM_SEND | DECODE_DATA
    ) || OTHER_FROM_DECODER.contains(&opcode)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECODED: [u8; 14] = [
        0x0C, 0xF3, 0x00, 0x00, 0x03, 0x54, 0x45, 0x53, 0x54, 0x31, 0x32, 0x33, 0xFD, 0x28,
    ];

    #[test]
    fn packets_are_those_of_the_fact_sheet() {
        let check = |frame: Vec<u8>, expect: &[u8]| assert_eq!(frame, expect);
        check(packet(START_SESSION, &[]), &[4, 0xE4, 4, 0, 0xFF, 0x14]);
        check(packet(STOP_SESSION, &[]), &[4, 0xE5, 4, 0, 0xFF, 0x13]);
        check(packet(ACK, &[]), &[4, 0xD0, 4, 0, 0xFF, 0x28]);
        check(packet(NAK, &[RESEND]), &[5, 0xD1, 4, 0, 1, 0xFF, 0x25]);
        check(packet(REQUEST_REVISION, &[]), &[4, 0xA3, 4, 0, 0xFF, 0x55]);
        // The fact sheet stores the mode (status 08, check FE 95); this one does not.
        check(host_trigger(), &[7, 0xC6, 4, 0, 0, 0x8A, 8, 0xFE, 0x9D]);
        assert_eq!(super::check(&[7, 0xC6, 4, 8, 0, 0x8A, 8]), 0xFE95);
    }

    #[test]
    fn a_packet_sent_again_says_so_and_has_a_good_check() {
        let frame = again(&packet(START_SESSION, &[]));
        assert_eq!(frame, [4, 0xE4, 4, 1, 0xFF, 0x13]);
        assert_eq!(again(&[]), [0, 0]);
    }

    #[test]
    fn the_decode_data_of_the_fact_sheet_is_read() {
        let Input::Packet { length, packet } = parse(&DECODED) else {
            panic!("no packet");
        };
        assert_eq!(length, DECODED.len());
        assert_eq!(packet.opcode, DECODE_DATA);
        assert_eq!(packet.content, b"\x03TEST123");
        assert!(!packet.has_more && !packet.is_again);
        for end in 0..DECODED.len() {
            assert_eq!(parse(&DECODED[..end]), Input::Incomplete, "{end}");
        }
    }

    #[test]
    fn raw_codes_and_damaged_packets_are_told_apart() {
        assert_eq!(parse(b"TESTQR\r\n"), Input::Code);
        assert_eq!(parse(&[3, 0xD0, 0, 0]), Input::Code);
        let mut damaged = DECODED;
        damaged[6] ^= 1;
        assert_eq!(parse(&damaged), Input::Damaged { length: 14 });
        // GB18030 may have an opcode as its second byte, never a zero as its third.
        assert_eq!(parse(&[0xB2, 0xD0, 0xB2, 0xD0]), Input::Code);
    }

    #[test]
    fn refusals_of_the_fact_sheet_carry_their_cause() {
        for (cause, sum) in [(1, 0xFF29_u16), (2, 0xFF28), (6, 0xFF24), (0x0A, 0xFF20)] {
            let [high, low] = sum.to_be_bytes();
            let Input::Packet { packet, .. } = parse(&[5, 0xD1, 0, 0, cause, high, low]) else {
                panic!("no packet");
            };
            assert_eq!((packet.opcode, packet.content.clone()), (NAK, vec![cause]));
        }
    }

    #[test]
    fn nothing_scanned_shows_in_debug_output() {
        let shown = format!("{:?}", parse(&DECODED));
        assert!(!shown.contains("84"), "{shown}");
    }
}
