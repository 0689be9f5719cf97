//! How often in a row this terminal has ended badly, and what follows: after four bad ends it starts
//! in safe mode, which serves nobody and drives nothing, so that what crashes cannot crash again.
//!
//! Kept in a small file beside the store and not in it: the store may be what crashes. A file that
//! cannot be read or written never keeps the terminal from starting. Power cuts are no crashes;
//! ordered restarts and good ends count nothing; five good minutes set the count back.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Name of the file in the directory of the durable state.
pub const NAME: &str = "boot.json";
/// Where a thread that fails says so with its last breath.
const LAST_WORDS: &str = "last-words.txt";
/// Bad ends in a row that lead to safe mode. Chosen: what one more start cannot mend, a fourth one
/// will not either; with the pause between two starts this is reached within half a minute.
pub const CRASHES_MAX: u32 = 4;
/// Times in a row that the whole machine went down before five good minutes. Chosen: a village's
/// power may come and go for an hour; a driver that takes the kernel down does so for ever.
const OUTAGES_MAX: u32 = 12;
/// Bad ends in safe mode that lead to the bare one, which opens nothing at all. Chosen.
const SAFE_CRASHES_MAX: u32 = 2;
/// Both loops have turned for so long: the program runs. Chosen: longer than any device takes to be
/// opened for the third time.
pub(crate) const PROVEN: Duration = Duration::from_mins(5);
/// Bad ends that are remembered.
const ENDS_MAX: usize = 8;
/// Largest file that is believed, in bytes; a full one has some 2 KiB.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// Longest words about an end, in bytes.
const WORDS_BYTES_MAX: usize = 200;
/// Looks at the lock of the file, and the pause between two: a writer holds it for milliseconds.
const LOCK_LOOKS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// The kernel's name of this run of the machine (`random(4)`).
const MACHINE_RUN: &str = "/proc/sys/kernel/random/boot_id";

/// Why a run ended badly, as far as anybody can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A bug: a thread gave up.
    Panic,
    /// It could not start.
    NoStart,
    /// It gave no sign of life, and was ended from outside.
    Hang,
    /// The machine had no memory left.
    OutOfMemory,
    /// It was killed, or ended without a word.
    Killed,
    /// The machine itself went down: power, or the kernel.
    MachineDown,
    /// Somebody wanted safe mode.
    ByHand,
    /// The configuration is wrong and no earlier one was kept. Lasts as long as the file is wrong, and
    /// is never counted.
    Configuration,
}

impl Cause {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(self) -> &'static str {
        match self {
            Self::Panic => "boot.panic",
            Self::NoStart => "boot.no-start",
            Self::Hang => "boot.hang",
            Self::OutOfMemory => "boot.out-of-memory",
            Self::Killed => "boot.killed",
            Self::MachineDown => "boot.machine-down",
            Self::ByHand => "boot.by-hand",
            Self::Configuration => "boot.configuration",
        }
    }

    /// What the service manager says about an end (`$SERVICE_RESULT` of systemd.exec(5)); `None` for
    /// a good one.
    pub fn from_manager(result: &str) -> Option<Self> {
        match result {
            "success" => None,
            "watchdog" | "timeout" => Some(Self::Hang),
            "oom-kill" => Some(Self::OutOfMemory),
            _ => Some(Self::Killed),
        }
    }
}

/// How much of the terminal is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    #[default]
    Normal,
    /// No visits, no items, no devices: the glass for staff, the store, and the line, so that what
    /// was confirmed is sent.
    Safe(Reason),
    /// Nothing but words on the glass: safe mode ended badly too.
    Bare(Reason),
}

impl Mode {
    /// Why it is not the normal one.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Normal => None,
            Self::Safe(reason) | Self::Bare(reason) => Some(reason),
        }
    }

    /// The word in messages and in the audit log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Safe(_) => "safe",
            Self::Bare(_) => "bare",
        }
    }
}

/// Why the terminal is in safe mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// How the last run ended.
    pub cause: Cause,
    /// Where, or in which words; never anything of a visit.
    pub words: String,
    /// Bad ends in a row.
    pub count: u32,
    /// Since when, by the clock on the wall.
    pub since: Timestamp,
}

/// Who let the terminal try again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// A name, or `platform`.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A run that goes on, or has ended without saying so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    began: Timestamp,
    /// The machine's run that it belongs to.
    machine: String,
    is_safe: bool,
    /// What is known of its end already.
    #[serde(default)]
    told: Option<(Cause, String)>,
}

/// One bad end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// When that run had begun.
    pub began: Timestamp,
    /// Why it ended.
    pub cause: Cause,
    /// Where, or in which words.
    pub words: String,
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Book {
    run: Option<Run>,
    crashes: u32,
    outages: u32,
    safe_crashes: u32,
    /// The last bad ends, the oldest first.
    pub ends: Vec<End>,
    /// Why the terminal is in safe mode; `None` when it is not.
    pub safe: Option<Reason>,
    release: Option<Release>,
}

impl Book {
    /// Reads the file's bytes; `None` for what this program did not write. Bounded, never panics.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let length = u64::try_from(bytes.len()).ok()?;
        if length > FILE_BYTES_MAX {
            return None;
        }
        let mut book: Self = serde_json::from_slice(bytes).ok()?;
        let excess = book.ends.len().saturating_sub(ENDS_MAX);
        book.ends.drain(..excess);
        Some(book)
    }

    /// A run begins: counts how the last one ended, and says how to start.
    pub fn begin(&mut self, machine: &str, last_words: Option<&str>, now: Timestamp) -> Mode {
        if let Some(run) = self.run.take() {
            self.count(run, machine, last_words, now);
        }
        let mode = match &self.safe {
            None => Mode::Normal,
            Some(reason) if self.safe_crashes >= SAFE_CRASHES_MAX => Mode::Bare(reason.clone()),
            Some(reason) => Mode::Safe(reason.clone()),
        };
        self.run = Some(Run {
            began: now,
            machine: machine.to_owned(),
            is_safe: self.safe.is_some(),
            told: None,
        });
        mode
    }

    fn count(&mut self, run: Run, machine: &str, last_words: Option<&str>, now: Timestamp) {
        let (cause, words) = match (last_words, run.told) {
            (Some(words), _) => (Cause::Panic, bounded(words)),
            (None, Some(told)) => told,
            (None, None) if run.machine != machine => (Cause::MachineDown, String::new()),
            (None, None) => (Cause::Killed, String::new()),
        };
        let is_crash = cause != Cause::MachineDown;
        match (run.is_safe, is_crash) {
            (true, true) => self.safe_crashes = self.safe_crashes.saturating_add(1),
            (false, true) => self.crashes = self.crashes.saturating_add(1),
            (false, false) => self.outages = self.outages.saturating_add(1),
            // Where nothing is driven, the machine goes down for reasons of its own.
            (true, false) => {}
        }
        if self.ends.len() >= ENDS_MAX {
            self.ends.remove(0);
        }
        self.ends.push(End {
            began: run.began,
            cause,
            words: words.clone(),
        });
        let is_enough = self.crashes >= CRASHES_MAX || self.outages >= OUTAGES_MAX;
        if self.safe.is_none() && is_enough {
            self.safe = Some(Reason {
                cause,
                words,
                count: self.crashes.max(self.outages),
                since: now,
            });
        }
    }

    /// Both loops have turned for long enough.
    fn proven(&mut self) {
        self.safe_crashes = 0;
        if self.safe.is_none() {
            self.crashes = 0;
            self.outages = 0;
        }
    }

    /// The run ended as it should.
    fn ended(&mut self) {
        self.run = None;
    }

    /// The run has ended, or is about to, for this reason. What was told first is nearer to the cause.
    fn told(&mut self, cause: Cause, words: &str) {
        if let Some(run) = &mut self.run
            && run.told.is_none()
        {
            run.told = Some((cause, bounded(words)));
        }
    }

    /// Out of safe mode. The next bad end leads back.
    fn release(&mut self, by: &str, now: Timestamp) {
        let Some(reason) = self.safe.take() else {
            return;
        };
        if reason.cause != Cause::ByHand {
            self.crashes = CRASHES_MAX - 1;
        }
        self.outages = 0;
        self.safe_crashes = 0;
        self.release = Some(Release {
            by: bounded(by),
            at: now,
        });
    }

    /// Into safe mode at the next start.
    fn hold(&mut self, by: &str, now: Timestamp) {
        let reason = Reason {
            cause: Cause::ByHand,
            words: bounded(by),
            count: self.crashes,
            since: now,
        };
        self.safe.get_or_insert(reason);
    }

    /// From the bare mode to one more attempt of the safe one.
    fn dare(&mut self) {
        self.safe_crashes = SAFE_CRASHES_MAX - 1;
        self.run = None;
    }
}

/// At most so many bytes, without anything that would break a line.
fn bounded(words: &str) -> String {
    let mut kept = String::new();
    for character in words.chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > WORDS_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

/// The file of a run that goes on; clones are the same.
#[derive(Clone, Debug)]
pub struct Boot {
    directory: PathBuf,
    mode: Mode,
    /// Safe mode has ended badly since it began: what it drove may be why.
    is_wary: bool,
    release: Option<Release>,
}

impl Boot {
    /// Counts the last run and begins a new one. What cannot be read or written is told in the log
    /// and counts nothing.
    pub fn begin(directory: &Path, now: Timestamp) -> Self {
        let there = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        let words_file = directory.join(LAST_WORDS);
        let last_words = read_some(&words_file).map(|bytes| {
            let words = String::from_utf8_lossy(&bytes).into_owned();
            bounded(&words)
        });
        let machine = machine_run();
        let mut mode = Mode::Normal;
        let mut is_wary = false;
        let mut release = None;
        let changed = there.and_then(|()| {
            change(directory, |book| {
                mode = book.begin(&machine, last_words.as_deref(), now);
                is_wary = book.safe_crashes > 0;
                release = book.release.take();
            })
        });
        if let Err(error) = changed {
            tracing::warn!(%error, "bad ends are not counted");
        }
        // Counted now; where the file cannot be removed, the next bad end is one more of its kind.
        let removed = match std::fs::remove_file(&words_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "last words of an earlier run stay");
        }
        // Only the first run of a process has one.
        WORDS_FILE.get_or_init(|| words_file);
        if let Some(reason) = mode.reason() {
            let code = reason.cause.code();
            tracing::error!(
                mode = mode.name(),
                code,
                count = reason.count,
                words = reason.words,
                "the terminal starts in safe mode"
            );
        }
        Self {
            directory: directory.to_owned(),
            mode,
            is_wary,
            release,
        }
    }

    /// How to start.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// True in a safe mode that has ended well so far: it may drive the scanner, by which staff come
    /// in. Once it has ended badly nothing is driven any more, and a stick is the way in; so it is
    /// from the start where the whole machine went down, for which a device may be the reason.
    pub(crate) fn may_scan(&self) -> bool {
        let is_down = |reason: &Reason| reason.cause == Cause::MachineDown;
        matches!(&self.mode, Mode::Safe(reason) if !is_down(reason)) && !self.is_wary
    }

    /// Who ended safe mode before this run.
    pub fn released(&self) -> Option<&Release> {
        self.release.as_ref()
    }

    /// Both loops have turned for long enough: the count begins anew.
    pub(crate) fn proven(&self) {
        self.write(Book::proven);
        tracing::info!("the terminal has proved that it runs");
    }

    /// The run ends as it should.
    pub fn ended(&self) {
        self.write(Book::ended);
    }

    /// The run ends because it could not start.
    pub fn failed(&self, words: &str) {
        self.write(|book| book.told(Cause::NoStart, words));
    }

    /// Everything again at the next start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn try_normally(&self, by: &str, now: Timestamp) -> io::Result<()> {
        change(&self.directory, |book| book.release(by, now))
    }

    /// Safe mode once more at the next start, after the bare one.
    pub(crate) fn dare_safe(&self) {
        self.write(Book::dare);
    }

    /// True when somebody has ended safe mode since this run began.
    pub(crate) fn is_released(&self) -> bool {
        look(&self.directory).is_some_and(|book| book.safe.is_none())
    }

    fn write(&self, act: impl FnOnce(&mut Book)) {
        if let Err(error) = change(&self.directory, act) {
            tracing::warn!(%error, "the count of bad ends is not up to date");
        }
    }
}

/// What the file says; `None` where there is none, or nothing that this program wrote.
pub fn look(directory: &Path) -> Option<Book> {
    Book::read(&read_some(&directory.join(NAME))?)
}

/// Ends safe mode, from outside of the terminal; one that runs in it starts anew.
///
/// # Errors
/// The file cannot be written.
pub fn release(directory: &Path, by: &str, now: Timestamp) -> io::Result<()> {
    change(directory, |book| book.release(by, now))
}

/// Safe mode from the next start on.
///
/// # Errors
/// The file cannot be written.
pub fn hold(directory: &Path, by: &str, now: Timestamp) -> io::Result<()> {
    change(directory, |book| book.hold(by, now))
}

/// What the service manager knows about the end of the last run; `None` for a good one.
///
/// # Errors
/// The file cannot be written.
pub fn note_end(directory: &Path, end: Option<(Cause, &str)>) -> io::Result<()> {
    change(directory, |book| match end {
        None => book.ended(),
        Some((cause, words)) => book.told(cause, words),
    })
}

static WORDS_FILE: OnceLock<PathBuf> = OnceLock::new();

/// A vital thread has failed and the process ends: where, for the next run. Not synced: the kernel
/// outlives the process, and after a power cut the power cut is the reason.
pub(crate) fn last_words(words: &str) {
    if let Some(file) = WORDS_FILE.get() {
        // Nobody is left to hear that it failed.
        drop(std::fs::write(file, bounded(words)));
    }
}

fn machine_run() -> String {
    read_some(Path::new(MACHINE_RUN)).map_or_else(String::new, |bytes| {
        bounded(&String::from_utf8_lossy(&bytes))
    })
}

/// The bytes of a small file, one more than is believed at most.
fn read_some(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Changes the file as a whole: what is found after a power cut is the old content or the new one.
fn change(directory: &Path, act: impl FnOnce(&mut Book)) -> io::Result<()> {
    let owner = File::open(directory)?;
    lock(&owner)?;
    let path = directory.join(NAME);
    let before = read_some(&path);
    let mut book = before.as_deref().and_then(Book::read).unwrap_or_else(|| {
        if before.is_some() {
            tracing::warn!("the count of bad ends is damaged and begins anew");
        }
        Book::default()
    });
    act(&mut book);
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let metadata = owner.metadata()?;
    if file.metadata()?.uid() != metadata.uid() {
        // A technician's `sudo` must not leave a file that the terminal cannot read.
        std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.write_all(&serde_json::to_vec_pretty(&book)?)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    owner.sync_all()
}

/// Between the terminal and a technician's command one writes at a time; freed when `owner` closes.
fn lock(owner: &File) -> io::Result<()> {
    for _ in 0..LOCK_LOOKS {
        match owner.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::WouldBlock) => thread::park_timeout(LOCK_PAUSE),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "6c5e9f2a-machine-run";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_311_660 + second).unwrap()
    }

    /// Starts and dies without a word, so often; answers how the last start was.
    fn crash(book: &mut Book, times: u32) -> Mode {
        (0..times).fold(Mode::Normal, |_, _| book.begin(HERE, None, at(0)))
    }

    #[test]
    fn four_bad_ends_in_a_row_lead_to_safe_mode_and_three_do_not() {
        let mut book = Book::default();
        assert_eq!(crash(&mut book, CRASHES_MAX), Mode::Normal);
        let Mode::Safe(reason) = book.begin(HERE, None, at(9)) else {
            panic!("not in safe mode");
        };
        assert_eq!(
            (reason.cause, reason.count, reason.since),
            (Cause::Killed, CRASHES_MAX, at(9))
        );
        assert_eq!(book.ends.len(), 4);
    }

    #[test]
    fn good_ends_and_ordered_restarts_count_nothing() {
        let mut book = Book::default();
        for _ in 0..20 {
            assert_eq!(book.begin(HERE, None, at(0)), Mode::Normal);
            book.ended();
        }
        assert_eq!((book.crashes, book.ends.len()), (0, 0));
    }

    #[test]
    fn five_good_minutes_set_the_count_back() {
        let mut book = Book::default();
        for _ in 0..5 {
            // The proved run ends badly too: one, and two more.
            assert_eq!(crash(&mut book, CRASHES_MAX - 1), Mode::Normal);
            book.proven();
        }
        assert_eq!(book.crashes, 0);
    }

    #[test]
    fn a_power_cut_is_no_crash_but_a_machine_that_never_stays_up_is() {
        let mut book = Book::default();
        for run in 0..OUTAGES_MAX {
            let mode = book.begin(&format!("run {run}"), None, at(0));
            assert_eq!(mode, Mode::Normal, "{run}");
        }
        let mode = book.begin("one more", None, at(0));
        assert!(
            matches!(&mode, Mode::Safe(reason) if reason.cause == Cause::MachineDown),
            "{mode:?}"
        );
    }

    #[test]
    fn the_reason_is_what_is_nearest_to_the_cause() {
        let check = |last_words: Option<&str>, told: &[(Cause, &str)], machine, cause, words| {
            let mut book = Book::default();
            book.begin(HERE, None, at(0));
            for (cause, words) in told {
                book.told(*cause, words);
            }
            book.begin(machine, last_words, at(1));
            let end = book.ends.last().unwrap();
            assert_eq!((end.cause, end.words.as_str()), (cause, words));
        };
        let dumped = (Cause::Killed, "dumped ABRT");
        check(None, &[], HERE, Cause::Killed, "");
        check(None, &[], "other", Cause::MachineDown, "");
        check(None, &[(Cause::Hang, "")], HERE, Cause::Hang, "");
        check(
            None,
            &[(Cause::NoStart, "the store"), dumped],
            HERE,
            Cause::NoStart,
            "the store",
        );
        let place = "session at session/flow.rs:88";
        check(Some(place), &[dumped], HERE, Cause::Panic, place);
        check(Some(place), &[], "other", Cause::Panic, place);
    }

    #[test]
    fn out_of_safe_mode_the_next_bad_end_leads_back() {
        let mut book = Book::default();
        crash(&mut book, CRASHES_MAX + 1);
        book.release("wang", at(5));
        book.ended();
        assert_eq!(book.release.as_ref().unwrap().by, "wang");
        assert_eq!(book.begin(HERE, None, at(6)), Mode::Normal);
        assert!(matches!(book.begin(HERE, None, at(7)), Mode::Safe(_)));
        book.release("wang", at(8));
        assert_eq!(
            book.begin(HERE, None, at(9)),
            Mode::Normal,
            "a kill at the way out of safe mode is none of the normal one"
        );
        book.proven();
        assert_eq!(crash(&mut book, CRASHES_MAX - 1), Mode::Normal);
    }

    #[test]
    fn safe_mode_that_ends_badly_twice_becomes_bare_and_is_dared_again() {
        let mut book = Book::default();
        crash(&mut book, CRASHES_MAX + 1);
        assert!(matches!(book.begin(HERE, None, at(1)), Mode::Safe(_)));
        for _ in 0..3 {
            assert!(matches!(book.begin(HERE, None, at(2)), Mode::Bare(_)));
        }
        book.dare();
        assert!(matches!(book.begin(HERE, None, at(3)), Mode::Safe(_)));
        assert!(matches!(book.begin(HERE, None, at(4)), Mode::Bare(_)));
        book.dare();
        book.begin(HERE, None, at(5));
        book.proven();
        assert!(
            matches!(book.begin(HERE, None, at(6)), Mode::Safe(_)),
            "a safe mode that ran for long was well"
        );
    }

    #[test]
    fn the_scanner_is_driven_in_safe_mode_until_that_ends_badly() {
        let directory = tempfile::tempdir().unwrap();
        let begin = || Boot::begin(directory.path(), at(1));
        assert!(!begin().may_scan(), "not in safe mode");
        hold(directory.path(), "wang", at(1)).unwrap();
        assert!(begin().may_scan());
        let wary = begin();
        assert!(!wary.may_scan(), "it ended badly with the scanner");
        wary.proven();
        wary.ended();
        assert!(begin().may_scan(), "it ran for long without");
        let down = Boot {
            mode: Mode::Safe(Reason {
                cause: Cause::MachineDown,
                words: String::new(),
                count: OUTAGES_MAX,
                since: at(1),
            }),
            is_wary: false,
            directory: directory.path().to_owned(),
            release: None,
        };
        assert!(!down.may_scan(), "a device may take the machine down");
    }

    #[test]
    fn safe_mode_can_be_wanted_and_says_who_wanted_it() {
        let mut book = Book::default();
        book.hold("wang", at(0));
        let mode = book.begin(HERE, None, at(1));
        let reason = mode.reason().unwrap();
        assert_eq!(
            (reason.cause, reason.words.as_str()),
            (Cause::ByHand, "wang")
        );
    }

    #[test]
    fn words_of_an_end_are_short_and_on_one_line() {
        let mut book = Book::default();
        book.begin(HERE, None, at(0));
        book.begin(HERE, Some(&format!("a\nb\u{7}{}", "长".repeat(500))), at(1));
        let words = &book.ends[0].words;
        assert!(words.len() <= WORDS_BYTES_MAX && words.starts_with("ab长"));
    }

    #[test]
    fn a_file_of_somebody_else_is_none_and_never_stops_a_start() {
        for bytes in [
            &b""[..],
            b"{",
            b"{\"crashes\":-1}",
            b"{\"safe\":{\"cause\":\"other\"}}",
            b"\xff\xfe",
            &vec![b' '; 20_000],
        ] {
            assert_eq!(Book::read(bytes), None);
        }
        assert_eq!(Book::read(b"{}"), Some(Book::default()));
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), b"rubbish").unwrap();
        let boot = Boot::begin(directory.path(), at(0));
        assert_eq!(*boot.mode(), Mode::Normal);
        boot.ended();
        let nowhere = Boot::begin(Path::new("/proc/no-directory-here"), at(0));
        assert_eq!(*nowhere.mode(), Mode::Normal);
        nowhere.ended();
    }

    #[test]
    fn the_count_outlives_the_process_and_leaves_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        for _ in 0..CRASHES_MAX {
            assert_eq!(*Boot::begin(&path, at(0)).mode(), Mode::Normal);
        }
        std::fs::write(path.join(LAST_WORDS), "session at a.rs:1").unwrap();
        let boot = Boot::begin(&path, at(1));
        let reason = boot.mode().reason().unwrap();
        assert_eq!(
            (reason.cause, reason.words.as_str()),
            (Cause::Panic, "session at a.rs:1")
        );
        assert!(!boot.is_released());
        release(&path, "wang", at(2)).unwrap();
        assert!(boot.is_released());
        boot.ended();
        let next = Boot::begin(&path, at(3));
        assert_eq!(
            next.released().map(|release| release.by.as_str()),
            Some("wang")
        );
        assert_eq!(*next.mode(), Mode::Normal);
        next.ended();
        let again = Boot::begin(&path, at(4));
        assert_eq!(again.released(), None, "told once");
        let files: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(files, [NAME]);
    }

    #[test]
    fn what_the_manager_says_is_understood() {
        for (result, cause) in [
            ("success", None),
            ("watchdog", Some(Cause::Hang)),
            ("timeout", Some(Cause::Hang)),
            ("oom-kill", Some(Cause::OutOfMemory)),
            ("core-dump", Some(Cause::Killed)),
            ("signal", Some(Cause::Killed)),
            ("something new", Some(Cause::Killed)),
        ] {
            assert_eq!(Cause::from_manager(result), cause, "{result}");
        }
        let directory = tempfile::tempdir().unwrap();
        Boot::begin(directory.path(), at(0));
        note_end(directory.path(), Some((Cause::Hang, ""))).unwrap();
        Boot::begin(directory.path(), at(1));
        note_end(directory.path(), None).unwrap();
        let book = look(directory.path()).unwrap();
        assert_eq!((book.ends.len(), book.ends[0].cause), (1, Cause::Hang));
        assert_eq!(book.run, None);
    }
}
