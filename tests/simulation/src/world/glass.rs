//! Visits: villagers before the real session, whose effects are done here as the product's loop
//! does them. Nothing says "accepted" and no slip is printed before the record is durable.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use kiosk_app::event::{
    Answer, Commitment, Effect, Event, FaceAnswer, FaceVerdict, Frame, IdentityAnswer, Note,
    PrintNews, Question, Slip, Submission, Ticket, Unanswered, WitnessAnswer,
};
use kiosk_app::person::Person;
use kiosk_app::queue;
use kiosk_device::Sensitive;
use kiosk_ui::{Key, Outcome, Picture, Screen, Touch};
use offline_cache::{NewAudit, NewPrint, PrintKind, PrintState, UsageKind};
use uuid::Uuid;

use super::World;
use crate::Sabotage;
use crate::line::{Fate as RequestFate, Weather};
use crate::oracle::{Fate, Promise};
use crate::people::Villager;
use crate::visit::{Act, Visitor};

/// Items that hand something in; the third one prints a certificate and queues nothing.
const ITEMS: [&str; 2] = ["old-age-allowance", "pension-qualification"];
/// Steps of one visit; the visitor goes home long before.
const STEPS_MAX: u32 = 600;
/// The terminal is at rest this long after everybody has gone.
const REST: u32 = 300;

impl World {
    /// Somebody comes, does what they came for, or does not, and goes.
    pub(super) fn visit(&mut self) -> Result<()> {
        self.counts.visits += 1;
        let place = self.random.index(self.village.len());
        let item = ITEMS[self.random.index(ITEMS.len())];
        let villager = self.village[place].clone();
        let helper = self
            .random
            .happens(150)
            .then(|| self.village[(place + 1) % self.village.len()].clone());
        self.note(&format!(
            "person {place} comes for {item}, helped: {}",
            helper.is_some()
        ));
        let mut visitor = Visitor::new(item, &villager, helper.as_ref());
        self.sitter = None;
        for _ in 0..STEPS_MAX {
            self.answer_effects(&villager)?;
            self.check_glass()?;
            let view = self.terminal.session.view(self.time.now());
            let act = visitor.act(&view, &mut self.random);
            if matches!(act, Act::GoHome) {
                break;
            }
            self.act(act, &villager)?;
            self.answer_effects(&villager)?;
            self.check_glass()?;
            self.tick()?;
            if self.random.happens(2) {
                return self.kill("while somebody stands at the glass");
            }
        }
        self.rest(&villager)
    }

    /// Everybody has gone: the terminal comes to rest by itself, with nothing personal in it.
    fn rest(&mut self, villager: &Villager) -> Result<()> {
        for _ in 0..REST {
            self.answer_effects(villager)?;
            if self.is_kill_due {
                return self.check_glass();
            }
            if self.terminal.session.is_idle() {
                let inside = format!("{:?}", self.terminal.session);
                for empty in [
                    "principal: None",
                    "helper: None",
                    "answers: []",
                    "pictures: []",
                ] {
                    ensure!(
                        inside.contains(empty),
                        "the session rests without being at `{empty}`"
                    );
                }
                return Ok(());
            }
            self.tick()?;
        }
        bail!(
            "nobody is there, and the terminal stays at `{}`",
            self.terminal.session.view(self.time.now()).screen.name()
        )
    }

    fn tick(&mut self) -> Result<()> {
        let pause = Duration::from_millis(self.random.between(700, 2_500));
        self.pass(pause)?;
        let now = self.time.now();
        self.terminal.tell(Event::Tick, now);
        Ok(())
    }

    fn act(&mut self, act: Act, villager: &Villager) -> Result<()> {
        let now = self.time.now();
        match act {
            Act::Touch(touch) => self.terminal.tell(Event::Touch(touch), now),
            Act::Type(text) => {
                for key in text.chars() {
                    self.terminal
                        .tell(Event::Touch(Touch::Key(Key::Char(key))), now);
                }
            }
            Act::LayCard(person) => {
                self.break_silence(&person)?;
                if let Some(ticket) = self.reader.take() {
                    // Whoever laid the last card sits before the camera: the two may have changed
                    // places after a step back.
                    let number = person.number.expose();
                    let owner = |villager: &&Villager| villager.number == *number;
                    self.sitter = self.village.iter().find(owner).cloned();
                    self.terminal.tell(Event::CardFound(ticket), now);
                    self.terminal.tell(Event::Card(ticket, person), now);
                }
            }
            Act::Show => {
                if let Some(ticket) = self.stream {
                    let sitter = self.sitter.as_ref().unwrap_or(villager);
                    let frame = frame(sitter);
                    self.terminal.tell(Event::Frame(ticket, frame), now);
                }
            }
            Act::Wait | Act::GoHome => {}
        }
        Ok(())
    }

    /// The sabotages that tell who is at the glass.
    fn break_silence(&self, person: &Person) -> Result<()> {
        let number = person.number.expose();
        if self.is_sabotaged(Sabotage::TalkativeLog) {
            tracing::info!(%number, "a card was read");
        }
        if self.is_sabotaged(Sabotage::CarelessFile) {
            fs::write(self.terminal.store().join("spool-1"), number)?;
        }
        Ok(())
    }

    /// Does what the session asks for, in order, as the product's loop does.
    pub(super) fn answer_effects(&mut self, villager: &Villager) -> Result<()> {
        while let Some(effect) = self.terminal.effects.pop_front() {
            let event = self.perform(effect, villager)?;
            if self.is_kill_due {
                // Nobody hears any more of what has just become durable.
                return Ok(());
            }
            if let Some(event) = event {
                let now = self.time.now();
                self.terminal.tell(event, now);
            }
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect, villager: &Villager) -> Result<Option<Event>> {
        match effect {
            Effect::ReadCard(ticket) => self.reader = Some(ticket),
            Effect::Stream(ticket, _) => self.stream = Some(ticket),
            Effect::Cancel(ticket) => {
                self.reader = self.reader.filter(|open| *open != ticket);
                self.stream = self.stream.filter(|open| *open != ticket);
            }
            Effect::Judge(ticket, _) => return Ok(Some(Event::FaceJudged(ticket, None))),
            Effect::Straighten(ticket, _) => {
                let sitter = self.sitter.as_ref().unwrap_or(villager);
                return Ok(Some(Event::Straightened(ticket, frame(sitter))));
            }
            Effect::Ask(ticket, question) => {
                return Ok(Some(Event::Answer(ticket, self.ask(&question)?)));
            }
            Effect::Commit(ticket, submission) => return self.commit(ticket, &submission),
            Effect::Rate(rating) => self.rate(&rating)?,
            Effect::PrintSlip(ticket, slip) => return self.print(ticket, &slip),
            Effect::Note(note) => self.audit_note(&note)?,
            Effect::Performed(id, order, outcome) => self.performed(id, &order, outcome)?,
            Effect::Keep(standing) => self.keep(&standing)?,
            // Nobody scans here, no page is printed, and the rest needs no answer.
            Effect::ReadSocialCard(_)
            | Effect::Decode(..)
            | Effect::Scan(_)
            | Effect::Paint(..)
            | Effect::PrintPages { .. }
            | Effect::Erased(_)
            | Effect::Restart(_)
            | Effect::CollectLogs(_)
            | Effect::Staff(..)
            | Effect::Probe(..)
            | Effect::TryNormally(_) => {}
        }
        Ok(None)
    }

    /// The platform answers a question, if the line lets it.
    fn ask(&mut self, question: &Question) -> Result<Answer> {
        let latency = self.weather.latency(&mut self.random);
        let is_answered = self.weather.fate(&mut self.random) == RequestFate::Answered
            && self.weather != Weather::Down;
        self.pass(latency)?;
        let lost = Unanswered {
            code: "platform.unreachable",
            words: String::new(),
        };
        Ok(match question {
            Question::Identity { .. } => Answer::Identity(if is_answered {
                Ok(IdentityAnswer {
                    is_known: true,
                    refusal: String::new(),
                })
            } else {
                Err(lost)
            }),
            Question::Face { .. } => Answer::Face(if is_answered {
                let verdict = if self.random.happens(850) {
                    FaceVerdict::Match
                } else {
                    FaceVerdict::Mismatch
                };
                Ok(FaceAnswer {
                    verdict,
                    reference: "F1".to_owned(),
                })
            } else {
                Err(lost)
            }),
            Question::Witness { .. } => Answer::Witness(if is_answered {
                Ok(WitnessAnswer {
                    is_authorized: true,
                    reference: "W1".to_owned(),
                })
            } else {
                Err(lost)
            }),
            Question::Credential { .. } => Answer::Credential(Err(lost)),
            Question::Case { .. } => Answer::Case(Err(lost)),
        })
    }

    /// Makes a case durable; only then does the visit hear of it.
    fn commit(&mut self, ticket: Ticket, submission: &Submission) -> Result<Option<Event>> {
        if self.is_sabotaged(Sabotage::EarlySlip) {
            self.print(ticket, &early_slip(submission))?;
        }
        let now = self.time.now();
        let upstream = self.terminal.upstream(&submission.item);
        let sealing = self.terminal.sealing.clone();
        let committed = self.terminal.with_cache(|cache, keys| {
            queue::commit(cache, keys, &sealing, submission, &upstream, now)
        });
        match committed {
            Ok(commitment) => {
                let subject = submission.principal.number.expose().clone();
                self.promise(commitment.id, &commitment.number, "case", &subject)?;
                let item = submission.item.clone();
                let year = now.date().year();
                self.terminal
                    .cache()
                    .count_use(&item, UsageKind::Transaction, year)?;
                Ok(Some(Event::Committed(ticket, commitment)))
            }
            Err(error) => {
                ensure!(
                    self.is_full && error.code() == "queue.no-room",
                    "a case could not be made durable: {}",
                    error.code()
                );
                self.counts.refused_for_room += 1;
                self.note("refused: no room");
                Ok(Some(Event::CommitFailed(ticket, "queue.no-room")))
            }
        }
    }

    fn rate(&mut self, rating: &kiosk_app::event::Rating) -> Result<()> {
        let now = self.time.now();
        let sealing = self.terminal.sealing.clone();
        let rated = self
            .terminal
            .with_cache(|cache, keys| queue::rate(cache, keys, &sealing, rating, now));
        match rated {
            Ok(()) => {
                // A rating is named by its case; its id is the newest of the outbox.
                let newest = self.terminal.cache().recent(1)?;
                ensure!(
                    newest.first().is_some_and(|row| row.kind == "rating"),
                    "a rating was acknowledged and is not in the outbox"
                );
                let subject = format!("rating {}", rating.case_number);
                self.promise(newest[0].id, &rating.case_number, "rating", &subject)
            }
            Err(error) => {
                ensure!(
                    self.is_full && error.code() == "queue.no-room",
                    "a rating could not be made durable: {}",
                    error.code()
                );
                Ok(())
            }
        }
    }

    fn promise(&mut self, id: Uuid, number: &str, kind: &str, subject: &str) -> Result<()> {
        // Persons go into the story by their place in the village.
        let subject = self
            .village
            .iter()
            .position(|villager| villager.number == subject)
            .map_or_else(|| subject.to_owned(), |place| format!("person {place}"));
        self.oracle.acknowledge(Promise {
            id,
            number: number.to_owned(),
            kind: kind.to_owned(),
            subject: subject.clone(),
            fate: Fate::Open,
        })?;
        let name = self.oracle.name(id);
        self.note(&format!("{name} is durable, a {kind} of {subject}"));
        let now = self.time.now();
        self.terminal.drain.wake(now);
        self.look_at = self.time.since();
        if self.random.happens(15) {
            // Before anybody looks at the outbox: what has only arrived has not taken its place.
            self.is_kill_due = true;
            return Ok(());
        }
        self.check()
    }

    /// Prints a slip: never before its record, which the oracle knows.
    fn print(&mut self, ticket: Ticket, slip: &Slip) -> Result<Option<Event>> {
        let commitment = &slip.commitment;
        let is_promised = self
            .oracle
            .promise(commitment.id)
            .is_some_and(|promise| promise.number == commitment.number);
        ensure!(
            is_promised,
            "a slip is printed before its record is durable"
        );
        self.counts.slips += 1;
        let now = self.time.now();
        let id = Uuid::from_u128(
            (u128::from(self.random.bits()) << 64) | u128::from(self.random.bits()),
        );
        let print = NewPrint {
            id,
            transaction_id: Some(commitment.id),
            case_number: Some(commitment.number.clone()),
            kind: PrintKind::Slip,
            digest: kiosk_sealing::Suite::Intl.digest(slip.content.to_string().as_bytes()),
            pages: 1,
            first_page: 1,
            copy_no: if slip.is_copy { 2 } else { 1 },
            reprint_of: None,
        };
        let is_jammed = self.random.happens(80);
        let cache = self.terminal.cache();
        cache.prepare_print(&print, now.at)?;
        cache.advance_print(id, PrintState::Printing, None, now.at)?;
        let (state, code, news) = if is_jammed {
            let code = "printer.media-jam";
            (PrintState::Spoiled, Some(code), PrintNews::Failed(code))
        } else {
            (PrintState::Presented, None, PrintNews::Presented)
        };
        cache.advance_print(id, state, code, now.at)?;
        Ok(Some(Event::Print(ticket, news)))
    }

    /// What the glass says now was promised before.
    fn check_glass(&mut self) -> Result<()> {
        let view = self.terminal.session.view(self.time.now());
        if let Screen::Done {
            outcome: Outcome::Accepted | Outcome::AcceptedPending | Outcome::Completed,
            number,
            ..
        } = &view.screen
            && !number.is_empty()
        {
            let is_promised = self
                .oracle
                .promises()
                .iter()
                .any(|promise| promise.number == number.replace(' ', ""));
            ensure!(
                is_promised,
                "the glass says `accepted` and nothing is durable"
            );
        }
        if self.is_kill_due {
            self.is_kill_due = false;
            return self.kill("right after something became durable");
        }
        Ok(())
    }

    /// Puts what a visit tells of itself into the audit log, numbers as keyed digests.
    fn audit_note(&mut self, note: &Note) -> Result<()> {
        let (kind, subject, detail) = match note {
            Note::VisitBegun { item } => ("visit.begun", None, format!("{{\"item\":\"{item}\"}}")),
            Note::VisitEnded { is_timed_out, .. } => (
                "visit.ended",
                None,
                format!("{{\"is_timed_out\":{is_timed_out}}}"),
            ),
            Note::Identified { role, number, .. } => (
                "visit.identified",
                Some(self.terminal.keys.subject(number.expose())),
                format!("{{\"role\":\"{role}\"}}"),
            ),
            Note::HelperActs { principal, .. } => (
                "visit.helper",
                Some(self.terminal.keys.subject(principal.expose())),
                "{}".to_owned(),
            ),
            Note::Consented { principal, .. } => (
                "visit.consent",
                Some(self.terminal.keys.subject(principal.expose())),
                "{}".to_owned(),
            ),
        };
        let at = self.time.now().at;
        self.terminal.cache().audit(
            &NewAudit {
                kind: kind.to_owned(),
                actor: "visitor".to_owned(),
                subject,
                transaction: None,
                detail,
            },
            at,
        )?;
        Ok(())
    }
}

/// The slip of the sabotage: its record is still to be made.
fn early_slip(submission: &Submission) -> Slip {
    Slip {
        commitment: Commitment {
            id: Uuid::nil(),
            number: "T001-20261122-00001".to_owned(),
            item: submission.item.clone(),
            time: String::new(),
            digest: String::new(),
            code: String::new(),
        },
        template: "slip".to_owned(),
        content: serde_json::Value::Null,
        is_copy: false,
    }
}

/// What the camera sees: a picture that says whose it is, so that the search can find it.
fn frame(villager: &Villager) -> Frame {
    Frame {
        preview: Picture {
            width: 2,
            height: 1,
            rgb: Arc::new(vec![128; 6]),
        },
        jpeg: Arc::new(Sensitive::new(villager.picture.clone())),
    }
}
