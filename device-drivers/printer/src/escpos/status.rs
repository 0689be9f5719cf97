//! What an ESC/POS printer says about itself: real-time status (`DLE EOT n`), automatic status back
//! (`GS a n`), process-id echoes (`GS ( H`), Custom's full status, paper sensors and flow control,
//! told apart in one stream of bytes by their fixed bits.
//!
//! Source: `device-protocols.md` §5.2 to §5.4. Pure functions of bytes.

use kiosk_device::{Action, Fault, Status, Supply};

use crate::state_of;

/// XON: send on.
const XON: u8 = 0x11;
/// XOFF: send no more for now.
const XOFF: u8 = 0x13;

/// One thing the printer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Answer to `DLE EOT n`; which `n` is known only to who asked.
    RealTime(u8),
    /// Automatic status back, four bytes.
    Automatic([u8; 4]),
    /// The process id of a finished job.
    ProcessId([u8; 4]),
    /// Custom's full status, the four bytes behind `10 0F`.
    Full([u8; 4]),
    /// Answer to `GS r 1`, when it was expected.
    PaperSensors(u8),
    /// XOFF: its buffer is full.
    Hold,
    /// XON: it takes bytes again.
    Release,
}

/// Cuts the printer's bytes into reports; noise is skipped and counted.
#[derive(Clone, Debug, Default)]
pub struct ReportParser {
    /// Beginning of a report of several bytes; never longer than seven bytes.
    pending: Vec<u8>,
    expects_paper_sensors: bool,
    noise: u32,
}

impl ReportParser {
    /// Takes one byte in; the report it completes, if any.
    pub fn push(&mut self, byte: u8) -> Option<Report> {
        let is_full_status = matches!(self.pending.as_slice(), [0x10, 0x0F, ..]);
        // Flow control may stand between any two bytes; only a full status may contain such bytes.
        match byte {
            XON if !is_full_status => return Some(Report::Release),
            XOFF if !is_full_status => return Some(Report::Hold),
            _ => {}
        }
        let started = self.pending.len();
        self.pending.push(byte);
        let report = match self.pending.as_slice() {
            [0x37, 0x22, id @ .., last] if id.len() == 4 => {
                let id = [id[0], id[1], id[2], id[3]];
                (*last == 0).then_some(Report::ProcessId(id))
            }
            &[0x10, 0x0F, paper, user, recoverable, unrecoverable] => {
                Some(Report::Full([paper, user, recoverable, unrecoverable]))
            }
            [0x37] | [0x37, 0x22, ..] | [0x10, 0x0F, ..] => return None,
            [first] if is_automatic_start(*first) => return None,
            [first] if is_real_time(*first) => Some(Report::RealTime(*first)),
            [first] if self.expects_paper_sensors && is_paper_sensors(*first) => {
                self.expects_paper_sensors = false;
                Some(Report::PaperSensors(*first))
            }
            [first, rest @ ..] if is_automatic_start(*first) && is_automatic_rest(rest) => {
                match *rest {
                    [second, third, fourth] => {
                        Some(Report::Automatic([*first, second, third, fourth]))
                    }
                    _ => return None,
                }
            }
            _ => None,
        };
        self.pending.clear();
        if report.is_none() {
            let lost = u32::try_from(started.max(1)).unwrap_or(u32::MAX);
            self.noise = self.noise.saturating_add(lost);
            if started > 0 {
                // The report broke off: the byte that broke it may begin the next one.
                return self.push(byte);
            }
        }
        report
    }

    /// True in the middle of a report.
    pub fn is_partial(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes the next byte that may be one for an answer to `GS r 1`. Such answers have few fixed
    /// bits, so that they are noise when nobody asked.
    pub fn expect_paper_sensors(&mut self) {
        self.expects_paper_sensors = true;
    }

    /// Bytes that belonged to no report, since the last call.
    pub fn take_noise(&mut self) -> u32 {
        std::mem::take(&mut self.noise)
    }
}

fn is_real_time(byte: u8) -> bool {
    byte & 0x93 == 0x12
}

fn is_automatic_start(byte: u8) -> bool {
    byte & 0x93 == 0x10
}

/// Bytes 2 to 4 of an automatic status. Bits 0 and 1 of byte 2 are fixed as well, which tells it
/// from a full status.
fn is_automatic_rest(rest: &[u8]) -> bool {
    rest.iter()
        .zip([0x93, 0x90, 0x90])
        .all(|(byte, fixed)| byte & fixed == 0)
}

/// Near end and out come in pairs of bits.
fn is_paper_sensors(byte: u8) -> bool {
    matches!(byte, 0x00 | 0x03 | 0x0C | 0x0F)
}

/// The condition of a slip printer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one status bit of the device, independent of the others"
)]
pub struct Condition {
    /// It does not print; the cause is in the other bits, if it tells.
    pub is_offline: bool,
    /// Cover open.
    pub is_cover_open: bool,
    /// Paper out.
    pub is_paper_out: bool,
    /// Paper near its end.
    pub is_paper_low: bool,
    /// The cutter is stuck.
    pub is_cutter_jammed: bool,
    /// Some other part moves wrongly.
    pub has_mechanical_error: bool,
    /// Only a technician mends it.
    pub has_unrecoverable_error: bool,
    /// It recovers by itself, for instance when the head has cooled.
    pub has_passing_error: bool,
    /// Somebody presses the feed button.
    pub is_feeding: bool,
    /// The supply voltage is outside its range.
    pub has_voltage_error: bool,
    /// The mark on the paper that it aligns to was not found.
    pub is_mark_missing: bool,
}

impl Condition {
    /// From the four answers to `10 04 01` … `10 04 04`.
    pub fn from_real_time(answers: [u8; 4]) -> Self {
        let [printer, offline, error, paper] = answers;
        Self {
            is_offline: printer & 0x08 != 0,
            is_cover_open: offline & 0x04 != 0,
            is_paper_out: paper & 0x60 != 0 || offline & 0x20 != 0,
            is_paper_low: paper & 0x0C != 0,
            has_mechanical_error: error & 0x04 != 0,
            is_cutter_jammed: error & 0x08 != 0,
            has_unrecoverable_error: error & 0x20 != 0,
            has_passing_error: error & 0x40 != 0,
            is_feeding: printer & 0x40 != 0 || offline & 0x08 != 0,
            ..Self::default()
        }
    }

    /// From one automatic status.
    pub fn from_automatic(bytes: [u8; 4]) -> Self {
        let [printer, error, paper, _] = bytes;
        Self {
            is_offline: printer & 0x08 != 0,
            is_cover_open: printer & 0x20 != 0,
            has_mechanical_error: error & 0x04 != 0,
            is_cutter_jammed: error & 0x08 != 0,
            has_unrecoverable_error: error & 0x20 != 0,
            has_passing_error: error & 0x40 != 0,
            is_paper_low: paper & 0x03 != 0,
            is_paper_out: paper & 0x0C != 0,
            is_feeding: printer & 0x40 != 0,
            ..Self::default()
        }
    }

    /// From the answer to `GS r 1`.
    pub fn from_paper_sensors(byte: u8) -> Self {
        Self {
            is_paper_low: byte & 0x03 != 0,
            is_paper_out: byte & 0x0C != 0,
            ..Self::default()
        }
    }

    /// From the status byte of a USB port (§5.5). Many boards always answer 18, so that nothing
    /// follows from its silence.
    pub fn from_port_status(byte: u8) -> Self {
        let is_paper_out = byte & 0x20 != 0;
        Self {
            is_paper_out,
            is_offline: byte & 0x10 == 0,
            has_mechanical_error: byte & 0x08 == 0 && !is_paper_out,
            ..Self::default()
        }
    }

    /// What either of the two says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            is_offline: self.is_offline || other.is_offline,
            is_cover_open: self.is_cover_open || other.is_cover_open,
            is_paper_out: self.is_paper_out || other.is_paper_out,
            is_paper_low: self.is_paper_low || other.is_paper_low,
            is_cutter_jammed: self.is_cutter_jammed || other.is_cutter_jammed,
            has_mechanical_error: self.has_mechanical_error || other.has_mechanical_error,
            has_unrecoverable_error: self.has_unrecoverable_error || other.has_unrecoverable_error,
            has_passing_error: self.has_passing_error || other.has_passing_error,
            is_feeding: self.is_feeding || other.is_feeding,
            has_voltage_error: self.has_voltage_error || other.has_voltage_error,
            is_mark_missing: self.is_mark_missing || other.is_mark_missing,
        }
    }

    /// What keeps it from printing, the most serious first.
    pub fn faults(self) -> Vec<Fault> {
        let table = [
            (
                self.has_unrecoverable_error,
                "printer.hardware-error",
                Action::Maintenance,
                "the printer reports an unrecoverable error",
            ),
            (
                self.is_cutter_jammed,
                "printer.cutter-jam",
                Action::Clear,
                "the cutter is stuck",
            ),
            (
                self.has_mechanical_error,
                "printer.mechanical-error",
                Action::Maintenance,
                "the printer reports a mechanical error",
            ),
            (
                self.is_cover_open,
                "printer.cover-open",
                Action::Clear,
                "the cover is open",
            ),
            (
                self.is_paper_out,
                "printer.media-empty",
                Action::Clear,
                "the paper ran out",
            ),
            (
                self.is_mark_missing,
                "printer.mark-missing",
                Action::Maintenance,
                "the mark on the paper was not found: wrong paper or a dirty sensor",
            ),
            (
                self.has_voltage_error,
                "printer.voltage",
                Action::Reset,
                "the supply voltage is outside its range",
            ),
            (
                self.has_passing_error,
                "printer.head-hot",
                Action::Reset,
                "an error that passes by itself, mostly a hot head",
            ),
            (
                self.is_feeding && self.is_offline,
                "printer.feed-button",
                Action::Reset,
                "somebody presses the feed button",
            ),
        ];
        let mut faults: Vec<Fault> = table
            .into_iter()
            .filter(|(is_set, ..)| *is_set)
            .map(|(_, code, action, detail)| Fault::new(code, action, detail))
            .collect();
        if faults.is_empty() && self.is_offline {
            faults.push(Fault::new(
                "printer.offline",
                Action::Maintenance,
                "the printer is off-line and does not say why",
            ));
        }
        faults
    }

    /// In the words of the supervisor.
    pub fn status(self) -> Status {
        let faults = self.faults();
        let paper = match (self.is_paper_out, self.is_paper_low) {
            (true, _) => Supply::Out,
            (false, true) => Supply::Low,
            (false, false) => Supply::Full,
        };
        Status {
            state: state_of(&faults),
            paper,
            faults,
            ..Status::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use kiosk_device::DeviceState;

    use super::*;

    fn reports(bytes: &[u8]) -> Vec<Report> {
        let mut parser = ReportParser::default();
        bytes.iter().filter_map(|byte| parser.push(*byte)).collect()
    }

    fn check_real_time(answers: [u8; 4], codes: &[&str], paper: Supply) {
        let status = Condition::from_real_time(answers).status();
        let found: Vec<&str> = status.faults.iter().map(|fault| fault.code).collect();
        assert_eq!((found.as_slice(), status.paper), (codes, paper));
    }

    #[test]
    fn real_time_answers_of_the_fact_sheet_are_understood() {
        check_real_time([0x12; 4], &[], Supply::Full);
        check_real_time(
            [0x1A, 0x32, 0x12, 0x7E],
            &["printer.media-empty"],
            Supply::Out,
        );
        check_real_time(
            [0x12, 0x12, 0x12, 0x72],
            &["printer.media-empty"],
            Supply::Out,
        );
        check_real_time([0x12, 0x12, 0x12, 0x1E], &[], Supply::Low);
        check_real_time(
            [0x1A, 0x16, 0x12, 0x12],
            &["printer.cover-open"],
            Supply::Full,
        );
        check_real_time(
            [0x1A, 0x52, 0x1A, 0x12],
            &["printer.cutter-jam"],
            Supply::Full,
        );
        check_real_time(
            [0x1A, 0x52, 0x52, 0x12],
            &["printer.head-hot"],
            Supply::Full,
        );
        check_real_time([0x1A, 0x12, 0x12, 0x12], &["printer.offline"], Supply::Full);
        let all = [
            "printer.hardware-error",
            "printer.cover-open",
            "printer.media-empty",
        ];
        check_real_time([0x1A, 0x36, 0x32, 0x7E], &all, Supply::Out);
    }

    #[test]
    fn automatic_status_of_the_fact_sheet_is_understood() {
        let check = |bytes, codes: &[&str]| {
            let faults = Condition::from_automatic(bytes).faults();
            assert_eq!(
                faults.iter().map(|fault| fault.code).collect::<Vec<_>>(),
                codes
            );
        };
        check([0x10, 0, 0, 0x0F], &[]);
        check([0x10, 0, 0, 0], &[]);
        check([0x18, 0, 0x0F, 0], &["printer.media-empty"]);
        check([0x38, 0, 0, 0], &["printer.cover-open"]);
        check([0x18, 0x08, 0, 0], &["printer.cutter-jam"]);
        assert!(Condition::from_automatic([0x10, 0, 0x03, 0]).is_paper_low);
    }

    #[test]
    fn faults_that_staff_can_clear_are_user_errors() {
        let state = |answers| Condition::from_real_time(answers).status().state;
        assert_eq!(state([0x12; 4]), DeviceState::Online);
        assert_eq!(state([0x1A, 0x16, 0x12, 0x12]), DeviceState::UserError);
        assert_eq!(state([0x1A, 0x52, 0x32, 0x12]), DeviceState::HardwareError);
        assert_eq!(state([0x1A, 0x12, 0x12, 0x12]), DeviceState::Offline);
    }

    #[test]
    fn three_kinds_of_reports_are_told_apart_in_one_stream() {
        assert_eq!(
            reports(&[
                0x12, 0x10, 0x00, 0x00, 0x0F, 0x1E, 0x37, 0x22, 0x30, 0x30, 0x31, 0x32, 0x00, 0x38,
                0x00, 0x00, 0x00, 0x16,
            ]),
            [
                Report::RealTime(0x12),
                Report::Automatic([0x10, 0, 0, 0x0F]),
                Report::RealTime(0x1E),
                Report::ProcessId(*b"0012"),
                Report::Automatic([0x38, 0, 0, 0]),
                Report::RealTime(0x16),
            ]
        );
    }

    #[test]
    fn noise_and_broken_reports_are_skipped() {
        assert_eq!(reports(&[0xFF, 0x00, 0x80, 0x12]), [Report::RealTime(0x12)]);
        assert_eq!(reports(&[0x18, 0x00, 0x16]), [Report::RealTime(0x16)]);
        assert_eq!(reports(&[0x37, 0x12]), [Report::RealTime(0x12)]);
        assert_eq!(
            reports(&[0x37, 0x22, 1, 2, 3, 4, 0x10, 0, 0, 0]),
            [Report::Automatic([0x10, 0, 0, 0])]
        );
    }

    #[test]
    fn flow_control_stands_between_any_two_bytes() {
        assert_eq!(
            reports(&[0x18, 0x13, 0x00, 0x0F, 0x11, 0x00]),
            [
                Report::Hold,
                Report::Release,
                Report::Automatic([0x18, 0, 0x0F, 0])
            ]
        );
    }

    #[test]
    fn a_full_status_is_no_automatic_status() {
        assert_eq!(
            reports(&[0x10, 0x0F, 0x21, 0x13, 0x00, 0x01, 0x10, 0x00, 0x00, 0x0F]),
            [
                Report::Full([0x21, 0x13, 0x00, 0x01]),
                Report::Automatic([0x10, 0, 0, 0x0F])
            ]
        );
    }

    #[test]
    fn paper_sensors_are_heard_only_when_they_were_asked_for() {
        let mut parser = ReportParser::default();
        assert_eq!(parser.push(0x0F), None);
        assert_eq!(parser.take_noise(), 1);
        parser.expect_paper_sensors();
        assert_eq!(parser.push(0x12), Some(Report::RealTime(0x12)));
        assert_eq!(parser.push(0x0C), Some(Report::PaperSensors(0x0C)));
        assert_eq!(parser.push(0x0C), None);
        assert_eq!(parser.take_noise(), 1);
        assert!(Condition::from_paper_sensors(0x0C).is_paper_out);
        assert!(Condition::from_paper_sensors(0x03).is_paper_low);
    }

    #[test]
    fn port_status_is_understood_as_far_as_it_goes() {
        let codes = |byte| {
            let faults = Condition::from_port_status(byte).faults();
            faults.iter().map(|fault| fault.code).collect::<Vec<_>>()
        };
        assert_eq!(codes(0x18), Vec::<&str>::new());
        assert_eq!(codes(0x38), ["printer.media-empty"]);
        assert_eq!(codes(0x30), ["printer.media-empty"]);
        assert_eq!(codes(0x10), ["printer.mechanical-error"]);
        assert_eq!(codes(0x08), ["printer.offline"]);
    }

    #[test]
    fn a_pressed_feed_button_passes_by_itself() {
        let faults = Condition::from_real_time([0x5A, 0x1A, 0x12, 0x12]).faults();
        assert_eq!(
            faults.iter().map(|fault| fault.code).collect::<Vec<_>>(),
            ["printer.feed-button"]
        );
        assert_eq!(faults[0].action, Action::Reset);
    }

    #[test]
    fn no_sequence_of_bytes_panics_or_piles_up() {
        let mut parser = ReportParser::default();
        let mut seed = 1_u32;
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            parser.push(seed.to_be_bytes()[0]);
            assert!(parser.pending.len() < 7);
        }
    }
}
