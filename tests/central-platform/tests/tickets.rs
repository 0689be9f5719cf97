//! Fault tickets from a terminal's store over its real line to the platform, on both engines:
//! every newest revision arrives, in the end, and none counts twice.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use central_platform::{Config, Fault, Platform as Central, Signatures};
use cluster::Cluster;
use kiosk_app::clock;
use kiosk_app::platform::{Identity, Platform};
use kiosk_app::runtime::Input;
use kiosk_sealing::{Algorithm, DeviceKey};
use offline_cache::{
    Cache, Level, NewTicket, Options, Sla, TestRecord, Ticket, TicketAct, Verdict,
};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

const TERMINAL: &str = "T001";
/// How often a test looks whether something has come to be, and the pause between.
const LOOKS_MAX: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);
/// Events that may wait; nobody here reads all of them.
const EVENTS: usize = 4096;

#[derive(Clone, Copy)]
enum On {
    Sqlite,
    Postgresql,
}

/// A terminal's store and line, and the platform; dropped in this order.
struct World {
    platform: Platform,
    cache: Cache,
    inputs: Receiver<Input>,
    central: Central,
    _directory: TempDir,
}

fn world(on: On) -> World {
    let directory = tempfile::tempdir().unwrap();
    let config = Config {
        signatures: Signatures::Required,
        database: match on {
            On::Sqlite => None,
            On::Postgresql => Some(Cluster::shared().database()),
        },
        ..Config::default()
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let central = Central::start(&directory.path().join("central"), local, config).unwrap();
    let text = format!(
        "url = \"{}\"\nprobe_s = 1\nsealing_key = \"{}\"\ncommand_keys = [\"{}\"]",
        central.url(),
        central.sealing_key(),
        central.command_key(),
    );
    let config: kiosk_app::config::Platform = toml::from_str(&text).unwrap();
    let identity = Identity {
        terminal: TERMINAL.to_owned(),
        key: Arc::new(DeviceKey::generate(Algorithm::Ed25519).unwrap()),
    };
    let options = Options {
        terminal: TERMINAL.to_owned(),
        ..Options::default()
    };
    let store = directory.path().join("store");
    let (cache, _) = Cache::open_with(&store, &options, clock::now().at).unwrap();
    let (out, inputs) = sync_channel(EVENTS);
    let platform = Platform::start(&config, identity, cache.another().unwrap(), out).unwrap();
    World {
        platform,
        cache,
        inputs,
        central,
        _directory: directory,
    }
}

impl World {
    fn open(&mut self, device: &str) -> Ticket {
        let new = NewTicket {
            device: device.to_owned(),
            class: "printer".to_owned(),
            code: "printer.media-jam".to_owned(),
            action: "clear-nearest".to_owned(),
            level: Level::Village,
            sla: Sla {
                respond: Duration::from_hours(4),
                repair: Duration::from_hours(24),
            },
            before: None,
        };
        let (ticket, _) = self.cache.open_ticket(&new, clock::now().at).unwrap();
        self.platform.report_tickets();
        ticket
    }

    fn act(&mut self, id: Uuid, act: &TicketAct) -> Ticket {
        let now = clock::now().at;
        let ticket = self.cache.ticket_act(id, act, "tech-3", now).unwrap();
        self.platform.report_tickets();
        ticket
    }

    fn mend(&mut self, ticket: &Ticket) -> Ticket {
        let record = TestRecord {
            id: Uuid::from_u128(ticket.id.as_u128() ^ 1),
            test: "print".to_owned(),
            device: ticket.device.clone(),
            verdict: Verdict::Passed,
            figures: BTreeMap::from([("darkness".to_owned(), "0.93".to_owned())]),
            problem: String::new(),
            by: "tech-3".to_owned(),
            at: clock::now().at,
            took_ms: 900,
            ticket: Some(ticket.id),
        };
        self.cache.record_test(&record, clock::now().at).unwrap();
        self.act(ticket.id, &TicketAct::Mend { test: record.id })
    }

    /// What the platform holds.
    fn held(&self) -> Vec<Value> {
        let reply = wire::send(self.central.address(), "GET", "/admin/tickets", "", b"");
        let Some(reply) = reply.filter(|reply| reply.status == 200) else {
            return Vec::new();
        };
        assert_eq!(reply.header("content-type"), Some("application/json"));
        reply.json()["tickets"].as_array().unwrap().clone()
    }

    fn waiting(&self) -> usize {
        self.cache.tickets_unreported(1000).unwrap().len()
    }

    /// Looks until it is so; between two looks the terminal's events are taken.
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS_MAX {
            if is_so(self) {
                return;
            }
            drop(self.inputs.recv_timeout(PAUSE));
        }
        panic!("it never became so: {what}");
    }
}

fn what_was_opened_without_a_line_follows_it_with_all_that_was_done(on: On) {
    let mut world = world(on);
    world.central.set_network(false).unwrap();
    let first = world.open("slip-printer");
    let mended = world.mend(&first);
    for number in 0..60 {
        world.open(&format!("d{number}"));
    }
    assert_eq!(world.waiting(), 61);
    world.central.set_network(true).unwrap();
    world.until("everything is told", |world| world.waiting() == 0);
    let held = world.held();
    assert_eq!(held.len(), 61);
    let told = &held.last().unwrap()["ticket"];
    assert_eq!(told["id"], mended.id.to_string());
    assert_eq!(
        (&told["state"], &told["revision"]),
        (&"mended".into(), &2.into())
    );
    assert_eq!(told["number"], "T001-0001");
    assert_eq!(told["after"]["figures"]["darkness"], "0.93");
    let times = |each: &Value| each["times_received"].as_u64().unwrap();
    assert!(held.iter().all(|each| times(each) == 1), "{held:?}");
    // Each later revision follows at once, not with the next heartbeat.
    world.act(mended.id, &TicketAct::Close);
    world.until("the end is told", |world| {
        world
            .held()
            .iter()
            .any(|each| each["ticket"]["state"] == "closed")
    });
    world.until("and known here", |world| world.waiting() == 0);
}

fn a_lost_reply_doubles_nothing(on: On) {
    let mut world = world(on);
    let first = world.open("report-printer");
    world.until("the line is there", |world| world.waiting() == 0);
    // The platform stores what it is told, and the terminal never hears of it.
    world.central.set_fault(Fault::DropAfterCommit);
    let ticket = world.open("slip-printer");
    let is_held = |world: &World| {
        let held = world.held();
        held.iter()
            .any(|each| each["ticket"]["id"] == ticket.id.to_string())
    };
    for _ in 0..LOOKS_MAX {
        if is_held(&world) {
            break;
        }
        // The line may have been found missing first; then it has to be there again for a moment.
        world.central.set_fault(Fault::None);
        drop(world.inputs.recv_timeout(PAUSE));
        world.central.set_fault(Fault::DropAfterCommit);
        world.platform.report_tickets();
        drop(world.inputs.recv_timeout(PAUSE));
    }
    assert!(is_held(&world));
    world.act(ticket.id, &TicketAct::Acknowledge);
    world.act(ticket.id, &TicketAct::Note("已断电重启".to_owned()));
    world.central.set_fault(Fault::None);
    world.until("everything is told", |world| world.waiting() == 0);
    let held = world.held();
    assert_eq!(held.len(), 2, "one for each fault");
    let told = &held[0]["ticket"];
    assert_eq!(
        (&told["revision"], &told["note"]),
        (&3.into(), &"已断电重启".into())
    );
    assert_eq!(held[1]["ticket"]["id"], first.id.to_string());
    let alone = world.cache.ticket(ticket.id).unwrap();
    assert_eq!((alone.revision, alone.times_reopened), (3, 0));
}

fn a_platform_that_fails_or_talks_rubbish_is_told_again(on: On) {
    let mut world = world(on);
    world.open("a");
    world.until("the line is there", |world| world.waiting() == 0);
    for (number, fault) in [
        Fault::Burst {
            requests: 3,
            status: 503,
        },
        Fault::Rubbish,
        Fault::HalfClosed,
    ]
    .into_iter()
    .enumerate()
    {
        world.central.set_fault(fault);
        world.open(&format!("b{number}"));
        drop(world.inputs.recv_timeout(PAUSE));
        world.central.set_fault(Fault::None);
        world.platform.hurry();
        world.until("it is told", |world| {
            // A pause that the platform asked for is cut short by hand.
            world.platform.report_tickets();
            world.waiting() == 0
        });
    }
    assert_eq!(world.held().len(), 4);
}

/// Makes one test of each promise and engine.
macro_rules! on_both_engines {
    ($($promise:ident)*) => {
        mod sqlite {
            $(#[test] fn $promise() { super::$promise(super::On::Sqlite); })*
        }
        mod postgresql {
            $(#[test] fn $promise() { super::$promise(super::On::Postgresql); })*
        }
    };
}

on_both_engines! {
    what_was_opened_without_a_line_follows_it_with_all_that_was_done
    a_lost_reply_doubles_nothing
    a_platform_that_fails_or_talks_rubbish_is_told_again
}
