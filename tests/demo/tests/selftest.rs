//! `kiosk selftest` as the update agent, a script over SSH and a technician at a terminal window run
//! it: every device of the bench is reported, the report is written, a person is asked, and in safe
//! mode it says what could not be tested.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiosk_demo::clock::{Deadline, pause};
use kiosk_demo::world::{LOOK_TICK, Setting, World};
use kiosk_emulators::{Act, CardChoice, Device};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

/// How long anything here may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_mins(2);
/// Every device of the bench.
const DEVICES: [&str; 8] = [
    "id-card",
    "qr-scanner",
    "slip-printer",
    "page-printer",
    "face-camera",
    "document-camera",
    "ups",
    "io-board",
];
/// What is looked at of the machine itself.
const PARTS: [&str; 6] = [
    "machine.network",
    "machine.disk",
    "machine.clock",
    "machine.memory",
    "machine.store",
    "machine.sensors",
];

fn world() -> (tempfile::TempDir, World) {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let world = World::new(&setting).unwrap();
    let scene = Act::ShowScene {
        camera: Device::DocumentCamera,
        scene: Some("document".to_owned()),
        file: None,
    };
    world.act(scene).unwrap();
    (directory, world)
}

/// The summary and the exit status.
fn examine(world: &World, words: &[&str]) -> (Value, Option<i32>) {
    let mut all = vec!["selftest", "--json"];
    all.extend(words);
    let output = world.command(&all).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = serde_json::from_slice(&output.stdout);
    (
        summary.unwrap_or_else(|error| panic!("{error}: {complaint}")),
        output.status.code(),
    )
}

/// Each test with its verdict and its problem code, by device and test.
fn outcomes(summary: &Value) -> BTreeMap<(String, String), (String, String)> {
    let word = |test: &Value, key: &str| test[key].as_str().unwrap().to_owned();
    let tests = summary["tests"].as_array().unwrap().iter();
    tests
        .map(|test| {
            (
                (word(test, "device"), word(test, "test")),
                (word(test, "verdict"), word(test, "problem")),
            )
        })
        .collect()
}

fn check_complete(summary: &Value) {
    let outcomes = outcomes(summary);
    let devices: BTreeSet<&str> = outcomes.keys().map(|(device, _)| device.as_str()).collect();
    let tests: BTreeSet<&str> = outcomes.keys().map(|(_, test)| test.as_str()).collect();
    for device in DEVICES {
        assert!(devices.contains(device), "{device}: {summary}");
    }
    for part in PARTS {
        assert!(tests.contains(part), "{part}: {summary}");
    }
    let count = |key: &str| summary[key].as_u64().unwrap();
    let sum = count("passed") + count("failed") + count("skipped");
    assert_eq!(usize::try_from(sum).unwrap(), outcomes.len());
}

#[test]
fn without_a_running_terminal_every_device_is_reported_and_the_report_is_written() {
    let (directory, world) = world();
    let pdf = directory.path().join("report.pdf");
    let name = pdf.to_str().unwrap();
    let (summary, status) = examine(&world, &["--pdf", name]);
    check_complete(&summary);
    assert_eq!(summary["is_terminal_running"], false);
    assert_eq!(summary["terminal"], "D001");
    let outcomes = outcomes(&summary);
    for (device, test) in [("ups", "ups.battery"), ("", "machine.disk")] {
        let (verdict, _) = &outcomes[&(device.to_owned(), test.to_owned())];
        assert_eq!(verdict, "passed", "{test}: {summary}");
    }
    let (verdict, problem) = &outcomes[&("id-card".to_owned(), "id-card.reading".to_owned())];
    assert_eq!(
        (verdict.as_str(), problem.as_str()),
        ("skipped", "test.needs-person")
    );
    let has_failed = summary["failed"].as_u64().unwrap() > 0;
    assert_eq!(status, Some(i32::from(has_failed)), "{summary}");
    let report = std::fs::read(&pdf).unwrap();
    assert!(report.starts_with(b"%PDF-") && report.len() > 10_000);
    // A report is never written over: somebody may have signed the other one.
    let output = world
        .command(&["selftest", "--json", "--device", "ups", "--pdf", name])
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read(&pdf).unwrap(), report);
}

#[test]
fn what_is_broken_ends_with_status_1_and_its_own_code() {
    let (_directory, world) = world();
    let device = Device::SlipPrinter;
    world.act(Act::CoverOpen { device }).unwrap();
    let (summary, status) = examine(&world, &["--device", "slip-printer"]);
    assert_eq!(status, Some(1), "{summary}");
    let outcomes = outcomes(&summary);
    let key = ("slip-printer".to_owned(), "slip-printer.pattern".to_owned());
    let expect = ("failed".to_owned(), "printer.cover-open".to_owned());
    assert_eq!(outcomes.get(&key), Some(&expect), "{summary}");
    let output = world
        .command(&["selftest", "--json", "--device", "fridge"])
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("fridge") && words.contains("ups"), "{words}");
}

#[test]
fn while_somebody_is_there_no_test_begins_and_an_updater_is_told() {
    let (_directory, mut world) = world();
    let visit = |world: &World| world.command(&["visit"]).unwrap().status.code();
    assert_eq!(visit(&world), Some(0), "no terminal runs");
    world.start_terminal().unwrap();
    world
        .wait(LIMIT, "attract", |sight| sight.screen == "attract")
        .unwrap();
    assert_eq!(visit(&world), Some(0), "nobody is there");
    world.touch("请触摸屏幕开始办事").unwrap();
    world
        .wait(LIMIT, "home", |sight| sight.screen == "home")
        .unwrap();
    assert_eq!(visit(&world), Some(1), "somebody is there");
    let output = world.command(&["selftest", "--json"]).unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty(), "half a report is none");
    world.quit().unwrap();
}

#[test]
fn in_safe_mode_the_machine_is_tested_and_each_resting_device_is_said_to_be_left_out() {
    let (directory, mut world) = world();
    let output = world
        .command(&["safe-mode", "--on", "--by", "wang"])
        .unwrap();
    assert!(output.status.success());
    world.start_terminal().unwrap();
    world
        .wait(LIMIT, "safe mode", |sight| sight.screen == "staff/safe")
        .unwrap();
    let (summary, status) = examine(&world, &[]);
    check_complete(&summary);
    assert_eq!(summary["is_terminal_running"], true);
    let outcomes = outcomes(&summary);
    for ((device, test), (verdict, problem)) in &outcomes {
        // The scanner is the way in, and is driven.
        let is_resting = !device.is_empty() && device != "qr-scanner";
        if is_resting {
            assert_eq!(
                (verdict.as_str(), problem.as_str()),
                ("skipped", "test.safe-mode"),
                "{device} {test}"
            );
        } else {
            assert_ne!(problem, "test.safe-mode", "{device} {test}");
        }
    }
    assert!(matches!(status, Some(0 | 1)), "{summary}");
    // In words too.
    let output = world
        .command(&["selftest", "--device", "slip-printer"])
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(words.contains("检修模式下没法测"), "{words}");
    assert_eq!(output.status.code(), Some(0), "nothing failed: {words}");
    // What the running terminal cannot do beside its glass is refused in words.
    let pdf = directory.path().join("report.pdf");
    for words in [
        vec!["selftest", "--with-person"],
        vec!["selftest", "--pdf", pdf.to_str().unwrap()],
    ] {
        let output = world.command(&words).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(complaint.contains("a terminal runs"), "{complaint}");
    }
    assert!(!pdf.exists());
    world.quit().unwrap();
}

/// A terminal window: what is typed goes in, and what the command says comes out line by line.
struct Window {
    child: Child,
    keyboard: File,
    said: BufReader<std::process::ChildStdout>,
    /// Kept open until all is read: what was typed into a terminal is gone with its last user.
    _held: File,
}

impl Window {
    fn open(world: &World, words: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let path = PathBuf::from(name.to_str().unwrap());
        let open = || {
            let path: &Path = &path;
            File::options().read(true).write(true).open(path).unwrap()
        };
        let held = open();
        let mut child = Command::new(world.kiosk())
            .args(["selftest", "--config"])
            .arg(&world.launch().config)
            .args(words)
            .stdin(Stdio::from(open()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            said: BufReader::new(child.stdout.take().unwrap()),
            child,
            keyboard: File::from(terminal),
            _held: held,
        }
    }

    fn type_line(&mut self, words: &str) {
        writeln!(self.keyboard, "{words}").unwrap();
    }

    /// The next line; `None` at the end. The command has limits of its own.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.said.read_line(&mut line).unwrap();
        (count > 0).then_some(line)
    }

    fn end(mut self) -> Option<i32> {
        let deadline = Deadline::after(LIMIT);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            if deadline.has_passed() {
                self.child.kill().unwrap();
            }
            pause(LOOK_TICK);
        }
    }
}

#[test]
fn a_person_at_a_terminal_window_is_asked_and_the_card_reader_passes() {
    let (_directory, world) = world();
    let mut window = Window::open(&world, &["--with-person", "--device", "id-card"]);
    let mut said = String::new();
    while let Some(line) = window.line() {
        if line.contains("放到读卡区") {
            let card = CardChoice::Name("adult".to_owned());
            world.act(Act::InsertCard { card }).unwrap();
        }
        if line.contains("把卡拿走") {
            world.act(Act::RemoveCard).unwrap();
        }
        said.push_str(&line);
    }
    assert!(said.contains("passed   id-card.reading"), "{said}");
    assert_eq!(window.end(), Some(0), "{said}");
    for personal in ["测试甲", "440100199001011237"] {
        assert!(!said.contains(personal), "the content of a card is shown");
    }
}

#[test]
fn what_a_person_types_is_taken_and_what_is_no_answer_is_asked_again() {
    let (_directory, world) = world();
    let mut window = Window::open(&world, &["--with-person", "--device", "qr-scanner"]);
    let mut said = String::new();
    let mut is_asked = false;
    while let Some(line) = window.line() {
        if !is_asked && line.contains("[skip]") {
            is_asked = true;
            window.type_line("maybe");
        }
        if line.contains("没有这个回答") {
            window.type_line("skip");
        }
        said.push_str(&line);
    }
    assert!(said.contains("没有这个回答"), "{said}");
    assert!(said.contains("not run  qr-scanner.reading"), "{said}");
    assert_eq!(window.end(), Some(0), "{said}");
}
