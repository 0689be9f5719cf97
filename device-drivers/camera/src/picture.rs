//! From a JPEG picture to a small preview. Sizes are bounded before anything is decoded.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use image::{ImageFormat, ImageReader, Limits};

/// Longest side of a picture, in pixels.
pub const SIDE_PIXELS_MAX: u32 = 4096;
/// Largest picture, in bytes of JPEG.
pub const JPEG_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Memory one decoding may take: the largest picture in three colors, and as much again to work.
const DECODE_BYTES_MAX: u64 = 96 * 1024 * 1024;

/// One picture of the stream.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Width of the preview in pixels.
    pub width: u32,
    /// Height of the preview in pixels.
    pub height: u32,
    /// The preview, three bytes a pixel, rows from the top.
    pub rgb: Arc<Vec<u8>>,
    /// The whole picture as it came.
    pub jpeg: Arc<Vec<u8>>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
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
    if jpeg.len() > JPEG_BYTES_MAX {
        return Err(PictureError::TooLarge { bytes: jpeg.len() });
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_PIXELS_MAX);
    limits.max_image_height = Some(SIDE_PIXELS_MAX);
    limits.max_alloc = Some(DECODE_BYTES_MAX);
    let mut reader = ImageReader::with_format(Cursor::new(&jpeg), ImageFormat::Jpeg);
    reader.limits(limits);
    let picture = reader.decode()?;
    let width = preview_width.clamp(1, SIDE_PIXELS_MAX);
    let preview = if picture.width() > width {
        picture.thumbnail(width, SIDE_PIXELS_MAX)
    } else {
        picture
    };
    let rgb = preview.into_rgb8();
    Ok(Frame {
        width: rgb.width(),
        height: rgb.height(),
        rgb: Arc::new(rgb.into_raw()),
        jpeg: Arc::new(jpeg),
    })
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
    fn too_large_and_broken_pictures_are_refused() {
        assert!(matches!(
            decode(vec![0; JPEG_BYTES_MAX + 1], 100),
            Err(PictureError::TooLarge { .. })
        ));
        let wide = jpeg(SIDE_PIXELS_MAX + 1, 1, [0, 0, 0]);
        assert!(matches!(decode(wide, 100), Err(PictureError::Decode(_))));
        let whole = jpeg(64, 48, [1, 2, 3]);
        for end in [0, 2, 20, whole.len() / 4] {
            assert!(decode(whole[..end].to_vec(), 100).is_err(), "{end}");
        }
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
