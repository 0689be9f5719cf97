//! What a technician leaves behind comes through upgrades and through `kill -9`: every schema ever
//! shipped opens and takes tickets, and what was said to be done is there, with its entry of the
//! audit log, whenever the process dies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{
    Cache, Level, NewTicket, Options, Sla, TestRecord, TicketAct, TicketState, Verdict,
};
use rusqlite::Connection;
use uuid::Uuid;

/// Names the directory in which this test binary plays the child.
const CHILD: &str = "OFFLINE_CACHE_TECHNICIAN_DIRECTORY";
const ROUND: &str = "OFFLINE_CACHE_TECHNICIAN_ROUND";
const SEED: u64 = 0x5EED_0004;
const KILLS: u64 = 12;
/// A child that is never killed ends by itself.
const FAULTS_MAX: u64 = 10_000;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).unwrap()
}

fn open_schema(directory: &Path, sql: &str) -> Cache {
    let connection = Connection::open(directory.join("kiosk.db")).unwrap();
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let (cache, opening) = Cache::open(directory, now()).unwrap();
    assert_eq!(opening.quarantined, None);
    cache
}

fn fault(device: &str) -> NewTicket {
    NewTicket {
        device: device.to_owned(),
        class: "printer".to_owned(),
        code: "printer.media-jam".to_owned(),
        action: "clear-nearest".to_owned(),
        level: Level::Village,
        sla: Sla {
            respond: Duration::from_hours(4),
            repair: Duration::from_hours(24),
        },
        before: None,
    }
}

fn passed(id: u128, device: &str) -> TestRecord {
    TestRecord {
        id: Uuid::from_u128(id),
        test: "print".to_owned(),
        device: device.to_owned(),
        verdict: Verdict::Passed,
        figures: BTreeMap::new(),
        problem: String::new(),
        by: "tech-3".to_owned(),
        at: now(),
        took_ms: 1,
        ticket: None,
    }
}

#[test]
fn every_earlier_version_takes_tickets_after_the_upgrade_and_keeps_its_rows() {
    for (version, sql, queued) in [
        (1, include_str!("schemas/v1.sql"), 3),
        (2, include_str!("schemas/v2.sql"), 4),
        (3, include_str!("schemas/v3.sql"), 6),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut cache = open_schema(directory.path(), sql);
        assert_eq!(cache.list(99).unwrap().len(), queued, "version {version}");
        assert!(cache.tickets(false, 9).unwrap().is_empty());
        assert!(cache.latest_tests().unwrap().is_empty());
        let (ticket, is_new) = cache.open_ticket(&fault("slip-printer"), now()).unwrap();
        assert!(is_new, "version {version}");
        cache
            .record_test(&passed(1, "slip-printer"), now())
            .unwrap();
        let mend = TicketAct::Mend {
            test: Uuid::from_u128(1),
        };
        cache.ticket_act(ticket.id, &mend, "tech-3", now()).unwrap();
        cache
            .replenish("slip-printer", "page", 500, "village-1", now())
            .unwrap();
        drop(cache);
        let (cache, opening) = Cache::open(directory.path(), now()).unwrap();
        assert_eq!(opening.quarantined, None);
        assert_eq!(
            cache.ticket(ticket.id).unwrap().state,
            TicketState::Mended,
            "version {version}"
        );
    }
}

#[test]
fn version_4_opens_with_its_rows() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_schema(directory.path(), include_str!("schemas/v4.sql"));
    assert_eq!(cache.list(99).unwrap().len(), 6);
    assert_eq!(cache.tickets(true, 9).unwrap()[0].number, "T1-0002");
    let tickets = cache.tickets(false, 9).unwrap();
    assert_eq!(tickets.len(), 2);
    let mended = &tickets[1];
    assert_eq!((mended.number.as_str(), mended.times_seen), ("T1-0001", 3));
    assert_eq!(mended.parts[0].new_serial, "B2");
    let after = mended.after.as_ref().unwrap();
    assert_eq!(
        (after.figures["darkness"].as_str(), after.took_ms),
        ("0.93", 950)
    );
    assert_eq!(mended.before.as_ref().unwrap().verdict, Verdict::Failed);
    assert_eq!(cache.tickets_unreported(9).unwrap().len(), 1);
    assert_eq!(cache.latest_tests().unwrap().len(), 1);
    assert_eq!(cache.consumables().unwrap()[0].used_since, 5);
    let guard = cache.unlock_guard().unwrap();
    assert_eq!(
        (guard.failures, guard.wait_s, guard.boots, guard.counter),
        (2, 30, 5, 17)
    );
    assert!(!cache.grant_used(Uuid::from_u128(0x31), now()).unwrap());
    assert!(cache.daily_checks(9).unwrap()[0].answers["paper"]);
    assert_eq!(
        cache.calibration("touch").unwrap().as_deref(),
        Some("[1,2]")
    );
    let (next, _) = cache.open_ticket(&fault("other"), now()).unwrap();
    assert!(next.number.ends_with("0003"), "{}", next.number);
}

/// Every table, index and trigger that statements make.
fn schema_of(sql: &str) -> BTreeSet<(String, Option<String>)> {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(sql).unwrap();
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema")
        .unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// One version back works on what this one wrote: the upgrade adds tables and leaves everything
/// else as it was, to the letter, and nothing that it adds acts on what was there.
#[test]
fn version_4_leaves_all_of_version_3_as_it_was() {
    let before = [
        include_str!("../sql/001_initial.sql"),
        include_str!("../sql/002_audit_upstreams_carry_out.sql"),
        include_str!("../sql/003_arrivals.sql"),
    ]
    .concat();
    let made = [&before, include_str!("../sql/004_technician.sql")].concat();
    let (before, made) = (schema_of(&before), schema_of(&made));
    assert!(before.is_subset(&made));
    for (name, sql) in made.difference(&before) {
        let sql = sql.as_deref().unwrap_or_default();
        assert!(!sql.contains("TRIGGER"), "{name}");
        if let Some((_, table)) = sql.split_once(" ON ").filter(|_| sql.contains(" INDEX ")) {
            let is_old = before
                .iter()
                .any(|(old, _)| table.starts_with(&format!("{old} ")));
            assert!(!is_old, "{name} is on a table of version 3");
        }
    }
    assert_eq!(schema_of(include_str!("schemas/v4.sql")), made);
}

/// Version 3 forgets, salvages nothing of and otherwise leaves alone what it does not know; a file
/// that it worked on goes on here.
#[test]
fn tickets_are_there_again_after_a_version_back_and_forth() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open_schema(directory.path(), include_str!("schemas/v4.sql"));
    let before = cache.tickets(false, 9).unwrap();
    let head = cache.audit_head().unwrap().unwrap();
    let entry = offline_cache::NewAudit {
        kind: "store.opened".to_owned(),
        actor: "terminal".to_owned(),
        subject: None,
        transaction: None,
        detail: "{}".to_owned(),
    };
    cache.audit(&entry, now()).unwrap();
    drop(cache);
    // What version 3 finds: a file that says that it may be opened.
    let connection = Connection::open(directory.path().join("kiosk.db")).unwrap();
    let (version, oldest): (i64, i64) = connection
        .query_row(
            "SELECT version, oldest_reader FROM schema_info",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert!(version >= 4 && oldest <= 3);
    connection
        .execute_batch("INSERT INTO setting VALUES ('of-version-3', '1')")
        .unwrap();
    drop(connection);
    let (mut cache, _) = Cache::open(directory.path(), now()).unwrap();
    assert_eq!(cache.tickets(false, 9).unwrap(), before);
    assert_eq!(cache.setting("of-version-3").unwrap().as_deref(), Some("1"));
    cache.open_ticket(&fault("other"), now()).unwrap();
    assert!(cache.audit_head().unwrap().unwrap().0 > head.0 + 1);
}

fn options() -> Options {
    Options {
        terminal: "T001".to_owned(),
        ..Options::default()
    }
}

fn say(word: &str, id: Uuid) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{word} {id}").unwrap();
    out.flush().unwrap();
}

/// Opens, mends and closes one fault after the other.
fn play_child(directory: &Path, round: u64) {
    let (mut cache, _) = Cache::open_with(directory, &options(), now()).unwrap();
    for number in 0..FAULTS_MAX {
        let device = format!("d{round}-{number}");
        let (ticket, is_new) = cache.open_ticket(&fault(&device), now()).unwrap();
        assert!(is_new);
        say("opened", ticket.id);
        let test = passed((u128::from(round) << 64) | u128::from(number + 1), &device);
        cache.record_test(&test, now()).unwrap();
        say("tested", test.id);
        let mend = TicketAct::Mend { test: test.id };
        cache.ticket_act(ticket.id, &mend, "tech-3", now()).unwrap();
        say("mended", ticket.id);
        assert!(cache.grant_used(test.id, now()).unwrap());
        say("used", test.id);
    }
}

fn start_child(directory: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "what_was_said_to_be_done_survives_a_kill_with_its_entry",
        ])
        .arg("--nocapture")
        .env(CHILD, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets the child say a number of things and kills it; returns all it has said.
fn run_and_kill(directory: &Path, round: u64) -> Vec<(String, Uuid)> {
    let mut child = start_child(directory, round);
    let wanted = usize::try_from(1 + (SEED.wrapping_mul(round * 2 + 1) >> 7) % 37).unwrap();
    let mut said = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut read = |said: &mut Vec<(String, Uuid)>| -> bool {
        let Some(Ok(line)) = lines.next() else {
            return false;
        };
        if let Some((word, id)) = line.split_once(' ')
            && let Ok(id) = id.parse()
        {
            said.push((word.to_owned(), id));
        }
        true
    };
    while said.len() < wanted {
        assert!(read(&mut said), "the child ended by itself");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts as well.
    while read(&mut said) {}
    said
}

#[test]
fn what_was_said_to_be_done_survives_a_kill_with_its_entry() {
    if let Some(directory) = std::env::var_os(CHILD) {
        let round = std::env::var(ROUND).unwrap();
        play_child(Path::new(&directory), round.parse().unwrap());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 1..=KILLS {
        let said = run_and_kill(directory.path(), round);
        let (mut cache, opening) = Cache::open_with(directory.path(), &options(), now()).unwrap();
        assert_eq!(opening.quarantined, None, "round {round}");
        for (word, id) in said {
            match word.as_str() {
                "opened" => drop(cache.ticket(id).unwrap()),
                "mended" => assert_eq!(cache.ticket(id).unwrap().state, TicketState::Mended),
                "used" => assert!(!cache.grant_used(id, now()).unwrap()),
                "tested" => {
                    let tests = cache.latest_tests().unwrap();
                    assert!(tests.iter().any(|test| test.id == id), "round {round}");
                }
                _ => {}
            }
        }
        check_log(&cache, round);
    }
}

/// As many entries as effects, and every number once.
fn check_log(cache: &Cache, round: u64) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (entry, _) in cache.audit_entries(0, 10_000).unwrap() {
        *kinds.entry(entry.kind).or_default() += 1;
    }
    let tickets = cache.tickets(false, 1000).unwrap();
    let mended = tickets
        .iter()
        .filter(|ticket| ticket.state == TicketState::Mended)
        .count();
    let count = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    assert_eq!(count("ticket.opened"), tickets.len(), "round {round}");
    assert_eq!(count("ticket.mended"), mended, "round {round}");
    let tests = cache.latest_tests().unwrap().len();
    assert_eq!(count("check.recorded"), tests, "round {round}");
    let numbers: BTreeSet<&str> = tickets.iter().map(|each| each.number.as_str()).collect();
    assert_eq!(numbers.len(), tickets.len());
}
