//! The promises of the audit log.

use kiosk_sealing::audit::{Report, genesis, verify};
use kiosk_sealing::{Algorithm, DeviceKey};

use super::*;
use crate::cache::tests::{Scratch, at, enqueue_sample, sample, scratch, scratch_with};
use crate::{NewAttachment, Options, Ready, Receipt};

fn report(scratch: &Scratch, terminal: &str, keys: &DeviceKey) -> Report {
    let cache = &scratch.cache;
    let entries = cache.audit_entries(0, u32::MAX).unwrap();
    verify(
        terminal,
        entries.into_iter().map(Ok::<_, CacheError>),
        &cache.audit_checkpoints(0, u32::MAX).unwrap(),
        &[keys.public()],
        None,
    )
}

fn key() -> DeviceKey {
    DeviceKey::generate(Algorithm::Ed25519).unwrap()
}

fn kinds(scratch: &Scratch) -> Vec<String> {
    let entries = scratch.cache.audit_entries(0, 1000).unwrap();
    entries.into_iter().map(|(entry, _)| entry.kind).collect()
}

fn receipt() -> Receipt {
    Receipt {
        reference: "R".to_owned(),
        outcome: "accepted".to_owned(),
        message: "测试一".to_owned(),
        valid_until: None,
        raw: "{}".to_owned(),
    }
}

fn unlocked() -> NewAudit {
    NewAudit {
        kind: "technician.unlocked".to_owned(),
        actor: "tech-3".to_owned(),
        subject: None,
        transaction: None,
        detail: "{\"by\":\"token\"}".to_owned(),
    }
}

#[test]
fn every_effect_on_a_transaction_is_in_the_log_and_the_chain_is_whole() {
    let mut scratch = scratch_with(&Options {
        terminal: "T001".to_owned(),
        ..Options::default()
    });
    let cache = &mut scratch.cache;
    let id = enqueue_sample(cache, 1);
    cache.enqueue(&sample(1), at(0)).unwrap();
    cache
        .park(id, "platform", "case.rejected", "words", at(1))
        .unwrap();
    cache.reinstate(id, "staff-7", at(2)).unwrap();
    cache
        .park(id, "staff-7", "case.rejected", "", at(3))
        .unwrap();
    cache.close(id, "staff-7", "on paper", at(4)).unwrap();
    let settled = enqueue_sample(cache, 2);
    cache.settle(settled, &receipt(), at(5)).unwrap();
    cache.settle(settled, &receipt(), at(6)).unwrap();
    assert_eq!(cache.audit(&unlocked(), at(7)).unwrap(), 8);
    assert_eq!(
        kinds(&scratch),
        [
            "transaction.enqueued",
            "transaction.parked",
            "transaction.reinstated",
            "transaction.parked",
            "transaction.closed",
            "transaction.enqueued",
            "transaction.settled",
            "technician.unlocked",
        ]
    );
    let entries = scratch.cache.audit_entries(1, 2).unwrap();
    let (entry, _) = &entries[0];
    assert_eq!((entry.sequence, entry.at_ms), (2, at(1).as_millisecond()));
    assert_eq!(entry.actor, "platform");
    assert_eq!(
        (entry.subject, entry.transaction),
        (Some([1; 32]), Some(id))
    );
    assert_eq!(entry.detail, "{\"reason\":\"case.rejected\"}");

    let scratch = scratch.reopen();
    let report = report(&scratch, "T001", &key());
    assert!(report.is_whole(), "{:?}", report.findings);
    assert_eq!(Some((8, report.head)), scratch.cache.audit_head().unwrap());
    let mut scratch = scratch;
    assert_eq!(scratch.cache.audit(&unlocked(), at(8)).unwrap(), 9);
}

#[test]
fn the_chain_begins_with_the_name_of_the_terminal() {
    let mut scratch = scratch_with(&Options {
        terminal: "T001".to_owned(),
        ..Options::default()
    });
    assert_eq!(scratch.cache.audit_head().unwrap(), None);
    scratch.cache.audit(&unlocked(), at(0)).unwrap();
    let (entry, hash) = scratch.cache.audit_entries(0, 1).unwrap().remove(0);
    assert_eq!(audit::link(&genesis("T001"), &entry), hash);
    assert!(!report(&scratch, "T002", &key()).is_whole());
}

#[test]
fn an_effect_that_fails_leaves_no_entry_and_an_entry_no_effect_without_it() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    assert!(scratch.cache.close(id, "staff-7", "x", at(1)).is_err());
    assert!(scratch.cache.reinstate(id, "staff-7", at(1)).is_err());
    assert_eq!(kinds(&scratch), ["transaction.enqueued"]);
    // The log cannot be written: then the case is not confirmed either.
    scratch
        .cache
        .connection
        .execute_batch(
            "CREATE TRIGGER test_fails BEFORE INSERT ON audit_entry
             BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .unwrap();
    assert!(scratch.cache.enqueue(&sample(2), at(1)).is_err());
    assert!(scratch.cache.settle(id, &receipt(), at(1)).is_err());
    let rows = scratch.cache.recent(9).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].receipt_reference, None);
}

#[test]
fn what_is_in_the_log_cannot_be_changed_deleted_or_replaced() {
    let mut scratch = scratch();
    for second in 0..3 {
        scratch.cache.audit(&unlocked(), at(second)).unwrap();
    }
    let checkpoint = checkpoint(&scratch, &key());
    scratch.cache.add_checkpoint(&checkpoint).unwrap();
    let before = scratch.cache.audit_entries(0, 9).unwrap();
    let row = "(2, 1, 'x', 'x', NULL, NULL, '{}', zeroblob(32))";
    for sql in [
        "UPDATE audit_entry SET detail = '{}' WHERE sequence = 2".to_owned(),
        "UPDATE audit_entry SET sequence = 9 WHERE sequence = 3".to_owned(),
        "DELETE FROM audit_entry WHERE sequence = 3".to_owned(),
        "DELETE FROM audit_entry".to_owned(),
        format!("INSERT OR REPLACE INTO audit_entry VALUES {row}"),
        format!("INSERT OR IGNORE INTO audit_entry VALUES {row}"),
        "UPDATE audit_checkpoint SET signed = 'x'".to_owned(),
        "DELETE FROM audit_checkpoint".to_owned(),
        "INSERT OR REPLACE INTO audit_checkpoint VALUES (3, zeroblob(32), 1, 'x')".to_owned(),
    ] {
        let error = scratch.cache.connection.execute(&sql, []).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{sql}: {error}");
    }
    assert_eq!(scratch.cache.audit_entries(0, 9).unwrap(), before);
    assert_eq!(scratch.cache.latest_checkpoint().unwrap(), Some(checkpoint));
}

#[test]
fn the_log_holds_no_words_of_a_visitor() {
    let mut scratch = scratch();
    let mut transaction = sample(1);
    transaction.payload = "{\"name\":\"测试一\",\"number\":\"440100197505050046\"}".into();
    transaction.attachments.push(NewAttachment {
        id: Uuid::from_u128(1),
        name: "测试一.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        bytes: vec![1],
    });
    let cache = &mut scratch.cache;
    cache.enqueue(&transaction, at(0)).unwrap();
    cache
        .park(
            transaction.id,
            "platform",
            "测试一 was refused",
            "测试一",
            at(1),
        )
        .unwrap();
    let mut receipt = receipt();
    receipt.outcome = "测试一".to_owned();
    cache.settle(transaction.id, &receipt, at(2)).unwrap();
    for (entry, _) in cache.audit_entries(0, 9).unwrap() {
        let text = format!("{entry:?}");
        assert!(
            !text.contains("测试一") && !text.contains("4401001975"),
            "{text}"
        );
    }
}

fn checkpoint(scratch: &Scratch, key: &DeviceKey) -> Checkpoint {
    let (sequence, head) = scratch.cache.audit_head().unwrap().unwrap();
    Checkpoint::sign(key, "", sequence, head, at(9).as_millisecond()).unwrap()
}

#[test]
fn checkpoints_are_kept_in_order_and_only_of_this_log() {
    let (mut scratch, key) = (scratch(), key());
    scratch.cache.audit(&unlocked(), at(0)).unwrap();
    let first = checkpoint(&scratch, &key);
    scratch.cache.add_checkpoint(&first).unwrap();
    scratch.cache.add_checkpoint(&first).unwrap();
    scratch.cache.audit(&unlocked(), at(1)).unwrap();
    let second = checkpoint(&scratch, &key);
    scratch.cache.add_checkpoint(&second).unwrap();
    scratch.cache.add_checkpoint(&first).unwrap();
    let mut foreign = second.clone();
    foreign.head = [7; 32];
    let error = scratch.cache.add_checkpoint(&foreign).unwrap_err();
    assert_eq!(error.code(), "queue.out-of-range");
    let mut beyond = second.clone();
    beyond.sequence = 99;
    assert!(scratch.cache.add_checkpoint(&beyond).is_err());

    let scratch = scratch.reopen();
    assert_eq!(
        scratch.cache.latest_checkpoint().unwrap(),
        Some(second.clone())
    );
    assert_eq!(
        scratch.cache.audit_checkpoints(0, 9).unwrap(),
        [first, second.clone()]
    );
    assert_eq!(scratch.cache.audit_checkpoints(1, 9).unwrap(), [second]);
    assert!(report(&scratch, "", &key).is_whole());
}

#[test]
fn what_does_not_fit_the_log_is_refused() {
    let mut scratch = scratch();
    let refused = |change: fn(&mut NewAudit)| {
        let mut new = unlocked();
        change(&mut new);
        new
    };
    for new in [
        refused(|new| new.kind.clear()),
        refused(|new| new.actor = "x".repeat(200)),
        refused(|new| new.detail = "no json".to_owned()),
        refused(|new| new.detail = format!("\"{}\"", "x".repeat(5_000))),
    ] {
        let error = scratch.cache.audit(&new, at(0)).unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }
    assert_eq!(scratch.cache.audit_head().unwrap(), None);
}

#[test]
fn what_was_altered_on_disk_and_set_aside_is_in_the_log() {
    let mut scratch = scratch();
    let id = enqueue_sample(&mut scratch.cache, 1);
    scratch.cache.place_arrivals().unwrap();
    scratch
        .cache
        .connection
        .execute("UPDATE outbox SET payload = x'7B7D'", [])
        .unwrap();
    assert!(scratch.cache.due(at(1), 9, &Ready::ALL).unwrap().is_empty());
    let (entry, _) = scratch.cache.audit_entries(1, 9).unwrap().remove(0);
    assert_eq!(
        (entry.actor.as_str(), entry.transaction),
        ("terminal", Some(id))
    );
}

#[test]
fn two_connections_write_one_chain() {
    let mut scratch = scratch();
    let mut other = scratch.cache.another().unwrap();
    let writer = std::thread::spawn(move || {
        for number in 100..130 {
            enqueue_sample(&mut other, number);
        }
    });
    for number in 0..30 {
        enqueue_sample(&mut scratch.cache, number);
    }
    writer.join().unwrap();
    let report = report(&scratch, "", &key());
    assert!(report.is_whole() && report.sequence == 60, "{report:?}");
}
