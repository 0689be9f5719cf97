//! The race of one backlog: all contestants on one disk, a few operations each in turn, so that a
//! machine that gets slower gets slower for all of them. Syncs are counted afterwards, in a run of
//! their own, because counting takes time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Running, Standing, Start};
use crate::figures::{self, Figures};
use crate::process;

/// The first contestant is our own store, the second the limit; all others are measured by them.
pub const OURS: usize = 0;
/// See [`OURS`].
pub const LIMIT: usize = 1;
/// `PRAGMA synchronous` of a store that syncs every commit.
const FULL: i64 = 2;
/// Operations before the first one that counts, so that logs and caches have their size.
const WARM_UP: u64 = 200;
/// Longest wait for a contestant to open a store, which may count a million rows.
const OPEN_LIMIT: Duration = Duration::from_mins(5);
/// Longest wait for a million records.
const FILL_LIMIT: Duration = Duration::from_hours(1);
/// Longest wait for a block beyond the time a contestant has.
const BLOCK_LIMIT: Duration = Duration::from_mins(10);

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Operations of each kind and contestant.
    pub operations: u64,
    /// Operations before the next contestant has its turn.
    pub block: u64,
    /// Operations of each kind while syncs are counted; 0 does not count.
    pub counted: u64,
    /// Time a contestant may take for all operations of a kind; then it has its figures.
    pub budget: Duration,
    /// Directory on the disk that is measured.
    pub work: PathBuf,
    /// Directory in memory where stores are filled.
    pub scratch: PathBuf,
    /// The file of records.
    pub records: PathBuf,
}

/// One backlog of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Records that wait before the first operation.
    pub records: u64,
    /// Records that the stores in the scratch directory hold from the backlog before.
    pub filled: u64,
    /// Whether the scratch directory is not needed again.
    pub is_last: bool,
}

/// The result of one backlog.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Race {
    /// Records that waited before the first operation.
    pub backlog: u64,
    /// One for each contestant, in their order.
    pub results: Vec<RaceResult>,
}

/// The result of one contestant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RaceResult {
    /// Its name.
    pub name: String,
    /// What it said of itself.
    pub standing: Standing,
    /// One record made durable.
    pub put: Figures,
    /// One record claimed and settled.
    pub take: Figures,
}

/// What is done to each contestant in turn.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Put,
    Take,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Take => "take",
        }
    }
}

/// Runs one backlog.
///
/// # Errors
/// When a contestant fails, is late, or does not sync fully.
pub fn run(contestants: &[Contestant], plan: &Plan, backlog: Backlog) -> anyhow::Result<Race> {
    let stores: Vec<PathBuf> = (0..contestants.len())
        .map(|who| plan.work.join(who.to_string()))
        .collect();
    for (who, (contestant, store)) in contestants.iter().zip(&stores).enumerate() {
        let scratch = plan.scratch.join(who.to_string());
        prepare(contestant, plan, [&scratch, store], backlog)?;
    }
    let mut running = Vec::new();
    for (contestant, store) in contestants.iter().zip(&stores) {
        running.push(ready(contestant, plan, store, None)?);
    }
    for (contestant, running) in contestants.iter().zip(&mut running) {
        let late = || format!("{} is too slow to be warmed up", contestant.name);
        let limit = plan.budget + BLOCK_LIMIT;
        // More is put than taken, so that a store without a backlog is not empty after it.
        running
            .order("put", WARM_UP + plan.block, limit)
            .with_context(late)?;
        running
            .order("take", plan.block, limit)
            .with_context(late)?;
    }
    let most = vec![plan.operations; contestants.len()];
    let puts = phase(contestants, &mut running, plan, Kind::Put, &most)?;
    // Whose time was over before it had put them all has no more to take.
    let most: Vec<u64> = puts.iter().map(|figures| figures.operations).collect();
    let takes = phase(contestants, &mut running, plan, Kind::Take, &most)?;
    let mut results = Vec::new();
    for ((contestant, running), (put, take)) in contestants
        .iter()
        .zip(running)
        .zip(puts.into_iter().zip(takes))
    {
        results.push(RaceResult {
            name: contestant.name.clone(),
            standing: running.standing.clone(),
            put,
            take,
        });
        running.quit()?;
    }
    if plan.counted > 0 {
        for ((contestant, store), result) in contestants.iter().zip(&stores).zip(&mut results) {
            count(contestant, plan, store, result)
                .with_context(|| format!("counting the syncs of {}", contestant.name))?;
        }
    }
    for store in &stores {
        fs::remove_dir_all(store)?;
    }
    Ok(Race {
        backlog: backlog.records,
        results,
    })
}

/// Fills a store in memory, through the contestant's own calls, and copies it to the disk.
fn prepare(
    contestant: &Contestant,
    plan: &Plan,
    [scratch, store]: [&Path; 2],
    backlog: Backlog,
) -> anyhow::Result<()> {
    remove(store)?;
    fs::create_dir_all(store)?;
    if backlog.records == 0 {
        return Ok(());
    }
    fs::create_dir_all(scratch)?;
    let start = Start {
        directory: scratch,
        records: &plan.records,
        is_relaxed: true,
        trace: None,
    };
    let mut running = contestant.start(start, OPEN_LIMIT)?;
    running
        .order(
            "fill",
            backlog.records.saturating_sub(backlog.filled),
            FILL_LIMIT,
        )
        .with_context(|| format!("filling {}", contestant.name))?;
    running.quit()?;
    copy(scratch, store)?;
    if backlog.is_last {
        remove(scratch)?;
    }
    // What is still on its way to the disk must not be charged to whoever syncs first.
    rustix::fs::sync();
    Ok(())
}

fn ready(
    contestant: &Contestant,
    plan: &Plan,
    store: &Path,
    trace: Option<&Path>,
) -> anyhow::Result<Running> {
    let start = Start {
        directory: store,
        records: &plan.records,
        is_relaxed: false,
        trace,
    };
    let running = contestant.start(start, OPEN_LIMIT)?;
    ensure!(
        running.standing.synchronous >= FULL,
        "{} does not sync every commit",
        contestant.name
    );
    Ok(running)
}

/// All operations of a kind, in turns; a contestant whose time is over waits for the others.
fn phase(
    contestants: &[Contestant],
    running: &mut [Running],
    plan: &Plan,
    kind: Kind,
    most: &[u64],
) -> anyhow::Result<Vec<Figures>> {
    let mut blocks: Vec<Vec<Vec<u64>>> = vec![Vec::new(); contestants.len()];
    let mut taken = vec![Duration::ZERO; contestants.len()];
    let before: Vec<_> = running.iter().map(cost).collect();
    let rounds = plan.operations.div_ceil(plan.block.max(1));
    for round in 0..rounds {
        for turn in 0..contestants.len() {
            // Another one begins each round, so that none always comes after the same.
            let who = (turn + usize::try_from(round)?) % contestants.len();
            let count = plan.block.min(most[who].saturating_sub(round * plan.block));
            if count == 0 || taken[who] >= plan.budget {
                continue;
            }
            let times = running[who]
                .order(kind.word(), count, plan.budget + BLOCK_LIMIT)
                .with_context(|| format!("{} of {}", kind.word(), contestants[who].name))?;
            taken[who] += Duration::from_nanos(times.nanoseconds.iter().sum());
            blocks[who].push(times.nanoseconds);
        }
    }
    let after: Vec<_> = running.iter().map(cost).collect();
    Ok((0..contestants.len())
        .map(|who| {
            let mut figures = Figures::of(&blocks[who]);
            let operations = figures.operations.max(1);
            let spent = after[who].saturating_sub(before[who]);
            figures.cpu_ns = u64::try_from(spent.as_nanos() / u128::from(operations)).ok();
            figures.to_limit = figures::ratio(&blocks[who], &blocks[LIMIT]);
            figures.to_ours = figures::ratio(&blocks[who], &blocks[OURS]);
            figures
        })
        .collect())
}

fn cost(running: &Running) -> Duration {
    process::processor_time(running.id()).unwrap_or_default()
}

/// Counts how often the kernel was asked for durability, on the store as the race left it.
fn count(
    contestant: &Contestant,
    plan: &Plan,
    store: &Path,
    result: &mut RaceResult,
) -> anyhow::Result<()> {
    let trace = store.with_extension("trace");
    let mut running = ready(contestant, plan, store, Some(&trace))?;
    let read = || process::syncs_so_far(&trace).context("no trace");
    for (kind, figures) in [(Kind::Put, &mut result.put), (Kind::Take, &mut result.take)] {
        // One that took its whole time for fewer operations is not asked for more here.
        let operations = plan.counted.min(figures.operations);
        let before = read()?;
        running.order(kind.word(), operations, plan.budget + BLOCK_LIMIT)?;
        let calls = read()?.saturating_sub(before);
        figures.syncs = (operations > 0).then(|| figures::real(calls) / figures::real(operations));
    }
    running.quit()?;
    fs::remove_file(&trace)?;
    Ok(())
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Copies a directory with what is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_copied_whole() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/file"), b"x").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("deep/file")).unwrap(), b"x");
        remove(&to).unwrap();
        remove(&to).unwrap();
        assert!(!to.exists());
    }

    fn script(synchronous: u8) -> Contestant {
        // Answers like a store that takes 5 ns an operation, two in a block.
        let script = format!(
            "echo '{{\"version\":\"1\",\"engine\":\"e\",\"journal_mode\":\"\",\"synchronous\":{synchronous}}}'; \
             while read word count; do \
                 [ \"$word\" = quit ] && exit 0; echo '{{\"nanoseconds\":[5,5]}}'; \
             done"
        );
        Contestant {
            name: "script".to_owned(),
            command: ["sh", "-c", &script].map(str::to_owned).to_vec(),
        }
    }

    fn plan(directory: &Path) -> Plan {
        Plan {
            operations: 6,
            block: 2,
            counted: 0,
            budget: Duration::from_nanos(15),
            work: directory.join("work"),
            scratch: directory.join("scratch"),
            records: directory.join("records"),
        }
    }

    fn backlog(records: u64) -> Backlog {
        Backlog {
            records,
            filled: 0,
            is_last: true,
        }
    }

    #[test]
    fn a_contestant_stops_when_its_time_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let contestants = [script(2), script(2)];
        let race = run(&contestants, &plan(directory.path()), backlog(10)).unwrap();
        assert_eq!(race.results.len(), 2);
        for result in &race.results {
            // Two blocks of 10 ns are more than 15 ns.
            assert_eq!(result.put.operations, 4);
            assert_eq!(result.take.operations, 4);
            assert_eq!(result.take.p99_ns, 5);
            assert_eq!(result.take.to_limit, Some(1.0));
        }
    }

    #[test]
    fn one_that_does_not_sync_fully_is_turned_away() {
        let directory = tempfile::tempdir().unwrap();
        let contestants = [script(2), script(1)];
        let error = run(&contestants, &plan(directory.path()), backlog(0)).unwrap_err();
        assert!(error.to_string().contains("sync"), "{error}");
    }
}
