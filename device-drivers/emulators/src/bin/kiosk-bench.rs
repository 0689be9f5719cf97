//! The bench as a program: starts every emulator, prints the ports as one JSON line, and serves
//! the control socket until it is killed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use kiosk_emulators::{Bench, BenchConfig, Control};

/// Emulates every device of the terminal on real transports.
#[derive(Debug, Parser)]
#[command(name = "kiosk-bench")]
struct Arguments {
    /// Directory for serial ports, prints and the control socket.
    #[arg(long)]
    dir: PathBuf,
    /// Configuration of the bench (TOML); without it every device is healthy and at real speed.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Path of the control socket; `<dir>/control.sock` when not given.
    #[arg(long)]
    control: Option<PathBuf>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the bench cannot run");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = match &arguments.config {
        Some(path) => toml::from_str(&std::fs::read_to_string(path)?)?,
        None => BenchConfig::default(),
    };
    let bench = Arc::new(Bench::start(&arguments.dir, config)?);
    let path = arguments
        .control
        .clone()
        .unwrap_or_else(|| arguments.dir.join("control.sock"));
    let control = Control::start(Arc::clone(&bench), &path)?;
    let mut ports = serde_json::to_value(bench.ports())?;
    ports["control"] = serde_json::to_value(control.path())?;
    writeln!(std::io::stdout().lock(), "{ports}")?;
    // The emulators live on their own threads; this one only keeps them alive until the signal.
    loop {
        std::thread::park();
    }
}
