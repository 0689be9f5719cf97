//! What belongs into the audit log beside what the store writes itself, and when its head is signed.
//! Persons appear as keyed digests only; words of a visitor, names and numbers never do.
//!
//! The signed head travels with the heartbeat: entries that vanish later are missed by the platform.

use std::time::Duration;

use kiosk_sealing::audit::Checkpoint;
use kiosk_sealing::hex;
use offline_cache::{Cache, CacheError, NewAudit, Opening};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::boot::Boot;
use crate::clock::Moment;
use crate::config::{Mistake, kept};
use crate::event::{Erasure, Note};
use crate::keys::{KeyError, Keys};

/// Who writes: the terminal itself.
const TERMINAL: &str = "terminal";
/// Who orders.
const PLATFORM: &str = "platform";
/// The head is signed after so many entries. Chosen: a busy day.
const CHECKPOINT_ENTRIES: u64 = 100;
/// And at least this often while there is something new.
const CHECKPOINT_INTERVAL: Duration = Duration::from_hours(24);
/// How often it is looked whether a signature is due.
const LOOK_INTERVAL: Duration = Duration::from_mins(1);

/// Why the head could not be signed.
#[derive(Debug, thiserror::Error)]
enum SigningError {
    #[error(transparent)]
    Store(#[from] CacheError),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The terminal's hand in the audit log.
#[derive(Debug)]
pub(crate) struct AuditLog {
    terminal: String,
    /// When it is looked next whether a signature is due, on the monotonic clock.
    look_at: Duration,
    /// When the head was signed last, on the monotonic clock; the start of the process at first.
    signed_at: Duration,
}

impl AuditLog {
    pub(crate) fn new(terminal: &str, now: Moment) -> Self {
        Self {
            terminal: terminal.to_owned(),
            look_at: now.uptime,
            signed_at: now.uptime,
        }
    }

    /// The program runs, and this is what it found.
    pub(crate) fn started(cache: &mut Cache, opening: &Opening, now: Moment) {
        let detail = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "recovered_in_flight": opening.recovered_in_flight,
        });
        write(cache, &entry("program.started", &detail), now);
        if let Some(file) = &opening.quarantined {
            let salvaged = opening.salvaged.as_ref();
            let detail = json!({
                "file": file,
                "transactions": salvaged.map(|salvage| salvage.transactions),
                "lost_rows": salvaged.map(|salvage| salvage.lost_rows),
            });
            write(cache, &entry("store.quarantined", &detail), now);
        }
    }

    /// How the terminal was started, where that is not as usual, and who had it tried again.
    pub(crate) fn booted(cache: &mut Cache, boot: &Boot, now: Moment) {
        if let Some(release) = boot.released() {
            let audit = NewAudit {
                actor: release.by.clone(),
                ..entry("safe-mode.left", &json!({ "at": release.at }))
            };
            write(cache, &audit, now);
        }
        if let Some(reason) = boot.mode().reason() {
            let detail = json!({
                "code": reason.cause.code(), "words": reason.words, "count": reason.count,
            });
            write(cache, &entry("safe-mode.entered", &detail), now);
        }
    }

    /// The configuration is wrong, and the terminal runs with the last good one.
    pub(crate) fn kept(cache: &mut Cache, mistake: &Mistake, now: Moment) {
        let detail = json!({ "line": mistake.line, "mistake": mistake.kind });
        write(cache, &entry(kept::CODE, &detail), now);
    }

    /// The program ends; the head is signed once more.
    pub(crate) fn stopped(&mut self, cache: &mut Cache, keys: &Keys, now: Moment) {
        write(cache, &entry("program.stopped", &json!({})), now);
        self.checkpoint(cache, keys, now);
    }

    /// The check of the store found damage that the start had no time to find.
    pub(crate) fn damaged(cache: &mut Cache, now: Moment) {
        write(cache, &entry("store.damaged", &json!({})), now);
    }

    /// Something of a visit.
    pub(crate) fn note(cache: &mut Cache, keys: &Keys, note: &Note, now: Moment) {
        let audit = match note {
            Note::VisitBegun { item } => entry("visit.begun", &json!({ "item": item })),
            Note::VisitEnded { is_timed_out, .. } => {
                entry("visit.ended", &json!({ "is_timed_out": is_timed_out }))
            }
            Note::Identified {
                role,
                document,
                number,
            } => NewAudit {
                subject: Some(keys.subject(number.expose())),
                ..entry(
                    "person.identified",
                    &json!({ "role": role, "document": document }),
                )
            },
            Note::HelperActs { principal, helper } => NewAudit {
                subject: Some(keys.subject(principal.expose())),
                ..entry(
                    "helper.acts",
                    &json!({ "helper": hex(&keys.subject(helper.expose())) }),
                )
            },
            Note::Consented { principal, helper } => NewAudit {
                subject: Some(keys.subject(principal.expose())),
                ..entry(
                    "consent.given",
                    &json!({ "helper": hex(&keys.subject(helper.expose())) }),
                )
            },
        };
        write(cache, &audit, now);
    }

    /// What a visit left behind is gone.
    pub(crate) fn erased(cache: &mut Cache, erasure: Erasure, now: Moment) {
        let Erasure {
            persons,
            answers,
            pictures,
            documents,
        } = erasure;
        let detail = json!({
            "persons": persons, "answers": answers, "pictures": pictures, "documents": documents,
        });
        write(cache, &entry("visit.erased", &detail), now);
    }

    /// A print came out, or did not.
    pub(crate) fn printed(
        cache: &mut Cache,
        print: Uuid,
        transaction: Option<Uuid>,
        code: Option<&str>,
        now: Moment,
    ) {
        let (kind, detail) = match code {
            None => ("print.presented", json!({ "print": print })),
            Some(code) => ("print.spoiled", json!({ "print": print, "code": code })),
        };
        let audit = NewAudit {
            transaction,
            ..entry(kind, &detail)
        };
        write(cache, &audit, now);
    }

    /// An order of the platform was performed, or could not be.
    pub(crate) fn ordered(
        cache: &mut Cache,
        id: Uuid,
        order: &str,
        result: Result<(), &'static str>,
        now: Moment,
    ) {
        let detail = json!({ "order": id, "kind": order, "code": result.err() });
        let audit = NewAudit {
            actor: PLATFORM.to_owned(),
            ..entry("order.performed", &detail)
        };
        write(cache, &audit, now);
    }

    /// Signs the head when enough has been written since, or a day has passed.
    pub(crate) fn turn(&mut self, cache: &mut Cache, keys: &Keys, now: Moment) {
        if now.uptime < self.look_at {
            return;
        }
        self.look_at = now.uptime + LOOK_INTERVAL;
        match self.is_due(cache, now) {
            Ok(true) => self.checkpoint(cache, keys, now),
            Ok(false) => {}
            Err(error) => tracing::error!(code = error.code(), %error, "audit log"),
        }
    }

    fn is_due(&self, cache: &Cache, now: Moment) -> Result<bool, CacheError> {
        let Some((head, _)) = cache.audit_head()? else {
            return Ok(false);
        };
        let Some(last) = cache.latest_checkpoint()? else {
            return Ok(true);
        };
        let count = head.saturating_sub(last.sequence);
        // By the clock on the wall over a restart, by the other one when the first has leapt.
        let age_ms = now.at.as_millisecond().saturating_sub(last.at_ms);
        let is_old = Duration::from_millis(age_ms.unsigned_abs()) >= CHECKPOINT_INTERVAL
            || now.uptime.saturating_sub(self.signed_at) >= CHECKPOINT_INTERVAL;
        Ok(count >= CHECKPOINT_ENTRIES || (count > 0 && is_old))
    }

    fn checkpoint(&mut self, cache: &mut Cache, keys: &Keys, now: Moment) {
        match self.sign(cache, keys, now) {
            Ok(()) => self.signed_at = now.uptime,
            // It is due all the same and tried again at the next look.
            Err(error) => tracing::error!(%error, "the head of the audit log was not signed"),
        }
    }

    fn sign(&self, cache: &mut Cache, keys: &Keys, now: Moment) -> Result<(), SigningError> {
        let Some((sequence, head)) = cache.audit_head()? else {
            return Ok(());
        };
        if cache
            .latest_checkpoint()?
            .is_some_and(|last| last.sequence >= sequence)
        {
            return Ok(());
        }
        let at_ms = now.at.as_millisecond();
        let checkpoint = Checkpoint::sign(keys.device(), &self.terminal, sequence, head, at_ms)
            .map_err(KeyError::from)?;
        cache.add_checkpoint(&checkpoint)?;
        Ok(())
    }
}

fn entry(kind: &str, detail: &Value) -> NewAudit {
    NewAudit {
        kind: kind.to_owned(),
        actor: TERMINAL.to_owned(),
        subject: None,
        transaction: None,
        detail: detail.to_string(),
    }
}

/// A log that cannot be written is reported and stops nobody: what it speaks of has happened.
fn write(cache: &mut Cache, audit: &NewAudit, now: Moment) {
    if let Err(error) = cache.audit(audit, now.at) {
        tracing::error!(code = error.code(), kind = audit.kind, %error, "audit log");
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kiosk_device::Sensitive;
    use kiosk_sealing::audit::verify;
    use kiosk_sealing::{Algorithm, KeySource};

    use super::*;
    use crate::event::VisitEnd;

    const NUMBER: &str = "440100197505050046";

    fn at(second: u64) -> Moment {
        Moment {
            at: Timestamp::from_second(1_795_311_660 + i64::try_from(second).unwrap()).unwrap(),
            uptime: Duration::from_secs(second),
        }
    }

    struct Bench {
        _directory: tempfile::TempDir,
        cache: Cache,
        keys: Keys,
        log: AuditLog,
    }

    fn bench() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let source = KeySource::File {
            path: directory.path().join("device-key.pk8"),
            algorithm: Algorithm::Ed25519,
        };
        let options = offline_cache::Options {
            terminal: "T001".to_owned(),
            ..offline_cache::Options::default()
        };
        let (mut cache, opening) =
            Cache::open_with(&directory.path().join("store"), &options, at(0).at).unwrap();
        AuditLog::started(&mut cache, &opening, at(0));
        Bench {
            cache,
            keys: Keys::open(directory.path(), &source).unwrap(),
            log: AuditLog::new("T001", at(0)),
            _directory: directory,
        }
    }

    fn kinds(cache: &Cache) -> Vec<String> {
        cache
            .audit_entries(0, 1000)
            .unwrap()
            .into_iter()
            .map(|(entry, _)| entry.kind)
            .collect()
    }

    #[test]
    fn persons_are_in_the_log_as_keyed_digests_and_never_otherwise() {
        let mut bench = bench();
        let number = || Sensitive::new(NUMBER.to_owned());
        let notes = [
            Note::VisitBegun {
                item: "old-age-allowance".to_owned(),
            },
            Note::Identified {
                role: "principal",
                document: "id-card",
                number: number(),
            },
            Note::HelperActs {
                principal: number(),
                helper: number(),
            },
            Note::Consented {
                principal: number(),
                helper: number(),
            },
            Note::VisitEnded {
                item: "a".to_owned(),
                end: VisitEnd::Completed,
                is_timed_out: true,
            },
        ];
        for note in &notes {
            AuditLog::note(&mut bench.cache, &bench.keys, note, at(1));
        }
        let kinds = kinds(&bench.cache);
        for kind in [
            "program.started",
            "visit.begun",
            "person.identified",
            "helper.acts",
            "consent.given",
            "visit.ended",
        ] {
            assert!(kinds.iter().any(|found| found == kind), "{kind}");
        }
        let entries = bench.cache.audit_entries(0, 1000).unwrap();
        let digest = bench.keys.subject(NUMBER);
        assert!(
            entries
                .iter()
                .any(|(entry, _)| entry.subject == Some(digest))
        );
        for (entry, _) in &entries {
            assert!(!format!("{entry:?}").contains(NUMBER), "{}", entry.kind);
        }
    }

    #[test]
    fn the_head_is_signed_after_a_hundred_entries_after_a_day_and_at_the_end() {
        let mut bench = bench();
        let Bench {
            cache, keys, log, ..
        } = &mut bench;
        log.turn(cache, keys, at(0));
        let first = cache.latest_checkpoint().unwrap().unwrap().sequence;
        for second in 1..=CHECKPOINT_ENTRIES {
            AuditLog::erased(cache, Erasure::default(), at(second));
        }
        log.turn(cache, keys, at(59));
        assert_eq!(cache.latest_checkpoint().unwrap().unwrap().sequence, first);
        log.turn(cache, keys, at(60));
        let second = cache.latest_checkpoint().unwrap().unwrap().sequence;
        assert!(second >= first + CHECKPOINT_ENTRIES);
        AuditLog::erased(cache, Erasure::default(), at(61));
        log.turn(cache, keys, at(3600));
        assert_eq!(cache.latest_checkpoint().unwrap().unwrap().sequence, second);
        log.turn(cache, keys, at(60 + 24 * 3600));
        let third = cache.latest_checkpoint().unwrap().unwrap().sequence;
        assert_eq!(third, second + 1);
        log.stopped(cache, keys, at(90_000));
        let last = cache.latest_checkpoint().unwrap().unwrap();
        assert_eq!(last.sequence, cache.audit_head().unwrap().unwrap().0);

        let entries = cache.audit_entries(0, 1000).unwrap();
        let entries = entries.into_iter().map(Ok::<_, CacheError>);
        let report = verify("T001", entries, &[last], &[keys.public()], None);
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }
}
