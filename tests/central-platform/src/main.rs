//! Runs the reference platform until it is ended: `central-platform --dir D --listen ADDRESS`.
//! What it accepted stays in the directory, and the next start goes on from there.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use central_platform::{Config, Platform};
use clap::Parser;

/// The reference central platform of the kiosk.
#[derive(Parser)]
struct Arguments {
    /// Directory for everything it keeps; made when absent.
    #[arg(long)]
    dir: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// JSON file with witnesses, items and ages; every field has a default.
    #[arg(long)]
    config: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let config = match &arguments.config {
        Some(path) => {
            Config::read(path).with_context(|| format!("configuration file {}", path.display()))?
        }
        None => Config::default(),
    };
    let platform = Platform::start(&arguments.dir, arguments.listen, config)
        .with_context(|| format!("cannot start on {}", arguments.listen))?;
    tracing::info!(url = platform.url(), "serving; the page is /admin");
    loop {
        // The work is done by the platform's thread; a signal ends the process, and every
        // answer given was durable before.
        std::thread::park();
    }
}
