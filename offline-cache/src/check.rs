//! Is the database whole? At start as much is checked as a bounded number of steps allows, which
//! is all of an ordinary one; the rest of a large one is read row by row in idle time.
//!
//! A database found damaged is marked, so that the next start moves it aside and salvages it.

use rusqlite::{Connection, ErrorCode, Row, params};
use uuid::Uuid;

use crate::cache::Cache;
use crate::{CacheError, quarantine};

/// Steps of the engine between two looks at the budget.
const STEPS_A_LOOK: i32 = 1_000;
/// What the check at start may cost.
struct Budget {
    /// Largest database in pages of 4 KiB that is begun with: a look at a page costs as much as a
    /// hundred steps and may come from a slow disk.
    pages_max: i64,
    /// Looks before the check gives up and leaves all of it for idle time.
    looks_max: u32,
}

/// Measured: 128 MiB and four million steps are a quarter of a second. 50,000 waiting
/// transactions are checked whole within it.
#[cfg(not(test))]
const START: Budget = Budget {
    pages_max: 32_768,
    looks_max: 4_000,
};
/// In tests small, so that a few thousand rows are a large database.
#[cfg(test)]
const START: Budget = Budget {
    pages_max: 32_768,
    looks_max: 3,
};

/// How the rows of a table are walked.
#[derive(Debug, Clone, Copy)]
enum Walk {
    /// By a number.
    Number,
    /// By the bytes of an id.
    Id,
    /// At once; the table is small.
    Whole,
}

/// Every table with the column its rows are walked by.
const TABLES: &[(&str, &str, Walk)] = &[
    ("outbox", "sequence", Walk::Number),
    ("arrival", "sequence", Walk::Number),
    ("attachment", "id", Walk::Id),
    ("print", "id", Walk::Id),
    ("audit_entry", "sequence", Walk::Number),
    ("audit_checkpoint", "sequence", Walk::Number),
    ("command", "id", Walk::Id),
    ("test_record", "sequence", Walk::Number),
    ("ticket", "sequence", Walk::Number),
    ("daily_check", "sequence", Walk::Number),
    ("used_grant", "id", Walk::Id),
    ("schema_info", "only", Walk::Whole),
    ("case_counter", "terminal", Walk::Whole),
    ("usage", "year", Walk::Whole),
    ("visit_end", "year", Walk::Whole),
    ("setting", "key", Walk::Whole),
    ("catalogue", "only", Walk::Whole),
    ("catalogue_item", "id", Walk::Whole),
    ("clock", "only", Walk::Whole),
    ("diary", "day", Walk::Whole),
    ("desired_state", "only", Walk::Whole),
    ("ticket_part", "ticket", Walk::Whole),
    ("replenishment", "device", Walk::Whole),
    ("unlock_guard", "only", Walk::Whole),
    ("calibration", "what", Walk::Whole),
];

/// Every index of the outbox; the others are small or walked with their table.
const INDEXES: &[&str] = &[
    "outbox_ready WHERE state = 1 AND is_blocked = 0 AND next_at = 0",
    "outbox_uploading WHERE state = 0 AND is_blocked = 0 AND next_at = 0",
    "outbox_deferred WHERE state <= 1 AND next_at > 0",
    "outbox_in_flight WHERE state = 2",
    "outbox_unsettled WHERE state <= 2",
    "outbox_dead WHERE state = 4 AND is_open = 1",
    "outbox_line WHERE is_open = 1",
    "outbox_tombstone WHERE is_open = 0",
    "outbox_key WHERE is_open = 1 AND key_id <> ''",
    "outbox_case",
];

/// Where the check in idle time stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Check {
    /// Index into [`TABLES`], then into [`INDEXES`].
    stage: usize,
    after_number: i64,
    after_id: Option<Uuid>,
}

impl Cache {
    /// Goes on with the check that opening left unfinished, reading at most `steps` rows. To be
    /// called in idle time until it says something: `Some(true)` means that all of it is whole
    /// (and at once when opening checked all), `Some(false)` that the database is damaged. Then
    /// the process is to be restarted: the next opening moves it aside and salvages it.
    pub fn continue_check(&mut self, steps: u32) -> Option<bool> {
        let mut left = self.directory.check();
        let Some(check) = left.as_mut() else {
            return Some(true);
        };
        match check.advance(&self.connection, steps) {
            Ok(true) => {
                *left = None;
                Some(true)
            }
            Err(error) if error.is_corruption() => {
                // Said only once the mark is on disk: without it the next start would find nothing,
                // and whoever restarts on this word would restart for ever.
                quarantine::mark_damaged(&self.directory.path)
                    .is_ok()
                    .then_some(false)
            }
            // Not done, or busy or out of memory: the same place is looked at next time.
            Ok(false) | Err(_) => None,
        }
    }
}

/// Checks that every table is there under its name: a ruined name passes every other check, and each
/// statement about the table would fail from then on.
///
/// # Errors
/// `Inconsistent` when one is not, `Store` when the database fails.
pub(crate) fn tables(connection: &Connection) -> Result<(), CacheError> {
    for (table, _, _) in TABLES {
        if !connection.table_exists(None, *table)? {
            return Err(CacheError::Inconsistent { what: "schema" });
        }
    }
    Ok(())
}

/// Checks the database within the budget of a start; what is returned is left for idle time.
///
/// # Errors
/// `Inconsistent` or a corruption of `Store` when it is damaged.
pub(crate) fn at_start(connection: &mut Connection) -> Result<Option<Check>, CacheError> {
    within(connection, &START)
}

fn within(connection: &mut Connection, budget: &Budget) -> Result<Option<Check>, CacheError> {
    let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    if pages > budget.pages_max {
        return Ok(Some(Check::default()));
    }
    let (mut looks, looks_max) = (0, budget.looks_max);
    let handler = move || {
        looks += 1;
        looks > looks_max
    };
    connection.progress_handler(STEPS_A_LOOK, Some(handler))?;
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match verdict {
        Ok(verdict) => of_verdict(&verdict).map(|()| None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            Ok(Some(Check::default()))
        }
        Err(error) => Err(error.into()),
    }
}

fn of_verdict(verdict: &str) -> Result<(), CacheError> {
    if verdict == "ok" {
        return Ok(());
    }
    Err(CacheError::Inconsistent { what: "database" })
}

impl Check {
    /// Reads on; true when nothing is left.
    fn advance(&mut self, connection: &Connection, steps: u32) -> Result<bool, CacheError> {
        let mut left = steps;
        while left > 0 {
            let read = match TABLES.get(self.stage) {
                Some((table, key, Walk::Number)) => {
                    self.walk_numbers(connection, table, key, left)?
                }
                Some((table, key, Walk::Id)) => self.walk_ids(connection, table, key, left)?,
                Some((table, _, Walk::Whole)) => {
                    let sql = format!("PRAGMA quick_check('{table}')");
                    let verdict: String = connection.query_row(&sql, [], |row| row.get(0))?;
                    of_verdict(&verdict)?;
                    0
                }
                None => match INDEXES.get(self.stage - TABLES.len()) {
                    Some(index) => {
                        let sql = format!("SELECT count(*) FROM outbox INDEXED BY {index}");
                        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))?;
                        0
                    }
                    None => return Ok(true),
                },
            };
            if read < left {
                self.next_stage();
            }
            // An empty table is a step too, so that the loop ends.
            left -= read.max(1);
        }
        Ok(false)
    }

    fn next_stage(&mut self) {
        *self = Self {
            stage: self.stage + 1,
            ..Self::default()
        };
    }

    fn walk_numbers(
        &mut self,
        connection: &Connection,
        table: &str,
        key: &str,
        limit: u32,
    ) -> Result<u32, CacheError> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT * FROM {table} WHERE {key} > ?1 ORDER BY {key} LIMIT ?2"
        ))?;
        let mut rows = statement.query(params![self.after_number, limit])?;
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read_all(row)?;
            self.after_number = row.get(key)?;
            read += 1;
        }
        Ok(read)
    }

    fn walk_ids(
        &mut self,
        connection: &Connection,
        table: &str,
        key: &str,
        limit: u32,
    ) -> Result<u32, CacheError> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT * FROM {table} WHERE {key} > ?1 ORDER BY {key} LIMIT ?2"
        ))?;
        // Every id is greater than no bytes at all.
        let after: &[u8] = match &self.after_id {
            Some(id) => id.as_bytes(),
            None => &[],
        };
        let mut rows = statement.query(params![after, limit])?;
        let (mut read, mut last) = (0, self.after_id);
        while let Some(row) = rows.next()? {
            read_all(row)?;
            last = Some(Uuid::from_bytes(row.get(key)?));
            read += 1;
        }
        self.after_id = last;
        Ok(read)
    }
}

/// Reads every column, so that the pages of long ones are looked at too.
fn read_all(row: &Row<'_>) -> Result<(), CacheError> {
    for index in 0..row.as_ref().column_count() {
        row.get_ref(index)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    use super::*;
    use crate::cache::tests::{Scratch, at, sample, scratch};

    /// More rows than the check at start looks at.
    fn large() -> Scratch {
        let mut scratch = scratch();
        let fill = scratch.cache.connection.transaction().unwrap();
        for number in 0_u32..6_000 {
            fill.execute(
                "INSERT INTO outbox (id, kind, item, item_version, case_number, subject, state,
                     is_blocked, enqueued_at, payload_suite, payload, content_digest)
                 VALUES (?1, 'case', 'x', 1, 'n', ?2, 1, 0, 1, 'plain', zeroblob(3500), ?2)",
                params![Uuid::from_u128(u128::from(number)).as_bytes(), [7_u8; 32]],
            )
            .unwrap();
        }
        fill.commit().unwrap();
        scratch
    }

    fn finish(cache: &mut Cache) -> bool {
        for _ in 0..10_000 {
            if let Some(verdict) = cache.continue_check(100) {
                return verdict;
            }
        }
        panic!("the check does not end");
    }

    fn reopen(scratch: Scratch) -> (Scratch, crate::Opening) {
        let Scratch { cache, directory } = scratch;
        drop(cache);
        let (cache, opening) = Cache::open(directory.path(), at(0)).unwrap();
        (Scratch { cache, directory }, opening)
    }

    #[test]
    fn a_small_database_is_checked_whole_at_start() {
        let mut scratch = scratch();
        scratch.cache.enqueue(&sample(1), at(0)).unwrap();
        let (mut scratch, opening) = reopen(scratch);
        assert!(opening.is_checked_whole);
        assert_eq!(scratch.cache.continue_check(1), Some(true));
    }

    #[test]
    fn a_large_database_opens_after_a_bounded_check_and_the_rest_follows_in_idle_time() {
        let (mut scratch, opening) = reopen(large());
        assert!(!opening.is_checked_whole);
        assert_eq!(opening.quarantined, None);
        assert_eq!(scratch.cache.continue_check(100), None);
        // Any connection may go on with it.
        assert_eq!(scratch.cache.another().unwrap().continue_check(100), None);
        assert!(finish(&mut scratch.cache));
        assert_eq!(scratch.cache.continue_check(1), Some(true));
    }

    #[test]
    fn a_database_too_large_for_a_start_is_left_for_idle_time() {
        let mut scratch = scratch();
        let budget = |pages_max| Budget {
            pages_max,
            looks_max: 1_000,
        };
        let connection = &mut scratch.cache.connection;
        assert!(within(connection, &budget(1_000)).unwrap().is_none());
        assert!(within(connection, &budget(5)).unwrap().is_some());
    }

    /// Ruins one of the first pages that hold rows of the outbox; the check at start comes from
    /// the other end.
    fn ruin_an_early_page(path: &Path) {
        let file = OpenOptions::new()
            .write(true)
            .read(true)
            .open(path)
            .unwrap();
        let pages = fs::metadata(path).unwrap().len() / 4096;
        for page in pages / 10..pages {
            let mut header = [0; 1];
            file.read_exact_at(&mut header, page * 4096).unwrap();
            // 0x0D: a leaf of a table.
            if header[0] == 0x0D {
                file.write_all_at(&[0xA5; 4096], page * 4096).unwrap();
                return;
            }
        }
        panic!("no leaf found");
    }

    #[test]
    fn damage_found_in_idle_time_is_salvaged_at_the_next_start() {
        let Scratch { cache, directory } = large();
        drop(cache);
        ruin_an_early_page(&directory.path().join("kiosk.db"));
        let (mut cache, opening) = Cache::open(directory.path(), at(0)).unwrap();
        assert_eq!(opening.quarantined, None, "found at start: make it larger");
        assert!(!finish(&mut cache));
        drop(cache);
        let (cache, opening) = Cache::open(directory.path(), at(1)).unwrap();
        assert!(opening.quarantined.is_some());
        let salvaged = opening.salvaged.unwrap();
        assert!(salvaged.transactions > 5_900, "{salvaged:?}");
        assert!(salvaged.lost_rows > 0, "{salvaged:?}");
        drop(cache);
        let (_cache, opening) = Cache::open(directory.path(), at(2)).unwrap();
        assert_eq!(opening.quarantined, None);
    }

    /// Flipped bits in a name: the file is sound, and a table is gone.
    #[test]
    fn a_table_whose_name_is_ruined_is_damage_like_any_other() {
        let mut scratch = scratch();
        scratch.cache.enqueue(&sample(1), at(0)).unwrap();
        scratch.cache.set_setting("volume", "3").unwrap();
        let Scratch { cache, directory } = scratch;
        drop(cache);
        let path = directory.path().join("kiosk.db");
        let mut bytes = fs::read(&path).unwrap();
        // The last letter of the name, in its two columns and in the statement beside them.
        for (around, letter) in [
            (b"tablesettingsetting".as_slice(), 11),
            (b"tablesettinfsetting".as_slice(), 18),
            (b"CREATE TABLE setting (".as_slice(), 19),
        ] {
            let mut places = bytes.windows(around.len());
            let place = places.position(|window| window == around).unwrap();
            bytes[place + letter] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
        let (cache, opening) = Cache::open(directory.path(), at(1)).unwrap();
        assert!(opening.quarantined.is_some());
        let salvaged = opening.salvaged.unwrap();
        assert_eq!(salvaged.transactions, 1);
        assert!(salvaged.lost_rows > 0, "{salvaged:?}");
        assert_eq!(cache.depth().unwrap().waiting, 1);
    }

    #[test]
    fn every_table_and_every_index_of_the_outbox_is_looked_at() {
        let scratch = scratch();
        let names = |kind: &str, condition: &str| -> Vec<String> {
            let sql = format!(
                "SELECT name FROM sqlite_schema WHERE type = '{kind}' AND {condition}
                 AND name NOT LIKE 'sqlite_%' ORDER BY name"
            );
            let mut statement = scratch.cache.connection.prepare(&sql).unwrap();
            let names = statement.query_map([], |row| row.get(0)).unwrap();
            names.map(Result::unwrap).collect()
        };
        let mut tables: Vec<&str> = TABLES.iter().map(|(table, _, _)| *table).collect();
        tables.sort_unstable();
        assert_eq!(names("table", "true"), tables);
        let mut indexes: Vec<&str> = INDEXES
            .iter()
            .filter_map(|index| index.split(' ').next())
            .collect();
        indexes.sort_unstable();
        assert_eq!(names("index", "tbl_name = 'outbox'"), indexes);
    }
}
