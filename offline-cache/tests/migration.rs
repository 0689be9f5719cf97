//! Every schema ever shipped opens today with its rows intact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::date;
use offline_cache::{Cache, Cause, CommandStanding, PrintState, State, VisitEnd};
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

#[test]
fn version_1_has_a_line_for_each_upstream_and_an_audit_log_after_the_upgrade() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open_schema(directory.path(), include_str!("schemas/v1.sql"));
    let depths = cache.upstream_depths().unwrap();
    assert_eq!(depths.len(), 1);
    assert_eq!((depths[0].upstream.as_str(), depths[0].waiting), ("", 2));
    assert_eq!(depths[0].dead, 1);
    let rows = cache.dead(9).unwrap();
    assert_eq!((rows[0].upstream.as_str(), rows[0].can_wait), ("", false));
    assert_eq!((&rows[0].last_detail, rows[0].carried_at), (&None, None));
    assert_eq!(cache.audit_head().unwrap(), None);
    assert!(cache.queued_key_ids().unwrap().is_empty());
}

#[test]
fn version_2_opens_with_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_schema(directory.path(), include_str!("schemas/v2.sql"));
    let rows = cache.list(10).unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[3].upstream, "civil-affairs");
    assert!(rows[3].can_wait && rows[3].carried_at.is_some());
    assert_eq!(rows[2].last_detail.as_deref(), Some("page 2 is missing"));
    assert_eq!(cache.queued_key_ids().unwrap(), ["0011223344556677"]);

    let entries = cache.audit_entries(0, 9).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].0.actor, "visitor");
    assert_eq!(cache.latest_checkpoint().unwrap().unwrap().sequence, 1);
    let diary = cache.diary(date(2026, 6, 1)).unwrap();
    assert_eq!(
        (diary[0].device.as_str(), diary[0].count),
        ("slip-printer", 9)
    );
    let id = Uuid::from_u128(7);
    assert_eq!(cache.commands_unreported(9).unwrap()[0].0, id);
    assert!(matches!(
        cache.command_begin(id, "lock", now()).unwrap(),
        CommandStanding::Finished { .. }
    ));
    assert_eq!(cache.desired_state().unwrap().unwrap().version, 12);
    assert_eq!(cache.next_number("T1", date(2026, 6, 1)).unwrap(), 5);
}

#[test]
fn version_3_opens_with_its_rows_and_its_arrivals_in_their_places() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_schema(directory.path(), include_str!("schemas/v3.sql"));
    let rows = cache.list(10).unwrap();
    let places: Vec<i64> = rows.iter().map(|row| row.sequence.0).collect();
    assert_eq!(places, [2, 3, 4, 5, 6, 7]);
    // An urgent one behind a patient one of the same person.
    assert!(rows[4].is_blocked && !rows[3].can_wait && !rows[5].is_blocked);
    assert_eq!(rows[5].case_number, "T1-20260601-0007");
    assert_eq!(rows[5].state, State::Pending);
    let depths = cache.upstream_depths().unwrap();
    assert_eq!((depths[0].waiting, depths[1].waiting), (3, 2));
    assert_eq!(cache.audit_entries(0, 9).unwrap().len(), 2);
    assert_eq!(cache.next_number("T1", date(2026, 6, 1)).unwrap(), 5);
}

#[test]
fn version_5_opens_with_its_rows_and_a_version_4_with_none() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_schema(directory.path(), include_str!("schemas/v5.sql"));
    assert_eq!(cache.list(10).unwrap().len(), 6);
    let ends = cache.visit_ends().unwrap();
    let found: Vec<(VisitEnd, u64)> = ends.iter().map(|each| (each.end, each.count)).collect();
    let left = VisitEnd::Abandoned(Cause::Timeout);
    assert_eq!(found, [(left, 3), (VisitEnd::Completed, 7)]);
    cache
        .count_visit_end("old-age-allowance", left, 2026)
        .unwrap();
    assert_eq!(cache.visit_ends().unwrap()[0].count, 4);

    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_schema(directory.path(), include_str!("schemas/v4.sql"));
    assert_eq!(cache.visit_ends().unwrap(), []);
    cache
        .count_visit_end("old-age-allowance", left, 2026)
        .unwrap();
    assert_eq!(cache.visit_ends().unwrap()[0].count, 1);
}

/// The kept files say what the versions really made.
#[test]
fn the_kept_schemas_are_those_that_the_upgrades_make() {
    let upgrades = [
        include_str!("../sql/001_initial.sql"),
        include_str!("../sql/002_audit_upstreams_carry_out.sql"),
        include_str!("../sql/003_arrivals.sql"),
        include_str!("../sql/004_technician.sql"),
        include_str!("../sql/005_visit_ends.sql"),
    ];
    for (kept, upgrades) in [
        (include_str!("schemas/v2.sql"), &upgrades[..2]),
        (include_str!("schemas/v3.sql"), &upgrades[..3]),
        (include_str!("schemas/v4.sql"), &upgrades[..4]),
        (include_str!("schemas/v5.sql"), &upgrades[..5]),
    ] {
        let made = upgrades.concat();
        let [kept, made] = [kept, &made].map(schema_of);
        assert_eq!(kept, made);
    }
}

/// Every table, index and trigger that statements make.
fn schema_of(sql: &str) -> Vec<(String, Option<String>)> {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(sql).unwrap();
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}
