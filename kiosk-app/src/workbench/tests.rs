//! The workbench as a whole, without its thread: from the challenge to the certificate, with hostile
//! sticks, wrong clocks, guessers and power cuts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kiosk_device::Sensitive;
use kiosk_sealing::unlock::{Challenge, Grant, PinVerifier, Revocations, RevokedId, Role, Scope};
use kiosk_sealing::{
    Algorithm, DeviceKey, KeySource, RecipientSecret, Suite, certificate, hex, sha256,
};
use kiosk_ui::Mark;
use offline_cache::{Cache, DiaryCount, TicketState};
use uuid::Uuid;

use super::bench::{Bench, Heard, Parts, Workbench};
use super::levels::Levels;
use super::{Act, Facts, Found, Permission, Topic, Work};
use crate::calibration::Calibrations;
use crate::clock::Moment;
use crate::config::Config;
use crate::desk::Desk;
use crate::event::{Event, Ticket};
use crate::hub::Hub;
use crate::logging::Log;
use crate::runtime::Input;
use crate::selftest::{Outcome, Verdict};
use crate::words::Lang;

const PIN: &str = "246810";
const ANSWER: Ticket = Ticket(7);
/// 2026-11-22T01:41:00Z.
const START_S: i64 = 1_795_311_660;

fn at(second: u64) -> Moment {
    Moment {
        at: Timestamp::from_second(START_S + i64::try_from(second).unwrap()).unwrap(),
        uptime: Duration::from_secs(second),
    }
}

/// A terminal's state on disk, and the operator who lets staff in.
struct Place {
    directory: tempfile::TempDir,
    operator: DeviceKey,
    /// What is appended to the configuration.
    more: String,
}

struct Stand {
    bench: Bench,
    inputs: Receiver<Input>,
    /// Devices run while it lives.
    _hub: Hub,
}

impl Place {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            operator: DeviceKey::generate(Algorithm::Ed25519).unwrap(),
            more: String::new(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn stick(&self) -> std::path::PathBuf {
        let stick = self.path("stick");
        fs::create_dir_all(&stick).unwrap();
        stick
    }

    fn config(&self) -> Config {
        let path = self.path("kiosk.toml");
        if !path.exists() {
            let sealing_key = RecipientSecret::generate(Suite::Intl).unwrap().public();
            let root = self.directory.path().display();
            let operator = self.operator.public();
            let text = format!(
                "[terminal]\nid = \"T001\"\nsite = \"测试村\"\nhelp_phone = \"12345\"\n\
                 [platform]\nurl = \"http://127.0.0.1:1\"\nsealing_key = \"{sealing_key}\"\n\
                 [paths]\nstate = \"{root}/state\"\nitems = \"{root}/items\"\n\
                 updater = \"{root}/updater\"\n[staff]\nunlock_keys = [\"{operator}\"]\nsticks = [\"{root}/stick\"]\n{}",
                self.more
            );
            fs::write(&path, text).unwrap();
        }
        Config::read(&path).unwrap()
    }

    /// What the workbench is made of at a start of the program.
    fn parts(&self, now: Moment) -> (Parts, Receiver<Input>, Hub) {
        let config = self.config();
        fs::create_dir_all(&config.paths.state).unwrap();
        let source = KeySource::File {
            path: config.paths.state.join("device-key.pk8"),
            algorithm: Algorithm::Ed25519,
        };
        let key = Arc::new(DeviceKey::open(&source).unwrap());
        let store = config.paths.state.join("store");
        let (cache, _) = Cache::open_with(&store, &config.store_options(), now.at).unwrap();
        let (out, inputs) = sync_channel(64);
        let hub = Hub::start(&config.devices, &out).unwrap();
        let desk = Desk::new(&config, cache.another().unwrap(), Arc::clone(&key), None);
        let parts = Parts {
            roster: hub.roster(),
            config,
            cache,
            desk,
            key,
            out,
        };
        (parts, inputs, hub)
    }

    /// The workbench after a start of the program.
    fn start(&self, now: Moment) -> Stand {
        let (parts, inputs, hub) = self.parts(now);
        Stand {
            bench: Bench::new(parts, Arc::default(), now).unwrap(),
            inputs,
            _hub: hub,
        }
    }

    fn grant(challenge: &str, role: Role, now: Moment) -> Grant {
        let challenge = Challenge::parse(challenge).unwrap();
        Grant {
            id: Uuid::now_v7(),
            terminal: challenge.terminal,
            nonce: challenge.nonce,
            person: "tech.ce-shi".to_owned(),
            role,
            scopes: role.scopes(),
            minutes: 30,
            issued_at_s: now.at.as_second(),
            pin: PinVerifier::new(PIN).unwrap(),
        }
    }

    fn token(&self, challenge: &str, role: Role, now: Moment) -> String {
        Self::grant(challenge, role, now)
            .sign(&self.operator)
            .unwrap()
    }
}

impl Stand {
    fn take(&mut self, work: Work, now: Moment) -> Found {
        self.bench.take(ANSWER, work, now)
    }

    fn challenge(&mut self, now: Moment) -> (String, u32) {
        let found = self.take(Work::Challenge, now);
        let Found::Challenge { text, wait_s } = found else {
            panic!("no challenge: {found:?}");
        };
        (text, wait_s)
    }

    fn unlock(&mut self, text: &str, now: Moment) -> Found {
        let text = Sensitive::new(text.to_owned());
        self.take(Work::Unlock { text }, now)
    }

    fn pin(&mut self, pin: &str, now: Moment) -> Found {
        let pin = Sensitive::new(pin.to_owned());
        self.take(Work::Pin { pin }, now)
    }

    fn come_in(&mut self, place: &Place, role: Role, now: Moment) -> Permission {
        let (challenge, _) = self.challenge(now);
        let found = self.unlock(&place.token(&challenge, role, now), now);
        assert!(matches!(found, Found::NeedsPin { .. }), "{found:?}");
        let Found::Unlocked(permission) = self.pin(PIN, now) else {
            panic!("not unlocked");
        };
        permission
    }

    fn show(&mut self, topic: Topic, now: Moment) -> Facts {
        let lang = Lang::ZhHans;
        let found = self.take(Work::Show { topic, lang }, now);
        let Found::Facts(facts) = found else {
            panic!("no facts: {found:?}");
        };
        *facts
    }

    /// Does an act; whether it was done, and the words.
    fn act(&mut self, act: Act, now: Moment) -> (bool, String) {
        let lang = Lang::ZhHans;
        let found = self.take(Work::Act { act, lang }, now);
        if let Found::Said { words, is_done } = found {
            return (is_done, words);
        }
        if let Found::Recorded { words, .. } = found {
            return (true, words);
        }
        if let Found::Refused { code, .. } = found {
            return (false, code.to_owned());
        }
        assert!(matches!(found, Found::Report { .. }), "{found:?}");
        (true, String::new())
    }

    /// Details of every entry of a kind.
    fn audited(&self, kind: &str) -> Vec<(String, String)> {
        let entries = self.bench.cache.audit_entries(0, 1000).unwrap();
        let of_kind = entries.into_iter().filter(|(entry, _)| entry.kind == kind);
        of_kind
            .map(|(entry, _)| (entry.actor, entry.detail))
            .collect()
    }
}

fn refusal(found: &Found) -> (&'static str, u32) {
    let Found::Refused { code, wait_s } = found else {
        panic!("not refused: {found:?}");
    };
    (code, *wait_s)
}

fn printer_outcome(verdict: Verdict, problem: &str) -> Act {
    Act::Record(Box::new(Outcome {
        test: "slip-printer.pattern".to_owned(),
        device: "slips".to_owned(),
        verdict,
        figures: BTreeMap::from([("dots".to_owned(), "576".to_owned())]),
        problem: problem.to_owned(),
        took_ms: 900,
    }))
}

fn everything(facts: &Facts) -> String {
    format!("{facts:?}")
}

#[test]
fn a_signed_permission_and_its_pin_open_once_and_everything_is_on_record_by_name() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let (challenge, wait_s) = stand.challenge(at(1));
    assert_eq!(wait_s, 0);
    let token = place.token(&challenge, Role::Technician, at(1));
    let found = stand.unlock(&token, at(2));
    assert!(matches!(&found, Found::NeedsPin { person, .. } if person == "tech.ce-shi"));
    let Found::Unlocked(permission) = stand.pin(PIN, at(3)) else {
        panic!("not unlocked");
    };
    assert_eq!(permission.scopes, Role::Technician.scopes());
    // The same text opens nothing a second time, with or without a new challenge.
    assert_eq!(
        refusal(&stand.unlock(&token, at(4))).0,
        "unlock.no-challenge"
    );
    stand.challenge(at(5));
    assert_eq!(
        refusal(&stand.unlock(&token, at(6))).0,
        "unlock.not-this-challenge"
    );
    stand.take(Work::Ended { why: "left" }, at(7));
    let granted = stand.audited("staff.unlock.granted");
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].0, "tech.ce-shi");
    assert!(granted[0].1.contains("technician"), "{granted:?}");
    assert_eq!(stand.audited("staff.unlock.ended")[0].0, "tech.ce-shi");
    assert_eq!(stand.audited("staff.unlock.refused").len(), 2);
    let entries = stand.bench.cache.audit_entries(0, 1000).unwrap();
    let log = format!("{entries:?}");
    assert!(!log.contains(PIN) && !log.contains(&token), "{log}");
}

#[test]
fn a_challenge_is_counted_before_it_is_shown_and_never_comes_again() {
    let place = Place::new();
    let mut seen = BTreeSet::new();
    for boot in 1..=3 {
        let mut stand = place.start(at(0));
        for second in [1, 601] {
            let (text, _) = stand.challenge(at(second));
            let challenge = Challenge::parse(&text).unwrap();
            let guard = stand.bench.cache.unlock_guard().unwrap();
            assert_eq!((challenge.boot, challenge.counter), (boot, guard.counter));
            assert!(seen.insert((challenge.boot, challenge.counter, challenge.nonce)));
        }
    }
    assert_eq!(seen.len(), 6);
}

#[test]
fn a_finger_that_opens_the_page_all_day_fills_no_log_and_takes_no_challenge_away() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let (first, _) = stand.challenge(at(1));
    for second in 2..=600 {
        stand.take(Work::Ended { why: "left" }, at(second));
        assert_eq!(stand.challenge(at(second)).0, first);
    }
    assert_eq!(stand.audited("staff.unlock.asked").len(), 1);
    let (second, _) = stand.challenge(at(601));
    assert_ne!(second, first, "it does not live for ever");
    let asked = stand.audited("staff.unlock.asked");
    assert_eq!(asked.len(), 2);
    assert!(asked[1].1.contains("\"times_asked\":600"), "{asked:?}");
    // The one that is shown again is good, once.
    stand.take(Work::Ended { why: "idle" }, at(700));
    assert_eq!(stand.challenge(at(701)).0, second);
    let token = place.token(&second, Role::Technician, at(701));
    let found = stand.unlock(&token, at(702));
    assert!(matches!(found, Found::NeedsPin { .. }), "{found:?}");
    assert!(matches!(stand.pin(PIN, at(703)), Found::Unlocked(_)));
    stand.take(Work::Ended { why: "left" }, at(704));
    assert_ne!(stand.challenge(at(705)).0, second);
    assert_eq!(
        refusal(&stand.unlock(&token, at(706))).0,
        "unlock.not-this-challenge"
    );
}

#[test]
fn a_level_that_was_changed_on_the_glass_ends_with_the_mode_and_a_kept_one_comes_back() {
    let place = Place {
        more: "[[device]]\nid = \"slips\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\n\
               port = \"tcp:127.0.0.1:1\"\n"
            .to_owned(),
        ..Place::new()
    };
    let log = Log::changeable();
    let mut stand = place.start(at(0));
    stand.bench.levels = Levels::new(log.clone());
    stand.come_in(&place, Role::Technician, at(1));
    let level = |keep_h| Act::Level {
        device: "slips".to_owned(),
        level: Some("debug"),
        keep_h,
    };
    assert!(stand.act(level(0), at(2)).0);
    assert_eq!(log.level_of("slips"), Some("debug"));
    // The permission runs out by itself: that is an end too.
    stand.bench.turn(at(2 + 30 * 60));
    assert_eq!(log.level_of("slips"), None);
    stand.come_in(&place, Role::Technician, at(2000));
    assert!(stand.act(level(4), at(2001)).0);
    stand.take(Work::Ended { why: "left" }, at(2002));
    assert_eq!(log.level_of("slips"), Some("debug"));
    let done = stand.audited("staff.act.done");
    assert!(done[1].1.contains("slips debug 4 h"), "{done:?}");
    drop(stand);
    for (second, expected) in [(3000, Some("debug")), (2001 + 4 * 3600, None)] {
        let log = Log::changeable();
        let mut stand = place.start(at(second));
        stand.bench.levels = Levels::new(log.clone());
        let Bench { levels, cache, .. } = &mut stand.bench;
        levels
            .restore(cache, |id| id == "slips", at(second))
            .unwrap();
        assert_eq!(log.level_of("slips"), expected);
    }
}

#[test]
fn a_checklist_and_the_numbers_of_the_day_become_slips_of_no_case() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::VillageStaff, at(1));
    let (is_done, words) = stand.act(Act::PrintCheck, at(2));
    assert!(!is_done && words.contains("staff.no-check"), "{words}");
    let answers = vec![("paper".to_owned(), true), ("glass".to_owned(), false)];
    let kind = "close";
    assert!(stand.act(Act::Daily { kind, answers }, at(3)).0);
    for act in [Act::PrintCheck, Act::PrintDay] {
        assert!(stand.act(act, at(4)).0);
        let input = stand.inputs.recv_timeout(Duration::from_secs(5)).unwrap();
        let Input::StaffSlip(ticket, bits) = input else {
            panic!("{input:?}");
        };
        assert_eq!((ticket, bits.width_dots), (ANSWER, 576));
        // Some lines of text, and not a meter of paper.
        let rows = bits.rows.len() / 72;
        assert!((300..1600).contains(&rows), "{rows}");
        assert!(bits.rows.iter().any(|byte| *byte != 0));
    }
    let done = stand.audited("staff.act.done");
    assert!(
        done[1].1.contains("print-check") && done[2].1.contains("print-day"),
        "{done:?}"
    );
}

#[test]
fn paper_of_tests_and_of_the_staff_counts_as_used() {
    let place = Place {
        more: "[[device]]\nid = \"slips\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\n\
               port = \"tcp:127.0.0.1:1\"\n\
               [[device]]\nid = \"pages\"\nclass = \"page-printer\"\ndriver = \"ipp\"\n\
               port = \"ipp://127.0.0.1:1/ipp\"\n"
            .to_owned(),
        ..Place::new()
    };
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::VillageStaff, at(1));
    let used = |stand: &mut Stand| {
        let count = |device: &str, what: &str, count| DiaryCount {
            device: device.to_owned(),
            day: at(0).date(),
            what: what.to_owned(),
            count,
        };
        let counts = [
            count("slips", "made:slips", 10),
            count("slips", "made:test-slips", 3),
            count("slips", "made:staff-slips", 2),
            count("pages", "made:pages", 20),
            count("pages", "made:test-pages", 1),
            count("pages", "made:cards", 50),
        ];
        stand.bench.cache.diary_add(&counts).unwrap();
    };
    // What was used before the filling is not of this roll.
    used(&mut stand);
    for device in ["slips", "pages"] {
        let replenish = Act::Replenish {
            device: device.to_owned(),
            what: "paper".to_owned(),
        };
        assert!(stand.act(replenish, at(2)).0);
    }
    used(&mut stand);
    let page = stand.show(Topic::Consumables, at(3));
    let values: Vec<&str> = page.sections[0]
        .rows
        .iter()
        .map(|row| row.value.as_str())
        .collect();
    assert_eq!(values, ["还剩约 385，已用 15", "还剩约 479，已用 21"]);
}

#[test]
fn wrong_pins_use_a_permission_up_and_then_the_terminal_waits() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let (challenge, _) = stand.challenge(at(1));
    stand.unlock(&place.token(&challenge, Role::Technician, at(1)), at(1));
    assert_eq!(refusal(&stand.pin("000000", at(2))).0, "unlock.wrong-pin");
    assert_eq!(refusal(&stand.pin("111111", at(3))).0, "unlock.wrong-pin");
    assert_eq!(
        refusal(&stand.pin("222222", at(4))).0,
        "unlock.pins-used-up"
    );
    assert_eq!(refusal(&stand.pin(PIN, at(5))).0, "unlock.no-challenge");
    let (challenge, _) = stand.challenge(at(6));
    stand.unlock(&place.token(&challenge, Role::Technician, at(6)), at(6));
    assert_eq!(
        refusal(&stand.pin("333333", at(7))),
        ("unlock.wrong-pin", 0)
    );
    assert_eq!(
        refusal(&stand.pin("444444", at(8))),
        ("unlock.wrong-pin", 60)
    );
    // While it waits, not even the right one counts.
    let (challenge, wait_s) = stand.challenge(at(18));
    assert_eq!(wait_s, 50);
    let token = place.token(&challenge, Role::Technician, at(18));
    assert_eq!(refusal(&stand.unlock(&token, at(19))).0, "unlock.wait");
    // Afterwards it does, and the count begins anew.
    let found = stand.unlock(&token, at(70));
    assert!(matches!(found, Found::NeedsPin { .. }), "{found:?}");
    assert!(matches!(stand.pin(PIN, at(71)), Found::Unlocked(_)));
    assert_eq!(stand.bench.cache.unlock_guard().unwrap().failures, 0);
}

#[test]
fn a_wait_survives_power_cuts_and_a_clock_that_jumps() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    // The fifth refusal and each further one, when the wait of the last is over.
    for (second, expected) in [
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 60),
        (60, 300),
        (360, 900),
    ] {
        let (challenge, _) = stand.challenge(at(second));
        let grant = Place::grant(&challenge, Role::Technician, at(second));
        let found = stand.unlock(&grant.sign(&stranger).unwrap(), at(second));
        assert_eq!(refusal(&found), ("unlock.unknown-signer", expected));
    }
    drop(stand);
    // The wall clock is a year ahead after the power came back; running time counts alone.
    let ahead = |uptime_s: u64| Moment {
        at: at(365 * 24 * 3600).at,
        uptime: Duration::from_secs(uptime_s),
    };
    let mut stand = place.start(ahead(0));
    assert_eq!(stand.challenge(ahead(1)).1, 15 * 60 - 1);
    for minute in 1..=10 {
        stand.bench.turn(ahead(minute * 60));
    }
    drop(stand);
    let mut stand = place.start(ahead(0));
    let (_, wait_s) = stand.challenge(ahead(0));
    assert!((5 * 60..=6 * 60).contains(&wait_s), "{wait_s}");
}

#[test]
fn forgeries_and_mistakes_are_told_apart_and_open_nothing() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    let mut check = |text: &dyn Fn(&str) -> String, expected: &str| {
        let (challenge, _) = stand.challenge(at(1));
        let found = stand.unlock(&text(&challenge), at(1));
        assert_eq!(refusal(&found).0, expected);
    };
    check(&|_| "https://example.org/".to_owned(), "unlock.malformed");
    check(&|_| "KU1:".repeat(2000), "unlock.too-long");
    check(
        &|challenge| {
            let token = place.token(challenge, Role::Technician, at(1));
            token[..token.len() / 2].to_owned()
        },
        "unlock.malformed",
    );
    check(
        &|challenge| {
            let mut grant = Place::grant(challenge, Role::Technician, at(1));
            grant.terminal = "T002".to_owned();
            grant.sign(&place.operator).unwrap()
        },
        "unlock.other-terminal",
    );
    check(
        &|challenge| {
            let mut grant = Place::grant(challenge, Role::Technician, at(1));
            grant.nonce = [9; 16];
            grant.sign(&place.operator).unwrap()
        },
        "unlock.not-this-challenge",
    );
    check(
        &|challenge| {
            let grant = Place::grant(challenge, Role::Technician, at(1));
            grant.sign(&stranger).unwrap()
        },
        "unlock.unknown-signer",
    );
    check(
        &|challenge| {
            let mut grant = Place::grant(challenge, Role::Technician, at(1));
            grant.issued_at_s -= 3 * 24 * 3600;
            grant.sign(&place.operator).unwrap()
        },
        "unlock.expired",
    );
    assert!(stand.bench.inside().is_none());
}

#[test]
fn a_clock_that_stands_in_1970_or_far_ahead_keeps_nobody_out() {
    for wrong_s in [0, 40 * 365 * 24 * 3600_i64] {
        let place = Place::new();
        let now = Moment {
            at: Timestamp::from_second(if wrong_s == 0 { 7 } else { START_S + wrong_s }).unwrap(),
            uptime: Duration::from_secs(5),
        };
        let mut stand = place.start(now);
        let (challenge, _) = stand.challenge(now);
        let found = stand.unlock(&place.token(&challenge, Role::Technician, at(0)), now);
        assert!(
            matches!(found, Found::NeedsPin { .. }),
            "{wrong_s}: {found:?}"
        );
        assert!(matches!(stand.pin(PIN, now), Found::Unlocked(_)));
        let page = everything(&stand.show(Topic::Machine, now));
        assert!(page.contains("校准时间"), "{page}");
    }
}

#[test]
fn without_an_operators_key_nobody_comes_in() {
    let place = Place::new();
    let text = fs::read_to_string({
        place.config();
        place.path("kiosk.toml")
    });
    let text = text.unwrap();
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("unlock_keys"))
        .collect();
    let without = without.join("\n");
    fs::write(place.path("kiosk.toml"), without).unwrap();
    let mut stand = place.start(at(0));
    let found = stand.take(Work::Challenge, at(1));
    assert_eq!(refusal(&found).0, "unlock.not-configured");
}

#[test]
fn a_permission_comes_from_a_stick_whatever_else_is_on_it() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let (challenge, _) = stand.challenge(at(1));
    let found = stand.take(Work::UnlockFromStick, at(1));
    assert_eq!(refusal(&found).0, "unlock.not-on-stick", "no stick at all");
    let stick = place.stick();
    let found = stand.take(Work::UnlockFromStick, at(1));
    assert_eq!(refusal(&found).0, "unlock.not-on-stick", "an empty stick");
    for index in 0..2000 {
        fs::write(stick.join(format!("photo-{index}.jpg")), b"").unwrap();
    }
    let mut other = Place::grant(&challenge, Role::Technician, at(1));
    other.nonce = [1; 16];
    let other = other.sign(&place.operator).unwrap();
    fs::write(stick.join("a.kiosk-unlock"), other).unwrap();
    fs::write(stick.join("b.kiosk-unlock"), vec![b'x'; 5000]).unwrap();
    fs::write(stick.join("c.kiosk-unlock"), [0xFF, 0xFE]).unwrap();
    let token = place.token(&challenge, Role::VillageStaff, at(1));
    fs::write(stick.join("d.kiosk-unlock"), format!("\u{FEFF}{token}\r\n")).unwrap();
    let found = stand.take(Work::UnlockFromStick, at(2));
    assert!(matches!(found, Found::NeedsPin { .. }), "{found:?}");
    assert!(matches!(stand.pin(PIN, at(3)), Found::Unlocked(_)));
}

#[test]
fn before_the_unlocking_and_beyond_its_scopes_nothing_is_shown_or_done() {
    let place = Place::new();
    place.stick();
    let mut stand = place.start(at(0));
    let lang = Lang::ZhHans;
    let show = |topic| Work::Show { topic, lang };
    for topic in [
        Topic::Devices,
        Topic::Queue,
        Topic::Evidence,
        Topic::Machine,
    ] {
        let found = stand.take(show(topic.clone()), at(1));
        assert_eq!(refusal(&found).0, "workbench.not-allowed", "{topic:?}");
    }
    let act = || Act::ExportEvidence(place.stick());
    assert_eq!(stand.act(act(), at(1)).1, "workbench.not-allowed");
    stand.come_in(&place, Role::VillageStaff, at(2));
    stand.show(Topic::Devices, at(3));
    let found = stand.take(show(Topic::Queue), at(3));
    assert_eq!(refusal(&found).0, "workbench.not-allowed");
    assert_eq!(stand.act(act(), at(3)).1, "workbench.not-allowed");
    assert_eq!(fs::read_dir(place.stick()).unwrap().count(), 0);
    // The permission runs out by itself, whatever the pages believe.
    let found = stand.take(show(Topic::Devices), at(3 + 30 * 60));
    assert_eq!(refusal(&found).0, "workbench.not-allowed");
    assert!(stand.audited("staff.unlock.ended")[0].1.contains("expired"));
}

#[test]
fn every_page_is_filled_in_every_language_and_holds_nothing_secret() {
    let place = Place {
        more: "[[device]]\nid = \"slips\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\n\
               port = \"tcp:127.0.0.1:1\"\n"
            .to_owned(),
        ..Place::new()
    };
    place.stick();
    let mut stand = place.start(at(0));
    let permission = stand.come_in(&place, Role::Technician, at(1));
    assert!(permission.scopes.contains(&Scope::Evidence));
    stand.act(
        printer_outcome(Verdict::Failed, "printer.cover-open"),
        at(2),
    );
    let ticket = stand.bench.cache.tickets(true, 10).unwrap()[0].id;
    let topics = [
        Topic::Devices,
        Topic::Device("slips".to_owned()),
        Topic::Device("absent".to_owned()),
        Topic::Tests,
        Topic::Tickets,
        Topic::Ticket(ticket),
        Topic::Ticket(Uuid::nil()),
        Topic::Consumables,
        Topic::Daily,
        Topic::Queue,
        Topic::DeadLetter(Uuid::nil()),
        Topic::Network,
        Topic::Configuration,
        Topic::Evidence,
        Topic::Machine,
        Topic::Calibration,
        Topic::Sticks,
        Topic::Monitor("slips".to_owned()),
        Topic::Monitor("absent".to_owned()),
        Topic::Log { errors_only: true },
        Topic::Log { errors_only: false },
        Topic::Readiness,
    ];
    for topic in topics {
        for lang in Lang::ALL {
            let work = Work::Show {
                topic: topic.clone(),
                lang,
            };
            let Found::Facts(facts) = stand.take(work, at(3)) else {
                panic!("{topic:?} is not shown");
            };
            let is_filled =
                !facts.sections.is_empty() || !facts.warning.is_empty() || !facts.intro.is_empty();
            assert!(is_filled, "{topic:?} is empty");
            for section in &facts.sections {
                for row in section.rows.iter().filter(|row| !row.id.is_empty()) {
                    let id = crate::session::staff::ids::Id::parse(&row.id);
                    assert!(id.is_some(), "{topic:?} has a row {:?}", row.id);
                }
            }
            for choice in &facts.acts {
                let id = crate::session::staff::ids::Id::parse(&choice.id);
                assert!(id.is_some(), "{topic:?} has an act {:?}", choice.id);
            }
        }
    }
}

#[test]
fn a_device_that_is_not_there_has_its_words_its_picture_and_who_acts() {
    let place = Place {
        more: "[[device]]\nid = \"slips\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\n\
               port = \"/dev/absent-printer\"\n"
            .to_owned(),
        ..Place::new()
    };
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    let deadline = crate::clock::now().uptime + Duration::from_secs(30);
    // The supervisor reports by the channel; no other wait is needed.
    while stand.bench.roster.vitals()[0].faults.is_empty() {
        let left = deadline.saturating_sub(crate::clock::now().uptime);
        assert!(!left.is_zero(), "no fault was reported");
        drop(
            stand
                .inputs
                .recv_timeout(left.min(Duration::from_millis(100))),
        );
    }
    let page = stand.show(Topic::Device("slips".to_owned()), at(2));
    assert!(!page.warning.is_empty() && !page.intro.is_empty() && !page.drawing.is_empty());
    let acts: Vec<&str> = page.acts.iter().map(|act| act.id.as_str()).collect();
    assert!(acts.contains(&"act:retry:slips"), "{acts:?}");
    let rows: Vec<String> = page
        .sections
        .iter()
        .flat_map(|section| &section.rows)
        .map(|row| row.id.clone())
        .collect();
    assert!(
        rows.contains(&"test:slip-printer.pattern:slips".to_owned()),
        "{rows:?}"
    );
    // It lasts: a ticket is opened by itself.
    for second in (2..=400).step_by(15) {
        stand.bench.turn(at(second));
    }
    assert_eq!(stand.bench.cache.tickets(true, 10).unwrap().len(), 1);
    let (is_done, _) = stand.act(
        Act::Retry {
            device: "slips".to_owned(),
        },
        at(401),
    );
    assert!(is_done);
    // It has no relay that could take its power away.
    let reset = Act::Climb {
        device: "slips".to_owned(),
        rung: "power-cycle",
    };
    assert!(!stand.act(reset, at(402)).0);
}

#[test]
fn a_ticket_goes_from_the_failed_test_to_the_passed_one_by_the_hands_of_a_person() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    let (is_done, words) = stand.act(
        printer_outcome(Verdict::Failed, "printer.cover-open"),
        at(2),
    );
    assert!(is_done && words.contains("T001-"), "{words}");
    let id = stand.bench.cache.tickets(true, 10).unwrap()[0].id;
    assert!(!stand.act(Act::Close(id), at(3)).0, "not mended yet");
    assert!(stand.act(Act::Acknowledge(id), at(4)).0);
    let what = "打印头".to_owned();
    assert!(stand.act(Act::Replace { ticket: id, what }, at(5)).0);
    let (_, words) = stand.act(printer_outcome(Verdict::Passed, ""), at(6));
    assert!(words.contains("修好"), "{words}");
    assert!(stand.act(Act::Close(id), at(7)).0);
    let ticket = stand.bench.cache.ticket(id).unwrap();
    assert_eq!(ticket.state, TicketState::Closed);
    assert_eq!((ticket.by.as_str(), ticket.parts.len()), ("tech.ce-shi", 1));
    assert!(ticket.before.is_some() && ticket.after.is_some());
}

#[test]
fn acts_of_the_day_are_kept_with_their_person() {
    let place = Place {
        more: "[[device]]\nid = \"slips\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\n\
               port = \"tcp:127.0.0.1:1\"\n"
            .to_owned(),
        ..Place::new()
    };
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    let answers = vec![("paper".to_owned(), true), ("lens".to_owned(), false)];
    let daily = Act::Daily {
        kind: "open",
        answers,
    };
    assert!(stand.act(daily, at(2)).0);
    let replenish = Act::Replenish {
        device: "slips".to_owned(),
        what: "paper".to_owned(),
    };
    assert!(stand.act(replenish, at(3)).0);
    let calibrate = Act::Calibrate {
        what: "print-offset",
        values: "{\"right-tenth-mm\":-15,\"down-tenth-mm\":20}".to_owned(),
    };
    assert!(stand.act(calibrate, at(4)).0);
    let checks = stand.bench.cache.daily_checks(10).unwrap();
    assert_eq!(checks[0].by, "tech.ce-shi");
    let consumables = stand.bench.cache.consumables().unwrap();
    assert_eq!(
        (consumables[0].what.as_str(), consumables[0].used_since),
        ("made:slips", 0)
    );
    let page = everything(&stand.show(Topic::Consumables, at(5)));
    assert!(page.contains("400"), "{page}");
    let page = everything(&stand.show(Topic::Daily, at(5)));
    assert!(page.contains("1 项有问题"), "{page}");
    let absent = Act::Retry {
        device: "absent".to_owned(),
    };
    assert!(!stand.act(absent, at(6)).0);
    assert!(
        stand.audited("staff.act.done")[0]
            .1
            .contains("device.not-there")
    );
}

#[test]
fn the_report_binds_what_is_saved_beside_it_and_a_forged_one_is_found_out() {
    let place = Place::new();
    let stick = place.stick();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    let (is_done, _) = stand.act(Act::SaveReport(stick.clone()), at(2));
    assert!(!is_done, "there is none yet");
    let passed = Act::Record(Box::new(Outcome {
        test: "machine.disk".to_owned(),
        device: String::new(),
        verdict: Verdict::Passed,
        figures: BTreeMap::new(),
        problem: String::new(),
        took_ms: 5,
    }));
    stand.act(passed, at(3));
    let work = Work::Act {
        act: Act::MakeReport,
        lang: Lang::ZhHans,
    };
    let Found::Report { pages, certificate } = stand.take(work, at(4)) else {
        panic!("no report");
    };
    assert!(!pages.is_empty() && pages[0].width == 840);
    assert!(stand.act(Act::SaveReport(stick.clone()), at(5)).0);
    let saved = only_directory(&stick);
    let json = fs::read(saved.join("readiness.json")).unwrap();
    assert!(
        fs::read(saved.join("readiness.pdf"))
            .unwrap()
            .starts_with(b"%PDF")
    );
    assert_eq!(
        fs::read_to_string(saved.join("certificate.txt")).unwrap(),
        certificate
    );
    let public = stand.bench.key.public();
    let find = |_: &str, _: &str| Some(public.clone());
    let readiness = certificate::verify(&certificate, find, START_S + 10).unwrap();
    assert!(readiness.is_ready);
    assert_eq!((readiness.passed, readiness.failed), (1, 0));
    assert_eq!(readiness.report_digest, sha256(&json));
    assert_eq!(hex(&readiness.program_digest), stand.bench.program_digest());
    let day_later = certificate::verify(&certificate, find, START_S + 25 * 3600);
    assert!(day_later.is_err());
    // A failed test: the next report is not ready, and the old certificate does not become it.
    stand.act(
        printer_outcome(Verdict::Failed, "printer.cover-open"),
        at(6),
    );
    let work = Work::Act {
        act: Act::MakeReport,
        lang: Lang::En,
    };
    let Found::Report {
        certificate: second,
        ..
    } = stand.take(work, at(7))
    else {
        panic!("no report");
    };
    assert_ne!(certificate, second);
}

fn only_directory(stick: &Path) -> std::path::PathBuf {
    let mut entries: Vec<_> = fs::read_dir(stick)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

#[test]
fn a_report_is_printed_by_the_loop_under_the_ticket_of_who_asked() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Inspector, at(1));
    assert!(!stand.act(Act::PrintReport, at(2)).0, "there is none yet");
    stand.act(Act::MakeReport, at(3));
    assert!(stand.act(Act::PrintReport, at(4)).0);
    let input = stand.inputs.recv_timeout(Duration::from_secs(5)).unwrap();
    let Input::PrintReport(ticket, pdf, pages) = input else {
        panic!("{input:?}");
    };
    assert!(ticket == ANSWER && pages > 0);
    assert!(pdf.expose().starts_with(b"%PDF"));
    stand.take(Work::Ended { why: "left" }, at(5));
    stand.come_in(&place, Role::Inspector, at(6));
    assert!(
        !stand.act(Act::PrintReport, at(7)).0,
        "that of another visit is gone"
    );
}

#[test]
fn evidence_and_log_go_onto_a_stick_whole_or_not_at_all() {
    let place = Place::new();
    let stick = place.stick();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Inspector, at(1));
    assert!(stand.act(Act::ExportEvidence(stick.clone()), at(2)).0);
    let made = only_directory(&stick);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(made.join("evidence.json")).unwrap()).unwrap();
    assert_eq!(json["terminal"], "T001");
    assert_eq!(json["accounts"]["tech.ce-shi"]["role"], "inspector");
    assert_eq!(json["log"]["findings"], serde_json::json!([]));
    assert_eq!(json["baseline"].as_array().unwrap().len(), 26);
    let key_id = stand.bench.key.public().key_id();
    assert_eq!(json["keys"][0]["key_id"], key_id);
    let text = fs::read_to_string(made.join("evidence.txt")).unwrap();
    assert!(
        text.contains("基线检查") && text.contains(&key_id),
        "{text}"
    );
    let log = Act::ExportLog {
        stick: stick.clone(),
        errors_only: false,
    };
    assert!(stand.act(log, at(3)).0);
    // Another place than a stick is never written to, and one that was pulled is told.
    let elsewhere = place.path("state");
    let (is_done, words) = stand.act(Act::ExportEvidence(elsewhere), at(4));
    assert!(!is_done && words.contains("stick.gone"), "{words}");
    fs::remove_dir_all(&stick).unwrap();
    let (is_done, words) = stand.act(Act::ExportEvidence(stick), at(5));
    assert!(!is_done && words.contains("stick.gone"), "{words}");
}

#[test]
fn an_export_of_errors_holds_warnings_and_errors_says_so_and_names_nobody() {
    crate::logging::open();
    let place = Place::new();
    let stick = place.stick();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Inspector, at(1));
    tracing::info!("a quiet line that speaks of an ERROR and of a WARN here");
    tracing::warn!("a printer without paper");
    tracing::error!("a leak: 11010519491231002X and 13800138000");
    let errors_only = true;
    let page = stand.show(Topic::Log { errors_only }, at(2));
    let rows = &page.sections[0].rows;
    assert!(
        rows.iter()
            .all(|row| matches!(row.mark, Mark::Bad | Mark::Caution))
    );
    assert!(
        page.acts
            .iter()
            .any(|act| act.id == "act:export-log-errors")
    );
    let log = Act::ExportLog {
        stick: stick.clone(),
        errors_only,
    };
    assert!(stand.act(log, at(3)).0);
    let file = fs::read_dir(&stick)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert!(file.to_string_lossy().ends_with("-errors.txt"), "{file:?}");
    let text = fs::read_to_string(&file).unwrap();
    let (head, lines) = text.split_once('\n').unwrap();
    assert!(head.starts_with("# 终端 T001") && head.contains("警告（WARN）和错误（ERROR）"));
    assert!(lines.contains("a printer without paper") && lines.contains("a leak: "));
    let of_level = |line: &str| line.contains(" WARN ") || line.contains(" ERROR ");
    assert!(
        lines.lines().all(of_level) && !lines.contains("a quiet line"),
        "{lines}"
    );
    assert!(
        !lines.contains("110105") && !lines.contains("13800138000"),
        "{lines}"
    );
}

#[test]
fn an_empty_queue_writes_nothing_and_a_stick_without_receipts_is_told() {
    let place = Place::new();
    let stick = place.stick();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    assert!(stand.act(Act::ExportQueue(stick.clone()), at(2)).0);
    assert_eq!(fs::read_dir(&stick).unwrap().count(), 0);
    let (is_done, words) = stand.act(Act::ImportReceipts(stick.clone()), at(3));
    assert!(!is_done && words.contains("stick.no-receipts"), "{words}");
    fs::write(stick.join("receipts-x.txt"), b"rubbish").unwrap();
    assert!(!stand.act(Act::ImportReceipts(stick), at(4)).0);
}

#[test]
fn what_changed_since_the_installation_is_told_without_secrets() {
    let place = Place::new();
    drop(place.start(at(0)));
    let path = place.path("kiosk.toml");
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replace("http://127.0.0.1:1", "http://me:hunter2@127.0.0.1:2");
    fs::write(&path, changed).unwrap();
    let mut stand = place.start(at(60));
    stand.come_in(&place, Role::Inspector, at(61));
    let page = everything(&stand.show(Topic::Configuration, at(62)));
    assert!(
        page.contains("platform.url") && page.contains("127.0.0.1:2"),
        "{page}"
    );
    assert!(!page.contains("hunter2"), "{page}");
}

#[test]
fn a_recording_ends_with_the_visit_and_goes_onto_the_stick() {
    let place = Place {
        more: "[[device]]\nid = \"slips\"\nclass = \"slip-printer\"\ndriver = \"escpos\"\n\
               port = \"tcp:127.0.0.1:1\"\n"
            .to_owned(),
        ..Place::new()
    };
    let stick = place.stick();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    let recording = |is_on| Act::Recording {
        device: "slips".to_owned(),
        is_on,
    };
    assert!(stand.act(recording(true), at(2)).0);
    assert!(stand.act(recording(false), at(3)).0);
    let files: Vec<String> = fs::read_dir(&stick)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        files.len() == 1 && files[0].ends_with(".recording"),
        "{files:?}"
    );
    assert!(stand.act(recording(true), at(4)).0);
    stand.take(Work::Ended { why: "idle" }, at(5));
    assert!(
        stand.bench.roster.stop_recording("slips").is_err(),
        "it has ended"
    );
}

#[test]
fn when_nobody_is_inside_no_page_is_filled_and_nothing_is_done() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    stand.take(Work::Ended { why: "left" }, at(2));
    let show = Work::Show {
        topic: Topic::Readiness,
        lang: Lang::ZhHans,
    };
    let act = Work::Act {
        act: Act::MakeReport,
        lang: Lang::ZhHans,
    };
    for work in [show, act] {
        let found = stand.take(work, at(3));
        assert_eq!(refusal(&found).0, "workbench.not-allowed");
    }
}

#[test]
fn the_thread_answers_each_ask_under_its_ticket_and_shows_what_the_loop_has_heard() {
    let place = Place::new();
    let (parts, inputs, _hub) = place.parts(crate::clock::now());
    let workbench = Workbench::start(parts).unwrap();
    let heard = |event| workbench.hear(&event);
    heard(Event::Link(true));
    heard(Event::Upstream {
        name: "civil-affairs".to_owned(),
        is_up: false,
    });
    let answer = |number: u64, work: Work| -> Found {
        workbench.ask(Ticket(number), Box::new(work)).unwrap();
        let input = inputs.recv_timeout(Duration::from_secs(30)).unwrap();
        let Input::Event(Event::Staff(ticket, found)) = input else {
            panic!("{input:?}");
        };
        assert_eq!(ticket, Ticket(number));
        *found
    };
    let Found::Challenge { text, .. } = answer(1, Work::Challenge) else {
        panic!("no challenge");
    };
    let token = place.token(&text, Role::Technician, crate::clock::now());
    let text = Sensitive::new(token);
    assert!(matches!(
        answer(2, Work::Unlock { text }),
        Found::NeedsPin { .. }
    ));
    let pin = Sensitive::new(PIN.to_owned());
    assert!(matches!(answer(3, Work::Pin { pin }), Found::Unlocked(_)));
    let show = Work::Show {
        topic: Topic::Network,
        lang: Lang::ZhHans,
    };
    let Found::Facts(facts) = answer(4, show) else {
        panic!("no facts");
    };
    let rows = &facts.sections[0].rows;
    assert!(rows[0].mark == Mark::Good, "{rows:?}");
    let upstream = rows.iter().find(|row| row.label == "civil-affairs");
    assert!(
        upstream.is_some_and(|row| row.mark == Mark::Bad),
        "{rows:?}"
    );
}

/// A list by which an operator revokes this person.
fn list(number: u32, person: &str, operator: &DeviceKey) -> String {
    let list = Revocations {
        number,
        issued_at_s: START_S,
        people: BTreeSet::from([RevokedId::of_person(person)]),
        ..Revocations::default()
    };
    list.sign(operator).unwrap()
}

impl Stand {
    /// The number of the list that a challenge tells, and what a good permission gets.
    fn try_out(&mut self, place: &Place, now: Moment) -> (u32, Found) {
        let (challenge, _) = self.challenge(now);
        let (_, number) = Challenge::parse_with_list(&challenge).unwrap();
        let token = place.token(&challenge, Role::Technician, now);
        (number, self.unlock(&token, now))
    }
}

#[test]
fn whoever_was_called_back_by_the_configuration_opens_nothing_and_is_on_record() {
    let mut place = Place::new();
    let text = list(7, "tech.ce-shi", &place.operator);
    place.more = format!("revocations = \"{text}\"\n");
    let mut stand = place.start(at(0));
    let (number, found) = stand.try_out(&place, at(1));
    assert_eq!(number, 7);
    assert_eq!(refusal(&found).0, "unlock.revoked");
    assert!(stand.bench.inside().is_none());
    let refused = stand.audited("staff.unlock.refused");
    assert!(refused[0].1.contains("unlock.revoked"), "{refused:?}");
    let taken = stand.audited("staff.revocations.taken");
    assert!(taken[0].1.contains("configuration"), "{taken:?}");
    // It is a guess too: nobody honest comes with it again and again.
    for second in 2..=4 {
        stand.try_out(&place, at(second));
    }
    assert_eq!(
        refusal(&stand.try_out(&place, at(5)).1),
        ("unlock.revoked", 60)
    );
    drop(stand);
    // The list outlives its line in the configuration, and an older one there changes nothing.
    let older = list(6, "somebody-else", &place.operator);
    for more in [String::new(), format!("revocations = \"{older}\"\n")] {
        let kept = fs::read_to_string(place.path("kiosk.toml")).unwrap();
        let lines = kept.lines().filter(|line| !line.starts_with("revocations"));
        let kept = lines.collect::<Vec<_>>().join("\n");
        fs::write(place.path("kiosk.toml"), format!("{kept}\n{more}")).unwrap();
        let mut stand = place.start(at(0));
        // The wait is kept as well.
        for minute in 1..=5 {
            stand.bench.turn(at(minute * 60));
        }
        let (number, found) = stand.try_out(&place, at(3600));
        assert_eq!(number, 7, "{more}");
        assert_eq!(refusal(&found).0, "unlock.revoked");
        assert_eq!(stand.audited("staff.revocations.taken").len(), 1);
    }
}

#[test]
fn a_newer_list_comes_with_the_desired_state_and_an_older_one_never() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let set = |stand: &mut Stand, version: u64, text: &str| {
        let body = serde_json::json!({ "staff_revocations": text }).to_string();
        let cache = &mut stand.bench.cache;
        assert!(cache.set_desired_state(version, &body, at(1).at).unwrap());
    };
    assert_eq!(stand.try_out(&place, at(1)).0, 0);
    set(&mut stand, 1, &list(5, "tech.ce-shi", &place.operator));
    let (number, found) = stand.try_out(&place, at(2));
    assert_eq!((number, refusal(&found).0), (5, "unlock.revoked"));
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    for (version, text) in [
        (2, list(4, "somebody-else", &place.operator)),
        (3, list(5, "somebody-else", &place.operator)),
        (4, list(9, "somebody-else", &stranger)),
        (5, "KV1:".repeat(10_000)),
        (6, String::new()),
    ] {
        set(&mut stand, version, &text);
        let (number, found) = stand.try_out(&place, at(version * 1000));
        assert_eq!(
            (number, refusal(&found).0),
            (5, "unlock.revoked"),
            "{version}"
        );
    }
    assert_eq!(stand.audited("staff.revocations.taken").len(), 1);
    // A newer list that leaves the person out lets them in again.
    set(&mut stand, 7, &list(6, "somebody-else", &place.operator));
    let (number, found) = stand.try_out(&place, at(20_000));
    assert_eq!(number, 6);
    assert!(matches!(found, Found::NeedsPin { .. }), "{found:?}");
}

#[test]
fn a_newer_list_comes_on_a_stick_before_the_permission_beside_it_is_looked_at() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let stick = place.stick();
    let file = |name: &str, text: &str| fs::write(stick.join(name), text).unwrap();
    // Alone it is taken, and told with the next challenge.
    stand.challenge(at(1));
    file(
        "a.kiosk-revocations",
        &list(3, "somebody-else", &place.operator),
    );
    let found = stand.take(Work::UnlockFromStick, at(2));
    assert_eq!(refusal(&found), ("unlock.list-taken", 0));
    let found = stand.take(Work::UnlockFromStick, at(3));
    assert_eq!(refusal(&found).0, "unlock.not-on-stick", "no newer one");
    let (challenge, _) = stand.challenge(at(4));
    assert_eq!(Challenge::parse_with_list(&challenge).unwrap().1, 3);
    // Beside a permission for whom it names, with forgeries and an older one around it.
    let token = place.token(&challenge, Role::Technician, at(4));
    file("b.kiosk-unlock", &token);
    let stranger = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    file("c.kiosk-revocations", &list(99, "somebody-else", &stranger));
    file(
        "d.kiosk-revocations",
        &list(2, "somebody-else", &place.operator),
    );
    file("e.kiosk-revocations", &"KV1:".repeat(100_000));
    file(
        "f.kiosk-revocations",
        &list(4, "tech.ce-shi", &place.operator),
    );
    let found = stand.take(Work::UnlockFromStick, at(5));
    assert_eq!(refusal(&found).0, "unlock.revoked");
    assert_eq!(stand.audited("staff.revocations.taken").len(), 2);
    let refused = stand.audited("staff.revocations.refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].1.contains("unlock.unknown-signer"),
        "{refused:?}"
    );
    drop(stand);
    let mut stand = place.start(at(0));
    assert_eq!(stand.try_out(&place, at(1)).0, 4, "kept");
}

#[test]
fn a_list_counts_as_long_as_the_configuration_knows_its_signer() {
    let place = Place::new();
    let thief = DeviceKey::generate(Algorithm::Ed25519).unwrap();
    // Both keys are known; one of them is stolen, and signs a list that nobody can go beyond.
    let honest = place.operator.public();
    place.config();
    let known = fs::read_to_string(place.path("kiosk.toml")).unwrap();
    let both = format!("{honest}\", \"{}", thief.public());
    fs::write(
        place.path("kiosk.toml"),
        known.replace(&honest.to_string(), &both),
    )
    .unwrap();
    let mut stand = place.start(at(0));
    fs::write(
        place.stick().join("x.kiosk-revocations"),
        list(u32::MAX, "tech.ce-shi", &thief),
    )
    .unwrap();
    stand.challenge(at(1));
    stand.take(Work::UnlockFromStick, at(1));
    assert_eq!(stand.try_out(&place, at(2)).0, u32::MAX);
    drop(stand);
    fs::remove_file(place.path("stick/x.kiosk-revocations")).unwrap();
    // The office takes the stolen key away, and begins anew.
    let own = list(1, "somebody-else", &place.operator);
    let begun = format!("{known}revocations = \"{own}\"\n");
    fs::write(place.path("kiosk.toml"), begun).unwrap();
    let mut stand = place.start(at(0));
    let (number, found) = stand.try_out(&place, at(3600));
    assert_eq!(number, 1);
    assert!(matches!(found, Found::NeedsPin { .. }), "{found:?}");
    assert_eq!(stand.audited("staff.revocations.dropped").len(), 1);
}

#[test]
fn a_calibration_is_in_force_when_the_loop_says_so_and_never_out_of_its_bounds() {
    let place = Place::new();
    let (parts, inputs, hub) = place.parts(at(0));
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let bench = Bench::new(parts, Arc::clone(&heard), at(0)).unwrap();
    let mut stand = Stand {
        bench,
        inputs,
        _hub: hub,
    };
    stand.come_in(&place, Role::Technician, at(1));
    let calibrate = |values: &str| Act::Calibrate {
        what: "slip-offset",
        values: values.to_owned(),
    };
    for wrong in ["{\"right-dots\":17}", "{}", "rubbish"] {
        assert!(!stand.act(calibrate(wrong), at(2)).0, "{wrong}");
    }
    assert!(stand.bench.cache.calibrations().unwrap().is_empty());
    assert!(stand.act(calibrate("{\"right-dots\":-12}"), at(3)).0);
    let told = stand.inputs.try_iter().find_map(|input| {
        if let Input::Event(Event::Calibrated(calibrations)) = input {
            Some(*calibrations)
        } else {
            None
        }
    });
    let told = told.expect("the loop is told");
    assert_eq!(told.slip_dots, -12);
    assert_eq!(
        Calibrations::load(&stand.bench.cache).unwrap(),
        told,
        "and after a restart"
    );
    let slip = |stand: &mut Stand| {
        let page = stand.show(Topic::Calibration, at(4));
        let rows = page.sections.into_iter().flat_map(|section| section.rows);
        rows.into_iter()
            .find(|row| row.id == "act:calibrate:slip-offset")
            .unwrap()
    };
    assert_eq!(slip(&mut stand).mark, Mark::Bad, "the loop has not said so");
    heard.lock().unwrap().calibrations = told;
    let row = slip(&mut stand);
    assert_eq!(row.mark, Mark::Good);
    assert!(
        row.detail.contains("tech.ce-shi") && row.detail.contains("-12"),
        "{row:?}"
    );
}

#[test]
fn whoever_is_called_back_while_inside_is_put_out_at_once_and_comes_in_no_more() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let set = |stand: &mut Stand, version: u64, text: &str| {
        let body = serde_json::json!({ "staff_revocations": text }).to_string();
        let cache = &mut stand.bench.cache;
        assert!(cache.set_desired_state(version, &body, at(0).at).unwrap());
    };
    stand.come_in(&place, Role::Technician, at(1));
    // A list that names somebody else changes nothing.
    set(&mut stand, 1, &list(1, "somebody-else", &place.operator));
    stand.bench.turn(at(2));
    assert!(stand.bench.inside().is_some());
    set(&mut stand, 2, &list(2, "tech.ce-shi", &place.operator));
    let found = stand.take(
        Work::Show {
            topic: Topic::Tickets,
            lang: Lang::ZhHans,
        },
        at(3),
    );
    assert_eq!(refusal(&found).0, "workbench.not-allowed");
    assert!(stand.bench.inside().is_none());
    let told = stand.inputs.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        matches!(&told, Input::Event(Event::Staff(_, found))
            if matches!(**found, Found::PutOut { why: "revoked" })),
        "{told:?}"
    );
    let ended = stand.audited("staff.unlock.ended");
    assert!(ended[0].1.contains("revoked"), "{ended:?}");
    let (_, found) = stand.try_out(&place, at(4));
    assert_eq!(refusal(&found).0, "unlock.revoked");
}

#[test]
fn whoever_is_called_back_before_the_second_factor_does_not_come_in() {
    let place = Place::new();
    let mut stand = place.start(at(0));
    let (challenge, _) = stand.challenge(at(1));
    let token = place.token(&challenge, Role::Technician, at(1));
    assert!(matches!(
        stand.unlock(&token, at(1)),
        Found::NeedsPin { .. }
    ));
    let text = list(1, "tech.ce-shi", &place.operator);
    let body = serde_json::json!({ "staff_revocations": text }).to_string();
    let cache = &mut stand.bench.cache;
    assert!(cache.set_desired_state(1, &body, at(1).at).unwrap());
    assert_eq!(refusal(&stand.pin(PIN, at(2))).0, "unlock.revoked");
    assert!(stand.bench.inside().is_none());
}

/// Writes what the updater tells.
fn tell(place: &Place, name: &str, value: &serde_json::Value) {
    let directory = place.path("updater");
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, value.to_string()).unwrap();
}

fn page_text(facts: &Facts) -> String {
    let rows = facts.sections.iter().flat_map(|section| &section.rows);
    let rows = rows.map(|row| format!("{} | {} | {}", row.label, row.value, row.detail));
    let acts = facts.acts.iter().map(|act| act.label.clone());
    let rest = [facts.intro.clone(), facts.warning.clone()];
    rows.chain(acts).chain(rest).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_update_from_a_stick_is_asked_followed_and_written_down() {
    let place = Place::new();
    let stick = place.stick();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    let page = page_text(&stand.show(Topic::Update, at(1)));
    assert!(
        page.contains("没有更新程序的记录") && page.contains("从 U 盘更新"),
        "{page}"
    );

    assert!(stand.act(Act::UpdateFromStick(stick.clone()), at(2)).0);
    let wish = fs::read_to_string(place.path("state").join(super::update::WISH)).unwrap();
    let wish: serde_json::Value = serde_json::from_str(&wish).unwrap();
    assert_eq!(wish["person"], "tech.ce-shi");
    assert_eq!(wish["stick"], stick.to_str().unwrap());
    let page = stand.show(Topic::Update, at(3));
    assert!(page.acts.is_empty(), "one at a time");
    let page = page_text(&page);
    assert!(page.contains("等更新程序接手"), "{page}");
    assert!(
        !stand.act(Act::UpdateFromStick(stick.clone()), at(3)).0,
        "one at a time"
    );

    let id = &wish["id"];
    let progress = serde_json::json!({
        "format": 1, "id": id, "phase": "fetching", "bytes": 50, "of": 200, "version": "9.9.9",
    });
    tell(&place, super::update::PROGRESS, &progress);
    let page = page_text(&stand.show(Topic::Update, at(4)));
    assert!(page.contains("25 %") && page.contains("请不要拔"), "{page}");
    let switching = serde_json::json!({ "format": 1, "id": id, "phase": "switching" });
    tell(&place, super::update::PROGRESS, &switching);
    let page = page_text(&stand.show(Topic::Update, at(4)));
    assert!(page.contains("请按“退出”"), "{page}");
    let refused = serde_json::json!({
        "format": 1, "id": id, "phase": "done", "code": "update.unsigned",
    });
    tell(&place, super::update::PROGRESS, &refused);
    let page = page_text(&stand.show(Topic::Update, at(5)));
    assert!(
        page.contains("没有装") && page.contains("没有上级的签名"),
        "{page}"
    );
    assert!(
        page.contains("update.unsigned") && page.contains("从 U 盘更新"),
        "{page}"
    );
    stand.bench.turn(at(30));
    let ended = stand.audited("update.stick.ended");
    assert_eq!(ended.len(), 1);
    assert!(ended[0].0 == "tech.ce-shi" && ended[0].1.contains("update.unsigned"));
    assert_eq!(stand.audited("staff.act.done")[0].0, "tech.ce-shi");

    // Asked again, and nobody takes it up.
    assert!(stand.act(Act::UpdateFromStick(stick), at(31)).0);
    let page = page_text(&stand.show(Topic::Update, at(31 + 121)));
    assert!(page.contains("更新程序没有应答"), "{page}");
    stand.bench.turn(at(200));
    let ended = stand.audited("update.stick.ended");
    assert!(ended[1].1.contains("workbench.updater-silent"), "{ended:?}");
}

#[test]
fn an_update_that_ends_over_the_restart_of_the_program_is_on_record_once() {
    let place = Place::new();
    let stick = place.stick();
    let mut stand = place.start(at(0));
    stand.come_in(&place, Role::Technician, at(1));
    assert!(stand.act(Act::UpdateFromStick(stick), at(2)).0);
    drop(stand);
    let wish = fs::read_to_string(place.path("state").join(super::update::WISH)).unwrap();
    let wish: serde_json::Value = serde_json::from_str(&wish).unwrap();
    let done = serde_json::json!({
        "format": 1, "id": wish["id"], "phase": "done", "version": "9.9.9", "code": "",
    });
    tell(&place, super::update::PROGRESS, &done);
    for _ in 0..2 {
        let mut stand = place.start(at(100));
        stand.bench.turn(at(101));
        stand.bench.turn(at(130));
        let ended = stand.audited("update.stick.ended");
        assert_eq!(ended.len(), 1);
        assert!(ended[0].0 == "tech.ce-shi" && ended[0].1.contains("9.9.9"));
    }
}

#[test]
fn a_release_that_was_taken_back_is_told_with_its_reason_and_has_one_ticket() {
    let place = Place::new();
    let status = serde_json::json!({
        "format": 1, "at": "2026-11-22T12:00:00Z", "running": "1.4.1", "slot": "a",
        "phase": "rolled-back", "offered": "1.4.2", "until": null, "code": "update.failed-before",
        "words": "", "metadata_expires": "2027-01-01T00:00:00Z",
        "last_roll_back": {
            "version": "1.4.2", "code": "update.device-lost", "reason": "slip-printer",
            "at": "2026-11-22T11:00:00Z",
        },
    });
    tell(&place, super::update::STATUS, &status);
    let items = serde_json::json!({
        "format": 1, "at": "2026-11-22T12:00:00Z", "version": null, "code": null, "words": "",
        "metadata_expires": "2026-12-24T00:00:00Z",
    });
    tell(&place, super::update::ITEMS_STATUS, &items);
    let mut stand = place.start(at(0));
    stand.bench.turn(at(1));
    stand.bench.turn(at(60));
    drop(stand);
    let mut stand = place.start(at(100));
    stand.bench.turn(at(101));
    let open = stand.bench.cache.tickets(true, 10).unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].code, "maintenance.update-taken-back");
    assert_eq!(stand.audited("update.taken-back").len(), 1);
    stand.come_in(&place, Role::Technician, at(102));
    let page = page_text(&stand.show(Topic::Update, at(103)));
    for words in [
        "1.4.1",
        "a",
        "新版本不正常，已换回",
        "1.4.2",
        "已换回原来的",
        "update.device-lost",
        "事项签名有效期到 | 2026-12-24",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
}
