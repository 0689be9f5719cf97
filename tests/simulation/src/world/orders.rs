//! What the platform wants of the terminal: signed orders, a newer key to seal to, the catalogue,
//! and the heartbeat that anchors the audit chain.

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use kiosk_app::event::{Event, Order, Standing};
use kiosk_sealing::audit::{self, Checkpoint};
use kiosk_sealing::signed;
use offline_cache::{Catalogue, CatalogueItem, CommandStanding, NewAudit};
use serde_json::{Value, json};
use uuid::Uuid;

use super::World;
use crate::TERMINAL;
use crate::line::Weather;
use crate::people::Villager;

/// Largest body of an order.
const ORDER_BYTES_MAX: usize = 4096;
/// Setting under which the simulation keeps how orders have left the terminal.
const STANDING: &str = "terminal.standing";
/// Entries of the audit log read at once.
const ENTRIES: u32 = 500;
/// Checkpoints a month writes at most.
const CHECKPOINTS_MAX: u32 = 10_000;
/// Entries a month writes at most.
const ENTRIES_MAX: u64 = 1_000_000;

impl World {
    /// An order comes, or an old one comes again; sometimes a forged one.
    pub(super) fn order(&mut self) -> Result<()> {
        let is_replay = !self.orders.is_empty() && self.random.happens(400);
        let (id, text) = if is_replay {
            self.orders[self.random.index(self.orders.len())].clone()
        } else {
            self.new_order()?
        };
        if self.random.happens(150) {
            let mut forged = text.clone();
            forged.truncate(text.len() - 2);
            forged.push_str("AA");
            let keys = [self.official.public()];
            let outcome = signed::verify(&keys, signed::COMMAND, &forged, ORDER_BYTES_MAX);
            ensure!(
                outcome.is_err() || forged == text,
                "a forged order was believed"
            );
        }
        self.note(&format!("an order comes, again: {is_replay}"));
        self.take_order(id, &text)
    }

    fn new_order(&mut self) -> Result<(Uuid, String)> {
        self.counts.orders += 1;
        let id = Uuid::from_u128(u128::from(self.random.bits()) | 1 << 100);
        let kind = if self.random.happens(300) {
            "suspend-item"
        } else {
            "resume-item"
        };
        let body = json!({
            "id": id,
            "terminal": TERMINAL,
            "kind": kind,
            "arguments": { "item": "pension-qualification" },
            "issued_at": self.time.truth().to_string(),
        });
        let text = signed::sign(&self.official, signed::COMMAND, body.to_string().as_bytes())?;
        self.orders.push((id, text.clone()));
        Ok((id, text))
    }

    fn take_order(&mut self, id: Uuid, text: &str) -> Result<()> {
        let keys = [self.official.public()];
        let body = signed::verify(&keys, signed::COMMAND, text, ORDER_BYTES_MAX)?;
        let body: Value = serde_json::from_slice(&body)?;
        let kind = body["kind"].as_str().context("an order without a kind")?;
        let item = body["arguments"]["item"]
            .as_str()
            .context("an order without an item")?
            .to_owned();
        let order = match kind {
            "suspend-item" => Order::SuspendItem(item),
            "resume-item" => Order::ResumeItem(item),
            _ => bail!("an order of an unknown kind"),
        };
        let at = self.time.now().at;
        match self.terminal.cache().command_begin(id, kind, at)? {
            CommandStanding::Finished { .. } => {
                self.note("it was performed before");
                return Ok(());
            }
            CommandStanding::New | CommandStanding::Begun => {}
        }
        // Between the beginning and the end of an order the power may go; it comes again then.
        if self.random.happens(100) {
            return self.kill("in the middle of an order");
        }
        let now = self.time.now();
        self.terminal.tell(Event::Ordered { id, order }, now);
        let nobody: Villager = self.village[0].clone();
        self.answer_effects(&nobody)
    }

    /// The session has performed an order: once for each id, but for a power cut in the middle.
    pub(super) fn performed(
        &mut self,
        id: Uuid,
        order: &Order,
        outcome: Result<(), &'static str>,
    ) -> Result<()> {
        let count = self.performed.entry(id).or_default();
        *count += 1;
        // What the terminal knew of its orders can go with a damaged file; all of them can be
        // performed again without harm.
        ensure!(
            *count == 1 || self.counts.damages > 0,
            "an order was performed twice"
        );
        let at = self.time.now().at;
        let result = json!({ "state": if outcome.is_ok() { "done" } else { "failed" } });
        let cache = self.terminal.cache();
        cache.command_finish(id, &result.to_string(), at)?;
        ensure!(
            matches!(
                cache.command_begin(id, order.name(), at)?,
                CommandStanding::Finished { .. }
            ),
            "a finished order could begin again"
        );
        self.note(&format!("performed {}", order.name()));
        Ok(())
    }

    /// What orders have made of the terminal outlives its process.
    pub(super) fn keep(&mut self, standing: &Standing) -> Result<()> {
        let text = serde_json::to_string(standing)?;
        self.terminal.cache().set_setting(STANDING, &text)?;
        Ok(())
    }

    /// The platform has a new key; the terminal hears of it sooner or later.
    pub(super) fn rotate(&mut self) -> Result<()> {
        self.counts.rotations += 1;
        let truth = self.time.truth();
        let key = self.desk.contract().rotate_sealing_key(truth)?;
        self.desired += 1;
        let body = json!({ "version": self.desired, "sealing_key": key });
        let text = signed::sign(
            &self.official,
            signed::DESIRED_STATE,
            body.to_string().as_bytes(),
        )?;
        if self.weather == Weather::Down {
            self.note("nobody hears of the new key yet");
            return Ok(());
        }
        let keys = [self.official.public()];
        let body = signed::verify(&keys, signed::DESIRED_STATE, &text, ORDER_BYTES_MAX)?;
        let body = String::from_utf8(body)?;
        let at = self.time.now().at;
        let cache = self.terminal.cache();
        let queued = cache.list(u32::MAX)?;
        ensure!(
            cache.set_desired_state(self.desired, &body, at)?,
            "a newer desired state was refused"
        );
        ensure!(
            !cache.set_desired_state(self.desired - 1, "{}", at)?,
            "an older desired state was taken"
        );
        ensure!(
            cache.list(u32::MAX)? == queued,
            "the desired state touched the outbox"
        );
        self.adopt_key()
    }

    /// Takes up what a start finds: the key of the desired state and the standing of orders.
    pub(super) fn adopt(&mut self) -> Result<()> {
        self.adopt_key()?;
        if let Some(standing) = self.terminal.cache().setting(STANDING)? {
            let standing: Standing = serde_json::from_str(&standing)?;
            let now = self.time.now();
            self.terminal.stand(standing, now);
        }
        Ok(())
    }

    /// What is confirmed from now on is sealed to the key of the desired state.
    fn adopt_key(&mut self) -> Result<()> {
        if let Some(desired) = self.terminal.cache().desired_state()? {
            let body: Value = serde_json::from_str(&desired.body)?;
            let key = body["sealing_key"].as_str().context("no key")?;
            self.terminal.sealing.key = key.parse()?;
        }
        Ok(())
    }

    /// A new catalogue is swapped in; it can never touch the outbox.
    pub(super) fn swap_catalogue(&mut self) -> Result<()> {
        self.etag += 1;
        let fetched_at: Timestamp = self.time.now().at;
        let is_suspended = self.random.happens(200);
        let catalogue = Catalogue {
            etag: format!("\"{}\"", self.etag),
            version: self.etag,
            fetched_at,
            items: vec![CatalogueItem {
                id: "old-age-allowance".to_owned(),
                version: 1,
                is_suspended,
            }],
        };
        let cache = self.terminal.cache();
        let queued = cache.list(u32::MAX)?;
        cache.swap_catalogue(&catalogue)?;
        ensure!(
            cache.list(u32::MAX)? == queued,
            "a new catalogue touched the outbox"
        );
        ensure!(
            cache
                .catalogue()?
                .is_some_and(|kept| kept.etag == catalogue.etag),
            "a catalogue was not swapped in"
        );
        Ok(())
    }

    /// A heartbeat: the head of the audit chain is signed, and the platform remembers it if it
    /// arrives.
    pub(super) fn heartbeat(&mut self) -> Result<()> {
        let at = self.time.now().at;
        let device = std::sync::Arc::clone(self.terminal.keys.device());
        let cache = self.terminal.cache();
        cache.audit(
            &NewAudit {
                kind: "heartbeat".to_owned(),
                actor: "terminal".to_owned(),
                subject: None,
                transaction: None,
                detail: "{}".to_owned(),
            },
            at,
        )?;
        let Some((sequence, head)) = cache.audit_head()? else {
            bail!("the audit log has no head after an entry");
        };
        let checkpoint = Checkpoint::sign(&device, TERMINAL, sequence, head, at.as_millisecond())?;
        cache.add_checkpoint(&checkpoint)?;
        if let Some((earlier, _)) = self.anchor {
            ensure!(
                sequence > earlier,
                "the audit chain has become shorter than what the platform knows"
            );
        }
        if self.weather != Weather::Down {
            self.anchor = Some((sequence, head));
        }
        Ok(())
    }

    /// The whole audit chain, with every checkpoint and what the platform remembers.
    pub(super) fn check_audit(&mut self) -> Result<()> {
        let keys = [self.terminal.keys.public()];
        let anchor = self.anchor;
        let cache = self.terminal.cache();
        let mut entries = Vec::new();
        let mut after = 0;
        loop {
            let page = cache.audit_entries(after, ENTRIES)?;
            let Some((last, _)) = page.last() else { break };
            after = last.sequence;
            ensure!(after < ENTRIES_MAX, "the audit log grows without bound");
            entries.extend(page);
        }
        let checkpoints = cache.audit_checkpoints(0, CHECKPOINTS_MAX)?;
        let entries = entries.into_iter().map(Ok::<_, offline_cache::CacheError>);
        let report = audit::verify(TERMINAL, entries, &checkpoints, &keys, anchor);
        self.counts.audit_entries = report.entries;
        if self.counts.damages == 0 {
            ensure!(
                report.findings.is_empty(),
                "the audit chain is broken: {}",
                report.findings[0]
            );
        }
        Ok(())
    }
}
