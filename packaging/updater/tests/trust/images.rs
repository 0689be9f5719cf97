//! Images of the operating system through the whole program. A script stands in for RAUC and the boot
//! loader, and writes down what it was asked; the machine is started anew by the test.

use std::fs;

use kiosk_update::manifest::Version;

use super::program::{Machine, publish_as, repository};
use super::repository::Repository;
use super::server::Server;

const RAUC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/workshop/rauc");
/// The image on offer.
const OFFERED: Version = Version::new(9, 1, 0);

/// The terminal works as the image says that was started; the machine counts how often it was to be
/// started anew.
const TERMINAL: &str = r#"cd "$(dirname "$0")"
case $1 in
examine)
    case "$(cat "image-$(cat booted)" 2>/dev/null)" in
    *printerless*) verdict=failed problem=printer.offline ;;
    *liar*) verdict=failed problem=printer.media-empty ;;
    *) verdict=passed problem= ;;
    esac
    printf '{"is_terminal_running": true, "tests": [{"test": "slip-printer.pattern", "device": "slip", "verdict": "%s", "problem": "%s"}]}' $verdict "$problem" ;;
reboot) echo again >> reboots ;;
esac
"#;

/// A machine that was started with image A, and a server that offers another one.
fn scene(image: &[u8]) -> (Repository, Server, Machine) {
    let mut repository = repository();
    publish_as(&mut repository, OFFERED, "kiosk-9.1.0.raucb", image);
    let server = Server::start(repository.path());
    let url = server.url("").trim_end_matches('/').to_owned();
    let machine = Machine::acted(&repository, &url);
    std::os::unix::fs::symlink(RAUC, machine.path("rauc")).unwrap();
    machine.set("terminal", TERMINAL);
    machine.set("booted", "A\n");
    machine.set("active", "A\n");
    let (rauc, terminal) = (machine.path("rauc"), machine.path("terminal"));
    machine.configure("[terminal]", "slots = \"rauc\"\n[terminal]");
    machine.configure(
        "[paths]",
        &format!("install_s = 2\n[paths]\nrauc = \"{rauc}\""),
    );
    machine.configure(
        "restart_machine = [\"/bin/false\"]",
        &format!("restart_machine = [\"/bin/sh\", \"{terminal}\", \"reboot\"]"),
    );
    (repository, server, machine)
}

fn get(machine: &Machine, name: &str) -> String {
    let text = fs::read_to_string(machine.path(name)).unwrap_or_default();
    text.trim().to_owned()
}

/// The machine comes up with what is active.
fn boot(machine: &Machine) {
    machine.set("booted", &get(machine, "active"));
}

/// What was asked to be changed, in order.
fn changes(machine: &Machine) -> Vec<String> {
    let asked = get(machine, "asked");
    let changes = asked.lines().filter(|asked| !asked.contains("--output"));
    changes.map(str::to_owned).collect()
}

#[test]
fn an_image_is_installed_started_examined_and_marked_good() {
    let (_repository, _server, machine) = scene(b"an image");
    let staged = machine.ask(&["run"]);
    assert!(staged.status.success(), "{staged:?}");
    assert_eq!(machine.status()["phase"], "trial");
    assert_eq!(get(&machine, "image-B"), "an image");
    assert_eq!(get(&machine, "reboots"), "again");
    let install = format!(
        "install {}",
        machine.path("state/images/bundles/kiosk-9.1.0.raucb")
    );
    let switch = "status mark-active other".to_owned();
    assert_eq!(changes(&machine), [install, switch.clone(), switch]);
    boot(&machine);
    let judged = machine.ask(&["run"]);
    assert!(judged.status.success(), "{judged:?}");
    let status = machine.status();
    assert_eq!(
        (&status["running"], &status["slot"]),
        (&"9.1.0".into(), &"B".into())
    );
    assert_eq!(changes(&machine).last().unwrap(), "status mark-good booted");
    assert!(machine.ask(&["run"]).status.success());
    assert_eq!(get(&machine, "reboots"), "again", "nothing is left to do");
}

#[test]
fn an_image_that_loses_the_printer_gives_way_to_the_one_before() {
    let (_repository, _server, machine) = scene(b"a printerless image");
    assert!(machine.ask(&["run"]).status.success());
    boot(&machine);
    assert!(!machine.ask(&["run"]).status.success());
    let status = machine.status();
    assert_eq!(
        (&status["phase"], &status["code"]),
        (&"rolled-back".into(), &"update.device-lost".into())
    );
    assert!(changes(&machine).contains(&"status mark-bad booted".to_owned()));
    assert_eq!(get(&machine, "reboots"), "again\nagain");
    boot(&machine);
    assert_eq!(get(&machine, "booted"), "A");
    assert!(!machine.ask(&["run"]).status.success());
    assert_eq!(machine.status()["code"], "update.failed-before");
    assert_eq!(get(&machine, "reboots"), "again\nagain");
}

#[test]
fn an_image_that_sees_no_paper_is_judged_by_the_one_before() {
    let (_repository, _server, machine) = scene(b"a liar of an image");
    assert!(machine.ask(&["run"]).status.success());
    boot(&machine);
    let doubted = machine.ask(&["run"]);
    assert!(doubted.status.success(), "{doubted:?}");
    assert_eq!(machine.status()["last_roll_back"], serde_json::Value::Null);
    boot(&machine);
    assert_eq!(get(&machine, "booted"), "A");
    assert!(!machine.ask(&["run"]).status.success());
    let status = machine.status();
    assert_eq!(status["code"], "update.device-lost");
    assert_eq!(status["last_roll_back"]["version"], "9.1.0");
    assert_eq!(get(&machine, "reboots"), "again\nagain");
    assert!(!machine.ask(&["run"]).status.success());
    assert_eq!(machine.status()["code"], "update.failed-before");
}

/// An installation that comes to nothing is told, changes nothing, and is made when it can be.
fn check_not_installed(trouble: &str, words: &str) {
    let (_repository, _server, machine) = scene(b"an image");
    machine.set(trouble, "install\n");
    assert!(!machine.ask(&["run"]).status.success());
    let status = machine.status();
    assert_eq!(
        (&status["phase"], &status["code"]),
        (&"problem".into(), &"update.image-refused".into())
    );
    assert_eq!(
        status["words"],
        format!("the image could not be installed: install {words}")
    );
    assert_eq!(status["running"], "0.1.0");
    assert_eq!(
        (get(&machine, "active"), get(&machine, "reboots")),
        ("A".into(), String::new())
    );
    machine.set(trouble, "");
    let staged = machine.ask(&["run"]);
    assert!(staged.status.success(), "{staged:?}");
    boot(&machine);
    assert!(machine.ask(&["run"]).status.success());
    assert_eq!(machine.status()["running"], "9.1.0");
}

#[test]
fn an_image_that_is_refused_changes_nothing() {
    check_not_installed("refuses", "ended with 1");
}

#[test]
fn an_installation_that_hangs_is_ended_and_changes_nothing() {
    check_not_installed("hangs", "took too long");
}
