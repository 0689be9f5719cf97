//! Why the cache refused or failed. Variants are what a caller can do differently; none carries
//! personal data.

use std::io;

use rusqlite::ErrorCode;
use uuid::Uuid;

use crate::{PrintState, State, TicketState};

/// Why a call to the cache did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Another process owns the directory.
    #[error("the cache directory is in use by another process")]
    InUse,
    /// The disk has no room for new work; nothing was stored.
    #[error("the disk is full")]
    DiskFull,
    /// New work would take the room that settling what is queued needs; nothing was stored.
    #[error("no room for new work: {needed_bytes} bytes needed, {left_bytes} left")]
    NoRoom {
        /// What the new work takes on disk, at most.
        needed_bytes: u64,
        /// What the quota leaves for new work.
        left_bytes: u64,
    },
    /// A newer program wrote the database; this one must not touch it.
    #[error("the database has schema {found}, this program knows up to {known}")]
    NewerSchema {
        /// Version found in the file.
        found: i64,
        /// Newest version this program can read.
        known: i64,
    },
    /// The same id was used before for something else: a bug of the caller.
    #[error("transaction {id} exists with other content")]
    ContentDiffers {
        /// The id used twice.
        id: Uuid,
    },
    /// No such transaction, or it has been purged.
    #[error("transaction {id} is not known")]
    UnknownTransaction {
        /// The id asked for.
        id: Uuid,
    },
    /// The transaction is in a state that does not allow the call.
    #[error("transaction {id} is {state}, which does not allow this")]
    WrongState {
        /// The transaction.
        id: Uuid,
        /// The state it is in.
        state: State,
    },
    /// No such attachment, or its transaction has been settled.
    #[error("attachment {id} is not known")]
    UnknownAttachment {
        /// The id asked for.
        id: Uuid,
    },
    /// The file of an attachment is missing or differs from what was stored.
    #[error("attachment {id} is missing or damaged on disk")]
    AttachmentDamaged {
        /// The attachment.
        id: Uuid,
    },
    /// No such print.
    #[error("print {id} is not in the ledger")]
    UnknownPrint {
        /// The id asked for.
        id: Uuid,
    },
    /// A slip was to be printed for a transaction that has no durable record.
    #[error("print {id} speaks of a transaction that has no record")]
    NoRecord {
        /// The print.
        id: Uuid,
    },
    /// No such command, or it is not in the state that the call needs.
    #[error("command {id} is not known or not finished")]
    UnknownCommand {
        /// The id asked for.
        id: Uuid,
    },
    /// A print cannot go from one state to the other.
    #[error("a print cannot go from {from} to {to}")]
    IllegalTransition {
        /// The state it is in.
        from: PrintState,
        /// The state asked for.
        to: PrintState,
    },
    /// No such test record, or it is of another device.
    #[error("test record {id} is not known for this device")]
    UnknownTest {
        /// The id asked for.
        id: Uuid,
    },
    /// No such ticket.
    #[error("ticket {id} is not known")]
    UnknownTicket {
        /// The id asked for.
        id: Uuid,
    },
    /// The ticket is in a state that does not allow the act.
    #[error("ticket {id} is {state}, which does not allow this")]
    TicketState {
        /// The ticket.
        id: Uuid,
        /// The state it is in.
        state: TicketState,
    },
    /// The test was not passed, or not after the fault began, or it is another test.
    #[error("test record {test} does not prove that ticket {id} is mended")]
    NotProven {
        /// The ticket.
        id: Uuid,
        /// The test record.
        test: Uuid,
    },
    /// The id of a test record or of a daily check was used before for something else: a bug of
    /// the caller.
    #[error("record {id} exists with other content")]
    RecordDiffers {
        /// The id used twice.
        id: Uuid,
    },
    /// A value is longer or larger than this cache stores.
    #[error("{what} is outside its limits")]
    OutOfRange {
        /// Which value.
        what: &'static str,
    },
    /// A stored value cannot be understood: the file was changed from outside.
    #[error("a stored {what} cannot be understood")]
    Inconsistent {
        /// Which value.
        what: &'static str,
    },
    /// The file system failed.
    #[error("cannot read or write the cache directory")]
    Io(#[source] io::Error),
    /// The database failed.
    #[error("the database failed")]
    Store(#[source] rusqlite::Error),
}

impl CacheError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse => "queue.in-use",
            Self::DiskFull => "queue.disk-full",
            Self::NoRoom { .. } => "queue.no-room",
            Self::NewerSchema { .. } => "queue.newer-schema",
            Self::ContentDiffers { .. } => "queue.content-differs",
            Self::UnknownTransaction { .. } => "queue.unknown-transaction",
            Self::WrongState { .. } => "queue.wrong-state",
            Self::UnknownAttachment { .. } => "queue.unknown-attachment",
            Self::AttachmentDamaged { .. } => "queue.attachment-damaged",
            Self::UnknownPrint { .. } => "queue.unknown-print",
            Self::NoRecord { .. } => "queue.no-record",
            Self::UnknownCommand { .. } => "command.unknown",
            Self::IllegalTransition { .. } => "queue.illegal-transition",
            Self::UnknownTest { .. } => "maintenance.unknown-test",
            Self::UnknownTicket { .. } => "maintenance.unknown-ticket",
            Self::TicketState { .. } => "maintenance.wrong-state",
            Self::NotProven { .. } => "maintenance.not-proven",
            Self::RecordDiffers { .. } => "maintenance.record-differs",
            Self::OutOfRange { .. } => "queue.out-of-range",
            Self::Inconsistent { .. } => "queue.inconsistent",
            Self::Io(_) => "queue.io",
            Self::Store(_) => "queue.store",
        }
    }

    /// Whether the database file itself is damaged, so that it must be moved aside.
    pub(crate) fn is_corruption(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
            Self::Inconsistent { .. } => true,
            Self::InUse
            | Self::DiskFull
            | Self::NoRoom { .. }
            | Self::NewerSchema { .. }
            | Self::ContentDiffers { .. }
            | Self::UnknownTransaction { .. }
            | Self::WrongState { .. }
            | Self::UnknownAttachment { .. }
            | Self::AttachmentDamaged { .. }
            | Self::UnknownPrint { .. }
            | Self::NoRecord { .. }
            | Self::UnknownCommand { .. }
            | Self::IllegalTransition { .. }
            | Self::UnknownTest { .. }
            | Self::UnknownTicket { .. }
            | Self::TicketState { .. }
            | Self::NotProven { .. }
            | Self::RecordDiffers { .. }
            | Self::OutOfRange { .. }
            | Self::Io(_) => false,
        }
    }
}

impl From<io::Error> for CacheError {
    fn from(error: io::Error) -> Self {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::DiskFull;
        }
        Self::Io(error)
    }
}

impl From<rusqlite::Error> for CacheError {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
            return Self::DiskFull;
        }
        Self::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_its_own_code() {
        let error = CacheError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.code(), "queue.disk-full");
        let full = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
            None,
        );
        assert_eq!(CacheError::from(full).code(), "queue.disk-full");
    }

    #[test]
    fn only_a_damaged_file_counts_as_corruption() {
        let damaged = rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
            None,
        );
        assert!(CacheError::from(damaged).is_corruption());
        assert!(!CacheError::DiskFull.is_corruption());
    }
}
