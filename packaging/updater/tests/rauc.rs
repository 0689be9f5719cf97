//! Images in the hands of RAUC. A script stands in for the program and for the boot loader; it keeps
//! what was started and what is to be started in files, and writes down what it was asked.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the scene that fails has nothing to prove"
)]

mod workshop;

use std::fs;
use std::path::PathBuf;

use kiosk_update::engine::Health;
use kiosk_update::manifest::Version;
use kiosk_update::slots::{INSTALL_LIMIT, LocalDisk, Rauc, SlotError, Slots, Start};
use workshop::{Published, publish, time};

const NOW: &str = "2026-11-20T23:00:00Z";

/// The script; a link to it is where the machine's files are.
const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/workshop/rauc");

struct Machine {
    directory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = Self { directory };
        std::os::unix::fs::symlink(STAND_IN, machine.path("rauc")).unwrap();
        machine.set("booted", "A");
        machine.set("active", "A");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn set(&self, name: &str, value: &str) {
        fs::write(self.path(name), format!("{value}\n")).unwrap();
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.path(name))
            .unwrap()
            .trim()
            .to_owned()
    }

    fn boot(&self) {
        self.set("booted", &self.get("active"));
    }

    fn open(&self) -> Rauc<'static> {
        let running = Some(Version::new(1, 0, 0));
        let (root, program) = (self.path("root"), self.path("rauc"));
        Rauc::open(&root, &program, INSTALL_LIMIT, &LocalDisk, running).unwrap()
    }

    fn put_on_trial(&self) -> Rauc<'static> {
        let mut slots = self.open();
        let image = image();
        slots
            .stage(&image.release, &image.manifest, &image)
            .unwrap();
        slots
            .switch(&image.release, Health::default(), time(NOW))
            .unwrap();
        slots
    }
}

fn image() -> Published {
    publish(
        Version::new(2, 0, 0),
        &[("kiosk-2.0.0.raucb", b"an image".repeat(100))],
    )
}

#[test]
fn an_image_is_installed_started_and_marked_good() {
    let machine = Machine::new();
    let mut slots = machine.put_on_trial();
    assert_eq!(fs::read(machine.path("image-B")).unwrap(), image().files[0]);
    assert_eq!(
        (machine.get("booted"), machine.get("active")),
        ("A".to_owned(), "B".to_owned())
    );
    slots.count_try().unwrap();
    assert_eq!(slots.start().unwrap(), Start::Machine);
    // The updater ends with the machine.
    drop(slots);
    machine.boot();
    let mut slots = machine.open();
    assert_eq!(slots.start().unwrap(), Start::Nothing);
    slots.mark_good().unwrap();
    let good = slots.state().good.clone().unwrap();
    assert_eq!(
        (good.slot.as_str(), good.version),
        ("B", Version::new(2, 0, 0))
    );
    assert!(
        machine
            .get("asked")
            .ends_with("status mark-good booted\nstatus --output-format=json")
    );
}

#[test]
fn an_image_that_loses_something_is_marked_bad_and_the_other_is_started() {
    let machine = Machine::new();
    drop(machine.put_on_trial());
    machine.boot();
    let mut slots = machine.open();
    slots
        .roll_back("update.device-lost", "the printer is gone", time(NOW))
        .unwrap();
    assert_eq!(machine.get("active"), "A");
    assert!(machine.get("asked").contains("status mark-bad booted"));
    assert!(slots.state().is_restart_due);
    assert_eq!(slots.start().unwrap(), Start::Machine);
    slots.restarted().unwrap();
    drop(slots);
    machine.boot();
    let mut slots = machine.open();
    assert_eq!(slots.start().unwrap(), Start::Nothing);
    assert!(slots.state().has_failed(Version::new(2, 0, 0)));
    assert_eq!(slots.state().good.as_ref().unwrap().slot, "A");
}

#[test]
fn an_image_that_does_not_come_up_is_given_up() {
    let machine = Machine::new();
    drop(machine.put_on_trial());
    for _ in 0..2 {
        let mut slots = machine.open();
        slots.count_try().unwrap();
        assert_eq!(slots.start().unwrap(), Start::Machine);
        // The boot loader tries it and starts the one before.
        machine.set("active", "A");
        machine.boot();
    }
    let mut slots = machine.open();
    slots.count_try().unwrap();
    assert_eq!(slots.start().unwrap(), Start::FellBack);
    slots
        .roll_back("update.not-started", "it did not come up", time(NOW))
        .unwrap();
    assert!(!slots.state().is_restart_due);
    assert_eq!(machine.get("active"), "A");
}

#[test]
fn a_refusal_is_said_and_changes_nothing() {
    let machine = Machine::new();
    machine.set("refuses", "install");
    let mut slots = machine.open();
    let image = image();
    let staged = slots.stage(&image.release, &image.manifest, &image);
    let error = staged.unwrap_err();
    assert_eq!(error.code(), "update.image-refused");
    assert_eq!(
        error.to_string(),
        "the image could not be installed: install ended with 1"
    );
    assert_eq!(slots.state().trial, None);
    assert_eq!(machine.get("active"), "A");
}

#[test]
fn what_is_no_image_or_not_the_signed_one_never_reaches_the_program() {
    let machine = Machine::new();
    let mut slots = machine.open();
    let program = publish(
        Version::new(2, 0, 0),
        &[("bin/kiosk", b"a program".to_vec())],
    );
    let staged = slots.stage(&program.release, &program.manifest, &program);
    assert!(matches!(staged, Err(SlotError::Image { .. })));
    let mut other = image();
    other.files[0][0] ^= 1;
    let staged = slots.stage(&other.release, &other.manifest, &other);
    assert!(matches!(staged, Err(SlotError::ContentWrong { index: 0 })));
    assert!(!machine.get("asked").contains("install"));
}
