//! What the platform remembers, in `SQLite`: what it accepted, uploads, progress, the catalogue.
//! The effect of a transaction and the memory of its id are one commit, so that a repeated
//! transaction can only be answered with the first receipt.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use uuid::Uuid;

use axum::http::StatusCode;

use crate::Config;
use crate::contract::{
    CaseAnswer, CatalogueAnswer, CatalogueItem, Receipt, Transaction, Verdict, bounded,
};
use crate::problem::Problem;
use crate::seal::{hex, sha256};

const SCHEMA: &str = include_str!("../sql/001_initial.sql");
/// Rows a page or a list shows at most.
const ROWS_MAX: u32 = 10_000;
/// Seconds after which a transaction whose attachments are missing may come again.
const RETRY_AFTER_S: u32 = 5;
/// Most attachments of a transaction.
const ATTACHMENTS_MAX: usize = 16;

/// The store failed: the disk or the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `SQLite` failed.
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    /// The file system failed.
    #[error("the file system failed")]
    Io(#[from] std::io::Error),
    /// Something stored cannot be read back.
    #[error("a stored value cannot be understood")]
    Stored(#[from] serde_json::Error),
}

/// One transaction that took effect.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Accepted {
    /// Its id, the idempotency key.
    pub id: Uuid,
    /// What it is.
    pub kind: String,
    /// Item id.
    pub item: String,
    /// The number on the villager's slip.
    pub case_number: String,
    /// How many attachments came with it.
    pub attachments: u32,
    /// How often it arrived; it took effect once.
    pub times_received: u32,
    /// The platform's reference in the receipt.
    pub reference: String,
}

/// The state of an upload.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) length: u64,
    pub(crate) sha256: String,
    pub(crate) received: u64,
}

/// The database.
pub(crate) struct Store {
    connection: Connection,
}

impl Store {
    pub(crate) fn open(directory: &Path, config: &Config) -> Result<Self, StoreError> {
        let mut connection = Connection::open(directory.join("platform.db"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            let transaction = connection.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            for (id, version) in &config.items {
                transaction.execute(
                    "INSERT INTO catalogue_item VALUES (?1, ?2, 0)",
                    params![id, version],
                )?;
            }
            transaction.pragma_update(None, "user_version", 1)?;
            transaction.commit()?;
        }
        Ok(Self { connection })
    }

    /// Takes one transaction of a batch; every outcome is durable when it returns.
    pub(crate) fn accept(
        &mut self,
        terminal: &str,
        submitted: &Transaction,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let document = serde_json::to_string(submitted)?;
        let digest = sha256(document.as_bytes());
        let id = submitted.id.to_string();
        let commit = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let earlier: Option<(Vec<u8>, String)> = commit
            .query_row(
                "SELECT content_digest, receipt FROM accepted WHERE id = ?1",
                [&id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        if let Some((earlier_digest, receipt)) = earlier {
            if earlier_digest != digest {
                return Ok(rejected(
                    "transaction.content-differs",
                    "the id was used before with other content",
                ));
            }
            commit.execute(
                "UPDATE accepted SET times_received = times_received + 1 WHERE id = ?1",
                [&id],
            )?;
            commit.commit()?;
            let receipt = serde_json::from_str(&receipt)?;
            return Ok(Verdict::Duplicate { receipt });
        }
        if let Some(verdict) = refusal(&commit, submitted)? {
            return Ok(verdict);
        }
        let receipt = receipt(submitted, now);
        commit.execute(
            "INSERT INTO accepted VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 1)",
            params![
                id,
                terminal,
                submitted.kind,
                submitted.item,
                submitted.case_number,
                digest,
                document,
                u32::try_from(submitted.attachments.len()).unwrap_or(u32::MAX),
                serde_json::to_string(&receipt)?,
                now.to_string(),
            ],
        )?;
        if submitted.kind == "case" {
            commit.execute(
                "INSERT OR IGNORE INTO progress VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    submitted.case_number,
                    submitted.item,
                    receipt.outcome,
                    receipt.message,
                    now.to_string()
                ],
            )?;
        }
        commit.commit()?;
        Ok(Verdict::Accepted { receipt })
    }

    pub(crate) fn accepted(&self) -> Result<Vec<Accepted>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT id, kind, item, case_number, attachments, times_received, receipt
             FROM accepted ORDER BY rowid LIMIT ?1",
        )?;
        let mut rows = statement.query([ROWS_MAX])?;
        let mut accepted = Vec::new();
        while let Some(row) = rows.next()? {
            let receipt: Receipt = serde_json::from_str(&row.get::<_, String>(6)?)?;
            accepted.push(Accepted {
                id: row.get::<_, String>(0)?.parse().unwrap_or_default(),
                kind: row.get(1)?,
                item: row.get(2)?,
                case_number: row.get(3)?,
                attachments: row.get(4)?,
                times_received: row.get(5)?,
                reference: receipt.reference,
            });
        }
        Ok(accepted)
    }

    pub(crate) fn case(&self, case_number: &str) -> Result<Option<CaseAnswer>, StoreError> {
        let case = self
            .connection
            .query_row(
                "SELECT case_number, item, state, text, updated_at FROM progress
                 WHERE case_number = ?1",
                [case_number],
                |row| {
                    Ok(CaseAnswer {
                        case_number: row.get(0)?,
                        item: row.get(1)?,
                        state: row.get(2)?,
                        text: row.get(3)?,
                        updated_at: row.get(4)?,
                    })
                },
            )
            .optional()?;
        Ok(case)
    }

    /// Moves a case on, as an official would; whether there is such a case.
    pub(crate) fn move_case(
        &mut self,
        case_number: &str,
        state: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self.connection.execute(
            "UPDATE progress SET state = ?2, text = ?3, updated_at = ?4 WHERE case_number = ?1",
            params![case_number, state, text, now.to_string()],
        )?;
        Ok(changed == 1)
    }

    pub(crate) fn catalogue(&self) -> Result<CatalogueAnswer, StoreError> {
        let version =
            self.connection
                .query_row("SELECT version FROM catalogue_version", [], |row| {
                    row.get(0)
                })?;
        let items = self
            .connection
            .prepare("SELECT id, version, is_suspended FROM catalogue_item ORDER BY id")?
            .query_map([], |row| {
                Ok(CatalogueItem {
                    id: row.get(0)?,
                    version: row.get(1)?,
                    is_suspended: row.get(2)?,
                })
            })?
            .collect::<Result<_, _>>()?;
        Ok(CatalogueAnswer { version, items })
    }

    /// Sets one item of the catalogue, which becomes a new version.
    pub(crate) fn set_item(&mut self, item: &CatalogueItem) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT OR REPLACE INTO catalogue_item VALUES (?1, ?2, ?3)",
            params![item.id, item.version, item.is_suspended],
        )?;
        transaction.execute("UPDATE catalogue_version SET version = version + 1", [])?;
        transaction.commit()?;
        Ok(())
    }

    pub(crate) fn upload(&self, id: Uuid) -> Result<Option<Upload>, StoreError> {
        upload(&self.connection, id)
    }

    pub(crate) fn make_upload(
        &mut self,
        id: Uuid,
        name: &str,
        media_type: &str,
        length: u64,
        sha256: &str,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT OR IGNORE INTO upload (id, name, media_type, length, sha256)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                id.to_string(),
                name,
                media_type,
                i64::try_from(length).unwrap_or(i64::MAX),
                sha256
            ],
        )?;
        Ok(())
    }

    pub(crate) fn set_received(&mut self, id: Uuid, received: u64) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE upload SET received = ?2 WHERE id = ?1",
            params![id.to_string(), i64::try_from(received).unwrap_or(i64::MAX)],
        )?;
        Ok(())
    }
}

fn upload(connection: &Connection, id: Uuid) -> Result<Option<Upload>, StoreError> {
    let upload = connection
        .query_row(
            "SELECT length, sha256, received FROM upload WHERE id = ?1",
            [id.to_string()],
            |row| {
                Ok(Upload {
                    length: row.get::<_, i64>(0)?.unsigned_abs(),
                    sha256: row.get(1)?,
                    received: row.get::<_, i64>(2)?.unsigned_abs(),
                })
            },
        )
        .optional()?;
    Ok(upload)
}

fn rejected(code: &str, detail: &str) -> Verdict {
    Verdict::Rejected {
        problem: Problem::unprocessable(code, detail),
    }
}

/// Why a new transaction does not take effect now, if it does not.
fn refusal(
    connection: &Connection,
    submitted: &Transaction,
) -> Result<Option<Verdict>, StoreError> {
    let fields = [
        ("kind", submitted.kind.as_str()),
        ("item", submitted.item.as_str()),
        ("case_number", submitted.case_number.as_str()),
    ];
    if let Err(problem) = bounded(&fields) {
        return Ok(Some(Verdict::Rejected { problem }));
    }
    if !submitted.payload.is_object() || submitted.attachments.len() > ATTACHMENTS_MAX {
        return Ok(Some(rejected(
            "transaction.malformed",
            "the payload is no object, or there are too many attachments",
        )));
    }
    let is_suspended: bool = connection
        .prepare_cached("SELECT 1 FROM catalogue_item WHERE id = ?1 AND is_suspended = 1")?
        .exists([&submitted.item])?;
    if is_suspended {
        return Ok(Some(rejected("item.suspended", "the item is suspended")));
    }
    for attachment in &submitted.attachments {
        let found = upload(connection, attachment.id)?;
        let Some(upload) = found.filter(|upload| upload.received == upload.length) else {
            return Ok(Some(Verdict::Retry {
                problem: Problem::new(
                    StatusCode::CONFLICT,
                    "attachment.incomplete",
                    "an attachment is not complete",
                ),
                retry_after_s: RETRY_AFTER_S,
            }));
        };
        if upload.length != attachment.size || upload.sha256 != attachment.sha256 {
            return Ok(Some(rejected(
                "attachment.differs",
                "an attachment is not the one that was uploaded",
            )));
        }
    }
    Ok(None)
}

/// What the platform says to a transaction; the sentences are the sample authority's.
fn receipt(submitted: &Transaction, now: Timestamp) -> Receipt {
    let today = now.to_zoned(TimeZone::fixed(jiff::tz::offset(8))).date();
    let digest = hex(&sha256(submitted.id.as_bytes()));
    let mut receipt = Receipt {
        reference: format!(
            "P{}{}",
            today.strftime("%Y%m%d"),
            digest[..8].to_uppercase()
        ),
        accepted_at: now,
        outcome: "accepted".to_owned(),
        message: "已受理，请留意办理进度。".to_owned(),
        valid_until: None,
        promised_by: None,
    };
    match (submitted.kind.as_str(), submitted.item.as_str()) {
        ("rating", _) => {
            "completed".clone_into(&mut receipt.outcome);
            "感谢您的评价。".clone_into(&mut receipt.message);
        }
        ("case", "pension-qualification") => {
            let until = today.saturating_add(12.months());
            "completed".clone_into(&mut receipt.outcome);
            receipt.message = format!(
                "资格认证已通过，有效期至{}。",
                until.strftime("%Y年%m月%d日")
            );
            receipt.valid_until = Some(until);
        }
        ("case", "old-age-allowance") => {
            let by = today.saturating_add(20.days());
            receipt.message = format!("已受理，承诺{}前办结。", by.strftime("%Y年%m月%d日"));
            receipt.promised_by = Some(by);
        }
        _ => {}
    }
    receipt
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::json;

    use super::*;

    fn transaction(item: &str) -> Transaction {
        serde_json::from_value(json!({
            "id": Uuid::from_u128(7), "kind": "case", "item": item, "item_version": 1,
            "case_number": "T1-1", "enqueued_at": "2026-11-22T01:00:00Z", "payload": {"a": 1},
        }))
        .unwrap()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Config::default()).unwrap();
        (directory, store)
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn a_repeated_transaction_takes_effect_once_and_gets_the_same_receipt() {
        let (directory, mut store) = store();
        let submitted = transaction("old-age-allowance");
        let Verdict::Accepted { receipt: first } = store.accept("T1", &submitted, NOW).unwrap()
        else {
            panic!("not accepted")
        };
        drop(store);
        let mut store = Store::open(directory.path(), &Config::default()).unwrap();
        let later = NOW + jiff::SignedDuration::from_hours(99);
        let Verdict::Duplicate { receipt } = store.accept("T1", &submitted, later).unwrap() else {
            panic!("no duplicate")
        };
        assert_eq!(receipt.reference, first.reference);
        assert_eq!(receipt.accepted_at, first.accepted_at);
        let accepted = store.accepted().unwrap();
        assert_eq!((accepted.len(), accepted[0].times_received), (1, 2));
        assert_eq!(store.case("T1-1").unwrap().unwrap().state, "accepted");
    }

    #[test]
    fn the_same_id_with_other_content_is_rejected_without_effect() {
        let (_directory, mut store) = store();
        store.accept("T1", &transaction("a"), NOW).unwrap();
        let verdict = store.accept("T1", &transaction("b"), NOW).unwrap();
        assert!(matches!(verdict, Verdict::Rejected { .. }));
        assert_eq!(store.accepted().unwrap()[0].times_received, 1);
    }

    #[test]
    fn a_qualification_holds_twelve_months_and_an_allowance_has_a_promised_day() {
        let receipt_of = |item| receipt(&transaction(item), NOW);
        let qualification = receipt_of("pension-qualification");
        assert_eq!(qualification.outcome, "completed");
        assert_eq!(qualification.valid_until, Some(date(1971, 1, 1)));
        let allowance = receipt_of("old-age-allowance");
        assert_eq!(allowance.outcome, "accepted");
        assert_eq!(allowance.promised_by, Some(date(1970, 1, 21)));
    }

    #[test]
    fn a_suspended_item_is_rejected_and_changes_the_catalogue_version() {
        let (_directory, mut store) = store();
        let before = store.catalogue().unwrap().version;
        let item = CatalogueItem {
            id: "a".to_owned(),
            version: 1,
            is_suspended: true,
        };
        store.set_item(&item).unwrap();
        assert_eq!(store.catalogue().unwrap().version, before + 1);
        let verdict = store.accept("T1", &transaction("a"), NOW).unwrap();
        assert!(matches!(verdict, Verdict::Rejected { .. }));
        assert!(store.accepted().unwrap().is_empty());
    }
}
