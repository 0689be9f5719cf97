//! `kiosk-admin fleet` as an administrator runs it, against the reference platform and terminals
//! that really reported to it.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use central_platform::{Config, Platform};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const COUNTY: &str = "揭阳市/普宁市";
const VILLAGE: &str = "揭阳市/普宁市/里湖镇/某某村";

fn admin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiosk-admin"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A platform with an owner and one who looks after a county, and their tokens.
struct Office {
    platform: Platform,
    directory: TempDir,
}

impl Office {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token = |name: &str, role: &str, more: &[&str]| -> Value {
            let file = directory.path().join(name);
            let mut arguments = vec!["fleet", "token", file.to_str().unwrap()];
            arguments.extend(["--name", name, "--role", role]);
            arguments.extend(more);
            let made = admin(&arguments);
            assert!(made.status.success(), "{made:?}");
            let text = String::from_utf8(made.stdout).unwrap();
            // What is printed goes into the configuration as it is.
            serde_json::from_str(text.lines().last().unwrap()).unwrap()
        };
        let administrators = json!([
            token("owner", "own", &[]),
            token("county", "operate", &["--region", COUNTY]),
        ]);
        let config = directory.path().join("config.json");
        let text = json!({"administrators": administrators}).to_string();
        std::fs::write(&config, text).unwrap();
        let config = Config::read(&config).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let platform = Platform::start(&directory.path().join("platform"), listen, config).unwrap();
        Self {
            platform,
            directory,
        }
    }

    /// An office with two terminals that were heard of and one that was not.
    fn lively() -> Self {
        let office = Self::new();
        for (terminal, region, target) in [
            ("T001", VILLAGE, "500"),
            ("T002", "汕头市/潮阳区/某镇/某村", "370"),
            ("T003", "揭阳市/普宁市/里湖镇/另一村", "800"),
        ] {
            let arguments = [
                "place",
                terminal,
                "--region",
                region,
                "--site",
                "党群服务中心",
                "--installed-on",
                "2026-03-01",
                "--target",
                target,
            ];
            assert_eq!(office.done("owner", &arguments).trim(), "done");
        }
        office.beat("T001", &json!({"version": "1.4.1", "slot": "a", "state": "rolled-back",
            "rolled_back": {"version": "1.4.2", "code": "health.device", "reason": "slip printer lost"}}));
        office.beat(
            "T002",
            &json!({"version": "1.4.2", "slot": "b", "state": "current"}),
        );
        let case = json!({"id": Uuid::from_u128(7), "kind": "case", "item": "old-age-allowance",
            "item_version": 1, "case_number": "T001-7", "enqueued_at": "2026-11-22T01:00:00Z",
            "payload": {"n": 1}});
        let batch = json!({"terminal": "T001", "transactions": [case]});
        office.says(
            "T001",
            "/v1/batches",
            "application/json",
            &batch.to_string(),
        );
        let counts =
            "kiosk_item_visits_total{item=\"old-age-allowance\",outcome=\"failed\"} 30\n# EOF\n";
        office.says(
            "T001",
            "/v1/telemetry",
            "application/openmetrics-text",
            counts,
        );
        office
    }

    fn beat(&self, terminal: &str, update: &Value) {
        let body = json!({
            "terminal": terminal, "sent_at": "2026-11-22T01:00:00Z",
            "program_version": update["version"], "boot": Uuid::from_u128(1), "uptime_s": 60,
            "clock_offset_s": 0, "queue": {"waiting": 2, "dead": 1, "oldest_enqueued_at": null,
                "upstreams": [{"upstream": "", "waiting": 2, "dead": 1}], "key_ids": []},
            "devices": [{"id": "slips", "class": "slip-printer", "state": "offline",
                "faults": ["printer.offline"]}],
            "audit": null, "usage": {"visits": 9, "transactions": 3, "prints": 4},
            "desired_version": 0, "catalogue_etag": "", "update": update,
        });
        self.says(
            terminal,
            "/v1/heartbeats",
            "application/json",
            &body.to_string(),
        );
    }

    /// A request of a terminal, which the platform takes.
    fn says(&self, terminal: &str, path: &str, media: &str, body: &str) {
        let mut stream = TcpStream::connect(self.platform.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: p\r\nConnection: close\r\nKiosk-Terminal: {terminal}\r\n\
             Content-Type: {media}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    fn run(&self, who: &str, arguments: &[&str]) -> Output {
        let (url, token) = (self.platform.url(), self.path(who));
        let mut all = vec!["fleet"];
        all.extend(arguments);
        all.extend(["--platform", &url, "--token-file", &token]);
        admin(&all)
    }

    fn done(&self, who: &str, arguments: &[&str]) -> String {
        let output = self.run(who, arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, who: &str, arguments: &[&str]) -> String {
        let output = self.run(who, arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn json(&self, who: &str, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        serde_json::from_str(&self.done(who, &all)).unwrap()
    }

    /// Kinds of the commands that a terminal was given, newest first.
    fn commands(&self, terminal: &str) -> Vec<String> {
        let said = self.json("owner", &["show", terminal]);
        let commands = said["commands"].as_array().unwrap();
        commands
            .iter()
            .map(|each| each["kind"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[test]
fn the_list_says_who_runs_what_and_why() {
    let office = Office::lively();
    let list = office.done("owner", &["list"]);
    let line = |terminal: &str| {
        list.lines()
            .find(|line| line.starts_with(terminal))
            .unwrap()
    };
    assert!(
        line("T001").contains("rolled-back (1.4.2: health.device)"),
        "{list}"
    );
    assert!(line("T001").contains("printer.offline") && line("T001").contains("2 +1 refused"));
    assert!(line("T003").contains("never heard"));
    assert!(list.ends_with("3 terminals\n"));
    for (filter, expected) in [
        (&["--region", COUNTY][..], &["T001", "T003"][..]),
        (&["--version", "1.4.2"], &["T002"]),
        (&["--fault"], &["T001", "T002"]),
        (&["--silent-for", "24"], &["T003"]),
    ] {
        let mut arguments = vec!["list"];
        arguments.extend(filter);
        let found = office.json("owner", &arguments);
        let names: Vec<&str> = found
            .as_array()
            .unwrap()
            .iter()
            .map(|each| each["terminal"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{filter:?}");
    }
    // Whoever looks after a county sees its terminals, and learns of no other.
    assert!(office.done("county", &["list"]).ends_with("2 terminals\n"));
    assert!(
        office
            .refused("county", &["show", "T002"])
            .contains("terminal.unknown")
    );
    let one = office.done("county", &["show", "T001"]);
    assert!(
        one.contains("taken back because  slip printer lost"),
        "{one}"
    );
    assert!(one.contains("1 of 500"), "{one}");
}

#[test]
fn orders_go_to_one_terminal_or_to_all_of_a_place_and_nowhere_else() {
    let office = Office::lively();
    let item = ["--item", "old-age-allowance"];
    office.done(
        "county",
        &["command", "T001", "suspend-item", item[0], item[1]],
    );
    office.done("county", &["command", "--region", COUNTY, "sync-now"]);
    assert_eq!(office.commands("T001"), ["sync-now", "suspend-item"]);
    assert_eq!(office.commands("T003"), ["sync-now"]);
    let dry = office.done(
        "county",
        &["command", "--region", COUNTY, "lock", "--dry-run"],
    );
    assert_eq!(
        dry.matches("would be: POST /admin/commands").count(),
        2,
        "{dry}"
    );
    assert_eq!(office.commands("T003"), ["sync-now"]);
    for (arguments, words) in [
        (&["command", "T002", "lock"][..], "admin.region"),
        (&["command", "T001", "format-disk"], "is no order"),
        (&["command", "T001", "suspend-item"], "needs --item"),
        (&["command", "T001"], "name a terminal"),
        (
            &["command", "--region", "汕头市", "lock"],
            "no terminal in this place",
        ),
    ] {
        let said = office.refused("county", arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert!(office.commands("T002").is_empty());
}

#[test]
fn a_release_is_held_by_whoever_operates_and_let_go_by_whoever_sees_all() {
    let office = Office::lively();
    let dry = office.done("county", &["hold", "1.4.2", "--dry-run"]);
    assert!(dry.contains("\"is_held\":true"), "{dry}");
    let held =
        |office: &Office| office.json("county", &["holds"])["releases"][0]["is_held"].clone();
    assert_eq!(held(&office), false);
    office.done("county", &["hold", "1.4.2"]);
    assert_eq!(held(&office), true);
    assert!(
        office
            .refused("county", &["release", "1.4.2"])
            .contains("admin.region")
    );
    office.done("owner", &["release", "1.4.2"]);
    assert_eq!(held(&office), false);
    let log = office.done("owner", &["log"]);
    let lines: Vec<&str> = log.lines().collect();
    assert!(
        lines[1].contains("owner") && lines[1].contains("1.4.2 release"),
        "{log}"
    );
    assert!(
        lines[2].contains("county") && lines[2].contains("1.4.2 hold"),
        "{log}"
    );
}

#[test]
fn use_and_quality_are_told_against_what_was_asked() {
    let office = Office::lively();
    let usage = office.done("owner", &["usage"]);
    let village = usage
        .lines()
        .find(|line| line.starts_with(VILLAGE))
        .unwrap();
    assert!(
        village.contains("500") && village.ends_with("behind"),
        "{usage}"
    );
    let items = office.json("owner", &["usage", "--by", "item"]);
    assert_eq!(items["lines"][0]["key"], "old-age-allowance");
    assert_eq!(items["lines"][0]["cases"], 1);
    let quality = office.done("owner", &["quality"]);
    let item = quality
        .lines()
        .find(|line| line.starts_with("old-age-allowance"))
        .unwrap();
    assert!(item.ends_with("failing"), "{quality}");
    let list = office.path("villages.csv");
    let text = format!("# villages\n1,{VILLAGE}\n2,{COUNTY}/流沙镇/空空村\n");
    std::fs::write(&list, text).unwrap();
    let villages = office.done("owner", &["villages", "--list", &list]);
    assert!(
        villages.starts_with("1 of 2 villages have a terminal\n"),
        "{villages}"
    );
    assert!(
        villages.contains("none       揭阳市/普宁市/流沙镇/空空村"),
        "{villages}"
    );
    assert!(villages.contains("not listed T002"), "{villages}");
}

#[test]
fn a_data_pack_is_whole_and_never_written_over() {
    let office = Office::lively();
    let usage = office.json("owner", &["usage"]);
    let month = usage["until"].as_str().unwrap()[..7].to_owned();
    let place = office.path("pack");
    office.done("owner", &["pack", "--month", &month, "--to", &place]);
    let file = |name: &str| std::fs::read_to_string(Path::new(&place).join(name)).unwrap();
    assert!(file("cases.csv").contains(&format!("{month},{VILLAGE},T001,old-age-allowance,1\r\n")));
    assert_eq!(file("terminals.csv").lines().count(), 4);
    assert!(file("visits.csv").contains("old-age-allowance,0,0,30"));
    assert!(file("README.txt").contains("个人信息"));
    assert!(file("tickets.csv").starts_with('\u{feff}'));
    let again = office.refused("owner", &["pack", "--month", &month, "--to", &place]);
    assert!(again.contains("never written over"), "{again}");
    let other = office.path("other");
    let refused = office.refused("owner", &["pack", "--month", "2026-13", "--to", &other]);
    assert!(refused.contains("422"), "{refused}");
    assert!(!Path::new(&other).exists());
}

#[test]
fn what_lets_terminals_in_and_out_is_asked_as_the_platform_expects_it() {
    let office = Office::new();
    let enrol = [
        "enrol",
        "T001",
        "--region",
        VILLAGE,
        "--site",
        "党群服务中心",
        "--installed-on",
        "2026-03-01",
        "--target",
        "500",
        "--dry-run",
    ];
    let body = |arguments: &[&str], path: &str| -> Value {
        let said = office.done("county", arguments);
        let rest = said
            .strip_prefix(&format!("would be: POST {path} "))
            .unwrap()
            .to_owned();
        serde_json::from_str(&rest).unwrap()
    };
    assert_eq!(
        body(&enrol, "/admin/enrolments"),
        json!({"terminal": "T001", "region": VILLAGE, "site": "党群服务中心",
            "installed_on": "2026-03-01", "target": 500})
    );
    let revoke = ["revoke", "T001", "--reason", "stolen", "--dry-run"];
    assert_eq!(
        body(&revoke, "/admin/terminals/revoke"),
        json!({"terminal": "T001", "reason": "stolen"})
    );
    let restore = ["restore", "T001", "--dry-run"];
    assert_eq!(
        body(&restore, "/admin/terminals/restore"),
        json!({"terminal": "T001"})
    );
}

#[test]
fn a_wrong_token_and_a_platform_that_is_away_are_said_plainly() {
    let office = Office::new();
    let token = office.path("stranger");
    let made = admin(&["fleet", "token", &token, "--name", "stranger"]);
    assert!(made.status.success());
    assert!(
        !String::from_utf8(made.stdout)
            .unwrap()
            .contains(std::fs::read_to_string(&token).unwrap().trim())
    );
    let said = office.refused("stranger", &["list"]);
    assert!(
        said.contains("401") && said.contains("token.invalid"),
        "{said}"
    );
    office.platform.set_network(false).unwrap();
    assert!(
        office
            .refused("owner", &["list"])
            .contains("cannot be reached")
    );
    office.platform.set_network(true).unwrap();
    // The token from the standard input.
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiosk-admin"))
        .args([
            "fleet",
            "list",
            "--token-file",
            "-",
            "--platform",
            &office.platform.url(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let owner = std::fs::read(office.path("owner")).unwrap();
    child.stdin.take().unwrap().write_all(&owner).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .ends_with("0 terminals\n")
    );
    let loose: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(office.path("owner"), loose).unwrap();
    assert!(office.refused("owner", &["list"]).contains("chmod 600"));
}
