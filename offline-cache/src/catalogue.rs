//! The last catalogue the platform gave, kept under its `ETag` and swapped in one database
//! transaction. Down-sync can reach nothing else: the outbox is never touched from here.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, TransactionBehavior, params};

use crate::CacheError;
use crate::cache::{Cache, bounded_text, timestamp};

/// Most items of one catalogue; the field knows about a thousand services of a county.
const ITEMS_MAX: usize = 5_000;

/// The platform's word on which items are offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Validator of the HTTP answer, sent back as `If-None-Match`.
    pub etag: String,
    /// The platform's version of the catalogue.
    pub version: u32,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// The items, by id.
    pub items: Vec<CatalogueItem>,
}

/// One item of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueItem {
    /// Item id.
    pub id: String,
    /// Version the platform expects.
    pub version: u32,
    /// Whether the platform has suspended the item everywhere.
    pub is_suspended: bool,
}

impl Cache {
    /// The catalogue swapped in last, if any; items ordered by id.
    ///
    /// # Errors
    /// `Store` when the database fails.
    pub fn catalogue(&self) -> Result<Option<Catalogue>, CacheError> {
        // One read transaction, so that header and items are of the same swap.
        let transaction = self.connection.unchecked_transaction()?;
        let header = transaction
            .query_row(
                "SELECT etag, version, fetched_at FROM catalogue",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?)),
            )
            .optional()?;
        let Some((etag, version, fetched_at)) = header else {
            return Ok(None);
        };
        let items = transaction
            .prepare_cached("SELECT id, version, is_suspended FROM catalogue_item ORDER BY id")?
            .query_map([], |row| {
                Ok(CatalogueItem {
                    id: row.get(0)?,
                    version: row.get(1)?,
                    is_suspended: row.get(2)?,
                })
            })?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Catalogue {
            etag,
            version,
            fetched_at: timestamp(fetched_at)?,
            items,
        }))
    }

    /// Puts a catalogue in place of the earlier one, wholly or not at all.
    ///
    /// # Errors
    /// `OutOfRange` for too many items, a repeated id or overlong text; `DiskFull`, `Store`.
    pub fn swap_catalogue(&mut self, catalogue: &Catalogue) -> Result<(), CacheError> {
        if catalogue.items.len() > ITEMS_MAX {
            return Err(CacheError::OutOfRange {
                what: "number of catalogue items",
            });
        }
        bounded_text(&catalogue.etag, "catalogue etag")?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM catalogue_item", [])?;
        for item in &catalogue.items {
            bounded_text(&item.id, "catalogue item id")?;
            let inserted = transaction
                .prepare_cached(
                    "INSERT OR IGNORE INTO catalogue_item (id, version, is_suspended)
                     VALUES (?1, ?2, ?3)",
                )?
                .execute(params![item.id, item.version, item.is_suspended])?;
            if inserted == 0 {
                return Err(CacheError::OutOfRange {
                    what: "repeated catalogue item id",
                });
            }
        }
        transaction.execute(
            "INSERT OR REPLACE INTO catalogue (only, etag, version, fetched_at)
             VALUES (1, ?1, ?2, ?3)",
            params![
                catalogue.etag,
                catalogue.version,
                catalogue.fetched_at.as_millisecond()
            ],
        )?;
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{at, enqueue_sample, scratch};

    fn catalogue(etag: &str, ids: &[&str]) -> Catalogue {
        Catalogue {
            etag: etag.to_owned(),
            version: 1,
            fetched_at: at(5),
            items: ids
                .iter()
                .map(|id| CatalogueItem {
                    id: (*id).to_owned(),
                    version: 3,
                    is_suspended: false,
                })
                .collect(),
        }
    }

    #[test]
    fn a_swap_replaces_everything() {
        let mut scratch = scratch();
        assert_eq!(scratch.cache.catalogue().unwrap(), None);
        let first = catalogue("\"a\"", &["x", "y"]);
        scratch.cache.swap_catalogue(&first).unwrap();
        let second = catalogue("\"b\"", &["y", "z"]);
        scratch.cache.swap_catalogue(&second).unwrap();
        let scratch = scratch.reopen();
        assert_eq!(scratch.cache.catalogue().unwrap(), Some(second));
    }

    #[test]
    fn a_bad_catalogue_leaves_the_earlier_one() {
        let mut scratch = scratch();
        let good = catalogue("\"a\"", &["x"]);
        scratch.cache.swap_catalogue(&good).unwrap();
        let error = scratch
            .cache
            .swap_catalogue(&catalogue("\"b\"", &["y", "y"]))
            .unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
        assert_eq!(scratch.cache.catalogue().unwrap(), Some(good));
    }

    /// E3: a finished case was overwritten by older server state.
    #[test]
    fn e3_down_sync_never_touches_the_outbox() {
        let mut scratch = scratch();
        let id = enqueue_sample(&mut scratch.cache, 1);
        let before = scratch.cache.list(10).unwrap();
        scratch
            .cache
            .swap_catalogue(&catalogue("\"a\"", &["old-age-allowance"]))
            .unwrap();
        assert_eq!(scratch.cache.list(10).unwrap(), before);
        assert_eq!(before[0].id, id);
    }

    /// E3: nor does it bring back what was finished here, or hide it.
    #[test]
    fn e3_down_sync_never_touches_a_case_that_was_finished_here() {
        let mut scratch = scratch();
        let settled = enqueue_sample(&mut scratch.cache, 1);
        let closed = enqueue_sample(&mut scratch.cache, 2);
        let receipt = crate::Receipt {
            reference: "R1".to_owned(),
            outcome: "completed".to_owned(),
            message: "办结".to_owned(),
            valid_until: None,
            raw: "{}".to_owned(),
        };
        let cache = &mut scratch.cache;
        cache.settle(settled, &receipt, at(1)).unwrap();
        cache.park(closed, "staff-7", "x", "", at(1)).unwrap();
        cache.close(closed, "staff-7", "on paper", at(2)).unwrap();
        let before = (
            cache.recent(10).unwrap(),
            cache.case("T1-20261122-0001").unwrap(),
        );
        // The platform speaks of an older state and withdraws the item altogether.
        let mut older = catalogue("\"old\"", &["old-age-allowance"]);
        older.items[0].is_suspended = true;
        cache.swap_catalogue(&older).unwrap();
        cache.swap_catalogue(&catalogue("\"none\"", &[])).unwrap();
        let after = (
            cache.recent(10).unwrap(),
            cache.case("T1-20261122-0001").unwrap(),
        );
        assert_eq!(after, before);
        assert_eq!(after.1.unwrap().receipt, Some(receipt));
    }
}
