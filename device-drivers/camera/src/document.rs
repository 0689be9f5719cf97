//! A photographed page made straight: found on the table, cut out, turned and freed from its
//! perspective and its shadows. Pure functions of pictures.
//!
//! The result replaces what the visitor saw, so it must never be worse: where the edges of the page are
//! not certain, there is no result and the picture stays as it is.

mod contrast;
mod find;
mod warp;

use image::RgbImage;

use crate::picture::{decode_whole, encode};

pub use contrast::even_out;

/// Four corners in pixels of the picture: upper left, upper right, lower right, lower left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quad(pub [Point; 4]);

/// A place in a picture, in pixels from its upper left corner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Downwards.
    pub y: f32,
}

/// A page that was cut out.
#[derive(Clone, Debug)]
pub struct Straightened {
    /// The page alone, upright as far as it was lying so.
    pub image: RgbImage,
    /// Where it was.
    pub quad: Quad,
    /// How certain its edges are, 0 to 1.
    pub confidence: f32,
}

/// Below this certainty there is no result. Chosen on drawn pages: found edges reach 0.9, shadows and
/// heaps of things stay below 0.7.
const CONFIDENCE_MIN: f32 = 0.8;

/// Finds the one page in the picture and cuts it out. `None` when there is none, several things that
/// could be one, or no certainty.
pub fn straighten(picture: &RgbImage) -> Option<Straightened> {
    let (quad, confidence) = find::page(picture)?;
    if confidence < CONFIDENCE_MIN {
        return None;
    }
    Some(Straightened {
        image: warp::cut_out(picture, &quad)?,
        quad,
        confidence,
    })
}

/// The same from JPEG to JPEG, with the light evened out; `None` likewise, and for what is no picture.
pub fn straighten_jpeg(jpeg: &[u8]) -> Option<Vec<u8>> {
    let picture = decode_whole(jpeg).ok()?.into_rgb8();
    let mut page = straighten(&picture)?.image;
    even_out(&mut page);
    encode(&page).ok()
}

impl Point {
    fn minus(self, other: Self) -> Self {
        Self {
            x: self.x - other.x,
            y: self.y - other.y,
        }
    }

    /// The point `distance` away in `direction`.
    fn along(self, direction: Self, distance: f32) -> Self {
        Self {
            x: self.x + direction.x * distance,
            y: self.y + direction.y * distance,
        }
    }

    fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y
    }

    /// Twice the area of the triangle of the two and the origin; positive when `other` is clockwise of
    /// it on the screen.
    fn cross(self, other: Self) -> f32 {
        self.x * other.y - self.y * other.x
    }

    fn length(self) -> f32 {
        self.dot(self).sqrt()
    }
}

impl Quad {
    /// The sides from each corner to the next.
    fn sides(&self) -> [(Point, Point); 4] {
        let [a, b, c, d] = self.0;
        [(a, b), (b, c), (c, d), (d, a)]
    }

    fn area(&self) -> f32 {
        let [a, b, c, d] = self.0;
        c.minus(a).cross(d.minus(b)).abs() / 2.0
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "places and colors of small pictures: exact in each of these types"
)]
mod tests {
    use image::Rgb;
    use kiosk_emulators::scenes;

    use super::*;

    const TABLE: [f32; 3] = [92.0, 74.0, 58.0];

    /// A page of 200 by 280 units with lines of text and a seal, seen through `quad`, on a table of
    /// wood, under light that `light` dims.
    fn scene(quad: [(f32, f32); 4], table: [f32; 3], light: impl Fn(f32, f32) -> f32) -> RgbImage {
        let to_page = warp::Projection::onto_square(&to_quad(quad)).unwrap();
        RgbImage::from_fn(640, 480, |x, y| {
            let (x, y) = (x as f32, y as f32);
            let point = Point { x, y };
            let [u, v] = to_page.apply(point);
            let color = if (0.0..1.0).contains(&u) && (0.0..1.0).contains(&v) {
                page(u * 200.0, v * 280.0)
            } else {
                let grain = 6.0 * (x * 0.9 + (y * 0.05).sin() * 9.0).sin();
                table.map(|channel| channel + grain)
            };
            let light = light(x, y);
            Rgb(color.map(|channel| (channel * light).clamp(0.0, 255.0) as u8))
        })
    }

    fn to_quad(corners: [(f32, f32); 4]) -> Quad {
        Quad(corners.map(|(x, y)| Point { x, y }))
    }

    fn page(x: f32, y: f32) -> [f32; 3] {
        let is_seal = ((x - 150.0).powi(2) + (y - 230.0).powi(2)).sqrt();
        if (18.0..22.0).contains(&is_seal) {
            return [200.0, 50.0, 50.0];
        }
        let is_line = (20.0..180.0).contains(&x) && (30.0..200.0).contains(&y) && y % 14.0 < 5.0;
        if is_line && (x * 0.7).sin() > -0.3 {
            return [50.0, 50.0, 55.0];
        }
        [240.0, 240.0, 235.0]
    }

    fn even(_: f32, _: f32) -> f32 {
        1.0
    }

    /// A page of 200 by 280 pixels turned around the middle of the picture.
    fn turned(degrees: f32) -> [(f32, f32); 4] {
        let (sin, cos) = degrees.to_radians().sin_cos();
        [
            (-100.0, -140.0),
            (100.0, -140.0),
            (100.0, 140.0),
            (-100.0, 140.0),
        ]
        .map(|(x, y)| (320.0 + x * cos - y * sin, 240.0 + x * sin + y * cos))
    }

    fn check_found(picture: &RgbImage, corners: [(f32, f32); 4]) -> Straightened {
        let found = straighten(picture).expect("the page is there");
        for (found, expect) in found.quad.0.iter().zip(corners) {
            let expect = Point {
                x: expect.0,
                y: expect.1,
            };
            let off = found.minus(expect).length();
            assert!(off < 5.0, "{found:?} is not {corners:?}");
        }
        found
    }

    #[test]
    fn turned_pages_are_found_and_straight_afterwards() {
        for degrees in [-15.0, -8.0, -2.0, 0.0, 3.0, 10.0, 15.0] {
            let corners = turned(degrees);
            let found = check_found(&scene(corners, TABLE, even), corners);
            assert!(found.confidence > 0.85, "{degrees}: {}", found.confidence);
            let (width, height) = found.image.dimensions();
            assert!(width.abs_diff(200) < 8 && height.abs_diff(280) < 8);
            // The first line of text lies level: its ends have the same height.
            let row_of = |x: u32| (20..60).find(|y| found.image.get_pixel(x, *y).0[0] < 140);
            let (left, right) = (row_of(22), row_of(172));
            if let (Some(left), Some(right)) = (left, right) {
                assert!(left.abs_diff(right) <= 4, "{degrees}: {left} {right}");
            }
        }
    }

    #[test]
    fn perspective_is_taken_out() {
        for corners in [
            [(190.0, 90.0), (450.0, 90.0), (500.0, 420.0), (140.0, 420.0)],
            [
                (180.0, 60.0),
                (430.0, 110.0),
                (460.0, 400.0),
                (150.0, 430.0),
            ],
        ] {
            let found = check_found(&scene(corners, TABLE, even), corners);
            // The paper shows to its edges: nothing of the table is left but a line or two.
            let (width, height) = found.image.dimensions();
            for (x, y) in [
                (4, 4),
                (width - 5, 4),
                (4, height - 5),
                (width - 5, height - 5),
            ] {
                assert!(
                    found.image.get_pixel(x, y).0[0] > 180,
                    "{corners:?} {x} {y}"
                );
            }
        }
    }

    #[test]
    fn shadows_and_other_tables_do_not_matter() {
        let corners = turned(6.0);
        let soft = |x: f32, _: f32| 1.0 - 0.45 / (1.0 + (-(x - 330.0) / 25.0).exp());
        check_found(&scene(corners, TABLE, soft), corners);
        let side_light = |x: f32, y: f32| 0.65 + 0.35 * (x / 640.0) * (1.0 - 0.4 * y / 480.0);
        check_found(&scene(corners, TABLE, side_light), corners);
        check_found(&scene(corners, [40.0, 90.0, 60.0], even), corners);
        check_found(&scene(corners, [60.0, 60.0, 150.0], even), corners);
    }

    #[test]
    fn without_a_page_there_is_no_result() {
        let table = scene(
            [(-9.0, -9.0), (-8.0, -9.0), (-8.0, -8.0), (-9.0, -8.0)],
            TABLE,
            even,
        );
        assert!(straighten(&table).is_none());
        // A page that fills the picture or leaves it has no certain edges.
        let outside = [
            (-60.0, -50.0),
            (420.0, -40.0),
            (410.0, 700.0),
            (-70.0, 690.0),
        ];
        assert!(straighten(&scene(outside, TABLE, even)).is_none());
        let whole = [(-5.0, -5.0), (650.0, -5.0), (650.0, 490.0), (-5.0, 490.0)];
        assert!(straighten(&scene(whole, TABLE, even)).is_none());
        // Too small to be what was laid down.
        let small = [
            (300.0, 220.0),
            (340.0, 220.0),
            (340.0, 270.0),
            (300.0, 270.0),
        ];
        assert!(straighten(&scene(small, TABLE, even)).is_none());
        // A round thing.
        let plate = RgbImage::from_fn(640, 480, |x, y| {
            let off = (x as f32 - 320.0).hypot(y as f32 - 240.0);
            Rgb(if off < 170.0 { [235; 3] } else { [70; 3] })
        });
        assert!(straighten(&plate).is_none());
        // The empty hall, and faces, are no pages.
        for scene in [scenes::empty().unwrap(), scenes::face().unwrap()] {
            let picture = decode_whole(&scene).unwrap().into_rgb8();
            assert!(straighten(&picture).is_none());
        }
        for (width, height) in [(1, 1), (3, 400), (16, 16)] {
            assert!(straighten(&RgbImage::new(width, height)).is_none());
        }
    }

    #[test]
    fn two_pages_are_not_made_one() {
        let left = scene(
            [(60.0, 80.0), (290.0, 80.0), (290.0, 400.0), (60.0, 400.0)],
            TABLE,
            even,
        );
        let right = scene(
            [(350.0, 80.0), (580.0, 80.0), (580.0, 400.0), (350.0, 400.0)],
            TABLE,
            even,
        );
        let both = RgbImage::from_fn(640, 480, |x, y| {
            *if x < 320 { &left } else { &right }.get_pixel(x, y)
        });
        assert!(straighten(&both).is_none());
    }

    #[test]
    fn the_page_of_the_bench_is_straightened_from_jpeg_to_jpeg() {
        let jpeg = straighten_jpeg(&scenes::document(7).unwrap()).unwrap();
        let page = decode_whole(&jpeg).unwrap().into_rgb8();
        assert!(page.width().abs_diff(520) < 12 && page.height().abs_diff(680) < 12);
        assert!(page.get_pixel(6, 6).0[0] > 230);
        assert!(straighten_jpeg(b"no picture").is_none());
    }

    #[test]
    fn noise_never_panics_and_is_no_page() {
        let mut seed = 9_u32;
        for side in [8_u32, 37, 160] {
            let noise = RgbImage::from_fn(side, side, |_, _| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [a, b, c, _] = seed.to_be_bytes();
                Rgb([a, b, c])
            });
            assert!(straighten(&noise).is_none(), "{side}");
        }
    }
}
