//! The glass as a function of the visit. Reads everything, changes nothing.

use std::time::Duration;

use kiosk_device::DeviceClass;
use kiosk_ui::{
    Choice, Correction, Frame, Keypad, Line, Outcome, Paper, Progress, Reading, Screen, View,
};

use super::paper::outcome;
use super::visit::Role;
use super::{Page, Session, WARNING, Way};
use crate::catalogue::item::Field;
use crate::catalogue::{FieldKind, Item, Offline, Step, Who};
use crate::clock::Moment;
use crate::person::{Person, Sex, mask_middle};
use crate::problem;
use crate::words::{Lang, fill, text};

pub(super) fn view(session: &Session, now: Moment) -> View {
    View {
        frame: frame(session, now),
        screen: screen(session, now),
    }
}

fn frame(session: &Session, now: Moment) -> Frame {
    let lang = session.lang();
    let local = now.local();
    let weekday = local.weekday().to_monday_zero_offset();
    let date = fill(
        lang,
        "date",
        &[
            ("year", &local.year().to_string()),
            ("month", &local.month().to_string()),
            ("day", &local.day().to_string()),
            (
                "weekday",
                text(lang, WEEKDAYS[usize::from(weekday.unsigned_abs())]),
            ),
        ],
    );
    let mut notices: Vec<String> = session
        .device_notices()
        .into_iter()
        .map(|code| problem::get(code).notice(lang).to_owned())
        .collect();
    let has_forgotten = session.is_card_present()
        && matches!(
            session.page,
            Page::Attract | Page::Leave { .. } | Page::Rating { .. } | Page::Staff(_)
        );
    let has_left_slip = session.has_media(DeviceClass::SlipPrinter)
        && matches!(
            session.page,
            Page::Attract | Page::Leave { .. } | Page::Home { .. }
        );
    if has_left_slip {
        notices.insert(0, text(lang, "leave.paper").to_owned());
    }
    if has_forgotten {
        notices.insert(0, text(lang, "leave.card").to_owned());
    }
    notices.truncate(3);
    Frame {
        language: session.language,
        text_size: session.text_size,
        contrast: session.contrast,
        site: session.site.name.clone(),
        clock: local.strftime("%H:%M").to_string(),
        date,
        help_phone: session.site.help_phone.clone(),
        is_online: session.is_online,
        pending_count: session.pending,
        notices,
        progress: progress(session),
        can_go_back: session.can_go_back(),
        can_leave: session.can_leave(),
        seconds_left: seconds_left(session, now),
        correction: correction(session),
    }
}

/// How touches are put right: as it is being tried, else as it is kept.
fn correction(session: &Session) -> Correction {
    let tried = if let Page::Staff(mode) = &session.page {
        mode.tried_correction()
    } else {
        None
    };
    let kept = session.calibrations.touch.map(|fit| fit.correction);
    tried.or(kept).unwrap_or_default()
}

const WEEKDAYS: [&str; 7] = [
    "weekday.monday",
    "weekday.tuesday",
    "weekday.wednesday",
    "weekday.thursday",
    "weekday.friday",
    "weekday.saturday",
    "weekday.sunday",
];

fn seconds_left(session: &Session, now: Moment) -> Option<u32> {
    let left = session.time_left(now)?;
    if left > WARNING {
        return None;
    }
    // Rounded up, so that the last number seen is 1 and not 0.
    let seconds = left.saturating_add(Duration::from_millis(999)).as_secs();
    u32::try_from(seconds).ok()
}

fn progress(session: &Session) -> Option<Progress> {
    let is_inside = !matches!(
        session.page,
        Page::Attract
            | Page::Home { .. }
            | Page::Introduction
            | Page::TrackScan { .. }
            | Page::TrackAsking { .. }
            | Page::TrackResult { .. }
            | Page::Leave { .. }
    );
    let item = session.visit.item.as_ref().filter(|_| is_inside)?;
    let seen = |step: &&Step| match step {
        Step::Consent {} => session.visit.is_for_other,
        Step::Fetch {} | Step::Submit { .. } => false,
        Step::Identify {}
        | Step::Face { .. }
        | Step::Form { .. }
        | Step::Capture { .. }
        | Step::Review {}
        | Step::Print {}
        | Step::Slip { .. }
        | Step::Rating {} => true,
    };
    let count = |steps: &[Step]| u32::try_from(steps.iter().filter(seen).count()).unwrap_or(1);
    let reached = (session.visit.step + 1).min(item.steps.len());
    Some(Progress {
        title: item.text(session.lang(), "name").to_owned(),
        step: count(&item.steps[..reached]).max(1),
        of: count(&item.steps).max(1),
    })
}

fn screen(session: &Session, now: Moment) -> Screen {
    let lang = session.lang();
    if session.is_staff_asking() {
        return session.staff_request_screen();
    }
    match &session.page {
        Page::Attract if session.is_closed() => closed(session, lang),
        Page::Attract => Screen::Attract {
            board: session.site.board.clone(),
        },
        Page::Home {
            group,
            query,
            is_searching,
        } => home(session, group, query, *is_searching),
        Page::Introduction => with_item(session, introduction),
        Page::Identify {
            role,
            reading,
            code,
            ..
        } => identify(session, *role, *reading, code),
        Page::Number {
            role,
            text: typed,
            has_error,
        } => number(lang, *role, typed.expose(), *has_error),
        Page::Confirm { role } => confirm(session, *role),
        Page::OfferElder => offer_elder(lang),
        Page::Checking { .. } => working(lang, "checking"),
        Page::Consent => with_item(session, consent),
        Page::Question {
            text: typed,
            has_error,
            ..
        } => question(session, typed.expose(), *has_error),
        Page::Face {
            live,
            asked,
            code,
            advice,
            ..
        } => face(session, live.as_ref(), asked.is_some(), code, advice),
        Page::Capture { .. } => with_item(session, capture),
        Page::Review => with_item(session, review),
        Page::Committing { .. } => working(lang, "committing"),
        Page::AwaitingReceipt { .. } => working(lang, "awaiting"),
        Page::Done { paper, code, .. } => done(session, *paper, code),
        Page::Fetching { .. } => working(lang, "fetching"),
        Page::Painting { .. } => working(lang, "painting"),
        Page::Preview { index } => preview(session, *index),
        Page::PrintingPages {
            pages_out, code, ..
        } => printing(session, *pages_out, code),
        Page::Rating { chosen } => rating(lang, chosen),
        Page::TrackScan { code, .. } => track_scan(session, code),
        Page::TrackAsking { .. } => working(lang, "tracking"),
        Page::TrackResult {
            number,
            state,
            text: words,
            updated,
        } => track_result(lang, number, state, words, updated),
        Page::Trouble { code, words, ways } => trouble(lang, code, words, ways),
        Page::Leave { is_timed_out, .. } => leave(session, *is_timed_out),
        Page::Staff(mode) => Screen::Staff(Box::new(session.staff_page(mode, now))),
    }
}

/// Nobody is served; the telephone stands in the header.
fn closed(session: &Session, lang: Lang) -> Screen {
    if let Some(reason) = session.safe_reason() {
        return Screen::Staff(Box::new(session.safe_page(reason)));
    }
    let problem = problem::get(session.closed_code());
    Screen::Problem {
        title: problem.title(lang).to_owned(),
        advice: problem.advice(lang).to_owned(),
        picture: problem.picture.clone(),
        code: String::new(),
        ways: Vec::new(),
    }
}

fn with_item(session: &Session, make: fn(&Session, &Item) -> Screen) -> Screen {
    match &session.visit.item {
        Some(item) => make(session, item),
        None => working(session.lang(), "checking"),
    }
}

fn choice(id: &str, label: impl Into<String>, icon: &str) -> Choice {
    Choice {
        id: id.to_owned(),
        label: label.into(),
        icon: icon.to_owned(),
        ..Choice::default()
    }
}

fn line(label: &str, value: impl Into<String>) -> Line {
    Line {
        label: label.to_owned(),
        value: value.into(),
        ..Line::default()
    }
}

fn working(lang: Lang, what: &str) -> Screen {
    let (title, detail) = match what {
        "checking" => ("working.checking", "working.wait"),
        "committing" => ("working.committing", "working.no-power"),
        "awaiting" => ("working.awaiting", "working.kept"),
        "fetching" => ("working.fetching", "working.wait"),
        "painting" => ("working.painting", "working.wait"),
        _ => ("working.tracking", "working.wait"),
    };
    Screen::Working {
        title: text(lang, title).to_owned(),
        detail: text(lang, detail).to_owned(),
    }
}

fn home(session: &Session, group: &str, query: &str, is_searching: bool) -> Screen {
    let lang = session.lang();
    let mut groups: Vec<String> = vec!["hot".to_owned()];
    for item in session.catalogue.iter() {
        for name in &item.groups {
            if !groups.contains(name) {
                groups.push(name.clone());
            }
        }
    }
    let items: Vec<Choice> = if is_searching && !query.is_empty() {
        session.catalogue.search(query)
    } else {
        let in_group = |item: &&std::sync::Arc<Item>| item.groups.iter().any(|name| name == group);
        session.catalogue.iter().filter(in_group).collect()
    }
    .into_iter()
    .map(|item| item_choice(session, item))
    .collect();
    let mut track = choice("track", text(lang, "home.track"), "qr");
    if let Some(code) = session.scan_obstacle() {
        problem::get(code)
            .notice(lang)
            .clone_into(&mut track.unavailable);
    }
    Screen::Home {
        groups: groups
            .iter()
            .map(|name| {
                choice(
                    &format!("group:{name}"),
                    group_name(lang, name),
                    group_icon(name),
                )
            })
            .collect(),
        group: format!("group:{group}"),
        items,
        query: query.to_owned(),
        is_searching,
        track,
    }
}

fn group_name(lang: Lang, group: &str) -> String {
    let key = match group {
        "hot" => "group.hot",
        "social-security" => "group.social-security",
        "elder" => "group.elder",
        "civil-affairs" => "group.civil-affairs",
        "medical" => "group.medical",
        "housing" => "group.housing",
        "tax" => "group.tax",
        "police" => "group.police",
        other => return other.to_owned(),
    };
    text(lang, key).to_owned()
}

fn group_icon(group: &str) -> &'static str {
    match group {
        "hot" => "heart",
        "social-security" => "shield",
        "elder" => "elder",
        "civil-affairs" => "hand",
        "housing" => "building",
        "tax" => "money",
        _ => "document",
    }
}

fn item_choice(session: &Session, item: &Item) -> Choice {
    let lang = session.lang();
    let mut entry = choice(&item.id, item.text(lang, "name"), &item.icon);
    let line = match item.offline {
        Offline::OnlineOnly => "home.needs-line",
        Offline::AcceptAndQueue | Offline::CaptureEvidence | Offline::Local => "home.needs-no-line",
    };
    entry.detail = format!(
        "{} · {}",
        fill(
            lang,
            "introduction.about-minutes",
            &[("minutes", &item.minutes.to_string())]
        ),
        text(lang, line),
    );
    if let Some(code) = session.obstacle(item) {
        problem::get(code)
            .notice(lang)
            .clone_into(&mut entry.unavailable);
    }
    entry
}

fn introduction(session: &Session, item: &Item) -> Screen {
    let lang = session.lang();
    let obstacle = session.obstacle(item);
    let icons = ["id-card", "document", "phone", "money"];
    let needs = item
        .texts(lang, "needs")
        .into_iter()
        .enumerate()
        .map(|(index, need)| choice("", need, icons[index.min(icons.len() - 1)]))
        .collect();
    let mut lines = vec![line(
        text(lang, "introduction.minutes"),
        fill(
            lang,
            "introduction.about-minutes",
            &[("minutes", &item.minutes.to_string())],
        ),
    )];
    lines.push(line(
        text(lang, "introduction.promise"),
        if item.promised_days == 0 {
            text(lang, "introduction.at-once").to_owned()
        } else {
            fill(
                lang,
                "introduction.days",
                &[("days", &item.promised_days.to_string())],
            )
        },
    ));
    lines.push(line(
        text(lang, "introduction.department"),
        item.text(lang, "department"),
    ));
    let starts = item
        .who
        .iter()
        .map(|who| match who {
            Who::Oneself => choice("self", text(lang, "introduction.self"), "person"),
            Who::Other => choice("other", text(lang, "introduction.other"), "persons"),
        })
        .collect();
    Screen::Introduction {
        title: item.text(lang, "name").to_owned(),
        summary: item.text(lang, "summary").to_owned(),
        needs,
        lines,
        offline: offline_words(session, item),
        starts,
        unavailable: obstacle.map_or_else(String::new, |code| {
            problem::get(code).notice(lang).to_owned()
        }),
        advice: obstacle.map_or_else(String::new, |code| {
            problem::get(code).advice(lang).to_owned()
        }),
    }
}

fn offline_words(session: &Session, item: &Item) -> String {
    let lang = session.lang();
    let now = match (session.is_online, item.offline) {
        (_, Offline::Local) => "offline.local",
        (true, _) => "offline.online-now",
        (false, Offline::OnlineOnly) => "offline.impossible",
        (false, Offline::AcceptAndQueue | Offline::CaptureEvidence) => "offline.queued",
    };
    let mut words = format!("{} {}", text(lang, now), item.text(lang, "offline"));
    if session.is_upstream_down(item) {
        words.push(' ');
        words.push_str(&upstream_words(lang, item, "upstream.before"));
    }
    words
}

/// Which system behind the platform is down, by the name that people know.
fn upstream_words(lang: Lang, item: &Item, key: &str) -> String {
    fill(lang, key, &[("upstream", item.upstream_name(lang))])
}

fn identify(session: &Session, role: Role, reading: Reading, code: &str) -> Screen {
    let lang = session.lang();
    let title = match role {
        Role::Principal if session.visit.is_for_other => "identify.title-principal",
        Role::Principal => "identify.title",
        Role::Helper => "identify.title-helper",
        Role::Witness => "identify.title-witness",
    };
    let message = match reading {
        Reading::Waiting if takes_social_card(session, role) => {
            text(lang, "identify.put-or-insert").to_owned()
        }
        Reading::Waiting => text(lang, "identify.put").to_owned(),
        Reading::Busy => text(lang, "identify.reading").to_owned(),
        Reading::Failed => problem::get(code).advice(lang).to_owned(),
    };
    let can_type = role == Role::Principal
        && session
            .visit
            .item
            .as_ref()
            .is_some_and(|item| super::flow::may_type(item));
    let ways = if can_type {
        vec![choice(
            "type-number",
            text(lang, "identify.type"),
            "keyboard",
        )]
    } else {
        Vec::new()
    };
    Screen::Identify {
        title: text(lang, title).to_owned(),
        message,
        reading,
        ways,
    }
}

/// True when a social security card will do here: the item takes it, and its reader works.
fn takes_social_card(session: &Session, role: Role) -> bool {
    let item = session.visit.item.as_deref();
    role == Role::Principal
        && item.is_some_and(super::flow::may_insert)
        && session.is_ready(DeviceClass::SmartCard)
}

fn number(lang: Lang, role: Role, typed: &str, has_error: bool) -> Screen {
    let title = match role {
        Role::Principal => "number.title",
        Role::Helper | Role::Witness => "number.title-helper",
    };
    Screen::Question {
        title: text(lang, title).to_owned(),
        hint: text(lang, "number.hint").to_owned(),
        value: grouped(typed, &[6, 4, 4, 4]),
        error: error_text(lang, has_error, "number.wrong"),
        keypad: Keypad::DigitsX,
        options: Vec::new(),
        selected: String::new(),
        can_continue: typed.len() == 18,
    }
}

fn error_text(lang: Lang, has_error: bool, key: &str) -> String {
    if has_error {
        text(lang, key).to_owned()
    } else {
        String::new()
    }
}

/// Characters in groups, for reading aloud.
fn grouped(typed: &str, sizes: &[usize]) -> String {
    let mut groups = Vec::new();
    let mut rest = typed;
    for &size in sizes {
        if rest.len() <= size {
            break;
        }
        let (group, tail) = rest.split_at(size);
        groups.push(group);
        rest = tail;
    }
    groups.push(rest);
    groups.join(" ")
}

fn confirm(session: &Session, role: Role) -> Screen {
    let lang = session.lang();
    let title = match role {
        Role::Principal if session.visit.is_for_other => "confirm.title-principal",
        Role::Principal => "confirm.title",
        Role::Helper => "confirm.title-helper",
        Role::Witness => "confirm.title-witness",
    };
    let lines = session
        .visit
        .person(role)
        .map(|person| person_lines(lang, person))
        .unwrap_or_default();
    Screen::ConfirmPerson {
        title: text(lang, title).to_owned(),
        lines,
        caution: String::new(),
    }
}

fn person_lines(lang: Lang, person: &Person) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |key: &str, value: String, held: String| {
        if !value.is_empty() {
            lines.push(Line {
                label: text(lang, key).to_owned(),
                value,
                held,
                edit: String::new(),
            });
        }
    };
    add("person.name", person.name.expose().clone(), String::new());
    let sex = person.sex.map(|sex| match sex {
        Sex::Male => text(lang, "person.male").to_owned(),
        Sex::Female => text(lang, "person.female").to_owned(),
    });
    add("person.sex", sex.unwrap_or_default(), String::new());
    add(
        "person.nation",
        person.nation.expose().clone(),
        String::new(),
    );
    add(
        "person.number",
        person.masked_number(),
        person.number.expose().clone(),
    );
    add(
        "person.address",
        mask_tail(person.address.expose(), 6),
        person.address.expose().clone(),
    );
    if let Some(until) = person.valid_until {
        add("person.valid-until", until.to_string(), String::new());
    }
    lines
}

/// Keeps the first `head` characters.
fn mask_tail(value: &str, head: usize) -> String {
    mask_middle(value, head, 0)
}

fn offer_elder(lang: Lang) -> Screen {
    Screen::Question {
        title: text(lang, "elder.title").to_owned(),
        hint: text(lang, "elder.hint").to_owned(),
        value: String::new(),
        error: String::new(),
        keypad: Keypad::None,
        options: vec![
            choice("elder", text(lang, "elder.yes"), "elder"),
            choice("normal", text(lang, "elder.no"), "person"),
        ],
        selected: String::new(),
        can_continue: false,
    }
}

fn consent(session: &Session, item: &Item) -> Screen {
    let lang = session.lang();
    let name = |person: &Option<Person>| {
        person.as_ref().map_or_else(String::new, |person| {
            let masked = person.masked_name();
            if masked.is_empty() {
                person.masked_number()
            } else {
                masked
            }
        })
    };
    let helper = name(&session.visit.helper);
    let principal = name(&session.visit.principal);
    Screen::Consent {
        title: crate::words::fill_text(
            item.text(lang, "consent.title"),
            &[("helper", &helper), ("principal", &principal)],
        ),
        paragraphs: item
            .texts(lang, "consent.text")
            .iter()
            .map(|paragraph| {
                crate::words::fill_text(
                    paragraph,
                    &[("helper", &helper), ("principal", &principal)],
                )
            })
            .collect(),
        agree: text(lang, "consent.agree").to_owned(),
    }
}

fn question(session: &Session, typed: &str, has_error: bool) -> Screen {
    let lang = session.lang();
    let (Some(item), Some(field)) = (&session.visit.item, session.current_field()) else {
        return working(lang, "checking");
    };
    let label = |key: &str| {
        item.text(lang, &format!("field.{}.{key}", field.id))
            .to_owned()
    };
    let (keypad, value) = match field.kind {
        FieldKind::Choice => (Keypad::None, String::new()),
        FieldKind::Phone => (Keypad::Digits, grouped(typed, &[3, 4, 5])),
        FieldKind::BankCard => (Keypad::Digits, grouped(typed, &[4, 4, 4, 4])),
        FieldKind::Year => (Keypad::Digits, typed.to_owned()),
    };
    let error = match field.kind {
        FieldKind::Choice => "",
        FieldKind::Phone => "question.wrong-phone",
        FieldKind::BankCard => "question.wrong-bank-card",
        FieldKind::Year => "question.wrong-year",
    };
    Screen::Question {
        title: label("title"),
        hint: label("hint"),
        value,
        error: error_text(lang, has_error, error),
        keypad,
        options: field
            .options
            .iter()
            .map(|option| choice(option, option_label(item, lang, field, option), ""))
            .collect(),
        selected: if field.kind == FieldKind::Choice {
            typed.to_owned()
        } else {
            String::new()
        },
        can_continue: !typed.is_empty(),
    }
}

fn option_label(item: &Item, lang: Lang, field: &Field, option: &str) -> String {
    item.text(lang, &format!("option.{}.{option}", field.id))
        .to_owned()
}

fn face(
    session: &Session,
    live: Option<&crate::event::Frame>,
    is_busy: bool,
    code: &str,
    advice: &str,
) -> Screen {
    let lang = session.lang();
    let is_evidence = !session.is_online;
    let message = if is_busy {
        text(lang, "face.comparing").to_owned()
    } else if !code.is_empty() {
        problem::get(code).advice(lang).to_owned()
    } else if !advice.is_empty() {
        problem::get(advice).notice(lang).to_owned()
    } else if is_evidence {
        text(lang, "face.evidence").to_owned()
    } else {
        text(lang, "face.look").to_owned()
    };
    let other_way = if session.offers_witness() {
        choice("witness", text(lang, "face.witness"), "persons")
    } else {
        Choice::default()
    };
    Screen::Face {
        message,
        live: live.map(|frame| frame.preview.clone()),
        reading: match (is_busy, code.is_empty()) {
            (true, _) => Reading::Busy,
            (false, true) => Reading::Waiting,
            (false, false) => Reading::Failed,
        },
        other_way,
        can_shoot: live.is_some() && !is_busy,
    }
}

fn capture(session: &Session, item: &Item) -> Screen {
    let lang = session.lang();
    let Page::Capture {
        index,
        live,
        taken,
        code,
        ..
    } = &session.page
    else {
        return working(lang, "checking");
    };
    let documents: &[String] = match item.steps.get(session.visit.step) {
        Some(Step::Capture { documents }) => documents,
        _ => &[],
    };
    let document = documents.get(*index).map_or("", String::as_str);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Screen::Capture {
        title: item
            .text(lang, &format!("document.{document}.title"))
            .to_owned(),
        hint: item
            .text(lang, &format!("document.{document}.hint"))
            .to_owned(),
        live: live.as_ref().map(|frame| frame.preview.clone()),
        taken: taken.as_ref().map(|frame| frame.preview.clone()),
        error: if code.is_empty() {
            String::new()
        } else {
            problem::get(code).advice(lang).to_owned()
        },
        index: count(index + 1),
        of: count(documents.len()),
    }
}

fn review(session: &Session, item: &Item) -> Screen {
    let lang = session.lang();
    let mut lines = Vec::new();
    if let Some(helper) = &session.visit.helper {
        lines.push(line(text(lang, "review.helper"), helper.masked_name()));
    }
    if let Some(principal) = &session.visit.principal {
        let kept = ["person.name", "person.number"].map(|key| text(lang, key));
        lines.extend(
            person_lines(lang, principal)
                .into_iter()
                .filter(|line| kept.contains(&line.label.as_str())),
        );
    }
    for step in &item.steps {
        if let Step::Form { fields } = step {
            lines.extend(
                fields
                    .iter()
                    .filter_map(|field| answer_line(session, item, field)),
            );
        }
    }
    let pictures = session
        .visit
        .pictures
        .iter()
        .map(|taken| {
            let label = item
                .text(lang, &format!("document.{}.title", taken.document))
                .to_owned();
            (label, taken.preview.clone())
        })
        .collect();
    let when = if session.is_online {
        "review.send-now"
    } else {
        "review.send-later"
    };
    Screen::Review {
        title: item.text(lang, "review.title").to_owned(),
        lines,
        pictures,
        notice: format!("{} {}", item.text(lang, "review.notice"), text(lang, when)),
        confirm: text(lang, "review.confirm").to_owned(),
    }
}

fn answer_line(session: &Session, item: &Item, field: &Field) -> Option<Line> {
    let lang = session.lang();
    let answer = session.visit.answer(&field.id);
    if answer.is_empty() {
        return None;
    }
    let (value, held) = match field.kind {
        FieldKind::Choice => (option_label(item, lang, field, answer), String::new()),
        FieldKind::Phone => (mask_middle(answer, 3, 4), answer.to_owned()),
        FieldKind::BankCard => (mask_middle(answer, 4, 4), answer.to_owned()),
        FieldKind::Year => (answer.to_owned(), String::new()),
    };
    Some(Line {
        label: item
            .text(lang, &format!("field.{}.label", field.id))
            .to_owned(),
        value,
        held,
        edit: field.id.clone(),
    })
}

fn preview(session: &Session, index: u32) -> Screen {
    let lang = session.lang();
    let (Some(credential), Some(pages)) = (&session.visit.credential, &session.visit.pages) else {
        return working(lang, "painting");
    };
    let obstacle = session.device_obstacle(DeviceClass::PagePrinter);
    Screen::Preview {
        title: credential.title.clone(),
        pages: pages.pages.clone(),
        page: index,
        seal: fill(lang, "preview.seal", &[("issuer", &credential.issuer)]),
        notice: fill(
            lang,
            "preview.pages",
            &[("pages", &pages.pages.len().to_string())],
        ),
        print: text(lang, "preview.print").to_owned(),
        unavailable: obstacle.map_or_else(String::new, |code| {
            problem::get(code).notice(lang).to_owned()
        }),
    }
}

fn printing(session: &Session, pages_out: u32, code: &str) -> Screen {
    let lang = session.lang();
    if code.is_empty() {
        let total = session
            .visit
            .pages
            .as_ref()
            .map_or(0, |pages| pages.pages.len());
        return Screen::Working {
            title: text(lang, "working.printing").to_owned(),
            detail: fill(
                lang,
                "working.printing-pages",
                &[
                    ("out", &pages_out.to_string()),
                    ("total", &total.to_string()),
                ],
            ),
        };
    }
    let problem = problem::get(code);
    Screen::Problem {
        title: problem.title(lang).to_owned(),
        advice: format!("{} {}", problem.advice(lang), text(lang, "working.resumes")),
        picture: problem.picture.clone(),
        code: code.to_owned(),
        ways: vec![choice("leave", text(lang, "way.stop-printing"), "cross")],
    }
}

fn done(session: &Session, paper: Paper, code: &str) -> Screen {
    let lang = session.lang();
    let receipt = session.visit.receipt.as_ref();
    let mut lines = Vec::new();
    let (state, advice, number) = match (&session.visit.commitment, &session.visit.item) {
        (Some(commitment), Some(item)) => {
            let (name, key) = outcome(receipt);
            let advice = match (key, receipt) {
                ("done.rejected", Some(receipt)) if !receipt.message.is_empty() => {
                    receipt.message.clone()
                }
                ("done.rejected", _) => problem::get("platform.rejected").advice(lang).to_owned(),
                ("done.pending", _) if session.is_upstream_down(item) => {
                    upstream_words(lang, item, "upstream.saved")
                }
                (key, _) => item.text(lang, key).to_owned(),
            };
            lines.push(line(text(lang, "done.time"), commitment.time.clone()));
            (name, advice, commitment.number.clone())
        }
        _ => (
            "completed",
            text(lang, "done.printed").to_owned(),
            String::new(),
        ),
    };
    if let Some(receipt) = receipt {
        let mut first = Vec::new();
        // How long it holds is what people come for; it stands first.
        for (key, value) in [
            ("slip.valid-until", &receipt.valid_until),
            ("slip.reference", &receipt.reference),
        ] {
            if !value.is_empty() {
                first.push(line(text(lang, key), value.as_str()));
            }
        }
        first.append(&mut lines);
        lines = first;
    }
    let (title, settled) = match state {
        "completed" => ("done.title-completed", Outcome::Completed),
        "rejected" => ("done.title-rejected", Outcome::Refused),
        "accepted" => ("done.title-accepted", Outcome::Accepted),
        _ => ("done.title-pending", Outcome::AcceptedPending),
    };
    let is_slip = session.visit.commitment.is_some();
    Screen::Done {
        title: text(lang, title).to_owned(),
        outcome: settled,
        number,
        lines,
        advice,
        paper,
        paper_text: paper_text(lang, paper, code, is_slip),
        more: match (is_slip, paper) {
            (true, Paper::Failed | Paper::Ready) => {
                vec![choice(
                    "print-again",
                    text(lang, "done.print-again"),
                    "printer",
                )]
            }
            _ => Vec::new(),
        },
    }
}

fn paper_text(lang: Lang, paper: Paper, code: &str, is_slip: bool) -> String {
    match (paper, is_slip) {
        (Paper::None, _) => String::new(),
        (Paper::Printing, _) if !code.is_empty() => {
            format!(
                "{} {}",
                problem::get(code).advice(lang),
                text(lang, "working.resumes")
            )
        }
        (Paper::Printing, _) => text(lang, "done.printing").to_owned(),
        (Paper::Ready, true) => text(lang, "done.take-slip").to_owned(),
        (Paper::Ready, false) => text(lang, "done.take-pages").to_owned(),
        (Paper::Failed, _) => format!(
            "{}\n{}",
            problem::get(code).title(lang),
            text(lang, "done.no-paper")
        ),
    }
}

fn rating(lang: Lang, chosen: &str) -> Screen {
    let level = |id: &str, key: &str| choice(id, text(lang, key), &format!("face-{id}"));
    Screen::Rating {
        levels: vec![
            level("5", "rating.5"),
            level("4", "rating.4"),
            level("3", "rating.3"),
            level("2", "rating.2"),
            level("1", "rating.1"),
        ],
        chosen: chosen.to_owned(),
    }
}

fn track_scan(session: &Session, code: &str) -> Screen {
    let lang = session.lang();
    let hold = if session.has_scanner() {
        "track.hold"
    } else {
        "track.lay"
    };
    Screen::Scan {
        title: text(lang, "track.title").to_owned(),
        message: if code.is_empty() {
            text(lang, hold).to_owned()
        } else {
            problem::get(code).advice(lang).to_owned()
        },
        reading: if code.is_empty() {
            Reading::Waiting
        } else {
            Reading::Failed
        },
    }
}

fn track_result(lang: Lang, number: &str, state: &str, words: &str, updated: &str) -> Screen {
    let (title, settled) = match state {
        "pending" => ("track.pending", Outcome::AcceptedPending),
        "completed" => ("track.completed", Outcome::Completed),
        "rejected" => ("track.rejected", Outcome::Refused),
        "correction" => ("track.correction", Outcome::Refused),
        "processing" => ("track.processing", Outcome::Accepted),
        _ => ("track.accepted", Outcome::Accepted),
    };
    Screen::Done {
        title: text(lang, title).to_owned(),
        outcome: settled,
        number: number.to_owned(),
        lines: vec![line(text(lang, "track.updated"), updated)],
        advice: if words.is_empty() {
            text(lang, "track.kept").to_owned()
        } else {
            words.to_owned()
        },
        paper: Paper::None,
        paper_text: String::new(),
        more: Vec::new(),
    }
}

fn trouble(lang: Lang, code: &str, words: &str, ways: &[Way]) -> Screen {
    let problem = problem::get(code);
    Screen::Problem {
        title: problem.title(lang).to_owned(),
        advice: if words.is_empty() {
            problem.advice(lang).to_owned()
        } else {
            words.to_owned()
        },
        picture: problem.picture.clone(),
        // A code helps the technician with a fault; for what is no fault it only frightens.
        code: if is_fault(code) {
            code.to_owned()
        } else {
            String::new()
        },
        ways: ways
            .iter()
            .map(|way| {
                let (key, icon) = match way {
                    Way::Retry => ("way.retry", "repeat"),
                    Way::TypeNumber => ("way.type-number", "keyboard"),
                    Way::Home => ("way.home", "home"),
                    Way::Leave => ("way.leave", "cross"),
                };
                choice(way.id(), text(lang, key), icon)
            })
            .collect(),
    }
}

/// False for conditions of the visit itself, which no technician can mend.
fn is_fault(code: &str) -> bool {
    let is_the_visits_own = code.starts_with("session.")
        || code.starts_with("face.")
        || code
            .strip_prefix("camera.")
            .is_some_and(|reason| reason.starts_with("face-"));
    let is_of_a_card = [
        "id-card.expired",
        "smart-card.not-social-security",
        "smart-card.protected",
        "smart-card.card-mute",
        "smart-card.card-removed",
        "smart-card.card-left",
    ]
    .contains(&code);
    !is_the_visits_own && !is_of_a_card && code != "printer.slip-retracted"
}

fn leave(session: &Session, is_timed_out: bool) -> Screen {
    let lang = session.lang();
    let mut take = Vec::new();
    if session.is_card_present() {
        take.push(choice("", text(lang, "leave.take-card"), "id-card"));
    }
    if session.visit.has_paper || session.has_media(DeviceClass::SlipPrinter) {
        take.push(choice("", text(lang, "leave.take-paper"), "slip"));
    }
    let erased = if is_timed_out {
        "leave.timed-out"
    } else {
        "leave.erased"
    };
    Screen::Leave {
        take,
        erased: text(lang, erased).to_owned(),
    }
}
