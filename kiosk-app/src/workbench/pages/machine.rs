//! The machine, its line, its settings, its sticks, and the bytes of one device.

use kiosk_ui::{Mark, StaffRow};

use super::{
    Filled, ROWS_MAX, facts, line, mark_if, mark_of, minute, named, reading, remedy, section,
    sentence, size,
};
use crate::calibration::{Calibrated, Calibrations};
use crate::catalogue::Region;
use crate::clock::Moment;
use crate::session::staff::ids::{Button, Calibration, Id};
use crate::words::{Lang, fill, text};
use crate::workbench::bench::Bench;
use crate::workbench::readiness::verdict_key;
use crate::workbench::settings;
use crate::workbench::{Facts, host};

/// The test of the line.
const NETWORK_TEST: &str = "machine.network";
/// Free room below which the disk wants a look, in bytes. Chosen: some hundred cases.
const FREE_LOW: u64 = 1 << 30;

impl Bench {
    pub(super) fn machine(&self, lang: Lang, now: Moment) -> Facts {
        let time = self.time(now);
        let program = vec![
            named(lang, "bench.terminal", self.config.terminal.id.clone()),
            named(lang, "bench.site", self.config.terminal.site.clone()),
            named(lang, "bench.program", env!("CARGO_PKG_VERSION")),
            named(lang, "bench.program-digest", self.program_digest()),
            named(lang, "bench.items-version", self.items_version(lang)),
            named(lang, "bench.config-digest", self.configuration_digest()),
            named(lang, "bench.key", self.key.public().key_id()),
        ];
        let clock = vec![
            StaffRow {
                mark: mark_if(!time.is_in_doubt),
                detail: if time.is_in_doubt {
                    remedy("unlock.clock-wrong", lang)
                } else {
                    String::new()
                },
                ..named(lang, "bench.clock", now.minute())
            },
            named(lang, "bench.running-for", running(self.host.uptime(), lang)),
            named(
                lang,
                "bench.program-running-for",
                running(Some(now.uptime), lang),
            ),
        ];
        let test = StaffRow {
            id: Id::Test {
                plan: "machine.clock".to_owned(),
                device: String::new(),
            }
            .to_text(),
            ..line(text(lang, "machine.clock"), "")
        };
        facts([
            section(lang, "bench.program", program),
            section(
                lang,
                "bench.clock",
                clock.into_iter().chain([test]).collect(),
            ),
            section(lang, "bench.room", self.room_rows(lang)),
        ])
    }

    /// Version of the set that the updater has brought, where there is one.
    fn items_version(&self, lang: Lang) -> String {
        Region::version_at(&self.config.paths.region())
            .unwrap_or_else(|| text(lang, "bench.items-packaged").to_owned())
    }

    /// What the region sets in place of the file, and the code of the region that says so.
    fn region_rows(&self) -> Vec<StaffRow> {
        let Ok(Some(region)) = Region::read(&self.config.paths.region()) else {
            return Vec::new();
        };
        let shown = region.settings.shown();
        let row = |(name, value): (&str, String)| StaffRow {
            detail: region.sources.get(name).cloned().unwrap_or_default(),
            ..line(name, value)
        };
        shown.into_iter().map(row).collect()
    }

    fn room_rows(&self, lang: Lang) -> Vec<StaffRow> {
        let mut rows = Vec::new();
        let of = |room: host::Room| format!("{} / {}", size(room.free), size(room.total));
        if let Some(room) = host::disk(&self.config.paths.state) {
            let is_enough = room.free >= FREE_LOW;
            rows.push(StaffRow {
                mark: if is_enough { Mark::Good } else { Mark::Caution },
                ..named(lang, "bench.disk-free", of(room))
            });
        }
        if let Some(room) = self.host.memory() {
            rows.push(named(lang, "bench.memory-free", of(room)));
        }
        for (name, degrees) in self.host.temperatures() {
            rows.push(line(name, format!("{degrees} °C")));
        }
        rows
    }

    pub(super) fn network(&self, lang: Lang) -> Filled {
        let heard = self.heard();
        let up = |is_up| text(lang, if is_up { "bench.up" } else { "bench.down" });
        let mut rows = vec![
            StaffRow {
                mark: mark_if(heard.is_online),
                ..named(lang, "bench.platform", up(heard.is_online))
            },
            named(
                lang,
                "bench.address",
                settings::without_login(&self.config.platform.url),
            ),
        ];
        rows.extend(heard.upstreams.iter().map(|(name, is_up)| StaffRow {
            mark: mark_if(*is_up),
            ..line(name.clone(), up(*is_up))
        }));
        let records = self.cache.tests_of("", ROWS_MAX)?;
        let last = records.iter().find(|record| record.test == NETWORK_TEST);
        let word = last.map_or("not-run", |record| record.verdict.word());
        let mut tested = vec![StaffRow {
            id: Id::Test {
                plan: NETWORK_TEST.to_owned(),
                device: String::new(),
            }
            .to_text(),
            detail: last.map_or_else(String::new, |record| minute(record.at)),
            mark: mark_of(word),
            ..line(text(lang, NETWORK_TEST), text(lang, verdict_key(word)))
        }];
        let figures = last.iter().flat_map(|record| &record.figures);
        tested.extend(figures.map(|(name, value)| reading(lang, name, value)));
        Ok(facts([
            section(lang, "bench.lines", rows),
            section(lang, "bench.last-test", tested),
        ]))
    }

    pub(super) fn configuration(&self, lang: Lang) -> Filled {
        let differences = self.changed_settings()?;
        let desired = self.wanted_settings()?;
        let difference = |each: &settings::Difference| {
            let shown = |value: &str| {
                if value.is_empty() {
                    text(lang, "bench.absent").to_owned()
                } else {
                    value.to_owned()
                }
            };
            StaffRow {
                detail: fill(lang, "bench.was", &[("value", &shown(&each.was))]),
                mark: Mark::Caution,
                ..line(each.key.clone(), shown(&each.is))
            }
        };
        let installed = self.installed()?;
        let head = vec![
            named(lang, "bench.config-digest", self.configuration_digest()),
            named(lang, "bench.installed-digest", installed.digest.clone()),
            named(lang, "bench.installed-at", installed.at.clone()),
        ];
        let all = settings::settings(self.config.source.text());
        let mut page = facts([
            section(lang, "bench.configuration", head),
            section(
                lang,
                "bench.changed",
                differences.iter().map(difference).collect(),
            ),
            section(
                lang,
                "bench.wanted",
                desired.iter().map(difference).collect(),
            ),
            section(lang, "bench.region-settings", self.region_rows()),
            section(
                lang,
                "bench.in-force",
                all.into_iter()
                    .map(|(key, value)| line(key, value))
                    .collect(),
            ),
        ]);
        if let Some(mistake) = self.config.source.mistake() {
            let mistake = mistake.words(lang);
            page.warning = fill(lang, "staff.is-kept", &[("mistake", &mistake)]);
        }
        if differences.is_empty() && desired.is_empty() {
            text(lang, "bench.unchanged").clone_into(&mut page.intro);
        }
        Ok(page)
    }

    pub(super) fn calibrations(&self, lang: Lang) -> Filled {
        let known = self.cache.calibrations()?;
        let mut page = Facts::default();
        let mut rows = Vec::new();
        let in_force = self.heard().calibrations;
        for what in Calibration::ALL {
            let found = known.iter().find(|each| each.what == what.word());
            let (state, mark, values) = match found {
                None => ("bench.never", Mark::Unknown, String::new()),
                Some(each) => calibration_state(each, &in_force, lang),
            };
            let detail = found.map(|each| format!("{} {} {values}", minute(each.at), each.by));
            rows.push(StaffRow {
                id: Id::Act(Button::Calibrate(what)).to_text(),
                label: text(lang, calibration_key(what)).to_owned(),
                value: text(lang, state).to_owned(),
                detail: detail.unwrap_or_default(),
                mark,
            });
        }
        page.sections
            .extend(section(lang, "bench.calibrations", rows));
        Ok(page)
    }

    pub(super) fn sticks_page(&self, lang: Lang) -> Facts {
        let sticks = self.sticks.find();
        let rows = sticks.iter().map(|stick| {
            let (mark, state) = if stick.is_read_only {
                (Mark::Bad, text(lang, "bench.read-only").to_owned())
            } else {
                let free = size(stick.free);
                (Mark::Good, fill(lang, "bench.free", &[("size", &free)]))
            };
            StaffRow {
                id: Id::Stick(stick.path.clone()).to_text(),
                label: stick.name.clone(),
                value: state,
                detail: stick.kind.clone(),
                mark,
            }
        });
        let mut page = facts([section(lang, "bench.sticks", rows.collect())]);
        if sticks.is_empty() {
            text(lang, "bench.no-stick").clone_into(&mut page.intro);
        }
        page
    }

    pub(super) fn monitor_page(&mut self, device: &str, lang: Lang, now: Moment) -> Facts {
        let Some(tap) = self.roster.tap(device) else {
            return Facts {
                warning: sentence("device.not-there", lang),
                ..Facts::default()
            };
        };
        let lines = self.monitor.lines(device, &tap, now);
        let rows = lines.iter().rev().map(|each| {
            let (time, bytes) = each.split_once(' ').unwrap_or(("", each));
            StaffRow {
                detail: time.to_owned(),
                ..line(bytes, "")
            }
        });
        let mut page = facts([section(lang, "bench.bytes", rows.collect())]);
        text(lang, "bench.monitor-masked").clone_into(&mut page.intro);
        page
    }
}

fn running(time: Option<std::time::Duration>, lang: Lang) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    let hours = time.as_secs() / 3600;
    let values = [("days", hours / 24), ("hours", hours % 24)];
    let values = values.map(|(name, value)| (name, value.to_string()));
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    fill(lang, "bench.days-hours", &values)
}

/// Whether what is kept is in force, and its values in words.
fn calibration_state(
    kept: &offline_cache::Calibration,
    in_force: &Calibrations,
    lang: Lang,
) -> (&'static str, Mark, String) {
    match Calibrated::parse(&kept.what, &kept.json) {
        Ok(one @ Calibrated::Scanner(reads)) => {
            let mark = if reads.reads == reads.of {
                Mark::Good
            } else {
                Mark::Caution
            };
            ("bench.cal-measured", mark, one.words(lang))
        }
        Ok(one) if in_force.has(one) => ("bench.cal-in-force", Mark::Good, one.words(lang)),
        Ok(one) => ("bench.cal-not-in-force", Mark::Bad, one.words(lang)),
        Err(error) => {
            let words = sentence(error.code(), lang);
            ("bench.cal-not-in-force", Mark::Caution, words)
        }
    }
}

pub(in crate::workbench) fn calibration_key(what: Calibration) -> &'static str {
    match what {
        Calibration::Touch => "bench.calibrate-touch",
        Calibration::CameraCrop => "bench.calibrate-camera",
        Calibration::PrintOffset => "bench.calibrate-print",
        Calibration::SlipOffset => "bench.calibrate-slip",
        Calibration::Scanner => "bench.calibrate-scanner",
    }
}
