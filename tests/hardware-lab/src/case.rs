//! One case of the lab: a name that states a promise, a limit, and a verdict on one line.
//!
//! Cases run one after the other, each on a thread of its own, so that one that hangs or panics
//! costs its own limit and nothing else.

use std::fmt::Display;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use kiosk_device::clock;

/// What a case measured, printed behind its verdict.
#[derive(Debug)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) milliseconds: f64,
}

impl Measure {
    pub(crate) fn new(name: &'static str, time: Duration) -> Self {
        Self {
            name,
            milliseconds: time.as_secs_f64() * 1000.0,
        }
    }
}

/// How a case ends: with what it measured, or with the promise that was not kept.
pub(crate) type Outcome = anyhow::Result<Vec<Measure>>;

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Longest time it may take in software emulation on a busy machine.
    pub(crate) limit: Duration,
    pub(crate) run: fn() -> Outcome,
}

impl Case {
    pub(crate) const fn new(name: &'static str, limit_s: u64, run: fn() -> Outcome) -> Self {
        Self {
            name,
            limit: Duration::from_secs(limit_s),
            run,
        }
    }
}

/// Runs a case and prints its line; true when it passed.
///
/// # Errors
/// The console cannot be written, or the machine cannot start a thread.
pub(crate) fn judge(case: Case) -> anyhow::Result<bool> {
    let (end, ended) = sync_channel(1);
    let started = clock::now();
    let thread = thread::Builder::new().name(case.name.to_owned());
    thread
        .spawn(move || {
            // The people in the lab are synthetic, so the words of a panic may be shown.
            let outcome = catch_unwind(AssertUnwindSafe(case.run))
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")));
            // Nobody listens any more when the case was given up.
            drop(end.try_send(outcome));
        })
        .context("no thread for a case")?;
    let outcome = match ended.recv_timeout(case.limit) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(anyhow::anyhow!("no end within {} s", case.limit.as_secs()))
        }
    };
    let took = clock::now().saturating_duration_since(started).as_millis();
    match &outcome {
        Ok(measures) => {
            say(format_args!("ok {} {took} ms", case.name))?;
            for Measure { name, milliseconds } in measures {
                say(format_args!("measure {name} {milliseconds:.1} ms"))?;
            }
        }
        Err(error) => {
            let why = format!("{error:#}").replace('\n', " / ");
            say(format_args!("FAIL {} after {took} ms: {why}", case.name))?;
        }
    }
    Ok(outcome.is_ok())
}

/// Prints one line to the console.
///
/// # Errors
/// The console cannot be written.
pub(crate) fn say(line: impl Display) -> anyhow::Result<()> {
    let mut console = std::io::stdout().lock();
    writeln!(console, "{line}")?;
    console.flush()?;
    Ok(())
}
