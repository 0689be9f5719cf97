//! The configuration with which the terminal last started well. A village must not lose its terminal
//! because somebody saved a file with a mistake in it: the terminal then runs on with this copy, says
//! so to staff, in the audit log and to the platform, and leaves the file to whoever mends it.
//!
//! The copy lies beside the store, for the terminal's user alone. It is used only while it is still
//! right by itself and belongs to the directory that it was found in.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::mistake::Mistake;
use super::{Config, ConfigError, refused};
use crate::platform::DeviceVitals;

/// Name of the copy in the directory of the durable state.
pub const NAME: &str = "last-good.toml";
/// Largest configuration that is believed, in bytes. Chosen: the longest one known has some 10 KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Where the durable state is when nobody says otherwise (`StateDirectory=` of the unit).
const STATE: &str = "/var/lib/kiosk";
/// What the service manager calls that directory (systemd.exec(5)); several are divided by colons.
const STATE_VARIABLE: &str = "STATE_DIRECTORY";
/// Problem code: the terminal runs with the copy.
pub const CODE: &str = "configuration.kept";
/// Id and class of the terminal itself where devices are listed.
const TERMINAL: &str = "terminal";

/// The text of a file, bounded.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

impl Config {
    /// Reads a configuration file, or, when it is wrong or the program has not started with it, the copy
    /// of the last one that was right. What is wrong with the file stands in
    /// [`Source::mistake`](super::Source::mistake) then.
    ///
    /// # Errors
    /// The mistake in the file, where no copy can be used.
    pub fn read_or_kept(path: &Path) -> Result<Self, ConfigError> {
        let found = Self::read(path);
        let mistake = match &found {
            Ok(config) => refused::mistake_of(config, path),
            Err(error) => Some(Mistake::of(error)),
        };
        let Some(mistake) = mistake else {
            return found;
        };
        let is_other = |copy: &Self| {
            let text = found.as_ref().map(|config| config.source.text.as_str());
            text.is_ok_and(|text| text != copy.source.text) || text.is_err()
        };
        let Some(mut config) = find(path).filter(is_other) else {
            return found;
        };
        config.source.mistake = Some(mistake);
        Ok(config)
    }

    /// Keeps this configuration: the terminal has started with it. One that was itself a copy is kept
    /// already, and so is one that has not changed.
    ///
    /// # Errors
    /// The copy cannot be written; the terminal runs all the same.
    pub(crate) fn keep(&self) -> io::Result<()> {
        if !self.source.is_of_file() {
            return Ok(());
        }
        self.forget_refused()?;
        let copy = self.paths.state.join(NAME);
        if read_text(&copy).is_ok_and(|text| text == self.source.text) {
            return Ok(());
        }
        kiosk_sealing::write_private(&copy, self.source.text.as_bytes())
    }

    /// The terminal itself among the devices of a heartbeat, while it runs with the copy.
    pub(crate) fn alarm(&self) -> Option<DeviceVitals> {
        self.source.mistake.as_ref().map(|_| DeviceVitals {
            id: TERMINAL.to_owned(),
            class: TERMINAL.to_owned(),
            state: "online".to_owned(),
            faults: vec![CODE.to_owned()],
        })
    }
}

/// The copy that can be used in place of the file.
fn find(path: &Path) -> Option<Config> {
    directories(path).into_iter().find_map(|directory| {
        let text = read_text(&directory.join(NAME)).ok()?;
        let mut config = Config::parse(&text).ok()?;
        let is_its_own = same(&config.paths.state, &directory);
        config.source.path = Some(path.to_path_buf());
        is_its_own.then_some(config)
    })
}

/// The directory of the durable state, also where the file that names it is wrong; `None` where none
/// is there.
pub fn state_of(path: &Path) -> Option<PathBuf> {
    match Config::read_or_kept(path) {
        Ok(config) => Some(config.paths.state),
        Err(_) => directories(path).into_iter().find(|path| path.is_dir()),
    }
}

/// Where the durable state may be: what the file says as far as it can be read, what the service
/// manager says, what is usual.
fn directories(path: &Path) -> Vec<PathBuf> {
    let told = std::env::var_os(STATE_VARIABLE);
    let text = read_text(path).unwrap_or_default();
    named(&text)
        .into_iter()
        .chain(told.as_deref().and_then(first))
        .chain([PathBuf::from(STATE)])
        .collect()
}

fn first(told: &OsStr) -> Option<PathBuf> {
    let path = std::env::split_paths(told).next()?;
    path.is_absolute().then_some(path)
}

/// The directory of the durable state in the text of a configuration that may be wrong anywhere else:
/// `state = "…"` under `[paths]`, without escapes. Bounded by the text, never panics.
pub fn named(text: &str) -> Option<PathBuf> {
    let mut is_paths = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_paths = line.starts_with("[paths]");
            continue;
        }
        let value = is_paths
            .then(|| line.strip_prefix("state"))
            .flatten()
            .and_then(|rest| rest.trim_start().strip_prefix('='))
            .map(str::trim_start);
        let Some(value) = value else { continue };
        let quote = value.chars().next().filter(|mark| "\"'".contains(*mark))?;
        let (name, _) = value[1..].split_once(quote)?;
        let is_plain = !name.is_empty() && !name.contains(['\\', '\0']);
        return is_plain.then(|| PathBuf::from(name));
    }
    None
}

/// Two names of one directory.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use kiosk_sealing::{RecipientSecret, Suite};
    use tempfile::TempDir;

    use super::*;
    use crate::config::mistake::MistakeKind;

    /// A directory with a configuration that is right; its state lies in `state`.
    fn place() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let sealing_key = RecipientSecret::generate(Suite::Intl).unwrap().public();
        let text = format!(
            "[terminal]\nid = \"T001\"\nsite = \"测试村\"\nhelp_phone = \"12345\"\n[platform]\n\
             url = \"http://127.0.0.1:1\"\nsealing_key = \"{sealing_key}\"\n[paths]\n\
             state = \"{}\"\nitems = \"items\"\n",
            state.display()
        );
        let file = directory.path().join("kiosk.toml");
        std::fs::write(&file, text).unwrap();
        (directory, file)
    }

    fn spoil(file: &Path) {
        let text = std::fs::read_to_string(file).unwrap();
        std::fs::write(file, text.replace("site = ", "site ")).unwrap();
    }

    #[test]
    fn a_broken_file_is_replaced_by_the_copy_of_the_last_good_one_and_says_so() {
        let (directory, file) = place();
        let good = Config::read_or_kept(&file).unwrap();
        assert!(good.source.mistake().is_none() && good.alarm().is_none());
        good.keep().unwrap();
        let copy = directory.path().join("state").join(NAME);
        let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        spoil(&file);
        let kept = Config::read_or_kept(&file).unwrap();
        assert_eq!(kept.terminal.site, "测试村");
        let mistake = kept.source.mistake().unwrap();
        assert_eq!((mistake.line, &mistake.kind), (3, &MistakeKind::Wrong));
        assert_eq!(kept.alarm().unwrap().faults, [CODE]);
        assert_eq!(state_of(&file), Some(directory.path().join("state")));
        // A copy is never the copy of a copy: the file is what was given.
        std::fs::remove_file(&copy).unwrap();
        kept.keep().unwrap();
        assert!(!copy.exists());
    }

    #[test]
    fn a_file_that_has_not_started_is_replaced_by_the_copy_until_it_is_changed() {
        let (directory, file) = place();
        let good = Config::read_or_kept(&file).unwrap();
        good.keep().unwrap();
        let device = "[[device]]\nid = \"slip\"\nclass = \"slip-printer\"\ndriver = \"nonsense\"\n\
                      port = \"/dev/null\"\n";
        std::fs::write(&file, format!("{}{device}", good.source.text())).unwrap();
        let wrong = Config::read_or_kept(&file).unwrap();
        assert!(wrong.source.mistake().is_none(), "it is tried once");
        let line = refused::line_of_device(wrong.source.text(), "slip", "driver");
        wrong.refuse(line).unwrap();
        let note = directory.path().join("state").join(refused::NAME);
        assert!(!std::fs::read_to_string(&note).unwrap().contains("nonsense"));

        let kept = Config::read_or_kept(&file).unwrap();
        assert!(kept.devices.is_empty());
        let mistake = kept.source.mistake().unwrap();
        assert_eq!(mistake.kind, MistakeKind::NotStarting);
        let written = wrong.source.text().lines().nth(mistake.line - 1).unwrap();
        assert_eq!(written, "driver = \"nonsense\"");
        // The copy that runs neither refuses nor forgets anything.
        kept.refuse(1).unwrap();
        kept.keep().unwrap();
        assert!(
            Config::read_or_kept(&file)
                .unwrap()
                .source
                .mistake()
                .is_some()
        );

        // Changed, it is tried again; started with, it is the one to come back to.
        let mended = format!("{}# mended\n", good.source.text());
        std::fs::write(&file, &mended).unwrap();
        let config = Config::read_or_kept(&file).unwrap();
        assert!(config.source.mistake().is_none());
        config.keep().unwrap();
        assert!(!note.exists());
        let copy = directory.path().join("state").join(NAME);
        assert_eq!(std::fs::read_to_string(copy).unwrap(), mended);
    }

    #[test]
    fn without_another_copy_a_refused_file_is_tried_again() {
        let (directory, file) = place();
        let only = Config::read_or_kept(&file).unwrap();
        only.refuse(0).unwrap();
        assert!(
            Config::read_or_kept(&file)
                .unwrap()
                .source
                .mistake()
                .is_none()
        );
        // A copy of the same text is no better.
        std::fs::write(
            directory.path().join("state").join(NAME),
            only.source.text(),
        )
        .unwrap();
        assert!(
            Config::read_or_kept(&file)
                .unwrap()
                .source
                .mistake()
                .is_none()
        );
    }

    #[test]
    fn a_copy_that_is_wrong_or_of_another_terminal_is_not_used() {
        let (directory, file) = place();
        let good = Config::read(&file).unwrap();
        let copy = directory.path().join("state").join(NAME);
        let elsewhere = good.source.text().replace("/state\"", "\"");
        let large = format!("{}#{}", good.source.text(), "x".repeat(300_000));
        spoil(&file);
        for text in ["", "rubbish", elsewhere.as_str(), large.as_str()] {
            std::fs::write(&copy, text).unwrap();
            let error = Config::read_or_kept(&file).unwrap_err();
            assert!(
                matches!(error, ConfigError::Wrong { line: 3, .. }),
                "{error}"
            );
        }
        std::fs::write(&copy, good.source.text()).unwrap();
        assert!(Config::read_or_kept(&file).is_ok());
    }

    #[test]
    fn the_state_is_found_in_a_file_that_is_wrong_elsewhere_and_nothing_else_is_taken_for_it() {
        for (text, expect) in [
            ("[paths]\nstate = \"/a b\" # here\n", Some("/a b")),
            ("x = [\n[paths]\n  state='/a'\n", Some("/a")),
            ("[paths] # all\nstate = \"/a\"\n", Some("/a")),
            ("[store]\nstate = \"/a\"\n", None),
            ("state = \"/a\"\n", None),
            ("[paths]\nstate = \"/a\n", None),
            ("[paths]\nstate = /a\n", None),
            ("[paths]\nstate = \"\"\n", None),
            ("[paths]\nstate = \"/\\u0041\"\n", None),
            ("[paths]\nstates = \"/a\"\n", None),
            ("[paths]\nstate =", None),
            ("[paths]\nstate = é", None),
            ("", None),
        ] {
            assert_eq!(named(text), expect.map(PathBuf::from), "{text:?}");
        }
    }

    #[test]
    fn what_the_service_manager_says_is_the_first_absolute_directory() {
        let first = |text: &str| first(OsStr::new(text));
        assert_eq!(first("/a:/b"), Some(PathBuf::from("/a")));
        assert_eq!(first("a"), None);
        assert_eq!(first(""), None);
    }
}
