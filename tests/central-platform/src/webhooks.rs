//! Notices to staff: a new or escalated ticket and a held release are told to the addresses of the
//! configuration, and to nobody else. What is to be told is in the database with what it is about;
//! it is sent until it is taken or a week is over. Nothing in a notice is about a citizen.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use kiosk_sealing::hex;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use ring::hmac;
use serde_json::{Value, json};

use crate::clock;
use crate::config::Webhook;
use crate::outbound::{self, Turn, Worker};
use crate::platform::World;
use crate::standing::{LEVELS, Place, problem_notice};
use crate::store::{DueNotice, StoreError};
use crate::tickets::Ticket;

/// How often it is looked whether something is to be told.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest time for one notice, connecting included.
const SEND_MAX: Duration = Duration::from_secs(10);
/// How long a notice is tried: after a week its ticket has been escalated or is closed.
pub(crate) const LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Longest pause between two tries in seconds.
const PAUSE_MAX_S: i64 = 3600;
/// Most notices that wait at one address; more than a whole county's tickets of a week.
pub(crate) const WAITING_MAX: i64 = 10_000;
/// Most addresses.
const HOOKS_MAX: usize = 64;

/// Why an address cannot be told anything.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is no address, or plain HTTP to another machine.
    #[error("webhook {number} is no https address (http only to this machine)")]
    Address {
        /// Which one, from 1.
        number: usize,
    },
    /// The secret is too short to keep anybody out.
    #[error("webhook {number} needs a secret of 16 characters or more")]
    Secret {
        /// Which one, from 1.
        number: usize,
    },
    /// A level or a place is none.
    #[error("webhook {number} names a level or a place that is none")]
    Filter {
        /// Which one, from 1.
        number: usize,
    },
    /// The certificates of whoever vouches for the address cannot be used.
    #[error("webhook {number} needs a usable `ca` in PEM")]
    Authority {
        /// Which one, from 1.
        number: usize,
    },
    /// There are too many.
    #[error("there are more than {HOOKS_MAX} webhooks")]
    TooMany,
    /// What sends cannot be started.
    #[error("notices cannot be sent")]
    Start(#[from] std::io::Error),
}

impl Webhook {
    /// Whether somebody there wants to hear of a ticket.
    pub(crate) fn wants(&self, level: &str, region: &str) -> bool {
        let is_level = self.levels.is_empty() || self.levels.iter().any(|each| each == level);
        let is_theirs = |of: &String| crate::region::is_within(region, of);
        is_level && (self.regions.is_empty() || self.regions.iter().any(is_theirs))
    }
}

/// What became of a ticket that is worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TicketNews {
    Opened,
    Escalated,
    Reopened,
}

impl TicketNews {
    /// The news in a ticket, by the state and the level that it had before, if it was known.
    pub(crate) fn of(before: Option<(&str, &str)>, ticket: &Ticket) -> Option<Self> {
        let Some((state, level)) = before else {
            return ticket.state.is_open().then_some(Self::Opened);
        };
        if !ticket.state.is_open() {
            return None;
        }
        let height = |level: &str| LEVELS.iter().position(|each| *each == level);
        if matches!(state, "mended" | "closed") {
            return Some(Self::Reopened);
        }
        (height(ticket.level.word()) > height(level)).then_some(Self::Escalated)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Opened => "ticket.opened",
            Self::Escalated => "ticket.escalated",
            Self::Reopened => "ticket.reopened",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Opened => "有新的故障工单",
            Self::Escalated => "的故障工单已升级",
            Self::Reopened => "的故障又出现了",
        }
    }
}

/// A notice of a ticket: what, where, until when; never who or in which words.
pub(crate) fn of_ticket(news: TicketNews, place: &Place, ticket: &Ticket) -> Value {
    let by = ticket
        .respond_by
        .to_zoned(TimeZone::fixed(Offset::constant(8)));
    let site = if place.site.is_empty() { "" } else { " " };
    let text = format!(
        "{}{site}{} 终端 {} {}（{}）：{}。请在 {} 前响应。",
        place.region,
        place.site,
        place.terminal,
        news.words(),
        ticket.number,
        problem_notice(&ticket.code),
        by.strftime("%m月%d日 %H:%M"),
    );
    json!({
        "event": news.word(), "text": text.trim_start(), "terminal": place.terminal,
        "region": place.region, "site": place.site, "number": ticket.number,
        "level": ticket.level.word(), "class": ticket.class, "device": ticket.device,
        "code": ticket.code, "respond_by": ticket.respond_by, "repair_by": ticket.repair_by,
    })
}

/// A notice of a release that is held.
pub(crate) fn of_held_release(version: &str, reason: &str, taken_back: u64) -> Value {
    json!({
        "event": "release.held", "version": version, "reason": reason, "taken_back": taken_back,
        "text": format!("版本 {version} 已暂停下发：{taken_back} 台终端退回了它。"),
    })
}

/// An address that is ready to be told something.
struct Address {
    hook: Webhook,
    url: Url,
    http: Client,
    key: hmac::Key,
}

/// Starts to send what is to be told; nothing is started where nobody wants to hear.
pub(crate) fn start(world: &Arc<World>) -> Result<Option<Worker>, WebhookError> {
    let hooks = &world.config.webhooks;
    if hooks.is_empty() {
        return Ok(None);
    }
    if hooks.len() > HOOKS_MAX {
        return Err(WebhookError::TooMany);
    }
    let addresses: Result<Vec<Address>, WebhookError> = hooks
        .iter()
        .enumerate()
        .map(|(place, hook)| Address::new(hook, place + 1))
        .collect();
    let rounds = Rounds {
        world: Arc::clone(world),
        addresses: addresses?,
    };
    Ok(Some(Worker::start("notices", move |turn| {
        rounds.once(turn)
    })?))
}

/// What the thread of notices works with.
struct Rounds {
    world: Arc<World>,
    addresses: Vec<Address>,
}

impl Rounds {
    /// Tells each address what waits for it, as long as it takes it, and waits a while.
    fn once(&self, turn: &mut Turn) -> ControlFlow<()> {
        for address in &self.addresses {
            for _ in 0..WAITING_MAX {
                match self.tell(address, turn) {
                    Ok(ControlFlow::Continue(true)) => {}
                    Ok(ControlFlow::Continue(false)) => break,
                    Ok(ControlFlow::Break(())) => return ControlFlow::Break(()),
                    Err(error) => {
                        tracing::error!(%error, "the notices cannot be read");
                        break;
                    }
                }
            }
        }
        turn.pause(LOOK_EVERY)
    }

    /// Tells an address one notice; true when it took one.
    fn tell(
        &self,
        address: &Address,
        turn: &mut Turn,
    ) -> Result<ControlFlow<(), bool>, StoreError> {
        let now = clock::now();
        let due = self.world.store().due_notice(&address.hook.url, now)?;
        let Some(notice) = due else {
            return Ok(ControlFlow::Continue(false));
        };
        let Some(outcome) = turn.wait(address.send(&notice, now)) else {
            // Whether it was taken is not known: it is told again under the same number.
            return Ok(ControlFlow::Break(()));
        };
        let mut store = self.world.store();
        if outcome.is_ok() {
            store.drop_notice(notice.position)?;
            return Ok(ControlFlow::Continue(true));
        }
        let again_s = pause_s(notice.tries);
        let next_s = clock::now().as_second().saturating_add(again_s);
        store.delay_notice(notice.position, next_s)?;
        // The address may hold a token of its own: it stays out of the log.
        tracing::warn!(tries = notice.tries + 1, again_s, "a notice was not taken");
        Ok(ControlFlow::Continue(false))
    }
}

/// Seconds before the next try: 1, 2, 4, to an hour.
fn pause_s(tries: u64) -> i64 {
    let shift = u32::try_from(tries).unwrap_or(u32::MAX).min(12);
    (1_i64 << shift).min(PAUSE_MAX_S)
}

/// It was not taken; why says the receiver's log.
struct NotTaken;

impl Address {
    fn new(hook: &Webhook, number: usize) -> Result<Self, WebhookError> {
        let no_address = || WebhookError::Address { number };
        let address = outbound::Address::parse(&hook.url).ok_or_else(no_address)?;
        if hook.secret.len() < 16 {
            return Err(WebhookError::Secret { number });
        }
        let is_level = |level: &String| LEVELS.contains(&level.as_str());
        let is_place = |region: &String| crate::region::is_region(region);
        if !hook.levels.iter().all(is_level) || !hook.regions.iter().all(is_place) {
            return Err(WebhookError::Filter { number });
        }
        let http = address.client(hook.ca.as_deref(), SEND_MAX);
        let http = http.ok_or(WebhookError::Authority { number })?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, hook.secret.as_bytes()),
            hook: hook.clone(),
            url: address.url,
            http,
        })
    }

    async fn send(&self, notice: &DueNotice, now: Timestamp) -> Result<(), NotTaken> {
        let time = now.as_second().to_string();
        let signed = signature(&self.key, &time, &notice.body);
        let sent = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("Kiosk-Notice", &notice.id)
            .header("Kiosk-Time", time)
            .header("Kiosk-Signature", signed)
            .body(notice.body.clone())
            .send()
            .await;
        match sent {
            Ok(reply) if reply.status().is_success() => Ok(()),
            Ok(_) | Err(_) => Err(NotTaken),
        }
    }
}

/// `sha256=` and HMAC-SHA256 of the time, a full stop and the body.
fn signature(key: &hmac::Key, time: &str, body: &str) -> String {
    let tag = hmac::sign(key, format!("{time}.{body}").as_bytes());
    format!("sha256={}", hex(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(url: &str) -> Webhook {
        Webhook {
            url: url.to_owned(),
            secret: "a-secret-of-the-test".to_owned(),
            levels: vec!["town".to_owned()],
            regions: vec!["揭阳市".to_owned()],
            ca: None,
        }
    }

    #[test]
    fn only_a_proper_address_is_told_anything() {
        for url in ["http://127.0.0.1:9/x", "http://[::1]:9/"] {
            assert!(Address::new(&hook(url), 1).is_ok(), "{url}");
        }
        for url in [
            "http://example.com/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "",
            "https://a.example/",
            "http://127.0.0.1.example.com/",
        ] {
            assert!(Address::new(&hook(url), 1).is_err(), "{url}");
        }
        let good = hook("http://127.0.0.1:9/");
        for broken in [
            Webhook {
                secret: "short".to_owned(),
                ..good.clone()
            },
            Webhook {
                levels: vec!["king".to_owned()],
                ..good.clone()
            },
            Webhook {
                regions: vec!["a//b".to_owned()],
                ..good.clone()
            },
        ] {
            assert!(Address::new(&broken, 1).is_err());
        }
        assert!(!format!("{good:?}").contains("a-secret"));
        assert!(good.wants("town", "揭阳市/普宁市"));
        assert!(!good.wants("city", "揭阳市/普宁市") && !good.wants("town", "汕头市"));
    }

    #[test]
    fn tries_become_rare_and_never_stop_in_a_loop() {
        let pauses: Vec<i64> = [0, 1, 2, 12, 64, u64::MAX].map(pause_s).to_vec();
        assert_eq!(pauses, [1, 2, 4, 3600, 3600, 3600]);
    }
}
