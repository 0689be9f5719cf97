//! `kiosk`: the terminal and what a technician runs beside it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use kiosk_app::catalogue::{Catalogue, Region};
use kiosk_app::desk::Anchor;
use kiosk_app::devices::socket::{self, Answer, Ask};
use kiosk_app::devices::{self, Report};
use kiosk_app::safe::Start;
use kiosk_app::words::Lang;
use kiosk_app::{Config, Farewell, Terminal, clock, logging, vital};
use kiosk_ui::{Backend, Options, Ui};

mod commands;
mod enrol_command;
mod safe_mode;
mod selftest_command;

/// The program wants to be started anew: `EX_TEMPFAIL` of sysexits.h, come again.
const RESTART_STATUS: u8 = 75;

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
    /// Look at the queue, and act on it, also while the terminal runs.
    ///
    /// Exit status 0: done; 1: not done, or (for the list) something waits for a person; 2: wrong use.
    Queue {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml", global = true)]
        config: PathBuf,
        /// One JSON object a line.
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: Option<Queue>,
    },
    /// What was done in a year, item by item: visits and how they ended, cases, prints; also while the
    /// terminal runs.
    ///
    /// Exit status 0: told; 1: there is no store, or it could not be read; 2: wrong use.
    Usage {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
        config: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
        /// The year; without it the present one.
        #[arg(long, value_parser = clap::value_parser!(i16).range(2000..=9999))]
        year: Option<i16>,
    },
    /// Verify or export the audit log, also while the terminal runs.
    ///
    /// Exit status 0: whole; 1: something is wrong with it, or it could not be read; 2: wrong use.
    Audit {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml", global = true)]
        config: PathBuf,
        #[command(subcommand)]
        command: Audit,
    },
    /// Make this machine a terminal, by a code that an administrator made for its number; run it as
    /// the terminal's user.
    ///
    /// Doing it again after a break is right: the code then has the same answer. Exit status 0: it is
    /// a terminal; 1: it is not; 2: wrong use.
    Enrol(enrol_command::Arguments),
    /// The terminal's own key.
    Key {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml", global = true)]
        config: PathBuf,
        #[command(subcommand)]
        command: Key,
    },
    /// Whether the terminal is in safe mode and why; with `--off`, have everything tried again.
    ///
    /// Exit status 0: it is not, or it was done; 1: it is; 2: wrong use.
    SafeMode(safe_mode::Arguments),
    /// Run the guided tests, in the running terminal or beside it.
    ///
    /// Exit status 0: nothing failed, what was not run needs a person; 1: something failed; 2: nothing
    /// could be run; 3: the running terminal would not, or broke off: somebody is there, or tests run
    /// already.
    Selftest(selftest_command::Arguments),
    /// Whether somebody is at the running terminal: whoever starts it anew asks before.
    ///
    /// Exit status 0: nobody is, or no terminal runs; 1: somebody is; 2: it does not answer.
    Visit {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
        config: PathBuf,
    },
    /// Whether the platform holds a release back: the updater asks before it fetches or switches.
    ///
    /// Exit status 0: it does not; 2: nobody can tell; 4: it does.
    Held {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
        config: PathBuf,
        /// The release, such as 1.4.2.
        version: String,
    },
    /// Look at the devices, also while the terminal runs; exit status 1 when one is not ready.
    Devices {
        /// Configuration file.
        #[arg(long, default_value = "/etc/kiosk/kiosk.toml", global = true)]
        config: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
        /// Look again every second until interrupted; says only what has changed.
        #[arg(long)]
        watch: bool,
        #[command(subcommand)]
        command: Option<Devices>,
    },
    /// Check item packages.
    Services {
        #[command(subcommand)]
        command: Services,
    },
}

#[derive(Subcommand)]
enum Queue {
    /// The newest rows; with `--dead` all that wait for a person, in words, with the way out.
    List {
        /// Only what waits for a person.
        #[arg(long)]
        dead: bool,
    },
    /// Send again what the platform refused, once its cause is mended.
    Retry {
        /// The transaction.
        id: uuid::Uuid,
        /// Who decides so; kept in the audit log.
        #[arg(long)]
        by: String,
    },
    /// Give up what the platform refused; its content is erased.
    Close {
        /// The transaction.
        id: uuid::Uuid,
        /// Who decides so; kept in the audit log.
        #[arg(long)]
        by: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Write everything that waits into a directory of a stick, sealed and signed.
    Export {
        /// The directory.
        directory: PathBuf,
        /// Who carries it; kept in the audit log.
        #[arg(long, default_value = "technician")]
        by: String,
    },
    /// Read the receipts that came back on a stick.
    ImportReceipts {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// Check every entry, every signed head, and a head that is known from elsewhere.
    Verify {
        /// `SEQUENCE:HASH`, as the platform shows it for this terminal.
        #[arg(long)]
        anchor: Option<Anchor>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write the log into a new file, one JSON object a line.
    Export {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum Key {
    /// The public key, its id and its algorithm, and who keeps it.
    Show {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Devices {
    /// Make one device of the running terminal talkative in the log, or quiet again.
    Log {
        /// The device.
        device: String,
        /// `error`, `warn`, `info`, `debug`, `trace`; nothing for the level of the rest.
        level: Option<String>,
    },
    /// Record every byte of one device of the running terminal into a new file.
    Record {
        /// The device.
        device: String,
        /// The file.
        file: PathBuf,
        /// How long, in seconds, 1 to 3600.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// Record personal content too. Only with test cards and test documents.
        #[arg(long)]
        with_personal_data: bool,
    },
}

#[derive(Subcommand)]
enum Services {
    /// Check every package below a directory, or a whole set that the updater has brought; exit
    /// status 1 when one is wrong.
    Check {
        /// The directory.
        directory: PathBuf,
        /// Packages of the program, whose shared files a set may use.
        #[arg(long, default_value = "/usr/share/kiosk/items")]
        packaged: PathBuf,
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
        Command::Run { config } => terminal(&config),
        Command::Queue {
            config,
            json,
            command,
        } => queue(&configuration(&config)?, json, command),
        Command::Usage { config, json, year } => {
            commands::usage(&configuration(&config)?, year, json)
        }
        Command::Audit { config, command } => audit(&configuration(&config)?, command),
        Command::Key {
            config,
            command: Key::Show { json },
        } => commands::key(&configuration(&config)?, json),
        Command::Enrol(arguments) => enrol_command::run(&arguments),
        Command::SafeMode(arguments) => safe_mode::run(&arguments),
        Command::Selftest(arguments) => selftest_command::run(&arguments),
        Command::Visit { config } => visit(&config),
        Command::Held { config, version } => held(&config, version),
        Command::Devices {
            config,
            json,
            watch,
            command,
        } => {
            let config = configuration(&config)?;
            match command {
                None => show_devices(&config, json, watch),
                Some(command) => ask_terminal(&config, command),
            }
        }
        Command::Services {
            command:
                Services::Check {
                    directory,
                    packaged,
                },
        } if Region::is_at(&directory) => check_set(&directory, &packaged),
        Command::Services {
            command: Services::Check { directory, .. },
        } => check(&Catalogue::load(&directory)),
    }
}

/// The configuration of a command: what the terminal itself would run with. Whoever types the command
/// is told where that is not the file.
fn configuration(path: &Path) -> anyhow::Result<Config> {
    let config = Config::read_or_kept(path)?;
    if let Some(mistake) = config.source.mistake() {
        let words = mistake.words(Lang::ZhHans);
        writeln!(
            std::io::stderr(),
            "kiosk: {words}\nkiosk: going on with the last good configuration"
        )?;
    }
    Ok(config)
}

fn visit(config: &Path) -> anyhow::Result<ExitCode> {
    // Status 1 is kept for visitors: nothing else may look like one.
    let asked =
        configuration(config).and_then(|config| Ok(socket::ask(&config.paths.state, &Ask::Visit)?));
    let (words, status) = match asked {
        Ok(None) => ("no terminal runs", 0),
        Ok(Some(Answer::Visit {
            is_under_way: false,
        })) => ("nobody is at the terminal", 0),
        Ok(Some(Answer::Visit { is_under_way: true })) => ("somebody is at the terminal", 1),
        Ok(Some(_)) | Err(_) => ("the terminal does not answer", 2),
    };
    writeln!(std::io::stdout(), "{words}")?;
    Ok(ExitCode::from(status))
}

/// Status by which a release is said to be held back: one that nothing else ends with by accident.
const HELD_STATUS: u8 = 4;

fn held(config: &Path, version: String) -> anyhow::Result<ExitCode> {
    let asked = configuration(config).and_then(|config| commands::is_held(&config, version));
    let (words, status) = match asked {
        Ok(false) => ("the platform does not hold it back".to_owned(), 0),
        Ok(true) => (
            "the platform holds it back: it is neither fetched nor switched to".to_owned(),
            HELD_STATUS,
        ),
        Err(error) => (format!("nobody can tell: {error:#}"), 2),
    };
    writeln!(std::io::stdout(), "{words}")?;
    Ok(ExitCode::from(status))
}

fn terminal(config: &Path) -> anyhow::Result<ExitCode> {
    logging::open();
    vital::silence_panic_messages();
    let start = Start::find(config, clock::now().at);
    let screen = start.screen();
    let (touches, received) = Terminal::touches();
    let ui = Ui::new(
        Options {
            width_px: screen.width_px,
            height_px: screen.height_px,
            backend: Backend::Window {
                fullscreen: screen.is_fullscreen,
            },
            on_first_frame: Some(Box::new(|| {
                let milliseconds = clock::now().uptime.as_millis();
                tracing::info!(milliseconds, "first frame");
            })),
        },
        touches,
    )
    .inspect_err(|_| start.give_up())?;
    Ok(match start.run(ui, received)? {
        Farewell::Stopped => ExitCode::SUCCESS,
        Farewell::Restart => ExitCode::from(RESTART_STATUS),
    })
}

fn queue(config: &Config, json: bool, command: Option<Queue>) -> anyhow::Result<ExitCode> {
    match command.unwrap_or(Queue::List { dead: false }) {
        Queue::List { dead } => commands::list(config, dead, json),
        Queue::Retry { id, by } => commands::retry(config, id, by),
        Queue::Close { id, by, reason } => commands::close(config, id, by, reason),
        Queue::Export { directory, by } => commands::export(config, &directory, &by, json),
        Queue::ImportReceipts { file } => commands::import_receipts(config, &file, json),
    }
}

fn audit(config: &Config, command: Audit) -> anyhow::Result<ExitCode> {
    match command {
        Audit::Verify { anchor, json } => commands::verify(config, anchor, json),
        Audit::Export { file } => commands::export_audit(config, &file),
    }
}

/// How long devices are waited for when they are opened just to be looked at.
const LOOK_LIMIT: Duration = Duration::from_secs(12);
/// Between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

fn look(config: &Config) -> anyhow::Result<Report> {
    match socket::ask(&config.paths.state, &Ask::List).context("the terminal does not answer")? {
        Some(Answer::Report(report)) => with_resting(config, report),
        Some(Answer::Refused { words } | Answer::Done { words }) => bail!(words),
        Some(Answer::Desk(_) | Answer::Tested { .. } | Answer::Visit { .. }) => {
            bail!("the terminal answered something else")
        }
        None => Ok(devices::look(&config.devices, LOOK_LIMIT)?),
    }
}

/// In safe mode the terminal drives few devices or none: the others are free for this look.
fn with_resting(config: &Config, mut report: Report) -> anyhow::Result<Report> {
    let is_driven = |id: &str| report.devices.iter().any(|device| device.id == id);
    let resting: Vec<_> = config
        .devices
        .iter()
        .filter(|device| !is_driven(&device.id))
        .cloned()
        .collect();
    if resting.is_empty() {
        return Ok(report);
    }
    report
        .devices
        .extend(devices::look(&resting, LOOK_LIMIT)?.devices);
    let place = |id: &str| config.devices.iter().position(|device| device.id == id);
    report.devices.sort_by_key(|device| place(&device.id));
    Ok(report)
}

fn show_devices(config: &Config, json: bool, watch: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut last = String::new();
    loop {
        let report = look(config)?;
        let text = if json {
            format!("{}\n", serde_json::to_string(&report)?)
        } else {
            report.table()
        };
        if text != last {
            out.write_all(text.as_bytes())?;
            out.flush()?;
            last = text;
        }
        if !watch {
            let is_well = report.is_well();
            return Ok(if is_well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        pause(WATCH_INTERVAL);
    }
}

fn ask_terminal(config: &Config, command: Devices) -> anyhow::Result<ExitCode> {
    let tell = |ask: &Ask| -> anyhow::Result<()> {
        match socket::ask(&config.paths.state, ask).context("the terminal does not answer")? {
            Some(Answer::Done { words }) => Ok(writeln!(std::io::stdout(), "{words}")?),
            Some(Answer::Refused { words }) => bail!(words),
            Some(
                Answer::Report(_) | Answer::Desk(_) | Answer::Tested { .. } | Answer::Visit { .. },
            ) => {
                bail!("the terminal answered something else")
            }
            None => bail!("the terminal does not run; start it first"),
        }
    };
    match command {
        Devices::Log { device, level } => tell(&Ask::Level { device, level })?,
        Devices::Record {
            device,
            file,
            seconds,
            with_personal_data,
        } => {
            let file = std::path::absolute(file)?;
            let stop = Ask::StopRecording {
                device: device.clone(),
            };
            tell(&Ask::Record {
                device,
                file,
                with_personal_data,
            })?;
            pause(Duration::from_secs(seconds));
            tell(&stop)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing wakes a command of the technician early but an interrupt, which ends it.
fn pause(duration: Duration) {
    std::thread::park_timeout(duration);
}

/// A set may remove and set things only, and bring no item.
fn check_set(directory: &Path, packaged: &Path) -> anyhow::Result<ExitCode> {
    let mistakes = match Region::read(directory) {
        Err(mistake) => vec![mistake],
        Ok(region) => Catalogue::load_region(&region.unwrap_or_default(), packaged).mistakes,
    };
    let mut out = std::io::stdout().lock();
    for mistake in &mistakes {
        writeln!(out, "wrong {mistake}")?;
    }
    if !mistakes.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    writeln!(out, "ok    the set is whole")?;
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
