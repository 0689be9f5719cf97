//! [`View`] -> properties of the adapter; the only file that sets a property.
//!
//! A row, picture or property is set only when it differs from what is shown, so that a tick of the clock or a frame
//! of the camera repaints no more than itself. Remembers nothing but the view on the glass.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use slint::{
    Color, ComponentHandle, Image, Model, ModelRc, Rgb8Pixel, SharedPixelBuffer, SharedString,
    VecModel, select_bundled_translation,
};

use crate::UiError;
use crate::code;
#[cfg(any(feature = "window", feature = "probe"))]
use crate::finger;
use crate::glass::{
    AppWindow, ChoiceRow, ContrastChoice, EntryKind, EntryRow, KeypadKind, KioskAdapter,
    LanguageChoice, LineRow, MarkState, OutcomeState, PaperState, PatternKind, PictureRow,
    ReadingState, SizeChoice,
};
use crate::measure::{RowMeasure, entries_height, highest_entry, lines_of, page_of, shape, span};
use crate::view::{
    Choice, Contrast, Frame, Keypad, Language, Line, Mark, Outcome, Paper, Pattern, Picture,
    Reading, Screen, StaffPage, StaffRow, TextSize, View,
};

/// Folder of each translation under `lang/`; the source language has none.
const TRADITIONAL: &str = "zh_HK";
const ENGLISH: &str = "en";

/// Buttons a page for staff has room for in the largest texts. Chosen.
const BUTTONS_MAX: usize = 5;

/// How much of the ink of a pattern's words is seen. Chosen: to be read from near, and no spot from afar.
const WHISPER_ALPHA: u8 = 120;

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
    prepare_entries(&adapter);
    SHOWN.set(None);
    for language in [TRADITIONAL, ENGLISH, ""] {
        select_bundled_translation(language).map_err(|_| UiError::Texts)?;
    }
    Ok(())
}

/// Gives the adapter the entries of staff pages and their measures.
///
/// The rows on the glass are read from the model one by one, so that a changed figure repaints one row and a finger on
/// another is not lost.
fn prepare_entries(adapter: &Adapter<'_>) {
    adapter.set_cells(empty());
    let entries: ModelRc<EntryRow> = empty();
    adapter.set_entries(entries.clone());
    adapter.on_entry_shape(|entry, measure| shape(&entry, &measure));
    let rows = move |first: i32| -> Vec<EntryRow> {
        let first = usize::try_from(first).unwrap_or(0);
        entries.iter().skip(first).collect()
    };
    let all = rows.clone();
    adapter.on_entries_height(move |_, first, measure| {
        entries_height(all(first).into_iter(), &measure)
    });
    let all = rows.clone();
    adapter
        .on_highest_entry(move |_, first, measure| highest_entry(all(first).into_iter(), &measure));
    adapter.on_entry_span(move |_, first, page, measure, height, pager_height| {
        let mut span = span(
            rows(first).into_iter(),
            page,
            &measure,
            height,
            pager_height,
        );
        span.first += first;
        span
    });
}

/// Puts `view` on the glass.
pub(crate) fn show(window: &AppWindow, view: View) {
    let adapter = window.global::<Adapter<'_>>();
    #[cfg(any(feature = "window", feature = "probe"))]
    finger::correct(view.frame.correction);
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
        adapter.set_place(view.screen.place().into());
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
        Screen::Staff(page) => format!("{}/{}", page.name, page.title),
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
    person: &'a str,
    seconds_left: Option<u32>,
    entries: Vec<EntryRow>,
    sentence_count: usize,
    qr: Option<&'a str>,
    pattern: Option<&'a Pattern>,
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
    show_entries(adapter, &next, &before);
    show_pattern(adapter, next.pattern.unwrap_or(&Pattern::None));
    if next.qr != before.qr {
        let drawn = next.qr.and_then(code::draw);
        adapter.set_has_qr(next.qr.is_some());
        let (image, modules) = drawn.unwrap_or_default();
        adapter.set_qr(image);
        adapter.set_qr_modules(whole(modules));
    }
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

fn show_entries(adapter: &Adapter<'_>, next: &Page<'_>, before: &Page<'_>) {
    if next.entries == before.entries && next.sentence_count == before.sentence_count {
        return;
    }
    fill(&adapter.get_entries(), next.entries.iter().cloned());
    adapter.set_sentence_count(i32::try_from(next.sentence_count).unwrap_or(i32::MAX));
    adapter.set_entries_version(adapter.get_entries_version().wrapping_add(1));
}

fn show_pattern(adapter: &Adapter<'_>, pattern: &Pattern) {
    let (kind, cells, columns): (_, &[bool], _) = match pattern {
        Pattern::None => (PatternKind::None, &[], 1),
        Pattern::Color([red, green, blue]) => {
            let is_light = u32::from(*red) * 3 + u32::from(*green) * 6 + u32::from(*blue) > 1275;
            let ink = if is_light { 0 } else { u8::MAX };
            adapter.set_pattern_color(Color::from_rgb_u8(*red, *green, *blue));
            adapter.set_pattern_ink(Color::from_argb_u8(WHISPER_ALPHA, ink, ink, ink));
            (PatternKind::Color, &[], 1)
        }
        Pattern::Grid { columns, touched } => (PatternKind::Grid, touched, *columns),
        Pattern::Cross {
            x_permille,
            y_permille,
        } => {
            adapter.set_cross_x(whole(*x_permille));
            adapter.set_cross_y(whole(*y_permille));
            (PatternKind::Cross, &[], 1)
        }
    };
    #[cfg(any(feature = "window", feature = "probe"))]
    finger::measure(matches!(pattern, Pattern::Cross { .. }));
    fill(&adapter.get_cells(), cells.iter().copied());
    adapter.set_pattern_columns(whole(columns));
    adapter.set_pattern(kind);
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
    adapter.set_person(page.person.into());
    let time_left = page.seconds_left.map(minutes_and_seconds);
    adapter.set_time_left(time_left.unwrap_or_default().into());
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
        Screen::Staff(page) => staff_page(page),
    }
}

/// A page for staff: sentences, rows and what is left of the buttons become the entries of one list.
fn staff_page(page: &StaffPage) -> Page<'_> {
    let (buttons, others) = page.actions.split_at(page.actions.len().min(BUTTONS_MAX));
    let mut entries = sentence_entries(page);
    let sentence_count = entries.len();
    for section in &page.sections {
        if !section.title.is_empty() {
            entries.push(entry(EntryKind::Heading, &section.title));
        }
        entries.extend(section.rows.iter().map(row_entry));
    }
    // One that cannot be chosen is no row to touch; it says why.
    entries.extend(others.iter().map(|action| EntryRow {
        id: if action.unavailable.is_empty() {
            action.id.as_str().into()
        } else {
            SharedString::new()
        },
        detail: if action.unavailable.is_empty() {
            action.detail.as_str().into()
        } else {
            action.unavailable.as_str().into()
        },
        ..entry(EntryKind::Row, &action.label)
    }));
    Page {
        title: &page.title,
        message: &page.intro,
        error: &page.warning,
        reading: if page.is_busy {
            Reading::Busy
        } else {
            Reading::Waiting
        },
        ways: buttons,
        value: &page.value,
        keypad: page.keypad,
        taken: page.picture.as_ref(),
        picture_name: &page.drawing,
        person: &page.person,
        seconds_left: page.seconds_left,
        entries,
        sentence_count,
        qr: page.code.as_deref(),
        pattern: Some(&page.pattern),
        ..Page::default()
    }
}

/// What is wrong and what to do, one entry a sentence: so large that they are paged, they break at their ends.
fn sentence_entries(page: &StaffPage) -> Vec<EntryRow> {
    let mut entries = Vec::new();
    if !page.warning.is_empty() {
        entries.push(entry(EntryKind::Warning, &page.warning));
    }
    let sentences = page.intro.split_inclusive(['。', '！', '？', '\n']);
    let sentences = sentences.map(str::trim).filter(|text| !text.is_empty());
    entries.extend(sentences.map(|text| entry(EntryKind::Sentence, text)));
    entries
}

fn entry(kind: EntryKind, label: &str) -> EntryRow {
    EntryRow {
        kind,
        label: label.into(),
        ..EntryRow::default()
    }
}

fn row_entry(row: &StaffRow) -> EntryRow {
    EntryRow {
        id: row.id.as_str().into(),
        value: row.value.as_str().into(),
        detail: row.detail.as_str().into(),
        mark: match row.mark {
            Mark::None => MarkState::None,
            Mark::Good => MarkState::Good,
            Mark::Caution => MarkState::Caution,
            Mark::Bad => MarkState::Bad,
            Mark::Unknown => MarkState::Unknown,
        },
        ..entry(EntryKind::Row, &row.label)
    }
}

/// `04:05`, and with hours in front where there are any.
fn minutes_and_seconds(seconds: u32) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes:02}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
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
        is_quiet: choice.is_quiet,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_in_minutes_and_in_hours() {
        assert_eq!(minutes_and_seconds(0), "00:00");
        assert_eq!(minutes_and_seconds(245), "04:05");
        assert_eq!(minutes_and_seconds(480 * 60), "8:00:00");
    }

    #[test]
    fn buttons_without_room_become_rows() {
        let action = |id: usize| Choice {
            id: format!("act-{id}"),
            label: format!("第 {id} 个"),
            unavailable: if id == 7 {
                "需要纸".into()
            } else {
                String::new()
            },
            ..Choice::default()
        };
        let page = StaffPage {
            intro: "先关机。再开机！".into(),
            actions: (0..8).map(action).collect(),
            ..StaffPage::default()
        };
        let page = staff_page(&page);
        assert_eq!(page.ways.len(), BUTTONS_MAX);
        assert_eq!(page.sentence_count, 2);
        let ids: Vec<&str> = page.entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["", "", "act-5", "act-6", ""]);
        assert_eq!(page.entries[4].detail, "需要纸");
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
