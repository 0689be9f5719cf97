//! Records every byte between a driver and its device, with its time and direction, on request.
//!
//! A device has a thread of its own, so the tap belongs to the thread: the supervisor installs it,
//! the wires feed it, no driver knows of it. A recording is a text file that a person can read and a
//! player can replay. Personal content is masked unless the technician records a test card and says
//! so: bytes under a [`personal`] guard, and whatever follows the first bytes of a long run.
//!
//! Beside a recording, or without one, somebody can watch: the last lines are kept in memory, always
//! masked.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::clock;

/// First line of a recording; the number is the version of the format.
pub const TITLE: &str = "kiosk-recording 1";
/// Longest recording in bytes of the file. Chosen: an hour of polling, and no full disk.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one run in one direction that an ordinary recording shows. Chosen: commands and status
/// answers are shorter; documents, rasters and pictures are longer.
const RUN_BYTES_SHOWN: usize = 64;
/// Most lines that are kept for somebody who watches.
const WATCHED_LINES_MAX: usize = 1000;

/// What a recording may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Personal content is replaced by its length: for a terminal in service.
    Masked,
    /// Everything: only with test cards and test documents.
    Everything,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Lines in the file.
    pub lines: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// The limit was reached and the rest is missing.
    pub is_cut: bool,
}

/// The tap of one device; clones are the same tap.
#[derive(Clone, Default)]
pub struct Tap(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Asked first, so that a tap that records nothing costs nothing.
    is_on: AtomicBool,
    listeners: Mutex<Listeners>,
}

/// Whoever listens to the wires of a device.
#[derive(Default)]
struct Listeners {
    recording: Option<Recording>,
    watch: Option<Watch>,
}

struct Recording {
    file: BufWriter<File>,
    words: Words,
    recorded: Recorded,
}

/// The last lines, for somebody who watches.
struct Watch {
    words: Words,
    lines: VecDeque<String>,
    lines_max: usize,
}

/// Turns bytes into lines.
struct Words {
    start: Instant,
    privacy: Privacy,
    run: Option<(Direction, usize)>,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the device.
    Sent,
    /// From the device.
    Received,
}

thread_local! {
    static CURRENT: RefCell<Option<Tap>> = const { RefCell::new(None) };
    static PERSONAL: Cell<u32> = const { Cell::new(0) };
}

impl Tap {
    /// Starts a recording into a new file at `path`, readable by its owner alone. `about` goes into
    /// the head of the file: one line each, no personal data. A running recording ends.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn start(&self, path: &Path, privacy: Privacy, about: &[String]) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut recording = Recording {
            file: BufWriter::new(file),
            words: Words::new(privacy),
            recorded: Recorded::default(),
        };
        recording.line(TITLE);
        for line in about {
            recording.line(&format!("# {}", line.replace(['\n', '\r'], " ")));
        }
        let kind = match privacy {
            Privacy::Masked => "personal content is masked",
            Privacy::Everything => "personal content is included: delete after use",
        };
        recording.line(&format!("# {kind}"));
        self.change(|listeners| listeners.recording = Some(recording));
        Ok(())
    }

    /// Ends the recording and makes it durable; `None` when there was none.
    ///
    /// # Errors
    /// The file could not be written to its end.
    pub fn stop(&self) -> io::Result<Option<Recorded>> {
        let Some(mut recording) = self.change(|listeners| listeners.recording.take()) else {
            return Ok(None);
        };
        recording.file.flush()?;
        recording.file.get_ref().sync_all()?;
        Ok(Some(recording.recorded))
    }

    /// True while it records.
    pub fn is_recording(&self) -> bool {
        self.lock().recording.is_some()
    }

    /// Keeps the last `lines_max` lines from now on, 1,000 at most, personal content masked.
    pub fn watch(&self, lines_max: usize) {
        let watch = Watch {
            words: Words::new(Privacy::Masked),
            lines: VecDeque::new(),
            lines_max: lines_max.clamp(1, WATCHED_LINES_MAX),
        };
        self.change(|listeners| listeners.watch = Some(watch));
    }

    /// The last lines, the oldest first; none when nobody watches.
    pub fn lines(&self) -> Vec<String> {
        let listeners = self.lock();
        let lines = listeners.watch.iter().flat_map(|watch| &watch.lines);
        lines.cloned().collect()
    }

    /// Keeps no lines any more.
    pub fn unwatch(&self) {
        self.change(|listeners| listeners.watch = None);
    }

    /// Makes this the tap of the calling thread; the supervisor does so in every device thread.
    pub fn install(&self) {
        CURRENT.set(Some(self.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.0
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes who listens; wires ask for nothing when nobody does.
    fn change<T>(&self, change: impl FnOnce(&mut Listeners) -> T) -> T {
        let mut listeners = self.lock();
        let changed = change(&mut listeners);
        let is_on = listeners.recording.is_some() || listeners.watch.is_some();
        self.0.is_on.store(is_on, Ordering::SeqCst);
        changed
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("is_recording", &self.is_recording())
            .finish_non_exhaustive()
    }
}

impl Recording {
    fn line(&mut self, text: &str) {
        let length = text.len() + 1;
        let total = self.recorded.bytes + u64::try_from(length).unwrap_or(u64::MAX);
        if total > FILE_BYTES_MAX as u64 {
            self.recorded.is_cut = true;
            return;
        }
        // Flushed at once, so that somebody can watch it grow. A full disk ends the recording, never
        // the device.
        if writeln!(self.file, "{text}")
            .and_then(|()| self.file.flush())
            .is_err()
        {
            self.recorded.is_cut = true;
            return;
        }
        self.recorded.bytes = total;
        self.recorded.lines += 1;
    }
}

impl Words {
    fn new(privacy: Privacy) -> Self {
        Self {
            start: clock::now(),
            privacy,
            run: None,
        }
    }

    fn stamped(&self, text: &str) -> String {
        let elapsed = clock::now().saturating_duration_since(self.start);
        format!("{:.6} {text}", elapsed.as_secs_f64())
    }

    fn note(&mut self, text: &str) -> String {
        self.run = None;
        self.stamped(&format!("- {text}"))
    }

    /// What is shown of the bytes, and how many are not.
    fn bytes(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        is_personal: bool,
    ) -> [Option<String>; 2] {
        let so_far = match self.run {
            Some((running, count)) if running == direction => count,
            Some(_) | None => 0,
        };
        self.run = Some((direction, so_far.saturating_add(bytes.len())));
        let shown = match self.privacy {
            Privacy::Everything => bytes.len(),
            Privacy::Masked if is_personal => 0,
            Privacy::Masked => RUN_BYTES_SHOWN.saturating_sub(so_far).min(bytes.len()),
        };
        let (shown, masked) = bytes.split_at(shown);
        let sign = match direction {
            Direction::Sent => '>',
            Direction::Received => '<',
        };
        let hex = || {
            let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02X}")).collect();
            self.stamped(&format!("{sign} {}", hex.join(" ")))
        };
        let count = || self.stamped(&format!("{sign} *{}", masked.len()));
        [
            (!shown.is_empty()).then(hex),
            (!masked.is_empty()).then(count),
        ]
    }
}

impl Watch {
    fn keep(&mut self, line: String) {
        if self.lines.len() >= self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl Listeners {
    fn bytes(&mut self, direction: Direction, bytes: &[u8], is_personal: bool) {
        if let Some(recording) = &mut self.recording {
            let lines = recording.words.bytes(direction, bytes, is_personal);
            for line in lines.into_iter().flatten() {
                recording.line(&line);
            }
        }
        if let Some(watch) = &mut self.watch {
            let lines = watch.words.bytes(direction, bytes, is_personal);
            for line in lines.into_iter().flatten() {
                watch.keep(line);
            }
        }
    }

    fn note(&mut self, text: &str) {
        if let Some(recording) = &mut self.recording {
            let line = recording.words.note(text);
            recording.line(&line);
        }
        if let Some(watch) = &mut self.watch {
            let line = watch.words.note(text);
            watch.keep(line);
        }
    }
}

/// While it lives, what this thread's wires carry is personal.
#[derive(Debug)]
#[must_use = "bytes are masked while the guard lives"]
pub struct Personal(());

/// Marks what the wires of this thread carry from now on as personal.
pub fn personal() -> Personal {
    PERSONAL.set(PERSONAL.get().saturating_add(1));
    Personal(())
}

impl Drop for Personal {
    fn drop(&mut self) {
        PERSONAL.set(PERSONAL.get().saturating_sub(1));
    }
}

/// Bytes went over a wire of this thread.
pub(crate) fn bytes(direction: Direction, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    with_listeners(|listeners| listeners.bytes(direction, bytes, PERSONAL.get() > 0));
}

/// Something else happened on a wire of this thread; never personal data.
pub(crate) fn note(text: impl FnOnce() -> String) {
    with_listeners(|listeners| listeners.note(&text()));
}

fn with_listeners(act: impl FnOnce(&mut Listeners)) {
    CURRENT.with_borrow(|tap| {
        if let Some(tap) = tap
            && tap.0.is_on.load(Ordering::Relaxed)
        {
            act(&mut tap.lock());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(privacy: Privacy, act: impl FnOnce()) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let tap = Tap::default();
        tap.install();
        tap.start(&path, privacy, &["device reader".to_owned()])
            .unwrap();
        act();
        assert!(tap.stop().unwrap().is_some());
        bytes(Direction::Sent, b"after the end");
        std::fs::read_to_string(&path).unwrap()
    }

    fn content(text: &str) -> Vec<&str> {
        let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
        lines.map(|line| line.split_once(' ').unwrap().1).collect()
    }

    #[test]
    fn every_byte_is_recorded_with_its_direction() {
        let text = record(Privacy::Everything, || {
            note(|| "opened".to_owned());
            bytes(Direction::Sent, &[0xAA, 0x01]);
            let _personal = personal();
            bytes(Direction::Received, &[0x41; 70]);
        });
        assert!(text.starts_with(TITLE));
        let long = format!("< {}", vec!["41"; 70].join(" "));
        assert_eq!(content(&text), ["- opened", "> AA 01", &long]);
    }

    #[test]
    fn personal_content_and_long_runs_are_masked() {
        let text = record(Privacy::Masked, || {
            {
                let _outer = personal();
                let _inner = personal();
                bytes(Direction::Received, b"name");
            }
            bytes(Direction::Sent, &[0x1B; 60]);
            bytes(Direction::Sent, &[0x1C; 60]);
            bytes(Direction::Received, &[0x12]);
        });
        let first = format!("> {}", vec!["1B"; 60].join(" "));
        assert_eq!(
            content(&text),
            ["< *4", &first, "> 1C 1C 1C 1C", "> *56", "< 12"]
        );
    }

    #[test]
    fn a_recording_is_private_bounded_and_never_overwrites() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let tap = Tap::default();
        tap.install();
        tap.start(&path, Privacy::Everything, &[]).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for _ in 0..400 {
            bytes(Direction::Received, &vec![0x55; 32 * 1024]);
        }
        let recorded = tap.stop().unwrap().unwrap();
        assert!(recorded.is_cut && recorded.bytes <= FILE_BYTES_MAX as u64);
        assert!(tap.start(&path, Privacy::Masked, &[]).is_err());
        assert_eq!(tap.stop().unwrap(), None);
    }

    #[test]
    fn whoever_watches_sees_the_last_lines_masked_whether_or_not_it_is_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let tap = Tap::default();
        tap.install();
        bytes(Direction::Sent, b"unheard");
        tap.watch(2);
        assert!(!tap.is_recording() && tap.lines().is_empty());
        bytes(Direction::Sent, &[0x01]);
        tap.start(
            &directory.path().join("recording"),
            Privacy::Everything,
            &[],
        )
        .unwrap();
        {
            let _personal = personal();
            bytes(Direction::Received, b"name");
        }
        note(|| "closed".to_owned());
        let lines = tap.lines();
        let content: Vec<&str> = lines
            .iter()
            .map(|line| line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(content, ["< *4", "- closed"]);
        assert_eq!(tap.stop().unwrap().unwrap().lines, 4);
        bytes(Direction::Sent, &[0x02]);
        assert!(tap.lines()[1].ends_with("> 02"));
        tap.unwatch();
        bytes(Direction::Sent, &[0x03]);
        assert!(tap.lines().is_empty());
    }
}
