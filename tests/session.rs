//! Promises of the visit, checked on the real session with the real item packages.
#![expect(clippy::unwrap_used, reason = "a broken premise fails the test")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks the one effect that it looks for"
)]

use kiosk_app::event::{
    Answer, Effect, Ending, Event, FaceAnswer, FaceVerdict, IdentityAnswer, PrintNews, Question,
    Receipt, Ticket, Unanswered,
};
use kiosk_app::words::Lang;
use kiosk_device::{Action, DeviceClass, DeviceState, Fault, Media, Sensitive, Status};
use kiosk_tests::{Stage, adult, commitment, elder};
use kiosk_ui::{Language, Outcome, Paper, Screen, Touch};
use uuid::Uuid;

fn open(stage: &mut Stage, item: &str) {
    stage.touch(Touch::Start);
    stage.choose(item);
    assert_eq!(stage.screen(), "introduction");
}

fn known(stage: &mut Stage) {
    let ask = |effect: &Effect| match effect {
        Effect::Ask(ticket, Question::Identity { .. }) => Some(*ticket),
        _ => None,
    };
    let ticket = stage.ticket(ask).expect("the identity is asked for");
    let answer = IdentityAnswer {
        is_known: true,
        refusal: String::new(),
    };
    stage.send(Event::Answer(ticket, Answer::Identity(Ok(answer))));
}

/// An elder applies for the allowance, up to the review.
fn to_review(stage: &mut Stage, is_online: bool) {
    stage.send(Event::Link(is_online));
    open(stage, "old-age-allowance");
    stage.choose("self");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    if is_online {
        known(stage);
    }
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
    assert_eq!(stage.screen(), "review");
}

/// The page of that problem is shown.
fn is_problem(stage: &Stage, code: &str) -> bool {
    let expected = kiosk_app::problem::get(code).title(Lang::ZhHans);
    matches!(stage.view().screen, Screen::Problem { title, .. } if title == expected)
}

fn slips(stage: &Stage) -> usize {
    stage
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::PrintSlip(..)))
        .count()
}

#[test]
fn no_slip_and_no_acceptance_before_the_record_is_durable() {
    let mut stage = Stage::new();
    to_review(&mut stage, false);
    stage.touch(Touch::Next);
    assert_eq!((stage.screen(), slips(&stage)), ("working", 0));
    // Impatient fingers and time change nothing.
    stage.touch(Touch::Next);
    stage.touch(Touch::Leave);
    stage.wait(300);
    assert_eq!((stage.screen(), slips(&stage)), ("working", 0));
    stage.commit();
    assert_eq!((stage.screen(), slips(&stage)), ("done", 1));
    let Screen::Done {
        outcome,
        number,
        paper,
        ..
    } = stage.view().screen
    else {
        panic!("not done");
    };
    assert_eq!(
        (outcome, paper),
        (Outcome::AcceptedPending, Paper::Printing)
    );
    assert_eq!(number, "T001-20261122-00001");
}

#[test]
fn a_commit_that_fails_accepts_nothing_and_says_so() {
    let mut stage = Stage::new();
    to_review(&mut stage, false);
    stage.touch(Touch::Next);
    let ticket = stage
        .ticket(|effect| match effect {
            Effect::Commit(ticket, _) => Some(*ticket),
            _ => None,
        })
        .unwrap();
    stage.send(Event::CommitFailed(ticket, "queue.disk-full"));
    assert_eq!((stage.screen(), slips(&stage)), ("problem", 0));
}

#[test]
fn a_receipt_in_time_makes_the_case_accepted_and_a_late_one_updates_the_glass() {
    for is_late in [false, true] {
        let mut stage = Stage::new();
        to_review(&mut stage, true);
        stage.touch(Touch::Next);
        let commitment = stage.commit();
        assert_eq!(stage.screen(), "working");
        if is_late {
            stage.wait(10);
            assert_eq!(stage.screen(), "done");
        }
        let receipt = Receipt {
            reference: "R1".to_owned(),
            outcome: "accepted".to_owned(),
            ..Receipt::default()
        };
        stage.send(Event::Settled {
            id: Uuid::from_u128(99),
            receipt: receipt.clone(),
        });
        stage.send(Event::Settled {
            id: commitment.id,
            receipt,
        });
        let Screen::Done { outcome, .. } = stage.view().screen else {
            panic!("not done");
        };
        assert_eq!(outcome, Outcome::Accepted, "late: {is_late}");
        assert_eq!(slips(&stage), 1, "late: {is_late}");
    }
}

#[test]
fn a_slip_that_cannot_be_printed_leaves_the_case_accepted_and_can_be_tried_again() {
    let mut stage = Stage::new();
    to_review(&mut stage, false);
    stage.touch(Touch::Next);
    stage.commit();
    let ticket = stage
        .ticket(|effect| match effect {
            Effect::PrintSlip(ticket, _) => Some(*ticket),
            _ => None,
        })
        .unwrap();
    stage.send(Event::Print(
        ticket,
        PrintNews::Failed("printer.media-empty"),
    ));
    let Screen::Done { paper, outcome, .. } = stage.view().screen else {
        panic!("not done");
    };
    assert_eq!((paper, outcome), (Paper::Failed, Outcome::AcceptedPending));
    stage.choose("print-again");
    let slip = stage.effects.iter().find_map(|effect| match effect {
        Effect::PrintSlip(_, slip) => Some(slip.clone()),
        _ => None,
    });
    // The first one never came out, so this one is no copy.
    assert!(!slip.unwrap().is_copy);
}

#[test]
fn the_visit_never_times_out_while_a_card_lies_on_the_reader() {
    let mut stage = Stage::new();
    open(&mut stage, "old-age-allowance");
    stage.choose("self");
    stage.read_card(elder());
    stage.card_lies(Media::Present);
    stage.wait(600);
    assert_eq!(stage.screen(), "confirm-person");
    stage.card_lies(Media::NotPresent);
    stage.wait(45);
    let left = stage.view().frame.seconds_left;
    assert_eq!(left, Some(15), "the end is announced");
    stage.touch(Touch::Stay);
    assert_eq!(stage.view().frame.seconds_left, None);
    stage.wait(61);
    assert_eq!(stage.screen(), "leave");
}

#[test]
fn a_forgotten_card_keeps_the_farewell_until_it_is_taken() {
    let mut stage = Stage::new();
    open(&mut stage, "old-age-allowance");
    stage.choose("self");
    stage.read_card(elder());
    stage.card_lies(Media::Present);
    stage.touch(Touch::Leave);
    stage.wait(60);
    let Screen::Leave { take, .. } = stage.view().screen else {
        panic!("not leaving");
    };
    assert_eq!(take.len(), 1);
    stage.card_lies(Media::NotPresent);
    stage.wait(1);
    assert_eq!(stage.screen(), "attract");
}

#[test]
fn nothing_of_one_visitor_reaches_the_next() {
    let mut stage = Stage::new();
    to_review(&mut stage, false);
    stage.touch(Touch::Language(Language::En));
    stage.touch(Touch::Leave);
    let erased = stage.effects.iter().any(|effect| {
        matches!(effect, Effect::Erased(erasure)
            if erasure.persons == 1 && erasure.answers == 3 && erasure.pictures == 2)
    });
    assert!(erased, "the erasure is recorded in numbers");
    stage.wait(10);
    let view = stage.view();
    assert_eq!(view.screen.name(), "attract");
    assert_eq!(view.frame.language, Language::ZhHans);
    // `Debug` hides what people said, but not that they said something.
    let inside = format!("{:?}", stage.session);
    for empty in [
        "principal: None",
        "helper: None",
        "answers: []",
        "pictures: []",
        "commitment: None",
        "page: Attract",
    ] {
        assert!(inside.contains(empty), "the session is not at {empty}");
    }
}

#[test]
fn a_late_answer_of_an_earlier_visit_is_dropped() {
    let mut stage = Stage::new();
    open(&mut stage, "old-age-allowance");
    stage.choose("self");
    let old = stage.card_ticket().unwrap();
    stage.touch(Touch::Leave);
    stage.wait(10);
    open(&mut stage, "old-age-allowance");
    stage.choose("self");
    stage.send(Event::Card(old, Box::new(adult())));
    assert_eq!(stage.screen(), "identify");
    stage.send(Event::Committed(Ticket(1), commitment("old-age-allowance")));
    stage.send(Event::CardEnded(old, Ending::Failed("id-card.no-device")));
    assert_eq!(stage.screen(), "identify");
}

#[test]
fn an_expired_card_and_a_person_too_young_are_told_kindly() {
    let mut stage = Stage::new();
    open(&mut stage, "old-age-allowance");
    stage.choose("self");
    let mut person = elder();
    person.valid_until = Some(jiff::civil::Date::constant(2020, 1, 1));
    stage.read_card(person);
    stage.touch(Touch::Next);
    assert!(is_problem(&stage, "id-card.expired"));
    stage.choose("retry");
    stage.choose("type-number");
    stage.type_keys("440100199001011237");
    stage.touch(Touch::Next);
    stage.touch(Touch::Next);
    assert!(is_problem(&stage, "session.not-eligible"));
}

#[test]
fn a_typed_number_with_a_wrong_check_digit_is_refused_at_once() {
    let mut stage = Stage::new();
    open(&mut stage, "pension-qualification");
    stage.choose("self");
    stage.choose("type-number");
    stage.type_keys("440100199001011238");
    stage.touch(Touch::Next);
    let Screen::Question { error, .. } = stage.view().screen else {
        panic!("not the number page");
    };
    assert!(!error.is_empty());
}

#[test]
fn helper_and_principal_are_two_people_and_the_principal_consents() {
    let mut stage = Stage::new();
    stage.send(Event::Link(false));
    open(&mut stage, "old-age-allowance");
    stage.choose("other");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.read_card(elder());
    stage.touch(Touch::Next);
    assert!(is_problem(&stage, "session.same-person"));
    stage.choose("retry");
    stage.read_card(adult());
    stage.touch(Touch::Next);
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    assert_eq!(stage.screen(), "consent");
    stage.touch(Touch::Next);
    assert_eq!(stage.screen(), "question");
}

#[test]
fn without_a_line_an_online_item_says_so_before_it_starts_and_the_others_go_on() {
    let mut stage = Stage::new();
    stage.send(Event::Link(false));
    open(&mut stage, "insurance-certificate");
    stage.choose("self");
    stage.touch(Touch::Next);
    let Screen::Introduction {
        unavailable,
        advice,
        ..
    } = stage.view().screen
    else {
        panic!("it started");
    };
    assert!(!unavailable.is_empty() && !advice.is_empty());
    stage.touch(Touch::Back);
    stage.choose("old-age-allowance");
    stage.choose("self");
    assert_eq!(stage.screen(), "identify");
}

#[test]
fn paper_out_stops_what_prints_and_nothing_else() {
    let mut stage = Stage::new();
    let fault = Fault::new("printer.media-empty", Action::Clear, "");
    stage.status(
        DeviceClass::SlipPrinter,
        Status::failed(DeviceState::UserError, fault),
    );
    stage.touch(Touch::Start);
    let view = stage.view();
    assert_eq!(view.frame.notices.len(), 1);
    let Screen::Home { items, .. } = view.screen else {
        panic!("not home");
    };
    let is_open = |id: &str| {
        items
            .iter()
            .any(|item| item.id == id && item.unavailable.is_empty())
    };
    assert!(is_open("insurance-certificate"));
    assert!(!is_open("old-age-allowance"));
}

#[test]
fn three_ways_through_the_face_step() {
    let face = |stage: &mut Stage, verdict| {
        stage.touch(Touch::Next);
        let ask = |effect: &Effect| match effect {
            Effect::Ask(ticket, Question::Face { .. }) => Some(*ticket),
            _ => None,
        };
        let ticket = stage.ticket(ask).expect("the face is compared");
        let answer = FaceAnswer {
            verdict,
            reference: "F1".to_owned(),
        };
        stage.send(Event::Answer(ticket, Answer::Face(Ok(answer))));
    };
    let to_face = |stage: &mut Stage| {
        open(stage, "pension-qualification");
        stage.choose("self");
        stage.read_card(elder());
        stage.touch(Touch::Next);
        stage.choose("normal");
        known(stage);
        stage.picture();
    };
    let mut stage = Stage::new();
    to_face(&mut stage);
    face(&mut stage, FaceVerdict::Mismatch);
    assert_eq!(stage.screen(), "face");
    face(&mut stage, FaceVerdict::Match);
    assert_eq!(stage.screen(), "working");

    // A witness instead of a face; the witness cannot be the person.
    let mut stage = Stage::new();
    to_face(&mut stage);
    stage.choose("witness");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    assert!(is_problem(&stage, "session.same-person"));

    // No line: the picture is kept as evidence and judged later.
    let mut stage = Stage::new();
    to_face(&mut stage);
    stage.send(Event::Link(false));
    stage.touch(Touch::Next);
    let verified = stage.ticket(|effect| match effect {
        Effect::Commit(_, submission) => Some((submission.verified_by, submission.pictures.len())),
        _ => None,
    });
    assert_eq!(verified, Some(("evidence", 1)));
}

#[test]
fn a_lost_answer_about_a_witness_never_counts_as_none_needed() {
    let mut stage = Stage::new();
    open(&mut stage, "pension-qualification");
    stage.choose("self");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    known(&mut stage);
    stage.choose("witness");
    stage.read_card(adult());
    stage.touch(Touch::Next);
    assert_eq!(stage.screen(), "working");
    // No answer comes at all, not even a failure.
    stage.wait(30);
    let verified = stage.ticket(|effect| match effect {
        Effect::Commit(_, submission) => Some(submission.verified_by),
        _ => None,
    });
    assert_eq!(
        verified,
        Some("witness"),
        "recorded, to be judged by the platform"
    );
}

#[test]
fn going_back_to_the_items_records_what_was_erased() {
    let mut stage = Stage::new();
    stage.send(Event::Link(false));
    open(&mut stage, "old-age-allowance");
    stage.choose("self");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    stage.type_keys("13800000000");
    stage.touch(Touch::Next);
    // Back to the first question, the person, the card, the introduction, the items.
    for screen in [
        "question",
        "confirm-person",
        "identify",
        "introduction",
        "home",
    ] {
        stage.touch(Touch::Back);
        assert_eq!(stage.screen(), screen);
    }
    let is_recorded = stage
        .effects
        .iter()
        .any(|effect| matches!(effect, Effect::Erased(erasure) if erasure.answers == 1));
    assert!(is_recorded, "the typed number is gone and that is recorded");
}

#[test]
fn an_unknown_code_is_explained_and_a_slip_is_found() {
    let mut stage = Stage::new();
    stage.touch(Touch::Start);
    stage.choose("track");
    let scan = |effect: &Effect| match effect {
        Effect::Scan(ticket) => Some(*ticket),
        _ => None,
    };
    let ticket = stage.ticket(scan).unwrap();
    stage.send(Event::Code(
        ticket,
        Sensitive::new("https://example.org/".to_owned()),
    ));
    assert_eq!(stage.screen(), "scan");
    let ticket = stage.ticket(scan).expect("it goes on scanning");
    stage.send(Event::Code(ticket, Sensitive::new(commitment("x").code)));
    let asked = stage.ticket(|effect| match effect {
        Effect::Ask(ticket, Question::Case { number }) => Some((*ticket, number.clone())),
        _ => None,
    });
    let (ticket, number) = asked.unwrap();
    assert_eq!(number, "T001-20261122-00001");
    let unanswered = Unanswered {
        code: "platform.slow",
        words: String::new(),
    };
    stage.send(Event::Answer(ticket, Answer::Case(Err(unanswered))));
    assert_eq!(stage.screen(), "problem");
}

#[test]
fn a_case_is_rated_once() {
    let mut stage = Stage::new();
    to_review(&mut stage, false);
    stage.touch(Touch::Next);
    stage.commit();
    stage.touch(Touch::Next);
    assert_eq!(stage.screen(), "rating");
    stage.choose("5");
    stage.choose("1");
    let ratings: Vec<u8> = stage
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Rate(rating) => Some(rating.level),
            _ => None,
        })
        .collect();
    assert_eq!(ratings, [5]);
}

#[test]
fn an_owed_slip_is_printed_as_a_copy_without_a_name() {
    let mut stage = Stage::new();
    stage.send(Event::SlipMissed(commitment("old-age-allowance")));
    let slip = stage.ticket(|effect| match effect {
        Effect::PrintSlip(_, slip) => Some(slip.clone()),
        _ => None,
    });
    let slip = slip.expect("the slip is printed");
    assert!(slip.is_copy);
    assert_eq!(slip.content["applicant_masked"], "");
    assert_eq!(stage.screen(), "attract");
}

/// A small generator (xorshift64*): a failure prints its seed and is replayed by it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound
    }
}

/// Fingers, devices and the line do what they like for a long time: the visit never panics, never
/// prints before a commitment, and rests without anything personal.
#[test]
fn a_random_day_keeps_the_promises() {
    for seed in 1..=40_u64 {
        let mut stage = Stage::new();
        let mut random = Random(seed);
        for step in 0..1500 {
            random_event(&mut stage, &mut random);
            check_promises(&mut stage, seed, step);
        }
    }
}

fn random_event(stage: &mut Stage, random: &mut Random) {
    let ids = [
        "old-age-allowance",
        "pension-qualification",
        "insurance-certificate",
        "self",
        "other",
        "track",
        "retry",
        "home",
        "leave",
        "type-number",
        "witness",
        "normal",
        "elder",
        "own-home",
        "child",
        "last-year",
        "personal",
        "phone",
        "pictures",
        "5",
        "print-again",
        "group:elder",
    ];
    let pick =
        |random: &mut Random, count: usize| usize::try_from(random.below(count as u64)).unwrap();
    match random.below(16) {
        0 => stage.touch(Touch::Start),
        1..=4 => stage.touch(Touch::Next),
        5 => stage.touch(Touch::Back),
        6 | 7 => {
            let id = ids[pick(random, ids.len())];
            stage.choose(id);
        }
        8 => stage.type_keys(
            ["13800000000", "6222020000000000000", "440100195003030021"][pick(random, 3)],
        ),
        9 => stage.wait(random.below(30)),
        10 => {
            let is_online = random.below(2) == 0;
            stage.send(Event::Link(is_online));
        }
        11 => stage.card_lies(if random.below(3) == 0 {
            Media::Present
        } else {
            Media::NotPresent
        }),
        12 if random.below(6) == 0 => stage.touch(Touch::Leave),
        _ => {
            if let Some(effect) = stage.effects.pop_front() {
                answer(stage, effect, random);
            }
        }
    }
}

/// The world answers an effect, or does not.
fn answer(stage: &mut Stage, effect: Effect, random: &mut Random) {
    let is_good = random.below(4) > 0;
    match effect {
        Effect::ReadCard(ticket) if is_good => stage.send(Event::Card(ticket, Box::new(elder()))),
        Effect::ReadCard(ticket) => stage.send(Event::CardEnded(
            ticket,
            Ending::Failed("id-card.no-device"),
        )),
        Effect::Stream(ticket, _) => stage.send(Event::Frame(ticket, kiosk_tests::frame())),
        Effect::Commit(ticket, submission) if is_good => {
            stage.send(Event::Committed(ticket, commitment(&submission.item)));
        }
        Effect::Commit(ticket, _) => stage.send(Event::CommitFailed(ticket, "queue.disk-full")),
        Effect::PrintSlip(ticket, _) => stage.send(Event::Print(ticket, PrintNews::Presented)),
        Effect::Ask(ticket, Question::Identity { .. }) => {
            let answer = IdentityAnswer {
                is_known: is_good,
                refusal: String::new(),
            };
            stage.send(Event::Answer(ticket, Answer::Identity(Ok(answer))));
        }
        Effect::Ask(ticket, Question::Face { .. }) => {
            let verdict = if is_good {
                FaceVerdict::Match
            } else {
                FaceVerdict::NoFace
            };
            let answer = FaceAnswer {
                verdict,
                reference: String::new(),
            };
            stage.send(Event::Answer(ticket, Answer::Face(Ok(answer))));
        }
        _ => {}
    }
}

fn check_promises(stage: &mut Stage, seed: u64, step: u32) {
    let view = stage.view();
    if let Screen::Done {
        outcome: Outcome::AcceptedPending | Outcome::Accepted,
        number,
        ..
    } = &view.screen
    {
        assert!(
            !number.is_empty(),
            "seed {seed}, step {step}: accepted without a number"
        );
    }
    if view.screen.name() == "attract" {
        let inside = format!("{:?}", stage.session);
        assert!(
            inside.contains("principal: None"),
            "seed {seed}, step {step}: a person remains"
        );
    }
    // Slips come only from commitments: the queue of effects holds no slip of a failed one.
    for effect in &stage.effects {
        if let Effect::PrintSlip(_, slip) = effect {
            assert!(
                !slip.commitment.number.is_empty(),
                "seed {seed}, step {step}"
            );
        }
    }
    if stage.effects.len() > 64 {
        stage.effects.clear();
    }
}

#[test]
fn a_picture_without_a_face_is_advised_against_and_who_insists_is_heard() {
    let mut stage = Stage::new();
    open(&mut stage, "pension-qualification");
    stage.choose("self");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    known(&mut stage);
    stage.picture();
    let judged = stage
        .ticket(|effect| match effect {
            Effect::Judge(ticket, _) => Some(*ticket),
            _ => None,
        })
        .expect("the live picture is looked at");
    stage.send(Event::FaceJudged(judged, Some("camera.face-missing")));
    let is_asked = |stage: &Stage| {
        stage
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Ask(_, Question::Face { .. })))
    };
    for _ in 0..2 {
        stage.touch(Touch::Next);
        assert!(
            !is_asked(&stage),
            "a picture that shows no face is not sent"
        );
    }
    stage.touch(Touch::Next);
    assert!(is_asked(&stage), "the third time the platform decides");
}

#[test]
fn a_page_that_was_found_is_shown_and_a_late_one_is_dropped() {
    let mut stage = Stage::new();
    stage.send(Event::Link(false));
    open(&mut stage, "old-age-allowance");
    stage.choose("self");
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    stage.type_keys("13800000000");
    stage.touch(Touch::Next);
    stage.type_keys("6222020000000000000");
    stage.touch(Touch::Next);
    stage.choose("own-home");
    let straighten = |stage: &mut Stage| {
        stage.ticket(|effect| match effect {
            Effect::Straighten(ticket, _) => Some(*ticket),
            _ => None,
        })
    };
    let width = |stage: &Stage| match stage.view().screen {
        Screen::Capture { taken, .. } => taken.map(|picture| picture.width),
        _ => None,
    };
    let mut page = kiosk_tests::frame();
    page.preview.width = 1;
    page.preview.height = 2;
    stage.picture();
    stage.touch(Touch::Next);
    let first = straighten(&mut stage).expect("the page is looked for");
    stage.touch(Touch::Other);
    stage.send(Event::Straightened(first, page.clone()));
    assert_eq!(width(&stage), None, "the picture was given up meanwhile");
    stage.touch(Touch::Next);
    assert_eq!(width(&stage), Some(2));
    let second = straighten(&mut stage).expect("the page is looked for again");
    stage.send(Event::Straightened(first, page.clone()));
    assert_eq!(width(&stage), Some(2), "an answer about an earlier picture");
    stage.send(Event::Straightened(second, page));
    assert_eq!(width(&stage), Some(1));
}

#[test]
fn without_a_scanner_the_camera_reads_the_slip() {
    let mut stage = Stage::new();
    let gone = Fault::new("device.not-there", Action::Maintenance, "");
    stage.status(
        DeviceClass::QrScanner,
        Status::failed(DeviceState::NoDevice, gone),
    );
    stage.touch(Touch::Start);
    stage.choose("track");
    assert_eq!(stage.screen(), "scan");
    let is_scanned = |effect: &Effect| matches!(effect, Effect::Scan(_));
    assert!(!stage.effects.iter().any(is_scanned));
    stage.picture();
    let ticket = stage
        .ticket(|effect| match effect {
            Effect::Decode(ticket, _) => Some(*ticket),
            _ => None,
        })
        .expect("the picture is looked at for a code");
    let code = |text: &str| Sensitive::new(text.to_owned());
    stage.send(Event::Code(ticket, code("something else")));
    assert_eq!(stage.screen(), "scan");
    stage.picture();
    let ticket = stage
        .ticket(|effect| match effect {
            Effect::Decode(ticket, _) => Some(*ticket),
            _ => None,
        })
        .expect("the camera goes on");
    let slip = commitment("old-age-allowance").code;
    stage.send(Event::Code(ticket, code(&slip)));
    assert!(
        stage
            .ticket(|effect| match effect {
                Effect::Ask(_, Question::Case { .. }) => Some(()),
                _ => None,
            })
            .is_some()
    );
}

#[test]
fn a_slip_after_one_that_was_taken_is_a_copy_and_one_after_a_retracted_one_is_not() {
    let printed = |stage: &mut Stage| {
        stage
            .ticket(|effect| match effect {
                Effect::PrintSlip(ticket, slip) => Some((*ticket, slip.is_copy)),
                _ => None,
            })
            .expect("a slip")
    };
    let news = |stage: &mut Stage, ticket, news| stage.send(Event::Print(ticket, news));
    let mut stage = Stage::new();
    to_review(&mut stage, false);
    stage.touch(Touch::Next);
    stage.commit();
    let (first, is_copy) = printed(&mut stage);
    assert!(!is_copy);
    news(&mut stage, first, PrintNews::Presented);
    news(&mut stage, first, PrintNews::Taken);
    stage.choose("print-again");
    let (second, is_copy) = printed(&mut stage);
    assert!(is_copy, "one is in the visitor's hand");
    // The copy fails: it is not printed again by itself, and what follows is a copy still.
    news(&mut stage, second, PrintNews::Failed("printer.media-empty"));
    stage.status(DeviceClass::SlipPrinter, Status::online());
    assert_eq!(slips(&stage), 0);
    stage.choose("print-again");
    assert!(printed(&mut stage).1);

    let mut stage = Stage::new();
    to_review(&mut stage, false);
    stage.touch(Touch::Next);
    stage.commit();
    let (first, _) = printed(&mut stage);
    news(&mut stage, first, PrintNews::Presented);
    news(
        &mut stage,
        first,
        PrintNews::Failed("printer.slip-retracted"),
    );
    stage.choose("print-again");
    assert!(!printed(&mut stage).1, "nobody has one");
}
