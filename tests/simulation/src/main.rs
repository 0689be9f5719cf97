//! `kiosk-simulation`: plays months of kiosk life by their seeds and says what happened.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use kiosk_simulation::{Plan, simulate_aloud};

/// Plays a seeded month of kiosk life and checks every promise after every step.
#[derive(Parser)]
#[command(name = "kiosk-simulation", version)]
struct Arguments {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Days of each month.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// How many months, with seeds that follow each other.
    #[arg(long, default_value_t = 1)]
    months: u64,
    /// Also write every event to this file, a line each.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut out = std::io::stdout().lock();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.months) {
        let began = kiosk_app::clock::now().uptime;
        let listener = arguments.events.as_deref().map(listener).transpose()?;
        let plan = Plan {
            seed,
            days: arguments.days,
            sabotage: None,
        };
        let outcome = simulate_aloud(plan, listener);
        let took = kiosk_app::clock::now().uptime.saturating_sub(began);
        match outcome {
            Ok(report) => {
                writeln!(out, "{report}").context("cannot write the report")?;
                writeln!(out, "played in {:.1} s", took.as_secs_f64())?;
            }
            Err(failure) => {
                writeln!(out, "{failure}").context("cannot write the failure")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn listener(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(BufWriter::new(file)))
}
