//! Pages for staff and technicians as the session fills them, with synthetic people only.

use kiosk_ui::{
    Choice, Frame, Keypad, Mark, Pattern, Screen, StaffPage, StaffRow, StaffSection, View,
};

use super::{choice, open_frame, picture};

/// A page inside the mode.
fn page(name: &str, title: &str) -> StaffPage {
    StaffPage {
        name: name.to_owned(),
        title: title.to_owned(),
        person: "测试一 · 技术员".to_owned(),
        seconds_left: Some(1472),
        ..StaffPage::default()
    }
}

fn view(page: StaffPage) -> View {
    View {
        frame: Frame {
            can_go_back: true,
            ..open_frame()
        },
        screen: Screen::Staff(Box::new(page)),
    }
}

fn row(mark: Mark, label: &str, value: &str) -> StaffRow {
    StaffRow {
        label: label.to_owned(),
        value: value.to_owned(),
        mark,
        ..StaffRow::default()
    }
}

fn touchable(id: &str, mark: Mark, label: &str, value: &str, detail: &str) -> StaffRow {
    StaffRow {
        id: id.to_owned(),
        detail: detail.to_owned(),
        ..row(mark, label, value)
    }
}

fn section(title: &str, rows: Vec<StaffRow>) -> StaffSection {
    StaffSection {
        title: title.to_owned(),
        rows,
    }
}

fn action(id: &str, label: &str, icon: &str) -> Choice {
    choice(id, label, "", icon)
}

/// The challenge before anybody has come in.
fn unlock() -> View {
    view(StaffPage {
        person: String::new(),
        seconds_left: None,
        intro: "把这个码发给管理员，换回一张授权码。把授权码对准扫码口，再输入您的密码。"
            .to_owned(),
        code: Some(
            "KC1:6BFOXN*TS0BI$ZD4N9:9S6RCVN5+O30K3/XIV0W23NTDEPWK G2EP4J0B3KL6QM5M8K".to_owned(),
        ),
        drawing: "phone-code".to_owned(),
        actions: vec![
            action("scan", "我有授权码，去扫码", "qr"),
            action("usb", "从 U 盘读取", "usb"),
            action("again", "换一个码", "repeat"),
        ],
        ..page("unlock", "工作人员登录")
    })
}

fn pin() -> View {
    view(StaffPage {
        person: String::new(),
        seconds_left: None,
        intro: "请输入发放授权时设定的六位密码。".to_owned(),
        warning: "密码不对，还可以试 3 次。".to_owned(),
        value: "●●●●".to_owned(),
        keypad: Keypad::Digits,
        actions: vec![action("enter", "确定", "check")],
        ..page("pin", "请输入密码")
    })
}

fn menu() -> View {
    view(StaffPage {
        warning: "有 1 台设备需要处理。".to_owned(),
        sections: vec![
            section(
                "日常",
                vec![
                    touchable("daily", Mark::Caution, "今日检查", "还没有做", "约两分钟"),
                    touchable("paper", Mark::None, "换纸登记", "", "回执纸约剩 60 米"),
                ],
            ),
            section(
                "检修",
                vec![
                    touchable(
                        "devices",
                        Mark::Bad,
                        "设备",
                        "1 个故障",
                        "共 7 台，6 台正常",
                    ),
                    touchable(
                        "tests",
                        Mark::Good,
                        "引导检测",
                        "上次全部通过",
                        "2026年2月27日 10:12",
                    ),
                    touchable("tickets", Mark::Caution, "工单", "1 张未完成", ""),
                    touchable("workbench", Mark::None, "工作台", "", "记录、校准、网络"),
                ],
            ),
            section(
                "证明",
                vec![
                    touchable("sync", Mark::Good, "待上传", "3 件", "最早 12 分钟前"),
                    touchable("report", Mark::Unknown, "就绪报告", "今天没有签发", ""),
                ],
            ),
        ],
        ..page("menu", "工作人员菜单")
    })
}

/// A device with a fault: what is wrong, what to do and the picture of it, then its tests, then what can
/// be done, then how it is; long figures last.
fn device() -> View {
    view(StaffPage {
        warning: "回执纸用完了，等了 14 分钟。 · 村工作人员".to_owned(),
        intro: "打开打印机上盖，取出空纸芯。放入新纸卷，纸头从下面绕到前面。合上盖子。".to_owned(),
        drawing: "paper-out".to_owned(),
        sections: vec![
            section(
                "测试",
                vec![touchable(
                    "test",
                    Mark::Good,
                    "凭条打印机：测试凭条",
                    "通过",
                    "2026-02-27 10:12 测试一",
                )],
            ),
            section(
                "维修单",
                vec![touchable(
                    "ticket",
                    Mark::Caution,
                    "T001-0007",
                    "等待处理",
                    "须在 2026年3月2日 13:27 前到场",
                )],
            ),
            section(
                "可以做的",
                vec![
                    touchable("level", Mark::None, "日志详细程度", "", ""),
                    touchable("monitor", Mark::None, "看通信内容", "", ""),
                ],
            ),
            section(
                "现在的读数",
                vec![
                    row(Mark::Bad, "状态", "要人处理"),
                    row(Mark::None, "纸", "用完了"),
                ],
            ),
            section("设备信息", vec![row(Mark::None, "型号", "SP-80")]),
            section("开机以来", vec![row(Mark::None, "缺纸", "×14")]),
        ],
        actions: vec![
            action("test", "检测这台设备", "play"),
            action("reset", "重新连接设备", "repeat"),
            action("full", "已经装满", "check"),
        ],
        ..page("device", "回执打印机")
    })
}

fn test_running() -> View {
    view(StaffPage {
        intro: "正在打印测试条。打印完后，请撕下测试条，放到拍摄台上。".to_owned(),
        drawing: "document".to_owned(),
        sections: vec![section(
            "步骤",
            vec![
                row(Mark::Good, "连接", "12 毫秒"),
                row(Mark::Good, "纸和上盖", "正常"),
                row(Mark::Unknown, "打印测试条", "进行中"),
                row(Mark::Unknown, "读回测试条", ""),
            ],
        )],
        actions: vec![action("cancel", "停止检测", "stop")],
        is_busy: true,
        ..page("test", "检测回执打印机（3/4）")
    })
}

fn tickets() -> View {
    let tickets = (1..=17_u32).map(|number| {
        let (mark, state) = match number % 3 {
            0 => (Mark::Good, "已修好"),
            1 => (Mark::Bad, "已超时"),
            _ => (Mark::Caution, "等待处理"),
        };
        touchable(
            &format!("ticket-{number}"),
            mark,
            &format!("T001-{number:04} 回执打印机"),
            state,
            "切刀卡住 · 技术员处理 · 第 2 次出现",
        )
    });
    view(StaffPage {
        sections: vec![section("未完成", tickets.collect())],
        actions: vec![action("export", "导出到 U 盘", "usb")],
        ..page("tickets", "工单")
    })
}

fn report(code: Option<String>) -> View {
    view(StaffPage {
        intro: "扫右上的码，可以在任何一台手机或电脑上核对，不需要联网。".to_owned(),
        picture: Some(picture(420, 594)),
        code,
        sections: vec![section(
            "",
            vec![
                row(Mark::Good, "检测", "21 项通过"),
                row(Mark::Caution, "没有做的检测", "2 项"),
                row(Mark::Good, "软件与签名一致", "是"),
                row(
                    Mark::None,
                    "软件指纹",
                    "7d3f 09aa 51c2 88e0 14b7 6e2d 90f3 c5a1",
                ),
            ],
        )],
        actions: vec![
            action("print", "打印报告", "printer"),
            action("usb", "存到 U 盘", "usb"),
            action("page", "下一页", "document"),
        ],
        ..page("report", "就绪报告")
    })
}

/// Rather longer than any certificate.
fn certificate() -> String {
    let mut text = String::from("KR1:");
    while text.len() < 1536 {
        text.push_str("6BFOXN*TS0BI$ZD4N9:9S6RCVN5+O30K3/XIV0W23NTDEPWK G2EP4J0B3KL6QM5");
    }
    text.truncate(1536);
    text
}

fn camera() -> View {
    view(StaffPage {
        intro: "把测试条平放在拍摄台上，四角都要看得见。".to_owned(),
        picture: Some(picture(640, 480)),
        actions: vec![
            action("ok", "看得清楚", "check"),
            action("bad", "看不清楚", "cross"),
        ],
        ..page("camera", "检测文件摄像头")
    })
}

/// Everything there can be, and texts that are longer than anybody should write.
fn crowded() -> View {
    let mut buttons: Vec<Choice> = (1..=7)
        .map(|number| {
            action(
                &format!("act-{number}"),
                &format!("第 {number} 个操作"),
                "wrench",
            )
        })
        .collect();
    buttons[3].unavailable = "需要管理员授权".into();
    let rows = (1..=200_u32).map(|number| {
        touchable(
            &format!("row-{number}"),
            if number % 2 == 0 {
                Mark::Good
            } else {
                Mark::Unknown
            },
            &format!("第 {number} 条记录"),
            if number % 5 == 0 {
                "一个很长的数值，长到在标签旁边放不下，只好写在下面一行里"
            } else {
                "正常"
            },
            "2026年3月2日 09:41 由测试一记录",
        )
    });
    view(StaffPage {
        warning: "这一页故意写得很满。真正的页面不会这样。".to_owned(),
        intro: "先看图。再按顺序做。每一步做完后再点下一步。".to_owned(),
        code: Some("KR1:TEST".to_owned()),
        picture: Some(picture(320, 240)),
        drawing: "cable".to_owned(),
        sections: vec![section("记录", rows.collect())],
        actions: buttons,
        is_busy: true,
        ..page("diary", "设备记录簿与通信监视")
    })
}

fn color() -> View {
    view(StaffPage {
        intro: "有没有坏点？触摸屏幕看下一种颜色".to_owned(),
        pattern: Pattern::Color([0, 128, 0]),
        ..page("test", "检测屏幕")
    })
}

fn grid() -> View {
    view(StaffPage {
        pattern: Pattern::Grid {
            columns: 9,
            touched: (0..144).map(|cell| cell % 9 < 3 && cell / 9 < 10).collect(),
        },
        ..page("test", "检测触摸")
    })
}

/// Nothing is known: no place, no time, no catalogue, no device.
fn safe() -> View {
    View {
        frame: Frame::default(),
        screen: Screen::Staff(Box::new(StaffPage {
            name: "safe".to_owned(),
            ..StaffPage::default()
        })),
    }
}

fn safe_reason() -> View {
    View {
        frame: Frame {
            help_phone: "12345".to_owned(),
            ..Frame::default()
        },
        screen: Screen::Staff(Box::new(StaffPage {
            name: "safe".to_owned(),
            sections: vec![section(
                "",
                vec![row(Mark::Caution, "代码", "safe.crashed · 4")],
            )],
            ..StaffPage::default()
        })),
    }
}

/// Every page for staff at least once, by a name of its own.
pub(crate) fn all() -> Vec<(&'static str, View)> {
    vec![
        ("staff-unlock", unlock()),
        ("staff-pin", pin()),
        ("staff-menu", menu()),
        ("staff-device", device()),
        ("staff-test", test_running()),
        ("staff-tickets", tickets()),
        (
            "staff-report",
            report(Some(
                "KR1:6BFOXN*TS0BI$ZD4N9:9S6RCVN5+O30K3/XIV0W23NTDEPWK".repeat(6),
            )),
        ),
        ("staff-certificate", {
            let mut view = report(Some(certificate()));
            if let Screen::Staff(page) = &mut view.screen {
                page.picture = None;
            }
            view
        }),
        ("staff-camera", camera()),
        ("staff-crowded", crowded()),
        ("staff-color", color()),
        ("staff-grid", grid()),
        ("staff-safe", safe()),
        ("staff-safe-reason", safe_reason()),
    ]
}
