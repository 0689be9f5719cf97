//! Names of citizens are never in the log: not at the most talkative level, not in another encoding,
//! not as numbers of bytes, and so neither in the lines that are kept in memory nor in the file that
//! the platform can order.

#![expect(clippy::unwrap_used, reason = "what cannot be had fails the test")]

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiosk_demo::world::{Setting, World};
use kiosk_emulators::{Act, CardChoice, CardSpec, Device, card_names};
use serde_json::{Value, json};

/// How long anything here may take on a machine that does other things too.
const LIMIT: Duration = Duration::from_mins(1);
/// A telephone that is typed.
const PHONE: &str = "13900000000";
/// The account that is typed.
const ACCOUNT: &str = "6222020000000000000";
/// What every name and every address of the synthetic people holds.
const MARK: &str = "测试";
/// The same in GB 18030, as chip cards and files of offices spell it.
const MARK_GB18030: [u8; 4] = [0xb2, 0xe2, 0xca, 0xd4];

/// Everything that would give somebody away, as bytes that could stand in a log.
struct Needles(Vec<(String, Vec<u8>)>);

impl Needles {
    fn gather() -> Self {
        let mut needles = Self(Vec::new());
        for name in card_names() {
            let card = serde_json::to_value(CardSpec::named(name).unwrap()).unwrap();
            for field in ["name", "number", "address", "appended_address"] {
                let word = card.get(field).and_then(Value::as_str).unwrap_or_default();
                if word.chars().count() > 2 {
                    needles.add(&format!("{field} of {name}"), word.as_bytes());
                    needles.add_wide(&format!("{field} of {name}"), word);
                }
            }
        }
        for (what, word) in [("telephone", PHONE), ("account", ACCOUNT)] {
            needles.add(what, word.as_bytes());
            needles.add_wide(what, word);
        }
        needles.add("mark in GB 18030", &MARK_GB18030);
        needles.add_wide("mark", MARK);
        needles
    }

    /// The bytes themselves, as hexadecimal digits, and as Rust prints a list of them.
    fn add(&mut self, what: &str, bytes: &[u8]) {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let list = format!("{bytes:?}");
        let list = list.trim_matches(['[', ']']).as_bytes().to_vec();
        let forms = [
            ("as it is", bytes.to_vec()),
            ("in hex", hex.clone().into_bytes()),
            ("in capital hex", hex.to_uppercase().into_bytes()),
            ("as a list", list),
        ];
        let named = forms.map(|(form, bytes)| (format!("{what} {form}"), bytes));
        self.0.extend(named);
    }

    /// As the chip of an identity card holds it.
    fn add_wide(&mut self, what: &str, word: &str) {
        let wide: Vec<u8> = word.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.add(&format!("{what} in UTF-16"), &wide);
    }

    /// What of it stands in a log; the words themselves are not repeated.
    fn found(&self, log: &[u8]) -> Vec<&str> {
        let mut by_first: Vec<Vec<&(String, Vec<u8>)>> = vec![Vec::new(); 256];
        for needle in &self.0 {
            by_first[usize::from(needle.1[0])].push(needle);
        }
        let mut found: Vec<&str> = log
            .iter()
            .enumerate()
            .flat_map(|(at, first)| {
                let here = &log[at..];
                by_first[usize::from(*first)]
                    .iter()
                    .copied()
                    .filter(move |(_, bytes)| here.starts_with(bytes))
                    .map(|(what, _)| what.as_str())
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    fn check(&self, file: &Path) -> Vec<u8> {
        let log = std::fs::read(file).unwrap();
        assert_eq!(self.found(&log), Vec::<&str>::new(), "{}", file.display());
        log
    }
}

#[test]
fn whatever_form_a_name_takes_in_a_log_is_found() {
    let needles = Needles::gather();
    for (what, log) in [
        ("a name", "INFO card of 测试甲".as_bytes().to_vec()),
        ("a number", b"DEBUG number=440100199001011237".to_vec()),
        (
            "an address",
            "广东省汕尾市测试镇样例村2号".as_bytes().to_vec(),
        ),
        ("a telephone", format!("TRACE {PHONE}").into_bytes()),
        ("GB 18030", [b"sent ".as_slice(), &MARK_GB18030].concat()),
        ("bytes", b"read [1, 178, 226, 202, 212, 3]".to_vec()),
        ("digits", b"frame AAAAAA96690508B2E2CAD4".to_vec()),
        // U+6D4B U+8BD5, the low byte first.
        ("a chip", b"frame 4b6dd58b".to_vec()),
    ] {
        assert!(!needles.found(&log).is_empty(), "{what} is overlooked");
    }
    assert!(
        needles
            .found(b"INFO first frame milliseconds=213")
            .is_empty()
    );
}

#[test]
fn a_day_of_visits_at_the_most_talkative_level_leaves_nobody_in_the_log() {
    let journey = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/demo.toml");
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kiosk-demo"))
        .arg("--headless")
        .arg("--journey")
        .arg(journey)
        .arg("--out")
        .arg(out.path())
        .env("KIOSK_LOG", "trace")
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    let log = Needles::gather().check(&out.path().join("terminal.log"));
    assert!(has(&log, b"TRACE"), "the log was not at its most talkative");
    assert!(has(&log, b"case is durable"), "nobody was served");
}

fn has(log: &[u8], word: &[u8]) -> bool {
    log.windows(word.len()).any(|part| part == word)
}

/// One application, from the card to the farewell; there is no line.
fn visit(world: &mut World) {
    let touch = |world: &mut World, label: &str| {
        world
            .wait(LIMIT, label, |sight| sight.has_button(label))
            .unwrap();
        world.touch(label).unwrap();
    };
    let keys = |world: &mut World, question: &str, keys: &str| {
        world
            .wait(LIMIT, question, |sight| sight.says(question))
            .unwrap();
        for key in keys.chars() {
            world.touch(&key.to_string()).unwrap();
        }
        touch(world, "下一步");
    };
    touch(world, "请触摸屏幕开始办事");
    touch(world, "高龄津贴申请");
    touch(world, "给自己办");
    let card = CardChoice::Name("elder".to_owned());
    world.act(Act::InsertCard { card }).unwrap();
    touch(world, "信息无误，继续");
    world.act(Act::RemoveCard).unwrap();
    touch(world, "不用，这样就好");
    keys(world, "请输入联系电话", PHONE);
    keys(world, "津贴发到哪张卡", ACCOUNT);
    touch(world, "自己住，或者和老伴住");
    for question in ["给户口本拍照", "给银行卡或存折拍照"] {
        world
            .wait(LIMIT, question, |sight| sight.says(question))
            .unwrap();
        touch(world, "拍照");
        touch(world, "清楚，用这张");
    }
    touch(world, "确认提交");
    world
        .wait(LIMIT, "the end of the visit", |sight| {
            sight.screen == "done" || sight.screen == "rating"
        })
        .unwrap();
}

/// Has the platform order the log of the terminal.
fn order_log(world: &World) {
    let address = world.platform().address();
    let order =
        json!({"terminal": "D001", "kind": "collect-logs", "arguments": {}, "expires_in_s": 600});
    let body = order.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "POST /admin/commands HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.contains("\"id\""), "{reply}");
}

#[test]
fn the_lines_in_memory_and_the_collected_file_hold_nobody_right_after_a_visit() {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting {
        program: env!("CARGO_BIN_EXE_kiosk-demo").into(),
        is_hurried: true,
        ..Setting::headless(directory.path().to_owned()).unwrap()
    };
    let mut world = World::new(&setting).unwrap();
    let scene = Act::ShowScene {
        camera: Device::DocumentCamera,
        scene: Some("document".to_owned()),
        file: None,
    };
    world.act(scene).unwrap();
    // Everything of ours; what others say at this level would push the visit out of the memory.
    let level = OsStr::new(
        "info,kiosk_app=trace,kiosk_device=trace,kiosk_id_card=trace,kiosk_printer=trace,\
         kiosk_qr_scanner=trace,kiosk_camera=trace,kiosk_auxiliaries=trace,kiosk_ui=trace,\
         kiosk_documents=trace,kiosk_sealing=trace,offline_cache=trace",
    );
    world.start_terminal_with(&[("KIOSK_LOG", level)]).unwrap();
    world
        .wait(LIMIT, "attract", |sight| sight.screen == "attract")
        .unwrap();
    visit(&mut world);
    order_log(&world);
    let file = world.directory().join("state/collected-log.txt");
    world.wait(LIMIT, "the log", |_| file.exists()).unwrap();
    let needles = Needles::gather();
    let collected = needles.check(&file);
    assert!(
        has(&collected, b"case is durable"),
        "the visit is not in the lines that are kept"
    );
    needles.check(world.terminal_log());
    world.quit().unwrap();
    needles.check(world.terminal_log());
}
