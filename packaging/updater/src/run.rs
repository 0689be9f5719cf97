//! One pass of the updater on a real terminal: what is configured is opened, the repository is asked,
//! the engine does the rest, and the status says how it ended.

use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use kiosk_update::config::{Config, Repository as Place, SlotKind};
use kiosk_update::engine::{
    Offer, Outcome, Repository, Setting, Source, Status, Time, Told, Unheard, Updater,
};
use kiosk_update::fetch::{Fetcher, Limit, Tally};
use kiosk_update::manifest::{Release, Version};
use kiosk_update::slots::{Directories, LocalDisk, Rauc, SlotError, Slots};
use kiosk_update::trust::{
    Directory, Http, Pace, Sink, Transport, TransportError, Trust, TrustError, Trusted,
    fetch_whole, told,
};

use crate::{clock, items_run};

/// Bytes that may come at once, however thin the line. Chosen: two chunks.
pub(crate) const BURST_BYTES: u64 = 512 * 1024;
/// Largest timestamp that is read to see whether there is a line.
const TIMESTAMP_BYTES_MAX: u64 = 64 * 1024;
/// UTC+8, the legal time of the whole country.
const ZONE_HOURS: i8 = 8;

/// One part of the repository.
pub(crate) fn part(
    place: &Place,
    part: &str,
    now: Timestamp,
) -> Result<Box<dyn Transport>, TransportError> {
    match place {
        Place::Url { url, tls } => {
            let base = format!("{}/{part}/", url.trim_end_matches('/'));
            let http = Http::new(&base, tls.as_ref(), Pace::default(), now)?;
            Ok(Box::new(http))
        }
        Place::Directory(path) => Ok(Box::new(Directory::open(&path.join(part))?)),
    }
}

/// Where what is believed lies, below the updater's directory.
pub(crate) fn store(config: &Config) -> std::path::PathBuf {
    config.state.join("trust")
}

/// Runs one pass and says how it ended.
/// Asked by a technician who waits for it, or by the timer.
pub(crate) fn run(
    config: &Config,
    root: &[u8],
    built_at: Timestamp,
    asked: Option<&mut dyn Told>,
) -> anyhow::Result<Passed> {
    let disk = LocalDisk;
    let mut trust = Trust::open(&store(config), root, built_at)?;
    let mut clock = SystemTime::new(&trust, built_at);
    let packaged = env!("CARGO_PKG_VERSION").parse().ok();
    let mut slots = slots(config, &disk, packaged)?;
    let limit = Limit::new(config.bytes_per_s, BURST_BYTES);
    let mut fetcher = Fetcher::new(&disk, &config.state.join("chunks"), limit);
    let setting = Setting {
        terminal: config.terminal.clone(),
        region: config.region.clone(),
        hardware: config.hardware.clone(),
        zone: TimeZone::fixed(jiff::tz::offset(ZONE_HOURS)),
        window: config.off_hours,
        packaged,
        is_attended: asked.is_some(),
        patience: config.patience,
    };
    let mut unheard = Unheard;
    let told = asked.unwrap_or(&mut unheard);
    let mut terminal = config.programs.clone();
    let now = clock.now();
    let parts = Parts::open(&config.repository, now);
    let found = look(&parts, &mut trust, now);
    let mut source: Box<dyn Source> = match (&parts, &found) {
        (Ok(parts), Ok(found)) => Box::new(parts.repository(&found.trusted)),
        (Ok(parts), Err(_)) => Box::new(Nothing(Some(parts.metadata.as_ref()))),
        (Err(_), _) => Box::new(Nothing(None)),
    };
    let mut updater = Updater {
        setting: &setting,
        slots: slots.as_mut(),
        fetcher: &mut fetcher,
        terminal: &mut terminal,
        source: source.as_mut(),
        time: &mut clock,
        told,
        tally: Tally::default(),
    };
    let release = found.as_ref().ok().and_then(|found| found.release.as_ref());
    let offer = release.map(|(release, manifest)| Offer { release, manifest });
    let outcome = match (updater.pass(offer), &found) {
        // What is on trial is settled all the same; then the reason is what there is to tell.
        (Outcome::NothingOffered, Err(problem)) => problem.clone(),
        (outcome, _) => outcome,
    };
    let at = clock.now();
    let end = trust.standing(at).first_end.map(|(_, end)| end);
    let offered = release.map(|(release, _)| release.version);
    let status = Status::new(&outcome, slots.state(), offered, end, at);
    let path = config.state.join("status.json");
    status
        .write(&disk, &path)
        .with_context(|| path.display().to_string())?;
    let program = slots.state().current().map(|held| held.version.to_string());
    look_for_items(config, program, built_at, &mut clock);
    Ok(Passed { outcome, offered })
}

/// A pass that is over.
pub(crate) struct Passed {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The release that the repository offers.
    pub(crate) offered: Option<Version>,
}

fn slots<'a>(
    config: &Config,
    disk: &'a LocalDisk,
    packaged: Option<Version>,
) -> Result<Box<dyn Slots + 'a>, SlotError> {
    Ok(match config.slots {
        SlotKind::Directories => Box::new(Directories::open(&config.state.join("slots"), disk)?),
        SlotKind::Rauc => {
            let images = config.state.join("images");
            Box::new(Rauc::open(
                &images,
                &config.rauc,
                config.install_limit,
                disk,
                packaged,
            )?)
        }
    })
}

/// Looks for items, which never changes how the pass for the program ended.
fn look_for_items(
    config: &Config,
    program: Option<String>,
    built_at: Timestamp,
    time: &mut dyn Time,
) {
    let told = match items_run::run(config, program, built_at, time) {
        Ok(None) => return,
        Ok(Some(outcome)) => outcome.to_string(),
        Err(error) => format!("items: {error:#}"),
    };
    // Also in the status, for whoever does not read the log.
    drop(writeln!(std::io::stderr(), "kiosk-updater: {told}"));
}

/// What the operator has signed, and the release in force with its bytes.
struct Found {
    trusted: Trusted,
    release: Option<(Release, Vec<u8>)>,
}

/// Asks what is offered, or why that is not known.
fn look(
    parts: &Result<Parts, TransportError>,
    trust: &mut Trust,
    now: Timestamp,
) -> Result<Found, Outcome> {
    let problem = |error: &dyn std::error::Error, code| Outcome::Problem {
        code,
        words: told(error),
    };
    let parts = parts.as_ref();
    let parts = parts.map_err(|error| problem(error, error.code()))?;
    let trusted = trust
        .refresh(parts.metadata.as_ref(), now)
        .map_err(|error| problem(&error, error.code()))?;
    let release = parts
        .repository(&trusted)
        .release()
        .map_err(|error| problem(&error, error.code()))?;
    Ok(Found { trusted, release })
}

/// The three parts of the repository.
struct Parts {
    metadata: Box<dyn Transport>,
    targets: Box<dyn Transport>,
    chunks: Box<dyn Transport>,
}

impl Parts {
    fn open(place: &Place, now: Timestamp) -> Result<Self, TransportError> {
        Ok(Self {
            metadata: part(place, "metadata", now)?,
            targets: part(place, "targets", now)?,
            chunks: part(place, "chunks", now)?,
        })
    }

    fn repository<'a>(&'a self, trusted: &'a Trusted) -> Repository<'a> {
        Repository {
            trusted,
            metadata: self.metadata.as_ref(),
            targets: self.targets.as_ref(),
            chunks: self.chunks.as_ref(),
        }
    }
}

/// A source of nothing, while the repository is not believed or not there. It still says whether
/// there is a line.
struct Nothing<'a>(Option<&'a dyn Transport>);

impl Source for Nothing<'_> {
    fn may_install(&self, _now: Timestamp) -> Result<(), TrustError> {
        Err(TrustError::NoTarget)
    }

    fn index(&mut self, _name: &str) -> Result<Vec<u8>, TrustError> {
        Err(TrustError::NoTarget)
    }

    fn patches(&mut self, _name: &str) -> Result<Option<Vec<u8>>, TrustError> {
        Err(TrustError::NoTarget)
    }

    fn transport(&self) -> &dyn Transport {
        self
    }

    fn is_reachable(&mut self) -> bool {
        self.0.is_some_and(|metadata| {
            fetch_whole(metadata, "timestamp.json", TIMESTAMP_BYTES_MAX).is_ok()
        })
    }
}

impl Transport for Nothing<'_> {
    fn fetch(
        &self,
        _name: &str,
        _offset: u64,
        _bytes_max: u64,
        _sink: &mut Sink<'_>,
    ) -> Result<u64, TransportError> {
        Err(TransportError::NotFound)
    }
}

/// The clock of the system, but never before what is proven.
struct SystemTime {
    started: Instant,
    floor: Timestamp,
    never: Receiver<()>,
    _sender: SyncSender<()>,
}

impl SystemTime {
    fn new(trust: &Trust, built_at: Timestamp) -> Self {
        let (sender, never) = sync_channel(1);
        Self {
            started: clock::monotonic(),
            floor: trust.standing(built_at).floor.time.max(built_at),
            never,
            _sender: sender,
        }
    }
}

impl Time for SystemTime {
    fn now(&self) -> Timestamp {
        clock::now().max(self.floor)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn wait(&mut self, length: Duration) {
        // Nothing is ever sent; the service manager ends the process when it must.
        self.never.recv_timeout(length).unwrap_or(());
    }
}
