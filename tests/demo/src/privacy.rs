//! Proves that nothing personal of the synthetic people reached a log.
//!
//! What counts as personal: names, numbers and addresses of every card of the bench, and every long
//! number that a journey types.

use std::path::Path;

use anyhow::Context;

/// Shortest typed number that could identify a person: a local telephone number has 7 digits.
const DIGITS_MIN: usize = 7;

/// Words that must not stand in a log.
#[derive(Clone, Debug, Default)]
pub struct PersonalWords(Vec<String>);

impl PersonalWords {
    /// Those of every card of the bench, and `typed`.
    ///
    /// # Errors
    /// A card of the bench cannot be read.
    pub fn gather<'a>(typed: impl Iterator<Item = &'a str>) -> anyhow::Result<Self> {
        let mut words = Vec::new();
        for name in kiosk_emulators::card_names() {
            let card = serde_json::to_value(kiosk_emulators::CardSpec::named(name)?)?;
            for field in [
                "name",
                "number",
                "address",
                "appended_address",
                "english_name",
            ] {
                let word = card
                    .get(field)
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default();
                if word.chars().count() > 2 {
                    words.push(word.to_owned());
                }
            }
        }
        words.extend(
            typed
                .filter(|text| text.len() >= DIGITS_MIN)
                .map(str::to_owned),
        );
        words.sort();
        words.dedup();
        Ok(Self(words))
    }

    /// Numbers of the lines of `log` that hold a personal word, from 1. Spaces do not hide one.
    pub fn lines_with(&self, log: &str) -> Vec<usize> {
        let has_word = |line: &str| {
            let dense: String = line
                .chars()
                .filter(|character| !character.is_whitespace())
                .collect();
            self.0
                .iter()
                .any(|word| line.contains(word) || dense.contains(word))
        };
        log.lines()
            .enumerate()
            .filter(|(_, line)| has_word(line))
            .map(|(index, _)| index + 1)
            .collect()
    }

    /// Checks the log in `file`; the error tells lines, never words.
    ///
    /// # Errors
    /// The log cannot be read, or something personal stands in it.
    pub fn check(&self, file: &Path) -> anyhow::Result<()> {
        let bytes =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines = self.lines_with(&String::from_utf8_lossy(&bytes));
        anyhow::ensure!(
            lines.is_empty(),
            "personal data in {}, lines {lines:?}",
            file.display()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_typed_digits_are_found_in_a_log() {
        let words = PersonalWords::gather(["13900000000", "5"].into_iter()).unwrap();
        let log =
            "first frame\ncard of 测试甲\nnumber=440100 1990 0101 1237\nphone 13900000000\nlevel 5";
        assert_eq!(words.lines_with(log), [2, 3, 4]);
    }

    #[test]
    fn the_complaint_about_a_log_repeats_nothing_personal() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("terminal.log");
        std::fs::write(&file, "ok\n测试甲\n").unwrap();
        let words = PersonalWords::gather(std::iter::empty()).unwrap();
        let error = words.check(&file).unwrap_err().to_string();
        assert!(
            error.contains("[2]") && !error.contains("测试甲"),
            "{error}"
        );
        std::fs::write(&file, "ok\n").unwrap();
        words.check(&file).unwrap();
    }
}
