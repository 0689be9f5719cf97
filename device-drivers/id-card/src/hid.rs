//! The framing of readers that are human interface devices: an SDT frame inside a message inside
//! 64-byte reports.
//!
//! Source: `device-protocols.md` §1.8, layout 3. Pure functions of bytes. A message begins with a
//! report and may need several; what follows it in its last report is padding. Every length is
//! bounded, and what a card said is overwritten when a message is dropped.

use zeroize::Zeroizing;

use crate::sdt::FRAME_BYTES_MAX;

/// Bytes of one report in either direction.
pub const REPORT_BYTES: usize = 64;
/// Passes an SDT frame on to the module.
pub const PASS_THROUGH: u8 = 0xB1;
/// Asks for the version of the reader's own firmware.
pub const VERSION: u8 = 0x0D;

/// First byte of a request (one source; §1.8).
const REQUEST_FLAG: u8 = 0x88;
/// First byte of an answer.
const ANSWER_FLAG: u8 = 0xAA;
/// Flag and sequence number.
const LENGTH_AT: usize = 3;
/// Flag, sequence number and length.
const HEAD_BYTES: usize = 5;
const SUM_BYTES: usize = 2;
/// Largest length field accepted: the result and the largest frame.
const LENGTH_MAX: usize = 1 + FRAME_BYTES_MAX;
/// Longest version text that is believed. Chosen.
const VERSION_BYTES_MAX: usize = 64;

/// The reports of one request, padded with zeros.
pub fn request(command: u8, data: &[u8]) -> Vec<[u8; REPORT_BYTES]> {
    // Requests are a few bytes long; a longer one is cut and fails its check at the reader.
    let data = data.get(..LENGTH_MAX - 1).unwrap_or(data);
    let length = u16::try_from(data.len() + 1).unwrap_or(u16::MAX);
    let mut message = vec![REQUEST_FLAG, 0, 0];
    message.extend(length.to_le_bytes());
    message.push(command);
    message.extend(data);
    let sum = sum(message.get(LENGTH_AT..).unwrap_or_default());
    message.extend(sum.to_le_bytes());
    let reports = message.chunks(REPORT_BYTES).map(|chunk| {
        let mut report = [0; REPORT_BYTES];
        for (to, from) in report.iter_mut().zip(chunk) {
            *to = *from;
        }
        report
    });
    reports.collect()
}

/// An answer of the reader.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Zero in every answer seen to a request that succeeded.
    pub result: u8,
    /// What follows: an SDT frame for [`PASS_THROUGH`].
    pub data: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("result", &self.result)
            .field("bytes", &self.data.len())
            .finish()
    }
}

/// A message whose length or sum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of the reader did not check")]
pub struct Garbled;

/// Puts answers together out of reports.
#[derive(Default)]
pub struct Assembler {
    message: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Assembler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembler").finish_non_exhaustive()
    }
}

impl Assembler {
    /// Takes one report in; the answer that it completes, if it does. A report that begins no
    /// message where one should begin is passed over.
    ///
    /// # Errors
    /// [`Garbled`]; the message is dropped and the next report begins a new one.
    pub fn push(&mut self, report: &[u8]) -> Result<Option<Answer>, Garbled> {
        if self.message.is_empty() {
            if report.first() != Some(&ANSWER_FLAG) {
                return Ok(None);
            }
            // Never grown for one answer, so that no copy of it stays behind in freed memory.
            self.message
                .reserve_exact(HEAD_BYTES + LENGTH_MAX + SUM_BYTES + REPORT_BYTES);
        }
        let report = report.get(..REPORT_BYTES).unwrap_or(report);
        self.message.extend_from_slice(report);
        let result = parse(&self.message);
        if !matches!(result, Ok(None)) {
            self.clear();
        }
        result
    }

    /// True when a message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.message.is_empty()
    }

    /// Forgets a message that has begun.
    pub fn clear(&mut self) {
        self.message = Zeroizing::default();
    }
}

fn parse(message: &[u8]) -> Result<Option<Answer>, Garbled> {
    let Some(&[low, high]) = message.get(LENGTH_AT..HEAD_BYTES) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_le_bytes([low, high]));
    if !(1..=LENGTH_MAX).contains(&length) {
        return Err(Garbled);
    }
    let end = HEAD_BYTES + length;
    let (Some(summed), Some(&[low, high])) = (
        message.get(LENGTH_AT..end),
        message.get(end..end + SUM_BYTES),
    ) else {
        return Ok(None);
    };
    match summed {
        [_, _, result, data @ ..] if sum(summed) == u16::from_le_bytes([low, high]) => {
            Ok(Some(Answer {
                result: *result,
                data: Zeroizing::new(data.to_vec()),
            }))
        }
        _ => Err(Garbled),
    }
}

fn sum(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |sum: u16, byte| sum.wrapping_add(u16::from(*byte)))
}

/// The version in an answer to [`VERSION`]: its printable characters, empty when it has none.
pub fn version(answer: &Answer) -> String {
    let bytes = answer.data.iter().take(VERSION_BYTES_MAX);
    let text: String = bytes
        .filter(|byte| byte.is_ascii_graphic() || **byte == b' ')
        .map(|byte| char::from(*byte))
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIND: [u8; 10] = [0xAA, 0xAA, 0xAA, 0x96, 0x69, 0, 3, 0x20, 1, 0x22];

    fn answer(result: u8, data: &[u8]) -> Vec<[u8; REPORT_BYTES]> {
        let mut message = vec![0xAA, 0, 0];
        message.extend(u16::try_from(data.len() + 1).unwrap().to_le_bytes());
        message.push(result);
        message.extend(data);
        let sum: u32 = message[3..].iter().map(|byte| u32::from(*byte)).sum();
        message.extend(u16::try_from(sum & 0xFFFF).unwrap().to_le_bytes());
        message.resize(message.len().next_multiple_of(REPORT_BYTES), 0);
        message.as_chunks().0.to_vec()
    }

    fn assemble(reports: &[[u8; REPORT_BYTES]]) -> Vec<Result<Option<Answer>, Garbled>> {
        let mut assembler = Assembler::default();
        let results = reports.iter().map(|report| assembler.push(report));
        results.filter(|result| *result != Ok(None)).collect()
    }

    #[test]
    fn a_request_is_one_padded_report_with_its_sum() {
        let reports = request(PASS_THROUGH, &FIND);
        // 0B 00 B1 and the ten bytes of the frame add up to 0x3FF.
        let mut expect = vec![0x88, 0, 0, 0x0B, 0, 0xB1];
        expect.extend(FIND);
        expect.extend([0xFF, 0x03]);
        expect.resize(REPORT_BYTES, 0);
        assert_eq!(reports.concat(), expect);
        assert_eq!(
            request(VERSION, &[])[0][..8],
            [0x88, 0, 0, 1, 0, 0x0D, 0x0E, 0]
        );
        assert_eq!(request(PASS_THROUGH, &[7; 57]).len(), 2);
    }

    #[test]
    fn answers_of_one_and_of_many_reports_are_put_together() {
        for count in [0, 11, 55, 56, 57, 64, 1295, 2321, FRAME_BYTES_MAX] {
            let data = vec![0x5A; count];
            let reports = answer(0, &data);
            let found = assemble(&reports);
            assert_eq!(found.len(), 1, "{count}");
            let found = found[0].clone().unwrap().unwrap();
            assert_eq!((found.result, &*found.data), (0, &data), "{count}");
        }
    }

    #[test]
    fn padding_does_not_begin_the_next_answer() {
        let mut first = answer(0, &[1, 2]);
        // A reader that does not clear its buffer repeats old bytes there.
        first[0][20..].fill(0xAA);
        let found = assemble(&[first, answer(3, &[9])].concat());
        let found: Vec<u8> = found
            .into_iter()
            .map(|a| a.unwrap().unwrap().result)
            .collect();
        assert_eq!(found, [0, 3]);
    }

    #[test]
    fn a_wrong_sum_and_a_wrong_length_are_garbled_and_the_next_answer_is_found() {
        let mut wrong_sum = answer(0, &[7; 100]);
        wrong_sum[1][0] ^= 1;
        let mut too_long = answer(0, &[7; 10]);
        too_long[0][3..5].fill(0xFF);
        let mut empty = answer(0, &[]);
        empty[0][3] = 0;
        for broken in [wrong_sum, too_long, empty] {
            let found = assemble(&[broken, answer(0, &[1])].concat());
            assert!(matches!(found.as_slice(), [Err(Garbled), Ok(Some(_))]));
        }
    }

    #[test]
    fn no_garbage_panics_or_piles_up() {
        let mut assembler = Assembler::default();
        let mut seed = 5_u32;
        for turn in 0..20_000 {
            let mut report = [0_u8; REPORT_BYTES];
            for byte in &mut report {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = seed.to_be_bytes()[0];
            }
            report[0] = 0xAA;
            let length = turn % (REPORT_BYTES + 1);
            drop(assembler.push(&report[..length]));
            assert!(assembler.message.len() <= HEAD_BYTES + LENGTH_MAX + SUM_BYTES + REPORT_BYTES);
        }
    }

    #[test]
    fn a_version_is_what_can_be_printed() {
        let check = |data: &[u8], expect: &str| {
            let answer = Answer {
                result: 0,
                data: Zeroizing::new(data.to_vec()),
            };
            assert_eq!(version(&answer), expect);
        };
        check(b"MR-300 V2.1\0\0", "MR-300 V2.1");
        check(&[0xFF, 0, 1], "");
        check(&[b'A'; 1000], &"A".repeat(64));
    }
}
