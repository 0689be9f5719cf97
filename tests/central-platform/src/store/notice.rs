//! Notices that wait to be sent: written with what they are about, in one commit, so that none is
//! forgotten and none is told of something that did not happen.

use jiff::Timestamp;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::config::Webhook;
use crate::database::{Database, Value};
use crate::webhooks::{LIFE, WAITING_MAX};

/// How long whoever sends a notice has it for itself, in seconds: longer than sending may take.
const LEASE_S: i64 = 30;

/// A notice that is to be sent now.
pub(crate) struct DueNotice {
    pub(crate) position: u64,
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) tries: u64,
}

impl Store {
    /// The oldest notice of an address, when its time has come; nobody else gets it for a while.
    /// What was tried for too long is given up.
    pub(crate) fn due_notice(
        &mut self,
        hook: &str,
        now: Timestamp,
    ) -> Result<Option<DueNotice>, StoreError> {
        let now_s = now.as_second();
        self.database.transaction(|database| {
            let given_up = database.execute(
                "DELETE FROM notice WHERE hook = ?1 AND made_s < ?2",
                &[
                    Value::Text(hook),
                    Value::Integer(now_s.saturating_sub(LIFE.as_secs())),
                ],
            )?;
            if given_up > 0 {
                tracing::error!(
                    given_up,
                    "notices that nobody took for a week were given up"
                );
            }
            let row = database.query_one(
                "SELECT position, id, body, tries, next_s FROM notice WHERE hook = ?1
                 ORDER BY position LIMIT 1",
                &[Value::Text(hook)],
            )?;
            let Some(row) = row.filter(|row| row.integer(4).is_ok_and(|next| next <= now_s)) else {
                return Ok(None);
            };
            database.execute(
                "UPDATE notice SET next_s = ?2 WHERE position = ?1",
                &[
                    Value::Integer(row.integer(0)?),
                    Value::Integer(now_s.saturating_add(LEASE_S)),
                ],
            )?;
            Ok(Some(DueNotice {
                position: row.count(0)?,
                id: row.text(1)?,
                body: row.text(2)?,
                tries: row.count(3)?,
            }))
        })
    }

    /// Forgets a notice that was taken.
    pub(crate) fn drop_notice(&mut self, position: u64) -> Result<(), StoreError> {
        self.database.execute(
            "DELETE FROM notice WHERE position = ?1",
            &[crate::database::stored(position)],
        )?;
        Ok(())
    }

    /// Puts off a notice that was not taken.
    pub(crate) fn delay_notice(&mut self, position: u64, next_s: i64) -> Result<(), StoreError> {
        self.database.execute(
            "UPDATE notice SET tries = tries + 1, next_s = ?2 WHERE position = ?1",
            &[crate::database::stored(position), Value::Integer(next_s)],
        )?;
        Ok(())
    }
}

/// Writes a notice for an address; beyond what may wait there it is lost, and said in the log.
pub(super) fn add(
    database: &mut Database,
    hook: &Webhook,
    body: &Json,
    now: Timestamp,
) -> Result<(), StoreError> {
    let written = database.execute(
        "INSERT INTO notice (hook, id, body, made_s, tries, next_s)
         SELECT ?1, ?2, ?3, ?4, 0, 0
         WHERE (SELECT COUNT(*) FROM notice WHERE hook = ?1) < ?5",
        &[
            Value::Text(&hook.url),
            Value::Text(&Uuid::now_v7().to_string()),
            Value::Text(&body.to_string()),
            Value::Integer(now.as_second()),
            Value::Integer(WAITING_MAX),
        ],
    )?;
    if written == 0 {
        tracing::error!("too many notices wait at one address; one was dropped");
    }
    Ok(())
}
