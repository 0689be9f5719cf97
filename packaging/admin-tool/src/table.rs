//! Tables of plain text for a terminal window: columns are as wide as their widest cell, where a
//! Chinese character takes two places. Nothing that a platform said may steer the window.

use std::borrow::Cow;

/// Longest cell in characters; a longer one is cut.
const CELL_CHARACTERS_MAX: usize = 120;
/// Between two columns.
const GAP: usize = 2;

/// Columns and rows.
#[derive(Clone, Debug)]
pub struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns, without rows.
    pub fn new(titles: &[&'static str]) -> Self {
        Self {
            titles: titles.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; cells that are missing are empty, and more than there are columns are dropped.
    pub fn row<'a>(&mut self, cells: impl IntoIterator<Item = impl Into<Cow<'a, str>>>) {
        let cells = cells.into_iter().take(self.titles.len());
        let mut row: Vec<String> = cells.map(|cell| plain(&cell.into())).collect();
        row.resize(self.titles.len(), String::new());
        self.rows.push(row);
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, the titles first.
    pub fn lines(&self) -> Vec<String> {
        let titles: Vec<String> = self
            .titles
            .iter()
            .map(|title| (*title).to_owned())
            .collect();
        let all = || std::iter::once(&titles).chain(&self.rows);
        let widths: Vec<usize> = (0..titles.len())
            .map(|column| all().map(|row| width(&row[column])).max().unwrap_or(0))
            .collect();
        all()
            .map(|row| {
                let mut line = String::new();
                for (cell, widest) in row.iter().zip(&widths) {
                    line.push_str(cell);
                    let pad = widest.saturating_sub(width(cell)).saturating_add(GAP);
                    line.extend(std::iter::repeat_n(' ', pad));
                }
                line.trim_end().to_owned()
            })
            .collect()
    }
}

/// Text without what would steer a window, cut to a bearable length.
pub fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(CELL_CHARACTERS_MAX)
        .collect()
}

/// Places that a text takes in a window.
pub fn width(text: &str) -> usize {
    text.chars()
        .map(|character| if is_wide(character) { 2 } else { 1 })
        .sum()
}

/// Whether a character takes two places (Unicode Standard Annex #11, `W` and `F`).
fn is_wide(character: char) -> bool {
    matches!(
        u32::from(character),
        0x1100..=0x115F
            | 0x2E80..=0x303E
            | 0x3041..=0xA4CF
            | 0xAC00..=0xD7A3
            | 0xF900..=0xFAFF
            | 0xFE30..=0xFE4F
            | 0xFF00..=0xFF60
            | 0xFFE0..=0xFFE6
            | 0x1F300..=0x1FAFF
            | 0x2_0000..=0x3_FFFD
    )
}

/// A field of a CSV file: quoted where it must be, and never a formula for whoever opens the file.
pub fn csv_field(text: &str) -> String {
    let text = plain(text);
    let is_formula = text.starts_with(['=', '+', '-', '@']);
    let text = if is_formula { format!("'{text}") } else { text };
    if text.contains([',', '"']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_whatever_is_in_them() {
        let mut table = Table::new(&["terminal", "region", "cases"]);
        table.row(["T001", "揭阳市/普宁市", "7"]);
        table.row(["T0002", "x\u{1b}[2J", "10"]);
        table.row(["T3"]);
        assert_eq!(
            table.lines(),
            [
                "terminal  region         cases",
                "T001      揭阳市/普宁市  7",
                "T0002     x[2J           10",
                "T3",
            ]
        );
        assert!(!table.is_empty());
    }

    #[test]
    fn a_field_is_no_formula_and_stays_in_its_column() {
        for (text, field) in [
            ("党群服务中心", "党群服务中心"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("=1+1", "'=1+1"),
            ("a\nb", "ab"),
        ] {
            assert_eq!(csv_field(text), field);
        }
    }
}
