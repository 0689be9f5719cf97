//! What an updater reads: metadata, releases, lists of chunks, its own files after a power cut, and
//! what other programs print for it; and what the terminal reads of the updater.

use std::io::{Cursor, Read as _};

use kiosk_app::config::refused::Refused;
use kiosk_app::workbench::update::{read_progress, read_status};
use kiosk_update::config::Config;
use kiosk_update::engine::{Health, Status};
use kiosk_update::fetch::{Index, Patches, patch};
use kiosk_update::manifest::Release;
use kiosk_update::slots::{State, parse_status};
use kiosk_update::stick::{StickProgress, Wish};
use kiosk_update::trust::{Floor, Outline, RepairOrder, RootKeys, is_plain_name};

use super::Target;

/// The file that patches start from, and most bytes that are asked of them.
const OLD: &[u8] = include_bytes!("seeds/readiness.txt");
const SIZE: u64 = 4096;
/// A patch from it, made by the operator's tool.
const PATCH: &[u8] = include_bytes!("seeds/update-patch");

/// Every parser of the updater.
pub const TARGETS: &[Target] = &[
    Target {
        name: "update-metadata",
        run: metadata,
        seeds: &[
            br#"{"signatures":[],"signed":{"_type":"timestamp","spec_version":"1.0.0","version":7,"expires":"2026-12-06T00:00:00Z","meta":{"snapshot.json":{"version":7,"length":417,"hashes":{"sha256":"00"}}}}}"#,
            br#"{"signatures":[],"signed":{"_type":"root","version":1,"keys":{"ab":{"keytype":"ed25519","scheme":"ed25519","keyval":{"public":"00"}}},"roles":{"root":{"keyids":["ab"],"threshold":1}}}}"#,
            br#"{"signatures":[{"keyid":"ab","sig":"00"}],"signed":{"_type":"repair","terminal":"T001","order":1}}"#,
            b"programs/release.json",
        ],
    },
    Target {
        name: "update-release",
        run: release,
        seeds: &[
            br#"{"format":1,"version":"0.2.0","minimum_version":"0.1.0","hardware":["kiosk-21"],"files":[{"path":"bin/kiosk","size":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","mode":"0755"}],"chunks":"chunks-0.2.0","seed":5,"waves":[{"bound":20,"after_s":0},{"bound":2048,"after_s":86400}],"spread_s":43200,"regions":["440113001005"],"halted":false,"published_at":"2026-11-22T00:00:00Z"}"#,
        ],
    },
    Target {
        name: "update-patch",
        run: patched,
        seeds: &[
            b"KIOSKPT1\x01\0\0\0\x01\0\0\0x77777777777777777777777777777777\0\0\0\0",
            // What gives the old file a line more.
            PATCH,
        ],
    },
    Target {
        name: "update-machine",
        run: machine,
        seeds: &[
            br#"{"format":1,"good":{"slot":"a","release":{"version":"0.1.0"}},"trial":null,"failures":[],"is_restart_due":false}"#,
            br#"{"booted":"A","slots":[]}"#,
            br#"{"outcomes":[{"test":"machine.touch","device":"","verdict":"passed","figures":{"touch":"1"}}],"passed":1}"#,
            b"[terminal]\nid = \"T001\"\nregion = \"440100000000\"\nhardware = \"upright-1\"\n[repository]\nurl = \"http://127.0.0.1:1/program\"\n[line]\nbytes_per_s = 250000\noff_hours = \"22:00-06:00\"\n",
        ],
    },
];

fn metadata(bytes: &[u8]) {
    drop(Outline::parse(bytes));
    drop(RootKeys::parse(bytes));
    drop(Floor::parse(bytes));
    drop(RepairOrder::parse(bytes));
    if let Ok(name) = str::from_utf8(bytes) {
        assert!(
            !is_plain_name(name) || !name.contains(".."),
            "a plain name stays where it is"
        );
    }
}

fn release(bytes: &[u8]) {
    if let Ok(release) = Release::parse(bytes) {
        let again = release.to_bytes().expect("what was read can be written");
        assert_eq!(Release::parse(&again).as_ref(), Ok(&release));
    }
    if let Ok(index) = Index::parse(bytes) {
        assert_eq!(
            Index::parse(&index.to_bytes()).as_ref(),
            Ok(&index),
            "what was read reads the same again"
        );
    }
}

fn patched(bytes: &[u8]) {
    if let Ok(patches) = Patches::parse(bytes) {
        assert_eq!(
            Patches::parse(&patches.to_bytes()).as_ref(),
            Ok(&patches),
            "what was read reads the same again"
        );
    }
    let old = Cursor::new(OLD);
    let mut made = Vec::new();
    let Ok(mut reader) = patch::apply(bytes, old, SIZE) else {
        return;
    };
    drop(reader.read_to_end(&mut made));
    assert!(
        made.len() as u64 <= SIZE,
        "a patch makes what was asked for"
    );
}

fn machine(bytes: &[u8]) {
    drop(Wish::parse(bytes));
    drop(StickProgress::parse(bytes));
    drop(read_status(bytes));
    drop(read_progress(bytes));
    drop(State::parse(bytes));
    drop(parse_status(bytes));
    drop(Health::parse(bytes));
    drop(Status::parse(bytes));
    kiosk_update::engine::health::parse_touch_devices(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        drop(Config::parse(text));
        drop(Refused::read(text));
    }
}
