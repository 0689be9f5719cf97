//! The tables of the README: made from what was measured and from nothing else, between markers, so
//! that no figure is ever typed by hand.

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::figures::{Figures, real};
use crate::machine::Machine;
use crate::race::{self, Race, RaceResult};
use crate::sealing::SealingResult;
use crate::thin::LineResult;

/// Everything of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The machine of the races.
    pub machine: Machine,
    /// How the contestants were asked, as words for the table.
    pub asked: String,
    /// One race for each backlog.
    pub races: Vec<Race>,
    /// Sealing, by suite and size.
    pub sealing: Vec<SealingResult>,
    /// The drain over a thin line, by what was sent.
    pub line: Vec<LineResult>,
}

/// Puts the tables of a report into a text with markers, replacing what stood between them; a part
/// that was not measured keeps what it has.
///
/// # Errors
/// When a marker is missing or stands in the wrong order.
pub fn fill(text: &str, report: &Report) -> anyhow::Result<String> {
    let mut text = text.to_owned();
    if !report.races.is_empty() {
        text = between(&text, "machine", &machine(report))?;
        text = between(&text, "put", &races(report, |result| &result.put))?;
        text = between(&text, "take", &races(report, |result| &result.take))?;
        text = between(&text, "contestants", &contestants(report))?;
        text = between(&text, "flat", &flat(report))?;
    }
    if !report.sealing.is_empty() {
        text = between(&text, "sealing", &sealing(&report.sealing))?;
    }
    if !report.line.is_empty() {
        text = between(&text, "line", &line(&report.line))?;
    }
    Ok(text)
}

/// Replaces what stands between `<!-- name -->` and `<!-- /name -->`.
fn between(text: &str, name: &str, table: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let from = text
        .find(&begin)
        .with_context(|| format!("no marker {name}"))?
        + begin.len();
    let to = text
        .find(&end)
        .with_context(|| format!("no end of marker {name}"))?;
    ensure!(from <= to, "the markers {name} are in the wrong order");
    Ok(format!("{}\n{table}\n{}", &text[..from], &text[to..]))
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let shared = if machine.is_virtual {
        ", a virtual machine that shares its hardware"
    } else {
        ""
    };
    format!(
        "Measured {} on {} cores of {}{shared}, {} MiB of memory, {}, Linux {}.\n{}\n",
        machine.measured_at,
        machine.cores,
        machine.processor,
        machine.memory_mib,
        machine.disk,
        machine.kernel,
        report.asked,
    )
}

fn races(report: &Report, of: fn(&RaceResult) -> &Figures) -> String {
    let mut table = Table::new(&[
        "backlog", "<store", "p50 µs", "p95 µs", "p99 µs", "a second", "CPU µs", "syncs",
        "× limit", "× ours",
    ]);
    for race in &report.races {
        let asked = race.results.iter().map(|each| of(each).operations).max();
        for result in &race.results {
            let figures = of(result);
            let few = if Some(figures.operations) < asked {
                format!(" ({} only)", figures.operations)
            } else {
                String::new()
            };
            table.row(&[
                race.backlog.to_string(),
                format!("{}{few}", result.name),
                micro(figures.p50_ns),
                micro(figures.p95_ns),
                micro(figures.p99_ns),
                format!("{:.0}", figures.per_second),
                figures.cpu_ns.map_or_else(|| "–".to_owned(), micro),
                times(figures.syncs),
                times(figures.to_limit),
                times(figures.to_ours),
            ]);
        }
    }
    table.0
}

fn contestants(report: &Report) -> String {
    let mut table = Table::new(&[
        "<store",
        "<version",
        "<engine",
        "<journal",
        "<`synchronous` in use",
    ]);
    for result in report.races.first().map_or(&[][..], |race| &race.results) {
        let standing = &result.standing;
        let (journal, synchronous) = match (standing.journal_mode.as_str(), standing.synchronous) {
            ("", _) => ("–", "a sync each"),
            (journal, 2) => (journal, "FULL"),
            (journal, 3) => (journal, "EXTRA"),
            (journal, _) => (journal, "less than FULL"),
        };
        table.row(&[
            result.name.clone(),
            standing.version.clone(),
            standing.engine.clone(),
            journal.to_owned(),
            synchronous.to_owned(),
        ]);
    }
    table.0
}

/// How our own store does with a growing backlog: against the limit of the same race, which takes
/// the drift of the machine out.
fn flat(report: &Report) -> String {
    let mut table = Table::new(&[
        "backlog",
        "enqueue, × limit",
        "claim and settle, × limit",
        "CPU µs of an enqueue",
        "CPU µs of a claim and settlement",
    ]);
    for race in &report.races {
        let Some(ours) = race.results.get(race::OURS) else {
            continue;
        };
        let cpu = |figures: &Figures| figures.cpu_ns.map_or_else(|| "–".to_owned(), micro);
        table.row(&[
            race.backlog.to_string(),
            times(ours.put.to_limit),
            times(ours.take.to_limit),
            cpu(&ours.put),
            cpu(&ours.take),
        ]);
    }
    table.0
}

fn sealing(results: &[SealingResult]) -> String {
    let mut table = Table::new(&[
        "<suite",
        "bytes",
        "bytes added",
        "seal p50 µs",
        "open p50 µs",
        "seal MiB/s",
        "open MiB/s",
    ]);
    for result in results {
        table.row(&[
            result.suite.clone(),
            result.bytes.to_string(),
            result.overhead.to_string(),
            micro(result.seal.p50_ns),
            micro(result.open.p50_ns),
            format!("{:.1}", result.mib_per_second(&result.seal)),
            format!("{:.1}", result.mib_per_second(&result.open)),
        ]);
    }
    table.0
}

fn line(results: &[LineResult]) -> String {
    let mut table = Table::new(&[
        "<what is sent",
        "transactions",
        "payload bytes",
        "seconds",
        "transactions a second",
        "of the line",
        "bytes up",
        "bytes down",
        "bytes up a payload byte",
        "uncompressed",
    ]);
    for result in results {
        let payload = real(result.payload_bytes.max(1));
        table.row(&[
            result.name.clone(),
            result.transactions.to_string(),
            result.payload_bytes.to_string(),
            format!("{:.1}", result.seconds),
            format!(
                "{:.0}",
                real(result.transactions) / result.seconds.max(f64::MIN_POSITIVE)
            ),
            format!("{:.0} %", result.share_of_line() * 100.0),
            result.bytes_up.to_string(),
            result.bytes_down.to_string(),
            format!("{:.2}", real(result.bytes_up) / payload),
            format!("{:.2}", real(result.message_bytes) / payload),
        ]);
    }
    table.0
}

/// A table in Markdown.
struct Table(String);

impl Table {
    /// With these heads; `<` before one says that its column is of words, not of numbers.
    fn new(heads: &[&str]) -> Self {
        let mut table = Self(String::new());
        let names: Vec<String> = heads
            .iter()
            .map(|head| head.trim_start_matches('<').to_owned())
            .collect();
        let sides: Vec<String> = heads
            .iter()
            .map(|head| if head.starts_with('<') { "---" } else { "---:" }.to_owned())
            .collect();
        table.row(&names);
        table.row(&sides);
        table
    }

    fn row(&mut self, cells: &[String]) {
        self.0.push_str("| ");
        self.0.push_str(&cells.join(" | "));
        self.0.push_str(" |\n");
    }
}

fn micro(nanoseconds: u64) -> String {
    let micro = real(nanoseconds) / 1000.0;
    if micro < 100.0 {
        format!("{micro:.1}")
    } else {
        format!("{micro:.0}")
    }
}

fn times(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::Standing;

    const TEXT: &str = "a\n<!-- machine -->\nold\n<!-- /machine -->\n<!-- put -->\n<!-- /put -->\n\
        <!-- take -->\n<!-- /take -->\n<!-- contestants -->\n<!-- /contestants -->\n\
        <!-- flat -->\n<!-- /flat -->\nz\n";

    fn report() -> Report {
        let result = |name: &str, operations| RaceResult {
            name: name.to_owned(),
            standing: Standing {
                synchronous: 2,
                journal_mode: "wal".to_owned(),
                ..Standing::default()
            },
            put: Figures {
                operations,
                p50_ns: 356_000,
                to_limit: Some(1.25),
                ..Figures::default()
            },
            take: Figures::default(),
        };
        Report {
            races: vec![Race {
                backlog: 100_000,
                results: vec![result("ours", 10), result("slow", 4)],
            }],
            ..Report::default()
        }
    }

    #[test]
    fn tables_replace_what_stood_between_the_markers() {
        let once = fill(TEXT, &report()).unwrap();
        assert!(once.starts_with("a\n") && once.ends_with("z\n"), "{once}");
        assert!(!once.contains("old"));
        assert!(
            once.contains("| 100000 | ours | 356 | 0.0 | 0.0 | 0 | – | – | 1.25 | – |"),
            "{once}"
        );
        assert!(once.contains("slow (4 only)"), "{once}");
        assert!(once.contains("| FULL |"), "{once}");
        assert_eq!(fill(&once, &report()).unwrap(), once);
    }

    #[test]
    fn a_text_without_markers_is_refused() {
        assert!(fill("a", &report()).is_err());
        assert!(between("<!-- /x -->\n<!-- x -->\n", "x", "t").is_err());
    }

    #[test]
    fn what_was_not_measured_stays() {
        assert_eq!(fill(TEXT, &Report::default()).unwrap(), TEXT);
    }

    #[test]
    fn the_readme_has_every_marker() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let text = std::fs::read_to_string(path).unwrap();
        for name in [
            "machine",
            "put",
            "take",
            "contestants",
            "flat",
            "sealing",
            "line",
        ] {
            between(&text, name, "").unwrap();
        }
    }
}
