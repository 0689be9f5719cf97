//! The terminal process seen from outside: started, asked, killed with SIGKILL, started again.
//!
//! Everything asked of it has a deadline; a process that has died is told apart from one that is
//! slow, and the end of its log goes with the error.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock::{Deadline, pause};
use crate::control::{Lines, Reply, Request, Sight, is_patience, write_line};

/// How long a terminal may take from its start to its socket. Chosen: a cold disk under load.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a terminal may take to end when it is asked to.
const QUIT_LIMIT: Duration = Duration::from_secs(10);
/// How long an answer may take: the longest hold, and the loop of the glass under load.
const ANSWER_LIMIT: Duration = Duration::from_secs(45);
/// Pause between two looks at a process that starts or ends.
const TICK: Duration = Duration::from_millis(10);
/// How much of the log an error shows.
const LOG_TAIL_BYTES: u64 = 1500;

/// How a terminal process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The `kiosk-demo` program.
    pub program: PathBuf,
    /// Its `kiosk.toml`.
    pub config: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// Its log; a restart adds to it.
    pub log: PathBuf,
    /// Show it in a window of the desktop.
    pub is_window: bool,
    /// What it finds in its environment beside ours.
    pub environment: Vec<(String, OsString)>,
}

/// A running terminal process; dropping it kills it.
#[derive(Debug)]
pub struct Remote {
    child: Child,
    stream: UnixStream,
    lines: Lines,
    log: PathBuf,
}

impl Remote {
    /// Starts the process and waits for its control socket.
    ///
    /// # Errors
    /// The program cannot be started, or dies or hangs before its socket is there.
    pub fn start(launch: &Launch) -> anyhow::Result<Self> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&launch.log)?;
        let _stale = std::fs::remove_file(&launch.socket);
        let mut command = Command::new(&launch.program);
        command.arg("terminal").arg("--config").arg(&launch.config);
        command.arg("--control").arg(&launch.socket);
        if launch.is_window {
            // The layout is made for 1080 pixels; half of it fits a desktop.
            command.arg("--window").env("SLINT_SCALE_FACTOR", "0.5");
        }
        if std::env::var_os("KIOSK_LOG").is_none() {
            // As talkative as in the field at its worst: the log is searched for personal data.
            command.env("KIOSK_LOG", "info,kiosk_app=debug,kiosk_device=debug,kiosk_id_card=debug,kiosk_printer=debug,kiosk_qr_scanner=debug,kiosk_camera=debug,offline_cache=debug");
        }
        command
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        let stream = match connect(&mut child, &launch.socket) {
            Ok(stream) => stream,
            Err(error) => {
                end(&mut child);
                return Err(error.context(tail(&launch.log)));
            }
        };
        Ok(Self {
            child,
            stream,
            lines: Lines::new(ANSWER_LIMIT),
            log: launch.log.clone(),
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// The process has died, hangs, or refuses (with its reason).
    pub fn ask(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let answer =
            write_line(&mut self.stream, request).and_then(|()| self.lines.next(&mut self.stream));
        match answer {
            Ok(Some(line)) => {
                let reply = serde_json::from_slice(&line)?;
                if let Reply::Refused { error } = reply {
                    bail!(error);
                }
                Ok(reply)
            }
            Err(error) if is_patience(&error) => {
                bail!("the terminal does not answer; {}", tail(&self.log))
            }
            Ok(None) | Err(_) => {
                let status = self.child.try_wait().ok().flatten();
                bail!(
                    "the terminal process has ended ({}); {}",
                    told(status),
                    tail(&self.log)
                )
            }
        }
    }

    /// What is on the glass.
    ///
    /// # Errors
    /// As [`Remote::ask`].
    pub fn look(&mut self) -> anyhow::Result<Sight> {
        let reply = self.ask(&Request::Look)?;
        let Reply::Seen(sight) = reply else {
            bail!("the terminal answered {reply:?} to a look");
        };
        Ok(sight)
    }

    /// Kills the process as a power cut does (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end.
    ///
    /// # Errors
    /// It does not end in time or not well.
    pub fn quit(mut self) -> anyhow::Result<()> {
        self.ask(&Request::Quit)?;
        let deadline = Deadline::after(QUIT_LIMIT);
        while !deadline.has_passed() {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the terminal ended with {status}; {}", tail(&self.log)),
                None => pause(TICK),
            }
        }
        bail!("the terminal does not end; {}", tail(&self.log))
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How the process has ended; `None` while it runs.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends the process a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> std::io::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Memory of the process in KiB, shared pages divided among their users.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn pss_kib(&self) -> anyhow::Result<u64> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        pss_of(&rollup).context("no Pss line in smaps_rollup")
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself; then there is nothing to kill.
    let _ended = child.kill();
    let _status = child.wait();
}

fn connect(child: &mut Child, socket: &Path) -> anyhow::Result<UnixStream> {
    let deadline = Deadline::after(START_LIMIT);
    while !deadline.has_passed() {
        if let Ok(stream) = UnixStream::connect(socket) {
            stream.set_write_timeout(Some(ANSWER_LIMIT))?;
            return Ok(stream);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the terminal ended at its start ({})", told(Some(status)));
        }
        pause(TICK);
    }
    bail!("the terminal did not start in {} s", START_LIMIT.as_secs())
}

fn told(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "still running".to_owned(), |status| status.to_string())
}

/// The end of a log, for an error.
fn tail(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_or_else(
        |error| format!("its log cannot be read: {error}"),
        |text| format!("end of its log: {text}"),
    )
}

fn pss_of(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_proportional_set_size() {
        let rollup = "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss: 90000 kB\nPss:               71234 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(pss_of(rollup), Some(71_234));
        assert_eq!(pss_of("Rss: 1 kB"), None);
    }

    #[test]
    fn a_program_that_dies_at_its_start_is_reported_with_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let launch = Launch {
            program: PathBuf::from("/bin/false"),
            config: directory.path().join("kiosk.toml"),
            socket: directory.path().join("control"),
            log: directory.path().join("terminal.log"),
            is_window: false,
            environment: Vec::new(),
        };
        let error = format!("{:#}", Remote::start(&launch).unwrap_err());
        assert!(error.contains("ended at its start"), "{error}");
    }
}
