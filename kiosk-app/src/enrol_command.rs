//! `kiosk enrol`: makes this machine a terminal. The code comes from a file or is typed, never an
//! argument, which others could read; what goes into the configuration is said and not written.

use std::fs::File;
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use kiosk_app::config::Place;
use kiosk_app::platform::enrolment::{self, Application, Enrolled, EnrolmentError};
use kiosk_app::{clock, problem};
use serde_json::json;
use zeroize::Zeroizing;

/// Longest file of a code.
const CODE_BYTES_MAX: u64 = 256;

/// What is typed.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Address of the platform, `https://…`.
    #[arg(long)]
    platform: String,
    /// Number of the terminal.
    #[arg(long)]
    terminal: String,
    /// Who vouches for the platform: certificates in PEM, from the administrator.
    #[arg(long)]
    ca: PathBuf,
    /// File that holds the code; `-` to type it.
    #[arg(long, default_value = "-")]
    code_file: PathBuf,
    /// Enroll although this machine is a terminal already, with a new code.
    #[arg(long)]
    again: bool,
    /// Configuration file, as far as it is written: where the state and the terminal's own key are.
    #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
    config: PathBuf,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let place = Place::read(&arguments.config)?;
    let now = clock::now();
    if !arguments.again
        && let Some(enrolled) = enrolment::enrolled(&place.state, &arguments.terminal, now.at)
    {
        show(&enrolled, false, arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let code = code(&arguments.code_file)?;
    let application = Application {
        url: &arguments.platform,
        terminal: &arguments.terminal,
        ca: &arguments.ca,
        state: &place.state,
        key: &place.key_source(),
    };
    let enrolled = enrolment::enroll(&application, &code, now).map_err(|error| words(&error))?;
    show(&enrolled, true, arguments)?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the code and drops what ends its line.
fn code(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(256));
    if path == Path::new("-") {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            let mut err = std::io::stderr();
            write!(err, "登记码 (enrolment code): ")?;
            err.flush()?;
            stdin.read_line(&mut text).context("the code")?;
        } else {
            let mut bounded = stdin.lock().take(CODE_BYTES_MAX);
            bounded.read_to_string(&mut text).context("the code")?;
        }
    } else {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut bounded = file.take(CODE_BYTES_MAX);
        let read = bounded.read_to_string(&mut text);
        read.with_context(|| path.display().to_string())?;
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// What is wrong: first what to do about it, then the cause for whoever is asked.
fn words(error: &EnrolmentError) -> anyhow::Error {
    let code = error.code();
    anyhow!("{}\n  {error} [{code}]", problem::get(code).technician)
}

fn show(enrolled: &Enrolled, is_new: bool, arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let told = &enrolled.told;
    let until = enrolled.not_after.to_zoned(clock::local_zone()).date();
    if arguments.json {
        let line = json!({
            "is_new": is_new, "terminal": told.terminal, "region": told.region,
            "site": told.site, "not_after": enrolled.not_after.to_string(),
            "certificate": enrolled.certificate, "ca": enrolled.ca,
            "sealing_key": told.sealing_key, "command_key": told.command_key,
            "configuration": enrolled.lines(),
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    let (zh, en) = if is_new {
        ("登记成功", "Enrolled")
    } else {
        ("这台机器已经登记过", "This machine is enrolled already")
    };
    writeln!(
        out,
        "{zh}：{}，{}（{}）。",
        told.terminal, told.site, told.region
    )?;
    writeln!(out, "证书有效到 {until}，到期前自动换新。")?;
    writeln!(
        out,
        "请把下面几行写进 {}（已有的同名行改成这样），然后重新启动终端：sudo systemctl restart kiosk",
        arguments.config.display()
    )?;
    writeln!(
        out,
        "{en} as {} until {until}. Put these lines into the configuration and restart the terminal.",
        told.terminal
    )?;
    writeln!(out, "\n{}", enrolled.lines())?;
    Ok(())
}
