//! A real disk that fills while a release is fetched. The same at every single step, on a disk that is
//! made up, is in the tests of the engine and of the slots, which need no rights for it.

use std::fs;
use std::process::Command;

use kiosk_update::manifest::Version;
use serde_json::Value;

use super::program::{publish, scene};
use super::pulled::large;

/// Gives the updater a file system of its own in memory, lets it fill up under the first pass, and makes
/// room again for the second. What came of each is left beside it.
const SCRIPT: &str = r#"cd "$1"
shift
cp -a state kept
mount -t tmpfs -o size=400m none state
cp -a kept/. state
for pass in full room; do
    code=0
    "$@" run > $pass.words 2>&1 || code=$?
    echo $code > $pass.code
    cp state/status.json $pass.json
    cp state/slots/current/bin/kiosk $pass.program
    mount -o remount,size=400m state
done
"#;
/// When the first part is there, there is room for one more, and not for all.
const FILL: &str = r#"(
while test -z "$(ls state/chunks 2>/dev/null)"; do sleep 0.02; done
mount -o remount,size=$(($(df -k --output=used state | tail -n 1) + 384))k state
) < /dev/null > /dev/null 2>&1 &
"#;

/// Runs a shell in which file systems can be mounted that nobody else sees.
fn shell(words: &[&str]) -> Command {
    let mut shell = Command::new("unshare");
    shell.args(["--user", "--map-root-user", "--mount", "sh", "-e", "-c"]);
    shell.args(words);
    shell
}

/// Whether this machine lets tests mount anything.
fn may_mount() -> bool {
    let tried = shell(&["mount -t tmpfs none /mnt"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

#[test]
fn a_disk_that_fills_during_a_fetch_is_told_and_room_lets_it_go_on() {
    if !may_mount() {
        return;
    }
    let (mut repository, server, machine) = scene();
    let content = large();
    publish(&mut repository, Version::new(9, 1, 0), &content);
    machine.set("act", FILL);
    machine.set("count", "0");
    machine.set("act_at", "1");
    // Slow enough that the disk is full before all of it is here.
    machine.configure("bytes_per_s = 100000000", "bytes_per_s = 1000000");
    let root = machine.path("");
    let config = machine.path("updater.toml");
    let program = env!("CARGO_BIN_EXE_kiosk-updater");
    let mut played = shell(&[SCRIPT, "sh", &root, program, "--config", &config]);
    let played = played.output().unwrap();
    let get = |name: &str| fs::read(machine.path(name)).unwrap_or_default();
    let words = String::from_utf8(get("full.words")).unwrap();
    assert!(played.status.success(), "{played:?} {words}");
    assert_eq!(get("full.code"), b"1\n", "{words}");
    let status: Value = serde_json::from_slice(&get("full.json")).unwrap();
    assert_eq!(status["code"], "update.no-room", "{words}");
    assert_eq!(
        (&status["phase"], &status["running"]),
        (&"problem".into(), &"9.0.0".into())
    );
    assert_eq!(get("full.program"), b"first");
    let status: Value = serde_json::from_slice(&get("room.json")).unwrap();
    assert_eq!(status["running"], "9.1.0");
    assert!(get("room.program") == content);
    // Only the part that found no room comes twice.
    let asked = server.requests();
    let mut parts: Vec<_> = asked
        .iter()
        .filter(|name| name.starts_with("chunks/"))
        .collect();
    let fetched = parts.len();
    parts.sort_unstable();
    parts.dedup();
    assert!(fetched <= parts.len() + 1, "{fetched} of {}", parts.len());
}
