//! Items come from a signed repository of their own: each region says what its terminals get, a set is
//! taken whole or not at all, and what goes wrong on the way leaves the set in force.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the scene that fails has nothing to prove"
)]

#[path = "trust/repository.rs"]
#[expect(dead_code, reason = "what breaks metadata is tested beside it")]
mod repository;
mod workshop;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use kiosk_update::fetch::{Limit, Watch};
use kiosk_update::items::{
    Catalogue, Check, ItemsOutcome, ItemsPass, PackageEntry, Refusal, SetDescription, Sets,
    Setting, catalogue_target, pack, package_target,
};
use kiosk_update::manifest::Sha256;
use kiosk_update::slots::{Disk, LocalDisk};
use kiosk_update::trust::{Directory, Sink, Transport, TransportError, Trust};
use repository::{Repository, day, now};
use workshop::{Fault, FaultyDisk};

const CITY: &str = "4401";
const VILLAGE: &str = "440113001005";
const OTHER_VILLAGE: &str = "440113001006";
/// More steps than a pass has.
const STEPS_MAX: u32 = 2000;

/// What the operator publishes.
struct Operator {
    repository: Repository,
    catalogues: BTreeMap<String, Catalogue>,
}

thread_local! {
    /// Packing hard takes long, and many scenes have the same packages.
    static PACKED: RefCell<BTreeMap<(String, u32), Vec<u8>>> = RefCell::default();
}

/// The package of an item whose every version says what it is.
fn package(item: &str, version: u32) -> Vec<u8> {
    PACKED.with_borrow_mut(|packed| {
        let new = || newly_packed(item, version);
        packed
            .entry((item.to_owned(), version))
            .or_insert_with(new)
            .clone()
    })
}

fn newly_packed(item: &str, version: u32) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("lang")).unwrap();
    let text = format!("id = \"{item}\"\nversion = {version}\n");
    fs::write(directory.path().join("item.toml"), text).unwrap();
    fs::write(directory.path().join("lang/en.toml"), "name = \"x\"\n").unwrap();
    pack(directory.path()).unwrap()
}

fn entry(item: &str, version: u32, packed: &[u8]) -> PackageEntry {
    PackageEntry {
        item: item.to_owned(),
        version,
        target: package_target(item, version),
        bytes: packed.len() as u64,
        sha256: Sha256::of(packed),
    }
}

impl Operator {
    fn new() -> Self {
        let mut repository = Repository::empty();
        repository.publish_root();
        repository.publish_targets();
        Self {
            repository,
            catalogues: BTreeMap::new(),
        }
    }

    fn region(&mut self, region: &str) -> &mut Catalogue {
        let new = || Catalogue::new(region);
        self.catalogues.entry(region.to_owned()).or_insert_with(new)
    }

    /// A region offers a version of an item from the next publication on.
    fn offer(&mut self, region: &str, item: &str, version: u32) {
        let packed = package(item, version);
        self.repository.add(&package_target(item, version), &packed);
        let packages = &mut self.region(region).packages;
        packages.retain(|package| package.item != item);
        packages.push(entry(item, version, &packed));
    }

    fn publish(&mut self) {
        for (region, catalogue) in &self.catalogues {
            let bytes = catalogue.to_bytes().unwrap();
            self.repository.add(&catalogue_target(region), &bytes);
        }
        self.repository.publish_targets();
    }
}

/// A terminal's program that looks at sets.
#[derive(Default)]
struct Program {
    version: u32,
    is_busy: bool,
    is_deaf: bool,
    /// An item that it refuses.
    refuses: Option<&'static str>,
    looks: u32,
}

impl Check for Program {
    fn program(&self) -> Option<String> {
        Some(self.version.to_string())
    }

    fn check(&mut self, set: &Path) -> Result<(), Refusal> {
        self.looks += 1;
        if self.is_deaf {
            return Err(Refusal::Unknown("it cannot be asked".to_owned()));
        }
        match self
            .refuses
            .filter(|item| set.join("items").join(item).is_dir())
        {
            Some(item) => Err(Refusal::Wrong(format!("{item}/item.toml:3: format"))),
            None => Ok(()),
        }
    }

    fn is_busy(&mut self) -> bool {
        self.is_busy
    }
}

/// The line from the repository, which breaks and is counted.
struct Line {
    directory: Directory,
    /// Most bytes of a package that come in one go.
    bytes_max: Cell<u64>,
    fetched: RefCell<BTreeMap<String, u64>>,
}

impl Transport for Line {
    fn fetch(
        &self,
        name: &str,
        offset: u64,
        bytes_max: u64,
        sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError> {
        // A catalogue is small enough to come in one go.
        let mut left = if name.starts_with("package/") {
            self.bytes_max.get()
        } else {
            u64::MAX
        };
        let mut came = 0;
        let outcome = self.directory.fetch(name, offset, bytes_max, &mut |piece| {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            sink(&piece[..count])?;
            left -= count as u64;
            came += count as u64;
            if count < piece.len() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Ok(())
        });
        *self
            .fetched
            .borrow_mut()
            .entry(name.to_owned())
            .or_default() += came;
        match outcome {
            // As a server says that has a bad moment.
            Err(TransportError::Io(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(TransportError::Refused { status: 503 })
            }
            outcome => outcome,
        }
    }
}

#[derive(Default)]
struct Course {
    elapsed: Duration,
    /// False after so many questions.
    patience: Option<u32>,
}

impl Watch for Course {
    fn elapsed(&self) -> Duration {
        self.elapsed
    }

    fn wait(&mut self, length: Duration) {
        self.elapsed += length;
    }

    fn may_go_on(&mut self) -> bool {
        match &mut self.patience {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// A terminal.
struct Terminal {
    directory: tempfile::TempDir,
    region: &'static str,
    program: Program,
    course: Course,
    line: Line,
    root: Vec<u8>,
    at: Timestamp,
}

impl Terminal {
    fn new(operator: &Operator, region: &'static str) -> Self {
        let targets = operator.repository.path().join("targets");
        Self {
            directory: tempfile::tempdir().unwrap(),
            region,
            program: Program::default(),
            course: Course::default(),
            line: Line {
                directory: Directory::open(&targets).unwrap(),
                bytes_max: Cell::new(u64::MAX),
                fetched: RefCell::default(),
            },
            root: operator.repository.root_bytes(1),
            at: now(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn look(&mut self, operator: &Operator) -> ItemsOutcome {
        self.look_on(operator, &LocalDisk)
    }

    fn look_on(&mut self, operator: &Operator, disk: &dyn Disk) -> ItemsOutcome {
        let problem = |code, words: String| ItemsOutcome::Problem { code, words };
        let metadata = Directory::open(&operator.repository.path().join("metadata")).unwrap();
        let built = Timestamp::UNIX_EPOCH;
        let mut trust = Trust::open(&self.path("trust"), &self.root, built).unwrap();
        let trusted = match trust.refresh(&metadata, self.at) {
            Ok(trusted) => trusted,
            Err(error) => return problem(error.code(), error.to_string()),
        };
        let mut sets = match Sets::open(&self.path("sets"), disk) {
            Ok(sets) => sets,
            Err(error) => return problem(error.code(), error.to_string()),
        };
        ItemsPass {
            region: self.region,
            trusted: &trusted,
            targets: &self.line,
            sets: &mut sets,
            disk,
            packages: &self.directory.path().join("packages"),
            limit: &mut Limit::new(1000, 1000),
            watch: &mut self.course,
            check: &mut self.program,
        }
        .run(self.at)
    }

    /// The versions in force, and that what is there is whole.
    fn items(&self) -> BTreeMap<String, u32> {
        let current = self.path("sets/current");
        let Ok(description) = fs::read(current.join("set.json")) else {
            assert!(!current.is_symlink(), "a set without its description");
            return BTreeMap::new();
        };
        let description = SetDescription::parse(&description).unwrap();
        let items: BTreeMap<String, u32> = description
            .items
            .iter()
            .map(|(item, (version, _))| (item.clone(), *version))
            .collect();
        for (item, version) in &items {
            let directory = current.join("items").join(item);
            let text = fs::read_to_string(directory.join("item.toml")).unwrap();
            assert!(text.contains(&format!("version = {version}\n")), "{text}");
            assert!(directory.join("lang/en.toml").is_file());
        }
        let count = fs::read_dir(current.join("items")).unwrap().count();
        assert_eq!(count, items.len(), "nothing else is in the set");
        items
    }

    fn settings(&self) -> String {
        fs::read_to_string(self.path("sets/current/region.toml")).unwrap()
    }
}

fn versions(expected: &[(&str, u32)]) -> BTreeMap<String, u32> {
    let named = |(item, version): &(&str, u32)| ((*item).to_owned(), *version);
    expected.iter().map(named).collect()
}

fn assert_switched(outcome: &ItemsOutcome) {
    assert!(
        matches!(outcome, ItemsOutcome::Switched { .. }),
        "{outcome:?}"
    );
}

/// A city with two items, and a village terminal that has them.
fn scene() -> (Operator, Terminal) {
    let mut operator = Operator::new();
    operator.offer(CITY, "allowance", 1);
    operator.offer(CITY, "bus-card", 1);
    operator.publish();
    let mut terminal = Terminal::new(&operator, VILLAGE);
    assert_switched(&terminal.look(&operator));
    assert_eq!(
        terminal.items(),
        versions(&[("allowance", 1), ("bus-card", 1)])
    );
    (operator, terminal)
}

#[test]
fn a_region_that_says_nothing_changes_nothing() {
    let mut operator = Operator::new();
    operator.offer("4402", "allowance", 1);
    operator.publish();
    let mut terminal = Terminal::new(&operator, VILLAGE);
    assert_eq!(terminal.look(&operator), ItemsOutcome::NothingOffered);
    assert!(terminal.items().is_empty());
}

#[test]
fn a_village_gets_an_item_before_its_city_and_nobody_else_does() {
    let (mut operator, mut village) = scene();
    let mut other = Terminal::new(&operator, OTHER_VILLAGE);
    assert_switched(&other.look(&operator));
    operator.offer(VILLAGE, "allowance", 2);
    operator.publish();
    assert_switched(&village.look(&operator));
    assert_eq!(
        village.items(),
        versions(&[("allowance", 2), ("bus-card", 1)])
    );
    let outcome = other.look(&operator);
    assert!(
        matches!(outcome, ItemsOutcome::UpToDate { .. }),
        "{outcome:?}"
    );
    assert_eq!(
        other.items(),
        versions(&[("allowance", 1), ("bus-card", 1)])
    );
    // The trial went well: the city follows, and the village changes nothing.
    operator.offer(CITY, "allowance", 2);
    operator
        .catalogues
        .insert(VILLAGE.to_owned(), Catalogue::new(VILLAGE));
    operator.publish();
    assert_switched(&other.look(&operator));
    assert_eq!(other.items(), village.items());
    let outcome = village.look(&operator);
    assert!(
        matches!(outcome, ItemsOutcome::UpToDate { .. }),
        "{outcome:?}"
    );
}

#[test]
fn what_a_county_removes_and_sets_holds_below_it() {
    let (mut operator, mut terminal) = scene();
    let county = operator.region("440113");
    county.removed.push("bus-card".to_owned());
    let phone = Setting::Text("020-12345".to_owned());
    county.settings.insert("help_phone".to_owned(), phone);
    let board = Setting::Texts(vec!["周三停电".to_owned()]);
    operator
        .region(VILLAGE)
        .settings
        .insert("board".to_owned(), board);
    operator.publish();
    assert_switched(&terminal.look(&operator));
    assert_eq!(terminal.items(), versions(&[("allowance", 1)]));
    let settings = terminal.settings();
    assert!(
        settings.contains("help_phone = \"020-12345\""),
        "{settings}"
    );
    assert!(settings.contains("周三停电"), "{settings}");
    let description = fs::read(terminal.path("sets/current/set.json")).unwrap();
    let description = SetDescription::parse(&description).unwrap();
    assert_eq!(description.removed["bus-card"], "440113");
    assert_eq!(description.settings["board"], VILLAGE);
}

#[test]
fn the_older_version_of_one_item_comes_back_when_the_operator_says_so() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    assert_switched(&terminal.look(&operator));
    operator.offer(CITY, "allowance", 1);
    operator.publish();
    assert_switched(&terminal.look(&operator));
    assert_eq!(
        terminal.items(),
        versions(&[("allowance", 1), ("bus-card", 1)])
    );
}

#[test]
fn the_older_catalogue_does_not_come_back_when_a_server_says_so() {
    let (mut operator, mut terminal) = scene();
    let old = fs::read(operator.repository.metadata("timestamp.json")).unwrap();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    assert_switched(&terminal.look(&operator));
    fs::write(operator.repository.metadata("timestamp.json"), old).unwrap();
    let outcome = terminal.look(&operator);
    assert!(outcome.code().is_some(), "{outcome:?}");
    assert_eq!(
        terminal.items(),
        versions(&[("allowance", 2), ("bus-card", 1)])
    );
}

#[test]
fn expired_metadata_changes_nothing_and_what_is_in_force_stays() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    terminal.at = day(31);
    let outcome = terminal.look(&operator);
    assert_eq!(
        outcome.code(),
        Some("update.metadata-expired"),
        "{outcome:?}"
    );
    assert_eq!(
        terminal.items(),
        versions(&[("allowance", 1), ("bus-card", 1)])
    );
}

#[test]
fn only_what_is_new_is_fetched_and_a_broken_line_goes_on_where_it_broke() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    let size = package("allowance", 2).len() as u64;
    terminal.line.fetched.borrow_mut().clear();
    // More pieces than one pass has tries.
    terminal.line.bytes_max.set(size / 6 + 1);
    let outcome = terminal.look(&operator);
    assert_eq!(outcome.code(), Some("update.unreachable"), "{outcome:?}");
    assert_eq!(terminal.items()["allowance"], 1);
    assert_switched(&terminal.look(&operator));
    assert_eq!(terminal.items()["allowance"], 2);
    let fetched = terminal.line.fetched.borrow();
    let packages = fetched
        .iter()
        .filter(|(name, _)| name.starts_with("package/"));
    let fetched: Vec<_> = packages.collect();
    assert_eq!(fetched.len(), 1, "the other item was here: {fetched:?}");
    assert_eq!(*fetched[0].1, size, "no byte came twice");
}

#[test]
fn the_bandwidth_cap_holds() {
    let mut operator = Operator::new();
    for version in 0..40 {
        operator.offer(CITY, &format!("item-{version}"), version);
    }
    operator.publish();
    let mut terminal = Terminal::new(&operator, VILLAGE);
    assert_switched(&terminal.look(&operator));
    let fetched = terminal.line.fetched.borrow();
    let packages = fetched
        .iter()
        .filter(|(name, _)| name.starts_with("package/"));
    let bytes: u64 = packages.map(|(_, bytes)| bytes).sum();
    assert!(bytes > 4000);
    // A thousand bytes a second, after the first thousand.
    assert!(terminal.course.elapsed >= Duration::from_millis(bytes - 1000));
}

#[test]
fn a_look_that_ends_early_keeps_what_it_has() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.offer(CITY, "pension", 1);
    operator.publish();
    terminal.course.patience = Some(1);
    assert_eq!(terminal.look(&operator), ItemsOutcome::Paused);
    assert_eq!(
        terminal.items(),
        versions(&[("allowance", 1), ("bus-card", 1)])
    );
    terminal.line.fetched.borrow_mut().clear();
    terminal.course.patience = None;
    assert_switched(&terminal.look(&operator));
    let fetched = terminal.line.fetched.borrow();
    let packages = fetched.keys().filter(|name| name.starts_with("package/"));
    assert_eq!(packages.count(), 1, "the first was kept");
}

#[test]
fn a_set_that_the_program_refuses_is_not_tried_again_until_it_or_the_program_changes() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "pension", 1);
    operator.publish();
    terminal.program.refuses = Some("pension");
    let looks = terminal.program.looks;
    for _ in 0..3 {
        let outcome = terminal.look(&operator);
        assert_eq!(outcome.code(), Some("items.set-refused"));
        assert!(
            outcome.to_string().contains("pension/item.toml:3"),
            "{outcome}"
        );
        assert_eq!(
            terminal.items(),
            versions(&[("allowance", 1), ("bus-card", 1)])
        );
    }
    assert_eq!(terminal.program.looks, looks + 1);
    assert!(!terminal.path("sets/staging").exists());
    // Another program may know the item.
    terminal.program.version = 2;
    terminal.look(&operator);
    assert_eq!(terminal.program.looks, looks + 2);
    // And so may another set be right.
    operator
        .region(CITY)
        .packages
        .retain(|package| package.item != "pension");
    operator.offer(CITY, "allowance", 3);
    operator.publish();
    assert_switched(&terminal.look(&operator));
}

#[test]
fn a_program_that_cannot_be_asked_refuses_nothing_for_good() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    terminal.program.is_deaf = true;
    let outcome = terminal.look(&operator);
    assert_eq!(outcome.code(), Some("items.not-checked"));
    terminal.program.is_deaf = false;
    assert_switched(&terminal.look(&operator));
}

#[test]
fn the_set_that_a_visit_began_with_is_not_taken_away_from_under_it() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    terminal.program.is_busy = true;
    let began_with = fs::canonicalize(terminal.path("sets/current")).unwrap();
    // Beside what the visit reads there is room for one more set, and for no third.
    assert_switched(&terminal.look(&operator));
    operator.offer(CITY, "allowance", 3);
    operator.publish();
    assert_eq!(terminal.look(&operator), ItemsOutcome::Waiting);
    assert!(began_with.join("items/allowance/item.toml").is_file());
    terminal.program.is_busy = false;
    assert_switched(&terminal.look(&operator));
    assert_eq!(terminal.items()["allowance"], 3);
}

#[test]
fn what_was_not_signed_as_the_catalogue_says_is_refused() {
    for lie in 0..4 {
        let (mut operator, mut terminal) = scene();
        operator.offer(CITY, "allowance", 2);
        let last = operator.region(CITY).packages.last_mut().unwrap();
        match lie {
            // The target of another version under this one's name.
            0 => last.target = package_target("allowance", 1),
            1 => last.sha256 = Sha256::of(b"other"),
            2 => last.bytes += 1,
            _ => last.target = package_target("nowhere", 1),
        }
        operator.publish();
        let outcome = terminal.look(&operator);
        assert_eq!(outcome.code(), Some("items.catalogue-malformed"), "{lie}");
        assert_eq!(terminal.items()["allowance"], 1);
    }
}

#[test]
fn a_catalogue_under_the_name_of_another_region_is_refused() {
    let (mut operator, mut terminal) = scene();
    let bytes = Catalogue::new("4402").to_bytes().unwrap();
    operator
        .repository
        .release(&catalogue_target(VILLAGE), &bytes);
    let outcome = terminal.look(&operator);
    assert_eq!(outcome.code(), Some("items.catalogue-malformed"));
    operator
        .repository
        .release(&catalogue_target(VILLAGE), b"{");
    let outcome = terminal.look(&operator);
    assert_eq!(outcome.code(), Some("items.catalogue-malformed"));
    assert_eq!(
        terminal.items(),
        versions(&[("allowance", 1), ("bus-card", 1)])
    );
}

#[test]
fn a_signed_package_that_breaks_a_rule_is_refused_and_nothing_of_it_stays() {
    let (mut operator, mut terminal) = scene();
    let evil = b"no package at all";
    operator.repository.add(&package_target("evil", 1), evil);
    let packages = &mut operator.region(CITY).packages;
    packages.push(entry("evil", 1, evil));
    operator.publish();
    let outcome = terminal.look(&operator);
    assert_eq!(outcome.code(), Some("items.package-malformed"));
    assert!(!terminal.path("sets/staging").exists());
    assert_eq!(
        terminal.items(),
        versions(&[("allowance", 1), ("bus-card", 1)])
    );
}

#[test]
fn a_package_that_changed_on_the_way_or_on_the_disk_is_never_used() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    let packed = package("allowance", 2);
    let hash = Sha256::of(&packed);
    let folder = operator.repository.path().join("targets/package");
    let served = folder.join(format!("{hash}.allowance-2.tar.zst"));
    for wrong in [
        &packed[1..],
        b"x",
        &[&packed[..], b"more"].concat()[..],
        &[b"y", &packed[1..]].concat()[..],
    ] {
        fs::write(&served, wrong).unwrap();
        let outcome = terminal.look(&operator);
        assert!(outcome.code().is_some(), "{outcome:?}");
        assert_eq!(terminal.items()["allowance"], 1);
    }
    // What an earlier pass left is looked at before it is used.
    fs::write(&served, &packed).unwrap();
    let kept = terminal.path("packages").join(hash.to_string());
    fs::write(&kept, [b"y", &packed[1..]].concat()).unwrap();
    fs::write(kept.with_extension("part"), b"zzz").unwrap();
    assert_switched(&terminal.look(&operator));
    assert_eq!(terminal.items()["allowance"], 2);
}

#[test]
fn a_full_disk_is_told_before_anything_is_fetched() {
    let (mut operator, mut terminal) = scene();
    operator.offer(CITY, "allowance", 2);
    operator.publish();
    terminal.line.fetched.borrow_mut().clear();
    let disk = FaultyDisk::new(Fault::Never);
    disk.free.set(1024 * 1024);
    let outcome = terminal.look_on(&operator, &disk);
    assert_eq!(outcome.code(), Some("update.no-room"));
    let fetched = terminal.line.fetched.borrow();
    assert!(fetched.keys().all(|name| name.starts_with("catalogue/")));
    drop(fetched);
    assert_eq!(terminal.items()["allowance"], 1);
}

/// Strikes at each step of a switch from one set to the next in turn; how many there were.
fn strike_everywhere(fault: fn(u32) -> Fault, is_forgetful: bool) -> u32 {
    let old = versions(&[("allowance", 1), ("bus-card", 1)]);
    let new = versions(&[("allowance", 2), ("pension", 1)]);
    for step in 0..STEPS_MAX {
        let (mut operator, mut terminal) = scene();
        operator.offer(CITY, "allowance", 2);
        operator.offer(CITY, "pension", 1);
        operator
            .region(CITY)
            .packages
            .retain(|package| package.item != "bus-card");
        operator.publish();
        let disk = FaultyDisk::new(fault(step));
        let outcome = terminal.look_on(&operator, &disk);
        if is_forgetful {
            disk.forget();
        }
        let found = terminal.items();
        assert!(found == old || found == new, "step {step}: {found:?}");
        if let ItemsOutcome::Switched { .. } = outcome {
            assert_eq!(found, new, "step {step}: what was told is durable");
        }
        // The terminal starts again with power and room, and is none the worse.
        drop(Sets::open(&terminal.path("sets"), &LocalDisk).unwrap());
        let found = terminal.items();
        assert!(found == old || found == new, "step {step}: {found:?}");
        let again = terminal.look(&operator);
        assert_eq!(again.code(), None, "step {step}: {again:?}");
        assert_eq!(terminal.items(), new, "step {step}");
        if !disk.has_struck() {
            return step;
        }
    }
    panic!("a pass never ends");
}

#[test]
fn a_power_cut_at_any_step_leaves_the_old_set_or_the_new_one() {
    assert!(strike_everywhere(Fault::Cut, false) > 40);
    assert!(strike_everywhere(Fault::Cut, true) > 40);
}

#[test]
fn a_disk_that_fills_up_at_any_step_leaves_the_old_set_or_the_new_one() {
    assert!(strike_everywhere(Fault::Full, false) > 40);
}

#[test]
fn a_lost_state_is_found_anew_from_what_is_in_force() {
    let (operator, mut terminal) = scene();
    for wrong in [
        &b"{"[..],
        b"",
        b"{\"format\":9,\"current\":null,\"refused\":null}",
    ] {
        fs::write(terminal.path("sets/state.json"), wrong).unwrap();
        let outcome = terminal.look(&operator);
        assert!(
            matches!(outcome, ItemsOutcome::UpToDate { .. }),
            "{outcome:?}"
        );
        assert_eq!(
            terminal.items(),
            versions(&[("allowance", 1), ("bus-card", 1)])
        );
    }
}

#[test]
fn two_updaters_never_write_at_once() {
    let (operator, mut terminal) = scene();
    let other = Sets::open(&terminal.path("sets"), &LocalDisk).unwrap();
    let outcome = terminal.look(&operator);
    assert_eq!(outcome.code(), Some("update.already-running"));
    drop(other);
    assert_eq!(terminal.look(&operator).code(), None);
}
