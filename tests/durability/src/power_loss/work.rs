//! A terminal's work on the store, faster than any visitor: enqueue, upload, send, settle, defer,
//! park, staff's acts, numbers, settings, audit, restarts. Two connections, as in the program.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::{Date, date};
use offline_cache::{Cache, CacheError, NewAudit, Options, QueuedTransaction, Ready};

use super::TERMINAL;
use super::account::{Account, CLOSED, SETTING, Standing, receipt};
use kiosk_tests::random::Random;

/// Acts of a round at most; the power fails long before.
const ACTS_MAX: u32 = 5000;
/// Day under which case numbers are counted.
const DAY: Date = date(2026, 11, 22);

/// Why the work ended.
#[derive(Debug)]
pub(super) enum End {
    /// The store refused.
    Failed {
        /// What it was doing.
        doing: &'static str,
        error: CacheError,
    },
    /// The store did what it must not, with the power on.
    Wrong(String),
    /// Nothing ever failed.
    Endless,
}

/// The wall clock of every life; nothing in it depends on the time.
pub(super) fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).expect("within the range of timestamps")
}

struct Work<'a> {
    front: Cache,
    drain: Cache,
    account: &'a mut Account,
    random: &'a mut Random,
    doing: &'static str,
    wrong: Option<String>,
}

/// Works until the store refuses.
pub(super) fn until_the_power_fails(
    cache: Cache,
    options: &Options,
    directory: &Path,
    account: &mut Account,
    random: &mut Random,
) -> End {
    let mut cache = Some(cache);
    for _ in 0..ACTS_MAX {
        let doing = "opening";
        let front = match cache.take() {
            Some(cache) => cache,
            None => match Cache::open_with(directory, options, now()) {
                Ok((cache, _)) => cache,
                Err(error) => return End::Failed { doing, error },
            },
        };
        let drain = match front.another() {
            Ok(drain) => drain,
            Err(error) => return End::Failed { doing, error },
        };
        let mut work = Work {
            front,
            drain,
            account,
            random,
            doing,
            wrong: None,
        };
        // Closing the store is work too: it moves the log into the database.
        let acts = 1 + work.random.below(60);
        for _ in 0..acts {
            if let Err(error) = work.act() {
                let doing = work.doing;
                return End::Failed { doing, error };
            }
            if let Some(finding) = work.wrong {
                return End::Wrong(finding);
            }
        }
    }
    End::Endless
}

impl Work<'_> {
    fn act(&mut self) -> Result<(), CacheError> {
        match self.random.below(100) {
            0..50 => self.enqueue()?,
            50..70 => self.send()?,
            70..75 => self.staff()?,
            75..80 => {
                self.doing = "setting";
                let front = &mut self.front;
                self.account
                    .count(|value| front.set_setting(SETTING, value))?;
            }
            80..87 => {
                self.doing = "numbering";
                let number = self.front.next_number(TERMINAL, DAY)?;
                self.wrong = self.account.numbered(number);
            }
            87..94 => {
                self.doing = "audit";
                self.front.audit(&entry(), now())?;
            }
            _ => {
                self.doing = "scrubbing";
                self.drain.scrub()?;
            }
        }
        let head = self.front.audit_head()?;
        self.account.anchor(head);
        Ok(())
    }

    fn enqueue(&mut self) -> Result<(), CacheError> {
        let number = self.account.next_number();
        let new = self.account.transaction(number);
        self.doing = if new.attachments.is_empty() {
            "enqueue"
        } else {
            "enqueue with attachments"
        };
        let front = &mut self.front;
        let sequence = self
            .account
            .change(number, Standing::Open, || front.enqueue(&new, now()))?;
        self.account.enqueued(number, sequence);
        Ok(())
    }

    /// Uploads what waits and answers for the platform.
    fn send(&mut self) -> Result<(), CacheError> {
        self.doing = "uploading";
        for attachment in self.drain.attachments_due(now(), 3, &Ready::ALL)? {
            let half = attachment.size / 2;
            let url = format!("/v1/attachments/{}", attachment.id);
            self.drain
                .attachment_progress(attachment.id, half, Some(&url))?;
            self.drain
                .attachment_progress(attachment.id, attachment.size, None)?;
        }
        self.doing = "claiming";
        let limit = 1 + u32::try_from(self.random.below(5)).unwrap_or(0);
        for due in self.drain.due(now(), limit, &Ready::ALL)? {
            match self.account.check_due(&due) {
                Ok(number) => self.answer(number, &due)?,
                Err(finding) => {
                    self.wrong = Some(finding);
                    break;
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, number: u64, due: &QueuedTransaction) -> Result<(), CacheError> {
        let drain = &mut self.drain;
        match self.random.below(10) {
            0..7 => {
                self.doing = "settling";
                self.account.change(number, Standing::Settled, || {
                    drain.settle(due.id, &receipt(number), now())
                })?;
            }
            7 => {
                self.doing = "deferring";
                // Due again at once, because the clock stands still.
                drain.defer(due.id, now(), "platform.not-now", now())?;
            }
            8 => {
                self.doing = "releasing";
                drain.release(due.id)?;
            }
            _ => {
                self.doing = "parking";
                self.account.change(number, Standing::Dead, || {
                    drain.park(due.id, "platform", "platform.rejected", "", now())
                })?;
            }
        }
        Ok(())
    }

    /// A named person deals with a dead transaction.
    fn staff(&mut self) -> Result<(), CacheError> {
        let dead = self.account.dead();
        let chosen = self.random.below(dead.len() as u64);
        let Some(number) = usize::try_from(chosen)
            .ok()
            .and_then(|index| dead.get(index).copied())
        else {
            return Ok(());
        };
        let id = self.account.transaction(number).id;
        let front = &mut self.front;
        if self.random.happens(500) {
            self.doing = "reinstating";
            self.account.change(number, Standing::Open, || {
                front.reinstate(id, "staff-1", now())
            })
        } else {
            self.doing = "closing";
            self.account.change(number, Standing::Closed, || {
                front.close(id, "staff-1", CLOSED, now())
            })
        }
    }
}

fn entry() -> NewAudit {
    NewAudit {
        kind: "visit.ended".to_owned(),
        actor: "terminal".to_owned(),
        subject: None,
        transaction: None,
        detail: "{}".to_owned(),
    }
}
