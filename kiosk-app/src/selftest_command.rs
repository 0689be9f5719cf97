//! `kiosk selftest`: the guided tests without the glass, for the update agent, for SSH and for a
//! technician at a terminal window. Asks the running terminal; where none runs, opens the devices itself.

use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use kiosk_app::Config;
use kiosk_app::clock;
use kiosk_app::devices::{self, socket::Line};
use kiosk_app::keys::Keys;
use kiosk_app::problem;
use kiosk_app::selftest::headless::{self, Summary, Witness};
use kiosk_app::selftest::{Outcome, Run, Verdict, Wanted, figure_name, figure_value};
use kiosk_app::words::{Lang, text};
use kiosk_app::workbench::readiness::{self, Subject};
use kiosk_documents::Typesetter;
use offline_cache::Cache;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

/// How long devices are waited for when they are looked at for the report.
const LOOK_LIMIT: Duration = Duration::from_secs(12);
/// Answers that somebody typed and that wait; a person types one at a time.
const ANSWERS_MAX: usize = 4;
/// Longest line that is taken for an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 32;
/// Exit status when the running terminal would not, or broke off: a visitor comes first. Whoever asks
/// by a program must not take it for a device that failed.
const NOT_NOW: u8 = 3;

/// What shall be tested.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Configuration file.
    #[arg(long, default_value = "/etc/kiosk/kiosk.toml")]
    config: PathBuf,
    /// Only this device.
    #[arg(long)]
    device: Option<String>,
    /// Only this test, for instance `slip-printer.pattern`.
    #[arg(long)]
    test: Option<String>,
    /// One JSON object when all have ended.
    #[arg(long, conflicts_with = "with_person")]
    json: bool,
    /// Write the readiness report, signed, into a new file when all have ended; only while no terminal
    /// runs, else the staff pages make it.
    #[arg(long)]
    pdf: Option<PathBuf>,
    /// Somebody is here and answers on this terminal window; only while no terminal runs.
    #[arg(long)]
    with_person: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match examine(arguments) {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(error) => {
            writeln!(std::io::stderr(), "kiosk: {error:#}")?;
            Ok(ExitCode::from(2))
        }
    }
}

fn examine(arguments: &Arguments) -> anyhow::Result<u8> {
    let config = crate::configuration(&arguments.config)?;
    let wanted = Wanted {
        device: arguments.device.clone(),
        test: arguments.test.clone(),
    };
    let mut teller = Teller {
        is_quiet: arguments.json,
        answers: None,
        last: String::new(),
    };
    let line = Line::open(&config.paths.state).context("the terminal does not answer")?;
    let is_terminal_running = line.is_some();
    let mut broken_off = None;
    let outcomes = if let Some(mut line) = line {
        if arguments.with_person {
            bail!("a terminal runs: test with a person in its staff pages, on the glass");
        }
        if arguments.pdf.is_some() {
            bail!("a terminal runs: its staff pages make the report and write it onto a stick");
        }
        let mut outcomes = Vec::new();
        let ended = line.examine(&wanted, &mut |outcome| {
            teller.ended(&outcome);
            outcomes.push(outcome);
        });
        if let Err(words) = ended.context("the terminal does not answer")? {
            if outcomes.is_empty() {
                writeln!(std::io::stderr(), "kiosk: {words}")?;
                return Ok(NOT_NOW);
            }
            broken_off = Some(words);
        }
        outcomes
    } else {
        if arguments.with_person {
            if !std::io::stdin().is_terminal() {
                bail!("--with-person: nobody can answer here");
            }
            teller.answers = Some(typed()?);
        }
        headless::examine(&config, &wanted, arguments.with_person, &mut teller)?
    };
    if let Some(path) = &arguments.pdf {
        write_report(&config, path).with_context(|| path.display().to_string())?;
    }
    let summary = Summary::new(&config.terminal.id, is_terminal_running, outcomes);
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        writeln!(
            out,
            "{} passed, {} failed, {} not run",
            summary.passed, summary.failed, summary.skipped
        )?;
    }
    if let Some(words) = broken_off {
        writeln!(std::io::stderr(), "kiosk: {words}")?;
        return Ok(NOT_NOW);
    }
    Ok(summary.exit_status())
}

/// The readiness report over what is kept, and the devices as they are now.
fn write_report(config: &Config, path: &Path) -> anyhow::Result<()> {
    let now = clock::now();
    let store = config.paths.state.join("store");
    let (cache, _) = Cache::open_with(&store, &config.store_options(), now.at)?;
    let keys = Keys::open(&config.paths.state, &config.key_source())?;
    let devices = devices::look(&config.devices, LOOK_LIMIT)?;
    let typesetter = if config.paths.fonts.is_empty() {
        Typesetter::with_system_fonts()?
    } else {
        Typesetter::new(&config.paths.fonts)?
    };
    let subject = Subject {
        config,
        cache: &cache,
        key: keys.device(),
        devices: &devices,
        at: now.at,
        by: "terminal",
    };
    let report = readiness::report(&subject, &typesetter, Lang::ZhHans)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(&report.pdf)?;
    Ok(file.sync_all()?)
}

/// Lines that somebody types, without waiting for them.
fn typed() -> anyhow::Result<Receiver<String>> {
    let (sender, answers) = sync_channel(ANSWERS_MAX);
    // Ends with the process: nothing interrupts somebody who types.
    std::thread::Builder::new()
        .name("answers".to_owned())
        .spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let mut line = line.trim().to_lowercase();
                if line.len() > ANSWER_BYTES_MAX {
                    line.clear();
                }
                if sender.send(line).is_err() {
                    return;
                }
            }
        })?;
    Ok(answers)
}

/// Tells how tests end, and asks.
struct Teller {
    is_quiet: bool,
    answers: Option<Receiver<String>>,
    /// What was asked last, so that nothing is asked twice.
    last: String,
}

impl Teller {
    fn tell(&self, words: &str) {
        if !self.is_quiet {
            // A window that is closed wants to know nothing more.
            drop(writeln!(std::io::stdout(), "{words}"));
        }
    }
}

impl Witness for Teller {
    fn ended(&mut self, outcome: &Outcome) {
        let word = match outcome.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "not run",
            Verdict::Canceled => "canceled",
        };
        let Outcome { test, device, .. } = outcome;
        self.tell(&format!("{word:<8} {test:<22} {device}"));
        if !outcome.problem.is_empty() {
            let code = &outcome.problem;
            let title = problem::get(code).title(Lang::ZhHans);
            self.tell(&format!("         {title} [{code}]"));
        }
        for (name, value) in &outcome.figures {
            let (name, value) = (
                figure_name(Lang::ZhHans, name),
                figure_value(Lang::ZhHans, name, value),
            );
            self.tell(&format!("         {name} {value}"));
        }
    }

    fn asked(&mut self, run: &Run) -> Option<String> {
        let answers = self.answers.as_ref()?;
        let page = run.page(Lang::ZhHans, clock::now());
        let ids: Vec<&str> = page
            .answers
            .iter()
            .map(|answer| answer.id.as_str())
            .collect();
        let mut words = format!("{} · {} [{}]", page.title, page.words, ids.join(" / "));
        if let Some(code) = page.code.as_ref().and_then(|code| QrCode::new(code).ok()) {
            let drawn = code.render::<Dense1x2>().build();
            words = format!("{words}\n{drawn}");
        }
        if words != self.last {
            self.tell(&words);
            self.last = words;
        }
        let typed = answers.try_recv().ok()?;
        let is_it = |id: &&&str| **id == typed || (!typed.is_empty() && id.starts_with(&typed));
        let chosen = ids.iter().find(is_it).map(|id| (*id).to_owned());
        if chosen.is_none() {
            self.tell(text(Lang::ZhHans, "test.answer-unknown"));
        }
        chosen
    }
}
