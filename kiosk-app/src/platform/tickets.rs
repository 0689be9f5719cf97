//! Fault tickets upstream: every revision that the platform does not have goes up in small batches
//! while there is a line, and waits while there is none. Id and revision make a repetition
//! harmless, so that a lost reply doubles nothing; the tests that showed a fault and proved its
//! mending travel inside their ticket.
//!
//! What comes back is read by a function of bytes: bounded, and it never panics. What staff wrote
//! into a ticket reaches the platform and no log.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use offline_cache::{Cache, TestRecord, Ticket};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::client::{Call, Client};
use super::messages::ProblemReply;
use super::{PlatformError, Shared};

/// Tickets of one request (`openapi.yaml`).
pub const TICKETS_MAX: usize = 50;
/// Largest body of a request (`openapi.yaml`); a ticket has some kilobytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// What stands around the tickets of a request.
const FRAME_BYTES: usize = 32;
/// Largest reply: a result has some 300 bytes.
const REPLY_BYTES_MAX: usize = 64 * 1024;
/// Nobody waits for a ticket.
const LIMIT: Duration = Duration::from_secs(30);
/// Requests in one go; what is left waits for the next.
const ROUNDS_MAX: u32 = 20;
/// The first tickets follow the line within this, so that a county's do not come in one second.
const FIRST_SPREAD: Duration = Duration::from_secs(5);
/// A platform that knows no tickets yet is asked again after this.
const UNKNOWN_PAUSE: Duration = Duration::from_hours(1);

/// Largest whole number that every reader of JSON keeps exactly.
const SAFE_INTEGER_MAX: u64 = 9_007_199_254_740_991;

#[derive(Serialize)]
struct Request<'a> {
    tickets: Vec<TicketMessage<'a>>,
}

#[derive(Serialize)]
struct TicketMessage<'a> {
    id: Uuid,
    number: &'a str,
    device: &'a str,
    class: &'a str,
    code: &'a str,
    action: &'a str,
    state: &'static str,
    level: &'static str,
    opened_at: String,
    respond_by: String,
    repair_by: String,
    acknowledged_at: Option<String>,
    mended_at: Option<String>,
    closed_at: Option<String>,
    by: &'a str,
    note: &'a str,
    parts: Vec<PartMessage<'a>>,
    before: Option<TestMessage<'a>>,
    after: Option<TestMessage<'a>>,
    times_seen: u32,
    times_reopened: u32,
    revision: u32,
}

#[derive(Serialize)]
struct PartMessage<'a> {
    what: &'a str,
    old_serial: &'a str,
    new_serial: &'a str,
}

#[derive(Serialize)]
struct TestMessage<'a> {
    id: Uuid,
    test: &'a str,
    device: &'a str,
    verdict: &'static str,
    figures: &'a BTreeMap<String, String>,
    problem: &'a str,
    by: &'a str,
    at: String,
    took_ms: u64,
}

/// What became of one ticket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TicketResult {
    /// Its id.
    pub id: Uuid,
    /// The revision that was sent.
    pub revision: u32,
    /// Whether the platform has it now.
    pub state: Standing,
    /// Why not, with `refused`.
    #[serde(default)]
    pub problem: Option<ProblemReply>,
}

/// Whether the platform has a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It has it now.
    Stored,
    /// It had it, or a newer one, before.
    Known,
    /// It does not want it.
    Refused,
    /// A word of a newer contract, which settles nothing.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Reply {
    results: Vec<TicketResult>,
}

/// The body of `POST /v1/tickets` for these tickets.
///
/// # Panics
/// Never: plain text and numbers always become JSON.
pub fn body(tickets: &[Ticket]) -> Vec<u8> {
    let request = Request {
        tickets: tickets.iter().map(message).collect(),
    };
    serde_json::to_vec(&request).expect("plain text and numbers become JSON")
}

/// Reads the reply; what is beyond the contract's number of results is left out.
///
/// # Errors
/// `BadReply` when it is not the JSON of the contract.
pub fn read_reply(body: &[u8]) -> Result<Vec<TicketResult>, PlatformError> {
    if body.len() > REPLY_BYTES_MAX {
        return Err(PlatformError::BadReply("longer than the contract allows"));
    }
    let mut reply: Reply = super::client::read_json(body)?;
    reply.results.truncate(TICKETS_MAX);
    for result in &mut reply.results {
        result.problem = result.problem.take().map(ProblemReply::bounded);
    }
    Ok(reply.results)
}

fn message(ticket: &Ticket) -> TicketMessage<'_> {
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    TicketMessage {
        id: ticket.id,
        number: &ticket.number,
        device: &ticket.device,
        class: &ticket.class,
        code: &ticket.code,
        action: &ticket.action,
        state: ticket.state.word(),
        level: ticket.level.word(),
        opened_at: ticket.opened_at.to_string(),
        respond_by: ticket.respond_by.to_string(),
        repair_by: ticket.repair_by.to_string(),
        acknowledged_at: time(ticket.acknowledged_at),
        mended_at: time(ticket.mended_at),
        closed_at: time(ticket.closed_at),
        by: &ticket.by,
        note: &ticket.note,
        parts: ticket
            .parts
            .iter()
            .map(|part| PartMessage {
                what: &part.what,
                old_serial: &part.old_serial,
                new_serial: &part.new_serial,
            })
            .collect(),
        before: ticket.before.as_ref().map(test),
        after: ticket.after.as_ref().map(test),
        times_seen: ticket.times_seen,
        times_reopened: ticket.times_reopened,
        revision: ticket.revision,
    }
}

fn test(record: &TestRecord) -> TestMessage<'_> {
    TestMessage {
        id: record.id,
        test: &record.test,
        device: &record.device,
        verdict: record.verdict.word(),
        figures: &record.figures,
        problem: &record.problem,
        by: &record.by,
        at: record.at.to_string(),
        took_ms: record.took_ms.min(SAFE_INTEGER_MAX),
    }
}

/// The first tickets that fit one request together; one that does not fit alone goes alone.
fn fitting(mut tickets: Vec<Ticket>) -> Vec<Ticket> {
    let mut bytes = FRAME_BYTES;
    let mut count = 0;
    for ticket in &tickets {
        bytes += serde_json::to_vec(&message(ticket)).map_or(0, |body| body.len() + 1);
        if bytes > BODY_BYTES_MAX {
            break;
        }
        count += 1;
    }
    tickets.truncate(count.max(1));
    tickets
}

impl Client {
    async fn tickets(&self, tickets: &[Ticket]) -> Result<Vec<TicketResult>, PlatformError> {
        let call = Call {
            reply_bytes_max: REPLY_BYTES_MAX,
            ..Call::post("/v1/tickets", body(tickets), LIMIT)
        };
        read_reply(&self.send(&call).await?.success()?.body)
    }
}

/// The task that tells tickets.
pub(super) struct Reporter {
    shared: Arc<Shared>,
    cache: Cache,
}

impl Reporter {
    pub(super) fn new(shared: Arc<Shared>, cache: Cache) -> Self {
        Self { shared, cache }
    }

    /// Tells tickets beside the heartbeat until the thread ends.
    pub(super) async fn report(mut self) {
        let mut interval = self.shared.heartbeat.subscribe();
        loop {
            self.shared.online().await;
            tokio::time::sleep(self.shared.client.spread(FIRST_SPREAD)).await;
            while *self.shared.line.borrow() {
                let mut pause = *interval.borrow_and_update();
                if let Err(error) = tell(&self.shared.client, &mut self.cache).await {
                    tracing::warn!(code = error.code(), %error, "tickets");
                    pause = pause.max(after(&error));
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.shared.tickets.notified() => {}
                    _ = interval.changed() => {}
                }
            }
        }
    }
}

/// How long to leave the platform alone after a failure.
fn after(error: &PlatformError) -> Duration {
    if matches!(
        error,
        PlatformError::Refused {
            status: 404 | 405,
            ..
        }
    ) {
        return UNKNOWN_PAUSE;
    }
    error.retry_after().unwrap_or_default()
}

/// Tells everything that the platform does not have, within a bounded number of requests.
///
/// # Errors
/// What the line or the platform did; nothing is lost, and what was told stays told.
async fn tell(client: &Client, cache: &mut Cache) -> Result<(), PlatformError> {
    let mut most = TICKETS_MAX;
    for _ in 0..ROUNDS_MAX {
        let limit = u32::try_from(most).unwrap_or(1);
        let waiting = cache
            .tickets_unreported(limit)
            .map_err(PlatformError::Store)?;
        if waiting.is_empty() {
            return Ok(());
        }
        let batch = fitting(waiting);
        match client.tickets(&batch).await {
            Ok(results) => {
                if settle(cache, &batch, &results)? == 0 {
                    return Err(PlatformError::BadReply("no result for any ticket"));
                }
                most = TICKETS_MAX;
            }
            // One that the platform cannot read must not keep the others back.
            Err(error) if is_about_content(&error) => match batch.as_slice() {
                [only] => {
                    tracing::error!(
                        ticket = only.number,
                        code = error.code(),
                        %error,
                        "a ticket was refused and is not sent again as it is"
                    );
                    cache
                        .ticket_reported(only.id, only.revision)
                        .map_err(PlatformError::Store)?;
                    most = TICKETS_MAX;
                }
                several => most = several.len().div_ceil(2),
            },
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a refusal is about what was sent. Without a code of the contract it is the work of
/// something between here and the platform, and says nothing of the tickets.
fn is_about_content(error: &PlatformError) -> bool {
    matches!(
        error,
        PlatformError::Refused { status: 400 | 413 | 422, code, .. } if !code.is_empty()
    )
}

/// Notes what the platform has; how many tickets that settled.
fn settle(
    cache: &mut Cache,
    batch: &[Ticket],
    results: &[TicketResult],
) -> Result<usize, PlatformError> {
    let mut settled = HashSet::new();
    for result in results {
        let sent = batch
            .iter()
            .find(|ticket| ticket.id == result.id && ticket.revision == result.revision);
        let Some(ticket) = sent else {
            tracing::warn!(id = %result.id, "a result for a ticket that was not sent");
            continue;
        };
        match result.state {
            Standing::Stored | Standing::Known => {}
            Standing::Refused => {
                let code = result.problem.as_ref().map_or("", |problem| &problem.code);
                tracing::error!(
                    ticket = ticket.number,
                    code,
                    "the platform refused a ticket"
                );
            }
            Standing::Other => continue,
        }
        cache
            .ticket_reported(ticket.id, ticket.revision)
            .map_err(PlatformError::Store)?;
        settled.insert(ticket.id);
    }
    Ok(settled.len())
}

#[cfg(test)]
mod tests;
