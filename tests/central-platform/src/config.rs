//! What an operator of the reference platform may choose; every default is synthetic.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kiosk_sealing::Suite;
use serde::Deserialize;

use crate::limits::{Limit, NUMBER, within};
use crate::region::is_region;

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
    /// Suite of the keys that terminals seal to. Changing it makes a key of the other suite.
    pub suite: Suite,
    /// Which requests must be signed.
    pub signatures: Signatures,
    /// Whose keys are believed.
    pub enroll: Enroll,
    /// Certificates to serve with; none for plain HTTP.
    pub tls: Option<Tls>,
    /// Server to keep everything on, such as `postgres://platform@host/platform`; none for a
    /// `SQLite` file in the directory.
    pub database: Option<String>,
    /// What an administrator's tool says to hand over bundles; none refuses all of them.
    pub import_token: Option<String>,
    /// More addresses to listen on, such as `[::1]:8480`.
    pub also_listen: Vec<SocketAddr>,
    /// When a release is held by itself.
    pub hold: HoldRule,
    /// Who may look and change under `/admin` and read `/metrics`. While there is nobody, whoever is
    /// on the platform's own machine may, and nobody else.
    pub administrators: Vec<Administrator>,
    /// Who signs the certificates of terminals; none where terminals are not enrolled here.
    pub authority: Option<Authority>,
    /// Who is told of new and escalated tickets and of held releases.
    pub webhooks: Vec<Webhook>,
    /// Collector that metrics and traces go to by OTLP; none where Prometheus asks.
    pub otlp: Option<Otlp>,
}

/// An OpenTelemetry collector that takes OTLP over HTTP.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// `https`, or `http` on this machine, such as `http://127.0.0.1:4318`; `v1/metrics` and
    /// `v1/traces` are put behind it.
    pub url: String,
    /// Who vouches for the address, in PEM; needed for `https`.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// What the collector wants in `Authorization`, such as `Bearer …`.
    #[serde(default)]
    pub authorization: Option<String>,
    /// Seconds between two reports, 1 to 3600.
    #[serde(default = "default_interval_s")]
    pub interval_s: u64,
    /// Whether it gets what `/metrics` says.
    #[serde(default = "yes")]
    pub metrics: bool,
    /// Whether it gets how each transaction came.
    #[serde(default = "yes")]
    pub traces: bool,
}

const fn default_interval_s() -> u64 {
    60
}

const fn yes() -> bool {
    true
}

impl fmt::Debug for Otlp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Address and authorization may be secrets.
        formatter
            .debug_struct("Otlp")
            .field("interval_s", &self.interval_s)
            .field("metrics", &self.metrics)
            .field("traces", &self.traces)
            .finish_non_exhaustive()
    }
}

/// An address that notices to staff go to.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `https`, or `http` on this machine; a redirection is not followed.
    pub url: String,
    /// What notices are signed with, so that the receiver knows whom they are from.
    pub secret: String,
    /// Levels of tickets: `village`, `town`, `city`, `vendor`; none for all.
    #[serde(default)]
    pub levels: Vec<String>,
    /// Places whose terminals are told of; none for all, and for held releases.
    #[serde(default)]
    pub regions: Vec<String>,
    /// Who vouches for the address, in PEM; needed for `https`.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a token of its own.
        formatter
            .debug_struct("Webhook")
            .field("levels", &self.levels)
            .field("regions", &self.regions)
            .finish_non_exhaustive()
    }
}

/// Somebody, or a program, that looks after terminals.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Administrator {
    /// As it stands in the log.
    pub name: String,
    /// SHA-256 of the token that is shown, in 64 hexadecimal digits.
    pub token_sha256: String,
    /// What is allowed.
    pub role: Role,
    /// Places such as `揭阳市/普宁市` whose terminals are seen and changed; none for all.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// What an administrator may do; each may what the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Read.
    View,
    /// Command, suspend, place and enroll terminals; hold releases.
    Operate,
    /// Everything.
    Own,
}

/// Who signs the certificates of terminals, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Its certificate, then those between it and the root, the root last.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// How long a certificate of a terminal is good, 1 to 825 days.
    #[serde(default = "default_days")]
    pub days: u32,
}

const fn default_days() -> u32 {
    365
}

/// When the platform holds a release by itself: enough terminals took it back, and they are a
/// large enough part of those that tried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HoldRule {
    /// Least number of terminals that took it back; 0 never holds.
    pub terminals: u32,
    /// Least part of those that tried it, in percent.
    pub percent: u8,
}

impl Default for HoldRule {
    /// Two, so that one broken terminal does not stop everybody; a tenth, because a good release
    /// is taken back by far fewer.
    fn default() -> Self {
        Self {
            terminals: 2,
            percent: 10,
        }
    }
}

/// Which requests must be signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signatures {
    /// All of them.
    Required,
    /// Those that are signed must be signed well.
    #[default]
    IfPresent,
    /// Nobody looks.
    Off,
}

/// Whose keys are believed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enroll {
    /// The first key that signs for a terminal, sent along as `Kiosk-Key`.
    #[default]
    FirstUse,
    /// Only keys that an operator registered.
    Registered,
}

/// Certificates of the platform, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Its own certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authority of the terminals' certificates. When it is named, a client with a certificate of
    /// another one is refused, and one without any may ask for nothing but health and enrolment.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
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
    /// An administrator is none.
    #[error("administrator {number} needs a name of its own, a SHA-256 and places")]
    Administrator {
        /// Which one, from 1.
        number: usize,
    },
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
            suite: Suite::Intl,
            signatures: Signatures::default(),
            enroll: Enroll::default(),
            tls: None,
            database: None,
            import_token: None,
            also_listen: Vec::new(),
            hold: HoldRule::default(),
            administrators: Vec::new(),
            authority: None,
            webhooks: Vec::new(),
            otlp: None,
        }
    }
}

impl Config {
    /// Reads a JSON file; what it leaves out keeps its default.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(&std::fs::read(path)?)?;
        config.check()?;
        Ok(config)
    }

    /// Refuses what would only be found out when somebody is locked out.
    fn check(&self) -> Result<(), ConfigError> {
        for (place, each) in self.administrators.iter().enumerate() {
            let is_alone = !self.administrators[..place]
                .iter()
                .any(|other| other.name == each.name || other.token_sha256 == each.token_sha256);
            let fields = [
                ("name", each.name.as_str(), NUMBER),
                ("token_sha256", each.token_sha256.as_str(), Limit::Digest),
            ];
            let is_good = within(&fields).is_ok() && each.regions.iter().all(|of| is_region(of));
            if !is_good || !is_alone {
                return Err(ConfigError::Administrator { number: place + 1 });
            }
        }
        Ok(())
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
    fn the_words_of_the_contract_are_understood() {
        let config: Config = serde_json::from_str(
            r#"{"suite": "gm", "signatures": "if-present", "enroll": "registered",
                "tls": {"certificate": "a", "key": "b"}, "also_listen": ["[::1]:1"],
                "authority": {"certificate": "a", "key": "b"}}"#,
        )
        .unwrap();
        assert_eq!(config.suite, Suite::Gm);
        assert_eq!(config.signatures, Signatures::IfPresent);
        assert_eq!(config.enroll, Enroll::Registered);
        assert!(config.tls.unwrap().client_ca.is_none());
        assert!(config.also_listen[0].is_ipv6());
        assert_eq!(config.authority.unwrap().days, 365);
    }

    #[test]
    fn an_administrator_without_a_digest_or_a_name_of_its_own_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let one = |name: &str, digest: &str, region: &str| {
            format!(
                r#"{{"name": "{name}", "token_sha256": "{digest}", "role": "operate",
                    "regions": ["{region}"]}}"#
            )
        };
        for (list, is_good) in [
            (one("a", &a, "揭阳市/普宁市"), true),
            (one("a", "secret", "揭阳市"), false),
            (one("a", &a, "揭阳市/"), false),
            (one("", &a, "揭阳市"), false),
            (
                format!("{},{}", one("a", &a, "x"), one("a", &b, "x")),
                false,
            ),
            (
                format!("{},{}", one("a", &a, "x"), one("b", &a, "x")),
                false,
            ),
        ] {
            std::fs::write(&path, format!(r#"{{"administrators": [{list}]}}"#)).unwrap();
            assert_eq!(Config::read(&path).is_ok(), is_good, "{list}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let error = serde_json::from_str::<Config>(r#"{"witness": []}"#).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
