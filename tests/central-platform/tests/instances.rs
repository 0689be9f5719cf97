//! Several platforms on one database, and platforms that die: whatever is killed, and whenever,
//! each transaction takes effect once and every order is in a state that it reached.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/wire.rs"]
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use central_platform::{Config, Platform};
use cluster::Cluster;
use serde_json::{Value, json};
use uuid::Uuid;

/// Transactions that all instances are sent.
const TRANSACTIONS: u128 = 40;
/// Transactions of one batch.
const BATCH: usize = 4;

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn instance(directory: &Path, url: &str) -> Platform {
    let config = Config {
        database: Some(url.to_owned()),
        ..Config::default()
    };
    Platform::start(directory, local(), config).unwrap()
}

fn transaction(number: u128) -> Value {
    json!({
        "id": Uuid::from_u128(number), "kind": "case", "item": "old-age-allowance",
        "item_version": 1, "case_number": format!("T1-{number}"),
        "enqueued_at": "2026-11-22T01:00:00Z", "payload": {"n": number.to_string()},
    })
}

/// Deterministic disorder: where each transaction stands in a sender's order.
fn shuffled(seed: u128) -> Vec<u128> {
    let mut numbers: Vec<u128> = (1..=TRANSACTIONS).collect();
    numbers.sort_by_key(|number| (number * 7919 + seed * 104_729) % 1009);
    numbers
}

/// Sends everything in batches; the results that arrived, by id.
fn send_all(address: SocketAddr, seed: u128) -> Vec<(Uuid, Value)> {
    let mut results = Vec::new();
    for numbers in shuffled(seed).chunks(BATCH) {
        let transactions: Vec<Value> = numbers.iter().map(|each| transaction(*each)).collect();
        let body = json!({"terminal": "T1", "transactions": transactions}).to_string();
        let reply = wire::send(address, "POST", "/v1/batches", "", body.as_bytes());
        let Some(reply) = reply.filter(|reply| reply.status == 200) else {
            continue; // it died, or the database was with the other one: the terminal asks again
        };
        let Ok(answer) = serde_json::from_slice::<Value>(&reply.body) else {
            continue; // it died while it answered
        };
        assert!(reply.header("date").is_some());
        for result in answer["results"].as_array().unwrap() {
            let id = result["id"].as_str().unwrap().parse().unwrap();
            results.push((id, result.clone()));
        }
    }
    results
}

/// Checks that each id was accepted at most once and always got the same receipt.
fn check_results(results: &[(Uuid, Value)]) {
    let mut accepted = BTreeSet::new();
    let mut receipts = BTreeMap::new();
    for (id, result) in results {
        match result["result"].as_str().unwrap() {
            "accepted" => assert!(accepted.insert(*id), "{id} was accepted twice"),
            "duplicate" => {}
            other => panic!("{id} was {other}: {result}"),
        }
        let receipt = receipts
            .entry(*id)
            .or_insert_with(|| result["receipt"].clone());
        assert_eq!(*receipt, result["receipt"], "{id} got two receipts");
    }
}

#[test]
fn two_instances_that_get_the_same_at_the_same_moment_accept_it_once() {
    let url = Cluster::shared().database();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let platforms = std::thread::scope(|scope| {
        // Even the first start of both is at once.
        let starts: Vec<_> = directories
            .iter()
            .map(|directory| scope.spawn(|| instance(directory.path(), &url)))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(platforms[0].sealing_key(), platforms[1].sealing_key());
    assert_eq!(platforms[0].command_key(), platforms[1].command_key());
    let results: Vec<(Uuid, Value)> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|sender: u128| {
                let address = platforms[usize::from(sender.is_multiple_of(2))].address();
                scope.spawn(move || send_all(address, sender / 2))
            })
            .collect();
        senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap())
            .collect()
    });
    assert_eq!(
        results.len() as u128,
        8 * TRANSACTIONS,
        "an answer was lost"
    );
    check_results(&results);
    let accepted = platforms[1].accepted().unwrap();
    assert_eq!(accepted.len() as u128, TRANSACTIONS);
    assert!(accepted.iter().all(|each| each.times_received == 8));
    let rotated = platforms[0].rotate_sealing_key().unwrap();
    assert_eq!(platforms[1].sealing_key(), rotated);
}

/// The program, running; killed when it is dropped.
struct Program {
    child: Child,
    address: SocketAddr,
}

impl Program {
    fn start(directory: &Path, database: Option<&str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_central-platform"));
        command.args(["--listen", "127.0.0.1:0", "--dir"]);
        command.arg(directory);
        if let Some(database) = database {
            command.args(["--database", database]);
        }
        let mut child = command
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.split_once("http://")?
                    .1
                    .trim_end_matches('"')
                    .parse()
                    .ok()
            })
            .expect("the program did not start");
        // What it says later must not fill the pipe; the thread ends with the program.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address }
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn an_instance_killed_between_leaves_nothing_half_and_nothing_twice() {
    let url = Cluster::shared().database();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let survivor = instance(directories[0].path(), &url);
    let victim = Program::start(directories[1].path(), Some(&url));
    let addresses = [survivor.address(), victim.address];
    let (told, heard) = sync_channel(64);
    let results: Vec<(Uuid, Value)> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..6)
            .map(|sender: u128| {
                let (told, address) = (
                    told.clone(),
                    addresses[usize::from(sender.is_multiple_of(2))],
                );
                scope.spawn(move || {
                    let results = send_all(address, sender);
                    told.send(()).unwrap();
                    results
                })
            })
            .collect();
        // In the middle of it: as soon as something took effect, long before everything did.
        let mut polls = 0;
        while survivor.accepted().unwrap().len() < 8 && polls < 10_000 {
            polls += 1;
        }
        assert_eq!(
            heard.recv_timeout(Duration::ZERO),
            Err(RecvTimeoutError::Timeout)
        );
        victim.kill();
        senders
            .into_iter()
            .flat_map(|sender| sender.join().unwrap())
            .collect()
    });
    check_results(&results);
    // Terminals ask again, and the one that is left answers for both.
    let again = send_all(survivor.address(), 99);
    assert_eq!(again.len() as u128, TRANSACTIONS);
    let all: Vec<_> = results.into_iter().chain(again).collect();
    check_results(&all);
    assert_eq!(survivor.accepted().unwrap().len() as u128, TRANSACTIONS);
}

/// Whether an order can have been in these states, one after the other.
fn is_possible(states: &[String]) -> bool {
    states[0] == "created"
        && states.windows(2).all(|step| {
            matches!(
                (step[0].as_str(), step[1].as_str()),
                (
                    "created",
                    "paid" | "expired" | "cancelled" | "refund-pending"
                ) | ("paid" | "expired" | "cancelled", "refund-pending")
                    | ("refund-pending", "refunded")
            )
        })
}

/// Sends one round of acts on one order.
fn pay_and_cancel(address: SocketAddr, number: u128) {
    let id = Uuid::from_u128(number);
    let order = json!({"id": id, "item": "a", "case_number": "T1-1", "amount_fen": 100,
        "subject": "s", "expires_in_s": 3600})
    .to_string();
    let post = |path: &str, body: &str| {
        // An answer that is lost is what this is about.
        drop(wire::send(address, "POST", path, "", body.as_bytes()));
    };
    let act = |act: &str| {
        let step = json!({"id": id, "act": act}).to_string();
        post("/admin/payments", &step);
    };
    post("/v1/payments", &order);
    post("/v1/payments", &order);
    act("pay");
    if number.is_multiple_of(2) {
        post(&format!("/v1/payments/{id}/cancel"), "");
        act("refund");
    }
}

#[test]
fn a_payment_survives_a_kill_at_any_point() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..6_u64 {
        let program = Program::start(directory.path(), None);
        let address = program.address;
        let (done, ended) = sync_channel(1);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 1..=40 {
                    pay_and_cancel(address, number);
                }
                done.send(()).unwrap();
            });
            // A different moment each round, by a rule and not by luck.
            let _ended = ended.recv_timeout(Duration::from_millis(7 + round * 29));
            program.kill();
        });
    }
    let program = Program::start(directory.path(), None);
    for number in 1..=40 {
        pay_and_cancel(program.address, number);
    }
    let path = format!("/v1/payments/{}", Uuid::from_u128(1));
    let paid = wire::send(program.address, "GET", &path, "", b"").unwrap();
    assert_eq!(paid.json()["state"], "paid");
    program.kill();
    let database = rusqlite::Connection::open(directory.path().join("platform.db")).unwrap();
    let mut statement = database
        .prepare("SELECT payment, state FROM payment_event ORDER BY position")
        .unwrap();
    let mut histories: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (id, state): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        histories.entry(id).or_default().push(state);
    }
    assert_eq!(histories.len(), 40);
    for (id, states) in &histories {
        assert!(is_possible(states), "{id}: {states:?}");
        let now: String = database
            .query_row("SELECT state FROM payment WHERE id = ?1", [id], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(&now, states.last().unwrap());
        let is_even = id.parse::<Uuid>().unwrap().as_u128().is_multiple_of(2);
        assert_eq!(now, if is_even { "refunded" } else { "paid" });
    }
}
