//! The service manager's side of a terminal: it hears when the terminal is ready and that it lives,
//! also on a machine that is busy; it hears nothing more when the process hangs, and gets a new one
//! that is ready again after a kill.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiosk_demo::clock::pause;
use kiosk_demo::supervisor::Supervisor;
use kiosk_demo::world::{Setting, World};
use rustix::process::Signal;

/// What the manager is told to wait for signs of life. Short, so that the test is.
const PATIENCE: Duration = Duration::from_secs(1);
/// `WatchdogSec=` of the unit.
const UNIT_PATIENCE: Duration = Duration::from_secs(10);
/// How long anything here may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_mins(1);

fn world() -> (tempfile::TempDir, World) {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let world = World::new(&setting).unwrap();
    (directory, world)
}

fn attract(world: &mut World) {
    world
        .wait(LIMIT, "a glass that can be used", |sight| {
            sight.screen == "attract"
        })
        .unwrap();
}

#[test]
fn e16_a_terminal_that_hangs_falls_silent_and_a_new_one_is_ready_after_a_kill() {
    let (_directory, mut world) = world();
    let manager = Supervisor::new(&world, PATIENCE).unwrap();
    manager.start(&mut world).unwrap();
    for _ in 0..4 {
        let sign = manager.hears(PATIENCE * 4).unwrap().expect("it lives");
        assert!(sign.contains("WATCHDOG=1"), "{sign}");
    }
    world.signal(Signal::STOP).unwrap();
    // What was on its way when it was stopped is still heard.
    manager.forget().unwrap();
    assert_eq!(manager.hears(PATIENCE * 2).unwrap(), None);
    let end = manager.wait_end(&mut world, LIMIT).unwrap();
    assert_eq!(end.result, "watchdog");
    manager.start_anew(&mut world, &end).unwrap();
    attract(&mut world);
    let log = std::fs::read_to_string(world.terminal_log()).unwrap();
    assert!(!log.contains("safe mode"), "one hang is no reason");
}

#[test]
fn e16_a_pause_shorter_than_the_patience_is_no_hang() {
    let (_directory, mut world) = world();
    let manager = Supervisor::new(&world, PATIENCE * 4).unwrap();
    manager.start(&mut world).unwrap();
    world.signal(Signal::STOP).unwrap();
    pause(PATIENCE);
    world.signal(Signal::CONT).unwrap();
    assert!(manager.longest_silence(PATIENCE * 6).unwrap() < PATIENCE * 4);
    attract(&mut world);
    world.quit().unwrap();
}

/// A process that does nothing but compute.
struct Busy(Child);

impl Busy {
    fn new() -> Self {
        let child = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn e16_a_terminal_that_is_starved_of_the_processor_still_gives_signs_in_time() {
    let (_directory, mut world) = world();
    let manager = Supervisor::new(&world, UNIT_PATIENCE).unwrap();
    let processors = std::thread::available_parallelism().unwrap().get();
    let busy: Vec<Busy> = (0..processors * 3).map(|_| Busy::new()).collect();
    manager.start(&mut world).unwrap();
    let longest = manager.longest_silence(UNIT_PATIENCE).unwrap();
    drop(busy);
    assert!(longest < UNIT_PATIENCE, "{longest:?}");
    attract(&mut world);
    world.quit().unwrap();
}

/// From a crash to a glass that can be used (`RestartSec=` counts), by design.
const CRASH_BUDGET: Duration = Duration::from_secs(5);
/// Crashes that are measured.
const CRASHES: usize = 3;

#[test]
#[ignore = "a measurement, for an idle machine: make bench"]
fn a_crash_leads_to_a_usable_glass_within_its_budget() {
    let (_directory, mut world) = world();
    let manager = Supervisor::new(&world, UNIT_PATIENCE).unwrap();
    manager.start(&mut world).unwrap();
    attract(&mut world);
    let mut took: Vec<Duration> = (0..CRASHES)
        .map(|_| {
            let took = manager.kill_and_start(&mut world).unwrap();
            attract(&mut world);
            took
        })
        .collect();
    took.sort_unstable();
    let median = took[CRASHES / 2];
    writeln!(std::io::stderr(), "crash to usable glass: {took:?}").unwrap();
    assert!(median <= CRASH_BUDGET, "{median:?}");
    world.quit().unwrap();
}

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd")
}

#[test]
fn e16_the_service_is_started_anew_for_ever_and_watched() {
    let unit = std::fs::read_to_string(units().join("kiosk.service")).unwrap();
    for line in [
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "WatchdogSec=10",
        "ExecStopPost=-kiosk safe-mode --ended",
        "LimitCORE=0",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line} is missing");
    }
}

#[test]
fn the_service_manager_understands_every_line_of_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    // The programs are not installed here; everything else is taken as it is.
    for unit in [
        "kiosk.service",
        "kiosk-display.service",
        "kiosk-display.socket",
    ] {
        let text = std::fs::read_to_string(units().join(unit)).unwrap();
        let text = text
            .replace("=kiosk ", "=/bin/true ")
            .replace("=-kiosk ", "=-/bin/true ")
            .replace("=/usr/bin/weston ", "=/bin/true ");
        std::fs::write(directory.path().join(unit), text).unwrap();
    }
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(directory.path().join("kiosk.service"))
        .arg(directory.path().join("kiosk-display.service"))
        // The closing colon stands for the directories of the system.
        .env(
            "SYSTEMD_UNIT_PATH",
            format!("{}:", directory.path().display()),
        )
        .output();
    match verified {
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let about_us: Vec<&str> = words
                .lines()
                .filter(|line| line.contains("kiosk"))
                .collect();
            assert!(about_us.is_empty() && output.status.success(), "{words}");
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            writeln!(
                std::io::stderr(),
                "not proved: systemd-analyze is not installed"
            )
            .unwrap();
        }
        Err(error) => panic!("{error}"),
    }
}
