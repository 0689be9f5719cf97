//! The print ledger: what was to be printed, how far it came, and whether it was taken. It
//! survives a power cut, so that a jam resumes at the right page, a spoiled sheet is counted and
//! a second copy is marked as one.
//!
//! A print goes prepared → printing → presented → taken, and may be spoiled on the way; every
//! other step is refused. A slip that speaks of a transaction needs the transaction's record.

use std::fmt;

use jiff::Timestamp;
use rusqlite::{Row, TransactionBehavior, params};
use uuid::Uuid;

use crate::CacheError;
use crate::cache::{Cache, bounded_text, timestamp};
use crate::outbox::{arrival, id_of};

const COLUMNS: &str = "id, transaction_id, case_number, kind, digest, pages, first_page, copy_no,
    reprint_of, state, pages_done, code, prepared_at, changed_at";

/// Most prints listed at once; a visit prints a handful.
const ROWS_MAX: i64 = 1_000;

/// Where a print stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrintState {
    /// Rendered and recorded; nothing was sent to a printer.
    Prepared,
    /// The printer has it; some paper may be out.
    Printing,
    /// All paper is out and lies in the tray.
    Presented,
    /// The paper left the tray.
    Taken,
    /// Given up: jam, cut power, unreadable; sheets that came out are void.
    Spoiled,
}

impl PrintState {
    fn word(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Printing => "printing",
            Self::Presented => "presented",
            Self::Taken => "taken",
            Self::Spoiled => "spoiled",
        }
    }

    fn from_word(word: &str) -> Result<Self, CacheError> {
        match word {
            "prepared" => Ok(Self::Prepared),
            "printing" => Ok(Self::Printing),
            "presented" => Ok(Self::Presented),
            "taken" => Ok(Self::Taken),
            "spoiled" => Ok(Self::Spoiled),
            _ => Err(CacheError::Inconsistent {
                what: "print state",
            }),
        }
    }

    fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Prepared, Self::Printing | Self::Spoiled)
                | (Self::Printing, Self::Presented | Self::Spoiled)
                | (Self::Presented, Self::Taken | Self::Spoiled)
        )
    }
}

impl fmt::Display for PrintState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// What kind of paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrintKind {
    /// A slip from the roll.
    Slip,
    /// Sheets of A4.
    Page,
}

impl PrintKind {
    fn word(self) -> &'static str {
        match self {
            Self::Slip => "slip",
            Self::Page => "page",
        }
    }

    fn from_word(word: &str) -> Result<Self, CacheError> {
        match word {
            "slip" => Ok(Self::Slip),
            "page" => Ok(Self::Page),
            _ => Err(CacheError::Inconsistent { what: "print kind" }),
        }
    }
}

/// A print about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPrint {
    /// Minted by the caller.
    pub id: Uuid,
    /// The transaction the slip speaks of; must be in the outbox already.
    pub transaction_id: Option<Uuid>,
    /// The case number printed on it, if any.
    pub case_number: Option<String>,
    /// Slip or pages.
    pub kind: PrintKind,
    /// SHA-256 of what is printed.
    pub digest: [u8; 32],
    /// Pages of the document, from 1.
    pub pages: u32,
    /// First page to print, from 1; later than 1 when a jam is resumed.
    pub first_page: u32,
    /// 1 for the original, 2 and more for copies marked 补打.
    pub copy_no: u32,
    /// The print this one repeats or resumes.
    pub reprint_of: Option<Uuid>,
}

/// A print in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What was asked for.
    pub print: NewPrint,
    /// Where it stands.
    pub state: PrintState,
    /// The last page known to be out, counted in the document; 0 when none is.
    pub pages_done: u32,
    /// Problem code, when it was spoiled or stopped.
    pub code: Option<String>,
    /// When it was prepared.
    pub prepared_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
}

impl Cache {
    /// Records a print before the printer hears of it. The same call again is harmless.
    ///
    /// # Errors
    /// `NoRecord` when the transaction is not in the outbox: the slip must not be printed;
    /// `OutOfRange` for impossible pages or a reused id; `DiskFull`, `Store`.
    pub fn prepare_print(&mut self, print: &NewPrint, now: Timestamp) -> Result<(), CacheError> {
        let has_valid_pages =
            print.pages >= 1 && (1..=print.pages).contains(&print.first_page) && print.copy_no >= 1;
        if !has_valid_pages {
            return Err(CacheError::OutOfRange { what: "pages" });
        }
        if let Some(case_number) = &print.case_number {
            bounded_text(case_number, "case number")?;
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(earlier) = find(&transaction, print.id)? {
            if earlier.print == *print {
                return Ok(());
            }
            return Err(CacheError::OutOfRange {
                what: "reused print id",
            });
        }
        if let Some(id) = print.transaction_id {
            arrival::place(&transaction)?;
            let has_record = transaction
                .prepare_cached("SELECT 1 FROM outbox WHERE id = ?1")?
                .exists([id.as_bytes()])?;
            if !has_record {
                return Err(CacheError::NoRecord { id: print.id });
            }
        }
        if let Some(id) = print.reprint_of
            && find(&transaction, id)?.is_none()
        {
            return Err(CacheError::UnknownPrint { id });
        }
        transaction.execute(
            "INSERT INTO print (id, transaction_id, case_number, kind, digest, pages, first_page,
                 copy_no, reprint_of, state, prepared_at, changed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'prepared', ?10, ?10)",
            params![
                print.id.as_bytes(),
                print.transaction_id.as_ref().map(Uuid::as_bytes),
                print.case_number,
                print.kind.word(),
                print.digest,
                print.pages,
                print.first_page,
                print.copy_no,
                print.reprint_of.as_ref().map(Uuid::as_bytes),
                now.as_millisecond(),
            ],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Moves a print on; to the state it is in already is harmless. `code` is the problem code
    /// of a spoiled print.
    ///
    /// # Errors
    /// `UnknownPrint`; `IllegalTransition`; `OutOfRange` for an overlong code; `DiskFull`,
    /// `Store`.
    pub fn advance_print(
        &mut self,
        id: Uuid,
        to: PrintState,
        code: Option<&str>,
        now: Timestamp,
    ) -> Result<(), CacheError> {
        if let Some(code) = code {
            bounded_text(code, "problem code")?;
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = find(&transaction, id)?
            .ok_or(CacheError::UnknownPrint { id })?
            .state;
        if from == to {
            return Ok(());
        }
        if !from.may_become(to) {
            return Err(CacheError::IllegalTransition { from, to });
        }
        transaction.execute(
            "UPDATE print SET state = ?2, changed_at = ?3, code = coalesce(?4, code),
                 pages_done = CASE ?2 WHEN 'presented' THEN pages ELSE pages_done END
             WHERE id = ?1",
            params![id.as_bytes(), to.word(), now.as_millisecond(), code],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// Records the last page known to be out, so that a resumed print starts after it. A page
    /// that is out does not go back in: a lower number changes nothing.
    ///
    /// # Errors
    /// `UnknownPrint` when it is not printing; `OutOfRange` beyond the document; `Store`.
    pub fn record_pages_done(&mut self, id: Uuid, pages_done: u32) -> Result<(), CacheError> {
        let entry = find(&self.connection, id)?
            .filter(|entry| entry.state == PrintState::Printing)
            .ok_or(CacheError::UnknownPrint { id })?;
        if pages_done > entry.print.pages {
            return Err(CacheError::OutOfRange { what: "pages" });
        }
        self.connection.execute(
            "UPDATE print SET pages_done = max(pages_done, ?2) WHERE id = ?1",
            params![id.as_bytes(), pages_done],
        )?;
        Ok(())
    }

    /// One print of the ledger.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when the row cannot be understood.
    pub fn print(&self, id: Uuid) -> Result<Option<LedgerEntry>, CacheError> {
        find(&self.connection, id)
    }

    /// Prints a power cut or a crash left unfinished, oldest first. Ask at start: `Prepared` may
    /// be printed, `Printing` and `Presented` are to be looked at, then spoiled or taken.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn unfinished_prints(&self) -> Result<Vec<LedgerEntry>, CacheError> {
        self.entries(
            "WHERE state IN ('prepared', 'printing', 'presented')
             ORDER BY prepared_at, id LIMIT ?1",
            &[&ROWS_MAX],
        )
    }

    /// All prints of a case number, oldest first.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn prints_of_case(&self, case_number: &str) -> Result<Vec<LedgerEntry>, CacheError> {
        self.entries(
            "WHERE case_number = ?2 ORDER BY prepared_at, copy_no, id LIMIT ?1",
            &[&ROWS_MAX, &case_number],
        )
    }

    /// The newest prints, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Store` when the database fails, `Inconsistent` when a row cannot be understood.
    pub fn recent_prints(&self, limit: u32) -> Result<Vec<LedgerEntry>, CacheError> {
        self.entries("ORDER BY prepared_at DESC, id DESC LIMIT ?1", &[&limit])
    }

    fn entries(
        &self,
        condition: &str,
        parameters: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<LedgerEntry>, CacheError> {
        let mut statement = self
            .connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM print {condition}"))?;
        let mut rows = statement.query(parameters)?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(read(row)?);
        }
        Ok(entries)
    }
}

fn find(connection: &rusqlite::Connection, id: Uuid) -> Result<Option<LedgerEntry>, CacheError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM print WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    rows.next()?.map(read).transpose()
}

fn read(row: &Row<'_>) -> Result<LedgerEntry, CacheError> {
    let optional_id = |index| -> Result<Option<Uuid>, CacheError> {
        let bytes: Option<[u8; 16]> = row.get(index)?;
        Ok(bytes.map(Uuid::from_bytes))
    };
    Ok(LedgerEntry {
        print: NewPrint {
            id: id_of(row, 0)?,
            transaction_id: optional_id(1)?,
            case_number: row.get(2)?,
            kind: PrintKind::from_word(&row.get::<_, String>(3)?)?,
            digest: row.get(4)?,
            pages: row.get(5)?,
            first_page: row.get(6)?,
            copy_no: row.get(7)?,
            reprint_of: optional_id(8)?,
        },
        state: PrintState::from_word(&row.get::<_, String>(9)?)?,
        pages_done: row.get(10)?,
        code: row.get(11)?,
        prepared_at: timestamp(row.get(12)?)?,
        changed_at: timestamp(row.get(13)?)?,
    })
}

#[cfg(test)]
mod tests {
    use PrintState::{Prepared, Presented, Printing, Spoiled, Taken};

    use super::*;
    use crate::cache::tests::{at, enqueue_sample, scratch};

    fn slip(number: u128, transaction_id: Option<Uuid>) -> NewPrint {
        NewPrint {
            id: Uuid::from_u128(number),
            transaction_id,
            case_number: Some("T1-20261122-0001".to_owned()),
            kind: PrintKind::Slip,
            digest: [9; 32],
            pages: 3,
            first_page: 1,
            copy_no: 1,
            reprint_of: None,
        }
    }

    #[test]
    fn no_slip_without_its_durable_record() {
        let mut scratch = scratch();
        let missing = slip(1, Some(Uuid::from_u128(99)));
        let error = scratch.cache.prepare_print(&missing, at(0)).unwrap_err();
        assert_eq!(error.code(), "queue.no-record");
        let id = enqueue_sample(&mut scratch.cache, 1);
        scratch
            .cache
            .prepare_print(&slip(1, Some(id)), at(0))
            .unwrap();
    }

    #[test]
    fn only_legal_steps_are_taken() {
        let all = [Prepared, Printing, Presented, Taken, Spoiled];
        let legal = [
            (Prepared, Printing),
            (Prepared, Spoiled),
            (Printing, Presented),
            (Printing, Spoiled),
            (Presented, Taken),
            (Presented, Spoiled),
        ];
        let mut scratch = scratch();
        let mut number = 0;
        for from in all {
            for to in all {
                number += 1;
                let print = slip(number, None);
                scratch.cache.prepare_print(&print, at(0)).unwrap();
                let path: &[PrintState] = match from {
                    Prepared => &[],
                    Printing => &[Printing],
                    Presented => &[Printing, Presented],
                    Taken => &[Printing, Presented, Taken],
                    Spoiled => &[Spoiled],
                };
                for step in path {
                    scratch
                        .cache
                        .advance_print(print.id, *step, None, at(1))
                        .unwrap();
                }
                let outcome = scratch.cache.advance_print(print.id, to, None, at(2));
                assert_eq!(
                    outcome.is_ok(),
                    from == to || legal.contains(&(from, to)),
                    "{from} to {to}"
                );
            }
        }
    }

    #[test]
    fn an_interrupted_print_is_found_at_start_with_its_page() {
        let mut scratch = scratch();
        let print = slip(1, None);
        scratch.cache.prepare_print(&print, at(0)).unwrap();
        scratch
            .cache
            .advance_print(print.id, Printing, None, at(1))
            .unwrap();
        scratch.cache.record_pages_done(print.id, 2).unwrap();
        scratch.cache.record_pages_done(print.id, 1).unwrap();
        assert!(scratch.cache.record_pages_done(print.id, 4).is_err());
        let mut scratch = scratch.reopen();
        let unfinished = scratch.cache.unfinished_prints().unwrap();
        assert_eq!(unfinished.len(), 1);
        assert_eq!(
            (unfinished[0].state, unfinished[0].pages_done),
            (Printing, 2)
        );

        scratch
            .cache
            .advance_print(print.id, Spoiled, Some("printer.media-jam"), at(2))
            .unwrap();
        let resumed = NewPrint {
            id: Uuid::from_u128(2),
            first_page: 3,
            reprint_of: Some(print.id),
            ..print
        };
        scratch.cache.prepare_print(&resumed, at(3)).unwrap();
        let prints = scratch.cache.prints_of_case("T1-20261122-0001").unwrap();
        assert_eq!(prints.len(), 2);
        assert_eq!(prints[0].code.as_deref(), Some("printer.media-jam"));
        assert_eq!(prints[1].print, resumed);
        assert_eq!(scratch.cache.unfinished_prints().unwrap().len(), 1);
        assert_eq!(
            scratch.cache.recent_prints(1).unwrap()[0].print.id,
            resumed.id
        );
    }

    #[test]
    fn preparing_again_is_harmless_and_another_print_under_the_same_id_is_refused() {
        let mut scratch = scratch();
        let print = slip(1, None);
        scratch.cache.prepare_print(&print, at(0)).unwrap();
        scratch.cache.prepare_print(&print, at(9)).unwrap();
        let entry = scratch.cache.print(print.id).unwrap().unwrap();
        assert_eq!(entry.prepared_at, at(0));
        let other = NewPrint {
            copy_no: 2,
            ..print
        };
        let error = scratch.cache.prepare_print(&other, at(9)).unwrap_err();
        assert_eq!(error.code(), "queue.out-of-range");
    }

    #[test]
    fn impossible_pages_are_refused() {
        let mut scratch = scratch();
        for (pages, first_page, copy_no) in [(0, 1, 1), (3, 0, 1), (3, 4, 1), (3, 1, 0)] {
            let print = NewPrint {
                pages,
                first_page,
                copy_no,
                ..slip(1, None)
            };
            assert!(scratch.cache.prepare_print(&print, at(0)).is_err());
        }
    }
}
