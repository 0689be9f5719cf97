//! After the receipt nothing of a person is left: the raw bytes of every file of the store are
//! searched for what a made-up person had confirmed, while the store is open and after it closed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use offline_cache::{Cache, NewAttachment, NewTransaction, Ready, Receipt};
use uuid::Uuid;

const NAME: &str = "测试一";
const NUMBER: &str = "440100197505050046";

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

/// Content of several pages, so that it lies in overflow pages too.
fn confirmed(number: u128) -> NewTransaction {
    let person = format!("{{\"name\":\"{NAME}\",\"number\":\"{NUMBER}\"}}");
    NewTransaction {
        id: Uuid::from_u128(number),
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 1,
        case_number: format!("T1-20261122-{number:05}"),
        subject: [u8::try_from(number).unwrap(); 32],
        payload: format!("[{}]", vec![person; 200].join(",")).into_bytes(),
        payload_suite: "plain".to_owned(),
        key_id: String::new(),
        upstream: "civil-affairs".to_owned(),
        can_wait: false,
        attachments: vec![NewAttachment {
            id: Uuid::from_u128(number + 1000),
            name: format!("{NAME}.txt"),
            media_type: "text/plain".to_owned(),
            bytes: format!("{NAME} {NUMBER}\n").repeat(500).into_bytes(),
        }],
    }
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

/// Files below a directory in whose raw bytes the person is found.
fn traces(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(traces(&path));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let has = |text: &str| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        if has(NAME) || has(NUMBER) {
            let name = path.strip_prefix(directory).unwrap();
            found.push(name.display().to_string());
        }
    }
    found.sort();
    found
}

fn enqueue_all(cache: &mut Cache) {
    for number in 1..=20 {
        cache.enqueue(&confirmed(number), now()).unwrap();
    }
}

#[test]
fn nothing_of_a_person_is_left_in_any_file_after_the_receipt() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(directory.path(), now()).unwrap();
    enqueue_all(&mut cache);
    // Before the receipt it is there, so that the search below can fail.
    let before = traces(directory.path());
    assert!(before.contains(&"kiosk.db-wal".to_owned()), "{before:?}");
    assert!(before.len() >= 21, "{before:?}");

    // What is erased from one page may have been moved through others: deferred, parked, claimed.
    for attachment in cache.attachments_due(now(), 100, &Ready::ALL).unwrap() {
        cache
            .attachment_progress(attachment.id, attachment.size, None)
            .unwrap();
    }
    let due = cache.due(now(), 100, &Ready::ALL).unwrap();
    assert!(due.len() > 10);
    cache
        .park(due[0].id, "platform", "case.rejected", NAME, now())
        .unwrap();
    cache.defer(due[1].id, now(), "x.y", now()).unwrap();
    for number in 2..=20 {
        let id = Uuid::from_u128(number);
        cache.settle(id, &receipt(), now()).unwrap();
    }
    cache
        .close(due[0].id, "staff-7", "on paper", now())
        .unwrap();
    // The log file still has what the pages no longer have: that is why it is cut.
    assert_eq!(traces(directory.path()), ["kiosk.db-wal"]);
    assert!(cache.scrub().unwrap());
    assert_eq!(traces(directory.path()), [""; 0]);
    drop(cache);
    assert_eq!(traces(directory.path()), [""; 0]);
    let (cache, _) = Cache::open(directory.path(), now()).unwrap();
    assert_eq!(cache.recent(100).unwrap().len(), 20);
    assert_eq!(traces(directory.path()), [""; 0]);
}

#[test]
fn content_that_had_reached_the_database_file_is_overwritten_there() {
    let directory = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(directory.path(), now()).unwrap();
    enqueue_all(&mut cache);
    drop(cache);
    let before = traces(directory.path());
    assert!(before.contains(&"kiosk.db".to_owned()), "{before:?}");
    let (mut cache, _) = Cache::open(directory.path(), now()).unwrap();
    for number in 1..=20 {
        cache
            .settle(Uuid::from_u128(number), &receipt(), now())
            .unwrap();
    }
    assert!(cache.scrub().unwrap());
    assert_eq!(traces(directory.path()), [""; 0]);
}
