//! A real `PostgreSQL` for tests: made in a temporary directory, reached by a socket in it, and
//! ended with the test program however that ends. Without `PostgreSQL` the test fails and says
//! which package to install: a contract that was tried on one engine only was not tried.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, NoTls};

/// Where distributions put the server's programs, and what to do when there are none.
const PROGRAMS: &str = "/usr/lib/postgresql";
const ADVICE: &str = "PostgreSQL is needed for this test: apt-get install postgresql";
/// Ends the server and clears up when the pipe from the test program closes.
const WATCH: &str = "read -r _; \"$@\" stop -m immediate; rm -rf \"$DIRECTORY\"";

/// A server of this test program.
pub(crate) struct Cluster {
    directory: PathBuf,
    databases: AtomicU32,
}

impl Cluster {
    /// The one server of this test program.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A new empty database, as the URL of a platform's configuration.
    pub(crate) fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::SeqCst));
        let mut client = Client::connect(&self.url("postgres"), NoTls).unwrap();
        client
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .unwrap();
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        let host = self.directory.to_str().unwrap().replace('/', "%2F");
        format!("postgres://platform@{host}/{database}")
    }

    fn start() -> Self {
        let programs = programs();
        let directory = tempfile::Builder::new()
            .prefix("kiosk-postgresql")
            .tempdir()
            .unwrap()
            .keep();
        let data = directory.join("data");
        let is_root = stdout(Command::new("id").arg("-u")) == "0";
        if is_root {
            run(Command::new("chown").arg("postgres:").arg(&directory));
        }
        let as_owner = |program: &str| {
            let path = programs.join(program);
            if !is_root {
                return Command::new(path);
            }
            // The server refuses to be root.
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
            command.arg(path);
            command
        };
        run(as_owner("initdb")
            .args(["--auth=trust", "--username=platform", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data));
        let options = format!(
            "-k {} -c listen_addresses= -c fsync=off -c shared_buffers=16MB",
            directory.display()
        );
        run(as_owner("pg_ctl")
            .args(["start", "--wait", "--options", &options, "--log"])
            .arg(directory.join("log"))
            .arg("--pgdata")
            .arg(&data));
        watch(&as_owner("pg_ctl"), &directory, &data);
        Self {
            directory,
            databases: AtomicU32::new(0),
        }
    }
}

/// The newest programs that are installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(PROGRAMS).expect(ADVICE);
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let version = version.ok()?;
            let number = version.file_name().to_str()?.parse().ok()?;
            let programs = version.path().join("bin");
            programs
                .join("initdb")
                .exists()
                .then_some((number, programs))
        })
        .collect();
    found.sort();
    found.pop().expect(ADVICE).1
}

/// Leaves a child behind that ends the server when this program ends, even by a signal.
fn watch(stop: &Command, directory: &Path, data: &Path) {
    let child = Command::new("sh")
        .args(["-c", WATCH, "sh"])
        .arg(stop.get_program())
        .args(stop.get_args())
        .args(["--pgdata".as_ref(), data.as_os_str()])
        .env("DIRECTORY", directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its end of the pipe stays open until this program ends.
    std::mem::forget(child);
}

fn run(command: &mut Command) {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
