//! The technician's look at a running terminal: every device of the bench is online, and each fault
//! shows with who acts; one device is recorded without what was scanned; a terminal that does not
//! run is looked into all the same.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiosk_app::Config;
use kiosk_app::devices::socket::{self, Answer, Ask};
use kiosk_app::devices::{self, Listed, Report};
use kiosk_demo::clock::{Deadline, pause};
use kiosk_demo::world::{LOOK_TICK, Setting, World};
use kiosk_emulators::{
    Act, CardFault, CardSpec, ChipCard, ChipVersion, Device, InputChoice, SelectBy,
    SmartCardConfig, SmartCardSlot,
};

/// How long a device may take to show what was done to it: three misses and a reopening.
const LIMIT: Duration = Duration::from_mins(1);

struct Bench {
    world: World,
    state: PathBuf,
    config: Config,
    _directory: tempfile::TempDir,
}

fn bench() -> Bench {
    bench_with(|_| {})
}

/// A bench whose configuration is changed before anything reads it.
fn bench_with(change: impl FnOnce(&mut toml::Table)) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let world = World::new(&setting).unwrap();
    let file = &world.launch().config;
    let mut text: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    change(&mut text);
    std::fs::write(file, toml::to_string(&text).unwrap()).unwrap();
    let config = Config::read(file).unwrap();
    Bench {
        state: config.paths.state.clone(),
        world,
        config,
        _directory: directory,
    }
}

impl Bench {
    fn ask(&self, ask: &Ask) -> Answer {
        socket::ask(&self.state, ask)
            .unwrap()
            .expect("the terminal runs")
    }

    fn report(&self) -> Report {
        let Answer::Report(report) = self.ask(&Ask::List) else {
            panic!("no report");
        };
        report
    }

    fn device(&self, id: &str) -> Listed {
        let mut devices = self.report().devices.into_iter();
        devices.find(|device| device.id == id).unwrap()
    }

    /// Waits until a device is as `wanted`.
    fn until(&self, id: &str, what: &str, wanted: impl Fn(&Listed) -> bool) -> Listed {
        let deadline = Deadline::after(LIMIT);
        loop {
            let device = self.device(id);
            if wanted(&device) {
                return device;
            }
            assert!(!deadline.has_passed(), "{id} is never {what}: {device:#?}");
            pause(LOOK_TICK);
        }
    }

    /// Does something to a device, looks for its fault, and undoes it again.
    fn check(&self, id: &str, act: Act, code: &str, action: &str, undo: Act) {
        self.world.act(act).unwrap();
        let device = self.until(id, code, |device| {
            device.faults.iter().any(|fault| fault.code == code)
        });
        let fault = device.faults.iter().find(|fault| fault.code == code);
        let fault = fault.unwrap();
        assert_eq!(fault.action, action, "{id} {code}");
        assert!(
            !fault.title.is_empty() && !fault.advice.is_empty(),
            "{code}"
        );
        self.world.act(undo).unwrap();
        self.until(id, "well again", |device| {
            device.is_well() && device.faults.is_empty()
        });
    }
}

/// A device, what is done to it, the code and action that must show, and what undoes it.
type Case = (&'static str, Act, &'static str, &'static str, Act);

/// A cable that is cut and plugged again.
fn pulled(id: &'static str, device: Device) -> Case {
    let (cut, plug) = (Act::CableCut { device }, Act::CablePlug { device });
    (id, cut, "device.not-there", "maintenance", plug)
}

/// The tamper switch of the cabinet.
fn tamper(on: bool) -> Act {
    let input = InputChoice::Name("tamper".to_owned());
    Act::Input { input, on }
}

fn cases() -> Vec<Case> {
    let (slip, page) = (Device::SlipPrinter, Device::PagePrinter);
    let out = |device| Act::PaperOut { device };
    let refilled = |device| Act::PaperIn { device };
    let (empty, open) = ("printer.media-empty", "printer.cover-open");
    let opened = Act::CoverOpen { device: slip };
    let closed = Act::CoverClose { device: slip };
    let (lost, back) = (Act::MainsLost, Act::MainsBack);
    vec![
        ("slip-printer", out(slip), empty, "clear", refilled(slip)),
        ("slip-printer", opened, open, "clear", closed),
        ("page-printer", out(page), empty, "clear", refilled(page)),
        (
            "io-board",
            tamper(true),
            "io-board.tamper",
            "suspend",
            tamper(false),
        ),
        ("ups", lost, "ups.on-battery", "clear", back),
        pulled("id-card", Device::IdCard),
        pulled("qr-scanner", Device::QrScanner),
        pulled("face-camera", Device::Camera),
        pulled("page-printer", page),
    ]
}

#[test]
fn every_device_is_online_and_each_fault_shows_with_who_acts() {
    let mut bench = bench();
    bench.world.start_terminal().unwrap();
    for id in [
        "id-card",
        "qr-scanner",
        "slip-printer",
        "page-printer",
        "face-camera",
        "document-camera",
        "ups",
        "io-board",
    ] {
        bench.until(id, "online", |device| device.state == "online");
    }
    let report = bench.report();
    assert!(report.is_terminal_running && report.is_well());
    let ids: Vec<&str> = report.devices.iter().map(|each| each.id.as_str()).collect();
    let configured: Vec<&str> = bench
        .config
        .devices
        .iter()
        .map(|each| each.id.as_str())
        .collect();
    assert_eq!(ids, configured);
    for (id, act, code, action, undo) in cases() {
        bench.check(id, act, code, action, undo);
    }
    let reader = bench.device("id-card");
    assert_eq!(reader.last_fault.unwrap().code, "device.not-there");
    assert!(reader.counters.opened >= 2);
    assert_eq!(reader.counters.faults.get("device.not-there"), Some(&1));
}

#[test]
fn one_device_is_made_talkative_and_recorded_without_personal_content() {
    let mut bench = bench();
    bench.world.start_terminal().unwrap();
    bench.until("id-card", "online", |device| device.state == "online");
    let level = |level: Option<&str>| Ask::Level {
        device: "id-card".to_owned(),
        level: level.map(str::to_owned),
    };
    assert!(matches!(
        bench.ask(&level(Some("trace"))),
        Answer::Done { .. }
    ));
    assert_eq!(bench.device("id-card").log_level.as_deref(), Some("trace"));
    assert!(matches!(bench.ask(&level(None)), Answer::Done { .. }));
    assert!(matches!(
        bench.ask(&level(Some("loud"))),
        Answer::Refused { .. }
    ));

    let file = bench.state.join("reader.recording");
    let record = Ask::Record {
        device: "id-card".to_owned(),
        file: file.clone(),
        with_personal_data: false,
    };
    assert!(matches!(bench.ask(&record), Answer::Done { .. }));
    assert!(bench.device("id-card").is_recording);
    assert!(matches!(bench.ask(&record), Answer::Refused { .. }));
    // The reader is asked for its status all the time; one question is enough.
    let deadline = Deadline::after(LIMIT);
    while !std::fs::read_to_string(&file).unwrap().contains(" < ") {
        assert!(!deadline.has_passed(), "nothing was recorded");
        pause(LOOK_TICK);
    }
    let stop = Ask::StopRecording {
        device: "id-card".to_owned(),
    };
    assert!(matches!(bench.ask(&stop), Answer::Done { .. }));
    let text = std::fs::read_to_string(&file).unwrap();
    let steps = kiosk_device::recording::parse(&text).unwrap();
    assert!(!steps.is_empty(), "{text}");
}

#[test]
fn without_a_terminal_the_devices_are_opened_for_the_look() {
    let bench = bench();
    assert!(socket::ask(&bench.state, &Ask::List).unwrap().is_none());
    let report = devices::look(&bench.config.devices, LIMIT).unwrap();
    assert!(!report.is_terminal_running);
    assert!(report.is_well(), "{}", report.table());
    assert!(report.table().contains("The terminal does not run"));
}

#[test]
fn a_reader_that_stays_silent_has_its_power_cut_by_the_board() {
    let mut bench = bench_with(|config| {
        for device in config["device"].as_array_mut().unwrap() {
            let device = device.as_table_mut().unwrap();
            if device["id"].as_str() == Some("id-card") {
                let power = "board = \"io-board\"\noutput = \"printer-light\"\noff_s = 1";
                device.insert(
                    "power".to_owned(),
                    power.parse::<toml::Table>().unwrap().into(),
                );
            }
        }
    });
    bench.world.start_terminal().unwrap();
    bench.until("id-card", "online", |device| device.state == "online");
    bench.until("io-board", "online", |device| device.state == "online");
    let fault = CardFault::Silence;
    bench.world.act(Act::CardFault { fault }).unwrap();
    let reader = bench.until("id-card", "cut off its power", |device| {
        device.counters.recovered.contains_key("power-cycle")
    });
    assert_eq!(reader.last_fault.unwrap().code, "device.silent");
    bench.until("io-board", "asked for it", |board| {
        board.counters.succeeded > 0
    });
    let device = Device::IdCard;
    bench.world.act(Act::Mend { device }).unwrap();
    bench.until("id-card", "well again", Listed::is_well);
}

const CHIP_SERVICE: &str = "/usr/sbin/pcscd";
const CHIP_READER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";

/// The system's chip card service on a socket of its own, with a virtual slot on `port`; ended with
/// the test.
struct ChipService(Child);

impl ChipService {
    fn start(directory: &Path, port: u16) -> Self {
        let readers = directory.join("readers");
        std::fs::create_dir(&readers).unwrap();
        let reader = format!(
            "FRIENDLYNAME \"Slot\"\nDEVICENAME /dev/null:{port:#x}\nLIBPATH {CHIP_READER}\nCHANNELID {port:#x}\n"
        );
        std::fs::write(readers.join("slot"), reader).unwrap();
        let socket = UnixListener::bind(directory.join("pcsc")).unwrap();
        // Socket activation (sd_listen_fds(3)): the listening socket becomes descriptor 3.
        let shell = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        let service = Command::new("/bin/sh")
            .args(["-c", shell, "sh", CHIP_SERVICE, "--foreground", "--config"])
            .arg(&readers)
            .stdin(OwnedFd::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(service.expect("pcscd is installed by packaging/install-packages.sh"))
    }

    fn stop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for ChipService {
    fn drop(&mut self) {
        // It may have been stopped by the test.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Two ports side by side: the virtual reader has two slots.
fn free_ports() -> u16 {
    for _ in 0..1000 {
        let first = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let second = port
            .checked_add(1)
            .map(|port| TcpListener::bind(("0.0.0.0", port)));
        if second.is_some_and(|second| second.is_ok()) {
            return port;
        }
    }
    panic!("no two free ports side by side");
}

#[test]
fn a_chip_card_in_the_slot_is_seen_and_a_stopped_service_is_told() {
    let mut bench = bench_with(|config| {
        let reader =
            "id = \"chip\"\nclass = \"smart-card\"\ndriver = \"ssc-pcsc\"\nport = \"pcsc:\"";
        let devices = config["device"].as_array_mut().unwrap();
        devices.push(reader.parse::<toml::Table>().unwrap().into());
    });
    let chip = tempfile::tempdir().unwrap();
    let port = free_ports();
    let mut service = ChipService::start(chip.path(), port);
    let config = SmartCardConfig {
        vpcd: ([127, 0, 0, 1], port).into(),
    };
    let slot = SmartCardSlot::start(&config).unwrap();
    bench
        .world
        .start_terminal_with(&[("PCSCLITE_CSOCK_NAME", chip.path().join("pcsc").as_os_str())])
        .unwrap();
    bench.until("chip", "online", |reader| {
        reader.state == "online" && reader.media == "not-present"
    });
    let card = ChipCard {
        card: CardSpec::named("adult").unwrap(),
        version: ChipVersion::V3,
        is_foreign: false,
        select_by: SelectBy::Both,
    };
    slot.insert(&card).unwrap();
    bench.until("chip", "with a card", |reader| reader.media == "present");
    service.stop();
    let reader = bench.until("chip", "without its service", |reader| {
        !reader.faults.is_empty()
    });
    assert_eq!(
        (
            reader.faults[0].code.as_str(),
            reader.faults[0].action.as_str()
        ),
        ("smart-card.no-service", "maintenance")
    );
}
