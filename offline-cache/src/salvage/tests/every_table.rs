//! Every table of the newest schema is saved row by row: one ruined page costs its own rows and no
//! others, and what it costs is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::{Level, NewAudit, NewTicket, Part, Sla, TicketAct};

/// The tables that visits, a technician's work and a confirmation of a moment ago leave, with an order
/// of their rows that a salvage keeps.
const TABLES: [(&str, &str); 10] = [
    ("arrival", "sequence"),
    ("test_record", "sequence"),
    ("ticket", "sequence"),
    ("ticket_part", "ticket, position"),
    ("replenishment", "device"),
    ("unlock_guard", "only"),
    ("used_grant", "id"),
    ("daily_check", "sequence"),
    ("calibration", "what"),
    ("visit_end", "year, item, outcome, cause"),
];

type Rows = Vec<Vec<Value>>;

fn fault(number: u8) -> NewTicket {
    NewTicket {
        device: format!("printer-{number}"),
        class: "slip-printer".to_owned(),
        code: "printer.io".to_owned(),
        action: "maintenance".to_owned(),
        level: Level::Town,
        sla: Sla {
            respond: Duration::from_hours(1),
            repair: Duration::from_hours(2),
        },
        before: None,
    }
}

/// A store with several pages of each of the tables, but for the one that has one row.
fn worked_in() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (mut cache, _) = Cache::open(directory.path(), at(0)).unwrap();
    for number in 0..20 {
        let (ticket, _) = cache.open_ticket(&fault(number), at(0)).unwrap();
        let note = TicketAct::Note("备注".repeat(150));
        cache.ticket_act(ticket.id, &note, "tech-3", at(0)).unwrap();
        for part in 0..6 {
            let part = TicketAct::Replace(Part {
                what: "roller".to_owned(),
                old_serial: format!("{part:060}"),
                new_serial: format!("{number:060}"),
            });
            cache.ticket_act(ticket.id, &part, "tech-3", at(0)).unwrap();
        }
    }
    let guard = crate::Guard {
        failures: 4,
        wait_s: 60,
        boots: 1,
        counter: 9,
    };
    let refusal = NewAudit::own("staff.unlock.refused", TERMINAL, &json!({}));
    cache.set_unlock_guard(&guard, &refusal, at(0)).unwrap();
    // The many rows in one commit, as they are written one by one.
    cache
        .connection
        .execute_batch(
            "BEGIN;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150)
             INSERT INTO test_record (id, test, device, verdict, figures, problem, tested_by,
                 tested_at, took_ms, ticket, recorded_at)
             SELECT randomblob(16), 'print', 'printer-' || (i % 5), 'passed',
                 json_object('darkness', hex(randomblob(60))), '', 'tech-3', i, i, NULL, i FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
             INSERT INTO daily_check (id, kind, checked_by, checked_at, answers, note, recorded_at)
             SELECT randomblob(16), 'open', 'village-1', i, '{\"paper\":true}',
                 hex(randomblob(200)), i FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
             INSERT INTO used_grant SELECT randomblob(16), i FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
             INSERT INTO replenishment
             SELECT printf('printer-%04d', i), 'page', 500, i, i, 'village-1' FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
             INSERT INTO calibration
             SELECT printf('touch-%04d', i), json_array(hex(randomblob(150))), i, 'tech-3' FROM n;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
             INSERT INTO visit_end
             SELECT 2026, printf('item-%04d', i), 'abandoned', 'timeout', i FROM n;
             COMMIT",
        )
        .unwrap();
    // Last, because every other look at the outbox would let them take their places.
    for number in 1..=40 {
        cache.enqueue(&large(number), at(0)).unwrap();
    }
    drop(cache);
    directory
}

fn rows(connection: &Connection, table: &str, order: &str) -> Rows {
    let sql = format!("SELECT * FROM {table} ORDER BY {order}");
    let mut statement = connection.prepare(&sql).unwrap();
    let width = statement.column_count();
    let rows = statement.query_map([], |row| values(row, width)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The transactions that have arrived, by id and content, wherever they stand.
const ARRIVED: &str = "SELECT id, payload FROM arrival UNION SELECT id, payload FROM outbox";

fn all(connection: &Connection) -> BTreeMap<&'static str, Rows> {
    let mut all: BTreeMap<_, _> = TABLES
        .iter()
        .map(|(table, order)| (*table, rows(connection, table, order)))
        .collect();
    all.insert("arrival", rows(connection, &format!("({ARRIVED})"), "id"));
    all
}

fn before(directory: &TempDir) -> BTreeMap<&'static str, Rows> {
    all(&Connection::open(directory.path().join("kiosk.db")).unwrap())
}

#[test]
fn what_staff_left_and_what_has_just_arrived_is_saved_row_by_row() {
    let directory = worked_in();
    let before = before(&directory);
    assert!(before.values().all(|rows| !rows.is_empty()));
    quarantine::mark_damaged(directory.path()).unwrap();
    let (cache, salvage) = salvaged(&directory);
    assert_eq!(all(&cache.connection), before);
    assert_eq!(salvage.lost_rows, 0);
    assert_eq!(salvage.transactions, 40);
    assert_eq!(salvage.staff_records, 150 + 20 + 60);
}

fn check_ruined(damaged: &str) {
    let directory = worked_in();
    let before = before(&directory);
    let pages = leaves(&directory, damaged);
    assert!(
        pages.len() >= 3 || damaged == "unlock_guard",
        "{damaged}: {pages:?}"
    );
    ruin(&directory, pages[pages.len() / 2]);
    let (cache, salvage) = salvaged(&directory);
    let after = all(&cache.connection);
    for (table, saved) in &after {
        let expected = &before[table];
        if *table == damaged || (*table == "ticket_part" && damaged == "ticket") {
            assert!(saved.len() < expected.len(), "{table} lost nothing");
            assert!(
                saved.iter().all(|row| expected.contains(row)),
                "{table} was altered by damage in {damaged}"
            );
            let most = if expected.len() == 1 {
                1
            } else {
                expected.len() / 2
            };
            assert!(
                expected.len() - saved.len() <= most,
                "{table}: {} of {} saved",
                saved.len(),
                expected.len()
            );
        } else {
            assert_eq!(saved, expected, "{table} suffered by damage in {damaged}");
        }
    }
    let lost: usize =
        before.values().map(Vec::len).sum::<usize>() - after.values().map(Vec::len).sum::<usize>();
    let counted = usize::try_from(salvage.lost_rows).unwrap();
    assert!(
        (1..=lost).contains(&counted),
        "{damaged}: {counted} counted, {lost} lost"
    );
    // Where an index names the rows, every one of them is counted.
    if INDEXES.iter().any(|(table, _)| *table == damaged) {
        assert_eq!(counted, lost, "{damaged}");
    }
}

#[test]
fn a_ruined_page_of_any_table_costs_its_own_rows_and_each_is_counted() {
    for (table, _) in TABLES {
        check_ruined(table);
    }
}

/// A later version adds its table here, or to those that are left out for a reason.
#[test]
fn every_table_is_saved_or_left_out_for_a_reason() {
    let directory = worked_in();
    let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
    let mut tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut known: Vec<&str> = known_tables().collect();
    tables.sort_unstable();
    known.sort_unstable();
    assert_eq!(tables, known);
}

/// Updates roll back: a table of the next version stays in the quarantined file, and is counted.
#[test]
fn rows_of_a_table_that_this_program_does_not_know_are_counted_as_lost() {
    let directory = worked_in();
    let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE \"of \"\"tomorrow\" (id);
             INSERT INTO \"of \"\"tomorrow\" VALUES (1), (2), (3)",
        )
        .unwrap();
    drop(connection);
    quarantine::mark_damaged(directory.path()).unwrap();
    let (_, salvage) = salvaged(&directory);
    assert_eq!(salvage.lost_rows, 3);
}

/// Half of a catalogue is none; the platform has it, and yet its rows are counted.
#[test]
fn a_catalogue_that_is_not_whole_is_left_behind_and_counted() {
    let directory = worked_in();
    let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
    connection
        .execute_batch(
            "INSERT INTO catalogue VALUES (1, 'e', 1, 1);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)
             INSERT INTO catalogue_item SELECT printf('item-%040d', i), 1, 0 FROM n",
        )
        .unwrap();
    drop(connection);
    let pages = leaves(&directory, "catalogue_item");
    ruin(&directory, pages[pages.len() / 2]);
    let (cache, salvage) = salvaged(&directory);
    assert_eq!(cache.catalogue().unwrap(), None);
    assert!(salvage.lost_rows > 800, "{salvage:?}");
}

/// The names of the tables lie on pages too. Tables whose names come before the ruined ones are
/// saved, and the others are known to be lost.
#[test]
fn a_ruined_page_of_names_costs_the_tables_that_it_names_and_no_others() {
    let directory = filled();
    let pages = leaves(&directory, "sqlite_schema");
    assert!(pages.len() > 3, "{pages:?}");
    ruin(&directory, pages[pages.len() - 1]);
    let (cache, salvage) = salvaged(&directory);
    assert_eq!((salvage.transactions, salvage.receipts), (90, 10));
    assert_eq!(salvage.prints, 80);
    assert!(salvage.lost_rows > 0, "{salvage:?}");
    assert_eq!(cache.setting("volume").unwrap().as_deref(), Some("3"));
}

/// The engine takes an empty file for a new store; the directory remembers that there was one.
#[test]
fn a_store_that_was_cut_to_nothing_is_reported_and_not_begun_anew_in_silence() {
    for is_gone in [false, true] {
        let directory = filled();
        let path = directory.path().join("kiosk.db");
        if is_gone {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, b"").unwrap();
        }
        let (mut cache, salvage) = salvaged(&directory);
        assert_eq!((salvage.transactions, salvage.lost_rows), (0, 1));
        // Numbers of before are not given out again.
        let number = cache.next_number("T1", date(2026, 11, 22)).unwrap();
        assert!(number > 10_000, "{number}");
    }
}

/// A page in the place of another leads round in a circle; the walk ends all the same.
#[test]
fn a_circle_of_pages_ends() {
    for table in ["used_grant", "print", "test_record", "outbox"] {
        let directory = if table == "used_grant" || table == "test_record" {
            worked_in()
        } else {
            filled()
        };
        let (root, leaf): (i64, i64) = {
            let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
            connection
                .query_row(
                    "SELECT (SELECT rootpage FROM sqlite_schema WHERE name = ?1),
                         (SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = 'leaf'
                          ORDER BY path LIMIT 1 OFFSET 1)",
                    [table],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .unwrap()
        };
        let path = directory.path().join("kiosk.db");
        let bytes = fs::read(&path).unwrap();
        let page = |number: i64| usize::try_from(number - 1).unwrap() * 4096;
        let mut altered = bytes.clone();
        altered[page(leaf)..page(leaf) + 4096]
            .copy_from_slice(&bytes[page(root)..page(root) + 4096]);
        fs::write(&path, altered).unwrap();
        let (_, salvage) = salvaged(&directory);
        assert!(salvage.lost_rows > 0, "{table}");
    }
}
