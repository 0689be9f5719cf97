//! Facts as rows: what each page of the staff shows, in the language that was asked for. Names, figures,
//! problem words and fingerprints only; nothing of a citizen is looked at, so that nothing can be
//! shown. A page that cannot be filled says so and shows what there is.

mod devices;
mod machine;
mod office;
mod update;

pub(crate) use devices::{class_word, log_level_word};
pub(super) use devices::{consumable_of, made_word, plan_title, state_key};
pub(super) use machine::calibration_key;
pub(super) use office::accounts;

use jiff::Timestamp;
use kiosk_ui::{Choice, Mark, StaffRow, StaffSection};
use offline_cache::CacheError;

use super::bench::Bench;
use super::readiness::TestLine;
use super::{Facts, Topic};
use crate::clock::{self, Moment};
use crate::logging;
use crate::problem;
use crate::selftest;
use crate::session::staff::ids::{Button, Id};
use crate::words::{Lang, fill, text};

/// Most rows of one list. Chosen: twenty pages of the glass; more is read on a stick.
const ROWS_MAX: u32 = 200;

impl Bench {
    /// A page of facts.
    pub(super) fn show(&mut self, topic: &Topic, lang: Lang, now: Moment) -> Facts {
        let filled = match topic {
            Topic::Devices => Ok(self.devices(lang)),
            Topic::Device(device) => self.device(device, lang, now),
            Topic::Tests => self.tests(lang, now),
            Topic::Tickets => self.tickets(lang, now),
            Topic::Ticket(id) => self.ticket(*id, lang, now),
            Topic::Consumables => self.consumables(lang),
            Topic::Daily => self.daily(lang),
            Topic::Queue => self.queue(lang, now),
            Topic::DeadLetter(id) => Ok(self.dead_letter(*id, lang, now)),
            Topic::Network => self.network(lang),
            Topic::Configuration => self.configuration(lang),
            Topic::Evidence => self.evidence_page(lang, now),
            Topic::Machine => Ok(self.machine(lang, now)),
            Topic::Update => Ok(self.update_page(lang, now)),
            Topic::Calibration => self.calibrations(lang),
            Topic::Sticks => Ok(self.sticks_page(lang)),
            Topic::Monitor(device) => Ok(self.monitor_page(device, lang, now)),
            Topic::Log { errors_only } => Ok(log_page(*errors_only, lang)),
            Topic::Readiness => self.readiness(lang, now),
        };
        filled.unwrap_or_else(|error| {
            tracing::warn!(code = error.code(), %error, "a page of the staff");
            Facts {
                warning: sentence(error.code(), lang),
                ..Facts::default()
            }
        })
    }
}

/// A problem in one sentence, with its code.
pub(super) fn sentence(code: &str, lang: Lang) -> String {
    format!("{} [{code}]", problem::get(code).title(lang))
}

/// What the technician does about a problem.
pub(crate) fn remedy(code: &str, lang: Lang) -> String {
    problem::get(code).remedy(lang).to_owned()
}

/// A row of a name and a value.
fn line(label: impl Into<String>, value: impl Into<String>) -> StaffRow {
    StaffRow {
        label: label.into(),
        value: value.into(),
        ..StaffRow::default()
    }
}

/// A figure of a test or a reading of a device, in words where there are any.
fn reading(lang: Lang, name: &str, value: &str) -> StaffRow {
    line(
        selftest::figure_name(lang, name),
        selftest::figure_value(lang, name, value),
    )
}

/// A row under a text of ours.
fn named(lang: Lang, key: &str, value: impl Into<String>) -> StaffRow {
    line(text(lang, key), value)
}

/// The rows under a heading of ours; no heading without rows.
fn section(lang: Lang, key: &str, rows: Vec<StaffRow>) -> Option<StaffSection> {
    (!rows.is_empty()).then(|| StaffSection {
        title: text(lang, key).to_owned(),
        rows,
    })
}

fn facts(sections: impl IntoIterator<Item = Option<StaffSection>>) -> Facts {
    Facts {
        sections: sections.into_iter().flatten().collect(),
        ..Facts::default()
    }
}

/// A button.
fn act(lang: Lang, key: &str, button: Button) -> Choice {
    Choice {
        id: Id::Act(button).to_text(),
        label: text(lang, key).to_owned(),
        ..Choice::default()
    }
}

/// All tests that have not passed, one after another; `None` where there is none.
fn test_rest(tests: &[TestLine], lang: Lang) -> Option<Choice> {
    let count = tests.iter().filter(|test| test.is_left()).count();
    let count = (count > 0).then(|| count.to_string())?;
    Some(Choice {
        detail: fill(lang, "staff.tests-left", &[("count", &count)]),
        ..act(lang, "bench.act-test-rest", Button::TestRest)
    })
}

fn opens(topic: Topic) -> String {
    Id::Open(topic).to_text()
}

/// A time for people.
pub(super) fn minute(at: Timestamp) -> String {
    let local = at.to_zoned(clock::local_zone());
    local.strftime("%Y-%m-%d %H:%M").to_string()
}

/// A size for people.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= 1024 * MIB {
        // Tenths are exact enough for somebody who asks whether it fits.
        let tenths = bytes / (1024 * MIB / 10);
        return format!("{}.{} GiB", tenths / 10, tenths % 10);
    }
    if bytes >= MIB {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{} KiB", bytes.div_ceil(1024))
    }
}

fn mark_if(is_good: bool) -> Mark {
    if is_good { Mark::Good } else { Mark::Bad }
}

fn mark_of(verdict: &str) -> Mark {
    match verdict {
        "passed" => Mark::Good,
        "failed" => Mark::Bad,
        "skipped" | "canceled" => Mark::Caution,
        "not-applicable" => Mark::None,
        _ => Mark::Unknown,
    }
}

/// The last lines of the log, the newest first.
fn log_page(errors_only: bool, lang: Lang) -> Facts {
    let text_of_log = super::acts::log_text(errors_only);
    let rows: Vec<StaffRow> = text_of_log
        .lines()
        .rev()
        .take(ROWS_MAX as usize)
        .map(log_row)
        .collect();
    let mut page = facts([section(lang, "bench.log-lines", rows)]);
    page.acts = vec![act(
        lang,
        "bench.act-export-log",
        Button::ExportLog { errors_only },
    )];
    if page.sections.is_empty() {
        text(lang, "bench.log-empty").clone_into(&mut page.intro);
    }
    page
}

fn log_row(line: &str) -> StaffRow {
    let mark = match logging::level_of_line(line) {
        Some("ERROR") => Mark::Bad,
        Some("WARN") => Mark::Caution,
        _ => Mark::None,
    };
    let (time, rest) = line.split_once(' ').unwrap_or(("", line));
    StaffRow {
        label: rest.trim().to_owned(),
        detail: time.to_owned(),
        mark,
        ..StaffRow::default()
    }
}

type Filled = Result<Facts, CacheError>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, expected) in [
            (0, "0 KiB"),
            (1, "1 KiB"),
            (5 << 20, "5 MiB"),
            (1536 << 20, "1.5 GiB"),
            (31 << 30, "31.0 GiB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn a_line_of_the_log_is_marked_by_its_level() {
        let row =
            log_row("2026-11-22T12:00:00.1Z  WARN kiosk: device status code=\"printer.offline\"");
        assert_eq!(row.mark, Mark::Caution);
        assert_eq!(row.detail, "2026-11-22T12:00:00.1Z");
        assert!(row.label.starts_with("WARN kiosk"));
    }
}
