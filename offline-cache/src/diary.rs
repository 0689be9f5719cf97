//! The diary of the devices: how often each did or suffered what on a day, cumulative, so that a
//! technician sees a reader growing tired before it dies. Counts only, nothing of a visitor.

use jiff::civil::Date;
use rusqlite::{TransactionBehavior, params};

use crate::CacheError;
use crate::cache::{Cache, bounded_text, count_of, stored_count};

/// Most counts of one call; a terminal has two dozen devices.
const COUNTS_MAX: usize = 1_000;
/// Most rows of one answer: two years of forty counts a day.
const ROWS_MAX: i64 = 30_000;

/// How often something happened to a device on a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiaryCount {
    /// Id of the device.
    pub device: String,
    /// The day, by the terminal's clock.
    pub day: Date,
    /// What: `card-read`, `page`, a problem code.
    pub what: String,
    /// How often; added to what stands there for the day.
    pub count: u64,
}

impl Cache {
    /// Adds counts to their days, all of them or none.
    ///
    /// # Errors
    /// `OutOfRange` for too many counts, an overlong text or a count beyond measure; `DiskFull`,
    /// `Store`.
    pub fn diary_add(&mut self, counts: &[DiaryCount]) -> Result<(), CacheError> {
        if counts.len() > COUNTS_MAX {
            return Err(CacheError::OutOfRange {
                what: "number of diary counts",
            });
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        for count in counts {
            bounded_text(&count.device, "device id")?;
            bounded_text(&count.what, "diary word")?;
            // A sum beyond measure stays there instead of failing the day.
            transaction
                .prepare_cached(
                    "INSERT INTO diary (day, device, what, count) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (day, device, what) DO UPDATE SET
                         count = min(count, 9223372036854775807 - excluded.count)
                             + excluded.count",
                )?
                .execute(params![
                    count.day.to_string(),
                    count.device,
                    count.what,
                    stored_count(count.count, "diary count")?,
                ])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// The counts of a day and all later ones, by day, device and word.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn diary(&self, since: Date) -> Result<Vec<DiaryCount>, CacheError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT day, device, what, count FROM diary WHERE day >= ?1
             ORDER BY day, device, what LIMIT ?2",
        )?;
        let mut rows = statement.query(params![since.to_string(), ROWS_MAX])?;
        let mut counts = Vec::new();
        while let Some(row) = rows.next()? {
            counts.push(DiaryCount {
                day: row
                    .get::<_, String>(0)?
                    .parse()
                    .map_err(|_| CacheError::Inconsistent { what: "date" })?,
                device: row.get(1)?,
                what: row.get(2)?,
                count: count_of(row.get(3)?)?,
            });
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::cache::tests::scratch;

    fn count(device: &str, day: Date, what: &str, count: u64) -> DiaryCount {
        DiaryCount {
            device: device.to_owned(),
            day,
            what: what.to_owned(),
            count,
        }
    }

    #[test]
    fn counts_of_a_day_add_up_across_restarts() {
        let mut scratch = scratch();
        let (first, second) = (date(2026, 11, 21), date(2026, 11, 22));
        let counts = [
            count("printer", second, "page", 3),
            count("id-card", first, "card-read", 7),
        ];
        scratch.cache.diary_add(&counts).unwrap();
        let mut scratch = scratch.reopen();
        scratch
            .cache
            .diary_add(&[count("printer", second, "page", 2)])
            .unwrap();
        assert_eq!(
            scratch.cache.diary(first).unwrap(),
            [
                count("id-card", first, "card-read", 7),
                count("printer", second, "page", 5)
            ]
        );
        assert_eq!(scratch.cache.diary(second).unwrap().len(), 1);
    }

    #[test]
    fn one_bad_count_leaves_all_of_them_out() {
        let mut scratch = scratch();
        let day = date(2026, 11, 22);
        let counts = [count("printer", day, "page", 1), count("", day, "page", 1)];
        let error = scratch.cache.diary_add(&counts).unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
        assert_eq!(scratch.cache.diary(day).unwrap(), []);
        let beyond = [count("printer", day, "page", u64::MAX)];
        assert!(scratch.cache.diary_add(&beyond).is_err());
    }

    #[test]
    fn a_sum_beyond_measure_does_not_fail() {
        let mut scratch = scratch();
        let day = date(2026, 11, 22);
        let most = u64::try_from(i64::MAX).unwrap();
        for _ in 0..2 {
            let counts = [count("printer", day, "page", most)];
            scratch.cache.diary_add(&counts).unwrap();
        }
        assert_eq!(scratch.cache.diary(day).unwrap()[0].count, most);
    }
}
