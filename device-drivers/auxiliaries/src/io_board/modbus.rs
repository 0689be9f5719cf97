//! Modbus-RTU as I/O boards speak it: reading coils and inputs, writing coils (functions 01, 02, 05 and
//! 0F). Pure functions of bytes; frames are checked by their CRC and found again behind noise.

/// Reads coils, which are outputs.
pub const READ_COILS: u8 = 0x01;
/// Reads discrete inputs.
pub const READ_INPUTS: u8 = 0x02;
/// Writes one coil.
pub const WRITE_COIL: u8 = 0x05;
/// Writes several coils.
pub const WRITE_COILS: u8 = 0x0F;
/// Most coils or inputs in one frame of ours: more than any board has.
pub const POINTS_MAX: u16 = 256;

/// Set in the function byte of a refusal.
const EXCEPTION: u8 = 0x80;
/// The value that switches a coil on (Modbus application protocol 1.1b3, §6.5).
const COIL_ON: [u8; 2] = [0xFF, 0x00];
/// Address, function and CRC.
const FRAME_BYTES_MIN: usize = 4;

/// A question with its CRC, and what is needed to recognize the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The frame.
    pub bytes: Vec<u8>,
    /// Length of the answer between its function and its CRC.
    body_bytes: usize,
    /// What the body begins with.
    body_start: Vec<u8>,
}

/// What a board answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The body: behind the function byte, without the CRC.
    Body(Vec<u8>),
    /// It refuses, for this reason.
    Exception(u8),
}

/// Asks board `address` for `count` coils or inputs from number 0 on; `function` is [`READ_COILS`] or
/// [`READ_INPUTS`].
pub fn read(address: u8, function: u8, count: u16) -> Request {
    let count = count.clamp(1, POINTS_MAX);
    let bits = count.div_ceil(8);
    Request {
        bytes: with_crc(&[&[address, function, 0, 0][..], &count.to_be_bytes()].concat()),
        body_bytes: usize::from(bits) + 1,
        body_start: vec![u8::try_from(bits).unwrap_or(u8::MAX)],
    }
}

/// Switches coil `index` of board `address`.
pub fn write_coil(address: u8, index: u16, is_on: bool) -> Request {
    let value = if is_on { COIL_ON } else { [0, 0] };
    let body = [&index.to_be_bytes()[..], &value].concat();
    Request {
        bytes: with_crc(&[&[address, WRITE_COIL][..], &body].concat()),
        body_bytes: body.len(),
        // The answer is the question.
        body_start: body,
    }
}

/// Switches coils 0 and up of board `address`, [`POINTS_MAX`] at most.
pub fn write_coils(address: u8, coils: &[bool]) -> Request {
    let coils = coils.get(..usize::from(POINTS_MAX)).unwrap_or(coils);
    let count = u16::try_from(coils.len()).unwrap_or(POINTS_MAX);
    let values = pack(coils);
    let head = [&[0, 0][..], &count.to_be_bytes()].concat();
    let length = [u8::try_from(values.len()).unwrap_or(u8::MAX)];
    Request {
        bytes: with_crc(&[&[address, WRITE_COILS][..], &head, &length, &values].concat()),
        body_bytes: head.len(),
        body_start: head,
    }
}

impl Request {
    /// The answer in `input`, wherever it begins: lines that switch direction add noise in front.
    pub fn find_reply(&self, input: &[u8]) -> Option<Reply> {
        let (address, function) = (*self.bytes.first()?, *self.bytes.get(1)?);
        (0..input.len()).find_map(|at| {
            let input = input.get(at..)?;
            if *input.first()? != address {
                return None;
            }
            let kind = *input.get(1)?;
            if kind == function {
                let frame = input.get(..self.body_bytes + FRAME_BYTES_MIN)?;
                let body = frame.get(2..2 + self.body_bytes)?;
                (is_whole(frame) && body.starts_with(&self.body_start))
                    .then(|| Reply::Body(body.to_vec()))
            } else if kind == function | EXCEPTION {
                let frame = input.get(..=FRAME_BYTES_MIN)?;
                is_whole(frame).then(|| Reply::Exception(frame.get(2).copied().unwrap_or_default()))
            } else {
                None
            }
        })
    }
}

/// The bits of the answer to [`read`], the lowest of the first byte first.
pub fn bits(body: &[u8]) -> impl Iterator<Item = bool> + '_ {
    body.iter()
        .skip(1)
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1))
}

/// What a refusal means (Modbus application protocol 1.1b3, §7).
pub fn exception_words(code: u8) -> &'static str {
    match code {
        1 => "it does not know the function",
        2 => "it has no such coil or input",
        3 => "it does not accept the value",
        4 => "it failed",
        6 => "it is busy",
        _ => "it gives an unknown reason",
    }
}

fn pack(coils: &[bool]) -> Vec<u8> {
    coils
        .chunks(8)
        .map(|chunk| {
            chunk
                .iter()
                .enumerate()
                .fold(0, |byte, (bit, is_on)| byte | u8::from(*is_on) << bit)
        })
        .collect()
}

/// The CRC-16 of Modbus over serial line 1.02, appendix B; it travels low byte first.
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xA001
            } else {
                crc >> 1
            }
        })
    })
}

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc16(bytes).to_le_bytes()].concat()
}

fn is_whole(frame: &[u8]) -> bool {
    frame
        .split_last_chunk()
        .is_some_and(|(bytes, crc)| crc16(bytes) == u16::from_le_bytes(*crc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_fact_sheet() {
        let check = |request: Request, expect: &[u8]| assert_eq!(request.bytes, expect);
        check(
            write_coil(1, 0, true),
            &[0x01, 0x05, 0x00, 0x00, 0xFF, 0x00, 0x8C, 0x3A],
        );
        check(
            write_coil(1, 0, false),
            &[0x01, 0x05, 0x00, 0x00, 0x00, 0x00, 0xCD, 0xCA],
        );
        check(
            read(1, READ_COILS, 8),
            &[0x01, 0x01, 0x00, 0x00, 0x00, 0x08, 0x3D, 0xCC],
        );
        check(
            read(1, READ_INPUTS, 8),
            &[0x01, 0x02, 0x00, 0x00, 0x00, 0x08, 0x79, 0xCC],
        );
    }

    #[test]
    fn several_coils_are_packed_as_the_standard_shows() {
        // Modbus application protocol 1.1b3, §6.11: ten coils, CD 01, here from coil 0 on.
        let coils: Vec<bool> = "1011001110"
            .chars()
            .map(|character| character == '1')
            .collect();
        let request = write_coils(0x11, &coils);
        assert_eq!(request.bytes[..9], [0x11, 0x0F, 0, 0, 0, 10, 2, 0xCD, 0x01]);
        let reply = with_crc(&[0x11, 0x0F, 0, 0, 0, 10]);
        assert_eq!(
            request.find_reply(&reply),
            Some(Reply::Body(vec![0, 0, 0, 10]))
        );
    }

    #[test]
    fn answers_are_found_behind_noise_and_checked() {
        let request = read(1, READ_INPUTS, 10);
        let reply = with_crc(&[1, 2, 2, 0b0000_0101, 0b10]);
        let body = Reply::Body(vec![2, 0b101, 0b10]);
        assert_eq!(request.find_reply(&reply), Some(body.clone()));
        let noisy = [&[0, 1, 2][..], &reply].concat();
        assert_eq!(request.find_reply(&noisy), Some(body));
        for cut in 0..reply.len() {
            assert_eq!(request.find_reply(&reply[..cut]), None, "{cut}");
        }
        let mut wrong = reply;
        wrong[3] ^= 0x10;
        assert_eq!(request.find_reply(&wrong), None);
        let refusal = with_crc(&[1, 0x82, 2]);
        assert_eq!(request.find_reply(&refusal), Some(Reply::Exception(2)));
        let other = with_crc(&[2, 2, 2, 0, 0]);
        assert_eq!(request.find_reply(&other), None);
        // The answer about another coil is no answer.
        let echo = write_coil(1, 3, true).bytes;
        assert_eq!(write_coil(1, 2, true).find_reply(&echo), None);
    }

    #[test]
    fn bits_come_lowest_first() {
        let bits: Vec<bool> = bits(&[1, 0b1000_0010]).collect();
        assert_eq!(bits.len(), 8);
        assert!(!bits[0] && bits[1] && bits[7]);
        assert_eq!(super::bits(&[]).count(), 0);
    }

    #[test]
    fn no_bytes_make_the_search_panic() {
        let request = read(1, READ_COILS, POINTS_MAX);
        let mut seed = 3_u32;
        for length in 0..300 {
            let input: Vec<u8> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 24).to_le_bytes()[0] & 0x83
                })
                .collect();
            drop(request.find_reply(&input));
        }
    }
}
