//! What the crate promises to the items: slips and pages come out whole, the same every time,
//! and a wrong template or a wrong PDF is told apart from a working one, with its place.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose input cannot be prepared has failed"
)]

use std::path::PathBuf;

use kiosk_documents::{
    Document, DocumentError, PDF_BYTES_MAX, Template, Typesetter, pdf_page_count, pdf_pages, qr_svg,
};
use serde_json::{Value, json};

const SLIP: &str = include_str!("../../items/_shared/slip.typ");
const SLIP_DATA: &str = include_str!("slip.json");
const A4: &str = include_str!("a4.typ");
const SLIP_DOTS: u32 = 576;

fn typesetter() -> Typesetter {
    Typesetter::with_system_fonts().unwrap()
}

fn slip(change: impl FnOnce(&mut Value)) -> Document {
    let mut data: Value = serde_json::from_str(SLIP_DATA).unwrap();
    change(&mut data);
    let files = [(
        "qr.svg",
        qr_svg("https://kiosk.example/s/GL20261122000042").unwrap(),
    )];
    typesetter()
        .compile(&Template {
            source: SLIP,
            data: &data,
            files: &files,
        })
        .unwrap()
}

fn a4() -> Document {
    let data =
        json!({ "name": "测试甲", "number": "1237", "months": (1..=60).collect::<Vec<_>>() });
    typesetter()
        .compile(&Template {
            source: A4,
            data: &data,
            files: &[],
        })
        .unwrap()
}

fn compile(source: &str, data: &Value) -> Result<Document, DocumentError> {
    typesetter().compile(&Template {
        source,
        data,
        files: &[],
    })
}

/// The dots of a text alone on a slip, in the default font.
fn dots_of(text: &str) -> Vec<u8> {
    let source =
        "#set page(width: 72mm, height: 20mm, margin: 2mm)\n#text(40pt, json(\"data.json\"))";
    compile(source, &json!(text))
        .unwrap()
        .page_bits(0, SLIP_DOTS)
        .unwrap()
        .rows
}

#[test]
fn a_slip_is_one_page_of_576_dots_with_ink_inside_its_margins() {
    let document = slip(|_| ());
    assert_eq!(document.page_count(), 1);
    let bits = document.page_bits(0, SLIP_DOTS).unwrap();
    assert_eq!((bits.width_dots, bits.row_bytes()), (576, 72));
    // 72 mm wide and between 10 and 30 cm long.
    assert!((800..2400).contains(&bits.height_dots()), "{bits:?}");
    let ink = bits.rows.iter().map(|byte| byte.count_ones()).sum::<u32>();
    let share = f64::from(ink) / (576.0 * f64::from(u32::try_from(bits.height_dots()).unwrap()));
    assert!(
        (0.03..0.35).contains(&share),
        "{share} of the slip is black"
    );
    assert!(
        bits.rows.chunks(72).all(|row| row[0] == 0 && row[71] == 0),
        "ink in the margin"
    );
}

#[test]
fn the_slip_says_by_its_form_what_happened() {
    let black_run = |outcome: &str| {
        let bits = slip(|data| data["outcome"] = json!(outcome))
            .page_bits(0, SLIP_DOTS)
            .unwrap();
        // The banner is the only thing on the slip that is nearly black for many rows.
        bits.rows
            .chunks(72)
            .filter(|row| row.iter().map(|byte| byte.count_ones()).sum::<u32>() > 350)
            .count()
    };
    assert!(black_run("completed") > 50, "done is white on black");
    assert!(
        black_run("accepted-pending") < 40,
        "still to be sent is an open frame"
    );
}

#[test]
fn rehearsal_copy_and_missing_qr_change_the_slip() {
    let height =
        |change: fn(&mut Value)| slip(change).page_bits(0, SLIP_DOTS).unwrap().height_dots();
    let plain = height(|_| ());
    assert!(height(|data| data["rehearsal"] = json!(true)) > plain);
    assert!(height(|data| data["qr"] = json!(false)) < plain - 200);
    let copy = slip(|data| data["copy_note"] = json!("补打"))
        .page_bits(0, SLIP_DOTS)
        .unwrap();
    assert_ne!(
        copy.rows,
        slip(|_| ()).page_bits(0, SLIP_DOTS).unwrap().rows
    );
}

#[test]
fn the_longest_words_still_make_a_slip() {
    let long = "样".repeat(120);
    let document = slip(|data| {
        data["item"] = json!(long);
        data["number"] = json!("1234567890".repeat(6));
        data["lines"][0]["value"] = json!(long);
        data["lang"] = json!("zh-Hant-HK");
    });
    let bits = document.page_bits(0, SLIP_DOTS).unwrap();
    assert!(
        bits.rows.chunks(72).all(|row| row[0] == 0 && row[71] == 0),
        "something runs over the edge"
    );
}

#[test]
fn the_qr_code_on_the_slip_has_whole_modules() {
    let bits = slip(|_| ()).page_bits(0, SLIP_DOTS).unwrap();
    let height = u32::try_from(bits.height_dots()).unwrap();
    // A finder pattern begins with the longest black run of its row, seven modules; each module is a whole dot count.
    let runs = |y: u32| -> Vec<(bool, u32)> {
        let mut runs: Vec<(bool, u32)> = Vec::new();
        for x in 0..bits.width_dots {
            match runs.last_mut() {
                Some((black, length)) if *black == bits.is_black(x, y) => *length += 1,
                _ => runs.push((bits.is_black(x, y), 1)),
            }
        }
        runs
    };
    let finder_row = (0..height).find_map(|y| {
        let runs = runs(y);
        let middle = &runs[1..runs.len().max(2) - 1];
        let first = middle.first()?.1;
        let last = middle.last()?.1;
        let module = first / 7;
        let whole =
            module >= 5 && first % 7 == 0 && middle.iter().all(|(_, length)| length % module == 0);
        (whole && first == last && middle.len() > 6).then_some(module)
    });
    assert!(
        finder_row.is_some(),
        "no row crosses the finder patterns in whole modules"
    );
}

#[test]
fn rare_characters_of_names_print_as_glyphs() {
    // U+10FFFD is for private use: no font has it, and it prints as the box of a missing character.
    let missing = dots_of("\u{10FFFD}");
    assert!(
        missing.iter().any(|byte| *byte != 0),
        "a missing character is visible"
    );
    let [first, second] = ["㛃", "䶮"].map(dots_of);
    for glyph in [&first, &second] {
        assert_ne!(*glyph, missing);
    }
    assert_ne!(first, second);
    assert!(typesetter().can_print("测试㛃䶮 A1"));
    assert!(!typesetter().can_print("测试\u{10FFFD}"));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (first, second) = (a4().pdf().unwrap(), a4().pdf().unwrap());
    assert!(first.starts_with(b"%PDF-"));
    assert!(
        first.len() < 200_000,
        "fonts are embedded in part, not whole: {} bytes",
        first.len()
    );
    assert_eq!(first, second);
    typesetter().forget();
    assert_eq!(
        first,
        a4().pdf().unwrap(),
        "what the compiler remembers does not show"
    );
}

#[test]
fn a_pdf_comes_back_as_the_pages_it_was_made_of() {
    let document = a4();
    assert!(document.page_count() > 1);
    let pdf = document.pdf().unwrap();
    assert_eq!(pdf_page_count(&pdf).unwrap(), document.page_count());
    let shown = pdf_pages(&pdf, 800, 1).unwrap();
    assert_eq!(shown.len(), 1);
    let typeset = document.page_rgb(0, 800).unwrap();
    assert_eq!(
        (shown[0].width, shown[0].height),
        (typeset.width, typeset.height)
    );
    // Two renderers smooth edges differently, so the pages are compared in cells of 8 × 8 pixels.
    let cell = |rgb: &[u8], x: usize, y: usize| -> u32 {
        (0..64)
            .map(|at| u32::from(rgb[((y * 8 + at / 8) * 800 + x * 8 + at % 8) * 3]))
            .sum::<u32>()
            / 64
    };
    let cells = 100 * (typeset.height as usize / 8);
    let close = (0..cells)
        .filter(|at| {
            cell(&shown[0].rgb, at % 100, at / 100).abs_diff(cell(&typeset.rgb, at % 100, at / 100))
                < 40
        })
        .count();
    assert!(close * 100 >= cells * 99, "{close} of {cells} cells agree");
    assert!(
        typeset.rgb.iter().any(|value| *value < 64),
        "the page is not blank"
    );
}

#[test]
fn all_pages_are_shown_up_to_the_limit() {
    let pdf = a4().pdf().unwrap();
    let count = pdf_page_count(&pdf).unwrap();
    assert_eq!(pdf_pages(&pdf, 100, 99).unwrap().len(), count);
    assert!(pdf_pages(&pdf, 100, 0).unwrap().is_empty());
    assert!(matches!(
        pdf_pages(&pdf, 0, 1),
        Err(DocumentError::Width { width_px: 0 })
    ));
}

#[test]
fn garbage_is_not_a_pdf() {
    let good = a4().pdf().unwrap();
    let mut cases: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"<html>".to_vec(),
        b"%PDF-1.7\n%%EOF".to_vec(),
        vec![0xFF; 4096],
    ];
    cases.push(good[..200].to_vec());
    for bytes in cases {
        let error = pdf_pages(&bytes, 200, 1).unwrap_err();
        assert_eq!(error.code(), "document.pdf-unreadable", "{error}");
    }
    let error = pdf_pages(&vec![b'%'; PDF_BYTES_MAX + 1], 200, 1).unwrap_err();
    assert_eq!(error.code(), "document.too-large");
}

#[test]
fn a_damaged_pdf_ends_in_a_page_or_an_error_and_never_in_a_panic() {
    let good = a4().pdf().unwrap();
    // A fixed pseudo-random sequence (numerical recipes), so that a failure repeats.
    let mut seed = 20_261_122_u32;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for round in 0..24 {
        let mut bytes = good.clone();
        for _ in 0..=round {
            let at = next(bytes.len());
            bytes[at] = u8::try_from(next(256)).unwrap();
        }
        if round % 3 == 0 {
            bytes.truncate(next(good.len()));
        }
        match pdf_pages(&bytes, 120, 1) {
            Ok(pages) => assert!(pages.iter().all(|page| page.width == 120)),
            Err(error) => assert!(
                error.code().starts_with("document."),
                "round {round}: {error}"
            ),
        }
    }
}

/// Compiles a wrong template and checks what the error says.
fn check_error(source: &str, data: &Value, at: (u32, u32), words: &str) {
    let error = compile(source, data).unwrap_err();
    let DocumentError::Template {
        line,
        column,
        message,
        ..
    } = &error
    else {
        panic!("{source:?}: {error}")
    };
    assert_eq!((*line, *column), at, "{source:?}: {message}");
    assert!(message.contains(words), "{source:?}: {message}");
}

#[test]
fn a_wrong_template_is_told_with_line_and_column() {
    let data = json!({ "name": "测试甲" });
    check_error("正文\n\n第二段 #nothing", &data, (3, 6), "unknown variable");
    check_error(
        "#let data = json(\"data.json\")\n#data.phone",
        &data,
        (2, 7),
        "phone",
    );
    check_error("#(1 +", &data, (1, 2), "unclosed");
    check_error("#image(\"seal.png\")", &data, (1, 8), "file not found");
}

#[test]
fn a_template_reaches_nothing_outside_itself() {
    check_error("#read(\"../../etc/hostname\")", &json!(null), (1, 7), "");
    check_error(
        "#read(\"/etc/hostname\")",
        &json!(null),
        (1, 7),
        "file not found",
    );
    check_error(
        "#import \"@preview/cetz:0.3.0\": canvas",
        &json!(null),
        (1, 9),
        "package not found",
    );
    check_error("#datetime.today()", &json!(null), (1, 2), "");
    for name in [
        "../seal.png",
        "/seal.png",
        "a/../../b",
        "a\\b",
        "",
        "data.json",
        "template.typ",
    ] {
        let files = [(name, Vec::new())];
        let template = Template {
            source: "text",
            data: &Value::Null,
            files: &files,
        };
        let outcome = typesetter().compile(&template);
        assert!(
            matches!(outcome, Err(DocumentError::FileName { .. })),
            "{name:?}"
        );
    }
}

#[test]
fn an_error_never_repeats_the_data() {
    let data = json!({ "name": "测试甲", "account": 6_222_020_200_112_233_u64 });
    let sources = [
        "#panic(json(\"data.json\").name)",
        "#panic(json(\"data.json\").account)",
        "#panic(json(\"data.json\"))",
    ];
    for source in sources {
        let error = compile(source, &data).unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(
                !text.contains("测试甲") && !text.contains("6222020200112233"),
                "{text}"
            );
        }
    }
    let template = Template {
        source: "",
        data: &data,
        files: &[],
    };
    assert!(!format!("{template:?}").contains("测试甲"));
}

#[test]
fn a_template_may_include_a_file_given_with_it() {
    let files = [("parts/head.typ", b"#let head = [\xE6\xA0\xB7]".to_vec())];
    let source = "#import \"parts/head.typ\": head\n#set page(height: auto)\n#head";
    let template = Template {
        source,
        data: &Value::Null,
        files: &files,
    };
    let page = typesetter()
        .compile(&template)
        .unwrap()
        .page_rgb(0, 400)
        .unwrap();
    assert!(page.rgb.iter().any(|value| *value < 64));

    let files = [("parts/head.typ", b"\n#let head = nothing".to_vec())];
    let error = typesetter()
        .compile(&Template {
            source,
            data: &Value::Null,
            files: &files,
        })
        .unwrap_err();
    let DocumentError::Template { file, line, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((file.as_str(), *line), ("parts/head.typ", 2));
}

#[test]
fn a_page_that_is_not_there_or_too_long_is_refused() {
    let document = compile("#set page(width: 10mm, height: 10000cm)\n", &Value::Null).unwrap();
    assert!(matches!(
        document.page_rgb(1, 100),
        Err(DocumentError::NoSuchPage { index: 1, count: 1 })
    ));
    assert!(matches!(
        document.page_rgb(0, 576),
        Err(DocumentError::TooLarge { .. })
    ));
    assert!(matches!(
        document.page_bits(0, 0),
        Err(DocumentError::Width { width_px: 0 })
    ));
}

#[test]
fn threads_share_one_typesetter() {
    let typesetter = typesetter();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let typesetter = &typesetter;
            scope.spawn(move || {
                let data = json!(format!("第{number}号"));
                let source = "#set page(width: 72mm, height: auto)\n#json(\"data.json\")";
                let document = typesetter
                    .compile(&Template {
                        source,
                        data: &data,
                        files: &[],
                    })
                    .unwrap();
                assert_eq!(document.page_count(), 1);
                typesetter.forget();
            });
        }
    });
}

#[test]
fn without_fonts_there_is_no_typesetter() {
    let error = Typesetter::new(&[PathBuf::from("/nonexistent")]).unwrap_err();
    assert_eq!(error.code(), "document.no-cjk-font");
}
