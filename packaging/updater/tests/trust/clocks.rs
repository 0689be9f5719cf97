//! Clocks that run ahead, stop, and are set right again.

use serde_json::{Value, json};

use super::repository::{Repository, day, now, sign};
use super::{Terminal, code};

const TERMINAL: &str = "GD-440100-0001";

/// An order of repair that says the time is `now()`.
fn order(version: u64) -> Value {
    json!({
        "_type": "repair", "spec_version": "1.0.31", "version": version,
        "expires": day(7).to_string(), "terminal": TERMINAL, "time": now().to_string(),
    })
}

fn signed(order: &Value, seeds: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&sign(order, seeds)).unwrap()
}

/// A terminal that believed long-lived metadata while its clock was two years ahead.
fn terminal_ahead() -> (Repository, Terminal) {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let short = repository.expires.clone();
    for role in super::repository::ROLES {
        repository.expires.insert(role, day(3000));
    }
    repository.publish_root();
    repository.publish_targets();
    terminal.refresh_at(repository.path(), day(700)).unwrap();
    repository.expires = short;
    repository.publish_targets();
    (repository, terminal)
}

#[test]
fn seventy_years_ahead_refuse_to_install_and_leave_nothing_behind() {
    let repository = Repository::new();
    let terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    let ahead = day(70 * 365);
    assert_eq!(
        code(terminal.refresh_at(repository.path(), ahead)),
        "update.clock-ahead"
    );
    assert_eq!(code(terminal.trust().recall(ahead)), "update.clock-ahead");
    // Set right again, it goes on by itself.
    terminal.refresh(repository.path()).unwrap();
    assert_eq!(terminal.trust().standing(now()).time_ahead, None);
}

#[test]
fn a_new_terminal_seventy_years_ahead_believes_nothing() {
    let repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let outcome = terminal.refresh_at(repository.path(), day(70 * 365));
    assert_eq!(code(outcome), "update.clock-ahead");
    terminal.refresh(repository.path()).unwrap();
}

#[test]
fn a_clock_that_falls_back_does_not_bring_ended_metadata_back() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    repository.expires.insert("timestamp", day(60));
    repository.publish_timestamp();
    terminal.refresh_at(repository.path(), day(31)).unwrap();
    assert_eq!(terminal.trust().standing(now()).floor.time, day(31));
    repository.expires.insert("timestamp", day(30));
    repository.publish_timestamp();
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.metadata-expired"
    );
    repository.expires.insert("timestamp", day(61));
    repository.publish_timestamp();
    terminal.refresh(repository.path()).unwrap();
    assert_eq!(terminal.trust().standing(now()).floor.time, day(31));
}

#[test]
fn no_clock_says_a_time_before_the_program_was_built() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let past = "1970-01-01T00:00:00Z".parse().unwrap();
    terminal.refresh_at(repository.path(), past).unwrap();
    repository
        .expires
        .insert("timestamp", "2026-10-31T00:00:00Z".parse().unwrap());
    repository.publish_timestamp();
    let outcome = terminal.refresh_at(repository.path(), past);
    assert_eq!(code(outcome), "update.metadata-expired");
}

#[test]
fn a_clock_that_was_ahead_is_seen_and_repaired_by_a_signed_order() {
    let (repository, terminal) = terminal_ahead();
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.metadata-expired"
    );
    let ahead = terminal.trust().standing(now()).time_ahead.unwrap();
    assert_eq!(ahead.as_hours(), 700 * 24);
    let order = signed(&order(1), &[6, 7]);
    terminal.trust().repair(&order, TERMINAL, now()).unwrap();
    assert_eq!(terminal.trust().standing(now()).time_ahead, None);
    terminal.refresh(repository.path()).unwrap();
}

#[test]
fn no_other_order_is_obeyed() {
    let (repository, terminal) = terminal_ahead();
    let good = order(1);
    let with = |name: &str, value: Value| {
        let mut order = good.clone();
        order[name] = value;
        signed(&order, &[6, 7])
    };
    for wrong in [
        signed(&good, &[6]),
        signed(&good, &[6, 6]),
        signed(&good, &[4, 5]),
        signed(&good, &[]),
        with("terminal", json!("GD-440100-0002")),
        with("_type", json!("targets")),
        with("time", json!("2020-01-01T00:00:00Z")),
        with("time", json!(day(1).to_string())),
        with("expires", json!(day(8).to_string())),
        with("more", json!(1)),
        b"{}".to_vec(),
    ] {
        let outcome = terminal.trust().repair(&wrong, TERMINAL, now());
        assert_eq!(outcome.unwrap_err().code(), "update.repair-refused");
    }
    // After its week.
    let good = signed(&good, &[6, 7]);
    assert!(terminal.trust().repair(&good, TERMINAL, day(7)).is_err());
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.metadata-expired"
    );
    // And none twice.
    terminal.trust().repair(&good, TERMINAL, now()).unwrap();
    assert!(terminal.trust().repair(&good, TERMINAL, now()).is_err());
}

#[test]
fn an_order_with_versions_opens_a_store_that_lost_them() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let old = repository.copy();
    repository.release("release.json", br#"{"version":"1.1.0"}"#);
    terminal.refresh(repository.path()).unwrap();
    std::fs::write(terminal.store.path().join("floor.json"), b"{").unwrap();
    std::fs::write(terminal.generation().join("floor.json"), b"{").unwrap();
    let plain = signed(&order(1), &[6, 7]);
    assert!(terminal.trust().repair(&plain, TERMINAL, now()).is_err());
    let mut order = order(2);
    order["versions"] = json!({"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2});
    terminal
        .trust()
        .repair(&signed(&order, &[6, 7]), TERMINAL, now())
        .unwrap();
    assert_eq!(code(terminal.refresh(old.path())), "update.rolled-back");
    terminal.refresh(repository.path()).unwrap();
}
