//! The queue on a stick, from the terminal to the platform and back: nothing is lost, nothing is
//! doubled, whichever of the two roads is first, and nothing is believed that is not signed.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use jiff::Timestamp;
use kiosk_app::Config;
use kiosk_app::carry::stick;
use kiosk_app::clock::{self, Moment};
use kiosk_app::desk::{Answer, Ask, Counter, Desk};
use kiosk_app::devices::{Roster, socket};
use kiosk_app::event::{Submission, TakenPicture};
use kiosk_app::keys::Keys;
use kiosk_app::platform::Identity;
use kiosk_app::queue::{self, Sealing};
use kiosk_device::Sensitive;
use kiosk_sealing::{Algorithm, CarriedReceipts, DeviceKey, signed};
use kiosk_tests::{adult, elder};
use kiosk_ui::Picture;
use offline_cache::Cache;
use tempfile::TempDir;
use uuid::Uuid;

const TOKEN: &str = "synthetic-import-token";
/// How long the network road may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// One terminal that does not run, its platform, and a stick.
struct World {
    platform: central_platform::Platform,
    config: Config,
    state: TempDir,
    stick: TempDir,
    _platform_directory: TempDir,
}

fn start_platform(directory: &Path) -> central_platform::Platform {
    let config = central_platform::Config {
        import_token: Some(TOKEN.to_owned()),
        ..central_platform::Config::default()
    };
    central_platform::Platform::start(directory, "127.0.0.1:0".parse().unwrap(), config).unwrap()
}

fn configure(platform: &central_platform::Platform, state: &Path, terminal: &str) -> Config {
    Config::parse(&format!(
        "[terminal]\nid = \"{terminal}\"\nsite = \"测试村\"\nhelp_phone = \"12345\"\n\
         [platform]\nurl = \"{}\"\nprobe_s = 1\nsealing_key = \"{}\"\ncommand_keys = [\"{}\"]\n\
         [paths]\nstate = \"{}\"\nitems = \"items\"\n[store]\nfree_mib_min = 16\n",
        platform.url(),
        platform.sealing_key(),
        platform.command_key(),
        state.display(),
    ))
    .unwrap()
}

impl World {
    fn new() -> Self {
        let platform_directory = tempfile::tempdir().unwrap();
        let platform = start_platform(platform_directory.path());
        let state = tempfile::tempdir().unwrap();
        let config = configure(&platform, state.path(), "T001");
        let world = Self {
            platform,
            config,
            state,
            stick: tempfile::tempdir().unwrap(),
            _platform_directory: platform_directory,
        };
        let public = world.keys().public().to_string();
        world.platform.register_terminal("T001", &public).unwrap();
        world
    }

    fn keys(&self) -> Keys {
        Keys::open(self.state.path(), &self.config.key_source()).unwrap()
    }

    fn open(&self) -> Cache {
        let store = self.state.path().join("store");
        let options = self.config.store_options();
        Cache::open_with(&store, &options, now().at).unwrap().0
    }

    /// Three cases: two of one person, one of another, one of them with a picture.
    fn fill(&self) -> Vec<Uuid> {
        let (keys, mut cache) = (self.keys(), self.open());
        let sealing = Sealing {
            key: self.config.platform.sealing_key.clone(),
            terminal: self.config.terminal.id.clone(),
        };
        [(adult(), 0), (adult(), 1), (elder(), 0)]
            .into_iter()
            .map(|(principal, pictures)| {
                let submission = Submission {
                    item: "old-age-allowance".to_owned(),
                    item_version: 1,
                    principal,
                    helper: None,
                    consent_time: String::new(),
                    answers: Vec::new(),
                    verified_by: "none",
                    verification: String::new(),
                    pictures: vec![picture(); pictures],
                    is_offline: true,
                };
                queue::commit(&mut cache, &keys, &sealing, &submission, "", now())
                    .unwrap()
                    .id
            })
            .collect()
    }

    fn counter(&self) -> Counter {
        Counter::reach(&self.config, now()).unwrap()
    }

    /// The parts on the stick.
    fn export(&self) -> Vec<PathBuf> {
        let bundle = stick::mint(now());
        stick::export(
            &mut self.counter(),
            self.stick.path(),
            "tester",
            bundle,
            now(),
        )
        .unwrap()
        .files
    }

    fn import(&self, part: &[u8]) -> (u16, serde_json::Value) {
        post(&self.platform, part)
    }

    fn read_receipts(&self, text: &str) -> Answer {
        let ask = Ask::Receipts {};
        self.counter()
            .ask(&ask, text.as_bytes(), &mut std::io::sink(), now())
            .unwrap()
    }

    fn waiting(&self) -> u64 {
        self.open().depth().unwrap().waiting
    }

    /// The network road: the terminal's own sync, until nothing waits any more.
    fn drain(&self) {
        let cache = self.open();
        let second = cache.another().unwrap();
        let (out, inbox) = sync_channel(256);
        let identity = Identity {
            terminal: self.config.terminal.id.clone(),
            key: Arc::clone(self.keys().device()),
        };
        let platform = &self.config.platform;
        let sync = kiosk_app::platform::Platform::start(platform, identity, second, out).unwrap();
        let deadline = clock::now().uptime + PATIENCE;
        while cache.depth().unwrap().waiting > 0 {
            assert!(clock::now().uptime < deadline, "the network road is stuck");
            // Whatever it is, it is a reason to look again; silence is one too.
            inbox.recv_timeout(Duration::from_millis(100)).ok();
        }
        drop(sync);
        // The thread's connections go with it; only then may the next one open the store.
        drop(cache);
        while Cache::open(&self.state.path().join("store"), now().at).is_err() {
            assert!(clock::now().uptime < deadline, "the sync does not end");
            inbox.recv_timeout(Duration::from_millis(20)).ok();
        }
    }

    fn check_taken_once(&self, ids: &[Uuid]) {
        let accepted = self.platform.accepted().unwrap();
        let mut taken: Vec<Uuid> = accepted.iter().map(|found| found.id).collect();
        let mut expected = ids.to_vec();
        taken.sort_unstable();
        expected.sort_unstable();
        assert_eq!(taken, expected);
    }
}

/// The wall clock is read by nobody; a run of today and one of next year are the same.
fn now() -> Moment {
    Moment {
        at: Timestamp::constant(1_795_311_660, 0),
        uptime: clock::now().uptime,
    }
}

fn picture() -> TakenPicture {
    TakenPicture {
        document: "household-register".to_owned(),
        jpeg: Arc::new(Sensitive::new(vec![0x5A; 20_000])),
        preview: Picture {
            width: 1,
            height: 1,
            rgb: Arc::new(vec![0; 3]),
        },
    }
}

/// `POST /v1/bundles` as plainly as it can be said.
fn post(platform: &central_platform::Platform, part: &[u8]) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(platform.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST /v1/bundles HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer {TOKEN}\r\nContent-Type: application/vnd.kiosk.bundle\r\n\
         Content-Length: {}\r\n\r\n",
        part.len()
    )
    .unwrap();
    stream.write_all(part).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8(reply).unwrap();
    let status = reply.split(' ').nth(1).unwrap().parse().unwrap();
    let body = reply.split_once("\r\n\r\n").unwrap().1;
    let start = body.find('{').unwrap();
    let end = body.rfind('}').unwrap();
    (status, serde_json::from_str(&body[start..=end]).unwrap())
}

fn read(part: &Path) -> Vec<u8> {
    std::fs::read(part).unwrap()
}

fn results(reply: &serde_json::Value) -> Vec<&str> {
    reply["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["result"].as_str().unwrap())
        .collect()
}

#[test]
fn what_came_by_the_stick_is_settled_by_its_receipts_and_not_sent_again() {
    let world = World::new();
    let ids = world.fill();
    let parts = world.export();
    assert_eq!(parts.len(), 1);
    assert_eq!(world.waiting(), 3, "carrying settles nothing");
    let (status, reply) = world.import(&read(&parts[0]));
    assert_eq!((status, results(&reply)), (200, vec!["accepted"; 3]));
    world.check_taken_once(&ids);
    let text = reply["receipts"].as_str().unwrap();
    let settled = |settled, settled_before| Answer::Imported {
        settled,
        settled_before,
        parked: 0,
        waiting: 0,
        unknown: 0,
    };
    assert_eq!(world.read_receipts(text), settled(3, 0));
    assert_eq!(world.waiting(), 0);
    assert_eq!(world.read_receipts(text), settled(0, 3), "the same again");
    world.drain();
    world.check_taken_once(&ids);
    assert!(world.export().is_empty(), "nothing is left to carry");
}

#[test]
fn what_the_network_brought_first_is_a_duplicate_on_the_stick() {
    let world = World::new();
    let ids = world.fill();
    let parts = world.export();
    world.drain();
    world.check_taken_once(&ids);
    let (status, reply) = world.import(&read(&parts[0]));
    assert_eq!((status, results(&reply)), (200, vec!["duplicate"; 3]));
    world.check_taken_once(&ids);
    let text = reply["receipts"].as_str().unwrap();
    assert_eq!(
        world.read_receipts(text),
        Answer::Imported {
            settled: 0,
            settled_before: 3,
            parked: 0,
            waiting: 0,
            unknown: 0,
        }
    );
}

#[test]
fn the_network_after_the_stick_brings_the_receipts_and_no_second_case() {
    let world = World::new();
    let ids = world.fill();
    let parts = world.export();
    assert_eq!(world.import(&read(&parts[0])).0, 200);
    // The stick with the receipts is lost on its way back.
    world.drain();
    world.check_taken_once(&ids);
    assert_eq!(world.waiting(), 0);
}

#[test]
fn a_bundle_that_is_imported_twice_takes_effect_once() {
    let world = World::new();
    let ids = world.fill();
    let part = read(&world.export()[0]);
    assert_eq!(results(&world.import(&part).1), ["accepted"; 3]);
    let (status, again) = world.import(&part);
    assert_eq!((status, results(&again)), (200, vec!["duplicate"; 3]));
    world.check_taken_once(&ids);
    assert!(matches!(
        world.read_receipts(again["receipts"].as_str().unwrap()),
        Answer::Imported { settled: 3, .. }
    ));
    // A second bundle of what was not settled yet is as harmless.
    let (_, third) = world.import(&part);
    assert_eq!(results(&third), ["duplicate"; 3]);
    world.check_taken_once(&ids);
}

#[test]
fn a_bundle_of_a_terminal_that_nobody_registered_is_refused_whole() {
    let world = World::new();
    // One that is not known at all, and one that uses the number of a known one with its own key.
    for terminal in ["T999", "T001"] {
        let mut stranger = World::new();
        stranger.config = configure(&world.platform, stranger.state.path(), terminal);
        stranger.fill();
        let (status, problem) = world.import(&read(&stranger.export()[0]));
        assert!((400..500).contains(&status), "{terminal}: {status}");
        assert!(!problem["code"].as_str().unwrap().is_empty());
        world.check_taken_once(&[]);
    }
}

#[test]
fn a_bundle_that_was_cut_or_altered_is_refused_whole() {
    let world = World::new();
    world.fill();
    let part = read(&world.export()[0]);
    for length in [0, 10, part.len() / 2, part.len() - 1] {
        let (status, _) = world.import(&part[..length]);
        assert!((400..500).contains(&status), "{length}: {status}");
    }
    for at in [20, part.len() / 2, part.len() - 5] {
        let mut altered = part.clone();
        altered[at] ^= 1;
        let (status, _) = world.import(&altered);
        assert!((400..500).contains(&status), "{at}: {status}");
    }
    world.check_taken_once(&[]);
    assert_eq!(world.import(&part).0, 200, "the whole one passes");
}

#[test]
fn receipts_that_nobody_trusted_signed_settle_nothing() {
    let world = World::new();
    let ids = world.fill();
    let (_, reply) = world.import(&read(&world.export()[0]));
    let good = reply["receipts"].as_str().unwrap();
    let body = |terminal: &str| {
        let results = ids.iter().map(|id| {
            serde_json::json!({ "id": id, "result": "accepted",
                "receipt": { "reference": "R", "outcome": "accepted", "message": "" } })
        });
        serde_json::to_vec(&CarriedReceipts {
            terminal: terminal.to_owned(),
            bundle: Uuid::from_u128(1),
            part: 1,
            results: results.collect(),
        })
        .unwrap()
    };
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let forged = signed::sign(&stranger, signed::RECEIPTS, &body("T001")).unwrap();
    let middle = good.len() / 2;
    let mut altered = good.to_owned().into_bytes();
    altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    for text in ["", "x", &good[..middle], &altered, &forged] {
        let answer = world.read_receipts(text);
        assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
        assert_eq!(world.waiting(), 3);
    }
    // Genuine, but of another terminal: this one believes the other's platform, not its receipts.
    let text = world.state.path().join("device-key.pk8");
    assert!(text.is_file());
    let own = DeviceKey::open(&world.config.key_source()).unwrap();
    let mut config = world.config.clone();
    config.platform.command_keys = vec![own.public()];
    let foreign = signed::sign(&own, signed::RECEIPTS, &body("T002")).unwrap();
    let answer = Counter::reach(&config, now())
        .unwrap()
        .ask(
            &Ask::Receipts {},
            foreign.as_bytes(),
            &mut std::io::sink(),
            now(),
        )
        .unwrap();
    assert!(
        matches!(&answer, Answer::Refused { code, .. } if code == "bundle.other-terminal"),
        "{answer:?}"
    );
    assert_eq!(world.waiting(), 3);
}

#[test]
fn the_running_terminal_answers_the_same_through_its_socket() {
    let world = World::new();
    let ids = world.fill();
    let desk = Desk::open(&world.config, now()).unwrap();
    socket::serve(world.state.path(), Roster::default(), Some(desk)).unwrap();
    let mut counter = world.counter();
    assert!(matches!(counter, Counter::Running(_)));
    let bundle = stick::mint(now());
    let exported =
        stick::export(&mut counter, world.stick.path(), "tester", bundle, now()).unwrap();
    assert_eq!(exported.transactions, 3);
    let (status, reply) = world.import(&read(&exported.files[0]));
    assert_eq!((status, results(&reply)), (200, vec!["accepted"; 3]));
    let text = reply["receipts"].as_str().unwrap();
    assert!(matches!(
        world.read_receipts(text),
        Answer::Imported { settled: 3, .. }
    ));
    world.check_taken_once(&ids);
    let mut log = Vec::new();
    let mut ask = |ask: Ask, out: &mut Vec<u8>| counter.ask(&ask, &[], out, now()).unwrap();
    let Answer::Verdict { findings, head, .. } = ask(Ask::Verify { anchor: None }, &mut log) else {
        panic!("no verdict");
    };
    assert!(findings.is_empty(), "{findings:?}");
    ask(Ask::Audit {}, &mut log);
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("carry-out.written") && log.contains("carry-out.receipts"));
    assert!(!log.contains(adult().number.expose()), "no number is in it");
    let Answer::Rows { rows } = ask(Ask::List { dead_only: false }, &mut Vec::new()) else {
        panic!("no rows");
    };
    assert!(
        rows.iter()
            .all(|row| row.state == "acked" && !row.carried_at.is_empty())
    );
    let Answer::Verdict { findings, .. } = ask(Ask::Verify { anchor: head }, &mut Vec::new())
    else {
        panic!("no verdict");
    };
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn a_dead_letter_is_told_in_words_with_the_way_out() {
    let world = World::new();
    let ids = world.fill();
    world
        .open()
        .park(
            ids[0],
            "platform",
            "platform.rejected",
            "case.rejected",
            now().at,
        )
        .unwrap();
    let act = |ask: Ask| {
        let mut counter = world.counter();
        counter.ask(&ask, &[], &mut std::io::sink(), now()).unwrap()
    };
    let list = |dead_only| {
        let Answer::Rows { rows } = act(Ask::List { dead_only }) else {
            panic!("no list");
        };
        rows
    };
    let dead = list(true);
    assert_eq!(dead.len(), 1);
    let text = dead[0].text();
    for word in [
        kiosk_app::problem::get("platform.rejected")
            .technician
            .as_str(),
        "case.rejected",
        "kiosk queue retry",
        "kiosk queue close",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert!(!text.contains(adult().number.expose()));
    let id = ids[0];
    let nobody = Ask::Retry {
        id,
        by: " ".to_owned(),
    };
    assert!(matches!(act(nobody), Answer::Refused { .. }));
    let retry = Ask::Retry {
        id,
        by: "Wang".to_owned(),
    };
    assert!(matches!(act(retry.clone()), Answer::Done { .. }));
    assert!(list(true).is_empty());
    assert!(
        matches!(act(retry), Answer::Refused { .. }),
        "it is not dead"
    );
    world
        .open()
        .park(id, "platform", "platform.rejected", "", now().at)
        .unwrap();
    let close = Ask::Close {
        id,
        by: "Wang".to_owned(),
        reason: "handed in at the counter".to_owned(),
    };
    assert!(matches!(act(close), Answer::Done { .. }));
    assert!(list(true).is_empty());
    let closed = list(false);
    assert!(closed.iter().all(|row| !row.needs_somebody));
}

#[test]
fn whoever_asks_whether_a_release_is_held_is_told_by_the_desired_state_in_force() {
    let world = World::new();
    let ask = |version: &str| {
        let version = version.to_owned();
        world
            .counter()
            .ask(&Ask::Held { version }, &[], &mut std::io::sink(), now())
            .unwrap()
    };
    assert_eq!(ask("0.3.0"), Answer::Held { is_held: false });
    let body = |held: &str| {
        format!(
            "{{\"terminal\":\"T001\",\"version\":1,\"issued_at\":\"2026-11-22T00:00:00Z\",\
             \"suspended_items\":[],\"sealing_key\":\"{}\",\"bytes_per_s\":null,\"off_hours\":null,\
             \"heartbeat_s\":60,\"held_releases\":{held}}}",
            world.platform.sealing_key()
        )
    };
    let store = |version, body: &str| {
        world
            .open()
            .set_desired_state(version, body, now().at)
            .unwrap()
    };
    assert!(store(1, &body("[\"0.3.0\"]")));
    assert_eq!(ask("0.3.0"), Answer::Held { is_held: true });
    assert_eq!(ask("0.3"), Answer::Held { is_held: false });
    assert!(!store(1, &body("[]")), "not newer");
    assert_eq!(ask("0.3.0"), Answer::Held { is_held: true });
    assert!(store(2, "{}"), "what nobody can read");
    assert!(matches!(ask("0.3.0"), Answer::Refused { .. }));
}
