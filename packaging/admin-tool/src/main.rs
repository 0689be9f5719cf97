//! `kiosk-admin`: the administrator's tool.
//!
//! Exit status 0: done; 1: not done, or not everything was taken, a log is not whole, a certificate is
//! not to be believed; 2: wrong use.

mod command;

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Parser, Subcommand, ValueEnum};
use kiosk_admin::audit_file;
use kiosk_admin::clock;
use kiosk_admin::files;
use kiosk_admin::import::{Certificates, Destination, Outcome};
use kiosk_admin::order::{self, Order};
use kiosk_sealing::audit::{self, Hash};
use kiosk_sealing::{Algorithm, PublicKey, RecipientSecret, Suite};
use uuid::Uuid;

/// Tool of the administrator. `kiosk-admin help COMMAND` shows each command with an example.
#[derive(Parser)]
#[command(name = "kiosk-admin", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keys that sign: of an operator, of whoever orders.
    #[command(visible_alias = "key")]
    Keys {
        #[command(subcommand)]
        command: command::key::Command,
    },
    /// Keys that terminals seal to.
    SealingKey {
        #[command(subcommand)]
        command: SealingKey,
    },
    /// The secret that whoever brings bundles shows to the platform.
    ImportToken {
        #[command(subcommand)]
        command: ImportToken,
    },
    /// Hand bundle parts of a stick to a platform; the receipts are written beside them.
    #[command(after_help = "\
Example:
  kiosk-admin import-bundle stick/T001-1.kiosk-bundle --platform https://platform.example --token-file import.token --ca ca.pem")]
    ImportBundle {
        /// The parts.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Base address of the platform.
        #[arg(long)]
        platform: String,
        /// File of the import token.
        #[arg(long)]
        token_file: PathBuf,
        /// Who vouches for the platform, in PEM; needed for https.
        #[arg(long)]
        ca: Option<PathBuf>,
        /// Our own certificate, in PEM, where the platform wants one.
        #[arg(long, requires = "certificate_key")]
        certificate: Option<PathBuf>,
        /// The key of that certificate, in PEM.
        #[arg(long, requires = "certificate")]
        certificate_key: Option<PathBuf>,
        /// Refuse parts that are not signed by one of these.
        #[arg(long)]
        key: Vec<PublicKey>,
    },
    /// Audit logs of terminals.
    Audit {
        #[command(subcommand)]
        command: Audit,
    },
    /// Orders to terminals.
    Order {
        #[command(subcommand)]
        command: Orders,
    },
    Unlock(command::unlock::Unlock),
    Delegate(command::unlock::Delegate),
    /// A technician's own key.
    Technician {
        #[command(subcommand)]
        command: command::unlock::Technician,
    },
    /// People who may be permitted to come in.
    Person {
        #[command(subcommand)]
        command: command::person::Command,
    },
    /// What terminals are updated from: keys, signatures, publication.
    Repository {
        #[command(subcommand)]
        command: command::repository::Command,
    },
    /// Releases of the program: who takes what when.
    Release {
        #[command(subcommand)]
        command: command::release::Command,
    },
    /// Items and settings of regions, apart from the program.
    Items {
        #[command(subcommand)]
        command: command::items::Command,
    },
    /// The terminals in the field, as the platform knows them.
    Fleet {
        #[command(subcommand)]
        command: Box<command::fleet::Command>,
    },
    Revoke(command::revoke::Revoke),
    Revoked(command::revoke::RevokedList),
    VerifyCertificate(command::certificate::VerifyCertificate),
    VerifyPage(command::certificate::VerifyPage),
}

#[derive(Subcommand)]
enum SealingKey {
    /// Make a key in a new file; the public half, for `platform.sealing_key`, is printed.
    #[command(after_help = "Example:\n  kiosk-admin sealing-key new sealing.key")]
    New {
        /// Which cryptography.
        #[arg(long, value_enum, default_value_t = Suites::Intl)]
        suite: Suites,
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum ImportToken {
    /// Make a token in a new file.
    #[command(after_help = "Example:\n  kiosk-admin import-token new import.token")]
    New {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum Audit {
    /// Verify an exported log.
    #[command(after_help = "\
Example:
  kiosk-admin audit verify T001.audit.jsonl --key ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")]
    Verify {
        /// The file that `kiosk audit export` wrote.
        file: PathBuf,
        /// Keys of the terminal, as `kiosk key show` printed them.
        #[arg(long, required = true)]
        key: Vec<PublicKey>,
        /// `SEQUENCE:HASH`, as the platform shows it for the terminal.
        #[arg(long, value_parser = anchor)]
        anchor: Option<(u64, Hash)>,
    },
}

#[derive(Subcommand)]
enum Orders {
    /// Sign an order; the text is printed.
    #[command(after_help = "\
Example:
  kiosk-admin order sign --terminal T001 --kind suspend-item --item old-age-allowance --key-file orders.key")]
    Sign {
        /// Number of the terminal.
        #[arg(long)]
        terminal: String,
        /// What to do.
        #[arg(long)]
        kind: String,
        /// The item, where the order is about one.
        #[arg(long)]
        item: Option<String>,
        /// How long it may be obeyed.
        #[arg(long, default_value_t = 3600)]
        expires_in_s: i64,
        /// How the key signs.
        #[arg(long, value_enum, default_value_t = Signs::Ed25519)]
        algorithm: Signs,
        /// File of the command key.
        #[arg(long)]
        key_file: PathBuf,
        #[command(flatten)]
        opening: command::key::Opening,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Signs {
    /// Ed25519.
    Ed25519,
    /// SM2 with SM3.
    Sm2Sm3,
}

impl From<Signs> for Algorithm {
    fn from(signs: Signs) -> Self {
        match signs {
            Signs::Ed25519 => Self::Ed25519,
            Signs::Sm2Sm3 => Self::Sm2,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Suites {
    /// X25519, AES-256-GCM.
    Intl,
    /// SM2, SM4-GCM.
    Gm,
}

impl From<Suites> for Suite {
    fn from(suite: Suites) -> Self {
        match suite {
            Suites::Intl => Self::Intl,
            Suites::Gm => Self::Gm,
        }
    }
}

fn anchor(text: &str) -> Result<(u64, Hash), &'static str> {
    const EXPECTED: &str = "an anchor is SEQUENCE:HASH, the hash in 64 hexadecimal digits";
    let (sequence, head) = text.split_once(':').ok_or(EXPECTED)?;
    let head = audit::parse_hash(head).ok_or(EXPECTED)?;
    Ok((sequence.parse().map_err(|_| EXPECTED)?, head))
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Nothing else can be said when even this cannot.
            drop(writeln!(std::io::stderr(), "kiosk-admin: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn say(words: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{words}")?)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Unlock(arguments) => command::unlock::unlock(arguments),
        Command::Delegate(arguments) => command::unlock::delegate(arguments),
        Command::Technician { command } => command::unlock::technician(command),
        Command::Person { command } => command::person::run(command),
        Command::VerifyCertificate(arguments) => {
            command::certificate::verify_certificate(&arguments)
        }
        Command::VerifyPage(arguments) => command::certificate::write_page(&arguments),
        Command::Repository { command } => command::repository::run(command),
        Command::Release { command } => command::release::run(command),
        Command::Items { command } => command::items::run(command),
        Command::Fleet { command } => command::fleet::run(*command),
        Command::Revoke(arguments) => command::revoke::revoke(arguments),
        Command::Revoked(arguments) => command::revoke::revoked(&arguments),
        Command::Keys { command } => command::key::run(command),
        Command::SealingKey {
            command: SealingKey::New { suite, file },
        } => new_sealing_key(suite.into(), &file),
        Command::ImportToken {
            command: ImportToken::New { file },
        } => new_token(&file),
        Command::ImportBundle {
            files,
            platform,
            token_file,
            ca,
            certificate,
            certificate_key,
            key,
        } => {
            let certificates = Certificates {
                ca,
                own: certificate.zip(certificate_key),
            };
            let token = files::read_secret(&token_file)?;
            let destination = Destination::new(&platform, token, &certificates)?;
            import(&destination, &files, &key)
        }
        Command::Audit {
            command: Audit::Verify { file, key, anchor },
        } => verify(&file, &key, anchor),
        Command::Order {
            command:
                Orders::Sign {
                    terminal,
                    kind,
                    item,
                    expires_in_s,
                    algorithm,
                    key_file,
                    opening,
                },
        } => {
            let order = Order {
                id: Uuid::now_v7(),
                terminal,
                kind,
                item,
                issued_at: clock::now(),
                life_s: expires_in_s,
            };
            let key = opening.open(&key_file, algorithm)?;
            say(&order::sign(&key, &order)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn new_sealing_key(suite: Suite, path: &Path) -> anyhow::Result<ExitCode> {
    let secret = RecipientSecret::generate(suite)?;
    files::write_secret(path, &secret.to_text())?;
    let public = secret.public();
    say(&format!("{public}\nid {}", public.key_id()))?;
    Ok(ExitCode::SUCCESS)
}

/// 256 bits from the generator of keys, as text.
fn new_token(path: &Path) -> anyhow::Result<ExitCode> {
    let source = RecipientSecret::generate(Suite::Intl)?.to_text();
    let token = URL_SAFE_NO_PAD.encode(Suite::Intl.digest(source.as_bytes()));
    files::write_secret(path, &zeroize::Zeroizing::new(token))?;
    say(&format!("wrote {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn import(
    destination: &Destination,
    files: &[PathBuf],
    keys: &[PublicKey],
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut is_all_taken = true;
    for file in files {
        match runtime.block_on(destination.import(file, keys)) {
            Ok(outcome) => is_all_taken &= report(file, &outcome)?,
            // The other parts stand for themselves.
            Err(error) => {
                is_all_taken = false;
                let error = anyhow::Error::from(error).context(file.display().to_string());
                writeln!(std::io::stderr(), "kiosk-admin: {error:#}")?;
            }
        }
    }
    Ok(if is_all_taken {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says what became of a part; true when the platform has all of it.
fn report(file: &Path, outcome: &Outcome) -> anyhow::Result<bool> {
    let Outcome {
        manifest,
        results,
        receipts,
    } = outcome;
    say(&format!(
        "{}: terminal {}, bundle {}, part {}, {} transactions",
        file.display(),
        manifest.terminal,
        manifest.bundle,
        manifest.part,
        manifest.transactions
    ))?;
    for result in results {
        say(&format!(
            "  {}  {:<9} {}",
            result.id, result.result, result.detail
        ))?;
    }
    let taken = results.iter().filter(|result| result.is_taken()).count();
    say(&format!(
        "  {taken} taken; receipts for the way back: {}",
        receipts.display()
    ))?;
    Ok(taken == usize::try_from(manifest.transactions).unwrap_or(usize::MAX))
}

fn verify(
    path: &Path,
    keys: &[PublicKey],
    anchor: Option<(u64, Hash)>,
) -> anyhow::Result<ExitCode> {
    let place = || path.display().to_string();
    let input = BufReader::new(File::open(path).with_context(place)?);
    let (terminal, report) = audit_file::verify(input, keys, anchor).with_context(place)?;
    for finding in &report.findings {
        say(&format!("wrong  {finding}"))?;
    }
    let verdict = if report.is_whole() {
        "whole"
    } else {
        "not whole"
    };
    say(&format!(
        "{verdict}: terminal {terminal}, {} entries, head {}:{}",
        report.entries,
        report.sequence,
        audit::hash_text(&report.head)
    ))?;
    Ok(if report.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The commands that do something, each by its words.
    fn leaves(command: &clap::Command, words: &str, found: &mut Vec<(String, clap::Command)>) {
        let mut inner = command.get_subcommands().peekable();
        if inner.peek().is_none() {
            found.push((words.to_owned(), command.clone()));
        }
        for inner in inner {
            leaves(inner, &format!("{words} {}", inner.get_name()), found);
        }
    }

    #[test]
    fn every_command_shows_an_example_that_it_takes() {
        let mut found = Vec::new();
        leaves(&Arguments::command(), "kiosk-admin", &mut found);
        assert!(found.len() >= 17, "{}", found.len());
        for (words, command) in found {
            let help = command.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_default();
            let examples: Vec<&str> = help
                .lines()
                .filter_map(|line| line.strip_prefix("  "))
                .collect();
            assert!(!examples.is_empty(), "{words}");
            for example in examples {
                let spelled = example.replacen("kiosk-admin key ", "kiosk-admin keys ", 1);
                assert!(spelled.starts_with(&words), "{words}: {example}");
                if let Err(error) = Arguments::try_parse_from(example.split(' ')) {
                    panic!("{example}: {error}");
                }
            }
        }
    }
}
