//! Pictures made from a frame for one more attempt, each with the way back to the frame's pixels.
//! Content of a frame may be personal: every picture is overwritten when it is dropped.

use zeroize::Zeroizing;

/// Pixels of a picture that is enlarged at most. Chosen: twice a frame of 1280 × 960.
const PIXELS_MAX: u32 = 5 * 1024 * 1024;

/// An 8-bit gray picture.
pub(super) struct Picture {
    pixels: Zeroizing<Vec<u8>>,
    width: u32,
    height: u32,
    back: Back,
}

/// From a picture's pixels to the frame's: turn, scale, move.
#[derive(Clone, Copy)]
struct Back {
    x: [f32; 3],
    y: [f32; 3],
}

impl Back {
    const SAME: Self = Self {
        x: [1.0, 0.0, 0.0],
        y: [0.0, 1.0, 0.0],
    };

    fn point(self, x: f32, y: f32) -> (f32, f32) {
        let along = |[a, b, c]: [f32; 3]| a * x + b * y + c;
        (along(self.x), along(self.y))
    }

    /// First `before`, then this.
    fn after(self, before: Self) -> Self {
        let both = |[a, b, c]: [f32; 3]| {
            [
                a * before.x[0] + b * before.y[0],
                a * before.x[1] + b * before.y[1],
                a * before.x[2] + b * before.y[2] + c,
            ]
        };
        Self {
            x: both(self.x),
            y: both(self.y),
        }
    }

    fn scaled(factor: f32) -> Self {
        Self {
            x: [factor, 0.0, 0.0],
            y: [0.0, factor, 0.0],
        }
    }
}

impl Picture {
    /// A frame reduced by a whole factor until no side is longer than `side_max`.
    pub(super) fn reduced(gray: &[u8], width: u32, height: u32, side_max: u32) -> Self {
        let factor = width.max(height).div_ceil(side_max).max(1);
        let whole = Self {
            pixels: Zeroizing::new(gray.to_vec()),
            width,
            height,
            back: Back::SAME,
        };
        if factor == 1 { whole } else { whole.by(factor) }
    }

    /// The middle of a frame: half of each side, `side_max` at most.
    pub(super) fn cropped(gray: &[u8], width: u32, height: u32, side_max: u32) -> Self {
        let part = (width / 2).clamp(1, side_max);
        let rows = (height / 2).clamp(1, side_max);
        let (left, top) = ((width - part) / 2, (height - rows) / 2);
        let lines = gray
            .chunks_exact(index(width))
            .skip(index(top))
            .take(index(rows));
        let mut pixels = Vec::with_capacity(index(part) * index(rows));
        for line in lines {
            pixels.extend(line.iter().skip(index(left)).take(index(part)));
        }
        Self {
            pixels: Zeroizing::new(pixels),
            width: part,
            height: rows,
            back: Back {
                x: [1.0, 0.0, float(left)],
                y: [0.0, 1.0, float(top)],
            },
        }
    }

    pub(super) fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    pub(super) fn width(&self) -> u32 {
        self.width
    }

    pub(super) fn height(&self) -> u32 {
        self.height
    }

    /// Where a point of this picture is in the frame.
    pub(super) fn in_frame(&self, x: f32, y: f32) -> (f32, f32) {
        self.back.point(x, y)
    }

    /// Half the sides; `None` when nothing would be left of a code.
    pub(super) fn halved(&self) -> Option<Self> {
        (self.width.min(self.height) >= 64).then(|| self.by(2))
    }

    /// Means of squares of `factor` pixels.
    fn by(&self, factor: u32) -> Self {
        let (width, height) = ((self.width / factor).max(1), (self.height / factor).max(1));
        let side = index(factor);
        let mut pixels = Vec::with_capacity(index(width) * index(height));
        let mut sums = vec![0_u32; index(width)];
        for band in self
            .pixels
            .chunks_exact(index(self.width) * side)
            .take(index(height))
        {
            sums.fill(0);
            for line in band.chunks_exact(index(self.width)) {
                for (sum, square) in sums.iter_mut().zip(line.chunks_exact(side)) {
                    *sum += square.iter().map(|pixel| u32::from(*pixel)).sum::<u32>();
                }
            }
            pixels.extend(sums.iter().map(|sum| byte(sum / (factor * factor))));
        }
        self.with(pixels, width, height, Back::scaled(float(factor)))
    }

    fn with(&self, pixels: Vec<u8>, width: u32, height: u32, back: Back) -> Self {
        Self {
            pixels: Zeroizing::new(pixels),
            width,
            height,
            back: self.back.after(back),
        }
    }

    fn same_size(&self, pixels: Vec<u8>) -> Self {
        self.with(pixels, self.width, self.height, Back::SAME)
    }

    /// Twice the sides, between the pixels by their distance; `None` when it became too large.
    pub(super) fn doubled(&self) -> Option<Self> {
        let (width, height) = (self.width * 2, self.height * 2);
        if width.checked_mul(height)? > PIXELS_MAX {
            return None;
        }
        let mut pixels = Vec::with_capacity(index(width) * index(height));
        let lines: Vec<&[u8]> = self.pixels.chunks_exact(index(self.width)).collect();
        for (row, near) in lines.iter().enumerate() {
            let above = lines.get(row.saturating_sub(1)).unwrap_or(near);
            let below = lines.get(row + 1).unwrap_or(near);
            for far in [above, below] {
                // Three quarters of the nearer line and one of the other.
                let line: Vec<u32> = near
                    .iter()
                    .zip(*far)
                    .map(|(near, far)| 3 * u32::from(*near) + u32::from(*far))
                    .collect();
                for (column, near) in line.iter().enumerate() {
                    let left = line.get(column.saturating_sub(1)).unwrap_or(near);
                    let right = line.get(column + 1).unwrap_or(near);
                    pixels.extend([byte((3 * near + left) / 16), byte((3 * near + right) / 16)]);
                }
            }
        }
        Some(self.with(pixels, width, height, Back::scaled(0.5)))
    }

    /// Each pixel and its eight neighbors, weighted 1 2 1 both ways.
    pub(super) fn smoothed(&self) -> Self {
        let lines: Vec<&[u8]> = self.pixels.chunks_exact(index(self.width)).collect();
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for (row, near) in lines.iter().enumerate() {
            let above = lines.get(row.saturating_sub(1)).unwrap_or(near);
            let below = lines.get(row + 1).unwrap_or(near);
            let line: Vec<u32> = near
                .iter()
                .zip(above.iter().zip(*below))
                .map(|(near, (above, below))| {
                    2 * u32::from(*near) + u32::from(*above) + u32::from(*below)
                })
                .collect();
            for (column, near) in line.iter().enumerate() {
                let left = line.get(column.saturating_sub(1)).unwrap_or(near);
                let right = line.get(column + 1).unwrap_or(near);
                pixels.push(byte((2 * near + left + right + 8) / 16));
            }
        }
        self.same_size(pixels)
    }

    /// What differs from its surroundings, made to differ more by `gain`.
    pub(super) fn sharpened(&self, radius: u32, gain: i32) -> Self {
        let means = self.means(radius);
        let pixels = self.pixels.iter().zip(&*means).map(|(pixel, mean)| {
            let (pixel, mean) = (i32::from(*pixel), i32::from(*mean));
            let sharp = pixel + gain * (pixel - mean);
            byte(u32::try_from(sharp).unwrap_or(0))
        });
        self.same_size(pixels.collect())
    }

    /// Only what differs from its surroundings, `gain` times, around a middle gray.
    pub(super) fn amplified(&self, radius: u32, gain: i32) -> Self {
        let means = self.means(radius);
        let pixels = self.pixels.iter().zip(&*means).map(|(pixel, mean)| {
            let (pixel, mean) = (i32::from(*pixel), i32::from(*mean));
            byte(u32::try_from(128 + gain * (pixel - mean)).unwrap_or(0))
        });
        self.same_size(pixels.collect())
    }

    /// Black where a pixel is darker than the mean around it by more than `offset`, else white.
    pub(super) fn local_threshold(&self, radius: u32, offset: u8) -> Self {
        let means = self.means(radius);
        let pixels = self.pixels.iter().zip(&*means);
        let pixels = pixels.map(|(pixel, mean)| {
            if pixel.saturating_add(offset) < *mean {
                0
            } else {
                255
            }
        });
        self.same_size(pixels.collect())
    }

    /// The mean of the square of `radius` around each pixel, as far as it lies in the picture.
    fn means(&self, radius: u32) -> Zeroizing<Vec<u8>> {
        let (width, height, radius) = (index(self.width), index(self.height), index(radius));
        // Sums along the lines first, then of these down the columns: no step looks at a square.
        let mut sums = Vec::with_capacity(self.pixels.len());
        for line in self.pixels.chunks_exact(width) {
            let mut sum: u32 = line
                .iter()
                .take(radius)
                .map(|pixel| u32::from(*pixel))
                .sum();
            for column in 0..width {
                sum += line
                    .get(column + radius)
                    .map_or(0, |pixel| u32::from(*pixel));
                sums.push(sum);
                let leaving = column.checked_sub(radius).and_then(|at| line.get(at));
                sum -= leaving.map_or(0, |pixel| u32::from(*pixel));
            }
        }
        let lines: Vec<&[u32]> = sums.chunks_exact(width).collect();
        let mut columns = vec![0_u32; width];
        for line in lines.iter().take(radius) {
            add(&mut columns, line);
        }
        let across: Vec<u32> = (0..width).map(|at| reach(at, radius, width)).collect();
        let mut means = Vec::with_capacity(self.pixels.len());
        for row in 0..height {
            if let Some(line) = lines.get(row + radius) {
                add(&mut columns, line);
            }
            let down = reach(row, radius, height);
            let line = columns.iter().zip(&across);
            means.extend(line.map(|(sum, across)| byte(sum / (across * down))));
            if let Some(line) = row.checked_sub(radius).and_then(|at| lines.get(at)) {
                for (column, sum) in columns.iter_mut().zip(*line) {
                    *column -= sum;
                }
            }
        }
        Zeroizing::new(means)
    }
}

/// How many places within `radius` of `at` lie below `length`.
fn reach(at: usize, radius: usize, length: usize) -> u32 {
    let first = at.saturating_sub(radius);
    let last = (at + radius).min(length - 1);
    u32::try_from(last - first + 1).unwrap_or(1)
}

fn add(columns: &mut [u32], line: &[u32]) {
    for (column, sum) in columns.iter_mut().zip(line) {
        *column += sum;
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn byte(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Sides of frames have 15 bits.
fn float(number: u32) -> f32 {
    f32::from(u16::try_from(number).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(pixels: &[u8], width: u32) -> Picture {
        let height = u32::try_from(pixels.len()).unwrap() / width;
        Picture::reduced(pixels, width, height, 1280)
    }

    #[test]
    fn halving_takes_means_and_knows_the_way_back() {
        let wide: Vec<u8> = [[10_u8, 20], [30, 40]].concat().repeat(1);
        let small = picture(&wide, 2).by(2);
        assert_eq!(
            (small.pixels(), small.width(), small.height()),
            (&[25][..], 1, 1)
        );
        assert_eq!(small.in_frame(1.0, 0.5), (2.0, 1.0));
        assert!(picture(&wide, 2).halved().is_none());
    }

    #[test]
    fn doubling_keeps_even_areas_and_knows_the_way_back() {
        let large = picture(&[7; 12], 4).doubled().unwrap();
        assert_eq!((large.width(), large.height()), (8, 6));
        assert!(large.pixels().iter().all(|pixel| *pixel == 7));
        assert_eq!(large.in_frame(8.0, 6.0), (4.0, 3.0));
        let edge = picture(&[0, 16], 2).doubled().unwrap();
        assert_eq!(edge.pixels(), [0, 4, 12, 16, 0, 4, 12, 16]);
    }

    #[test]
    fn the_middle_is_cut_out_and_large_frames_are_reduced() {
        let pixels: Vec<u8> = (0..16).collect();
        let middle = Picture::cropped(&pixels, 4, 4, 640);
        assert_eq!(middle.pixels(), [5, 6, 9, 10]);
        assert_eq!(middle.in_frame(0.0, 1.0), (1.0, 2.0));
        let reduced = Picture::reduced(&[9; 300], 100, 3, 40);
        assert_eq!((reduced.width(), reduced.height()), (33, 1));
        assert!(reduced.pixels().iter().all(|pixel| *pixel == 9));
    }

    #[test]
    fn means_are_those_of_the_square_around_each_pixel() {
        let pixels: Vec<u8> = (0..63).map(|at| at * 4).collect();
        let source = picture(&pixels, 9);
        for radius in [1, 2, 30] {
            let means = source.means(radius);
            let radius = usize::try_from(radius).unwrap();
            for (at, mean) in means.iter().enumerate() {
                let (row, column) = (at / 9, at % 9);
                let rows = row.saturating_sub(radius)..=(row + radius).min(6);
                let mut sum = 0;
                let mut count = 0;
                for row in rows {
                    for column in column.saturating_sub(radius)..=(column + radius).min(8) {
                        sum += u32::from(pixels[row * 9 + column]);
                        count += 1;
                    }
                }
                assert_eq!(u32::from(*mean), sum / count, "{at} {radius}");
            }
        }
    }

    #[test]
    fn even_areas_stay_even_and_edges_get_steeper() {
        assert!(
            picture(&[80; 100], 10)
                .smoothed()
                .pixels()
                .iter()
                .all(|p| *p == 80)
        );
        assert!(
            picture(&[80; 100], 10)
                .sharpened(2, 2)
                .pixels()
                .iter()
                .all(|p| *p == 80)
        );
        let edge: Vec<u8> = [100_u8, 100, 100, 120, 120, 120].repeat(6);
        let sharp = picture(&edge, 6).sharpened(1, 2);
        let line = &sharp.pixels()[12..18];
        assert!(line[2] < 100 && line[3] > 120, "{line:?}");
        let black_and_white = picture(&edge, 6).local_threshold(2, 2);
        assert_eq!(black_and_white.pixels()[14], 0);
        assert_eq!(black_and_white.pixels()[15], 255);
    }
}
