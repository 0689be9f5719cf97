//! What makes a record unreadable, attributable and tamper-evident: envelopes to the platform,
//! the device key and its signatures, carry-out bundles and the audit chain.
//!
//! Bytes in, bytes out: no database, no network, no clock. Every parser here takes bytes from
//! outside, is bounded by a named limit, and refuses by a variant, never by a panic. Two suites
//! exist side by side, `intl` and `gm`; the suite follows from the key, never from a flag.

pub mod audit;
pub mod bundle;
mod cbor;
pub mod certificate;
mod cose;
mod encoding;
mod envelope;
mod error;
mod gm;
mod intl;
mod key;
mod recipient;
pub mod request;
pub mod signed;
mod suite;
pub mod unlock;

pub use bundle::CarriedReceipts;
pub use encoding::hex;
pub use envelope::{
    ENVELOPE_BYTES_MAX, ENVELOPE_OVERHEAD_MAX, EnvelopeHeader, PLAIN_BYTES_MAX, attachment_context,
    header, open, payload_context, seal,
};
pub use error::{FormatError, KeyError, SealingError};
pub use key::{
    Algorithm, DeviceKey, KEY_FILE_BYTES_MAX, KeyFileError, KeySource, PASSPHRASE_BYTES, PublicKey,
    is_protected, new_key_document, open_key_file, pkcs8_document, protect_key, write_private,
};
pub use recipient::{RecipientKey, RecipientSecret};
pub use suite::{Suite, sha256};
