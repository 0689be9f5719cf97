//! The switches over HTTP, what officials and operators do, and the page that shows what the
//! platform holds. Faults never touch it, so that they can always be switched off.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{Html, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use crate::fleet::{self, Order};
use crate::limits::{self, Limit, bounded, within};
use crate::messages::{CASE_STATES, CatalogueItem, Settings};
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::router::{Shared, blocking};
use crate::store::{PaymentAct, ShipmentStep, StoreError};
use crate::switches::{FaceAnswer, Fault};
use crate::{clock, services, show};

#[derive(Deserialize)]
struct FaceSwitch {
    answer: FaceAnswer,
}

#[derive(Deserialize)]
struct CaseMove {
    case_number: String,
    state: String,
    text: String,
}

/// A key of a terminal, as an operator registers it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TerminalKey {
    terminal: String,
    key: String,
}

/// What a terminal shall be like.
#[derive(Deserialize)]
struct Wanted {
    terminal: String,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamSwitch {
    name: String,
    is_up: bool,
}

/// Whether a release is held everywhere.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldSwitch {
    version: String,
    is_held: bool,
}

/// What the bank says of a payment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaymentStep {
    id: String,
    act: BankAct,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BankAct {
    Pay,
    Refund,
}

/// What an official does about a video session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VideoStep {
    id: String,
    state: VideoState,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum VideoState {
    Ringing,
    Active,
    Ended,
}

/// States a shipment can be in.
const SHIPMENT_STATES: &[&str] = &[
    "announced",
    "in-transit",
    "out-for-delivery",
    "delivered",
    "returned",
];

/// Everything under `/admin`.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/admin", get(page))
        .route("/admin/accepted", get(accepted))
        .route("/admin/fault", post(set_fault))
        .route("/admin/face", post(set_face))
        .route("/admin/catalogue", post(set_item))
        .route("/admin/cases", post(move_case))
        .route("/admin/logistics", post(move_shipment))
        .route("/admin/payments", post(move_payment))
        .route("/admin/video-sessions", post(move_video))
        .route("/admin/upstreams", post(set_upstream))
        .route("/admin/terminals", get(terminals).post(register))
        .route("/admin/commands", get(commands).post(command))
        .route("/admin/desired-state", post(set_desired_state))
        .route("/admin/holds", get(holds).post(set_hold))
        .route("/admin/sealing-key", get(sealing_key).post(rotate))
        .route("/admin/show", get(show))
}

async fn accepted(State(world): Shared) -> Response {
    blocking(move || Ok(axum::Json(json!({"accepted": world.store().accepted()?})))).await
}

async fn set_fault(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let fault: Fault = parse(&body)?;
        world.change_switches(|switches| switches.fault = fault);
        Ok(axum::Json(fault))
    })
    .await
}

async fn set_face(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let FaceSwitch { answer } = parse(&body)?;
        world.change_switches(|switches| switches.face = answer);
        Ok(axum::Json(json!({"answer": answer})))
    })
    .await
}

async fn set_item(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let item: CatalogueItem = parse(&body)?;
        within(&[("id", &item.id, Limit::Word)])?;
        let mut store = world.store();
        store.set_item(&item)?;
        Ok(axum::Json(store.catalogue()?))
    })
    .await
}

async fn move_case(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let CaseMove {
            case_number,
            state,
            text,
        } = parse(&body)?;
        within(&[
            ("case_number", &case_number, Limit::Word),
            ("text", &text, WORDS),
        ])?;
        if !CASE_STATES.contains(&state.as_str()) {
            return Err(Problem::unprocessable("request.field", "no such `state`"));
        }
        let mut store = world.store();
        if !store.move_case(&case_number, &state, &text, clock::now())? {
            return Err(Problem::not_found("case.unknown", "no such case number"));
        }
        Ok(axum::Json(store.case(&case_number)?))
    })
    .await
}

/// A sentence for the villager.
const WORDS: Limit = Limit::Text {
    least: 1,
    most: 200,
};

async fn move_shipment(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let step: ShipmentStep = parse(&body)?;
        let name = Limit::Text { least: 0, most: 64 };
        within(&[
            ("case_number", &step.case_number, Limit::Word),
            ("text", &step.text, WORDS),
            ("carrier", &step.carrier, name),
            ("tracking_number", &step.tracking_number, name),
        ])?;
        bounded("state", SHIPMENT_STATES.contains(&step.state.as_str()))?;
        let mut store = world.store();
        if !store.move_shipment(&step, clock::now())? {
            return Err(Problem::not_found("case.unknown", "no such case number"));
        }
        Ok(axum::Json(store.logistics(&step.case_number)?))
    })
    .await
}

async fn move_payment(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let PaymentStep { id, act } = parse(&body)?;
        let act = match act {
            BankAct::Pay => PaymentAct::Pay,
            BankAct::Refund => PaymentAct::Refund,
        };
        services::act(&world, &id, act)
    })
    .await
}

async fn move_video(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let VideoStep { id, state } = parse(&body)?;
        let state = match state {
            VideoState::Ringing => "ringing",
            VideoState::Active => "active",
            VideoState::Ended => "ended",
        };
        let unknown = || Problem::not_found("video.unknown", "no such session");
        let id = limits::id(&id).ok_or_else(unknown)?;
        let mut store = world.store();
        if !store.move_video(id, state)? {
            return Err(unknown());
        }
        Ok(axum::Json(store.video(id)?))
    })
    .await
}

async fn set_upstream(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let UpstreamSwitch { name, is_up } = parse(&body)?;
        within(&[("name", &name, Limit::Word)])?;
        world.store().set_upstream(&name, is_up)?;
        Ok(axum::Json(json!({"name": name, "is_up": is_up})))
    })
    .await
}

async fn terminals(State(world): Shared) -> Response {
    blocking(move || Ok(axum::Json(json!({"terminals": world.store().terminals()?})))).await
}

async fn register(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let TerminalKey { terminal, key } = parse(&body)?;
        within(&[("terminal", &terminal, Limit::Terminal)])?;
        let key = key
            .parse()
            .map_err(|_| Problem::unprocessable("request.field", "`key` is no public key"))?;
        world.store().register(&terminal, &key, clock::now())?;
        Ok(axum::Json(
            json!({"terminal": terminal, "key_id": key.key_id()}),
        ))
    })
    .await
}

async fn commands(State(world): Shared) -> Response {
    blocking(move || Ok(axum::Json(json!({"commands": world.store().commands()?})))).await
}

async fn command(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let order: Order = parse(&body)?;
        let id = fleet::command(&world, order, clock::now())?;
        Ok(axum::Json(json!({"id": id})))
    })
    .await
}

async fn set_desired_state(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let Wanted { terminal, settings } = parse(&body)?;
        within(&[("terminal", &terminal, Limit::Terminal)])?;
        fleet::check_settings(&settings)?;
        let desired = world
            .store()
            .set_desired_state(&terminal, &settings, clock::now())?;
        Ok(axum::Json(
            json!({"terminal": terminal, "version": desired.version}),
        ))
    })
    .await
}

async fn holds(State(world): Shared) -> Response {
    blocking(move || Ok(axum::Json(json!({"releases": world.store().releases()?})))).await
}

async fn set_hold(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let HoldSwitch { version, is_held } = parse(&body)?;
        within(&[("version", &version, Limit::Word)])?;
        let mut store = world.store();
        store.set_hold(&version, is_held, clock::now())?;
        Ok(axum::Json(json!({"version": version, "is_held": is_held})))
    })
    .await
}

async fn sealing_key(State(world): Shared) -> Response {
    blocking(move || Ok(axum::Json(keys(&world)?))).await
}

async fn rotate(State(world): Shared) -> Response {
    blocking(move || {
        world.store().rotate_sealing_key(clock::now())?;
        Ok(axum::Json(keys(&world)?))
    })
    .await
}

fn keys(world: &World) -> Result<serde_json::Value, StoreError> {
    Ok(json!({
        "sealing_key": world.store().sealing_key()?,
        "command_key": world.command_key.public().to_string(),
    }))
}

async fn show(State(world): Shared) -> Response {
    blocking(move || Ok(show::summary(&mut world.store())?)).await
}

async fn page(State(world): Shared) -> Response {
    blocking(move || {
        let switches = world.switches();
        Ok(Html(show::page(&mut world.store(), &switches)?))
    })
    .await
}
