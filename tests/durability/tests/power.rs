//! Short rounds of power loss, and the proof that each missing sync is noticed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kiosk_durability::can_mount;
use kiosk_durability::power_loss::{Medium, Plan, Report, Weakness, run};

fn cut(medium: Medium, weakness: Weakness, rounds: u32) -> Report {
    run(&Plan {
        program: env!("CARGO_BIN_EXE_power-loss").into(),
        medium,
        weakness,
        seed: 0x5EED,
        rounds,
    })
    .unwrap()
}

/// Says that a test did not run, where file systems cannot be mounted.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
fn cannot_mount() -> bool {
    if !can_mount() {
        eprintln!("not run: there is no /dev/fuse here");
    }
    !can_mount()
}

#[test]
fn everything_acknowledged_survives_a_power_cut_under_the_database() {
    let report = cut(Medium::Engine, Weakness::None, 240);
    assert_eq!(report.findings, Vec::<String>::new());
    assert!(report.acknowledged > 200, "{report:?}");
    assert!(report.cuts_in.len() > 5, "{report:?}");
    // Cuts came on both sides of the commit.
    assert!(report.unacknowledged_kept > 0, "{report:?}");
    assert!(report.unacknowledged_lost > 0, "{report:?}");
}

#[test]
fn everything_acknowledged_survives_a_power_cut_under_the_whole_directory() {
    if cannot_mount() {
        return;
    }
    let report = cut(Medium::Files, Weakness::None, 240);
    assert_eq!(report.findings, Vec::<String>::new());
    assert!(report.acknowledged > 200, "{report:?}");
    assert!(
        report.cuts_in.contains_key("enqueue with attachments"),
        "{report:?}"
    );
}

fn is_noticed(medium: Medium, weakness: Weakness) {
    let report = cut(medium, weakness, 120);
    assert!(
        !report.findings.is_empty(),
        "{weakness:?} was not noticed: {report:?}"
    );
}

#[test]
fn lowering_synchronous_is_noticed_under_the_database() {
    is_noticed(Medium::Engine, Weakness::LogSyncLost);
}

#[test]
fn lowering_synchronous_is_noticed_under_the_whole_directory() {
    if !cannot_mount() {
        is_noticed(Medium::Files, Weakness::LogSyncLost);
    }
}

#[test]
fn a_missing_directory_sync_is_noticed() {
    if !cannot_mount() {
        is_noticed(Medium::Files, Weakness::DirectorySyncLost);
    }
}

#[test]
fn a_missing_sync_of_an_attachment_is_noticed() {
    if !cannot_mount() {
        is_noticed(Medium::Files, Weakness::AttachmentSyncLost);
    }
}
