//! HID-POS (`device-protocols.md` §4.6): what a report descriptor says about the reports of a bar code
//! scanner, and the pieces of codes in those reports. Pure functions of bytes.
//!
//! Two layouts are in the field under one name, so the descriptor decides. A report that is longer
//! than its descriptor says comes from firmware that declares one and sends the other.

/// Longest descriptor looked at, in bytes. Chosen: those of scanners have 60 to 300.
pub const DESCRIPTOR_BYTES_MAX: usize = 1024;
/// Longest report, in bytes. Chosen: full-speed interrupt packets have 64.
pub const REPORT_BYTES_MAX: usize = 1024;

/// Usages of bar code scanners with their page, 8C (HID Point of Sale usage tables).
const USAGE_DECODED_DATA: u32 = 0x8C_00FE;
const USAGE_CONTINUED: u32 = 0x8C_00FF;
/// Byte count, on the generic desktop page.
const USAGE_BYTE_COUNT: u32 = 0x01_003B;

/// Usages of one item, states pushed, and reports of one device that are kept. Chosen.
const USAGES_MAX: usize = 64;
const STACK_MAX: usize = 8;
const REPORTS_MAX: usize = 32;

/// Why a descriptor is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// No report carries decoded data of a bar code scanner.
    #[error("no report carries scanned codes")]
    NoScanner,
    /// Its numbers are beyond every scanner.
    #[error("the report descriptor has impossible numbers")]
    Impossible,
}

/// Where a report keeps what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first byte of the report, when reports have numbers.
    pub report_id: Option<u8>,
    /// Bytes of the whole report, with its number.
    pub report_bytes: usize,
    /// Byte that counts the bytes of data.
    count_at: Option<usize>,
    /// First byte of data.
    data_at: usize,
    /// Bytes of data at most.
    data_bytes: usize,
    /// Byte and mask of "goes on in the next report".
    continued_at: Option<(usize, u8)>,
    /// Reports that the host may send: number and bytes without it.
    outputs: Vec<(u8, usize)>,
}

/// The 64-byte report most scanners send (§4.6).
fn common_layout(outputs: Vec<(u8, usize)>) -> Layout {
    Layout {
        report_id: Some(0x02),
        report_bytes: 64,
        count_at: Some(1),
        data_at: 5,
        data_bytes: 56,
        continued_at: Some((63, 0x01)),
        outputs,
    }
}

/// A piece of a code.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The code goes on in the next report.
    pub has_more: bool,
}

impl std::fmt::Debug for Piece<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece")
            .field("has_more", &self.has_more)
            .finish_non_exhaustive()
    }
}

impl Layout {
    /// The layout that a report descriptor describes.
    ///
    /// # Errors
    /// [`LayoutError`]: not a scanner, or nonsense.
    pub fn parse(descriptor: &[u8]) -> Result<Self, LayoutError> {
        let descriptor = descriptor.get(..DESCRIPTOR_BYTES_MAX).unwrap_or(descriptor);
        let mut reader = Reader::default();
        let mut rest = descriptor;
        while let Some((item, after)) = next_item(rest) {
            reader.take(item)?;
            rest = after;
        }
        reader.finish()
    }

    /// Bytes of the report with that number which the host may send, without the number; `None` when
    /// the descriptor has no such report.
    pub fn output_bytes(&self, report_id: u8) -> Option<usize> {
        self.outputs
            .iter()
            .find(|(id, _)| *id == report_id)
            .map(|(_, bytes)| *bytes)
    }

    /// The piece of a code in `report`; `None` when it is another report or too short.
    pub fn piece<'a>(&self, report: &'a [u8]) -> Option<Piece<'a>> {
        if self.report_id.is_some() && report.first().copied() != self.report_id {
            return None;
        }
        if report.len() > self.report_bytes && self.report_id == Some(0x02) && report.len() == 64 {
            return common_layout(Vec::new()).cut(report);
        }
        self.cut(report)
    }

    fn cut<'a>(&self, report: &'a [u8]) -> Option<Piece<'a>> {
        let room = report.get(self.data_at..)?;
        let room = room.get(..self.data_bytes).unwrap_or(room);
        let count = match self.count_at {
            Some(at) => usize::from(*report.get(at)?),
            // Without a count, zeros at the end are filling.
            None => room
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1),
        };
        // Scanners end short reports where their data end; one that breaks off earlier is damaged.
        let bytes = room.get(..count.min(self.data_bytes))?;
        let has_more = self
            .continued_at
            .and_then(|(at, mask)| report.get(at).map(|byte| byte & mask != 0));
        Some(Piece {
            bytes,
            has_more: has_more.unwrap_or(false),
        })
    }
}

/// One short item: kind and tag without the size bits, value, size in bytes.
#[derive(Clone, Copy)]
struct Item {
    tag: u8,
    value: u32,
    size: usize,
}

/// The first item of `bytes` and what follows; `None` at the end and at a broken item.
fn next_item(bytes: &[u8]) -> Option<(Item, &[u8])> {
    let (prefix, rest) = bytes.split_first()?;
    // Long items carry nothing that is used today.
    if *prefix == 0xFE {
        let size = usize::from(*rest.first()?);
        let item = Item {
            tag: 0xFE,
            value: 0,
            size: 0,
        };
        return Some((item, rest.get(2 + size..)?));
    }
    let size = match prefix & 0x03 {
        3 => 4,
        size => usize::from(size),
    };
    let value = rest
        .get(..size)?
        .iter()
        .rev()
        .fold(0_u32, |value, byte| (value << 8) | u32::from(*byte));
    let item = Item {
        tag: prefix & 0xFC,
        value,
        size,
    };
    Some((item, rest.get(size..)?))
}

#[derive(Clone, Copy, Default)]
struct Globals {
    page: u16,
    report_size: usize,
    report_count: usize,
    report_id: Option<u8>,
}

/// Bits of one report so far, and what a scanner's fields are in it.
#[derive(Clone, Default)]
struct Report {
    id: Option<u8>,
    is_input: bool,
    bits: usize,
    count_at: Option<usize>,
    data: Option<(usize, usize)>,
    continued_at: Option<usize>,
}

#[derive(Default)]
struct Reader {
    globals: Globals,
    stack: Vec<Globals>,
    usages: Vec<u32>,
    usage_min: Option<u32>,
    reports: Vec<Report>,
}

impl Reader {
    fn take(&mut self, item: Item) -> Result<(), LayoutError> {
        let size = usize::try_from(item.value).map_err(|_| LayoutError::Impossible)?;
        match item.tag {
            0x04 => self.globals.page = u16::try_from(item.value).unwrap_or(0),
            0x74 => self.globals.report_size = size,
            0x94 => self.globals.report_count = size,
            0x84 => self.globals.report_id = u8::try_from(item.value).ok(),
            0xA4 if self.stack.len() < STACK_MAX => self.stack.push(self.globals),
            0xB4 => self.globals = self.stack.pop().unwrap_or(self.globals),
            0x08 => {
                let usage = self.usage(item);
                self.add_usage(usage);
            }
            0x18 => self.usage_min = Some(self.usage(item)),
            0x28 => {
                let last = self.usage(item);
                let first = self.usage_min.take().unwrap_or(last);
                for usage in (first..=last).take(USAGES_MAX) {
                    self.add_usage(usage);
                }
            }
            0x80 => self.field(true, item.value)?,
            0x90 => self.field(false, item.value)?,
            // Feature, collection and end of collection end the usages collected for them.
            0xB0 | 0xA0 | 0xC0 => self.forget_usages(),
            _ => {}
        }
        Ok(())
    }

    /// A usage with its page, which an item of four bytes brings along.
    fn usage(&self, item: Item) -> u32 {
        if item.size == 4 {
            item.value
        } else {
            (u32::from(self.globals.page) << 16) | item.value
        }
    }

    fn add_usage(&mut self, usage: u32) {
        if self.usages.len() < USAGES_MAX {
            self.usages.push(usage);
        }
    }

    fn forget_usages(&mut self) {
        self.usages.clear();
        self.usage_min = None;
    }

    fn report(&mut self, is_input: bool) -> Option<&mut Report> {
        let id = self.globals.report_id;
        let known = self
            .reports
            .iter()
            .position(|report| report.id == id && report.is_input == is_input);
        let at = match known {
            Some(at) => at,
            None if self.reports.len() < REPORTS_MAX => {
                self.reports.push(Report {
                    id,
                    is_input,
                    ..Report::default()
                });
                self.reports.len() - 1
            }
            None => return None,
        };
        self.reports.get_mut(at)
    }

    /// An input or output item: `flags` as in the descriptor.
    fn field(&mut self, is_input: bool, flags: u32) -> Result<(), LayoutError> {
        let Globals {
            report_size,
            report_count,
            ..
        } = self.globals;
        let bits_max = REPORT_BYTES_MAX * 8;
        // Fields of no bits would let a count of billions pass the product.
        let bits = report_size
            .checked_mul(report_count)
            .filter(|bits| *bits <= bits_max && report_count <= bits_max)
            .ok_or(LayoutError::Impossible)?;
        let usages = std::mem::take(&mut self.usages);
        self.usage_min = None;
        let Some(report) = self.report(is_input) else {
            return Ok(());
        };
        let start = report.bits;
        report.bits += bits;
        if report.bits > bits_max {
            return Err(LayoutError::Impossible);
        }
        let is_constant = flags & 0x01 != 0;
        if !is_constant {
            report.note(start, report_size, report_count, &usages);
        }
        Ok(())
    }

    fn finish(self) -> Result<Layout, LayoutError> {
        let outputs = self.reports.iter().filter(|report| !report.is_input);
        let outputs: Vec<(u8, usize)> = outputs
            .map(|report| (report.id.unwrap_or(0), report.bits.div_ceil(8)))
            .collect();
        let mut input = self.reports.iter().filter(|report| report.is_input);
        let (report, (data_bit, data_bytes)) = input
            .find_map(|report| report.data.map(|data| (report, data)))
            .ok_or(LayoutError::NoScanner)?;
        if data_bit % 8 != 0 || data_bytes == 0 {
            return Err(LayoutError::Impossible);
        }
        let id_bytes = usize::from(report.id.is_some());
        Ok(Layout {
            report_id: report.id,
            report_bytes: id_bytes + report.bits.div_ceil(8),
            count_at: report
                .count_at
                .filter(|bit| bit % 8 == 0)
                .map(|bit| id_bytes + bit / 8),
            data_at: id_bytes + data_bit / 8,
            data_bytes,
            continued_at: report
                .continued_at
                .map(|bit| (id_bytes + bit / 8, 1 << (bit % 8))),
            outputs,
        })
    }
}

impl Report {
    /// Notes where the fields of a scanner are: `count` fields of `size` bits from bit `start` on, the
    /// last usage standing for all that follow.
    fn note(&mut self, start: usize, size: usize, count: usize, usages: &[u32]) {
        let mut at = start;
        for index in 0..count {
            let Some(usage) = usages.get(index).or(usages.last()).copied() else {
                return;
            };
            match usage {
                USAGE_BYTE_COUNT if size == 8 => self.count_at = self.count_at.or(Some(at)),
                USAGE_CONTINUED => self.continued_at = self.continued_at.or(Some(at)),
                USAGE_DECODED_DATA if size == 8 => match &mut self.data {
                    None => self.data = Some((at, 1)),
                    Some((first, bytes)) if *first + *bytes * 8 == at => *bytes += 1,
                    Some(_) => {}
                },
                _ => {}
            }
            at += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The descriptor of the fact sheet: id, count, three bytes of symbology, 56 of data, one bit.
    const DESCRIPTOR: &str = "05 8C 09 02 A1 01 85 02 09 12 A1 02 15 00 26 FF 00 75 08 95 01 05 01 09 3B 81 02 95 03 05 8C 09 FB 09 FC 09 FD 81 02 95 38 09 FE 82 02 01 25 01 75 01 95 01 09 FF 81 02 75 07 81 03 C0 C0";
    /// The same with two bytes before the bit, as the common report of 64 bytes has them.
    const COMMON: &str = "05 8C 09 02 A1 01 85 02 15 00 26 FF 00 75 08 95 01 05 01 09 3B 81 02 95 03 05 8C 09 FB 09 FC 09 FD 81 02 95 38 09 FE 82 02 01 95 02 81 03 25 01 75 01 95 01 09 FF 81 02 75 07 81 03 85 04 75 08 95 3F 91 02 C0";

    fn bytes(hex: &str) -> Vec<u8> {
        hex.split_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    fn common_report(data: &[u8], has_more: bool) -> Vec<u8> {
        let mut report = vec![0; 64];
        report[0] = 0x02;
        report[1] = u8::try_from(data.len()).unwrap();
        report[2..5].copy_from_slice(b"]Q1");
        report[5..5 + data.len()].copy_from_slice(data);
        report[63] = u8::from(has_more);
        report
    }

    #[test]
    fn the_descriptor_of_the_fact_sheet_gives_its_layout() {
        let layout = Layout::parse(&bytes(DESCRIPTOR)).unwrap();
        assert_eq!(
            layout,
            Layout {
                report_id: Some(2),
                report_bytes: 62,
                count_at: Some(1),
                data_at: 5,
                data_bytes: 56,
                continued_at: Some((61, 1)),
                outputs: Vec::new(),
            }
        );
    }

    #[test]
    fn the_common_report_is_read_under_either_descriptor() {
        for descriptor in [DESCRIPTOR, COMMON] {
            let layout = Layout::parse(&bytes(descriptor)).unwrap();
            let report = common_report(b"TESTQR", false);
            let piece = layout.piece(&report).unwrap();
            assert_eq!((piece.bytes, piece.has_more), (&b"TESTQR"[..], false));
            let report = common_report(&[b'a'; 56], true);
            let piece = layout.piece(&report).unwrap();
            assert_eq!((piece.bytes, piece.has_more), (&[b'a'; 56][..], true));
        }
        let layout = Layout::parse(&bytes(COMMON)).unwrap();
        assert_eq!(layout.report_bytes, 64);
        assert_eq!(layout.output_bytes(4), Some(63));
        assert_eq!(layout.output_bytes(5), None);
    }

    #[test]
    fn the_shorter_report_has_its_bit_in_its_last_byte() {
        let layout = Layout::parse(&bytes(DESCRIPTOR)).unwrap();
        let mut report = common_report(&[b'a'; 56], false);
        report.truncate(62);
        report[61] = 1;
        assert!(layout.piece(&report).unwrap().has_more);
        report[61] = 0;
        assert!(!layout.piece(&report).unwrap().has_more);
    }

    #[test]
    fn other_reports_and_broken_ones_are_no_pieces() {
        let layout = Layout::parse(&bytes(DESCRIPTOR)).unwrap();
        assert_eq!(layout.piece(&[]), None);
        assert_eq!(layout.piece(&[3, 1, 0, 0, 0, b'a']), None);
        assert_eq!(layout.piece(&[2, 6, 0, 0, 0, b'a']), None);
        // A count beyond the report's room is cut to it.
        let mut report = common_report(&[b'a'; 56], false);
        report[1] = 255;
        assert_eq!(layout.piece(&report).unwrap().bytes.len(), 56);
    }

    #[test]
    fn reports_without_number_and_without_count_are_read() {
        // Page 8C, 8 bytes of data.
        let layout =
            Layout::parse(&bytes("06 8C 00 09 02 A1 01 75 08 95 08 09 FE 81 02 C0")).unwrap();
        assert_eq!((layout.report_id, layout.report_bytes), (None, 8));
        let piece = layout.piece(b"TEST\0\0\0\0").unwrap();
        assert_eq!(piece.bytes, b"TEST");
    }

    #[test]
    fn what_is_no_scanner_and_what_is_nonsense_is_refused() {
        // A boot keyboard.
        let keyboard = bytes(
            "05 01 09 06 A1 01 05 07 19 E0 29 E7 15 00 25 01 75 01 95 08 81 02 95 01 75 08 81 01 C0",
        );
        assert_eq!(Layout::parse(&keyboard), Err(LayoutError::NoScanner));
        assert_eq!(Layout::parse(&[]), Err(LayoutError::NoScanner));
        let huge = bytes("05 8C 77 FF FF FF FF 97 FF FF FF FF 09 FE 81 02");
        assert_eq!(Layout::parse(&huge), Err(LayoutError::Impossible));
        // Usages from zero to the end of the world.
        let flood = bytes("1B 00 00 00 00 2B FF FF FF FF 75 08 95 01 81 02");
        assert_eq!(Layout::parse(&flood), Err(LayoutError::NoScanner));
    }

    #[test]
    fn every_beginning_of_a_descriptor_is_survived() {
        let whole = bytes(COMMON);
        for end in 0..whole.len() {
            if let Ok(layout) = Layout::parse(&whole[..end]) {
                assert!(layout.report_bytes <= REPORT_BYTES_MAX + 1, "{end}");
                assert_eq!(layout.piece(&[]), None, "{end}");
            }
        }
    }

    #[test]
    fn a_field_without_bits_repeated_two_billion_times_is_refused_at_once() {
        // Usage page 1, usage 3B, size 0, count 81 3B 09 01, input: found by fuzzing.
        let descriptor = [
            0x05, 0x01, 0x09, 0x3B, 0x75, 0x00, 0x97, 0x01, 0x09, 0x3B, 0x81, 0x81, 0x02,
        ];
        assert_eq!(Layout::parse(&descriptor), Err(LayoutError::Impossible));
    }
}
