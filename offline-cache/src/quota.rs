//! Room for new work: it is refused, in clear words, while there is still room to settle, park
//! and print what is there already. Nothing unsent is ever evicted to make room.

use std::fs;
use std::sync::atomic::Ordering;

use rusqlite::Connection;

use crate::cache::{Directory, wal_path};
use crate::{Cache, CacheError, NewTransaction};

/// What a record costs beside its payload: pages of two tables, of nine indexes and of the audit
/// log, once in the log file and once in the database; counted from the schema, rounded up.
const RECORD_BYTES: u64 = 128 * 1024;

/// Disk and store are measured anew after so many bytes of new work at the latest: some sixty
/// records, less than what the machine keeps free. To ask a file system for the size of a log makes the next sync of the log write its inode too,
/// which costs as much as a third of the sync.
const MEASURED_FOR_BYTES: u64 = 8 * 1024 * 1024;

/// How much room the store may take and must leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Free bytes of the file system that new work must leave; the rest of the machine and the
    /// settling of what is queued need them.
    pub free_bytes_min: u64,
    /// Most bytes of database, log and attachments together.
    pub store_bytes_max: u64,
}

impl Default for Quota {
    /// 64 MiB free, 4 GiB of store: a million small cases, or two thousand with pictures.
    fn default() -> Self {
        Self {
            free_bytes_min: 64 * 1024 * 1024,
            store_bytes_max: 4 * 1024 * 1024 * 1024,
        }
    }
}

impl Cache {
    /// Whether a transaction with so many bytes of payload and attachments would be taken now, so
    /// that a visitor hears it before typing anything.
    ///
    /// # Errors
    /// `Io` and `Store` when the sizes cannot be read.
    pub fn has_room(&self, bytes: u64) -> Result<bool, CacheError> {
        let needed_bytes = bytes.saturating_add(RECORD_BYTES);
        match find_room(&self.connection, &self.directory, needed_bytes) {
            Ok(_) => Ok(true),
            Err(CacheError::NoRoom { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Free bytes of the file system that the store lies on; new work leaves
    /// [`Quota::free_bytes_min`] of them.
    ///
    /// # Errors
    /// `Io` when the file system does not tell.
    pub fn free_bytes(&self) -> Result<u64, CacheError> {
        free_bytes(&self.directory)
    }
}

/// Refuses a transaction that does not fit, counting its own size.
///
/// # Errors
/// `NoRoom`; `Io` and `Store` when the sizes cannot be read.
pub(crate) fn refuse_without_room(
    connection: &Connection,
    directory: &Directory,
    transaction: &NewTransaction,
) -> Result<(), CacheError> {
    let needed_bytes = size_of(transaction);
    // Of what was found free at the last measurement, new work takes its share.
    let known = directory.room_left.load(Ordering::Relaxed);
    let left = match known.checked_sub(needed_bytes) {
        Some(left) => left,
        None => find_room(connection, directory, needed_bytes)?.min(MEASURED_FOR_BYTES),
    };
    directory.room_left.store(left, Ordering::Relaxed);
    Ok(())
}

/// Measures the disk and the store and refuses what does not fit; the bytes that are left after it.
fn find_room(
    connection: &Connection,
    directory: &Directory,
    needed_bytes: u64,
) -> Result<u64, CacheError> {
    let quota = directory.options.quota;
    let after = |left_bytes: u64| {
        left_bytes
            .checked_sub(needed_bytes)
            .ok_or(CacheError::NoRoom {
                needed_bytes,
                left_bytes,
            })
    };
    let on_disk = after(free_bytes(directory)?.saturating_sub(quota.free_bytes_min))?;
    let store = store_bytes(connection, directory)?;
    let in_store = after(quota.store_bytes_max.saturating_sub(store))?;
    Ok(on_disk.min(in_store))
}

/// What a transaction takes on disk, at most.
fn size_of(transaction: &NewTransaction) -> u64 {
    let attachments: usize = transaction
        .attachments
        .iter()
        .map(|attachment| attachment.bytes.len())
        .sum();
    // The payload is in the log file first and in the database after the checkpoint.
    let bytes = attachments + 2 * transaction.payload.len();
    RECORD_BYTES + u64::try_from(bytes).unwrap_or(u64::MAX / 2)
}

fn free_bytes(directory: &Directory) -> Result<u64, CacheError> {
    let found = rustix::fs::statvfs(&directory.path).map_err(std::io::Error::from)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Bytes of database, log and attachments; pages of the database that are free for use again do
/// not count.
fn store_bytes(connection: &Connection, directory: &Directory) -> Result<u64, CacheError> {
    let pragma = |name: &str| -> Result<u64, CacheError> {
        let value: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(u64::try_from(value).unwrap_or(0))
    };
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    // No log is no room taken; a store behind a test's file system has none of that name either.
    let log = fs::metadata(wal_path(&directory.path)).map_or(0, |found| found.len());
    Ok(pages * pragma("page_size")? + log + directory.attachment_bytes.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{at, sample, scratch_with};
    use crate::{NewAttachment, Options, PrintKind, Receipt};
    use uuid::Uuid;

    fn quota(free_bytes_min: u64, store_bytes_max: u64) -> Options {
        Options {
            quota: Quota {
                free_bytes_min,
                store_bytes_max,
            },
            ..Options::default()
        }
    }

    fn receipt() -> Receipt {
        Receipt {
            reference: "R".to_owned(),
            outcome: "accepted".to_owned(),
            message: String::new(),
            valid_until: None,
            raw: "{}".to_owned(),
        }
    }

    fn with_picture(number: u8) -> NewTransaction {
        let mut transaction = sample(number);
        transaction.attachments.push(NewAttachment {
            id: Uuid::from_u128(u128::from(number) + 1),
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: vec![number; 200_000],
        });
        transaction
    }

    /// Enqueues until it is refused; returns what went in.
    fn fill(cache: &mut Cache) -> Vec<Uuid> {
        let mut stored = Vec::new();
        for number in 0..200 {
            let transaction = with_picture(number);
            match cache.enqueue(&transaction, at(0)) {
                Ok(_) => stored.push(transaction.id),
                Err(error) => {
                    assert_eq!(error.code(), "queue.no-room");
                    assert!(
                        matches!(error, CacheError::NoRoom { needed_bytes, left_bytes }
                        if needed_bytes > 200_000 && left_bytes < needed_bytes)
                    );
                    assert_eq!(cache.recent(300).unwrap().len(), stored.len());
                    return stored;
                }
            }
        }
        panic!("nothing was refused");
    }

    #[test]
    fn new_work_is_refused_at_the_quota_and_what_is_there_can_still_be_settled() {
        let mut scratch = scratch_with(&quota(0, 3 * 1024 * 1024));
        assert!(scratch.cache.has_room(200_000).unwrap());
        let stored = fill(&mut scratch.cache);
        assert!(!scratch.cache.has_room(200_000).unwrap());
        assert!(stored.len() > 5, "{}", stored.len());
        let files = fs::read_dir(scratch.directory.path().join("attachments")).unwrap();
        assert_eq!(files.count(), stored.len(), "a refused file was left");

        let cache = &mut scratch.cache;
        cache
            .next_number("T1", jiff::civil::date(2026, 11, 22))
            .unwrap();
        cache
            .prepare_print(
                &crate::NewPrint {
                    id: Uuid::from_u128(1),
                    transaction_id: Some(stored[0]),
                    case_number: None,
                    kind: PrintKind::Slip,
                    digest: [1; 32],
                    pages: 1,
                    first_page: 1,
                    copy_no: 1,
                    reprint_of: None,
                },
                at(1),
            )
            .unwrap();
        cache.park(stored[0], "staff-7", "x", "", at(1)).unwrap();
        for id in &stored {
            cache.settle(*id, &receipt(), at(1)).unwrap();
        }
        cache.scrub().unwrap();
        // What was settled makes room again.
        cache.enqueue(&with_picture(201), at(2)).unwrap();
    }

    /// Between two measurements new work is charged more than it takes.
    #[test]
    fn a_store_of_many_small_records_is_never_larger_than_it_may_be() {
        let limit = 24 * 1024 * 1024;
        let mut scratch = scratch_with(&quota(0, limit));
        let mut refused = None;
        for number in 0..20_000_u128 {
            let mut transaction = sample(1);
            transaction.id = Uuid::from_u128(number);
            transaction.payload = vec![b'x'; 60_000];
            if let Err(error) = scratch.cache.enqueue(&transaction, at(0)) {
                refused = Some(error.code());
                break;
            }
        }
        assert_eq!(refused, Some("queue.no-room"));
        let size = |name: &str| {
            let path = scratch.directory.path().join(name);
            fs::metadata(path).map_or(0, |found| found.len())
        };
        let store = size("kiosk.db") + size("kiosk.db-wal");
        // What waits in the log is in the database too when it is cut.
        assert!(store <= limit + 16 * 1024 * 1024, "{store}");
        assert!(scratch.cache.depth().unwrap().waiting > 100);
    }

    #[test]
    fn repeating_a_call_needs_no_room() {
        let mut scratch = scratch_with(&quota(0, 1024 * 1024));
        let stored = fill(&mut scratch.cache);
        assert!(!stored.is_empty());
        scratch.cache.enqueue(&with_picture(0), at(5)).unwrap();
    }

    #[test]
    fn the_free_bytes_of_the_machine_are_kept() {
        let mut scratch = scratch_with(&quota(u64::MAX, u64::MAX));
        let error = scratch.cache.enqueue(&sample(1), at(0)).unwrap_err();
        assert_eq!(error.code(), "queue.no-room");
        assert_eq!(scratch.cache.recent(9).unwrap(), []);
    }

    #[test]
    fn the_size_of_attachments_is_known_again_after_a_restart() {
        let mut scratch = scratch_with(&quota(0, u64::MAX));
        for number in 0..5 {
            scratch.cache.enqueue(&with_picture(number), at(0)).unwrap();
        }
        let bytes = |cache: &Cache| cache.directory.attachment_bytes.load(Ordering::Relaxed);
        assert_eq!(bytes(&scratch.cache), 1_000_000);
        let mut scratch = scratch.reopen();
        assert_eq!(bytes(&scratch.cache), 1_000_000);
        scratch
            .cache
            .settle(sample(1).id, &receipt(), at(1))
            .unwrap();
        assert_eq!(bytes(&scratch.cache), 800_000);
    }
}
