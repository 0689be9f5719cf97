//! What an operator of the reference platform may choose; every default is synthetic.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Settings of a platform, also as `platform.toml`-shaped JSON for the program.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Identity numbers of people who may witness, such as the village cadre.
    pub witnesses: Vec<String>,
    /// Identity numbers the platform does not know.
    pub unknown_numbers: Vec<String>,
    /// Least age in years by item; an item not named here has none.
    pub least_ages: BTreeMap<String, u16>,
    /// Items of the first catalogue and their versions.
    pub items: BTreeMap<String, u32>,
    /// Directories of fonts for certificates; empty for the usual ones of the system.
    pub font_dirs: Vec<PathBuf>,
}

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration")]
    Read(#[from] std::io::Error),
    /// The file is not what it should be; the source names line and column.
    #[error("the configuration is wrong: {0}")]
    Parse(#[from] serde_json::Error),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            witnesses: vec!["440100197505050046".to_owned()],
            unknown_numbers: Vec::new(),
            least_ages: BTreeMap::from([
                ("old-age-allowance".to_owned(), 70),
                ("pension-qualification".to_owned(), 60),
            ]),
            items: BTreeMap::from([
                ("insurance-certificate".to_owned(), 1),
                ("old-age-allowance".to_owned(), 1),
                ("pension-qualification".to_owned(), 1),
            ]),
            font_dirs: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a JSON file; what it leaves out keeps its default.
    ///
    /// # Errors
    /// `Read` and `Parse`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_only_what_it_names() {
        let config: Config = serde_json::from_str(r#"{"witnesses": ["1"]}"#).unwrap();
        assert_eq!(config.witnesses, ["1"]);
        assert_eq!(config.items, Config::default().items);
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let error = serde_json::from_str::<Config>(r#"{"witness": []}"#).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
