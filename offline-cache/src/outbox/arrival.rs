//! What was confirmed and has not yet taken its place in the outbox: durable in one small table,
//! so that a confirmation costs few pages however many indexes the outbox has.
//!
//! Whoever looks at the outbox lets the arrivals take their places first, in order; the schema does
//! it (`arrival_takes_its_place`), so that an older program that opens the file does it too. There
//! are never more than [`ARRIVALS_MAX`]; the one too many pays for all of them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::cache::{Cache, Directory};
use crate::{CacheError, NewTransaction, Sequence};

/// Most arrivals; chosen: the pages of the indexes are then written once for so many, and the one
/// that has to wait for it waits some milliseconds.
pub(crate) const ARRIVALS_MAX: i64 = 64;

/// Most ids that are remembered before they are looked up anew.
const IDS_MAX: usize = 256;

/// The ids that may be among the arrivals: all that are, and some that have left. It saves an index
/// on disk, which would have to be written with each confirmation.
///
/// What an earlier process left takes its place when the file is opened, so a new process begins
/// with none. An id is added before the commit that stores it, and forgotten only after a look at
/// what is stored; a commit that fails leaves one too many, which costs a look.
#[derive(Debug, Default)]
pub(crate) struct Arrived(Mutex<HashSet<Uuid>>);

impl Arrived {
    fn may_hold(&self, id: &Uuid) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(id)
    }

    /// Adds one; to be called inside the commit that stores it, and before any arrival has left in
    /// that commit.
    fn add(&self, connection: &Connection, id: Uuid) -> Result<(), CacheError> {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= IDS_MAX {
            ids.clear();
            let mut statement = connection.prepare_cached("SELECT id FROM arrival")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                ids.insert(super::id_of(row, 0)?);
            }
        }
        ids.insert(id);
        Ok(())
    }
}

impl Cache {
    /// Lets what was confirmed take its place, before the outbox is read without a transaction.
    pub(crate) fn place_arrivals(&self) -> Result<(), CacheError> {
        if is_any(&self.connection)? {
            // A statement of its own is a commit of its own.
            place_all(&self.connection)?;
        }
        Ok(())
    }
}

/// Lets what was confirmed take its place, inside a commit.
pub(crate) fn place(connection: &Connection) -> Result<(), CacheError> {
    if is_any(connection)? {
        place_all(connection)?;
    }
    Ok(())
}

fn is_any(connection: &Connection) -> Result<bool, CacheError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM arrival LIMIT 1")?;
    Ok(statement.exists([])?)
}

fn place_all(connection: &Connection) -> Result<(), CacheError> {
    connection
        .prepare_cached("DELETE FROM arrival")?
        .execute([])?;
    Ok(())
}

/// What was enqueued under an id.
pub(super) struct Known {
    /// Its place in the outbox.
    pub(super) sequence: i64,
    /// The digest of its content; `None` once it was erased.
    pub(super) content: Option<[u8; 32]>,
}

impl Known {
    /// Reads a sequence and a digest.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            content: row.get(1)?,
        })
    }
}

/// The arrival of an id.
pub(super) fn find(
    connection: &Connection,
    directory: &Directory,
    id: &Uuid,
) -> Result<Option<Known>, CacheError> {
    if !directory.arrived.may_hold(id) {
        return Ok(None);
    }
    let found = connection
        .prepare_cached("SELECT sequence, content_digest FROM arrival WHERE id = ?1")?
        .query_row([id.as_bytes()], Known::read)
        .optional()?;
    Ok(found)
}

/// Takes a transaction without attachments in; to be called inside the commit that enqueues it.
pub(super) fn insert(
    connection: &Connection,
    directory: &Directory,
    transaction: &NewTransaction,
    content: &[u8; 32],
    now: Timestamp,
) -> Result<Sequence, CacheError> {
    directory.arrived.add(connection, transaction.id)?;
    let sequence = next_sequence(connection)?;
    connection
        .prepare_cached(
            "INSERT INTO arrival (sequence, id, kind, item, item_version, case_number, subject,
                 can_wait, upstream, enqueued_at, payload_suite, key_id, content_digest, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            sequence.0,
            transaction.id.as_bytes(),
            transaction.kind,
            transaction.item,
            transaction.item_version,
            transaction.case_number,
            transaction.subject,
            transaction.can_wait,
            transaction.upstream,
            now.as_millisecond(),
            transaction.payload_suite,
            transaction.key_id,
            content,
            transaction.payload,
        ])?;
    Ok(sequence)
}

/// The next place in the outbox, after making room when there are too many arrivals. No place is
/// given twice: the outbox remembers the last one of those that have left it.
fn next_sequence(connection: &Connection) -> Result<Sequence, CacheError> {
    let (placed, first, last): (i64, Option<i64>, Option<i64>) = connection
        .prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0),
                 (SELECT min(sequence) FROM arrival), (SELECT max(sequence) FROM arrival)",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if let (Some(first), Some(last)) = (first, last)
        && last.saturating_sub(first) + 1 >= ARRIVALS_MAX
    {
        place_all(connection)?;
    }
    let next = placed.max(last.unwrap_or(0)).checked_add(1);
    next.map(Sequence)
        .ok_or(CacheError::Inconsistent { what: "sequence" })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cache::tests::{Scratch, at, enqueue_sample, sample, scratch};
    use crate::cache::wal_path;
    use crate::{NewAttachment, Ready, State};

    fn count(scratch: &Scratch, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        scratch
            .cache
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn arrivals_never_pile_up_and_keep_their_order() {
        let mut scratch = scratch();
        let mut expected = Vec::new();
        for number in 0..=250 {
            expected.push(enqueue_sample(&mut scratch.cache, number));
            assert!(count(&scratch, "arrival") <= ARRIVALS_MAX);
            let all = count(&scratch, "arrival") + count(&scratch, "outbox");
            assert_eq!(all, i64::from(number) + 1);
        }
        let due = scratch.cache.due(at(1), 1000, &Ready::ALL).unwrap();
        let ids: Vec<Uuid> = due.iter().map(|each| each.id).collect();
        assert_eq!(ids, expected);
        assert!(due.iter().map(|each| each.sequence.0).eq(1..=251));
        assert_eq!(count(&scratch, "arrival"), 0);
    }

    /// What a confirmation waits for is written in few pages, whatever the outbox has of indexes:
    /// its own, the one of the audit log, and now and then a new one or those of a whole move.
    #[test]
    fn a_confirmation_writes_few_pages() {
        let mut scratch = scratch();
        let mut letters = sample(0);
        letters.payload = vec![b'x'; 1024];
        let many = 2 * u8::try_from(ARRIVALS_MAX).unwrap();
        let mut written = Vec::new();
        for number in 0..many {
            assert!(scratch.cache.scrub().unwrap());
            let transaction = NewTransaction {
                id: sample(number).id,
                subject: [number; 32],
                ..letters.clone()
            };
            scratch.cache.enqueue(&transaction, at(0)).unwrap();
            let log = fs::metadata(wal_path(scratch.directory.path())).unwrap();
            written.push(log.len() / 4096);
        }
        let moves = written.iter().filter(|pages| **pages > 8).count();
        assert_eq!(moves, 1, "{written:?}");
        let mean = written.iter().sum::<u64>() / u64::from(many);
        assert!(mean <= 5, "{mean} in {written:?}");
    }

    #[test]
    fn an_arrival_leaves_only_into_the_outbox_and_is_not_changed() {
        let mut scratch = scratch();
        enqueue_sample(&mut scratch.cache, 1);
        let connection = &scratch.cache.connection;
        let change = connection.execute("UPDATE arrival SET payload = x'7B7D'", []);
        assert!(change.unwrap_err().to_string().contains("not changed"));
        assert_eq!(connection.execute("DELETE FROM arrival", []).unwrap(), 1);
        assert_eq!(
            (count(&scratch, "arrival"), count(&scratch, "outbox")),
            (0, 1)
        );
        let due = scratch.cache.due(at(1), 9, &Ready::ALL).unwrap();
        assert_eq!(due[0].payload, sample(1).payload);
    }

    #[test]
    fn every_look_at_the_outbox_sees_an_arrival() {
        let id = sample(1).id;
        let check = |is_seen: &dyn Fn(&mut Cache) -> bool| {
            let mut scratch = scratch();
            enqueue_sample(&mut scratch.cache, 1);
            assert_eq!(count(&scratch, "outbox"), 0);
            assert!(is_seen(&mut scratch.cache));
        };
        check(&|cache| cache.depth().unwrap().waiting == 1);
        check(&|cache| {
            cache.case(&sample(1).case_number).unwrap().unwrap().state == State::Pending
        });
        check(&|cache| cache.list(9).unwrap().len() == 1);
        check(&|cache| cache.recent(9).unwrap().len() == 1);
        check(&|cache| cache.next_due_at(at(1), &Ready::ALL).unwrap() == Some(at(1)));
        check(&|cache| cache.carry_out(Sequence(0), 9).unwrap().len() == 1);
        check(&|cache| cache.mark_carried(&[id], id, at(1)).unwrap() == 1);
        check(&|cache| cache.park(id, "staff-7", "x", "", at(1)).is_ok());
        check(&|cache| cache.release(id).is_ok());
        check(&|cache| cache.defer(id, at(9), "x.y", at(1)).is_ok());
        check(&|cache| {
            let mut other = sample(1);
            other.payload.push(b' ');
            cache.enqueue(&other, at(1)).unwrap_err().code() == "queue.content-differs"
        });
    }

    /// Also across the place where ids are looked up anew, and from the other connection.
    #[test]
    fn the_same_id_never_arrives_twice() {
        let mut scratch = scratch();
        let mut other = scratch.cache.another().unwrap();
        for number in 0..600_u32 {
            let mut transaction = sample(1);
            transaction.id = Uuid::from_u128(u128::from(number));
            transaction.subject[..4].copy_from_slice(&number.to_be_bytes());
            let sequence = scratch.cache.enqueue(&transaction, at(0)).unwrap();
            assert_eq!(other.enqueue(&transaction, at(1)).unwrap(), sequence);
            transaction.payload.push(b' ');
            let error = other.enqueue(&transaction, at(1)).unwrap_err();
            assert_eq!(error.code(), "queue.content-differs");
            if number % 97 == 0 {
                other.place_arrivals().unwrap();
            }
        }
        assert_eq!(scratch.cache.depth().unwrap().waiting, 600);
        assert!(scratch.cache.directory.arrived.0.lock().unwrap().len() <= IDS_MAX + 1);
    }

    /// A commit that came to nothing leaves an id that is not there, and no row.
    #[test]
    fn what_was_rolled_back_can_arrive_again() {
        let mut scratch = scratch();
        let transaction = sample(1);
        let content = crate::content::of_new(&transaction);
        let directory = std::sync::Arc::clone(&scratch.cache.directory);
        let commit = scratch.cache.connection.transaction().unwrap();
        insert(&commit, &directory, &transaction, &content, at(0)).unwrap();
        commit.rollback().unwrap();
        assert!(directory.arrived.may_hold(&transaction.id));
        let sequence = scratch.cache.enqueue(&transaction, at(0)).unwrap();
        assert_eq!(sequence, Sequence(1));
    }

    /// The pair of two kinds of work: one with a picture goes straight into the outbox, behind what
    /// arrived before it.
    #[test]
    fn what_has_a_picture_does_not_overtake_what_has_none() {
        let mut scratch = scratch();
        let first = sample(1);
        let mut second = sample(2);
        second.subject = first.subject;
        second.attachments.push(NewAttachment {
            id: Uuid::from_u128(9),
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: vec![1; 10],
        });
        let mut third = sample(3);
        third.subject = first.subject;
        let sequences = [&first, &second, &third]
            .map(|transaction| scratch.cache.enqueue(transaction, at(0)).unwrap().0);
        assert_eq!(sequences, [1, 2, 3]);
        let due = scratch.cache.due(at(1), 9, &Ready::ALL).unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].id, first.id);
        let blocked: Vec<bool> = scratch
            .cache
            .list(9)
            .unwrap()
            .iter()
            .map(|row| row.is_blocked)
            .collect();
        assert_eq!(blocked, [false, true, true]);
    }

    /// A place is not given twice, not even when all that held one have been forgotten.
    #[test]
    fn no_place_is_given_twice() {
        let mut scratch = scratch();
        enqueue_sample(&mut scratch.cache, 1);
        scratch.cache.place_arrivals().unwrap();
        let connection = &scratch.cache.connection;
        connection.execute("DELETE FROM outbox", []).unwrap();
        assert_eq!(
            scratch.cache.enqueue(&sample(2), at(0)).unwrap(),
            Sequence(2)
        );
        assert_eq!(
            scratch.cache.enqueue(&sample(3), at(0)).unwrap(),
            Sequence(3)
        );
    }
}
