//! Every schema ever shipped opens today with its rows intact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::date;
use offline_cache::{Cache, PrintState, State};
use uuid::Uuid;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

fn open_schema(directory: &Path, sql: &str) -> Cache {
    let connection = rusqlite::Connection::open(directory.join("kiosk.db")).unwrap();
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let (cache, opening) = Cache::open(directory, now()).unwrap();
    assert_eq!(opening.quarantined, None);
    cache
}

#[test]
fn version_1_opens_with_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_schema(directory.path(), include_str!("schemas/v1.sql"));
    let rows = cache.list(10).unwrap();
    let states: Vec<State> = rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [State::Pending, State::Pending, State::Dead]);
    assert!(rows[1].is_blocked);

    let case = cache.case("T1-20260601-0001").unwrap().unwrap();
    let receipt = case.receipt.unwrap();
    assert_eq!(receipt.reference, "R-1");
    assert_eq!(receipt.valid_until, Some(date(2027, 6, 1)));

    let print = cache.print(Uuid::from_u128(0x99)).unwrap().unwrap();
    assert_eq!(print.state, PrintState::Printing);
    assert_eq!(cache.unfinished_prints().unwrap().len(), 1);
    assert_eq!(cache.next_number("T1", date(2026, 6, 1)).unwrap(), 5);
    assert_eq!(cache.usage(2026).unwrap()[0].count, 12);
    assert_eq!(cache.setting("volume").unwrap().as_deref(), Some("3"));
    assert_eq!(cache.catalogue().unwrap().unwrap().items.len(), 1);
}
