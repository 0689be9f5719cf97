//! One look for items on a real terminal, after the program's own: what is configured is opened, the
//! repository of the items is asked, and the status says how it ended. Nothing here can keep the
//! program from being updated.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kiosk_update::config::{Config, Repository as Place};
use kiosk_update::engine::{Programs, Terminal, Time};
use kiosk_update::fetch::{Limit, Watch};
use kiosk_update::items::{Check, ItemsOutcome, ItemsPass, ItemsStatus, Refusal, Sets};
use kiosk_update::slots::LocalDisk;
use kiosk_update::trust::{Trust, TrustError, told};

use crate::run::{BURST_BYTES, part};

/// Longest look. Chosen: a whole catalogue of packages at the thinnest cap; what is not here by then
/// comes with the next one.
const LOOK_LIMIT: Duration = Duration::from_hours(1);
/// Below the updater's directory: the sets, what is believed, and the packages that are kept.
const SETS: &str = "items";
const TRUST: &str = "trust";
const PACKAGES: &str = "packages";
/// Name of the file of status.
const STATUS: &str = "status.json";

/// Looks once for items; `None` where no repository of items is configured. `program` is the version
/// that runs.
///
/// # Errors
/// The directory of the items or its status cannot be written.
pub(crate) fn run(
    config: &Config,
    program: Option<String>,
    built_at: Timestamp,
    time: &mut dyn Time,
) -> anyhow::Result<Option<ItemsOutcome>> {
    let Some(place) = &config.items else {
        return Ok(None);
    };
    let disk = LocalDisk;
    let directory = config.state.join(SETS);
    let mut sets = Sets::open(&directory, &disk).map_err(anyhow::Error::from)?;
    let mut trust = None;
    let outcome = match open(config, built_at) {
        Ok(opened) => look(
            config,
            place,
            &mut sets,
            trust.insert(opened),
            program,
            time,
        ),
        Err(outcome) => outcome,
    };
    let at = time.now();
    let end = trust.and_then(|trust| trust.standing(at).first_end);
    let status = ItemsStatus::new(&outcome, sets.state(), end.map(|(_, end)| end), at);
    let path = directory.join(STATUS);
    status
        .write(&disk, &path)
        .with_context(|| path.display().to_string())?;
    Ok(Some(outcome))
}

/// What is believed of the items' repository.
fn open(config: &Config, built_at: Timestamp) -> Result<Trust, ItemsOutcome> {
    let root = std::fs::read(&config.items_root).map_err(|error| ItemsOutcome::Problem {
        code: "update.configuration",
        words: format!("{}: {error}", config.items_root.display()),
    })?;
    let store = config.state.join(SETS).join(TRUST);
    Trust::open(&store, &root, built_at).map_err(|error| distrusted(&error))
}

fn look(
    config: &Config,
    place: &Place,
    sets: &mut Sets<'_>,
    trust: &mut Trust,
    program: Option<String>,
    time: &mut dyn Time,
) -> ItemsOutcome {
    let now = time.now();
    let brought = |name| {
        part(place, name, now).map_err(|error| ItemsOutcome::Problem {
            code: error.code(),
            words: told(&error),
        })
    };
    let (metadata, targets) = match (brought("metadata"), brought("targets")) {
        (Ok(metadata), Ok(targets)) => (metadata, targets),
        (Err(outcome), _) | (_, Err(outcome)) => return outcome,
    };
    let trusted = match trust.refresh(metadata.as_ref(), now) {
        Ok(trusted) => trusted,
        Err(error) => return distrusted(&error),
    };
    let mut limit = Limit::new(config.bytes_per_s, BURST_BYTES);
    let until = time.elapsed().saturating_add(LOOK_LIMIT);
    let mut check = Asked {
        programs: config.programs.clone(),
        program,
    };
    let packages = sets.root().join(PACKAGES);
    ItemsPass {
        region: &config.region,
        trusted: &trusted,
        targets: targets.as_ref(),
        packages: &packages,
        sets,
        disk: &LocalDisk,
        limit: &mut limit,
        watch: &mut Course { time, until },
        check: &mut check,
    }
    .run(now)
}

fn distrusted(error: &TrustError) -> ItemsOutcome {
    ItemsOutcome::Problem {
        code: error.code(),
        words: told(error),
    }
}

/// The course of time, with an end.
struct Course<'a> {
    time: &'a mut dyn Time,
    until: Duration,
}

impl Watch for Course<'_> {
    fn elapsed(&self) -> Duration {
        self.time.elapsed()
    }

    fn wait(&mut self, length: Duration) {
        self.time.wait(length);
    }

    fn may_go_on(&mut self) -> bool {
        self.time.elapsed() < self.until
    }
}

/// The terminal's program, asked.
struct Asked {
    programs: Programs,
    program: Option<String>,
}

impl Check for Asked {
    fn program(&self) -> Option<String> {
        self.program.clone()
    }

    fn check(&mut self, set: &std::path::Path) -> Result<(), Refusal> {
        self.programs.check_items(set)
    }

    fn is_busy(&mut self) -> bool {
        self.programs.is_busy()
    }
}
