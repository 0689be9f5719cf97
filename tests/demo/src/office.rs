//! The operator's desk: another machine, in another directory, with the real `kiosk-admin`. It knows
//! of the terminal what is on the glass, and the key under which it is registered; nothing else.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, ensure};

/// The operator's key.
const KEY: &str = "operator.pk8";
/// Who may be let in.
const PEOPLE: &str = "people.json";
/// The terminals' public keys.
const TERMINALS: &str = "terminals.txt";
/// A second factor on its way to the tool, which asks for it twice at a console.
const PIN: &str = "pin.txt";

/// The desk of one world.
#[derive(Clone, Debug)]
pub struct Office {
    directory: PathBuf,
    program: PathBuf,
    public_key: String,
}

impl Office {
    /// A desk in `directory`, with an operator's key of its own.
    ///
    /// # Errors
    /// `kiosk-admin` was not built, or the directory cannot be made.
    pub fn open(directory: &Path, program: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut office = Self {
            directory: directory.to_owned(),
            program: program.to_owned(),
            public_key: String::new(),
        };
        let made = office.run(&["keys", "new", "--unprotected", KEY])?;
        made.split_whitespace()
            .find(|word| word.starts_with("ed25519:"))
            .context("kiosk-admin printed no public key")?
            .clone_into(&mut office.public_key);
        Ok(office)
    }

    /// The operator's public key, for `[staff] unlock_keys`.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// Signs a permission for the challenge on a glass, for somebody who gets this role and second
    /// factor.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn unlock(
        &self,
        challenge: &str,
        person: &str,
        role: &str,
        pin: &str,
        minutes: u16,
    ) -> anyhow::Result<String> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.directory.join(PIN))?;
        writeln!(file, "{pin}")?;
        self.run(&[
            "person",
            "add",
            "--people",
            PEOPLE,
            "--name",
            person,
            "--role",
            role,
            "--pin-file",
            PIN,
            "--replace",
        ])?;
        std::fs::remove_file(self.directory.join(PIN))?;
        let minutes = minutes.to_string();
        let token = self.run(&[
            "unlock",
            "--challenge",
            challenge,
            "--key-file",
            KEY,
            "--people",
            PEOPLE,
            "--person",
            person,
            "--minutes",
            &minutes,
        ])?;
        Ok(token.trim().to_owned())
    }

    /// Checks a certificate of a terminal whose public key is known; answers what the tool says.
    ///
    /// # Errors
    /// The certificate is not to be believed.
    pub fn verify_certificate(
        &self,
        certificate: &str,
        terminal: &str,
        key: &str,
    ) -> anyhow::Result<String> {
        let line = format!("{terminal} {key}\n");
        std::fs::write(self.directory.join(TERMINALS), line)?;
        self.run(&["verify-certificate", certificate, "--keys", TERMINALS])
    }

    /// What the tool prints when it succeeds.
    fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let output: Output = Command::new(&self.program)
            .args(words)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{}: build it first", self.program.display()))?;
        ensure!(
            output.status.success(),
            "kiosk-admin {}: {}",
            words.first().copied().unwrap_or_default(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
