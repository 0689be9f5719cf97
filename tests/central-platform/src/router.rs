//! Which request goes where, and what every request is bound by: a body limit, a deadline, a
//! signature and the fault that is switched on. Handlers block on the database, so each runs on a
//! worker thread.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body::Frame;
use jiff::tz::TimeZone;
use serde_json::json;
use uuid::Uuid;

use crate::contract::{Contract, RUBBISH, health};
use crate::limits::{Limit, within};
use crate::messages::{
    BATCH_BYTES_MAX, Eligibility, FaceComparison, FaceResult, IdentityAnswer, IdentityCheck,
    WitnessAnswer, WitnessQuestion, age_on, birth_date, person,
};
use crate::network::Cut;
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::signature::{Speaker, identify};
use crate::switches::Fault;
use crate::tickets::TICKETS_BYTES_MAX;
use crate::uploads::{PIECE_BYTES_MAX, TUS_VERSION, UploadAnswer};
use crate::{
    admin, administrators, carried, clock, credential, enrolment, fleet, inflate, overview,
    services, tickets, uploads,
};

/// Longest time for one request; a certificate takes some tens of milliseconds, a cold start of
/// the typesetter a second, a part of a bundle some seconds, and commands may be waited for.
const REQUEST_MAX: Duration = Duration::from_mins(1);
/// Longest delay of the fault `slow`.
const SLOW_MAX: Duration = Duration::from_secs(10);
/// How long the fault `timeout` keeps a request before its connection is cut.
const SILENCE: Duration = Duration::from_mins(1);
/// Largest picture of a face comparison.
const PICTURE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The same in base64, with the rest of the request: the largest body of a terminal.
pub(crate) const FACE_BODY_MAX: usize = PICTURE_BYTES_MAX / 3 * 4 + 8 * 1024;
/// Largest part of a bundle.
const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest body of counters and of a heartbeat.
const REPORT_BYTES_MAX: usize = 64 * 1024;
/// Largest body of every other request.
pub(crate) const SMALL_BODY_MAX: usize = 16 * 1024;
/// What the fault `endless-reply` sends at most: no terminal reads that far.
const ENDLESS_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// State of every handler.
pub(crate) type Shared = State<Arc<World>>;
/// Who a request is from.
pub(crate) type From = Extension<Speaker>;

/// Everything the platform answers.
pub(crate) fn router(world: &Arc<World>) -> Router {
    let contract = Router::new()
        .merge(visit())
        .merge(queue())
        .merge(fleet::router().layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)))
        .merge(tickets::router().layer(DefaultBodyLimit::max(TICKETS_BYTES_MAX)))
        .merge(services::router())
        .merge(enrolment::router())
        .fallback(|| async { Problem::not_found("request.path", "no such resource") })
        .layer(middleware::from_fn_with_state(Arc::clone(world), identify))
        .layer(middleware::from_fn_with_state(Arc::clone(world), misbehave));
    let admit = middleware::from_fn_with_state(Arc::clone(world), administrators::admit);
    admin::router()
        .merge(tickets::admin_router())
        .merge(enrolment::admin_router())
        .merge(overview::router())
        .merge(contract)
        // Around all of it, so that no route under `/admin` can be forgotten.
        .layer(admit)
        .layer(DefaultBodyLimit::max(SMALL_BODY_MAX))
        .layer(middleware::from_fn(deadline))
        .with_state(Arc::clone(world))
}

/// What a visit asks.
fn visit() -> Router<Arc<World>> {
    Router::new()
        .route("/v1/health", get(|| async { axum::Json(health()) }))
        .route("/v1/identity-checks", post(identity_check))
        .route(
            "/v1/face-comparisons",
            post(face_comparison).layer(DefaultBodyLimit::max(FACE_BODY_MAX)),
        )
        .route("/v1/witnesses", post(witness))
        .route("/v1/catalogue", get(catalogue))
        .route("/v1/credentials", post(credential))
        .route("/v1/seal-keys", get(seal_keys))
        .route("/v1/cases/{case_number}", get(case))
}

/// What the queue of a terminal brings.
fn queue() -> Router<Arc<World>> {
    Router::new()
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
        .route(
            "/v1/bundles",
            post(carried::import).layer(DefaultBodyLimit::max(BUNDLE_BYTES_MAX)),
        )
}

/// Runs what blocks on a worker thread.
pub(crate) async fn on_worker<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|_| {
        Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "platform.bug",
            "the request could not be handled",
        ))
    })
}

/// Runs a blocking handler on a worker thread.
pub(crate) async fn blocking<T: IntoResponse + Send + 'static>(
    act: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Response {
    match on_worker(act).await {
        Ok(answer) => answer.into_response(),
        Err(problem) => problem.into_response(),
    }
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
    mut request: Request,
    next: Next,
) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let fault = world.next_fault();
    // The faults of results are the batch's own to commit.
    request.extensions_mut().insert(fault);
    match fault {
        Fault::None
        | Fault::ReorderedResults
        | Fault::UnknownIds
        | Fault::DoubledResults
        | Fault::TooManyResults
        | Fault::AcceptTwice => {}
        Fault::Slow { ms } => {
            let delay = Duration::from_millis(u64::from(ms)).min(SLOW_MAX);
            tokio::time::sleep(delay).await;
        }
        Fault::Status { status } | Fault::Burst { status, .. } => {
            return Problem::fault(status).into_response();
        }
        Fault::Rubbish => return (json, Body::from(RUBBISH)).into_response(),
        Fault::EndlessReply => return (json, Body::new(Endless::default())).into_response(),
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
        Fault::HalfClosed => {
            let response = next.run(request).await;
            cut.half();
            return response;
        }
    }
    match tokio::time::timeout(REQUEST_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_late(),
    }
}

/// A list of results that does not end.
#[derive(Default)]
struct Endless {
    sent: u64,
}

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        const SPACES: &[u8] = &[b' '; 64 * 1024];
        let bytes: &'static [u8] = match self.sent {
            0 => b"{\"results\": [",
            ENDLESS_BYTES_MAX.. => return Poll::Ready(None),
            _ => SPACES,
        };
        self.sent += bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(bytes)))))
    }
}

async fn identity_check(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let check: IdentityCheck = parse(&body)?;
        person(&check.number, &check.name)?;
        let today = clock::now()
            .to_zoned(TimeZone::fixed(jiff::tz::offset(8)))
            .date();
        let age = birth_date(&check.number).and_then(|birth| age_on(birth, today));
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
        within(&[("item", item, Limit::Word)])?;
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

async fn batch(
    State(world): Shared,
    Extension(speaker): From,
    Extension(fault): Extension<Fault>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    blocking(move || {
        let body = inflate::body(&headers, &body)?;
        let contract = Contract { world };
        contract
            .batch(speaker.proven(), &body, clock::now(), fault)
            .map(axum::Json)
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
    blocking(move || uploads::answer_place(&mut world.store(), &headers)).await
}

async fn upload_offset(
    State(world): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    blocking(move || uploads::answer_offset(&mut world.store(), &id, &headers)).await
}

async fn append_upload(
    State(world): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    piece: Bytes,
) -> Response {
    blocking(move || uploads::answer_append(&mut world.store(), &id, &headers, &piece)).await
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
        let typesetter = world
            .typesetter()
            .map_err(|error| credential::failed(&error))?;
        credential::issue(typesetter, &world.seal_key, &request, clock::now()).map(axum::Json)
    })
    .await
}

async fn seal_keys(State(world): Shared) -> Response {
    axum::Json(json!({"keys": [world.seal_key.public_key()]})).into_response()
}

async fn case(State(world): Shared, Path(case_number): Path<String>) -> Response {
    blocking(move || {
        within(&[("case_number", &case_number, Limit::Word)])?;
        let case = world.store().case(&case_number)?;
        case.map(axum::Json)
            .ok_or_else(|| Problem::not_found("case.unknown", "no such case number"))
    })
    .await
}
