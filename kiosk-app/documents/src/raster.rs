//! Pages as pixels and as printer dots. Every raster is bounded before memory is asked for it.

use std::fmt;

use crate::DocumentError;

/// Chosen: A4 at 300 dpi is 2480 pixels wide.
pub(crate) const WIDTH_PX_MAX: u32 = 4_096;
/// Chosen: 2.5 m of slip at 8 dots a millimeter; an A4 page at 4096 is 5793 high.
pub(crate) const HEIGHT_PX_MAX: u32 = 20_000;
/// Chosen: 40 million pixels are 160 MB while they are rendered.
const PIXELS_MAX: u64 = 40_000_000;
/// A pixel darker than this prints. Chosen by looking at 11 pt text at 203 dpi: with the middle, 128,
/// horizontal hair strokes of Chinese glyphs break; from 176 on, dense characters fill up.
const INK_BELOW_LUMA: u32 = 160;

/// One page in color, opaque, on white.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    /// Width, in pixels.
    pub width: u32,
    /// Height, in pixels.
    pub height: u32,
    /// Red, green, blue; row by row from the top left; `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

/// One page in black and white, ready for a thermal printer.
#[derive(Clone, PartialEq, Eq)]
pub struct Bits {
    /// Width, in dots.
    pub width_dots: u32,
    /// Rows from the top, each [`Bits::row_bytes`] long. The most significant bit is the leftmost dot; 1 is black.
    /// Bits beyond the width are 0.
    pub rows: Vec<u8>,
}

impl Page {
    /// Flattens premultiplied RGBA on white, cut or padded with white to the asked width (rounding differs by a pixel).
    pub(crate) fn from_premultiplied(
        width: u32,
        height: u32,
        rgba: &[u8],
        asked_width: u32,
    ) -> Self {
        let asked = asked_width as usize;
        let mut rgb = vec![0xFF; asked * height as usize * 3];
        if width > 0 && asked > 0 {
            for (from, to) in rgba
                .chunks_exact(width as usize * 4)
                .zip(rgb.chunks_exact_mut(asked * 3))
            {
                for (pixel, out) in from.chunks_exact(4).zip(to.chunks_exact_mut(3)) {
                    let white = 0xFF - pixel[3];
                    for (channel, value) in out.iter_mut().zip(pixel) {
                        *channel = value.saturating_add(white);
                    }
                }
            }
        }
        Self {
            width: asked_width,
            height,
            rgb,
        }
    }
}

impl Bits {
    pub(crate) fn from_page(page: &Page) -> Self {
        let row_bytes = page.width.div_ceil(8) as usize;
        let mut rows = vec![0; row_bytes * page.height as usize];
        for (pixels, row) in page
            .rgb
            .chunks_exact(page.width as usize * 3)
            .zip(rows.chunks_exact_mut(row_bytes))
        {
            for (x, pixel) in pixels.chunks_exact(3).enumerate() {
                if luma(pixel) < INK_BELOW_LUMA {
                    row[x / 8] |= 0x80 >> (x % 8);
                }
            }
        }
        Self {
            width_dots: page.width,
            rows,
        }
    }

    /// Bytes of one row: the width in dots, divided by eight, rounded up.
    pub fn row_bytes(&self) -> usize {
        self.width_dots.div_ceil(8) as usize
    }

    /// Height, in dots.
    pub fn height_dots(&self) -> usize {
        self.rows.len().checked_div(self.row_bytes()).unwrap_or(0)
    }

    /// Whether the dot is black. Dots outside are white.
    pub fn is_black(&self, x: u32, y: u32) -> bool {
        x < self.width_dots
            && self
                .rows
                .get(y as usize * self.row_bytes() + x as usize / 8)
                .is_some_and(|byte| byte & (0x80 >> (x % 8)) != 0)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, height, .. } = self;
        formatter
            .debug_struct("Page")
            .field("width", width)
            .field("height", height)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Bits")
            .field("width_dots", &self.width_dots)
            .field("height_dots", &self.height_dots())
            .finish_non_exhaustive()
    }
}

/// Pixels per unit for a page of this size at this width, and the height that follows.
pub(crate) fn scale(width: f64, height: f64, width_px: u32) -> Result<(f64, u32), DocumentError> {
    if width_px == 0 || width_px > WIDTH_PX_MAX {
        return Err(DocumentError::Width { width_px });
    }
    let factor = f64::from(width_px) / width;
    let tall = (height * factor).round();
    let limit = f64::from(HEIGHT_PX_MAX);
    // Written so that a page of no size, or of size NaN, is refused as well.
    if !(factor.is_finite() && factor > 0.0 && (0.0..=limit).contains(&tall)) {
        return Err(DocumentError::TooLarge {
            what: "page height in pixels",
            limit: HEIGHT_PX_MAX as usize,
        });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "just checked to lie in 0..=20000"
    )]
    let height_px = (tall as u32).max(1);
    if u64::from(width_px) * u64::from(height_px) > PIXELS_MAX {
        return Err(DocumentError::TooLarge {
            what: "pixels of a page",
            limit: 40_000_000,
        });
    }
    Ok((factor, height_px))
}

/// Brightness as the eye weighs it, 0–255 (Rec. 601).
fn luma(pixel: &[u8]) -> u32 {
    let weights = [299, 587, 114];
    pixel
        .iter()
        .zip(weights)
        .map(|(value, weight)| u32::from(*value) * weight)
        .sum::<u32>()
        / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_most_significant_bit_first_and_padding_is_white() {
        let mut page = Page {
            width: 10,
            height: 2,
            rgb: vec![0xFF; 60],
        };
        for x in [0, 9] {
            page.rgb[x * 3..x * 3 + 3].fill(0);
        }
        let bits = Bits::from_page(&page);
        assert_eq!(bits.rows, [0b1000_0000, 0b0100_0000, 0, 0]);
        assert_eq!((bits.row_bytes(), bits.height_dots()), (2, 2));
        assert!(
            bits.is_black(9, 0)
                && !bits.is_black(9, 1)
                && !bits.is_black(10, 0)
                && !bits.is_black(0, 9)
        );
    }

    #[test]
    fn transparent_pixels_become_white() {
        let page = Page::from_premultiplied(2, 1, &[0, 0, 0, 0, 10, 0, 0, 255], 3);
        assert_eq!(page.rgb, [255, 255, 255, 10, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn a_raster_beyond_the_limits_is_refused_before_it_is_made() {
        let cases = [
            (100.0, 100.0, 0),
            (100.0, 100.0, WIDTH_PX_MAX + 1),
            (1.0, 1e9, 576),
            (0.0, 10.0, 576),
        ];
        for (width, height, width_px) in cases {
            assert!(
                scale(width, height, width_px).is_err(),
                "{width} × {height} at {width_px}"
            );
        }
        assert!(scale(f64::NAN, 1.0, 576).is_err());
        assert_eq!(scale(72.0, 36.0, 576).unwrap(), (8.0, 288));
    }
}
