//! Torn files, and what they must not bring back.

use std::fs;

use kiosk_update::trust::{Trust, TrustError};

use super::repository::{Repository, now};
use super::{Terminal, code};

#[test]
fn torn_metadata_does_not_bring_old_releases_back() {
    // The first attack that passes through the engine alone: every set of files may be torn.
    let names = [
        "root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
    ];
    for torn in 1..16_u32 {
        for content in [&b""[..], b"{\"signed\":{\"_type\":", &[0; 300]] {
            let mut repository = Repository::new();
            let terminal = Terminal::new(&repository);
            let old = repository.copy();
            repository.release("release.json", br#"{"version":"1.1.0"}"#);
            terminal.refresh(repository.path()).unwrap();
            for (index, name) in names.iter().enumerate() {
                if torn & (1 << index) != 0 {
                    fs::write(terminal.generation().join(name), content).unwrap();
                }
            }
            assert_eq!(
                code(terminal.refresh(old.path())),
                "update.rolled-back",
                "{torn:b}"
            );
            terminal.refresh(repository.path()).unwrap();
        }
    }
}

#[test]
fn lost_metadata_does_not_bring_old_releases_back() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let old = repository.copy();
    repository.release("release.json", br#"{"version":"1.1.0"}"#);
    terminal.refresh(repository.path()).unwrap();
    fs::remove_dir_all(terminal.generation()).unwrap();
    assert_eq!(code(terminal.refresh(old.path())), "update.rolled-back");
    terminal.refresh(repository.path()).unwrap();
}

#[test]
fn one_copy_of_the_floor_is_enough_and_without_any_nothing_is_believed() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let old = repository.copy();
    repository.release("release.json", br#"{"version":"1.1.0"}"#);
    terminal.refresh(repository.path()).unwrap();
    fs::write(terminal.store.path().join("floor.json"), b"{").unwrap();
    assert_eq!(code(terminal.refresh(old.path())), "update.rolled-back");
    fs::write(terminal.store.path().join("floor.json"), b"{").unwrap();
    fs::write(terminal.generation().join("floor.json"), b"").unwrap();
    assert!(terminal.trust().standing(now()).is_damaged);
    assert_eq!(code(terminal.refresh(old.path())), "update.store-damaged");
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.store-damaged"
    );
    assert_eq!(code(terminal.trust().recall(now())), "update.store-damaged");
}

#[test]
fn a_program_that_came_with_a_newer_root_begins_there() {
    let mut repository = Repository::new();
    let mut terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    repository.rotate("timestamp", 14);
    repository.publish_timestamp();
    terminal.root = repository.root_bytes(2);
    fs::remove_file(repository.metadata("2.root.json")).unwrap();
    terminal.refresh(repository.path()).unwrap();
    // And an older program does not go back.
    terminal.root = repository.root_bytes(1);
    terminal.refresh(repository.path()).unwrap();
    assert_eq!(terminal.trust().standing(now()).floor.root, 2);
}

#[test]
fn a_root_that_its_own_keys_did_not_sign_begins_nothing() {
    let mut repository = Repository::new();
    repository.signers.insert("root", vec![1]);
    let unsigned = repository.publish_root();
    let store = tempfile::tempdir().unwrap();
    for root in [&unsigned[..], b"", b"{}"] {
        let outcome = Trust::open(store.path(), root, now());
        assert!(matches!(outcome, Err(TrustError::PinnedRoot)));
    }
}

#[test]
fn what_went_well_is_kept_of_a_pass_that_did_not() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    repository.publish_root();
    repository.publish_targets();
    fs::remove_file(repository.metadata("2.targets.json")).unwrap();
    let refused = terminal.refresh(repository.path());
    assert!(
        matches!(refused, Err(TrustError::Missing { .. })),
        "{refused:?}"
    );
    let floor = terminal.trust().standing(now()).floor;
    assert_eq!((floor.root, floor.timestamp, floor.snapshot), (2, 2, 2));
    // And so nobody can go back behind it.
    repository.versions.insert("timestamp", 0);
    repository.publish_timestamp();
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.rolled-back"
    );
}
