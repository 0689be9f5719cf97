//! One version back must still work on what the new one wrote: every statement of every shipped
//! version is kept in `tests/schemas/vN.statements.sql` and prepares on the newest schema and on
//! one that comes after it.
//!
//! The file of this version is recorded from a run through the whole interface;
//! `UPDATE_GOLDEN=1` writes it anew. Once the version has shipped, its file is never edited.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::civil::date;
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::cache::tests::{STATEMENTS, at, sample, scratch};
use crate::{
    Cache, Catalogue, CatalogueItem, Confirmation, DiaryCount, NewAttachment, NewAudit, NewPrint,
    PrintKind, PrintState, Ready, Receipt, Sequence, State, UsageKind, VisitEnd, schema,
};

/// A version that adds a table and columns with defaults, as a later one may.
const NEXT: &str = include_str!("../tests/schemas/next.synthetic.sql");

/// Versions whose statements are kept.
const KEPT: &[i64] = &[1, 2, 4, RECORDED];
/// The version whose statements are recorded below.
const RECORDED: i64 = 5;

fn statements_of(version: i64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/schemas/v{version}.statements.sql"))
}

fn read_statements(version: i64) -> BTreeSet<String> {
    let text = fs::read_to_string(statements_of(version)).unwrap();
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with("--"))
        .map(|line| line.trim_end_matches(';').to_owned())
        .collect()
}

fn receipt() -> Receipt {
    Receipt {
        reference: "R".to_owned(),
        outcome: "accepted".to_owned(),
        message: String::new(),
        valid_until: None,
        raw: "{}".to_owned(),
    }
}

/// Transactions through every state.
fn use_the_outbox(cache: &mut Cache) {
    // With nothing there every line is looked at.
    cache.next_due_at(at(0), &Ready::ALL).unwrap();
    let mut with_picture = sample(1);
    with_picture.key_id = "0011223344556677".to_owned();
    with_picture.upstream = "pension".to_owned();
    with_picture.attachments.push(NewAttachment {
        id: Uuid::from_u128(1),
        name: "page.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        bytes: vec![7; 100],
    });
    cache.enqueue(&with_picture, at(0)).unwrap();
    for number in 2..7 {
        let mut transaction = sample(number);
        transaction.can_wait = number.is_multiple_of(2);
        cache.enqueue(&transaction, at(0)).unwrap();
    }
    cache.attachments_due(at(1), 9, &Ready::ALL).unwrap();
    cache.attachment_bytes(Uuid::from_u128(1)).unwrap();
    cache
        .attachment_progress(Uuid::from_u128(1), 100, Some("/v1/attachments/1"))
        .unwrap();
    let due = cache.due(at(1), 9, &Ready::ALL).unwrap();
    assert_eq!(due.len(), 6);
    cache.upload_again(due[0].id, at(9), at(1)).unwrap();
    cache.defer(due[1].id, at(9), "x.y", at(1)).unwrap();
    cache.release(due[2].id).unwrap();
    cache
        .park(due[3].id, "staff-7", "x.y", "words", at(1))
        .unwrap();
    cache.reinstate(due[3].id, "staff-7", at(2)).unwrap();
    cache
        .park(due[3].id, "staff-7", "x.y", "words", at(2))
        .unwrap();
    cache
        .close(due[3].id, "staff-7", "on paper", at(2))
        .unwrap();
    cache.settle(due[4].id, &receipt(), at(2)).unwrap();
    cache.park(due[5].id, "staff-7", "x.y", "", at(2)).unwrap();
    cache.next_due_at(at(2), &Ready::ALL).unwrap();
    cache.case(&due[4].case_number).unwrap();
    cache.depth().unwrap();
    cache.list(9).unwrap();
    cache.dead(9).unwrap();
    cache.recent(9).unwrap();
    cache.queued_key_ids().unwrap();
    let carried = cache.carry_out(Sequence(0), 9).unwrap();
    cache
        .mark_carried(&[carried[0].id], Uuid::from_u128(9), at(3))
        .unwrap();
    // One that was altered on disk.
    cache.enqueue(&sample(8), at(3)).unwrap();
    cache.place_arrivals().unwrap();
    cache
        .connection
        .execute("UPDATE outbox SET payload = x'00' WHERE sequence = 7", [])
        .unwrap();
    STATEMENTS.with_borrow_mut(|all| all.retain(|sql| !sql.contains("x'00'")));
    cache.due(at(4000), 9, &Ready::ALL).unwrap();
}

/// Everything beside the outbox.
fn use_the_rest(cache: &mut Cache) {
    let day = date(2026, 11, 22);
    cache.next_number("T1", day).unwrap();
    let confirmation = Confirmation {
        terminal: "T1",
        date: day,
        number: cache.number_ahead("T1", day).unwrap(),
        setting: ("last-commitment", "{}"),
    };
    cache
        .enqueue_case(&sample(9), &confirmation, at(0))
        .unwrap()
        .unwrap();
    cache.count_use("x", UsageKind::Visit, 2026).unwrap();
    cache.usage(2026).unwrap();
    cache
        .count_visit_end("x", VisitEnd::Completed, 2026)
        .unwrap();
    cache.visit_ends().unwrap();
    cache.visit_ends_of(2026).unwrap();
    cache.set_setting("volume", "3").unwrap();
    cache.setting("volume").unwrap();
    let print = NewPrint {
        id: Uuid::from_u128(1),
        transaction_id: Some(sample(2).id),
        case_number: Some("n".to_owned()),
        kind: PrintKind::Slip,
        digest: [1; 32],
        pages: 1,
        first_page: 1,
        copy_no: 1,
        reprint_of: None,
    };
    cache.prepare_print(&print, at(0)).unwrap();
    cache
        .advance_print(print.id, PrintState::Printing, None, at(0))
        .unwrap();
    cache.record_pages_done(print.id, 1).unwrap();
    cache.print(print.id).unwrap();
    cache.unfinished_prints().unwrap();
    cache.prints_of_case("n").unwrap();
    cache.recent_prints(1).unwrap();
    let catalogue = Catalogue {
        etag: "\"a\"".to_owned(),
        version: 1,
        fetched_at: at(0),
        items: vec![CatalogueItem {
            id: "x".to_owned(),
            version: 1,
            is_suspended: false,
        }],
    };
    cache.swap_catalogue(&catalogue).unwrap();
    cache.catalogue().unwrap();
    use_the_records(cache);
}

/// Diary, commands, desired state, audit log, and what time does to them.
fn use_the_records(cache: &mut Cache) {
    let day = date(2026, 11, 22);
    let count = DiaryCount {
        device: "printer".to_owned(),
        day,
        what: "page".to_owned(),
        count: 1,
    };
    cache.diary_add(&[count]).unwrap();
    cache.diary(day).unwrap();
    let id = Uuid::from_u128(1);
    cache.command_begin(id, "lock", at(0)).unwrap();
    cache.command_finish(id, "{}", at(0)).unwrap();
    cache.commands_unreported(9).unwrap();
    cache.command_reported(id).unwrap();
    cache.set_desired_state(1, "{}", at(0)).unwrap();
    cache.desired_state().unwrap();
    let new = NewAudit {
        kind: "technician.unlocked".to_owned(),
        actor: "tech-3".to_owned(),
        subject: None,
        transaction: None,
        detail: "{}".to_owned(),
    };
    cache.audit(&new, at(0)).unwrap();
    cache.audit_entries(0, 9).unwrap();
    let (sequence, head) = cache.audit_head().unwrap().unwrap();
    let checkpoint = kiosk_sealing::audit::Checkpoint {
        sequence,
        head,
        at_ms: 1,
        signed: "x".to_owned(),
    };
    cache.add_checkpoint(&checkpoint).unwrap();
    cache.audit_checkpoints(0, 9).unwrap();
    cache.latest_checkpoint().unwrap();
    crate::technician::statements::use_the_technician(cache);
    cache.scrub().unwrap();
    for day in (0..=120).step_by(20) {
        cache.purge(at(day * 86_400)).unwrap();
    }
    // A leap, as the log sees it.
    cache.audit(&new, at(400 * 86_400)).unwrap();
    *cache.directory.check() = Some(crate::check::Check::default());
    while cache.continue_check(1000).is_none() {}
}

#[test]
fn the_statements_of_this_version_are_on_record() {
    let scratch = scratch();
    let crate::cache::tests::Scratch { cache, directory } = scratch;
    drop(cache);
    STATEMENTS.with_borrow_mut(BTreeSet::clear);
    // Opened again, so that the making of the schema is not recorded.
    let (mut cache, _) = Cache::open(directory.path(), at(0)).unwrap();
    use_the_outbox(&mut cache);
    use_the_rest(&mut cache);
    let recorded: BTreeSet<String> = STATEMENTS.with_borrow(|statements| {
        let is_own = |sql: &&String| {
            ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"]
                .iter()
                .any(|verb| sql.starts_with(verb))
        };
        statements.iter().filter(is_own).cloned().collect()
    });
    assert!(recorded.len() > 80, "{}", recorded.len());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let mut text =
            format!("-- Every statement of version {RECORDED}, recorded; see src/statements.rs.\n");
        for sql in &recorded {
            text.push_str(sql);
            text.push_str(";\n");
        }
        fs::write(statements_of(RECORDED), text).unwrap();
    }
    let kept = read_statements(RECORDED);
    let missing: Vec<_> = recorded.difference(&kept).collect();
    let extra: Vec<_> = kept.difference(&recorded).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "not on record: {missing:#?}, no longer used: {extra:#?}"
    );
}

fn newest() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    schema::migrate(&mut connection).unwrap();
    connection
}

fn after_the_newest() -> Connection {
    let connection = newest();
    add_the_next(&connection);
    connection
}

/// Makes a file one of the version after the newest, which the newest may still open.
fn add_the_next(connection: &Connection) {
    connection.execute_batch(NEXT).unwrap();
    connection
        .execute(
            "UPDATE schema_info SET version = ?1 + 1, oldest_reader = ?1",
            [schema::newest()],
        )
        .unwrap();
    connection
        .pragma_update(None, "user_version", schema::newest())
        .unwrap();
}

#[test]
fn every_statement_of_every_shipped_version_prepares_on_the_newest_schema_and_the_next() {
    for version in KEPT.iter().copied() {
        let statements = read_statements(version);
        assert!(statements.len() > 30, "{version}");
        for connection in [newest(), after_the_newest()] {
            for sql in &statements {
                if let Err(error) = connection.prepare(sql) {
                    panic!("version {version} fails on the newest schema: {sql}: {error}");
                }
            }
        }
    }
}

/// The check above would see a column that went away.
#[test]
fn a_schema_that_breaks_an_older_program_is_noticed() {
    let connection = newest();
    connection
        .execute_batch("DROP INDEX outbox_case; ALTER TABLE outbox RENAME COLUMN item TO service")
        .unwrap();
    let broken = read_statements(1)
        .iter()
        .filter(|sql| connection.prepare(sql).is_err())
        .count();
    assert!(broken > 2, "{broken}");
}

/// This program works on a file of the next version, and leaves what it does not know alone.
#[test]
fn a_file_of_the_next_version_is_worked_on_and_not_migrated() {
    let scratch = scratch();
    let crate::cache::tests::Scratch { cache, directory } = scratch;
    add_the_next(&cache.connection);
    drop(cache);
    let (mut cache, opening) = Cache::open(directory.path(), at(0)).unwrap();
    assert_eq!(opening.quarantined, None);
    use_the_outbox(&mut cache);
    use_the_rest(&mut cache);
    drop(cache);
    let (cache, _) = Cache::open(directory.path(), at(1)).unwrap();
    let row: (i64, i64, i64) = cache
        .connection
        .query_row(
            "SELECT (SELECT version FROM schema_info), (SELECT count(*) FROM appointment),
                 (SELECT count(*) FROM outbox WHERE priority = 5)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!((row.0, row.1), (schema::newest() + 1, 1));
    assert!(
        row.2 > 0,
        "rows written by this version have the default of the next"
    );
}

/// After a roll-back version 2 finds in the outbox what this version took in, because it looks at
/// the clock when it opens the file; it writes and settles, and this version goes on with its rows.
#[test]
fn rows_go_back_and_forth_between_version_2_and_this_one() {
    let mut scratch = scratch();
    scratch.cache.enqueue(&sample(1), at(0)).unwrap();
    scratch.cache.enqueue(&sample(2), at(0)).unwrap();
    assert_eq!(rows_of(&scratch.cache, "outbox"), 0);
    let statements = read_statements(2);
    let of = |start: &str| {
        let found: Vec<_> = statements
            .iter()
            .filter(|sql| sql.starts_with(start))
            .collect();
        assert_eq!(found.len(), 1, "{start}: {found:?}");
        found[0].clone()
    };
    let connection = &scratch.cache.connection;
    // What version 2 does when it opens a file.
    let now_ms = at(1).as_millisecond();
    connection
        .execute(&of("INSERT INTO clock"), [now_ms, now_ms])
        .unwrap();
    assert_eq!(rows_of(&scratch.cache, "outbox"), 2);
    assert_eq!(rows_of(&scratch.cache, "arrival"), 0);
    // It enqueues ...
    let new = sample(3);
    connection
        .execute(
            &of("INSERT INTO outbox"),
            params![
                new.id.as_bytes(),
                new.kind,
                new.item,
                new.item_version,
                new.case_number,
                new.subject,
                State::Pending.number(),
                at(0).as_millisecond(),
                new.payload_suite,
                new.payload,
                crate::content::of_new(&new),
                new.key_id,
                new.upstream,
                new.can_wait,
            ],
        )
        .unwrap();
    // ... and settles.
    let none: Option<String> = None;
    connection
        .execute(
            &of("UPDATE outbox SET state = 3"),
            params![1, at(1).as_millisecond(), "R1", "accepted", "", none, "{}"],
        )
        .unwrap();

    let mut scratch = scratch.reopen();
    assert_eq!(
        scratch.cache.enqueue(&sample(4), at(2)).unwrap(),
        Sequence(4)
    );
    let due = scratch.cache.due(at(2), 9, &Ready::ALL).unwrap();
    let ids: Vec<Uuid> = due.iter().map(|each| each.id).collect();
    assert_eq!(ids, [2, 3, 4].map(|number| sample(number).id));
    for id in ids {
        scratch.cache.settle(id, &receipt(), at(3)).unwrap();
    }
    assert_eq!(scratch.cache.depth().unwrap().waiting, 0);
}

fn rows_of(cache: &Cache, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    cache
        .connection
        .query_row(&sql, [], |row| row.get(0))
        .unwrap()
}
