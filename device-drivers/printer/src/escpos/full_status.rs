//! The full status of Custom's kiosk printers (`10 04 14`; `device-protocols.md` §5.4): what no
//! other status tells, above all whether a slip lies in the output and whether the motor still runs.

use kiosk_device::Media;

use super::status::Condition;

/// The four status bytes behind `10 0F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullStatus {
    paper: u8,
    user: u8,
    recoverable: u8,
    unrecoverable: u8,
}

impl FullStatus {
    /// From the bytes of a [`super::Report::Full`].
    pub fn from_bytes(bytes: [u8; 4]) -> Self {
        let [paper, user, recoverable, unrecoverable] = bytes;
        Self {
            paper,
            user,
            recoverable,
            unrecoverable,
        }
    }

    /// What is wrong, in the words all dialects share.
    pub fn condition(self) -> Condition {
        Condition {
            is_paper_out: self.paper & 0x01 != 0,
            // The virtual paper end is a number of slips that staff chose.
            is_paper_low: self.paper & 0x44 != 0,
            is_mark_missing: self.paper & 0x80 != 0 || self.recoverable & 0x80 != 0,
            is_cover_open: self.user & 0x03 != 0 || self.unrecoverable & 0x02 != 0,
            is_feeding: self.user & 0x60 != 0,
            has_passing_error: self.recoverable & 0x01 != 0,
            has_voltage_error: self.recoverable & 0x08 != 0,
            is_cutter_jammed: self.unrecoverable & 0x01 != 0,
            has_unrecoverable_error: self.unrecoverable & 0x0C != 0,
            ..Condition::default()
        }
    }

    /// Whether a slip lies in the output.
    pub fn media(self) -> Media {
        if self.paper & 0x20 != 0 {
            Media::Present
        } else {
            Media::NotPresent
        }
    }

    /// True while data waits or the motor runs.
    pub fn is_busy(self) -> bool {
        self.user & 0x0C != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: [u8; 4], codes: &[&str]) {
        let faults = FullStatus::from_bytes(bytes).condition().faults();
        let found: Vec<&str> = faults.iter().map(|fault| fault.code).collect();
        assert_eq!(found, codes, "{bytes:02X?}");
    }

    #[test]
    fn every_bit_of_the_fact_sheet_has_its_meaning() {
        check([0; 4], &[]);
        check([0x01, 0, 0, 0], &["printer.media-empty"]);
        check([0x04, 0, 0, 0], &[]);
        check([0x20, 0x0C, 0, 0], &[]);
        check([0x80, 0, 0, 0], &["printer.mark-missing"]);
        check([0, 0x01, 0, 0], &["printer.cover-open"]);
        check([0, 0x02, 0, 0], &["printer.cover-open"]);
        check([0, 0, 0x01, 0], &["printer.head-hot"]);
        check([0, 0, 0x08, 0], &["printer.voltage"]);
        check([0, 0, 0x22, 0], &[]);
        check([0, 0, 0, 0x01], &["printer.cutter-jam"]);
        check([0, 0, 0, 0x02], &["printer.cover-open"]);
        check([0, 0, 0, 0x04], &["printer.hardware-error"]);
        check([0, 0, 0, 0x08], &["printer.hardware-error"]);
    }

    #[test]
    fn the_slip_in_the_output_and_the_motor_are_known() {
        let media = |paper| FullStatus::from_bytes([paper, 0, 0, 0]).media();
        assert_eq!(
            (media(0x20), media(0x04)),
            (Media::Present, Media::NotPresent)
        );
        let is_busy = |user| FullStatus::from_bytes([0, user, 0, 0]).is_busy();
        assert!(is_busy(0x04) && is_busy(0x08) && !is_busy(0x03));
    }
}
