//! What no longer counts before its date: the list of revocations that this terminal holds. It comes
//! with the configuration, with the desired state of the platform or on a stick; a newer one takes the
//! place of the one that is held, an older one never does, and the held one survives a restart. Its
//! number is told with each challenge.
//!
//! A list counts as long as the configuration knows the operator's key that signed it. Whoever writes
//! the configuration can thereby always begin anew, also after a stolen key has signed a list with the
//! highest number there is.

use kiosk_sealing::PublicKey;
use kiosk_sealing::unlock::{Revocations, UnlockError};
use offline_cache::{Cache, CacheError};
use serde_json::{Value, json};

use super::unlock::{TERMINAL, entry};
use crate::clock::Moment;

/// Setting under which the text of the list is kept.
const SETTING: &str = "staff-revocations";
/// Member of the desired state that holds the text of a list.
const MEMBER: &str = "staff_revocations";

/// Where a list came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// `[staff] revocations` of `kiosk.toml`.
    Configuration,
    /// The platform.
    DesiredState,
    /// A stick at the unlock page.
    Stick,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::DesiredState => "desired-state",
            Self::Stick => "stick",
        }
    }
}

/// The list that is held, and whose lists are believed.
#[derive(Debug)]
pub(super) struct Held {
    operators: Vec<PublicKey>,
    list: Revocations,
}

impl Held {
    /// The list that the store has, or the newer one of the configuration or the platform.
    ///
    /// # Errors
    /// The store cannot be read: then nobody knows what was revoked, and nobody may be let in.
    pub(super) fn open(
        cache: &mut Cache,
        operators: &[PublicKey],
        configured: &str,
        now: Moment,
    ) -> Result<Self, CacheError> {
        let mut held = Self {
            operators: operators.to_vec(),
            list: Revocations::default(),
        };
        let kept = cache.setting(SETTING)?.unwrap_or_default();
        if !kept.is_empty() {
            match Revocations::verify(&kept, operators, &held.list) {
                Ok(list) => held.list = list,
                Err(error) => {
                    // Its operator's key was taken out of the configuration.
                    let detail = json!({ "code": error.code() });
                    cache.audit(
                        &entry("staff.revocations.dropped", TERMINAL, &detail),
                        now.at,
                    )?;
                    tracing::warn!(code = error.code(), %error, "the kept list of revocations");
                }
            }
        }
        if !configured.is_empty() {
            held.offer_quietly(cache, configured, Origin::Configuration, now);
        }
        held.look(cache, now);
        Ok(held)
    }

    /// The list.
    pub(super) fn list(&self) -> &Revocations {
        &self.list
    }

    /// Takes the list of the platform, where its desired state has a newer one.
    pub(super) fn look(&mut self, cache: &mut Cache, now: Moment) {
        let body = match cache.desired_state() {
            Ok(desired) => desired.map(|desired| desired.body).unwrap_or_default(),
            Err(error) => {
                tracing::error!(code = error.code(), %error, "the desired state");
                return;
            }
        };
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        if let Some(text) = body[MEMBER].as_str() {
            self.offer_quietly(cache, text, Origin::DesiredState, now);
        }
    }

    /// A list that is offered again and again is not written down each time it is not taken.
    fn offer_quietly(&mut self, cache: &mut Cache, text: &str, origin: Origin, now: Moment) {
        if let Err(error) = self.offer(cache, text, origin, now)
            && !matches!(error, UnlockError::NotNewer { .. })
        {
            tracing::warn!(code = error.code(), %error, from = origin.word(), "list of revocations");
        }
    }

    /// Takes a list that is newer than the one that is held.
    ///
    /// # Errors
    /// [`UnlockError`]: the one that is held stays.
    pub(super) fn offer(
        &mut self,
        cache: &mut Cache,
        text: &str,
        origin: Origin,
        now: Moment,
    ) -> Result<(), UnlockError> {
        let list = Revocations::verify(text, &self.operators, &self.list)?;
        let detail = json!({
            "number": list.number, "entries": list.len(), "from": origin.word(),
        });
        // In force at once, also where the store fails: memory is then the stricter of the two.
        self.list = list;
        let audit = entry("staff.revocations.taken", TERMINAL, &detail);
        let written = cache
            .set_setting(SETTING, text.trim())
            .and_then(|()| cache.audit(&audit, now.at).map(drop));
        if let Err(error) = written {
            tracing::error!(code = error.code(), %error, "a list of revocations was not kept");
        }
        Ok(())
    }

    /// Takes the newest of the lists of a stick; whether one was taken.
    pub(super) fn offer_all<'a>(
        &mut self,
        cache: &mut Cache,
        texts: impl Iterator<Item = &'a str>,
        now: Moment,
    ) -> bool {
        let before = self.list.number;
        let mut refusal = None;
        for text in texts {
            match self.offer(cache, text, Origin::Stick, now) {
                Ok(()) | Err(UnlockError::NotNewer { .. }) => {}
                Err(error) => refusal = Some(error.code()),
            }
        }
        // One entry, however many forgeries the stick holds.
        if let Some(code) = refusal {
            let detail = json!({ "code": code, "from": Origin::Stick.word() });
            let audit = entry("staff.revocations.refused", TERMINAL, &detail);
            if let Err(error) = cache.audit(&audit, now.at) {
                tracing::error!(code = error.code(), %error, "audit log");
            }
        }
        self.list.number > before
    }
}
