//! `kill-loop`: kills a terminal at random points of enqueue, attach, sync and settle, and counts
//! at the platform. Status 0: nothing acknowledged was lost or doubled; 1: something was.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kiosk_durability::kill_loop::{Plan, Report, Victim, Weakness, play, run};

/// Kills a terminal again and again.
#[derive(Parser)]
struct Arguments {
    /// Kills.
    #[arg(long, default_value_t = 1000)]
    kills: u32,
    /// Seed of everything that is left to chance.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Break something on purpose: `acknowledge-early`, `foreign-answer`.
    #[arg(long = "break", value_parser = weakness, hide = true)]
    weakness: Option<Weakness>,
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
    keys: PathBuf,
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
    #[arg(long, value_parser = weakness)]
    weakness: Weakness,
}

fn weakness(text: &str) -> Result<Weakness, String> {
    Weakness::from_word(text).ok_or_else(|| "`acknowledge-early` or `foreign-answer`".to_owned())
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Role::Victim(victim)) = arguments.role {
        play(&Victim {
            directory: victim.directory,
            keys: victim.keys,
            address: victim.address,
            sealing_key: victim.sealing_key,
            seed: victim.seed,
            dice: victim.dice,
            clock_s: victim.clock_s,
            first: victim.first,
            in_doubt: victim.in_doubt,
            until_empty: victim.until_empty,
            weakness: victim.weakness,
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan {
        program: std::env::current_exe()?,
        kills: arguments.kills,
        seed: arguments.seed,
        weakness: arguments.weakness.unwrap_or_default(),
    };
    let report = run(&plan)?;
    tell(&mut io::stdout().lock(), &plan, &report)?;
    Ok(if report.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(out: &mut impl Write, plan: &Plan, report: &Report) -> io::Result<()> {
    let seed = plan.seed;
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
    writeln!(
        out,
        "{} requests left beside another; {} transactions were found before they had taken their \
         place; staff recorded {} things",
        report.beside, report.arrivals, report.recorded
    )?;
    histogram(out, "while enqueuing", &report.kills_while)?;
    histogram(out, "while syncing", &report.kills_while_syncing)?;
    histogram(out, "while staff work", &report.kills_while_working)?;
    for finding in &report.findings {
        writeln!(out, "  WRONG {finding}")?;
    }
    if let Some(kept) = &report.kept {
        writeln!(out, "  kept in {}", kept.display())?;
        writeln!(
            out,
            "  again: kill-loop --kills {} --seed {seed} --break {}",
            report.kills,
            plan.weakness.word()
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
