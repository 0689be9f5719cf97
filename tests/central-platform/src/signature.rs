//! Who sent a request: the terminal that the header names, proven by its signature. What is
//! signed must be signed well, freshly and once; whether it must be signed at all is configured.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use kiosk_sealing::PublicKey;
use kiosk_sealing::request::{self, Headers, RequestError, Verified};

use crate::admission;
use crate::clock;
use crate::config::{Enroll, Signatures};
use crate::limits::{Limit, within};
use crate::network::Cut;
use crate::platform::World;
use crate::problem::Problem;
use crate::router::{FACE_BODY_MAX, on_worker};

/// How far `created` may be from the platform's clock.
const FRESH_S: i64 = 300;
/// How far a body that is too large is read before the line is broken.
const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Requests that nobody signs: whoever asks has no key yet, or shows a code or a token.
const UNSIGNED: &[&str] = &["/v1/health", "/v1/bundles", admission::ENROLMENTS];

/// Who a request is from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Speaker {
    /// The terminal that the header names.
    terminal: Option<String>,
    /// Whether its signature was checked.
    is_proven: bool,
}

impl Speaker {
    /// The terminal, if its signature was checked.
    pub(crate) fn proven(&self) -> Option<&str> {
        self.terminal.as_deref().filter(|_| self.is_proven)
    }

    /// The terminal, signed or not.
    pub(crate) fn terminal(&self) -> Result<&str, Problem> {
        self.terminal.as_deref().ok_or_else(|| {
            Problem::new(
                StatusCode::BAD_REQUEST,
                "request.header",
                "`Kiosk-Terminal` is missing",
            )
        })
    }
}

/// Finds out who a request is from, and refuses it when its signature is not good.
pub(crate) async fn identify(
    State(world): State<Arc<World>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    mut request: Request,
    next: Next,
) -> Response {
    let named = named_terminal(request.headers());
    let claimed = named.as_ref().ok().cloned().flatten();
    let path = request.uri().path().to_owned();
    if let Err(problem) = admission::check(&world, &path, claimed, cut.shown().cloned()).await {
        return problem.into_response();
    }
    if UNSIGNED.contains(&path.as_str()) || request.method() == Method::OPTIONS {
        request.extensions_mut().insert(Speaker::default());
        return next.run(request).await;
    }
    let terminal = match named {
        Ok(terminal) => terminal,
        Err(problem) => return problem.into_response(),
    };
    let is_signed = request.headers().contains_key("signature-input");
    let is_checked = match world.config.signatures {
        Signatures::Off => false,
        Signatures::IfPresent => is_signed,
        Signatures::Required => true,
    };
    if !is_checked {
        request.extensions_mut().insert(Speaker {
            terminal,
            is_proven: false,
        });
        return next.run(request).await;
    }
    let (Some(terminal), true) = (terminal, is_signed) else {
        return Problem::unauthorized("signature.missing", "the request is not signed")
            .into_response();
    };
    let (mut parts, body) = request.into_parts();
    let body = match whole(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let heard = Heard {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        terminal: terminal.clone(),
        headers: signature_headers(&parts.headers),
        key: header(&parts.headers, "kiosk-key").parse().ok(),
    };
    let signed = body.clone();
    let checked = on_worker(move || heard.check(&world, &signed, clock::now())).await;
    if let Err(problem) = checked {
        return problem.into_response();
    }
    parts.extensions.insert(Speaker {
        terminal: Some(terminal),
        is_proven: true,
    });
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// Reads a body to its end. One that is too large is read on for a while, so that whoever is
/// still sending it hears the refusal instead of a broken line.
async fn whole(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut kept = Vec::new();
    let mut received = 0_usize;
    loop {
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let data = match frame {
            None if received <= FACE_BODY_MAX => return Ok(kept),
            None => break,
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => {
                return Err(Problem::new(
                    StatusCode::BAD_REQUEST,
                    "request.body",
                    "the body did not come whole",
                ));
            }
        };
        received = received.saturating_add(data.len());
        if received <= FACE_BODY_MAX {
            kept.extend_from_slice(&data);
        } else if received > LINGER_BYTES_MAX {
            break;
        }
    }
    Err(Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "request.too-large",
        "the body is too large",
    ))
}

fn named_terminal(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("kiosk-terminal") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    match within(&[("Kiosk-Terminal", text, Limit::Terminal)]) {
        Ok(()) => Ok(Some(text.to_owned())),
        Err(_) => Err(Problem::unauthorized(
            "signature.invalid",
            "`Kiosk-Terminal` is no number of a terminal",
        )),
    }
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn signature_headers(headers: &HeaderMap) -> Headers {
    Headers {
        content_digest: header(headers, "content-digest"),
        signature_input: header(headers, "signature-input"),
        signature: header(headers, "signature"),
    }
}

/// A signed request as it arrived.
struct Heard {
    method: String,
    path: String,
    query: String,
    terminal: String,
    headers: Headers,
    /// The key that a terminal shows when nobody knows it yet.
    key: Option<PublicKey>,
}

impl Heard {
    fn check(&self, world: &World, body: &[u8], now: Timestamp) -> Result<(), Problem> {
        let known = world.store().terminal_keys(&self.terminal)?;
        let is_stranger = known.is_empty() && world.config.enroll == Enroll::FirstUse;
        let shown = self.key.as_ref().filter(|_| is_stranger);
        let request = request::Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            terminal: &self.terminal,
            body,
        };
        let find = |key_id: &str| {
            let mut keys = known.iter().chain(shown);
            keys.find(|key| key.key_id() == key_id).cloned()
        };
        let verified = request::verify(find, &request, &self.headers).map_err(|error| {
            let is_unknown = matches!(error, RequestError::UnknownKey { .. });
            if is_unknown {
                Problem::unauthorized("signature.unknown-key", "the key is not known here")
            } else {
                Problem::unauthorized("signature.invalid", "the signature is not good")
            }
        })?;
        self.check_once(world, &verified, now)?;
        if let Some(key) = shown
            && !world.store().enroll_first(&self.terminal, key, now)?
        {
            return Err(Problem::unauthorized(
                "signature.unknown-key",
                "the terminal has another key by now",
            ));
        }
        Ok(())
    }

    /// Fresh, and not seen before.
    fn check_once(
        &self,
        world: &World,
        verified: &Verified,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let now_s = now.as_second();
        if now_s.abs_diff(verified.created_s) > FRESH_S.unsigned_abs() {
            return Err(Problem::unauthorized(
                "signature.stale",
                "the signature is too old, or from the future; see the `Date` of this answer",
            ));
        }
        let is_new = world.store().use_nonce(
            &self.terminal,
            &verified.nonce,
            verified.created_s,
            now_s - FRESH_S,
        )?;
        if is_new {
            return Ok(());
        }
        Err(Problem::unauthorized(
            "signature.replayed",
            "the request was seen before",
        ))
    }
}
