//! A case as a villager confirms it: its number, what is kept for its slip and the transaction
//! itself become durable in one commit, so that a confirmation waits for the disk once.

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Commit, enqueued_before, take_in};
use crate::cache::{Cache, bounded_text};
use crate::{CacheError, NewTransaction, Sequence, attachment, content, counter, setting};

/// What becomes durable together with a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation<'a> {
    /// Name of the terminal that the number is counted for.
    pub terminal: &'a str,
    /// The day that the number is counted on.
    pub date: Date,
    /// The number, as [`Cache::number_ahead`] told it.
    pub number: u32,
    /// A setting stored with it: its key and its value.
    pub setting: (&'a str, &'a str),
}

impl Cache {
    /// The case number that a terminal would give out next on a day, from 1. Nothing is taken: it
    /// may be shown only after [`Cache::enqueue_case`] has made it durable.
    ///
    /// # Errors
    /// As [`Cache::next_number`].
    pub fn number_ahead(&self, terminal: &str, date: Date) -> Result<u32, CacheError> {
        bounded_text(terminal, "terminal name")?;
        counter::ahead(&self.connection, terminal, date)
    }

    /// Makes a case durable as [`Cache::enqueue`] does, and takes its number and stores the setting
    /// in the same commit. `None` when the number is no longer the next one: then nothing was
    /// stored, and the caller asks for another. The same call again changes nothing.
    ///
    /// # Errors
    /// As [`Cache::enqueue`], [`Cache::next_number`] and [`Cache::set_setting`].
    pub fn enqueue_case(
        &mut self,
        transaction: &NewTransaction,
        confirmation: &Confirmation<'_>,
        now: Timestamp,
    ) -> Result<Option<Sequence>, CacheError> {
        bounded_text(confirmation.terminal, "terminal name")?;
        let (key, value) = confirmation.setting;
        setting::validate(key, value)?;
        let content = content::of_new(transaction);
        if let Some(sequence) = self.prepare(transaction, &content)? {
            return Ok(Some(sequence));
        }
        let connection = &self.connection;
        let commit = Commit::begin(connection)?;
        if let Some(sequence) =
            enqueued_before(connection, &self.directory, transaction.id, &content)?
        {
            return Ok(Some(sequence));
        }
        let number = counter::take(connection, confirmation.terminal, confirmation.date)?;
        if number != confirmation.number {
            drop(commit);
            let ids = transaction.attachments.iter().map(|each| each.id);
            attachment::remove_files(&self.directory, ids);
            return Ok(None);
        }
        setting::store(connection, key, value)?;
        let sequence = take_in(connection, &self.directory, transaction, &content, now)?;
        commit.make()?;
        Ok(Some(sequence))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::civil::date;
    use uuid::Uuid;

    use super::*;
    use crate::cache::tests::{at, sample, scratch};
    use crate::{NewAttachment, Ready};

    const DAY: Date = date(2026, 11, 22);

    fn confirmation(number: u32) -> Confirmation<'static> {
        Confirmation {
            terminal: "T1",
            date: DAY,
            number,
            setting: ("last-commitment", "{}"),
        }
    }

    #[test]
    fn a_number_told_ahead_is_taken_with_the_case_and_with_nothing_else() {
        let mut scratch = scratch();
        for expected in [1, 2, 3] {
            assert_eq!(scratch.cache.number_ahead("T1", DAY).unwrap(), expected);
            assert_eq!(scratch.cache.number_ahead("T1", DAY).unwrap(), expected);
            let transaction = sample(u8::try_from(expected).unwrap());
            let stored = scratch
                .cache
                .enqueue_case(&transaction, &confirmation(expected), at(0));
            assert!(stored.unwrap().is_some());
        }
        let mut scratch = scratch.reopen();
        assert_eq!(scratch.cache.next_number("T1", DAY).unwrap(), 4);
        assert_eq!(scratch.cache.number_ahead("T1", DAY).unwrap(), 5);
        let setting = scratch.cache.setting("last-commitment").unwrap();
        assert_eq!(setting.as_deref(), Some("{}"));
        assert_eq!(scratch.cache.due(at(1), 9, &Ready::ALL).unwrap().len(), 3);
    }

    #[test]
    fn a_number_that_somebody_else_took_stores_nothing_at_all() {
        let mut scratch = scratch();
        let mut transaction = sample(1);
        transaction.attachments.push(NewAttachment {
            id: Uuid::from_u128(5),
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: vec![1; 100],
        });
        scratch.cache.next_number("T1", DAY).unwrap();
        let stored = scratch
            .cache
            .enqueue_case(&transaction, &confirmation(1), at(0));
        assert_eq!(stored.unwrap(), None);
        assert_eq!(scratch.cache.recent(9).unwrap(), []);
        assert_eq!(scratch.cache.setting("last-commitment").unwrap(), None);
        assert_eq!(scratch.cache.audit_head().unwrap(), None);
        let files = scratch.cache.directory.attachments();
        assert_eq!(fs::read_dir(files).unwrap().count(), 0);
        // The number was not lost to the attempt either.
        assert_eq!(scratch.cache.number_ahead("T1", DAY).unwrap(), 2);
        let stored = scratch
            .cache
            .enqueue_case(&transaction, &confirmation(2), at(0));
        assert!(stored.unwrap().is_some());
    }

    #[test]
    fn the_same_case_again_takes_no_other_number() {
        let mut scratch = scratch();
        let first = scratch
            .cache
            .enqueue_case(&sample(1), &confirmation(1), at(0))
            .unwrap();
        let again = scratch
            .cache
            .enqueue_case(&sample(1), &confirmation(1), at(9))
            .unwrap();
        assert_eq!(first, again);
        assert_eq!(scratch.cache.number_ahead("T1", DAY).unwrap(), 2);
        let mut other = sample(1);
        other.payload = b"{}".to_vec();
        let error = scratch
            .cache
            .enqueue_case(&other, &confirmation(2), at(9))
            .unwrap_err();
        assert_eq!(error.code(), "queue.content-differs");
    }
}
