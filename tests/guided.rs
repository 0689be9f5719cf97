//! The guided tests against emulated devices on real transports, through the real drivers: each class
//! fails when its emulator has a fault, with the device's own code, and passes when it is cleared. A
//! scripted person does at the bench what the pages ask for.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use kiosk_app::Config;
use kiosk_app::clock;
use kiosk_app::keys::Keys;
use kiosk_app::selftest::headless::{Summary, Witness, examine};
use kiosk_app::selftest::{Outcome, Run, Verdict, Wanted};
use kiosk_app::words::Lang;
use kiosk_emulators::{
    Act, Bench, BenchConfig, CardChoice, ChipVersion, CodeEncoding, Device, InputChoice,
    IoBoardConfig, Ports, SelectBy, SmartCardConfig, UpsConfig, slip_code,
};
use kiosk_sealing::{RecipientSecret, Suite};
use offline_cache::Cache;
use tempfile::TempDir;

/// A mixer that keeps its volume in a file beside it, and a player that keeps what it was given.
const MIXER: &str = "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 1\n[ -e broken ] && exit 1\n\
    [ \"$3\" = sset ] && echo \"$5\" > volume\n\
    echo \"  Mono: Playback 26214 [$(cat volume)] [on]\"\n";
const PLAYER: &str = "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 1\ncat > heard\n";
/// The code of some test slip, version 1: KT-ABCDEFGH23.
const CODE: [&str; 21] = [
    "#######.......#######",
    "#.....#.#.#...#.....#",
    "#.###.#...#...#.###.#",
    "#.###.#...#...#.###.#",
    "#.###.#.#..##.#.###.#",
    "#.....#...##..#.....#",
    "#######.#.#.#.#######",
    ".....................",
    "#.#.#.#..#..#...#..#.",
    "#.###...####..#...#..",
    "#.#####..###.#.##...#",
    "#.#..#.##..##.#.#..##",
    "#.#...###.##....##...",
    "........#....#..#.#.#",
    "#######..##.###......",
    "#.....#..#...####..##",
    "#.###.#.#.#.#.#..#.##",
    "#.###.#..###.#..#.##.",
    "#.###.#.#.##..#.....#",
    "#.....#...####.##.###",
    "#######.####..#.###.#",
];
/// Pixels of a module of that code under the camera, and where it lies.
const MODULE: u32 = 12;
const PLACE: (u32, u32) = (440, 200);

/// The service of the system for chip cards, and its virtual reader.
const CARD_SERVICE: &str = "/usr/sbin/pcscd";
const VIRTUAL_READER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// Where a child finds the private service: the client library's own variable, and the reader's port.
const CARD_SOCKET: &str = "PCSCLITE_CSOCK_NAME";
const CARD_PORT: &str = "KIOSK_TEST_CARD_PORT";

/// A bench of every device that can be emulated without a service of the system, with a chip card
/// where a private service is there, and a terminal that does not run.
struct World {
    bench: Bench,
    config: Config,
    directory: TempDir,
}

/// Every device of the bench: id, class, driver, and its port with the keys that follow it.
fn devices(
    ports: Ports,
    programs: &Path,
) -> [(&'static str, &'static str, &'static str, String); 11] {
    let document = format!("{}\"\noptions.role = \"document", ports.document_camera);
    let board = format!(
        "{}\"\noptions.inputs = {{ cabinet-door = 0 }}\n\
         options.outputs = {{ card-light = 0, reader-power = 1 }}\noptions.address = 1 # \"",
        ports.io_board.unwrap().display()
    );
    let speaker = format!(
        "default\"\noptions.program = \"{}/amixer",
        programs.display()
    );
    let reader = format!(
        "{}\"\npower = {{ board = \"board\", output = \"reader-power\", off_s = 1 }} # \"",
        ports.id_card.display()
    );
    [
        ("board", "io-board", "modbus-rtu", board),
        ("card", "id-card", "sdt", reader),
        (
            "scanner",
            "qr-scanner",
            "newland",
            ports.qr_scanner.display().to_string(),
        ),
        ("slips", "slip-printer", "escpos", ports.slip_printer),
        ("pages", "page-printer", "ipp", ports.page_printer),
        ("face", "camera", "mjpeg", ports.camera),
        ("table", "camera", "mjpeg", document),
        (
            "ups",
            "ups",
            "megatec-q1",
            ports.ups.unwrap().display().to_string(),
        ),
        (
            "chip",
            "smart-card",
            "ssc-pcsc",
            chip_port()
                .map_or("pcsc:no such reader", |_| "pcsc:Private 00 00")
                .to_owned(),
        ),
        (
            "pad",
            "signature-pad",
            "evdev-pen",
            "/dev/input/no-such-pad".to_owned(),
        ),
        ("speaker", "speaker", "amixer", speaker),
    ]
}

impl World {
    fn new(classes: &[&str]) -> Self {
        Self::at("http://127.0.0.1:9", classes)
    }

    fn at(url: &str, classes: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = BenchConfig::hurried();
        config.ups = Some(UpsConfig {
            baud: 0,
            ..UpsConfig::default()
        });
        config.io_board = Some(IoBoardConfig {
            baud: 0,
            ..IoBoardConfig::default()
        });
        config.smart_card = chip_port().map(|port| SmartCardConfig {
            vpcd: ([127, 0, 0, 1], port).into(),
        });
        let bench = Bench::start(&directory.path().join("bench"), config).unwrap();
        let programs = directory.path().join("programs");
        fs::create_dir(&programs).unwrap();
        fs::write(programs.join("volume"), "55%").unwrap();
        for (name, text) in [("amixer", MIXER), ("aplay", PLAYER)] {
            fs::write(programs.join(name), text).unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(programs.join(name), mode).unwrap();
        }
        let sealing = RecipientSecret::generate(Suite::Intl).unwrap().public();
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        let mut text = format!(
            "[terminal]\nid = \"T001\"\nsite = \"测试村\"\nhelp_phone = \"12345\"\n\
             [platform]\nurl = \"{url}\"\nsealing_key = \"{sealing}\"\n\
             [paths]\nstate = \"{}\"\nitems = \"items\"\n[store]\nfree_mib_min = 16\n",
            state.display()
        );
        // The board is there for whoever gets power through it.
        let is_there = |class: &str| {
            classes.contains(&class) || (class == "io-board" && classes.contains(&"id-card"))
        };
        for (id, class, driver, port) in devices(bench.ports(), &programs) {
            if is_there(class) {
                text.push_str("[[device]]\nid = \"");
                text.push_str(id);
                text.push_str("\"\nclass = \"");
                text.push_str(class);
                text.push_str("\"\ndriver = \"");
                text.push_str(driver);
                text.push_str("\"\nport = \"");
                text.push_str(&port);
                text.push_str("\"\n");
            }
        }
        Self {
            bench,
            config: Config::parse(&text).unwrap(),
            directory,
        }
    }

    fn act(&self, act: Act) {
        self.bench.apply(act).unwrap();
    }

    /// One test with somebody at the bench.
    fn test(&self, test: &str, device: &str) -> Outcome {
        let mut person = Person::at(&self.bench, self.directory.path());
        self.test_with(test, device, &mut person)
    }

    fn test_with(&self, test: &str, device: &str, person: &mut Person<'_>) -> Outcome {
        let wanted = Wanted {
            test: Some(test.to_owned()),
            device: Some(device.to_owned()).filter(|device| !device.is_empty()),
        };
        let mut outcomes = examine(&self.config, &wanted, true, person).unwrap();
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    /// The test fails with this code, and passes once the world is as it was.
    fn fails_and_passes(&self, test: &str, device: &str, fault: Act, code: &str, mend: Act) {
        self.act(fault);
        let outcome = self.test(test, device);
        assert_eq!(outcome.verdict, Verdict::Failed, "{outcome:?}");
        assert_eq!(outcome.problem, code, "{outcome:?}");
        self.act(mend);
        self.passes(test, device);
    }

    fn passes(&self, test: &str, device: &str) -> Outcome {
        let outcome = self.test(test, device);
        assert_eq!(outcome.verdict, Verdict::Passed, "{outcome:?}");
        outcome
    }
}

/// Somebody at the bench who does what the page says, once a page.
struct Person<'a> {
    bench: &'a Bench,
    directory: &'a Path,
    done: String,
    /// Done instead of what the first page of a kind asks for, by its drawing.
    mischief: Option<(&'static str, Act)>,
}

impl<'a> Person<'a> {
    fn at(bench: &'a Bench, directory: &'a Path) -> Self {
        Self {
            bench,
            directory,
            done: String::new(),
            mischief: None,
        }
    }

    fn act(&self, act: Act) {
        self.bench.apply(act).unwrap();
    }

    fn show(&self, text: String) {
        self.act(Act::HideCode);
        self.act(Act::ShowCode {
            text,
            encoding: CodeEncoding::default(),
        });
    }
}

impl Witness for Person<'_> {
    fn ended(&mut self, outcome: &Outcome) {
        assert!(outcome.took_ms < 120_000, "{outcome:?}");
    }

    fn asked(&mut self, run: &Run) -> Option<String> {
        let page = run.page(Lang::En, clock::now());
        // A question comes a moment after its words.
        let now = format!("{} {}", page.words, page.answers.len());
        if now == self.done {
            return None;
        }
        self.done = now;
        if let Some((drawing, act)) = self.mischief.take() {
            if page.drawing == drawing {
                self.act(act);
                return None;
            }
            self.mischief = Some((drawing, act));
        }
        let can = |id: &str| page.answers.iter().any(|answer| answer.id == id);
        match page.drawing.as_str() {
            "card-on-reader" if page.words.starts_with("Put") => self.act(insert_card()),
            "reader-free" => self.act(match chip_port() {
                None => Act::RemoveCard,
                Some(_) => Act::RemoveChipCard,
            }),
            "code-to-scanner" => {
                let printed = || {
                    let slips = self.bench.slips();
                    slip_code::read(&slips.last()?.file).ok()
                };
                match page.code.or_else(printed) {
                    Some(code) => self.show(code),
                    // A page: somebody sees that it is well printed, but nothing reads PDF here.
                    None => return Some("no".to_owned()),
                }
            }
            "person" => self.act(Act::ShowScene {
                camera: Device::Camera,
                scene: Some("face".to_owned()),
                file: None,
            }),
            "document" => self.act(Act::ShowScene {
                camera: Device::DocumentCamera,
                scene: None,
                file: Some(sheet(self.directory)),
            }),
            "door" => self.act(Act::Input {
                input: InputChoice::Number(0),
                on: page.words.starts_with("Open"),
            }),
            _ if can("yes") => return Some("yes".to_owned()),
            _ => {}
        }
        None
    }
}

/// The card of the reader that the bench has.
fn insert_card() -> Act {
    let card = CardChoice::Name("adult".to_owned());
    if chip_port().is_none() {
        return Act::InsertCard { card };
    }
    Act::InsertChipCard {
        card,
        version: ChipVersion::default(),
        foreign: false,
        select_by: SelectBy::default(),
    }
}

/// The port of the private service's reader; `None` where this process has no such service.
fn chip_port() -> Option<u16> {
    env::var(CARD_PORT).ok()?.parse().ok()
}

/// A photograph of a sheet with the code on it.
fn sheet(directory: &Path) -> std::path::PathBuf {
    let desk = kiosk_emulators::scenes::document(1).unwrap();
    let mut picture = kiosk_camera::picture::decode_whole(&desk)
        .unwrap()
        .to_rgb8();
    let side = (u32::try_from(CODE.len()).unwrap() + 8) * MODULE;
    for y in 0..side {
        for x in 0..side {
            let module = |at: u32| usize::try_from(at / MODULE).unwrap().checked_sub(4);
            let row = module(y).and_then(|row| CODE.get(row));
            let dark = row
                .zip(module(x))
                .is_some_and(|(row, column)| row.as_bytes().get(column) == Some(&b'#'));
            let gray = if dark { 20 } else { 240 };
            picture.get_pixel_mut(PLACE.0 + x, PLACE.1 + y).0 = [gray; 3];
        }
    }
    let file = directory.join("sheet.jpeg");
    fs::write(&file, kiosk_camera::picture::encode(&picture).unwrap()).unwrap();
    file
}

const fn cut(device: Device) -> Act {
    Act::CableCut { device }
}

const fn plug(device: Device) -> Act {
    Act::CablePlug { device }
}

#[test]
fn a_card_reader_fails_unplugged_and_passes_when_a_card_is_read_and_lifted() {
    let world = World::new(&["id-card"]);
    let (fault, mend) = (cut(Device::IdCard), plug(Device::IdCard));
    world.fails_and_passes("id-card.reading", "card", fault, "device.not-there", mend);
    let outcome = world.passes("id-card.reading", "card");
    assert!(outcome.figures["read-time"].ends_with("ms"));
    // Nothing of the card is in what is kept.
    let text = serde_json::to_string(&outcome).unwrap();
    assert!(!text.contains("测试") && !text.contains("4401"), "{text}");
}

#[test]
fn a_reader_that_is_pulled_while_it_waits_for_a_card_fails_within_seconds() {
    let world = World::new(&["id-card"]);
    let mut person = Person::at(&world.bench, world.directory.path());
    person.mischief = Some(("card-on-reader", cut(Device::IdCard)));
    let outcome = world.test_with("id-card.reading", "card", &mut person);
    assert_eq!(outcome.verdict, Verdict::Failed);
    assert!(outcome.problem.starts_with("device."), "{outcome:?}");
    assert!(outcome.took_ms < 30_000, "{outcome:?}");
}

#[test]
fn a_scanner_fails_unplugged_and_passes_on_the_code_of_the_glass() {
    let world = World::new(&["qr-scanner"]);
    let (fault, mend) = (cut(Device::QrScanner), plug(Device::QrScanner));
    world.fails_and_passes(
        "qr-scanner.reading",
        "scanner",
        fault,
        "device.not-there",
        mend,
    );
}

#[test]
fn a_slip_printer_fails_without_paper_and_passes_when_its_slip_is_read_back() {
    let world = World::new(&["slip-printer", "qr-scanner"]);
    let device = Device::SlipPrinter;
    let (fault, mend) = (Act::PaperOut { device }, Act::PaperIn { device });
    let test = "slip-printer.pattern";
    world.fails_and_passes(test, "slips", fault, "printer.media-empty", mend);
    let (fault, mend) = (Act::CoverOpen { device }, Act::CoverClose { device });
    world.fails_and_passes(test, "slips", fault, "printer.cover-open", mend);
    let outcome = world.passes(test, "slips");
    assert_eq!(outcome.figures["read-back"], "scanner");
}

#[test]
fn a_page_printer_fails_without_paper_and_passes_when_somebody_has_seen_the_page() {
    let world = World::new(&["page-printer"]);
    let device = Device::PagePrinter;
    let (fault, mend) = (Act::PaperOut { device }, Act::PaperIn { device });
    let test = "page-printer.pattern";
    world.fails_and_passes(test, "pages", fault, "printer.media-empty", mend);
    let outcome = world.passes(test, "pages");
    assert_eq!(outcome.figures["read-back"], "person");
    assert_eq!(outcome.figures["impressions"], "1");
}

#[test]
fn kept_calibrations_are_in_force_when_devices_are_opened() {
    let keep = |world: &World, what: &str, json: &str| {
        let store = world.config.paths.state.join("store");
        let now = clock::now().at;
        let (mut cache, _) = Cache::open_with(&store, &world.config.store_options(), now).unwrap();
        cache
            .set_calibration(what, json, "tech.ce-shi", now)
            .unwrap();
    };
    // Without a scanner somebody says whether a page is well printed.
    let office = World::new(&["page-printer"]);
    let moved = "/MediaBox [-8.5039 -4.2520 ";
    let is_moved = || {
        let file = office.bench.documents().pop().unwrap().file;
        let bytes = fs::read(file).unwrap();
        bytes
            .windows(moved.len())
            .any(|window| window == moved.as_bytes())
    };
    office.passes("page-printer.pattern", "pages");
    assert!(!is_moved());
    // 3 mm to the right, 1.5 mm upwards.
    let offset = "{\"right-tenth-mm\":30,\"down-tenth-mm\":-15}";
    keep(&office, "print-offset", offset);
    office.passes("page-printer.pattern", "pages");
    assert!(is_moved());
    let world = World::new(&["slip-printer", "qr-scanner", "camera"]);
    keep(&world, "slip-offset", "{\"right-dots\":-12}");
    let outcome = world.passes("slip-printer.pattern", "slips");
    assert_eq!(
        outcome.figures["read-back"], "scanner",
        "a moved slip is still read"
    );
    // The sheet lies at the left of the middle: where the crop takes that away, nothing is read.
    keep(
        &world,
        "camera-crop",
        "{\"left-permille\":20,\"top-permille\":20,\"right-permille\":20,\"bottom-permille\":20}",
    );
    world.passes("camera.picture", "table");
    keep(
        &world,
        "camera-crop",
        "{\"left-permille\":600,\"top-permille\":0,\"right-permille\":0,\"bottom-permille\":0}",
    );
    let outcome = world.test("camera.picture", "table");
    assert_eq!(outcome.verdict, Verdict::Failed, "{outcome:?}");
}

#[test]
fn a_face_camera_fails_unplugged_and_passes_when_somebody_looks() {
    let world = World::new(&["camera"]);
    let (fault, mend) = (cut(Device::Camera), plug(Device::Camera));
    world.fails_and_passes("camera.picture", "face", fault, "device.not-there", mend);
}

#[test]
fn a_document_camera_fails_unplugged_and_passes_when_a_code_lies_under_it() {
    let world = World::new(&["camera"]);
    let (fault, mend) = (cut(Device::DocumentCamera), plug(Device::DocumentCamera));
    world.fails_and_passes("camera.picture", "table", fault, "device.not-there", mend);
}

#[test]
fn a_ups_fails_with_a_worn_battery_and_passes_its_ten_seconds_with_a_good_one() {
    let world = World::new(&["ups"]);
    let (fault, mend) = (Act::BatteryLow, Act::MainsBack);
    world.fails_and_passes("ups.battery", "ups", fault, "ups.battery-low", mend);
}

#[test]
fn a_board_fails_unplugged_and_passes_when_door_and_light_are_seen_and_spares_the_power_of_devices()
{
    let world = World::new(&["io-board", "id-card"]);
    let (fault, mend) = (cut(Device::IoBoard), plug(Device::IoBoard));
    world.fails_and_passes(
        "io-board.contacts",
        "board",
        fault,
        "device.not-there",
        mend,
    );
    let outcome = world.passes("io-board.contacts", "board");
    assert_eq!(outcome.figures["contacts"], "1");
    // The second output feeds the card reader: it is no light.
    assert_eq!(outcome.figures["lights"], "1");
    let closed = Act::Input {
        input: InputChoice::Number(0),
        on: false,
    };
    let state = world.bench.apply(closed).unwrap();
    let outputs = state["outputs"].as_array().unwrap();
    assert!(outputs.iter().all(|is_on| is_on == false), "{state}");
}

#[test]
fn a_loudspeaker_fails_without_its_control_and_passes_when_two_tones_are_heard() {
    let world = World::new(&["speaker"]);
    let programs = world.directory.path().join("programs");
    fs::write(programs.join("broken"), "").unwrap();
    let outcome = world.test("speaker.tone", "speaker");
    assert_eq!(outcome.problem, "speaker.no-control", "{outcome:?}");
    fs::remove_file(programs.join("broken")).unwrap();
    world.passes("speaker.tone", "speaker");
    assert!(
        fs::read(programs.join("heard"))
            .unwrap()
            .starts_with(b"RIFF")
    );
    fs::remove_file(programs.join("aplay")).unwrap();
    let outcome = world.test("speaker.tone", "speaker");
    assert_eq!(outcome.problem, "test.no-player", "{outcome:?}");
}

#[test]
fn a_pad_and_a_chip_card_reader_that_are_not_there_fail_with_their_own_codes() {
    let world = World::new(&["signature-pad", "smart-card"]);
    let outcome = world.test("signature-pad.strokes", "pad");
    assert_eq!(outcome.problem, "device.not-there", "{outcome:?}");
    // With a service of the system the reader is missing, else the service.
    let outcome = world.test("smart-card.reading", "chip");
    let expect = ["smart-card.no-service", "device.not-there"];
    assert!(expect.contains(&outcome.problem.as_str()), "{outcome:?}");
}

/// A service for chip cards of one test's own; ended with the test.
struct CardService {
    child: Child,
    directory: TempDir,
    port: u16,
}

impl CardService {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = two_ports();
        let readers = directory.path().join("readers");
        fs::create_dir(&readers).unwrap();
        let reader = format!(
            "FRIENDLYNAME \"Private\"\nDEVICENAME /dev/null:{port:#x}\n\
             LIBPATH {VIRTUAL_READER}\nCHANNELID {port:#x}\n"
        );
        fs::write(readers.join("private"), reader).unwrap();
        let socket = UnixListener::bind(directory.path().join("socket")).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        // Handed over as descriptor 3, as the service manager does (sd_listen_fds(3)).
        let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
        let child = Command::new("/bin/sh")
            .args(["-c", script, "sh", CARD_SERVICE, "--foreground", "--config"])
            .arg(&readers)
            .stdin(OwnedFd::from(socket))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            directory,
            port,
        }
    }
}

impl Drop for CardService {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first of two neighboring ports that nobody uses: the virtual reader has two slots.
fn two_ports() -> u16 {
    (0..1000)
        .find_map(|_| {
            let first = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = first.local_addr().unwrap().port();
            let next = port.checked_add(1)?;
            TcpListener::bind(("0.0.0.0", next)).ok().map(|_| port)
        })
        .unwrap()
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run says why")]
fn a_chip_card_reader_fails_unplugged_and_passes_when_a_card_is_put_in_and_drawn() {
    const NAME: &str =
        "a_chip_card_reader_fails_unplugged_and_passes_when_a_card_is_put_in_and_drawn";
    if chip_port().is_some() {
        let world = World::new(&["smart-card"]);
        // A card that is put in while the cable is cut is not seen.
        let (fault, mend) = (cut(Device::SmartCard), plug(Device::SmartCard));
        world.fails_and_passes("smart-card.reading", "chip", fault, "test.no-card", mend);
        return;
    }
    if !Path::new(CARD_SERVICE).exists() || !Path::new(VIRTUAL_READER).exists() {
        eprintln!("{NAME}: not run, because pcscd or vsmartcard-vpcd is not installed");
        return;
    }
    // The client library finds a private service by its environment alone: once more, as a child.
    let service = CardService::start();
    let output = Command::new("timeout")
        .args(["--kill-after=5", "240"])
        .arg(env::current_exe().unwrap())
        .args([NAME, "--exact", "--nocapture"])
        .env(CARD_SOCKET, service.directory.path().join("socket"))
        .env(CARD_PORT, service.port.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let log = fs::read_to_string(service.directory.path().join("log")).unwrap_or_default();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}\nservice: {log}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Counts, and never answers.
struct Nobody(usize);

impl Witness for Nobody {
    fn ended(&mut self, _: &Outcome) {
        self.0 += 1;
    }

    fn asked(&mut self, _: &Run) -> Option<String> {
        None
    }
}

#[test]
fn without_anybody_every_device_is_reported_and_outcomes_are_kept() {
    let world = World::new(&["id-card", "qr-scanner", "slip-printer", "io-board"]);
    world.act(Act::PaperOut {
        device: Device::SlipPrinter,
    });
    let mut nobody = Nobody(0);
    let outcomes = examine(&world.config, &Wanted::default(), false, &mut nobody).unwrap();
    assert_eq!(nobody.0, outcomes.len());
    for device in &world.config.devices {
        let of_device = outcomes.iter().find(|outcome| outcome.device == device.id);
        let outcome = of_device.unwrap();
        let expect = if device.id == "slips" {
            (Verdict::Failed, "printer.media-empty")
        } else {
            (Verdict::Skipped, "test.needs-person")
        };
        assert_eq!((outcome.verdict, outcome.problem.as_str()), expect);
    }
    let summary = Summary::new("T001", false, outcomes);
    assert_eq!(summary.exit_status(), 1);
    let store = world.config.paths.state.join("store");
    let options = world.config.store_options();
    let at = clock::now().at;
    let (cache, _) = Cache::open_with(&store, &options, at).unwrap();
    let kept = cache.latest_tests().unwrap();
    assert_eq!(kept.len(), summary.tests.len());
    let tickets = cache.tickets(true, 10).unwrap();
    assert!(
        tickets
            .iter()
            .any(|ticket| ticket.code == "printer.media-empty")
    );
}

/// A platform that lives and has no catalogue; its clock is so far ahead.
fn platform(ahead: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let date = (clock::now().at + ahead).strftime("%a, %d %b %Y %H:%M:%S GMT");
    let date = date.to_string();
    // Ends with the test process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let asked = lines.next().and_then(Result::ok).unwrap_or_default();
            for line in lines.map_while(Result::ok) {
                if line.is_empty() {
                    break;
                }
            }
            let status = if asked.contains("/v1/health") {
                "200 OK"
            } else {
                "404 Not Found"
            };
            drop(write!(
                stream,
                "HTTP/1.1 {status}\r\nDate: {date}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}"
            ));
        }
    });
    format!("http://{address}")
}

#[test]
fn the_line_fails_without_a_platform_and_with_a_wrong_clock_and_passes_with_a_good_one() {
    let check = |url: &str, verdict: Verdict, problem: &str| {
        let world = World::at(url, &[]);
        let outcome = world.test("machine.network", "");
        assert_eq!(
            (outcome.verdict, outcome.problem.as_str()),
            (verdict, problem),
            "{outcome:?}"
        );
        assert_eq!(outcome.figures["addresses"], "1");
        outcome
    };
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", dead.local_addr().unwrap());
    drop(dead);
    check(&url, Verdict::Failed, "platform.unreachable");
    let outcome = check(&platform(Duration::ZERO), Verdict::Passed, "");
    assert!(outcome.figures["health-time"].ends_with("ms"));
    assert_eq!(outcome.figures["ipv6"], "-");
    check(
        &platform(Duration::from_mins(15)),
        Verdict::Failed,
        "test.clock-off",
    );
}

#[test]
fn the_store_is_verified_and_a_machine_that_is_well_passes() {
    let world = World::new(&[]);
    let keys = Keys::open(&world.config.paths.state, &world.config.key_source()).unwrap();
    drop(keys);
    let outcome = world.passes("machine.store", "");
    assert!(outcome.figures.contains_key("audit-entries"));
    // This machine may have no sensor, which is an outcome of its own.
    let sensors = world.test("machine.sensors", "");
    if sensors.verdict == Verdict::Skipped {
        assert_eq!(sensors.problem, "test.no-sensor");
    } else {
        assert!(sensors.figures.contains_key("temperature"), "{sensors:?}");
    }
    world.passes("machine.memory", "");
}
