//! How visits end, counted by the running terminal and told three times over: by `kiosk usage` beside
//! it and without it, and by the platform to whoever watches the fleet.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use kiosk_demo::clock::{Deadline, pause};
use kiosk_demo::world::{LOOK_TICK, Setting, World};
use kiosk_emulators::{Act, CardChoice, Device};
use serde_json::{Value, json};

/// How long anything here may take; nobody touches the glass for a minute before a visit times out.
const LIMIT: Duration = Duration::from_secs(90);
const ALLOWANCE: &str = "高龄津贴申请";
const PENSION: &str = "城乡居民养老保险待遇资格认证";
const CERTIFICATE: &str = "社保参保证明打印";
const LEAVE: &str = "结束离开";

fn touch(world: &mut World, label: &str) {
    let wanted = format!("a button `{label}`");
    world
        .wait(LIMIT, &wanted, |sight| sight.has_button(label))
        .unwrap();
    world.touch(label).unwrap();
}

fn screen(world: &mut World, name: &str) {
    world
        .wait(LIMIT, name, |sight| sight.screen == name)
        .unwrap();
}

fn begin(world: &mut World, item: &str) {
    screen(world, "attract");
    touch(world, "请触摸屏幕开始办事");
    touch(world, item);
    touch(world, "给自己办");
}

fn show_card(world: &mut World, name: &str) {
    screen(world, "identify");
    let card = CardChoice::Name(name.to_owned());
    world.act(Act::InsertCard { card }).unwrap();
    screen(world, "confirm-person");
    world.act(Act::RemoveCard).unwrap();
}

fn ask(world: &World, request: &str, body: &str) -> String {
    let address = world.platform().address();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "{request} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

/// A case, and the farewell after it.
fn complete(world: &mut World) {
    begin(world, PENSION);
    show_card(world, "elder");
    touch(world, "信息无误，继续");
    touch(world, "不用，这样就好");
    touch(world, "开始拍照");
    screen(world, "done");
    let device = Device::SlipPrinter;
    world
        .wait(LIMIT, "a slip", |sight| sight.says("请拿好您的凭条"))
        .unwrap();
    world.act(Act::TakePaper { device }).unwrap();
    touch(world, "完成");
    screen(world, "rating");
    touch(world, LEAVE);
}

fn leave_at_a_broken_reader(world: &mut World) {
    begin(world, PENSION);
    screen(world, "identify");
    let device = Device::IdCard;
    world.act(Act::CableCut { device }).unwrap();
    screen(world, "problem");
    touch(world, "结束办理");
    world.act(Act::CablePlug { device }).unwrap();
}

fn leave_without_a_line(world: &mut World) {
    begin(world, CERTIFICATE);
    show_card(world, "adult");
    world.set_network(false).unwrap();
    world.wait_line(false, LIMIT).unwrap();
    touch(world, "信息无误，继续");
    screen(world, "problem");
    touch(world, "结束办理");
    world.set_network(true).unwrap();
    world.wait_line(true, LIMIT).unwrap();
}

/// Whom the item is not for.
fn leave_too_young(world: &mut World) {
    begin(world, ALLOWANCE);
    show_card(world, "adult");
    touch(world, "信息无误，继续");
    screen(world, "problem");
    touch(world, "结束办理");
}

/// The platform withdraws the item meanwhile.
fn leave_a_closed_item(world: &mut World) {
    begin(world, ALLOWANCE);
    screen(world, "identify");
    touch(world, "返回");
    screen(world, "introduction");
    let order = json!({
        "terminal": "D001", "kind": "suspend-item", "arguments": {"item": "old-age-allowance"},
        "expires_in_s": 600,
    });
    let reply = ask(world, "POST /admin/commands", &order.to_string());
    assert!(reply.contains("\"id\""), "{reply}");
    let notice = "暂停办理";
    world
        .wait(LIMIT, notice, |sight| sight.says(notice))
        .unwrap();
    touch(world, LEAVE);
}

fn leave_at_once(world: &mut World) {
    begin(world, ALLOWANCE);
    screen(world, "identify");
    touch(world, LEAVE);
}

fn walk_away(world: &mut World) {
    begin(world, ALLOWANCE);
    screen(world, "identify");
    world
        .wait(LIMIT, "the end", |sight| sight.screen == "leave")
        .unwrap();
}

/// What `kiosk usage --json` says of an item: its causes, and what else is counted.
fn told(world: &World, item: &str) -> Value {
    let output = world.command(&["usage", "--json"]).unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let items = told["items"].as_array().unwrap();
    let found = items.iter().find(|each| each["item"] == item);
    found.unwrap().clone()
}

fn check_told(world: &World) {
    let allowance = told(world, "old-age-allowance");
    let left = json!({
        "timeout": 1, "canceled": 1, "device": 0, "line": 0, "not-eligible": 1, "closed": 1,
    });
    assert_eq!(allowance["abandoned"], left, "{allowance}");
    assert_eq!(
        (&allowance["visits"], &allowance["completed"]),
        (&json!(4), &json!(0))
    );
    let pension = told(world, "pension-qualification");
    assert_eq!(pension["abandoned"]["device"], 1, "{pension}");
    let counted = ["visits", "cases", "prints", "completed", "failed"].map(|key| &pension[key]);
    assert_eq!(
        counted,
        [&json!(2), &json!(1), &json!(1), &json!(1), &json!(0)]
    );
    let certificate = told(world, "insurance-certificate");
    assert_eq!(certificate["abandoned"]["line"], 1, "{certificate}");
}

/// Waits until the platform exports a line.
fn wait_exported(world: &World, line: &str) {
    let deadline = Deadline::after(LIMIT);
    loop {
        let text = ask(world, "GET /metrics", "");
        if text.lines().any(|each| each == line) {
            return;
        }
        assert!(!deadline.has_passed(), "{line} is not in {text}");
        pause(LOOK_TICK);
    }
}

fn check_exported(world: &World) {
    for (cause, count) in [
        ("timeout", 1),
        ("canceled", 1),
        ("device", 1),
        ("line", 1),
        ("not-eligible", 1),
        ("closed", 1),
    ] {
        let series = format!("kiosk_visits_abandoned_total{{terminal=\"D001\",cause=\"{cause}\"}}");
        wait_exported(world, &format!("{series} {count}"));
    }
    for (item, outcome, count) in [
        ("old-age-allowance", "abandoned", 4),
        ("old-age-allowance", "completed", 0),
        ("pension-qualification", "completed", 1),
        ("insurance-certificate", "abandoned", 1),
        ("insurance-certificate", "failed", 0),
    ] {
        let labels = format!("terminal=\"D001\",item=\"{item}\",outcome=\"{outcome}\"");
        wait_exported(
            world,
            &format!("kiosk_item_visits_total{{{labels}}} {count}"),
        );
    }
    let text = ask(world, "GET /metrics", "");
    for name in ["kiosk_store_free_bytes", "kiosk_memory_bytes"] {
        let series = format!("{name}{{terminal=\"D001\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        let bytes: f64 = value.unwrap().parse().unwrap();
        assert!(bytes > 1_000_000.0, "{name} {bytes}");
    }
    let reply = ask(world, "GET /admin/quality", "");
    let quality: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(quality["abandoned"]["timeout"], 1, "{quality}");
}

#[test]
fn visits_are_counted_by_how_they_ended_and_told_at_the_terminal_and_by_the_platform() {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let mut world = World::new(&setting).unwrap();
    let output = world.command(&["usage"]).unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("no terminal has run here"), "{words}");

    let scene = Act::ShowScene {
        camera: Device::Camera,
        scene: Some("face".to_owned()),
        file: None,
    };
    world.act(scene).unwrap();
    world.start_terminal().unwrap();
    world.wait_line(true, LIMIT).unwrap();
    for end in [
        complete,
        leave_at_a_broken_reader,
        leave_without_a_line,
        leave_too_young,
        leave_at_once,
        walk_away,
        leave_a_closed_item,
    ] {
        end(&mut world);
    }
    screen(&mut world, "attract");
    check_told(&world);
    // The next start finds the counts and tells them soon; a power cut is the hardest end.
    world.kill().unwrap();
    check_told(&world);
    world.start_terminal().unwrap();
    check_exported(&world);
    check_told(&world);
    world.quit().unwrap();
}
