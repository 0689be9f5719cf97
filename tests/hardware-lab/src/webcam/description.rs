//! What the camera says about itself: USB descriptors (USB 2.0 §9.6, UVC 1.0 §3) and the answers to
//! control requests (UVC 1.0 §4).

/// Endpoint of the video stream.
pub(super) const ENDPOINT_IN: u8 = 0x81;
/// Bytes of one payload with its head: 32 packets of 512, the most that uvcvideo asks for at once.
pub(super) const PAYLOAD_BYTES: usize = 16_384;
/// 60 Hz, the wrong one in China, so that setting it shows.
pub(super) const POWER_LINE_DEFAULT: u8 = 2;

/// High speed, miscellaneous class with interface association (EF/02/01).
const DEVICE: [u8; 18] = [
    18, 1, 0x00, 0x02, 0xEF, 0x02, 0x01, 64, 0x6B, 0x1D, 0x02, 0x01, 0x00, 0x01, 0, 0, 0, 1,
];

/// 640 × 480, motion JPEG, 15 pictures a second, one bulk endpoint.
#[rustfmt::skip]
const CONFIGURATION: [u8; 154] = [
    // Configuration, association of both interfaces.
    9, 2, 154, 0, 2, 1, 0, 0x80, 250,
    8, 0x0B, 0, 2, 0x0E, 0x03, 0x00, 0,
    // Video control: header, camera terminal, processing unit with power-line frequency, output.
    9, 4, 0, 0, 0, 0x0E, 0x01, 0x00, 0,
    13, 0x24, 0x01, 0x00, 0x01, 51, 0, 0x80, 0x8D, 0x5B, 0x00, 1, 1,
    18, 0x24, 0x02, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0,
    11, 0x24, 0x05, 2, 1, 0, 0, 2, 0x00, 0x04, 0,
    9, 0x24, 0x03, 3, 0x01, 0x01, 0, 2, 0,
    // Video streaming: header, format, frame, color, endpoint.
    9, 4, 1, 0, 1, 0x0E, 0x02, 0x00, 0,
    14, 0x24, 0x01, 1, 61, 0, ENDPOINT_IN, 0, 3, 0, 0, 0, 1, 0,
    11, 0x24, 0x06, 1, 1, 1, 1, 0, 0, 0, 0,
    30, 0x24, 0x07, 1, 0, 0x80, 0x02, 0xE0, 0x01,
    0x00, 0x00, 0x2F, 0x00, 0x00, 0x00, 0x2F, 0x00, 0x00, 0x60, 0x09, 0x00,
    0x2A, 0x2C, 0x0A, 0x00, 1, 0x2A, 0x2C, 0x0A, 0x00,
    6, 0x24, 0x0D, 1, 1, 4,
    7, 5, ENDPOINT_IN, 2, 0x00, 0x02, 0,
];

/// Probe and commit (UVC 1.0 §4.3.1.1): the one format, frame and interval; the largest picture and
/// payload.
#[rustfmt::skip]
const PROBE: [u8; 26] = [
    0, 0, 1, 1, 0x2A, 0x2C, 0x0A, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0x00, 0x60, 0x09, 0x00, 0x00, 0x40, 0x00, 0x00,
];

/// The answer to a control request, cut to the length asked for; `None`: refused. A request that
/// carries data to the camera is answered with nothing.
pub(super) fn answer(setup: &[u8], power_line: u8) -> Option<Vec<u8>> {
    let [kind, request, low, high, index, _, length @ ..] = setup else {
        return None;
    };
    let length = usize::from(u16::from_le_bytes(length.try_into().ok()?));
    let answer: Vec<u8> = match (kind, request, high) {
        (0x80, 0x06, 0x01) => DEVICE.to_vec(),
        (0x80, 0x06, 0x02) if *low == 0 => CONFIGURATION.to_vec(),
        (0x80..=0x82, 0x00, _) => vec![0, 0],
        // Configuration, interface, halt, and the frequency that is set: nothing to say.
        (0x00..=0x02, 0x01 | 0x03 | 0x09 | 0x0B, _) | (0x21, 0x01, 0x05) => Vec::new(),
        // Probe and commit on the streaming interface.
        (0x21, 0x01, 0x01 | 0x02) if *index == 1 => Vec::new(),
        (0xA1, 0x81..=0x84 | 0x87, 0x01 | 0x02) if *index == 1 => PROBE.to_vec(),
        // Power-line frequency of the processing unit: 0 to 2 in steps of one.
        (0xA1, 0x81, 0x05) => vec![power_line],
        (0xA1, 0x82, 0x05) => vec![0],
        (0xA1, 0x83 | 0x87, 0x05) => vec![2],
        (0xA1, 0x84, 0x05) => vec![1],
        (0xA1, 0x85, 0x05) => vec![1, 0],
        (0xA1, 0x86, _) => vec![0x03],
        _ => return None,
    };
    Some(answer.into_iter().take(length).collect())
}

/// `OP_REP_IMPORT` for this device at high speed.
pub(super) fn import_reply() -> Vec<u8> {
    let mut bytes = vec![0x01, 0x11, 0x00, 0x03, 0, 0, 0, 0];
    bytes.extend(b"/emulated/1-1");
    bytes.resize(8 + 256, 0);
    bytes.extend(b"1-1");
    bytes.resize(8 + 256 + 32, 0);
    // Bus, device, speed (`USB_SPEED_HIGH`).
    for word in [1_u32, 2, 3] {
        bytes.extend(word.to_be_bytes());
    }
    // Vendor, product, release: big-endian here.
    for at in [8, 10, 12] {
        bytes.extend([DEVICE[at + 1], DEVICE[at]]);
    }
    bytes.extend(&DEVICE[4..7]);
    bytes.extend([1, 1, 2]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a configuration: descriptor type, subtype, length.
    fn parts() -> Vec<(u8, u8, usize)> {
        let mut rest = &CONFIGURATION[..];
        let mut parts = Vec::new();
        while let [length, kind, subtype, ..] = rest {
            parts.push((*kind, *subtype, usize::from(*length)));
            rest = &rest[usize::from(*length)..];
        }
        assert!(rest.is_empty());
        parts
    }

    #[test]
    fn every_length_in_the_descriptors_is_true() {
        let sum = |parts: &[(u8, u8, usize)]| parts.iter().map(|part| part.2).sum::<usize>();
        let parts = parts();
        let total = u16::from_le_bytes([CONFIGURATION[2], CONFIGURATION[3]]);
        assert_eq!(sum(&parts), usize::from(total));
        // The class descriptors of both interfaces, each with its own total.
        let of_class: Vec<_> = parts
            .iter()
            .filter(|part| part.0 == 0x24)
            .copied()
            .collect();
        let (control, streaming) = of_class.split_at(4);
        assert_eq!((sum(control), sum(streaming)), (51, 61));
    }

    #[test]
    fn requests_are_answered_cut_or_refused() {
        let ask = |setup: [u8; 8]| answer(&setup, 1);
        assert_eq!(ask([0x80, 6, 0, 1, 0, 0, 8, 0]), Some(DEVICE[..8].to_vec()));
        assert_eq!(ask([0xA1, 0x81, 0, 1, 1, 0, 26, 0]), Some(PROBE.to_vec()));
        assert_eq!(ask([0xA1, 0x81, 0, 5, 0, 2, 1, 0]), Some(vec![1]));
        assert_eq!(ask([0xA1, 0x81, 0, 9, 0, 2, 1, 0]), None);
        assert_eq!(answer(&[0x80], 1), None);
        assert_eq!(import_reply().len(), 8 + 312);
    }
}
