//! What was acknowledged survives `kill -9`, whenever it comes: a child process enqueues, claims
//! and settles in a loop and says what it has done after each commit; the parent kills it at a
//! seeded moment, opens the cache and compares. The page cache survives a kill, so this proves
//! the order of writes and the recovery, not the syncing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jiff::Timestamp;
use offline_cache::{Cache, NewAttachment, NewTransaction, Ready, Receipt, State};
use uuid::Uuid;

/// Names the directory in which this test binary plays the child.
const CHILD: &str = "OFFLINE_CACHE_KILL_DIRECTORY";
const SEED: u64 = 0x5EED_2026;
const KILLS: u64 = 20;
/// A child that is never killed ends by itself.
const CHILD_ROUNDS: u64 = 100_000;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

/// Xorshift: the schedule of kills follows from the seed.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn transaction(round: u64, number: u64) -> NewTransaction {
    let id = (u128::from(round) << 64) | u128::from(number + 1);
    let attachments = number.is_multiple_of(3).then(|| NewAttachment {
        id: Uuid::from_u128(id | (1 << 120)),
        name: "page.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        bytes: vec![u8::try_from(number % 251).unwrap(); 5000],
    });
    NewTransaction {
        id: Uuid::from_u128(id),
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 1,
        case_number: format!("T1-{round}-{number}"),
        subject: [u8::try_from(number % 7).unwrap(); 32],
        payload: format!("{{\"round\":{round},\"number\":{number}}}").into_bytes(),
        payload_suite: "plain".to_owned(),
        key_id: String::new(),
        upstream: String::new(),
        can_wait: false,
        attachments: attachments.into_iter().collect(),
    }
}

fn say(word: &str, id: Uuid) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{word} {id}").unwrap();
    out.flush().unwrap();
}

fn play_child(directory: &Path, round: u64) {
    let (mut cache, _) = Cache::open(directory, now()).unwrap();
    let receipt = Receipt {
        reference: "R".to_owned(),
        outcome: "accepted".to_owned(),
        message: String::new(),
        valid_until: None,
        raw: "{}".to_owned(),
    };
    for number in 0..CHILD_ROUNDS {
        let new = transaction(round, number);
        cache.enqueue(&new, now()).unwrap();
        say("enqueued", new.id);
        if number.is_multiple_of(2) {
            for attachment in cache.attachments_due(now(), 2, &Ready::ALL).unwrap() {
                cache
                    .attachment_progress(attachment.id, attachment.size, None)
                    .unwrap();
            }
            for queued in cache.due(now(), 2, &Ready::ALL).unwrap() {
                cache.settle(queued.id, &receipt, now()).unwrap();
                say("settled", queued.id);
            }
        }
    }
}

fn start_child(directory: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_acknowledged_is_lost_or_doubled_by_kill"])
        .arg("--nocapture")
        .env(CHILD, directory)
        .env("OFFLINE_CACHE_KILL_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the child say a seeded number of things, waits a seeded moment more and kills it;
/// returns all it has said.
fn run_and_kill(directory: &Path, round: u64, random: &mut u64) -> Vec<(String, Uuid)> {
    let mut child = start_child(directory, round);
    let lines_wanted = 1 + next_random(random) % 60;
    let spins = next_random(random) % 400_000;
    let mut said = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut read = |said: &mut Vec<(String, Uuid)>| -> bool {
        let Some(Ok(line)) = lines.next() else {
            return false;
        };
        if let Some((word, id)) = line.split_once(' ')
            && let Ok(id) = id.parse()
        {
            said.push((word.to_owned(), id));
        }
        true
    };
    while (said.len() as u64) < lines_wanted {
        assert!(read(&mut said), "the child ended by itself");
    }
    for _ in 0..spins {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts as well.
    while read(&mut said) {}
    said
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill() {
    if let Some(directory) = std::env::var_os(CHILD) {
        let round = std::env::var("OFFLINE_CACHE_KILL_ROUND").unwrap();
        play_child(Path::new(&directory), round.parse().unwrap());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut random = SEED;
    let (mut enqueued, mut settled) = (BTreeSet::new(), BTreeSet::new());
    for round in 1..=KILLS {
        for (word, id) in run_and_kill(directory.path(), round, &mut random) {
            match word.as_str() {
                "enqueued" => assert!(enqueued.insert(id), "{id} enqueued twice"),
                "settled" => assert!(settled.insert(id), "{id} settled twice"),
                _ => {}
            }
        }
        let (cache, opening) = Cache::open(directory.path(), now()).unwrap();
        assert_eq!(opening.quarantined, None, "seed {SEED:#x}, round {round}");
        let rows = cache.recent(u32::MAX).unwrap();
        let states: BTreeMap<Uuid, State> = rows.iter().map(|row| (row.id, row.state)).collect();
        assert_eq!(states.len(), rows.len(), "an id is there twice");
        for id in &enqueued {
            assert!(
                states.contains_key(id),
                "lost {id}: seed {SEED:#x}, round {round}"
            );
        }
        for id in &settled {
            assert_eq!(states[id], State::Acked, "seed {SEED:#x}, round {round}");
        }
        // One commit at most can have happened without being said, per kill.
        assert!(states.len() as u64 <= enqueued.len() as u64 + round);
        // What was committed but not said is known from now on.
        enqueued.extend(states.keys());
        settled.extend(
            states
                .iter()
                .filter(|(_, state)| **state == State::Acked)
                .map(|(id, _)| *id),
        );
    }
    assert!(enqueued.len() as u64 > KILLS);
    check_content(directory.path(), enqueued.len() - settled.len());
}

/// Everything unsettled comes out whole, with its attachments, exactly once.
fn check_content(directory: &Path, expected: usize) {
    let (mut cache, _) = Cache::open(directory, now()).unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..=expected {
        for attachment in cache.attachments_due(now(), 100, &Ready::ALL).unwrap() {
            let bytes = cache.attachment_bytes(attachment.id).unwrap();
            assert_eq!(bytes.len() as u64, attachment.size);
            cache
                .attachment_progress(attachment.id, attachment.size, None)
                .unwrap();
        }
        for queued in cache.due(now(), 100, &Ready::ALL).unwrap() {
            let id = queued.id.as_u128();
            let (round, number) = (id >> 64, (id & u128::from(u64::MAX)) - 1);
            let payload = format!("{{\"round\":{round},\"number\":{number}}}");
            assert_eq!(queued.payload, payload.into_bytes());
            assert!(seen.insert(queued.id));
            let receipt = Receipt {
                reference: "R".to_owned(),
                outcome: "accepted".to_owned(),
                message: String::new(),
                valid_until: None,
                raw: "{}".to_owned(),
            };
            cache.settle(queued.id, &receipt, now()).unwrap();
        }
    }
    assert_eq!(seen.len(), expected);
    assert_eq!(cache.depth().unwrap().waiting, 0);
    let files = std::fs::read_dir(directory.join("attachments")).unwrap();
    assert_eq!(files.count(), 0, "files outlived their transactions");
}
