//! The terminal's own texts that do not belong to a screen, an item or a problem, in three languages.
//!
//! A key that the program uses exists in every language; a test checks both directions.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use kiosk_ui::Language;

/// The languages of all texts, in the order of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lang {
    /// Simplified Chinese.
    ZhHans,
    /// Traditional Chinese (Hong Kong).
    ZhHant,
    /// English.
    En,
}

impl Lang {
    /// All languages.
    pub const ALL: [Self; 3] = [Self::ZhHans, Self::ZhHant, Self::En];

    /// The tag in file names (BCP 47).
    pub fn tag(self) -> &'static str {
        match self {
            Self::ZhHans => "zh-Hans",
            Self::ZhHant => "zh-Hant",
            Self::En => "en",
        }
    }
}

impl From<Language> for Lang {
    fn from(language: Language) -> Self {
        match language {
            Language::ZhHans => Self::ZhHans,
            Language::ZhHant => Self::ZhHant,
            Language::En => Self::En,
        }
    }
}

const FILES: [(Lang, &str); 3] = [
    (Lang::ZhHans, include_str!("../lang/zh-Hans.toml")),
    (Lang::ZhHant, include_str!("../lang/zh-Hant.toml")),
    (Lang::En, include_str!("../lang/en.toml")),
];

fn tables() -> &'static BTreeMap<Lang, BTreeMap<String, String>> {
    static TABLES: OnceLock<BTreeMap<Lang, BTreeMap<String, String>>> = OnceLock::new();
    TABLES.get_or_init(|| {
        FILES
            .iter()
            .map(|(lang, text)| {
                let table = text
                    .parse::<toml::Table>()
                    .expect("built-in texts are valid TOML");
                (*lang, flatten(&table))
            })
            .collect()
    })
}

/// The text under a dotted key.
///
/// # Panics
/// When the key does not exist: a bug that the test `every_text_exists` finds.
pub fn text(lang: Lang, key: &str) -> &'static str {
    tables()[&lang]
        .get(key)
        .unwrap_or_else(|| panic!("no text {key} in {}", lang.tag()))
}

/// The text under a key with `{name}` replaced by values.
pub fn fill(lang: Lang, key: &str, values: &[(&str, &str)]) -> String {
    fill_text(text(lang, key), values)
}

/// `template` with `{name}` replaced by values. Values are not searched again.
pub fn fill_text(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, tail) = after.split_once('}').unwrap_or((after, ""));
        if let Some((_, value)) = values.iter().find(|(key, _)| *key == name) {
            filled.push_str(value);
        } else {
            filled.push('{');
            filled.push_str(name);
            filled.push('}');
        }
        rest = tail;
    }
    filled.push_str(rest);
    filled
}

/// A TOML table as dotted keys; elements of arrays count from 0.
pub fn flatten(table: &toml::Table) -> BTreeMap<String, String> {
    let mut words = BTreeMap::new();
    // An explicit stack: depth is bounded by the file, not by ours.
    let mut open: Vec<(String, &toml::Value)> = table
        .iter()
        .map(|(key, value)| (key.clone(), value))
        .collect();
    while let Some((key, value)) = open.pop() {
        match value {
            toml::Value::String(text) => {
                words.insert(key, text.clone());
            }
            toml::Value::Array(values) => open.extend(
                values
                    .iter()
                    .enumerate()
                    .map(|(index, value)| (format!("{key}.{index}"), value)),
            ),
            toml::Value::Table(table) => {
                open.extend(
                    table
                        .iter()
                        .map(|(name, value)| (format!("{key}.{name}"), value)),
                );
            }
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => {
                words.insert(key, value.to_string());
            }
        }
    }
    words
}

/// Every key of one language, for tests.
pub fn keys(lang: Lang) -> Vec<&'static str> {
    tables()[&lang].keys().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_languages_have_the_same_keys() {
        for lang in Lang::ALL {
            assert_eq!(keys(lang), keys(Lang::ZhHans), "{}", lang.tag());
        }
    }

    #[test]
    fn values_are_filled_in_once() {
        assert_eq!(fill_text("{a}-{b}", &[("a", "{b}"), ("b", "2")]), "{b}-2");
    }
}
