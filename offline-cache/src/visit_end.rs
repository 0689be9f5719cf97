//! How visits of an item ended, counted for good: the numbers only grow, and each is on disk before
//! the call returns. Speaks of items and of how it went, never of a person.
//!
//! Kept by year like the other usage counts, so that a year can be told from all. What a later
//! program has more words for stays in the file and is left out here.

use rusqlite::{Row, params};

use crate::CacheError;
use crate::cache::{Cache, count_of};

/// Most rows that are kept. Chosen: eighty items that end in every way for 25 years.
const ROWS_MAX: u32 = 16_384;
/// Longest id of an item in bytes, as the catalogue has it.
const ITEM_BYTES_MAX: usize = 64;

/// How a visit of an item ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VisitEnd {
    /// What was wanted was done: a case is durable, or a document is printed.
    Completed,
    /// The visitor left before that.
    Abandoned(Cause),
    /// The terminal or the platform could not do it, although devices and line were there.
    Failed,
}

/// Why a visit was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nobody touched the glass any more.
    Timeout,
    /// The visitor wanted so.
    Canceled,
    /// A device did not work.
    Device,
    /// The platform could not be reached, or did not answer.
    Line,
    /// The item is not for this person, or not with this card.
    NotEligible,
    /// The terminal or the item was closed, or staff took the terminal over.
    Closed,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::Timeout,
        Self::Canceled,
        Self::Device,
        Self::Line,
        Self::NotEligible,
        Self::Closed,
    ];

    /// The word in reports and in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Device => "device",
            Self::Line => "line",
            Self::NotEligible => "not-eligible",
            Self::Closed => "closed",
        }
    }
}

impl VisitEnd {
    /// The word for the outcome in reports and in the file.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Abandoned(_) => "abandoned",
            Self::Failed => "failed",
        }
    }

    fn cause(self) -> &'static str {
        match self {
            Self::Abandoned(cause) => cause.word(),
            Self::Completed | Self::Failed => "",
        }
    }

    /// `None` for words of a later program.
    fn from_words(outcome: &str, cause: &str) -> Option<Self> {
        let causes = Cause::ALL.into_iter().map(Self::Abandoned);
        [Self::Completed, Self::Failed]
            .into_iter()
            .chain(causes)
            .find(|end| end.outcome() == outcome && end.cause() == cause)
    }
}

/// How often visits of an item ended so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitEndCount {
    /// Item id.
    pub item: String,
    /// How they ended.
    pub end: VisitEnd,
    /// How many.
    pub count: u64,
}

impl Cache {
    /// Adds one to how often visits of an item ended so in a year; durable when it returns.
    ///
    /// # Errors
    /// `OutOfRange` for an empty or overlong item, or when the file counts as many items as it may;
    /// `DiskFull`, `Store`.
    pub fn count_visit_end(
        &mut self,
        item: &str,
        end: VisitEnd,
        year: i16,
    ) -> Result<(), CacheError> {
        if !(1..=ITEM_BYTES_MAX).contains(&item.len()) {
            return Err(CacheError::OutOfRange { what: "item" });
        }
        let added = self.connection.execute(
            "INSERT INTO visit_end (year, item, outcome, cause, count)
                 SELECT ?1, ?2, ?3, ?4, 1
                 WHERE (SELECT count(*) FROM visit_end) < ?5
                     OR EXISTS (SELECT 1 FROM visit_end
                         WHERE year = ?1 AND item = ?2 AND outcome = ?3 AND cause = ?4)
             ON CONFLICT (year, item, outcome, cause) DO UPDATE SET count = count + 1",
            params![year, item, end.outcome(), end.cause(), ROWS_MAX],
        )?;
        if added == 0 {
            return Err(CacheError::OutOfRange {
                what: "number of counted visits' ends",
            });
        }
        Ok(())
    }

    /// How visits of each item ended since this terminal began to count, by item.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a number cannot be understood.
    pub fn visit_ends(&self) -> Result<Vec<VisitEndCount>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT item, outcome, cause, sum(count) FROM visit_end
             GROUP BY item, outcome, cause ORDER BY item, outcome, cause",
        )?;
        read(statement.query_map([], row)?)
    }

    /// How visits of each item ended in a year, by item.
    ///
    /// # Errors
    /// As [`Cache::visit_ends`].
    pub fn visit_ends_of(&self, year: i16) -> Result<Vec<VisitEndCount>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT item, outcome, cause, count FROM visit_end
             WHERE year = ?1 ORDER BY item, outcome, cause",
        )?;
        read(statement.query_map([year], row)?)
    }
}

type Words = (String, String, String, i64);

fn row(row: &Row<'_>) -> Result<Words, rusqlite::Error> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn read(
    rows: impl Iterator<Item = Result<Words, rusqlite::Error>>,
) -> Result<Vec<VisitEndCount>, CacheError> {
    let mut counts = Vec::new();
    for row in rows {
        let (item, outcome, cause, count) = row?;
        if let Some(end) = VisitEnd::from_words(&outcome, &cause) {
            let count = count_of(count)?;
            counts.push(VisitEndCount { item, end, count });
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::scratch;

    const LEFT: VisitEnd = VisitEnd::Abandoned(Cause::NotEligible);

    fn count(item: &str, end: VisitEnd, count: u64) -> VisitEndCount {
        VisitEndCount {
            item: item.to_owned(),
            end,
            count,
        }
    }

    #[test]
    fn ends_are_counted_by_item_and_cause_and_a_new_start_keeps_them() {
        let mut scratch = scratch();
        for (item, end, year) in [
            ("a", VisitEnd::Completed, 2026),
            ("a", LEFT, 2026),
            ("a", LEFT, 2026),
            ("b", VisitEnd::Failed, 2026),
            ("a", LEFT, 2027),
        ] {
            scratch.cache.count_visit_end(item, end, year).unwrap();
        }
        let mut scratch = scratch.reopen();
        let of_2026 = [
            count("a", LEFT, 2),
            count("a", VisitEnd::Completed, 1),
            count("b", VisitEnd::Failed, 1),
        ];
        assert_eq!(scratch.cache.visit_ends_of(2026).unwrap(), of_2026);
        assert_eq!(scratch.cache.visit_ends_of(2025).unwrap(), []);
        scratch.cache.count_visit_end("b", LEFT, 2027).unwrap();
        let all = [
            count("a", LEFT, 3),
            count("a", VisitEnd::Completed, 1),
            count("b", LEFT, 1),
            count("b", VisitEnd::Failed, 1),
        ];
        assert_eq!(scratch.cache.visit_ends().unwrap(), all);
    }

    #[test]
    fn every_end_comes_back_as_it_was_counted() {
        let mut scratch = scratch();
        let causes = Cause::ALL.into_iter().map(VisitEnd::Abandoned);
        let ends: Vec<VisitEnd> = [VisitEnd::Completed, VisitEnd::Failed]
            .into_iter()
            .chain(causes)
            .collect();
        for end in &ends {
            scratch.cache.count_visit_end("a", *end, 2026).unwrap();
        }
        let mut counted: Vec<VisitEnd> = scratch
            .cache
            .visit_ends()
            .unwrap()
            .into_iter()
            .map(|count| count.end)
            .collect();
        counted.sort_unstable();
        let mut ends = ends;
        ends.sort_unstable();
        assert_eq!(counted, ends);
    }

    #[test]
    fn the_file_counts_no_more_than_it_may_and_goes_on_with_what_it_has() {
        let mut scratch = scratch();
        scratch.cache.count_visit_end("a", LEFT, 2026).unwrap();
        scratch
            .cache
            .connection
            .execute(
                "WITH RECURSIVE n (i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                 INSERT INTO visit_end SELECT 2026, 'item-' || i, 'failed', '', 1 FROM n",
                [ROWS_MAX],
            )
            .unwrap();
        for refused in ["b", "", &"x".repeat(65)] {
            let error = scratch.cache.count_visit_end(refused, LEFT, 2026);
            assert!(matches!(error, Err(CacheError::OutOfRange { .. })));
        }
        scratch.cache.count_visit_end("a", LEFT, 2026).unwrap();
        let all = scratch.cache.visit_ends().unwrap();
        assert_eq!(all.len(), usize::try_from(ROWS_MAX).unwrap());
        assert_eq!(all[0], count("a", LEFT, 2));
    }

    #[test]
    fn words_of_a_later_program_are_left_out_and_left_alone() {
        let mut scratch = scratch();
        scratch
            .cache
            .connection
            .execute_batch("INSERT INTO visit_end VALUES (2026, 'a', 'abandoned', 'weather', 7)")
            .unwrap();
        scratch.cache.count_visit_end("a", LEFT, 2026).unwrap();
        assert_eq!(scratch.cache.visit_ends().unwrap(), [count("a", LEFT, 1)]);
        let rows: i64 = scratch
            .cache
            .connection
            .query_row("SELECT count(*) FROM visit_end", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 2);
    }
}
