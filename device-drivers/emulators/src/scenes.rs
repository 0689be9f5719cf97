//! Synthetic pictures for the cameras, drawn in code: a face, a document page, an empty hall.
//!
//! JPEG, 1280×720. Nobody's picture is in them.

use image::codecs::jpeg::JpegEncoder;
use image::{ImageError, Rgb, RgbImage};

use crate::font::glyph;

/// Width of every scene, pixels.
pub const WIDTH: u32 = 1280;
/// Height of every scene, pixels.
pub const HEIGHT: u32 = 720;
/// JPEG quality. Chosen: what common cameras send.
const QUALITY: u8 = 85;

const WALL: Rgb<u8> = Rgb([196, 204, 208]);
const SKIN: Rgb<u8> = Rgb([224, 182, 150]);
const HAIR: Rgb<u8> = Rgb([38, 32, 30]);
const SHIRT: Rgb<u8> = Rgb([70, 96, 138]);
const LIP: Rgb<u8> = Rgb([176, 92, 84]);
const WHITE: Rgb<u8> = Rgb([246, 246, 242]);
const INK: Rgb<u8> = Rgb([40, 42, 46]);
const DESK: Rgb<u8> = Rgb([88, 72, 58]);
const SEAL: Rgb<u8> = Rgb([200, 40, 44]);

/// An empty hall: a wall and a floor.
///
/// # Errors
/// The picture cannot be encoded.
pub fn empty() -> Result<Vec<u8>, ImageError> {
    encode(&hall())
}

/// A person who looks into the camera.
///
/// # Errors
/// The picture cannot be encoded.
pub fn face() -> Result<Vec<u8>, ImageError> {
    let mut picture = hall();
    ellipse(&mut picture, (640, 760), (330, 250), SHIRT);
    rectangle(&mut picture, (580, 480), (120, 90), SKIN);
    ellipse(&mut picture, (640, 300), (178, 226), HAIR);
    ellipse(&mut picture, (640, 340), (150, 196), SKIN);
    for side in [-1, 1] {
        ellipse(&mut picture, (640 + side * 152, 350), (20, 40), SKIN);
        rectangle(&mut picture, (640 + side * 62 - 34, 276), (68, 10), HAIR);
        ellipse(&mut picture, (640 + side * 62, 318), (32, 16), WHITE);
        ellipse(&mut picture, (640 + side * 62, 318), (14, 14), HAIR);
        ellipse(&mut picture, (640 + side * 16, 404), (9, 6), LIP);
    }
    rectangle(&mut picture, (632, 330), (14, 66), Rgb([206, 162, 130]));
    ellipse(&mut picture, (640, 456), (56, 16), LIP);
    encode(&picture)
}

/// A page of paper on a desk; the number is written in its title, so that pages differ.
///
/// # Errors
/// The picture cannot be encoded.
pub fn document(number: u32) -> Result<Vec<u8>, ImageError> {
    let mut picture = RgbImage::from_pixel(WIDTH, HEIGHT, DESK);
    rectangle(&mut picture, (380, 20), (520, 680), WHITE);
    write(&mut picture, (470, 50), 40, &format!("测试材料{number}"));
    write(&mut picture, (420, 120), 20, "仅供演示使用，不含个人信息");
    for line in 0..18 {
        // Lines of different length look like text from afar.
        let length = 420 - i64::from((line * 37 + number * 53) % 160);
        rectangle(
            &mut picture,
            (420, 170 + i64::from(line) * 24),
            (length, 8),
            INK,
        );
    }
    ellipse(&mut picture, (780, 600), (70, 70), SEAL);
    ellipse(&mut picture, (780, 600), (62, 62), WHITE);
    write(&mut picture, (744, 588), 24, "测试章");
    encode(&picture)
}

fn hall() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        if y > 600 {
            Rgb([150, 140, 130])
        } else {
            // A little shade makes it look like light from a window.
            let shade = u8::try_from(x / 40).unwrap_or(u8::MAX);
            Rgb(WALL.0.map(|channel| channel.saturating_sub(shade)))
        }
    })
}

fn encode(picture: &RgbImage) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture)?;
    Ok(bytes)
}

fn put(picture: &mut RgbImage, x: i64, y: i64, color: Rgb<u8>) {
    if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
        && let Some(pixel) = picture.get_pixel_mut_checked(x, y)
    {
        *pixel = color;
    }
}

fn rectangle(picture: &mut RgbImage, corner: (i64, i64), size: (i64, i64), color: Rgb<u8>) {
    for y in corner.1..corner.1 + size.1 {
        for x in corner.0..corner.0 + size.0 {
            put(picture, x, y, color);
        }
    }
}

fn ellipse(picture: &mut RgbImage, center: (i64, i64), radius: (i64, i64), color: Rgb<u8>) {
    let (across, down) = radius;
    for y in -down..=down {
        for x in -across..=across {
            if x * x * down * down + y * y * across * across <= across * across * down * down {
                put(picture, center.0 + x, center.1 + y, color);
            }
        }
    }
}

fn write(picture: &mut RgbImage, corner: (i64, i64), size: usize, text: &str) {
    let mut left = corner.0;
    for character in text.chars() {
        let width = if character.is_ascii() { size / 2 } else { size };
        let cell = glyph(character, width, size);
        for (row, y) in (corner.1..).take(cell.height).enumerate() {
            for (column, x) in (left..).take(cell.width).enumerate() {
                if cell.is_black(column, row) {
                    put(picture, x, y, INK);
                }
            }
        }
        left += i64::try_from(width).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_pictures_of_the_promised_size_and_differ() {
        let scenes = [
            empty().unwrap(),
            face().unwrap(),
            document(1).unwrap(),
            document(2).unwrap(),
        ];
        for (index, scene) in scenes.iter().enumerate() {
            let picture =
                image::load_from_memory_with_format(scene, image::ImageFormat::Jpeg).unwrap();
            assert_eq!((picture.width(), picture.height()), (WIDTH, HEIGHT));
            assert!(scenes[..index].iter().all(|other| other != scene));
        }
    }
}
