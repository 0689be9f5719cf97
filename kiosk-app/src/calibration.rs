//! What was calibrated at this place, understood: where the glass feels a finger, which part of the
//! camera's picture is the tray, where on the paper printers begin; and how surely the scanner reads,
//! which is only a measurement.
//!
//! Pure functions of what was measured and of the text that the store keeps. Whatever is not within its
//! bounds is refused here, before anything is kept, and once more when it is read back: a calibration
//! that is not understood changes nothing.

use kiosk_camera::Crop;
use kiosk_documents::Offset;
use kiosk_ui::Correction;
use offline_cache::{Cache, CacheError};
use serde::{Deserialize, Serialize};

use crate::words::{Lang, fill};

/// The words in the store and in ids.
pub const TOUCH: &str = "touch";
/// As [`TOUCH`].
pub const CAMERA_CROP: &str = "camera-crop";
/// As [`TOUCH`]: pages of A4.
pub const PRINT_OFFSET: &str = "print-offset";
/// As [`TOUCH`]: slips.
pub const SLIP_OFFSET: &str = "slip-offset";
/// As [`TOUCH`]; measured only.
pub const SCANNER: &str = "scanner";

/// How far a print is moved at most, in tenths of a millimeter. Specified.
pub const OFFSET_MAX_TENTH_MM: i32 = 100;
/// How far a slip is moved at most, in dots: the white edge that slips have, 2 mm of 8 dots each. Further
/// on a head that is no wider, what they say would be cut off.
pub const OFFSET_MAX_DOTS: i32 = 16;
/// Crosses that must have been touched. Specified; three would be met exactly by any error.
const HITS_MIN: usize = 4;
/// How far a finger may be beside its cross after it was put right, in thousandths of the glass. Chosen:
/// about a finger's breadth on the glass of a terminal, less than half of the smallest target.
const RESIDUAL_MAX_PERMILLE: f64 = 20.0;
/// What the places of all fingers must at least span, as the determinant of their covariance. Chosen:
/// crosses at a tenth of the glass give 0.016; fingers on one line give nothing.
const SPAN_MIN: f64 = 1e-5;
/// Longest text of one calibration, as the store has it.
const JSON_BYTES_MAX: usize = 16 * 1024;
/// Readings of the scanner that can have been measured. Chosen: more than any page asks for.
const READS_MAX: u32 = 100;

/// Why a calibration is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// It is not of the form that this program keeps.
    #[error("the calibration is not of a known form")]
    Unreadable,
    /// Fewer than four crosses were touched, or all on one line, or far beside the glass.
    #[error("the touches do not tell where the glass is")]
    TouchImpossible,
    /// The touches do not fit to each other.
    #[error("the touches do not fit to each other")]
    TouchUneven,
    /// Too little of the picture would be left.
    #[error("the crop leaves less than 300 thousandths of the picture")]
    CropTooSmall,
    /// A page would be moved by more than a centimeter.
    #[error("the print would be moved by more than 10 mm")]
    OffsetTooFar,
    /// A slip would be moved by more than its white edge.
    #[error("the slip would be moved by more than 2 mm")]
    SlipTooFar,
}

impl CalibrationError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "calibration.unreadable",
            Self::TouchImpossible => "calibration.touch-impossible",
            Self::TouchUneven => "calibration.touch-uneven",
            Self::CropTooSmall => "calibration.crop-too-small",
            Self::OffsetTooFar => "calibration.offset-too-far",
            Self::SlipTooFar => "calibration.slip-too-far",
        }
    }
}

/// One finger on a cross; places in shares of the glass from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Where the cross is.
    pub cross: (f64, f64),
    /// Where the panel felt the finger.
    pub felt: (f64, f64),
}

/// A correction of the glass and how well it fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TouchFit {
    /// From where a finger is felt to where it is.
    pub correction: Correction,
    /// Crosses that were touched.
    pub hits: u32,
    /// The largest distance of a finger from its cross after it was put right, in thousandths of the
    /// glass.
    pub residual_permille: f64,
}

impl TouchFit {
    /// The affine map that leaves the least squares of the distances between fingers and crosses.
    ///
    /// # Errors
    /// [`CalibrationError::TouchImpossible`] and [`CalibrationError::TouchUneven`].
    #[expect(
        clippy::many_single_char_names,
        reason = "places and the terms of the map have no other names"
    )]
    pub fn of(hits: &[Hit]) -> Result<Self, CalibrationError> {
        const IMPOSSIBLE: CalibrationError = CalibrationError::TouchImpossible;
        let count = u32::try_from(hits.len()).map_err(|_| IMPOSSIBLE)?;
        if hits.len() < HITS_MIN {
            return Err(IMPOSSIBLE);
        }
        let mean = |of: fn(&Hit) -> f64| hits.iter().map(of).sum::<f64>() / f64::from(count);
        let (x, y) = (mean(|hit| hit.felt.0), mean(|hit| hit.felt.1));
        let (to_x, to_y) = (mean(|hit| hit.cross.0), mean(|hit| hit.cross.1));
        let mut sums = [0.0; 7];
        for hit in hits {
            let (u, v) = (hit.felt.0 - x, hit.felt.1 - y);
            let (to_u, to_v) = (hit.cross.0 - to_x, hit.cross.1 - to_y);
            let terms = [u * u, u * v, v * v, u * to_u, v * to_u, u * to_v, v * to_v];
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum += term / f64::from(count);
            }
        }
        let [uu, uv, vv, u_to_u, v_to_u, u_to_v, v_to_v] = sums;
        let span = uu * vv - uv * uv;
        // Written so that what is no number is refused as well.
        if span.is_nan() || span < SPAN_MIN {
            return Err(IMPOSSIBLE);
        }
        let (a, b) = (
            (u_to_u * vv - v_to_u * uv) / span,
            (v_to_u * uu - u_to_u * uv) / span,
        );
        let (d, e) = (
            (u_to_v * vv - v_to_v * uv) / span,
            (v_to_v * uu - u_to_v * uv) / span,
        );
        let terms = [a, b, to_x - a * x - b * y, d, e, to_y - d * x - e * y];
        let correction = Correction::new(terms.map(rounded)).ok_or(IMPOSSIBLE)?;
        let off = |hit: &Hit| {
            let (x, y) = correction.apply(hit.felt.0, hit.felt.1);
            (x - hit.cross.0).hypot(y - hit.cross.1) * 1000.0
        };
        let residual_permille = rounded(hits.iter().map(off).fold(0.0, f64::max));
        if residual_permille > RESIDUAL_MAX_PERMILLE {
            return Err(CalibrationError::TouchUneven);
        }
        Ok(Self {
            correction,
            hits: count,
            residual_permille,
        })
    }
}

/// Six digits behind the point: a ten-thousandth of a dot.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// How surely the scanner read codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Codes that were read in time.
    pub reads: u32,
    /// Codes that were shown.
    pub of: u32,
    /// The middle one of the times, in milliseconds, the hand that held the code included.
    pub median_ms: u64,
}

/// One calibration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Calibrated {
    /// Where the glass feels a finger.
    Touch(TouchFit),
    /// Which part of the document camera's picture is the tray.
    CameraCrop(Crop),
    /// By how much pages are moved.
    PrintOffset(Offset),
    /// By how many dots slips are moved to the right.
    SlipOffset(i32),
    /// How surely the scanner reads: nothing is set by it.
    Scanner(Reads),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TouchText {
    terms: [f64; 6],
    hits: u32,
    residual_permille: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(
    clippy::struct_field_names,
    reason = "the unit stands last, as in the text that is kept"
)]
struct CropText {
    left_permille: u32,
    top_permille: u32,
    right_permille: u32,
    bottom_permille: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OffsetText {
    right_tenth_mm: i32,
    down_tenth_mm: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SlipText {
    right_dots: i32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ReadsText {
    reads: u32,
    of: u32,
    median_ms: u64,
}

impl Calibrated {
    /// A calibration from the text in which it is kept.
    ///
    /// # Errors
    /// [`CalibrationError`] for what no page of this program can have measured.
    pub fn parse(what: &str, json: &str) -> Result<Self, CalibrationError> {
        if json.len() > JSON_BYTES_MAX {
            return Err(CalibrationError::Unreadable);
        }
        match what {
            TOUCH => {
                let text: TouchText = read(json)?;
                let fits = (0.0..=RESIDUAL_MAX_PERMILLE).contains(&text.residual_permille);
                let is_enough = usize::try_from(text.hits).is_ok_and(|hits| hits >= HITS_MIN);
                if !fits || !is_enough {
                    return Err(CalibrationError::TouchUneven);
                }
                Ok(Self::Touch(TouchFit {
                    correction: Correction::new(text.terms)
                        .ok_or(CalibrationError::TouchImpossible)?,
                    hits: text.hits,
                    residual_permille: text.residual_permille,
                }))
            }
            CAMERA_CROP => {
                let text: CropText = read(json)?;
                let margins = [
                    text.left_permille,
                    text.top_permille,
                    text.right_permille,
                    text.bottom_permille,
                ];
                let crop = Crop::new(margins).ok_or(CalibrationError::CropTooSmall)?;
                Ok(Self::CameraCrop(crop))
            }
            PRINT_OFFSET => {
                let text: OffsetText = read(json)?;
                page_offset(text.right_tenth_mm, text.down_tenth_mm).map(Self::PrintOffset)
            }
            SLIP_OFFSET => {
                let SlipText { right_dots } = read(json)?;
                slip_offset(right_dots).map(Self::SlipOffset)
            }
            SCANNER => {
                let ReadsText {
                    reads,
                    of,
                    median_ms,
                } = read(json)?;
                if reads > of || of > READS_MAX {
                    return Err(CalibrationError::Unreadable);
                }
                Ok(Self::Scanner(Reads {
                    reads,
                    of,
                    median_ms,
                }))
            }
            _ => Err(CalibrationError::Unreadable),
        }
    }

    /// What it is of.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Touch(_) => TOUCH,
            Self::CameraCrop(_) => CAMERA_CROP,
            Self::PrintOffset(_) => PRINT_OFFSET,
            Self::SlipOffset(_) => SLIP_OFFSET,
            Self::Scanner(_) => SCANNER,
        }
    }

    /// The text in which it is kept; [`Calibrated::parse`] reads it back.
    ///
    /// # Panics
    /// Never: plain numbers become JSON.
    pub fn to_json(&self) -> String {
        let text = match self {
            Self::Touch(fit) => serde_json::to_string(&TouchText {
                terms: fit.correction.terms(),
                hits: fit.hits,
                residual_permille: fit.residual_permille,
            }),
            Self::CameraCrop(crop) => {
                let [left, top, right, bottom] = crop.margins();
                serde_json::to_string(&CropText {
                    left_permille: left,
                    top_permille: top,
                    right_permille: right,
                    bottom_permille: bottom,
                })
            }
            Self::PrintOffset(offset) => serde_json::to_string(&OffsetText {
                right_tenth_mm: offset.right_tenth_mm,
                down_tenth_mm: offset.down_tenth_mm,
            }),
            Self::SlipOffset(dots) => serde_json::to_string(&SlipText { right_dots: *dots }),
            Self::Scanner(reads) => serde_json::to_string(&ReadsText {
                reads: reads.reads,
                of: reads.of,
                median_ms: reads.median_ms,
            }),
        };
        text.expect("plain numbers become JSON")
    }

    /// Its values in words.
    pub fn words(&self, lang: Lang) -> String {
        match self {
            Self::Touch(fit) => {
                let residual = format!("{:.1}", fit.residual_permille);
                let hits = fit.hits.to_string();
                let values = [("hits", hits.as_str()), ("residual", residual.as_str())];
                fill(lang, "bench.cal-touch-values", &values)
            }
            Self::CameraCrop(crop) => {
                let [left, top, right, bottom] = crop.margins().map(|margin| margin.to_string());
                let values = [
                    ("left", left.as_str()),
                    ("top", top.as_str()),
                    ("right", right.as_str()),
                    ("bottom", bottom.as_str()),
                ];
                fill(lang, "bench.cal-crop-values", &values)
            }
            Self::PrintOffset(offset) => {
                let millimeters = |tenths: i32| format!("{:.1}", f64::from(tenths) / 10.0);
                let right = millimeters(offset.right_tenth_mm);
                let down = millimeters(offset.down_tenth_mm);
                let values = [("right", right.as_str()), ("down", down.as_str())];
                fill(lang, "bench.cal-offset-values", &values)
            }
            Self::SlipOffset(dots) => {
                let dots = dots.to_string();
                fill(lang, "bench.cal-slip-values", &[("dots", &dots)])
            }
            Self::Scanner(reads) => {
                let (of, milliseconds) = (reads.of.to_string(), reads.median_ms.to_string());
                let reads = reads.reads.to_string();
                let values = [
                    ("reads", reads.as_str()),
                    ("of", of.as_str()),
                    ("ms", milliseconds.as_str()),
                ];
                fill(lang, "bench.cal-scanner-values", &values)
            }
        }
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, CalibrationError> {
    serde_json::from_str(json).map_err(|_| CalibrationError::Unreadable)
}

/// An offset of pages within its bounds.
///
/// # Errors
/// [`CalibrationError::OffsetTooFar`].
pub fn page_offset(right_tenth_mm: i32, down_tenth_mm: i32) -> Result<Offset, CalibrationError> {
    let bounds = -OFFSET_MAX_TENTH_MM..=OFFSET_MAX_TENTH_MM;
    if !bounds.contains(&right_tenth_mm) || !bounds.contains(&down_tenth_mm) {
        return Err(CalibrationError::OffsetTooFar);
    }
    Ok(Offset {
        right_tenth_mm,
        down_tenth_mm,
    })
}

/// An offset of slips within its bounds.
///
/// # Errors
/// [`CalibrationError::SlipTooFar`].
pub fn slip_offset(right_dots: i32) -> Result<i32, CalibrationError> {
    let is_near = (-OFFSET_MAX_DOTS..=OFFSET_MAX_DOTS).contains(&right_dots);
    is_near
        .then_some(right_dots)
        .ok_or(CalibrationError::SlipTooFar)
}

/// Everything calibrated that is in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibrations {
    /// Of the glass.
    pub touch: Option<TouchFit>,
    /// Of the document camera.
    pub crop: Option<Crop>,
    /// Of pages.
    pub page: Offset,
    /// Of slips, in dots to the right.
    pub slip_dots: i32,
}

impl Calibrations {
    /// What the store keeps. What cannot be understood is left out, with a line in the log.
    ///
    /// # Errors
    /// The store fails.
    pub fn load(cache: &Cache) -> Result<Self, CacheError> {
        let mut calibrations = Self::default();
        for kept in cache.calibrations()? {
            match Calibrated::parse(&kept.what, &kept.json) {
                Ok(one) => calibrations.take(one),
                Err(error) => {
                    tracing::warn!(what = kept.what, code = error.code(), %error, "a calibration is not in force");
                }
            }
        }
        Ok(calibrations)
    }

    /// From now on this one.
    pub fn take(&mut self, one: Calibrated) {
        match one {
            Calibrated::Touch(fit) => self.touch = Some(fit),
            // A crop that cuts nothing off need not be done.
            Calibrated::CameraCrop(crop) => {
                self.crop = Some(crop).filter(|crop| crop.margins() != [0; 4]);
            }
            Calibrated::PrintOffset(offset) => self.page = offset,
            Calibrated::SlipOffset(dots) => self.slip_dots = dots,
            Calibrated::Scanner(_) => {}
        }
    }

    /// Whether this one is in force.
    pub fn has(&self, one: Calibrated) -> bool {
        let mut with = self.clone();
        with.take(one);
        with == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CROSSES: [(f64, f64); 5] = [(0.1, 0.1), (0.9, 0.1), (0.5, 0.5), (0.1, 0.9), (0.9, 0.9)];

    /// Fingers on all crosses, as a panel feels them that does `felt` to their places.
    fn hits(felt: impl Fn(f64, f64) -> (f64, f64)) -> Vec<Hit> {
        CROSSES
            .iter()
            .map(|(x, y)| Hit {
                cross: (*x, *y),
                felt: felt(*x, *y),
            })
            .collect()
    }

    fn check_corrected(felt: impl Fn(f64, f64) -> (f64, f64)) {
        let fit = TouchFit::of(&hits(&felt)).unwrap();
        assert!(fit.residual_permille < 0.1, "{fit:?}");
        for (x, y) in [(0.0, 0.0), (1.0, 0.3), (0.42, 0.77)] {
            let (u, v) = felt(x, y);
            let (found_x, found_y) = fit.correction.apply(u, v);
            assert!(
                (found_x - x).abs() < 1e-4 && (found_y - y).abs() < 1e-4,
                "{fit:?}"
            );
        }
    }

    #[test]
    fn whatever_an_affine_panel_does_is_undone() {
        check_corrected(|x, y| (x, y));
        check_corrected(|x, y| (x * 0.9 + 0.07, y * 1.1 - 0.03));
        // Turned a little, turned by a quarter, mirrored.
        check_corrected(|x, y| (0.99 * x + 0.05 * y, 0.98 * y - 0.04 * x));
        check_corrected(|x, y| (1.0 - y, x));
        check_corrected(|x, y| (1.0 - x, y));
    }

    #[test]
    fn a_finger_beside_one_cross_is_shared_by_all_and_its_distance_is_kept() {
        let mut beside = hits(|x, y| (x, y));
        beside[2].felt.0 += 0.01;
        let fit = TouchFit::of(&beside).unwrap();
        assert!((5.0..=10.0).contains(&fit.residual_permille), "{fit:?}");
        beside[2].felt.0 += 0.05;
        assert_eq!(TouchFit::of(&beside), Err(CalibrationError::TouchUneven));
    }

    #[test]
    fn fingers_that_do_not_tell_where_the_glass_is_are_refused() {
        let impossible = |hits: &[Hit]| {
            assert_eq!(TouchFit::of(hits), Err(CalibrationError::TouchImpossible));
        };
        impossible(&[]);
        impossible(&hits(|x, y| (x, y))[..3]);
        assert!(TouchFit::of(&hits(|x, y| (x, y))[..4]).is_ok());
        // All in one place, all on one line, not at all, on a panel of a tenth of the glass.
        impossible(&hits(|_, _| (0.5, 0.5)));
        impossible(&hits(|x, _| (x, x)));
        impossible(&hits(|x, _| (x, f64::NAN)));
        impossible(&hits(|x, y| (x * 0.1, y * 0.1)));
    }

    #[test]
    fn every_calibration_is_read_back_as_it_was_kept() {
        let fit = TouchFit::of(&hits(|x, y| (x * 0.93 + 0.01, y * 1.04))).unwrap();
        for one in [
            Calibrated::Touch(fit),
            Calibrated::CameraCrop(Crop::new([20, 0, 340, 700]).unwrap()),
            Calibrated::PrintOffset(page_offset(-100, 35).unwrap()),
            Calibrated::SlipOffset(slip_offset(-16).unwrap()),
            Calibrated::Scanner(Reads {
                reads: 2,
                of: 3,
                median_ms: 2100,
            }),
        ] {
            assert_eq!(Calibrated::parse(one.what(), &one.to_json()), Ok(one));
            for lang in Lang::ALL {
                let words = one.words(lang);
                assert!(!words.is_empty() && !words.contains('{'), "{words}");
            }
            let mut calibrations = Calibrations::default();
            calibrations.take(one);
            assert!(calibrations.has(one));
            let is_applied = !matches!(one, Calibrated::Scanner(_));
            assert_eq!(!Calibrations::default().has(one), is_applied);
        }
        let whole = Calibrated::CameraCrop(Crop::new([0; 4]).unwrap());
        assert!(Calibrations::default().has(whole), "nothing is cut off");
    }

    #[test]
    fn what_no_page_can_have_measured_is_refused() {
        let check = |what: &str, json: &str, code: &str| {
            let outcome = Calibrated::parse(what, json).map_err(CalibrationError::code);
            assert_eq!(outcome, Err(code), "{what} {json}");
        };
        let touch = |terms: &str, hits: u32, residual: &str| {
            format!("{{\"terms\":[{terms}],\"hits\":{hits},\"residual-permille\":{residual}}}")
        };
        check(
            TOUCH,
            "{\"columns\":6,\"right-fields\":1.0}",
            "calibration.unreadable",
        );
        check(TOUCH, &touch("1,0,0,0,1", 5, "1"), "calibration.unreadable");
        check(
            TOUCH,
            &touch("1,0,0,0,0,0", 5, "1"),
            "calibration.touch-impossible",
        );
        check(
            TOUCH,
            &touch("1,0,0,0,1,0", 3, "1"),
            "calibration.touch-uneven",
        );
        check(
            TOUCH,
            &touch("1,0,0,0,1,0", 5, "20.1"),
            "calibration.touch-uneven",
        );
        check(
            TOUCH,
            &touch("1,0,0,0,1,0", 5, "-1"),
            "calibration.touch-uneven",
        );
        let crop = "{\"left-permille\":400,\"top-permille\":0,\"right-permille\":301,\"bottom-permille\":0}";
        check(CAMERA_CROP, crop, "calibration.crop-too-small");
        check(
            CAMERA_CROP,
            "{\"left-permille\":-1}",
            "calibration.unreadable",
        );
        check(
            PRINT_OFFSET,
            "{\"right-tenth-mm\":101,\"down-tenth-mm\":0}",
            "calibration.offset-too-far",
        );
        check(PRINT_OFFSET, "{\"x\":1}", "calibration.unreadable");
        check(
            SLIP_OFFSET,
            "{\"right-dots\":-17}",
            "calibration.slip-too-far",
        );
        check(
            SLIP_OFFSET,
            "{\"right-dots\":99999999999}",
            "calibration.unreadable",
        );
        check(
            SCANNER,
            "{\"reads\":4,\"of\":3,\"median-ms\":1}",
            "calibration.unreadable",
        );
        check("something-else", "{}", "calibration.unreadable");
        check(
            SLIP_OFFSET,
            &" ".repeat(JSON_BYTES_MAX + 1),
            "calibration.unreadable",
        );
        check(SCANNER, "", "calibration.unreadable");
    }
}
