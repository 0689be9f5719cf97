//! Runs the terminal in the mode that its count of bad ends asks for, and writes down how it ended.
//!
//! Safe mode is the same program with less: no items, and of the devices only the scanner, by which
//! staff come in. The bare mode opens neither store nor line nor keys: words on the glass, a pulse for
//! the service manager, and after half an hour one more attempt of safe mode, because what is queued
//! must not wait for a repair. Without a configuration there is the bare glass too: it says which line
//! of which file is wrong, and starts anew as soon as the file is right.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use kiosk_device::ConfigError as DeviceMistake;
use kiosk_ui::{Touch, Ui, UiError, UiHandle, View};
use offline_cache::CacheError;

use crate::boot::{Boot, Cause, Mode, Reason};
use crate::catalogue::{Catalogue, RegionSettings};
use crate::clock::{self, Moment};
use crate::config::{Config, Mistake, Screen, kept, refused};
use crate::event::Event;
use crate::platform::PlatformError;
use crate::runtime::{Farewell, StartError, Terminal};
use crate::session::{Session, Site};
use crate::vital;
use crate::watchdog::{self, Pulse};

/// How often it is looked whether somebody has ended safe mode from outside.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);
/// The bare glass turns this often, for its clock.
const TICK: Duration = Duration::from_millis(250);
/// How long the bare mode lasts. Chosen: what waits in the queue is sent at most so much later, and
/// a safe mode that always fails shows a dark glass for a second of so many.
const BARE_LIMIT: Duration = Duration::from_mins(30);

/// Why the terminal did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The display has gone away.
    #[error(transparent)]
    Display(#[from] UiError),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[from] io::Error),
}

impl RunError {
    /// True for what no smaller program could mend, and what passes by itself: a display that is not
    /// there yet, and a technician's command that has the store open.
    fn is_passing(&self) -> bool {
        match self {
            Self::Display(_) => true,
            Self::Start(StartError::Store { source, .. }) => matches!(source, CacheError::InUse),
            Self::Start(
                StartError::Keys(_)
                | StartError::Device(_)
                | StartError::Platform(_)
                | StartError::Thread(_),
            )
            | Self::Thread(_) => false,
        }
    }
}

/// A terminal that is about to run.
#[derive(Debug)]
pub enum Start {
    /// With a configuration: the file, or the copy of the last good one.
    Configured {
        /// The configuration.
        config: Box<Config>,
        /// The count of bad ends, in which this run has begun.
        boot: Boot,
    },
    /// With words on the glass and nothing else: the file is wrong and no copy can be used.
    Unconfigured {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        mistake: Mistake,
    },
}

impl Start {
    /// Reads the configuration and begins a run.
    pub fn find(path: &Path, now: Timestamp) -> Self {
        match Config::read_or_kept(path) {
            Ok(config) => {
                if let Some(mistake) = config.source.mistake() {
                    let Mistake { file, line, kind } = mistake;
                    tracing::error!(code = kept::CODE, file = %file.display(), line, ?kind, "the configuration is wrong; the terminal runs with the last good one");
                }
                let boot = Boot::begin(&config.paths.state, now);
                let config = Box::new(config);
                Self::Configured { config, boot }
            }
            Err(error) => {
                let mistake = Mistake::of(&error);
                let Mistake { file, line, kind } = &mistake;
                tracing::error!(code = Cause::Configuration.code(), file = %file.display(), line, ?kind, "the configuration is wrong; nobody is served until it is right");
                let path = path.to_owned();
                Self::Unconfigured { path, mistake }
            }
        }
    }

    /// Size and kind of the screen; the usual one where nobody says.
    pub fn screen(&self) -> Screen {
        match self {
            Self::Configured { config, .. } => config.screen.clone(),
            Self::Unconfigured { .. } => Screen::default(),
        }
    }

    /// Without a display there is nothing to be seen of any mode: that is no bad end.
    pub fn give_up(&self) {
        match self {
            Self::Configured { boot, .. } => boot.ended(),
            Self::Unconfigured { .. } => {}
        }
    }

    /// Runs until it ends, as [`run`] does.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(self, ui: Ui, touches: Receiver<Touch>) -> Result<Farewell, RunError> {
        match self {
            Self::Configured { config, boot } => run(&config, &boot, ui, touches),
            Self::Unconfigured { path, mistake } => unconfigured(path, mistake, ui, touches),
        }
    }
}

/// Runs the terminal behind `ui` until it ends, and counts how it did. Call it on the main thread.
///
/// # Errors
/// [`RunError`]; the end is counted as a bad one where a smaller program could help.
pub fn run(
    config: &Config,
    boot: &Boot,
    ui: Ui,
    touches: Receiver<Touch>,
) -> Result<Farewell, RunError> {
    let outcome = match boot.mode() {
        Mode::Normal => whole(config, boot, ui, touches),
        Mode::Safe(_) => safe(config, boot, ui, touches),
        Mode::Bare(_) => bare(config, boot, ui, touches),
    };
    match &outcome {
        Err(error) if !error.is_passing() => boot.failed(&with_causes(error)),
        Ok(_) | Err(_) => boot.ended(),
    }
    outcome
}

fn whole(
    config: &Config,
    boot: &Boot,
    ui: Ui,
    touches: Receiver<Touch>,
) -> Result<Farewell, RunError> {
    let terminal = Terminal::start(config, boot, ui.handle(), touches)
        .inspect_err(|error| refuse(config, error))?;
    // The store, the keys, the line and every driver have taken it: it is one to come back to.
    if let Err(error) = config.keep() {
        tracing::warn!(%error, "the configuration is not kept for worse days");
    }
    ui.run()?;
    Ok(terminal.stop())
}

/// Where the configuration is why the program does not start, the next start takes the last good one.
fn refuse(config: &Config, error: &StartError) {
    let text = config.source.text();
    let line = match error {
        StartError::Device(
            DeviceMistake::NotAccepted { id, key, .. }
            | DeviceMistake::UnknownOption { id, key, .. },
        ) => refused::line_of_device(text, id, key),
        StartError::Platform(PlatformError::Configuration { key, .. }) => {
            refused::line_of_key(text, key)
        }
        StartError::Store { .. }
        | StartError::Keys(_)
        | StartError::Platform(_)
        | StartError::Thread(_) => return,
    };
    if let Err(error) = config.refuse(line) {
        tracing::warn!(%error, "it is not written down that the configuration does not start");
    }
}

fn safe(
    config: &Config,
    boot: &Boot,
    ui: Ui,
    touches: Receiver<Touch>,
) -> Result<Farewell, RunError> {
    let terminal = Terminal::start(config, boot, ui.handle(), touches)?;
    let is_released = Arc::new(AtomicBool::new(false));
    watch_for_release(boot, ui.handle(), &is_released)?;
    ui.run()?;
    let farewell = terminal.stop();
    Ok(if is_released.load(Ordering::Acquire) {
        Farewell::Restart
    } else {
        farewell
    })
}

/// Ends the glass when a command has ended safe mode; lives as long as the process.
fn watch_for_release(boot: &Boot, ui: UiHandle, is_released: &Arc<AtomicBool>) -> io::Result<()> {
    let boot = boot.clone();
    let is_released = Arc::clone(is_released);
    thread::Builder::new()
        .name("release".to_owned())
        .spawn(move || {
            while !boot.is_released() {
                thread::park_timeout(RELEASE_INTERVAL);
            }
            tracing::info!("safe mode was ended; the terminal starts anew");
            is_released.store(true, Ordering::Release);
            ui.quit();
        })
        .map(drop)
}

fn bare(
    config: &Config,
    boot: &Boot,
    ui: Ui,
    touches: Receiver<Touch>,
) -> Result<Farewell, RunError> {
    let session = Session::new(Arc::new(Catalogue::default()), site(config));
    let own = boot.clone();
    let began = clock::now().uptime;
    let is_over = move |_: &mut Session, now: Moment| {
        let is_long = now.uptime.saturating_sub(began) >= BARE_LIMIT;
        if is_long {
            own.dare_safe();
        }
        is_long || own.is_released()
    };
    show_alone(session.safe(boot.mode().clone()), is_over, ui, touches)
}

/// Nobody is served, and everybody who looks is told why, until the file is right.
fn unconfigured(
    path: PathBuf,
    mistake: Mistake,
    ui: Ui,
    touches: Receiver<Touch>,
) -> Result<Farewell, RunError> {
    let mut session =
        Session::new(Arc::new(Catalogue::default()), Site::default()).safe(Mode::Bare(Reason {
            cause: Cause::Configuration,
            words: String::new(),
            count: 0,
            since: clock::now().at,
        }));
    session.tell_mistake(mistake);
    let is_over = move |session: &mut Session, _: Moment| {
        let Err(error) = Config::read_or_kept(&path) else {
            tracing::info!("the configuration is right; the terminal starts anew");
            return true;
        };
        session.tell_mistake(Mistake::of(&error));
        false
    };
    show_alone(session, is_over, ui, touches)
}

/// Shows what a session says, with nothing behind it, until `is_over` says so.
fn show_alone(
    session: Session,
    is_over: impl FnMut(&mut Session, Moment) -> bool + Send + 'static,
    ui: Ui,
    touches: Receiver<Touch>,
) -> Result<Farewell, RunError> {
    let glass = Bare {
        session,
        ui: ui.handle(),
        pulse: watchdog::start(&ui.handle(), || {})?,
        shown: None,
    };
    vital::spawn("bare", move || glass.run(is_over, &touches))?;
    ui.run()?;
    Ok(Farewell::Restart)
}

/// What the configuration says about the place.
pub(crate) fn site(config: &Config) -> Site {
    Site {
        name: config.terminal.site.clone(),
        terminal: config.terminal.id.clone(),
        help_phone: config.terminal.help_phone.clone(),
        board: config.terminal.board.clone(),
    }
}

/// The same place, with what its region sets.
pub(crate) fn site_in(own: &Site, settings: &RegionSettings) -> Site {
    let RegionSettings {
        help_phone, board, ..
    } = settings;
    Site {
        help_phone: help_phone.as_ref().unwrap_or(&own.help_phone).clone(),
        board: board.as_ref().unwrap_or(&own.board).clone(),
        ..own.clone()
    }
}

/// The glass with nothing behind it.
struct Bare {
    session: Session,
    ui: UiHandle,
    pulse: Pulse,
    shown: Option<View>,
}

impl Bare {
    fn run(
        mut self,
        mut is_over: impl FnMut(&mut Session, Moment) -> bool,
        touches: &Receiver<Touch>,
    ) {
        let mut looked = clock::now().uptime;
        loop {
            match touches.recv_timeout(TICK) {
                Ok(touch) => self.touched(touch, clock::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.pulse.turn();
            let now = clock::now();
            self.show(now);
            if now.uptime.saturating_sub(looked) >= RELEASE_INTERVAL {
                looked = now.uptime;
                if is_over(&mut self.session, now) {
                    self.ui.quit();
                    return;
                }
            }
        }
    }

    /// Languages and sizes; nothing here could answer anything else.
    fn touched(&mut self, touch: Touch, now: Moment) {
        let is_setting = matches!(
            touch,
            Touch::Language(_) | Touch::TextSize(_) | Touch::Contrast(_)
        );
        if is_setting {
            let effects = self.session.apply(Event::Touch(touch), now);
            debug_assert!(effects.is_empty(), "a setting asks for nothing");
        }
    }

    fn show(&mut self, now: Moment) {
        let view = self.session.view(now);
        if self.shown.as_ref() != Some(&view) {
            self.ui.show(view.clone());
            self.shown = Some(view);
        }
    }
}

/// An error with everything behind it, in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    // A chain of errors is made by hand and ends; one that did not would be cut by the file's bound.
    for _ in 0..8 {
        let Some(next) = cause else { break };
        words = format!("{words}: {next}");
        cause = next.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_passes_by_itself_is_no_bad_end() {
        let store = |source| {
            RunError::Start(StartError::Store {
                path: PathBuf::from("store"),
                source,
            })
        };
        assert!(store(CacheError::InUse).is_passing());
        assert!(!store(CacheError::DiskFull).is_passing());
        assert!(RunError::Display(UiError::AlreadyOpen).is_passing());
        assert!(!RunError::Thread(io::ErrorKind::OutOfMemory.into()).is_passing());
    }

    #[test]
    fn an_error_is_written_down_with_its_cause() {
        let error = RunError::Start(StartError::Store {
            path: PathBuf::from("store"),
            source: CacheError::DiskFull,
        });
        let words = with_causes(&error);
        assert!(
            words.contains("store") && words.ends_with("the disk is full"),
            "{words}"
        );
    }
}
