//! A disk that really fills up: new work is refused while there is still room, what was
//! confirmed stays and can be settled. Needs the right to mount a small file system in memory;
//! without it the test says so and proves nothing (the quota has tests of its own).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "says when it could not run")]

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use offline_cache::{Cache, CacheError, NewAttachment, NewTransaction, Options, Quota, Receipt};
use uuid::Uuid;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

/// A file system of 6 MiB, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m,mode=700", "kiosk-test"])
            .arg(directory.path())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let outcome = Command::new("umount").arg("-l").arg(self.0.path()).status();
        drop(outcome);
    }
}

fn transaction(number: u128) -> NewTransaction {
    NewTransaction {
        id: Uuid::from_u128(number),
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 1,
        case_number: format!("T1-20261122-{number:05}"),
        subject: [u8::try_from(number % 251).unwrap(); 32],
        payload: vec![b' '; 20_000],
        payload_suite: "plain".to_owned(),
        key_id: String::new(),
        upstream: String::new(),
        can_wait: false,
        attachments: vec![NewAttachment {
            id: Uuid::from_u128(number + 10_000),
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: vec![7; 60_000],
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

/// Enqueues until it is refused; returns what was acknowledged and why no more.
fn fill(cache: &mut Cache) -> (Vec<Uuid>, CacheError) {
    let mut acknowledged = Vec::new();
    for number in 1..1_000 {
        let transaction = transaction(number);
        match cache.enqueue(&transaction, now()) {
            Ok(_) => acknowledged.push(transaction.id),
            Err(error) => return (acknowledged, error),
        }
    }
    panic!("the disk does not fill");
}

fn options(free_bytes_min: u64) -> Options {
    Options {
        quota: Quota {
            free_bytes_min,
            ..Quota::default()
        },
        ..Options::default()
    }
}

fn check_all_there(cache: &Cache, acknowledged: &[Uuid]) {
    let rows = cache.recent(2_000).unwrap();
    for id in acknowledged {
        assert!(rows.iter().any(|row| row.id == *id), "lost {id}");
        let attachment = Uuid::from_u128(id.as_u128() + 10_000);
        assert_eq!(cache.attachment_bytes(attachment).unwrap().len(), 60_000);
    }
}

#[test]
fn new_work_is_refused_before_the_disk_is_full_and_old_work_is_finished() {
    let Some(small) = Small::mount() else {
        eprintln!("not run: no right to mount");
        return;
    };
    let path = small.path().join("store");
    let (mut cache, _) = Cache::open_with(&path, &options(2 * 1024 * 1024), now()).unwrap();
    let (acknowledged, error) = fill(&mut cache);
    assert_eq!(error.code(), "queue.no-room");
    assert!(acknowledged.len() > 10, "{}", acknowledged.len());
    let free = rustix::fs::statvfs(&path).unwrap();
    assert!(free.f_bavail * free.f_frsize >= 2 * 1024 * 1024);
    check_all_there(&cache, &acknowledged);
    for id in &acknowledged {
        cache.settle(*id, &receipt(), now()).unwrap();
    }
    cache.scrub().unwrap();
    cache.enqueue(&transaction(5_000), now()).unwrap();
}

/// Should the quota be set to nothing, a full disk still loses nothing that was acknowledged.
#[test]
fn a_disk_that_is_full_loses_nothing_that_was_acknowledged() {
    let Some(small) = Small::mount() else {
        eprintln!("not run: no right to mount");
        return;
    };
    let path = small.path().join("store");
    let (mut cache, _) = Cache::open_with(&path, &options(0), now()).unwrap();
    let (acknowledged, error) = fill(&mut cache);
    let code = error.code();
    assert!(
        code == "queue.no-room" || code == "queue.disk-full",
        "{code}: {error}"
    );
    // Something else of the machine takes the rest.
    let rest = vec![1; 8 * 1024 * 1024];
    assert!(std::fs::write(small.path().join("rest"), rest).is_err());
    let error = cache.enqueue(&transaction(6_000), now()).unwrap_err();
    assert!(error.code() == "queue.no-room" || error.code() == "queue.disk-full");
    check_all_there(&cache, &acknowledged);
    drop(cache);
    std::fs::remove_file(small.path().join("rest")).unwrap();
    let (cache, opening) = Cache::open_with(&path, &options(0), now()).unwrap();
    assert_eq!(opening.quarantined, None);
    check_all_there(&cache, &acknowledged);
}
