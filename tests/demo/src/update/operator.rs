//! The operator's desk: keys and releases, all by the real `kiosk-admin` in a directory of its own.
//! Every command and its answer is written down, so that a reader can do the same by hand.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use central_platform::Administrator;
use kiosk_update::manifest::Version;

/// The repository of the program, and the operator's files beside it.
const REPOSITORY: &str = "program";
const ROOT_KEYS: [&str; 3] = ["root-1.key", "root-2.key", "root-3.key"];
const TARGETS_KEY: &str = "targets.key";
const ONLINE_KEY: &str = "online.key";
/// What the platform is shown.
const TOKEN: &str = "operator.token";
/// Who vouches for the platform, and for the terminals.
const CA: &str = "ca.pem";
/// The day on which the villages got their terminals.
const INSTALLED_ON: &str = "2026-03-01";
/// Cases that the year asks of each.
const TARGET: &str = "370";

/// A release and who takes it when.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Its version.
    pub version: Version,
    /// Its files.
    pub tree: &'a Path,
    /// What draws the first ones.
    pub seed: u32,
    /// Kind of hardware.
    pub hardware: &'a str,
    /// Size of the first wave in percent.
    pub first_percent: u16,
    /// When all others follow, in seconds.
    pub rest_after_s: u64,
    /// Longest jitter inside a wave, in seconds.
    pub spread_s: u64,
}

/// What makes one machine a terminal, once.
#[derive(Clone, Debug)]
pub struct Code {
    /// Number of the terminal.
    pub terminal: String,
    /// Twelve letters.
    pub code: String,
}

/// The desk.
#[derive(Debug)]
pub struct Operator {
    directory: PathBuf,
    program: PathBuf,
    log: File,
}

impl Operator {
    /// A desk in `directory`, which writes down in `log` what it does.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn open(directory: &Path, program: &Path, log: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)?;
        let log = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(log)?;
        Ok(Self {
            directory: directory.canonicalize()?,
            program: program.to_owned(),
            log,
        })
    }

    /// Where the desk's files lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The root that terminals begin to believe with.
    pub fn root(&self) -> PathBuf {
        self.directory.join(REPOSITORY).join("metadata/1.root.json")
    }

    /// The authority that everybody here believes.
    pub fn ca(&self) -> PathBuf {
        self.directory.join(CA)
    }

    /// Makes the operator's token; the platform is told who that is.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn register(&self) -> anyhow::Result<Administrator> {
        let said = self.run(&[
            "fleet", "token", TOKEN, "--name", "operator", "--role", "own",
        ])?;
        let line = said.lines().last().context("no administrator")?;
        Ok(serde_json::from_str(line)?)
    }

    /// Has a terminal expected at a place: makes the code for its machine.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn expect(&self, platform: &str, terminal: &str, region: &str) -> anyhow::Result<Code> {
        let words = [
            "fleet",
            "enrol",
            terminal,
            "--region",
            region,
            "--site",
            "党群服务中心",
            "--installed-on",
            INSTALLED_ON,
            "--target",
            TARGET,
        ];
        let said = self.ask(platform, &words)?;
        let mut said = said.split([' ', ',']).skip_while(|word| *word != "code");
        let code = said.nth(1).context("kiosk-admin printed no code")?;
        Ok(Code {
            terminal: terminal.to_owned(),
            code: code.to_owned(),
        })
    }

    /// Who runs what, and what became of releases, as the platform knows it.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn fleet(&self, platform: &str) -> anyhow::Result<String> {
        Ok(format!(
            "{}\n{}",
            self.ask(platform, &["fleet", "list"])?,
            self.ask(platform, &["fleet", "holds"])?
        ))
    }

    /// All that the platform knows of one terminal.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn show(&self, platform: &str, terminal: &str) -> anyhow::Result<String> {
        self.ask(platform, &["fleet", "show", terminal])
    }

    /// Asks the platform, over TLS and with the operator's token.
    fn ask(&self, platform: &str, words: &[&str]) -> anyhow::Result<String> {
        let door = ["--platform", platform, "--token-file", TOKEN, "--ca", CA];
        self.run(&[words, &door].concat())
    }

    /// Makes the keys and the first root, which two of three holders sign.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn hold_ceremony(&self) -> anyhow::Result<()> {
        let mut publics = Vec::new();
        for key in ROOT_KEYS.iter().chain([&TARGETS_KEY, &ONLINE_KEY]) {
            self.run(&["keys", "new", "--unprotected", key])?;
            let shown = self.run(&["keys", "show", key])?;
            let public = shown.lines().next().context("no public key")?;
            publics.push(public.to_owned());
        }
        let mut words = vec!["repository", "init", REPOSITORY, "--name", REPOSITORY];
        let roles = ["--root", "--root", "--root", "--targets", "--online"];
        for (role, public) in roles.into_iter().zip(&publics) {
            words.extend([role, public]);
        }
        self.run(&words)?;
        for key in &ROOT_KEYS[..2] {
            self.run(&["repository", "sign", REPOSITORY, "root", "--key-file", key])?;
        }
        Ok(())
    }

    /// Adds a release and signs it.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn release(&self, plan: &Plan<'_>) -> anyhow::Result<()> {
        let version = plan.version.to_string();
        let tree = plan.tree.display().to_string();
        let seed = plan.seed.to_string();
        let first = format!("{}@0s", plan.first_percent);
        let rest = format!("100@{}s", plan.rest_after_s);
        let spread = format!("{}s", plan.spread_s);
        self.run(&[
            "release",
            "add",
            REPOSITORY,
            "--version",
            &version,
            "--files",
            &tree,
            "--hardware",
            plan.hardware,
            "--seed",
            &seed,
            "--wave",
            &first,
            "--wave",
            &rest,
            "--spread",
            &spread,
        ])?;
        self.run(&["release", "sign", REPOSITORY, "--key-file", TARGETS_KEY])?;
        Ok(())
    }

    /// Holds what is offered, or takes it away.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn change(&self, what: &str) -> anyhow::Result<()> {
        self.run(&["release", what, REPOSITORY, "--key-file", TARGETS_KEY])?;
        Ok(())
    }

    /// What is offered, in words.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn offered(&self) -> anyhow::Result<String> {
        self.run(&["release", "show", REPOSITORY])
    }

    /// Signs for today and lays it where the web server finds it.
    ///
    /// # Errors
    /// `kiosk-admin` refuses.
    pub fn publish(&self, published: &Path) -> anyhow::Result<()> {
        let published = published.display().to_string();
        self.run(&[
            "repository",
            "publish",
            REPOSITORY,
            "--key-file",
            ONLINE_KEY,
            "--to",
            &published,
        ])?;
        Ok(())
    }

    /// Writes down a command and its answer.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn note(&self, command: &str, said: &str, complained: &str) -> anyhow::Result<()> {
        let mut log = &self.log;
        Ok(write!(log, "{command}\n{said}{complained}")?)
    }

    fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(words)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("{}: build it first", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        let command = format!("$ kiosk-admin {}", words.join(" "));
        self.note(&command, &said, &complained)?;
        ensure!(
            output.status.success(),
            "kiosk-admin {}: {complained}",
            words.join(" ")
        );
        Ok(said)
    }
}
