//! Who is believed: signed requests, signed orders, sealed bundles on a stick, certificates on
//! both sides of the line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/wire.rs"]
mod wire;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use central_platform::tls::{Pair, TestCertificates, test_certificates};
use central_platform::{Config, Enroll, HoldRule, Platform, Signatures, Tls};
use cluster::Cluster;
use jiff::{SignedDuration, Timestamp};
use kiosk_sealing::audit::{Checkpoint, hash_text};
use kiosk_sealing::bundle::{Entry, Manifest, Writer};
use kiosk_sealing::request::{self, Request};
use kiosk_sealing::{Algorithm, CarriedReceipts, DeviceKey, RecipientKey, payload_context, signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::{PATIENCE, Reply, exchange, send};

const ID: &str = "01930000-0000-7000-8000-000000000001";
const TOKEN: &str = "a-secret-of-the-test";
const BODY_MAX: usize = 1024 * 1024;
const HEALTH: &str = "/v1/health";

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A platform that wants signatures, and a terminal that has a key.
struct Terminal {
    platform: Platform,
    key: DeviceKey,
    nonces: AtomicU32,
    _directory: tempfile::TempDir,
}

fn terminal(config: Config) -> Terminal {
    let directory = tempfile::tempdir().unwrap();
    Terminal {
        platform: Platform::start(directory.path(), local(), config).unwrap(),
        key: DeviceKey::generate(Algorithm::Ed25519).unwrap(),
        nonces: AtomicU32::new(0),
        _directory: directory,
    }
}

fn strict() -> Config {
    Config {
        signatures: Signatures::Required,
        enroll: Enroll::Registered,
        import_token: Some(TOKEN.to_owned()),
        ..Config::default()
    }
}

fn registered(config: Config) -> Terminal {
    let terminal = terminal(config);
    let key = terminal.key.public().to_string();
    terminal.platform.register_terminal("T1", &key).unwrap();
    terminal
}

#[expect(
    clippy::disallowed_methods,
    reason = "signatures are fresh by the platform's clock, which is the system's"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

impl Terminal {
    /// The headers of a signed request.
    fn signature(&self, method: &str, target: &str, body: &[u8], at: Timestamp) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request {
            method,
            path,
            query,
            terminal: "T1",
            body,
        };
        let nonce = format!("n{}", self.nonces.fetch_add(1, Ordering::SeqCst));
        let headers = request::sign(&self.key, &request, at.as_second(), &nonce).unwrap();
        format!(
            "Kiosk-Terminal: T1\r\nContent-Digest: {}\r\nSignature-Input: {}\r\nSignature: {}\r\n",
            headers.content_digest, headers.signature_input, headers.signature
        )
    }

    fn send(&self, method: &str, target: &str, body: &[u8]) -> Reply {
        let headers = self.signature(method, target, body, now());
        self.raw(method, target, &headers, body)
    }

    fn raw(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        send(self.platform.address(), method, target, headers, body).unwrap()
    }

    fn admin(&self, path: &str, body: &Value) -> Value {
        let reply = self.raw("POST", path, "", body.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.json());
        reply.json()
    }

    /// The platform's key, as a terminal trusts it.
    fn verify(&self, domain: &str, text: &str) -> Value {
        let key = self.platform.command_key().parse().unwrap();
        let body = signed::verify(&[key], domain, text, BODY_MAX).unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

fn batch(terminal: &str) -> Vec<u8> {
    json!({"terminal": terminal, "transactions": []})
        .to_string()
        .into_bytes()
}

fn code(reply: &Reply) -> (u16, String) {
    (
        reply.status,
        reply.json()["code"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn only_what_a_known_terminal_signed_just_now_and_once_is_heard() {
    let terminal = registered(strict());
    let body = batch("T1");
    let path = "/v1/batches";
    assert_eq!(terminal.send("POST", path, &body).status, 200);

    let check = |headers: &str, body: &[u8], expected: &str| {
        let reply = terminal.raw("POST", path, headers, body);
        assert_eq!(code(&reply), (401, expected.to_owned()));
        assert!(reply.header("date").is_some());
    };
    check("", &body, "signature.missing");
    check("Kiosk-Terminal: T1\r\n", &body, "signature.missing");
    let headers = terminal.signature("POST", path, &body, now());
    check(&headers, &batch("T1 "), "signature.invalid");
    check(
        &headers.replace("sig1=:", "sig1=:AAAA"),
        &body,
        "signature.invalid",
    );
    check(
        &headers.replace("Kiosk-Terminal: T1", "Kiosk-Terminal: T2"),
        &body,
        "signature.unknown-key",
    );
    // Refused requests do not use up the nonce; the good one does.
    assert_eq!(terminal.raw("POST", path, &headers, &body).status, 200);
    check(&headers, &body, "signature.replayed");
    for offset in [-301, 301, 2_000_000_000] {
        let at = now() + SignedDuration::from_secs(offset);
        let headers = terminal.signature("POST", path, &body, at);
        check(&headers, &body, "signature.stale");
    }
    let other = terminal.send("POST", path, &batch("T2"));
    assert_eq!(code(&other), (403, "signature.other-terminal".to_owned()));
    let elsewhere = terminal.signature("POST", "/v1/batches?x=1", &body, now());
    check(&elsewhere, &body, "signature.invalid");
    // Nobody needs a key to ask whether it is there.
    assert_eq!(terminal.raw("GET", "/v1/health", "", b"").status, 200);
}

#[test]
fn a_stranger_is_believed_at_first_use_only_where_that_is_configured() {
    let body = batch("T1");
    for (enroll, expected) in [(Enroll::FirstUse, 200), (Enroll::Registered, 401)] {
        let terminal = terminal(Config { enroll, ..strict() });
        let headers = terminal.signature("POST", "/v1/batches", &body, now());
        let without = terminal.raw("POST", "/v1/batches", &headers, &body);
        assert_eq!(code(&without).1, "signature.unknown-key");
        let headers = format!("{headers}Kiosk-Key: {}\r\n", terminal.key.public());
        let first = terminal.raw("POST", "/v1/batches", &headers, &body);
        assert_eq!(first.status, expected);
        assert_eq!(terminal.send("POST", "/v1/batches", &body).status, expected);
        let stranger = Terminal {
            key: DeviceKey::generate(Algorithm::Ed25519).unwrap(),
            ..terminal
        };
        let headers = stranger.signature("POST", "/v1/batches", &body, now());
        let headers = format!("{headers}Kiosk-Key: {}\r\n", stranger.key.public());
        let second = stranger.raw("POST", "/v1/batches", &headers, &body);
        assert_ne!(second.status, 200, "a second key was believed");
    }
}

#[test]
fn every_algorithm_of_a_device_key_is_understood() {
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
        let mut terminal = terminal(strict());
        terminal.key = DeviceKey::generate(algorithm).unwrap();
        let key = json!({"terminal": "T1", "key": terminal.key.public().to_string()});
        terminal.admin("/admin/terminals", &key);
        assert_eq!(
            terminal.send("POST", "/v1/batches", &batch("T1")).status,
            200
        );
    }
}

fn heartbeat(terminal: &Terminal, sequence: u64, head: [u8; 32]) -> Value {
    let checkpoint = Checkpoint::sign(&terminal.key, "T1", sequence, head, 0).unwrap();
    json!({
        "terminal": "T1", "sent_at": "2026-11-22T01:00:00Z", "program_version": "0.1.0",
        "boot": ID, "uptime_s": 1, "clock_offset_s": 0,
        "queue": {"waiting": 3, "dead": 1, "oldest_enqueued_at": null,
            "upstreams": [{"upstream": "medical", "waiting": 3, "dead": 1}], "key_ids": []},
        "devices": [{"id": "printer", "class": "printer", "state": "ready", "faults": []}],
        "audit": {"sequence": sequence, "head": hash_text(&head), "signed": checkpoint.signed},
        "usage": {"visits": 1, "transactions": 1, "prints": 1},
        "desired_version": 0, "catalogue_etag": "",
    })
}

#[test]
fn a_heartbeat_anchors_the_audit_log_and_a_cut_one_raises_an_alarm() {
    let terminal = registered(strict());
    let beat = |sequence, head| {
        let body = heartbeat(&terminal, sequence, head).to_string();
        terminal.send("POST", "/v1/heartbeats", body.as_bytes())
    };
    let alarms = || {
        let all = terminal.raw("GET", "/admin/terminals", "", b"").json();
        let alarms = all["terminals"][0]["alarms"].as_array().unwrap().clone();
        let codes: Vec<String> = alarms
            .iter()
            .map(|alarm| alarm["code"].as_str().unwrap().to_owned())
            .collect();
        codes.join(" ")
    };
    let answer = beat(7, [7; 32]).json();
    assert_eq!(
        (
            answer["desired_version"].as_u64(),
            answer["commands_waiting"].as_u64()
        ),
        (Some(1), Some(0))
    );
    assert_eq!(beat(8, [8; 32]).status, 200);
    assert_eq!(alarms(), "");
    assert_eq!(beat(5, [5; 32]).status, 200);
    assert_eq!(beat(8, [9; 32]).status, 200);
    assert_eq!(alarms(), "audit.truncated audit.forked");
    let mut forged = heartbeat(&terminal, 9, [9; 32]);
    forged["audit"]["sequence"] = json!(99);
    let reply = terminal.send("POST", "/v1/heartbeats", forged.to_string().as_bytes());
    assert_eq!(reply.status, 200);
    assert_eq!(alarms(), "audit.truncated audit.forked audit.anchor-forged");
    let page = String::from_utf8(terminal.raw("GET", "/admin", "", b"").body).unwrap();
    assert!(page.contains("audit.truncated"));
}

#[test]
fn a_desired_state_is_signed_and_told_once_a_version() {
    let terminal = registered(strict());
    let ask = |have: u64| terminal.send("GET", &format!("/v1/desired-state?have={have}"), b"");
    let first = ask(0).json();
    let state = terminal.verify(signed::DESIRED_STATE, first["signed"].as_str().unwrap());
    assert_eq!(
        (state["version"].as_u64(), state["terminal"].as_str()),
        (Some(1), Some("T1"))
    );
    assert_eq!(state["sealing_key"], terminal.platform.sealing_key());
    assert_eq!(ask(1).status, 304);
    let wanted = json!({"terminal": "T1", "suspended_items": ["old-age-allowance"],
        "off_hours": "22:00-06:00", "bytes_per_s": 500_000});
    terminal.admin("/admin/desired-state", &wanted);
    let second = ask(1).json();
    let state = terminal.verify(signed::DESIRED_STATE, second["signed"].as_str().unwrap());
    assert_eq!(
        (state["version"].as_u64(), state["off_hours"].as_str()),
        (Some(2), Some("22:00-06:00"))
    );
    let key = terminal.platform.rotate_sealing_key().unwrap();
    let third = ask(2).json();
    let state = terminal.verify(signed::DESIRED_STATE, third["signed"].as_str().unwrap());
    assert_eq!(state["sealing_key"], key);
}

#[test]
fn a_held_release_stands_in_the_next_signed_desired_state_until_it_is_let_go() {
    let terminal = registered(strict());
    let held = |have: u64| {
        let reply = terminal.send("GET", &format!("/v1/desired-state?have={have}"), b"");
        let reply = reply.json();
        let text = reply["signed"].as_str().unwrap();
        terminal.verify(signed::DESIRED_STATE, text)["held_releases"].clone()
    };
    assert_eq!(held(0), json!([]));
    for (have, is_held, expected) in [(1, true, json!(["1.4.2"])), (2, false, json!([]))] {
        let wanted = json!({"version": "1.4.2", "is_held": is_held});
        terminal.admin("/admin/holds", &wanted);
        assert_eq!(held(have), expected);
    }
}

#[test]
fn reports_of_releases_taken_back_hold_them_and_forged_ones_are_refused() {
    let rule = HoldRule {
        terminals: 1,
        percent: 10,
    };
    let terminal = registered(Config {
        hold: rule,
        ..strict()
    });
    let mut body = heartbeat(&terminal, 1, [1; 32]);
    body["update"] = json!({"version": "1.4.1", "slot": "a", "state": "rolled-back",
        "rolled_back": {"version": "1.4.2", "code": "health.device", "reason": "printer"}});
    let body = body.to_string();
    let listed = || terminal.raw("GET", "/admin/holds", "", b"").json()["releases"].clone();
    let unsigned = terminal.raw("POST", "/v1/heartbeats", "", body.as_bytes());
    assert_eq!(unsigned.status, 401);
    assert_eq!(listed(), json!([]));
    let signed = terminal.send("POST", "/v1/heartbeats", body.as_bytes());
    assert_eq!(signed.status, 200);
    let held = json!({"version": "1.4.2", "good": 0, "taken_back": 1, "is_held": true,
        "reason": "update.rolled-back"});
    assert_eq!(listed()[0], held);
}

/// Waits for commands while one is given; true when the answer came well before the wait ended.
fn command_wakes(listens: &Terminal, gives: &Terminal) {
    let (told, heard) = sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let reply = listens.send("GET", "/v1/commands?wait=50", b"");
            told.send(reply.json()).unwrap();
        });
        let order = json!({"terminal": "T1", "kind": "suspend-item",
            "arguments": {"item": "old-age-allowance"}, "expires_in_s": 60});
        let id = gives.admin("/admin/commands", &order)["id"].clone();
        let answer = heard.recv_timeout(Duration::from_secs(20)).unwrap();
        let text = answer["commands"][0].as_str().unwrap();
        let command = listens.verify(signed::COMMAND, text);
        assert_eq!(
            (&command["id"], command["kind"].as_str()),
            (&id, Some("suspend-item"))
        );
        assert_eq!(command["arguments"]["item"], "old-age-allowance");
        let path = format!("/v1/commands/{}/result", id.as_str().unwrap());
        for state in ["done", "failed"] {
            let result = json!({"state": state, "code": "", "detail": ""}).to_string();
            assert_eq!(listens.send("POST", &path, result.as_bytes()).status, 204);
        }
        let listed = gives.raw("GET", "/admin/commands", "", b"").json();
        assert_eq!(
            (
                &listed["commands"][0]["state"],
                &listed["commands"][0]["times_reported"]
            ),
            (&json!("done"), &json!(2))
        );
        let none = listens.send("GET", "/v1/commands?wait=0", b"").json();
        assert_eq!(none["commands"], json!([]));
    });
}

#[test]
fn a_command_is_heard_while_the_terminal_waits() {
    let terminal = registered(strict());
    command_wakes(&terminal, &terminal);
    let unknown = format!("/v1/commands/{ID}/result");
    let result = json!({"state": "done", "code": "", "detail": ""}).to_string();
    let reply = terminal.send("POST", &unknown, result.as_bytes());
    assert_eq!(code(&reply), (404, "command.unknown".to_owned()));
}

#[test]
fn a_command_given_at_another_instance_is_heard_too() {
    let config = Config {
        database: Some(Cluster::shared().database()),
        ..strict()
    };
    let (one, other) = (registered(config.clone()), terminal(config));
    command_wakes(&one, &other);
    // A nonce that one instance heard is used up at the other.
    let body = batch("T1");
    let headers = one.signature("POST", "/v1/batches", &body, now());
    assert_eq!(
        other.raw("POST", "/v1/batches", &headers, &body).status,
        200
    );
    let again = one.raw("POST", "/v1/batches", &headers, &body);
    assert_eq!(code(&again).1, "signature.replayed");
}

/// A part of a bundle with sealed transactions.
fn part(terminal: &Terminal, key: &DeviceKey, numbers: &[u128]) -> Vec<u8> {
    let manifest = Manifest {
        format: 1,
        terminal: "T1".to_owned(),
        bundle: ID.parse().unwrap(),
        part: 1,
        made_at: "2026-11-22T01:00:00Z".parse().unwrap(),
        transactions: u32::try_from(numbers.len()).unwrap(),
    };
    let to: RecipientKey = terminal.platform.sealing_key().parse().unwrap();
    let mut writer = Writer::begin(Vec::new(), &manifest).unwrap();
    for number in numbers {
        let id = Uuid::from_u128(*number);
        let envelope = kiosk_sealing::seal(&to, &payload_context("T1", id), b"{\"a\": 1}").unwrap();
        let entry = Entry {
            id,
            kind: "case".to_owned(),
            item: "old-age-allowance".to_owned(),
            item_version: 1,
            case_number: format!("T1-{number}"),
            enqueued_at: manifest.made_at,
            upstream: String::new(),
            payload_suite: "intl".to_owned(),
            attachments: Vec::new(),
        };
        writer.transaction(&entry, &envelope, &[]).unwrap();
    }
    writer.finish(key).unwrap()
}

#[test]
fn a_bundle_on_a_stick_takes_effect_once_and_its_receipts_are_signed() {
    let terminal = registered(strict());
    let part_1 = part(&terminal, &terminal.key, &[1, 2, 3]);
    let bring = |token: &str, bytes: &[u8]| {
        let headers = format!(
            "Authorization: Bearer {token}\r\nContent-Type: application/vnd.kiosk.bundle\r\n"
        );
        terminal.raw("POST", "/v1/bundles", &headers, bytes)
    };
    assert_eq!(
        code(&bring("wrong", &part_1)),
        (401, "token.invalid".to_owned())
    );
    let mut altered = part_1.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    assert_eq!(bring(TOKEN, &altered).status, 422);
    assert_eq!(bring(TOKEN, &part_1[..middle]).status, 422);
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let foreign = part(&terminal, &stranger, &[1]);
    assert_eq!(
        code(&bring(TOKEN, &foreign)),
        (422, "bundle.unknown-key".to_owned())
    );
    assert!(
        terminal.platform.accepted().unwrap().is_empty(),
        "something of a bad bundle was taken"
    );

    for expected in ["accepted", "duplicate"] {
        let answer = bring(TOKEN, &part_1).json();
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), 3);
        assert!(results.iter().all(|result| result["result"] == expected));
        let text = answer["receipts"].as_str().unwrap();
        let receipts: CarriedReceipts =
            serde_json::from_value(terminal.verify(signed::RECEIPTS, text)).unwrap();
        assert_eq!((receipts.terminal.as_str(), receipts.part), ("T1", 1));
        assert_eq!(receipts.results, *results);
    }
    let accepted = terminal.platform.accepted().unwrap();
    assert_eq!(accepted.len(), 3);
    assert!(
        accepted
            .iter()
            .all(|each| (each.road.as_str(), each.times_received) == ("bundle", 2))
    );
    // Another content under the same number is another platform's or a forger's.
    let other = part(&terminal, &terminal.key, &[4]);
    assert_eq!(
        code(&bring(TOKEN, &other)),
        (422, "bundle.differs".to_owned())
    );
}

/// A request over TLS as a terminal makes it.
fn over_tls(
    platform: &Platform,
    name: &str,
    set: &TestCertificates,
    with: Option<&Pair>,
    target: &str,
) -> Option<u16> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&set.ca).unwrap())
        .unwrap();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let config = match with {
        None => builder.with_no_client_auth(),
        Some(pair) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&pair.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&pair.key).unwrap(),
            )
            .unwrap(),
    };
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(platform.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let stream = StreamOwned::new(connection, stream);
    exchange(stream, "GET", target, "", b"").map(|reply| reply.status)
}

#[test]
fn both_sides_of_the_line_show_certificates_and_bad_ones_end_it() {
    let directory = tempfile::tempdir().unwrap();
    let set = test_certificates(directory.path()).unwrap();
    let with = |tls: Tls| {
        terminal(Config {
            tls: Some(tls),
            ..Config::default()
        })
    };
    let good = with(set.mutual(&set.server));
    assert!(good.platform.url().starts_with("https://127.0.0.1:"));
    for name in ["localhost", "127.0.0.1"] {
        let status = over_tls(&good.platform, name, &set, Some(&set.terminal), HEALTH);
        assert_eq!(status, Some(200), "{name}");
    }
    // Whoever has no certificate yet may look whether the platform serves, and no more.
    for (target, status) in [(HEALTH, 200), ("/v1/catalogue", 403), ("/v1/bundles", 403)] {
        let nobody = over_tls(&good.platform, "localhost", &set, None, target);
        assert_eq!(nobody, Some(status), "{target}");
    }
    let foreign = over_tls(
        &good.platform,
        "localhost",
        &set,
        Some(&set.foreign_terminal),
        HEALTH,
    );
    assert_eq!(foreign, None, "a foreign terminal was heard");
    // And the other way: what a terminal must refuse is really shown to it.
    for bad in [
        &set.foreign_server,
        &set.expired_server,
        &set.misnamed_server,
    ] {
        let bad = with(set.mutual(bad));
        let status = over_tls(
            &bad.platform,
            "localhost",
            &set,
            Some(&set.terminal),
            HEALTH,
        );
        assert_eq!(status, None, "a bad platform was believed");
    }
    // Somebody who says nothing, or no TLS, stops nobody else.
    let _silent = TcpStream::connect(good.platform.address()).unwrap();
    assert!(send(good.platform.address(), "GET", "/v1/health", "", b"").is_none());
    let after = over_tls(
        &good.platform,
        "localhost",
        &set,
        Some(&set.terminal),
        HEALTH,
    );
    assert_eq!(after, Some(200));
}

#[test]
fn a_line_of_ipv6_alone_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let v6: SocketAddr = "[::1]:0".parse().unwrap();
    let only = Platform::start(directory.path(), v6, Config::default()).unwrap();
    assert!(only.url().starts_with("http://[::1]:"));
    assert_eq!(
        send(only.address(), "GET", "/v1/health", "", b"")
            .unwrap()
            .status,
        200
    );
    drop(only);
    let both = Config {
        also_listen: vec![v6],
        ..Config::default()
    };
    let both = Platform::start(directory.path(), local(), both).unwrap();
    for address in both.addresses() {
        assert_eq!(
            send(address, "GET", "/v1/health", "", b"").unwrap().status,
            200
        );
    }
    both.set_network(false).unwrap();
    for address in both.addresses() {
        assert!(TcpStream::connect(address).is_err());
    }
}
