//! A service manager in miniature: as much of systemd as `packaging/systemd/kiosk.service` asks of
//! one. It hears that the terminal is ready and that it lives, kills one that falls silent, has the
//! end written down as `ExecStopPost=` does, and starts a new one.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::clock::{Deadline, milliseconds_since, now, pause};
use crate::world::World;

/// `RestartSec=` of the unit.
pub const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How long a start may take on a machine that does other things too.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether the process has ended.
const TICK: Duration = Duration::from_millis(20);
/// Longest message of a service, in bytes; `sd_notify(3)` says that managers read at least so many.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The service manager of one world.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    name: OsString,
    patience: Duration,
    kiosk: PathBuf,
    config: PathBuf,
}

/// How a run ended, in the words of `$SERVICE_RESULT`, `$EXIT_CODE` and `$EXIT_STATUS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `success`, `watchdog`, `signal`, `exit-code`.
    pub result: &'static str,
    /// `exited` or `killed`.
    pub code: &'static str,
    /// A number.
    pub status: String,
}

impl End {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::new("success", "exited", 0),
            (Some(code), _) => Self::new("exit-code", "exited", code),
            (None, signal) => Self::new("signal", "killed", signal.unwrap_or_default()),
        }
    }

    fn new(result: &'static str, code: &'static str, status: i32) -> Self {
        Self {
            result,
            code,
            status: status.to_string(),
        }
    }
}

impl Supervisor {
    /// A manager that waits for signs of life as long as `patience`.
    ///
    /// # Errors
    /// Its socket cannot be made.
    pub fn new(world: &World, patience: Duration) -> anyhow::Result<Self> {
        let path = world.directory().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(TICK))?;
        Ok(Self {
            socket,
            name: path.into_os_string(),
            patience,
            kiosk: world.kiosk(),
            config: world.launch().config.clone(),
        })
    }

    /// Starts the terminal and waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not start, or never says so.
    pub fn start(&self, world: &mut World) -> anyhow::Result<()> {
        let patience = OsString::from(self.patience.as_micros().to_string());
        world.start_terminal_with(&[
            ("NOTIFY_SOCKET", self.name.as_os_str()),
            ("WATCHDOG_USEC", patience.as_os_str()),
        ])?;
        let deadline = Deadline::after(START_LIMIT);
        while !deadline.has_passed() {
            let words = self.hears(TICK)?;
            if words.is_some_and(|words| words.contains("READY=1")) {
                return Ok(());
            }
        }
        bail!("the terminal never says that it is ready")
    }

    /// The next message within `limit`.
    ///
    /// # Errors
    /// The socket fails.
    pub fn hears(&self, limit: Duration) -> anyhow::Result<Option<String>> {
        let deadline = Deadline::after(limit);
        let mut message = [0; MESSAGE_BYTES_MAX];
        loop {
            match self.socket.recv(&mut message) {
                Ok(count) => {
                    return Ok(Some(
                        String::from_utf8_lossy(&message[..count]).into_owned(),
                    ));
                }
                Err(error) if crate::control::is_patience(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if deadline.has_passed() {
                return Ok(None);
            }
        }
    }

    /// Forgets what was said until now.
    ///
    /// # Errors
    /// The socket fails.
    pub fn forget(&self) -> anyhow::Result<()> {
        while self.hears(Duration::ZERO)?.is_some() {}
        Ok(())
    }

    /// The longest time between two signs of life while `time` passes.
    ///
    /// # Errors
    /// The socket fails.
    pub fn longest_silence(&self, time: Duration) -> anyhow::Result<Duration> {
        let deadline = Deadline::after(time);
        let mut longest = Duration::ZERO;
        let mut last = now();
        while !deadline.has_passed() {
            if self.hears(TICK)?.is_some() {
                last = now();
            }
            longest = longest.max(Duration::from_millis(milliseconds_since(last)));
        }
        Ok(longest)
    }

    /// Waits until the run ends, or falls silent for longer than the patience and is killed.
    ///
    /// # Errors
    /// Neither happens `within`.
    pub fn wait_end(&self, world: &mut World, within: Duration) -> anyhow::Result<End> {
        let deadline = Deadline::after(within);
        let mut silence = Deadline::after(self.patience);
        while !deadline.has_passed() {
            if self.hears(TICK)?.is_some() {
                silence = Deadline::after(self.patience);
            }
            if let Some(status) = world.ended()? {
                return Ok(End::of(status));
            }
            if silence.has_passed() {
                world.signal(rustix::process::Signal::KILL)?;
                return Ok(End::new("watchdog", "killed", 9));
            }
        }
        bail!("the terminal lives on and is not silent")
    }

    /// After an end: waits until the process is gone, has the end written down, waits as the unit
    /// says, and starts a new one. Answers the time from the end to the first page of the new one.
    ///
    /// # Errors
    /// It does not go or does not start.
    pub fn start_anew(&self, world: &mut World, end: &End) -> anyhow::Result<Duration> {
        let begun = now();
        let deadline = Deadline::after(START_LIMIT);
        while world.ended()?.is_none() {
            ensure!(!deadline.has_passed(), "the process does not go away");
            pause(TICK);
        }
        self.note(end)?;
        pause(RESTART_PAUSE);
        self.start(world)?;
        Ok(Duration::from_millis(milliseconds_since(begun)))
    }

    /// Kills the terminal, as often as wanted, and starts it anew each time.
    ///
    /// # Errors
    /// It does not start.
    pub fn kill_and_start(&self, world: &mut World) -> anyhow::Result<Duration> {
        world.signal(rustix::process::Signal::KILL)?;
        self.forget()?;
        let end = self.wait_end(world, START_LIMIT)?;
        self.start_anew(world, &end)
    }

    /// What `ExecStopPost=` does.
    fn note(&self, end: &End) -> anyhow::Result<()> {
        let output = Command::new(&self.kiosk)
            .arg("safe-mode")
            .arg("--config")
            .arg(&self.config)
            .arg("--ended")
            .env("SERVICE_RESULT", end.result)
            .env("EXIT_CODE", end.code)
            .env("EXIT_STATUS", OsStr::new(&end.status))
            .output()
            .with_context(|| format!("{} cannot be run", self.kiosk.display()))?;
        ensure!(
            output.status.success(),
            "the end was not written down: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}
