//! Which request goes where, and what every request is bound by: a body limit, a deadline and the
//! fault that is switched on. Handlers block on the database, so each runs on a worker thread.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use crate::contract::{
    self, BATCH_BYTES_MAX, BATCH_TRANSACTIONS_MAX, Batch, BatchAnswer, Eligibility, FaceComparison,
    FaceResult, IdentityAnswer, IdentityCheck, TransactionResult, WitnessAnswer, WitnessQuestion,
    bounded, person,
};
use crate::network::Cut;
use crate::platform::World;
use crate::problem::Problem;
use crate::switches::Fault;
use crate::uploads::{PIECE_BYTES_MAX, TUS_VERSION, UploadAnswer};
use crate::{admin, clock, credential, uploads};

/// Longest time for one request; a certificate takes some tens of milliseconds, a cold start of
/// the typesetter a second.
const REQUEST_MAX: Duration = Duration::from_secs(20);
/// Longest delay of the fault `slow`.
const SLOW_MAX: Duration = Duration::from_secs(10);
/// How long the fault `timeout` keeps a request before its connection is cut.
const SILENCE: Duration = Duration::from_mins(1);
/// Largest picture of a face comparison.
const PICTURE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The same in base64, with the rest of the request.
const FACE_BODY_MAX: usize = PICTURE_BYTES_MAX / 3 * 4 + 8 * 1024;
/// Largest body of every other request.
const SMALL_BODY_MAX: usize = 16 * 1024;

/// State of every handler.
pub(crate) type Shared = State<Arc<World>>;

/// Everything the platform answers.
pub(crate) fn router(world: Arc<World>) -> Router {
    let contract = Router::new()
        .route(
            "/v1/health",
            get(|| async { axum::Json(json!({"status": "ok"})) }),
        )
        .route("/v1/identity-checks", post(identity_check))
        .route(
            "/v1/face-comparisons",
            post(face_comparison).layer(DefaultBodyLimit::max(FACE_BODY_MAX)),
        )
        .route("/v1/witnesses", post(witness))
        .route("/v1/catalogue", get(catalogue))
        .route(
            "/v1/batches",
            post(batch).layer(DefaultBodyLimit::max(BATCH_BYTES_MAX)),
        )
        .route("/v1/attachments", post(make_upload).options(tus_options))
        .route(
            "/v1/attachments/{id}",
            axum::routing::head(upload_offset)
                .patch(append_upload)
                .layer(DefaultBodyLimit::max(PIECE_BYTES_MAX)),
        )
        .route("/v1/credentials", post(credential))
        .route("/v1/seal-keys", get(seal_keys))
        .route("/v1/cases/{case_number}", get(case))
        .fallback(|| async { Problem::not_found("request.path", "no such resource") })
        .layer(middleware::from_fn_with_state(
            Arc::clone(&world),
            misbehave,
        ));
    admin::router()
        .merge(contract)
        .layer(DefaultBodyLimit::max(SMALL_BODY_MAX))
        .layer(middleware::from_fn(deadline))
        .with_state(world)
}

/// Runs a blocking handler on a worker thread.
pub(crate) async fn blocking<T: IntoResponse + Send + 'static>(
    act: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(act).await {
        Ok(Ok(answer)) => answer.into_response(),
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "platform.bug",
            "the request could not be handled",
        )
        .into_response(),
    }
}

/// Reads a JSON body; the problem names the place, never the value.
pub(crate) fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "request.json",
            format!(
                "not the JSON expected, line {} column {}",
                error.line(),
                error.column()
            ),
        )
    })
}

async fn deadline(request: Request, next: Next) -> Response {
    let silence_too = REQUEST_MAX + SILENCE;
    match tokio::time::timeout(silence_too, next.run(request)).await {
        Ok(response) => as_problem(response),
        Err(_) => too_late(),
    }
}

/// Refusals of the HTTP layer itself (body too large, wrong method, no id) as problems too.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == "application/problem+json");
    if is_refusal && !is_problem {
        return Problem::new(status, "request.refused", "the request was refused").into_response();
    }
    response
}

fn too_late() -> Response {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "platform.deadline",
        "the request took too long",
    )
    .into_response()
}

/// Does what the fault that is switched on says, to requests of the contract.
async fn misbehave(
    State(world): Shared,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
    next: Next,
) -> Response {
    match world.switches().fault {
        Fault::None => {}
        Fault::Slow { ms } => {
            let delay = Duration::from_millis(u64::from(ms)).min(SLOW_MAX);
            tokio::time::sleep(delay).await;
        }
        Fault::Status { status } => {
            let status = StatusCode::from_u16(status)
                .ok()
                .filter(|status| status.is_client_error() || status.is_server_error())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Problem::new(status, "platform.fault", "a fault is switched on")
                .into_response();
        }
        Fault::Rubbish => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            return (headers, Body::from(&b"\xFF<html>{\"results\": [[[\0"[..])).into_response();
        }
        Fault::Timeout => {
            tokio::time::sleep(SILENCE).await;
            cut.now();
        }
        Fault::DropAfterCommit => {
            // Run to its end: the effect is durable, only the answer is lost.
            let response = next.run(request).await;
            cut.now();
            return response;
        }
    }
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_late(),
    }
}

async fn identity_check(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let check: IdentityCheck = parse(&body)?;
        person(&check.number, &check.name)?;
        let today = clock::now()
            .to_zoned(TimeZone::fixed(jiff::tz::offset(8)))
            .date();
        let age =
            contract::birth_date(&check.number).and_then(|birth| contract::age_on(birth, today));
        let is_expired = check
            .valid_until
            .and_then(|text| text.parse::<jiff::civil::Date>().ok())
            .is_some_and(|until| until < today);
        let known = !world.config.unknown_numbers.contains(&check.number);
        let items = world.store().catalogue()?.items;
        let eligible = items
            .into_iter()
            .map(|item| {
                let least_age = world.config.least_ages.get(&item.id);
                let reason = match (known, is_expired, least_age, age) {
                    (false, ..) => Some("未查询到人员信息".to_owned()),
                    (_, true, ..) => Some("证件已过有效期".to_owned()),
                    (_, _, Some(least), Some(age)) if age < *least => {
                        Some(format!("未满{least}周岁"))
                    }
                    _ => None,
                };
                let eligibility = Eligibility {
                    eligible: reason.is_none(),
                    reason,
                };
                (item.id, eligibility)
            })
            .collect();
        let age = age.filter(|_| known);
        Ok(axum::Json(IdentityAnswer {
            known,
            age,
            eligible,
        }))
    })
    .await
}

async fn face_comparison(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let comparison: FaceComparison = parse(&body)?;
        person(&comparison.number, &comparison.name)?;
        let picture = STANDARD.decode(comparison.image).unwrap_or_default();
        if picture.len() > PICTURE_BYTES_MAX || !picture.starts_with(&[0xFF, 0xD8, 0xFF]) {
            return Err(Problem::unprocessable(
                "face.picture",
                "`image` is no JPEG of 2 MiB at most in base64",
            ));
        }
        // The picture is dropped here: nothing biometric is kept.
        let result = world.switches().face;
        Ok(axum::Json(FaceResult {
            result,
            score: result.score(),
            reference: Uuid::now_v7(),
        }))
    })
    .await
}

async fn witness(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let question: WitnessQuestion = parse(&body)?;
        let WitnessQuestion { number, name, item } = &question;
        person(number, name)?;
        bounded(&[("item", item)])?;
        Ok(axum::Json(WitnessAnswer {
            is_authorized: world.config.witnesses.contains(number),
            reference: Uuid::now_v7(),
        }))
    })
    .await
}

async fn catalogue(State(world): Shared, headers: HeaderMap) -> Response {
    blocking(move || {
        let catalogue = world.store().catalogue()?;
        let etag = format!("\"v{}\"", catalogue.version);
        let is_fresh = headers
            .get(header::IF_NONE_MATCH)
            .is_some_and(|value| value.as_bytes() == etag.as_bytes());
        let tagged = [(header::ETAG, etag)];
        if is_fresh {
            return Ok((StatusCode::NOT_MODIFIED, tagged).into_response());
        }
        Ok((tagged, axum::Json(catalogue)).into_response())
    })
    .await
}

async fn batch(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let batch: Batch = parse(&body)?;
        bounded(&[("terminal", &batch.terminal)])?;
        if batch.transactions.len() > BATCH_TRANSACTIONS_MAX {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "batch.too-large",
                "a batch has 100 transactions at most",
            ));
        }
        let mut store = world.store();
        let mut results = Vec::with_capacity(batch.transactions.len());
        for transaction in &batch.transactions {
            results.push(TransactionResult {
                id: transaction.id,
                verdict: store.accept(&batch.terminal, transaction, clock::now())?,
            });
        }
        Ok(axum::Json(BatchAnswer { results }))
    })
    .await
}

async fn tus_options() -> Response {
    let headers = [
        ("tus-resumable", TUS_VERSION),
        ("tus-version", TUS_VERSION),
        ("tus-extension", "creation"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn make_upload(State(world): Shared, headers: HeaderMap) -> Response {
    blocking(move || uploads::make(&mut world.store(), &headers)).await
}

async fn upload_offset(State(world): Shared, Path(id): Path<Uuid>, headers: HeaderMap) -> Response {
    blocking(move || uploads::offset(&world.store(), id, &headers)).await
}

async fn append_upload(
    State(world): Shared,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
    piece: Bytes,
) -> Response {
    blocking(move || {
        world
            .uploads
            .append(&mut world.store(), id, &headers, &piece)
    })
    .await
}

impl IntoResponse for UploadAnswer {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response
            .headers_mut()
            .insert("tus-resumable", HeaderValue::from_static(TUS_VERSION));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

async fn credential(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let request = parse(&body)?;
        credential::issue(&world.typesetter, &world.seal_key, &request, clock::now())
            .map(axum::Json)
    })
    .await
}

async fn seal_keys(State(world): Shared) -> Response {
    axum::Json(json!({"keys": [world.seal_key.public_key()]})).into_response()
}

async fn case(State(world): Shared, Path(case_number): Path<String>) -> Response {
    blocking(move || {
        bounded(&[("case_number", &case_number)])?;
        let case = world.store().case(&case_number)?;
        case.map(axum::Json)
            .ok_or_else(|| Problem::not_found("case.unknown", "no such case number"))
    })
    .await
}
