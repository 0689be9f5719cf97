//! The program itself, from a signed repository to the slots: what `kiosk-updater.service` runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use kiosk_update::fetch::{Chunks, Index, pack};
use kiosk_update::manifest::{Entry, Mode, Release, Sha256, Version};
use serde_json::Value;

use super::repository::{ROLES, Repository};
use super::server::Server;

/// A repository that is in force whenever this test runs.
fn repository() -> Repository {
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
fn publish(repository: &mut Repository, version: Version, program: &[u8]) {
    let folder = repository.path().join("chunks");
    let chunks = pack(program, &mut |chunk, packed| {
        let path = folder.join(chunk.name());
        fs::create_dir_all(path.parent().unwrap())?;
        fs::write(path, packed)
    })
    .unwrap();
    let path = "bin/kiosk".to_owned();
    let entry = Entry {
        path: path.clone(),
        size: program.len() as u64,
        sha256: Sha256::of(program),
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
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(repository: &Repository, url: &str) -> Self {
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
             examine = [\"/bin/sh\", \"{examine}\"]\nbusy = [\"/bin/true\"]\n",
            machine.path("state"),
        );
        fs::write(machine.path("updater.toml"), config).unwrap();
        machine
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_kiosk-updater"))
            .args(["--config", &self.path("updater.toml")])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn status(&self) -> Value {
        let bytes = fs::read(self.path("state/status.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn running(&self) -> Vec<u8> {
        fs::read(Path::new(&self.path("state/slots/current/bin/kiosk"))).unwrap()
    }
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
