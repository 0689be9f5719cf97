//! Everything around the glass in one value: emulated devices and the reference platform in this
//! process, the terminal as a process of its own, and the `kiosk.toml` that ties them.
//!
//! The terminal learns addresses and names of drivers from its configuration and nothing else;
//! that the far ends are emulated is known only here.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use central_platform::{Accepted, FaceAnswer, Fault, Platform};
use kiosk_emulators::{Act, Bench, BenchConfig, CardSpec, IoBoardConfig, Ports, UpsConfig};
use serde_json::json;

use crate::clock::{Deadline, pause};
use crate::control::{Reply, Request, Sight};
use crate::office::Office;
use crate::remote::{Launch, Remote};

/// Pause between two looks at the glass. Chosen: half of what a person notices.
pub const LOOK_TICK: Duration = Duration::from_millis(50);
/// How long a terminal may take from its start to a glass that says how things are.
const READY_LIMIT: Duration = Duration::from_secs(40);
/// The card whose owner may witness.
const WITNESS_CARD: &str = "cadre";
/// The terminal's number.
pub(crate) const TERMINAL_ID: &str = "D001";
/// Where the stick of staff is.
const STICK: &str = "stick";
/// What the glass says beside the line's state while something waits in the outbox.
const WAITING: &str = "待上传 ";
/// What the glass says while there is a line.
const ONLINE: &str = "在线";
/// What the glass says while there is none.
const OFFLINE: &str = "离线";

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The terminal's number.
    pub terminal: String,
    /// A platform that serves other worlds too; `None` for one of its own.
    pub platform: Option<Arc<Platform>>,
    /// Where everything is written: state, prints, logs. Made if absent.
    pub directory: PathBuf,
    /// The item packages.
    pub items: PathBuf,
    /// The `kiosk-demo` program that runs the terminal.
    pub program: PathBuf,
    /// Devices as fast as they can be.
    pub is_hurried: bool,
    /// Show the terminal in a window.
    pub is_window: bool,
    /// An operator lets staff in.
    pub has_staff: bool,
    /// What an enrolment printed for `kiosk.toml`; without it the terminal has no certificate.
    pub enrolled: Option<toml::Table>,
}

impl Setting {
    /// A headless world in `directory` with the packages of this repository.
    ///
    /// # Errors
    /// The program's own path is unknown.
    pub fn headless(directory: PathBuf) -> anyhow::Result<Self> {
        Ok(Self {
            terminal: TERMINAL_ID.to_owned(),
            platform: None,
            directory,
            items: default_items(),
            program: std::env::current_exe().context("the program does not know its own path")?,
            is_hurried: false,
            is_window: false,
            has_staff: false,
            enrolled: None,
        })
    }
}

/// The item packages of the repository that this program was built in.
pub fn default_items() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kiosk-app/items")
}

/// The running world; dropping it ends everything.
#[derive(Debug)]
pub struct World {
    terminal: Option<Remote>,
    launch: Launch,
    kiosk: PathBuf,
    bench: Arc<Bench>,
    platform: Arc<Platform>,
    office: Option<Office>,
    directory: PathBuf,
}

impl World {
    /// Starts devices and platform and writes the configuration; the terminal is started by
    /// [`World::start_terminal`].
    ///
    /// # Errors
    /// A directory, port or file cannot be had.
    pub fn new(setting: &Setting) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&setting.directory)
            .with_context(|| format!("cannot make {}", setting.directory.display()))?;
        let directory = setting.directory.canonicalize()?;
        let mut config = if setting.is_hurried {
            BenchConfig::hurried()
        } else {
            BenchConfig::default()
        };
        config.ups = Some(UpsConfig::default());
        config.io_board = Some(IoBoardConfig::default());
        let bench =
            Bench::start(&directory.join("bench"), config).context("the bench does not start")?;
        let platform = match &setting.platform {
            Some(platform) => Arc::clone(platform),
            None => Arc::new(start_platform(&directory.join("platform"), |_| {})?),
        };
        let launch = Launch {
            program: setting.program.clone(),
            config: directory.join("kiosk.toml"),
            socket: directory.join("control"),
            log: directory.join("terminal.log"),
            is_window: setting.is_window,
            environment: Vec::new(),
        };
        let items = setting
            .items
            .canonicalize()
            .with_context(|| format!("no item packages in {}", setting.items.display()))?;
        let line = Line {
            url: platform.url(),
            seal_keys: seal_keys(&platform),
            sealing_key: platform.sealing_key(),
            command_key: platform.command_key(),
        };
        let office = if setting.has_staff {
            let admin = setting.program.with_file_name("kiosk-admin");
            Some(Office::open(&directory.join("office"), &admin)?)
        } else {
            None
        };
        let mut config =
            terminal_config(&directory, &items, &bench.ports(), &line, setting.is_window)?;
        config["terminal"]["id"] = json!(setting.terminal);
        if let Some(lines) = &setting.enrolled {
            take_over(&mut config, lines)?;
        }
        if let Some(office) = &office {
            add_staff(&mut config, &directory, office)?;
        }
        std::fs::write(&launch.config, toml::to_string(&config)?)?;
        Ok(Self {
            terminal: None,
            launch,
            kiosk: setting.program.with_file_name("kiosk"),
            bench: Arc::new(bench),
            platform,
            office,
            directory,
        })
    }

    /// How the terminal process is started, for whoever starts it otherwise.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Starts the terminal process and waits until its glass has left the page "starting".
    ///
    /// # Errors
    /// It runs already, or it does not start; the error ends with the end of its log.
    pub fn start_terminal(&mut self) -> anyhow::Result<()> {
        if self.is_running() {
            bail!("the terminal runs already");
        }
        drop(self.terminal.take());
        self.terminal = Some(Remote::start(&self.launch)?);
        let deadline = Deadline::after(READY_LIMIT);
        while self.look()?.screen == "starting" {
            if deadline.has_passed() {
                bail!("the terminal still says that it is starting");
            }
            pause(LOOK_TICK);
        }
        Ok(())
    }

    /// As [`World::start_terminal`], with variables in the environment of the process.
    ///
    /// # Errors
    /// As [`World::start_terminal`].
    pub fn start_terminal_with(&mut self, variables: &[(&str, &OsStr)]) -> anyhow::Result<()> {
        let owned = |(name, value): &(&str, &OsStr)| ((*name).to_owned(), (*value).to_owned());
        self.launch.environment = variables.iter().map(owned).collect();
        self.start_terminal()
    }

    /// Starts another program as the terminal; the one after it too, until another is named.
    ///
    /// # Errors
    /// As [`World::start_terminal`].
    pub fn start_program(&mut self, program: PathBuf) -> anyhow::Result<()> {
        self.launch.program = program;
        self.start_terminal()
    }

    /// Ends the terminal process, by force if it will not.
    pub fn stop_terminal(&mut self) {
        if let Some(terminal) = self.terminal.take() {
            // A program that hangs is killed when it is dropped.
            drop(terminal.quit());
        }
    }

    /// Waits until the glass shows the state of the line as it is.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_line(&mut self, is_up: bool, within: Duration) -> anyhow::Result<()> {
        let word = if is_up { ONLINE } else { OFFLINE };
        self.wait(within, &format!("`{word}`"), |sight| is_header(sight, word))
            .map(drop)
    }

    /// Waits until nothing waits in the outbox, by what the glass says.
    ///
    /// # Errors
    /// Something still waits when the time is over.
    pub fn wait_synced(&mut self, within: Duration) -> anyhow::Result<()> {
        // Two looks in a row: right after a commitment the glass may be one turn behind the store.
        let mut quiet_looks = 0;
        self.wait(within, "an empty outbox", |sight| {
            let is_quiet = is_header(sight, ONLINE) && !is_waiting(sight);
            quiet_looks = if is_quiet { quiet_looks + 1 } else { 0 };
            quiet_looks >= 3
        })
        .map(drop)
    }

    /// Looks at the glass until `is_there`.
    ///
    /// # Errors
    /// It is not there in time; the error names `wanted` and what was there.
    pub fn wait(
        &mut self,
        within: Duration,
        wanted: &str,
        mut is_there: impl FnMut(&Sight) -> bool,
    ) -> anyhow::Result<Sight> {
        let deadline = Deadline::after(within);
        loop {
            let sight = self.look()?;
            if is_there(&sight) {
                return Ok(sight);
            }
            if deadline.has_passed() {
                bail!(
                    "waited {} s for {wanted}; {}",
                    within.as_secs(),
                    sight.describe()
                );
            }
            pause(LOOK_TICK);
        }
    }

    /// What is on the glass.
    ///
    /// # Errors
    /// The terminal does not run or does not answer.
    pub fn look(&mut self) -> anyhow::Result<Sight> {
        self.terminal()?.look()
    }

    /// Touches a button.
    ///
    /// # Errors
    /// No such button can be touched; the error lists those that can.
    pub fn touch(&mut self, label: &str) -> anyhow::Result<()> {
        self.order(&Request::Touch {
            label: label.to_owned(),
        })
    }

    /// Asks for something that is only done or refused.
    ///
    /// # Errors
    /// It was refused, or the terminal does not answer.
    pub fn order(&mut self, request: &Request) -> anyhow::Result<()> {
        self.terminal()?.ask(request).map(drop)
    }

    /// Milliseconds from the start of the terminal process to its first frame.
    ///
    /// # Errors
    /// The terminal does not answer.
    pub fn first_frame_ms(&mut self) -> anyhow::Result<Option<u64>> {
        let reply = self.terminal()?.ask(&Request::FirstFrame)?;
        let Reply::FirstFrame { ms } = reply else {
            bail!("the terminal answered {reply:?}");
        };
        Ok(ms)
    }

    /// Memory of the terminal process in KiB.
    ///
    /// # Errors
    /// The terminal does not run.
    pub fn pss_kib(&mut self) -> anyhow::Result<u64> {
        self.terminal()?.pss_kib()
    }

    /// Kills the terminal process with SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.terminal
            .take()
            .context("the terminal does not run")?
            .kill()
    }

    /// Ends the terminal process in good order; nothing to do when it does not run.
    ///
    /// # Errors
    /// It does not end well.
    pub fn quit(&mut self) -> anyhow::Result<()> {
        self.terminal.take().map_or(Ok(()), Remote::quit)
    }

    /// Sends the terminal process a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&mut self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        Ok(self.terminal()?.signal(signal)?)
    }

    /// How the terminal process has ended; `None` while it runs.
    ///
    /// # Errors
    /// It was not started, or the kernel does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.terminal()?.ended()?)
    }

    /// The `kiosk` program of the same build, for a technician's commands.
    pub fn kiosk(&self) -> PathBuf {
        self.kiosk.clone()
    }

    /// Runs a technician's command beside the terminal.
    ///
    /// # Errors
    /// The program was not built, or cannot be run.
    pub fn command(&self, words: &[&str]) -> anyhow::Result<Output> {
        let (name, rest) = words.split_first().context("no command")?;
        Command::new(self.kiosk())
            .arg(name)
            .arg("--config")
            .arg(&self.launch.config)
            .args(rest)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{}: build it first", self.kiosk().display()))
    }

    /// True while the terminal process runs.
    pub fn is_running(&mut self) -> bool {
        self.terminal.as_mut().is_some_and(Remote::is_running)
    }

    /// Waits until the terminal process has ended by itself.
    ///
    /// # Errors
    /// It still runs after that long.
    pub fn wait_end(&mut self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Deadline::after(limit);
        while self.is_running() {
            if deadline.has_passed() {
                bail!("the terminal still runs");
            }
            pause(LOOK_TICK);
        }
        Ok(())
    }

    /// Does something at the bench.
    ///
    /// # Errors
    /// The act does not fit the device.
    pub fn act(&self, act: Act) -> anyhow::Result<()> {
        self.bench.apply(act)?;
        Ok(())
    }

    /// The line to the platform comes or goes.
    ///
    /// # Errors
    /// The platform's port cannot be had again.
    pub fn set_network(&self, is_up: bool) -> anyhow::Result<()> {
        Ok(self.platform.set_network(is_up)?)
    }

    /// Makes the platform misbehave.
    pub fn set_fault(&self, fault: Fault) {
        self.platform.set_fault(fault);
    }

    /// What the platform says to the next faces.
    pub fn set_face(&self, answer: FaceAnswer) {
        self.platform.set_face(answer);
    }

    /// Everything that took effect at the platform.
    ///
    /// # Errors
    /// Its store cannot be read.
    pub fn accepted(&self) -> anyhow::Result<Vec<Accepted>> {
        Ok(self.platform.accepted()?)
    }

    /// The bench, for whoever steers it beside a journey.
    pub fn bench(&self) -> Arc<Bench> {
        Arc::clone(&self.bench)
    }

    /// The platform, likewise.
    pub fn platform(&self) -> Arc<Platform> {
        Arc::clone(&self.platform)
    }

    /// Where everything is written.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The operator's desk.
    ///
    /// # Errors
    /// This world has none.
    pub fn office(&self) -> anyhow::Result<Office> {
        self.office
            .clone()
            .context("nobody lets staff in here; write `staff = true` under [start]")
    }

    /// The public key under which the terminal is registered, as `kiosk key show` prints it.
    ///
    /// # Errors
    /// The command fails.
    pub fn terminal_key(&self) -> anyhow::Result<String> {
        let output = self.command(&["key", "show", "--json"])?;
        let key: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let public = key["public"].as_str().context("no public key")?;
        Ok(public.to_owned())
    }

    /// The log of the terminal process.
    pub fn terminal_log(&self) -> &Path {
        &self.launch.log
    }

    fn terminal(&mut self) -> anyhow::Result<&mut Remote> {
        self.terminal.as_mut().context("the terminal does not run")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The terminal first: its devices and its platform must not vanish under it.
        drop(self.terminal.take());
    }
}

/// The badge of the line in the header starts with the word and may go on with the waiting count.
fn is_header(sight: &Sight, word: &str) -> bool {
    sight
        .elements
        .iter()
        .any(|element| element.role == "text" && element.label.starts_with(word))
}

fn is_waiting(sight: &Sight) -> bool {
    sight.elements.iter().any(|element| {
        element
            .label
            .split_once(WAITING)
            .is_some_and(|(_, rest)| rest.starts_with(|next: char| next.is_ascii_digit()))
    })
}

/// A platform that keeps what it knows in `directory`.
///
/// # Errors
/// The directory or a port cannot be had.
pub fn start_platform(
    directory: &Path,
    change: impl FnOnce(&mut central_platform::Config),
) -> anyhow::Result<Platform> {
    std::fs::create_dir_all(directory)?;
    let free_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut config = platform_config()?;
    change(&mut config);
    Platform::start(directory, free_port, config).context("the reference platform does not start")
}

fn platform_config() -> anyhow::Result<central_platform::Config> {
    let card = serde_json::to_value(CardSpec::named(WITNESS_CARD)?)?;
    let number = card["number"]
        .as_str()
        .context("the card of the witness has no number")?;
    Ok(central_platform::Config {
        witnesses: vec![number.to_owned()],
        ..central_platform::Config::default()
    })
}

/// Keys that seal documents, by id, as the platform's people hand them to an installer.
fn seal_keys(platform: &Platform) -> serde_json::Map<String, serde_json::Value> {
    let (id, key) = platform.seal_key();
    serde_json::Map::from_iter([(id, key.into())])
}

/// Puts the lines of an enrolment into a configuration; what has the same name gives way.
fn take_over(config: &mut serde_json::Value, lines: &toml::Table) -> anyhow::Result<()> {
    for (name, table) in lines {
        let table = serde_json::to_value(table)?;
        let keys = table.as_object().context("a line outside of a table")?;
        for (key, value) in keys {
            config[name][key] = value.clone();
        }
    }
    Ok(())
}

/// Who may let staff in, and the stick that they bring.
fn add_staff(
    config: &mut serde_json::Value,
    directory: &Path,
    office: &Office,
) -> anyhow::Result<()> {
    let stick = directory.join(STICK);
    std::fs::create_dir_all(&stick)?;
    config["staff"] = json!({ "unlock_keys": [office.public_key()], "sticks": [stick] });
    Ok(())
}

/// The power supply and the board, as far as the bench has them.
fn add_auxiliaries(config: &mut serde_json::Value, ports: &Ports) {
    let Some(devices) = config["device"].as_array_mut() else {
        return;
    };
    if let Some(port) = &ports.ups {
        devices.push(json!({ "id": "ups", "class": "ups", "driver": "megatec-q1", "port": port }));
    }
    if let Some(port) = &ports.io_board {
        devices.push(json!({
            "id": "io-board", "class": "io-board", "driver": "modbus-rtu", "port": port,
            "options": {
                "inputs": { "door": 0, "tamper": 1, "presence": 2 },
                "outputs": { "card-light": 0, "printer-light": 1 },
            },
        }));
    }
}

/// What an installer knows of the platform.
struct Line {
    url: String,
    seal_keys: serde_json::Map<String, serde_json::Value>,
    sealing_key: String,
    command_key: String,
}

/// `kiosk.toml` as an installer would write it.
fn terminal_config(
    directory: &Path,
    items: &Path,
    ports: &Ports,
    line: &Line,
    is_window: bool,
) -> anyhow::Result<serde_json::Value> {
    let device = |id: &str, class: &str, driver: &str, port: &str| json!({ "id": id, "class": class, "driver": driver, "port": port });
    let camera = |id: &str, port: &str, role: &str| json!({ "id": id, "class": "camera", "driver": "mjpeg", "port": port, "options": { "role": role } });
    // On a desktop the layout of 1080×1920 is shown at half its size.
    let (width_px, height_px) = if is_window { (540, 960) } else { (1080, 1920) };
    let mut config = json!({
        "terminal": {
            "id": TERMINAL_ID,
            "site": "示范县示范镇示范村",
            "help_phone": "12345",
            "board": ["本周六上午在村委会集中办理医保缴费", "高龄津贴全年都可以申请，满 70 岁就能办"],
        },
        "screen": { "width_px": width_px, "height_px": height_px, "is_fullscreen": false },
        "platform": {
            "url": line.url,
            "seal_keys": line.seal_keys,
            "sealing_key": line.sealing_key,
            "command_keys": [line.command_key],
            "probe_s": 1,
        },
        "paths": {
            "state": directory.join("state"),
            "items": items,
            "updater": directory.join("updater"),
        },
        "device": [
            device("id-card", "id-card", "sdt", &ports.id_card.display().to_string()),
            device("qr-scanner", "qr-scanner", "newland", &ports.qr_scanner.display().to_string()),
            device("slip-printer", "slip-printer", "escpos", &ports.slip_printer),
            device("page-printer", "page-printer", "ipp", &ports.page_printer),
            camera("face-camera", &ports.camera, "face"),
            camera("document-camera", &ports.document_camera, "document"),
        ],
    });
    add_auxiliaries(&mut config, ports);
    std::fs::create_dir_all(directory.join("state"))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Element;
    use kiosk_sealing::{Algorithm, DeviceKey, RecipientSecret, Suite};

    fn sight(labels: &[&str]) -> Sight {
        let element = |label: &&str| Element {
            label: (*label).to_owned(),
            role: "text".to_owned(),
            enabled: true,
        };
        Sight {
            screen: "attract".to_owned(),
            elements: labels.iter().map(element).collect(),
        }
    }

    #[test]
    fn the_badge_of_the_line_tells_the_outbox() {
        assert!(is_waiting(&sight(&["离线·可受理 · 待上传 2"])));
        assert!(!is_waiting(&sight(&[
            "已受理·待上传，联网后自动上传，不用再来",
            "待上传 "
        ])));
        assert!(is_header(&sight(&["在线"]), ONLINE));
        assert!(!is_header(&sight(&["现在在线"]), ONLINE));
    }

    #[test]
    fn the_terminal_accepts_the_configuration_written_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports {
            id_card: "/dev/pts/1".into(),
            qr_scanner: "/dev/pts/2".into(),
            slip_printer: "tcp:127.0.0.1:9100".to_owned(),
            page_printer: "ipp://127.0.0.1:631/ipp/print".to_owned(),
            camera: "tcp:127.0.0.1:1/stream".to_owned(),
            document_camera: "tcp:127.0.0.1:2/stream".to_owned(),
            ..Ports::default()
        };
        let secret = RecipientSecret::generate(Suite::Intl).unwrap();
        let commander = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        let line = Line {
            url: "http://127.0.0.1:1".to_owned(),
            seal_keys: serde_json::Map::new(),
            sealing_key: secret.public().to_string(),
            command_key: commander.public().to_string(),
        };
        let mut written =
            terminal_config(directory.path(), &default_items(), &ports, &line, false).unwrap();
        let text = toml::to_string(&written).unwrap();
        let config = kiosk_app::Config::parse(&text).unwrap();
        assert_eq!((config.devices.len(), config.platform.probe_s), (6, 1));
        let enrolled = "[terminal]\nid = \"D002\"\n[platform]\nurl = \"https://127.0.0.1:1\"\n\
                        tls = { ca = \"/a\", certificate = \"/c\", key = \"/c\" }\n";
        take_over(&mut written, &enrolled.parse().unwrap()).unwrap();
        let text = toml::to_string(&written).unwrap();
        let config = kiosk_app::Config::parse(&text).unwrap();
        assert_eq!(config.terminal.id, "D002");
        assert_eq!(config.platform.tls.unwrap().ca, Path::new("/a"));
        assert_eq!((config.platform.probe_s, config.devices.len()), (1, 6));
    }
}
