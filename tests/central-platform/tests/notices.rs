//! Notices to staff over a real line: what is new about tickets and releases is told, once it is
//! durable, until somebody takes it, to the addresses of the configuration and to nobody else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/listener.rs"]
mod listener;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "only what was sent counts here")]
mod wire;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use central_platform::{Config, HoldRule, Platform, PlatformError, Webhook};
use cluster::Cluster;
use listener::{Listener, Told};
use ring::hmac;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::{PATIENCE, send};

const SECRET: &str = "a-secret-of-the-test";
const VILLAGE: &str = "揭阳市/普宁市/里湖镇/某某村";
/// Longer than the platform takes to look twice.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Clone, Copy)]
enum On {
    Sqlite,
    Postgresql,
}

/// A notice that came.
trait Notice {
    fn json(&self) -> Value;
    /// Whether it is signed with the secret.
    fn is_signed(&self) -> bool;
}

impl Notice for Told {
    fn json(&self) -> Value {
        assert_eq!(self.path, "/notices");
        serde_json::from_slice(&self.body).unwrap()
    }

    fn is_signed(&self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let body = str::from_utf8(&self.body).unwrap();
        let text = format!("{}.{body}", self.headers["kiosk-time"]);
        let signature = self.headers["kiosk-signature"]
            .strip_prefix("sha256=")
            .unwrap();
        let tag: Vec<u8> = (0..signature.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap())
            .collect();
        hmac::verify(&key, text.as_bytes(), &tag).is_ok()
    }
}

/// Somebody who hears notices.
struct Staff(Listener);

impl Staff {
    fn new(first: &[&'static str]) -> Self {
        Self(Listener::new(first))
    }

    fn hook(&self, levels: &[&str], regions: &[&str]) -> Webhook {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        Webhook {
            url: format!("http://{}/notices", self.0.address),
            secret: SECRET.to_owned(),
            levels: words(levels),
            regions: words(regions),
            ca: None,
        }
    }

    fn next(&self) -> Told {
        self.0.heard.recv_timeout(PATIENCE).unwrap()
    }

    fn is_quiet(&self) -> bool {
        matches!(
            self.0.heard.recv_timeout(QUIET),
            Err(RecvTimeoutError::Timeout)
        )
    }
}

fn start(directory: &Path, on: On, hooks: Vec<Webhook>) -> Platform {
    let config = Config {
        webhooks: hooks,
        hold: HoldRule {
            terminals: 1,
            percent: 10,
        },
        database: match on {
            On::Sqlite => None,
            On::Postgresql => Some(Cluster::shared().database()),
        },
        ..Config::default()
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let platform = Platform::start(directory, local, config).unwrap();
    let place = json!({"terminal": "T001", "region": VILLAGE, "site": "党群服务中心",
        "installed_on": "", "target": 0});
    post(&platform, "/admin/places", &place);
    platform
}

fn post(platform: &Platform, path: &str, body: &Value) {
    let headers = "Kiosk-Terminal: T001\r\nContent-Type: application/json\r\n";
    let body = body.to_string();
    let reply = send(platform.address(), "POST", path, headers, body.as_bytes()).unwrap();
    assert!(
        reply.status < 300,
        "{}",
        String::from_utf8_lossy(&reply.body)
    );
}

fn ticket(platform: &Platform, revision: u32, state: &str, level: &str) {
    let mended = matches!(state, "mended" | "closed").then_some("2026-11-22T03:00:00Z");
    let ticket = json!({
        "id": Uuid::from_u128(7), "number": "T001-0007", "device": "slips",
        "class": "slip-printer", "code": "printer.media-empty", "action": "clear", "state": state,
        "level": level, "opened_at": "2026-11-22T01:00:00Z",
        "respond_by": "2026-11-22T05:30:00Z", "repair_by": "2026-11-23T01:00:00Z",
        "acknowledged_at": null, "mended_at": mended, "closed_at": null, "by": "tech-3",
        "note": "测试一来过", "parts": [], "before": null, "after": null, "times_seen": 1,
        "times_reopened": 0, "revision": revision,
    });
    post(platform, "/v1/tickets", &json!({"tickets": [ticket]}));
}

fn what_is_new_about_a_ticket_is_told_signed_and_without_what_people_wrote(on: On) {
    let directory = tempfile::tempdir().unwrap();
    let (all, town) = (Staff::new(&[]), Staff::new(&[]));
    let elsewhere = Staff::new(&[]);
    let hooks = vec![
        all.hook(&[], &[]),
        town.hook(&["town"], &["揭阳市/普宁市"]),
        elsewhere.hook(&[], &["汕头市"]),
    ];
    let platform = start(directory.path(), on, hooks);
    let steps = [
        ("open", "village", Some("ticket.opened")),
        ("acknowledged", "village", None),
        ("acknowledged", "town", Some("ticket.escalated")),
        ("mended", "town", None),
        ("open", "town", Some("ticket.reopened")),
    ];
    for (revision, (state, level, event)) in (1..).zip(steps) {
        // The same again is no news.
        ticket(&platform, revision, state, level);
        ticket(&platform, revision, state, level);
        if let Some(event) = event {
            let told = all.next();
            assert!(told.is_signed());
            let body = told.json();
            assert_eq!(body["event"], event);
            assert_eq!(body["level"], level);
            let text = body["text"].as_str().unwrap();
            assert!(
                text.contains(VILLAGE) && text.contains("T001-0007"),
                "{text}"
            );
            assert!(text.contains("11月22日 13:30"), "{text}");
            let text = String::from_utf8_lossy(&told.body);
            assert!(!text.contains("测试一") && !text.contains("tech-3"));
            assert!(Uuid::parse_str(&told.headers["kiosk-notice"]).is_ok());
        }
    }
    for event in ["ticket.escalated", "ticket.reopened"] {
        assert_eq!(town.next().json()["event"], event);
    }
    assert!(all.is_quiet() && town.is_quiet() && elsewhere.is_quiet());
}

fn a_held_release_is_told_to_whoever_looks_after_all(on: On) {
    let directory = tempfile::tempdir().unwrap();
    let (all, county) = (Staff::new(&[]), Staff::new(&[]));
    let hooks = vec![all.hook(&[], &[]), county.hook(&[], &["揭阳市"])];
    let platform = start(directory.path(), on, hooks);
    let body = json!({
        "terminal": "T001", "sent_at": "2026-11-22T01:00:00Z", "program_version": "1.4.1",
        "boot": Uuid::from_u128(1), "uptime_s": 60, "clock_offset_s": 0,
        "queue": {"waiting": 0, "dead": 0, "oldest_enqueued_at": null, "upstreams": [],
            "key_ids": []},
        "devices": [], "audit": null, "usage": {"visits": 0, "transactions": 0, "prints": 0},
        "desired_version": 0, "catalogue_etag": "",
        "update": {"version": "1.4.1", "slot": "a", "state": "rolled-back", "rolled_back":
            {"version": "1.4.2", "code": "health.device", "reason": "printer"}},
    });
    post(&platform, "/v1/heartbeats", &body);
    post(&platform, "/v1/heartbeats", &body);
    let told = all.next().json();
    assert_eq!(told["event"], "release.held");
    assert_eq!(
        (&told["version"], &told["taken_back"]),
        (&json!("1.4.2"), &json!(1))
    );
    post(
        &platform,
        "/admin/holds",
        &json!({"version": "1.4.2", "is_held": false}),
    );
    assert!(all.is_quiet() && county.is_quiet());
}

#[test]
fn what_nobody_takes_is_told_again_and_no_redirection_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let trap = Staff::new(&[]);
    let redirection: &'static str =
        Box::leak(format!("307 x\r\nLocation: http://{}/", trap.0.address).into_boxed_str());
    let staff = Staff::new(&["500 x", redirection, "404 x"]);
    let platform = start(directory.path(), On::Sqlite, vec![staff.hook(&[], &[])]);
    ticket(&platform, 1, "open", "village");
    let tries: Vec<Told> = (0..4).map(|_| staff.next()).collect();
    let ids: Vec<&String> = tries
        .iter()
        .map(|told| &told.headers["kiosk-notice"])
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "it is one notice");
    assert!(staff.is_quiet() && trap.is_quiet());
}

#[test]
fn a_notice_outlives_the_platform() {
    let directory = tempfile::tempdir().unwrap();
    // An address where nobody listens yet.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let deaf = listener.local_addr().unwrap();
    drop(listener);
    let staff = Staff::new(&[]);
    let mut hook = staff.hook(&[], &[]);
    hook.url = format!("http://{deaf}/notices");
    let platform = start(directory.path(), On::Sqlite, vec![hook.clone()]);
    ticket(&platform, 1, "open", "village");
    platform.stop();
    let listener = TcpListener::bind(deaf).unwrap();
    let platform = start(directory.path(), On::Sqlite, vec![hook]);
    let late = Staff(Listener::on(listener, &[]));
    assert_eq!(late.next().json()["event"], "ticket.opened");
    drop(platform);
}

#[test]
fn an_address_on_another_machine_without_tls_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let hook = Webhook {
        url: "http://192.0.2.1/".to_owned(),
        secret: SECRET.to_owned(),
        levels: Vec::new(),
        regions: Vec::new(),
        ca: None,
    };
    let config = Config {
        webhooks: vec![hook],
        ..Config::default()
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let refused = Platform::start(directory.path(), local, config);
    assert!(matches!(refused, Err(PlatformError::Webhook(_))));
}

/// Makes one test of each promise and engine.
macro_rules! on_both_engines {
    ($($promise:ident)*) => {
        mod sqlite {
            $(#[test] fn $promise() { super::$promise(super::On::Sqlite); })*
        }
        mod postgresql {
            $(#[test] fn $promise() { super::$promise(super::On::Postgresql); })*
        }
    };
}

on_both_engines! {
    what_is_new_about_a_ticket_is_told_signed_and_without_what_people_wrote
    a_held_release_is_told_to_whoever_looks_after_all
}
