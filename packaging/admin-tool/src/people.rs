//! The people file of an operator: who may be permitted to come in, as what, and what is kept of
//! their PINs. JSON, mode 0600; PINs themselves are in it nowhere.
//!
//! Whoever is removed leaves a name, a role and a date behind: audit logs name accounts for years, and
//! an account that somebody else gets would change what they say.

use std::path::Path;

use jiff::civil::Date;
use kiosk_sealing::unlock::{PERSON_BYTES_MAX, PinError, PinVerifier, Role};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// The format that this tool writes.
const FORMAT: u32 = 2;
/// The oldest that it reads; nobody is removed in it.
const FORMAT_MIN: u32 = 1;
/// Largest people file in bytes: ten thousand people with the longest names.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most people; chosen, above every county.
const PEOPLE_MAX: usize = 10_000;

/// Why the people file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// It is no people file of a format that is known here.
    #[error("the file is no people file of format {FORMAT_MIN} to {FORMAT}")]
    Malformed,
    /// A name is empty, too long, or holds what a name does not.
    #[error(
        "a name has 1 to {PERSON_BYTES_MAX} bytes, no space around it and no control characters"
    )]
    Name,
    /// The person is there already.
    #[error("{name} is in the file already; --replace gives them a new PIN and role")]
    Exists {
        /// Name of the account.
        name: String,
    },
    /// The person is not there.
    #[error("{name} is not in the people file; add them with `kiosk-admin person add`")]
    Unknown {
        /// Name of the account.
        name: String,
    },
    /// The person was removed.
    #[error("{name} was removed on {on}; audit logs name them, so choose another name")]
    Removed {
        /// Name of the account.
        name: String,
        /// When.
        on: Date,
    },
    /// No more fit.
    #[error("the people file holds {PEOPLE_MAX} people at most")]
    Full,
    /// The PIN is no good.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Somebody who may be permitted to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Name of the account.
    pub name: String,
    /// As what at most.
    pub role: Role,
    /// What is kept of the PIN.
    pub pin: PinVerifier,
}

/// Somebody who may no longer be permitted to come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Name of the account, which nobody gets again.
    pub name: String,
    /// As what they came in.
    pub role: Role,
    /// Since when they may not.
    pub on: Date,
}

/// All of them, in the order in which they were added, and those who were removed, in the order in
/// which they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    people: Vec<Person>,
    removed: Vec<Removed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    people: Vec<Line>,
    #[serde(default)]
    removed: Vec<RemovedLine>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    role: Role,
    pin: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RemovedLine {
    name: String,
    role: Role,
    on: Date,
}

impl People {
    /// Reads the file.
    ///
    /// # Errors
    /// `Malformed`, `File`.
    pub fn read(path: &Path) -> Result<Self, PeopleError> {
        Self::parse(&files::read_private(path, FILE_BYTES_MAX)?)
    }

    /// Reads the file, or begins a new one where there is none.
    ///
    /// # Errors
    /// `Malformed`, `File`.
    pub fn read_or_begin(path: &Path) -> Result<Self, PeopleError> {
        if path.exists() {
            Self::read(path)
        } else {
            Ok(Self::default())
        }
    }

    /// Reads the content of a people file.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn parse(bytes: &[u8]) -> Result<Self, PeopleError> {
        let file: File = serde_json::from_slice(bytes).map_err(|_| PeopleError::Malformed)?;
        let is_known = (FORMAT_MIN..=FORMAT).contains(&file.format);
        if !is_known || file.people.len() + file.removed.len() > PEOPLE_MAX {
            return Err(PeopleError::Malformed);
        }
        let mut people = Self::default();
        for RemovedLine { name, role, on } in file.removed {
            people
                .check_new(&name)
                .map_err(|_| PeopleError::Malformed)?;
            people.removed.push(Removed { name, role, on });
        }
        for line in file.people {
            let person = Person {
                pin: line.pin.parse().map_err(|_| PeopleError::Malformed)?,
                name: line.name,
                role: line.role,
            };
            people
                .add(person, false)
                .map_err(|_| PeopleError::Malformed)?;
        }
        Ok(people)
    }

    /// Writes the file whole, in place of the earlier one.
    ///
    /// # Errors
    /// `File`.
    pub fn write(&self, path: &Path) -> Result<(), PeopleError> {
        let file = File {
            format: FORMAT,
            people: self
                .people
                .iter()
                .map(|person| Line {
                    name: person.name.clone(),
                    role: person.role,
                    pin: person.pin.to_text(),
                })
                .collect(),
            removed: self
                .removed
                .iter()
                .map(|removed| RemovedLine {
                    name: removed.name.clone(),
                    role: removed.role,
                    on: removed.on,
                })
                .collect(),
        };
        let text = serde_json::to_string_pretty(&file).map_err(|_| PeopleError::Malformed)?;
        Ok(files::write_result(path, text + "\n")?)
    }

    /// Adds somebody, or replaces somebody of the same name.
    ///
    /// # Errors
    /// `Name`, `Exists`, `Removed`, `Full`.
    pub fn add(&mut self, person: Person, replace: bool) -> Result<(), PeopleError> {
        let is_same = |known: &&mut Person| replace && known.name == person.name;
        if let Some(known) = self.people.iter_mut().find(is_same) {
            *known = person;
            return Ok(());
        }
        self.check_new(&person.name)?;
        self.people.push(person);
        Ok(())
    }

    /// Whether somebody of this name can be added.
    ///
    /// # Errors
    /// `Name`, `Exists`, `Removed`, `Full`.
    pub fn check_new(&self, name: &str) -> Result<(), PeopleError> {
        let is_name = (1..=PERSON_BYTES_MAX).contains(&name.len())
            && name.trim() == name
            && !name.chars().any(char::is_control);
        if !is_name {
            return Err(PeopleError::Name);
        }
        let Err(error) = self.find(name) else {
            let name = name.to_owned();
            return Err(PeopleError::Exists { name });
        };
        if matches!(error, PeopleError::Removed { .. }) {
            return Err(error);
        }
        if self.people.len() + self.removed.len() >= PEOPLE_MAX {
            return Err(PeopleError::Full);
        }
        Ok(())
    }

    /// Removes somebody: what was kept of the PIN is gone, the name stays.
    ///
    /// # Errors
    /// `Unknown`, `Removed`.
    pub fn remove(&mut self, name: &str, on: Date) -> Result<Removed, PeopleError> {
        let removed = Removed {
            name: name.to_owned(),
            role: self.find(name)?.role,
            on,
        };
        self.people.retain(|person| person.name != name);
        self.removed.push(removed.clone());
        Ok(removed)
    }

    /// Finds somebody by name.
    ///
    /// # Errors
    /// `Unknown`, `Removed`.
    pub fn find(&self, name: &str) -> Result<&Person, PeopleError> {
        if let Some(person) = self.people.iter().find(|person| person.name == name) {
            return Ok(person);
        }
        let removed = self.removed.iter().find(|removed| removed.name == name);
        let name = name.to_owned();
        Err(match removed {
            Some(removed) => PeopleError::Removed {
                name,
                on: removed.on,
            },
            None => PeopleError::Unknown { name },
        })
    }

    /// Whether somebody has this name, or had it.
    pub fn is_known(&self, name: &str) -> bool {
        !matches!(self.find(name), Err(PeopleError::Unknown { .. }))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Person> {
        self.people.iter()
    }

    /// Those who were removed.
    pub fn removed(&self) -> impl Iterator<Item = &Removed> {
        self.removed.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, role: Role) -> Person {
        let pin = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA";
        Person {
            name: name.to_owned(),
            role,
            pin: pin.parse().unwrap(),
        }
    }

    #[test]
    fn people_survive_their_file_which_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("people.json");
        let mut people = People::read_or_begin(&path).unwrap();
        people
            .add(person("测试一", Role::Technician), false)
            .unwrap();
        people
            .add(person("inspector-1", Role::Inspector), false)
            .unwrap();
        people.write(&path).unwrap();
        assert_eq!(People::read_or_begin(&path).unwrap(), people);
        assert_eq!(people.find("测试一").unwrap().role, Role::Technician);
        assert!(matches!(
            people.find("nobody"),
            Err(PeopleError::Unknown { .. })
        ));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        assert!(matches!(
            People::read(&path),
            Err(PeopleError::File(FileError::Loose { .. }))
        ));
    }

    #[test]
    fn a_name_stands_once_and_is_replaced_only_on_purpose() {
        let mut people = People::default();
        people.add(person("a", Role::Vendor), false).unwrap();
        let again = person("a", Role::Technician);
        assert!(matches!(
            people.add(again.clone(), false),
            Err(PeopleError::Exists { .. })
        ));
        people.add(again, true).unwrap();
        assert_eq!(people.find("a").unwrap().role, Role::Technician);
        assert_eq!(people.iter().count(), 1);
        for name in ["", " a", "a\nb", &"a".repeat(65)] {
            assert!(matches!(
                people.add(person(name, Role::Vendor), false),
                Err(PeopleError::Name)
            ));
        }
    }

    #[test]
    fn whoever_is_removed_is_named_with_the_date_and_never_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("people.json");
        let mut people = People::default();
        people
            .add(person("测试一", Role::Technician), false)
            .unwrap();
        people.add(person("b", Role::Vendor), false).unwrap();
        let on = Date::constant(2026, 11, 22);
        let removed = people.remove("测试一", on).unwrap();
        assert_eq!((removed.role, removed.on), (Role::Technician, on));
        people.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("argon2id").count(), 1, "only that of b");
        let mut people = People::read(&path).unwrap();
        assert_eq!(people.removed().next().unwrap().name, "测试一");
        assert_eq!(people.iter().count(), 1);
        for error in [
            people.find("测试一").unwrap_err(),
            people.remove("测试一", on).unwrap_err(),
            people
                .add(person("测试一", Role::Vendor), true)
                .unwrap_err(),
        ] {
            assert!(matches!(error, PeopleError::Removed { .. }), "{error}");
            assert!(error.to_string().contains("2026-11-22"), "{error}");
        }
        assert!(people.is_known("测试一") && people.is_known("b"));
        assert!(!people.is_known("nobody"));
        // Nobody is there and gone at once.
        let both = text.replace("\"name\": \"b\"", "\"name\": \"测试一\"");
        assert_ne!(both, text);
        assert!(People::parse(both.as_bytes()).is_err());
    }

    #[test]
    fn what_is_no_people_file_is_refused() {
        let good = r#"{"format":1,"people":[{"name":"a","role":"vendor","pin":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA"}]}"#;
        assert_eq!(People::parse(good.as_bytes()).unwrap().iter().count(), 1);
        let line = &good[22..good.len() - 2];
        for text in [
            String::new(),
            "{}".to_owned(),
            good.replace("\"format\":1", "\"format\":0"),
            good.replace("\"format\":1", "\"format\":3"),
            good.replace("vendor", "king"),
            good.replace("m=19456", "m=99999"),
            good.replace(line, &format!("{line},{line}")),
        ] {
            assert!(matches!(
                People::parse(text.as_bytes()),
                Err(PeopleError::Malformed)
            ));
        }
    }
}
