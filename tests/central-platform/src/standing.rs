//! How each terminal stands, as far as the platform knows: one value a terminal, which metrics,
//! lists and reports are made of. Words of updaters and of devices are read here and nowhere else.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::limits::{Limit, bounded, within};
use crate::messages::Heartbeat;
use crate::problem::Problem;
use crate::region::is_region;
use crate::telemetry::Telemetry;

/// Where every problem code is explained, with who acts.
const PROBLEMS: &str = include_str!("../../../kiosk-app/problems.toml");
/// Code in the place of one that is no code.
const UNKNOWN_CODE: &str = "general.unknown";
/// Who acts where the table of problems does not know the code: somebody has to look.
const UNKNOWN_ACTION: &str = "maintenance";
/// Longest code (`openapi.yaml`).
const CODE_BYTES_MAX: usize = 64;
/// Fewest days that a forecast is made from: the first week says nothing about a year.
const FORECAST_DAYS_MIN: i32 = 7;

/// States of an updater, as a terminal reports them (`openapi.yaml`).
pub(crate) const UPDATE_STATES: [&str; 6] = [
    "current",
    "waiting",
    "trial",
    "rolled-back",
    "halted",
    "problem",
];
/// Who acts on a ticket.
pub(crate) const LEVELS: [&str; 4] = ["village", "town", "city", "vendor"];

/// Most that a year asks of a terminal.
const TARGET_MAX: u32 = 1_000_000;

/// Where a terminal stands, as a person says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) terminal: String,
    /// City/county/town/village; empty where nobody said.
    pub(crate) region: String,
    pub(crate) site: String,
    /// `2026-03-01`; empty where nobody said.
    pub(crate) installed_on: String,
    /// What the year asks of it; 0 where nothing is asked.
    pub(crate) target: u32,
}

impl Place {
    /// Refuses what is no place of a terminal; site, day and target may be left open.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        within(&[
            ("terminal", &self.terminal, Limit::Terminal),
            ("site", &self.site, Limit::Text { least: 0, most: 64 }),
        ])?;
        bounded("region", is_region(&self.region))?;
        bounded("site", !self.site.chars().any(char::is_control))?;
        let day: Option<Date> = self.installed_on.parse().ok();
        let is_day = day.is_some_and(|day| day.to_string() == self.installed_on);
        bounded("installed_on", self.installed_on.is_empty() || is_day)?;
        bounded("target", self.target <= TARGET_MAX)
    }
}

/// Everything that is known of a terminal.
#[derive(Default)]
pub(crate) struct Standing {
    pub(crate) place: Place,
    pub(crate) heard_at: Option<Timestamp>,
    pub(crate) heartbeat: Option<Heartbeat>,
    pub(crate) telemetry: Telemetry,
    /// When its certificate ends; `None` where it was not issued here.
    pub(crate) certificate_until: Option<Timestamp>,
    /// Desired state that was signed for it; 0 where it never asked.
    pub(crate) wanted_version: u64,
    /// Cases of this year.
    pub(crate) year_cases: u64,
    /// Tickets that are not closed, and those of them that are late, in the order of [`LEVELS`].
    pub(crate) tickets: [(u64, u64); LEVELS.len()],
    /// Heads of the audit log that contradict an earlier one.
    pub(crate) conflicts: u64,
    /// Releases that were taken back, by the reason.
    pub(crate) rollbacks: Vec<(String, u64)>,
}

impl Standing {
    /// Tickets that are not closed, and those of them that are late.
    pub(crate) fn ticket_totals(&self) -> (u64, u64) {
        self.tickets
            .iter()
            .fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
    }

    /// The release that runs; the program's own version where it is that of the package.
    pub(crate) fn version(&self) -> Option<&str> {
        let beat = self.heartbeat.as_ref()?;
        let release = beat.update.as_ref().map(|update| update.version.as_str());
        let release = release.filter(|version| !version.is_empty());
        Some(release.unwrap_or(&beat.program_version))
    }

    /// Whether something of it is broken.
    pub(crate) fn is_faulty(&self) -> bool {
        let devices = self.heartbeat.iter().flat_map(|beat| &beat.devices);
        devices.into_iter().any(|device| !device.faults.is_empty())
    }

    /// Cases at the end of the year, if it goes on as it did since the year or the terminal began.
    pub(crate) fn forecast(&self, today: Date) -> u64 {
        let installed = self.place.installed_on.parse().ok();
        forecast(self.year_cases, installed, today)
    }
}

/// The day at the terminals: all of them are in one time zone, UTC+8, without summer time.
pub(crate) fn local_day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::fixed(Offset::constant(8))).date()
}

/// Cases at the end of the year of `today`, by the days since it, or the terminal, began.
pub(crate) fn forecast(cases: u64, installed: Option<Date>, today: Date) -> u64 {
    let january = today.first_of_year();
    let begun = installed
        .filter(|day| *day <= today)
        .unwrap_or(january)
        .max(january);
    let elapsed = (days_between(begun, today) + 1).max(FORECAST_DAYS_MIN);
    let left = days_between(today, today.last_of_year());
    let more =
        u128::from(cases) * u128::from(left.unsigned_abs()) / u128::from(elapsed.unsigned_abs());
    cases.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
}

fn days_between(from: Date, until: Date) -> i32 {
    let seconds = until.duration_since(from);
    i32::try_from(seconds.as_hours() / 24).unwrap_or(0)
}

/// Hours since a terminal was heard of.
pub(crate) fn silent_hours(heard_at: Option<Timestamp>, now: Timestamp) -> Option<u64> {
    let silent: SignedDuration = now.duration_since(heard_at?);
    Some(u64::try_from(silent.as_hours()).unwrap_or(0))
}

/// A state of an updater by its place in [`UPDATE_STATES`]; none for a word of tomorrow.
pub(crate) fn update_state(word: &str) -> Option<usize> {
    UPDATE_STATES.iter().position(|state| *state == word)
}

/// A problem code as a label: what is no code becomes the unknown one.
pub(crate) fn code(text: &str) -> &str {
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_code = (1..=CODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_part);
    if is_code { text } else { UNKNOWN_CODE }
}

/// Who acts on a problem: `reset`, `clear`, `maintenance`, `configuration`, `suspend`.
pub(crate) fn action(code: &str) -> &'static str {
    static ACTIONS: LazyLock<HashMap<&'static str, &'static str>> =
        LazyLock::new(|| actions(PROBLEMS));
    ACTIONS.get(code).copied().unwrap_or(UNKNOWN_ACTION)
}

/// A problem in the few words that stand in the notice line of a terminal; the code itself where the
/// table does not know it.
pub(crate) fn problem_notice(code: &str) -> &str {
    static NOTICES: LazyLock<HashMap<&'static str, &'static str>> =
        LazyLock::new(|| notices(PROBLEMS));
    NOTICES.get(code).copied().unwrap_or(code)
}

/// The lines `["code"]` and the `notice`, or the `title`, of `zh-Hans = { … }`.
fn notices(table: &'static str) -> HashMap<&'static str, &'static str> {
    let mut found = HashMap::new();
    let mut code = "";
    for line in table.lines() {
        if let Some(inner) = line.strip_prefix("[\"") {
            code = inner.strip_suffix("\"]").unwrap_or("");
        } else if line.starts_with("zh-Hans = ") {
            // Problems that only staff see have a title alone.
            let mut words = ["notice = \"", "title = \""].into_iter();
            let inner = words.find_map(|word| line.split_once(word));
            let words = inner.and_then(|(_, inner)| inner.split_once('"'));
            found.insert(code, words.map_or(code, |(words, _)| words));
        }
    }
    found
}

/// The lines `["code"]` and `action = "word"` of the table of problems.
fn actions(table: &'static str) -> HashMap<&'static str, &'static str> {
    let mut found = HashMap::new();
    let mut code = "";
    for line in table.lines() {
        if let Some(inner) = line.strip_prefix("[\"") {
            code = inner.strip_suffix("\"]").unwrap_or("");
        } else if let Some(inner) = line.strip_prefix("action = \"") {
            found.insert(code, inner.strip_suffix('"').unwrap_or(UNKNOWN_ACTION));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_year_is_forecast_from_the_days_since_it_or_the_terminal_began() {
        // A hundred days of a year of 365 are over.
        assert_eq!(forecast(100, None, date(2026, 4, 10)), 365);
        let installed = Some(date(2026, 4, 1));
        assert_eq!(forecast(10, installed, date(2026, 4, 10)), 275);
        assert_eq!(forecast(7, None, date(2026, 1, 1)), 371);
        assert_eq!(forecast(370, None, date(2026, 12, 31)), 370);
        // A date in the future is a mistake, not a division by nothing.
        assert_eq!(
            forecast(100, Some(date(2027, 1, 1)), date(2026, 4, 10)),
            365
        );
        assert_eq!(forecast(u64::MAX, None, date(2026, 1, 1)), u64::MAX);
    }

    #[test]
    fn who_acts_is_what_the_table_of_problems_says() {
        assert_eq!(action("printer.media-empty"), "clear");
        assert_eq!(action(UNKNOWN_CODE), "maintenance");
        assert_eq!(action("of.tomorrow"), "maintenance");
        assert!(actions(PROBLEMS).len() > 300);
        assert_eq!(actions(PROBLEMS).len(), notices(PROBLEMS).len());
        assert!(problem_notice("printer.media-empty").contains('纸'));
        assert_eq!(problem_notice("of.tomorrow"), "of.tomorrow");
        let known = ["reset", "clear", "maintenance", "configuration", "suspend"];
        assert!(
            actions(PROBLEMS)
                .values()
                .all(|action| known.contains(action))
        );
    }

    #[test]
    fn what_is_no_code_becomes_the_unknown_one() {
        assert_eq!(code("printer.media-jam"), "printer.media-jam");
        for text in ["", "测试一", "a b", "A", &"a".repeat(65)] {
            assert_eq!(code(text), UNKNOWN_CODE);
        }
    }

    #[test]
    fn the_day_is_the_one_at_the_terminals() {
        let late: Timestamp = "2026-12-31T16:00:00Z".parse().unwrap();
        assert_eq!(local_day(late), date(2027, 1, 1));
    }
}
