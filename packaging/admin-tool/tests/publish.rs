//! A repository as its holders make it, and as a terminal reads it: everything that is signed here is
//! read by the terminal's own client.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kiosk_admin::clock;
use kiosk_admin::key_file;
use kiosk_admin::tuf::{self, Described, Role};
use kiosk_sealing::Algorithm;
use kiosk_update::engine::{Repository, Source as _};
use kiosk_update::fetch::{Fetcher, Index, Limit, Lists, Patches, Tally, Watch};
use kiosk_update::items::{Catalogue, catalogue_target, read_package};
use kiosk_update::manifest::{Release, Version};
use kiosk_update::slots::LocalDisk;
use kiosk_update::trust::{Directory, Trust, TrustError, fetch_whole};
use tempfile::TempDir;

/// A desk with keys and a repository that nobody has published yet.
struct Desk(TempDir);

/// A terminal that reads what is published.
struct Terminal {
    trust: Trust,
    _directory: TempDir,
}

impl Desk {
    /// Three holders of roots of whom two must sign, one of releases, one machine.
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        for name in ["root-1", "root-2", "root-3", "targets", "online"] {
            desk.key(name);
        }
        let mut words = vec!["repository", "init", "program", "--name", "program"];
        let publics: Vec<String> = ["root-1", "root-2", "root-3"]
            .iter()
            .map(|name| desk.public(name))
            .collect();
        for public in &publics {
            words.extend(["--root", public]);
        }
        let (targets, online) = (desk.public("targets"), desk.public("online"));
        words.extend(["--targets", &targets, "--online", &online]);
        desk.done(&words);
        desk
    }

    /// One in which the good release 1.0.0 is published.
    fn published() -> Self {
        let desk = Self::new();
        desk.sign_root(&["root-1", "root-2"]);
        desk.tree(b"the first program");
        desk.add("1.0.0", &[]);
        desk.sign();
        desk.publish();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kiosk-admin"))
            .args(words)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn done(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn key(&self, name: &str) {
        self.done(&["keys", "new", "--unprotected", &format!("{name}.key")]);
    }

    fn public(&self, name: &str) -> String {
        let shown = self.done(&["keys", "show", &format!("{name}.key")]);
        shown.lines().next().unwrap().to_owned()
    }

    fn sign_root(&self, names: &[&str]) {
        for name in names {
            let key = format!("{name}.key");
            self.done(&["repository", "sign", "program", "root", "--key-file", &key]);
        }
    }

    /// What is released next.
    fn tree(&self, program: &[u8]) {
        let bin = self.path("tree/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("kiosk"), program).unwrap();
        fs::set_permissions(bin.join("kiosk"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(self.path("tree/NOTICE"), "").unwrap();
    }

    fn add(&self, version: &str, more: &[&str]) -> String {
        let mut words = vec![
            "release",
            "add",
            "program",
            "--version",
            version,
            "--files",
            "tree",
            "--hardware",
            "upright-1",
        ];
        words.extend(more);
        self.done(&words)
    }

    fn sign(&self) -> String {
        self.done(&["release", "sign", "program", "--key-file", "targets.key"])
    }

    fn change(&self, what: &str) -> String {
        self.done(&["release", what, "program", "--key-file", "targets.key"])
    }

    const PUBLISH: [&str; 7] = [
        "repository",
        "publish",
        "program",
        "--key-file",
        "online.key",
        "--to",
        "web",
    ];

    fn publish(&self) -> String {
        self.done(&Self::PUBLISH)
    }

    fn part(&self, part: &str) -> Directory {
        Directory::open(&self.path("web/program").join(part)).unwrap()
    }

    fn terminal(&self) -> Terminal {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::read(self.path("program/metadata/1.root.json")).unwrap();
        // Built yesterday: an order of repair, which has whole seconds, is never before that.
        let trust = Trust::open(&directory.path().join("trust"), &root, in_days(-1)).unwrap();
        Terminal {
            trust,
            _directory: directory,
        }
    }

    /// The files below a directory with their content.
    fn content(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        fn walk(path: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else {
                    found.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(name), &mut found);
        found.sort();
        found
    }
}

impl Terminal {
    fn refresh(&mut self, desk: &Desk, now: Timestamp) -> Result<Option<Release>, TrustError> {
        let metadata = desk.part("metadata");
        let trusted = self.trust.refresh(&metadata, now)?;
        let (targets, chunks) = (desk.part("targets"), desk.part("chunks"));
        let mut repository = Repository {
            trusted: &trusted,
            metadata: &metadata,
            targets: &targets,
            chunks: &chunks,
        };
        let release = repository.release().unwrap().map(|(release, _)| release);
        if let Some(release) = &release {
            let index = Index::parse(&repository.index(&release.chunks).unwrap()).unwrap();
            assert!(index.fits(release));
            for chunk in index.chunks() {
                let packed = fetch_whole(&chunks, &chunk.name(), u64::from(chunk.packed)).unwrap();
                assert!(chunk.unpack(&packed).is_some());
            }
        }
        Ok(release)
    }

    fn version(&mut self, desk: &Desk) -> Option<Version> {
        let release = self.refresh(desk, clock::now()).unwrap();
        release.map(|release| release.version)
    }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn in_days(days: i64) -> Timestamp {
    clock::now() + SignedDuration::from_hours(24 * days)
}

#[test]
fn a_release_reaches_a_terminal_only_when_enough_holders_have_signed() {
    let desk = Desk::new();
    desk.tree(b"a program");
    desk.add(
        "1.0.0",
        &["--wave", "5@1h", "--wave", "100@1d", "--region", "4401"],
    );
    let refused = desk.refused(&Desk::PUBLISH);
    assert!(
        refused.contains("root 1 has 0 of 2 signatures"),
        "{refused}"
    );
    desk.sign_root(&["root-1"]);
    let again = desk.refused(&[
        "repository",
        "sign",
        "program",
        "root",
        "--key-file",
        "root-1.key",
    ]);
    assert!(again.contains("signed it already"), "{again}");
    assert!(desk.refused(&Desk::PUBLISH).contains("1 of 2"));
    desk.sign_root(&["root-3"]);
    assert!(desk.refused(&Desk::PUBLISH).contains("release sign"));
    desk.sign();
    desk.publish();
    let release = desk
        .terminal()
        .refresh(&desk, clock::now())
        .unwrap()
        .unwrap();
    assert_eq!(release.version, version("1.0.0"));
    assert_eq!(release.waves.len(), 2);
    assert_eq!(release.regions, Some(vec!["4401".to_owned()]));
    let names: Vec<&str> = release
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(names, ["NOTICE", "bin/kiosk"]);
}

#[test]
fn two_signatures_of_one_key_are_one() {
    let desk = Desk::new();
    desk.sign_root(&["root-1"]);
    let path = desk.path("program/metadata/1.root.json");
    let mut root: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let first = root["signatures"][0].clone();
    root["signatures"].as_array_mut().unwrap().push(first);
    fs::write(&path, root.to_string()).unwrap();
    desk.tree(b"a program");
    desk.add("1.0.0", &[]);
    desk.sign();
    assert!(desk.refused(&Desk::PUBLISH).contains("1 of 2"));
}

#[test]
fn what_is_paused_resumed_and_withdrawn_is_so_for_a_terminal() {
    let desk = Desk::published();
    let mut terminal = desk.terminal();
    assert_eq!(terminal.version(&desk), Some(version("1.0.0")));
    desk.tree(b"the second program");
    desk.add("1.1.0", &["--at-once"]);
    // A release that nobody has signed yet changes nothing for anybody.
    desk.publish();
    assert_eq!(terminal.version(&desk), Some(version("1.0.0")));
    desk.sign();
    desk.publish();
    let signed = terminal.refresh(&desk, clock::now()).unwrap().unwrap();
    assert_eq!(
        (signed.version, signed.is_halted),
        (version("1.1.0"), false)
    );
    desk.change("pause");
    desk.publish();
    let paused = terminal.refresh(&desk, clock::now()).unwrap().unwrap();
    assert!(paused.is_halted && paused.published_at == signed.published_at);
    assert!(
        desk.refused(&["release", "pause", "program", "--key-file", "targets.key"])
            .contains("already")
    );
    desk.change("resume");
    desk.publish();
    assert_eq!(
        terminal.refresh(&desk, clock::now()).unwrap().unwrap(),
        signed
    );
    desk.change("withdraw");
    desk.publish();
    assert_eq!(terminal.version(&desk), Some(version("1.0.0")));
    desk.change("withdraw");
    desk.publish();
    assert_eq!(terminal.version(&desk), None);
    // It was signed: it never comes again, with whatever content.
    let refused = desk.refused(&[
        "release",
        "add",
        "program",
        "--version",
        "1.1.0",
        "--files",
        "tree",
        "--hardware",
        "upright-1",
    ]);
    assert!(refused.contains("never comes twice"), "{refused}");
    desk.add("1.1.1", &[]);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_changes_nothing() {
    let desk = Desk::published();
    desk.tree(b"another program");
    let before = (desk.content("program"), desk.content("web"));
    let targets = ["--key-file", "targets.key"];
    let add = [
        "release",
        "add",
        "program",
        "--version",
        "2.0.0",
        "--files",
        "tree",
        "--hardware",
        "upright-1",
    ];
    let online = desk.public("targets");
    let commands: Vec<Vec<&str>> = vec![
        add.to_vec(),
        [&["release", "pause", "program"][..], &targets].concat(),
        [&["release", "withdraw", "program"][..], &targets].concat(),
        Desk::PUBLISH.to_vec(),
        vec!["repository", "new-root", "program", "--online", &online],
        vec![
            "repository",
            "sign",
            "program",
            "root",
            "--key-file",
            "root-3.key",
        ],
    ];
    for mut words in commands {
        words.push("--dry-run");
        let said = desk.done(&words);
        assert!(said.contains("would be: "), "{words:?}: {said}");
        assert!(
            before == (desk.content("program"), desk.content("web")),
            "{words:?}"
        );
    }
}

#[test]
fn what_did_not_change_is_not_fetched_again() {
    let desk = Desk::published();
    let mut program: Vec<u8> = Vec::new();
    for number in 0..200_000_u32 {
        program.extend(number.wrapping_mul(2_654_435_761).to_le_bytes());
    }
    desk.tree(&program);
    desk.add("1.1.0", &[]);
    desk.sign();
    program[400_000] ^= 1;
    desk.tree(&program);
    let said = desk.add("1.2.0", &["--patches-from", "0"]);
    let (with, without) = (
        said_bytes(&said, "with 1.1.0"),
        said_bytes(&said, "another"),
    );
    assert!(with * 2 < without, "{said}");
}

/// Bytes that a terminal fetches, in the line that says so of this one.
fn said_bytes(said: &str, of: &str) -> u64 {
    let line = said.lines().find(|line| line.contains(of)).unwrap();
    let (_, words) = line.split_once("fetches ").unwrap();
    words.split(' ').next().unwrap().parse().unwrap()
}

/// A program of calls to places; in its middle stands `grown`, and what lies behind that has moved.
fn program(grown: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = 1_u32;
    for call in 0..60_000 {
        if call == 30_000 {
            bytes.extend_from_slice(grown);
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut place = (state >> 8) % 480_000;
        if place > 240_000 {
            place += u32::try_from(grown.len()).unwrap();
        }
        bytes.extend_from_slice(&[0x48, 0x89, 0xc7, 0xe8]);
        bytes.extend_from_slice(&place.to_le_bytes());
    }
    bytes
}

/// Fetches the newest release as a terminal on which `running` runs.
fn fetched(desk: &Desk, terminal: &mut Terminal, running: &[u8]) -> Tally {
    let trusted = terminal.trust.refresh(&desk.part("metadata"), clock::now());
    let trusted = trusted.unwrap();
    let (metadata, targets) = (desk.part("metadata"), desk.part("targets"));
    let chunks = desk.part("chunks");
    let mut repository = Repository {
        trusted: &trusted,
        metadata: &metadata,
        targets: &targets,
        chunks: &chunks,
    };
    let (release, _) = repository.release().unwrap().unwrap();
    let index = Index::parse(&repository.index(&release.chunks).unwrap()).unwrap();
    let patches = repository.patches(&release.patches()).unwrap();
    let patches = patches.map_or_else(Patches::default, |list| Patches::parse(&list).unwrap());
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("a/bin")).unwrap();
    fs::write(place.path().join("a/bin/kiosk"), running).unwrap();
    let limit = Limit::new(u64::MAX, u64::MAX);
    Fetcher::new(&LocalDisk, &place.path().join("chunks"), limit)
        .fetch(
            &release,
            Lists { index, patches },
            Some(&place.path().join("a")),
            &chunks,
            &mut AnyTime,
        )
        .unwrap()
        .tally
}

/// No time passes, and any time is good.
struct AnyTime;

impl Watch for AnyTime {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn wait(&mut self, _length: Duration) {}

    fn may_go_on(&mut self) -> bool {
        true
    }
}

#[test]
fn code_that_moved_is_patched_from_each_of_the_releases_before() {
    let desk = Desk::published();
    let releases = [
        program(b""),
        program(b"a line"),
        program(b"some more lines of code"),
    ];
    let mut said = String::new();
    for (number, program) in releases.iter().enumerate() {
        desk.tree(program);
        said = desk.add(&format!("1.{}.0", number + 1), &[]);
        desk.sign();
    }
    desk.publish();
    let mut terminal = desk.terminal();
    for (number, running) in releases[..2].iter().enumerate() {
        let bytes = said_bytes(&said, &format!("with 1.{}.0", number + 1));
        assert!(bytes * 5 < said_bytes(&said, "another"), "{said}");
        let tally = fetched(&desk, &mut terminal, running);
        assert_eq!(tally.fetched, 0, "{tally:?}");
        assert_eq!(tally.bytes, bytes, "{said}");
    }
    let tally = fetched(&desk, &mut terminal, b"the first program");
    assert_eq!(tally.bytes, said_bytes(&said, "another"));

    // What is offered again after a withdrawal has its patches again.
    desk.change("withdraw");
    desk.publish();
    let tally = fetched(&desk, &mut terminal, &releases[0]);
    assert!(tally.patched > 0, "{tally:?}");
}

#[test]
fn without_the_chunks_of_a_release_there_is_no_patch_from_it_and_it_is_said() {
    let desk = Desk::published();
    desk.tree(&program(b""));
    desk.add("1.1.0", &[]);
    desk.sign();
    fs::remove_dir_all(desk.path("program/chunks")).unwrap();
    desk.tree(&program(b"a line"));
    let said = desk.add("1.2.0", &[]);
    assert!(said.contains("no patch of bin/kiosk from 1.1.0"), "{said}");
    assert!(!said.contains("patches save"), "{said}");
}

#[test]
fn a_list_of_patches_that_was_changed_in_the_draft_is_not_signed() {
    let desk = Desk::published();
    desk.tree(&program(b""));
    desk.add("1.1.0", &[]);
    desk.sign();
    desk.tree(&program(b"a line"));
    desk.add("1.2.0", &[]);
    let path = desk.path("program/draft/release-1.2.0.patches");
    let mut list = fs::read(&path).unwrap();
    let place = list
        .windows(9)
        .position(|word| word == b"bin/kiosk")
        .unwrap();
    list[place] = b'x';
    fs::write(&path, list).unwrap();
    let refused = desk.refused(&["release", "sign", "program", "--key-file", "targets.key"]);
    assert!(refused.contains("is not that of the release"), "{refused}");
}

#[test]
fn another_machine_signs_from_now_on() {
    let desk = Desk::published();
    let mut terminal = desk.terminal();
    assert!(terminal.version(&desk).is_some());
    desk.key("online-2");
    let public = desk.public("online-2");
    desk.done(&["repository", "new-root", "program", "--online", &public]);
    let words = [
        "repository",
        "publish",
        "program",
        "--key-file",
        "online-2.key",
        "--to",
        "web",
    ];
    assert!(desk.refused(&words).contains("root 2 has 0 of 2"));
    desk.sign_root(&["root-1", "root-2"]);
    // The key of before is worth nothing any more.
    let refused = desk.refused(&Desk::PUBLISH);
    assert!(refused.contains("would not believe"), "{refused}");
    desk.done(&words);
    assert_eq!(terminal.version(&desk), Some(version("1.0.0")));
    assert_eq!(desk.terminal().version(&desk), Some(version("1.0.0")));
}

#[test]
fn who_stole_the_online_key_signs_as_high_as_can_be_in_vain() {
    let desk = Desk::published();
    let mut terminal = desk.terminal();
    assert!(terminal.version(&desk).is_some());
    let key = key_file::open(&desk.path("online.key"), Algorithm::Ed25519, None).unwrap();
    let metadata = desk.path("web/program/metadata");
    let (far, end) = (1_000_000, in_days(30));
    let list = Described::of(&fs::read(metadata.join("1.targets.json")).unwrap());
    let mut snapshot = tuf::pointer(Role::Snapshot, far, end, Role::Targets, 1, list);
    snapshot.sign(&key).unwrap();
    let snapshot = snapshot.to_bytes().unwrap();
    let named = Described::of(&snapshot);
    let mut timestamp = tuf::pointer(Role::Timestamp, far, end, Role::Snapshot, far, named);
    timestamp.sign(&key).unwrap();
    fs::write(metadata.join(format!("{far}.snapshot.json")), snapshot).unwrap();
    let timestamp = timestamp.to_bytes().unwrap();
    fs::write(metadata.join("timestamp.json"), timestamp).unwrap();
    assert!(terminal.version(&desk).is_some());
    // What the operator signs now is older than what the terminal has seen.
    desk.publish();
    assert!(terminal.refresh(&desk, clock::now()).is_err());
    desk.key("online-2");
    let public = desk.public("online-2");
    desk.done(&["repository", "new-root", "program", "--online", &public]);
    desk.sign_root(&["root-1", "root-2"]);
    desk.done(&[
        "repository",
        "publish",
        "program",
        "--key-file",
        "online-2.key",
        "--to",
        "web",
    ]);
    assert_eq!(terminal.version(&desk), Some(version("1.0.0")));
}

#[test]
fn a_stolen_root_key_is_replaced_by_the_others() {
    let desk = Desk::published();
    let mut terminal = desk.terminal();
    assert!(terminal.version(&desk).is_some());
    desk.key("root-4");
    let keys: Vec<String> = ["root-2", "root-3", "root-4"]
        .iter()
        .map(|name| desk.public(name))
        .collect();
    let mut words = vec!["repository", "new-root", "program"];
    for key in &keys {
        words.extend(["--root", key]);
    }
    desk.done(&words);
    // Two of the new ones are not two of those before: root-4 was none of them.
    desk.sign_root(&["root-4", "root-2"]);
    assert!(desk.refused(&Desk::PUBLISH).contains("root 2 has 1 of 2"));
    desk.sign_root(&["root-3"]);
    desk.publish();
    assert!(terminal.version(&desk).is_some());
    // The stolen key with a stranger's: no terminal walks on to that root.
    let refused = desk.refused(&[
        "repository",
        "sign",
        "program",
        "root",
        "--key-file",
        "online.key",
    ]);
    assert!(refused.contains("not one of those"), "{refused}");
}

#[test]
fn releases_are_signed_by_another_holder_after_a_new_root() {
    let desk = Desk::published();
    let mut terminal = desk.terminal();
    assert!(terminal.version(&desk).is_some());
    desk.key("targets-2");
    let public = desk.public("targets-2");
    desk.done(&["repository", "new-root", "program", "--targets", &public]);
    desk.sign_root(&["root-1", "root-3"]);
    // What is offered was signed by the holder of before: it has to be signed anew.
    assert!(
        desk.refused(&Desk::PUBLISH)
            .contains("targets 1 has 0 of 1")
    );
    desk.done(&["release", "pause", "program", "--key-file", "targets-2.key"]);
    desk.done(&[
        "release",
        "resume",
        "program",
        "--key-file",
        "targets-2.key",
    ]);
    desk.publish();
    assert_eq!(terminal.version(&desk), Some(version("1.0.0")));
    let refused = desk.refused(&["release", "pause", "program", "--key-file", "targets.key"]);
    assert!(refused.contains("not one of those"), "{refused}");
}

#[test]
fn signatures_end_and_are_made_anew_every_day() {
    let desk = Desk::published();
    let mut terminal = desk.terminal();
    assert!(terminal.version(&desk).is_some());
    let late = terminal.refresh(&desk, in_days(15));
    assert!(late.is_err_and(|error| error.code() == "update.metadata-expired"));
    desk.publish();
    assert!(terminal.version(&desk).is_some());
    let shown = desk.done(&["repository", "show", "program"]);
    assert!(
        shown.contains("timestamp: 1 of 1 keys") && shown.contains("13 days left"),
        "{shown}"
    );
}

#[test]
fn who_reads_during_a_publication_sees_the_old_or_the_new() {
    let desk = Desk::published();
    desk.tree(b"the second program");
    desk.add("1.1.0", &["--at-once"]);
    desk.sign();
    let old = desk.path("old");
    copy(&desk.path("web"), &old);
    desk.publish();
    let new = desk.path("new");
    fs::rename(desk.path("web"), &new).unwrap();
    // File by file in the order of publication, as a web server has it meanwhile.
    let order = |path: &Path| {
        let name = path.to_string_lossy();
        (
            name.contains("/metadata/"),
            name.ends_with("timestamp.json"),
            path.to_owned(),
        )
    };
    let mut files: Vec<PathBuf> = desk
        .content("new")
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    files.sort_by_key(|path| order(path));
    copy(&old, &desk.path("web"));
    let mut terminal = desk.terminal();
    let mut seen = Vec::new();
    for file in files {
        let goal = desk.path("web").join(file.strip_prefix(&new).unwrap());
        fs::create_dir_all(goal.parent().unwrap()).unwrap();
        fs::copy(&file, goal).unwrap();
        seen.extend(terminal.version(&desk));
    }
    assert_eq!(seen.first(), Some(&version("1.0.0")));
    assert_eq!(seen.last(), Some(&version("1.1.0")));
    assert!(seen.is_sorted());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let goal = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &goal);
        } else {
            fs::copy(entry.path(), goal).unwrap();
        }
    }
}

#[test]
fn a_terminal_obeys_an_order_of_repair_once() {
    let desk = Desk::published();
    let mut terminal = desk.terminal();
    assert!(terminal.version(&desk).is_some());
    desk.done(&[
        "repository",
        "repair",
        "program",
        "--terminal",
        "T001",
        "--out",
        "order.json",
        "--key-file",
        "targets.key",
    ]);
    let order = fs::read(desk.path("order.json")).unwrap();
    assert!(terminal.trust.repair(&order, "T002", clock::now()).is_err());
    terminal.trust.repair(&order, "T001", clock::now()).unwrap();
    assert!(terminal.trust.repair(&order, "T001", clock::now()).is_err());
}

#[test]
fn what_cannot_be_a_release_is_refused_by_its_name() {
    let desk = Desk::published();
    desk.tree(b"a program");
    std::os::unix::fs::symlink("/etc/passwd", desk.path("tree/link")).unwrap();
    let words = [
        "release",
        "add",
        "program",
        "--version",
        "2.0.0",
        "--files",
        "tree",
        "--hardware",
        "upright-1",
    ];
    let refused = desk.refused(&words);
    assert!(refused.contains("tree/link: only files"), "{refused}");
    fs::remove_file(desk.path("tree/link")).unwrap();
    let half = [&words[..], &["--wave", "5@1h"]].concat();
    assert!(
        desk.refused(&half)
            .contains("waves do not rise to everybody")
    );
    assert!(
        desk.refused(&["release", "show", "elsewhere"])
            .contains("repository init")
    );
}

/// A desk with a repository of items, and a package to offer.
fn desk_of_items() -> Desk {
    let desk = Desk::new();
    let publics: Vec<String> = ["root-1", "root-2"]
        .iter()
        .map(|name| desk.public(name))
        .collect();
    let (targets, online) = (desk.public("targets"), desk.public("online"));
    let mut words = vec!["repository", "init", "items", "--name", "items"];
    for public in &publics {
        words.extend(["--root", public]);
    }
    words.extend(["--targets", &targets, "--online", &online]);
    desk.done(&words);
    for key in ["root-1.key", "root-2.key"] {
        desk.done(&["repository", "sign", "items", "root", "--key-file", key]);
    }
    fs::create_dir_all(desk.path("bus-card/lang")).unwrap();
    fs::write(desk.path("bus-card/item.toml"), "version = 1").unwrap();
    desk
}

#[test]
fn items_of_regions_reach_a_terminal_with_the_lowest_word_last() {
    let desk = desk_of_items();
    let add = [
        "items",
        "add",
        "items",
        "--region",
        "4401",
        "--item",
        "bus-card",
        "--version",
        "1",
        "--files",
        "bus-card",
    ];
    desk.done(&add);
    desk.done(&[
        "items", "remove", "items", "--region", "440113", "--item", "bus-card",
    ]);
    desk.done(&[
        "items",
        "config",
        "items",
        "--region",
        "440113",
        "--set",
        "help_phone=12345",
    ]);
    let shown = desk.done(&["items", "show", "items", "--region", "440113001005"]);
    assert!(
        shown.contains("bus-card not offered, from 440113"),
        "{shown}"
    );
    assert!(
        shown.contains("help_phone = \"12345\", from 440113"),
        "{shown}"
    );
    let elsewhere = desk.done(&["items", "show", "items", "--region", "440106001001"]);
    assert!(elsewhere.contains("bus-card 1, from 4401"), "{elsewhere}");
    desk.done(&["items", "sign", "items", "--key-file", "targets.key"]);
    desk.done(&[
        "repository",
        "publish",
        "items",
        "--key-file",
        "online.key",
        "--to",
        "web",
    ]);
    let part = |name: &str| Directory::open(&desk.path("web/items").join(name)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = fs::read(desk.path("items/metadata/1.root.json")).unwrap();
    let mut trust = Trust::open(&directory.path().join("trust"), &root, clock::now()).unwrap();
    let trusted = trust.refresh(&part("metadata"), clock::now()).unwrap();
    let read = |name: &str| {
        let target = trusted.target(name).unwrap();
        target.read_whole(&part("targets"), 1024 * 1024).unwrap()
    };
    let city = Catalogue::parse(&read(&catalogue_target("4401"))).unwrap();
    let package = &city.packages[0];
    assert_eq!(read_package(&read(&package.target)).unwrap().len(), 1);
    let county = Catalogue::parse(&read(&catalogue_target("440113"))).unwrap();
    assert_eq!(county.removed, ["bus-card"]);
    // What was signed under a version stays so.
    fs::write(desk.path("bus-card/item.toml"), "version = 1 # changed").unwrap();
    assert!(desk.refused(&add).contains("higher version"));
}

#[test]
fn a_file_that_rotted_on_the_desk_is_not_published() {
    let desk = Desk::published();
    let targets = desk.path("program/targets");
    let name = fs::read_dir(&targets)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".chunks"))
        .unwrap();
    let mut content = fs::read(&name).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&name, content).unwrap();
    let refused = desk.refused(&Desk::PUBLISH);
    assert!(
        refused.contains("is not what was written there"),
        "{refused}"
    );
}
