//! Calibrations by hand: where the glass feels a finger, which part of the camera's picture is the
//! tray, where on the paper the printer begins, how surely the scanner reads. Each ends with values
//! that are kept; nothing is kept before somebody says so.

use std::sync::Arc;
use std::time::Duration;

use kiosk_device::{DeviceClass, Sensitive};
use kiosk_ui::{Mark, Pattern, Picture, StaffPage, StaffSection, Touch};
use serde_json::json;

use super::ids::{Button, Calibration, Id, Plain};
use super::menu::{action, fact};
use super::{Hand, Leaf, Mode, Reader, Sight};
use crate::event::{Effect, Ending, Event, Lens, PrintNews, Ticket};
use crate::problem;
use crate::selftest::Probe;
use crate::words::{Lang, fill, text};
use crate::workbench::Act;

/// Fields of the glass, as many as the touch test has. Chosen: a field is as large as a finger aims.
const COLUMNS: u32 = 6;
const ROWS: u32 = 10;
/// The fields to be touched: near each corner and the middle.
const TARGETS: [u32; 5] = [7, 10, 27, 49, 52];
/// How far an edge of the camera's crop moves at a touch, and how far at most, in thousandths.
const CROP_STEP: u32 = 20;
const CROP_MAX: u32 = 400;
/// How far the print moves at a touch, and how far at most, in tenths of a millimeter.
const OFFSET_STEP: i32 = 5;
const OFFSET_MAX: i32 = 100;
/// How often the scanner has to read. Chosen: a median of three is no accident.
const READS: usize = 3;
/// What the codes of this page begin with.
const CODE: &str = "KIOSK-CAL-";

/// A calibration on its way.
#[derive(Debug)]
pub(super) struct Calibrating {
    work: Work,
    /// What is wrong; empty while nothing is.
    code: &'static str,
}

#[derive(Debug)]
enum Work {
    Touch {
        /// Fields that were touched for each target so far.
        hits: Vec<u32>,
    },
    CameraCrop {
        stream: Option<Ticket>,
        live: Option<Picture>,
        /// Left, upper, right and lower margin in thousandths.
        margins: [u32; 4],
        /// Which of them moves.
        edge: usize,
    },
    PrintOffset {
        /// To the right and down, in tenths of a millimeter.
        offset: [i32; 2],
        print: Option<Ticket>,
        has_printed: bool,
    },
    Scanner {
        scan: Option<Ticket>,
        since: Duration,
        /// How long each reading took, in milliseconds.
        times: Vec<u64>,
    },
}

impl Calibrating {
    fn new(what: Calibration, now: Duration) -> Self {
        let work = match what {
            Calibration::Touch => Work::Touch { hits: Vec::new() },
            Calibration::CameraCrop => Work::CameraCrop {
                stream: None,
                live: None,
                margins: [0; 4],
                edge: 0,
            },
            Calibration::PrintOffset => Work::PrintOffset {
                offset: [0; 2],
                print: None,
                has_printed: false,
            },
            Calibration::Scanner => Work::Scanner {
                scan: None,
                since: now,
                times: Vec::new(),
            },
        };
        Self { work, code: "" }
    }

    /// Asks the device for what the page needs, where it is not already on its way.
    fn begin(&mut self, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        match &mut self.work {
            Work::CameraCrop {
                stream: stream @ None,
                ..
            } => {
                let ticket = hand.ticket();
                *stream = Some(ticket);
                hand.effects.push(Effect::Stream(ticket, Lens::Document));
            }
            Work::Scanner {
                scan: scan @ None,
                since,
                times,
            } if times.len() < READS => {
                if hand.sight.reader == Reader::Scanner {
                    let ticket = hand.ticket();
                    *scan = Some(ticket);
                    *since = now;
                    hand.effects.push(Effect::Scan(ticket));
                } else {
                    self.code = "qr-scanner.no-device";
                }
            }
            Work::Touch { .. }
            | Work::CameraCrop { .. }
            | Work::PrintOffset { .. }
            | Work::Scanner { .. } => {}
        }
    }

    /// Lets go of the devices.
    pub(super) fn stop(&mut self, hand: &mut Hand<'_>) {
        let open = match &mut self.work {
            Work::Touch { .. } => None,
            Work::CameraCrop { stream, .. } => stream.take(),
            Work::PrintOffset { print, .. } => print.take(),
            Work::Scanner { scan, .. } => scan.take(),
        };
        hand.effects.extend(open.map(Effect::Cancel));
    }

    fn event(&mut self, event: &Event, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        match (&mut self.work, event) {
            (Work::Touch { hits }, Event::Touch(Touch::Choose(id))) => {
                let cell = id.strip_prefix("cell-").and_then(|cell| cell.parse().ok());
                if let Some(cell) = cell.filter(|cell| *cell < COLUMNS * ROWS)
                    && hits.len() < TARGETS.len()
                {
                    hits.push(cell);
                }
            }
            (
                Work::CameraCrop {
                    stream: Some(stream),
                    live,
                    ..
                },
                Event::Frame(ticket, frame),
            ) if stream == ticket => *live = Some(frame.preview.clone()),
            (Work::CameraCrop { stream, .. }, Event::CameraEnded(ticket, ending))
                if *stream == Some(*ticket) =>
            {
                *stream = None;
                self.ended(*ending, hand);
            }
            (
                Work::PrintOffset {
                    print, has_printed, ..
                },
                Event::Print(ticket, news),
            ) if *print == Some(*ticket) => match news {
                PrintNews::Presented => {
                    *print = None;
                    *has_printed = true;
                }
                PrintNews::Stopped(code) => self.code = code,
                PrintNews::Failed(code) => {
                    *print = None;
                    self.code = code;
                }
                PrintNews::Progress(_) | PrintNews::Resumed => self.code = "",
                PrintNews::Taken => {}
            },
            (Work::Scanner { scan, since, times }, Event::Code(ticket, code))
                if *scan == Some(*ticket) =>
            {
                *scan = None;
                let took = now.saturating_sub(*since).as_millis();
                if is_ours(code, times.len()) {
                    times.push(u64::try_from(took).unwrap_or(u64::MAX));
                    self.code = "";
                } else {
                    self.code = "session.unknown-code";
                }
                self.begin(hand);
            }
            (Work::Scanner { scan, .. }, Event::CodeEnded(ticket, ending))
                if *scan == Some(*ticket) =>
            {
                *scan = None;
                self.ended(*ending, hand);
            }
            _ => {}
        }
    }

    fn ended(&mut self, ending: Ending, hand: &mut Hand<'_>) {
        match ending {
            Ending::TimeOut => self.begin(hand),
            Ending::Canceled => {}
            Ending::Failed(code) => self.code = code,
        }
    }

    /// A button of the page. True when the values are to be kept.
    fn pressed(&mut self, plain: Plain, hand: &mut Hand<'_>) -> bool {
        self.code = "";
        match (&mut self.work, plain) {
            (_, Plain::Save) => return self.values().is_some(),
            (Work::Touch { hits }, Plain::Again) => hits.clear(),
            (Work::CameraCrop { edge, .. }, Plain::Next) => *edge = (*edge + 1) % 4,
            (Work::CameraCrop { margins, edge, .. }, Plain::More) => {
                margins[*edge] = (margins[*edge] + CROP_STEP).min(CROP_MAX);
            }
            (Work::CameraCrop { margins, edge, .. }, Plain::Less) => {
                margins[*edge] = margins[*edge].saturating_sub(CROP_STEP);
            }
            (Work::PrintOffset { offset, .. }, Plain::Less) => shift(&mut offset[0], -OFFSET_STEP),
            (Work::PrintOffset { offset, .. }, Plain::More) => shift(&mut offset[0], OFFSET_STEP),
            (Work::PrintOffset { offset, .. }, Plain::Up) => shift(&mut offset[1], -OFFSET_STEP),
            (Work::PrintOffset { offset, .. }, Plain::Down) => shift(&mut offset[1], OFFSET_STEP),
            (
                Work::PrintOffset {
                    print: print @ None,
                    ..
                },
                Plain::Again,
            ) => {
                let ticket = hand.ticket();
                *print = Some(ticket);
                let code = format!("{CODE}{}", ticket.0);
                hand.effects
                    .push(Effect::Probe(ticket, Probe::TestSlip { code }));
            }
            (Work::CameraCrop { stream: None, .. }, Plain::Again) => self.begin(hand),
            (Work::Scanner { times, scan, .. }, Plain::Again) => {
                times.clear();
                if scan.is_none() {
                    self.begin(hand);
                }
            }
            _ => {}
        }
        false
    }

    /// What was found; `None` before there is anything to keep.
    fn values(&self) -> Option<(Calibration, String)> {
        let (what, values) = match &self.work {
            Work::Touch { hits } if hits.len() == TARGETS.len() => {
                let (right, down) = touch_offset(hits);
                let values = json!({
                    "columns": COLUMNS, "rows": ROWS,
                    "right-fields": right, "down-fields": down,
                });
                (Calibration::Touch, values)
            }
            Work::CameraCrop { margins, .. } => {
                let [left, top, right, bottom] = margins;
                let values = json!({
                    "left-permille": left, "top-permille": top,
                    "right-permille": right, "bottom-permille": bottom,
                });
                (Calibration::CameraCrop, values)
            }
            Work::PrintOffset { offset, .. } => {
                let [right, down] = offset;
                let values = json!({ "right-tenth-mm": right, "down-tenth-mm": down });
                (Calibration::PrintOffset, values)
            }
            Work::Scanner { times, .. } if times.len() >= READS => {
                let values = json!({ "reads": times.len(), "median-ms": median(times) });
                (Calibration::Scanner, values)
            }
            Work::Touch { .. } | Work::Scanner { .. } => return None,
        };
        Some((what, values.to_string()))
    }

    pub(super) fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let mut page = StaffPage {
            name: "calibration".to_owned(),
            ..StaffPage::default()
        };
        match &self.work {
            Work::Touch { hits } => touch_page(&mut page, hits, lang),
            Work::CameraCrop {
                live,
                margins,
                edge,
                ..
            } => crop_page(&mut page, live.as_ref(), *margins, *edge, lang),
            Work::PrintOffset {
                offset,
                print,
                has_printed,
            } => {
                page.is_busy = print.is_some();
                offset_page(&mut page, *offset, *has_printed, lang);
            }
            Work::Scanner { times, .. } => scanner_page(&mut page, times, lang),
        }
        if !self.code.is_empty() {
            let problem = problem::get(self.code);
            page.warning = format!("{} {}", problem.title(lang), problem.advice(lang));
        }
        if self.values().is_some() {
            let save = Id::Act(Button::Plain(Plain::Save));
            page.actions.push(action(&save, text(lang, "staff.save")));
        }
        page
    }
}

/// The code on the glass is this one; each is another one, so that one reading is not counted twice.
fn code_text(index: usize) -> String {
    format!("{CODE}{}", index + 1)
}

fn is_ours(code: &Sensitive<String>, index: usize) -> bool {
    *code.expose() == code_text(index)
}

fn shift(value: &mut i32, by: i32) {
    *value = (*value + by).clamp(-OFFSET_MAX, OFFSET_MAX);
}

fn median(times: &[u64]) -> u64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// How far fingers are felt to the right of and below where they were, in fields, on the mean.
fn touch_offset(hits: &[u32]) -> (f64, f64) {
    let (mut right, mut down) = (0.0, 0.0);
    for (hit, target) in hits.iter().zip(TARGETS) {
        right += f64::from(hit % COLUMNS) - f64::from(target % COLUMNS);
        down += f64::from(hit / COLUMNS) - f64::from(target / COLUMNS);
    }
    let count = f64::from(u32::try_from(hits.len().max(1)).unwrap_or(1));
    let rounded = |sum: f64| (sum / count * 100.0).round() / 100.0;
    (rounded(right), rounded(down))
}

fn touch_page(page: &mut StaffPage, hits: &[u32], lang: Lang) {
    text(lang, "staff.cal-touch").clone_into(&mut page.title);
    if let Some(target) = TARGETS.get(hits.len()) {
        text(lang, "staff.cal-touch-how").clone_into(&mut page.intro);
        // The one empty field is the one to be touched.
        page.pattern = Pattern::Grid {
            columns: COLUMNS,
            touched: (0..COLUMNS * ROWS).map(|cell| cell != *target).collect(),
        };
        return;
    }
    let (right, down) = touch_offset(hits);
    let is_true = right == 0.0 && down == 0.0;
    let mark = if is_true { Mark::Good } else { Mark::Caution };
    let rows = vec![
        fact(text(lang, "staff.cal-right"), right.to_string(), mark),
        fact(text(lang, "staff.cal-down"), down.to_string(), mark),
    ];
    text(lang, "staff.cal-touch-done").clone_into(&mut page.intro);
    page.sections.push(StaffSection {
        rows,
        ..StaffSection::default()
    });
    again(page, "staff.again", lang);
}

fn crop_page(
    page: &mut StaffPage,
    live: Option<&Picture>,
    margins: [u32; 4],
    edge: usize,
    lang: Lang,
) {
    const EDGES: [&str; 4] = [
        "staff.edge-left",
        "staff.edge-top",
        "staff.edge-right",
        "staff.edge-bottom",
    ];
    text(lang, "staff.cal-crop").clone_into(&mut page.title);
    let edge = text(lang, EDGES[edge % EDGES.len()]);
    page.intro = fill(lang, "staff.cal-crop-how", &[("edge", edge)]);
    page.picture = live.map(|picture| framed(picture, margins));
    page.is_busy = live.is_none();
    let own = |plain| Id::Act(Button::Plain(plain));
    page.actions = vec![
        action(&own(Plain::More), text(lang, "staff.inwards")),
        action(&own(Plain::Less), text(lang, "staff.outwards")),
        action(&own(Plain::Next), text(lang, "staff.next-edge")),
    ];
}

/// A line around what stays of the picture, drawn into a copy of it.
fn framed(picture: &Picture, margins: [u32; 4]) -> Picture {
    const LINE: [u8; 3] = [255, 0, 0];
    let (width, height) = (picture.width, picture.height);
    let part = |length: u32, permille: u32| {
        u32::try_from(u64::from(length) * u64::from(permille) / 1000).unwrap_or(0)
    };
    let (left, top) = (part(width, margins[0]), part(height, margins[1]));
    let right = width.saturating_sub(part(width, margins[2]) + 1);
    let bottom = height.saturating_sub(part(height, margins[3]) + 1);
    let mut rgb = picture.rgb.as_ref().clone();
    let mut dot = |x: u32, y: u32| {
        let index = (u64::from(y) * u64::from(width) + u64::from(x)) * 3;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(pixel) = rgb.get_mut(index..index.saturating_add(3)) {
            pixel.copy_from_slice(&LINE);
        }
    };
    // Three pixels wide, inwards.
    for inset in 0..3 {
        for x in left..=right {
            dot(x, top.saturating_add(inset));
            dot(x, bottom.saturating_sub(inset));
        }
        for y in top..=bottom {
            dot(left.saturating_add(inset), y);
            dot(right.saturating_sub(inset), y);
        }
    }
    Picture {
        rgb: Arc::new(rgb),
        ..*picture
    }
}

fn offset_page(page: &mut StaffPage, offset: [i32; 2], has_printed: bool, lang: Lang) {
    text(lang, "staff.cal-print").clone_into(&mut page.title);
    let how = if has_printed {
        "staff.cal-print-look"
    } else {
        "staff.cal-print-how"
    };
    text(lang, how).clone_into(&mut page.intro);
    let millimeters = |tenths: i32| format!("{:.1} mm", f64::from(tenths) / 10.0);
    page.sections.push(StaffSection {
        rows: vec![
            fact(
                text(lang, "staff.cal-right"),
                millimeters(offset[0]),
                Mark::None,
            ),
            fact(
                text(lang, "staff.cal-down"),
                millimeters(offset[1]),
                Mark::None,
            ),
        ],
        ..StaffSection::default()
    });
    again(page, "staff.cal-print-test", lang);
    let own = |plain| Id::Act(Button::Plain(plain));
    page.actions.extend([
        action(&own(Plain::Less), text(lang, "staff.leftwards")),
        action(&own(Plain::More), text(lang, "staff.rightwards")),
        action(&own(Plain::Up), text(lang, "staff.upwards")),
        action(&own(Plain::Down), text(lang, "staff.downwards")),
    ]);
}

fn scanner_page(page: &mut StaffPage, times: &[u64], lang: Lang) {
    text(lang, "staff.cal-scanner").clone_into(&mut page.title);
    if times.len() < READS {
        text(lang, "staff.cal-scanner-how").clone_into(&mut page.intro);
        page.code = Some(code_text(times.len()));
    } else {
        text(lang, "staff.cal-scanner-done").clone_into(&mut page.intro);
        again(page, "staff.again", lang);
    }
    let rows = times
        .iter()
        .enumerate()
        .map(|(index, took)| {
            let label = (index + 1).to_string();
            fact(&label, format!("{took} ms"), Mark::Good)
        })
        .collect();
    page.sections.push(StaffSection {
        rows,
        ..StaffSection::default()
    });
}

fn again(page: &mut StaffPage, key: &str, lang: Lang) {
    let again = Id::Act(Button::Plain(Plain::Again));
    page.actions.push(action(&again, text(lang, key)));
}

impl Mode {
    pub(super) fn begin_calibration(&mut self, what: Calibration, hand: &mut Hand<'_>) {
        self.leave_leaf(hand);
        let mut calibrating = Calibrating::new(what, hand.uptime());
        let needs = match what {
            Calibration::PrintOffset => Some(DeviceClass::SlipPrinter),
            Calibration::CameraCrop => Some(DeviceClass::Camera),
            Calibration::Touch | Calibration::Scanner => None,
        };
        let is_here = |wanted: DeviceClass| {
            let mut devices = hand.sight.devices.values();
            devices.any(|(class, _)| *class == wanted)
        };
        if needs.is_some_and(|class| !is_here(class)) {
            calibrating.code = "device.not-there";
        } else {
            calibrating.begin(hand);
        }
        self.open(Leaf::Calibration(Box::new(calibrating)), hand);
    }

    pub(super) fn calibration_event(&mut self, event: &Event, hand: &mut Hand<'_>) {
        if let Some(Leaf::Calibration(calibrating)) = self.leaves.last_mut() {
            calibrating.event(event, hand);
        }
    }

    pub(super) fn calibration_pressed(&mut self, plain: Plain, hand: &mut Hand<'_>) {
        let Some(Leaf::Calibration(calibrating)) = self.leaves.last_mut() else {
            return;
        };
        if !calibrating.pressed(plain, hand) {
            return;
        }
        if let Some((what, values)) = calibrating.values() {
            let what = what.word();
            calibrating.stop(hand);
            self.leaves.pop();
            self.act(Act::Calibrate { what, values }, hand);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingers_that_are_felt_where_they_are_need_no_correction() {
        assert_eq!(touch_offset(&TARGETS), (0.0, 0.0));
        let all_one_lower = TARGETS.map(|cell| cell + COLUMNS);
        assert_eq!(touch_offset(&all_one_lower), (0.0, 1.0));
        let two_of_five_right = [TARGETS[0] + 1, TARGETS[1] + 1, 27, 49, 52];
        assert_eq!(touch_offset(&two_of_five_right), (0.4, 0.0));
    }

    #[test]
    fn a_frame_around_any_picture_stays_inside_it() {
        for (width, height) in [(0, 0), (1, 1), (3, 2), (40, 30)] {
            let bytes = usize::try_from(width * height * 3).unwrap();
            let picture = Picture {
                width,
                height,
                rgb: Arc::new(vec![7; bytes]),
            };
            for margins in [[0; 4], [CROP_MAX; 4], [400, 0, 400, 20]] {
                let framed = framed(&picture, margins);
                assert_eq!(framed.rgb.len(), bytes);
                let is_changed = framed.rgb != picture.rgb;
                assert_eq!(is_changed, bytes > 0, "{width}x{height}");
            }
        }
    }

    #[test]
    fn the_middle_of_the_readings_counts() {
        assert_eq!(median(&[900, 100, 200]), 200);
        assert_eq!(median(&[]), 0);
    }
}
