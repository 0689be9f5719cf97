//! What the platform remembers: what it accepted, uploads, progress, the catalogue, keys, what it
//! told its terminals and what they said. The effect of a transaction and the memory of its id
//! are one commit, so that a repeated transaction can only be answered with the first receipt.
//!
//! Everything is in the database, so that several instances may stand side by side on one.

mod accept;
mod enrolment;
mod hold;
mod keys;
mod log;
mod notice;
mod order;
mod remote;
mod schema;
mod standing;
mod ticket;
mod upload;

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use uuid::Uuid;

pub(crate) use accept::Road;
pub(crate) use enrolment::{Candidate, Refusal};
pub(crate) use hold::ReleaseOutcome;
pub(crate) use log::NewAct;
pub(crate) use notice::DueNotice;
pub(crate) use order::{Made, PaymentAct, ShipmentStep};
pub(crate) use remote::{NewCommand, Proof};
pub(crate) use standing::CaseCount;
pub(crate) use ticket::{Kept, KeptTicket};
pub(crate) use upload::{Appended, NewUpload, Upload};

use crate::config::{Config, Webhook};
use crate::database::{Database, DatabaseError, MaybeDatabase, Row, Value};
use crate::messages::{CaseAnswer, CatalogueAnswer, CatalogueItem, Receipt};
use keys::Secrets;

/// Rows a page or a list shows at most.
const ROWS_MAX: i64 = 10_000;

/// The store failed: the disk, the server or the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DatabaseError),
    /// The file system failed.
    #[error("the file system failed")]
    Io(#[from] std::io::Error),
    /// Something stored cannot be read back.
    #[error("a stored value cannot be understood")]
    Stored(#[from] serde_json::Error),
    /// A key of the platform cannot be made or read back.
    #[error("a key of the platform cannot be used")]
    Key,
    /// A certificate cannot be made.
    #[error("a certificate cannot be made")]
    Certificate(#[from] crate::tls::TlsError),
    /// The database was written by a newer platform.
    #[error("the database has version {found}, newer than {known}")]
    Newer {
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
}

impl MaybeDatabase for StoreError {
    fn database(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Io(_)
            | Self::Stored(_)
            | Self::Key
            | Self::Certificate(_)
            | Self::Newer { .. } => None,
        }
    }
}

/// One transaction that took effect.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Accepted {
    /// Its id, the idempotency key.
    pub id: Uuid,
    /// The terminal it came from.
    pub terminal: String,
    /// What it is.
    pub kind: String,
    /// Item id.
    pub item: String,
    /// The number on the villager's slip.
    pub case_number: String,
    /// The system behind the platform that it went to; empty for the platform itself.
    pub upstream: String,
    /// How it came: `plain`, or the suite of its envelope.
    pub payload_suite: String,
    /// The road of its first arrival: `network` or `bundle`.
    pub road: String,
    /// How many attachments came with it.
    pub attachments: u32,
    /// How often it arrived; it took effect once.
    pub times_received: u32,
    /// The platform's reference in the receipt.
    pub reference: String,
}

/// The database.
pub(crate) struct Store {
    database: Database,
    secrets: Secrets,
    /// Who is told of what happens to tickets and releases.
    hooks: Vec<Webhook>,
}

impl Store {
    /// Opens the database of a directory, or the server that the configuration names.
    pub(crate) fn open(
        directory: &Path,
        config: &Config,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut database = match &config.database {
            None => Database::sqlite(&directory.join("platform.db"))?,
            Some(url) => Database::postgres(url)?,
        };
        schema::bring_up_to_date(&mut database, config)?;
        let secrets = Secrets::open(&mut database, config.suite, now)?;
        Ok(Self {
            database,
            secrets,
            hooks: config.webhooks.clone(),
        })
    }

    /// Everything that took effect, in order.
    pub(crate) fn accepted(&mut self) -> Result<Vec<Accepted>, StoreError> {
        let rows = self.database.query(
            "SELECT id, terminal, kind, item, case_number, upstream, payload_suite, road,
                    attachments, times_received, receipt
             FROM accepted ORDER BY position LIMIT ?1",
            &[Value::Integer(ROWS_MAX)],
        )?;
        rows.iter().map(accepted_row).collect()
    }

    /// How many transactions took effect.
    pub(crate) fn accepted_count(&mut self) -> Result<u64, StoreError> {
        let row = self
            .database
            .query_one("SELECT COUNT(*) FROM accepted", &[])?;
        Ok(row.map_or(Ok(0), |row| row.count(0))?)
    }

    /// What an official would see of a transaction: its document, opened, and its attachments.
    pub(crate) fn content(&mut self, id: Uuid) -> Result<Option<Content>, StoreError> {
        let id = id.to_string();
        let Some(row) = self.database.query_one(
            "SELECT document FROM accepted WHERE id = ?1",
            &[Value::Text(&id)],
        )?
        else {
            return Ok(None);
        };
        let attachments = self.database.query(
            "SELECT id, content FROM attachment WHERE transaction_id = ?1 ORDER BY id",
            &[Value::Text(&id)],
        )?;
        let attachments: Result<_, StoreError> = attachments
            .iter()
            .map(|row| {
                let id = row.text(0)?.parse().unwrap_or_default();
                Ok((id, row.blob(1)?.to_vec()))
            })
            .collect();
        Ok(Some(Content {
            document: serde_json::from_str(&row.text(0)?)?,
            attachments: attachments?,
        }))
    }

    /// How far a case has come.
    pub(crate) fn case(&mut self, case_number: &str) -> Result<Option<CaseAnswer>, StoreError> {
        let row = self.database.query_one(
            "SELECT case_number, item, state, text, updated_at FROM progress
             WHERE case_number = ?1",
            &[Value::Text(case_number)],
        )?;
        row.map(|row| {
            Ok(CaseAnswer {
                case_number: row.text(0)?,
                item: row.text(1)?,
                state: row.text(2)?,
                text: row.text(3)?,
                updated_at: row.text(4)?,
            })
        })
        .transpose()
    }

    /// Moves a case on, as an official would; whether there is such a case.
    pub(crate) fn move_case(
        &mut self,
        case_number: &str,
        state: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self.database.execute(
            "UPDATE progress SET state = ?2, text = ?3, updated_at = ?4 WHERE case_number = ?1",
            &[
                Value::Text(case_number),
                Value::Text(state),
                Value::Text(text),
                Value::Text(&now.to_string()),
            ],
        )?;
        Ok(changed == 1)
    }

    /// The catalogue as it stands.
    pub(crate) fn catalogue(&mut self) -> Result<CatalogueAnswer, StoreError> {
        self.database.transaction(|database| {
            let version = database.query_one("SELECT version FROM catalogue_version", &[])?;
            let rows = database.query(
                "SELECT id, version, is_suspended FROM catalogue_item ORDER BY id LIMIT ?1",
                &[Value::Integer(ROWS_MAX)],
            )?;
            let items: Result<_, StoreError> = rows
                .iter()
                .map(|row| {
                    Ok(CatalogueItem {
                        id: row.text(0)?,
                        version: row.small(1)?,
                        is_suspended: row.integer(2)? == 1,
                    })
                })
                .collect();
            Ok(CatalogueAnswer {
                version: version.map_or(Ok(0), |row| row.small(0))?,
                items: items?,
            })
        })
    }

    /// Sets one item of the catalogue, which becomes a new version.
    pub(crate) fn set_item(&mut self, item: &CatalogueItem) -> Result<(), StoreError> {
        self.database.transaction(|database| {
            database.execute(
                "INSERT INTO catalogue_item (id, version, is_suspended) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE
                 SET version = excluded.version, is_suspended = excluded.is_suspended",
                &[
                    Value::Text(&item.id),
                    Value::Integer(item.version.into()),
                    Value::Integer(item.is_suspended.into()),
                ],
            )?;
            database.execute("UPDATE catalogue_version SET version = version + 1", &[])?;
            Ok(())
        })
    }

    /// Takes an upstream system down or up again.
    pub(crate) fn set_upstream(&mut self, name: &str, is_up: bool) -> Result<(), StoreError> {
        self.database.execute(
            "INSERT INTO upstream (name, is_up) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET is_up = excluded.is_up",
            &[Value::Text(name), Value::Integer(is_up.into())],
        )?;
        Ok(())
    }

    /// Upstream systems that were ever switched, and whether each is up.
    pub(crate) fn upstreams(&mut self) -> Result<Vec<(String, bool)>, StoreError> {
        let rows = self.database.query(
            "SELECT name, is_up FROM upstream ORDER BY name LIMIT ?1",
            &[Value::Integer(ROWS_MAX)],
        )?;
        rows.iter()
            .map(|row| Ok((row.text(0)?, row.integer(1)? == 1)))
            .collect()
    }
}

/// What a transaction held, opened. Its `Debug` shows nothing of it.
pub struct Content {
    /// The transaction as it was submitted, with its payload opened.
    pub document: serde_json::Value,
    /// Its attachments by their ids.
    pub attachments: Vec<(Uuid, Vec<u8>)>,
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Content")
            .field("attachments", &self.attachments.len())
            .finish_non_exhaustive()
    }
}

fn accepted_row(row: &Row) -> Result<Accepted, StoreError> {
    let receipt: Receipt = serde_json::from_str(&row.text(10)?)?;
    Ok(Accepted {
        id: row.text(0)?.parse().unwrap_or_default(),
        terminal: row.text(1)?,
        kind: row.text(2)?,
        item: row.text(3)?,
        case_number: row.text(4)?,
        upstream: row.text(5)?,
        payload_suite: row.text(6)?,
        road: row.text(7)?,
        attachments: row.small(8)?,
        times_received: row.small(9)?,
        reference: receipt.reference,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::DatabaseError;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_suspended_item_changes_the_catalogue_version() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        let before = store.catalogue().unwrap().version;
        let item = CatalogueItem {
            id: "a".to_owned(),
            version: 1,
            is_suspended: true,
        };
        store.set_item(&item).unwrap();
        let after = store.catalogue().unwrap();
        assert_eq!(after.version, before + 1);
        assert!(after.items.iter().any(|item| item.is_suspended));
    }

    #[test]
    fn what_failed_in_the_engine_is_told_from_the_rest() {
        let error = StoreError::from(DatabaseError::Column { column: 1 });
        assert!(error.database().is_some());
        assert!(StoreError::Key.database().is_none());
    }
}
