//! The thread behind the staff pages: takes one piece of work after the other, answers each, and
//! between two looks after tickets, waits and whoever has left a page open.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kiosk_device::Sensitive;
use kiosk_documents::{DocumentError, Typesetter};
use kiosk_sealing::unlock::TEXT_BYTES_MAX;
use kiosk_sealing::{DeviceKey, hex, sha256};
use offline_cache::{Cache, CacheError};
use serde_json::Value;

use super::evidence::{self, Evidence, KeyLine, LogChain};
use super::host::Host;
use super::levels::Levels;
use super::monitor::Monitor;
use super::readiness::{self, ReadinessReport};
use super::settings::{self, Difference, Installed};
use super::sticks::{self, Sticks};
use super::tickets::TicketWatch;
use super::unlock::{self, Door, Time};
use super::update::Update;
use super::{Found, Permission, Topic, Work, pages};
use crate::calibration::Calibrations;
use crate::clock::{self, Moment};
use crate::config::{Config, Keeper};
use crate::desk::{Answer, Ask, Desk};
use crate::devices::Roster;
use crate::event::{Event, Ticket};
use crate::logging;
use crate::platform;
use crate::runtime::Input;
use crate::vital;

/// Work that may wait: a page asks one thing at a time, and a test may end meanwhile.
const INBOX_LIMIT: usize = 16;
/// The thread turns at least this often.
const TURN: Duration = Duration::from_secs(1);
/// The clock is in doubt when it is further than this from the time that is believed.
const DOUBT: Duration = Duration::from_hours(24);
/// Setting under which the configuration of the installation is kept.
const INSTALLED: &str = "configuration-at-installation";
/// Longest value of a setting that the store takes.
const SETTING_BYTES_MAX: usize = 16 * 1024;
/// Version of the format of the evidence.
const EVIDENCE_FORMAT: u32 = 1;
/// Ending of a file that holds a signed permission, as `kiosk-admin unlock` writes it.
const UNLOCK_ENDING: &[u8] = b".kiosk-unlock";
/// Ending of a file that holds a list of revocations, as `kiosk-admin revoke` writes it.
const LIST_ENDING: &[u8] = b".kiosk-revocations";
/// Largest such file: a text of the longest kind, with a line break and a mark of its encoding.
const UNLOCK_FILE_BYTES_MAX: usize = 4096;
const _: () = assert!(TEXT_BYTES_MAX < UNLOCK_FILE_BYTES_MAX);

/// What the workbench is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    /// A connection of its own.
    pub(crate) cache: Cache,
    pub(crate) desk: Desk,
    pub(crate) key: Arc<DeviceKey>,
    pub(crate) roster: Roster,
    pub(crate) out: SyncSender<Input>,
}

/// What the loop has heard of the line.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) is_online: bool,
    pub(super) upstreams: BTreeMap<String, bool>,
    /// The calibrations that the loop has put in force.
    pub(super) calibrations: Calibrations,
}

/// The inbox of the thread.
#[derive(Clone, Debug)]
pub(crate) struct Workbench {
    inbox: SyncSender<(Ticket, Box<Work>)>,
    heard: Arc<Mutex<Heard>>,
}

impl Workbench {
    /// Starts the thread.
    ///
    /// # Errors
    /// The machine cannot start a thread.
    pub(crate) fn start(parts: Parts) -> std::io::Result<Self> {
        let (inbox, works) = sync_channel(INBOX_LIMIT);
        let heard = Arc::default();
        let (out, told) = (parts.out.clone(), Arc::clone(&heard));
        vital::spawn("workbench", move || {
            let now = clock::now();
            match Bench::new(parts, told, now) {
                Ok(bench) => run(bench, &works, &out),
                Err(error) => {
                    // The terminal serves its village all the same; staff read the code.
                    tracing::error!(code = error.code(), %error, "no workbench");
                    refuse_all(&works, &out, error.code());
                }
            }
        })?;
        Ok(Self { inbox, heard })
    }

    /// Asks; the answer is `Event::Staff`.
    pub(crate) fn ask(&self, ticket: Ticket, work: Box<Work>) -> Result<(), &'static str> {
        self.inbox
            .try_send((ticket, work))
            .map_err(|_| "workbench.busy")
    }

    /// What the loop hears of the line is shown to staff too.
    pub(crate) fn hear(&self, event: &Event) {
        if let Event::Link(is_online) = event {
            self.lock().is_online = *is_online;
        } else if let Event::Upstream { name, is_up } = event {
            self.lock().upstreams.insert(name.clone(), *is_up);
        }
    }

    /// The loop has put these calibrations in force.
    pub(crate) fn calibrated(&self, calibrations: &Calibrations) {
        self.lock().calibrations = calibrations.clone();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when the loop drops its side.
fn run(mut bench: Bench, works: &Receiver<(Ticket, Box<Work>)>, out: &SyncSender<Input>) {
    loop {
        match works.recv_timeout(TURN) {
            Ok((ticket, work)) => {
                let found = bench.take(ticket, *work, clock::now());
                let answer = Input::Event(Event::Staff(ticket, Box::new(found)));
                if out.send(answer).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        bench.turn(clock::now());
    }
}

fn refuse_all(works: &Receiver<(Ticket, Box<Work>)>, out: &SyncSender<Input>, code: &'static str) {
    for (ticket, _) in works {
        let found = Found::Refused { code, wait_s: 0 };
        let answer = Input::Event(Event::Staff(ticket, Box::new(found)));
        if out.send(answer).is_err() {
            return;
        }
    }
}

/// Everything that staff pages are filled from and act on.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) config: Config,
    pub(super) cache: Cache,
    pub(super) desk: Desk,
    pub(super) key: Arc<DeviceKey>,
    pub(super) roster: Roster,
    pub(super) out: SyncSender<Input>,
    pub(super) sticks: Sticks,
    pub(super) host: Host,
    pub(super) monitor: Monitor,
    pub(super) typesetter: Option<Typesetter>,
    pub(super) report: Option<ReadinessReport>,
    /// Recordings that run, with their files.
    pub(super) recordings: BTreeMap<String, PathBuf>,
    /// Log levels that were changed on the glass.
    pub(super) levels: Levels,
    /// The updater, as far as the terminal sees it.
    pub(super) update: Update,
    door: Door,
    tickets: TicketWatch,
    heard: Arc<Mutex<Heard>>,
    /// Who is inside, and until when on the monotonic clock.
    inside: Option<(Permission, Duration)>,
    program: OnceLock<String>,
}

impl Bench {
    pub(super) fn new(
        parts: Parts,
        heard: Arc<Mutex<Heard>>,
        now: Moment,
    ) -> Result<Self, CacheError> {
        let Parts {
            config,
            mut cache,
            desk,
            key,
            roster,
            out,
        } = parts;
        let door = Door::new(
            &mut cache,
            &config.terminal.id,
            &config.staff.unlock_keys,
            &config.staff.revocations,
            now,
        )?;
        remember_installation(&mut cache, &config, now)?;
        let mut levels = Levels::new(logging::current());
        let is_known = |id: &str| config.devices.iter().any(|device| device.id == id);
        levels.restore(&mut cache, is_known, now)?;
        Ok(Self {
            sticks: Sticks::new(&config.staff.sticks),
            host: Host::default(),
            monitor: Monitor::default(),
            typesetter: None,
            report: None,
            recordings: BTreeMap::new(),
            levels,
            update: Update::new(&config.paths.state, &config.paths.updater),
            door,
            tickets: TicketWatch::default(),
            heard,
            inside: None,
            program: OnceLock::new(),
            config,
            cache,
            desk,
            key,
            roster,
            out,
        })
    }

    /// One piece of work and its answer.
    pub(super) fn take(&mut self, ticket: Ticket, work: Work, now: Moment) -> Found {
        self.expire(now);
        self.put_out_revoked(now);
        match work {
            Work::Challenge => self.door.challenge(&mut self.cache, now),
            Work::Unlock { text } => {
                let time = self.time(now);
                self.door.unlock(&mut self.cache, &text, time, now)
            }
            Work::UnlockFromStick => self.unlock_from_stick(now),
            Work::Pin { pin } => {
                let found = self.door.pin(&mut self.cache, &pin, now);
                if let Found::Unlocked(permission) = &found {
                    let length = Duration::from_mins(u64::from(permission.minutes));
                    self.inside = Some((permission.clone(), now.uptime + length));
                }
                found
            }
            Work::Ended { why } => {
                self.end(why, now);
                Found::Said {
                    words: String::new(),
                    is_done: true,
                }
            }
            Work::Show { topic, lang } => self.shown(&topic, lang, now),
            Work::Act { act, lang } => {
                if !self.may(act.scopes()) {
                    return self.not_allowed(act.name(), now);
                }
                self.act(ticket, act, lang, now)
            }
        }
    }

    /// Looks after what goes on by itself.
    pub(super) fn turn(&mut self, now: Moment) {
        self.expire(now);
        self.put_out_revoked(now);
        self.door.turn(&mut self.cache, now);
        self.levels.turn(&mut self.cache, now);
        self.monitor.turn(now);
        if let Err(error) = self.update.look(&mut self.cache, now) {
            tracing::warn!(code = error.code(), %error, "what the updater tells");
        }
        if self.tickets.is_due(now) {
            let vitals = self.roster.vitals();
            if let Err(error) = self.tickets.look(&vitals, &mut self.cache, now) {
                tracing::warn!(code = error.code(), %error, "fault tickets");
            }
        }
    }

    fn shown(&mut self, topic: &Topic, lang: crate::words::Lang, now: Moment) -> Found {
        if self.may(topic.scopes()) {
            return Found::Facts(Box::new(self.show(topic, lang, now)));
        }
        self.not_allowed("show", now)
    }

    fn may(&self, scopes: &[kiosk_sealing::unlock::Scope]) -> bool {
        self.inside()
            .is_some_and(|permission| scopes.iter().any(|scope| permission.scopes.contains(scope)))
    }

    fn not_allowed(&mut self, what: &str, now: Moment) -> Found {
        const CODE: &str = "workbench.not-allowed";
        let detail = serde_json::json!({ "act": what, "problem": CODE });
        self.audit("staff.act.refused", &detail, now);
        Found::Refused {
            code: CODE,
            wait_s: 0,
        }
    }

    pub(super) fn inside(&self) -> Option<&Permission> {
        self.inside.as_ref().map(|(permission, _)| permission)
    }

    /// A permission that has run out is none, whatever the pages believe.
    fn expire(&mut self, now: Moment) {
        if self
            .inside
            .as_ref()
            .is_some_and(|(_, until)| now.uptime >= *until)
        {
            self.end("expired", now);
        }
    }

    /// A person or a key that was revoked meanwhile is put out; the glass is told.
    fn put_out_revoked(&mut self, now: Moment) {
        const WHY: &str = "revoked";
        if self.inside.is_none() || !self.door.is_inside_revoked(&mut self.cache, now) {
            return;
        }
        self.end(WHY, now);
        let told = Event::Staff(Ticket(0), Box::new(Found::PutOut { why: WHY }));
        if self.out.send(Input::Event(told)).is_err() {
            tracing::debug!("the loop has ended");
        }
    }

    fn end(&mut self, why: &str, now: Moment) {
        self.door.ended(&mut self.cache, why, now);
        self.inside = None;
        self.report = None;
        self.levels.ended();
        self.monitor.close();
        for (device, path) in std::mem::take(&mut self.recordings) {
            if let Err(words) = self.roster.stop_recording(&device) {
                tracing::warn!(device, words, "recording");
            }
            tracing::info!(device, path = %path.display(), "a recording was ended and is kept");
        }
    }

    /// Writes into the audit log under the name of whoever is inside.
    pub(super) fn audit(&mut self, kind: &str, detail: &Value, now: Moment) {
        let entry = unlock::entry(kind, &self.by(), detail);
        if let Err(error) = self.cache.audit(&entry, now.at) {
            tracing::error!(code = error.code(), %error, "audit log");
        }
    }

    fn unlock_from_stick(&mut self, now: Moment) -> Found {
        let refused = |code, wait_s| Found::Refused { code, wait_s };
        let wait_s = self.door.wait_s();
        let sticks = self.sticks.find();
        if sticks.is_empty() {
            return refused("unlock.not-on-stick", wait_s);
        }
        let time = self.time(now);
        let (mut texts, mut lists) = (Vec::new(), Vec::new());
        for stick in &sticks {
            let is_wanted =
                |name: &[u8]| name.ends_with(UNLOCK_ENDING) || name.ends_with(LIST_ENDING);
            match sticks::find_files(&stick.path, is_wanted) {
                Ok(files) => {
                    let is_list =
                        |path: &&PathBuf| path.as_os_str().as_bytes().ends_with(LIST_ENDING);
                    let (of_lists, of_texts): (Vec<_>, Vec<_>) = files.iter().partition(is_list);
                    lists.extend(of_lists.into_iter().filter_map(|path| text_of(path)));
                    texts.extend(of_texts.into_iter().filter_map(|path| text_of(path)));
                }
                Err(trouble) => {
                    tracing::warn!(
                        code = trouble.code(),
                        stick = stick.name,
                        "no permission read"
                    );
                    if sticks.len() == 1 {
                        return refused(trouble.code(), wait_s);
                    }
                }
            }
        }
        // First what is newly revoked: the permission beside it may be.
        let offered = lists.iter().map(|text| text.expose().as_str());
        let is_list_taken = self.door.take_lists(&mut self.cache, offered, now);
        // A stick may hold those of other terminals and of yesterday: the one for this challenge
        // counts, else the first says why it does not.
        let best = texts
            .iter()
            .position(|text| self.door.is_for_this(text.expose(), time))
            .unwrap_or(0);
        match texts.get(best) {
            Some(text) => self.door.unlock(&mut self.cache, text, time, now),
            None if is_list_taken => refused("unlock.list-taken", wait_s),
            None => refused("unlock.not-on-stick", wait_s),
        }
    }

    /// What time it is, and whether the clock of this machine can be believed.
    pub(super) fn time(&self, now: Moment) -> Time {
        let at = platform::believed_time(&self.cache, now);
        Time {
            at,
            is_in_doubt: at.duration_since(now.at).unsigned_abs() > DOUBT,
        }
    }

    pub(super) fn heard(&self) -> Heard {
        let heard = self.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn program_digest(&self) -> String {
        self.program
            .get_or_init(|| {
                readiness::program_digest().map_or_else(
                    |error| {
                        tracing::warn!(%error, "the program has no digest");
                        String::new()
                    },
                    |digest| hex(&digest),
                )
            })
            .clone()
    }

    pub(super) fn configuration_digest(&self) -> String {
        hex(&sha256(self.config.source.text().as_bytes()))
    }

    /// Finds the fonts at the first document.
    pub(super) fn prepare_typesetter(&mut self) -> Result<(), DocumentError> {
        if self.typesetter.is_none() {
            let fonts = &self.config.paths.fonts;
            let typesetter = if fonts.is_empty() {
                Typesetter::with_system_fonts()?
            } else {
                Typesetter::new(fonts)?
            };
            self.typesetter = Some(typesetter);
        }
        Ok(())
    }

    /// The configuration as it was when the terminal was installed.
    pub(super) fn installed(&self) -> Result<Installed, CacheError> {
        let text = self.cache.setting(INSTALLED)?.unwrap_or_default();
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Settings that are not as they were at installation.
    pub(super) fn changed_settings(&self) -> Result<Vec<Difference>, CacheError> {
        let installed = self.installed()?;
        if installed.settings.is_empty() {
            // There were too many to keep: only that something changed can be told.
            let is = self.configuration_digest();
            let is_same = installed.digest == is;
            let difference = Difference {
                key: "kiosk.toml".to_owned(),
                was: installed.digest,
                is,
            };
            return Ok(if is_same {
                Vec::new()
            } else {
                vec![difference]
            });
        }
        let is = settings::settings(self.config.source.text());
        Ok(settings::differences(&installed.settings, &is))
    }

    /// Where the signed desired state of the platform wants another value than the file.
    pub(super) fn wanted_settings(&self) -> Result<Vec<Difference>, CacheError> {
        let Some(desired) = self.cache.desired_state()? else {
            return Ok(Vec::new());
        };
        let body: Value = serde_json::from_str(&desired.body).unwrap_or_default();
        let file = settings::settings(self.config.source.text());
        Ok(["sealing_key", "bytes_per_s", "off_hours"]
            .into_iter()
            .filter_map(|name| {
                let wanted = match &body[name] {
                    Value::Null => return None,
                    Value::String(text) => text.clone(),
                    other @ (Value::Bool(_)
                    | Value::Number(_)
                    | Value::Array(_)
                    | Value::Object(_)) => other.to_string(),
                };
                let was = file.get(&format!("platform.{name}")).cloned();
                let was = was.unwrap_or_default();
                // Long keys are cut in what is shown of the file.
                let is_same = was == wanted
                    || was
                        .strip_suffix('…')
                        .is_some_and(|start| wanted.starts_with(start));
                (!is_same).then(|| Difference {
                    key: format!("platform.{name}"),
                    was,
                    is: wanted,
                })
            })
            .collect())
    }

    /// Everything that an auditor asks.
    pub(super) fn evidence(&mut self, now: Moment) -> Result<Evidence, CacheError> {
        let time = self.time(now);
        let log = self.log_chain(now)?;
        let state = self.config.paths.state.clone();
        let safeguards = self.cache.safeguards()?;
        let baseline = evidence::baseline(&evidence::Subject {
            host: &self.host,
            state: &state,
            configuration: self.config.source.path(),
            has_mutual_tls: self.config.platform.tls.is_some(),
            has_unlock_keys: !self.config.staff.unlock_keys.is_empty(),
            safeguards: &safeguards,
            log_findings: Some(log.findings.len()),
            clock: now.at,
            time: time.at,
            built: platform::built_at(),
        });
        Ok(Evidence {
            format: EVIDENCE_FORMAT,
            terminal: self.config.terminal.id.clone(),
            site: self.config.terminal.site.clone(),
            at: time.at.to_string(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            program_digest: self.program_digest(),
            configuration_digest: self.configuration_digest(),
            algorithms: self.algorithms(),
            keys: self.keys(),
            accounts: pages::accounts(&self.cache)?,
            baseline,
            log,
            failed_unlocks: self.door.failures(),
            changed_settings: self.changed_settings()?,
        })
    }

    fn log_chain(&mut self, now: Moment) -> Result<LogChain, CacheError> {
        let answer = self.ask_desk(&Ask::Verify { anchor: None }, now)?;
        Ok(match answer {
            Answer::Verdict {
                entries,
                head,
                findings,
            } => LogChain {
                entries,
                head: head.map(|head| format!("{}:{}", head.sequence, head.head)),
                findings,
            },
            Answer::Refused { words, code } => LogChain {
                findings: vec![format!("{words} [{code}]")],
                ..LogChain::default()
            },
            Answer::Rows { .. }
            | Answer::Load { .. }
            | Answer::Part { .. }
            | Answer::Imported { .. }
            | Answer::Key { .. }
            | Answer::Held { .. }
            | Answer::Usage { .. }
            | Answer::Done { .. } => LogChain::default(),
        })
    }

    fn algorithms(&self) -> BTreeMap<&'static str, String> {
        let line = match (
            &self.config.platform.tls,
            self.config.platform.url.split_once("://"),
        ) {
            (Some(_), _) => "TLS 1.2/1.3, mutual (X.509)",
            (None, Some(("https", _))) => "TLS 1.2/1.3",
            (None, _) => "HTTP",
        };
        let second_factor = "argon2id".to_owned();
        BTreeMap::from([
            ("line", line.to_owned()),
            (
                "sealing",
                self.config.platform.sealing_key.suite().to_string(),
            ),
            ("signature", self.key.public().algorithm().to_string()),
            ("audit-chain", "SHA-256".to_owned()),
            ("person-digest", "HMAC-SHA-256".to_owned()),
            ("staff-second-factor", second_factor),
        ])
    }

    fn keys(&self) -> Vec<KeyLine> {
        let device = self.key.public();
        let keeper = match self.config.key.source {
            Keeper::File => "file",
            Keeper::Credential => "credential",
            Keeper::Tpm => "tpm",
        };
        let sealing = &self.config.platform.sealing_key;
        let mut keys = vec![
            KeyLine {
                purpose: "terminal",
                algorithm: device.algorithm().to_string(),
                key_id: device.key_id(),
                keeper,
            },
            KeyLine {
                purpose: "sealing",
                algorithm: sealing.suite().to_string(),
                key_id: sealing.key_id(),
                keeper: "platform",
            },
        ];
        let known = [
            ("command", "platform", &self.config.platform.command_keys),
            ("unlock", "operator", &self.config.staff.unlock_keys),
        ];
        for (purpose, keeper, public) in known {
            keys.extend(public.iter().map(|key| KeyLine {
                purpose,
                algorithm: key.algorithm().to_string(),
                key_id: key.key_id(),
                keeper,
            }));
        }
        keys
    }
}

/// A signed text in a file, as text.
fn text_of(path: &std::path::Path) -> Option<Sensitive<String>> {
    let bytes = sticks::read_regular(path, UNLOCK_FILE_BYTES_MAX)?;
    // Notepad puts a mark of its encoding before the text.
    let text = String::from_utf8(bytes).ok()?;
    Some(Sensitive::new(
        text.trim_start_matches('\u{FEFF}').trim().to_owned(),
    ))
}

/// The first configuration that is seen is that of the installation.
fn remember_installation(
    cache: &mut Cache,
    config: &Config,
    now: Moment,
) -> Result<(), CacheError> {
    if cache.setting(INSTALLED)?.is_some() {
        return Ok(());
    }
    let mut installed = Installed {
        digest: hex(&sha256(config.source.text().as_bytes())),
        at: now.minute(),
        settings: settings::settings(config.source.text()),
    };
    let written =
        |installed: &Installed| serde_json::to_string(installed).expect("plain words become JSON");
    if written(&installed).len() > SETTING_BYTES_MAX {
        installed.settings.clear();
    }
    cache.set_setting(INSTALLED, &written(&installed))
}
