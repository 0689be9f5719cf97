//! What administrators did: who, what, when, at which terminal, and how it ended. An entry is
//! durable before the act begins, so that nothing takes effect that is not in the log.

use jiff::Timestamp;
use serde::Serialize;

use super::{Store, StoreError};
use crate::database::Value;

/// Entries of one answer.
const ENTRIES_MAX: i64 = 500;

/// What an administrator is about to do.
#[derive(Debug, Default)]
pub(crate) struct NewAct<'a> {
    pub(crate) who: &'a str,
    pub(crate) act: &'a str,
    pub(crate) terminal: &'a str,
    pub(crate) detail: &'a str,
}

/// One entry, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct LoggedAct {
    pub(crate) position: u64,
    pub(crate) at: String,
    pub(crate) who: String,
    pub(crate) act: String,
    pub(crate) terminal: String,
    pub(crate) detail: String,
    /// HTTP status; 0 where the platform died before there was one.
    pub(crate) status: u64,
}

impl Store {
    /// Notes what is about to be done; says under which number.
    pub(crate) fn begin_act(
        &mut self,
        act: &NewAct<'_>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let row = self.database.query_one(
            "INSERT INTO admin_log (at, who, act, terminal, detail, status)
             VALUES (?1, ?2, ?3, ?4, ?5, 0) RETURNING position",
            &[
                Value::Text(&now.to_string()),
                Value::Text(act.who),
                Value::Text(act.act),
                Value::Text(act.terminal),
                Value::Text(act.detail),
            ],
        )?;
        Ok(row.map_or(Ok(0), |row| row.count(0))?)
    }

    /// Notes how it ended.
    pub(crate) fn end_act(&mut self, position: u64, status: u16) -> Result<(), StoreError> {
        self.database.execute(
            "UPDATE admin_log SET status = ?2 WHERE position = ?1",
            &[
                Value::Integer(i64::try_from(position).unwrap_or(0)),
                Value::Integer(status.into()),
            ],
        )?;
        Ok(())
    }

    /// Entries, newest first; of those before a number, or the newest of all for 0.
    pub(crate) fn acts(&mut self, before: u64) -> Result<Vec<LoggedAct>, StoreError> {
        let before = i64::try_from(before).ok().filter(|before| *before > 0);
        let rows = self.database.query(
            "SELECT position, at, who, act, terminal, detail, status FROM admin_log
             WHERE position < ?1 ORDER BY position DESC LIMIT ?2",
            &[
                Value::Integer(before.unwrap_or(i64::MAX)),
                Value::Integer(ENTRIES_MAX),
            ],
        )?;
        rows.iter()
            .map(|row| {
                Ok(LoggedAct {
                    position: row.count(0)?,
                    at: row.text(1)?,
                    who: row.text(2)?,
                    act: row.text(3)?,
                    terminal: row.text(4)?,
                    detail: row.text(5)?,
                    status: row.count(6)?,
                })
            })
            .collect()
    }
}
