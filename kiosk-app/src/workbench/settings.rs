//! The configuration in force, setting by setting, and how it differs from what somebody has signed or
//! seen: the desired state of the platform, which is signed, and the file as it was at installation.
//! Secrets are masked before anything is compared or kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::words;

/// Stands for a secret.
const MASK: &str = "••••";
/// Longest value that is shown, in characters.
const VALUE_CHARACTERS_MAX: usize = 120;
/// Most settings of a file that are looked at.
const SETTINGS_MAX: usize = 2000;
/// Parts of names of settings that hold a secret.
const SECRETS: [&str; 6] = [
    "password",
    "passphrase",
    "secret",
    "token",
    "credential",
    "pin",
];

/// The configuration as it was when the terminal was installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// SHA-256 of the file, in hexadecimal digits.
    pub digest: String,
    /// When it was first seen.
    pub at: String,
    /// Its settings, secrets masked; empty where there were too many to keep.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// One setting that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its name, dotted.
    pub key: String,
    /// As it was; empty where it did not exist.
    pub was: String,
    /// As it is; empty where it is gone.
    pub is: String,
}

/// The settings of a configuration file by dotted names, devices by their ids, secrets masked. A text
/// that is no TOML has none.
pub fn settings(text: &str) -> BTreeMap<String, String> {
    let Ok(table) = text.parse::<toml::Table>() else {
        return BTreeMap::new();
    };
    let ids: Vec<String> = table
        .get("device")
        .and_then(toml::Value::as_array)
        .map(|devices| {
            devices
                .iter()
                .map(|device| {
                    let id = device.get("id").and_then(toml::Value::as_str);
                    id.unwrap_or_default().to_owned()
                })
                .collect()
        })
        .unwrap_or_default();
    words::flatten(&table)
        .into_iter()
        .take(SETTINGS_MAX)
        .map(|(key, value)| {
            let key = by_id(key, &ids);
            let value = masked(&key, &value);
            (key, value)
        })
        .collect()
}

/// `device.0.port` as `device.scanner.port`: a device that was put in before it moves nothing.
fn by_id(key: String, ids: &[String]) -> String {
    let named = || {
        let rest = key.strip_prefix("device.")?;
        let (index, name) = rest.split_once('.')?;
        let id = ids.get(index.parse::<usize>().ok()?)?;
        (!id.is_empty()).then(|| format!("device.{id}.{name}"))
    };
    named().unwrap_or(key)
}

/// A value as it may be shown: no secret, no password in an address, not too long.
fn masked(key: &str, value: &str) -> String {
    let name = key.rsplit('.').find(|part| part.parse::<u32>().is_err());
    let is_secret = name.is_some_and(|name| {
        SECRETS
            .iter()
            .any(|secret| name.split(['_', '-']).any(|word| word == *secret))
    });
    if is_secret {
        return MASK.to_owned();
    }
    let value = without_login(value);
    if value.chars().count() <= VALUE_CHARACTERS_MAX {
        return value;
    }
    let mut cut: String = value.chars().take(VALUE_CHARACTERS_MAX - 1).collect();
    cut.push('…');
    cut
}

/// `ipp://user:password@host/` without what stands before the `@`.
pub fn without_login(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else {
        return value.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{MASK}{}", &rest[at..]),
        None => value.to_owned(),
    }
}

/// Every setting that is not the same in both.
pub fn differences(
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let value = |settings: &BTreeMap<String, String>, key: &str| {
        settings.get(key).cloned().unwrap_or_default()
    };
    let mut keys: Vec<&String> = was.keys().chain(is.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| was.get(*key) != is.get(*key))
        .map(|key| Difference {
            key: key.clone(),
            was: value(was, key),
            is: value(is, key),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[platform]
url = "https://kiosk:hunter2@platform.example/api"
command_keys = ["ed25519:abc"]
[[device]]
id = "scanner"
port = "/dev/ttyACM0"
options = { access_token = "s3cret", role = "face" }
[[device]]
id = "pages"
port = "ipp://user:secret@192.0.2.1/ipp"
"#;

    #[test]
    fn secrets_are_masked_and_devices_go_by_their_ids() {
        let found = settings(FILE);
        let all = format!("{found:?}");
        for secret in ["hunter2", "s3cret", "user:secret"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        assert_eq!(found["platform.url"], "https://••••@platform.example/api");
        assert_eq!(found["device.scanner.port"], "/dev/ttyACM0");
        assert_eq!(found["device.scanner.options.access_token"], MASK);
        assert_eq!(found["device.pages.port"], "ipp://••••@192.0.2.1/ipp");
        assert_eq!(found["platform.command_keys.0"], "ed25519:abc");
        assert!(settings("no toml [").is_empty());
    }

    #[test]
    fn what_came_went_and_changed_is_told() {
        let was = settings(FILE);
        let is = settings(
            &FILE
                .replace("ttyACM0", "ttyACM1")
                .replace("role = \"face\"", "x = 1"),
        );
        let told: Vec<(String, String, String)> = differences(&was, &is)
            .into_iter()
            .map(|each| (each.key, each.was, each.is))
            .collect();
        let expected = [
            ("device.scanner.options.role", "face", ""),
            ("device.scanner.options.x", "", "1"),
            ("device.scanner.port", "/dev/ttyACM0", "/dev/ttyACM1"),
        ];
        let expected = expected.map(|(key, was, is)| (key.into(), was.into(), is.into()));
        assert_eq!(told, expected);
        assert!(differences(&was, &was).is_empty());
    }
}
