//! A contestant is a program of its own that is told what to do one line at a time, so that one
//! command interleaves all of them on one disk, and the kernel tells of each what it cost.
//!
//! Commands: `put N`, `take N` (claim and settle, one by one), `fill N`, `quit`. Each is answered
//! by one line of JSON: first [`Standing`], then [`Times`] for each command.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::clock::Watch;
use crate::limit::Limit;
use crate::ours::Ours;
use crate::records;

/// Longest answer: 100,000 durations of 12 digits.
const ANSWER_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// An answer is awaited before the next command goes out.
const ANSWERS_WAITING: usize = 1;

/// What a contestant says of itself when it is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its version.
    pub version: String,
    /// What it stores with.
    pub engine: String,
    /// `PRAGMA journal_mode`, asked of the connection in use; empty without a database.
    pub journal_mode: String,
    /// `PRAGMA synchronous`, likewise: 2 is FULL. Without a database, 2 too.
    pub synchronous: i64,
}

/// How long each operation took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// One duration for each operation.
    pub nanoseconds: Vec<u64>,
}

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contestant {
    /// Its name in the tables.
    pub name: String,
    /// Program and arguments; `--dir`, `--records` and `--relaxed` are added.
    pub command: Vec<String>,
}

/// A program that was started and is ready.
#[derive(Debug)]
pub struct Running {
    /// What it said when it was ready.
    pub standing: Standing,
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Vec<u8>>,
}

/// How a contestant is started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Where its store is.
    pub directory: &'a Path,
    /// The file of records.
    pub records: &'a Path,
    /// Whether it need not sync: for filling only.
    pub is_relaxed: bool,
    /// A file for the calls that `strace` sees.
    pub trace: Option<&'a Path>,
}

impl Contestant {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or does not get ready before the deadline.
    pub fn start(&self, start: Start<'_>, deadline: Duration) -> anyhow::Result<Running> {
        let mut words: Vec<PathBuf> = Vec::new();
        if let Some(trace) = start.trace {
            let strace = "strace -f --seccomp-bpf -qq -e trace=fsync,fdatasync -o";
            words.extend(strace.split(' ').map(PathBuf::from));
            words.push(trace.to_owned());
        }
        words.extend(self.command.iter().map(PathBuf::from));
        let (program, arguments) = words.split_first().context("no program")?;
        let mut command = Command::new(program);
        command.args(arguments).arg("--dir").arg(start.directory);
        command.arg("--records").arg(start.records);
        if start.is_relaxed {
            command.arg("--relaxed");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        let commands = child.stdin.take().context("no way to tell it")?;
        let answers = listen(child.stdout.take().context("no way to hear it")?);
        let mut running = Running {
            standing: Standing::default(),
            child,
            commands,
            answers,
        };
        running.standing = running
            .hear(deadline)
            .with_context(|| format!("{} did not get ready", self.name))?;
        Ok(running)
    }
}

/// A thread that hears one side, so that a contestant that hangs is noticed.
fn listen(out: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (heard, answers) = sync_channel(ANSWERS_WAITING);
    std::thread::spawn(move || {
        let mut out = BufReader::new(out);
        loop {
            let mut line = Vec::new();
            let read = out
                .by_ref()
                .take(ANSWER_BYTES_MAX)
                .read_until(b'\n', &mut line);
            if !matches!(read, Ok(count) if count > 0) || heard.send(line).is_err() {
                return;
            }
        }
    });
    answers
}

impl Running {
    /// Gives a command and waits for its answer.
    ///
    /// # Errors
    /// When it has ended, is late, or answers something else.
    pub fn order(&mut self, word: &str, count: u64, deadline: Duration) -> anyhow::Result<Times> {
        writeln!(self.commands, "{word} {count}")?;
        self.commands.flush()?;
        self.hear(deadline)
    }

    /// The id of its process, as the kernel knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Lets it close its store and end.
    ///
    /// # Errors
    /// When it ends with a failure.
    pub fn quit(mut self) -> anyhow::Result<()> {
        writeln!(self.commands, "quit")?;
        self.commands.flush()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("a contestant ended with {status}");
        }
        Ok(())
    }

    fn hear<T: serde::de::DeserializeOwned>(&self, deadline: Duration) -> anyhow::Result<T> {
        let line = self
            .answers
            .recv_timeout(deadline)
            .context("no answer in time")?;
        serde_json::from_slice(&line).context("an answer that cannot be understood")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `quit` it has ended, and both calls do nothing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A store in this program.
#[derive(Debug)]
pub enum Store {
    /// Our own.
    Ours(Box<Ours>),
    /// The limit.
    Limit(Limit),
}

impl Store {
    fn standing(&self) -> Standing {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        match self {
            // What the store's own tests hold every connection to; the counted calls bear it out.
            Self::Ours(_) => Standing {
                version,
                engine: "offline-cache".to_owned(),
                journal_mode: "wal".to_owned(),
                synchronous: 2,
            },
            Self::Limit(_) => Standing {
                version,
                engine: "fdatasync".to_owned(),
                journal_mode: String::new(),
                synchronous: 2,
            },
        }
    }

    /// One operation; its duration in nanoseconds.
    fn put(&mut self, record: &[u8]) -> anyhow::Result<u64> {
        match self {
            Self::Ours(ours) => {
                let transaction = ours.wrap(record);
                let watch = Watch::start();
                ours.put(&transaction)?;
                Ok(watch.nanoseconds())
            }
            Self::Limit(limit) => {
                let watch = Watch::start();
                limit.put(record)?;
                Ok(watch.nanoseconds())
            }
        }
    }

    fn take(&mut self) -> anyhow::Result<u64> {
        let watch = Watch::start();
        match self {
            Self::Ours(ours) => ours.take()?,
            Self::Limit(limit) => limit.take()?,
        }
        Ok(watch.nanoseconds())
    }

    fn fill(&mut self, record: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Ours(_) => self.put(record).map(drop),
            Self::Limit(limit) => Ok(limit.fill(record)?),
        }
    }
}

/// The contestant's side: serves commands until `quit` or the end of the input.
///
/// # Errors
/// What the store says, an unknown command, or an output that is gone.
pub fn serve(
    mut store: Store,
    records: &[u8],
    commands: impl BufRead,
    mut answers: impl Write,
) -> anyhow::Result<()> {
    let mut place = 0;
    let mut say = |answer: String| -> std::io::Result<()> {
        writeln!(answers, "{answer}")?;
        answers.flush()
    };
    say(serde_json::to_string(&store.standing())?)?;
    for command in commands.lines() {
        let command = command?;
        let (word, count) = command.split_once(' ').unwrap_or((&command, "0"));
        let mut times = Times::default();
        for _ in 0..count.parse::<u64>()? {
            match word {
                "put" => times
                    .nanoseconds
                    .push(store.put(records::at(records, place))?),
                "take" => times.nanoseconds.push(store.take()?),
                "fill" => store.fill(records::at(records, place))?,
                _ => bail!("unknown command {word:?}"),
            }
            place += 1;
        }
        if word == "quit" {
            return Ok(());
        }
        say(serde_json::to_string(&times)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Way;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn commands_are_answered_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::Limit(Limit::open(directory.path(), Way::Append).unwrap());
        let mut answers = Vec::new();
        let records = records::letters(2, 1);
        serve(
            store,
            &records,
            &b"put 3\ntake 2\nfill 1\nquit\nput 1\n"[..],
            &mut answers,
        )
        .unwrap();
        let text = String::from_utf8(answers).unwrap();
        let mut lines = text.lines();
        let standing: Standing = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(standing.synchronous, 2);
        let counts: Vec<usize> = lines
            .map(|line| {
                let times: Times = serde_json::from_str(line).unwrap();
                times.nanoseconds.len()
            })
            .collect();
        assert_eq!(counts, [3, 2, 0]);
        let written = std::fs::read(directory.path().join("records")).unwrap();
        assert_eq!(written.len(), 4 * records::RECORD_BYTES);
    }

    #[test]
    fn an_unknown_command_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::Limit(Limit::open(directory.path(), Way::Append).unwrap());
        assert!(serve(store, &[], &b"pull 1\n"[..], Vec::new()).is_err());
    }

    fn shell(script: &str) -> anyhow::Result<Running> {
        let contestant = Contestant {
            name: "shell".to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        };
        let start = Start {
            directory: Path::new("/nonexistent"),
            records: Path::new("/nonexistent"),
            is_relaxed: false,
            trace: None,
        };
        contestant.start(start, DEADLINE)
    }

    const READY: &str =
        r#"echo '{"version":"1","engine":"e","journal_mode":"wal","synchronous":1}';"#;

    #[test]
    fn another_program_is_driven_by_its_lines() {
        let script = format!("{READY} read a; echo '{{\"nanoseconds\":[5,6]}}'; read b");
        let mut running = shell(&script).unwrap();
        assert_eq!(running.standing.synchronous, 1);
        let times = running.order("put", 2, DEADLINE).unwrap();
        assert_eq!(times.nanoseconds, [5, 6]);
        running.quit().unwrap();
    }

    #[test]
    fn one_that_ends_or_talks_nonsense_is_noticed() {
        assert!(shell("exit 3").is_err());
        assert!(shell("echo nonsense").is_err());
        let mut running = shell(&format!("{READY} read a; read b; exit 3")).unwrap();
        assert!(running.order("put", 1, Duration::from_millis(50)).is_err());
        assert!(running.quit().is_err());
    }
}
