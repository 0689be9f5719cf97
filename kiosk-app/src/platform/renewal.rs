//! The terminal's certificate never ends unseen: when less than a third of its life is left, a new
//! one is asked for, with a new key, and is shown from the next connection on. It is written before
//! it is used. Without one the old one serves until its end, which is told loudly and early.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::certificate::{self, CertificateError, Standing};
use super::error::PlatformError;
use super::tls::OwnCertificate;
use crate::clock;

/// A certificate is renewed when this part of its life is left: four months of a year.
const PART_LEFT: i32 = 3;
/// From so long before its end on, somebody is told every day: time to drive out.
const LOUD: SignedDuration = SignedDuration::from_hours(14 * 24);
/// … at most once in this time.
const TOLD_EVERY: Duration = Duration::from_hours(24);
/// Longest pause between two looks at the date.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// The first try follows the line within this, so that a county's do not come in one second.
const FIRST_SPREAD: Duration = Duration::from_secs(5);
/// Pause after the first failed try; it doubles …
const PAUSE_MIN: Duration = Duration::from_mins(1);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_hours(6);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
enum RenewalError {
    #[error("the file of the certificate cannot be read or written")]
    Storage(#[from] std::io::Error),
    #[error("no request can be made")]
    Request(#[from] rcgen::Error),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the certificate that came ends before the present one")]
    NoGain,
}

/// What is asked.
#[derive(Serialize)]
struct Question<'a> {
    csr: &'a str,
}

/// The answer.
#[derive(Deserialize)]
struct Reply {
    certificate: String,
}

/// Whether it is time for a new certificate. One that has ended is of no use for asking, but whoever
/// believes a wrong clock tries all the same.
pub fn is_due(standing: &Standing, now: Timestamp) -> bool {
    let life = standing.not_after.duration_since(standing.not_before);
    standing.not_after.duration_since(now) <= life / PART_LEFT
}

/// Pause after so many failures in a row.
fn pause_after(failures: u32) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
    doubled.min(PAUSE_MAX)
}

/// Keeps the certificate in force until the thread ends; ends at once where there is none.
pub(super) async fn keep(shared: Arc<Shared>) {
    let Some(own) = shared.client.own_certificate() else {
        return;
    };
    let mut line = shared.line.subscribe();
    let mut renewal = Renewal {
        shared,
        own,
        failures: 0,
        next_try: Duration::ZERO,
        told_at: None,
    };
    loop {
        let pause = renewal.turn().await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = line.changed() => {
                tokio::time::sleep(renewal.shared.client.spread(FIRST_SPREAD)).await;
            }
        }
    }
}

struct Renewal {
    shared: Arc<Shared>,
    own: Arc<OwnCertificate>,
    failures: u32,
    /// Nothing is tried before, by the monotonic clock.
    next_try: Duration,
    told_at: Option<Duration>,
}

impl Renewal {
    /// Looks at the date and does what follows from it; gives the time until the next look.
    async fn turn(&mut self) -> Duration {
        let Some(standing) = self.own.standing() else {
            return LOOK_EVERY;
        };
        let now = clock::now();
        let at = self.shared.client.certificate_time(now);
        self.tell(&standing, at, now.uptime);
        let is_online = *self.shared.line.borrow();
        if !is_online || !self.own.is_renewable() || !is_due(&standing, at) {
            return LOOK_EVERY;
        }
        if now.uptime < self.next_try {
            return self.next_try.saturating_sub(now.uptime).min(LOOK_EVERY);
        }
        match self.renew(&standing, at).await {
            Ok(until) => {
                tracing::info!(%until, "the terminal has a new certificate");
                self.failures = 0;
                LOOK_EVERY
            }
            Err(error) => {
                tracing::warn!(
                    code = "platform.certificate-not-renewed",
                    error = &error as &dyn std::error::Error,
                    "no new certificate yet"
                );
                self.failures += 1;
                let pause = pause_after(self.failures);
                let pause = pause + self.shared.client.spread(pause / 4);
                self.next_try = now.uptime + pause;
                pause.min(LOOK_EVERY)
            }
        }
    }

    /// Says that the end is near, once a day.
    fn tell(&mut self, standing: &Standing, at: Timestamp, uptime: Duration) {
        let is_near = standing.not_after.duration_since(at) <= LOUD;
        let is_told = self.told_at.is_some_and(|told| uptime < told + TOLD_EVERY);
        if is_near && !is_told {
            self.told_at = Some(uptime);
            tracing::error!(
                code = "platform.certificate-ending",
                until = %standing.not_after,
                "the certificate of this terminal ends"
            );
        }
    }

    async fn renew(
        &mut self,
        standing: &Standing,
        at: Timestamp,
    ) -> Result<Timestamp, RenewalError> {
        let client = &self.shared.client;
        let (path, present) = self.own.file()?;
        let directory = path.parent().unwrap_or(std::path::Path::new("."));
        let key = certificate::next_key(directory, &present)?;
        let csr = certificate::request(&key, client.terminal())?;
        // Texts can always be written.
        let body = serde_json::to_vec(&Question { csr: &csr }).expect("plain text becomes JSON");
        let Reply { certificate: chain } = client.certificate(body).await?;
        let (pair, new) =
            certificate::accepted(chain.as_bytes(), key.as_bytes(), client.terminal(), at)?;
        if new.not_after <= standing.not_after {
            return Err(RenewalError::NoGain);
        }
        certificate::store(path, &key, &chain)?;
        self.own.show(pair);
        Ok(new.not_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let standing = Standing {
            terminal: None,
            not_before: at("2026-01-01T00:00:00Z"),
            not_after: at("2026-12-27T00:00:00Z"),
        };
        for (now, expected) in [
            ("2025-01-01T00:00:00Z", false),
            ("2026-08-28T23:59:59Z", false),
            ("2026-08-29T00:00:00Z", true),
            ("2030-01-01T00:00:00Z", true),
        ] {
            assert_eq!(is_due(&standing, at(now)), expected, "{now}");
        }
    }

    #[test]
    fn tries_become_rarer_and_never_stop() {
        assert_eq!(pause_after(1), PAUSE_MIN);
        assert_eq!(pause_after(3), PAUSE_MIN * 4);
        assert_eq!(pause_after(u32::MAX), PAUSE_MAX);
    }
}
