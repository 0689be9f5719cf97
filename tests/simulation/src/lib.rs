//! A seeded month of kiosk life in seconds: the product's own store, envelopes, session, queue and
//! drain, and the reference platform, with a village, a line, a clock and a power supply that are
//! made up. After every step the promises are compared with what is really there.
//!
//! The same seed gives the same month. A failure says the seed, the step and the last events.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;

mod desk;
mod line;
mod log;
mod oracle;
mod people;
mod signing;
mod terminal;
mod time;
mod trace;
mod visit;
mod world;

use log::Log;
use world::World;

/// Number of the terminal in every month.
pub(crate) const TERMINAL: &str = "T001";
/// Where a month is played if it can be: in memory. What is proven here does not depend on a disk;
/// `tests/durability` is about disks.
const MEMORY: &str = "/dev/shm";

/// Which month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything that happens.
    pub seed: u64,
    /// Length in days, before the time of good weather at the end; 1 to 3650.
    pub days: u32,
    /// Something that is broken on purpose, to show that it is noticed.
    pub sabotage: Option<Sabotage>,
}

/// A deliberate fault of the parts under test; each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The transport says "accepted" and delivers nothing.
    LyingTransport,
    /// After a power cut the store is as it was some time before.
    ForgetfulStore,
    /// A visitor's number is written to the log.
    TalkativeLog,
    /// A visitor's number lies in a file in the clear.
    CarelessFile,
    /// A slip is printed without a record.
    EarlySlip,
}

/// What happened in a month, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// People who came to the glass.
    pub visits: u64,
    /// Slips printed or jammed.
    pub slips: u64,
    /// Transactions that were made durable.
    pub transactions: u64,
    /// Of these, settled by the platform.
    pub settled: u64,
    /// Of these, closed by a named person.
    pub closed: u64,
    /// Of these, lost with a file that was damaged from outside, and reported.
    pub damaged: u64,
    /// Times a transaction died.
    pub dead: u64,
    /// Cases that were refused because the disk was full.
    pub refused_for_room: u64,
    /// Requests of the drain.
    pub requests: u64,
    /// Of these, sent while another was on its way.
    pub beside: u64,
    /// Signatures that the platform did not believe: stale, or seen before.
    pub refused_signatures: u64,
    /// Times a transaction reached the platform again after it had taken effect.
    pub duplicates_offered: u64,
    /// Power cuts.
    pub kills: u64,
    /// Ordered restarts.
    pub restarts: u64,
    /// Leaps of the wall clock.
    pub clock_leaps: u64,
    /// Times a newer program had been there.
    pub roll_backs: u64,
    /// Times the file of the store was damaged from outside.
    pub damages: u64,
    /// New keys to seal to.
    pub rotations: u64,
    /// Orders of the platform, without their repetitions.
    pub orders: u64,
    /// Transactions that went on a stick.
    pub carried: u64,
    /// Entries of the audit log at the end.
    pub audit_entries: u64,
}

/// A month that kept every promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which month.
    pub plan: Plan,
    /// Events that were written down and checked.
    pub steps: u64,
    /// Digest over all events, hexadecimal; the same for the same plan.
    pub trace: String,
    /// What happened.
    pub counts: Counts,
}

/// A month that broke a promise.
#[derive(Debug)]
pub struct Failure {
    /// Which month.
    pub plan: Plan,
    /// The step after which it was seen.
    pub step: u64,
    /// The promise.
    pub what: String,
    /// The last events, oldest first.
    pub last: Vec<String>,
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(formatter, "{line}")?;
        }
        write!(
            formatter,
            "seed {}, {} days, step {}: {}",
            self.plan.seed, self.plan.days, self.step, self.what
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        writeln!(
            formatter,
            "seed {}, {} days: every promise kept in {} steps",
            self.plan.seed, self.plan.days, self.steps
        )?;
        for (what, count) in [
            ("visits", counts.visits),
            ("transactions made durable", counts.transactions),
            ("  settled by the platform", counts.settled),
            ("  closed by a named person", counts.closed),
            ("  lost with a damaged file, reported", counts.damaged),
            ("times a transaction died", counts.dead),
            ("cases refused for want of room", counts.refused_for_room),
            ("slips", counts.slips),
            ("requests", counts.requests),
            ("  beside another", counts.beside),
            ("  not believed at first", counts.refused_signatures),
            (
                "duplicates offered to the platform",
                counts.duplicates_offered,
            ),
            ("power cuts", counts.kills),
            ("restarts", counts.restarts),
            ("leaps of the clock", counts.clock_leaps),
            ("roll-backs from a newer program", counts.roll_backs),
            ("damages of the file", counts.damages),
            ("key rotations", counts.rotations),
            ("orders", counts.orders),
            ("carried out on sticks", counts.carried),
            ("audit entries", counts.audit_entries),
        ] {
            writeln!(formatter, "{count:>8}  {what}")?;
        }
        write!(formatter, "trace {}", self.trace)
    }
}

/// Plays a month.
///
/// # Errors
/// [`Failure`] when a promise was broken, or when the month could not be played.
pub fn simulate(plan: Plan) -> Result<Report, Box<Failure>> {
    simulate_aloud(plan, None)
}

/// Plays a month and tells every event to a listener, a line each.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_aloud(
    plan: Plan,
    listener: Option<Box<dyn Write>>,
) -> Result<Report, Box<Failure>> {
    let failed = |step, what: &anyhow::Error, last| {
        Box::new(Failure {
            plan,
            step,
            what: format!("{what:#}"),
            last,
        })
    };
    let directory = scratch().map_err(|error| failed(0, &error.into(), Vec::new()))?;
    let log = Log::default();
    tracing::subscriber::with_default(log.subscriber(), || {
        let mut world = World::new(plan, directory.path(), log.clone(), listener)
            .map_err(|error| failed(0, &error, Vec::new()))?;
        match world.run() {
            Ok(()) => Ok(Report {
                plan,
                steps: world.trace.steps(),
                trace: world.trace.digest(),
                counts: world.counts,
            }),
            Err(error) => Err(failed(world.trace.steps(), &error, world.trace.last())),
        }
    })
}

fn scratch() -> std::io::Result<tempfile::TempDir> {
    let memory = PathBuf::from(MEMORY);
    if memory.is_dir()
        && let Ok(directory) = tempfile::tempdir_in(memory)
    {
        return Ok(directory);
    }
    tempfile::tempdir()
}
