//! The pulse of the terminal for those who look after it: how long the queue is, how the devices
//! are, the newest anchor of the audit log. Nothing in it is personal. The answer says whether
//! there is a newer desired state, which is fetched at once; the catalogue is looked at beside it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kiosk_sealing::PublicKey;
use offline_cache::{Cache, CacheError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::desired::{self, DesiredState};
use super::drain::Policy;
use kiosk_sealing::hex;

use super::{PlatformError, Shared, catalogue};
use crate::clock;

/// The catalogue is asked for this often; with its `ETag` an unchanged one costs some hundred bytes.
const CATALOGUE_INTERVAL: Duration = Duration::from_mins(10);
/// The first heartbeat follows the line within this, so that a county's do not come in one second.
const FIRST_SPREAD: Duration = Duration::from_secs(5);
/// Most upstreams, keys, devices and faults of one heartbeat (`openapi.yaml`).
const LIST_MAX: usize = 64;
const FAULTS_MAX: usize = 16;

/// How the terminal is, as the loop sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Vitals {
    /// Every configured device.
    pub devices: Vec<DeviceVitals>,
    /// What was done since the first start.
    pub usage: UsageVitals,
    /// What the updater says; `None` where there is none, or none has run.
    pub update: Option<UpdateVitals>,
}

/// How one device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceVitals {
    /// Its id in the configuration.
    pub id: String,
    /// Its class, such as `id-card`.
    pub class: String,
    /// Its state, such as `online`.
    pub state: String,
    /// Problem codes.
    pub faults: Vec<String>,
}

/// What was done at this terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UsageVitals {
    /// Visits begun.
    pub visits: u64,
    /// Transactions made durable.
    pub transactions: u64,
    /// Papers printed.
    pub prints: u64,
}

/// Where the updater stands, in the words of `openapi.yaml` and within its bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpdateVitals {
    /// The release that runs; empty for the program of the package.
    pub version: String,
    /// Its slot; empty without one.
    pub slot: String,
    /// `current`, `waiting`, `halted`, `trial`, `rolled-back` or `problem`.
    pub state: String,
    /// The release that is offered.
    pub offered: Option<String>,
    /// The release that was taken back last.
    pub rolled_back: Option<RolledBack>,
    /// When the operator's signatures end.
    pub metadata_expires: Option<Timestamp>,
    /// The set of items of the region.
    pub items_version: Option<String>,
    /// When the operator's signatures of the items end.
    pub items_metadata_expires: Option<Timestamp>,
}

/// A release that was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RolledBack {
    /// The release.
    pub version: String,
    /// Problem code.
    pub code: String,
    /// What was wrong, in the updater's words.
    pub reason: String,
}

#[derive(Serialize)]
struct Beat<'a> {
    terminal: &'a str,
    sent_at: String,
    program_version: &'static str,
    boot: Uuid,
    uptime_s: u64,
    clock_offset_s: i64,
    queue: Queue,
    devices: Vec<DeviceVitals>,
    audit: Option<Anchor>,
    usage: UsageVitals,
    desired_version: u64,
    catalogue_etag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<UpdateVitals>,
}

#[derive(Serialize)]
struct Queue {
    waiting: u64,
    dead: u64,
    oldest_enqueued_at: Option<String>,
    upstreams: Vec<UpstreamLine>,
    key_ids: Vec<String>,
}

#[derive(Serialize)]
struct UpstreamLine {
    upstream: String,
    waiting: u64,
    dead: u64,
}

#[derive(Serialize)]
struct Anchor {
    sequence: u64,
    head: String,
    signed: String,
}

#[derive(Deserialize)]
struct BeatReply {
    desired_version: u64,
}

#[derive(Deserialize)]
struct SignedReply {
    signed: String,
}

/// The task of the heartbeat.
pub(super) struct Heartbeat {
    shared: Arc<Shared>,
    cache: Cache,
    keys: Vec<PublicKey>,
    /// What the configuration says; the desired state changes it.
    policy: Policy,
    boot: Uuid,
    catalogue_at: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn new(
        shared: Arc<Shared>,
        cache: Cache,
        keys: Vec<PublicKey>,
        policy: Policy,
    ) -> Self {
        Self {
            shared,
            cache,
            keys,
            policy,
            boot: crate::queue::mint(clock::now()),
            catalogue_at: None,
        }
    }

    /// Beats until the thread ends.
    pub(super) async fn beat(mut self) {
        self.recall();
        let mut interval = self.shared.heartbeat.subscribe();
        loop {
            self.shared.online().await;
            tokio::time::sleep(self.shared.client.spread(FIRST_SPREAD)).await;
            while *self.shared.line.borrow() {
                if let Err(error) = self.turn().await {
                    tracing::warn!(code = error.code(), %error, "heartbeat");
                }
                let pause = *interval.borrow_and_update();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.shared.beat.notified() => {}
                    _ = interval.changed() => {}
                }
            }
        }
    }

    /// Applies the desired state that was in force before the restart.
    fn recall(&mut self) {
        match self.cache.desired_state() {
            Ok(Some(stored)) => match desired::read(stored.body.as_bytes()) {
                Ok(state) => self.shared.apply(&self.policy, &state),
                Err(error) => tracing::error!(code = error.code(), %error, "desired state"),
            },
            Ok(None) => {}
            Err(error) => tracing::error!(code = error.code(), %error, "desired state"),
        }
    }

    async fn turn(&mut self) -> Result<(), PlatformError> {
        let have = self.desired_version()?;
        let body = self.body(have).map_err(PlatformError::Store)?;
        let reply: BeatReply = self.shared.client.heartbeat(&body).await?;
        if reply.desired_version > have {
            self.fetch_desired(have).await?;
        }
        let now = clock::now().uptime;
        let is_due = self
            .catalogue_at
            .is_none_or(|at| now >= at + CATALOGUE_INTERVAL);
        if is_due {
            let have = self.etag()?;
            let fetched = self.shared.client.catalogue(&have).await?;
            if let Some(fetched) = fetched {
                catalogue::swap(&mut self.cache, fetched, clock::now().at)?;
            }
            self.catalogue_at = Some(now);
        }
        Ok(())
    }

    async fn fetch_desired(&mut self, have: u64) -> Result<(), PlatformError> {
        let Some(reply) = self.shared.client.desired_state(have).await? else {
            return Ok(());
        };
        let SignedReply { signed } = serde_json::from_slice(&reply)
            .map_err(|_| PlatformError::BadReply("a desired state without its signature"))?;
        let terminal = self.shared.client.terminal();
        match desired::open(&signed, &self.keys, terminal) {
            Ok((state, body)) => self.adopt(&state, &body),
            Err(error) => {
                tracing::error!(code = error.code(), %error, "a desired state was turned down");
                Ok(())
            }
        }
    }

    /// Makes a desired state durable and lets it take effect, unless it is not newer.
    fn adopt(&mut self, state: &DesiredState, body: &str) -> Result<(), PlatformError> {
        let is_newer = self
            .cache
            .set_desired_state(state.version, body, clock::now().at)
            .map_err(PlatformError::Store)?;
        if is_newer {
            tracing::info!(version = state.version, "desired state");
            self.shared.apply(&self.policy, state);
        }
        Ok(())
    }

    fn desired_version(&self) -> Result<u64, PlatformError> {
        let stored = self.cache.desired_state().map_err(PlatformError::Store)?;
        Ok(stored.map_or(0, |state| state.version))
    }

    fn etag(&self) -> Result<String, PlatformError> {
        let stored = self.cache.catalogue().map_err(PlatformError::Store)?;
        Ok(stored.map_or_else(String::new, |catalogue| catalogue.etag))
    }

    fn body(&self, desired_version: u64) -> Result<Vec<u8>, CacheError> {
        let now = clock::now();
        let depth = self.cache.depth()?;
        let mut vitals = self
            .shared
            .vitals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        vitals.devices.truncate(LIST_MAX);
        for device in &mut vitals.devices {
            device.faults.truncate(FAULTS_MAX);
        }
        let client = &self.shared.client;
        let beat = Beat {
            terminal: client.terminal(),
            sent_at: client.time(now).to_string(),
            program_version: env!("CARGO_PKG_VERSION"),
            boot: self.boot,
            uptime_s: now.uptime.as_secs(),
            clock_offset_s: client.clock_offset_s(now),
            queue: Queue {
                waiting: depth.waiting,
                dead: depth.dead,
                oldest_enqueued_at: depth.oldest_enqueued_at.map(|at: Timestamp| at.to_string()),
                upstreams: self.upstreams()?,
                key_ids: self
                    .cache
                    .queued_key_ids()?
                    .into_iter()
                    .take(LIST_MAX)
                    .collect(),
            },
            devices: vitals.devices,
            audit: self.anchor()?,
            usage: vitals.usage,
            desired_version,
            catalogue_etag: self
                .cache
                .catalogue()?
                .map_or_else(String::new, |catalogue| catalogue.etag),
            update: vitals.update,
        };
        // Texts and numbers can always be written.
        Ok(serde_json::to_vec(&beat).expect("plain text and numbers become JSON"))
    }

    fn upstreams(&self) -> Result<Vec<UpstreamLine>, CacheError> {
        let depths = self.cache.upstream_depths()?;
        Ok(depths
            .into_iter()
            .take(LIST_MAX)
            .map(|depth| UpstreamLine {
                upstream: depth.upstream,
                waiting: depth.waiting,
                dead: depth.dead,
            })
            .collect())
    }

    fn anchor(&self) -> Result<Option<Anchor>, CacheError> {
        Ok(self.cache.latest_checkpoint()?.map(|checkpoint| Anchor {
            sequence: checkpoint.sequence,
            head: hex(&checkpoint.head),
            signed: checkpoint.signed,
        }))
    }
}
