//! `release`: what terminals run, and who takes it when.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kiosk_admin::clock;
use kiosk_admin::release::{self, New};
use kiosk_admin::repository::Repository;
use kiosk_update::manifest::{Version, Wave};
use kiosk_update::waves::DEFAULT_WAVES;

use super::repository::{Dry, Signing, tell};
use crate::say;

/// What every change takes.
#[derive(Args)]
pub(crate) struct Change {
    /// The repository.
    directory: PathBuf,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    dry: Dry,
}

/// Releases of the program.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Cut a tree of files into a release. Nobody takes it before it is signed and published.
    #[command(after_help = "\
Example:
  kiosk-admin release add program --version 1.2.0 --files tree --hardware upright-1 --wave 1@1h --wave 10@1d --wave 100@3d")]
    Add(Add),
    /// Sign what was added; its waves count from now.
    #[command(after_help = "\
Example:
  kiosk-admin release sign program --key-file targets.key")]
    Sign(Change),
    /// Hold what is offered: whoever has not taken it waits.
    #[command(after_help = "\
Example:
  kiosk-admin release pause program --key-file targets.key")]
    Pause(Change),
    /// Let it go on.
    #[command(after_help = "\
Example:
  kiosk-admin release resume program --key-file targets.key")]
    Resume(Change),
    /// Take away what is offered; the release before it is offered again. Who has it keeps it.
    #[command(after_help = "\
Example:
  kiosk-admin release withdraw program --key-file targets.key")]
    Withdraw(Change),
    /// Say what is offered, which waves have begun, and what was signed so far.
    #[command(after_help = "Example:\n  kiosk-admin release show program")]
    Show {
        /// The repository.
        directory: PathBuf,
    },
}

/// A new release.
#[derive(Args)]
pub(crate) struct Add {
    /// The repository.
    directory: PathBuf,
    /// Its version, above all before it.
    #[arg(long)]
    version: Version,
    /// The directory whose files are released: `bin/kiosk` and what it needs.
    #[arg(long, value_name = "DIRECTORY")]
    files: PathBuf,
    /// A kind of hardware that it is for, as `updater.toml` names it.
    #[arg(long, required = true)]
    hardware: Vec<String>,
    /// The lowest version that is updated to it directly.
    #[arg(long, default_value = "0.0.0")]
    minimum: Version,
    /// PERCENT@TIME: how many take it so long after the signing, such as `5@4h`; the last is 100.
    /// Without any: 1 % after an hour, 5 % after four, 10 % after a day, 25 % after three, all after six.
    #[arg(long = "wave", value_parser = release::wave, conflicts_with = "at_once")]
    waves: Vec<Wave>,
    /// Everybody takes it as soon as it is their turn.
    #[arg(long)]
    at_once: bool,
    /// Longest jitter inside a wave, to 12 hours.
    #[arg(long, value_parser = release::seconds, default_value = "12h")]
    spread: u64,
    /// Code of a province, city, county, town or village that may take it; without any, all may.
    #[arg(long = "region")]
    regions: Vec<String>,
    /// What draws the first ones; drawn anew where it is not given.
    #[arg(long)]
    seed: Option<u32>,
    /// From how many releases before it patches are made, so that terminals with these fetch little.
    /// Takes about seven times the memory of the largest file.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = patches_from)]
    patches_from: usize,
    #[command(flatten)]
    dry: Dry,
}

/// Most releases that patches are made from. Chosen: whoever is further behind fetches chunks.
const PATCHES_FROM_MAX: usize = 4;

fn patches_from(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count <= PATCHES_FROM_MAX);
    count.ok_or_else(|| format!("patches are made from 0 to {PATCHES_FROM_MAX} releases"))
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let now = clock::now();
    let opened = |change: &Change| -> anyhow::Result<_> {
        let repository = Repository::open(&change.directory, change.dry.dry_run)?;
        Ok((repository, change.signing.open()?))
    };
    match command {
        Command::Add(add) => add.run(),
        Command::Sign(change) => {
            let (repository, keys) = opened(&change)?;
            tell(&release::sign(&repository, &keys, now)?, change.dry)
        }
        Command::Pause(change) => {
            let (repository, keys) = opened(&change)?;
            tell(&release::hold(&repository, true, &keys, now)?, change.dry)
        }
        Command::Resume(change) => {
            let (repository, keys) = opened(&change)?;
            tell(&release::hold(&repository, false, &keys, now)?, change.dry)
        }
        Command::Withdraw(change) => {
            let (repository, keys) = opened(&change)?;
            tell(&release::withdraw(&repository, &keys, now)?, change.dry)
        }
        Command::Show { directory } => {
            let repository = Repository::open(&directory, true)?;
            for line in release::describe(&repository, now)? {
                say(&line)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Add {
    fn run(self) -> anyhow::Result<ExitCode> {
        let repository = Repository::open(&self.directory, self.dry.dry_run)?;
        let waves = if self.waves.is_empty() && !self.at_once {
            DEFAULT_WAVES.to_vec()
        } else {
            self.waves
        };
        let new = New {
            version: self.version,
            minimum: self.minimum,
            hardware: self.hardware,
            tree: self.files,
            waves,
            spread_s: self.spread,
            regions: self.regions,
            seed: self.seed,
            patches_from: self.patches_from,
        };
        tell(&release::add(&repository, &new, clock::now())?, self.dry)
    }
}
