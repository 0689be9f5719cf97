//! Calibrations by hand: where the glass feels a finger, which part of the camera's picture is the
//! tray, where on the paper the printers begin; and a measurement of how surely the scanner reads. Each
//! begins with what is in force and ends with values that are kept; nothing is kept before somebody says
//! so, and a correction of the glass only by a finger that it lets touch the button.

use std::sync::Arc;
use std::time::Duration;

use kiosk_camera::Crop;
use kiosk_device::{DeviceClass, Sensitive};
use kiosk_documents::Offset;
use kiosk_ui::{Correction, Mark, Pattern, Picture, StaffPage, StaffSection, Touch};

use super::ids::{Button, Calibration, Id, Plain};
use super::menu::{action, fact};
use super::{Hand, Leaf, Mode, Reader, Sight};
use crate::calibration::{
    Calibrated, CalibrationError, Hit, Reads, TouchFit, page_offset, slip_offset,
};
use crate::event::{Effect, Ending, Event, Lens, PrintNews, Ticket};
use crate::problem;
use crate::selftest::Probe;
use crate::words::{Lang, fill, text};
use crate::workbench::Act;

/// The crosses to be touched, in thousandths of the glass: near each corner and in the middle.
const CROSSES: [(u32, u32); 5] = [(100, 100), (900, 100), (500, 500), (100, 900), (900, 900)];
/// How long a correction may be tried before the one before it is back. Specified.
const TRY_LIMIT: Duration = Duration::from_secs(15);
/// How far an edge of the camera's crop moves at a touch, in thousandths.
const CROP_STEP: u32 = 20;
/// How far a page moves at a touch, in tenths of a millimeter.
const OFFSET_STEP: i32 = 5;
/// How far a slip moves at a touch, in dots: half a millimeter.
const SLIP_STEP: i32 = 4;
/// Codes that the scanner is shown. Chosen: a median of three is no accident.
const READS: usize = 3;
/// How long a code is shown until it counts as not read. Chosen: three times what a hand takes.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// A median above this wants a look at the scanner, in milliseconds. Chosen: a hand that photographs a
/// code and holds it still needs some seconds.
const SLOW_MS: u64 = 10_000;
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
    Touch(Touching),
    CameraCrop {
        stream: Option<Ticket>,
        live: Option<Picture>,
        /// Left, upper, right and lower margin in thousandths.
        margins: [u32; 4],
        /// Which of them moves.
        edge: usize,
    },
    Printing {
        moved: Moved,
        print: Option<Ticket>,
        has_printed: bool,
    },
    Scanner {
        scan: Option<Ticket>,
        since: Duration,
        /// How long each reading took, in milliseconds; `None` where it was not read in time.
        times: Vec<Option<u64>>,
    },
}

/// How far the measuring of the glass is.
#[derive(Debug)]
enum Touching {
    /// Where the fingers were felt so far, in shares of the glass.
    Measuring(Vec<(f64, f64)>),
    /// Nothing came of it.
    Refused,
    /// It is in force, until somebody confirms it or this moment.
    Trying(TouchFit, Duration),
}

/// What is moved, and by how much.
#[derive(Clone, Copy, Debug)]
enum Moved {
    Page(Offset),
    Slip(i32),
}

impl Moved {
    fn by(self, plain: Plain) -> Result<Self, CalibrationError> {
        match (self, plain) {
            (Self::Page(offset), _) => {
                let (right, down) = match plain {
                    Plain::Less => (-OFFSET_STEP, 0),
                    Plain::More => (OFFSET_STEP, 0),
                    Plain::Up => (0, -OFFSET_STEP),
                    Plain::Down => (0, OFFSET_STEP),
                    Plain::Yes
                    | Plain::No
                    | Plain::Again
                    | Plain::Save
                    | Plain::Next
                    | Plain::Before
                    | Plain::Certificate => (0, 0),
                };
                page_offset(offset.right_tenth_mm + right, offset.down_tenth_mm + down)
                    .map(Self::Page)
            }
            (Self::Slip(dots), Plain::Less) => slip_offset(dots - SLIP_STEP).map(Self::Slip),
            (Self::Slip(dots), Plain::More) => slip_offset(dots + SLIP_STEP).map(Self::Slip),
            (Self::Slip(_), _) => Ok(self),
        }
    }

    /// What shows how far the paper is off.
    fn probe(self, code: String) -> Probe {
        match self {
            Self::Page(_) => Probe::TestPage { code },
            Self::Slip(_) => Probe::TestSlip { code },
        }
    }
}

impl Calibrating {
    fn new(what: Calibration, sight: &Sight<'_>) -> Self {
        let kept = sight.calibrations;
        let printing = |moved| Work::Printing {
            moved,
            print: None,
            has_printed: false,
        };
        let work = match what {
            Calibration::Touch => Work::Touch(Touching::Measuring(Vec::new())),
            Calibration::CameraCrop => Work::CameraCrop {
                stream: None,
                live: None,
                margins: kept.crop.map_or([0; 4], Crop::margins),
                edge: 0,
            },
            Calibration::PrintOffset => printing(Moved::Page(kept.page)),
            Calibration::SlipOffset => printing(Moved::Slip(kept.slip_dots)),
            Calibration::Scanner => Work::Scanner {
                scan: None,
                since: sight.now.uptime,
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
                hand.effects.push(Effect::Stream(ticket, Lens::WholeTray));
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
            Work::Touch(_)
            | Work::CameraCrop { .. }
            | Work::Printing { .. }
            | Work::Scanner { .. } => {}
        }
    }

    /// Lets go of the devices. A correction that is only tried ends with its page.
    pub(super) fn stop(&mut self, hand: &mut Hand<'_>) {
        let open = match &mut self.work {
            Work::Touch(touching) => {
                *touching = Touching::Refused;
                None
            }
            Work::CameraCrop { stream, .. } => stream.take(),
            Work::Printing { print, .. } => print.take(),
            Work::Scanner { scan, .. } => scan.take(),
        };
        hand.effects.extend(open.map(Effect::Cancel));
    }

    /// The correction that is being tried.
    pub(super) fn tried(&self) -> Option<Correction> {
        if let Work::Touch(Touching::Trying(fit, _)) = &self.work {
            return Some(fit.correction);
        }
        None
    }

    fn event(&mut self, event: &Event, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        match (&mut self.work, event) {
            (Work::Touch(_), Event::Touch(Touch::Felt { x, y })) => self.felt(*x, *y, now),
            (Work::Touch(touching), Event::Tick) => {
                if matches!(touching, Touching::Trying(_, until) if now >= *until) {
                    *touching = Touching::Refused;
                    self.code = "calibration.touch-not-confirmed";
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
            (Work::Printing { print, .. }, Event::Print(ticket, news))
                if *print == Some(*ticket) =>
            {
                self.printed(*news);
            }
            (Work::Scanner { .. }, _) => self.scanning(event, hand),
            _ => {}
        }
    }

    /// A finger under a cross. After the last one the correction is in force, to be tried.
    fn felt(&mut self, x: i32, y: i32, now: Duration) {
        let Work::Touch(touching) = &mut self.work else {
            return;
        };
        let Touching::Measuring(felt) = touching else {
            return;
        };
        felt.push((f64::from(x) / 10_000.0, f64::from(y) / 10_000.0));
        if felt.len() < CROSSES.len() {
            return;
        }
        let share = |permille: u32| f64::from(permille) / 1000.0;
        let hits: Vec<Hit> = CROSSES
            .iter()
            .zip(felt)
            .map(|((x, y), felt)| Hit {
                cross: (share(*x), share(*y)),
                felt: *felt,
            })
            .collect();
        match TouchFit::of(&hits) {
            Ok(fit) => *touching = Touching::Trying(fit, now + TRY_LIMIT),
            Err(error) => {
                *touching = Touching::Refused;
                self.code = error.code();
            }
        }
    }

    fn printed(&mut self, news: PrintNews) {
        let Work::Printing {
            print, has_printed, ..
        } = &mut self.work
        else {
            return;
        };
        match news {
            PrintNews::Presented => {
                *print = None;
                *has_printed = true;
                self.code = "";
            }
            PrintNews::Stopped(code) => self.code = code,
            PrintNews::Failed(code) => {
                *print = None;
                self.code = code;
            }
            PrintNews::Progress(_) | PrintNews::Resumed => self.code = "",
            PrintNews::Taken => {}
        }
    }

    fn scanning(&mut self, event: &Event, hand: &mut Hand<'_>) {
        let now = hand.uptime();
        let Work::Scanner { scan, since, times } = &mut self.work else {
            return;
        };
        if let Event::Code(ticket, code) = event {
            if *scan != Some(*ticket) {
                return;
            }
            *scan = None;
            let took = now.saturating_sub(*since).as_millis();
            if is_ours(code, times.len()) {
                times.push(Some(u64::try_from(took).unwrap_or(u64::MAX)));
                self.code = "";
            } else {
                self.code = "session.unknown-code";
            }
            self.begin(hand);
        } else if let Event::CodeEnded(ticket, ending) = event {
            if *scan == Some(*ticket) {
                *scan = None;
                self.ended(*ending, hand);
            }
        } else if matches!(event, Event::Tick) && scan.is_some() && now >= *since + READ_LIMIT {
            times.push(None);
            hand.effects.extend(scan.take().map(Effect::Cancel));
            self.begin(hand);
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
            (Work::Touch(touching), Plain::Again) => *touching = Touching::Measuring(Vec::new()),
            (Work::CameraCrop { edge, .. }, Plain::Next) => *edge = (*edge + 1) % 4,
            (Work::CameraCrop { margins, edge, .. }, Plain::More) => {
                let mut narrower = *margins;
                narrower[*edge] += CROP_STEP;
                match Crop::new(narrower) {
                    Some(crop) => *margins = crop.margins(),
                    None => self.code = CalibrationError::CropTooSmall.code(),
                }
            }
            (Work::CameraCrop { margins, edge, .. }, Plain::Less) => {
                margins[*edge] = margins[*edge].saturating_sub(CROP_STEP);
            }
            (Work::Printing { moved, .. }, Plain::Less | Plain::More | Plain::Up | Plain::Down) => {
                match moved.by(plain) {
                    Ok(further) => *moved = further,
                    Err(error) => self.code = error.code(),
                }
            }
            (
                Work::Printing {
                    moved,
                    print: print @ None,
                    ..
                },
                Plain::Again,
            ) => {
                let ticket = hand.ticket();
                *print = Some(ticket);
                let code = format!("{CODE}{}", ticket.0);
                hand.effects.push(Effect::Probe(ticket, moved.probe(code)));
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
    fn values(&self) -> Option<Calibrated> {
        match &self.work {
            Work::Touch(Touching::Trying(fit, _)) => Some(Calibrated::Touch(*fit)),
            Work::CameraCrop { margins, .. } => Crop::new(*margins).map(Calibrated::CameraCrop),
            Work::Printing { moved, .. } => Some(match moved {
                Moved::Page(offset) => Calibrated::PrintOffset(*offset),
                Moved::Slip(dots) => Calibrated::SlipOffset(*dots),
            }),
            Work::Scanner { times, .. } if times.len() >= READS => {
                Some(Calibrated::Scanner(reads(times)))
            }
            Work::Touch(_) | Work::Scanner { .. } => None,
        }
    }

    pub(super) fn page(&self, sight: &Sight<'_>) -> StaffPage {
        let lang = sight.lang;
        let mut page = StaffPage {
            name: "calibration".to_owned(),
            ..StaffPage::default()
        };
        match &self.work {
            Work::Touch(touching) => touch_page(&mut page, touching, sight),
            Work::CameraCrop {
                live,
                margins,
                edge,
                ..
            } => crop_page(&mut page, live.as_ref(), *margins, *edge, lang),
            Work::Printing {
                moved,
                print,
                has_printed,
            } => {
                page.is_busy = print.is_some();
                offset_page(&mut page, *moved, *has_printed, lang);
            }
            Work::Scanner { times, .. } => scanner_page(&mut page, times, lang),
        }
        if !self.code.is_empty() {
            let problem = problem::get(self.code);
            page.warning = format!("{} {}", problem.title(lang), problem.advice(lang));
        }
        if self.values().is_some() {
            let save = Id::Act(Button::Plain(Plain::Save));
            let is_tried = matches!(self.work, Work::Touch(_));
            let key = if is_tried {
                "staff.cal-confirm"
            } else {
                "staff.save"
            };
            page.actions.push(action(&save, text(lang, key)));
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

fn median(times: &[Option<u64>]) -> u64 {
    let mut sorted: Vec<u64> = times.iter().copied().flatten().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

fn reads(times: &[Option<u64>]) -> Reads {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Reads {
        reads: count(times.iter().flatten().count()),
        of: count(times.len()),
        median_ms: median(times),
    }
}

fn touch_page(page: &mut StaffPage, touching: &Touching, sight: &Sight<'_>) {
    let lang = sight.lang;
    text(lang, "staff.cal-touch").clone_into(&mut page.title);
    match touching {
        Touching::Measuring(felt) => {
            let (x_permille, y_permille) = CROSSES.get(felt.len()).copied().unwrap_or((500, 500));
            let (index, of) = ((felt.len() + 1).to_string(), CROSSES.len().to_string());
            let values = [("index", index.as_str()), ("of", of.as_str())];
            page.intro = fill(lang, "staff.cal-touch-how", &values);
            page.pattern = Pattern::Cross {
                x_permille,
                y_permille,
            };
        }
        Touching::Refused => {
            text(lang, "staff.cal-touch-kept").clone_into(&mut page.intro);
            again(page, "staff.again", lang);
        }
        Touching::Trying(fit, until) => {
            let left = until.saturating_sub(sight.now.uptime).as_secs().to_string();
            page.intro = fill(lang, "staff.cal-touch-try", &[("seconds", &left)]);
            let residual = format!("{:.1} ‰", fit.residual_permille);
            let row = fact(text(lang, "staff.cal-residual"), residual, Mark::Good);
            page.sections.push(StaffSection {
                rows: vec![row],
                ..StaffSection::default()
            });
        }
    }
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

fn offset_page(page: &mut StaffPage, moved: Moved, has_printed: bool, lang: Lang) {
    let (title, test) = match moved {
        Moved::Page(_) => ("staff.cal-print", "staff.cal-page-test"),
        Moved::Slip(_) => ("staff.cal-slip", "staff.cal-print-test"),
    };
    text(lang, title).clone_into(&mut page.title);
    let how = match (has_printed, moved) {
        (true, _) => "staff.cal-print-look",
        (false, Moved::Page(_)) => "staff.cal-print-how",
        (false, Moved::Slip(_)) => "staff.cal-slip-how",
    };
    text(lang, how).clone_into(&mut page.intro);
    let line = |key: &str, value: String| fact(text(lang, key), value, Mark::None);
    let millimeters = |tenths: i32| format!("{:.1} mm", f64::from(tenths) / 10.0);
    let own = |plain, key: &str| action(&Id::Act(Button::Plain(plain)), text(lang, key));
    again(page, test, lang);
    page.actions.extend([
        own(Plain::Less, "staff.leftwards"),
        own(Plain::More, "staff.rightwards"),
    ]);
    let rows = match moved {
        Moved::Page(offset) => {
            page.actions.extend([
                own(Plain::Up, "staff.upwards"),
                own(Plain::Down, "staff.downwards"),
            ]);
            vec![
                line("staff.cal-right", millimeters(offset.right_tenth_mm)),
                line("staff.cal-down", millimeters(offset.down_tenth_mm)),
            ]
        }
        Moved::Slip(dots) => {
            let value = fill(
                lang,
                "bench.cal-slip-values",
                &[("dots", &dots.to_string())],
            );
            vec![line("staff.cal-right", value)]
        }
    };
    page.sections.push(StaffSection {
        rows,
        ..StaffSection::default()
    });
}

fn scanner_page(page: &mut StaffPage, times: &[Option<u64>], lang: Lang) {
    text(lang, "staff.cal-scanner").clone_into(&mut page.title);
    if times.len() < READS {
        text(lang, "staff.cal-scanner-how").clone_into(&mut page.intro);
        page.code = Some(code_text(times.len()));
    } else {
        let Reads {
            reads,
            of,
            median_ms,
        } = reads(times);
        let verdict = if reads < of {
            "staff.cal-scanner-misses"
        } else if median_ms > SLOW_MS {
            "staff.cal-scanner-slow"
        } else {
            "staff.cal-scanner-done"
        };
        text(lang, verdict).clone_into(&mut page.intro);
        again(page, "staff.again", lang);
    }
    let rows = times
        .iter()
        .enumerate()
        .map(|(index, took)| {
            let label = (index + 1).to_string();
            match took {
                Some(took) if *took > SLOW_MS => fact(&label, format!("{took} ms"), Mark::Caution),
                Some(took) => fact(&label, format!("{took} ms"), Mark::Good),
                None => {
                    let missed = text(lang, "staff.cal-scanner-missed").to_owned();
                    fact(&label, missed, Mark::Bad)
                }
            }
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
        let mut calibrating = Calibrating::new(what, &hand.sight);
        let needs = match what {
            Calibration::PrintOffset => Some(DeviceClass::PagePrinter),
            Calibration::SlipOffset => Some(DeviceClass::SlipPrinter),
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
        if let Some(found) = calibrating.values() {
            calibrating.stop(hand);
            self.leaves.pop();
            let (what, values) = (found.what(), found.to_json());
            self.act(Act::Calibrate { what, values }, hand);
        }
    }

    /// The correction of the glass that is being tried on the shown page.
    pub(in crate::session) fn tried_correction(&self) -> Option<Correction> {
        if let Some(Leaf::Calibration(calibrating)) = self.leaves.last() {
            return calibrating.tried();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_around_any_picture_stays_inside_it() {
        for (width, height) in [(0, 0), (1, 1), (3, 2), (40, 30)] {
            let bytes = usize::try_from(width * height * 3).unwrap();
            let picture = Picture {
                width,
                height,
                rgb: Arc::new(vec![7; bytes]),
            };
            for margins in [[0; 4], [350; 4], [400, 0, 300, 20]] {
                let framed = framed(&picture, margins);
                assert_eq!(framed.rgb.len(), bytes);
                let is_changed = framed.rgb != picture.rgb;
                assert_eq!(is_changed, bytes > 0, "{width}x{height}");
            }
        }
    }

    #[test]
    fn the_middle_of_the_readings_counts() {
        assert_eq!(median(&[Some(900), Some(100), None, Some(200)]), 200);
        assert_eq!(median(&[None]), 0);
        let found = reads(&[Some(900), None, Some(100)]);
        assert_eq!((found.reads, found.of, found.median_ms), (2, 3, 900));
    }

    #[test]
    fn a_page_is_moved_no_further_than_a_centimeter_and_a_slip_than_its_edge() {
        let mut moved = Moved::Page(Offset::default());
        let mut steps = 0;
        while let Ok(further) = moved.by(Plain::More) {
            (moved, steps) = (further, steps + 1);
        }
        assert_eq!((steps, moved.by(Plain::Less).is_ok()), (20, true));
        let mut slip = Moved::Slip(0);
        let mut steps = 0;
        while let Ok(further) = slip.by(Plain::Less) {
            (slip, steps) = (further, steps + 1);
        }
        assert_eq!(steps, 4);
        assert!(matches!(slip.by(Plain::Down), Ok(Moved::Slip(-16))));
    }
}
