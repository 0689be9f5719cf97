//! How a machine of the demo becomes a terminal: it has a directory and a code that somebody typed,
//! and runs the real `kiosk enrol`. What that prints goes into its configuration.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::Value;

use super::operator::{Code, Operator};
use crate::clock::{milliseconds_since, now};

/// The operator's authority, as it was carried to the machine beside the code.
const CA: &str = "ca.pem";
/// The code, while it is typed.
const CODE: &str = "code";

/// A machine that became a terminal.
#[derive(Clone, Debug, Serialize)]
pub struct Enrolment {
    /// Its number.
    pub terminal: String,
    /// Where it stands, as the platform told it.
    pub region: String,
    /// The end of its certificate.
    pub certificate_until: String,
    /// From the code to the certificate on its disk, in milliseconds.
    pub took_ms: u64,
    /// What it was told for its `kiosk.toml`.
    #[serde(skip)]
    pub lines: toml::Table,
}

/// A machine on which the package was installed, and nothing else was done.
#[derive(Debug)]
pub struct Machine<'a> {
    name: &'a str,
    directory: PathBuf,
    kiosk: PathBuf,
}

impl<'a> Machine<'a> {
    /// Sets a machine up in `directory`, with the operator's authority beside it. `name` stands in the
    /// operator's log.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn new(
        name: &'a str,
        directory: &Path,
        kiosk: PathBuf,
        operator: &Operator,
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = directory.canonicalize()?;
        fs::copy(operator.ca(), directory.join(CA))?;
        let state = directory.join("state");
        let text = serde_json::json!({ "paths": { "state": state } });
        fs::write(directory.join("kiosk.toml"), toml::to_string(&text)?)?;
        Ok(Self {
            name,
            directory,
            kiosk,
        })
    }

    /// Becomes this terminal.
    ///
    /// # Errors
    /// The platform refuses, or the program is not as it should be.
    pub fn enroll(
        &self,
        operator: &Operator,
        platform: &str,
        code: &Code,
    ) -> anyhow::Result<Enrolment> {
        let began = now();
        let (said, complained) = self.ask(operator, platform, code)?;
        ensure!(complained.is_empty(), "{}: {complained}", self.name);
        let told: Value = serde_json::from_str(&said)?;
        let word = |name: &str| {
            let word = told[name].as_str().map(str::to_owned);
            word.with_context(|| format!("kiosk enrol said nothing of {name}"))
        };
        Ok(Enrolment {
            terminal: word("terminal")?,
            region: word("region")?,
            certificate_until: word("not_after")?,
            took_ms: milliseconds_since(began),
            lines: word("configuration")?.parse()?,
        })
    }

    /// Tries to become this terminal with a code that was used already; answers the refusal in the
    /// words for whoever stands before the machine.
    ///
    /// # Errors
    /// It was let in, or refused for another reason.
    pub fn be_refused(
        &self,
        operator: &Operator,
        platform: &str,
        code: &Code,
    ) -> anyhow::Result<String> {
        let (said, complained) = self.ask(operator, platform, code)?;
        ensure!(said.is_empty(), "{} was let in with a used code", self.name);
        ensure!(
            complained.contains("enrolment.code-used"),
            "{}: {complained}",
            self.name
        );
        Ok(complained)
    }

    /// Runs the command; answers what it said and what it complained of.
    fn ask(
        &self,
        operator: &Operator,
        platform: &str,
        code: &Code,
    ) -> anyhow::Result<(String, String)> {
        let typed = self.directory.join(CODE);
        fs::write(&typed, &code.code)?;
        fs::set_permissions(&typed, Permissions::from_mode(0o600))?;
        let words = [
            "enrol",
            "--platform",
            platform,
            "--terminal",
            &code.terminal,
            "--ca",
            CA,
            "--code-file",
            CODE,
            "--config",
            "kiosk.toml",
            "--json",
        ];
        let output = Command::new(&self.kiosk)
            .args(words)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{}: build it first", self.kiosk.display()))?;
        fs::remove_file(&typed)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        let command = format!("{}$ kiosk {}", self.name, words.join(" "));
        operator.note(&command, &said, &complained)?;
        ensure!(
            output.status.success() == complained.is_empty(),
            "{command}: {complained}"
        );
        Ok((said, complained))
    }
}
