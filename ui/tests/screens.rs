//! What stands on the glass and what a finger does there, on real pixels in portrait.

mod samples;
mod stage;

use std::sync::MutexGuard;
use std::time::Duration;

use kiosk_ui::probe::{Element, ProbeError};
use kiosk_ui::{
    Contrast, Correction, Frame, Key, Language, Pattern, Screen, StaffPage, TextSize, Touch, View,
};
use stage::Stage;

const WIDTH: f32 = 1080.0;
const HEIGHT: f32 = 1920.0;

/// Where the footer begins.
const FOOTER: f32 = HEIGHT - 148.0;

/// 15 mm on a 24-inch panel.
const TARGET_MIN: f32 = 54.0;

/// 20 mm: staff wear gloves.
const GLOVE_MIN: f32 = 72.0;

fn glass() -> MutexGuard<'static, Stage> {
    Stage::take(1080, 1920)
}

fn has_label(elements: &[Element], label: &str) -> bool {
    elements.iter().any(|element| element.label == label)
}

fn buttons(elements: &[Element]) -> impl Iterator<Item = &Element> {
    elements.iter().filter(|element| element.role == "button")
}

/// What a test of the glass itself puts over everything.
fn is_covered(name: &str) -> bool {
    name.starts_with("staff-color") || name.starts_with("staff-grid")
}

/// Every element lies on the glass, and no button covers another.
fn check_layout(name: &str, elements: &[Element]) {
    for element in elements {
        let is_inside = element.x >= -1.0
            && element.y >= -1.0
            && element.x + element.width <= WIDTH + 1.0
            && element.y + element.height <= HEIGHT + 1.0;
        assert!(is_inside, "{name}: off the glass: {element:?}");
    }
    // A page for staff that is too full would run under its footer.
    if name.starts_with("staff-") && !is_covered(name) {
        for button in buttons(elements) {
            let is_clear = button.y + button.height <= FOOTER + 1.0 || button.y >= FOOTER - 1.0;
            assert!(is_clear, "{name}: under the footer: {button:?}");
        }
    }
    // Below the warning everything is covered on purpose.
    if name.starts_with("time-out") {
        return;
    }
    for (index, one) in buttons(elements).enumerate() {
        for other in buttons(elements).skip(index + 1) {
            let is_apart = one.x + one.width <= other.x + 1.0
                || other.x + other.width <= one.x + 1.0
                || one.y + one.height <= other.y + 1.0
                || other.y + other.height <= one.y + 1.0;
            assert!(is_apart, "{name}: {one:?} covers {other:?}");
        }
    }
}

#[test]
fn every_page_is_shown_under_its_name() {
    let glass = glass();
    for (name, view) in samples::all() {
        let expected = view.screen.name();
        let place = view.screen.place();
        // Before anything is known there is no name either, only the settings.
        let site = if view.frame.site.is_empty() {
            "换颜色".to_owned()
        } else {
            view.frame.site.clone()
        };
        let elements = glass.show(view);
        assert_eq!(glass.probe.screen().unwrap(), expected);
        assert_eq!(glass.probe.place().unwrap(), place);
        assert!(
            has_label(&elements, &site) || is_covered(name),
            "{name}: no header"
        );
        check_layout(name, &elements);
    }
}

#[test]
fn every_page_fits_in_every_text_size() {
    let glass = glass();
    for text_size in [TextSize::Large, TextSize::Larger, TextSize::Largest] {
        for (name, view) in samples::all() {
            let elements = glass.show(samples::with_look(view, text_size, Contrast::Normal));
            check_layout(&format!("{name} {text_size:?}"), &elements);
        }
    }
}

#[test]
fn every_page_fits_in_english_and_traditional() {
    let glass = glass();
    for language in [Language::En, Language::ZhHant] {
        for (name, view) in samples::all() {
            let elements = glass.show(in_language(view, language));
            check_layout(&format!("{name} {language:?}"), &elements);
        }
    }
}

#[test]
fn every_contrast_paints_other_pixels() {
    let glass = glass();
    let mut seen = Vec::new();
    for contrast in [
        Contrast::Normal,
        Contrast::BlackOnWhite,
        Contrast::WhiteOnBlack,
        Contrast::YellowOnBlack,
    ] {
        glass.show(samples::with_look(
            samples::named("review"),
            TextSize::Normal,
            contrast,
        ));
        let picture = glass.probe.snapshot().unwrap();
        assert_eq!((picture.width, picture.height), (1080, 1920));
        assert!(
            !seen.contains(&picture),
            "{contrast:?} looks like another contrast"
        );
        seen.push(picture);
    }
}

#[test]
fn every_target_is_wide_enough_for_a_finger() {
    let glass = glass();
    for (name, view) in samples::all() {
        let is_staff = view.screen.place() != "staff/safe" && view.screen.name() == "staff";
        let least = if is_staff { GLOVE_MIN } else { TARGET_MIN };
        for button in buttons(&glass.show(view)) {
            assert!(
                button.width >= least && button.height >= least,
                "{name}: too small: {button:?}"
            );
        }
    }
}

#[test]
fn a_touch_says_what_the_button_says() {
    let glass = glass();
    let cases = [
        ("attract", "请触摸屏幕开始办事", Touch::Start),
        ("home", "高龄津贴申请", Touch::Choose("allowance".into())),
        ("home", "养老助老", Touch::Choose("elders".into())),
        ("home", "扫回执查进度", Touch::Choose("track".into())),
        ("home", "搜索事项", Touch::Search),
        ("home-search", "Y", Touch::Key(Key::Char('Y'))),
        ("home-search", "关闭键盘", Touch::Search),
        ("introduction", "替别人办", Touch::Choose("other".into())),
        ("identify", "出示电子身份码", Touch::Choose("code".into())),
        ("confirm-person", "信息无误，继续", Touch::Next),
        ("confirm-person", "不是本人", Touch::Other),
        ("consent", "我同意，继续", Touch::Next),
        ("question-digits", "7", Touch::Key(Key::Char('7'))),
        ("question-digits", "删除", Touch::Key(Key::Delete)),
        ("question-digits", "清除", Touch::Key(Key::Clear)),
        ("question-number", "X", Touch::Key(Key::Char('X'))),
        ("question-options", "银行卡", Touch::Choose("bank".into())),
        ("question-options", "下一步", Touch::Next),
        ("face", "开始拍照", Touch::Next),
        (
            "face",
            "不拍照，请村干部核对",
            Touch::Choose("staff".into()),
        ),
        ("capture", "拍照", Touch::Next),
        ("capture-taken", "重新拍照", Touch::Other),
        ("review", "修改 联系电话", Touch::Choose("phone".into())),
        ("review", "确认提交", Touch::Next),
        ("review", "返回", Touch::Back),
        ("review", "结束离开", Touch::Leave),
        ("preview", "下一页", Touch::Page { is_forward: true }),
        ("preview", "打印", Touch::Next),
        ("done-pending", "再打印一张", Touch::Choose("again".into())),
        ("done-pending", "完成", Touch::Next),
        ("rating", "非常满意", Touch::Choose("5".into())),
        ("rating", "暂不评价", Touch::Other),
        ("problem-jam", "重新打印", Touch::Choose("retry".into())),
        ("leave", "我已取好", Touch::Next),
        ("time-out", "继续办理", Touch::Stay),
        ("attract", "工作人员", Touch::Staff),
        ("home", "工作人员", Touch::Staff),
        ("question-digits", "工作人员", Touch::Staff),
        ("staff-safe", "工作人员", Touch::Staff),
        ("staff-unlock", "从 U 盘读取", Touch::Choose("usb".into())),
        ("staff-pin", "7", Touch::Key(Key::Char('7'))),
        ("staff-pin", "删除", Touch::Key(Key::Delete)),
        ("staff-pin", "确定", Touch::Choose("enter".into())),
        ("staff-menu", "设备", Touch::Choose("devices".into())),
        ("staff-menu", "返回", Touch::Back),
        ("staff-menu", "退出", Touch::Leave),
        ("staff-menu", "繁", Touch::Language(Language::ZhHant)),
        (
            "staff-color",
            "有没有坏点？触摸屏幕看下一种颜色",
            Touch::Next,
        ),
        ("staff-grid", "cell-0", Touch::Choose("cell-0".into())),
        ("staff-grid", "cell-143", Touch::Choose("cell-143".into())),
        ("home", "EN", Touch::Language(Language::En)),
        ("home", "字大", Touch::TextSize(TextSize::Large)),
        ("home", "换颜色", Touch::Contrast(Contrast::BlackOnWhite)),
    ];
    for (name, label, expected) in cases {
        glass.show(samples::named(name));
        assert_eq!(glass.touch(label), expected, "{name}: {label}");
    }
}

#[test]
fn what_cannot_be_chosen_is_greyed_and_says_why() {
    let glass = glass();
    let elements = glass.show(samples::named("home"));
    let greyed = elements
        .iter()
        .find(|element| element.label == "医保缴费记录查询打印")
        .unwrap();
    assert!(!greyed.enabled);
    assert!(has_label(&elements, "打印机缺纸，暂时不能办理"));
    let refused = glass.probe.touch("医保缴费记录查询打印").unwrap_err();
    assert!(matches!(refused, ProbeError::NotFound { .. }));
}

#[test]
fn under_the_warning_nothing_else_can_be_touched() {
    let glass = glass();
    glass.show(samples::named("time-out"));
    glass.probe.touch("确认提交").unwrap();
    assert!(!glass.touched().contains(&Touch::Next));
}

#[test]
fn a_masked_value_shows_only_while_it_is_held() {
    let glass = glass();
    let elements = glass.show(samples::named("confirm-person"));
    assert!(
        has_label(&elements, "4401**********1237") && !has_label(&elements, "440100199001011237")
    );
    let finger = glass.probe.clone();
    let holding = std::thread::spawn(move || finger.hold("按住显示", Duration::from_millis(800)));
    // As often as it takes, within the hold: the finger comes down on its own thread.
    let was_shown =
        (0..400).any(|_| has_label(&glass.probe.elements().unwrap(), "440100199001011237"));
    holding.join().unwrap().unwrap();
    assert!(was_shown);
    assert!(!has_label(
        &glass.probe.elements().unwrap(),
        "440100199001011237"
    ));
}

#[test]
fn a_full_inbox_drops_the_touch() {
    let glass = glass();
    glass.show(samples::named("question-digits"));
    for _ in 0..stage::TOUCHES_MAX + 3 {
        glass.probe.touch("5").unwrap();
    }
    assert_eq!(glass.touched().len(), stage::TOUCHES_MAX);
    assert_eq!(glass.touch("6"), Touch::Key(Key::Char('6')));
}

#[test]
fn a_finger_on_nothing_keeps_the_visit_alive() {
    let glass = glass();
    glass.show(samples::named("working"));
    glass.probe.tap(WIDTH / 2.0, HEIGHT * 0.75).unwrap();
    assert_eq!(glass.touched(), [Touch::Activity]);
}

#[test]
fn the_language_changes_at_once_and_back() {
    let glass = glass();
    assert!(has_label(
        &glass.show(in_language(samples::named("review"), Language::En)),
        "Back"
    ));
    assert!(has_label(
        &glass.show(in_language(samples::named("review"), Language::ZhHant)),
        "結束離開"
    ));
    assert!(has_label(&glass.show(samples::named("review")), "结束离开"));
}

#[test]
fn a_tick_of_the_clock_does_not_turn_the_page_back() {
    let glass = glass();
    let view = samples::with_look(
        samples::named("review"),
        TextSize::Largest,
        Contrast::Normal,
    );
    assert!(!has_label(&glass.show(view.clone()), "测试乙"));
    // The last of the pages; there are at most as many as rows.
    for _ in 0..7 {
        if glass.probe.touch("下一页").is_err() {
            break;
        }
    }
    assert!(has_label(&glass.probe.elements().unwrap(), "测试乙"));
    let later = View {
        frame: Frame {
            clock: "09:42".into(),
            ..view.frame.clone()
        },
        ..view
    };
    let elements = glass.show(later);
    assert!(has_label(&elements, "09:42") && has_label(&elements, "测试乙"));
}

#[test]
fn nothing_of_the_visit_stays_on_the_attract_screen() {
    let glass = glass();
    let visit = glass.show(samples::named("review"));
    assert!(has_label(&visit, "测试甲"));
    let elements = glass.show(samples::named("attract"));
    let personal = ["测试甲", "测试乙", "1237", "199 0000"];
    for element in elements {
        assert!(
            !personal.iter().any(|text| element.label.contains(text)),
            "{}",
            element.label
        );
    }
}

#[test]
fn the_newest_view_wins_when_they_come_too_fast() {
    let glass = glass();
    let frame = samples::named("working").frame;
    for number in 0..1000 {
        let screen = Screen::Working {
            title: format!("第 {number} 件"),
            detail: String::new(),
        };
        glass.handle.show(View {
            frame: frame.clone(),
            screen,
        });
    }
    assert!(has_label(&glass.probe.elements().unwrap(), "第 999 件"));
}

fn staff(name: &str) -> StaffPage {
    let Screen::Staff(page) = samples::named(name).screen else {
        panic!("{name} is no page for staff");
    };
    *page
}

/// Turns the list of the shown page until `label` is there.
fn turn_to(glass: &Stage, label: &str) {
    // There are at most as many pages as rows.
    for _ in 0..200 {
        let elements = glass.probe.elements().expect("the glass answers");
        if has_label(&elements, label) {
            return;
        }
        glass.probe.touch("下一页").expect("there is another page");
    }
    panic!("{label} is on no page");
}

#[test]
fn every_button_and_every_row_of_a_staff_page_says_its_own_id() {
    let glass = glass();
    for name in [
        "staff-unlock",
        "staff-menu",
        "staff-device",
        "staff-tickets",
    ] {
        let page = staff(name);
        let rows = page.sections.iter().flat_map(|section| &section.rows);
        let rows = rows.map(|row| (row.id.as_str(), row.label.as_str()));
        let buttons = page.actions.iter();
        let buttons = buttons.map(|action| (action.id.as_str(), action.label.as_str()));
        glass.show(samples::named(name));
        for (id, label) in buttons.chain(rows).filter(|(id, _)| !id.is_empty()) {
            turn_to(&glass, label);
            assert_eq!(glass.touch(label), Touch::Choose(id.to_owned()), "{name}");
        }
        assert!(glass.touched().is_empty());
    }
}

#[test]
fn a_row_without_an_id_is_no_button() {
    let glass = glass();
    glass.show(samples::named("staff-device"));
    turn_to(&glass, "要人处理");
    let elements = glass.probe.elements().expect("the glass answers");
    assert!(has_label(&elements, "状态"));
    assert!(!buttons(&elements).any(|button| button.label == "状态"));
}

#[test]
fn a_mark_says_in_words_what_it_shows_in_color() {
    let glass = glass();
    let elements = glass.show(samples::named("staff-menu"));
    for label in ["正常", "注意", "故障", "未知"] {
        assert!(
            elements
                .iter()
                .any(|element| element.role == "image" && element.label == label),
            "{label}"
        );
    }
}

#[test]
fn an_action_that_cannot_be_chosen_says_why() {
    let glass = glass();
    let elements = glass.show(samples::named("staff-crowded"));
    assert!(has_label(&elements, "需要管理员授权"));
    assert!(matches!(
        glass.probe.touch("第 4 个操作"),
        Err(ProbeError::NotFound { .. })
    ));
    // Of more buttons than there is room for, the rest stands behind the rows.
    assert!(!has_label(&elements, "第 7 个操作"));
    let page = StaffPage {
        sections: Vec::new(),
        ..staff("staff-crowded")
    };
    glass.show(with_page(page));
    turn_to(&glass, "第 7 个操作");
    assert_eq!(glass.touch("第 7 个操作"), Touch::Choose("act-7".into()));
}

#[test]
fn the_way_in_is_everywhere_but_where_staff_are_already() {
    let glass = glass();
    for (name, view) in samples::all() {
        let is_staff = name.starts_with("staff-") && !name.starts_with("staff-safe");
        let elements = glass.show(view);
        let has_way = buttons(&elements).any(|button| button.label == "工作人员");
        assert_eq!(has_way, !is_staff && name != "starting", "{name}");
    }
}

#[test]
fn a_staff_page_says_whose_it_is_and_for_how_long() {
    let glass = glass();
    let elements = glass.show(samples::named("staff-menu"));
    for label in ["工作人员", "测试一 · 技术员", "剩余 24:32", "退出"] {
        assert!(has_label(&elements, label), "{label}");
    }
    assert!(!has_label(&elements, "结束离开"));
    let elements = glass.show(samples::named("home"));
    assert!(!has_label(&elements, "测试一 · 技术员") && !has_label(&elements, "剩余 24:32"));
}

#[test]
fn a_staff_page_has_colors_of_its_own() {
    let glass = glass();
    let band = |view| {
        glass.show(view);
        let picture = glass.probe.snapshot().unwrap();
        let at = (270 * picture.width as usize + 4) * 3;
        picture.rgb[at..at + 3].to_vec()
    };
    for contrast in [
        Contrast::Normal,
        Contrast::BlackOnWhite,
        Contrast::WhiteOnBlack,
        Contrast::YellowOnBlack,
    ] {
        let looked = |name| samples::with_look(samples::named(name), TextSize::Normal, contrast);
        let (visitor, staff) = (band(looked("review")), band(looked("staff-menu")));
        assert_ne!(visitor, staff, "{contrast:?}");
    }
}

#[test]
fn under_a_color_there_is_nothing_else() {
    let glass = glass();
    let elements = glass.show(samples::named("staff-color"));
    assert_eq!(elements.len(), 1, "{elements:?}");
    let picture = glass.probe.snapshot().unwrap();
    // All but the words at the bottom.
    let pixels = picture.rgb.chunks_exact(3).take(1080 * 1700);
    assert!(pixels.clone().all(|pixel| pixel == [0, 128, 0]));
    // The page behind comes back.
    assert!(has_label(&glass.show(samples::named("staff-menu")), "设备"));
}

#[test]
fn a_finger_that_wipes_touches_every_field_it_crosses() {
    let glass = glass();
    glass.show(samples::named("staff-grid"));
    let field = 120.0;
    let points: Vec<(f32, f32)> = [4.1, 4.6, 5.5, 6.5]
        .iter()
        .map(|column| (column * field, 2.5 * field))
        .collect();
    glass.probe.wipe(&points).unwrap();
    let felt: Vec<Touch> = (0..3).map(|_| glass.next_touch().unwrap()).collect();
    let cell = |number: u32| Touch::Choose(format!("cell-{number}"));
    assert_eq!(felt, [cell(22), cell(23), cell(24)]);
    assert!(!glass.touched().contains(&cell(22)));
}

/// A page whose cross stands at a tenth of the glass.
fn cross() -> View {
    with_page(StaffPage {
        name: "calibration".to_owned(),
        intro: "请按十字的中心".to_owned(),
        pattern: Pattern::Cross {
            x_permille: 100,
            y_permille: 100,
        },
        ..StaffPage::default()
    })
}

#[test]
fn a_touch_under_a_cross_is_told_where_the_panel_felt_it() {
    let glass = glass();
    let elements = glass.show(cross());
    assert!(has_label(&elements, "请按十字的中心"));
    assert!(!has_label(&elements, "返回"), "nothing else can be touched");
    let picture = glass.probe.snapshot().unwrap();
    let pixel = |x: usize, y: usize| {
        let at = (y * picture.width as usize + x) * 3;
        &picture.rgb[at..at + 3]
    };
    assert_ne!(
        pixel(108, 192),
        pixel(160, 240),
        "its middle is where it was asked for"
    );
    for (x, y) in [(108.0, 192.0), (540.0, 960.0), (1079.0, 3.0)] {
        glass.probe.tap(x, y).unwrap();
        let Ok(Touch::Felt { x: right, y: down }) = glass.next_touch() else {
            panic!("nothing felt at {x} {y}");
        };
        let is_near = |felt: i32, at: f32, side: f32| {
            (f64::from(felt) / 10_000.0 - f64::from(at / side)).abs() < 1e-3
        };
        assert!(
            is_near(right, x, 1080.0) && is_near(down, y, 1920.0),
            "{right} {down}"
        );
    }
    // A correction in force does not hide what is to be measured.
    let shift = Correction::new([1.0, 0.0, 0.2, 0.0, 1.0, 0.0]).unwrap();
    glass.show(corrected(cross(), shift));
    glass.probe.tap(540.0, 960.0).unwrap();
    let felt = glass.next_touch().unwrap();
    assert!(
        matches!(felt, Touch::Felt { x: 4990..=5010, .. }),
        "{felt:?}"
    );
}

#[test]
fn a_finger_that_the_panel_feels_elsewhere_touches_what_lies_under_it() {
    let glass = glass();
    let elements = glass.show(samples::named("staff-menu"));
    let button = elements
        .iter()
        .find(|element| element.label == "返回")
        .unwrap();
    let (x, y) = (
        button.x + button.width / 2.0,
        button.y + button.height / 2.0,
    );
    // The panel feels everything 300 pixels to the left, and upside down.
    let felt = (x - 300.0, 1920.0 - y);
    glass.probe.tap(felt.0, felt.1).unwrap();
    let shift = Correction::new([1.0, 0.0, 300.0 / 1080.0, 0.0, -1.0, 1.0]).unwrap();
    let before = glass.touched();
    assert!(!before.contains(&Touch::Back), "{before:?}");
    glass.show(corrected(samples::named("staff-menu"), shift));
    glass.probe.tap(felt.0, felt.1).unwrap();
    assert_eq!(glass.next_touch(), Ok(Touch::Back));
    // Where the finger is felt, nothing is touched any more.
    glass.probe.tap(x, y).unwrap();
    assert!(!glass.touched().contains(&Touch::Back));
    // A page without it is touched as the panel tells.
    glass.show(samples::named("staff-menu"));
    glass.probe.tap(x, y).unwrap();
    assert_eq!(glass.next_touch(), Ok(Touch::Back));
}

#[test]
fn a_touch_that_a_correction_puts_beyond_the_edge_is_on_the_edge() {
    let glass = glass();
    let shift = Correction::new([1.0, 0.0, 0.4, 0.0, 1.0, 0.0]).unwrap();
    glass.show(corrected(samples::named("staff-grid"), shift));
    glass.probe.tap(1000.0, 60.0).unwrap();
    assert_eq!(glass.next_touch(), Ok(Touch::Choose("cell-8".into())));
}

#[test]
fn a_touched_field_is_filled() {
    let glass = glass();
    let color_at = |x: usize, y: usize| {
        let picture = glass.probe.snapshot().unwrap();
        let at = (y * picture.width as usize + x) * 3;
        picture.rgb[at..at + 3].to_vec()
    };
    glass.show(samples::named("staff-grid"));
    let (touched, untouched) = (color_at(60, 60), color_at(1020, 60));
    assert_ne!(touched, untouched);
    assert_eq!(untouched, [255, 255, 255]);
}

#[test]
fn the_code_on_the_glass_can_be_read_in_every_look() {
    let glass = glass();
    for name in ["staff-unlock", "staff-certificate", "staff-report"] {
        let expected = staff(name).code.unwrap();
        for (text_size, contrast) in [
            (TextSize::Normal, Contrast::Normal),
            (TextSize::Normal, Contrast::YellowOnBlack),
            (TextSize::Largest, Contrast::WhiteOnBlack),
        ] {
            glass.show(samples::with_look(
                samples::named(name),
                text_size,
                contrast,
            ));
            let picture = glass.probe.snapshot().unwrap();
            let luma = picture.rgb.chunks_exact(3).map(|pixel| pixel[1]).collect();
            let found = rxing::helpers::detect_in_luma(
                luma,
                picture.width,
                picture.height,
                Some(rxing::BarcodeFormat::QR_CODE),
            )
            .unwrap_or_else(|error| panic!("{name} {text_size:?} {contrast:?}: {error}"));
            assert_eq!(found.getText(), expected, "{name} {text_size:?}");
        }
    }
}

#[test]
fn a_long_code_keeps_three_pixels_to_a_module() {
    let glass = glass();
    for text_size in [TextSize::Normal, TextSize::Largest] {
        let view = samples::with_look(
            samples::named("staff-certificate"),
            text_size,
            Contrast::Normal,
        );
        let elements = glass.show(view);
        let code = elements
            .iter()
            .find(|element| element.label == "二维码")
            .unwrap();
        assert!(code.width >= 129.0 * 3.0, "{text_size:?}: {code:?}");
        assert!((code.width % 129.0).abs() < 0.01, "{code:?}");
    }
}

#[test]
fn a_code_that_is_too_long_is_replaced_by_words() {
    let glass = glass();
    let page = StaffPage {
        code: Some("A".repeat(4000)),
        ..staff("staff-unlock")
    };
    let elements = glass.show(with_page(page));
    assert!(has_label(&elements, "内容太长，无法显示成二维码"));
}

#[test]
fn of_two_hundred_rows_only_those_that_are_seen_are_built() {
    let glass = glass();
    let page = StaffPage {
        actions: Vec::new(),
        code: None,
        picture: None,
        drawing: String::new(),
        ..staff("staff-crowded")
    };
    let elements = glass.show(with_page(page));
    let rows = elements
        .iter()
        .filter(|element| element.role == "button" && element.label.ends_with("条记录"));
    assert!((4..=20).contains(&rows.count()));
    turn_to(&glass, "第 200 条记录");
    assert!(!has_label(&glass.probe.elements().unwrap(), "第 1 条记录"));
}

#[test]
fn a_new_figure_neither_turns_the_list_back_nor_rebuilds_it() {
    let glass = glass();
    glass.show(samples::named("staff-tickets"));
    turn_to(&glass, "T001-0017 回执打印机");
    let mut page = staff("staff-tickets");
    page.sections[0].rows[16].value = "已派人".to_owned();
    page.seconds_left = Some(9);
    let elements = glass.show(with_page(page.clone()));
    assert!(has_label(&elements, "已派人") && has_label(&elements, "剩余 00:09"));
    assert!(has_label(&elements, "T001-0017 回执打印机"));
    // Another page starts at its beginning.
    page.title = "工单（全部）".to_owned();
    let elements = glass.show(with_page(page));
    assert!(has_label(&elements, "T001-0001 回执打印机"));
}

#[test]
fn nothing_of_the_staff_stays_on_the_page_after_it() {
    let glass = glass();
    for name in [
        "staff-unlock",
        "staff-crowded",
        "staff-grid",
        "staff-report",
    ] {
        glass.show(samples::named(name));
        let elements = glass.show(samples::named("home"));
        for label in ["二维码", "图像", "测试一 · 技术员", "第 1 条记录", "cell-0"]
        {
            assert!(!has_label(&elements, label), "{name}: {label}");
        }
        assert_eq!(glass.probe.place().unwrap(), "home");
    }
}

#[test]
fn the_repair_page_needs_no_words_of_anybody() {
    let glass = glass();
    let elements = glass.show(samples::named("staff-safe"));
    assert!(has_label(&elements, "本机正在检修，暂停使用"));
    assert!(has_label(
        &elements,
        "请到村委会办理，或者稍后再来。已经提交的申请不会丢失。"
    ));
    let view = in_language(samples::named("staff-safe"), Language::En);
    assert!(has_label(
        &glass.show(view),
        "This terminal is being repaired"
    ));
}

/// The same page, with touches put right.
fn corrected(view: View, correction: Correction) -> View {
    View {
        frame: Frame {
            correction,
            ..view.frame
        },
        ..view
    }
}

/// The page inside the frame of the others.
fn with_page(page: StaffPage) -> View {
    View {
        screen: Screen::Staff(Box::new(page)),
        ..samples::named("staff-menu")
    }
}

fn in_language(view: View, language: Language) -> View {
    View {
        frame: Frame {
            language,
            ..view.frame
        },
        ..view
    }
}
