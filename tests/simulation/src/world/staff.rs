//! People of the village office: they look at what is dead, talk to the officials, retry or close,
//! and carry sticks to the town and back.

use anyhow::{Result, ensure};
use kiosk_app::carry::{self, Place};
use offline_cache::Sequence;
use uuid::Uuid;

use super::{Happening, Stick, World};
use crate::TERMINAL;

/// Dead rows somebody looks at in one visit.
const DEAD_MAX: u32 = 1_000;

impl World {
    /// Somebody looks after the terminal.
    pub(super) fn staff(&mut self) -> Result<()> {
        for row in self.terminal.cache().dead(DEAD_MAX)? {
            let name = self.oracle.name(row.id);
            ensure!(
                row.ended_by.is_some() && row.ended_reason.is_some(),
                "staff cannot see why {name} is dead"
            );
            match self.random.below(10) {
                0..=4 => {
                    self.desk.persuade(row.id);
                    let at = self.time.now().at;
                    self.terminal.cache().reinstate(row.id, "staff-1", at)?;
                    self.look_at = self.time.since();
                    self.note(&format!("staff retries {name}"));
                }
                5..=6 => self.close(row.id)?,
                _ => self.note(&format!("staff leaves {name}")),
            }
        }
        self.check()
    }

    /// Everything dead is closed by a person.
    pub(super) fn close_dead(&mut self) -> Result<()> {
        for row in self.terminal.cache().dead(DEAD_MAX)? {
            self.close(row.id)?;
        }
        Ok(())
    }

    fn close(&mut self, id: Uuid) -> Result<()> {
        let name = self.oracle.name(id);
        let at = self.time.now().at;
        self.terminal
            .cache()
            .close(id, "staff-2", "handed in on paper", at)?;
        self.oracle.close(id, "staff-2")?;
        self.note(&format!("staff closes {name}"));
        Ok(())
    }

    /// The queue is copied to a stick, sealed and signed; it stays in the queue too.
    pub(super) fn stick_out(&mut self) -> Result<()> {
        let now = self.time.now();
        let place = Place {
            bundle: Uuid::from_u128(u128::from(self.random.bits()) | 1 << 101),
            part: 1,
            after: Sequence(0),
        };
        let mut bytes = Vec::new();
        let part = self.terminal.with_cache(|cache, keys| {
            carry::write_part(cache, keys.device(), TERMINAL, place, &mut bytes, now)
        })?;
        ensure!(
            part.left_out.is_empty() || self.counts.damages > 0,
            "something whole was left out of a stick"
        );
        if part.ids.is_empty() {
            return Ok(());
        }
        self.terminal
            .cache()
            .mark_carried(&part.ids, place.bundle, now.at)?;
        self.counts.carried += u64::try_from(part.ids.len())?;
        self.note(&format!("a stick with {} leaves", part.ids.len()));
        self.sticks.push(Stick {
            bundle: place.bundle,
            part: bytes,
            receipts: None,
        });
        self.plan_in_hours(3, 60, Happening::StickBack);
        self.check()
    }

    /// A stick has been to the town and comes back with receipts, or is lost, or is imported a
    /// second time.
    pub(super) fn stick_back(&mut self) -> Result<()> {
        if self.sticks.is_empty() {
            return Ok(());
        }
        let place = self.random.index(self.sticks.len());
        if self.random.happens(150) {
            self.sticks.swap_remove(place);
            self.note("a stick is lost");
            return Ok(());
        }
        self.import(place)?;
        if self.random.happens(200) {
            self.note("the same stick is imported again");
            self.import(place)?;
        }
        if self.random.happens(300) {
            // The receipts stay in the town for now; the network may tell first.
            self.plan_in_hours(10, 80, Happening::StickBack);
            return Ok(());
        }
        let stick = self.sticks.swap_remove(place);
        self.take_receipts(&stick)
    }

    /// At the end of the month every stick comes home.
    pub(super) fn return_sticks(&mut self) -> Result<()> {
        while !self.sticks.is_empty() {
            self.import(0)?;
            let stick = self.sticks.swap_remove(0);
            self.take_receipts(&stick)?;
            self.check()?;
        }
        Ok(())
    }

    /// In the town: the part is handed to the platform, which verifies all of it first.
    fn import(&mut self, place: usize) -> Result<()> {
        let part = self.sticks[place].part.clone();
        let truth = self.time.truth();
        let torn = &part[..part.len() - 1];
        ensure!(
            self.desk.bundle(torn, truth)?.is_none(),
            "a truncated bundle was believed"
        );
        let mut forged = part.clone();
        let middle = part.len() / 2;
        forged[middle] ^= 1;
        ensure!(
            self.desk.bundle(&forged, truth)?.is_none(),
            "an altered bundle was believed"
        );
        let receipts = self.desk.bundle(&part, truth)?;
        ensure!(receipts.is_some(), "a good bundle was not believed");
        self.sticks[place].receipts = receipts;
        self.note("a stick is imported");
        Ok(())
    }

    /// The receipts of a stick settle what is still open; what the network settled before stays.
    fn take_receipts(&mut self, stick: &Stick) -> Result<()> {
        let Some(text) = &stick.receipts else {
            return Ok(());
        };
        let stranger = [self.official.public()];
        ensure!(
            carry::read_receipts(text, TERMINAL, &stranger).is_err(),
            "receipts signed by somebody else were believed"
        );
        let keys = [self.desk.contract().command_key().parse()?];
        let receipts = carry::read_receipts(text, TERMINAL, &keys)?;
        ensure!(receipts.bundle == stick.bundle, "receipts of another stick");
        let taken: Vec<(Uuid, String)> = receipts
            .results
            .iter()
            .filter_map(|result| {
                let id = result["id"].as_str()?.parse().ok()?;
                let reference = result["receipt"]["reference"].as_str()?;
                Some((id, reference.to_owned()))
            })
            .collect();
        let now = self.time.now();
        let imported = carry::import(self.terminal.cache(), receipts, now)?;
        for (id, reference) in taken {
            self.oracle.settle(id, &reference)?;
        }
        self.counts.dead += u64::from(imported.parked);
        self.note(&format!(
            "receipts of a stick: {} settled, {} before, {} parked, {} wait",
            imported.settled, imported.settled_before, imported.parked, imported.waiting
        ));
        self.look_at = self.time.since();
        self.check()
    }
}
