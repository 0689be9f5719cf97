//! The kill loop: a whole terminal, store, drain and line, is killed with `SIGKILL` again and
//! again while it enqueues, syncs and writes down what staff do, against a reference platform that
//! believes only its signatures and is cut and spoiled meanwhile. What it acknowledged before each
//! death must be in the store after it and at the platform in the end, once.
//!
//! The victim is a process of its own; the oracle knows only what the victim said through a pipe,
//! one write a line, and what the two databases hold. When to kill follows from the seed:
//! at a random moment, or aimed at the n-th time the victim enters a phase. Threads and the line
//! run as they like, so a replay has the same kills and not the same interleaving.

mod autopsy;
mod case;
mod hands;
mod ledger;
mod line;
mod oracle;
mod staff;
mod victim;
mod weather;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use central_platform::{Config, Enroll, Platform, Signatures};
use tempfile::TempDir;

use kiosk_tests::random::Random;
use oracle::{Compared, Oracle};
pub use victim::{Victim, play};
use weather::Weather;

/// Name of the terminal.
const TERMINAL: &str = "T001";
/// Where every life's wall clock starts, in seconds since 1970, and how much later the next one
/// begins: a thousand lives stay within the 90 days receipts are kept.
const CLOCK_S: i64 = 1_795_000_000;
const LIFE_S: i64 = 3600;
/// Some lives begin with a clock that has gone back, as without its battery.
const CLOCK_BACK_S: i64 = 24 * 3600;
/// Numbers of transactions set aside for one life; it reaches a few hundred.
const NUMBERS_PER_LIFE: u64 = 100_000;
/// Longest life that is ended at a random moment, in milliseconds: past the start, the first
/// batches and the first scrub.
const LIFE_MS_MAX: u64 = 700;
/// How long an aimed kill waits for its phase before it comes anyway.
const AIM_MAX: Duration = Duration::from_secs(3);
/// How long the last victim has to empty its outbox.
const DRAIN_MAX: Duration = Duration::from_mins(5);
/// Lines of one life at most; a life says some thousands.
const LINES_MAX: usize = 1_000_000;
/// Phases a kill is aimed at. `commit` is the time between asking for the durable record and
/// hearing of it.
const AIMS: [&str; 14] = [
    "opening", "commit", "commit", "attach", "place", "chunk", "submit", "beside", "beside",
    "settle", "settle", "scrub", "record", "ticket",
];

/// What is broken on purpose, to show that the oracle notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Weakness {
    /// Nothing.
    #[default]
    None,
    /// The victim acknowledges before it commits.
    AcknowledgeEarly,
    /// A batch whose own answer did not come is settled by the answer to another one.
    ForeignAnswer,
}

impl Weakness {
    /// All of them, by the word of the command line.
    const WORDS: [(&'static str, Self); 3] = [
        ("none", Self::None),
        ("acknowledge-early", Self::AcknowledgeEarly),
        ("foreign-answer", Self::ForeignAnswer),
    ];

    /// Its word on the command line.
    pub fn word(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(_, weakness)| *weakness == self);
        word.map_or("none", |(word, _)| word)
    }

    /// The weakness of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, weakness)| *weakness)
    }
}

/// What to prove.
#[derive(Debug)]
pub struct Plan {
    /// The program that plays the victim when its first argument is `victim`.
    pub program: PathBuf,
    /// Kills.
    pub kills: u32,
    /// Seed of everything that is left to chance.
    pub seed: u64,
    /// What is broken on purpose.
    pub weakness: Weakness,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Kills.
    pub kills: u32,
    /// Kills by the phase of the thread that enqueues.
    pub kills_while: BTreeMap<String, u32>,
    /// Kills by the phase of the thread that syncs.
    pub kills_while_syncing: BTreeMap<String, u32>,
    /// Kills by the phase of the thread that does what staff do.
    pub kills_while_working: BTreeMap<String, u32>,
    /// Requests that left while another was on its way.
    pub beside: u64,
    /// Transactions that a kill found durable and not yet in their place in the outbox.
    pub arrivals: u64,
    /// Things that staff were told are recorded.
    pub recorded: u64,
    /// Kills between asking for a durable record and hearing of it, with the record there after.
    pub after_commit: u32,
    /// The same, without the record.
    pub before_commit: u32,
    /// Transactions acknowledged by the store.
    pub acknowledged: u64,
    /// Receipts the victim said it had stored.
    pub settled: u64,
    /// Transactions at the platform in the end.
    pub arrived: u64,
    /// Those of them that arrived more than once, because a kill or the line took the answer.
    pub arrived_again: u64,
    /// What was wrong.
    pub findings: Vec<String>,
    /// The directories of a failed loop, which are kept.
    pub kept: Option<PathBuf>,
}

/// Kills the victim as often as planned, lets the last one finish and counts.
///
/// # Errors
/// When the proof itself cannot run: no directory, no platform, no victim.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let place = tempfile::tempdir()?;
    let mut killing = Killing::start(plan, &place)?;
    for life in 0..plan.kills {
        killing.one_life(life)?;
        if !killing.report.findings.is_empty() {
            break;
        }
    }
    let mut report = killing.finish(plan.kills)?;
    if !report.findings.is_empty() {
        report.kept = Some(place.keep());
    }
    Ok(report)
}

struct Killing<'a> {
    plan: &'a Plan,
    store: PathBuf,
    keys: PathBuf,
    platform_directory: PathBuf,
    weather: Weather,
    sealing_key: String,
    address: SocketAddr,
    random: Random,
    oracle: Oracle,
    report: Report,
}

/// When a kill comes.
enum Moment {
    /// So long after the start.
    After(Duration),
    /// The n-th time a phase begins, and so long after that.
    In(&'static str, u64, Duration),
}

impl<'a> Killing<'a> {
    fn start(plan: &'a Plan, place: &TempDir) -> anyhow::Result<Self> {
        let platform_directory = place.path().join("platform");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        // Only what the terminal has signed with the key that was noted here is believed.
        let config = Config {
            signatures: Signatures::Required,
            enroll: Enroll::Registered,
            ..Config::default()
        };
        let platform = Platform::start(&platform_directory, listen, config)
            .context("the platform does not start")?;
        let keys = place.path().join("keys");
        std::fs::create_dir(&keys)?;
        let key = victim::open_keys(&keys)?.public();
        platform.register_terminal(TERMINAL, &key.to_string())?;
        let mut random = Random::new(plan.seed);
        Ok(Self {
            plan,
            store: place.path().join("store"),
            keys,
            platform_directory,
            sealing_key: platform.sealing_key(),
            address: platform.address(),
            weather: Weather::start(platform, random.part(1))?,
            random,
            oracle: Oracle::new(plan.seed),
            report: Report::default(),
        })
    }

    /// Starts the victim, kills it, and takes down what it said.
    fn one_life(&mut self, life: u32) -> anyhow::Result<()> {
        let moment = self.draw_moment();
        let phase = match moment {
            Moment::In(phase, ..) => phase,
            Moment::After(_) => "",
        };
        let (mut child, watch) = self.spawn(life, phase, false)?;
        match moment {
            Moment::After(after) => watch.wait(after),
            Moment::In(_, times, after) => {
                for _ in 0..times {
                    if !watch.wait_for_phase(AIM_MAX) {
                        break;
                    }
                }
                watch.wait(after);
            }
        }
        child.kill()?;
        child.wait()?;
        self.report.kills += 1;
        self.take_down(life, &watch.said()?);
        let mut compared = Compared::default();
        let remains = autopsy::look(&self.store)?;
        self.report.arrivals += self
            .oracle
            .compare_remains(remains.as_ref(), &mut compared)?;
        let named = compared.findings.into_iter();
        self.report
            .findings
            .extend(named.map(|finding| format!("after life {life}: {finding}")));
        Ok(())
    }

    fn draw_moment(&mut self) -> Moment {
        if self.random.happens(350) {
            // Evenly over the magnitudes, so that short lives are as likely as long ones.
            let magnitude = 1 + self.random.below(u64::from(LIFE_MS_MAX.ilog2()) + 1);
            let most = (1 << magnitude).min(LIFE_MS_MAX);
            let micros = self.random.below(most * 1000);
            return Moment::After(Duration::from_micros(micros));
        }
        let chosen = self.random.below(AIMS.len() as u64);
        let phase = AIMS[usize::try_from(chosen).unwrap_or(0)];
        let times = if phase == "commit" {
            1 + self.random.below(40)
        } else {
            1 + self.random.below(3)
        };
        // Over the magnitudes again: a commit takes a millisecond, an exchange several.
        let micros = self.random.below(3000) >> self.random.below(7);
        Moment::In(phase, times, Duration::from_micros(micros))
    }

    fn spawn(
        &mut self,
        life: u32,
        phase: &'static str,
        until_empty: bool,
    ) -> anyhow::Result<(Child, Watch)> {
        let mut clock_s = CLOCK_S + i64::from(life) * LIFE_S;
        if self.random.happens(50) {
            clock_s -= CLOCK_BACK_S;
        }
        let mut command = Command::new(&self.plan.program);
        command
            .arg("victim")
            .arg("--directory")
            .arg(&self.store)
            .arg("--keys")
            .arg(&self.keys)
            .args(["--address", &self.address.to_string()])
            .args(["--sealing-key", &self.sealing_key])
            .args(["--seed", &self.plan.seed.to_string()])
            .args(["--dice", &self.random.bits().to_string()])
            .args(["--clock-s", &clock_s.to_string()])
            .args(["--first", &first_number(life).to_string()]);
        for number in self.oracle.in_doubt() {
            command.args(["--in-doubt", &number.to_string()]);
        }
        if until_empty {
            command.arg("--until-empty");
        }
        command.args(["--weakness", self.plan.weakness.word()]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the victim cannot be started")?;
        let out = child.stdout.take().context("the victim has no pipe")?;
        Ok((child, Watch::start(out, phase)?))
    }

    /// Takes down what a victim said before it died.
    fn take_down(&mut self, life: u32, said: &[String]) {
        let (mut enqueuing, mut syncing, mut working) = ("starting", "starting", "starting");
        for line in said {
            if let Some(phase) = line.strip_prefix("phase enqueuing ") {
                enqueuing = phase;
            } else if let Some(phase) = line.strip_prefix("phase syncing ") {
                syncing = phase;
                self.report.beside += u64::from(phase == "beside");
            } else if let Some(phase) = line.strip_prefix("phase working ") {
                working = phase;
            } else if let Err(finding) = self.oracle.hear(line) {
                self.report.findings.push(format!("life {life}: {finding}"));
            }
        }
        let count = |counts: &mut BTreeMap<String, u32>, phase: &str| {
            *counts.entry(phase.to_owned()).or_default() += 1;
        };
        count(&mut self.report.kills_while, enqueuing);
        count(&mut self.report.kills_while_syncing, syncing);
        count(&mut self.report.kills_while_working, working);
    }

    /// Lets the last victim empty its outbox in fair weather, and compares everything.
    fn finish(mut self, life: u32) -> anyhow::Result<Report> {
        self.weather.clear()?;
        if self.report.findings.is_empty() {
            let (mut child, watch) = self.spawn(life, "empty", true)?;
            if !watch.wait_for_phase(DRAIN_MAX) {
                child.kill()?;
                let finding = format!("the outbox is not empty after {DRAIN_MAX:?}");
                self.report.findings.push(finding);
            }
            child.wait()?;
            for line in watch.said()? {
                if line.starts_with("phase ") {
                    continue;
                }
                self.report.findings.extend(self.oracle.hear(&line).err());
            }
        }
        // Stopped first, so that its database is whole and still.
        self.weather.stop()?;
        let compared = self
            .oracle
            .compare(&self.store, &self.platform_directory.join("platform.db"))?;
        let mut report = self.report;
        report.findings.extend(compared.findings);
        report.arrived = compared.arrived;
        report.arrived_again = compared.arrived_again;
        report.acknowledged = self.oracle.acknowledged();
        report.settled = self.oracle.settled();
        report.recorded = self.oracle.recorded();
        (report.before_commit, report.after_commit) = self.oracle.doubts_resolved();
        Ok(report)
    }
}

fn first_number(life: u32) -> u64 {
    1 + u64::from(life) * NUMBERS_PER_LIFE
}

/// Listens to a victim.
struct Watch {
    lines: JoinHandle<std::io::Result<Vec<String>>>,
    phases: Receiver<()>,
    /// Nobody sends here: waiting on it is a pause.
    never: Receiver<()>,
    _keeps_it_open: SyncSender<()>,
}

impl Watch {
    /// Reads all the victim says, and tells when it enters a phase.
    fn start(out: std::process::ChildStdout, phase: &'static str) -> anyhow::Result<Self> {
        let (enters, phases) = sync_channel(LINES_MAX);
        let (keeps_it_open, never) = sync_channel(1);
        let lines = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                let mut said = Vec::new();
                for line in BufReader::new(out).lines().take(LINES_MAX) {
                    let line = line?;
                    let is_phase = line
                        .strip_prefix("phase ")
                        .and_then(|rest| rest.split_once(' '))
                        .is_some_and(|(_, entered)| entered == phase);
                    // When nobody waits any more, nobody needs to know.
                    let _is_told = is_phase && enters.try_send(()).is_ok();
                    said.push(line);
                }
                Ok(said)
            })?;
        Ok(Self {
            lines,
            phases,
            never,
            _keeps_it_open: keeps_it_open,
        })
    }

    fn wait(&self, pause: Duration) {
        let _is_over = self.never.recv_timeout(pause).is_err();
    }

    /// Whether the victim entered the phase in time.
    fn wait_for_phase(&self, limit: Duration) -> bool {
        self.phases.recv_timeout(limit).is_ok()
    }

    /// All it said; waits for the end of the pipe, which comes with the end of the victim.
    fn said(self) -> anyhow::Result<Vec<String>> {
        let lines = self.lines.join();
        let lines = lines.map_err(|_| anyhow::anyhow!("the watch panicked"))?;
        Ok(lines?)
    }
}
