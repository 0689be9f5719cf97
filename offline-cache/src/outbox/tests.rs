//! The promises of the outbox, each with its test.

use rusqlite::ToSql;

use super::*;
use crate::cache::tests::{Scratch, at, enqueue_sample, sample, scratch};

const DAY_S: i64 = 24 * 60 * 60;

fn receipt(reference: &str) -> Receipt {
    Receipt {
        reference: reference.to_owned(),
        outcome: "completed".to_owned(),
        message: "办结".to_owned(),
        valid_until: Some(jiff::civil::date(2027, 11, 22)),
        raw: "{\"reference\":\"x\"}".to_owned(),
    }
}

/// How the engine would run a query, one step a line.
pub(crate) fn plan(connection: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> String {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let steps = statement
        .query_map(parameters, |row| row.get::<_, String>(3))
        .unwrap();
    steps.map(Result::unwrap).collect::<Vec<_>>().join("\n")
}

fn claim(scratch: &mut Scratch, second: i64) -> Vec<Uuid> {
    scratch
        .cache
        .due(at(second), 100, &Ready::ALL)
        .unwrap()
        .into_iter()
        .map(|transaction| transaction.id)
        .collect()
}

fn state_of(scratch: &Scratch, id: Uuid) -> State {
    find(&scratch.cache.connection, id).unwrap().state
}

/// E1: a confirmed order vanished when the power was cut.
#[test]
fn e1_what_was_confirmed_is_there_after_a_restart() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    let mut scratch = scratch.reopen();
    let due = scratch.cache.due(at(1), 10, &Ready::ALL).unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].id, &due[0].payload), (id, &sample(1).payload));
    assert_eq!(due[0].enqueued_at, at(0));
}

/// E2: the same work sent from two places was doubled.
#[test]
fn e2_two_connections_never_hand_out_the_same_transaction() {
    let mut scratch = scratch();
    for number in 0..40 {
        enqueue_sample(&mut scratch.cache, number);
    }
    let mut others = vec![
        scratch.cache.another().unwrap(),
        scratch.cache.another().unwrap(),
    ];
    let workers: Vec<_> = others
        .drain(..)
        .map(|mut cache| {
            std::thread::spawn(move || {
                let mut ids = Vec::new();
                for _ in 0..40 {
                    ids.extend(
                        cache
                            .due(at(1), 3, &Ready::ALL)
                            .unwrap()
                            .into_iter()
                            .map(|each| each.id),
                    );
                }
                ids
            })
        })
        .collect();
    let mut ids: Vec<Uuid> = workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
        .collect();
    assert_eq!(ids.len(), 40);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
}

/// E3: a settled case was overwritten by an older answer of the server.
#[test]
fn e3_a_late_answer_does_not_change_a_settled_case() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    claim(&mut scratch, 1);
    assert_eq!(
        scratch.cache.settle(id, &receipt("R1"), at(2)).unwrap(),
        Settled::Now
    );
    assert_eq!(
        scratch.cache.settle(id, &receipt("R2"), at(3)).unwrap(),
        Settled::Before
    );
    assert!(
        scratch
            .cache
            .defer(id, at(9), "sync.timeout", at(3))
            .is_err()
    );
    assert!(
        scratch
            .cache
            .park(id, "platform", "rejected", "", at(3))
            .is_err()
    );
    let case = scratch.cache.case(&sample(1).case_number).unwrap().unwrap();
    assert_eq!(case.state, State::Acked);
    assert_eq!(case.receipt, Some(receipt("R1")));
    assert_eq!(case.ended_at, Some(at(2)));
}

#[test]
fn a_whole_reply_is_settled_at_once_and_an_unknown_id_stops_no_other() {
    let mut scratch = scratch();
    let ids = [1, 2].map(|number| enqueue_sample(&mut scratch.cache, number));
    claim(&mut scratch, 2);
    scratch.cache.settle(ids[0], &receipt("R1"), at(2)).unwrap();
    let unknown = Uuid::from_u128(77);
    let reply = [ids[0], unknown, ids[1]].map(|id| (id, receipt("R2")));
    let outcomes = scratch.cache.settle_all(&reply, at(3)).unwrap();
    assert!(matches!(
        outcomes.as_slice(),
        [
            Ok(Settled::Before),
            Err(CacheError::UnknownTransaction { id }),
            Ok(Settled::Now)
        ] if *id == unknown
    ));
    let scratch = scratch.reopen();
    for (number, reference) in [(1, "R1"), (2, "R2")] {
        let case = scratch.cache.case(&sample(number).case_number).unwrap();
        assert_eq!(case.unwrap().receipt, Some(receipt(reference)));
    }
}

/// E4: after the line came back only the last order was sent.
#[test]
fn e4_everything_that_waited_leaves_in_order() {
    let mut scratch = scratch();
    let mut expected = Vec::new();
    for number in 0..120 {
        let mut transaction = sample(number);
        // Every third one is of the same person, so that the line has to be drained in rounds.
        if number.is_multiple_of(3) {
            transaction.subject = [0; 32];
        }
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
        expected.push(transaction.id);
    }
    let mut sent = Vec::new();
    for round in 0..60 {
        let ids = claim(&mut scratch, round);
        for id in &ids {
            scratch.cache.settle(*id, &receipt("R"), at(round)).unwrap();
        }
        sent.extend(ids);
    }
    assert_eq!(scratch.cache.depth().unwrap().waiting, 0);
    let of_one_person: Vec<_> = sent.iter().filter(|id| id.as_u128() % 3 == 1).collect();
    assert_eq!(sent.len(), expected.len());
    assert!(
        of_one_person.is_sorted(),
        "one person's transactions left out of order"
    );
    sent.sort();
    assert_eq!(sent, expected);
}

#[test]
fn enqueueing_again_changes_nothing_and_other_content_is_refused() {
    let mut scratch = scratch();
    let first = scratch.cache.enqueue(&sample(1), at(0)).unwrap();
    assert_eq!(scratch.cache.enqueue(&sample(1), at(9)).unwrap(), first);
    let mut other = sample(1);
    other.payload = b"{}".to_vec();
    let error = scratch.cache.enqueue(&other, at(9)).unwrap_err();
    assert_eq!(error.code(), "queue.content-differs");
    scratch
        .cache
        .settle(sample(1).id, &receipt("R"), at(9))
        .unwrap();
    assert_eq!(scratch.cache.enqueue(&sample(1), at(10)).unwrap(), first);
    assert_eq!(scratch.cache.depth().unwrap().waiting, 0);
    assert_eq!(scratch.cache.recent(10).unwrap().len(), 1);
}

#[test]
fn in_flight_is_pending_again_after_a_restart() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    claim(&mut scratch, 1);
    assert!(claim(&mut scratch, 1).is_empty());
    let Scratch { cache, directory } = scratch;
    drop(cache);
    let (cache, opening) = Cache::open(directory.path(), at(2)).unwrap();
    assert_eq!(opening.recovered_in_flight, 1);
    assert_eq!(claim(&mut Scratch { cache, directory }, 2), [id]);
}

#[test]
fn the_order_is_the_sequence_whatever_the_clock_says() {
    let mut scratch = scratch();
    let mut ids = Vec::new();
    for (number, second) in [(3, 500), (1, -80_000), (2, 2_000_000_000)] {
        scratch.cache.enqueue(&sample(number), at(second)).unwrap();
        ids.push(sample(number).id);
    }
    assert_eq!(claim(&mut scratch, 0), ids);
}

#[test]
fn one_person_s_transactions_leave_one_after_another() {
    let mut scratch = scratch();
    let (first, mut second, other) = (sample(1), sample(2), sample(3));
    second.subject = first.subject;
    for transaction in [&first, &second, &other] {
        scratch.cache.enqueue(transaction, at(0)).unwrap();
    }
    assert_eq!(claim(&mut scratch, 1), [first.id, other.id]);
    scratch
        .cache
        .defer(first.id, at(60), "sync.timeout", at(1))
        .unwrap();
    assert!(claim(&mut scratch, 59).is_empty());
    assert_eq!(claim(&mut scratch, 60), [first.id]);
    scratch
        .cache
        .settle(first.id, &receipt("R"), at(61))
        .unwrap();
    assert_eq!(claim(&mut scratch, 61), [second.id]);
}

#[test]
fn a_dead_transaction_blocks_only_its_own_person_until_somebody_acts() {
    let mut scratch = scratch();
    let (first, mut second, other) = (sample(1), sample(2), sample(3));
    second.subject = first.subject;
    for transaction in [&first, &second, &other] {
        scratch.cache.enqueue(transaction, at(0)).unwrap();
    }
    claim(&mut scratch, 1);
    scratch
        .cache
        .park(first.id, "platform", "case.rejected", "", at(1))
        .unwrap();
    scratch
        .cache
        .settle(other.id, &receipt("R"), at(1))
        .unwrap();
    let mut scratch = scratch.reopen();
    assert!(claim(&mut scratch, 2).is_empty());
    let depth = scratch.cache.depth().unwrap();
    assert_eq!((depth.waiting, depth.dead), (1, 1));
    let rows = scratch.cache.list(10).unwrap();
    assert_eq!(rows[0].ended_by.as_deref(), Some("platform"));
    assert!(rows[1].is_blocked);

    scratch.cache.reinstate(first.id, "staff-7", at(3)).unwrap();
    assert_eq!(claim(&mut scratch, 3), [first.id]);
    assert!(
        scratch
            .cache
            .close(first.id, "staff-7", "on paper", at(4))
            .is_err()
    );
    scratch
        .cache
        .park(first.id, "platform", "case.rejected", "", at(4))
        .unwrap();
    scratch
        .cache
        .close(first.id, "staff-7", "on paper", at(5))
        .unwrap();
    assert_eq!(claim(&mut scratch, 6), [second.id]);
    assert_eq!(scratch.cache.depth().unwrap().dead, 0);
}

#[test]
fn a_receipt_settles_even_what_was_parked() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    scratch
        .cache
        .park(id, "staff-7", "unclear", "", at(1))
        .unwrap();
    scratch.cache.settle(id, &receipt("R1"), at(2)).unwrap();
    assert_eq!(state_of(&scratch, id), State::Acked);
    assert_eq!(scratch.cache.depth().unwrap().dead, 0);
}

#[test]
fn deferring_counts_the_attempt_and_releasing_does_not() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    claim(&mut scratch, 1);
    scratch.cache.release(id).unwrap();
    let due = scratch.cache.due(at(1), 1, &Ready::ALL).unwrap();
    assert_eq!(due[0].attempts, 0);
    scratch
        .cache
        .defer(id, at(5), "sync.timeout", at(1))
        .unwrap();
    let row = scratch.cache.list(1).unwrap().remove(0);
    assert_eq!(row.last_code.as_deref(), Some("sync.timeout"));
    assert_eq!(row.next_at, Some(at(5)));
    assert_eq!(
        scratch.cache.due(at(5), 1, &Ready::ALL).unwrap()[0].attempts,
        1
    );
}

#[test]
fn a_wrong_clock_never_stalls_the_line() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    claim(&mut scratch, 1);
    // The platform asks for a day; an hour is believed.
    scratch
        .cache
        .defer(id, at(DAY_S), "sync.busy", at(0))
        .unwrap();
    assert_eq!(
        scratch.cache.next_due_at(at(0), &Ready::ALL).unwrap(),
        Some(at(3600))
    );
    assert!(claim(&mut scratch, 3599).is_empty());
    // The clock goes back a day: the delay was meant for another time.
    assert_eq!(
        scratch.cache.next_due_at(at(-DAY_S), &Ready::ALL).unwrap(),
        Some(at(-DAY_S))
    );
    assert_eq!(claim(&mut scratch, -DAY_S), [id]);
    // The clock leaps 70 years and comes back.
    let leap = 70 * 365 * DAY_S;
    scratch
        .cache
        .defer(id, at(leap + 60), "sync.busy", at(leap))
        .unwrap();
    assert_eq!(claim(&mut scratch, 0), [id]);
}

#[test]
fn the_next_moment_is_told() {
    let mut scratch = scratch();
    assert_eq!(scratch.cache.next_due_at(at(0), &Ready::ALL).unwrap(), None);
    let id = enqueue_sample(&mut scratch.cache, 1);
    assert_eq!(
        scratch.cache.next_due_at(at(1), &Ready::ALL).unwrap(),
        Some(at(1))
    );
    claim(&mut scratch, 1);
    assert_eq!(scratch.cache.next_due_at(at(1), &Ready::ALL).unwrap(), None);
    scratch
        .cache
        .defer(id, at(30), "sync.timeout", at(1))
        .unwrap();
    assert_eq!(
        scratch.cache.next_due_at(at(1), &Ready::ALL).unwrap(),
        Some(at(30))
    );
}

#[test]
fn a_claim_fits_one_batch_and_a_large_transaction_goes_alone() {
    let mut scratch = scratch();
    for number in 0..6 {
        let mut transaction = sample(number);
        transaction.payload = vec![b'x'; 100 * 1024];
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
    }
    let claims: Vec<_> = (0..4).map(|_| claim(&mut scratch, 1).len()).collect();
    assert_eq!(claims, [2, 2, 2, 0]);
}

#[test]
fn the_content_is_gone_with_the_receipt() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    scratch.cache.settle(id, &receipt("R1"), at(1)).unwrap();
    let left: i64 = scratch
        .cache
        .connection
        .query_row(
            "SELECT count(*) FROM outbox WHERE payload IS NOT NULL OR content_digest IS NOT NULL",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn what_was_altered_on_disk_is_set_aside_and_does_not_stop_the_others() {
    let mut scratch = scratch();
    let altered = enqueue_sample(&mut scratch.cache, 1);
    let good = enqueue_sample(&mut scratch.cache, 2);
    scratch.cache.place_arrivals().unwrap();
    scratch
        .cache
        .connection
        .execute("UPDATE outbox SET payload = x'7B7D' WHERE sequence = 1", [])
        .unwrap();
    assert_eq!(claim(&mut scratch, 1), [good]);
    assert_eq!(state_of(&scratch, altered), State::Dead);
    let rows = scratch.cache.list(1).unwrap();
    assert_eq!(rows[0].last_code.as_deref(), Some("queue.inconsistent"));
}

#[test]
fn a_case_is_found_before_its_rating() {
    let mut scratch = scratch();
    let mut rating = sample(1);
    rating.kind = "rating".to_owned();
    let mut case = sample(2);
    case.case_number.clone_from(&rating.case_number);
    scratch.cache.enqueue(&rating, at(0)).unwrap();
    scratch.cache.enqueue(&case, at(0)).unwrap();
    let found = scratch.cache.case(&rating.case_number).unwrap().unwrap();
    assert_eq!((found.id, found.state), (case.id, State::Pending));
    assert_eq!(scratch.cache.case("none").unwrap(), None);
}

#[test]
fn an_unknown_id_is_told() {
    let mut scratch = scratch();
    let id = Uuid::from_u128(5);
    let error = scratch.cache.settle(id, &receipt("R"), at(0)).unwrap_err();
    assert_eq!(error.code(), "queue.unknown-transaction");
    assert!(scratch.cache.release(id).is_err());
    assert!(scratch.cache.park(id, "staff-7", "x", "", at(0)).is_err());
}

#[test]
fn a_blocked_crowd_is_not_looked_at() {
    let mut scratch = scratch();
    for number in 0..200_u8 {
        let mut transaction = sample(number);
        transaction.subject = [7; 32];
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
    }
    let ready: i64 = scratch
        .cache
        .connection
        .query_row(
            "SELECT count(*) FROM outbox INDEXED BY outbox_ready
             WHERE state = 1 AND is_blocked = 0 AND next_at = 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(ready, 1);
}

/// A dead battery shows 1970, a typing mistake 2096, a wrong zone yesterday: what waits leaves, and
/// in the order it was confirmed.
#[test]
fn a_clock_that_jumps_neither_stalls_nor_reorders() {
    let leaps = [-1_795_000_000, 70 * 365 * DAY_S, -DAY_S];
    for leap in leaps {
        let mut scratch = scratch();
        let mut ids = Vec::new();
        for (number, second) in [(1, 0), (2, leap), (3, 10)] {
            let mut transaction = sample(number);
            transaction.subject = [1; 32];
            scratch.cache.enqueue(&transaction, at(second)).unwrap();
            ids.push(transaction.id);
        }
        let mut sent = Vec::new();
        for (index, second) in [0, leap, 20].into_iter().enumerate() {
            let [id] = claim(&mut scratch, second)[..] else {
                panic!("stalled at {second} after a leap of {leap}");
            };
            // A retry asked for under one clock comes under the next at the latest.
            let until = at(second).saturating_add(DEFER_MAX).unwrap();
            scratch
                .cache
                .defer(id, until, "platform.busy", at(second))
                .unwrap();
            let next = if index == 0 { leap } else { -leap };
            let now = at(second + next);
            let told = scratch
                .cache
                .next_due_at(now, &Ready::ALL)
                .unwrap()
                .unwrap();
            assert!(told <= now.saturating_add(DEFER_MAX).unwrap());
            let due = scratch.cache.due(told, 9, &Ready::ALL).unwrap();
            assert_eq!(due.len(), 1, "stalled until {told} after a leap of {leap}");
            assert_eq!(due[0].id, id);
            scratch.cache.settle(id, &receipt("R"), told).unwrap();
            sent.push(id);
        }
        assert_eq!(sent, ids, "reordered by a leap of {leap}");
    }
}

#[test]
fn words_on_a_failure_are_kept_for_staff_until_the_content_goes() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    let words = "缺少户口簿第二页。".repeat(40);
    scratch
        .cache
        .park(id, "platform", "case.rejected", &words, at(1))
        .unwrap();
    let row = scratch.cache.dead(9).unwrap().remove(0);
    assert_eq!(row.last_code.as_deref(), Some("case.rejected"));
    let kept = row.last_detail.unwrap();
    assert!(kept.len() <= 512 && kept.len() > 505 && words.starts_with(&kept));
    scratch
        .cache
        .close(id, "staff-7", "on paper", at(2))
        .unwrap();
    assert!(scratch.cache.dead(9).unwrap().is_empty());
    assert_eq!(scratch.cache.recent(1).unwrap()[0].last_detail, None);
}

#[test]
fn the_platform_is_told_which_keys_it_must_keep() {
    let mut scratch = scratch();
    assert!(scratch.cache.queued_key_ids().unwrap().is_empty());
    for (number, key) in [(1, "b"), (2, "a"), (3, "b"), (4, "")] {
        let mut transaction = sample(number);
        transaction.payload_suite = "intl".to_owned();
        transaction.key_id = key.to_owned();
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
    }
    assert_eq!(scratch.cache.queued_key_ids().unwrap(), ["a", "b"]);
    scratch
        .cache
        .settle(sample(2).id, &receipt("R"), at(1))
        .unwrap();
    assert_eq!(scratch.cache.queued_key_ids().unwrap(), ["b"]);
    let due = scratch.cache.due(at(1), 1, &Ready::ALL).unwrap();
    assert_eq!((due[0].key_id.as_str(), due[0].subject), ("b", [1; 32]));
}

/// An envelope goes as base64, which is a third longer.
#[test]
fn a_claim_of_envelopes_fits_one_batch_as_text() {
    let mut scratch = scratch();
    for number in 0..4 {
        let mut transaction = sample(number);
        transaction.payload_suite = "gm".to_owned();
        transaction.payload = vec![0xE5; 100 * 1024];
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
    }
    let claims: Vec<_> = (0..4).map(|_| claim(&mut scratch, 1).len()).collect();
    assert_eq!(claims, [1, 1, 1, 1]);
}

/// What enqueue returned for is on disk: a copy of the files taken at once holds it.
#[test]
fn e1_a_copy_of_the_files_taken_after_each_call_holds_what_was_confirmed() {
    let mut scratch = scratch();
    for number in 1..=12 {
        let mut transaction = sample(number);
        transaction.attachments.push(crate::NewAttachment {
            id: Uuid::from_u128(u128::from(number)),
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: vec![number; 3000],
        });
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_files(scratch.directory.path(), copy.path());
        let (mut cache, opening) = Cache::open(copy.path(), at(1)).unwrap();
        assert_eq!(opening.quarantined, None);
        let waiting = cache.attachments_due(at(1), 100, &Ready::ALL).unwrap();
        assert_eq!(waiting.len(), usize::from(number));
        for (index, attachment) in waiting.iter().enumerate() {
            let bytes = cache.attachment_bytes(attachment.id).unwrap();
            assert_eq!(usize::from(bytes[0]), index + 1);
            let size = attachment.size;
            cache
                .attachment_progress(attachment.id, size, None)
                .unwrap();
        }
        let due = cache.due(at(1), 100, &Ready::ALL).unwrap();
        assert_eq!(due.last().unwrap().payload, sample(number).payload);
        // The audit log is of the same commit.
        assert_eq!(cache.audit_head().unwrap().unwrap().0, u64::from(number));
    }
}

/// What a kill would leave: the files as they are, without closing.
fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else if entry.file_name() != "lock" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
