//! `kiosk.toml`: the one file that makes a program into this terminal. Read once at start; a mistake
//! is told with file, line and what to write, and the last good file is used where one was kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::civil::Time;
use kiosk_device::DeviceConfig;
use kiosk_sealing::unlock::Revocations;
use kiosk_sealing::{Algorithm, KeySource, PublicKey, RecipientKey};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub mod kept;
pub mod mistake;
pub mod refused;

pub use mistake::Mistake;

/// File of the device key in the directory of the durable state, where none else is configured.
const DEVICE_KEY: &str = "device-key.pk8";
/// Most keys that may sign commands. Chosen: the one in use, the next one, and an importer's.
const COMMAND_KEYS_MAX: usize = 8;
/// Slowest cap on uploads, in bytes a second. Chosen: below it a batch of 256 KiB would outlast its
/// deadline of a minute.
const BYTES_PER_S_MIN: u32 = 8 * 1024;
/// Smallest bounds of the store, in MiB. Chosen: one case with its pictures, with a margin.
const STORE_MIB_MIN: u32 = 16;

/// Everything that differs from terminal to terminal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the terminal stands.
    pub terminal: Terminal,
    /// What it shows.
    #[serde(default)]
    pub screen: Screen,
    /// The central platform.
    pub platform: Platform,
    /// Where things lie.
    pub paths: Paths,
    /// How much may be stored.
    #[serde(default)]
    pub store: Store,
    /// Where the terminal's own key is.
    #[serde(default)]
    pub key: Key,
    /// Who may come in as staff, and how.
    #[serde(default)]
    pub staff: Staff,
    /// The devices.
    #[serde(default, rename = "device")]
    pub devices: Vec<DeviceConfig>,
    /// The file that this was read from.
    #[serde(skip)]
    pub source: Source,
}

/// The text of a configuration, and where it lies. Kept for its digest and for what has changed in it;
/// `Debug` hides it, for an address may hold a password.
#[derive(Clone, Default)]
pub struct Source {
    path: Option<PathBuf>,
    text: String,
    mistake: Option<Mistake>,
}

impl Source {
    /// The file; `None` where the text came from elsewhere.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with the file, where a copy of the last good one is used in its place.
    pub fn mistake(&self) -> Option<&Mistake> {
        self.mistake.as_ref()
    }

    /// True for what stands in a file, false for a copy of it.
    fn is_of_file(&self) -> bool {
        self.path.is_some() && self.mistake.is_none()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Who may come in as staff, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Staff {
    /// Operators whose signature lets staff in, as `kiosk-admin` printed them. None: nobody comes in.
    #[serde(deserialize_with = "from_texts")]
    pub unlock_keys: Vec<PublicKey>,
    /// What no longer counts before its date, as `kiosk-admin revoke` printed it; empty for nothing.
    pub revocations: String,
    /// Minutes without a touch after which the mode ends; 1 to 60.
    pub idle_minutes: u32,
    /// Input of an I/O board whose closing ends the mode, such as `cabinet-door`; empty for none.
    pub door: String,
    /// Directories that count as sticks beside what is mounted under `/media`, `/run/media`, `/mnt`.
    pub sticks: Vec<PathBuf>,
}

impl Default for Staff {
    fn default() -> Self {
        Self {
            unlock_keys: Vec::new(),
            revocations: String::new(),
            idle_minutes: 5,
            door: String::new(),
            sticks: Vec::new(),
        }
    }
}

/// Where the terminal stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terminal {
    /// Number of the terminal: letters, digits and `-`, 3 to 16 characters.
    pub id: String,
    /// Name of the place.
    pub site: String,
    /// Telephone of the help line.
    pub help_phone: String,
    /// Notices of the village.
    #[serde(default)]
    pub board: Vec<String>,
}

/// Size and kind of the screen.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Screen {
    /// Width in pixels.
    pub width_px: u32,
    /// Height in pixels.
    pub height_px: u32,
    /// Cover the whole screen.
    pub is_fullscreen: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            width_px: 1080,
            height_px: 1920,
            is_fullscreen: true,
        }
    }
}

/// The central platform.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// Base address, `http://` or `https://`.
    pub url: String,
    /// Keys that may seal documents: standard base64 of 32 bytes (Ed25519), by key id.
    #[serde(default)]
    pub seal_keys: std::collections::BTreeMap<String, String>,
    /// Seconds between two probes of the line; 1 to 300.
    #[serde(default = "default_probe")]
    pub probe_s: u32,
    /// Whom everything queued is sealed to, until the desired state names a newer key.
    #[serde(deserialize_with = "from_text")]
    pub sealing_key: RecipientKey,
    /// Who may sign commands, the desired state and receipts.
    #[serde(default, deserialize_with = "from_texts")]
    pub command_keys: Vec<PublicKey>,
    /// Certificates for `https://`.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Most bytes a second for uploads; no limit where absent.
    #[serde(default)]
    pub bytes_per_s: Option<u32>,
    /// When what can wait is sent, local time, from and to; may reach over midnight. At any time
    /// where absent.
    #[serde(default, deserialize_with = "from_window")]
    pub off_hours: Option<(Time, Time)>,
}

/// Certificates for mutual TLS, files in PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Who vouches for the platform.
    pub ca: PathBuf,
    /// The terminal's certificate, with whatever stands between it and the platform's root.
    pub certificate: PathBuf,
    /// The private key of that certificate.
    pub key: PathBuf,
}

const fn default_probe() -> u32 {
    15
}

fn from_text<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: fmt::Display>,
{
    parsed(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn from_texts<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: fmt::Display>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.len() > COMMAND_KEYS_MAX {
        return Err(D::Error::custom(format!(
            "{} keys; at most {COMMAND_KEYS_MAX}",
            texts.len()
        )));
    }
    let keys: Result<Vec<T>, String> = texts.iter().map(|text| parsed(text)).collect();
    keys.map_err(D::Error::custom)
}

fn parsed<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err: fmt::Display>,
{
    text.parse().map_err(|error| {
        format!("`{text}` is no key: {error}; write `suite:base64url` as `kiosk-admin` printed it")
    })
}

fn from_window<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<(Time, Time)>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let window = window(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is no window; write two times of day, such as \"22:00-06:00\""
        ))
    })?;
    Ok(Some(window))
}

/// `22:00-06:00` as two times; `None` where it is none. Equal times would mean never or always.
pub(crate) fn window(text: &str) -> Option<(Time, Time)> {
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let is_plain = [hour, minute]
            .iter()
            .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_plain {
            return None;
        }
        Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (time(from)?, time(to)?);
    (from != to).then_some((from, to))
}

/// How much may be stored.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// New work is refused when less than this is free on the disk, in MiB; 16 or more.
    pub free_mib_min: u32,
    /// New work is refused when the store has grown beyond this, in MiB; 16 or more.
    pub size_mib_max: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            free_mib_min: 64,
            size_mib_max: 4096,
        }
    }
}

/// Where the terminal's own key is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// Who keeps it.
    pub source: Keeper,
    /// `ed25519` (where absent) or `sm2-sm3`; only for a file.
    pub algorithm: Option<String>,
    /// Name of the systemd credential.
    pub name: Option<String>,
    /// How the TPM is reached, such as `device:/dev/tpmrm0`.
    pub tcti: Option<String>,
}

/// Who keeps the terminal's own key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// A file in the directory of the durable state, made at the first start.
    #[default]
    File,
    /// A systemd credential.
    Credential,
    /// A TPM; the key cannot leave it.
    Tpm,
}

impl Keeper {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Credential => "credential",
            Self::Tpm => "tpm",
        }
    }
}

impl Key {
    /// The algorithm of a key in a file; `None` where the word is not one.
    fn file_algorithm(&self) -> Option<Algorithm> {
        match self.algorithm.as_deref() {
            None | Some("ed25519") => Some(Algorithm::Ed25519),
            Some("sm2-sm3") => Some(Algorithm::Sm2),
            Some(_) => None,
        }
    }

    fn source_in(&self, state: &Path) -> KeySource {
        match self.source {
            Keeper::File => KeySource::File {
                path: state.join(DEVICE_KEY),
                algorithm: self.file_algorithm().unwrap_or(Algorithm::Ed25519),
            },
            Keeper::Credential => KeySource::Credential {
                name: self.name.clone().unwrap_or_default(),
            },
            Keeper::Tpm => KeySource::Tpm {
                tcti: self.tcti.clone().unwrap_or_default(),
            },
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let keeper = self.source.name();
        let (needed, foreign): (&str, &[&str]) = match self.source {
            Keeper::File => ("", &["name", "tcti"]),
            Keeper::Credential => ("name", &["algorithm", "tcti"]),
            Keeper::Tpm => ("tcti", &["algorithm", "name"]),
        };
        let given = |key: &str| match key {
            "name" => self.name.is_some(),
            "tcti" => self.tcti.is_some(),
            _ => self.algorithm.is_some(),
        };
        for key in ["algorithm", "name", "tcti"] {
            if foreign.contains(&key) && given(key) {
                return Err((
                    key,
                    format!("has no meaning with source = \"{keeper}\"; remove it"),
                ));
            }
        }
        if !needed.is_empty() && !given(needed) {
            return Err((
                "source",
                format!("\"{keeper}\" needs `{needed} = …` beside it"),
            ));
        }
        if self.source == Keeper::File && self.file_algorithm().is_none() {
            return Err(("algorithm", "write \"ed25519\" or \"sm2-sm3\"".to_owned()));
        }
        Ok(())
    }
}

/// Where things lie.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paths {
    /// Directory of the durable state.
    pub state: PathBuf,
    /// Directory of the item packages.
    pub items: PathBuf,
    /// Directories of fonts; the system's where empty.
    #[serde(default)]
    pub fonts: Vec<PathBuf>,
    /// Directory in which the updater tells of itself (`StateDirectory=` of its unit).
    #[serde(default = "updater")]
    pub updater: PathBuf,
}

impl Paths {
    /// The set of items and settings that the updater brings for the region, if it brings any.
    pub fn region(&self) -> PathBuf {
        self.updater.join("items").join("current")
    }
}

fn updater() -> PathBuf {
    PathBuf::from("/var/lib/kiosk-updater")
}

/// Where a machine keeps its state and its key, as far as its configuration says so before it is
/// complete: a machine that is not enrolled yet does not know its platform.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directory of the durable state.
    pub state: PathBuf,
    /// The table of the terminal's own key.
    key: Key,
}

impl Place {
    /// Reads what there is of a configuration; the usual place where there is none.
    ///
    /// # Errors
    /// `Unreadable`, and `Wrong` for what is no TOML or no table of a key.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Part {
            paths: PathsPart,
            key: Key,
        }
        #[derive(Deserialize)]
        #[serde(default)]
        struct PathsPart {
            state: PathBuf,
        }
        impl Default for PathsPart {
            fn default() -> Self {
                Self {
                    state: PathBuf::from("/var/lib/kiosk"),
                }
            }
        }
        let text = match kept::read_text(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|source| ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            })?,
        };
        let wrong = |message: String| ConfigError::Wrong {
            path: path.to_owned(),
            line: 0,
            message,
        };
        let Part { paths, key } =
            toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
        key.check()
            .map_err(|(name, message)| wrong(format!("{name}: {message}")))?;
        Ok(Self {
            state: paths.state,
            key,
        })
    }

    /// Where the terminal's own key is opened.
    pub fn key_source(&self) -> KeySource {
        self.key.source_in(&self.state)
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{}:{line}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 where the whole file is meant.
        line: usize,
        /// What is wrong and what is expected.
        message: String,
    },
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line and what to write there.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = kept::read_text(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        let mut config = Self::parse(&text).map_err(|(line, message)| ConfigError::Wrong {
            path: path.to_path_buf(),
            line,
            message,
        })?;
        config.source.path = Some(path.to_path_buf());
        Ok(config)
    }

    /// Checks the text of a configuration; errors are a line and a message.
    ///
    /// # Errors
    /// The line, from 1 (0 where the whole file is meant), and what to write.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text[..span.start.min(text.len())].matches('\n').count() + 1
            });
            (line, error.message().to_owned())
        })?;
        config.check().map_err(|(key, message)| {
            let line = text
                .lines()
                .position(|line| line.trim_start().starts_with(key))
                .map_or(0, |index| index + 1);
            (line, format!("{key}: {message}"))
        })?;
        text.clone_into(&mut config.source.text);
        Ok(config)
    }

    /// Where the terminal's own key is opened.
    pub fn key_source(&self) -> KeySource {
        self.key.source_in(&self.paths.state)
    }

    /// What the store is opened with.
    pub fn store_options(&self) -> offline_cache::Options {
        let mebibytes = |count: u32| u64::from(count) * 1024 * 1024;
        offline_cache::Options {
            quota: offline_cache::Quota {
                free_bytes_min: mebibytes(self.store.free_mib_min),
                store_bytes_max: mebibytes(self.store.size_mib_max),
            },
            terminal: self.terminal.id.clone(),
            ..offline_cache::Options::default()
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let id = &self.terminal.id;
        let is_id = (3..=16).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_id {
            return Err(("id", "3 to 16 letters, digits or `-`".to_owned()));
        }
        let sides = [self.screen.width_px, self.screen.height_px];
        if sides.iter().any(|side| !(480..=4096).contains(side)) {
            return Err((
                "width_px",
                "a screen has 480 to 4096 pixels a side".to_owned(),
            ));
        }
        self.check_platform()?;
        self.check_store()?;
        self.check_staff()?;
        self.key.check()?;
        for (index, device) in self.devices.iter().enumerate() {
            if self.devices[..index]
                .iter()
                .any(|other| other.id == device.id)
            {
                return Err(("id", format!("device `{}` stands twice", device.id)));
            }
        }
        Ok(())
    }

    fn check_platform(&self) -> Result<(), (&'static str, String)> {
        let url = &self.platform.url;
        if !(url.starts_with("http://") || url.starts_with("https://")) {
            return Err((
                "url",
                format!("`{url}` must start with http:// or https://"),
            ));
        }
        if !(1..=300).contains(&self.platform.probe_s) {
            return Err(("probe_s", "1 to 300 seconds".to_owned()));
        }
        if self.platform.tls.is_some() && !url.starts_with("https://") {
            return Err((
                "tls",
                "certificates need a `url` that starts with https://".to_owned(),
            ));
        }
        if self
            .platform
            .bytes_per_s
            .is_some_and(|bytes| bytes < BYTES_PER_S_MIN)
        {
            return Err((
                "bytes_per_s",
                format!("{BYTES_PER_S_MIN} or more; leave it out for no limit"),
            ));
        }
        Ok(())
    }

    fn check_staff(&self) -> Result<(), (&'static str, String)> {
        if !(1..=60).contains(&self.staff.idle_minutes) {
            return Err(("idle_minutes", "1 to 60 minutes".to_owned()));
        }
        if self.staff.sticks.iter().any(|path| !path.is_absolute()) {
            return Err(("sticks", "a stick is an absolute path".to_owned()));
        }
        let Staff {
            unlock_keys,
            revocations,
            ..
        } = &self.staff;
        let none = Revocations::default();
        if !revocations.is_empty()
            && let Err(error) = Revocations::verify(revocations, unlock_keys, &none)
        {
            return Err((
                "revocations",
                format!("a list of `kiosk-admin revoke`, signed by one of unlock_keys: {error}"),
            ));
        }
        Ok(())
    }

    fn check_store(&self) -> Result<(), (&'static str, String)> {
        if self.store.free_mib_min < STORE_MIB_MIN {
            return Err(("free_mib_min", format!("{STORE_MIB_MIN} MiB or more")));
        }
        if self.store.size_mib_max < STORE_MIB_MIN {
            return Err(("size_mib_max", format!("{STORE_MIB_MIN} MiB or more")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kiosk_sealing::{DeviceKey, RecipientSecret, Suite};

    use super::*;

    fn good() -> String {
        let sealing_key = RecipientSecret::generate(Suite::Intl).unwrap().public();
        format!(
            r#"
[terminal]
id = "T001"
site = "测试村"
help_phone = "12345"
[platform]
url = "http://127.0.0.1:1"
sealing_key = "{sealing_key}"
[paths]
state = "state"
items = "items"
"#
        )
    }

    #[test]
    fn a_minimal_file_is_enough() {
        let config = Config::parse(&good()).unwrap();
        assert_eq!(
            (config.screen.width_px, config.platform.probe_s),
            (1080, 15)
        );
        let quota = config.store_options().quota;
        assert_eq!(
            (quota.free_bytes_min, quota.store_bytes_max),
            (64 << 20, 4096 << 20)
        );
        assert!(matches!(
            config.key_source(),
            KeySource::File { path, algorithm: Algorithm::Ed25519 } if path.ends_with("device-key.pk8")
        ));
    }

    #[test]
    fn everything_that_the_line_can_be_told_is_understood() {
        let command = DeviceKey::generate(Algorithm::Ed25519).unwrap().public();
        let more = format!(
            "command_keys = [\"{command}\"]\noff_hours = \"22:00-06:00\"\nbytes_per_s = 500000\n\
             tls = {{ ca = \"ca.pem\", certificate = \"t.pem\", key = \"k.pem\" }}\n[paths]"
        );
        let text = good()
            .replace("[paths]", &more)
            .replace("http://", "https://")
            + "[store]\nfree_mib_min = 32\n[key]\nsource = \"tpm\"\ntcti = \"device:/dev/tpmrm0\"\n";
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.platform.command_keys, [command]);
        assert_eq!(
            config.platform.off_hours,
            Some((Time::constant(22, 0, 0, 0), Time::constant(6, 0, 0, 0)))
        );
        assert_eq!(config.store_options().quota.free_bytes_min, 32 << 20);
        assert!(
            matches!(config.key_source(), KeySource::Tpm { tcti } if tcti.starts_with("device:"))
        );
    }

    fn check_refused(text: &str, line: usize, word: &str) {
        let (at, message) = Config::parse(text).unwrap_err();
        assert_eq!(at, line, "{message}");
        assert!(message.contains(word), "{message}");
    }

    #[test]
    fn mistakes_name_the_line() {
        let good = good();
        for (from, to, line, word) in [
            ("id = \"T001\"", "id = \"T 1\"", 3, "letters"),
            ("http://127", "ftp://127", 7, "http://"),
            ("[paths]", "[path]", 9, "path"),
            ("site = \"测试村\"", "site = 3", 4, "string"),
            (
                "sealing_key = \"intl:",
                "sealing_key = \"intl",
                8,
                "kiosk-admin",
            ),
            ("[paths]", "off_hours = \"22-6\"\n[paths]", 9, "22:00-06:00"),
            (
                "[paths]",
                "off_hours = \"06:00-06:00\"\n[paths]",
                9,
                "window",
            ),
            ("[paths]", "bytes_per_s = 10\n[paths]", 9, "no limit"),
            ("[paths]", "command_keys = [\"x\"]\n[paths]", 9, "no key"),
            (
                "[paths]",
                "tls = { ca = \"a\", certificate = \"b\", key = \"c\" }\n[paths]",
                9,
                "https://",
            ),
        ] {
            check_refused(&good.replace(from, to), line, word);
        }
        for (more, line, word) in [
            ("[store]\nfree_mib_min = 1\n", 13, "MiB or more"),
            ("[staff]\nidle_minutes = 0\n", 13, "1 to 60"),
            ("[staff]\nsticks = [\"stick\"]\n", 13, "absolute"),
            ("[staff]\nunlock_keys = [\"x\"]\n", 13, "no key"),
            (
                "[staff]\nrevocations = \"KV1:\"\n",
                13,
                "kiosk-admin revoke",
            ),
            ("[key]\nsource = \"credential\"\n", 13, "needs `name"),
            ("[key]\nsource = \"floppy\"\n", 13, "floppy"),
            ("[key]\nalgorithm = \"rsa\"\n", 13, "sm2-sm3"),
            (
                "[key]\nsource = \"tpm\"\nalgorithm = \"sm2-sm3\"\n",
                14,
                "no meaning",
            ),
        ] {
            check_refused(&format!("{good}{more}"), line, word);
        }
    }

    #[test]
    fn the_key_of_the_platform_is_required() {
        let text: String = good()
            .lines()
            .filter(|line| !line.starts_with("sealing_key"))
            .flat_map(|line| [line, "\n"])
            .collect();
        let (_, message) = Config::parse(&text).unwrap_err();
        assert!(message.contains("sealing_key"), "{message}");
    }

    #[test]
    fn a_machine_that_does_not_know_its_platform_yet_has_a_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kiosk.toml");
        assert_eq!(
            Place::read(&path).unwrap().state,
            Path::new("/var/lib/kiosk")
        );
        std::fs::write(
            &path,
            "[platform]\nsealing_key = \"REPLACE\"\n[paths]\nstate = \"s\"\n[key]\nsource = \"tpm\"\n\
             tcti = \"device:/dev/tpmrm0\"\n",
        )
        .unwrap();
        let place = Place::read(&path).unwrap();
        assert_eq!(place.state, Path::new("s"));
        assert!(matches!(place.key_source(), KeySource::Tpm { .. }));
        std::fs::write(&path, "[key]\nsource = \"tpm\"\n").unwrap();
        assert!(Place::read(&path).is_err());
    }

    #[test]
    fn a_window_is_two_times_of_day() {
        for text in [
            "",
            "22:00",
            "22:00-",
            "24:00-06:00",
            "22:60-06:00",
            "2:00-06:00",
            "+1:00-06:00",
        ] {
            assert_eq!(window(text), None, "{text}");
        }
        assert!(window("22:00-06:00").is_some());
    }
}
