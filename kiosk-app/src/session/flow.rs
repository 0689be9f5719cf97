//! The order of an item's steps: entering one, going on, going back, and the questions of a form.

use std::sync::Arc;
use std::time::Duration;

use kiosk_device::{DeviceClass, DeviceState, Sensitive};
use kiosk_ui::{Paper, Reading};

use super::device::named;
use super::ending::Leaving;
use super::visit::Role;
use super::{
    ANSWER_LIMIT, ELDER_AGE, FETCH_LIMIT, NO_RETRY, ONLINE_WAYS, Page, Session, TRACK_WAYS, Way,
};
use crate::catalogue::item::{Field, Identification};
use crate::catalogue::{FieldKind, Item, Offline, Step};
use crate::clock::Moment;
use crate::event::{Effect, Lens, Note, Question, Ticket};
use crate::person::Person;

/// The platform answered, and the answer is no: that is not a missing line.
pub(super) const REFUSED: &str = "platform.refused";
/// After an expired card where a number may be typed instead.
const EXPIRED_WAYS: &[Way] = &[Way::TypeNumber, Way::Home, Way::Leave];

impl Session {
    /// Why an item cannot start now, as a problem code; `None` when it can.
    pub(super) fn obstacle(&self, item: &Item) -> Option<&'static str> {
        if self.is_closed() && !self.visit.has_begun {
            return Some(self.closed_code());
        }
        if self.is_suspended(&item.id) {
            return Some("session.suspended");
        }
        // Said before anybody types anything: what cannot be stored cannot be accepted.
        if !self.has_room && item.has_step("submit") {
            return Some("queue.no-room");
        }
        let device = item
            .required
            .iter()
            .find_map(|class| self.device_obstacle(*class));
        if device.is_some() {
            return device;
        }
        (item.offline == Offline::OnlineOnly && !self.is_online).then_some("platform.unreachable")
    }

    /// Why no device of a class can be used, as a problem code.
    pub(super) fn device_obstacle(&self, class: DeviceClass) -> Option<&'static str> {
        let mut code = named(class, "device.not-there");
        let ours = self
            .devices
            .iter()
            .filter(|(_, (other, _))| *other == class);
        for (device, (_, status)) in ours {
            if status.is_ready() {
                if !self.has_failed_test(device) {
                    return None;
                }
                code = "session.test-failed";
                continue;
            }
            if status.state == DeviceState::Starting {
                code = "device.starting";
            } else if let Some(fault) = status.faults.first() {
                code = named(class, fault.code);
            }
        }
        Some(code)
    }

    pub(super) fn introduce(&mut self, id: &str, effects: &mut Vec<Effect>) {
        if let Some(item) = self.catalogue.get(id).cloned() {
            self.visit = super::Visit {
                item: Some(item),
                ..super::Visit::default()
            };
            self.turn_to(Page::Introduction, effects);
        }
    }

    pub(super) fn start(&mut self, is_for_other: bool, now: Moment, effects: &mut Vec<Effect>) {
        let Some(item) = self.visit.item.clone() else {
            return;
        };
        if self.obstacle(&item).is_some() {
            return;
        }
        self.visit.is_for_other = is_for_other;
        if !self.visit.has_begun {
            self.visit.has_begun = true;
            effects.push(Effect::Note(Note::VisitBegun {
                item: item.id.clone(),
            }));
        }
        self.enter(0, now, effects);
    }

    pub(super) fn identify(&mut self, role: Role, effects: &mut Vec<Effect>) {
        let ticket = self.ticket();
        self.turn_to(
            Page::Identify {
                role,
                ticket,
                reading: Reading::Waiting,
                code: "",
            },
            effects,
        );
        effects.push(Effect::ReadCard(ticket));
        let may_insert =
            role == Role::Principal && self.visit.item.as_deref().is_some_and(may_insert);
        if may_insert {
            effects.push(Effect::ReadSocialCard(ticket));
        }
    }

    /// Opens a step, or the next one that applies; past the last one the visit ends.
    pub(super) fn enter(&mut self, index: usize, now: Moment, effects: &mut Vec<Effect>) {
        let Some(item) = self.visit.item.clone() else {
            return;
        };
        self.visit.step = index;
        let Some(step) = item.steps.get(index) else {
            self.visit.is_served = true;
            self.end_visit(now, Leaving::OfOwnAccord, effects);
            return;
        };
        match step {
            Step::Identify {} => {
                let role = if self.visit.is_for_other {
                    Role::Helper
                } else {
                    Role::Principal
                };
                self.identify(role, effects);
            }
            Step::Consent {} if !self.visit.is_for_other => self.forward(now, effects),
            Step::Consent {} => self.turn_to(Page::Consent, effects),
            Step::Face { .. } => self.face(effects),
            Step::Form { .. } => match self.asked_fields().first() {
                Some(first) => {
                    let first = *first;
                    self.ask(first, effects);
                }
                None => self.forward(now, effects),
            },
            Step::Capture { .. } => {
                self.visit.pictures.clear();
                self.capture(0, effects);
            }
            Step::Review {} => self.turn_to(Page::Review, effects),
            Step::Submit { .. } => self.commit(effects),
            Step::Fetch {} => self.fetch(now, effects),
            Step::Print {} => self.turn_to(Page::Preview { index: 0 }, effects),
            Step::Slip { .. } => self.print_slip(false, effects),
            Step::Rating {} => self.turn_to(
                Page::Rating {
                    chosen: String::new(),
                },
                effects,
            ),
        }
    }

    /// On to the next step.
    pub(super) fn forward(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.enter(self.visit.step + 1, now, effects);
    }

    /// Back to the last page of the step before.
    pub(super) fn step_back(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(item) = self.visit.item.clone() else {
            return;
        };
        let applies = |step: &Step| match step {
            Step::Consent {} => self.visit.is_for_other,
            // A face that matched stays matched; a fetched document is fetched anew by going on.
            Step::Face { .. } | Step::Fetch {} => false,
            Step::Identify {}
            | Step::Form { .. }
            | Step::Capture { .. }
            | Step::Review {}
            | Step::Submit { .. }
            | Step::Print {}
            | Step::Slip { .. }
            | Step::Rating {} => true,
        };
        let before = (0..self.visit.step)
            .rev()
            .find(|&at| applies(&item.steps[at]));
        let Some(before) = before else {
            self.turn_to(Page::Introduction, effects);
            return;
        };
        self.visit.step = before;
        match &item.steps[before] {
            Step::Identify {} => {
                self.turn_to(
                    Page::Confirm {
                        role: Role::Principal,
                    },
                    effects,
                );
            }
            Step::Form { .. } => {
                if let Some(last) = self.asked_fields().last() {
                    let last = *last;
                    self.ask(last, effects);
                }
            }
            Step::Consent {}
            | Step::Face { .. }
            | Step::Capture { .. }
            | Step::Review {}
            | Step::Submit { .. }
            | Step::Fetch {}
            | Step::Print {}
            | Step::Slip { .. }
            | Step::Rating {} => self.enter(before, now, effects),
        }
    }

    /// The visitor says the data on the glass is right.
    pub(super) fn confirmed(&mut self, role: Role, now: Moment, effects: &mut Vec<Effect>) {
        let Some(item) = self.visit.item.clone() else {
            return;
        };
        let Some(person) = self.visit.person(role) else {
            return;
        };
        if person.is_expired_on(now.date()) {
            let can_type = role == Role::Principal && may_type(&item);
            let ways = if can_type { EXPIRED_WAYS } else { NO_RETRY };
            self.trouble("id-card.expired", String::new(), ways, effects);
            return;
        }
        effects.push(Effect::Note(Note::Identified {
            role: role.name(),
            document: person.source.name(),
            number: person.number.clone(),
        }));
        match role {
            Role::Helper => self.identify(Role::Principal, effects),
            Role::Witness => self.ask_witness(effects),
            Role::Principal => self.principal_confirmed(&item, now, effects),
        }
    }

    fn principal_confirmed(&mut self, item: &Item, now: Moment, effects: &mut Vec<Effect>) {
        let Some(person) = &self.visit.principal else {
            return;
        };
        let is_same = self
            .visit
            .helper
            .as_ref()
            .is_some_and(|helper| helper.number == person.number);
        if is_same {
            self.trouble("session.same-person", String::new(), ONLINE_WAYS, effects);
            return;
        }
        if let Some((principal, helper)) = self.visit.pair() {
            effects.push(Effect::Note(Note::HelperActs { principal, helper }));
        }
        let age = person.age_on(now.date());
        if let (Some(age_min), Some(age)) = (item.age_min, age)
            && age < age_min
        {
            let words = item.text(self.lang(), "refusal.age").to_owned();
            self.trouble("session.not-eligible", words, NO_RETRY, effects);
            return;
        }
        let is_elder = age.is_some_and(|age| age >= ELDER_AGE);
        let has_small_text = matches!(
            self.text_size,
            kiosk_ui::TextSize::Normal | kiosk_ui::TextSize::Large
        );
        if is_elder && has_small_text && !self.visit.is_elder_offered {
            self.visit.is_elder_offered = true;
            self.turn_to(Page::OfferElder, effects);
            return;
        }
        self.check_identity(now, effects);
    }

    /// Asks the platform whether the person is known; without a line the item's policy decides.
    pub(super) fn check_identity(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let (Some(item), Some(person)) = (self.visit.item.clone(), self.visit.principal.clone())
        else {
            return;
        };
        if !self.is_online {
            self.unchecked("platform.unreachable", String::new(), now, effects);
            return;
        }
        let ticket = self.ticket();
        let until = now.uptime + ANSWER_LIMIT;
        self.turn_to(
            Page::Checking {
                role: Role::Principal,
                ticket,
                until,
            },
            effects,
        );
        effects.push(Effect::Ask(
            ticket,
            Question::Identity {
                person: Box::new(person),
                item: item.id.clone(),
            },
        ));
    }

    /// The identity could not be checked: an item that needs the line stops, the others go on.
    pub(super) fn unchecked(
        &mut self,
        code: &'static str,
        words: String,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let is_online_only = self
            .visit
            .item
            .as_ref()
            .is_none_or(|item| item.offline == Offline::OnlineOnly);
        if is_online_only || code == REFUSED {
            self.trouble(code, words, ONLINE_WAYS, effects);
        } else {
            self.forward(now, effects);
        }
    }

    /// A whole identity number has been typed.
    pub(super) fn number_typed(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Page::Number {
            role,
            text,
            has_error,
        } = &mut self.page
        else {
            return;
        };
        let person = Person::from_number(text.expose());
        let is_valid = kiosk_id_card::number::is_valid_resident_number(text.expose())
            && person.age_on(now.date()).is_some();
        if !is_valid {
            *has_error = true;
            return;
        }
        let role = *role;
        self.visit.set_person(role, Some(person));
        self.turn_to(Page::Confirm { role }, effects);
    }

    /// Indices of the fields of the current form that are asked in this visit.
    fn asked_fields(&self) -> Vec<usize> {
        self.fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| self.visit.is_for_other || !field.only_for_other)
            .map(|(index, _)| index)
            .collect()
    }

    fn fields(&self) -> &[Field] {
        let item = self.visit.item.as_ref();
        if let Some(Step::Form { fields }) = item.and_then(|item| item.steps.get(self.visit.step)) {
            fields
        } else {
            &[]
        }
    }

    /// The field that is being asked.
    pub(super) fn current_field(&self) -> Option<&Field> {
        let Page::Question { index, .. } = self.page else {
            return None;
        };
        self.fields().get(index)
    }

    pub(super) fn ask(&mut self, index: usize, effects: &mut Vec<Effect>) {
        let text = self
            .fields()
            .get(index)
            .map(|field| self.visit.answer(&field.id).to_owned())
            .unwrap_or_default();
        self.turn_to(
            Page::Question {
                index,
                text: Sensitive::new(text),
                has_error: false,
            },
            effects,
        );
    }

    pub(super) fn ask_before(&mut self, index: usize, now: Moment, effects: &mut Vec<Effect>) {
        match self.asked_fields().into_iter().rev().find(|&at| at < index) {
            Some(before) => self.ask(before, effects),
            None => self.step_back(now, effects),
        }
    }

    /// An option of a choice was touched: it is the answer.
    pub(super) fn option_chosen(&mut self, id: &str, now: Moment, effects: &mut Vec<Effect>) {
        let is_offered = self
            .current_field()
            .is_some_and(|field| field.options.iter().any(|option| option == id));
        if !is_offered {
            return;
        }
        if let Page::Question { text, .. } = &mut self.page {
            *text = Sensitive::new(id.to_owned());
        }
        self.answer_given(now, effects);
    }

    pub(super) fn answer_given(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some((id, kind)) = self
            .current_field()
            .map(|field| (field.id.clone(), field.kind))
        else {
            return;
        };
        let Page::Question {
            index,
            text,
            has_error,
        } = &mut self.page
        else {
            return;
        };
        if !kind.is_valid(text.expose()) {
            *has_error = kind != FieldKind::Choice;
            return;
        }
        let (index, value) = (*index, text.expose().clone());
        self.visit.set_answer(&id, value);
        match self.asked_fields().into_iter().find(|&at| at > index) {
            Some(next) => self.ask(next, effects),
            None => self.forward(now, effects),
        }
    }

    fn fetch(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let (Some(item), Some(person)) = (self.visit.item.clone(), self.visit.principal.clone())
        else {
            return;
        };
        if !self.is_online {
            self.trouble("platform.unreachable", String::new(), ONLINE_WAYS, effects);
            return;
        }
        let answers = self
            .visit
            .answers
            .iter()
            .map(|(id, value)| (id.clone(), value.expose().clone()))
            .collect();
        let ticket = self.ticket();
        let until = now.uptime + FETCH_LIMIT;
        self.turn_to(Page::Fetching { ticket, until }, effects);
        effects.push(Effect::Ask(
            ticket,
            Question::Credential {
                person: Box::new(person),
                item: item.id.clone(),
                answers,
            },
        ));
    }

    /// The visitor wants to know how a case stands.
    pub(super) fn track(&mut self, effects: &mut Vec<Effect>) {
        if let Some(code) = self.scan_obstacle() {
            self.trouble(code, String::new(), TRACK_WAYS, effects);
            return;
        }
        let ticket = self.ticket();
        self.turn_to(Page::TrackScan { ticket, code: "" }, effects);
        effects.push(self.look_for_code(ticket));
    }

    /// What keeps codes from being read. Without a scanner the document camera does it.
    pub(super) fn scan_obstacle(&self) -> Option<&'static str> {
        let obstacle = self.device_obstacle(DeviceClass::QrScanner)?;
        (!self.is_ready(DeviceClass::Camera)).then_some(obstacle)
    }

    /// Reads codes with the scanner, or with the camera where the scanner does not work.
    pub(super) fn look_for_code(&self, ticket: Ticket) -> Effect {
        if self.has_scanner() {
            Effect::Scan(ticket)
        } else {
            Effect::Stream(ticket, Lens::Document)
        }
    }

    /// True while the scanner works.
    pub(super) fn has_scanner(&self) -> bool {
        self.device_obstacle(DeviceClass::QrScanner).is_none()
    }

    /// How long the submit step of the current item waits for a receipt.
    pub(super) fn receipt_wait(&self) -> Duration {
        let steps = self.visit.item.as_ref().map_or(&[][..], |item| &item.steps);
        let seconds = steps.iter().find_map(|step| {
            if let Step::Submit { wait_s } = step {
                Some(*wait_s)
            } else {
                None
            }
        });
        Duration::from_secs(u64::from(seconds.unwrap_or(0)))
    }

    /// The result page without any paper.
    pub(super) fn done_without_paper(&mut self, effects: &mut Vec<Effect>) {
        self.turn_to(
            Page::Done {
                print: None,
                paper: Paper::None,
                code: "",
            },
            effects,
        );
    }
}

/// True when an item lets people type their number.
pub(super) fn may_type(item: &Item) -> bool {
    item.identification.contains(&Identification::TypedNumber)
}

/// True when an item takes a social security card.
pub(super) fn may_insert(item: &Item) -> bool {
    item.identification.contains(&Identification::SocialCard)
}

/// Name of the slip template of an item, if it has a slip.
pub(super) fn slip_template(item: &Arc<Item>) -> Option<String> {
    item.steps.iter().find_map(|step| {
        if let Step::Slip { template } = step {
            Some(template.clone())
        } else {
            None
        }
    })
}
