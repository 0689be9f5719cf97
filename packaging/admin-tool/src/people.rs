//! The people file of an operator: who may be permitted to come in, as what, and what is kept of
//! their PINs. JSON, mode 0600; PINs themselves are in it nowhere.

use std::path::Path;

use kiosk_sealing::unlock::{PERSON_BYTES_MAX, PinError, PinVerifier, Role};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

/// The format that this tool reads and writes.
const FORMAT: u32 = 1;
/// Largest people file in bytes: ten thousand people with the longest names.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most people; chosen, above every county.
const PEOPLE_MAX: usize = 10_000;

/// Why the people file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// It is no people file of this format.
    #[error("the file is no people file of format {FORMAT}")]
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

/// All of them, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    people: Vec<Person>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    people: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    role: Role,
    pin: String,
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
        if file.format != FORMAT || file.people.len() > PEOPLE_MAX {
            return Err(PeopleError::Malformed);
        }
        let mut people = Self::default();
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
        };
        let text = serde_json::to_string_pretty(&file).map_err(|_| PeopleError::Malformed)?;
        Ok(files::write_result(path, text + "\n")?)
    }

    /// Adds somebody, or replaces somebody of the same name.
    ///
    /// # Errors
    /// `Name`, `Exists`, `Full`.
    pub fn add(&mut self, person: Person, replace: bool) -> Result<(), PeopleError> {
        let name = &person.name;
        let is_name = (1..=PERSON_BYTES_MAX).contains(&name.len())
            && name.trim() == name
            && !name.chars().any(char::is_control);
        if !is_name {
            return Err(PeopleError::Name);
        }
        if let Some(known) = self.people.iter_mut().find(|known| known.name == *name) {
            if !replace {
                return Err(PeopleError::Exists { name: name.clone() });
            }
            *known = person;
            return Ok(());
        }
        if self.people.len() >= PEOPLE_MAX {
            return Err(PeopleError::Full);
        }
        self.people.push(person);
        Ok(())
    }

    /// Finds somebody by name.
    ///
    /// # Errors
    /// `Unknown`.
    pub fn find(&self, name: &str) -> Result<&Person, PeopleError> {
        self.people
            .iter()
            .find(|person| person.name == name)
            .ok_or_else(|| PeopleError::Unknown {
                name: name.to_owned(),
            })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Person> {
        self.people.iter()
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
    fn what_is_no_people_file_is_refused() {
        let good = r#"{"format":1,"people":[{"name":"a","role":"vendor","pin":"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA"}]}"#;
        assert_eq!(People::parse(good.as_bytes()).unwrap().iter().count(), 1);
        let line = &good[22..good.len() - 2];
        for text in [
            String::new(),
            "{}".to_owned(),
            good.replace("\"format\":1", "\"format\":2"),
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
