//! `kiosk safe-mode`: whether the terminal is in safe mode, why, and the way out. Works on the small
//! file that counts bad ends, so that it helps where nothing else starts, and says what is wrong with
//! the configuration where that is the reason.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Args;
use kiosk_app::boot::{self, Book, Cause};
use kiosk_app::config::{Mistake, kept};
use kiosk_app::words::Lang;
use kiosk_app::{Config, clock, problem};
use serde_json::json;

/// Longest name of a person who acts, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest word of the service manager that is kept, in bytes.
const WORD_BYTES_MAX: usize = 40;

/// What can be asked of it.
#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, which exclude each other there"
)]
pub(crate) struct Arguments {
    /// Configuration file.
    #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
    config: PathBuf,
    /// One JSON object.
    #[arg(long, conflicts_with_all = ["off", "on", "ended"])]
    json: bool,
    /// Out of safe mode: the terminal starts anew, whole. The next bad end leads back.
    #[arg(long, requires = "by", conflicts_with_all = ["on", "ended"])]
    off: bool,
    /// Into safe mode, from the next start of the terminal on.
    #[arg(long, requires = "by", conflicts_with = "ended")]
    on: bool,
    /// Who decides so; kept in the audit log.
    #[arg(long)]
    by: Option<String>,
    /// For the service manager: the program has ended, and its environment says how.
    #[arg(long, hide = true)]
    ended: bool,
}

/// A configuration that is wrong.
struct Wrong {
    mistake: Mistake,
    /// What follows: nobody is served, or the last good one is used.
    code: &'static str,
}

impl Wrong {
    fn find(file: &Path) -> Option<Self> {
        let (mistake, code) = match Config::read_or_kept(file) {
            Ok(config) => (config.source.mistake().cloned()?, kept::CODE),
            Err(error) => (Mistake::of(&error), Cause::Configuration.code()),
        };
        Some(Self { mistake, code })
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let wrong = Wrong::find(&arguments.config);
    let Some(state) = kept::state_of(&arguments.config) else {
        let is_order = arguments.off || arguments.on;
        ensure!(!is_order, "no directory of a terminal is known here");
        // Where no state is, no bad ends are counted either.
        return if arguments.ended {
            Ok(ExitCode::SUCCESS)
        } else {
            show(&Book::default(), wrong.as_ref(), arguments.json)
        };
    };
    let state = state.as_path();
    if arguments.ended {
        return ended(state);
    }
    if arguments.off || arguments.on {
        let by = arguments.by.as_deref().unwrap_or_default().trim();
        let is_name = (1..=NAME_BYTES_MAX).contains(&by.len()) && !by.chars().any(char::is_control);
        ensure!(is_name, "--by: a name of 1 to {NAME_BYTES_MAX} bytes");
        let now = clock::now().at;
        let (done, words) = if arguments.off {
            let words = "Safe mode is over; a running terminal starts anew within seconds.";
            (boot::release(state, by, now), words)
        } else {
            let words = "Safe mode begins at the next start of the terminal.";
            (boot::hold(state, by, now), words)
        };
        done.with_context(|| format!("{}", state.join(boot::NAME).display()))?;
        writeln!(std::io::stdout(), "{words}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let file = state.join(boot::NAME);
    let book = boot::look(state);
    ensure!(
        book.is_some() || !file.exists(),
        "{} cannot be read; run this as the terminal's user",
        file.display()
    );
    show(&book.unwrap_or_default(), wrong.as_ref(), arguments.json)
}

fn show(book: &Book, wrong: Option<&Wrong>, json: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let serves_nobody = wrong.is_some_and(|wrong| wrong.code != kept::CODE);
    if let Some(Wrong { mistake, code }) = wrong.filter(|_| !json) {
        writeln!(out, "{} [{code}]", mistake.words(Lang::ZhHans))?;
        writeln!(out, "  {}", problem::get(code).technician)?;
    }
    if json {
        let mistake = wrong.map(|wrong| &wrong.mistake);
        let value = json!({ "safe": book.safe, "ends": book.ends, "configuration": mistake });
        writeln!(out, "{value}")?;
    } else if let Some(reason) = &book.safe {
        let problem = problem::get(reason.cause.code());
        writeln!(
            out,
            "Safe mode since {}: {} [{}], {} in a row.",
            reason.since,
            problem.notice(Lang::ZhHans),
            reason.cause.code(),
            reason.count
        )?;
        if !reason.words.is_empty() {
            writeln!(out, "  {}", reason.words)?;
        }
        writeln!(out, "  {}", problem.technician)?;
    } else if !serves_nobody {
        writeln!(out, "Not in safe mode.")?;
    }
    if !json {
        for end in &book.ends {
            writeln!(
                out,
                "  began {}, ended badly: {} {}",
                end.began,
                end.cause.code(),
                end.words
            )?;
        }
    }
    Ok(if book.safe.is_some() || serves_nobody {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// After every end, good or bad (`ExecStopPost=` of systemd.service(5)).
fn ended(state: &Path) -> anyhow::Result<ExitCode> {
    let word = |name: &str| {
        let value = std::env::var(name).unwrap_or_default();
        let is_plain = value.len() <= WORD_BYTES_MAX
            && value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_plain { value } else { String::new() }
    };
    let result = word("SERVICE_RESULT");
    ensure!(
        !result.is_empty(),
        "only the service manager knows how the program ended"
    );
    let words = format!("{} {}", word("EXIT_CODE"), word("EXIT_STATUS"));
    let end = Cause::from_manager(&result).map(|cause| (cause, words.trim()));
    boot::note_end(state, end)?;
    Ok(ExitCode::SUCCESS)
}
