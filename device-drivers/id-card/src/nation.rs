//! The peoples of China by their two-digit codes (GB/T 3304, `device-protocols.md` §2.5).
//! A code nobody knows is shown as 其他, never refused.

/// An entry on the card.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nation {
    /// The code on the card; 0 when it was no number.
    pub code: u8,
    /// The name to show.
    pub name: &'static str,
}

const OTHER: &str = "其他";

const NAMES: [&str; 56] = [
    "汉",
    "蒙古",
    "回",
    "藏",
    "维吾尔",
    "苗",
    "彝",
    "壮",
    "布依",
    "朝鲜",
    "满",
    "侗",
    "瑶",
    "白",
    "土家",
    "哈尼",
    "哈萨克",
    "傣",
    "黎",
    "傈僳",
    "佤",
    "畲",
    "高山",
    "拉祜",
    "水",
    "东乡",
    "纳西",
    "景颇",
    "柯尔克孜",
    "土",
    "达斡尔",
    "仫佬",
    "羌",
    "布朗",
    "撒拉",
    "毛南",
    "仡佬",
    "锡伯",
    "阿昌",
    "普米",
    "塔吉克",
    "怒",
    "乌孜别克",
    "俄罗斯",
    "鄂温克",
    "德昂",
    "保安",
    "裕固",
    "京",
    "塔塔尔",
    "独龙",
    "鄂伦春",
    "赫哲",
    "门巴",
    "珞巴",
    "基诺",
];

impl Nation {
    /// The entry for the two digits on the card.
    pub fn from_digits(digits: &str) -> Self {
        let code = digits.parse().unwrap_or(0);
        let name = match code {
            1..=56 => NAMES[usize::from(code) - 1],
            81 => "穿青人",
            98 => "外国血统中国籍人士",
            _ => OTHER,
        };
        Self { code, name }
    }
}

impl std::fmt::Debug for Nation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_have_their_names_and_others_degrade() {
        let check = |digits: &str, code: u8, name: &str| {
            let nation = Nation::from_digits(digits);
            assert_eq!((nation.code, nation.name), (code, name), "{digits}");
        };
        check("01", 1, "汉");
        check("15", 15, "土家");
        check("49", 49, "京");
        check("56", 56, "基诺");
        check("81", 81, "穿青人");
        check("97", 97, OTHER);
        check("98", 98, "外国血统中国籍人士");
        check("57", 57, OTHER);
        check("83", 83, OTHER);
        check("00", 0, OTHER);
        check("", 0, OTHER);
        check("x?", 0, OTHER);
        check("999", 0, OTHER);
    }
}
