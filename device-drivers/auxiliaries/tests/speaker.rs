//! The loudspeaker driver against small programs in the place of `amixer`.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiosk_auxiliaries::speaker::{Command, Speaker};
use kiosk_device::{Cancel, Completion, Context, Driver};
use tempfile::TempDir;

/// A mixer that keeps volume and switch in a file.
const MIXER: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
[ "$1 $2" = "-D default" ] || exit 1
[ "$4" = "Master" ] || exit 1
case "$3 $5" in
  "sget ") ;;
  "sset mute") echo off > switch ;;
  "sset unmute") echo on > switch ;;
  "sset "*%) echo "$5" > volume ;;
  *) exit 1 ;;
esac
echo "Simple mixer control 'Master',0"
echo "  Front Left: Playback 26214 [$(cat volume)] [$(cat switch)]"
"#;

/// A program that is being written cannot be started, and a thread that starts another one may hold it
/// open for a moment: so one test at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn program(directory: &Path, script: &str) -> Speaker {
    let path = directory.join("amixer");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    speaker(&path)
}

fn speaker(path: &Path) -> Speaker {
    let config = format!(
        "id = \"speaker\"\nclass = \"speaker\"\ndriver = \"amixer\"\nport = \"default\"\n[options]\nprogram = \"{}\"",
        path.display()
    );
    Speaker::new(&toml::from_str(&config).unwrap()).unwrap()
}

fn execute(speaker: &mut Speaker, command: Command) -> Completion {
    let cancel = Cancel::default();
    let emit = |event: Infallible| match event {};
    let context = Context::new(Duration::from_secs(20), &cancel, &emit);
    speaker.execute(command, &context)
}

#[test]
fn volume_and_mute_are_set_and_told() {
    let _turn = turn();
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("volume"), "40%").unwrap();
    fs::write(directory.path().join("switch"), "on").unwrap();
    let mut speaker = program(directory.path(), MIXER);
    let capabilities = speaker.open().unwrap();
    assert_eq!(capabilities.abilities, ["volume", "mute"]);
    let told = |speaker: &mut Speaker| {
        let readings = speaker.status().unwrap().readings;
        format!("{} {}", readings["volume-percent"], readings["muted"])
    };
    assert_eq!(told(&mut speaker), "40 no");
    for (command, expect) in [
        (Command::SetVolume { percent: 65 }, "65 no"),
        (Command::Mute, "65 yes"),
        (Command::Unmute, "65 no"),
        (Command::SetVolume { percent: 255 }, "100 no"),
    ] {
        assert_eq!(execute(&mut speaker, command), Completion::Success);
        assert_eq!(told(&mut speaker), expect);
    }
}

fn check_program(script: &str, code: &str) {
    let directory = TempDir::new().unwrap();
    let mut speaker = program(directory.path(), script);
    assert_eq!(speaker.open().unwrap_err().code, code, "{script}");
}

#[test]
fn programs_that_fail_hang_or_talk_nonsense_are_told_apart() {
    let _turn = turn();
    check_program("#!/bin/sh\nexit 1\n", "speaker.no-control");
    check_program("#!/bin/sh\necho nothing\n", "speaker.bad-reply");
    check_program("#!/bin/sh\nexec sleep 60\n", "device.silent");
    let mut missing = speaker(Path::new("/no/such/amixer"));
    assert_eq!(missing.open().unwrap_err().code, "speaker.no-program");
}

#[test]
fn a_program_that_talks_for_ever_is_ended() {
    let _turn = turn();
    check_program("#!/bin/sh\nexec yes\n", "speaker.no-control");
}

#[test]
fn a_control_without_a_switch_cannot_be_muted() {
    let _turn = turn();
    let directory = TempDir::new().unwrap();
    let mut speaker = program(
        directory.path(),
        "#!/bin/sh\necho 'Mono: Playback 1 [50%]'\n",
    );
    assert_eq!(speaker.open().unwrap().abilities, ["volume"]);
    let completion = execute(&mut speaker, Command::Mute);
    assert!(
        matches!(&completion, Completion::Failed(fault) if fault.code == "speaker.no-mute"),
        "{completion:?}"
    );
}
