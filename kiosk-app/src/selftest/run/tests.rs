//! Each plan in a world that does as it should, in one where nothing comes, and in one that falls
//! apart in the middle.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kiosk_device::{Action, Fault};

use super::*;
use crate::selftest::{Part, plan, plans};

const DEVICE: &str = "tested";

/// A device of a test's class that is well.
fn well(class: DeviceClass) -> Status {
    let mut status = Status::online();
    let readings: &[(&str, &str)] = match class {
        DeviceClass::IoBoard => &[("cabinet-door", "closed"), ("presence", "present")],
        DeviceClass::Ups => &[("test-running", "no"), ("battery-voltage", "27.0")],
        DeviceClass::Speaker => &[("volume-percent", "55")],
        DeviceClass::IdCard
        | DeviceClass::QrScanner
        | DeviceClass::SlipPrinter
        | DeviceClass::PagePrinter
        | DeviceClass::Camera
        | DeviceClass::SmartCard
        | DeviceClass::SignaturePad => &[],
    };
    for (name, value) in readings {
        let (name, value) = ((*name).to_owned(), (*value).to_owned());
        status.readings.insert(name, value);
    }
    status
}

fn gone() -> Status {
    let fault = Fault::new("device.gone", Action::Reset, "pulled");
    Status::failed(DeviceState::NoDevice, fault)
}

fn finding(pairs: &[(&str, &str)]) -> Finding {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Finding {
        figures: pairs.iter().map(own).collect(),
        ..Finding::default()
    }
}

fn partial(pairs: &[(&str, &str)]) -> Finding {
    Finding {
        is_partial: true,
        ..finding(pairs)
    }
}

fn frame(gray: u8) -> Frame {
    let rgb =
        (0..64 * 48).flat_map(|index| [gray.wrapping_add(u8::try_from(index % 8).unwrap()); 3]);
    Frame {
        preview: Picture {
            width: 64,
            height: 48,
            rgb: Arc::new(rgb.collect()),
        },
        jpeg: Arc::new(Sensitive::new(vec![0; 8])),
    }
}

/// One run with its time, and everything it asked for.
struct World {
    run: Run,
    class: Option<DeviceClass>,
    tickets: u64,
    now: Duration,
    asked: Vec<Effect>,
    /// What the camera looks at.
    role: &'static str,
    gray: u8,
    code: String,
}

impl World {
    fn begin(plan: &'static Plan, setting: &Setting) -> Self {
        let mut tickets = 0;
        let now = Duration::from_secs(100);
        let mut mint = || {
            tickets += 1;
            Ticket(tickets)
        };
        let (run, asked) = Run::begin(plan, DEVICE, setting, &mut mint, moment(now));
        Self {
            run,
            class: plan.class,
            tickets,
            now,
            asked,
            role: "face",
            gray: 90,
            code: String::new(),
        }
    }

    fn healthy(plan: &'static Plan) -> Self {
        Self::begin(plan, &setting(plan))
    }

    fn tell(&mut self, event: &Event) {
        let tickets = &mut self.tickets;
        let mut mint = || {
            *tickets += 1;
            Ticket(*tickets)
        };
        let effects = self.run.apply(event, &mut mint, moment(self.now));
        self.asked.extend(effects);
    }

    fn status(&mut self, change: impl FnOnce(&mut Status)) {
        let mut status = self.run.status.clone();
        change(&mut status);
        let class = self.class.unwrap_or(DeviceClass::Ups);
        self.tell(&Event::Status {
            class,
            device: DEVICE.to_owned(),
            status,
        });
    }

    fn read(&mut self, name: &str, value: &str) {
        self.status(|status| {
            status.readings.insert(name.to_owned(), value.to_owned());
        });
    }

    /// The world answers what was asked so far, once.
    fn answer(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        for effect in asked {
            if self.run.outcome().is_none() {
                self.answer_one(effect);
            }
        }
    }

    fn answer_one(&mut self, effect: Effect) {
        self.now += Duration::from_millis(125);
        if let Effect::Probe(ticket, probe) = effect {
            self.answer_probe(ticket, probe);
        } else if let Effect::Scan(ticket) = effect {
            let code = self.run.page(Lang::En, moment(self.now)).code;
            let code = code.unwrap_or_else(|| self.code.clone());
            self.tell(&Event::Code(ticket, Sensitive::new(code)));
        } else if let Effect::Stream(ticket, _) = effect {
            // A camera goes on; sixteen more for the step that comes behind.
            for _ in 0..PICTURES * 2 {
                self.now += Duration::from_millis(125);
                self.tell(&Event::Frame(ticket, frame(self.gray)));
            }
        } else if let Effect::Judge(ticket, _) = effect {
            self.tell(&Event::FaceJudged(ticket, None));
        } else if let Effect::Decode(ticket, _) = effect {
            let code = format!("{CODE_START}ABCDEFGH23");
            self.tell(&Event::Code(ticket, Sensitive::new(code)));
        } else {
            assert!(matches!(effect, Effect::Cancel(_)), "{effect:?}");
        }
    }

    fn answer_probe(&mut self, ticket: Ticket, probe: Probe) {
        let done = |world: &mut Self| world.tell(&Event::Probed(ticket, finding(&[])));
        match probe {
            Probe::Status { .. } => {
                let told = [
                    ("model", "EMU"),
                    ("role", self.role),
                    ("outputs", "light-card,light-slip"),
                ];
                self.tell(&Event::Probed(ticket, finding(&told)));
            }
            Probe::Card { .. } => {
                self.tell(&Event::Probed(ticket, partial(&[])));
                self.now += Duration::from_millis(700);
                self.status(|status| status.media = Media::Present);
                done(self);
                self.status(|status| status.media = Media::NotPresent);
            }
            Probe::TestSlip { code } | Probe::TestPage { code } => {
                self.code = code;
                self.tell(&Event::Print(ticket, PrintNews::Progress(1)));
                self.tell(&Event::Print(ticket, PrintNews::Presented));
            }
            Probe::Battery { .. } => {
                done(self);
                self.read("test-running", "yes");
                self.read("test-running", "no");
            }
            Probe::Sign { .. } => {
                for _ in 0..STROKES {
                    self.tell(&Event::Probed(ticket, partial(&[("points", "40")])));
                }
            }
            Probe::Machine(part) => {
                assert_eq!(self.run.plan.part(), Some(part));
                self.tell(&Event::Probed(ticket, finding(&[("clock", "now")])));
            }
            Probe::Output { .. } | Probe::Tone { .. } | Probe::Volume { .. } => done(self),
        }
    }

    /// A person does what the page asks for.
    fn act(&mut self) {
        let step = self.run.step.clone();
        if let Step::Contact { name, first, .. } = step {
            let other = if first == "closed" {
                "open"
            } else {
                "not-present"
            };
            self.read(&name, other);
            self.read(&name, &first);
            return;
        }
        let page = self.run.page(Lang::ZhHans, moment(self.now));
        let choose = |id: String| Event::Touch(Touch::Choose(id));
        match page.pattern {
            Pattern::Color(_) => self.tell(&Event::Touch(Touch::Next)),
            Pattern::Grid { touched, .. } => {
                for field in 0..touched.len() {
                    self.tell(&choose(format!("cell-{field}")));
                }
            }
            // Crosses are for the calibration of the glass; no test shows one.
            Pattern::Cross { .. } => panic!("a test shows a cross"),
            Pattern::None => {
                if page.answers.iter().any(|answer| answer.id == "yes") {
                    self.tell(&choose("yes".to_owned()));
                }
            }
        }
    }

    /// Everybody does as they should, until it is over.
    fn live(&mut self) -> &Outcome {
        for _ in 0..200 {
            self.now += Duration::from_millis(250);
            self.tell(&Event::Tick);
            self.answer();
            self.act();
            if self.run.outcome().is_some() {
                break;
            }
        }
        self.run.outcome().expect("it ends")
    }
}

fn moment(uptime: Duration) -> Moment {
    Moment {
        at: Timestamp::from_second(1_795_311_660).unwrap() + uptime,
        uptime,
    }
}

fn setting(plan: &Plan) -> Setting {
    let mut setting = Setting {
        has_person: true,
        is_online: true,
        ..Setting::default()
    };
    setting.upstreams.insert("insurance".to_owned(), true);
    let scanner = (DeviceClass::QrScanner, Status::online());
    setting.devices.insert("scanner".to_owned(), scanner);
    if let Some(class) = plan.class {
        setting
            .devices
            .insert(DEVICE.to_owned(), (class, well(class)));
    }
    setting
}

#[test]
fn every_test_passes_where_all_is_well() {
    for plan in plans() {
        let mut world = World::healthy(plan);
        let outcome = world.live();
        assert_eq!(outcome.verdict, Verdict::Passed, "{outcome:?}");
        assert_eq!(
            (outcome.test.as_str(), outcome.problem.as_str()),
            (plan.id, "")
        );
        assert!(outcome.took_ms > 0 || plan.class.is_none(), "{outcome:?}");
    }
}

#[test]
fn figures_say_what_was_measured() {
    let figure = |id: &str, name: &str| {
        let mut world = World::healthy(plan(id).unwrap());
        world.live().figures.get(name).cloned().unwrap_or_default()
    };
    assert_eq!(figure("id-card.reading", "read-time"), "700 ms");
    assert_eq!(figure("slip-printer.pattern", "read-back"), "scanner");
    assert_eq!(figure("page-printer.pattern", "impressions"), "1");
    assert_eq!(figure("camera.picture", "picture-rate"), "8.0/s");
    assert_eq!(figure("camera.picture", "picture-size"), "64x48");
    assert_eq!(figure("ups.battery", "battery-voltage"), "27.0");
    assert_eq!(figure("io-board.contacts", "contacts"), "2");
    assert_eq!(figure("io-board.contacts", "lights"), "2");
    assert_eq!(figure("signature-pad.strokes", "strokes"), "3");
    assert_eq!(figure("speaker.tone", "volume-percent"), "70");
    assert_eq!(figure("glass.touch", "fields"), "60/60");
    assert_eq!(figure("machine.network", "insurance"), "up");
}

#[test]
fn a_document_camera_is_judged_by_a_code_under_it() {
    let mut world = World::healthy(plan("camera.picture").unwrap());
    world.role = "document";
    let outcome = world.live();
    assert_eq!(outcome.verdict, Verdict::Passed);
    assert!(outcome.figures.contains_key("sharpness"));
}

#[test]
fn a_covered_lens_a_blinded_one_and_a_slow_one_fail() {
    let check = |gray: u8, pause_ms: u64, expect: &str| {
        let mut world = World::healthy(plan("camera.picture").unwrap());
        world.gray = gray;
        world.tell(&Event::Tick);
        let look = world.asked.clone();
        world.asked.clear();
        for effect in look {
            world.answer_one(effect);
        }
        let stream = world.run.stream.unwrap();
        for _ in 0..PICTURES {
            world.now += Duration::from_millis(pause_ms);
            world.tell(&Event::Frame(stream, frame(gray)));
        }
        let problem = world.run.outcome().map(|outcome| outcome.problem.as_str());
        assert_eq!(problem, Some(expect));
    };
    check(0, 100, "test.picture-dark");
    check(248, 100, "test.picture-bright");
    check(90, 900, "test.camera-slow");
}

#[test]
fn a_test_that_nobody_and_nothing_answers_ends_and_never_passes() {
    for plan in plans() {
        let mut world = World::healthy(plan);
        let mut open = BTreeSet::new();
        let began = world.now;
        while world.run.outcome().is_none() {
            world.now += Duration::from_millis(500);
            world.tell(&Event::Tick);
            assert!(
                world.now <= began + plan.limit + Duration::from_secs(1),
                "{}",
                plan.id
            );
        }
        for effect in &world.asked {
            if let Effect::Cancel(ticket) = effect {
                open.remove(&ticket.0);
            } else if let Effect::Probe(ticket, _)
            | Effect::Scan(ticket)
            | Effect::Stream(ticket, _) = effect
            {
                open.insert(ticket.0);
            } else {
                panic!("no test asks for {effect:?}");
            }
        }
        assert!(open.is_empty(), "{} leaves {open:?}", plan.id);
        let outcome = world.run.outcome().unwrap();
        let is_screen = plan.id == "glass.screen";
        let expect = if is_screen {
            Verdict::Skipped
        } else {
            Verdict::Failed
        };
        assert_eq!(outcome.verdict, expect, "{outcome:?}");
        assert!(!outcome.problem.is_empty());
    }
}

#[test]
fn a_device_that_vanishes_in_the_middle_fails_with_its_own_code_at_once() {
    for plan in plans().iter().filter(|plan| plan.class.is_some()) {
        for turns in 0..6 {
            let mut world = World::healthy(plan);
            for _ in 0..turns {
                world.tell(&Event::Tick);
                world.answer();
            }
            if world.run.outcome().is_some() {
                continue;
            }
            world.status(|status| *status = gone());
            let outcome = world.run.outcome().expect("it ends with the device");
            assert_eq!(outcome.verdict, Verdict::Failed);
            assert_eq!(outcome.problem, "device.gone", "{} after {turns}", plan.id);
        }
    }
}

#[test]
fn a_device_that_is_not_ready_or_not_there_is_not_even_asked() {
    let plan = plan("slip-printer.pattern").unwrap();
    let check = |status: Option<Status>, expect: &str| {
        let mut setting = setting(plan);
        setting.devices.remove(DEVICE);
        if let Some(status) = status {
            let known = (DeviceClass::SlipPrinter, status);
            setting.devices.insert(DEVICE.to_owned(), known);
        }
        let world = World::begin(plan, &setting);
        assert_eq!(world.run.outcome().unwrap().problem, expect);
        assert!(world.asked.is_empty(), "{:?}", world.asked);
    };
    let empty = Fault::new("printer.media-empty", Action::Clear, "no paper");
    check(
        Some(Status::failed(DeviceState::UserError, empty)),
        "printer.media-empty",
    );
    check(Some(Status::default()), "device.starting");
    check(None, "device.not-there");
}

#[test]
fn a_canceled_test_puts_everything_right() {
    let mut world = World::healthy(plan("speaker.tone").unwrap());
    world.answer();
    let volume =
        |effect: &Effect| matches!(effect, Effect::Probe(_, Probe::Volume { percent: 55, .. }));
    assert!(!world.asked.iter().any(volume));
    let effects = world.run.cancel();
    assert!(effects.iter().any(volume), "{effects:?}");
    assert_eq!(world.run.outcome().unwrap().verdict, Verdict::Canceled);
    assert!(world.run.cancel().is_empty());

    let mut world = World::healthy(plan("io-board.contacts").unwrap());
    world.answer();
    world.act();
    world.act();
    let effects = world.run.cancel();
    let is_off = |effect: &Effect| matches!(effect, Effect::Probe(_, Probe::Output { output, is_on: false, .. }) if output == "light-card");
    assert!(effects.iter().any(is_off), "{effects:?}");
}

#[test]
fn a_person_who_says_no_fails_the_test_and_one_who_skips_leaves_it_open() {
    let check = |id: &str, answer: &str, verdict: Verdict, problem: &str| {
        let mut world = World::healthy(plan(id).unwrap());
        for _ in 0..40 {
            world.answer();
            let page = world.run.page(Lang::En, moment(world.now));
            let is_asked = page.answers.iter().any(|each| each.id == answer);
            let is_last = problem == "test.skipped" || page.answers.len() > 1;
            if is_asked && is_last {
                world.tell(&Event::Touch(Touch::Choose(answer.to_owned())));
                break;
            }
            world.act();
        }
        let outcome = world.run.outcome().unwrap();
        assert_eq!(
            (outcome.verdict, outcome.problem.as_str()),
            (verdict, problem),
            "{id}"
        );
    };
    check("speaker.tone", "no", Verdict::Failed, "test.tone-not-heard");
    check(
        "io-board.contacts",
        "no",
        Verdict::Failed,
        "test.light-dark",
    );
    check("glass.screen", "no", Verdict::Failed, "test.screen-spots");
    check("speaker.tone", "skip", Verdict::Skipped, "test.skipped");
    check("glass.screen", "skip", Verdict::Skipped, "test.skipped");
}

#[test]
fn without_a_person_the_machine_does_its_part_and_says_what_it_left_out() {
    let check = |id: &str, verdict: Verdict, problem: &str| {
        let plan = plan(id).unwrap();
        let mut setting = setting(plan);
        setting.has_person = false;
        let mut world = World::begin(plan, &setting);
        let outcome = world.live().clone();
        assert_eq!(
            (outcome.verdict, outcome.problem.as_str()),
            (verdict, problem),
            "{id}"
        );
        outcome
    };
    for id in [
        "id-card.reading",
        "qr-scanner.reading",
        "glass.touch",
        "io-board.contacts",
    ] {
        check(id, Verdict::Skipped, "test.needs-person");
    }
    for id in [
        "slip-printer.pattern",
        "page-printer.pattern",
        "camera.picture",
    ] {
        assert_eq!(check(id, Verdict::Passed, "").figures["left-out"], "person");
    }
    for id in ["ups.battery", "machine.disk", "machine.network"] {
        let outcome = check(id, Verdict::Passed, "");
        assert!(!outcome.figures.contains_key("left-out"));
    }
}

#[test]
fn a_print_that_no_machine_can_read_is_looked_at_by_a_person() {
    let plan = plan("slip-printer.pattern").unwrap();
    let mut setting = setting(plan);
    setting.devices.remove("scanner");
    let mut world = World::begin(plan, &setting);
    world.answer();
    world.answer();
    assert!(matches!(world.run.step, Step::AskPrint));
    assert_eq!(world.live().figures["read-back"], "person");
    // A scanner that fails meanwhile leaves it to a person as well.
    let mut world = World::healthy(plan);
    world.answer();
    world.answer();
    let Step::ReadBack {
        scan: Some(scan), ..
    } = world.run.step
    else {
        panic!("{:?}", world.run.step);
    };
    world.tell(&Event::CodeEnded(scan, Ending::Failed("device.gone")));
    assert!(matches!(world.run.step, Step::AskPrint));
}

#[test]
fn the_code_of_another_print_does_not_pass() {
    let mut world = World::healthy(plan("slip-printer.pattern").unwrap());
    world.answer();
    world.answer();
    let Step::ReadBack {
        scan: Some(scan), ..
    } = world.run.step
    else {
        panic!("{:?}", world.run.step);
    };
    world.asked.clear();
    let old = format!("{CODE_START}OLD2345678");
    world.tell(&Event::Code(scan, Sensitive::new(old)));
    assert!(world.run.outcome().is_none());
    assert!(matches!(world.asked.as_slice(), [Effect::Scan(_)]));
    let words = world.run.page(Lang::ZhHans, moment(world.now)).words;
    assert!(words.contains("另一个码"), "{words}");
    world.answer();
    assert_eq!(world.run.outcome().unwrap().verdict, Verdict::Passed);
}

#[test]
fn a_printer_that_stops_fails_with_its_reason() {
    for news in [
        PrintNews::Stopped("printer.media-jam"),
        PrintNews::Failed("printer.media-jam"),
    ] {
        let mut world = World::healthy(plan("page-printer.pattern").unwrap());
        world.answer();
        let print = world.run.ticket.unwrap();
        world.tell(&Event::Print(print, news));
        assert_eq!(world.run.outcome().unwrap().problem, "printer.media-jam");
    }
}

#[test]
fn a_card_that_cannot_be_read_fails_with_the_readers_word() {
    let mut world = World::healthy(plan("id-card.reading").unwrap());
    let look = std::mem::take(&mut world.asked);
    world.answer_one(look.into_iter().next().unwrap());
    let again = Finding {
        problem: Some("id-card.read-failed"),
        is_partial: true,
        ..Finding::default()
    };
    let ticket = world.run.ticket.unwrap();
    world.tell(&Event::Probed(ticket, again));
    assert!(world.run.outcome().is_none());
    world.now += Duration::from_secs(61);
    world.tell(&Event::Tick);
    assert_eq!(world.run.outcome().unwrap().problem, "id-card.read-failed");
}

#[test]
fn a_card_that_stays_on_the_reader_fails_and_one_that_is_taken_at_once_does_not() {
    let read = || {
        let mut world = World::healthy(plan("smart-card.reading").unwrap());
        world.status(|status| status.media = Media::NotPresent);
        world.answer();
        let ticket = world.run.ticket.unwrap();
        world.tell(&Event::Probed(ticket, finding(&[])));
        world
    };
    let mut world = read();
    world.status(|status| status.media = Media::Present);
    world.now += Duration::from_secs(31);
    world.tell(&Event::Tick);
    assert_eq!(world.run.outcome().unwrap().problem, "smart-card.card-left");
    let mut world = read();
    world.now += Duration::from_secs(4);
    world.tell(&Event::Tick);
    assert!(
        world.run.outcome().is_none(),
        "the reader has not looked yet"
    );
    world.now += Duration::from_secs(2);
    world.tell(&Event::Tick);
    assert_eq!(world.run.outcome().unwrap().verdict, Verdict::Passed);
}

#[test]
fn an_upstream_that_is_down_fails_the_test_of_the_line() {
    let plan = plan("machine.network").unwrap();
    let mut setting = setting(plan);
    setting.upstreams.insert("civil-affairs".to_owned(), false);
    let mut world = World::begin(plan, &setting);
    let outcome = world.live();
    assert_eq!(outcome.problem, "platform.upstream-unavailable");
    assert_eq!(outcome.figures["civil-affairs"], "down");
    assert_eq!(plan.part(), Some(Part::Network));
}

#[test]
fn events_that_were_not_asked_for_change_nothing() {
    for plan in plans() {
        let mut world = World::healthy(plan);
        world.asked.clear();
        let stranger = Ticket(99_999);
        for event in [
            Event::Probed(stranger, finding(&[])),
            Event::Print(stranger, PrintNews::Presented),
            Event::Code(stranger, Sensitive::new("KT-AAAAAAAAAA".to_owned())),
            Event::CodeEnded(stranger, Ending::Failed("device.gone")),
            Event::CameraEnded(stranger, Ending::Failed("device.gone")),
            Event::Frame(stranger, frame(1)),
            Event::FaceJudged(stranger, None),
            Event::Touch(Touch::Choose("cell-999".to_owned())),
            Event::Touch(Touch::Choose("no".to_owned())),
            Event::Status {
                class: DeviceClass::Camera,
                device: "another".to_owned(),
                status: gone(),
            },
        ] {
            world.tell(&event);
        }
        assert!(world.asked.is_empty(), "{}: {:?}", plan.id, world.asked);
        assert!(world.run.outcome().is_none(), "{}", plan.id);
    }
}

#[test]
fn whatever_happens_in_whatever_order_a_test_ends_once_and_leaves_nothing_on() {
    let mut seed = 0x1234_5678_9ABC_DEF0_u64;
    let mut dice = move |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % sides
    };
    for round in 0..600 {
        let plan = &plans()[usize::try_from(round).unwrap() % plans().len()];
        let mut world = World::healthy(plan);
        let mut lit: BTreeSet<String> = BTreeSet::new();
        for _ in 0..800 {
            let ticket = Ticket(dice(12));
            let code = ["device.gone", "printer.media-empty"][usize::try_from(dice(2)).unwrap()];
            let event = match dice(16) {
                0..4 => Event::Tick,
                4 => Event::Probed(ticket, finding(&[])),
                5 => Event::Probed(ticket, partial(&[("points", "1")])),
                6 => Event::Print(ticket, PrintNews::Presented),
                7 => Event::Code(ticket, Sensitive::new("nonsense".to_owned())),
                8 => Event::CodeEnded(ticket, Ending::TimeOut),
                9 => Event::CameraEnded(ticket, Ending::Failed(code)),
                10 => Event::Frame(ticket, frame(80)),
                11 => Event::FaceJudged(ticket, Some("camera.face-too-far")),
                12 => Event::Touch(Touch::Choose("yes".to_owned())),
                13 => Event::Touch(Touch::Choose("skip".to_owned())),
                14 => Event::Touch(Touch::Choose(format!("cell-{}", dice(70)))),
                _ => Event::Touch(Touch::Next),
            };
            world.now += Duration::from_millis(dice(1500));
            let was_over = world.run.outcome().is_some();
            world.asked.clear();
            world.tell(&event);
            assert!(!was_over || world.asked.is_empty());
            for effect in &world.asked {
                if let Effect::Probe(_, Probe::Output { output, is_on, .. }) = effect {
                    if *is_on {
                        lit.insert(output.clone());
                    } else {
                        lit.remove(output);
                    }
                }
            }
        }
        assert!(world.run.outcome().is_some(), "{}", plan.id);
        assert!(lit.is_empty(), "{} leaves {lit:?} on", plan.id);
    }
}

#[test]
fn a_machine_without_a_sensor_neither_passes_nor_fails() {
    let mut world = World::healthy(plan("machine.sensors").unwrap());
    let ticket = world.run.ticket.unwrap();
    let none = Finding {
        problem: Some(NO_SENSOR),
        ..Finding::default()
    };
    world.tell(&Event::Probed(ticket, none));
    let outcome = world.run.outcome().unwrap();
    assert_eq!(outcome.verdict, Verdict::Skipped);
    assert_eq!(outcome.problem, "test.no-sensor");
}

#[test]
fn figures_of_a_talkative_device_stay_within_bounds() {
    let mut world = World::healthy(plan("machine.sensors").unwrap());
    let ticket = world.run.ticket.unwrap();
    let mut endless = Finding::default();
    for number in 0..500 {
        let name = format!("sensor-{number}-{}", "长".repeat(200));
        endless.figures.insert(name, "值".repeat(500));
    }
    world.tell(&Event::Probed(ticket, endless));
    let outcome = world.run.outcome().unwrap();
    assert!(outcome.figures.len() <= FIGURES_MAX);
    for (name, value) in &outcome.figures {
        assert!(name.chars().count() <= FIGURE_LENGTH_MAX);
        assert!(value.chars().count() <= FIGURE_LENGTH_MAX);
    }
}

#[test]
fn every_step_has_words_and_answers_in_every_language() {
    for plan in plans() {
        for lang in Lang::ALL {
            let mut world = World::healthy(plan);
            for _ in 0..100 {
                let page = world.run.page(lang, moment(world.now));
                assert!(!page.title.is_empty() && !page.words.is_empty());
                assert!(!page.words.contains('{'), "{}", page.words);
                assert!(page.step.0 <= page.step.1);
                assert!(page.answers.iter().all(|answer| !answer.label.is_empty()));
                world.tell(&Event::Tick);
                world.answer();
                world.act();
                if world.run.outcome().is_some() {
                    break;
                }
            }
        }
    }
}

#[test]
fn codes_differ_from_test_to_test_and_are_never_those_of_cases() {
    let one = code(Ticket(1), moment(Duration::from_secs(1)));
    let other = code(Ticket(2), moment(Duration::from_secs(1)));
    let later = code(Ticket(1), moment(Duration::from_secs(2)));
    assert_eq!(BTreeSet::from([&one, &other, &later]).len(), 3);
    for code in [one, other, later] {
        assert_eq!(code.len(), CODE_START.len() + CODE_LENGTH);
        assert!(code.starts_with(CODE_START));
    }
}

#[test]
fn pictures_are_looked_at_whatever_they_hold() {
    let check = |width: u32, rgb: Vec<u8>, brightness: u32, sharpness: u32| {
        let picture = Picture {
            width,
            height: 1,
            rgb: Arc::new(rgb),
        };
        let expect = Look {
            brightness,
            sharpness,
        };
        assert_eq!(look_at(&picture), expect);
    };
    check(0, vec![], 0, 0);
    check(4, vec![255; 12], 255, 0);
    check(2, vec![0, 0, 0, 255, 255, 255], 127, 1275);
    // A size that is not that of the content.
    check(1000, vec![10; 5], 10, 0);
}
