//! What an operator calls back before its date: the list as it was signed last, what is added to it or
//! taken off, and the list that follows. The file is the signed list itself, so what every terminal
//! has is also what the next list is made from, and a lost file comes back from any terminal.

use std::path::Path;

use kiosk_sealing::PublicKey;
use kiosk_sealing::unlock::{REVOKED_MAX, Revocations, RevokedId, UnlockError};

use crate::code::{self, CodeError};

/// Why there is no next list.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// Nothing is named.
    #[error(
        "nothing is named; say --delegation, --person or --key, or --renew to sign the list again"
    )]
    Nothing,
    /// It is not on the list.
    #[error("{id} is not on the list")]
    NotThere {
        /// Its id.
        id: RevokedId,
    },
    /// No more fit.
    #[error(
        "a list holds {REVOKED_MAX} entries; take off certificates, and people without a certificate, that were put on it more than 31 days ago: they have ended by themselves"
    )]
    Full,
    /// There is no number above this one.
    #[error("the numbers are used up; begin a new list with a new operator's key")]
    NumbersUsedUp,
    /// The list is not in order, or not signed by whom it should be.
    #[error("the list as it was signed last cannot be used")]
    List(#[from] UnlockError),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] CodeError),
}

/// What becomes of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Certificates of own keys.
    pub delegations: Vec<RevokedId>,
    /// People.
    pub people: Vec<RevokedId>,
    /// Keys.
    pub keys: Vec<RevokedId>,
    /// They are taken off the list, and count again.
    pub is_lifted: bool,
    /// The list is signed again though nothing is named.
    pub is_renewed: bool,
}

/// Reads the list that was signed last by one of these keys; none where there is no file yet.
///
/// # Errors
/// `List`, `File`.
pub fn read(path: &Path, signers: &[PublicKey]) -> Result<Revocations, RevocationError> {
    let none = Revocations::default();
    if !path.exists() {
        return Ok(none);
    }
    let text = code::read_file(path)?;
    Ok(Revocations::verify(&text, signers, &none)?)
}

/// The list that follows.
///
/// # Errors
/// `Nothing`, `NotThere`, `Full`, `NumbersUsedUp`.
pub fn next(
    held: &Revocations,
    change: &Change,
    now_s: i64,
) -> Result<Revocations, RevocationError> {
    let named = [&change.delegations, &change.people, &change.keys];
    if !change.is_renewed && named.iter().all(|ids| ids.is_empty()) {
        return Err(RevocationError::Nothing);
    }
    let mut list = held.clone();
    list.number = held
        .number
        .checked_add(1)
        .ok_or(RevocationError::NumbersUsedUp)?;
    list.issued_at_s = now_s;
    let entries = [&mut list.delegations, &mut list.people, &mut list.keys];
    for (entries, ids) in entries.into_iter().zip(named) {
        for id in ids {
            if !change.is_lifted {
                entries.insert(*id);
            } else if !entries.remove(id) {
                return Err(RevocationError::NotThere { id: *id });
            }
        }
    }
    if list.len() > REVOKED_MAX {
        return Err(RevocationError::Full);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> RevokedId {
        format!("{number:016x}").parse().unwrap()
    }

    #[test]
    fn each_list_has_the_next_number_and_what_was_on_the_last() {
        let people = |names: &[&str]| {
            names
                .iter()
                .map(|name| RevokedId::of_person(name))
                .collect()
        };
        let mut change = Change {
            people: people(&["technician-1"]),
            ..Change::default()
        };
        let first = next(&Revocations::default(), &change, 100).unwrap();
        assert_eq!((first.number, first.len(), first.issued_at_s), (1, 1, 100));
        change.people = people(&["technician-1", "technician-2"]);
        let second = next(&first, &change, 200).unwrap();
        assert_eq!((second.number, second.len()), (2, 2));
        change.people = people(&["technician-1"]);
        change.is_lifted = true;
        let third = next(&second, &change, 300).unwrap();
        assert_eq!((third.number, third.len()), (3, 1));
        assert!(third.check_person("technician-1").is_ok());
        assert!(third.check_person("technician-2").is_err());
        assert!(matches!(
            next(&third, &change, 400),
            Err(RevocationError::NotThere { .. })
        ));
        assert!(matches!(
            next(&third, &Change::default(), 400),
            Err(RevocationError::Nothing)
        ));
        let renewed = Change {
            is_renewed: true,
            ..Change::default()
        };
        let fourth = next(&third, &renewed, 400).unwrap();
        assert_eq!((fourth.number, &fourth.people), (4, &third.people));
    }

    #[test]
    fn a_list_is_full_at_its_bound_and_numbers_do_not_wrap() {
        let mut change = Change {
            delegations: (0..REVOKED_MAX).map(id).collect(),
            ..Change::default()
        };
        let full = next(&Revocations::default(), &change, 0).unwrap();
        assert_eq!(full.len(), REVOKED_MAX);
        change.keys = vec![id(7)];
        assert!(matches!(
            next(&Revocations::default(), &change, 0),
            Err(RevocationError::Full)
        ));
        let last = Revocations {
            number: u32::MAX,
            ..Revocations::default()
        };
        change.keys.clear();
        assert!(matches!(
            next(&last, &change, 0),
            Err(RevocationError::NumbersUsedUp)
        ));
    }
}
