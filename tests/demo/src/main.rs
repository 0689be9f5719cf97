//! `kiosk-demo`: the terminal with all its devices and its platform, on any computer.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use kiosk_demo::report::Report;
use kiosk_demo::world::{Setting, default_items};
use kiosk_demo::{panel, player, terminal, update};
use tracing_subscriber::EnvFilter;

/// Shows the kiosk without any hardware: in a window with a bench panel beside it, or, without a
/// display, by playing a scripted visit and leaving pictures, prints and result.json.
#[derive(Parser)]
#[command(name = "kiosk-demo", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    show: Show,
}

#[derive(Args)]
struct Show {
    /// Play a journey instead of opening windows; implied when there is no display.
    #[arg(long)]
    headless: bool,
    /// The journey to play; implies --headless.
    #[arg(long, value_name = "FILE")]
    journey: Option<PathBuf>,
    /// Where pictures, prints and result.json go.
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    out: PathBuf,
    /// The item packages.
    #[arg(long, value_name = "DIR")]
    items: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the terminal alone, as the world starts it.
    #[command(hide = true)]
    Terminal {
        /// Its kiosk.toml.
        #[arg(long)]
        config: PathBuf,
        /// Where it listens for journeys.
        #[arg(long)]
        control: PathBuf,
        /// Open a window instead of painting into memory.
        #[arg(long)]
        window: bool,
        /// Have a slip printer driver that does not work: for releases that must be taken back.
        #[arg(long)]
        broken_printer: bool,
    },
    /// Three machines are enrolled, take a good release in waves and are kept from a broken one.
    Update {
        /// Where pictures, what was said and result.json go.
        #[arg(long, value_name = "DIR", default_value = "target/update-demo")]
        out: PathBuf,
    },
    /// Have a village's service manager start its terminal anew, as its updater does.
    #[command(hide = true)]
    Restart {
        /// Where the service manager listens.
        #[arg(long)]
        service: PathBuf,
    },
}

fn main() -> ExitCode {
    kiosk_app::clock::now();
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Terminal {
            config,
            control,
            window,
            broken_printer,
        }) => run_terminal(config, control, *window, *broken_printer),
        Some(Command::Update { out }) => show_update(out),
        Some(Command::Restart { service }) => update::restart(service),
        None => show(&arguments.show),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "kiosk-demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run_terminal(
    config: &Path,
    control: &Path,
    is_window: bool,
    is_broken: bool,
) -> anyhow::Result<()> {
    if is_broken {
        let config = update::without_printer(config)?;
        return terminal::run(&config, control, is_window);
    }
    terminal::run(config, control, is_window)
}

fn show_update(out: &Path) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("kiosk-update-").tempdir()?;
    let setting = Setting::headless(directory.path().to_owned())?;
    let mut console = std::io::stdout().lock();
    let outcome = update::play(out, &setting, &mut console);
    writeln!(console, "see {}", out.join("result.json").display())?;
    outcome
}

fn show(show: &Show) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_env("KIOSK_DEMO_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    let directory = tempfile::Builder::new().prefix("kiosk-demo-").tempdir()?;
    let mut setting = Setting::headless(directory.path().to_owned())?;
    setting.items = show.items.clone().unwrap_or_else(default_items);
    let is_headless = show.headless || show.journey.is_some() || !has_display();
    if !is_headless {
        return panel::run(
            Setting {
                is_window: true,
                ..setting
            },
            &show.out,
        );
    }
    let journey = show.journey.clone().unwrap_or_else(default_journey);
    let report = player::play_file(&journey, &show.out, &setting)
        .with_context(|| format!("{} failed; see {}", journey.display(), show.out.display()))?;
    tell(&report, &show.out)
}

/// What a person at a console wants to know.
fn tell(report: &Report, out: &Path) -> anyhow::Result<()> {
    let mut console = std::io::stdout().lock();
    writeln!(
        console,
        "{}: {} steps, {} screens, {} transactions, {} prints; first frame {} ms, memory {} KiB",
        report.title,
        report.steps.len(),
        report.screens.len(),
        report.transactions.len(),
        report.prints.len(),
        report.first_frame_ms.unwrap_or_default(),
        report.pss_kib.unwrap_or_default(),
    )?;
    writeln!(console, "see {}", out.join("result.json").display())?;
    Ok(())
}

fn has_display() -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn default_journey() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/demo.toml")
}
