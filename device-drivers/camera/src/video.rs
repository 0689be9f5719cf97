//! Pictures as video devices deliver them: JPEG without its tables, YUYV and gray. Pure functions of
//! bytes; nothing is read beyond what is there, and nothing larger than a picture is made.

use image::{GrayImage, RgbImage};

use crate::picture::{
    DHT, Frame, PictureError, SIDE_PIXELS_MAX, Wanted, decode_wanted, decode_whole, encode, frame,
    head, part,
};

/// How pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pixels {
    /// `MJPG`: each picture is a JPEG.
    Jpeg,
    /// `YUYV`: two bytes a pixel, color shared by two neighbors.
    Yuyv,
    /// `GREY`: one byte a pixel.
    Gray,
}

impl Pixels {
    /// Its four characters in the kernel.
    pub fn four_characters(self) -> [u8; 4] {
        match self {
            Self::Jpeg => *b"MJPG",
            Self::Yuyv => *b"YUYV",
            Self::Gray => *b"GREY",
        }
    }

    /// The storage of those four characters, if it is one of ours. `JPEG` is what some drivers call
    /// motion JPEG.
    pub fn from_four_characters(characters: [u8; 4]) -> Option<Self> {
        match &characters {
            b"MJPG" | b"JPEG" => Some(Self::Jpeg),
            b"YUYV" => Some(Self::Yuyv),
            b"GREY" => Some(Self::Gray),
            _ => None,
        }
    }

    /// The word for a technician.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "mjpg",
            Self::Yuyv => "yuyv",
            Self::Gray => "grey",
        }
    }

    fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Jpeg => 0,
            Self::Yuyv => 2,
            Self::Gray => 1,
        }
    }
}

/// How the bytes of one picture lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How pixels are stored.
    pub pixels: Pixels,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from one row to the next; 0 for JPEG.
    pub stride: u32,
}

impl Layout {
    /// The rows of a raw picture, without what the device leaves between them.
    fn rows(self, bytes: &[u8]) -> Result<impl Iterator<Item = &[u8]>, PictureError> {
        let side = |pixels: u32| {
            (1..=SIDE_PIXELS_MAX)
                .contains(&pixels)
                .then_some(pixels as usize)
                .ok_or(PictureError::Incomplete)
        };
        let row_bytes = side(self.width)? * self.pixels.bytes_per_pixel();
        let height = side(self.height)?;
        let stride = (self.stride as usize).max(row_bytes).max(1);
        // The last row may end with its last pixel.
        let needed = stride * (height - 1) + row_bytes;
        if bytes.len() < needed {
            return Err(PictureError::Incomplete);
        }
        Ok(bytes
            .chunks(stride)
            .take(height)
            .filter_map(move |row| row.get(..row_bytes)))
    }
}

/// One picture in the storage of `layout` as a frame: JPEG is kept as it is, raw pixels are encoded.
///
/// # Errors
/// [`PictureError`].
pub fn to_frame(layout: Layout, bytes: &[u8], preview_width: u32) -> Result<Frame, PictureError> {
    to_wanted(layout, bytes, preview_width.into())
}

/// The same as it is wanted.
pub(crate) fn to_wanted(
    layout: Layout,
    bytes: &[u8],
    wanted: Wanted,
) -> Result<Frame, PictureError> {
    match (layout.pixels, wanted.crop) {
        (Pixels::Jpeg, _) => decode_wanted(with_tables(bytes), wanted),
        (Pixels::Yuyv | Pixels::Gray, Some(crop)) => {
            let picture = to_rgb(layout, bytes)?;
            part(&picture.into(), crop, wanted.preview_width)
        }
        (Pixels::Yuyv | Pixels::Gray, None) => {
            let picture = to_rgb(layout, bytes)?;
            let jpeg = encode(&picture)?;
            Ok(frame(picture.into(), jpeg, wanted.preview_width))
        }
    }
}

/// One picture in the storage of `layout` in three colors.
///
/// # Errors
/// [`PictureError`].
pub fn to_rgb(layout: Layout, bytes: &[u8]) -> Result<RgbImage, PictureError> {
    let mut rgb = Vec::new();
    match layout.pixels {
        Pixels::Jpeg => return Ok(decode_whole(&with_tables(bytes))?.into_rgb8()),
        Pixels::Yuyv => {
            let rows = layout.rows(bytes)?;
            rgb.reserve_exact(3 * layout.width as usize * layout.height as usize);
            for row in rows {
                yuyv_row_to_rgb(row, &mut rgb);
            }
        }
        Pixels::Gray => {
            let rows = layout.rows(bytes)?;
            rgb.reserve_exact(3 * layout.width as usize * layout.height as usize);
            for row in rows {
                rgb.extend(row.iter().flat_map(|gray| [*gray; 3]));
            }
        }
    }
    RgbImage::from_raw(layout.width, layout.height, rgb).ok_or(PictureError::Incomplete)
}

/// One picture in the storage of `layout` without colors.
///
/// # Errors
/// [`PictureError`].
pub fn to_gray(layout: Layout, bytes: &[u8]) -> Result<GrayImage, PictureError> {
    let mut gray = Vec::new();
    match layout.pixels {
        Pixels::Jpeg => {
            return Ok(decode_whole(&with_tables(bytes))?.into_luma8());
        }
        Pixels::Yuyv => {
            for row in layout.rows(bytes)? {
                gray.extend(row.iter().step_by(2));
            }
        }
        Pixels::Gray => {
            for row in layout.rows(bytes)? {
                gray.extend_from_slice(row);
            }
        }
    }
    GrayImage::from_raw(layout.width, layout.height, gray).ok_or(PictureError::Incomplete)
}

/// ITU-R BT.601 with the limited range that USB cameras use (USB video class 1.5, §2.26), in 1/256.
fn yuyv_row_to_rgb(row: &[u8], rgb: &mut Vec<u8>) {
    for pair in row.chunks(4) {
        // An odd width leaves one pixel with one color; the other is taken as none.
        let [first, blue, second, red] = match *pair {
            [first, blue, second, red] => [first, blue, second, red],
            [first, blue] => [first, blue, first, 128],
            _ => return,
        };
        let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
        let lumas = [first, second];
        for luma in lumas.iter().take(pair.len() / 2) {
            let luma = 298 * (i32::from(*luma) - 16) + 128;
            let channel = |value: i32| u8::try_from((value >> 8).clamp(0, 255)).unwrap_or_default();
            rgb.extend([
                channel(luma + 409 * red),
                channel(luma - 100 * blue - 208 * red),
                channel(luma + 516 * blue),
            ]);
        }
    }
}

/// Motion JPEG may leave its Huffman tables out, because they are always the same; a picture that is
/// handed on needs them. A copy of `jpeg` with the tables in it.
pub fn with_tables(jpeg: &[u8]) -> Vec<u8> {
    match head(jpeg) {
        // They belong in front of the scan.
        Some(head) if !head.has_tables => {
            let (head, rest) = jpeg.split_at(head.scan_at);
            [head, &standard_tables(), rest].concat()
        }
        Some(_) | None => jpeg.to_vec(),
    }
}

/// The tables of ISO/IEC 10918-1, annex K.3, as segments.
fn standard_tables() -> Vec<u8> {
    let tables: [(u8, &[u8; 16], &[u8]); 4] = [
        (0x00, &LUMA_DC_LENGTHS, &DC_VALUES),
        (0x10, &LUMA_AC_LENGTHS, &LUMA_AC_VALUES),
        (0x01, &CHROMA_DC_LENGTHS, &DC_VALUES),
        (0x11, &CHROMA_AC_LENGTHS, &CHROMA_AC_VALUES),
    ];
    let mut bytes = Vec::new();
    for (place, lengths, values) in tables {
        let length = u16::try_from(2 + 1 + lengths.len() + values.len()).unwrap_or_default();
        bytes.extend([0xFF, DHT]);
        bytes.extend(length.to_be_bytes());
        bytes.push(place);
        bytes.extend(lengths);
        bytes.extend(values);
    }
    bytes
}

const LUMA_DC_LENGTHS: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const CHROMA_DC_LENGTHS: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
const DC_VALUES: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const LUMA_AC_LENGTHS: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D];
const CHROMA_AC_LENGTHS: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77];
#[rustfmt::skip]
const LUMA_AC_VALUES: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52, 0xD1, 0xF0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0A, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2A, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7,
    0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3, 0xC4, 0xC5,
    0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA, 0xE1, 0xE2,
    0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
    0xF9, 0xFA,
];
#[rustfmt::skip]
const CHROMA_AC_VALUES: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33, 0x52, 0xF0,
    0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1, 0x17, 0x18, 0x19, 0x1A, 0x26,
    0x27, 0x28, 0x29, 0x2A, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3A, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4A, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6A, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7A, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8A, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0xA2, 0xA3, 0xA4, 0xA5,
    0xA6, 0xA7, 0xA8, 0xA9, 0xAA, 0xB2, 0xB3, 0xB4, 0xB5, 0xB6, 0xB7, 0xB8, 0xB9, 0xBA, 0xC2, 0xC3,
    0xC4, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xD2, 0xD3, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8, 0xD9, 0xDA,
    0xE2, 0xE3, 0xE4, 0xE5, 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8,
    0xF9, 0xFA,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::jpeg;
    use crate::picture::{Crop, SOI, SOS};

    fn layout(pixels: Pixels, width: u32, height: u32, stride: u32) -> Layout {
        Layout {
            pixels,
            width,
            height,
            stride,
        }
    }

    fn check_near(found: [u8; 3], expect: [u8; 3]) {
        for (found, expect) in found.into_iter().zip(expect) {
            assert!(found.abs_diff(expect) <= 3, "{found} is not {expect}");
        }
    }

    #[test]
    fn yuyv_has_the_colors_of_the_standard() {
        // Luma, blue difference, red difference of BT.601 for 100 % colors.
        for (yuv, rgb) in [
            ([235, 128, 128], [255, 255, 255]),
            ([16, 128, 128], [0, 0, 0]),
            ([81, 90, 240], [255, 0, 0]),
            ([145, 54, 34], [0, 255, 0]),
            ([41, 240, 110], [0, 0, 255]),
        ] {
            let [luma, blue, red] = yuv;
            let picture = to_rgb(layout(Pixels::Yuyv, 2, 1, 4), &[luma, blue, luma, red]).unwrap();
            check_near(picture.get_pixel(0, 0).0, rgb);
            check_near(picture.get_pixel(1, 0).0, rgb);
        }
    }

    #[test]
    fn rows_are_found_behind_what_lies_between_them() {
        // Two pixels a row, padded to five bytes.
        let bytes = [1, 2, 0xEE, 0xEE, 0xEE, 3, 4];
        let gray = to_gray(layout(Pixels::Gray, 2, 2, 5), &bytes).unwrap();
        assert_eq!(gray.into_raw(), [1, 2, 3, 4]);
        let rgb = to_rgb(layout(Pixels::Gray, 2, 2, 5), &bytes).unwrap();
        assert_eq!(rgb.get_pixel(1, 1).0, [4; 3]);
        let luma = to_gray(layout(Pixels::Yuyv, 2, 1, 4), &[10, 0, 20, 0]).unwrap();
        assert_eq!(luma.into_raw(), [10, 20]);
        let odd = to_rgb(layout(Pixels::Yuyv, 3, 1, 6), &[16, 128, 235, 128, 16, 128]).unwrap();
        assert_eq!(odd.width(), 3);
    }

    #[test]
    fn pictures_that_are_not_whole_are_refused() {
        for (layout, bytes) in [
            (layout(Pixels::Gray, 2, 2, 2), 3),
            (layout(Pixels::Yuyv, 2, 2, 4), 7),
            (layout(Pixels::Gray, 2, 2, u32::MAX), 100),
            (layout(Pixels::Gray, 0, 2, 2), 100),
            (layout(Pixels::Yuyv, 2, SIDE_PIXELS_MAX + 1, 4), 100_000),
        ] {
            let bytes = vec![0; bytes];
            assert!(matches!(
                to_frame(layout, &bytes, 100),
                Err(PictureError::Incomplete)
            ));
            assert!(to_gray(layout, &bytes).is_err());
        }
    }

    #[test]
    fn a_raw_picture_becomes_a_frame_with_its_jpeg() {
        let bytes = [81, 90, 81, 240].repeat(64 * 48 / 2);
        let frame = to_frame(layout(Pixels::Yuyv, 64, 48, 128), &bytes, 32).unwrap();
        assert_eq!((frame.width, frame.height), (32, 24));
        check_near([frame.rgb[0], frame.rgb[1], frame.rgb[2]], [255, 0, 0]);
        let whole = decode_whole(&frame.jpeg).unwrap();
        assert_eq!((whole.width(), whole.height()), (64, 48));
        let wanted = Wanted {
            preview_width: 64,
            crop: Crop::new([250, 0, 250, 500]),
        };
        let part = to_wanted(layout(Pixels::Yuyv, 64, 48, 128), &bytes, wanted).unwrap();
        assert_eq!((part.width, part.height), (32, 24));
        check_near([part.rgb[0], part.rgb[1], part.rgb[2]], [255, 0, 0]);
    }

    /// The picture without its Huffman tables, as cameras send it.
    fn without_tables(jpeg: &[u8]) -> Vec<u8> {
        let mut bare = Vec::new();
        let mut at = 2;
        bare.extend(&jpeg[..2]);
        while jpeg[at + 1] != SOS {
            let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] != DHT {
                bare.extend(&jpeg[at..end]);
            }
            at = end;
        }
        bare.extend(&jpeg[at..]);
        bare
    }

    #[test]
    fn the_tables_that_cameras_leave_out_are_put_in() {
        let whole = jpeg(64, 48, [200, 40, 90]);
        let bare = without_tables(&whole);
        assert!(bare.len() < whole.len());
        let mended = with_tables(&bare);
        assert_eq!(mended.len(), whole.len());
        let layout = layout(Pixels::Jpeg, 64, 48, 0);
        let pictures = [&whole, &bare].map(|bytes| to_rgb(layout, bytes).unwrap());
        assert_eq!(pictures[0], pictures[1]);
        let frame = to_frame(layout, &bare, 64).unwrap();
        assert_eq!(*frame.jpeg, mended);
        // What has its tables, or is no picture, stays as it is.
        assert_eq!(with_tables(&whole), whole);
        for other in [&whole[..9], &[0xFF, SOI, 0xFF, 0xFF], &[0xFF; 40], &[]] {
            assert_eq!(with_tables(other), other);
        }
    }

    #[test]
    fn no_bytes_make_the_conversions_panic() {
        let mut seed = 5_u32;
        for size in 0..200_u32 {
            let bytes: Vec<u8> = (0..size)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed.to_be_bytes()[0]
                })
                .collect();
            let start = [&[0xFF, SOI][..], &bytes].concat();
            drop(with_tables(&start));
            for pixels in [Pixels::Jpeg, Pixels::Yuyv, Pixels::Gray] {
                drop(to_gray(
                    layout(pixels, size % 17, size % 13, size % 29),
                    &bytes,
                ));
                drop(to_frame(layout(pixels, size % 17, size % 13, 0), &bytes, 8));
            }
        }
    }
}
