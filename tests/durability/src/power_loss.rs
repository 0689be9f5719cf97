//! Power loss: the store works on a disk that forgets, the power fails at a random change, the
//! store is opened again and compared with what it had acknowledged.
//!
//! A *life* is one store from its making through [`ROUNDS_PER_LIFE`] cuts. Everything follows from
//! the life's seed, so that the same seed plays the same life. What a missing sync would cost
//! shows with a [`Weakness`]: the same rounds must then fail.

mod account;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use offline_cache::{Cache, CacheError, Opening, Options};

use crate::mount::LossyMount;
use crate::vfs::LossyEngine;
use account::Account;
use kiosk_tests::random::Random;

/// Cuts of one life: enough to grow a log beyond a checkpoint, few enough to compare fast.
pub const ROUNDS_PER_LIFE: u32 = 40;
/// Cuts in a row while the store is only being opened, at most.
const OPENINGS_MAX: u32 = 20;
/// Magnitudes of the changes of a round until the cut, evenly: from the first few up to 2,048,
/// past the checkpoint that the engine makes by itself. A transaction takes about ten.
const CHANGES_MAGNITUDES: u64 = 11;
/// Changes of a cut that is meant for the opening, at most.
const OPENING_CHANGES_MAX: u64 = 30;
/// Name of the terminal in the audit log.
const TERMINAL: &str = "T001";

/// What is broken on purpose, to show that the comparison notices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Weakness {
    /// Nothing.
    #[default]
    None,
    /// Syncs of the engine's log at a commit do nothing, which is what lowering `synchronous` to
    /// `NORMAL` leaves out.
    LogSyncLost,
    /// Syncs of the directory of attachments do nothing. Files only.
    DirectorySyncLost,
    /// Syncs of attachments do nothing. Files only.
    AttachmentSyncLost,
}

impl Weakness {
    /// All of them, by the word of the command line.
    const WORDS: [(&'static str, Self); 4] = [
        ("none", Self::None),
        ("log-sync", Self::LogSyncLost),
        ("directory-sync", Self::DirectorySyncLost),
        ("attachment-sync", Self::AttachmentSyncLost),
    ];

    /// Its word on the command line.
    pub fn word(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(_, weakness)| *weakness == self);
        word.map_or("none", |(word, _)| word)
    }

    /// The weakness of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, weakness)| *weakness)
    }
}

/// What stands on the disk that forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// The database engine alone, through a file layer of its own; attachments lie on a real disk.
    Engine,
    /// The whole directory, on a mounted file system.
    Files,
}

/// What to prove.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program that serves a disk when its first argument is `disk`.
    pub program: PathBuf,
    /// What forgets.
    pub medium: Medium,
    /// What is broken on purpose.
    pub weakness: Weakness,
    /// Seed of the first life; the next lives have the numbers after it.
    pub seed: u64,
    /// Cuts in all.
    pub rounds: u32,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Cuts.
    pub cuts: u32,
    /// Cuts by what the store was doing.
    pub cuts_in: BTreeMap<&'static str, u32>,
    /// Acknowledgements that were to be kept.
    pub acknowledged: u64,
    /// Changes that were under way at a cut and were there afterwards.
    pub unacknowledged_kept: u64,
    /// Changes that were under way at a cut and were not.
    pub unacknowledged_lost: u64,
    /// What was wrong, with the seed that shows it; the proof ends with the first life that fails.
    pub findings: Vec<String>,
}

/// A disk whose power can be cut.
pub(crate) trait LossyDisk {
    /// Where the store is.
    fn directory(&self) -> &Path;
    /// How the store is opened on it.
    fn options(&self) -> Options;
    /// Has the power fail at the change of this number, counted from now; never for `None`.
    fn arm(&mut self, at_change: Option<u64>) -> anyhow::Result<()>;
    /// Whether the power has failed.
    fn is_off(&mut self) -> anyhow::Result<bool>;
    /// Ends the power, if that has not happened, and brings it back: what was not synced is lost
    /// or torn. Nothing may be open.
    fn cut(&mut self, random: &mut Random) -> anyhow::Result<()>;
}

/// Plays lives until the cuts are used up or something is wrong.
///
/// # Errors
/// When the proof itself cannot run: no directory, no mount.
pub fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let mut seed = plan.seed;
    while report.cuts < plan.rounds && report.findings.is_empty() {
        let rounds = ROUNDS_PER_LIFE.min(plan.rounds - report.cuts);
        live(plan, seed, rounds, &mut report)?;
        seed = seed.wrapping_add(1);
    }
    Ok(report)
}

fn live(plan: &Plan, seed: u64, rounds: u32, report: &mut Report) -> anyhow::Result<()> {
    let place;
    let mut disk: Box<dyn LossyDisk> = match plan.medium {
        Medium::Engine => {
            place = tempfile::tempdir()?;
            Box::new(LossyEngine::new(place.path().to_owned(), plan.weakness)?)
        }
        Medium::Files => Box::new(LossyMount::new(&plan.program, plan.weakness)?),
    };
    let mut life = Life {
        disk: disk.as_mut(),
        account: Account::new(seed),
        random: Random::new(seed),
        report,
    };
    for round in 0..rounds {
        let findings = life.round()?;
        if !findings.is_empty() {
            let named = findings
                .into_iter()
                .map(|finding| format!("seed {seed}, round {round}: {finding}"));
            life.report.findings.extend(named);
            break;
        }
    }
    Ok(())
}

struct Life<'a> {
    disk: &'a mut dyn LossyDisk,
    account: Account,
    random: Random,
    report: &'a mut Report,
}

impl Life<'_> {
    /// Opens, compares, works until the power fails, and cuts it. Says what was wrong.
    fn round(&mut self) -> anyhow::Result<Vec<String>> {
        let (mut cache, opening) = match self.open()? {
            Ok(opened) => opened,
            Err(error) => return Ok(vec![format!("the store cannot be opened: {error:?}")]),
        };
        let options = self.options();
        let mut findings =
            self.account
                .compare(&mut cache, &opening, self.disk.directory(), &options);
        self.report.unacknowledged_kept += self.account.take_kept();
        self.report.unacknowledged_lost += self.account.take_lost();
        if !findings.is_empty() {
            return Ok(findings);
        }
        let before = self.account.acknowledged();
        let magnitude = self.random.below(CHANGES_MAGNITUDES);
        let at_change = 1 + self.random.below(2 << magnitude);
        self.disk.arm(Some(at_change))?;
        let worked = work::until_the_power_fails(
            cache,
            &options,
            self.disk.directory(),
            &mut self.account,
            &mut self.random,
        );
        self.report.acknowledged += self.account.acknowledged() - before;
        match worked {
            work::End::Failed { doing, error } if self.disk.is_off()? => {
                drop(error);
                *self.report.cuts_in.entry(doing).or_default() += 1;
            }
            work::End::Failed { doing, error } => findings.push(format!(
                "{doing} was refused while the disk worked: {error:?}"
            )),
            work::End::Wrong(finding) => findings.push(finding),
            work::End::Endless => findings.push("the power never failed".to_owned()),
        }
        self.report.cuts += 1;
        self.disk.cut(&mut self.random)?;
        Ok(findings)
    }

    fn options(&self) -> Options {
        Options {
            terminal: TERMINAL.to_owned(),
            ..self.disk.options()
        }
    }

    /// Opens the store; now and then the power fails again while it is being opened.
    fn open(&mut self) -> anyhow::Result<Result<(Cache, Opening), CacheError>> {
        let options = self.options();
        for _ in 0..OPENINGS_MAX {
            let is_cut = self.random.happens(300);
            let at_change = is_cut.then(|| 1 + self.random.below(OPENING_CHANGES_MAX));
            self.disk.arm(at_change)?;
            let opened = Cache::open_with(self.disk.directory(), &options, work::now());
            if opened.is_ok() || !self.disk.is_off()? {
                self.disk.arm(None)?;
                return Ok(opened);
            }
            drop(opened);
            *self.report.cuts_in.entry("opening").or_default() += 1;
            self.report.cuts += 1;
            self.disk.cut(&mut self.random)?;
        }
        self.disk.arm(None)?;
        Ok(Cache::open_with(
            self.disk.directory(),
            &options,
            work::now(),
        ))
    }
}
