//! The way into a running terminal for the technician's commands: a Unix socket that only the
//! terminal's own user can open. One JSON object a line in, one out. It shows devices, changes log
//! levels, records, has guided tests run between two visits, says whether a visit is under way, and
//! takes questions to the desk of the queue; it cannot touch the screen.
//!
//! Where a question takes or brings more than a line (a bundle, receipts, the audit log), the bytes
//! travel in frames: four bytes of length, big-endian, then the content; a length of zero ends them.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use kiosk_device::tap::Privacy;
use kiosk_device::usb::sysfs::Sysfs;
use serde::{Deserialize, Serialize};

use super::{Report, Roster};
use crate::clock;
use crate::desk::{self, Desk};
use crate::logging;
use crate::runtime::Input;
use crate::selftest::headless::{EXAM_LIMIT, News, Request};
use crate::selftest::{Outcome, Wanted};

/// Name of the socket in the directory of the durable state.
pub const NAME: &str = "devices.sock";
/// Longest line in. Chosen: a path and a few words.
const LINE_BYTES_MAX: u64 = 8 * 1024;
/// Longest answer that is read. Chosen: 1000 rows of the queue with their words are about 2 MiB.
const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Largest frame.
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Connections at once. Chosen: a technician and a script.
const CONNECTIONS_MAX: usize = 4;
/// Wait for a technician who does not go on, and for a terminal that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Wait for the desk: 10,000 receipts on a slow disk take minutes.
const DESK_PATIENCE: Duration = Duration::from_mins(10);

/// News of an exam that may wait for a slow reader; with more, the exam is broken off.
const NEWS_LIMIT: usize = 64;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// The devices.
    List,
    /// Another log level for one device; `null` takes it away.
    Level {
        /// The device.
        device: String,
        /// `error`, `warn`, `info`, `debug` or `trace`.
        level: Option<String>,
    },
    /// Begin to record one device into a new file.
    Record {
        /// The device.
        device: String,
        /// The file; an absolute path.
        file: PathBuf,
        /// Record personal content too: only with test cards.
        with_personal_data: bool,
    },
    /// End the recording of one device.
    StopRecording {
        /// The device.
        device: String,
    },
    /// Run guided tests; each that ends is an answer, and a last answer says that all have.
    SelfTest {
        /// Only those of this device.
        #[serde(default)]
        device: Option<String>,
        /// Only this one.
        #[serde(default)]
        test: Option<String>,
    },
    /// Whether a visit is under way: whoever starts the terminal anew asks before.
    Visit,
    /// Something for the desk of the queue.
    Desk(desk::Ask),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The devices.
    Report(Report),
    /// The desk answers.
    Desk(desk::Answer),
    /// A guided test has ended; more answers come.
    Tested {
        /// How.
        outcome: Outcome,
    },
    /// Whether somebody is at the terminal.
    Visit {
        /// True from the first touch until the page for nobody is back.
        is_under_way: bool,
    },
    /// It was done.
    Done {
        /// What, in words.
        words: String,
    },
    /// It was not done.
    Refused {
        /// Why, and what to do.
        words: String,
    },
}

/// Serves the socket in `directory` for the life of the process; an old socket is replaced. Without
/// a desk only the devices are shown.
///
/// # Errors
/// The socket cannot be made or its rights cannot be set.
pub fn serve(directory: &Path, roster: Roster, desk: Option<Desk>) -> io::Result<()> {
    serve_room(
        directory,
        Room {
            roster,
            desk,
            exams: None,
        },
    )
}

/// As [`serve`], and guided tests are asked of the loop behind `exams`.
///
/// # Errors
/// As [`serve`].
pub fn serve_with(
    directory: &Path,
    roster: Roster,
    desk: Option<Desk>,
    exams: &SyncSender<Input>,
) -> io::Result<()> {
    let exams = Some(exams.clone());
    serve_room(
        directory,
        Room {
            roster,
            desk,
            exams,
        },
    )
}

fn serve_room(directory: &Path, whole: Room) -> io::Result<()> {
    let path = directory.join(NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let open = Arc::new(AtomicUsize::new(0));
    thread::Builder::new()
        .name("devices-socket".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                if open.load(Ordering::SeqCst) >= CONNECTIONS_MAX {
                    continue;
                }
                let room = Room {
                    roster: whole.roster.clone(),
                    desk: another(whole.desk.as_ref()),
                    exams: whole.exams.clone(),
                };
                open.fetch_add(1, Ordering::SeqCst);
                let count = Arc::clone(&open);
                let started =
                    thread::Builder::new()
                        .name("technician".to_owned())
                        .spawn(move || {
                            if let Err(error) = answer_all(&stream, room) {
                                tracing::debug!(%error, "a technician's connection ended");
                            }
                            count.fetch_sub(1, Ordering::SeqCst);
                        });
                if let Err(error) = started {
                    open.fetch_sub(1, Ordering::SeqCst);
                    tracing::warn!(%error, "a technician's connection could not be served");
                }
            }
        })
        .map(drop)
}

/// What one connection can ask.
struct Room {
    roster: Roster,
    desk: Option<Desk>,
    exams: Option<SyncSender<Input>>,
}

fn another(desk: Option<&Desk>) -> Option<Desk> {
    desk?
        .another()
        .inspect_err(|error| tracing::warn!(code = error.code(), %error, "no desk"))
        .ok()
}

fn answer_all(stream: &UnixStream, mut room: Room) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream);
    let mut out = stream;
    loop {
        let mut line = String::new();
        let count = lines.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
        if count == 0 || !line.ends_with('\n') {
            return Ok(());
        }
        let answer = match serde_json::from_str(&line) {
            Ok(Ask::Desk(ask)) => Answer::Desk(at_desk(ask, &mut room, &mut lines, &mut out)?),
            Ok(Ask::SelfTest { device, test }) => {
                examine(Wanted { device, test }, room.exams.as_ref(), &mut out)?
            }
            Ok(Ask::Visit) => visit(room.exams.as_ref()),
            Ok(ask) => answer(ask, &room.roster),
            Err(error) => refused(format!("not understood: {error}")),
        };
        tell(&mut out, &answer)?;
    }
}

fn tell(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// Has the loop run guided tests and tells of each; gives the last answer. When nobody reads any
/// more, the news have nowhere to go, and the loop ends the tests.
fn examine(
    wanted: Wanted,
    exams: Option<&SyncSender<Input>>,
    out: &mut impl Write,
) -> io::Result<Answer> {
    let (news, told) = sync_channel(NEWS_LIMIT);
    let request = Input::Examine(Request { wanted, news });
    let is_asked = exams.is_some_and(|exams| exams.try_send(request).is_ok());
    if !is_asked {
        return Ok(refused("the terminal cannot run tests now".to_owned()));
    }
    // Each turn is one test, and the loop ends an exam that outlasts its limit.
    loop {
        match told.recv_timeout(EXAM_LIMIT) {
            Ok(News::Ended(outcome)) => tell(out, &Answer::Tested { outcome })?,
            Ok(News::Over) => {
                let words = "all tests have ended".to_owned();
                return Ok(Answer::Done { words });
            }
            Ok(News::Refused(words)) => return Ok(refused(words)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Ok(refused("the terminal does not go on".to_owned()));
            }
        }
    }
}

/// Asks the loop whether somebody is at the terminal.
fn visit(exams: Option<&SyncSender<Input>>) -> Answer {
    let (news, told) = sync_channel(1);
    let is_asked = exams.is_some_and(|exams| exams.try_send(Input::Visit(news)).is_ok());
    match told.recv_timeout(if is_asked { PATIENCE } else { Duration::ZERO }) {
        Ok(is_under_way) => Answer::Visit { is_under_way },
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            refused("the terminal does not go on".to_owned())
        }
    }
}

fn at_desk(
    ask: desk::Ask,
    room: &mut Room,
    lines: &mut impl Read,
    out: &mut impl Write,
) -> io::Result<desk::Answer> {
    let (takes, brings) = (ask.takes_bytes(), ask.brings_bytes());
    let mut body = FrameReader::new(lines, takes);
    let mut frames = BufWriter::with_capacity(FRAME_BYTES_MAX, FrameWriter { out });
    let answer = match &mut room.desk {
        Some(desk) => desk.answer(ask, &mut body, &mut frames, clock::now()),
        None => desk::Answer::Refused {
            code: "queue.in-use".to_owned(),
            words: "the terminal has no connection to its store to spare; try again".to_owned(),
        },
    };
    if takes {
        // What was not read would be taken for the next question.
        io::copy(&mut body, &mut io::sink())?;
    }
    frames.flush()?;
    if brings {
        frames.get_mut().end()?;
    }
    Ok(answer)
}

/// Writes frames.
struct FrameWriter<'a, W> {
    out: &'a mut W,
}

impl<W: Write> FrameWriter<'_, W> {
    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(&0_u32.to_be_bytes())
    }
}

impl<W: Write> Write for FrameWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(FRAME_BYTES_MAX)];
        if bytes.is_empty() {
            return Ok(0);
        }
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads the content of frames up to their end.
struct FrameReader<'a, R> {
    frames: &'a mut R,
    /// Bytes left of the current frame.
    left: usize,
    is_open: bool,
}

impl<'a, R: Read> FrameReader<'a, R> {
    fn new(frames: &'a mut R, is_open: bool) -> Self {
        Self {
            frames,
            left: 0,
            is_open,
        }
    }
}

impl<R: Read> Read for FrameReader<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_open && self.left == 0 {
            let mut length = [0; 4];
            self.frames.read_exact(&mut length)?;
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.is_open = self.left > 0;
            if self.left > FRAME_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a frame is larger than agreed",
                ));
            }
        }
        if !self.is_open || bytes.is_empty() {
            return Ok(0);
        }
        let wanted = bytes.len().min(self.left);
        let count = self.frames.read(&mut bytes[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        Ok(count)
    }
}

fn answer(ask: Ask, roster: &Roster) -> Answer {
    match ask {
        Ask::Desk(_) | Ask::SelfTest { .. } | Ask::Visit => {
            refused("that is asked elsewhere".to_owned())
        }
        Ask::List => Answer::Report(roster.report(&Sysfs::default(), true)),
        Ask::Level { device, level } => set_level(roster, &device, level.as_deref()),
        Ask::Record {
            device,
            file,
            with_personal_data,
        } => {
            let privacy = if with_personal_data {
                Privacy::Everything
            } else {
                Privacy::Masked
            };
            if !file.is_absolute() {
                return refused("the file must be an absolute path".to_owned());
            }
            match roster.record(&device, &file, privacy) {
                Ok(()) => Answer::Done {
                    words: format!("{device} is recorded into {}", file.display()),
                },
                Err(words) => refused(words),
            }
        }
        Ask::StopRecording { device } => match roster.stop_recording(&device) {
            Ok(recorded) => {
                let cut = if recorded.is_cut {
                    ", cut at the limit"
                } else {
                    ""
                };
                Answer::Done {
                    words: format!("{} lines, {} bytes{cut}", recorded.lines, recorded.bytes),
                }
            }
            Err(words) => refused(words),
        },
    }
}

fn set_level(roster: &Roster, device: &str, level: Option<&str>) -> Answer {
    if !roster.contains(device) {
        return refused(format!("no device {device:?}"));
    }
    match logging::current().set_level(device, level) {
        Ok(()) => Answer::Done {
            words: match level {
                Some(level) => format!("{device} logs at {level}"),
                None => format!("{device} logs as the rest"),
            },
        },
        Err(error) => refused(error.to_string()),
    }
}

fn refused(words: String) -> Answer {
    Answer::Refused { words }
}

/// Asks the running terminal; `Ok(None)` when none runs.
///
/// # Errors
/// The terminal runs and does not answer, or this user may not ask.
pub fn ask(directory: &Path, ask: &Ask) -> io::Result<Option<Answer>> {
    let Some(mut line) = Line::open(directory)? else {
        return Ok(None);
    };
    line.send(ask)?;
    line.answer().map(Some)
}

/// A connection to the running terminal, for several questions.
#[derive(Debug)]
pub struct Line {
    stream: BufReader<UnixStream>,
}

impl Line {
    /// Opens it; `Ok(None)` when no terminal runs.
    ///
    /// # Errors
    /// A terminal runs and this user may not ask.
    pub fn open(directory: &Path) -> io::Result<Option<Self>> {
        let stream = match UnixStream::connect(directory.join(NAME)) {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Some(Self {
            stream: BufReader::new(stream),
        }))
    }

    /// Asks the desk. `body` goes after the question where it takes bytes; bytes before the answer
    /// go to `out`, and what fails there ends the connection.
    ///
    /// # Errors
    /// The terminal does not answer, `out` fails, or the answer is not understood.
    pub fn ask(
        &mut self,
        ask: &desk::Ask,
        body: &[u8],
        out: &mut dyn Write,
    ) -> io::Result<desk::Answer> {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(DESK_PATIENCE))?;
        self.send(&Ask::Desk(ask.clone()))?;
        if ask.takes_bytes() {
            let mut stream = self.stream.get_ref();
            let mut frames = FrameWriter { out: &mut stream };
            frames.write_all(body)?;
            frames.end()?;
        }
        if ask.brings_bytes() {
            io::copy(&mut FrameReader::new(&mut self.stream, true), out)?;
        }
        match self.answer()? {
            Answer::Desk(answer) => Ok(answer),
            Answer::Refused { words } => Ok(desk::Answer::Refused {
                code: "queue.no-answer".to_owned(),
                words,
            }),
            Answer::Report(_)
            | Answer::Done { .. }
            | Answer::Tested { .. }
            | Answer::Visit { .. } => Err(something_else()),
        }
    }

    /// Has guided tests run; `ended` is told of each. `Err` in the answer when they were refused or
    /// broken off, in words.
    ///
    /// # Errors
    /// The terminal does not answer.
    pub fn examine(
        &mut self,
        wanted: &Wanted,
        ended: &mut dyn FnMut(Outcome),
    ) -> io::Result<Result<(), String>> {
        self.stream
            .get_ref()
            .set_read_timeout(Some(DESK_PATIENCE))?;
        self.send(&Ask::SelfTest {
            device: wanted.device.clone(),
            test: wanted.test.clone(),
        })?;
        loop {
            match self.answer()? {
                Answer::Tested { outcome } => ended(outcome),
                Answer::Done { .. } => return Ok(Ok(())),
                Answer::Refused { words } => return Ok(Err(words)),
                Answer::Report(_) | Answer::Desk(_) | Answer::Visit { .. } => {
                    return Err(something_else());
                }
            }
        }
    }

    fn send(&mut self, ask: &Ask) -> io::Result<()> {
        let mut line = serde_json::to_vec(ask)?;
        line.push(b'\n');
        self.stream.get_ref().write_all(&line)
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = String::new();
        self.stream
            .by_ref()
            .take(ANSWER_BYTES_MAX)
            .read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }
}

fn something_else() -> io::Error {
    let words = "the terminal answered something else";
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_are_spelled_as_documented() {
        let asks = [
            (r#"{"ask":"list"}"#, Ask::List),
            (
                r#"{"ask":"level","device":"scanner","level":"debug"}"#,
                Ask::Level {
                    device: "scanner".to_owned(),
                    level: Some("debug".to_owned()),
                },
            ),
            (
                r#"{"ask":"stop-recording","device":"scanner"}"#,
                Ask::StopRecording {
                    device: "scanner".to_owned(),
                },
            ),
            (
                r#"{"ask":"self-test","test":"machine.disk"}"#,
                Ask::SelfTest {
                    device: None,
                    test: Some("machine.disk".to_owned()),
                },
            ),
            (
                r#"{"ask":"desk","what":"list","dead_only":true}"#,
                Ask::Desk(desk::Ask::List { dead_only: true }),
            ),
        ];
        for (text, expect) in asks {
            assert_eq!(serde_json::from_str::<Ask>(text).unwrap(), expect);
        }
        assert!(serde_json::from_str::<Ask>(r#"{"ask":"eject"}"#).is_err());
    }

    #[test]
    fn only_the_owner_may_ask_and_nonsense_is_answered_in_words() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ask(directory.path(), &Ask::List).unwrap(), None);
        serve(directory.path(), Roster::default(), None).unwrap();
        let path = directory.path().join(NAME);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let level = Ask::Level {
            device: "nobody".to_owned(),
            level: None,
        };
        let answer = ask(directory.path(), &level).unwrap().unwrap();
        assert!(matches!(answer, Answer::Refused { words } if words.contains("nobody")));
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"hello\n{\"ask\":\"list\"}\n").unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.next().unwrap().unwrap().contains("not understood"));
        assert!(lines.next().unwrap().unwrap().contains("\"devices\":[]"));
    }

    #[test]
    fn frames_bring_back_what_went_in_and_nonsense_ends_them() {
        let mut bytes = Vec::new();
        let content = vec![7; FRAME_BYTES_MAX * 2 + 5];
        let mut writer = FrameWriter { out: &mut bytes };
        writer.write_all(&content).unwrap();
        writer.end().unwrap();
        bytes.extend(b"next");
        let mut rest = bytes.as_slice();
        let mut back = Vec::new();
        FrameReader::new(&mut rest, true)
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!((back, rest), (content, &b"next"[..]));
        for wrong in [&b"\x00\x00\x00\x05abc"[..], b"\xff\xff\xff\xffabc", b"\x00"] {
            let mut rest = wrong;
            let read = FrameReader::new(&mut rest, true).read_to_end(&mut Vec::new());
            assert!(read.is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn without_a_desk_the_queue_is_refused_and_the_line_stays_in_step() {
        let directory = tempfile::tempdir().unwrap();
        serve(directory.path(), Roster::default(), None).unwrap();
        let mut line = Line::open(directory.path()).unwrap().unwrap();
        for ask in [
            desk::Ask::Audit {},
            desk::Ask::Receipts {},
            desk::Ask::List { dead_only: true },
        ] {
            let answer = line.ask(&ask, b"some receipts", &mut io::sink()).unwrap();
            assert!(
                matches!(&answer, desk::Answer::Refused { code, .. } if code == "queue.in-use"),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn whether_a_visit_is_under_way_is_said_by_the_loop_and_by_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let (exams, asked) = sync_channel(4);
        serve_with(directory.path(), Roster::default(), None, &exams).unwrap();
        let turns = thread::spawn(move || {
            for is_under_way in [true, false] {
                let Ok(Input::Visit(answer)) = asked.recv() else {
                    panic!("something else was asked");
                };
                answer.send(is_under_way).unwrap();
            }
        });
        for is_under_way in [true, false] {
            let answer = ask(directory.path(), &Ask::Visit).unwrap();
            assert_eq!(answer, Some(Answer::Visit { is_under_way }));
        }
        turns.join().unwrap();
        let answer = ask(directory.path(), &Ask::Visit).unwrap();
        assert!(matches!(answer, Some(Answer::Refused { .. })), "{answer:?}");
    }

    #[test]
    fn guided_tests_are_told_one_by_one_and_refusals_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let (exams, asked) = sync_channel(4);
        serve_with(directory.path(), Roster::default(), None, &exams).unwrap();
        let outcome = Outcome {
            test: "machine.disk".to_owned(),
            device: String::new(),
            verdict: crate::selftest::Verdict::Passed,
            figures: std::collections::BTreeMap::new(),
            problem: String::new(),
            took_ms: 7,
        };
        let told = outcome.clone();
        // The loop of a terminal that answers twice: once with two tests, once with words.
        let turns = thread::spawn(move || {
            for is_free in [true, false] {
                let Ok(Input::Examine(request)) = asked.recv() else {
                    panic!("something else was asked");
                };
                assert_eq!(request.wanted.test.as_deref(), Some("machine.disk"));
                if is_free {
                    request.news.send(News::Ended(told.clone())).unwrap();
                    request.news.send(News::Ended(told.clone())).unwrap();
                    request.news.send(News::Over).unwrap();
                } else {
                    let words = "somebody is at the terminal".to_owned();
                    request.news.send(News::Refused(words)).unwrap();
                }
            }
        });
        let mut line = Line::open(directory.path()).unwrap().unwrap();
        let wanted = Wanted {
            test: Some("machine.disk".to_owned()),
            ..Wanted::default()
        };
        let mut ended = Vec::new();
        let first = line.examine(&wanted, &mut |outcome| ended.push(outcome));
        assert_eq!(first.unwrap(), Ok(()));
        assert_eq!(ended, [outcome.clone(), outcome]);
        let second = line.examine(&wanted, &mut |_| panic!("nothing was tested"));
        assert!(second.unwrap().unwrap_err().contains("somebody"));
        turns.join().unwrap();
        // Where nothing can be tested, that is said, and the line stays usable.
        let directory = tempfile::tempdir().unwrap();
        serve(directory.path(), Roster::default(), None).unwrap();
        let mut line = Line::open(directory.path()).unwrap().unwrap();
        for _ in 0..2 {
            assert!(line.examine(&wanted, &mut |_| {}).unwrap().is_err());
        }
    }
}
