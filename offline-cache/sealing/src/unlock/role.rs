//! Roles and scopes: as what somebody comes in, and what they may do. A permission may narrow what
//! its role has, never widen it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a word names no role or scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// No role.
    #[error("a role is village-staff, technician, vendor or inspector")]
    Role,
    /// No scope.
    #[error("a scope is help, day, paper, test, mend, queue, update, evidence or configure")]
    Scope,
}

/// As what somebody comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Paper, the day, help.
    VillageStaff,
    /// Everything but the office's settings.
    Technician,
    /// Tests and repairs.
    Vendor,
    /// Looks, changes nothing.
    Inspector,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::VillageStaff,
        Self::Technician,
        Self::Vendor,
        Self::Inspector,
    ];

    /// What the role may do at most.
    pub fn scopes(self) -> BTreeSet<Scope> {
        let scopes: &[Scope] = match self {
            Self::VillageStaff => &[Scope::Help, Scope::Day, Scope::Paper],
            Self::Technician => &[
                Scope::Help,
                Scope::Day,
                Scope::Paper,
                Scope::Test,
                Scope::Mend,
                Scope::Queue,
                Scope::Update,
                Scope::Evidence,
            ],
            Self::Vendor => &[Scope::Help, Scope::Test, Scope::Mend],
            Self::Inspector => &[Scope::Help, Scope::Evidence],
        };
        scopes.iter().copied().collect()
    }

    fn word(self) -> &'static str {
        match self {
            Self::VillageStaff => "village-staff",
            Self::Technician => "technician",
            Self::Vendor => "vendor",
            Self::Inspector => "inspector",
        }
    }

    /// Its number in signed words; never reused.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::VillageStaff => 1,
            Self::Technician => 2,
            Self::Vendor => 3,
            Self::Inspector => 4,
        }
    }

    pub(super) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl FromStr for Role {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.word() == text)
            .ok_or(WordError::Role)
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See how devices are, let a visit be left.
    Help,
    /// Daily checks.
    Day,
    /// Consumables.
    Paper,
    /// Guided tests.
    Test,
    /// Repairs.
    Mend,
    /// The queue.
    Queue,
    /// Updates from a stick.
    Update,
    /// Read-only exports.
    Evidence,
    /// Settings.
    Configure,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Help,
        Self::Day,
        Self::Paper,
        Self::Test,
        Self::Mend,
        Self::Queue,
        Self::Update,
        Self::Evidence,
        Self::Configure,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Help => "help",
            Self::Day => "day",
            Self::Paper => "paper",
            Self::Test => "test",
            Self::Mend => "mend",
            Self::Queue => "queue",
            Self::Update => "update",
            Self::Evidence => "evidence",
            Self::Configure => "configure",
        }
    }

    /// Its number in signed words; never reused.
    pub(super) fn number(self) -> u64 {
        match self {
            Self::Help => 1,
            Self::Day => 2,
            Self::Paper => 3,
            Self::Test => 4,
            Self::Mend => 5,
            Self::Queue => 6,
            Self::Update => 7,
            Self::Evidence => 8,
            Self::Configure => 9,
        }
    }

    pub(super) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.number() == number)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

impl FromStr for Scope {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.word() == text)
            .ok_or(WordError::Scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_name_one_each() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
            assert_eq!(Role::from_number(role.number()), Some(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
        }
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
            assert_eq!(Scope::from_number(scope.number()), Some(scope));
            assert_eq!(
                serde_json::to_string(&scope).unwrap(),
                format!("\"{scope}\"")
            );
        }
        assert_eq!(Role::from_number(0), None);
        assert_eq!(Scope::from_number(10), None);
        assert_eq!("Technician".parse::<Role>(), Err(WordError::Role));
        assert_eq!("".parse::<Scope>(), Err(WordError::Scope));
    }

    #[test]
    fn nobody_but_the_office_sets_up_a_terminal_and_an_inspector_changes_nothing() {
        for role in Role::ALL {
            assert!(!role.scopes().contains(&Scope::Configure), "{role}");
            assert!(role.scopes().contains(&Scope::Help), "{role}");
        }
        assert_eq!(
            Role::Inspector.scopes(),
            BTreeSet::from([Scope::Help, Scope::Evidence])
        );
    }
}
