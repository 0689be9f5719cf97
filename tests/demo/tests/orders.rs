//! Orders of the platform in a running terminal, from the administrator's request to what is on the
//! glass: each is performed once, told back, and outlives the process where it must.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use kiosk_demo::clock::{Deadline, pause};
use kiosk_demo::privacy::PersonalWords;
use kiosk_demo::world::{LOOK_TICK, Setting, World};
use serde_json::{Value, json};

/// A long poll brings an order at once; the rest is for a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(40);
const CLOSED: &str = "这台机器暂停服务";
const OPEN: &str = "请触摸屏幕开始办事";

/// One request to the administrator's side of the platform.
fn ask(world: &World, method: &str, path: &str, body: &Value) -> Value {
    let address = world.platform().address();
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Orders something and gives the order's id.
fn order(world: &World, kind: &str, arguments: &Value) -> String {
    let order =
        json!({"terminal": "D001", "kind": kind, "arguments": arguments, "expires_in_s": 600});
    let reply = ask(world, "POST", "/admin/commands", &order);
    reply["id"].as_str().unwrap().to_owned()
}

/// What the platform was told about an order: its state and how often it was told.
fn told(world: &World, id: &str) -> (String, u64) {
    let reply = ask(world, "GET", "/admin/commands?terminal=D001", &Value::Null);
    let orders = reply["commands"].as_array().unwrap();
    let order = orders.iter().find(|order| order["id"] == id).unwrap();
    let state = order["state"].as_str().unwrap().to_owned();
    (state, order["times_reported"].as_u64().unwrap())
}

/// Waits until the platform was told, once, that the order is done.
fn wait_done(world: &World, id: &str) {
    let deadline = Deadline::after(LIMIT);
    loop {
        let (state, times) = told(world, id);
        if state == "done" {
            assert_eq!(times, 1);
            return;
        }
        assert_eq!(state, "open");
        assert!(!deadline.has_passed(), "nobody told the platform");
        pause(LOOK_TICK);
    }
}

fn world() -> (tempfile::TempDir, World) {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let mut world = World::new(&setting).unwrap();
    world.start_terminal().unwrap();
    world
        .wait(LIMIT, "an open terminal", |sight| sight.says(OPEN))
        .unwrap();
    (directory, world)
}

fn wait_for(world: &mut World, words: &str) {
    world.wait(LIMIT, words, |sight| sight.says(words)).unwrap();
}

#[test]
fn a_lock_closes_the_glass_and_outlives_an_ordered_restart() {
    let (_directory, mut world) = world();
    let lock = order(&world, "lock", &json!({}));
    wait_for(&mut world, CLOSED);
    wait_done(&world, &lock);
    order(&world, "restart", &json!({}));
    world.wait_end(LIMIT).unwrap();
    world.start_terminal().unwrap();
    wait_for(&mut world, CLOSED);
    let unlock = order(&world, "unlock", &json!({}));
    wait_for(&mut world, OPEN);
    wait_done(&world, &unlock);
    world.quit().unwrap();
}

#[test]
fn an_item_that_is_suspended_cannot_be_begun_until_it_is_resumed() {
    let (_directory, mut world) = world();
    let item = json!({"item": "old-age-allowance"});
    let suspended = order(&world, "suspend-item", &item);
    wait_done(&world, &suspended);
    world.touch(OPEN).unwrap();
    wait_for(&mut world, "高龄津贴申请");
    assert!(world.touch("高龄津贴申请").is_err(), "it can be touched");
    let resumed = order(&world, "resume-item", &item);
    wait_done(&world, &resumed);
    world
        .wait(LIMIT, "the item to be offered", |sight| {
            sight.has_button("高龄津贴申请")
        })
        .unwrap();
    world.quit().unwrap();
}

#[test]
fn collected_logs_lie_in_a_file_without_anybody_in_them() {
    let (_directory, mut world) = world();
    let id = order(&world, "collect-logs", &json!({}));
    wait_done(&world, &id);
    let file: PathBuf = world.directory().join("state/collected-log.txt");
    let log = std::fs::read_to_string(&file).unwrap();
    assert!(
        log.contains("first frame") || log.contains("device opened"),
        "{log}"
    );
    PersonalWords::gather(std::iter::empty())
        .unwrap()
        .check(&file)
        .unwrap();
    world.quit().unwrap();
}
