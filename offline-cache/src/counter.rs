//! Numbers that may never repeat or run back: the case number of a day and the usage counts of a
//! year. A number is durable before it is given out, so a power cut leaves a gap, never a double.

use jiff::civil::Date;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::CacheError;
use crate::cache::{Cache, bounded_text};

/// Setting under which a salvage keeps the number that every day's numbers must exceed.
pub(crate) const FLOOR: &str = "case-number-floor";

/// What is counted for the yearly target of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageKind {
    /// A visit that reached the item's first step.
    Visit,
    /// A transaction made durable.
    Transaction,
    /// A print that was presented.
    Print,
}

impl UsageKind {
    fn word(self) -> &'static str {
        match self {
            Self::Visit => "visit",
            Self::Transaction => "transaction",
            Self::Print => "print",
        }
    }

    fn from_word(word: &str) -> Result<Self, CacheError> {
        match word {
            "visit" => Ok(Self::Visit),
            "transaction" => Ok(Self::Transaction),
            "print" => Ok(Self::Print),
            _ => Err(CacheError::Inconsistent { what: "usage kind" }),
        }
    }
}

/// One usage count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Item id.
    pub item: String,
    /// What was counted.
    pub kind: UsageKind,
    /// How many in the year.
    pub count: u64,
}

impl Cache {
    /// The next case number of a terminal on a day, from 1; durable when it returns. After a
    /// salvage every day goes on far above all numbers that may have been given out.
    ///
    /// # Errors
    /// `OutOfRange` for an empty or overlong terminal name or after four billion numbers in a
    /// day; `DiskFull`, `Store`.
    pub fn next_number(&mut self, terminal: &str, date: Date) -> Result<u32, CacheError> {
        bounded_text(terminal, "terminal name")?;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let number = take(&transaction, terminal, date)?;
        // An explicit commit: its failure must reach the caller, or the number could come again.
        transaction.commit()?;
        Ok(number)
    }

    /// Adds one to a usage count.
    ///
    /// # Errors
    /// `OutOfRange` for an empty or overlong item; `DiskFull`, `Store`.
    pub fn count_use(&mut self, item: &str, kind: UsageKind, year: i16) -> Result<(), CacheError> {
        bounded_text(item, "item")?;
        self.connection.execute(
            "INSERT INTO usage (year, item, what, count) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT (year, item, what) DO UPDATE SET count = count + 1",
            params![year, item, kind.word()],
        )?;
        Ok(())
    }

    /// All usage counts of a year, by item.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn usage(&self, year: i16) -> Result<Vec<Usage>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT item, what, count FROM usage WHERE year = ?1 ORDER BY item, what",
        )?;
        let mut rows = statement.query([year])?;
        let mut usage = Vec::new();
        while let Some(row) = rows.next()? {
            usage.push(Usage {
                item: row.get(0)?,
                kind: UsageKind::from_word(&row.get::<_, String>(1)?)?,
                count: u64::try_from(row.get::<_, i64>(2)?).map_err(|_| {
                    CacheError::Inconsistent {
                        what: "usage count",
                    }
                })?,
            });
        }
        Ok(usage)
    }
}

/// Takes the next case number of a day; to be called inside a commit.
pub(crate) fn take(connection: &Connection, terminal: &str, date: Date) -> Result<u32, CacheError> {
    let value: i64 = connection
        .prepare_cached(
            "WITH floor (value) AS (
                 SELECT coalesce((SELECT CAST(value AS INTEGER) FROM setting
                                  WHERE key = 'case-number-floor'), 0))
             INSERT INTO case_counter (terminal, day, value)
                 SELECT ?1, ?2, floor.value + 1 FROM floor WHERE true
             ON CONFLICT (terminal, day) DO UPDATE SET
                 value = max(value + 1, excluded.value)
             RETURNING value",
        )?
        .query_row(params![terminal, date.to_string()], |row| row.get(0))?;
    number_of(value)
}

/// The number that [`take`] would take.
pub(crate) fn ahead(
    connection: &Connection,
    terminal: &str,
    date: Date,
) -> Result<u32, CacheError> {
    let value: i64 = connection
        .prepare_cached(
            "SELECT 1 + max(
                 coalesce((SELECT value FROM case_counter WHERE terminal = ?1 AND day = ?2), 0),
                 coalesce((SELECT CAST(value AS INTEGER) FROM setting
                           WHERE key = 'case-number-floor'), 0))",
        )?
        .query_row(params![terminal, date.to_string()], |row| row.get(0))?;
    number_of(value)
}

fn number_of(value: i64) -> Result<u32, CacheError> {
    u32::try_from(value).map_err(|_| CacheError::OutOfRange {
        what: "case number",
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::cache::tests::scratch;

    #[test]
    fn a_number_is_never_given_twice_across_restarts() {
        let mut scratch = scratch();
        let day = date(2026, 11, 22);
        assert_eq!(scratch.cache.next_number("T1", day).unwrap(), 1);
        assert_eq!(scratch.cache.next_number("T1", day).unwrap(), 2);
        let mut scratch = scratch.reopen();
        assert_eq!(scratch.cache.next_number("T1", day).unwrap(), 3);
        assert_eq!(scratch.cache.next_number("T2", day).unwrap(), 1);
        assert_eq!(
            scratch.cache.next_number("T1", date(2026, 11, 23)).unwrap(),
            1
        );
        // The clock went back a day: the old day goes on where it was.
        assert_eq!(scratch.cache.next_number("T1", day).unwrap(), 4);
    }

    #[test]
    fn two_connections_never_share_a_number() {
        let mut scratch = scratch();
        let mut other = scratch.cache.another().unwrap();
        let day = date(2026, 11, 22);
        let mut numbers = Vec::new();
        for _ in 0..10 {
            numbers.push(scratch.cache.next_number("T1", day).unwrap());
            numbers.push(other.next_number("T1", day).unwrap());
        }
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn uses_are_counted_by_year_item_and_kind() {
        let mut scratch = scratch();
        for _ in 0..3 {
            scratch
                .cache
                .count_use("a", UsageKind::Visit, 2026)
                .unwrap();
        }
        scratch
            .cache
            .count_use("a", UsageKind::Print, 2026)
            .unwrap();
        scratch
            .cache
            .count_use("a", UsageKind::Visit, 2027)
            .unwrap();
        let usage = scratch.cache.usage(2026).unwrap();
        assert_eq!(
            usage,
            [
                Usage {
                    item: "a".to_owned(),
                    kind: UsageKind::Print,
                    count: 1
                },
                Usage {
                    item: "a".to_owned(),
                    kind: UsageKind::Visit,
                    count: 3
                },
            ]
        );
    }
}
