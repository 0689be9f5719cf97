//! The words of the outbox: what is submitted, what became of it, and what the platform said.
//! Nothing here prints a payload, a picture or a message: they may hold personal data.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use uuid::Uuid;

use crate::attachment::{NewAttachment, QueuedAttachment};
use crate::cache::{bounded_or_empty_text, bounded_text};
use crate::{ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, CacheError};

/// Largest payload in bytes. A batch of the platform contract holds 256 KiB, so that any
/// transaction fits one with room to spare.
pub const PAYLOAD_BYTES_MAX: usize = 128 * 1024;

/// Place of a transaction in the outbox; it alone decides the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub i64);

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Attachments are still to be uploaded.
    WaitingAttachments,
    /// Waits for its turn.
    Pending,
    /// Handed out by `due` and not yet answered.
    InFlight,
    /// The platform gave a receipt.
    Acked,
    /// Taken out of the line by the platform's refusal or a named person.
    Dead,
}

impl State {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::WaitingAttachments => 0,
            Self::Pending => 1,
            Self::InFlight => 2,
            Self::Acked => 3,
            Self::Dead => 4,
        }
    }

    pub(crate) fn from_number(number: i64) -> Result<Self, CacheError> {
        match number {
            0 => Ok(Self::WaitingAttachments),
            1 => Ok(Self::Pending),
            2 => Ok(Self::InFlight),
            3 => Ok(Self::Acked),
            4 => Ok(Self::Dead),
            _ => Err(CacheError::Inconsistent { what: "state" }),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WaitingAttachments => "waiting-attachments",
            Self::Pending => "pending",
            Self::InFlight => "in-flight",
            Self::Acked => "acked",
            Self::Dead => "dead",
        })
    }
}

/// What a villager confirmed, ready to be made durable.
#[derive(Clone, PartialEq, Eq)]
pub struct NewTransaction {
    /// Minted once, before the first attempt; the idempotency key of every retry.
    pub id: Uuid,
    /// What it is: `case`, `rating` and so on.
    pub kind: String,
    /// Item id.
    pub item: String,
    /// Version of the item package the form was filled with.
    pub item_version: u32,
    /// The number on the villager's slip.
    pub case_number: String,
    /// Keyed digest of the person: keeps their transactions in order without naming them.
    pub subject: [u8; 32],
    /// What is submitted, at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Vec<u8>,
    /// How the payload and the attachments are protected; `plain` is JSON, else they are
    /// envelopes of that suite.
    pub payload_suite: String,
    /// The platform's key they are sealed to; empty when they are plain.
    pub key_id: String,
    /// The upstream behind the platform it is for; empty for the platform itself.
    pub upstream: String,
    /// Whether it may be left for the off-hours; work of the same person enqueued after it makes
    /// it urgent.
    pub can_wait: bool,
    /// Pictures and papers, at most [`ATTACHMENTS_MAX`].
    pub attachments: Vec<NewAttachment>,
}

impl NewTransaction {
    /// Refuses what the outbox could not carry to the platform.
    pub(crate) fn validate(&self) -> Result<(), CacheError> {
        bounded_text(&self.kind, "kind")?;
        bounded_text(&self.item, "item")?;
        bounded_text(&self.case_number, "case number")?;
        bounded_text(&self.payload_suite, "payload suite")?;
        bounded_or_empty_text(&self.key_id, "key id")?;
        bounded_or_empty_text(&self.upstream, "upstream")?;
        if self.payload.is_empty() || self.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(CacheError::OutOfRange { what: "payload" });
        }
        if self.attachments.len() > ATTACHMENTS_MAX {
            return Err(CacheError::OutOfRange {
                what: "number of attachments",
            });
        }
        for attachment in &self.attachments {
            bounded_text(&attachment.name, "attachment name")?;
            bounded_text(&attachment.media_type, "attachment media type")?;
            if attachment.bytes.is_empty() || attachment.bytes.len() > ATTACHMENT_BYTES_MAX {
                return Err(CacheError::OutOfRange { what: "attachment" });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NewTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewTransaction")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("item", &self.item)
            .field("payload_bytes", &self.payload.len())
            .field("attachments", &self.attachments)
            .finish_non_exhaustive()
    }
}

/// A transaction handed out to be sent now.
#[derive(Clone, PartialEq, Eq)]
pub struct QueuedTransaction {
    /// Place in the outbox.
    pub sequence: Sequence,
    /// The idempotency key.
    pub id: Uuid,
    /// What it is.
    pub kind: String,
    /// Item id.
    pub item: String,
    /// Version of the item package.
    pub item_version: u32,
    /// The number on the villager's slip.
    pub case_number: String,
    /// When it was made durable, by the terminal's clock.
    pub enqueued_at: Timestamp,
    /// Attempts before this one that failed.
    pub attempts: u32,
    /// What is submitted.
    pub payload: Vec<u8>,
    /// How the payload is protected.
    pub payload_suite: String,
    /// The platform's key it is sealed to; empty when it is plain.
    pub key_id: String,
    /// The upstream it is for; empty for the platform itself.
    pub upstream: String,
    /// Keyed digest of the person.
    pub subject: [u8; 32],
    /// Whether it may be left for the off-hours.
    pub can_wait: bool,
    /// Its attachments in the order given; all uploaded, unless it is carried out.
    pub attachments: Vec<QueuedAttachment>,
}

impl fmt::Debug for QueuedTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("QueuedTransaction")
            .field("sequence", &self.sequence)
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("item", &self.item)
            .field("attempts", &self.attempts)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The platform's answer to a transaction; the only machine-made way out of the outbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The platform's reference.
    pub reference: String,
    /// `accepted`, `completed` or a later word of the contract.
    pub outcome: String,
    /// A sentence for the villager.
    pub message: String,
    /// Until when the result holds, if it ends.
    pub valid_until: Option<Date>,
    /// The answer as it came, JSON.
    pub raw: String,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Receipt")
            .field("reference", &self.reference)
            .field("outcome", &self.outcome)
            .field("valid_until", &self.valid_until)
            .finish_non_exhaustive()
    }
}

/// What this terminal knows of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseRecord {
    /// Id of the transaction.
    pub id: Uuid,
    /// What it is.
    pub kind: String,
    /// Item id.
    pub item: String,
    /// Where it stands.
    pub state: State,
    /// The platform's answer, when there is one.
    pub receipt: Option<Receipt>,
    /// Problem code of the last failure, if any.
    pub last_code: Option<String>,
    /// When it was made durable.
    pub enqueued_at: Timestamp,
    /// When it was settled, parked or closed.
    pub ended_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::sample;

    #[test]
    fn debug_shows_neither_payload_nor_picture() {
        let mut transaction = sample(1);
        transaction.payload = b"{\"name\":\"SECRET\"}".to_vec();
        transaction.attachments.push(NewAttachment {
            id: Uuid::nil(),
            name: "SECRET".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: b"SECRET".to_vec(),
        });
        let shown = format!("{transaction:?}");
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(!shown.contains("83, 69"), "{shown}");
    }

    fn check_refused(change: impl Fn(&mut NewTransaction)) {
        let mut transaction = sample(1);
        assert!(transaction.validate().is_ok());
        change(&mut transaction);
        let error = transaction.validate().unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }

    #[test]
    fn what_could_not_be_sent_is_refused_at_the_door() {
        check_refused(|transaction| transaction.payload.clear());
        check_refused(|transaction| transaction.payload = vec![b' '; PAYLOAD_BYTES_MAX + 1]);
        check_refused(|transaction| transaction.kind.clear());
        check_refused(|transaction| transaction.case_number = "9".repeat(300));
        check_refused(|transaction| {
            let attachment = NewAttachment {
                id: Uuid::nil(),
                name: "a".to_owned(),
                media_type: "image/jpeg".to_owned(),
                bytes: vec![1],
            };
            transaction.attachments = vec![attachment; ATTACHMENTS_MAX + 1];
        });
    }
}
