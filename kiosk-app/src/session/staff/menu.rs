//! What there is to do, by what one may: the menu, the page of help, and the small things that all
//! pages say the same way.

use std::time::Duration;

use kiosk_sealing::unlock::Role;
use kiosk_ui::{Choice, Mark, StaffPage, StaffRow, StaffSection};

use super::ids::{Button, Id, Place};
use super::{Mode, Sight, access};
use crate::words::{Lang, fill, text};
use crate::workbench::{Permission, Topic, class_word};

/// A button.
pub(super) fn action(id: &Id, label: &str) -> Choice {
    Choice {
        id: id.to_text(),
        label: label.to_owned(),
        ..Choice::default()
    }
}

/// A row that can be touched.
pub(super) fn row(id: &Id, label: &str) -> StaffRow {
    StaffRow {
        id: id.to_text(),
        label: label.to_owned(),
        ..StaffRow::default()
    }
}

/// A row that only says something.
pub(super) fn fact(label: &str, value: impl Into<String>, mark: Mark) -> StaffRow {
    StaffRow {
        label: label.to_owned(),
        value: value.into(),
        mark,
        ..StaffRow::default()
    }
}

/// Who is here, and as what.
pub(super) fn who(lang: Lang, permission: &Permission) -> String {
    let role = text(lang, role_key(permission.role));
    format!("{} · {role}", permission.person)
}

/// The word for a role.
pub(super) fn role_key(role: Role) -> &'static str {
    match role {
        Role::VillageStaff => "staff.role-village-staff",
        Role::Technician => "staff.role-technician",
        Role::Vendor => "staff.role-vendor",
        Role::Inspector => "staff.role-inspector",
    }
}

/// `4:05`, rounded up so that the last one seen is `0:01`.
pub(super) fn minutes_and_seconds(left: Duration) -> String {
    let seconds = left.saturating_add(Duration::from_millis(999)).as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The title of a page of facts.
pub(super) fn title(lang: Lang, topic: &Topic) -> String {
    let key = match topic {
        Topic::Device(_) => "bench.device",
        Topic::Monitor(_) => "staff.monitor",
        Topic::Devices => "staff.devices",
        Topic::Tests => "staff.tests",
        Topic::Tickets => "staff.tickets",
        Topic::Ticket(_) => "staff.ticket",
        Topic::Consumables => "staff.consumables",
        Topic::Daily => "staff.day",
        Topic::Queue => "staff.queue",
        Topic::DeadLetter(_) => "staff.dead-letter",
        Topic::Network => "staff.network",
        Topic::Configuration => "staff.configuration",
        Topic::Evidence => "staff.evidence",
        Topic::Machine => "staff.machine",
        Topic::Update => "staff.update",
        Topic::Calibration => "staff.calibration",
        Topic::Sticks => "staff.sticks",
        Topic::Log { errors_only: false } => "staff.log",
        Topic::Log { errors_only: true } => "staff.log-errors",
        Topic::Readiness => "staff.readiness",
    };
    text(lang, key).to_owned()
}

/// The title where the page is known to be of one thing: a device is called by what it is, and by the
/// name that its place gave it. In one line, for pictures and rows need the rest of the page.
pub(super) fn title_on(sight: &Sight<'_>, topic: &Topic) -> String {
    if let Topic::Device(device) = topic {
        format!("{} · {device}", class_of(sight, device))
    } else if let Topic::Monitor(device) = topic {
        format!("{} · {device}", title(sight.lang, topic))
    } else {
        title(sight.lang, topic)
    }
}

fn class_of(sight: &Sight<'_>, device: &str) -> &'static str {
    let class = sight.devices.get(device).map(|(class, _)| class.name());
    class_word(class.unwrap_or_default(), sight.lang)
}

/// What a page of the menu is for, in one line.
fn purpose(topic: &Topic) -> &'static str {
    match topic {
        Topic::Devices | Topic::Device(_) => "staff.devices-for",
        Topic::Tests => "staff.tests-for",
        Topic::Tickets | Topic::Ticket(_) => "staff.tickets-for",
        Topic::Consumables => "staff.consumables-for",
        Topic::Daily => "staff.day-for",
        Topic::Queue | Topic::DeadLetter(_) => "staff.queue-for",
        Topic::Network => "staff.network-for",
        Topic::Configuration => "staff.configuration-for",
        Topic::Evidence => "staff.evidence-for",
        Topic::Machine => "staff.machine-for",
        Topic::Update => "staff.update-for",
        Topic::Calibration => "staff.calibration-for",
        Topic::Sticks => "staff.sticks-for",
        Topic::Log { .. } | Topic::Monitor(_) => "staff.log-for",
        Topic::Readiness => "staff.readiness-for",
    }
}

/// The groups of the menu, in the order of a visit: what is wrong, what is due, what else there is.
const GROUPS: [(&str, &[Topic]); 3] = [
    (
        "staff.group-repair",
        &[
            Topic::Devices,
            Topic::Tests,
            Topic::Tickets,
            Topic::Calibration,
            Topic::Readiness,
        ],
    ),
    ("staff.group-day", &[Topic::Daily, Topic::Consumables]),
    (
        "staff.group-machine",
        &[
            Topic::Queue,
            Topic::Network,
            Topic::Machine,
            Topic::Update,
            Topic::Configuration,
            Topic::Evidence,
            Topic::Log { errors_only: false },
            Topic::Sticks,
        ],
    ),
];

impl Mode {
    pub(super) fn menu_page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let mut sections: Vec<StaffSection> = GROUPS
            .iter()
            .map(|(key, topics)| self.group(lang, key, topics))
            .filter(|section| !section.rows.is_empty())
            .collect();
        if self.report.is_some() {
            let made = row(&Id::Go(Place::Report), text(lang, "staff.report-made"));
            sections[0].rows.push(made);
        }
        let normal = Id::Act(Button::TryNormally);
        if sight.is_safe && access::may(&normal, self.scopes()) {
            // What they have come for stands on the first page.
            sections[0]
                .rows
                .insert(0, row(&normal, text(lang, "staff.try-normally")));
        }
        sections.push(StaffSection {
            title: text(lang, "staff.group-more").to_owned(),
            rows: vec![row(&Id::Go(Place::Help), text(lang, "staff.help"))],
        });
        let mut page = StaffPage {
            name: "menu".to_owned(),
            title: text(lang, "staff.menu").to_owned(),
            sections,
            ..StaffPage::default()
        };
        if sight.standing.is_day_closed {
            text(lang, "staff.day-is-closed").clone_into(&mut page.intro);
        } else if sight.standing.is_locked {
            text(lang, "staff.is-locked").clone_into(&mut page.intro);
        }
        if sight.is_safe {
            text(lang, "staff.is-safe").clone_into(&mut page.warning);
        } else if let Some(mistake) = &sight.rules.mistake {
            let mistake = mistake.words(lang);
            page.warning = fill(lang, "staff.is-kept", &[("mistake", &mistake)]);
        }
        page
    }

    fn group(&self, lang: Lang, key: &str, topics: &[Topic]) -> StaffSection {
        let rows = topics
            .iter()
            .filter(|topic| access::may_see(topic, self.scopes()))
            .map(|topic| StaffRow {
                detail: text(lang, purpose(topic)).to_owned(),
                ..row(&Id::Open(topic.clone()), &title(lang, topic))
            })
            .collect();
        StaffSection {
            title: text(lang, key).to_owned(),
            rows,
        }
    }

    pub(super) fn help_page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let what = GROUPS
            .iter()
            .flat_map(|(_, topics)| topics.iter())
            .filter(|topic| access::may_see(topic, self.scopes()))
            .map(|topic| StaffRow {
                label: title(lang, topic),
                detail: text(lang, purpose(topic)).to_owned(),
                ..StaffRow::default()
            })
            .collect();
        let site = sight.site;
        let whom = vec![
            fact(text(lang, "staff.help-phone"), &site.help_phone, Mark::None),
            fact(text(lang, "staff.help-site"), &site.name, Mark::None),
            fact(
                text(lang, "staff.help-terminal"),
                &site.terminal,
                Mark::None,
            ),
        ];
        let minutes = (sight.rules.idle.as_secs() / 60).to_string();
        StaffPage {
            name: "help".to_owned(),
            title: text(lang, "staff.help").to_owned(),
            intro: fill(lang, "staff.help-intro", &[("minutes", &minutes)]),
            sections: vec![
                StaffSection {
                    title: text(lang, "staff.help-whom").to_owned(),
                    rows: whom,
                },
                StaffSection {
                    title: text(lang, "staff.help-what").to_owned(),
                    rows: what,
                },
            ],
            ..StaffPage::default()
        }
    }
}
