//! What the answer to a batch means for each transaction in it.
//!
//! One result per id decides; an id that is left out, answered twice in different words or
//! answered in words nobody knows is not answered. Only a receipt ends a transaction, only a
//! refusal in the words of the contract parks one, and three refusals in a row with nothing taken
//! between them make the platform suspect instead of the fourth.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use offline_cache::{Cache, CacheError, QueuedTransaction, Receipt, Settled};
use serde_json::Value;
use uuid::Uuid;

use super::pace::BACKOFF_MAX;
use super::{
    Departure, Drain, Flight, HELD_MAX, Held, News, PlatformError, Words, later, unless_gone,
};
use crate::clock::Moment;
use crate::platform::messages::{BatchReply, BatchResult, ProblemReply, ReceiptReply};

/// Refusals in a row after which the platform is suspect and nothing more is parked; chosen: a
/// bad item package makes two or three, a changed contract makes everything.
const REFUSALS_MAX: u32 = 3;
/// Largest receipt that is kept, in bytes; chosen, twenty times the longest of the contract.
const RECEIPT_BYTES_MAX: usize = 16 * 1024;
/// Longest sentence of a receipt that is kept, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 1_000;
/// Longest short text of a receipt that is kept, in characters.
const SHORT_CHARACTERS_MAX: usize = 64;
/// Longest detail kept with a parked transaction, in bytes (the cache's own limit).
const DETAIL_BYTES_MAX: usize = 512;

/// What a result without a receipt means.
enum Unsettled {
    Rejected(ProblemReply),
    Later {
        code: &'static str,
        asked_s: Option<u64>,
        problem: ProblemReply,
    },
    Unclear,
}

impl Drain {
    pub(super) fn batch_done(
        &mut self,
        cache: &mut Cache,
        ids: &[Uuid],
        reply: Result<BatchReply, PlatformError>,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        if ids.is_empty() {
            return Ok(());
        }
        if is_of(&self.sent, ids) {
            return self.sent_done(cache, reply, now, news);
        }
        let is_awaited = |flight: &Flight| is_of(&flight.transactions, ids);
        let Some(index) = self.beside.iter().position(is_awaited) else {
            // Late, and made up for already.
            return Ok(());
        };
        let flight = self.beside.remove(index);
        let other = std::mem::replace(&mut self.sent, flight.transactions);
        let other_in = std::mem::replace(&mut self.sent_in, flight.departure);
        let done = self.sent_done(cache, reply, now, news);
        // What the store could not take is given back with the rest when nothing is on its way.
        let transactions = std::mem::replace(&mut self.sent, other);
        let departure = std::mem::replace(&mut self.sent_in, other_in);
        if !transactions.is_empty() {
            self.beside.push(Flight {
                transactions,
                departure,
            });
        }
        done
    }

    /// The answer to the batch in `sent`.
    fn sent_done(
        &mut self,
        cache: &mut Cache,
        reply: Result<BatchReply, PlatformError>,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        match reply {
            Ok(reply) => {
                self.in_contact(now.uptime);
                if self.succeeded(self.sent_in, now.uptime) {
                    self.pace.widen();
                }
                self.settle_all(cache, reply, now, news)
            }
            Err(PlatformError::Refused {
                status,
                code,
                words,
            }) if is_about_the_content(status, &code) => {
                self.in_contact(now.uptime);
                self.split(cache, status, code, &words, now, news)
            }
            Err(error) => self.batch_failed(cache, &error, now, news),
        }
    }

    /// The batch was refused as a whole: halve it until the refusal has a name.
    fn split(
        &mut self,
        cache: &mut Cache,
        status: u16,
        code: String,
        words: &Words,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        if self.sent.len() > 1 {
            self.counts.splits += 1;
            let mut first: Vec<QueuedTransaction> = self.sent.drain(..).collect();
            let second = first.split_off(first.len() / 2);
            self.open.push(second);
            self.open.push(first);
            return Ok(());
        }
        let Some(transaction) = self.sent.front() else {
            return Ok(());
        };
        let (id, attempts) = (transaction.id, transaction.attempts);
        if status == 413 {
            // The size is the terminal's or a proxy's affair, never the citizen's.
            news.push(News::Alarm("platform.too-large"));
            self.defer(cache, id, BACKOFF_MAX, "platform.too-large", now)?;
        } else {
            let problem = ProblemReply {
                code,
                detail: words.expose().to_owned(),
                upstream: String::new(),
            };
            self.refuse(cache, id, attempts, "platform.refused", problem, now, news)?;
        }
        self.sent.pop_front();
        Ok(())
    }

    /// Parks a refused transaction, unless the platform refuses everything.
    #[expect(
        clippy::too_many_arguments,
        reason = "two callers with the same facts; a struct for them would only be unpacked again"
    )]
    pub(super) fn refuse(
        &mut self,
        cache: &mut Cache,
        id: Uuid,
        attempts: u32,
        reason: &'static str,
        problem: ProblemReply,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals > REFUSALS_MAX {
            tracing::error!(%id, code = problem.code, "the platform refuses one transaction after the other");
            news.push(News::Alarm("platform.refuses-everything"));
            // The longer it refuses, the rarer it is asked.
            let pause = self
                .random
                .backoff(attempts.max(self.refusals - REFUSALS_MAX));
            return self.defer(cache, id, pause, "platform.refuses-everything", now);
        }
        tracing::error!(%id, code = problem.code, "the platform refuses a transaction");
        let detail = detail(&problem);
        if unless_gone(cache.park(id, "platform", reason, &detail, now.at))? {
            self.counts.rejected += 1;
            news.push(News::Rejected {
                id,
                code: problem.code,
                words: Words(problem.detail),
            });
        }
        Ok(())
    }

    /// The line or the platform failed: everything waits, nothing is at fault.
    fn batch_failed(
        &mut self,
        cache: &mut Cache,
        error: &PlatformError,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        let pause = self.failed(error, self.sent_in, now, news);
        // A transaction that makes the platform fail all alone must not be the next to go again.
        let is_alone = self.sent.len() == 1 && self.open.is_empty() && self.is_online;
        for batch in self.open.drain(..).rev() {
            self.sent.extend(batch);
        }
        while let Some(transaction) = self.sent.front() {
            let (id, attempts) = (transaction.id, transaction.attempts);
            let own = if is_alone {
                self.random.backoff(attempts)
            } else {
                Duration::ZERO
            };
            self.defer(cache, id, pause.max(own), error.code(), now)?;
            self.sent.pop_front();
        }
        Ok(())
    }

    /// Counts a failure of a whole request and says how long everything pauses; nothing pauses
    /// when the line itself is down, because the probe finds out when it is back. What was on its
    /// way when another failed shares its pause: one cut of the line is one failure.
    pub(super) fn failed(
        &mut self,
        error: &PlatformError,
        departure: Departure,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Duration {
        self.counts.failures += 1;
        tracing::warn!(code = error.code(), %error, "sync deferred");
        if matches!(error, PlatformError::Unreachable | PlatformError::Revoked) {
            self.line_down(now.uptime, news);
            return Duration::ZERO;
        }
        if let PlatformError::NotNow {
            status: 401 | 403, ..
        } = error
        {
            news.push(News::Alarm("platform.not-admitted"));
        }
        if departure.round != self.round && error.retry_after().is_none() {
            return self.pace.hold_until().saturating_sub(now.uptime);
        }
        self.round = self.round.wrapping_add(1);
        self.pace.failed(
            error.retry_after(),
            &mut self.random,
            &self.policy,
            now.uptime,
        )
    }

    fn settle_all(
        &mut self,
        cache: &mut Cache,
        reply: BatchReply,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        let results = self.sorted(reply);
        let mut verdicts: HashMap<Uuid, Result<Receipt, Unsettled>> = results
            .into_iter()
            .map(|(id, result)| (id, result.map_or(Err(Unsettled::Unclear), verdict)))
            .collect();
        let stored = self.store_receipts(cache, &verdicts, now)?;
        let mut down: Vec<String> = Vec::new();
        while let Some(transaction) = self.sent.pop_front() {
            let outcome = match verdicts.remove(&transaction.id) {
                Some(Ok(receipt)) => {
                    let settled = stored.get(&transaction.id).copied();
                    self.settled(&transaction, receipt, settled, now, news);
                    Ok(())
                }
                Some(Err(unsettled)) => {
                    self.put_off(cache, &transaction, unsettled, &mut down, now, news)
                }
                None => {
                    // No answer is no answer: it stays pending.
                    self.counts.missing_results += 1;
                    self.unclear(cache, &transaction, now)
                }
            };
            if let Err(error) = outcome {
                // The next step gives it back with the rest.
                self.sent.push_front(transaction);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Stores every receipt of a reply in one commit, which the disk makes durable once and not a
    /// hundred times; what became of each.
    fn store_receipts(
        &self,
        cache: &mut Cache,
        verdicts: &HashMap<Uuid, Result<Receipt, Unsettled>>,
        now: Moment,
    ) -> Result<HashMap<Uuid, Settled>, CacheError> {
        let receipts: Vec<(Uuid, Receipt)> = self
            .sent
            .iter()
            .filter_map(|sent| match verdicts.get(&sent.id) {
                Some(Ok(receipt)) => Some((sent.id, receipt.clone())),
                Some(Err(_)) | None => None,
            })
            .collect();
        if receipts.is_empty() {
            return Ok(HashMap::new());
        }
        let outcomes = cache.settle_all(&receipts, now.at)?;
        let stored = receipts.iter().zip(outcomes);
        // What is no longer known was settled and forgotten, or closed by a person.
        Ok(stored
            .filter_map(|((id, _), outcome)| Some((*id, outcome.ok()?)))
            .collect())
    }

    /// A receipt was stored, or was there before.
    fn settled(
        &mut self,
        transaction: &QueuedTransaction,
        receipt: Receipt,
        settled: Option<Settled>,
        now: Moment,
        news: &mut Vec<News>,
    ) {
        self.refusals = 0;
        self.upstream_up(&transaction.upstream, news);
        if settled == Some(Settled::Now) {
            self.counts.settled += 1;
            self.erased_at = self.erased_at.or(Some(now.uptime));
            news.push(News::Settled {
                id: transaction.id,
                receipt,
            });
        }
    }

    /// One result an id; `None` where two results of one id contradict each other.
    fn sorted(&mut self, reply: BatchReply) -> HashMap<Uuid, Option<BatchResult>> {
        let mut results: HashMap<Uuid, Option<BatchResult>> = HashMap::new();
        let mut unknown = 0_u64;
        for result in reply.results {
            if !self.sent.iter().any(|each| each.id == result.id) {
                unknown += 1;
                continue;
            }
            let Some(earlier) = results.get_mut(&result.id) else {
                results.insert(result.id, Some(result));
                continue;
            };
            self.counts.doubled_results += 1;
            let agrees = earlier.as_ref().is_some_and(|earlier| {
                earlier.result == result.result || (is_taken(earlier) && is_taken(&result))
            });
            if !agrees {
                *earlier = None;
            }
        }
        if unknown > 0 {
            self.counts.unknown_results += unknown;
            tracing::warn!(
                count = unknown,
                "results for transactions that were not sent"
            );
        }
        results
    }

    /// Parks what was rejected and puts the rest back into the line.
    fn put_off(
        &mut self,
        cache: &mut Cache,
        transaction: &QueuedTransaction,
        unsettled: Unsettled,
        down: &mut Vec<String>,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Result<(), CacheError> {
        let (id, attempts) = (transaction.id, transaction.attempts);
        match unsettled {
            Unsettled::Rejected(problem) => {
                // It looked at this one alone, so it is not the platform that is suspect.
                self.refusals = 0;
                self.refuse(cache, id, attempts, "platform.rejected", problem, now, news)
            }
            Unsettled::Later { problem, .. } if problem.code == "attachment.incomplete" => {
                // Only pictures that the platform misses are sent again; they are the bulk.
                let pause = self.random.backoff(attempts);
                let steady = self.steady(now);
                self.counts.uploads_restarted += 1;
                self.uploads.retain(|upload| !upload.is_of(id));
                if unless_gone(cache.upload_again(id, later(steady, pause), steady))? {
                    return Ok(());
                }
                // It has none that could be missing: no answer to this transaction.
                self.unclear(cache, transaction, now)
            }
            Unsettled::Later {
                code,
                asked_s,
                problem,
            } => {
                let is_upstream = code == "platform.upstream-unavailable";
                let pause = if is_upstream && !transaction.upstream.is_empty() {
                    self.hold(transaction, &problem, asked_s, down, now, news)
                } else if let Some(seconds) = asked_s {
                    self.random.asked(Duration::from_secs(seconds))
                } else {
                    self.random.backoff(attempts)
                };
                if code == "platform.sealing-key-unknown" {
                    news.push(News::Alarm(code));
                }
                self.defer(cache, id, pause, code, now)
            }
            Unsettled::Unclear => self.unclear(cache, transaction, now),
        }
    }

    /// An answer that is none.
    fn unclear(
        &mut self,
        cache: &mut Cache,
        transaction: &QueuedTransaction,
        now: Moment,
    ) -> Result<(), CacheError> {
        self.counts.bad_results += 1;
        let pause = self.random.backoff(transaction.attempts);
        self.defer(cache, transaction.id, pause, "platform.bad-reply", now)
    }

    /// An upstream is down: nothing for it is sent for a while, everything else goes on. The
    /// failure counts once a batch.
    fn hold(
        &mut self,
        transaction: &QueuedTransaction,
        problem: &ProblemReply,
        asked_s: Option<u64>,
        down: &mut Vec<String>,
        now: Moment,
        news: &mut Vec<News>,
    ) -> Duration {
        let name = &transaction.upstream;
        let known = self.held.iter().position(|held| held.upstream == *name);
        if let Some(index) = known
            && down.contains(name)
        {
            return self.held[index].until.saturating_sub(now.uptime);
        }
        let failures = known.map_or(0, |index| self.held[index].failures);
        // A platform that always asks for five seconds would be asked all night; the pause grows.
        let grown = self.random.backoff(failures);
        let pause = match asked_s {
            Some(seconds) => self.random.asked(Duration::from_secs(seconds)).max(grown),
            None => grown,
        };
        let held = Held {
            upstream: name.clone(),
            until: now.uptime + pause,
            failures: failures.saturating_add(1),
        };
        down.push(name.clone());
        match known {
            Some(index) => self.held[index] = held,
            None if self.held.len() < HELD_MAX => {
                tracing::warn!(upstream = %problem.upstream, "an upstream is down; the others go on");
                self.held.push(held);
                news.push(News::Upstream {
                    name: name.clone(),
                    is_up: false,
                });
            }
            None => {}
        }
        pause
    }

    fn upstream_up(&mut self, name: &str, news: &mut Vec<News>) {
        let before = self.held.len();
        self.held.retain(|held| held.upstream != name);
        if self.held.len() < before {
            news.push(News::Upstream {
                name: name.to_owned(),
                is_up: true,
            });
        }
    }

    /// Puts a transaction back for so long.
    pub(super) fn defer(
        &mut self,
        cache: &mut Cache,
        id: Uuid,
        pause: Duration,
        code: &'static str,
        now: Moment,
    ) -> Result<(), CacheError> {
        let steady = self.steady(now);
        if unless_gone(cache.defer(id, later(steady, pause), code, steady))? {
            self.counts.deferred += 1;
        }
        Ok(())
    }
}

/// Whether a refusal of a whole batch can be about what is in it. A refusal without a code is not
/// the contract's: a proxy or a wrong address says 400 and 404 to everything.
pub(super) fn is_about_the_content(status: u16, code: &str) -> bool {
    status == 413 || (matches!(status, 400 | 409 | 422) && !code.is_empty())
}

/// Whether a batch is the one of these ids.
fn is_of(batch: &VecDeque<QueuedTransaction>, ids: &[Uuid]) -> bool {
    batch.iter().map(|each| each.id).eq(ids.iter().copied())
}

fn is_taken(result: &BatchResult) -> bool {
    matches!(result.result.as_str(), "accepted" | "duplicate")
}

fn verdict(result: BatchResult) -> Result<Receipt, Unsettled> {
    let problem = result.problem.unwrap_or_default().bounded();
    let later = |code| {
        Err(Unsettled::Later {
            code,
            asked_s: result.retry_after_s,
            problem: problem.clone(),
        })
    };
    match (result.result.as_str(), problem.code.as_str()) {
        ("accepted" | "duplicate", _) => result
            .receipt
            .as_ref()
            .and_then(receipt)
            .ok_or(Unsettled::Unclear),
        // The platform has lost a key; what was sealed to it is not at fault and is not parked.
        ("rejected" | "retry", "envelope.unknown-key") => later("platform.sealing-key-unknown"),
        ("rejected", _) => Err(Unsettled::Rejected(problem)),
        ("retry", "upstream.unavailable") => later("platform.upstream-unavailable"),
        ("retry", _) => later("platform.not-now"),
        _ => Err(Unsettled::Unclear),
    }
}

/// Reads a receipt; one without reference and outcome, or beyond every bound, is none. Also for
/// receipts that come back by a stick.
pub fn receipt(raw: &Value) -> Option<Receipt> {
    let text = raw.to_string();
    if text.len() > RECEIPT_BYTES_MAX {
        return None;
    }
    let reply: ReceiptReply = serde_json::from_value(raw.clone()).ok()?;
    let is_short = |text: &str| !text.is_empty() && text.chars().count() <= SHORT_CHARACTERS_MAX;
    if !is_short(&reply.reference) || !is_short(&reply.outcome) {
        return None;
    }
    Some(Receipt {
        reference: reply.reference,
        outcome: reply.outcome,
        message: reply.message.chars().take(MESSAGE_CHARACTERS_MAX).collect(),
        valid_until: reply.valid_until.and_then(|date| date.parse().ok()),
        raw: text,
    })
}

/// What staff read about a refusal, within the cache's limit.
fn detail(problem: &ProblemReply) -> String {
    let mut text = if problem.detail.is_empty() {
        problem.code.clone()
    } else {
        format!("{}: {}", problem.code, problem.detail)
    };
    let mut end = text.len().min(DETAIL_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
