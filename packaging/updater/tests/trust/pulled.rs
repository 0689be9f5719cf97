//! A stick that is pulled out while it is read. What was read is kept, nothing is half-installed, what
//! ran runs on, and the stick that is back finishes it.

use std::fs;
use std::path::{Path, PathBuf};

use kiosk_update::manifest::Version;

use super::program::{Machine, copy, publish, scene};

/// Content that is cut into several parts and does not shrink.
pub(crate) fn large() -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    (0..3_000_000).map(|_| next()).collect()
}

/// Files below a directory, in the order in which they are read.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    found
}

fn assert_pulled(machine: &Machine) {
    let told = machine.stick();
    assert_eq!(
        (&told["phase"], &told["code"]),
        (&"done".into(), &"update.stick-pulled".into())
    );
    assert_eq!(machine.running(), b"first");
    assert!(
        !Path::new(&machine.path("state/slots/b")).exists(),
        "half a release"
    );
    assert_eq!(machine.status()["running"], "9.0.0");
}

#[test]
fn a_stick_that_is_pulled_while_parts_are_read_is_gone_on_with() {
    let (mut repository, _server, machine) = scene();
    publish(&mut repository, Version::new(9, 1, 0), &large());
    let stick = machine.path("media/STICK");
    let program = format!("{stick}/program");
    copy(&repository, &program);
    // From the question before the parts are read on, half of them cannot be.
    let parts = files(&Path::new(&program).join("chunks"));
    assert!(parts.len() > 4, "{parts:?}");
    let gone = &parts[parts.len() / 2..];
    let gone: Vec<String> = gone.iter().map(|path| path.display().to_string()).collect();
    machine.set(
        "act",
        &format!("rm {program}/metadata/timestamp.json {}", gone.join(" ")),
    );
    machine.set("count", "0");
    machine.set("act_at", "1");
    machine.wish("wish-1", &stick);
    assert!(!machine.ask(&["stick"]).status.success());
    assert_pulled(&machine);
    let kept = files(Path::new(&machine.path("state/chunks")));
    assert!(
        kept.len() >= parts.len() / 2 - 1,
        "what was read is not kept"
    );
    let whole = machine.stick()["of"].as_u64().unwrap();
    // It is plugged in again.
    fs::remove_dir_all(&stick).unwrap();
    copy(&repository, &program);
    machine.set("act_at", "");
    machine.wish("wish-2", &stick);
    let taken = machine.ask(&["stick"]);
    assert!(taken.status.success(), "{taken:?}");
    assert!(machine.running() == large());
    assert!(
        machine.stick()["of"].as_u64().unwrap() < whole,
        "all of it was read again"
    );
}

#[test]
fn a_stick_that_is_pulled_at_any_question_leaves_old_or_new_and_ends_with_new() {
    let (mut pulled, mut early) = (0, 0);
    for at in 1..=20_u32 {
        let (mut repository, _server, machine) = scene();
        publish(&mut repository, Version::new(9, 1, 0), b"second");
        let stick = machine.path("media/STICK");
        copy(&repository, &format!("{stick}/program"));
        // What is open is gone too, as it is with a stick.
        machine.set("act", "cp -a media/STICK pulled && rm -r media/STICK");
        machine.set("count", "0");
        machine.set("act_at", &at.to_string());
        machine.wish("wish-1", &stick);
        let asked = machine.ask(&["stick"]);
        if Path::new(&stick).exists() {
            assert!(asked.status.success(), "{asked:?}");
            assert_eq!(machine.running(), b"second");
            break;
        }
        pulled += 1;
        if asked.status.success() {
            // All of it had been read.
            assert_eq!(machine.running(), b"second", "{at}");
            continue;
        }
        early += 1;
        assert_pulled(&machine);
        machine.set("act_at", "");
        fs::rename(machine.path("pulled"), &stick).unwrap();
        machine.wish("wish-2", &stick);
        let taken = machine.ask(&["stick"]);
        assert!(taken.status.success(), "{at}: {taken:?}");
        assert_eq!(machine.running(), b"second", "{at}");
    }
    assert!((4..20).contains(&pulled) && early > 0, "{pulled} {early}");
}
