//! Bundles that a person brought on a stick: verified as a whole, then taken by the same door as
//! everything that comes by the network, and answered with receipts that go back on the stick.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kiosk_sealing::bundle::{self, BundleError, Entry, ReadError};
use kiosk_sealing::{CarriedReceipts, PublicKey, signed};
use serde_json::{Value, json};

use crate::clock;
use crate::messages::{Attachment, PLAIN, Transaction, TransactionResult};
use crate::platform::World;
use crate::problem::Problem;
use crate::router::blocking;
use crate::store::{Road, StoreError};
use kiosk_sealing::{hex, sha256};

/// Media type of a part of a bundle.
const MEDIA_TYPE: &str = "application/vnd.kiosk.bundle";

/// `POST /v1/bundles`.
pub(crate) async fn import(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).cloned();
    let is_bundle = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == MEDIA_TYPE);
    blocking(move || {
        let shown = token.as_ref().and_then(|value| value.to_str().ok());
        authorize(world.config.import_token.as_deref(), shown)?;
        if !is_bundle {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "bundle.media-type",
                "a part of a bundle is application/vnd.kiosk.bundle",
            ));
        }
        Ok(axum::Json(take(&world, &body, clock::now())?).into_response())
    })
    .await
}

/// Whoever brings a bundle shows the token of the configuration; without one, nobody may.
fn authorize(expected: Option<&str>, shown: Option<&str>) -> Result<(), Problem> {
    let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
    // Digests are compared, so that the time says nothing about the token.
    let is_shown = expected
        .zip(shown)
        .is_some_and(|(expected, shown)| sha256(expected.as_bytes()) == sha256(shown.as_bytes()));
    if is_shown {
        return Ok(());
    }
    Err(Problem::unauthorized(
        "token.invalid",
        "bundles need the import token",
    ))
}

/// Takes a part: nothing of it before all of it was verified.
pub(crate) fn take(world: &World, part: &[u8], now: Timestamp) -> Result<Value, Problem> {
    let mut failed = None;
    let verified = bundle::verify(part, |terminal, key_id| {
        let known = world.store().terminal_keys(terminal);
        let known: Vec<PublicKey> = known.unwrap_or_else(|error| {
            failed = Some(error);
            Vec::new()
        });
        known.into_iter().find(|key| key.key_id() == key_id)
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let verified = verified.map_err(|error| refused(&error))?;
    let manifest = verified.manifest;
    let is_same = world.store().note_bundle(
        manifest.bundle,
        manifest.part,
        &manifest.terminal,
        &hex(&verified.digest),
        now,
    )?;
    if !is_same {
        return Err(Problem::unprocessable(
            "bundle.differs",
            "another content came under this number before",
        ));
    }
    let mut results = Vec::new();
    let read = bundle::read(part, |entry, payload, contents| {
        let submitted = submitted(entry, &payload);
        let verdict =
            world
                .store()
                .accept_carried(&manifest.terminal, &submitted, &contents, now)?;
        let (terminal, traces) = (&manifest.terminal, &world.traces);
        traces.note(terminal, &submitted, &verdict, Road::Bundle, now);
        let result = TransactionResult {
            id: submitted.id,
            verdict,
        };
        results.push(serde_json::to_value(result)?);
        Ok::<_, StoreError>(())
    });
    match read {
        Ok(_) => {}
        Err(ReadError::Bundle(error)) => return Err(refused(&error)),
        Err(ReadError::Each(error)) => return Err(error.into()),
    }
    let receipts = CarriedReceipts {
        terminal: manifest.terminal,
        bundle: manifest.bundle,
        part: manifest.part,
        results,
    };
    let body = serde_json::to_vec(&receipts).map_err(StoreError::from)?;
    let signed =
        signed::sign(&world.command_key, signed::RECEIPTS, &body).map_err(|_| StoreError::Key)?;
    Ok(json!({"results": receipts.results, "receipts": signed}))
}

/// The same words as in a batch, so that both roads have one content.
fn submitted(entry: Entry, payload: &[u8]) -> Transaction {
    let payload = if entry.payload_suite == PLAIN {
        // What is no JSON is refused as such, with its id.
        serde_json::from_slice(payload).unwrap_or(Value::Null)
    } else {
        Value::String(STANDARD.encode(payload))
    };
    Transaction {
        id: entry.id,
        kind: entry.kind,
        item: entry.item,
        item_version: entry.item_version,
        case_number: entry.case_number,
        enqueued_at: entry.enqueued_at,
        upstream: entry.upstream,
        payload_suite: entry.payload_suite,
        payload,
        attachments: entry
            .attachments
            .into_iter()
            .map(|attachment| Attachment {
                id: attachment.id,
                name: attachment.name,
                media_type: attachment.media_type,
                size: attachment.size,
                sha256: attachment.sha256,
            })
            .collect(),
    }
}

fn refused(error: &BundleError) -> Problem {
    Problem::unprocessable(error.code(), "nothing of the bundle was taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_of_the_configuration_opens() {
        assert!(authorize(Some("secret"), Some("Bearer secret")).is_ok());
        for (expected, shown) in [
            (Some("secret"), None),
            (Some("secret"), Some("secret")),
            (Some("secret"), Some("Bearer ")),
            (None, Some("Bearer ")),
            (None, None),
        ] {
            assert!(
                authorize(expected, shown).is_err(),
                "{expected:?} {shown:?}"
            );
        }
    }
}
