//! What is wrong with a configuration file, as it may be told to everybody: which file, which line,
//! what kind of mistake. Never what stands there: an address may hold a password, and somebody may
//! have pasted a key into the wrong line. The words of [`ConfigError`] quote; they are for the window
//! of whoever may read the file anyway.

use std::io;
use std::path::PathBuf;

use serde::Serialize;

use super::ConfigError;
use crate::words::{Lang, fill, text};

/// Longest path that is shown, in characters.
const PATH_CHARS_MAX: usize = 120;
/// Longest name of a setting that is shown, in bytes; ours are shorter.
const NAME_BYTES_MAX: usize = 32;

/// A mistake in a configuration file, without anything of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// What kind of mistake.
    pub kind: MistakeKind,
}

/// What kind of mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MistakeKind {
    /// There is no such file.
    Absent,
    /// The file cannot be opened or read.
    Unreadable,
    /// The file is no text in UTF-8, or far too large for one.
    NotText,
    /// A setting is missing; its name is one of the program's own.
    Missing(String),
    /// A name that means nothing here.
    Unknown,
    /// The same thing stands twice.
    Twice,
    /// It is written wrongly, or its value cannot be used.
    Wrong,
    /// It can be read, but the program does not start with it.
    NotStarting,
}

impl Mistake {
    /// What may be told of an error.
    pub fn of(error: &ConfigError) -> Self {
        match error {
            ConfigError::Unreadable { path, source } => Self {
                file: path.clone(),
                line: 0,
                kind: MistakeKind::of_io(source.kind()),
            },
            ConfigError::Wrong {
                path,
                line,
                message,
            } => Self {
                file: path.clone(),
                line: *line,
                kind: MistakeKind::of(message),
            },
        }
    }

    /// In one sentence.
    pub fn words(&self, lang: Lang) -> String {
        let shown: String = self.file.display().to_string();
        let shown: String = shown
            .chars()
            .filter(|character| !character.is_control())
            .take(PATH_CHARS_MAX)
            .collect();
        let what = self.kind.words(lang);
        if self.line == 0 {
            let values = [("file", shown.as_str()), ("what", what.as_str())];
            return fill(lang, "mistake.in-file", &values);
        }
        let line = self.line.to_string();
        let values = [
            ("file", shown.as_str()),
            ("line", line.as_str()),
            ("what", what.as_str()),
        ];
        fill(lang, "mistake.at-line", &values)
    }
}

impl MistakeKind {
    fn of_io(kind: io::ErrorKind) -> Self {
        if kind == io::ErrorKind::NotFound {
            Self::Absent
        } else if [io::ErrorKind::InvalidData, io::ErrorKind::FileTooLarge].contains(&kind) {
            Self::NotText
        } else {
            Self::Unreadable
        }
    }

    /// By the beginning of what the parser says; what is not known is simply wrong.
    fn of(message: &str) -> Self {
        if let Some(rest) = message.strip_prefix("missing field `") {
            let name = rest.split('`').next().unwrap_or_default();
            let is_name = name.len() <= NAME_BYTES_MAX
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            // Only names of the program itself can be missing.
            return Self::Missing(if is_name { name } else { "" }.to_owned());
        }
        if message.starts_with("unknown field") {
            Self::Unknown
        } else if message.starts_with("duplicate") {
            Self::Twice
        } else {
            Self::Wrong
        }
    }

    fn words(&self, lang: Lang) -> String {
        let key = match self {
            Self::Absent => "mistake.absent",
            Self::Unreadable => "mistake.unreadable",
            Self::NotText => "mistake.not-text",
            Self::Missing(name) => return fill(lang, "mistake.missing", &[("name", name)]),
            Self::Unknown => "mistake.unknown",
            Self::Twice => "mistake.twice",
            Self::Wrong => "mistake.wrong",
            Self::NotStarting => "mistake.not-starting",
        };
        text(lang, key).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn mistake(text: &str) -> Mistake {
        let (line, message) = Config::parse(text).unwrap_err();
        Mistake::of(&ConfigError::Wrong {
            path: PathBuf::from("/etc/kiosk/kiosk.toml"),
            line,
            message,
        })
    }

    #[test]
    fn each_kind_of_mistake_is_told_with_its_line() {
        for (text, line, kind) in [
            (
                "[terminal]\nid = \"T001\"\nsite = \"测试村\"\n",
                1,
                MistakeKind::Missing("help_phone".to_owned()),
            ),
            (
                "[terminal]\nid = \"T001\"\npassword = \"x\"\n",
                3,
                MistakeKind::Unknown,
            ),
            (
                "[terminal]\nid = \"T001\"\nid = \"T002\"\n",
                3,
                MistakeKind::Twice,
            ),
            ("[terminal]\nid = \"T001\n", 2, MistakeKind::Wrong),
            ("[terminal]\nid = 7\n", 2, MistakeKind::Wrong),
        ] {
            let found = mistake(text);
            assert_eq!((found.line, &found.kind), (line, &kind), "{text}");
        }
    }

    #[test]
    fn nothing_of_what_stands_in_the_file_is_told_in_any_language() {
        for text in [
            "[platform]\nurl = \"ftp://kiosk:geheim-4711@x\"\n",
            "geheim-4711 = 3\n",
            "[platform]\nprobe_s = \"geheim-4711\"\n",
            "geheim-4711",
            "[key]\nsource = \"geheim-4711\"\n",
        ] {
            let found = mistake(text);
            for lang in Lang::ALL {
                let words = found.words(lang);
                assert!(words.contains("kiosk.toml"), "{words}");
                assert!(!words.contains("4711"), "{words}");
            }
            assert!(!format!("{found:?}").contains("4711"));
            assert!(!serde_json::to_string(&found).unwrap().contains("4711"));
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_without_a_line() {
        let check = |source: io::Error, kind: MistakeKind| {
            let found = Mistake::of(&ConfigError::Unreadable {
                path: Path::new("/etc/kiosk/kiosk.toml").to_path_buf(),
                source,
            });
            assert_eq!((found.line, &found.kind), (0, &kind));
            assert!(!found.words(Lang::ZhHans).contains('第'));
        };
        check(io::ErrorKind::NotFound.into(), MistakeKind::Absent);
        check(
            io::ErrorKind::PermissionDenied.into(),
            MistakeKind::Unreadable,
        );
        check(io::ErrorKind::InvalidData.into(), MistakeKind::NotText);
    }

    #[test]
    fn a_name_with_brackets_or_breaks_stays_on_one_short_line() {
        let found = Mistake {
            file: PathBuf::from(format!("/a\n\u{7}{{line}}/{}", "长".repeat(500))),
            line: 3,
            kind: MistakeKind::of("missing field `<script>`"),
        };
        let words = found.words(Lang::En);
        assert!(
            !words.contains('\n') && !words.contains("script"),
            "{words}"
        );
        assert!(words.chars().count() < 250 && words.contains("{line}"));
    }
}
