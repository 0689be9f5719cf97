//! The promises of the salvage.

use std::os::unix::fs::FileExt;

use jiff::civil::date;
use kiosk_sealing::audit::{Finding, verify};
use kiosk_sealing::{Algorithm, DeviceKey};
use tempfile::TempDir;

mod every_table;

use super::*;
use crate::cache::tests::{at, sample};
use crate::{
    Cache, NewAttachment, NewPrint, NewTransaction, Opening, PrintKind, Ready, Receipt, Sequence,
    State,
};

fn receipt() -> Receipt {
    Receipt {
        reference: "R".to_owned(),
        outcome: "accepted".to_owned(),
        message: String::new(),
        valid_until: None,
        raw: "{}".to_owned(),
    }
}

fn large(number: u8) -> NewTransaction {
    let mut transaction = sample(number);
    transaction.payload = format!("{{\"n\":{number},\"x\":\"{}\"}}", "x".repeat(1500)).into_bytes();
    transaction
}

fn with_picture(number: u8) -> NewTransaction {
    let mut transaction = large(number);
    transaction.attachments.push(NewAttachment {
        id: Uuid::from_u128(u128::from(number) + 1000),
        name: "page.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        bytes: vec![number; 2000],
    });
    transaction
}

/// A directory with 100 transactions of which every tenth is settled and every tenth has a
/// picture, prints, numbers and the rest.
fn filled() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(directory.path(), at(0)).unwrap();
    for number in 1..=100 {
        let transaction = if number % 10 == 5 {
            with_picture(number)
        } else {
            large(number)
        };
        cache.enqueue(&transaction, at(0)).unwrap();
        if number % 10 == 0 {
            cache.settle(transaction.id, &receipt(), at(1)).unwrap();
        }
    }
    for _ in 0..7 {
        cache.next_number("T1", date(2026, 11, 22)).unwrap();
    }
    for number in 0..80_u8 {
        let print = NewPrint {
            id: Uuid::from_u128(u128::from(number)),
            transaction_id: Some(sample(number % 100 + 1).id),
            case_number: Some("T1-20261122-0001".to_owned()),
            kind: PrintKind::Slip,
            digest: [number; 32],
            pages: 1,
            first_page: 1,
            copy_no: 1,
            reprint_of: None,
        };
        cache.prepare_print(&print, at(0)).unwrap();
    }
    cache.set_setting("volume", "3").unwrap();
    cache.set_desired_state(4, "{}", at(0)).unwrap();
    cache
        .command_begin(Uuid::from_u128(5), "lock", at(0))
        .unwrap();
    cache
        .command_finish(Uuid::from_u128(5), "{}", at(0))
        .unwrap();
    drop(cache);
    directory
}

/// Pages of a table or index that hold its rows, in their order.
fn leaves(directory: &TempDir, name: &str) -> Vec<u64> {
    let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
    let mut statement = connection
        .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path")
        .unwrap();
    let pages = statement
        .query_map([name], |row| row.get::<_, i64>(0))
        .unwrap();
    pages
        .map(|page| u64::try_from(page.unwrap()).unwrap())
        .collect()
}

fn ruin(directory: &TempDir, page: u64) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(directory.path().join("kiosk.db"))
        .unwrap();
    file.write_all_at(&[0xA5; 4096], (page - 1) * 4096).unwrap();
}

/// Opens what was damaged and checks that it is salvaged, once.
fn salvaged(directory: &TempDir) -> (Cache, Salvage) {
    let (cache, opening) = Cache::open(directory.path(), at(50)).unwrap();
    assert!(opening.quarantined.is_some());
    let salvage = opening.salvaged.unwrap();
    drop(cache);
    let (cache, opening) = Cache::open(directory.path(), at(51)).unwrap();
    let expected = Opening {
        is_checked_whole: opening.is_checked_whole,
        ..Opening::default()
    };
    assert_eq!(opening, expected);
    (cache, salvage)
}

fn ids(cache: &Cache) -> Vec<Uuid> {
    let rows = cache.recent(1000).unwrap();
    rows.iter().rev().map(|row| row.id).collect()
}

#[test]
fn a_ruined_page_costs_its_own_rows_and_no_others() {
    let directory = filled();
    let pages = leaves(&directory, "outbox");
    assert!(pages.len() > 20, "{pages:?}");
    for index in [5, 6, 14] {
        ruin(&directory, pages[index]);
    }
    let (mut cache, salvage) = salvaged(&directory);
    let saved = ids(&cache);
    assert!(saved.is_sorted(), "the order changed");
    let lost = 100 - u32::try_from(saved.len()).unwrap();
    assert!((3..30).contains(&lost), "{lost}");
    assert_eq!(salvage.transactions + salvage.receipts, 100 - lost);
    // Of ten pictures, those whose transaction is lost are of no use.
    assert_eq!(
        salvage.lost_rows,
        lost + 10 - salvage.attachments,
        "{salvage:?}"
    );
    assert_eq!(salvage.prints, 80);
    assert_eq!(cache.setting("volume").unwrap().as_deref(), Some("3"));
    assert_eq!(cache.desired_state().unwrap().unwrap().version, 4);
    assert_eq!(cache.commands_unreported(9).unwrap().len(), 1);

    // Everything saved leaves whole, once; files of what was lost stay in quarantine.
    for attachment in cache.attachments_due(at(60), 100, &Ready::ALL).unwrap() {
        let bytes = cache.attachment_bytes(attachment.id).unwrap();
        assert_eq!(bytes.len(), 2000);
        cache
            .attachment_progress(attachment.id, attachment.size, None)
            .unwrap();
    }
    let mut sent = 0;
    loop {
        let due = cache.due(at(60), 100, &Ready::ALL).unwrap();
        if due.is_empty() {
            break;
        }
        for queued in due {
            cache.settle(queued.id, &receipt(), at(60)).unwrap();
            sent += 1;
        }
    }
    assert_eq!(sent, salvage.transactions);
    assert_eq!(cache.depth().unwrap().waiting, 0);
}

#[test]
fn what_was_saved_is_not_doubled_and_what_was_lost_can_come_again() {
    let directory = filled();
    ruin(&directory, leaves(&directory, "outbox")[9]);
    let (mut cache, _) = salvaged(&directory);
    let saved = ids(&cache);
    let mut again = 0;
    for number in 1..=100 {
        let transaction = if number % 10 == 5 {
            with_picture(number)
        } else {
            large(number)
        };
        cache.enqueue(&transaction, at(60)).unwrap();
        again += u32::from(!saved.contains(&transaction.id));
    }
    assert!(again > 0);
    assert_eq!(cache.recent(1000).unwrap().len(), 100);
}

#[test]
fn pictures_are_back_in_their_place_and_altered_ones_are_not() {
    let directory = filled();
    let altered = directory
        .path()
        .join("attachments")
        .join(Uuid::from_u128(1005).to_string());
    fs::write(&altered, b"altered").unwrap();
    quarantine::mark_damaged(directory.path()).unwrap();
    let (cache, salvage) = salvaged(&directory);
    assert_eq!((salvage.attachments, salvage.lost_rows), (9, 0));
    assert_eq!((salvage.transactions, salvage.receipts), (90, 10));
    assert_eq!(
        cache.attachment_bytes(Uuid::from_u128(1015)).unwrap(),
        [15; 2000]
    );
    let error = cache.attachment_bytes(Uuid::from_u128(1005)).unwrap_err();
    assert_eq!(error.code(), "queue.attachment-damaged");
    assert!(!altered.exists());
}

#[test]
fn case_numbers_are_not_given_out_twice_even_when_the_counter_is_lost() {
    let directory = filled();
    ruin(&directory, leaves(&directory, "case_counter")[0]);
    let (mut cache, _) = salvaged(&directory);
    let day = date(2026, 11, 22);
    assert_eq!(cache.next_number("T1", day).unwrap(), 10_001);
    assert_eq!(cache.next_number("T1", day).unwrap(), 10_002);
    assert_eq!(cache.next_number("T1", date(2026, 11, 23)).unwrap(), 10_001);
    drop(cache);
    // Again, on the same day, and this time nothing can be read at all.
    ruin(&directory, 1);
    let (mut cache, salvage) = salvaged(&directory);
    // What was in it nobody knows; it was not nothing.
    let nothing = Salvage {
        lost_rows: 1,
        ..Salvage::default()
    };
    assert_eq!(salvage, nothing);
    assert_eq!(cache.next_number("T1", day).unwrap(), 20_001);
    drop(cache);
    // And a third time, with everything readable.
    quarantine::mark_damaged(directory.path()).unwrap();
    let (mut cache, _) = salvaged(&directory);
    assert_eq!(cache.next_number("T1", day).unwrap(), 30_001);
}

fn findings(cache: &Cache, key: &DeviceKey) -> Vec<Finding> {
    let entries = cache.audit_entries(0, 10_000).unwrap();
    let checkpoints = cache.audit_checkpoints(0, 10_000).unwrap();
    let entries = entries.into_iter().map(Ok::<_, CacheError>);
    verify("", entries, &checkpoints, &[key.public()], None).findings
}

#[test]
fn the_audit_log_goes_on_and_says_what_happened() {
    let directory = filled();
    let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    ruin(&directory, leaves(&directory, "outbox")[3]);
    let (mut cache, salvage) = salvaged(&directory);
    assert_eq!(findings(&cache, &key), []);
    let (sequence, _) = cache.audit_head().unwrap().unwrap();
    let (entry, _) = cache.audit_entries(sequence - 1, 1).unwrap().remove(0);
    assert_eq!(
        (entry.sequence, entry.kind.as_str()),
        (111, "store.salvaged")
    );
    let lost = format!("\"lost_rows\":{}", salvage.lost_rows);
    assert!(entry.detail.contains(&lost), "{}", entry.detail);
    cache.enqueue(&sample(200), at(60)).unwrap();
    assert_eq!(findings(&cache, &key), []);
}

#[test]
fn an_unreadable_end_of_the_audit_log_shows() {
    let directory = filled();
    let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let (mut cache, _) = Cache::open(directory.path(), at(2)).unwrap();
    let (sequence, head) = cache.audit_head().unwrap().unwrap();
    let checkpoint = audit_checkpoint(&key, sequence, head);
    cache.add_checkpoint(&checkpoint).unwrap();
    drop(cache);
    let pages = leaves(&directory, "audit_entry");
    ruin(&directory, pages[pages.len() - 1]);
    ruin(&directory, pages[1]);
    let (cache, _) = salvaged(&directory);
    let found = findings(&cache, &key);
    let missing: Vec<_> = found
        .iter()
        .filter(|finding| matches!(finding, Finding::Missing { .. }))
        .collect();
    assert_eq!(missing.len(), 2, "{found:?}");
    // The places of the lost entries are not taken by others.
    let (last, _) = cache.audit_head().unwrap().unwrap();
    assert_eq!(last, sequence + 1);
}

fn audit_checkpoint(
    key: &DeviceKey,
    sequence: u64,
    head: [u8; 32],
) -> kiosk_sealing::audit::Checkpoint {
    kiosk_sealing::audit::Checkpoint::sign(key, "", sequence, head, 1).unwrap()
}

#[test]
fn prints_on_both_sides_of_a_ruined_page_are_saved() {
    let directory = filled();
    let pages = leaves(&directory, "print");
    assert!(pages.len() >= 3, "{pages:?}");
    ruin(&directory, pages[1]);
    let (cache, salvage) = salvaged(&directory);
    assert!((20..80).contains(&salvage.prints), "{salvage:?}");
    assert_eq!(salvage.transactions + salvage.receipts, 100);
    assert!(cache.print(Uuid::from_u128(0)).unwrap().is_some());
    assert!(cache.print(Uuid::from_u128(79)).unwrap().is_some());
}

#[test]
fn a_ruined_index_costs_nothing() {
    for index in ["outbox_line", "outbox_ready", "outbox_case"] {
        let directory = filled();
        ruin(&directory, leaves(&directory, index)[0]);
        let (cache, salvage) = salvaged(&directory);
        assert_eq!(
            (salvage.transactions, salvage.receipts),
            (90, 10),
            "{index}"
        );
        assert_eq!(salvage.lost_rows, 0, "{index}");
        drop(cache);
    }
}

#[test]
fn a_row_that_makes_no_sense_is_left_behind_and_counted() {
    let directory = filled();
    let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA ignore_check_constraints = ON;
             UPDATE outbox SET state = 77 WHERE sequence = 33;
             UPDATE outbox SET payload = x'7B7D' WHERE sequence = 34",
        )
        .unwrap();
    drop(connection);
    quarantine::mark_damaged(directory.path()).unwrap();
    let (cache, salvage) = salvaged(&directory);
    assert_eq!((salvage.transactions, salvage.lost_rows), (89, 1));
    // What was altered goes to a person.
    let dead = cache.dead(9).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].sequence, Sequence(34));
    assert_eq!(dead[0].last_code.as_deref(), Some("queue.inconsistent"));
}

#[test]
fn a_lost_head_of_a_line_does_not_block_the_rest_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(directory.path(), at(0)).unwrap();
    for number in 1..=2 {
        let mut transaction = sample(number);
        transaction.subject = [9; 32];
        cache.enqueue(&transaction, at(0)).unwrap();
    }
    assert!(cache.list(9).unwrap()[1].is_blocked);
    cache
        .connection
        .execute_batch(
            "PRAGMA ignore_check_constraints = ON;
             UPDATE outbox SET state = 77 WHERE sequence = 1",
        )
        .unwrap();
    drop(cache);
    quarantine::mark_damaged(directory.path()).unwrap();
    let (mut cache, _) = salvaged(&directory);
    let due = cache.due(at(60), 9, &Ready::ALL).unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].id, sample(2).id);
    // The place of the lost row is not given again.
    let sequence = cache.enqueue(&sample(3), at(60)).unwrap();
    assert_eq!(sequence, Sequence(3));
}

/// The power may fail anywhere between finding the damage and the end of the salvage.
#[test]
fn a_salvage_cut_short_is_finished_by_the_next_start() {
    for cut in 0..5 {
        let directory = filled();
        let path = directory.path();
        let pending = quarantine::begin(path, at(7)).unwrap();
        if cut == 1 {
            let name = pending.database();
            fs::rename(path.join("kiosk.db"), path.join(name)).unwrap();
        }
        if cut >= 2 {
            pending.move_aside(path).unwrap();
        }
        if cut == 3 {
            fs::write(path.join("kiosk.db.rebuilt"), b"half of it").unwrap();
            let moved = Uuid::from_u128(1005).to_string();
            fs::create_dir(path.join("attachments")).unwrap();
            fs::rename(
                pending.attachments(path).join(&moved),
                path.join("attachments").join(&moved),
            )
            .unwrap();
        }
        if cut == 4 {
            // Everything was done but taking the marker away.
            let copy = tempfile::tempdir().unwrap();
            fs::copy(path.join(pending.database()), copy.path().join("kiosk.db")).unwrap();
            fs::copy(copy.path().join("kiosk.db"), path.join("kiosk.db")).unwrap();
            fs::rename(pending.attachments(path), path.join("attachments")).unwrap();
        }
        let damaged = fs::read(path.join(pending.database())).ok();
        let (cache, opening) = Cache::open(path, at(8)).unwrap();
        assert_eq!(opening.quarantined, Some(pending.database()), "cut {cut}");
        assert_eq!(opening.salvaged.is_some(), cut < 4, "cut {cut}");
        assert_eq!(ids(&cache).len(), 100, "cut {cut}");
        for number in [5, 15, 95] {
            let id = Uuid::from_u128(1000 + number);
            assert!(cache.attachment_bytes(id).is_ok(), "cut {cut}");
        }
        if let Some(damaged) = damaged {
            assert_eq!(fs::read(path.join(pending.database())).unwrap(), damaged);
        }
        drop(cache);
        let (_cache, opening) = Cache::open(path, at(9)).unwrap();
        assert_eq!(opening.quarantined, None, "cut {cut}");
        assert_eq!(quarantine::count(path).unwrap(), 1, "cut {cut}");
    }
}

#[test]
fn a_damaged_file_of_version_1_is_salvaged_into_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
    connection
        .execute_batch(include_str!("../../tests/schemas/v1.sql"))
        .unwrap();
    drop(connection);
    quarantine::mark_damaged(directory.path()).unwrap();
    let (mut cache, salvage) = salvaged(&directory);
    assert_eq!((salvage.transactions, salvage.receipts), (3, 1));
    assert_eq!((salvage.prints, salvage.lost_rows), (1, 0));
    // The rows of that file have no true digest: they go to a person.
    assert!(cache.due(at(60), 9, &Ready::ALL).unwrap().is_empty());
    let states: Vec<State> = cache.dead(9).unwrap().iter().map(|row| row.state).collect();
    assert_eq!(states, [State::Dead; 3]);
    assert_eq!(cache.next_number("T1", date(2026, 6, 1)).unwrap(), 10_001);
    let case = cache.case("T1-20260601-0001").unwrap().unwrap();
    assert_eq!(case.receipt.unwrap().reference, "R-1");
}

/// What has not taken its place when the file is damaged takes it in the new one.
#[test]
fn what_was_confirmed_a_moment_ago_is_saved_into_its_place() {
    let directory = filled();
    let (mut cache, _) = Cache::open(directory.path(), at(0)).unwrap();
    let mut behind = large(201);
    behind.subject = sample(1).subject;
    for transaction in [&large(200), &behind] {
        cache.enqueue(transaction, at(2)).unwrap();
    }
    drop(cache);
    let page: i64 = {
        let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
        let arrivals: i64 = connection
            .query_row("SELECT count(*) FROM arrival", [], |row| row.get(0))
            .unwrap();
        assert_eq!(arrivals, 2);
        // One page of the outbox in the middle: its rows are lost, no other.
        connection
            .query_row(
                "SELECT pageno FROM dbstat WHERE name = 'outbox' AND pagetype = 'leaf'
                 ORDER BY pageno LIMIT 1 OFFSET 9",
                [],
                |row| row.get(0),
            )
            .unwrap()
    };
    assert_eq!(ruin_page(directory.path(), page), 4096);
    let (mut cache, opening) = Cache::open(directory.path(), at(7)).unwrap();
    assert!(opening.salvaged.unwrap().lost_rows > 0);
    let rows = cache.recent(2).unwrap();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    assert_eq!(ids, [behind.id, large(200).id]);
    assert!(rows[0].is_blocked && !rows[1].is_blocked);
    let due = cache.due(at(8), 1000, &Ready::ALL).unwrap();
    assert!(due.iter().any(|each| each.payload == large(200).payload));
}

fn ruin_page(directory: &Path, page: i64) -> usize {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(directory.join("kiosk.db"))
        .unwrap();
    let offset = u64::try_from(page - 1).unwrap() * 4096;
    file.write_at(&[0xA5; 4096], offset).unwrap()
}
