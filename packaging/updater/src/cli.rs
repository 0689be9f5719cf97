//! What the updater can be asked from a command line. Answers are JSON, so that people and programs
//! read the same.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use kiosk_update::config::{Config, Repository};
use kiosk_update::trust::{Http, Pace, Standing, Trust, TrustError};
use serde_json::json;

use crate::{clock, run, stick_run};

/// Largest root, order or configuration that is read from a file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// When this program was made, in seconds since 1970, where the build says it.
const BUILT_AT: Option<&str> = option_env!("SOURCE_DATE_EPOCH");
/// No program of this kind was made before. Chosen: 2026-11-01.
const BUILT_AFTER_S: i64 = 1_793_491_200;

/// The command line.
#[derive(Parser)]
#[command(
    name = "kiosk-updater",
    version,
    about = "Keeps the terminal's program up to date, safely"
)]
pub(crate) struct Arguments {
    /// File of the configuration.
    #[arg(long, default_value = "/etc/kiosk/updater.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Looks once for a release and brings it into force.
    Run {
        /// Directory with a copy of the repository, such as a USB stick, in place of the configured
        /// one.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Looks once on the stick that the terminal's technician has asked for; says how it goes in
    /// `stick.json`.
    Stick,
    /// Asks the repository what is new and says what is believed now; installs nothing.
    Refresh {
        /// Directory with a copy of the repository, in place of the configured one.
        #[arg(long)]
        directory: Option<PathBuf>,
    },
    /// Says what is believed, without asking anybody.
    Standing,
    /// Obeys a signed order of repair, after the clock was wrong or what was believed is lost.
    Repair {
        /// File of the order.
        order: PathBuf,
    },
    /// Speaks as the public conformance suite asks.
    #[command(hide = true)]
    Conformance(Conformance),
}

#[derive(Args)]
struct Conformance {
    #[arg(long)]
    metadata_dir: PathBuf,
    #[arg(long)]
    metadata_url: Option<String>,
    #[arg(long)]
    target_name: Option<String>,
    #[arg(long)]
    target_base_url: Option<String>,
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    Init { root: PathBuf },
    Refresh,
    Download,
}

/// Does what the command line asks.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let now = clock::now();
    if let Command::Conformance(conformance) = &arguments.command {
        return conform(conformance, now);
    }
    let mut config = configuration(&arguments.config)?;
    let root = read(&config.root)?;
    let open = |config: &Config| Trust::open(&run::store(config), &root, built_at());
    match arguments.command {
        Command::Run { directory } => {
            if let Some(directory) = directory {
                config = config.carried(directory);
            }
            let outcome = run::run(&config, &root, built_at(), None)?.outcome;
            writeln!(std::io::stdout(), "{outcome}")?;
            match outcome.code() {
                Some(code) => bail!("{code}"),
                None => Ok(()),
            }
        }
        Command::Stick => stick_run::run(config, &root, built_at()),
        Command::Refresh { directory } => {
            let repository = elsewhere(directory, config.repository.clone());
            let mut trust = open(&config)?;
            let metadata = run::part(&repository, "metadata", now)?;
            let outcome = trust.refresh(metadata.as_ref(), now);
            say(&trust.standing(now), now)?;
            outcome.map(drop).map_err(coded)
        }
        Command::Standing => say(&open(&config)?.standing(now), now),
        Command::Repair { order } => {
            let mut trust = open(&config)?;
            let order = read(&order)?;
            trust.repair(&order, &config.terminal, now).map_err(coded)?;
            say(&trust.standing(now), now)
        }
        // It brings its own store, and was answered above.
        Command::Conformance(_) => Ok(()),
    }
}

fn configuration(path: &Path) -> anyhow::Result<Config> {
    let place = || path.display().to_string();
    let text = String::from_utf8(read(path)?).with_context(place)?;
    Config::parse(&text).with_context(place)
}

fn elsewhere(directory: Option<PathBuf>, configured: Repository) -> Repository {
    directory.map_or(configured, Repository::Directory)
}

/// The suite's command line on the same code: roots by its own hand, times of its own making.
fn conform(arguments: &Conformance, now: Timestamp) -> anyhow::Result<()> {
    let directory = &arguments.metadata_dir;
    // Beside the directory, in which the suite looks at each file.
    let store = directory.with_extension("store");
    let pinned = store.join("pinned");
    if let Step::Init { root } = &arguments.step {
        let root = read(root)?;
        fs::create_dir_all(&store)?;
        fs::write(&pinned, &root)?;
        fs::write(directory.join("root.json"), &root)?;
        return Ok(());
    }
    let http = |url: &Option<String>| -> anyhow::Result<Http> {
        let url = url.as_deref().context("an address is needed")?;
        Ok(Http::new(url, None, Pace::default(), now)?)
    };
    let root = read(&pinned)?;
    let mut trust = Trust::open(&store.join("store"), &root, Timestamp::UNIX_EPOCH)?;
    let outcome = trust.refresh(&http(&arguments.metadata_url)?, now);
    mirror(&trust, directory)?;
    let trusted = outcome.map_err(coded)?;
    match &arguments.step {
        Step::Init { .. } | Step::Refresh => Ok(()),
        Step::Download => {
            let name = arguments.target_name.as_deref();
            let name = name.context("a name is needed")?;
            let folder = arguments.target_dir.as_deref();
            let folder = folder.context("a folder is needed")?;
            let target = trusted.target(name).map_err(coded)?;
            let targets = http(&arguments.target_base_url)?;
            target
                .save(&targets, &folder.join(file_name(name)))
                .map_err(coded)
        }
    }
}

/// Shows what is believed where the suite looks for it.
fn mirror(trust: &Trust, directory: &Path) -> anyhow::Result<()> {
    for name in ["timestamp.json", "snapshot.json", "targets.json"] {
        let path = directory.join(name);
        if !trust.files().any(|(believed, _)| believed == name) && path.exists() {
            fs::remove_file(path)?;
        }
    }
    for (name, bytes) in trust.files() {
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}

/// One name without folders for every name of a target.
fn file_name(target: &str) -> String {
    let escape = |character: char| match character {
        '/' => "%2F".to_owned(),
        '%' => "%25".to_owned(),
        other => other.to_string(),
    };
    target.chars().map(escape).collect()
}

fn say(standing: &Standing, now: Timestamp) -> anyhow::Result<()> {
    let answer = json!({
        "root": standing.floor.root,
        "timestamp": standing.floor.timestamp,
        "snapshot": standing.floor.snapshot,
        "targets": standing.floor.lists.get("targets.json"),
        "first_end": standing.first_end.map(|(role, end)| json!({
            "role": role.to_string(),
            "at": end.to_string(),
        })),
        "days_left": standing.days_left(now),
        "is_expiring": standing.is_expiring(now),
        "time_ahead_s": standing.time_ahead.map(|ahead| ahead.as_secs()),
        "is_damaged": standing.is_damaged,
    });
    Ok(writeln!(std::io::stdout(), "{answer:#}")?)
}

/// The error with its code before it, as the list of problems has it.
fn coded(error: TrustError) -> anyhow::Error {
    let code = error.code();
    anyhow::Error::from(error).context(code)
}

fn built_at() -> Timestamp {
    let seconds = BUILT_AT.and_then(|text| text.parse().ok());
    let seconds = seconds.unwrap_or(BUILT_AFTER_S).max(BUILT_AFTER_S);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let place = || path.display().to_string();
    let mut bytes = Vec::new();
    fs::File::open(path)
        .with_context(place)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(place)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{}: it is too long", path.display());
    }
    Ok(bytes)
}
