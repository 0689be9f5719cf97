//! How terminals are and what they shall do: heartbeats with the head of the audit chain, the
//! desired state, commands that are waited for, counters. Everything that steers a terminal is
//! signed; everything that it says is bounded and holds nothing personal.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use kiosk_sealing::audit::{Checkpoint, hash_text};
use kiosk_sealing::signed;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock;
use crate::limits::{self, Limit, bounded, within};
use crate::messages::{
    AuditAnchor, Command, CommandResult, DesiredState, Heartbeat, HeartbeatAnswer,
    SAFE_INTEGER_MAX, Settings,
};
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::router::{From, Shared, blocking, on_worker};
use crate::store::{NewCommand, Proof, StoreError};

/// Longest wait for a command.
const WAIT_MAX_S: u64 = 50;
/// How often the database is asked meanwhile: a command may come by another instance.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Media type of counters.
const OPENMETRICS: &str = "application/openmetrics-text";
/// The last line of counters.
const OPENMETRICS_END: &str = "# EOF\n";
/// Most items that are suspended at one terminal.
const SUSPENDED_MAX: usize = 1000;
/// Longest list of revocations: the most letters that one QR code holds.
const LIST_MAX: usize = 4296;
/// Longest time a command waits for its terminal: a month.
const EXPIRES_MAX_S: u32 = 31 * 24 * 3600;

/// What a terminal says and asks of itself.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/v1/heartbeats", post(heartbeat))
        .route("/v1/desired-state", get(desired_state))
        .route("/v1/commands", get(commands))
        .route("/v1/commands/{id}/result", post(report))
        .route("/v1/telemetry", post(telemetry))
}

#[derive(Deserialize)]
struct Have {
    have: u64,
}

#[derive(Deserialize)]
struct Wait {
    wait: u64,
}

fn query_problem() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "request.query",
        "the query is not what the contract says",
    )
}

async fn heartbeat(State(world): Shared, Extension(speaker): From, body: Bytes) -> Response {
    blocking(move || {
        let heartbeat: Heartbeat = parse(&body)?;
        heartbeat.check()?;
        let terminal = heartbeat.terminal.as_str();
        let is_own = speaker.terminal().is_ok_and(|speaker| speaker == terminal);
        if !is_own {
            return Err(Problem::unprocessable(
                "signature.other-terminal",
                "the heartbeat is of another terminal than the request",
            ));
        }
        let now = clock::now();
        let proof = match &heartbeat.audit {
            Some(anchor) => proof_of(&world, terminal, anchor)?,
            None => Proof::Unknown,
        };
        let mut store = world.store();
        store.note_heartbeat(&heartbeat, proof, now)?;
        store.note_release(&heartbeat, world.config.hold, now)?;
        Ok(Json(HeartbeatAnswer {
            server_time: now,
            desired_version: store.desired_state(terminal, now)?.version,
            commands_waiting: store.open_commands(terminal, now)?.len() as u64,
        }))
    })
    .await
}

/// Whether the terminal signed exactly this head.
fn proof_of(world: &World, terminal: &str, anchor: &AuditAnchor) -> Result<Proof, StoreError> {
    let keys = world.store().terminal_keys(terminal)?;
    if keys.is_empty() {
        return Ok(Proof::Unknown);
    }
    let signed = Checkpoint::verify(&anchor.signed, &keys);
    let is_good = signed.is_ok_and(|(of, sequence, head, _)| {
        of == terminal && sequence == anchor.sequence && hash_text(&head) == anchor.head
    });
    Ok(if is_good { Proof::Good } else { Proof::Bad })
}

async fn desired_state(
    State(world): Shared,
    Extension(speaker): From,
    query: Result<Query<Have>, QueryRejection>,
) -> Response {
    blocking(move || {
        let Query(Have { have }) = query.map_err(|_| query_problem())?;
        if have > SAFE_INTEGER_MAX {
            return Err(query_problem());
        }
        let terminal = speaker.terminal()?;
        let mut store = world.store();
        let desired = store.desired_state(terminal, clock::now())?;
        if desired.version <= have {
            return Ok(StatusCode::NOT_MODIFIED.into_response());
        }
        let body = DesiredState {
            terminal,
            version: desired.version,
            issued_at: &desired.issued_at,
            settings: &desired.settings,
            sealing_key: &store.sealing_key()?,
            held_releases: &store.held_releases()?,
        };
        let body = serde_json::to_vec(&body).map_err(StoreError::from)?;
        let signed = signed::sign(&world.command_key, signed::DESIRED_STATE, &body)
            .map_err(|_| StoreError::Key)?;
        Ok(Json(json!({"signed": signed})).into_response())
    })
    .await
}

async fn commands(
    State(world): Shared,
    Extension(speaker): From,
    query: Result<Query<Wait>, QueryRejection>,
) -> Response {
    let asked = query
        .ok()
        .filter(|Query(Wait { wait })| *wait <= WAIT_MAX_S);
    let Some(Query(Wait { wait })) = asked else {
        return query_problem().into_response();
    };
    let terminal = match speaker.terminal() {
        Ok(terminal) => terminal.to_owned(),
        Err(problem) => return problem.into_response(),
    };
    match waited(&world, &terminal, Duration::from_secs(wait)).await {
        Ok(commands) => Json(json!({"commands": commands})).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// The commands of a terminal, as soon as there are any; none after the wait. No worker is kept
/// while it waits.
async fn waited(
    world: &Arc<World>,
    terminal: &str,
    wait: Duration,
) -> Result<Vec<String>, Problem> {
    let until = Instant::now() + wait;
    loop {
        // Asked for before the database is, so that no news is missed between the two.
        let mut news = std::pin::pin!(world.changed.notified());
        news.as_mut().enable();
        let (asked, of) = (Arc::clone(world), terminal.to_owned());
        let commands =
            on_worker(move || Ok(asked.store().open_commands(&of, clock::now())?)).await?;
        let left = until.saturating_duration_since(Instant::now());
        if !commands.is_empty() || left.is_zero() {
            return Ok(commands);
        }
        // Either way the database is asked again.
        drop(tokio::time::timeout(left.min(ASK_EVERY), news).await);
    }
}

async fn report(
    State(world): Shared,
    Extension(speaker): From,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    blocking(move || {
        let result: CommandResult = parse(&body)?;
        let text = |most| Limit::Text { least: 0, most };
        within(&[
            ("code", &result.code, text(64)),
            ("detail", &result.detail, text(512)),
        ])?;
        let unknown = || Problem::not_found("command.unknown", "no such command");
        let id = limits::id(&id).ok_or_else(unknown)?;
        let is_known = world
            .store()
            .report_command(speaker.proven(), id, &result)?;
        if !is_known {
            return Err(unknown());
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

async fn telemetry(
    State(world): Shared,
    Extension(speaker): From,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    blocking(move || {
        let is_metrics = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.split(';').next() == Some(OPENMETRICS));
        if !is_metrics {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "telemetry.media-type",
                "counters are application/openmetrics-text",
            ));
        }
        let metrics = std::str::from_utf8(&body)
            .ok()
            .filter(|text| text.ends_with(OPENMETRICS_END) && !text.contains('\0'));
        let Some(metrics) = metrics else {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                "telemetry.malformed",
                "counters are text that ends with its end mark",
            ));
        };
        let terminal = speaker.terminal()?;
        world
            .store()
            .note_telemetry(terminal, metrics, clock::now())?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// What an operator wants of a terminal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    terminal: String,
    kind: String,
    #[serde(default)]
    arguments: serde_json::Map<String, Value>,
    expires_in_s: u32,
}

/// Signs a command and puts it where its terminal waits; says its id.
pub(crate) fn command(world: &World, order: Order, now: Timestamp) -> Result<Uuid, Problem> {
    within(&[
        ("terminal", &order.terminal, Limit::Terminal),
        ("kind", &order.kind, Limit::Kind),
    ])?;
    bounded(
        "expires_in_s",
        (1..=EXPIRES_MAX_S).contains(&order.expires_in_s),
    )?;
    let arguments = Value::Object(order.arguments);
    let id = Uuid::now_v7();
    let expires_at = now + jiff::SignedDuration::from_secs(order.expires_in_s.into());
    let body = Command {
        id,
        terminal: &order.terminal,
        kind: &order.kind,
        arguments: &arguments,
        issued_at: now,
        expires_at,
    };
    let body = serde_json::to_vec(&body).map_err(StoreError::from)?;
    let signed =
        signed::sign(&world.command_key, signed::COMMAND, &body).map_err(|_| StoreError::Key)?;
    world.store().add_command(&NewCommand {
        id,
        terminal: &order.terminal,
        kind: &order.kind,
        expires_at,
        signed: &signed,
    })?;
    world.changed.notify_waiters();
    Ok(id)
}

/// Refuses settings that no terminal would understand.
pub(crate) fn check_settings(settings: &Settings) -> Result<(), Problem> {
    bounded(
        "suspended_items",
        settings.suspended_items.len() <= SUSPENDED_MAX,
    )?;
    for item in &settings.suspended_items {
        within(&[("suspended_items", item, Limit::Word)])?;
    }
    let speed = settings.bytes_per_s.unwrap_or(1000);
    bounded("bytes_per_s", (1000..=1_000_000_000).contains(&speed))?;
    bounded(
        "off_hours",
        settings.off_hours.as_deref().is_none_or(is_hours),
    )?;
    bounded("heartbeat_s", (10..=3600).contains(&settings.heartbeat_s))?;
    bounded(
        "staff_revocations",
        settings.staff_revocations.as_deref().is_none_or(is_list),
    )
}

/// `KV1:` and letters of a QR code; only the terminal judges who signed it.
fn is_list(text: &str) -> bool {
    let is_letter = |byte: u8| {
        byte.is_ascii_digit() || byte.is_ascii_uppercase() || b" $%*+-./:".contains(&byte)
    };
    text.len() <= LIST_MAX && text.starts_with("KV1:") && text.bytes().all(is_letter)
}

/// `22:00-06:00`.
fn is_hours(text: &str) -> bool {
    let number = |text: &str| -> Option<u8> {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_plain)
    };
    let is_time = |time: &str| {
        time.split_once(':').is_some_and(|(hour, minute)| {
            number(hour).is_some_and(|hour| hour < 24)
                && number(minute).is_some_and(|minute| minute < 60)
        })
    };
    text.split_once('-')
        .is_some_and(|(from, until)| is_time(from) && is_time(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_written_one_way() {
        for (text, expected) in [
            ("22:00-06:00", true),
            ("00:00-23:59", true),
            ("24:00-06:00", false),
            ("22:60-06:00", false),
            ("2:00-06:00", false),
            ("22:00", false),
            ("", false),
            ("+2:00-06:00", false),
        ] {
            assert_eq!(is_hours(text), expected, "{text}");
        }
    }
}
