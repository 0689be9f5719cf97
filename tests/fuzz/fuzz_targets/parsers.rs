//! One fuzz program for every parser of outside bytes: the environment variable `KIOSK_TARGET` names
//! one of `kiosk_tests::fuzz::TARGETS`. `make fuzz SECONDS=n` runs them one after the other.
#![no_main]

use std::sync::OnceLock;

use kiosk_tests::fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("KIOSK_TARGET").unwrap_or_default();
        TARGETS
            .iter()
            .find(|target| target.name == name)
            .unwrap_or_else(|| panic!("KIOSK_TARGET must name a fuzz target, not {name:?}"))
    })
}

fuzz_target!(|bytes: &[u8]| (target().run)(bytes));
