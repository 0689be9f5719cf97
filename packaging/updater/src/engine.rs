//! One pass of the updater: what is on trial is settled first; then what is offered is looked at,
//! fetched, staged, switched to and put on trial. A release is good only when everything works that
//! worked before it; else it is taken back, with the reason, and never tried again. The clock, the
//! terminal and the line come from outside. A pass that is cut anywhere is gone on with by the next.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::fetch::{FetchError, Fetcher, Index, Lists, Patches, Tally, Watch};
use crate::manifest::{Release, Version};
use crate::slots::{Failure, SlotError, Slots, Start, Trial};
use crate::trust::{Transport, TrustError, told};
use crate::waves::{self, Decision, Hold, Place, Wait, Window};

pub mod command;
pub mod health;
pub mod repository;
pub mod status;
pub mod terminal;

pub use health::{Health, Lost};
pub use repository::{Repository, RepositoryError};
pub use status::{Phase, Status};
pub use terminal::{Programs, Terminal, TerminalError};

/// Attempts after which a release is given up that never came to be judged. Chosen: two power cuts
/// may be chance.
pub const TRIES_MAX: u32 = 3;
/// How often the terminal is examined before something counts as lost. Chosen: a printer may still
/// warm up.
const EXAMS_MAX: u32 = 3;
/// Usual wait between two examinations.
pub const EXAM_PATIENCE: Duration = Duration::from_secs(30);
/// How often a visitor who came between the start and the examination is waited for. Chosen: with the
/// wait between them ten minutes, longer than visits take.
const OCCUPIED_MAX: u32 = 20;
/// How often it is asked during a fetch whether a visit has begun.
const ASK_INTERVAL: Duration = Duration::from_secs(15);
/// When a trial that a visit holds up is looked at again.
const VISIT_PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// What is configured.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Number of the terminal.
    pub terminal: String,
    /// Code of its village.
    pub region: String,
    /// Kind of its hardware.
    pub hardware: String,
    /// Its time zone.
    pub zone: TimeZone,
    /// Its off-hours.
    pub window: Option<Window>,
    /// Version of the package's program, which runs when nothing came by an update.
    pub packaged: Option<Version>,
    /// A technician stands there and asked for it: waves, off-hours and jitter are set aside, and the
    /// glass is waited for.
    pub is_attended: bool,
    /// Wait between two examinations, and between two looks for a visitor.
    pub patience: Duration,
}

/// What a pass is doing, for whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes have been fetched, of so many.
    Fetching {
        /// Bytes that came.
        bytes: u64,
        /// Of so many.
        of: u64,
    },
    /// It is written, and the terminal is being examined before the switch.
    Switching,
    /// It is started and examined.
    Trying,
}

/// Hears what a pass is doing.
pub trait Told {
    /// The pass is at this step.
    fn tell(&mut self, step: Step);
}

/// Nobody waits for the pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unheard;

impl Told for Unheard {
    fn tell(&mut self, _step: Step) {}
}

/// A release that the operator has signed.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The release.
    pub release: &'a Release,
    /// The same, byte for byte as it was signed.
    pub manifest: &'a [u8],
}

/// The clock.
pub trait Time {
    /// The time now, never before what signed metadata has vouched for.
    fn now(&self) -> Timestamp;
    /// Time since any fixed moment; it never falls.
    fn elapsed(&self) -> Duration;
    /// Waits so long.
    fn wait(&mut self, length: Duration);
}

/// Where releases come from.
pub trait Source {
    /// Says whether what was signed is still in force: a fetch may take days.
    ///
    /// # Errors
    /// `Expired`.
    fn may_install(&self, now: Timestamp) -> Result<(), TrustError>;
    /// The signed list of chunks of this name, checked.
    ///
    /// # Errors
    /// [`TrustError`] when it did not come or is not what was signed.
    fn index(&mut self, name: &str) -> Result<Vec<u8>, TrustError>;
    /// The signed list of patches of this name, checked; `None` when none was signed.
    ///
    /// # Errors
    /// [`TrustError`] when it did not come or is not what was signed.
    fn patches(&mut self, name: &str) -> Result<Option<Vec<u8>>, TrustError>;
    /// What brings chunks.
    fn transport(&self) -> &dyn Transport;
    /// True when it can be reached now: there is a line.
    fn is_reachable(&mut self) -> bool;
}

/// How a pass ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was offered, and nothing is on trial.
    NothingOffered,
    /// What is offered runs.
    UpToDate,
    /// Not before this time.
    Waiting {
        /// When to come again.
        until: Timestamp,
        /// Why.
        why: Wait,
    },
    /// A visit began or off-hours ended during the fetch; what was fetched is kept.
    Paused,
    /// It is not for this terminal, or halted.
    Held {
        /// Why.
        hold: Hold,
    },
    /// It was taken back here before.
    FailedBefore {
        /// Which.
        version: Version,
    },
    /// The machine is being started anew; the next pass judges.
    Restarting,
    /// A release is good.
    Updated {
        /// Which.
        version: Version,
    },
    /// A release was taken back.
    RolledBack {
        /// Which.
        version: Version,
        /// Problem code.
        code: String,
        /// What was wrong, in words.
        reason: String,
    },
    /// Something is wrong; what ran before runs.
    Problem {
        /// Problem code.
        code: &'static str,
        /// What, in words.
        words: String,
    },
}

impl Outcome {
    /// Stable problem code of what holds or fails; `None` when all is well.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Held { hold } => Some(hold.code()),
            Self::FailedBefore { .. } => Some("update.failed-before"),
            Self::RolledBack { code, .. } => Some(code),
            Self::Problem { code, .. } => Some(code),
            Self::NothingOffered
            | Self::UpToDate
            | Self::Waiting { .. }
            | Self::Paused
            | Self::Restarting
            | Self::Updated { .. } => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingOffered => formatter.write_str("nothing is offered"),
            Self::UpToDate => formatter.write_str("what is offered runs"),
            Self::Waiting { why, .. } => formatter.write_str(match why {
                Wait::Wave => "its wave has not begun",
                Wait::Window => "it is not its turn in off-hours",
                Wait::Visit => "a visit is under way",
                Wait::Doubt => "a printer needs people; it is tried again",
            }),
            Self::Paused => formatter.write_str("the fetch goes on at a better time"),
            Self::Held { hold } => formatter.write_str(match hold {
                Hold::Halted => "the operator has halted it",
                Hold::Region => "it is for other regions",
                Hold::Hardware => "it is for other hardware",
                Hold::TooOld => "what runs is too old for it",
                Hold::Ordered => "the platform holds it back",
            }),
            Self::FailedBefore { version } => {
                write!(formatter, "{version} was taken back here before")
            }
            Self::Restarting => formatter.write_str("the machine is started anew"),
            Self::Updated { version } => write!(formatter, "{version} is good"),
            Self::RolledBack {
                version, reason, ..
            } => write!(formatter, "{version} was taken back: {reason}"),
            Self::Problem { words, .. } => formatter.write_str(words),
        }
    }
}

/// What the examinations after a switch came to.
enum Judgement {
    /// Nothing is lost.
    Good,
    /// A problem code, and what is lost.
    Worse(&'static str, String),
    /// These tests ask for people now; whether truly, only the release before can tell.
    Doubtful(BTreeSet<String>),
    /// Somebody is at the terminal all the time; the next pass judges.
    Occupied,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Slots(#[from] SlotError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
}

impl Broken {
    fn code(&self) -> &'static str {
        match self {
            Self::Slots(error) => error.code(),
            Self::Fetch(error) => error.code(),
            Self::Trust(error) => error.code(),
            Self::Terminal(_) => "update.not-started",
        }
    }
}

/// Everything that a pass works with.
pub struct Updater<'a, 'd> {
    /// What is configured.
    pub setting: &'a Setting,
    /// Where releases are installed.
    pub slots: &'a mut dyn Slots,
    /// Where chunks are kept.
    pub fetcher: &'a mut Fetcher<'d>,
    /// The terminal.
    pub terminal: &'a mut dyn Terminal,
    /// Where releases come from.
    pub source: &'a mut dyn Source,
    /// The clock.
    pub time: &'a mut dyn Time,
    /// Who hears how it goes.
    pub told: &'a mut dyn Told,
    /// What the last fetch took.
    pub tally: Tally,
}

impl fmt::Debug for Updater<'_, '_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Updater")
            .field("setting", &self.setting)
            .field("state", self.slots.state())
            .finish_non_exhaustive()
    }
}

impl Updater<'_, '_> {
    /// One pass. `offer` is what the operator has signed, if that could be had: what is on trial is
    /// settled without it.
    pub fn pass(&mut self, offer: Option<Offer<'_>>) -> Outcome {
        self.try_pass(offer).unwrap_or_else(|broken| {
            if matches!(broken, Broken::Fetch(FetchError::Paused)) {
                return Outcome::Paused;
            }
            Outcome::Problem {
                code: broken.code(),
                words: told(&broken),
            }
        })
    }

    fn try_pass(&mut self, offer: Option<Offer<'_>>) -> Result<Outcome, Broken> {
        if self.slots.state().is_restart_due {
            if self.is_occupied() {
                return Ok(self.after_the_visit());
            }
            let start = self.start_what_is_good()?;
            if start == Start::Machine && self.slots.state().doubted().is_some() {
                return Ok(Outcome::Restarting);
            }
        }
        if let Some(trial) = self.slots.state().trial.clone() {
            return self.settle(&trial);
        }
        if let Some(failure) = self.slots.state().doubted().cloned() {
            return self.settle_doubt(&failure);
        }
        let Some(offer) = offer else {
            return Ok(Outcome::NothingOffered);
        };
        if let Some(outcome) = self.refusal(offer.release) {
            return Ok(outcome);
        }
        self.source.may_install(self.time.now())?;
        self.stage(offer)?;
        self.source.may_install(self.time.now())?;
        // Fetching may have taken the night, and a visit may have begun.
        if let Some(outcome) = self.refusal(offer.release) {
            return Ok(outcome);
        }
        self.told.tell(Step::Switching);
        if self.is_occupied() {
            return Ok(self.after_the_visit());
        }
        let before = match self.terminal.examine() {
            Ok(before) => before,
            Err(TerminalError::Occupied) => return Ok(self.after_the_visit()),
            // It answers nothing at all: it has nothing to lose, and perhaps this release mends it.
            Err(TerminalError::Run { .. } | TerminalError::Refused { .. }) => Health::default(),
        };
        if self.terminal.is_busy() {
            return Ok(self.after_the_visit());
        }
        let now = self.time.now();
        self.slots.switch(offer.release, before, now)?;
        match self.slots.state().trial.clone() {
            Some(trial) => self.settle(&trial),
            None => Err(SlotError::Order.into()),
        }
    }

    /// Why a release is not taken now.
    fn refusal(&mut self, release: &Release) -> Option<Outcome> {
        let version = release.version;
        let state = self.slots.state();
        let running = state.current().map(|held| held.version);
        let has_failed = state.has_failed(version);
        let place = Place {
            terminal: &self.setting.terminal,
            region: &self.setting.region,
            hardware: &self.setting.hardware,
            running: running.or(self.setting.packaged),
            zone: &self.setting.zone,
            window: self.setting.window,
            is_busy: self.terminal.is_busy(),
        };
        let decision = if self.setting.is_attended {
            waves::decide_attended(release, &place)
        } else {
            waves::decide(release, &place, self.time.now())
        };
        match decision {
            Decision::UpToDate => Some(Outcome::UpToDate),
            Decision::Held(hold) => Some(Outcome::Held { hold }),
            Decision::Take | Decision::Wait { .. } if has_failed => {
                Some(Outcome::FailedBefore { version })
            }
            Decision::Take | Decision::Wait { .. } if self.terminal.is_held(version) => {
                let hold = Hold::Ordered;
                Some(Outcome::Held { hold })
            }
            Decision::Wait { until, why } => Some(Outcome::Waiting { until, why }),
            Decision::Take => None,
        }
    }

    /// Fetches a release and writes it into the spare slot.
    fn stage(&mut self, offer: Offer<'_>) -> Result<(), Broken> {
        let index = self.source.index(&offer.release.chunks)?;
        let index = Index::parse(&index).map_err(FetchError::from)?;
        let patches = match self.source.patches(&offer.release.patches())? {
            Some(patches) => Patches::parse(&patches).map_err(FetchError::from)?,
            None => Patches::default(),
        };
        let mut gate = Gate {
            time: &mut *self.time,
            terminal: &mut *self.terminal,
            setting: self.setting,
            told: &mut *self.told,
            asked_at: None,
            is_open: true,
        };
        let supply = self.fetcher.fetch(
            offer.release,
            Lists { index, patches },
            self.slots.running_files().as_deref(),
            self.source.transport(),
            &mut gate,
        )?;
        self.tally = supply.tally;
        self.slots.stage(offer.release, offer.manifest, &supply)?;
        Ok(())
    }

    /// Starts what is on trial and judges it.
    fn settle(&mut self, trial: &Trial) -> Result<Outcome, Broken> {
        self.told.tell(Step::Trying);
        if self.is_occupied() {
            return Ok(self.after_the_visit());
        }
        if trial.tries >= TRIES_MAX {
            let reason = format!("it was tried {TRIES_MAX} times and never came to be judged");
            return self.roll_back(trial, "update.tries-spent", &reason);
        }
        self.slots.count_try()?;
        match self.slots.start()? {
            Start::Terminal => {
                if let Err(error) = self.terminal.restart() {
                    return self.roll_back(trial, "update.not-started", &error.to_string());
                }
            }
            Start::Machine => {
                if let Err(error) = self.terminal.restart_machine() {
                    // It stays up: nothing was tried.
                    self.slots.uncount_try()?;
                    return Err(error.into());
                }
                return Ok(Outcome::Restarting);
            }
            Start::Nothing => {}
            Start::FellBack => {
                let reason = "the machine came up with the image before it";
                return self.roll_back(trial, "update.not-started", reason);
            }
        }
        match self.judge(&trial.before) {
            Judgement::Good => {
                self.slots.mark_good()?;
                self.forget_chunks();
                let version = trial.held.version;
                Ok(Outcome::Updated { version })
            }
            Judgement::Worse(code, reason) => self.roll_back(trial, code, &reason),
            Judgement::Doubtful(tests) => self.take_back_in_doubt(&tests),
            Judgement::Occupied => {
                // It came up and serves: that nobody could judge it is not its fault.
                self.slots.uncount_try()?;
                Ok(self.after_the_visit())
            }
        }
    }

    /// Examines the terminal until nothing is lost, a few times. A visitor is waited for.
    fn judge(&mut self, before: &Health) -> Judgement {
        let (mut exams, mut visits) = (0, 0);
        loop {
            let (code, reason) = match self.terminal.examine() {
                Ok(after) => {
                    let is_unheard = after.has_heartbeat != Some(true);
                    let has_line = is_unheard && self.source.is_reachable();
                    match before.compare(&after, has_line) {
                        Ok(()) => return self.without_people(before.doubts(&after)),
                        Err(lost) => (lost.code(), lost.to_string()),
                    }
                }
                Err(TerminalError::Occupied) => {
                    visits += 1;
                    if visits >= OCCUPIED_MAX {
                        return Judgement::Occupied;
                    }
                    self.time.wait(self.setting.patience);
                    continue;
                }
                Err(error) => ("update.health-unknown", error.to_string()),
            };
            exams += 1;
            if exams >= EXAMS_MAX {
                return Judgement::Worse(code, reason);
            }
            self.time.wait(self.setting.patience);
        }
    }

    /// Whether what asks for people may be the release's doing. A technician who stands there sees the
    /// printer, and may be filling it.
    fn without_people(&self, doubts: BTreeSet<String>) -> Judgement {
        if doubts.is_empty() || self.setting.is_attended {
            Judgement::Good
        } else {
            Judgement::Doubtful(doubts)
        }
    }

    /// Starts the release before once more, to see whether a printer asks for people there too.
    fn take_back_in_doubt(&mut self, tests: &BTreeSet<String>) -> Result<Outcome, Broken> {
        let names: Vec<&str> = tests.iter().map(String::as_str).collect();
        let reason = format!(
            "{} asks for people with it, and not with the release before",
            names.join(", ")
        );
        // Before the failure is one: a power cut between leaves the trial as it was.
        self.slots.doubt(tests)?;
        let now = self.time.now();
        self.slots.roll_back("update.device-lost", &reason, now)?;
        if self.slots.state().is_restart_due && self.start_what_is_good()? == Start::Machine {
            return Ok(Outcome::Restarting);
        }
        match self.slots.state().doubted().cloned() {
            Some(failure) => self.settle_doubt(&failure),
            None => Err(SlotError::Order.into()),
        }
    }

    /// Asks the release before: where it passes, the one that was taken back is to blame; where it asks
    /// for people as well, that one is tried again, and nothing was lost but two starts.
    fn settle_doubt(&mut self, failure: &Failure) -> Result<Outcome, Broken> {
        if self.is_occupied() {
            return Ok(self.after_the_visit());
        }
        let mut is_to_blame = false;
        for exam in 1..=EXAMS_MAX {
            let health = match self.terminal.examine() {
                Ok(health) => health,
                Err(TerminalError::Occupied) => return Ok(self.after_the_visit()),
                // Nothing is proven by a terminal that does not answer.
                Err(TerminalError::Run { .. } | TerminalError::Refused { .. }) => break,
            };
            is_to_blame = (failure.doubt.iter()).any(|test| health.passed.contains(test));
            let is_proven = (failure.doubt.iter()).all(|test| health.asks_for_people(test));
            if is_to_blame || is_proven {
                break;
            }
            if exam < EXAMS_MAX {
                // It may still warm up.
                self.time.wait(self.setting.patience);
            }
        }
        self.slots.settle_doubt(is_to_blame)?;
        if !is_to_blame {
            let until = self.time.now().saturating_add(VISIT_PATIENCE);
            return Ok(Outcome::Waiting {
                until: until.unwrap_or(Timestamp::MAX),
                why: Wait::Doubt,
            });
        }
        self.forget_chunks();
        Ok(Outcome::RolledBack {
            version: failure.version,
            code: failure.code.clone(),
            reason: failure.reason.clone(),
        })
    }

    fn roll_back(
        &mut self,
        trial: &Trial,
        code: &'static str,
        reason: &str,
    ) -> Result<Outcome, Broken> {
        if !trial.doubt.is_empty() {
            // What was in doubt when the power was cut is in none now.
            self.slots.doubt(&BTreeSet::new())?;
        }
        let now = self.time.now();
        self.slots.roll_back(code, reason, now)?;
        self.forget_chunks();
        if self.slots.state().is_restart_due {
            self.start_what_is_good()?;
        }
        Ok(Outcome::RolledBack {
            version: trial.held.version,
            code: code.to_owned(),
            reason: reason.to_owned(),
        })
    }

    /// Starts what worked, after a roll-back; says what was started.
    fn start_what_is_good(&mut self) -> Result<Start, Broken> {
        let start = self.slots.start()?;
        match start {
            Start::Terminal => {
                self.terminal.restart()?;
                self.slots.restarted()?;
            }
            Start::Machine => {
                self.slots.restarted()?;
                self.terminal.restart_machine()?;
            }
            Start::Nothing | Start::FellBack => self.slots.restarted()?,
        }
        Ok(start)
    }

    /// True while somebody stands before the terminal. A technician who asked is waited for.
    fn is_occupied(&mut self) -> bool {
        let waits = if self.setting.is_attended {
            OCCUPIED_MAX
        } else {
            0
        };
        for _ in 0..waits {
            if !self.terminal.is_busy() {
                return false;
            }
            self.time.wait(self.setting.patience);
        }
        self.terminal.is_busy()
    }

    /// Chunks that stay only take room until the next fetch sweeps them.
    fn forget_chunks(&mut self) {
        drop(self.fetcher.clear());
    }

    fn after_the_visit(&self) -> Outcome {
        let until = self.time.now().saturating_add(VISIT_PATIENCE);
        Outcome::Waiting {
            until: until.unwrap_or(Timestamp::MAX),
            why: Wait::Visit,
        }
    }
}

/// Lets a fetch go on as long as nobody stands before the terminal and off-hours last.
struct Gate<'a> {
    time: &'a mut dyn Time,
    terminal: &'a mut dyn Terminal,
    setting: &'a Setting,
    told: &'a mut dyn Told,
    asked_at: Option<Duration>,
    is_open: bool,
}

impl Watch for Gate<'_> {
    fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    fn wait(&mut self, length: Duration) {
        self.time.wait(length);
    }

    fn fetched(&mut self, bytes: u64, of: u64) {
        self.told.tell(Step::Fetching { bytes, of });
    }

    fn may_go_on(&mut self) -> bool {
        if self.setting.is_attended {
            return true;
        }
        let now = self.time.elapsed();
        let is_asked = self
            .asked_at
            .is_some_and(|asked| now.saturating_sub(asked) < ASK_INTERVAL);
        if !is_asked {
            self.asked_at = Some(now);
            let is_off_hours =
                waves::is_open(self.setting.window, &self.setting.zone, self.time.now());
            self.is_open = is_off_hours && !self.terminal.is_busy();
        }
        self.is_open
    }
}
