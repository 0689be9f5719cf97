//! The certificate of a technician's own key: what an operator lets this key permit, at which
//! terminals and for how long, so that no operator need be called where there is no coverage.
//!
//! It certifies a key for permissions only. A certificate that such a key signs is signed by nobody
//! a terminal knows.

use std::collections::BTreeSet;

use crate::cbor::{Reader, Writer};
use crate::cose::{self, Message};
use crate::{DeviceKey, FormatError, PublicKey};

use super::{
    Excess, Grant, PinVerifier, RevokedId, Role, Scope, UnlockError, check, check_minutes,
    check_person, check_signature, is_terminal, missing, read_minutes, read_role, read_scopes,
    read_text, read_time, write_scopes, write_text, write_time,
};

/// Most terminals, or groups of them, that a certificate names; chosen, so that it stays a QR.
pub const TERMINALS_MAX: usize = 8;
/// Longest life of a certificate in days: a month's round, since a terminal with no coverage may not
/// hear that it was called back.
pub const DELEGATION_DAYS_MAX: u32 = 31;

const PREFIX: &str = "KD1:";
const DOMAIN: &str = "kiosk.delegation.v1";
const FIELDS: usize = 9;
const LIFE_S_MAX: i64 = DELEGATION_DAYS_MAX as i64 * 24 * 3600;

/// What an operator lets a technician's own key permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Name of the account, 1 to 64 bytes; permissions may be for nobody else.
    pub person: String,
    /// The one role of its permissions.
    pub role: Role,
    /// The scopes its permissions may have; not more than the role.
    pub scopes: BTreeSet<Scope>,
    /// The technician's key.
    pub key: PublicKey,
    /// Where: a number, or the beginning of numbers and `*`; 1 to [`TERMINALS_MAX`].
    pub terminals: Vec<String>,
    /// Most minutes of a permission, 1 to 480.
    pub minutes_max: u16,
    /// From when, in seconds since 1970.
    pub not_before_s: i64,
    /// Until when; at most [`DELEGATION_DAYS_MAX`] days later.
    pub not_after_s: i64,
    /// The second factor of every permission: whoever steals the key cannot choose the PIN.
    pub pin: PinVerifier,
}

impl Delegation {
    /// Signs it; the text begins with `KD1:`.
    ///
    /// # Errors
    /// `Malformed` when a field is out of its bounds; `TooMuch` when it has no scopes, or more than
    /// the role; `Key`.
    pub fn sign(&self, operator: &DeviceKey) -> Result<String, UnlockError> {
        self.check()?;
        if self.scopes.is_empty() || !self.scopes.is_subset(&self.role.scopes()) {
            return Err(UnlockError::TooMuch {
                what: Excess::Scopes,
            });
        }
        let mut payload = Writer::new();
        payload.map(FIELDS).uint(1).text(&self.person);
        payload.uint(2).uint(self.role.number()).uint(3);
        write_scopes(&mut payload, &self.scopes);
        payload
            .uint(4)
            .array(2)
            .int(cose::algorithm_number(self.key.algorithm()))
            .bytes(self.key.bytes());
        payload.uint(5).array(self.terminals.len());
        for terminal in &self.terminals {
            payload.text(terminal);
        }
        payload.uint(6).uint(self.minutes_max.into()).uint(7);
        write_time(&mut payload, self.not_before_s);
        payload.uint(8);
        write_time(&mut payload, self.not_after_s);
        payload.uint(9);
        self.pin.write(&mut payload);
        let bytes = cose::sign(operator, DOMAIN, &payload.finish(), None)?;
        Ok(write_text(PREFIX, &bytes))
    }

    /// Checks a certificate against the keys of operators; whether it holds now is for
    /// [`verify`](super::verify) to say.
    ///
    /// # Errors
    /// [`UnlockError`].
    pub fn verify(text: &str, operators: &[PublicKey]) -> Result<Self, UnlockError> {
        Self::verify_bytes(&read_text(PREFIX, text)?, operators)
    }

    fn verify_bytes(bytes: &[u8], operators: &[PublicKey]) -> Result<Self, UnlockError> {
        Self::verify_message(&Message::parse(bytes)?, operators)
    }

    pub(super) fn verify_message(
        message: &Message<'_>,
        operators: &[PublicKey],
    ) -> Result<Self, UnlockError> {
        let delegation = Self::of_message(message)?;
        check_signature(message, operators, DOMAIN)?;
        Ok(delegation)
    }

    /// By what a list of revocations names the certificate; it need not be believed for that.
    ///
    /// # Errors
    /// `TooLong`, `Malformed`.
    pub fn id(text: &str) -> Result<RevokedId, UnlockError> {
        let bytes = read_text(PREFIX, text)?;
        let message = Message::parse(&bytes)?;
        Self::of_message(&message)?;
        Ok(RevokedId::of_delegation(message.payload))
    }

    /// Reads a certificate without believing it, for its holder, who may not have the operators'
    /// keys.
    ///
    /// # Errors
    /// `TooLong`, `Malformed`.
    pub fn parse(text: &str) -> Result<Self, UnlockError> {
        Ok(Self::of_message(&Message::parse(&read_text(
            PREFIX, text,
        )?)?)?)
    }

    /// The bytes of a certificate that is carried along.
    pub(super) fn bytes(text: &str) -> Result<Vec<u8>, UnlockError> {
        read_text(PREFIX, text)
    }

    fn of_message(message: &Message<'_>) -> Result<Self, FormatError> {
        // A certificate of a certificate is not of this profile.
        if message.delegation.is_some() {
            return Err(FormatError::UnknownHeader);
        }
        Self::read(message.payload)
    }

    fn read(payload: &[u8]) -> Result<Self, FormatError> {
        let (mut person, mut role, mut scopes, mut key) = (None, None, None, None);
        let mut terminals = Vec::new();
        let (mut minutes_max, mut not_before_s, mut not_after_s, mut pin) =
            (None, None, None, None);
        let mut reader = Reader::new(payload);
        reader.map(FIELDS, |field, reader| {
            match field {
                1 => person = Some(reader.text()?.to_owned()),
                2 => role = Some(read_role(reader)?),
                3 => scopes = Some(read_scopes(reader)?),
                4 => key = Some(read_key(reader)?),
                5 => {
                    for _ in 0..reader.array(TERMINALS_MAX, "terminals")? {
                        terminals.push(reader.text()?.to_owned());
                    }
                }
                6 => minutes_max = Some(read_minutes(reader)?),
                7 => not_before_s = Some(read_time(reader, "not before")?),
                8 => not_after_s = Some(read_time(reader, "not after")?),
                9 => pin = Some(PinVerifier::read(reader)?),
                _ => return Err(FormatError::UnknownField),
            }
            Ok(())
        })?;
        reader.end()?;
        let delegation = Self {
            person: person.ok_or(missing("person"))?,
            role: role.ok_or(missing("role"))?,
            scopes: scopes.ok_or(missing("scopes"))?,
            key: key.ok_or(missing("key"))?,
            terminals,
            minutes_max: minutes_max.ok_or(missing("minutes"))?,
            not_before_s: not_before_s.ok_or(missing("not before"))?,
            not_after_s: not_after_s.ok_or(missing("not after"))?,
            pin: pin.ok_or(missing("PIN"))?,
        };
        delegation.check()?;
        Ok(delegation)
    }

    /// The bounds of its fields, when it is written and when it is read.
    fn check(&self) -> Result<(), FormatError> {
        check_person(&self.person)?;
        check_minutes(self.minutes_max)?;
        check(
            (1..=TERMINALS_MAX).contains(&self.terminals.len())
                && self.terminals.iter().all(|pattern| is_pattern(pattern)),
            "terminals",
        )?;
        check(self.not_before_s >= 0, "not before")?;
        let life_s = self.not_after_s.saturating_sub(self.not_before_s);
        check((1..=LIFE_S_MAX).contains(&life_s), "not after")
    }

    /// Whether a permission stays within the certificate.
    pub(super) fn allows(&self, grant: &Grant) -> Result<(), UnlockError> {
        let has_terminal = self
            .terminals
            .iter()
            .any(|pattern| fits(pattern, &grant.terminal));
        let may = self.role.scopes();
        let has_scopes = grant
            .scopes
            .iter()
            .all(|scope| self.scopes.contains(scope) && may.contains(scope));
        let period = self.not_before_s..=self.not_after_s;
        for (is_allowed, what) in [
            (grant.person == self.person, Excess::Person),
            (grant.role == self.role, Excess::Role),
            (has_scopes, Excess::Scopes),
            (grant.minutes <= self.minutes_max, Excess::Minutes),
            (has_terminal, Excess::Terminal),
            (period.contains(&grant.issued_at_s), Excess::Period),
        ] {
            if !is_allowed {
                return Err(UnlockError::TooMuch { what });
            }
        }
        Ok(())
    }

    /// Whether it holds at that time by the terminal's clock.
    pub(super) fn check_time(&self, now_s: i64) -> Result<(), UnlockError> {
        if now_s < self.not_before_s {
            Err(UnlockError::NotYetValid)
        } else if now_s > self.not_after_s {
            Err(UnlockError::Expired {
                what: "certificate",
            })
        } else {
            Ok(())
        }
    }
}

fn read_key(reader: &mut Reader<'_>) -> Result<PublicKey, FormatError> {
    let wrong = FormatError::OutOfRange { field: "key" };
    if reader.array(2, "key")? != 2 {
        return Err(wrong);
    }
    let algorithm = cose::algorithm_of(reader.int()?).ok_or(FormatError::UnknownAlgorithm)?;
    PublicKey::new(algorithm, reader.bytes()?).ok_or(wrong)
}

/// A number of a terminal, or its beginning and `*`.
fn is_pattern(pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(beginning) => is_terminal(beginning),
        None => is_terminal(pattern),
    }
}

fn fits(pattern: &str, terminal: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => terminal.starts_with(beginning),
        None => pattern == terminal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_named_one_by_one_or_by_their_beginning() {
        assert!(fits("T001", "T001") && !fits("T001", "T0010") && !fits("T001", "T00"));
        assert!(fits("T0*", "T001") && fits("T0*", "T0") && !fits("T0*", "T1"));
        assert!(fits("*", "T001"));
        for pattern in ["T001", "T*", "*"] {
            assert!(is_pattern(pattern), "{pattern}");
        }
        for pattern in ["", "**", "T*1", "*T", "T 1", "村*", &"T".repeat(33)] {
            assert!(!is_pattern(pattern), "{pattern}");
        }
    }
}
