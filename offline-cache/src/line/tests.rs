//! The promises of the lines beside each upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use super::*;
use crate::cache::tests::{Scratch, at, sample, scratch};
use crate::outbox::tests::plan;
use crate::{NewAttachment, Receipt};

fn enqueue(scratch: &mut Scratch, number: u8, upstream: &str, can_wait: bool) -> Uuid {
    let mut transaction = sample(number);
    transaction.upstream = upstream.to_owned();
    transaction.can_wait = can_wait;
    scratch.cache.enqueue(&transaction, at(0)).unwrap();
    transaction.id
}

fn claim(scratch: &mut Scratch, ready: &Ready<'_>) -> Vec<Uuid> {
    let due = scratch.cache.due(at(1), 100, ready).unwrap();
    due.iter().map(|each| each.id).collect()
}

fn held(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn receipt() -> Receipt {
    Receipt {
        reference: "R".to_owned(),
        outcome: "accepted".to_owned(),
        message: String::new(),
        valid_until: None,
        raw: "{}".to_owned(),
    }
}

#[test]
fn lines_of_several_upstreams_are_merged_in_the_order_they_were_confirmed() {
    let mut scratch = scratch();
    let mut expected = Vec::new();
    for (number, upstream) in ["b", "", "a", "b", "c", "", "a"].into_iter().enumerate() {
        let number = u8::try_from(number).unwrap();
        expected.push(enqueue(
            &mut scratch,
            number,
            upstream,
            number.is_multiple_of(2),
        ));
    }
    let due = scratch.cache.due(at(1), 3, &Ready::ALL).unwrap();
    let first: Vec<Uuid> = due.iter().map(|each| each.id).collect();
    assert_eq!(first, expected[..3]);
    assert_eq!((due[0].upstream.as_str(), due[0].can_wait), ("b", true));
    assert_eq!(claim(&mut scratch, &Ready::ALL), expected[3..]);
}

#[test]
fn one_upstream_down_does_not_stop_the_others() {
    let mut scratch = scratch();
    let down = enqueue(&mut scratch, 1, "pension", false);
    let up = enqueue(&mut scratch, 2, "insurance", false);
    let own = enqueue(&mut scratch, 3, "", false);
    let names = held(&["pension"]);
    let ready = Ready {
        held: &names,
        with_patient: true,
    };
    assert_eq!(claim(&mut scratch, &ready), [up, own]);
    assert_eq!(scratch.cache.next_due_at(at(1), &ready).unwrap(), None);
    assert_eq!(claim(&mut scratch, &Ready::ALL), [down]);
}

#[test]
fn a_held_row_blocks_its_own_person_only() {
    let mut scratch = scratch();
    let first = enqueue(&mut scratch, 1, "pension", false);
    let mut second = sample(2);
    second.subject = sample(1).subject;
    scratch.cache.enqueue(&second, at(0)).unwrap();
    let other = enqueue(&mut scratch, 3, "", false);
    let names = held(&["pension"]);
    let ready = Ready {
        held: &names,
        with_patient: true,
    };
    assert_eq!(claim(&mut scratch, &ready), [other]);
    assert_eq!(claim(&mut scratch, &Ready::ALL), [first]);
    scratch.cache.settle(first, &receipt(), at(2)).unwrap();
    assert_eq!(claim(&mut scratch, &ready), [second.id]);
}

#[test]
fn what_can_wait_is_left_until_it_is_asked_for() {
    let mut scratch = scratch();
    let patient = enqueue(&mut scratch, 1, "", true);
    let urgent = enqueue(&mut scratch, 2, "", false);
    let by_day = Ready::default();
    assert_eq!(claim(&mut scratch, &by_day), [urgent]);
    assert_eq!(scratch.cache.next_due_at(at(1), &by_day).unwrap(), None);
    assert_eq!(
        scratch.cache.next_due_at(at(1), &Ready::ALL).unwrap(),
        Some(at(1))
    );
    assert_eq!(claim(&mut scratch, &Ready::ALL), [patient]);
}

#[test]
fn urgent_work_is_not_held_up_by_patient_work_of_the_same_person() {
    let mut scratch = scratch();
    let patient = enqueue(&mut scratch, 1, "", true);
    let mut urgent = sample(2);
    urgent.subject = sample(1).subject;
    scratch.cache.enqueue(&urgent, at(0)).unwrap();
    assert_eq!(claim(&mut scratch, &Ready::default()), [patient]);
    scratch.cache.settle(patient, &receipt(), at(1)).unwrap();
    assert_eq!(claim(&mut scratch, &Ready::default()), [urgent.id]);
}

#[test]
fn a_deferred_row_of_a_held_upstream_wakes_nobody() {
    let mut scratch = scratch();
    let id = enqueue(&mut scratch, 1, "pension", false);
    claim(&mut scratch, &Ready::ALL);
    let cache = &mut scratch.cache;
    cache.defer(id, at(30), "platform.busy", at(1)).unwrap();
    let names = held(&["pension"]);
    let ready = Ready {
        held: &names,
        with_patient: true,
    };
    assert_eq!(cache.next_due_at(at(1), &ready).unwrap(), None);
    assert_eq!(cache.next_due_at(at(1), &Ready::ALL).unwrap(), Some(at(30)));
    assert!(cache.due(at(60), 9, &ready).unwrap().is_empty());
    assert_eq!(cache.due(at(60), 9, &Ready::ALL).unwrap().len(), 1);
}

#[test]
fn uploads_of_a_held_upstream_are_left_too() {
    let mut scratch = scratch();
    for (number, upstream) in [(1, "pension"), (2, "insurance")] {
        let mut transaction = sample(number);
        transaction.upstream = upstream.to_owned();
        transaction.attachments.push(NewAttachment {
            id: Uuid::from_u128(u128::from(number)),
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: vec![number; 100],
        });
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
    }
    let names = held(&["pension"]);
    let ready = Ready {
        held: &names,
        with_patient: false,
    };
    let due = scratch.cache.attachments_due(at(1), 9, &ready).unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].transaction_id, sample(2).id);
    let all = scratch.cache.attachments_due(at(1), 9, &Ready::ALL);
    assert_eq!(all.unwrap().len(), 2);
}

#[test]
fn the_depth_of_each_upstream_is_told() {
    let mut scratch = scratch();
    assert!(scratch.cache.upstream_depths().unwrap().is_empty());
    enqueue(&mut scratch, 1, "pension", false);
    enqueue(&mut scratch, 2, "pension", true);
    let dead = enqueue(&mut scratch, 3, "insurance", false);
    let cache = &mut scratch.cache;
    cache.park(dead, "platform", "x.y", "", at(1)).unwrap();
    let depth = |upstream: &str, waiting, dead, oldest_enqueued_at| UpstreamDepth {
        upstream: upstream.to_owned(),
        waiting,
        dead,
        oldest_enqueued_at,
    };
    assert_eq!(
        cache.upstream_depths().unwrap(),
        [
            depth("insurance", 0, 1, None),
            depth("pension", 2, 0, Some(at(0)))
        ]
    );
    let depth = cache.depth().unwrap();
    assert_eq!((depth.waiting, depth.dead), (2, 1));
    assert_eq!(depth.oldest_enqueued_at, Some(at(0)));
}

/// With 1 M rows queued a claim without the indexes takes seconds.
#[test]
fn every_look_at_a_line_uses_its_index_and_sorts_nothing() {
    let scratch = scratch();
    let connection = &scratch.cache.connection;
    let check = |sql: &str, index: &str, parameters: &[&dyn rusqlite::ToSql]| {
        let plan = plan(connection, sql, parameters);
        assert!(plan.contains(&format!("INDEX {index} (")), "{plan}");
        assert!(
            plan.starts_with("SEARCH outbox") && !plan.contains("B-TREE"),
            "{plan}"
        );
    };
    for (line, index) in [
        (Line::Ready, "outbox_ready"),
        (Line::Uploading, "outbox_uploading"),
    ] {
        check(&line.sequences_sql(), index, &[&"x", &false, &10]);
        check(&line.any_sql(), index, &[&"x", &false]);
    }
    for (line, index) in [
        (READY, "outbox_ready"),
        (UPLOADING, "outbox_uploading"),
        (DEFERRED, "outbox_deferred"),
        (UNSETTLED, "outbox_unsettled"),
        (DEAD, "outbox_dead"),
    ] {
        let sql =
            format!("SELECT upstream FROM {line} AND upstream > ?1 ORDER BY upstream LIMIT 1");
        check(&sql, index, &[&"x"]);
    }
}

/// Fills the line of one upstream with rows that nothing else is known of.
fn crowd(scratch: &mut Scratch, rows: u32, upstream: &str) {
    let fill = scratch.cache.connection.transaction().unwrap();
    fill.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO outbox (id, kind, item, item_version, case_number, subject, state,
             is_blocked, next_at, enqueued_at, payload_suite, payload, upstream)
         SELECT randomblob(16), 'case', 'x', 1, 'n', randomblob(32), i % 2, 0,
             CASE i % 3 WHEN 0 THEN 1795000000000 ELSE 0 END, 1, 'plain', x'7B7D', ?2 FROM n",
        params![rows, upstream],
    )
    .unwrap();
    fill.commit().unwrap();
}

/// Steps of the engine that one turn of a drain takes.
fn steps_of_a_turn(scratch: &mut Scratch, ready: &Ready<'_>) -> u64 {
    let steps = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&steps);
    let handler = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    let cache = &mut scratch.cache;
    cache.connection.progress_handler(1, Some(handler)).unwrap();
    let due = cache.due(at(1), 100, ready).unwrap();
    assert_eq!(due.len(), 1);
    cache.next_due_at(at(1), ready).unwrap();
    cache.attachments_due(at(1), 10, ready).unwrap();
    cache
        .connection
        .progress_handler(0, None::<fn() -> bool>)
        .unwrap();
    cache.release(due[0].id).unwrap();
    steps.load(Ordering::Relaxed)
}

#[test]
fn a_turn_costs_the_same_however_long_the_held_line_is() {
    let names = held(&["pension"]);
    let ready = Ready {
        held: &names,
        with_patient: true,
    };
    let [few, many] = [100, 60_000].map(|rows| {
        let mut scratch = scratch();
        crowd(&mut scratch, rows, "pension");
        enqueue(&mut scratch, 1, "insurance", false);
        steps_of_a_turn(&mut scratch, &ready)
    });
    assert_eq!(few, many);
    assert!(many < 2_000, "{many}");
}
