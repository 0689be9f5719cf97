//! The victim: a terminal without glass and devices, with the real store, the real sealing, the
//! real drain and a real line. One thread enqueues, one drains, each on a connection of its own,
//! as in the program. Each thing it has done it says in one write, after it is done.
//!
//! Time is the drain's own: whatever it wants to wait for has passed at once, so that a life of
//! milliseconds holds days of retries.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use kiosk_app::clock::Moment;
use kiosk_app::platform::drain::{Drain, News, Outcome, Policy, Step};
use kiosk_sealing::{RecipientKey, attachment_context, payload_context, seal};
use offline_cache::{Cache, NewAttachment, NewTransaction, Options};

use super::TERMINAL;
use super::case::Case;
use super::line::Line;
use kiosk_tests::random::Random;

/// The enqueuing thread rests while so many wait, so that the drain keeps up.
const WAITING_MAX: u64 = 60;
/// Transactions of one life at most; it is killed long before.
const TRANSACTIONS_MAX: u64 = 100_000;
/// Steps of the drain in one life at most.
const STEPS_MAX: u64 = 10_000_000;
/// A real pause where the drain rests, so that it does not spin.
const REST: Duration = Duration::from_micros(500);
/// Time that passes with each step of the drain.
const STEP: Duration = Duration::from_millis(1);

/// How to play.
#[derive(Debug)]
pub struct Victim {
    /// Directory of the store.
    pub directory: PathBuf,
    /// Where the platform is.
    pub address: SocketAddr,
    /// The platform's key.
    pub sealing_key: String,
    /// Seed of the content.
    pub seed: u64,
    /// Seed of everything else.
    pub dice: u64,
    /// Wall clock at the start, in seconds since 1970.
    pub clock_s: i64,
    /// Number of the first transaction.
    pub first: u64,
    /// Numbers whose fate the last life did not live to hear of.
    pub in_doubt: Vec<u64>,
    /// Enqueue nothing, and end when the outbox is empty.
    pub until_empty: bool,
    /// Acknowledge before the commit: what the loop must notice.
    pub acknowledges_early: bool,
}

/// A pipe to the oracle: every line is one write, so that what was said was said whole.
struct Voice(File);

impl Voice {
    fn new() -> std::io::Result<Self> {
        let descriptor = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self(File::from(descriptor)))
    }

    fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }
}

/// Plays the victim until it is killed.
///
/// # Errors
/// When the store or the pipe fails. The oracle has heard why.
pub fn play(victim: &Victim) -> anyhow::Result<()> {
    let mut voice = Voice::new()?;
    voice.say("phase enqueuing opening")?;
    voice.say("phase syncing opening")?;
    let options = Options {
        terminal: TERMINAL.to_owned(),
        ..Options::default()
    };
    let clock = Arc::new(AtomicI64::new(victim.clock_s * 1000));
    let (mut cache, opening) = Cache::open_with(&victim.directory, &options, at(&clock)?)?;
    if let Some(name) = opening.quarantined {
        voice.say(&format!("wrong quarantined {name}"))?;
    }
    for number in &victim.in_doubt {
        let case = Case::new(victim.seed, *number);
        let is_there = cache.case(&case.slip_number)?.is_some();
        let word = if is_there { "there" } else { "absent" };
        voice.say(&format!("{word} {number}"))?;
    }
    let drain_cache = cache.another()?;
    let (wake, woken) = sync_channel(1);
    let drain_clock = Arc::clone(&clock);
    let line = Line {
        address: victim.address,
    };
    let dice = Random::new(victim.dice).part(2).bits();
    let until_empty = victim.until_empty;
    let drain = std::thread::Builder::new()
        .name("platform".to_owned())
        .spawn(move || {
            Draining {
                cache: drain_cache,
                drain: Drain::new(Policy::default(), dice),
                line,
                voice: Voice::new()?,
                clock: drain_clock,
                uptime: Duration::ZERO,
                woken,
                until_empty,
            }
            .run()
        })?;
    if !until_empty {
        enqueue(victim, &mut cache, &mut voice, &clock, &wake)?;
    }
    let drained = drain.join();
    drained.map_err(|_| anyhow::anyhow!("the drain panicked"))?
}

fn at(clock: &AtomicI64) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::from_millisecond(clock.load(Ordering::Relaxed))?)
}

fn enqueue(
    victim: &Victim,
    cache: &mut Cache,
    voice: &mut Voice,
    clock: &AtomicI64,
    wake: &SyncSender<()>,
) -> anyhow::Result<()> {
    let key: RecipientKey = victim.sealing_key.parse().context("no sealing key")?;
    let mut random = Random::new(victim.dice).part(1);
    let (_keeps_it_open, never) = sync_channel::<()>(1);
    for number in victim.first..victim.first + TRANSACTIONS_MAX {
        voice.say("phase enqueuing rest")?;
        pause(&never, Duration::from_micros(random.below(3000)));
        while cache.depth()?.waiting > WAITING_MAX {
            pause(&never, REST);
        }
        voice.say("phase enqueuing seal")?;
        let new = sealed(&Case::new(victim.seed, number), &key)?;
        voice.say(&format!("begun {number}"))?;
        if !new.attachments.is_empty() {
            voice.say("phase enqueuing attach")?;
        }
        voice.say("phase enqueuing commit")?;
        if victim.acknowledges_early {
            voice.say(&format!("enqueued {number}"))?;
        }
        cache.enqueue(&new, at(clock)?)?;
        if !victim.acknowledges_early {
            voice.say(&format!("enqueued {number}"))?;
        }
        // A full channel means that the drain is awake already.
        let _is_news = wake.try_send(()).is_ok();
    }
    Ok(())
}

/// Waits on a channel nobody sends to.
fn pause(never: &Receiver<()>, pause: Duration) {
    let _is_over = never.recv_timeout(pause).is_err();
}

fn sealed(case: &Case, key: &RecipientKey) -> anyhow::Result<NewTransaction> {
    let attachments: Result<_, anyhow::Error> = case
        .attachments
        .iter()
        .map(|(id, bytes)| {
            Ok(NewAttachment {
                id: *id,
                name: "page.jpg".to_owned(),
                media_type: "image/jpeg".to_owned(),
                bytes: seal(key, &attachment_context(TERMINAL, case.id, *id), bytes)?,
            })
        })
        .collect();
    let context = payload_context(TERMINAL, case.id);
    Ok(NewTransaction {
        id: case.id,
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 1,
        case_number: case.slip_number.clone(),
        subject: case.subject,
        payload: seal(key, &context, case.payload.as_bytes())?,
        payload_suite: key.suite().to_string(),
        key_id: key.key_id(),
        upstream: String::new(),
        can_wait: false,
        attachments: attachments?,
    })
}

struct Draining {
    cache: Cache,
    drain: Drain,
    line: Line,
    voice: Voice,
    clock: Arc<AtomicI64>,
    uptime: Duration,
    woken: Receiver<()>,
    until_empty: bool,
}

impl Draining {
    fn run(&mut self) -> anyhow::Result<()> {
        for _ in 0..STEPS_MAX {
            let now = self.pass(STEP)?;
            if self.woken.try_recv().is_ok() {
                self.drain.wake(now);
            }
            let step = match self.drain.step(&mut self.cache, now) {
                Ok(step) => step,
                Err(error) => {
                    self.voice.say(&format!("wrong step {}", error.code()))?;
                    return Err(error.into());
                }
            };
            let Some(outcome) = self.take(step)? else {
                if self.until_empty && self.cache.depth()?.waiting == 0 {
                    return self.voice.say("phase syncing empty");
                }
                continue;
            };
            self.voice.say("phase syncing settle")?;
            let now = self.pass(STEP)?;
            match self.drain.outcome(&mut self.cache, outcome, now) {
                Ok(news) => self.tell(&news)?,
                Err(error) => {
                    self.voice.say(&format!("wrong outcome {}", error.code()))?;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// Lets time pass on both clocks.
    fn pass(&mut self, duration: Duration) -> anyhow::Result<Moment> {
        self.uptime += duration;
        let passed = SignedDuration::try_from(duration)?;
        let milliseconds = i64::try_from(passed.as_millis())?;
        self.clock.fetch_add(milliseconds, Ordering::Relaxed);
        Ok(Moment {
            at: at(&self.clock)?,
            uptime: self.uptime,
        })
    }

    /// Does what the drain wants; `None` when that was to rest.
    fn take(&mut self, step: Step) -> anyhow::Result<Option<Outcome>> {
        let outcome = match step {
            Step::Probe => {
                self.voice.say("phase syncing probe")?;
                Outcome::Reachable(self.line.is_reachable())
            }
            Step::Place(attachment) => {
                self.voice.say("phase syncing place")?;
                Outcome::Placed(attachment.id, self.line.place(&attachment))
            }
            Step::Chunk {
                attachment,
                url,
                offset,
                bytes,
            } => {
                self.voice.say("phase syncing chunk")?;
                Outcome::ChunkDone(attachment, self.line.chunk(&url, offset, &bytes))
            }
            Step::Submit(batch) => {
                self.voice.say("phase syncing submit")?;
                let ids = batch.iter().map(|each| each.id).collect();
                Outcome::Batch(ids, self.line.submit(&batch))
            }
            Step::Scrub => {
                self.voice.say("phase syncing scrub")?;
                Outcome::Scrubbed(self.cache.scrub()?)
            }
            Step::Wait(duration) => {
                self.voice.say("phase syncing rest")?;
                if self.woken.recv_timeout(REST).is_ok() {
                    let now = self.pass(STEP)?;
                    self.drain.wake(now);
                }
                self.pass(duration)?;
                return Ok(None);
            }
        };
        Ok(Some(outcome))
    }

    fn tell(&mut self, news: &[News]) -> anyhow::Result<()> {
        for each in news {
            match each {
                News::Settled { id, receipt } => self
                    .voice
                    .say(&format!("settled {id} {}", receipt.reference))?,
                News::Rejected { id, code, .. } => {
                    self.voice.say(&format!("wrong rejected {id} {code}"))?;
                }
                News::Parked { id, code } => {
                    self.voice.say(&format!("wrong parked {id} {code}"))?;
                }
                News::Line(_) | News::Upstream { .. } | News::Alarm(_) => {}
            }
        }
        Ok(())
    }
}
