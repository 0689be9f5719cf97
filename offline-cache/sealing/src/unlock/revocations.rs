//! The list of what no longer counts before its date: certificates of own keys, people, keys. An
//! operator signs it; a terminal holds the one with the highest number and takes no older one.
//!
//! The list is whole, not a change of the one before: what a newer list leaves out counts again.
//! Everybody in it is named by eight bytes of a digest, so it tells nobody who was dismissed, and
//! one with the most entries is still a QR symbol. A list speaks for the key that signed it only as
//! long as neither this list nor the one that is held revokes that key.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::cbor::{Reader, Writer};
use crate::cose::{self, Message};
use crate::encoding::hex;
use crate::suite::sha256_of;
use crate::{DeviceKey, FormatError, PublicKey};

use super::{
    UnlockError, check, check_signature, missing, read_text, read_time, write_text, write_time,
};

/// Most entries of a list. Chosen: the largest list is then a text of 1,467 to 1,473 letters, which
/// [`TEXT_BYTES_MAX`](super::TEXT_BYTES_MAX) and a QR symbol of version 26 at level M hold. What is
/// older than the longest certificate needs no entry any more, so a list does not only grow.
pub const REVOKED_MAX: usize = 96;

const PREFIX: &str = "KV1:";
const DOMAIN: &str = "kiosk.revocations.v1";
const FIELDS: usize = 5;
/// Bytes of an id: as many as a key's id has. Whoever wants to be mistaken for another entry would
/// have to try 2^64 texts that an operator signs.
const ID_BYTES: usize = 8;
/// What the digests of certificates and of names begin with.
const DELEGATION_ID: &[u8] = b"kiosk.delegation-id.v1";
const PERSON_ID: &[u8] = b"kiosk.person-id.v1";

/// What of a permission was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Revoked {
    /// The certificate of the technician's key.
    #[error("the certificate of the key")]
    Delegation,
    /// Whoever comes in.
    #[error("the person")]
    Person,
    /// The key that signed the permission, its certificate or a list.
    #[error("the key")]
    Key,
}

/// By what a list names an entry: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevokedId([u8; ID_BYTES]);

impl RevokedId {
    /// The id of a person, by the name of the account.
    pub fn of_person(name: &str) -> Self {
        Self::of_digest(&[PERSON_ID, &[0], name.as_bytes()])
    }

    /// The id of a key; its digits are those of [`PublicKey::key_id`].
    pub fn of_key(key: &PublicKey) -> Self {
        Self::of_key_id(key.key_id_bytes())
    }

    /// The id of a key of which no more than its id is known.
    pub(super) fn of_key_id(id: [u8; ID_BYTES]) -> Self {
        Self(id)
    }

    /// The id of a certificate, by what is signed in it: the same whoever signs it again.
    pub(super) fn of_delegation(payload: &[u8]) -> Self {
        Self::of_digest(&[DELEGATION_ID, &[0], payload])
    }

    fn of_digest(parts: &[&[u8]]) -> Self {
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&sha256_of(parts)[..ID_BYTES]);
        Self(id)
    }
}

impl fmt::Display for RevokedId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for RevokedId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RevokedId({self})")
    }
}

impl FromStr for RevokedId {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: FormatError = FormatError::OutOfRange { field: "id" };
        let digits = text.as_bytes();
        if digits.len() != 2 * ID_BYTES {
            return Err(WRONG);
        }
        let mut id = [0; ID_BYTES];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16).ok_or(WRONG)?;
                *byte = *byte << 4 | u8::try_from(value).map_err(|_| WRONG)?;
            }
        }
        Ok(Self(id))
    }
}

/// What no longer counts. The default is what a terminal holds that never got a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    /// Rises with each list; 1 is the first, 0 is no list at all.
    pub number: u32,
    /// When it was issued, in seconds since 1970 by the operator's clock; told, never compared.
    pub issued_at_s: i64,
    /// Certificates of own keys.
    pub delegations: BTreeSet<RevokedId>,
    /// People.
    pub people: BTreeSet<RevokedId>,
    /// Keys: of operators, and own ones.
    pub keys: BTreeSet<RevokedId>,
}

impl Revocations {
    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.delegations.len() + self.people.len() + self.keys.len()
    }

    /// Whether it revokes nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Signs it; the text begins with `KV1:`.
    ///
    /// # Errors
    /// `Malformed` when it has no number or more than [`REVOKED_MAX`] entries; `Revoked` when it
    /// revokes the key that signs it; `Key`.
    pub fn sign(&self, operator: &DeviceKey) -> Result<String, UnlockError> {
        self.check()?;
        self.check_key(RevokedId::of_key(&operator.public()))?;
        let bytes = cose::sign(operator, DOMAIN, &self.payload(), None)?;
        Ok(write_text(PREFIX, &bytes))
    }

    /// Checks a list that is to take the place of the one that is held.
    ///
    /// # Errors
    /// [`UnlockError`]: `NotNewer` when the number is not above that of the list that is held,
    /// `Revoked` when the list that is held, or the list itself, revokes the key that signed it.
    pub fn verify(text: &str, operators: &[PublicKey], held: &Self) -> Result<Self, UnlockError> {
        let bytes = read_text(PREFIX, text)?;
        let message = Message::parse(&bytes)?;
        let list = Self::of_message(&message)?;
        check_signature(&message, operators, DOMAIN)?;
        let signer = RevokedId::of_key_id(message.key_id_bytes());
        held.check_key(signer)?;
        list.check_key(signer)?;
        if list.number <= held.number {
            return Err(UnlockError::NotNewer {
                number: list.number,
                held: held.number,
            });
        }
        Ok(list)
    }

    /// Reads a list without believing it: for the operator who keeps it.
    ///
    /// # Errors
    /// `TooLong`, `Malformed`.
    pub fn parse(text: &str) -> Result<Self, UnlockError> {
        Ok(Self::of_message(&Message::parse(&read_text(
            PREFIX, text,
        )?)?)?)
    }

    fn of_message(message: &Message<'_>) -> Result<Self, FormatError> {
        // No own key may revoke anything.
        if message.delegation.is_some() {
            return Err(FormatError::UnknownHeader);
        }
        Self::read(message.payload)
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        let mut payload = Writer::new();
        payload.map(FIELDS).uint(1).uint(self.number.into()).uint(2);
        write_time(&mut payload, self.issued_at_s);
        for (field, ids) in [(3, &self.delegations), (4, &self.people), (5, &self.keys)] {
            payload.uint(field).array(ids.len());
            for id in ids {
                payload.bytes(&id.0);
            }
        }
        payload.finish()
    }

    fn read(payload: &[u8]) -> Result<Self, FormatError> {
        let (mut number, mut issued_at_s) = (None, None);
        let (mut delegations, mut people, mut keys) = (None, None, None);
        let mut reader = Reader::new(payload);
        reader.map(FIELDS, |field, reader| {
            match field {
                1 => {
                    let value = u32::try_from(reader.uint()?);
                    number = Some(value.map_err(|_| FormatError::OutOfRange { field: "number" })?);
                }
                2 => issued_at_s = Some(read_time(reader, "issued at")?),
                3 => delegations = Some(read_ids(reader)?),
                4 => people = Some(read_ids(reader)?),
                5 => keys = Some(read_ids(reader)?),
                _ => return Err(FormatError::UnknownField),
            }
            Ok(())
        })?;
        reader.end()?;
        let list = Self {
            number: number.ok_or(missing("number"))?,
            issued_at_s: issued_at_s.ok_or(missing("issued at"))?,
            delegations: delegations.ok_or(missing("certificates"))?,
            people: people.ok_or(missing("people"))?,
            keys: keys.ok_or(missing("keys"))?,
        };
        list.check()?;
        Ok(list)
    }

    /// The bounds of its fields, when it is written and when it is read.
    fn check(&self) -> Result<(), FormatError> {
        check(self.number > 0, "number")?;
        check(self.issued_at_s >= 0, "issued at")?;
        check(self.len() <= REVOKED_MAX, "entries")
    }

    pub(super) fn check_key(&self, id: RevokedId) -> Result<(), UnlockError> {
        refuse(self.keys.contains(&id), Revoked::Key)
    }

    pub(super) fn check_delegation(&self, id: RevokedId) -> Result<(), UnlockError> {
        refuse(self.delegations.contains(&id), Revoked::Delegation)
    }

    /// Refuses a person that it names.
    ///
    /// # Errors
    /// `Revoked`.
    pub fn check_person(&self, name: &str) -> Result<(), UnlockError> {
        refuse(
            self.people.contains(&RevokedId::of_person(name)),
            Revoked::Person,
        )
    }
}

fn refuse(is_revoked: bool, what: Revoked) -> Result<(), UnlockError> {
    if is_revoked {
        Err(UnlockError::Revoked { what })
    } else {
        Ok(())
    }
}

/// Ids in ascending order, each once.
fn read_ids(reader: &mut Reader<'_>) -> Result<BTreeSet<RevokedId>, FormatError> {
    let mut ids = BTreeSet::new();
    for _ in 0..reader.array(REVOKED_MAX, "entries")? {
        let id = RevokedId(reader.exactly("id")?);
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(FormatError::KeyOrder);
        }
        ids.insert(id);
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Algorithm;
    use crate::unlock::TEXT_BYTES_MAX;

    fn ids(range: std::ops::Range<u8>) -> BTreeSet<RevokedId> {
        range.map(|byte| RevokedId([byte; ID_BYTES])).collect()
    }

    #[test]
    fn the_largest_list_is_a_text_that_is_looked_at() {
        for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Sm2] {
            let key = DeviceKey::generate(algorithm).unwrap();
            let mut list = Revocations {
                number: u32::MAX,
                issued_at_s: i64::MAX,
                delegations: ids(0..32),
                people: ids(32..64),
                keys: ids(64..96),
            };
            let text = list.sign(&key).unwrap();
            assert!(
                (TEXT_BYTES_MAX - 80..=TEXT_BYTES_MAX).contains(&text.len()),
                "{}",
                text.len()
            );
            let none = Revocations::default();
            let read = Revocations::verify(&text, &[key.public()], &none).unwrap();
            assert_eq!(read, list);
            assert_eq!(read.len(), REVOKED_MAX);
            list.people.insert(RevokedId([99; ID_BYTES]));
            let error = list.sign(&key).unwrap_err();
            assert_eq!(error.code(), "unlock.malformed");
        }
    }

    #[test]
    fn ids_survive_their_digits_and_are_those_of_their_kind() {
        let id = RevokedId::of_person("测试一");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, RevokedId::of_person("测试二"));
        assert_ne!(id, RevokedId::of_delegation("测试一".as_bytes()));
        let key = DeviceKey::generate(Algorithm::Sm2).unwrap().public();
        assert_eq!(RevokedId::of_key(&key).to_string(), key.key_id());
        for text in ["", "0123456789abcde", "0123456789abcdeg", "é123456789abcde"] {
            assert!(text.parse::<RevokedId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_does_not_revoke_its_own_signer() {
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let list = Revocations {
            number: 1,
            keys: BTreeSet::from([RevokedId::of_key(&key.public())]),
            ..Revocations::default()
        };
        assert_eq!(list.sign(&key).unwrap_err().code(), "unlock.revoked");
    }
}
