//! The one place where a transaction takes effect. The memory of its id, the opened content and
//! the effect are one commit; so a second arrival, whether it comes from a retry, from another
//! instance at the same moment or on a stick, can only be answered with the first receipt.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use kiosk_sealing::{SealingError, Suite, attachment_context, payload_context};
use serde_json::Value as Json;

use super::keys::Secrets;
use super::upload::{self, Upload};
use super::{Store, StoreError, standing};
use crate::database::{Database, Value};
use crate::messages::{Attachment, PLAIN, Receipt, Transaction, TransactionResult, Verdict};
use crate::problem::Problem;
use kiosk_sealing::{hex, sha256};

/// Seconds after which a transaction whose attachments are missing may come again.
const RETRY_AFTER_S: u32 = 5;
/// Seconds after which a transaction sealed to a key that is not known here may come again: an
/// operator must act first.
const KEY_RETRY_AFTER_S: u32 = 60;

/// By which road a transaction arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    Network,
    Bundle,
}

impl Road {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Bundle => "bundle",
        }
    }
}

impl Store {
    /// Takes transactions of a terminal, in order; every outcome is durable when it returns.
    pub(crate) fn accept_all(
        &mut self,
        terminal: &str,
        submitted: &[Transaction],
        road: Road,
        now: Timestamp,
    ) -> Result<Vec<TransactionResult>, StoreError> {
        let Self {
            database, secrets, ..
        } = self;
        database.transaction(|database| {
            submitted
                .iter()
                .map(|transaction| {
                    Ok(TransactionResult {
                        id: transaction.id,
                        verdict: accept(database, secrets, terminal, transaction, road, now)?,
                    })
                })
                .collect()
        })
    }

    /// Takes one transaction that came with its attachments' bytes, as on a stick.
    pub(crate) fn accept_carried(
        &mut self,
        terminal: &str,
        submitted: &Transaction,
        contents: &[Vec<u8>],
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let Self {
            database, secrets, ..
        } = self;
        database.transaction(|database| {
            for (attachment, content) in submitted.attachments.iter().zip(contents) {
                upload::put_whole(database, attachment, content)?;
            }
            accept(database, secrets, terminal, submitted, Road::Bundle, now)
        })
    }
}

fn accept(
    database: &mut Database,
    secrets: &mut Secrets,
    terminal: &str,
    submitted: &Transaction,
    road: Road,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    let digest = sha256(serde_json::to_string(submitted)?.as_bytes());
    if let Some(verdict) = earlier(database, submitted, &digest)? {
        return Ok(verdict);
    }
    if let Some(verdict) = refusal(database, submitted)? {
        return Ok(verdict);
    }
    let payload = match open_payload(database, secrets, terminal, submitted)? {
        Ok(payload) => payload,
        Err(verdict) => return Ok(verdict),
    };
    let mut opened = Vec::with_capacity(submitted.attachments.len());
    for attachment in &submitted.attachments {
        match open_attachment(database, secrets, terminal, submitted, attachment)? {
            Ok(content) => opened.push(content),
            Err(verdict) => return Ok(verdict),
        }
    }
    let receipt = receipt(submitted, now);
    let taken = Taken {
        terminal,
        submitted,
        road,
        digest: &digest,
        payload,
        opened: &opened,
        receipt: &receipt,
    };
    if !take_effect(database, &taken, now)? {
        // Another instance was first, between the question above and here.
        if let Some(verdict) = earlier(database, submitted, &digest)? {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Accepted { receipt })
}

/// What is to be written for one transaction.
struct Taken<'a> {
    terminal: &'a str,
    submitted: &'a Transaction,
    road: Road,
    digest: &'a [u8],
    payload: Json,
    opened: &'a [Vec<u8>],
    receipt: &'a Receipt,
}

/// The answer to a transaction that arrived before.
fn earlier(
    database: &mut Database,
    submitted: &Transaction,
    digest: &[u8],
) -> Result<Option<Verdict>, StoreError> {
    let id = submitted.id.to_string();
    let row = database.query_one(
        "SELECT content_digest, receipt FROM accepted WHERE id = ?1",
        &[Value::Text(&id)],
    )?;
    let Some(row) = row else {
        return Ok(None);
    };
    if row.blob(0)? != digest {
        return Ok(Some(rejected(
            "transaction.content-differs",
            "the id was used before with other content",
        )));
    }
    database.execute(
        "UPDATE accepted SET times_received = times_received + 1 WHERE id = ?1",
        &[Value::Text(&id)],
    )?;
    Ok(Some(Verdict::Duplicate {
        receipt: serde_json::from_str(&row.text(1)?)?,
    }))
}

/// Writes the effect; false when the id is there already.
fn take_effect(
    database: &mut Database,
    taken: &Taken<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Taken {
        terminal,
        submitted,
        receipt,
        ..
    } = taken;
    let id = submitted.id.to_string();
    let document = serde_json::to_string(&Transaction {
        payload: taken.payload.clone(),
        ..(*submitted).clone()
    })?;
    let at = now.to_string();
    let is_new = database.execute(
        "INSERT INTO accepted (id, terminal, kind, item, case_number, upstream, payload_suite, road,
            content_digest, document, attachments, receipt, received_at, times_received)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1)
         ON CONFLICT (id) DO NOTHING",
        &[
            Value::Text(&id),
            Value::Text(terminal),
            Value::Text(&submitted.kind),
            Value::Text(&submitted.item),
            Value::Text(&submitted.case_number),
            Value::Text(&submitted.upstream),
            Value::Text(&submitted.payload_suite),
            Value::Text(taken.road.word()),
            Value::Blob(taken.digest),
            Value::Text(&document),
            Value::Integer(i64::try_from(submitted.attachments.len()).unwrap_or(i64::MAX)),
            Value::Text(&serde_json::to_string(receipt)?),
            Value::Text(&at),
        ],
    )? == 1;
    if !is_new {
        return Ok(false);
    }
    for (attachment, content) in submitted.attachments.iter().zip(taken.opened) {
        upload::take_over(database, submitted.id, attachment, content)?;
    }
    if submitted.kind == "case" {
        database.execute(
            "INSERT INTO progress (case_number, item, state, text, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (case_number) DO NOTHING",
            &[
                Value::Text(&submitted.case_number),
                Value::Text(&submitted.item),
                Value::Text(&receipt.outcome),
                Value::Text(&receipt.message),
                Value::Text(&at),
            ],
        )?;
        standing::count_case(database, terminal, &submitted.item, now)?;
    }
    Ok(true)
}

fn rejected(code: &str, detail: &str) -> Verdict {
    Verdict::Rejected {
        problem: Problem::unprocessable(code, detail),
    }
}

/// Why a new transaction does not take effect now, if it does not.
fn refusal(
    database: &mut Database,
    submitted: &Transaction,
) -> Result<Option<Verdict>, StoreError> {
    if let Err(problem) = submitted.check() {
        return Ok(Some(Verdict::Rejected { problem }));
    }
    if !submitted.upstream.is_empty() {
        let row = database.query_one(
            "SELECT is_up FROM upstream WHERE name = ?1",
            &[Value::Text(&submitted.upstream)],
        )?;
        if row.map_or(Ok(1), |row| row.integer(0))? == 0 {
            return Ok(Some(Verdict::Retry {
                problem: Problem::upstream_unavailable(&submitted.upstream),
                retry_after_s: RETRY_AFTER_S,
            }));
        }
    }
    let suspended = database.query_one(
        "SELECT id FROM catalogue_item WHERE id = ?1 AND is_suspended = 1",
        &[Value::Text(&submitted.item)],
    )?;
    if suspended.is_some() {
        return Ok(Some(rejected("item.suspended", "the item is suspended")));
    }
    for attachment in &submitted.attachments {
        if let Some(verdict) = refused_attachment(database, attachment)? {
            return Ok(Some(verdict));
        }
    }
    Ok(None)
}

fn refused_attachment(
    database: &mut Database,
    attachment: &Attachment,
) -> Result<Option<Verdict>, StoreError> {
    let found = upload::find(database, attachment.id)?;
    let Some(upload) = found.filter(Upload::is_complete) else {
        return Ok(Some(Verdict::Retry {
            problem: Problem::conflict("attachment.incomplete", "an attachment is not complete"),
            retry_after_s: RETRY_AFTER_S,
        }));
    };
    if upload.length != attachment.size || upload.sha256 != attachment.sha256 {
        return Ok(Some(rejected(
            "attachment.differs",
            "an attachment is not the one that was uploaded",
        )));
    }
    Ok(None)
}

/// The payload as an object, opened if it is sealed.
fn open_payload(
    database: &mut Database,
    secrets: &mut Secrets,
    terminal: &str,
    submitted: &Transaction,
) -> Result<Result<Json, Verdict>, StoreError> {
    if submitted.payload_suite == PLAIN {
        return Ok(object(submitted.payload.clone()));
    }
    let malformed = || rejected("envelope.malformed", "the payload is no envelope in base64");
    if submitted.payload_suite.parse::<Suite>().is_err() {
        return Ok(Err(rejected(
            "envelope.unknown-suite",
            "the payload's suite is not known",
        )));
    }
    let Some(envelope) = submitted
        .payload
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok())
    else {
        return Ok(Err(malformed()));
    };
    let context = payload_context(terminal, submitted.id);
    Ok(
        match secrets.open_envelope(database, &context, &envelope)? {
            Ok(plain) => match serde_json::from_slice(&plain) {
                Ok(payload) => object(payload),
                Err(_) => Err(rejected(
                    "transaction.malformed",
                    "the payload is no JSON object",
                )),
            },
            Err(error) => Err(sealed_verdict(&error)),
        },
    )
}

fn object(payload: Json) -> Result<Json, Verdict> {
    if payload.is_object() {
        return Ok(payload);
    }
    Err(rejected(
        "transaction.malformed",
        "the payload is no JSON object",
    ))
}

/// An attachment's bytes, opened if its transaction is sealed.
fn open_attachment(
    database: &mut Database,
    secrets: &mut Secrets,
    terminal: &str,
    submitted: &Transaction,
    attachment: &Attachment,
) -> Result<Result<Vec<u8>, Verdict>, StoreError> {
    let Some(bytes) = upload::content(database, attachment.id)? else {
        // Its pieces were taken over by another transaction.
        return Ok(Err(rejected(
            "attachment.differs",
            "an attachment belongs to another transaction",
        )));
    };
    if submitted.payload_suite == PLAIN {
        return Ok(Ok(bytes));
    }
    let context = attachment_context(terminal, submitted.id, attachment.id);
    Ok(secrets
        .open_envelope(database, &context, &bytes)?
        .map_err(|error| sealed_verdict(&error)))
}

/// What an envelope that does not open means for its transaction.
fn sealed_verdict(error: &SealingError) -> Verdict {
    match error {
        SealingError::UnknownKey { .. } => Verdict::Retry {
            problem: Problem::new(
                StatusCode::CONFLICT,
                "envelope.unknown-key",
                "it is sealed to a key that is not known here",
            ),
            retry_after_s: KEY_RETRY_AFTER_S,
        },
        SealingError::Forged => rejected(
            "envelope.forged",
            "the envelope was altered, or is another transaction's",
        ),
        SealingError::TooLarge { .. }
        | SealingError::Truncated
        | SealingError::Malformed
        | SealingError::BadKey
        | SealingError::UnknownSuite
        | SealingError::Random => rejected("envelope.malformed", "the envelope cannot be read"),
    }
}

/// What the platform says to a transaction; the sentences are the sample authority's.
fn receipt(submitted: &Transaction, now: Timestamp) -> Receipt {
    let today = now.to_zoned(TimeZone::fixed(jiff::tz::offset(8))).date();
    let digest = hex(&sha256(submitted.id.as_bytes()));
    let mut receipt = Receipt {
        reference: format!(
            "P{}{}",
            today.strftime("%Y%m%d"),
            digest[..8].to_uppercase()
        ),
        accepted_at: now,
        outcome: "accepted".to_owned(),
        message: "已受理，请留意办理进度。".to_owned(),
        valid_until: None,
        promised_by: None,
    };
    match (submitted.kind.as_str(), submitted.item.as_str()) {
        ("rating", _) => {
            "completed".clone_into(&mut receipt.outcome);
            "感谢您的评价。".clone_into(&mut receipt.message);
        }
        ("ticket", _) => "已转12345热线办理。".clone_into(&mut receipt.message),
        ("erasure", _) => "已登记您的删除请求。".clone_into(&mut receipt.message),
        ("case", "pension-qualification") => {
            let until = today.saturating_add(12.months());
            "completed".clone_into(&mut receipt.outcome);
            receipt.message = format!(
                "资格认证已通过，有效期至{}。",
                until.strftime("%Y年%m月%d日")
            );
            receipt.valid_until = Some(until);
        }
        ("case", "old-age-allowance") => {
            let by = today.saturating_add(20.days());
            receipt.message = format!("已受理，承诺{}前办结。", by.strftime("%Y年%m月%d日"));
            receipt.promised_by = Some(by);
        }
        _ => {}
    }
    receipt
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use kiosk_sealing::{RecipientKey, RecipientSecret, seal};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::Config;
    use crate::messages::CatalogueItem;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn transaction(item: &str) -> Transaction {
        serde_json::from_value(json!({
            "id": Uuid::from_u128(7), "kind": "case", "item": item, "item_version": 1,
            "case_number": "T1-1", "enqueued_at": "2026-11-22T01:00:00Z", "payload": {"a": 1},
        }))
        .unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        (directory, store)
    }

    fn one(store: &mut Store, submitted: &Transaction) -> Verdict {
        let all = std::slice::from_ref(submitted);
        let mut results = store.accept_all("T1", all, Road::Network, NOW).unwrap();
        results.remove(0).verdict
    }

    fn code(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Accepted { .. } => "accepted".to_owned(),
            Verdict::Duplicate { .. } => "duplicate".to_owned(),
            Verdict::Rejected { problem } | Verdict::Retry { problem, .. } => {
                let json: Json = serde_json::from_slice(&problem.to_json()).unwrap();
                json["code"].as_str().unwrap().to_owned()
            }
        }
    }

    fn sealed(to: &str, terminal: &str, plain: &[u8]) -> Transaction {
        let to: RecipientKey = to.parse().unwrap();
        let mut submitted = transaction("a");
        let envelope = seal(&to, &payload_context(terminal, submitted.id), plain).unwrap();
        submitted.payload_suite = to.suite().to_string();
        submitted.payload = Json::String(STANDARD.encode(envelope));
        submitted
    }

    #[test]
    fn a_transaction_takes_effect_once_across_restarts() {
        let (directory, mut store) = store();
        let submitted = transaction("old-age-allowance");
        let Verdict::Accepted { receipt: first } = one(&mut store, &submitted) else {
            panic!("not accepted")
        };
        drop(store);
        let mut store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        let Verdict::Duplicate { receipt } = one(&mut store, &submitted) else {
            panic!("no duplicate")
        };
        assert_eq!(receipt.reference, first.reference);
        assert_eq!(receipt.accepted_at, first.accepted_at);
        let accepted = store.accepted().unwrap();
        assert_eq!((accepted.len(), accepted[0].times_received), (1, 2));
        assert_eq!(store.case("T1-1").unwrap().unwrap().state, "accepted");
    }

    #[test]
    fn the_same_id_with_other_content_is_rejected_without_effect() {
        let (_directory, mut store) = store();
        one(&mut store, &transaction("a"));
        let verdict = one(&mut store, &transaction("b"));
        assert_eq!(code(&verdict), "transaction.content-differs");
        assert_eq!(store.accepted().unwrap()[0].times_received, 1);
    }

    #[test]
    fn an_id_twice_in_one_batch_takes_effect_once() {
        let (_directory, mut store) = store();
        let both = [transaction("a"), transaction("a")];
        let results = store.accept_all("T1", &both, Road::Network, NOW).unwrap();
        assert_eq!(code(&results[0].verdict), "accepted");
        assert_eq!(code(&results[1].verdict), "duplicate");
    }

    #[test]
    fn a_sealed_payload_is_opened_and_another_terminals_is_refused() {
        let (_directory, mut store) = store();
        let key = store.sealing_key().unwrap();
        let foreign = sealed(&key, "T2", b"{\"a\": 1}");
        assert_eq!(code(&one(&mut store, &foreign)), "envelope.forged");
        let submitted = sealed(&key, "T1", b"{\"a\": 1}");
        assert_eq!(code(&one(&mut store, &submitted)), "accepted");
        let content = store.content(submitted.id).unwrap().unwrap();
        assert_eq!(content.document["payload"], json!({"a": 1}));
        assert_eq!(code(&one(&mut store, &submitted)), "duplicate");
    }

    #[test]
    fn what_is_sealed_to_an_unknown_key_waits_and_nonsense_is_rejected() {
        let (_directory, mut store) = store();
        let stranger = RecipientSecret::generate(Suite::Intl).unwrap().public();
        let unknown = sealed(&stranger.to_string(), "T1", b"{}");
        let verdict = one(&mut store, &unknown);
        assert!(matches!(verdict, Verdict::Retry { .. }));
        assert_eq!(code(&verdict), "envelope.unknown-key");
        let mut nonsense = transaction("a");
        nonsense.payload_suite = "intl".to_owned();
        assert_eq!(code(&one(&mut store, &nonsense)), "envelope.malformed");
        nonsense.payload_suite = "rot13".to_owned();
        assert_eq!(code(&one(&mut store, &nonsense)), "envelope.unknown-suite");
        let key = store.sealing_key().unwrap();
        let list = sealed(&key, "T1", b"[1]");
        assert_eq!(code(&one(&mut store, &list)), "transaction.malformed");
        assert!(store.accepted().unwrap().is_empty());
    }

    #[test]
    fn what_was_sealed_before_a_rotation_still_opens() {
        let (directory, mut store) = store();
        let old = store.sealing_key().unwrap();
        let new = store.rotate_sealing_key(NOW).unwrap();
        assert_ne!(old, new);
        drop(store);
        let mut store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        assert_eq!(store.sealing_key().unwrap(), new);
        assert_eq!(
            code(&one(&mut store, &sealed(&old, "T1", b"{}"))),
            "accepted"
        );
    }

    #[test]
    fn one_upstream_that_is_down_stops_only_its_own() {
        let (_directory, mut store) = store();
        store.set_upstream("medical", false).unwrap();
        let mut medical = transaction("a");
        medical.upstream = "medical".to_owned();
        let verdict = one(&mut store, &medical);
        let Verdict::Retry {
            problem,
            retry_after_s,
        } = &verdict
        else {
            panic!("not postponed")
        };
        let problem: Json = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(problem["upstream"], "medical");
        assert!(*retry_after_s > 0);
        let mut pension = transaction("a");
        pension.id = Uuid::from_u128(8);
        pension.upstream = "pension".to_owned();
        assert_eq!(code(&one(&mut store, &pension)), "accepted");
        store.set_upstream("medical", true).unwrap();
        assert_eq!(code(&one(&mut store, &medical)), "accepted");
    }

    #[test]
    fn a_suspended_item_is_rejected() {
        let (_directory, mut store) = store();
        let item = CatalogueItem {
            id: "a".to_owned(),
            version: 1,
            is_suspended: true,
        };
        store.set_item(&item).unwrap();
        assert_eq!(code(&one(&mut store, &transaction("a"))), "item.suspended");
        assert!(store.accepted().unwrap().is_empty());
    }

    #[test]
    fn a_qualification_holds_twelve_months_and_an_allowance_has_a_promised_day() {
        let receipt_of = |item| receipt(&transaction(item), NOW);
        let qualification = receipt_of("pension-qualification");
        assert_eq!(qualification.outcome, "completed");
        assert_eq!(qualification.valid_until, Some(date(1971, 1, 1)));
        let allowance = receipt_of("old-age-allowance");
        assert_eq!(allowance.outcome, "accepted");
        assert_eq!(allowance.promised_by, Some(date(1970, 1, 21)));
    }
}
