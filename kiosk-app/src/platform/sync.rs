//! The hands of the drain: takes its steps, does them over the line, several at a time where the
//! drain says that there is room, gives the outcomes back as they come and passes the news on.
//! Decides nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use offline_cache::{Cache, CacheError};
use tokio::task::JoinSet;

use super::Shared;
use super::client::Client;
use super::drain::{Drain, News, Outcome, Step};
use super::time;
use crate::clock;
use crate::event::{Event, Receipt};

/// After a failure of the store nothing is tried for so long; a full disk is not emptied faster.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// The length of the queue is told this often while it changes.
const DEPTH_INTERVAL: Duration = Duration::from_secs(1);

/// Drains the outbox until the thread ends. Never fails: what goes wrong waits.
pub(super) async fn drain(shared: Arc<Shared>, cache: Cache, seed: u64) {
    let policy = shared.policy.borrow().clone();
    let mut hands = Hands {
        drain: Drain::new(policy, seed),
        cache,
        told: None,
        told_at: None,
        on_the_way: JoinSet::new(),
        shared,
    };
    let mut policy = hands.shared.policy.subscribe();
    loop {
        if policy.has_changed().unwrap_or(false) {
            let changed = policy.borrow_and_update().clone();
            hands.drain.set_policy(changed);
        }
        let pause = match hands.turn().await {
            Ok(Some(pause)) => pause,
            Ok(None) => continue,
            Err(error) => {
                complain(&error);
                STORE_PAUSE
            }
        };
        hands.tell_depth(true);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = hands.shared.stir.notified() => {}
            _ = policy.changed() => {}
        }
    }
}

struct Hands {
    shared: Arc<Shared>,
    drain: Drain,
    cache: Cache,
    told: Option<u32>,
    told_at: Option<Duration>,
    /// Requests whose answers are awaited; the drain says how many there may be, and each has a
    /// deadline of its own.
    on_the_way: JoinSet<Outcome>,
}

impl Hands {
    /// Does what there is to do and waits for the first answer; gives the pause when there is
    /// nothing to do.
    async fn turn(&mut self) -> Result<Option<Duration>, CacheError> {
        let now = clock::now();
        if self.shared.is_hurried.swap(false, Ordering::AcqRel) {
            self.drain.hurry(now);
        }
        if self.shared.is_woken.swap(false, Ordering::AcqRel) {
            self.drain.wake(now);
            self.tell_depth(true);
        }
        if self.on_the_way.is_empty() {
            match self.drain.step(&mut self.cache, now)? {
                Step::Wait(pause) => return Ok(Some(pause)),
                Step::Scrub => {
                    let outcome = Outcome::Scrubbed(self.scrub());
                    return self.came(outcome).map(|()| None);
                }
                step @ (Step::Probe | Step::Place(_) | Step::Chunk { .. } | Step::Submit(_)) => {
                    self.send(step);
                }
            }
        }
        while let Some(step) = self.drain.beside(&mut self.cache, clock::now())? {
            self.send(step);
        }
        let answered = tokio::select! {
            answered = self.on_the_way.join_next() => answered,
            // Something was enqueued: there may be room for it beside.
            () = self.shared.stir.notified() => return Ok(None),
        };
        match answered {
            Some(Ok(outcome)) => self.came(outcome)?,
            // A request that broke off is made up for when nothing is on its way.
            Some(Err(error)) => tracing::error!(%error, "a request broke off"),
            None => {}
        }
        Ok(None)
    }

    /// Sets a step out on its way.
    fn send(&mut self, step: Step) {
        let client = self.shared.client.clone();
        self.on_the_way.spawn(perform(client, step));
    }

    /// Gives an outcome to the drain and passes on what it says.
    fn came(&mut self, outcome: Outcome) -> Result<(), CacheError> {
        for news in self.drain.outcome(&mut self.cache, outcome, clock::now())? {
            self.tell(news);
        }
        self.keep_time()?;
        self.tell_depth(false);
        Ok(())
    }

    fn scrub(&mut self) -> bool {
        match self.cache.scrub() {
            Ok(is_done) => is_done,
            Err(error) => {
                complain(&error);
                false
            }
        }
    }

    /// Keeps the platform's time for the next start.
    fn keep_time(&mut self) -> Result<(), CacheError> {
        match self.shared.client.time_to_store() {
            Some(floor) => self.cache.set_setting(time::FLOOR, &floor),
            None => Ok(()),
        }
    }

    fn tell(&self, news: News) {
        match news {
            News::Line(is_up) => {
                tracing::info!(is_up, "line to the platform");
                self.shared.line.send_replace(is_up);
                self.shared.send(Event::Link(is_up));
            }
            News::Settled { id, receipt } => self.shared.send(Event::Settled {
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
            }),
            News::Rejected { id, words, .. } => self.shared.send(Event::Settled {
                id,
                receipt: Receipt {
                    outcome: "rejected".to_owned(),
                    message: words.expose().to_owned(),
                    ..Receipt::default()
                },
            }),
            News::Parked { id, code } => {
                tracing::error!(%id, code, "a transaction waits for a person");
            }
            News::Upstream { name, is_up } => self.shared.send(Event::Upstream { name, is_up }),
            News::Alarm(code) => tracing::error!(code, "the platform needs somebody to look at it"),
        }
    }

    /// Tells how much waits, when it has changed and not more often than anybody can read.
    fn tell_depth(&mut self, is_urgent: bool) {
        let now = clock::now().uptime;
        let is_fresh = self
            .told_at
            .is_some_and(|told_at| now < told_at + DEPTH_INTERVAL);
        if is_fresh && !is_urgent {
            return;
        }
        self.told_at = Some(now);
        match self.cache.depth() {
            Ok(depth) => {
                let waiting = u32::try_from(depth.waiting).unwrap_or(u32::MAX);
                if self.told != Some(waiting) {
                    self.told = Some(waiting);
                    self.shared.send(Event::Pending(waiting));
                }
            }
            Err(error) => complain(&error),
        }
    }
}

/// Does a step over the line.
async fn perform(client: Client, step: Step) -> Outcome {
    match step {
        Step::Probe => Outcome::Reachable(client.is_reachable().await),
        Step::Place(attachment) => Outcome::Placed(attachment.id, client.place(&attachment).await),
        Step::Chunk {
            attachment,
            url,
            offset,
            bytes,
        } => Outcome::ChunkDone(attachment, client.chunk(&url, offset, bytes).await),
        Step::Submit(batch) => {
            let ids = batch.iter().map(|each| each.id).collect();
            Outcome::Batch(ids, client.batch(&batch).await)
        }
        // These two need no line; nobody sends them here.
        Step::Scrub | Step::Wait(_) => Outcome::Scrubbed(false),
    }
}

fn complain(error: &CacheError) {
    tracing::error!(code = error.code(), %error, "outbox");
}
