//! Records every byte between a driver and its device, with its time and direction, on request.
//!
//! A device has a thread of its own, so the tap belongs to the thread: the supervisor installs it,
//! the wires feed it, no driver knows of it. A recording is a text file that a person can read and a
//! player can replay. Personal content is masked unless the technician records a test card and says
//! so: bytes under a [`personal`] guard, and whatever follows the first bytes of a long run.

use std::cell::{Cell, RefCell};
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
    recording: Mutex<Option<Recording>>,
}

struct Recording {
    file: BufWriter<File>,
    start: Instant,
    privacy: Privacy,
    recorded: Recorded,
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
            start: clock::now(),
            privacy,
            recorded: Recorded::default(),
            run: None,
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
        *self.lock() = Some(recording);
        self.0.is_on.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Ends the recording and makes it durable; `None` when there was none.
    ///
    /// # Errors
    /// The file could not be written to its end.
    pub fn stop(&self) -> io::Result<Option<Recorded>> {
        self.0.is_on.store(false, Ordering::SeqCst);
        let Some(mut recording) = self.lock().take() else {
            return Ok(None);
        };
        recording.file.flush()?;
        recording.file.get_ref().sync_all()?;
        Ok(Some(recording.recorded))
    }

    /// True while it records.
    pub fn is_recording(&self) -> bool {
        self.0.is_on.load(Ordering::SeqCst)
    }

    /// Makes this the tap of the calling thread; the supervisor does so in every device thread.
    pub fn install(&self) {
        CURRENT.set(Some(self.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Recording>> {
        self.0
            .recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

    fn stamped(&mut self, text: &str) {
        let elapsed = clock::now().saturating_duration_since(self.start);
        self.line(&format!("{:.6} {text}", elapsed.as_secs_f64()));
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8], is_personal: bool) {
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
        if !shown.is_empty() {
            let hex: Vec<String> = shown.iter().map(|byte| format!("{byte:02X}")).collect();
            self.stamped(&format!("{sign} {}", hex.join(" ")));
        }
        if !masked.is_empty() {
            self.stamped(&format!("{sign} *{}", masked.len()));
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
    with_recording(|recording| recording.bytes(direction, bytes, PERSONAL.get() > 0));
}

/// Something else happened on a wire of this thread; never personal data.
pub(crate) fn note(text: impl FnOnce() -> String) {
    with_recording(|recording| {
        recording.run = None;
        recording.stamped(&format!("- {}", text()));
    });
}

fn with_recording(act: impl FnOnce(&mut Recording)) {
    CURRENT.with_borrow(|tap| {
        if let Some(tap) = tap
            && tap.0.is_on.load(Ordering::Relaxed)
            && let Some(recording) = tap.lock().as_mut()
        {
            act(recording);
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
}
