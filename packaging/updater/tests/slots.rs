//! The slots keep a whole release in force whatever happens between two steps of the disk: a power
//! cut that loses what was not durable, one that does not, and a full disk.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the scene that fails has nothing to prove"
)]

mod workshop;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use kiosk_update::engine::Health;
use kiosk_update::manifest::Version;
use kiosk_update::slots::{Directories, LocalDisk, SlotError, Slots};
use workshop::{Fault, FaultyDisk, Published, publish, time};

const NOW: &str = "2026-11-20T23:00:00Z";
/// More steps than any scene has.
const STEPS_MAX: u32 = 1000;

static OLD: LazyLock<Published> = LazyLock::new(|| {
    publish(
        Version::new(1, 0, 0),
        &[
            ("bin/kiosk", b"old program".to_vec()),
            ("share/words/zh.txt", b"old words".to_vec()),
        ],
    )
});

static NEW: LazyLock<Published> = LazyLock::new(|| {
    publish(
        Version::new(2, 0, 0),
        &[
            ("bin/kiosk", b"new program, longer".to_vec()),
            ("share/words/zh.txt", b"new words".to_vec()),
            ("share/empty", Vec::new()),
        ],
    )
});

fn old() -> &'static Published {
    &OLD
}

fn new() -> &'static Published {
    &NEW
}

fn install(slots: &mut dyn Slots, published: &Published) -> Result<(), SlotError> {
    put_on_trial(slots, published)?;
    slots.count_try()?;
    slots.mark_good()
}

fn put_on_trial(slots: &mut dyn Slots, published: &Published) -> Result<(), SlotError> {
    let (release, manifest) = (&published.release, &published.manifest);
    slots.stage(release, manifest, published)?;
    slots.switch(release, Health::default(), time(NOW))
}

/// A terminal with the old release.
fn scene() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut slots = Directories::open(directory.path(), &LocalDisk).unwrap();
    install(&mut slots, old()).unwrap();
    directory
}

/// What runs is whole, and is what the state says.
fn assert_whole(root: &Path, slots: &Directories<'_>) {
    let current = root.join("current");
    let held = slots.state().current().unwrap();
    assert_eq!(fs::read_link(&current).unwrap(), Path::new(&held.slot));
    let published = if held.version == Version::new(1, 0, 0) {
        old()
    } else {
        new()
    };
    published.assert_in(&current);
    // And so is what is gone back to.
    let good = slots.state().good.clone().unwrap();
    let published = if good.version == Version::new(1, 0, 0) {
        old()
    } else {
        new()
    };
    published.assert_in(&root.join(good.slot));
}

/// Lets a scene be cut before each of its steps in turn; how many there were.
fn cut_everywhere(
    begin: &dyn Fn() -> tempfile::TempDir,
    act: &dyn Fn(&mut Directories<'_>) -> Result<(), SlotError>,
    go_on: &dyn Fn(&Path, Directories<'_>),
) -> u32 {
    for step in 0..STEPS_MAX {
        let mut is_over = true;
        for is_forgetful in [false, true] {
            let directory = begin();
            let root = directory.path();
            let disk = FaultyDisk::new(Fault::Cut(step));
            let outcome = Directories::open(root, &disk).and_then(|mut slots| act(&mut slots));
            is_over &= outcome.is_ok();
            if is_forgetful {
                disk.forget();
            }
            let slots = Directories::open(root, &LocalDisk).unwrap();
            assert!(!slots.is_state_lost(), "step {step}");
            assert_whole(root, &slots);
            go_on(root, slots);
        }
        if is_over {
            return step;
        }
    }
    panic!("the scene never ends");
}

#[test]
fn a_power_cut_at_any_step_of_an_installation_leaves_a_whole_release_and_the_next_pass_goes_on() {
    let cuts = cut_everywhere(
        &scene,
        &|slots| install(slots, new()),
        &|root, mut slots| {
            if slots.state().trial.is_some() {
                slots.mark_good().unwrap();
            } else if slots.state().good.as_ref().unwrap().version == Version::new(1, 0, 0) {
                install(&mut slots, new()).unwrap();
            }
            assert_whole(root, &slots);
            assert_eq!(
                slots.state().good.as_ref().unwrap().version,
                Version::new(2, 0, 0)
            );
            assert_eq!(slots.state().trial, None);
        },
    );
    assert!(cuts > 50, "{cuts} steps were cut");
}

#[test]
fn a_power_cut_at_any_step_of_a_roll_back_ends_in_what_worked() {
    let begin = || {
        let directory = scene();
        let mut slots = Directories::open(directory.path(), &LocalDisk).unwrap();
        put_on_trial(&mut slots, new()).unwrap();
        drop(slots);
        directory
    };
    let back = |slots: &mut Directories<'_>| {
        slots.roll_back("update.device-lost", "the printer is gone", time(NOW))?;
        slots.restarted()
    };
    let cuts = cut_everywhere(&begin, &back, &|root, mut slots| {
        if slots.state().trial.is_some() {
            back(&mut slots).unwrap();
        }
        assert_whole(root, &slots);
        assert_eq!(
            slots.state().current().unwrap().version,
            Version::new(1, 0, 0)
        );
        assert!(slots.state().has_failed(Version::new(2, 0, 0)));
        let failure = slots.state().failures.last().unwrap();
        assert_eq!(failure.reason, "the printer is gone");
    });
    assert!(cuts > 15, "{cuts} steps were cut");
}

#[test]
fn a_full_disk_at_any_step_leaves_what_runs_and_says_so() {
    let mut refusals = 0;
    for step in 0..STEPS_MAX {
        let directory = scene();
        let root = directory.path();
        let disk = FaultyDisk::new(Fault::Full(step));
        let outcome = Directories::open(root, &disk).and_then(|mut slots| {
            let outcome = install(&mut slots, new());
            // Room is made while the updater runs on.
            disk.fault.set(Fault::Never);
            if outcome.is_err() && slots.state().trial.is_some() {
                slots.start()?;
                assert_whole(root, &slots);
                assert_eq!(
                    slots.running_files().unwrap(),
                    root.join(&slots.state().current().unwrap().slot)
                );
            }
            outcome
        });
        disk.fault.set(Fault::Never);
        let mut slots = Directories::open(root, &disk).unwrap();
        assert_whole(root, &slots);
        match outcome {
            Ok(()) => break,
            Err(error) => assert_eq!(error.code(), "update.no-room", "step {step}: {error:?}"),
        }
        refusals += 1;
        if slots.state().trial.is_some() {
            slots.mark_good().unwrap();
        } else {
            install(&mut slots, new()).unwrap();
        }
        assert_whole(root, &slots);
    }
    assert!(refusals > 30, "{refusals} steps found no room");
}

#[test]
fn a_file_that_is_not_what_was_signed_is_never_switched_to() {
    let directory = scene();
    let mut slots = Directories::open(directory.path(), &LocalDisk).unwrap();
    let published = new();
    for content in [
        &b""[..],
        b"new program, longes",
        b"new program, longer and longer",
    ] {
        let mut other = published.clone();
        other.files[0] = content.to_vec();
        let staged = slots.stage(&published.release, &published.manifest, &other);
        assert!(
            matches!(staged, Err(SlotError::ContentWrong { index: 0 })),
            "{staged:?}"
        );
        let switched = slots.switch(&published.release, Health::default(), time(NOW));
        assert!(matches!(switched, Err(SlotError::Order)));
        assert_whole(directory.path(), &slots);
    }
}

#[test]
fn what_is_on_trial_is_never_overwritten() {
    let directory = scene();
    let mut slots = Directories::open(directory.path(), &LocalDisk).unwrap();
    put_on_trial(&mut slots, new()).unwrap();
    let again = put_on_trial(&mut slots, new());
    assert!(matches!(again, Err(SlotError::Order)));
}

#[test]
fn a_staged_release_that_rotted_is_written_again() {
    let directory = scene();
    let root = directory.path();
    let mut slots = Directories::open(root, &LocalDisk).unwrap();
    let published = new();
    slots
        .stage(&published.release, &published.manifest, published)
        .unwrap();
    fs::write(root.join("b/share/words/zh.txt"), b"new wordz").unwrap();
    put_on_trial(&mut slots, published).unwrap();
    published.assert_in(&root.join("current"));
}

#[test]
fn the_first_release_has_the_package_to_go_back_to() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut slots = Directories::open(root, &LocalDisk).unwrap();
    put_on_trial(&mut slots, new()).unwrap();
    new().assert_in(&root.join("current"));
    slots
        .roll_back("update.not-started", "it crashes", time(NOW))
        .unwrap();
    assert!(!root.join("current").is_symlink());
    assert_eq!(slots.state().current(), None);
    drop(slots);
    let slots = Directories::open(root, &LocalDisk).unwrap();
    assert!(slots.state().has_failed(Version::new(2, 0, 0)));
}

#[test]
fn a_lost_state_is_found_anew_from_what_runs() {
    let directory = scene();
    let root = directory.path();
    fs::write(root.join("state.json"), b"{\"format\":1,").unwrap();
    let slots = Directories::open(root, &LocalDisk).unwrap();
    assert!(slots.is_state_lost());
    assert_whole(root, &slots);
    drop(slots);
    assert!(!Directories::open(root, &LocalDisk).unwrap().is_state_lost());
}

#[test]
fn two_updaters_never_write_at_once() {
    let directory = scene();
    let first = Directories::open(directory.path(), &LocalDisk).unwrap();
    let second = Directories::open(directory.path(), &LocalDisk);
    assert!(matches!(second, Err(SlotError::Locked)));
    drop(first);
    Directories::open(directory.path(), &LocalDisk).unwrap();
}
