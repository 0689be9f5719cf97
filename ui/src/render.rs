//! [`View`] -> properties of the adapter; the only file that sets a property.
//!
//! A row, picture or property is set only when it differs from what is shown, so that a tick of the clock or a frame
//! of the camera repaints no more than itself. Remembers nothing but the view on the glass.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use slint::{
    ComponentHandle, Image, Model, ModelRc, Rgb8Pixel, SharedPixelBuffer, SharedString, VecModel,
    select_bundled_translation,
};

use crate::UiError;
use crate::glass::{
    AppWindow, ChoiceRow, ContrastChoice, KeypadKind, KioskAdapter, LanguageChoice, LineRow,
    OutcomeState, PaperState, PictureRow, ReadingState, SizeChoice,
};
use crate::view::{
    Choice, Contrast, Frame, Keypad, Language, Line, Outcome, Paper, Picture, Reading, Screen,
    TextSize, View,
};

/// Folder of each translation under `lang/`; the source language has none.
const TRADITIONAL: &str = "zh_HK";
const ENGLISH: &str = "en";

/// Width of a character outside the Han, Kana and Hangul blocks, in ems. Measured: Noto Sans CJK, digits 0.55.
const NARROW_EMS: f32 = 0.6;

/// What the rounding of lengths may cost a page. Chosen: less than anybody sees.
const ROUNDING_LINES: f32 = 0.05;

thread_local! {
    /// The view on the glass; Slint, too, lives on one thread.
    static SHOWN: RefCell<Option<View>> = const { RefCell::new(None) };
}

type Adapter<'a> = KioskAdapter<'a>;

/// Gives the adapter its models and measures, and the source language.
///
/// # Errors
/// [`UiError::Texts`] when a translation was not bundled.
pub(crate) fn prepare(window: &AppWindow) -> Result<(), UiError> {
    let adapter = window.global::<Adapter<'_>>();
    adapter.set_notices(empty());
    adapter.set_details(empty());
    adapter.set_lines(empty());
    adapter.set_groups(empty());
    adapter.set_choices(empty());
    adapter.set_ways(empty());
    adapter.set_pictures(empty());
    adapter.set_site(SharedString::new());
    adapter.set_clock(SharedString::new());
    adapter.set_date(SharedString::new());
    adapter.set_help_phone(SharedString::new());
    adapter.set_can_go_back(false);
    adapter.set_can_leave(false);
    adapter.on_text_lines(|text, width_ems| lines_of(&text, width_ems));
    adapter.on_lines_of_rows(|rows, label_ems, value_ems, padding_lines| {
        let measure = RowMeasure {
            label_ems,
            value_ems,
            padding_lines,
        };
        rows.iter().map(|row| measure.height(&row)).sum()
    });
    adapter.on_page_of_row(
        |rows, row, label_ems, value_ems, padding_lines, page_lines| {
            let measure = RowMeasure {
                label_ems,
                value_ems,
                padding_lines,
            };
            let heights = rows.iter().map(|row| measure.height(&row));
            page_of(heights, usize::try_from(row).unwrap_or(0), page_lines)
        },
    );
    SHOWN.set(None);
    for language in [TRADITIONAL, ENGLISH, ""] {
        select_bundled_translation(language).map_err(|_| UiError::Texts)?;
    }
    Ok(())
}

/// Puts `view` on the glass.
pub(crate) fn show(window: &AppWindow, view: View) {
    let adapter = window.global::<Adapter<'_>>();
    SHOWN.with_borrow_mut(|shown| {
        show_frame(
            &adapter,
            &view.frame,
            shown.as_ref().map(|shown| &shown.frame),
        );
        show_screen(
            &adapter,
            &view.screen,
            shown.as_ref().map(|shown| &shown.screen),
        );
        if shown
            .as_ref()
            .is_none_or(|shown| is_other_page(shown, &view))
        {
            adapter.set_turn_count(adapter.get_turn_count().wrapping_add(1));
        }
        // Last, so that a page appears with its content already in place.
        adapter.set_screen(view.screen.name().into());
        *shown = Some(view);
    });
}

/// True when lists must start at their first page again.
fn is_other_page(shown: &View, next: &View) -> bool {
    let step = |view: &View| view.frame.progress.as_ref().map(|progress| progress.step);
    let place = |view: &View| match &view.screen {
        Screen::Home {
            group,
            query,
            is_searching,
            ..
        } => format!("{group}/{query}/{is_searching}"),
        Screen::Question { title, .. } => title.clone(),
        Screen::Starting
        | Screen::Attract { .. }
        | Screen::Introduction { .. }
        | Screen::Identify { .. }
        | Screen::Scan { .. }
        | Screen::ConfirmPerson { .. }
        | Screen::Consent { .. }
        | Screen::Face { .. }
        | Screen::Capture { .. }
        | Screen::Review { .. }
        | Screen::Preview { .. }
        | Screen::Working { .. }
        | Screen::Done { .. }
        | Screen::Rating { .. }
        | Screen::Problem { .. }
        | Screen::Leave { .. } => String::new(),
    };
    shown.screen.name() != next.screen.name()
        || step(shown) != step(next)
        || place(shown) != place(next)
}

fn show_frame(adapter: &Adapter<'_>, frame: &Frame, shown: Option<&Frame>) {
    if shown.is_none_or(|shown| shown.language != frame.language) {
        show_language(adapter, frame.language);
    }
    adapter.set_text_size(match frame.text_size {
        TextSize::Normal => SizeChoice::Normal,
        TextSize::Large => SizeChoice::Large,
        TextSize::Larger => SizeChoice::Larger,
        TextSize::Largest => SizeChoice::Largest,
    });
    adapter.set_contrast(match frame.contrast {
        Contrast::Normal => ContrastChoice::Normal,
        Contrast::BlackOnWhite => ContrastChoice::BlackOnWhite,
        Contrast::WhiteOnBlack => ContrastChoice::WhiteOnBlack,
        Contrast::YellowOnBlack => ContrastChoice::YellowOnBlack,
    });
    adapter.set_site(frame.site.as_str().into());
    adapter.set_clock(frame.clock.as_str().into());
    adapter.set_date(frame.date.as_str().into());
    adapter.set_help_phone(frame.help_phone.as_str().into());
    adapter.set_is_online(frame.is_online);
    adapter.set_pending_count(whole(frame.pending_count));
    fill(&adapter.get_notices(), frame.notices.iter().map(Into::into));
    adapter.set_has_progress(frame.progress.is_some());
    if let Some(progress) = &frame.progress {
        adapter.set_progress_title(progress.title.as_str().into());
        adapter.set_progress_step(whole(progress.step));
        adapter.set_progress_of(whole(progress.of));
    }
    adapter.set_can_go_back(frame.can_go_back);
    adapter.set_can_leave(frame.can_leave);
    adapter.set_seconds_left(frame.seconds_left.map_or(-1, whole));
}

fn show_language(adapter: &Adapter<'_>, language: Language) {
    let (choice, folder, font) = match language {
        Language::ZhHans => (LanguageChoice::Simplified, "", "Noto Sans CJK SC"),
        Language::ZhHant => (LanguageChoice::Traditional, TRADITIONAL, "Noto Sans CJK HK"),
        Language::En => (LanguageChoice::English, ENGLISH, "Noto Sans CJK SC"),
    };
    adapter.set_language(choice);
    adapter.set_font_family(font.into());
    // `prepare` has selected every one of them once, so none can be missing.
    select_bundled_translation(folder).ok();
}

/// What a page shows, spelled for the adapter. What a page does not name is empty, so that nothing of the page before
/// stays behind it: the glass forgets with the view.
#[derive(Default)]
struct Page<'a> {
    title: &'a str,
    message: &'a str,
    hint: &'a str,
    notice: &'a str,
    error: &'a str,
    unavailable: &'a str,
    advice: &'a str,
    primary: &'a str,
    reading: Reading,
    details: Vec<LineRow>,
    lines: Vec<LineRow>,
    groups: &'a [Choice],
    group: &'a str,
    choices: &'a [Choice],
    ways: &'a [Choice],
    track: Option<&'a Choice>,
    query: &'a str,
    is_searching: bool,
    value: &'a str,
    selected: &'a str,
    keypad: Keypad,
    can_continue: bool,
    live: Option<&'a Picture>,
    taken: Option<&'a Picture>,
    pictures: &'a [(String, Picture)],
    index: u32,
    of: u32,
    seal: &'a str,
    outcome: Outcome,
    number: &'a str,
    paper: Paper,
    paper_text: &'a str,
    picture_name: &'a str,
    code: &'a str,
}

fn show_screen(adapter: &Adapter<'_>, screen: &Screen, shown: Option<&Screen>) {
    let next = page(screen);
    let before = shown.map(page).unwrap_or_default();
    set_texts(adapter, &next);
    set_states(adapter, &next);
    fill(&adapter.get_details(), next.details.iter().cloned());
    fill(&adapter.get_lines(), next.lines.iter().cloned());
    fill(&adapter.get_groups(), next.groups.iter().map(choice_row));
    fill(&adapter.get_choices(), next.choices.iter().map(choice_row));
    fill(&adapter.get_ways(), next.ways.iter().map(choice_row));
    if !is_same_picture(next.live, before.live) {
        adapter.set_has_live(next.live.is_some());
        adapter.set_live(next.live.map(image).unwrap_or_default());
    }
    if !is_same_picture(next.taken, before.taken) {
        adapter.set_has_taken(next.taken.is_some());
        adapter.set_taken(next.taken.map(image).unwrap_or_default());
    }
    if next.pictures != before.pictures {
        let rows = next.pictures.iter().map(|(label, picture)| PictureRow {
            label: label.into(),
            picture: image(picture),
        });
        adapter.set_pictures(ModelRc::new(rows.collect::<VecModel<_>>()));
    }
}

fn set_texts(adapter: &Adapter<'_>, page: &Page<'_>) {
    adapter.set_title(page.title.into());
    adapter.set_message(page.message.into());
    adapter.set_hint(page.hint.into());
    adapter.set_notice(page.notice.into());
    adapter.set_error(page.error.into());
    adapter.set_unavailable(page.unavailable.into());
    adapter.set_advice(page.advice.into());
    adapter.set_primary(page.primary.into());
    adapter.set_group(page.group.into());
    adapter.set_query(page.query.into());
    adapter.set_value(page.value.into());
    adapter.set_selected(page.selected.into());
    adapter.set_seal(page.seal.into());
    adapter.set_number(page.number.into());
    adapter.set_paper_text(page.paper_text.into());
    adapter.set_picture_name(page.picture_name.into());
    adapter.set_code(page.code.into());
    adapter.set_track(page.track.map(choice_row).unwrap_or_default());
}

fn set_states(adapter: &Adapter<'_>, page: &Page<'_>) {
    adapter.set_reading(match page.reading {
        Reading::Waiting => ReadingState::Waiting,
        Reading::Busy => ReadingState::Busy,
        Reading::Failed => ReadingState::Failed,
    });
    adapter.set_outcome(match page.outcome {
        Outcome::Completed => OutcomeState::Completed,
        Outcome::Accepted => OutcomeState::Accepted,
        Outcome::AcceptedPending => OutcomeState::AcceptedPending,
        Outcome::Refused => OutcomeState::Refused,
    });
    adapter.set_paper(match page.paper {
        Paper::None => PaperState::None,
        Paper::Printing => PaperState::Printing,
        Paper::Ready => PaperState::Ready,
        Paper::Failed => PaperState::Failed,
    });
    adapter.set_keypad(match page.keypad {
        Keypad::None => KeypadKind::None,
        Keypad::Digits => KeypadKind::Digits,
        Keypad::DigitsX => KeypadKind::DigitsX,
    });
    adapter.set_is_searching(page.is_searching);
    adapter.set_can_continue(page.can_continue);
    adapter.set_index(whole(page.index));
    adapter.set_of(whole(page.of));
}

fn page(screen: &Screen) -> Page<'_> {
    match screen {
        Screen::Starting
        | Screen::Attract { .. }
        | Screen::Home { .. }
        | Screen::Introduction { .. } => arrival_page(screen),
        Screen::Identify {
            title,
            message,
            reading,
            ways,
        } => Page {
            title,
            message,
            reading: *reading,
            ways,
            ..Page::default()
        },
        Screen::Scan {
            title,
            message,
            reading,
        } => Page {
            title,
            message,
            reading: *reading,
            ..Page::default()
        },
        Screen::ConfirmPerson {
            title,
            lines,
            caution,
        } => Page {
            title,
            lines: line_rows(lines),
            notice: caution,
            ..Page::default()
        },
        Screen::Consent { .. } | Screen::Question { .. } => answer_page(screen),
        Screen::Face { .. } | Screen::Capture { .. } => camera_page(screen),
        Screen::Review { .. } | Screen::Preview { .. } => commitment_page(screen),
        Screen::Working { title, detail } => Page {
            title,
            message: detail,
            ..Page::default()
        },
        Screen::Done { .. }
        | Screen::Rating { .. }
        | Screen::Problem { .. }
        | Screen::Leave { .. } => ending_page(screen),
    }
}

/// Pages before an item has started.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`page` passes only what is named here"
)]
fn arrival_page(screen: &Screen) -> Page<'_> {
    match screen {
        Screen::Attract { board } => Page {
            lines: paragraph_rows(board),
            ..Page::default()
        },
        Screen::Home {
            groups,
            group,
            items,
            query,
            is_searching,
            track,
        } => Page {
            groups,
            group,
            choices: items,
            query,
            is_searching: *is_searching,
            track: Some(track),
            ..Page::default()
        },
        Screen::Introduction {
            title,
            summary,
            needs,
            lines,
            offline,
            starts,
            unavailable,
            advice,
        } => Page {
            title,
            message: summary,
            details: with_sentences(summary, lines, offline),
            choices: needs,
            lines: line_rows(lines),
            notice: offline,
            ways: starts,
            unavailable,
            advice,
            ..Page::default()
        },
        _ => Page::default(),
    }
}

/// Pages that ask for an answer.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`page` passes only what is named here"
)]
fn answer_page(screen: &Screen) -> Page<'_> {
    match screen {
        Screen::Consent {
            title,
            paragraphs,
            agree,
        } => Page {
            title,
            lines: paragraph_rows(paragraphs),
            primary: agree,
            ..Page::default()
        },
        Screen::Question {
            title,
            hint,
            value,
            error,
            keypad,
            options,
            selected,
            can_continue,
        } => Page {
            title,
            hint,
            value,
            error,
            keypad: *keypad,
            choices: options,
            selected,
            can_continue: *can_continue,
            ..Page::default()
        },
        _ => Page::default(),
    }
}

/// Pages that look through the camera.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`page` passes only what is named here"
)]
fn camera_page(screen: &Screen) -> Page<'_> {
    match screen {
        Screen::Face {
            message,
            live,
            reading,
            other_way,
            can_shoot,
        } => Page {
            message,
            live: live.as_ref(),
            reading: *reading,
            ways: if other_way.id.is_empty() {
                &[]
            } else {
                std::slice::from_ref(other_way)
            },
            can_continue: *can_shoot,
            ..Page::default()
        },
        Screen::Capture {
            title,
            hint,
            live,
            taken,
            error,
            index,
            of,
        } => Page {
            title,
            hint,
            live: live.as_ref(),
            taken: taken.as_ref(),
            error,
            index: *index,
            of: *of,
            ..Page::default()
        },
        _ => Page::default(),
    }
}

/// Pages that end in a commitment.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`page` passes only what is named here"
)]
fn commitment_page(screen: &Screen) -> Page<'_> {
    match screen {
        Screen::Review {
            title,
            lines,
            pictures,
            notice,
            confirm,
        } => Page {
            title,
            lines: line_rows(lines),
            details: with_sentences("", lines, notice),
            pictures,
            notice,
            primary: confirm,
            ..Page::default()
        },
        Screen::Preview {
            title,
            pages,
            page,
            seal,
            notice,
            print,
            unavailable,
        } => Page {
            title,
            taken: usize::try_from(*page).ok().and_then(|page| pages.get(page)),
            index: page.saturating_add(1),
            of: u32::try_from(pages.len()).unwrap_or(u32::MAX),
            seal,
            notice,
            primary: print,
            unavailable,
            ..Page::default()
        },
        _ => Page::default(),
    }
}

/// Pages after which nothing of the item follows.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "`page` passes only what is named here"
)]
fn ending_page(screen: &Screen) -> Page<'_> {
    match screen {
        Screen::Done {
            title,
            outcome,
            number,
            lines,
            advice,
            paper,
            paper_text,
            more,
        } => Page {
            title,
            outcome: *outcome,
            number,
            lines: line_rows(lines),
            details: with_sentences("", lines, advice),
            advice,
            paper: *paper,
            paper_text,
            ways: more,
            ..Page::default()
        },
        Screen::Rating { levels, chosen } => Page {
            choices: levels,
            selected: chosen,
            ..Page::default()
        },
        Screen::Problem {
            title,
            advice,
            picture,
            code,
            ways,
        } => Page {
            title,
            advice,
            picture_name: picture,
            code,
            ways,
            ..Page::default()
        },
        Screen::Leave { take, erased } => Page {
            choices: take,
            message: erased,
            ..Page::default()
        },
        _ => Page::default(),
    }
}

fn choice_row(choice: &Choice) -> ChoiceRow {
    ChoiceRow {
        id: choice.id.as_str().into(),
        label: choice.label.as_str().into(),
        detail: choice.detail.as_str().into(),
        icon: choice.icon.as_str().into(),
        unavailable: choice.unavailable.as_str().into(),
    }
}

fn line_rows(lines: &[Line]) -> Vec<LineRow> {
    lines
        .iter()
        .map(|line| LineRow {
            label: line.label.as_str().into(),
            value: line.value.as_str().into(),
            held: line.held.as_str().into(),
            edit: line.edit.as_str().into(),
        })
        .collect()
}

/// The rows between two sentences; an empty sentence has no row.
fn with_sentences(before: &str, lines: &[Line], after: &str) -> Vec<LineRow> {
    let sentence = |text: &str| LineRow {
        value: text.into(),
        ..LineRow::default()
    };
    let mut rows = vec![sentence(before)];
    rows.extend(line_rows(lines));
    rows.push(sentence(after));
    rows.retain(|row| !row.value.is_empty());
    rows
}

/// A paragraph is a row without a label.
fn paragraph_rows(paragraphs: &[String]) -> Vec<LineRow> {
    paragraphs
        .iter()
        .map(|text| LineRow {
            value: text.into(),
            ..LineRow::default()
        })
        .collect()
}

fn image(picture: &Picture) -> Image {
    let expected = u64::from(picture.width) * u64::from(picture.height) * 3;
    if picture.rgb.is_empty() || u64::try_from(picture.rgb.len()) != Ok(expected) {
        return Image::default();
    }
    Image::from_rgb8(SharedPixelBuffer::<Rgb8Pixel>::clone_from_slice(
        &picture.rgb,
        picture.width,
        picture.height,
    ))
}

/// Compares by identity first: a camera frame is never equal to another, a taken picture is shown many times.
fn is_same_picture(one: Option<&Picture>, other: Option<&Picture>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(&one.rgb, &other.rgb),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn empty<T: Clone + 'static>() -> ModelRc<T> {
    ModelRc::from(Rc::new(VecModel::<T>::default()))
}

/// Makes `model` equal to `rows` and touches no row that is equal already.
fn fill<T: Clone + PartialEq + 'static>(
    model: &ModelRc<T>,
    rows: impl ExactSizeIterator<Item = T>,
) {
    let Some(model) = model.as_any().downcast_ref::<VecModel<T>>() else {
        // `prepare` has put a `VecModel` behind every list.
        return;
    };
    let count = rows.len();
    for (index, row) in rows.enumerate() {
        match model.row_data(index) {
            Some(shown) if shown == row => {}
            Some(_) => model.set_row_data(index, row),
            None => model.push(row),
        }
    }
    while model.row_count() > count {
        model.remove(model.row_count() - 1);
    }
}

fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// How a row of two texts is measured. Not side by side when the label has the whole width.
struct RowMeasure {
    label_ems: f32,
    value_ems: f32,
    padding_lines: f32,
}

impl RowMeasure {
    /// Height in lines of text.
    fn height(&self, row: &LineRow) -> f32 {
        let label = lines_of(&row.label, self.label_ems);
        let value = lines_of(&row.value, self.value_ems).max(lines_of(&row.held, self.value_ems));
        let is_stacked = self.label_ems >= self.value_ems;
        let lines = if is_stacked {
            label + value
        } else {
            label.max(value)
        };
        // Rows have few lines; the cast is exact.
        f32::from(i16::try_from(lines).unwrap_or(i16::MAX)) + self.padding_lines
    }
}

/// Lines that `text` needs in a column of `width_ems`; none for an empty text.
///
/// Errs on the side of more: a line too many is space, one too few is a clipped word.
fn lines_of(text: &str, width_ems: f32) -> i32 {
    if text.is_empty() || width_ems < 1.0 {
        return 0;
    }
    let mut lines = 0;
    for paragraph in text.split('\n') {
        lines += 1;
        let mut used = 0.0;
        for character in paragraph.chars() {
            let width = if is_wide(character) { 1.0 } else { NARROW_EMS };
            if used + width > width_ems {
                lines += 1;
                used = 0.0;
            }
            used += width;
        }
    }
    lines
}

/// Characters as wide as they are high: everything from the CJK radicals on, as far as names and addresses need it.
fn is_wide(character: char) -> bool {
    character >= '\u{2e80}'
}

/// The page, from 0, on which `row` falls when pages of `page_lines` are filled from the first row on.
fn page_of(heights: impl Iterator<Item = f32>, row: usize, page_lines: f32) -> i32 {
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

    #[test]
    fn filling_touches_only_rows_that_differ() {
        let model = ModelRc::from(Rc::new(VecModel::from(vec![1, 2, 3])));
        fill(&model, [1, 5].into_iter());
        assert_eq!(model.iter().collect::<Vec<_>>(), [1, 5]);
        fill(&model, [1, 5, 7, 8].into_iter());
        assert_eq!(model.iter().collect::<Vec<_>>(), [1, 5, 7, 8]);
    }

    #[test]
    fn a_picture_with_too_few_bytes_is_no_picture() {
        let picture = Picture {
            width: 4,
            height: 4,
            rgb: Arc::new(vec![0; 47]),
        };
        assert_eq!(image(&picture).size().width, 0);
        let picture = Picture {
            width: 4,
            height: 4,
            rgb: Arc::new(vec![0; 48]),
        };
        assert_eq!(image(&picture).size().width, 4);
    }
}
