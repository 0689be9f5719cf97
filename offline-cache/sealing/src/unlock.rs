//! Who may come in as staff, without a network: a terminal shows a challenge, an operator's key
//! signs a permission for it, and a PIN is the second factor.
//!
//! A permission holds for one terminal, one challenge, one person, some scopes and some minutes. It
//! is signed by a key that the terminal knows (an operator's), or by a technician's own key with a
//! certificate from an operator that it carries along. Here is no clock and no memory: the caller
//! makes each nonce once, says what time it is, and keeps the ids of permissions that were used.
//!
//! Texts are Base45 of compact signed words, so that a QR symbol holds them in its alphanumeric
//! mode: `KC1:` challenge, `KU1:` permission, `KD1:` certificate of a technician's key, `KV1:` list
//! of what no longer counts.

mod challenge;
mod delegation;
#[cfg(test)]
mod forgeries;
mod grant;
mod pin;
mod revocations;
mod role;

use std::collections::BTreeSet;

use crate::cbor::{Reader, Writer};
use crate::cose::{self, Message, Refusal};
use crate::{FormatError, KeyError, PublicKey};

pub use challenge::Challenge;
pub use delegation::{DELEGATION_DAYS_MAX, Delegation, TERMINALS_MAX};
pub use grant::{AT_ANY_TIME, Expected, Grant, PRESENT_S_MAX, verify, verify_unrevoked};
pub use pin::{PIN_DIGITS, PinError, PinVerifier};
pub use revocations::{REVOKED_MAX, Revocations, Revoked, RevokedId};
pub use role::{Role, Scope, WordError};

/// Longest text that is looked at, in bytes. Measured: a permission has 294, with the certificate of
/// an own key 553 to 622, with the largest fields 1266. The last is a QR symbol of version 24 at
/// level M, the first of version 10, which cheap scanners read.
pub const TEXT_BYTES_MAX: usize = 1536;
/// Longest number of a terminal in bytes; chosen, twice what the configuration allows.
pub const TERMINAL_BYTES_MAX: usize = 32;
/// Longest name of an account in bytes.
pub const PERSON_BYTES_MAX: usize = 64;
/// Longest permission in minutes: a working day.
pub const MINUTES_MAX: u16 = 480;

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Longer than any word of this kind; not looked at.
    #[error("{bytes} letters are more than a permission has ({bytes_max})")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// Longest length in bytes.
        bytes_max: usize,
    },
    /// It cannot be read: mistyped, cut short, or no such word.
    #[error("the text is not in order: {0}")]
    Malformed(#[from] FormatError),
    /// Signed by a key that this terminal does not know. Give the terminal the operator's key, or
    /// ask an operator that it knows.
    #[error("it is signed by key {key_id}, which is not known here")]
    UnknownSigner {
        /// Id of the key.
        key_id: String,
    },
    /// The header names another algorithm than the key has.
    #[error("it names another way of signing than its key has")]
    OtherAlgorithm,
    /// The signature does not fit.
    #[error("its signature does not fit: it was altered, or is no permission")]
    Forged,
    /// It is for another terminal.
    #[error("it is for terminal {terminal}")]
    OtherTerminal {
        /// The terminal it is for.
        terminal: String,
    },
    /// It answers another challenge: an older one, or one of before the restart.
    #[error("it does not answer the challenge that is shown now")]
    NotThisChallenge,
    /// It, or the certificate of the technician's key, is over by the clock of the terminal.
    #[error("the {what} is over by this terminal's clock")]
    Expired {
        /// `permission` or `certificate`.
        what: &'static str,
    },
    /// The certificate of the technician's key does not hold yet by the clock of the terminal.
    #[error("the certificate does not hold yet by this terminal's clock")]
    NotYetValid,
    /// More than the role, or the certificate of the technician's key, allows.
    #[error("it asks for more than is allowed: {what}")]
    TooMuch {
        /// What of it.
        what: Excess,
    },
    /// An operator called it back before its date.
    #[error("{what} was revoked by an operator")]
    Revoked {
        /// What of it.
        what: Revoked,
    },
    /// A list of what no longer counts that is not newer than the one that is held.
    #[error("the list has number {number}, the one that is held here has {held}")]
    NotNewer {
        /// Its number.
        number: u32,
        /// The number of the list that is held.
        held: u32,
    },
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What of a permission exceeds what its signer may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Excess {
    /// Scopes that the role or the certificate does not have.
    #[error("its scopes")]
    Scopes,
    /// More minutes than the certificate allows.
    #[error("its minutes")]
    Minutes,
    /// A terminal that the certificate does not name.
    #[error("its terminal")]
    Terminal,
    /// Another person than the certificate is for.
    #[error("its person")]
    Person,
    /// Another role than the certificate gives.
    #[error("its role")]
    Role,
    /// Issued outside of the time of the certificate.
    #[error("its time of issue")]
    Period,
}

impl UnlockError {
    /// Stable problem code, explained in `kiosk-app/problems.toml`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "unlock.too-long",
            Self::Malformed(_) => "unlock.malformed",
            Self::UnknownSigner { .. } => "unlock.unknown-signer",
            Self::OtherAlgorithm | Self::Forged => "unlock.forged",
            Self::OtherTerminal { .. } => "unlock.other-terminal",
            Self::NotThisChallenge => "unlock.not-this-challenge",
            Self::Expired { .. } => "unlock.expired",
            Self::NotYetValid => "unlock.not-yet-valid",
            Self::TooMuch { .. } => "unlock.too-much",
            Self::Revoked { .. } => "unlock.revoked",
            Self::NotNewer { .. } => "unlock.list-not-newer",
            Self::Key(error) => error.code(),
        }
    }
}

/// Bytes of a text of this kind, after its length was looked at.
fn read_text(prefix: &'static str, text: &str) -> Result<Vec<u8>, UnlockError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(UnlockError::TooLong {
            bytes: text.len(),
            bytes_max: TEXT_BYTES_MAX,
        });
    }
    Ok(cose::from_text(prefix, text)?)
}

/// The text of a word that was just signed; the bounds of its fields keep it short enough.
fn write_text(prefix: &'static str, bytes: &[u8]) -> String {
    let text = cose::to_text(prefix, bytes);
    assert!(
        text.len() <= TEXT_BYTES_MAX,
        "fields within their bounds fit"
    );
    text
}

/// Checks a word with the key among `keys` that it names.
fn check_signature(
    message: &Message<'_>,
    keys: &[PublicKey],
    domain: &str,
) -> Result<(), UnlockError> {
    let unknown = || UnlockError::UnknownSigner {
        key_id: message.key_id(),
    };
    let key = keys
        .iter()
        .find(|key| key.key_id() == message.key_id())
        .ok_or_else(unknown)?;
    message
        .verify(key, domain)
        .map_err(|refusal| match refusal {
            Refusal::OtherKey => unknown(),
            Refusal::OtherAlgorithm => UnlockError::OtherAlgorithm,
            Refusal::Forged => UnlockError::Forged,
        })
}

/// Whether a field keeps to its bounds; the same when it is written and when it is read.
fn check(is_in_bounds: bool, field: &'static str) -> Result<(), FormatError> {
    if is_in_bounds {
        Ok(())
    } else {
        Err(FormatError::OutOfRange { field })
    }
}

fn check_terminal(terminal: &str) -> Result<(), FormatError> {
    check(is_terminal(terminal), "terminal")
}

/// Letters, digits and `-._`, at most [`TERMINAL_BYTES_MAX`] of them.
fn is_terminal(terminal: &str) -> bool {
    (1..=TERMINAL_BYTES_MAX).contains(&terminal.len())
        && terminal
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn check_person(person: &str) -> Result<(), FormatError> {
    let is_person = (1..=PERSON_BYTES_MAX).contains(&person.len())
        && person.trim() == person
        && !person.chars().any(char::is_control);
    check(is_person, "person")
}

fn check_minutes(minutes: u16) -> Result<(), FormatError> {
    check((1..=MINUTES_MAX).contains(&minutes), "minutes")
}

fn read_minutes(reader: &mut Reader<'_>) -> Result<u16, FormatError> {
    u16::try_from(reader.uint()?).map_err(|_| FormatError::OutOfRange { field: "minutes" })
}

fn read_role(reader: &mut Reader<'_>) -> Result<Role, FormatError> {
    Role::from_number(reader.uint()?).ok_or(FormatError::OutOfRange { field: "role" })
}

fn write_scopes(writer: &mut Writer, scopes: &BTreeSet<Scope>) {
    let mut numbers: Vec<u64> = scopes.iter().map(|scope| scope.number()).collect();
    numbers.sort_unstable();
    writer.array(numbers.len());
    for number in numbers {
        writer.uint(number);
    }
}

/// Scopes in ascending order; those that a newer program may know are left out.
fn read_scopes(reader: &mut Reader<'_>) -> Result<BTreeSet<Scope>, FormatError> {
    /// Chosen: leaves room for scopes that do not exist yet.
    const COUNT_MAX: usize = 16;
    let mut scopes = BTreeSet::new();
    let mut previous = None;
    for _ in 0..reader.array(COUNT_MAX, "scopes")? {
        let number = reader.uint()?;
        if previous.is_some_and(|previous| previous >= number) {
            return Err(FormatError::KeyOrder);
        }
        previous = Some(number);
        scopes.extend(Scope::from_number(number));
    }
    Ok(scopes)
}

/// Seconds since 1970.
fn read_time(reader: &mut Reader<'_>, field: &'static str) -> Result<i64, FormatError> {
    i64::try_from(reader.uint()?).map_err(|_| FormatError::OutOfRange { field })
}

/// Writes seconds since 1970; the field was checked before.
fn write_time(writer: &mut Writer, seconds: i64) {
    writer.uint(seconds.cast_unsigned());
}

fn missing(field: &'static str) -> FormatError {
    FormatError::MissingField { field }
}
