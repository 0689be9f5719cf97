//! A run through the whole interface of this directory, for the record of statements.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::{
    DailyCheck, DailyKind, Guard, Level, NewTicket, Part, Sla, TestRecord, TicketAct, Verdict,
};
use crate::cache::tests::at;
use crate::{Cache, NewAudit};

fn record(number: u128, verdict: Verdict) -> TestRecord {
    TestRecord {
        id: Uuid::from_u128(number),
        test: "print".to_owned(),
        device: "slip-printer".to_owned(),
        verdict,
        figures: BTreeMap::new(),
        problem: String::new(),
        by: "tech-3".to_owned(),
        at: at(0),
        took_ms: 1,
        ticket: None,
    }
}

/// A fault from its first sight to its end.
fn use_tickets(cache: &mut Cache) {
    let failed = record(1, Verdict::Failed);
    cache.record_test(&failed, at(0)).unwrap();
    let fault = NewTicket {
        device: failed.device.clone(),
        class: "printer".to_owned(),
        code: "printer.media-jam".to_owned(),
        action: "clear-nearest".to_owned(),
        level: Level::Village,
        sla: Sla {
            respond: Duration::from_hours(1),
            repair: Duration::from_hours(1),
        },
        before: Some(failed.id),
    };
    let (ticket, _) = cache.open_ticket(&fault, at(0)).unwrap();
    cache.open_ticket(&fault, at(0)).unwrap();
    let passed = record(2, Verdict::Passed);
    cache.record_test(&passed, at(0)).unwrap();
    let part = Part {
        what: "head".to_owned(),
        old_serial: String::new(),
        new_serial: String::new(),
    };
    let mend = TicketAct::Mend { test: passed.id };
    for act in [
        TicketAct::Acknowledge,
        TicketAct::Note("x".to_owned()),
        TicketAct::Replace(part),
        mend,
        TicketAct::Close,
    ] {
        cache.ticket_act(ticket.id, &act, "tech-3", at(0)).unwrap();
    }
    cache.open_ticket(&fault, at(1)).unwrap();
    cache.tickets(true, 9).unwrap();
    cache.tickets(false, 9).unwrap();
    cache.ticket(ticket.id).unwrap();
    cache.tickets_unreported(9).unwrap();
    cache.ticket_reported(ticket.id, 1).unwrap();
    cache.latest_tests().unwrap();
    cache.tests_of("slip-printer", 9).unwrap();
}

/// Everything that a technician leaves.
pub(crate) fn use_the_technician(cache: &mut Cache) {
    use_tickets(cache);
    cache.replenish("p", "page", 1, "tech-3", at(0)).unwrap();
    cache.consumables().unwrap();
    let entry = NewAudit {
        kind: "staff.unlock.refused".to_owned(),
        actor: "terminal".to_owned(),
        subject: None,
        transaction: None,
        detail: "{}".to_owned(),
    };
    cache
        .set_unlock_guard(&Guard::default(), &entry, at(0))
        .unwrap();
    cache.unlock_guard().unwrap();
    cache.grant_used(Uuid::from_u128(1), at(0)).unwrap();
    let check = DailyCheck {
        id: Uuid::from_u128(1),
        by: "village-1".to_owned(),
        at: at(0),
        answers: BTreeMap::new(),
        note: String::new(),
        kind: DailyKind::Open,
    };
    cache.record_daily(&check, at(0)).unwrap();
    cache.daily_checks(9).unwrap();
    cache
        .set_calibration("touch", "1", "tech-3", at(0))
        .unwrap();
    cache.calibration("touch").unwrap();
    cache.calibrations().unwrap();
}
