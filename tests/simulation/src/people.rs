//! The village: synthetic people, and the search for anything of theirs in bytes that should hold
//! nothing of anybody.
//!
//! All numbers begin with a region of which no office issues these, and the names are no names.

use std::fs;
use std::path::{Path, PathBuf};

use kiosk_app::person::{Person, Source};
use kiosk_device::Sensitive;

/// Beginnings by which the search finds its way; everything personal begins with one of them.
const NUMBER: &[u8] = b"440100";
const PHONE: &[u8] = b"1380000";
const ACCOUNT: &[u8] = b"62220200";
const PICTURE: &[u8] = b"PICTURE-OF-";
const NAME: &str = "测试";
/// Second characters of the names.
const CHARACTERS: [&str; 12] = [
    "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "㛃", "䶮",
];
/// Largest file that is searched; the store of a month is some megabytes.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Somebody of the village.
#[derive(Clone)]
pub(crate) struct Villager {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) phone: String,
    pub(crate) account: String,
    /// What a photograph of this person holds.
    pub(crate) picture: Vec<u8>,
}

impl Villager {
    /// The record a card of this person gives.
    pub(crate) fn card(&self) -> Person {
        Person {
            name: Sensitive::new(self.name.clone()),
            source: Source::Card,
            ..Person::from_number(&self.number)
        }
    }
}

/// Everybody of the village: elders, old enough for every item.
pub(crate) fn village() -> Vec<Villager> {
    (0_u32..)
        .zip(CHARACTERS)
        .map(|(index, character)| {
            let number =
                with_check_digit(&format!("4401001950{:02}15{:03}", index + 1, index + 11));
            Villager {
                name: format!("{NAME}{character}"),
                phone: format!("1380000{:04}", index + 1001),
                account: with_luhn_digit(&format!("62220200{:010}", u64::from(index) + 70_001)),
                picture: format!("\u{FF}PICTURE-OF-{number}").into_bytes(),
                number,
            }
        })
        .collect()
}

/// The check digit of GB 11643.
fn with_check_digit(number: &str) -> String {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = number
        .bytes()
        .zip(WEIGHTS)
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    let place = usize::try_from(sum % 11).unwrap_or(0);
    format!("{number}{}", char::from(b"10X98765432"[place]))
}

/// The check digit of bank cards (ISO/IEC 7812-1 annex B).
fn with_luhn_digit(number: &str) -> String {
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            match (place % 2 == 0, digit) {
                (true, 5..) => digit * 2 - 9,
                (true, _) => digit * 2,
                (false, _) => digit,
            }
        })
        .sum();
    format!("{number}{}", (10 - sum % 10) % 10)
}

/// Whether bytes hold a name, a number, a telephone number, an account or a photograph of the
/// village; says which kind, and of whom by place in the village.
pub(crate) fn personal(bytes: &[u8], village: &[Villager]) -> Option<String> {
    let name = NAME.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let (beginning, kind) = match *byte {
            b'4' => (NUMBER, "number"),
            b'1' => (PHONE, "phone"),
            b'6' => (ACCOUNT, "account"),
            b'P' => (PICTURE, "picture"),
            first if first == name[0] => (name, "name"),
            _ => continue,
        };
        let rest = &bytes[at..];
        if !rest.starts_with(beginning) {
            continue;
        }
        for (place, villager) in village.iter().enumerate() {
            let whole: &[u8] = match kind {
                "number" => villager.number.as_bytes(),
                "phone" => villager.phone.as_bytes(),
                "account" => villager.account.as_bytes(),
                "picture" => &villager.picture["\u{FF}".len()..],
                _ => villager.name.as_bytes(),
            };
            if rest.starts_with(whole) {
                return Some(format!("the {kind} of person {place} at byte {at}"));
            }
        }
    }
    None
}

/// Looks through every file below a directory.
///
/// # Errors
/// When a file cannot be read, or is larger than anything this terminal writes.
pub(crate) fn personal_in_files(
    directory: &Path,
    village: &[Villager],
) -> std::io::Result<Option<String>> {
    for path in files(directory)? {
        if fs::metadata(&path)?.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other("a file is larger than a month"));
        }
        if let Some(found) = personal(&fs::read(&path)?, village) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Ok(Some(format!("{found} in {name}")));
        }
    }
    Ok(None)
}

/// Every file below a directory, in the order of their names.
///
/// # Errors
/// When a directory cannot be read.
pub(crate) fn files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_person_is_found_and_nothing_else() {
        let village = village();
        for villager in &village {
            for piece in [
                villager.name.as_bytes(),
                villager.number.as_bytes(),
                villager.phone.as_bytes(),
                villager.account.as_bytes(),
                &villager.picture,
            ] {
                let mut bytes = vec![0x34; 100];
                bytes.extend_from_slice(piece);
                bytes.push(b'6');
                assert!(personal(&bytes, &village).is_some());
                bytes.truncate(100 + piece.len() - 1);
                assert_eq!(personal(&bytes, &village), None, "a part is nobody");
            }
        }
        let innocent = "T001-20261122-00001 440100 1380000 测试村 4401001950";
        assert_eq!(personal(innocent.as_bytes(), &village), None);
    }

    #[test]
    fn a_file_in_a_deep_directory_is_searched_too() {
        let directory = tempfile::tempdir().unwrap();
        let village = village();
        let deep = directory.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(directory.path().join("clean"), b"nothing").unwrap();
        assert_eq!(personal_in_files(directory.path(), &village).unwrap(), None);
        fs::write(deep.join("spool"), village[3].number.as_bytes()).unwrap();
        let found = personal_in_files(directory.path(), &village).unwrap();
        assert!(found.unwrap().contains("number of person 3"));
    }

    #[test]
    fn the_village_is_twelve_people_with_right_check_digits() {
        let village = village();
        assert_eq!(village.len(), 12);
        // Numbers that stand elsewhere in this repository.
        assert_eq!(with_check_digit("44010019900101123"), "440100199001011237");
        assert_eq!(with_luhn_digit("622202000000000000"), "6222020000000000000");
        for villager in &village {
            assert_eq!(villager.number.len(), 18);
            assert!(villager.card().birth.is_some());
        }
    }
}
