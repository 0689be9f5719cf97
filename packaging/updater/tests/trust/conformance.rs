//! The command line by which the public conformance suite drives a client, on the program itself.

use std::path::Path;
use std::process::Command;

use super::repository::{ROLES, Repository};
use super::server::Server;

/// A repository that is in force whenever this test runs.
fn repository() -> Repository {
    let mut repository = Repository::new();
    for role in ROLES {
        let end = "2099-01-01T00:00:00Z".parse().unwrap();
        repository.expires.insert(role, end);
    }
    repository.publish_root();
    repository.publish_targets();
    repository
}

fn client(arguments: &[&str]) -> i32 {
    Command::new(env!("CARGO_BIN_EXE_kiosk-updater"))
        .arg("conformance")
        .args(arguments)
        .output()
        .unwrap()
        .status
        .code()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_client_is_driven_as_the_suite_drives_it() {
    let mut repository = repository();
    let server = Server::start(repository.path());
    let place = tempfile::tempdir().unwrap();
    let (metadata, targets) = (place.path().join("metadata"), place.path().join("targets"));
    for folder in [&metadata, &targets] {
        std::fs::create_dir(folder).unwrap();
    }
    let metadata_dir = ["--metadata-dir", text(&metadata)];
    let (metadata_url, targets_url) = (server.url("metadata"), server.url("targets"));
    let root = repository.metadata("1.root.json");
    let init = [&metadata_dir[..], &["init", text(&root)]].concat();
    assert_eq!(client(&init), 0);
    assert_eq!(server.requests(), Vec::<String>::new());
    let url = ["--metadata-url", &metadata_url];
    let refresh = [&metadata_dir[..], &url, &["refresh"]].concat();
    assert_eq!(client(&refresh), 0);
    for (name, served) in [
        ("root.json", "2.root.json"),
        ("timestamp.json", "timestamp.json"),
        ("snapshot.json", "2.snapshot.json"),
        ("targets.json", "2.targets.json"),
    ] {
        let stored = std::fs::read(metadata.join(name)).unwrap();
        assert_eq!(stored, std::fs::read(repository.metadata(served)).unwrap());
    }
    let download = |name| {
        let place = ["--target-name", name, "--target-base-url", &targets_url];
        let rest = ["--target-dir", text(&targets), "download"];
        client(&[&metadata_dir[..], &url, &place, &rest].concat())
    };
    assert_eq!(download("release.json"), 0);
    let saved = std::fs::read(targets.join("release.json")).unwrap();
    assert_eq!(saved, br#"{"version":"1.0.0"}"#);
    drop(server.requests());
    assert_eq!(download("release.json"), 0);
    assert!(
        !server
            .requests()
            .iter()
            .any(|name| name.starts_with("targets/"))
    );
    assert_eq!(download("nonexistent artifact"), 1);
    // What fails is said by the exit alone.
    repository.signers.insert("timestamp", vec![99]);
    repository.publish_timestamp();
    assert_eq!(client(&refresh), 1);
}
