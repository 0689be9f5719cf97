//! The picture the camera shows, and the moment of sending in a comment of the JPEG.

use std::time::Duration;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageResult, RgbImage};

/// Start of image; the comment goes right behind it.
const START: [u8; 2] = [0xFF, 0xD8];
/// Marks our comment: marker, length of 18, word.
const COMMENT: [u8; 12] = *b"\xFF\xFE\x00\x12lab-time";

/// A test card of 640 × 480 with colors, edges and a gradient.
pub(super) fn test_card() -> ImageResult<Vec<u8>> {
    let card = RgbImage::from_fn(640, 480, |x, y| {
        let bar = u8::try_from(x / 80).unwrap_or(0);
        let level = |bit: u8| if bar & bit == 0 { 30 } else { 220 };
        let gradient = u8::try_from(x * 255 / 640).unwrap_or(u8::MAX);
        match y {
            0..320 => image::Rgb([level(1), level(2), level(4)]),
            _ => image::Rgb([gradient; 3]),
        }
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 85).encode_image(&card)?;
    Ok(bytes)
}

/// The picture with the moment of sending.
pub(super) fn stamped(picture: &[u8], now: Duration) -> Vec<u8> {
    let body = picture.strip_prefix(&START).unwrap_or(picture);
    let moment = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
    [&START[..], &COMMENT, &moment.to_be_bytes(), body].concat()
}

/// When a picture of this camera was sent, by the camera's clock; `None` for any other picture.
pub(crate) fn sent_at(picture: &[u8]) -> Option<Duration> {
    let at = picture
        .windows(COMMENT.len())
        .position(|window| window == COMMENT)?
        + COMMENT.len();
    let moment = picture.get(at..at + 8)?.try_into().ok()?;
    Some(Duration::from_micros(u64::from_be_bytes(moment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_tells_when_it_was_sent_and_is_still_a_picture() {
        let moment = Duration::from_micros(1_234_567);
        let picture = stamped(&test_card().unwrap(), moment);
        assert_eq!(sent_at(&picture), Some(moment));
        let decoded = image::load_from_memory(&picture).unwrap().into_rgb8();
        assert_eq!(decoded.dimensions(), (640, 480));
        assert!(decoded.get_pixel(40, 40)[0] < 80 && decoded.get_pixel(600, 40)[0] > 180);
    }

    #[test]
    fn another_picture_tells_nothing() {
        assert_eq!(sent_at(&test_card().unwrap()), None);
        assert_eq!(sent_at(&COMMENT), None);
    }
}
