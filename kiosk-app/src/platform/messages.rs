//! The messages of the platform contract, as in `openapi.yaml` beside this file, and the readers
//! of what comes back. A reader is a function of bytes: it is bounded, never panics, and what it
//! gives holds no text longer than the contract allows.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use offline_cache::{QueuedAttachment, QueuedTransaction};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::PlatformError;
use kiosk_sealing::hex;

/// Largest body of a batch before it is compressed (`openapi.yaml`, `/v1/batches`).
pub const BATCH_BYTES_MAX: usize = 256 * 1024;
/// What stands around the transactions of a batch: the braces and the terminal's number.
const FRAME_BYTES: usize = 128;
/// Longest problem code that is kept, in bytes; the contract's longest has 31.
const CODE_BYTES_MAX: usize = 64;
/// Most digits of a code; chosen, a status code and a version fit.
const CODE_DIGITS_MAX: usize = 4;
/// Longest sentence for a citizen that is kept, in characters; chosen, four lines of the screen.
const WORDS_CHARACTERS_MAX: usize = 200;

#[derive(Serialize)]
pub(super) struct IdentityRequest<'a> {
    pub(super) number: &'a str,
    pub(super) name: &'a str,
}

#[derive(Deserialize)]
pub(super) struct IdentityReply {
    pub(super) known: bool,
    #[serde(default)]
    pub(super) eligible: BTreeMap<String, Eligible>,
}

#[derive(Deserialize)]
pub(super) struct Eligible {
    pub(super) eligible: bool,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Serialize)]
pub(super) struct FaceRequest<'a> {
    pub(super) number: &'a str,
    pub(super) name: &'a str,
    pub(super) image: String,
}

#[derive(Deserialize)]
pub(super) struct FaceReply {
    pub(super) result: String,
    #[serde(default)]
    pub(super) reference: String,
}

#[derive(Serialize)]
pub(super) struct WitnessRequest<'a> {
    pub(super) number: &'a str,
    pub(super) name: &'a str,
    pub(super) item: &'a str,
}

#[derive(Deserialize)]
pub(super) struct WitnessReply {
    pub(super) is_authorized: bool,
    #[serde(default)]
    pub(super) reference: String,
}

#[derive(Serialize)]
pub(super) struct CredentialRequest<'a> {
    pub(super) item: &'a str,
    pub(super) number: &'a str,
    pub(super) name: &'a str,
    pub(super) parameters: BTreeMap<&'a str, &'a str>,
    pub(super) purpose: &'a str,
}

#[derive(Deserialize)]
pub(super) struct CredentialReply {
    pub(super) title: String,
    pub(super) document_number: String,
    pub(super) pdf: String,
    pub(super) seal: Seal,
}

#[derive(Deserialize)]
pub(super) struct Seal {
    pub(super) issuer: String,
    pub(super) key_id: String,
    pub(super) algorithm: String,
    pub(super) digest: String,
    pub(super) signature: String,
}

#[derive(Deserialize)]
pub(super) struct CaseReply {
    pub(super) state: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) updated_at: String,
}

#[derive(Serialize)]
struct Batch<'a> {
    terminal: &'a str,
    transactions: Vec<BatchTransaction<'a>>,
}

#[derive(Serialize)]
struct BatchTransaction<'a> {
    id: Uuid,
    kind: &'a str,
    item: &'a str,
    item_version: u32,
    case_number: &'a str,
    enqueued_at: String,
    upstream: &'a str,
    payload_suite: &'a str,
    payload: serde_json::Value,
    attachments: Vec<BatchAttachment<'a>>,
}

#[derive(Serialize)]
struct BatchAttachment<'a> {
    id: Uuid,
    name: &'a str,
    media_type: &'a str,
    size: u64,
    sha256: String,
}

/// The platform's answer to a batch: one result per transaction, in any order.
#[derive(Debug, Default, Deserialize)]
pub struct BatchReply {
    /// The results.
    pub results: Vec<BatchResult>,
}

/// What became of one transaction of a batch.
#[derive(Clone, Default, Deserialize)]
pub struct BatchResult {
    /// Its id.
    pub id: Uuid,
    /// `accepted`, `duplicate`, `rejected` or `retry`; anything else is no answer.
    pub result: String,
    /// The receipt, with `accepted` and `duplicate`.
    #[serde(default)]
    pub receipt: Option<serde_json::Value>,
    /// Why not, with `rejected` and `retry`.
    #[serde(default)]
    pub problem: Option<ProblemReply>,
    /// Seconds to wait, with `retry`.
    #[serde(default)]
    pub retry_after_s: Option<u64>,
}

impl fmt::Debug for BatchResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchResult")
            .field("id", &self.id)
            .field("result", &self.result)
            .finish_non_exhaustive()
    }
}

/// Problem details after RFC 9457.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ProblemReply {
    /// The platform's code.
    #[serde(default)]
    pub code: String,
    /// A sentence for the citizen; may name the citizen, so it is never logged.
    #[serde(default)]
    pub detail: String,
    /// Which upstream is down, with `upstream.unavailable`.
    #[serde(default)]
    pub upstream: String,
}

impl fmt::Debug for ProblemReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProblemReply")
            .field("code", &self.code)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl ProblemReply {
    /// The same with nothing overlong and a code that is safe to log.
    pub(super) fn bounded(self) -> Self {
        Self {
            code: code(&self.code),
            detail: self.detail.chars().take(WORDS_CHARACTERS_MAX).collect(),
            upstream: code(&self.upstream),
        }
    }
}

/// A receipt as the contract has it, beside what it may hold besides.
#[derive(Deserialize)]
pub(super) struct ReceiptReply {
    pub(super) reference: String,
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) valid_until: Option<String>,
}

/// The body of `POST /v1/batches` for these transactions.
///
/// # Panics
/// Never: plain text and numbers always become JSON.
pub fn batch_body(terminal: &str, transactions: &[QueuedTransaction]) -> Vec<u8> {
    let batch = Batch {
        terminal,
        transactions: transactions.iter().map(message).collect(),
    };
    serde_json::to_vec(&batch).expect("plain text and numbers become JSON")
}

/// Splits transactions, in order, into batches that each fit the contract's body. One that does
/// not fit alone is a batch of its own: the platform says 413 to it and nobody else waits.
pub(super) fn fitting(transactions: Vec<QueuedTransaction>) -> Vec<Vec<QueuedTransaction>> {
    let mut batches = Vec::new();
    let mut batch: Vec<QueuedTransaction> = Vec::new();
    let mut bytes = FRAME_BYTES;
    for transaction in transactions {
        let more = serde_json::to_vec(&message(&transaction)).map_or(0, |body| body.len() + 1);
        if bytes + more > BATCH_BYTES_MAX && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            bytes = FRAME_BYTES;
        }
        bytes += more;
        batch.push(transaction);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// `Upload-Metadata` of an attachment, as tus 1.0 writes it.
pub fn upload_metadata(attachment: &QueuedAttachment) -> String {
    [
        ("id", attachment.id.to_string()),
        ("transaction", attachment.transaction_id.to_string()),
        ("name", attachment.name.clone()),
        ("media_type", attachment.media_type.clone()),
        ("sha256", hex(&attachment.sha256)),
    ]
    .map(|(key, value)| format!("{key} {}", STANDARD.encode(value)))
    .join(",")
}

/// Reads the answer to a batch by its status and body.
///
/// # Errors
/// What the status means, or `BadReply` when the body is not what the contract says.
pub fn batch_reply(
    status: u16,
    retry_after_s: Option<u64>,
    body: &[u8],
) -> Result<BatchReply, PlatformError> {
    if !(200..300).contains(&status) {
        return Err(PlatformError::from_reply(status, retry_after_s, body));
    }
    serde_json::from_slice(body)
        .map_err(|_| PlatformError::BadReply("not the JSON of the contract"))
}

/// Reads a problem document; what is none is an empty one.
pub fn problem(body: &[u8]) -> ProblemReply {
    serde_json::from_slice::<ProblemReply>(body)
        .unwrap_or_default()
        .bounded()
}

/// Whether a refusal says that the terminal was taken out of service.
pub fn is_revocation(status: u16, body: &[u8]) -> bool {
    status == 403 && problem(body).code == "terminal.revoked"
}

/// Reads `Retry-After`: seconds, or an HTTP date counted from `now` (RFC 9110 section 10.2.3). A
/// date that has passed is zero; what is neither is nothing.
pub fn retry_after(value: &str, now: Timestamp) -> Option<u64> {
    let value = value.trim();
    if value.len() > CODE_BYTES_MAX {
        return None;
    }
    if let Ok(seconds) = value.parse() {
        return Some(seconds);
    }
    let seconds = http_date(value)?.duration_since(now).as_secs();
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Reads an HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7, the one form
/// that may still be sent).
pub fn http_date(value: &str) -> Option<Timestamp> {
    if value.len() > CODE_BYTES_MAX {
        return None;
    }
    rfc2822::DateTimeParser::new()
        .parse_timestamp(value.trim())
        .ok()
}

/// A code with nothing in it but the letters of a code and a few digits, so that it may be logged: a
/// number of a person or a telephone does not fit through.
fn code(text: &str) -> String {
    let mut digits = 0;
    text.chars()
        .filter(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '-' | '_'))
        .filter(|each| {
            digits += usize::from(each.is_ascii_digit());
            !each.is_ascii_digit() || digits <= CODE_DIGITS_MAX
        })
        .take(CODE_BYTES_MAX)
        .collect()
}

fn message(transaction: &QueuedTransaction) -> BatchTransaction<'_> {
    let payload = if transaction.payload_suite == "plain" {
        // It was JSON when it was enqueued; the cache checks its digest.
        serde_json::from_slice(&transaction.payload).unwrap_or(serde_json::Value::Null)
    } else {
        serde_json::Value::String(STANDARD.encode(&transaction.payload))
    };
    BatchTransaction {
        id: transaction.id,
        kind: &transaction.kind,
        item: &transaction.item,
        item_version: transaction.item_version,
        case_number: &transaction.case_number,
        enqueued_at: transaction.enqueued_at.to_string(),
        upstream: &transaction.upstream,
        payload_suite: &transaction.payload_suite,
        payload,
        attachments: transaction
            .attachments
            .iter()
            .map(|attachment| BatchAttachment {
                id: attachment.id,
                name: &attachment.name,
                media_type: &attachment.media_type,
                size: attachment.size,
                sha256: hex(&attachment.sha256),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_wish_to_wait_is_read_as_seconds_or_as_a_date() {
        let now = at("1994-11-06T08:49:07Z");
        let check =
            |value: &str, expected| assert_eq!(retry_after(value, now), expected, "{value}");
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("-1", None);
        check("soon", None);
        check("", None);
        check(&"9".repeat(1000), None);
    }

    #[test]
    fn a_reply_that_is_not_the_contract_is_no_reply() {
        for body in [
            &b""[..],
            b"[]",
            b"{\"results\":{}}",
            b"{\"results\":[{\"id\":\"x\"}]}",
            b"{\"results\":[",
            b"\xff\xfe",
        ] {
            let error = batch_reply(200, None, body).unwrap_err();
            assert_eq!(error.code(), "platform.bad-reply");
        }
        let deep = format!("{{\"results\":{}", "[".repeat(100_000));
        assert!(batch_reply(200, None, deep.as_bytes()).is_err());
        assert!(batch_reply(200, None, b"{\"results\":[]}").is_ok());
    }

    #[test]
    fn a_code_from_outside_holds_nothing_but_a_code() {
        let body = "{\"code\":\"a.b\\n440100197505050046 测试一\",\"detail\":\"d\"}";
        assert_eq!(problem(body.as_bytes()).code, "a.b4401");
        let long = format!(
            "{{\"code\":\"{}\",\"detail\":\"{}\"}}",
            "x".repeat(900),
            "长".repeat(900)
        );
        let problem = problem(long.as_bytes());
        assert_eq!(problem.code.len(), CODE_BYTES_MAX);
        assert_eq!(problem.detail.chars().count(), WORDS_CHARACTERS_MAX);
    }
}
