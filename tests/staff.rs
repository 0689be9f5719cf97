//! Promises of the staff's mode, checked on the real session: nobody sees a page of it before the
//! unlocking, nothing of a visit is left when it begins, nothing of it is left when it ends, and what
//! a role may not do does not happen.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one effect that it looks for"
)]

use std::collections::BTreeSet;

use kiosk_app::calibration::{Calibrated, Calibrations};
use kiosk_app::event::{
    Effect, Ending, Event, Lens, Note, Order, PrintNews, Receipt, Standing, Ticket,
};
use kiosk_app::selftest::{Finding, Verdict, plans};
use kiosk_app::words::Lang;
use kiosk_app::workbench::{Act, Facts, Found, Permission, Topic, Work};
use kiosk_device::{Action, DeviceClass, DeviceState, Fault, Media, Sensitive, Status};
use kiosk_sealing::unlock::Role;
use kiosk_tests::random::Random;
use kiosk_tests::{Stage, adult, elder};
use kiosk_ui::{
    Choice, Correction, Key, Language, Mark, Pattern, Picture, Screen, StaffPage, StaffRow,
    StaffSection, TextSize, Touch,
};
use uuid::Uuid;

const PIN: &str = "736251";

/// The newest question to the workbench.
fn asked(stage: &mut Stage) -> (Ticket, Work) {
    stage
        .ticket(|effect| match effect {
            Effect::Staff(ticket, work) => Some((*ticket, (**work).clone())),
            _ => None,
        })
        .expect("the workbench is asked")
}

fn answer(stage: &mut Stage, ticket: Ticket, found: Found) {
    stage.send(Event::Staff(ticket, Box::new(found)));
}

fn page(stage: &Stage) -> StaffPage {
    match stage.view().screen {
        Screen::Staff(page) => *page,
        other => panic!("not a page of the staff: {other:?}"),
    }
}

/// Answers the challenge that was asked for and shows it.
fn challenged(stage: &mut Stage) {
    let (ticket, work) = asked(stage);
    assert!(matches!(work, Work::Challenge), "{work:?}");
    let text = "KC1:TEST".to_owned();
    answer(stage, ticket, Found::Challenge { text, wait_s: 0 });
}

/// A signed text is held before the scanner.
fn scanned(stage: &mut Stage, text: &str) {
    let scan = |effect: &Effect| match effect {
        Effect::Scan(ticket) => Some(*ticket),
        _ => None,
    };
    let ticket = stage.ticket(scan).expect("the scanner waits");
    stage.send(Event::Code(ticket, Sensitive::new(text.to_owned())));
}

/// Up to the page of the second factor.
fn to_pin(stage: &mut Stage) {
    stage.touch(Touch::Staff);
    challenged(stage);
    scanned(stage, "KU1:SIGNED");
    let (ticket, work) = asked(stage);
    assert!(matches!(work, Work::Unlock { text } if text.expose() == "KU1:SIGNED"));
    let person = "tester".to_owned();
    let role = Role::Technician;
    answer(stage, ticket, Found::NeedsPin { person, role });
}

fn permission(role: Role, minutes: u16) -> Permission {
    Permission {
        person: "tester".to_owned(),
        role,
        scopes: role.scopes(),
        minutes,
    }
}

fn enter_with(stage: &mut Stage, permission: Permission) {
    to_pin(stage);
    stage.type_keys(PIN);
    stage.touch(Touch::Next);
    let (ticket, work) = asked(stage);
    assert!(matches!(work, Work::Pin { pin } if pin.expose() == PIN));
    answer(stage, ticket, Found::Unlocked(permission));
    assert_eq!(page(stage).name, "menu");
    stage.effects.clear();
}

/// Comes in.
fn enter(role: Role) -> Stage {
    let mut stage = Stage::new();
    enter_with(&mut stage, permission(role, 60));
    stage
}

/// Everything that can be touched on the page.
fn ids(page: &StaffPage) -> Vec<String> {
    let rows = page.sections.iter().flat_map(|section| &section.rows);
    let actions = page.actions.iter().map(|choice| choice.id.clone());
    rows.map(|row| row.id.clone())
        .chain(actions)
        .filter(|id| !id.is_empty())
        .collect()
}

fn ended(effects: impl IntoIterator<Item = Effect>) -> Vec<&'static str> {
    let why = |effect| match effect {
        Effect::Staff(_, work) => match *work {
            Work::Ended { why } => Some(why),
            _ => None,
        },
        _ => None,
    };
    effects.into_iter().filter_map(why).collect()
}

fn acts(stage: &Stage) -> Vec<Act> {
    let act = |effect: &Effect| match effect {
        Effect::Staff(_, work) => match &**work {
            Work::Act { act, .. } => Some(act.clone()),
            _ => None,
        },
        _ => None,
    };
    stage.effects.iter().filter_map(act).collect()
}

fn facts(rows: &[&str]) -> Found {
    let rows = rows
        .iter()
        .map(|id| StaffRow {
            id: (*id).to_owned(),
            label: (*id).to_owned(),
            ..StaffRow::default()
        })
        .collect();
    Found::Facts(Box::new(Facts {
        sections: vec![StaffSection {
            rows,
            ..StaffSection::default()
        }],
        ..Facts::default()
    }))
}

/// A visitor stands before the terminal and has shown a card.
fn visiting() -> Stage {
    let mut stage = Stage::new();
    stage.touch(Touch::Start);
    stage.choose("old-age-allowance");
    stage.choose("self");
    stage.read_card(elder());
    assert_eq!(stage.screen(), "confirm-person");
    stage
}

#[test]
fn a_visitor_is_asked_and_everything_of_the_visit_is_gone_before_staff_come_in() {
    let mut stage = visiting();
    stage.touch(Touch::Staff);
    let Screen::Problem { ways, .. } = stage.view().screen else {
        panic!("the visitor is not asked");
    };
    assert_eq!(ways.len(), 2);
    stage.effects.clear();
    stage.choose("staff-finish");
    assert_eq!(stage.screen(), "leave", "the visit ends the normal way");
    let at = |stage: &Stage, is_it: fn(&Effect) -> bool| stage.effects.iter().position(is_it);
    let is_question = |effect: &Effect| matches!(effect, Effect::Staff(..));
    assert_eq!(at(&stage, is_question), None, "not before it is over");
    stage.wait(7);
    assert_eq!(page(&stage).name, "unlock");
    let erased = at(
        &stage,
        |effect| matches!(effect, Effect::Erased(erasure) if erasure.persons == 1),
    );
    let noted = at(&stage, |effect| {
        matches!(
            effect,
            Effect::Note(Note::VisitEnded {
                is_timed_out: false,
                ..
            })
        )
    });
    assert!(erased.unwrap() < at(&stage, is_question).unwrap());
    assert!(noted.unwrap() < at(&stage, is_question).unwrap());
    let inside = format!("{:?}", stage.session);
    for empty in ["principal: None", "answers: []", "item: None"] {
        assert!(inside.contains(empty), "the session still holds {empty}");
    }
}

#[test]
fn a_request_without_an_answer_is_over_after_half_a_minute_and_the_visit_goes_on() {
    let mut stage = visiting();
    stage.touch(Touch::Staff);
    stage.wait(29);
    assert_eq!(stage.screen(), "problem");
    stage.wait(2);
    assert_eq!(stage.screen(), "confirm-person");
    stage.touch(Touch::Staff);
    // Anything else is neither yes nor no.
    stage.touch(Touch::Next);
    stage.choose("help");
    assert_eq!(stage.screen(), "problem");
    stage.choose("staff-stay");
    assert_eq!(stage.screen(), "confirm-person");
    stage.wait(120);
    assert_ne!(stage.screen(), "staff");
}

#[test]
fn a_visitor_who_has_given_nothing_leaves_at_once() {
    let mut stage = Stage::new();
    stage.touch(Touch::Start);
    stage.touch(Touch::Staff);
    assert_eq!(page(&stage).name, "unlock", "nobody has begun anything");
}

#[test]
fn a_commitment_and_paper_on_its_way_are_never_interrupted() {
    let mut stage = Stage::new();
    stage.send(Event::Link(false));
    stage.touch(Touch::Start);
    stage.choose("old-age-allowance");
    stage.choose("self");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    stage.type_keys("13800000000");
    stage.touch(Touch::Next);
    stage.type_keys("6222020000000000000");
    stage.touch(Touch::Next);
    stage.choose("own-home");
    for _ in 0..2 {
        stage.picture();
        stage.touch(Touch::Next);
        stage.touch(Touch::Next);
    }
    stage.touch(Touch::Next);
    assert_eq!(stage.screen(), "working");
    stage.touch(Touch::Staff);
    assert_eq!(stage.screen(), "working", "the commitment goes on");
    stage.commit();
    assert_eq!(stage.screen(), "done");
    stage.touch(Touch::Staff);
    assert_eq!(stage.screen(), "done", "the slip is coming");
    let slip = stage.ticket(|effect| match effect {
        Effect::PrintSlip(ticket, _) => Some(*ticket),
        _ => None,
    });
    stage.send(Event::Print(slip.unwrap(), PrintNews::Presented));
    stage.touch(Touch::Staff);
    assert_eq!(stage.screen(), "problem", "now the visitor can be asked");
}

#[test]
fn a_reader_that_reports_a_card_for_ever_keeps_nobody_out_who_may_mend_it() {
    let mut stage = visiting();
    stage.card_lies(Media::Present);
    stage.touch(Touch::Staff);
    stage.choose("staff-finish");
    stage.wait(8);
    assert_eq!(page(&stage).name, "unlock");
    let told = kiosk_app::words::text(Lang::ZhHans, "leave.card");
    assert_eq!(
        stage.view().frame.notices[0],
        told,
        "the card is to be taken"
    );
    // Nor does such a reader keep the mode open.
    stage.wait(310);
    assert_eq!(stage.screen(), "attract");
}

/// A random touch, event or answer; `ids` are those of the page.
fn random_event(random: &mut Random, ids: &[String]) -> Event {
    let ticket = Ticket(random.below(40));
    let touch = |touch| Event::Touch(touch);
    let guesses = [
        "topic:devices",
        "device:slip-printer",
        "test:slip-printer.pattern:slip-printer",
        "test:machine.disk:",
        "act:export-queue",
        "act:make-report",
        "act:close-day",
        "act:yes",
        "yes",
        "cell-7",
        "stick:/media/usb",
        "page:menu",
        "self",
        "act:calibrate:scanner",
        "act:recording:on:camera",
        "act:close-case:00000000-0000-0000-0000-000000000009",
    ];
    match random.below(18) {
        0 => touch(Touch::Staff),
        1 => touch(Touch::Next),
        2 => touch(Touch::Back),
        3 => touch(Touch::Key(Key::Char('7'))),
        4 => touch(Touch::Language(Language::En)),
        5 => touch(Touch::TextSize(TextSize::Largest)),
        6..=9 if !ids.is_empty() => touch(Touch::Choose(ids[random.index(ids.len())].clone())),
        6..=10 => touch(Touch::Choose(
            guesses[random.index(guesses.len())].to_owned(),
        )),
        11 => Event::Code(ticket, Sensitive::new("KU1:GUESS".to_owned())),
        12 => Event::Staff(ticket, Box::new(facts(&guesses))),
        13 => Event::Card(ticket, Box::new(adult())),
        14 => Event::Probed(ticket, Finding::default()),
        15 => Event::Print(ticket, PrintNews::Presented),
        16 => Event::CodeEnded(ticket, Ending::Failed("qr-scanner.no-device")),
        _ => {
            let status = if random.happens(300) {
                Status::failed(
                    DeviceState::NoDevice,
                    Fault::new("device.not-there", Action::Maintenance, ""),
                )
            } else {
                Status::online()
            };
            Event::Status {
                class: DeviceClass::SlipPrinter,
                device: "slip-printer".to_owned(),
                status,
            }
        }
    }
}

/// The workbench answers four times in five.
fn answer_mostly(random: &mut Random, stage: &mut Stage) {
    let open = stage.ticket(|effect| match effect {
        Effect::Staff(ticket, work) => match &**work {
            Work::Show { .. } => Some((*ticket, true)),
            Work::Act { .. } => Some((*ticket, false)),
            _ => None,
        },
        _ => None,
    });
    let Some((ticket, is_page)) = open.filter(|_| random.happens(800)) else {
        return;
    };
    let words = "done".to_owned();
    let found = if is_page {
        facts(&["device:camera", "stick:/media/usb"])
    } else {
        Found::Said {
            words,
            is_done: true,
        }
    };
    answer(stage, ticket, found);
}

#[test]
fn before_the_unlocking_no_event_whatever_leads_to_a_page_or_an_act() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut stage = Stage::new();
        stage.touch(Touch::Staff);
        for _ in 0..80 {
            let shown = match stage.view().screen {
                Screen::Staff(page) => *page,
                _ => break,
            };
            assert!(
                ["unlock", "pin", "locked"].contains(&shown.name.as_str()),
                "seed {seed}: {}",
                shown.name
            );
            let event = random_event(&mut random, &ids(&shown));
            stage.send(event);
            if random.happens(200) {
                stage.wait(1 + random.below(5));
            }
        }
        for effect in &stage.effects {
            let is_allowed = match effect {
                Effect::Staff(_, work) => matches!(
                    **work,
                    Work::Challenge
                        | Work::Unlock { .. }
                        | Work::UnlockFromStick
                        | Work::Ended { .. }
                ),
                Effect::Scan(_) | Effect::Cancel(_) => true,
                _ => false,
            };
            assert!(is_allowed, "seed {seed}: {effect:?}");
        }
    }
}

#[test]
fn inside_nothing_is_committed_asked_or_printed_for_a_visitor_and_there_is_always_a_way_out() {
    let roles = [
        Role::VillageStaff,
        Role::Technician,
        Role::Vendor,
        Role::Inspector,
    ];
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let role = roles[random.index(roles.len())];
        let mut stage = enter(role);
        for _ in 0..120 {
            let shown = page(&stage);
            assert!(!shown.title.is_empty(), "seed {seed}: {}", shown.name);
            let frame = stage.view().frame;
            assert!(frame.can_leave, "seed {seed}: {}", shown.name);
            assert_eq!(frame.can_go_back, shown.name != "menu", "seed {seed}");
            let event = random_event(&mut random, &ids(&shown));
            stage.send(event);
            answer_mostly(&mut random, &mut stage);
            if random.happens(100) {
                stage.wait(1 + random.below(3));
            }
            if !matches!(stage.view().screen, Screen::Staff(_)) {
                break;
            }
        }
        if matches!(stage.view().screen, Screen::Staff(_)) {
            stage.touch(Touch::Leave);
        }
        assert_eq!(ended(stage.effects.clone()).len(), 1, "seed {seed}");
        let is_a_visitors = |effect: &Effect| {
            matches!(
                effect,
                Effect::Commit(..)
                    | Effect::Ask(..)
                    | Effect::PrintSlip(..)
                    | Effect::PrintPages { .. }
                    | Effect::Rate(_)
                    | Effect::ReadCard(_)
            )
        };
        assert!(!stage.effects.iter().any(is_a_visitors), "seed {seed}");
        let view = stage.view();
        assert_eq!(view.frame.language, Language::ZhHans, "seed {seed}");
        assert_eq!(view.frame.text_size, TextSize::Normal, "seed {seed}");
    }
}

#[test]
fn every_page_of_the_menu_leads_back_and_out() {
    let rows = ids(&page(&enter(Role::Technician)));
    assert!(rows.len() > 12, "{rows:?}");
    for row in rows {
        let mut stage = enter(Role::Technician);
        stage.choose(&row);
        let shown = page(&stage);
        assert_ne!(shown.name, "menu", "{row}");
        stage.touch(Touch::Back);
        assert_eq!(page(&stage).name, "menu", "{row}");
        stage.choose(&row);
        stage.effects.clear();
        stage.touch(Touch::Leave);
        assert_eq!(stage.screen(), "attract", "{row}");
        assert_eq!(ended(stage.effects), ["left"], "{row}");
    }
}

#[test]
fn what_a_role_may_not_do_does_not_happen_and_is_not_shown() {
    let forbidden = [
        (Role::VillageStaff, "topic:tests"),
        (Role::VillageStaff, "test:slip-printer.pattern:slip-printer"),
        (Role::VillageStaff, "topic:queue"),
        (Role::VillageStaff, "act:retry:slip-printer"),
        (Role::VillageStaff, "act:export-evidence"),
        (Role::Inspector, "act:close-day"),
        (Role::Inspector, "act:daily-open"),
        (Role::Inspector, "act:print-check"),
        (Role::Inspector, "act:recording:on:camera"),
        (
            Role::Inspector,
            "act:close:00000000-0000-0000-0000-000000000001",
        ),
        (Role::Inspector, "test:machine.disk:"),
        (Role::Vendor, "topic:queue"),
        (Role::Vendor, "act:export-queue"),
        (Role::Vendor, "act:print-day"),
        (Role::Vendor, "act:replenish:paper:slip-printer"),
        (Role::Technician, "act:try-normally"),
        (Role::Technician, "test:slip-printer.pattern:camera"),
        (Role::Technician, "test:slip-printer.pattern:"),
        (Role::Technician, "test:unheard-of:slip-printer"),
        (Role::Technician, "stick:/media/usb"),
        (Role::Technician, "act:export"),
    ];
    for (role, id) in forbidden {
        let mut stage = enter(role);
        stage.choose(id);
        assert_eq!(page(&stage).name, "menu", "{role:?} {id}");
        assert!(
            stage.effects.is_empty(),
            "{role:?} {id}: {:?}",
            stage.effects
        );
    }
    // The workbench offers everything; the page does not.
    let mut stage = enter(Role::VillageStaff);
    stage.choose("topic:devices");
    stage.choose("device:slip-printer");
    let (ticket, _) = asked(&mut stage);
    let mut found = facts(&["act:retry:slip-printer", "topic:devices", "nonsense"]);
    if let Found::Facts(facts) = &mut found {
        facts.acts = vec![Choice {
            id: "act:export-queue".to_owned(),
            ..Choice::default()
        }];
    }
    answer(&mut stage, ticket, found);
    let shown = page(&stage);
    assert_eq!(shown.sections[0].rows.len(), 3, "rows stay to be read");
    assert_eq!(ids(&shown), ["topic:devices"]);
}

#[test]
fn a_refusal_is_said_in_words_and_the_next_try_has_another_challenge() {
    let mut stage = Stage::new();
    stage.touch(Touch::Staff);
    challenged(&mut stage);
    assert_eq!(page(&stage).code.as_deref(), Some("KC1:TEST"));
    // A slip before the scanner is no attempt.
    scanned(&mut stage, "KC1.T001-20261122-00001");
    let told = |code: &str| kiosk_app::problem::get(code).title(Lang::ZhHans).to_owned();
    assert!(page(&stage).warning.contains(&told("unlock.malformed")));
    assert!(page(&stage).code.is_some());
    let is_question = |effect: &Effect| matches!(effect, Effect::Staff(..));
    assert!(!stage.effects.iter().any(is_question));
    scanned(&mut stage, "KU1:OLD");
    let (ticket, _) = asked(&mut stage);
    let code = "unlock.expired";
    answer(&mut stage, ticket, Found::Refused { code, wait_s: 0 });
    assert!(page(&stage).warning.contains(&told(code)));
    let (second, work) = asked(&mut stage);
    assert!(matches!(work, Work::Challenge));
    let text = "KC1:SECOND".to_owned();
    answer(&mut stage, second, Found::Challenge { text, wait_s: 0 });
    assert_eq!(page(&stage).code.as_deref(), Some("KC1:SECOND"));
    // An answer to the first one comes late.
    let person = "tester".to_owned();
    let role = Role::Technician;
    answer(&mut stage, ticket, Found::NeedsPin { person, role });
    answer(&mut stage, ticket, Found::Unlocked(permission(role, 60)));
    assert_eq!(page(&stage).name, "unlock");
}

#[test]
fn a_stick_without_an_answer_costs_neither_an_attempt_nor_the_challenge() {
    for code in ["unlock.not-on-stick", "stick.failed"] {
        let mut stage = Stage::new();
        stage.touch(Touch::Staff);
        challenged(&mut stage);
        stage.choose("act:unlock-from-stick");
        let (ticket, work) = asked(&mut stage);
        assert!(matches!(work, Work::UnlockFromStick));
        stage.effects.clear();
        answer(&mut stage, ticket, Found::Refused { code, wait_s: 0 });
        assert_eq!(page(&stage).code.as_deref(), Some("KC1:TEST"), "{code}");
        let told = kiosk_app::problem::get(code).title(Lang::ZhHans);
        assert!(page(&stage).warning.contains(told), "{code}");
        scanned(&mut stage, "KU1:SIGNED");
        assert!(matches!(asked(&mut stage).1, Work::Unlock { .. }), "{code}");
    }
}

#[test]
fn while_locked_out_the_time_is_shown_and_no_attempt_is_taken() {
    let mut stage = Stage::new();
    to_pin(&mut stage);
    stage.type_keys("000000");
    stage.touch(Touch::Next);
    let (ticket, _) = asked(&mut stage);
    let code = "unlock.wrong-pin";
    answer(&mut stage, ticket, Found::Refused { code, wait_s: 0 });
    assert_eq!(page(&stage).name, "pin", "once more");
    stage.type_keys("000001");
    stage.touch(Touch::Next);
    let (ticket, _) = asked(&mut stage);
    stage.effects.clear();
    answer(&mut stage, ticket, Found::Refused { code, wait_s: 60 });
    assert_eq!(page(&stage).name, "locked");
    assert!(
        page(&stage).intro.contains("1:00"),
        "{}",
        page(&stage).intro
    );
    stage.wait(30);
    assert!(
        page(&stage).intro.contains("0:30"),
        "{}",
        page(&stage).intro
    );
    stage.type_keys(PIN);
    stage.touch(Touch::Next);
    stage.choose("act:unlock-from-stick");
    assert!(stage.effects.is_empty(), "{:?}", stage.effects);
    stage.wait(31);
    let (ticket, work) = asked(&mut stage);
    assert!(matches!(work, Work::Challenge));
    let text = "KC1:X".to_owned();
    answer(&mut stage, ticket, Found::Challenge { text, wait_s: 300 });
    assert_eq!(
        page(&stage).name,
        "locked",
        "the store says that it is not over"
    );
}

#[test]
fn without_a_challenge_nobody_is_asked_for_ever() {
    let mut stage = Stage::new();
    stage.touch(Touch::Staff);
    let (ticket, _) = asked(&mut stage);
    let code = "unlock.not-configured";
    answer(&mut stage, ticket, Found::Refused { code, wait_s: 0 });
    stage.wait(60);
    let tries = stage
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Staff(..)))
        .count();
    assert!((1..=7).contains(&tries), "{tries}");
}

#[test]
fn the_second_factor_is_never_on_the_glass_nor_in_any_words_of_the_session() {
    let mut stage = Stage::new();
    to_pin(&mut stage);
    stage.type_keys("73x6!25199999999");
    let shown = page(&stage);
    assert_eq!(shown.value, "●".repeat(12), "twelve digits at most");
    stage.touch(Touch::Key(Key::Clear));
    stage.type_keys("73625");
    assert!(!page(&stage).actions[0].unavailable.is_empty());
    stage.touch(Touch::Next);
    let is_pin = |effect: &Effect| matches!(effect, Effect::Staff(_, work) if matches!(**work, Work::Pin { .. }));
    assert!(!stage.effects.iter().any(is_pin), "too short to be tried");
    stage.type_keys("1");
    let words = format!("{:?} {:?} {:?}", stage.session, page(&stage), stage.effects);
    assert!(!words.contains(PIN), "the second factor is in the open");
    stage.touch(Touch::Next);
    assert!(page(&stage).value.is_empty());
    assert!(stage.effects.iter().any(is_pin));
}

#[test]
fn a_broken_scanner_keeps_nobody_out_the_document_camera_reads_the_code() {
    let mut stage = Stage::new();
    stage.status(
        DeviceClass::QrScanner,
        Status::failed(
            DeviceState::NoDevice,
            Fault::new("qr-scanner.no-device", Action::Maintenance, ""),
        ),
    );
    stage.touch(Touch::Staff);
    challenged(&mut stage);
    stage.picture();
    let decode = stage.ticket(|effect| match effect {
        Effect::Decode(ticket, _) => Some(*ticket),
        _ => None,
    });
    let text = Sensitive::new("KU1:SIGNED".to_owned());
    stage.send(Event::Code(decode.unwrap(), text));
    let (_, work) = asked(&mut stage);
    assert!(matches!(work, Work::Unlock { .. }));
}

#[test]
fn a_mode_that_nobody_touches_warns_and_ends() {
    let mut stage = enter(Role::Technician);
    stage.wait(279);
    assert_eq!(stage.view().frame.seconds_left, None);
    stage.wait(2);
    assert_eq!(stage.view().frame.seconds_left, Some(19));
    stage.touch(Touch::Stay);
    assert_eq!(stage.view().frame.seconds_left, None);
    stage.effects.clear();
    stage.wait(300);
    assert_eq!(stage.screen(), "attract");
    assert_eq!(ended(stage.effects), ["idle"]);
}

#[test]
fn a_permission_ends_with_its_minutes_however_busy_somebody_is() {
    let mut stage = Stage::new();
    enter_with(&mut stage, permission(Role::Technician, 2));
    assert_eq!(page(&stage).seconds_left, Some(120));
    for left in (10..=110).rev().step_by(10) {
        stage.wait(10);
        stage.choose("topic:devices");
        assert_eq!(page(&stage).seconds_left, Some(left));
    }
    stage.effects.clear();
    stage.wait(10);
    assert_eq!(stage.screen(), "attract");
    assert_eq!(ended(stage.effects), ["expired"]);
}

#[test]
fn whoever_is_called_back_is_put_out_whatever_they_look_at() {
    for id in ["topic:devices", "topic:update", "page:help"] {
        let mut stage = enter(Role::Technician);
        stage.choose(id);
        stage.effects.clear();
        answer(&mut stage, Ticket(0), Found::PutOut { why: "revoked" });
        assert_eq!(stage.screen(), "attract", "{id}");
        assert_eq!(ended(stage.effects), ["revoked"], "{id}");
    }
    // Where nobody is inside, nothing happens.
    let mut stage = Stage::new();
    to_pin(&mut stage);
    answer(&mut stage, Ticket(0), Found::PutOut { why: "revoked" });
    assert_eq!(page(&stage).name, "pin");
}

#[test]
fn closing_the_door_that_was_open_ends_the_mode_and_a_door_that_stays_shut_does_not() {
    let door = |stage: &mut Stage, word: &str| {
        let mut status = Status::online();
        status
            .readings
            .insert("cabinet-door".to_owned(), word.to_owned());
        stage.status(DeviceClass::IoBoard, status);
    };
    let mut stage = Stage::new();
    stage.session = stage.session.staff_rules(kiosk_app::session::StaffRules {
        door: "cabinet-door".to_owned(),
        ..kiosk_app::session::StaffRules::default()
    });
    door(&mut stage, "closed");
    enter_with(&mut stage, permission(Role::Technician, 60));
    door(&mut stage, "closed");
    assert_eq!(page(&stage).name, "menu");
    door(&mut stage, "open");
    stage.choose("topic:devices");
    assert_eq!(page(&stage).name, "devices");
    stage.effects.clear();
    door(&mut stage, "closed");
    assert_eq!(stage.screen(), "attract");
    assert_eq!(ended(stage.effects), ["door"]);
}

#[test]
fn an_ordered_restart_waits_for_the_end_of_the_mode() {
    let mut stage = enter(Role::Technician);
    let id = Uuid::from_u128(7);
    let order = Order::Restart;
    stage.send(Event::Ordered { id, order });
    stage.wait(5);
    let is_restart = |effect: &Effect| matches!(effect, Effect::Restart(_));
    assert!(!stage.effects.iter().any(is_restart));
    stage.touch(Touch::Leave);
    stage.wait(1);
    assert!(stage.effects.iter().any(is_restart));
}

#[test]
fn a_visitors_card_and_code_begin_no_visit_while_staff_are_in() {
    let mut stage = enter(Role::Technician);
    for ticket in 0..60 {
        stage.send(Event::Card(Ticket(ticket), Box::new(adult())));
        let code = Sensitive::new("KC1.T001-20261122-00001.202611220941.0123456789ab.x".to_owned());
        stage.send(Event::Code(Ticket(ticket), code));
        stage.send(Event::Settled {
            id: Uuid::from_u128(1),
            receipt: Receipt::default(),
        });
    }
    stage.touch(Touch::Start);
    assert_eq!(page(&stage).name, "menu");
    assert!(stage.effects.is_empty(), "{:?}", stage.effects);
    assert!(format!("{:?}", stage.session).contains("principal: None"));
}

#[test]
fn recordings_that_were_begun_are_ended_with_the_mode_and_those_that_were_not_are_let_be() {
    let mut stage = enter(Role::Technician);
    for device in ["camera", "slip-printer"] {
        stage.choose(&format!("act:recording:on:{device}"));
        let (ticket, _) = asked(&mut stage);
        let words = String::new();
        answer(
            &mut stage,
            ticket,
            Found::Said {
                words,
                is_done: true,
            },
        );
    }
    stage.choose("act:recording:off:camera");
    stage.effects.clear();
    stage.touch(Touch::Leave);
    let stopped: Vec<String> = acts(&stage)
        .into_iter()
        .filter_map(|act| match act {
            Act::Recording {
                device,
                is_on: false,
            } => Some(device),
            _ => None,
        })
        .collect();
    assert_eq!(stopped, ["slip-printer"]);
    assert_eq!(ended(stage.effects), ["left"]);
}

#[test]
fn an_act_that_is_never_answered_does_not_hold_the_page_for_ever() {
    let mut stage = enter(Role::Technician);
    stage.choose("act:retry:slip-printer");
    assert!(page(&stage).is_busy);
    stage.wait(299);
    assert!(page(&stage).is_busy, "it may take long");
    stage.wait(2);
    let shown = page(&stage);
    assert!(!shown.is_busy);
    let told = kiosk_app::problem::get("staff.no-answer").title(Lang::ZhHans);
    assert_eq!(shown.warning, told);
}

#[test]
fn what_was_said_follows_the_language_or_is_silent() {
    let mut stage = enter(Role::Technician);
    stage.choose("act:retry:slip-printer");
    stage.wait(301);
    let no_answer = kiosk_app::problem::get("staff.no-answer");
    assert_eq!(page(&stage).warning, no_answer.title(Lang::ZhHans));
    stage.touch(Touch::Language(Language::En));
    assert_eq!(page(&stage).warning, no_answer.title(Lang::En));
    stage.touch(Touch::Language(Language::ZhHans));
    // What the workbench wrote knows one language: that in which it was asked.
    stage.effects.clear();
    stage.choose("act:retry:slip-printer");
    let (ticket, _) = asked(&mut stage);
    stage.touch(Touch::Language(Language::ZhHant));
    let words = "已经重试".to_owned();
    let is_done = true;
    answer(&mut stage, ticket, Found::Said { words, is_done });
    assert!(!page(&stage).intro.contains("已经重试"));
    stage.touch(Touch::Language(Language::ZhHans));
    assert_eq!(page(&stage).intro, "已经重试");
    stage.touch(Touch::Language(Language::En));
    assert!(!page(&stage).intro.contains("已经重试"));
}

#[test]
fn facts_of_a_page_that_was_left_are_dropped_and_missing_ones_are_said() {
    let mut stage = enter(Role::Technician);
    stage.choose("topic:devices");
    let (late, _) = asked(&mut stage);
    stage.touch(Touch::Back);
    stage.choose("topic:queue");
    answer(&mut stage, late, facts(&["device:camera"]));
    assert!(page(&stage).is_busy, "nothing has come for this page");
    stage.wait(11);
    let told = kiosk_app::problem::get("staff.no-answer").title(Lang::ZhHans);
    assert!(page(&stage).warning.contains(told));
}

#[test]
fn the_monitor_is_asked_anew_each_second_and_no_longer_when_it_is_left() {
    let mut stage = enter(Role::Technician);
    stage.choose("monitor:camera");
    for _ in 0..5 {
        let (ticket, work) = asked(&mut stage);
        assert!(matches!(
            work,
            Work::Show {
                topic: Topic::Monitor(_),
                ..
            }
        ));
        answer(&mut stage, ticket, facts(&[]));
        stage.wait(1);
    }
    stage.touch(Touch::Back);
    stage.effects.clear();
    stage.wait(5);
    assert!(stage.effects.is_empty(), "{:?}", stage.effects);
}

#[test]
fn a_stick_is_written_only_when_one_was_chosen_for_it() {
    let mut stage = enter(Role::Technician);
    stage.choose("topic:queue");
    stage.choose("act:export-queue");
    assert_eq!(page(&stage).name, "sticks");
    let (ticket, work) = asked(&mut stage);
    assert!(matches!(
        work,
        Work::Show {
            topic: Topic::Sticks,
            ..
        }
    ));
    answer(&mut stage, ticket, facts(&["stick:/media/usb 1"]));
    assert!(acts(&stage).is_empty());
    stage.choose("stick:/media/usb 1");
    let made = acts(&stage);
    assert!(
        matches!(&made[..], [Act::ExportQueue(path)] if path.as_os_str() == "/media/usb 1"),
        "{made:?}"
    );
    let (ticket, _) = asked(&mut stage);
    assert_eq!(page(&stage).name, "queue", "back where it was asked for");
    let words = "写好了".to_owned();
    answer(
        &mut stage,
        ticket,
        Found::Said {
            words,
            is_done: true,
        },
    );
    assert_eq!(page(&stage).intro, "写好了");
    // From the menu a stick is only looked at.
    stage.choose("page:menu");
    stage.choose("topic:sticks");
    let (ticket, _) = asked(&mut stage);
    answer(&mut stage, ticket, facts(&["stick:/media/usb 1"]));
    assert!(ids(&page(&stage)).is_empty());
}

#[test]
fn what_cannot_be_undone_is_asked_twice() {
    let case = "00000000-0000-0000-0000-000000000009";
    let mut stage = enter(Role::Technician);
    stage.choose(&format!("act:close-case:{case}"));
    assert_eq!(page(&stage).name, "sure");
    stage.choose("act:no");
    assert!(acts(&stage).is_empty());
    stage.choose(&format!("act:close-case:{case}"));
    stage.choose("act:yes");
    assert!(matches!(&acts(&stage)[..], [Act::CloseCase(id)] if id.to_string() == case));
}

#[test]
fn a_part_is_chosen_from_the_list_of_its_class() {
    let ticket = "00000000-0000-0000-0000-000000000005";
    let mut stage = enter(Role::Vendor);
    stage.choose(&format!("act:replace:{ticket}:slip-printer"));
    let shown = page(&stage);
    assert_eq!(shown.name, "parts");
    let cutter = format!("act:part:{ticket}:cutter");
    assert!(ids(&shown).contains(&cutter), "{:?}", ids(&shown));
    stage.choose(&cutter);
    assert!(matches!(&acts(&stage)[..], [Act::Replace { what, .. }] if what == "cutter"));
    assert_eq!(page(&stage).name, "menu");
}

/// The device is gone.
fn vanish(stage: &mut Stage, class: DeviceClass) {
    let fault = Fault::new("device.not-there", Action::Maintenance, "");
    stage.status(class, Status::failed(DeviceState::NoDevice, fault));
}

/// The verdict of the last outcome that was to be kept.
fn recorded(stage: &Stage) -> Option<Verdict> {
    acts(stage).into_iter().rev().find_map(|act| match act {
        Act::Record(outcome) => Some(outcome.verdict),
        _ => None,
    })
}

/// True when the item can begin, as the choice of items says.
fn is_offered(stage: &mut Stage, item: &str) -> bool {
    stage.touch(Touch::Start);
    let Screen::Home { groups, .. } = stage.view().screen else {
        panic!("not home");
    };
    let mut is_offered = false;
    for group in groups {
        stage.choose(&group.id);
        let Screen::Home { items, .. } = stage.view().screen else {
            panic!("not home");
        };
        is_offered |= items
            .iter()
            .any(|entry| entry.id == item && entry.unavailable.is_empty());
    }
    stage.touch(Touch::Leave);
    stage.wait(10);
    is_offered
}

#[test]
fn a_device_that_vanishes_in_the_middle_fails_its_test_and_serves_nobody_until_one_passes() {
    let mut stage = enter(Role::Technician);
    stage.choose("test:slip-printer.pattern:slip-printer");
    assert_eq!(page(&stage).name, "test");
    vanish(&mut stage, DeviceClass::SlipPrinter);
    stage.wait(30);
    assert_eq!(page(&stage).name, "outcome");
    assert!(!page(&stage).warning.is_empty());
    assert_eq!(recorded(&stage), Some(Verdict::Failed));
    let kept = |stage: &Stage| {
        let standing = |effect: &Effect| match effect {
            Effect::Keep(standing) => Some(standing.clone()),
            _ => None,
        };
        stage.effects.iter().rev().find_map(standing)
    };
    let standing = kept(&stage).expect("the failure outlives a restart");
    assert!(standing.failed_tests.contains_key("slip-printer"));
    stage.touch(Touch::Leave);
    // The printer is back and says that it is well; nobody has proven it.
    stage.status(DeviceClass::SlipPrinter, Status::online());
    assert!(!is_offered(&mut stage, "old-age-allowance"));
    stage.send(Event::Tested {
        test: "slip-printer.pattern".to_owned(),
        device: "slip-printer".to_owned(),
        has_passed: true,
    });
    assert!(is_offered(&mut stage, "old-age-allowance"));
    assert_eq!(kept(&stage), Some(Standing::default()));
}

/// The answer to the act that is on its way to keep an outcome.
fn keep(stage: &mut Stage, of_outcome: Option<Uuid>) {
    let (ticket, _) = asked(stage);
    let words = "kept".to_owned();
    let found = Found::Recorded {
        words,
        ticket: of_outcome,
    };
    answer(stage, ticket, found);
}

/// The machine has looked at the part that was asked for last.
fn looked(stage: &mut Stage, problem: Option<&'static str>) {
    let ticket = stage.ticket(|effect| match effect {
        Effect::Probe(ticket, _) => Some(*ticket),
        _ => None,
    });
    let finding = Finding {
        problem,
        ..Finding::default()
    };
    stage.send(Event::Probed(
        ticket.expect("something is looked at"),
        finding,
    ));
}

#[test]
fn a_row_of_tests_goes_on_while_they_pass_and_an_outcome_leads_to_its_ticket() {
    let mut stage = enter(Role::Technician);
    stage.choose("topic:tests");
    let (ticket, _) = asked(&mut stage);
    let parts = ["memory", "store", "clock", "sensors", "disk"];
    let rows = parts.map(|part| format!("test:machine.{part}:"));
    let mut found = facts(&rows.each_ref().map(String::as_str));
    if let Found::Facts(page) = &mut found {
        // The second has passed today; for the third there is nothing in the machine.
        let marks = [Mark::Unknown, Mark::Good, Mark::None, Mark::Bad, Mark::Bad];
        for (row, mark) in page.sections[0].rows.iter_mut().zip(marks) {
            row.mark = mark;
        }
    }
    answer(&mut stage, ticket, found);
    stage.choose("act:test-rest");
    looked(&mut stage, None);
    assert_eq!(recorded(&stage), Some(Verdict::Passed));
    let sensors = kiosk_app::words::text(Lang::ZhHans, "machine.sensors");
    assert_eq!(page(&stage).title, sensors);
    keep(&mut stage, None);
    looked(&mut stage, Some("test.no-sensor"));
    assert_eq!(recorded(&stage), Some(Verdict::Skipped));
    let shown = page(&stage);
    let disk = kiosk_app::words::text(Lang::ZhHans, "machine.disk");
    assert_eq!((shown.name.as_str(), shown.title.as_str()), ("test", disk));
    keep(&mut stage, None);
    assert_ne!(page(&stage).intro, "kept", "the page says what to do now");
    looked(&mut stage, Some("test.disk-slow"));
    let id = Uuid::from_u128(7);
    keep(&mut stage, Some(id));
    let to_ticket = format!("ticket:{id}");
    let ways: Vec<String> = page(&stage).actions.into_iter().map(|way| way.id).collect();
    assert_eq!(
        ways,
        ["act:again", to_ticket.as_str()],
        "the row is at its end"
    );
    stage.choose("act:again");
    looked(&mut stage, None);
    assert_eq!(
        page(&stage).name,
        "tests",
        "what has passed is seen in the list"
    );
}

#[test]
fn nobody_tests_who_may_only_look() {
    let mut stage = enter(Role::Inspector);
    stage.choose("topic:readiness");
    let (ticket, _) = asked(&mut stage);
    answer(&mut stage, ticket, facts(&["test:machine.disk:"]));
    stage.choose("act:test-rest");
    assert_eq!(page(&stage).name, "readiness");
}

#[test]
fn leaving_in_the_middle_of_a_test_releases_everything_and_records_that_it_was_stopped() {
    for plan in plans() {
        let device = plan.class.map_or("", DeviceClass::name);
        for way in [Touch::Back, Touch::Leave] {
            let mut stage = enter(Role::Technician);
            for class in DeviceClass::ALL {
                stage.status(class, Status::online());
            }
            stage.effects.clear();
            stage.choose(&format!("test:{}:{device}", plan.id));
            if page(&stage).name != "test" {
                continue;
            }
            let open: BTreeSet<u64> = stage
                .effects
                .iter()
                .filter_map(|effect| match effect {
                    Effect::Scan(ticket) | Effect::Stream(ticket, _) => Some(ticket.0),
                    _ => None,
                })
                .collect();
            stage.touch(way.clone());
            let canceled: BTreeSet<u64> = stage
                .effects
                .iter()
                .filter_map(|effect| match effect {
                    Effect::Cancel(ticket) => Some(ticket.0),
                    _ => None,
                })
                .collect();
            assert!(open.is_subset(&canceled), "{} {way:?}", plan.id);
            assert_eq!(
                recorded(&stage),
                Some(Verdict::Canceled),
                "{} {way:?}",
                plan.id
            );
        }
    }
}

#[test]
fn no_test_runs_without_end_whoever_stands_there_or_not() {
    for plan in plans() {
        let mut stage = enter(Role::Technician);
        for class in DeviceClass::ALL {
            stage.status(class, Status::online());
        }
        let device = plan.class.map_or("", DeviceClass::name);
        stage.choose(&format!("test:{}:{device}", plan.id));
        for _ in 0..plan.limit.as_secs() + 5 {
            if stage.screen() != "staff" || page(&stage).name != "test" {
                break;
            }
            stage.wait(1);
        }
        assert_eq!(page(&stage).name, "outcome", "{}", plan.id);
        assert!(recorded(&stage).is_some(), "{}", plan.id);
    }
}

#[test]
fn the_daily_check_asks_prints_a_test_slip_by_itself_and_opens_the_day() {
    let mut stage = enter(Role::VillageStaff);
    stage.choose("act:close-day");
    stage.choose("act:yes");
    stage.touch(Touch::Leave);
    let closed = kiosk_app::problem::get("session.day-closed").title(Lang::ZhHans);
    stage.touch(Touch::Start);
    assert!(matches!(stage.view().screen, Screen::Problem { title, .. } if title == closed));
    enter_with(&mut stage, permission(Role::VillageStaff, 60));
    stage.choose("page:day");
    stage.choose("act:daily-open");
    let mut questions = 0;
    while page(&stage).name == "daily-check" && questions < 20 {
        let is_well = questions != 3;
        stage.choose(if is_well { "act:yes" } else { "act:no" });
        questions += 1;
    }
    assert!((4..=8).contains(&questions), "{questions}");
    assert_eq!(page(&stage).name, "test", "the test slip comes by itself");
    vanish(&mut stage, DeviceClass::SlipPrinter);
    stage.wait(30);
    assert_eq!(page(&stage).name, "daily-done");
    let answers = acts(&stage)
        .into_iter()
        .find_map(|act| match act {
            Act::Daily {
                kind: "open",
                answers,
            } => Some(answers),
            _ => None,
        })
        .unwrap();
    assert_eq!(answers.len(), questions + 1);
    let bad: Vec<&str> = answers
        .iter()
        .filter(|(_, is_well)| !is_well)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(bad, ["camera", "slip"]);
    let rows = &page(&stage).sections[0].rows;
    assert_eq!(
        rows.len(),
        questions + 1,
        "the checklist stands on the glass"
    );
    stage.touch(Touch::Leave);
    stage.touch(Touch::Start);
    assert_eq!(stage.screen(), "home", "the day is open");
}

#[test]
fn the_closing_check_prints_the_day_by_itself_and_its_checklist_when_somebody_wants_it() {
    let mut stage = enter(Role::VillageStaff);
    stage.choose("act:daily-close");
    for _ in 0..4 {
        assert_eq!(page(&stage).name, "daily-check");
        stage.choose("act:yes");
    }
    assert_eq!(page(&stage).name, "daily-done");
    let made = acts(&stage);
    assert!(
        matches!(&made[..], [Act::Daily { kind: "close", .. }, Act::PrintDay]),
        "the check is kept before its day is counted: {made:?}"
    );
    let (ticket, _) = asked(&mut stage);
    let words = "正在打印".to_owned();
    let is_done = true;
    answer(&mut stage, ticket, Found::Said { words, is_done });
    // Paper of somebody else says nothing here; the own paper ends, is put in, and comes out.
    let printed = kiosk_app::words::text(Lang::ZhHans, "staff.printed");
    stage.send(Event::Print(Ticket(9_999), PrintNews::Presented));
    assert_ne!(page(&stage).intro, printed);
    stage.send(Event::Print(
        ticket,
        PrintNews::Stopped("printer.media-empty"),
    ));
    let empty = kiosk_app::problem::get("printer.media-empty").title(Lang::ZhHans);
    assert_eq!(page(&stage).warning, empty);
    stage.send(Event::Print(ticket, PrintNews::Presented));
    assert_eq!(page(&stage).intro, printed);
    stage.effects.clear();
    let button = "act:print-check".to_owned();
    assert!(ids(&page(&stage)).contains(&button));
    stage.choose(&button);
    assert!(matches!(&acts(&stage)[..], [Act::PrintCheck]));
}

#[test]
fn the_opening_check_prints_its_test_slip_and_no_numbers() {
    let mut stage = enter(Role::VillageStaff);
    stage.choose("act:daily-open");
    for _ in 0..6 {
        stage.choose("act:yes");
    }
    vanish(&mut stage, DeviceClass::SlipPrinter);
    stage.wait(30);
    assert_eq!(page(&stage).name, "daily-done");
    assert!(!acts(&stage).iter().any(|act| matches!(act, Act::PrintDay)));
}

#[test]
fn what_can_be_done_with_a_device_stands_before_its_figures() {
    let section = |title: &str| StaffSection {
        title: title.to_owned(),
        rows: vec![StaffRow {
            label: title.to_owned(),
            ..StaffRow::default()
        }],
    };
    let button = |id: &str| Choice {
        id: id.to_owned(),
        label: id.to_owned(),
        ..Choice::default()
    };
    let acts = [
        "test:slip-printer.pattern:slip-printer",
        "act:retry:slip-printer",
        "act:replenish:paper:slip-printer",
        "act:recording:on:slip-printer",
        "act:levels:slip-printer",
        "monitor:slip-printer",
    ];
    let shown = |role| {
        let mut stage = enter(role);
        stage.choose("topic:devices");
        stage.choose("device:slip-printer");
        let (ticket, _) = asked(&mut stage);
        let facts = Facts {
            sections: vec![section("tests"), section("readings"), section("counters")],
            figures_from: Some(1),
            acts: acts.map(button).to_vec(),
            ..Facts::default()
        };
        answer(&mut stage, ticket, Found::Facts(Box::new(facts)));
        let page = page(&stage);
        let titles: Vec<String> = page
            .sections
            .iter()
            .map(|section| section.title.clone())
            .collect();
        let buttons: Vec<String> = page.actions.iter().map(|act| act.id.clone()).collect();
        (titles, buttons, ids(&page))
    };
    let can_do = kiosk_app::words::text(Lang::ZhHans, "staff.can-do");
    let (titles, buttons, all) = shown(Role::Technician);
    assert_eq!(titles, ["tests", can_do, "readings", "counters"]);
    assert_eq!(buttons, acts[..3], "the test is the first button");
    assert_eq!(
        all.len(),
        acts.len(),
        "and nothing stands there twice: {all:?}"
    );
    // Whoever may only fill paper up has that as the first button, and no dead rows.
    let (titles, buttons, _) = shown(Role::VillageStaff);
    assert_eq!(titles, ["tests", "readings", "counters"]);
    assert_eq!(buttons, ["act:replenish:paper:slip-printer"]);
}

#[test]
fn a_log_level_lasts_as_long_as_the_visit_unless_a_time_was_chosen_first() {
    let mut stage = enter(Role::Technician);
    let level = |act: &Act| match act {
        Act::Level { level, keep_h, .. } => Some((*level, *keep_h)),
        _ => None,
    };
    stage.choose("act:levels:slip-printer");
    stage.choose("act:level:debug:0:slip-printer");
    stage.choose("act:levels:slip-printer");
    stage.choose("act:keep:24");
    let shown = page(&stage);
    assert_eq!(shown.name, "levels");
    assert!(!ids(&shown).contains(&"act:level:trace:0:slip-printer".to_owned()));
    stage.choose("act:level:trace:24:slip-printer");
    // Longer than a day is not offered, and means nothing where it is guessed.
    stage.choose("act:levels:slip-printer");
    stage.choose("act:keep:48");
    stage.choose("act:level:trace:48:slip-printer");
    assert_eq!(page(&stage).name, "levels");
    let made: Vec<_> = acts(&stage).iter().filter_map(level).collect();
    assert_eq!(made, [(Some("debug"), 0), (Some("trace"), 24)]);
}

#[test]
fn leaving_the_daily_check_opens_no_day() {
    let mut stage = enter(Role::VillageStaff);
    stage.choose("act:close-day");
    stage.choose("act:yes");
    stage.choose("act:daily-open");
    stage.choose("act:yes");
    stage.touch(Touch::Back);
    stage.touch(Touch::Leave);
    stage.touch(Touch::Start);
    assert_eq!(stage.screen(), "problem");
}

#[test]
fn the_report_is_turned_and_its_certificate_shown() {
    let mut stage = enter(Role::Technician);
    stage.choose("topic:readiness");
    stage.choose("act:make-report");
    let (ticket, _) = asked(&mut stage);
    let picture = |width| Picture {
        width,
        height: 1,
        rgb: std::sync::Arc::new(vec![0; 3 * usize::try_from(width).unwrap()]),
    };
    let pages = vec![picture(1), picture(2)];
    let certificate = "KR1:TEST".to_owned();
    answer(&mut stage, ticket, Found::Report { pages, certificate });
    assert_eq!(page(&stage).picture.unwrap().width, 1);
    stage.touch(Touch::Page { is_forward: true });
    stage.choose("act:next");
    assert_eq!(page(&stage).picture.unwrap().width, 2, "the last one stays");
    stage.choose("act:certificate");
    assert_eq!(page(&stage).code.as_deref(), Some("KR1:TEST"));
    stage.effects.clear();
    stage.choose("act:print-report");
    let (ticket, _) = asked(&mut stage);
    let words = String::new();
    answer(
        &mut stage,
        ticket,
        Found::Said {
            words,
            is_done: true,
        },
    );
    stage.send(Event::Print(
        ticket,
        PrintNews::Stopped("printer.media-empty"),
    ));
    let empty = kiosk_app::problem::get("printer.media-empty").title(Lang::ZhHans);
    assert_eq!(page(&stage).warning, empty);
    stage.touch(Touch::Back);
    stage.touch(Touch::Back);
    assert!(ids(&page(&stage)).contains(&"page:report".to_owned()));
}

#[test]
fn a_correction_of_the_glass_is_tried_at_once_and_kept_by_a_touch_only() {
    let mut stage = enter(Role::Technician);
    stage.choose("act:calibrate:touch");
    measure_glass(&mut stage, |x, y| (x - 500, y));
    // The panel feels everything a twentieth of the glass to the left.
    let correction = stage.view().frame.correction;
    assert!((correction.apply(0.25, 0.5).0 - 0.3).abs() < 1e-3);
    assert!(acts(&stage).is_empty());
    stage.choose("act:save");
    let made = acts(&stage);
    let [
        Act::Calibrate {
            what: "touch",
            values,
        },
    ] = &made[..]
    else {
        panic!("not kept: {made:?}");
    };
    assert!(values.contains("\"hits\":5"), "{values}");
    // Whoever keeps it puts it in force.
    let mut calibrations = Calibrations::default();
    calibrations.take(Calibrated::parse("touch", values).unwrap());
    stage.send(Event::Calibrated(Box::new(calibrations)));
    assert_eq!(stage.view().frame.correction, correction);
}

#[test]
fn a_correction_that_nobody_confirms_gives_way_to_the_one_before() {
    let mut stage = enter(Role::Technician);
    let kept = Calibrated::parse(
        "touch",
        "{\"terms\":[1.0,0.0,0.1,0.0,1.0,0.0],\"hits\":5,\"residual-permille\":1.0}",
    )
    .unwrap();
    let mut calibrations = Calibrations::default();
    calibrations.take(kept);
    stage.send(Event::Calibrated(Box::new(calibrations)));
    let before = stage.view().frame.correction;
    assert_ne!(before, Correction::NONE);
    stage.choose("act:calibrate:touch");
    measure_glass(&mut stage, |x, y| (10_000 - x, y));
    assert_ne!(stage.view().frame.correction, before, "it is tried");
    stage.wait(14);
    assert_ne!(stage.view().frame.correction, before, "still");
    stage.wait(1);
    assert_eq!(stage.view().frame.correction, before);
    let page = page(&stage);
    assert!(!page.warning.is_empty() && page.pattern == Pattern::None);
    stage.choose("act:save");
    assert!(acts(&stage).is_empty(), "there is nothing to be kept");
    // The same when somebody leaves the page.
    stage.choose("act:again");
    measure_glass(&mut stage, |x, y| (10_000 - x, y));
    assert_ne!(stage.view().frame.correction, before);
    stage.touch(Touch::Back);
    assert_eq!(stage.view().frame.correction, before);
}

#[test]
fn fingers_that_do_not_fit_to_each_other_correct_nothing() {
    let mut stage = enter(Role::Technician);
    stage.choose("act:calibrate:touch");
    measure_glass(
        &mut stage,
        |x, y| if x == 5000 { (x + 900, y) } else { (x, y) },
    );
    assert_eq!(stage.view().frame.correction, Correction::NONE);
    let uneven = page(&stage).warning;
    stage.choose("act:again");
    measure_glass(&mut stage, |_, _| (5000, 5000));
    assert_eq!(stage.view().frame.correction, Correction::NONE);
    let impossible = page(&stage).warning;
    assert!(!uneven.is_empty() && !impossible.is_empty() && uneven != impossible);
    stage.choose("act:save");
    assert!(acts(&stage).is_empty());
}

/// Touches each cross, felt by the panel where `felt` says, in ten-thousandths of the glass.
fn measure_glass(stage: &mut Stage, felt: impl Fn(i32, i32) -> (i32, i32)) {
    for _ in 0..5 {
        let Pattern::Cross {
            x_permille,
            y_permille,
        } = page(stage).pattern
        else {
            panic!("no cross");
        };
        let place = |permille: u32| permille.cast_signed() * 10;
        let (x, y) = felt(place(x_permille), place(y_permille));
        stage.touch(Touch::Felt { x, y });
    }
}

#[test]
fn prints_are_moved_no_further_than_a_centimeter_and_begin_where_they_were() {
    let mut stage = enter(Role::Technician);
    let mut calibrations = Calibrations::default();
    for (what, json) in [
        (
            "print-offset",
            "{\"right-tenth-mm\":90,\"down-tenth-mm\":-5}",
        ),
        ("slip-offset", "{\"right-dots\":4}"),
    ] {
        calibrations.take(Calibrated::parse(what, json).unwrap());
    }
    stage.send(Event::Calibrated(Box::new(calibrations)));
    stage.choose("act:calibrate:print-offset");
    for _ in 0..3 {
        stage.choose("act:more");
    }
    assert!(
        !page(&stage).warning.is_empty(),
        "more than 10 mm is refused"
    );
    stage.choose("act:up");
    stage.choose("act:save");
    stage.choose("act:calibrate:slip-offset");
    stage.choose("act:up");
    stage.choose("act:less");
    stage.choose("act:less");
    stage.choose("act:save");
    let made: Vec<(&str, String)> = acts(&stage)
        .into_iter()
        .filter_map(|act| match act {
            Act::Calibrate { what, values } => Some((what, values)),
            _ => None,
        })
        .collect();
    let expect = [
        (
            "print-offset",
            "{\"right-tenth-mm\":100,\"down-tenth-mm\":-10}",
        ),
        ("slip-offset", "{\"right-dots\":-4}"),
    ];
    assert_eq!(made, expect.map(|(what, values)| (what, values.to_owned())));
}

#[test]
fn the_crop_of_the_camera_is_set_on_the_whole_picture_and_leaves_enough() {
    let mut stage = enter(Role::Technician);
    stage.choose("act:calibrate:camera-crop");
    let is_whole = |effect: &Effect| matches!(effect, Effect::Stream(_, Lens::WholeTray));
    assert!(stage.effects.iter().any(is_whole));
    // Fifteen steps of 20 from the left leave enough; from the right no more than twenty of them.
    for _ in 0..15 {
        stage.choose("act:more");
    }
    stage.choose("act:next");
    stage.choose("act:next");
    for _ in 0..20 {
        stage.choose("act:more");
    }
    assert!(page(&stage).warning.is_empty());
    stage.choose("act:more");
    assert!(!page(&stage).warning.is_empty());
    stage.choose("act:save");
    let made = acts(&stage);
    assert!(
        matches!(&made[..], [Act::Calibrate { what: "camera-crop", values }]
            if values.contains("\"left-permille\":300") && values.contains("\"right-permille\":400")),
        "{made:?}"
    );
}

#[test]
fn the_scanner_is_measured_by_three_codes_and_no_code_counts_twice() {
    let mut stage = enter(Role::Technician);
    stage.choose("act:calibrate:scanner");
    for _ in 0..3 {
        let code = page(&stage).code.unwrap();
        scanned(&mut stage, "KIOSK-CAL-0");
        assert_eq!(page(&stage).code.as_ref(), Some(&code), "it is still shown");
        stage.wait(2);
        scanned(&mut stage, &code);
    }
    stage.choose("act:save");
    let made = acts(&stage);
    assert!(
        matches!(&made[..], [Act::Calibrate { what: "scanner", values }]
            if values.contains("\"reads\":3") && values.contains("\"median-ms\":2000")),
        "{made:?}"
    );
}

#[test]
fn a_code_that_the_scanner_does_not_read_in_time_counts_as_missed() {
    let mut stage = enter(Role::Technician);
    stage.choose("act:calibrate:scanner");
    let code = page(&stage).code.unwrap();
    scanned(&mut stage, &code);
    for _ in 0..2 {
        assert_ne!(page(&stage).code.as_ref(), Some(&code));
        stage.wait(30);
    }
    assert_eq!(page(&stage).code, None, "it is over");
    stage.choose("act:save");
    let made = acts(&stage);
    assert!(
        matches!(&made[..], [Act::Calibrate { what: "scanner", values }]
            if values.contains("\"reads\":1") && values.contains("\"of\":3")),
        "{made:?}"
    );
}
