//! The driver against the real PC/SC service: a `pcscd` of each test's own on a private socket, with
//! the virtual reader of vsmartcard, in which this file plays the card over TCP. Where the two are
//! not installed there is nothing to test against, and the tests say so and pass.
//!
//! The client library finds the private socket by its environment, so every test runs itself again
//! as a child with that environment.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kiosk_device::{Action, Cancel, Completion, Context, Driver, Media, clock};
use kiosk_smart_card::{Command, Event, Sex, SmartCardReader, SocialCard};

const SERVICE: &str = "/usr/sbin/pcscd";
const VIRTUAL_READER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// The client library's own variable.
const SOCKET: &str = "PCSCLITE_CSOCK_NAME";
const PORT: &str = "KIOSK_TEST_CARD_PORT";
const SERVICE_PID: &str = "KIOSK_TEST_SERVICE_PID";
const LONG: Duration = Duration::from_secs(30);

/// A private service, ended when the test ends.
struct Service {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Service {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_ports();
        let readers = directory.path().join("readers");
        fs::create_dir(&readers).unwrap();
        fs::write(
            readers.join("private"),
            format!(
                "FRIENDLYNAME \"Private\"\nDEVICENAME /dev/null:{port:#x}\n\
                 LIBPATH {VIRTUAL_READER}\nCHANNELID {port:#x}\n"
            ),
        )
        .unwrap();
        let socket = UnixListener::bind(directory.path().join("socket")).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        // Socket activation: the listening socket is descriptor 3 (sd_listen_fds(3)).
        let child = Program::new("/bin/sh")
            .args([
                "-c",
                "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"",
            ])
            .args(["sh", SERVICE, "--foreground", "--config"])
            .arg(&readers)
            .stdin(OwnedFd::from(socket))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            directory,
            port,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first of two neighboring ports that nobody uses: the virtual reader has two slots.
fn free_ports() -> u16 {
    for _ in 0..1000 {
        let first = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if let Some(second) = port.checked_add(1)
            && TcpListener::bind(("0.0.0.0", second)).is_ok()
        {
            return port;
        }
    }
    panic!("no two free ports side by side");
}

/// Runs `body` in a child that sees a private service. `name` is the test's own.
#[expect(clippy::print_stderr, reason = "a test that cannot run says why")]
fn with_service(name: &str, body: impl FnOnce(&Rig)) {
    if let Ok(port) = env::var(PORT) {
        return body(&Rig {
            port: port.parse().unwrap(),
        });
    }
    if !Path::new(SERVICE).exists() || !Path::new(VIRTUAL_READER).exists() {
        eprintln!("{name}: not run, because pcscd or vsmartcard-vpcd is not installed");
        return;
    }
    let service = Service::start();
    let output = Program::new("timeout")
        .args(["--kill-after=5", "120"])
        .arg(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(SOCKET, service.directory.path().join("socket"))
        .env(PORT, service.port.to_string())
        .env(SERVICE_PID, service.child.id().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let log = fs::read_to_string(service.directory.path().join("log")).unwrap_or_default();
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}\nservice: {log}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The child's side.
struct Rig {
    port: u16,
}

fn reader(port: &str) -> SmartCardReader {
    let config =
        format!("id = \"ssc\"\nclass = \"smart-card\"\ndriver = \"ssc-pcsc\"\nport = \"{port}\"");
    SmartCardReader::new(&toml::from_str(&config).unwrap()).unwrap()
}

/// The first of the virtual reader's slots.
const SLOT: &str = "pcsc:Private 00 00";

/// What the played card has and does.
#[derive(Clone)]
struct Content {
    is_social: bool,
    knows_tags: bool,
    /// Number, tag and value.
    issuer: Vec<(u8, u8, Vec<u8>)>,
    holder: Vec<(u8, u8, Vec<u8>)>,
    /// Pulled out instead of answering this many commands.
    pulled_at: Option<usize>,
}

/// The card of the fact sheet's synthetic person.
fn content(version: &[u8]) -> Content {
    let is_v1 = version.starts_with(b"1");
    let mut name = vec![0xB2, 0xE2, 0xCA, 0xD4, 0xBC, 0xD7];
    let mut holder = vec![(1, 0x08, b"440100199001011237".to_vec())];
    if is_v1 {
        name.resize(30, 0);
        holder.push((2, 0x09, name));
    } else {
        // Shorter than the sheet says, so that the card corrects the length (6Cxx).
        holder.push((2, 0x09, name));
        holder.push((3, 0x4E, vec![0; 20]));
    }
    let rest = [
        (0x0A, vec![b'1']),
        (0x0B, vec![1]),
        (0x0C, vec![0x44, 1, 0]),
    ];
    let birth = (0x0D, vec![0x19, 0x90, 1, 1]);
    for (tag, value) in rest.into_iter().chain([birth]) {
        let number = u8::try_from(holder.len()).unwrap() + 1;
        holder.push((number, tag, value));
    }
    Content {
        is_social: true,
        knows_tags: !is_v1,
        issuer: vec![
            (1, 0x01, [&[0x44, 0x01, 0x00][..], &[0; 13]].concat()),
            (3, 0x03, version.to_vec()),
            (5, 0x05, vec![0x20, 0x26, 0x01, 0x01]),
            (6, 0x06, vec![0x20, 0x36, 0x01, 0x01]),
            (7, 0x07, b"A00000001".to_vec()),
        ],
        holder,
        pulled_at: None,
    }
}

/// A card in the virtual reader; dropping it pulls it out.
struct Card {
    stream: TcpStream,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    fn insert(&self, content: Content) -> Card {
        // The service may still be starting its reader.
        let deadline = clock::now() + LONG;
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(clock::now() < deadline, "{error}"),
            }
        };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let other_end = stream.try_clone().unwrap();
        let thread = thread::spawn(move || {
            let mut played = Played {
                content,
                file: 0,
                fetched: Vec::new(),
                commands: 0,
            };
            // Ends when the card is pulled out, from either side.
            while played.turn(&other_end).is_some() {}
            drop(other_end.shutdown(std::net::Shutdown::Both));
        });
        Card {
            stream,
            thread: Some(thread),
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        drop(self.stream.shutdown(std::net::Shutdown::Both));
        let thread = self.thread.take().unwrap();
        assert!(thread.join().is_ok() || thread::panicking());
    }
}

struct Played {
    content: Content,
    file: u16,
    /// What waits for GET RESPONSE.
    fetched: Vec<u8>,
    commands: usize,
}

impl Played {
    /// One message of the virtual reader: two bytes of length, then a control byte or a command.
    fn turn(&mut self, mut stream: &TcpStream) -> Option<()> {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).ok()?;
        let answer = match message.as_slice() {
            // Power off, on, and a reset.
            [0..=2] => return Some(()),
            // The shortest answer to reset: direct convention, T=0, nothing else.
            [4] => vec![0x3B, 0x00],
            command => {
                self.commands += 1;
                if self.content.pulled_at.is_some_and(|at| at < self.commands) {
                    return None;
                }
                self.answer(command)
            }
        };
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat()).ok()
    }

    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        const ENVIRONMENT: &[u8] = b"sx1.sh.\xC9\xE7\xBB\xE1\xB1\xA3\xD5\xCF";
        match command {
            [0, 0xA4, 4, 0, 15, name @ ..] if self.content.is_social && name == ENVIRONMENT => {
                self.fetched = vec![0x6F, 0x02, 0x84, 0x00];
                vec![0x61, 0x04]
            }
            [0, 0xA4, 4, 0, ..] => vec![0x6A, 0x82],
            [0, 0xC0, 0, 0, 4] => [std::mem::take(&mut self.fetched), vec![0x90, 0]].concat(),
            [0, 0xA4, 2, 0, 2, 0xEF, file @ (5 | 6)] => {
                self.file = u16::from(*file);
                vec![0x90, 0]
            }
            [0, 0xB2, identifier, how @ (0 | 4), length] => {
                let records = match self.file {
                    5 => &self.content.issuer,
                    _ => &self.content.holder,
                };
                if *how == 0 && !self.content.knows_tags {
                    return vec![0x6A, 0x86];
                }
                let found = records
                    .iter()
                    .find(|(number, tag, _)| *identifier == if *how == 0 { *tag } else { *number });
                match found {
                    None => vec![0x6A, 0x83],
                    Some((_, tag, value)) => {
                        let count = u8::try_from(value.len()).unwrap();
                        if *length != count + 2 {
                            return vec![0x6C, count + 2];
                        }
                        [&[*tag, count], value.as_slice(), &[0x90, 0]].concat()
                    }
                }
            }
            // A PIN must never be tried, and nothing else was asked for by the fact sheet.
            _ => vec![0x6D, 0x00],
        }
    }
}

fn check_card(card: &SocialCard, version: &str) {
    assert_eq!(card.version, version);
    assert_eq!(card.name.expose(), "测试甲");
    assert_eq!(card.number.expose(), "440100199001011237");
    assert_eq!(card.card_number.expose(), "A00000001");
    assert_eq!((card.region.as_str(), card.sex), ("440100", Sex::Male));
    assert_eq!(card.nation_code, Some(1));
    let birth = card.birth.as_ref().unwrap().expose().to_string();
    assert_eq!(birth, "1990-01-01");
    assert_eq!(card.expires.unwrap().to_string(), "2036-01-01");
}

/// Runs one reading; `on_event` acts after each event. What was reported, in words, the card, and
/// how it ended.
fn read(
    reader: &mut SmartCardReader,
    on_event: &dyn Fn(&str),
) -> (Vec<String>, Option<SocialCard>, Completion) {
    let words = RefCell::new(Vec::new());
    let found = RefCell::new(None);
    let emit = |event| {
        let word = match event {
            Event::CardFound => "found".to_owned(),
            Event::Card(card) => {
                found.replace(Some(*card));
                "card".to_owned()
            }
            Event::ReadAgain(fault) => {
                assert_eq!(fault.action, Action::Clear);
                fault.code.to_owned()
            }
            Event::CardRemoved => "removed".to_owned(),
        };
        on_event(&word);
        words.borrow_mut().push(word);
    };
    let cancel = Cancel::default();
    let completion = reader.execute(Command::Read, &Context::new(LONG, &cancel, &emit));
    (words.into_inner(), found.into_inner(), completion)
}

fn check_reading(rig: &Rig, version: &str) {
    let mut reader = reader(SLOT);
    let capabilities = reader.open().unwrap();
    assert_eq!(capabilities.model, "Private 00 00");
    assert_eq!(reader.status().unwrap().media, Media::NotPresent);
    let _card = rig.insert(content(version.as_bytes()));
    let (words, card, completion) = read(&mut reader, &|_| ());
    assert_eq!(
        (words.as_slice(), completion),
        (
            &["found", "card"].map(str::to_owned)[..],
            Completion::Success
        )
    );
    check_card(&card.unwrap(), version);
    assert_eq!(reader.status().unwrap().media, Media::Present);
}

#[test]
fn a_card_of_version_3_is_read() {
    with_service("a_card_of_version_3_is_read", |rig| {
        check_reading(rig, "3.00");
    });
}

#[test]
fn a_card_of_version_2_is_read() {
    with_service("a_card_of_version_2_is_read", |rig| {
        check_reading(rig, "2.00");
    });
}

#[test]
fn a_card_of_version_1_is_read() {
    with_service("a_card_of_version_1_is_read", |rig| {
        check_reading(rig, "1.00");
    });
}

#[test]
fn another_card_is_refused_and_the_right_one_awaited() {
    with_service("another_card_is_refused_and_the_right_one_awaited", |rig| {
        let mut reader = reader(SLOT);
        reader.open().unwrap();
        let foreign = Content {
            is_social: false,
            ..content(b"3.00")
        };
        let card = RefCell::new(Some(rig.insert(foreign)));
        let change = |word: &str| {
            if word == "smart-card.not-social-security" {
                card.take();
                wait_until_empty();
                card.replace(Some(rig.insert(content(b"3.00"))));
            }
        };
        let (words, found, completion) = read(&mut reader, &change);
        assert_eq!(completion, Completion::Success, "{words:?}");
        let expect = ["found", "smart-card.not-social-security", "found", "card"];
        assert_eq!(words, expect);
        check_card(&found.unwrap(), "3.00");
    });
}

/// Waits with a second driver until the service knows that the card is gone.
fn wait_until_empty() {
    let mut watcher = reader(SLOT);
    watcher.open().unwrap();
    wait_for(&mut watcher, Media::NotPresent);
}

fn wait_for(reader: &mut SmartCardReader, media: Media) {
    let deadline = clock::now() + LONG;
    let (_keep, tick) = sync_channel::<()>(1);
    while reader.status().unwrap().media != media {
        assert!(clock::now() < deadline, "the reader never said {media:?}");
        // The service polls the virtual reader; asking it all the time would only slow it.
        assert_eq!(
            tick.recv_timeout(Duration::from_millis(20)),
            Err(RecvTimeoutError::Timeout)
        );
    }
}

#[test]
fn a_card_pulled_between_records_is_asked_for_again() {
    with_service("a_card_pulled_between_records_is_asked_for_again", |rig| {
        let mut reader = reader(SLOT);
        reader.open().unwrap();
        let pulled = Content {
            pulled_at: Some(6),
            ..content(b"3.00")
        };
        let card = RefCell::new(Some(rig.insert(pulled)));
        let insert_again = |word: &str| {
            if word.starts_with("smart-card.") {
                card.take();
                wait_until_empty();
                card.replace(Some(rig.insert(content(b"3.00"))));
            }
        };
        let (words, found, completion) = read(&mut reader, &insert_again);
        assert_eq!(completion, Completion::Success, "{words:?}");
        assert_eq!(words, ["found", "smart-card.card-removed", "found", "card"]);
        check_card(&found.unwrap(), "3.00");
    });
}

#[test]
fn a_card_that_was_read_must_be_pulled_out_before_the_next() {
    with_service(
        "a_card_that_was_read_must_be_pulled_out_before_the_next",
        |rig| {
            let mut reader = reader(SLOT);
            reader.open().unwrap();
            let card = RefCell::new(Some(rig.insert(content(b"3.00"))));
            assert_eq!(read(&mut reader, &|_| ()).2, Completion::Success);
            let change = |word: &str| {
                if word == "smart-card.card-left" {
                    card.take();
                    wait_until_empty();
                    card.replace(Some(rig.insert(content(b"1.00"))));
                }
            };
            let (words, found, _) = read(&mut reader, &change);
            assert_eq!(words, ["smart-card.card-left", "removed", "found", "card"]);
            check_card(&found.unwrap(), "1.00");
            card.take();
            wait_for(&mut reader, Media::NotPresent);
        },
    );
}

#[test]
fn a_reading_ends_by_cancellation_or_at_its_deadline() {
    with_service("a_reading_ends_by_cancellation_or_at_its_deadline", |_| {
        let mut reader = reader(SLOT);
        reader.open().unwrap();
        let emit = |_: Event| ();
        let cancel = Cancel::default();
        let short = Context::new(Duration::from_millis(300), &cancel, &emit);
        assert_eq!(reader.execute(Command::Read, &short), Completion::TimeOut);
        let canceler = cancel.clone();
        let start = clock::now();
        let canceling = thread::spawn(move || canceler.cancel());
        let long = Context::new(LONG, &cancel, &emit);
        assert_eq!(reader.execute(Command::Read, &long), Completion::Canceled);
        assert!(clock::now() - start < LONG);
        canceling.join().unwrap();
    });
}

#[test]
fn a_missing_reader_and_a_missing_service_are_told_apart() {
    with_service(
        "a_missing_reader_and_a_missing_service_are_told_apart",
        |_| {
            let fault = reader("pcsc:No Such Reader").open().unwrap_err();
            assert_eq!(fault.code, "device.not-there");
            let mut reader = reader("pcsc:");
            reader.open().unwrap();
            reader.status().unwrap();
            let pid = env::var(SERVICE_PID).unwrap();
            let killed = Program::new("kill").args(["-9", &pid]).status().unwrap();
            assert!(killed.success());
            let fault = loop_until_fault(&mut reader);
            assert_eq!(
                (fault.code, fault.action),
                ("smart-card.no-service", Action::Maintenance),
                "{fault:?}"
            );
            reader.close();
            let fault = reader.open().unwrap_err();
            assert_eq!(fault.code, "smart-card.no-service", "{fault:?}");
        },
    );
}

fn loop_until_fault(reader: &mut SmartCardReader) -> kiosk_device::Fault {
    let deadline = clock::now() + LONG;
    loop {
        match reader.status() {
            Err(fault) => return fault,
            Ok(_) => assert!(clock::now() < deadline, "the dead service still answers"),
        }
    }
}
