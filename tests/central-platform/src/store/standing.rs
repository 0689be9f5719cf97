//! How terminals stand, read in pages so that twenty thousand of them never lie in memory as
//! documents; where they were placed; how many cases each had by month.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Store, StoreError};
use crate::database::{Database, Row, Value};
use crate::messages::Heartbeat;
use crate::standing::{LEVELS, Place, Standing, local_day};
use crate::telemetry;

/// Terminals of one page: at most 128 KiB each as they are stored.
const PAGE_ROWS: i64 = 200;
/// Rows of one answer of a data pack.
const PACK_ROWS: i64 = 5000;
/// Most rows of one terminal's counts: ten years of every item.
const COUNTS_MAX: i64 = 10_000;

/// Cases of a terminal, an item and a month.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CaseCount {
    pub(crate) month: String,
    pub(crate) terminal: String,
    pub(crate) item: String,
    pub(crate) cases: u64,
}

/// A ticket of a month's data pack: when and what, never who or in which words.
#[derive(Debug, Serialize)]
pub(crate) struct TicketLine {
    pub(crate) position: u64,
    pub(crate) terminal: String,
    pub(crate) number: String,
    pub(crate) class: String,
    pub(crate) code: String,
    pub(crate) level: String,
    pub(crate) state: String,
    pub(crate) opened_at: String,
    pub(crate) mended_at: String,
    pub(crate) closed_at: String,
    pub(crate) times_reopened: u32,
}

impl Store {
    /// The terminals after one of them, by number, and how each stands; none after the last.
    pub(crate) fn standings(
        &mut self,
        after: &str,
        now: Timestamp,
    ) -> Result<Vec<Standing>, StoreError> {
        let year = local_day(now).year().to_string();
        let database = &mut self.database;
        let rows = database.query(
            "SELECT p.terminal, p.region, p.site, p.installed_on, p.target, h.received_at,
                    h.document, COALESCE(t.metrics, ''), COALESCE(d.version, 0),
                    COALESCE(c.cases, 0), COALESCE(i.certificate_until, '')
             FROM terminal_place p
             LEFT JOIN installation i ON i.terminal = p.terminal
             LEFT JOIN heartbeat h ON h.terminal = p.terminal
             LEFT JOIN telemetry t ON t.terminal = p.terminal
             LEFT JOIN desired_state d ON d.terminal = p.terminal
             LEFT JOIN case_count c ON c.terminal = p.terminal AND c.period = ?2 AND c.item = ''
             WHERE p.terminal > ?1 ORDER BY p.terminal LIMIT ?3",
            &[
                Value::Text(after),
                Value::Text(&year),
                Value::Integer(PAGE_ROWS),
            ],
        )?;
        let mut page: Vec<Standing> = rows.iter().map(standing).collect::<Result<_, _>>()?;
        complete(database, after, &mut page, now)?;
        Ok(page)
    }

    /// How one terminal stands.
    pub(crate) fn standing(
        &mut self,
        terminal: &str,
        now: Timestamp,
    ) -> Result<Option<Standing>, StoreError> {
        let row = self.database.query_one(
            "SELECT COALESCE(MAX(terminal), '') FROM terminal_place WHERE terminal < ?1",
            &[Value::Text(terminal)],
        )?;
        let before = row.map_or(Ok(String::new()), |row| row.text(0))?;
        let page = self.standings(&before, now)?;
        Ok(page
            .into_iter()
            .find(|each| each.place.terminal == terminal))
    }

    /// Says where a terminal stands, in place of what was said before.
    pub(crate) fn set_place(&mut self, place: &Place) -> Result<(), StoreError> {
        set_place(&mut self.database, place)
    }

    /// The region of a terminal; empty where nobody said.
    pub(crate) fn region(&mut self, terminal: &str) -> Result<String, StoreError> {
        let row = self.database.query_one(
            "SELECT region FROM terminal_place WHERE terminal = ?1",
            &[Value::Text(terminal)],
        )?;
        Ok(row.map_or(Ok(String::new()), |row| row.text(0))?)
    }

    /// Cases of one terminal by month and item, in a year.
    pub(crate) fn cases_of(
        &mut self,
        terminal: &str,
        year: &str,
    ) -> Result<Vec<CaseCount>, StoreError> {
        let rows = self.database.query(
            "SELECT period, terminal, item, cases FROM case_count
             WHERE terminal = ?1 AND item <> '' AND period LIKE ?2
             ORDER BY period, item LIMIT ?3",
            &[
                Value::Text(terminal),
                Value::Text(&format!("{year}-%")),
                Value::Integer(COUNTS_MAX),
            ],
        )?;
        rows.iter().map(case_count).collect()
    }

    /// Cases of each terminal in a year, of those after one of them.
    pub(crate) fn year_cases(
        &mut self,
        year: &str,
        after: &str,
    ) -> Result<Vec<(Place, u64)>, StoreError> {
        let rows = self.database.query(
            "SELECT p.terminal, p.region, p.site, p.installed_on, p.target, COALESCE(c.cases, 0)
             FROM terminal_place p
             LEFT JOIN case_count c ON c.terminal = p.terminal AND c.period = ?2 AND c.item = ''
             WHERE p.terminal > ?1 ORDER BY p.terminal LIMIT ?3",
            &[
                Value::Text(after),
                Value::Text(year),
                Value::Integer(PACK_ROWS),
            ],
        )?;
        rows.iter()
            .map(|row| Ok((place(row)?, row.count(5)?)))
            .collect()
    }

    /// Cases of a month by item and terminal, of those after a pair of them.
    pub(crate) fn month_cases(
        &mut self,
        month: &str,
        after: (&str, &str),
    ) -> Result<Vec<CaseCount>, StoreError> {
        let rows = self.database.query(
            "SELECT period, terminal, item, cases FROM case_count
             WHERE period = ?1 AND (item > ?2 OR (item = ?2 AND terminal > ?3))
             ORDER BY item, terminal LIMIT ?4",
            &[
                Value::Text(month),
                Value::Text(after.0),
                Value::Text(after.1),
                Value::Integer(PACK_ROWS),
            ],
        )?;
        rows.iter().map(case_count).collect()
    }

    /// Tickets that were opened in a month, of those after one of them.
    pub(crate) fn month_tickets(
        &mut self,
        (from, until): (&str, &str),
        after: u64,
    ) -> Result<Vec<TicketLine>, StoreError> {
        let rows = self.database.query(
            "SELECT position, terminal, document FROM ticket
             WHERE opened_at >= ?1 AND opened_at < ?2 AND position > ?3
             ORDER BY position LIMIT ?4",
            &[
                Value::Text(from),
                Value::Text(until),
                Value::Integer(i64::try_from(after).unwrap_or(i64::MAX)),
                Value::Integer(PACK_ROWS),
            ],
        )?;
        rows.iter().map(ticket_line).collect()
    }
}

/// Adds a case that took effect to the counts of its year and month.
pub(super) fn count_case(
    database: &mut Database,
    terminal: &str,
    item: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    note_terminal(database, terminal)?;
    let day = local_day(now);
    let (year, month) = (day.year().to_string(), day.strftime("%Y-%m").to_string());
    for (period, item) in [(year, ""), (month, item)] {
        database.execute(
            "INSERT INTO case_count (period, item, terminal, cases) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT (period, item, terminal) DO UPDATE SET cases = case_count.cases + 1",
            &[
                Value::Text(&period),
                Value::Text(item),
                Value::Text(terminal),
            ],
        )?;
    }
    Ok(())
}

/// Says where a terminal stands, in place of what was said before.
pub(super) fn set_place(database: &mut Database, place: &Place) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO terminal_place (terminal, region, site, installed_on, target)
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (terminal) DO UPDATE
         SET region = excluded.region, site = excluded.site,
             installed_on = excluded.installed_on, target = excluded.target",
        &[
            Value::Text(&place.terminal),
            Value::Text(&place.region),
            Value::Text(&place.site),
            Value::Text(&place.installed_on),
            Value::Integer(place.target.into()),
        ],
    )?;
    Ok(())
}

/// Notes that there is a terminal; where it stands is said by a person.
pub(super) fn note_terminal(database: &mut Database, terminal: &str) -> Result<(), StoreError> {
    database.execute(
        "INSERT INTO terminal_place (terminal, region, site, installed_on, target)
         VALUES (?1, '', '', '', 0) ON CONFLICT (terminal) DO NOTHING",
        &[Value::Text(terminal)],
    )?;
    Ok(())
}

/// Where a terminal stands, as far as it was said.
pub(super) fn place_of(database: &mut Database, terminal: &str) -> Result<Place, StoreError> {
    let row = database.query_one(
        "SELECT terminal, region, site, installed_on, target FROM terminal_place
         WHERE terminal = ?1",
        &[Value::Text(terminal)],
    )?;
    row.map_or_else(
        || {
            Ok(Place {
                terminal: terminal.to_owned(),
                ..Place::default()
            })
        },
        |row| place(&row),
    )
}

fn place(row: &Row) -> Result<Place, StoreError> {
    Ok(Place {
        terminal: row.text(0)?,
        region: row.text(1)?,
        site: row.text(2)?,
        installed_on: row.text(3)?,
        target: row.small(4)?,
    })
}

fn standing(row: &Row) -> Result<Standing, StoreError> {
    let heard_at = row.maybe_text(5)?.and_then(|text| text.parse().ok());
    let document = row.maybe_text(6)?;
    let mut heartbeat: Option<Heartbeat> = document
        .map(|document| serde_json::from_str(&document))
        .transpose()?;
    // Not needed by any view, and the largest part of a heartbeat.
    if let Some(audit) = heartbeat.as_mut().and_then(|beat| beat.audit.as_mut()) {
        audit.signed = String::new();
    }
    Ok(Standing {
        place: place(row)?,
        heard_at,
        heartbeat,
        telemetry: telemetry::read(&row.text(7)?),
        wanted_version: row.count(8)?,
        year_cases: row.count(9)?,
        certificate_until: row.text(10)?.parse().ok(),
        ..Standing::default()
    })
}

/// Adds what other tables count of the terminals of a page.
fn complete(
    database: &mut Database,
    after: &str,
    page: &mut [Standing],
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(last) = page.last().map(|each| each.place.terminal.clone()) else {
        return Ok(());
    };
    let mut by_name: HashMap<String, &mut Standing> = page
        .iter_mut()
        .map(|each| (each.place.terminal.clone(), each))
        .collect();
    let range = [Value::Text(after), Value::Text(&last)];
    let conflicts = database.query(
        "SELECT terminal, COUNT(*) FROM alarm WHERE terminal > ?1 AND terminal <= ?2
            AND code IN ('audit.truncated', 'audit.forked') GROUP BY terminal",
        &range,
    )?;
    for row in &conflicts {
        if let Some(standing) = by_name.get_mut(&row.text(0)?) {
            standing.conflicts = row.count(1)?;
        }
    }
    let rollbacks = database.query(
        "SELECT terminal, code, times FROM rollback_count
         WHERE terminal > ?1 AND terminal <= ?2 ORDER BY terminal, code",
        &range,
    )?;
    for row in &rollbacks {
        if let Some(standing) = by_name.get_mut(&row.text(0)?) {
            standing.rollbacks.push((row.text(1)?, row.count(2)?));
        }
    }
    let tickets = database.query(
        "SELECT terminal, level, COUNT(*),
                CAST(SUM(CASE WHEN (state = 'open' AND respond_by_s < ?3)
                                OR (state <> 'mended' AND repair_by_s < ?3)
                              THEN 1 ELSE 0 END) AS BIGINT)
         FROM ticket WHERE terminal > ?1 AND terminal <= ?2 AND state <> 'closed'
         GROUP BY terminal, level",
        &[range[0], range[1], Value::Integer(now.as_second())],
    )?;
    for row in &tickets {
        let level = row.text(1)?;
        let level = LEVELS.iter().position(|each| *each == level);
        if let (Some(standing), Some(level)) = (by_name.get_mut(&row.text(0)?), level) {
            standing.tickets[level] = (row.count(2)?, row.count(3)?);
        }
    }
    Ok(())
}

fn case_count(row: &Row) -> Result<CaseCount, StoreError> {
    Ok(CaseCount {
        month: row.text(0)?,
        terminal: row.text(1)?,
        item: row.text(2)?,
        cases: row.count(3)?,
    })
}

fn ticket_line(row: &Row) -> Result<TicketLine, StoreError> {
    let ticket: crate::tickets::Ticket = serde_json::from_str(&row.text(2)?)?;
    let time = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.to_string());
    Ok(TicketLine {
        position: row.count(0)?,
        terminal: row.text(1)?,
        number: ticket.number,
        class: ticket.class,
        code: ticket.code,
        level: ticket.level.word().to_owned(),
        state: ticket.state.word().to_owned(),
        opened_at: ticket.opened_at.to_string(),
        mended_at: time(ticket.mended_at),
        closed_at: time(ticket.closed_at),
        times_reopened: ticket.times_reopened,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::{self, Write as _};
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::{Config, metrics};

    const NOW: Timestamp = Timestamp::constant(1_795_311_660, 0);

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), &Config::default(), NOW).unwrap();
        (directory, store)
    }

    /// Terminals as large as real ones: twelve devices, two faults, eight items.
    fn fill(store: &mut Store, terminals: u32) {
        let devices: Vec<_> = (0..12)
            .map(|number| {
                let faults = if number < 2 {
                    json!(["printer.media-empty"])
                } else {
                    json!([])
                };
                json!({"id": format!("device-{number}"), "class": "slip-printer",
                    "state": "online", "faults": faults})
            })
            .collect();
        let counts: Vec<String> = (0..8)
            .map(|item| {
                format!("kiosk_item_visits_total{{item=\"item-{item}\",outcome=\"failed\"}} 3\n")
            })
            .collect();
        let counts = counts.concat();
        store
            .database
            .transaction(|database| {
                for number in 0..terminals {
                    let terminal = format!("T{number:05}");
                    let heartbeat = json!({
                        "terminal": terminal, "sent_at": NOW, "program_version": "1.4.1",
                        "boot": "01930000-0000-7000-8000-000000000001", "uptime_s": 1,
                        "clock_offset_s": 0, "queue": {"waiting": 0, "dead": 0,
                            "oldest_enqueued_at": null, "key_ids": [],
                            "upstreams": [{"upstream": "", "waiting": 0, "dead": 0}]},
                        "devices": devices,
                        "audit": {"sequence": 1, "head": "0", "signed": "x".repeat(400)},
                        "usage": {"visits": 0, "transactions": 0, "prints": 0},
                        "desired_version": 1, "catalogue_etag": "",
                        "update": {"version": "1.4.1", "slot": "a", "state": "current"},
                    })
                    .to_string();
                    note_terminal(database, &terminal)?;
                    for (sql, text) in [
                        (
                            "INSERT INTO heartbeat VALUES (?1, '2026-11-22T01:00:00Z', ?2)",
                            &heartbeat,
                        ),
                        (
                            "INSERT INTO telemetry VALUES (?1, '2026-11-22T01:00:00Z', ?2)",
                            &counts,
                        ),
                    ] {
                        database.execute(sql, &[Value::Text(&terminal), Value::Text(text)])?;
                    }
                }
                Ok::<_, StoreError>(())
            })
            .unwrap();
    }

    fn all(store: &mut Store) -> Vec<Standing> {
        let mut found: Vec<Standing> = Vec::new();
        loop {
            let after = found.last().map(|each| each.place.terminal.clone());
            let page = store.standings(&after.unwrap_or_default(), NOW).unwrap();
            if page.is_empty() {
                return found;
            }
            found.extend(page);
        }
    }

    #[test]
    fn every_terminal_is_on_one_page() {
        let (_directory, mut store) = store();
        fill(&mut store, 450);
        let found = all(&mut store);
        assert_eq!(found.len(), 450);
        assert!(found.is_sorted_by_key(|each| each.place.terminal.clone()));
        let one = store.standing("T00200", NOW).unwrap().unwrap();
        assert_eq!(one.place.terminal, "T00200");
        assert!(store.standing("T99999", NOW).unwrap().is_none());
    }

    #[test]
    fn cases_are_counted_by_the_months_of_the_terminals() {
        let (_directory, mut store) = store();
        let newyear: Timestamp = "2026-12-31T16:00:00Z".parse().unwrap();
        for at in [NOW, NOW, newyear] {
            store
                .database
                .transaction(|database| count_case(database, "T1", "a", at))
                .unwrap();
        }
        let months = store.cases_of("T1", "2026").unwrap();
        assert_eq!((months.len(), months[0].cases), (1, 2));
        assert_eq!(months[0].month, "2026-11");
        let year = |year| store_year(&mut store, year);
        assert_eq!(["2026", "2027"].map(year), [2, 1]);
    }

    fn store_year(store: &mut Store, year: &str) -> u64 {
        store.year_cases(year, "").unwrap()[0].1
    }

    /// Counts what is written and keeps none of it.
    struct Counting(usize);

    impl fmt::Write for Counting {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }

    #[test]
    #[ignore = "measures twenty thousand terminals; run by hand"]
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn a_scrape_of_twenty_thousand_terminals_is_bearable() {
        let (_directory, mut store) = store();
        fill(&mut store, 20_000);
        let begun = Instant::now();
        let found = all(&mut store);
        let read = begun.elapsed();
        let mut counting = Counting(0);
        metrics::write(&found, &[], &mut counting).unwrap();
        let written = begun.elapsed().saturating_sub(read);
        let mut words = String::new();
        write!(
            words,
            "read {read:?}, written {written:?}, {} bytes",
            counting.0
        )
        .unwrap();
        assert_eq!(found.len(), 20_000);
        assert!(counting.0 < 400_000_000, "{words}");
        assert!(begun.elapsed().as_secs() < 120, "{words}");
        std::io::Write::write_all(&mut std::io::stderr(), words.as_bytes()).unwrap();
    }
}
