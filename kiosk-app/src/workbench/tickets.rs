//! From a fault to a ticket and from a passed test to its mending. A fault of a device opens a ticket
//! when it lasts, a failed test at once; the same test, passed, mends it. Who acts first and how soon
//! follows from the action of the problem.

use std::collections::BTreeMap;
use std::time::Duration;

use offline_cache::{
    Cache, CacheError, Level, NewTicket, Sla, TestRecord, Ticket, TicketAct, Verdict,
};
use uuid::Uuid;

use crate::clock::Moment;
use crate::platform::DeviceVitals;
use crate::problem;
use crate::queue;
use crate::selftest::{self, Outcome};

/// A fault that is gone sooner opens no ticket. Chosen: paper is changed and a plug pushed back
/// within minutes, and a device that restarts takes one.
const LASTING: Duration = Duration::from_mins(5);
/// How often the devices are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Open tickets that are looked through.
const TICKETS_MAX: u32 = 1000;
/// A failure of a test that names no problem.
const TEST_FAILED: &str = "maintenance.test-failed";

const fn hours(respond: u64, repair: u64) -> Sla {
    Sla {
        respond: Duration::from_hours(respond),
        repair: Duration::from_hours(repair),
    }
}

/// Paper, a jam, a cover: whoever is in the house sees to it on the same day. Chosen.
const VILLAGE: Sla = hours(4, 24);
/// A technician of the town: the next working day, and three days with a weekend between. Chosen.
const TOWN: Sla = hours(24, 72);
/// A setting is changed from afar; nobody drives. Chosen.
const CITY: Sla = hours(24, 48);
/// Tampering is suspected, or a part has to come from the maker: looked at within a day, two weeks
/// for the part. Chosen.
const VENDOR: Sla = hours(24, 14 * 24);

/// Who acts first on a problem of this action, and how soon; `None` where the machine mends it itself.
pub fn level_of(action: &str) -> Option<(Level, Sla)> {
    match action {
        "reset" => None,
        "clear" => Some((Level::Village, VILLAGE)),
        "configuration" => Some((Level::City, CITY)),
        "suspend" => Some((Level::Vendor, VENDOR)),
        // An action that is not known is for somebody who looks.
        _ => Some((Level::Town, TOWN)),
    }
}

/// Watches how long faults last.
#[derive(Debug, Default)]
pub(super) struct TicketWatch {
    /// By device and code.
    faults: BTreeMap<(String, String), Lasting>,
    /// When the devices are looked at next, on the monotonic clock.
    look_at: Duration,
}

#[derive(Debug)]
struct Lasting {
    since: Duration,
    is_told: bool,
}

impl TicketWatch {
    /// True when it is time to look.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        now.uptime >= self.look_at
    }

    /// Opens tickets for faults that have lasted; each once for as long as it lasts.
    pub(super) fn look(
        &mut self,
        devices: &[DeviceVitals],
        cache: &mut Cache,
        now: Moment,
    ) -> Result<(), CacheError> {
        self.look_at = now.uptime + LOOK_INTERVAL;
        let mut seen = BTreeMap::new();
        for device in devices {
            for code in &device.faults {
                let key = (device.id.clone(), code.clone());
                let mut fault = self.faults.remove(&key).unwrap_or(Lasting {
                    since: now.uptime,
                    is_told: false,
                });
                let has_lasted = now.uptime.saturating_sub(fault.since) >= LASTING;
                if has_lasted && !fault.is_told {
                    open_for_fault(cache, device, code, now)?;
                    fault.is_told = true;
                }
                seen.insert(key, fault);
            }
        }
        self.faults = seen;
        Ok(())
    }
}

fn open_for_fault(
    cache: &mut Cache,
    device: &DeviceVitals,
    code: &str,
    now: Moment,
) -> Result<(), CacheError> {
    let action = &problem::get(code).action;
    let Some((level, sla)) = level_of(action) else {
        return Ok(());
    };
    let new = NewTicket {
        device: device.id.clone(),
        class: device.class.clone(),
        code: code.to_owned(),
        action: action.clone(),
        level,
        sla,
        before: None,
    };
    let (ticket, is_new) = cache.open_ticket(&new, now.at)?;
    if is_new {
        tracing::warn!(
            number = ticket.number,
            device = ticket.device,
            code,
            "ticket opened"
        );
    }
    Ok(())
}

/// What the recording of an outcome changed.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Its record.
    pub record: Uuid,
    /// The ticket of a failure.
    pub opened: Option<Ticket>,
    /// The tickets that it proves to be mended.
    pub mended: Vec<Ticket>,
}

/// Keeps the outcome of a guided test, opens or finds the ticket of a failure, and mends the tickets
/// that a passed test proves to be mended: those that the same test had opened, and those of faults
/// that the device does not have any more. `class` is that of the device, empty for the machine;
/// `faults` are the codes that the device has now.
///
/// # Errors
/// The store fails or refuses the texts.
pub fn record(
    cache: &mut Cache,
    outcome: &Outcome,
    class: &str,
    faults: &[String],
    by: &str,
    now: Moment,
) -> Result<Recorded, CacheError> {
    let open: Vec<Ticket> = cache
        .tickets(true, TICKETS_MAX)?
        .into_iter()
        // One that is mended waits only to be closed.
        .filter(|ticket| ticket.device == outcome.device && ticket.state.is_open())
        .collect();
    let code = if outcome.problem.is_empty() {
        TEST_FAILED
    } else {
        &outcome.problem
    };
    let proven = proven(&open, outcome, faults);
    let is_failed = outcome.verdict == selftest::Verdict::Failed;
    let known = open.iter().find(|ticket| is_failed && ticket.code == code);
    let record = TestRecord {
        id: queue::mint(now),
        test: outcome.test.clone(),
        device: outcome.device.clone(),
        verdict: stored(outcome.verdict),
        figures: outcome.figures.clone(),
        problem: outcome.problem.clone(),
        by: by.to_owned(),
        at: now.at,
        took_ms: outcome.took_ms,
        ticket: proven.first().copied().or(known.map(|ticket| ticket.id)),
    };
    cache.record_test(&record, now.at)?;
    let mut recorded = Recorded {
        record: record.id,
        ..Recorded::default()
    };
    if is_failed {
        let action = &problem::get(code).action;
        // A machine that mends this itself has not done so: somebody looks.
        let (level, sla) = level_of(action).unwrap_or((Level::Town, TOWN));
        let new = NewTicket {
            device: outcome.device.clone(),
            class: class.to_owned(),
            code: code.to_owned(),
            action: action.clone(),
            level,
            sla,
            before: Some(record.id),
        };
        recorded.opened = Some(cache.open_ticket(&new, now.at)?.0);
    }
    for id in proven {
        let mend = TicketAct::Mend { test: record.id };
        recorded
            .mended
            .push(cache.ticket_act(id, &mend, by, now.at)?);
    }
    Ok(recorded)
}

/// The tickets that a passed test proves to be mended.
fn proven(open: &[Ticket], outcome: &Outcome, faults: &[String]) -> Vec<Uuid> {
    if outcome.verdict != selftest::Verdict::Passed {
        return Vec::new();
    }
    let is_proof = |ticket: &&Ticket| match &ticket.before {
        Some(before) => before.test == outcome.test,
        None => !faults.contains(&ticket.code),
    };
    let proven = open.iter().filter(is_proof);
    proven.map(|ticket| ticket.id).collect()
}

/// A verdict in the words of the store.
fn stored(verdict: selftest::Verdict) -> Verdict {
    match verdict {
        selftest::Verdict::Passed => Verdict::Passed,
        selftest::Verdict::Failed => Verdict::Failed,
        selftest::Verdict::Skipped => Verdict::Skipped,
        selftest::Verdict::Canceled => Verdict::Canceled,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use offline_cache::TicketState;

    use super::*;

    fn at(second: u64) -> Moment {
        Moment {
            at: Timestamp::from_second(1_795_311_660 + i64::try_from(second).unwrap()).unwrap(),
            uptime: Duration::from_secs(second),
        }
    }

    fn cache() -> (tempfile::TempDir, Cache) {
        let directory = tempfile::tempdir().unwrap();
        let options = offline_cache::Options {
            terminal: "T001".to_owned(),
            ..offline_cache::Options::default()
        };
        let (cache, _) = Cache::open_with(directory.path(), &options, at(0).at).unwrap();
        (directory, cache)
    }

    fn printer(faults: &[&str]) -> Vec<DeviceVitals> {
        vec![DeviceVitals {
            id: "slips".to_owned(),
            class: "slip-printer".to_owned(),
            state: "user-error".to_owned(),
            faults: faults.iter().map(|code| (*code).to_owned()).collect(),
        }]
    }

    fn outcome(verdict: selftest::Verdict, problem: &str) -> Outcome {
        Outcome {
            test: "slip-printer.pattern".to_owned(),
            device: "slips".to_owned(),
            verdict,
            figures: BTreeMap::new(),
            problem: problem.to_owned(),
            took_ms: 1200,
        }
    }

    #[test]
    fn a_fault_opens_one_ticket_when_it_has_lasted_five_minutes() {
        let (_directory, mut cache) = cache();
        let mut watch = TicketWatch::default();
        let faulty = printer(&["printer.media-empty"]);
        for second in (0..300).step_by(15) {
            watch.look(&faulty, &mut cache, at(second)).unwrap();
        }
        assert!(cache.tickets(true, 10).unwrap().is_empty());
        // It went away for a moment: the time begins anew.
        watch.look(&printer(&[]), &mut cache, at(300)).unwrap();
        for second in (315..=630).step_by(15) {
            watch.look(&faulty, &mut cache, at(second)).unwrap();
        }
        let tickets = cache.tickets(true, 10).unwrap();
        assert_eq!(tickets.len(), 1);
        assert_eq!(
            (tickets[0].times_seen, tickets[0].level),
            (1, Level::Village)
        );
        assert!(!watch.is_due(at(640)) && watch.is_due(at(645)));
    }

    #[test]
    fn what_the_machine_mends_itself_opens_no_ticket() {
        let (_directory, mut cache) = cache();
        let mut watch = TicketWatch::default();
        let faulty = printer(&["device.starting"]);
        for second in [0, 301, 602] {
            watch.look(&faulty, &mut cache, at(second)).unwrap();
        }
        assert!(cache.tickets(true, 10).unwrap().is_empty());
        assert_eq!(level_of("suspend").unwrap().0, Level::Vendor);
        assert_eq!(level_of("configuration").unwrap().0, Level::City);
        assert_eq!(level_of("something new").unwrap().0, Level::Town);
    }

    #[test]
    fn a_failed_test_opens_a_ticket_and_the_same_test_mends_it() {
        let (_directory, mut cache) = cache();
        let failed = outcome(selftest::Verdict::Failed, "printer.cover-open");
        let recorded = record(&mut cache, &failed, "slip-printer", &[], "tech", at(1)).unwrap();
        let ticket = recorded.opened.unwrap();
        assert_eq!(ticket.before.unwrap().id, recorded.record);
        // Another test of the device proves nothing about it.
        let other = Outcome {
            test: "slip-printer.other".to_owned(),
            ..outcome(selftest::Verdict::Passed, "")
        };
        let recorded = record(&mut cache, &other, "slip-printer", &[], "tech", at(2)).unwrap();
        assert!(recorded.mended.is_empty());
        let passed = outcome(selftest::Verdict::Passed, "");
        let recorded = record(&mut cache, &passed, "slip-printer", &[], "tech", at(3)).unwrap();
        assert_eq!(recorded.mended.len(), 1);
        let mended = cache.ticket(ticket.id).unwrap();
        assert_eq!(mended.state, TicketState::Mended);
        assert_eq!(mended.after.unwrap().id, recorded.record);
    }

    #[test]
    fn a_ticket_of_a_fault_is_mended_by_a_passed_test_only_when_the_fault_is_gone() {
        let (_directory, mut cache) = cache();
        let mut watch = TicketWatch::default();
        let faulty = printer(&["printer.media-empty"]);
        watch.look(&faulty, &mut cache, at(0)).unwrap();
        watch.look(&faulty, &mut cache, at(301)).unwrap();
        let passed = outcome(selftest::Verdict::Passed, "");
        let still = ["printer.media-empty".to_owned()];
        let recorded = record(&mut cache, &passed, "slip-printer", &still, "tech", at(400));
        assert!(recorded.unwrap().mended.is_empty());
        let recorded = record(&mut cache, &passed, "slip-printer", &[], "tech", at(500));
        assert_eq!(recorded.unwrap().mended.len(), 1);
        assert!(cache.tickets(true, 10).unwrap().is_empty());
        let tickets = cache.tickets(false, 10).unwrap();
        assert_eq!(tickets[0].state, TicketState::Mended);
        // Another test of it is on record and changes nothing about the ticket.
        let recorded = record(&mut cache, &passed, "slip-printer", &[], "tech", at(600));
        assert!(recorded.unwrap().mended.is_empty());
    }

    #[test]
    fn skipped_and_canceled_tests_change_no_ticket_and_a_failure_without_a_code_has_one() {
        let (_directory, mut cache) = cache();
        for verdict in [selftest::Verdict::Skipped, selftest::Verdict::Canceled] {
            let recorded = record(&mut cache, &outcome(verdict, ""), "", &[], "tech", at(1));
            assert!(recorded.unwrap().opened.is_none());
        }
        let failed = outcome(selftest::Verdict::Failed, "");
        let recorded = record(&mut cache, &failed, "slip-printer", &[], "tech", at(2)).unwrap();
        assert_eq!(recorded.opened.unwrap().code, TEST_FAILED);
    }
}
