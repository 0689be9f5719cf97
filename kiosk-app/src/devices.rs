//! The technician's look at the devices: every configured one and every unknown one, with state,
//! abilities, last fault and its action, and counters. Asks nothing of a device that works: it reads
//! what the supervisors know already. Knows no personal data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kiosk_device::usb::sysfs::Sysfs;
use kiosk_device::{
    ConfigError, DeviceClass, DeviceConfig, DeviceState, Diary, Fault, Observer, Rung, Snapshot,
    Status, Tap, Waker, hotplug, tap,
};
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::hub::Hub;
use crate::logging;
use crate::platform::DeviceVitals;
use crate::problem;
use crate::runtime::Input;
use crate::words::Lang;

pub mod socket;
mod table;
mod unknown;

pub use unknown::Unknown;

/// Reports that may wait while nobody but the listing runs.
const INBOX_LIMIT: usize = 256;

/// One device as the hub started it.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// Its table in the configuration.
    pub config: DeviceConfig,
    /// How it is.
    pub observer: Observer,
    /// Records its bytes.
    pub tap: Tap,
    /// Makes it look at its line.
    pub waker: Waker,
    /// How it can be brought back, the mildest way first.
    pub rungs: Vec<&'static str>,
}

/// Every configured device; clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Mutex<Vec<Fitted>>>);

/// What the technician is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// True when the terminal itself answered; false when the devices were opened just for this.
    pub is_terminal_running: bool,
    /// Configured devices in the order of the configuration.
    pub devices: Vec<Listed>,
    /// What is plugged in and not configured.
    pub unknown: Vec<Unknown>,
}

/// One configured device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name on this terminal.
    pub id: String,
    /// Its class.
    pub class: String,
    /// What it is for, where there are several of its class: `face` or `document` of a camera; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// Its driver.
    pub driver: String,
    /// Where it is attached.
    pub port: String,
    /// Its state, in the words of XFS4IoT.
    pub state: String,
    /// Card, slip or sheet that lies in or on it.
    pub media: String,
    /// Paper.
    pub paper: String,
    /// Toner.
    pub toner: String,
    /// What else it tells.
    pub readings: BTreeMap<String, String>,
    /// Maker and model.
    pub model: String,
    /// Serial number or SAM id.
    pub serial: String,
    /// Firmware.
    pub firmware: String,
    /// Abilities.
    pub abilities: Vec<String>,
    /// What is wrong now.
    pub faults: Vec<FaultWords>,
    /// The last thing that was wrong, even if it has gone.
    pub last_fault: Option<FaultWords>,
    /// Its log level where it differs from the rest.
    pub log_level: Option<String>,
    /// True while its bytes are recorded.
    pub is_recording: bool,
    /// How it can be brought back by hand, the mildest way first: `usb-rebind`, `power-cycle`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<String>,
    /// Counters since the start.
    pub counters: Counters,
}

/// A fault with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultWords {
    /// Problem code.
    pub code: String,
    /// Who acts: `reset`, `clear`, `maintenance`, `configuration`, `suspend`.
    pub action: String,
    /// One plain sentence.
    pub title: String,
    /// What the technician does.
    pub advice: String,
    /// What the driver saw.
    pub detail: String,
}

/// What a device did since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// How often it was opened.
    pub opened: u64,
    /// Commands that ended.
    pub commands: u64,
    /// Commands that succeeded.
    pub succeeded: u64,
    /// Commands that the visit gave up.
    pub canceled: u64,
    /// Commands that ran into their deadline.
    pub timed_out: u64,
    /// Commands that failed, by problem code.
    pub failed: BTreeMap<String, u64>,
    /// Faults that appeared, by problem code.
    pub faults: BTreeMap<String, u64>,
    /// How often it was brought back by force, by way.
    pub recovered: BTreeMap<String, u64>,
    /// What it made: `pages`, `slips`, `cards`, `codes`.
    pub made: BTreeMap<String, u64>,
    /// Seconds during which it was ready.
    pub ready_s: u64,
}

impl Roster {
    pub(crate) fn add(&self, fitted: Fitted) {
        self.lock().push(fitted);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fitted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes every device whenever the kernel says that something was plugged in or pulled out.
    /// `None` where the machine does not tell; retries find devices all the same.
    pub fn watch_plugs(&self) -> Option<hotplug::Watch> {
        let roster = self.clone();
        hotplug::watch(move |uevent| {
            tracing::debug!(
                action = uevent.action,
                path = uevent.path,
                "plugs have changed"
            );
            for fitted in roster.lock().iter() {
                fitted.waker.wake();
            }
        })
        .inspect_err(|error| tracing::info!(%error, "the kernel does not tell about plugs"))
        .ok()
    }

    /// The devices as they are now.
    pub fn report(&self, sysfs: &Sysfs, is_terminal_running: bool) -> Report {
        let fitted = self.lock().clone();
        let ports: Vec<&str> = fitted
            .iter()
            .map(|device| device.config.port.as_str())
            .collect();
        Report {
            is_terminal_running,
            unknown: unknown::find(sysfs, &ports),
            devices: (fitted.iter())
                .map(|device| listed(device, sysfs))
                .collect(),
        }
    }

    /// What every device has counted since the start.
    pub(crate) fn counters(&self) -> Vec<(String, Counters)> {
        let fitted = self.lock().clone();
        let counted = |device: &Fitted| {
            let diary = device.observer.snapshot().diary;
            (device.config.id.clone(), counters(diary))
        };
        fitted.iter().map(counted).collect()
    }

    /// Every device as the platform is told.
    pub(crate) fn vitals(&self) -> Vec<DeviceVitals> {
        let fitted = self.lock().clone();
        let vital = |device: &Fitted| {
            let status = device.observer.snapshot().status;
            DeviceVitals {
                id: device.config.id.clone(),
                class: device.config.class.name().to_owned(),
                state: word(&status.state),
                faults: status
                    .faults
                    .iter()
                    .map(|fault| fault.code.to_owned())
                    .collect(),
            }
        };
        fitted.iter().map(vital).collect()
    }

    /// Starts recording a device into a new file.
    ///
    /// # Errors
    /// In words: no such device, or the file cannot be made.
    pub fn record(&self, id: &str, file: &Path, privacy: tap::Privacy) -> Result<(), String> {
        let device = self.get(id)?;
        let config = &device.config;
        let about = [
            format!("device {} class {}", config.id, config.class.name()),
            format!("driver {} port {}", config.driver, config.port),
        ];
        device
            .tap
            .start(file, privacy, &about)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        // Reopening shows the whole conversation, from the first byte.
        device.waker.wake();
        tracing::warn!(device = id, "recording of a device begins");
        Ok(())
    }

    /// Ends the recording of a device.
    ///
    /// # Errors
    /// In words: no such device, it was not recorded, or the file could not be finished.
    pub fn stop_recording(&self, id: &str) -> Result<tap::Recorded, String> {
        let recorded = self.get(id)?.tap.stop();
        tracing::warn!(device = id, "recording of a device ends");
        recorded
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("{id} was not being recorded"))
    }

    /// A device by its name. A copy, so that no file is written while the list is locked: the visit
    /// counts in it.
    pub(crate) fn get(&self, id: &str) -> Result<Fitted, String> {
        find(&self.lock(), id).cloned()
    }

    /// The outputs of a board through which devices get their power.
    pub(crate) fn fed_by(&self, board: &str) -> BTreeSet<String> {
        let fitted = self.lock();
        let powers = fitted
            .iter()
            .filter_map(|device| device.config.power.as_ref());
        let of_board = powers.filter(|power| power.board == board);
        of_board.map(|power| power.output.clone()).collect()
    }

    /// Every device with its class and how it is.
    pub(crate) fn statuses(&self) -> Vec<(String, DeviceClass, Status)> {
        let fitted = self.lock().clone();
        let status = |device: &Fitted| {
            let config = &device.config;
            let status = device.observer.snapshot().status;
            (config.id.clone(), config.class, status)
        };
        fitted.iter().map(status).collect()
    }

    /// True when there is a device of that name.
    pub fn contains(&self, id: &str) -> bool {
        find(&self.lock(), id).is_ok()
    }

    /// What records the bytes of a device.
    pub(crate) fn tap(&self, id: &str) -> Option<Tap> {
        self.get(id).ok().map(|device| device.tap)
    }

    /// Lets a device look at its line now; false when there is none of that name.
    pub(crate) fn wake(&self, id: &str) -> bool {
        self.get(id).map(|device| device.waker.wake()).is_ok()
    }

    /// Has a device climb a rung of its ladder.
    ///
    /// # Errors
    /// By problem code: there is no such device or rung, or it cannot be told now.
    pub(crate) fn climb(&self, id: &str, rung: &'static str) -> Result<(), &'static str> {
        let device = self.get(id).ok();
        let device = device.filter(|device| device.rungs.contains(&rung));
        let device = device.ok_or("device.not-there")?;
        let is_told = device.waker.climb(rung);
        is_told.then_some(()).ok_or("device.busy")
    }

    /// Counts what a device made.
    pub(crate) fn made(&self, id: &str, what: &'static str, count: u64) {
        if let Ok(device) = find(&self.lock(), id) {
            device.observer.made(what, count);
        }
    }

    /// Brings the devices into the order of the configuration.
    pub(crate) fn order(&self, configs: &[DeviceConfig]) {
        let place = |device: &Fitted| {
            configs
                .iter()
                .position(|config| config.id == device.config.id)
        };
        self.lock().sort_by_key(place);
    }

    fn is_settled(&self) -> bool {
        self.lock()
            .iter()
            .all(|device| device.observer.snapshot().status.state != DeviceState::Starting)
    }
}

fn find<'a>(devices: &'a [Fitted], id: &str) -> Result<&'a Fitted, String> {
    devices
        .iter()
        .find(|device| device.config.id == id)
        .ok_or_else(|| {
            let known: Vec<&str> = devices.iter().map(|d| d.config.id.as_str()).collect();
            format!("no device {id:?}; there are: {}", known.join(", "))
        })
}

/// Opens the devices just to look at them, while no terminal runs, for `limit` at most.
///
/// # Errors
/// A device is configured wrongly.
pub fn look(devices: &[DeviceConfig], limit: Duration) -> Result<Report, ConfigError> {
    let (sender, inbox) = sync_channel::<Input>(INBOX_LIMIT);
    let hub = Hub::start(devices, &sender)?;
    let roster = hub.roster();
    let deadline = clock::now().uptime + limit;
    while !roster.is_settled() {
        let left = deadline.saturating_sub(clock::now().uptime);
        if left.is_zero() {
            break;
        }
        match inbox.recv_timeout(left.min(Duration::from_millis(100))) {
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let report = roster.report(&Sysfs::default(), false);
    // The devices may still have something to say while they stop; nobody must wait for that.
    drop(inbox);
    drop(hub);
    Ok(report)
}

fn listed(device: &Fitted, sysfs: &Sysfs) -> Listed {
    let Snapshot {
        capabilities,
        status,
        last_fault,
        diary,
    } = device.observer.snapshot();
    let counters = counters(diary);
    let capabilities = capabilities.unwrap_or_default();
    let config = &device.config;
    Listed {
        id: config.id.clone(),
        class: config.class.name().to_owned(),
        role: role(config),
        driver: config.driver.clone(),
        port: config.port.clone(),
        state: word(&status.state),
        media: word(&status.media),
        paper: word(&status.paper),
        toner: word(&status.toner),
        readings: status.readings,
        model: if capabilities.model.is_empty() {
            config.model.clone().unwrap_or_default()
        } else {
            capabilities.model
        },
        serial: capabilities.serial,
        firmware: capabilities.firmware,
        abilities: capabilities.abilities,
        faults: status.faults.iter().map(in_words).collect(),
        last_fault: last_fault.as_ref().map(in_words),
        log_level: logging::current().level_of(&config.id).map(str::to_owned),
        is_recording: device.tap.is_recording(),
        rungs: rungs(device, sysfs),
        counters,
    }
}

/// What is not on this machine's USB cannot be taken off it.
fn rungs(device: &Fitted, sysfs: &Sysfs) -> Vec<String> {
    let port = &device.config.port;
    let is_on_usb = || port.starts_with("usb:") || sysfs.path_of(port).is_some();
    let rungs = device.rungs.iter();
    rungs
        .filter(|rung| **rung != Rung::USB_REBIND || is_on_usb())
        .map(|rung| (*rung).to_owned())
        .collect()
}

/// A camera without a role is one for faces (see `kiosk_camera::Role`).
fn role(config: &DeviceConfig) -> String {
    if config.class != DeviceClass::Camera {
        return String::new();
    }
    let role = config.option_word("role", &["face", "document"], "face");
    role.unwrap_or_default().to_owned()
}

fn counters(diary: Diary) -> Counters {
    Counters {
        opened: diary.opened,
        commands: diary.commands,
        succeeded: diary.succeeded,
        canceled: diary.canceled,
        timed_out: diary.timed_out,
        failed: named(diary.failed),
        faults: named(diary.faults),
        recovered: named(diary.recovered),
        made: named(diary.made),
        ready_s: diary.ready.as_secs(),
    }
}

fn named(counters: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counters
        .into_iter()
        .map(|(code, count)| (code.to_owned(), count))
        .collect()
}

/// The word under which a value of a status appears in JSON.
pub(crate) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

fn in_words(fault: &Fault) -> FaultWords {
    let problem = problem::get(fault.code);
    FaultWords {
        code: fault.code.to_owned(),
        action: word(&fault.action),
        title: problem.title(Lang::ZhHans).to_owned(),
        advice: problem.technician.clone(),
        detail: fault.detail.clone(),
    }
}
