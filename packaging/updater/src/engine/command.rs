//! Asks another program, by arguments and never through a shell, with an end to how long it takes and
//! how much it says. What it says on its error output is nobody's business here.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    program: PathBuf,
    arguments: Vec<String>,
    limit: Duration,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By itself, or by a signal.
    Ended {
        /// Its exit status; `None` after a signal.
        status: Option<i32>,
        /// What it said.
        output: Vec<u8>,
    },
    /// It was killed: it took too long.
    TooLate,
    /// It was killed: it said too much.
    TooLong,
}

impl Command {
    /// A program that has `limit` to say everything, and `limit` again to end.
    pub fn new(program: &Path, arguments: &[&str], limit: Duration) -> Self {
        Self {
            program: program.to_path_buf(),
            arguments: arguments.iter().copied().map(str::to_owned).collect(),
            limit,
        }
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// It cannot be run or waited for.
    pub fn ask(&self, bytes_max: usize) -> io::Result<Asked> {
        let mut child = std::process::Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let outcome = self.follow(&mut child, bytes_max);
        if !matches!(outcome, Ok(Asked::Ended { .. })) {
            end(&mut child);
        }
        outcome
    }

    fn follow(&self, child: &mut Child, bytes_max: usize) -> io::Result<Asked> {
        let said = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let said = File::from(OwnedFd::from(said));
        let most = bytes_max as u64 + 1;
        let (sender, output) = sync_channel(1);
        // Ends with the program, or with this process when something else keeps the pipe open.
        std::thread::Builder::new()
            .name("listener".to_owned())
            .spawn(move || {
                let mut bytes = Vec::new();
                let outcome = said.take(most).read_to_end(&mut bytes);
                // Nobody takes it when it came too late.
                drop(sender.send(outcome.map(|_| bytes)));
            })?;
        let Ok(output) = output.recv_timeout(self.limit) else {
            return Ok(Asked::TooLate);
        };
        let output = output?;
        if output.len() > bytes_max {
            return Ok(Asked::TooLong);
        }
        if !ends_within(child, self.limit)? {
            return Ok(Asked::TooLate);
        }
        let status = child.wait()?.code();
        Ok(Asked::Ended { status, output })
    }
}

fn ends_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut ends = [PollFd::new(&process, PollFlags::IN)];
    Ok(poll(&mut ends, Some(&limit))? > 0)
}

fn end(child: &mut Child) {
    // It may have ended in this moment.
    drop(child.kill());
    drop(child.wait());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(arguments: &[&str], limit: Duration) -> Asked {
        Command::new(Path::new("/bin/sh"), arguments, limit)
            .ask(100)
            .unwrap()
    }

    #[test]
    fn a_program_is_asked_to_its_end() {
        let asked = ask(&["-c", "echo here; exit 3"], Duration::from_secs(30));
        let output = b"here\n".to_vec();
        assert_eq!(
            asked,
            Asked::Ended {
                status: Some(3),
                output
            }
        );
    }

    #[test]
    fn a_program_that_never_ends_or_never_stops_talking_is_ended() {
        let brief = Duration::from_millis(100);
        assert_eq!(ask(&["-c", "exec sleep 600"], brief), Asked::TooLate);
        assert_eq!(
            ask(&["-c", "exec >&-; exec sleep 600"], brief),
            Asked::TooLate
        );
        assert_eq!(
            ask(&["-c", "exec cat /dev/zero"], Duration::from_secs(30)),
            Asked::TooLong
        );
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let command = Command::new(Path::new("/nowhere/at/all"), &[], Duration::from_secs(1));
        assert!(command.ask(1).is_err());
    }
}
