//! Plays the device's side of a recording from the field over a serial line: sends what the device
//! sent, after the driver has sent what it sent then. So each failure of a real device becomes a
//! test of today's driver.
//!
//! Strict: bytes that differ from the recording end the replay with an error that names the line.
//! Masked stretches are taken as they come, and played as zeros.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiosk_device::recording::{self, RecordingError, Step, What};
use kiosk_device::tap::Direction;

use crate::serial::SerialLine;
use crate::steering::{Running, Steered, TICK};

/// Longest pause that is kept between two lines: real enough for a frame that arrives in pieces.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// Bytes of a masked stretch that are played at once.
const CHUNK_BYTES: usize = 1024;

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is no recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The line could not be opened.
    #[error("cannot open a serial line")]
    Io(#[from] io::Error),
}

/// A recording that is being played.
#[derive(Debug)]
pub struct Replay {
    port: PathBuf,
    running: Running<State>,
}

#[derive(Debug, Default)]
struct State {
    played: usize,
    steps: usize,
    error: Option<String>,
}

impl Replay {
    /// Plays `text` on a serial line at `directory/name`.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn start(directory: &Path, name: &str, text: &str) -> Result<Self, ReplayError> {
        let steps = recording::parse(text)?;
        let port = directory.join(name);
        let line = SerialLine::open(&port, 0)?;
        let mut running = Running::new(Steered::new(State {
            steps: steps.len(),
            ..State::default()
        }));
        running.spawn("replay", move |steered| {
            let mut player = Player {
                line,
                heard: Vec::new(),
            };
            if let Err(error) = player.play(&steps, steered) {
                steered.change(|state| state.error = Some(error));
            }
            // The cable stays plugged: the driver may still have to read the last bytes.
            while steered.pause(TICK) {}
        })?;
        Ok(Self { port, running })
    }

    /// Where the driver reaches the device.
    pub fn port(&self) -> String {
        self.port.to_string_lossy().into_owned()
    }

    /// Waits up to `limit` until the whole recording was played.
    ///
    /// # Errors
    /// In words: which line differed, or how far it came.
    pub fn finish(&self, limit: Duration) -> Result<(), String> {
        let steered = &self.running.steered;
        steered.pause_while(limit, |state| {
            state.error.is_none() && state.played < state.steps
        });
        steered.look(|state| match &state.error {
            Some(error) => Err(error.clone()),
            None if state.played < state.steps => Err(format!(
                "the driver went {} of {} steps of the recording",
                state.played, state.steps
            )),
            None => Ok(()),
        })
    }
}

struct Player {
    line: SerialLine,
    /// Bytes of the driver that no step has used yet.
    heard: Vec<u8>,
}

impl Player {
    fn play(&mut self, steps: &[Step], steered: &Steered<State>) -> Result<(), String> {
        let mut last = Duration::ZERO;
        for (index, step) in steps.iter().enumerate() {
            let pause = step.at.saturating_sub(last).min(PAUSE_MAX);
            last = step.at;
            match &step.what {
                What::Note(_) => {}
                What::Bytes(Direction::Sent, bytes) => {
                    self.expect(index, bytes.len(), Some(bytes), steered)?;
                }
                What::Masked(Direction::Sent, count) => {
                    self.expect(index, *count, None, steered)?;
                }
                What::Bytes(Direction::Received, bytes) => {
                    steered.pause(pause);
                    self.send(bytes, steered)?;
                }
                What::Masked(Direction::Received, count) => {
                    steered.pause(pause);
                    let mut left = *count;
                    while left > 0 {
                        let chunk = left.min(CHUNK_BYTES);
                        self.send(&vec![0; chunk], steered)?;
                        left -= chunk;
                    }
                }
            }
            steered.change(|state| state.played = index + 1);
        }
        Ok(())
    }

    /// Waits for so many bytes of the driver, which must be `bytes` where these are known.
    fn expect(
        &mut self,
        index: usize,
        count: usize,
        bytes: Option<&[u8]>,
        steered: &Steered<State>,
    ) -> Result<(), String> {
        let mut buffer = [0; 512];
        while self.heard.len() < count {
            if steered.is_stopping() {
                return Err(format!("stopped while step {} was waited for", index + 1));
            }
            let received = self.line.receive(&mut buffer, TICK);
            let received = received.map_err(|error| error.to_string())?;
            self.heard
                .extend(buffer.get(..received).unwrap_or_default());
        }
        let rest = self.heard.split_off(count);
        let heard = std::mem::replace(&mut self.heard, rest);
        match bytes {
            Some(bytes) if bytes != heard => Err(format!(
                "step {}: the recording has {bytes:02X?}, the driver sent {heard:02X?}",
                index + 1
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn send(&mut self, bytes: &[u8], steered: &Steered<State>) -> Result<(), String> {
        match self.line.send(bytes, steered, |_| true) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the driver does not read".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
