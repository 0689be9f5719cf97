//! The updater's configuration: `updater.toml`, read strictly, so that a mistake stops the start and
//! names the line.

use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Time;
use serde::Deserialize;

use crate::engine::{EXAM_PATIENCE, Programs};
use crate::slots::INSTALL_LIMIT;
use crate::trust::Tls;
use crate::waves::Window;

/// Largest configuration in bytes; the example has two thousand.
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// Bytes a second where nothing is said: 2 Mbit/s, the thinnest line of a village.
const BYTES_PER_S: u64 = 250_000;

/// Name of the items' repository beside that of the program.
const ITEMS: &str = "items";

/// Where removable media are mounted (Filesystem Hierarchy Standard 3.0 §3.11; udisks).
const STICKS: [&str; 3] = ["/media", "/run/media", "/mnt"];

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is too long.
    #[error("more than {CONFIG_BYTES_MAX} bytes are no configuration")]
    TooLong,
    /// It cannot be read; the message names the line.
    #[error(transparent)]
    Form(#[from] toml::de::Error),
    /// A value makes no sense.
    #[error("{key}: {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl ConfigError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        "update.configuration"
    }
}

/// Where the programs of releases are installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotKind {
    /// Directories of this machine.
    #[default]
    Directories,
    /// Images of the operating system, by RAUC.
    Rauc,
}

/// What is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Number of the terminal.
    pub terminal: String,
    /// Code of its village.
    pub region: String,
    /// Kind of its hardware.
    pub hardware: String,
    /// Where releases come from.
    pub repository: Repository,
    /// Where items come from; `None` where they come with the program alone.
    pub items: Option<Repository>,
    /// File of the root of the items' repository that came with the program.
    pub items_root: PathBuf,
    /// Most bytes a second.
    pub bytes_per_s: u64,
    /// Off-hours.
    pub off_hours: Option<Window>,
    /// Directory of slots, chunks and what is believed.
    pub state: PathBuf,
    /// File of the root that came with the program.
    pub root: PathBuf,
    /// How the terminal is asked.
    pub programs: Programs,
    /// Wait between two examinations of a release on trial.
    pub patience: Duration,
    /// Where releases are installed.
    pub slots: SlotKind,
    /// The program of RAUC.
    pub rauc: PathBuf,
    /// Longest installation of an image by it.
    pub install_limit: Duration,
    /// Where the terminal leaves a wish for an update from a stick.
    pub wish: PathBuf,
    /// Directories below which sticks are mounted.
    pub sticks: Vec<PathBuf>,
}

/// Where releases come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// A web server.
    Url {
        /// Its address.
        url: String,
        /// How it proves who it is; needed for https.
        tls: Option<Tls>,
    },
    /// A directory.
    Directory(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    slots: SlotKind,
    terminal: TerminalTable,
    repository: RepositoryTable,
    items: Option<RepositoryTable>,
    #[serde(default)]
    line: LineTable,
    #[serde(default)]
    trial: TrialTable,
    #[serde(default)]
    paths: PathsTable,
    #[serde(default)]
    programs: ProgramsTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TerminalTable {
    id: String,
    region: String,
    hardware: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepositoryTable {
    url: Option<String>,
    directory: Option<PathBuf>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    certificate_key: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LineTable {
    bytes_per_s: Option<u64>,
    off_hours: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialTable {
    patience_s: Option<u16>,
    install_s: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathsTable {
    state: Option<PathBuf>,
    root: Option<PathBuf>,
    items_root: Option<PathBuf>,
    rauc: Option<PathBuf>,
    wish: Option<PathBuf>,
    sticks: Option<Vec<PathBuf>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramsTable {
    restart: Option<Vec<String>>,
    restart_machine: Option<Vec<String>>,
    examine: Option<Vec<String>>,
    busy: Option<Vec<String>>,
    check_items: Option<Vec<String>>,
    held: Option<Vec<String>>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the line or the key.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLong);
        }
        let file: File = toml::from_str(text)?;
        let wrong = |key, expected| ConfigError::Value { key, expected };
        let id = &file.terminal.id;
        let is_number = |character: char| character.is_ascii_alphanumeric() || character == '-';
        if !(3..=16).contains(&id.len()) || !id.chars().all(is_number) {
            return Err(wrong("terminal.id", "3 to 16 letters, digits or `-`"));
        }
        let bytes_per_s = file.line.bytes_per_s.unwrap_or(BYTES_PER_S);
        if bytes_per_s == 0 {
            return Err(wrong("line.bytes_per_s", "at least 1"));
        }
        if file.trial.install_s == Some(0) {
            return Err(wrong("trial.install_s", "at least 1"));
        }
        let off_hours = match &file.line.off_hours {
            None => None,
            Some(text) => Some(window(text).ok_or_else(|| {
                wrong("line.off_hours", "two times of the day such as 22:00-06:00")
            })?),
        };
        let usual = Programs::default();
        let repository = file.repository.check("repository")?;
        let items = file.items.map(|items| items.check("items")).transpose()?;
        Ok(Self {
            items: items.map(|items| items.believed_as(&repository)),
            items_root: (file.paths.items_root)
                .unwrap_or_else(|| PathBuf::from("/usr/share/kiosk/items-root.json")),
            repository,
            terminal: file.terminal.id,
            region: file.terminal.region,
            hardware: file.terminal.hardware,
            bytes_per_s,
            off_hours,
            state: (file.paths.state).unwrap_or_else(|| PathBuf::from("/var/lib/kiosk-updater")),
            root: (file.paths.root)
                .unwrap_or_else(|| PathBuf::from("/usr/share/kiosk/program-root.json")),
            patience: file.trial.patience_s.map_or(EXAM_PATIENCE, |patience| {
                Duration::from_secs(u64::from(patience))
            }),
            slots: file.slots,
            install_limit: file.trial.install_s.map_or(INSTALL_LIMIT, |length| {
                Duration::from_secs(u64::from(length))
            }),
            rauc: (file.paths.rauc).unwrap_or_else(|| PathBuf::from("/usr/bin/rauc")),
            wish: (file.paths.wish)
                .unwrap_or_else(|| PathBuf::from("/var/lib/kiosk/update-from-stick.json")),
            sticks: (file.paths.sticks)
                .unwrap_or_else(|| STICKS.iter().copied().map(PathBuf::from).collect()),
            programs: Programs {
                restart: file.programs.restart.unwrap_or(usual.restart),
                restart_machine: file
                    .programs
                    .restart_machine
                    .unwrap_or(usual.restart_machine),
                examine: file.programs.examine.unwrap_or(usual.examine),
                busy: file.programs.busy.unwrap_or(usual.busy),
                check_items: file.programs.check_items.unwrap_or(usual.check_items),
                held: file.programs.held.unwrap_or(usual.held),
                input_devices: usual.input_devices,
            },
        })
    }
}

impl Config {
    /// This configuration with a stick in the place of both repositories: `directory` holds the
    /// program's, and `items` beside it the other one, where the stick has it. A stick takes nothing of
    /// the village's line, and somebody waits for it.
    #[must_use]
    pub fn carried(self, directory: PathBuf) -> Self {
        let items = directory.parent().map(|stick| stick.join(ITEMS));
        Self {
            repository: Repository::Directory(directory),
            bytes_per_s: u64::MAX,
            items: items
                .filter(|items| items.is_dir())
                .map(Repository::Directory),
            ..self
        }
    }
}

impl Repository {
    /// This one, with the certificates of another where it names none of its own: one server
    /// usually has both.
    fn believed_as(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Url { url, tls: None }, Self::Url { tls, .. }) => Self::Url {
                url,
                tls: tls.clone(),
            },
            (own, Self::Url { .. } | Self::Directory(_)) => own,
        }
    }
}

impl RepositoryTable {
    fn check(self, key: &'static str) -> Result<Repository, ConfigError> {
        let wrong = |expected| ConfigError::Value { key, expected };
        let own = match (self.certificate, self.certificate_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(wrong("a certificate and its key, or neither"));
            }
        };
        match (self.url, self.directory) {
            (Some(url), None) => Ok(Repository::Url {
                url,
                tls: self.ca.map(|ca| Tls { ca, own }),
            }),
            (None, Some(directory)) => Ok(Repository::Directory(directory)),
            (Some(_), Some(_)) | (None, None) => Err(wrong("a url or a directory")),
        }
    }
}

fn window(text: &str) -> Option<Window> {
    let time = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
    let (from, until) = text.split_once('-')?;
    Some(Window {
        from: time(from)?,
        until: time(until)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../updater.toml");

    #[test]
    fn the_example_is_read() {
        let config = Config::parse(EXAMPLE).unwrap();
        assert_eq!(config.terminal, "T001");
        assert_eq!(config.bytes_per_s, 250_000);
        let window = config.off_hours.unwrap();
        assert_eq!((window.from.hour(), window.until.hour()), (22, 6));
        assert!(matches!(
            config.repository,
            Repository::Url { tls: Some(_), .. }
        ));
        assert_eq!(config.programs, Programs::default());
        assert!(
            matches!(&config.items, Some(Repository::Url { url, tls: Some(_) }) if url.ends_with("/items"))
        );
    }

    #[test]
    fn a_mistake_is_named() {
        for (from, to, named) in [
            ("T001", "T", "terminal.id"),
            ("22:00-06:00", "22-6", "line.off_hours"),
            ("250000 ", "0 ", "line.bytes_per_s"),
            ("url = ", "uri = ", "uri"),
            ("# directory", "directory", "repository"),
            ("[items]", "[items]\ndirectory = \"/media/items\"", "items"),
            ("# certificate =", "certificate =", "repository"),
            ("# [trial]", "[trial]\ninstall_s = 0\n", "trial.install_s"),
        ] {
            let text = EXAMPLE.replacen(from, to, 1);
            assert_ne!(text, EXAMPLE);
            let error = Config::parse(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
