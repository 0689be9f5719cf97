//! Parsers of files, codes and replies that reach the terminal itself, and the store on a disk that
//! has rotted.

use std::sync::OnceLock;

use kiosk_app::boot::Book;
use kiosk_app::calibration::{self, Calibrated};
use kiosk_app::carry;
use kiosk_app::catalogue::Catalogue;
use kiosk_app::config;
use kiosk_app::platform::certificate::Standing;
use kiosk_app::platform::drain::receipt;
use kiosk_app::platform::enrolment::EnrolmentReply;
use kiosk_app::platform::{commands, desired, messages, tickets};
use kiosk_app::workbench::{host, privacy, sticks};

use kiosk_sealing::{Algorithm, DeviceKey, signed};

use super::{Target, store};

/// Every parser of a file or code.
pub const TARGETS: &[Target] = &[
    Target {
        name: "slip-code",
        run: slip_code,
        seeds: &[b"KC1.T001-20261122-00001.202611220941.0123456789ab.abc"],
    },
    Target {
        name: "configuration",
        run: configuration,
        seeds: &[
            b"[terminal]\nid = \"T001\"\nsite = \"x\"\nhelp_phone = \"1\"\n[platform]\nurl = \"http://x\"\n[paths]\nstate = \"s\"\nitems = \"i\"\n",
        ],
    },
    Target {
        name: "item-package",
        run: item_package,
        seeds: &[include_bytes!("../../../kiosk-app/items/old-age-allowance/item.toml")],
    },
    Target {
        name: "platform-reply",
        run: platform_reply,
        seeds: &[
            br#"{"code":"queue.full","title":"x","detail":"y","upstream":"civil-affairs","retry_after_s":5}"#,
            br#"{"commands":["c0e2c4890c9b601c.eyJ9.AAAA"]}"#,
            br#"{"id":"01a20340-67ce-73f6-b10d-c19b379b580d","terminal":"T001","kind":"lock","arguments":{},"issued_at":"2026-11-22T09:41:00Z","expires_at":"2026-11-22T10:41:00Z"}"#,
            br#"{"terminal":"T001","version":3,"issued_at":"2026-11-22T09:41:00Z","suspended_items":["x"],"sealing_key":null,"bytes_per_s":null,"off_hours":"22:00-06:00","heartbeat_s":60}"#,
            br#"{"results":[{"id":"01a20340-67ce-73f6-b10d-c19b379b580d","revision":2,"state":"stored"}]}"#,
            br#"{"certificate":"-----BEGIN CERTIFICATE-----","ca":"","region":"a/b","site":"c","sealing_key":"intl:AAAA","command_key":"ed25519:AAAA"}"#,
            br#"{"code":"terminal.revoked"}"#,
            b"Sun, 22 Nov 2026 09:41:00 GMT",
        ],
    },
    Target {
        name: "machine-files",
        run: machine_files,
        seeds: &[
            b"/dev/sda1 /media/stick vfat rw,nosuid 0 0\n/dev/sdb1 /run/media/a\\040b exfat ro 0 0\n",
            b"  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 1\n",
            br#"{"failures":2,"safe":false}"#,
            br#"{"terms":[1.0,0.0,0.0,0.0,1.0,0.0],"hits":5,"residual_permille":3.0}"#,
            "测试一 440100197505050046 在 13800000000".as_bytes(),
        ],
    },
    Target {
        name: "carried-receipts",
        run: carried_receipts,
        seeds: &[
            br#"{"terminal":"T001","bundle":"01a20340-67ce-73f6-b10d-c19b379b580d","part":1,"results":[{"id":"01a20340-67ce-73f6-b10d-c19b379b580d","result":"accepted","receipt":{"reference":"R-1","accepted_at":"2026-11-22T09:41:00Z","outcome":"accepted","message":"x","valid_until":null}},{"id":"01a20340-67ce-73f6-b10d-c19b379b580e","result":"rejected","problem":{"code":"case.incomplete","detail":"x"}}]}"#,
            b"c0e2c4890c9b601c.eyJ9.AAAA",
        ],
    },
    Target {
        name: "damaged-store",
        run: store::damaged,
        // Eight bytes a damage: kind, page, place, length, value, other page.
        seeds: &[
            b"\x00\x05\x02\x10\x00\x00\x03\x00\x00\x09\x00\x07\x00\x00\x01\x00",
            b"\x02\x07\x00\x00\x0F\xFF\xA5\x00\x02\x0C\x00\x40\x01\x00\x00\x00",
            b"\x03\x10\x01\x00\x00\x00\x00\x00",
            b"\x04\x08\x00\x00\x00\x00\x00\x02\x04\x14\x00\x00\x00\x00\x00\x00",
            b"\x05\x00\x00\x00\x04\x01\xFF\x00\x06\x00\x00\x00\x08\x20\x37\x00",
            b"\x07\x00cor-\x01\x00\x07\x00\x00\x00\x00\x00\x02\x00",
            b"\x00\x00\x00\x12\x00\x00\x00\x00\x00\x00\x00\x3F\x00\x00\x01\x00",
        ],
    },
];

/// A file of receipts from a stick: what a stranger signed is not believed, and what the platform
/// signed may be wrong too.
fn carried_receipts(bytes: &[u8]) {
    static KEYS: OnceLock<Vec<DeviceKey>> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let keys = (0..2).map(|_| DeviceKey::generate(Algorithm::Ed25519));
        keys.filter_map(Result::ok).collect()
    });
    let [platform, stranger] = keys.as_slice() else {
        return;
    };
    let believed = [platform.public()];
    let text = String::from_utf8_lossy(bytes);
    assert!(
        carry::read_receipts(&text, "T001", &believed).is_err(),
        "receipts that nobody signed are believed"
    );
    let sign = |key| signed::sign(key, signed::RECEIPTS, bytes).unwrap_or_default();
    assert!(
        carry::read_receipts(&sign(stranger), "T001", &believed).is_err(),
        "receipts of a stranger are believed"
    );
    let Ok(receipts) = carry::read_receipts(&sign(platform), "T001", &believed) else {
        return;
    };
    assert!(
        receipts.results.len() <= bytes.len(),
        "more came out than went in"
    );
    assert_eq!(
        receipts.terminal, "T001",
        "receipts of another terminal are taken"
    );
    for result in &receipts.results {
        drop(std::hint::black_box(receipt(&result["receipt"])));
    }
}

/// What the platform answers and orders, after its signature was found good: it may be wrong too.
fn platform_reply(bytes: &[u8]) {
    drop(std::hint::black_box(messages::problem(bytes)));
    drop(std::hint::black_box(messages::batch_reply(
        200, None, bytes,
    )));
    drop(std::hint::black_box(commands::read(bytes)));
    drop(std::hint::black_box(desired::read(bytes)));
    drop(std::hint::black_box(EnrolmentReply::read(bytes)));
    drop(std::hint::black_box(Standing::read(bytes)));
    std::hint::black_box(messages::is_revocation(403, bytes));
    if let Ok(list) = commands::read_list(bytes) {
        assert!(list.len() <= bytes.len(), "more orders than bytes");
    }
    if let Ok(results) = tickets::read_reply(bytes) {
        assert!(results.len() <= 50, "more results than tickets");
    }
    std::hint::black_box(messages::http_date(&String::from_utf8_lossy(bytes)));
}

/// What the kernel, a stick and an earlier life of the program left to be read.
fn machine_files(bytes: &[u8]) {
    drop(std::hint::black_box(sticks::parse_mounts(bytes)));
    let shown = sticks::shown(bytes);
    assert!(
        !shown.chars().any(char::is_control),
        "a name steers the glass"
    );
    let text = String::from_utf8_lossy(bytes);
    drop(std::hint::black_box(host::listeners(&text)));
    let (masked, found) = privacy::mask(&text);
    let (again, left) = privacy::mask(&masked);
    assert!(
        left == 0 && again == masked,
        "{found} were masked and {left} are left"
    );
    std::hint::black_box(Book::read(bytes).is_some());
    for what in [
        calibration::TOUCH,
        calibration::CAMERA_CROP,
        calibration::PRINT_OFFSET,
        calibration::SLIP_OFFSET,
        calibration::SCANNER,
    ] {
        std::hint::black_box(Calibrated::parse(what, &text).is_ok());
    }
}

fn slip_code(bytes: &[u8]) {
    if let Some(number) = kiosk_app::slip_code::case_number(&String::from_utf8_lossy(bytes)) {
        assert!(
            number.len() <= 40 && number.is_ascii(),
            "a number that is none"
        );
    }
}

fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(std::hint::black_box(config::Config::parse(&text)));
    // Of a file that is wrong, where its last good copy lies.
    drop(std::hint::black_box(config::kept::named(&text)));
}

fn item_package(bytes: &[u8]) {
    let Ok(directory) = tempfile::tempdir() else {
        return;
    };
    let package = directory.path().join("old-age-allowance");
    let is_written = std::fs::create_dir(&package).is_ok()
        && std::fs::write(package.join("item.toml"), bytes).is_ok();
    if is_written {
        let catalogue = Catalogue::load(directory.path());
        // Without its texts no package is valid, whatever its item.toml says.
        assert!(catalogue.is_empty() && !catalogue.mistakes.is_empty());
    }
}
