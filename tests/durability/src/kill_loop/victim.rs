//! The victim: a terminal without glass and devices, with the real store, the real sealing, the
//! real keys, the real drain and a real line. One thread enqueues, one drains, one does what staff
//! do, each on a connection of its own, as in the program. Each thing it has done it says in one
//! write, after it is done.
//!
//! Time is the drain's own: whatever it wants to wait for has passed at once, so that a life of
//! milliseconds holds days of retries.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use kiosk_app::keys::{KeyError, Keys};
use kiosk_sealing::{
    Algorithm, KeySource, RecipientKey, attachment_context, payload_context, seal,
};
use offline_cache::{Cache, NewAttachment, NewTransaction, Options};

use super::case::Case;
use super::hands::Hands;
use super::line::Line;
use super::staff::Staff;
use super::{TERMINAL, Weakness};
use kiosk_tests::random::Random;

/// The enqueuing thread rests while so many wait, so that the drain keeps up.
const WAITING_MAX: u64 = 60;
/// Transactions of one life at most; it is killed long before.
const TRANSACTIONS_MAX: u64 = 100_000;
/// A real pause of the enqueuing thread while too many wait.
const REST: Duration = Duration::from_micros(500);

/// How to play.
#[derive(Debug)]
pub struct Victim {
    /// Directory of the store.
    pub directory: PathBuf,
    /// Directory of the terminal's keys, which the platform knows.
    pub keys: PathBuf,
    /// Where the platform is.
    pub address: SocketAddr,
    /// The platform's key.
    pub sealing_key: String,
    /// Seed of the content.
    pub seed: u64,
    /// Seed of everything else.
    pub dice: u64,
    /// Wall clock at the start, in seconds since 1970.
    pub clock_s: i64,
    /// Number of the first transaction, and of the first thing that staff do.
    pub first: u64,
    /// Numbers whose fate the last life did not live to hear of.
    pub in_doubt: Vec<u64>,
    /// Enqueue nothing, and end when the outbox is empty.
    pub until_empty: bool,
    /// What is broken on purpose, and must be noticed.
    pub weakness: Weakness,
}

/// A pipe to the oracle: every line is one write, so that what was said was said whole.
pub(super) struct Voice(File);

impl Voice {
    pub(super) fn new() -> std::io::Result<Self> {
        let descriptor = std::io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self(File::from(descriptor)))
    }

    pub(super) fn say(&mut self, line: &str) -> anyhow::Result<()> {
        self.0.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }
}

/// Opens the terminal's keys, making them the first time.
///
/// # Errors
/// As [`Keys::open`].
pub(super) fn open_keys(directory: &Path) -> Result<Keys, KeyError> {
    let source = KeySource::File {
        path: directory.join("device-key.pk8"),
        algorithm: Algorithm::Ed25519,
    };
    Keys::open(directory, &source)
}

/// Plays the victim until it is killed.
///
/// # Errors
/// When the store or the pipe fails. The oracle has heard why.
pub fn play(victim: &Victim) -> anyhow::Result<()> {
    let mut voice = Voice::new()?;
    for thread in ["enqueuing", "syncing", "working"] {
        voice.say(&format!("phase {thread} opening"))?;
    }
    let options = Options {
        terminal: TERMINAL.to_owned(),
        ..Options::default()
    };
    let clock = Arc::new(AtomicI64::new(victim.clock_s * 1000));
    let (mut cache, opening) = Cache::open_with(&victim.directory, &options, at(&clock)?)?;
    if let Some(name) = opening.quarantined {
        voice.say(&format!("wrong quarantined {name}"))?;
    }
    for number in &victim.in_doubt {
        let case = Case::new(victim.seed, *number);
        let is_there = cache.case(&case.slip_number)?.is_some();
        let word = if is_there { "there" } else { "absent" };
        voice.say(&format!("{word} {number}"))?;
    }
    let mut dice = Random::new(victim.dice);
    let line = Line::new(
        victim.address,
        Arc::clone(open_keys(&victim.keys)?.device()),
        Arc::clone(&clock),
        dice.part(3).bits(),
        victim.weakness == Weakness::ForeignAnswer,
    );
    let (wake, woken) = sync_channel(1);
    let staff = Staff::new(cache.another()?, line.clone(), &clock, victim)?;
    let hands = Hands::new(
        cache.another()?,
        line,
        Arc::clone(&clock),
        dice.part(2).bits(),
        woken,
        victim.until_empty,
    )?;
    let threads = [
        thread("staff", move || staff.run())?,
        thread("platform", move || hands.run())?,
    ];
    if !victim.until_empty {
        enqueue(victim, &mut cache, &mut voice, &clock, &wake)?;
    }
    for thread in threads {
        let ended = thread.join();
        ended.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    Ok(())
}

fn thread(
    name: &str,
    run: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> std::io::Result<JoinHandle<anyhow::Result<()>>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// The victim's wall clock.
pub(super) fn at(clock: &AtomicI64) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::from_millisecond(clock.load(Ordering::Relaxed))?)
}

/// Waits on a channel nobody sends to.
pub(super) fn pause(never: &Receiver<()>, pause: Duration) {
    let _is_over = never.recv_timeout(pause).is_err();
}

fn enqueue(
    victim: &Victim,
    cache: &mut Cache,
    voice: &mut Voice,
    clock: &AtomicI64,
    wake: &SyncSender<()>,
) -> anyhow::Result<()> {
    let key: RecipientKey = victim.sealing_key.parse().context("no sealing key")?;
    let mut random = Random::new(victim.dice).part(1);
    let (_keeps_it_open, never) = sync_channel::<()>(1);
    let is_early = victim.weakness == Weakness::AcknowledgeEarly;
    for number in victim.first..victim.first + TRANSACTIONS_MAX {
        voice.say("phase enqueuing rest")?;
        pause(&never, Duration::from_micros(random.below(3000)));
        while cache.depth()?.waiting > WAITING_MAX {
            pause(&never, REST);
        }
        voice.say("phase enqueuing seal")?;
        let new = sealed(&Case::new(victim.seed, number), &key)?;
        voice.say(&format!("begun {number}"))?;
        if !new.attachments.is_empty() {
            voice.say("phase enqueuing attach")?;
        }
        voice.say("phase enqueuing commit")?;
        if is_early {
            voice.say(&format!("enqueued {number}"))?;
        }
        cache.enqueue(&new, at(clock)?)?;
        if !is_early {
            voice.say(&format!("enqueued {number}"))?;
        }
        // A full channel means that the drain is awake already.
        let _is_news = wake.try_send(()).is_ok();
    }
    Ok(())
}

fn sealed(case: &Case, key: &RecipientKey) -> anyhow::Result<NewTransaction> {
    let attachments: Result<_, anyhow::Error> = case
        .attachments
        .iter()
        .map(|(id, bytes)| {
            Ok(NewAttachment {
                id: *id,
                name: "page.jpg".to_owned(),
                media_type: "image/jpeg".to_owned(),
                bytes: seal(key, &attachment_context(TERMINAL, case.id, *id), bytes)?,
            })
        })
        .collect();
    let context = payload_context(TERMINAL, case.id);
    Ok(NewTransaction {
        id: case.id,
        kind: "case".to_owned(),
        item: "old-age-allowance".to_owned(),
        item_version: 1,
        case_number: case.slip_number.clone(),
        subject: case.subject,
        payload: seal(key, &context, case.payload.as_bytes())?,
        payload_suite: key.suite().to_string(),
        key_id: key.key_id(),
        upstream: String::new(),
        can_wait: false,
        attachments: attachments?,
    })
}
