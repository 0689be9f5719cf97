//! Everything that belongs to one citizen, in one value: replacing it forgets the citizen.

use std::sync::Arc;

use kiosk_device::Sensitive;

use crate::catalogue::Item;
use crate::event::{Commitment, Credential, Erasure, PageSet, Receipt, TakenPicture};
use crate::person::Person;

/// Whose card or number is being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Who acts for another.
    Helper,
    /// The person concerned.
    Principal,
    /// Who vouches for the person concerned instead of a face.
    Witness,
}

impl Role {
    /// The word in the audit log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Helper => "helper",
            Self::Principal => "principal",
            Self::Witness => "witness",
        }
    }
}

/// How the principal was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verification {
    /// `face`, `witness` or `evidence`.
    pub(super) kind: &'static str,
    /// The platform's number of it; empty where it has not been asked.
    pub(super) reference: String,
}

/// What the visitor has given and received so far.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five facts of a visit that have nothing to do with each other"
)]
pub(super) struct Visit {
    pub(super) item: Option<Arc<Item>>,
    pub(super) is_for_other: bool,
    /// The first step was reached; it is counted and in the audit log.
    pub(super) has_begun: bool,
    /// The visitor has what the item gives without a case: a printed document, or its last step.
    pub(super) is_served: bool,
    /// Index of the current step of the item.
    pub(super) step: usize,
    pub(super) principal: Option<Person>,
    pub(super) helper: Option<Person>,
    pub(super) witness: Option<Person>,
    pub(super) consent_time: String,
    pub(super) answers: Vec<(String, Sensitive<String>)>,
    pub(super) verification: Option<Verification>,
    pub(super) face_tries: u32,
    pub(super) face_refusals: u32,
    pub(super) pictures: Vec<TakenPicture>,
    pub(super) credential: Option<Credential>,
    pub(super) pages: Option<PageSet>,
    pub(super) commitment: Option<Commitment>,
    pub(super) receipt: Option<Receipt>,
    /// Something printed lies in an outlet, as far as is known.
    pub(super) has_paper: bool,
    /// Slips of this case that came out and were not drawn back: the next one is a copy.
    pub(super) slips_out: u32,
    pub(super) slip_retries: u32,
    pub(super) is_elder_offered: bool,
}

impl Visit {
    /// The answer to a field; empty when there is none yet.
    pub(super) fn answer(&self, field: &str) -> &str {
        self.answers
            .iter()
            .find(|(id, _)| id == field)
            .map_or("", |(_, value)| value.expose())
    }

    /// Remembers an answer in place of an earlier one.
    pub(super) fn set_answer(&mut self, field: &str, value: String) {
        self.answers.retain(|(id, _)| id != field);
        self.answers.push((field.to_owned(), Sensitive::new(value)));
    }

    /// The person in that role.
    pub(super) fn person(&self, role: Role) -> Option<&Person> {
        match role {
            Role::Helper => self.helper.as_ref(),
            Role::Principal => self.principal.as_ref(),
            Role::Witness => self.witness.as_ref(),
        }
    }

    /// Puts a person into a role, in place of an earlier one.
    pub(super) fn set_person(&mut self, role: Role, person: Option<Person>) {
        match role {
            Role::Helper => self.helper = person,
            Role::Principal => self.principal = person,
            Role::Witness => self.witness = person,
        }
    }

    /// The numbers of the person concerned and of who acts for them, once both are identified.
    pub(super) fn pair(&self) -> Option<(Sensitive<String>, Sensitive<String>)> {
        let (principal, helper) = (self.principal.as_ref()?, self.helper.as_ref()?);
        Some((principal.number.clone(), helper.number.clone()))
    }

    /// Counts what dropping this value erases.
    pub(super) fn erasure(&self) -> Erasure {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let persons = [&self.principal, &self.helper, &self.witness];
        Erasure {
            persons: count(persons.into_iter().flatten().count()),
            answers: count(self.answers.len()),
            pictures: count(self.pictures.len()),
            documents: u32::from(self.credential.is_some()),
        }
    }

    /// True when the visitor has something that belongs to an item or a person.
    pub(super) fn is_empty(&self) -> bool {
        self.item.is_none() && self.principal.is_none() && self.helper.is_none()
    }
}
