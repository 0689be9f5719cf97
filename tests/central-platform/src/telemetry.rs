//! Counters as a terminal sends them: `OpenMetrics` text, read within bounds. Only what the table
//! of `packaging/monitoring/README.md` names is kept, with labels out of closed lists, so that
//! nothing of the text is ever echoed.

use std::collections::BTreeMap;

/// Longest text that is looked at, in bytes (`openapi.yaml`).
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most lines that are looked at: one of a text of the longest has 16 bytes.
const LINES_MAX: usize = 4096;
/// Most items that are kept; the catalogue has some eighty.
const ITEMS_MAX: usize = 256;
/// Most labels of a sample.
const LABELS_MAX: usize = 8;
/// Longest id of an item (`limits.rs`).
const ITEM_BYTES_MAX: usize = 64;
/// Largest value that is kept exactly.
const VALUE_MAX: f64 = 9_007_199_254_740_991.0;

/// How a visit of an item ended.
pub const OUTCOMES: [&str; 3] = ["completed", "abandoned", "failed"];
/// Why a visit was left.
pub const CAUSES: [&str; 6] = [
    "timeout",
    "canceled",
    "device",
    "line",
    "not-eligible",
    "closed",
];

/// What a terminal counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Visits by item and outcome, in the order of [`OUTCOMES`].
    pub items: BTreeMap<String, [u64; OUTCOMES.len()]>,
    /// Visits that were left, in the order of [`CAUSES`].
    pub causes: [u64; CAUSES.len()],
    /// Free on the disk of the store, in bytes.
    pub store_free_bytes: Option<u64>,
    /// Proportional set size, in bytes.
    pub memory_bytes: Option<u64>,
}

/// Reads counters; what is not understood, or beyond the bounds, is left out.
pub fn read(text: &str) -> Telemetry {
    let mut telemetry = Telemetry::default();
    // What is cut off was never within the contract.
    let text = text.get(..text.len().min(TEXT_BYTES_MAX)).unwrap_or("");
    for line in text.lines().take(LINES_MAX) {
        if !line.starts_with('#')
            && let Some(sample) = Sample::read(line)
        {
            telemetry.take(&sample);
        }
    }
    telemetry
}

impl Telemetry {
    fn take(&mut self, sample: &Sample) {
        match sample.name.as_str() {
            "kiosk_item_visits_total" => {
                let item = sample.label("item");
                let outcome = place(&OUTCOMES, sample.label("outcome"));
                let is_room = self.items.len() < ITEMS_MAX || self.items.contains_key(item);
                if let Some(outcome) = outcome.filter(|_| is_item(item) && is_room) {
                    self.items.entry(item.to_owned()).or_default()[outcome] = sample.value;
                }
            }
            "kiosk_visits_abandoned_total" => {
                if let Some(cause) = place(&CAUSES, sample.label("cause")) {
                    self.causes[cause] = sample.value;
                }
            }
            "kiosk_store_free_bytes" => self.store_free_bytes = Some(sample.value),
            "kiosk_memory_bytes" => self.memory_bytes = Some(sample.value),
            _ => {}
        }
    }
}

fn place(list: &[&str], word: &str) -> Option<usize> {
    list.iter().position(|each| *each == word)
}

fn is_item(item: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=ITEM_BYTES_MAX).contains(&item.len()) && item.bytes().all(is_part)
}

/// One line of the text.
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: u64,
}

impl Sample {
    fn read(line: &str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = read_labels(inner, &mut labels)?;
        }
        // A timestamp or an exemplar may follow.
        let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
        if !(0.0..=VALUE_MAX).contains(&value) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 0 and what a float keeps exactly"
        )]
        let value = value as u64;
        Some(Self {
            name: name.to_owned(),
            labels,
            value,
        })
    }

    /// The value of a label; empty where there is none.
    fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Reads `name="value",…}` and gives back what follows.
fn read_labels<'a>(mut text: &'a str, labels: &mut Vec<(String, String)>) -> Option<&'a str> {
    for _ in 0..=LABELS_MAX {
        if let Some(rest) = text.strip_prefix('}') {
            return Some(rest);
        }
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = read_quoted(rest)?;
        labels.push((name.to_owned(), value));
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    None
}

/// Reads to the closing quotation mark and gives back what follows it.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut is_escaped = false;
    for (place, character) in text.char_indices() {
        match (is_escaped, character) {
            (true, 'n') => value.push('\n'),
            (false, '\\') => {
                is_escaped = true;
                continue;
            }
            (false, '"') => return Some((value, &text[place + 1..])),
            (_, character) => value.push(character),
        }
        is_escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "\
# TYPE kiosk_item_visits counter
kiosk_item_visits_total{item=\"old-age-allowance\",outcome=\"completed\"} 7
kiosk_item_visits_total{outcome=\"failed\",terminal=\"T9\",item=\"old-age-allowance\"} 2 1795311660.5
kiosk_visits_abandoned_total{cause=\"timeout\"} 3
kiosk_store_free_bytes 1.5e9
kiosk_memory_bytes 104857600
# EOF
";

    #[test]
    fn what_the_table_names_is_kept() {
        let telemetry = read(TEXT);
        assert_eq!(telemetry.items["old-age-allowance"], [7, 0, 2]);
        assert_eq!(telemetry.causes, [3, 0, 0, 0, 0, 0]);
        assert_eq!(telemetry.store_free_bytes, Some(1_500_000_000));
        assert_eq!(telemetry.memory_bytes, Some(104_857_600));
    }

    #[test]
    fn what_is_in_no_closed_list_is_left_out() {
        for line in [
            "kiosk_item_visits_total{item=\"a b\",outcome=\"completed\"} 1",
            "kiosk_item_visits_total{item=\"\",outcome=\"completed\"} 1",
            "kiosk_item_visits_total{item=\"a\",outcome=\"stolen\"} 1",
            "kiosk_item_visits_total{item=\"a\",outcome=\"failed\"} -1",
            "kiosk_item_visits_total{item=\"a\",outcome=\"failed\"} NaN",
            "kiosk_item_visits_total{item=\"a\",outcome=\"failed\"} 1e300",
            "kiosk_item_visits_total{item=\"a\",outcome=\"failed\"",
            "kiosk_visits_abandoned_total{cause=\"张三\"} 1",
            "kiosk_terminal_info{terminal=\"T9\"} 1",
            "kiosk_store_free_bytes",
        ] {
            assert_eq!(read(line), Telemetry::default(), "{line}");
        }
    }

    #[test]
    fn a_terminal_cannot_count_items_without_end() {
        let lines: Vec<String> = (0..1000)
            .map(|n| format!("kiosk_item_visits_total{{item=\"i{n}\",outcome=\"failed\"}} 1"))
            .collect();
        assert_eq!(read(&lines.join("\n")).items.len(), ITEMS_MAX);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(kiosk_item_visits_total|[a-z{}=\",\\\\ \n#0-9项]){0,80}") {
            let telemetry = read(&text);
            prop_assert!(telemetry.items.len() <= ITEMS_MAX);
        }
    }
}
