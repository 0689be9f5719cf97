//! `items`: what regions offer and set, apart from the program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kiosk_admin::clock;
use kiosk_admin::items;
use kiosk_admin::repository::Repository;
use kiosk_update::items::Setting;

use super::repository::{Dry, Signing, tell};
use crate::say;

/// Where something is changed.
#[derive(Args)]
pub(crate) struct Place {
    /// The repository.
    directory: PathBuf,
    /// Code of the province, city, county, town or village.
    #[arg(long)]
    region: String,
    #[command(flatten)]
    dry: Dry,
}

/// Items and settings of regions.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Offer an item in a region; run `kiosk services check` on it before.
    #[command(after_help = "\
Example:
  kiosk-admin items add items --region 4401 --item old-age-allowance --version 3 --files old-age-allowance")]
    Add {
        #[command(flatten)]
        place: Place,
        /// Id of the item.
        #[arg(long)]
        item: String,
        /// Its version.
        #[arg(long)]
        version: u32,
        /// The item's directory.
        #[arg(long, value_name = "DIRECTORY")]
        files: PathBuf,
    },
    /// Take an item away in a region, whoever above offers it.
    #[command(after_help = "\
Example:
  kiosk-admin items remove items --region 440113 --item bus-card")]
    Remove {
        #[command(flatten)]
        place: Place,
        /// Id of the item.
        #[arg(long)]
        item: String,
    },
    /// Set what terminals of a region go by.
    #[command(after_help = "\
Example:
  kiosk-admin items config items --region 440113 --set help_phone=020-12345")]
    Config {
        #[command(flatten)]
        place: Place,
        /// NAME=VALUE, again for each further one.
        #[arg(long, value_parser = items::setting)]
        set: Vec<(String, Setting)>,
        /// A name that comes from above again.
        #[arg(long)]
        unset: Vec<String>,
    },
    /// Sign what was added, removed and set; `repository publish` brings it out.
    #[command(after_help = "\
Example:
  kiosk-admin items sign items --key-file targets.key")]
    Sign {
        /// The repository.
        directory: PathBuf,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        dry: Dry,
    },
    /// Say what a terminal of a region gets, and from which level.
    #[command(after_help = "\
Example:
  kiosk-admin items show items --region 440113001005")]
    Show {
        /// The repository.
        directory: PathBuf,
        /// Code of the terminal's village.
        #[arg(long)]
        region: String,
    },
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let opened = |place: &Place| Repository::open(&place.directory, place.dry.dry_run);
    match command {
        Command::Add {
            place,
            item,
            version,
            files,
        } => {
            let repository = opened(&place)?;
            let done = items::add(&repository, &place.region, &item, version, &files)?;
            tell(&done, place.dry)
        }
        Command::Remove { place, item } => tell(
            &items::remove(&opened(&place)?, &place.region, &item)?,
            place.dry,
        ),
        Command::Config { place, set, unset } => tell(
            &items::configure(&opened(&place)?, &place.region, &set, &unset)?,
            place.dry,
        ),
        Command::Sign {
            directory,
            signing,
            dry,
        } => {
            let repository = Repository::open(&directory, dry.dry_run)?;
            tell(
                &items::sign(&repository, &signing.open()?, clock::now())?,
                dry,
            )
        }
        Command::Show { directory, region } => {
            let repository = Repository::open(&directory, true)?;
            for line in items::describe(&repository, &region)? {
                say(&line)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
