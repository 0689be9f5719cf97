//! A person as the terminal knows one: from a card, or from a typed number.
//! Every personal value is [`Sensitive`]: it prints as `<redacted>` and is overwritten when dropped.

use jiff::civil::Date;
use kiosk_device::Sensitive;

/// How the person was identified; recorded with every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Read from the chip of an identity card.
    Card,
    /// Read from the chip of a social security card.
    SocialCard,
    /// The number was typed.
    Typed,
}

impl Source {
    /// The word in payloads and item packages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Card => "id-card",
            Self::SocialCard => "social-card",
            Self::Typed => "typed-number",
        }
    }
}

/// Sex as stated on a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sex {
    /// 男
    Male,
    /// 女
    Female,
}

/// One identified person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Name; empty when only a number was typed.
    pub name: Sensitive<String>,
    /// Identity number, 18 characters for residents.
    pub number: Sensitive<String>,
    /// Date of birth, from the card or the number.
    pub birth: Option<Date>,
    /// Sex; `None` when unknown.
    pub sex: Option<Sex>,
    /// Nation or nationality; empty when unknown.
    pub nation: Sensitive<String>,
    /// Address; empty when unknown.
    pub address: Sensitive<String>,
    /// Last day on which the card is valid; `None` for long-term cards and typed numbers.
    pub valid_until: Option<Date>,
    /// How the person was identified.
    pub source: Source,
}

impl Person {
    /// A person of whom only the number is known.
    pub fn from_number(number: &str) -> Self {
        Self {
            name: Sensitive::default(),
            number: Sensitive::new(number.to_owned()),
            birth: birth_of(number),
            sex: None,
            nation: Sensitive::default(),
            address: Sensitive::default(),
            valid_until: None,
            source: Source::Typed,
        }
    }

    /// Full years of age on `date`; `None` when the birth is unknown or in the future.
    pub fn age_on(&self, date: Date) -> Option<u32> {
        let birth = self.birth?;
        let had_birthday = (date.month(), date.day()) >= (birth.month(), birth.day());
        let years = i32::from(date.year()) - i32::from(birth.year()) - i32::from(!had_birthday);
        u32::try_from(years).ok()
    }

    /// True when the card's validity ended before `date`.
    pub fn is_expired_on(&self, date: Date) -> bool {
        self.valid_until.is_some_and(|until| until < date)
    }

    /// The name with all but the first and last character hidden: `测*甲`.
    pub fn masked_name(&self) -> String {
        mask_name(self.name.expose())
    }

    /// The number with the middle hidden: `4401**********1237`.
    pub fn masked_number(&self) -> String {
        mask_middle(self.number.expose(), 4, 4)
    }
}

/// The birth date inside a resident's number.
pub fn birth_of(number: &str) -> Option<Date> {
    let digits = number.get(6..14)?;
    let year = digits.get(0..4)?.parse().ok()?;
    let month = digits.get(4..6)?.parse().ok()?;
    let day = digits.get(6..8)?.parse().ok()?;
    Date::new(year, month, day).ok()
}

/// Hides the middle of a name.
pub fn mask_name(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    match characters.as_slice() {
        [] => String::new(),
        [only] => only.to_string(),
        [first, _] => format!("{first}*"),
        [first, middle @ .., last] => format!("{first}{}{last}", "*".repeat(middle.len())),
    }
}

/// Hides all but the first `head` and the last `tail` characters.
pub fn mask_middle(text: &str, head: usize, tail: usize) -> String {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() <= head + tail {
        return "*".repeat(characters.len());
    }
    let hidden = characters.len() - head - tail;
    let mut masked: String = characters[..head].iter().collect();
    masked.push_str(&"*".repeat(hidden));
    masked.extend(&characters[head + hidden..]);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_masked() {
        assert_eq!(mask_name("测试甲"), "测*甲");
        assert_eq!(mask_name("测甲"), "测*");
        assert_eq!(
            mask_middle("440100199001011237", 4, 4),
            "4401**********1237"
        );
        assert_eq!(mask_middle("1234", 4, 4), "****");
    }

    #[test]
    fn age_turns_on_the_birthday() {
        let person = Person::from_number("440100199001011237");
        assert_eq!(person.age_on(Date::constant(2019, 12, 31)), Some(29));
        assert_eq!(person.age_on(Date::constant(2020, 1, 1)), Some(30));
        assert_eq!(person.age_on(Date::constant(1980, 1, 1)), None);
    }

    #[test]
    fn debug_shows_nothing_personal() {
        let text = format!("{:?}", Person::from_number("440100199001011237"));
        assert!(!text.contains("4401"), "{text}");
    }
}
