//! What stands on the glass and what a finger does there, on real pixels in portrait.

mod samples;
mod stage;

use std::sync::MutexGuard;
use std::time::Duration;

use kiosk_ui::probe::{Element, ProbeError};
use kiosk_ui::{Contrast, Frame, Key, Language, Screen, TextSize, Touch, View};
use stage::Stage;

const WIDTH: f32 = 1080.0;
const HEIGHT: f32 = 1920.0;

/// 15 mm on a 24-inch panel.
const TARGET_MIN: f32 = 54.0;

fn glass() -> MutexGuard<'static, Stage> {
    Stage::take(1080, 1920)
}

fn has_label(elements: &[Element], label: &str) -> bool {
    elements.iter().any(|element| element.label == label)
}

fn buttons(elements: &[Element]) -> impl Iterator<Item = &Element> {
    elements.iter().filter(|element| element.role == "button")
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
        let elements = glass.show(view);
        assert_eq!(glass.probe.screen().unwrap(), expected);
        assert!(
            has_label(&elements, "青山县河口镇柳树村党群服务中心"),
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
        for button in buttons(&glass.show(view)) {
            assert!(
                button.width >= TARGET_MIN && button.height >= TARGET_MIN,
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

fn in_language(view: View, language: Language) -> View {
    View {
        frame: Frame {
            language,
            ..view.frame
        },
        ..view
    }
}
