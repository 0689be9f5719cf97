//! The devices: what is wrong, who acts, what to do, what was tested; tickets and consumables.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kiosk_device::usb::sysfs::Sysfs;
use kiosk_device::{DeviceClass, Rung};
use kiosk_ui::{Mark, StaffRow, StaffSection};
use offline_cache::{TestRecord, Ticket, TicketState};
use uuid::Uuid;

use super::{
    Filled, ROWS_MAX, act, facts, line, mark_of, minute, named, opens, reading, remedy, section,
    sentence,
};
use crate::clock::Moment;
use crate::devices::{FaultWords, Listed, Report};
use crate::problem;
use crate::selftest;
use crate::session::staff::ids::{Button, Id};
use crate::words::{Lang, fill, text};
use crate::workbench::bench::Bench;
use crate::workbench::levels::Lasting;
use crate::workbench::readiness::{TestLine, expected, is_fresh, verdict_key};
use crate::workbench::{Facts, Topic};

/// Tests of one device that are shown.
const TESTS_SHOWN: u32 = 10;
/// A roll of slip paper of 80 m gives so many slips of 20 cm. Chosen; the counter warns, the paper's
/// end is seen by the printer.
const SLIPS_OF_A_ROLL: u64 = 400;
/// A ream.
const PAGES_OF_A_REAM: u64 = 500;

impl Bench {
    pub(in crate::workbench) fn report_of_devices(&self) -> Report {
        self.roster.report(&Sysfs::default(), true)
    }

    pub(super) fn devices(&self, lang: Lang) -> Facts {
        let report = self.report_of_devices();
        let known = report.devices.iter().map(|device| device_row(device, lang));
        let unknown = report.unknown.iter().map(|device| StaffRow {
            label: device.port.clone(),
            value: device.guess.clone(),
            detail: device.model.clone(),
            mark: Mark::Unknown,
            ..StaffRow::default()
        });
        facts([
            section(lang, "bench.devices", known.collect()),
            section(lang, "bench.unknown-devices", unknown.collect()),
        ])
    }

    pub(super) fn device(&mut self, id: &str, lang: Lang, now: Moment) -> Filled {
        let report = self.report_of_devices();
        let Some(device) = report.devices.iter().find(|device| device.id == id) else {
            return Ok(Facts {
                warning: sentence("device.not-there", lang),
                ..Facts::default()
            });
        };
        let open: Vec<Ticket> = self
            .cache
            .tickets(true, ROWS_MAX)?
            .into_iter()
            .filter(|ticket| ticket.device == id)
            .collect();
        let known = Known {
            device,
            tickets: &open,
            records: &self.cache.tests_of(id, TESTS_SHOWN)?,
            lasting: self.levels.lasting(id),
        };
        Ok(known.page(lang, now))
    }

    pub(super) fn tests(&self, lang: Lang, now: Moment) -> Filled {
        let report = self.report_of_devices();
        let at = self.time(now).at;
        let lines = expected(&report, &self.cache.latest_tests()?, at);
        let rows = |of_machine: bool| -> Vec<StaffRow> {
            lines
                .iter()
                .filter(|test| test.device.is_empty() == of_machine)
                .map(|test| test_row(test, &report, lang))
                .collect()
        };
        let mut page = facts([
            section(lang, "bench.devices", rows(false)),
            section(lang, "bench.machine", rows(true)),
        ]);
        page.acts.extend(super::test_rest(&lines, lang));
        Ok(page)
    }

    pub(super) fn tickets(&self, lang: Lang, now: Moment) -> Filled {
        // What is mended waits only to be closed.
        let mut open = self.cache.tickets(true, ROWS_MAX)?;
        open.retain(|ticket| ticket.state.is_open());
        let known: Vec<Uuid> = open.iter().map(|ticket| ticket.id).collect();
        let all = self.cache.tickets(false, ROWS_MAX)?;
        let over = all.iter().filter(|ticket| !known.contains(&ticket.id));
        let mut page = facts([
            section(
                lang,
                "bench.open-tickets",
                open.iter()
                    .map(|ticket| ticket_row(ticket, lang, now))
                    .collect(),
            ),
            section(
                lang,
                "bench.closed-tickets",
                over.map(|ticket| ticket_row(ticket, lang, now)).collect(),
            ),
        ]);
        if open.is_empty() {
            text(lang, "bench.no-tickets").clone_into(&mut page.intro);
        }
        Ok(page)
    }

    pub(super) fn ticket(&self, id: Uuid, lang: Lang, now: Moment) -> Filled {
        let ticket = self.cache.ticket(id)?;
        let mut page = facts([
            section(lang, "bench.ticket", ticket_rows(&ticket, lang, now)),
            section(lang, "bench.before-after", proof_rows(&ticket, lang)),
            section(lang, "bench.parts", part_rows(&ticket)),
        ]);
        match ticket.state {
            TicketState::Open | TicketState::Acknowledged => {
                page.warning = sentence(&ticket.code, lang);
                page.intro = remedy(&ticket.code, lang);
                page.drawing.clone_from(&problem::get(&ticket.code).picture);
            }
            TicketState::Mended => {
                text(lang, "bench.ticket-to-close").clone_into(&mut page.intro);
                "check".clone_into(&mut page.drawing);
            }
            TicketState::Closed => {
                text(lang, "bench.ticket-is-over").clone_into(&mut page.intro);
                "check".clone_into(&mut page.drawing);
            }
        }
        let replace = Button::Replace {
            ticket: id,
            class: ticket.class.clone(),
        };
        page.acts = match ticket.state {
            TicketState::Open => vec![
                act(lang, "bench.act-acknowledge", Button::Acknowledge(id)),
                act(lang, "bench.act-replace", replace),
            ],
            TicketState::Acknowledged => vec![act(lang, "bench.act-replace", replace)],
            TicketState::Mended => vec![
                act(lang, "bench.act-close", Button::Close(id)),
                act(lang, "bench.act-replace", replace),
            ],
            TicketState::Closed => Vec::new(),
        };
        Ok(page)
    }

    pub(super) fn consumables(&self, lang: Lang) -> Filled {
        let filled: BTreeMap<(String, String), _> = self
            .cache
            .consumables()?
            .into_iter()
            .map(|each| ((each.device.clone(), each.what.clone()), each))
            .collect();
        let report = self.report_of_devices();
        let mut page = Facts::default();
        let mut rows = Vec::new();
        for device in &report.devices {
            let Some(consumable) = consumable_of(&device.class) else {
                continue;
            };
            let made = |what: &str| filled.get(&(device.id.clone(), what.to_owned()));
            let roll = made(consumable.counted);
            let value = match roll {
                None => text(lang, "bench.never-filled").to_owned(),
                Some(each) => {
                    let beside = consumable.beside.iter().filter_map(|what| made(what));
                    let used = beside.fold(each.used_since, |used, beside| {
                        used.saturating_add(beside.used_since)
                    });
                    let left = each.amount.saturating_sub(used);
                    let values = [("left", left.to_string()), ("used", used.to_string())];
                    let values = values
                        .each_ref()
                        .map(|(name, value)| (*name, value.as_str()));
                    fill(lang, "bench.left-used", &values)
                }
            };
            rows.push(StaffRow {
                label: device_name(device, lang),
                value,
                detail: roll.map_or_else(String::new, |each| {
                    format!("{} {}", minute(each.at), each.by)
                }),
                mark: supply_mark(&device.paper),
                ..StaffRow::default()
            });
            let mut choice = act(
                lang,
                "bench.act-replenish",
                Button::Replenish {
                    what: consumable.what.to_owned(),
                    device: device.id.clone(),
                },
            );
            choice.detail.clone_from(&device.id);
            page.acts.push(choice);
        }
        page.sections
            .extend(section(lang, "bench.consumables", rows));
        Ok(page)
    }
}

/// What a device uses up.
#[derive(Clone, Copy, Debug)]
pub(in crate::workbench) struct UsedUp {
    /// What is filled up.
    pub(in crate::workbench) what: &'static str,
    /// How much of it one filling is.
    pub(in crate::workbench) amount: u64,
    /// The diary's word for its use by visitors.
    pub(in crate::workbench) counted: &'static str,
    /// The diary's words for what uses it up beside them: tests, and slips of the staff.
    pub(in crate::workbench) beside: &'static [&'static str],
}

/// What a class of devices uses up.
pub(in crate::workbench) fn consumable_of(class: &str) -> Option<UsedUp> {
    match class {
        "slip-printer" => Some(UsedUp {
            what: "paper",
            amount: SLIPS_OF_A_ROLL,
            counted: "made:slips",
            beside: &["made:test-slips", "made:staff-slips"],
        }),
        "page-printer" => Some(UsedUp {
            what: "paper",
            amount: PAGES_OF_A_REAM,
            counted: "made:pages",
            beside: &["made:test-pages"],
        }),
        _ => None,
    }
}

/// What the page of a device is made of.
struct Known<'a> {
    device: &'a Listed,
    /// Its tickets that are not closed.
    tickets: &'a [Ticket],
    /// Its last tests, the newest first.
    records: &'a [TestRecord],
    /// How long its log level lasts, where somebody has changed it on the glass.
    lasting: Option<Lasting>,
}

impl Known<'_> {
    /// In the order in which somebody needs it who has come to mend: what is wrong, the picture and what
    /// to do stand at the top, then the tests, then what can be done, then how it is; long figures last.
    fn page(&self, lang: Lang, now: Moment) -> Facts {
        let device = self.device;
        let tickets = self
            .tickets
            .iter()
            .map(|ticket| ticket_row(ticket, lang, now))
            .collect();
        let tests = plan_rows(device, self.records, lang, now.at);
        let before: Vec<StaffSection> = [
            section(lang, "bench.state", top_rows(device, lang)),
            section(lang, "bench.tests", tests),
            section(lang, "bench.tickets", tickets),
        ]
        .into_iter()
        .flatten()
        .collect();
        let figures_from = Some(before.len());
        let behind = [
            section(lang, "bench.readings", self.reading_rows(lang)),
            section(lang, "bench.identity", identity_rows(device, lang)),
            section(
                lang,
                "bench.earlier-tests",
                earlier_rows(self.records, lang, now.at),
            ),
            section(lang, "bench.counters", counter_rows(device, lang)),
        ];
        let mut page = Facts {
            sections: before
                .into_iter()
                .chain(behind.into_iter().flatten())
                .collect(),
            figures_from,
            acts: device_acts(device, lang),
            title: format!("{} · {}", device_word(device, lang), device.id),
            ..Facts::default()
        };
        if let Some(fault) = device.faults.first() {
            let who = text(lang, action_key(&fault.action));
            page.warning = format!("{} · {who}", sentence(&fault.code, lang));
            page.intro = remedy(&fault.code, lang);
            page.drawing.clone_from(&problem::get(&fault.code).picture);
        }
        page
    }

    /// How it is: what is not said at the top already.
    fn reading_rows(&self, lang: Lang) -> Vec<StaffRow> {
        let device = self.device;
        let mut rows = Vec::new();
        if !device.faults.is_empty() {
            rows.push(state_row(device, lang));
        }
        for (key, value) in [
            ("bench.paper", &device.paper),
            ("bench.toner", &device.toner),
            ("bench.media", &device.media),
        ] {
            if value != "unknown" {
                rows.push(named(lang, key, text(lang, supply_key(value))));
            }
        }
        let readings = device.readings.iter();
        rows.extend(readings.map(|(name, value)| reading(lang, name, value)));
        if device.is_recording {
            rows.push(named(lang, "bench.recording", text(lang, "bench.running")));
        }
        if let Some(level) = &device.log_level {
            rows.push(StaffRow {
                detail: self
                    .lasting
                    .map_or_else(String::new, |lasting| match lasting {
                        Lasting::Visit => text(lang, "staff.level-visit").to_owned(),
                        Lasting::Until(at) => {
                            fill(lang, "bench.level-until", &[("time", &minute(at))])
                        }
                    }),
                ..named(lang, "bench.log-level", log_level_word(level, lang))
            });
        }
        rows
    }
}

fn supply_mark(paper: &str) -> Mark {
    match paper {
        "full" => Mark::Good,
        "low" => Mark::Caution,
        "out" | "jammed" => Mark::Bad,
        _ => Mark::Unknown,
    }
}

fn device_row(device: &Listed, lang: Lang) -> StaffRow {
    let detail = device.faults.first().map_or_else(
        || device.model.clone(),
        |fault| {
            let who = text(lang, action_key(&fault.action));
            format!("{} · {who}", problem::get(&fault.code).title(lang))
        },
    );
    StaffRow {
        id: opens(Topic::Device(device.id.clone())),
        label: device_name(device, lang),
        value: text(lang, state_key(&device.state)).to_owned(),
        detail,
        mark: state_mark(device),
    }
}

fn state_mark(device: &Listed) -> Mark {
    if device.state == "starting" {
        return Mark::Unknown;
    }
    match (device.is_well(), device.faults.is_empty()) {
        (true, true) => Mark::Good,
        (true, false) => Mark::Caution,
        (false, _) => Mark::Bad,
    }
}

fn state_row(device: &Listed, lang: Lang) -> StaffRow {
    StaffRow {
        mark: state_mark(device),
        ..named(lang, "bench.state", text(lang, state_key(&device.state)))
    }
}

/// What stands at the top: of a well device that it is well, and what was wrong last; of a faulty one
/// what is wrong beside the fault that the page begins with.
fn top_rows(device: &Listed, lang: Lang) -> Vec<StaffRow> {
    if !device.faults.is_empty() {
        let others = device.faults.iter().skip(1);
        return others.map(|fault| fault_row(fault, lang)).collect();
    }
    let mut rows = vec![state_row(device, lang)];
    rows.extend(device.last_fault.as_ref().map(|fault| StaffRow {
        mark: Mark::None,
        ..fault_row(fault, lang)
    }));
    rows
}

fn fault_row(fault: &FaultWords, lang: Lang) -> StaffRow {
    StaffRow {
        label: problem::get(&fault.code).title(lang).to_owned(),
        value: text(lang, action_key(&fault.action)).to_owned(),
        detail: format!("{} {}", fault.code, fault.detail),
        mark: Mark::Bad,
        ..StaffRow::default()
    }
}

/// The tests of a device, one touch away, each with its last outcome.
fn plan_rows(device: &Listed, records: &[TestRecord], lang: Lang, now: Timestamp) -> Vec<StaffRow> {
    plans_of(device)
        .map(|plan| {
            let last = records.iter().find(|record| record.test == plan.id);
            StaffRow {
                id: test_id(plan, device),
                ..record_row(plan.id, last, lang, now)
            }
        })
        .collect()
}

/// Outcomes that a newer one of the same test has replaced.
fn earlier_rows(records: &[TestRecord], lang: Lang, now: Timestamp) -> Vec<StaffRow> {
    let mut seen = BTreeSet::new();
    records
        .iter()
        .filter(|record| !seen.insert(record.test.as_str()))
        .map(|record| record_row(&record.test, Some(record), lang, now))
        .collect()
}

fn plans_of(device: &Listed) -> impl Iterator<Item = &'static selftest::Plan> {
    let class = DeviceClass::from_name(&device.class);
    let plans = selftest::plans().iter();
    plans.filter(move |plan| class.is_some() && plan.class == class)
}

fn test_id(plan: &selftest::Plan, device: &Listed) -> String {
    let id = Id::Test {
        plan: plan.id.to_owned(),
        device: device.id.clone(),
    };
    id.to_text()
}

fn record_row(test: &str, record: Option<&TestRecord>, lang: Lang, now: Timestamp) -> StaffRow {
    let word = record.map_or("not-run", |record| record.verdict.word());
    let detail = record.map_or_else(String::new, |record| {
        let mut words = format!("{} {}", minute(record.at), record.by);
        if !record.problem.is_empty() {
            words = format!("{} · {words}", problem::get(&record.problem).title(lang));
        }
        words
    });
    let is_old = record.is_some_and(|record| !is_fresh(record, now));
    StaffRow {
        label: plan_title(test, lang),
        value: text(lang, verdict_key(word)).to_owned(),
        detail,
        mark: if is_old { Mark::Unknown } else { mark_of(word) },
        ..StaffRow::default()
    }
}

fn test_row(test: &TestLine, devices: &Report, lang: Lang) -> StaffRow {
    let mut of_class = devices
        .devices
        .iter()
        .filter(|device| device.id == test.device);
    // The title has the class; where it has several uses, its name tells which.
    let named = of_class.find(|device| !device.role.is_empty());
    let mut detail = named.map_or_else(|| test.device.clone(), |device| device_name(device, lang));
    if !test.problem.is_empty() {
        detail = format!("{detail} · {}", problem::get(&test.problem).title(lang));
    }
    StaffRow {
        id: Id::Test {
            plan: test.test.clone(),
            device: test.device.clone(),
        }
        .to_text(),
        label: plan_title(&test.test, lang),
        value: text(lang, verdict_key(test.verdict)).to_owned(),
        detail,
        mark: mark_of(test.verdict),
    }
}

/// A test's name for people.
pub(in crate::workbench) fn plan_title(test: &str, lang: Lang) -> String {
    selftest::plan(test).map_or_else(|| test.to_owned(), |plan| text(lang, plan.id).to_owned())
}

fn counter_rows(device: &Listed, lang: Lang) -> Vec<StaffRow> {
    let counters = &device.counters;
    let (hours, minutes) = (counters.ready_s / 3600, counters.ready_s / 60 % 60);
    let mut rows = vec![
        named(
            lang,
            "bench.commands",
            format!("{} / {}", counters.succeeded, counters.commands),
        ),
        named(lang, "bench.ready-for", format!("{hours} h {minutes} min")),
    ];
    let made = counters.made.iter();
    rows.extend(made.map(|(what, count)| line(made_word(what, lang), count.to_string())));
    for (code, count) in counters.failed.iter().chain(&counters.faults) {
        rows.push(StaffRow {
            detail: code.clone(),
            ..line(problem::get(code).title(lang), format!("×{count}"))
        });
    }
    rows
}

/// What a device made, in words.
pub(in crate::workbench) fn made_word(what: &str, lang: Lang) -> String {
    let key = match what {
        "slips" => "figure.made-slips",
        "pages" => "figure.made-pages",
        "test-slips" => "figure.made-test-slips",
        "test-pages" => "figure.made-test-pages",
        "staff-slips" => "figure.made-staff-slips",
        "cards" => "figure.made-cards",
        "codes" => "figure.made-codes",
        _ => return what.to_owned(),
    };
    text(lang, key).to_owned()
}

/// A level of the log in words, with its name.
pub(crate) fn log_level_word(level: &str, lang: Lang) -> String {
    let key = match level {
        "error" => "value.level-error",
        "warn" => "value.level-warn",
        "info" => "value.level-info",
        "debug" => "value.level-debug",
        "trace" => "value.level-trace",
        _ => return level.to_owned(),
    };
    text(lang, key).to_owned()
}

fn identity_rows(device: &Listed, lang: Lang) -> Vec<StaffRow> {
    [
        ("bench.driver", &device.driver),
        ("bench.port", &device.port),
        ("bench.model", &device.model),
        ("bench.serial", &device.serial),
        ("bench.firmware", &device.firmware),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| named(lang, key, value.clone()))
    .collect()
}

/// What is done most often first: the page has room for few large buttons.
fn device_acts(device: &Listed, lang: Lang) -> Vec<kiosk_ui::Choice> {
    let id = || device.id.clone();
    let mut acts = Vec::new();
    if let Some(plan) = plans_of(device).next() {
        let mut test = act(lang, "bench.act-test", Button::Retry(id()));
        test.id = test_id(plan, device);
        acts.push(test);
    }
    acts.push(act(lang, "bench.act-retry", Button::Retry(id())));
    if let Some(consumable) = consumable_of(&device.class) {
        let what = consumable.what.to_owned();
        acts.push(act(
            lang,
            "bench.act-replenish",
            Button::Replenish { what, device: id() },
        ));
    }
    acts.extend(device.rungs.iter().filter_map(|rung| {
        let (rung, key) = rung_of(rung)?;
        let device = id();
        Some(act(lang, key, Button::Climb { rung, device }))
    }));
    let recording = if device.is_recording {
        ("bench.act-stop-recording", false)
    } else {
        ("bench.act-record", true)
    };
    acts.push(act(
        lang,
        recording.0,
        Button::Recording {
            is_on: recording.1,
            device: id(),
        },
    ));
    acts.push(act(lang, "bench.act-level", Button::Levels(id())));
    let mut monitor = act(lang, "bench.act-monitor", Button::Levels(id()));
    monitor.id = opens(Topic::Monitor(id()));
    acts.push(monitor);
    acts
}

/// A rung that can be climbed by hand, and the text of its button.
fn rung_of(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        Rung::USB_REBIND => Some((Rung::USB_REBIND, "bench.act-usb-rebind")),
        Rung::POWER_CYCLE => Some((Rung::POWER_CYCLE, "bench.act-power-cycle")),
        _ => None,
    }
}

fn ticket_row(ticket: &Ticket, lang: Lang, now: Moment) -> StaffRow {
    let device = if ticket.device.is_empty() {
        text(lang, "bench.machine")
    } else {
        &ticket.device
    };
    StaffRow {
        id: opens(Topic::Ticket(ticket.id)),
        label: format!("{} {device}", ticket.number),
        value: text(lang, ticket_key(ticket.state)).to_owned(),
        detail: format!(
            "{} · {}",
            problem::get(&ticket.code).title(lang),
            clock_words(ticket, lang, now)
        ),
        mark: ticket_mark(ticket, now),
    }
}

fn ticket_mark(ticket: &Ticket, now: Moment) -> Mark {
    if !ticket.state.is_open() {
        return Mark::Good;
    }
    if now.at > due_at(ticket) {
        Mark::Bad
    } else {
        Mark::Caution
    }
}

/// What runs now: the time to take it, else the time to mend it.
fn due_at(ticket: &Ticket) -> Timestamp {
    if ticket.state == TicketState::Open {
        ticket.respond_by
    } else {
        ticket.repair_by
    }
}

/// What the clock of a ticket tells.
fn clock_key(ticket: &Ticket) -> &'static str {
    if ticket.state.is_open() {
        "bench.clock"
    } else {
        "bench.mended-at"
    }
}

/// The clock of a ticket in words.
fn clock_words(ticket: &Ticket, lang: Lang, now: Moment) -> String {
    if let (false, Some(at)) = (
        ticket.state.is_open(),
        ticket.mended_at.or(ticket.closed_at),
    ) {
        return minute(at);
    }
    let left_s = due_at(ticket).duration_since(now.at).as_secs();
    let hours = left_s.unsigned_abs() / 3600;
    let minutes = left_s.unsigned_abs() / 60 % 60;
    let values = [
        ("hours", hours.to_string()),
        ("minutes", minutes.to_string()),
    ];
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let key = if left_s >= 0 {
        "bench.time-left"
    } else {
        "bench.time-over"
    };
    fill(lang, key, &values)
}

fn ticket_rows(ticket: &Ticket, lang: Lang, now: Moment) -> Vec<StaffRow> {
    let mut rows = vec![
        StaffRow {
            mark: ticket_mark(ticket, now),
            ..named(lang, "bench.ticket-number", ticket.number.clone())
        },
        StaffRow {
            detail: sentence(&ticket.code, lang),
            ..named(lang, "bench.state", text(lang, ticket_key(ticket.state)))
        },
        named(
            lang,
            "bench.who-acts",
            text(lang, level_key(ticket.level_at(now.at).word())),
        ),
        named(lang, clock_key(ticket), clock_words(ticket, lang, now)),
        named(lang, "bench.opened-at", minute(ticket.opened_at)),
        named(lang, "bench.respond-by", minute(ticket.respond_by)),
        named(lang, "bench.repair-by", minute(ticket.repair_by)),
        named(lang, "bench.last-by", ticket.by.clone()),
        named(lang, "bench.times-seen", ticket.times_seen.to_string()),
    ];
    if ticket.times_reopened > 0 {
        rows.push(named(
            lang,
            "bench.times-reopened",
            ticket.times_reopened.to_string(),
        ));
    }
    if !ticket.device.is_empty() {
        rows.push(StaffRow {
            id: opens(Topic::Device(ticket.device.clone())),
            ..named(lang, "bench.device", ticket.device.clone())
        });
    }
    for note in ticket.note.lines() {
        rows.push(named(lang, "bench.note", note));
    }
    rows
}

fn proof_rows(ticket: &Ticket, lang: Lang) -> Vec<StaffRow> {
    let mut rows = Vec::new();
    for (key, record) in [
        ("bench.before", &ticket.before),
        ("bench.after", &ticket.after),
    ] {
        if let Some(record) = record {
            rows.push(StaffRow {
                detail: format!("{} {} {}", record.test, minute(record.at), record.by),
                mark: mark_of(record.verdict.word()),
                ..named(lang, key, text(lang, verdict_key(record.verdict.word())))
            });
        }
    }
    let test = ticket.before.as_ref().map(|record| record.test.clone());
    let class = DeviceClass::from_name(&ticket.class);
    let of_class = || {
        let plans = selftest::plans().iter();
        plans
            .filter(|plan| class.is_some() && plan.class == class)
            .map(|plan| plan.id.to_owned())
            .next()
    };
    if let (true, Some(plan)) = (ticket.state.is_open(), test.or_else(of_class)) {
        rows.push(StaffRow {
            id: Id::Test {
                plan: plan.clone(),
                device: ticket.device.clone(),
            }
            .to_text(),
            ..named(lang, "bench.test-again", plan_title(&plan, lang))
        });
    }
    rows
}

fn part_rows(ticket: &Ticket) -> Vec<StaffRow> {
    let parts = ticket.parts.iter();
    parts
        .map(|part| {
            let serials = format!("{} {}", part.old_serial, part.new_serial);
            line(part.what.clone(), serials.trim())
        })
        .collect()
}

/// What a device is, and the name that its place gave it.
fn device_name(device: &Listed, lang: Lang) -> String {
    format!("{} {}", device_word(device, lang), device.id)
}

/// What a device is, in words.
fn device_word(device: &Listed, lang: Lang) -> &'static str {
    match (device.class.as_str(), device.role.as_str()) {
        ("camera", "face") => text(lang, "bench.camera-face"),
        ("camera", "document") => text(lang, "bench.camera-document"),
        (class, _) => class_word(class, lang),
    }
}

/// A class in words.
pub(crate) fn class_word(class: &str, lang: Lang) -> &'static str {
    let key = match class {
        "id-card" => "bench.class-id-card",
        "qr-scanner" => "bench.class-qr-scanner",
        "slip-printer" => "bench.class-slip-printer",
        "page-printer" => "bench.class-page-printer",
        "camera" => "bench.class-camera",
        "smart-card" => "bench.class-smart-card",
        "ups" => "bench.class-ups",
        "io-board" => "bench.class-io-board",
        "signature-pad" => "bench.class-signature-pad",
        "speaker" => "bench.class-speaker",
        _ => "bench.device",
    };
    text(lang, key)
}

pub(in crate::workbench) fn state_key(state: &str) -> &'static str {
    match state {
        "online" => "bench.state-online",
        "starting" => "bench.state-starting",
        "device-busy" => "bench.state-busy",
        "user-error" => "bench.state-user-error",
        "no-device" => "bench.state-no-device",
        "power-off" => "bench.state-power-off",
        "hardware-error" => "bench.state-hardware-error",
        _ => "bench.state-offline",
    }
}

fn supply_key(value: &str) -> &'static str {
    match value {
        "full" => "bench.supply-full",
        "low" => "bench.supply-low",
        "out" => "bench.supply-out",
        "jammed" => "bench.supply-jammed",
        "present" => "bench.media-present",
        _ => "bench.media-none",
    }
}

fn action_key(action: &str) -> &'static str {
    match action {
        "reset" => "bench.who-machine",
        "clear" => "bench.who-village",
        "configuration" => "bench.who-city",
        "suspend" => "bench.who-report",
        _ => "bench.who-town",
    }
}

fn level_key(level: &str) -> &'static str {
    match level {
        "village" => "bench.who-village",
        "town" => "bench.who-town",
        "city" => "bench.who-city",
        _ => "bench.who-vendor",
    }
}

fn ticket_key(state: TicketState) -> &'static str {
    match state {
        TicketState::Open => "bench.ticket-open",
        TicketState::Acknowledged => "bench.ticket-acknowledged",
        TicketState::Mended => "bench.ticket-mended",
        TicketState::Closed => "bench.ticket-closed",
    }
}

/// Ready or not, for the page of the report.
pub(super) fn not_passed(tests: &[TestLine], devices: &Report, lang: Lang) -> Option<StaffSection> {
    let rows = tests
        .iter()
        .filter(|test| test.is_left())
        .map(|test| test_row(test, devices, lang))
        .collect();
    section(lang, "bench.still-to-test", rows)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use offline_cache::{Level, Verdict};

    use super::*;
    use crate::devices::Counters;

    fn now() -> Moment {
        Moment {
            at: Timestamp::from_second(1_795_311_660).unwrap(),
            uptime: Duration::from_mins(1),
        }
    }

    fn fault(code: &str, action: &str) -> FaultWords {
        FaultWords {
            code: code.to_owned(),
            action: action.to_owned(),
            title: String::new(),
            advice: String::new(),
            detail: String::new(),
        }
    }

    /// A printer that tells everything that a device can tell.
    fn printer(faults: Vec<FaultWords>) -> Listed {
        let words = |text: &str| text.to_owned();
        Listed {
            id: words("slips"),
            class: words("slip-printer"),
            role: String::new(),
            driver: words("escpos"),
            port: words("/dev/ttyS0"),
            state: words(if faults.is_empty() {
                "online"
            } else {
                "user-error"
            }),
            media: words("none"),
            paper: words("low"),
            toner: words("unknown"),
            readings: BTreeMap::from([(words("head-temperature"), words("41"))]),
            model: words("TEST"),
            serial: words("7"),
            firmware: String::new(),
            abilities: Vec::new(),
            last_fault: None,
            faults,
            log_level: Some(words("debug")),
            is_recording: false,
            rungs: vec![words("power-cycle")],
            counters: Counters {
                failed: BTreeMap::from([(words("printer.cover-open"), 3)]),
                ..Counters::default()
            },
        }
    }

    fn record(second: i64, verdict: Verdict) -> TestRecord {
        TestRecord {
            id: Uuid::from_u128(u128::try_from(second).unwrap()),
            test: "slip-printer.pattern".to_owned(),
            device: "slips".to_owned(),
            verdict,
            figures: BTreeMap::new(),
            problem: String::new(),
            by: "tech.ce-shi".to_owned(),
            at: Timestamp::from_second(1_795_311_660 - second).unwrap(),
            took_ms: 900,
            ticket: None,
        }
    }

    fn ticket() -> Ticket {
        let at = now().at;
        Ticket {
            id: Uuid::from_u128(9),
            number: "T001-0001".to_owned(),
            device: "slips".to_owned(),
            class: "slip-printer".to_owned(),
            code: "printer.cover-open".to_owned(),
            action: "clear".to_owned(),
            state: TicketState::Open,
            level: Level::Village,
            opened_at: at,
            respond_by: at,
            repair_by: at,
            acknowledged_at: None,
            mended_at: None,
            closed_at: None,
            times_seen: 1,
            times_reopened: 0,
            before: None,
            after: None,
            parts: Vec::new(),
            note: String::new(),
            by: "terminal".to_owned(),
            revision: 1,
        }
    }

    fn headings(page: &Facts) -> Vec<&str> {
        let sections = page.sections.iter();
        sections.map(|section| section.title.as_str()).collect()
    }

    #[test]
    fn a_faulty_device_begins_with_its_fault_then_tests_then_acts_and_ends_with_long_figures() {
        let faults = vec![
            fault("printer.cover-open", "clear"),
            fault("printer.media-low", "clear"),
        ];
        let known = Known {
            device: &printer(faults),
            tickets: &[ticket()],
            records: &[record(10, Verdict::Failed), record(20, Verdict::Passed)],
            lasting: Some(Lasting::Visit),
        };
        let lang = Lang::ZhHans;
        let page = known.page(lang, now());
        assert!(
            page.warning.contains("printer.cover-open"),
            "{}",
            page.warning
        );
        assert_eq!(page.intro, problem::get("printer.cover-open").technician);
        assert_eq!(page.drawing, problem::get("printer.cover-open").picture);
        let expected = [
            "bench.state",
            "bench.tests",
            "bench.tickets",
            "bench.readings",
            "bench.identity",
            "bench.earlier-tests",
            "bench.counters",
        ];
        assert_eq!(headings(&page), expected.map(|key| text(lang, key)));
        assert_eq!(page.figures_from, Some(3), "acts stand before the readings");
        let other = &page.sections[0].rows;
        assert_eq!(other.len(), 1, "the first fault is the page's own");
        assert!(other[0].detail.contains("printer.media-low"));
        let test = "test:slip-printer.pattern:slips";
        assert_eq!(page.sections[1].rows[0].id, test);
        assert_eq!(page.sections[1].rows[0].mark, Mark::Bad);
        assert_eq!(page.acts[0].id, test, "and it is the first button");
        let level = &page.sections[3].rows.last().unwrap();
        assert_eq!(level.detail, text(lang, "staff.level-visit"));
    }

    #[test]
    fn a_well_device_begins_with_that_it_is_well() {
        let known = Known {
            device: &printer(Vec::new()),
            tickets: &[],
            records: &[],
            lasting: None,
        };
        let page = known.page(Lang::ZhHans, now());
        assert!(page.warning.is_empty() && page.drawing.is_empty());
        assert_eq!(page.sections[0].rows[0].mark, Mark::Good);
        assert_eq!(page.figures_from, Some(2));
    }
}
