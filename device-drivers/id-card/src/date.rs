//! Calendar days as cards print them: eight digits.

use zeroize::Zeroize;

/// A day of the Gregorian calendar between the years 1800 and 2299.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Zeroize)]
pub struct Date {
    /// Year.
    pub year: u16,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
}

impl Date {
    /// Reads `YYYYMMDD`; `None` for anything but a day that exists.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let date = Self {
            year: text.get(..4)?.parse().ok()?,
            month: text.get(4..6)?.parse().ok()?,
            day: text.get(6..)?.parse().ok()?,
        };
        let is_day = (1800..2300).contains(&date.year)
            && (1..=12).contains(&date.month)
            && (1..=days_of_month(date.year, date.month)).contains(&date.day);
        is_day.then_some(date)
    }
}

fn days_of_month(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl std::fmt::Debug for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A date on a card is mostly a birthday.
        f.write_str("<redacted>")
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_exist_are_dates() {
        let check = |text: &str, expect: Option<&str>| {
            let found = Date::parse(text).map(|date| date.to_string());
            assert_eq!(found.as_deref(), expect, "{text}");
        };
        check("19900101", Some("1990-01-01"));
        check("20000229", Some("2000-02-29"));
        check("20240229", Some("2024-02-29"));
        for text in [
            "19000229",
            "20230229",
            "20240431",
            "20241301",
            "20240001",
            "20240100",
            "2024010",
            "202401011",
            "2024 101",
            "+2024010",
            "长期",
            "99990101",
            "２０２４",
        ] {
            check(text, None);
        }
    }
}
