//! Whoever can put any bytes on the line, and whoever has got some of the keys.

use std::fs;

use kiosk_update::trust::{Directory, TrustError};
use serde_json::json;

use super::repository::{Repository, canonical, day, hex, key, key_id, public, sign};
use super::{Terminal, code};

#[test]
fn what_enough_keys_signed_is_believed() {
    let repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let trusted = terminal.refresh(repository.path()).unwrap();
    assert_eq!(trusted.names(), ["release.json"]);
    let target = trusted.target("release.json").unwrap();
    assert_eq!(target.custom["kind"], "release");
    let targets = Directory::open(&repository.path().join("targets")).unwrap();
    let content = target.read_whole(&targets, 1000).unwrap();
    assert_eq!(content, br#"{"version":"1.0.0"}"#);
    assert!(matches!(trusted.target("other"), Err(TrustError::NoTarget)));
    // The same without a line.
    let recalled = terminal.trust().recall(super::now()).unwrap();
    assert_eq!(recalled.target("release.json").unwrap(), target);
}

#[test]
fn what_is_stored_is_byte_for_byte_what_was_served() {
    let repository = Repository::new();
    let terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    let trust = terminal.trust();
    for (name, bytes) in trust.files() {
        let served = match name {
            "timestamp.json" => name.to_owned(),
            _ => format!("1.{name}"),
        };
        assert_eq!(bytes, fs::read(repository.metadata(&served)).unwrap());
    }
    assert_eq!(trust.files().count(), 4);
}

#[test]
fn a_repository_that_goes_back_is_refused() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let old = repository.copy();
    repository.release("release.json", br#"{"version":"1.1.0"}"#);
    terminal.refresh(repository.path()).unwrap();
    assert_eq!(code(terminal.refresh(old.path())), "update.rolled-back");
    // A new timestamp and snapshot by the online keys do not bring old targets back.
    repository.versions.insert("targets", 1);
    repository.publish_snapshot();
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.rolled-back"
    );
    // Nor does a new timestamp bring back an old snapshot.
    repository.versions.insert("snapshot", 1);
    repository.publish_timestamp();
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.rolled-back"
    );
}

#[test]
fn a_list_that_was_named_before_must_be_named_still() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    repository.versions.insert("snapshot", 2);
    let snapshot = json!({
        "_type": "snapshot", "spec_version": "1.0.31", "version": 2,
        "expires": day(100).to_string(), "meta": {"other.json": {"version": 1}},
    });
    repository.write("2.snapshot.json", &sign(&snapshot, &[5]));
    repository.publish_timestamp();
    let refused = code(terminal.refresh(repository.path()));
    assert!(
        ["update.rolled-back", "update.malformed"].contains(&refused),
        "{refused}"
    );
}

#[test]
fn a_repository_that_stands_still_is_heard_of_and_then_refused() {
    let repository = Repository::new();
    let terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    let standing = |days| terminal.trust().standing(day(days));
    assert!(!standing(14).is_expiring(day(14)));
    assert_eq!(standing(14).days_left(day(14)), Some(16));
    assert!(standing(16).is_expiring(day(16)));
    terminal.refresh_at(repository.path(), day(29)).unwrap();
    let frozen = terminal.refresh_at(repository.path(), day(31));
    assert_eq!(code(frozen), "update.metadata-expired");
    assert_eq!(standing(31).days_left(day(31)), Some(-1));
}

#[test]
fn each_role_ends_at_its_time() {
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut repository = Repository::new();
        repository.expires.insert(role, day(10));
        if role == "root" {
            repository.publish_root();
        }
        repository.publish_targets();
        let terminal = Terminal::new(&repository);
        let trusted = terminal.refresh_at(repository.path(), day(9)).unwrap();
        assert_eq!(trusted.first_end().0.to_string(), role);
        assert_eq!(trusted.first_end().1, day(10));
        trusted.may_install(day(9)).unwrap();
        assert!(matches!(
            trusted.may_install(day(10)),
            Err(TrustError::Expired { .. })
        ));
        let late = terminal.refresh_at(repository.path(), day(10));
        let Err(TrustError::Expired { role: ended }) = late else {
            panic!("{role}: {late:?}");
        };
        assert_eq!(ended.to_string(), role);
        assert_eq!(
            code(terminal.trust().recall(day(10))),
            "update.metadata-expired"
        );
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let mut repository = Repository::new();
    let first = repository.copy();
    repository.release("release.json", br#"{"version":"1.1.0"}"#);
    // Each of these is signed; together they never were.
    for (from, to) in [
        ("1.snapshot.json", "2.snapshot.json"),
        ("1.targets.json", "2.targets.json"),
    ] {
        let mixed = repository.copy();
        let metadata = mixed.path().join("metadata");
        fs::copy(first.path().join("metadata").join(from), metadata.join(to)).unwrap();
        let terminal = Terminal::new(&repository);
        assert_eq!(code(terminal.refresh(mixed.path())), "update.mixed", "{to}");
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    let repository = Repository::new();
    for name in ["timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let bytes = fs::read(repository.metadata(name)).unwrap();
        let place = bytes.len() / 2;
        for place in [place, place + 7, bytes.len() - 20] {
            let copy = repository.copy();
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            fs::write(copy.path().join("metadata").join(name), changed).unwrap();
            let terminal = Terminal::new(&repository);
            let refused = code(terminal.refresh(copy.path()));
            assert!(
                ["update.unsigned", "update.malformed", "update.mixed"].contains(&refused),
                "{name}: {refused}"
            );
        }
    }
}

#[test]
fn a_key_that_was_taken_away_signs_nothing_any_more() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    repository.rotate("timestamp", 14);
    repository.publish_timestamp();
    terminal.refresh(repository.path()).unwrap();
    repository.signers.insert("timestamp", vec![4]);
    repository.publish_timestamp();
    assert_eq!(code(terminal.refresh(repository.path())), "update.unsigned");
}

#[test]
fn a_repository_of_a_revoked_key_is_refused_although_the_first_root_is_passed_again() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    // The thief of the old online keys publishes under the first root, with high versions.
    let mut thief = Repository::new();
    thief.versions.insert("timestamp", 900);
    thief.versions.insert("snapshot", 900);
    thief.publish_snapshot();
    repository.rotate("timestamp", 14);
    repository.rotate("snapshot", 15);
    repository.publish_snapshot();
    terminal.refresh(repository.path()).unwrap();
    assert_eq!(code(terminal.refresh(thief.path())), "update.unsigned");
    // The same when the newest root was torn as by a power cut.
    fs::write(terminal.generation().join("root.json"), b"{\"signed\":{").unwrap();
    let delayed = terminal.refresh(thief.path());
    assert!(
        matches!(delayed, Err(TrustError::RootDelayed { wanted: 3 })),
        "{delayed:?}"
    );
    // The way back is the honest repository.
    terminal.refresh(repository.path()).unwrap();
}

#[test]
fn versions_that_a_thief_raised_beyond_reach_are_forgotten_with_his_key() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    repository.versions.insert("timestamp", 1_000_000);
    repository.versions.insert("snapshot", 1_000_000);
    repository.publish_snapshot();
    terminal.refresh(repository.path()).unwrap();
    repository.versions.insert("timestamp", 1);
    repository.versions.insert("snapshot", 1);
    repository.publish_snapshot();
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.rolled-back"
    );
    repository.rotate("snapshot", 15);
    repository.publish_snapshot();
    terminal.refresh(repository.path()).unwrap();
    assert_eq!(terminal.trust().standing(super::now()).floor.snapshot, 3);
}

#[test]
fn two_signatures_of_one_key_count_once() {
    let repository = Repository::new();
    let targets = fs::read(repository.metadata("1.targets.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&targets).unwrap();
    let mut content = file["signed"].clone();
    content["version"] = json!(2);
    let mut repository = repository;
    repository.versions.insert("targets", 2);
    // Two of two are needed; one key signs twice.
    let twice = sign(&content, &[6, 6]);
    repository.write("2.targets.json", &twice);
    repository.publish_snapshot();
    let terminal = Terminal::new(&repository);
    assert_eq!(code(terminal.refresh(repository.path())), "update.unsigned");
    // Both keys do.
    repository.write("2.targets.json", &sign(&content, &[6, 7]));
    repository.publish_snapshot();
    terminal.refresh(repository.path()).unwrap();
}

#[test]
fn one_key_under_two_ids_is_not_two_people() {
    let mut repository = Repository::new();
    // A member more, and the same key has another id.
    let mut other = public(6);
    other["note"] = json!("the same key");
    repository.keys.insert("targets", (vec![6], 2));
    repository.more_keys.push(("targets", other.clone()));
    repository.publish_root();
    let terminal = Terminal::new(&repository);
    let content = json!({
        "_type": "targets", "spec_version": "1.0.31", "version": 2,
        "expires": day(100).to_string(), "targets": {},
    });
    let mut file = sign(&content, &[6]);
    let again = json!({
        "keyid": key_id(&other),
        "sig": hex(key(6).sign(&canonical(&content)).as_ref()),
    });
    file["signatures"].as_array_mut().unwrap().push(again);
    repository.versions.insert("targets", 2);
    repository.write("2.targets.json", &file);
    repository.publish_snapshot();
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.key-twice"
    );
}

#[test]
fn a_root_that_too_few_signed_replaces_nothing() {
    for signers in [vec![1], vec![1, 1], vec![1, 9], vec![]] {
        let mut repository = Repository::new();
        let terminal = Terminal::new(&repository);
        terminal.refresh(repository.path()).unwrap();
        repository.signers.insert("root", signers.clone());
        repository.rotate("timestamp", 14);
        repository.publish_timestamp();
        assert_eq!(code(terminal.refresh(repository.path())), "update.unsigned");
        assert_eq!(terminal.trust().standing(super::now()).floor.root, 1);
    }
}

#[test]
fn new_keys_of_the_root_need_the_old_ones_and_their_own() {
    for (signers, is_believed) in [
        (vec![1, 2, 8, 9], true),
        (vec![8, 9], false),
        (vec![1, 2], false),
        (vec![1, 2, 8], false),
        (vec![1, 8, 9], false),
    ] {
        let mut repository = Repository::new();
        let terminal = Terminal::new(&repository);
        repository.keys.insert("root", (vec![8, 9], 2));
        repository.signers.insert("root", signers.clone());
        repository.publish_root();
        let outcome = terminal.refresh(repository.path());
        assert_eq!(outcome.is_ok(), is_believed, "{signers:?}");
    }
}

#[test]
fn a_root_comes_in_its_turn_and_under_its_number() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    repository.versions.insert("root", 6);
    let bytes = repository.publish_root();
    // Root 7 under the name of root 2.
    fs::write(repository.metadata("2.root.json"), bytes).unwrap();
    assert!(terminal.refresh(repository.path()).is_err());
    assert_eq!(terminal.trust().standing(super::now()).floor.root, 1);
}

#[test]
fn a_list_of_targets_is_no_timestamp() {
    let repository = Repository::new();
    let mut repository = repository;
    // One key for all, so that only the type tells them apart.
    repository.keys.insert("timestamp", (vec![6], 1));
    repository.keys.insert("targets", (vec![6], 1));
    repository.signers.insert("timestamp", vec![6]);
    repository.signers.insert("targets", vec![6]);
    repository.publish_root();
    repository.publish_targets();
    fs::copy(
        repository.metadata("2.targets.json"),
        repository.metadata("timestamp.json"),
    )
    .unwrap();
    let terminal = Terminal::new(&repository);
    assert_eq!(
        code(terminal.refresh(repository.path())),
        "update.malformed"
    );
}

#[test]
fn another_content_under_the_same_version_is_not_taken() {
    let mut repository = Repository::new();
    let terminal = Terminal::new(&repository);
    terminal.refresh(repository.path()).unwrap();
    let believed = fs::read(repository.metadata("timestamp.json")).unwrap();
    repository.versions.insert("timestamp", 0);
    repository.expires.insert("timestamp", day(29));
    repository.publish_timestamp();
    terminal.refresh(repository.path()).unwrap();
    let trust = terminal.trust();
    let (_, stored) = trust
        .files()
        .find(|(name, _)| *name == "timestamp.json")
        .unwrap();
    assert_eq!(stored, believed);
}

#[test]
fn a_changed_file_is_not_the_signed_one() {
    let repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let trusted = terminal.refresh(repository.path()).unwrap();
    let target = trusted.target("release.json").unwrap();
    let path = repository.path().join("targets").join(target.address());
    let targets = Directory::open(&repository.path().join("targets")).unwrap();
    let good = fs::read(&path).unwrap();
    for content in [
        &good[1..],
        &good[..good.len() - 1],
        b"",
        &[&good[..], b" "].concat(),
        &vec![b'x'; good.len()],
    ] {
        fs::write(&path, content).unwrap();
        let outcome = target.read_whole(&targets, 1000);
        assert!(matches!(outcome, Err(TrustError::WrongTarget)));
    }
    fs::remove_file(&path).unwrap();
    let outcome = target.read_whole(&targets, 1000);
    assert_eq!(outcome.unwrap_err().code(), "update.file-missing");
}
