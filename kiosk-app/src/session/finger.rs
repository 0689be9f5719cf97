//! What a touch means on each page. Late and repeated touches are normal and mean nothing.

use kiosk_device::Sensitive;
use kiosk_ui::{Key, Touch};

use super::ending::Leaving;
use super::visit::Role;
use super::{Page, Session, Way, is_setting};
use crate::catalogue::{FieldKind, Step};
use crate::clock::Moment;
use crate::event::{Effect, Note};

/// Longest typed identity number.
const NUMBER_LENGTH: usize = 18;
/// Longest search.
const QUERY_LENGTH: usize = 12;

impl Session {
    pub(super) fn touched(&mut self, touch: Touch, now: Moment, effects: &mut Vec<Effect>) {
        if is_setting(&touch) {
            self.set(&touch);
            return;
        }
        match touch {
            Touch::Start => {
                if matches!(self.page, Page::Attract) {
                    self.welcome();
                }
            }
            Touch::Leave => {
                if self.can_leave() {
                    self.end_visit(now, Leaving::OfOwnAccord, effects);
                }
            }
            Touch::Staff => self.staff_asked(now, effects),
            Touch::Back => self.back(now, effects),
            Touch::Next => self.next(now, effects),
            Touch::Other => self.other(now, effects),
            Touch::Choose(id) => self.choose(&id, now, effects),
            Touch::Key(key) => self.key(key),
            Touch::Page { is_forward } => self.turn_preview(is_forward),
            Touch::Search => {
                if let Page::Home {
                    is_searching,
                    query,
                    ..
                } = &mut self.page
                {
                    *is_searching = !*is_searching;
                    query.clear();
                }
            }
            Touch::Stay
            | Touch::Language(_)
            | Touch::TextSize(_)
            | Touch::Contrast(_)
            | Touch::Felt { .. }
            | Touch::Activity => {}
        }
    }

    pub(super) fn set(&mut self, touch: &Touch) {
        match touch {
            Touch::Language(language) => self.language = *language,
            Touch::TextSize(size) => self.text_size = *size,
            Touch::Contrast(contrast) => self.contrast = *contrast,
            Touch::Start
            | Touch::Next
            | Touch::Other
            | Touch::Back
            | Touch::Leave
            | Touch::Choose(_)
            | Touch::Felt { .. }
            | Touch::Key(_)
            | Touch::Page { .. }
            | Touch::Search
            | Touch::Staff
            | Touch::Stay
            | Touch::Activity => {}
        }
    }

    /// Somebody is here: to the choice of items, unless the terminal is closed.
    fn welcome(&mut self) {
        if !self.is_closed() {
            self.home();
        }
    }

    pub(super) fn home(&mut self) {
        self.page = Page::Home {
            group: "hot".to_owned(),
            query: String::new(),
            is_searching: false,
        };
    }

    /// True where the visitor may leave: everywhere but while a commitment is being made.
    pub(super) fn can_leave(&self) -> bool {
        !matches!(
            self.page,
            Page::Attract
                | Page::Leave { .. }
                | Page::Committing { .. }
                | Page::AwaitingReceipt { .. }
        )
    }

    fn next(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match &self.page {
            Page::Introduction => self.start(false, now, effects),
            Page::Number { .. } => self.number_typed(now, effects),
            Page::Confirm { role } => {
                let role = *role;
                self.confirmed(role, now, effects);
            }
            Page::Consent => {
                self.visit.consent_time = now.minute();
                if let Some((principal, helper)) = self.visit.pair() {
                    effects.push(Effect::Note(Note::Consented { principal, helper }));
                }
                self.forward(now, effects);
            }
            Page::Question { .. } => self.answer_given(now, effects),
            Page::Face { .. } => self.shoot_face(now, effects),
            Page::Capture { .. } => self.capture_next(now, effects),
            Page::Review => self.commit(effects),
            Page::Preview { .. } => self.print_pages(effects),
            Page::Done { .. } => self.finish(now, effects),
            Page::Rating { .. } => self.end_visit(now, Leaving::OfOwnAccord, effects),
            Page::TrackResult { .. } => self.home(),
            Page::Attract => self.welcome(),
            Page::Leave { .. } => {
                if !self.is_card_present() {
                    self.rest();
                }
            }
            Page::Home { .. }
            | Page::Identify { .. }
            | Page::OfferElder
            | Page::Checking { .. }
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::PrintingPages { .. }
            | Page::Staff(_)
            | Page::TrackScan { .. }
            | Page::TrackAsking { .. }
            | Page::Trouble { .. } => {}
        }
    }

    /// The secondary button: not me, repeat the picture, skip.
    fn other(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match &mut self.page {
            Page::Confirm { role } => {
                let role = *role;
                self.visit.set_person(role, None);
                self.identify(role, effects);
            }
            Page::Capture { taken, code, .. } => {
                *taken = None;
                *code = "";
            }
            Page::Rating { .. } => self.end_visit(now, Leaving::OfOwnAccord, effects),
            Page::Attract
            | Page::Home { .. }
            | Page::Introduction
            | Page::Identify { .. }
            | Page::Number { .. }
            | Page::OfferElder
            | Page::Checking { .. }
            | Page::Consent
            | Page::Question { .. }
            | Page::Face { .. }
            | Page::Review
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Done { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::Preview { .. }
            | Page::PrintingPages { .. }
            | Page::TrackScan { .. }
            | Page::TrackAsking { .. }
            | Page::TrackResult { .. }
            | Page::Trouble { .. }
            | Page::Leave { .. }
            | Page::Staff(_) => {}
        }
    }

    fn choose(&mut self, id: &str, now: Moment, effects: &mut Vec<Effect>) {
        match &mut self.page {
            Page::Home {
                group,
                query,
                is_searching,
            } => {
                if let Some(chosen) = id.strip_prefix("group:") {
                    chosen.clone_into(group);
                    query.clear();
                    *is_searching = false;
                } else if id == "track" {
                    self.track(effects);
                } else {
                    self.introduce(id, effects);
                }
            }
            Page::Introduction => self.start(id == "other", now, effects),
            Page::Identify { role, .. } if id == "type-number" => {
                let role = *role;
                self.type_number(role, effects);
            }
            Page::Question { .. } => self.option_chosen(id, now, effects),
            Page::OfferElder => {
                if id == "elder" {
                    self.text_size = kiosk_ui::TextSize::Larger;
                }
                self.check_identity(now, effects);
            }
            Page::Face { .. } if id == "witness" => self.identify(Role::Witness, effects),
            Page::Review => self.edit(id, now, effects),
            Page::Rating { .. } => self.rate(id, effects),
            Page::Done { .. } if id == "print-again" => self.print_again(effects),
            Page::PrintingPages { .. } if id == "leave" => {
                self.end_visit(now, Leaving::OfOwnAccord, effects);
            }
            Page::Trouble { ways, .. } => {
                if let Some(way) = ways.iter().copied().find(|way| way.id() == id) {
                    self.take_way(way, now, effects);
                }
            }
            Page::Attract
            | Page::Identify { .. }
            | Page::Number { .. }
            | Page::Confirm { .. }
            | Page::Checking { .. }
            | Page::Consent
            | Page::Face { .. }
            | Page::Capture { .. }
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Done { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::Preview { .. }
            | Page::PrintingPages { .. }
            | Page::TrackScan { .. }
            | Page::TrackAsking { .. }
            | Page::TrackResult { .. }
            | Page::Leave { .. }
            | Page::Staff(_) => {}
        }
    }

    fn take_way(&mut self, way: Way, now: Moment, effects: &mut Vec<Effect>) {
        match way {
            Way::Retry => {
                let step = self.visit.step;
                self.enter(step, now, effects);
            }
            Way::TypeNumber => self.type_number(Role::Principal, effects),
            Way::Home => {
                self.forget(effects);
                self.home();
            }
            Way::Leave => self.end_visit(now, Leaving::OfOwnAccord, effects),
        }
    }

    fn type_number(&mut self, role: Role, effects: &mut Vec<Effect>) {
        self.turn_to(
            Page::Number {
                role,
                text: Sensitive::default(),
                has_error: false,
            },
            effects,
        );
    }

    fn key(&mut self, key: Key) {
        match &mut self.page {
            Page::Home {
                query,
                is_searching: true,
                ..
            } => press(query, key, QUERY_LENGTH, |character| {
                character.is_ascii_alphanumeric()
            }),
            Page::Number {
                text, has_error, ..
            } => {
                *has_error = false;
                let mut typed = text.expose().clone();
                press(&mut typed, key, NUMBER_LENGTH, |character| {
                    character.is_ascii_digit() || character == 'X'
                });
                *text = Sensitive::new(typed);
            }
            Page::Question { .. } => self.key_in_question(key),
            Page::Attract
            | Page::Home { .. }
            | Page::Introduction
            | Page::Identify { .. }
            | Page::Confirm { .. }
            | Page::OfferElder
            | Page::Checking { .. }
            | Page::Consent
            | Page::Face { .. }
            | Page::Capture { .. }
            | Page::Review
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Done { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::Preview { .. }
            | Page::PrintingPages { .. }
            | Page::Rating { .. }
            | Page::TrackScan { .. }
            | Page::TrackAsking { .. }
            | Page::TrackResult { .. }
            | Page::Trouble { .. }
            | Page::Leave { .. }
            | Page::Staff(_) => {}
        }
    }

    fn key_in_question(&mut self, key: Key) {
        let Some(kind) = self.current_field().map(|field| field.kind) else {
            return;
        };
        if kind == FieldKind::Choice {
            return;
        }
        if let Page::Question {
            text, has_error, ..
        } = &mut self.page
        {
            *has_error = false;
            let mut typed = text.expose().clone();
            press(&mut typed, key, kind.length_max(), |character| {
                character.is_ascii_digit()
            });
            *text = Sensitive::new(typed);
        }
    }

    fn turn_preview(&mut self, is_forward: bool) {
        let count = self
            .visit
            .pages
            .as_ref()
            .map_or(0, |pages| pages.pages.len());
        if let Page::Preview { index } = &mut self.page {
            let last = u32::try_from(count.saturating_sub(1)).unwrap_or(0);
            *index = if is_forward {
                (*index + 1).min(last)
            } else {
                index.saturating_sub(1)
            };
        }
    }

    fn back(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match &self.page {
            Page::Home { .. } => self.end_visit(now, Leaving::OfOwnAccord, effects),
            Page::Introduction => {
                self.forget(effects);
                self.home();
            }
            Page::Identify { role, .. } => match role {
                Role::Principal if self.visit.is_for_other => self.identify(Role::Helper, effects),
                Role::Witness => self.enter(self.visit.step, now, effects),
                Role::Principal | Role::Helper => {
                    self.visit.set_person(Role::Helper, None);
                    self.turn_to(Page::Introduction, effects);
                }
            },
            Page::Number { role, .. } | Page::Confirm { role } => {
                let role = *role;
                self.visit.set_person(role, None);
                self.identify(role, effects);
            }
            Page::Question { index, .. } if *index > 0 => self.ask_before(*index, now, effects),
            Page::Capture { index, .. } if *index > 0 => {
                let before = *index - 1;
                self.capture(before, effects);
            }
            Page::Consent
            | Page::Question { .. }
            | Page::Face { .. }
            | Page::Capture { .. }
            | Page::Review
            | Page::Preview { .. } => self.step_back(now, effects),
            Page::TrackScan { .. } | Page::TrackResult { .. } => {
                self.turn_to(Page::Attract, effects);
                self.home();
            }
            Page::Attract
            | Page::OfferElder
            | Page::Checking { .. }
            | Page::Committing { .. }
            | Page::AwaitingReceipt { .. }
            | Page::Done { .. }
            | Page::Fetching { .. }
            | Page::Painting { .. }
            | Page::PrintingPages { .. }
            | Page::Rating { .. }
            | Page::TrackAsking { .. }
            | Page::Trouble { .. }
            | Page::Leave { .. }
            | Page::Staff(_) => {}
        }
    }

    /// True where "back" leads somewhere.
    pub(super) fn can_go_back(&self) -> bool {
        if let Page::Staff(mode) = &self.page {
            return mode.can_go_back();
        }
        if self.is_staff_asking() {
            return false;
        }
        matches!(
            self.page,
            Page::Introduction
                | Page::Identify { .. }
                | Page::Number { .. }
                | Page::Confirm { .. }
                | Page::Consent
                | Page::Question { .. }
                | Page::Face { .. }
                | Page::Capture { .. }
                | Page::Review
                | Page::Preview { .. }
                | Page::TrackScan { .. }
                | Page::TrackResult { .. }
        )
    }

    /// The visitor wants to change one line of the review.
    fn edit(&mut self, id: &str, now: Moment, effects: &mut Vec<Effect>) {
        let Some(item) = self.visit.item.clone() else {
            return;
        };
        for (index, step) in item.steps.iter().enumerate() {
            match step {
                Step::Form { fields } => {
                    if let Some(at) = fields.iter().position(|field| field.id == id) {
                        self.visit.step = index;
                        self.ask(at, effects);
                        return;
                    }
                }
                Step::Capture { .. } if id == "pictures" => {
                    self.enter(index, now, effects);
                    return;
                }
                Step::Identify {}
                | Step::Consent {}
                | Step::Face { .. }
                | Step::Capture { .. }
                | Step::Review {}
                | Step::Submit { .. }
                | Step::Fetch {}
                | Step::Print {}
                | Step::Slip { .. }
                | Step::Rating {} => {}
            }
        }
    }
}

/// Applies a key to a typed text.
fn press(text: &mut String, key: Key, length_max: usize, is_allowed: impl Fn(char) -> bool) {
    match key {
        Key::Char(character) => {
            let character = character.to_ascii_uppercase();
            if is_allowed(character) && text.len() < length_max {
                text.push(character);
            }
        }
        Key::Delete => {
            text.pop();
        }
        Key::Clear => text.clear(),
    }
}
