//! What happens to the machine: kills, restarts, clocks that lie, a full disk, a program that was
//! newer for a while, and damage from outside.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kiosk_sealing::Suite;
use offline_cache::Opening;
use uuid::Uuid;

use super::{Happening, World, check_opening};
use crate::Sabotage;
use crate::oracle::{Fate, Oracle, Promise};
use crate::people::files;
use crate::time::Lie;
use kiosk_tests::random::Random;

/// A store as the first shipped program left it (`fixtures/make-store-v1.py`): two ratings of one
/// case wait, the second behind the first.
const FIRST_STORE: &[u8] = include_bytes!("../../fixtures/store-v1.db");
/// Most transactions of three batches, which may be in flight at once, and as many as of one that
/// were claimed with them.
const IN_FLIGHT_MAX: u32 = 400;
/// Room that is left on a full disk: nothing that a villager hands in fits.
const NO_ROOM_BYTES: u64 = 1;

/// The suite of a platform's first key.
pub(super) fn suite(random: &mut Random) -> Suite {
    if random.happens(500) {
        Suite::Gm
    } else {
        Suite::Intl
    }
}

/// Some terminals have been in the field since the first program.
pub(super) fn first_store(random: &mut Random) -> Option<&'static [u8]> {
    random.happens(500).then_some(FIRST_STORE)
}

/// What the first program had promised.
pub(super) fn promise_of_first_store(oracle: &mut Oracle) -> Result<()> {
    for id in 1..=2 {
        oracle.acknowledge(Promise {
            id: Uuid::from_u128(id),
            number: "T001-20261101-00001".to_owned(),
            kind: "rating".to_owned(),
            subject: "rating of the first program".to_owned(),
            fate: Fate::Open,
        })?;
    }
    Ok(())
}

impl World {
    /// The power goes, at this moment.
    pub(super) fn kill(&mut self, when: &str) -> Result<()> {
        self.note(&format!("killed {when}"));
        self.counts.kills += 1;
        self.start_anew();
        let seed = self.random.bits();
        let now = self.time.now();
        let opening = self.terminal.kill(now, seed, &mut self.random)?;
        if self.is_sabotaged(Sabotage::ForgetfulStore) {
            self.forget_a_day()?;
        }
        check_opening(&opening, IN_FLIGHT_MAX)?;
        self.adopt()?;
        self.check()
    }

    /// The program is ended in order and started again.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.counts.restarts += 1;
        let opening = self.restart_with(|_| Ok(()))?;
        check_opening(&opening, IN_FLIGHT_MAX)?;
        self.check()
    }

    fn restart_with(&mut self, between: impl FnOnce(&Path) -> Result<()>) -> Result<Opening> {
        self.start_anew();
        let seed = self.random.bits();
        let now = self.time.now();
        let opening = self.terminal.restart(now, seed, between)?;
        self.adopt()?;
        Ok(opening)
    }

    /// What only lives as long as a process is gone; some clocks do not outlive it either.
    fn start_anew(&mut self) {
        let boot = Duration::from_secs(self.random.between(5, 90));
        self.time.pass(boot);
        self.time.start_program();
        self.pen.forget();
        self.reader = None;
        self.stream = None;
        self.is_kill_due = false;
        self.look_at = self.time.since();
        if self.random.happens(150) {
            self.clock_lies(Lie::DeadBattery);
        }
    }

    pub(super) fn clock_lies(&mut self, lie: Lie) {
        if self.time.lie() == Lie::None {
            self.counts.clock_leaps += 1;
            self.note(&format!("the clock lies: {lie:?}"));
            self.time.tell(lie);
            self.plan_in_hours(1, 30, Happening::ClockMended);
        }
    }

    /// The disk is full: from the next start on there is no room for new work.
    pub(super) fn fill_disk(&mut self) -> Result<()> {
        if self.is_full {
            return Ok(());
        }
        self.is_full = true;
        self.terminal.set_room(Some(NO_ROOM_BYTES));
        self.plan_in_hours(2, 20, Happening::DiskFreed);
        self.restart()
    }

    pub(super) fn free_disk(&mut self) -> Result<()> {
        self.is_full = false;
        self.terminal.set_room(None);
        self.restart()
    }

    /// A newer program was installed, wrote its version into the store and was rolled back: this
    /// one opens what it left, and everything is there.
    pub(super) fn newer_program(&mut self) -> Result<()> {
        self.counts.roll_backs += 1;
        let opening = self.restart_with(mark_as_newer)?;
        check_opening(&opening, IN_FLIGHT_MAX)?;
        self.check()
    }

    /// Something from outside writes into the file of the store: it is moved aside, what can be
    /// read is saved, what cannot is told, and the file is never deleted.
    pub(super) fn damage(&mut self) -> Result<()> {
        self.counts.damages += 1;
        let place = self.random.bits();
        let opening = self.restart_with(|store| overwrite_a_page(store, place))?;
        let lost = self.oracle.mark_damaged(self.terminal.cache())?;
        if let Some(name) = &opening.quarantined {
            ensure!(
                self.terminal.store().join(name).exists(),
                "the damaged file is gone"
            );
            let salvaged = opening
                .salvaged
                .as_ref()
                .context("the damage is not reported")?;
            self.note(&format!(
                "moved aside; {} saved, {} rows lost",
                salvaged.transactions, salvaged.lost_rows
            ));
            self.remember_quarantine()?;
        }
        ensure!(
            lost == 0 || opening.quarantined.is_some(),
            "{lost} were lost and no damage was reported"
        );
        // Numbers, settings and the audit chain begin anew with what was saved.
        self.anchor = None;
        self.check()
    }

    /// Every file that was ever moved aside is there, as it was.
    pub(super) fn check_quarantine(&mut self) -> Result<()> {
        let known = self.quarantined.clone();
        self.remember_quarantine()?;
        for name in known {
            ensure!(
                self.quarantined.contains(&name),
                "a file that was moved aside is gone or changed"
            );
        }
        Ok(())
    }

    /// Notes the files that lie aside, by name and digest.
    fn remember_quarantine(&mut self) -> Result<()> {
        self.quarantined.clear();
        let store = self.terminal.store();
        for file in files(&store)? {
            let name = file.strip_prefix(&store)?.to_string_lossy().into_owned();
            if name.contains(".corrupt-") && !name.ends_with("-shm") {
                let digest = Suite::Intl.digest(&fs::read(&file)?);
                self.quarantined
                    .insert(format!("{name} {}", kiosk_sealing::hex(&digest)));
            }
        }
        Ok(())
    }

    /// The sabotage that loses: an older copy of the store takes the place of the newest.
    fn forget_a_day(&mut self) -> Result<()> {
        let kept = self.directory.join("stale");
        if let Some(stale) = self.stale.take() {
            let seed = self.random.bits();
            let now = self.time.now();
            self.terminal
                .restart(now, seed, |store| replace(store, &stale))?;
        } else {
            let seed = self.random.bits();
            let now = self.time.now();
            self.terminal
                .restart(now, seed, |store| replace(&kept, store))?;
            self.stale = Some(kept);
        }
        Ok(())
    }
}

/// Puts a copy of one directory of files in the place of another.
fn replace(target: &Path, source: &Path) -> Result<()> {
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    for file in files(source)? {
        let to = target.join(file.strip_prefix(source)?);
        fs::create_dir_all(to.parent().context("a file lies in a directory")?)?;
        fs::copy(file, to)?;
    }
    Ok(())
}

/// Writes "version 5, still to be read by version 2" where this program wrote "version 4": what an
/// update that adds nothing else leaves behind. The row is looked for by its bytes, because this
/// proof has no database engine of its own.
fn mark_as_newer(store: &Path) -> Result<()> {
    // Payload length 6, row id 1, header of 4 bytes, types NULL, one byte, one byte; two values.
    const ROW: [u8; 6] = [6, 1, 4, 0, 1, 1];
    const VERSIONS: [u8; 2] = [4, 5];
    const OLDEST_READER: u8 = 2;
    let path = store.join("kiosk.db");
    let mut bytes = fs::read(&path)?;
    let page = page_size(&bytes)?;
    let mut found = 0;
    for page in bytes.chunks_mut(page) {
        let Some((head, [version, oldest])) = page.split_last_chunk_mut() else {
            continue;
        };
        if head.ends_with(&ROW) && VERSIONS.contains(version) && *oldest == OLDEST_READER {
            *version = VERSIONS[1];
            found += 1;
        }
    }
    ensure!(
        found == 1,
        "{found} rows look like the version of the store"
    );
    fs::write(path, bytes)?;
    Ok(())
}

/// Overwrites one page somewhere behind the first ones with noise.
fn overwrite_a_page(store: &Path, place: u64) -> Result<()> {
    let path = store.join("kiosk.db");
    let mut bytes = fs::read(&path)?;
    let page = page_size(&bytes)?;
    let pages = bytes.len() / page;
    ensure!(pages > 2, "the store has no pages");
    let index = 1 + usize::try_from(place % u64::try_from(pages - 1)?)?;
    let mut noise = Random::new(place);
    for byte in &mut bytes[index * page..(index + 1) * page] {
        *byte = noise.bits().to_le_bytes()[0];
    }
    fs::write(path, bytes)?;
    Ok(())
}

/// Page size as the header says it (`SQLite` file format, section 1.3.2).
fn page_size(bytes: &[u8]) -> Result<usize> {
    let size = bytes.get(16..18).context("the store has no header")?;
    let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
    ensure!(size >= 512, "the page size of the store is odd");
    Ok(size)
}
