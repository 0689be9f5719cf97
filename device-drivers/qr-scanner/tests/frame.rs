//! The steps of `frame` against the decoder alone, on seeded distorted pictures, and on frames of
//! every kind a camera may send.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::many_single_char_names,
    clippy::unwrap_used,
    reason = "the helpers of a test compute with pixels, in the letters of the formulas, and fail it like the test itself"
)]

use std::time::Duration;

use kiosk_device::clock;
use kiosk_qr_scanner::frame::{
    self, Frame, FrameCode, FrameError, FrameReader, STEPS, Step, gray_from_rgb,
};
use qrcode::{Color, QrCode};

mod distorted;

use distorted::{Distortion, picture};

const LONG: Duration = Duration::from_mins(2);

fn decode(gray: &[u8], width: u32, height: u32) -> Option<FrameCode> {
    let frame = Frame::new(gray, width, height).unwrap();
    frame::decode(frame, clock::now() + LONG)
}

/// A code of `module` pixels for each module, at `left` and `top` of a white frame.
fn drawn(content: &[u8], module: usize, place: (usize, usize), size: (u32, u32)) -> Vec<u8> {
    let code = QrCode::new(content).unwrap();
    let (modules, colors) = (code.width(), code.to_colors());
    let (width, height) = (size.0 as usize, size.1 as usize);
    let mut gray = vec![255; width * height];
    for row in 0..modules * module {
        for column in 0..modules * module {
            if colors[row / module * modules + column / module] == Color::Dark {
                gray[(place.1 + row) * width + place.0 + column] = 0;
            }
        }
    }
    gray
}

#[test]
fn nothing_is_lost_against_the_decoder_alone_and_much_is_gained() {
    let (mut alone, mut stepwise) = (0, 0);
    for distortion in Distortion::ALL {
        for seed in 0..4 {
            let picture = picture(distortion, seed, 320, 240);
            let plain = rxing::helpers::detect_in_luma_slice(
                &picture.gray,
                picture.width,
                picture.height,
                Some(rxing::BarcodeFormat::QR_CODE),
            );
            let is_plain = plain.is_ok_and(|result| result.getText() == picture.text);
            let found = decode(&picture.gray, picture.width, picture.height);
            let text = found.map(|found| found.code.text.expose().clone());
            assert!(
                text.is_none() || text.as_ref() == Some(&picture.text),
                "{distortion:?} {seed}: wrong content"
            );
            assert!(!is_plain || text.is_some(), "{distortion:?} {seed}");
            alone += usize::from(is_plain);
            stepwise += usize::from(text.is_some());
        }
    }
    assert!(stepwise >= alone + 4, "{stepwise} after {alone}");
}

#[test]
fn contents_come_as_bytes_in_both_character_sets() {
    let check = |content: &[u8], expect: &str| {
        let gray = drawn(content, 4, (40, 40), (320, 240));
        let found = decode(&gray, 320, 240).unwrap();
        assert_eq!(found.code.raw.expose(), content);
        assert_eq!(found.code.text.expose(), expect);
    };
    check(b"TESTQR", "TESTQR");
    check(b"0123456789", "0123456789");
    check("测试回执 é".as_bytes(), "测试回执 é");
    check(
        &[0xB2, 0xE2, 0xCA, 0xD4, 0xBB, 0xD8, 0xD6, 0xB4],
        "测试回执",
    );
    check(b"A\r\nA\r\n", "A\r\nA\r\n");
}

#[test]
fn corners_are_those_of_the_code_in_the_frame() {
    for step in STEPS {
        if matches!(step, Step::Inverted | Step::Reduced) {
            continue;
        }
        let gray = drawn(b"TESTQR", 4, (270, 190), (640, 480));
        let frame = Frame::new(&gray, 640, 480).unwrap();
        let Some(found) = frame::decode_by(frame, &[*step], clock::now() + LONG) else {
            panic!("{step:?} does not read a perfect picture");
        };
        // 21 modules of 4 pixels.
        let expect = [
            (270.0, 190.0),
            (354.0, 190.0),
            (354.0, 274.0),
            (270.0, 274.0),
        ];
        assert_eq!(found.corners.len(), 4, "{step:?}");
        for (corner, expect) in found.corners.iter().zip(expect) {
            let off = (corner.0 - expect.0).abs().max((corner.1 - expect.1).abs());
            assert!(off < 4.0, "{step:?}: {corner:?} for {expect:?}");
        }
    }
}

#[test]
fn light_codes_on_dark_and_codes_in_large_frames_are_read() {
    let inverted: Vec<u8> = drawn(b"TESTQR", 4, (40, 40), (320, 240))
        .iter()
        .map(|pixel| 255 - pixel)
        .collect();
    assert_eq!(decode(&inverted, 320, 240).unwrap().step, Step::Inverted);
    // Eight megapixels: a code of 84 pixels in a corner, and one over half the frame.
    for (module, place) in [(4, (3000, 2200)), (60, (500, 500))] {
        let gray = drawn(b"TESTQR", module, place, (3264, 2448));
        let found = decode(&gray, 3264, 2448).unwrap();
        assert_eq!(found.code.text.expose(), "TESTQR");
        let (x, y) = found.corners[0];
        let (left, top) = (place.0 as f32, place.1 as f32);
        assert!((x - left).abs() < 8.0 && (y - top).abs() < 8.0, "{x} {y}");
    }
}

#[test]
fn color_is_turned_into_gray() {
    let rgb = [255, 255, 255, 0, 0, 0, 255, 0, 0].repeat(21 * 7);
    let gray = gray_from_rgb(&rgb, 21, 21).unwrap();
    assert_eq!(gray[..3], [255, 0, 76]);
    assert!(gray_from_rgb(&rgb, 21, 22).is_err());
}

#[test]
fn sizes_that_do_not_agree_or_are_out_of_range_are_refused() {
    let check = |bytes: usize, width: u32, height: u32, expect: FrameError| {
        assert_eq!(
            Frame::new(&vec![0; bytes], width, height).err(),
            Some(expect)
        );
    };
    let out_of_range = |width, height| FrameError::OutOfRange { width, height };
    check(0, 0, 0, out_of_range(0, 0));
    check(400, 20, 20, out_of_range(20, 20));
    check(100, u32::MAX, u32::MAX, out_of_range(u32::MAX, u32::MAX));
    check(100, 5000, 5000, out_of_range(5000, 5000));
    let not_that_size = FrameError::NotThatSize {
        bytes: 899,
        width: 30,
        height: 30,
    };
    check(899, 30, 30, not_that_size);
}

#[test]
fn nothing_is_tried_after_the_deadline() {
    let gray = drawn(b"TESTQR", 4, (40, 40), (320, 240));
    let frame = Frame::new(&gray, 320, 240).unwrap();
    assert_eq!(frame::decode(frame, clock::now()), None);
}

#[test]
fn a_reader_goes_on_where_the_last_frame_ended() {
    // Light on dark is the last step of all.
    let inverted: Vec<u8> = drawn(b"TESTQR", 4, (40, 40), (320, 240))
        .iter()
        .map(|pixel| 255 - pixel)
        .collect();
    let frame = Frame::new(&inverted, 320, 240).unwrap();
    let mut reader = FrameReader::default();
    // No time at all for most frames: none of them is read, and none of them hangs.
    assert_eq!(reader.read(frame, clock::now()), None);
    let found = (0..STEPS.len() * 20).find_map(|_| {
        let deadline = clock::now() + Duration::from_millis(100);
        reader.read(frame, deadline)
    });
    assert_eq!(found.unwrap().step, Step::Inverted);
    // The next frame begins with what has helped.
    let found = reader.read(frame, clock::now() + LONG).unwrap();
    assert_eq!(found.step, Step::Inverted);
}

#[test]
fn frames_without_a_code_and_of_odd_sides_give_none() {
    for (width, height) in [(21, 21), (23, 700), (701, 22), (64, 64), (333, 77)] {
        for shade in [0, 128, 255] {
            let gray = vec![shade; (width * height) as usize];
            assert_eq!(decode(&gray, width, height), None);
        }
        let stripes: Vec<u8> = (0..width * height)
            .map(|at| if at % 7 < 3 { 0 } else { 255 })
            .collect();
        assert_eq!(decode(&stripes, width, height), None);
    }
}

#[test]
fn nothing_read_shows_in_debug_output() {
    let gray = drawn(b"TESTQR", 4, (40, 40), (320, 240));
    let shown = format!("{:?}", decode(&gray, 320, 240).unwrap());
    assert!(!shown.contains("TESTQR"), "{shown}");
}
