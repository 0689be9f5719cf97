//! One `[[device]]` table of `kiosk.toml`: which driver, which port, which model.
//!
//! Refuses what it does not know (keys, classes, names that are no names) when the file is read, so
//! that a wrong table stops the start with its line and never becomes a silent device.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::status::DeviceClass;

/// Longest device id; it names a thread and appears on the technician's screen. Chosen.
const ID_LENGTH_MAX: usize = 32;

/// How one device is attached.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceConfig {
    /// Name of this device on this terminal: lower-case letters, digits and hyphens.
    #[serde(deserialize_with = "id_from_text")]
    pub id: String,
    /// What kind of device it is.
    #[serde(deserialize_with = "class_from_text")]
    pub class: DeviceClass,
    /// Which driver speaks to it (`sdt`, `newland`, `escpos`, `ipp`, `mjpeg`).
    pub driver: String,
    /// Where it is: an absolute path, `tcp:HOST:PORT`, or what the driver says.
    pub port: String,
    /// Speed of a serial port in baud; the driver's own choice when absent.
    #[serde(default)]
    pub baud: Option<u32>,
    /// Maker and model in the installer's words, when the device does not tell.
    #[serde(default)]
    pub model: Option<String>,
    /// The relay that can cut its power, where there is one.
    #[serde(default)]
    pub power: Option<Power>,
    /// What only this driver knows.
    #[serde(default)]
    pub options: toml::Table,
}

/// The output of an I/O board that a device gets its power through.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Id of the device that is the board.
    pub board: String,
    /// Name of the output in the board's own table.
    pub output: String,
    /// How long the power stays off, in seconds, 1 to 60: until the device has forgotten.
    #[serde(default = "default_off", deserialize_with = "off_from_number")]
    pub off_s: u8,
}

/// Chosen: the capacitors of a printer's supply are empty after a few seconds.
const fn default_off() -> u8 {
    5
}

fn off_from_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let seconds = u8::deserialize(deserializer)?;
    if (1..=60).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(de::Error::custom(format!(
            "off_s is {seconds}; accepted: 1 to 60 seconds"
        )))
    }
}

/// What is wrong with a `[[device]]` table, in words for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that the driver cannot use.
    #[error("device `{id}`: `{key}` is {found}; accepted: {accepted}")]
    NotAccepted {
        /// The device.
        id: String,
        /// The key in its table.
        key: String,
        /// What stands there.
        found: String,
        /// What may stand there.
        accepted: String,
    },
    /// An option that the driver does not have.
    #[error("device `{id}`: option `{key}` is unknown; known: {known}")]
    UnknownOption {
        /// The device.
        id: String,
        /// The key in its `options` table.
        key: String,
        /// The options of the driver.
        known: String,
    },
}

impl ConfigError {
    /// Stable problem code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAccepted { .. } => "device.config-not-accepted",
            Self::UnknownOption { .. } => "device.config-unknown-option",
        }
    }
}

impl DeviceConfig {
    /// An error about one key of this table.
    pub fn not_accepted(
        &self,
        key: &str,
        found: impl Into<String>,
        accepted: impl Into<String>,
    ) -> ConfigError {
        ConfigError::NotAccepted {
            id: self.id.clone(),
            key: key.to_owned(),
            found: found.into(),
            accepted: accepted.into(),
        }
    }

    /// Checks that the table is for `class`, names one of `drivers` and has no option outside
    /// `options`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key and what is accepted.
    pub fn expect(
        &self,
        class: DeviceClass,
        drivers: &[&str],
        options: &[&str],
    ) -> Result<(), ConfigError> {
        if self.class != class {
            return Err(self.not_accepted("class", quoted(self.class.name()), class.name()));
        }
        if !drivers.contains(&self.driver.as_str()) {
            return Err(self.not_accepted("driver", quoted(&self.driver), drivers.join(", ")));
        }
        match self
            .options
            .keys()
            .find(|key| !options.contains(&key.as_str()))
        {
            None => Ok(()),
            Some(key) => Err(ConfigError::UnknownOption {
                id: self.id.clone(),
                key: key.clone(),
                known: if options.is_empty() {
                    "none".to_owned()
                } else {
                    options.join(", ")
                },
            }),
        }
    }

    /// The whole number under `key` in the options, or `default` when it is absent.
    ///
    /// # Errors
    /// [`ConfigError::NotAccepted`] when it is no number or outside `range`.
    pub fn option_number(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> Result<u32, ConfigError> {
        let Some(value) = self.options.get(key) else {
            return Ok(default);
        };
        value
            .as_integer()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let accepted = format!("a number from {} to {}", range.start(), range.end());
                self.not_accepted(&format!("options.{key}"), value.to_string(), accepted)
            })
    }

    /// The word under `key` in the options, one of `words`, or `default` when it is absent.
    ///
    /// # Errors
    /// [`ConfigError::NotAccepted`] when it is another word or no word.
    pub fn option_word<'a>(
        &self,
        key: &str,
        words: &[&'a str],
        default: &'a str,
    ) -> Result<&'a str, ConfigError> {
        let Some(value) = self.options.get(key) else {
            return Ok(default);
        };
        words
            .iter()
            .copied()
            .find(|word| value.as_str() == Some(word))
            .ok_or_else(|| {
                self.not_accepted(
                    &format!("options.{key}"),
                    value.to_string(),
                    words.join(", "),
                )
            })
    }
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

fn id_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    let is_name = !id.is_empty()
        && id.len() <= ID_LENGTH_MAX
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_name {
        Ok(id)
    } else {
        Err(de::Error::custom(format!(
            "device id {id:?} is not accepted; accepted: 1 to {ID_LENGTH_MAX} lower-case letters, digits and hyphens"
        )))
    }
}

fn class_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceClass, D::Error> {
    let name = String::deserialize(deserializer)?;
    DeviceClass::from_name(&name).ok_or_else(|| {
        de::Error::custom(format!(
            "device class {name:?} is unknown; accepted: {}",
            DeviceClass::ALL.map(DeviceClass::name).join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READER: &str = r#"
        id = "reader-1"
        class = "id-card"
        driver = "sdt"
        port = "/dev/ttyUSB0"
        [options]
        width_dots = 512
        cut = "full"
    "#;

    fn read(text: &str) -> Result<DeviceConfig, toml::de::Error> {
        toml::from_str(text)
    }

    fn check_refused(from: &str, to: &str, expect: &str) {
        let error = read(&READER.replace(from, to)).expect_err("it must be refused");
        assert!(error.to_string().contains(expect), "{error}");
    }

    #[test]
    fn a_table_is_read_with_its_options() {
        let config = read(READER).unwrap();
        assert_eq!(config.class, DeviceClass::IdCard);
        assert_eq!(config.baud, None);
        assert_eq!(config.option_number("width_dots", 1..=600, 576), Ok(512));
        assert_eq!(config.option_number("other", 1..=600, 576), Ok(576));
        assert_eq!(
            config.option_word("cut", &["partial", "full"], "partial"),
            Ok("full")
        );
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_is_accepted() {
        check_refused("id-card", "toaster", "accepted: id-card, qr-scanner");
        check_refused("reader-1", "Reader 1", "lower-case letters");
        check_refused("port =", "prot =", "unknown field `prot`");
        check_refused(
            "[options]",
            "power = { board = \"io\", output = \"reader\", off_s = 0 }\n[options]",
            "accepted: 1 to 60 seconds",
        );
    }

    #[test]
    fn a_wrong_driver_class_or_option_names_the_device_and_the_key() {
        let config = read(READER).unwrap();
        let check = |result: Result<(), ConfigError>, expect: &str| {
            assert_eq!(result.expect_err("it must be refused").to_string(), expect);
        };
        check(
            config.expect(DeviceClass::Camera, &["sdt"], &[]),
            "device `reader-1`: `class` is `id-card`; accepted: camera",
        );
        check(
            config.expect(DeviceClass::IdCard, &["a", "b"], &[]),
            "device `reader-1`: `driver` is `sdt`; accepted: a, b",
        );
        check(
            config.expect(DeviceClass::IdCard, &["sdt"], &["width_dots"]),
            "device `reader-1`: option `cut` is unknown; known: width_dots",
        );
        check(
            config.option_number("cut", 1..=2, 1).map(|_| ()),
            "device `reader-1`: `options.cut` is \"full\"; accepted: a number from 1 to 2",
        );
        check(
            config.option_number("width_dots", 1..=2, 1).map(|_| ()),
            "device `reader-1`: `options.width_dots` is 512; accepted: a number from 1 to 2",
        );
        check(
            config
                .option_word("cut", &["partial"], "partial")
                .map(|_| ()),
            "device `reader-1`: `options.cut` is \"full\"; accepted: partial",
        );
    }
}
