//! From what a citizen confirmed to a durable transaction: ids, numbers, payload, and the slip that
//! is owed for it. The id is minted here, once, before the first attempt.
//!
//! Whatever is queued is sealed to the platform first: the terminal keeps no plaintext and could not
//! read back what it queued.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use kiosk_sealing::{
    RecipientKey, SealingError, attachment_context, hex, payload_context, seal, sha256,
};
use offline_cache::{
    Cache, CacheError, Confirmation, NewAttachment, NewTransaction, PrintState, State,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::Moment;
use crate::event::{Answer, Commitment, Question, Rating, Submission, TakenPicture, Unanswered};
use crate::keys::Keys;
use crate::person::Person;
use crate::slip_code;

/// Setting under which the last commitment is kept until its slip is out.
const LAST: &str = "last-commitment";
/// Where what is queued was given: at a kiosk.
const CHANNEL: &str = "kiosk";
/// Stands for a signature that could not be made.
const UNSIGNED: &str = "unsigned";
/// Numbers tried before giving up; chosen: one thread alone confirms cases, so the first one holds.
const NUMBER_ATTEMPTS: u32 = 3;

/// To whom what is queued is sealed, and by whom.
#[derive(Clone, Debug)]
pub struct Sealing {
    /// The platform's key.
    pub key: RecipientKey,
    /// Number of the terminal; bound into every envelope.
    pub terminal: String,
}

/// Why something could not be made durable; nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// It could not be sealed; the plaintext is never stored instead.
    #[error("what was confirmed could not be sealed")]
    Sealing(#[from] SealingError),
}

impl QueueError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Sealing(error) => error.code(),
        }
    }
}

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

/// Makes a case durable, with its number and the slip that is owed for it, in one commit. When this
/// returns, a power cut cannot take it back.
///
/// # Errors
/// [`QueueError`]: nothing was accepted.
pub fn commit(
    cache: &mut Cache,
    keys: &Keys,
    sealing: &Sealing,
    submission: &Submission,
    upstream: &str,
    now: Moment,
) -> Result<Commitment, QueueError> {
    for _ in 0..NUMBER_ATTEMPTS {
        let count = cache.number_ahead(&sealing.terminal, now.date())?;
        let case = Case {
            keys,
            sealing,
            submission,
            upstream,
        };
        if let Some(commitment) = case.store(cache, count, now)? {
            return Ok(commitment);
        }
    }
    // Somebody beside this thread takes the numbers as fast as they are told.
    Err(CacheError::InUse.into())
}

/// A case on its way into the store.
struct Case<'a> {
    keys: &'a Keys,
    sealing: &'a Sealing,
    submission: &'a Submission,
    upstream: &'a str,
}

impl Case<'_> {
    /// Stores it under a number of the day; `None` when somebody else took the number meanwhile.
    fn store(
        &self,
        cache: &mut Cache,
        count: u32,
        now: Moment,
    ) -> Result<Option<Commitment>, QueueError> {
        let (sealing, submission) = (self.sealing, self.submission);
        let terminal = &sealing.terminal;
        let number = format!("{terminal}-{}-{count:05}", now.local().strftime("%Y%m%d"));
        let id = mint(now);
        let plain = plain(&CasePayload::new(submission, &number, now));
        let digest = hex(&sha256(&plain)[..6]);
        let payload = seal(&sealing.key, &payload_context(terminal, id), &plain)?;
        drop(plain);
        let attachments = attachments(sealing, id, submission, now)?;
        let compact_time = now.local().strftime("%Y%m%d%H%M").to_string();
        let unsigned = slip_code::unsigned(&number, &compact_time, &digest);
        let commitment = Commitment {
            id,
            code: format!("{unsigned}.{}", slip_signature(self.keys, &unsigned)),
            number,
            item: submission.item.clone(),
            time: now.minute(),
            digest,
        };
        let transaction = NewTransaction {
            id,
            kind: "case".to_owned(),
            item: submission.item.clone(),
            item_version: submission.item_version,
            case_number: commitment.number.clone(),
            subject: self.keys.subject(submission.principal.number.expose()),
            payload,
            payload_suite: sealing.key.suite().to_string(),
            key_id: sealing.key.key_id(),
            upstream: self.upstream.to_owned(),
            can_wait: false,
            attachments,
        };
        let remembered = remembered(&commitment);
        let confirmation = Confirmation {
            terminal,
            date: now.date(),
            number: count,
            // The slip is owed from the same moment on.
            setting: (LAST, &remembered),
        };
        let stored = cache.enqueue_case(&transaction, &confirmation, now.at)?;
        Ok(stored.map(|_| commitment))
    }
}

/// The signature on a slip. A key that cannot sign just now must not stop a villager: the number
/// alone finds the case at any terminal.
fn slip_signature(keys: &Keys, unsigned: &str) -> String {
    keys.sign(unsigned).unwrap_or_else(|error| {
        tracing::error!(%error, "slip without a signature");
        UNSIGNED.to_owned()
    })
}

/// Makes a rating durable.
///
/// # Errors
/// [`QueueError`]: the rating is lost, nothing else.
pub fn rate(
    cache: &mut Cache,
    keys: &Keys,
    sealing: &Sealing,
    rating: &Rating,
    now: Moment,
) -> Result<(), QueueError> {
    let id = mint(now);
    let plain = plain(&RatingPayload {
        case_number: &rating.case_number,
        level: rating.level,
        channel: CHANNEL,
    });
    let payload = seal(
        &sealing.key,
        &payload_context(&sealing.terminal, id),
        &plain,
    )?;
    cache.enqueue(
        &NewTransaction {
            id,
            kind: "rating".to_owned(),
            item: rating.item.clone(),
            item_version: 1,
            case_number: rating.case_number.clone(),
            // A rating waits for nobody but its own case.
            subject: keys.subject(&rating.case_number),
            payload,
            payload_suite: sealing.key.suite().to_string(),
            key_id: sealing.key.key_id(),
            // The platform itself keeps ratings; no office behind it need be up.
            upstream: String::new(),
            can_wait: true,
            attachments: Vec::new(),
        },
        now.at,
    )?;
    Ok(())
}

#[derive(Serialize)]
struct CasePayload<'a> {
    format: u32,
    case_number: &'a str,
    item: &'a str,
    principal: PersonPayload<'a>,
    address: &'a str,
    helper: Option<PersonPayload<'a>>,
    consent_time: &'a str,
    answers: BTreeMap<&'a str, &'a str>,
    verified_by: &'a str,
    verification: &'a str,
    is_offline: bool,
    channel: &'a str,
    confirmed_at: String,
}

#[derive(Serialize)]
struct PersonPayload<'a> {
    name: &'a str,
    number: &'a str,
    identified_by: &'a str,
}

#[derive(Serialize)]
struct RatingPayload<'a> {
    case_number: &'a str,
    level: u8,
    channel: &'a str,
}

impl<'a> CasePayload<'a> {
    fn new(submission: &'a Submission, case_number: &'a str, now: Moment) -> Self {
        Self {
            format: 1,
            case_number,
            item: &submission.item,
            principal: PersonPayload::new(&submission.principal),
            address: submission.principal.address.expose(),
            helper: submission.helper.as_ref().map(PersonPayload::new),
            consent_time: &submission.consent_time,
            answers: submission
                .answers
                .iter()
                .map(|(id, value)| (id.as_str(), value.expose().as_str()))
                .collect(),
            verified_by: submission.verified_by,
            verification: &submission.verification,
            is_offline: submission.is_offline,
            channel: CHANNEL,
            confirmed_at: now.at.to_string(),
        }
    }
}

impl<'a> PersonPayload<'a> {
    fn new(person: &'a Person) -> Self {
        Self {
            name: person.name.expose(),
            number: person.number.expose(),
            identified_by: person.source.name(),
        }
    }
}

/// Counts what would be written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A payload as JSON, overwritten when dropped. Its length is counted first: a buffer that grew would
/// leave pieces of a person behind in memory.
fn plain(payload: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, payload).expect("plain text and numbers become JSON");
    let mut plain = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *plain, payload).expect("plain text and numbers become JSON");
    plain
}

fn attachments(
    sealing: &Sealing,
    transaction: Uuid,
    submission: &Submission,
    now: Moment,
) -> Result<Vec<NewAttachment>, SealingError> {
    let attachment = |picture: &TakenPicture| {
        let id = mint(now);
        let context = attachment_context(&sealing.terminal, transaction, id);
        Ok(NewAttachment {
            id,
            name: format!("{}.jpg", picture.document),
            media_type: "image/jpeg".to_owned(),
            bytes: seal(&sealing.key, &context, picture.jpeg.expose())?,
        })
    };
    submission.pictures.iter().map(attachment).collect()
}

/// A commitment as it is kept until its slip is out.
fn remembered(commitment: &Commitment) -> String {
    let last = Last {
        id: commitment.id,
        number: commitment.number.clone(),
        item: commitment.item.clone(),
        time: commitment.time.clone(),
        digest: commitment.digest.clone(),
        code: commitment.code.clone(),
    };
    serde_json::to_string(&last).expect("plain words become JSON")
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

#[cfg(test)]
mod tests {
    use kiosk_device::Sensitive;
    use kiosk_sealing::{Algorithm, KeySource, RecipientSecret, Suite, open};
    use kiosk_ui::Picture;
    use offline_cache::Ready;
    use std::sync::Arc;

    use super::*;
    use crate::person::Source;

    const NAME: &str = "测试一";
    const NUMBER: &str = "440100197505050046";

    fn now() -> Moment {
        Moment {
            at: Timestamp::from_second(1_795_311_660).unwrap(),
            uptime: Duration::from_secs(100),
        }
    }

    fn submission() -> Submission {
        Submission {
            item: "old-age-allowance".to_owned(),
            item_version: 1,
            principal: Person {
                name: Sensitive::new(NAME.to_owned()),
                source: Source::Card,
                ..Person::from_number(NUMBER)
            },
            helper: None,
            consent_time: String::new(),
            answers: vec![("phone".to_owned(), Sensitive::new("13800000000".to_owned()))],
            verified_by: "none",
            verification: String::new(),
            pictures: vec![TakenPicture {
                document: "household".to_owned(),
                jpeg: Arc::new(Sensitive::new(b"JPEG of a synthetic page".to_vec())),
                preview: Picture {
                    width: 1,
                    height: 1,
                    rgb: Arc::new(vec![0; 3]),
                },
            }],
            is_offline: true,
        }
    }

    struct Bench {
        directory: tempfile::TempDir,
        cache: Cache,
        keys: Keys,
        secret: RecipientSecret,
        sealing: Sealing,
    }

    fn bench(suite: Suite) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let (cache, _) = Cache::open(&directory.path().join("store"), now().at).unwrap();
        let source = KeySource::File {
            path: directory.path().join("device-key.pk8"),
            algorithm: Algorithm::Ed25519,
        };
        let secret = RecipientSecret::generate(suite).unwrap();
        Bench {
            cache,
            keys: Keys::open(directory.path(), &source).unwrap(),
            sealing: Sealing {
                key: secret.public(),
                terminal: "T001".to_owned(),
            },
            secret,
            directory,
        }
    }

    /// Every file below a directory holds none of these words.
    fn is_free_of(directory: &std::path::Path, words: &[&[u8]]) -> bool {
        std::fs::read_dir(directory).unwrap().all(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return is_free_of(&path, words);
            }
            let bytes = std::fs::read(&path).unwrap();
            words
                .iter()
                .all(|word| !bytes.windows(word.len()).any(|window| window == *word))
        })
    }

    #[test]
    fn what_was_confirmed_is_never_on_the_disk_in_the_clear_and_the_platform_can_read_it() {
        for suite in [Suite::Intl, Suite::Gm] {
            let mut bench = bench(suite);
            let commitment = commit(
                &mut bench.cache,
                &bench.keys,
                &bench.sealing,
                &submission(),
                "civil-affairs",
                now(),
            )
            .unwrap();
            let words: [&[u8]; 4] = [
                NAME.as_bytes(),
                NUMBER.as_bytes(),
                b"13800000000",
                b"JPEG of a synthetic page",
            ];
            assert!(is_free_of(bench.directory.path(), &words), "{suite}");
            let ready = Ready {
                held: &[],
                with_patient: true,
            };
            let attachments = bench.cache.attachments_due(now().at, 8, &ready).unwrap();
            let [attachment] = attachments.as_slice() else {
                panic!("{} attachments", attachments.len());
            };
            let bytes = bench.cache.attachment_bytes(attachment.id).unwrap();
            let context = attachment_context("T001", commitment.id, attachment.id);
            let secrets = [bench.secret];
            let picture = open(&secrets, &context, &bytes).unwrap();
            assert_eq!(picture.as_slice(), b"JPEG of a synthetic page");
            let rows = bench
                .cache
                .carry_out(offline_cache::Sequence(0), 8)
                .unwrap();
            assert_eq!(rows[0].payload_suite, suite.to_string());
            assert_eq!(rows[0].upstream, "civil-affairs");
            let context = payload_context("T001", commitment.id);
            let plain = open(&secrets, &context, &rows[0].payload).unwrap();
            let payload: serde_json::Value = serde_json::from_slice(&plain).unwrap();
            assert_eq!(payload["principal"]["number"], NUMBER);
            assert_eq!(payload["answers"]["phone"], "13800000000");
            assert_eq!(payload["case_number"], commitment.number);
        }
    }

    #[test]
    fn a_slip_that_was_owed_is_found_again_without_the_plaintext() {
        let mut bench = bench(Suite::Intl);
        let commitment = commit(
            &mut bench.cache,
            &bench.keys,
            &bench.sealing,
            &submission(),
            "",
            now(),
        )
        .unwrap();
        let later = Moment {
            at: now().at + Duration::from_mins(1),
            uptime: Duration::from_secs(1),
        };
        let owed = owed_slip(&bench.cache, later, Duration::from_mins(10)).unwrap();
        assert_eq!(owed, Some(commitment));
    }

    #[test]
    fn a_rating_can_wait_and_is_sealed_too() {
        let mut bench = bench(Suite::Intl);
        let rating = Rating {
            case_number: "T001-20261122-00001".to_owned(),
            item: "old-age-allowance".to_owned(),
            level: 5,
        };
        rate(
            &mut bench.cache,
            &bench.keys,
            &bench.sealing,
            &rating,
            now(),
        )
        .unwrap();
        let mut ready = Ready {
            held: &[],
            with_patient: false,
        };
        assert!(bench.cache.due(now().at, 8, &ready).unwrap().is_empty());
        ready.with_patient = true;
        let rows = bench.cache.due(now().at, 8, &ready).unwrap();
        assert!(rows[0].can_wait);
        let context = payload_context("T001", rows[0].id);
        let plain = open(&[bench.secret], &context, &rows[0].payload).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&plain).unwrap();
        assert_eq!(payload["level"], 5);
    }

    #[test]
    fn every_length_is_counted_before_it_is_written() {
        let submission = submission();
        let plain = plain(&CasePayload::new(&submission, "T001-20261122-00001", now()));
        assert_eq!(plain.capacity(), plain.len());
    }
}
