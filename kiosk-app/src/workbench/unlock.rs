//! Who may come in: a challenge that is used once, a signed permission for exactly this challenge, a
//! second factor. Guessing is answered by waiting, counted in running time and kept in the store, so
//! that neither a restart nor a power cut nor a wrong clock shortens it. Every attempt is audited by
//! name and outcome, never with its token or its second factor.

use std::time::Duration;

use jiff::Timestamp;
use kiosk_device::Sensitive;
use kiosk_sealing::PublicKey;
use kiosk_sealing::unlock::{self, Challenge, Expected, Grant};
use offline_cache::{Cache, CacheError, Guard, NewAudit};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::revocations::Held;
use super::{Found, Permission};
use crate::clock::Moment;

/// Refusals before the first wait. Chosen: a person mistypes two or three times.
const FREE_FAILURES: u32 = 5;
/// Waits after the fifth refusal and each further one, in seconds; the last one stays. Chosen: a
/// technician loses a minute, a guesser of six digits needs more than a century.
const WAITS_S: [u32; 4] = [60, 5 * 60, 15 * 60, 60 * 60];
/// How far a wait is written down while it runs. A power cut repeats at most this much of it.
const WAIT_STEP_S: u32 = 60;
/// Second factors that are tried with one permission.
const PINS_MAX: u32 = 3;
/// A challenge that nobody has answered is shown again for so long in place of a new one: a child's
/// finger that opens the page all day writes one entry in this time. Chosen: longer than the page
/// stays open by itself.
const CHALLENGE_LIFE: Duration = Duration::from_mins(10);
/// Who writes where no account is known.
pub(super) const TERMINAL: &str = "terminal";

/// The door: what was asked, what is half open, and how long nobody may try.
#[derive(Debug)]
pub(super) struct Door {
    terminal: String,
    operators: Vec<PublicKey>,
    /// What was revoked before its date.
    revocations: Held,
    /// As it is in the store.
    guard: Guard,
    /// What is left of the wait.
    wait: Duration,
    /// When the wait was counted last, on the monotonic clock.
    counted_at: Duration,
    challenge: Option<Challenge>,
    /// When the challenge was made, on the monotonic clock.
    made_at: Duration,
    /// How often a challenge was asked for since the last entry about it.
    times_asked: u32,
    half_open: Option<HalfOpen>,
    /// Who is inside, for the entry that says how it ended, and what let them in.
    inside: Option<(Permission, Proof)>,
}

/// A permission that is good and waits for its second factor.
struct HalfOpen {
    grant: Grant,
    proof: Proof,
    tries: u32,
}

/// What a permission was found good by: enough to find out whether it still would be.
struct Proof {
    text: Sensitive<String>,
    challenge: Challenge,
    at_s: i64,
    /// Number of the list of revocations that it was held against last.
    list: u32,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").finish_non_exhaustive()
    }
}

impl Proof {
    /// True where the list, in the place of the one before, takes the permission away. That its minutes
    /// have begun to run changes nothing of it.
    fn is_revoked(&mut self, operators: &[PublicKey], revocations: &Held) -> bool {
        let list = revocations.list();
        if list.number == self.list {
            return false;
        }
        self.list = list.number;
        let expected = Expected {
            challenge: &self.challenge,
            operators,
            now_s: self.at_s,
        };
        unlock::verify_unrevoked(self.text.expose().trim(), &expected, list).is_err()
    }
}

impl std::fmt::Debug for HalfOpen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HalfOpen")
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

impl Door {
    /// Counts this start in the store.
    pub(super) fn new(
        cache: &mut Cache,
        terminal: &str,
        operators: &[PublicKey],
        revocations: &str,
        now: Moment,
    ) -> Result<Self, CacheError> {
        let revocations = Held::open(cache, operators, revocations, now)?;
        let mut guard = cache.unlock_guard()?;
        guard.boots = guard.boots.saturating_add(1);
        let detail = json!({ "boot": guard.boots });
        cache.set_unlock_guard(
            &guard,
            &entry("staff.boot.counted", TERMINAL, &detail),
            now.at,
        )?;
        let wait = Duration::from_secs(u64::from(guard.wait_s));
        Ok(Self {
            terminal: terminal.to_owned(),
            operators: operators.to_vec(),
            revocations,
            guard,
            wait,
            counted_at: now.uptime,
            challenge: None,
            made_at: now.uptime,
            times_asked: 0,
            half_open: None,
            inside: None,
        })
    }

    /// Seconds until somebody may try.
    pub(super) fn wait_s(&self) -> u32 {
        let whole = self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0);
        u32::try_from(whole).unwrap_or(u32::MAX)
    }

    /// Failed attempts since the last one that succeeded.
    pub(super) fn failures(&self) -> u32 {
        self.guard.failures
    }

    /// Counts the wait down by the time that has passed.
    pub(super) fn turn(&mut self, cache: &mut Cache, now: Moment) {
        let passed = now.uptime.saturating_sub(self.counted_at);
        self.counted_at = now.uptime;
        if self.wait.is_zero() {
            return;
        }
        self.wait = self.wait.saturating_sub(passed);
        let left_s = self.wait_s();
        if left_s == 0 || left_s + WAIT_STEP_S <= self.guard.wait_s {
            let guard = Guard {
                wait_s: left_s,
                ..self.guard
            };
            let detail = json!({ "left_s": left_s });
            let audit = entry("staff.wait.counted", TERMINAL, &detail);
            if let Err(error) = self.keep(cache, guard, &audit, now) {
                // In the store the wait is longer than it is; that errs to the safe side.
                tracing::warn!(code = error.code(), %error, "the wait was not written down");
            }
        }
    }

    /// Makes a challenge; it is counted in the store before anybody sees it. One that nobody has
    /// answered stays for its life: asking again only counts, for the next entry.
    pub(super) fn challenge(&mut self, cache: &mut Cache, now: Moment) -> Found {
        self.turn(cache, now);
        self.half_open = None;
        if self.operators.is_empty() {
            return refused("unlock.not-configured", 0);
        }
        self.revocations.look(cache, now);
        self.times_asked = self.times_asked.saturating_add(1);
        if let Some(challenge) = &self.challenge
            && now.uptime < self.made_at + CHALLENGE_LIFE
        {
            return Found::Challenge {
                text: challenge.to_text_with_list(self.revocations.list().number),
                wait_s: self.wait_s(),
            };
        }
        self.challenge = None;
        let mut nonce = [0; 16];
        if SystemRandom::new().fill(&mut nonce).is_err() {
            return refused("unlock.no-randomness", 0);
        }
        let mut guard = self.guard;
        guard.counter = guard.counter.saturating_add(1);
        let challenge = Challenge {
            terminal: self.terminal.clone(),
            nonce,
            boot: guard.boots,
            counter: guard.counter,
        };
        let detail = json!({
            "boot": guard.boots, "counter": guard.counter, "times_asked": self.times_asked,
        });
        let audit = entry("staff.unlock.asked", TERMINAL, &detail);
        if let Err(error) = self.keep(cache, guard, &audit, now) {
            tracing::error!(code = error.code(), %error, "no challenge");
            return refused(error.code(), 0);
        }
        let text = challenge.to_text_with_list(self.revocations.list().number);
        self.challenge = Some(challenge);
        self.made_at = now.uptime;
        self.times_asked = 0;
        Found::Challenge {
            text,
            wait_s: self.wait_s(),
        }
    }

    /// Looks at a signed text. Its challenge is used up by it, unless it is no such text at all.
    pub(super) fn unlock(
        &mut self,
        cache: &mut Cache,
        text: &Sensitive<String>,
        time: Time,
        now: Moment,
    ) -> Found {
        self.turn(cache, now);
        self.half_open = None;
        if !self.wait.is_zero() {
            return self.refuse(cache, "unlock.wait", TERMINAL, now);
        }
        let Some(challenge) = &self.challenge else {
            return self.refuse(cache, "unlock.no-challenge", TERMINAL, now);
        };
        let expected = Expected {
            challenge,
            operators: &self.operators,
            now_s: time.at.as_second(),
        };
        let revoked = self.revocations.list();
        let grant = match unlock::verify_unrevoked(text.expose().trim(), &expected, revoked) {
            Ok(grant) => grant,
            Err(error) => {
                let code = in_doubt(error.code(), time);
                if !matches!(code, "unlock.malformed" | "unlock.too-long") {
                    self.challenge = None;
                }
                return self.refuse(cache, code, TERMINAL, now);
            }
        };
        let Some(challenge) = self.challenge.take() else {
            return self.refuse(cache, "unlock.no-challenge", TERMINAL, now);
        };
        match cache.grant_used(grant.id, now.at) {
            Ok(true) => {}
            Ok(false) => {
                let person = grant.person.clone();
                return self.refuse(cache, "unlock.used", &person, now);
            }
            Err(error) => {
                tracing::error!(code = error.code(), %error, "a permission was not taken");
                return refused(error.code(), self.wait_s());
            }
        }
        let found = Found::NeedsPin {
            person: grant.person.clone(),
            role: grant.role,
        };
        let proof = Proof {
            text: text.clone(),
            challenge,
            at_s: time.at.as_second(),
            list: self.revocations.list().number,
        };
        self.half_open = Some(HalfOpen {
            grant,
            proof,
            tries: 0,
        });
        found
    }

    /// What a text would be answered, without trying it: which of several on a stick is meant.
    pub(super) fn is_for_this(&self, text: &str, time: Time) -> bool {
        self.challenge.as_ref().is_some_and(|challenge| {
            let expected = Expected {
                challenge,
                operators: &self.operators,
                now_s: time.at.as_second(),
            };
            unlock::verify_unrevoked(text.trim(), &expected, self.revocations.list()).is_ok()
        })
    }

    /// Takes the newest of the lists of revocations of a stick; whether one was taken.
    pub(super) fn take_lists<'a>(
        &mut self,
        cache: &mut Cache,
        texts: impl Iterator<Item = &'a str>,
        now: Moment,
    ) -> bool {
        self.revocations.offer_all(cache, texts, now)
    }

    /// Compares the second factor.
    pub(super) fn pin(&mut self, cache: &mut Cache, pin: &Sensitive<String>, now: Moment) -> Found {
        self.turn(cache, now);
        let Some(mut half_open) = self.half_open.take() else {
            return self.refuse(cache, "unlock.no-challenge", TERMINAL, now);
        };
        let person = half_open.grant.person.clone();
        if !self.wait.is_zero() {
            return self.refuse(cache, "unlock.wait", &person, now);
        }
        if !half_open.grant.pin.matches(pin.expose()) {
            half_open.tries += 1;
            let is_last = half_open.tries >= PINS_MAX;
            if !is_last {
                self.half_open = Some(half_open);
            }
            let code = if is_last {
                "unlock.pins-used-up"
            } else {
                "unlock.wrong-pin"
            };
            return self.refuse(cache, code, &person, now);
        }
        self.revocations.look(cache, now);
        let HalfOpen {
            grant, mut proof, ..
        } = half_open;
        if proof.is_revoked(&self.operators, &self.revocations) {
            return self.refuse(cache, "unlock.revoked", &person, now);
        }
        self.grant(cache, grant, proof, now)
    }

    /// Looks at the newest list of revocations; true where it takes away what whoever is inside came in
    /// by.
    pub(super) fn is_inside_revoked(&mut self, cache: &mut Cache, now: Moment) -> bool {
        if self.inside.is_none() {
            return false;
        }
        self.revocations.look(cache, now);
        let (operators, revocations) = (&self.operators, &self.revocations);
        self.inside
            .as_mut()
            .is_some_and(|(_, proof)| proof.is_revoked(operators, revocations))
    }

    fn grant(&mut self, cache: &mut Cache, grant: Grant, proof: Proof, now: Moment) -> Found {
        let permission = Permission {
            person: grant.person,
            role: grant.role,
            scopes: grant.scopes,
            minutes: grant.minutes,
        };
        let scopes: Vec<String> = permission.scopes.iter().map(ToString::to_string).collect();
        let detail = json!({
            "grant": grant.id, "role": permission.role.to_string(), "scopes": scopes,
            "minutes": permission.minutes,
        });
        let guard = Guard {
            failures: 0,
            wait_s: 0,
            ..self.guard
        };
        let audit = entry("staff.unlock.granted", &permission.person, &detail);
        // Nobody is let in whose coming is not on record.
        if let Err(error) = self.keep(cache, guard, &audit, now) {
            tracing::error!(code = error.code(), %error, "nobody was let in");
            return refused(error.code(), 0);
        }
        self.wait = Duration::ZERO;
        self.inside = Some((permission.clone(), proof));
        Found::Unlocked(permission)
    }

    /// Whoever was inside has left, or was put out.
    pub(super) fn ended(&mut self, cache: &mut Cache, why: &str, now: Moment) {
        self.half_open = None;
        let Some((permission, _)) = self.inside.take() else {
            // Nobody has come in: the challenge is good for whoever opens the page again.
            return;
        };
        self.challenge = None;
        let detail = json!({ "role": permission.role.to_string(), "why": why });
        let audit = entry("staff.unlock.ended", &permission.person, &detail);
        if let Err(error) = cache.audit(&audit, now.at) {
            tracing::error!(code = error.code(), %error, "the end of a visit of staff");
        }
    }

    fn refuse(
        &mut self,
        cache: &mut Cache,
        code: &'static str,
        person: &str,
        now: Moment,
    ) -> Found {
        let detail = json!({ "code": code });
        let audit = entry("staff.unlock.refused", person, &detail);
        let written = if is_guess(code) {
            let failures = self.guard.failures.saturating_add(1);
            let wait_s = wait_after(failures);
            self.wait = Duration::from_secs(u64::from(wait_s));
            if wait_s > 0 {
                self.half_open = None;
            }
            let guard = Guard {
                failures,
                wait_s,
                ..self.guard
            };
            // Counted here even where the store fails: memory is the stricter of the two.
            let written = self.keep(cache, guard, &audit, now);
            self.guard = guard;
            written
        } else {
            cache.audit(&audit, now.at).map(drop)
        };
        if let Err(error) = written {
            tracing::error!(code = error.code(), %error, "a refusal was not written down");
        }
        refused(code, self.wait_s())
    }

    fn keep(
        &mut self,
        cache: &mut Cache,
        guard: Guard,
        audit: &NewAudit,
        now: Moment,
    ) -> Result<(), CacheError> {
        cache.set_unlock_guard(&guard, audit, now.at)?;
        self.guard = guard;
        Ok(())
    }
}

/// What time it is, and whether the clock of this machine says so too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    /// The time that is believed.
    pub(super) at: Timestamp,
    /// The clock is far from it.
    pub(super) is_in_doubt: bool,
}

/// A permission that seems too old or too new, on a machine that does not know the time, is told
/// apart: somebody has to set the clock.
fn in_doubt(code: &'static str, time: Time) -> &'static str {
    if time.is_in_doubt && matches!(code, "unlock.expired" | "unlock.not-yet-valid") {
        "unlock.clock-wrong"
    } else {
        code
    }
}

/// Refusals that a guesser would cause. A code of a slip before the scanner, a permission for the
/// terminal next door or one of yesterday is a mistake and costs nothing.
fn is_guess(code: &str) -> bool {
    matches!(
        code,
        "unlock.forged"
            | "unlock.unknown-signer"
            | "unlock.not-this-challenge"
            | "unlock.too-much"
            | "unlock.used"
            | "unlock.revoked"
            | "unlock.wrong-pin"
            | "unlock.pins-used-up"
    )
}

fn wait_after(failures: u32) -> u32 {
    let Some(beyond) = failures.checked_sub(FREE_FAILURES) else {
        return 0;
    };
    let index = usize::try_from(beyond).unwrap_or(usize::MAX);
    WAITS_S[index.min(WAITS_S.len() - 1)]
}

fn refused(code: &'static str, wait_s: u32) -> Found {
    Found::Refused { code, wait_s }
}

pub(super) fn entry(kind: &str, actor: &str, detail: &Value) -> NewAudit {
    NewAudit {
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        subject: None,
        transaction: None,
        detail: detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_from_a_minute_to_an_hour_and_stay_there() {
        let waits: Vec<u32> = (0..=10).map(wait_after).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 60, 300, 900, 3600, 3600, 3600]);
        assert_eq!(wait_after(u32::MAX), 3600);
    }

    #[test]
    fn honest_mistakes_are_no_guesses() {
        for code in [
            "unlock.malformed",
            "unlock.too-long",
            "unlock.other-terminal",
            "unlock.expired",
            "unlock.clock-wrong",
            "unlock.wait",
        ] {
            assert!(!is_guess(code), "{code}");
        }
        assert!(is_guess("unlock.wrong-pin") && is_guess("unlock.forged"));
    }

    #[test]
    fn a_clock_that_is_wrong_is_blamed_before_the_permission() {
        let time = |is_in_doubt| Time {
            at: Timestamp::UNIX_EPOCH,
            is_in_doubt,
        };
        assert_eq!(in_doubt("unlock.expired", time(true)), "unlock.clock-wrong");
        assert_eq!(in_doubt("unlock.expired", time(false)), "unlock.expired");
        assert_eq!(in_doubt("unlock.forged", time(true)), "unlock.forged");
    }
}
