//! Whether a face can be seen well enough for a picture of it: one face, near, in the middle, sharp and
//! neither too dark nor too bright.
//!
//! Says where a face is and never whose it is: no template is made, nothing is kept. The model is that of
//! `SeetaFace` (`models/README.md`). The search works on a small picture, so its time is bounded.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "places and brightness in a bounded picture: near enough in each of these types"
)]

mod boosted;
mod model;
mod network;
mod search;

use std::sync::OnceLock;

use image::{GrayImage, imageops};

use model::{Model, WINDOW};

/// Width of the picture that is searched, in pixels.
const SEARCH_WIDTH: u32 = 320;
/// Height of it at most.
const SEARCH_HEIGHT_MAX: u32 = 320;
/// Sides of pictures that are looked at.
const SIDE_PIXELS_MIN: u32 = 64;
/// Certainty from which a find counts as a face.
const SCORE_MIN: f64 = 2.0;
/// Least width of a face as a share of the shorter side of the picture.
const WIDTH_MIN: f32 = 0.25;
/// Most.
const WIDTH_MAX: f32 = 0.85;
/// How far the middle of the face may be from that of the picture, as a share of width and height.
const OFF_CENTER_MAX: (f32, f32) = (0.22, 0.27);
/// A second face counts from this share of the width of the first; smaller ones stand behind.
const SECOND_MIN: f32 = 0.6;
/// Mean brightness of a face, of 255.
const BRIGHTNESS: (f32, f32) = (55.0, 215.0);
/// Mean brightness below which nothing can be seen in a picture at all.
const NIGHT: f32 = 28.0;
/// Width to which a face is scaled before its sharpness is measured, in pixels.
const FACE_WIDTH: u32 = 96;
/// Least variance of the Laplacian of a sharp face, as a share of the variance of its brightness.
const SHARPNESS_MIN: f32 = 0.02;

static MODEL: &[u8] = include_bytes!("../models/seeta_fd_frontal_v1.0.bin");

/// What is to be said about the face in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can be taken.
    Good,
    /// There is none.
    Missing,
    /// There are several.
    Several,
    /// It is too small.
    TooFar,
    /// It is too large.
    TooNear,
    /// It is at the side.
    OffCenter,
    /// It is blurred: moved, or out of focus.
    Blurred,
    /// It is too dark.
    TooDark,
    /// It is too bright.
    TooBright,
}

impl Verdict {
    /// The problem code; `None` when nothing is wrong.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Good => None,
            Self::Missing => Some("camera.face-missing"),
            Self::Several => Some("camera.face-several"),
            Self::TooFar => Some("camera.face-too-far"),
            Self::TooNear => Some("camera.face-too-near"),
            Self::OffCenter => Some("camera.face-off-center"),
            Self::Blurred => Some("camera.face-blurred"),
            Self::TooDark => Some("camera.face-too-dark"),
            Self::TooBright => Some("camera.face-too-bright"),
        }
    }
}

/// Judges a picture of `width` by `height` pixels, three bytes a pixel, rows from the top: a preview is
/// enough. What is no such picture has no face.
pub fn judge(rgb: &[u8], width: u32, height: u32) -> Verdict {
    match gray(rgb, width, height) {
        Some(gray) => judge_gray(&gray),
        None => Verdict::Missing,
    }
}

/// The same for a picture without colors, for example an infrared one.
pub fn judge_gray(picture: &GrayImage) -> Verdict {
    let (width, height) = picture.dimensions();
    if width.min(height) < SIDE_PIXELS_MIN {
        return Verdict::Missing;
    }
    if mean(picture) < NIGHT {
        return Verdict::TooDark;
    }
    let faces = find(picture);
    let Some(face) = faces.first().copied() else {
        return Verdict::Missing;
    };
    if faces
        .iter()
        .skip(1)
        .any(|other| other.width > face.width * SECOND_MIN)
    {
        return Verdict::Several;
    }
    let shorter = width.min(height) as f32;
    if face.width < shorter * WIDTH_MIN {
        return Verdict::TooFar;
    }
    if face.width > shorter * WIDTH_MAX {
        return Verdict::TooNear;
    }
    let (width, height) = (width as f32, height as f32);
    let off = (
        ((face.x + face.width / 2.0) / width - 0.5).abs(),
        ((face.y + face.width / 2.0) / height - 0.5).abs(),
    );
    if off.0 > OFF_CENTER_MAX.0 || off.1 > OFF_CENTER_MAX.1 {
        return Verdict::OffCenter;
    }
    let crop = crop(picture, face);
    let brightness = mean(&crop);
    if brightness < BRIGHTNESS.0 {
        Verdict::TooDark
    } else if brightness > BRIGHTNESS.1 {
        Verdict::TooBright
    } else if sharpness(&crop) < SHARPNESS_MIN {
        Verdict::Blurred
    } else {
        Verdict::Good
    }
}

/// Where a face is, in pixels of the whole picture; it is as high as it is wide.
#[derive(Clone, Copy, Debug)]
struct Face {
    x: f32,
    y: f32,
    width: f32,
}

/// The faces in a picture, the largest first.
fn find(picture: &GrayImage) -> Vec<Face> {
    let Some(model) = model() else {
        return Vec::new();
    };
    let scale = (picture.width() as f32 / SEARCH_WIDTH as f32)
        .max(picture.height() as f32 / SEARCH_HEIGHT_MAX as f32)
        .max(1.0);
    let side = |pixels: u32| ((pixels as f32 / scale) as u32).max(WINDOW as u32);
    let small = imageops::thumbnail(picture, side(picture.width()), side(picture.height()));
    let mut faces: Vec<Face> = search::find(model, &small)
        .into_iter()
        .filter(|found| found.score >= SCORE_MIN)
        .map(|found| Face {
            x: found.x as f32 * scale,
            y: found.y as f32 * scale,
            width: found.width as f32 * scale,
        })
        .collect();
    faces.sort_by(|one, other| other.width.total_cmp(&one.width));
    faces
}

/// The model, read once. It is part of this program, so that reading it fails in a test or not at all.
fn model() -> Option<&'static Model> {
    static READ: OnceLock<Option<Model>> = OnceLock::new();
    READ.get_or_init(|| Model::read(MODEL)).as_ref()
}

fn gray(rgb: &[u8], width: u32, height: u32) -> Option<GrayImage> {
    let count = (width as usize).checked_mul(height as usize)?;
    if rgb.len() != count.checked_mul(3)? {
        return None;
    }
    // ITU-R BT.601, in 1/256.
    let gray = rgb.chunks_exact(3).map(|pixel| {
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        u8::try_from((77 * red + 150 * green + 29 * blue) >> 8).unwrap_or(u8::MAX)
    });
    GrayImage::from_raw(width, height, gray.collect())
}

/// The inner part of a face, in one size for all.
fn crop(picture: &GrayImage, face: Face) -> GrayImage {
    let inside = |value: f32, length: u32| (value.max(0.0) as u32).min(length.saturating_sub(1));
    let (x, y) = (
        inside(face.x, picture.width()),
        inside(face.y, picture.height()),
    );
    let width = (face.width as u32).clamp(1, picture.width() - x);
    let height = (face.width as u32).clamp(1, picture.height() - y);
    let face = imageops::crop_imm(picture, x, y, width, height).to_image();
    let height = (FACE_WIDTH * height / width).clamp(3, 2 * FACE_WIDTH);
    imageops::thumbnail(&face, FACE_WIDTH, height)
}

fn mean(picture: &GrayImage) -> f32 {
    let sum: u64 = picture.as_raw().iter().map(|value| u64::from(*value)).sum();
    sum as f32 / picture.as_raw().len().max(1) as f32
}

/// The variance of the Laplacian of a picture as a share of the variance of its brightness, so that
/// weak light does not count as blur.
fn sharpness(picture: &GrayImage) -> f32 {
    let (width, height) = picture.dimensions();
    let value = |x: u32, y: u32| f32::from(picture.get_pixel(x, y).0[0]);
    let mut edges = Vec::new();
    let mut values = Vec::new();
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let around = value(x - 1, y) + value(x + 1, y) + value(x, y - 1) + value(x, y + 1);
            edges.push(4.0 * value(x, y) - around);
            values.push(value(x, y));
        }
    }
    variance(&edges) / variance(&values).max(1.0)
}

fn variance(values: &[f32]) -> f32 {
    let count = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / count;
    values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f32>()
        / count
}

#[cfg(test)]
mod tests {
    use image::Luma;
    use kiosk_emulators::scenes;

    use super::*;
    use crate::picture::decode_whole;

    const WALL: f32 = 150.0;
    const SKIN: f32 = 180.0;

    /// A soft spot around a place: 1 in its middle, 0 outside.
    fn spot(at: (f32, f32), middle: (f32, f32), size: (f32, f32)) -> f32 {
        let off = ((at.0 - middle.0) / size.0).powi(2) + ((at.1 - middle.1) / size.1).powi(2);
        (-off).exp()
    }

    /// The brightness of a face that nobody has, drawn with soft shades; its half height is 1.
    fn face(x: f32, y: f32) -> f32 {
        let at = (x, y);
        let from_middle = (x / 0.78).powi(2) + y.powi(2);
        let is_hair = (x / 0.92).powi(2) + ((y + 0.15) / 1.08).powi(2) < 1.0 && y < 0.3;
        let is_skin = from_middle < 1.0 && y > 0.25 * x * x - 0.62;
        if !is_skin {
            return match () {
                () if is_hair => 60.0,
                () if x.abs() < 0.35 && (0.7..1.2).contains(&y) => SKIN * 0.8,
                () if y > 1.05 && x.abs() < 0.35 + (y - 1.05) * 2.5 => 110.0,
                () => WALL,
            };
        }
        let mut shade = SKIN * (0.72 + 0.28 * (1.0 - from_middle).sqrt());
        for side in [-1.0, 1.0] {
            let eye = side * 0.36;
            shade -= 30.0 * spot(at, (eye, -0.14), (0.24, 0.12));
            shade -= 55.0 * spot(at, (eye, -0.3), (0.2, 0.045));
            shade -= 60.0 * spot(at, (eye, -0.14), (0.15, 0.04));
            shade -= 48.0 * spot(at, (eye, -0.13), (0.055, 0.055));
            shade -= 55.0 * spot(at, (side * 0.09, 0.27), (0.055, 0.035));
            shade += 25.0 * spot(at, (side * 0.42, 0.15), (0.2, 0.2));
            shade -= 25.0 * spot(at, (side * 0.16, 0.15), (0.05, 0.12));
        }
        shade += 25.0 * spot(at, (0.0, 0.0), (0.06, 0.28));
        shade -= 30.0 * spot(at, (0.0, 0.31), (0.16, 0.05));
        shade -= 75.0 * spot(at, (0.0, 0.56), (0.26, 0.035));
        shade -= 30.0 * spot(at, (0.0, 0.61), (0.2, 0.07));
        shade -= 25.0 * spot(at, (0.0, 0.72), (0.15, 0.05));
        shade + 10.0 * spot(at, (0.0, 0.84), (0.15, 0.1))
    }

    /// A picture of 720 by 540 pixels with a face of that half height at each place.
    pub(super) fn picture(half_height: f32, places: &[(f32, f32)]) -> GrayImage {
        GrayImage::from_fn(720, 540, |x, y| {
            let (x, y) = (x as f32, y as f32);
            let shades = places
                .iter()
                .map(|(left, top)| face((x - left) / half_height, (y - top) / half_height));
            // Where two faces meet, the first one is in front.
            let shade = shades
                .into_iter()
                .find(|shade| (shade - WALL).abs() > f32::EPSILON);
            Luma([shade.unwrap_or(WALL) as u8])
        })
    }

    pub(super) fn near() -> GrayImage {
        picture(150.0, &[(360.0, 270.0)])
    }

    fn lit(picture: &GrayImage, light: f32) -> GrayImage {
        let mut picture = picture.clone();
        for pixel in picture.iter_mut() {
            *pixel = (f32::from(*pixel) * light).min(255.0) as u8;
        }
        picture
    }

    fn scene(jpeg: &[u8]) -> GrayImage {
        decode_whole(jpeg).unwrap().into_luma8()
    }

    #[test]
    fn one_near_sharp_face_in_the_middle_is_good() {
        assert_eq!(judge_gray(&near()), Verdict::Good);
        assert_eq!(judge_gray(&lit(&near(), 0.5)), Verdict::Good);
        let rgb: Vec<u8> = near().iter().flat_map(|gray| [*gray; 3]).collect();
        assert_eq!(judge(&rgb, 720, 540), Verdict::Good);
        // The face that the bench shows is a simpler drawing.
        let found = find(&scene(&scenes::face().unwrap()));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn what_is_wrong_with_a_face_is_said() {
        let check = |picture: &GrayImage, expect: Verdict| {
            assert_eq!(judge_gray(picture), expect);
        };
        check(&picture(66.0, &[(360.0, 270.0)]), Verdict::TooFar);
        check(&picture(290.0, &[(360.0, 270.0)]), Verdict::TooNear);
        check(&picture(120.0, &[(130.0, 270.0)]), Verdict::OffCenter);
        let two = [(230.0, 270.0), (500.0, 270.0)];
        check(&picture(120.0, &two), Verdict::Several);
        check(&imageops::blur(&near(), 9.0), Verdict::Blurred);
        check(&lit(&near(), 0.3), Verdict::TooDark);
        check(&lit(&near(), 0.05), Verdict::TooDark);
        check(&lit(&near(), 1.6), Verdict::TooBright);
    }

    #[test]
    fn without_a_face_there_is_none() {
        for jpeg in [scenes::empty().unwrap(), scenes::document(3).unwrap()] {
            assert_eq!(judge_gray(&scene(&jpeg)), Verdict::Missing);
        }
        assert_eq!(judge_gray(&picture(100.0, &[])), Verdict::Missing);
        assert_eq!(judge_gray(&GrayImage::new(720, 540)), Verdict::TooDark);
        let upside_down = imageops::rotate180(&near());
        assert_eq!(judge_gray(&upside_down), Verdict::Missing);
    }

    #[test]
    fn somebody_who_stands_behind_does_not_count() {
        let mut picture = near();
        let behind = imageops::thumbnail(&near(), 300, 225);
        let behind = imageops::crop_imm(&behind, 90, 45, 120, 140).to_image();
        imageops::replace(&mut picture, &behind, 580, 30);
        assert_eq!(judge_gray(&picture), Verdict::Good);
    }

    #[test]
    fn what_is_no_picture_has_no_face() {
        assert_eq!(judge(&[], 0, 0), Verdict::Missing);
        assert_eq!(judge(&[1; 30], 640, 480), Verdict::Missing);
        assert_eq!(judge(&[], u32::MAX, u32::MAX), Verdict::Missing);
        let mut seed = 17_u32;
        for (width, height) in [(63, 640), (64, 64), (70, 2000), (2000, 70), (321, 240)] {
            let noise = GrayImage::from_fn(width, height, |_, _| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Luma([seed.to_be_bytes()[0]])
            });
            assert_eq!(judge_gray(&noise), Verdict::Missing, "{width} {height}");
        }
    }

    #[test]
    fn every_verdict_but_good_has_a_code_of_its_own() {
        let verdicts = [
            Verdict::Missing,
            Verdict::Several,
            Verdict::TooFar,
            Verdict::TooNear,
            Verdict::OffCenter,
            Verdict::Blurred,
            Verdict::TooDark,
            Verdict::TooBright,
        ];
        assert_eq!(Verdict::Good.code(), None);
        for (index, verdict) in verdicts.iter().enumerate() {
            let code = verdict.code().unwrap();
            assert_eq!(code.split_once('.').map(|(class, _)| class), Some("camera"));
            let earlier = &verdicts[..index];
            assert!(earlier.iter().all(|other| other.code() != verdict.code()));
        }
    }
}
