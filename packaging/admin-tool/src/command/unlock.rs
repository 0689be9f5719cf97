//! `unlock`, `delegate`, `technician key`: permissions for a challenge, and certificates of
//! technicians' own keys.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use kiosk_admin::people::People;
use kiosk_admin::permission::{self, Wish};
use kiosk_admin::{clock, code, files};
use kiosk_sealing::PublicKey;
use kiosk_sealing::unlock::{
    AT_ANY_TIME, Challenge, DELEGATION_DAYS_MAX, Delegation, MINUTES_MAX, Revocations, Role, Scope,
};

use super::key::{Opening, Sealing};
use super::revoke::read_list;
use crate::{Signs, say};

const DAY_S: i64 = 24 * 3600;

/// Where a signed word goes beside the screen.
#[derive(Args)]
pub(crate) struct Output {
    /// Also write the text into this file, for a stick.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Also write the QR symbol into this file, as PNG.
    #[arg(long)]
    qr: Option<PathBuf>,
    /// Also draw the QR symbol on the screen.
    #[arg(long)]
    blocks: bool,
}

impl Output {
    /// Prints a text, and puts it wherever it was asked for.
    pub(crate) fn give(&self, text: &str) -> anyhow::Result<()> {
        if let Some(path) = &self.out {
            files::write_result(path, format!("{text}\n"))?;
        }
        if let Some(path) = &self.qr {
            files::write_result(path, code::png(text)?)?;
        }
        say(text)?;
        if self.blocks {
            say(code::blocks(text)?.trim_end())?;
        }
        Ok(())
    }
}

/// Sign a permission for the challenge that a terminal shows; the text is printed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiosk-admin unlock --challenge-file photo.png --key-file operator.key --people people.json --person wang --minutes 60 --qr answer.png
  kiosk-admin unlock --challenge-file photo.png --key-file own.key --delegation wang.certificate --out stick/wang.kiosk-unlock")]
pub(crate) struct Unlock {
    /// The challenge, as it was scanned or typed.
    #[arg(long, required_unless_present = "challenge_file")]
    challenge: Option<String>,
    /// A file with the challenge: its text, or a photo of its QR symbol.
    #[arg(long, conflicts_with = "challenge")]
    challenge_file: Option<PathBuf>,
    /// File of the key that signs: an operator's, or with --delegation a technician's own.
    #[arg(long, visible_alias = "key")]
    key_file: PathBuf,
    /// How the key signs.
    #[arg(long, value_enum, default_value_t = Signs::Ed25519)]
    algorithm: Signs,
    #[command(flatten)]
    opening: Opening,
    /// The people file.
    #[arg(long, required_unless_present = "delegation", requires = "person")]
    people: Option<PathBuf>,
    /// Who comes in.
    #[arg(long, requires = "people")]
    person: Option<String>,
    /// File with the certificate of the technician's own key, from `delegate`.
    #[arg(long, conflicts_with_all = ["people", "person", "clock_is_wrong"])]
    delegation: Option<PathBuf>,
    /// As what; as much as the person is when it is not said.
    #[arg(long)]
    role: Option<Role>,
    /// What they may do, such as `help,test`; all of the role when it is not said.
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// For how many minutes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=i64::from(MINUTES_MAX)))]
    minutes: u16,
    /// The clock of the terminal is known to be wrong: the permission does not end by it.
    #[arg(long)]
    clock_is_wrong: bool,
    /// The list of what was revoked, from `revoke`: nothing is signed for whom it names, and it is said
    /// when the terminal holds an older one.
    #[arg(long)]
    list: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// Signs a permission.
pub(crate) fn unlock(arguments: Unlock) -> anyhow::Result<ExitCode> {
    let text = match (arguments.challenge, &arguments.challenge_file) {
        (Some(text), _) => text,
        (None, Some(path)) => code::read_file(path).with_context(|| path.display().to_string())?,
        (None, None) => bail!("there is no challenge"),
    };
    let (challenge, held) = Challenge::parse_with_list(&text).context("the challenge")?;
    // Whoever signs sees what for; not on the standard output, which is the permission alone.
    writeln!(
        std::io::stderr(),
        "terminal {}, its start {}, its challenge {}",
        challenge.terminal,
        challenge.boot,
        challenge.counter
    )?;
    let list = match &arguments.list {
        Some(path) => read_list(path)?,
        None => Revocations::default(),
    };
    if let (Some(_), Some(words)) = (&arguments.list, about_lists(list.number, held)) {
        writeln!(std::io::stderr(), "kiosk-admin: warning: {words}")?;
    }
    let key = arguments
        .opening
        .open(&arguments.key_file, arguments.algorithm)?;
    let wish = Wish {
        role: arguments.role,
        scopes: BTreeSet::from_iter(arguments.scopes),
        minutes: arguments.minutes,
    };
    let now_s = clock::now().as_second();
    let permission = match (arguments.delegation, arguments.people, arguments.person) {
        (Some(path), _, _) => {
            let certificate = read_certificate(&path)?;
            let delegation = Delegation::parse(&certificate).context("the certificate")?;
            list.check_person(&delegation.person)?;
            permission::of_certificate(&challenge, &delegation, &wish, now_s)
                .sign_delegated(&key, &certificate)?
        }
        (None, Some(path), Some(name)) => {
            let people = People::read(&path).with_context(|| path.display().to_string())?;
            list.check_person(&name)?;
            let issued_at_s = if arguments.clock_is_wrong {
                AT_ANY_TIME
            } else {
                now_s
            };
            permission::of_person(&challenge, people.find(&name)?, &wish, issued_at_s)?
                .sign(&key)?
        }
        _ => bail!("nobody is named"),
    };
    arguments.output.give(&permission)?;
    Ok(ExitCode::SUCCESS)
}

/// What is to be said when the list of whoever signs and the one that the terminal holds differ.
fn about_lists(ours: u32, held: u32) -> Option<String> {
    match ours.cmp(&held) {
        Ordering::Equal => None,
        Ordering::Greater => Some(format!(
            "the terminal holds the list of revocations {held}, the newest is {ours}; take it there on a stick"
        )),
        Ordering::Less => Some(format!(
            "the terminal holds the list of revocations {held}, this one is {ours}; get the newest"
        )),
    }
}

fn read_certificate(path: &Path) -> anyhow::Result<String> {
    code::read_file(path).with_context(|| path.display().to_string())
}

/// Sign a certificate of a technician's own key; the text is printed, and its id on the screen.
#[derive(Args)]
#[command(after_help = "\
Example:
  kiosk-admin delegate --key-file operator.key --people people.json --person wang --own-key ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo --terminals T1*,T207 --days 14 --out wang.certificate")]
pub(crate) struct Delegate {
    /// File of the operator's key.
    #[arg(long, visible_alias = "key")]
    key_file: PathBuf,
    /// How the operator's key signs.
    #[arg(long, value_enum, default_value_t = Signs::Ed25519)]
    algorithm: Signs,
    #[command(flatten)]
    opening: Opening,
    /// The people file.
    #[arg(long)]
    people: PathBuf,
    /// Whose key it is.
    #[arg(long)]
    person: String,
    /// The technician's public key, as `technician key` printed it.
    #[arg(long)]
    own_key: PublicKey,
    /// As what; as much as the person is when it is not said.
    #[arg(long)]
    role: Option<Role>,
    /// What its permissions may be for; all of the role when it is not said.
    #[arg(long, value_delimiter = ',')]
    scopes: Vec<Scope>,
    /// At which terminals: numbers, or beginnings of numbers and `*`.
    #[arg(long, value_delimiter = ',', required = true)]
    terminals: Vec<String>,
    /// Most minutes of a permission.
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u16).range(1..=i64::from(MINUTES_MAX)))]
    minutes: u16,
    /// For how many days from now.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..i64::from(DELEGATION_DAYS_MAX)))]
    days: u32,
    #[command(flatten)]
    output: Output,
}

/// Signs a certificate.
pub(crate) fn delegate(arguments: Delegate) -> anyhow::Result<ExitCode> {
    let key = arguments
        .opening
        .open(&arguments.key_file, arguments.algorithm)?;
    let people =
        People::read(&arguments.people).with_context(|| arguments.people.display().to_string())?;
    let person = people.find(&arguments.person)?;
    let role = permission::narrower(person.role, arguments.role)?;
    let now_s = clock::now().as_second();
    let delegation = Delegation {
        person: person.name.clone(),
        role,
        scopes: if arguments.scopes.is_empty() {
            role.scopes()
        } else {
            BTreeSet::from_iter(arguments.scopes)
        },
        key: arguments.own_key,
        terminals: arguments.terminals,
        minutes_max: arguments.minutes,
        // From a day ago: a terminal whose clock is some hours behind takes it today.
        not_before_s: now_s.saturating_sub(DAY_S).max(0),
        not_after_s: now_s.saturating_add(i64::from(arguments.days) * DAY_S),
        pin: person.pin.clone(),
    };
    let text = delegation.sign(&key)?;
    writeln!(
        std::io::stderr(),
        "certificate {} of {}; keep its id: `revoke --delegation` calls it back before its date",
        Delegation::id(&text)?,
        delegation.person
    )?;
    arguments.output.give(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A technician's own key.
#[derive(Subcommand)]
pub(crate) enum Technician {
    /// Make an own key in a new file, sealed by a passphrase; the public half, for
    /// `delegate --own-key`, is printed.
    #[command(after_help = "Example:\n  kiosk-admin technician key own.key")]
    Key {
        /// How it signs.
        #[arg(long, value_enum, default_value_t = Signs::Ed25519)]
        algorithm: Signs,
        #[command(flatten)]
        sealing: Sealing,
        /// The file.
        file: PathBuf,
    },
}

/// Runs one of them.
pub(crate) fn technician(command: Technician) -> anyhow::Result<ExitCode> {
    let Technician::Key {
        algorithm,
        sealing,
        file,
    } = command;
    sealing.make(&file, algorithm)
}
