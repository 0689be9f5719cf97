//! `kiosk.toml`: the one file that makes a program into this terminal. Read once at start; a mistake
//! stops the start with file, line and what to write.

use std::path::{Path, PathBuf};

use kiosk_device::DeviceConfig;
use serde::Deserialize;

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
    /// The devices.
    #[serde(default, rename = "device")]
    pub devices: Vec<DeviceConfig>,
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
}

const fn default_probe() -> u32 {
    15
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
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
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
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(&text).map_err(|(line, message)| ConfigError::Wrong {
            path: path.to_path_buf(),
            line,
            message,
        })
    }

    /// Checks the text of a configuration; errors are a line and a message.
    ///
    /// # Errors
    /// The line, from 1 (0 where the whole file is meant), and what to write.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let config: Self = toml::from_str(text).map_err(|error| {
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
        Ok(config)
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
        let sides = [self.screen.width_px, self.screen.height_px];
        if sides.iter().any(|side| !(480..=4096).contains(side)) {
            return Err((
                "width_px",
                "a screen has 480 to 4096 pixels a side".to_owned(),
            ));
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
[terminal]
id = "T001"
site = "测试村"
help_phone = "12345"
[platform]
url = "http://127.0.0.1:1"
[paths]
state = "state"
items = "items"
"#;

    #[test]
    fn a_minimal_file_is_enough() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!(
            (config.screen.width_px, config.platform.probe_s),
            (1080, 15)
        );
    }

    #[test]
    fn mistakes_name_the_line() {
        for (from, to, line, word) in [
            ("id = \"T001\"", "id = \"T 1\"", 3, "letters"),
            ("http://127", "ftp://127", 7, "http://"),
            ("[paths]", "[path]", 8, "path"),
            ("site = \"测试村\"", "site = 3", 4, "string"),
        ] {
            let (at, message) = Config::parse(&GOOD.replace(from, to)).unwrap_err();
            assert_eq!(at, line, "{message}");
            assert!(message.contains(word), "{message}");
        }
    }
}
