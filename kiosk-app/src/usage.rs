//! What was done at this terminal in a year, item by item: visits and how they ended, cases, prints.
//! Numbers only; what is counted speaks of no person.

use std::collections::BTreeMap;

use offline_cache::{Cache, CacheError, Cause, UsageKind, VisitEnd};
use serde::{Deserialize, Serialize};

/// Most items that are told, those that come first by their ids; the catalogue has some eighty.
const ITEMS_MAX: usize = 1000;
/// Narrowest column of items in a table; the widest id of the catalogue that is packaged.
const ITEM_WIDTH: usize = 22;

/// The year of one item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemUsage {
    /// The item.
    pub item: String,
    /// Visits begun.
    pub visits: u64,
    /// Cases made durable.
    pub cases: u64,
    /// Papers printed.
    pub prints: u64,
    /// Visits that ended with a case or a document.
    pub completed: u64,
    /// Visits that were left before, by cause: `timeout`, `canceled`, `device`, `line`,
    /// `not-eligible`, `closed`; those that never happened too.
    pub abandoned: BTreeMap<String, u64>,
    /// Visits that ended because the terminal or the platform could not do what was wanted.
    pub failed: u64,
}

impl ItemUsage {
    fn new(item: &str) -> Self {
        let causes = Cause::ALL.into_iter();
        Self {
            item: item.to_owned(),
            abandoned: causes.map(|cause| (cause.word().to_owned(), 0)).collect(),
            ..Self::default()
        }
    }

    fn add(&mut self, end: VisitEnd, count: u64) {
        let sum = match end {
            VisitEnd::Completed => &mut self.completed,
            VisitEnd::Abandoned(cause) => {
                self.abandoned.entry(cause.word().to_owned()).or_default()
            }
            VisitEnd::Failed => &mut self.failed,
        };
        *sum = sum.saturating_add(count);
    }

    /// Visits that were left, whatever the cause.
    pub fn left(&self) -> u64 {
        let counts = self.abandoned.values();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The causes that happened, most frequent first: `timeout 3, line 1`.
    fn causes(&self) -> String {
        let happened = self.abandoned.iter().filter(|(_, count)| **count > 0);
        let mut causes: Vec<(&String, &u64)> = happened.collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let words = causes
            .iter()
            .map(|(cause, count)| format!("{cause} {count}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// The year of every item that anybody came for, by id.
///
/// # Errors
/// As [`Cache::usage`] and [`Cache::visit_ends_of`].
pub fn of_year(cache: &Cache, year: i16) -> Result<Vec<ItemUsage>, CacheError> {
    let mut items: BTreeMap<String, ItemUsage> = BTreeMap::new();
    let new = |item: &String| ItemUsage::new(item);
    for counted in cache.usage(year)? {
        let usage = items.entry(counted.item).or_insert_with_key(new);
        match counted.kind {
            UsageKind::Visit => usage.visits = counted.count,
            UsageKind::Transaction => usage.cases = counted.count,
            UsageKind::Print => usage.prints = counted.count,
        }
    }
    for ended in cache.visit_ends_of(year)? {
        let usage = items.entry(ended.item).or_insert_with_key(new);
        usage.add(ended.end, ended.count);
    }
    Ok(items.into_values().take(ITEMS_MAX).collect())
}

/// The items as a table for a terminal window.
pub fn table(year: i16, items: &[ItemUsage]) -> String {
    let widest = items.iter().map(|usage| usage.item.len()).max();
    let width = widest.unwrap_or(0).max(ITEM_WIDTH);
    let mut text = format!(
        "{year:<width$} {:>7} {:>7} {:>7} {:>9} {:>7} {:>7}  why left\n",
        "visits", "cases", "prints", "completed", "failed", "left",
    );
    for usage in items {
        // What stands in a file must not steer the terminal window.
        let item: String = usage
            .item
            .chars()
            .filter(|each| !each.is_control())
            .collect();
        let row = format!(
            "{item:<width$} {:>7} {:>7} {:>7} {:>9} {:>7} {:>7}  {}",
            usage.visits,
            usage.cases,
            usage.prints,
            usage.completed,
            usage.failed,
            usage.left(),
            usage.causes(),
        );
        text.push_str(row.trim_end());
        text.push('\n');
    }
    if items.is_empty() {
        text.push_str("Nothing.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_year_is_told_item_by_item_with_what_came_of_the_visits() {
        let directory = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::open(directory.path(), clock::now().at).unwrap();
        for kind in [UsageKind::Visit, UsageKind::Visit, UsageKind::Transaction] {
            cache.count_use("pension", kind, 2026).unwrap();
        }
        cache
            .count_use("allowance", UsageKind::Visit, 2026)
            .unwrap();
        let left = |cause| VisitEnd::Abandoned(cause);
        for (item, end, year) in [
            ("pension", VisitEnd::Completed, 2026),
            ("pension", left(Cause::Timeout), 2026),
            ("allowance", left(Cause::Device), 2026),
            ("allowance", left(Cause::Line), 2026),
            ("allowance", left(Cause::Line), 2026),
            ("allowance", VisitEnd::Failed, 2026),
            ("allowance", VisitEnd::Failed, 2025),
        ] {
            cache.count_visit_end(item, end, year).unwrap();
        }
        let items = of_year(&cache, 2026).unwrap();
        let text = table(2026, &items);
        let expected = "\
2026                    visits   cases  prints completed  failed    left  why left
allowance                    1       0       0         0       1       3  line 2, device 1
pension                      2       1       0         1       0       1  timeout 1
";
        assert_eq!(text, expected);
        assert_eq!(items[1].abandoned["timeout"], 1);
        assert_eq!(items[1].abandoned.len(), Cause::ALL.len());
        assert_eq!(of_year(&cache, 2025).unwrap()[0].failed, 1);
        assert!(table(2024, &of_year(&cache, 2024).unwrap()).ends_with("\nNothing.\n"));
    }
}
