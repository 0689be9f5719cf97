//! What an ESC/POS printer says about itself: real-time status (`DLE EOT n`), automatic status back
//! (`GS a n`) and process-id echoes (`GS ( H`), told apart in one stream of bytes.
//!
//! Source: `device-protocols.md` §5.2 and §5.3. Pure functions of bytes.

use kiosk_device::{Action, Fault, Status, Supply};

use crate::state_of;

/// One thing the printer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Answer to `DLE EOT n`; which `n` is known only to who asked.
    RealTime(u8),
    /// Automatic status back, four bytes.
    Automatic([u8; 4]),
    /// The process id of a finished job.
    ProcessId([u8; 4]),
}

/// Cuts the printer's bytes into reports; noise is skipped.
#[derive(Clone, Debug, Default)]
pub struct ReportParser {
    /// Beginning of a report of several bytes; never longer than seven bytes.
    pending: Vec<u8>,
}

impl ReportParser {
    /// Takes one byte in; the report it completes, if any.
    pub fn push(&mut self, byte: u8) -> Option<Report> {
        let is_started = !self.pending.is_empty();
        self.pending.push(byte);
        let report = match self.pending.as_slice() {
            [0x37, 0x22, id @ .., last] if id.len() == 4 => {
                let id = [id[0], id[1], id[2], id[3]];
                (*last == 0).then_some(Report::ProcessId(id))
            }
            [0x37] | [0x37, 0x22, ..] => return None,
            [first] if is_automatic_start(*first) => return None,
            [first] if is_real_time(*first) => Some(Report::RealTime(*first)),
            [first, rest @ ..]
                if is_automatic_start(*first) && rest.iter().all(|b| b & 0x90 == 0) =>
            {
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
        if report.is_none() && is_started {
            // The report broke off: the byte that broke it may begin the next one.
            return self.push(byte);
        }
        report
    }

    /// True in the middle of a report.
    pub fn is_partial(&self) -> bool {
        !self.pending.is_empty()
    }
}

fn is_real_time(byte: u8) -> bool {
    byte & 0x93 == 0x12
}

fn is_automatic_start(byte: u8) -> bool {
    byte & 0x93 == 0x10
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
                self.has_passing_error,
                "printer.head-hot",
                Action::Reset,
                "an error that passes by itself, mostly a hot head",
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
        assert_eq!(
            reports(&[0xFF, 0x00, 0x11, 0x13, 0x12]),
            [Report::RealTime(0x12)]
        );
        assert_eq!(reports(&[0x18, 0x00, 0x16]), [Report::RealTime(0x16)]);
        assert_eq!(reports(&[0x37, 0x12]), [Report::RealTime(0x12)]);
        assert_eq!(
            reports(&[0x37, 0x22, 1, 2, 3, 4, 0x10, 0, 0, 0]),
            [Report::Automatic([0x10, 0, 0, 0])]
        );
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
