//! The closer look: a small network that judges one window by the slopes of its brightness and says where
//! in it the face is.
//!
//! Slopes are summed over the four cells of a patch, apart by their directions ("SURF").

use super::model::WINDOW;

/// Directions of slopes that are told apart.
const CHANNELS: usize = 8;
/// Values of one patch: four cells.
pub(super) const PATCH_VALUES: usize = 4 * CHANNELS;
/// What a network says: whether it is a face; how far right, down, and how large it is, each 0.5 when as
/// the window.
const ANSWERS: usize = 4;
/// Least side of a patch, and steps between patches, in pixels.
const PATCH_SIDE_MIN: usize = 16;
const PATCH_STEP: usize = 16;
/// Width to height of patches.
const PATCH_SHAPES: [(usize, usize); 5] = [(1, 1), (1, 2), (2, 1), (2, 3), (3, 2)];
/// Width and height of a table of sums: an empty row and column in front.
const STRIDE: usize = WINDOW + 1;

/// A part of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

/// All patches that the model numbers, in its order.
pub(super) fn patches() -> Vec<Patch> {
    let mut patches = Vec::new();
    for (columns, rows) in PATCH_SHAPES {
        for height in (PATCH_SIDE_MIN..=WINDOW).filter(|height| height.is_multiple_of(2)) {
            let width = height / rows * columns;
            let is_whole = height.is_multiple_of(rows) && width.is_multiple_of(2);
            if !is_whole || !(PATCH_SIDE_MIN..=WINDOW).contains(&width) {
                continue;
            }
            for y in (0..=WINDOW - height).step_by(PATCH_STEP) {
                for x in (0..=WINDOW - width).step_by(PATCH_STEP) {
                    patches.push(Patch {
                        x,
                        y,
                        width,
                        height,
                    });
                }
            }
        }
    }
    patches
}

/// The slopes in one window, summed over all pixels above and to the left.
#[derive(Debug)]
pub(super) struct Slopes(Vec<[i32; CHANNELS]>);

impl Slopes {
    pub(super) fn new(window: &[[u8; WINDOW]; WINDOW]) -> Self {
        let mut sums = vec![[0; CHANNELS]; STRIDE * STRIDE];
        for y in 0..WINDOW {
            let mut row = [0; CHANNELS];
            for x in 0..WINDOW {
                let across = slope(x, |x| window[y][x]);
                let down = slope(y, |y| window[y][x]);
                for (sum, value) in row.iter_mut().zip(channels(across, down)) {
                    *sum += value;
                }
                let above = sums[y * STRIDE + x + 1];
                let at = &mut sums[(y + 1) * STRIDE + x + 1];
                for (sum, (row, above)) in at.iter_mut().zip(row.iter().zip(above)) {
                    *sum = row + above;
                }
            }
        }
        Self(sums)
    }

    /// The values of a patch, in the length of one.
    fn values(&self, patch: Patch) -> [f32; PATCH_VALUES] {
        let (width, height) = (patch.width / 2, patch.height / 2);
        let mut values = [0.0; PATCH_VALUES];
        let cells = values.chunks_exact_mut(CHANNELS);
        for (cell, (row, column)) in cells.zip([(0, 0), (0, 1), (1, 0), (1, 1)]) {
            let above = (patch.y + row * height) * STRIDE + patch.x + column * width;
            let below = above + height * STRIDE;
            for (channel, value) in cell.iter_mut().enumerate() {
                let sum = |at: usize| self.0[at][channel];
                let inside = sum(below + width) + sum(above) - sum(above + width) - sum(below);
                *value = inside as f32;
            }
        }
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        let length = squares.sqrt() as f32;
        if length > 0.0 {
            for value in &mut values {
                *value /= length;
            }
        }
        values
    }
}

/// The slope at one place of a line of pixels, over two of them; at the ends as much as if it went on.
fn slope(at: usize, pixel: impl Fn(usize) -> u8) -> i32 {
    let (before, behind) = (at.saturating_sub(1), (at + 1).min(WINDOW - 1));
    let difference = i32::from(pixel(behind)) - i32::from(pixel(before));
    if behind - before < 2 {
        2 * difference
    } else {
        difference
    }
}

/// A slope sorted by the direction of the other one, each with its size beside it.
fn channels(across: i32, down: i32) -> [i32; CHANNELS] {
    let mut channels = [0; CHANNELS];
    let half = CHANNELS / 2;
    for (first, value, other) in [(0, across, down), (half, down, across)] {
        let at = if other < 0 { first + 2 } else { first };
        channels[at] = value;
        channels[at + 1] = value.abs();
    }
    channels
}

/// One network.
#[derive(Debug)]
pub(super) struct Network {
    patches: Vec<Patch>,
    layers: Vec<Layer>,
    last: Layer,
    threshold: f32,
}

/// One layer of it: as many weights as inputs for each bias.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) inputs: usize,
    pub(super) weights: Vec<f32>,
    pub(super) biases: Vec<f32>,
}

impl Layer {
    fn answer(&self, inputs: &[f32], activate: impl Fn(f32) -> f32) -> Vec<f32> {
        let weights = self.weights.chunks_exact(self.inputs.max(1));
        weights
            .zip(&self.biases)
            .map(|(weights, bias)| {
                let sum: f32 = inputs.iter().zip(weights).map(|(one, two)| one * two).sum();
                activate(sum + bias)
            })
            .collect()
    }
}

impl Network {
    /// A network of layers that follow each other; `None` without any, or when its answer is no answer.
    pub(super) fn new(patches: Vec<Patch>, mut layers: Vec<Layer>, threshold: f32) -> Option<Self> {
        let last = layers.pop()?;
        (last.biases.len() == ANSWERS).then_some(Self {
            patches,
            layers,
            last,
            threshold,
        })
    }

    /// What it says about a window; `None` when that is no face.
    pub(super) fn answer(&self, slopes: &Slopes) -> Option<[f32; ANSWERS]> {
        let patches = self.patches.iter();
        let mut values: Vec<f32> = patches.flat_map(|patch| slopes.values(*patch)).collect();
        for layer in &self.layers {
            values = layer.answer(&values, |sum| sum.max(0.0));
        }
        let answer = self.last.answer(&values, |sum| 1.0 / (1.0 + (-sum).exp()));
        let answer: [f32; ANSWERS] = answer.try_into().ok()?;
        (answer[0] > self.threshold).then_some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_lie_in_the_window_and_are_as_many_as_the_model_numbers() {
        let patches = patches();
        // The largest number in the model is 54.
        assert!(patches.len() >= 54, "{}", patches.len());
        for patch in patches {
            assert!(patch.x + patch.width <= WINDOW && patch.y + patch.height <= WINDOW);
        }
    }

    #[test]
    fn slopes_are_sorted_by_their_directions() {
        assert_eq!(channels(-3, 4), [-3, 3, 0, 0, 0, 0, 4, 4]);
        assert_eq!(channels(3, -4), [0, 0, 3, 3, -4, 4, 0, 0]);
        assert_eq!(slope(0, |x| x as u8 * 5), 10);
        assert_eq!(slope(7, |x| x as u8 * 5), 10);
        assert_eq!(slope(WINDOW - 1, |x| x as u8 * 5), 10);
    }

    #[test]
    fn the_values_of_a_patch_have_the_length_of_one_whatever_the_window() {
        let mut window = [[0; WINDOW]; WINDOW];
        let patch = Patch {
            x: 0,
            y: 0,
            width: WINDOW,
            height: WINDOW,
        };
        assert!(
            Slopes::new(&window)
                .values(patch)
                .iter()
                .all(|value| *value == 0.0)
        );
        // The steepest there is.
        for (y, row) in window.iter_mut().enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = if (x + y) % 4 < 2 { 255 } else { 0 };
            }
        }
        let values = Slopes::new(&window).values(patch);
        let length: f32 = values.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
}
