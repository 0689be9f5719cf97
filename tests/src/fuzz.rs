//! One function a parser of outside bytes: takes anything, returns, never panics.
//!
//! The fuzzer (`tests/fuzz`) and the short seeded run of `make test` call the same functions.
//! What a parser accepts is looked at a little further, so that a wrong acceptance shows too.

use kiosk_app::catalogue::Catalogue;
use kiosk_camera::multipart::{self, Parts};
use kiosk_device::http::Head;
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

/// Every parser of outside bytes.
pub const TARGETS: &[Target] = &[
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
        name: "slip-code",
        run: slip_code,
        seeds: &[b"KC1.T001-20261122-00001.202611220941.0123456789ab.abc"],
    },
    Target {
        name: "configuration",
        run: configuration,
        seeds: &[
            b"[terminal]\nid = \"T001\"\nsite = \"x\"\nhelp_phone = \"1\"\n[platform]\nurl = \"http://x\"\n[paths]\nstate = \"s\"\nitems = \"i\"\n",
        ],
    },
    Target {
        name: "item-package",
        run: item_package,
        seeds: &[include_bytes!("../../kiosk-app/items/old-age-allowance/item.toml")],
    },
];

fn sdt_frames(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for chunk in bytes.chunks(7) {
        if let Some(reply) = decoder.push(chunk) {
            // Drivers look at the data by its own length words.
            std::hint::black_box(kiosk_id_card::sdt::split_base(&reply.data));
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

fn escpos_status(bytes: &[u8]) {
    let mut parser = escpos::ReportParser::default();
    for byte in bytes {
        match parser.push(*byte) {
            Some(escpos::Report::Automatic(report)) => {
                std::hint::black_box(escpos::Condition::from_automatic(report).status());
            }
            Some(escpos::Report::RealTime(byte)) => {
                std::hint::black_box(escpos::Condition::from_real_time([byte; 4]).faults());
            }
            Some(escpos::Report::ProcessId(_)) | None => {}
        }
    }
}

fn ipp_reply(bytes: &[u8]) {
    drop(std::hint::black_box(ipp::Answer::parse(bytes)));
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

fn slip_code(bytes: &[u8]) {
    if let Some(number) = kiosk_app::slip_code::case_number(&String::from_utf8_lossy(bytes)) {
        assert!(
            number.len() <= 40 && number.is_ascii(),
            "a number that is none"
        );
    }
}

fn configuration(bytes: &[u8]) {
    drop(std::hint::black_box(kiosk_app::Config::parse(
        &String::from_utf8_lossy(bytes),
    )));
}

fn item_package(bytes: &[u8]) {
    let Ok(directory) = tempfile::tempdir() else {
        return;
    };
    let package = directory.path().join("old-age-allowance");
    let is_written = std::fs::create_dir(&package).is_ok()
        && std::fs::write(package.join("item.toml"), bytes).is_ok();
    if is_written {
        let catalogue = Catalogue::load(directory.path());
        // Without its texts no package is valid, whatever its item.toml says.
        assert!(catalogue.is_empty() && !catalogue.mistakes.is_empty());
    }
}
