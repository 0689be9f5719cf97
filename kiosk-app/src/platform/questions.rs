//! What a visitor waits for: identity, face, witness, sealed documents and the state of a case. A
//! document whose seal does not hold never leaves this file.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kiosk_device::Sensitive;
use kiosk_sealing::{hex, sha256};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::client::{Call, Client, QUESTION_LIMIT, REPLY_BYTES_MAX, read_json};
use super::error::PlatformError;
use super::messages::{
    CaseReply, CredentialReply, CredentialRequest, FaceReply, FaceRequest, IdentityReply,
    IdentityRequest, WitnessReply, WitnessRequest,
};
use crate::event::{CaseState, Credential, FaceAnswer, FaceVerdict, IdentityAnswer, WitnessAnswer};
use crate::person::Person;

/// Largest reply with a document: a PDF of 4 MiB in base64.
const DOCUMENT_BYTES_MAX: usize = 6 * 1024 * 1024;
/// A visitor waits for a document; see `session::ANSWER_LIMIT`.
const DOCUMENT_LIMIT: Duration = Duration::from_secs(22);
/// Longest case number that is asked for (`openapi.yaml`).
const CASE_NUMBER_BYTES_MAX: usize = 64;

impl Client {
    pub(super) async fn identity(
        &self,
        person: &Person,
        item: &str,
    ) -> Result<IdentityAnswer, PlatformError> {
        let body = IdentityRequest {
            number: person.number.expose(),
            name: person.name.expose(),
        };
        let reply: IdentityReply = self
            .post(
                "/v1/identity-checks",
                &body,
                QUESTION_LIMIT,
                REPLY_BYTES_MAX,
            )
            .await?;
        let refusal = reply
            .eligible
            .get(item)
            .filter(|eligible| !eligible.eligible)
            .map(|eligible| eligible.reason.clone())
            .unwrap_or_default();
        Ok(IdentityAnswer {
            is_known: reply.known,
            refusal,
        })
    }

    pub(super) async fn face(
        &self,
        person: &Person,
        jpeg: &[u8],
    ) -> Result<FaceAnswer, PlatformError> {
        let body = FaceRequest {
            number: person.number.expose(),
            name: person.name.expose(),
            image: STANDARD.encode(jpeg),
        };
        let reply: FaceReply = self
            .post(
                "/v1/face-comparisons",
                &body,
                QUESTION_LIMIT,
                REPLY_BYTES_MAX,
            )
            .await?;
        let verdict = match reply.result.as_str() {
            "match" => FaceVerdict::Match,
            "mismatch" => FaceVerdict::Mismatch,
            "no-face" => FaceVerdict::NoFace,
            "several-faces" => FaceVerdict::SeveralFaces,
            "unavailable" => {
                return Err(PlatformError::Server {
                    status: 200,
                    retry_after_s: None,
                });
            }
            _ => {
                return Err(PlatformError::BadReply(
                    "unknown result of a face comparison",
                ));
            }
        };
        Ok(FaceAnswer {
            verdict,
            reference: reply.reference,
        })
    }

    pub(super) async fn witness(
        &self,
        person: &Person,
        item: &str,
    ) -> Result<WitnessAnswer, PlatformError> {
        let body = WitnessRequest {
            number: person.number.expose(),
            name: person.name.expose(),
            item,
        };
        let reply: WitnessReply = self
            .post("/v1/witnesses", &body, QUESTION_LIMIT, REPLY_BYTES_MAX)
            .await?;
        Ok(WitnessAnswer {
            is_authorized: reply.is_authorized,
            reference: reply.reference,
        })
    }

    pub(super) async fn credential(
        &self,
        person: &Person,
        item: &str,
        answers: &[(String, String)],
    ) -> Result<Credential, PlatformError> {
        let answer = |id: &str| {
            answers
                .iter()
                .find(|(field, _)| field == id)
                .map_or("", |(_, value)| value)
        };
        let body = CredentialRequest {
            item,
            number: person.number.expose(),
            name: person.name.expose(),
            parameters: answers
                .iter()
                .map(|(id, value)| (id.as_str(), value.as_str()))
                .collect(),
            purpose: answer("purpose"),
        };
        let reply: CredentialReply = self
            .post("/v1/credentials", &body, DOCUMENT_LIMIT, DOCUMENT_BYTES_MAX)
            .await?;
        self.open_credential(reply)
    }

    /// Only a document whose seal is valid leaves this function.
    fn open_credential(&self, reply: CredentialReply) -> Result<Credential, PlatformError> {
        let pdf = STANDARD
            .decode(reply.pdf.as_bytes())
            .map_err(|_| PlatformError::BadReply("the document is not base64"))?;
        let digest = hex(&sha256(&pdf));
        if digest != reply.seal.digest {
            return Err(PlatformError::Seal("the document was altered"));
        }
        if reply.seal.algorithm != "ed25519" {
            return Err(PlatformError::Seal("unknown algorithm"));
        }
        let key = self
            .seal_keys
            .get(&reply.seal.key_id)
            .ok_or(PlatformError::Seal(
                "sealed with a key that this terminal does not trust",
            ))?;
        let signature = STANDARD
            .decode(reply.seal.signature.as_bytes())
            .map_err(|_| PlatformError::Seal("the signature is not base64"))?;
        ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
            .verify(digest.as_bytes(), &signature)
            .map_err(|_| PlatformError::Seal("the signature does not match"))?;
        Ok(Credential {
            title: reply.title,
            number: reply.document_number,
            pdf: Arc::new(Sensitive::new(pdf)),
            issuer: reply.seal.issuer,
        })
    }

    pub(super) async fn case(&self, number: &str) -> Result<Option<CaseState>, PlatformError> {
        if !is_case_number(number) {
            return Ok(None);
        }
        let path = format!("/v1/cases/{number}");
        let reply = self.send(&Call::get(&path, QUESTION_LIMIT)).await?;
        if reply.status == 404 {
            return Ok(None);
        }
        let reply: CaseReply = read_json(&reply.success()?.body)?;
        let updated = reply
            .updated_at
            .parse()
            .map(super::for_people)
            .unwrap_or(reply.updated_at);
        Ok(Some(CaseState {
            state: reply.state,
            text: reply.text,
            updated,
        }))
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
        reply_bytes_max: usize,
    ) -> Result<T, PlatformError> {
        // Texts, numbers and trees of JSON can always be written.
        let body = serde_json::to_vec(body).unwrap_or_default();
        let call = Call {
            reply_bytes_max,
            ..Call::post(path, body, limit)
        };
        read_json(&self.send(&call).await?.success()?.body)
    }
}

/// What cannot be a case number is not asked for: it may be anything that a code or a finger gave.
fn is_case_number(text: &str) -> bool {
    text.len() <= CASE_NUMBER_BYTES_MAX
        // Nothing that an address would take for a step up.
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_code_says_is_never_a_path() {
        assert!(is_case_number("T001-20261122-00001"));
        for text in [
            "",
            "..",
            ".",
            "../admin",
            "a/b",
            "a?b",
            "a b",
            "测试",
            &"9".repeat(65),
        ] {
            assert!(!is_case_number(text), "{text}");
        }
    }
}
