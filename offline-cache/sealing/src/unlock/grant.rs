//! A permission: one person, at one terminal, for one challenge, for some minutes.
//!
//! The nonce proves that it was made after the challenge, whatever a clock says. So a permission
//! that an operator signed is not refused for being issued in what the terminal takes for the
//! future: a terminal with an empty clock battery is what the technician came for. A clock that
//! runs ahead does refuse it after a day; for that case the operator can leave the time out.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::cbor::{Reader, Writer};
use crate::cose::{self, Message};
use crate::{DeviceKey, FormatError, PublicKey};

use super::{
    Challenge, Delegation, Excess, PinVerifier, Revocations, RevokedId, Role, Scope, UnlockError,
    check, check_minutes, check_person, check_signature, check_terminal, missing, read_minutes,
    read_role, read_scopes, read_text, read_time, write_scopes, write_text, write_time,
};

/// Seconds after its issue during which a permission may be presented, by the terminal's clock.
/// Chosen: longer than a time zone that was set wrong (14 hours), shorter than two visits.
pub const PRESENT_S_MAX: i64 = 24 * 3600;
/// The time of issue of a permission that an operator gives to a terminal whose clock is known to
/// be wrong: it is not compared with the clock. A delegated key cannot give one.
pub const AT_ANY_TIME: i64 = 0;

const PREFIX: &str = "KU1:";
const DOMAIN: &str = "kiosk.unlock.v1";
/// Fields of a permission; a delegated one leaves the PIN to its certificate.
const FIELDS: usize = 9;

/// A permission to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Minted once; a terminal takes an id once.
    pub id: Uuid,
    /// Number of the terminal.
    pub terminal: String,
    /// Nonce of the challenge.
    pub nonce: [u8; 16],
    /// Name of the account, 1 to 64 bytes.
    pub person: String,
    /// As what.
    pub role: Role,
    /// What they may do; not more than the role.
    pub scopes: BTreeSet<Scope>,
    /// For how long, 1 to 480, from the moment of coming in.
    pub minutes: u16,
    /// When it was issued, in seconds since 1970 by the signer's clock; or [`AT_ANY_TIME`].
    pub issued_at_s: i64,
    /// The second factor; of a delegated permission, that of the certificate.
    pub pin: PinVerifier,
}

/// What a permission is compared with.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The challenge that is shown now.
    pub challenge: &'a Challenge,
    /// Keys of operators that this terminal knows.
    pub operators: &'a [PublicKey],
    /// Now, in seconds since 1970; never earlier than the latest time the caller is sure of.
    pub now_s: i64,
}

impl Grant {
    /// Signs it with an operator's key; the text begins with `KU1:`.
    ///
    /// # Errors
    /// `Malformed` when a field is out of its bounds; `TooMuch` when it has more scopes than the
    /// role; `Key`.
    pub fn sign(&self, operator: &DeviceKey) -> Result<String, UnlockError> {
        self.check()?;
        self.check_role()?;
        let bytes = cose::sign(operator, DOMAIN, &self.payload(Some(&self.pin)), None)?;
        Ok(write_text(PREFIX, &bytes))
    }

    /// Signs it with a technician's own key; the text carries the key's certificate, whose PIN is
    /// the second factor: that of `self` is not written.
    ///
    /// # Errors
    /// As [`Self::sign`]; `TooMuch` also when the certificate does not allow it, `UnknownSigner`
    /// when the certificate is for another key.
    pub fn sign_delegated(&self, own: &DeviceKey, delegation: &str) -> Result<String, UnlockError> {
        self.check()?;
        self.check_role()?;
        let certified = Delegation::parse(delegation)?;
        if certified.key != own.public() {
            return Err(UnlockError::UnknownSigner {
                key_id: own.public().key_id(),
            });
        }
        certified.allows(self)?;
        let certificate = Delegation::bytes(delegation)?;
        let bytes = cose::sign(own, DOMAIN, &self.payload(None), Some(&certificate))?;
        Ok(write_text(PREFIX, &bytes))
    }

    pub(super) fn payload(&self, pin: Option<&PinVerifier>) -> Vec<u8> {
        let mut payload = Writer::new();
        payload
            .map(FIELDS - usize::from(pin.is_none()))
            .uint(1)
            .bytes(self.id.as_bytes())
            .uint(2)
            .text(&self.terminal)
            .uint(3)
            .bytes(&self.nonce)
            .uint(4)
            .text(&self.person)
            .uint(5)
            .uint(self.role.number())
            .uint(6);
        write_scopes(&mut payload, &self.scopes);
        payload.uint(7).uint(self.minutes.into()).uint(8);
        write_time(&mut payload, self.issued_at_s);
        if let Some(pin) = pin {
            payload.uint(9);
            pin.write(&mut payload);
        }
        payload.finish()
    }

    /// Reads a payload; `certified` is the PIN of the certificate, which then has the only one.
    fn read(payload: &[u8], certified: Option<&PinVerifier>) -> Result<Self, FormatError> {
        let (mut id, mut terminal, mut nonce, mut person) = (None, None, None, None);
        let (mut role, mut scopes, mut minutes, mut issued_at_s) = (None, None, None, None);
        let mut pin = certified.cloned();
        let mut reader = Reader::new(payload);
        reader.map(FIELDS, |field, reader| {
            match field {
                1 => id = Some(Uuid::from_bytes(reader.exactly("id")?)),
                2 => terminal = Some(reader.text()?.to_owned()),
                3 => nonce = Some(reader.exactly("nonce")?),
                4 => person = Some(reader.text()?.to_owned()),
                5 => role = Some(read_role(reader)?),
                6 => scopes = Some(read_scopes(reader)?),
                7 => minutes = Some(read_minutes(reader)?),
                8 => issued_at_s = Some(read_time(reader, "issued at")?),
                9 if certified.is_none() => pin = Some(PinVerifier::read(reader)?),
                _ => return Err(FormatError::UnknownField),
            }
            Ok(())
        })?;
        reader.end()?;
        let grant = Self {
            id: id.ok_or(missing("id"))?,
            terminal: terminal.ok_or(missing("terminal"))?,
            nonce: nonce.ok_or(missing("nonce"))?,
            person: person.ok_or(missing("person"))?,
            role: role.ok_or(missing("role"))?,
            scopes: scopes.ok_or(missing("scopes"))?,
            minutes: minutes.ok_or(missing("minutes"))?,
            issued_at_s: issued_at_s.ok_or(missing("issued at"))?,
            pin: pin.ok_or(missing("PIN"))?,
        };
        grant.check()?;
        Ok(grant)
    }

    /// The bounds of its fields, when it is written and when it is read.
    fn check(&self) -> Result<(), FormatError> {
        check_terminal(&self.terminal)?;
        check_person(&self.person)?;
        check_minutes(self.minutes)?;
        check(self.issued_at_s >= 0, "issued at")
    }

    /// Whoever signs says what is meant: nothing at all, or more than the role has, is a mistake.
    fn check_role(&self) -> Result<(), UnlockError> {
        if !self.scopes.is_empty() && self.scopes.is_subset(&self.role.scopes()) {
            Ok(())
        } else {
            Err(UnlockError::TooMuch {
                what: Excess::Scopes,
            })
        }
    }

    /// Leaves the scopes that the role has.
    fn narrow(&mut self) -> Result<(), UnlockError> {
        let may = self.role.scopes();
        self.scopes.retain(|scope| may.contains(scope));
        if self.scopes.is_empty() {
            return Err(UnlockError::TooMuch {
                what: Excess::Scopes,
            });
        }
        Ok(())
    }

    fn check_place(&self, challenge: &Challenge) -> Result<(), UnlockError> {
        if self.terminal != challenge.terminal {
            return Err(UnlockError::OtherTerminal {
                terminal: self.terminal.clone(),
            });
        }
        if self.nonce != challenge.nonce {
            return Err(UnlockError::NotThisChallenge);
        }
        Ok(())
    }

    fn check_time(&self, now_s: i64) -> Result<(), UnlockError> {
        let is_over = now_s > self.issued_at_s.saturating_add(PRESENT_S_MAX);
        if is_over && self.issued_at_s != AT_ANY_TIME {
            return Err(UnlockError::Expired { what: "permission" });
        }
        Ok(())
    }
}

/// Checks a permission; its scopes are then narrowed to those of its role. The caller asks for the
/// PIN, takes each id once, and makes a new nonce after each permission that it took.
///
/// A permission of an operator is over a day after its issue, by the terminal's clock; that the
/// clock is behind does not matter, the nonce is proof enough. A delegated one also needs its
/// certificate to hold now by that clock.
///
/// # Errors
/// [`UnlockError`]; nobody is to be let in.
pub fn verify(text: &str, expected: &Expected<'_>) -> Result<Grant, UnlockError> {
    verify_unrevoked(text, expected, &Revocations::default())
}

/// As [`verify`], and nothing of it is on the list of what no longer counts: neither the key that
/// signed, nor the certificate it brings, nor the person.
///
/// # Errors
/// [`UnlockError`]; nobody is to be let in.
pub fn verify_unrevoked(
    text: &str,
    expected: &Expected<'_>,
    revocations: &Revocations,
) -> Result<Grant, UnlockError> {
    let bytes = read_text(PREFIX, text)?;
    let message = Message::parse(&bytes)?;
    let (mut grant, delegation) = match message.delegation {
        None => {
            let grant = Grant::read(message.payload, None)?;
            check_signature(&message, expected.operators, DOMAIN)?;
            (grant, None)
        }
        Some(certificate) => {
            let certificate = Message::parse(certificate)?;
            let delegation = Delegation::verify_message(&certificate, expected.operators)?;
            let grant = Grant::read(message.payload, Some(&delegation.pin))?;
            check_signature(&message, std::slice::from_ref(&delegation.key), DOMAIN)?;
            revocations.check_key(RevokedId::of_key_id(certificate.key_id_bytes()))?;
            revocations.check_delegation(RevokedId::of_delegation(certificate.payload))?;
            (grant, Some(delegation))
        }
    };
    revocations.check_key(RevokedId::of_key_id(message.key_id_bytes()))?;
    revocations.check_person(&grant.person)?;
    grant.check_place(expected.challenge)?;
    if let Some(delegation) = &delegation {
        delegation.check_time(expected.now_s)?;
        delegation.allows(&grant)?;
    }
    grant.check_time(expected.now_s)?;
    grant.narrow()?;
    Ok(grant)
}
