//! What the checks of our own need of a metadata file: version, end of life, and the versions that
//! it names. Signatures are not its business. Reads bytes from outside: bounded, and never panics.

use std::collections::BTreeMap;

use jiff::Timestamp;
use ring::digest;
use serde::Deserialize;

/// Most other files that one file names. Chosen: a repository without delegations names one.
const META_MAX: usize = 256;
/// Longest name of a file, in bytes. Chosen: those of the file system.
const NAME_BYTES_MAX: usize = 255;

/// The outline of one metadata file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The role that it says it is of.
    pub kind: String,
    /// Its version, from 1.
    pub version: u64,
    /// When it ends.
    pub expires: Timestamp,
    /// The files that it names: one for a timestamp, the lists of targets for a snapshot.
    pub meta: BTreeMap<String, Named>,
}

/// What one file says of another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Named {
    /// Version of the other.
    pub version: u64,
    /// Its length in bytes.
    #[serde(default)]
    pub length: Option<u64>,
    /// Its hashes in hexadecimal digits, by their names.
    #[serde(default)]
    pub hashes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Envelope {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    #[serde(rename = "_type", default)]
    kind: String,
    version: u64,
    expires: Timestamp,
    #[serde(default)]
    meta: BTreeMap<String, Named>,
}

impl Outline {
    /// Reads the outline of a metadata file; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let Envelope { signed } = serde_json::from_slice(bytes).ok()?;
        let is_bounded = signed.meta.len() <= META_MAX
            && signed.meta.keys().all(|name| name.len() <= NAME_BYTES_MAX);
        (signed.version > 0 && is_bounded).then_some(Self {
            kind: signed.kind,
            version: signed.version,
            expires: signed.expires,
            meta: signed.meta,
        })
    }
}

impl Named {
    /// True when `bytes` of that version are what is meant, as far as it is said.
    pub(super) fn fits(&self, version: u64, bytes: &[u8]) -> bool {
        let is_length = self
            .length
            .is_none_or(|length| length == bytes.len() as u64);
        let is_hash = self
            .hashes
            .get("sha256")
            .is_none_or(|hash| *hash == sha256_text(bytes));
        self.version == version && is_length && is_hash
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256_text(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Hexadecimal digits, in lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0x0f)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_names_versions_and_ends() {
        let outline = Outline::parse(
            br#"{"signatures":[],"signed":{"_type":"timestamp","version":7,"expires":"2030-01-02T03:04:05Z",
            "meta":{"snapshot.json":{"version":5,"length":3,"hashes":{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}}}}"#,
        )
        .unwrap();
        assert_eq!(outline.kind, "timestamp");
        assert_eq!(outline.version, 7);
        assert_eq!(outline.expires.to_string(), "2030-01-02T03:04:05Z");
        let named = &outline.meta["snapshot.json"];
        assert!(named.fits(5, b"abc"));
        assert!(!named.fits(4, b"abc"));
        assert!(!named.fits(5, b"abd"));
        assert!(!named.fits(5, b"abcd"));
    }

    #[test]
    fn what_is_no_metadata_is_none() {
        for bytes in [
            &b""[..],
            b"{}",
            b"[]",
            br#"{"signed":{"version":0,"expires":"2030-01-01T00:00:00Z"}}"#,
            br#"{"signed":{"version":-1,"expires":"2030-01-01T00:00:00Z"}}"#,
            br#"{"signed":{"version":1,"expires":"tomorrow"}}"#,
        ] {
            assert_eq!(Outline::parse(bytes), None);
        }
    }

    #[test]
    fn a_file_that_names_too_many_is_none() {
        let meta: BTreeMap<String, serde_json::Value> = (0..=META_MAX)
            .map(|index| (format!("{index}.json"), serde_json::json!({"version": 1})))
            .collect();
        let file = serde_json::json!({"signed": {
            "version": 1, "expires": "2030-01-01T00:00:00Z", "meta": meta
        }});
        assert_eq!(Outline::parse(file.to_string().as_bytes()), None);
    }
}
