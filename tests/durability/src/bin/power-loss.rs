//! `power-loss`: the store on a disk that forgets what was not synced, cut at random changes.
//! Status 0: everything acknowledged was there; 1: it was not; 2: file systems cannot be mounted
//! here, so that only a part could run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kiosk_durability::power_loss::{Medium, Plan, Report, Weakness, run};
use kiosk_durability::{can_mount, serve};

/// Cuts the power of a disk that forgets, again and again.
#[derive(Parser)]
struct Arguments {
    /// Cuts of each medium.
    #[arg(long, default_value_t = 400)]
    rounds: u32,
    /// Seed of the first life; a failure names the one to give here.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only one: `engine` (file layer under the database) or `files` (mounted file system).
    #[arg(long, value_parser = medium)]
    only: Option<Medium>,
    /// Break something on purpose: `log-sync`, `directory-sync`, `attachment-sync`.
    #[arg(long = "break", value_parser = weakness, hide = true)]
    weakness: Option<Weakness>,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Serves a disk. Started by the proof itself.
    #[command(hide = true)]
    Disk {
        #[arg(long)]
        place: PathBuf,
        #[arg(long, value_parser = weakness)]
        weakness: Weakness,
    },
}

fn medium(text: &str) -> Result<Medium, String> {
    match text {
        "engine" => Ok(Medium::Engine),
        "files" => Ok(Medium::Files),
        _ => Err("`engine` or `files`".to_owned()),
    }
}

fn weakness(text: &str) -> Result<Weakness, String> {
    Weakness::from_word(text)
        .ok_or_else(|| "`log-sync`, `directory-sync` or `attachment-sync`".to_owned())
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Role::Disk { place, weakness }) = arguments.role {
        serve(&place, weakness)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = io::stdout().lock();
    let mut worst = ExitCode::SUCCESS;
    let media = match arguments.only {
        Some(medium) => vec![medium],
        None => vec![Medium::Engine, Medium::Files],
    };
    for medium in media {
        if medium == Medium::Files && !can_mount() {
            writeln!(out, "files: not run, there is no /dev/fuse here")?;
            worst = ExitCode::from(2);
            continue;
        }
        let report = run(&Plan {
            program: std::env::current_exe()?,
            medium,
            weakness: arguments.weakness.unwrap_or_default(),
            seed: arguments.seed,
            rounds: arguments.rounds,
        })?;
        tell(&mut out, medium, &report)?;
        if !report.findings.is_empty() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(worst)
}

fn tell(out: &mut impl Write, medium: Medium, report: &Report) -> io::Result<()> {
    let (name, word) = match medium {
        Medium::Engine => ("engine", "file layer under the database"),
        Medium::Files => ("files", "mounted file system"),
    };
    writeln!(
        out,
        "{name} ({word}): {} cuts, {} acknowledgements kept; under way at a cut: {} were kept, {} not",
        report.cuts, report.acknowledged, report.unacknowledged_kept, report.unacknowledged_lost
    )?;
    for (doing, count) in &report.cuts_in {
        writeln!(out, "  {count:>6} {doing}")?;
    }
    for finding in &report.findings {
        writeln!(out, "  WRONG {finding}")?;
    }
    if !report.findings.is_empty() {
        writeln!(
            out,
            "  again: power-loss --only {name} --seed <the seed above> --rounds 40"
        )?;
    }
    Ok(())
}
