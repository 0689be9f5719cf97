//! A `kiosk.toml` that somebody broke never leaves a dark glass: the terminal runs on with the last
//! good one and says so, or says in words which line is wrong and starts as soon as it is right.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use kiosk_app::config::kept;
use kiosk_demo::clock::{Deadline, pause};
use kiosk_demo::supervisor::Supervisor;
use kiosk_demo::world::{LOOK_TICK, Setting, World};
use serde_json::Value;

/// What the manager is told to wait for signs of life.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long anything here may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_mins(1);
/// What everybody reads where nobody is served.
const IN_REPAIR: &str = "本机正在检修";
/// What must never be told: it stands in the broken line.
const SECRET: &str = "geheim-4711";

struct Bench {
    world: World,
    manager: Supervisor,
    _directory: tempfile::TempDir,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let world = World::new(&setting).unwrap();
    Bench {
        manager: Supervisor::new(&world, PATIENCE).unwrap(),
        world,
        _directory: directory,
    }
}

impl Bench {
    fn file(&self) -> PathBuf {
        self.world.launch().config.clone()
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn write(&self, text: &str) {
        std::fs::write(self.file(), text).unwrap();
    }

    /// Puts an address with a password into the file, in the wrong place for one; answers its line.
    fn spoil(&self) -> usize {
        let text = self.text();
        let line = text
            .lines()
            .position(|line| line.starts_with("url = "))
            .unwrap();
        let wrong = format!("url = \"ftp://kiosk:{SECRET}@127.0.0.1\"");
        let lines: Vec<&str> = text
            .lines()
            .enumerate()
            .map(|(at, now)| if at == line { wrong.as_str() } else { now })
            .collect();
        self.write(&(lines.join("\n") + "\n"));
        line + 1
    }

    fn copy(&self) -> PathBuf {
        self.world.directory().join("state").join(kept::NAME)
    }

    fn start(&mut self) {
        self.manager.start(&mut self.world).unwrap();
    }

    fn says(&mut self, words: &str) {
        self.world
            .wait(LIMIT, words, |sight| sight.says(words))
            .unwrap();
    }

    fn command(&self, words: &[&str]) -> (String, Option<i32>) {
        let output = self.world.command(words).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        (said + &complained, output.status.code())
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.world.terminal_log()).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends a terminal in good order and has the end written down, as the manager does.
    fn stop(&mut self) {
        self.world.quit().unwrap();
    }
}

#[test]
fn without_an_earlier_configuration_the_glass_says_which_line_is_wrong_until_it_is_right() {
    let mut bench = bench();
    let good = bench.text();
    let line = bench.spoil();
    bench.start();
    bench.says(IN_REPAIR);
    bench.says("boot.configuration");
    bench.says(&format!("kiosk.toml 第 {line} 行"));
    let sight = bench.world.look().unwrap();
    assert!(!sight.describe().contains(SECRET));
    // Nobody is served, and nothing behind the glass is open.
    assert!(!sight.has_button("请触摸屏幕开始办事"));
    // Where nobody is known, nobody comes in.
    drop(bench.world.touch("工作人员"));
    assert_eq!(bench.world.look().unwrap().screen, "staff/safe");
    let socket = bench.world.directory().join("state/devices.sock");
    assert!(UnixStream::connect(socket).is_err(), "nothing is served");
    let (words, status) = bench.command(&["safe-mode"]);
    assert!(words.contains(&format!("第 {line} 行")), "{words}");
    assert_eq!(status, Some(1), "{words}");
    assert!(!words.contains(SECRET), "{words}");
    let (words, _) = bench.command(&["safe-mode", "--json"]);
    let value: Value = serde_json::from_str(&words).unwrap();
    assert_eq!(value["configuration"]["line"], line, "{words}");

    // Another mistake: the glass follows the file.
    bench.write(&good.replacen("help_phone = ", "help_fone = ", 1));
    bench.says("有一项的名字不认识");
    bench.write(&format!("{good}\nthis is no line of it"));
    bench.says("这一行写得不对");

    bench.write(&good);
    let end = bench.manager.wait_end(&mut bench.world, LIMIT).unwrap();
    assert_eq!(end.result, "success", "an ordered end");
    bench.manager.start_anew(&mut bench.world, &end).unwrap();
    bench
        .world
        .wait(LIMIT, "attract", |sight| sight.screen == "attract")
        .unwrap();
    assert!(bench.log().contains("boot.configuration"));
    assert!(!bench.log().contains(SECRET));
    bench.stop();
}

#[test]
fn with_an_earlier_configuration_the_terminal_runs_on_and_sounds_the_alarm() {
    let mut bench = bench();
    let good = bench.text();
    bench.start();
    let deadline = Deadline::after(LIMIT);
    while std::fs::read_to_string(bench.copy()).ok().as_ref() != Some(&good) {
        assert!(!deadline.has_passed(), "the configuration is not kept");
        pause(LOOK_TICK);
    }
    let mode = std::fs::metadata(bench.copy())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    bench.stop();

    let line = bench.spoil();
    bench.start();
    bench
        .world
        .wait(LIMIT, "attract", |sight| {
            sight.screen == "attract" && sight.has_button("请触摸屏幕开始办事")
        })
        .unwrap();
    let (words, status) = bench.command(&["safe-mode"]);
    assert!(
        words.contains("configuration.kept") && words.contains(&format!("第 {line} 行")),
        "{words}"
    );
    assert_eq!(status, Some(0), "it serves: {words}");
    // Commands work with what the terminal runs with.
    let (words, _) = bench.command(&["devices"]);
    assert!(words.contains("slip-printer"), "{words}");
    assert!(words.contains("last good configuration"), "{words}");
    let entries = bench.world.directory().join("audit.jsonl");
    let (words, status) = bench.command(&["audit", "export", entries.to_str().unwrap()]);
    assert_eq!(status, Some(0), "{words}");
    let entries = std::fs::read_to_string(&entries).unwrap();
    assert!(entries.contains("configuration.kept"));
    // The platform hears of it with the next heartbeat.
    let deadline = Deadline::after(LIMIT);
    while !terminals(&bench.world).contains("configuration.kept") {
        assert!(!deadline.has_passed(), "the platform never hears of it");
        pause(LOOK_TICK);
    }
    for told in [bench.log(), entries, words] {
        assert!(!told.contains(SECRET));
    }
    assert_eq!(std::fs::read_to_string(bench.copy()).unwrap(), good);
    bench.stop();

    // A copy that is wrong too helps nobody.
    std::fs::write(bench.copy(), "rubbish").unwrap();
    bench.start();
    bench.says(IN_REPAIR);
    bench.says(&format!("kiosk.toml 第 {line} 行"));
    bench.write(&good);
    let end = bench.manager.wait_end(&mut bench.world, LIMIT).unwrap();
    bench.manager.start_anew(&mut bench.world, &end).unwrap();
    bench
        .world
        .wait(LIMIT, "attract", |sight| sight.screen == "attract")
        .unwrap();
    bench.stop();
}

/// What the platform knows of its terminals.
fn terminals(world: &World) -> String {
    let address = world.platform().address();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET /admin/terminals HTTP/1.0\r\nHost: {address}\r\n\r\n"
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}
