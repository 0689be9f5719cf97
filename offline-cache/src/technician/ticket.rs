//! Fault tickets: one fault (a device and a code) has one ticket at a time, however often it
//! flickers, and a fault that comes back within a day of its mending is the same one. Only a test
//! that was passed after the fault began proves the mending.
//!
//! What may follow what is decided on the ticket alone, without the database; the rows and their
//! reports are kept in the file beside it.

mod row;

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use uuid::Uuid;

use super::{
    ROWS_MAX, TestRecord, Verdict, stored_time, test_record, word, word_or_nothing, words,
};
use crate::CacheError;
use crate::audit::{self, NewAudit, TERMINAL};
use crate::cache::Cache;

use row::Stored;
pub(super) use row::find;

/// A fault that is back within this is the same fault; the platform contract says the same.
const SAME_FAULT: SignedDuration = SignedDuration::from_hours(24);
/// Time servers set a clock back by minutes, a wrong zone by a day; a mending further ahead than
/// this was written under a clock that had leapt, and says nothing of when it was.
const LEAP_BACK: SignedDuration = SignedDuration::from_hours(2 * 24);
/// Longest time that may be promised: a year.
const SLA_MAX: Duration = Duration::from_hours(366 * 24);
/// All notes of a ticket in bytes (the schema says the same).
const NOTES_BYTES_MAX: usize = 2 * 1024;
/// Most parts replaced for one ticket; a printer has a dozen that can be.
const PARTS_MAX: usize = 16;

/// How far a ticket has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketState {
    /// Nobody has taken it.
    Open,
    /// Somebody has.
    Acknowledged,
    /// A test has proved that the fault is gone.
    Mended,
    /// Nothing is left to do.
    Closed,
}

impl TicketState {
    /// The state as it is stored and sent, `open`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Mended => "mended",
            Self::Closed => "closed",
        }
    }

    fn from_word(word: &str) -> Result<Self, CacheError> {
        match word {
            "open" => Ok(Self::Open),
            "acknowledged" => Ok(Self::Acknowledged),
            "mended" => Ok(Self::Mended),
            "closed" => Ok(Self::Closed),
            _ => Err(CacheError::Inconsistent {
                what: "state of a ticket",
            }),
        }
    }

    /// Whether the fault is still there.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Acknowledged)
    }
}

impl fmt::Display for TicketState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Who acts, from near to far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The staff of the village.
    Village,
    /// The technician of the town.
    Town,
    /// Those who look after the city's terminals.
    City,
    /// The maker of the device.
    Vendor,
}

impl Level {
    /// The level as it is stored and sent, `village`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Village => "village",
            Self::Town => "town",
            Self::City => "city",
            Self::Vendor => "vendor",
        }
    }

    fn from_word(word: &str) -> Result<Self, CacheError> {
        match word {
            "village" => Ok(Self::Village),
            "town" => Ok(Self::Town),
            "city" => Ok(Self::City),
            "vendor" => Ok(Self::Vendor),
            _ => Err(CacheError::Inconsistent {
                what: "level of a ticket",
            }),
        }
    }

    /// The next one; the last stays.
    fn up(self) -> Self {
        match self {
            Self::Village => Self::Town,
            Self::Town => Self::City,
            Self::City | Self::Vendor => Self::Vendor,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How soon somebody has to come and the fault to be gone; a year at most each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sla {
    /// From the opening to the acknowledgement.
    pub respond: Duration,
    /// From the opening to the mending.
    pub repair: Duration,
}

/// A part that was replaced. Texts have 64 bytes at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub what: String,
    /// Serial number of the one that was taken out; empty when it has none.
    pub old_serial: String,
    /// Serial number of the one that was put in; empty when it has none.
    pub new_serial: String,
}

/// A fault that was seen. Texts have 64 bytes at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// Id of the device in the configuration; empty for the machine itself.
    pub device: String,
    /// Class of the device; may be empty.
    pub class: String,
    /// Problem code; device and code make the fault.
    pub code: String,
    /// Fault action, such as `replenish`; may be empty.
    pub action: String,
    /// Who acts first.
    pub level: Level,
    /// How soon.
    pub sla: Sla,
    /// The test that showed the fault, if one did.
    pub before: Option<Uuid>,
}

/// A fault and what was done about it. Its `Debug` hides what people wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its id.
    pub id: Uuid,
    /// Its number for people, `T001-0007`; given once.
    pub number: String,
    /// Id of the device; empty for the machine itself.
    pub device: String,
    /// Class of the device.
    pub class: String,
    /// Problem code.
    pub code: String,
    /// Fault action.
    pub action: String,
    /// How far it has come.
    pub state: TicketState,
    /// Who acts first; see [`Ticket::level_at`].
    pub level: Level,
    /// When the fault was seen first.
    pub opened_at: Timestamp,
    /// Until when somebody is to have taken it.
    pub respond_by: Timestamp,
    /// Until when it is to be mended.
    pub repair_by: Timestamp,
    /// When somebody took it, since it was opened last.
    pub acknowledged_at: Option<Timestamp>,
    /// When a test proved the mending, since it was opened last.
    pub mended_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Who acted last: an account name, or `terminal`.
    pub by: String,
    /// The staff's own words, one note a line, 2 KiB at most.
    pub note: String,
    /// Parts that were replaced, in order.
    pub parts: Vec<Part>,
    /// The test that showed the fault.
    pub before: Option<TestRecord>,
    /// The test that proved the mending.
    pub after: Option<TestRecord>,
    /// How often the fault was seen.
    pub times_seen: u32,
    /// How often it came back within a day of its mending.
    pub times_reopened: u32,
    /// Grows with each change that others have to know.
    pub revision: u32,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("number", &self.number)
            .field("device", &self.device)
            .field("code", &self.code)
            .field("state", &self.state)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Ticket {
    /// Who is to act now: whoever acts first, one further when nobody has taken it in time, and
    /// one further yet when it is not mended in time.
    pub fn level_at(&self, now: Timestamp) -> Level {
        let mut level = self.level;
        if self.state == TicketState::Open && now > self.respond_by {
            level = level.up();
        }
        if self.state.is_open() && now > self.repair_by {
            level = level.up();
        }
        level
    }

    /// Whether a fault that is seen now is this one come back.
    fn is_back(&self, now: Timestamp) -> bool {
        let Some(mended_at) = self.mended_at else {
            return false;
        };
        let since = now.duration_since(mended_at);
        !self.state.is_open() && since < SAME_FAULT && since > -LEAP_BACK
    }

    fn wrong_state(&self) -> CacheError {
        CacheError::TicketState {
            id: self.id,
            state: self.state,
        }
    }
}

/// What somebody does about a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketAct {
    /// Takes an open one; from somebody else too.
    Acknowledge,
    /// Adds words to one that is not closed.
    Note(String),
    /// Notes that a part was replaced, on one that is not closed.
    Replace(Part),
    /// Proves that the fault is gone.
    Mend {
        /// A passed test of the device, recorded after the fault began; the same test that showed
        /// the fault, if one did.
        test: Uuid,
    },
    /// Ends it: when it is mended, or else when it has a note that says why.
    Close,
}

/// What an act writes into the audit log: its kind and its detail beside the ticket's number.
struct Deed {
    kind: &'static str,
    detail: serde_json::Value,
}

impl Deed {
    fn of(kind: &'static str) -> Self {
        Self {
            kind,
            detail: json!({}),
        }
    }
}

impl NewTicket {
    fn validate(&self) -> Result<(), CacheError> {
        word_or_nothing(&self.device, "device id")?;
        word_or_nothing(&self.class, "device class")?;
        word(&self.code, "problem code")?;
        word_or_nothing(&self.action, "fault action")?;
        if self.sla.respond > SLA_MAX || self.sla.repair > SLA_MAX {
            return Err(CacheError::OutOfRange {
                what: "time to respond or repair",
            });
        }
        Ok(())
    }
}

impl Cache {
    /// Notes durably that a fault was seen: opens a ticket, counts it on the one that is open, or
    /// opens the one again whose fault was mended less than a day ago. Returns the ticket, and
    /// whether there was none that was open.
    ///
    /// A fault that is seen again writes into the audit log, and is told upstream, at the second,
    /// fourth, eighth time and so on: a loose plug must not fill a log that is never cut.
    ///
    /// # Errors
    /// `OutOfRange` for a text or time beyond its bounds; `UnknownTest` when the test that showed
    /// the fault is not there or is of another device; `DiskFull`, `Store`.
    pub fn open_ticket(
        &mut self,
        new: &NewTicket,
        now: Timestamp,
    ) -> Result<(Ticket, bool), CacheError> {
        new.validate()?;
        let now = stored_time(now);
        let terminal = self.directory.options.terminal.clone();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let before = shown_by(&transaction, new)?;
        let known = row::newest_of(&transaction, &new.device, &new.code)?;
        let (id, deed) = match known {
            Some(mut stored) if stored.ticket.state.is_open() => {
                let deed = stored.seen_again(before);
                stored.save(&transaction, now)?;
                (stored.ticket.id, deed)
            }
            Some(mut stored) if stored.ticket.is_back(now) => {
                stored.tests_before = test_record::last_sequence(&transaction)?;
                let deed = stored.reopen(new, before, now);
                stored.save(&transaction, now)?;
                (stored.ticket.id, Some(deed))
            }
            Some(_) | None => {
                let id = row::insert(&transaction, &terminal, new, now)?;
                (id, Some(Deed::of("ticket.opened")))
            }
        };
        let ticket = find(&transaction, id)?.ticket;
        let is_new = deed
            .as_ref()
            .is_some_and(|deed| deed.kind != "ticket.seen-again");
        if let Some(deed) = deed {
            record(&transaction, &terminal, &ticket, deed, TERMINAL, now)?;
        }
        transaction.commit()?;
        Ok((ticket, is_new))
    }

    /// Does something about a ticket, durably, and returns it as it is then. Taking what one has
    /// taken, mending by the same test and closing what is closed changes nothing.
    ///
    /// # Errors
    /// `UnknownTicket`; `TicketState` when the ticket's state does not allow the act; `NotProven`
    /// when the test does not prove the mending; `OutOfRange` for an empty account name or a text
    /// beyond its bounds; `DiskFull`, `Store`.
    pub fn ticket_act(
        &mut self,
        id: Uuid,
        act: &TicketAct,
        by: &str,
        now: Timestamp,
    ) -> Result<Ticket, CacheError> {
        word(by, "account name")?;
        let now = stored_time(now);
        let terminal = self.directory.options.terminal.clone();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut stored = find(&transaction, id)?;
        let deed = match act {
            TicketAct::Acknowledge => stored.ticket.acknowledge(by, now)?,
            TicketAct::Note(note) => Some(stored.ticket.add_note(note)?),
            TicketAct::Replace(part) => {
                let deed = stored.ticket.replace(part)?;
                row::add_part(&transaction, &stored.ticket)?;
                Some(deed)
            }
            TicketAct::Mend { test } => {
                let proof = test_record::find(&transaction, *test)?;
                stored.mend(*test, proof, now)?
            }
            TicketAct::Close => stored.ticket.close(by, now)?,
        };
        let Some(deed) = deed else {
            return Ok(stored.ticket);
        };
        by.clone_into(&mut stored.ticket.by);
        stored.ticket.revision = stored.ticket.revision.saturating_add(1);
        stored.save(&transaction, now)?;
        record(&transaction, &terminal, &stored.ticket, deed, by, now)?;
        transaction.commit()?;
        Ok(stored.ticket)
    }

    /// Tickets, newest first, at most `limit` and never more than 1,000; with `open_only` those
    /// whose fault is still there.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn tickets(&self, open_only: bool, limit: u32) -> Result<Vec<Ticket>, CacheError> {
        let limit = limit.min(ROWS_MAX);
        if open_only {
            return row::list(
                &self.connection,
                "INDEXED BY ticket_open WHERE state IN ('open', 'acknowledged') ORDER BY sequence DESC",
                limit,
            );
        }
        row::list(&self.connection, "ORDER BY sequence DESC", limit)
    }

    /// A ticket.
    ///
    /// # Errors
    /// `UnknownTicket`; `Store` when the database fails, `Inconsistent` when the row cannot be
    /// understood.
    pub fn ticket(&self, id: Uuid) -> Result<Ticket, CacheError> {
        Ok(find(&self.connection, id)?.ticket)
    }

    /// Tickets whose newest revision the platform does not have, oldest first, at most `limit`
    /// and never more than 1,000.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn tickets_unreported(&self, limit: u32) -> Result<Vec<Ticket>, CacheError> {
        row::list(
            &self.connection,
            "INDEXED BY ticket_unreported WHERE reported_revision < revision ORDER BY sequence",
            limit.min(ROWS_MAX),
        )
    }

    /// The platform has this revision of the ticket. The same word again, or one about an older
    /// revision, is harmless.
    ///
    /// # Errors
    /// `UnknownTicket` when there is none; `DiskFull`, `Store`.
    pub fn ticket_reported(&mut self, id: Uuid, revision: u32) -> Result<(), CacheError> {
        row::reported(&self.connection, id, revision)
    }
}

/// The test that showed the fault, if it is one of this device.
fn shown_by(connection: &Connection, new: &NewTicket) -> Result<Option<TestRecord>, CacheError> {
    let Some(id) = new.before else {
        return Ok(None);
    };
    match test_record::find(connection, id)? {
        Some((_, record)) if record.device == new.device => Ok(Some(record)),
        Some(_) | None => Err(CacheError::UnknownTest { id }),
    }
}

impl Stored {
    /// The fault is seen while its ticket is open; something to tell at powers of two, and when
    /// there is a test that shows it for the first time.
    fn seen_again(&mut self, before: Option<TestRecord>) -> Option<Deed> {
        let ticket = &mut self.ticket;
        ticket.times_seen = ticket.times_seen.saturating_add(1);
        let is_shown = ticket.before.is_none() && before.is_some();
        if is_shown {
            ticket.before = before;
        }
        if !is_shown && !ticket.times_seen.is_power_of_two() {
            return None;
        }
        ticket.revision = ticket.revision.saturating_add(1);
        Some(Deed {
            kind: "ticket.seen-again",
            detail: json!({ "times_seen": ticket.times_seen }),
        })
    }

    /// The fault is back: its clocks start anew, and only a later test proves the next mending.
    fn reopen(&mut self, new: &NewTicket, before: Option<TestRecord>, now: Timestamp) -> Deed {
        let ticket = &mut self.ticket;
        ticket.state = TicketState::Open;
        ticket.level = ticket.level.max(new.level);
        ticket.respond_by = later(now, new.sla.respond);
        ticket.repair_by = later(now, new.sla.repair);
        ticket.acknowledged_at = None;
        ticket.mended_at = None;
        ticket.closed_at = None;
        ticket.after = None;
        if before.is_some() {
            ticket.before = before;
        }
        TERMINAL.clone_into(&mut ticket.by);
        ticket.times_seen = ticket.times_seen.saturating_add(1);
        ticket.times_reopened = ticket.times_reopened.saturating_add(1);
        ticket.revision = ticket.revision.saturating_add(1);
        Deed {
            kind: "ticket.reopened",
            detail: json!({ "times_reopened": ticket.times_reopened }),
        }
    }

    /// The fault is gone, if the test proves it.
    fn mend(
        &mut self,
        test: Uuid,
        proof: Option<(i64, TestRecord)>,
        now: Timestamp,
    ) -> Result<Option<Deed>, CacheError> {
        let ticket = &mut self.ticket;
        if !ticket.state.is_open() {
            let is_same = ticket.after.as_ref().is_some_and(|after| after.id == test);
            return if ticket.state == TicketState::Mended && is_same {
                Ok(None)
            } else {
                Err(ticket.wrong_state())
            };
        }
        let not_proven = CacheError::NotProven {
            id: ticket.id,
            test,
        };
        let Some((sequence, record)) = proof else {
            return Err(not_proven);
        };
        let is_same_test = ticket
            .before
            .as_ref()
            .is_none_or(|before| before.test == record.test);
        // By the sequence: the clock may have been set between the two.
        let is_later = sequence > self.tests_before;
        let is_passed = record.verdict == Verdict::Passed;
        if record.device != ticket.device || !is_passed || !is_later || !is_same_test {
            return Err(not_proven);
        }
        ticket.state = TicketState::Mended;
        ticket.acknowledged_at = ticket.acknowledged_at.or(Some(now));
        ticket.mended_at = Some(now);
        let deed = Deed {
            kind: "ticket.mended",
            detail: json!({ "test": record.id }),
        };
        ticket.after = Some(record);
        Ok(Some(deed))
    }
}

impl Ticket {
    fn acknowledge(&mut self, by: &str, now: Timestamp) -> Result<Option<Deed>, CacheError> {
        match self.state {
            TicketState::Open => {
                self.state = TicketState::Acknowledged;
                self.acknowledged_at = Some(now);
            }
            TicketState::Acknowledged if self.by == by => return Ok(None),
            TicketState::Acknowledged => {}
            TicketState::Mended | TicketState::Closed => return Err(self.wrong_state()),
        }
        Ok(Some(Deed::of("ticket.acknowledged")))
    }

    fn add_note(&mut self, note: &str) -> Result<Deed, CacheError> {
        if self.state == TicketState::Closed {
            return Err(self.wrong_state());
        }
        let note = note.trim();
        if note.is_empty() {
            return Err(CacheError::OutOfRange { what: "note" });
        }
        let mut notes = self.note.clone();
        if !notes.is_empty() {
            notes.push('\n');
        }
        notes.push_str(note);
        words(&notes, NOTES_BYTES_MAX, "notes of a ticket")?;
        self.note = notes;
        Ok(Deed::of("ticket.noted"))
    }

    fn replace(&mut self, part: &Part) -> Result<Deed, CacheError> {
        if self.state == TicketState::Closed {
            return Err(self.wrong_state());
        }
        word(&part.what, "part")?;
        word_or_nothing(&part.old_serial, "serial number")?;
        word_or_nothing(&part.new_serial, "serial number")?;
        if self.parts.len() >= PARTS_MAX {
            return Err(CacheError::OutOfRange {
                what: "number of parts",
            });
        }
        self.parts.push(part.clone());
        Ok(Deed {
            kind: "ticket.part-replaced",
            detail: json!({
                "what": part.what,
                "old_serial": part.old_serial,
                "new_serial": part.new_serial,
            }),
        })
    }

    fn close(&mut self, by: &str, now: Timestamp) -> Result<Option<Deed>, CacheError> {
        match self.state {
            TicketState::Closed => return Ok(None),
            TicketState::Mended => {}
            // Without a proof it takes a person and a reason.
            TicketState::Open | TicketState::Acknowledged => {
                if by == TERMINAL || self.note.is_empty() {
                    return Err(self.wrong_state());
                }
            }
        }
        let detail = json!({ "is_proven": self.state == TicketState::Mended });
        self.state = TicketState::Closed;
        self.closed_at = Some(now);
        Ok(Some(Deed {
            kind: "ticket.closed",
            detail,
        }))
    }
}

/// Writes an act into the audit log, with the ticket it is about.
fn record(
    connection: &Connection,
    terminal: &str,
    ticket: &Ticket,
    deed: Deed,
    actor: &str,
    now: Timestamp,
) -> Result<(), CacheError> {
    let mut detail = json!({
        "ticket": ticket.number,
        "device": ticket.device,
        "code": ticket.code,
    });
    if let (Some(all), serde_json::Value::Object(more)) = (detail.as_object_mut(), deed.detail) {
        all.extend(more);
    }
    let entry = NewAudit::own(deed.kind, actor, &detail);
    audit::append(connection, terminal, &entry, now)?;
    Ok(())
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    stored_time(now.saturating_add(by).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests;
