//! The drain and the line: does what the real drain wants done, loses some of it on the way, and
//! gives back what came of it.

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
use crate::line::{Fate, Spoiling, Weather, spoil};
use kiosk_sealing::hex;

/// The drain asks for no longer wait than this; when it does, nothing is to be sent now.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client waits for an answer that does not come.
const TIME_OUT: Duration = Duration::from_mins(1);
/// A transaction on the line, about.
const TRANSACTION_BYTES: usize = 1024;
/// Bytes a second of a village line, there.
const LINE_BYTES_PER_S: u64 = 250_000;

impl World {
    /// One turn of the drain.
    pub(super) fn turn(&mut self) -> Result<()> {
        let arrived = self
            .desk
            .late(self.time.since(), self.time.truth(), &mut self.random)?;
        if arrived > 0 {
            self.note(&format!("{arrived} lost requests arrive after all"));
        }
        let now = self.time.now();
        match self.terminal.step(now)? {
            Step::Wait(wait) => {
                self.rest_for(wait)?;
                return Ok(());
            }
            Step::Probe => {
                self.look_at = self.time.since();
                return self.probe();
            }
            Step::Place(attachment) => self.place(&attachment)?,
            Step::Chunk {
                attachment,
                offset,
                bytes,
                ..
            } => self.chunk(attachment, offset, &bytes)?,
            Step::Submit(batch) => self.submit(&batch)?,
            Step::Scrub => {
                let is_done = self.terminal.cache().scrub()?;
                self.came(Outcome::Scrubbed(is_done))?;
            }
        }
        self.look_at = self.time.since();
        self.check()
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
        let fate = self.travel(0);
        self.came(Outcome::Reachable(matches!(
            fate,
            Fate::Answered | Fate::Twice
        )))
    }

    /// A request of so many bytes goes out: its fate, after the time that takes.
    fn travel(&mut self, bytes: usize) -> Fate {
        self.counts.requests += 1;
        let fate = self.weather.fate(&mut self.random);
        let mut time = self.weather.latency(&mut self.random);
        time += Duration::from_millis(
            u64::try_from(bytes).unwrap_or(u64::MAX) * 1000 / LINE_BYTES_PER_S,
        );
        if matches!(fate, Fate::LostBefore | Fate::LostAfter | Fate::Wanders) {
            time = TIME_OUT;
        }
        self.time.pass(time);
        fate
    }

    fn submit(&mut self, batch: &[QueuedTransaction]) -> Result<()> {
        let ids: Vec<Uuid> = batch.iter().map(|each| each.id).collect();
        self.oracle.check_order(&ids)?;
        let names: Vec<String> = ids.iter().map(|id| self.oracle.name(*id)).collect();
        let body = batch_body(TERMINAL, batch);
        // By number and not by length: nothing that happens may hang on the bytes of an envelope.
        let fate = self.travel(batch.len() * TRANSACTION_BYTES);
        self.note(&format!("sends {}: {fate:?}", names.join(" ")));
        let reply = self.exchange(&body, fate)?;
        // The worst moment for a power cut: it has happened there and is not known here.
        if self.random.happens(8) {
            return self.kill("between the effect and its receipt");
        }
        self.came(Outcome::Batch(ids, reply))
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
                self.desk.wander(
                    self.time.since() + Duration::from_hours(hours),
                    body.to_vec(),
                );
                return Ok(Err(PlatformError::Slow));
            }
            Fate::Refused(status) => {
                let asked = (status == 429).then_some(120);
                return Ok(batch_reply(status, asked, b""));
            }
            Fate::Portal => return Ok(batch_reply(200, None, b"<html>please log in</html>")),
            Fate::Answered | Fate::LostAfter | Fate::HalfOpen | Fate::Twice => {}
        }
        if fate == Fate::Twice {
            self.desk.batch(body, now, &mut self.random)?;
        }
        let answer = self.desk.batch(body, now, &mut self.random)?;
        let mut reply = answer.body;
        if fate == Fate::LostAfter {
            return Ok(Err(PlatformError::Cut));
        }
        if fate == Fate::HalfOpen {
            reply.truncate(reply.len() / 2);
        } else if answer.status == 200 {
            reply = self.spoil(&reply)?;
        }
        Ok(batch_reply(answer.status, None, &reply))
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

    fn place(&mut self, attachment: &QueuedAttachment) -> Result<()> {
        let name = self.oracle.name(attachment.transaction_id);
        let fate = self.travel(0);
        self.note(&format!("places an attachment of {name}: {fate:?}"));
        let id = attachment.id;
        let sha256 = hex(&attachment.sha256);
        let outcome = self.upload(fate, |desk| {
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
        });
        let place = outcome.map(|offset| Place {
            url: format!("/v1/attachments/{id}"),
            offset,
        });
        self.came(Outcome::Placed(id, place))
    }

    fn chunk(&mut self, id: Uuid, offset: u64, bytes: &[u8]) -> Result<()> {
        let fate = self.travel(TRANSACTION_BYTES);
        self.note(&format!("sends bytes {offset}+: {fate:?}"));
        let outcome = self.upload(fate, |desk| desk.contract().handle_chunk(id, offset, bytes));
        if self.random.happens(8) {
            return self.kill("in the middle of an upload");
        }
        self.came(Outcome::ChunkDone(id, outcome))
    }

    /// What the client reads for a request of an upload.
    fn upload(
        &mut self,
        fate: Fate,
        request: impl Fn(&crate::desk::Desk) -> (u16, u64),
    ) -> Result<u64, PlatformError> {
        match fate {
            Fate::Unreachable => return Err(PlatformError::Unreachable),
            Fate::LostBefore | Fate::Wanders => return Err(PlatformError::Slow),
            Fate::Refused(status) => return Err(PlatformError::from_reply(status, None, b"")),
            Fate::Portal => return Err(PlatformError::BadReply("no offset")),
            Fate::Answered | Fate::LostAfter | Fate::HalfOpen | Fate::Twice => {}
        }
        if fate == Fate::Twice {
            request(&self.desk);
        }
        let (status, offset) = request(&self.desk);
        if matches!(fate, Fate::LostAfter | Fate::HalfOpen) {
            return Err(PlatformError::Cut);
        }
        if (200..300).contains(&status) {
            Ok(offset)
        } else {
            Err(PlatformError::from_reply(status, None, b""))
        }
    }
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
