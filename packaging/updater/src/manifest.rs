//! What the operator published: the release, who may take it and when. Reads bytes from outside even
//! though they are signed: bounded, strict, and never panics. Whether they are signed is the business
//! of [`crate::trust`].

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::waves::JITTER_MAX;

/// Name of the signed target that holds the release.
pub const RELEASE_TARGET: &str = "release.json";
/// Largest `release.json` in bytes. Chosen: the largest lists below, with room.
pub const RELEASE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Where waves end: a terminal's place is below it (Bottlerocket's own number).
pub const PLACES: u16 = 2048;
/// Most files of one release. Chosen: the program, its fonts and dictionaries are a few hundred.
pub const FILES_MAX: usize = 4096;
/// Most bytes of one release. Chosen: an image of the operating system.
pub const RELEASE_FILES_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Layout that this version reads.
const FORMAT: u32 = 1;
/// Longest path in bytes, and its most parts; chosen far below those of the file system.
const PATH_BYTES_MAX: usize = 200;
const PATH_PARTS_MAX: usize = 8;
/// Most waves, kinds of hardware and regions. Chosen: a wave a day for a month; every township.
const WAVES_MAX: usize = 32;
const HARDWARE_MAX: usize = 64;
const REGIONS_MAX: usize = 4096;
/// Longest name of hardware or a target, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Digits of a region's code: a province has 2, a village 12 (GB/T 2260, GB/T 10114).
const REGION_DIGITS: std::ops::RangeInclusive<usize> = 2..=12;
/// Latest start of a wave after the publication. Chosen: the life of the metadata.
const WAVE_AFTER_S_MAX: u64 = 180 * 24 * 3600;

/// Version of a release, such as `1.4.2`; ordered as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version([u32; 3]);

impl Version {
    /// The version of these three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self([major, minor, patch])
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

impl FromStr for Version {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, ReleaseError> {
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        for number in &mut numbers {
            let part = parts.next().ok_or(ReleaseError::Version)?;
            let is_plain = part.len() < 10
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'));
            if !is_plain {
                return Err(ReleaseError::Version);
            }
            *number = part.parse().map_err(|_| ReleaseError::Version)?;
        }
        match parts.next() {
            None => Ok(Self(numbers)),
            Some(_) => Err(ReleaseError::Version),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = ReleaseError;

    fn try_from(text: String) -> Result<Self, ReleaseError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// Name of the signed target that lists the patches to this version from earlier ones.
pub fn patches_name(version: Version) -> String {
    format!("release-{version}.patches")
}

/// Rights of an installed file; there are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Everybody reads it.
    #[serde(rename = "0644")]
    Plain,
    /// Everybody reads and runs it.
    #[serde(rename = "0755")]
    Program,
}

impl Mode {
    /// The rights as the file system takes them.
    pub fn bits(self) -> u32 {
        match self {
            Self::Plain => 0o644,
            Self::Program => 0o755,
        }
    }
}

/// SHA-256, in JSON as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Self::from_digest(&digest)
    }

    /// That of a finished computation.
    pub(crate) fn from_digest(digest: &ring::digest::Digest) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl TryFrom<String> for Sha256 {
    type Error = ReleaseError;

    fn try_from(text: String) -> Result<Self, ReleaseError> {
        let is_plain = text.len() == 64
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_plain {
            return Err(ReleaseError::Hash);
        }
        let mut hash = [0; 32];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| ReleaseError::Hash)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ReleaseError::Hash)?;
        }
        Ok(Self(hash))
    }
}

impl From<Sha256> for String {
    fn from(hash: Sha256) -> Self {
        hash.to_string()
    }
}

/// One installed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it goes, relative to the slot.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash.
    pub sha256: Sha256,
    /// Its rights.
    pub mode: Mode,
}

/// From when terminals below a place may take the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Places below this belong to it, 0 to [`PLACES`].
    pub bound: u16,
    /// Seconds after the publication.
    pub after_s: u64,
}

/// A release, as `release.json` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Layout; this version knows 1.
    pub format: u32,
    /// Its version.
    pub version: Version,
    /// The lowest version that can be updated to it directly.
    pub minimum_version: Version,
    /// Kinds of hardware that it is for.
    pub hardware: Vec<String>,
    /// Its files.
    pub files: Vec<Entry>,
    /// Name of the signed target that lists the chunks of the files.
    pub chunks: String,
    /// Makes other terminals the first ones with each release.
    pub seed: u32,
    /// Who takes it when; none for everybody at once.
    pub waves: Vec<Wave>,
    /// Longest jitter inside a wave in seconds, to [`JITTER_MAX`]: so that a whole wave does not come
    /// in one second. Short where a repair is urgent.
    pub spread_s: u64,
    /// Codes of the regions that may take it, each with all below it; `null` for all.
    pub regions: Option<Vec<String>>,
    /// Nobody takes it who has not taken it yet.
    #[serde(rename = "halted")]
    pub is_halted: bool,
    /// When it was published.
    pub published_at: Timestamp,
}

/// Why bytes are no release. The operator publishes another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// More bytes than a release has.
    #[error("the release is larger than {} bytes", RELEASE_BYTES_MAX)]
    TooLong,
    /// No JSON of this form.
    #[error("the release has another form at line {line}, column {column}")]
    Form {
        /// Line from 1.
        line: usize,
        /// Column from 1.
        column: usize,
    },
    /// A layout that this version does not know.
    #[error("the release has another layout")]
    Format,
    /// No version of three numbers.
    #[error("a version is not three numbers")]
    Version,
    /// No hash.
    #[error("a hash is not 64 hexadecimal digits")]
    Hash,
    /// A path that leads elsewhere, stands twice or under another file.
    #[error("path {index} is not allowed")]
    Path {
        /// Which file, from 0.
        index: usize,
    },
    /// More than allowed, or nothing.
    #[error("the release has no or too much {what}")]
    Size {
        /// Of what.
        what: &'static str,
    },
    /// Waves that do not rise to everybody.
    #[error("the waves do not rise to everybody")]
    Waves,
    /// More jitter than a wave may have.
    #[error("the spread of a wave is longer than {} s", JITTER_MAX.as_secs())]
    Spread,
    /// A name or code in other characters.
    #[error("a name in the release is not allowed")]
    Name,
}

impl ReleaseError {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        "update.release-malformed"
    }
}

impl Release {
    /// Reads and checks a release.
    ///
    /// # Errors
    /// [`ReleaseError`] says which rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReleaseError> {
        if bytes.len() > RELEASE_BYTES_MAX {
            return Err(ReleaseError::TooLong);
        }
        let release: Self = serde_json::from_slice(bytes).map_err(form)?;
        release.check()?;
        Ok(release)
    }

    /// A release with this version and these files, open to everybody at once.
    pub fn new(version: Version, files: Vec<Entry>, published_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            version,
            minimum_version: Version::new(0, 0, 0),
            hardware: Vec::new(),
            files,
            chunks: format!("release-{version}.chunks"),
            seed: 0,
            waves: Vec::new(),
            spread_s: JITTER_MAX.as_secs(),
            regions: None,
            is_halted: false,
            published_at,
        }
    }

    /// Name of the signed target that lists patches from earlier releases, where there are some.
    pub fn patches(&self) -> String {
        patches_name(self.version)
    }

    /// The content of `release.json`, if the release keeps the rules.
    ///
    /// # Errors
    /// [`ReleaseError`] says which rule it breaks.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReleaseError> {
        self.check()?;
        let mut bytes = serde_json::to_vec_pretty(self).map_err(form)?;
        bytes.push(b'\n');
        if bytes.len() > RELEASE_BYTES_MAX {
            return Err(ReleaseError::TooLong);
        }
        Ok(bytes)
    }

    /// Bytes of all its files.
    pub fn size(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum: u64, entry| sum.saturating_add(entry.size))
    }

    fn check(&self) -> Result<(), ReleaseError> {
        if self.format != FORMAT {
            return Err(ReleaseError::Format);
        }
        let counted = |what, count: usize, most: usize| {
            let is_within = (1..=most).contains(&count);
            is_within.then_some(()).ok_or(ReleaseError::Size { what })
        };
        counted("files", self.files.len(), FILES_MAX)?;
        counted("hardware", self.hardware.len(), HARDWARE_MAX)?;
        if self.size() > RELEASE_FILES_BYTES_MAX {
            return Err(ReleaseError::Size { what: "content" });
        }
        let is_named = self.hardware.iter().all(|name| is_name(name)) && is_name(&self.chunks);
        if !is_named || self.chunks == RELEASE_TARGET {
            return Err(ReleaseError::Name);
        }
        if let Some(regions) = &self.regions {
            counted("regions", regions.len(), REGIONS_MAX)?;
            if !regions.iter().all(|region| is_region(region)) {
                return Err(ReleaseError::Name);
            }
        }
        if self.spread_s > JITTER_MAX.as_secs() {
            return Err(ReleaseError::Spread);
        }
        check_waves(&self.waves)?;
        check_paths(&self.files)
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the form that `map_err` wants"
)]
fn form(error: serde_json::Error) -> ReleaseError {
    ReleaseError::Form {
        line: error.line(),
        column: error.column(),
    }
}

/// True for the code of a province, prefecture, county, township or village.
pub fn is_region(code: &str) -> bool {
    REGION_DIGITS.contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit())
}

/// Bounds and times rise, and the last wave is everybody: nobody is forgotten.
fn check_waves(waves: &[Wave]) -> Result<(), ReleaseError> {
    let Some(last) = waves.last() else {
        return Ok(());
    };
    let is_rising = waves
        .windows(2)
        .all(|pair| pair[0].bound < pair[1].bound && pair[0].after_s <= pair[1].after_s);
    let is_whole = last.bound == PLACES && last.after_s <= WAVE_AFTER_S_MAX;
    if waves.len() > WAVES_MAX || !is_rising || !is_whole {
        return Err(ReleaseError::Waves);
    }
    Ok(())
}

/// No path leads out of the slot, stands twice, or is both a file and a directory.
fn check_paths(files: &[Entry]) -> Result<(), ReleaseError> {
    let mut taken = BTreeSet::new();
    for (index, entry) in files.iter().enumerate() {
        let is_free = taken.insert(entry.path.as_str());
        if !is_free || !is_path(&entry.path) || entry.path == RELEASE_TARGET {
            return Err(ReleaseError::Path { index });
        }
    }
    for (index, entry) in files.iter().enumerate() {
        let is_under_file = entry.path.match_indices('/').any(|(end, _)| {
            taken.contains(&entry.path[..end]) || &entry.path[..end] == RELEASE_TARGET
        });
        if is_under_file {
            return Err(ReleaseError::Path { index });
        }
    }
    Ok(())
}

pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= PATH_BYTES_MAX
        && path.split('/').count() <= PATH_PARTS_MAX
        && path.split('/').all(is_part)
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_name_byte)
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && is_part(name)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample() -> Value {
        json!({
            "format": 1,
            "version": "1.4.2",
            "minimum_version": "1.0.0",
            "hardware": ["kiosk-21"],
            "files": [
                {"path": "bin/kiosk", "size": 3, "mode": "0755", "sha256":
                 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
            ],
            "chunks": "release-1.4.2.chunks",
            "seed": 77,
            "waves": [{"bound": 20, "after_s": 3600}, {"bound": 2048, "after_s": 86400}],
            "spread_s": 43200,
            "regions": ["4401"],
            "halted": false,
            "published_at": "2026-11-20T00:00:00Z",
        })
    }

    fn parse(value: &Value) -> Result<Release, ReleaseError> {
        Release::parse(value.to_string().as_bytes())
    }

    /// What becomes of the sample with another value at a place.
    fn with(pointer: &str, value: Value) -> Result<Release, ReleaseError> {
        let mut changed = sample();
        *changed.pointer_mut(pointer).unwrap() = value;
        parse(&changed)
    }

    #[test]
    fn a_release_comes_back_as_it_was_published() {
        let release = parse(&sample()).unwrap();
        assert_eq!(release.version, Version::new(1, 4, 2));
        assert_eq!(release.files[0].mode.bits(), 0o755);
        assert_eq!(release.files[0].sha256, Sha256::of(b"abc"));
        assert_eq!(Release::parse(&release.to_bytes().unwrap()), Ok(release));
    }

    #[test]
    fn a_path_never_leads_out_of_the_slot() {
        let long = "a".repeat(PATH_BYTES_MAX + 1);
        for path in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            ".",
            "..",
            "a\\b",
            "a\0b",
            "ä",
            "a b",
            "release.json",
            "release.json/x",
            "a/b/c/d/e/f/g/h/i",
            long.as_str(),
        ] {
            assert_eq!(
                with("/files/0/path", json!(path)),
                Err(ReleaseError::Path { index: 0 }),
                "{path:?}"
            );
        }
    }

    #[test]
    fn a_path_is_a_file_or_a_directory_and_stands_once() {
        let entry = sample()["files"][0].clone();
        for path in ["bin/kiosk", "bin/kiosk/x", "bin"] {
            let mut other = entry.clone();
            other["path"] = json!(path);
            assert!(
                matches!(
                    with("/files", json!([entry.clone(), other])),
                    Err(ReleaseError::Path { .. })
                ),
                "{path}"
            );
        }
    }

    #[test]
    fn waves_rise_to_everybody() {
        for waves in [
            json!([{"bound": 20, "after_s": 0}]),
            json!([{"bound": 2049, "after_s": 0}]),
            json!([{"bound": 20, "after_s": 0}, {"bound": 20, "after_s": 1}, {"bound": 2048, "after_s": 2}]),
            json!([{"bound": 20, "after_s": 9}, {"bound": 2048, "after_s": 2}]),
            json!([{"bound": 2048, "after_s": WAVE_AFTER_S_MAX + 1}]),
        ] {
            assert_eq!(
                with("/waves", waves.clone()),
                Err(ReleaseError::Waves),
                "{waves}"
            );
        }
        assert!(with("/waves", json!([])).is_ok());
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let size = |what| ReleaseError::Size { what };
        let cases = [
            ("/format", json!(2), ReleaseError::Format),
            ("/files", json!([]), size("files")),
            ("/hardware", json!([]), size("hardware")),
            ("/hardware/0", json!("a b"), ReleaseError::Name),
            ("/chunks", json!("../x"), ReleaseError::Name),
            ("/chunks", json!("release.json"), ReleaseError::Name),
            ("/spread_s", json!(43_201), ReleaseError::Spread),
            ("/regions", json!([]), size("regions")),
            ("/regions/0", json!("Canton"), ReleaseError::Name),
            (
                "/files/0/size",
                json!(RELEASE_FILES_BYTES_MAX + 1),
                size("content"),
            ),
        ];
        for (pointer, value, error) in cases {
            assert_eq!(with(pointer, value), Err(error), "{pointer}");
        }
        for (pointer, value) in [
            ("/files/0/mode", json!("4755")),
            ("/files/0/sha256", json!("BA7816")),
            ("/version", json!("1.2")),
            ("/version", json!("01.2.3")),
            ("/version", json!("1.2.3.4")),
            ("/version", json!("1.2.9999999999")),
            ("/halted", json!("no")),
            ("/published_at", json!("yesterday")),
        ] {
            let outcome = with(pointer, value);
            assert!(
                matches!(outcome, Err(ReleaseError::Form { .. })),
                "{pointer}"
            );
        }
        let mut unknown = sample();
        unknown["links"] = json!([]);
        assert!(matches!(parse(&unknown), Err(ReleaseError::Form { .. })));
        let long = vec![b' '; RELEASE_BYTES_MAX + 1];
        assert_eq!(Release::parse(&long), Err(ReleaseError::TooLong));
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.10.0") > version("1.9.9"));
        assert!(version("2.0.0") > version("1.99.99"));
    }
}
