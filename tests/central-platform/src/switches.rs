//! The switches a test or a person turns: what goes wrong, and what the face comparison says.

use serde::{Deserialize, Serialize};

/// What the platform does wrong, to every request of the contract, until it is switched off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
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
    /// Some answers are this status, without any effect; then the fault ends by itself.
    Burst {
        /// How many.
        requests: u32,
        /// HTTP status, 400 to 599.
        status: u16,
    },
    /// Every answer is 200 with bytes that are no JSON, without any effect.
    Rubbish,
    /// No answer comes, and nothing takes effect.
    Timeout,
    /// The effect happens, and the connection is cut before the answer.
    DropAfterCommit,
    /// The effect happens, half of the answer is sent, and the sending side alone is closed.
    HalfClosed,
    /// Every answer is 200 with JSON that does not end, without any effect.
    EndlessReply,
    /// The results of a batch come in the opposite order.
    ReorderedResults,
    /// Every result of a batch is for an id that nobody sent; the effects happen.
    UnknownIds,
    /// Every result of a batch comes twice.
    DoubledResults,
    /// The results of a batch are followed by a thousand for ids that nobody sent.
    TooManyResults,
    /// A batch is answered with `accepted`, twice for each id, whether it was new or known. What
    /// was refused stays refused, so that nothing is lost by the fault itself.
    AcceptTwice,
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

impl Switches {
    /// The fault of the next request; a burst becomes shorter by it.
    pub(crate) fn next_fault(&mut self) -> Fault {
        let Fault::Burst { requests, status } = self.fault else {
            return self.fault;
        };
        let Some(left) = requests.checked_sub(1) else {
            self.fault = Fault::None;
            return Fault::None;
        };
        self.fault = match left {
            0 => Fault::None,
            requests => Fault::Burst { requests, status },
        };
        Fault::Status { status }
    }
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

    #[test]
    fn a_burst_ends_by_itself() {
        let mut switches = Switches {
            fault: Fault::Burst {
                requests: 2,
                status: 503,
            },
            ..Switches::default()
        };
        let bad = Fault::Status { status: 503 };
        assert_eq!(switches.next_fault(), bad);
        assert_eq!(switches.next_fault(), bad);
        assert_eq!(switches.next_fault(), Fault::None);
        switches.fault = Fault::Burst {
            requests: 0,
            status: 503,
        };
        assert_eq!(switches.next_fault(), Fault::None);
    }
}
