//! Why an update was not believed, in variants for what the operator can do about it. Messages hold
//! names of files and roles, never contents.

use std::io;

use super::Role;

/// Why bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no such file. Alone among these it is an answer and not a failure.
    #[error("there is no such file")]
    NotFound,
    /// More bytes came than such a file may have.
    #[error("more than {bytes_max} bytes came")]
    TooLong {
        /// Most bytes that were wanted.
        bytes_max: u64,
    },
    /// Fewer bytes came than even the thinnest line brings.
    #[error("fewer than {bytes_min} bytes came in {window_s} seconds")]
    TooSlow {
        /// Least bytes of a window.
        bytes_min: u64,
        /// Length of the window in seconds.
        window_s: u64,
    },
    /// The server answered, but with neither the file nor its absence.
    #[error("the server answered {status}")]
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// The line failed.
    #[error("the line failed")]
    Line(#[source] reqwest::Error),
    /// Somebody answers who is not the operator's server, or whose certificate has ended.
    #[error("the server's certificate is not one that the configured authority vouches for")]
    NotBelieved,
    /// A name that no repository of ours has.
    #[error("the name of a file is not usable")]
    Name,
    /// More files were asked for than a repository has.
    #[error("the repository asks for too many files")]
    TooMany,
    /// An address or a certificate of the configuration cannot be used.
    #[error("{0}")]
    Configuration(&'static str),
    /// The stick, or the file that takes the bytes, failed.
    #[error("reading or writing failed")]
    Io(#[from] io::Error),
}

impl TransportError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "update.file-missing",
            Self::TooLong { .. } => "update.too-long",
            Self::TooSlow { .. } => "update.too-slow",
            Self::Refused { .. } | Self::Line(_) => "update.unreachable",
            Self::NotBelieved => "update.server-not-believed",
            Self::Name | Self::TooMany => "update.malformed",
            Self::Configuration(_) => "update.configuration",
            Self::Io(error) => code_of_disk(error),
        }
    }
}

/// What is wrong with a disk: room can be made, anything else cannot.
fn code_of_disk(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::StorageFull {
        "update.no-room"
    } else {
        "update.storage"
    }
}

/// Longest chain of causes that is told; none of ours is longer.
const CAUSES_MAX: usize = 4;

/// An error in words, with what is behind it.
pub fn told(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut behind = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(source) = behind else { break };
        words = format!("{words}: {source}");
        behind = source.source();
    }
    words
}

/// Why an update was not believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Bytes did not come; nothing is wrong with what was believed before.
    #[error("{role} metadata did not come")]
    Transport {
        /// Whose file.
        role: Role,
        /// Why.
        source: TransportError,
    },
    /// A file of the repository is missing.
    #[error("{role} metadata is missing from the repository")]
    Missing {
        /// Whose file.
        role: Role,
    },
    /// Too few of the right keys signed.
    #[error("{role} metadata is not signed by enough of its keys")]
    Unsigned {
        /// Whose file.
        role: Role,
    },
    /// A version that was believed before would come back.
    #[error("{role} metadata is older than what was believed before")]
    RolledBack {
        /// Whose file.
        role: Role,
    },
    /// Files that do not belong together.
    #[error("{role} metadata is not the one that the others name")]
    Mixed {
        /// Whose file.
        role: Role,
    },
    /// A file that is no metadata.
    #[error("{role} metadata cannot be read")]
    Malformed {
        /// Whose file.
        role: Role,
    },
    /// Its time is over: perhaps somebody holds newer ones back.
    #[error("{role} metadata has expired")]
    Expired {
        /// Whose file.
        role: Role,
    },
    /// The clock is years beyond anything that was ever signed.
    #[error("the clock is years ahead of everything that was signed")]
    ClockAhead,
    /// The newest root that was believed is not offered: an old copy, or one that is held back.
    #[error("the repository holds back root {wanted}")]
    RootDelayed {
        /// Version that was believed before.
        wanted: u64,
    },
    /// One key stands under two names in one role, and would count twice.
    #[error("{role} lists one key twice")]
    KeyTwice {
        /// The role.
        role: Role,
    },
    /// The root that came with the program cannot be used.
    #[error("the root that came with the program cannot be used")]
    PinnedRoot,
    /// The trusted list has no such file.
    #[error("the operator has signed no file of this name")]
    NoTarget,
    /// A file is not the one that was signed.
    #[error("a file is not the one that was signed")]
    WrongTarget,
    /// A file did not come.
    #[error("a signed file did not come")]
    TargetTransport(#[source] TransportError),
    /// What was believed before is unreadable in both copies; only a signed order opens it again.
    #[error("what was believed before cannot be read")]
    StoreDamaged,
    /// The disk failed.
    #[error("what is believed cannot be kept")]
    Store(#[source] io::Error),
    /// An order of repair that is not to be obeyed.
    #[error("the order of repair is not valid: {0}")]
    Repair(&'static str),
    /// No thread or runtime could be had.
    #[error("the check could not be run")]
    Run(#[source] io::Error),
}

impl TrustError {
    /// Stable problem code, explained in the list of problems. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Transport { source, .. } | Self::TargetTransport(source) => source.code(),
            Self::Missing { .. } => "update.metadata-missing",
            Self::Unsigned { .. } => "update.unsigned",
            Self::RolledBack { .. } => "update.rolled-back",
            Self::Mixed { .. } => "update.mixed",
            Self::Malformed { .. } => "update.malformed",
            Self::Expired { .. } => "update.metadata-expired",
            Self::ClockAhead => "update.clock-ahead",
            Self::RootDelayed { .. } => "update.root-delayed",
            Self::KeyTwice { .. } => "update.key-twice",
            Self::PinnedRoot => "update.root-unusable",
            Self::NoTarget => "update.target-missing",
            Self::WrongTarget => "update.target-wrong",
            Self::StoreDamaged => "update.store-damaged",
            Self::Store(error) => code_of_disk(error),
            Self::Repair(_) => "update.repair-refused",
            Self::Run(_) => "update.not-run",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_one_that_fails() {
        for (kind, code) in [
            (io::ErrorKind::StorageFull, "update.no-room"),
            (io::ErrorKind::PermissionDenied, "update.storage"),
        ] {
            assert_eq!(TrustError::Store(kind.into()).code(), code);
            let part = TransportError::Io(kind.into());
            assert_eq!(TrustError::TargetTransport(part).code(), code);
        }
    }

    #[test]
    fn an_error_is_told_with_its_cause() {
        let error = TrustError::Transport {
            role: Role::Timestamp,
            source: TransportError::NotBelieved,
        };
        let words = told(&error);
        assert!(
            words.contains("did not come: the server's certificate"),
            "{words}"
        );
    }
}
