//! What the platform answers, and what that means for the page that waits for it.

use uuid::Uuid;

use super::{ONLINE_WAYS, Page, Session, TRACK_WAYS};
use crate::clock::Moment;
use crate::event::{
    Answer, CaseState, Credential, Effect, IdentityAnswer, PageSet, Receipt, Ticket, Unanswered,
};

impl Session {
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        match answer {
            Answer::Identity(answer) => self.identity_answered(ticket, answer, now, effects),
            Answer::Face(answer) => self.face_answered(ticket, answer, now, effects),
            Answer::Witness(answer) => self.witness_answered(ticket, answer, now, effects),
            Answer::Credential(answer) => self.credential_answered(ticket, answer, effects),
            Answer::Case(answer) => self.case_answered(ticket, answer, now, effects),
        }
    }

    fn identity_answered(
        &mut self,
        ticket: Ticket,
        answer: Result<IdentityAnswer, Unanswered>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.page, Page::Checking { ticket: waited, .. } if waited == ticket) {
            return;
        }
        self.active_at = now.uptime;
        match answer {
            Ok(answer) if !answer.refusal.is_empty() => {
                self.trouble(
                    "session.not-eligible",
                    answer.refusal,
                    super::NO_RETRY,
                    effects,
                );
            }
            Ok(answer) if !answer.is_known => {
                self.trouble("session.not-known", String::new(), ONLINE_WAYS, effects);
            }
            Ok(_) => self.forward(now, effects),
            Err(unanswered) => self.unchecked(unanswered.code, unanswered.words, now, effects),
        }
    }

    fn credential_answered(
        &mut self,
        ticket: Ticket,
        answer: Result<Credential, Unanswered>,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.page, Page::Fetching { ticket: waited, .. } if waited == ticket) {
            return;
        }
        match answer {
            Ok(credential) => {
                let ticket = self.ticket();
                let pdf = credential.pdf.clone();
                self.visit.credential = Some(credential);
                self.turn_to(Page::Painting { ticket }, effects);
                effects.push(Effect::Paint(ticket, pdf));
            }
            Err(unanswered) => {
                self.trouble(unanswered.code, unanswered.words, ONLINE_WAYS, effects);
            }
        }
    }

    pub(super) fn painted(
        &mut self,
        ticket: Ticket,
        pages: Result<PageSet, &'static str>,
        now: Moment,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !matches!(self.page, Page::Painting { ticket: waited } if waited == ticket) {
            return effects;
        }
        self.active_at = now.uptime;
        match pages {
            Ok(pages) => {
                self.visit.pages = Some(pages);
                self.forward(now, &mut effects);
            }
            Err(code) => self.trouble(code, String::new(), ONLINE_WAYS, &mut effects),
        }
        effects
    }

    fn case_answered(
        &mut self,
        ticket: Ticket,
        answer: Result<Option<CaseState>, Unanswered>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let Page::TrackAsking {
            ticket: waited,
            number,
            ..
        } = &self.page
        else {
            return;
        };
        if *waited != ticket {
            return;
        }
        let number = number.clone();
        self.active_at = now.uptime;
        match answer {
            Ok(Some(case)) => self.turn_to(
                Page::TrackResult {
                    number,
                    state: case.state,
                    text: case.text,
                    updated: case.updated,
                },
                effects,
            ),
            Ok(None) => self.trouble("session.case-unknown", String::new(), TRACK_WAYS, effects),
            Err(unanswered) => {
                self.trouble(unanswered.code, unanswered.words, TRACK_WAYS, effects);
            }
        }
    }

    /// A receipt has come: if it is for this visit's case, the glass says so.
    pub(super) fn settled(
        &mut self,
        id: Uuid,
        receipt: Receipt,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let is_ours = self
            .visit
            .commitment
            .as_ref()
            .is_some_and(|commitment| commitment.id == id);
        if !is_ours {
            return;
        }
        self.visit.receipt = Some(receipt);
        if matches!(self.page, Page::AwaitingReceipt { .. }) {
            self.after_commit(now, effects);
        }
    }
}
