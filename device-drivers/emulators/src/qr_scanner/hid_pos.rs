//! Scanners that report codes by HID: point of sale (usage page 8C) and keyboard
//! (`device-protocols`, section 4.6).

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::dialect::{Build, Dialect, Mode, Turn};
use super::honeywell::Honeywell;
use super::newland::Newland;
use crate::usb::description::Description;
use crate::usb::hid;

/// Bytes of a code in one report.
const PIECE_BYTES: usize = 56;
/// Report to the scanner that carries Honeywell's commands.
const HONEYWELL_REPORT: u8 = 0xFD;
/// Report to the scanner that carries Newland's commands.
const NEWLAND_REPORT: u8 = 0x04;

/// How a point-of-sale report is laid out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HidLayout {
    /// 64 bytes: two bytes between the data and the last one, which says whether more follows.
    #[default]
    Common,
    /// 62 bytes: the last one follows the data at once.
    Packed,
}

/// A point-of-sale scanner.
#[derive(Debug)]
pub(crate) struct HidPos {
    layout: HidLayout,
    build: Build,
    honeywell: Honeywell,
    newland: Newland,
}

impl HidPos {
    pub(crate) fn new(build: &Build, layout: HidLayout) -> Self {
        Self {
            layout,
            build: build.clone(),
            honeywell: Honeywell::new(build.clone()),
            newland: Newland::new(build.clone()),
        }
    }

    pub(crate) fn description(layout: HidLayout) -> Description {
        hid::description(hid::Introduction {
            vendor: 0x0C2E,
            product: 0x0DB3,
            maker: "TEST",
            model: "EMU-QR HID-POS",
            boot: [0, 0],
            report: pos_report(layout),
            report_bytes: 64,
            has_out: false,
        })
    }
}

/// The report descriptor of section 4.6, which is that of 62 bytes; two constant bytes make it 64.
fn pos_report(layout: HidLayout) -> Vec<u8> {
    let mut report = vec![
        0x05, 0x8C, 0x09, 0x02, 0xA1, 0x01, 0x85, 0x02, 0x09, 0x12, 0xA1, 0x02, 0x15, 0x00, 0x26,
        0xFF, 0x00, 0x75, 0x08, 0x95, 0x01, 0x05, 0x01, 0x09, 0x3B, 0x81, 0x02, 0x95, 0x03, 0x05,
        0x8C, 0x09, 0xFB, 0x09, 0xFC, 0x09, 0xFD, 0x81, 0x02, 0x95, 0x38, 0x09, 0xFE, 0x82, 0x02,
        0x01,
    ];
    if layout == HidLayout::Common {
        report.extend([0x95, 0x02, 0x81, 0x03]);
    }
    report.extend([
        0x25, 0x01, 0x75, 0x01, 0x95, 0x01, 0x09, 0xFF, 0x81, 0x02, 0x75, 0x07, 0x81, 0x03, 0xC0,
        0xC0,
    ]);
    report
}

impl Dialect for HidPos {
    fn reset(&mut self) {
        self.honeywell.reset();
        self.newland.reset();
    }

    fn hear(&mut self, received: &mut Vec<u8>, is_refused: bool) -> Option<Turn> {
        // Each turn removes at least one byte, so the loop is bounded by the buffer.
        while let Some(&report) = received.first() {
            if !matches!(report, HONEYWELL_REPORT | NEWLAND_REPORT) {
                received.remove(0);
                continue;
            }
            let length = usize::from(*received.get(1)?);
            if received.len() < 2 + length {
                return None;
            }
            let mut command: Vec<u8> = received.drain(..2 + length).skip(2).collect();
            let turn = if report == HONEYWELL_REPORT {
                self.honeywell.hear(&mut command, is_refused)
            } else {
                self.newland.hear(&mut command, is_refused)
            };
            // Replies to commands have no report of their own in this class.
            return Some(match turn {
                Some(turn) => Turn {
                    reply: Vec::new(),
                    ..turn
                },
                None => Turn::refused(Vec::new()),
            });
        }
        None
    }

    fn mode(&self) -> Mode {
        match self.honeywell.mode() {
            Mode::Level => self.newland.mode(),
            mode @ (Mode::Presentation | Mode::Continuous) => mode,
        }
    }

    fn trigger_time(&self) -> Duration {
        self.build.trigger_time()
    }

    fn code(&mut self, code: &[u8], _now: Instant) -> Vec<Vec<u8>> {
        let bytes = [code, self.build.suffix.bytes(b"")].concat();
        let pieces = bytes.len().div_ceil(PIECE_BYTES);
        let (size, flag) = match self.layout {
            HidLayout::Common => (64, 63),
            HidLayout::Packed => (62, 61),
        };
        bytes
            .chunks(PIECE_BYTES)
            .enumerate()
            .map(|(place, piece)| {
                let mut report = vec![0x02, u8::try_from(piece.len()).unwrap_or(u8::MAX)];
                report.extend(b"]Q1");
                report.extend(piece);
                report.resize(size, 0);
                report[flag] = u8::from(place + 1 < pieces);
                report
            })
            .collect()
    }
}

/// A scanner that types. It has no triggers and takes no commands.
#[derive(Debug)]
pub(crate) struct Keyboard {
    build: Build,
}

impl Keyboard {
    pub(crate) fn new(build: Build) -> Self {
        Self { build }
    }

    pub(crate) fn description() -> Description {
        hid::description(hid::Introduction {
            vendor: 0x1EAB,
            product: 0x0003,
            maker: "TEST",
            model: "EMU-QR keyboard",
            boot: [1, 1],
            report: BOOT_KEYBOARD.to_vec(),
            report_bytes: 8,
            has_out: false,
        })
    }
}

/// HID 1.11, appendix B.1.
const BOOT_KEYBOARD: [u8; 63] = [
    0x05, 0x01, 0x09, 0x06, 0xA1, 0x01, 0x05, 0x07, 0x19, 0xE0, 0x29, 0xE7, 0x15, 0x00, 0x25, 0x01,
    0x75, 0x01, 0x95, 0x08, 0x81, 0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01, 0x95, 0x05, 0x75, 0x01,
    0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01, 0x95, 0x06,
    0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19, 0x00, 0x29, 0x65, 0x81, 0x00, 0xC0,
];

impl Dialect for Keyboard {
    fn reset(&mut self) {}

    fn hear(&mut self, received: &mut Vec<u8>, _is_refused: bool) -> Option<Turn> {
        // What comes are the lights of the keyboard.
        received.clear();
        None
    }

    fn mode(&self) -> Mode {
        Mode::Presentation
    }

    fn trigger_time(&self) -> Duration {
        self.build.trigger_time()
    }

    fn code(&mut self, code: &[u8], _now: Instant) -> Vec<Vec<u8>> {
        let end = self.build.suffix.bytes(b"\r");
        let keys = code.iter().chain(end);
        keys.flat_map(|byte| {
            let (is_shifted, key) = key(*byte);
            let modifiers = if is_shifted { 0x02 } else { 0 };
            [
                vec![modifiers, 0, key, 0, 0, 0, 0, 0],
                // Released again, so that the same key can follow.
                vec![0; 8],
            ]
        })
        .collect()
    }
}

/// Usage of a key on a keyboard of the United States, and whether shift is down. What has no key
/// becomes a question mark: Chinese text does not survive a keyboard.
fn key(byte: u8) -> (bool, u8) {
    const PLAIN: &[u8] = b"\r\x1B\x08\t -=[]\\\0;'`,./";
    const SHIFTED: &[u8] = b"\0\0\0\0\0_+{}|\0:\"~<>?";
    const DIGITS: &[u8] = b"!@#$%^&*()";
    let at = |table: &[u8], first: u8| {
        let place = table.iter().position(|known| *known == byte && byte != 0)?;
        u8::try_from(place).ok().map(|place| first + place)
    };
    match byte {
        b'a'..=b'z' => (false, 0x04 + byte - b'a'),
        b'A'..=b'Z' => (true, 0x04 + byte - b'A'),
        b'1'..=b'9' => (false, 0x1E + byte - b'1'),
        b'0' => (false, 0x27),
        b'\n' => (false, 0x28),
        _ => {
            if let Some(key) = at(PLAIN, 0x28) {
                (false, key)
            } else if let Some(key) = at(SHIFTED, 0x28) {
                (true, key)
            } else if let Some(key) = at(DIGITS, 0x1E) {
                (true, key)
            } else {
                (true, 0x38)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_equal_the_fact_sheet() {
        let now = crate::steering::now();
        let mut scanner = HidPos::new(&Build::default(), HidLayout::Common);
        let report = scanner.code(b"TESTQR", now).remove(0);
        assert_eq!(
            report[..12],
            [
                0x02, 0x06, 0x5D, 0x51, 0x31, 0x54, 0x45, 0x53, 0x54, 0x51, 0x52, 0x00
            ]
        );
        assert_eq!((report.len(), report[63]), (64, 0));
        let lengths = |layout| {
            let mut scanner = HidPos::new(&Build::default(), layout);
            let reports = scanner.code(&[b'A'; 120], now);
            let tail = |report: &Vec<u8>| (report[1], *report.last().unwrap());
            reports.iter().map(tail).collect::<Vec<_>>()
        };
        assert_eq!(lengths(HidLayout::Common), [(56, 1), (56, 1), (8, 0)]);
        assert_eq!(lengths(HidLayout::Packed), [(56, 1), (56, 1), (8, 0)]);
    }

    #[test]
    fn both_makers_triggers_are_obeyed() {
        let mut scanner = HidPos::new(&Build::default(), HidLayout::Common);
        let mut hear = |report: &[u8]| scanner.hear(&mut report.to_vec(), false).unwrap();
        assert_eq!(hear(b"\xFD\x03\x16T\r").acts.len(), 1);
        assert_eq!(hear(b"\x04\x10\x7E\x010000#SCNTRG1;\x03").acts.len(), 1);
        assert_eq!(hear(b"\xFD\x01\x00").refused, 1);
    }

    #[test]
    fn keys_are_those_of_the_keyboard() {
        assert_eq!(key(b'a'), (false, 0x04));
        assert_eq!(key(b'Z'), (true, 0x1D));
        assert_eq!(key(b'0'), (false, 0x27));
        assert_eq!(key(b'\r'), (false, 0x28));
        assert_eq!(key(b'-'), (false, 0x2D));
        assert_eq!(key(b';'), (false, 0x33));
        assert_eq!(key(b':'), (true, 0x33));
        assert_eq!(key(b'/'), (false, 0x38));
        assert_eq!(key(b'@'), (true, 0x1F));
        assert_eq!(key(b')'), (true, 0x27));
        assert_eq!(key(0xE6), (true, 0x38));
    }
}
