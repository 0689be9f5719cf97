//! What terminals reported, as `OpenMetrics` text: the table of `packaging/monitoring/README.md`,
//! family by family. Every label is escaped, every set of labels stands once, and nothing that a
//! terminal wrote decides about a name. The text is written piece by piece, never held whole.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Write};

use jiff::Timestamp;

use crate::messages::{Heartbeat, UpdateState};
use crate::standing::{LEVELS, Standing, UPDATE_STATES, action, code, update_state};
use crate::store::ReleaseOutcome;
use crate::telemetry::{CAUSES, OUTCOMES};

/// Media type, version and encoding of the text.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The state of a device with which all is well.
const ONLINE: &str = "online";

/// Kind of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Info,
    StateSet,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// What the names of its samples end in.
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::StateSet => "",
        }
    }
}

/// A family of the table, without the suffix of its samples.
struct Family {
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    samples: fn(&Standing, &mut Samples<'_>) -> fmt::Result,
}

/// Where the samples of one family go.
struct Samples<'a> {
    out: &'a mut dyn Write,
    family: &'static Family,
}

/// The names of labels, each with its value.
type Labels<'a> = &'a [(&'static str, &'a str)];

impl Samples<'_> {
    fn put(&mut self, labels: Labels<'_>, value: impl Display) -> fmt::Result {
        write!(
            self.out,
            "{}{}",
            self.family.name,
            self.family.kind.suffix()
        )?;
        for (place, (name, value)) in labels.iter().enumerate() {
            write!(self.out, "{}{name}=\"", if place == 0 { '{' } else { ',' })?;
            put_escaped(self.out, value)?;
            self.out.write_char('"')?;
        }
        let end = if labels.is_empty() { "" } else { "}" };
        writeln!(self.out, "{end} {value}")
    }

    /// A sample that has no label but its terminal.
    fn one(&mut self, standing: &Standing, value: impl Display) -> fmt::Result {
        self.put(&[("terminal", &standing.place.terminal)], value)
    }
}

/// A label's value; what no text should hold is left out.
fn put_escaped(out: &mut dyn Write, value: &str) -> fmt::Result {
    for character in value.chars() {
        match character {
            '\\' => out.write_str("\\\\")?,
            '"' => out.write_str("\\\"")?,
            '\n' => out.write_str("\\n")?,
            other if other.is_control() => {}
            other => out.write_char(other)?,
        }
    }
    Ok(())
}

/// Seconds since 1970, as a time is written.
fn seconds(at: Timestamp) -> i64 {
    at.as_second()
}

/// Writes everything.
///
/// # Errors
/// When the text cannot be written.
pub(crate) fn write(
    standings: &[Standing],
    releases: &[ReleaseOutcome],
    out: &mut dyn Write,
) -> fmt::Result {
    for family in FAMILIES {
        head(family, out)?;
        let mut samples = Samples { out, family };
        for standing in standings {
            (family.samples)(standing, &mut samples)?;
        }
    }
    head(&RELEASE_HALTED, out)?;
    let mut samples = Samples {
        out,
        family: &RELEASE_HALTED,
    };
    for release in releases {
        let labels = [("version", release.version.as_str())];
        samples.put(&labels, u8::from(release.is_held))?;
    }
    out.write_str("# EOF\n")
}

fn head(family: &Family, out: &mut dyn Write) -> fmt::Result {
    let Family {
        name,
        kind,
        unit,
        help,
        ..
    } = family;
    writeln!(out, "# TYPE {name} {}", kind.word())?;
    if !unit.is_empty() {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    writeln!(out, "# HELP {name} {help}")
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    samples: fn(&Standing, &mut Samples<'_>) -> fmt::Result,
) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        unit,
        help,
        samples,
    }
}

const fn family(
    kind: Kind,
    name: &'static str,
    help: &'static str,
    samples: fn(&Standing, &mut Samples<'_>) -> fmt::Result,
) -> Family {
    Family {
        name,
        kind,
        unit: "",
        help,
        samples,
    }
}

/// Said of releases, not of terminals.
const RELEASE_HALTED: Family = gauge(
    "kiosk_update_release_halted",
    "",
    "1 while the operator holds a release.",
    |_, _| Ok(()),
);

/// In the order of the table, except [`RELEASE_HALTED`], which ends it.
const FAMILIES: &[Family] = &[
    family(
        Kind::Info,
        "kiosk_terminal",
        "Where a terminal is, and the version of the program that runs.",
        |standing, out| {
            let version = standing.heartbeat.as_ref();
            let version = version.map_or("", |beat| beat.program_version.as_str());
            let place = &standing.place;
            let labels = [
                ("terminal", place.terminal.as_str()),
                ("region", &place.region),
                ("version", version),
            ];
            out.put(&labels, 1)
        },
    ),
    gauge(
        "kiosk_heartbeat_timestamp_seconds",
        "seconds",
        "When the last heartbeat came, by the platform's clock.",
        |standing, out| match standing.heard_at {
            Some(at) => out.one(standing, seconds(at)),
            None => Ok(()),
        },
    ),
    gauge(
        "kiosk_certificate_expiry_timestamp_seconds",
        "seconds",
        "When the terminal's certificate ends.",
        |standing, out| match standing.certificate_until {
            Some(at) => out.one(standing, seconds(at)),
            None => Ok(()),
        },
    ),
    gauge(
        "kiosk_uptime_seconds",
        "seconds",
        "Since the program started.",
        |standing, out| of_heartbeat(standing, out, |beat| Some(beat.uptime_s)),
    ),
    gauge(
        "kiosk_clock_offset_seconds",
        "seconds",
        "How far the platform's clock is ahead of the terminal's.",
        |standing, out| of_heartbeat(standing, out, |beat| Some(beat.clock_offset_s)),
    ),
    gauge(
        "kiosk_queue_waiting",
        "",
        "Cases that wait to be sent; no upstream is the platform itself.",
        |standing, out| queue(standing, out, false),
    ),
    gauge(
        "kiosk_queue_dead",
        "",
        "Cases that were refused and wait for a person.",
        |standing, out| queue(standing, out, true),
    ),
    gauge(
        "kiosk_queue_oldest_timestamp_seconds",
        "seconds",
        "When the oldest case that waits was confirmed.",
        |standing, out| {
            of_heartbeat(standing, out, |beat| {
                beat.queue.oldest_enqueued_at.map(seconds)
            })
        },
    ),
    gauge(
        "kiosk_device_state",
        "",
        "1 for the state that a device is in, 0 for online where that is another one.",
        device_states,
    ),
    gauge(
        "kiosk_device_fault",
        "",
        "1 while the fault is there.",
        device_faults,
    ),
    family(
        Kind::Counter,
        "kiosk_visits",
        "Visits begun.",
        |standing, out| of_heartbeat(standing, out, |beat| Some(beat.usage.visits)),
    ),
    family(
        Kind::Counter,
        "kiosk_transactions",
        "Cases made durable.",
        |standing, out| of_heartbeat(standing, out, |beat| Some(beat.usage.transactions)),
    ),
    family(
        Kind::Counter,
        "kiosk_prints",
        "Papers printed.",
        |standing, out| of_heartbeat(standing, out, |beat| Some(beat.usage.prints)),
    ),
    family(
        Kind::Counter,
        "kiosk_item_visits",
        "Visits of an item, by how they ended.",
        |standing, out| {
            for (item, counts) in &standing.telemetry.items {
                for (outcome, count) in OUTCOMES.iter().zip(counts) {
                    let labels = [
                        ("terminal", standing.place.terminal.as_str()),
                        ("item", item),
                        ("outcome", outcome),
                    ];
                    out.put(&labels, count)?;
                }
            }
            Ok(())
        },
    ),
    family(
        Kind::Counter,
        "kiosk_visits_abandoned",
        "Why visits were left.",
        |standing, out| {
            // A terminal that never reported says nothing, not that nobody left.
            if standing.telemetry == crate::telemetry::Telemetry::default() {
                return Ok(());
            }
            for (cause, count) in CAUSES.iter().zip(standing.telemetry.causes) {
                let labels = [
                    ("terminal", standing.place.terminal.as_str()),
                    ("cause", cause),
                ];
                out.put(&labels, count)?;
            }
            Ok(())
        },
    ),
    gauge(
        "kiosk_year_transactions",
        "",
        "Cases completed since 1 January, local time.",
        |standing, out| out.one(standing, standing.year_cases),
    ),
    gauge(
        "kiosk_year_target_transactions",
        "",
        "What the year asks of a terminal.",
        |standing, out| match standing.place.target {
            0 => Ok(()),
            target => out.one(standing, target),
        },
    ),
    gauge(
        "kiosk_audit_sequence",
        "",
        "Last signed entry of the audit log.",
        |standing, out| {
            of_heartbeat(standing, out, |beat| {
                beat.audit.as_ref().map(|audit| audit.sequence)
            })
        },
    ),
    family(
        Kind::Counter,
        "kiosk_audit_conflicts",
        "Heads of the audit log that contradict an earlier one.",
        |standing, out| out.one(standing, standing.conflicts),
    ),
    gauge(
        "kiosk_desired_version",
        "",
        "Desired state in force.",
        |standing, out| of_heartbeat(standing, out, |beat| Some(beat.desired_version)),
    ),
    gauge(
        "kiosk_desired_version_wanted",
        "",
        "Desired state that was signed for a terminal.",
        |standing, out| match standing.wanted_version {
            0 => Ok(()),
            version => out.one(standing, version),
        },
    ),
    gauge(
        "kiosk_tickets_open",
        "",
        "Fault tickets that are not closed, by who acts.",
        |standing, out| tickets(standing, out, |(open, _)| open),
    ),
    gauge(
        "kiosk_tickets_overdue",
        "",
        "Of the tickets that are not closed, those past their time.",
        |standing, out| tickets(standing, out, |(_, late)| late),
    ),
    gauge(
        "kiosk_store_free_bytes",
        "bytes",
        "Free on the disk of the store.",
        |standing, out| match standing.telemetry.store_free_bytes {
            Some(bytes) => out.one(standing, bytes),
            None => Ok(()),
        },
    ),
    gauge(
        "kiosk_memory_bytes",
        "bytes",
        "Proportional set size of the terminal.",
        |standing, out| match standing.telemetry.memory_bytes {
            Some(bytes) => out.one(standing, bytes),
            None => Ok(()),
        },
    ),
    family(
        Kind::StateSet,
        "kiosk_update_state",
        "How far an update has come.",
        update_states,
    ),
    family(
        Kind::Info,
        "kiosk_update_version",
        "The release in the slot that runs.",
        |standing, out| match update(standing) {
            Some(update) if !update.version.is_empty() => {
                let labels = [
                    ("terminal", standing.place.terminal.as_str()),
                    ("version", &update.version),
                    ("slot", &update.slot),
                ];
                out.put(&labels, 1)
            }
            Some(_) | None => Ok(()),
        },
    ),
    family(
        Kind::Counter,
        "kiosk_update_rollbacks",
        "Releases that were taken back, by the reason.",
        rollbacks,
    ),
    gauge(
        "kiosk_update_metadata_expiry_timestamp_seconds",
        "seconds",
        "When the metadata of a repository ends.",
        metadata_ends,
    ),
];

/// When the metadata of each repository ends, as far as the terminal knows.
fn metadata_ends(standing: &Standing, out: &mut Samples<'_>) -> fmt::Result {
    let Some(update) = update(standing) else {
        return Ok(());
    };
    for (repository, end) in [
        ("program", update.metadata_expires),
        ("items", update.items_metadata_expires),
    ] {
        if let Some(end) = end {
            let labels = [
                ("terminal", standing.place.terminal.as_str()),
                ("repository", repository),
            ];
            out.put(&labels, seconds(end))?;
        }
    }
    Ok(())
}

fn of_heartbeat<T: Display>(
    standing: &Standing,
    out: &mut Samples<'_>,
    value: fn(&Heartbeat) -> Option<T>,
) -> fmt::Result {
    match standing.heartbeat.as_ref().and_then(value) {
        Some(value) => out.one(standing, value),
        None => Ok(()),
    }
}

fn update(standing: &Standing) -> Option<&UpdateState> {
    standing.heartbeat.as_ref()?.update.as_ref()
}

fn queue(standing: &Standing, out: &mut Samples<'_>, is_dead: bool) -> fmt::Result {
    let mut seen = BTreeSet::new();
    let upstreams = standing
        .heartbeat
        .iter()
        .flat_map(|beat| &beat.queue.upstreams);
    for each in upstreams {
        if seen.insert(each.upstream.as_str()) {
            let labels = [
                ("terminal", standing.place.terminal.as_str()),
                ("upstream", &each.upstream),
            ];
            out.put(&labels, if is_dead { each.dead } else { each.waiting })?;
        }
    }
    Ok(())
}

fn device_states(standing: &Standing, out: &mut Samples<'_>) -> fmt::Result {
    let mut seen = BTreeSet::new();
    let devices = standing.heartbeat.iter().flat_map(|beat| &beat.devices);
    for device in devices {
        if !seen.insert(device.id.as_str()) {
            continue;
        }
        // Of a state set most would be zeros, and of twenty thousand terminals more than a scrape bears.
        // `online` always stands there, so that it can be asked for whom it is not true.
        let own = device.state.as_str();
        let online = (own != ONLINE).then_some((ONLINE, 0));
        for (state, value) in online.into_iter().chain([(own, 1)]) {
            let labels = [
                ("terminal", standing.place.terminal.as_str()),
                ("device", &device.id),
                ("class", &device.class),
                ("state", state),
            ];
            out.put(&labels, value)?;
        }
    }
    Ok(())
}

fn device_faults(standing: &Standing, out: &mut Samples<'_>) -> fmt::Result {
    let mut seen = BTreeSet::new();
    let devices = standing.heartbeat.iter().flat_map(|beat| &beat.devices);
    for device in devices {
        for fault in &device.faults {
            let code = code(fault);
            if seen.insert((device.id.as_str(), device.class.as_str(), code)) {
                let labels = [
                    ("terminal", standing.place.terminal.as_str()),
                    ("device", &device.id),
                    ("class", &device.class),
                    ("code", code),
                    ("action", action(code)),
                ];
                out.put(&labels, 1)?;
            }
        }
    }
    Ok(())
}

fn tickets(
    standing: &Standing,
    out: &mut Samples<'_>,
    count: fn((u64, u64)) -> u64,
) -> fmt::Result {
    for (level, counts) in LEVELS.iter().zip(standing.tickets) {
        let labels = [
            ("terminal", standing.place.terminal.as_str()),
            ("level", level),
        ];
        out.put(&labels, count(counts))?;
    }
    Ok(())
}

fn update_states(standing: &Standing, out: &mut Samples<'_>) -> fmt::Result {
    let Some(update) = update(standing) else {
        return Ok(());
    };
    let own = update_state(&update.state);
    for (place, state) in UPDATE_STATES.iter().enumerate() {
        let labels = [
            ("terminal", standing.place.terminal.as_str()),
            ("kiosk_update_state", state),
        ];
        out.put(&labels, u8::from(own == Some(place)))?;
    }
    Ok(())
}

fn rollbacks(standing: &Standing, out: &mut Samples<'_>) -> fmt::Result {
    let mut seen = BTreeSet::new();
    for (reason, times) in &standing.rollbacks {
        if seen.insert(code(reason)) {
            let labels = [
                ("terminal", standing.place.terminal.as_str()),
                ("code", code(reason)),
            ];
            out.put(&labels, times)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::standing::Place;
    use crate::telemetry;

    const TABLE: &str = "../../packaging/monitoring/README.md";
    fn standing(terminal: &str) -> Standing {
        let heartbeat = json!({
            "terminal": terminal, "sent_at": "2026-11-22T01:00:00Z", "program_version": "0.1.0",
            "boot": "01930000-0000-7000-8000-000000000001", "uptime_s": 77, "clock_offset_s": -3,
            "queue": {"waiting": 2, "dead": 1, "oldest_enqueued_at": "2026-11-22T00:00:00Z",
                "upstreams": [{"upstream": "", "waiting": 2, "dead": 1},
                    {"upstream": "", "waiting": 9, "dead": 9},
                    {"upstream": "social", "waiting": 0, "dead": 0}], "key_ids": []},
            "devices": [
                {"id": "slips", "class": "slip-printer", "state": "user-error",
                    "faults": ["printer.media-empty", "printer.media-empty", "测\"\n"]},
                {"id": "slips", "class": "slip-printer", "state": "online", "faults": []},
                {"id": "card", "class": "id-card-reader", "state": "online", "faults": []},
                {"id": "b\"\\\n\u{1b}", "class": "camera", "state": "of-tomorrow", "faults": []}],
            "audit": {"sequence": 5, "head": "a", "signed": ""},
            "usage": {"visits": 3, "transactions": 2, "prints": 4}, "desired_version": 1,
            "catalogue_etag": "",
            "update": {"version": "1.4.1", "slot": "a", "state": "rolled-back",
                "metadata_expires": "2026-12-22T01:00:00Z",
                "items_metadata_expires": "2026-12-01T01:00:00Z"},
        });
        Standing {
            place: Place {
                terminal: terminal.to_owned(),
                region: "揭阳市/普宁市".to_owned(),
                target: 500,
                ..Place::default()
            },
            heard_at: Some(Timestamp::constant(1_795_311_660, 5)),
            certificate_until: Some(Timestamp::constant(1_805_311_660, 0)),
            heartbeat: Some(serde_json::from_value(heartbeat).unwrap()),
            telemetry: telemetry::read(
                "kiosk_item_visits_total{item=\"old-age\",outcome=\"failed\"} 2\n\
                 kiosk_visits_abandoned_total{cause=\"line\"} 4\n\
                 kiosk_store_free_bytes 9\nkiosk_memory_bytes 8\n",
            ),
            wanted_version: 2,
            year_cases: 123,
            tickets: [(1, 1), (0, 0), (0, 0), (2, 0)],
            conflicts: 1,
            rollbacks: vec![("health.device".to_owned(), 2)],
        }
    }

    fn releases() -> Vec<ReleaseOutcome> {
        vec![ReleaseOutcome {
            version: "1.4.2".to_owned(),
            good: 0,
            taken_back: 2,
            is_held: true,
            reason: String::new(),
        }]
    }

    fn text(standings: &[Standing]) -> String {
        let mut text = String::new();
        write(standings, &releases(), &mut text).unwrap();
        text
    }

    /// The rows of the table: name, type, unit, labels.
    fn table() -> Vec<(String, String, String, BTreeSet<String>)> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
        let words = |cell: &str| -> BTreeSet<String> {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        };
        let rows: Vec<_> = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("| `kiosk_"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                let name = cells[1].trim_matches('`').to_owned();
                (
                    name,
                    cells[2].to_owned(),
                    cells[3].to_owned(),
                    words(cells[4]),
                )
            })
            .collect();
        assert!(rows.len() >= 30, "{}", rows.len());
        rows
    }

    /// Samples of one line: name, labels, value.
    fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
        let (head, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = head.split_once('{').unwrap_or((head, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let mut found = Vec::new();
        let mut rest = labels;
        while !rest.is_empty() {
            let (label, quoted) = rest.split_once("=\"").unwrap();
            let end = (0..quoted.len())
                .find(|at| {
                    let before = quoted.as_bytes()[..*at].iter().rev();
                    let escapes = before.take_while(|byte| **byte == b'\\').count();
                    quoted.as_bytes()[*at] == b'"' && escapes % 2 == 0
                })
                .unwrap();
            found.push((label.to_owned(), quoted[..end].to_owned()));
            rest = &quoted[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        (name.to_owned(), found, value.parse().unwrap())
    }

    /// What the specification asks of a text: families whole and once, heads before samples, each
    /// set of labels once, an end.
    fn check(text: &str) -> BTreeSet<String> {
        let body = text.strip_suffix("# EOF\n").unwrap();
        let (mut families, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let (mut family, mut kind) = (String::new(), String::new());
        for line in body.lines() {
            assert!(!line.is_empty() && !line.contains('\u{1b}'), "{line}");
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, of) = rest.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()), "{name} is there twice");
                (family, kind) = (name.to_owned(), of.to_owned());
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                assert_eq!(name, family);
                assert!(name.ends_with(&format!("_{unit}")), "{line}");
                assert!(kind == "gauge" || kind == "counter", "{line}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                assert!(rest.starts_with(&format!("{family} ")), "{line}");
            } else {
                let (name, labels, value) = sample(line);
                let suffix = match kind.as_str() {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                assert_eq!(name, format!("{family}{suffix}"), "{line}");
                assert!(kind != "stateset" || labels.iter().any(|(of, _)| *of == family));
                assert!(kind != "counter" || value >= 0.0, "{line}");
                assert!(
                    kind != "info" || (value - 1.0).abs() < f64::EPSILON,
                    "{line}"
                );
                assert!(seen.insert((name, labels)), "{line} is there twice");
            }
        }
        families
    }

    #[test]
    fn the_text_is_the_table_with_its_types_units_and_labels() {
        let text = text(&[standing("T001"), standing("T002")]);
        let families = check(&text);
        for (name, kind, unit, labels) in table() {
            let family = name.trim_end_matches("_total");
            let family = if kind == "info" {
                name.trim_end_matches("_info")
            } else {
                family
            };
            assert!(families.contains(family), "{name} is missing");
            assert!(
                text.contains(&format!("# TYPE {family} {kind}\n")),
                "{name}"
            );
            let unit = match unit.as_str() {
                "s" | "s since 1970" => "seconds",
                "B" => "bytes",
                _ => "",
            };
            let is_told = text.contains(&format!("# UNIT {family} {unit}\n"));
            assert_eq!(is_told, !unit.is_empty(), "{name}");
            let line = text.lines().find(|line| {
                line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "))
            });
            let found: BTreeSet<String> = sample(line.unwrap())
                .1
                .into_iter()
                .map(|(label, _)| label)
                .collect();
            assert_eq!(found, labels, "{name}");
        }
        assert_eq!(families.len(), table().len());
    }

    #[test]
    fn the_words_of_updates_and_causes_are_those_of_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
        let table = std::fs::read_to_string(path).unwrap();
        for (name, words) in [
            ("| `kiosk_update_state`", &UPDATE_STATES[..]),
            ("| `kiosk_visits_abandoned_total`", &CAUSES[..]),
            ("| `kiosk_item_visits_total`", &OUTCOMES[..]),
        ] {
            let line = table.lines().find(|line| line.starts_with(name)).unwrap();
            let told: Vec<&str> = line.rsplit('|').nth(1).unwrap().split('`').collect();
            let told: Vec<&str> = told.into_iter().skip(1).step_by(2).collect();
            assert_eq!(told, words, "{name}");
        }
    }

    #[test]
    fn a_device_has_one_line_or_two() {
        let text = text(&[standing("T001")]);
        let of = |class: &str| {
            let lines = text
                .lines()
                .filter(|line| line.starts_with("kiosk_device_state{"));
            lines.filter(|line| line.contains(class)).count()
        };
        // It is online; it is in need of somebody; it is in a state of tomorrow.
        assert_eq!(of("class=\"id-card-reader\",state=\"online\"} 1"), 1);
        assert_eq!(of("class=\"id-card-reader\""), 1);
        assert_eq!(
            (of("class=\"slip-printer\""), of("class=\"camera\"")),
            (2, 2)
        );
    }

    #[test]
    fn values_are_what_was_reported() {
        let text = text(&[standing("T001")]);
        for line in [
            "kiosk_terminal_info{terminal=\"T001\",region=\"揭阳市/普宁市\",version=\"0.1.0\"} 1",
            "kiosk_heartbeat_timestamp_seconds{terminal=\"T001\"} 1795311660",
            "kiosk_certificate_expiry_timestamp_seconds{terminal=\"T001\"} 1805311660",
            "kiosk_clock_offset_seconds{terminal=\"T001\"} -3",
            "kiosk_queue_waiting{terminal=\"T001\",upstream=\"\"} 2",
            "kiosk_queue_dead{terminal=\"T001\",upstream=\"\"} 1",
            "kiosk_device_state{terminal=\"T001\",device=\"slips\",class=\"slip-printer\",state=\"user-error\"} 1",
            "kiosk_device_state{terminal=\"T001\",device=\"slips\",class=\"slip-printer\",state=\"online\"} 0",
            "kiosk_device_state{terminal=\"T001\",device=\"b\\\"\\\\\\n\",class=\"camera\",state=\"of-tomorrow\"} 1",
            "kiosk_device_fault{terminal=\"T001\",device=\"slips\",class=\"slip-printer\",code=\"printer.media-empty\",action=\"clear\"} 1",
            "kiosk_device_fault{terminal=\"T001\",device=\"slips\",class=\"slip-printer\",code=\"general.unknown\",action=\"maintenance\"} 1",
            "kiosk_tickets_overdue{terminal=\"T001\",level=\"village\"} 1",
            "kiosk_tickets_open{terminal=\"T001\",level=\"vendor\"} 2",
            "kiosk_update_state{terminal=\"T001\",kiosk_update_state=\"rolled-back\"} 1",
            "kiosk_update_rollbacks_total{terminal=\"T001\",code=\"health.device\"} 2",
            "kiosk_update_metadata_expiry_timestamp_seconds{terminal=\"T001\",repository=\"program\"} 1797901200",
            "kiosk_update_metadata_expiry_timestamp_seconds{terminal=\"T001\",repository=\"items\"} 1796086800",
            "kiosk_update_release_halted{version=\"1.4.2\"} 1",
            "kiosk_visits_abandoned_total{terminal=\"T001\",cause=\"line\"} 4",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_terminal_that_never_spoke_is_there_and_says_nothing() {
        let silent = Standing {
            place: Place {
                terminal: "T009".to_owned(),
                ..Place::default()
            },
            ..Standing::default()
        };
        let text = text(&[silent]);
        check(&text);
        assert!(text.contains("kiosk_terminal_info{terminal=\"T009\",region=\"\",version=\"\"} 1"));
        assert!(!text.contains("kiosk_heartbeat_timestamp_seconds{"));
        assert!(!text.contains("kiosk_visits_abandoned_total{"));
    }
}
