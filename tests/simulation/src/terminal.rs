//! One terminal through all its lives: the real session, store, keys and drain, with a directory
//! that outlives them. A kill leaves the files as they are at that moment; what was only in memory
//! is gone.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::civil::Time;
use kiosk_app::catalogue::Catalogue;
use kiosk_app::clock::Moment;
use kiosk_app::event::{Effect, Event, Standing};
use kiosk_app::keys::Keys;
use kiosk_app::platform::drain::{Drain, Policy};
use kiosk_app::queue::Sealing;
use kiosk_app::session::{Session, Site};
use kiosk_device::{DeviceClass, Status};
use kiosk_sealing::{Algorithm, KeySource, RecipientKey};
use offline_cache::{Cache, Opening, Options, Quota};

use crate::TERMINAL;
use crate::people::files;
use kiosk_tests::random::Random;

/// Where the store lies below the terminal's home.
const STORE: &str = "store";
/// Room of the store while nothing is the matter: a month of small pictures is far below it.
const STORE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// What the configuration of a village on a thin line says.
const BYTES_PER_S: u32 = 200_000;
const PROBE: Duration = Duration::from_mins(5);

/// A terminal that runs.
pub(crate) struct Terminal {
    root: PathBuf,
    life: u32,
    home: PathBuf,
    catalogue: Arc<Catalogue>,
    /// `None` for the moment of a restart only.
    cache: Option<Cache>,
    quota: Quota,
    policy: Policy,
    pub(crate) keys: Keys,
    pub(crate) sealing: Sealing,
    pub(crate) drain: Drain,
    pub(crate) session: Session,
    /// Effects that nobody has answered yet, oldest first.
    pub(crate) effects: VecDeque<Effect>,
}

impl Terminal {
    /// Switches a new terminal on for the first time.
    pub(crate) fn begin(
        root: &Path,
        first_store: Option<&[u8]>,
        key: RecipientKey,
        is_capped: bool,
        now: Moment,
        seed: u64,
    ) -> Result<(Self, Opening)> {
        let items = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kiosk-app/items");
        let catalogue = Catalogue::load(&items);
        ensure!(
            catalogue.mistakes.is_empty(),
            "the items of the product are wrong: {:?}",
            catalogue.mistakes
        );
        let home = root.join("life-0");
        fs::create_dir_all(home.join(STORE))?;
        if let Some(bytes) = first_store {
            fs::write(home.join(STORE).join("kiosk.db"), bytes)?;
        }
        let source = KeySource::File {
            path: home.join("device-key.pk8"),
            algorithm: Algorithm::Ed25519,
        };
        let quota = Quota {
            free_bytes_min: 0,
            store_bytes_max: STORE_BYTES_MAX,
        };
        let (cache, opening) = Cache::open_with(&home.join(STORE), &options(quota), now.at)?;
        let catalogue = Arc::new(catalogue);
        let policy = policy(is_capped);
        let mut terminal = Self {
            root: root.to_owned(),
            life: 0,
            keys: Keys::open(&home, &source)?,
            home,
            sealing: Sealing {
                key,
                terminal: TERMINAL.to_owned(),
            },
            cache: Some(cache),
            quota,
            drain: Drain::new(policy.clone(), seed),
            policy,
            session: Session::new(Arc::clone(&catalogue), site()),
            catalogue,
            effects: VecDeque::new(),
        };
        terminal.wake_up(now);
        Ok((terminal, opening))
    }

    /// The store.
    pub(crate) fn cache(&mut self) -> &mut Cache {
        self.cache
            .as_mut()
            .expect("the store is open but for the moment of a restart")
    }

    /// The store and the keys together.
    pub(crate) fn with_cache<T>(&mut self, act: impl FnOnce(&mut Cache, &Keys) -> T) -> T {
        let cache = self
            .cache
            .as_mut()
            .expect("the store is open but for the moment of a restart");
        act(cache, &self.keys)
    }

    /// One turn of the drain: what to do next.
    pub(crate) fn step(&mut self, now: Moment) -> Result<kiosk_app::platform::drain::Step> {
        let cache = self
            .cache
            .as_mut()
            .expect("the store is open but for the moment of a restart");
        Ok(self.drain.step(cache, now)?)
    }

    /// Something more to do while earlier steps are on their way.
    pub(crate) fn beside(
        &mut self,
        now: Moment,
    ) -> Result<Option<kiosk_app::platform::drain::Step>> {
        let cache = self
            .cache
            .as_mut()
            .expect("the store is open but for the moment of a restart");
        Ok(self.drain.beside(cache, now)?)
    }

    /// What came of it.
    pub(crate) fn outcome(
        &mut self,
        outcome: kiosk_app::platform::drain::Outcome,
        now: Moment,
    ) -> Result<Vec<kiosk_app::platform::drain::News>> {
        let cache = self
            .cache
            .as_mut()
            .expect("the store is open but for the moment of a restart");
        Ok(self.drain.outcome(cache, outcome, now)?)
    }

    /// The directory with everything of this terminal in it.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The directory of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.home.join(STORE)
    }

    /// The system behind the platform that an item is for.
    pub(crate) fn upstream(&self, item: &str) -> String {
        self.catalogue
            .get(item)
            .map(|item| item.upstream.clone())
            .unwrap_or_default()
    }

    /// Tells the session something; what it asks for is queued.
    pub(crate) fn tell(&mut self, event: Event, now: Moment) {
        let effects = self.session.apply(event, now);
        self.effects.extend(effects);
    }

    /// How orders had left the terminal before it was started.
    pub(crate) fn stand(&mut self, standing: Standing, now: Moment) {
        let session = Session::new(Arc::clone(&self.catalogue), site());
        self.session = session.standing(standing);
        self.wake_up(now);
    }

    /// How much the store may hold from the next start on.
    pub(crate) fn set_room(&mut self, bytes: Option<u64>) {
        self.quota.store_bytes_max = bytes.unwrap_or(STORE_BYTES_MAX);
    }

    /// Ends the program in order and starts it again; `between` is what happens to the files
    /// meanwhile.
    pub(crate) fn restart(
        &mut self,
        now: Moment,
        seed: u64,
        between: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Opening> {
        self.cache = None;
        between(&self.home.join(STORE))?;
        self.open(now, seed)
    }

    /// Ends the program as a power cut without loss does: the files stay as they are at this
    /// moment, with what a write in progress leaves behind, and the next life begins with them.
    pub(crate) fn kill(&mut self, now: Moment, seed: u64, random: &mut Random) -> Result<Opening> {
        self.life += 1;
        let next = self.root.join(format!("life-{}", self.life));
        copy(&self.home, &next)?;
        leave_a_torn_write(&next.join(STORE), random)?;
        self.cache = None;
        fs::remove_dir_all(&self.home)?;
        self.home = next;
        self.open(now, seed)
    }

    fn open(&mut self, now: Moment, seed: u64) -> Result<Opening> {
        let (cache, opening) =
            Cache::open_with(&self.home.join(STORE), &options(self.quota), now.at)
                .context("the store does not open")?;
        self.cache = Some(cache);
        self.drain = Drain::new(self.policy.clone(), seed);
        self.session = Session::new(Arc::clone(&self.catalogue), site());
        self.effects.clear();
        self.wake_up(now);
        Ok(opening)
    }

    /// Every device is ready; the platform has not been heard of yet.
    fn wake_up(&mut self, now: Moment) {
        for class in [
            DeviceClass::IdCard,
            DeviceClass::QrScanner,
            DeviceClass::SlipPrinter,
            DeviceClass::PagePrinter,
            DeviceClass::Camera,
        ] {
            let event = Event::Status {
                class,
                device: class.name().to_owned(),
                status: Status::online(),
            };
            self.tell(event, now);
        }
    }
}

fn options(quota: Quota) -> Options {
    Options {
        quota,
        terminal: TERMINAL.to_owned(),
        ..Options::default()
    }
}

/// Under a cap one request goes at a time; without one, several.
fn policy(is_capped: bool) -> Policy {
    Policy {
        off_hours: Some((Time::constant(22, 0, 0, 0), Time::constant(6, 0, 0, 0))),
        bytes_per_s: is_capped.then_some(BYTES_PER_S),
        probe: PROBE,
        ..Policy::default()
    }
}

fn site() -> Site {
    Site {
        name: "测试村".to_owned(),
        terminal: TERMINAL.to_owned(),
        help_phone: "12345".to_owned(),
        board: Vec::new(),
    }
}

/// Copies what outlives a process: not its lock, and not the memory it shares with itself.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if name == "lock" || name.ends_with("-shm") {
            continue;
        }
        let target = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(target.parent().context("a file lies in a directory")?)?;
        fs::copy(&file, target)?;
    }
    Ok(())
}

/// What was being written when the process died and was acknowledged to nobody: a log record that
/// ends in the middle, an attachment without a name.
fn leave_a_torn_write(store: &Path, random: &mut Random) -> Result<()> {
    let log = store.join("kiosk.db-wal");
    if random.happens(300) && log.exists() {
        let mut bytes = fs::read(&log)?;
        // Shorter than one frame of the log, so that no older frame behind it can join in.
        let torn = random.between(1, 500);
        bytes.extend((0..torn).map(|_| random.bits().to_le_bytes()[0]));
        fs::write(log, bytes)?;
    }
    if random.happens(300) {
        let attachments = store.join("attachments");
        fs::create_dir_all(&attachments)?;
        fs::write(attachments.join("cut-short.part"), b"half")?;
    }
    Ok(())
}
