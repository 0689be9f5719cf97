//! The terminal's own drain, through the thin line, into the reference platform: nothing of it is
//! imitated but the line. What is sent is sealed as the terminal seals it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use central_platform::{Config, Platform as CentralPlatform};
use jiff::Timestamp;
use kiosk_app::config;
use kiosk_app::event::Event;
use kiosk_app::platform::messages::batch_body;
use kiosk_app::platform::{Identity, Platform};
use kiosk_app::runtime::Input;
use kiosk_sealing::{
    Algorithm, DeviceKey, RecipientKey, attachment_context, payload_context, seal,
};
use offline_cache::{Cache, NewAttachment, NewTransaction, Options, Sequence};
use serde_json::json;
use uuid::Uuid;

use super::proxy::ThinLine;
use super::{BITS_PER_SECOND, LineResult};
use crate::clock::{self, Watch};
use crate::records::{self, Numbers, RECORD_BYTES};

/// There and back, over a village's radio link.
const ROUND_TRIP: Duration = Duration::from_millis(80);
/// Name of the terminal.
const TERMINAL: &str = "T001";
/// A picture of a page as the camera module compresses it.
const PICTURE_BYTES: usize = 200 * 1024;
/// One transaction with a picture for so many without, so that both take about as long.
const PICTURE_SHARE: u32 = 40;
/// What the terminal says before it sends anything (probe, heartbeat, wishes) is less than this.
const HELLO_BYTES: u64 = 8 * 1024;
/// How often the line is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait for the next receipt; a pause of the drain's own is half a minute at most.
const STALL_LIMIT: Duration = Duration::from_mins(3);
/// News that may wait; the program only counts them.
const NEWS_LIMIT: usize = 4096;
/// Transactions read at once for the size of their messages.
const READ_AT_ONCE: u32 = 100;
/// Seed of what is sent.
const SEED: u64 = 80;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Forms of 1 KiB, in the clear; only this shows what compression does to text.
    PlainForms,
    /// Forms of 1 KiB, sealed.
    SealedForms,
    /// Forms of 1 KiB with a picture each, all sealed.
    SealedPictures,
}

/// Drains each load over a line of its own.
///
/// # Errors
/// When a part cannot be started, when a transaction is refused, or nothing moves for minutes.
pub fn measure(transactions: u32, work: &Path) -> anyhow::Result<Vec<LineResult>> {
    fs::create_dir_all(work)?;
    let loads = [
        (Load::PlainForms, "forms of 1 KiB, plain", transactions),
        (Load::SealedForms, "forms of 1 KiB, sealed", transactions),
        (
            Load::SealedPictures,
            "forms with a picture of 200 KiB, sealed",
            transactions.div_ceil(PICTURE_SHARE),
        ),
    ];
    let mut results = Vec::new();
    for (load, name, count) in loads {
        let directory = tempfile::tempdir_in(work)?;
        let mut result = drain(load, count, directory.path()).with_context(|| name.to_owned())?;
        name.clone_into(&mut result.name);
        results.push(result);
    }
    Ok(results)
}

fn drain(load: Load, count: u32, directory: &Path) -> anyhow::Result<LineResult> {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let central = CentralPlatform::start(&directory.join("platform"), anywhere, Config::default())?;
    let key: RecipientKey = central.sealing_key().parse()?;
    let options = Options {
        terminal: TERMINAL.to_owned(),
        ..Options::default()
    };
    let (mut cache, _) = Cache::open_with(&directory.join("store"), &options, clock::now())?;
    let payload_bytes = enqueue(&mut cache, load, count, &key)?;
    let message_bytes = message_bytes(&cache)?;

    let line = ThinLine::start(central.address(), BITS_PER_SECOND, ROUND_TRIP)?;
    let settings = config::Platform {
        url: format!("http://{}", line.address()),
        seal_keys: std::collections::BTreeMap::default(),
        probe_s: 1,
        sealing_key: key,
        command_keys: Vec::new(),
        tls: None,
        bytes_per_s: None,
        off_hours: None,
    };
    let identity = Identity {
        terminal: TERMINAL.to_owned(),
        key: Arc::new(DeviceKey::generate(Algorithm::Ed25519)?),
    };
    let (out, news) = sync_channel(NEWS_LIMIT);
    let terminal = Platform::start(&settings, identity, cache, out)?;
    let seconds = wait_for_all(&news, &line, count)?;
    let result = LineResult {
        name: String::new(),
        transactions: u64::from(count),
        payload_bytes,
        message_bytes,
        seconds: seconds.as_secs_f64(),
        bytes_up: line.bytes_up(),
        bytes_down: line.bytes_down(),
    };
    drop(terminal);
    ensure!(
        central.accepted()?.len() == usize::try_from(count)?,
        "the platform did not take every transaction once"
    );
    Ok(result)
}

/// Time from the first bytes of work on the line to the last receipt.
fn wait_for_all(news: &Receiver<Input>, line: &ThinLine, count: u32) -> anyhow::Result<Duration> {
    let (mut begun, mut settled) = (None, 0);
    let mut moved = Watch::start();
    while settled < count {
        if begun.is_none() && line.bytes_up() > HELLO_BYTES {
            begun = Some(Watch::start());
        }
        match news.recv_timeout(LOOK) {
            Ok(Input::Event(Event::Settled { receipt, .. })) => {
                ensure!(
                    receipt.outcome != "rejected",
                    "the platform refused a transaction"
                );
                settled += 1;
                moved = Watch::start();
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the drain has ended"),
        }
        ensure!(
            moved.elapsed() < STALL_LIMIT,
            "nothing moves; {settled} of {count} are settled"
        );
    }
    begun
        .map(Watch::elapsed)
        .context("there was nothing on the line; ask for more transactions")
}

/// Fills the outbox; returns the bytes before sealing.
fn enqueue(cache: &mut Cache, load: Load, count: u32, key: &RecipientKey) -> anyhow::Result<u64> {
    let mut numbers = Numbers::new(SEED);
    let mut bytes = 0;
    for number in 0..count {
        let now = clock::now();
        let id = Uuid::now_v7();
        let form = form(number, now, &mut numbers);
        bytes += form.len() as u64;
        let mut subject = [0; 32];
        subject.copy_from_slice(&numbers.bytes(32));
        let (payload, payload_suite, key_id) = match load {
            Load::PlainForms => (form, "plain".to_owned(), String::new()),
            Load::SealedForms | Load::SealedPictures => (
                seal(key, &payload_context(TERMINAL, id), &form)?,
                key.suite().to_string(),
                key.key_id(),
            ),
        };
        let mut attachments = Vec::new();
        if load == Load::SealedPictures {
            let picture = numbers.bytes(PICTURE_BYTES);
            bytes += picture.len() as u64;
            let attachment = Uuid::now_v7();
            attachments.push(NewAttachment {
                id: attachment,
                name: "household-register-1.jpg".to_owned(),
                media_type: "image/jpeg".to_owned(),
                bytes: seal(key, &attachment_context(TERMINAL, id, attachment), &picture)?,
            });
        }
        cache.enqueue(
            &NewTransaction {
                id,
                kind: "case".to_owned(),
                item: "old-age-allowance".to_owned(),
                item_version: 1,
                case_number: format!("{TERMINAL}-20261122-{number:05}"),
                subject,
                payload,
                payload_suite,
                key_id,
                upstream: String::new(),
                can_wait: false,
                attachments,
            },
            now,
        )?;
    }
    Ok(bytes)
}

/// A form as the terminal writes it, of a synthetic person, filled up to the size of a record with
/// letters that do not repeat: no two people write the same.
fn form(number: u32, now: Timestamp, numbers: &mut Numbers) -> Vec<u8> {
    let with = |remark: &str| {
        json!({
            "format": 1,
            "case_number": format!("{TERMINAL}-20261122-{number:05}"),
            "item": "old-age-allowance",
            "principal": {
                "name": "测试一",
                "number": "440100197505050046",
                "identified_by": "id-card",
            },
            "address": "测试省测试市测试镇测试村一组",
            "helper": null,
            "consent_time": now.to_string(),
            "answers": { "phone": "13800000000", "account": "6200000000000000000", "remark": remark },
            "is_offline": true,
            "channel": "kiosk",
            "confirmed_at": now.to_string(),
        })
        .to_string()
    };
    let room = RECORD_BYTES.saturating_sub(with("").len());
    let letters = records::letters(1, numbers.draw());
    let remark = String::from_utf8_lossy(&letters[..room.min(letters.len())]).into_owned();
    with(&remark).into_bytes()
}

/// Bytes of everything that is sent before it is compressed: the batches, as large as the drain's,
/// and the attachments.
fn message_bytes(cache: &Cache) -> anyhow::Result<u64> {
    let (mut bytes, mut after) = (0, Sequence(0));
    loop {
        let queued = cache.carry_out(after, READ_AT_ONCE)?;
        let Some(last) = queued.last() else {
            return Ok(bytes);
        };
        after = last.sequence;
        bytes += batch_body(TERMINAL, &queued).len() as u64;
        let attachments = queued.iter().flat_map(|each| &each.attachments);
        bytes += attachments.map(|each| each.size).sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_the_size_of_a_record_and_is_json() {
        let now = Timestamp::from_second(1_795_000_000).unwrap();
        let form = form(7, now, &mut Numbers::new(1));
        assert_eq!(form.len(), RECORD_BYTES);
        let value: serde_json::Value = serde_json::from_slice(&form).unwrap();
        assert_eq!(value["case_number"], "T001-20261122-00007");
    }

    #[test]
    fn every_load_is_drained_whole() {
        let directory = tempfile::tempdir().unwrap();
        let results = measure(24, directory.path()).unwrap();
        assert_eq!(results.len(), 3);
        for result in results {
            assert!(result.seconds > 0.0, "{result:?}");
            assert!(result.bytes_up > HELLO_BYTES, "{result:?}");
            assert!(result.message_bytes > result.payload_bytes, "{result:?}");
            assert!(result.share_of_line() <= 1.0, "{result:?}");
        }
    }
}
