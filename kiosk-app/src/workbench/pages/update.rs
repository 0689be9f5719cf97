//! The page of the updater: which program runs, what comes, why the last one was taken back, and how an
//! update from a stick goes.

use kiosk_ui::{Mark, StaffRow};

use super::{act, facts, minute, named, section, size};
use crate::clock::Moment;
use crate::session::staff::ids::Button;
use crate::words::{Lang, fill, text};
use crate::workbench::Facts;
use crate::workbench::bench::Bench;
use crate::workbench::update::{Standing, StickProgress, UpdateStatus, why};

impl Bench {
    pub(super) fn update_page(&self, lang: Lang, now: Moment) -> Facts {
        let status = self.update.status();
        let standing = self.update.standing(now);
        let mut rows = status.as_ref().map_or_else(
            || vec![running(None, lang)],
            |status| status_rows(status, lang),
        );
        let items = self.update.items_status();
        let end = items.and_then(|items| items.metadata_expires);
        rows.extend(end.map(|at| named(lang, "bench.items-signed-until", minute(at))));
        let mut page = facts([
            section(lang, "bench.update-now", rows),
            section(lang, "bench.update-stick", stick_rows(&standing, lang)),
            section(
                lang,
                "bench.update-taken-back",
                status
                    .as_ref()
                    .map_or_else(Vec::new, |status| taken_back_rows(status, lang)),
            ),
        ]);
        if status.is_none() {
            text(lang, "bench.update-no-status").clone_into(&mut page.intro);
        }
        if standing == Standing::NoAnswer {
            text(lang, "bench.update-no-answer").clone_into(&mut page.warning);
        }
        if self.update.is_busy(now) {
            let is_read = matches!(&standing, Standing::Told(told) if told.phase == "switching");
            let key = if is_read {
                "bench.update-leave"
            } else {
                "bench.update-stay"
            };
            text(lang, key).clone_into(&mut page.intro);
        } else {
            page.acts = vec![act(lang, "bench.act-update-stick", Button::UpdateFromStick)];
        }
        page
    }
}

/// The program that runs: a release, or that of the package.
fn running(version: Option<&str>, lang: Lang) -> StaffRow {
    let version = version.unwrap_or(env!("CARGO_PKG_VERSION"));
    named(lang, "bench.update-running", version)
}

fn status_rows(status: &UpdateStatus, lang: Lang) -> Vec<StaffRow> {
    let (key, mark) = match status.phase.as_str() {
        "up-to-date" => ("bench.update-newest", Mark::Good),
        "waiting" => ("bench.update-waiting", Mark::Good),
        "held" => ("bench.update-held", Mark::Caution),
        "trial" => ("bench.update-trial", Mark::Caution),
        "rolled-back" => ("bench.update-rolled-back", Mark::Bad),
        _ => ("bench.update-problem", Mark::Bad),
    };
    let slot = status.slot.as_deref();
    let slot = slot.unwrap_or(text(lang, "bench.update-package"));
    let mut rows = vec![
        running(status.running.as_deref(), lang),
        named(lang, "bench.update-slot", slot),
        named(lang, "bench.update-looked", minute(status.at)),
        StaffRow {
            detail: status
                .code
                .as_deref()
                .map_or_else(String::new, |code| reason(code, lang)),
            mark,
            ..named(lang, "bench.update-state", text(lang, key))
        },
    ];
    if let Some(offered) = &status.offered {
        rows.push(StaffRow {
            detail: status.until.map_or_else(String::new, |until| {
                fill(lang, "bench.update-until", &[("time", &minute(until))])
            }),
            ..named(lang, "bench.update-offered", offered.clone())
        });
    }
    rows.extend(
        status
            .metadata_expires
            .map(|at| named(lang, "bench.update-signed-until", minute(at))),
    );
    rows
}

fn taken_back_rows(status: &UpdateStatus, lang: Lang) -> Vec<StaffRow> {
    let back = status.last_roll_back.iter();
    back.map(|back| StaffRow {
        label: reason(&back.code, lang),
        value: back.version.clone(),
        detail: format!("{} {}", minute(back.at), back.code),
        mark: Mark::Bad,
        ..StaffRow::default()
    })
    .collect()
}

fn stick_rows(standing: &Standing, lang: Lang) -> Vec<StaffRow> {
    match standing {
        Standing::Nothing | Standing::NoAnswer => Vec::new(),
        Standing::Asked => vec![named(
            lang,
            "bench.update-state",
            text(lang, "bench.update-asked"),
        )],
        Standing::Told(progress) => progress_rows(progress, lang),
    }
}

fn progress_rows(progress: &StickProgress, lang: Lang) -> Vec<StaffRow> {
    let (key, mark) = match progress.phase.as_str() {
        "searching" => ("bench.update-searching", Mark::None),
        "checking" => ("bench.update-checking", Mark::None),
        "fetching" => ("bench.update-fetching", Mark::None),
        "switching" => ("bench.update-switching", Mark::None),
        "trying" => ("bench.update-trying", Mark::None),
        "done" if progress.code.is_empty() => ("bench.update-taken", Mark::Good),
        // The machine starts anew, or nothing newer is there: nothing is wrong.
        "done" if is_well(&progress.code) => ("bench.update-ended", Mark::Caution),
        "done" => ("bench.update-not-taken", Mark::Bad),
        _ => ("bench.update-asked", Mark::None),
    };
    let mut rows = vec![StaffRow {
        mark,
        ..named(lang, "bench.update-state", text(lang, key))
    }];
    if let Some(version) = &progress.version {
        rows.push(named(lang, "bench.update-offered", version.clone()));
    }
    if progress.of > 0 && !progress.is_over() {
        let percent = progress.bytes.min(progress.of).saturating_mul(100) / progress.of;
        let read = format!("{} / {}", size(progress.bytes), size(progress.of));
        rows.push(StaffRow {
            detail: read,
            ..named(lang, "bench.update-read", format!("{percent} %"))
        });
    }
    if progress.is_over() && !progress.code.is_empty() {
        rows.push(StaffRow {
            label: reason(&progress.code, lang),
            detail: progress.code.clone(),
            mark: if is_well(&progress.code) {
                Mark::Caution
            } else {
                Mark::Bad
            },
            ..StaffRow::default()
        });
    }
    rows
}

/// True for an end that is no failure.
fn is_well(code: &str) -> bool {
    ["update.nothing-newer", "update.restarting"].contains(&code)
}

/// Why, in words; the code where there are none.
fn reason(code: &str, lang: Lang) -> String {
    why(code).map_or_else(
        || fill(lang, "bench.why-other", &[("code", code)]),
        |key| text(lang, key).to_owned(),
    )
}
