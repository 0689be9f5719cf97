//! The digest of a transaction's content, taken when it is enqueued and compared before it is
//! handed out: what was altered on disk is never sent, and one id never stands for two things.
//!
//! Version 1 computed the same digest, and rows go back and forth between versions: nothing may
//! be added to it. Routing (upstream, patience, key id) is not content.

use ring::digest;

use crate::attachment::QueuedAttachment;
use crate::{NewTransaction, QueuedTransaction};

/// Digest over everything that must not change between enqueueing and sending.
struct Content(digest::Context);

impl Content {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Lengths go in too, so that no two contents run together alike.
    fn add(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn finish(self) -> [u8; 32] {
        self.0
            .finish()
            .as_ref()
            .try_into()
            .expect("a SHA-256 digest has 32 bytes")
    }
}

pub(crate) fn of_new(transaction: &NewTransaction) -> [u8; 32] {
    let mut content = Content::new()
        .add(transaction.id.as_bytes())
        .add(transaction.kind.as_bytes())
        .add(transaction.item.as_bytes())
        .add(&transaction.item_version.to_be_bytes())
        .add(transaction.case_number.as_bytes())
        .add(&transaction.subject)
        .add(transaction.payload_suite.as_bytes())
        .add(&transaction.payload);
    for attachment in &transaction.attachments {
        content = content
            .add(attachment.id.as_bytes())
            .add(attachment.name.as_bytes())
            .add(attachment.media_type.as_bytes())
            .add(&kiosk_sealing::sha256(&attachment.bytes));
    }
    content.finish()
}

pub(crate) fn of_queued(transaction: &QueuedTransaction) -> [u8; 32] {
    let mut content = Content::new()
        .add(transaction.id.as_bytes())
        .add(transaction.kind.as_bytes())
        .add(transaction.item.as_bytes())
        .add(&transaction.item_version.to_be_bytes())
        .add(transaction.case_number.as_bytes())
        .add(&transaction.subject)
        .add(transaction.payload_suite.as_bytes())
        .add(&transaction.payload);
    for QueuedAttachment {
        id,
        name,
        media_type,
        sha256,
        ..
    } in &transaction.attachments
    {
        content = content
            .add(id.as_bytes())
            .add(name.as_bytes())
            .add(media_type.as_bytes())
            .add(sha256);
    }
    content.finish()
}
