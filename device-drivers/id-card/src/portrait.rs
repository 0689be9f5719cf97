//! Decoding of the card's photo by an external program of the reader's vendor.
//!
//! No open decoder of WLT exists (`device-protocols.md` §2.6), so that the terminal works without
//! one. The program gets the 1024 bytes of the photo on its standard input and writes a 24-bit
//! bitmap of 102 × 126 pixels to its standard output; nothing goes through a file. It has two
//! seconds, then it and what it started are killed and reaped; its output is bounded and checked.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kiosk_device::{Sensitive, clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use zeroize::Zeroizing;

/// Bytes of the photo on the card.
pub const PHOTO_BYTES: usize = 1024;
/// Bytes of its bitmap: two headers, and 126 rows of 102 pixels in 308 bytes (§2.6).
pub const BITMAP_BYTES: usize = 14 + 40 + 308 * 126;

/// Time from start to end. Chosen: decoders take some 50 ms, and a person waits.
const PROGRAM_LIMIT: Duration = Duration::from_secs(2);
/// Time for a killed program to be gone. Chosen: longer means that the kernel holds it.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// Failures in a row after which the program is left alone until the reader is opened again, so that
/// a program that hangs does not slow every reading. Chosen.
const FAILURES_MAX: u32 = 3;

/// Why there is no bitmap.
#[derive(Debug, thiserror::Error)]
pub enum PortraitError {
    /// The program cannot be started or talked to.
    #[error("the portrait program does not run: {0}")]
    Run(#[source] io::Error),
    /// It did not end in time and was killed.
    #[error("the portrait program took longer than {} s", PROGRAM_LIMIT.as_secs())]
    TimeOut,
    /// It ended with another status than success.
    #[error("the portrait program failed: {0}")]
    Failed(ExitStatus),
    /// What it wrote is no bitmap of the right size.
    #[error("the portrait program wrote no bitmap of 102 by 126 pixels")]
    NoBitmap,
}

impl PortraitError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Run(_) | Self::TimeOut | Self::Failed(_) | Self::NoBitmap => {
                "id-card.portrait-failed"
            }
        }
    }
}

/// True for a 24-bit bitmap of 102 × 126 pixels, rows from the bottom.
pub fn is_bitmap(bytes: &[u8]) -> bool {
    let word = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        bytes.map(u32::from_le_bytes)
    };
    bytes.len() == BITMAP_BYTES
        && bytes.starts_with(b"BM")
        // Pixels begin behind a header of the plain kind.
        && word(10) == Some(54)
        && word(14) == Some(40)
        && word(18) == Some(102)
        && word(22) == Some(126)
        // One plane, 24 bits, not compressed.
        && word(26) == Some(0x0018_0001)
        && word(30) == Some(0)
}

/// The configured program and how it fares.
#[derive(Debug)]
pub(crate) struct PortraitProgram {
    path: PathBuf,
    failures: u32,
}

impl PortraitProgram {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, failures: 0 }
    }

    /// True when there is such a file and it has not failed for good.
    pub(crate) fn is_usable(&self) -> bool {
        self.failures < FAILURES_MAX && self.path.is_file()
    }

    /// True when the last try failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Gives a program that failed a new chance.
    pub(crate) fn forgive(&mut self) {
        self.failures = 0;
    }

    /// The bitmap of `photo`; `None` when there is none, which is logged at the first failure.
    pub(crate) fn decode(&mut self, photo: &[u8]) -> Option<Sensitive<Vec<u8>>> {
        if self.failures >= FAILURES_MAX {
            return None;
        }
        match run(&self.path, photo, PROGRAM_LIMIT) {
            Ok(bitmap) => {
                self.failures = 0;
                Some(bitmap)
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(code = error.code(), %error, "card read without its portrait");
                }
                self.failures += 1;
                None
            }
        }
    }
}

/// Runs the program at `path` once over `photo`.
fn run(path: &Path, photo: &[u8], limit: Duration) -> Result<Sensitive<Vec<u8>>, PortraitError> {
    let deadline = clock::now() + limit;
    let child = Command::new(path)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, so that what it starts can be killed with it.
        .process_group(0)
        .spawn()
        .map_err(PortraitError::Run)?;
    let mut running = Running(child);
    let bitmap = running.talk(photo, deadline)?;
    match running.end(deadline)? {
        status if !status.success() => Err(PortraitError::Failed(status)),
        _ if is_bitmap(bitmap.expose()) => Ok(bitmap),
        _ => Err(PortraitError::NoBitmap),
    }
}

/// A program that is killed and reaped however its use ends.
struct Running(Child);

impl Running {
    /// Gives the photo and takes the output until the program closes it.
    fn talk(
        &mut self,
        photo: &[u8],
        deadline: Instant,
    ) -> Result<Sensitive<Vec<u8>>, PortraitError> {
        let pipes = self.0.stdin.take().zip(self.0.stdout.take());
        let (mut stdin, mut stdout) = pipes.ok_or(PortraitError::NoBitmap)?;
        // A pipe takes a page before it blocks, whether the program reads or not (pipe(7)).
        if let Err(error) = stdin.write_all(photo.get(..PHOTO_BYTES).unwrap_or(photo))
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(PortraitError::Run(error));
        }
        drop(stdin);
        // Room for one byte too many, which tells that the output is too long.
        let mut output = Zeroizing::new(vec![0; BITMAP_BYTES + 1]);
        let mut count = 0;
        // Each turn fills the room by at least one byte or returns.
        loop {
            let room = output.get_mut(count..).unwrap_or_default();
            if room.is_empty() {
                return Err(PortraitError::NoBitmap);
            }
            match read(&mut stdout, room, deadline)? {
                0 => break,
                more => count += more,
            }
        }
        Ok(Sensitive::new(
            output.get(..count).unwrap_or_default().to_vec(),
        ))
    }

    /// Waits until the program has ended.
    fn end(&mut self, deadline: Instant) -> Result<ExitStatus, PortraitError> {
        let descriptor = pid(&self.0).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(descriptor) = descriptor
            && !is_ready(descriptor.as_fd(), deadline)?
        {
            return Err(PortraitError::TimeOut);
        }
        let status = self.0.try_wait().map_err(PortraitError::Run)?;
        status.ok_or(PortraitError::TimeOut)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let killed = match pid(&self.0) {
            Some(pid) => kill_process_group(pid, Signal::KILL).map_err(io::Error::from),
            None => self.0.kill(),
        };
        let ended = self.end(clock::now() + KILL_LIMIT);
        if killed.is_err() || ended.is_err() {
            tracing::warn!("a portrait program could not be ended");
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Some bytes of the output; zero at its end.
fn read(
    stdout: &mut ChildStdout,
    room: &mut [u8],
    deadline: Instant,
) -> Result<usize, PortraitError> {
    if !is_ready(stdout.as_fd(), deadline)? {
        return Err(PortraitError::TimeOut);
    }
    stdout.read(room).map_err(PortraitError::Run)
}

/// Waits until the descriptor can be read; false when the deadline passed first.
fn is_ready(descriptor: BorrowedFd<'_>, deadline: Instant) -> Result<bool, PortraitError> {
    // Each turn waits for what is left of the limit; only signals make another one.
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        let limit = Timespec::try_from(left).map_err(|_| PortraitError::TimeOut)?;
        let mut fds = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) if !left.is_zero() => {}
            Err(error) => return Err(PortraitError::Run(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The head of a right bitmap in the notation of `printf`.
    const HEAD: &str =
        r"BM\316\227\0\0\0\0\0\0\066\0\0\0\050\0\0\0\146\0\0\0\176\0\0\0\001\0\030\0";

    struct Fixture {
        directory: tempfile::TempDir,
        program: PortraitProgram,
    }

    fn program(body: &str) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("decode");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        Fixture {
            directory,
            program: PortraitProgram::new(path),
        }
    }

    /// Runs it once, again while the file still counts as being written by a process that another
    /// test of this program is starting at the same moment (`ETXTBSY`).
    fn run_once(fixture: &Fixture, limit: Duration) -> Result<Sensitive<Vec<u8>>, PortraitError> {
        for _ in 0..1000 {
            match run(&fixture.program.path, &[7; PHOTO_BYTES], limit) {
                Err(PortraitError::Run(error))
                    if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                result => return result,
            }
        }
        panic!("the script stays busy");
    }

    fn good() -> String {
        format!(
            "photo=$(wc -c)\n[ $photo = 1024 ] || exit 3\nprintf '{HEAD}'\nhead -c 38832 /dev/zero"
        )
    }

    #[test]
    fn a_good_program_gives_the_bitmap() {
        let fixture = program(&good());
        let bitmap = run_once(&fixture, Duration::from_secs(20)).unwrap();
        assert!(is_bitmap(bitmap.expose()));
    }

    fn check(body: &str, is_expected: fn(&PortraitError) -> bool) {
        let error = run_once(&program(body), Duration::from_secs(20)).unwrap_err();
        assert!(is_expected(&error), "{body}: {error}");
    }

    #[test]
    fn a_program_that_fails_or_writes_rubbish_gives_none() {
        check("exit 1", |error| matches!(error, PortraitError::Failed(_)));
        check(&format!("{}\nexit 1", good()), |error| {
            matches!(error, PortraitError::Failed(_))
        });
        check("kill -9 $$", |error| {
            matches!(error, PortraitError::Failed(_))
        });
        for body in [
            "true",
            "echo garbage",
            "head -c 38862 /dev/zero",
            &format!("{}\nprintf x", good()),
            "exec cat /dev/zero",
        ] {
            check(body, |error| matches!(error, PortraitError::NoBitmap));
        }
    }

    #[test]
    fn a_missing_program_is_said_and_no_failure_of_the_reading() {
        let mut program = PortraitProgram::new("/no/such/program".into());
        assert!(!program.is_usable());
        assert_eq!(program.decode(&[0; PHOTO_BYTES]), None);
        assert!(program.has_failed());
        let error = run(Path::new("/no/such/program"), &[], PROGRAM_LIMIT).unwrap_err();
        assert!(matches!(error, PortraitError::Run(_)), "{error}");
        assert_eq!(error.code(), "id-card.portrait-failed");
    }

    #[test]
    fn a_slow_program_is_killed_with_what_it_started() {
        let fixture = program("sleep 600 &\necho $! > \"$0.child\"\nwait");
        let error = run_once(&fixture, Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, PortraitError::TimeOut), "{error}");
        let child = fixture.directory.path().join("decode.child");
        // On a very busy machine the script may not have come so far.
        if let Ok(child) = std::fs::read_to_string(child)
            && let Ok(child) = child.trim().parse::<i32>()
        {
            let pid = Pid::from_raw(child).unwrap();
            let descriptor = pidfd_open(pid, PidfdFlags::empty());
            let deadline = clock::now() + Duration::from_secs(20);
            assert!(descriptor.map_or(true, |fd| is_ready(fd.as_fd(), deadline).unwrap()));
        }
    }

    #[test]
    fn a_program_that_closes_its_output_and_stays_is_killed() {
        let fixture = program("exec >&-\nexec sleep 600");
        let error = run_once(&fixture, Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, PortraitError::TimeOut), "{error}");
    }

    #[test]
    fn a_program_that_keeps_failing_is_left_alone_until_it_is_forgiven() {
        let counter = "echo x >> \"$0.runs\"; exit 1";
        let mut fixture = program(counter);
        // The first start may find the file busy, which counts as a failure too.
        assert!(run_once(&fixture, Duration::from_secs(20)).is_err());
        for _ in 0..10 {
            assert_eq!(fixture.program.decode(&[0; PHOTO_BYTES]), None);
        }
        let runs = || {
            let path = fixture.directory.path().join("decode.runs");
            std::fs::read_to_string(path).unwrap().lines().count()
        };
        assert!(runs() <= 1 + FAILURES_MAX as usize);
        assert!(!fixture.program.is_usable());
        fixture.program.forgive();
        assert!(fixture.program.is_usable());
    }

    #[test]
    fn only_a_bitmap_of_the_right_size_and_kind_is_one() {
        let mut bitmap = vec![0; BITMAP_BYTES];
        bitmap[..2].copy_from_slice(b"BM");
        for (at, value) in [(10, 54), (14, 40), (18, 102), (22, 126), (26, 1), (28, 24)] {
            bitmap[at] = value;
        }
        assert!(is_bitmap(&bitmap));
        for at in [0, 10, 14, 18, 21, 22, 26, 28, 30] {
            let mut wrong = bitmap.clone();
            wrong[at] ^= 0x10;
            assert!(!is_bitmap(&wrong), "{at}");
        }
        for length in [0, 1, 30, BITMAP_BYTES - 1] {
            assert!(!is_bitmap(&bitmap[..length]), "{length}");
        }
        bitmap.push(0);
        assert!(!is_bitmap(&bitmap));
    }
}
