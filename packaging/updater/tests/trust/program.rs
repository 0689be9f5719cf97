//! The program itself, from a signed repository to the slots: what `kiosk-updater.service` runs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use kiosk_update::fetch::{Chunk, Chunks, Index, Patch, Patches, pack, patch};
use kiosk_update::manifest::{Entry, Mode, Release, Sha256, Version};
use serde_json::Value;

use super::repository::{ROLES, Repository};
use super::server::Server;

/// A repository that is in force whenever this test runs.
pub(crate) fn repository() -> Repository {
    let mut repository = Repository::empty();
    for role in ROLES {
        let end = "2099-01-01T00:00:00Z".parse().unwrap();
        repository.expires.insert(role, end);
    }
    repository.publish_root();
    repository.publish_targets();
    repository
}

/// Publishes a release of one program, open to everybody.
pub(crate) fn publish(repository: &mut Repository, version: Version, program: &[u8]) {
    publish_as(repository, version, "bin/kiosk", program);
}

/// Lays content out in chunks.
fn lay_out(repository: &Repository, content: &[u8]) -> Vec<Chunk> {
    let folder = repository.path().join("chunks");
    let chunks = pack(content, &mut |chunk, packed| {
        let path = folder.join(chunk.name());
        fs::create_dir_all(path.parent().unwrap())?;
        fs::write(path, packed)
    });
    chunks.unwrap()
}

/// Publishes a release of which nothing is there but a patch from the program before.
fn publish_patch(repository: &mut Repository, version: Version, before: &[u8], program: &[u8]) {
    publish(repository, version, program);
    fs::remove_dir_all(repository.path().join("chunks")).unwrap();
    let chunks = lay_out(repository, &patch::make(before, program).unwrap());
    let patch = Patch {
        path: "bin/kiosk".to_owned(),
        from: Sha256::of(before),
        chunks,
    };
    let patches = vec![patch];
    let list = Patches { patches }.to_bytes();
    repository.release(&format!("release-{version}.patches"), &list);
}

/// Publishes a release of one file, open to everybody.
pub(crate) fn publish_as(
    repository: &mut Repository,
    version: Version,
    path: &str,
    content: &[u8],
) {
    let chunks = lay_out(repository, content);
    let path = path.to_owned();
    let entry = Entry {
        path: path.clone(),
        size: content.len() as u64,
        sha256: Sha256::of(content),
        mode: Mode::Program,
    };
    let published_at = "2026-11-01T00:00:00Z".parse().unwrap();
    let mut release = Release::new(version, vec![entry], published_at);
    release.hardware.push("bench".to_owned());
    let mut index = Index::default();
    index.files.push(Chunks { path, chunks });
    repository.release(&release.chunks, &index.to_bytes());
    repository.release("release.json", &release.to_bytes().unwrap());
}

/// A terminal whose self-test passes.
pub(crate) struct Machine(tempfile::TempDir);

impl Machine {
    pub(crate) fn new(repository: &Repository, url: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        let root = machine.path("root.json");
        fs::write(&root, repository.root_bytes(1)).unwrap();
        let examine = machine.path("examine");
        let script = "echo '{\"is_terminal_running\": true, \"tests\": []}'\n";
        fs::write(&examine, script).unwrap();
        let config = format!(
            "[terminal]\nid = \"T001\"\nregion = \"440100000000\"\nhardware = \"bench\"\n\
             [repository]\nurl = \"{url}\"\n[line]\nbytes_per_s = 100000000\n\
             [paths]\nstate = \"{}\"\nroot = \"{root}\"\n\
             [programs]\nrestart = [\"/bin/true\"]\nrestart_machine = [\"/bin/false\"]\n\
             examine = [\"/bin/sh\", \"{examine}\"]\nbusy = [\"/bin/true\"]\nheld = [\"/bin/true\"]\n",
            machine.path("state"),
        );
        fs::write(machine.path("updater.toml"), config).unwrap();
        machine
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kiosk-updater"))
            .args(["--config", &self.path("updater.toml")])
            .args(arguments)
            .output()
            .unwrap()
    }

    pub(crate) fn status(&self) -> Value {
        let bytes = fs::read(self.path("state/status.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    pub(crate) fn running(&self) -> Vec<u8> {
        fs::read(Path::new(&self.path("state/slots/current/bin/kiosk"))).unwrap()
    }
}

#[test]
fn the_program_rebuilds_what_runs_over_the_line_and_from_a_stick() {
    let program = |lines: usize| {
        let mut text = String::new();
        for line in 0..50_000 {
            let more = if line < 25_000 { 0 } else { lines };
            writeln!(text, "{:x}", (line + more) * 2_654_435_761_usize).unwrap();
        }
        text.into_bytes()
    };
    let mut repository = repository();
    let server = Server::start(repository.path());
    let url = server.url("").trim_end_matches('/').to_owned();
    let machine = Machine::new(&repository, &url);
    publish(&mut repository, Version::new(9, 0, 0), &program(0));
    let first = machine.ask(&["run"]);
    assert!(first.status.success(), "{first:?}");
    publish_patch(
        &mut repository,
        Version::new(9, 1, 0),
        &program(0),
        &program(1),
    );
    let second = machine.ask(&["run"]);
    assert!(second.status.success(), "{second:?}");
    assert!(machine.running() == program(1));
    publish_patch(
        &mut repository,
        Version::new(9, 2, 0),
        &program(1),
        &program(2),
    );
    let stick = repository.path().to_str().unwrap().to_owned();
    let third = machine.ask(&["run", "--directory", &stick]);
    assert!(third.status.success(), "{third:?}");
    assert!(machine.running() == program(2));
    assert!(!Path::new(&machine.path("state/chunks")).exists());
    // Whoever has something else finds no chunks, keeps what runs, and says so.
    let other = Machine::new(&repository, &url);
    let nothing = other.ask(&["run"]);
    assert!(!nothing.status.success());
    assert_eq!(other.status()["code"], "update.file-missing");
}

#[test]
fn the_program_takes_what_is_signed_and_nothing_else() {
    let mut repository = repository();
    let server = Server::start(repository.path());
    let url = server.url("").trim_end_matches('/').to_owned();
    let machine = Machine::new(&repository, &url);
    let nothing = machine.ask(&["run"]);
    assert!(nothing.status.success(), "{nothing:?}");
    publish(&mut repository, Version::new(9, 0, 0), b"the first program");
    let first = machine.ask(&["run"]);
    assert!(first.status.success(), "{first:?}");
    assert_eq!(machine.running(), b"the first program");
    assert_eq!(machine.status()["running"], "9.0.0");
    // By the stick, with the same trust.
    publish(
        &mut repository,
        Version::new(9, 1, 0),
        b"the second program",
    );
    let stick = repository.path().to_str().unwrap().to_owned();
    let second = machine.ask(&["run", "--directory", &stick]);
    assert!(second.status.success(), "{second:?}");
    assert_eq!(machine.running(), b"the second program");
    // A stranger's signature.
    repository.signers.insert("timestamp", vec![99]);
    publish(
        &mut repository,
        Version::new(9, 2, 0),
        b"a stranger's program",
    );
    let stranger = machine.ask(&["run"]);
    assert!(!stranger.status.success());
    assert_eq!(machine.running(), b"the second program");
    assert_eq!(machine.status()["code"], "update.unsigned");
    let standing: Value = serde_json::from_slice(&machine.ask(&["standing"]).stdout).unwrap();
    assert_eq!(standing["is_damaged"], false);
    assert_eq!(standing["root"], 1);
}

/// Stands in for the terminal: does what the file of the program says that the link names, counts how
/// often it was asked, and at the question of a chosen number ends the updater, or does what `act` says.
const STAND_IN: &str = r#"cd "$(dirname "$0")"
count=$(($(cat count 2>/dev/null || echo 0) + 1))
echo $count > count
test "$(cat kill_at 2>/dev/null)" = $count && kill -9 $PPID
test "$(cat act_at 2>/dev/null)" = $count && sh ./act
case $1 in
examine)
    case "$(cat state/slots/current/bin/kiosk 2>/dev/null)" in
    *printerless*) verdict=failed ;;
    *) verdict=passed ;;
    esac
    printf '{"is_terminal_running": true, "tests": [{"test": "slip-printer.pattern", "device": "slip", "verdict": "%s", "problem": "printer.offline"}]}' $verdict ;;
held) test "$(cat held 2>/dev/null)" != "$2" || exit 4 ;;
esac
"#;

impl Machine {
    /// A terminal whose programs are the stand-in, and whose sticks are below its own directory.
    pub(crate) fn acted(repository: &Repository, url: &str) -> Self {
        let machine = Self::new(repository, url);
        let terminal = machine.path("terminal");
        fs::write(&terminal, STAND_IN).unwrap();
        let media = machine.path("media");
        fs::create_dir_all(&media).unwrap();
        let words = |what: &str| format!("[\"/bin/sh\", \"{terminal}\", \"{what}\"]");
        let config = format!(
            "[terminal]\nid = \"T001\"\nregion = \"440100000000\"\nhardware = \"bench\"\n\
             [repository]\nurl = \"{url}\"\n[line]\nbytes_per_s = 100000000\n[trial]\npatience_s = 0\n\
             [paths]\nstate = \"{}\"\nroot = \"{}\"\nwish = \"{}\"\nsticks = [\"{media}\"]\n\
             [programs]\nrestart = {}\nrestart_machine = [\"/bin/false\"]\nexamine = {}\nbusy = {}\nheld = {}\n",
            machine.path("state"),
            machine.path("root.json"),
            machine.path("wish.json"),
            words("restart"),
            words("examine"),
            words("busy"),
            words("held"),
        );
        fs::write(machine.path("updater.toml"), config).unwrap();
        machine
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        fs::write(self.path(name), value).unwrap();
    }

    pub(crate) fn wish(&self, id: &str, stick: &str) {
        let wish = serde_json::json!({"format": 1, "id": id, "person": "w1", "stick": stick});
        self.set("wish.json", &wish.to_string());
    }

    pub(crate) fn stick(&self) -> Value {
        let bytes = fs::read(self.path("state/stick.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Changes a line of the configuration.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let path = self.path("updater.toml");
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{from}");
        fs::write(&path, after).unwrap();
    }

    fn exams(&self) -> String {
        fs::read_to_string(self.path("count")).unwrap()
    }
}

/// Copies a repository to a stick.
pub(crate) fn copy(repository: &Repository, place: &str) {
    fs::create_dir_all(Path::new(place).parent().unwrap()).unwrap();
    let copied = Command::new("/bin/cp")
        .args(["-r", repository.path().to_str().unwrap(), place])
        .status();
    assert!(copied.unwrap().success());
}

/// A terminal that runs 9.0.0, and where releases for it are published.
pub(crate) fn scene() -> (Repository, Server, Machine) {
    let mut repository = repository();
    publish(&mut repository, Version::new(9, 0, 0), b"first");
    let server = Server::start(repository.path());
    let url = server.url("").trim_end_matches('/').to_owned();
    let machine = Machine::acted(&repository, &url);
    let first = machine.ask(&["run"]);
    assert!(first.status.success(), "{first:?}");
    assert_eq!(machine.running(), b"first");
    (repository, server, machine)
}

#[test]
fn a_release_that_loses_the_printer_is_taken_back_and_not_tried_again() {
    let (mut repository, _server, machine) = scene();
    publish(&mut repository, Version::new(9, 1, 0), b"printerless");
    assert!(!machine.ask(&["run"]).status.success());
    assert_eq!(machine.running(), b"first");
    let status = machine.status();
    assert_eq!(status["phase"], "rolled-back");
    assert_eq!(status["code"], "update.device-lost");
    assert_eq!(status["last_roll_back"]["version"], "9.1.0");
    let before = machine.exams();
    assert!(!machine.ask(&["run"]).status.success());
    assert_eq!(machine.status()["code"], "update.failed-before");
    assert_eq!(machine.running(), b"first");
    // The visit is asked after, nothing is examined or started.
    let asked =
        machine.exams().trim().parse::<u32>().unwrap() - before.trim().parse::<u32>().unwrap();
    assert!(asked <= 1, "{asked}");
    publish(&mut repository, Version::new(9, 2, 0), b"mended");
    assert!(machine.ask(&["run"]).status.success());
    assert_eq!(machine.running(), b"mended");
}

#[test]
fn an_updater_that_is_killed_at_any_question_leaves_old_or_new_and_ends_with_new() {
    let mut struck = 0;
    for at in 1..=20_u32 {
        let (mut repository, _server, machine) = scene();
        publish(&mut repository, Version::new(9, 1, 0), b"second");
        machine.set("count", "0");
        machine.set("kill_at", &at.to_string());
        let killed = machine.ask(&["run"]);
        if killed.status.code().is_some() {
            assert!(killed.status.success(), "{killed:?}");
            assert_eq!(machine.running(), b"second");
            break;
        }
        struck += 1;
        let running = machine.running();
        assert!(running == b"first" || running == b"second", "{at}");
        machine.set("kill_at", "0");
        let next = machine.ask(&["run"]);
        assert!(next.status.success(), "{at}: {next:?}");
        assert_eq!(machine.running(), b"second", "{at}");
        assert_eq!(machine.status()["running"], "9.1.0");
    }
    assert!((4..20).contains(&struck), "{struck}");
}

#[test]
fn what_the_platform_holds_back_and_what_has_expired_is_not_taken() {
    let (mut repository, _server, machine) = scene();
    publish(&mut repository, Version::new(9, 1, 0), b"second");
    machine.set("held", "9.1.0\n");
    assert!(!machine.ask(&["run"]).status.success());
    assert_eq!(machine.status()["code"], "update.held");
    assert_eq!(machine.running(), b"first");
    machine.set("held", "");
    let over = "2026-11-02T00:00:00Z".parse().unwrap();
    repository.expires.insert("timestamp", over);
    repository.publish_timestamp();
    assert!(!machine.ask(&["run"]).status.success());
    assert_eq!(machine.status()["phase"], "problem");
    assert_eq!(machine.running(), b"first");
    repository
        .expires
        .insert("timestamp", "2099-01-01T00:00:00Z".parse().unwrap());
    repository.publish_timestamp();
    let taken = machine.ask(&["run"]);
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(machine.running(), b"second");
}

#[test]
fn a_wish_takes_what_is_signed_from_a_stick_and_is_answered_once() {
    let (mut repository, _server, machine) = scene();
    let stick = machine.path("media/STICK");
    machine.wish("wish-1", &stick);
    assert!(!machine.ask(&["stick"]).status.success());
    assert_eq!(machine.stick()["code"], "update.stick-missing");
    fs::create_dir_all(format!("{stick}/kiosk-updates")).unwrap();
    machine.wish("wish-2", &stick);
    assert!(!machine.ask(&["stick"]).status.success());
    assert_eq!(machine.stick()["code"], "update.stick-empty");
    publish(&mut repository, Version::new(9, 1, 0), b"second");
    copy(&repository, &format!("{stick}/kiosk-updates/program"));
    // The same wish again asks for nothing.
    assert!(machine.ask(&["stick"]).status.success());
    assert_eq!(machine.running(), b"first");
    machine.wish("wish-3", &stick);
    let taken = machine.ask(&["stick"]);
    assert!(taken.status.success(), "{taken:?}");
    assert_eq!(machine.running(), b"second");
    let told = machine.stick();
    assert_eq!(
        (&told["phase"], &told["code"]),
        (&"done".into(), &"".into())
    );
    assert_eq!(told["version"], "9.1.0");
    machine.wish("wish-4", &stick);
    assert!(!machine.ask(&["stick"]).status.success());
    assert_eq!(machine.stick()["code"], "update.nothing-newer");
}

#[test]
fn a_stick_that_nobody_has_signed_changes_nothing() {
    let (mut repository, _server, machine) = scene();
    repository.signers.insert("timestamp", vec![99]);
    publish(
        &mut repository,
        Version::new(9, 1, 0),
        b"a stranger's program",
    );
    let stick = machine.path("media/STICK");
    copy(&repository, &format!("{stick}/program"));
    machine.wish("wish-1", &stick);
    assert!(!machine.ask(&["stick"]).status.success());
    assert_eq!(machine.stick()["code"], "update.unsigned");
    assert_eq!(machine.running(), b"first");
}
