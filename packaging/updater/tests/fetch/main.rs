//! A fetch brings what is missing and nothing else, over a line that breaks, from a repository that
//! lies, onto a disk that fills and loses power.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the scene that fails has nothing to prove"
)]

mod patches;
#[path = "../workshop/mod.rs"]
mod workshop;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use kiosk_update::fetch::{CHUNK_BYTES_MAX, FetchError, Fetcher, Limit, Supply, Watch};
use kiosk_update::manifest::Version;
use kiosk_update::slots::{Content, Disk, LocalDisk};
use kiosk_update::trust::{Directory, Sink, Transport, TransportError};
use workshop::{Fault, FaultyDisk, Published, noise, publish};

/// What the line does to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// Breaks after so many bytes of each request.
    BreakAfter(usize),
    /// Changes a bit, so many times.
    Tamper(u32),
    /// Never ends.
    Endless,
    /// Ends early and says that this was all.
    Short,
    /// Is not there.
    Missing,
}

/// A repository behind a line.
#[derive(Debug, Default)]
struct Line {
    files: BTreeMap<String, Vec<u8>>,
    tricks: RefCell<BTreeMap<String, Trick>>,
    /// Requests until the line is dead.
    requests_left: Cell<Option<u32>>,
    requests: RefCell<Vec<(String, u64)>>,
}

impl Line {
    fn to(published: &Published) -> Self {
        Self {
            files: published.chunks.clone(),
            ..Self::default()
        }
    }

    fn play(&self, name: &str, trick: Trick) {
        self.tricks.borrow_mut().insert(name.to_owned(), trick);
    }
}

fn too_slow() -> TransportError {
    TransportError::TooSlow {
        bytes_min: 1,
        window_s: 30,
    }
}

impl Transport for Line {
    fn fetch(
        &self,
        name: &str,
        offset: u64,
        bytes_max: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError> {
        if let Some(left) = self.requests_left.get() {
            let left = left.checked_sub(1).ok_or_else(too_slow)?;
            self.requests_left.set(Some(left));
        }
        self.requests.borrow_mut().push((name.to_owned(), offset));
        let file = self.files.get(name).ok_or(TransportError::NotFound)?;
        let mut rest = file[usize::try_from(offset).unwrap()..].to_vec();
        let mut tricks = self.tricks.borrow_mut();
        match tricks.get_mut(name) {
            None | Some(Trick::Tamper(0)) => {}
            Some(Trick::BreakAfter(count)) => {
                sink(&rest[..rest.len().min(*count)])?;
                return if rest.len() <= *count {
                    Ok(rest.len() as u64)
                } else {
                    Err(too_slow())
                };
            }
            Some(Trick::Tamper(times)) => {
                *times -= 1;
                rest[0] ^= 1;
            }
            Some(Trick::Endless) => {
                for _ in 0..10_000 {
                    sink(&[0; 4096])?;
                }
            }
            Some(Trick::Short) => rest.truncate(rest.len() - 1),
            Some(Trick::Missing) => return Err(TransportError::NotFound),
        }
        assert!(rest.len() as u64 <= bytes_max);
        sink(&rest)?;
        Ok(rest.len() as u64)
    }
}

/// Time that passes only by waiting.
#[derive(Debug, Default)]
struct Hours {
    now: Duration,
    /// Questions that are answered yes before a visit begins.
    until_visit: Option<u32>,
}

impl Watch for Hours {
    fn elapsed(&self) -> Duration {
        self.now
    }

    fn wait(&mut self, length: Duration) {
        self.now += length;
    }

    fn may_go_on(&mut self) -> bool {
        match &mut self.until_visit {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// No cap that a test would notice.
fn fast() -> Limit {
    Limit::new(u64::MAX, u64::MAX)
}

/// The old release and the new one.
static RELEASES: LazyLock<(Published, Published)> = LazyLock::new(|| {
    let mut program = noise(1, 1_000_000);
    let words = b"fine words ".repeat(10_000);
    let old = publish(
        Version::new(1, 0, 0),
        &[
            ("bin/kiosk", program.clone()),
            ("share/words", words.clone()),
        ],
    );
    program.splice(500_000..500_004, *b"one line more");
    let new = publish(
        Version::new(2, 0, 0),
        &[
            ("bin/kiosk", program),
            ("share/words", words),
            ("share/empty", Vec::new()),
        ],
    );
    (old, new)
});

struct Scene {
    directory: tempfile::TempDir,
    old: Published,
    new: Published,
}

impl Scene {
    /// A program of which a line changes; the old one is installed.
    fn new() -> Self {
        let (old, new) = RELEASES.clone();
        Self::of(old, new)
    }

    /// The old release is installed, the new one published.
    fn of(old: Published, new: Published) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (entry, content) in old.release.files.iter().zip(&old.files) {
            let path = directory.path().join("a").join(&entry.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self {
            directory,
            old,
            new,
        }
    }

    fn running(&self) -> PathBuf {
        self.directory.path().join("a")
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("chunks")
    }

    fn fetch<'a>(
        &self,
        disk: &'a dyn Disk,
        running: Option<&Path>,
        line: &dyn Transport,
        watch: &mut Hours,
    ) -> Result<Supply<'a>, FetchError> {
        let lists = self.new.lists.clone();
        Fetcher::new(disk, &self.store(), fast()).fetch(
            &self.new.release,
            lists,
            running,
            line,
            watch,
        )
    }

    /// Asserts that the supply is the release, byte for byte.
    fn assert_brought(&self, supply: &Supply<'_>) {
        for (number, content) in self.new.files.iter().enumerate() {
            let mut brought = Vec::new();
            supply.open(number).read_to_end(&mut brought).unwrap();
            assert!(brought == *content, "file {number}");
        }
    }
}

#[test]
fn what_runs_already_is_not_fetched_again() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let mut hours = Hours::default();
    let supply = scene
        .fetch(&LocalDisk, Some(&scene.running()), &line, &mut hours)
        .unwrap();
    scene.assert_brought(&supply);
    assert!(supply.tally.fetched <= 2, "{:?}", supply.tally);
    assert!(supply.tally.bytes < 2 * u64::from(CHUNK_BYTES_MAX));
    assert_eq!(
        supply.tally.reused + supply.tally.fetched,
        supply.tally.chunks
    );
}

#[test]
fn a_whole_release_comes_from_a_directory() {
    let scene = Scene::new();
    let stick = tempfile::tempdir().unwrap();
    for (name, packed) in &scene.new.chunks {
        let path = stick.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, packed).unwrap();
    }
    let directory = Directory::open(stick.path()).unwrap();
    let supply = scene
        .fetch(&LocalDisk, None, &directory, &mut Hours::default())
        .unwrap();
    scene.assert_brought(&supply);
    assert_eq!(supply.tally.fetched, supply.tally.chunks);
}

#[test]
fn a_fetch_goes_on_after_the_process_was_started_anew() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let mut passes = 0;
    let mut bytes = 0;
    loop {
        passes += 1;
        line.requests_left.set(Some(4));
        match scene.fetch(&LocalDisk, None, &line, &mut Hours::default()) {
            Ok(supply) => {
                scene.assert_brought(&supply);
                bytes += supply.tally.bytes;
                break;
            }
            Err(error) => assert_eq!(error.code(), "update.too-slow"),
        }
        assert!(passes < 100);
    }
    assert!(passes > 3);
    assert!(bytes > 0);
    let asked = line.requests.borrow();
    let different: std::collections::BTreeSet<_> = asked.iter().collect();
    assert_eq!(asked.len(), different.len(), "a chunk was fetched twice");
}

#[test]
fn a_line_that_breaks_goes_on_where_it_broke() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let (name, packed) = scene
        .new
        .chunks
        .iter()
        .max_by_key(|(_, packed)| packed.len())
        .unwrap();
    line.play(name, Trick::BreakAfter(packed.len() / 3 + 1));
    let supply = scene
        .fetch(&LocalDisk, None, &line, &mut Hours::default())
        .unwrap();
    scene.assert_brought(&supply);
    let asked = line.requests.borrow();
    let offsets: Vec<u64> = asked
        .iter()
        .filter(|(asked, _)| asked == name)
        .map(|(_, offset)| *offset)
        .collect();
    let third = packed.len() as u64 / 3 + 1;
    assert_eq!(offsets, [0, third, 2 * third]);
    let whole: usize = scene.new.chunks.values().map(Vec::len).sum();
    assert_eq!(supply.tally.bytes, whole as u64);
}

#[test]
fn a_line_that_only_breaks_is_given_up() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let (name, _) = scene.new.chunks.first_key_value().unwrap();
    line.play(name, Trick::BreakAfter(1));
    let mut hours = Hours::default();
    let outcome = scene.fetch(&LocalDisk, None, &line, &mut hours);
    assert!(matches!(outcome, Err(FetchError::Transport(_))));
    assert!(line.requests.borrow().len() <= 4);
    assert!(
        hours.now > Duration::ZERO,
        "it was tried again without a pause"
    );
}

#[test]
fn a_tampered_chunk_is_refused_fetched_once_more_and_then_reported() {
    let check = |trick, is_mended: bool, requests: usize| {
        let scene = Scene::new();
        let line = Line::to(&scene.new);
        let (name, _) = scene.new.chunks.first_key_value().unwrap();
        line.play(name, trick);
        let outcome = scene.fetch(&LocalDisk, None, &line, &mut Hours::default());
        match outcome {
            Ok(supply) => {
                assert!(is_mended, "{trick:?}");
                scene.assert_brought(&supply);
            }
            Err(error) => {
                assert!(!is_mended, "{trick:?}: {error:?}");
                let code = if trick == Trick::Missing {
                    "update.file-missing"
                } else {
                    "update.chunk-wrong"
                };
                assert_eq!(error.code(), code, "{trick:?}");
            }
        }
        let asked = line.requests.borrow();
        assert_eq!(
            asked.iter().filter(|(asked, _)| asked == name).count(),
            requests,
            "{trick:?}"
        );
    };
    check(Trick::Tamper(1), true, 2);
    check(Trick::Tamper(2), false, 2);
    check(Trick::Short, false, 2);
    check(Trick::Missing, false, 1);
    check(Trick::Endless, false, 2);
}

#[test]
fn endless_data_is_cut_off_at_what_was_signed() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let (name, packed) = scene.new.chunks.first_key_value().unwrap();
    line.play(name, Trick::Endless);
    let disk = FaultyDisk::new(Fault::Never);
    let outcome = scene.fetch(&disk, None, &line, &mut Hours::default());
    assert!(outcome.is_err());
    let kept: u64 = fs::read_dir(scene.store())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(kept <= packed.len() as u64);
}

#[test]
fn a_kept_chunk_or_a_running_file_that_rotted_is_not_believed() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    drop(
        scene
            .fetch(&LocalDisk, None, &line, &mut Hours::default())
            .unwrap(),
    );
    for entry in fs::read_dir(scene.store()).unwrap().take(3) {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[0] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let program = scene.running().join("bin/kiosk");
    let mut bytes = scene.old.files[0].clone();
    bytes[10] ^= 1;
    fs::write(&program, &bytes).unwrap();
    let supply = scene
        .fetch(
            &LocalDisk,
            Some(&scene.running()),
            &line,
            &mut Hours::default(),
        )
        .unwrap();
    scene.assert_brought(&supply);
    // Between the search and the use as well.
    bytes[300_000] ^= 1;
    fs::write(&program, &bytes).unwrap();
    let mut brought = Vec::new();
    let error = supply.open(0).read_to_end(&mut brought).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn without_room_nothing_is_fetched() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let disk = FaultyDisk::new(Fault::Never);
    disk.free
        .set(kiosk_update::fetch::ROOM_LEFT_BYTES + 1_000_000);
    let error = scene
        .fetch(&disk, Some(&scene.running()), &line, &mut Hours::default())
        .unwrap_err();
    assert!(matches!(error, FetchError::NoRoom { .. }));
    assert_eq!(error.code(), "update.no-room");
    assert_eq!(line.requests.borrow().len(), 0);
}

#[test]
fn a_visit_pauses_the_fetch_and_keeps_what_came() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let mut hours = Hours {
        until_visit: Some(5),
        ..Hours::default()
    };
    let error = scene
        .fetch(&LocalDisk, None, &line, &mut hours)
        .unwrap_err();
    assert!(matches!(error, FetchError::Paused));
    assert_eq!(line.requests.borrow().len(), 5);
    let supply = scene
        .fetch(&LocalDisk, None, &line, &mut Hours::default())
        .unwrap();
    assert_eq!(supply.tally.kept, 5);
    scene.assert_brought(&supply);
}

#[test]
fn the_cap_leaves_the_line_to_the_village() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let mut hours = Hours::default();
    let limit = Limit::new(20_000, u64::from(CHUNK_BYTES_MAX));
    let supply = Fetcher::new(&LocalDisk, &scene.store(), limit)
        .fetch(
            &scene.new.release,
            scene.new.lists.clone(),
            None,
            &line,
            &mut hours,
        )
        .unwrap();
    let most = 20_000 * u128::from(hours.now.as_secs() + 1) + u128::from(CHUNK_BYTES_MAX);
    assert!(u128::from(supply.tally.bytes) <= most);
    assert!(hours.now > Duration::from_secs(30), "{:?}", hours.now);
}

#[test]
fn a_list_of_another_release_is_refused() {
    let scene = Scene::new();
    let line = Line::to(&scene.new);
    let outcome = Fetcher::new(&LocalDisk, &scene.store(), fast()).fetch(
        &scene.new.release,
        scene.old.lists.clone(),
        None,
        &line,
        &mut Hours::default(),
    );
    assert_eq!(outcome.unwrap_err().code(), "update.release-malformed");
}

#[test]
fn a_power_cut_or_a_full_disk_at_any_step_of_a_fetch_costs_no_more_than_one_chunk() {
    for fault in [Fault::Cut, Fault::Full] {
        let mut faults = 0;
        for step in 0..2000 {
            let scene = Scene::new();
            let line = Line::to(&scene.new);
            let disk = FaultyDisk::new(fault(step));
            let running = scene.running();
            let is_over = scene
                .fetch(&disk, Some(&running), &line, &mut Hours::default())
                .is_ok();
            let fetched = line.requests.borrow().len();
            disk.fault.set(Fault::Never);
            let supply = scene
                .fetch(&disk, Some(&running), &line, &mut Hours::default())
                .unwrap();
            scene.assert_brought(&supply);
            assert!(
                supply.tally.kept + 1 >= fetched,
                "{fetched} fetched, {:?}",
                supply.tally
            );
            if is_over {
                break;
            }
            faults += 1;
        }
        assert!((5..1999).contains(&faults), "{faults} steps");
    }
}
