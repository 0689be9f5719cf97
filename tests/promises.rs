//! What users of comparable terminals complained about, as promises: E1 to E20 of the list of real
//! failures. Promises of the visit are checked here; those of a driver or of the supervisor stand
//! beside their code, and the last test holds the list together.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one effect that it looks for"
)]

use std::path::Path;
use std::sync::Arc;

use kiosk_app::event::{
    Answer, Credential, Effect, Event, FaceAnswer, FaceVerdict, IdentityAnswer, PageSet, PrintNews,
    Question, Ticket,
};
use kiosk_app::problem;
use kiosk_app::words::Lang;
use kiosk_device::{Action, DeviceClass, DeviceState, Fault, Media, Sensitive, Status};
use kiosk_tests::{Stage, adult};
use kiosk_ui::{Paper, Picture, Screen, Touch};

/// An adult wants the certificate on A4, up to the print that runs.
fn to_printing(stage: &mut Stage) -> Ticket {
    stage.touch(Touch::Start);
    stage.choose("insurance-certificate");
    stage.choose("self");
    stage.read_card(adult());
    stage.touch(Touch::Next);
    let ask = |effect: &Effect| match effect {
        Effect::Ask(ticket, Question::Identity { .. }) => Some(*ticket),
        _ => None,
    };
    if let Some(ticket) = stage.ticket(ask) {
        let answer = IdentityAnswer {
            is_known: true,
            refusal: String::new(),
        };
        stage.send(Event::Answer(ticket, Answer::Identity(Ok(answer))));
    }
    stage.picture();
    stage.touch(Touch::Next);
    let ask = |effect: &Effect| match effect {
        Effect::Ask(ticket, Question::Face { .. }) => Some(*ticket),
        _ => None,
    };
    let ticket = stage.ticket(ask).expect("the face is compared");
    let answer = FaceAnswer {
        verdict: FaceVerdict::Match,
        reference: "F1".to_owned(),
    };
    stage.send(Event::Answer(ticket, Answer::Face(Ok(answer))));
    stage.choose("this-year");
    stage.choose("school");
    let ask = |effect: &Effect| match effect {
        Effect::Ask(ticket, Question::Credential { .. }) => Some(*ticket),
        _ => None,
    };
    let ticket = stage.ticket(ask).expect("the document is fetched");
    let credential = Credential {
        title: "证明".to_owned(),
        number: "C1".to_owned(),
        pdf: Arc::new(Sensitive::new(Vec::new())),
        issuer: "seal".to_owned(),
    };
    stage.send(Event::Answer(ticket, Answer::Credential(Ok(credential))));
    let paint = |effect: &Effect| match effect {
        Effect::Paint(ticket, _) => Some(*ticket),
        _ => None,
    };
    let ticket = stage.ticket(paint).expect("the document is painted");
    let page = Picture {
        width: 1,
        height: 1,
        rgb: Arc::new(vec![255; 3]),
    };
    let pages = PageSet {
        pages: vec![page.clone(), page],
    };
    stage.send(Event::Pages(ticket, Ok(pages)));
    assert_eq!(stage.screen(), "preview");
    stage.touch(Touch::Next);
    stage
        .ticket(|effect| match effect {
            Effect::PrintPages { ticket, .. } => Some(*ticket),
            _ => None,
        })
        .expect("the pages are printed")
}

fn is_problem(stage: &Stage, code: &str) -> bool {
    let expected = problem::get(code).title(Lang::ZhHans);
    matches!(stage.view().screen, Screen::Problem { title, .. } if title == expected)
}

#[test]
fn e12_success_is_shown_only_when_the_paper_is_out_and_stays_long_enough_to_be_read() {
    let mut stage = Stage::new();
    let print = to_printing(&mut stage);
    stage.send(Event::Print(print, PrintNews::Progress(2)));
    assert_ne!(stage.screen(), "done", "both pages counted, none out");
    stage.send(Event::Print(print, PrintNews::Presented));
    let Screen::Done { paper, .. } = stage.view().screen else {
        panic!("not done");
    };
    assert_eq!(paper, Paper::Ready);
    stage.wait(40);
    assert_eq!(stage.screen(), "done");

    let mut stage = Stage::new();
    let print = to_printing(&mut stage);
    stage.send(Event::Print(print, PrintNews::Failed("printer.media-jam")));
    assert!(is_problem(&stage, "printer.media-jam"));
}

#[test]
fn e13_a_printer_that_stops_fills_the_screen_with_what_to_do_and_whom_to_call() {
    for code in [
        "printer.media-empty",
        "printer.media-jam",
        "printer.cover-open",
    ] {
        let mut stage = Stage::new();
        let print = to_printing(&mut stage);
        stage.send(Event::Print(print, PrintNews::Stopped(code)));
        assert!(is_problem(&stage, code), "{code}");
        let view = stage.view();
        let Screen::Problem { advice, ways, .. } = view.screen else {
            panic!("no problem page");
        };
        assert!(!advice.is_empty() && !ways.is_empty(), "{code}");
        assert_eq!(view.frame.help_phone, "12345");
    }
}

#[test]
fn e14_a_cleared_jam_goes_on_with_the_same_print_on_the_same_page() {
    let mut stage = Stage::new();
    let print = to_printing(&mut stage);
    let before = stage.screen();
    stage.send(Event::Print(print, PrintNews::Progress(1)));
    stage.send(Event::Print(print, PrintNews::Stopped("printer.media-jam")));
    assert_eq!(stage.screen(), "problem");
    stage.send(Event::Print(print, PrintNews::Resumed));
    assert_eq!(stage.screen(), before);
    let again = stage
        .effects
        .iter()
        .any(|effect| matches!(effect, Effect::PrintPages { .. }));
    assert!(!again, "the document is not sent a second time");
    stage.send(Event::Print(print, PrintNews::Presented));
    assert_eq!(stage.screen(), "done");
}

#[test]
fn e15_a_slip_in_the_outlet_belongs_to_its_owner_and_stops_nobody() {
    let lies = |media| Status {
        media,
        ..Status::online()
    };
    let mut stage = Stage::new();
    let print = to_printing(&mut stage);
    stage.send(Event::Print(print, PrintNews::Presented));
    stage.status(DeviceClass::SlipPrinter, lies(Media::Present));
    stage.touch(Touch::Leave);
    stage.wait(30);
    assert_eq!(stage.screen(), "leave", "the farewell waits for the slip");
    stage.status(DeviceClass::SlipPrinter, lies(Media::NotPresent));
    stage.wait(1);
    assert_eq!(stage.screen(), "attract");

    // A slip that nobody takes is named, and the next visit starts all the same.
    stage.status(DeviceClass::SlipPrinter, lies(Media::Present));
    assert_eq!(stage.view().frame.notices.len(), 1);
    stage.touch(Touch::Start);
    assert_eq!(stage.screen(), "home");
    assert_eq!(stage.view().frame.notices.len(), 1);
}

#[test]
fn e17_nothing_is_said_about_a_device_that_is_still_starting_and_the_worst_comes_first() {
    let mut stage = Stage::new();
    let starting = Status {
        faults: vec![Fault::new("device.starting", Action::Reset, "")],
        ..Status::default()
    };
    stage.status(DeviceClass::IdCard, starting);
    assert!(stage.view().frame.notices.is_empty());
    let paper = Fault::new("printer.media-empty", Action::Clear, "");
    let broken = Fault::new("id-card.no-device", Action::Maintenance, "");
    stage.status(
        DeviceClass::SlipPrinter,
        Status::failed(DeviceState::UserError, paper),
    );
    stage.status(
        DeviceClass::IdCard,
        Status::failed(DeviceState::NoDevice, broken),
    );
    let notice = |code| problem::get(code).notice(Lang::ZhHans).to_owned();
    assert_eq!(
        stage.view().frame.notices,
        [notice("id-card.no-device"), notice("printer.media-empty")]
    );
}

#[test]
fn e20_without_a_reader_the_terminal_starts_and_offers_what_needs_none() {
    let mut stage = Stage::new();
    let fault = Fault::new("device.not-there", Action::Maintenance, "");
    stage.status(
        DeviceClass::IdCard,
        Status::failed(DeviceState::NoDevice, fault),
    );
    stage.touch(Touch::Start);
    let Screen::Home { items, .. } = stage.view().screen else {
        panic!("not home");
    };
    let closed: Vec<&str> = items
        .iter()
        .filter(|item| !item.unavailable.is_empty())
        .map(|item| item.id.as_str())
        .collect();
    assert!(closed.contains(&"insurance-certificate"), "{closed:?}");
    assert!(closed.len() < items.len(), "{closed:?}");
}

/// Which test keeps which promise, and where it stands.
const KEPT_BY: &[(&str, &str, &str)] = &[
    ("E1", "offline-cache/src/outbox/tests.rs", "e1_"),
    ("E1", "tests/simulation/tests/months.rs", "e1_"),
    (
        "E2",
        "tests/sync.rs",
        "e2_a_time_out_after_the_servers_commit_never_doubles",
    ),
    ("E2", "offline-cache/src/outbox/tests.rs", "e2_"),
    ("E3", "offline-cache/src/catalogue.rs", "e3_"),
    ("E3", "offline-cache/src/outbox/tests.rs", "e3_"),
    ("E4", "offline-cache/src/outbox/tests.rs", "e4_"),
    (
        "E5",
        "device-drivers/printer/tests/emulated_pages.rs",
        "e5_",
    ),
    (
        "E5",
        "device-drivers/printer/tests/pages.rs",
        "e5_a_document_whose_answer_was_lost_is_never_sent_twice",
    ),
    (
        "E5",
        "device-drivers/core/src/supervisor/tests.rs",
        "a_device_that_misses_three_times_is_gone",
    ),
    ("E6", "device-drivers/printer/tests/pages.rs", "e6_"),
    (
        "E6",
        "device-drivers/printer/tests/emulated_slips.rs",
        "e6_",
    ),
    ("E7", "tests/replay.rs", "e7_"),
    (
        "E8",
        "device-drivers/printer/tests/emulated_pages.rs",
        "e8_",
    ),
    (
        "E8",
        "device-drivers/printer/tests/emulated_slips.rs",
        "e8_",
    ),
    (
        "E9",
        "device-drivers/printer/tests/emulated_slips.rs",
        "e9_",
    ),
    (
        "E10",
        "device-drivers/printer/tests/emulated_pages.rs",
        "e10_",
    ),
    ("E11", "device-drivers/printer/tests/pages.rs", "e11_"),
    ("E12", "tests/promises.rs", "e12_"),
    ("E13", "tests/promises.rs", "e13_"),
    ("E14", "tests/promises.rs", "e14_"),
    (
        "E14",
        "device-drivers/printer/tests/emulated_pages.rs",
        "e14_",
    ),
    ("E15", "tests/promises.rs", "e15_"),
    ("E16", "tests/demo/tests/watchdog.rs", "e16_"),
    ("E17", "tests/promises.rs", "e17_"),
    (
        "E17",
        "device-drivers/core/src/supervisor/tests.rs",
        "no_fault_is_reported_during_the_grace_of_the_start",
    ),
    ("E18", "device-drivers/core/src/supervisor/tests.rs", "e18_"),
    (
        "E18",
        "tests/hardware-lab/src/cases/supervision.rs",
        "rebind",
    ),
    ("E19", "device-drivers/core/src/supervisor/tests.rs", "e19_"),
    ("E20", "tests/promises.rs", "e20_"),
];

#[test]
fn every_real_failure_of_comparable_systems_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for number in 1..=20 {
        let name = format!("E{number}");
        let mut tests = KEPT_BY.iter().filter(|(failure, _, _)| *failure == name);
        assert!(tests.clone().next().is_some(), "{name} has no test");
        for (_, file, test) in tests.by_ref() {
            let source = std::fs::read_to_string(root.join(file)).unwrap();
            assert!(
                source.contains(&format!("fn {test}")),
                "{name}: {test} is not in {file}"
            );
        }
    }
}
