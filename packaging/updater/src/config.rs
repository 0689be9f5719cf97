//! The updater's configuration: `updater.toml`, read strictly, so that a mistake stops the start and
//! names the line.

use std::path::PathBuf;

use jiff::civil::Time;
use serde::Deserialize;

use crate::engine::Programs;
use crate::trust::Tls;
use crate::waves::Window;

/// Largest configuration in bytes; the example has two thousand.
pub const CONFIG_BYTES_MAX: usize = 64 * 1024;
/// Bytes a second where nothing is said: 2 Mbit/s, the thinnest line of a village.
const BYTES_PER_S: u64 = 250_000;

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
    terminal: TerminalTable,
    repository: RepositoryTable,
    #[serde(default)]
    line: LineTable,
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
struct PathsTable {
    state: Option<PathBuf>,
    root: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramsTable {
    restart: Option<Vec<String>>,
    restart_machine: Option<Vec<String>>,
    examine: Option<Vec<String>>,
    busy: Option<Vec<String>>,
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
        let off_hours = match &file.line.off_hours {
            None => None,
            Some(text) => Some(window(text).ok_or_else(|| {
                wrong("line.off_hours", "two times of the day such as 22:00-06:00")
            })?),
        };
        let usual = Programs::default();
        Ok(Self {
            repository: file.repository.check()?,
            terminal: file.terminal.id,
            region: file.terminal.region,
            hardware: file.terminal.hardware,
            bytes_per_s,
            off_hours,
            state: (file.paths.state).unwrap_or_else(|| PathBuf::from("/var/lib/kiosk-updater")),
            root: (file.paths.root)
                .unwrap_or_else(|| PathBuf::from("/usr/share/kiosk/program-root.json")),
            programs: Programs {
                restart: file.programs.restart.unwrap_or(usual.restart),
                restart_machine: file
                    .programs
                    .restart_machine
                    .unwrap_or(usual.restart_machine),
                examine: file.programs.examine.unwrap_or(usual.examine),
                busy: file.programs.busy.unwrap_or(usual.busy),
                input_devices: usual.input_devices,
            },
        })
    }
}

impl RepositoryTable {
    fn check(self) -> Result<Repository, ConfigError> {
        let wrong = |expected| ConfigError::Value {
            key: "repository",
            expected,
        };
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
    }

    #[test]
    fn a_mistake_is_named() {
        for (from, to, named) in [
            ("T001", "T", "terminal.id"),
            ("22:00-06:00", "22-6", "line.off_hours"),
            ("250000 ", "0 ", "line.bytes_per_s"),
            ("url = ", "uri = ", "uri"),
            ("# directory", "directory", "repository"),
            ("# certificate =", "certificate =", "repository"),
        ] {
            let text = EXAMPLE.replacen(from, to, 1);
            assert_ne!(text, EXAMPLE);
            let error = Config::parse(&text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
