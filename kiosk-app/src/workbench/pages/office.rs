//! The queue, the day, the evidence and the report: what the office behind the terminal wants to know.

use std::collections::BTreeMap;

use kiosk_ui::{Mark, StaffRow};
use offline_cache::{CacheError, DailyCheck, DailyKind};
use uuid::Uuid;

use super::devices::not_passed;
use super::{Filled, ROWS_MAX, act, facts, line, mark_if, minute, named, opens, section, sentence};
use crate::clock::Moment;
use crate::desk::{Answer, Ask, Row};
use crate::problem;
use crate::session::staff::ids::Button;
use crate::words::{Lang, fill, text};
use crate::workbench::bench::Bench;
use crate::workbench::evidence::{Evidence, Judgment};
use crate::workbench::readiness::{TestLine, expected, is_ready};
use crate::workbench::{Facts, Topic};

/// Checks of earlier days that are shown.
const DAYS_SHOWN: u32 = 14;

impl Bench {
    pub(super) fn daily(&self, lang: Lang) -> Filled {
        let checks = self.cache.daily_checks(DAYS_SHOWN)?;
        let rows: Vec<StaffRow> = checks.iter().map(|check| daily_row(check, lang)).collect();
        let mut page = facts([section(lang, "bench.daily-checks", rows)]);
        if checks.is_empty() {
            text(lang, "bench.no-checks").clone_into(&mut page.intro);
        }
        let daily = |is_opening| Button::Daily { is_opening };
        page.acts = vec![
            act(lang, "bench.act-open-check", daily(true)),
            act(lang, "bench.act-close-check", daily(false)),
        ];
        if !checks.is_empty() {
            let print = act(lang, "staff.print-check", Button::PrintCheck);
            page.acts.push(print);
        }
        page.acts
            .push(act(lang, "staff.print-day", Button::PrintDay));
        Ok(page)
    }

    pub(super) fn queue(&mut self, lang: Lang, now: Moment) -> Filled {
        let depth = self.cache.depth()?;
        let age = depth.oldest_enqueued_at.map(|at| {
            let hours = now.at.duration_since(at).as_hours().max(0);
            fill(lang, "bench.age-hours", &[("hours", &hours.to_string())])
        });
        let totals = vec![
            named(lang, "bench.waiting", depth.waiting.to_string()),
            StaffRow {
                mark: if depth.dead == 0 {
                    Mark::Good
                } else {
                    Mark::Bad
                },
                ..named(lang, "bench.dead", depth.dead.to_string())
            },
            named(lang, "bench.oldest", age.unwrap_or_else(|| "-".to_owned())),
        ];
        let upstreams = self.cache.upstream_depths()?;
        let upstreams = upstreams.iter().map(|upstream| {
            let name = if upstream.upstream.is_empty() {
                text(lang, "bench.platform")
            } else {
                &upstream.upstream
            };
            let oldest = upstream.oldest_enqueued_at.map_or_else(String::new, minute);
            StaffRow {
                detail: oldest,
                ..line(name, format!("{} / {}", upstream.waiting, upstream.dead))
            }
        });
        let upstreams = upstreams.collect();
        let dead = self.rows(true, now);
        let recent = self.rows(false, now);
        let waiting = recent.iter().filter(|row| !row.needs_somebody);
        let mut page = facts([
            section(lang, "bench.queue", totals),
            section(
                lang,
                "bench.dead-letters",
                dead.iter().map(|row| queue_row(row, lang)).collect(),
            ),
            section(lang, "bench.upstreams", upstreams),
            section(
                lang,
                "bench.newest",
                waiting
                    .take(ROWS_MAX as usize)
                    .map(|row| queue_row(row, lang))
                    .collect(),
            ),
        ]);
        page.acts = vec![
            act(lang, "bench.act-export-queue", Button::ExportQueue),
            act(lang, "bench.act-import-receipts", Button::ImportReceipts),
        ];
        Ok(page)
    }

    fn rows(&mut self, dead_only: bool, now: Moment) -> Vec<Row> {
        match self.ask_desk(&Ask::List { dead_only }, now) {
            Ok(Answer::Rows { rows }) => rows,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    pub(super) fn dead_letter(&mut self, id: Uuid, lang: Lang, now: Moment) -> Facts {
        let rows = self.rows(true, now);
        let Some(row) = rows.iter().find(|row| row.id == id) else {
            return Facts {
                intro: text(lang, "bench.no-longer-dead").to_owned(),
                ..Facts::default()
            };
        };
        let mut lines = vec![
            named(lang, "bench.case", row.case_number.clone()),
            named(lang, "bench.item", row.item.clone()),
            named(lang, "bench.enqueued-at", row.enqueued_at.clone()),
            named(lang, "bench.attempts", row.attempts.to_string()),
        ];
        for (key, value) in [
            ("bench.upstream", &row.upstream),
            ("bench.platform-says", &row.detail),
            ("bench.carried-at", &row.carried_at),
        ] {
            if !value.is_empty() {
                lines.push(named(lang, key, value.clone()));
            }
        }
        let mut page = facts([section(lang, "bench.dead-letter", lines)]);
        page.warning = sentence(&row.last_code, lang);
        page.intro = super::remedy(&row.last_code, lang);
        page.drawing
            .clone_from(&problem::get(&row.last_code).picture);
        page.acts = vec![
            act(lang, "bench.act-retry-case", Button::RetryCase(id)),
            act(lang, "bench.act-close-case", Button::CloseCase(id)),
        ];
        page
    }

    pub(super) fn evidence_page(&mut self, lang: Lang, now: Moment) -> Filled {
        let evidence = self.evidence(now)?;
        let mut page = facts([
            section(lang, "bench.baseline", baseline_rows(&evidence, lang)),
            section(lang, "bench.log-chain", log_rows(&evidence, lang)),
            section(
                lang,
                "bench.algorithms",
                evidence
                    .algorithms
                    .iter()
                    .map(|(name, value)| line(*name, value.clone()))
                    .collect(),
            ),
            section(
                lang,
                "bench.keys",
                evidence
                    .keys
                    .iter()
                    .map(|key| StaffRow {
                        detail: format!("{} · {}", key.algorithm, key.keeper),
                        ..line(key.purpose, key.key_id.clone())
                    })
                    .collect(),
            ),
            section(
                lang,
                "bench.accounts",
                evidence
                    .accounts
                    .iter()
                    .map(|(name, account)| StaffRow {
                        detail: format!("×{} {}", account.times, account.last_at),
                        ..line(name.clone(), account.role.clone())
                    })
                    .collect(),
            ),
        ]);
        page.acts = vec![act(
            lang,
            "bench.act-export-evidence",
            Button::ExportEvidence,
        )];
        Ok(page)
    }

    pub(super) fn readiness(&self, lang: Lang, now: Moment) -> Filled {
        let devices = self.report_of_devices();
        let tests = expected(&devices, &self.cache.latest_tests()?, self.time(now).at);
        let faulty: Vec<StaffRow> = devices
            .devices
            .iter()
            .filter(|device| !device.faults.is_empty())
            .map(|device| StaffRow {
                id: opens(Topic::Device(device.id.clone())),
                detail: device.faults[0].code.clone(),
                mark: Mark::Bad,
                ..line(
                    device.id.clone(),
                    problem::get(&device.faults[0].code).title(lang),
                )
            })
            .collect();
        let is_ready = is_ready(&tests, faulty.is_empty());
        let key = if is_ready {
            "bench.ready"
        } else {
            "bench.not-ready"
        };
        let passed = tests.iter().filter(|test| test.verdict == "passed").count();
        let applicable = tests.iter().filter(|test| test.is_applicable()).count();
        let summary = vec![
            StaffRow {
                mark: mark_if(is_ready),
                ..named(lang, "bench.verdict", text(lang, key))
            },
            named(lang, "bench.passed-of", format!("{passed} / {applicable}")),
        ];
        let mut page = facts([
            section(lang, "bench.readiness", summary),
            section(lang, "bench.open-faults", faulty),
            not_passed(&tests, &devices, lang),
        ]);
        page.acts = report_acts(&tests, lang);
        Ok(page)
    }
}

fn report_acts(tests: &[TestLine], lang: Lang) -> Vec<kiosk_ui::Choice> {
    let mut make = act(lang, "bench.act-make-report", Button::MakeReport);
    if tests.iter().all(|test| test.verdict == "not-run") {
        text(lang, "bench.test-first").clone_into(&mut make.detail);
    }
    let mut acts: Vec<_> = super::test_rest(tests, lang).into_iter().collect();
    acts.push(make);
    acts
}

fn daily_row(check: &DailyCheck, lang: Lang) -> StaffRow {
    let bad: Vec<&str> = check
        .answers
        .iter()
        .filter(|(_, is_well)| !**is_well)
        .map(|(question, _)| question.as_str())
        .collect();
    let kind = match check.kind {
        DailyKind::Open => "bench.day-opened",
        DailyKind::Close => "bench.day-closed",
    };
    let verdict = if bad.is_empty() {
        text(lang, "bench.all-well").to_owned()
    } else {
        fill(
            lang,
            "bench.bad-answers",
            &[("count", &bad.len().to_string())],
        )
    };
    StaffRow {
        detail: check.by.clone(),
        mark: mark_if(bad.is_empty()),
        ..line(
            format!("{} {}", minute(check.at), text(lang, kind)),
            verdict,
        )
    }
}

fn queue_row(row: &Row, lang: Lang) -> StaffRow {
    let (id, mark) = if row.needs_somebody {
        (opens(Topic::DeadLetter(row.id)), Mark::Bad)
    } else {
        (String::new(), Mark::None)
    };
    let mut detail = format!("{} {}", row.item, row.enqueued_at);
    if !row.problem.is_empty() {
        detail = format!("{} · {detail}", problem::get(&row.last_code).title(lang));
    }
    StaffRow {
        id,
        label: row.case_number.clone(),
        value: row.state.clone(),
        detail,
        mark,
    }
}

fn baseline_rows(evidence: &Evidence, lang: Lang) -> Vec<StaffRow> {
    let checks = evidence.baseline.iter();
    checks
        .map(|check| {
            let (mark, key) = match check.judgment {
                Judgment::Pass => (Mark::Good, "bench.pass"),
                Judgment::Fail => (Mark::Bad, "bench.fail"),
                Judgment::Unknown => (Mark::Unknown, "bench.not-told"),
            };
            let remedy = match check.judgment {
                Judgment::Fail => check.remedy(lang),
                Judgment::Pass | Judgment::Unknown => "",
            };
            StaffRow {
                detail: format!("{} {remedy}", check.found).trim().to_owned(),
                mark,
                ..line(check.title(lang), text(lang, key))
            }
        })
        .collect()
}

fn log_rows(evidence: &Evidence, lang: Lang) -> Vec<StaffRow> {
    let log = &evidence.log;
    let is_whole = log.findings.is_empty();
    let key = if is_whole {
        "bench.whole"
    } else {
        "bench.not-whole"
    };
    let mut rows = vec![
        StaffRow {
            mark: mark_if(is_whole),
            ..named(lang, "bench.log-chain", text(lang, key))
        },
        named(lang, "bench.entries", log.entries.to_string()),
        named(lang, "bench.log-head", log.head.clone().unwrap_or_default()),
        named(
            lang,
            "bench.failed-unlocks",
            evidence.failed_unlocks.to_string(),
        ),
    ];
    rows.extend(log.findings.iter().map(|finding| StaffRow {
        mark: Mark::Bad,
        ..line(finding.clone(), "")
    }));
    rows
}

/// Accounts that came in, out of the audit log.
pub(in crate::workbench) fn accounts(
    cache: &offline_cache::Cache,
) -> Result<BTreeMap<String, crate::workbench::evidence::Account>, CacheError> {
    /// Entries read at once, and pages of them. Chosen: ten years of a busy terminal.
    const PAGE: u32 = 500;
    const PAGES_MAX: u32 = 4000;
    let mut accounts: BTreeMap<String, crate::workbench::evidence::Account> = BTreeMap::new();
    let mut after = 0;
    for _ in 0..PAGES_MAX {
        let page = cache.audit_entries(after, PAGE)?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after = last.sequence;
        for (entry, _) in &page {
            if entry.kind != "staff.unlock.granted" {
                continue;
            }
            let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap_or_default();
            let account = accounts.entry(entry.actor.clone()).or_default();
            account.times += 1;
            detail["role"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut account.role);
            account.last_at = jiff::Timestamp::from_millisecond(entry.at_ms)
                .map_or_else(|_| String::new(), |at| at.to_string());
        }
    }
    Ok(accounts)
}
