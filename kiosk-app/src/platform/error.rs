//! Why the platform gave no usable answer, sorted by what the terminal does next. Nobody's fault
//! (line, platform, rights) is kept apart from a refusal of what was sent, because only the latter
//! may ever cost a transaction its place in the line.

use std::time::Duration;

use super::messages::{self, ProblemReply};

/// Longest pause a platform may ask for (`design.md` §6); a longer one is cut to it.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_mins(15);

/// Why the platform gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// The client or its thread cannot be made.
    #[error("the platform thread cannot be started")]
    Start(#[source] std::io::Error),
    /// The store does not give the platform thread a connection.
    #[error("the platform thread has no connection to the store")]
    Store(#[source] offline_cache::CacheError),
    /// The configuration is wrong.
    #[error("platform.{key}: {message}")]
    Configuration {
        /// The key in `kiosk.toml`.
        key: String,
        /// What is expected.
        message: &'static str,
    },
    /// The device key does not sign now.
    #[error("the device key cannot sign the request")]
    Signature(#[source] kiosk_sealing::KeyError),
    /// No connection.
    #[error("the platform cannot be reached")]
    Unreachable,
    /// The answer did not come in time.
    #[error("the platform is too slow")]
    Slow,
    /// The connection broke after the request had begun; it may have taken effect.
    #[error("the connection to the platform broke before the answer was whole")]
    Cut,
    /// The answer makes no sense.
    #[error("the platform's reply cannot be understood: {0}")]
    BadReply(&'static str),
    /// The platform failed (5xx).
    #[error("the platform failed with status {status}")]
    Server {
        /// HTTP status.
        status: u16,
        /// Seconds it asked to wait.
        retry_after_s: Option<u64>,
    },
    /// The platform does not serve us now (401, 403, 408, 425, 429): nobody's fault here.
    #[error("the platform does not serve this terminal now, status {status}, code {code:?}")]
    NotNow {
        /// HTTP status.
        status: u16,
        /// The platform's code, such as `signature.unknown-key`; may be empty.
        code: String,
        /// Seconds it asked to wait.
        retry_after_s: Option<u64>,
    },
    /// The platform has taken this terminal out of service. It counts as being without a line:
    /// nothing is sent, and nothing is lost, until it is served again.
    #[error("the platform has taken this terminal out of service")]
    Revoked,
    /// The platform refused the request itself (other 4xx).
    #[error("the platform refused the request with status {status}, code {code:?}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The platform's code; empty when the refusal was not in the words of the contract.
        code: String,
        /// The platform's sentence for the citizen; never logged.
        words: Words,
    },
    /// A document whose seal is not valid must not be printed.
    #[error("the seal of the document is not valid: {0}")]
    Seal(&'static str),
}

/// Words for the citizen; they may name the citizen, so `Debug` hides them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words(pub(super) String);

impl Words {
    /// The words, for the screen of the visitor or the staff; never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl PlatformError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start(_) => "platform.start",
            Self::Store(error) => error.code(),
            Self::Configuration { .. } => "platform.configuration",
            Self::Signature(_) => "platform.cannot-sign",
            Self::Unreachable => "platform.unreachable",
            Self::Slow => "platform.slow",
            Self::Cut => "platform.cut",
            Self::BadReply(_) => "platform.bad-reply",
            Self::Server { .. } => "platform.server-error",
            Self::NotNow { .. } => "platform.not-now",
            Self::Revoked => "platform.revoked",
            Self::Refused { .. } => "platform.refused",
            Self::Seal(_) => "platform.seal-invalid",
        }
    }

    /// The platform's own sentence for the citizen; empty when it gave none.
    pub fn words(&self) -> &str {
        if let Self::Refused { words, .. } = self {
            &words.0
        } else {
            ""
        }
    }

    /// How long the platform asked to wait, [`RETRY_AFTER_MAX`] at most.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let (Self::Server { retry_after_s, .. } | Self::NotNow { retry_after_s, .. }) = self else {
            return None;
        };
        retry_after_s.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    }

    /// The error that a status other than 2xx means, with the problem document that came with it.
    /// A function of outside bytes: it never fails and keeps nothing overlong.
    pub fn from_reply(status: u16, retry_after_s: Option<u64>, body: &[u8]) -> Self {
        if messages::is_revocation(status, body) {
            return Self::Revoked;
        }
        let ProblemReply { code, detail, .. } = messages::problem(body);
        match status {
            500..=599 => Self::Server {
                status,
                retry_after_s,
            },
            401 | 403 | 408 | 425 | 429 => Self::NotNow {
                status,
                code,
                retry_after_s,
            },
            400..=499 => Self::Refused {
                status,
                code,
                words: Words(detail),
            },
            _ => Self::BadReply("a redirect or an unknown status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whose_fault_it_is() {
        for (status, code) in [
            (500, "platform.server-error"),
            (503, "platform.server-error"),
            (401, "platform.not-now"),
            (403, "platform.not-now"),
            (408, "platform.not-now"),
            (429, "platform.not-now"),
            (400, "platform.refused"),
            (413, "platform.refused"),
            (301, "platform.bad-reply"),
            (999, "platform.bad-reply"),
        ] {
            assert_eq!(PlatformError::from_reply(status, None, b"").code(), code);
        }
    }

    #[test]
    fn a_terminal_out_of_service_is_told_from_one_that_is_not_known() {
        let body = br#"{"code":"terminal.revoked"}"#;
        let error = PlatformError::from_reply(403, None, body);
        assert_eq!(error.code(), "platform.revoked");
        let error = PlatformError::from_reply(401, None, body);
        assert_eq!(error.code(), "platform.not-now");
    }

    #[test]
    fn words_for_the_citizen_never_reach_a_log() {
        let body = br#"{"code":"case.refused","detail":"SECRET"}"#;
        let error = PlatformError::from_reply(422, None, body);
        assert_eq!(error.words(), "SECRET");
        assert!(!format!("{error:?} {error}").contains("SECRET"));
    }

    #[test]
    fn nobody_is_made_to_wait_longer_than_a_quarter_of_an_hour() {
        let error = PlatformError::from_reply(503, Some(u64::MAX), b"");
        assert_eq!(error.retry_after(), Some(RETRY_AFTER_MAX));
    }
}
