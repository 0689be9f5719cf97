//! How a machine becomes a terminal: an administrator makes a code for its number, a person types
//! it there, and the platform signs a certificate and notes the key. Later certificates are asked
//! for by the terminal itself. A terminal can be taken out of service and back.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::SignedDuration;
use kiosk_sealing::PublicKey;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admission;
use crate::authority::{Authority, CertificateRequest};
use crate::clock;
use crate::limits::{Limit, bounded, within};
use crate::platform::World;
use crate::problem::{Problem, parse};
use crate::router::{From, Shared, blocking};
use crate::standing::Place;
use crate::store::{Candidate, Refusal, StoreError};
use code::{Code, SALT_BYTES};

pub(crate) mod code;

/// How long a code can be used: the days in which a machine is driven out and set up.
const CODE_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Visits a year that may be expected of a terminal.
const TARGETS: &[u32] = &[370, 500, 800];
/// What a machine and a terminal ask.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route(admission::ENROLMENTS, post(enroll))
        .route("/v1/certificates", post(renew))
}

/// What an administrator does.
pub(crate) fn admin_router() -> Router<Arc<World>> {
    Router::new()
        .route("/admin/enrolments", get(enrolments).post(make_code))
        .route("/admin/terminals/revoke", post(revoke))
        .route("/admin/terminals/restore", post(restore))
}

#[derive(Deserialize)]
struct Enrolment {
    terminal: String,
    code: String,
    csr: String,
    device_key: String,
}

#[derive(Serialize)]
struct Enrolled<'a> {
    certificate: &'a str,
    ca: &'a str,
    not_after: &'a str,
    region: &'a str,
    site: &'a str,
    sealing_key: &'a str,
    command_key: String,
}

#[derive(Deserialize)]
struct Renewal {
    csr: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    terminal: String,
    #[serde(default)]
    reason: String,
}

impl std::convert::From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, code, detail) = match refusal {
            Refusal::Wrong => (
                StatusCode::FORBIDDEN,
                "enrolment.code-wrong",
                "this is no code of this terminal",
            ),
            Refusal::Used => (
                StatusCode::CONFLICT,
                "enrolment.code-used",
                "the code was used by another machine",
            ),
            Refusal::Expired => (
                StatusCode::GONE,
                "enrolment.code-expired",
                "the code is too old",
            ),
            Refusal::Locked => (
                StatusCode::TOO_MANY_REQUESTS,
                "enrolment.locked",
                "there were too many wrong codes for this terminal",
            ),
        };
        Self::new(status, code, detail)
    }
}

fn authority(world: &World) -> Result<&Authority, Problem> {
    world.authority.as_ref().ok_or_else(|| {
        Problem::not_found(
            "enrolment.not-offered",
            "this platform signs no certificates of terminals",
        )
    })
}

fn request(csr: &str) -> Result<CertificateRequest, Problem> {
    CertificateRequest::read(csr.as_bytes()).ok_or_else(|| {
        Problem::unprocessable(
            "enrolment.request-unusable",
            "`csr` is no signing request with a key of ECDSA or Ed25519",
        )
    })
}

async fn enroll(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        let authority = authority(&world)?;
        let Enrolment {
            terminal,
            code,
            csr,
            device_key,
        } = parse(&body)?;
        within(&[("terminal", &terminal, Limit::Terminal)])?;
        let code: Code = code
            .parse()
            .map_err(|()| Problem::unprocessable("request.field", "`code` is no code"))?;
        let device_key: PublicKey = device_key.parse().map_err(|_| {
            Problem::unprocessable("request.field", "`device_key` is no public key")
        })?;
        let request = request(&csr)?;
        let candidate = Candidate {
            terminal: &terminal,
            code: &code,
            csr_key: &request.key_digest(),
            device_key: &device_key,
        };
        let now = clock::now();
        let mut store = world.store();
        let admission = store.admit(&candidate, now, || {
            Ok(authority.issue(&request, &terminal, now)?)
        })??;
        let sealing_key = store.sealing_key()?;
        let answer = Enrolled {
            certificate: &admission.certificate,
            ca: authority.root(),
            not_after: &admission.not_after,
            region: &admission.region,
            site: &admission.site,
            sealing_key: &sealing_key,
            command_key: world.command_key.public().to_string(),
        };
        Ok((StatusCode::CREATED, Json(answer)).into_response())
    })
    .await
}

async fn renew(State(world): Shared, Extension(speaker): From, body: Bytes) -> Response {
    blocking(move || {
        let authority = authority(&world)?;
        let Renewal { csr } = parse(&body)?;
        let request = request(&csr)?;
        // Whoever has no key that is known here gets no certificate, however signatures are set.
        let terminal = speaker.proven().ok_or_else(|| {
            Problem::unauthorized("signature.missing", "the request is not signed")
        })?;
        let now = clock::now();
        let issued = authority
            .issue(&request, terminal, now)
            .map_err(StoreError::from)?;
        world.store().note_certificate(terminal, &issued, now)?;
        let answer = json!({
            "certificate": issued.chain, "not_after": issued.not_after.to_string(),
        });
        Ok((StatusCode::CREATED, Json(answer)).into_response())
    })
    .await
}

async fn make_code(State(world): Shared, body: Bytes) -> Response {
    blocking(move || {
        authority(&world)?;
        let place: Place = parse(&body)?;
        place.check()?;
        // Whoever sets a terminal up knows all of it.
        bounded("site", !place.site.is_empty())?;
        bounded("installed_on", !place.installed_on.is_empty())?;
        bounded("target", TARGETS.contains(&place.target))?;
        let mut salt = [0; SALT_BYTES];
        let code = SystemRandom::new()
            .fill(&mut salt)
            .ok()
            .and_then(|()| Code::generate())
            .ok_or(StoreError::Key)?;
        let (now, digest) = (clock::now(), code.digest(&salt, &place.terminal));
        let expires_at = now + CODE_LIFE;
        world
            .store()
            .add_code(&place, &salt, &digest, now, expires_at)?;
        Ok(Json(
            json!({"code": code.to_string(), "expires_at": expires_at.to_string()}),
        ))
    })
    .await
}

async fn enrolments(State(world): Shared) -> Response {
    blocking(move || {
        let rows = world.store().enrolments(clock::now())?;
        Ok(Json(json!({"enrolments": rows})))
    })
    .await
}

async fn revoke(State(world): Shared, body: Bytes) -> Response {
    set_revoked(world, body, true).await
}

async fn restore(State(world): Shared, body: Bytes) -> Response {
    set_revoked(world, body, false).await
}

async fn set_revoked(world: Arc<World>, body: Bytes, is_revoked: bool) -> Response {
    blocking(move || {
        let Removal { terminal, reason } = parse(&body)?;
        // Why it was taken away is asked for; that it is back says enough.
        let least = usize::from(is_revoked);
        within(&[
            ("terminal", &terminal, Limit::Terminal),
            ("reason", &reason, Limit::Text { least, most: 200 }),
        ])?;
        let mut store = world.store();
        store.set_revoked(&terminal, is_revoked, &reason, clock::now())?;
        Ok(Json(
            json!({"terminal": terminal, "is_revoked": is_revoked}),
        ))
    })
    .await
}
