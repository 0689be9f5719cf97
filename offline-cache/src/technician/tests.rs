//! The promises of what a technician leaves: durable, bounded, in the log, forgotten in time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::date;
use kiosk_sealing::audit::verify;

use super::*;
use crate::cache::tests::{Scratch, at, scratch};
use crate::{Cache, DiaryCount, NewAudit};

const DAY_S: i64 = 24 * 60 * 60;

fn record(number: u128, test: &str, device: &str) -> TestRecord {
    TestRecord {
        id: Uuid::from_u128(number),
        test: test.to_owned(),
        device: device.to_owned(),
        verdict: Verdict::Passed,
        figures: BTreeMap::from([("darkness".to_owned(), "0.93".to_owned())]),
        problem: String::new(),
        by: "tech-3".to_owned(),
        at: at(7),
        took_ms: 1200,
        ticket: None,
    }
}

fn fault(device: &str) -> NewTicket {
    NewTicket {
        device: device.to_owned(),
        class: String::new(),
        code: "printer.io".to_owned(),
        action: String::new(),
        level: Level::Town,
        sla: Sla {
            respond: Duration::from_hours(1),
            repair: Duration::from_hours(2),
        },
        before: None,
    }
}

fn check(number: u128, kind: DailyKind) -> DailyCheck {
    DailyCheck {
        id: Uuid::from_u128(number),
        by: "village-1".to_owned(),
        at: at(5),
        answers: BTreeMap::from([("paper".to_owned(), true), ("clean".to_owned(), false)]),
        note: "屏幕有划痕".to_owned(),
        kind,
    }
}

fn entry(kind: &str) -> NewAudit {
    NewAudit {
        kind: kind.to_owned(),
        actor: "tech-3".to_owned(),
        subject: None,
        transaction: None,
        detail: "{}".to_owned(),
    }
}

fn kinds(cache: &Cache) -> Vec<String> {
    let entries = cache.audit_entries(0, 10_000).unwrap();
    entries.into_iter().map(|(entry, _)| entry.kind).collect()
}

/// Lets the days go by as they do in a terminal that is on.
fn live(scratch: &mut Scratch, from_day: i64, to_day: i64) {
    for day in from_day..=to_day {
        scratch.cache.purge(at(day * DAY_S)).unwrap();
    }
}

#[test]
fn the_newest_outcome_of_each_test_is_shown_after_a_restart() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let rows = [
        record(1, "print", "slip-printer"),
        record(2, "print", "report-printer"),
        record(3, "disk", ""),
        record(4, "print", "slip-printer"),
    ];
    for row in &rows {
        // The clock runs back all the while.
        cache.record_test(row, at(0)).unwrap();
    }
    let scratch = scratch.reopen();
    let latest = scratch.cache.latest_tests().unwrap();
    assert_eq!(latest, [rows[2].clone(), rows[1].clone(), rows[3].clone()]);
    let of = scratch.cache.tests_of("slip-printer", 9).unwrap();
    assert_eq!(of, [rows[3].clone(), rows[0].clone()]);
    assert_eq!(scratch.cache.tests_of("slip-printer", 1).unwrap().len(), 1);
}

#[test]
fn a_record_is_written_once() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let mut row = record(1, "print", "slip-printer");
    row.at = Timestamp::from_nanosecond(1_795_000_000_123_456_789).unwrap();
    cache.record_test(&row, at(0)).unwrap();
    cache.record_test(&row, at(9)).unwrap();
    assert_eq!(kinds(cache), ["check.recorded"]);
    row.verdict = Verdict::Failed;
    let error = cache.record_test(&row, at(9)).unwrap_err();
    assert_eq!(error.code(), "maintenance.record-differs");
    row.id = Uuid::from_u128(2);
    row.ticket = Some(Uuid::from_u128(77));
    let error = cache.record_test(&row, at(9)).unwrap_err();
    assert_eq!(error.code(), "maintenance.unknown-ticket");
    let (ticket, _) = cache.open_ticket(&fault("slip-printer"), at(9)).unwrap();
    row.ticket = Some(ticket.id);
    cache.record_test(&row, at(9)).unwrap();

    let daily = check(1, DailyKind::Open);
    cache.record_daily(&daily, at(0)).unwrap();
    cache.record_daily(&daily, at(1)).unwrap();
    let error = cache
        .record_daily(&check(1, DailyKind::Close), at(1))
        .unwrap_err();
    assert_eq!(error.code(), "maintenance.record-differs");
    cache
        .record_daily(&check(2, DailyKind::Close), at(1))
        .unwrap();
    let scratch = scratch.reopen();
    let checks = scratch.cache.daily_checks(9).unwrap();
    assert_eq!(checks, [check(2, DailyKind::Close), daily]);
    assert!(!format!("{checks:?}").contains("划痕"));
}

#[test]
fn what_is_beyond_its_bounds_is_refused_and_leaves_no_entry() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let long = "x".repeat(65);
    let changes: [&dyn Fn(&mut TestRecord); 7] = [
        &|row| row.test.clear(),
        &|row| row.test.clone_from(&long),
        &|row| row.device.clone_from(&long),
        &|row| row.problem = "a\tb".to_owned(),
        &|row| row.by.clear(),
        &|row| row.took_ms = u64::MAX,
        &|row| {
            row.figures.insert("x".to_owned(), "长".repeat(1400));
        },
    ];
    for change in changes {
        let mut row = record(1, "print", "slip-printer");
        change(&mut row);
        let error = cache.record_test(&row, at(0)).unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }
    let mut daily = check(1, DailyKind::Open);
    daily.note = "长".repeat(400);
    assert!(cache.record_daily(&daily, at(0)).is_err());
    daily = check(1, DailyKind::Open);
    daily.answers = (0..1000).map(|number| (number.to_string(), true)).collect();
    assert!(cache.record_daily(&daily, at(0)).is_err());
    for (what, json) in [
        ("", "1"),
        (long.as_str(), "1"),
        ("touch", ""),
        ("touch", "{"),
        ("touch", &format!("\"{}\"", "x".repeat(16_384))),
        ("touch", &"[".repeat(10_000)),
    ] {
        let error = cache
            .set_calibration(what, json, "tech-3", at(0))
            .unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }
    assert!(cache.replenish("", "page", 1, "x", at(0)).is_err());
    assert!(cache.replenish("p", "page", u64::MAX, "x", at(0)).is_err());
    assert!(cache.replenish("p", "page", 1, "", at(0)).is_err());
    assert_eq!(kinds(cache), [""; 0]);
}

fn print(cache: &mut Cache, day: i8, count: u64) {
    let count = DiaryCount {
        device: "slip-printer".to_owned(),
        day: date(2026, 11, day),
        what: "page".to_owned(),
        count,
    };
    cache.diary_add(&[count]).unwrap();
}

#[test]
fn what_was_used_is_counted_from_the_filling_on() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    print(cache, 20, 70);
    cache
        .replenish("slip-printer", "page", 500, "village-1", at(0))
        .unwrap();
    cache
        .replenish("report-printer", "page", 100, "village-1", at(0))
        .unwrap();
    let used = |cache: &Cache| -> Vec<u64> {
        let all = cache.consumables().unwrap();
        all.iter().map(|each| each.used_since).collect()
    };
    assert_eq!(used(cache), [0, 0]);
    print(cache, 20, 5);
    // The clock has gone back: it counts all the same.
    print(cache, 2, 7);
    assert_eq!(used(cache), [0, 12]);
    let mut scratch = scratch.reopen();
    let cache = &mut scratch.cache;
    cache
        .replenish("slip-printer", "page", 400, "village-2", at(9))
        .unwrap();
    print(cache, 21, 3);
    let all = cache.consumables().unwrap();
    let expected = Consumable {
        device: "slip-printer".to_owned(),
        what: "page".to_owned(),
        amount: 400,
        used_since: 3,
        at: at(9),
        by: "village-2".to_owned(),
    };
    assert_eq!(all[1], expected);
    assert_eq!(kinds(cache), ["counter.replenished"; 3]);
}

#[test]
fn what_the_diary_forgets_is_not_missed_in_what_was_used() {
    let mut scratch = scratch();
    print(&mut scratch.cache, 18, 70);
    scratch
        .cache
        .replenish("slip-printer", "page", 500, "village-1", at(0))
        .unwrap();
    print(&mut scratch.cache, 18, 5);
    live(&mut scratch, 1, 600);
    let late = DiaryCount {
        device: "slip-printer".to_owned(),
        day: date(2028, 7, 1),
        what: "page".to_owned(),
        count: 9,
    };
    scratch
        .cache
        .diary_add(std::slice::from_ref(&late))
        .unwrap();
    assert_eq!(scratch.cache.consumables().unwrap()[0].used_since, 14);
    live(&mut scratch, 601, 2 * 366 + 9);
    assert_eq!(scratch.cache.diary(date(2026, 1, 1)).unwrap().len(), 1);
    // The 75 of before are gone; what is still counted is the nine of since.
    assert_eq!(scratch.cache.consumables().unwrap()[0].used_since, 9);
}

#[test]
fn the_lock_out_survives_a_restart_and_no_number_runs_back() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    assert_eq!(cache.unlock_guard().unwrap(), Guard::default());
    let guard = Guard {
        failures: 5,
        wait_s: 900,
        boots: 3,
        counter: u32::MAX,
    };
    cache
        .set_unlock_guard(&guard, &entry("staff.unlock.refused"), at(0))
        .unwrap();
    let mut scratch = scratch.reopen();
    let cache = &mut scratch.cache;
    assert_eq!(cache.unlock_guard().unwrap(), guard);
    for back in [
        Guard { boots: 2, ..guard },
        Guard {
            counter: 9,
            ..guard
        },
    ] {
        let error = cache
            .set_unlock_guard(&back, &entry("staff.unlock.ended"), at(1))
            .unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }
    let free = Guard {
        failures: 0,
        wait_s: 0,
        ..guard
    };
    assert!(cache.set_unlock_guard(&free, &entry(""), at(1)).is_err());
    assert_eq!(cache.unlock_guard().unwrap(), guard);
    cache
        .set_unlock_guard(&free, &entry("staff.unlock.granted"), at(2))
        .unwrap();
    assert_eq!(
        kinds(cache),
        ["staff.unlock.refused", "staff.unlock.granted"]
    );
}

#[test]
fn a_grant_opens_once_and_a_restart_changes_nothing_of_that() {
    let mut scratch = scratch();
    let id = Uuid::from_u128(1);
    assert!(scratch.cache.grant_used(id, at(0)).unwrap());
    assert!(!scratch.cache.grant_used(id, at(0)).unwrap());
    let mut scratch = scratch.reopen();
    assert!(
        !scratch
            .cache
            .another()
            .unwrap()
            .grant_used(id, at(0))
            .unwrap()
    );
    assert!(scratch.cache.grant_used(Uuid::from_u128(2), at(0)).unwrap());
    assert_eq!(kinds(&scratch.cache), ["staff.unlock.grant-taken"; 2]);
}

#[test]
fn a_calibration_is_replaced_and_says_who_set_it() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    assert_eq!(cache.calibration("touch").unwrap(), None);
    cache
        .set_calibration("touch", "[1]", "tech-1", at(0))
        .unwrap();
    cache
        .set_calibration("touch", "[1,2]", "tech-3", at(3))
        .unwrap();
    cache
        .set_calibration("crop", "{}", "tech-3", at(4))
        .unwrap();
    let scratch = scratch.reopen();
    let value = scratch.cache.calibration("touch").unwrap();
    assert_eq!(value.as_deref(), Some("[1,2]"));
    let all = scratch.cache.calibrations().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((all[1].by.as_str(), all[1].at), ("tech-3", at(3)));
    assert_eq!(kinds(&scratch.cache), ["staff.calibration.set"; 3]);
}

/// Everything that is kept for two years, told to the platform; returns what is not told.
fn fill(cache: &mut Cache, second: i64) -> Uuid {
    for number in 1..=3 {
        cache
            .record_test(&record(number, "print", "slip-printer"), at(second))
            .unwrap();
    }
    let mut first = fault("slip-printer");
    first.before = Some(Uuid::from_u128(3));
    let (told, _) = cache.open_ticket(&first, at(second)).unwrap();
    let (untold, _) = cache.open_ticket(&fault("b"), at(second)).unwrap();
    cache.open_ticket(&fault("c"), at(second)).unwrap();
    for id in [told.id, untold.id] {
        let note = TicketAct::Note("停用".to_owned());
        cache.ticket_act(id, &note, "tech-3", at(second)).unwrap();
        cache
            .ticket_act(id, &TicketAct::Close, "tech-3", at(second))
            .unwrap();
    }
    cache.ticket_reported(told.id, 3).unwrap();
    cache
        .record_daily(&check(1, DailyKind::Open), at(second))
        .unwrap();
    cache.grant_used(Uuid::from_u128(1), at(second)).unwrap();
    untold.id
}

#[test]
fn records_and_closed_tickets_go_after_two_years_and_what_is_not_told_stays() {
    let mut scratch = scratch();
    let untold = fill(&mut scratch.cache, 0);
    live(&mut scratch, 1, 91);
    assert!(
        scratch
            .cache
            .grant_used(Uuid::from_u128(1), at(91 * DAY_S))
            .unwrap()
    );
    live(&mut scratch, 92, 2 * 366);
    assert_eq!(scratch.cache.tests_of("slip-printer", 9).unwrap().len(), 3);
    assert_eq!(scratch.cache.tickets(false, 9).unwrap().len(), 3);
    live(&mut scratch, 2 * 366 + 1, 2 * 366 + 2);
    let cache = &mut scratch.cache;
    let left = cache.tickets(false, 9).unwrap();
    let devices: Vec<&str> = left.iter().map(|ticket| ticket.device.as_str()).collect();
    assert_eq!(devices, ["c", "b"], "open, and not told");
    assert!(cache.tests_of("slip-printer", 9).unwrap().is_empty());
    assert!(cache.daily_checks(9).unwrap().is_empty());
    let (last, _) = cache.audit_entries(0, 999).unwrap().pop().unwrap();
    assert!(last.kind == "store.purged" && last.detail.contains("\"tickets\":1"));
    cache.ticket_reported(untold, 3).unwrap();
    // The log was silent for long before the last entry, so that the clock is watched anew.
    live(&mut scratch, 2 * 366 + 3, 2 * 366 + 95);
    assert_eq!(scratch.cache.tickets(false, 9).unwrap().len(), 1);
    // A number is not given again.
    let (next, _) = scratch.cache.open_ticket(&fault("d"), at(0)).unwrap();
    assert_eq!(next.number, "0004");
}

#[test]
fn a_record_that_a_kept_ticket_speaks_of_is_kept_with_it() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let shown = record(1, "print", "slip-printer");
    cache.record_test(&shown, at(0)).unwrap();
    cache
        .record_test(&record(2, "print", "slip-printer"), at(0))
        .unwrap();
    let mut new = fault("slip-printer");
    new.before = Some(shown.id);
    let (ticket, _) = cache.open_ticket(&new, at(0)).unwrap();
    live(&mut scratch, 1, 2 * 366 + 9);
    assert_eq!(scratch.cache.tests_of("slip-printer", 9).unwrap().len(), 1);
    assert_eq!(scratch.cache.ticket(ticket.id).unwrap().before, Some(shown));
}

#[test]
fn a_leaping_clock_forgets_nothing_and_keeps_nothing_for_ever() {
    let mut scratch = scratch();
    let leap = 70 * 365 * DAY_S;
    scratch.cache.purge(at(0)).unwrap();
    fill(&mut scratch.cache, leap);
    assert_eq!(scratch.cache.purge(at(leap + 1)).unwrap(), 0);
    let mut scratch = scratch.reopen();
    live(&mut scratch, 1, 91);
    assert_eq!(scratch.cache.tests_of("slip-printer", 9).unwrap().len(), 3);
    // Their two years began when the clock was believed.
    live(&mut scratch, 92, 90 + 2 * 366 + 3);
    assert!(
        scratch
            .cache
            .tests_of("slip-printer", 9)
            .unwrap()
            .is_empty()
    );
    assert!(scratch.cache.daily_checks(9).unwrap().is_empty());
}

#[test]
fn every_entry_is_a_link_of_the_chain() {
    let mut scratch = scratch();
    fill(&mut scratch.cache, 0);
    let entries = scratch.cache.audit_entries(0, 999).unwrap();
    let count = entries.len() as u64;
    let report = verify(
        "",
        entries.into_iter().map(Ok::<_, CacheError>),
        &[],
        &[],
        None,
    );
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    // Three tests, three openings, two notes, two ends, a check and a grant.
    assert_eq!(count, 12);
}

#[test]
fn a_salvage_saves_tickets_tests_and_the_lock_out() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let untold = fill(cache, 0);
    let guard = Guard {
        failures: 4,
        wait_s: 60,
        boots: 1,
        counter: 9,
    };
    cache
        .set_unlock_guard(&guard, &entry("staff.unlock.refused"), at(0))
        .unwrap();
    cache.replenish("p", "page", 5, "x", at(0)).unwrap();
    cache.set_calibration("touch", "1", "x", at(0)).unwrap();
    let part = TicketAct::Replace(Part {
        what: "roll".to_owned(),
        old_serial: String::new(),
        new_serial: String::new(),
    });
    let (open, _) = cache.open_ticket(&fault("c"), at(0)).unwrap();
    cache.ticket_act(open.id, &part, "tech-3", at(0)).unwrap();
    let before = cache.tickets(false, 9).unwrap();
    let tests = cache.tests_of("slip-printer", 9).unwrap();
    crate::quarantine::mark_damaged(scratch.directory.path()).unwrap();
    let mut scratch = scratch.reopen();
    let cache = &mut scratch.cache;
    assert_eq!(cache.tickets(false, 9).unwrap(), before);
    assert_eq!(cache.tests_of("slip-printer", 9).unwrap(), tests);
    assert_eq!(cache.unlock_guard().unwrap(), guard);
    assert!(!cache.grant_used(Uuid::from_u128(1), at(0)).unwrap());
    assert_eq!(cache.consumables().unwrap().len(), 1);
    assert_eq!(cache.calibration("touch").unwrap().as_deref(), Some("1"));
    assert_eq!(cache.daily_checks(9).unwrap().len(), 1);
    assert_eq!(cache.tickets_unreported(9).unwrap()[0].id, untold);
    // Numbers that a lost row may have had are not given again.
    let (next, _) = cache.open_ticket(&fault("d"), at(0)).unwrap();
    assert_eq!(next.number, "0104");
    // Tests of after the salvage prove a mending.
    cache.record_test(&record(50, "print", "c"), at(1)).unwrap();
    let mend = TicketAct::Mend {
        test: Uuid::from_u128(50),
    };
    cache.ticket_act(open.id, &mend, "tech-3", at(2)).unwrap();
}
