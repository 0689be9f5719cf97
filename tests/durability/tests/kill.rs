//! A short kill loop, and the proof that it notices a store that acknowledges too early.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kiosk_durability::kill_loop::{Plan, Report, run};

fn kill(kills: u32, seed: u64, acknowledges_early: bool) -> Report {
    run(&Plan {
        program: env!("CARGO_BIN_EXE_kill-loop").into(),
        kills,
        seed,
        acknowledges_early,
    })
    .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill() {
    let report = kill(40, 0x5EED, false);
    assert_eq!(report.findings, Vec::<String>::new(), "{report:?}");
    assert_eq!(report.kills, 40);
    assert!(report.acknowledged > 40, "{report:?}");
    assert!(report.arrived >= report.acknowledged, "{report:?}");
    // The kills came at different points of the work, not all into the same rest.
    assert!(report.kills_while.len() >= 3, "{report:?}");
    assert!(report.kills_while_syncing.len() >= 3, "{report:?}");
}

#[test]
fn a_store_that_acknowledges_before_the_commit_is_found_out() {
    for seed in 1..4 {
        let report = kill(40, seed, true);
        if let Some(kept) = &report.kept {
            std::fs::remove_dir_all(kept).unwrap();
        }
        if report
            .findings
            .iter()
            .any(|finding| finding.ends_with("is lost"))
        {
            return;
        }
    }
    panic!("the loop did not notice");
}
