//! Evens out the light on a page: paper becomes white where it lies in shade, ink stays ink. Colors
//! keep their tone, because all three channels get the same gain.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "places and colors of a bounded picture: exact in each of these types"
)]

use image::RgbImage;

/// Pixels of one cell of the map of light, at least.
const CELL_PIXELS_MIN: u32 = 16;
/// Cells along the longest side.
const CELLS: u32 = 28;
/// What paper shall be, of 255.
const PAPER: f32 = 244.0;
/// The most that shade is brightened by. Chosen: more turns noise into spots.
const GAIN_MAX: f32 = 2.2;
/// A cell without paper in it (a photograph) is no brighter than this share of its surroundings.
const DARK_SHARE: f32 = 0.6;
/// Share of pixels that are ink at least; the brightest of them becomes black at most.
const INK_SHARE: usize = 100;
/// The brightest black point. Chosen: gray print must stay gray.
const BLACK_MAX: f32 = 70.0;

/// Brightens the shade on a page and stretches its contrast, in place.
pub fn even_out(page: &mut RgbImage) {
    let (width, height) = page.dimensions();
    if width == 0 || height == 0 {
        return;
    }
    let light = Light::of(page);
    let mut counts = [0_usize; 256];
    for (x, y, pixel) in page.enumerate_pixels_mut() {
        let gain = light.gain(x, y);
        for channel in &mut pixel.0 {
            *channel = (f32::from(*channel) * gain).min(255.0) as u8;
        }
        counts[usize::from(luma(pixel.0))] += 1;
    }
    let black = black_point(&counts, (width as usize * height as usize) / INK_SHARE);
    let scale = 255.0 / (PAPER - black);
    for pixel in page.pixels_mut() {
        for channel in &mut pixel.0 {
            *channel = ((f32::from(*channel) - black) * scale).clamp(0.0, 255.0) as u8;
        }
    }
}

/// How bright paper is in each part of the page.
struct Light {
    columns: usize,
    rows: usize,
    cell: f32,
    paper: Vec<f32>,
}

impl Light {
    fn of(page: &RgbImage) -> Self {
        let (width, height) = page.dimensions();
        let cell = (width.max(height) / CELLS).max(CELL_PIXELS_MIN);
        let (columns, rows) = (
            width.div_ceil(cell) as usize,
            height.div_ceil(cell) as usize,
        );
        let mut counts = vec![[0_u32; 256]; columns * rows];
        for (x, y, pixel) in page.enumerate_pixels() {
            let at = (y / cell) as usize * columns + (x / cell) as usize;
            if let Some(counts) = counts.get_mut(at) {
                counts[usize::from(luma(pixel.0))] += 1;
            }
        }
        let paper = counts.iter().map(bright).collect();
        let mut light = Self {
            columns,
            rows,
            cell: cell as f32,
            paper,
        };
        light.fill_dark();
        light.fill_dark();
        light
    }

    /// Cells that are far darker than their neighbors hold a photograph or a black bar: the light there
    /// is that of the neighbors.
    fn fill_dark(&mut self) {
        let before = self.paper.clone();
        for row in 0..self.rows {
            for column in 0..self.columns {
                let mut around = Vec::with_capacity(25);
                for y in row.saturating_sub(2)..(row + 3).min(self.rows) {
                    for x in column.saturating_sub(2)..(column + 3).min(self.columns) {
                        around.extend(before.get(y * self.columns + x));
                    }
                }
                around.sort_by(f32::total_cmp);
                let usual = around.get(around.len() * 3 / 4).copied().unwrap_or(PAPER);
                if let Some(paper) = self.paper.get_mut(row * self.columns + column)
                    && *paper < usual * DARK_SHARE
                {
                    *paper = usual;
                }
            }
        }
    }

    /// What a pixel is multiplied by; smooth from cell to cell.
    fn gain(&self, x: u32, y: u32) -> f32 {
        let place = |at: u32, count: usize| {
            ((at as f32 + 0.5) / self.cell - 0.5).clamp(0.0, (count - 1) as f32)
        };
        let (x, y) = (place(x, self.columns), place(y, self.rows));
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = (
            (left + 1).min(self.columns - 1),
            (top + 1).min(self.rows - 1),
        );
        let paper = |x: usize, y: usize| {
            self.paper
                .get(y * self.columns + x)
                .copied()
                .unwrap_or(PAPER)
        };
        let (across, down) = (x - left as f32, y - top as f32);
        let upper = paper(left, top) * (1.0 - across) + paper(right, top) * across;
        let lower = paper(left, bottom) * (1.0 - across) + paper(right, bottom) * across;
        let paper = upper * (1.0 - down) + lower * down;
        (PAPER / paper.max(1.0)).clamp(1.0, GAIN_MAX)
    }
}

/// The brightness that one in ten pixels of a cell reaches.
fn bright(counts: &[u32; 256]) -> f32 {
    let mut above = counts.iter().sum::<u32>() / 10;
    for (value, count) in counts.iter().enumerate().rev() {
        if *count > above {
            return value as f32;
        }
        above -= count;
    }
    PAPER
}

fn black_point(counts: &[usize; 256], ink: usize) -> f32 {
    let mut below = 0;
    for (value, count) in counts.iter().enumerate() {
        below += count;
        if below > ink {
            return (value as f32).min(BLACK_MAX);
        }
    }
    0.0
}

/// ITU-R BT.601, in 1/256.
fn luma(color: [u8; 3]) -> u8 {
    let [red, green, blue] = color.map(u32::from);
    u8::try_from((77 * red + 150 * green + 29 * blue) >> 8).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn shade_is_brightened_and_ink_stays_dark() {
        let mut page = RgbImage::from_fn(400, 560, |x, y| {
            let light = 1.0 - 0.45 * x as f32 / 400.0;
            let is_ink = y % 20 < 4 && x % 11 < 6;
            let color = if is_ink { 50.0 } else { 225.0 };
            Rgb([(color * light) as u8; 3])
        });
        even_out(&mut page);
        for x in (10..390).step_by(37) {
            let paper = page.get_pixel(x, 310).0[0];
            assert!(paper > 225, "{x}: {paper}");
            let ink = page.get_pixel(x / 11 * 11 + 2, 301).0[0];
            assert!(ink < 80, "{x}: {ink}");
        }
    }

    #[test]
    fn a_seal_stays_red_and_a_photograph_stays_dark() {
        let mut page = RgbImage::from_pixel(400, 560, Rgb([200, 200, 196]));
        for (x, y) in (40..90).flat_map(|x| (40..90).map(move |y| (x, y))) {
            page.put_pixel(x, y, Rgb([180, 40, 40]));
            page.put_pixel(x + 200, y + 200, Rgb([70, 66, 60]));
        }
        even_out(&mut page);
        let [red, green, _] = page.get_pixel(60, 60).0;
        assert!(red > 190 && green < 60, "{red} {green}");
        let [photograph, ..] = page.get_pixel(265, 265).0;
        assert!(photograph < 110, "{photograph}");
    }

    #[test]
    fn pictures_of_any_size_are_taken() {
        for (width, height) in [(0, 0), (1, 1), (3, 200), (17, 16)] {
            let mut page = RgbImage::new(width, height);
            even_out(&mut page);
        }
    }
}
