//! The promises of fault tickets.

use std::collections::BTreeMap;

use super::*;
use crate::Options;
use crate::cache::tests::{Scratch, at, scratch_with};

const HOUR_S: i64 = 3600;
const BY: &str = "tech-3";

fn scratch() -> Scratch {
    scratch_with(&Options {
        terminal: "T001".to_owned(),
        ..Options::default()
    })
}

fn jam(device: &str) -> NewTicket {
    NewTicket {
        device: device.to_owned(),
        class: "printer".to_owned(),
        code: "printer.media-jam".to_owned(),
        action: "clear-nearest".to_owned(),
        level: Level::Village,
        sla: Sla {
            respond: Duration::from_hours(4),
            repair: Duration::from_hours(24),
        },
        before: None,
    }
}

fn test(number: u128, device: &str, verdict: Verdict) -> TestRecord {
    TestRecord {
        id: Uuid::from_u128(0xAA00 + number),
        test: "printer.print".to_owned(),
        device: device.to_owned(),
        verdict,
        figures: BTreeMap::new(),
        problem: String::new(),
        by: BY.to_owned(),
        at: at(0),
        took_ms: 9,
        ticket: None,
    }
}

/// Records a test and returns its id.
fn tested(cache: &mut Cache, number: u128, device: &str, verdict: Verdict, second: i64) -> Uuid {
    let record = test(number, device, verdict);
    cache.record_test(&record, at(second)).unwrap();
    record.id
}

fn open(cache: &mut Cache, second: i64) -> (Ticket, bool) {
    cache.open_ticket(&jam("slip-printer"), at(second)).unwrap()
}

fn act(cache: &mut Cache, id: Uuid, act: &TicketAct, second: i64) -> Result<Ticket, CacheError> {
    cache.ticket_act(id, act, BY, at(second))
}

fn note(text: &str) -> TicketAct {
    TicketAct::Note(text.to_owned())
}

fn part(serial: &str) -> TicketAct {
    TicketAct::Replace(Part {
        what: "print-head".to_owned(),
        old_serial: "A1".to_owned(),
        new_serial: serial.to_owned(),
    })
}

fn kinds(cache: &Cache) -> Vec<String> {
    let entries = cache.audit_entries(0, 10_000).unwrap();
    entries.into_iter().map(|(entry, _)| entry.kind).collect()
}

#[test]
fn a_fault_goes_from_its_opening_over_its_proof_to_its_end() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let before = tested(cache, 1, "slip-printer", Verdict::Failed, 0);
    let mut new = jam("slip-printer");
    new.before = Some(before);
    let (ticket, is_new) = cache.open_ticket(&new, at(10)).unwrap();
    assert!(is_new);
    assert_eq!((ticket.number.as_str(), ticket.revision), ("T001-0001", 1));
    assert_eq!(ticket.respond_by, at(10 + 4 * HOUR_S));
    assert_eq!(ticket.repair_by, at(10 + 24 * HOUR_S));
    assert_eq!(ticket.before.as_ref().unwrap().id, before);
    let id = ticket.id;
    let taken = act(cache, id, &TicketAct::Acknowledge, 20).unwrap();
    assert_eq!(taken.state, TicketState::Acknowledged);
    assert_eq!((taken.by.as_str(), taken.revision), (BY, 2));
    act(cache, id, &note("纸屑卡在切刀下"), 30).unwrap();
    act(cache, id, &note("已换切刀"), 31).unwrap();
    act(cache, id, &part("B2"), 40).unwrap();
    let after = tested(cache, 2, "slip-printer", Verdict::Passed, 50);
    let mended = act(cache, id, &TicketAct::Mend { test: after }, 60).unwrap();
    assert_eq!(mended.mended_at, Some(at(60)));
    let closed = act(cache, id, &TicketAct::Close, 70).unwrap();
    let scratch = scratch.reopen();
    let kept = scratch.cache.ticket(id).unwrap();
    assert_eq!(kept, closed);
    assert_eq!(kept.note, "纸屑卡在切刀下\n已换切刀");
    assert_eq!(kept.parts[0].new_serial, "B2");
    assert_eq!(kept.after.unwrap().id, after);
    assert_eq!((kept.state, kept.revision), (TicketState::Closed, 7));
    assert_eq!(
        kinds(&scratch.cache),
        [
            "check.recorded",
            "ticket.opened",
            "ticket.acknowledged",
            "ticket.noted",
            "ticket.noted",
            "ticket.part-replaced",
            "check.recorded",
            "ticket.mended",
            "ticket.closed",
        ]
    );
}

#[test]
fn what_people_wrote_is_in_no_audit_entry_and_in_no_debug() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let (ticket, _) = open(cache, 0);
    let ticket = act(cache, ticket.id, &note("测试一 440100197505050046"), 1).unwrap();
    assert!(!format!("{ticket:?}").contains("测试一"));
    for (entry, _) in cache.audit_entries(0, 99).unwrap() {
        assert!(!entry.detail.contains("测试一") && !entry.detail.contains("4401"));
    }
}

#[test]
fn a_fault_that_flickers_is_one_ticket_and_does_not_fill_the_log() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let (first, is_new) = open(cache, 0);
    assert!(is_new);
    for second in 1..1000 {
        let (again, is_new) = open(cache, second);
        assert!(!is_new && again.id == first.id);
    }
    let kept = cache.ticket(first.id).unwrap();
    assert_eq!(kept.times_seen, 1000);
    assert_eq!(cache.tickets(true, 9).unwrap().len(), 1);
    // 2, 4, …, 512, and the opening.
    assert_eq!(kinds(cache).len(), 10);
    assert_eq!(kept.revision, 10);
    // Another device or another code is another fault.
    let (other, is_new) = cache.open_ticket(&jam("report-printer"), at(5)).unwrap();
    assert!(is_new && other.number == "T001-0002");
}

#[test]
fn a_fault_that_comes_back_within_a_day_of_its_mending_is_the_same_one() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let (ticket, _) = open(cache, 0);
    let id = ticket.id;
    let passed = tested(cache, 1, "slip-printer", Verdict::Passed, 1);
    act(cache, id, &TicketAct::Mend { test: passed }, 10).unwrap();
    let (back, is_new) = open(cache, 10 + 24 * HOUR_S - 1);
    assert!(is_new && back.id == id);
    assert_eq!((back.state, back.times_reopened), (TicketState::Open, 1));
    assert_eq!((back.mended_at, &back.after), (None, &None));
    assert_eq!(back.respond_by, at(10 + 28 * HOUR_S - 1));
    // The test of before proves nothing any more.
    let error = act(cache, id, &TicketAct::Mend { test: passed }, 20).unwrap_err();
    assert_eq!(error.code(), "maintenance.not-proven");
    let again = tested(cache, 2, "slip-printer", Verdict::Passed, 30);
    act(cache, id, &TicketAct::Mend { test: again }, 30).unwrap();
    act(cache, id, &TicketAct::Close, 40).unwrap();
    // Closed within the day, it still is the same one …
    let (back, _) = open(cache, 50);
    assert_eq!((back.id, back.times_reopened), (id, 2));
    let third = tested(cache, 3, "slip-printer", Verdict::Passed, 60);
    act(cache, id, &TicketAct::Mend { test: third }, 60).unwrap();
    // … and after the day it is another.
    let (other, is_new) = open(cache, 60 + 24 * HOUR_S);
    assert!(is_new && other.id != id);
    assert_eq!(other.number, "T001-0002");
}

#[test]
fn a_clock_that_leaps_neither_doubles_nor_joins_for_ever() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let years = 70 * 366 * 24 * HOUR_S;
    let (ticket, _) = open(cache, years);
    // Open, it is the same one under whatever clock.
    let (same, is_new) = open(cache, 0);
    assert!(!is_new && same.id == ticket.id);
    // The test was recorded under an earlier time than the opening, and is later all the same.
    let passed = tested(cache, 1, "slip-printer", Verdict::Passed, -years / 2);
    act(cache, ticket.id, &TicketAct::Mend { test: passed }, years).unwrap();
    // Mended in the far future: that says nothing of today.
    let (other, is_new) = open(cache, 10);
    assert!(is_new && other.id != ticket.id);
    let passed = tested(cache, 2, "slip-printer", Verdict::Passed, 0);
    act(cache, other.id, &TicketAct::Mend { test: passed }, 0).unwrap();
    // A day back, as of a wrong zone, is the same day.
    let (back, _) = open(cache, -24 * HOUR_S);
    assert_eq!(back.id, other.id);
    for second in [i64::MIN / 1_000_000_000, -377_705_000_000 + 1] {
        let Ok(earliest) = Timestamp::from_second(second) else {
            continue;
        };
        cache.open_ticket(&jam("other"), earliest).unwrap();
    }
    cache.open_ticket(&jam("other"), Timestamp::MAX).unwrap();
    cache.open_ticket(&jam("last"), Timestamp::MAX).unwrap();
}

#[test]
fn only_a_passed_test_of_the_device_after_the_fault_proves_the_mending() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let earlier = tested(cache, 1, "slip-printer", Verdict::Passed, 0);
    let shown = tested(cache, 2, "slip-printer", Verdict::Failed, 1);
    let mut new = jam("slip-printer");
    new.before = Some(shown);
    let (ticket, _) = cache.open_ticket(&new, at(2)).unwrap();
    let id = ticket.id;
    let other_device = tested(cache, 3, "report-printer", Verdict::Passed, 3);
    let failed = tested(cache, 4, "slip-printer", Verdict::Failed, 4);
    let skipped = tested(cache, 5, "slip-printer", Verdict::Skipped, 5);
    let mut other = test(6, "slip-printer", Verdict::Passed);
    other.test = "printer.status".to_owned();
    cache.record_test(&other, at(6)).unwrap();
    let unknown = Uuid::from_u128(1);
    for test in [
        earlier,
        shown,
        other_device,
        failed,
        skipped,
        other.id,
        unknown,
    ] {
        let error = act(cache, id, &TicketAct::Mend { test }, 7).unwrap_err();
        assert_eq!(error.code(), "maintenance.not-proven");
    }
    let good = tested(cache, 7, "slip-printer", Verdict::Passed, 8);
    let mended = act(cache, id, &TicketAct::Mend { test: good }, 9).unwrap();
    assert_eq!(mended.acknowledged_at, Some(at(9)), "who mends has come");
    assert_eq!(kinds(cache).last().unwrap(), "ticket.mended");
}

#[test]
fn a_ticket_without_proof_is_closed_by_a_person_with_a_reason_only() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let (ticket, _) = open(cache, 0);
    let id = ticket.id;
    let error = act(cache, id, &TicketAct::Close, 1).unwrap_err();
    assert_eq!(error.code(), "maintenance.wrong-state");
    act(cache, id, &note("设备已停用"), 2).unwrap();
    assert!(
        cache
            .ticket_act(id, &TicketAct::Close, TERMINAL, at(3))
            .is_err()
    );
    let closed = act(cache, id, &TicketAct::Close, 4).unwrap();
    let entries = cache.audit_entries(0, 99).unwrap();
    assert!(
        entries
            .last()
            .unwrap()
            .0
            .detail
            .contains("\"is_proven\":false")
    );
    // Again changes nothing, and nothing else is possible.
    assert_eq!(act(cache, id, &TicketAct::Close, 9).unwrap(), closed);
    for deed in [TicketAct::Acknowledge, note("x"), part("B")] {
        assert!(act(cache, id, &deed, 9).is_err(), "{deed:?}");
    }
    // Never mended, so that the fault is a new one.
    let (other, _) = open(cache, 10);
    assert_ne!(other.id, id);
}

#[test]
fn a_ticket_climbs_when_nobody_comes_and_when_it_is_not_mended() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let (ticket, _) = open(cache, 0);
    let level = |ticket: &Ticket, hour: i64| ticket.level_at(at(hour * HOUR_S + 1));
    assert_eq!(level(&ticket, 0), Level::Village);
    assert_eq!(level(&ticket, 4), Level::Town);
    assert_eq!(level(&ticket, 24), Level::City);
    let taken = act(cache, ticket.id, &TicketAct::Acknowledge, 5).unwrap();
    assert_eq!(level(&taken, 4), Level::Village);
    assert_eq!(level(&taken, 24), Level::Town);
    let passed = tested(cache, 1, "slip-printer", Verdict::Passed, 6);
    let mended = act(cache, ticket.id, &TicketAct::Mend { test: passed }, 7).unwrap();
    assert_eq!(level(&mended, 9999), Level::Village);
    let mut far = ticket;
    far.level = Level::Vendor;
    assert_eq!(level(&far, 9999), Level::Vendor);
}

#[test]
fn a_revision_is_reported_until_the_platform_has_it() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let (first, _) = open(cache, 0);
    let (second, _) = cache.open_ticket(&jam("report-printer"), at(1)).unwrap();
    let unreported = |cache: &Cache| -> Vec<(Uuid, u32)> {
        let tickets = cache.tickets_unreported(9).unwrap();
        tickets
            .iter()
            .map(|ticket| (ticket.id, ticket.revision))
            .collect()
    };
    assert_eq!(unreported(cache), [(first.id, 1), (second.id, 1)]);
    assert_eq!(cache.tickets_unreported(1).unwrap().len(), 1);
    cache.ticket_reported(first.id, 1).unwrap();
    act(cache, second.id, &TicketAct::Acknowledge, 2).unwrap();
    // The answer to the first revision comes when there is a second.
    cache.ticket_reported(second.id, 1).unwrap();
    assert_eq!(unreported(cache), [(second.id, 2)]);
    cache.ticket_reported(second.id, 2).unwrap();
    cache.ticket_reported(second.id, 1).unwrap();
    // A revision of the future is not believed.
    cache.ticket_reported(first.id, 99).unwrap();
    act(cache, first.id, &TicketAct::Acknowledge, 3).unwrap();
    assert_eq!(unreported(cache), [(first.id, 2)]);
    let error = cache.ticket_reported(Uuid::from_u128(7), 1).unwrap_err();
    assert_eq!(error.code(), "maintenance.unknown-ticket");
}

#[test]
fn what_is_beyond_its_bounds_is_refused_and_leaves_nothing() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let refused = |cache: &mut Cache, change: &dyn Fn(&mut NewTicket)| {
        let mut new = jam("slip-printer");
        change(&mut new);
        cache.open_ticket(&new, at(0)).unwrap_err().code()
    };
    let long = "x".repeat(65);
    assert_eq!(
        refused(cache, &|new| new.device.clone_from(&long)),
        "queue.out-of-range"
    );
    assert_eq!(
        refused(cache, &|new| new.code.clear()),
        "queue.out-of-range"
    );
    assert_eq!(
        refused(cache, &|new| new.action = "a\nb".to_owned()),
        "queue.out-of-range"
    );
    let century = Duration::from_hours(100 * 366 * 24);
    assert_eq!(
        refused(cache, &|new| new.sla.repair = century),
        "queue.out-of-range"
    );
    let unknown = Some(Uuid::from_u128(9));
    assert_eq!(
        refused(cache, &|new| new.before = unknown),
        "maintenance.unknown-test"
    );
    let elsewhere = Some(tested(cache, 1, "report-printer", Verdict::Failed, 0));
    assert_eq!(
        refused(cache, &|new| new.before = elsewhere),
        "maintenance.unknown-test"
    );
    assert!(cache.tickets(false, 9).unwrap().is_empty());

    let (ticket, _) = open(cache, 0);
    for bad in [
        note(" \n"),
        note(&"长".repeat(700)),
        note("a\u{1b}[2J"),
        part(&long),
    ] {
        let error = act(cache, ticket.id, &bad, 1).unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }
    for _ in 0..4 {
        act(cache, ticket.id, &note(&"长".repeat(170)), 1).unwrap();
    }
    assert!(act(cache, ticket.id, &note("长长"), 1).is_err());
    for _ in 0..PARTS_MAX {
        act(cache, ticket.id, &part("B"), 1).unwrap();
    }
    assert!(act(cache, ticket.id, &part("B"), 1).is_err());
    assert!(
        cache
            .ticket_act(ticket.id, &TicketAct::Acknowledge, "", at(1))
            .is_err()
    );
    let kept = cache.ticket(ticket.id).unwrap();
    assert_eq!(
        (kept.state, kept.parts.len()),
        (TicketState::Open, PARTS_MAX)
    );
    assert!(kept.note.len() <= NOTES_BYTES_MAX);
}

/// Xorshift: what happens follows from the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What must hold whatever happened.
fn check_invariants(cache: &Cache, before: &BTreeMap<Uuid, Ticket>, seed: u64) {
    let tickets = cache.tickets(false, 1000).unwrap();
    let mut open = BTreeMap::new();
    for ticket in &tickets {
        if ticket.state.is_open() {
            let fault = (ticket.device.clone(), ticket.code.clone());
            assert!(
                open.insert(fault, ticket.id).is_none(),
                "seed {seed}: two open"
            );
        }
        let is_proven = ticket
            .after
            .as_ref()
            .is_some_and(|after| after.verdict == Verdict::Passed && after.device == ticket.device);
        match ticket.state {
            TicketState::Open => {
                assert!(ticket.acknowledged_at.is_none() && ticket.after.is_none());
            }
            TicketState::Acknowledged => assert!(ticket.acknowledged_at.is_some()),
            TicketState::Mended => assert!(is_proven && ticket.mended_at.is_some()),
            TicketState::Closed => {
                assert!(ticket.closed_at.is_some());
                assert!(is_proven || !ticket.note.is_empty(), "seed {seed}");
            }
        }
        if let Some(old) = before.get(&ticket.id) {
            assert!(ticket.revision >= old.revision && ticket.times_seen >= old.times_seen);
            let is_changed = ticket.state != old.state
                || ticket.note != old.note
                || ticket.parts != old.parts
                || ticket.after != old.after;
            assert!(
                !is_changed || ticket.revision > old.revision,
                "seed {seed}: not told"
            );
        }
    }
    for id in before.keys() {
        assert!(
            tickets.iter().any(|ticket| ticket.id == *id),
            "seed {seed}: lost"
        );
    }
}

/// Random faults, tests and acts under a random clock: refusals change nothing, one fault has one
/// open ticket, nothing is closed without proof or reason, and each change is told and in the log.
#[test]
fn whatever_happens_a_ticket_keeps_its_promises() {
    for seed in 1..=8_u64 {
        let mut scratch = scratch();
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut now = 0_i64;
        let mut tests = 0_u128;
        for step in 0..150 {
            now += match dice.below(20) {
                0 => -3 * 24 * HOUR_S,
                1 => 400 * 24 * HOUR_S,
                2 => 23 * HOUR_S,
                _ => i64::try_from(dice.below(600)).unwrap(),
            };
            let cache = &mut scratch.cache;
            let before: BTreeMap<Uuid, Ticket> = cache
                .tickets(false, 1000)
                .unwrap()
                .into_iter()
                .map(|ticket| (ticket.id, ticket))
                .collect();
            let log = kinds(cache).len();
            let device = ["a", "b"][usize::try_from(dice.below(2)).unwrap()];
            let ids: Vec<Uuid> = before.keys().copied().collect();
            if dice.below(3) == 0 || ids.is_empty() {
                cache.open_ticket(&jam(device), at(now)).unwrap();
            } else {
                let id = ids[usize::try_from(dice.below(ids.len() as u64)).unwrap()];
                let deed = match dice.below(6) {
                    0 => TicketAct::Acknowledge,
                    1 => note("因"),
                    2 => part("B"),
                    3 => TicketAct::Close,
                    _ => {
                        tests += 1;
                        let verdict = [Verdict::Passed, Verdict::Failed];
                        let verdict = verdict[usize::from(dice.below(3) == 0)];
                        let test = tested(cache, tests, device, verdict, now);
                        TicketAct::Mend { test }
                    }
                };
                let log = kinds(cache).len();
                match act(cache, id, &deed, now) {
                    Ok(ticket) => assert_eq!(
                        kinds(cache).len() > log,
                        ticket.revision > before[&id].revision,
                        "seed {seed}, step {step}: change and entry go together"
                    ),
                    Err(error) => {
                        assert!(
                            error.code().starts_with("maintenance.")
                                || error.code() == "queue.out-of-range"
                        );
                        assert_eq!(cache.ticket(id).unwrap(), before[&id], "seed {seed}");
                        assert_eq!(kinds(cache).len(), log);
                    }
                }
            }
            assert!(kinds(cache).len() >= log);
            check_invariants(cache, &before, seed);
            if dice.below(25) == 0 {
                let cases = cache.tickets(false, 1000).unwrap();
                scratch = scratch.reopen();
                assert_eq!(scratch.cache.tickets(false, 1000).unwrap(), cases);
            }
        }
    }
}
