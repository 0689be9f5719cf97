//! From a JPEG picture to a small preview. Sizes are bounded before anything is decoded.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, ImageReader, Limits, RgbImage};

/// Longest side of a picture, in pixels.
pub const SIDE_PIXELS_MAX: u32 = 4096;
/// Largest picture, in bytes of JPEG.
pub const JPEG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Quality of pictures encoded here. Chosen: print stays sharp, a page stays below 1 MB.
const JPEG_QUALITY: u8 = 90;
/// Memory one decoding may take: the largest picture in three colors, and as much again to work.
const DECODE_BYTES_MAX: u64 = 96 * 1024 * 1024;

/// What must stay of a picture's width and height, in thousandths. Chosen: with less, a page no longer has
/// the dots that its small print needs.
pub const CROP_REST_MIN: u32 = 300;

/// The part of a camera's picture that is wanted: what is cut off at each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop([u32; 4]);

impl Crop {
    /// Cuts off so many thousandths at the left, the top, the right and the bottom. `None` where less than
    /// [`CROP_REST_MIN`] would stay.
    pub fn new(margins: [u32; 4]) -> Option<Self> {
        let [left, top, right, bottom] = margins;
        let is_enough = |first: u32, second: u32| {
            first
                .checked_add(second)
                .is_some_and(|margins| margins <= 1000 - CROP_REST_MIN)
        };
        (is_enough(left, right) && is_enough(top, bottom)).then_some(Self(margins))
    }

    /// What is cut off, in thousandths: left, top, right, bottom.
    pub fn margins(self) -> [u32; 4] {
        self.0
    }

    /// What stays of a picture.
    pub fn cut(self, picture: &DynamicImage) -> RgbImage {
        let [left, top, right, bottom] = self.0;
        let part = |side: u32, margin: u32| {
            u32::try_from(u64::from(side) * u64::from(margin) / 1000).unwrap_or(0)
        };
        let (width, height) = (picture.width(), picture.height());
        let (x, y) = (part(width, left), part(height, top));
        let rest_width = width - x - part(width, right);
        let rest_height = height - y - part(height, bottom);
        picture.crop_imm(x, y, rest_width, rest_height).into_rgb8()
    }
}

/// How whoever looks wants the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Width of the preview in pixels, at most.
    pub(crate) preview_width: u32,
    /// The part of the picture; `None` for all of it.
    pub(crate) crop: Option<Crop>,
}

impl From<u32> for Wanted {
    fn from(preview_width: u32) -> Self {
        Self {
            preview_width,
            crop: None,
        }
    }
}

/// One picture of the stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Width of the preview in pixels.
    pub width: u32,
    /// Height of the preview in pixels.
    pub height: u32,
    /// The preview, three bytes a pixel, rows from the top.
    pub rgb: Arc<Vec<u8>>,
    /// The whole picture, as it came or encoded here.
    pub jpeg: Arc<Vec<u8>>,
    /// The infrared picture of the same moment, where the camera has a second eye.
    pub infrared: Option<Infrared>,
}

/// An infrared picture taken within 50 ms of its [`Frame`].
#[derive(Clone, PartialEq, Eq)]
pub struct Infrared {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// One byte a pixel, rows from the top.
    pub gray: Arc<Vec<u8>>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Infrared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Infrared")
            .field("width", &self.width)
            .field("height", &self.height)
            .finish_non_exhaustive()
    }
}

/// Why a picture is not shown.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It is larger than allowed.
    #[error("the picture has {bytes} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It has fewer bytes than its size needs, or a size that no camera has.
    #[error("the picture is not whole")]
    Incomplete,
    /// It cannot be decoded within the limits.
    #[error("the picture cannot be decoded")]
    Decode(#[from] image::ImageError),
}

/// Decodes a picture and scales its preview down to `preview_width` pixels; smaller pictures stay
/// as they are.
///
/// # Errors
/// [`PictureError`].
pub fn decode(jpeg: Vec<u8>, preview_width: u32) -> Result<Frame, PictureError> {
    decode_wanted(jpeg, preview_width.into())
}

/// Decodes a picture as it is wanted; one of which a part is wanted is encoded again.
pub(crate) fn decode_wanted(jpeg: Vec<u8>, wanted: Wanted) -> Result<Frame, PictureError> {
    let picture = decode_whole(&jpeg)?;
    let Some(crop) = wanted.crop else {
        return Ok(frame(picture, jpeg, wanted.preview_width));
    };
    part(&picture, crop, wanted.preview_width)
}

/// The frame of a part of `picture`.
pub(crate) fn part(
    picture: &DynamicImage,
    crop: Crop,
    preview_width: u32,
) -> Result<Frame, PictureError> {
    let part = crop.cut(picture);
    let jpeg = encode(&part)?;
    Ok(frame(part.into(), jpeg, preview_width))
}

/// Decodes a JPEG within the limits of this module.
///
/// # Errors
/// [`PictureError`].
pub fn decode_whole(jpeg: &[u8]) -> Result<DynamicImage, PictureError> {
    if jpeg.len() > JPEG_BYTES_MAX {
        return Err(PictureError::TooLarge { bytes: jpeg.len() });
    }
    if !is_whole(jpeg) {
        return Err(PictureError::Incomplete);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PIXELS_MAX);
    limits.max_image_height = Some(SIDE_PIXELS_MAX);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(jpeg), ImageFormat::Jpeg);
    reader.limits(limits);
    Ok(reader.decode()?)
}

/// Markers of a JPEG (ISO/IEC 10918-1, table B.1).
pub(crate) const SOI: u8 = 0xD8;
pub(crate) const DHT: u8 = 0xC4;
pub(crate) const SOS: u8 = 0xDA;
const EOI: u8 = 0xD9;

/// What stands in front of the scan of a JPEG.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Where the scan begins.
    pub(crate) scan_at: usize,
    /// Whether Huffman tables are there.
    pub(crate) has_tables: bool,
}

/// Walks over the segments of a JPEG up to its first scan; `None` when there is none.
pub(crate) fn head(jpeg: &[u8]) -> Option<Head> {
    if jpeg.get(..2)? != [0xFF, SOI] {
        return None;
    }
    let mut at = 2;
    let mut has_tables = false;
    // Each turn goes on by a byte at least.
    while at < jpeg.len() {
        let [mark, marker] = *jpeg.get(at..at + 2)?.first_chunk()?;
        match (mark, marker) {
            (0xFF, SOS) => {
                return Some(Head {
                    scan_at: at,
                    has_tables,
                });
            }
            // A fill byte.
            (0xFF, 0xFF) => at += 1,
            (0xFF, _) => {
                has_tables |= marker == DHT;
                let length = u16::from_be_bytes(*jpeg.get(at + 2..at + 4)?.first_chunk()?);
                at += 2 + usize::from(length.max(2));
            }
            (_, _) => return None,
        }
    }
    None
}

/// Whether the scan of a JPEG has its end. Decoders make up what is missing of one that was cut off; a
/// document must not be handed in like that.
fn is_whole(jpeg: &[u8]) -> bool {
    head(jpeg).is_some_and(|head| {
        let scan = jpeg.get(head.scan_at..).unwrap_or_default();
        // Inside a scan this pair does not occur; cameras fill their buffers up behind it.
        scan.windows(2).rev().any(|pair| pair == [0xFF, EOI])
    })
}

/// Encodes a picture.
///
/// # Errors
/// [`PictureError::Decode`] when its size is none of a JPEG.
pub fn encode(picture: &RgbImage) -> Result<Vec<u8>, PictureError> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY).encode_image(picture)?;
    Ok(jpeg)
}

/// The frame of `picture`, which is also in `jpeg`.
pub(crate) fn frame(picture: DynamicImage, jpeg: Vec<u8>, preview_width: u32) -> Frame {
    let width = preview_width.clamp(1, SIDE_PIXELS_MAX);
    let preview = if picture.width() > width {
        picture.thumbnail(width, SIDE_PIXELS_MAX)
    } else {
        picture
    };
    let rgb = preview.into_rgb8();
    Frame {
        width: rgb.width(),
        height: rgb.height(),
        rgb: Arc::new(rgb.into_raw()),
        jpeg: Arc::new(jpeg),
        infrared: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    /// A plain picture of one color.
    pub(crate) fn jpeg(width: u32, height: u32, color: [u8; 3]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_pixel(width, height, Rgb(color))
            .write_to(&mut bytes, ImageFormat::Jpeg)
            .unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_picture_is_scaled_to_the_preview_and_kept_whole() {
        let bytes = jpeg(640, 480, [200, 10, 10]);
        let frame = decode(bytes.clone(), 160).unwrap();
        assert_eq!((frame.width, frame.height), (160, 120));
        assert_eq!(frame.rgb.len(), 160 * 120 * 3);
        assert!(frame.rgb[0] > 180 && frame.rgb[1] < 40);
        assert_eq!(*frame.jpeg, bytes);
        let small = decode(jpeg(64, 48, [0, 0, 0]), 160).unwrap();
        assert_eq!((small.width, small.height), (64, 48));
    }

    #[test]
    fn a_crop_leaves_just_the_part_that_is_wanted() {
        // Red at the left, green in the middle, blue at the right; black at the top.
        let whole = RgbImage::from_fn(200, 100, |x, y| match (x, y) {
            (_, 0..10) => Rgb([0, 0, 0]),
            (0..40, _) => Rgb([255, 0, 0]),
            (160.., _) => Rgb([0, 0, 255]),
            (_, _) => Rgb([0, 255, 0]),
        });
        let crop = Crop::new([200, 100, 200, 0]).unwrap();
        let part = crop.cut(&whole.clone().into());
        assert_eq!(part.dimensions(), (120, 90));
        assert!(part.pixels().all(|pixel| pixel.0 == [0, 255, 0]));
        let wanted = Wanted {
            preview_width: 60,
            crop: Some(crop),
        };
        let frame = decode_wanted(encode(&whole).unwrap(), wanted).unwrap();
        assert_eq!((frame.width, frame.height), (60, 45));
        let middle = (frame.rgb.len() / 6) * 3;
        assert!(frame.rgb[middle + 1] > 200 && frame.rgb[middle] < 60);
        let kept = decode_whole(&frame.jpeg).unwrap();
        assert_eq!((kept.width(), kept.height()), (120, 90));
    }

    #[test]
    fn a_crop_that_leaves_too_little_is_none() {
        for margins in [
            [350, 0, 351, 0],
            [0, 701, 0, 0],
            [u32::MAX, 0, 1, 0],
            [0, u32::MAX, 0, u32::MAX],
        ] {
            assert_eq!(Crop::new(margins), None, "{margins:?}");
        }
        let most = Crop::new([350, 0, 350, 700]).unwrap();
        for (width, height) in [(1, 1), (2, 3), (7, 5), (1920, 1080)] {
            let rest = most.cut(&RgbImage::new(width, height).into());
            assert!(rest.width() >= 1 && rest.height() >= 1, "{width}x{height}");
        }
    }

    #[test]
    fn too_large_and_broken_pictures_are_refused() {
        assert!(matches!(
            decode(vec![0; JPEG_BYTES_MAX + 1], 100),
            Err(PictureError::TooLarge { .. })
        ));
        let wide = jpeg(SIDE_PIXELS_MAX + 1, 1, [0, 0, 0]);
        assert!(matches!(decode(wide, 100), Err(PictureError::Decode(_))));
        let whole = jpeg(64, 48, [1, 2, 3]);
        for end in 0..whole.len() {
            assert!(decode(whole[..end].to_vec(), 100).is_err(), "{end}");
        }
        let padded = [&whole[..], &[0; 40]].concat();
        assert!(decode(padded, 100).is_ok());
    }

    #[test]
    fn no_garbled_picture_panics() {
        let whole = jpeg(64, 48, [1, 2, 3]);
        let mut seed = 11_u32;
        for _ in 0..300 {
            let mut garbled = whole.clone();
            for _ in 0..8 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % garbled.len();
                garbled[at] = seed.to_be_bytes()[0];
            }
            drop(decode(garbled, 32));
        }
    }
}
