//! What can be saved out of a damaged database: row by row, table by table, into a new file that
//! takes the old one's place only when it is whole. The damaged file is only read.
//!
//! A row that cannot be read never stops the next one. Ids stay, so that nothing is doubled; case
//! numbers go on far above all that may have been given out; the audit log goes on after the last
//! readable entry with one that says what was lost. Nothing is left out silently: every table is
//! saved, or named below with the reason why not, and every row that is known and was not saved is
//! counted, also those that only made sense beside a lost one.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params, params_from_iter};
use serde_json::json;
use uuid::Uuid;

use crate::attachment::file_path;
use crate::audit::{self, NewAudit, TERMINAL};
use crate::cache::{self, ATTACHMENTS, Directory};
use crate::quarantine::{self, Pending};
use crate::{CacheError, counter, outbox, schema, technician};

/// Rows copied before what has been copied is made durable; keeps the log file short.
const ROWS_A_COMMIT: u32 = 1_000;
/// Damaged places of one table after which the rest of it is given up …
const PLACES_MAX: u32 = 100_000;
/// … and one place for so many bytes of the file: each is a row at least, and a search for the next
/// that can be read.
const PLACE_BYTES: u64 = 32;
/// Smallest row of a file: a pointer to its cell and the cell. Whoever reads more rows than fit goes
/// round in a circle of ruined pages.
const ROW_BYTES: u64 = 6;
/// Most tables of a later program that are counted.
const UNKNOWN_TABLES_MAX: usize = 256;
/// Numbers a terminal cannot give out in a day; a floor is a multiple of it.
const NUMBERS_A_DAY: i64 = 10_000;
/// Case numbers above this are not believed when the floor is computed: a digit was ruined.
const NUMBER_MAX: i64 = 90_000_000;

/// Tables whose rows have a number, in the order they are copied, and where their rows go: what has
/// not taken its place in the outbox takes it now.
const NUMBERED: &[(&str, &str, &str)] = &[
    ("outbox", "sequence", "outbox"),
    ("arrival", "sequence", "outbox"),
    ("audit_entry", "sequence", "audit_entry"),
    ("audit_checkpoint", "sequence", "audit_checkpoint"),
    ("desired_state", "only", "desired_state"),
    ("test_record", "sequence", "test_record"),
    ("ticket", "sequence", "ticket"),
    ("daily_check", "sequence", "daily_check"),
    ("unlock_guard", "only", "unlock_guard"),
];
/// Tables whose rows have a key of other kind.
const KEYED: &[(&str, &str)] = &[
    ("attachment", "id"),
    ("print", "id"),
    ("case_counter", "terminal, day"),
    ("usage", "year, item, what"),
    ("visit_end", "year, item, outcome, cause"),
    ("setting", "key"),
    ("diary", "day, device, what"),
    ("command", "id"),
    ("ticket_part", "ticket, position"),
    ("replenishment", "device, what"),
    ("used_grant", "id"),
    ("calibration", "what"),
];

/// Tables that are not saved: the new file says its own version, and the clock is watched anew,
/// because nobody knows how long the terminal stood still.
const NOT_SAVED: &[&str] = &["schema_info", "clock"];
/// Tables of which only the whole is of use.
const WHOLE: &[(&str, &str)] = &[("catalogue_item", "id"), ("catalogue", "only")];
/// Indexes that name every row of a table, by which rows are known that cannot be read.
const INDEXES: &[(&str, &str)] = &[
    ("outbox", "outbox_case"),
    ("attachment", "attachment_transaction"),
    ("print", "print_case"),
    ("test_record", "test_record_age"),
    ("ticket", "ticket_of_fault"),
    ("daily_check", "daily_check_age"),
    ("used_grant", "used_grant_age"),
];

/// What was saved out of a damaged database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Open transactions saved.
    pub transactions: u32,
    /// Settled and closed transactions saved, with the receipts of the settled.
    pub receipts: u32,
    /// Prints saved.
    pub prints: u32,
    /// What staff left and was saved: test records, fault tickets and daily checks.
    pub staff_records: u32,
    /// Rows known to be lost, of all tables; at least one for each place that cannot be read.
    pub lost_rows: u32,
    /// Attachment files that are whole and back in their place.
    pub attachments: u32,
}

/// Builds a new database out of the quarantined one and puts it in its place.
///
/// # Errors
/// `DiskFull`, `Io`, `Store` when the new database cannot be written; the next opening begins
/// again. What cannot be read is never an error.
pub(crate) fn rebuild(
    directory: &Directory,
    pending: &Pending,
    now: Timestamp,
) -> Result<Salvage, CacheError> {
    let path = Pending::rebuilt(&directory.path)?;
    cache::make_database(&path)?;
    let mut target = cache::connect(&path, &directory.options)?;
    schema::migrate(&mut target)?;
    // Rows come in any order; what points nowhere in the end is put right below.
    target.pragma_update(None, "foreign_keys", false)?;
    let source = open_source(&directory.path.join(pending.database()), directory);
    let mut lost = match &source {
        Some(source) => copy_all(source, &target)?,
        // How much was in it nobody knows, but not that it was nothing.
        None => 1,
    };
    lost += rows_without_theirs(&target)?;
    mend(&target)?;
    technician::mend(&target)?;
    target.pragma_update(None, "foreign_keys", true)?;
    let attachments = move_files_back(&target, directory, pending)?;
    set_altered_aside(&target, directory, now)?;
    raise_number_floor(&target, &directory.path)?;
    let count = |sql: &str| -> Result<u32, CacheError> {
        let count: i64 = target.query_row(sql, [], |row| row.get(0))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    };
    let salvage = Salvage {
        transactions: count("SELECT count(*) FROM outbox WHERE is_open = 1")?,
        receipts: count("SELECT count(*) FROM outbox WHERE is_open = 0")?,
        prints: count("SELECT count(*) FROM print")?,
        staff_records: count(
            "SELECT (SELECT count(*) FROM test_record) + (SELECT count(*) FROM ticket)
                 + (SELECT count(*) FROM daily_check)",
        )?,
        lost_rows: u32::try_from(lost).unwrap_or(u32::MAX),
        attachments,
    };
    record(&target, directory, pending, &salvage, now)?;
    // All of it in the one file, so that the log has nothing to be moved.
    target.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    drop(source);
    target
        .close()
        .map_err(|(_, error)| CacheError::from(error))?;
    Pending::put_in_place(&directory.path)?;
    Ok(salvage)
}

/// The damaged database, for reading only.
struct Source {
    connection: Connection,
    /// How large it is with its log; what it says of itself is not believed.
    bytes: u64,
    /// Whether the names of all its tables could be read.
    is_schema_whole: bool,
}

/// Opens the damaged database; `None` when nothing of it can be read.
fn open_source(path: &Path, directory: &Directory) -> Option<Source> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = cache::open_file(path, flags, &directory.options).ok()?;
    connection
        .pragma_update(None, "trusted_schema", false)
        .ok()?;
    connection
        .pragma_update(None, "cell_size_check", true)
        .ok()?;
    let names = || {
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    let is_schema_whole = match names() {
        // The engine takes an empty file for a database without tables.
        Ok(0) => return None,
        outcome => outcome.is_ok(),
    };
    if !is_schema_whole {
        // With this the engine goes on with as many tables as it could read the names of; the
        // statement that finds the damage fails, the next one does not. Nothing is written here.
        connection
            .pragma_update(None, "writable_schema", true)
            .ok()?;
        // A file that is no database fails again.
        let _is_first = names().is_err();
        columns(&connection, "outbox")
            .ok()
            .filter(|columns| !columns.is_empty())?;
    }
    // Rows may stand in the log only.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let parts = [path, Path::new(&log)].map(fs::metadata);
    Some(Source {
        connection,
        bytes: parts.iter().flatten().map(fs::Metadata::len).sum(),
        is_schema_whole,
    })
}

/// Copies every table; returns how many rows are known to be lost.
fn copy_all(source: &Source, target: &Connection) -> Result<u64, CacheError> {
    let mut lost = 0;
    for (table, key, into) in NUMBERED {
        let Some(mut copy) = Copy::new(source, table, target, into)? else {
            lost += source.lost_name();
            continue;
        };
        copy.numbered(key)?;
        let mut known = copy.rows_unread();
        if *table == "outbox" {
            known = known.max(open_rows_lost(&source.connection, target)?);
        }
        lost += copy.end()?.max(known);
    }
    for (table, key) in KEYED {
        let Some(mut copy) = Copy::new(source, table, target, table)? else {
            lost += source.lost_name();
            continue;
        };
        copy.keyed(key)?;
        if *table == "attachment" {
            copy.attachments_of_open_rows()?;
        }
        let known = copy.rows_unread();
        lost += copy.end()?.max(known);
    }
    lost += copy_catalogue(source, target)?;
    lost += source.unknown_rows();
    copy_last_sequence(&source.connection, target)?;
    Ok(lost)
}

impl Source {
    /// A table that is not there was of a later version, or its name is among those that cannot be
    /// read.
    fn lost_name(&self) -> u64 {
        u64::from(!self.is_schema_whole)
    }

    /// Rows of tables that this program does not know, which a later one made: they stay behind
    /// in the quarantined file.
    fn unknown_rows(&self) -> u64 {
        let mut rows = 0;
        for table in self.unknown_tables().unwrap_or_default() {
            let name = table.replace('"', "\"\"");
            let sql = format!("SELECT count(*) FROM \"{name}\"");
            let count = self.connection.query_row(&sql, [], |row| row.get(0));
            // One that cannot be counted has one row at least, or it would not be damaged.
            rows += count.map_or(1, |count: i64| count.unsigned_abs());
        }
        rows
    }

    fn unknown_tables(&self) -> Result<Vec<String>, CacheError> {
        let mut statement = self.connection.prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' ESCAPE '^'",
        )?;
        let mut rows = statement.query([])?;
        let mut unknown = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            if !known_tables().any(|known| known == name) && unknown.len() < UNKNOWN_TABLES_MAX {
                unknown.push(name);
            }
        }
        Ok(unknown)
    }
}

/// Every table that is saved, and those that are not for a reason.
fn known_tables() -> impl Iterator<Item = &'static str> {
    let numbered = NUMBERED.iter().map(|(table, _, _)| *table);
    let keyed = KEYED.iter().chain(WHOLE).map(|(table, _)| *table);
    numbered.chain(keyed).chain(NOT_SAVED.iter().copied())
}

/// The copying of one table.
struct Copy<'a> {
    source: &'a Connection,
    target: &'a Connection,
    table: &'a str,
    into: &'a str,
    /// Rows that were in the new table before.
    before: u64,
    /// Rows that may still be read, and places that may still be damaged.
    rows_left: u64,
    places_max: u32,
    /// The columns that both files have, as a list.
    columns: String,
    insert: String,
    width: usize,
    /// Whether rows may come that were copied before.
    may_repeat: bool,
    uncommitted: u32,
    /// Rows that were read and refused.
    refused: u64,
    /// Places that could not be read.
    places: u32,
}

/// How reading a run of rows ended.
enum Run {
    /// There are no more rows.
    End,
    /// What follows cannot be read.
    Damaged,
}

impl<'a> Copy<'a> {
    /// `None` when the damaged file has no such table.
    fn new(
        source: &'a Source,
        table: &'a str,
        target: &'a Connection,
        into: &'a str,
    ) -> Result<Option<Self>, CacheError> {
        let bytes = source.bytes;
        let source = &source.connection;
        let there = columns(source, table).unwrap_or_default();
        let shared: Vec<String> = columns(target, into)?
            .into_iter()
            .filter(|column| there.contains(column))
            .collect();
        if shared.is_empty() {
            return Ok(None);
        }
        let columns = shared.join(", ");
        let places: Vec<String> = (1..=shared.len())
            .map(|index| format!("?{index}"))
            .collect();
        target.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Some(Self {
            source,
            target,
            table,
            into,
            before: count_rows(target, into, "")?,
            rows_left: bytes / ROW_BYTES,
            places_max: u32::try_from(bytes / PLACE_BYTES)
                .unwrap_or(PLACES_MAX)
                .min(PLACES_MAX),
            insert: format!(
                "INSERT OR IGNORE INTO {into} ({columns}) VALUES ({})",
                places.join(", ")
            ),
            columns,
            width: shared.len(),
            may_repeat: false,
            uncommitted: 0,
            refused: 0,
            places: 0,
        }))
    }

    /// How many rows an index of the damaged file names beyond those that were saved; 0 when it
    /// has none that can be read.
    fn rows_unread(&self) -> u64 {
        let Some((_, index)) = INDEXES.iter().find(|(table, _)| *table == self.table) else {
            return 0;
        };
        // A sum and no count: for a plain count the engine looks at whatever is smallest.
        let sql = format!(
            "SELECT coalesce(sum(1), 0) FROM {} INDEXED BY {index}",
            self.table
        );
        let named = self.source.query_row(&sql, [], |row| row.get(0));
        let named = named.map_or(0, |named: i64| named.unsigned_abs());
        let there = count_rows(self.target, self.into, "").unwrap_or(0);
        named.saturating_sub(there.saturating_sub(self.before))
    }

    /// Makes the last rows durable; returns how many rows are lost, at least.
    fn end(self) -> Result<u64, CacheError> {
        self.target.execute_batch("COMMIT")?;
        Ok(self.refused + u64::from(self.places))
    }

    /// Stores a row. One that the new file refuses is counted; a full disk is an error.
    fn store(&mut self, values: &[Value]) -> Result<(), CacheError> {
        let stored = self
            .target
            .prepare_cached(&self.insert)?
            .execute(params_from_iter(values));
        match stored {
            // Nothing stored: there already when it is read a second time, else against a rule.
            Ok(0) if !self.may_repeat => self.refused += 1,
            Ok(_) => {}
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                self.refused += 1;
            }
            Err(error) => return Err(error.into()),
        }
        self.uncommitted += 1;
        if self.uncommitted >= ROWS_A_COMMIT {
            self.uncommitted = 0;
            self.target.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
        }
        Ok(())
    }

    /// Copies a table by its number, jumping over what cannot be read.
    fn numbered(&mut self, key: &str) -> Result<(), CacheError> {
        let sql = format!(
            "SELECT {}, {key} FROM {} NOT INDEXED WHERE {key} > ?1 ORDER BY {key}",
            self.columns, self.table
        );
        let mut after = 0;
        while self.places < self.places_max && self.rows_left > 0 {
            match self.run(&sql, &mut after)? {
                Run::End => return Ok(()),
                Run::Damaged => self.places += 1,
            }
            match self.next_readable(&sql, after) {
                Some(next) => after = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Copies rows after a number until the end or until one cannot be read.
    fn run(&mut self, sql: &str, after: &mut i64) -> Result<Run, CacheError> {
        let Ok(mut statement) = self.source.prepare_cached(sql) else {
            return Ok(Run::Damaged);
        };
        let Ok(mut rows) = statement.query([*after]) else {
            return Ok(Run::Damaged);
        };
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Run::End),
                Err(_) => return Ok(Run::Damaged),
            };
            let (Ok(values), Ok(number)) = (values(row, self.width), row.get(self.width)) else {
                return Ok(Run::Damaged);
            };
            // A ruined page may lead back; the walk only goes on.
            if number <= *after || !self.may_read_on() {
                return Ok(Run::Damaged);
            }
            self.store(&values)?;
            *after = number;
        }
    }

    /// Counts a row that was read; false when there cannot be so many.
    fn may_read_on(&mut self) -> bool {
        let may = self.rows_left > 0;
        self.rows_left = self.rows_left.saturating_sub(1);
        may
    }

    /// The smallest number after which rows can be read again, found by doubling and halving.
    fn next_readable(&self, sql: &str, after: i64) -> Option<i64> {
        let probe = format!("{sql} LIMIT 1");
        let is_readable = |number: i64| {
            let mut statement = self.source.prepare_cached(&probe).ok()?;
            let mut rows = statement.query([number]).ok()?;
            match rows.next().ok()? {
                Some(row) => values(row, self.width).ok().map(|_| ()),
                None => Some(()),
            }
        };
        let mut step = 1_i64;
        while is_readable(after.checked_add(step)?).is_none() {
            step = step.checked_mul(2)?;
        }
        let (mut ruined, mut readable) = (after + step / 2, after + step);
        while ruined + 1 < readable {
            let middle = ruined + (readable - ruined) / 2;
            if is_readable(middle).is_some() {
                readable = middle;
            } else {
                ruined = middle;
            }
        }
        Some(readable)
    }

    /// Copies a table from its first key on and, if there is a damaged place, from its last key
    /// back.
    fn keyed(&mut self, key: &str) -> Result<(), CacheError> {
        let descending = key.replace(',', " DESC,") + " DESC";
        for order in [key, descending.as_str()] {
            let sql = format!(
                "SELECT {} FROM {} NOT INDEXED ORDER BY {order}",
                self.columns, self.table
            );
            match self.all(&sql)? {
                Run::End => return Ok(()),
                Run::Damaged => self.places += u32::from(order == key),
            }
            self.may_repeat = true;
        }
        Ok(())
    }

    fn all(&mut self, sql: &str) -> Result<Run, CacheError> {
        let Ok(mut statement) = self.source.prepare(sql) else {
            return Ok(Run::Damaged);
        };
        let Ok(mut rows) = statement.query([]) else {
            return Ok(Run::Damaged);
        };
        self.drain(&mut rows)
    }

    fn drain(&mut self, rows: &mut rusqlite::Rows<'_>) -> Result<Run, CacheError> {
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Run::End),
                Err(_) => return Ok(Run::Damaged),
            };
            let Ok(values) = values(row, self.width) else {
                return Ok(Run::Damaged);
            };
            if !self.may_read_on() {
                return Ok(Run::Damaged);
            }
            self.store(&values)?;
        }
    }

    /// Between two damaged places attachments are found by the row they belong to.
    fn attachments_of_open_rows(&mut self) -> Result<(), CacheError> {
        if self.places == 0 {
            return Ok(());
        }
        let open: Vec<i64> = self
            .target
            .prepare("SELECT sequence FROM outbox INDEXED BY outbox_line WHERE is_open = 1")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let sql = format!(
            "SELECT {} FROM attachment WHERE transaction_sequence = ?1",
            self.columns
        );
        let Ok(mut statement) = self.source.prepare(&sql) else {
            return Ok(());
        };
        for sequence in open {
            if let Ok(mut rows) = statement.query([sequence]) {
                self.drain(&mut rows)?;
            }
        }
        Ok(())
    }
}

fn values(row: &rusqlite::Row<'_>, width: usize) -> rusqlite::Result<Vec<Value>> {
    (0..width).map(|index| row.get(index)).collect()
}

/// Counts the rows of a table of ours, or those on a condition.
fn count_rows(connection: &Connection, table: &str, condition: &str) -> Result<u64, CacheError> {
    let sql = format!("SELECT count(*) FROM {table} {condition}");
    let count = connection.query_row(&sql, [], |row| row.get(0))?;
    cache::count_of(count)
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<String>, CacheError> {
    let names = connection
        .prepare("SELECT name FROM pragma_table_info(?1)")?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(names)
}

/// Open rows that an index still names and that could not be saved.
fn open_rows_lost(source: &Connection, target: &Connection) -> Result<u64, CacheError> {
    let mut named: Vec<i64> = Vec::new();
    if let Ok(mut statement) =
        source.prepare("SELECT sequence FROM outbox INDEXED BY outbox_line WHERE is_open = 1")
        && let Ok(mut rows) = statement.query([])
    {
        while let Ok(Some(row)) = rows.next() {
            let Ok(sequence) = row.get(0) else { break };
            named.push(sequence);
        }
    }
    let mut lost = 0;
    let mut statement = target.prepare("SELECT 1 FROM outbox WHERE sequence = ?1")?;
    for sequence in named {
        lost += u64::from(!statement.exists([sequence])?);
    }
    Ok(lost)
}

/// The catalogue counts only whole: half of one would withdraw services for no reason. Returns how
/// many rows are lost; the platform has them.
fn copy_catalogue(source: &Source, target: &Connection) -> Result<u64, CacheError> {
    let mut lost = 0;
    for (table, key) in WHOLE {
        let Some(mut copy) = Copy::new(source, table, target, table)? else {
            lost += source.lost_name();
            continue;
        };
        copy.keyed(key)?;
        lost += copy.end()?;
    }
    if lost > 0 {
        for (table, _) in WHOLE {
            lost += count_rows(target, table, "")?;
        }
        target.execute_batch("DELETE FROM catalogue; DELETE FROM catalogue_item")?;
    }
    Ok(lost)
}

/// A place in the outbox is not given twice, not even one whose row is lost.
fn copy_last_sequence(source: &Connection, target: &Connection) -> Result<(), CacheError> {
    let last: Option<i64> = source
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'",
            [],
            |row| row.get(0),
        )
        .unwrap_or(None);
    let Some(last) = last else { return Ok(()) };
    let changed = target.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'outbox'",
        [last],
    )?;
    if changed == 0 {
        target.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?1)",
            [last],
        )?;
    }
    Ok(())
}

/// Rows that were saved and yet are of no use, because the row they belong to is lost.
fn rows_without_theirs(target: &Connection) -> Result<u64, CacheError> {
    let attachments = count_rows(
        target,
        "attachment",
        "WHERE transaction_sequence NOT IN (SELECT sequence FROM outbox WHERE is_open = 1)",
    )?;
    let parts = count_rows(
        target,
        "ticket_part",
        "WHERE ticket NOT IN (SELECT id FROM ticket)",
    )?;
    Ok(attachments + parts)
}

/// Puts right what lost rows leave behind: references into nothing and lines without a head.
fn mend(target: &Connection) -> Result<(), CacheError> {
    target.execute_batch(
        "BEGIN IMMEDIATE;
         DELETE FROM attachment
             WHERE transaction_sequence NOT IN (SELECT sequence FROM outbox WHERE is_open = 1);
         UPDATE print SET transaction_id = NULL
             WHERE transaction_id IS NOT NULL
               AND transaction_id NOT IN (SELECT id FROM outbox);
         UPDATE print SET reprint_of = NULL
             WHERE reprint_of IS NOT NULL AND reprint_of NOT IN (SELECT id FROM print);
         UPDATE outbox SET is_blocked = EXISTS (
                 SELECT 1 FROM outbox AS earlier INDEXED BY outbox_line
                 WHERE earlier.subject = outbox.subject AND earlier.is_open = 1
                   AND earlier.sequence < outbox.sequence)
             WHERE is_open = 1;
         COMMIT",
    )?;
    Ok(())
}

/// Moves the files back that are what their record says; returns how many.
fn move_files_back(
    target: &Connection,
    directory: &Directory,
    pending: &Pending,
) -> Result<u32, CacheError> {
    let (from, to) = (
        pending.attachments(&directory.path),
        directory.path.join(ATTACHMENTS),
    );
    cache::make_directory(&to)?;
    let mut statement = target.prepare("SELECT id, sha256, size FROM attachment")?;
    let mut rows = statement.query([])?;
    let mut moved = 0;
    while let Some(row) = rows.next()? {
        let id = Uuid::from_bytes(row.get(0)?);
        let (sha256, size): ([u8; 32], i64) = (row.get(1)?, row.get(2)?);
        let size = cache::count_of(size)?;
        // An earlier attempt may have moved it already.
        if is_whole(&file_path(&to, id), &sha256, size) {
            moved += 1;
        } else if is_whole(&file_path(&from, id), &sha256, size) {
            fs::rename(file_path(&from, id), file_path(&to, id))?;
            moved += 1;
        }
    }
    cache::sync_directory(&to)?;
    if from.exists() {
        cache::sync_directory(&from)?;
    }
    cache::sync_directory(&directory.path)?;
    Ok(moved)
}

fn is_whole(path: &Path, sha256: &[u8; 32], size: u64) -> bool {
    // The size first: a file blown up by the damage is not read into memory.
    let has_size = fs::metadata(path).is_ok_and(|found| found.len() == size);
    has_size && fs::read(path).is_ok_and(|bytes| kiosk_sealing::sha256(&bytes) == *sha256)
}

/// Rows whose content is not what was enqueued go to a person, not to the platform.
fn set_altered_aside(
    target: &Connection,
    directory: &Directory,
    now: Timestamp,
) -> Result<(), CacheError> {
    let waiting: Vec<i64> = target
        .prepare("SELECT sequence FROM outbox WHERE state <= 2")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let transaction = target.unchecked_transaction()?;
    let sql = format!("{} WHERE sequence = ?1", outbox::QUEUED);
    let mut statement = transaction.prepare(&sql)?;
    for sequence in waiting {
        let mut rows = statement.query([sequence])?;
        if let Some(row) = rows.next()?
            && let Ok(Err(altered)) = outbox::read_queued(&transaction, row)
        {
            let terminal = &directory.options.terminal;
            outbox::set_aside(&transaction, terminal, &altered, now)?;
        }
    }
    drop(statement);
    transaction.commit()?;
    Ok(())
}

/// Numbers given out may be in rows that are lost: every day goes on above all that can have been
/// given out, by what can be read and by how often this has happened.
fn raise_number_floor(target: &Connection, directory: &Path) -> Result<(), CacheError> {
    let counted: i64 = target.query_row(
        "SELECT coalesce(max(value), 0) FROM case_counter WHERE value < ?1",
        [NUMBER_MAX],
        |row| row.get(0),
    )?;
    let earlier: Option<String> = target
        .query_row(
            "SELECT value FROM setting WHERE key = ?1",
            [counter::FLOOR],
            |row| row.get(0),
        )
        .optional()?;
    let mut highest = counted.max(believed(earlier.as_deref().unwrap_or_default()));
    let mut statement = target.prepare("SELECT case_number FROM outbox")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number: String = row.get(0)?;
        highest = highest.max(believed(number.rsplit('-').next().unwrap_or_default()));
    }
    let floor = ((highest / NUMBERS_A_DAY) + 1) * NUMBERS_A_DAY;
    let floor = floor.max(i64::from(quarantine::count(directory)?) * NUMBERS_A_DAY);
    target.execute(
        "INSERT INTO setting (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![counter::FLOOR, floor.to_string()],
    )?;
    Ok(())
}

/// A number in a text, if it is one that a terminal can have given out; else 0.
fn believed(text: &str) -> i64 {
    text.parse()
        .ok()
        .filter(|number| (0..NUMBER_MAX).contains(number))
        .unwrap_or(0)
}

/// The log says what happened, after the last readable entry and beyond all that were signed.
fn record(
    target: &Connection,
    directory: &Directory,
    pending: &Pending,
    salvage: &Salvage,
    now: Timestamp,
) -> Result<(), CacheError> {
    let signed: i64 = target.query_row(
        "SELECT coalesce(max(sequence), 0) FROM audit_checkpoint",
        [],
        |row| row.get(0),
    )?;
    let detail = json!({
        "quarantined": pending.database(),
        "transactions": salvage.transactions,
        "receipts": salvage.receipts,
        "prints": salvage.prints,
        "staff_records": salvage.staff_records,
        "attachments": salvage.attachments,
        "lost_rows": salvage.lost_rows,
    });
    audit::append_after(
        target,
        &directory.options.terminal,
        &NewAudit::own("store.salvaged", TERMINAL, &detail),
        cache::count_of(signed)?,
        now,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
