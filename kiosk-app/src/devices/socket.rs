//! The way into a running terminal for the technician's commands: a Unix socket that only the
//! terminal's own user can open. One JSON object a line in, one out. It shows devices, changes log
//! levels and records; it cannot touch the screen, a device or the queue.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use kiosk_device::tap::Privacy;
use kiosk_device::usb::sysfs::Sysfs;
use serde::{Deserialize, Serialize};

use super::{Report, Roster};
use crate::logging;

/// Name of the socket in the directory of the durable state.
pub const NAME: &str = "devices.sock";
/// Longest line in. Chosen: a path and a few words.
const LINE_BYTES_MAX: u64 = 8 * 1024;
/// Longest answer that is read. Chosen: a report of 32 devices is about 60 KiB.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;
/// Connections at once. Chosen: a technician and a script.
const CONNECTIONS_MAX: usize = 4;
/// Wait for a technician who does not go on, and for a terminal that does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

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
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The devices.
    Report(Report),
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

/// Serves the socket in `directory` for the life of the process; an old socket is replaced.
///
/// # Errors
/// The socket cannot be made or its rights cannot be set.
pub fn serve(directory: &Path, roster: Roster) -> io::Result<()> {
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
                open.fetch_add(1, Ordering::SeqCst);
                let roster = roster.clone();
                let open = Arc::clone(&open);
                let started =
                    thread::Builder::new()
                        .name("technician".to_owned())
                        .spawn(move || {
                            if let Err(error) = answer_all(&stream, &roster) {
                                tracing::debug!(%error, "a technician's connection ended");
                            }
                            open.fetch_sub(1, Ordering::SeqCst);
                        });
                if let Err(error) = started {
                    tracing::warn!(%error, "a technician's connection could not be served");
                }
            }
        })
        .map(drop)
}

fn answer_all(stream: &UnixStream, roster: &Roster) -> io::Result<()> {
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
            Ok(ask) => answer(ask, roster),
            Err(error) => refused(format!("not understood: {error}")),
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
}

fn answer(ask: Ask, roster: &Roster) -> Answer {
    match ask {
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
    let mut stream = match UnixStream::connect(directory.join(NAME)) {
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
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .take(ANSWER_BYTES_MAX)
        .read_line(&mut answer)?;
    Ok(Some(serde_json::from_str(&answer)?))
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
        serve(directory.path(), Roster::default()).unwrap();
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
}
