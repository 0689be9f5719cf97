//! A terminal is updated, and what goes wrong on the way ends in a terminal that works: releases that
//! crash, cannot paint, lose the printer or the touch screen; power cuts and full disks at each step.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the scene that fails has nothing to prove"
)]

mod workshop;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use jiff::civil::time as hour;
use jiff::tz::{TimeZone, offset};
use jiff::{SignedDuration, Timestamp};
use kiosk_update::engine::status::Status;
use kiosk_update::engine::{
    Health, Offer, Outcome, Phase, Setting, Source, TRIES_MAX, Terminal, TerminalError, Time,
    Unheard, Updater,
};
use kiosk_update::fetch::{Fetcher, Limit, Lists, Tally};
use kiosk_update::manifest::{Version, Wave};
use kiosk_update::slots::{Directories, Slots};
use kiosk_update::trust::{Role, Sink, Transport, TransportError, TrustError};
use kiosk_update::waves::{Hold, Wait, Window};
use workshop::{Fault, FaultyDisk, Published, publish, time};

const NOW: &str = "2026-11-20T15:00:00Z";
/// More steps than a pass has.
const STEPS_MAX: u32 = 2000;
/// More passes than anything needs.
const PASSES_MAX: u32 = 10;

/// What every scene begins with.
static FIRST: LazyLock<Published> = LazyLock::new(|| program(1, "good"));

/// How a program behaves; its file says so.
fn program(version: u32, behavior: &str) -> Published {
    publish(
        Version::new(version, 0, 0),
        &[
            ("bin/kiosk", format!("{version} {behavior}").into_bytes()),
            ("share/words", b"the same words".repeat(500)),
        ],
    )
}

/// A terminal that does what the file of the program says that was started last.
#[derive(Debug)]
struct Stage {
    current: PathBuf,
    disk: Rc<FaultyDisk>,
    running: String,
    is_busy: bool,
    /// Exams that a visitor keeps from being made.
    visitors: u32,
    /// Exams in which the printer still warms up.
    warming: u32,
    restarts: u32,
    exams: u32,
    /// Visitors come after more starts than these.
    visited_from: u32,
    /// What a program of the package does.
    packaged: String,
    /// What the platform holds back.
    held: Option<Version>,
    /// Questions after which a technician has left the glass.
    leaves_after: Option<u32>,
    /// Slips that are left on the roll; each exam prints one.
    slips: Option<u32>,
}

impl Stage {
    /// Starts what the link names, as a machine does that has power again.
    fn start(&mut self) {
        let file = fs::read_to_string(self.current.join("bin/kiosk"));
        self.running = file.unwrap_or_else(|_| self.packaged.clone());
    }

    fn does(&self, behavior: &str) -> bool {
        self.running.split(' ').any(|word| word == behavior)
    }
}

fn refused(how: &str) -> TerminalError {
    TerminalError::Refused {
        what: "start",
        how: how.to_owned(),
    }
}

impl Terminal for Stage {
    fn is_busy(&mut self) -> bool {
        if let Some(questions) = &mut self.leaves_after {
            *questions = questions.saturating_sub(1);
            return *questions > 0;
        }
        self.is_busy
    }

    fn examine(&mut self) -> Result<Health, TerminalError> {
        self.disk.step().map_err(|_| refused("no power"))?;
        self.exams += 1;
        if self.restarts > self.visited_from && self.visitors > 0 {
            self.visitors -= 1;
            return Err(TerminalError::Occupied);
        }
        if self.does("mute") {
            return Err(refused("it does not answer"));
        }
        let is_empty = self.slips == Some(0) || self.does("liar");
        self.slips = self.slips.map(|left| left.saturating_sub(1));
        let is_warm = self.warming == 0;
        self.warming = self.warming.saturating_sub(1);
        let mut health = Health {
            is_painted: !self.does("dark"),
            touch_devices: usize::from(!self.does("untouched")),
            has_heartbeat: Some(!self.does("unheard")),
            ..Health::default()
        };
        for (test, is_lost) in [
            (
                "slip/slip-printer.pattern",
                self.does("printerless") || is_empty || !is_warm,
            ),
            ("eye/camera.picture", self.does("blind")),
        ] {
            if is_lost {
                let problem = if is_empty {
                    "printer.media-empty"
                } else {
                    "printer.offline"
                };
                health.failed.insert(test.to_owned(), problem.to_owned());
            } else {
                health.passed.insert(test.to_owned());
            }
        }
        Ok(health)
    }

    fn restart(&mut self) -> Result<(), TerminalError> {
        self.disk.step().map_err(|_| refused("no power"))?;
        self.restarts += 1;
        self.start();
        self.warming = if self.does("slow") { 2 } else { 0 };
        if self.does("deadly") {
            self.disk.fault.set(Fault::Cut(0));
        }
        if self.does("crashing") {
            return Err(refused("it crashed"));
        }
        Ok(())
    }

    fn is_held(&mut self, version: Version) -> bool {
        self.held == Some(version)
    }

    fn restart_machine(&mut self) -> Result<(), TerminalError> {
        Err(refused("this terminal has no images"))
    }
}

/// A repository without a line between.
#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    lists: Lists,
    is_reachable: bool,
    expires: Option<Timestamp>,
    requests: RefCell<u32>,
}

impl Shelf {
    fn of(published: &Published) -> Self {
        Self {
            files: published.chunks.clone(),
            lists: published.lists.clone(),
            is_reachable: true,
            ..Self::default()
        }
    }
}

impl Transport for Shelf {
    fn fetch(
        &self,
        name: &str,
        offset: u64,
        _bytes_max: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError> {
        *self.requests.borrow_mut() += 1;
        let file = self.files.get(name).ok_or(TransportError::NotFound)?;
        let rest = &file[usize::try_from(offset).unwrap()..];
        sink(rest)?;
        Ok(rest.len() as u64)
    }
}

impl Source for Shelf {
    fn may_install(&self, now: Timestamp) -> Result<(), TrustError> {
        if self.expires.is_some_and(|expires| now >= expires) {
            let role = Role::Timestamp;
            return Err(TrustError::Expired { role });
        }
        Ok(())
    }

    fn index(&mut self, _name: &str) -> Result<Vec<u8>, TrustError> {
        Ok(self.lists.index.to_bytes())
    }

    fn patches(&mut self, _name: &str) -> Result<Option<Vec<u8>>, TrustError> {
        let patches = &self.lists.patches;
        Ok((!patches.patches.is_empty()).then(|| patches.to_bytes()))
    }

    fn transport(&self) -> &dyn Transport {
        self
    }

    fn is_reachable(&mut self) -> bool {
        self.is_reachable
    }
}

#[derive(Debug)]
struct Clock {
    now: Timestamp,
    elapsed: Duration,
}

impl Time for Clock {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn elapsed(&self) -> Duration {
        self.elapsed
    }

    fn wait(&mut self, length: Duration) {
        self.elapsed += length;
        self.now += SignedDuration::try_from(length).unwrap();
    }
}

struct Scene {
    directory: tempfile::TempDir,
    setting: Setting,
    terminal: Stage,
    clock: Clock,
    disk: Rc<FaultyDisk>,
}

impl Scene {
    /// A terminal that runs release 1, and works.
    fn new() -> Self {
        let mut scene = Self::bare();
        let outcome = scene.pass(&FIRST);
        assert_eq!(
            outcome,
            Outcome::Updated {
                version: Version::new(1, 0, 0)
            }
        );
        scene
    }

    /// A terminal that runs the program of the package.
    fn bare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Rc::new(FaultyDisk::new(Fault::Never));
        let packaged = "0 good".to_owned();
        Self {
            setting: Setting {
                terminal: "T-001".to_owned(),
                region: "440113001005".to_owned(),
                hardware: "kiosk-21".to_owned(),
                zone: TimeZone::fixed(offset(8)),
                window: None,
                packaged: Some(Version::new(0, 1, 0)),
                is_attended: false,
                patience: Duration::from_secs(30),
            },
            terminal: Stage {
                current: directory.path().join("slots/current"),
                disk: Rc::clone(&disk),
                running: packaged.clone(),
                is_busy: false,
                visitors: 0,
                visited_from: 0,
                warming: 0,
                restarts: 0,
                exams: 0,
                packaged,
                held: None,
                leaves_after: None,
                slips: None,
            },
            clock: Clock {
                now: time(NOW),
                elapsed: Duration::ZERO,
            },
            directory,
            disk,
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("slots")
    }

    fn plug(&mut self, fault: Fault) {
        self.disk = Rc::new(FaultyDisk::new(fault));
        self.terminal.disk = Rc::clone(&self.disk);
    }

    fn pass(&mut self, published: &Published) -> Outcome {
        self.pass_with(published, &mut Shelf::of(published))
    }

    fn pass_with(&mut self, published: &Published, source: &mut Shelf) -> Outcome {
        let offer = Offer {
            release: &published.release,
            manifest: &published.manifest,
        };
        self.pass_over(Some(offer), source)
    }

    /// One process of the updater.
    fn pass_over(&mut self, offer: Option<Offer<'_>>, source: &mut Shelf) -> Outcome {
        let disk = Rc::clone(&self.disk);
        let mut slots = match Directories::open(&self.root(), &*disk) {
            Ok(slots) => slots,
            Err(error) => {
                return Outcome::Problem {
                    code: error.code(),
                    words: error.to_string(),
                };
            }
        };
        let chunks = self.directory.path().join("chunks");
        let mut fetcher = Fetcher::new(&*disk, &chunks, Limit::new(u64::MAX, u64::MAX));
        Updater {
            setting: &self.setting,
            slots: &mut slots,
            fetcher: &mut fetcher,
            terminal: &mut self.terminal,
            source,
            time: &mut self.clock,
            told: &mut Unheard,
            tally: Tally::default(),
        }
        .pass(offer)
    }

    fn state(&self) -> kiosk_update::slots::State {
        let slots = Directories::open(&self.root(), &*self.disk).unwrap();
        slots.state().clone()
    }

    /// The machine has power again: names that were not durable are gone, and the terminal starts.
    fn power_on(&mut self, is_forgetful: bool) {
        if is_forgetful {
            self.disk.forget();
        }
        self.plug(Fault::Never);
        self.terminal.start();
    }
}

#[test]
fn a_good_release_is_taken_tried_and_marked_good() {
    let mut scene = Scene::new();
    let next = program(2, "good");
    assert_eq!(
        scene.pass(&next),
        Outcome::Updated {
            version: Version::new(2, 0, 0)
        }
    );
    assert_eq!(scene.terminal.running, "2 good");
    next.assert_in(&scene.root().join("current"));
    assert_eq!(scene.pass(&next), Outcome::UpToDate);
    assert!(!scene.directory.path().join("chunks").exists());
}

/// What becomes of a release that behaves so.
fn check_rolled_back(behavior: &str, code: &str) {
    let mut scene = Scene::new();
    let bad = program(2, behavior);
    let outcome = scene.pass(&bad);
    let Outcome::RolledBack {
        version,
        code: found,
        reason,
    } = outcome
    else {
        panic!("{behavior}: {outcome:?}");
    };
    assert_eq!(
        (version, found.as_str()),
        (Version::new(2, 0, 0), code),
        "{behavior}"
    );
    assert!(!reason.is_empty());
    assert_eq!(scene.terminal.running, "1 good", "{behavior}");
    program(1, "good").assert_in(&scene.root().join("current"));
    let restarts = scene.terminal.restarts;
    // Never again, until its version changes.
    assert_eq!(scene.pass(&bad), Outcome::FailedBefore { version });
    assert_eq!(scene.terminal.restarts, restarts);
    assert_eq!(
        scene.pass(&program(3, "good")),
        Outcome::Updated {
            version: Version::new(3, 0, 0)
        }
    );
    assert_eq!(scene.terminal.running, "3 good");
}

#[test]
fn a_release_that_crashes_at_start_is_taken_back() {
    check_rolled_back("crashing", "update.not-started");
}

#[test]
fn a_release_that_starts_but_cannot_paint_is_taken_back() {
    check_rolled_back("dark", "update.not-painted");
}

#[test]
fn a_release_that_loses_the_printer_is_taken_back() {
    check_rolled_back("printerless", "update.device-lost");
}

#[test]
fn a_release_that_loses_the_touch_screen_is_taken_back() {
    check_rolled_back("untouched", "update.touch-lost");
}

#[test]
fn a_release_that_the_platform_does_not_hear_is_taken_back() {
    check_rolled_back("unheard", "update.no-heartbeat");
}

#[test]
fn a_release_that_does_not_answer_is_taken_back() {
    check_rolled_back("mute", "update.health-unknown");
}

#[test]
fn a_release_that_sees_no_paper_where_there_is_some_is_taken_back() {
    check_rolled_back("liar", "update.device-lost");
}

#[test]
fn a_roll_that_ends_during_the_examinations_takes_no_release_back() {
    let mut scene = Scene::new();
    // The examination before the switch prints the last slip.
    scene.terminal.slips = Some(1);
    let next = program(2, "good");
    let outcome = scene.pass(&next);
    let why = Wait::Doubt;
    assert!(
        matches!(outcome, Outcome::Waiting { why: found, .. } if found == why),
        "{outcome:?}"
    );
    assert_eq!(scene.terminal.running, "1 good");
    assert_eq!(scene.state().failures, []);
    assert!(matches!(scene.pass(&next), Outcome::Updated { .. }));
    assert_eq!(scene.terminal.running, "2 good");
}

#[test]
fn a_technician_who_stands_there_sees_the_paper() {
    let mut scene = Scene::new();
    scene.setting.is_attended = true;
    scene.terminal.slips = Some(1);
    assert!(matches!(
        scene.pass(&program(2, "good")),
        Outcome::Updated { .. }
    ));
}

#[test]
fn a_visitor_puts_off_who_is_to_blame_and_nothing_is_taken_meanwhile() {
    let mut scene = Scene::new();
    let liar = program(2, "liar");
    // The release before is started, and somebody comes.
    scene.terminal.visited_from = scene.terminal.restarts + 1;
    scene.terminal.visitors = 1;
    let outcome = scene.pass(&liar);
    assert!(
        matches!(
            outcome,
            Outcome::Waiting {
                why: Wait::Visit,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(scene.terminal.running, "1 good");
    let state = scene.state();
    let status = Status::new(&outcome, &state, None, None, scene.clock.now);
    assert_eq!(status.last_roll_back, None, "nobody is to blame yet");
    let outcome = scene.pass(&program(3, "good"));
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
    assert!(scene.state().has_failed(Version::new(2, 0, 0)));
    assert!(matches!(
        scene.pass(&program(3, "good")),
        Outcome::Updated { .. }
    ));
}

#[test]
fn a_line_that_is_down_takes_no_release_back() {
    let mut scene = Scene::new();
    let next = program(2, "unheard");
    let mut shelf = Shelf::of(&next);
    shelf.is_reachable = false;
    let outcome = scene.pass_with(&next, &mut shelf);
    assert_eq!(
        outcome,
        Outcome::Updated {
            version: Version::new(2, 0, 0)
        }
    );
}

#[test]
fn what_was_broken_before_may_be_broken_after() {
    let mut scene = Scene::bare();
    scene.terminal.packaged = "0 printerless unheard".to_owned();
    scene.terminal.start();
    let next = program(1, "printerless unheard");
    assert_eq!(
        scene.pass(&next),
        Outcome::Updated {
            version: Version::new(1, 0, 0)
        }
    );
}

#[test]
fn a_terminal_that_does_not_answer_is_mended_by_a_release() {
    let mut scene = Scene::bare();
    scene.terminal.packaged = "0 mute".to_owned();
    scene.terminal.start();
    let next = program(1, "good");
    assert_eq!(
        scene.pass(&next),
        Outcome::Updated {
            version: Version::new(1, 0, 0)
        }
    );
}

#[test]
fn a_printer_that_warms_up_is_waited_for() {
    let mut scene = Scene::new();
    let before = scene.terminal.exams;
    let outcome = scene.pass(&program(2, "good slow"));
    assert_eq!(
        outcome,
        Outcome::Updated {
            version: Version::new(2, 0, 0)
        }
    );
    // One before the switch, and three after it.
    assert_eq!(scene.terminal.exams, before + 4);
    assert!(scene.clock.elapsed > Duration::ZERO);
}

#[test]
fn the_first_release_that_fails_leaves_the_program_of_the_package() {
    let mut scene = Scene::bare();
    let outcome = scene.pass(&program(1, "dark"));
    assert!(matches!(outcome, Outcome::RolledBack { .. }));
    assert_eq!(scene.terminal.running, "0 good");
    assert_eq!(scene.state().current(), None);
}

#[test]
fn a_visit_is_never_interrupted() {
    let mut scene = Scene::new();
    scene.terminal.is_busy = true;
    let next = program(2, "good");
    let outcome = scene.pass(&next);
    assert!(matches!(
        outcome,
        Outcome::Waiting {
            why: Wait::Visit,
            ..
        }
    ));
    assert_eq!(scene.terminal.running, "1 good");
    assert_eq!(
        scene.state().current().unwrap().version,
        Version::new(1, 0, 0)
    );
    scene.terminal.is_busy = false;
    assert!(matches!(scene.pass(&next), Outcome::Updated { .. }));
}

#[test]
fn a_visitor_who_keeps_the_first_examination_away_puts_the_release_off() {
    let mut scene = Scene::new();
    scene.terminal.visitors = 1;
    let next = program(2, "printerless");
    let outcome = scene.pass(&next);
    assert!(
        matches!(
            outcome,
            Outcome::Waiting {
                why: Wait::Visit,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(scene.terminal.running, "1 good");
    // What was not examined is not taken for what never worked.
    let outcome = scene.pass(&next);
    assert!(
        matches!(&outcome, Outcome::RolledBack { code, .. } if code == "update.device-lost"),
        "{outcome:?}"
    );
}

#[test]
fn starts_that_visitors_kept_from_being_judged_are_not_counted() {
    let mut scene = Scene::new();
    let next = program(2, "good");
    scene.terminal.visited_from = scene.terminal.restarts;
    for _ in 0..TRIES_MAX + 2 {
        scene.terminal.visitors = 1000;
        let outcome = scene.pass(&next);
        assert!(
            matches!(
                outcome,
                Outcome::Waiting {
                    why: Wait::Visit,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
    scene.terminal.visitors = 0;
    assert!(matches!(scene.pass(&next), Outcome::Updated { .. }));
}

#[test]
fn what_the_platform_holds_back_waits_until_it_lets_go_and_nothing_else_does() {
    let mut scene = Scene::new();
    let next = program(2, "good");
    scene.terminal.held = Some(next.release.version);
    let hold = Hold::Ordered;
    for is_attended in [false, true] {
        scene.setting.is_attended = is_attended;
        assert_eq!(scene.pass(&next), Outcome::Held { hold });
    }
    assert_eq!(hold.code(), "update.held");
    scene.setting.is_attended = false;
    scene.terminal.held = Some(Version::new(1, 9, 9));
    assert!(matches!(scene.pass(&next), Outcome::Updated { .. }));
}

#[test]
fn a_technician_sets_waves_and_hours_aside_and_nothing_that_holds() {
    let mut scene = Scene::new();
    let mut next = program(2, "good");
    next.release.published_at = time("2026-11-20T14:59:00Z");
    next.release.waves = vec![Wave {
        bound: kiosk_update::manifest::PLACES,
        after_s: 30 * 86_400,
    }];
    scene.setting.window = Some(Window {
        from: hour(1, 0, 0, 0),
        until: hour(2, 0, 0, 0),
    });
    assert!(matches!(scene.pass(&next), Outcome::Waiting { .. }));
    scene.setting.is_attended = true;
    next.release.is_halted = true;
    let hold = Hold::Halted;
    assert_eq!(scene.pass(&next), Outcome::Held { hold });
    next.release.is_halted = false;
    // The technician leaves the glass a while after asking.
    scene.terminal.leaves_after = Some(5);
    assert!(matches!(scene.pass(&next), Outcome::Updated { .. }));
    assert_eq!(scene.terminal.running, "2 good");
}

#[test]
fn a_technician_who_never_leaves_is_not_waited_for_without_end() {
    let mut scene = Scene::new();
    let next = program(2, "good");
    scene.setting.is_attended = true;
    scene.terminal.is_busy = true;
    let outcome = scene.pass(&next);
    assert!(
        matches!(
            outcome,
            Outcome::Waiting {
                why: Wait::Visit,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(scene.terminal.running, "1 good");
}

#[test]
fn visitors_after_the_switch_are_waited_for_and_take_nothing_back() {
    let mut scene = Scene::new();
    scene.terminal.visited_from = scene.terminal.restarts;
    scene.terminal.visitors = 5;
    let next = program(2, "good");
    assert!(matches!(scene.pass(&next), Outcome::Updated { .. }));
    scene.terminal.visited_from = scene.terminal.restarts;
    scene.terminal.visitors = 1000;
    let next = program(3, "good");
    let outcome = scene.pass(&next);
    assert!(
        matches!(
            outcome,
            Outcome::Waiting {
                why: Wait::Visit,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(scene.terminal.running, "3 good", "nobody is interrupted");
    scene.terminal.visitors = 0;
    assert!(matches!(scene.pass(&next), Outcome::Updated { .. }));
}

#[test]
fn a_halted_release_or_one_for_others_is_not_even_fetched() {
    let check = |change: &dyn Fn(&mut Published), hold: Hold| {
        let mut scene = Scene::new();
        let mut next = program(2, "good");
        change(&mut next);
        let mut shelf = Shelf::of(&next);
        assert_eq!(scene.pass_with(&next, &mut shelf), Outcome::Held { hold });
        assert_eq!(*shelf.requests.borrow(), 0);
    };
    check(&|next| next.release.is_halted = true, Hold::Halted);
    check(
        &|next| next.release.regions = Some(vec!["11".to_owned()]),
        Hold::Region,
    );
    check(
        &|next| next.release.hardware = vec!["other".to_owned()],
        Hold::Hardware,
    );
    check(
        &|next| next.release.minimum_version = Version::new(1, 0, 1),
        Hold::TooOld,
    );
}

#[test]
fn a_halt_between_fetch_and_switch_still_holds() {
    let mut scene = Scene::new();
    let next = program(2, "good");
    // The first pass gets no further than the disk has room.
    scene.plug(Fault::Full(12));
    assert!(matches!(
        scene.pass(&next),
        Outcome::Problem {
            code: "update.no-room",
            ..
        }
    ));
    scene.plug(Fault::Never);
    let mut halted = next.clone();
    halted.release.is_halted = true;
    assert_eq!(scene.pass(&halted), Outcome::Held { hold: Hold::Halted });
    assert_eq!(scene.terminal.running, "1 good");
}

#[test]
fn expired_metadata_blocks_installing_and_never_running() {
    let mut scene = Scene::new();
    let next = program(2, "good");
    let mut shelf = Shelf::of(&next);
    shelf.expires = Some(scene.clock.now);
    let outcome = scene.pass_with(&next, &mut shelf);
    let code = "update.metadata-expired";
    assert!(matches!(outcome, Outcome::Problem { code: found, .. } if found == code));
    assert_eq!(*shelf.requests.borrow(), 0);
    assert_eq!(scene.terminal.running, "1 good");
    assert_eq!(scene.pass(&program(1, "good")), Outcome::UpToDate);
}

#[test]
fn waves_and_off_hours_are_kept() {
    let mut scene = Scene::new();
    scene.setting.window = Some(Window {
        from: hour(22, 0, 0, 0),
        until: hour(6, 0, 0, 0),
    });
    let mut next = program(2, "good");
    next.release.waves = vec![Wave {
        bound: 2048,
        after_s: 30 * 86_400,
    }];
    let mut passes = 0;
    let taken = loop {
        let outcome = scene.pass(&next);
        let Outcome::Waiting { until, .. } = outcome else {
            break outcome;
        };
        assert!(until > scene.clock.now);
        scene.clock.now = until;
        passes += 1;
        assert!(passes < PASSES_MAX);
    };
    assert_eq!(
        taken,
        Outcome::Updated {
            version: Version::new(2, 0, 0)
        }
    );
    assert!(passes > 0);
    assert!(scene.clock.now >= next.release.published_at + SignedDuration::from_hours(30 * 24));
}

/// Cuts the power before each step of taking a release, and lets the machine go on.
fn cut_everywhere(behavior: &str) -> u32 {
    let (old, next) = (&*FIRST, program(2, behavior));
    let is_good = behavior == "good";
    for step in 0..STEPS_MAX {
        let mut is_over = true;
        for is_forgetful in [false, true] {
            let mut scene = Scene::new();
            scene.plug(Fault::Cut(step));
            let outcome = scene.pass(&next);
            is_over &= !scene.disk.has_struck();
            if !is_over {
                assert_ne!(outcome, Outcome::UpToDate);
            }
            scene.power_on(is_forgetful);
            let whole = if scene.terminal.running == "1 good" {
                old
            } else {
                &next
            };
            whole.assert_in(&scene.root().join("current"));
            let mut settled = None;
            for _ in 0..PASSES_MAX {
                let outcome = scene.pass(&next);
                if matches!(outcome, Outcome::UpToDate | Outcome::FailedBefore { .. }) {
                    settled = Some(scene.state());
                    break;
                }
                let is_going_on = matches!(
                    outcome,
                    Outcome::Updated { .. } | Outcome::RolledBack { .. }
                );
                assert!(is_going_on, "step {step}: {outcome:?}");
            }
            let state = settled.unwrap_or_else(|| panic!("step {step}: it never settles"));
            assert_eq!(state.trial, None);
            let (running, version) = if is_good {
                ("2 good", 2)
            } else {
                ("1 good", 1)
            };
            assert_eq!(scene.terminal.running, running, "step {step}");
            assert_eq!(state.good.unwrap().version, Version::new(version, 0, 0));
            assert!(!state.is_restart_due);
        }
        if is_over {
            return step;
        }
    }
    panic!("the pass never ends");
}

#[test]
fn a_power_cut_at_any_step_of_a_good_release_ends_in_it() {
    let cuts = cut_everywhere("good");
    assert!(cuts > 55, "{cuts} steps were cut");
}

#[test]
fn a_power_cut_at_any_step_of_a_bad_release_ends_in_the_one_before() {
    let cuts = cut_everywhere("printerless");
    assert!(cuts > 70, "{cuts} steps were cut");
}

#[test]
fn a_power_cut_at_any_step_of_a_release_that_sees_no_paper_ends_in_the_one_before() {
    let cuts = cut_everywhere("liar");
    assert!(cuts > 75, "{cuts} steps were cut");
}

#[test]
fn a_power_cut_at_any_step_after_the_roll_has_ended_blames_nobody() {
    let next = program(2, "good");
    let mut struck = 0;
    for step in 0..STEPS_MAX {
        let mut scene = Scene::new();
        scene.terminal.slips = Some(1);
        scene.plug(Fault::Cut(step));
        drop(scene.pass(&next));
        let is_over = !scene.disk.has_struck();
        scene.power_on(true);
        let mut is_settled = false;
        for _ in 0..PASSES_MAX {
            let outcome = scene.pass(&next);
            assert!(
                !matches!(
                    outcome,
                    Outcome::RolledBack { .. } | Outcome::FailedBefore { .. }
                ),
                "step {step}: {outcome:?}"
            );
            is_settled = outcome == Outcome::UpToDate;
            if is_settled {
                break;
            }
        }
        assert!(
            is_settled && scene.terminal.running == "2 good",
            "step {step}"
        );
        if is_over {
            break;
        }
        struck += 1;
    }
    assert!(struck > 75, "{struck} steps");
}

#[test]
fn an_updater_that_is_killed_after_a_roll_back_still_starts_what_worked() {
    let next = program(2, "dark");
    let mut struck = 0;
    for step in 0..STEPS_MAX {
        let mut scene = Scene::new();
        scene.plug(Fault::Cut(step));
        let outcome = scene.pass(&next);
        if matches!(outcome, Outcome::RolledBack { .. }) {
            break;
        }
        // The updater is gone, but the terminal runs on as it was.
        scene.plug(Fault::Never);
        for _ in 0..PASSES_MAX {
            if matches!(scene.pass(&next), Outcome::FailedBefore { .. }) {
                break;
            }
        }
        assert_eq!(scene.terminal.running, "1 good", "step {step}");
        struck += 1;
    }
    assert!(struck > 70, "{struck} steps");
}

#[test]
fn a_full_disk_at_any_step_is_said_and_leaves_a_terminal_that_works() {
    let next = program(2, "good");
    let mut refusals = 0;
    for step in 0..STEPS_MAX {
        let mut scene = Scene::new();
        scene.plug(Fault::Full(step));
        let outcome = scene.pass(&next);
        if let Outcome::Problem { code, .. } = &outcome {
            assert_eq!(*code, "update.no-room", "step {step}");
            refusals += 1;
        }
        scene.plug(Fault::Never);
        let is_over = matches!(outcome, Outcome::Updated { .. });
        for _ in 0..PASSES_MAX {
            if scene.pass(&next) == Outcome::UpToDate {
                break;
            }
        }
        assert_eq!(scene.terminal.running, "2 good", "step {step}: {outcome:?}");
        assert_eq!(scene.state().good.unwrap().version, Version::new(2, 0, 0));
        if is_over {
            break;
        }
    }
    assert!(refusals > 30, "{refusals} steps found no room");
}

#[test]
fn a_release_that_takes_the_machine_down_is_given_up_after_a_few_tries() {
    let next = program(2, "deadly");
    let mut scene = Scene::new();
    let mut passes = 0;
    let code = loop {
        let outcome = scene.pass(&next);
        passes += 1;
        if let Outcome::RolledBack { code, .. } = &outcome {
            break code.clone();
        }
        assert!(passes <= TRIES_MAX + 1, "it is tried for ever: {outcome:?}");
        scene.power_on(true);
    };
    assert_eq!(code, "update.tries-spent");
    assert_eq!(passes, TRIES_MAX + 1);
    assert_eq!(scene.terminal.running, "1 good");
    assert_eq!(
        scene.pass(&next),
        Outcome::FailedBefore {
            version: Version::new(2, 0, 0)
        }
    );
}

#[test]
fn what_is_on_trial_is_settled_without_an_offer() {
    let next = program(2, "good");
    for step in 0..STEPS_MAX {
        let mut scene = Scene::new();
        scene.plug(Fault::Cut(step));
        drop(scene.pass(&next));
        scene.power_on(true);
        if scene.state().trial.is_none() {
            continue;
        }
        let mut nothing = Shelf::default();
        let outcome = scene.pass_over(None, &mut nothing);
        assert_eq!(
            outcome,
            Outcome::Updated {
                version: Version::new(2, 0, 0)
            }
        );
        assert_eq!(scene.pass_over(None, &mut nothing), Outcome::NothingOffered);
        return;
    }
    panic!("nothing was ever on trial");
}

#[test]
fn the_status_says_what_runs_and_why_the_last_one_does_not() {
    let mut scene = Scene::new();
    let bad = program(2, "printerless");
    let outcome = scene.pass(&bad);
    let expires = Some(time("2026-12-20T00:00:00Z"));
    let status = Status::new(
        &outcome,
        &scene.state(),
        Some(bad.release.version),
        expires,
        scene.clock.now,
    );
    let path = scene.directory.path().join("status.json");
    status.write(&*scene.disk, &path).unwrap();
    let read = Status::parse(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(read, status);
    assert_eq!(read.running, Some(Version::new(1, 0, 0)));
    assert_eq!(read.phase, Phase::RolledBack);
    assert_eq!(read.code.as_deref(), Some("update.device-lost"));
    let failure = read.last_roll_back.unwrap();
    assert_eq!(failure.version, Version::new(2, 0, 0));
    assert!(
        failure.reason.contains("slip-printer.pattern"),
        "{}",
        failure.reason
    );
    assert_eq!(read.metadata_expires, expires);
    assert!(Path::new(&scene.root().join(read.slot.unwrap())).is_dir());
}
