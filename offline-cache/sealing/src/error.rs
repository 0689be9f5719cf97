//! Why sealing, opening or a key failed. Variants are what a caller can do differently; none
//! carries content, key material or personal data.

use std::io;
use std::path::PathBuf;

use crate::Algorithm;

/// Why an envelope was not made or not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// The content is larger than an envelope may be; nothing was sealed.
    #[error("{bytes} bytes are more than an envelope holds ({bytes_max})")]
    TooLarge {
        /// Size offered, in bytes.
        bytes: usize,
        /// Largest size, in bytes.
        bytes_max: usize,
    },
    /// The envelope is for a key that is not among those given. Ask for the key; the envelope
    /// itself may be sound.
    #[error("the envelope is for key {key_id}, which is not held here")]
    UnknownKey {
        /// Id of the key it was sealed to.
        key_id: String,
    },
    /// The envelope ends early.
    #[error("the envelope is cut short")]
    Truncated,
    /// The bytes are not an envelope of a version known here.
    #[error("the bytes are not an envelope of a known version")]
    Malformed,
    /// The envelope was altered, or belongs to another context.
    #[error("the envelope was altered or belongs elsewhere")]
    Forged,
    /// A text is not a key of the form `suite:base64url`.
    #[error("the text is not a sealing key of a known suite")]
    BadKey,
    /// A suite word is not known here.
    #[error("the suite is neither intl nor gm")]
    UnknownSuite,
    /// The system gave no randomness; nothing was sealed.
    #[error("the system gives no randomness")]
    Random,
}

impl SealingError {
    /// Stable problem code, explained in `kiosk-app/problems.toml`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "envelope.too-large",
            Self::UnknownKey { .. } => "envelope.unknown-key",
            Self::Truncated => "envelope.truncated",
            Self::Malformed => "envelope.malformed",
            Self::Forged => "envelope.forged",
            Self::BadKey => "envelope.bad-key",
            Self::UnknownSuite => "envelope.unknown-suite",
            Self::Random => "envelope.no-randomness",
        }
    }
}

/// Why a compact signed word (a QR of staff or of a terminal) could not even be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It does not begin as the words of this kind do.
    #[error("it does not begin with {expected}")]
    Prefix {
        /// What it should begin with.
        expected: &'static str,
    },
    /// Letters that Base45 (RFC 9285) does not have, or not in that order.
    #[error("it has letters that do not belong there, or lacks some")]
    NotBase45,
    /// It ends early.
    #[error("it is cut short")]
    Truncated,
    /// Something follows the end.
    #[error("something follows its end")]
    TrailingBytes,
    /// An array, map or string that does not say how long it is.
    #[error("a part does not say how long it is")]
    IndefiniteLength,
    /// A number or a length that takes more bytes than it needs.
    #[error("a number takes more bytes than it needs")]
    NotShortest,
    /// A key that occurs twice in a map.
    #[error("a field occurs twice")]
    DuplicateKey,
    /// Keys of a map, or values of a set, that are not in their one order.
    #[error("the fields are not in order")]
    KeyOrder,
    /// Another type than the field has.
    #[error("a field has another type than it should")]
    UnexpectedType,
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    NotText,
    /// A field that this program does not know.
    #[error("it has a field that is not known here")]
    UnknownField,
    /// A field that is not there.
    #[error("the field {field} is missing")]
    MissingField {
        /// Which.
        field: &'static str,
    },
    /// A value that the field cannot have.
    #[error("the field {field} has a value that it cannot have")]
    OutOfRange {
        /// Which.
        field: &'static str,
    },
    /// Headers that do not say how it is signed.
    #[error("it does not say how it is signed")]
    NoAlgorithm,
    /// An algorithm that is not known here.
    #[error("it is signed in a way that is not known here")]
    UnknownAlgorithm,
    /// Headers that do not say by which key it is signed.
    #[error("it does not say who signed it")]
    NoKeyId,
    /// A list of headers that must be understood; this profile has none.
    #[error("it asks for something that is not understood here")]
    CriticalHeader,
    /// A header outside this profile.
    #[error("it has a header that is not known here")]
    UnknownHeader,
    /// The letters were mistyped: the check in it does not fit.
    #[error("it was mistyped: its check does not fit")]
    Check,
}

/// Why the key of the device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read or written.
    #[error("the key file {path} cannot be read or written")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds no key. It is never overwritten: it may be the only copy.
    #[error("{path} is damaged; restore it, or remove it to make the terminal a new one")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file is sealed by a passphrase, which nobody can type when a terminal starts.
    #[error("{path} is protected by a passphrase; give the terminal a key of its own")]
    Protected {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the key file.
    #[error("{path} has mode {mode:04o}; only its owner may read it (chmod 600)")]
    LoosePermissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds a key of another algorithm than the configuration asks for.
    #[error("{path} holds a key for {found}, the configuration asks for {wanted}")]
    OtherAlgorithm {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: Algorithm,
        /// What was asked for.
        wanted: Algorithm,
    },
    /// The service manager handed over no such credential.
    #[error("there is no credential {name}; see LoadCredentialEncrypted= of the unit")]
    NoCredential {
        /// Name of the credential.
        name: String,
    },
    /// The TPM cannot be reached, or refused.
    #[error("the TPM at {tcti} failed to {action}: {reason}")]
    Tpm {
        /// How it is reached.
        tcti: String,
        /// What was asked of it.
        action: &'static str,
        /// What it answered.
        reason: String,
    },
    /// The TPM gives another key than before: its owner seed was cleared while we ran.
    #[error("the TPM at {tcti} gives another key than before")]
    TpmCleared {
        /// How it is reached.
        tcti: String,
    },
    /// A text is not a public key of the form `algorithm:base64url`.
    #[error("the text is not a public key of a known algorithm")]
    BadText,
    /// A part of what is to be signed would make the signature ambiguous, such as a line break in
    /// a path.
    #[error("the {part} holds what cannot be signed")]
    Unsignable {
        /// The part.
        part: &'static str,
    },
    /// The system gave no randomness.
    #[error("the system gives no randomness")]
    Random,
}

impl KeyError {
    /// Stable problem code, explained in `kiosk-app/problems.toml`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "key.io",
            Self::Damaged { .. } => "key.damaged",
            Self::Protected { .. } => "key.protected",
            Self::LoosePermissions { .. } => "key.permissions",
            Self::OtherAlgorithm { .. } => "key.other-algorithm",
            Self::NoCredential { .. } => "key.no-credential",
            Self::Tpm { .. } => "key.tpm-failed",
            Self::TpmCleared { .. } => "key.tpm-cleared",
            Self::BadText => "key.bad-text",
            Self::Unsignable { .. } => "key.unsignable",
            Self::Random => "key.no-randomness",
        }
    }
}
