//! The reader driver against an emulated reader on every transport: a pseudo-terminal and the USB
//! layouts behind a USB/IP server. The emulator was written from the protocol alone, so that it and
//! the driver check each other.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it like the test itself"
)]

use std::cell::RefCell;
use std::time::Duration;

use kiosk_device::tap::{Privacy, Tap};
use kiosk_device::{Cancel, Completion, Context, DeviceState, Driver, Media, clock};
use kiosk_emulators::{
    CardFault, CardSpec, IdCardConfig, IdCardReader as Emulator, IdCardTransport, Operation,
};
use kiosk_id_card::{CardKind, CardRecord, Command, Event, IdCardReader};

const LONG: Duration = Duration::from_mins(1);
const TRANSPORTS: [(IdCardTransport, &str); 4] = [
    (IdCardTransport::Serial, "serial"),
    (IdCardTransport::UsbFourPipes, "usb-four-pipes"),
    (IdCardTransport::UsbPair, "usb-pair"),
    (IdCardTransport::Hid, "hid"),
];

struct Rig {
    emulator: Emulator,
    reader: IdCardReader,
    _directory: tempfile::TempDir,
}

/// A reader without pauses of its own.
fn quick(transport: IdCardTransport) -> IdCardConfig {
    IdCardConfig {
        transport,
        baud: 0,
        find_ms: 0,
        read_ms: 0,
        ..IdCardConfig::default()
    }
}

fn rig(config: IdCardConfig, options: &str) -> Rig {
    let directory = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(directory.path(), config).unwrap();
    let port = emulator.port().to_str().unwrap();
    let table = format!(
        "id = \"reader-1\"\nclass = \"id-card\"\ndriver = \"sdt\"\nport = \"{port}\"\n[options]\n{options}"
    );
    let reader = IdCardReader::new(&toml::from_str(&table).unwrap()).unwrap();
    Rig {
        emulator,
        reader,
        _directory: directory,
    }
}

impl Rig {
    fn insert(&self, name: &str) {
        let card = CardSpec::named(name).unwrap();
        self.emulator.insert(&card).unwrap();
    }

    /// Runs one reading; what it reported, in words, the card, and how it ended. After each fault
    /// that asks for it, `name` is lifted and put down again.
    fn read(&mut self, name: &str) -> (Vec<String>, Option<CardRecord>, Completion) {
        let words = RefCell::new(Vec::new());
        let found = RefCell::new(None);
        let emulator = &self.emulator;
        let emit = |event| {
            words.borrow_mut().push(match event {
                Event::CardFound => "found".to_owned(),
                Event::Card(card) => {
                    found.replace(Some(*card));
                    "card".to_owned()
                }
                Event::ReadAgain(fault) => {
                    emulator.insert(&CardSpec::named(name).unwrap()).unwrap();
                    fault.code.to_owned()
                }
                Event::CardRemoved => "removed".to_owned(),
            });
        };
        let cancel = Cancel::default();
        let context = Context::new(LONG, &cancel, &emit);
        let completion = self.reader.execute(Command::Read, &context);
        (words.into_inner(), found.into_inner(), completion)
    }
}

#[test]
fn every_kind_of_card_is_read_over_every_transport() {
    for (transport, ability) in TRANSPORTS {
        let mut rig = rig(quick(transport), "");
        let capabilities = rig.reader.open().unwrap();
        assert_eq!(capabilities.serial, "05.03-20260101-0000000001-1234567890");
        assert!(capabilities.abilities.contains(&ability.to_owned()));
        for (name, kind, number) in [
            ("adult", CardKind::Resident, "440100199001011237"),
            ("hmt", CardKind::HkMoTw, "810000199002020024"),
            ("foreigner", CardKind::ForeignerOld, "XXX000000000000"),
            ("foreigner-2023", CardKind::Foreigner, "911000199004040015"),
        ] {
            rig.insert(name);
            let (words, card, completion) = rig.read(name);
            assert_eq!(completion, Completion::Success, "{ability} {name}");
            assert_eq!(words.last().map(String::as_str), Some("card"));
            let card = card.unwrap();
            assert_eq!((card.kind, card.number.expose().as_str()), (kind, number));
            assert_eq!(card.photo.expose().len(), 1024);
        }
    }
}

#[test]
fn a_reader_tells_its_model_and_firmware_where_it_can() {
    let open = |transport| rig(quick(transport), "").reader.open().unwrap();
    let pair = open(IdCardTransport::UsbPair);
    assert_eq!(
        (pair.model.as_str(), pair.firmware.as_str()),
        ("TEST SAM_V reader", "")
    );
    let hid = open(IdCardTransport::Hid);
    assert_eq!(hid.firmware, "EMU-HID 1.00");
    assert_eq!(open(IdCardTransport::Serial).model, "");
}

#[test]
fn fingerprints_of_every_length_come_over_every_transport() {
    for (transport, ability) in TRANSPORTS {
        for templates in [0, 1, 2] {
            let config = IdCardConfig {
                fingerprints: templates,
                photo_seed: 7,
                ..quick(transport)
            };
            let mut rig = rig(config, "fingerprints = true");
            rig.reader.open().unwrap();
            rig.insert("adult");
            let (_, card, _) = rig.read("adult");
            let card = card.unwrap();
            let block = card.fingerprints.as_ref().unwrap().expose();
            assert_eq!(block.len(), 512 * usize::from(templates), "{ability}");
            assert!(block.is_empty() || block.iter().any(|byte| *byte != 0));
        }
    }
}

#[test]
fn an_appended_address_replaces_the_printed_one_over_every_transport() {
    for (transport, ability) in TRANSPORTS {
        let mut rig = rig(quick(transport), "");
        rig.reader.open().unwrap();
        rig.insert("cadre");
        let (_, card, _) = rig.read("cadre");
        let address = card.unwrap().address;
        assert_eq!(address.expose(), "广东省珠海市测试区样例路3号", "{ability}");
    }
}

#[test]
fn a_card_must_be_lifted_before_it_is_read_again() {
    for (transport, ability) in TRANSPORTS {
        let mut rig = rig(quick(transport), "");
        rig.reader.open().unwrap();
        rig.insert("adult");
        assert_eq!(rig.read("adult").2, Completion::Success);
        assert_eq!(rig.reader.status().unwrap().media, Media::Present);
        let (words, card, _) = rig.read("helper");
        assert_eq!(
            words,
            ["id-card.card-left", "removed", "found", "card"],
            "{ability}"
        );
        assert_eq!(card.unwrap().name.expose(), "测试辛");
        rig.emulator.remove();
        assert_eq!(rig.reader.status().unwrap().media, Media::NotPresent);
    }
}

/// A fault that passes, or that another try gets over.
fn check_survived(fault: CardFault, expect: &[&str]) {
    for (transport, ability) in TRANSPORTS {
        let mut rig = rig(quick(transport), "");
        rig.reader.open().unwrap();
        rig.insert("adult");
        rig.emulator.fault(fault);
        let (words, card, completion) = rig.read("adult");
        assert_eq!(
            completion,
            Completion::Success,
            "{ability} {fault:?}: {words:?}"
        );
        assert_eq!(words, expect, "{ability} {fault:?}");
        assert_eq!(card.unwrap().name.expose(), "测试甲");
    }
}

const READ_AT_ONCE: &[&str] = &["found", "card"];
const READ_AGAIN: &[&str] = &["found", "id-card.read-failed", "found", "card"];

#[test]
fn noise_before_and_gaps_within_an_answer_do_no_harm() {
    check_survived(CardFault::Noise, READ_AT_ONCE);
    check_survived(CardFault::Chopped, READ_AT_ONCE);
}

#[test]
fn a_broken_answer_is_asked_for_again() {
    check_survived(CardFault::BadChecksum, READ_AT_ONCE);
    check_survived(CardFault::BadLength, READ_AT_ONCE);
    check_survived(CardFault::Truncated { bytes: 14 }, READ_AT_ONCE);
    check_survived(CardFault::Truncated { bytes: 3 }, READ_AT_ONCE);
}

#[test]
fn a_card_lifted_while_it_is_read_is_asked_for_again() {
    check_survived(CardFault::RemoveMidRead, READ_AGAIN);
}

#[test]
fn a_stalled_pipe_is_got_over() {
    check_survived(CardFault::Stall, READ_AT_ONCE);
}

#[test]
fn a_reader_that_sends_rubbish_nothing_or_drops_ends_the_command_and_comes_back() {
    // One thread each, because every fault takes its time.
    let checks = TRANSPORTS.map(|(transport, ability)| {
        std::thread::spawn(move || {
            for fault in [
                CardFault::Garbage,
                CardFault::EndlessGarbage,
                CardFault::Silence,
                CardFault::Trickle,
            ] {
                check_bounded(transport, ability, fault);
            }
        })
    });
    for check in checks {
        check.join().unwrap();
    }
}

fn check_bounded(transport: IdCardTransport, ability: &str, fault: CardFault) {
    let mut rig = rig(quick(transport), "");
    rig.reader.open().unwrap();
    rig.insert("adult");
    rig.emulator.fault(fault);
    let start = clock::now();
    let (words, _, completion) = rig.read("adult");
    let took = clock::now() - start;
    if let Completion::Failed(failure) = completion {
        let codes = ["device.silent", "id-card.bad-reply"];
        assert!(
            codes.contains(&failure.code),
            "{ability} {fault:?}: {failure}"
        );
        // Three tries of a second at most, and what lies between them.
        assert!(
            fault == CardFault::EndlessGarbage || took < Duration::from_secs(15),
            "{ability} {fault:?}: {took:?}"
        );
    } else {
        // Between endless rubbish right answers are found where they get through; else the command
        // ends at its deadline.
        let is_bounded = matches!(completion, Completion::Success | Completion::TimeOut);
        assert!(
            fault == CardFault::EndlessGarbage && is_bounded,
            "{ability} {fault:?}: {words:?} {completion:?}"
        );
    }
    rig.reader.close();
    rig.emulator.mend();
    // What was under way may still come, as it may when the supervisor tries again.
    let opened = (0..5).find_map(|_| rig.reader.open().ok());
    assert!(opened.is_some(), "{ability} {fault:?}");
    rig.insert("adult");
    let completion = rig.read("adult").2;
    assert_eq!(completion, Completion::Success, "{ability} {fault:?}");
}

#[test]
fn a_reader_that_goes_away_between_request_and_answer_is_gone_and_comes_back() {
    for (transport, ability) in TRANSPORTS {
        let mut rig = rig(quick(transport), "");
        rig.reader.open().unwrap();
        rig.insert("adult");
        rig.emulator.fault(CardFault::Vanish);
        let (_, _, completion) = rig.read("adult");
        let is_gone =
            matches!(&completion, Completion::Failed(fault) if fault.code == "device.gone");
        assert!(is_gone, "{ability}: {completion:?}");
        rig.reader.close();
        let fault = rig.reader.open().unwrap_err();
        assert_eq!(fault.code, "device.not-there", "{ability}");
        assert!(rig.emulator.plug_cable());
        rig.reader.open().unwrap();
        assert_eq!(rig.read("adult").2, Completion::Success, "{ability}");
    }
}

#[test]
fn a_cable_that_is_cut_is_gone_and_the_status_of_the_module_is_named() {
    for (transport, ability) in TRANSPORTS {
        let mut rig = rig(quick(transport), "");
        rig.reader.open().unwrap();
        rig.emulator.fault(CardFault::Status {
            on: Operation::Sam,
            code: 0x66,
        });
        let status = rig.reader.status().unwrap();
        assert_eq!(status.state, DeviceState::HardwareError, "{ability}");
        assert_eq!(status.faults[0].code, "id-card.sam-unauthorised");
        rig.emulator.mend();
        assert_eq!(rig.reader.status().unwrap().state, DeviceState::Online);
        assert!(rig.emulator.cut_cable());
        assert_eq!(
            rig.reader.status().unwrap_err().code,
            "device.gone",
            "{ability}"
        );
    }
}

#[test]
fn an_ordinary_recording_holds_nothing_of_the_card() {
    let name: Vec<String> = "测试甲"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let name = name.join(" ");
    for (transport, ability) in TRANSPORTS {
        let record = |privacy: Privacy| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("recording");
            let tap = Tap::default();
            tap.install();
            tap.start(&path, privacy, &[]).unwrap();
            let mut rig = rig(quick(transport), "");
            rig.reader.open().unwrap();
            rig.insert("adult");
            // One answer breaks off, and its rest is read as stale input.
            rig.emulator.fault(CardFault::RemoveMidRead);
            assert_eq!(rig.read("adult").2, Completion::Success);
            tap.stop().unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let masked = record(Privacy::Masked);
        // The end of "find" is there, the name is not.
        assert!(masked.contains("20 01 22"), "{ability}");
        assert!(
            !masked.contains(&name) && !masked.contains("4B 6D"),
            "{ability}"
        );
        assert!(record(Privacy::Everything).contains(&name), "{ability}");
    }
}

/// Wire time of the answers of one reading of a card at 115200 baud: ten bits to a byte.
fn wire_time() -> Duration {
    let answers = [15, 19, 1295, 11];
    Duration::from_secs(10) * answers.iter().sum::<u32>() / 115_200
}

#[test]
#[ignore = "measures time; run it alone on a machine that is idle"]
fn a_reading_takes_hardly_longer_than_its_bytes_on_the_wire() {
    let config = IdCardConfig {
        baud: 115_200,
        ..quick(IdCardTransport::Serial)
    };
    let mut rig = rig(config, "");
    rig.reader.open().unwrap();
    let mut times = Vec::new();
    for _ in 0..20 {
        // Lifted, and seen to be: the look at the old card is no part of a reading.
        rig.emulator.remove();
        rig.reader.status().unwrap();
        rig.insert("adult");
        let start = clock::now();
        assert_eq!(rig.read("adult").2, Completion::Success);
        times.push(clock::now() - start);
    }
    times.sort();
    let median = times[times.len() / 2];
    let limit = wire_time() * 12 / 10;
    assert!(median <= limit, "{median:?} of {limit:?}");
}
