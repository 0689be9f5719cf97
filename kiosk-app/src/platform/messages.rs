//! The messages of the platform contract, as in `openapi.yaml` beside this file.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize)]
pub(super) struct IdentityRequest<'a> {
    pub(super) number: &'a str,
    pub(super) name: &'a str,
}

#[derive(Deserialize)]
pub(super) struct IdentityReply {
    pub(super) known: bool,
    #[serde(default)]
    pub(super) eligible: std::collections::BTreeMap<String, Eligible>,
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
    pub(super) parameters: std::collections::BTreeMap<&'a str, &'a str>,
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
pub(super) struct Batch<'a> {
    pub(super) terminal: &'a str,
    pub(super) transactions: Vec<BatchTransaction>,
}

#[derive(Clone, Serialize)]
pub(super) struct BatchTransaction {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) item: String,
    pub(super) item_version: u32,
    pub(super) case_number: String,
    pub(super) enqueued_at: String,
    pub(super) payload: serde_json::Value,
    pub(super) attachments: Vec<BatchAttachment>,
}

#[derive(Clone, Serialize)]
pub(super) struct BatchAttachment {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) media_type: String,
    pub(super) size: u64,
    pub(super) sha256: String,
}

#[derive(Deserialize)]
pub(super) struct BatchReply {
    pub(super) results: Vec<BatchResult>,
}

#[derive(Deserialize)]
pub(super) struct BatchResult {
    pub(super) id: Uuid,
    pub(super) result: String,
    pub(super) receipt: Option<serde_json::Value>,
    #[serde(default)]
    pub(super) problem: Option<ProblemReply>,
    #[serde(default)]
    pub(super) retry_after_s: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct ReceiptReply {
    pub(super) reference: String,
    pub(super) outcome: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) valid_until: Option<String>,
}

/// Problem details after RFC 9457.
#[derive(Clone, Default, Deserialize)]
pub(super) struct ProblemReply {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) detail: String,
}
