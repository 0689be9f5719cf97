//! A damaged store is opened: bits flipped, pages overwritten, swapped and cut off, rubbish beside
//! it. The input is the damage; the store is always the same small one, made by the program itself.
//!
//! Whatever it is, opening ends, with a store that works or an error. What was acknowledged is there
//! or counted as lost, what was altered is not handed out, and nothing grows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{
    Cache, CacheError, DailyCheck, DailyKind, Level, NewAttachment, NewTicket, NewTransaction,
    Opening, Ready, Receipt, Sla, TestRecord, TicketAct, Verdict,
};
use tempfile::TempDir;
use uuid::Uuid;

/// Where stores are tried out if it can be: in memory.
const MEMORY: &str = "/dev/shm";
/// Bytes of one damage in the input, and most damages of one input.
const DAMAGE_BYTES: usize = 8;
const DAMAGES_MAX: usize = 16;
const PAGE_BYTES: usize = 4096;
/// Transactions of the store; of each four one is settled, of each ten one has a picture. Some more
/// have only arrived.
const TRANSACTIONS: u8 = 40;
const ARRIVALS: u8 = 3;
/// Room that a salvage may take beside the file itself: the new file, its log, a little.
const GROWTH: u64 = 4;
const GROWTH_BYTES: u64 = 4 * 1024 * 1024;
/// Slices of the check in idle time.
const SLICES_MAX: u32 = 1_000;
/// Rows of any kind: more than there are.
const ROWS: u32 = 1_000;

/// The store before the damage.
struct Whole {
    database: Vec<u8>,
    pictures: Vec<(String, Vec<u8>)>,
    acknowledged: BTreeMap<Uuid, Vec<u8>>,
}

/// Opens a store with this damage.
pub(super) fn damaged(input: &[u8]) {
    static WHOLE: OnceLock<Option<Whole>> = OnceLock::new();
    let Some(whole) = WHOLE.get_or_init(|| make().ok()) else {
        panic!("the store cannot be made");
    };
    let Ok(directory) = scratch() else { return };
    let Ok(bytes) = lay_out(whole, directory.path(), input) else {
        return;
    };
    let before = size_of(directory.path());
    match Cache::open(directory.path(), at(60)) {
        Ok((cache, opening)) => look(whole, cache, &opening, directory.path()),
        // Refused as a whole, and then nothing of it is touched or thrown away.
        Err(_) => assert!(is_kept(directory.path(), bytes), "the damaged file is gone"),
    }
    assert!(
        size_of(directory.path()) <= before * GROWTH + GROWTH_BYTES,
        "a damaged store grows"
    );
}

/// What the opening says agrees with what is there.
fn look(whole: &Whole, mut cache: Cache, opening: &Opening, path: &Path) {
    if let Some(name) = &opening.quarantined {
        assert!(path.join(name).exists(), "the damaged file is gone");
    }
    // A late finding is a finding: the next start salvages.
    let is_whole = (0..SLICES_MAX).find_map(|_| cache.continue_check(ROWS));
    if let (Some(true), Ok(rows)) = (is_whole, cache.recent(ROWS)) {
        let strangers = rows
            .iter()
            .filter(|row| !whole.acknowledged.contains_key(&row.id))
            .count();
        let there = |id: &Uuid| rows.iter().any(|row| row.id == *id);
        let missing = whole.acknowledged.keys().filter(|id| !there(id)).count();
        let is_told = opening
            .salvaged
            .is_some_and(|salvage| salvage.lost_rows > 0);
        // A row whose id was altered is there under another, and goes to a person; one that looks
        // older than its time is forgotten, and that is told too.
        let explained = strangers as u64 + u64::from(opening.tombstones_removed);
        assert!(
            is_told || missing as u64 <= explained,
            "{missing} are missing and nobody says so: {opening:?}"
        );
    }
    if let Ok(due) = cache.due(at(61), ROWS, &Ready::ALL) {
        for queued in due {
            let expected = whole.acknowledged.get(&queued.id);
            assert_eq!(
                expected,
                Some(&queued.payload),
                "altered content is handed out"
            );
        }
    }
    // Whatever these say, they end.
    drop(std::hint::black_box(cache.tickets(false, ROWS)));
    drop(std::hint::black_box(cache.tests_of("printer-1", ROWS)));
    drop(std::hint::black_box(cache.daily_checks(ROWS)));
    drop(std::hint::black_box(cache.consumables()));
    drop(std::hint::black_box(cache.audit_entries(0, ROWS)));
    drop(std::hint::black_box(cache.depth()));
    drop(cache);
    if opening.quarantined.is_some() {
        let again = Cache::open(path, at(62));
        assert!(
            matches!(&again, Ok((_, opening)) if opening.quarantined.is_none()),
            "what was salvaged is damaged again"
        );
    }
}

/// Lays the store out with the damage of an input; how large the file is then.
fn lay_out(whole: &Whole, path: &Path, input: &[u8]) -> std::io::Result<u64> {
    let mut database = whole.database.clone();
    for damage in input.chunks_exact(DAMAGE_BYTES).take(DAMAGES_MAX) {
        let pages = (database.len() / PAGE_BYTES).max(1);
        let page = usize::from(damage[1]) % pages * PAGE_BYTES;
        let place = page + usize::from(u16::from_be_bytes([damage[2], damage[3]])) % PAGE_BYTES;
        let length = usize::from(u16::from_be_bytes([damage[4], damage[5]])) % PAGE_BYTES;
        let (value, other) = (damage[6], usize::from(damage[7]) % pages * PAGE_BYTES);
        match damage[0] % 8 {
            0 | 1 => {
                if let Some(byte) = database.get_mut(place) {
                    *byte ^= 1 << (value % 8);
                }
            }
            2 => {
                let end = (place + length).min(database.len());
                if let Some(bytes) = database.get_mut(place..end) {
                    bytes.fill(value);
                }
            }
            3 => database.truncate(place),
            4 if other + PAGE_BYTES <= database.len() && page + PAGE_BYTES <= database.len() => {
                database.copy_within(other..other + PAGE_BYTES, page);
            }
            4 => {}
            5 => database.extend(std::iter::repeat_n(value, length)),
            6 => fs::write(path.join("kiosk.db-wal"), vec![value; length])?,
            _ if value.is_multiple_of(2) => fs::write(path.join("damaged"), b"")?,
            _ => fs::write(path.join("salvage"), &damage[2..6])?,
        }
    }
    fs::write(path.join("kiosk.db"), &database)?;
    fs::create_dir(path.join("attachments"))?;
    for (name, bytes) in &whole.pictures {
        fs::write(path.join("attachments").join(name), bytes)?;
    }
    Ok(database.len() as u64)
}

/// Whether a database of this size lies there under any of its names.
fn is_kept(path: &Path, bytes: u64) -> bool {
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    let mut databases = files.filter(|file| {
        let name = file.file_name();
        name.to_str()
            .is_some_and(|name| name.starts_with("kiosk.db") && !name.ends_with("rebuilt"))
    });
    databases.any(|file| file.metadata().is_ok_and(|found| found.len() >= bytes))
}

fn size_of(path: &Path) -> u64 {
    let files = fs::read_dir(path).into_iter().flatten().flatten();
    files
        .map(|file| file.metadata().map_or(0, |found| found.len()))
        .sum()
}

fn scratch() -> std::io::Result<TempDir> {
    let memory = PathBuf::from(MEMORY);
    if memory.is_dir() {
        return tempfile::tempdir_in(memory);
    }
    tempfile::tempdir()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).expect("within the range of timestamps")
}

fn make() -> Result<Whole, CacheError> {
    let directory = scratch()?;
    let (mut cache, _) = Cache::open(directory.path(), at(0))?;
    let mut acknowledged = BTreeMap::new();
    for number in 1..=TRANSACTIONS {
        let transaction = transaction(number);
        cache.enqueue(&transaction, at(0))?;
        if number.is_multiple_of(4) {
            cache.settle(transaction.id, &receipt(), at(1))?;
        }
        acknowledged.insert(transaction.id, transaction.payload);
    }
    for number in 0..12 {
        record_work(&mut cache, number)?;
    }
    // These have not taken their places yet.
    for number in TRANSACTIONS + 1..=TRANSACTIONS + ARRIVALS {
        let transaction = NewTransaction {
            attachments: Vec::new(),
            ..transaction(number)
        };
        cache.enqueue(&transaction, at(2))?;
        acknowledged.insert(transaction.id, transaction.payload);
    }
    cache.set_setting("volume", "3")?;
    cache.set_calibration("touch", "[1,0,0,1]", "tech-3", at(2))?;
    cache.replenish("printer-1", "page", 500, "tech-3", at(2))?;
    drop(cache);
    let mut pictures = Vec::new();
    for file in fs::read_dir(directory.path().join("attachments"))? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        pictures.push((name, fs::read(file.path())?));
    }
    Ok(Whole {
        database: fs::read(directory.path().join("kiosk.db"))?,
        pictures,
        acknowledged,
    })
}

fn transaction(number: u8) -> NewTransaction {
    let picture = NewAttachment {
        id: Uuid::from_u128(1000 + u128::from(number)),
        name: "page.jpg".to_owned(),
        media_type: "image/jpeg".to_owned(),
        bytes: vec![number; 3000],
    };
    NewTransaction {
        id: Uuid::from_u128(u128::from(number)),
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 1,
        case_number: format!("T001-20261122-{number:05}"),
        subject: [number % 7; 32],
        payload: vec![number; 900],
        payload_suite: "intl".to_owned(),
        key_id: "0123456789abcdef".to_owned(),
        upstream: if number.is_multiple_of(3) { "tax" } else { "" }.to_owned(),
        can_wait: false,
        attachments: if number % 10 == 1 {
            vec![picture]
        } else {
            Vec::new()
        },
    }
}

fn receipt() -> Receipt {
    Receipt {
        reference: "R-1".to_owned(),
        outcome: "accepted".to_owned(),
        message: String::new(),
        valid_until: None,
        raw: "{}".to_owned(),
    }
}

/// A test, a ticket, a check and a grant.
fn record_work(cache: &mut Cache, number: u8) -> Result<(), CacheError> {
    let (id, device) = (u128::from(number), format!("printer-{}", number % 5));
    cache.record_test(
        &TestRecord {
            id: Uuid::from_u128(2000 + id),
            test: "print".to_owned(),
            device: device.clone(),
            verdict: Verdict::Passed,
            figures: BTreeMap::from([("darkness".to_owned(), "0.9".repeat(100))]),
            problem: String::new(),
            by: "tech-3".to_owned(),
            at: at(2),
            took_ms: 9,
            ticket: None,
        },
        at(2),
    )?;
    let (ticket, _) = cache.open_ticket(
        &NewTicket {
            device,
            class: String::new(),
            code: "printer.io".to_owned(),
            action: String::new(),
            level: Level::Town,
            sla: Sla {
                respond: Duration::from_hours(1),
                repair: Duration::from_hours(2),
            },
            before: None,
        },
        at(2),
    )?;
    let note = TicketAct::Note("x".repeat(100));
    cache.ticket_act(ticket.id, &note, "tech-3", at(2))?;
    cache.record_daily(
        &DailyCheck {
            id: Uuid::from_u128(3000 + id),
            by: "village-1".to_owned(),
            at: at(2),
            answers: BTreeMap::from([("paper".to_owned(), true)]),
            note: "x".repeat(200),
            kind: DailyKind::Open,
        },
        at(2),
    )?;
    cache.grant_used(Uuid::from_u128(4000 + id), at(2))?;
    Ok(())
}
