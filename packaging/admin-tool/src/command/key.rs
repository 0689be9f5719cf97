//! `keys new`, `keys show`, `keys change-passphrase`, and how every other command opens its key.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use kiosk_admin::key_file::{self, Protection};
use kiosk_admin::passphrase::VARIABLE;
use kiosk_sealing::DeviceKey;

use crate::{Signs, say};

/// How a key file is opened.
#[derive(Args)]
pub(crate) struct Opening {
    /// Take the key's passphrase from this file, or from the one that `KIOSK_PASSPHRASE_FILE` names;
    /// else it is asked for and not shown.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

impl Opening {
    /// Opens the key.
    pub(crate) fn open(&self, path: &Path, algorithm: Signs) -> anyhow::Result<DeviceKey> {
        let passphrase_file = self.passphrase_file.clone().or_else(from_environment);
        let passphrase_file = passphrase_file.as_deref();
        Ok(key_file::open(path, algorithm.into(), passphrase_file)?)
    }
}

/// How a new key file is sealed.
#[derive(Args)]
pub(crate) struct Sealing {
    /// Take the new passphrase from this file, or from the one that `KIOSK_PASSPHRASE_FILE` names;
    /// else it is asked for twice and not shown.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// Seal it by nothing: whoever copies the file signs in its owner's name.
    #[arg(long, conflicts_with = "passphrase_file")]
    unprotected: bool,
}

impl Sealing {
    /// Makes a key, and shows its public half.
    pub(crate) fn make(self, path: &Path, algorithm: Signs) -> anyhow::Result<ExitCode> {
        let file = self.passphrase_file.or_else(from_environment);
        let protection = protection(self.unprotected, file);
        warn(path, &protection)?;
        show(&key_file::make(path, algorithm.into(), &protection)?)
    }
}

fn from_environment() -> Option<PathBuf> {
    std::env::var_os(VARIABLE)
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
}

fn protection(unprotected: bool, file: Option<PathBuf>) -> Protection {
    if unprotected {
        Protection::None
    } else {
        Protection::Passphrase(file)
    }
}

fn warn(path: &Path, protection: &Protection) -> std::io::Result<()> {
    if *protection != Protection::None {
        return Ok(());
    }
    writeln!(
        std::io::stderr(),
        "kiosk-admin: warning: {} has no passphrase; whoever copies it signs in its owner's name",
        path.display()
    )
}

/// Keys that sign.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a key in a new file, sealed by a passphrase; the public half is printed.
    #[command(after_help = "Example:\n  kiosk-admin keys new operator.key")]
    New {
        /// How it signs.
        #[arg(long, value_enum, default_value_t = Signs::Ed25519)]
        algorithm: Signs,
        #[command(flatten)]
        sealing: Sealing,
        /// The file.
        file: PathBuf,
    },
    /// Print the public half of a key.
    #[command(after_help = "Example:\n  kiosk-admin keys show operator.key")]
    Show {
        /// How it signs.
        #[arg(long, value_enum, default_value_t = Signs::Ed25519)]
        algorithm: Signs,
        #[command(flatten)]
        opening: Opening,
        /// The file.
        file: PathBuf,
    },
    /// Seal a key file by another passphrase; also one that has none yet.
    #[command(after_help = "Example:\n  kiosk-admin key change-passphrase operator.key")]
    ChangePassphrase {
        /// Take the passphrase of now from this file, or from the one that `KIOSK_PASSPHRASE_FILE`
        /// names.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// Take the new passphrase from this file.
        #[arg(long)]
        new_passphrase_file: Option<PathBuf>,
        /// Take the passphrase away: whoever copies the file signs in its owner's name.
        #[arg(long, conflicts_with = "new_passphrase_file")]
        unprotected: bool,
        /// The file.
        file: PathBuf,
    },
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::New {
            algorithm,
            sealing,
            file,
        } => sealing.make(&file, algorithm),
        Command::Show {
            algorithm,
            opening,
            file,
        } => show(&opening.open(&file, algorithm)?),
        Command::ChangePassphrase {
            passphrase_file,
            new_passphrase_file,
            unprotected,
            file,
        } => {
            let now = passphrase_file.or_else(from_environment);
            let protection = protection(unprotected, new_passphrase_file);
            warn(&file, &protection)?;
            show(&key_file::change(&file, now.as_deref(), &protection)?)
        }
    }
}

fn show(key: &DeviceKey) -> anyhow::Result<ExitCode> {
    let public = key.public();
    say(&format!("{public}\nid {}", public.key_id()))?;
    Ok(ExitCode::SUCCESS)
}
