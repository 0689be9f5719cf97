//! What leaves on a stick when there is no line: open transactions with their content, in order,
//! without being claimed. A receipt settles them as any other, whichever way it comes, and the
//! id keeps a second submission from doubling anything.

use jiff::Timestamp;
use rusqlite::{TransactionBehavior, params};
use serde_json::json;
use uuid::Uuid;

use crate::audit::{self, NewAudit, TERMINAL};
use crate::cache::Cache;
use crate::outbox::{self, QUEUED, arrival};
use crate::{CacheError, QueuedTransaction, Sequence};

/// Most transactions of one bundle (`kiosk_sealing::bundle`).
const CARRIED_MAX: usize = 100_000;

impl Cache {
    /// Open transactions after a place in the outbox, in order, at most `limit`: all but those in
    /// flight, the blocked, the waiting and the dead too. Their attachments may be partly
    /// uploaded; all of each is in `attachment_bytes`. What was altered on disk is left out.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn carry_out(
        &self,
        after: Sequence,
        limit: u32,
    ) -> Result<Vec<QueuedTransaction>, CacheError> {
        self.place_arrivals()?;
        // One read transaction, so that a row and its attachments are of one moment.
        let transaction = self.connection.unchecked_transaction()?;
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut statement = transaction.prepare_cached(&format!(
            "{QUEUED} NOT INDEXED
             WHERE sequence > ?1 AND is_open = 1 AND state <> 2 ORDER BY sequence"
        ))?;
        let mut rows = statement.query([after.0])?;
        let mut carried = Vec::new();
        while carried.len() < wanted
            && let Some(row) = rows.next()?
        {
            if let Ok(queued) = outbox::read_queued(&transaction, row)? {
                carried.push(queued);
            }
        }
        Ok(carried)
    }

    /// Remembers that transactions were written into a bundle. Unknown and settled ones are
    /// skipped: a receipt may have come meanwhile. Returns how many were marked.
    ///
    /// # Errors
    /// `OutOfRange` for more than 100,000 at once; `DiskFull`, `Store`.
    pub fn mark_carried(
        &mut self,
        ids: &[Uuid],
        bundle: Uuid,
        now: Timestamp,
    ) -> Result<u32, CacheError> {
        if ids.len() > CARRIED_MAX {
            return Err(CacheError::OutOfRange {
                what: "number of carried transactions",
            });
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        arrival::place(&transaction)?;
        let mut marked = 0;
        for id in ids {
            marked += transaction
                .prepare_cached(
                    "UPDATE outbox SET carried_at = ?2, carried_in = ?3
                     WHERE id = ?1 AND is_open = 1",
                )?
                .execute(params![
                    id.as_bytes(),
                    now.as_millisecond(),
                    bundle.as_bytes()
                ])?;
        }
        let detail = json!({ "bundle": bundle, "transactions": marked });
        audit::append(
            &transaction,
            &self.directory.options.terminal,
            &NewAudit::own("outbox.carried-out", TERMINAL, &detail),
            now,
        )?;
        transaction.commit()?;
        Ok(u32::try_from(marked).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{at, enqueue_sample, sample, scratch};
    use crate::{NewAttachment, Ready, Receipt, State};

    fn receipt() -> Receipt {
        Receipt {
            reference: "R".to_owned(),
            outcome: "accepted".to_owned(),
            message: String::new(),
            valid_until: None,
            raw: "{}".to_owned(),
        }
    }

    #[test]
    fn everything_open_is_carried_in_order_but_what_is_in_flight_or_settled() {
        let mut scratch = scratch();
        let cache = &mut scratch.cache;
        let settled = enqueue_sample(cache, 1);
        cache.settle(settled, &receipt(), at(0)).unwrap();
        let in_flight = enqueue_sample(cache, 2);
        assert_eq!(cache.due(at(0), 9, &Ready::ALL).unwrap()[0].id, in_flight);
        let dead = enqueue_sample(cache, 3);
        cache.park(dead, "platform", "x.y", "", at(0)).unwrap();
        let mut waiting = sample(4);
        waiting.attachments.push(NewAttachment {
            id: Uuid::from_u128(77),
            name: "page.jpg".to_owned(),
            media_type: "image/jpeg".to_owned(),
            bytes: vec![5; 999],
        });
        cache.enqueue(&waiting, at(0)).unwrap();
        let mut blocked = sample(5);
        blocked.subject = waiting.subject;
        cache.enqueue(&blocked, at(0)).unwrap();

        let carried = cache.carry_out(Sequence(0), 100).unwrap();
        let ids: Vec<Uuid> = carried.iter().map(|each| each.id).collect();
        assert_eq!(ids, [dead, waiting.id, blocked.id]);
        assert_eq!(carried[1].payload, waiting.payload);
        assert_eq!(carried[1].attachments.len(), 1);
        let bytes = cache.attachment_bytes(Uuid::from_u128(77)).unwrap();
        assert_eq!(bytes, waiting.attachments[0].bytes);
        // Page by page the same, and nothing was claimed.
        let mut paged = Vec::new();
        let mut after = Sequence(0);
        loop {
            let page = cache.carry_out(after, 1).unwrap();
            let Some(last) = page.last() else { break };
            after = last.sequence;
            paged.extend(page);
        }
        assert_eq!(paged, carried);
    }

    #[test]
    fn a_carried_transaction_is_marked_and_stays_in_the_line() {
        let mut scratch = scratch();
        let cache = &mut scratch.cache;
        let (first, second) = (enqueue_sample(cache, 1), enqueue_sample(cache, 2));
        cache.settle(second, &receipt(), at(1)).unwrap();
        let bundle = Uuid::from_u128(9);
        let unknown = Uuid::from_u128(1234);
        let marked = cache.mark_carried(&[first, second, unknown], bundle, at(5));
        assert_eq!(marked.unwrap(), 1);
        let rows = cache.list(9).unwrap();
        assert_eq!(rows[0].carried_at, Some(at(5)));
        assert_eq!(rows[0].state, State::Pending);
        let entries = cache.audit_entries(0, 99).unwrap();
        let (entry, _) = entries.last().unwrap();
        assert_eq!(entry.kind, "outbox.carried-out");
        assert!(
            entry.detail.contains("\"transactions\":1"),
            "{}",
            entry.detail
        );
        // The line came back first: the receipt of the stick finds it settled.
        assert_eq!(cache.due(at(6), 9, &Ready::ALL).unwrap().len(), 1);
        cache.settle(first, &receipt(), at(7)).unwrap();
        assert_eq!(cache.carry_out(Sequence(0), 9).unwrap(), []);
    }

    #[test]
    fn what_was_altered_on_disk_is_not_carried_and_does_not_stop_the_rest() {
        let mut scratch = scratch();
        enqueue_sample(&mut scratch.cache, 1);
        let good = enqueue_sample(&mut scratch.cache, 2);
        scratch.cache.place_arrivals().unwrap();
        scratch
            .cache
            .connection
            .execute("UPDATE outbox SET payload = x'7B7D' WHERE sequence = 1", [])
            .unwrap();
        let carried = scratch.cache.carry_out(Sequence(0), 1).unwrap();
        assert_eq!(carried[0].id, good);
    }
}
