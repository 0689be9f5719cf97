//! The village: an agenda of what happens, one clock for all of it, and the checks after every
//! step. The parts that promise something are the product's own; the people, the line, the weather
//! and the clock are made here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use central_platform::{Accepted, Config};
use kiosk_app::event::Ticket;
use kiosk_sealing::audit::Hash;
use kiosk_sealing::{Algorithm, DeviceKey};
use offline_cache::Opening;
use uuid::Uuid;

use crate::desk::Desk;
use crate::line::Weather;
use crate::log::Log;
use crate::oracle::Oracle;
use crate::people::{Villager, personal, personal_in_files, village};
use crate::signing::Pen;
use crate::terminal::Terminal;
use crate::time::{Lie, Time};
use crate::trace::Trace;
use crate::{Counts, Plan, Sabotage};
use kiosk_tests::random::Random;

mod glass;
mod orders;
mod power;
mod staff;
mod wire;

const DAY: Duration = Duration::from_hours(24);
/// The last second of a day, from its beginning.
const LAST_SECOND: Duration = Duration::from_secs(86_399);
/// Turns of the drain without time passing after which it spins.
const TURNS_MAX: u32 = 5_000;
/// Longest time for which an idle drain is left alone, in place of the half minute it asks for;
/// nothing waits then but the next event of the agenda.
const IDLE: Duration = Duration::from_mins(5);
/// Time within which a healthy world settles everything: a night with its window, and the longest
/// pauses before it.
const HEALING: Duration = Duration::from_hours(60);
/// Systems behind the platform that the items of the product are for.
const UPSTREAMS: [&str; 2] = ["civil-affairs", "social-security"];

/// Something on the agenda.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Visit,
    Weather,
    Restart,
    Kill,
    ClockLies(Lie),
    ClockMended,
    UpstreamDown(usize),
    UpstreamUp(usize),
    KeyRotated,
    KeyLost,
    KeyFound,
    DiskFull,
    DiskFreed,
    Staff,
    StickOut,
    StickBack,
    Order,
    Catalogue,
    Heartbeat,
    NewerProgram,
    Damage,
    EndOfDay,
}

/// A stick on its way: one bundle part, and the receipts once somebody brings them back.
struct Stick {
    bundle: Uuid,
    part: Vec<u8>,
    receipts: Option<String>,
}

/// The whole village.
pub(crate) struct World {
    plan: Plan,
    pub(crate) random: Random,
    pub(crate) time: Time,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    log: Log,
    directory: PathBuf,
    village: Vec<Villager>,
    terminal: Terminal,
    desk: Desk,
    oracle: Oracle,
    weather: Weather,
    agenda: BTreeMap<(Duration, u64), Happening>,
    planned: u64,
    /// When the drain is asked again.
    look_at: Duration,
    reader: Option<Ticket>,
    stream: Option<Ticket>,
    /// Who sits before the camera.
    sitter: Option<Villager>,
    sticks: Vec<Stick>,
    /// Signs the requests of this life.
    pen: Pen,
    /// Signs commands and receipts.
    official: DeviceKey,
    /// Signed commands so far, to be replayed.
    orders: Vec<(Uuid, String)>,
    performed: BTreeMap<Uuid, u32>,
    anchor: Option<(u64, Hash)>,
    /// Damaged files that were moved aside; they must stay as they are.
    quarantined: BTreeSet<String>,
    /// Cases whose content at the platform was compared already.
    opened_cases: BTreeSet<Uuid>,
    is_full: bool,
    /// The next check of the glass is the last one of this life.
    is_kill_due: bool,
    etag: u32,
    desired: u64,
    /// An older copy of the store, for the sabotage that loses.
    stale: Option<PathBuf>,
}

impl World {
    /// A village on the evening before its month.
    pub(crate) fn new(
        plan: Plan,
        directory: &Path,
        log: Log,
        listener: Option<Box<dyn Write>>,
    ) -> Result<Self> {
        let mut random = Random::new(plan.seed);
        let time = Time::new();
        let config = Config {
            suite: power::suite(&mut random),
            ..Config::default()
        };
        let mut desk = Desk::open(&directory.join("platform"), config)?;
        let key = desk.contract().sealing_key()?.parse()?;
        let first_store = power::first_store(&mut random);
        let seed = random.bits();
        let (is_capped, is_gated) = (random.happens(400), random.happens(700));
        let (terminal, opening) = Terminal::begin(
            &directory.join("terminal"),
            first_store,
            key,
            is_capped,
            time.now(),
            seed,
        )?;
        desk.register(terminal.keys.public(), is_gated)?;
        let mut world = Self {
            plan,
            random,
            time,
            trace: Trace::told_to(listener),
            counts: Counts::default(),
            log,
            directory: directory.to_owned(),
            village: village(),
            terminal,
            desk,
            oracle: Oracle::default(),
            weather: Weather::Good,
            agenda: BTreeMap::new(),
            planned: 0,
            look_at: Duration::ZERO,
            reader: None,
            stream: None,
            sitter: None,
            sticks: Vec::new(),
            pen: Pen::default(),
            official: DeviceKey::generate(Algorithm::Ed25519)?,
            orders: Vec::new(),
            performed: BTreeMap::new(),
            anchor: None,
            quarantined: BTreeSet::new(),
            opened_cases: BTreeSet::new(),
            is_full: false,
            is_kill_due: false,
            etag: 0,
            desired: 0,
            stale: None,
        };
        world.note(&format!(
            "switched on, old store: {}, under a cap: {is_capped}, signatures are looked at: {is_gated}",
            first_store.is_some()
        ));
        if first_store.is_some() {
            power::promise_of_first_store(&mut world.oracle)?;
        }
        check_opening(&opening, 0)?;
        world.adopt()?;
        world.check()?;
        Ok(world)
    }

    /// Lives through the month and a time of good weather after it.
    pub(crate) fn run(&mut self) -> Result<()> {
        for day in 0..self.plan.days {
            self.plan_day(DAY * day);
            while let Some(((at, _), happening)) = self.next_before(DAY * (day + 1)) {
                self.pass_until(at)?;
                self.note(&format!("{happening:?}"));
                self.happen(happening)?;
                self.check()?;
            }
        }
        self.heal()
    }

    /// Writes an event down.
    pub(crate) fn note(&mut self, what: &str) {
        self.trace.note(self.time.since(), what);
    }

    fn next_before(&mut self, end: Duration) -> Option<((Duration, u64), Happening)> {
        let first = self.agenda.first_entry()?;
        (first.key().0 < end).then(|| first.remove_entry())
    }

    fn plan_at(&mut self, at: Duration, happening: Happening) {
        self.planned += 1;
        self.agenda.insert((at, self.planned), happening);
    }

    /// Draws what happens on one day.
    fn plan_day(&mut self, midnight: Duration) {
        let opening = midnight + Duration::from_hours(8);
        let evening = midnight + Duration::from_hours(18);
        for _ in 0..self.random.between(4, 9) {
            self.plan_between(opening, evening, Happening::Visit);
        }
        for _ in 0..self.random.between(3, 8) {
            self.plan_between(midnight, midnight + DAY, Happening::Weather);
        }
        for _ in 0..4 {
            self.plan_between(midnight, midnight + DAY, Happening::Heartbeat);
        }
        let lie = [Lie::YearsAhead, Lie::DayBehind, Lie::DeadBattery][self.random.index(3)];
        let upstream = self.random.index(UPSTREAMS.len());
        for (per_thousand, happening) in [
            (600, Happening::Restart),
            (800, Happening::Kill),
            (400, Happening::Kill),
            (300, Happening::ClockLies(lie)),
            (150, Happening::UpstreamDown(upstream)),
            (200, Happening::KeyRotated),
            (80, Happening::KeyLost),
            (200, Happening::DiskFull),
            (700, Happening::Staff),
            (250, Happening::StickOut),
            (700, Happening::Order),
            (400, Happening::Catalogue),
            (150, Happening::NewerProgram),
            (60, Happening::Damage),
        ] {
            if self.random.happens(per_thousand) {
                self.plan_between(midnight, midnight + DAY, happening);
            }
        }
        self.plan_at(midnight + LAST_SECOND, Happening::EndOfDay);
    }

    fn plan_between(&mut self, from: Duration, to: Duration, happening: Happening) {
        let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX);
        let at = from + Duration::from_millis(self.random.below(span));
        self.plan_at(at, happening);
    }

    fn plan_in_hours(&mut self, low: u64, high: u64, happening: Happening) {
        let minutes = self.random.between(low * 60, high * 60);
        self.plan_at(self.time.since() + Duration::from_mins(minutes), happening);
    }

    fn happen(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::Visit => self.visit(),
            Happening::Weather => {
                self.weather = Weather::drawn(&mut self.random);
                self.note(&format!("weather is {:?}", self.weather));
                Ok(())
            }
            Happening::Restart => self.restart(),
            Happening::Kill => self.kill("between two steps"),
            Happening::ClockLies(lie) => {
                self.clock_lies(lie);
                Ok(())
            }
            Happening::ClockMended => {
                self.time.tell(Lie::None);
                Ok(())
            }
            Happening::UpstreamDown(which) => {
                self.desk.contract().set_upstream(UPSTREAMS[which], false)?;
                self.plan_in_hours(6, 96, Happening::UpstreamUp(which));
                Ok(())
            }
            Happening::UpstreamUp(which) => {
                self.desk.contract().set_upstream(UPSTREAMS[which], true)?;
                Ok(())
            }
            Happening::KeyRotated => self.rotate(),
            Happening::KeyLost => {
                self.desk.set_keyless(true);
                self.plan_in_hours(1, 12, Happening::KeyFound);
                Ok(())
            }
            Happening::KeyFound => {
                self.desk.set_keyless(false);
                Ok(())
            }
            Happening::DiskFull => self.fill_disk(),
            Happening::DiskFreed => self.free_disk(),
            Happening::Staff => self.staff(),
            Happening::StickOut => self.stick_out(),
            Happening::StickBack => self.stick_back(),
            Happening::Order => self.order(),
            Happening::Catalogue => self.swap_catalogue(),
            Happening::Heartbeat => self.heartbeat(),
            Happening::NewerProgram => self.newer_program(),
            Happening::Damage => self.damage(),
            Happening::EndOfDay => self.end_of_day(),
        }
    }

    /// Lets time pass up to a moment, with the drain at work meanwhile.
    fn pass_until(&mut self, until: Duration) -> Result<()> {
        let mut turns = 0;
        let mut last = self.time.since();
        while self.look_at <= until {
            if let Some(ahead) = self.look_at.checked_sub(self.time.since()) {
                self.time.pass(ahead);
            }
            turns = if self.time.since() == last {
                turns + 1
            } else {
                0
            };
            last = self.time.since();
            ensure!(turns < TURNS_MAX, "the drain spins without time passing");
            self.turn()?;
            if self.time.since() > until {
                break;
            }
        }
        if let Some(rest) = until.checked_sub(self.time.since()) {
            self.time.pass(rest);
        }
        Ok(())
    }

    /// Lets some time pass.
    fn pass(&mut self, duration: Duration) -> Result<()> {
        self.pass_until(self.time.since() + duration)
    }

    /// What must hold after every step.
    fn check(&mut self) -> Result<()> {
        let cache = self.terminal.cache();
        self.oracle.check_outbox(cache)
    }

    /// What is checked when a day is over: the platform's books, the audit chain, and that nothing
    /// of anybody lies in a file or stood in the log.
    fn end_of_day(&mut self) -> Result<()> {
        let accepted = self.desk.accepted()?;
        self.oracle.check_platform(&accepted)?;
        self.check_content(&accepted)?;
        self.check_audit()?;
        self.check_quarantine()?;
        if let Some(found) = personal_in_files(self.terminal.home(), &self.village)? {
            anyhow::bail!("{found}");
        }
        for stick in &self.sticks {
            ensure!(
                personal(&stick.part, &self.village).is_none(),
                "a stick holds somebody in the clear"
            );
        }
        let log = self.log.take();
        if let Some(found) = personal(&log, &self.village) {
            anyhow::bail!("{found} of the log");
        }
        let [open, settled, closed, damaged] = self.oracle.count();
        self.note(&format!(
            "the day ends: {open} open, {settled} settled, {closed} closed, {damaged} damaged"
        ));
        Ok(())
    }

    /// What arrived is what was confirmed: the platform opens each envelope and finds the person and
    /// the pictures that belong to the case.
    fn check_content(&mut self, accepted: &[Accepted]) -> Result<()> {
        for effect in accepted {
            if effect.kind != "case" || !self.opened_cases.insert(effect.id) {
                continue;
            }
            let name = self.oracle.name(effect.id);
            let place = self
                .oracle
                .promise(effect.id)
                .and_then(|promise| promise.subject.strip_prefix("person "))
                .and_then(|place| place.parse::<usize>().ok())
                .with_context(|| format!("{name} is nobody's"))?;
            let villager = &self.village[place];
            let content = self
                .desk
                .contract()
                .content(effect.id)?
                .with_context(|| format!("{name} has no content"))?;
            let payload = &content.document["payload"];
            ensure!(
                payload["principal"]["number"] == villager.number.as_str()
                    && payload["case_number"] == effect.case_number.as_str(),
                "{name} arrived with the content of something else"
            );
            ensure!(
                content
                    .attachments
                    .iter()
                    .all(|(_, bytes)| *bytes == villager.picture),
                "{name} arrived with the pictures of somebody else"
            );
        }
        Ok(())
    }

    /// The troubles end. In good time everything is settled, or dead with a name and a reason; what
    /// is dead is then closed by a person, and nothing is left.
    fn heal(&mut self) -> Result<()> {
        self.note("the troubles end");
        self.agenda.clear();
        self.weather = Weather::Good;
        self.desk.mend();
        for upstream in UPSTREAMS {
            self.desk.contract().set_upstream(upstream, true)?;
        }
        self.time.tell(Lie::None);
        if self.is_full {
            self.free_disk()?;
        }
        self.adopt()?;
        self.pass(HEALING)?;
        self.return_sticks()?;
        for row in self.terminal.cache().list(u32::MAX)? {
            let name = self.oracle.name(row.id);
            ensure!(
                row.state == offline_cache::State::Dead || row.is_blocked,
                "{name} is {} after {HEALING:?} of good weather",
                row.state
            );
        }
        // Closing a dead one lets the next of its subject go, which may be refused in its turn.
        while self.terminal.cache().depth()?.dead > 0 {
            self.close_dead()?;
            self.pass(HEALING)?;
        }
        let depth = self.terminal.cache().depth()?;
        ensure!(
            depth.waiting == 0 && depth.dead == 0,
            "{} wait and {} are dead at the end",
            depth.waiting,
            depth.dead
        );
        self.oracle.check_end()?;
        self.end_of_day()?;
        self.summarize()
    }

    fn summarize(&mut self) -> Result<()> {
        let [_, settled, closed, damaged] = self.oracle.count();
        self.counts.transactions = u64::try_from(self.oracle.promises().len())?;
        self.counts.settled = settled;
        self.counts.closed = closed;
        self.counts.damaged = damaged;
        self.counts.duplicates_offered = self
            .desk
            .accepted()?
            .iter()
            .map(|effect| u64::from(effect.times_received.saturating_sub(1)))
            .sum();
        Ok(())
    }

    /// Whether the plan wants this part of the world to be broken.
    fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.plan.sabotage == Some(sabotage)
    }
}

/// What an opening of the store may say, after a restart with nothing broken.
fn check_opening(opening: &Opening, in_flight_max: u32) -> Result<()> {
    ensure!(
        opening.quarantined.is_none(),
        "a sound store was moved aside"
    );
    ensure!(
        opening.recovered_in_flight <= in_flight_max,
        "{} were in flight, more than were sent",
        opening.recovered_in_flight
    );
    Ok(())
}
