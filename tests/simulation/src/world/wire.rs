//! The drain and the line: does what the real drain wants done, several things at a time where it
//! sees room, loses some of it on the way, and gives back what came of it in the order of arrival.

use std::time::Duration;

use anyhow::{Result, ensure};
use central_platform::Placement;
use kiosk_app::event::{Event, Receipt};
use kiosk_app::platform::drain::{
    News, Outcome, Place, PlatformError, Step, batch_body, batch_reply,
};
use offline_cache::{QueuedAttachment, QueuedTransaction};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{IDLE, World};
use crate::Sabotage;
use crate::TERMINAL;
use crate::desk::{Answer, Desk};
use crate::line::{Fate, Spoiling, Weather, spoil};
use crate::signing::{Refusal, Signed};
use kiosk_sealing::hex;

/// The drain asks for no longer wait than this; when it does, nothing is to be sent now.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client waits for an answer that does not come.
const TIME_OUT: Duration = Duration::from_mins(1);
/// A transaction on the line, about.
const TRANSACTION_BYTES: usize = 1024;
/// Requests of one turn at most; what is still on its way then is never answered.
const FLIGHTS_MAX: u32 = 1_000;
/// Of a thousand requests so many break off here and are never answered.
const BROKEN_OFF: u64 = 5;
/// Where batches go.
const BATCHES: (&str, &str) = ("POST", "/v1/batches");
/// Bytes a second of a village line, there.
const LINE_BYTES_PER_S: u64 = 250_000;

/// A request on its way, and what will come back of it.
struct Flight {
    /// What it carries: transactions, or an attachment.
    ids: Vec<Uuid>,
    /// When its answer comes.
    lands: Duration,
    /// `None` when there is none, ever.
    outcome: Option<Outcome>,
    /// The power goes before it comes.
    kill: Option<&'static str>,
}

impl World {
    /// One turn of the drain: a step, and what leaves beside it until all of it has landed.
    pub(super) fn turn(&mut self) -> Result<()> {
        let arrived = self
            .desk
            .late(self.time.since(), self.time.truth(), &mut self.random)?;
        if arrived > 0 {
            self.note(&format!("{arrived} lost requests arrive after all"));
        }
        let now = self.time.now();
        match self.terminal.step(now)? {
            Step::Wait(wait) => return self.rest_for(wait),
            Step::Probe => {
                self.look_at = self.time.since();
                return self.probe();
            }
            Step::Scrub => {
                let is_done = self.terminal.cache().scrub()?;
                self.came(Outcome::Scrubbed(is_done))?;
            }
            step @ (Step::Place(_) | Step::Chunk { .. } | Step::Submit(_)) => self.fly(step)?,
        }
        self.look_at = self.time.since();
        self.check()
    }

    /// Sends a step out, more beside it wherever the drain sees room, and takes the answers as they
    /// come, until nothing is on its way.
    fn fly(&mut self, first: Step) -> Result<()> {
        let mut air = vec![self.depart(first)?];
        for _ in 0..FLIGHTS_MAX {
            let now = self.time.now();
            while let Some(step) = self.terminal.beside(now)? {
                self.counts.beside += 1;
                let flight = self.depart(step)?;
                let is_double = |id: &Uuid| air.iter().any(|other| other.ids.contains(id));
                ensure!(
                    !flight.ids.iter().any(is_double),
                    "the same thing is on its way twice"
                );
                air.push(flight);
            }
            let next = air
                .iter()
                .enumerate()
                .min_by_key(|(_, flight)| flight.lands);
            let Some(next) = next.map(|(index, _)| index) else {
                return Ok(());
            };
            let flight = air.swap_remove(next);
            if let Some(ahead) = flight.lands.checked_sub(self.time.since()) {
                self.time.pass(ahead);
            }
            if let Some(when) = flight.kill {
                return self.kill(when);
            }
            if let Some(outcome) = flight.outcome {
                self.came(outcome)?;
                self.check()?;
            }
            if air.is_empty() {
                return Ok(());
            }
        }
        // The drain makes up for what is still on its way.
        Ok(())
    }

    /// A request leaves: what becomes of it, and when that is known here.
    fn depart(&mut self, step: Step) -> Result<Flight> {
        let (ids, outcome, travel, kill) = match step {
            Step::Place(attachment) => {
                let travel = self.travel(0);
                let outcome = self.place(&attachment, travel.0)?;
                (vec![attachment.id], outcome, travel.1, None)
            }
            Step::Chunk {
                attachment,
                offset,
                bytes,
                ..
            } => {
                let travel = self.travel(TRANSACTION_BYTES);
                let outcome = self.chunk(attachment, offset, &bytes, travel.0)?;
                let kill = self
                    .random
                    .happens(8)
                    .then_some("in the middle of an upload");
                (vec![attachment], outcome, travel.1, kill)
            }
            Step::Submit(batch) => {
                let ids = batch.iter().map(|each| each.id).collect();
                // By number and not by length: nothing that happens may hang on the bytes of an
                // envelope.
                let travel = self.travel(batch.len() * TRANSACTION_BYTES);
                let outcome = self.submit(&batch, travel.0)?;
                // The worst moment for a power cut: it has happened there and is not known here.
                let kill = self
                    .random
                    .happens(8)
                    .then_some("between the effect and its receipt");
                (ids, outcome, travel.1, kill)
            }
            // These three are not sent here.
            Step::Probe | Step::Scrub | Step::Wait(_) => {
                anyhow::bail!("something that is no request leaves beside one")
            }
        };
        let is_broken_off = self.random.happens(BROKEN_OFF);
        Ok(Flight {
            ids,
            lands: self.time.since() + travel,
            outcome: Some(outcome).filter(|_| !is_broken_off),
            kill,
        })
    }

    fn rest_for(&mut self, wait: Duration) -> Result<()> {
        ensure!(!wait.is_zero(), "the drain waits for no time at all");
        let is_idle = wait >= WAIT_MAX
            && (self.weather == Weather::Down || self.terminal.cache().depth()?.waiting == 0);
        self.look_at = self.time.since() + if is_idle { IDLE } else { wait };
        Ok(())
    }

    /// Gives an outcome to the drain and its news to everybody.
    fn came(&mut self, outcome: Outcome) -> Result<()> {
        let now = self.time.now();
        for news in self.terminal.outcome(outcome, now)? {
            self.hear(news)?;
        }
        Ok(())
    }

    fn hear(&mut self, news: News) -> Result<()> {
        let now = self.time.now();
        match news {
            News::Line(is_up) => {
                self.note(if is_up {
                    "the line is up"
                } else {
                    "the line is down"
                });
                self.terminal.tell(Event::Link(is_up), now);
            }
            News::Settled { id, receipt } => {
                let name = self.oracle.name(id);
                self.note(&format!("{name} is settled"));
                self.oracle.settle(id, &receipt.reference)?;
                ensure!(
                    self.desk.has_given(id, &receipt.reference),
                    "{name} was settled with a receipt that the platform never gave"
                );
                let receipt = Receipt {
                    reference: receipt.reference,
                    outcome: receipt.outcome,
                    message: receipt.message,
                    valid_until: String::new(),
                };
                self.terminal.tell(Event::Settled { id, receipt }, now);
            }
            News::Rejected { id, code, .. } => {
                let name = self.oracle.name(id);
                self.note(&format!("{name} is rejected: {code}"));
                self.counts.dead += 1;
                let receipt = Receipt {
                    outcome: "rejected".to_owned(),
                    ..Receipt::default()
                };
                self.terminal.tell(Event::Settled { id, receipt }, now);
            }
            News::Parked { id, code } => {
                let name = self.oracle.name(id);
                ensure!(
                    !self.quarantined.is_empty(),
                    "{name} was parked for {code} and nothing was ever damaged"
                );
                self.counts.dead += 1;
                self.note(&format!("{name} is parked: {code}"));
            }
            News::Upstream { name, is_up } => {
                self.note(&format!("{name} is up: {is_up}"));
                self.terminal.tell(Event::Upstream { name, is_up }, now);
            }
            News::Alarm(code) => self.note(&format!("alarm: {code}")),
        }
        Ok(())
    }

    fn probe(&mut self) -> Result<()> {
        let (fate, travel) = self.travel(0);
        self.time.pass(travel);
        let is_reachable = matches!(fate, Fate::Answered | Fate::Twice);
        if is_reachable {
            self.pen.hear(&self.time);
        }
        self.came(Outcome::Reachable(is_reachable))
    }

    /// A request of so many bytes goes out: its fate, and the time until that is known.
    fn travel(&mut self, bytes: usize) -> (Fate, Duration) {
        self.counts.requests += 1;
        let fate = self.weather.fate(&mut self.random);
        let mut time = self.weather.latency(&mut self.random);
        time += Duration::from_millis(
            u64::try_from(bytes).unwrap_or(u64::MAX) * 1000 / LINE_BYTES_PER_S,
        );
        if matches!(fate, Fate::LostBefore | Fate::LostAfter | Fate::Wanders) {
            time = TIME_OUT;
        }
        (fate, time)
    }

    fn submit(&mut self, batch: &[QueuedTransaction], fate: Fate) -> Result<Outcome> {
        let ids: Vec<Uuid> = batch.iter().map(|each| each.id).collect();
        self.oracle.check_order(&ids)?;
        let names: Vec<String> = ids.iter().map(|id| self.oracle.name(*id)).collect();
        let body = batch_body(TERMINAL, batch);
        self.note(&format!("sends {}: {fate:?}", names.join(" ")));
        Ok(Outcome::Batch(ids, self.exchange(&body, fate)?))
    }

    /// Signs a request and asks the platform to let it in; with its time once more when it finds
    /// ours stale, if that answer comes.
    fn admitted(
        &mut self,
        target: (&'static str, &str),
        body: &[u8],
        fate: Fate,
    ) -> Result<Result<Signed, Refusal>> {
        let is_heard = matches!(fate, Fate::Answered | Fate::Twice);
        let mut signed = self.signed(target, body)?;
        let mut admitted = self.desk.admit(&signed, self.time.truth());
        if is_heard {
            self.pen.hear(&self.time);
        }
        // The answer to HEAD has no body that could say what is the matter.
        let is_told = is_heard && target.0 != "HEAD";
        if is_told && admitted.as_ref().is_err_and(|refusal| refusal.is_stale) {
            self.counts.refused_signatures += 1;
            signed = self.signed(target, body)?;
            admitted = self.desk.admit(&signed, self.time.truth());
        }
        if let Err(refusal) = &admitted {
            self.counts.refused_signatures += 1;
            self.note(&format!("not believed, stale: {}", refusal.is_stale));
        }
        Ok(admitted.map(|()| signed))
    }

    fn signed(&mut self, target: (&'static str, &str), body: &[u8]) -> Result<Signed> {
        let nonce = self.random.bits();
        let key = std::sync::Arc::clone(self.terminal.keys.device());
        self.pen.sign(&key, target, body, &self.time, nonce)
    }

    /// What the client reads for a batch with this fate.
    fn exchange(
        &mut self,
        body: &[u8],
        fate: Fate,
    ) -> Result<Result<kiosk_app::platform::drain::BatchReply, PlatformError>> {
        if self.is_sabotaged(Sabotage::LyingTransport) && self.random.happens(200) {
            return Ok(batch_reply(200, None, &lie(body)?));
        }
        let now = self.time.truth();
        match fate {
            Fate::Unreachable => return Ok(Err(PlatformError::Unreachable)),
            Fate::LostBefore => return Ok(Err(PlatformError::Slow)),
            Fate::Wanders => {
                let hours = self.random.between(1, 48);
                let signed = self.signed(BATCHES, body)?;
                self.desk
                    .wander(self.time.since() + Duration::from_hours(hours), signed);
                return Ok(Err(PlatformError::Slow));
            }
            Fate::Refused(status) => {
                let asked = (status == 429).then_some(120);
                return Ok(batch_reply(status, asked, b""));
            }
            Fate::Portal => return Ok(batch_reply(200, None, b"<html>please log in</html>")),
            Fate::Answered | Fate::LostAfter | Fate::HalfOpen | Fate::Twice => {}
        }
        let mut answer = match self.admitted(BATCHES, body, fate)? {
            Ok(signed) => {
                let first = self.desk.batch(body, now, &mut self.random)?;
                if fate == Fate::Twice {
                    self.second_copy(&signed)?
                } else {
                    first
                }
            }
            Err(refusal) => Answer::from(refusal),
        };
        if fate == Fate::LostAfter {
            return Ok(Err(PlatformError::Cut));
        }
        if fate == Fate::HalfOpen {
            answer.body.truncate(answer.body.len() / 2);
        } else if answer.status == 200 {
            answer.body = self.spoil(&answer.body)?;
        }
        Ok(batch_reply(answer.status, None, &answer.body))
    }

    /// The same request once more, which is refused where signatures are looked at.
    fn second_copy(&mut self, signed: &Signed) -> Result<Answer> {
        let now = self.time.truth();
        match self.desk.admit(signed, now) {
            Ok(()) => self.desk.batch(&signed.body, now, &mut self.random),
            Err(refusal) => {
                self.counts.refused_signatures += 1;
                Ok(Answer::from(refusal))
            }
        }
    }

    fn spoil(&mut self, reply: &[u8]) -> Result<Vec<u8>> {
        let spoiling = self.weather.spoiling(&mut self.random);
        if spoiling == Spoiling::None {
            return Ok(reply.to_vec());
        }
        self.note(&format!("the results are {spoiling:?}"));
        let mut reply: Value = serde_json::from_slice(reply)?;
        if let Some(results) = reply["results"].as_array_mut() {
            spoil(results, spoiling, &mut self.random);
        }
        Ok(serde_json::to_vec(&reply)?)
    }

    fn place(&mut self, attachment: &QueuedAttachment, fate: Fate) -> Result<Outcome> {
        let name = self.oracle.name(attachment.transaction_id);
        self.note(&format!("places an attachment of {name}: {fate:?}"));
        let id = attachment.id;
        let url = format!("/v1/attachments/{id}");
        let target = match attachment.upload_url {
            Some(_) => ("HEAD", url.as_str()),
            None => ("POST", "/v1/attachments"),
        };
        let sha256 = hex(&attachment.sha256);
        let outcome = self.upload(fate, target, &[], |desk| {
            if attachment.upload_url.is_some() {
                return desk.contract().handle_offset(id);
            }
            desk.contract().handle_place(&Placement {
                id,
                name: &attachment.name,
                media_type: &attachment.media_type,
                length: attachment.size,
                sha256: &sha256,
            })
        })?;
        Ok(Outcome::Placed(
            id,
            outcome.map(|offset| Place { url, offset }),
        ))
    }

    fn chunk(&mut self, id: Uuid, offset: u64, bytes: &[u8], fate: Fate) -> Result<Outcome> {
        self.note(&format!("sends bytes {offset}+: {fate:?}"));
        let url = format!("/v1/attachments/{id}");
        let outcome = self.upload(fate, ("PATCH", &url), bytes, |desk| {
            desk.contract().handle_chunk(id, offset, bytes)
        })?;
        Ok(Outcome::ChunkDone(id, outcome))
    }

    /// What the client reads for a request of an upload.
    fn upload(
        &mut self,
        fate: Fate,
        target: (&'static str, &str),
        body: &[u8],
        request: impl Fn(&Desk) -> (u16, u64),
    ) -> Result<Result<u64, PlatformError>> {
        match fate {
            Fate::Unreachable => return Ok(Err(PlatformError::Unreachable)),
            Fate::LostBefore | Fate::Wanders => return Ok(Err(PlatformError::Slow)),
            Fate::Refused(status) => return Ok(Err(PlatformError::from_reply(status, None, b""))),
            Fate::Portal => return Ok(Err(PlatformError::BadReply("no offset"))),
            Fate::Answered | Fate::LostAfter | Fate::HalfOpen | Fate::Twice => {}
        }
        let admitted = self.admitted(target, body, fate)?;
        if admitted.is_ok() && fate == Fate::Twice {
            request(&self.desk);
        }
        let (status, offset, problem) = match &admitted {
            Ok(signed) if fate == Fate::Twice => match self.desk.admit(signed, self.time.truth()) {
                Ok(()) => with_no_problem(request(&self.desk)),
                Err(refusal) => (refusal.status, 0, refusal.body),
            },
            Ok(_) => with_no_problem(request(&self.desk)),
            Err(refusal) => (refusal.status, 0, refusal.body.clone()),
        };
        if matches!(fate, Fate::LostAfter | Fate::HalfOpen) {
            return Ok(Err(PlatformError::Cut));
        }
        Ok(if (200..300).contains(&status) {
            Ok(offset)
        } else {
            Err(PlatformError::from_reply(status, None, &problem))
        })
    }
}

fn with_no_problem((status, offset): (u16, u64)) -> (u16, u64, Vec<u8>) {
    (status, offset, Vec::new())
}

/// The answer of a transport that delivers nothing and says that it did.
fn lie(body: &[u8]) -> Result<Vec<u8>> {
    let batch: Value = serde_json::from_slice(body)?;
    let results: Vec<Value> = batch["transactions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|transaction| {
            let receipt = json!({ "reference": "X-LIE", "outcome": "accepted", "message": "" });
            json!({ "id": transaction["id"], "result": "accepted", "receipt": receipt })
        })
        .collect();
    Ok(serde_json::to_vec(&json!({ "results": results }))?)
}
