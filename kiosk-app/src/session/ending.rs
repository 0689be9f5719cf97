//! How the visit of an item ended, for the counts of the terminal: seen from where the visitor stood
//! when it ended. What stood in the way there is the cause, whoever ended the visit then: who walks
//! away from a broken printer was not merely slow.

use kiosk_device::DeviceClass;

use super::flow::REFUSED;
use super::{Page, Session};
use crate::event::{Cause, VisitEnd};

/// What comes before the dot in the codes of devices.
const DRIVERS: [&str; 10] = [
    "device",
    "id-card",
    "smart-card",
    "qr-scanner",
    "printer",
    "camera",
    "ups",
    "io-board",
    "signature-pad",
    "speaker",
];

/// Why a visit ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The visitor wants to, or is at the end of the item.
    OfOwnAccord,
    /// Nobody touched the glass any more.
    TimedOut,
    /// The visitor gives way to staff.
    ForStaff,
}

impl Session {
    /// How the visit has ended if it ends now.
    pub(super) fn end_now(&self, leaving: Leaving) -> VisitEnd {
        if self.visit.is_served || self.visit.commitment.is_some() {
            return VisitEnd::Completed;
        }
        if let Some(code) = self.stands_in_the_way() {
            return of_problem(code);
        }
        VisitEnd::Abandoned(match leaving {
            Leaving::OfOwnAccord => Cause::Canceled,
            Leaving::TimedOut => Cause::Timeout,
            Leaving::ForStaff => Cause::Closed,
        })
    }

    /// The problem on the present page that keeps the visitor from going on, by its code.
    fn stands_in_the_way(&self) -> Option<&'static str> {
        if let Page::Trouble { code, .. } | Page::PrintingPages { code, .. } = &self.page {
            return Some(*code).filter(|code| !code.is_empty());
        }
        if matches!(self.page, Page::Preview { .. }) {
            return self.device_obstacle(DeviceClass::PagePrinter);
        }
        let item = self.visit.item.as_deref();
        item.filter(|_| matches!(self.page, Page::Introduction))
            .and_then(|item| self.obstacle(item))
    }
}

/// How a visit has ended that ends at a problem.
fn of_problem(code: &str) -> VisitEnd {
    let class = code.split('.').next().unwrap_or_default();
    VisitEnd::Abandoned(match code {
        "session.suspended" | "session.closed" | "session.day-closed" => Cause::Closed,
        "session.not-eligible"
        | "session.not-known"
        | "session.no-witness"
        | "id-card.expired"
        | REFUSED => Cause::NotEligible,
        // One person in two roles: a mistake that only the visitor can mend.
        "session.same-person" => Cause::Canceled,
        "platform.unreachable"
        | "platform.slow"
        | "platform.cut"
        | "platform.busy"
        | "platform.not-now"
        | "platform.revoked" => Cause::Line,
        "session.test-failed" => Cause::Device,
        _ if DRIVERS.contains(&class) => Cause::Device,
        // The store, the documents, an answer that makes no sense.
        _ => return VisitEnd::Failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem;

    #[test]
    fn a_problem_is_counted_as_what_it_is() {
        for (code, end) in [
            ("printer.media-empty", VisitEnd::Abandoned(Cause::Device)),
            ("id-card.no-device", VisitEnd::Abandoned(Cause::Device)),
            ("session.test-failed", VisitEnd::Abandoned(Cause::Device)),
            ("id-card.expired", VisitEnd::Abandoned(Cause::NotEligible)),
            (REFUSED, VisitEnd::Abandoned(Cause::NotEligible)),
            ("platform.slow", VisitEnd::Abandoned(Cause::Line)),
            ("session.suspended", VisitEnd::Abandoned(Cause::Closed)),
            ("platform.server-error", VisitEnd::Failed),
            ("platform.seal-invalid", VisitEnd::Failed),
            ("queue.no-room", VisitEnd::Failed),
            ("document.template", VisitEnd::Failed),
        ] {
            assert_eq!(of_problem(code), end, "{code}");
            assert!(problem::codes().any(|known| known == code), "{code}");
        }
    }

    #[test]
    fn every_driver_reports_problems_of_devices() {
        for class in [
            DeviceClass::IdCard,
            DeviceClass::SmartCard,
            DeviceClass::QrScanner,
            DeviceClass::Camera,
            DeviceClass::Ups,
            DeviceClass::IoBoard,
            DeviceClass::SignaturePad,
            DeviceClass::Speaker,
        ] {
            let code = format!("{}.no-device", class.name());
            let device = VisitEnd::Abandoned(Cause::Device);
            assert_eq!(of_problem(&code), device, "{code}");
        }
    }
}
