//! Servers and sticks that fail, stall and never end. A failure is never taken for an answer.

use kiosk_update::trust::{Directory, Transport, TransportError, TrustError, fetch_whole};

use super::repository::{Repository, now};
use super::server::{Fault, Server};
use super::{Terminal, code, http};

#[test]
fn a_web_server_and_a_stick_are_believed_alike() {
    let repository = Repository::new();
    let server = Server::start(repository.path());
    let terminal = Terminal::new(&repository);
    let trusted = terminal.refresh_from(&server).unwrap();
    let target = trusted.target("release.json").unwrap();
    let disk = tempfile::tempdir().unwrap();
    let path = disk.path().join("release.json");
    target.save(&http(&server, "targets"), &path).unwrap();
    assert!(target.is_at(&path).unwrap());
    // The stick goes on where the line ended.
    terminal.refresh(repository.path()).unwrap();
    let stick = Directory::open(&repository.path().join("targets")).unwrap();
    target
        .save(&stick, &disk.path().join("again.json"))
        .unwrap();
}

#[test]
fn what_is_believed_already_is_not_fetched_again() {
    let mut repository = Repository::new();
    let server = Server::start(repository.path());
    let terminal = Terminal::new(&repository);
    terminal.refresh_from(&server).unwrap();
    assert_eq!(
        server.requests(),
        [
            "metadata/2.root.json",
            "metadata/timestamp.json",
            "metadata/1.snapshot.json",
            "metadata/1.targets.json",
        ]
    );
    terminal.refresh_from(&server).unwrap();
    assert_eq!(
        server.requests(),
        ["metadata/2.root.json", "metadata/timestamp.json"]
    );
    repository.publish_snapshot();
    terminal.refresh_from(&server).unwrap();
    assert_eq!(
        server.requests(),
        [
            "metadata/2.root.json",
            "metadata/timestamp.json",
            "metadata/2.snapshot.json"
        ]
    );
}

#[test]
fn only_a_missing_root_ends_the_walk_over_the_roots() {
    let mut repository = Repository::new();
    let server = Server::start(repository.path());
    let terminal = Terminal::new(&repository);
    // The old key signs on, and the root that takes it away is held back by a failing line.
    repository.rotate("timestamp", 14);
    let faults = [
        Fault::Status(500),
        Fault::Status(403),
        Fault::Status(503),
        Fault::Cut,
        Fault::Slow,
        Fault::Endless,
        Fault::Redirect("/metadata/1.root.json".to_owned()),
        Fault::Content(b"<html>log in</html>".to_vec()),
        Fault::Content(Vec::new()),
    ];
    for fault in faults {
        server.fail("metadata/2.root.json", fault.clone());
        assert!(terminal.refresh_from(&server).is_err(), "{fault:?}");
        assert_eq!(
            terminal.trust().standing(now()).floor.timestamp,
            0,
            "{fault:?}"
        );
        assert!(
            !server
                .requests()
                .contains(&"metadata/timestamp.json".to_owned()),
            "{fault:?}"
        );
    }
    server.heal();
    assert_eq!(code(terminal.refresh_from(&server)), "update.unsigned");
    repository.publish_timestamp();
    terminal.refresh_from(&server).unwrap();
}

#[test]
fn a_failing_line_says_so_and_changes_nothing() {
    let mut repository = Repository::new();
    let server = Server::start(repository.path());
    let terminal = Terminal::new(&repository);
    terminal.refresh_from(&server).unwrap();
    let before = terminal.trust().standing(now());
    repository.publish_targets();
    for (fault, expected) in [
        (Fault::Status(500), "update.unreachable"),
        (Fault::Status(404), "update.metadata-missing"),
        (Fault::Cut, "update.unreachable"),
        (Fault::Slow, "update.too-slow"),
        (Fault::Endless, "update.too-long"),
        (Fault::Redirect("/x".to_owned()), "update.unreachable"),
        (Fault::Content(b"{}".to_vec()), "update.malformed"),
    ] {
        server.fail("metadata/timestamp.json", fault);
        assert_eq!(code(terminal.refresh_from(&server)), expected);
        assert_eq!(terminal.trust().standing(now()), before);
    }
    server.heal();
    for name in ["2.snapshot.json", "2.targets.json"] {
        for (fault, expected) in [
            (Fault::Endless, "update.too-long"),
            (Fault::Slow, "update.too-slow"),
            (Fault::Cut, "update.unreachable"),
        ] {
            server.fail(&format!("metadata/{name}"), fault);
            assert_eq!(code(terminal.refresh_from(&server)), expected, "{name}");
        }
        server.heal();
    }
    terminal.refresh_from(&server).unwrap();
}

#[test]
fn a_signed_file_that_never_ends_or_crawls_is_given_up() {
    let repository = Repository::new();
    let server = Server::start(repository.path());
    let terminal = Terminal::new(&repository);
    let target = terminal
        .refresh_from(&server)
        .unwrap()
        .target("release.json")
        .unwrap();
    let path = format!("targets/{}", target.address());
    let disk = tempfile::tempdir().unwrap();
    for (fault, expected) in [
        (Fault::Endless, "update.target-wrong"),
        (Fault::Slow, "update.too-slow"),
        (Fault::Cut, "update.unreachable"),
        (Fault::Status(404), "update.file-missing"),
        (
            Fault::Content(br#"{"version":"6.6.6"}"#.to_vec()),
            "update.target-wrong",
        ),
    ] {
        server.fail(&path, fault);
        let outcome = target.save(&http(&server, "targets"), &disk.path().join("x"));
        assert_eq!(outcome.unwrap_err().code(), expected);
        assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_crawling_server_is_left_after_one_window() {
    let repository = Repository::new();
    let server = Server::start(repository.path());
    server.fail("targets/large", Fault::Slow);
    let outcome = fetch_whole(&http(&server, "targets"), "large", 10_000_000);
    assert!(
        matches!(outcome, Err(TransportError::TooSlow { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_download_goes_on_where_it_was_cut() {
    let repository = Repository::new();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(repository.path().join("targets/large"), &content).unwrap();
    let server = Server::start(repository.path());
    let http = http(&server, "targets");
    for fault in [None, Some(Fault::NoRanges)] {
        if let Some(fault) = fault {
            server.fail("targets/large", fault);
        }
        let mut rest = Vec::new();
        let count = http
            .fetch("large", 300_000, 100_000, &mut |piece| {
                rest.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!((count, &rest[..]), (100_000, &content[300_000..]));
    }
}

#[test]
fn a_server_that_nobody_answers_for_is_unreachable() {
    let repository = Repository::new();
    let terminal = Terminal::new(&repository);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let http = kiosk_update::trust::Http::new(
        &format!("http://{address}/"),
        None,
        kiosk_update::trust::Pace::default(),
        now(),
    )
    .unwrap();
    let outcome = terminal.trust().refresh(&http, now());
    assert!(matches!(outcome, Err(TrustError::Transport { .. })));
}
