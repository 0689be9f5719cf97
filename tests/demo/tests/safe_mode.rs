//! A terminal that crashes again and again stops serving and says so, sends all the same what was
//! confirmed, can be looked into, and comes back when somebody has it try again.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use kiosk_app::boot::CRASHES_MAX;
use kiosk_demo::clock::{Deadline, pause};
use kiosk_demo::supervisor::Supervisor;
use kiosk_demo::world::{LOOK_TICK, Setting, World};
use serde_json::{Value, json};

/// What the manager is told to wait for signs of life.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long anything here may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_mins(1);
/// What everybody reads in safe mode.
const IN_REPAIR: &str = "本机正在检修";

struct Bench {
    world: World,
    manager: Supervisor,
    _directory: tempfile::TempDir,
}

fn bench_with(change: impl FnOnce(&mut toml::Table)) -> Bench {
    bench_of(false, change)
}

fn bench_of(has_staff: bool, change: impl FnOnce(&mut toml::Table)) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        has_staff,
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let world = World::new(&setting).unwrap();
    let file = &world.launch().config;
    let mut text: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    change(&mut text);
    std::fs::write(file, toml::to_string(&text).unwrap()).unwrap();
    Bench {
        manager: Supervisor::new(&world, PATIENCE).unwrap(),
        world,
        _directory: directory,
    }
}

fn bench() -> Bench {
    bench_with(|_| {})
}

impl Bench {
    fn start(&mut self) {
        self.manager.start(&mut self.world).unwrap();
    }

    fn kill(&mut self, times: u32) {
        for _ in 0..times {
            self.manager.kill_and_start(&mut self.world).unwrap();
        }
    }

    fn screen(&mut self, name: &str) {
        self.world
            .wait(LIMIT, name, |sight| sight.screen == name)
            .unwrap();
    }

    fn says(&mut self, words: &str) {
        self.world
            .wait(LIMIT, words, |sight| sight.says(words))
            .unwrap();
    }

    /// What a technician's command says, and its exit status.
    fn command(&self, words: &[&str]) -> (String, Option<i32>) {
        let output = self.world.command(words).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        (said + &complained, output.status.code())
    }

    fn state(&self) -> PathBuf {
        self.world.directory().join("state")
    }

    /// Waits for the end that the program itself wants, and starts it anew as the manager does.
    fn follow_restart(&mut self) {
        let end = self.manager.wait_end(&mut self.world, LIMIT).unwrap();
        assert_eq!(end.result, "success", "an ordered end");
        self.manager.start_anew(&mut self.world, &end).unwrap();
    }
}

/// A case that waits: there is no line.
fn leave_a_case(world: &mut World) {
    let touch = |world: &mut World, label: &str| {
        world
            .wait(LIMIT, label, |sight| sight.has_button(label))
            .unwrap();
        world.touch(label).unwrap();
    };
    let keys = |world: &mut World, question: &str, keys: &str| {
        world
            .wait(LIMIT, question, |sight| sight.says(question))
            .unwrap();
        for key in keys.chars() {
            world.touch(&key.to_string()).unwrap();
        }
        touch(world, "下一步");
    };
    touch(world, "请触摸屏幕开始办事");
    touch(world, "高龄津贴申请");
    touch(world, "给自己办");
    world
        .act(kiosk_emulators::Act::InsertCard {
            card: kiosk_emulators::CardChoice::Name("elder".to_owned()),
        })
        .unwrap();
    touch(world, "信息无误，继续");
    world.act(kiosk_emulators::Act::RemoveCard).unwrap();
    touch(world, "不用，这样就好");
    keys(world, "请输入联系电话", "6601234");
    keys(world, "津贴发到哪张卡", "6222020000000000000");
    touch(world, "自己住，或者和老伴住");
    for question in ["给户口本拍照", "给银行卡或存折拍照"] {
        world
            .wait(LIMIT, question, |sight| sight.says(question))
            .unwrap();
        touch(world, "拍照");
        touch(world, "清楚，用这张");
    }
    touch(world, "确认提交");
    world
        .wait(LIMIT, "the end of the visit", |sight| {
            sight.screen == "done" || sight.screen == "rating"
        })
        .unwrap();
}

#[test]
fn after_four_crashes_nobody_is_served_what_was_confirmed_is_sent_and_a_command_leads_out() {
    let mut bench = bench();
    let scene = kiosk_emulators::Act::ShowScene {
        camera: kiosk_emulators::Device::DocumentCamera,
        scene: Some("document".to_owned()),
        file: None,
    };
    bench.world.act(scene).unwrap();
    bench.world.set_network(false).unwrap();
    bench.start();
    leave_a_case(&mut bench.world);
    bench.kill(CRASHES_MAX - 1);
    bench.screen("attract");
    bench.kill(1);
    bench.says(IN_REPAIR);
    bench.says("12345");
    bench.says("boot.killed");
    assert!(!bench.world.look().unwrap().says("高龄津贴申请"));

    let (words, status) = bench.command(&["safe-mode"]);
    assert!(
        words.contains("boot.killed") && status == Some(1),
        "{words}"
    );
    let (words, _) = bench.command(&["devices"]);
    assert!(words.contains("slip-printer"), "{words}");
    let (words, status) = bench.command(&["queue", "list", "--json"]);
    assert!(
        words.contains("old-age-allowance") && status == Some(0),
        "{words}"
    );
    let stick = bench.world.directory().join("stick");
    std::fs::create_dir(&stick).unwrap();
    let (words, status) = bench.command(&["queue", "export", stick.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{words}");
    assert!(std::fs::read_dir(&stick).unwrap().next().is_some());

    assert!(bench.world.accepted().unwrap().is_empty());
    bench.world.set_network(true).unwrap();
    let deadline = Deadline::after(LIMIT);
    while bench.world.accepted().unwrap().is_empty() {
        assert!(!deadline.has_passed(), "what was confirmed never arrives");
        pause(LOOK_TICK);
    }

    let (words, status) = bench.command(&["safe-mode", "--off", "--by", "wang"]);
    assert_eq!(status, Some(0), "{words}");
    bench.follow_restart();
    bench.screen("attract");
    let file = bench.world.directory().join("audit.jsonl");
    let (words, status) = bench.command(&["audit", "export", file.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{words}");
    let log = std::fs::read_to_string(&file).unwrap();
    for kind in ["safe-mode.entered", "safe-mode.left"] {
        assert!(log.contains(kind), "{kind} is not in the audit log");
    }
    bench.kill(1);
    bench.says(IN_REPAIR);
    bench.world.quit().unwrap();
}

#[test]
fn safe_mode_that_crashes_too_becomes_words_on_the_glass_and_nothing_else() {
    let mut bench = bench();
    bench.start();
    bench.kill(CRASHES_MAX);
    bench.says(IN_REPAIR);
    bench.kill(2);
    bench.says(IN_REPAIR);
    let socket = bench.state().join("devices.sock");
    assert!(UnixStream::connect(socket).is_err(), "nothing is served");
    // The store belongs to nobody now: a command opens it by itself.
    let (words, status) = bench.command(&["queue", "list"]);
    assert_eq!(status, Some(0), "{words}");
    bench.command(&["safe-mode", "--off", "--by", "wang"]);
    bench.follow_restart();
    bench.screen("attract");
    bench.world.quit().unwrap();
}

#[test]
fn a_terminal_that_cannot_start_says_why_in_safe_mode() {
    let mut bench = bench_with(|config| {
        let device = config["device"][0].as_table_mut().unwrap();
        device.insert("driver".to_owned(), "no-such-driver".into());
    });
    for _ in 0..CRASHES_MAX {
        assert!(bench.world.start_terminal().is_err());
        bench.world.wait_end(LIMIT).unwrap();
    }
    bench.start();
    bench.says(IN_REPAIR);
    bench.says("boot.no-start");
    let (words, _) = bench.command(&["safe-mode", "--json"]);
    let value: Value = serde_json::from_str(&words).unwrap();
    let reason = value["safe"]["words"].as_str().unwrap();
    assert!(reason.contains("no-such-driver"), "{reason}");
    bench.world.quit().unwrap();
}

/// The scanner reads again in this mode, until it may be what ends it badly.
#[test]
fn staff_come_in_by_the_scanner_in_safe_mode_and_by_a_stick_once_that_has_ended_badly() {
    let mut bench = bench_of(true, |_| {});
    let (words, status) = bench.command(&["safe-mode", "--on", "--by", "wang"]);
    assert_eq!(status, Some(0), "{words}");
    bench.start();
    let come_in = |bench: &mut Bench, words: &str| {
        bench.screen("staff/safe");
        bench.world.touch("工作人员").unwrap();
        bench.says(words);
    };
    come_in(&mut bench, "把进入码对着扫码口");
    let (words, _) = bench.command(&["devices", "--json"]);
    let report: Value = serde_json::from_str(&words).unwrap();
    let ids: Vec<&str> = report["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| device["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 8, "each device once: {ids:?}");
    bench.kill(1);
    come_in(&mut bench, "请把进入码存到 U 盘");
    bench.world.quit().unwrap();
}

#[test]
fn a_scanner_that_is_configured_wrongly_does_not_take_safe_mode_away() {
    let mut bench = bench_of(true, |config| {
        let devices = config["device"].as_array_mut().unwrap();
        let scanner = devices
            .iter_mut()
            .filter_map(toml::Value::as_table_mut)
            .find(|device| device["id"].as_str() == Some("qr-scanner"));
        scanner
            .unwrap()
            .insert("driver".to_owned(), "no-such-driver".into());
    });
    let (words, status) = bench.command(&["safe-mode", "--on", "--by", "wang"]);
    assert_eq!(status, Some(0), "{words}");
    bench.start();
    bench.says(IN_REPAIR);
    bench.world.touch("工作人员").unwrap();
    bench.says("请把进入码存到 U 盘");
    bench.world.quit().unwrap();
}

/// One request to the administrator's side of the platform.
fn order(world: &World, kind: &str) {
    let address = world.platform().address();
    let body = json!({"terminal": "D001", "kind": kind, "arguments": {}, "expires_in_s": 600});
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "POST /admin/commands HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("\"id\""), "{reply}");
}

#[test]
fn an_order_of_the_platform_leads_out_of_safe_mode() {
    let mut bench = bench();
    let (words, status) = bench.command(&["safe-mode", "--on", "--by", "wang"]);
    assert_eq!(status, Some(0), "{words}");
    bench.start();
    bench.says(IN_REPAIR);
    bench.says("boot.by-hand");
    order(&bench.world, "unlock");
    bench.follow_restart();
    bench.screen("attract");
    bench.kill(1);
    bench.screen("attract");
    bench.world.quit().unwrap();
}
