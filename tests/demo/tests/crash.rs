//! The terminal is killed (SIGKILL) right after the touch that confirms, at twenty moments, with no
//! line: what became durable reaches the platform once and has its slip; what did not leaves no
//! slip. kill -9 does not test the disk's own promises: the kernel keeps what was written.
//! And the disk under the store hangs in the commit: the terminal falls silent and is started anew.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiosk_demo::clock::{Deadline, pause};
use kiosk_demo::player::prints;
use kiosk_demo::supervisor::Supervisor;
use kiosk_demo::world::{LOOK_TICK, Setting, World};
use kiosk_durability::power_loss::Weakness;
use kiosk_emulators::slip_code;
use kiosk_emulators::{Act, CardChoice, Device};
use rustix::process::Signal;

/// Milliseconds from the confirming touch to the kill: before the commit, around it, around the
/// slip.
const MOMENTS_MS: [u64; 20] = [
    0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 75, 100, 130, 170, 220, 300, 450, 700,
];

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(30);
/// What the service manager waits for signs of life.
const PATIENCE: Duration = Duration::from_secs(2);

fn touch(world: &mut World, label: &str) {
    let wanted = format!("a button `{label}`");
    world
        .wait(LIMIT, &wanted, |sight| sight.has_button(label))
        .unwrap();
    world.touch(label).unwrap();
}

fn type_keys(world: &mut World, question: &str, keys: &str) {
    world
        .wait(LIMIT, question, |sight| sight.says(question))
        .unwrap();
    for key in keys.chars() {
        world.touch(&key.to_string()).unwrap();
    }
    touch(world, "下一步");
}

fn screen(world: &mut World, name: &str) {
    world
        .wait(LIMIT, name, |sight| sight.screen == name)
        .unwrap();
}

/// The allowance, for oneself, up to the page that confirms.
fn walk_to_review(world: &mut World) {
    touch(world, "请触摸屏幕开始办事");
    touch(world, "高龄津贴申请");
    touch(world, "给自己办");
    screen(world, "identify");
    world
        .act(Act::InsertCard {
            card: CardChoice::Name("elder".to_owned()),
        })
        .unwrap();
    touch(world, "信息无误，继续");
    world.act(Act::RemoveCard).unwrap();
    touch(world, "不用，这样就好");
    type_keys(world, "请输入联系电话", "6601234");
    type_keys(world, "津贴发到哪张卡", "6222020000000000000");
    touch(world, "自己住，或者和老伴住");
    for question in ["给户口本拍照", "给银行卡或存折拍照"] {
        world
            .wait(LIMIT, question, |sight| sight.says(question))
            .unwrap();
        touch(world, "拍照");
        touch(world, "清楚，用这张");
    }
    screen(world, "review");
}

/// Case numbers on every whole slip so far.
fn numbers_on_slips(world: &World) -> Vec<String> {
    let is_slip = |print: &&kiosk_demo::report::PrintReport| {
        print.height_mm.is_some() && print.outcome == "complete"
    };
    prints(world)
        .iter()
        .filter(is_slip)
        .map(|slip| {
            let code = slip_code::read(&slip.file).unwrap();
            kiosk_app::slip_code::case_number(&code).unwrap()
        })
        .collect()
}

/// Case numbers at the platform; each transaction must stand there once.
fn numbers_at_platform(world: &World) -> BTreeSet<String> {
    let accepted = world.accepted().unwrap();
    let ids: BTreeSet<String> = accepted.iter().map(|each| each.id.to_string()).collect();
    let numbers: BTreeSet<String> = accepted
        .iter()
        .map(|each| each.case_number.clone())
        .collect();
    assert_eq!(
        (ids.len(), numbers.len()),
        (accepted.len(), accepted.len()),
        "something took effect twice"
    );
    numbers
}

fn wait_for_slip(world: &World, number: &String, when: &str) {
    let deadline = Deadline::after(LIMIT);
    while !numbers_on_slips(world).contains(number) {
        assert!(
            !deadline.has_passed(),
            "{when}: the case is durable, but its slip never came"
        );
        pause(LOOK_TICK);
    }
}

/// One visit that is cut off; answers whether its case had become durable.
fn visit_cut_after(world: &mut World, ms: u64) -> bool {
    let before = numbers_at_platform(world);
    walk_to_review(world);
    world.touch("确认提交").unwrap();
    pause(Duration::from_millis(ms));
    world.kill().unwrap();
    // A power cut is followed by another boot of the machine and counts for nothing; here it is the
    // same boot, in which four ends like this lead to safe mode.
    kiosk_app::boot::note_end(&world.directory().join("state"), None).unwrap();
    world.start_terminal().unwrap();
    world.set_network(true).unwrap();
    world.wait_line(true, LIMIT).unwrap();
    world.wait_synced(LIMIT).unwrap();
    let after = numbers_at_platform(world);
    let new: Vec<&String> = after.difference(&before).collect();
    assert!(
        new.len() <= 1,
        "{ms} ms: one visit made {} cases",
        new.len()
    );
    if let Some(number) = new.first() {
        // The slip that the interruption left out is printed by itself.
        wait_for_slip(world, number, &format!("{ms} ms"));
    }
    for number in numbers_on_slips(world) {
        assert!(
            after.contains(&number),
            "{ms} ms: a slip without its record"
        );
    }
    world.set_network(false).unwrap();
    world.wait_line(false, LIMIT).unwrap();
    screen(world, "attract");
    !new.is_empty()
}

/// A world with a document under its camera and without a line.
fn world(directory: &Path) -> World {
    let world = World::new(&Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        ..Setting::headless(directory.join("world")).unwrap()
    })
    .unwrap();
    let scene = Act::ShowScene {
        camera: Device::DocumentCamera,
        scene: Some("document".to_owned()),
        file: None,
    };
    world.act(scene).unwrap();
    world.set_network(false).unwrap();
    world
}

fn check(moments: impl Iterator<Item = u64>) {
    let directory = tempfile::tempdir().unwrap();
    let mut world = world(directory.path());
    world.start_terminal().unwrap();
    screen(&mut world, "attract");
    let durable: Vec<(u64, bool)> = moments
        .map(|ms| (ms, visit_cut_after(&mut world, ms)))
        .collect();
    let count = durable.iter().filter(|(_, is_durable)| *is_durable).count();
    assert_eq!(numbers_at_platform(&world).len(), count, "{durable:?}");
    // The latest kill comes long after the commit: without it these visits would prove nothing.
    assert!(
        durable.last().is_some_and(|(_, is_durable)| *is_durable),
        "{durable:?}"
    );
    world.quit().unwrap();
}

/// Names the place of the disk that this program serves when it is started anew as its server.
const DISK_PLACE: &str = "KIOSK_DEMO_DISK";

/// Not a proof: the process that serves the disk of the proof below.
#[test]
fn disk_server() {
    if let Some(place) = std::env::var_os(DISK_PLACE) {
        kiosk_durability::serve(place.as_ref(), Weakness::None).unwrap();
    }
}

/// A disk that hangs while its server is stopped.
struct Disk {
    server: Child,
    place: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut server = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "disk_server", "--nocapture"])
            .env(DISK_PLACE, place.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let is_mounted = lines.any(|line| line.unwrap().ends_with("mounted"));
        assert!(is_mounted, "the disk cannot be mounted");
        Self { server, place }
    }

    fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        // The end of its orders ends the server, which unmounts.
        drop(self.server.stdin.take());
        self.server.wait().unwrap();
    }
}

#[test]
fn a_disk_that_hangs_in_the_commit_ends_in_a_new_start_and_a_case_that_is_whole_or_not_there() {
    if !kiosk_durability::can_mount() {
        writeln!(
            std::io::stderr(),
            "not proved: no file system can be mounted here"
        )
        .unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let disk = Disk::new();
    let mut world = world(directory.path());
    let state = world.directory().join("state");
    std::os::unix::fs::symlink(disk.place.path().join("store"), state.join("store")).unwrap();
    let manager = Supervisor::new(&world, PATIENCE).unwrap();
    manager.start(&mut world).unwrap();
    screen(&mut world, "attract");
    walk_to_review(&mut world);
    disk.signal(Signal::STOP);
    world.touch("确认提交").unwrap();
    manager.forget().unwrap();
    let end = manager.wait_end(&mut world, LIMIT).unwrap();
    assert_eq!(
        end.result, "watchdog",
        "the visit hangs, the glass does not"
    );
    disk.signal(Signal::CONT);
    manager.start_anew(&mut world, &end).unwrap();
    screen(&mut world, "attract");
    world.set_network(true).unwrap();
    world.wait_line(true, LIMIT).unwrap();
    world.wait_synced(LIMIT).unwrap();
    let accepted = numbers_at_platform(&world);
    assert!(accepted.len() <= 1);
    if let Some(number) = accepted.first() {
        wait_for_slip(&world, number, "the disk hung");
    }
    for number in numbers_on_slips(&world) {
        assert!(accepted.contains(&number), "a slip without its record");
    }
    world.quit().unwrap();
}

#[test]
fn a_kill_after_the_confirming_touch_loses_and_doubles_nothing_at_ten_moments() {
    check(MOMENTS_MS.into_iter().step_by(2));
}

#[test]
fn a_kill_after_the_confirming_touch_loses_and_doubles_nothing_at_ten_other_moments() {
    check(MOMENTS_MS.into_iter().skip(1).step_by(2));
}
