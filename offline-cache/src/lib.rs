//! What must survive a power cut: the outbox, its attachments, the print ledger, the audit log,
//! the device diary, commands, counters, settings, the catalogue cache, how visits ended and what a
//! technician did.
//!
//! One directory holds everything and one process owns it. Every call that changes something
//! returns after the change is durable, never before. The clock is an argument and never decides
//! an order; a corrupt file is moved aside and salvaged, never deleted. This crate knows no
//! screen, no device and no network: it hands out what is due and is told what became of it.

mod attachment;
mod audit;
mod cache;
mod carry_out;
mod catalogue;
mod check;
mod command;
mod content;
mod counter;
mod desired_state;
mod diary;
mod error;
mod ledger;
mod line;
mod outbox;
mod quarantine;
mod quota;
mod retention;
mod safeguards;
mod salvage;
mod schema;
mod setting;
#[cfg(test)]
mod statements;
mod technician;
mod transaction;
mod visit_end;

pub use attachment::{ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, NewAttachment, QueuedAttachment};
pub use audit::NewAudit;
pub use cache::{Cache, Opening, Options};
pub use catalogue::{Catalogue, CatalogueItem};
pub use command::CommandStanding;
pub use counter::{Usage, UsageKind};
pub use desired_state::DesiredState;
pub use diary::DiaryCount;
pub use error::CacheError;
pub use ledger::{LedgerEntry, NewPrint, PrintKind, PrintState};
pub use line::{Ready, UpstreamDepth};
pub use outbox::{Confirmation, Depth, QueueRow, Settled};
pub use quota::Quota;
pub use safeguards::{Safeguard, SafeguardKind};
pub use salvage::Salvage;
pub use technician::{
    Calibration, Consumable, DailyCheck, DailyKind, Guard, Level, NewTicket, Part, Sla, TestRecord,
    Ticket, TicketAct, TicketState, Verdict,
};
pub use transaction::{
    CaseRecord, NewTransaction, PAYLOAD_BYTES_MAX, QueuedTransaction, Receipt, Sequence, State,
};
pub use visit_end::{Cause, VisitEnd, VisitEndCount};
