//! The staff's own slips: the checklist of a daily check with its answers, and the numbers of the day.
//! Chinese, short, for the folder of the village; nothing of a citizen is on them, and the print
//! ledger knows them as slips of no case.

use jiff::Timestamp;
use kiosk_documents::{Bits, DocumentError, Template, Typesetter};
use offline_cache::{CacheError, DailyCheck, DailyKind};
use serde_json::{Value, json};

use super::bench::Bench;
use super::day::DayCount;
use super::pages::minute;
use crate::clock::Moment;
use crate::selftest::machine::SLIP_WIDTH_DOTS;
use crate::session::staff::checks_of;
use crate::words::{Lang, text};

const TEMPLATE: &str = include_str!("staff-slip.typ");

/// What a slip says, as its template wants it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StaffSlip(Value);

impl StaffSlip {
    /// Its dots.
    pub(super) fn typeset(&self, typesetter: &Typesetter) -> Result<Bits, DocumentError> {
        let document = typesetter.compile(&Template {
            source: TEMPLATE,
            data: &self.0,
            files: &[],
        })?;
        document.page_bits(0, SLIP_WIDTH_DOTS)
    }
}

impl Bench {
    /// The checklist that was answered last; `None` where none ever was.
    pub(super) fn check_slip(&self, lang: Lang) -> Result<Option<StaffSlip>, CacheError> {
        let checks = self.cache.daily_checks(1)?;
        Ok(checks
            .first()
            .map(|check| self.checklist(check, paper(lang))))
    }

    /// The numbers of today.
    pub(super) fn day_slip(&self, lang: Lang, now: Moment) -> Result<StaffSlip, CacheError> {
        let count = DayCount::of(&self.cache, now.date())?;
        let lang = paper(lang);
        let groups = day_groups(&count, lang);
        Ok(self.slip("bench.slip-day", &groups, (&self.by(), now.at), "", lang))
    }

    fn checklist(&self, check: &DailyCheck, lang: Lang) -> StaffSlip {
        let (heading, is_opening) = match check.kind {
            DailyKind::Open => ("bench.act-open-check", true),
            DailyKind::Close => ("bench.act-close-check", false),
        };
        let rows = check_rows(check, is_opening, lang);
        let groups = [group(lang, heading, &rows)];
        let sign = text(lang, "bench.slip-sign");
        self.slip(
            "bench.slip-check",
            &groups,
            (&check.by, check.at),
            sign,
            lang,
        )
    }

    fn slip(
        &self,
        title: &str,
        groups: &[Value],
        (by, at): (&str, Timestamp),
        sign: &str,
        lang: Lang,
    ) -> StaffSlip {
        let terminal = &self.config.terminal;
        let about = [
            ("bench.slip-by", by.to_owned()),
            ("bench.slip-at", minute(at)),
            ("bench.site", terminal.site.clone()),
            ("bench.terminal", terminal.id.clone()),
        ];
        let about = about.map(|(key, value)| json!({ "label": text(lang, key), "value": value }));
        StaffSlip(json!({
            "title": text(lang, title),
            "note": text(lang, "bench.slip-note"),
            "lang": if lang == Lang::ZhHant { "zh-Hant-HK" } else { "zh-Hans" },
            "groups": groups,
            "about": about,
            "sign": sign,
        }))
    }
}

/// The folder of the village is read in Chinese, whatever the glass speaks.
fn paper(lang: Lang) -> Lang {
    match lang {
        Lang::ZhHans | Lang::En => Lang::ZhHans,
        Lang::ZhHant => Lang::ZhHant,
    }
}

fn group(lang: Lang, heading: &str, rows: &[Value]) -> Value {
    json!({ "heading": text(lang, heading), "rows": rows })
}

fn row(label: &str, value: &str, is_bad: bool) -> Value {
    json!({ "label": label, "value": value, "is_bad": is_bad })
}

/// The answers in the order of the questions; behind them those of questions that are asked no more.
fn check_rows(check: &DailyCheck, is_opening: bool, lang: Lang) -> Vec<Value> {
    let known = checks_of(is_opening);
    let is_known = |name: &str| known.iter().any(|(each, _)| *each == name);
    let answered = |name: &str, label: &str| {
        let is_well = *check.answers.get(name)?;
        let key = if is_well {
            "staff.well"
        } else {
            "staff.not-well"
        };
        Some(row(label, text(lang, key), !is_well))
    };
    let asked = known
        .iter()
        .filter_map(|(name, key)| answered(name, text(lang, key)));
    let others = check.answers.keys().filter(|name| !is_known(name));
    asked
        .chain(others.filter_map(|name| answered(name, name)))
        .collect()
}

fn day_groups(count: &DayCount, lang: Lang) -> [Value; 3] {
    let line = |key: &str, number: u64| row(text(lang, key), &number.to_string(), false);
    // What went wrong is on the slip only where something did.
    let trouble = |key: &str, number: u64| {
        (number > 0).then(|| row(text(lang, key), &number.to_string(), true))
    };
    let visits = &count.visits;
    let mut of_visits = vec![
        line("bench.day-visits", visits.begun),
        line("bench.day-accepted", visits.accepted),
        line("bench.day-printed", visits.printed),
        line("bench.day-left", visits.left),
        line("bench.day-timed-out", visits.timed_out),
    ];
    of_visits.extend(trouble("bench.day-cut-short", visits.cut_short));
    let mut of_paper = vec![
        line("bench.day-slips", count.slips),
        line("bench.day-pages", count.pages),
    ];
    of_paper.extend(trouble("bench.day-spoiled", count.spoiled));
    let mut of_queue = vec![line("bench.waiting", count.waiting)];
    of_queue.extend(trouble("bench.dead", count.dead));
    [
        group(lang, "bench.day-visitors", &of_visits),
        group(lang, "bench.paper", &of_paper),
        group(lang, "bench.queue", &of_queue),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::super::day::Visits;
    use super::*;

    fn check(answers: &[(&str, bool)]) -> DailyCheck {
        let answers = answers
            .iter()
            .map(|(name, is_well)| ((*name).to_owned(), *is_well));
        DailyCheck {
            id: Uuid::from_u128(1),
            by: "staff.ce-shi".to_owned(),
            at: Timestamp::from_second(1_795_311_660).unwrap(),
            answers: answers.collect::<BTreeMap<_, _>>(),
            note: String::new(),
            kind: DailyKind::Open,
        }
    }

    fn lines(rows: &[Value]) -> Vec<(&str, &str, bool)> {
        rows.iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap();
                (text("label"), text("value"), row["is_bad"] == true)
            })
            .collect()
    }

    #[test]
    fn the_checklist_stands_in_the_order_of_the_questions_and_leaves_no_answer_out() {
        let check = check(&[
            ("slip", true),
            ("camera", false),
            ("paper", true),
            ("roof", false),
        ]);
        let rows = check_rows(&check, true, Lang::ZhHans);
        let expected = [
            ("打印纸", "正常", false),
            ("镜头", "不正常", true),
            ("测试凭条", "正常", false),
            ("roof", "不正常", true),
        ];
        assert_eq!(lines(&rows), expected);
    }

    #[test]
    fn a_good_day_has_no_line_about_trouble() {
        let good = DayCount {
            visits: Visits {
                begun: 12,
                accepted: 9,
                left: 3,
                ..Visits::default()
            },
            slips: 9,
            ..DayCount::default()
        };
        let bad = DayCount {
            spoiled: 1,
            dead: 2,
            visits: Visits {
                cut_short: 1,
                ..good.visits
            },
            ..good
        };
        let count = |day: &DayCount| {
            let groups = day_groups(day, Lang::ZhHans);
            groups.map(|group| {
                let rows = group["rows"].as_array().unwrap().clone();
                let bad = rows.iter().filter(|row| row["is_bad"] == true).count();
                (rows.len(), bad)
            })
        };
        assert_eq!(count(&good), [(5, 0), (2, 0), (1, 0)]);
        assert_eq!(count(&bad), [(6, 1), (3, 1), (2, 1)]);
        let groups = day_groups(&good, Lang::ZhHans);
        let rows = groups[0]["rows"].as_array().unwrap();
        assert_eq!(lines(rows)[1], ("已受理", "9", false));
    }

    #[test]
    fn paper_is_chinese_whatever_the_glass_speaks() {
        assert_eq!(
            Lang::ALL.map(paper),
            [Lang::ZhHans, Lang::ZhHant, Lang::ZhHans]
        );
    }
}
