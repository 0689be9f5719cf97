//! Pictures and papers of a transaction: files beside the database, on disk before the record
//! that names them, uploaded in pieces, and gone after the receipt.
//!
//! A file without a record is an orphan of a power cut and is removed at start. A record whose
//! file is missing or altered is reported and never sent.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use kiosk_sealing::sha256;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use uuid::Uuid;

use crate::cache::{Cache, Directory, bounded_text, sync_directory};
use crate::line::{self, Line, Ready};
use crate::outbox::{self, arrival, id_of};
use crate::{CacheError, State};

/// Largest attachment in bytes: 8 MiB and its envelope, as the platform and the carry-out bundle
/// take it. A photographed page is under 2 MiB.
pub const ATTACHMENT_BYTES_MAX: usize = 8 * 1024 * 1024 + kiosk_sealing::ENVELOPE_OVERHEAD_MAX;
/// Most attachments of one transaction.
pub const ATTACHMENTS_MAX: usize = 16;

/// Columns of [`QueuedAttachment`], in the order [`read`] takes them.
const COLUMNS: &str = "attachment.id, outbox.id, attachment.name, attachment.media_type,
    attachment.size, attachment.sha256, attachment.uploaded, attachment.upload_url,
    attachment.is_complete";

/// A file that goes with a transaction.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAttachment {
    /// Minted once; the platform knows the upload by it.
    pub id: Uuid,
    /// File name for the platform, such as `household-register-1.jpg`.
    pub name: String,
    /// Media type, such as `image/jpeg`.
    pub media_type: String,
    /// Content, at most [`ATTACHMENT_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for NewAttachment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NewAttachment")
            .field("id", &self.id)
            .field("media_type", &self.media_type)
            .field("bytes_len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// An attachment as the outbox keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedAttachment {
    /// Id of the upload.
    pub id: Uuid,
    /// The transaction it belongs to.
    pub transaction_id: Uuid,
    /// File name for the platform.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// Bytes the platform has confirmed.
    pub uploaded: u64,
    /// Where the upload goes on, once the platform has named a place.
    pub upload_url: Option<String>,
    /// Whether the platform has all of it.
    pub is_complete: bool,
}

impl Cache {
    /// Attachments to upload now, in the order of the line, at most `limit`. Nothing is claimed:
    /// one thread uploads. What `ready` holds back is not looked at.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn attachments_due(
        &mut self,
        now: Timestamp,
        limit: u32,
        ready: &Ready<'_>,
    ) -> Result<Vec<QueuedAttachment>, CacheError> {
        line::promote_deferred(&self.connection, now, ready)?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut due = Vec::new();
        for sequence in line::sequences(&self.connection, Line::Uploading, ready, limit)? {
            let attachments = of_transaction(&self.connection, sequence)?;
            due.extend(attachments.into_iter().filter(|each| !each.is_complete));
            if due.len() >= wanted {
                break;
            }
        }
        due.truncate(wanted);
        Ok(due)
    }

    /// Reads the content of an attachment and checks it against what was stored.
    ///
    /// # Errors
    /// `UnknownAttachment`; `AttachmentDamaged` when the file is missing or altered (park the
    /// transaction: only a person can mend it); `Io`, `Store`.
    pub fn attachment_bytes(&self, id: Uuid) -> Result<Vec<u8>, CacheError> {
        let expected: Option<[u8; 32]> = self
            .connection
            .prepare_cached("SELECT sha256 FROM attachment WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        let expected = expected.ok_or(CacheError::UnknownAttachment { id })?;
        let bytes = match fs::read(file_path(&self.directory.attachments(), id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CacheError::AttachmentDamaged { id });
            }
            outcome => outcome?,
        };
        if sha256(&bytes) != expected {
            return Err(CacheError::AttachmentDamaged { id });
        }
        Ok(bytes)
    }

    /// Records how much the platform has, and where the upload goes on. When it has the last
    /// piece of the last attachment, the transaction becomes pending in the same commit.
    /// `uploaded` may be less than before: the platform's word counts.
    ///
    /// # Errors
    /// `UnknownAttachment`; `OutOfRange` when `uploaded` exceeds the size; `DiskFull`, `Store`.
    pub fn attachment_progress(
        &mut self,
        id: Uuid,
        uploaded: u64,
        upload_url: Option<&str>,
    ) -> Result<(), CacheError> {
        if let Some(url) = upload_url {
            bounded_text(url, "upload url")?;
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: Option<(i64, i64)> = transaction
            .query_row(
                "SELECT transaction_sequence, size FROM attachment WHERE id = ?1",
                [id.as_bytes()],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let (sequence, size) = found.ok_or(CacheError::UnknownAttachment { id })?;
        let uploaded = i64::try_from(uploaded)
            .ok()
            .filter(|uploaded| *uploaded <= size)
            .ok_or(CacheError::OutOfRange {
                what: "upload offset",
            })?;
        transaction.execute(
            "UPDATE attachment SET uploaded = ?2, is_complete = (?2 = size),
                 upload_url = coalesce(?3, upload_url)
             WHERE id = ?1",
            params![id.as_bytes(), uploaded, upload_url],
        )?;
        transaction.execute(
            "UPDATE outbox SET state = 1, next_at = 0, attempts = 0
             WHERE sequence = ?1 AND state = 0 AND NOT EXISTS (
                 SELECT 1 FROM attachment
                 WHERE transaction_sequence = ?1 AND is_complete = 0)",
            [sequence],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Starts the uploads of a transaction over, after the platform said that it misses some.
    /// The failed attempt is counted and the next one waits until `until`, as in `defer`.
    ///
    /// # Errors
    /// `UnknownTransaction`; `WrongState` when it is settled or dead or has no attachments;
    /// `DiskFull`, `Store`.
    pub fn upload_again(
        &mut self,
        id: Uuid,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        arrival::place(&transaction)?;
        let found = outbox::find(&transaction, id)?;
        let again = transaction.execute(
            "UPDATE attachment SET uploaded = 0, is_complete = 0, upload_url = NULL
             WHERE transaction_sequence = ?1",
            [found.sequence],
        )?;
        if !found.is_unsettled() || again == 0 {
            return Err(CacheError::WrongState {
                id,
                state: found.state,
            });
        }
        transaction.execute(
            "UPDATE outbox SET state = 0, next_at = ?2, attempts = attempts + 1,
                 last_code = 'queue.attachment-missing'
             WHERE sequence = ?1",
            params![found.sequence, outbox::bounded_delay(until, now)],
        )?;
        transaction.commit()?;
        Ok(())
    }
}

/// Attachments of one transaction in the order given.
pub(crate) fn of_transaction(
    connection: &Connection,
    sequence: i64,
) -> Result<Vec<QueuedAttachment>, CacheError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM attachment
         JOIN outbox ON outbox.sequence = attachment.transaction_sequence
         WHERE attachment.transaction_sequence = ?1 ORDER BY attachment.position"
    ))?;
    let mut rows = statement.query([sequence])?;
    let mut attachments = Vec::new();
    while let Some(row) = rows.next()? {
        attachments.push(read(row)?);
    }
    Ok(attachments)
}

fn read(row: &Row<'_>) -> Result<QueuedAttachment, CacheError> {
    Ok(QueuedAttachment {
        id: id_of(row, 0)?,
        transaction_id: id_of(row, 1)?,
        name: row.get(2)?,
        media_type: row.get(3)?,
        size: length_of(row, 4)?,
        sha256: row.get(5)?,
        uploaded: length_of(row, 6)?,
        upload_url: row.get(7)?,
        is_complete: row.get(8)?,
    })
}

fn length_of(row: &Row<'_>, index: usize) -> Result<u64, CacheError> {
    u64::try_from(row.get::<_, i64>(index)?).map_err(|_| CacheError::Inconsistent {
        what: "attachment size",
    })
}

/// Refuses an attachment id that is in use: writing its file would ruin another's evidence.
pub(crate) fn refuse_used_ids(
    connection: &Connection,
    attachments: &[NewAttachment],
) -> Result<(), CacheError> {
    for (index, attachment) in attachments.iter().enumerate() {
        let is_repeated = attachments[..index]
            .iter()
            .any(|earlier| earlier.id == attachment.id);
        let is_used = connection
            .prepare_cached("SELECT 1 FROM attachment WHERE id = ?1")?
            .exists([attachment.id.as_bytes()])?;
        if is_repeated || is_used {
            return Err(CacheError::OutOfRange {
                what: "repeated attachment id",
            });
        }
    }
    Ok(())
}

/// Writes the files durably: content first, then the name, then the directory.
pub(crate) fn write_files(
    directory: &Directory,
    attachments: &[NewAttachment],
) -> Result<(), CacheError> {
    let place = directory.attachments();
    for attachment in attachments {
        let path = file_path(&place, attachment.id);
        let temporary = path.with_extension("part");
        if let Err(error) = write_file(&temporary, &attachment.bytes) {
            // On a full disk the half of a file is room that somebody else needs.
            drop(fs::remove_file(&temporary));
            return Err(error.into());
        }
        fs::rename(&temporary, &path)?;
        let bytes = attachment.bytes.len() as u64;
        directory
            .attachment_bytes
            .fetch_add(bytes, Ordering::Relaxed);
    }
    if !attachments.is_empty() {
        sync_directory(&place)?;
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Records the files of a transaction; to be called inside its commit.
pub(crate) fn insert(
    connection: &Connection,
    sequence: i64,
    attachments: &[NewAttachment],
) -> Result<(), CacheError> {
    for (position, attachment) in attachments.iter().enumerate() {
        connection
            .prepare_cached(
                "INSERT INTO attachment
                     (id, transaction_sequence, position, name, media_type, size, sha256)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                attachment.id.as_bytes(),
                sequence,
                i64::try_from(position).expect("bounded by ATTACHMENTS_MAX"),
                attachment.name,
                attachment.media_type,
                i64::try_from(attachment.bytes.len()).expect("bounded by ATTACHMENT_BYTES_MAX"),
                sha256(&attachment.bytes),
            ])?;
    }
    Ok(())
}

/// Forgets the records of a transaction's attachments and returns their ids, whose files go
/// after the commit.
pub(crate) fn forget(connection: &Connection, sequence: i64) -> Result<Vec<Uuid>, CacheError> {
    let ids = of_transaction(connection, sequence)?
        .into_iter()
        .map(|attachment| attachment.id)
        .collect();
    connection
        .prepare_cached("DELETE FROM attachment WHERE transaction_sequence = ?1")?
        .execute([sequence])?;
    Ok(ids)
}

/// Removes files whose record is gone. A failure is no error of the caller: the record is
/// settled, and the next start removes what is left as an orphan.
pub(crate) fn remove_files(directory: &Directory, ids: impl IntoIterator<Item = Uuid>) {
    let place = directory.attachments();
    for id in ids {
        let path = file_path(&place, id);
        let bytes = fs::metadata(&path).map_or(0, |found| found.len());
        // An orphan left here is removed and counted at the next start.
        if fs::remove_file(path).is_ok() {
            directory.take_attachment_bytes(bytes);
        }
    }
}

/// What was found in the directory of attachments.
pub(crate) struct FoundFiles {
    /// Files removed because no record speaks of them.
    pub(crate) orphans_removed: u32,
    /// Bytes of the files that stay.
    pub(crate) kept_bytes: u64,
}

/// Removes every file no record speaks of.
pub(crate) fn remove_orphans(cache: &Cache) -> Result<FoundFiles, CacheError> {
    let directory = cache.directory.attachments();
    let mut found = FoundFiles {
        orphans_removed: 0,
        kept_bytes: 0,
    };
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| Uuid::parse_str(name).ok());
        let is_known = match id {
            Some(id) => cache
                .connection
                .prepare_cached("SELECT 1 FROM attachment WHERE id = ?1")?
                .exists([id.as_bytes()])?,
            None => false,
        };
        if is_known {
            found.kept_bytes += entry.metadata()?.len();
        } else {
            fs::remove_file(entry.path())?;
            found.orphans_removed += 1;
        }
    }
    Ok(found)
}

/// State a transaction starts in.
pub(crate) fn first_state(attachments: &[NewAttachment]) -> State {
    if attachments.is_empty() {
        State::Pending
    } else {
        State::WaitingAttachments
    }
}

pub(crate) fn file_path(directory: &Path, id: Uuid) -> PathBuf {
    directory.join(id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{Scratch, at, sample, scratch};
    use crate::{NewTransaction, Receipt};

    fn with_attachments(number: u8, count: u8) -> NewTransaction {
        let mut transaction = sample(number);
        for index in 0..count {
            transaction.attachments.push(NewAttachment {
                id: Uuid::from_u128(u128::from(number) * 1000 + u128::from(index) + 1),
                name: format!("page-{index}.jpg"),
                media_type: "image/jpeg".to_owned(),
                bytes: vec![index + 1; 1000],
            });
        }
        transaction
    }

    fn receipt() -> Receipt {
        Receipt {
            reference: "R1".to_owned(),
            outcome: "accepted".to_owned(),
            message: String::new(),
            valid_until: None,
            raw: "{}".to_owned(),
        }
    }

    fn file_count(scratch: &Scratch) -> usize {
        fs::read_dir(scratch.directory.path().join("attachments"))
            .unwrap()
            .count()
    }

    #[test]
    fn a_transaction_is_due_only_after_its_last_attachment_is_uploaded() {
        let mut scratch = scratch();
        let transaction = with_attachments(1, 2);
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
        assert!(
            scratch
                .cache
                .due(at(1), 10, &Ready::ALL)
                .unwrap()
                .is_empty()
        );

        let due = scratch
            .cache
            .attachments_due(at(1), 10, &Ready::ALL)
            .unwrap();
        assert_eq!(due.len(), 2);
        assert_eq!(due[0].transaction_id, transaction.id);
        let first = due[0].id;
        scratch
            .cache
            .attachment_progress(first, 600, Some("/v1/attachments/1"))
            .unwrap();
        let mut scratch = scratch.reopen();
        let due = scratch
            .cache
            .attachments_due(at(1), 10, &Ready::ALL)
            .unwrap();
        assert_eq!((due[0].id, due[0].uploaded), (first, 600));
        assert_eq!(due[0].upload_url.as_deref(), Some("/v1/attachments/1"));

        scratch
            .cache
            .attachment_progress(first, 1000, None)
            .unwrap();
        assert!(
            scratch
                .cache
                .due(at(1), 10, &Ready::ALL)
                .unwrap()
                .is_empty()
        );
        let due = scratch
            .cache
            .attachments_due(at(1), 10, &Ready::ALL)
            .unwrap();
        assert_eq!(due.len(), 1);
        scratch
            .cache
            .attachment_progress(due[0].id, 1000, None)
            .unwrap();
        let claimed = scratch.cache.due(at(1), 10, &Ready::ALL).unwrap();
        assert_eq!(claimed.len(), 1);
        assert_eq!(claimed[0].attachments.len(), 2);
        assert!(claimed[0].attachments.iter().all(|each| each.is_complete));
        assert_eq!(
            scratch.cache.attachment_bytes(first).unwrap(),
            transaction.attachments[0].bytes
        );
    }

    #[test]
    fn files_are_gone_after_the_receipt() {
        let mut scratch = scratch();
        let transaction = with_attachments(1, 3);
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
        assert_eq!(file_count(&scratch), 3);
        scratch
            .cache
            .settle(transaction.id, &receipt(), at(1))
            .unwrap();
        assert_eq!(file_count(&scratch), 0);
        let error = scratch
            .cache
            .attachment_bytes(transaction.attachments[0].id)
            .unwrap_err();
        assert_eq!(error.code(), "queue.unknown-attachment");
    }

    #[test]
    fn an_altered_or_missing_file_is_reported_and_never_sent() {
        let mut scratch = scratch();
        let transaction = with_attachments(1, 2);
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
        let directory = scratch.cache.directory.attachments();
        let [first, second] = [0, 1].map(|index| transaction.attachments[index].id);
        fs::write(file_path(&directory, first), b"altered").unwrap();
        fs::remove_file(file_path(&directory, second)).unwrap();
        for id in [first, second] {
            let error = scratch.cache.attachment_bytes(id).unwrap_err();
            assert_eq!(error.code(), "queue.attachment-damaged");
        }
    }

    #[test]
    fn orphans_of_a_power_cut_are_removed_and_kept_files_are_not() {
        let mut scratch = scratch();
        scratch
            .cache
            .enqueue(&with_attachments(1, 2), at(0))
            .unwrap();
        let directory = scratch.cache.directory.attachments();
        fs::write(directory.join(Uuid::from_u128(77).to_string()), b"x").unwrap();
        fs::write(directory.join("half.part"), b"x").unwrap();
        let Scratch { cache, directory } = scratch;
        drop(cache);
        let (cache, opening) = Cache::open(directory.path(), at(0)).unwrap();
        assert_eq!(opening.orphans_removed, 2);
        assert_eq!(file_count(&Scratch { cache, directory }), 2);
    }

    #[test]
    fn an_attachment_id_in_use_cannot_overwrite_evidence() {
        let mut scratch = scratch();
        let first = with_attachments(1, 1);
        scratch.cache.enqueue(&first, at(0)).unwrap();
        let mut second = with_attachments(2, 1);
        second.attachments[0].id = first.attachments[0].id;
        second.attachments[0].bytes = b"other".to_vec();
        let error = scratch.cache.enqueue(&second, at(0)).unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
        assert_eq!(
            scratch
                .cache
                .attachment_bytes(first.attachments[0].id)
                .unwrap(),
            first.attachments[0].bytes
        );
    }

    #[test]
    fn an_offset_beyond_the_end_is_refused() {
        let mut scratch = scratch();
        let transaction = with_attachments(1, 1);
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
        let id = transaction.attachments[0].id;
        for offset in [1001, u64::MAX] {
            let error = scratch
                .cache
                .attachment_progress(id, offset, None)
                .unwrap_err();
            assert_eq!(error.code(), "queue.out-of-range");
        }
    }

    #[test]
    fn uploads_start_over_when_the_platform_misses_them() {
        let mut scratch = scratch();
        let transaction = with_attachments(1, 1);
        scratch.cache.enqueue(&transaction, at(0)).unwrap();
        let id = transaction.attachments[0].id;
        scratch.cache.attachment_progress(id, 1000, None).unwrap();
        assert_eq!(scratch.cache.due(at(1), 10, &Ready::ALL).unwrap().len(), 1);
        scratch
            .cache
            .upload_again(transaction.id, at(60), at(1))
            .unwrap();
        assert!(
            scratch
                .cache
                .attachments_due(at(59), 10, &Ready::ALL)
                .unwrap()
                .is_empty()
        );
        let due = scratch
            .cache
            .attachments_due(at(60), 10, &Ready::ALL)
            .unwrap();
        assert_eq!((due.len(), due[0].uploaded), (1, 0));
    }
}
