//! One fuzz program for every parser of outside bytes: the environment variable `KIOSK_TARGET` names
//! the target. Built without the feature `app` it holds the parsers of devices and of sealed bytes alone and needs
//! neither the glass nor the typesetter.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[cfg(not(feature = "app"))]
#[path = "../../src/fuzz/devices.rs"]
mod devices;

#[cfg(not(feature = "app"))]
#[path = "../../src/fuzz/sealing.rs"]
mod sealing;

#[cfg(feature = "app")]
use kiosk_tests::fuzz::{Target, targets};

#[cfg(not(feature = "app"))]
use devices::Target;

#[cfg(not(feature = "app"))]
fn targets() -> impl Iterator<Item = &'static Target> {
    devices::TARGETS.iter().chain(sealing::TARGETS)
}

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("KIOSK_TARGET").unwrap_or_default();
        targets()
            .find(|target| target.name == name)
            .unwrap_or_else(|| panic!("KIOSK_TARGET must name a fuzz target, not {name:?}"))
    })
}

/// Puts the well-formed inputs of the target into the directory `KIOSK_SEEDS`, where the fuzzer finds
/// them before it begins.
fn plant() {
    let Some(directory) = std::env::var_os("KIOSK_SEEDS") else {
        return;
    };
    for (number, seed) in target().seeds.iter().enumerate() {
        let path = std::path::Path::new(&directory).join(format!("seed-{number}"));
        std::fs::write(path, seed).expect("the corpus can be written");
    }
}

fuzz_target!(init: plant(), |bytes: &[u8]| (target().run)(bytes));
