//! The tickets of the terminals: of each the newest revision, whatever order they came in.

use jiff::Timestamp;
use serde::Serialize;

use super::{ROWS_MAX, Store, StoreError, notice, standing};
use crate::config::Webhook;
use crate::database::{Database, Row, Value};
use crate::tickets::Ticket;
use crate::webhooks::{TicketNews, of_ticket};

/// What became of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is the newest.
    Stored,
    /// It, or a newer one, was there.
    Known,
    /// The ticket is one of another terminal.
    OfAnother,
}

/// A ticket as it is shown.
#[derive(Serialize)]
pub(crate) struct KeptTicket {
    pub(crate) terminal: String,
    pub(crate) received_at: String,
    /// How often any revision of it arrived.
    pub(crate) times_received: u64,
    pub(crate) ticket: Ticket,
}

impl Store {
    /// Keeps a revision of a ticket when it is the newest.
    pub(crate) fn keep_ticket(
        &mut self,
        terminal: &str,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        let (id, at) = (ticket.id.to_string(), now.to_string());
        let (document, opened_at) = (serde_json::to_string(ticket)?, ticket.opened_at.to_string());
        let revision = i64::from(ticket.revision);
        let values = [
            Value::Text(&id),
            Value::Text(terminal),
            Value::Integer(revision),
            Value::Integer(ticket.state.is_open().into()),
            Value::Text(&document),
            Value::Text(&at),
            Value::Text(ticket.state.word()),
            Value::Text(ticket.level.word()),
            Value::Text(&opened_at),
            Value::Integer(ticket.respond_by.as_second()),
            Value::Integer(ticket.repair_by.as_second()),
        ];
        let Self {
            database, hooks, ..
        } = self;
        database.transaction(|database| {
            let known = database.query_one(
                "SELECT terminal, revision, state, level FROM ticket WHERE id = ?1",
                &values[..1],
            )?;
            let Some(known) = known else {
                database.execute(
                    "INSERT INTO ticket (id, terminal, revision, is_open, document, received_at,
                        times_received, state, level, opened_at, respond_by_s, repair_by_s)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, ?11)",
                    &values,
                )?;
                tell(database, hooks, terminal, None, ticket, now)?;
                return Ok(Kept::Stored);
            };
            if known.text(0)? != terminal {
                return Ok(Kept::OfAnother);
            }
            database.execute(
                "UPDATE ticket SET times_received = times_received + 1 WHERE id = ?1",
                &values[..1],
            )?;
            if known.integer(1)? >= revision {
                return Ok(Kept::Known);
            }
            database.execute(
                "UPDATE ticket SET revision = ?3, is_open = ?4, document = ?5, received_at = ?6,
                    state = ?7, level = ?8, opened_at = ?9, respond_by_s = ?10, repair_by_s = ?11
                 WHERE id = ?1 AND terminal = ?2",
                &values,
            )?;
            let before = (known.text(2)?, known.text(3)?);
            let before = Some((before.0.as_str(), before.1.as_str()));
            tell(database, hooks, terminal, before, ticket, now)?;
            Ok(Kept::Stored)
        })
    }

    /// Tickets, newest first: of one terminal or of all (an empty name), and of these all or those
    /// whose fault is still there.
    pub(crate) fn tickets(
        &mut self,
        terminal: &str,
        is_open_only: bool,
    ) -> Result<Vec<KeptTicket>, StoreError> {
        let rows = self.database.query(
            "SELECT terminal, received_at, times_received, document FROM ticket
             WHERE (?1 = '' OR terminal = ?1) AND is_open >= ?2
             ORDER BY position DESC LIMIT ?3",
            &[
                Value::Text(terminal),
                Value::Integer(is_open_only.into()),
                Value::Integer(ROWS_MAX),
            ],
        )?;
        rows.iter().map(kept).collect()
    }
}

/// Tells those who want to hear of a ticket what is new about it.
fn tell(
    database: &mut Database,
    hooks: &[Webhook],
    terminal: &str,
    before: Option<(&str, &str)>,
    ticket: &Ticket,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(news) = TicketNews::of(before, ticket).filter(|_| !hooks.is_empty()) else {
        return Ok(());
    };
    let place = standing::place_of(database, terminal)?;
    let body = of_ticket(news, &place, ticket);
    for hook in hooks {
        if hook.wants(ticket.level.word(), &place.region) {
            notice::add(database, hook, &body, now)?;
        }
    }
    Ok(())
}

fn kept(row: &Row) -> Result<KeptTicket, StoreError> {
    Ok(KeptTicket {
        terminal: row.text(0)?,
        received_at: row.text(1)?,
        times_received: row.count(2)?,
        ticket: serde_json::from_str(&row.text(3)?)?,
    })
}
