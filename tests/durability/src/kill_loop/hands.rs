//! The victim's syncing thread: takes the steps of the real drain and sends them out, several at a
//! time where the drain says that there is room, as the program does; gives the outcomes back as
//! they come, in any order. Some never come: the request broke off.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use jiff::SignedDuration;
use kiosk_app::clock::Moment;
use kiosk_app::platform::drain::{Drain, News, Outcome, Policy, Step};
use offline_cache::Cache;

use super::line::Line;
use super::victim::{Voice, at};
use kiosk_tests::random::Random;

/// Steps of the drain in one life at most.
const STEPS_MAX: u64 = 10_000_000;
/// A real pause where the drain rests or waits for an answer, so that it does not spin.
const REST: Duration = Duration::from_micros(500);
/// Time that passes with each step of the drain.
const STEP: Duration = Duration::from_millis(1);
/// Answers that wait to be taken; the drain never has as many requests on their way.
const ANSWERS_MAX: usize = 16;
/// Of a thousand requests so many break off and are never answered.
const BROKEN_OFF: u64 = 10;

/// The hands of the drain.
pub(super) struct Hands {
    cache: Cache,
    drain: Drain,
    line: Line,
    voice: Voice,
    clock: Arc<AtomicI64>,
    random: Random,
    uptime: Duration,
    woken: Receiver<()>,
    on_the_way: u32,
    sender: SyncSender<Option<Outcome>>,
    answers: Receiver<Option<Outcome>>,
    until_empty: bool,
}

impl Hands {
    /// Hands at rest, on a connection of their own.
    pub(super) fn new(
        cache: Cache,
        line: Line,
        clock: Arc<AtomicI64>,
        dice: u64,
        woken: Receiver<()>,
        until_empty: bool,
    ) -> anyhow::Result<Self> {
        let mut random = Random::new(dice);
        let (sender, answers) = sync_channel(ANSWERS_MAX);
        Ok(Self {
            cache,
            drain: Drain::new(Policy::default(), random.bits()),
            line,
            voice: Voice::new()?,
            clock,
            random,
            uptime: Duration::ZERO,
            woken,
            on_the_way: 0,
            sender,
            answers,
            until_empty,
        })
    }

    /// Drains until the process is killed, or until the outbox is empty if that was wanted.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        for _ in 0..STEPS_MAX {
            let now = self.pass(STEP)?;
            if self.woken.try_recv().is_ok() {
                self.drain.wake(now);
            }
            if self.on_the_way == 0 {
                let step = self.drain.step(&mut self.cache, now);
                let step = self.heard("step", step)?;
                if self.begin(step)? {
                    if self.until_empty && self.cache.depth()?.waiting == 0 {
                        return self.voice.say("phase syncing empty");
                    }
                    continue;
                }
            }
            self.send_beside(now)?;
            self.take_an_answer()?;
        }
        Ok(())
    }

    /// Does the step that stands alone; true when it was one that needs no line.
    fn begin(&mut self, step: Step) -> anyhow::Result<bool> {
        match step {
            Step::Wait(duration) => {
                self.voice.say("phase syncing rest")?;
                if self.woken.recv_timeout(REST).is_ok() {
                    let now = self.pass(STEP)?;
                    self.drain.wake(now);
                }
                self.pass(duration)?;
            }
            Step::Scrub => {
                self.voice.say("phase syncing scrub")?;
                let is_done = self.cache.scrub()?;
                self.came(Outcome::Scrubbed(is_done))?;
            }
            step @ (Step::Probe | Step::Place(_) | Step::Chunk { .. } | Step::Submit(_)) => {
                self.send(step)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends out what has room beside what is on its way.
    fn send_beside(&mut self, now: Moment) -> anyhow::Result<()> {
        loop {
            let step = self.drain.beside(&mut self.cache, now);
            let Some(step) = self.heard("beside", step)? else {
                return Ok(());
            };
            self.voice.say("phase syncing beside")?;
            self.send(step)?;
        }
    }

    /// Sets a step out on its way.
    fn send(&mut self, step: Step) -> anyhow::Result<()> {
        let phase = match &step {
            Step::Probe => "probe",
            Step::Place(_) => "place",
            Step::Chunk { .. } => "chunk",
            Step::Submit(_) => "submit",
            Step::Scrub | Step::Wait(_) => "rest",
        };
        self.voice.say(&format!("phase syncing {phase}"))?;
        let (line, sender) = (self.line.clone(), self.sender.clone());
        let breaks_off = self.random.happens(BROKEN_OFF);
        self.on_the_way += 1;
        std::thread::Builder::new()
            .name("request".to_owned())
            .spawn(move || {
                let outcome = line.perform(step);
                // Nobody listens any more when the thread that drains has ended.
                drop(sender.send(Some(outcome).filter(|_| !breaks_off)));
            })?;
        Ok(())
    }

    /// Waits a little for the first answer; meanwhile something may have been enqueued for which
    /// there is room.
    fn take_an_answer(&mut self) -> anyhow::Result<()> {
        match self.answers.recv_timeout(REST) {
            Ok(outcome) => {
                self.on_the_way -= 1;
                outcome.map_or(Ok(()), |outcome| self.came(outcome))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    fn came(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        self.voice.say("phase syncing settle")?;
        let now = self.pass(STEP)?;
        let news = self.drain.outcome(&mut self.cache, outcome, now);
        for each in self.heard("outcome", news)? {
            self.tell(&each)?;
        }
        Ok(())
    }

    /// Says what the store refused.
    fn heard<T>(
        &mut self,
        what: &str,
        outcome: Result<T, offline_cache::CacheError>,
    ) -> anyhow::Result<T> {
        if let Err(error) = &outcome {
            self.voice.say(&format!("wrong {what} {}", error.code()))?;
        }
        Ok(outcome?)
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

    fn tell(&mut self, news: &News) -> anyhow::Result<()> {
        match news {
            News::Settled { id, receipt } => self
                .voice
                .say(&format!("settled {id} {}", receipt.reference)),
            News::Rejected { id, code, .. } => {
                self.voice.say(&format!("wrong rejected {id} {code}"))
            }
            News::Parked { id, code } => self.voice.say(&format!("wrong parked {id} {code}")),
            // The platform does not believe a signature.
            News::Alarm(code @ "platform.not-admitted") => {
                self.voice.say(&format!("wrong alarm {code}"))
            }
            News::Alarm(_) | News::Line(_) | News::Upstream { .. } => Ok(()),
        }
    }
}
