//! What those who look after terminals see and may do, on both engines: metrics, lists and reports
//! are made of what terminals really said, roles and places hold, and every change is in the log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/wire.rs"]
mod wire;

use std::net::SocketAddr;

use central_platform::{Administrator, Config, Platform, Role};
use cluster::Cluster;
use kiosk_sealing::{hex, sha256};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::{Reply, send};

const COUNTY: &str = "揭阳市/普宁市";
const VILLAGE: &str = "揭阳市/普宁市/里湖镇/某某村";
const ELSEWHERE: &str = "汕头市/潮阳区/某镇/某村";

#[derive(Clone, Copy)]
enum On {
    Sqlite,
    Postgresql,
}

struct World {
    platform: Platform,
    directory: tempfile::TempDir,
}

fn administrator(name: &str, role: Role, regions: &[&str]) -> Administrator {
    Administrator {
        name: name.to_owned(),
        token_sha256: hex(&sha256(name.as_bytes())),
        role,
        regions: regions.iter().map(|&region| region.to_owned()).collect(),
    }
}

fn config(on: On) -> Config {
    Config {
        database: match on {
            On::Sqlite => None,
            On::Postgresql => Some(Cluster::shared().database()),
        },
        administrators: vec![
            administrator("owner", Role::Own, &[]),
            administrator("watcher", Role::View, &[]),
            administrator("county", Role::Operate, &[COUNTY]),
            administrator("duty", Role::Operate, &[]),
        ],
        ..Config::default()
    }
}

impl World {
    fn new(on: On) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let platform = Platform::start(directory.path(), local, config(on)).unwrap();
        Self {
            platform,
            directory,
        }
    }

    /// A request of an administrator, who is also the token; or of nobody.
    fn ask(&self, who: &str, method: &str, path: &str, body: &Value) -> Reply {
        let headers = match who {
            "" => String::new(),
            who => format!("Authorization: Bearer {who}\r\n"),
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        send(
            self.platform.address(),
            method,
            path,
            &headers,
            body.as_bytes(),
        )
        .unwrap()
    }

    fn get(&self, path: &str) -> Value {
        let reply = self.ask("owner", "GET", path, &Value::Null);
        assert_eq!(reply.status, 200, "{path}: {:?}", reply.head);
        reply.json()
    }

    fn status(&self, who: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
        let reply = self.ask(who, method, path, body);
        let code = if reply.status < 400 {
            String::new()
        } else {
            reply.json()["code"].as_str().unwrap().to_owned()
        };
        (reply.status, code)
    }

    fn place(&self, terminal: &str, region: &str, target: u32) {
        let place = json!({"terminal": terminal, "region": region, "site": "党群服务中心",
            "installed_on": "2026-03-01", "target": target});
        let reply = self.ask("owner", "POST", "/admin/places", &place);
        assert_eq!(reply.status, 204);
    }

    /// A request of a terminal.
    fn says(&self, terminal: &str, path: &str, media: &str, body: &str) -> Reply {
        let headers = format!("Kiosk-Terminal: {terminal}\r\nContent-Type: {media}\r\n");
        let address = self.platform.address();
        send(address, "POST", path, &headers, body.as_bytes()).unwrap()
    }

    fn beat(&self, terminal: &str, change: impl FnOnce(&mut Value)) {
        let mut body = json!({
            "terminal": terminal, "sent_at": "2026-11-22T01:00:00Z", "program_version": "1.4.1",
            "boot": Uuid::from_u128(1), "uptime_s": 60, "clock_offset_s": 0,
            "queue": {"waiting": 2, "dead": 1, "oldest_enqueued_at": "2026-11-22T00:00:00Z",
                "upstreams": [{"upstream": "", "waiting": 2, "dead": 1}], "key_ids": []},
            "devices": [{"id": "slips", "class": "slip-printer", "state": "online", "faults": []}],
            "audit": null, "usage": {"visits": 9, "transactions": 3, "prints": 4},
            "desired_version": 0, "catalogue_etag": "",
            "update": {"version": "1.4.1", "slot": "a", "state": "current"},
        });
        change(&mut body);
        let reply = self.says(
            terminal,
            "/v1/heartbeats",
            "application/json",
            &body.to_string(),
        );
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
    }

    fn cases(&self, terminal: &str, item: &str, numbers: std::ops::Range<u128>) {
        let transactions: Vec<Value> = numbers
            .map(|number| {
                json!({"id": Uuid::from_u128(number), "kind": "case", "item": item,
                    "item_version": 1, "case_number": format!("{terminal}-{number}"),
                    "enqueued_at": "2026-11-22T01:00:00Z", "payload": {"n": 1}})
            })
            .collect();
        let body = json!({"terminal": terminal, "transactions": transactions}).to_string();
        // Twice: what arrives again counts once.
        for _ in 0..2 {
            let reply = self.says(terminal, "/v1/batches", "application/json", &body);
            assert_eq!(reply.status, 200);
        }
    }

    fn ticket(&self, terminal: &str, number: u128, change: impl FnOnce(&mut Value)) {
        let mut ticket = json!({
            "id": Uuid::from_u128(number), "number": format!("{terminal}-{number}"),
            "device": "slips", "class": "slip-printer", "code": "printer.media-jam",
            "action": "clear", "state": "open", "level": "village",
            "opened_at": "2026-01-22T01:00:00Z", "respond_by": "2026-01-22T02:00:00Z",
            "repair_by": "2026-01-23T01:00:00Z", "acknowledged_at": null, "mended_at": null,
            "closed_at": null, "by": "tech-3", "note": "测试一来过", "parts": [], "before": null,
            "after": null, "times_seen": 1, "times_reopened": 0, "revision": 1,
        });
        change(&mut ticket);
        let body = json!({"tickets": [ticket]}).to_string();
        let reply = self.says(terminal, "/v1/tickets", "application/json", &body);
        assert_eq!(
            reply.status,
            200,
            "{}",
            String::from_utf8_lossy(&reply.body)
        );
    }

    fn counted(&self, terminal: &str, text: &str) {
        let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let reply = self.says(terminal, "/v1/telemetry", media, &format!("{text}# EOF\n"));
        assert_eq!(reply.status, 204);
    }

    /// The text of the metrics, its chunks put together.
    fn metrics(&self, who: &str) -> String {
        let reply = self.ask(who, "GET", "/metrics", &Value::Null);
        assert_eq!(reply.status, 200);
        let media = reply.header("content-type").unwrap();
        assert!(media.starts_with("application/openmetrics-text; version=1.0.0"));
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        String::from_utf8(whole(&reply.body)).unwrap()
    }
}

/// A body without the lengths of its chunks.
fn whole(mut body: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    loop {
        let end = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let length = std::str::from_utf8(&body[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return found;
        }
        found.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 4 + length..];
    }
}

/// Two terminals in two counties, with faults, tickets, cases, visits, and a third that is silent.
fn lively(on: On) -> World {
    let world = World::new(on);
    world.place("T001", VILLAGE, 500);
    world.place("T002", ELSEWHERE, 370);
    world.place("T003", "揭阳市/普宁市/里湖镇/另一村", 800);
    world.beat("T001", |beat| {
        beat["devices"][0]["state"] = json!("user-error");
        beat["devices"][0]["faults"] = json!(["printer.media-empty"]);
    });
    world.beat("T002", |beat| {
        beat["program_version"] = json!("1.4.2");
        beat["update"] = json!({"version": "1.4.2", "slot": "b", "state": "rolled-back",
            "rolled_back": {"version": "1.4.3", "code": "health.device", "reason": "printer"}});
    });
    world.cases("T001", "old-age-allowance", 1..8);
    world.cases("T001", "pension-qualification", 8..11);
    world.cases("T002", "old-age-allowance", 20..22);
    world.ticket("T001", 500, |_| {});
    world.ticket("T001", 501, |ticket| {
        ticket["repair_by"] = json!("2099-01-01T00:00:00Z");
    });
    world.ticket("T001", 501, |ticket| {
        ticket["revision"] = json!(2);
        ticket["state"] = json!("acknowledged");
        ticket["repair_by"] = json!("2099-01-01T00:00:00Z");
    });
    world.ticket("T002", 502, |ticket| {
        ticket["state"] = json!("closed");
        ticket["closed_at"] = json!("2026-01-22T05:00:00Z");
    });
    world.counted(
        "T001",
        "kiosk_item_visits_total{item=\"old-age-allowance\",outcome=\"completed\"} 20\n\
         kiosk_item_visits_total{item=\"old-age-allowance\",outcome=\"failed\"} 10\n\
         kiosk_item_visits_total{item=\"张三\",outcome=\"failed\"} 10\n\
         kiosk_visits_abandoned_total{cause=\"timeout\"} 5\nkiosk_memory_bytes 1000\n",
    );
    world
}

fn metrics_are_what_the_terminals_said(on: On) {
    let world = lively(on);
    let text = world.metrics("watcher");
    for line in [
        &format!(
            "kiosk_terminal_info{{terminal=\"T001\",region=\"{VILLAGE}\",version=\"1.4.1\"}} 1"
        ),
        "kiosk_device_fault{terminal=\"T001\",device=\"slips\",class=\"slip-printer\",code=\"printer.media-empty\",action=\"clear\"} 1",
        "kiosk_year_target_transactions{terminal=\"T001\"} 500",
        "kiosk_year_transactions{terminal=\"T001\"} 10",
        "kiosk_year_transactions{terminal=\"T003\"} 0",
        "kiosk_tickets_open{terminal=\"T001\",level=\"village\"} 2",
        "kiosk_tickets_overdue{terminal=\"T001\",level=\"village\"} 1",
        "kiosk_tickets_open{terminal=\"T002\",level=\"village\"} 0",
        "kiosk_item_visits_total{terminal=\"T001\",item=\"old-age-allowance\",outcome=\"completed\"} 20",
        "kiosk_visits_abandoned_total{terminal=\"T001\",cause=\"timeout\"} 5",
        "kiosk_update_state{terminal=\"T002\",kiosk_update_state=\"rolled-back\"} 1",
        "kiosk_update_rollbacks_total{terminal=\"T002\",code=\"health.device\"} 1",
        "kiosk_audit_conflicts_total{terminal=\"T002\"} 0",
        "kiosk_update_release_halted{version=\"1.4.3\"} 0",
        "kiosk_desired_version_wanted{terminal=\"T001\"} 1",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains("张三") && !text.contains("测试一"));
    let of_county = world.metrics("county");
    assert!(of_county.contains("\"T001\"") && !of_county.contains("\"T002\""));
}

fn without_the_right_token_nothing_is_said_or_done(on: On) {
    let world = World::new(on);
    world.place("T001", VILLAGE, 0);
    world.place("T002", ELSEWHERE, 0);
    let lock = |terminal: &str| json!({"terminal": terminal, "kind": "lock", "arguments": {}, "expires_in_s": 60});
    let hold = |is_held: bool| json!({"version": "1.4.2", "is_held": is_held});
    let place = |terminal: &str, region: &str| json!({"terminal": terminal, "region": region, "site": "", "installed_on": "", "target": 0});
    let (lock, lock_2, lock_9) = (lock("T001"), lock("T002"), lock("T009"));
    let mut lured = lock_9.clone();
    lured["region"] = json!(VILLAGE);
    let (hold, let_go) = (hold(true), hold(false));
    let (away, hither) = (place("T001", ELSEWHERE), place("T002", VILLAGE));
    let (new, nowhere) = (place("T004", VILLAGE), place("T004", "a//b"));
    let none = Value::Null;
    let key = json!({"terminal": "T001", "key": "x"});
    let (no_token, no_role, no_place) = ("token.invalid", "admin.role", "admin.region");
    for (who, what, body, status, code) in [
        ("", "GET /metrics", &none, 401, no_token),
        ("wrong", "GET /admin/fleet", &none, 401, no_token),
        ("", "GET /admin", &none, 401, no_token),
        ("", "POST /admin/fault", &none, 401, no_token),
        ("watcher", "GET /admin/accepted", &none, 200, ""),
        ("watcher", "POST /admin/commands", &lock, 403, no_role),
        ("county", "POST /admin/commands", &lock, 200, ""),
        ("county", "POST /admin/commands", &lock_2, 403, no_place),
        ("county", "POST /admin/commands", &lock_9, 403, no_place),
        ("county", "POST /admin/commands", &lured, 403, no_place),
        ("county", "GET /admin/accepted", &none, 403, no_place),
        ("county", "GET /admin/log", &none, 403, no_place),
        ("county", "GET /admin/fleet/T001", &none, 200, ""),
        (
            "county",
            "GET /admin/fleet/T002",
            &none,
            404,
            "terminal.unknown",
        ),
        ("county", "POST /admin/holds", &hold, 200, ""),
        ("county", "POST /admin/holds", &let_go, 403, no_place),
        ("duty", "POST /admin/holds", &let_go, 200, ""),
        ("duty", "POST /admin/terminals", &key, 403, no_role),
        ("duty", "POST /admin/sealing-key", &none, 403, no_role),
        // A terminal can be moved neither out of one's places nor into them.
        ("county", "POST /admin/places", &away, 403, no_place),
        ("county", "POST /admin/places", &hither, 403, no_place),
        ("county", "POST /admin/places", &new, 204, ""),
        (
            "owner",
            "POST /admin/places",
            &nowhere,
            422,
            "request.field",
        ),
    ] {
        let (method, path) = what.split_once(' ').unwrap();
        let answer = world.status(who, method, path, body);
        assert_eq!(answer, (status, code.to_owned()), "{who} {what} {body}");
    }
    let challenge = world.ask("", "GET", "/admin/fleet", &none);
    assert_eq!(challenge.header("www-authenticate"), Some("Bearer"));
    world.refuses_a_name_that_comes_twice();
    // Terminals come in by another door.
    assert_eq!(world.status("", "GET", "/v1/health", &none).0, 200);
    world.beat("T001", |_| {});
}

impl World {
    /// It is judged by neither.
    fn refuses_a_name_that_comes_twice(&self) {
        let doubled =
            br#"{"terminal": "T001", "terminal": "T002", "kind": "lock", "expires_in_s": 60}"#;
        let headers = "Authorization: Bearer county\r\n";
        let address = self.platform.address();
        let reply = send(address, "POST", "/admin/commands", headers, doubled).unwrap();
        assert_eq!(reply.status, 403);
    }
}

fn every_change_is_in_the_log_and_nothing_personal_is(on: On) {
    let world = World::new(on);
    world.place("T001", VILLAGE, 500);
    let order = json!({"terminal": "T001", "kind": "suspend-item",
        "arguments": {"item": "old-age-allowance", "text": "测试一"}, "expires_in_s": 60});
    assert_eq!(
        world.status("duty", "POST", "/admin/commands", &order).0,
        200
    );
    assert_eq!(
        world.status("duty", "POST", "/admin/commands", &json!(7)).0,
        400
    );
    assert_eq!(
        world.status("watcher", "POST", "/admin/commands", &order).0,
        403
    );
    let acts = world.get("/admin/log")["acts"].clone();
    let line = |place: usize| {
        let act = &acts[place];
        let text = |name: &str| act[name].as_str().unwrap().to_owned();
        assert!(act["at"].as_str().unwrap().ends_with('Z'));
        (
            text("who"),
            text("act"),
            text("terminal"),
            text("detail"),
            act["status"].clone(),
        )
    };
    let expected = |who: &str, act: &str, terminal: &str, detail: &str, status: u16| {
        (
            who.to_owned(),
            act.to_owned(),
            terminal.to_owned(),
            detail.to_owned(),
            json!(status),
        )
    };
    assert_eq!(line(0), expected("duty", "/admin/commands", "", "", 400));
    let detail = "suspend-item old-age-allowance";
    assert_eq!(
        line(1),
        expected("duty", "/admin/commands", "T001", detail, 200)
    );
    assert_eq!(
        line(2),
        expected("owner", "/admin/places", "T001", VILLAGE, 204)
    );
    assert_eq!(acts.as_array().unwrap().len(), 3);
    assert!(!acts.to_string().contains("测试一"));
    let before = acts[1]["position"].as_u64().unwrap();
    let earlier = world.get(&format!("/admin/log?before={before}"));
    assert_eq!(earlier["acts"].as_array().unwrap().len(), 1);
}

fn the_fleet_is_listed_filtered_and_shown(on: On) {
    let world = lively(on);
    let names = |query: &str| -> Vec<String> {
        let answer = world.get(&format!("/admin/fleet{query}"));
        let lines = answer["terminals"].as_array().unwrap();
        lines
            .iter()
            .map(|line| line["terminal"].as_str().unwrap().to_owned())
            .collect()
    };
    let county = "%E6%8F%AD%E9%98%B3%E5%B8%82/%E6%99%AE%E5%AE%81%E5%B8%82";
    assert_eq!(names(""), ["T001", "T002", "T003"]);
    assert_eq!(names(&format!("?region={county}")), ["T001", "T003"]);
    assert_eq!(names("?version=1.4.2"), ["T002"]);
    assert_eq!(names("?fault=1"), ["T001"]);
    assert_eq!(names("?silent_for=1"), ["T003"]);
    assert_eq!(names("?after=T001"), ["T002", "T003"]);
    let first = world.get("/admin/fleet?limit=1");
    assert_eq!(first["next"], "T001");
    let line = &first["terminals"][0];
    assert_eq!((&line["cases"], &line["target"]), (&json!(10), &json!(500)));
    assert_eq!(
        (&line["tickets_open"], &line["tickets_late"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(line["faults"][0]["action"], "clear");
    assert!(line["forecast"].as_u64().unwrap() >= 10);
    for query in [
        "?limit=0",
        "?limit=501",
        "?region=a//b",
        "?fault=2",
        "?other=1",
        "?after=x",
    ] {
        assert_eq!(
            world
                .status(
                    "owner",
                    "GET",
                    &format!("/admin/fleet{query}"),
                    &Value::Null
                )
                .0,
            422
        );
    }
    let one = world.get("/admin/fleet/T002");
    assert_eq!(one["update"]["taken_back"]["code"], "health.device");
    assert_eq!(one["tickets"][0]["state"], "closed");
    assert_eq!(one["case_counts"][0]["cases"], 2);
    assert_eq!(one["heartbeat"]["queue"]["waiting"], 2);
    assert!(
        !one.to_string().contains("测试一"),
        "notes of people stay out"
    );
    assert_eq!(world.get("/admin/fleet/T003")["heartbeat"], Value::Null);
    assert_eq!(
        world
            .status("owner", "GET", "/admin/fleet/T999", &Value::Null)
            .0,
        404
    );
}

fn use_is_told_against_the_year_and_items_by_how_they_do(on: On) {
    let world = lively(on);
    let by = |by: &str| world.get(&format!("/admin/usage?by={by}"))["lines"].clone();
    let villages = by("village");
    let village = villages
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["key"] == VILLAGE)
        .unwrap();
    assert_eq!(
        (&village["cases"], &village["target"]),
        (&json!(10), &json!(500))
    );
    assert_eq!(by("terminal").as_array().unwrap().len(), 3);
    let items = by("item");
    assert_eq!(
        (&items[0]["key"], &items[0]["cases"]),
        (&json!("old-age-allowance"), &json!(9))
    );
    assert_eq!(items[0]["terminals"], 2);
    assert_eq!(items[1]["cases"], 3);
    let last = world.get("/admin/usage?year=2020&by=terminal");
    assert_eq!(
        (&last["lines"][0]["cases"], &last["until"]),
        (&json!(0), &json!("2020-12-31"))
    );
    let quality = world.get("/admin/quality");
    let item = |name: &str| {
        let items = quality["items"].as_array().unwrap();
        items
            .iter()
            .find(|line| line["item"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(item("old-age-allowance")["verdict"], "failing");
    assert_eq!(item("insurance-certificate")["verdict"], "unused");
    assert_eq!(quality["abandoned"]["timeout"], 5);
    // The months of a pack are those of the terminals.
    let tickets = world.get("/admin/pack/tickets?month=2026-01");
    assert_eq!(tickets["tickets"].as_array().unwrap().len(), 3);
    assert!(!tickets.to_string().contains("测试一"));
    let after = &tickets["next"];
    let rest = world.get(&format!("/admin/pack/tickets?month=2026-01&after={after}"));
    assert_eq!(rest, json!({"tickets": [], "next": null}));
    assert_eq!(
        world
            .status(
                "owner",
                "GET",
                "/admin/pack/cases?month=2026-13",
                &Value::Null
            )
            .0,
        422
    );
    let reply = world.ask(
        "county",
        "GET",
        "/admin/pack/tickets?month=2026-01",
        &Value::Null,
    );
    assert_eq!(reply.json()["tickets"].as_array().unwrap().len(), 2);
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
    metrics_are_what_the_terminals_said
    without_the_right_token_nothing_is_said_or_done
    every_change_is_in_the_log_and_nothing_personal_is
    the_fleet_is_listed_filtered_and_shown
    use_is_told_against_the_year_and_items_by_how_they_do
}

#[test]
fn what_was_counted_is_still_counted_after_a_restart() {
    let World {
        platform,
        directory,
    } = lively(On::Sqlite);
    platform.stop();
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let platform = Platform::start(directory.path(), local, config(On::Sqlite)).unwrap();
    let world = World {
        platform,
        directory,
    };
    assert_eq!(world.get("/admin/fleet/T001")["cases"], 10);
    let rollbacks = "kiosk_update_rollbacks_total{terminal=\"T002\",code=\"health.device\"} 1\n";
    assert!(world.metrics("watcher").contains(rollbacks));
}
