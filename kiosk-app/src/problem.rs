//! Every coded problem in words: what the citizen reads, what the technician does, who acts.
//!
//! The table is `problems.toml`; a test checks that every code in the sources is explained and that
//! every entry is used.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::words::Lang;

/// One problem in words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// Who acts, as in XFS4IoT.
    pub action: String,
    /// Name of the picture on the problem page.
    pub picture: String,
    /// What the technician does, in simplified Chinese: the language of the terminal window.
    pub technician: String,
    #[serde(rename = "technician-zh-Hant")]
    technician_zh_hant: String,
    #[serde(rename = "technician-en")]
    technician_en: String,
    /// Simplified Chinese.
    #[serde(rename = "zh-Hans")]
    zh_hans: Words,
    /// Traditional Chinese.
    #[serde(rename = "zh-Hant")]
    zh_hant: Words,
    /// English.
    en: Words,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    title: String,
    advice: String,
    #[serde(default)]
    notice: String,
}

impl Problem {
    fn words(&self, lang: Lang) -> &Words {
        match lang {
            Lang::ZhHans => &self.zh_hans,
            Lang::ZhHant => &self.zh_hant,
            Lang::En => &self.en,
        }
    }

    /// One plain sentence.
    pub fn title(&self, lang: Lang) -> &str {
        &self.words(lang).title
    }

    /// What the technician does.
    pub fn remedy(&self, lang: Lang) -> &str {
        match lang {
            Lang::ZhHans => &self.technician,
            Lang::ZhHant => &self.technician_zh_hant,
            Lang::En => &self.technician_en,
        }
    }

    /// What the citizen does now.
    pub fn advice(&self, lang: Lang) -> &str {
        &self.words(lang).advice
    }

    /// A short sentence for the notice line and for items that cannot start; the title where none
    /// was written.
    pub fn notice(&self, lang: Lang) -> &str {
        let words = self.words(lang);
        if words.notice.is_empty() {
            &words.title
        } else {
            &words.notice
        }
    }
}

fn table() -> &'static BTreeMap<String, Problem> {
    static TABLE: OnceLock<BTreeMap<String, Problem>> = OnceLock::new();
    TABLE.get_or_init(|| {
        toml::from_str(include_str!("../problems.toml"))
            .expect("the built-in table of problems is valid")
    })
}

/// The words for a code. A code that is not in the table shows the general words: a visitor must
/// never see nothing; the test on both directions keeps that from happening.
pub fn get(code: &str) -> &'static Problem {
    let table = table();
    table.get(code).unwrap_or_else(|| &table["general.unknown"])
}

/// All codes of the table.
pub fn codes() -> impl Iterator<Item = &'static str> {
    table().keys().map(String::as_str)
}
