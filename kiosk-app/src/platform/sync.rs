//! Drains the outbox: attachments first, then batches; one result per transaction; retry for ever,
//! at a bounded rate. The order and the states belong to the cache; this file moves the bytes.

use std::collections::HashMap;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{Cache, CacheError, QueuedAttachment, QueuedTransaction, State};
use reqwest::Method;
use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use super::client::{Client, PlatformError, checked, hex, transport};
use super::messages::{
    BatchAttachment, BatchReply, BatchResult, BatchTransaction, ProblemReply, ReceiptReply,
};
use super::{KnownCase, for_people};
use crate::clock;
use crate::event::{CaseState, Event, Receipt};
use crate::runtime::Input;

/// Transactions of one batch.
const BATCH_MAX: u32 = 100;
/// Attachments uploaded in one pass, so that questions and batches get their turn.
const UPLOADS_MAX: u32 = 4;
/// Bytes of one upload request (the contract allows 256 KiB to 1 MiB).
const CHUNK_BYTES: usize = 512 * 1024;
/// One chunk on the thinnest line.
const CHUNK_LIMIT: Duration = Duration::from_mins(1);
/// First and longest pause of the backoff (`design.md` §6).
const BACKOFF_MIN: Duration = Duration::from_secs(2);
const BACKOFF_MAX: Duration = Duration::from_mins(15);

/// The drain of one outbox to one platform.
pub(super) struct Sync {
    client: Client,
    cache: Cache,
    probe: Duration,
    out: SyncSender<Input>,
    is_online: bool,
    /// After an outage one transaction goes first: a platform that has just come back is not flooded.
    is_first_after_outage: bool,
    wants_pass: bool,
    probed_at: Option<Duration>,
    random: SystemRandom,
}

impl Sync {
    pub(super) fn new(
        client: Client,
        cache: Cache,
        probe: Duration,
        out: SyncSender<Input>,
    ) -> Self {
        Self {
            client,
            cache,
            probe,
            out,
            is_online: false,
            is_first_after_outage: true,
            wants_pass: true,
            probed_at: None,
            random: SystemRandom::new(),
        }
    }

    /// Something new is in the outbox.
    pub(super) fn wake(&mut self) {
        self.wants_pass = true;
        self.report_depth();
    }

    /// How long to wait before the next pass.
    pub(super) fn pause(&self) -> Duration {
        if self.wants_pass {
            return Duration::ZERO;
        }
        let now = clock::now();
        let to_probe = self.probed_at.map_or(Duration::ZERO, |at| {
            (at + self.probe).saturating_sub(now.uptime)
        });
        if !self.is_online {
            return to_probe;
        }
        let to_due = match self.cache.next_due_at(now.at) {
            Ok(Some(at)) => Duration::try_from(at.duration_since(now.at)).unwrap_or_default(),
            Ok(None) => to_probe,
            Err(error) => {
                complain(&error);
                to_probe
            }
        };
        to_due.min(to_probe)
    }

    /// One look at the line and one turn of the drain. Never fails: what goes wrong waits.
    pub(super) async fn pass(&mut self) {
        self.wants_pass = false;
        let now = clock::now();
        let is_probe_due = self
            .probed_at
            .is_none_or(|at| now.uptime >= at + self.probe);
        if is_probe_due || !self.is_online {
            self.probed_at = Some(now.uptime);
            let is_reachable = self.client.is_reachable().await;
            self.line(is_reachable);
        }
        if !self.is_online {
            return;
        }
        if let Err(error) = self.drain().await {
            complain(&error);
        }
        self.report_depth();
    }

    fn line(&mut self, is_online: bool) {
        if is_online != self.is_online {
            tracing::info!(is_online, "line to the platform");
            self.is_online = is_online;
            self.is_first_after_outage = true;
            self.send(Event::Link(is_online));
        }
    }

    fn send(&self, event: Event) {
        if self.out.send(Input::Event(event)).is_err() {
            tracing::debug!("the loop has ended");
        }
    }

    pub(super) fn report_depth(&self) {
        match self.cache.depth() {
            Ok(depth) => self.send(Event::Pending(
                u32::try_from(depth.waiting).unwrap_or(u32::MAX),
            )),
            Err(error) => complain(&error),
        }
    }

    /// What this terminal knows of a case.
    pub(super) fn known_case(&self, number: &str) -> Option<KnownCase> {
        let record = match self.cache.case(number) {
            Ok(record) => record?,
            Err(error) => {
                complain(&error);
                return None;
            }
        };
        let (state, text) = match (&record.state, &record.receipt) {
            (State::Acked, Some(receipt)) => (receipt.outcome.clone(), receipt.message.clone()),
            (State::Dead, _) => ("correction".to_owned(), String::new()),
            (State::Acked | State::WaitingAttachments | State::Pending | State::InFlight, _) => {
                ("pending".to_owned(), String::new())
            }
        };
        Some(KnownCase {
            state: record.state,
            case: CaseState {
                state,
                text,
                updated: for_people(record.ended_at.unwrap_or(record.enqueued_at)),
            },
        })
    }

    async fn drain(&mut self) -> Result<(), CacheError> {
        let uploads = self.cache.attachments_due(clock::now().at, UPLOADS_MAX)?;
        for attachment in &uploads {
            if let Err(error) = self.upload(attachment).await? {
                self.failed(&[attachment.transaction_id], &[0], &error)?;
                return Ok(());
            }
        }
        let limit = if self.is_first_after_outage {
            1
        } else {
            BATCH_MAX
        };
        let due = self.cache.due(clock::now().at, limit)?;
        // There may be more than this turn took.
        self.wants_pass = !uploads.is_empty() || !due.is_empty();
        if due.is_empty() {
            return Ok(());
        }
        self.submit(due).await
    }

    /// Sends a batch; a refusal of the whole batch is bisected until it has a name.
    async fn submit(&mut self, due: Vec<QueuedTransaction>) -> Result<(), CacheError> {
        let mut open = vec![due];
        while let Some(mut batch) = open.pop() {
            let messages = batch.iter().map(message).collect();
            match self.client.batch(messages).await {
                Ok(reply) => {
                    self.is_first_after_outage = false;
                    self.settle_all(&batch, reply)?;
                }
                Err(PlatformError::Refused { .. }) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    open.push(second);
                    open.push(batch);
                }
                Err(PlatformError::Refused { code, .. }) => {
                    let id = batch[0].id;
                    tracing::error!(%id, code, "the platform refuses a transaction");
                    self.cache
                        .park(id, "platform", "platform.refused", clock::now().at)?;
                    self.refused(id, String::new());
                }
                Err(error) => {
                    let mut waiting = batch;
                    waiting.extend(open.into_iter().flatten());
                    let ids: Vec<Uuid> = waiting.iter().map(|each| each.id).collect();
                    let attempts: Vec<u32> = waiting.iter().map(|each| each.attempts).collect();
                    return self.failed(&ids, &attempts, &error);
                }
            }
        }
        Ok(())
    }

    /// The line or the platform failed: everything waits, nothing is at fault.
    fn failed(
        &mut self,
        ids: &[Uuid],
        attempts: &[u32],
        error: &PlatformError,
    ) -> Result<(), CacheError> {
        tracing::warn!(code = error.code(), %error, count = ids.len(), "sync deferred");
        let now = clock::now().at;
        for (id, attempts) in ids.iter().zip(attempts) {
            let pause = error
                .retry_after()
                .map_or_else(|| self.backoff(*attempts), |asked| asked.min(BACKOFF_MAX));
            self.cache
                .defer(*id, later(now, pause), error.code(), now)?;
        }
        self.wants_pass = false;
        if matches!(error, PlatformError::Unreachable) {
            self.line(false);
        }
        Ok(())
    }

    fn settle_all(
        &mut self,
        batch: &[QueuedTransaction],
        reply: BatchReply,
    ) -> Result<(), CacheError> {
        let mut results: HashMap<Uuid, BatchResult> = reply
            .results
            .into_iter()
            .take(batch.len() * 2)
            .map(|result| (result.id, result))
            .collect();
        let now = clock::now().at;
        for transaction in batch {
            if let Some(result) = results.remove(&transaction.id) {
                self.settle_one(transaction, result, now)?;
            } else {
                // No answer is no answer: it stays pending.
                self.later(transaction, None, "platform.bad-reply", now)?;
            }
        }
        if !results.is_empty() {
            tracing::warn!(
                count = results.len(),
                "results for transactions that were not sent"
            );
        }
        Ok(())
    }

    fn settle_one(
        &mut self,
        transaction: &QueuedTransaction,
        result: BatchResult,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        let id = transaction.id;
        match (result.result.as_str(), result.receipt) {
            ("accepted" | "duplicate", Some(raw)) => {
                match serde_json::from_value::<ReceiptReply>(raw.clone()) {
                    Ok(reply) => {
                        let receipt = offline_cache::Receipt {
                            reference: reply.reference,
                            outcome: reply.outcome,
                            message: reply.message,
                            valid_until: reply.valid_until.and_then(|date| date.parse().ok()),
                            raw: raw.to_string(),
                        };
                        self.cache.settle(id, &receipt, now)?;
                        self.send(Event::Settled {
                            id,
                            receipt: Receipt {
                                reference: receipt.reference,
                                outcome: receipt.outcome,
                                message: receipt.message,
                                valid_until: receipt
                                    .valid_until
                                    .map(|date| date.to_string())
                                    .unwrap_or_default(),
                            },
                        });
                        Ok(())
                    }
                    Err(_) => self.later(transaction, None, "platform.bad-reply", now),
                }
            }
            ("rejected", _) => {
                let problem = result.problem.unwrap_or_default();
                tracing::error!(%id, code = problem.code, "the platform rejects a transaction");
                self.cache.park(id, "platform", "platform.rejected", now)?;
                self.refused(id, problem.detail);
                Ok(())
            }
            // Only pictures that the platform misses are sent again; they are the bulk of the line.
            ("retry", _) if misses_attachments(result.problem.as_ref()) => {
                let pause = self.backoff(transaction.attempts);
                self.cache.upload_again(id, later(now, pause), now)
            }
            ("retry", _) => self.later(transaction, result.retry_after_s, "platform.not-now", now),
            _ => self.later(transaction, None, "platform.bad-reply", now),
        }
    }

    fn later(
        &mut self,
        transaction: &QueuedTransaction,
        asked_s: Option<u64>,
        code: &str,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        let pause = asked_s.map_or_else(
            || self.backoff(transaction.attempts),
            |seconds| Duration::from_secs(seconds).min(BACKOFF_MAX),
        );
        self.cache
            .defer(transaction.id, later(now, pause), code, now)
    }

    fn refused(&self, id: Uuid, message: String) {
        self.send(Event::Settled {
            id,
            receipt: Receipt {
                reference: String::new(),
                outcome: "rejected".to_owned(),
                message,
                valid_until: String::new(),
            },
        });
    }

    /// Uploads one attachment from where the platform has it (tus 1.0).
    async fn upload(
        &mut self,
        attachment: &QueuedAttachment,
    ) -> Result<Result<(), PlatformError>, CacheError> {
        let bytes = match self.cache.attachment_bytes(attachment.id) {
            Ok(bytes) => bytes,
            Err(error @ CacheError::AttachmentDamaged { .. }) => {
                complain(&error);
                self.cache.park(
                    attachment.transaction_id,
                    "terminal",
                    error.code(),
                    clock::now().at,
                )?;
                return Ok(Ok(()));
            }
            Err(error) => return Err(error),
        };
        let (url, mut offset) = match self.place(attachment).await {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        self.cache
            .attachment_progress(attachment.id, offset, Some(&url))?;
        while offset < attachment.size {
            let start = usize::try_from(offset)
                .unwrap_or(bytes.len())
                .min(bytes.len());
            let end = (start + CHUNK_BYTES).min(bytes.len());
            match self.chunk(&url, offset, bytes[start..end].to_vec()).await {
                Ok(next) if next > offset && next <= attachment.size => offset = next,
                Ok(_) => return Ok(Err(PlatformError::BadReply("an upload that does not move"))),
                Err(error) => return Ok(Err(error)),
            }
            self.cache
                .attachment_progress(attachment.id, offset, None)?;
        }
        Ok(Ok(()))
    }

    /// Where an upload goes on, and from which byte.
    async fn place(&self, attachment: &QueuedAttachment) -> Result<(String, u64), PlatformError> {
        if let Some(url) = &attachment.upload_url {
            let head = self.tus(Method::HEAD, url).send().await;
            match checked(head).await {
                Ok(reply) => return Ok((url.clone(), offset_of(&reply)?.min(attachment.size))),
                // The platform has forgotten the upload: begin anew.
                Err(PlatformError::Refused {
                    status: 404 | 410, ..
                }) => {}
                Err(error) => return Err(error),
            }
        }
        let metadata = [
            ("id", attachment.id.to_string()),
            ("transaction", attachment.transaction_id.to_string()),
            ("name", attachment.name.clone()),
            ("media_type", attachment.media_type.clone()),
            ("sha256", hex(&attachment.sha256)),
        ]
        .map(|(key, value)| {
            use base64::Engine;
            format!(
                "{key} {}",
                base64::engine::general_purpose::STANDARD.encode(value)
            )
        })
        .join(",");
        let reply = self
            .tus(Method::POST, "/v1/attachments")
            .header("upload-length", attachment.size)
            .header("upload-metadata", metadata)
            .send()
            .await;
        let reply = checked(reply).await?;
        let location = reply
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .ok_or(PlatformError::BadReply("an upload without a place"))?;
        let is_at_home = location.starts_with('/') || location.starts_with(self.client.base());
        if !is_at_home {
            return Err(PlatformError::BadReply("an upload to somewhere else"));
        }
        Ok((
            location.to_owned(),
            offset_of(&reply).unwrap_or(0).min(attachment.size),
        ))
    }

    async fn chunk(&self, url: &str, offset: u64, bytes: Vec<u8>) -> Result<u64, PlatformError> {
        let reply = self
            .tus(Method::PATCH, url)
            .header("upload-offset", offset)
            .header("content-type", "application/offset+octet-stream")
            .body(bytes)
            .send()
            .await
            .map_err(|error| transport(&error));
        match reply {
            Ok(reply) => offset_of(&checked(Ok(reply)).await?),
            Err(error) => Err(error),
        }
    }

    fn tus(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, url, CHUNK_LIMIT)
            .header("tus-resumable", "1.0.0")
    }

    /// Full jitter: anything up to a bound that doubles with each attempt.
    fn backoff(&self, attempts: u32) -> Duration {
        let bound = BACKOFF_MIN
            .saturating_mul(1 << attempts.min(16))
            .min(BACKOFF_MAX);
        let mut bytes = [0_u8; 4];
        if self.random.fill(&mut bytes).is_err() {
            return bound;
        }
        bound.mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }
}

fn misses_attachments(problem: Option<&ProblemReply>) -> bool {
    problem.is_some_and(|problem| problem.code == "attachment.incomplete")
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(now)
}

fn complain(error: &CacheError) {
    tracing::error!(code = error.code(), %error, "outbox");
}

fn offset_of(reply: &reqwest::Response) -> Result<u64, PlatformError> {
    reply
        .headers()
        .get("upload-offset")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or(PlatformError::BadReply("an upload without an offset"))
}

fn message(transaction: &QueuedTransaction) -> BatchTransaction {
    BatchTransaction {
        id: transaction.id,
        kind: transaction.kind.clone(),
        item: transaction.item.clone(),
        item_version: transaction.item_version,
        case_number: transaction.case_number.clone(),
        enqueued_at: transaction.enqueued_at.to_string(),
        // The payload was JSON when it was enqueued; the cache checks its digest.
        payload: serde_json::from_slice(&transaction.payload).unwrap_or(serde_json::Value::Null),
        attachments: transaction
            .attachments
            .iter()
            .map(|attachment| BatchAttachment {
                id: attachment.id,
                name: attachment.name.clone(),
                media_type: attachment.media_type.clone(),
                size: attachment.size,
                sha256: hex(&attachment.sha256),
            })
            .collect(),
    }
}
