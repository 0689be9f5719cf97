//! Cuts a quad out of a picture as a rectangle (projective mapping after Heckbert 1989).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "places and colors of a bounded picture: exact in each of these types"
)]

use image::{Rgb, RgbImage};

use super::{Point, Quad};
use crate::picture::SIDE_PIXELS_MAX;

/// Shortest side of a page, in pixels.
const SIDE_PIXELS_MIN: f32 = 16.0;
/// The ratio of sides of ISO 216 paper, and how near a page must be to count as such: cards of ID-1
/// size differ by 12 %.
const PAPER_RATIO: f32 = std::f32::consts::SQRT_2;
const PAPER_TOLERANCE: f32 = 0.06;
/// Share cut off at each edge, so that nothing of the table stays.
const TRIM: f32 = 0.003;

/// A projective mapping of the plane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Projection([f32; 8]);

impl Projection {
    /// Maps the unit square onto the quad, corner by corner. The names are those of the matrix.
    fn of_square(quad: &Quad) -> Option<Self> {
        let [p0, p1, p2, p3] = quad.0;
        let (one, two) = (p1.minus(p2), p3.minus(p2));
        let sum = Point {
            x: p0.x - p1.x + p2.x - p3.x,
            y: p0.y - p1.y + p2.y - p3.y,
        };
        let scale = one.cross(two);
        if scale.abs() < f32::EPSILON {
            return None;
        }
        let g = sum.cross(two) / scale;
        let h = one.cross(sum) / scale;
        Some(Self([
            p1.x - p0.x + g * p1.x,
            p3.x - p0.x + h * p3.x,
            p0.x,
            p1.y - p0.y + g * p1.y,
            p3.y - p0.y + h * p3.y,
            p0.y,
            g,
            h,
        ]))
    }

    /// Maps the quad onto the unit square.
    #[cfg(test)]
    #[expect(clippy::many_single_char_names, reason = "the names of the matrix")]
    pub(super) fn onto_square(quad: &Quad) -> Option<Self> {
        let [a, b, c, d, e, f, g, h] = Self::of_square(quad)?.0;
        // The adjoint matrix, scaled so that its last element is 1.
        let last = a * e - b * d;
        let scaled = [
            e - f * h,
            c * h - b,
            b * f - c * e,
            f * g - d,
            a - c * g,
            c * d - a * f,
            d * h - e * g,
            b * g - a * h,
        ]
        .map(|element| element / last);
        Some(Self(scaled))
    }

    #[expect(clippy::many_single_char_names, reason = "the names of the matrix")]
    pub(super) fn apply(&self, point: Point) -> [f32; 2] {
        let [a, b, c, d, e, f, g, h] = self.0;
        let scale = g * point.x + h * point.y + 1.0;
        [
            (a * point.x + b * point.y + c) / scale,
            (d * point.x + e * point.y + f) / scale,
        ]
    }
}

/// The content of the quad as a picture of its own.
pub(super) fn cut_out(picture: &RgbImage, quad: &Quad) -> Option<RgbImage> {
    let projection = Projection::of_square(quad)?;
    let lengths = quad.sides().map(|(from, to)| to.minus(from).length());
    let (width, height) = paper(lengths[0].max(lengths[2]), lengths[1].max(lengths[3]));
    let limit = SIDE_PIXELS_MAX as f32;
    let is_usable = [width, height]
        .iter()
        .all(|side| side.is_finite() && (SIDE_PIXELS_MIN..=limit).contains(side));
    if !is_usable {
        return None;
    }
    let (width, height) = (width.round() as u32, height.round() as u32);
    Some(RgbImage::from_fn(width, height, |x, y| {
        let share = |at: u32, of: u32| {
            let share = (at as f32 + 0.5) / of as f32;
            TRIM + share * (1.0 - 2.0 * TRIM)
        };
        let [x, y] = projection.apply(Point {
            x: share(x, width),
            y: share(y, height),
        });
        sample(picture, x, y)
    }))
}

/// Perspective shortens one direction; paper gets its ratio back.
fn paper(width: f32, height: f32) -> (f32, f32) {
    let (short, long) = (width.min(height), width.max(height));
    let ratio = long / short;
    if (ratio / PAPER_RATIO - 1.0).abs() > PAPER_TOLERANCE {
        return (width, height);
    }
    if width < height {
        (width, width * PAPER_RATIO)
    } else {
        (height * PAPER_RATIO, height)
    }
}

/// The color between pixels; the border goes on for ever.
fn sample(picture: &RgbImage, x: f32, y: f32) -> Rgb<u8> {
    let (width, height) = picture.dimensions();
    let x = x.clamp(0.0, (width - 1) as f32);
    let y = y.clamp(0.0, (height - 1) as f32);
    let (left, top) = (x as u32, y as u32);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (across, down) = (x - left as f32, y - top as f32);
    let corners = [(left, top), (right, top), (left, bottom), (right, bottom)]
        .map(|(x, y)| picture.get_pixel(x, y).0);
    let mut color = [0; 3];
    for (channel, value) in color.iter_mut().enumerate() {
        let mix = |one: u8, other: u8| f32::from(one) * (1.0 - across) + f32::from(other) * across;
        let [one, two, three, four] = corners.map(|corner| corner[channel]);
        let (upper, lower) = (mix(one, two), mix(three, four));
        *value = (upper * (1.0 - down) + lower * down).round() as u8;
    }
    Rgb(color)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_and_its_inverse_undo_each_other() {
        let corners = [
            (180.0, 60.0),
            (430.0, 110.0),
            (460.0, 400.0),
            (150.0, 430.0),
        ];
        let quad = Quad(corners.map(|(x, y)| Point { x, y }));
        let there = Projection::of_square(&quad).unwrap();
        let back = Projection::onto_square(&quad).unwrap();
        for (u, v) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.3, 0.7)] {
            let [x, y] = there.apply(Point { x: u, y: v });
            let [found_u, found_v] = back.apply(Point { x, y });
            assert!((found_u - u).abs() < 0.001 && (found_v - v).abs() < 0.001);
        }
        let line = Quad([Point::default(); 4]);
        assert!(Projection::of_square(&line).is_none());
        assert!(cut_out(&RgbImage::new(10, 10), &line).is_none());
    }

    #[test]
    fn paper_gets_its_ratio_and_cards_keep_theirs() {
        assert_eq!(paper(100.0, 138.0), (100.0, 100.0 * PAPER_RATIO));
        assert_eq!(paper(138.0, 100.0), (100.0 * PAPER_RATIO, 100.0));
        assert_eq!(paper(158.6, 100.0), (158.6, 100.0));
    }
}
