//! The first look: which of the windows of a picture may be a face, by the textures in them.
//!
//! A texture is the comparison of a block of three by three pixels with its eight neighbors, one bit
//! each ("locally assembled binary").

use image::GrayImage;

use super::model::WINDOW;

/// Side of a block, in pixels.
const BLOCK: usize = 3;
/// Side of a texture: three blocks.
const TEXTURE: usize = 3 * BLOCK;
/// The blocks around the middle one with their bits: columns and rows of blocks.
const AROUND: [(usize, usize, u8); 8] = [
    (0, 0, 0x80),
    (1, 0, 0x40),
    (2, 0, 0x20),
    (0, 1, 0x10),
    (2, 1, 0x08),
    (0, 2, 0x04),
    (1, 2, 0x02),
    (2, 2, 0x01),
];
/// Least deviation of the brightness in a window with a face, of 255 (the model's own).
const DEVIATION_MIN: f64 = 10.0;

/// What there is to know about one picture.
#[derive(Debug)]
pub(super) struct Textures {
    width: usize,
    /// A code for each pixel that begins a texture.
    codes: Vec<u8>,
    /// Sums of brightness and of its squares over all pixels above and to the left.
    sums: Sums,
}

/// Sums over what lies above and to the left, with an empty row and column in front.
#[derive(Debug)]
struct Sums {
    stride: usize,
    values: Vec<(u32, u64)>,
}

impl Sums {
    fn new(picture: &GrayImage) -> Self {
        let stride = picture.width() as usize + 1;
        let mut values = vec![(0, 0); stride];
        for row in picture.as_raw().chunks_exact(stride - 1) {
            let above = values.len() - stride;
            let (mut sum, mut squares) = (0_u32, 0_u64);
            values.push((0, 0));
            for (x, value) in (above + 1..).zip(row) {
                sum += u32::from(*value);
                squares += u64::from(*value).pow(2);
                let (sum_above, squares_above) = values[x];
                values.push((sum_above + sum, squares_above + squares));
            }
        }
        Self { stride, values }
    }

    /// The sums over a square.
    fn of(&self, x: usize, y: usize, side: usize) -> (u32, u64) {
        let above = y * self.stride + x;
        let below = above + side * self.stride;
        let plus = [above, below + side].map(|at| self.values[at]);
        let minus = [above + side, below].map(|at| self.values[at]);
        (
            plus[0].0 + plus[1].0 - minus[0].0 - minus[1].0,
            plus[0].1 + plus[1].1 - minus[0].1 - minus[1].1,
        )
    }
}

impl Textures {
    /// Of a picture whose sides are [`WINDOW`] at least.
    pub(super) fn new(picture: &GrayImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let sums = Sums::new(picture);
        let mut blocks = vec![0; width * height];
        for y in 0..=height.saturating_sub(BLOCK) {
            for x in 0..=width.saturating_sub(BLOCK) {
                blocks[y * width + x] = sums.of(x, y, BLOCK).0;
            }
        }
        let mut codes = vec![0; width * height];
        for y in 0..=height.saturating_sub(TEXTURE) {
            for x in 0..=width.saturating_sub(TEXTURE) {
                let block = |column: usize, row: usize| {
                    blocks[(y + row * BLOCK) * width + x + column * BLOCK]
                };
                let middle = block(1, 1);
                codes[y * width + x] = AROUND
                    .iter()
                    .filter(|(column, row, _)| middle >= block(*column, *row))
                    .fold(0, |code, (_, _, bit)| code | bit);
            }
        }
        Self { width, codes, sums }
    }

    /// The standard deviation of the brightness in a window.
    fn deviation(&self, x: usize, y: usize) -> f64 {
        let (sum, squares) = self.sums.of(x, y, WINDOW);
        let area = (WINDOW * WINDOW) as f64;
        let mean = f64::from(sum) / area;
        (squares as f64 / area - mean * mean).max(0.0).sqrt()
    }
}

/// One classifier: groups of weak ones, each group with the score that a face has behind it.
#[derive(Debug)]
pub(super) struct Boosted {
    pub(super) groups: Vec<Group>,
}

/// Some weak classifiers and the score that a face has behind them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) weak: Vec<Weak>,
    pub(super) threshold: f32,
}

/// Where a weak classifier looks in the window, and what each texture there counts.
#[derive(Debug)]
pub(super) struct Weak {
    x: usize,
    y: usize,
    /// One for each code.
    pub(super) weights: Vec<f32>,
}

impl Weak {
    /// One without weights; `None` when it looks outside of the window.
    pub(super) fn new(x: usize, y: usize) -> Option<Self> {
        let is_inside = [x, y].iter().all(|at| *at <= WINDOW - TEXTURE);
        is_inside.then_some(Self {
            x,
            y,
            weights: Vec::new(),
        })
    }
}

impl Boosted {
    /// How much the window at that place, which lies in the picture, is like a face; `None`: not enough.
    pub(super) fn score(&self, textures: &Textures, x: usize, y: usize) -> Option<f32> {
        let mut score = 0.0;
        for group in &self.groups {
            for weak in &group.weak {
                let at = (y + weak.y) * textures.width + x + weak.x;
                score += weak.weights[usize::from(textures.codes[at])];
            }
            if score < group.threshold {
                return None;
            }
        }
        (textures.deviation(x, y) > DEVIATION_MIN).then_some(score)
    }
}

#[cfg(test)]
mod tests {
    use image::Luma;

    use super::*;

    #[test]
    fn a_texture_tells_which_neighbors_are_darker() {
        // Brighter from block to block, row by row.
        let picture = GrayImage::from_fn(40, 40, |x, y| Luma([(9 * (y / 3) + 3 * (x / 3)) as u8]));
        let textures = Textures::new(&picture);
        assert_eq!(textures.codes[0], 0x80 | 0x40 | 0x20 | 0x10);
        let flat = Textures::new(&GrayImage::from_pixel(40, 40, Luma([7])));
        assert_eq!(flat.codes[31 * 40 + 31], 0xFF);
    }

    #[test]
    fn the_deviation_is_that_of_the_window_also_in_the_largest_bright_picture() {
        let picture = GrayImage::from_fn(320, 320, |x, _| Luma([255 - (x % 2) as u8 * 40]));
        let textures = Textures::new(&picture);
        for (x, y) in [(0, 0), (280, 280), (0, 280), (13, 270)] {
            assert!((textures.deviation(x, y) - 20.0).abs() < 1e-6, "{x} {y}");
        }
    }
}
