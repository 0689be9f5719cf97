//! Runs the reference platform until it is ended: `central-platform --dir D --listen ADDRESS`.
//! What it accepted stays in the directory, and the next start goes on from there.
//! `central-platform show --dir D` says what is there, without anything personal.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use central_platform::{Config, Contract, Platform, tls};
use clap::{Parser, Subcommand};

/// The reference central platform of the kiosk.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    place: Option<Place>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    #[command(subcommand)]
    act: Option<Act>,
}

/// Where it keeps everything.
#[derive(clap::Args)]
struct Place {
    /// Directory for everything it keeps; made when absent.
    #[arg(long)]
    dir: PathBuf,
    /// JSON file with witnesses, items and ages; every field has a default.
    #[arg(long)]
    config: Option<PathBuf>,
    /// `PostgreSQL` server to keep everything on, such as `postgres://platform@host/platform`.
    #[arg(long)]
    database: Option<String>,
}

#[derive(Subcommand)]
enum Act {
    /// Says what it holds, without anything personal.
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Makes certificates for tests, good and bad ones, in a directory.
    TestCertificates {
        /// The directory.
        #[arg(long)]
        dir: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    match (arguments.act, arguments.place) {
        (Some(Act::Show { place }), _) => show(&place),
        (Some(Act::TestCertificates { dir }), _) => {
            std::fs::create_dir_all(&dir).context("the directory cannot be made")?;
            tls::test_certificates(&dir).context("the certificates cannot be made")?;
            Ok(())
        }
        (None, Some(place)) => serve(&place, arguments.listen),
        (None, None) => anyhow::bail!("--dir is missing"),
    }
}

fn config(place: &Place) -> anyhow::Result<Config> {
    let mut config = match &place.config {
        Some(path) => {
            Config::read(path).with_context(|| format!("configuration file {}", path.display()))?
        }
        None => Config::default(),
    };
    if place.database.is_some() {
        config.database.clone_from(&place.database);
    }
    Ok(config)
}

fn show(place: &Place) -> anyhow::Result<()> {
    let contract =
        Contract::open(&place.dir, config(place)?).context("the directory cannot be opened")?;
    let text = contract.show().context("the database cannot be read")?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn serve(place: &Place, listen: SocketAddr) -> anyhow::Result<()> {
    let platform = Platform::start(&place.dir, listen, config(place)?)
        .with_context(|| format!("cannot start on {listen}"))?;
    tracing::info!(url = platform.url(), "serving; the page is /admin");
    loop {
        // The work is done by the platform's thread; a signal ends the process, and every
        // answer given was durable before.
        std::thread::park();
    }
}
