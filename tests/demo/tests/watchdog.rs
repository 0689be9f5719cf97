//! The service manager's side of a terminal: it hears when the terminal is ready and that it lives,
//! hears nothing more when the process hangs, and gets a new one that is ready again after a kill.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiosk_demo::remote::Launch;
use kiosk_demo::world::{Setting, World};

/// What the manager is told to wait for signs of life. Short, so that the test is.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a start may take on a machine that does other things too.
const START_LIMIT: Duration = Duration::from_mins(1);

struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new(directory: &Path) -> Self {
        let path = directory.join("notify");
        Self {
            socket: UnixDatagram::bind(&path).unwrap(),
            name: path.to_str().unwrap().to_owned(),
        }
    }

    fn start(&self, launch: &Launch) -> Child {
        Command::new(&launch.program)
            .arg("terminal")
            .arg("--config")
            .arg(&launch.config)
            .arg("--control")
            .arg(&launch.socket)
            .env("NOTIFY_SOCKET", &self.name)
            .env("WATCHDOG_USEC", PATIENCE.as_micros().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The next message, or nothing within `limit`.
    fn hears(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut message = [0; 256];
        let count = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8_lossy(&message[..count]).into_owned())
    }

    fn is_ready(&self) -> bool {
        self.hears(START_LIMIT)
            .is_some_and(|words| words.contains("READY=1"))
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn e16_a_terminal_that_hangs_falls_silent_and_a_new_one_is_ready_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let world = World::new(&setting).unwrap();
    let manager = Manager::new(directory.path());
    let mut terminal = manager.start(world.launch());
    assert!(manager.is_ready());
    for _ in 0..4 {
        let sign = manager.hears(PATIENCE * 4).expect("it lives");
        assert!(sign.contains("WATCHDOG=1"), "{sign}");
    }
    signal(&terminal, rustix::process::Signal::STOP);
    // What was on its way when it was stopped is still heard.
    while manager.hears(Duration::from_millis(10)).is_some() {}
    assert_eq!(manager.hears(PATIENCE * 2), None);
    signal(&terminal, rustix::process::Signal::KILL);
    terminal.wait().unwrap();
    let mut again = manager.start(world.launch());
    assert!(manager.is_ready());
    signal(&again, rustix::process::Signal::KILL);
    again.wait().unwrap();
}

#[test]
fn e16_the_service_is_started_anew_for_ever_and_watched() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd/kiosk.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    for line in [
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "WatchdogSec=10",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line} is missing");
    }
}
