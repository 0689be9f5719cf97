//! `kiosk-measure`: races the queue against its peers, measures envelopes and the thin line, writes
//! the tables. `tests/bench/run.sh` calls it with everything it needs.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use kiosk_measure::contestant::{self, Contestant, Store};
use kiosk_measure::limit::{Limit, Way};
use kiosk_measure::machine::Machine;
use kiosk_measure::ours::Ours;
use kiosk_measure::race::{self, Backlog, Plan};
use kiosk_measure::report::{self, Report};
use kiosk_measure::{clock, records, sealing};

/// Measures the queue beside its peers.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Races all contestants at each backlog.
    Queue(QueueArguments),
    /// Measures sealing and opening.
    Sealing {
        /// Envelopes of each suite and size.
        #[arg(long, default_value_t = 200)]
        repeats: u32,
        /// The report to add to.
        #[arg(long)]
        report: PathBuf,
    },
    /// Measures the drain over a thin line.
    #[cfg(feature = "line")]
    Line {
        /// Transactions of each kind.
        #[arg(long, default_value_t = 2000)]
        transactions: u32,
        /// Directory for stores; made and left empty.
        #[arg(long)]
        work: PathBuf,
        /// The report to add to.
        #[arg(long)]
        report: PathBuf,
    },
    /// Writes the tables of a report into a text with markers.
    Tables {
        /// The report.
        #[arg(long)]
        report: PathBuf,
        /// The text.
        #[arg(long)]
        readme: PathBuf,
    },
    /// Takes part in a race; commands come on the standard input.
    Drive {
        /// As what.
        store: StoreKind,
        /// Its directory.
        #[arg(long)]
        dir: PathBuf,
        /// The file of records.
        #[arg(long)]
        records: PathBuf,
        /// For others: do not sync. Our own store cannot be told to.
        #[arg(long)]
        relaxed: bool,
    },
}

#[derive(clap::Args)]
struct QueueArguments {
    /// Operations of each kind and contestant.
    #[arg(long, default_value_t = 10_000)]
    operations: u64,
    /// Records that wait before the first operation, in rising order.
    #[arg(long, value_delimiter = ',', default_value = "0,100000,1000000")]
    backlogs: Vec<u64>,
    /// Operations before the next contestant has its turn.
    #[arg(long, default_value_t = 20)]
    block: u64,
    /// Operations of each kind while syncs are counted by `strace`; 0 does not count.
    #[arg(long, default_value_t = 1000)]
    counted: u64,
    /// Seconds a contestant may take for all operations of a kind.
    #[arg(long, default_value_t = 300)]
    budget_s: u64,
    /// Directory on the disk that is measured; made and left empty.
    #[arg(long)]
    work: PathBuf,
    /// Directory in memory where stores are filled; made and left empty.
    #[arg(long)]
    scratch: PathBuf,
    /// A peer: its name, `=`, and its driver with arguments, split at spaces.
    #[arg(long)]
    peer: Vec<String>,
    /// The report to add to.
    #[arg(long)]
    report: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum StoreKind {
    /// Our own, one claim and one settlement each time.
    Ours,
    /// Our own, claimed a hundred at a time as the terminal does.
    OursBatched,
    /// A file that grows.
    Append,
    /// A file that is written over.
    Overwrite,
}

/// What the terminal claims at once.
const BATCH: u32 = 100;
/// Where the records begin; the same bytes for everybody and every run.
const SEED: u64 = 20_261_122;

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Queue(arguments) => queue(&arguments),
        Command::Sealing { repeats, report } => change(&report, |report| {
            report.sealing = sealing::measure(repeats)?;
            Ok(())
        }),
        #[cfg(feature = "line")]
        Command::Line {
            transactions,
            work,
            report,
        } => change(&report, |report| {
            report.line = kiosk_measure::thin::drain::measure(transactions, &work)?;
            Ok(())
        }),
        Command::Tables { report, readme } => {
            let report = read(&report)?;
            let text = fs::read_to_string(&readme)?;
            fs::write(&readme, report::fill(&text, &report)?)?;
            Ok(())
        }
        Command::Drive {
            store,
            dir,
            records,
            relaxed: _,
        } => {
            let records = fs::read(&records)?;
            let store = match store {
                StoreKind::Ours => Store::Ours(Box::new(Ours::open(&dir, 1)?)),
                StoreKind::OursBatched => Store::Ours(Box::new(Ours::open(&dir, BATCH)?)),
                StoreKind::Append => Store::Limit(Limit::open(&dir, Way::Append)?),
                StoreKind::Overwrite => {
                    Store::Limit(Limit::open(&dir, Way::Overwrite { offset: 0 })?)
                }
            };
            let commands = BufReader::new(std::io::stdin());
            contestant::serve(store, &records, commands, std::io::stdout())
        }
    }
}

fn queue(arguments: &QueueArguments) -> anyhow::Result<()> {
    // A store is filled further from one backlog to the next, never emptied.
    ensure!(
        arguments.backlogs.is_sorted(),
        "the backlogs must be in rising order"
    );
    fs::create_dir_all(&arguments.work)?;
    let contestants = contestants(&arguments.peer)?;
    let plan = Plan {
        operations: arguments.operations,
        block: arguments.block,
        counted: arguments.counted,
        budget: Duration::from_secs(arguments.budget_s),
        work: arguments.work.clone(),
        scratch: arguments.scratch.clone(),
        records: arguments.work.join("records"),
    };
    let count = usize::try_from(arguments.operations)?.clamp(1, 10_000);
    fs::write(&plan.records, records::letters(count, SEED))?;
    let mut races = Vec::new();
    let mut filled = 0;
    for records in &arguments.backlogs {
        let backlog = Backlog {
            records: *records,
            filled,
            is_last: arguments.backlogs.last() == Some(records),
        };
        races.push(race::run(&contestants, &plan, backlog)?);
        filled = *records;
        // What was measured is kept, should a later backlog fail.
        change(&arguments.report, |report| {
            report.machine = Machine::this(
                &arguments.work,
                clock::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            );
            report.asked = format!(
                "{} operations of each kind and backlog, {} in turn, at most {} s each; syncs counted over {} further operations.",
                plan.operations, plan.block, arguments.budget_s, plan.counted
            );
            report.races.clone_from(&races);
            Ok(())
        })?;
    }
    fs::remove_file(&plan.records)?;
    if arguments.scratch.exists() {
        fs::remove_dir_all(&arguments.scratch)?;
    }
    Ok(())
}

/// Our own store, the limits, and the peers, in the order of the tables.
fn contestants(peers: &[String]) -> anyhow::Result<Vec<Contestant>> {
    let program = std::env::current_exe()?;
    let program = program.to_str().context("a path that is no text")?;
    let mut contestants: Vec<Contestant> = [
        ("ours", "ours"),
        ("limit: append + fdatasync", "append"),
        ("limit: overwrite + fdatasync", "overwrite"),
        ("ours, claimed by the hundred", "ours-batched"),
    ]
    .into_iter()
    .map(|(name, kind)| Contestant {
        name: name.to_owned(),
        command: vec![program.to_owned(), "drive".to_owned(), kind.to_owned()],
    })
    .collect();
    for peer in peers {
        let (name, command) = peer.split_once('=').context("a peer is NAME=COMMAND")?;
        contestants.push(Contestant {
            name: name.to_owned(),
            command: command.split_whitespace().map(str::to_owned).collect(),
        });
    }
    Ok(contestants)
}

fn read(path: &Path) -> anyhow::Result<Report> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).context("the report cannot be understood"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Report::default()),
        Err(error) => Err(error.into()),
    }
}

/// Changes a report, so that each part is measured by a command of its own.
fn change(
    path: &Path,
    change: impl FnOnce(&mut Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut report = read(path)?;
    change(&mut report)?;
    fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    Ok(())
}
