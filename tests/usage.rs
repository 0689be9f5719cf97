//! How a visit ends is counted as what it was: by the real session with the real item packages, and
//! in words that the platform's own reader understands.

use central_platform::telemetry;
use kiosk_app::event::{
    Answer, Cause, Credential, Effect, Ending, Event, FaceAnswer, FaceVerdict, IdentityAnswer,
    Note, PageSet, PrintNews, Question, Ticket, Unanswered, VisitEnd,
};
use kiosk_app::platform::telemetry::Counters;
use kiosk_device::{Action, DeviceClass, DeviceState, Fault, Status};
use kiosk_tests::{Stage, adult, elder};
use kiosk_ui::Touch;
use offline_cache::VisitEndCount;

const ALLOWANCE: &str = "old-age-allowance";
const CERTIFICATE: &str = "insurance-certificate";

fn begun(item: &str) -> Stage {
    let mut stage = Stage::new();
    stage.touch(Touch::Start);
    stage.choose(item);
    stage.choose("self");
    assert_eq!(stage.screen(), "identify");
    stage
}

/// What was asked last, answered.
fn answer(stage: &mut Stage, answer: impl Fn(&Question) -> Option<Answer>) {
    let asked = |effect: &Effect| {
        if let Effect::Ask(ticket, question) = effect {
            Some((*ticket, answer(question)?))
        } else {
            None
        }
    };
    let (ticket, answer) = stage.ticket(asked).expect("the platform is asked");
    stage.send(Event::Answer(ticket, answer));
}

fn identity(refusal: &str) -> impl Fn(&Question) -> Option<Answer> {
    let identity = IdentityAnswer {
        is_known: true,
        refusal: refusal.to_owned(),
    };
    move |question| {
        matches!(question, Question::Identity { .. })
            .then(|| Answer::Identity(Ok(identity.clone())))
    }
}

/// Somebody has shown a card of the right person for the allowance.
fn identified() -> Stage {
    let mut stage = begun(ALLOWANCE);
    stage.read_card(elder());
    stage.touch(Touch::Next);
    stage.choose("normal");
    stage
}

fn at_review() -> Stage {
    let mut stage = identified();
    answer(&mut stage, identity(""));
    for keys in ["13800000000", "6222020000000000000"] {
        stage.type_keys(keys);
        stage.touch(Touch::Next);
    }
    stage.choose("own-home");
    for _ in 0..2 {
        stage.picture();
        stage.touch(Touch::Next);
        stage.touch(Touch::Next);
    }
    assert_eq!(stage.screen(), "review");
    stage
}

/// Up to where a document is fetched.
fn at_fetch() -> Stage {
    let mut stage = begun(CERTIFICATE);
    stage.read_card(adult());
    stage.touch(Touch::Next);
    answer(&mut stage, identity(""));
    stage.picture();
    stage.touch(Touch::Next);
    answer(&mut stage, |question| {
        let face = FaceAnswer {
            verdict: FaceVerdict::Match,
            reference: "F1".to_owned(),
        };
        matches!(question, Question::Face { .. }).then_some(Answer::Face(Ok(face)))
    });
    for _ in 0..2 {
        let kiosk_ui::Screen::Question { options, .. } = stage.view().screen else {
            panic!("not a question: {}", stage.screen());
        };
        stage.choose(&options[0].id);
    }
    stage
}

fn fetched(credential: Result<Credential, Unanswered>) -> impl Fn(&Question) -> Option<Answer> {
    move |question| {
        matches!(question, Question::Credential { .. })
            .then(|| Answer::Credential(credential.clone()))
    }
}

fn unanswered(code: &'static str) -> Unanswered {
    Unanswered {
        code,
        words: String::new(),
    }
}

/// A document is on the glass, and may be printed.
fn at_preview() -> Stage {
    let mut stage = at_fetch();
    let credential = Credential {
        title: "证明".to_owned(),
        number: "N1".to_owned(),
        pdf: std::sync::Arc::new(kiosk_device::Sensitive::new(Vec::new())),
        issuer: "office".to_owned(),
    };
    answer(&mut stage, fetched(Ok(credential)));
    let ticket = painting(&mut stage);
    let pages = PageSet {
        pages: vec![kiosk_tests::frame().preview],
    };
    stage.send(Event::Pages(ticket, Ok(pages)));
    assert_eq!(stage.screen(), "preview");
    stage
}

fn painting(stage: &mut Stage) -> Ticket {
    let paint = |effect: &Effect| {
        if let Effect::Paint(ticket, _) = effect {
            Some(*ticket)
        } else {
            None
        }
    };
    stage.ticket(paint).expect("pages are painted")
}

/// The printing of a document has begun.
fn printing() -> (Stage, Ticket) {
    let mut stage = at_preview();
    stage.touch(Touch::Next);
    let print = |effect: &Effect| {
        if let Effect::PrintPages { ticket, .. } = effect {
            Some(*ticket)
        } else {
            None
        }
    };
    let ticket = stage.ticket(print).expect("pages are printed");
    (stage, ticket)
}

/// The visit has ended once, and so.
#[track_caller]
fn check(stage: &Stage, item: &str, expected: VisitEnd) {
    let ended = |effect: &Effect| {
        if let Effect::Note(Note::VisitEnded { item, end, .. }) = effect {
            Some((item.clone(), *end))
        } else {
            None
        }
    };
    let ends: Vec<_> = stage.effects.iter().filter_map(ended).collect();
    assert_eq!(ends, [(item.to_owned(), expected)]);
}

const fn left(cause: Cause) -> VisitEnd {
    VisitEnd::Abandoned(cause)
}

#[test]
fn who_leaves_and_who_walks_away_are_told_apart() {
    let mut stage = begun(ALLOWANCE);
    stage.touch(Touch::Leave);
    stage.wait(100);
    check(&stage, ALLOWANCE, left(Cause::Canceled));
    let mut stage = begun(ALLOWANCE);
    stage.wait(100);
    check(&stage, ALLOWANCE, left(Cause::Timeout));
    // Back to the items is an end too.
    let mut stage = begun(ALLOWANCE);
    stage.touch(Touch::Back);
    stage.touch(Touch::Back);
    assert_eq!(stage.screen(), "home");
    check(&stage, ALLOWANCE, left(Cause::Canceled));
}

#[test]
fn looking_at_an_item_is_no_visit_of_it() {
    let mut stage = Stage::new();
    stage.touch(Touch::Start);
    stage.choose(ALLOWANCE);
    stage.touch(Touch::Leave);
    stage.wait(100);
    let is_note = |effect: &Effect| matches!(effect, Effect::Note(_));
    assert!(!stage.effects.iter().any(is_note));
}

#[test]
fn a_device_that_fails_is_the_cause_even_if_nobody_touches_the_glass_any_more() {
    for is_timed_out in [false, true] {
        let mut stage = begun(ALLOWANCE);
        let ticket = stage.card_ticket().unwrap();
        stage.send(Event::CardEnded(ticket, Ending::Failed("device.not-there")));
        assert_eq!(stage.screen(), "problem");
        if is_timed_out {
            stage.wait(100);
        } else {
            stage.choose("leave");
        }
        check(&stage, ALLOWANCE, left(Cause::Device));
    }
    // What was mended in time is no cause.
    let mut stage = begun(ALLOWANCE);
    let ticket = stage.card_ticket().unwrap();
    stage.send(Event::CardEnded(ticket, Ending::Failed("device.not-there")));
    stage.choose("retry");
    stage.touch(Touch::Leave);
    check(&stage, ALLOWANCE, left(Cause::Canceled));
}

#[test]
fn a_printer_that_stops_before_the_last_page_is_a_device_and_one_after_it_is_not() {
    let (mut stage, ticket) = printing();
    stage.send(Event::Print(
        ticket,
        PrintNews::Stopped("printer.media-empty"),
    ));
    stage.choose("leave");
    check(&stage, CERTIFICATE, left(Cause::Device));
    let (mut stage, ticket) = printing();
    stage.send(Event::Print(ticket, PrintNews::Presented));
    stage.wait(100);
    check(&stage, CERTIFICATE, VisitEnd::Completed);
    let mut stage = at_preview();
    let broken = Status {
        state: DeviceState::HardwareError,
        faults: vec![Fault::new("printer.media-jam", Action::Clear, "")],
        ..Status::online()
    };
    stage.status(DeviceClass::PagePrinter, broken);
    stage.wait(100);
    check(&stage, CERTIFICATE, left(Cause::Device));
}

#[test]
fn a_line_that_fails_is_told_from_a_platform_that_does() {
    for (code, end) in [
        ("platform.slow", left(Cause::Line)),
        ("platform.unreachable", left(Cause::Line)),
        ("platform.refused", left(Cause::NotEligible)),
        ("platform.server-error", VisitEnd::Failed),
        ("platform.seal-invalid", VisitEnd::Failed),
    ] {
        let mut stage = at_fetch();
        answer(&mut stage, fetched(Err(unanswered(code))));
        assert_eq!(stage.screen(), "problem");
        stage.choose("home");
        check(&stage, CERTIFICATE, end);
    }
    let mut stage = begun(CERTIFICATE);
    stage.read_card(adult());
    stage.send(Event::Link(false));
    stage.touch(Touch::Next);
    stage.choose("leave");
    check(&stage, CERTIFICATE, left(Cause::Line));
}

#[test]
fn whom_an_item_is_not_for_is_not_eligible() {
    let mut stage = begun(ALLOWANCE);
    stage.read_card(adult());
    stage.touch(Touch::Next);
    stage.choose("leave");
    check(&stage, ALLOWANCE, left(Cause::NotEligible));
    let mut stage = identified();
    answer(&mut stage, identity("已经在领取"));
    stage.choose("leave");
    check(&stage, ALLOWANCE, left(Cause::NotEligible));
}

#[test]
fn a_withdrawn_item_and_staff_who_come_close_a_visit() {
    let mut stage = begun(ALLOWANCE);
    stage.touch(Touch::Back);
    stage.send(Event::Suspended(vec![ALLOWANCE.to_owned()]));
    stage.touch(Touch::Leave);
    check(&stage, ALLOWANCE, left(Cause::Closed));
    let mut stage = begun(ALLOWANCE);
    stage.touch(Touch::Staff);
    stage.choose("staff-finish");
    check(&stage, ALLOWANCE, left(Cause::Closed));
}

#[test]
fn what_is_durable_is_completed_however_the_visit_ends_and_what_is_not_has_failed() {
    for is_timed_out in [false, true] {
        let mut stage = at_review();
        stage.touch(Touch::Next);
        stage.commit();
        stage.wait(if is_timed_out { 300 } else { 15 });
        stage.touch(Touch::Leave);
        check(&stage, ALLOWANCE, VisitEnd::Completed);
    }
    let mut stage = at_review();
    stage.touch(Touch::Next);
    let commit = |effect: &Effect| {
        if let Effect::Commit(ticket, _) = effect {
            Some(*ticket)
        } else {
            None
        }
    };
    let ticket = stage.ticket(commit).unwrap();
    stage.send(Event::CommitFailed(ticket, "queue.disk-full"));
    stage.choose("leave");
    check(&stage, ALLOWANCE, VisitEnd::Failed);
}

#[test]
fn the_platforms_own_reader_understands_every_word_of_the_report() {
    let causes = Cause::ALL.into_iter().map(VisitEnd::Abandoned);
    let ends = [VisitEnd::Completed, VisitEnd::Failed]
        .into_iter()
        .chain(causes);
    let counters = Counters {
        ends: ends
            .zip(1..)
            .map(|(end, count)| VisitEndCount {
                item: ALLOWANCE.to_owned(),
                end,
                count,
            })
            .collect(),
        store_free_bytes: Some(5_000_000_000),
        memory_bytes: Some(7),
    };
    let read = telemetry::read(&counters.text());
    assert_eq!(read.items.len(), 1);
    // In the order of the reader's own lists.
    assert_eq!(telemetry::OUTCOMES, ["completed", "abandoned", "failed"]);
    assert_eq!(read.items[ALLOWANCE], [1, 3 + 4 + 5 + 6 + 7 + 8, 2]);
    assert_eq!(telemetry::CAUSES, Cause::ALL.map(Cause::word));
    assert_eq!(read.causes, [3, 4, 5, 6, 7, 8]);
    assert_eq!(
        (read.store_free_bytes, read.memory_bytes),
        (Some(5_000_000_000), Some(7))
    );
}
