//! `repository`: key ceremony, signatures, publication, other keys, repair.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use kiosk_admin::clock;
use kiosk_admin::files;
use kiosk_admin::repository::{Done, Holders, Lives, Repository};
use kiosk_admin::tuf::{Keys, Role};
use kiosk_sealing::{DeviceKey, PublicKey};

use super::key::Opening;
use crate::{Signs, say};

/// Which keys count. Public halves, as `kiosk-admin keys show` prints them.
#[derive(Args)]
pub(crate) struct Holding {
    /// A key that says which keys count, kept offline; several, by several people.
    #[arg(long = "root", value_name = "KEY")]
    root: Vec<PublicKey>,
    /// How many of them must sign.
    #[arg(long, default_value_t = 2)]
    root_threshold: usize,
    /// A key that says which files are in force, kept offline.
    #[arg(long = "targets", value_name = "KEY")]
    targets: Vec<PublicKey>,
    /// How many of them must sign.
    #[arg(long, default_value_t = 1)]
    targets_threshold: usize,
    /// The key of the machine that says every day that this is still so.
    #[arg(long = "online", value_name = "KEY")]
    online: Option<PublicKey>,
}

/// Whose signature.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Which {
    /// On the newest list of keys.
    Root,
    /// On the newest list of files.
    Targets,
}

/// The keys that sign, each from its file.
#[derive(Args)]
pub(crate) struct Signing {
    /// A key file; again for each further one.
    #[arg(long, required = true)]
    key_file: Vec<PathBuf>,
    #[command(flatten)]
    opening: Opening,
}

impl Signing {
    /// Opens them.
    pub(crate) fn open(&self) -> anyhow::Result<Vec<DeviceKey>> {
        self.key_file
            .iter()
            .map(|path| self.opening.open(path, Signs::Ed25519))
            .collect()
    }
}

/// Say what would be done, and do nothing.
#[derive(Args, Clone, Copy)]
pub(crate) struct Dry {
    /// Say what would be written and signed; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A repository that terminals are updated from.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a repository with its first list of keys, for the holders to sign.
    #[command(after_help = "\
Example:
  kiosk-admin repository init program --name program --root ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo --root ed25519:PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw --targets ed25519:_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU --online ed25519:J4EC_Q9zxpN-tVdGr-HMvqf_ZZv3QgIDM6Dg5Xn1Hqg")]
    Init(Init),
    /// Add a holder's signature.
    #[command(after_help = "\
Example:
  kiosk-admin repository sign program root --key-file root-1.key")]
    Sign {
        /// The repository.
        directory: PathBuf,
        /// To what.
        #[arg(value_enum)]
        what: Which,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        dry: Dry,
    },
    /// Make the next list of keys, with other ones for the roles that are named; holders of before and
    /// of then must sign it.
    #[command(after_help = "\
Example:
  kiosk-admin repository new-root program --online ed25519:J4EC_Q9zxpN-tVdGr-HMvqf_ZZv3QgIDM6Dg5Xn1Hqg")]
    NewRoot {
        /// The repository.
        directory: PathBuf,
        #[command(flatten)]
        holding: Holding,
        #[command(flatten)]
        dry: Dry,
    },
    /// Sign for the next days and lay all of it where the web server, or a stick, has it.
    #[command(after_help = "\
Example:
  kiosk-admin repository publish program --key-file online.key --to /srv/updates")]
    Publish {
        /// The repository.
        directory: PathBuf,
        /// Where the web server finds it; it lies below its name there.
        #[arg(long)]
        to: PathBuf,
        /// File of the online key.
        #[arg(long)]
        key_file: PathBuf,
        #[command(flatten)]
        opening: Opening,
        #[command(flatten)]
        dry: Dry,
    },
    /// Say which keys count, how long signatures last, and what is missing.
    #[command(after_help = "Example:\n  kiosk-admin repository show program")]
    Show {
        /// The repository.
        directory: PathBuf,
    },
    /// Sign an order for one terminal whose clock was wrong, or which lost what it believed.
    #[command(after_help = "\
Example:
  kiosk-admin repository repair program --terminal T001 --out T001.repair.json --key-file targets.key")]
    Repair(Repair),
}

/// A new repository.
#[derive(Args)]
pub(crate) struct Init {
    /// Its directory.
    directory: PathBuf,
    /// Its name below the web server's address: `program` or `items`.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    holding: Holding,
    /// How long lists of keys last, in days.
    #[arg(long, default_value_t = Lives::default().root)]
    root_days: u16,
    /// How long lists of files last, in days.
    #[arg(long, default_value_t = Lives::default().targets)]
    targets_days: u16,
    /// How long the daily signatures last, in days.
    #[arg(long, default_value_t = Lives::default().online)]
    online_days: u16,
    #[command(flatten)]
    dry: Dry,
}

/// An order of repair.
#[derive(Args)]
pub(crate) struct Repair {
    /// The repository.
    directory: PathBuf,
    /// The terminal's number.
    #[arg(long)]
    terminal: String,
    /// It lost which versions it knew: today's count.
    #[arg(long)]
    versions: bool,
    /// Where the order is written, for `kiosk-updater repair`.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    dry: Dry,
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let now = clock::now();
    match command {
        Command::Init(init) => init.run(now),
        Command::Sign {
            directory,
            what,
            signing,
            dry,
        } => {
            let repository = Repository::open(&directory, dry.dry_run)?;
            let role = match what {
                Which::Root => Role::Root,
                Which::Targets => Role::Targets,
            };
            for key in signing.open()? {
                tell(&repository.sign(role, &key)?, dry)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::NewRoot {
            directory,
            holding,
            dry,
        } => {
            let repository = Repository::open(&directory, dry.dry_run)?;
            let (root, targets) = (holding.root(), holding.targets());
            tell(
                &repository.new_root(root, targets, holding.online, now)?,
                dry,
            )
        }
        Command::Publish {
            directory,
            to,
            key_file,
            opening,
            dry,
        } => {
            let repository = Repository::open(&directory, dry.dry_run)?;
            let key = opening.open(&key_file, Signs::Ed25519)?;
            tell(&repository.publish(&key, &to, now)?, dry)
        }
        Command::Show { directory } => {
            for line in Repository::open(&directory, true)?.describe(now)? {
                say(&line)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Repair(repair) => repair.run(now),
    }
}

impl Init {
    fn run(self, now: Timestamp) -> anyhow::Result<ExitCode> {
        let lives = Lives {
            root: self.root_days,
            targets: self.targets_days,
            online: self.online_days,
        };
        let (holders, is_dry) = (self.holding.all()?, self.dry.dry_run);
        let done = Repository::init(&self.directory, &self.name, lives, &holders, now, is_dry)?;
        tell(&done, self.dry)
    }
}

impl Repair {
    fn run(self, now: Timestamp) -> anyhow::Result<ExitCode> {
        let repository = Repository::open(&self.directory, self.dry.dry_run)?;
        let keys = self.signing.open()?;
        let order = repository.repair_order(&self.terminal, self.versions, &keys, now)?;
        if !self.dry.dry_run {
            files::write_result(&self.out, order)?;
        }
        let words = format!(
            "{}: an order for {}, good for a week",
            self.out.display(),
            self.terminal
        );
        tell(&Done { words: vec![words] }, self.dry)
    }
}

impl Holding {
    fn root(&self) -> Option<Keys> {
        (!self.root.is_empty()).then(|| Keys {
            keys: self.root.clone(),
            threshold: self.root_threshold,
        })
    }

    fn targets(&self) -> Option<Keys> {
        (!self.targets.is_empty()).then(|| Keys {
            keys: self.targets.clone(),
            threshold: self.targets_threshold,
        })
    }

    fn all(self) -> anyhow::Result<Holders> {
        match (self.root(), self.targets(), self.online) {
            (Some(root), Some(targets), Some(online)) => Ok(Holders {
                root,
                targets,
                online,
            }),
            _ => anyhow::bail!("name the keys of all roles: --root, --targets and --online"),
        }
    }
}

/// Says what was done, or what would be.
pub(crate) fn tell(done: &Done, dry: Dry) -> anyhow::Result<ExitCode> {
    let mark = if dry.dry_run { "would be: " } else { "" };
    for line in &done.words {
        say(&format!("{mark}{line}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
