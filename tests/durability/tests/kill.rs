//! A short kill loop, and the proof that it notices a store that acknowledges too early and a line
//! that mixes up two answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kiosk_durability::kill_loop::{Plan, Report, Weakness, run};

fn kill(kills: u32, seed: u64, weakness: Weakness) -> Report {
    run(&Plan {
        program: env!("CARGO_BIN_EXE_kill-loop").into(),
        kills,
        seed,
        weakness,
    })
    .unwrap()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_kill() {
    let report = kill(40, 0x5EED, Weakness::None);
    assert_eq!(report.findings, Vec::<String>::new(), "{report:?}");
    assert_eq!(report.kills, 40);
    assert!(report.acknowledged > 40, "{report:?}");
    assert!(report.arrived >= report.acknowledged, "{report:?}");
    // The kills came at different points of the work, not all into the same rest.
    assert!(report.kills_while.len() >= 3, "{report:?}");
    assert!(report.kills_while_syncing.len() >= 3, "{report:?}");
    assert!(report.kills_while_working.len() >= 3, "{report:?}");
    // The terminal did what it does today: several requests at once, arrivals, records of staff.
    assert!(report.beside > 20, "{report:?}");
    assert!(report.arrivals > 0, "{report:?}");
    assert!(report.recorded > 40, "{report:?}");
}

/// Kills broken terminals until one is noticed, a few at most: not every life meets every fault.
fn is_found_out(weakness: Weakness, by: impl Fn(&str) -> bool) {
    for seed in 1..4 {
        let report = kill(40, seed, weakness);
        if let Some(kept) = &report.kept {
            std::fs::remove_dir_all(kept).unwrap();
        }
        if report.findings.iter().any(|finding| by(finding)) {
            return;
        }
    }
    panic!("the loop did not notice {weakness:?}");
}

#[test]
fn a_store_that_acknowledges_before_the_commit_is_found_out() {
    is_found_out(Weakness::AcknowledgeEarly, |finding| {
        finding.ends_with("is lost")
    });
}

#[test]
fn a_line_that_settles_one_batch_by_the_answer_to_another_is_found_out() {
    is_found_out(Weakness::ForeignAnswer, |finding| {
        finding.ends_with("is lost") || finding.ends_with("was given another receipt")
    });
}
