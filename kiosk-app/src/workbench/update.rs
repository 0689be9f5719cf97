//! What the terminal knows of its updater, and how staff ask it for an update from a stick.
//!
//! The terminal cannot write a program and believes none: it leaves a wish with the name of a stick in
//! its own directory, and reads what the updater, which alone verifies and installs, tells of itself.
//! Nothing in the wish makes the updater take anything that the operator has not signed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{Cache, CacheError, Level, NewTicket, Sla};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::tickets::level_of;
use super::unlock::{TERMINAL, entry};
use crate::clock::Moment;
use crate::platform::{RolledBack, UpdateVitals};
use crate::problem;

/// Name of the wish, in the directory of the durable state.
pub const WISH: &str = "update-from-stick.json";
/// Names of what the updater tells, in its own directory.
pub const STATUS: &str = "status.json";
/// What it tells of the region's items, below that directory.
pub const ITEMS_STATUS: &str = "items/status.json";
/// How an update from a stick goes. In two parts: it looks like a problem code and is none.
pub const PROGRESS: &str = concat!("stick", ".json");
/// Largest file of the updater that is read, in bytes; its status has one KiB.
const FILE_BYTES_MAX: usize = 16 * 1024;
/// Longest reason that is reported, in characters (`openapi.yaml`).
const REASON_CHARS_MAX: usize = 512;
/// Longest name of a slot that is reported, in characters (`openapi.yaml`).
const SLOT_CHARS_MAX: usize = 32;
/// Longest version and longest code that are shown, in characters.
const WORD_CHARS_MAX: usize = 64;
/// Layout of the wish.
const FORMAT: u32 = 1;
/// An updater that has not taken up a wish by then is not there. Chosen: the service manager starts it
/// within seconds, and a pass of its own may be under way.
const TAKEN_UP: Duration = Duration::from_mins(2);
/// An update that has not ended by then holds up no other one. Chosen: the slowest stick is read within
/// the hour, and the updater waits ten minutes for the glass.
const BUSY_MAX: Duration = Duration::from_hours(2);
/// How often the updater is asked for what happened behind the terminal's back.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Setting that says which return to an earlier program has a ticket.
const TOLD: &str = "update-taken-back-told";
/// Setting that says which wish has its end in the audit log.
const ENDED: &str = "update-from-stick-ended";
/// The code of that ticket.
const TAKEN_BACK: &str = "maintenance.update-taken-back";
/// An operator looks at it within a working day, and has three with a weekend between. Chosen.
const SLA: Sla = Sla {
    respond: Duration::from_hours(24),
    repair: Duration::from_hours(72),
};

/// What the updater tells of itself. Fields that are not known here are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UpdateStatus {
    /// When it looked.
    pub at: Timestamp,
    /// The release that runs; `None` for the program of the package.
    #[serde(default)]
    pub running: Option<String>,
    /// Its slot.
    #[serde(default)]
    pub slot: Option<String>,
    /// Where it stands: `up-to-date`, `waiting`, `held`, `trial`, `rolled-back`, `problem`.
    #[serde(default)]
    pub phase: String,
    /// The release that is offered.
    #[serde(default)]
    pub offered: Option<String>,
    /// When that is taken at the earliest.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Problem code of what holds or fails.
    #[serde(default)]
    pub code: Option<String>,
    /// The last return to an earlier program.
    #[serde(default)]
    pub last_roll_back: Option<TakenBack>,
    /// When the operator's signatures end.
    #[serde(default)]
    pub metadata_expires: Option<Timestamp>,
}

/// What the updater tells of the region's items.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ItemsStatus {
    /// When it looked.
    pub at: Timestamp,
    /// When the operator's signatures end.
    #[serde(default)]
    pub metadata_expires: Option<Timestamp>,
}

/// A release that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TakenBack {
    /// The release.
    pub version: String,
    /// Problem code.
    pub code: String,
    /// What was wrong, in the updater's words.
    #[serde(default)]
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// How an update from a stick goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StickProgress {
    /// The wish that it answers.
    pub id: Uuid,
    /// `searching`, `checking`, `fetching`, `switching`, `trying`, `done`.
    pub phase: String,
    /// Bytes that have been read.
    #[serde(default)]
    pub bytes: u64,
    /// Of so many; 0 while nobody knows.
    #[serde(default)]
    pub of: u64,
    /// The release on the stick.
    #[serde(default)]
    pub version: Option<String>,
    /// Behind `done`: why it was not taken; empty when it was.
    #[serde(default)]
    pub code: String,
}

impl StickProgress {
    /// True when nothing more comes.
    pub fn is_over(&self) -> bool {
        self.phase == "done"
    }
}

/// Reads the updater's status; `None` for anything else. Bounded, never panics.
pub fn read_status(bytes: &[u8]) -> Option<UpdateStatus> {
    let mut status: UpdateStatus = read(bytes)?;
    let words = [
        &mut status.running,
        &mut status.slot,
        &mut status.offered,
        &mut status.code,
    ];
    words.into_iter().flatten().for_each(shorten);
    shorten(&mut status.phase);
    if let Some(back) = &mut status.last_roll_back {
        shorten(&mut back.version);
        shorten(&mut back.code);
    }
    Some(status)
}

/// Reads what the updater tells of items; `None` for anything else. Bounded, never panics.
pub fn read_items_status(bytes: &[u8]) -> Option<ItemsStatus> {
    read(bytes)
}

/// What the heartbeat tells of the updater that keeps its files in `updater`, and of the set of items that
/// is offered; `None` where no updater has run.
pub(crate) fn vitals(updater: &Path, items_version: Option<&str>) -> Option<UpdateVitals> {
    let status = read_status(&bytes_of(&updater.join(STATUS))?)?;
    let items = bytes_of(&updater.join(ITEMS_STATUS));
    let items = items.and_then(|bytes| read_items_status(&bytes));
    Some(UpdateVitals {
        items_metadata_expires: items.and_then(|items| items.metadata_expires),
        ..reported(status, items_version)
    })
}

/// A status in the words of the contract. Whatever the file holds, the report stays within its bounds:
/// one strange letter must not cost the platform the whole heartbeat.
fn reported(status: UpdateStatus, items_version: Option<&str>) -> UpdateVitals {
    UpdateVitals {
        version: status.running.as_deref().map(word).unwrap_or_default(),
        slot: cut(&status.slot.unwrap_or_default(), SLOT_CHARS_MAX),
        state: state_of(&status.phase).to_owned(),
        offered: status
            .offered
            .map(|offered| cut(&word(&offered), SLOT_CHARS_MAX)),
        rolled_back: status.last_roll_back.map(|back| RolledBack {
            version: word(&back.version),
            code: word(&back.code),
            reason: cut(&back.reason, REASON_CHARS_MAX),
        }),
        metadata_expires: status.metadata_expires,
        items_version: items_version.map(|version| cut(version, WORD_CHARS_MAX)),
        items_metadata_expires: None,
    }
}

/// The updater's phases in the words of the contract.
fn state_of(phase: &str) -> &'static str {
    match phase {
        "up-to-date" => "current",
        "waiting" => "waiting",
        "held" => "halted",
        "trial" => "trial",
        "rolled-back" => "rolled-back",
        // Also a phase of a later updater: somebody looks at it, and no release counts as good by it.
        _ => "problem",
    }
}

/// The first so many characters.
fn cut(text: &str, characters_max: usize) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(characters_max)
        .collect()
}

/// A version or a code: what the contract has no letter for is left out.
fn word(text: &str) -> String {
    text.chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || ".-_".contains(*letter))
        .take(WORD_CHARS_MAX)
        .collect()
}

/// Reads how an update from a stick goes; `None` for anything else. Bounded, never panics.
pub fn read_progress(bytes: &[u8]) -> Option<StickProgress> {
    let mut progress: StickProgress = read(bytes)?;
    shorten(&mut progress.phase);
    shorten(&mut progress.code);
    if let Some(version) = &mut progress.version {
        shorten(version);
    }
    Some(progress)
}

fn read<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    if bytes.len() > FILE_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// A word for the glass: short, and nothing that would break a line.
fn shorten(word: &mut String) {
    *word = cut(word, WORD_CHARS_MAX);
}

/// A wish as the updater reads it. It stays, so that how it ended is written down after the restart too.
#[derive(Serialize, Deserialize)]
struct Wish {
    format: u32,
    id: Uuid,
    person: String,
    stick: PathBuf,
}

/// What was asked in this run of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    id: Uuid,
    at: Duration,
}

/// How things stand with the update that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing was asked, and nothing is known of an earlier time.
    Nothing,
    /// The updater has not taken it up yet.
    Asked,
    /// The updater does not take it up.
    NoAnswer,
    /// What the updater tells of it, or of the last one.
    Told(StickProgress),
}

/// The terminal's side of the updater.
#[derive(Debug)]
pub(super) struct Update {
    state: PathBuf,
    updater: PathBuf,
    asked: Option<Asked>,
    /// When the updater is looked at next, on the monotonic clock.
    look_at: Duration,
}

impl Update {
    pub(super) fn new(state: &Path, updater: &Path) -> Self {
        Self {
            state: state.to_owned(),
            updater: updater.to_owned(),
            asked: None,
            look_at: Duration::ZERO,
        }
    }

    /// What the updater tells of itself; `None` where there is none, or none has run.
    pub(super) fn status(&self) -> Option<UpdateStatus> {
        read_status(&self.bytes(STATUS)?)
    }

    /// What the updater tells of items.
    pub(super) fn items_status(&self) -> Option<ItemsStatus> {
        read_items_status(&self.bytes(ITEMS_STATUS)?)
    }

    /// True while an update from a stick is on its way.
    pub(super) fn is_busy(&self, now: Moment) -> bool {
        match self.standing(now) {
            Standing::Asked => true,
            Standing::Told(progress) => {
                let is_recent = |asked: Asked| now.uptime.saturating_sub(asked.at) < BUSY_MAX;
                !progress.is_over() && self.asked.is_some_and(is_recent)
            }
            Standing::Nothing | Standing::NoAnswer => false,
        }
    }

    pub(super) fn standing(&self, now: Moment) -> Standing {
        let told = self.bytes(PROGRESS).and_then(|bytes| read_progress(&bytes));
        match (self.asked, told) {
            (Some(asked), Some(told)) if told.id == asked.id => Standing::Told(told),
            (Some(asked), _) if now.uptime.saturating_sub(asked.at) < TAKEN_UP => Standing::Asked,
            (Some(_), _) => Standing::NoAnswer,
            (None, Some(told)) => Standing::Told(told),
            (None, None) => Standing::Nothing,
        }
    }

    /// Leaves the wish.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn ask(
        &mut self,
        id: Uuid,
        person: &str,
        stick: &Path,
        now: Moment,
    ) -> io::Result<()> {
        let wish = Wish {
            format: FORMAT,
            id,
            person: person.to_owned(),
            stick: stick.to_owned(),
        };
        let text = serde_json::to_string(&wish).map_err(io::Error::other)?;
        kiosk_sealing::write_private(&self.state.join(WISH), text.as_bytes())?;
        self.asked = Some(Asked { id, at: now.uptime });
        Ok(())
    }

    /// Writes down how an asked update ended, and opens a ticket for a release that was taken back.
    ///
    /// # Errors
    /// The store fails; it is tried again.
    pub(super) fn look(&mut self, cache: &mut Cache, now: Moment) -> Result<(), CacheError> {
        if now.uptime < self.look_at {
            return Ok(());
        }
        self.look_at = now.uptime + LOOK_INTERVAL;
        self.tell_end(cache, now)?;
        let Some(back) = self.status().and_then(|status| status.last_roll_back) else {
            return Ok(());
        };
        let told = format!("{} {}", back.version, back.at);
        if cache.setting(TOLD)?.as_deref() == Some(told.as_str()) {
            return Ok(());
        }
        let action = &problem::get(TAKEN_BACK).action;
        let (level, sla) = level_of(action).unwrap_or((Level::City, SLA));
        let new = NewTicket {
            device: String::new(),
            class: String::new(),
            code: TAKEN_BACK.to_owned(),
            action: action.clone(),
            level,
            sla,
            before: None,
        };
        cache.open_ticket(&new, now.at)?;
        let detail = json!({ "version": back.version, "code": back.code });
        cache.audit(&entry("update.taken-back", TERMINAL, &detail), now.at)?;
        cache.set_setting(TOLD, &told)
    }

    fn tell_end(&mut self, cache: &mut Cache, now: Moment) -> Result<(), CacheError> {
        let wish: Option<Wish> = bytes_of(&self.state.join(WISH)).and_then(|bytes| read(&bytes));
        let Some(Wish { id, person, .. }) = wish else {
            return Ok(());
        };
        let key = id.to_string();
        if cache.setting(ENDED)?.as_deref() == Some(key.as_str()) {
            return Ok(());
        }
        let (version, code) = match self.standing(now) {
            Standing::Told(told) if told.id == id && told.is_over() => (told.version, told.code),
            Standing::NoAnswer => (None, "workbench.updater-silent".to_owned()),
            Standing::Told(_) | Standing::Asked | Standing::Nothing => return Ok(()),
        };
        let detail = json!({ "request": id, "version": version, "code": code });
        cache.audit(&entry("update.stick.ended", &person, &detail), now.at)?;
        cache.set_setting(ENDED, &key)
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        bytes_of(&self.updater.join(name))
    }
}

/// The bytes of a file, bounded.
fn bytes_of(path: &Path) -> Option<Vec<u8>> {
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).ok()? + 1;
    file.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Text of what a code of the updater means; `None` for one that is not known here.
pub fn why(code: &str) -> Option<&'static str> {
    let (_, reason) = code.split_once('.')?;
    Some(match reason {
        "halted" | "paused" | "withdrawn" => "bench.why-halted",
        "held" => "bench.why-held",
        "other-region" | "other-hardware" => "bench.why-not-ours",
        "too-old" => "bench.why-too-old",
        "already-running" | "nothing-newer" => "bench.why-newest",
        "chunk-wrong" | "image-refused" | "target-wrong" | "release-malformed" | "malformed"
        | "mixed" | "unsigned" | "too-long" | "target-missing" | "file-missing"
        | "metadata-missing" | "key-twice" | "root-unusable" => "bench.why-not-whole",
        "no-room" => "bench.why-no-room",
        "storage" | "store-damaged" | "repair-refused" => "bench.why-storage",
        "metadata-expired" => "bench.why-expired",
        "clock-ahead" => "bench.why-clock",
        "rolled-back" => "bench.why-older",
        "root-delayed" => "bench.why-new-root",
        "failed-before" => "bench.why-failed-before",
        "not-run" | "not-started" | "tries-spent" | "not-painted" | "touch-lost"
        | "device-lost" | "no-heartbeat" | "health-unknown" => "bench.why-trial",
        "unreachable" | "too-slow" => "bench.why-unreachable",
        "server-not-believed" => "bench.why-not-believed",
        "no-wish" => "bench.why-no-wish",
        "catalogue-malformed" | "package-malformed" | "set-refused" => "bench.why-items-wrong",
        "not-checked" => "bench.why-items-unchecked",
        "configuration" => "bench.why-configuration",
        "stick-missing" | "stick-empty" => "bench.why-no-stick",
        "stick-pulled" => "bench.why-pulled",
        "occupied" => "bench.why-occupied",
        "restarting" => "bench.why-restarting",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_updater_writes_is_understood_and_anything_else_is_not() {
        let status = read_status(
            br#"{"format":1,"at":"2026-11-22T12:00:00Z","running":"1.4.2","slot":"b",
                "phase":"rolled-back","offered":null,"until":null,"code":null,"words":"x",
                "last_roll_back":{"version":"1.4.3","code":"update.device-lost","reason":"r",
                "at":"2026-11-22T11:00:00Z"},"metadata_expires":null,"more":1}"#,
        )
        .unwrap();
        assert_eq!(status.running.as_deref(), Some("1.4.2"));
        assert_eq!(status.last_roll_back.unwrap().code, "update.device-lost");
        let long = vec![b' '; FILE_BYTES_MAX + 1];
        for bytes in [&b""[..], b"{}", b"[]", b"\xff", &long] {
            assert_eq!(read_status(bytes), None);
            assert_eq!(read_progress(bytes), None);
        }
        let long = format!(
            r#"{{"id":"{}","phase":"done\u0007","version":"{}","code":"update.unsigned"}}"#,
            Uuid::from_u128(7),
            "1".repeat(1000)
        );
        let progress = read_progress(long.as_bytes()).unwrap();
        assert!(progress.is_over());
        assert_eq!(progress.version.unwrap().len(), WORD_CHARS_MAX);
    }

    #[test]
    fn a_status_becomes_a_report_within_the_bounds_of_the_contract() {
        let status = |phase: &str, reason: &str| {
            let text = format!(
                r#"{{"at":"2026-11-22T12:00:00Z","running":"1.4.2","slot":"b","phase":"{phase}",
                    "offered":"1.4.3","last_roll_back":{{"version":"1.4.3 ü","code":"update.device-lost",
                    "reason":"{reason}","at":"2026-11-22T11:00:00Z"}}}}"#
            );
            reported(read_status(text.as_bytes()).unwrap(), None)
        };
        for (phase, state) in [
            ("up-to-date", "current"),
            ("waiting", "waiting"),
            ("held", "halted"),
            ("trial", "trial"),
            ("rolled-back", "rolled-back"),
            ("problem", "problem"),
            ("something-new", "problem"),
        ] {
            assert_eq!(status(phase, "").state, state, "{phase}");
        }
        let told = status("rolled-back", &"打印机".repeat(300));
        assert_eq!(told.version, "1.4.2");
        let back = told.rolled_back.unwrap();
        assert_eq!(back.version, "1.4.3");
        assert_eq!(back.reason.chars().count(), REASON_CHARS_MAX);
        assert_eq!(vitals(Path::new("/nonexistent"), None), None);
    }

    #[test]
    fn the_end_of_both_repositories_signatures_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let status = |name: &str, end: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!(
                r#"{{"format":1,"at":"2026-11-22T12:00:00Z","version":null,"code":null,"words":"",
                    "phase":"up-to-date","metadata_expires":{end}}}"#
            );
            std::fs::write(path, text).unwrap();
        };
        status(STATUS, r#""2026-12-06T00:00:00Z""#);
        let told = || vitals(directory.path(), None).unwrap();
        // A terminal whose items come with the program has nothing to tell of.
        assert_eq!(told().items_metadata_expires, None);
        status(ITEMS_STATUS, r#""2026-12-01T00:00:00Z""#);
        let end = "2026-12-01T00:00:00Z".parse().ok();
        assert_eq!(told().items_metadata_expires, end);
        assert_ne!(told().metadata_expires, end);
        std::fs::write(directory.path().join(ITEMS_STATUS), "{").unwrap();
        assert_eq!(told().items_metadata_expires, None);
    }

    #[test]
    fn codes_that_the_updater_has_are_told_in_words() {
        for code in [
            "update.unsigned",
            "update.halted",
            "update.no-room",
            "update.metadata-expired",
            "update.failed-before",
            "update.device-lost",
            "update.already-running",
            "update.held",
            "update.too-old",
            "update.other-region",
            "update.stick-missing",
            "update.stick-empty",
            "update.stick-pulled",
            "update.occupied",
            "update.restarting",
            "update.storage",
        ] {
            assert!(why(code).is_some(), "{code}");
        }
        assert_eq!(why("update.something-new"), None);
        assert_eq!(why("nonsense"), None);
    }
}
