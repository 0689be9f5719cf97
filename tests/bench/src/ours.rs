//! Our own store as a contestant: the calls the terminal makes, with its own synchronization, order,
//! erasure and audit log; nothing is switched off for the bench.

use std::path::Path;

use anyhow::{Context as _, ensure};
use kiosk_sealing::Suite;
use offline_cache::{Cache, NewTransaction, Options, QueuedTransaction, Ready, Receipt};
use uuid::Uuid;

use crate::clock;
use crate::records::{Numbers, RECORD_BYTES};

/// A store and what was claimed from it.
#[derive(Debug)]
pub struct Ours {
    cache: Cache,
    claimed: Vec<QueuedTransaction>,
    /// Transactions claimed at once: 1, as every peer, or a batch, as the terminal.
    batch: u32,
    numbers: Numbers,
    count: u64,
}

impl Ours {
    /// Opens the store in a directory.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(directory: &Path, batch: u32) -> anyhow::Result<Self> {
        let now = clock::now();
        let options = Options {
            terminal: "T001".to_owned(),
            ..Options::default()
        };
        let (cache, _) = Cache::open_with(directory, &options, now)?;
        Ok(Self {
            cache,
            claimed: Vec::new(),
            batch: batch.max(1),
            // Another seed each time, so that no subject comes twice.
            numbers: Numbers::new(now.as_microsecond().unsigned_abs()),
            count: 0,
        })
    }

    /// The form around a record, as a citizen's confirmation makes it; not part of what is timed.
    pub fn wrap(&mut self, record: &[u8]) -> NewTransaction {
        self.count += 1;
        let mut subject = [0; 32];
        subject.copy_from_slice(&self.numbers.bytes(32));
        NewTransaction {
            id: Uuid::now_v7(),
            kind: "case".to_owned(),
            item: "old-age-allowance".to_owned(),
            item_version: 1,
            case_number: format!("T001-20261122-{:07}", self.count),
            subject,
            payload: record.to_vec(),
            payload_suite: Suite::Intl.to_string(),
            key_id: "0123456789abcdef".to_owned(),
            upstream: String::new(),
            can_wait: false,
            attachments: Vec::new(),
        }
    }

    /// Makes a transaction durable.
    ///
    /// # Errors
    /// What the store says.
    pub fn put(&mut self, transaction: &NewTransaction) -> anyhow::Result<()> {
        self.cache.enqueue(transaction, clock::now())?;
        Ok(())
    }

    /// Claims the next transaction, or a batch when the last one is used up, and settles one.
    ///
    /// # Errors
    /// What the store says; that nothing is left.
    pub fn take(&mut self) -> anyhow::Result<()> {
        let now = clock::now();
        if self.claimed.is_empty() {
            let ready = Ready {
                held: &[],
                with_patient: true,
            };
            self.claimed = self.cache.due(now, self.batch, &ready)?;
            self.claimed.reverse();
        }
        let transaction = self.claimed.pop().context("the queue is empty")?;
        self.cache
            .settle(transaction.id, &receipt(&transaction), now)?;
        ensure!(
            transaction.payload.len() == RECORD_BYTES,
            "another record than was put"
        );
        Ok(())
    }
}

/// A receipt as the reference platform gives it.
fn receipt(transaction: &QueuedTransaction) -> Receipt {
    Receipt {
        reference: format!("R-{}", transaction.sequence.0),
        outcome: "accepted".to_owned(),
        message: "申请已受理，5个工作日内办结".to_owned(),
        valid_until: None,
        raw: format!(
            "{{\"reference\":\"R-{}\",\"outcome\":\"accepted\",\"message\":\"申请已受理，5个工作日内办结\"}}",
            transaction.sequence.0
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records;

    #[test]
    fn what_is_put_is_taken_once() {
        for batch in [1, 100] {
            let directory = tempfile::tempdir().unwrap();
            let mut ours = Ours::open(directory.path(), batch).unwrap();
            let records = records::letters(3, 1);
            for place in 0..3 {
                let transaction = ours.wrap(records::at(&records, place));
                ours.put(&transaction).unwrap();
            }
            for _ in 0..3 {
                ours.take().unwrap();
            }
            assert!(ours.take().is_err());
        }
    }
}
