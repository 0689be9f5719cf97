//! The switches a test or a person turns: what goes wrong, and what the face comparison says.

use serde::{Deserialize, Serialize};

/// What the platform does wrong, to every request of the contract, until it is switched off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Every answer is late.
    Slow {
        /// By how much, in milliseconds; ten seconds at most.
        ms: u32,
    },
    /// Every answer is this status, without any effect.
    Status {
        /// HTTP status, 400 to 599.
        status: u16,
    },
    /// Every answer is 200 with bytes that are no JSON, without any effect.
    Rubbish,
    /// No answer comes, and nothing takes effect.
    Timeout,
    /// The effect happens, and the connection is cut before the answer.
    DropAfterCommit,
}

/// What a face comparison answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaceAnswer {
    /// The face belongs to the identity.
    #[default]
    Match,
    /// It is another face.
    Mismatch,
    /// There is no face in the picture.
    NoFace,
    /// There is more than one.
    SeveralFaces,
    /// The comparison is out of order.
    Unavailable,
}

impl FaceAnswer {
    /// Likeness from 0 to 1 that goes with the answer.
    pub(crate) fn score(self) -> f64 {
        match self {
            Self::Match => 0.93,
            Self::Mismatch => 0.31,
            Self::NoFace | Self::SeveralFaces | Self::Unavailable => 0.0,
        }
    }
}

/// The switches as they stand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Switches {
    pub(crate) fault: Fault,
    pub(crate) face: FaceAnswer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_spelled_as_documented() {
        let read = |text| serde_json::from_str::<Fault>(text).unwrap();
        assert_eq!(read(r#"{"fault":"none"}"#), Fault::None);
        assert_eq!(read(r#"{"fault":"slow","ms":5}"#), Fault::Slow { ms: 5 });
        assert_eq!(
            read(r#"{"fault":"drop-after-commit"}"#),
            Fault::DropAfterCommit
        );
        assert!(serde_json::from_str::<Fault>(r#"{"fault":"slow"}"#).is_err());
    }
}
