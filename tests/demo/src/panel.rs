//! The bench panel: the same steps as in a journey file, under a person's finger, beside the
//! terminal's window.
//!
//! The window lives on the main thread; the world lives on a worker thread, which takes one step
//! at a time from a bounded channel and shows after each, and twice a second, how things are.

use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use slint::{
    BackendSelector, ComponentHandle, Model as _, ModelRc, PhysicalPosition, SharedString,
    VecModel, Weak,
};

use crate::glass::{DeedRow, FileRow, MessageRow, PanelAdapter, PanelWindow, SectionRow};
use crate::journey::Deed;
use crate::player;
use crate::world::{Setting, World};

/// Steps that may wait for the world; a person is slower.
const ORDERS_MAX: usize = 16;
/// How often the panel looks at the world by itself.
const REFRESH: Duration = Duration::from_millis(500);
/// Left edge of the panel, where no window manager decides: right of the terminal's window.
const LEFT_PX: i32 = 552;
/// Most rows of a list; the newest stay.
const ROWS_MAX: usize = 50;

/// What the person at the panel wants.
#[derive(Debug)]
enum Order {
    /// A step, in the words of a journey file.
    Deed(String),
    /// Hold this text before the scanner.
    Text(String),
    /// Open a file with the desktop's own program.
    Open(String),
    /// The window is closed.
    End,
}

/// How things are, ready to be shown.
#[derive(Debug, Default)]
struct Shown {
    states: Vec<(&'static str, String)>,
    prints: Vec<(String, String, String)>,
    received: Vec<(String, String)>,
    message: Option<(String, bool)>,
}

/// Opens the terminal's window and the panel beside it; returns when the panel is closed.
///
/// # Errors
/// There is no display, or the world cannot be started.
pub fn run(setting: Setting, out: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)?;
    BackendSelector::new()
        .renderer_name("software".into())
        .select()?;
    let window = PanelWindow::new()?;
    window
        .window()
        .set_position(PhysicalPosition::new(LEFT_PX, 0));
    let (orders, inbox) = sync_channel(ORDERS_MAX);
    connect(&window, &orders);
    furnish(&window, &Shown::default());
    let glass = window.as_weak();
    let worker = std::thread::Builder::new()
        .name("world".to_owned())
        .spawn(move || work(&setting, &inbox, &glass))?;
    window.run()?;
    // A full inbox cannot lose the end: the worker also ends when the channel closes.
    let _told = orders.try_send(Order::End);
    drop(orders);
    drop(window);
    worker
        .join()
        .map_err(|_| anyhow::anyhow!("the world ended with a panic"))?
}

fn connect(window: &PanelWindow, orders: &SyncSender<Order>) {
    let adapter = window.global::<PanelAdapter<'_>>();
    let send = |orders: SyncSender<Order>, make: fn(String) -> Order| {
        move |text: SharedString| {
            // A full inbox drops the touch, as the terminal does.
            let _sent = orders.try_send(make(text.into()));
        }
    };
    adapter.on_deed(send(orders.clone(), Order::Deed));
    adapter.on_show_text(send(orders.clone(), Order::Text));
    adapter.on_open(send(orders.clone(), Order::Open));
}

fn work(
    setting: &Setting,
    inbox: &Receiver<Order>,
    glass: &Weak<PanelWindow>,
) -> anyhow::Result<()> {
    let outcome = live(setting, inbox, glass);
    // Without a world the panel is of no use; the error goes to the console.
    if outcome.is_err() {
        let _posted = slint::quit_event_loop();
    }
    outcome
}

fn live(
    setting: &Setting,
    inbox: &Receiver<Order>,
    glass: &Weak<PanelWindow>,
) -> anyhow::Result<()> {
    let mut world = World::new(setting)?;
    for step in [FACE_STEP, DOCUMENT_STEP] {
        perform(&mut world, step)?;
    }
    show(
        glass,
        &world,
        Some(("终端正在启动 · the terminal is starting".to_owned(), false)),
    );
    world.start_terminal()?;
    show(
        glass,
        &world,
        Some(("可以开始了 · ready".to_owned(), false)),
    );
    loop {
        let told = match inbox.recv_timeout(REFRESH) {
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => None,
            Ok(order) => Some(obey(&mut world, order)),
        };
        show(glass, &world, told);
    }
}

/// Does what was asked; answers with words for the person and whether they are about trouble.
fn obey(world: &mut World, order: Order) -> (String, bool) {
    let (what, outcome) = match order {
        Order::Deed(step) => {
            let outcome = perform(world, &step);
            (step.replace('\n', "; "), outcome)
        }
        Order::Text(text) => {
            let step = format!("do = \"show-code\"\ntext = {}", toml::Value::String(text));
            ("show-code".to_owned(), perform(world, &step))
        }
        Order::Open(file) => {
            let outcome = open(&file);
            (file, outcome)
        }
        Order::End => (String::new(), Ok(())),
    };
    match outcome {
        Ok(()) => (what, false),
        Err(error) => (format!("{what}: {error:#}"), true),
    }
}

fn perform(world: &mut World, step: &str) -> anyhow::Result<()> {
    let deed = Deed::parse(step).map_err(anyhow::Error::msg)?;
    let is_done = player::happen(world, &deed)?;
    anyhow::ensure!(is_done, "this step belongs into a journey");
    Ok(())
}

fn open(file: &str) -> anyhow::Result<()> {
    Command::new("xdg-open")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("no program opens files here (xdg-open); the path is above")
        .map(drop)
}

fn show(glass: &Weak<PanelWindow>, world: &World, message: Option<(String, bool)>) {
    let shown = look(world, message);
    // After the window is closed nobody is there to see it.
    let _posted = glass.upgrade_in_event_loop(move |window| furnish(&window, &shown));
}

fn look(world: &World, message: Option<(String, bool)>) -> Shown {
    let state = world.bench().state();
    let states = DEVICES
        .iter()
        .map(|device| {
            (
                device.id,
                summary(state.get(device.id).unwrap_or(&Value::Null)),
            )
        })
        .collect();
    let mut prints: Vec<_> = player::prints(world)
        .into_iter()
        .map(|print| {
            let name = print
                .file
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let size = match (print.pages, print.height_mm) {
                (Some(pages), _) => format!("{pages} 页 · pages"),
                (None, Some(height)) => format!("{height} mm"),
                (None, None) => String::new(),
            };
            let detail = format!("{} · {} · {size}", print.device, print.outcome);
            (name, detail, print.file.display().to_string())
        })
        .collect();
    prints.reverse();
    prints.truncate(ROWS_MAX);
    let mut received: Vec<_> = world
        .accepted()
        .unwrap_or_default()
        .into_iter()
        .map(|each| {
            let detail = format!("{} · {} × {}", each.item, each.kind, each.times_received);
            (each.case_number, detail)
        })
        .collect();
    received.reverse();
    received.truncate(ROWS_MAX);
    Shown {
        states,
        prints,
        received,
        message,
    }
}

/// The state of a device in the few words that matter to whoever stands before it.
fn summary(state: &Value) -> String {
    let is = |key: &str| state.get(key).and_then(Value::as_bool);
    let mut words: Vec<String> = SIGNS
        .iter()
        .filter(|(key, when, _)| is(key) == Some(*when))
        .map(|(_, _, words)| (*words).to_owned())
        .collect();
    for (key, unit) in AMOUNTS {
        if let Some(amount) = state.get(key).and_then(Value::as_u64) {
            words.push(format!("{amount} {unit}"));
        }
    }
    words.join("，")
}

/// Key in a device's state, when it is worth a word, and the word.
const SIGNS: &[(&str, bool, &str)] = &[
    ("cable", false, "没插线 unplugged"),
    ("card", true, "有证件 a card"),
    ("code-shown", true, "有码 a code"),
    ("cover-open", true, "盖子开着 cover open"),
    ("cutter-jammed", true, "切刀卡住 cutter jammed"),
    ("jammed", true, "卡纸 jammed"),
    ("paused", true, "暂停 paused"),
    ("on-line", false, "脱机 off line"),
    ("head-hot", true, "过热 too hot"),
];

/// Key of an amount in a device's state, and its unit.
const AMOUNTS: &[(&str, &str)] = &[
    ("paper-mm", "mm 纸 paper"),
    ("sheets", "张纸 sheets"),
    ("toner-percent", "% 碳粉 toner"),
];

fn furnish(window: &PanelWindow, shown: &Shown) {
    let adapter = window.global::<PanelAdapter<'_>>();
    if adapter.get_people().row_count() == 0 {
        adapter.set_people(rows(
            PEOPLE
                .iter()
                .map(|(title, deeds)| section(title, "", deeds)),
        ));
        adapter.set_platform(rows(
            PLATFORM
                .iter()
                .map(|(title, deeds)| section(title, "", deeds)),
        ));
    }
    adapter.set_devices(rows(DEVICES.iter().map(|device| {
        let state = shown
            .states
            .iter()
            .find(|(id, _)| *id == device.id)
            .map_or("", |(_, state)| state.as_str());
        section(device.title, state, device.deeds)
    })));
    adapter.set_prints(rows(shown.prints.iter().map(|(label, detail, file)| {
        FileRow {
            label: label.into(),
            detail: detail.into(),
            file: file.into(),
        }
    })));
    adapter.set_received(rows(shown.received.iter().map(|(label, detail)| FileRow {
        label: label.into(),
        detail: detail.into(),
        file: SharedString::new(),
    })));
    if let Some((text, is_trouble)) = &shown.message {
        let row = MessageRow {
            text: text.into(),
            is_trouble: *is_trouble,
        };
        adapter.set_messages(rows(std::iter::once(row)));
    }
}

fn rows<T: Clone + 'static>(rows: impl Iterator<Item = T>) -> ModelRc<T> {
    ModelRc::from(Rc::new(VecModel::from(rows.collect::<Vec<T>>())))
}

fn section(title: &str, state: &str, deeds: &[(&str, &str)]) -> SectionRow {
    SectionRow {
        title: title.into(),
        state: state.into(),
        deeds: rows(deeds.iter().map(|(label, step)| DeedRow {
            label: (*label).into(),
            step: (*step).into(),
        })),
    }
}

const FACE_STEP: &str = "do = 'show-scene'\ncamera = 'camera'\nscene = 'face'";
const DOCUMENT_STEP: &str = "do = 'show-scene'\ncamera = 'document-camera'\nscene = 'document'";

/// Label and step of each button, by section.
type Deeds = &'static [(&'static str, &'static str)];

struct DeviceSection {
    id: &'static str,
    title: &'static str,
    deeds: Deeds,
}

const PEOPLE: &[(&str, Deeds)] = &[
    (
        "身份证 · Identity cards",
        &[
            ("成年人 adult", "do = 'insert-card'\ncard = 'adult'"),
            ("老人 elder", "do = 'insert-card'\ncard = 'elder'"),
            (
                "老人(生僻字) rare name",
                "do = 'insert-card'\ncard = 'elder-rare'",
            ),
            ("代办人 helper", "do = 'insert-card'\ncard = 'helper'"),
            ("村干部 cadre", "do = 'insert-card'\ncard = 'cadre'"),
            ("过期的证 expired", "do = 'insert-card'\ncard = 'expired'"),
            (
                "未知民族 unknown nation",
                "do = 'insert-card'\ncard = 'unknown-nation'",
            ),
            ("港澳台 HK/Macao/Taiwan", "do = 'insert-card'\ncard = 'hmt'"),
            (
                "外国人 foreigner",
                "do = 'insert-card'\ncard = 'foreigner-2023'",
            ),
            ("拿走证件 remove card", "do = 'remove-card'"),
        ],
    ),
    (
        "镜头前 · Before the cameras",
        &[
            ("站到镜头前 face", FACE_STEP),
            (
                "没有人 nobody",
                "do = 'show-scene'\ncamera = 'camera'\nscene = 'empty'",
            ),
            ("放户口本 document", DOCUMENT_STEP),
            (
                "放银行卡 second document",
                "do = 'show-scene'\ncamera = 'document-camera'\nscene = 'document-2'",
            ),
        ],
    ),
    (
        "扫码 · Codes",
        &[
            (
                "扫最近的凭条 last slip",
                "do = 'show-code'\nfrom = 'last-slip'",
            ),
            ("拿开 take away", "do = 'hide-code'"),
        ],
    ),
];

const DEVICES: &[DeviceSection] = &[
    DeviceSection {
        id: "id-card",
        title: "读卡器 · Card reader",
        deeds: &[
            ("拔线 unplug", "do = 'cable-cut'\ndevice = 'id-card'"),
            ("插线 plug in", "do = 'cable-plug'\ndevice = 'id-card'"),
            (
                "读到一半拿走 mid-read",
                "do = 'card-fault'\nfault = 'remove-mid-read'",
            ),
            ("好了 mend", "do = 'mend'\ndevice = 'id-card'"),
        ],
    },
    DeviceSection {
        id: "qr-scanner",
        title: "扫码器 · Scanner",
        deeds: &[
            ("拔线 unplug", "do = 'cable-cut'\ndevice = 'qr-scanner'"),
            ("插线 plug in", "do = 'cable-plug'\ndevice = 'qr-scanner'"),
            ("乱码 garble", "do = 'garble'\ndevice = 'qr-scanner'"),
            ("好了 mend", "do = 'mend'\ndevice = 'qr-scanner'"),
        ],
    },
    DeviceSection {
        id: "slip-printer",
        title: "凭条打印机 · Slip printer",
        deeds: &[
            (
                "没纸 paper out",
                "do = 'paper-out'\ndevice = 'slip-printer'",
            ),
            (
                "剩 40 毫米 40 mm left",
                "do = 'paper-left'\ndevice = 'slip-printer'\nmm = 40",
            ),
            ("装纸 new roll", "do = 'paper-in'\ndevice = 'slip-printer'"),
            (
                "取走凭条 take slip",
                "do = 'take-paper'\ndevice = 'slip-printer'",
            ),
            (
                "开盖 open cover",
                "do = 'cover-open'\ndevice = 'slip-printer'",
            ),
            (
                "关盖 close cover",
                "do = 'cover-close'\ndevice = 'slip-printer'",
            ),
            ("切刀卡住 cutter jam", "do = 'cutter-jam'"),
            (
                "清除卡纸 clear jam",
                "do = 'clear-jam'\ndevice = 'slip-printer'",
            ),
            ("拔线 unplug", "do = 'cable-cut'\ndevice = 'slip-printer'"),
            ("插线 plug in", "do = 'cable-plug'\ndevice = 'slip-printer'"),
        ],
    },
    DeviceSection {
        id: "page-printer",
        title: "A4 打印机 · A4 printer",
        deeds: &[
            (
                "没纸 paper out",
                "do = 'paper-out'\ndevice = 'page-printer'",
            ),
            ("装纸 paper in", "do = 'paper-in'\ndevice = 'page-printer'"),
            ("卡纸 jam", "do = 'jam'\ndevice = 'page-printer'\npage = 1"),
            (
                "清除卡纸 clear jam",
                "do = 'clear-jam'\ndevice = 'page-printer'",
            ),
            (
                "开盖 open cover",
                "do = 'cover-open'\ndevice = 'page-printer'",
            ),
            (
                "关盖 close cover",
                "do = 'cover-close'\ndevice = 'page-printer'",
            ),
            ("拔线 unplug", "do = 'cable-cut'\ndevice = 'page-printer'"),
            ("插线 plug in", "do = 'cable-plug'\ndevice = 'page-printer'"),
        ],
    },
    DeviceSection {
        id: "camera",
        title: "人像摄像头 · Face camera",
        deeds: &[
            ("拔线 unplug", "do = 'cable-cut'\ndevice = 'camera'"),
            ("插线 plug in", "do = 'cable-plug'\ndevice = 'camera'"),
        ],
    },
    DeviceSection {
        id: "document-camera",
        title: "高拍仪 · Document camera",
        deeds: &[
            (
                "拔线 unplug",
                "do = 'cable-cut'\ndevice = 'document-camera'",
            ),
            (
                "插线 plug in",
                "do = 'cable-plug'\ndevice = 'document-camera'",
            ),
        ],
    },
];

const PLATFORM: &[(&str, Deeds)] = &[
    (
        "网络和平台 · Network and platform",
        &[
            ("断网 network down", "do = 'network'\nup = false"),
            ("通网 network up", "do = 'network'\nup = true"),
            (
                "变慢 slow",
                "do = 'platform-fault'\nfault = 'slow'\nms = 9000",
            ),
            (
                "出错 500",
                "do = 'platform-fault'\nfault = 'status'\nstatus = 500",
            ),
            ("乱答 rubbish", "do = 'platform-fault'\nfault = 'rubbish'"),
            ("不答 no answer", "do = 'platform-fault'\nfault = 'timeout'"),
            (
                "办了不答 drop reply",
                "do = 'platform-fault'\nfault = 'drop-after-commit'",
            ),
            ("正常 normal", "do = 'platform-fault'\nfault = 'none'"),
        ],
    ),
    (
        "人脸比对结果 · Face answers",
        &[
            ("是本人 match", "do = 'platform-face'\nanswer = 'match'"),
            ("不是 mismatch", "do = 'platform-face'\nanswer = 'mismatch'"),
            ("没有脸 no face", "do = 'platform-face'\nanswer = 'no-face'"),
            (
                "好几张脸 several",
                "do = 'platform-face'\nanswer = 'several-faces'",
            ),
        ],
    ),
    (
        "终端 · Terminal",
        &[
            ("断电 kill -9", "do = 'kill'"),
            ("开机 start", "do = 'restart'"),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_button_is_a_step_that_the_world_can_take() {
        let people = PEOPLE.iter().flat_map(|(_, deeds)| deeds.iter());
        let devices = DEVICES.iter().flat_map(|device| device.deeds.iter());
        let platform = PLATFORM.iter().flat_map(|(_, deeds)| deeds.iter());
        let mut count = 0;
        for (label, step) in people.chain(devices).chain(platform) {
            let deed = Deed::parse(step);
            assert!(deed.is_ok(), "{label}: {deed:?}");
            count += 1;
        }
        assert!(count > 50, "{count}");
    }

    #[test]
    fn every_card_on_the_panel_is_in_the_box() {
        for (_, step) in PEOPLE[0].1 {
            if let Ok(Deed::Act(kiosk_emulators::Act::InsertCard {
                card: kiosk_emulators::CardChoice::Name(name),
            })) = Deed::parse(step)
            {
                assert!(
                    kiosk_emulators::card_names().contains(&name.as_str()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_state_is_told_in_few_words() {
        let state =
            serde_json::json!({ "cable": false, "card": true, "paper-mm": 80, "slips": [1] });
        assert_eq!(
            summary(&state),
            "没插线 unplugged，有证件 a card，80 mm 纸 paper"
        );
        assert_eq!(summary(&Value::Null), "");
    }
}
