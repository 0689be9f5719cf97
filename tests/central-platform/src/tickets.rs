//! Fault tickets of the terminals: the newest revision of each is kept, an older or repeated one
//! is known already, and what belongs to another terminal is refused. One that is outside the
//! limits of the contract refuses the request, so that nothing of it is half stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::clock;
use crate::limits::{Limit, bounded, strict_id, within};
use crate::messages::SAFE_INTEGER_MAX;
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::router::{From, Shared, blocking};
use crate::store::Kept;

/// Largest body of a request.
pub(crate) const TICKETS_BYTES_MAX: usize = 256 * 1024;
/// Most tickets of a request.
const TICKETS_MAX: usize = 50;
/// Most parts replaced for one ticket.
const PARTS_MAX: usize = 16;
/// Most figures of one test.
const FIGURES_MAX: usize = 512;
/// Longest name or value of a figure in characters.
const FIGURE_MAX: usize = 4096;
/// Longest notes of a ticket in characters.
const NOTE_MAX: usize = 2048;

/// Tickets as a terminal sends them.
#[derive(Deserialize)]
pub(crate) struct Report {
    pub(crate) tickets: Vec<Ticket>,
    /// Unknown members are ignored; and with them only an object is a report, never a list.
    #[serde(flatten)]
    #[expect(
        clippy::zero_sized_map_values,
        reason = "only a map can be flattened, and nothing of it is kept"
    )]
    _unknown: BTreeMap<String, IgnoredAny>,
}

/// A fault at a terminal and what was done about it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ticket {
    #[serde(deserialize_with = "strict_id")]
    pub(crate) id: Uuid,
    pub(crate) number: String,
    pub(crate) device: String,
    pub(crate) class: String,
    pub(crate) code: String,
    pub(crate) action: String,
    pub(crate) state: TicketState,
    pub(crate) level: Level,
    pub(crate) opened_at: Timestamp,
    pub(crate) respond_by: Timestamp,
    pub(crate) repair_by: Timestamp,
    /// These are null, but never absent.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) acknowledged_at: Option<Timestamp>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) mended_at: Option<Timestamp>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) closed_at: Option<Timestamp>,
    pub(crate) by: String,
    pub(crate) note: String,
    pub(crate) parts: Vec<Part>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) before: Option<Test>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(crate) after: Option<Test>,
    pub(crate) times_seen: u32,
    pub(crate) times_reopened: u32,
    pub(crate) revision: u32,
}

/// How far a ticket has come.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TicketState {
    Open,
    Acknowledged,
    Mended,
    Closed,
}

impl TicketState {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Mended => "mended",
            Self::Closed => "closed",
        }
    }

    /// Whether the fault is still there.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Acknowledged)
    }
}

/// Who acts first.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    Village,
    Town,
    City,
    Vendor,
}

impl Level {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Village => "village",
            Self::Town => "town",
            Self::City => "city",
            Self::Vendor => "vendor",
        }
    }
}

/// A part that was replaced.
#[derive(Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) what: String,
    pub(crate) old_serial: String,
    pub(crate) new_serial: String,
}

/// The outcome of a test.
#[derive(Serialize, Deserialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the contract"
)]
pub(crate) struct Test {
    #[serde(deserialize_with = "strict_id")]
    pub(crate) id: Uuid,
    pub(crate) test: String,
    pub(crate) device: String,
    pub(crate) verdict: Verdict,
    pub(crate) figures: BTreeMap<String, String>,
    pub(crate) problem: String,
    pub(crate) by: String,
    pub(crate) at: Timestamp,
    pub(crate) took_ms: u64,
}

/// How a test ended.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Skipped,
    Canceled,
}

/// One result for each ticket, in their order.
#[derive(Serialize)]
pub(crate) struct ReportAnswer {
    results: Vec<TicketResult>,
}

#[derive(Serialize)]
struct TicketResult {
    id: Uuid,
    revision: u32,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum Outcome {
    Stored,
    Known,
    Refused { problem: Problem },
}

impl Ticket {
    /// Refuses what is outside the limits of the contract.
    fn check(&self) -> Result<(), Problem> {
        within(&[
            ("number", &self.number, Limit::Word),
            ("device", &self.device, SHORT),
            ("class", &self.class, SHORT),
            ("code", &self.code, Limit::Text { least: 1, most: 64 }),
            ("action", &self.action, SHORT),
            ("by", &self.by, Limit::Text { least: 1, most: 64 }),
            (
                "note",
                &self.note,
                Limit::Text {
                    least: 0,
                    most: NOTE_MAX,
                },
            ),
        ])?;
        bounded("parts", self.parts.len() <= PARTS_MAX)?;
        for part in &self.parts {
            within(&[
                ("what", &part.what, Limit::Text { least: 1, most: 64 }),
                ("old_serial", &part.old_serial, SHORT),
                ("new_serial", &part.new_serial, SHORT),
            ])?;
        }
        for test in [&self.before, &self.after].into_iter().flatten() {
            test.check()?;
        }
        bounded("times_seen", self.times_seen > 0)?;
        bounded("revision", self.revision > 0)
    }
}

/// A word that may be missing.
const SHORT: Limit = Limit::Text { least: 0, most: 64 };

impl Test {
    fn check(&self) -> Result<(), Problem> {
        within(&[
            ("test", &self.test, Limit::Text { least: 1, most: 64 }),
            ("device", &self.device, SHORT),
            ("problem", &self.problem, SHORT),
            ("by", &self.by, Limit::Text { least: 1, most: 64 }),
        ])?;
        let figure = Limit::Text {
            least: 0,
            most: FIGURE_MAX,
        };
        bounded("figures", self.figures.len() <= FIGURES_MAX)?;
        for (name, value) in &self.figures {
            within(&[("figures", name, figure), ("figures", value, figure)])?;
        }
        bounded("took_ms", self.took_ms <= SAFE_INTEGER_MAX)
    }
}

/// What a terminal says of its faults.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new().route("/v1/tickets", post(report))
}

/// What those who look after the terminals see of them.
pub(crate) fn admin_router() -> Router<Arc<World>> {
    Router::new().route("/admin/tickets", get(list))
}

async fn report(State(world): Shared, Extension(speaker): From, body: Bytes) -> Response {
    blocking(move || take(&world, speaker.terminal()?, &body, clock::now()).map(Json)).await
}

/// What `POST /v1/tickets` does.
pub(crate) fn take(
    world: &World,
    terminal: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<ReportAnswer, Problem> {
    let report: Report = parse(body)?;
    bounded("tickets", report.tickets.len() <= TICKETS_MAX)?;
    for ticket in &report.tickets {
        ticket.check()?;
    }
    let mut store = world.store();
    let mut results = Vec::with_capacity(report.tickets.len());
    for ticket in &report.tickets {
        let outcome = match store.keep_ticket(terminal, ticket, now)? {
            Kept::Stored => Outcome::Stored,
            Kept::Known => Outcome::Known,
            Kept::OfAnother => Outcome::Refused {
                problem: Problem::conflict(
                    "ticket.other-terminal",
                    "the ticket belongs to another terminal",
                ),
            },
        };
        results.push(TicketResult {
            id: ticket.id,
            revision: ticket.revision,
            outcome,
        });
    }
    Ok(ReportAnswer { results })
}

/// Which tickets an operator wants to see.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    terminal: String,
    /// 1: those whose fault is still there.
    #[serde(default)]
    open: u8,
}

async fn list(State(world): Shared, query: Result<Query<Wanted>, QueryRejection>) -> Response {
    blocking(move || {
        let Ok(Query(Wanted { terminal, open })) = query else {
            return Err(Problem::unprocessable(
                "request.field",
                "the query is `terminal` and `open`, 0 or 1",
            ));
        };
        bounded("open", open <= 1)?;
        if !terminal.is_empty() {
            within(&[("terminal", &terminal, Limit::Terminal)])?;
        }
        let tickets = world.store().tickets(&terminal, open == 1)?;
        Ok(Json(json!({ "tickets": tickets })))
    })
    .await
}
