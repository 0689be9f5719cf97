//! One realistic view of every page, with synthetic people only. Shared by the tests and the gallery.

mod staff;

use std::sync::Arc;

use kiosk_ui::{
    Choice, Contrast, Frame, Keypad, Line, Outcome, Paper, Picture, Progress, Reading, Screen,
    TextSize, View,
};

/// A frame in the middle of an item.
fn frame() -> Frame {
    Frame {
        site: "青山县河口镇柳树村党群服务中心".to_owned(),
        clock: "09:41".to_owned(),
        date: "2026年3月2日 星期一".to_owned(),
        help_phone: "12345".to_owned(),
        is_online: true,
        progress: Some(Progress {
            title: "高龄津贴申请".to_owned(),
            step: 3,
            of: 7,
        }),
        can_go_back: true,
        can_leave: true,
        ..Frame::default()
    }
}

/// A frame before and after an item.
fn open_frame() -> Frame {
    Frame {
        progress: None,
        can_go_back: false,
        ..frame()
    }
}

fn choice(id: &str, label: &str, detail: &str, icon: &str) -> Choice {
    Choice {
        id: id.to_owned(),
        label: label.to_owned(),
        detail: detail.to_owned(),
        icon: icon.to_owned(),
        ..Choice::default()
    }
}

fn line(label: &str, value: &str) -> Line {
    Line {
        label: label.to_owned(),
        value: value.to_owned(),
        ..Line::default()
    }
}

/// A soft gradient with a darker sheet in it: stands for what a camera sees.
fn picture(width: u32, height: u32) -> Picture {
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let is_sheet =
                x > width / 6 && x < width * 5 / 6 && y > height / 8 && y < height * 7 / 8;
            let is_text = is_sheet && y % 40 < 8 && x > width / 4 && x < width * 3 / 4;
            let shade = if is_text {
                90
            } else if is_sheet {
                235
            } else {
                120 + y * 60 / height
            };
            let shade = u8::try_from(shade).expect("shades are small");
            rgb.extend([shade, shade, shade - 10]);
        }
    }
    Picture {
        width,
        height,
        rgb: Arc::new(rgb),
    }
}

fn groups() -> Vec<Choice> {
    vec![
        choice("hot", "常办", "", "hot"),
        choice("social-security", "社会保障", "", "shield"),
        choice("elders", "养老助老", "", "elder"),
        choice("health", "医疗健康", "", "heart"),
        choice("family", "婚育户籍", "", "people"),
        choice("land", "农业农村", "", "land"),
        choice("pay", "生活缴费", "", "money"),
        choice("more", "其他事项", "", "more"),
    ]
}

fn items() -> Vec<Choice> {
    let mut medical = choice("medical", "医保缴费记录查询打印", "约 2 分钟", "heart");
    medical.unavailable = "打印机缺纸，暂时不能办理".into();
    vec![
        choice(
            "proof",
            "社保参保证明打印",
            "约 3 分钟 · 需要联网",
            "printer",
        ),
        choice(
            "allowance",
            "高龄津贴申请",
            "约 8 分钟 · 没网也能受理",
            "elder",
        ),
        choice(
            "pension",
            "城乡居民养老保险待遇资格认证",
            "约 2 分钟 · 没网也能受理",
            "face",
        ),
        medical,
        choice("card-progress", "社保卡办理进度查询", "约 1 分钟", "card"),
        choice("subsidy", "耕地地力保护补贴查询", "约 1 分钟", "land"),
        choice("hukou", "户籍证明申请", "约 5 分钟", "document"),
        choice("low", "最低生活保障申请", "约 10 分钟", "people"),
    ]
}

fn starting() -> View {
    View {
        frame: Frame {
            can_leave: false,
            ..open_frame()
        },
        screen: Screen::Starting,
    }
}

fn attract() -> View {
    View {
        frame: Frame {
            can_leave: false,
            ..open_frame()
        },
        screen: Screen::Attract {
            board: vec![
                "本周六上午九点，镇卫生院来村委会为六十五岁以上老人免费体检，请带身份证。"
                    .to_owned(),
                "城乡居民医保集中缴费期到十二月三十一日止，可在本机查询缴费记录。".to_owned(),
                "三月五日全天检修线路，期间本机离线受理，来电后自动上传。".to_owned(),
            ],
        },
    }
}

fn home() -> View {
    View {
        frame: Frame {
            notices: vec!["A4 打印机缺纸，打印类事项暂停，查询和申请照常办理。".to_owned()],
            ..open_frame()
        },
        screen: Screen::Home {
            groups: groups(),
            group: "hot".to_owned(),
            items: items(),
            query: String::new(),
            is_searching: false,
            track: choice("track", "扫回执查进度", "", "qr"),
        },
    }
}

fn home_search() -> View {
    View {
        frame: open_frame(),
        screen: Screen::Home {
            groups: groups(),
            group: "hot".to_owned(),
            items: items().into_iter().take(3).collect(),
            query: "YLBX".to_owned(),
            is_searching: true,
            track: choice("track", "扫回执查进度", "", "qr"),
        },
    }
}

fn introduction() -> View {
    View {
        frame: Frame { progress: None, ..frame() },
        screen: Screen::Introduction {
            title: "高龄津贴申请".to_owned(),
            summary: "年满 80 周岁的本县户籍老人可以申请，每月按标准发放到社保卡。可以由家人或村干部代办。".to_owned(),
            needs: vec![
                choice("", "身份证", "", "card"),
                choice("", "社保卡号", "", "money"),
                choice("", "户口簿", "", "document"),
                choice("", "本人近照", "", "camera"),
            ],
            lines: vec![
                line("办理时间", "约 8 分钟"),
                line("承诺时限", "受理后 20 个工作日内办结"),
                line("办理部门", "青山县民政局"),
                line("费用", "不收费"),
            ],
            offline: "现在没有网络也能受理：资料加密保存在本机，联网后自动上传，您不用再来。".to_owned(),
            starts: vec![
                choice("self", "给自己办", "用本人身份证", "person"),
                choice("other", "替别人办", "需要双方身份证", "people"),
            ],
            unavailable: String::new(),
            advice: String::new(),
        },
    }
}

fn introduction_unavailable() -> View {
    let mut view = introduction();
    if let Screen::Introduction {
        unavailable,
        advice,
        starts,
        ..
    } = &mut view.screen
    {
        *unavailable = "打印机缺纸，现在不能办理。".into();
        *advice = "请联系村委会值班人员加纸，或先办理查询类事项。".into();
        for start in starts {
            start.unavailable = "暂时不能办理".into();
        }
    }
    view
}

fn identify(reading: Reading, message: &str) -> View {
    View {
        frame: frame(),
        screen: Screen::Identify {
            title: "请放上申请人的身份证".to_owned(),
            message: message.to_owned(),
            reading,
            ways: vec![
                choice("typed", "没带身份证，输入号码", "", "keyboard"),
                choice("code", "出示电子身份码", "", "qr"),
            ],
        },
    }
}

fn scan() -> View {
    View {
        frame: open_frame(),
        screen: Screen::Scan {
            title: "请出示回执上的二维码".to_owned(),
            message: "把二维码对准下方扫码口，距离约一掌宽。".to_owned(),
            reading: Reading::Waiting,
        },
    }
}

fn confirm_person() -> View {
    let mut number = line("公民身份号码", "4401**********1237");
    number.held = "440100199001011237".into();
    View {
        frame: frame(),
        screen: Screen::ConfirmPerson {
            title: "请核对申请人信息".to_owned(),
            lines: vec![
                line("姓名", "测试甲"),
                line("性别", "女"),
                line("民族", "汉"),
                line("出生日期", "1990年1月1日"),
                number,
                line(
                    "住址",
                    "青山县河口镇柳树村三组示范路二十八号幸福小区十二栋二单元三零二室",
                ),
                line("有效期至", "长期"),
            ],
            caution: "您的身份证将在 60 天后到期，请及时换领。".to_owned(),
        },
    }
}

fn consent() -> View {
    View {
        frame: frame(),
        screen: Screen::Consent {
            title: "使用人脸照片前，请您同意".to_owned(),
            paragraphs: vec![
                "为确认是您本人办理，需要拍一张照片，与身份证上的照片比对。".to_owned(),
                "照片只用于这一次比对，比对后立即删除，不保存、不用于其他用途。".to_owned(),
                "您也可以不同意，改由村干部现场核对，不影响办理。".to_owned(),
            ],
            agree: "我同意，继续".to_owned(),
        },
    }
}

fn question_digits() -> View {
    View {
        frame: frame(),
        screen: Screen::Question {
            title: "联系电话是多少？".to_owned(),
            hint: "办理有进展时，会给这个号码发短信。".to_owned(),
            value: "199 0000 01".to_owned(),
            error: "手机号应为 11 位，还差 2 位。".to_owned(),
            keypad: Keypad::Digits,
            options: Vec::new(),
            selected: String::new(),
            can_continue: false,
        },
    }
}

fn question_number() -> View {
    View {
        frame: frame(),
        screen: Screen::Question {
            title: "请输入公民身份号码".to_owned(),
            hint: "共 18 位，末位可能是 X。".to_owned(),
            value: String::new(),
            error: String::new(),
            keypad: Keypad::DigitsX,
            options: Vec::new(),
            selected: String::new(),
            can_continue: false,
        },
    }
}

fn question_options() -> View {
    View {
        frame: frame(),
        screen: Screen::Question {
            title: "津贴发到哪张卡？".to_owned(),
            hint: "请选择一种领取方式。".to_owned(),
            value: String::new(),
            error: String::new(),
            keypad: Keypad::None,
            options: vec![
                choice("social", "社保卡", "推荐，无需另外开户", "card"),
                choice("bank", "银行卡", "需要输入卡号", "money"),
                choice("cash", "由村干部代领", "仅限行动不便的老人", "people"),
            ],
            selected: "social".to_owned(),
            can_continue: true,
        },
    }
}

fn face(live: Option<Picture>) -> View {
    View {
        frame: frame(),
        screen: Screen::Face {
            message: "请摘下帽子和口罩，让脸在圆圈里。".to_owned(),
            live,
            reading: Reading::Waiting,
            other_way: choice("staff", "不拍照，请村干部核对", "", "people"),
            can_shoot: true,
        },
    }
}

fn capture(taken: Option<Picture>) -> View {
    View {
        frame: frame(),
        screen: Screen::Capture {
            title: "请拍摄户口簿".to_owned(),
            hint: "翻到本人页，平放在拍摄台上，四角对齐黄色边框。".to_owned(),
            live: Some(picture(640, 480)),
            taken,
            error: String::new(),
            index: 1,
            of: 2,
        },
    }
}

fn review() -> View {
    let mut number = line("公民身份号码", "4401**********1237");
    number.held = "440100199001011237".into();
    let mut phone = line("联系电话", "199 0000 0123");
    phone.edit = "phone".into();
    let mut account = line("领取方式", "社保卡");
    account.edit = "account".into();
    View {
        frame: frame(),
        screen: Screen::Review {
            title: "请最后核对一遍".to_owned(),
            lines: vec![
                line("申请事项", "高龄津贴申请"),
                line("申请人", "测试甲"),
                number,
                line("住址", "青山县河口镇柳树村三组示范路二十八号"),
                phone,
                account,
                line("代办人", "测试乙"),
            ],
            pictures: vec![
                ("户口簿".to_owned(), picture(320, 240)),
                ("本人近照".to_owned(), picture(240, 240)),
            ],
            notice: "点“确认提交”后不能再修改；本机会打印一张受理回执。".to_owned(),
            confirm: "确认提交".to_owned(),
        },
    }
}

fn preview() -> View {
    View {
        frame: frame(),
        screen: Screen::Preview {
            title: "社会保险参保证明".to_owned(),
            pages: vec![picture(595, 842), picture(595, 842)],
            page: 0,
            seal: "青山县人力资源和社会保障局电子印章，已验证有效".to_owned(),
            notice: "共 2 页，打印 1 份，约需 30 秒。".to_owned(),
            print: "打印".to_owned(),
            unavailable: String::new(),
        },
    }
}

fn working() -> View {
    View {
        frame: Frame {
            can_go_back: false,
            can_leave: false,
            ..frame()
        },
        screen: Screen::Working {
            title: "正在打印回执".to_owned(),
            detail: "请稍候，不要离开。回执从屏幕下方的出纸口出来。".to_owned(),
        },
    }
}

fn done_pending() -> View {
    View {
        frame: Frame {
            is_online: false,
            pending_count: 3,
            can_go_back: false,
            progress: Some(Progress {
                title: "高龄津贴申请".to_owned(),
                step: 7,
                of: 7,
            }),
            ..frame()
        },
        screen: Screen::Done {
            title: "申请已受理".to_owned(),
            outcome: Outcome::AcceptedPending,
            number: "QSLS 2026 0302 0017".to_owned(),
            lines: vec![
                line("受理时间", "2026年3月2日 09:52"),
                line("受理地点", "柳树村党群服务中心"),
                line("承诺办结", "2026年3月30日前"),
            ],
            advice: "请保管好回执。在任何一台终端扫回执上的二维码，都能查到进度。".to_owned(),
            paper: Paper::Ready,
            paper_text: "请从屏幕下方取走受理回执".to_owned(),
            more: vec![choice("again", "再打印一张", "", "slip")],
        },
    }
}

fn done_completed() -> View {
    View {
        frame: Frame {
            can_go_back: false,
            ..frame()
        },
        screen: Screen::Done {
            title: "资格认证通过".to_owned(),
            outcome: Outcome::Completed,
            number: String::new(),
            lines: vec![
                line("有效期至", "2027年3月1日"),
                line("下次认证", "2027年2月前"),
            ],
            advice: "养老金会按月正常发放。".to_owned(),
            paper: Paper::Printing,
            paper_text: "正在打印，请稍候".to_owned(),
            more: Vec::new(),
        },
    }
}

fn done_refused() -> View {
    View {
        frame: Frame {
            can_go_back: false,
            ..frame()
        },
        screen: Screen::Done {
            title: "暂时不能受理".to_owned(),
            outcome: Outcome::Refused,
            number: String::new(),
            lines: vec![line("原因", "申请人未满 80 周岁")],
            advice: "满 80 周岁的当月再来申请；如信息有误，请到镇民政办更正。".to_owned(),
            paper: Paper::None,
            paper_text: String::new(),
            more: Vec::new(),
        },
    }
}

fn rating() -> View {
    View {
        frame: Frame {
            can_go_back: false,
            ..open_frame()
        },
        screen: Screen::Rating {
            levels: vec![
                choice("5", "非常满意", "", ""),
                choice("4", "满意", "", ""),
                choice("3", "基本满意", "", ""),
                choice("2", "不满意", "", ""),
                choice("1", "非常不满意", "", ""),
            ],
            chosen: String::new(),
        },
    }
}

fn problem(picture: &str) -> View {
    View {
        frame: frame(),
        screen: Screen::Problem {
            title: "回执打印机缺纸".to_owned(),
            advice: "您的申请已经保存，不会丢失。请联系村委会值班人员加纸，再点“重新打印”。"
                .to_owned(),
            picture: picture.to_owned(),
            code: "printer.media-empty".to_owned(),
            ways: vec![
                choice("retry", "重新打印", "纸已加好", "printer"),
                choice("later", "以后再打印", "凭身份证补打", "clock"),
            ],
        },
    }
}

fn leave() -> View {
    View {
        frame: Frame {
            can_go_back: false,
            can_leave: false,
            ..open_frame()
        },
        screen: Screen::Leave {
            take: vec![
                choice("", "身份证", "", "card"),
                choice("", "受理回执", "", "slip"),
            ],
            erased: "您的个人信息已从本机清除。".to_owned(),
        },
    }
}

/// Every page at least once, by a name of its own.
pub(crate) fn all() -> Vec<(&'static str, View)> {
    let mut pages = vec![
        ("starting", starting()),
        ("attract", attract()),
        ("home", home()),
        ("home-search", home_search()),
        ("introduction", introduction()),
        ("introduction-unavailable", introduction_unavailable()),
        (
            "identify",
            identify(Reading::Waiting, "请把身份证平放在读卡区，不要移动。"),
        ),
        (
            "identify-failed",
            identify(
                Reading::Failed,
                "没有读到卡。请取下卡套，平放在读卡区再试一次。",
            ),
        ),
        ("scan", scan()),
        ("confirm-person", confirm_person()),
        ("consent", consent()),
        ("question-digits", question_digits()),
        ("question-number", question_number()),
        ("question-options", question_options()),
        ("face", face(None)),
        ("face-live", face(Some(picture(640, 480)))),
        ("capture", capture(None)),
        ("capture-taken", capture(Some(picture(640, 480)))),
        ("review", review()),
        ("preview", preview()),
        ("working", working()),
        ("done-pending", done_pending()),
        ("done-completed", done_completed()),
        ("done-refused", done_refused()),
        ("rating", rating()),
        ("problem-paper-out", problem("paper-out")),
        ("problem-no-network", problem("no-network")),
        ("problem-cover-open", problem("cover-open")),
        ("problem-jam", problem("jam")),
        ("problem-card-unreadable", problem("card-unreadable")),
        ("leave", leave()),
        ("time-out", with_warning(review())),
    ];
    pages.extend(staff::all());
    pages
}

fn with_warning(view: View) -> View {
    View {
        frame: Frame {
            seconds_left: Some(18),
            ..view.frame
        },
        ..view
    }
}

/// The sample of this name.
pub(crate) fn named(name: &str) -> View {
    all()
        .into_iter()
        .find(|(sample, _)| *sample == name)
        .map(|(_, view)| view)
        .expect("the sample exists")
}

/// The same page in another text size and other colors.
pub(crate) fn with_look(view: View, text_size: TextSize, contrast: Contrast) -> View {
    View {
        frame: Frame {
            text_size,
            contrast,
            ..view.frame
        },
        ..view
    }
}
