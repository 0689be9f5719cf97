//! What the victim's staff do meanwhile: test records, daily checks, used grants, fault tickets
//! with all that is done about them, the lock-out, a calibration, a filling. The content follows
//! from the seed and a number, so that the oracle can say what must be there. Tickets are told to
//! the platform over the same line.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use kiosk_app::platform::tickets::{Standing, TICKETS_MAX};
use offline_cache::{
    Cache, CacheError, DailyCheck, DailyKind, Guard, Level, NewAudit, NewTicket, Part, Sla,
    TestRecord, Ticket, TicketAct, TicketState, Verdict,
};
use uuid::Uuid;

use super::case::record_id;
use super::line::Line;
use super::victim::{Victim, Voice, at, pause};
use super::{CLOCK_S, Weakness};
use kiosk_tests::random::Random;

/// Things done in one life at most; it is killed long before.
const DEEDS_MAX: u64 = 100_000;
/// Devices in turn; each has one fault, and one open ticket at a time.
const DEVICES: u64 = 5;
/// Longest pause between two deeds, in microseconds.
const PAUSE_MICROS: u64 = 6000;
/// Requests that tell tickets in the last life at most, and the pause after one that failed.
const TELLINGS_MAX: u32 = 2000;
const TELLING_PAUSE: Duration = Duration::from_millis(5);
/// Account name of the one who does all this.
const STAFF: &str = "tech-3";

/// A row that is written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    Test,
    Daily,
    Grant,
}

/// A value of which only the newest counts, and which only rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value {
    Guard,
    Calibration,
    Filling,
}

impl Row {
    pub(super) const ALL: [Self; 3] = [Self::Test, Self::Daily, Self::Grant];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Daily => "daily",
            Self::Grant => "grant",
        }
    }
}

impl Value {
    pub(super) const ALL: [Self; 3] = [Self::Guard, Self::Calibration, Self::Filling];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Calibration => "calibration",
            Self::Filling => "filling",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The test record of a number.
pub(super) fn record(seed: u64, number: u64) -> TestRecord {
    TestRecord {
        id: record_id(seed, number),
        test: "print".to_owned(),
        device: device(number),
        verdict: Verdict::Passed,
        figures: BTreeMap::from([("number".to_owned(), number.to_string())]),
        problem: String::new(),
        by: STAFF.to_owned(),
        at: fixed_time(),
        took_ms: number,
        ticket: None,
    }
}

/// The daily check of a number.
pub(super) fn daily(seed: u64, number: u64) -> DailyCheck {
    DailyCheck {
        id: record_id(seed, number),
        by: STAFF.to_owned(),
        at: fixed_time(),
        answers: BTreeMap::from([("paper".to_owned(), number.is_multiple_of(2))]),
        note: format!("check {number}"),
        kind: DailyKind::Open,
    }
}

/// A record says when it was made; nothing here depends on it.
fn fixed_time() -> Timestamp {
    Timestamp::from_second(CLOCK_S).expect("within the range of timestamps")
}

fn device(number: u64) -> String {
    format!("printer-{}", number % DEVICES)
}

fn fault(number: u64) -> NewTicket {
    NewTicket {
        device: device(number),
        class: "slip-printer".to_owned(),
        code: "printer.io".to_owned(),
        action: "maintenance".to_owned(),
        level: Level::Town,
        sla: Sla {
            respond: Duration::from_hours(1),
            repair: Duration::from_hours(24),
        },
        before: None,
    }
}

/// The thread that does what staff do.
pub(super) struct Staff {
    cache: Cache,
    line: Line,
    voice: Voice,
    clock: Arc<AtomicI64>,
    random: Random,
    seed: u64,
    first: u64,
    is_early: bool,
    until_empty: bool,
    never: Receiver<()>,
    _keeps_it_open: SyncSender<()>,
}

impl Staff {
    /// Staff of a life, on a connection of their own.
    pub(super) fn new(
        cache: Cache,
        line: Line,
        clock: &Arc<AtomicI64>,
        victim: &Victim,
    ) -> anyhow::Result<Self> {
        let (keeps_it_open, never) = sync_channel(1);
        Ok(Self {
            cache,
            line,
            voice: Voice::new()?,
            clock: Arc::clone(clock),
            random: Random::new(victim.dice).part(4),
            seed: victim.seed,
            first: victim.first,
            is_early: victim.weakness == Weakness::AcknowledgeEarly,
            until_empty: victim.until_empty,
            never,
            _keeps_it_open: keeps_it_open,
        })
    }

    /// Works until the process is killed, or tells all tickets if that was wanted.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        if self.until_empty {
            return self.tell_all();
        }
        for number in self.first..self.first + DEEDS_MAX {
            self.voice.say("phase working rest")?;
            let rest = Duration::from_micros(self.random.below(PAUSE_MICROS));
            pause(&self.never, rest);
            match self.random.below(100) {
                0..25 => self.note(Row::Test, number)?,
                25..35 => self.note(Row::Daily, number)?,
                35..45 => self.note(Row::Grant, number)?,
                45..50 => self.raise(Value::Guard, number)?,
                50..55 => self.raise(Value::Calibration, number)?,
                55..60 => self.raise(Value::Filling, number)?,
                60..75 => self.open_ticket(number)?,
                75..95 => self.act(number)?,
                _ => {
                    let _is_all_told = self.tell()?;
                }
            }
        }
        Ok(())
    }

    /// Writes a row down, and says so.
    fn note(&mut self, row: Row, number: u64) -> anyhow::Result<()> {
        self.voice.say("phase working record")?;
        self.voice.say(&format!("noting {row} {number}"))?;
        let said = format!("noted {row} {number}");
        if self.is_early {
            self.voice.say(&said)?;
        }
        let now = at(&self.clock)?;
        let noted = match row {
            Row::Test => self.cache.record_test(&record(self.seed, number), now),
            Row::Daily => self.cache.record_daily(&daily(self.seed, number), now),
            Row::Grant => self
                .cache
                .grant_used(record_id(self.seed, number), now)
                .map(|_is_first| ()),
        };
        self.heard("note", noted)?;
        if !self.is_early {
            self.voice.say(&said)?;
        }
        Ok(())
    }

    /// Sets a value to a number that is higher than all before it, and says so.
    fn raise(&mut self, value: Value, number: u64) -> anyhow::Result<()> {
        self.voice.say("phase working record")?;
        self.voice.say(&format!("raising {value} {number}"))?;
        let said = format!("raised {value} {number}");
        if self.is_early {
            self.voice.say(&said)?;
        }
        let now = at(&self.clock)?;
        let raised = match value {
            Value::Guard => {
                let guard = Guard {
                    failures: 1,
                    wait_s: 60,
                    boots: 1,
                    counter: u32::try_from(number)?,
                };
                self.cache.set_unlock_guard(&guard, &refusal(), now)
            }
            Value::Calibration => {
                self.cache
                    .set_calibration("touch", &number.to_string(), STAFF, now)
            }
            Value::Filling => self
                .cache
                .replenish("printer-0", "page", number, STAFF, now),
        };
        self.heard("raise", raised)?;
        if !self.is_early {
            self.voice.say(&said)?;
        }
        Ok(())
    }

    fn open_ticket(&mut self, number: u64) -> anyhow::Result<()> {
        self.voice.say("phase working ticket")?;
        self.voice.say("opening")?;
        let now = at(&self.clock)?;
        let opened = self.cache.open_ticket(&fault(number), now);
        let (ticket, _) = self.heard("ticket", opened)?;
        self.say_ticket(&ticket)
    }

    /// Does something about a ticket whose fault is still there.
    fn act(&mut self, number: u64) -> anyhow::Result<()> {
        let open = self.cache.tickets(true, 10)?;
        if open.is_empty() {
            return Ok(());
        }
        let ticket = &open[self.random.index(open.len())];
        let act = match self.random.below(6) {
            0 => TicketAct::Acknowledge,
            1 => TicketAct::Note(format!("note {number}")),
            2 => TicketAct::Replace(Part {
                what: "roll".to_owned(),
                old_serial: String::new(),
                new_serial: number.to_string(),
            }),
            3 if !ticket.note.is_empty() => TicketAct::Close,
            _ => match self.cache.tests_of(&ticket.device, 1)?.first() {
                Some(test) => TicketAct::Mend { test: test.id },
                None => TicketAct::Acknowledge,
            },
        };
        self.voice.say("phase working ticket")?;
        self.voice.say(&format!("acting {}", ticket.id))?;
        let now = at(&self.clock)?;
        match self.cache.ticket_act(ticket.id, &act, STAFF, now) {
            Ok(ticket) => self.say_ticket(&ticket),
            // Too many parts or notes by now, or the test came before the fault.
            Err(CacheError::OutOfRange { .. } | CacheError::NotProven { .. }) => {
                self.voice.say(&format!("left {}", ticket.id))
            }
            Err(error) => self.heard("act", Err(error)),
        }
    }

    fn say_ticket(&mut self, ticket: &Ticket) -> anyhow::Result<()> {
        let (id, revision, state) = (ticket.id, ticket.revision, ticket.state.word());
        self.voice
            .say(&format!("ticket {id} {revision} {state} {}", ticket.number))
    }

    /// Tells the platform what it does not have; whether nothing is left.
    fn tell(&mut self) -> anyhow::Result<bool> {
        self.voice.say("phase working tell")?;
        let waiting = self.cache.tickets_unreported(u32::try_from(TICKETS_MAX)?)?;
        if waiting.is_empty() {
            return Ok(true);
        }
        // The line may fail here as anywhere; what was not told is told the next time.
        for result in self.line.tickets(&waiting).unwrap_or_default() {
            match result.state {
                Standing::Stored | Standing::Known => {
                    let told = self.cache.ticket_reported(result.id, result.revision);
                    self.heard("told", told)?;
                }
                Standing::Refused | Standing::Other => {
                    self.voice
                        .say(&format!("wrong refused ticket {}", result.id))?;
                }
            }
        }
        Ok(false)
    }

    fn tell_all(&mut self) -> anyhow::Result<()> {
        for _ in 0..TELLINGS_MAX {
            if self.tell()? {
                return Ok(());
            }
            pause(&self.never, TELLING_PAUSE);
        }
        self.voice.say("wrong tickets are not told to the end")
    }

    /// Says what the store refused.
    fn heard<T>(&mut self, what: &str, outcome: Result<T, CacheError>) -> anyhow::Result<T> {
        if let Err(error) = &outcome {
            self.voice.say(&format!("wrong {what} {}", error.code()))?;
        }
        Ok(outcome?)
    }
}

fn refusal() -> NewAudit {
    NewAudit {
        kind: "staff.unlock.refused".to_owned(),
        actor: "terminal".to_owned(),
        subject: None,
        transaction: None,
        detail: "{}".to_owned(),
    }
}

/// The state of a ticket by its word.
pub(super) fn is_state(word: &str) -> bool {
    [
        TicketState::Open,
        TicketState::Acknowledged,
        TicketState::Mended,
        TicketState::Closed,
    ]
    .iter()
    .any(|state| state.word() == word)
}

/// The id of a ticket.
pub(super) fn ticket_id(word: &str) -> Option<Uuid> {
    word.parse().ok()
}
