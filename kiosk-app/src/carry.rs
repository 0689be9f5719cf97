//! The queue on a stick: bundle parts out, receipts in. For a village whose line is gone for weeks.
//!
//! Carrying changes nothing but a mark: a row stays in the queue until its receipt comes, by the same
//! road or by the network, whichever is first. The id is the key on both, so nothing doubles.

use std::io::Write;

use kiosk_sealing::bundle::{self, BundleError, Entry, EntryAttachment, Manifest};
use kiosk_sealing::signed::{self, SignedError};
use kiosk_sealing::{CarriedReceipts, DeviceKey, PublicKey};
use offline_cache::{Cache, CacheError, QueuedTransaction, Sequence, Settled};
use uuid::Uuid;

use crate::clock::Moment;
use crate::platform::drain::{BatchResult, ProblemReply, receipt};
use kiosk_sealing::hex;

pub mod stick;

/// Largest file of receipts that is read, in bytes. Chosen: 100,000 results of the largest receipt
/// that is usual (600 bytes).
pub const RECEIPTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most results in one file: what a bundle part may hold.
const RESULTS_MAX: usize = 100_000;
/// Rows read from the queue at once; 64 payloads of 128 KiB are 8 MiB.
const ROWS_AT_ONCE: u32 = 64;
/// Most rows in one part. Chosen, well below what the format allows: a part that is lost on the way
/// costs no more than this.
const PART_ROWS_MAX: usize = 10_000;
/// Bytes of transactions in one part.
const PART_CONTENT_MAX: u64 = bundle::PART_BYTES_MAX - bundle::PART_OVERHEAD_BYTES_MAX;
/// Longest detail kept with a parked transaction, in bytes (the cache's own limit).
const DETAIL_BYTES_MAX: usize = 512;

/// Why something could not be carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] CacheError),
    /// The bundle could not be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The receipts are not signed by a key of `platform.command_keys`, or are damaged.
    #[error(transparent)]
    Signature(#[from] SignedError),
    /// The receipts are signed and make no sense.
    #[error("the receipts cannot be understood")]
    Malformed,
    /// The receipts are for another terminal.
    #[error("the receipts are for terminal {terminal}")]
    OtherTerminal {
        /// Whose they are.
        terminal: String,
    },
}

impl CarryError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Bundle(error) => error.code(),
            Self::Signature(error) => error.code(),
            Self::Malformed => "bundle.receipts-malformed",
            Self::OtherTerminal { .. } => "bundle.other-terminal",
        }
    }
}

/// What a bundle would hold now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Transactions.
    pub transactions: u64,
    /// Bytes on the stick, at most.
    pub bytes: u64,
}

/// Which part of which bundle, and after which row it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bundle.
    pub bundle: Uuid,
    /// The part, from 1.
    pub part: u32,
    /// The last row of the part before; 0 for the first part.
    pub after: Sequence,
}

/// One written part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What it holds; empty when there was nothing left, and then nothing was written.
    pub ids: Vec<Uuid>,
    /// Where the next part goes on.
    pub last: i64,
    /// Transactions that had to be left out: an attachment is damaged, or it is larger than a part.
    pub left_out: Vec<Uuid>,
}

/// What became of the results in a file of receipts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Settled by this file.
    pub settled: u32,
    /// Settled before, by the network or by an earlier file.
    pub settled_before: u32,
    /// Refused by the platform; they wait for a person now.
    pub parked: u32,
    /// The platform wants them again; they stay in the queue.
    pub waiting: u32,
    /// Not of this queue, or not understood.
    pub unknown: u32,
}

/// What a bundle would hold now.
///
/// # Errors
/// `Store`.
pub fn load(cache: &Cache) -> Result<Load, CarryError> {
    let mut load = Load::default();
    let mut after = Sequence(0);
    loop {
        let rows = cache.carry_out(after, ROWS_AT_ONCE)?;
        let Some(last) = rows.last() else {
            return Ok(load);
        };
        after = last.sequence;
        load.transactions += rows.len() as u64;
        load.bytes += rows.iter().map(size).sum::<u64>() + bundle::PART_OVERHEAD_BYTES_MAX;
    }
}

/// Writes one part of a bundle: open rows after a place, in order, as many as fit. The rows stay
/// what they are; mark them when the part is safe.
///
/// # Errors
/// `Store`, or `Bundle` when `out` fails; nothing was changed.
pub fn write_part(
    cache: &Cache,
    key: &DeviceKey,
    terminal: &str,
    place: Place,
    out: &mut dyn Write,
    now: Moment,
) -> Result<Part, CarryError> {
    let (rows, mut part) = select(cache, place.after)?;
    if rows.is_empty() {
        return Ok(part);
    }
    let manifest = Manifest {
        format: bundle::FORMAT,
        terminal: terminal.to_owned(),
        bundle: place.bundle,
        part: place.part,
        made_at: now.at,
        transactions: u32::try_from(rows.len()).unwrap_or(u32::MAX),
    };
    let mut writer = bundle::Writer::begin(out, &manifest)?;
    for row in &rows {
        let attachments = row
            .attachments
            .iter()
            .map(|attachment| cache.attachment_bytes(attachment.id))
            .collect::<Result<Vec<_>, _>>()?;
        writer.transaction(&entry(row), &row.payload, &attachments)?;
        part.ids.push(row.id);
    }
    writer.finish(key)?.flush().map_err(BundleError::from)?;
    Ok(part)
}

/// Rows for one part, each looked at whether it can be carried whole: a damaged one is left out and
/// stops nobody else.
fn select(cache: &Cache, after: Sequence) -> Result<(Vec<QueuedTransaction>, Part), CarryError> {
    let mut rows = Vec::new();
    let mut part = Part {
        last: after.0,
        ..Part::default()
    };
    let mut left = PART_CONTENT_MAX;
    loop {
        let more = cache.carry_out(Sequence(part.last), ROWS_AT_ONCE)?;
        if more.is_empty() {
            return Ok((rows, part));
        }
        for row in more {
            let bytes = size(&row);
            let is_too_large = bytes > PART_CONTENT_MAX || !fits(&row);
            if !is_too_large && (bytes > left || rows.len() >= PART_ROWS_MAX) {
                return Ok((rows, part));
            }
            part.last = row.sequence.0;
            if is_too_large || !is_whole(cache, &row)? {
                tracing::error!(id = %row.id, is_too_large, "a transaction cannot be carried");
                part.left_out.push(row.id);
                continue;
            }
            left -= bytes;
            rows.push(row);
        }
    }
}

fn is_whole(cache: &Cache, row: &QueuedTransaction) -> Result<bool, CacheError> {
    for attachment in &row.attachments {
        match cache.attachment_bytes(attachment.id) {
            Ok(_) => {}
            Err(CacheError::AttachmentDamaged { .. } | CacheError::UnknownAttachment { .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Bytes of a transaction in a bundle.
fn size(row: &QueuedTransaction) -> u64 {
    entry(row).framed_bytes(row.payload.len())
}

/// Whether every piece is within what a bundle takes.
fn fits(row: &QueuedTransaction) -> bool {
    row.payload.len() <= bundle::PAYLOAD_BYTES_MAX
        && row.attachments.len() <= bundle::ATTACHMENTS_MAX
        && row
            .attachments
            .iter()
            .all(|attachment| attachment.size <= bundle::ATTACHMENT_BYTES_MAX as u64)
}

fn entry(row: &QueuedTransaction) -> Entry {
    Entry {
        id: row.id,
        kind: row.kind.clone(),
        item: row.item.clone(),
        item_version: row.item_version,
        case_number: row.case_number.clone(),
        enqueued_at: row.enqueued_at,
        upstream: row.upstream.clone(),
        payload_suite: row.payload_suite.clone(),
        attachments: row
            .attachments
            .iter()
            .map(|attachment| EntryAttachment {
                id: attachment.id,
                name: attachment.name.clone(),
                media_type: attachment.media_type.clone(),
                size: attachment.size,
                sha256: hex(&attachment.sha256),
            })
            .collect(),
    }
}

/// Reads a file of receipts: only what a command key has signed, and only for this terminal.
///
/// # Errors
/// `Signature`, `Malformed`, `OtherTerminal`.
pub fn read_receipts(
    text: &str,
    terminal: &str,
    keys: &[PublicKey],
) -> Result<CarriedReceipts, CarryError> {
    let body = signed::verify(keys, signed::RECEIPTS, text.trim(), RECEIPTS_BYTES_MAX)?;
    let receipts: CarriedReceipts =
        serde_json::from_slice(&body).map_err(|_| CarryError::Malformed)?;
    if receipts.results.len() > RESULTS_MAX {
        return Err(CarryError::Malformed);
    }
    if receipts.terminal != terminal {
        return Err(CarryError::OtherTerminal {
            terminal: receipts.terminal,
        });
    }
    Ok(receipts)
}

/// Settles what the receipts settle. Reading the same file again changes nothing.
///
/// # Errors
/// `Store`; what was settled until then stays settled, and the file can be read again.
pub fn import(
    cache: &mut Cache,
    receipts: CarriedReceipts,
    now: Moment,
) -> Result<Imported, CarryError> {
    let mut imported = Imported::default();
    for result in receipts.results {
        match serde_json::from_value::<BatchResult>(result) {
            Ok(result) => take(cache, result, &mut imported, now)?,
            Err(_) => imported.unknown += 1,
        }
    }
    Ok(imported)
}

fn take(
    cache: &mut Cache,
    result: BatchResult,
    imported: &mut Imported,
    now: Moment,
) -> Result<(), CacheError> {
    let problem = result.problem.unwrap_or_default();
    match result.result.as_str() {
        "accepted" | "duplicate" => {
            let Some(receipt) = result.receipt.as_ref().and_then(receipt) else {
                imported.unknown += 1;
                return Ok(());
            };
            match cache.settle(result.id, &receipt, now.at) {
                Ok(Settled::Now) => imported.settled += 1,
                Ok(Settled::Before) => imported.settled_before += 1,
                Err(error) => unless_gone(error, imported)?,
            }
        }
        // The platform has lost a key; what was sealed to it is not at fault.
        "rejected" if problem.code != "envelope.unknown-key" => {
            let detail = detail(&problem);
            match cache.park(result.id, "platform", "platform.rejected", &detail, now.at) {
                Ok(()) => imported.parked += 1,
                Err(error) => unless_gone(error, imported)?,
            }
        }
        "rejected" | "retry" => imported.waiting += 1,
        _ => imported.unknown += 1,
    }
    Ok(())
}

/// What was settled, closed or forgotten meanwhile needs nothing more.
fn unless_gone(error: CacheError, imported: &mut Imported) -> Result<(), CacheError> {
    if let CacheError::UnknownTransaction { .. } = error {
        imported.unknown += 1;
        return Ok(());
    }
    if let CacheError::WrongState { .. } = error {
        imported.settled_before += 1;
        return Ok(());
    }
    Err(error)
}

/// What staff read about a refusal, within the cache's limit.
fn detail(problem: &ProblemReply) -> String {
    let mut text = format!("{}: {}", problem.code, problem.detail);
    text.truncate(text.floor_char_boundary(DETAIL_BYTES_MAX));
    text
}
