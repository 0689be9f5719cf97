//! One village of the demo: a terminal with its devices, its updater, and as much of a service manager
//! as both ask of one. The updater is the real program; whatever it may do is in its configuration.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use kiosk_update::engine::Status;
use serde::Serialize;
use serde_json::json;

use crate::clock::{Deadline, milliseconds_since, now, pause};
use crate::world::{Setting, World};

/// Longest pass: a self-test before, one after, and a start between them.
const PASS_LIMIT: Duration = Duration::from_mins(10);
/// Longest start of a terminal that is asked for, beyond the unit's own limit.
const SERVICE_LIMIT: Duration = Duration::from_secs(90);
/// How often it is looked whether the updater asks or has ended.
const TICK: Duration = Duration::from_millis(20);
/// What the service is told to do.
const RESTART: u8 = b'r';
/// How it answers.
const DONE: u8 = b'+';
const FAILED: u8 = b'-';

/// What one pass of the updater came to.
#[derive(Clone, Debug, Serialize)]
pub struct Pass {
    /// The terminal.
    pub terminal: String,
    /// What the updater says of itself afterwards.
    pub status: Status,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The most memory that the updater held, in KiB; 0 when it ended before it was looked at.
    pub memory_kib: u64,
}

/// A village.
#[derive(Debug)]
pub struct Site {
    /// Its terminal and devices.
    pub world: World,
    terminal: String,
    updater: PathBuf,
    config: PathBuf,
    state: PathBuf,
    packaged: PathBuf,
    service: UnixListener,
}

/// Where an updater finds what, and what it is.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Code of the village.
    pub region: &'a str,
    /// Kind of hardware.
    pub hardware: &'a str,
    /// Address of the repository.
    pub repository: &'a str,
    /// Where belief begins.
    pub root: &'a Path,
}

impl Site {
    /// A village whose terminal is not started yet.
    ///
    /// # Errors
    /// A directory, port or file cannot be had.
    pub fn new(setting: &Setting, place: &Place<'_>) -> anyhow::Result<Self> {
        let world = World::new(setting)?;
        let socket = world.directory().join("service");
        let service = UnixListener::bind(&socket)?;
        service.set_nonblocking(true)?;
        let state = world.directory().join("updater");
        std::fs::create_dir_all(&state)?;
        let config = world.directory().join("updater.toml");
        let kiosk = |words: &[&str]| {
            let mut line = vec![world.kiosk().display().to_string()];
            line.extend(words.iter().map(|word| (*word).to_owned()));
            line.push("--config".to_owned());
            line.push(world.launch().config.display().to_string());
            line
        };
        let text = json!({
            "terminal": {
                "id": setting.terminal,
                "region": place.region,
                "hardware": place.hardware,
            },
            "repository": { "url": place.repository },
            // The loopback is no thin line, and the demo shall end.
            "line": { "bytes_per_s": 200_000_000 },
            // What is lost on the bench does not come back by warming up.
            "trial": { "patience_s": 1 },
            "paths": { "state": state, "root": place.root },
            "programs": {
                "restart": [setting.program, "restart", "--service", socket],
                "examine": kiosk(&["selftest", "--json"]),
                "busy": kiosk(&["visit"]),
                "held": kiosk(&["held"]),
            },
        });
        std::fs::write(&config, toml::to_string(&text)?)?;
        Ok(Self {
            terminal: setting.terminal.clone(),
            updater: setting.program.with_file_name("kiosk-updater"),
            packaged: setting.program.clone(),
            world,
            config,
            state,
            service,
        })
    }

    /// The terminal's number.
    pub fn terminal(&self) -> &str {
        &self.terminal
    }

    /// Starts the program that is in force, as the unit's `ExecSearchPath=` finds it.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let slot = self.state.join("slots/current/bin/kiosk");
        let program = if slot.exists() {
            slot
        } else {
            self.packaged.clone()
        };
        self.world.start_program(program)
    }

    /// Runs the updater once, as the timer does, and serves what it asks of the service manager.
    ///
    /// # Errors
    /// The updater cannot be run, does not end, or leaves no status.
    pub fn pass(&mut self) -> anyhow::Result<Pass> {
        let began = now();
        let log = std::fs::File::create(self.state.join("updater.log"))?;
        let mut child = Command::new(&self.updater)
            .arg("--config")
            .arg(&self.config)
            .arg("run")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{}: build it first", self.updater.display()))?;
        let mut memory_kib = 0;
        let deadline = Deadline::after(PASS_LIMIT);
        while child.try_wait()?.is_none() {
            memory_kib = memory_kib.max(peak_kib(&child));
            match self.service.accept() {
                Ok((stream, _)) => self.serve(stream)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => pause(TICK),
                Err(error) => return Err(error.into()),
            }
            if deadline.has_passed() {
                child.kill()?;
                child.wait()?;
                bail!("the updater of {} does not end", self.terminal);
            }
        }
        Ok(Pass {
            terminal: self.terminal.clone(),
            status: self.status()?,
            took_ms: milliseconds_since(began),
            memory_kib,
        })
    }

    /// What the updater said last.
    ///
    /// # Errors
    /// It has said nothing; the error ends with what it wrote.
    pub fn status(&self) -> anyhow::Result<Status> {
        let bytes = std::fs::read(self.state.join("status.json"));
        let status = bytes.ok().and_then(|bytes| Status::parse(&bytes));
        status.with_context(|| {
            let said = std::fs::read_to_string(self.state.join("updater.log"));
            format!(
                "the updater of {} left no status: {}",
                self.terminal,
                said.unwrap_or_default()
            )
        })
    }

    /// Does what the updater asks, and says whether it could be done.
    fn serve(&mut self, mut stream: UnixStream) -> anyhow::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(SERVICE_LIMIT))?;
        let mut word = [0];
        stream.read_exact(&mut word)?;
        let is_done = word == [RESTART] && self.restart().is_ok();
        // It may have stopped waiting; then it knows what it needs to know.
        drop(stream.write_all(&[if is_done { DONE } else { FAILED }]));
        Ok(())
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        self.world.stop_terminal();
        self.start()
    }
}

/// Asks the service manager of a village to start its terminal anew, and waits until it has.
///
/// # Errors
/// Nobody listens, or the terminal does not come up.
pub fn restart(service: &Path) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(service)?;
    stream.set_read_timeout(Some(SERVICE_LIMIT))?;
    stream.write_all(&[RESTART])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer != [DONE] {
        bail!("the terminal does not come up");
    }
    Ok(())
}

/// The most memory that a running process has held.
fn peak_kib(child: &Child) -> u64 {
    std::fs::read_to_string(format!("/proc/{}/status", child.id()))
        .ok()
        .and_then(|status| peak_of(&status))
        .unwrap_or_default()
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_memory_is_read_from_the_kernel() {
        assert_eq!(peak_of("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\n"), Some(1234));
        assert_eq!(peak_of("VmHWM: much"), None);
    }
}
