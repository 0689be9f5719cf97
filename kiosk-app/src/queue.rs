//! From what a citizen confirmed to a durable transaction: ids, numbers, payload, and the slip that
//! is owed for it. The id is minted here, once, before the first attempt.

use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{Cache, CacheError, NewAttachment, NewTransaction, PrintState, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::clock::Moment;
use crate::event::{Answer, Commitment, Question, Rating, Submission, Unanswered};
use crate::keys::Keys;
use crate::person::Person;
use crate::platform::hex;
use crate::slip_code;

/// Setting under which the last commitment is kept until its slip is out.
const LAST: &str = "last-commitment";

/// What is needed to print the slip of a case again; nothing in it is personal.
#[derive(Serialize, Deserialize)]
struct Last {
    id: Uuid,
    number: String,
    item: String,
    time: String,
    digest: String,
    code: String,
}

/// A new time-ordered id.
pub(crate) fn mint(now: Moment) -> Uuid {
    let since =
        Duration::try_from(now.at.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        since.as_secs(),
        since.subsec_nanos(),
    ))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut array = [0; 32];
    array.copy_from_slice(digest.as_ref());
    array
}

/// Makes a case durable. When this returns, a power cut cannot take it back.
///
/// # Errors
/// [`CacheError`]: nothing was accepted.
pub fn commit(
    cache: &mut Cache,
    keys: &Keys,
    terminal: &str,
    submission: &Submission,
    now: Moment,
) -> Result<Commitment, CacheError> {
    let count = cache.next_number(terminal, now.date())?;
    let number = format!("{terminal}-{}-{count:05}", now.local().strftime("%Y%m%d"));
    let payload = payload(submission, &number, now).to_string().into_bytes();
    let digest = hex(&sha256(&payload)[..6]);
    let compact_time = now.local().strftime("%Y%m%d%H%M").to_string();
    let unsigned = slip_code::unsigned(&number, &compact_time, &digest);
    let commitment = Commitment {
        id: mint(now),
        number,
        item: submission.item.clone(),
        time: now.minute(),
        digest,
        code: format!("{unsigned}.{}", keys.sign(&unsigned)),
    };
    remember(cache, &commitment)?;
    cache.enqueue(
        &NewTransaction {
            id: commitment.id,
            kind: "case".to_owned(),
            item: submission.item.clone(),
            item_version: submission.item_version,
            case_number: commitment.number.clone(),
            subject: keys.subject(submission.principal.number.expose()),
            payload,
            payload_suite: "plain".to_owned(),
            attachments: attachments(submission, now),
        },
        now.at,
    )?;
    Ok(commitment)
}

/// Makes a rating durable.
///
/// # Errors
/// [`CacheError`]: the rating is lost, nothing else.
pub fn rate(
    cache: &mut Cache,
    keys: &Keys,
    rating: &Rating,
    now: Moment,
) -> Result<(), CacheError> {
    let payload =
        json!({ "case_number": rating.case_number, "level": rating.level, "channel": "kiosk" });
    cache
        .enqueue(
            &NewTransaction {
                id: mint(now),
                kind: "rating".to_owned(),
                item: rating.item.clone(),
                item_version: 1,
                case_number: rating.case_number.clone(),
                // A rating waits for nobody but its own case.
                subject: keys.subject(&rating.case_number),
                payload: payload.to_string().into_bytes(),
                payload_suite: "plain".to_owned(),
                attachments: Vec::new(),
            },
            now.at,
        )
        .map(drop)
}

fn payload(submission: &Submission, number: &str, now: Moment) -> serde_json::Value {
    let person = |person: &Person| {
        json!({
            "name": person.name.expose(),
            "number": person.number.expose(),
            "identified_by": person.source.name(),
        })
    };
    let answers: serde_json::Map<String, serde_json::Value> = submission
        .answers
        .iter()
        .map(|(id, value)| (id.clone(), json!(value.expose())))
        .collect();
    json!({
        "format": 1,
        "case_number": number,
        "item": submission.item,
        "principal": person(&submission.principal),
        "address": submission.principal.address.expose(),
        "helper": submission.helper.as_ref().map(person),
        "consent_time": submission.consent_time,
        "answers": answers,
        "verified_by": submission.verified_by,
        "verification": submission.verification,
        "is_offline": submission.is_offline,
        "channel": "kiosk",
        "confirmed_at": now.at.to_string(),
    })
}

fn attachments(submission: &Submission, now: Moment) -> Vec<NewAttachment> {
    submission
        .pictures
        .iter()
        .map(|picture| NewAttachment {
            id: mint(now),
            name: format!("{}.jpg", picture.document),
            media_type: "image/jpeg".to_owned(),
            bytes: picture.jpeg.expose().clone(),
        })
        .collect()
}

/// Written before the transaction: without the record it means nothing, with it the slip is owed.
fn remember(cache: &mut Cache, commitment: &Commitment) -> Result<(), CacheError> {
    let last = Last {
        id: commitment.id,
        number: commitment.number.clone(),
        item: commitment.item.clone(),
        time: commitment.time.clone(),
        digest: commitment.digest.clone(),
        code: commitment.code.clone(),
    };
    let text = serde_json::to_string(&last).unwrap_or_default();
    cache.set_setting(LAST, &text)
}

/// The last commitment whose slip is not out, if it is younger than `limit`.
///
/// # Errors
/// [`CacheError`] when the store fails.
pub fn owed_slip(
    cache: &Cache,
    now: Moment,
    limit: Duration,
) -> Result<Option<Commitment>, CacheError> {
    let Some(text) = cache.setting(LAST)? else {
        return Ok(None);
    };
    let Ok(last) = serde_json::from_str::<Last>(&text) else {
        return Ok(None);
    };
    let Some(record) = cache.case(&last.number)? else {
        return Ok(None);
    };
    let age = now.at.duration_since(record.enqueued_at);
    let is_recent = age.is_positive() && Duration::try_from(age).is_ok_and(|age| age < limit);
    let is_out = cache
        .prints_of_case(&last.number)?
        .iter()
        .any(|entry| matches!(entry.state, PrintState::Presented | PrintState::Taken));
    let is_owed = record.id == last.id && record.state != State::Dead && is_recent && !is_out;
    Ok(is_owed.then_some(Commitment {
        id: last.id,
        number: last.number,
        item: last.item,
        time: last.time,
        digest: last.digest,
        code: last.code,
    }))
}

/// How to say that a question could not even be asked.
pub(crate) fn unanswered(question: &Question) -> fn(&'static str) -> Answer {
    fn none(code: &'static str) -> Unanswered {
        Unanswered {
            code,
            words: String::new(),
        }
    }
    match question {
        Question::Identity { .. } => |code| Answer::Identity(Err(none(code))),
        Question::Face { .. } => |code| Answer::Face(Err(none(code))),
        Question::Witness { .. } => |code| Answer::Witness(Err(none(code))),
        Question::Credential { .. } => |code| Answer::Credential(Err(none(code))),
        Question::Case { .. } => |code| Answer::Case(Err(none(code))),
    }
}
