//! The tool as an administrator runs it, against the reference platform.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use central_platform::{Config, Platform};
use jiff::Timestamp;
use kiosk_sealing::bundle::{Entry, Manifest, Writer};
use kiosk_sealing::{
    Algorithm, CarriedReceipts, DeviceKey, RecipientKey, payload_context, seal, signed,
};
use tempfile::TempDir;
use uuid::Uuid;

const TERMINAL: &str = "T001";

fn admin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiosk-admin"))
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A platform, a terminal's key, and a stick with a token beside it.
struct World {
    platform: Platform,
    key: DeviceKey,
    directory: TempDir,
    _platform_directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token_file = directory.path().join("token");
        let made = admin(&["import-token", "new", text(&token_file)]);
        assert!(made.status.success(), "{made:?}");
        let token = std::fs::read_to_string(&token_file).unwrap();
        let platform_directory = tempfile::tempdir().unwrap();
        let config = Config {
            import_token: Some(token.trim().to_owned()),
            ..Config::default()
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let platform = Platform::start(platform_directory.path(), listen, config).unwrap();
        let key = DeviceKey::generate(Algorithm::Ed25519).unwrap();
        platform
            .register_terminal(TERMINAL, &key.public().to_string())
            .unwrap();
        Self {
            platform,
            key,
            directory,
            _platform_directory: platform_directory,
        }
    }

    /// A part with two transactions.
    fn part(&self, name: &str, key: &DeviceKey) -> PathBuf {
        let path = self.directory.path().join(name);
        let made_at = Timestamp::constant(1_795_311_660, 0);
        let manifest = Manifest {
            format: kiosk_sealing::bundle::FORMAT,
            terminal: TERMINAL.to_owned(),
            bundle: Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_00B0),
            part: 1,
            made_at,
            transactions: 2,
        };
        let recipient: RecipientKey = self.platform.sealing_key().parse().unwrap();
        let mut writer = Writer::begin(File::create(&path).unwrap(), &manifest).unwrap();
        for number in 1..=2_u128 {
            let id = Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + number);
            let case_number = format!("T001-20261122-{number:05}");
            let plain = serde_json::json!({ "format": 1, "case_number": case_number });
            let context = payload_context(TERMINAL, id);
            let payload = seal(&recipient, &context, plain.to_string().as_bytes()).unwrap();
            let entry = Entry {
                id,
                kind: "case".to_owned(),
                item: "old-age-allowance".to_owned(),
                item_version: 1,
                case_number,
                enqueued_at: made_at,
                upstream: String::new(),
                payload_suite: recipient.suite().to_string(),
                attachments: Vec::new(),
            };
            writer.transaction(&entry, &payload, &[]).unwrap();
        }
        writer.finish(key).unwrap();
        path
    }

    fn import(&self, part: &Path, more: &[&str]) -> Output {
        let url = self.platform.url();
        let token = self.directory.path().join("token");
        let mut arguments = vec![
            "import-bundle",
            text(part),
            "--platform",
            &url,
            "--token-file",
            text(&token),
        ];
        arguments.extend(more);
        admin(&arguments)
    }

    fn receipts(&self) -> PathBuf {
        let bundle = Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_00B0);
        self.directory
            .path()
            .join(format!("receipts-{bundle}-001.txt"))
    }
}

#[test]
fn a_part_is_taken_once_however_often_it_is_brought_and_its_receipts_come_back() {
    let world = World::new();
    let part = world.part("part.bundle", &world.key);
    let key = world.key.public().to_string();
    let first = world.import(&part, &["--key", &key]);
    assert!(first.status.success(), "{first:?}");
    assert_eq!(said(&first).matches("accepted").count(), 2, "{first:?}");
    let second = world.import(&part, &[]);
    assert!(second.status.success(), "{second:?}");
    assert_eq!(said(&second).matches("duplicate").count(), 2);
    assert_eq!(world.platform.accepted().unwrap().len(), 2);
    let receipts = std::fs::read_to_string(world.receipts()).unwrap();
    let trusted = [world.platform.command_key().parse().unwrap()];
    let body = signed::verify(&trusted, signed::RECEIPTS, receipts.trim(), 1 << 20).unwrap();
    let receipts: CarriedReceipts = serde_json::from_slice(&body).unwrap();
    assert_eq!(receipts.terminal, TERMINAL);
    assert_eq!(receipts.results.len(), 2);
}

#[test]
fn a_part_that_was_cut_or_forged_is_not_even_sent() {
    let world = World::new();
    let part = world.part("part.bundle", &world.key);
    let bytes = std::fs::read(&part).unwrap();
    let cut = world.directory.path().join("cut.bundle");
    std::fs::write(&cut, &bytes[..bytes.len() - 10]).unwrap();
    let output = world.import(&cut, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let key = world.key.public().to_string();
    let forged = world.part("forged.bundle", &stranger);
    let output = world.import(&forged, &["--key", &key]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // Without a key the platform judges, and refuses too.
    let output = world.import(&forged, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(world.platform.accepted().unwrap().is_empty());
    assert!(!world.receipts().exists());
}

#[test]
fn without_the_right_token_nothing_is_taken() {
    let world = World::new();
    let part = world.part("part.bundle", &world.key);
    let token = world.directory.path().join("token");
    std::fs::write(&token, "wrong\n").unwrap();
    let output = world.import(&part, &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("401"), "{words}");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = world.import(&part, &[]);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("chmod 600"), "{words}");
    assert!(world.platform.accepted().unwrap().is_empty());
}

#[test]
fn a_platform_that_is_away_leaves_the_part_to_be_brought_again() {
    let world = World::new();
    let part = world.part("part.bundle", &world.key);
    world.platform.set_network(false).unwrap();
    let output = world.import(&part, &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("run the same again"), "{words}");
    world.platform.set_network(true).unwrap();
    assert!(world.import(&part, &[]).status.success());
    assert_eq!(world.platform.accepted().unwrap().len(), 2);
}

#[test]
fn keys_go_into_files_of_their_owner_and_are_never_written_over() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, prefix) in [
        (&["keys", "new", "--unprotected"][..], "ed25519:"),
        (
            &["key", "new", "--unprotected", "--algorithm", "sm2-sm3"],
            "sm2-sm3:",
        ),
        (&["sealing-key", "new"], "intl:"),
        (&["sealing-key", "new", "--suite", "gm"], "gm:"),
    ] {
        let path = directory.path().join(prefix.trim_end_matches(':'));
        let mut all = arguments.to_vec();
        all.push(text(&path));
        let output = admin(&all);
        assert!(output.status.success(), "{output:?}");
        assert!(said(&output).starts_with(prefix), "{output:?}");
        let before = std::fs::read(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{prefix}");
        assert_eq!(admin(&all).status.code(), Some(1), "{prefix}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{prefix}");
    }
}

#[test]
fn a_signed_order_is_believed_by_whoever_trusts_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("command-key");
    let made = admin(&["keys", "new", "--unprotected", text(&file)]);
    let public = said(&made).lines().next().unwrap().to_owned();
    let arguments = [
        "order",
        "sign",
        "--terminal",
        TERMINAL,
        "--kind",
        "lock",
        "--key-file",
        text(&file),
    ];
    let output = admin(&arguments);
    assert!(output.status.success(), "{output:?}");
    let order = said(&output);
    let keys = [public.parse().unwrap()];
    let body = signed::verify(&keys, signed::COMMAND, order.trim(), 4096).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["kind"], &body["terminal"]),
        (&"lock".into(), &TERMINAL.into())
    );
}

#[test]
fn wrong_use_is_status_two() {
    assert_eq!(admin(&["order", "sign"]).status.code(), Some(2));
    assert_eq!(admin(&["import-bundle"]).status.code(), Some(2));
    assert_eq!(
        admin(&["audit", "verify", "x", "--key", "rot13:abc"])
            .status
            .code(),
        Some(2)
    );
}
