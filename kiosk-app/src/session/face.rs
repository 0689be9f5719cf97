//! The two cameras: a face to compare, documents to photograph, and the way without a face.

use std::sync::Arc;
use std::time::Duration;

use kiosk_device::Sensitive;

use super::visit::{Role, Verification};
use super::{ANSWER_LIMIT, ONLINE_WAYS, Page, Session};
use crate::catalogue::{Offline, Step};
use crate::clock::Moment;
use crate::event::{
    Effect, FaceAnswer, FaceVerdict, Frame, Lens, Question, TakenPicture, Ticket, Unanswered,
    WitnessAnswer,
};

/// Between two looks at the live face. Chosen: as fast as a person follows advice.
const JUDGE_INTERVAL: Duration = Duration::from_millis(700);
/// Pictures of one visit that are turned down here before the platform is asked all the same.
const FACE_REFUSALS_MAX: u32 = 2;

impl Session {
    /// Opens the face step.
    pub(super) fn face(&mut self, effects: &mut Vec<Effect>) {
        let stream = self.ticket();
        self.turn_to(
            Page::Face {
                stream,
                live: None,
                asked: None,
                code: "",
                judging: None,
                advice: "",
            },
            effects,
        );
        effects.push(Effect::Stream(stream, Lens::Face));
    }

    /// Opens the photograph of one document.
    pub(super) fn capture(&mut self, index: usize, effects: &mut Vec<Effect>) {
        let stream = self.ticket();
        self.turn_to(
            Page::Capture {
                index,
                stream,
                live: None,
                taken: None,
                straightening: None,
                code: "",
            },
            effects,
        );
        effects.push(Effect::Stream(stream, Lens::Document));
    }

    pub(super) fn frame(
        &mut self,
        ticket: Ticket,
        frame: Frame,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let next = self.ticket();
        if let Page::Face {
            stream,
            live,
            judging,
            ..
        } = &mut self.page
            && *stream == ticket
        {
            let is_due = judging.is_none_or(|(_, since)| now.uptime >= since + JUDGE_INTERVAL);
            if is_due {
                *judging = Some((next, now.uptime));
                effects.push(Effect::Judge(next, frame.preview.clone()));
            }
            *live = Some(frame);
        } else if let Page::Capture { stream, live, .. } = &mut self.page
            && *stream == ticket
        {
            *live = Some(frame);
        } else if let Page::TrackScan { ticket: waited, .. } = &self.page
            && *waited == ticket
        {
            effects.push(Effect::Decode(ticket, frame.jpeg));
        }
    }

    pub(super) fn face_judged(&mut self, ticket: Ticket, found: &'static str) {
        if let Page::Face {
            judging: Some((waited, _)),
            advice,
            code,
            ..
        } = &mut self.page
            && *waited == ticket
        {
            // What was said about an earlier picture is over when the face is well in sight.
            if found.is_empty() && *code == *advice {
                *code = "";
            }
            *advice = found;
        }
    }

    /// The page was found in the photograph: it is shown for the citizen to keep or take again.
    pub(super) fn straightened(&mut self, ticket: Ticket, frame: Frame) {
        if let Page::Capture {
            taken: Some(taken),
            straightening,
            ..
        } = &mut self.page
            && *straightening == Some(ticket)
        {
            *straightening = None;
            *taken = frame;
        }
    }

    /// True when the item takes evidence instead of an answer of the platform.
    fn takes_evidence(&self) -> bool {
        self.visit
            .item
            .as_ref()
            .is_some_and(|item| item.offline == Offline::CaptureEvidence)
    }

    /// True when the current face step offers a witness.
    pub(super) fn offers_witness(&self) -> bool {
        let item = self.visit.item.as_ref();
        matches!(
            item.and_then(|item| item.steps.get(self.visit.step)),
            Some(Step::Face { witness: true })
        )
    }

    pub(super) fn shoot_face(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Page::Face {
            live: Some(frame),
            asked: None,
            advice,
            ..
        } = &self.page
        else {
            return;
        };
        let (frame, advice) = (frame.clone(), *advice);
        // A picture that cannot be compared is not worth a try, but this judgment is only advice:
        // who insists is heard, and the platform decides.
        if !advice.is_empty() && self.visit.face_refusals < FACE_REFUSALS_MAX {
            self.visit.face_refusals += 1;
            if let Page::Face { code, .. } = &mut self.page {
                *code = advice;
            }
            return;
        }
        if !self.is_online {
            self.face_unanswered(&frame, "platform.unreachable", now, effects);
            return;
        }
        let Some(person) = self.visit.principal.clone() else {
            return;
        };
        let ticket = self.ticket();
        if let Page::Face { asked, code, .. } = &mut self.page {
            *asked = Some(ticket);
            *code = "";
        }
        effects.push(Effect::Ask(
            ticket,
            Question::Face {
                person: Box::new(person),
                jpeg: frame.jpeg,
            },
        ));
    }

    pub(super) fn face_answered(
        &mut self,
        ticket: Ticket,
        answer: Result<FaceAnswer, Unanswered>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Page::Face {
            asked, live, code, ..
        } = &mut self.page
        else {
            return;
        };
        if *asked != Some(ticket) {
            return;
        }
        *asked = None;
        match answer {
            Ok(FaceAnswer {
                verdict: FaceVerdict::Match,
                reference,
            }) => {
                self.visit.verification = Some(Verification {
                    kind: "face",
                    reference,
                });
                self.forward(now, effects);
            }
            Ok(FaceAnswer { verdict, .. }) => {
                *code = match verdict {
                    FaceVerdict::NoFace => "face.none",
                    FaceVerdict::SeveralFaces => "face.several",
                    FaceVerdict::Match | FaceVerdict::Mismatch => "face.mismatch",
                };
                self.visit.face_tries += 1;
            }
            Err(unanswered) => {
                if let Some(frame) = live.clone() {
                    self.face_unanswered(&frame, unanswered.code, now, effects);
                }
            }
        }
    }

    /// Nobody could compare the face: keep it as evidence where the item may, else say so.
    fn face_unanswered(
        &mut self,
        frame: &Frame,
        code: &'static str,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if !self.takes_evidence() || code == super::flow::REFUSED {
            self.trouble(code, String::new(), ONLINE_WAYS, effects);
            return;
        }
        self.keep("face-evidence", frame);
        self.visit.verification = Some(Verification {
            kind: "evidence",
            reference: String::new(),
        });
        self.forward(now, effects);
    }

    fn keep(&mut self, document: &str, frame: &Frame) {
        self.visit
            .pictures
            .retain(|taken| taken.document != document);
        self.visit.pictures.push(TakenPicture {
            document: document.to_owned(),
            jpeg: frame.jpeg.clone(),
            preview: frame.preview.clone(),
        });
    }

    /// The witness is confirmed on the glass: may this person witness?
    pub(super) fn ask_witness(&mut self, effects: &mut Vec<Effect>) {
        let (Some(item), Some(person)) = (self.visit.item.clone(), self.visit.witness.clone())
        else {
            return;
        };
        let is_own = self
            .visit
            .principal
            .as_ref()
            .is_some_and(|principal| principal.number == person.number);
        if is_own {
            self.trouble("session.same-person", String::new(), ONLINE_WAYS, effects);
            return;
        }
        let ticket = self.ticket();
        // The deadline of the platform thread bounds this wait; the visit waits a little longer.
        let until = self.active_at + ANSWER_LIMIT * 2;
        self.turn_to(
            Page::Checking {
                role: Role::Witness,
                ticket,
                until,
            },
            effects,
        );
        effects.push(Effect::Ask(
            ticket,
            Question::Witness {
                person: Box::new(person),
                item: item.id.clone(),
            },
        ));
    }

    pub(super) fn witness_answered(
        &mut self,
        ticket: Ticket,
        answer: Result<WitnessAnswer, Unanswered>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.page, Page::Checking { ticket: waited, .. } if waited == ticket) {
            return;
        }
        match answer {
            Ok(answer) if answer.is_authorized => {
                self.visit.verification = Some(Verification {
                    kind: "witness",
                    reference: answer.reference,
                });
                self.forward(now, effects);
            }
            Ok(_) => {
                self.visit.set_person(Role::Witness, None);
                self.trouble("session.no-witness", String::new(), ONLINE_WAYS, effects);
            }
            // Without a line the witness is recorded and judged by the platform later.
            Err(unanswered) if self.takes_evidence() && unanswered.code != super::flow::REFUSED => {
                self.visit.verification = Some(Verification {
                    kind: "witness",
                    reference: String::new(),
                });
                self.forward(now, effects);
            }
            Err(unanswered) => {
                self.trouble(unanswered.code, unanswered.words, ONLINE_WAYS, effects);
            }
        }
    }

    /// The primary button of the document page: take the picture, then keep it.
    pub(super) fn capture_next(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(item) = self.visit.item.clone() else {
            return;
        };
        let Some(Step::Capture { documents }) = item.steps.get(self.visit.step) else {
            return;
        };
        let next = self.ticket();
        let Page::Capture {
            index,
            live,
            taken,
            straightening,
            code,
            ..
        } = &mut self.page
        else {
            return;
        };
        match taken.take() {
            None => {
                taken.clone_from(live);
                match live {
                    None => *code = "camera.no-picture",
                    Some(frame) => {
                        *straightening = Some(next);
                        effects.push(Effect::Straighten(next, Arc::clone(&frame.jpeg)));
                    }
                }
            }
            Some(frame) => {
                let index = *index;
                if let Some(document) = documents.get(index) {
                    self.keep(document, &frame);
                }
                if index + 1 < documents.len() {
                    self.capture(index + 1, effects);
                } else {
                    self.forward(now, effects);
                }
            }
        }
    }

    /// Answers that stay personal even after they were typed.
    pub(super) fn answers(&self) -> Vec<(String, Sensitive<String>)> {
        self.visit.answers.clone()
    }
}
