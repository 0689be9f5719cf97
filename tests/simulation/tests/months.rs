//! Months that keep every promise, months that are the same twice, and broken parts that are
//! caught.

use kiosk_simulation::{Plan, Report, Sabotage, simulate};

fn play(seed: u64, days: u32) -> Report {
    let plan = Plan {
        seed,
        days,
        sabotage: None,
    };
    match simulate(plan) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    }
}

/// Plays broken months until one notices, a few at most: not every month meets every fault.
fn is_caught(sabotage: Sabotage, by: &[&str]) {
    for seed in 1..=6 {
        let plan = Plan {
            seed,
            days: 4,
            sabotage: Some(sabotage),
        };
        if let Err(failure) = simulate(plan) {
            assert!(
                by.iter().any(|word| failure.what.contains(word)),
                "{sabotage:?} was noticed as something else: {failure}"
            );
            assert!(!failure.last.is_empty());
            return;
        }
    }
    panic!("{sabotage:?} was never noticed");
}

#[test]
fn three_days_with_everything_against_them_keep_every_promise() {
    let (mut transactions, mut kills, mut duplicates) = (0, 0, 0);
    let (mut beside, mut refused) = (0, 0);
    for seed in [11, 12, 13] {
        let counts = play(seed, 3).counts;
        transactions += counts.transactions;
        kills += counts.kills;
        duplicates += counts.duplicates_offered;
        beside += counts.beside;
        refused += counts.refused_signatures;
    }
    assert!(
        transactions > 20 && kills > 10 && duplicates > 5,
        "these days were too quiet: {transactions} transactions, {kills} power cuts, \
         {duplicates} duplicates"
    );
    assert!(
        beside > 10 && refused > 0,
        "the line was too quiet: {beside} requests beside another, {refused} signatures refused"
    );
}

#[test]
fn the_same_seed_is_the_same_month_and_another_seed_is_another() {
    let first = play(21, 2);
    assert_eq!(play(21, 2), first);
    assert_ne!(play(22, 2).trace, first.trace);
}

#[test]
fn a_transport_that_delivers_nothing_is_caught() {
    is_caught(
        Sabotage::LyingTransport,
        &["receipt that the platform never gave"],
    );
}

#[test]
fn e1_a_store_that_forgets_confirmed_work_is_caught() {
    is_caught(
        Sabotage::ForgetfulStore,
        &["the outbox", "the audit chain", "twice"],
    );
}

#[test]
fn a_number_in_the_log_is_caught() {
    is_caught(Sabotage::TalkativeLog, &["of the log"]);
}

#[test]
fn e4_a_number_in_a_file_is_caught() {
    is_caught(Sabotage::CarelessFile, &["number of person"]);
}

#[test]
fn a_slip_before_its_record_is_caught() {
    is_caught(Sabotage::EarlySlip, &["before its record is durable"]);
}
