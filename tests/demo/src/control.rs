//! What a journey can ask of a terminal process, and the Unix socket over which it does: one JSON
//! object a line each way, in order.
//!
//! Lines and connections are bounded, every read and write has a deadline. The release terminal has
//! no such socket: only this program contains it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kiosk_ui::UiHandle;
use kiosk_ui::probe::Probe;
use serde::{Deserialize, Serialize};

use crate::clock::pause;

/// Longest line in either direction, bytes. Chosen: a full screen of labels has about 6 kB.
pub const LINE_BYTES_MAX: usize = 256 * 1024;
/// Connections served at once: a player, a panel, and a curious person.
const CONNECTIONS_MAX: usize = 4;
/// How often an idle listener looks for a new connection. Chosen: below what a journey notices.
const LISTEN_TICK: Duration = Duration::from_millis(20);
/// Longest silence inside a connection before the server looks whether it is still wanted.
const READ_TICK: Duration = Duration::from_secs(1);
/// Longest time to hand over an answer.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// A question or an order to the terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What is on the glass?
    Look,
    /// Touch the button with this label.
    Touch {
        /// The label, or a part that only one button has.
        label: String,
    },
    /// Like touch, but the finger stays.
    Hold {
        /// The label, or a part that only one button has.
        label: String,
        /// How long, milliseconds.
        ms: u64,
    },
    /// Write the glass to a PNG file.
    Snapshot {
        /// The file.
        file: PathBuf,
    },
    /// When was the first frame painted?
    FirstFrame,
    /// End the program.
    Quit,
}

/// The terminal's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Reply {
    /// What is on the glass.
    Seen(Sight),
    /// Done.
    Done,
    /// The first frame.
    FirstFrame {
        /// Milliseconds from the start of the process; absent while there is none.
        ms: Option<u64>,
    },
    /// It could not be done.
    Refused {
        /// Why.
        error: String,
    },
}

/// What is on the glass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// Stable name of the page; of a staff page with its own behind it, `staff/menu`.
    pub screen: String,
    /// Everything with a label, in the order of the layout.
    pub elements: Vec<Element>,
}

/// One thing on the glass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// What it says.
    pub label: String,
    /// `button`, `text`, …
    pub role: String,
    /// True where a touch does something.
    pub enabled: bool,
}

impl Sight {
    /// True when some label contains `text`.
    pub fn says(&self, text: &str) -> bool {
        self.elements
            .iter()
            .any(|element| element.label.contains(text))
    }

    /// Labels of the buttons that can be touched.
    pub fn buttons(&self) -> impl Iterator<Item = &str> {
        self.elements
            .iter()
            .filter(|element| element.role == "button" && element.enabled)
            .map(|element| element.label.as_str())
    }

    /// True when a touch on `label` would find exactly one button.
    pub fn has_button(&self, label: &str) -> bool {
        self.buttons().any(|button| button == label)
            || self
                .buttons()
                .filter(|button| button.contains(label))
                .count()
                == 1
    }

    /// The page and every label, in one line for a person.
    pub fn describe(&self) -> String {
        let labels: Vec<&str> = self
            .elements
            .iter()
            .map(|element| element.label.as_str())
            .collect();
        format!("screen `{}` with: {}", self.screen, labels.join(" | "))
    }
}

/// When the first frame was painted, in milliseconds from the start of the process.
pub type FirstFrame = Arc<OnceLock<u64>>;

/// Serves the glass behind `ui` at the socket `path` until the process ends; a stale socket there
/// is replaced.
///
/// # Errors
/// The socket or the thread cannot be made.
pub fn serve(path: &Path, ui: UiHandle, first_frame: FirstFrame) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || accept(&listener, &ui, &first_frame))
        .map(drop)
}

fn accept(listener: &UnixListener, ui: &UiHandle, first_frame: &FirstFrame) {
    let open = Arc::new(AtomicUsize::new(0));
    // Ends with the process: the listener has nothing to save.
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) if open.load(Ordering::SeqCst) < CONNECTIONS_MAX => stream,
            Ok(_) | Err(_) => {
                pause(LISTEN_TICK);
                continue;
            }
        };
        let (ui, first_frame, open) = (ui.clone(), Arc::clone(first_frame), Arc::clone(&open));
        open.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            if let Err(error) = talk(stream, &ui, &first_frame) {
                tracing::debug!(%error, "a control connection ended");
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn talk(mut stream: UnixStream, ui: &UiHandle, first_frame: &FirstFrame) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_LIMIT))?;
    let probe = ui.probe();
    let mut lines = Lines::new(READ_TICK);
    loop {
        let line = match lines.next(&mut stream) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(error) if is_patience(&error) => continue,
            Err(error) => return Err(error),
        };
        let reply = match serde_json::from_slice(&line) {
            Ok(request) => obey(&request, ui, &probe, first_frame),
            Err(error) => Reply::Refused {
                error: error.to_string(),
            },
        };
        write_line(&mut stream, &reply)?;
    }
}

fn obey(request: &Request, ui: &UiHandle, probe: &Probe, first_frame: &FirstFrame) -> Reply {
    let done = |result: Result<(), String>| match result {
        Ok(()) => Reply::Done,
        Err(error) => Reply::Refused { error },
    };
    match request {
        Request::Look => match look(probe) {
            Ok(sight) => Reply::Seen(sight),
            Err(error) => Reply::Refused { error },
        },
        Request::Touch { label } => done(probe.touch(label).map_err(|error| error.to_string())),
        Request::Hold { label, ms } => done(
            probe
                .hold(label, Duration::from_millis(*ms))
                .map_err(|error| error.to_string()),
        ),
        Request::Snapshot { file } => done(photograph(probe, file)),
        Request::FirstFrame => Reply::FirstFrame {
            ms: first_frame.get().copied(),
        },
        Request::Quit => {
            ui.quit();
            Reply::Done
        }
    }
}

fn look(probe: &Probe) -> Result<Sight, String> {
    let screen = probe.place().map_err(|error| error.to_string())?;
    let elements = probe.elements().map_err(|error| error.to_string())?;
    Ok(Sight {
        screen,
        elements: elements
            .into_iter()
            .map(|element| Element {
                label: element.label,
                role: element.role,
                enabled: element.enabled,
            })
            .collect(),
    })
}

fn photograph(probe: &Probe, file: &Path) -> Result<(), String> {
    let picture = probe.snapshot().map_err(|error| error.to_string())?;
    let pixels = image::RgbImage::from_raw(picture.width, picture.height, picture.rgb.to_vec())
        .ok_or_else(|| "the picture is incomplete".to_owned())?;
    pixels.save(file).map_err(|error| error.to_string())
}

/// Writes one value as one line.
pub(crate) fn write_line(stream: &mut UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Cuts a stream into lines of bounded length.
#[derive(Debug)]
pub(crate) struct Lines {
    received: Vec<u8>,
    patience: Duration,
}

impl Lines {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            received: Vec::new(),
            patience,
        }
    }

    /// The next line; `None` at the end of the stream. Running out of patience is an error that
    /// [`is_patience`] knows; what was received until then is kept.
    pub(crate) fn next(&mut self, stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
        stream.set_read_timeout(Some(self.patience))?;
        let mut buffer = [0; 8192];
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(end + 1);
                return Ok(Some(std::mem::replace(&mut self.received, rest)));
            }
            if self.received.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    "the line is too long",
                ));
            }
            match stream.read(&mut buffer)? {
                0 => return Ok(None),
                count => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// True for a read that merely took too long.
pub(crate) fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(buttons: &[&str]) -> Sight {
        let element = |label: &&str| Element {
            label: (*label).to_owned(),
            role: "button".to_owned(),
            enabled: true,
        };
        Sight {
            screen: "home".to_owned(),
            elements: buttons.iter().map(element).collect(),
        }
    }

    #[test]
    fn a_button_is_found_as_the_finger_finds_it() {
        assert!(sight(&["满意", "非常满意"]).has_button("满意"));
        assert!(!sight(&["基本满意", "非常满意"]).has_button("满意"));
        assert!(sight(&["确认提交"]).has_button("提交"));
        assert!(!sight(&["确认提交"]).has_button("打印"));
    }

    #[test]
    fn requests_are_spelled_as_documented() {
        for (json, expect) in [
            (r#"{"ask":"look"}"#, Request::Look),
            (
                r#"{"ask":"touch","label":"打印"}"#,
                Request::Touch {
                    label: "打印".to_owned(),
                },
            ),
            (
                r#"{"ask":"hold","label":"a","ms":5}"#,
                Request::Hold {
                    label: "a".to_owned(),
                    ms: 5,
                },
            ),
            (r#"{"ask":"first-frame"}"#, Request::FirstFrame),
        ] {
            assert_eq!(serde_json::from_str::<Request>(json).unwrap(), expect);
        }
        assert!(serde_json::from_str::<Request>(r#"{"ask":"touch","labels":"x"}"#).is_err());
    }

    #[test]
    fn lines_are_cut_bounded_and_kept_across_time_outs() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(Duration::from_millis(10));
        theirs.write_all(b"one\ntw").unwrap();
        assert_eq!(
            lines.next(&mut ours).unwrap().as_deref(),
            Some(&b"one\n"[..])
        );
        assert!(is_patience(&lines.next(&mut ours).unwrap_err()));
        theirs.write_all(b"o\n").unwrap();
        assert_eq!(
            lines.next(&mut ours).unwrap().as_deref(),
            Some(&b"two\n"[..])
        );
        let flood =
            std::thread::spawn(move || theirs.write_all(&vec![b'x'; LINE_BYTES_MAX + 9000]));
        assert_eq!(
            lines.next(&mut ours).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
        drop(ours);
        assert!(flood.join().is_ok());
    }
}
