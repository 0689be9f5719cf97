//! Parsers of what devices say. No other room is imported here, so that the fuzzer builds this file
//! alone in a minute.

use std::time::Duration;

use kiosk_camera::multipart::{self, Parts};
use kiosk_device::http::Head;
use kiosk_device::usb::{self, descriptor};
use kiosk_device::{hotplug, recording};
use kiosk_id_card::CardRecord;
use kiosk_id_card::sdt::Decoder;
use kiosk_printer::{escpos, ipp};

/// A parser under fuzzing.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the fuzz target.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// Well-formed inputs to start from.
    pub seeds: &'static [&'static [u8]],
}

/// Every parser of a device's bytes.
pub const TARGETS: &[Target] = &[
    Target {
        name: "usb-descriptors",
        run: usb_descriptors,
        seeds: &[
            b"\x09\x02\x20\x00\x01\x01\x00\xC0\x10\x09\x04\x00\x00\x02\x07\x01\x02\x00\x07\x05\x02\x02\x40\x00\x00\x07\x05\x81\x02\x40\x00\x00",
            b"\x12\x01\x00\x02\x00\x00\x00\x40\x83\x04\x43\x57\x00\x02\x01\x02\x03\x01",
            b"\x08\x03A\x00B\x00C\x00",
        ],
    },
    Target {
        name: "usbip-reply",
        run: usbip_reply,
        seeds: &[b"\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"],
    },
    Target {
        name: "uevent",
        run: uevent,
        seeds: &[b"add@/devices/usb1/1-2\0ACTION=add\0DEVPATH=/devices/usb1/1-2\0SUBSYSTEM=usb\0"],
    },
    Target {
        name: "recording",
        run: recording_file,
        seeds: &[b"kiosk-recording 1\n# about\n0.000100 > AA 01\n0.002000 < *40\n0.1 - opened\n"],
    },
    Target {
        name: "sdt-frames",
        run: sdt_frames,
        seeds: &[
            b"\xAA\xAA\xAA\x96\x69\x00\x04\x00\x00\x90\x94",
            b"\xAA\xAA\xAA\x96\x69\x00\x08\x00\x00\x9F\x00\x00\x00\x00\x97",
        ],
    },
    Target {
        name: "card-content",
        run: card_content,
        seeds: &[&[0x20, 0x00, 0x31, 0x00]],
    },
    Target {
        name: "newland",
        run: newland,
        seeds: &[
            b"\x02\x010000#SCNTRG1\x06;\x03",
            b"TESTQR\r\n",
            b"\xB2\xE2\xCA\xD4\r\n",
        ],
    },
    Target {
        name: "escpos-status",
        run: escpos_status,
        seeds: &[b"\x12\x1A\x10\x00\x00\x00\x37\x22\x30\x30\x30\x31\x00"],
    },
    Target {
        name: "ipp-reply",
        run: ipp_reply,
        seeds: &[
            b"\x02\x00\x00\x00\x00\x00\x00\x01\x01\x47\x00\x12attributes-charset\x00\x05utf-8\x04\x23\x00\x0Dprinter-state\x00\x04\x00\x00\x00\x05\x03",
        ],
    },
    Target {
        name: "http-reply",
        run: http_reply,
        seeds: &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        ],
    },
    Target {
        name: "mjpeg-stream",
        run: mjpeg_stream,
        seeds: &[b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 2\r\n\r\n\xFF\xD8\r\n--frame\r\n"],
    },
    Target {
        name: "picture",
        run: picture,
        seeds: &[b"\xFF\xD8\xFF\xE0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xFF\xD9"],
    },
    Target {
        name: "honeywell",
        run: honeywell,
        seeds: &[b"REVINF: AB1234\x06.", b"cbrena1\x06.", b"TESTQR\r"],
    },
    Target {
        name: "gm65",
        run: gm65,
        seeds: &[b"\x02\x00\x00\x01\x00\x33\x31TESTQR\r", b"\x02\x00\x01\x01\x00\x04\x01"],
    },
    Target {
        name: "ssi",
        run: ssi,
        seeds: &[
            b"\x04\xD0\x00\x00\xFF\x2C",
            b"\x0C\xF3\x00\x00\x03TEST123\xFD\x28",
            b"\x05\xD1\x00\x00\x01\xFF\x29",
        ],
    },
    Target {
        name: "datalogic",
        run: datalogic,
        seeds: &[b"Gryphon\r\n", b"\x06TEST\r\n"],
    },
    Target {
        name: "hid-descriptor",
        run: hid_descriptor,
        seeds: &[
            b"\x05\x8C\x09\x02\xA1\x01\x85\x02\x09\x12\xA1\x02\x15\x00\x26\xFF\x00\x75\x08\x95\x01\x05\x01\x09\x3B\x81\x02\x95\x03\x05\x8C\x09\xFB\x09\xFC\x09\xFD\x81\x02\x95\x38\x09\xFE\x82\x02\x01\x25\x01\x75\x01\x95\x01\x09\xFF\x81\x02\x75\x07\x81\x03\xC0\xC0",
        ],
    },
    Target {
        name: "keyboard",
        run: keyboard,
        seeds: &[&[30, 1, 30, 0, 42, 1, 48, 1, 48, 0, 42, 0, 28, 1, 28, 0]],
    },
    Target {
        name: "qr-frame",
        run: qr_frame,
        seeds: &[&[0x08, 0xFF, 0x00, 0xFF, 0x00, 0x80, 0x40, 0x20, 0x10, 0x08]],
    },
    Target {
        name: "reader-hid",
        run: reader_hid,
        seeds: &[b"\xAA\x00\x00\x05\x00\x00\x01\x02\x03\x04\x0F\x00"],
    },
    Target {
        name: "portrait",
        run: portrait,
        seeds: &[b"BM\xCE\x97\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00\x66\x00\x00\x00\x7E\x00\x00\x00\x01\x00\x18\x00"],
    },
    Target {
        name: "apdu-reply",
        run: apdu_reply,
        seeds: &[
            b"\x01\x00\x02\x90\x00\x02\x61\x1E",
            b"\x08\x03\x043.00\x90\x00",
            b"\x02\x6C\x14",
        ],
    },
    Target {
        name: "printer-device-id",
        run: printer_device_id,
        seeds: &[b"\x00\x2DMFG:TEST;MDL:EMU80;CMD:ESC/POS;CLS:PRINTER;"],
    },
    Target {
        name: "slip-text",
        run: slip_text,
        seeds: &["回执 ABC㛃".as_bytes()],
    },
    Target {
        name: "snmp-reply",
        run: snmp_reply,
        seeds: &[
            b"\x30\x2C\x02\x01\x00\x04\x06public\xA2\x1F\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x14\x30\x12\x06\x0D\x2B\x06\x01\x02\x01\x19\x03\x05\x01\x02\x01\x00\x00\x04\x01\x40",
        ],
    },
    Target {
        name: "ups-q1",
        run: ups_q1,
        seeds: &[
            b"(208.4 140.0 208.4 034 59.9 2.05 35.0 00110000\r",
            b"(209.7 209.7 219.7 020 50.0 41.8 23.3 00000001\r",
            b"#220.0 005 12.00 50.0\r",
        ],
    },
    Target {
        name: "modbus-reply",
        run: modbus_reply,
        seeds: &[b"\x01\x02\x01\x05\x61\x8B", b"\x01\x05\x00\x00\xFF\x00\x8C\x3A", b"\x01\x82\x02\xC1\x61"],
    },
    Target {
        name: "mixer-output",
        run: mixer_output,
        seeds: &[b"Simple mixer control 'Master',0\n  Front Left: Playback 40 [63%] [-20.00dB] [on]\n"],
    },
    Target {
        name: "video-frame",
        run: video_frame,
        seeds: &[&[0x04, 0x02, 0x08, 0x80, 0x10, 0x80, 0x20, 0x80, 0x30, 0x80]],
    },
    Target {
        name: "document-picture",
        run: document_picture,
        seeds: &[&[0x10, 0x10, 0x80, 0x80, 0x80, 0xFF, 0xFF, 0xFF]],
    },
];

fn sdt_frames(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for chunk in bytes.chunks(7) {
        if let Some(reply) = decoder.push(chunk) {
            // Drivers look at the data by its own length words.
            std::hint::black_box(kiosk_id_card::sdt::split_base(&reply.data));
            std::hint::black_box(kiosk_id_card::sdt::split_full(&reply.data));
            std::hint::black_box(kiosk_id_card::sdt::format_sam_id(&reply.data));
            std::hint::black_box(kiosk_id_card::sdt::fault(reply.status));
        }
    }
}

fn card_content(bytes: &[u8]) {
    let mut text = [0x20_u8; 256];
    for (to, from) in text.iter_mut().zip(bytes) {
        *to = *from;
    }
    for text in [&text[..], bytes] {
        if let Ok(record) = CardRecord::parse(text, &[]) {
            assert!(
                !format!("{record:?}").contains("name:"),
                "Debug shows content"
            );
        }
    }
}

fn newland(bytes: &[u8]) {
    if let kiosk_qr_scanner::newland::Input::Answer { length, content } =
        kiosk_qr_scanner::newland::parse(bytes)
    {
        assert!(length <= bytes.len(), "an answer longer than the input");
        std::hint::black_box(kiosk_qr_scanner::newland::verdict(&content, "SCNTRG1"));
        std::hint::black_box(kiosk_qr_scanner::newland::query_text(&content, "QRYSYS"));
    }
    drop(std::hint::black_box(kiosk_qr_scanner::text::decode(bytes)));
}

fn honeywell(bytes: &[u8]) {
    use kiosk_qr_scanner::honeywell;
    for tag in [honeywell::HEALTH, honeywell::REVISION] {
        drop(std::hint::black_box(honeywell::parse(bytes, tag)));
    }
}

fn gm65(bytes: &[u8]) {
    use kiosk_qr_scanner::gm65::{Input, parse};
    if let Input::Answer {
        length, content, ..
    } = parse(bytes)
    {
        assert!(
            length <= bytes.len() && content.len() < length,
            "an answer longer than the input"
        );
    }
}

fn ssi(bytes: &[u8]) {
    use kiosk_qr_scanner::ssi::{Input, again, begins_packet, parse};
    std::hint::black_box(begins_packet(bytes));
    match parse(bytes) {
        Input::Packet { length, .. } | Input::Damaged { length } => {
            assert!(length <= bytes.len(), "a packet longer than the input");
            drop(std::hint::black_box(again(&bytes[..length])));
        }
        Input::Incomplete | Input::Code => {}
    }
}

fn datalogic(bytes: &[u8]) {
    if let Some((length, text)) = kiosk_qr_scanner::datalogic::answer(bytes) {
        assert!(
            length <= bytes.len() && text.len() <= length,
            "an answer longer than the input"
        );
    }
}

fn hid_descriptor(bytes: &[u8]) {
    use kiosk_qr_scanner::hid_report::Layout;
    // The descriptor first, then a report that is cut by it.
    let half = bytes.len() / 2;
    for (descriptor, report) in [(bytes, bytes), bytes.split_at(half)] {
        if let Ok(layout) = Layout::parse(descriptor) {
            std::hint::black_box(layout.output_bytes(4));
            if let Some(piece) = layout.piece(report) {
                assert!(piece.bytes.len() <= report.len(), "more than the report");
            }
        }
    }
}

fn keyboard(bytes: &[u8]) {
    let events: Vec<(u16, i32)> = bytes
        .chunks_exact(2)
        .map(|pair| (u16::from(pair[0]), i32::from(pair[1])))
        .collect();
    let typed = kiosk_qr_scanner::keyboard::typed_by(&events);
    assert!(typed.len() <= events.len(), "more letters than keys");
}

fn qr_frame(bytes: &[u8]) {
    use kiosk_qr_scanner::frame::{Frame, decode};
    let Some((width, gray)) = bytes.split_first() else {
        return;
    };
    let width = u32::from(*width).clamp(1, 96);
    let height = u32::try_from(gray.len()).unwrap_or(0) / width;
    drop(std::hint::black_box(
        kiosk_qr_scanner::frame::gray_from_rgb(gray, width, height / 3),
    ));
    let length = usize::try_from(width * height).unwrap_or(0);
    if let Ok(frame) = Frame::new(&gray[..length], width, height) {
        let deadline = kiosk_device::clock::now() + Duration::from_millis(200);
        drop(std::hint::black_box(decode(frame, deadline)));
    }
}

fn reader_hid(bytes: &[u8]) {
    let mut assembler = kiosk_id_card::hid::Assembler::default();
    for report in bytes.chunks(64) {
        if let Ok(Some(answer)) = assembler.push(report) {
            drop(std::hint::black_box(kiosk_id_card::hid::version(&answer)));
        }
    }
}

fn portrait(bytes: &[u8]) {
    std::hint::black_box(kiosk_id_card::portrait::is_bitmap(bytes));
}

/// A card whose responses are the input: a length byte, then so many bytes.
struct Scripted<'a>(&'a [u8], usize);

impl kiosk_smart_card::apdu::Channel for Scripted<'_> {
    fn transmit(
        &mut self,
        _command: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, kiosk_smart_card::apdu::ChannelError> {
        self.1 += 1;
        assert!(self.1 < 2000, "a card is asked for ever");
        let Some((length, rest)) = self.0.split_first() else {
            return Err(kiosk_smart_card::apdu::ChannelError::Removed);
        };
        let (reply, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        self.0 = rest;
        Ok(zeroize::Zeroizing::new(reply.to_vec()))
    }
}

fn apdu_reply(bytes: &[u8]) {
    use kiosk_smart_card::{apdu, card};
    drop(std::hint::black_box(apdu::Response::parse(bytes)));
    drop(std::hint::black_box(card::parse_record(bytes, 0x08, 18)));
    drop(std::hint::black_box(card::parse_name(bytes, bytes)));
    drop(std::hint::black_box(card::read(&mut Scripted(bytes, 0))));
}

fn printer_device_id(bytes: &[u8]) {
    let id = escpos::DeviceId::parse(bytes);
    assert!(
        id.name().len() <= 4 * bytes.len() + 2,
        "a name longer than its source"
    );
}

fn slip_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let slip = escpos::SlipText {
        elements: vec![
            escpos::Element::Line(escpos::TextLine::new(text.clone())),
            escpos::Element::Feed(1),
            escpos::Element::Cut,
        ],
        glyphs: std::collections::HashMap::new(),
    };
    let profile = escpos::Profile::default();
    drop(std::hint::black_box(slip.glyphs_needed(&profile)));
    let sent = escpos::encode(&slip, &profile);
    assert!(
        sent.len() <= 4 * text.len() + 256,
        "more than the text needs"
    );
}

fn snmp_reply(bytes: &[u8]) {
    if let Ok(response) = kiosk_printer::snmp::Response::parse(bytes) {
        drop(std::hint::black_box(kiosk_printer::snmp::testimony(
            &response,
        )));
    }
}

fn ups_q1(bytes: &[u8]) {
    use kiosk_auxiliaries::ups;
    for start in [b'(', b'#'] {
        if let Some(line) = ups::find_line(bytes, start) {
            assert!(line.len() <= bytes.len(), "a line longer than the input");
            std::hint::black_box(ups::parse_status(line));
            drop(std::hint::black_box(ups::parse_identity(line)));
            std::hint::black_box(ups::parse_ratings(line));
        }
    }
    std::hint::black_box(ups::parse_status(bytes));
}

fn modbus_reply(bytes: &[u8]) {
    use kiosk_auxiliaries::io_board::modbus;
    for request in [
        modbus::read(1, 0x02, 8),
        modbus::write_coil(1, 0, true),
        modbus::write_coils(1, &[true; 8]),
    ] {
        if let Some(modbus::Reply::Body(body)) = request.find_reply(bytes) {
            assert!(body.len() < bytes.len(), "a body longer than the frame");
            assert!(modbus::bits(&body).count() <= 8 * body.len());
        }
    }
}

fn mixer_output(bytes: &[u8]) {
    std::hint::black_box(kiosk_auxiliaries::speaker::parse_volume(bytes));
}

fn video_frame(bytes: &[u8]) {
    use kiosk_camera::video::{Layout, Pixels, to_frame};
    let [width, height, stride, rest @ ..] = bytes else {
        return;
    };
    for pixels in [Pixels::Jpeg, Pixels::Yuyv, Pixels::Gray] {
        let layout = Layout {
            pixels,
            width: u32::from(*width),
            height: u32::from(*height),
            stride: u32::from(*stride),
        };
        drop(std::hint::black_box(to_frame(layout, rest, 64)));
    }
}

fn document_picture(bytes: &[u8]) {
    let [width, height, rest @ ..] = bytes else {
        return;
    };
    let (width, height) = (u32::from(*width).max(1), u32::from(*height).max(1));
    let length = usize::try_from(width * height * 3).unwrap_or(0);
    let rgb: Vec<u8> = rest.iter().copied().cycle().take(length).collect();
    if rgb.len() == length {
        std::hint::black_box(kiosk_camera::face::judge(&rgb, width, height));
        drop(std::hint::black_box(
            kiosk_camera::document::straighten_jpeg(rest),
        ));
    }
}

fn escpos_status(bytes: &[u8]) {
    let mut parser = escpos::ReportParser::default();
    for (at, byte) in bytes.iter().enumerate() {
        if at % 7 == 3 {
            parser.expect_paper_sensors();
        }
        match parser.push(*byte) {
            Some(escpos::Report::Automatic(report)) => {
                std::hint::black_box(escpos::Condition::from_automatic(report).status());
            }
            Some(escpos::Report::RealTime(byte)) => {
                std::hint::black_box(escpos::Condition::from_real_time([byte; 4]).faults());
                std::hint::black_box(escpos::Condition::from_port_status(byte).faults());
            }
            Some(escpos::Report::Full(report)) => {
                std::hint::black_box(escpos::FullStatus::from_bytes(report).condition().faults());
            }
            Some(escpos::Report::PaperSensors(byte)) => {
                std::hint::black_box(escpos::Condition::from_paper_sensors(byte).faults());
            }
            Some(escpos::Report::ProcessId(_) | escpos::Report::Hold | escpos::Report::Release)
            | None => {}
        }
    }
}

fn ipp_reply(bytes: &[u8]) {
    if let Ok(answer) = ipp::Answer::parse(bytes) {
        drop(std::hint::black_box(ipp::printer_status(&answer)));
    }
}

fn http_reply(bytes: &[u8]) {
    if let Ok(Some((head, length))) = Head::parse(bytes) {
        assert!(length <= bytes.len(), "a head longer than the input");
        let Ok(mut body) = head.body() else {
            return;
        };
        let mut output = Vec::new();
        for chunk in bytes[length..].chunks(5) {
            if !matches!(body.feed(chunk, &mut output), Ok(false)) {
                break;
            }
        }
        assert!(output.len() <= bytes.len(), "a body longer than the input");
    }
}

fn mjpeg_stream(bytes: &[u8]) {
    drop(std::hint::black_box(multipart::boundary(
        &String::from_utf8_lossy(bytes),
    )));
    let mut parts = Parts::new("frame", 4096);
    for chunk in bytes.chunks(11) {
        parts.push(chunk);
        while let Ok(Some(part)) = parts.next_part() {
            assert!(part.len() <= 4096, "a part beyond its bound");
        }
    }
}

fn picture(bytes: &[u8]) {
    drop(std::hint::black_box(kiosk_camera::picture::decode(
        bytes.to_vec(),
        64,
    )));
}

fn usb_descriptors(bytes: &[u8]) {
    if let Some((_, interfaces)) = descriptor::configuration(bytes) {
        let endpoints: usize = interfaces.iter().map(|each| each.endpoints.len()).sum();
        assert!(
            interfaces.len() + endpoints <= bytes.len(),
            "more interfaces and endpoints than bytes"
        );
    }
    std::hint::black_box(descriptor::device(bytes));
    if let Some(text) = descriptor::string(bytes) {
        assert!(!text.contains('\0'), "a control character in a string");
    }
}

fn usbip_reply(bytes: &[u8]) {
    drop(std::hint::black_box(usb::parse_network_reply(bytes)));
}

fn uevent(bytes: &[u8]) {
    if let Some(uevent) = hotplug::parse(bytes) {
        assert!(!uevent.action.is_empty(), "an event without an action");
    }
}

fn recording_file(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(steps) = recording::parse(&text) {
        assert!(steps.len() <= text.lines().count(), "more steps than lines");
    }
}
