//! The promises of forgetting, and of not forgetting.

use jiff::civil::date;
use uuid::Uuid;

use crate::cache::tests::{Scratch, at, enqueue_sample, sample, scratch};
use crate::{DiaryCount, NewPrint, PrintKind, PrintState, Receipt, State};

const DAY_S: i64 = 24 * 60 * 60;

fn receipt() -> Receipt {
    Receipt {
        reference: "R".to_owned(),
        outcome: "completed".to_owned(),
        message: String::new(),
        valid_until: None,
        raw: "{}".to_owned(),
    }
}

fn settle(scratch: &mut Scratch, number: u8, second: i64) -> Uuid {
    let cache = &mut scratch.cache;
    cache.enqueue(&sample(number), at(second)).unwrap();
    cache
        .settle(sample(number).id, &receipt(), at(second))
        .unwrap();
    sample(number).id
}

/// Lets the days go by as they do in a terminal that is on; returns what was forgotten.
fn live(scratch: &mut Scratch, from_day: i64, to_day: i64) -> u32 {
    (from_day..=to_day)
        .map(|day| scratch.cache.purge(at(day * DAY_S)).unwrap())
        .sum()
}

fn is_known(scratch: &Scratch, id: Uuid) -> bool {
    let rows = scratch.cache.recent(u32::MAX).unwrap();
    rows.iter().any(|row| row.id == id)
}

#[test]
fn a_tombstone_is_kept_90_days_and_unsent_rows_for_ever() {
    let mut scratch = scratch();
    let settled = settle(&mut scratch, 1, 0);
    let waiting = enqueue_sample(&mut scratch.cache, 2);
    assert_eq!(live(&mut scratch, 1, 90), 0);
    assert_eq!(scratch.cache.purge(at(90 * DAY_S + 1)).unwrap(), 1);
    assert!(!is_known(&scratch, settled));
    live(&mut scratch, 91, 800);
    let rows = scratch.cache.recent(9).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].id, rows[0].state), (waiting, State::Pending));
    // That something was forgotten is not.
    let entries = scratch.cache.audit_entries(0, 99).unwrap();
    let (entry, _) = entries.last().unwrap();
    assert_eq!(entry.kind, "store.purged");
    assert!(entry.detail.contains("\"transactions\":1"));
}

/// +70 years, with or without work being done under the wrong clock.
#[test]
fn a_leaping_clock_forgets_nothing() {
    let leap = 70 * 365 * DAY_S;
    for works_meanwhile in [false, true] {
        let mut scratch = scratch();
        let before = settle(&mut scratch, 1, 0);
        assert_eq!(scratch.cache.purge(at(leap)).unwrap(), 0);
        if works_meanwhile {
            settle(&mut scratch, 2, leap + 60);
            settle(&mut scratch, 3, leap + 120);
        }
        assert_eq!(live(&mut scratch, 70 * 365 + 1, 70 * 365 + 20), 0);
        let mut scratch = scratch.reopen();
        assert!(is_known(&scratch, before));
        // The clock is right again: 90 days from there, not 70 years.
        assert_eq!(live(&mut scratch, 1, 90), 0);
        assert!(is_known(&scratch, before));
        assert_eq!(live(&mut scratch, 91, 92), 1);
        // What ended in 2096 began its days when the clock was believed, and is not kept for ever.
        let rest = if works_meanwhile { 2 } else { 0 };
        assert_eq!(live(&mut scratch, 93, 180), 0);
        assert_eq!(live(&mut scratch, 181, 181), rest);
    }
}

#[test]
fn a_dead_battery_forgets_nothing_and_is_forgotten_in_time() {
    let mut scratch = scratch();
    let before = settle(&mut scratch, 1, 0);
    // 1970, for a week, with work.
    for day in 0..7 {
        let second = day * DAY_S - 1_795_000_000;
        settle(&mut scratch, 10 + u8::try_from(day).unwrap(), second);
        assert_eq!(scratch.cache.purge(at(second)).unwrap(), 0);
    }
    assert_eq!(live(&mut scratch, 7, 96), 0);
    assert!(is_known(&scratch, before));
    assert_eq!(live(&mut scratch, 97, 98), 8);
}

#[test]
fn a_day_back_does_no_harm() {
    let mut scratch = scratch();
    let id = settle(&mut scratch, 1, 0);
    live(&mut scratch, 1, 60);
    scratch.cache.purge(at(59 * DAY_S)).unwrap();
    assert_eq!(live(&mut scratch, 60, 90), 0);
    assert!(is_known(&scratch, id));
    assert_eq!(live(&mut scratch, 91, 91), 1);
}

#[test]
fn prints_commands_and_the_diary_go_in_their_time() {
    let mut scratch = scratch();
    let cache = &mut scratch.cache;
    let print = NewPrint {
        id: Uuid::from_u128(1),
        transaction_id: None,
        case_number: None,
        kind: PrintKind::Slip,
        digest: [1; 32],
        pages: 1,
        first_page: 1,
        copy_no: 1,
        reprint_of: None,
    };
    cache.prepare_print(&print, at(0)).unwrap();
    cache
        .advance_print(print.id, PrintState::Spoiled, None, at(0))
        .unwrap();
    let [reported, unreported] = [2, 3].map(Uuid::from_u128);
    for id in [reported, unreported] {
        cache.command_begin(id, "lock", at(0)).unwrap();
        cache.command_finish(id, "{}", at(0)).unwrap();
    }
    cache.command_reported(reported).unwrap();
    cache
        .diary_add(&[DiaryCount {
            device: "printer".to_owned(),
            day: date(2026, 11, 18),
            what: "page".to_owned(),
            count: 1,
        }])
        .unwrap();
    assert_eq!(live(&mut scratch, 1, 91), 1);
    let cache = &mut scratch.cache;
    assert_eq!(cache.print(print.id).unwrap(), None);
    let standing = cache.command_begin(reported, "lock", at(0)).unwrap();
    assert_eq!(standing, crate::CommandStanding::New);
    assert_eq!(cache.commands_unreported(9).unwrap().len(), 1);
    assert_eq!(cache.diary(date(2026, 1, 1)).unwrap().len(), 1);
    live(&mut scratch, 92, 2 * 366 + 2);
    assert!(scratch.cache.diary(date(2026, 1, 1)).unwrap().is_empty());
}

#[test]
fn scrubbing_says_when_another_connection_was_in_the_way() {
    let mut scratch = scratch();
    enqueue_sample(&mut scratch.cache, 1);
    let other = scratch.cache.another().unwrap();
    scratch
        .cache
        .connection
        .busy_timeout(std::time::Duration::ZERO)
        .unwrap();
    let reading = other.connection.unchecked_transaction().unwrap();
    let rows: i64 = reading
        .query_row("SELECT count(*) FROM arrival", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 1);
    enqueue_sample(&mut scratch.cache, 2);
    assert!(!scratch.cache.scrub().unwrap());
    drop(reading);
    assert!(scratch.cache.scrub().unwrap());
    let log = std::fs::metadata(scratch.directory.path().join("kiosk.db-wal")).unwrap();
    assert_eq!(log.len(), 0);
}

#[test]
fn a_ruined_time_in_the_log_stops_nothing_and_forgets_nothing() {
    let mut scratch = scratch();
    let id = settle(&mut scratch, 1, 0);
    scratch
        .cache
        .connection
        .execute_batch(
            "UPDATE clock SET seen_at = 9223372036854775807;
             INSERT INTO audit_entry VALUES
                 (99, 9223372036854775807, 'x', 'x', NULL, NULL, '{}', zeroblob(32))",
        )
        .unwrap();
    let mut scratch = scratch.reopen();
    assert_eq!(live(&mut scratch, 1, 90), 0);
    enqueue_sample(&mut scratch.cache, 2);
    assert!(is_known(&scratch, id));
}
