//! A machine becomes a terminal, stays one and stops being one: the real program and the terminal's
//! real line against the reference platform, over TLS with certificates on both sides.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use central_platform::tls::{TestCertificates, test_certificates};
use central_platform::{Authority, Config, Enroll, Fault, Platform as Central, Signatures};
use kiosk_app::clock;
use kiosk_app::event::Event;
use kiosk_app::platform::certificate::Standing;
use kiosk_app::platform::{Identity, Platform};
use kiosk_app::runtime::Input;
use kiosk_sealing::{Algorithm, DeviceKey, KeySource, RecipientKey, payload_context, seal};
use offline_cache::{Cache, NewTransaction, State};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const TERMINAL: &str = "T001";
/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a test looks whether something happens that must not: several probes.
const WATCH: Duration = Duration::from_secs(4);
/// Events that may wait for a test.
const EVENTS: usize = 4096;

/// A platform that takes terminals in, and a machine that is none yet.
struct Bench {
    central: Central,
    set: TestCertificates,
    directory: TempDir,
}

/// The terminal's program, which `make test` builds first: built for this test alone it would have the
/// tests' features.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("kiosk");
    assert!(built.exists(), "cargo build -p kiosk-app --bin kiosk");
    built
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let set = test_certificates(directory.path()).unwrap();
    let config = Config {
        tls: Some(set.mutual(&set.server)),
        signatures: Signatures::Required,
        enroll: Enroll::Registered,
        authority: Some(Authority {
            certificate: set.authority.certificate.clone(),
            key: set.authority.key.clone(),
            days: 90,
        }),
        ..Config::default()
    };
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let central = Central::start(&directory.path().join("central"), local, config).unwrap();
    let state = directory.path().join("state");
    let text = format!("[paths]\nstate = \"{}\"\n", state.display());
    std::fs::write(directory.path().join("kiosk.toml"), text).unwrap();
    Bench {
        central,
        set,
        directory,
    }
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn pair(&self) -> PathBuf {
        self.path("state/tls/terminal.pem")
    }

    /// What an administrator asks of the platform.
    fn admin(&self, path: &str, body: &Value) -> Value {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.set.ca).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(self.central.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let body = body.to_string();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: p\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut reply = String::new();
        // The other end closes without a farewell.
        drop(stream.read_to_string(&mut reply));
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    fn code(&self) -> String {
        let expected = json!({"terminal": TERMINAL, "region": "测试市/测试县/测试镇/测试村",
            "site": "测试村党群服务中心", "installed_on": "2026-11-22", "target": 500});
        let made = self.admin("/admin/enrolments", &expected);
        made["code"].as_str().unwrap().to_owned()
    }

    fn set_revoked(&self, is_revoked: bool) {
        let path = if is_revoked { "revoke" } else { "restore" };
        let removal = json!({"terminal": TERMINAL, "reason": "测试"});
        self.admin(&format!("/admin/terminals/{path}"), &removal);
    }

    /// Runs `kiosk enrol` with a code on its standard input.
    fn enrol(&self, code: &str, more: &[&str]) -> Output {
        self.enrol_believing(&self.set.ca, code, more)
    }

    fn enrol_believing(&self, ca: &Path, code: &str, more: &[&str]) -> Output {
        let mut child = Command::new(program())
            .args(["enrol", "--platform", &self.central.url()])
            .args(["--terminal", TERMINAL, "--ca"])
            .arg(ca)
            .arg("--config")
            .arg(self.path("kiosk.toml"))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who is enrolled already does not read it.
        drop(stdin.write_all(format!("{code}\n").as_bytes()));
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// Enrolls, and gives the lines that are told.
    fn enrolled(&self) -> String {
        let output = self.enrol(&self.code(), &["--json"]);
        assert!(output.status.success(), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["is_new"], true);
        told["configuration"].as_str().unwrap().to_owned()
    }

    /// The line of a terminal with these lines in its configuration.
    fn line(&self, lines: &str) -> Line {
        let table: toml::Table = lines.parse().unwrap();
        let text = format!("probe_s = 1\n{}", table["platform"]);
        let mut platform = table["platform"].as_table().unwrap().clone();
        platform.insert("probe_s".to_owned(), toml::Value::Integer(1));
        let config: kiosk_app::config::Platform = platform
            .try_into()
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        let key = DeviceKey::open(&KeySource::File {
            path: self.path("state/device-key.pk8"),
            algorithm: Algorithm::Ed25519,
        });
        self.line_with(&config, key.unwrap())
    }

    fn line_with(&self, config: &kiosk_app::config::Platform, key: DeviceKey) -> Line {
        // The thread of a line that was dropped lets go of the store when it notices.
        let (none, never) = sync_channel::<()>(0);
        let mut opened = Cache::open(&self.path("store"), clock::now().at);
        for _ in 0..100 {
            if opened.is_ok() {
                break;
            }
            let pause = never.recv_timeout(Duration::from_millis(100));
            assert!(pause.is_err(), "nobody sends here");
            opened = Cache::open(&self.path("store"), clock::now().at);
        }
        drop(none);
        let (cache, _) = opened.unwrap();
        let identity = Identity {
            terminal: TERMINAL.to_owned(),
            key: Arc::new(key),
        };
        let (out, inputs) = sync_channel(EVENTS);
        let platform = Platform::start(config, identity, cache.another().unwrap(), out).unwrap();
        Line {
            platform,
            cache,
            inputs,
        }
    }

    fn case(&self, number: u16) -> NewTransaction {
        let key: RecipientKey = self.central.sealing_key().parse().unwrap();
        let id = Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 + u128::from(number));
        let context = payload_context(TERMINAL, id);
        NewTransaction {
            id,
            kind: "case".to_owned(),
            item: "old-age-allowance".to_owned(),
            item_version: 1,
            case_number: format!("{TERMINAL}-20261122-{number:05}"),
            subject: [u8::try_from(number).unwrap(); 32],
            payload: seal(&key, &context, br#"{"format": 1, "answers": {}}"#).unwrap(),
            payload_suite: key.suite().to_string(),
            key_id: key.key_id(),
            upstream: String::new(),
            can_wait: false,
            attachments: Vec::new(),
        }
    }

    /// Exactly these took effect, each once.
    fn assert_once(&self, ids: &[Uuid]) {
        let accepted = self.central.accepted().unwrap();
        let found: Vec<Uuid> = accepted.iter().map(|each| each.id).collect();
        assert_eq!(found, ids);
        assert!(accepted.iter().all(|each| each.times_received == 1));
    }
}

/// A terminal without glass and devices: its outbox and its line.
struct Line {
    platform: Platform,
    cache: Cache,
    inputs: Receiver<Input>,
}

impl Line {
    fn find(&self, limit: Duration, wanted: impl Fn(&Event) -> bool) -> bool {
        let until = clock::now().uptime + limit;
        loop {
            let left = until.saturating_sub(clock::now().uptime);
            match self.inputs.recv_timeout(left) {
                Ok(Input::Event(event)) if wanted(&event) => return true,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn wait(&self, wanted: impl Fn(&Event) -> bool) {
        assert!(self.find(PATIENCE, wanted), "it did not happen");
    }

    fn add(&mut self, transaction: &NewTransaction) -> Uuid {
        self.cache.enqueue(transaction, clock::now().at).unwrap();
        self.platform.wake();
        transaction.id
    }

    fn state(&self, id: Uuid) -> State {
        let rows = self.cache.recent(100).unwrap();
        rows.into_iter().find(|row| row.id == id).unwrap().state
    }
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_machine_with_a_code_becomes_a_terminal_that_the_platform_serves() {
    let bench = bench();
    let code = bench.code();
    let output = bench.enrol(&code, &[]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("登记成功：T001，测试村党群服务中心"),
        "{said}"
    );
    assert!(!said.contains(&code) && !said.contains("PRIVATE"));
    for (name, mode) in [("state/tls", 0o700), ("state/tls/terminal.pem", 0o600)] {
        let found = std::fs::metadata(bench.path(name)).unwrap().permissions();
        assert_eq!(found.mode() & 0o777, mode, "{name}");
    }
    assert!(!bench.path("state/tls/next-key.pem").exists());
    // Asked again it says so, and asks nobody: the code is used up, and this one is none.
    bench.central.set_network(false).unwrap();
    let again = bench.enrol("", &["--json"]);
    assert!(again.status.success(), "{again:?}");
    let told: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(
        (&told["is_new"], &told["terminal"]),
        (&json!(false), &json!(TERMINAL))
    );
    bench.central.set_network(true).unwrap();
    // With what it was told it is heard.
    let mut line = bench.line(told["configuration"].as_str().unwrap());
    line.wait(|event| matches!(event, Event::Link(true)));
    let id = line.add(&bench.case(1));
    line.wait(|event| matches!(event, Event::Settled { .. }));
    bench.assert_once(&[id]);
}

#[test]
fn a_power_cut_before_the_answer_is_kept_costs_nothing() {
    let bench = bench();
    let code = bench.code();
    bench.central.set_fault(Fault::DropAfterCommit);
    let said = complaint(&bench.enrol(&code, &[]));
    assert!(said.contains("platform."), "{said}");
    assert!(!bench.pair().exists());
    let key = std::fs::read(bench.path("state/tls/next-key.pem")).unwrap();
    bench.central.set_fault(Fault::None);
    let output = bench.enrol(&code, &[]);
    assert!(output.status.success(), "{output:?}");
    let pair = std::fs::read(bench.pair()).unwrap();
    assert!(pair.starts_with(key.trim_ascii_end()), "another key");
}

#[test]
fn what_is_wrong_is_said_in_words_and_by_its_code() {
    let bench = bench();
    let code = bench.code();
    let check = |output: &Output, expected: &str, words: &str| {
        let said = complaint(output);
        assert!(said.contains(&format!("[{expected}]")), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains(&code));
    };
    let nonsense = "0000-0000-0000";
    check(
        &bench.enrol("0000", &[]),
        "enrolment.code-malformed",
        "12 位",
    );
    let stranger = bench.enrol_believing(&bench.set.foreign_ca, &code, &[]);
    check(&stranger, "enrolment.platform-not-believed", "--ca");
    let no_ca = bench.enrol_believing(&bench.path("kiosk.toml"), &code, &[]);
    check(&no_ca, "enrolment.ca-unusable", "PEM");
    bench.central.set_network(false).unwrap();
    check(&bench.enrol(&code, &[]), "platform.unreachable", "");
    bench.central.set_network(true).unwrap();
    check(
        &bench.enrol(nonsense, &[]),
        "enrolment.code-wrong",
        "登记码不对",
    );
    for _ in 0..4 {
        bench.enrol(nonsense, &[]);
    }
    check(&bench.enrol(&code, &[]), "enrolment.locked", "一刻钟");
    let fresh = bench.code();
    assert!(bench.enrol(&fresh, &[]).status.success());
    // The next machine under that number needs a code of its own.
    std::fs::remove_dir_all(bench.path("state")).unwrap();
    check(
        &bench.enrol(&fresh, &[]),
        "enrolment.code-used",
        "另一台机器",
    );
}

#[test]
fn a_code_in_a_file_does_too_and_one_from_before_a_revocation_is_dead() {
    let bench = bench();
    let file = bench.path("code");
    std::fs::write(&file, bench.code()).unwrap();
    bench.set_revoked(true);
    let more = ["--code-file", file.to_str().unwrap()];
    let said = complaint(&bench.enrol("", &more));
    assert!(said.contains("[enrolment.code-wrong]"), "{said}");
    std::fs::write(&file, bench.code()).unwrap();
    assert!(bench.enrol("", &more).status.success());
}

#[test]
fn a_revoked_terminal_counts_as_offline_and_what_it_queued_arrives_once_when_it_is_restored() {
    let bench = bench();
    let lines = bench.enrolled();
    let mut line = bench.line(&lines);
    line.wait(|event| matches!(event, Event::Link(true)));
    bench.set_revoked(true);
    line.wait(|event| matches!(event, Event::Link(false)));
    let ids: Vec<Uuid> = (1..=3)
        .map(|number| line.add(&bench.case(number)))
        .collect();
    assert!(!line.find(WATCH, |event| {
        matches!(event, Event::Link(true) | Event::Settled { .. })
    }));
    assert!(ids.iter().all(|id| line.state(*id) == State::Pending));
    bench.assert_once(&[]);
    bench.set_revoked(false);
    for _ in &ids {
        line.wait(|event| matches!(event, Event::Settled { .. }));
    }
    bench.assert_once(&ids);
}

/// Puts a certificate in the place of the terminal's own: of the same key, and nearly at its end.
fn age(bench: &Bench) -> String {
    let text = std::fs::read_to_string(bench.pair()).unwrap();
    let key = KeyPair::from_pem(&text[..text.find("-----BEGIN CERT").unwrap()]).unwrap();
    let ca = std::fs::read_to_string(&bench.set.authority.certificate).unwrap();
    let ca_key = std::fs::read_to_string(&bench.set.authority.key).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca, KeyPair::from_pem(&ca_key).unwrap()).unwrap();
    let mut parameters = CertificateParams::default();
    let name = format!("urn:kiosk:terminal:{TERMINAL}");
    parameters.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = clock::now().at.as_second().unsigned_abs();
    let moment = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    parameters.not_before = moment(now - 80 * 24 * 3600);
    parameters.not_after = moment(now + 10 * 24 * 3600);
    let old = parameters.signed_by(&key, &issuer).unwrap().pem();
    let aged = key.serialize_pem() + &old;
    std::fs::write(bench.pair(), &aged).unwrap();
    aged
}

fn standing(pem: &[u8]) -> Standing {
    Standing::read(&CertificateDer::from_pem_slice(pem).unwrap()).unwrap()
}

#[test]
fn a_certificate_near_its_end_is_renewed_by_itself_and_the_new_one_is_shown() {
    let bench = bench();
    let lines = bench.enrolled();
    let aged = age(&bench);
    let mut line = bench.line(&lines);
    line.wait(|event| matches!(event, Event::Link(true)));
    let mut pair = aged.clone().into_bytes();
    for _ in 0..600 {
        if pair != aged.as_bytes() {
            break;
        }
        drop(line.inputs.recv_timeout(Duration::from_millis(100)));
        pair = std::fs::read(bench.pair()).unwrap();
    }
    let (old, new) = (standing(aged.as_bytes()), standing(&pair));
    assert!(new.not_after > old.not_after);
    assert_eq!(new.terminal.as_deref(), Some(TERMINAL));
    let key_of = |text: &[u8]| {
        text[..text.windows(5).position(|part| part == b"-----").unwrap() + 200].to_vec()
    };
    assert_ne!(key_of(&pair), key_of(aged.as_bytes()), "the same key again");
    // The next connection, and the next start, are served with it.
    bench.central.set_network(false).unwrap();
    line.wait(|event| matches!(event, Event::Link(false)));
    bench.central.set_network(true).unwrap();
    line.wait(|event| matches!(event, Event::Link(true)));
    let first = line.add(&bench.case(1));
    line.wait(|event| matches!(event, Event::Settled { .. }));
    drop(line);
    let mut line = bench.line(&lines);
    let second = line.add(&bench.case(2));
    line.wait(|event| matches!(event, Event::Settled { .. }));
    bench.assert_once(&[first, second]);
}

#[test]
fn a_renewal_whose_answer_is_lost_leaves_a_working_pair_and_is_tried_again() {
    let bench = bench();
    let lines = bench.enrolled();
    let aged = age(&bench);
    // No platform that signs: every try fails, and the terminal works on with what it has.
    let directory = bench.path("central");
    let Bench {
        central,
        set,
        directory: kept,
    } = bench;
    let address = central.address();
    central.stop();
    let start = |authority: Option<Authority>| {
        let config = Config {
            tls: Some(set.mutual(&set.server)),
            signatures: Signatures::Required,
            enroll: Enroll::Registered,
            authority,
            ..Config::default()
        };
        Central::start(&directory, address, config).unwrap()
    };
    let bench = Bench {
        central: start(None),
        set: set.clone(),
        directory: kept,
    };
    let mut line = bench.line(&lines);
    let id = line.add(&bench.case(1));
    line.wait(|event| matches!(event, Event::Settled { .. }));
    let next = bench.path("state/tls/next-key.pem");
    for _ in 0..600 {
        if next.exists() {
            break;
        }
        drop(line.inputs.recv_timeout(Duration::from_millis(100)));
    }
    let key = std::fs::read(&next).unwrap();
    assert_eq!(std::fs::read(bench.pair()).unwrap(), aged.as_bytes());
    bench.assert_once(&[id]);
    drop(line);
    let Bench {
        central,
        directory: kept,
        ..
    } = bench;
    central.stop();
    let authority = Authority {
        certificate: set.authority.certificate.clone(),
        key: set.authority.key.clone(),
        days: 90,
    };
    let bench = Bench {
        central: start(Some(authority)),
        set: set.clone(),
        directory: kept,
    };
    let line = bench.line(&lines);
    for _ in 0..600 {
        if !next.exists() {
            break;
        }
        drop(line.inputs.recv_timeout(Duration::from_millis(100)));
    }
    let pair = std::fs::read(bench.pair()).unwrap();
    assert!(
        pair.starts_with(key.trim_ascii_end()),
        "the key of the try was lost"
    );
}
