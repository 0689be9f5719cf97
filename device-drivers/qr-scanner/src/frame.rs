//! QR codes in camera frames: one decoder, tried on the frame as it is and then on pictures made from
//! it, in an order that was measured (`examples/measure.rs`), until the deadline.
//!
//! The frame as it is comes first, so that this never decodes less than the decoder alone. Every
//! picture has a bounded size, so that the last step overruns the deadline by little.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use kiosk_device::{Sensitive, clock};
use rxing::common::{GlobalHistogramBinarizer, HybridBinarizer};
use rxing::qrcode::QRCodeReader;
use rxing::qrcode::cpp_port::QrReader;
use rxing::{
    BarcodeFormat, Binarizer, BinaryBitmap, DecodeHints, Luma8Source, RXingResult,
    RXingResultMetadataType, RXingResultMetadataValue, Reader,
};

use crate::text::ScannedCode;

mod picture;

use picture::Picture;

/// Largest frame: 16 megapixels, more than the document cameras on the market.
pub const PIXELS_MAX: usize = 16 * 1024 * 1024;
/// Smallest side: a QR code of version 1 has 21 modules. Longest side: chosen, above every camera.
const SIDE_MIN: u32 = 21;
const SIDE_MAX: u32 = 16_384;
/// Longer side above which steps work on a reduced frame. Chosen: a code that fills a quarter of the
/// width still has 3 pixels for each module of version 20.
const WORK_SIDE_MAX: u32 = 1280;

/// Why a frame cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The sides and the number of bytes do not agree.
    #[error("{bytes} bytes are no picture of {width} by {height}")]
    NotThatSize {
        /// Bytes given.
        bytes: usize,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Smaller than the smallest code, or larger than 16 megapixels.
    #[error("a picture of {width} by {height} is too small or too large")]
    OutOfRange {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// An 8-bit gray frame, row by row from the upper left.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    gray: &'a [u8],
    width: u32,
    height: u32,
}

impl<'a> Frame<'a> {
    /// A frame of `width` × `height` bytes.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn new(gray: &'a [u8], width: u32, height: u32) -> Result<Self, FrameError> {
        check_size(gray.len(), 1, width, height)?;
        Ok(Self {
            gray,
            width,
            height,
        })
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} × {})", self.width, self.height)
    }
}

fn check_size(bytes: usize, channels: usize, width: u32, height: u32) -> Result<(), FrameError> {
    let pixels = usize::try_from(u64::from(width) * u64::from(height)).unwrap_or(usize::MAX);
    let sides = SIDE_MIN..=SIDE_MAX;
    if !sides.contains(&width) || !sides.contains(&height) || pixels > PIXELS_MAX {
        return Err(FrameError::OutOfRange { width, height });
    }
    if pixels.checked_mul(channels) != Some(bytes) {
        return Err(FrameError::NotThatSize {
            bytes,
            width,
            height,
        });
    }
    Ok(())
}

/// The gray picture of `rgb`, three bytes a pixel (luma of ITU-R BT.601).
///
/// # Errors
/// [`FrameError`].
pub fn gray_from_rgb(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>, FrameError> {
    check_size(rgb.len(), 3, width, height)?;
    let (pixels, _) = rgb.as_chunks::<3>();
    let luma = |[red, green, blue]: &[u8; 3]| {
        let sum = 77 * u16::from(*red) + 150 * u16::from(*green) + 29 * u16::from(*blue);
        sum.to_be_bytes()[0]
    };
    Ok(pixels.iter().map(luma).collect())
}

/// One attempt: which picture is made of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reduced to 1280 pixels where it is larger.
    Reduced,
    /// The frame as it is, by the decoder's own means: the measure for all others.
    Plain,
    /// Half the sides, sharpened: blur, low contrast, codes that are very near.
    HalfSharpened,
    /// The middle half, twice as large: small codes.
    Center,
    /// Black and white by the brightness around each pixel: low contrast.
    Local,
    /// Smoothed, and all local differences enlarged: low contrast with noise.
    Amplified,
    /// Smoothed: noise.
    Smoothed,
    /// Sharpened a little: small modules.
    Sharpened,
    /// Sharpened over a wide area: strong blur.
    SharpenedWide,
    /// Twice the sides: small modules.
    Doubled,
    /// Twice the sides, sharpened: small modules, blurred.
    DoubledSharpened,
    /// Light on dark.
    Inverted,
}

/// The steps in the order of [`decode`]: by decoded pictures for their time, as measured.
pub const STEPS: &[Step] = &[
    Step::Reduced,
    Step::Plain,
    Step::HalfSharpened,
    Step::Center,
    Step::Local,
    Step::Amplified,
    Step::Smoothed,
    Step::Sharpened,
    Step::SharpenedWide,
    Step::Doubled,
    Step::DoubledSharpened,
    Step::Inverted,
];

/// Steps at the front that look at the frame as it is.
const FIRST_STEPS: usize = 2;

/// A code found in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameCode {
    /// What it says.
    pub code: ScannedCode,
    /// Its four corners from its own upper left on, clockwise, or three or four points inside
    /// it: x and y in pixels of the frame.
    pub corners: Vec<(f32, f32)>,
    /// The step that found it.
    pub step: Step,
}

/// Looks for a QR code until one is found, all steps are done, or `deadline` has passed. One step is
/// never interrupted; on a frame of one megapixel each takes some milliseconds.
pub fn decode(frame: Frame<'_>, deadline: Instant) -> Option<FrameCode> {
    decode_by(frame, STEPS, deadline)
}

/// As [`decode`] with steps of the caller's choice.
pub fn decode_by(frame: Frame<'_>, steps: &[Step], deadline: Instant) -> Option<FrameCode> {
    steps.iter().find_map(|step| {
        if clock::now() >= deadline {
            return None;
        }
        // The decoder is a large program of others that gets to see anything: if it fails on one
        // picture, the next one may do.
        catch_unwind(AssertUnwindSafe(|| attempt(frame, *step)))
            .ok()
            .flatten()
    })
}

/// Reads the frames of one camera: the frame as it is each time, and of the other steps as many as the
/// deadline allows, going on with the next frame where the last one ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameReader {
    next: usize,
}

impl FrameReader {
    /// Looks for a QR code in the next frame until `deadline`, as [`decode`] does.
    pub fn read(&mut self, frame: Frame<'_>, deadline: Instant) -> Option<FrameCode> {
        let (first, others) = STEPS.split_at_checked(FIRST_STEPS)?;
        if let Some(found) = decode_by(frame, first, deadline) {
            return Some(found);
        }
        for _ in 0..others.len() {
            if clock::now() >= deadline {
                return None;
            }
            let step = others.get(self.next % others.len())?;
            let found = decode_by(frame, &[*step], deadline);
            // What has helped once helps again: the next frame begins with it.
            if found.is_some() {
                return found;
            }
            self.next = (self.next + 1) % others.len();
        }
        None
    }
}

/// How a picture is made black and white, and by which decoders it is read.
#[derive(Clone, Copy)]
enum Reading {
    /// Both decoders with local thresholds.
    Thorough,
    /// The faster one with local thresholds.
    Hybrid,
    /// The faster one with one threshold.
    Global,
    /// The faster one on the inverted picture.
    Inverted,
}

fn attempt(frame: Frame<'_>, step: Step) -> Option<FrameCode> {
    let Frame {
        gray,
        width,
        height,
    } = frame;
    if step == Step::Plain {
        let told = read(gray, width, height, Reading::Thorough)?;
        return Some(found(&told, step, |x, y| (x, y)));
    }
    let (picture, reading) = prepare(frame, step)?;
    let told = read(picture.pixels(), picture.width(), picture.height(), reading)?;
    Some(found(&told, step, |x, y| picture.in_frame(x, y)))
}

/// The picture of a step; `None` when it would be the same as another step's or of no use.
fn prepare(frame: Frame<'_>, step: Step) -> Option<(Picture, Reading)> {
    let Frame {
        gray,
        width,
        height,
    } = frame;
    let longer = width.max(height);
    let is_large = longer > WORK_SIDE_MAX;
    let work = || Picture::reduced(gray, width, height, WORK_SIDE_MAX);
    let picture = match step {
        Step::Reduced if is_large => return Some((work(), Reading::Thorough)),
        Step::Plain | Step::Reduced => return None,
        Step::Local => return Some((work().local_threshold(24, 7), Reading::Global)),
        Step::Inverted => return Some((work(), Reading::Inverted)),
        Step::HalfSharpened => work().halved()?.sharpened(3, 4),
        Step::Center => Picture::cropped(gray, width, height, WORK_SIDE_MAX / 2).doubled()?,
        Step::Amplified => work().smoothed().amplified(24, 6),
        Step::Smoothed => work().smoothed().smoothed(),
        Step::Sharpened => work().sharpened(2, 1),
        Step::SharpenedWide => work().sharpened(6, 4),
        Step::Doubled => work().doubled()?,
        Step::DoubledSharpened => work().doubled()?.sharpened(3, 2),
    };
    Some((picture, Reading::Hybrid))
}

/// A result, by the decoder it comes from: they tell the content in different ways.
enum Told {
    /// The bytes of the content, and their text if a character set was declared.
    Bytes(RXingResult),
    /// A text with one character for each byte, unless a character set was declared.
    Text(RXingResult),
}

impl Told {
    fn result(&self) -> &RXingResult {
        match self {
            Self::Bytes(result) | Self::Text(result) => result,
        }
    }
}

fn read(gray: &[u8], width: u32, height: u32, reading: Reading) -> Option<Told> {
    let mut source = Luma8Source::new_with_slice(gray, width, height).ok()?;
    let hints = DecodeHints {
        TryHarder: Some(true),
        PossibleFormats: Some(HashSet::from([BarcodeFormat::QR_CODE])),
        // One character for each byte, for the reader that does not hand on the bytes.
        CharacterSet: Some("ISO-8859-1".to_owned()),
        ..DecodeHints::default()
    };
    match reading {
        Reading::Thorough => {
            let mut bitmap = BinaryBitmap::new(HybridBinarizer::new(source));
            fast(&mut bitmap, &hints).or_else(|| {
                let result = QRCodeReader.decode_with_hints(&mut bitmap, &hints);
                result.ok().map(Told::Text)
            })
        }
        Reading::Hybrid => fast(&mut BinaryBitmap::new(HybridBinarizer::new(source)), &hints),
        Reading::Global => fast(
            &mut BinaryBitmap::new(GlobalHistogramBinarizer::new(source)),
            &hints,
        ),
        Reading::Inverted => {
            rxing::LuminanceSource::invert(&mut source);
            fast(&mut BinaryBitmap::new(HybridBinarizer::new(source)), &hints)
        }
    }
}

fn fast<B: Binarizer>(bitmap: &mut BinaryBitmap<B>, hints: &DecodeHints) -> Option<Told> {
    let result = QrReader.decode_with_hints(bitmap, hints);
    result.ok().map(Told::Bytes)
}

fn found(told: &Told, step: Step, in_frame: impl Fn(f32, f32) -> (f32, f32)) -> FrameCode {
    let points = told.result().getPoints().iter();
    let mut corners: Vec<(f32, f32)> = points.map(|point| in_frame(point.x, point.y)).collect();
    if matches!(told, Told::Bytes(_)) && corners.len() == 4 {
        // The decoder goes row by row.
        corners.swap(2, 3);
    }
    FrameCode {
        code: content(told),
        corners,
        step,
    }
}

/// The content of a code. Without a declared character set, its bytes are judged as a scanner's are.
fn content(told: &Told) -> ScannedCode {
    let text = told.result().getText();
    let as_told = |raw: &[u8]| ScannedCode {
        text: Sensitive::new(text.to_owned()),
        raw: Sensitive::new(raw.to_vec()),
    };
    match told {
        Told::Bytes(result) => {
            let raw = result.getRawBytes();
            let metadata = result.getRXingResultMetadata();
            // `]Q2`, `]Q4` and `]Q6` declare a character set (ISO/IEC 18004, Annex F).
            let is_declared = matches!(
                metadata.get(&RXingResultMetadataType::SYMBOLOGY_IDENTIFIER),
                Some(RXingResultMetadataValue::SymbologyIdentifier(identifier))
                    if identifier.ends_with(['2', '4', '6'])
            );
            if is_declared {
                as_told(raw)
            } else {
                ScannedCode::from_bytes(raw)
            }
        }
        Told::Text(_) => {
            // "One character for each byte" is Windows-1252 in the tables of the decoder.
            let (raw, _, is_lossy) = encoding_rs::WINDOWS_1252.encode(text);
            if is_lossy {
                as_told(text.as_bytes())
            } else {
                ScannedCode::from_bytes(&raw)
            }
        }
    }
}
