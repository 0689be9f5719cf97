//! A text as a code for a telephone or a scanner, one pixel to a module.
//!
//! Error correction M and a quiet zone of four modules (ISO/IEC 18004 §6.3.8): a reader needs both where the glass
//! mirrors a lamp. Black on white always; the colors of the page do not reach it.

use qrcode::{Color, EcLevel, QrCode};
use slint::{Image, Rgb8Pixel, SharedPixelBuffer};

/// Modules of white around a code (ISO/IEC 18004 §6.3.8).
const QUIET_ZONE: u32 = 4;

/// Longest text. Chosen: what a code of 129 modules holds in letters and digits; more modules would be smaller than a
/// telephone sees on the narrow side of the panel.
pub(crate) const TEXT_BYTES_MAX: usize = 1538;

const BLACK: Rgb8Pixel = Rgb8Pixel { r: 0, g: 0, b: 0 };
const WHITE: Rgb8Pixel = Rgb8Pixel {
    r: 255,
    g: 255,
    b: 255,
};

/// Draws `text`; returns the picture and its side in modules, the quiet zone included.
///
/// `None` when the text is empty or does not fit.
pub(crate) fn draw(text: &str) -> Option<(Image, u32)> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let inner = u32::try_from(code.width()).ok()?;
    let side = inner + 2 * QUIET_ZONE;
    let mut pixels = SharedPixelBuffer::<Rgb8Pixel>::new(side, side);
    pixels.make_mut_slice().fill(WHITE);
    let modules = code.to_colors();
    let row_bytes = usize::try_from(side).ok()?;
    let rows = pixels
        .make_mut_slice()
        .chunks_mut(row_bytes)
        .skip(QUIET_ZONE as usize);
    for (row, modules) in rows.zip(modules.chunks(code.width())) {
        let inside = row.iter_mut().skip(QUIET_ZONE as usize);
        for (pixel, _) in inside
            .zip(modules)
            .filter(|(_, module)| **module == Color::Dark)
        {
            *pixel = BLACK;
        }
    }
    Some((Image::from_rgb8(pixels), side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_quiet_zone_and_its_finder_in_the_corner() {
        let (image, side) = draw("KC1:TEST").unwrap();
        assert_eq!(side, 21 + 8);
        let pixels = image.to_rgb8().unwrap();
        assert_eq!((pixels.width(), pixels.height()), (side, side));
        let at = |x: u32, y: u32| pixels.as_slice()[(y * side + x) as usize];
        for place in 0..side {
            for edge in (0..QUIET_ZONE).chain(side - QUIET_ZONE..side) {
                assert_eq!(at(place, edge), WHITE);
                assert_eq!(at(edge, place), WHITE);
            }
        }
        for place in QUIET_ZONE..QUIET_ZONE + 7 {
            assert_eq!(at(place, QUIET_ZONE), BLACK);
            assert_eq!(at(QUIET_ZONE, place), BLACK);
        }
        assert_eq!(at(QUIET_ZONE + 1, QUIET_ZONE + 1), WHITE);
    }

    #[test]
    fn the_longest_text_still_has_a_code() {
        let (_, side) = draw(&"A".repeat(TEXT_BYTES_MAX)).unwrap();
        assert_eq!(side, 121 + 8);
    }

    #[test]
    fn what_no_telephone_could_see_is_no_code() {
        assert!(draw("").is_none());
        assert!(draw(&"A".repeat(TEXT_BYTES_MAX + 1)).is_none());
    }
}
