//! What the updater believes: the attacks on The Update Framework, torn disks, wrong clocks and bad
//! lines, each against a repository that these tests sign themselves.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod attacks;
mod clocks;
mod conformance;
mod disks;
mod https;
mod images;
mod lines;
mod program;
mod pulled;
mod repository;
mod room;
mod server;

use std::path::Path;

use kiosk_update::trust::{Directory, Http, Pace, Trust, TrustError, Trusted};

use repository::{Repository, now};
use server::Server;

/// A terminal with an empty store and the repository's first root.
struct Terminal {
    store: tempfile::TempDir,
    root: Vec<u8>,
}

impl Terminal {
    fn new(repository: &Repository) -> Self {
        Self {
            store: tempfile::tempdir().unwrap(),
            root: repository.root_bytes(1),
        }
    }

    /// As after every start: the first root is passed again.
    fn trust(&self) -> Trust {
        let built_at = "2026-11-01T00:00:00Z".parse().unwrap();
        Trust::open(self.store.path(), &self.root, built_at).unwrap()
    }

    fn refresh(&self, repository: &Path) -> Result<Trusted, TrustError> {
        let metadata = Directory::open(&repository.join("metadata")).unwrap();
        self.trust().refresh(&metadata, now())
    }

    fn refresh_at(&self, repository: &Path, now: jiff::Timestamp) -> Result<Trusted, TrustError> {
        let metadata = Directory::open(&repository.join("metadata")).unwrap();
        self.trust().refresh(&metadata, now)
    }

    fn refresh_from(&self, server: &Server) -> Result<Trusted, TrustError> {
        self.trust().refresh(&http(server, "metadata"), now())
    }

    /// The directory of the one generation that is believed.
    fn generation(&self) -> std::path::PathBuf {
        let entries = std::fs::read_dir(self.store.path()).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        paths
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("metadata-")
            })
            .unwrap()
    }
}

fn http(server: &Server, part: &str) -> Http {
    let pace = Pace {
        connect: std::time::Duration::from_secs(5),
        window: std::time::Duration::from_millis(300),
        window_bytes_min: 1000,
    };
    Http::new(&server.url(part), None, pace, now()).unwrap()
}

/// The code that a refusal has.
#[track_caller]
fn code(outcome: Result<Trusted, TrustError>) -> &'static str {
    outcome.unwrap_err().code()
}
