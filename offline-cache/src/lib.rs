//! What must survive a power cut: the outbox, its attachments, the print ledger, counters,
//! settings and the catalogue cache.
//!
//! One directory holds everything and one process owns it. Every call that changes something
//! returns after the change is durable, never before. The clock is an argument and never decides
//! an order; a corrupt file is moved aside, never deleted. This crate knows no screen, no device
//! and no network: it hands out what is due and is told what became of it.

mod attachment;
mod cache;
mod catalogue;
mod counter;
mod error;
mod ledger;
mod outbox;
mod schema;
mod setting;
mod transaction;

pub use attachment::{ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, NewAttachment, QueuedAttachment};
pub use cache::{Cache, Opening};
pub use catalogue::{Catalogue, CatalogueItem};
pub use counter::{Usage, UsageKind};
pub use error::CacheError;
pub use ledger::{LedgerEntry, NewPrint, PrintKind, PrintState};
pub use outbox::{Depth, QueueRow, Settled};
pub use transaction::{
    CaseRecord, NewTransaction, PAYLOAD_BYTES_MAX, QueuedTransaction, Receipt, Sequence, State,
};
