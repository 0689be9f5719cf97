//! `kill-loop`: kills a terminal at random points of enqueue, attach, sync and settle, and counts
//! at the platform. Status 0: nothing acknowledged was lost or doubled; 1: something was.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kiosk_durability::kill_loop::{Plan, Report, Victim, play, run};

/// Kills a terminal again and again.
#[derive(Parser)]
struct Arguments {
    /// Kills.
    #[arg(long, default_value_t = 1000)]
    kills: u32,
    /// Seed of everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Break something on purpose: `acknowledge-early`.
    #[arg(long = "break", value_parser = ["acknowledge-early"], hide = true)]
    weakness: Option<String>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Is killed. Started by the loop itself.
    #[command(hide = true)]
    Victim(VictimArguments),
}

#[derive(clap::Args)]
struct VictimArguments {
    #[arg(long)]
    directory: PathBuf,
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    sealing_key: String,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    dice: u64,
    #[arg(long)]
    clock_s: i64,
    #[arg(long)]
    first: u64,
    #[arg(long)]
    in_doubt: Vec<u64>,
    #[arg(long)]
    until_empty: bool,
    #[arg(long)]
    acknowledge_early: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Role::Victim(victim)) = arguments.role {
        play(&Victim {
            directory: victim.directory,
            address: victim.address,
            sealing_key: victim.sealing_key,
            seed: victim.seed,
            dice: victim.dice,
            clock_s: victim.clock_s,
            first: victim.first,
            in_doubt: victim.in_doubt,
            until_empty: victim.until_empty,
            acknowledges_early: victim.acknowledge_early,
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = run(&Plan {
        program: std::env::current_exe()?,
        kills: arguments.kills,
        seed: arguments.seed,
        acknowledges_early: arguments.weakness.is_some(),
    })?;
    let is_broken = arguments.weakness.is_some();
    tell(&mut io::stdout().lock(), arguments.seed, is_broken, &report)?;
    Ok(if report.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(out: &mut impl Write, seed: u64, is_broken: bool, report: &Report) -> io::Result<()> {
    writeln!(
        out,
        "kill-loop: seed {seed}, {} kills; {} acknowledged, {} receipts heard, {} at the platform, \
         {} of them sent more than once",
        report.kills, report.acknowledged, report.settled, report.arrived, report.arrived_again
    )?;
    writeln!(
        out,
        "kills that hit a commit: {} before it, {} after it and before it was told",
        report.before_commit, report.after_commit
    )?;
    histogram(out, "while enqueuing", &report.kills_while)?;
    histogram(out, "while syncing", &report.kills_while_syncing)?;
    for finding in &report.findings {
        writeln!(out, "  WRONG {finding}")?;
    }
    if let Some(kept) = &report.kept {
        writeln!(out, "  kept in {}", kept.display())?;
        writeln!(
            out,
            "  again: kill-loop --kills {} --seed {seed}{}",
            report.kills,
            if is_broken {
                " --break acknowledge-early"
            } else {
                ""
            }
        )?;
    }
    Ok(())
}

fn histogram(out: &mut impl Write, name: &str, counts: &BTreeMap<String, u32>) -> io::Result<()> {
    write!(out, "{name}:")?;
    for (phase, count) in counts {
        write!(out, " {phase} {count}")?;
    }
    writeln!(out)
}
