//! The terminal's line against the real reference platform over real connections: nothing lost,
//! nothing doubled, whatever the line, the platform or a stranger does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use central_platform::tls::{TestCertificates, test_certificates};
use central_platform::{Config, Enroll, Fault, HoldRule, Platform as Central, Signatures};
use kiosk_app::clock;
use kiosk_app::event::{Event, Order};
use kiosk_app::platform::{
    DeviceVitals, Identity, Platform, RolledBack, UpdateVitals, Vitals, desired,
};
use kiosk_app::runtime::Input;
use kiosk_sealing::{
    Algorithm, DeviceKey, RecipientKey, RecipientSecret, Suite, attachment_context,
    payload_context, seal, signed,
};
use offline_cache::{Cache, Cause, NewAttachment, NewTransaction, State, VisitEnd};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const TERMINAL: &str = "T001";
/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a test looks whether something happens that must not: several probes.
const WATCH: Duration = Duration::from_secs(4);
/// Events that may wait for a test.
const EVENTS: usize = 4096;

/// A terminal without glass and devices: its outbox and its line.
struct Line {
    platform: Platform,
    cache: Cache,
    inputs: Receiver<Input>,
    events: Vec<Event>,
}

/// Everything a test is made of; dropped in this order.
struct World {
    line: Line,
    central: Central,
    key: Arc<DeviceKey>,
    directory: TempDir,
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn toml_of(url: &str, central: &Central, more: &str) -> kiosk_app::config::Platform {
    let text = format!(
        "url = \"{url}\"\nprobe_s = 1\nsealing_key = \"{}\"\ncommand_keys = [\"{}\"]\n{more}",
        central.sealing_key(),
        central.command_key(),
    );
    toml::from_str(&text).unwrap()
}

fn line(config: &kiosk_app::config::Platform, key: &Arc<DeviceKey>, store: &TempDir) -> Line {
    let (cache, _) = Cache::open(&store.path().join("store"), clock::now().at).unwrap();
    let identity = Identity {
        terminal: TERMINAL.to_owned(),
        key: Arc::clone(key),
    };
    let (out, inputs) = sync_channel(EVENTS);
    let platform = Platform::start(config, identity, cache.another().unwrap(), out).unwrap();
    Line {
        platform,
        cache,
        inputs,
        events: Vec::new(),
    }
}

fn world_with(change: impl FnOnce(&mut Config)) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config {
        signatures: Signatures::Required,
        ..Config::default()
    };
    change(&mut config);
    let central = Central::start(&directory.path().join("central"), loopback(), config).unwrap();
    let key = Arc::new(DeviceKey::generate(Algorithm::Ed25519).unwrap());
    let line = line(&toml_of(&central.url(), &central, ""), &key, &directory);
    World {
        line,
        central,
        key,
        directory,
    }
}

fn world() -> World {
    world_with(|_| {})
}

fn id_of(number: u16) -> Uuid {
    Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + u128::from(number))
}

/// A sealed case; number and subject make it.
fn case(key: &RecipientKey, number: u16) -> NewTransaction {
    let id = id_of(number);
    let payload = json!({ "format": 1, "answers": { "phone": "synthetic" }, "n": number });
    let context = payload_context(TERMINAL, id);
    let [high, low] = number.to_be_bytes();
    let mut subject = [low; 32];
    subject[0] = high;
    NewTransaction {
        id,
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 1,
        case_number: format!("{TERMINAL}-20261122-{number:05}"),
        subject,
        payload: seal(key, &context, payload.to_string().as_bytes()).unwrap(),
        payload_suite: key.suite().to_string(),
        key_id: key.key_id(),
        upstream: String::new(),
        can_wait: false,
        attachments: Vec::new(),
    }
}

impl Line {
    fn add(&mut self, transaction: &NewTransaction) -> Uuid {
        self.cache.enqueue(transaction, clock::now().at).unwrap();
        self.platform.wake();
        transaction.id
    }

    fn state(&self, id: Uuid) -> State {
        let rows = self.cache.recent(1000).unwrap();
        rows.into_iter().find(|row| row.id == id).unwrap().state
    }

    /// Takes events until one is wanted, or the time is over.
    fn find(&mut self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> bool {
        let until = clock::now().uptime + limit;
        loop {
            let left = until.saturating_sub(clock::now().uptime);
            match self.inputs.recv_timeout(left) {
                Ok(Input::Event(event)) => {
                    let is_it = wanted(&event);
                    self.events.push(event);
                    if is_it {
                        return true;
                    }
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => panic!("the platform thread has ended"),
            }
        }
    }

    fn wait(&mut self, wanted: impl Fn(&Event) -> bool) {
        assert!(self.find(PATIENCE, wanted), "it never came");
    }

    /// Waits until everything has a receipt.
    fn settle(&mut self, ids: &[Uuid]) {
        for _ in 0..1000 {
            if ids.iter().all(|id| self.state(*id) == State::Acked) {
                return;
            }
            self.find(Duration::from_millis(200), |_| false);
        }
        panic!("not everything was settled");
    }

    /// Waits until the platform holds so many, looked at between events.
    fn until(&mut self, is_so: impl Fn() -> bool) {
        for _ in 0..1000 {
            if is_so() {
                return;
            }
            self.find(Duration::from_millis(100), |_| false);
        }
        panic!("it never became so");
    }
}

impl World {
    fn key(&self) -> RecipientKey {
        self.central.sealing_key().parse().unwrap()
    }

    fn add(&mut self, number: u16) -> Uuid {
        let transaction = case(&self.key(), number);
        self.line.add(&transaction)
    }

    /// Asserts that each of these took effect exactly once, and nothing else did.
    fn assert_once(&self, ids: &[Uuid]) {
        let mut accepted: Vec<Uuid> = self
            .central
            .accepted()
            .unwrap()
            .iter()
            .map(|each| each.id)
            .collect();
        let mut ids = ids.to_vec();
        accepted.sort();
        ids.sort();
        assert_eq!(accepted, ids);
    }

    fn admin(&self, path: &str, body: &Value) -> Value {
        admin(self.central.address(), path, body)
    }
}

/// One request of an operator.
fn admin(address: SocketAddr, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: platform\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 2"), "{path}: {head}\n{body}");
    serde_json::from_str(body).unwrap_or(Value::Null)
}

#[test]
fn e2_a_time_out_after_the_servers_commit_never_doubles() {
    for fault in [Fault::DropAfterCommit, Fault::HalfClosed] {
        let mut world = world();
        world.line.wait(|event| matches!(event, Event::Link(true)));
        world.central.set_fault(fault);
        let ids: Vec<Uuid> = (1..=3).map(|number| world.add(number)).collect();
        let central = &world.central;
        world.line.until(|| !central.accepted().unwrap().is_empty());
        assert!(
            ids.iter().all(|id| world.line.state(*id) != State::Acked),
            "no answer came through"
        );
        world.central.set_fault(Fault::None);
        world.line.settle(&ids);
        world.assert_once(&ids);
        let times = world.central.accepted().unwrap();
        assert!(
            times.iter().any(|each| each.times_received > 1),
            "{times:?}"
        );
    }
}

#[test]
fn a_burst_of_failures_costs_nothing_but_time() {
    for status in [500, 503, 429, 408, 403] {
        let mut world = world();
        world.line.wait(|event| matches!(event, Event::Link(true)));
        world.central.set_fault(Fault::Burst {
            requests: 3,
            status,
        });
        let ids: Vec<Uuid> = (1..=5).map(|number| world.add(number)).collect();
        world.line.settle(&ids);
        world.assert_once(&ids);
    }
}

#[test]
fn answers_out_of_order_doubled_strange_too_many_or_endless_do_no_harm() {
    for fault in [
        Fault::ReorderedResults,
        Fault::DoubledResults,
        Fault::UnknownIds,
        Fault::TooManyResults,
        Fault::AcceptTwice,
        Fault::EndlessReply,
        Fault::Rubbish,
    ] {
        let mut world = world();
        world.line.wait(|event| matches!(event, Event::Link(true)));
        world.central.set_fault(fault);
        let ids: Vec<Uuid> = (1..=5).map(|number| world.add(number)).collect();
        world
            .line
            .find(WATCH, |event| matches!(event, Event::Settled { .. }));
        world.central.set_fault(Fault::None);
        world.line.platform.hurry();
        world.line.settle(&ids);
        world.assert_once(&ids);
        let dead = world.line.cache.depth().unwrap().dead;
        assert_eq!(dead, 0, "{fault:?}");
    }
}

#[test]
fn an_outage_is_said_and_what_was_confirmed_meanwhile_follows() {
    let mut world = world();
    world.line.wait(|event| matches!(event, Event::Link(true)));
    world.central.set_network(false).unwrap();
    let ids: Vec<Uuid> = (1..=4).map(|number| world.add(number)).collect();
    world.line.wait(|event| matches!(event, Event::Link(false)));
    world.central.set_network(true).unwrap();
    world.line.wait(|event| matches!(event, Event::Link(true)));
    world.line.settle(&ids);
    world.assert_once(&ids);
}

#[test]
fn pictures_arrive_whole_although_the_line_breaks_and_the_terminal_restarts() {
    let mut world = world();
    world.line.wait(|event| matches!(event, Event::Link(true)));
    let key = world.key();
    let mut transaction = case(&key, 1);
    for number in 0..2_u128 {
        let id = Uuid::from_u128(0xA000 + number);
        let context = attachment_context(TERMINAL, transaction.id, id);
        transaction.attachments.push(NewAttachment {
            id,
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: seal(&key, &context, &vec![0x5A; 1_500_000]).unwrap(),
        });
    }
    world.central.set_fault(Fault::DropAfterCommit);
    let id = world.line.add(&transaction);
    world.line.find(WATCH, |_| false);
    let config = toml_of(&world.central.url(), &world.central, "");
    let World {
        line: first,
        central,
        key,
        directory,
    } = world;
    drop(first);
    central.set_fault(Fault::None);
    let mut second = reopened(&config, &key, &directory);
    second.settle(&[id]);
    let accepted = central.accepted().unwrap();
    assert_eq!((accepted.len(), accepted[0].attachments), (1, 2));
}

/// Starts the terminal again; its threads may need a moment to let go of the store.
fn reopened(config: &kiosk_app::config::Platform, key: &Arc<DeviceKey>, store: &TempDir) -> Line {
    let (_never, turns) = sync_channel::<()>(0);
    for _ in 0..600 {
        match Cache::open(&store.path().join("store"), clock::now().at) {
            Ok((cache, _)) => {
                drop(cache);
                return line(config, key, store);
            }
            Err(error) => {
                assert_eq!(error.code(), "queue.in-use");
                let pause = turns.recv_timeout(Duration::from_millis(100));
                assert!(pause.is_err(), "nobody sends here");
            }
        }
    }
    panic!("the store was never let go");
}

#[test]
fn one_upstream_down_stops_nobody_else() {
    let mut world = world();
    world.line.wait(|event| matches!(event, Event::Link(true)));
    world.central.set_upstream("insurance", false).unwrap();
    let key = world.key();
    let (mut held, mut free) = (Vec::new(), Vec::new());
    for number in 1..=8 {
        let mut transaction = case(&key, number);
        let is_held = number % 2 == 0;
        transaction.upstream = if is_held { "insurance" } else { "civil" }.to_owned();
        let list = if is_held { &mut held } else { &mut free };
        list.push(world.line.add(&transaction));
    }
    world.line.settle(&free);
    world.assert_once(&free);
    let is_said = |events: &[Event], up: bool| {
        events.iter().any(
            |event| matches!(event, Event::Upstream { name, is_up } if name == "insurance" && *is_up == up),
        )
    };
    let found = is_said(&world.line.events, false)
        || world.line.find(PATIENCE, |event| {
            matches!(event, Event::Upstream { is_up: false, .. })
        });
    assert!(found, "the screen hears which one is down");
    world.central.set_upstream("insurance", true).unwrap();
    world.line.platform.hurry();
    world.line.settle(&held);
    world.assert_once(&[held, free].concat());
    let found = is_said(&world.line.events, true)
        || world.line.find(PATIENCE, |event| {
            matches!(event, Event::Upstream { is_up: true, .. })
        });
    assert!(found, "and that it is back");
}

#[test]
fn a_key_that_the_platform_lost_and_a_forged_envelope_are_told_apart() {
    let mut world = world();
    world.line.wait(|event| matches!(event, Event::Link(true)));
    let stranger = RecipientSecret::generate(Suite::Intl).unwrap().public();
    let unreadable = world.line.add(&case(&stranger, 1));
    let mut forged = case(&world.key(), 2);
    *forged.payload.last_mut().unwrap() ^= 1;
    let forged = world.line.add(&forged);
    world.line.wait(|event| {
        matches!(event, Event::Settled { id, receipt } if *id == forged && receipt.outcome == "rejected")
    });
    assert_eq!(world.line.state(forged), State::Dead);
    assert_ne!(world.line.state(unreadable), State::Dead, "nobody's fault");
    assert!(world.central.accepted().unwrap().is_empty());
}

#[test]
fn a_terminal_that_nobody_registered_is_not_served_and_loses_nothing() {
    let mut world = world_with(|config| config.enroll = Enroll::Registered);
    let id = world.add(1);
    world.line.find(WATCH, |_| false);
    assert!(world.central.accepted().unwrap().is_empty());
    assert_ne!(world.line.state(id), State::Dead);
    let key = world.key.public().to_string();
    world.central.register_terminal(TERMINAL, &key).unwrap();
    world.line.platform.hurry();
    world.line.settle(&[id]);
    world.assert_once(&[id]);
}

fn certificates() -> (TempDir, TestCertificates) {
    let directory = tempfile::tempdir().unwrap();
    let set = test_certificates(directory.path()).unwrap();
    (directory, set)
}

/// Whether a terminal with these certificates finds the line.
fn meets(
    set: &TestCertificates,
    server: &central_platform::tls::Pair,
    terminal: &central_platform::tls::Pair,
    ca: &std::path::Path,
) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        tls: Some(set.mutual(server)),
        signatures: Signatures::Required,
        ..Config::default()
    };
    let central = Central::start(&directory.path().join("central"), loopback(), config).unwrap();
    let tls = format!(
        "tls = {{ ca = '{}', certificate = '{}', key = '{}' }}",
        ca.display(),
        terminal.certificate.display(),
        terminal.key.display()
    );
    let key = Arc::new(DeviceKey::generate(Algorithm::EcdsaP256).unwrap());
    let config = toml_of(&central.url(), &central, &tls);
    let mut line = line(&config, &key, &directory);
    let id = line.add(&case(&central.sealing_key().parse().unwrap(), 1));
    let is_met = line.find(WATCH, |event| matches!(event, Event::Link(true)));
    if is_met {
        line.settle(&[id]);
    } else {
        assert_eq!(line.state(id), State::Pending);
    }
    assert_eq!(central.accepted().unwrap().len(), usize::from(is_met));
    is_met
}

#[test]
fn both_ends_prove_who_they_are_or_there_is_no_line() {
    let (_directory, set) = certificates();
    assert!(meets(&set, &set.server, &set.terminal, &set.ca));
    assert!(
        !meets(&set, &set.foreign_server, &set.terminal, &set.ca),
        "a stranger"
    );
    assert!(
        !meets(&set, &set.expired_server, &set.terminal, &set.ca),
        "expired"
    );
    assert!(
        !meets(&set, &set.misnamed_server, &set.terminal, &set.ca),
        "another name"
    );
    assert!(
        !meets(&set, &set.server, &set.foreign_terminal, &set.ca),
        "a foreign terminal"
    );
    assert!(
        !meets(&set, &set.server, &set.terminal, &set.foreign_ca),
        "another authority"
    );
}

#[test]
fn a_network_without_ipv4_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let listen = (Ipv6Addr::LOCALHOST, 0).into();
    let central =
        Central::start(&directory.path().join("central"), listen, Config::default()).unwrap();
    assert!(central.url().starts_with("http://[::1]:"));
    let key = Arc::new(DeviceKey::generate(Algorithm::Sm2).unwrap());
    let mut line = line(&toml_of(&central.url(), &central, ""), &key, &directory);
    let id = line.add(&case(&central.sealing_key().parse().unwrap(), 1));
    line.settle(&[id]);
}

#[test]
fn the_suite_of_the_country_works_from_end_to_end() {
    let mut world = world_with(|config| config.suite = Suite::Gm);
    assert!(world.central.sealing_key().starts_with("gm:"));
    let id = world.add(1);
    world.line.settle(&[id]);
    world.assert_once(&[id]);
}

#[test]
fn the_platform_orders_and_hears_what_became_of_it() {
    let mut world = world();
    let order = |world: &World, kind: &str, arguments: Value| {
        world.admin(
            "/admin/commands",
            &json!({ "terminal": TERMINAL, "kind": kind, "arguments": arguments, "expires_in_s": 600 }),
        )
    };
    order(
        &world,
        "suspend-item",
        json!({ "item": "old-age-allowance" }),
    );
    let wanted = Order::SuspendItem("old-age-allowance".to_owned());
    world
        .line
        .wait(|event| matches!(event, Event::Ordered { order, .. } if *order == wanted));
    let given = world.line.events.iter().find_map(|event| {
        if let Event::Ordered { id, .. } = event {
            Some(*id)
        } else {
            None
        }
    });
    world.line.platform.ordered(given.unwrap(), Ok(()));
    order(&world, "dance", json!({}));
    order(&world, "lock", json!({}));
    world.line.wait(|event| {
        matches!(
            event,
            Event::Ordered {
                order: Order::Lock,
                ..
            }
        )
    });
    let orders = world
        .line
        .events
        .iter()
        .filter(|event| matches!(event, Event::Ordered { .. }))
        .count();
    assert_eq!(orders, 2, "each once, and nothing unknown");
}

#[test]
fn a_newer_desired_state_takes_effect_and_what_was_sealed_before_still_arrives() {
    let mut world = world();
    world.line.wait(|event| matches!(event, Event::Link(true)));
    world.central.set_network(false).unwrap();
    let before = world.add(1);
    let old = world.key();
    world.central.rotate_sealing_key().unwrap();
    world.central.set_network(true).unwrap();
    world.admin(
        "/admin/desired-state",
        &json!({
            "terminal": TERMINAL, "suspended_items": ["pension-qualification"],
            "bytes_per_s": 400_000, "off_hours": null, "heartbeat_s": 10,
        }),
    );
    let new = world.key();
    assert_ne!(old, new);
    let wanted = new.clone();
    world
        .line
        .wait(|event| matches!(event, Event::SealingKey(key) if *key == wanted));
    world.line.wait(
        |event| matches!(event, Event::Suspended(items) if *items == ["pension-qualification"]),
    );
    let after = world.add(2);
    world.line.settle(&[before, after]);
    world.assert_once(&[before, after]);
    let kept = world.line.cache.desired_state().unwrap().unwrap();
    assert!(kept.version >= 1);
}

#[test]
fn the_heartbeat_carries_how_the_terminal_is() {
    let mut world = world();
    world.line.platform.report(Vitals {
        devices: vec![DeviceVitals {
            id: "printer".to_owned(),
            class: "slip-printer".to_owned(),
            state: "online".to_owned(),
            faults: vec!["printer.media-low".to_owned()],
        }],
        ..Vitals::default()
    });
    world.line.wait(|event| matches!(event, Event::Link(true)));
    let address = world.central.address();
    let shown = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET /admin/terminals HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.contains(env!("CARGO_PKG_VERSION")) && reply.contains(TERMINAL)
    };
    world.line.until(shown);
    let cache = &world.line.cache;
    let is_fetched = || cache.catalogue().unwrap().is_some();
    // The catalogue comes down beside it.
    for _ in 0..600 {
        if is_fetched() {
            return;
        }
        drop(world.line.inputs.recv_timeout(Duration::from_millis(100)));
    }
    panic!("no catalogue");
}

#[test]
fn a_release_that_was_taken_back_is_held_for_everybody() {
    let mut world = world_with(|config| {
        config.hold = HoldRule {
            terminals: 1,
            percent: 10,
        };
    });
    world.line.platform.report(Vitals {
        update: Some(UpdateVitals {
            version: "0.2.0".to_owned(),
            slot: "a".to_owned(),
            state: "rolled-back".to_owned(),
            rolled_back: Some(RolledBack {
                version: "0.3.0".to_owned(),
                code: "update.device-lost".to_owned(),
                reason: "slip-printer: it worked before".to_owned(),
            }),
            ..UpdateVitals::default()
        }),
        ..Vitals::default()
    });
    world.admin(
        "/admin/desired-state",
        &json!({ "terminal": TERMINAL, "heartbeat_s": 10 }),
    );
    world.line.wait(|event| matches!(event, Event::Link(true)));
    let cache = world.line.cache.another().unwrap();
    let held = || {
        let stored = cache.desired_state().unwrap();
        stored.map_or_else(Vec::new, |stored| {
            desired::read(stored.body.as_bytes()).unwrap().held_releases
        })
    };
    world.line.until(|| held() == ["0.3.0"]);
    world.admin(
        "/admin/holds",
        &json!({ "version": "0.3.0", "is_held": false }),
    );
    world.line.until(|| held().is_empty());
}

/// A platform that says the same commands again and again, and counts the results.
fn parrot(commands: Vec<String>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let address = listener.local_addr().unwrap();
    let (results, reported) = sync_channel(EVENTS);
    std::thread::spawn(move || {
        for stream in listener.incoming().take(2_000) {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 8192];
            let mut request = String::new();
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                request.push_str(&String::from_utf8_lossy(&bytes[..count]));
                let Some((head, body)) = request.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .lines()
                    .filter_map(|line| line.split_once(": "))
                    .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                    .map_or(0, |(_, value)| value.parse().unwrap());
                if body.len() >= length {
                    break;
                }
            }
            let (status, body) = if request.contains("/result ") {
                drop(results.send(request.clone()));
                ("204 No Content", String::new())
            } else if request.contains("GET /v1/commands") {
                ("200 OK", json!({ "commands": commands }).to_string())
            } else if request.contains("GET /v1/health") {
                ("200 OK", json!({ "status": "ok" }).to_string())
            } else {
                ("503 Service Unavailable", String::new())
            };
            drop(write!(
                stream,
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    (address, reported)
}

/// A terminal at an address that takes the commands of one key.
fn listener_of(address: SocketAddr, platform: &DeviceKey, store: &TempDir) -> Line {
    let sealing = RecipientSecret::generate(Suite::Intl).unwrap().public();
    let config = toml::from_str(&format!(
        "url = \"http://{address}\"\nprobe_s = 1\nsealing_key = \"{sealing}\"\ncommand_keys = [\"{}\"]",
        platform.public()
    ))
    .unwrap();
    let key = Arc::new(DeviceKey::generate(Algorithm::Ed25519).unwrap());
    line(&config, &key, store)
}

#[test]
fn a_replayed_command_is_performed_once_and_a_forged_one_never() {
    let directory = tempfile::tempdir().unwrap();
    let platform = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let now = clock::now().at;
    let command = |number: u16, terminal: &str, kind: &str, hours: i64| {
        json!({
            "id": id_of(number), "terminal": terminal, "kind": kind, "arguments": {},
            "issued_at": now.to_string(),
            "expires_at": (now + jiff::SignedDuration::from_hours(hours)).to_string(),
        })
        .to_string()
    };
    let sign = |key: &DeviceKey, domain: &str, body: &str| {
        signed::sign(key, domain, body.as_bytes()).unwrap()
    };
    let good = sign(&platform, signed::COMMAND, &command(1, TERMINAL, "lock", 1));
    let commands = vec![
        good.clone(),
        sign(
            &stranger,
            signed::COMMAND,
            &command(2, TERMINAL, "unlock", 1),
        ),
        sign(
            &platform,
            signed::DESIRED_STATE,
            &command(3, TERMINAL, "unlock", 1),
        ),
        sign(&platform, signed::COMMAND, &command(4, "T002", "unlock", 1)),
        sign(
            &platform,
            signed::COMMAND,
            &command(5, TERMINAL, "unlock", -1),
        ),
        "rubbish".to_owned(),
        good,
    ];
    let (address, reported) = parrot(commands);
    let mut line = listener_of(address, &platform, &directory);
    line.wait(|event| {
        matches!(
            event,
            Event::Ordered {
                order: Order::Lock,
                ..
            }
        )
    });
    line.platform.ordered(id_of(1), Ok(()));
    let (mut done, mut refused) = (0, 0);
    while done + refused < 2 {
        let result = reported.recv_timeout(PATIENCE).unwrap();
        if result.contains("\"done\"") {
            assert!(result.contains(&id_of(1).to_string()));
            done += 1;
        } else {
            assert!(result.contains(&id_of(5).to_string()) && result.contains("command.expired"));
            refused += 1;
        }
    }
    assert_eq!((done, refused), (1, 1));
    // It is said again and again; nothing more comes of it.
    let is_again = line.find(Duration::from_secs(12), |event| {
        matches!(event, Event::Ordered { .. })
    });
    assert!(!is_again);
    assert_eq!(reported.try_iter().count(), 0);
}

#[test]
fn counters_reach_the_platform_and_keep_no_case_waiting() {
    let mut world = world();
    let end = VisitEnd::Abandoned(Cause::Device);
    let counted = world.line.cache.count_visit_end("pension", end, 2026);
    counted.unwrap();
    world.line.wait(|event| matches!(event, Event::Link(true)));
    let ids: Vec<Uuid> = (1..=3).map(|number| world.add(number)).collect();
    world.line.settle(&ids);
    let address = world.central.address();
    world.line.until(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: platform\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        [
            "kiosk_visits_abandoned_total{terminal=\"T001\",cause=\"device\"} 1\n",
            "kiosk_visits_abandoned_total{terminal=\"T001\",cause=\"line\"} 0\n",
            "kiosk_item_visits_total{terminal=\"T001\",item=\"pension\",outcome=\"abandoned\"} 1\n",
            "kiosk_store_free_bytes{terminal=\"T001\"} ",
            "kiosk_memory_bytes{terminal=\"T001\"} ",
        ]
        .iter()
        .all(|line| reply.contains(line))
    });
}
