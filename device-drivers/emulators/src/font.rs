//! Glyphs for what the emulators draw: 1-bit cells from a Chinese font found on this machine.
//!
//! Without such a font every character is a framed box, so that layout still shows; a test that
//! needs to read text checks `is_available` first.

use std::sync::OnceLock;

use ab_glyph::{Font, FontVec, Glyph, PxScale, point};

/// Where a font with Chinese glyphs may be, and which face of the collection is simplified
/// Chinese. Debian's package fonts-noto-cjk owns the first.
const FONTS: [(&str, u32); 4] = [
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/opentype/noto/NotoSerifCJK-Regular.ttc", 2),
    ("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", 0),
    (
        "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf",
        0,
    ),
];

/// Coverage above which a dot is black. Chosen by eye for 24-dot glyphs.
const BLACK: f32 = 0.45;

/// A black-and-white picture, one `bool` per dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bitmap {
    pub(crate) width: usize,
    pub(crate) height: usize,
    dots: Vec<bool>,
}

impl Bitmap {
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            dots: vec![false; width * height],
        }
    }

    pub(crate) fn is_black(&self, x: usize, y: usize) -> bool {
        x < self.width && self.dots.get(y * self.width + x).copied().unwrap_or(false)
    }

    pub(crate) fn blacken(&mut self, x: usize, y: usize) {
        if x < self.width
            && let Some(dot) = self.dots.get_mut(y * self.width + x)
        {
            *dot = true;
        }
    }

    /// Each dot becomes `across` × `down` dots.
    pub(crate) fn scaled(&self, across: usize, down: usize) -> Self {
        let mut scaled = Self::new(self.width * across, self.height * down);
        for y in 0..scaled.height {
            for x in 0..scaled.width {
                if self.is_black(x / across, y / down) {
                    scaled.blacken(x, y);
                }
            }
        }
        scaled
    }
}

fn font() -> Option<&'static FontVec> {
    static FONT: OnceLock<Option<FontVec>> = OnceLock::new();
    FONT.get_or_init(|| {
        let found = FONTS.iter().find_map(|(path, face)| {
            FontVec::try_from_vec_and_index(std::fs::read(path).ok()?, *face).ok()
        });
        if found.is_none() {
            tracing::warn!("no Chinese font here: emulated prints show boxes for characters");
        }
        found
    })
    .as_ref()
}

/// True when characters are drawn and not boxed.
#[cfg(test)]
pub(crate) fn is_available() -> bool {
    font().is_some()
}

/// The character in a cell of `width` × `height` dots.
pub(crate) fn glyph(character: char, width: usize, height: usize) -> Bitmap {
    let mut cell = Bitmap::new(width, height);
    if character.is_whitespace() {
        return cell;
    }
    let Some(font) = font() else {
        frame(&mut cell);
        return cell;
    };
    let em = font.units_per_em().unwrap_or(1000.0);
    let size = f32::from(u16::try_from(height).unwrap_or(u16::MAX));
    // The scale of `ab_glyph` counts from ascent to descent, a cell counts the em.
    let scale = PxScale::from(size * font.height_unscaled() / em);
    let id = font.glyph_id(character);
    if id.0 == 0 {
        frame(&mut cell);
        return cell;
    }
    let baseline = size * 0.86;
    let outline = font.outline_glyph(Glyph {
        id,
        scale,
        position: point(0.0, baseline),
    });
    if let Some(outline) = outline {
        let bounds = outline.px_bounds();
        outline.draw(|x, y, coverage| {
            if coverage > BLACK {
                let place = |offset: f32, step: u32| {
                    let at = offset + f32::from(u16::try_from(step).unwrap_or(u16::MAX));
                    place_of(at)
                };
                if let (Some(x), Some(y)) = (place(bounds.min.x, x), place(bounds.min.y, y)) {
                    cell.blacken(x, y);
                }
            }
        });
    }
    cell
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is checked to lie between 0 and 65535"
)]
fn place_of(at: f32) -> Option<usize> {
    (0.0..65_535.0).contains(&at).then_some(at as usize)
}

fn frame(cell: &mut Bitmap) {
    let (right, bottom) = (cell.width.saturating_sub(2), cell.height.saturating_sub(2));
    for x in 1..=right {
        cell.blacken(x, 1);
        cell.blacken(x, bottom);
    }
    for y in 1..=bottom {
        cell.blacken(1, y);
        cell.blacken(right, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn black(cell: &Bitmap) -> usize {
        cell.dots.iter().filter(|dot| **dot).count()
    }

    #[test]
    fn characters_leave_ink_and_spaces_do_not() {
        assert!(black(&glyph('测', 24, 24)) > 40);
        assert!(black(&glyph('1', 12, 24)) > 10);
        assert_eq!(black(&glyph(' ', 12, 24)), 0);
        if is_available() {
            assert_ne!(glyph('测', 24, 24), glyph('试', 24, 24));
        }
    }

    #[test]
    fn scaling_multiplies_the_ink() {
        let cell = glyph('测', 24, 24);
        assert_eq!(black(&cell.scaled(2, 3)), black(&cell) * 6);
    }
}
