//! The rows of tickets and of the parts that were replaced for them.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::{Builder, Uuid};

use super::{Level, NewTicket, Part, Ticket, TicketState, later};
use crate::CacheError;
use crate::audit::TERMINAL;
use crate::technician::{id_of, maybe_id_of, maybe_time_of, small_of, test_record, time_of};

/// The columns of a ticket, in the order of [`read`].
const TICKET: &str = "SELECT id, number, device, class, code, action, state, level, opened_at,
         respond_by, repair_by, acknowledged_at, mended_at, closed_at, acted_by, note,
         before_test, after_test, times_seen, times_reopened, revision, tests_before FROM ticket";

/// A ticket with what only the store knows of it.
pub(in crate::technician) struct Stored {
    pub(super) ticket: Ticket,
    /// Tests up to this sequence do not prove a mending.
    pub(super) tests_before: i64,
}

impl Stored {
    /// Writes everything that can change but the parts.
    pub(super) fn save(&self, connection: &Connection, now: Timestamp) -> Result<(), CacheError> {
        let ticket = &self.ticket;
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
        connection
            .prepare_cached(
                "UPDATE ticket SET state = ?2, level = ?3, respond_by = ?4, repair_by = ?5,
                     acknowledged_at = ?6, mended_at = ?7, closed_at = ?8, acted_by = ?9,
                     note = ?10, before_test = ?11, after_test = ?12, tests_before = ?13,
                     times_seen = ?14, times_reopened = ?15, revision = ?16, changed_at = ?17
                 WHERE id = ?1",
            )?
            .execute(params![
                ticket.id.as_bytes(),
                ticket.state.word(),
                ticket.level.word(),
                ticket.respond_by.as_millisecond(),
                ticket.repair_by.as_millisecond(),
                ms(ticket.acknowledged_at),
                ms(ticket.mended_at),
                ms(ticket.closed_at),
                ticket.by,
                ticket.note,
                ticket.before.as_ref().map(|test| test.id.into_bytes()),
                ticket.after.as_ref().map(|test| test.id.into_bytes()),
                self.tests_before,
                ticket.times_seen,
                ticket.times_reopened,
                ticket.revision,
                now.as_millisecond(),
            ])?;
        Ok(())
    }
}

/// A new ticket, with the next number of the terminal.
pub(super) fn insert(
    connection: &Connection,
    terminal: &str,
    new: &NewTicket,
    now: Timestamp,
) -> Result<Uuid, CacheError> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'ticket'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let sequence = last
        .unwrap_or(0)
        .checked_add(1)
        .ok_or(CacheError::OutOfRange {
            what: "number of a ticket",
        })?;
    let number = if terminal.is_empty() {
        format!("{sequence:04}")
    } else {
        format!("{terminal}-{sequence:04}")
    };
    let id = mint(&number, new, now);
    connection
        .prepare_cached(
            "INSERT INTO ticket (sequence, id, number, device, class, code, action, state, level,
                 opened_at, respond_by, repair_by, acted_by, note, before_test, tests_before,
                 times_seen, times_reopened, revision, changed_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open', ?8, ?9, ?10, ?11, ?12, '', ?13, ?14,
                 1, 0, 1, ?9)",
        )?
        .execute(params![
            sequence,
            id.as_bytes(),
            number,
            new.device,
            new.class,
            new.code,
            new.action,
            new.level.word(),
            now.as_millisecond(),
            later(now, new.sla.respond).as_millisecond(),
            later(now, new.sla.repair).as_millisecond(),
            TERMINAL,
            new.before.as_ref().map(Uuid::as_bytes),
            test_record::last_sequence(connection)?,
        ])?;
    Ok(id)
}

/// An id in the form of version 7. Its random part is a digest of the number, which no other
/// ticket of any terminal has, and of what tells two lives of one terminal's store apart.
fn mint(number: &str, new: &NewTicket, now: Timestamp) -> Uuid {
    let seed = format!(
        "ticket\0{number}\0{}\0{}\0{}",
        new.device,
        new.code,
        now.as_nanosecond()
    );
    let digest = kiosk_sealing::sha256(seed.as_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// A ticket by its id.
pub(in crate::technician) fn find(connection: &Connection, id: Uuid) -> Result<Stored, CacheError> {
    let mut statement = connection.prepare_cached(&format!("{TICKET} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_bytes()])?;
    match rows.next()? {
        Some(row) => read(connection, row),
        None => Err(CacheError::UnknownTicket { id }),
    }
}

/// The newest ticket of a fault: the one that is open, if one is.
pub(super) fn newest_of(
    connection: &Connection,
    device: &str,
    code: &str,
) -> Result<Option<Stored>, CacheError> {
    let sql = format!(
        "{TICKET} INDEXED BY ticket_of_fault WHERE device = ?1 AND code = ?2
         ORDER BY sequence DESC LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([device, code])?;
    rows.next()?.map(|row| read(connection, row)).transpose()
}

/// Tickets as the end of a statement says.
pub(super) fn list(
    connection: &Connection,
    which: &str,
    limit: u32,
) -> Result<Vec<Ticket>, CacheError> {
    let mut statement = connection.prepare_cached(&format!("{TICKET} {which} LIMIT ?1"))?;
    let mut rows = statement.query([limit])?;
    let mut tickets = Vec::new();
    while let Some(row) = rows.next()? {
        tickets.push(read(connection, row)?.ticket);
    }
    Ok(tickets)
}

/// Stores the last of a ticket's parts.
pub(super) fn add_part(connection: &Connection, ticket: &Ticket) -> Result<(), CacheError> {
    let Some((position, part)) = ticket.parts.iter().enumerate().next_back() else {
        return Ok(());
    };
    let position = i64::try_from(position).map_err(|_| CacheError::OutOfRange {
        what: "number of parts",
    })?;
    connection
        .prepare_cached(
            "INSERT INTO ticket_part (ticket, position, what, old_serial, new_serial)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            ticket.id.as_bytes(),
            position,
            part.what,
            part.old_serial,
            part.new_serial,
        ])?;
    Ok(())
}

/// The platform has this revision, or a newer one already.
pub(super) fn reported(connection: &Connection, id: Uuid, revision: u32) -> Result<(), CacheError> {
    let changed = connection
        .prepare_cached(
            "UPDATE ticket SET reported_revision = max(reported_revision, min(?2, revision))
             WHERE id = ?1",
        )?
        .execute(params![id.as_bytes(), revision])?;
    if changed == 0 {
        return Err(CacheError::UnknownTicket { id });
    }
    Ok(())
}

fn read(connection: &Connection, row: &Row<'_>) -> Result<Stored, CacheError> {
    let id = id_of(row, 0)?;
    let (state, level): (String, String) = (row.get(6)?, row.get(7)?);
    let test = |index| -> Result<_, CacheError> {
        let Some(id) = maybe_id_of(row, index)? else {
            return Ok(None);
        };
        Ok(test_record::find(connection, id)?.map(|(_, record)| record))
    };
    Ok(Stored {
        ticket: Ticket {
            id,
            number: row.get(1)?,
            device: row.get(2)?,
            class: row.get(3)?,
            code: row.get(4)?,
            action: row.get(5)?,
            state: TicketState::from_word(&state)?,
            level: Level::from_word(&level)?,
            opened_at: time_of(row, 8)?,
            respond_by: time_of(row, 9)?,
            repair_by: time_of(row, 10)?,
            acknowledged_at: maybe_time_of(row, 11)?,
            mended_at: maybe_time_of(row, 12)?,
            closed_at: maybe_time_of(row, 13)?,
            by: row.get(14)?,
            note: row.get(15)?,
            parts: parts(connection, id)?,
            before: test(16)?,
            after: test(17)?,
            times_seen: small_of(row, 18)?,
            times_reopened: small_of(row, 19)?,
            revision: small_of(row, 20)?,
        },
        tests_before: row.get(21)?,
    })
}

fn parts(connection: &Connection, id: Uuid) -> Result<Vec<Part>, CacheError> {
    let mut statement = connection.prepare_cached(
        "SELECT what, old_serial, new_serial FROM ticket_part WHERE ticket = ?1 ORDER BY position",
    )?;
    let mut rows = statement.query([id.as_bytes()])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        parts.push(Part {
            what: row.get(0)?,
            old_serial: row.get(1)?,
            new_serial: row.get(2)?,
        });
    }
    Ok(parts)
}
