//! What an operator, or a technician with a certified key, permits: somebody of the people file at
//! the terminal of a challenge. What is not said narrows nothing; what is said may not widen.

use std::collections::BTreeSet;

use kiosk_sealing::unlock::{Challenge, Delegation, Grant, PinVerifier, Role, Scope};
use uuid::Uuid;

use crate::people::Person;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// As what; as much as the person is when nothing is said.
    pub role: Option<Role>,
    /// What they may do; all of the role, or of the certificate, when nothing is said.
    pub scopes: BTreeSet<Scope>,
    /// For how many minutes, 1 to 480.
    pub minutes: u16,
}

/// Why a permission is not even signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// The role has scopes that the person's does not.
    #[error("somebody who is {is} cannot come in as {wanted}, which may do more")]
    Role {
        /// What the person is.
        is: Role,
        /// What was asked for.
        wanted: Role,
    },
}

/// The permission that an operator signs for somebody of the people file.
///
/// # Errors
/// `Role` when the role asked for may do what the person's may not.
pub fn of_person(
    challenge: &Challenge,
    person: &Person,
    wish: &Wish,
    issued_at_s: i64,
) -> Result<Grant, WishError> {
    let role = narrower(person.role, wish.role)?;
    let scopes = if wish.scopes.is_empty() {
        role.scopes()
    } else {
        wish.scopes.clone()
    };
    Ok(grant(
        challenge,
        (&person.name, &person.pin),
        (role, scopes),
        wish.minutes,
        issued_at_s,
    ))
}

/// The permission that a technician's own key signs, within its certificate.
pub fn of_certificate(
    challenge: &Challenge,
    certificate: &Delegation,
    wish: &Wish,
    issued_at_s: i64,
) -> Grant {
    let scopes = if wish.scopes.is_empty() {
        certificate.scopes.clone()
    } else {
        wish.scopes.clone()
    };
    grant(
        challenge,
        (&certificate.person, &certificate.pin),
        (wish.role.unwrap_or(certificate.role), scopes),
        wish.minutes,
        issued_at_s,
    )
}

/// The role asked for, where it may do nothing that the person's may not.
///
/// # Errors
/// `Role`.
pub fn narrower(is: Role, wanted: Option<Role>) -> Result<Role, WishError> {
    let wanted = wanted.unwrap_or(is);
    if wanted.scopes().is_subset(&is.scopes()) {
        Ok(wanted)
    } else {
        Err(WishError::Role { is, wanted })
    }
}

fn grant(
    challenge: &Challenge,
    (person, pin): (&str, &PinVerifier),
    (role, scopes): (Role, BTreeSet<Scope>),
    minutes: u16,
    issued_at_s: i64,
) -> Grant {
    Grant {
        id: Uuid::now_v7(),
        terminal: challenge.terminal.clone(),
        nonce: challenge.nonce,
        person: person.to_owned(),
        role,
        scopes,
        minutes,
        issued_at_s,
        pin: pin.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_narrows_and_never_widens() {
        assert_eq!(narrower(Role::Technician, None), Ok(Role::Technician));
        for wanted in [Role::VillageStaff, Role::Vendor, Role::Inspector] {
            assert_eq!(narrower(Role::Technician, Some(wanted)), Ok(wanted));
            assert_eq!(
                narrower(wanted, Some(Role::Technician)),
                Err(WishError::Role {
                    is: wanted,
                    wanted: Role::Technician
                })
            );
        }
        assert!(narrower(Role::Inspector, Some(Role::Vendor)).is_err());
    }

    #[test]
    fn what_is_not_said_is_all_of_the_role() {
        let challenge = Challenge {
            terminal: "T001".to_owned(),
            nonce: [7; 16],
            boot: 1,
            counter: 1,
        };
        let pin = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA";
        let person = Person {
            name: "technician-1".to_owned(),
            role: Role::Technician,
            pin: pin.parse().unwrap(),
        };
        let mut wish = Wish {
            minutes: 60,
            ..Wish::default()
        };
        let grant = of_person(&challenge, &person, &wish, 7).unwrap();
        assert_eq!(grant.scopes, Role::Technician.scopes());
        assert_eq!((grant.nonce, grant.terminal.as_str()), ([7; 16], "T001"));
        wish.role = Some(Role::Inspector);
        wish.scopes = BTreeSet::from([Scope::Evidence]);
        let grant = of_person(&challenge, &person, &wish, 7).unwrap();
        assert_eq!(
            (grant.role, grant.scopes),
            (Role::Inspector, wish.scopes.clone())
        );
    }
}
