//! The promises of telling tickets, against peers that are scripted reply by reply.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};

use kiosk_sealing::{Algorithm, DeviceKey, RecipientSecret, Suite};
use offline_cache::{Level, NewTicket, Options, Sla, TicketAct, Verdict};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::platform::Identity;
use crate::platform::time::PlatformClock;

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests that a peer may keep.
const KEPT: usize = 64;

/// What a peer says to a request: status and body; `None` closes without a word.
type Answer = Box<dyn Fn(&Value) -> Option<(u16, Value)> + Send>;

fn read_request(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        assert!(head.starts_with("post /v1/tickets "), "{head}");
        assert!(
            head.contains("signature-input: "),
            "every request is signed"
        );
        let (_, length) = head.split_once("content-length: ").unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        if bytes.len() >= end + 4 + length {
            return serde_json::from_slice(&bytes[end + 4..]).ok();
        }
    }
}

/// Listens and gives one answer after the other, a connection each; shows what was asked.
fn peer(answers: Vec<Answer>) -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (keep, kept) = sync_channel(KEPT);
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let Some(request) = read_request(&mut stream) else {
                continue;
            };
            let said = answer(&request);
            drop(keep.send(request));
            let Some((status, body)) = said else { continue };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} Word\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    (address, kept)
}

fn client(address: SocketAddr) -> Client {
    let sealing = RecipientSecret::generate(Suite::Intl).unwrap().public();
    let text = format!("url = \"http://{address}\"\nsealing_key = \"{sealing}\"");
    let config = toml::from_str(&text).unwrap();
    let identity = Identity {
        terminal: "T001".to_owned(),
        key: Arc::new(DeviceKey::generate(Algorithm::Ed25519).unwrap()),
    };
    Client::new(&config, identity, PlatformClock::new(None)).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(PATIENCE, future).await.unwrap() })
}

fn now() -> jiff::Timestamp {
    clock::now().at
}

/// A store with so many open tickets.
fn store(count: u32) -> (TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        terminal: "T001".to_owned(),
        ..Options::default()
    };
    let (mut cache, _) = Cache::open_with(directory.path(), &options, now()).unwrap();
    for number in 0..count {
        let new = NewTicket {
            device: format!("d{number}"),
            class: "printer".to_owned(),
            code: "printer.media-jam".to_owned(),
            action: "clear-nearest".to_owned(),
            level: Level::Village,
            sla: Sla {
                respond: Duration::from_hours(4),
                repair: Duration::from_hours(24),
            },
            before: None,
        };
        cache.open_ticket(&new, now()).unwrap();
    }
    (directory, cache)
}

/// The results of a good platform, all of one word.
fn results(request: &Value, state: &str) -> Value {
    let tickets = request["tickets"].as_array().unwrap();
    let results: Vec<Value> = tickets
        .iter()
        .map(|each| json!({"id": each["id"], "revision": each["revision"], "state": state}))
        .collect();
    json!({ "results": results })
}

fn all(state: &'static str) -> Answer {
    Box::new(move |request| Some((200, results(request, state))))
}

fn refusal(status: u16, code: &'static str) -> Answer {
    Box::new(move |_| Some((status, json!({"code": code, "detail": "x"}))))
}

fn waiting(cache: &Cache) -> usize {
    cache.tickets_unreported(1000).unwrap().len()
}

#[test]
fn tickets_go_up_in_batches_of_fifty_and_once() {
    let (_directory, mut cache) = store(120);
    let (address, seen) = peer(vec![all("stored"), all("stored"), all("known")]);
    let client = client(address);
    run(tell(&client, &mut cache)).unwrap();
    assert_eq!(waiting(&cache), 0);
    let counts: Vec<usize> = seen
        .try_iter()
        .map(|request| request["tickets"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [50, 50, 20]);
    // Nothing waits: the peer, which has gone, is not asked.
    run(tell(&client, &mut cache)).unwrap();
}

#[test]
fn a_reply_that_is_lost_or_makes_no_sense_settles_nothing() {
    let (_directory, mut cache) = store(2);
    let strange = |body: Value| -> Answer { Box::new(move |_| Some((200, body.clone()))) };
    let (address, seen) = peer(vec![
        Box::new(|_| None),
        strange(json!({ "results": [] })),
        strange(json!({ "results": 7 })),
        Box::new(|request| {
            let mut other = results(request, "stored");
            for result in other["results"].as_array_mut().unwrap() {
                result["revision"] = json!(9);
            }
            Some((200, other))
        }),
        all("word-of-tomorrow"),
        refusal(503, "platform.busy"),
        refusal(401, "signature.stale-long-ago"),
        refusal(404, "request.path"),
        refusal(422, ""),
        all("known"),
    ]);
    let client = client(address);
    for _ in 0..9 {
        run(tell(&client, &mut cache)).unwrap_err();
        assert_eq!(waiting(&cache), 2);
    }
    run(tell(&client, &mut cache)).unwrap();
    assert_eq!(waiting(&cache), 0);
    let first = seen.recv().unwrap();
    assert!(
        seen.try_iter().all(|again| again == first),
        "the same each time"
    );
}

#[test]
fn one_that_the_platform_cannot_read_does_not_keep_the_others_back() {
    let (_directory, mut cache) = store(5);
    let judge = |request: &Value| {
        let tickets = request["tickets"].as_array().unwrap();
        if tickets.iter().any(|ticket| ticket["device"] == "d3") {
            return Some((422_u16, json!({"code": "request.field"})));
        }
        Some((200_u16, results(request, "stored")))
    };
    let answers: Vec<Answer> = (0..12).map(|_| Box::new(judge) as Answer).collect();
    let (address, _seen) = peer(answers);
    run(tell(&client(address), &mut cache)).unwrap();
    assert_eq!(waiting(&cache), 0);
}

#[test]
fn a_refused_revision_is_not_sent_again_and_the_next_one_is() {
    let (_directory, mut cache) = store(2);
    let refuse = |request: &Value| {
        let mut all = results(request, "refused");
        all["results"][1]["state"] = json!("stored");
        all["results"][0]["problem"] = json!({"code": "ticket.other-terminal"});
        Some((200_u16, all))
    };
    let (address, seen) = peer(vec![Box::new(refuse), all("stored")]);
    let client = client(address);
    run(tell(&client, &mut cache)).unwrap();
    assert_eq!(waiting(&cache), 0);
    let id = cache.tickets(true, 9).unwrap()[1].id;
    cache
        .ticket_act(id, &TicketAct::Acknowledge, "tech-3", now())
        .unwrap();
    run(tell(&client, &mut cache)).unwrap();
    let second = seen.try_iter().nth(1).unwrap();
    assert_eq!(second["tickets"].as_array().unwrap().len(), 1);
    assert_eq!(second["tickets"][0]["revision"], 2);
    assert_eq!(second["tickets"][0]["state"], "acknowledged");
}

#[test]
fn a_ticket_that_grew_while_it_was_told_is_told_again() {
    let (_directory, mut cache) = store(1);
    let batch = cache.tickets_unreported(9).unwrap();
    let (id, revision) = (batch[0].id, batch[0].revision);
    cache
        .ticket_act(id, &TicketAct::Acknowledge, "tech-3", now())
        .unwrap();
    let result = TicketResult {
        id,
        revision,
        state: Standing::Stored,
        problem: None,
    };
    assert_eq!(
        settle(&mut cache, &batch, &[result.clone(), result]).unwrap(),
        1
    );
    assert_eq!(cache.tickets_unreported(9).unwrap()[0].revision, 2);
}

/// A ticket with the most that the store takes of everything.
fn largest(cache: &mut Cache, number: u32) {
    let ticket = cache.tickets(true, 999).unwrap().pop().unwrap();
    let id = Uuid::from_u128(0xB000 + u128::from(number));
    let record = TestRecord {
        id,
        test: "\"".repeat(64),
        device: ticket.device,
        verdict: Verdict::Passed,
        figures: BTreeMap::from([("x".to_owned(), "\"".repeat(2000))]),
        problem: String::new(),
        by: "\\".repeat(64),
        at: now(),
        took_ms: u64::try_from(i64::MAX).unwrap(),
        ticket: None,
    };
    cache.record_test(&record, now()).unwrap();
    let by = "\\".repeat(64);
    let mut act = |act: &TicketAct| cache.ticket_act(ticket.id, act, &by, now()).unwrap();
    act(&TicketAct::Note("\"".repeat(2048)));
    for _ in 0..16 {
        act(&TicketAct::Replace(offline_cache::Part {
            what: "\"".repeat(64),
            old_serial: "\"".repeat(64),
            new_serial: "\"".repeat(64),
        }));
    }
    act(&TicketAct::Mend { test: id });
    act(&TicketAct::Close);
}

#[test]
fn a_body_is_never_larger_than_the_contract_allows() {
    let (_directory, mut cache) = store(50);
    for number in 0..50 {
        largest(&mut cache, number);
    }
    let mut told = 0;
    while waiting(&cache) > 0 {
        let batch = fitting(cache.tickets_unreported(50).unwrap());
        let body = body(&batch);
        assert!(body.len() <= BODY_BYTES_MAX, "{}", body.len());
        assert!(body.len() > BODY_BYTES_MAX / 2 || told + batch.len() == 50);
        let sent: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(sent["tickets"][0]["after"]["verdict"], "passed");
        for ticket in &batch {
            cache.ticket_reported(ticket.id, ticket.revision).unwrap();
        }
        told += batch.len();
    }
    assert_eq!(told, 50);
}

#[test]
fn a_reply_is_read_within_bounds_or_not_at_all() {
    for bad in [
        &b""[..],
        b"[]",
        b"{\"results\":{}}",
        b"{\"results\":[{\"id\":\"x\",\"revision\":1,\"state\":\"stored\"}]}",
        b"{\"results\":[{\"id\":\"01930000-0000-7000-8000-000000000001\",\"revision\":-1,\"state\":\"stored\"}]}",
        b"\xff\xfe",
    ] {
        assert_eq!(read_reply(bad).unwrap_err().code(), "platform.bad-reply");
    }
    let deep = format!("{{\"results\":{}", "[".repeat(60_000));
    assert!(read_reply(deep.as_bytes()).is_err());
    let long = format!("{{\"results\":[]}}{}", " ".repeat(REPLY_BYTES_MAX));
    assert!(read_reply(long.as_bytes()).is_err());
    let id = "01930000-0000-7000-8000-000000000001";
    let one = json!({"id": id, "revision": 1, "state": "refused",
        "problem": {"code": "a.b\n440100197505050046", "detail": "长".repeat(201)}});
    let many = json!({ "results": vec![one; 60] }).to_string();
    let read = read_reply(many.as_bytes()).unwrap();
    assert_eq!(read.len(), TICKETS_MAX);
    let problem = read[0].problem.as_ref().unwrap();
    assert_eq!(problem.code, "a.b4401");
    assert!(problem.detail.chars().count() <= 200);
}
