//! What the regions of this terminal bring: a set of item packages and a few settings, written by the
//! updater after it was signed, and looked at by this program before it came into force. The set is
//! read here and never written. A set with a setting that is not known is none: half of what a region
//! wants is worse than what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ITEMS_MAX, Mistake};

/// The file of a set that says what is in it.
const SET_FILE: &str = "set.json";
/// The file of a set with what the regions set.
const SETTINGS_FILE: &str = "region.toml";
/// The directory of a set with its items.
const ITEMS_DIRECTORY: &str = "items";
/// Layout of a set that this program reads.
const FORMAT: u32 = 1;
/// Largest file of a set that is read here, in bytes. Chosen: what the updater writes at most.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Longest version of a set in bytes; it goes into every heartbeat.
const VERSION_BYTES_MAX: usize = 64;
/// Longest telephone number, and longest notice, in characters. Chosen: what the glass has room for.
const PHONE_CHARACTERS_MAX: usize = 32;
const NOTICE_CHARACTERS_MAX: usize = 200;
/// Most notices; chosen, a board that is read to its end.
const NOTICES_MAX: usize = 20;
/// Longest id of an item in bytes (the platform's contract).
const ITEM_BYTES_MAX: usize = 64;

/// What a region may set of a terminal, in place of what its `kiosk.toml` says. What the platform wants
/// of this one terminal comes on top. A setting that is not here is the terminal's own business.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSettings {
    /// Telephone of the help line.
    pub help_phone: Option<String>,
    /// Notices of the village, one sentence each.
    pub board: Option<Vec<String>>,
    /// Items that are not offered for now.
    pub suspended_items: Option<Vec<String>>,
}

impl RegionSettings {
    /// Reads the settings of a region. A function of outside bytes: bounded, and it never panics.
    ///
    /// # Errors
    /// The line, from 1 (0 where a whole setting is meant), its name, and what to write.
    pub fn parse(text: &str) -> Result<Self, (usize, String, String)> {
        if text.len() as u64 > FILE_BYTES_MAX {
            let message = format!("at most {FILE_BYTES_MAX} bytes are read");
            return Err((0, String::new(), message));
        }
        let settings: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                let end = text.floor_char_boundary(span.start.min(text.len()));
                text[..end].matches('\n').count() + 1
            });
            (line, String::new(), error.message().to_owned())
        })?;
        let wrong = |field: &str, message: String| Err((0, field.to_owned(), message));
        if let Some(phone) = &settings.help_phone
            && !is_phone(phone)
        {
            let message = format!("digits, `-`, `+` and spaces, {PHONE_CHARACTERS_MAX} at most");
            return wrong("help_phone", message);
        }
        if let Some(board) = &settings.board
            && !(board.len() <= NOTICES_MAX && board.iter().all(|notice| is_notice(notice)))
        {
            let message = format!(
                "at most {NOTICES_MAX} notices of one line and {NOTICE_CHARACTERS_MAX} characters"
            );
            return wrong("board", message);
        }
        if let Some(items) = &settings.suspended_items
            && !(items.len() <= ITEMS_MAX && items.iter().all(|item| is_item(item)))
        {
            return wrong("suspended_items", "ids of items".to_owned());
        }
        Ok(settings)
    }

    /// Every setting by its name, as it may be shown.
    pub fn shown(&self) -> BTreeMap<&'static str, String> {
        let listed = |list: &Vec<String>| list.join(" · ");
        [
            ("help_phone", self.help_phone.clone()),
            ("board", self.board.as_ref().map(listed)),
            ("suspended_items", self.suspended_items.as_ref().map(listed)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

fn is_phone(text: &str) -> bool {
    let is_of_phone = |character: char| character.is_ascii_digit() || " -+".contains(character);
    (3..=PHONE_CHARACTERS_MAX).contains(&text.len()) && text.chars().all(is_of_phone)
}

fn is_notice(text: &str) -> bool {
    (1..=NOTICE_CHARACTERS_MAX).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
}

fn is_item(text: &str) -> bool {
    (1..=ITEM_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// What a set says of itself; what else the updater writes there is for others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Description {
    format: u32,
    version: String,
    #[serde(default)]
    removed: BTreeMap<String, String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

impl Description {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let description: Self = serde_json::from_slice(bytes).ok()?;
        let is_version = (1..=VERSION_BYTES_MAX).contains(&description.version.len())
            && description
                .version
                .bytes()
                .all(|byte| byte.is_ascii_graphic());
        (description.format == FORMAT && is_version).then_some(description)
    }
}

/// The set of the terminal's regions that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Its version.
    pub version: String,
    /// Where its items lie; a link was followed, so that a set that comes later changes nothing here.
    pub items: PathBuf,
    /// Items that are not offered, though the program brings them.
    pub removed: BTreeSet<String>,
    /// What is set.
    pub settings: RegionSettings,
    /// Code of the region that sets it, by name of the setting.
    pub sources: BTreeMap<String, String>,
}

impl Region {
    /// True when a directory holds a set, and not packages alone.
    pub fn is_at(directory: &Path) -> bool {
        directory.join(SET_FILE).is_file()
    }

    /// Reads the set in a directory; `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with it, and where. Nothing of it may be used then.
    pub fn read(directory: &Path) -> Result<Option<Self>, Mistake> {
        let Ok(directory) = directory.canonicalize() else {
            return Ok(None);
        };
        let file = directory.join(SET_FILE);
        if !file.is_file() {
            return Ok(None);
        }
        let wrong = |file: &Path, (line, field, message): (usize, String, String)| Mistake {
            file: file.to_path_buf(),
            line,
            field,
            message,
        };
        let whole = |message: &str| (0, String::new(), message.to_owned());
        let description = bytes(&file)
            .and_then(|bytes| Description::parse(&bytes).ok_or("is no set of this program".into()))
            .map_err(|message: String| wrong(&file, whole(&message)))?;
        let file = directory.join(SETTINGS_FILE);
        let settings = bytes(&file)
            .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned()))
            .map_err(|message| whole(&message))
            .and_then(|text| RegionSettings::parse(&text))
            .map_err(|mistake| wrong(&file, mistake))?;
        Ok(Some(Self {
            version: description.version,
            items: directory.join(ITEMS_DIRECTORY),
            removed: description.removed.into_keys().collect(),
            settings,
            sources: description.settings,
        }))
    }

    /// Version of the set in a directory, for the heartbeat and the technician; `None` where there is
    /// none that can be read.
    pub fn version_at(directory: &Path) -> Option<String> {
        let bytes = bytes(&directory.join(SET_FILE)).ok()?;
        Some(Description::parse(&bytes)?.version)
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("at most {FILE_BYTES_MAX} bytes are read"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "board = [\"周三停电\", \"Bring your card\"]\nhelp_phone = \"020-12345\"\nsuspended_items = [\"bus-card\"]\n";

    #[test]
    fn a_region_sets_what_is_on_the_list_and_nothing_else() {
        let settings = RegionSettings::parse(SETTINGS).unwrap();
        assert_eq!(settings.help_phone.as_deref(), Some("020-12345"));
        assert_eq!(settings.shown()["board"], "周三停电 · Bring your card");
        assert_eq!(RegionSettings::parse(""), Ok(RegionSettings::default()));
        let (line, _, message) =
            RegionSettings::parse(&format!("{SETTINGS}sealing_key = \"intl:x\"\n")).unwrap_err();
        assert_eq!(line, 4);
        assert!(message.contains("sealing_key"), "{message}");
    }

    #[test]
    fn a_value_that_the_glass_has_no_room_for_is_named() {
        for (from, to, field) in [
            ("020-12345", "call me", "help_phone"),
            ("020-12345", "", "help_phone"),
            ("周三停电", "", "board"),
            ("周三停电", "a\\nb", "board"),
            ("bus-card", "../x y", "suspended_items"),
        ] {
            let text = SETTINGS.replace(from, to);
            let (_, named, _) = RegionSettings::parse(&text).unwrap_err();
            assert_eq!(named, field, "{text}");
        }
        let long = format!("board = [\"{}\"]", "长".repeat(NOTICE_CHARACTERS_MAX + 1));
        assert!(RegionSettings::parse(&long).is_err());
        let many = format!("board = [{}]", "\"a\",".repeat(NOTICES_MAX + 1));
        assert!(RegionSettings::parse(&many).is_err());
    }

    #[test]
    fn a_set_that_is_torn_is_none_of_this_program() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Region::read(directory.path()), Ok(None));
        assert_eq!(Region::read(&directory.path().join("nowhere")), Ok(None));
        let set = directory.path().join(SET_FILE);
        for text in [
            "",
            "{",
            r#"{"format":2,"version":"1-a"}"#,
            r#"{"format":1,"version":""}"#,
            r#"{"format":1,"version":"a b"}"#,
        ] {
            std::fs::write(&set, text).unwrap();
            assert!(Region::read(directory.path()).is_err(), "{text}");
            assert_eq!(Region::version_at(directory.path()), None);
        }
        std::fs::write(
            &set,
            r#"{"format":1,"version":"3-ab","removed":{"a":"44"}}"#,
        )
        .unwrap();
        let mistake = Region::read(directory.path()).unwrap_err();
        assert!(mistake.file.ends_with(SETTINGS_FILE), "{mistake}");
        std::fs::write(directory.path().join(SETTINGS_FILE), SETTINGS).unwrap();
        let region = Region::read(directory.path()).unwrap().unwrap();
        assert_eq!(region.version, "3-ab");
        assert!(region.removed.contains("a"));
        assert_eq!(
            Region::version_at(directory.path()).as_deref(),
            Some("3-ab")
        );
    }
}
