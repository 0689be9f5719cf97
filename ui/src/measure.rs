//! How much room texts need: the measures no layout can take. Pure.
//!
//! Errs on the side of more everywhere: a line too many is space, one too few is a clipped word.

use crate::glass::{EntryKind, EntryMeasure, EntryRow, EntryShape, EntrySpan, LineRow, MarkState};

/// Width of most characters outside the Han, Kana and Hangul blocks, in ems. Measured: Noto Sans CJK Bold, digits 0.59.
const NARROW_EMS: f32 = 0.62;

/// Width of the narrow letters and signs. Measured: the same font, at most 0.38.
const SLIM_EMS: f32 = 0.4;
const SLIM: &str = "ijlfI .,:;'|!()[]-/";

/// Width of capitals and of the broad small letters. Measured: the same font, at most 0.79, and 0.95 for `m`, `w`,
/// `M`, `W`, `@` and `%`.
const BROAD_EMS: f32 = 0.8;
const BROADEST_EMS: f32 = 1.0;
const BROADEST: &str = "mwMW@%";

/// What the rounding of lengths may cost a page. Chosen: less than anybody sees.
const ROUNDING_LINES: f32 = 0.05;

/// The same for a page of entries, in pixels.
const ROUNDING_PX: f32 = 1.0;

/// Part of a row that a value may take beside a label that wraps. Chosen: a version number fits, a sentence does not.
const VALUE_SHARE: f32 = 0.4;

/// How a row of two texts is measured. Not side by side when the label has the whole width.
pub(crate) struct RowMeasure {
    /// Width of the label.
    pub(crate) label_ems: f32,
    /// Width of the value.
    pub(crate) value_ems: f32,
    /// Above and below the texts together.
    pub(crate) padding_lines: f32,
}

impl RowMeasure {
    /// Height in lines of text.
    pub(crate) fn height(&self, row: &LineRow) -> f32 {
        let label = lines_of(&row.label, self.label_ems);
        let value = lines_of(&row.value, self.value_ems).max(lines_of(&row.held, self.value_ems));
        let is_stacked = self.label_ems >= self.value_ems;
        let lines = if is_stacked {
            label + value
        } else {
            label.max(value)
        };
        count(lines) + self.padding_lines
    }
}

/// Lines that `text` needs in a column of `width_ems`; none for an empty text. Words stay whole while they find room on
/// a line of their own, and no line begins with a closing sign, as the glass breaks them.
///
/// Errs on the side of more: a line too many is space, one too few is a clipped word.
pub(crate) fn lines_of(text: &str, width_ems: f32) -> i32 {
    if text.is_empty() || width_ems <= 0.0 {
        return 0;
    }
    text.split('\n')
        .map(|paragraph| lines_of_paragraph(paragraph, width_ems))
        .sum()
}

fn lines_of_paragraph(paragraph: &str, width_ems: f32) -> i32 {
    let mut lines = 1;
    let mut used = 0.0;
    // What has been set since the last place where a line may break.
    let mut piece = 0.0;
    let mut characters = paragraph.chars().peekable();
    while let Some(character) = characters.next() {
        let width = ems_of(character);
        if used + width > width_ems && character != ' ' {
            lines += 1;
            // The piece moves down whole, unless it has begun the line itself.
            if piece >= used {
                piece = 0.0;
            }
            used = piece;
        }
        used += width;
        piece += width;
        let next = characters.peek().copied();
        if next.is_none_or(|next| may_break(character, next)) {
            piece = 0.0;
        }
    }
    lines
}

/// True where a line may end between two characters.
fn may_break(before: char, after: char) -> bool {
    if before == ' ' {
        return after != ' ';
    }
    (is_wide(before) || is_wide(after)) && !CLOSING.contains(after) && !OPENING.contains(before)
}

/// Signs that begin no line, and those that end none (UAX #14, classes CL, EX and OP).
const CLOSING: &str = "，。、；：！？）》」』】”’…,.;:!?)]";
const OPENING: &str = "（《「『【“‘([";

/// Width of the longest line of `text` when nothing wraps.
fn ems(text: &str) -> f32 {
    let widths = text
        .split('\n')
        .map(|line| line.chars().map(ems_of).sum::<f32>());
    widths.fold(0.0, f32::max)
}

fn ems_of(character: char) -> f32 {
    if is_wide(character) {
        1.0
    } else if SLIM.contains(character) {
        SLIM_EMS
    } else if BROADEST.contains(character) {
        BROADEST_EMS
    } else if character.is_uppercase() {
        BROAD_EMS
    } else {
        NARROW_EMS
    }
}

/// Texts have few lines; the conversion is exact.
fn count(lines: i32) -> f32 {
    f32::from(i16::try_from(lines).unwrap_or(i16::MAX))
}

/// Characters as wide as they are high: everything from the CJK radicals on, as far as names and addresses need it, and
/// the dashes, dots, arrows and signs that a Chinese font sets in full width.
fn is_wide(character: char) -> bool {
    character >= '\u{2e80}'
        || ('\u{2010}'..'\u{2e80}').contains(&character)
        || ('\u{a1}'..='\u{bf}').contains(&character)
        || matches!(character, '×' | '÷')
}

/// The page, from 0, on which `row` falls when pages of `page_lines` are filled from the first row on.
pub(crate) fn page_of(heights: impl Iterator<Item = f32>, row: usize, page_lines: f32) -> i32 {
    let mut page = 0;
    let mut used = 0.0;
    for (index, height) in heights.enumerate() {
        if used > 0.0 && used + height > page_lines + ROUNDING_LINES {
            page += 1;
            used = 0.0;
        }
        if index >= row {
            break;
        }
        used += height;
    }
    page
}

/// How an entry of a page for staff is set.
pub(crate) fn shape(entry: &EntryRow, measure: &EntryMeasure) -> EntryShape {
    let text =
        |size: f32, width: f32| count(lines_of(&entry.label, width / size)) * size * measure.line;
    let height = match entry.kind {
        EntryKind::Sentence => text(measure.body, measure.width) + 2.0 * measure.gap,
        EntryKind::Heading => text(measure.heading, measure.width) + 2.0 * measure.gap,
        EntryKind::Warning => {
            let width = measure.width - 2.0 * measure.padding - measure.mark - measure.space;
            text(measure.body, width).max(measure.mark) + 2.0 * measure.padding + measure.gap
        }
        EntryKind::Row => return row_shape(entry, measure),
    };
    EntryShape {
        height,
        ..EntryShape::default()
    }
}

/// A row: its value stands beside the label while both find room there, else below it.
fn row_shape(entry: &EntryRow, measure: &EntryMeasure) -> EntryShape {
    let is_touchable = !entry.id.is_empty();
    let mut inner = measure.width - 2.0 * measure.padding;
    if entry.mark != MarkState::None {
        inner -= measure.mark + measure.space;
    }
    if is_touchable {
        inner -= measure.arrow + measure.space;
    }
    let height_of = |text: &str, size: f32, width: f32| {
        count(lines_of(text, width / size)) * size * measure.line
    };
    let label_ems = ems(&entry.label) * measure.body;
    // A hair more than measured: a value that just does not fit would wrap in the middle of a number.
    let wish = ems(&entry.value) * measure.body * 1.02;
    let is_stacked = !entry.value.is_empty()
        && wish > inner * VALUE_SHARE
        && label_ems + measure.space + wish > inner;
    let (label_width, value_width) = if is_stacked {
        (inner, inner)
    } else if entry.value.is_empty() {
        (inner, 0.0)
    } else {
        (inner - wish - measure.space, wish)
    };
    let label_height = height_of(&entry.label, measure.body, label_width);
    let value_height = height_of(&entry.value, measure.body, value_width);
    let detail_height = height_of(&entry.detail, measure.small, inner);
    let first = if is_stacked {
        label_height + value_height
    } else {
        label_height.max(value_height)
    };
    let least = if is_touchable {
        measure.touch_min
    } else {
        measure.mark + 2.0 * measure.gap
    };
    EntryShape {
        height: (first + detail_height + 2.0 * measure.gap).max(least) + measure.gap,
        label_width,
        label_height,
        value_width,
        value_height,
        detail_height,
        is_stacked,
    }
}

/// All entries below each other.
pub(crate) fn entries_height(
    entries: impl Iterator<Item = EntryRow>,
    measure: &EntryMeasure,
) -> f32 {
    entries.map(|entry| shape(&entry, measure).height).sum()
}

/// The highest of the entries; a page must have room for it.
pub(crate) fn highest_entry(
    entries: impl Iterator<Item = EntryRow>,
    measure: &EntryMeasure,
) -> f32 {
    entries
        .map(|entry| shape(&entry, measure).height)
        .fold(0.0, f32::max)
}

/// Which entries stand on `page`, and how many pages there are: one when all fit into `height`, else as many as it
/// takes beside the buttons to turn them. A page that is gone is the last page.
pub(crate) fn span(
    entries: impl Iterator<Item = EntryRow>,
    page: i32,
    measure: &EntryMeasure,
    height: f32,
    pager_height: f32,
) -> EntrySpan {
    let entries: Vec<(f32, bool)> = entries
        .map(|entry| {
            (
                shape(&entry, measure).height,
                entry.kind == EntryKind::Heading,
            )
        })
        .collect();
    let all: f32 = entries.iter().map(|(height, _)| height).sum();
    let starts = if all <= height + ROUNDING_PX {
        vec![0]
    } else {
        page_starts(&entries, height - pager_height)
    };
    let page = usize::try_from(page).unwrap_or(0).min(starts.len() - 1);
    let first = starts.get(page).copied().unwrap_or(0);
    let end = starts.get(page + 1).copied().unwrap_or(entries.len());
    let whole = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    EntrySpan {
        first: whole(first),
        count: whole(end - first),
        pages: whole(starts.len()),
    }
}

/// The first entry of each page of `room`. A heading goes with the row behind it.
fn page_starts(entries: &[(f32, bool)], room: f32) -> Vec<usize> {
    let mut starts = vec![0];
    let mut start = 0;
    let mut used = 0.0;
    for (index, (height, _)) in entries.iter().enumerate() {
        if index > start && used + height > room + ROUNDING_PX {
            let is_orphan =
                index - start > 1 && entries.get(index - 1).is_some_and(|entry| entry.1);
            start = if is_orphan { index - 1 } else { index };
            starts.push(start);
            used = entries[start..index].iter().map(|(height, _)| height).sum();
        }
        used += height;
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gets_a_line_for_every_full_column() {
        assert_eq!(lines_of("", 10.0), 0);
        assert_eq!(lines_of("十个汉字正好占满一行", 10.0), 1);
        assert_eq!(lines_of("十一个汉字就要占两行了", 10.0), 2);
        assert_eq!(lines_of("一\n二", 10.0), 2);
        assert_eq!(lines_of("0123456789", 10.0), 1);
        assert_eq!(lines_of("没有宽度的栏目里什么都不能量", 0.0), 0);
    }

    #[test]
    fn a_word_goes_down_whole_and_one_longer_than_a_line_is_broken() {
        // Ten ems: "battery voltage" has nine and a half letters' room on the first line.
        assert_eq!(lines_of("battery voltage", 10.0), 1);
        assert_eq!(lines_of("battery voltages in use", 8.0), 3);
        assert_eq!(lines_of(&"a".repeat(40), 10.0), 3);
        assert_eq!(lines_of(&"a".repeat(400), 10.0), 25);
        // A closing sign takes the character before it along.
        assert_eq!(lines_of("十个汉字正好占满一行。", 10.0), 2);
        assert_eq!(lines_of("   ", 1.0), 1);
    }

    #[test]
    fn a_short_value_has_room_for_its_widest_signs() {
        for value in [
            "— → EMULATOR",
            "EMULATED",
            "—",
            "1.5 GiB → 12 MiB",
            "WM%@",
            "×3",
        ] {
            let shape = shape(&row("型号", value), &measure());
            assert!(!shape.is_stacked);
            let widest: f32 = value
                .chars()
                .map(|character| match character {
                    '—' | '→' | '×' => 10.0,
                    'M' | 'W' | '@' | '%' => 9.5,
                    'A'..='Z' => 7.2,
                    ' ' | '.' | 'i' => 2.9,
                    _ => 5.9,
                })
                .sum();
            assert!(shape.value_width >= widest, "{value}: {shape:?}");
            assert!((shape.value_height - 10.0).abs() < 0.1, "{value}");
        }
    }

    #[test]
    fn rows_fill_one_page_after_the_other() {
        let heights = [2.0, 2.0, 2.0, 5.0, 1.0];
        let pages: Vec<i32> = (0..5)
            .map(|row| page_of(heights.into_iter(), row, 4.0))
            .collect();
        assert_eq!(pages, [0, 0, 1, 2, 3]);
    }

    #[test]
    fn a_row_higher_than_a_page_has_a_page_of_its_own() {
        assert_eq!(page_of([9.0, 1.0].into_iter(), 0, 4.0), 0);
        assert_eq!(page_of([9.0, 1.0].into_iter(), 1, 4.0), 1);
    }

    /// A column of 40 characters, without anything around the texts.
    fn measure() -> EntryMeasure {
        EntryMeasure {
            width: 400.0,
            heading: 10.0,
            body: 10.0,
            small: 10.0,
            line: 1.0,
            touch_min: 20.0,
            ..EntryMeasure::default()
        }
    }

    fn row(label: &str, value: &str) -> EntryRow {
        EntryRow {
            kind: EntryKind::Row,
            label: label.into(),
            value: value.into(),
            ..EntryRow::default()
        }
    }

    fn heading(label: &str) -> EntryRow {
        EntryRow {
            kind: EntryKind::Heading,
            ..row(label, "")
        }
    }

    #[test]
    fn a_value_stands_beside_its_label_while_both_fit() {
        let beside = shape(&row("打印机", "正常"), &measure());
        assert!(!beside.is_stacked);
        assert!((beside.height - 10.0).abs() < 0.1, "{beside:?}");
        let below = shape(&row("打印机的固件版本", &"长".repeat(35)), &measure());
        assert!(below.is_stacked);
        assert!((below.height - 20.0).abs() < 0.1, "{below:?}");
        // A long label wraps beside a short value.
        let wrapped = shape(&row(&"长".repeat(50), "正常"), &measure());
        assert!(!wrapped.is_stacked);
        assert!((wrapped.height - 20.0).abs() < 0.1, "{wrapped:?}");
    }

    #[test]
    fn a_row_that_can_be_touched_is_high_enough_for_a_finger() {
        let mut touchable = row("打印机", "正常");
        touchable.id = "printer".into();
        assert!(shape(&touchable, &measure()).height >= 20.0);
    }

    #[test]
    fn entries_that_fit_have_one_page_and_no_buttons() {
        let rows = || (0..4).map(|_| row("一", ""));
        let span = span(rows(), 0, &measure(), 40.0, 30.0);
        assert_eq!((span.first, span.count, span.pages), (0, 4, 1));
        assert!((entries_height(rows(), &measure()) - 40.0).abs() < 0.1);
        assert!((highest_entry(rows(), &measure()) - 10.0).abs() < 0.1);
    }

    #[test]
    fn every_entry_stands_on_exactly_one_page() {
        let rows = || (0..200).map(|_| row("一", ""));
        let mut seen = 0;
        let pages = span(rows(), 0, &measure(), 100.0, 30.0).pages;
        for page in 0..pages {
            let span = span(rows(), page, &measure(), 100.0, 30.0);
            assert_eq!(span.first, seen);
            assert!(span.count > 0 && span.count <= 7);
            seen += span.count;
        }
        assert_eq!(seen, 200);
        let gone = span(rows(), pages + 5, &measure(), 100.0, 30.0);
        assert_eq!(gone.first + gone.count, 200);
    }

    #[test]
    fn a_heading_goes_with_the_row_behind_it() {
        let entries = || {
            [row("一", ""), row("二", ""), heading("三"), row("四", "")]
                .into_iter()
                .chain((0..9).map(|_| row("五", "")))
        };
        let first = span(entries(), 0, &measure(), 60.0, 30.0);
        assert_eq!((first.first, first.count), (0, 2));
        let second = span(entries(), 1, &measure(), 60.0, 30.0);
        assert_eq!((second.first, second.count), (2, 3));
    }

    #[test]
    fn no_room_at_all_still_shows_an_entry_on_each_page() {
        let rows = [heading("一"), row("二", "")];
        let span = span(rows.into_iter(), 0, &measure(), 5.0, 30.0);
        assert_eq!((span.first, span.count, span.pages), (0, 1, 2));
    }
}
