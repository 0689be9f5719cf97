//! `kiosk`: the terminal and what a technician runs beside it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use kiosk_app::catalogue::Catalogue;
use kiosk_app::{Config, Terminal, clock, vital};
use kiosk_ui::{Backend, Options, Ui};
use offline_cache::Cache;
use tracing_subscriber::EnvFilter;

/// Self-service terminal for public services.
#[derive(Parser)]
#[command(name = "kiosk", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the terminal.
    Run {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
        config: PathBuf,
    },
    /// Look at the queue, without personal data.
    Queue {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
        config: PathBuf,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Check item packages.
    Services {
        #[command(subcommand)]
        command: Services,
    },
}

#[derive(Subcommand)]
enum Services {
    /// Check every package below a directory; exit status 1 when one is wrong.
    Check {
        /// The directory.
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    clock::now();
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // The log may not be open yet; the words go where whoever started us looks.
            drop(writeln!(std::io::stderr(), "kiosk: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { config } => terminal(&Config::read(&config)?),
        Command::Queue { config, json } => queue(&Config::read(&config)?, json),
        Command::Services {
            command: Services::Check { directory },
        } => check(&Catalogue::load(&directory)),
    }
}

fn terminal(config: &Config) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("KIOSK_LOG").unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    vital::silence_panic_messages();
    let (touches, received) = Terminal::touches();
    let ui = Ui::new(
        Options {
            width_px: config.screen.width_px,
            height_px: config.screen.height_px,
            backend: Backend::Window {
                fullscreen: config.screen.is_fullscreen,
            },
            on_first_frame: Some(Box::new(|| {
                let milliseconds = clock::now().uptime.as_millis();
                tracing::info!(milliseconds, "first frame");
            })),
        },
        touches,
    )?;
    let terminal = Terminal::start(config, ui.handle(), received)?;
    ui.run()?;
    terminal.stop();
    Ok(ExitCode::SUCCESS)
}

fn queue(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let store = config.paths.state.join("store");
    let (cache, _) = Cache::open(&store, clock::now().at)
        .context("the queue cannot be opened while the terminal runs")?;
    let mut out = std::io::stdout().lock();
    for row in cache.recent(1000)? {
        if json {
            let line = serde_json::json!({
                "id": row.id, "kind": row.kind, "item": row.item, "case_number": row.case_number,
                "state": row.state.to_string(), "attempts": row.attempts,
                "enqueued_at": row.enqueued_at, "next_at": row.next_at, "last_code": row.last_code,
                "reference": row.receipt_reference,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{}  {:<18} {:<8} {:<22} attempts {:<3} {}",
                row.case_number,
                row.state,
                row.kind,
                row.item,
                row.attempts,
                row.last_code.unwrap_or_default(),
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn check(catalogue: &Catalogue) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for item in catalogue.iter() {
        writeln!(out, "ok    {} version {}", item.id, item.version)?;
    }
    for mistake in &catalogue.mistakes {
        writeln!(out, "wrong {mistake}")?;
    }
    Ok(if catalogue.mistakes.is_empty() && !catalogue.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
