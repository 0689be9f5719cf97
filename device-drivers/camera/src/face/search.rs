//! The search for faces in a small picture: a window of one size over the picture in many sizes, then a
//! closer look at what may be a face, which also moves the box to where the face is.
//!
//! Written for this program in safe Rust after the method of `SeetaFace` ("funnel-structured cascade"),
//! because boxes that move leave the picture: here a pixel outside of it is black, a box that has left it
//! or shrunk to nothing is dropped, and the number of boxes is bounded, whatever a camera sends.

use image::GrayImage;

use super::boosted::Textures;
use super::model::{Model, WINDOW};
use super::network::{Network, Slopes};

/// Pixels from one window to the next.
const STEP: usize = 4;
/// Ratio of one size that is searched for to the next.
const SCALE: f32 = 0.9;
/// Finds that each classifier of the first look may have, the likeliest ones: bounds the time. Chosen:
/// faces have some hundred.
const PROPOSALS_MAX: usize = 1000;
/// Least width of a box that is looked at again, in pixels. Chosen: half a window shows no face.
const BOX_PIXELS_MIN: i32 = 20;
/// Boxes that overlap more are one and the same while the search goes on, and at its end.
const SAME: f64 = 0.8;
const SAME_FACE: f64 = 0.3;

/// A box that may hold a face; it is as high as it is wide, and may stand out of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: i32,
    pub(super) score: f64,
}

/// The faces in a picture.
pub(super) fn find(model: &Model, picture: &GrayImage) -> Vec<Found> {
    let mut finds = propose(model, picture);
    let last_level = model.levels.len().saturating_sub(1);
    for (number, level) in model.levels.iter().enumerate() {
        let last = level.len().saturating_sub(1);
        for (stage, network) in level.iter().enumerate() {
            finds = finds
                .iter()
                .filter_map(|found| look_closer(network, picture, *found))
                .collect();
            if stage < last {
                finds = merge(finds, SAME);
            } else if number == last_level {
                finds = merge(finds, SAME_FACE);
            }
        }
    }
    finds
}

/// The first look: every window in every size.
fn propose(model: &Model, picture: &GrayImage) -> Vec<Found> {
    let mut proposals: Vec<Vec<Found>> = vec![Vec::new(); model.boosted.len()];
    let shorter = picture.width().min(picture.height()) as f32;
    let mut scale = 1.0_f32;
    // Ends: the picture is bounded, and each turn makes it smaller.
    while shorter * scale >= WINDOW as f32 {
        let [width, height] = [picture.width(), picture.height()]
            .map(|side| ((side as f32 * scale) as u32).max(WINDOW as u32));
        let textures = Textures::new(&scaled(picture, width, height));
        for y in (0..=height as usize - WINDOW).step_by(STEP) {
            for x in (0..=width as usize - WINDOW).step_by(STEP) {
                for (boosted, proposals) in model.boosted.iter().zip(&mut proposals) {
                    if let Some(score) = boosted.score(&textures, x, y) {
                        let whole = |pixels: usize| (pixels as f32 / scale + 0.5) as i32;
                        proposals.push(Found {
                            x: whole(x),
                            y: whole(y),
                            width: whole(WINDOW),
                            score: score.into(),
                        });
                    }
                }
            }
        }
        scale *= SCALE;
    }
    let merged = proposals.into_iter().map(|finds| merge(finds, SAME));
    merged.flatten().collect()
}

/// A picture in another size, each pixel between the four nearest ones.
fn scaled(picture: &GrayImage, width: u32, height: u32) -> GrayImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let [across, down] = [(picture.width(), width), (picture.height(), height)]
        .map(|(old, new)| f64::from(old) / f64::from(new));
    GrayImage::from_fn(width, height, |x, y| {
        let last = |side: u32| i32::try_from(side).unwrap_or(i32::MAX) - 1;
        let x = between(f64::from(x) * across, last(picture.width()));
        let y = between(f64::from(y) * down, last(picture.height()));
        image::Luma([sample(picture, x, y)])
    })
}

/// The pixel before a place on a line whose last pixel is `last`, and how far the place is from there.
fn between(place: f64, last: i32) -> (i32, f64) {
    let before = (place as i32).min(last - 1);
    (before, place - f64::from(before))
}

/// The brightness between four pixels; black outside of the picture.
fn sample(picture: &GrayImage, (x, far_x): (i32, f64), (y, far_y): (i32, f64)) -> u8 {
    let pixel = |x: i32, y: i32| {
        let place = u32::try_from(x).ok().zip(u32::try_from(y).ok());
        let pixel = place.and_then(|(x, y)| picture.get_pixel_checked(x, y));
        pixel.map_or(0.0, |pixel| f64::from(pixel.0[0]))
    };
    let above = (1.0 - far_x) * pixel(x, y) + far_x * pixel(x + 1, y);
    let below = (1.0 - far_x) * pixel(x, y + 1) + far_x * pixel(x + 1, y + 1);
    ((1.0 - far_y) * above + far_y * below) as u8
}

/// What is in a box, in the size of the window.
fn window(picture: &GrayImage, found: Found) -> [[u8; WINDOW]; WINDOW] {
    let ratio = f64::from(found.width) / WINDOW as f64;
    let mut window = [[0; WINDOW]; WINDOW];
    for (y, row) in window.iter_mut().enumerate() {
        let (y, far_y) = between(y as f64 * ratio, found.width - 1);
        for (x, pixel) in row.iter_mut().enumerate() {
            let (x, far_x) = between(x as f64 * ratio, found.width - 1);
            *pixel = sample(picture, (found.x + x, far_x), (found.y + y, far_y));
        }
    }
    window
}

/// What a network says about a box: none, or a better one.
fn look_closer(network: &Network, picture: &GrayImage, found: Found) -> Option<Found> {
    let [score, right, down, size] = network.answer(&Slopes::new(&window(picture, found)))?;
    let old = found.width as f32;
    let new = ((size * 2.0 - 1.0) * old + old + 0.5).floor();
    let moved = |place: i32, by: f32| {
        ((by * 2.0 - 1.0) * old + place as f32 + (old - new) * 0.5 + 0.5).floor() as i32
    };
    let better = Found {
        x: moved(found.x, right),
        y: moved(found.y, down),
        width: new as i32,
        score: score.into(),
    };
    is_usable(picture, better).then_some(better)
}

/// Whether a box is of a sensible size and in the picture, at least with a part of it.
fn is_usable(picture: &GrayImage, found: Found) -> bool {
    let [width, height] =
        [picture.width(), picture.height()].map(|side| i32::try_from(side).unwrap_or(i32::MAX));
    let overlaps = |place: i32, side: i32| place < side && place > -found.width;
    (BOX_PIXELS_MIN..=2 * width.max(height)).contains(&found.width)
        && overlaps(found.x, width)
        && overlaps(found.y, height)
}

/// The best of boxes that overlap by more than that share, with the scores of all of them.
fn merge(mut finds: Vec<Found>, share: f64) -> Vec<Found> {
    finds.sort_by(|one, other| other.score.total_cmp(&one.score));
    finds.truncate(PROPOSALS_MAX);
    let mut best: Vec<Found> = Vec::new();
    let mut is_merged = vec![false; finds.len()];
    for (number, found) in finds.iter().enumerate() {
        if is_merged[number] {
            continue;
        }
        let mut score = found.score;
        let others = finds.iter().zip(&mut is_merged).skip(number + 1);
        for (other, is_merged) in others.filter(|(_, is_merged)| !**is_merged) {
            if overlap(*found, *other) > share {
                *is_merged = true;
                score += other.score;
            }
        }
        best.push(Found { score, ..*found });
    }
    best
}

/// What two boxes share, of what they cover together.
fn overlap(one: Found, other: Found) -> f64 {
    let common = |one_at: i32, other_at: i32| {
        let end = (one_at + one.width).min(other_at + other.width);
        f64::from((end - one_at.max(other_at)).max(0))
    };
    let shared = common(one.x, other.x) * common(one.y, other.y);
    let area = |found: Found| f64::from(found.width).powi(2);
    let covered = area(one) + area(other) - shared;
    if covered > 0.0 { shared / covered } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use image::{Luma, imageops};

    use super::super::MODEL;
    use super::super::tests::{near, picture};
    use super::*;

    const SCORE_MIN: f64 = 2.0;

    fn model() -> Model {
        Model::read(MODEL).unwrap()
    }

    fn small(picture: &GrayImage) -> GrayImage {
        imageops::thumbnail(picture, 320, 240)
    }

    fn faces(model: &Model, picture: &GrayImage) -> Vec<Found> {
        let mut finds = find(model, picture);
        finds.retain(|found| found.score >= SCORE_MIN);
        finds.sort_by_key(|found| (found.x, found.y));
        finds
    }

    /// What the implementation in the crate that carries the model finds.
    fn reference(picture: &GrayImage) -> Vec<Found> {
        let mut detector =
            rustface::create_detector_with_model(rustface::read_model(MODEL).unwrap());
        detector.set_min_face_size(WINDOW as u32);
        detector.set_score_thresh(SCORE_MIN);
        detector.set_pyramid_scale_factor(SCALE);
        detector.set_slide_window_step(STEP as u32, STEP as u32);
        let (width, height) = picture.dimensions();
        let image = rustface::ImageData::new(picture.as_raw(), width, height);
        let faces = detector.detect(&image);
        let mut finds: Vec<Found> = faces
            .iter()
            .map(|face| Found {
                x: face.bbox().x(),
                y: face.bbox().y(),
                width: face.bbox().width().cast_signed(),
                score: face.score(),
            })
            .collect();
        finds.sort_by_key(|found| (found.x, found.y));
        finds
    }

    #[test]
    fn the_same_faces_are_found_as_by_the_implementation_of_the_model() {
        let model = model();
        let scene = |places: &[(f32, f32)], size: f32| small(&picture(size, places));
        let scenes = [
            small(&near()),
            scene(&[(360.0, 270.0)], 66.0),
            scene(&[(230.0, 270.0), (500.0, 270.0)], 120.0),
            scene(&[(300.0, 250.0)], 180.0),
        ];
        for scene in scenes {
            let (ours, theirs) = (faces(&model, &scene), reference(&scene));
            assert!(!ours.is_empty());
            assert_eq!(ours.len(), theirs.len(), "{ours:?} {theirs:?}");
            for (one, other) in ours.iter().zip(&theirs) {
                let is_near = |one: i32, other: i32| (one - other).abs() <= 1;
                let same = is_near(one.x, other.x)
                    && is_near(one.y, other.y)
                    && is_near(one.width, other.width)
                    && (one.score - other.score).abs() < 0.05 * other.score;
                assert!(same, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn boxes_that_leave_the_picture_are_black_outside_and_then_dropped() {
        let picture = GrayImage::from_pixel(60, 50, Luma([200]));
        let found = |x: i32, y: i32, width: i32| Found {
            x,
            y,
            width,
            score: 1.0,
        };
        let corner = window(&picture, found(-20, -20, 40));
        assert_eq!((corner[0][0], corner[39][39], corner[19][39]), (0, 200, 0));
        for outside in [
            found(60, 0, 40),
            found(0, 50, 40),
            found(-40, 0, 40),
            found(5, -900, 40),
            found(i32::MAX, i32::MAX, 40),
            found(i32::MIN, 0, 40),
            found(0, 0, 0),
            found(0, 0, -40),
            found(0, 0, i32::MAX),
        ] {
            assert!(!is_usable(&picture, outside), "{outside:?}");
        }
        assert!(is_usable(&picture, found(59, 49, 20)));
        assert!(is_usable(&picture, found(-99, -99, 100)));
    }

    #[test]
    fn no_picture_makes_the_search_fail() {
        let model = model();
        let mut seed = 3_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed.to_be_bytes()[0]
        };
        let mut pictures = vec![
            GrayImage::from_pixel(40, 320, Luma([255])),
            GrayImage::from_fn(320, 320, |x, y| Luma([255 * ((x / 10 + y / 10) % 2) as u8])),
            GrayImage::from_fn(41, 40, |_, _| Luma([random()])),
            GrayImage::from_fn(320, 240, |_, _| Luma([random()])),
        ];
        // Faces across each edge, in the smallest picture that holds a part of them.
        for (x, y) in [(-60, 0), (60, 0), (0, -80), (0, 60), (-70, -70), (70, 50)] {
            let mut moved = GrayImage::from_pixel(160, 120, Luma([150]));
            imageops::replace(&mut moved, &imageops::thumbnail(&near(), 160, 120), x, y);
            pictures.push(moved);
        }
        for picture in pictures {
            for found in find(&model, &picture) {
                assert!(is_usable(&picture, found), "{found:?}");
            }
        }
    }

    #[test]
    fn boxes_of_one_face_become_the_best_one() {
        let found = |x: i32, score: f64| Found {
            x,
            y: 0,
            width: 100,
            score,
        };
        let merged = merge(vec![found(2, 1.0), found(0, 2.0), found(90, 0.5)], SAME);
        assert_eq!(merged, [found(0, 3.0), found(90, 0.5)]);
        let many = vec![found(0, 1.0); 3 * PROPOSALS_MAX];
        assert_eq!(merge(many, SAME).len(), 1);
    }
}
