//! What went wrong with a request, as problem details after RFC 9457. No detail repeats a value
//! of the request.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::contract::to_json;

/// Seconds after which a busy platform may be asked again.
const RETRY_AFTER_S: u32 = 1;

/// A refused request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: String,
    /// The system behind the platform that does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            r#type: format!("urn:kiosk:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            upstream: None,
        }
    }

    pub(crate) fn unprocessable(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub(crate) fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    pub(crate) fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub(crate) fn unauthorized(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// A system behind the platform does not answer.
    pub(crate) fn upstream_unavailable(upstream: &str) -> Self {
        Self {
            upstream: Some(upstream.to_owned()),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream.unavailable",
                "a system behind the platform does not answer",
            )
        }
    }

    pub(crate) fn batch_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "batch.too-large",
            "a batch has 100 transactions and 256 KiB at most",
        )
    }

    /// The one who signed the request speaks for another terminal.
    pub(crate) fn other_terminal() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "signature.other-terminal",
            "the request is about another terminal than the one that signed it",
        )
    }

    /// What the fault `status` says.
    pub(crate) fn fault(status: u16) -> Self {
        let status = StatusCode::from_u16(status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, "platform.fault", "a fault is switched on")
    }

    /// Stable code, from a closed list.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// Reads a JSON body; the problem names the place, never the value.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
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

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "platform.store",
            "the platform cannot store or read",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}
