//! What staff ask about the queue and the audit log, and the ways out of a dead letter. The running
//! terminal answers through its socket, since no second process may open the store; when none runs,
//! the command opens the store itself and the same code answers.
//!
//! Shows case numbers, items and problem words; never a payload, a name or a number of a person.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::sync::Arc;

use kiosk_sealing::audit::{self, Checkpoint, Entry, Hash};
use kiosk_sealing::{DeviceKey, PublicKey};
use offline_cache::{Cache, CacheError, NewAudit, QueueRow, Sequence, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::carry::{self, CarryError, Imported, Load, Place};
use crate::clock::Moment;
use crate::config::Config;
use crate::devices::socket;
use crate::keys::Keys;
use crate::platform::{Platform, desired};
use crate::problem;
use crate::usage::{self, ItemUsage};
use crate::words::Lang;

/// Most rows of one list.
const ROWS_MAX: u32 = 1000;
/// Entries or checkpoints read at once.
const PAGE: u32 = 500;
/// Most checkpoints that are looked at: one a day for 25 years and more.
const CHECKPOINTS_MAX: usize = 10_000;
/// Longest name of a person who acts, and longest reason, in bytes.
const WORDS_BYTES_MAX: usize = 200;
/// Most findings that are told; a log with more is beyond repair.
const FINDINGS_MAX: usize = 100;
/// The format of an exported audit log.
const AUDIT_FORMAT: u32 = 1;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// The newest rows of the queue, or all that wait for a person.
    List {
        /// Only dead letters.
        dead_only: bool,
    },
    /// Send a dead letter again.
    Retry {
        /// The transaction.
        id: Uuid,
        /// Who decides so.
        by: String,
    },
    /// Give a dead letter up; its content is erased.
    Close {
        /// The transaction.
        id: Uuid,
        /// Who decides so.
        by: String,
        /// Why.
        reason: String,
    },
    /// What a bundle would hold now.
    Load {},
    /// One part of a bundle, as bytes before the answer.
    Part {
        /// The bundle.
        bundle: Uuid,
        /// The part, from 1.
        part: u32,
        /// The last row of the part before; 0 for the first one.
        after: i64,
    },
    /// The last part that was asked for is safe on the stick: mark its rows.
    Carried {
        /// Who carries it.
        by: String,
    },
    /// Receipts that came back, as bytes after the question.
    Receipts {},
    /// Verify the audit log.
    Verify {
        /// A head that is known from elsewhere.
        anchor: Option<Anchor>,
    },
    /// The audit log, as bytes before the answer: JSON lines.
    Audit {},
    /// The public key of the terminal.
    Key {},
    /// Whether the platform holds a release back: neither fetched nor switched to.
    Held {
        /// The release.
        version: String,
    },
    /// What was done in a year, item by item.
    Usage {
        /// The year.
        year: i16,
    },
}

impl Ask {
    /// True where bytes come before the answer.
    pub(crate) fn brings_bytes(&self) -> bool {
        matches!(self, Self::Part { .. } | Self::Audit {})
    }

    /// True where bytes follow the question.
    pub(crate) fn takes_bytes(&self) -> bool {
        matches!(self, Self::Receipts {})
    }
}

/// A head of the audit log that is known from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Its sequence.
    pub sequence: u64,
    /// Its hash, 64 hexadecimal digits.
    pub head: String,
}

impl std::str::FromStr for Anchor {
    type Err = &'static str;

    /// `SEQUENCE:HEX`, as the platform shows it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "an anchor is SEQUENCE:HASH, the hash in 64 hexadecimal digits";
        let (sequence, head) = text.split_once(':').ok_or(EXPECTED)?;
        let anchor = Self {
            sequence: sequence.parse().map_err(|_| EXPECTED)?,
            head: head.to_ascii_lowercase(),
        };
        anchor.hash().map(|_| anchor).ok_or(EXPECTED)
    }
}

impl Anchor {
    fn hash(&self) -> Option<Hash> {
        audit::parse_hash(&self.head)
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Answer {
    /// Rows of the queue.
    Rows {
        /// The rows.
        rows: Vec<Row>,
    },
    /// What a bundle would hold.
    Load {
        /// Transactions.
        transactions: u64,
        /// Bytes, at most.
        bytes: u64,
        /// Number of the terminal.
        terminal: String,
    },
    /// The part was sent before this answer.
    Part {
        /// Transactions in it; none when there was nothing left, and no bytes then.
        transactions: u64,
        /// Where the next part goes on.
        last: i64,
        /// Transactions that cannot be carried.
        left_out: Vec<Uuid>,
    },
    /// The receipts were read.
    Imported {
        /// Settled by them.
        settled: u32,
        /// Settled before.
        settled_before: u32,
        /// Refused by the platform.
        parked: u32,
        /// Wanted again.
        waiting: u32,
        /// Not of this queue.
        unknown: u32,
    },
    /// The audit log was verified, or sent before this answer.
    Verdict {
        /// Entries.
        entries: u64,
        /// Sequence and hash of the last one, in hexadecimal digits.
        head: Option<Anchor>,
        /// What is wrong, in words; empty when nothing is.
        findings: Vec<String>,
    },
    /// The public key.
    Key {
        /// As text.
        public: String,
        /// Its id.
        key_id: String,
        /// Its algorithm.
        algorithm: String,
    },
    /// Whether the release is held back.
    Held {
        /// True while the desired state in force names it.
        is_held: bool,
    },
    /// What was done in a year.
    Usage {
        /// By item.
        items: Vec<ItemUsage>,
    },
    /// It was done.
    Done {
        /// What, in words.
        words: String,
    },
    /// It was not done.
    Refused {
        /// Problem code.
        code: String,
        /// Why, and what to do.
        words: String,
    },
}

/// One row of the queue, without anything personal but what the platform's words may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Id of the transaction.
    pub id: Uuid,
    /// `case`, `rating` …
    pub kind: String,
    /// The item.
    pub item: String,
    /// The number on the slip.
    pub case_number: String,
    /// Where it stands.
    pub state: String,
    /// The system behind the platform; empty where it is the platform itself.
    pub upstream: String,
    /// True when nothing but a person can help it on.
    pub needs_somebody: bool,
    /// True while an earlier one of the same person has to go first.
    pub is_blocked: bool,
    /// Failed attempts.
    pub attempts: u32,
    /// When it was made durable.
    pub enqueued_at: String,
    /// When it is tried again; empty where it is not deferred.
    pub next_at: String,
    /// Problem code of the last failure; empty where there was none.
    pub last_code: String,
    /// That problem in plain words; empty where there was none.
    pub problem: String,
    /// What the technician does about it.
    pub advice: String,
    /// The platform's own words.
    pub detail: String,
    /// When it was carried out last; empty where it never was.
    pub carried_at: String,
    /// The platform's reference; empty without a receipt.
    pub reference: String,
}

/// The desk: a connection to the store, and what is needed to sign and to believe.
#[derive(Debug)]
pub struct Desk {
    cache: Cache,
    key: Arc<DeviceKey>,
    terminal: String,
    command_keys: Vec<PublicKey>,
    /// The thread that sends, while the terminal runs.
    platform: Option<Platform>,
    /// The part that was written last and is not marked yet.
    open: Option<(Uuid, Vec<Uuid>)>,
}

impl Desk {
    pub(crate) fn new(
        config: &Config,
        cache: Cache,
        key: Arc<DeviceKey>,
        platform: Option<Platform>,
    ) -> Self {
        Self {
            cache,
            key,
            terminal: config.terminal.id.clone(),
            command_keys: config.platform.command_keys.clone(),
            platform,
            open: None,
        }
    }

    /// A desk while no terminal runs.
    ///
    /// # Errors
    /// In words: the store or the key cannot be opened, or a terminal runs after all.
    pub fn open(config: &Config, now: Moment) -> Result<Self, String> {
        let store = config.paths.state.join("store");
        let (cache, _) = Cache::open_with(&store, &config.store_options(), now.at)
            .map_err(|error| format!("the store in {}: {error}", store.display()))?;
        let keys = Keys::open(&config.paths.state, &config.key_source())
            .map_err(|error| error.to_string())?;
        Ok(Self::new(config, cache, Arc::clone(keys.device()), None))
    }

    /// The same desk for another visitor at the same time.
    pub(crate) fn another(&self) -> Result<Self, CacheError> {
        Ok(Self {
            cache: self.cache.another()?,
            key: Arc::clone(&self.key),
            terminal: self.terminal.clone(),
            command_keys: self.command_keys.clone(),
            platform: self.platform.clone(),
            open: None,
        })
    }

    /// Answers a question. Bytes that follow it are read from `body`, bytes that come before the
    /// answer go to `out`.
    pub fn answer(
        &mut self,
        ask: Ask,
        body: &mut dyn Read,
        out: &mut dyn Write,
        now: Moment,
    ) -> Answer {
        let answer = match ask {
            Ask::List { dead_only } => self.rows(dead_only),
            Ask::Retry { id, by } => self.retry(id, &by, now),
            Ask::Close { id, by, reason } => self.close(id, &by, &reason, now),
            Ask::Load {} => self.load(),
            Ask::Part {
                bundle,
                part,
                after,
            } => {
                let place = Place {
                    bundle,
                    part,
                    after: Sequence(after),
                };
                self.part(place, out, now)
            }
            Ask::Carried { by } => self.carried(&by, now),
            Ask::Receipts {} => self.receipts(body, now),
            Ask::Verify { anchor } => self.verify(anchor.as_ref()),
            Ask::Audit {} => self.export_audit(out),
            Ask::Key {} => Ok(self.key()),
            Ask::Held { version } => self.held(&version),
            Ask::Usage { year } => self.usage(year),
        };
        answer.unwrap_or_else(|refusal| Answer::Refused {
            code: refusal.code.to_owned(),
            words: refusal.words,
        })
    }

    fn rows(&self, dead_only: bool) -> Result<Answer, Refusal> {
        let dead = self.cache.dead(ROWS_MAX)?;
        let waiting: HashSet<Uuid> = dead.iter().map(|row| row.id).collect();
        let rows = if dead_only {
            dead
        } else {
            self.cache.recent(ROWS_MAX)?
        };
        let shown = |found: QueueRow| {
            let needs_somebody = waiting.contains(&found.id);
            row(found, needs_somebody)
        };
        Ok(Answer::Rows {
            rows: rows.into_iter().map(shown).collect(),
        })
    }

    fn retry(&mut self, id: Uuid, by: &str, now: Moment) -> Result<Answer, Refusal> {
        named(by, "the name of who decides")?;
        self.cache.reinstate(id, by, now.at)?;
        self.wake();
        Ok(Answer::Done {
            words: format!("{id} is sent again; {by} decided so"),
        })
    }

    fn close(&mut self, id: Uuid, by: &str, reason: &str, now: Moment) -> Result<Answer, Refusal> {
        named(by, "the name of who decides")?;
        named(reason, "the reason")?;
        self.cache.close(id, by, reason, now.at)?;
        self.wake();
        Ok(Answer::Done {
            words: format!("{id} is given up and its content erased; {by} decided so"),
        })
    }

    /// What blocked others may have gone: let them be sent now.
    fn wake(&self) {
        if let Some(platform) = &self.platform {
            platform.wake();
        }
    }

    fn load(&self) -> Result<Answer, Refusal> {
        let Load {
            transactions,
            bytes,
        } = carry::load(&self.cache)?;
        Ok(Answer::Load {
            transactions,
            bytes,
            terminal: self.terminal.clone(),
        })
    }

    fn part(&mut self, place: Place, out: &mut dyn Write, now: Moment) -> Result<Answer, Refusal> {
        self.open = None;
        let part = carry::write_part(&self.cache, &self.key, &self.terminal, place, out, now)?;
        let transactions = part.ids.len() as u64;
        self.open = Some((place.bundle, part.ids));
        Ok(Answer::Part {
            transactions,
            last: part.last,
            left_out: part.left_out,
        })
    }

    fn carried(&mut self, by: &str, now: Moment) -> Result<Answer, Refusal> {
        named(by, "the name of who carries it")?;
        let Some((bundle, ids)) = self.open.take() else {
            return Err(Refusal {
                code: "bundle.nothing-open",
                words: "no part has been written".to_owned(),
            });
        };
        self.cache.mark_carried(&ids, bundle, now.at)?;
        let detail = json!({ "bundle": bundle, "transactions": ids.len() });
        self.note("carry-out.written", by, &detail, now)?;
        Ok(Answer::Done {
            words: format!("{} transactions are marked as carried", ids.len()),
        })
    }

    fn receipts(&mut self, body: &mut dyn Read, now: Moment) -> Result<Answer, Refusal> {
        let mut text = String::new();
        // A quarter more than the content: it is in base64.
        let bytes_max = carry::RECEIPTS_BYTES_MAX as u64 / 3 * 4;
        body.take(bytes_max)
            .read_to_string(&mut text)
            .map_err(|_| CarryError::Malformed)?;
        let receipts = carry::read_receipts(&text, &self.terminal, &self.command_keys)?;
        let (bundle, part) = (receipts.bundle, receipts.part);
        let Imported {
            settled,
            settled_before,
            parked,
            waiting,
            unknown,
        } = carry::import(&mut self.cache, receipts, now)?;
        let detail = json!({
            "bundle": bundle, "part": part, "settled": settled, "settled_before": settled_before,
            "parked": parked, "waiting": waiting, "unknown": unknown,
        });
        self.note("carry-out.receipts", "platform", &detail, now)?;
        self.wake();
        Ok(Answer::Imported {
            settled,
            settled_before,
            parked,
            waiting,
            unknown,
        })
    }

    fn note(
        &mut self,
        kind: &str,
        actor: &str,
        detail: &serde_json::Value,
        now: Moment,
    ) -> Result<(), CacheError> {
        let audit = NewAudit {
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            subject: None,
            transaction: None,
            detail: detail.to_string(),
        };
        self.cache.audit(&audit, now.at).map(drop)
    }

    fn verify(&self, anchor: Option<&Anchor>) -> Result<Answer, Refusal> {
        let known = match anchor {
            None => None,
            Some(anchor) => Some((anchor.sequence, anchor.hash().ok_or_else(bad_anchor)?)),
        };
        let checkpoints = self.checkpoints()?;
        let keys = [self.key.public()];
        let report = audit::verify(&self.terminal, self.entries(), &checkpoints, &keys, known);
        Ok(Answer::Verdict {
            entries: report.entries,
            head: self.head()?,
            findings: report
                .findings
                .iter()
                .take(FINDINGS_MAX)
                .map(ToString::to_string)
                .collect(),
        })
    }

    fn head(&self) -> Result<Option<Anchor>, CacheError> {
        Ok(self.cache.audit_head()?.map(|(sequence, head)| Anchor {
            sequence,
            head: audit::hash_text(&head),
        }))
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, CacheError> {
        let mut checkpoints: Vec<Checkpoint> = Vec::new();
        while checkpoints.len() < CHECKPOINTS_MAX {
            let after = checkpoints.last().map_or(0, |last| last.sequence);
            let more = self.cache.audit_checkpoints(after, PAGE)?;
            if more.is_empty() {
                break;
            }
            checkpoints.extend(more);
        }
        Ok(checkpoints)
    }

    /// All entries in order, a page at a time. A page that cannot be read is the end.
    fn entries(&self) -> impl Iterator<Item = Result<(Entry, Hash), CacheError>> {
        let mut after = Some(0);
        std::iter::from_fn(move || {
            let page = self.cache.audit_entries(after?, PAGE);
            after = match &page {
                Ok(entries) => entries.last().map(|(entry, _)| entry.sequence),
                Err(_) => None,
            };
            match page {
                Ok(entries) if entries.is_empty() => None,
                Ok(entries) => Some(entries.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => Some(vec![Err(error)]),
            }
        })
        .flatten()
    }

    /// A head line, the checkpoints, then the entries, each a JSON object on a line of its own.
    fn export_audit(&self, out: &mut dyn Write) -> Result<Answer, Refusal> {
        let mut line = |value: serde_json::Value| {
            writeln!(out, "{value}").map_err(|error| Refusal {
                code: "audit.not-written",
                words: error.to_string(),
            })
        };
        line(json!({ "format": AUDIT_FORMAT, "terminal": self.terminal }))?;
        for checkpoint in self.checkpoints()? {
            line(json!({ "checkpoint": checkpoint }))?;
        }
        let mut count = 0;
        for found in self.entries() {
            let (entry, hash) = found?;
            count += 1;
            line(json!({ "entry": entry, "hash": audit::hash_text(&hash) }))?;
        }
        Ok(Answer::Verdict {
            entries: count,
            head: self.head()?,
            findings: Vec::new(),
        })
    }

    /// By the desired state that was verified when it came; an older one never replaced it.
    fn held(&self, version: &str) -> Result<Answer, Refusal> {
        let Some(stored) = self.cache.desired_state()? else {
            return Ok(Answer::Held { is_held: false });
        };
        let state = desired::read(stored.body.as_bytes()).map_err(|error| Refusal {
            code: error.code(),
            words: in_words(error.code(), &error.to_string()),
        })?;
        let is_held = state.held_releases.iter().any(|held| held == version);
        Ok(Answer::Held { is_held })
    }

    fn usage(&self, year: i16) -> Result<Answer, Refusal> {
        let items = usage::of_year(&self.cache, year)?;
        Ok(Answer::Usage { items })
    }

    fn key(&self) -> Answer {
        let public = self.key.public();
        Answer::Key {
            key_id: public.key_id(),
            algorithm: public.algorithm().to_string(),
            public: public.to_string(),
        }
    }
}

/// Why something was not done.
struct Refusal {
    code: &'static str,
    words: String,
}

impl From<CacheError> for Refusal {
    fn from(error: CacheError) -> Self {
        Self {
            code: error.code(),
            words: in_words(error.code(), &error.to_string()),
        }
    }
}

impl From<CarryError> for Refusal {
    fn from(error: CarryError) -> Self {
        Self {
            code: error.code(),
            words: in_words(error.code(), &error.to_string()),
        }
    }
}

/// What happened, and what the technician does about it.
fn in_words(code: &str, error: &str) -> String {
    format!("{error}. {}", problem::get(code).technician)
}

fn named(text: &str, what: &str) -> Result<(), Refusal> {
    let is_plain = (1..=WORDS_BYTES_MAX).contains(&text.trim().len())
        && text.len() <= WORDS_BYTES_MAX
        && !text.chars().any(char::is_control);
    if is_plain {
        return Ok(());
    }
    Err(Refusal {
        code: "queue.out-of-range",
        words: format!("{what} is missing, or longer than {WORDS_BYTES_MAX} bytes"),
    })
}

fn bad_anchor() -> Refusal {
    Refusal {
        code: "audit.bad-anchor",
        words: "an anchor is SEQUENCE:HASH, the hash in 64 hexadecimal digits".to_owned(),
    }
}

fn row(row: QueueRow, needs_somebody: bool) -> Row {
    let last_code = row.last_code.unwrap_or_default();
    let is_told = !last_code.is_empty() && row.state != State::Acked;
    let problem = problem::get(&last_code);
    let words = |text: &str| {
        if is_told {
            text.to_owned()
        } else {
            String::new()
        }
    };
    Row {
        id: row.id,
        kind: row.kind,
        item: row.item,
        case_number: row.case_number,
        state: row.state.to_string(),
        upstream: row.upstream,
        needs_somebody,
        is_blocked: row.is_blocked,
        attempts: row.attempts,
        enqueued_at: row.enqueued_at.to_string(),
        next_at: row.next_at.map_or_else(String::new, |at| at.to_string()),
        problem: words(problem.title(Lang::ZhHans)),
        advice: words(&problem.technician),
        last_code,
        detail: row.last_detail.unwrap_or_default(),
        carried_at: row.carried_at.map_or_else(String::new, |at| at.to_string()),
        reference: row.receipt_reference.unwrap_or_default(),
    }
}

impl Row {
    /// The row as lines of text for a terminal window; a dead letter with the way out.
    pub fn text(&self) -> String {
        let blocked = if self.is_blocked { " (waits)" } else { "" };
        let state = format!("{}{blocked}", self.state);
        let mut text = String::new();
        line(
            &mut text,
            &format!(
                "{}  {state:<18} {:<8} {:<22} attempts {:<3} {}",
                self.case_number, self.kind, self.item, self.attempts, self.last_code,
            ),
        );
        if !self.needs_somebody {
            return text;
        }
        for (label, words) in [
            ("since", &self.enqueued_at),
            ("what", &self.problem),
            ("says", &self.detail),
            ("do", &self.advice),
            ("carried", &self.carried_at),
        ] {
            if !words.is_empty() {
                line(&mut text, &format!("    {label:<8} {words}"));
            }
        }
        let id = self.id;
        line(
            &mut text,
            &format!("    mended   kiosk queue retry {id} --by NAME"),
        );
        line(
            &mut text,
            &format!("    hopeless kiosk queue close {id} --by NAME --reason TEXT"),
        );
        text
    }
}

fn line(text: &mut String, line: &str) {
    // The platform's words must not steer the terminal window.
    text.extend(
        line.trim_end()
            .chars()
            .filter(|character| !character.is_control()),
    );
    text.push('\n');
}

/// Where a command reaches the desk.
#[derive(Debug)]
pub enum Counter {
    /// In the running terminal.
    Running(socket::Line),
    /// In this process, while no terminal runs.
    Stopped(Box<Desk>),
}

impl Counter {
    /// The running terminal's desk, else one of our own.
    ///
    /// # Errors
    /// In words: the terminal does not answer, or the store cannot be opened.
    pub fn reach(config: &Config, now: Moment) -> Result<Self, String> {
        match socket::Line::open(&config.paths.state) {
            Ok(Some(line)) => Ok(Self::Running(line)),
            Ok(None) => Desk::open(config, now).map(|desk| Self::Stopped(Box::new(desk))),
            Err(error) => Err(format!("the terminal does not answer: {error}")),
        }
    }

    /// As [`Counter::reach`], for a question that must not make a store where there is none.
    ///
    /// # Errors
    /// In words: as [`Counter::reach`], or no terminal has ever run here.
    pub fn look(config: &Config, now: Moment) -> Result<Self, String> {
        let store = config.paths.state.join("store");
        match store.try_exists() {
            Ok(true) => Self::reach(config, now),
            Ok(false) => Err(format!(
                "there is no store in {}: no terminal has run here",
                store.display()
            )),
            Err(error) => Err(format!(
                "the store in {} cannot be looked at: {error}; run it as the terminal's user",
                store.display()
            )),
        }
    }

    /// Asks. `body` follows the question where it takes bytes; bytes before the answer go to `out`.
    ///
    /// # Errors
    /// The terminal does not answer, or the answer is not understood.
    pub fn ask(
        &mut self,
        ask: &Ask,
        body: &[u8],
        out: &mut dyn Write,
        now: Moment,
    ) -> io::Result<Answer> {
        match self {
            Self::Running(line) => line.ask(ask, body, out),
            Self::Stopped(desk) => {
                let mut body = body;
                Ok(desk.answer(ask.clone(), &mut body, out, now))
            }
        }
    }
}
