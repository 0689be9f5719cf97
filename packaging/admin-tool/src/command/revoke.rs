//! `revoke`, `revoked`: what an operator calls back before its date.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use kiosk_admin::people::People;
use kiosk_admin::revocation::{self, Change};
use kiosk_admin::{clock, code, files};
use kiosk_sealing::PublicKey;
use kiosk_sealing::unlock::{Delegation, Revocations, RevokedId};

use super::key::Opening;
use super::unlock::Output;
use crate::{Signs, say};

/// Call back certificates of own keys, people or keys before their date: sign the list that the
/// terminals take; the text is printed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  kiosk-admin revoke --key-file operator.key --list revoked.txt --delegation 0123456789abcdef
  kiosk-admin revoke --key-file operator.key --list revoked.txt --people people.json --person wang --out stick/office.kiosk-revocations
  kiosk-admin revoke --key-file operator.key --list revoked.txt --key 0123456789abcdef --qr revoked.png
  kiosk-admin revoke --key-file new.key --list revoked.txt --signed-by ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo --renew")]
pub(crate) struct Revoke {
    /// File of the operator's key.
    #[arg(long)]
    key_file: PathBuf,
    /// How the operator's key signs.
    #[arg(long, value_enum, default_value_t = Signs::Ed25519)]
    algorithm: Signs,
    #[command(flatten)]
    opening: Opening,
    /// The list as it was signed last; the new one takes its place. Made when there is none: then the
    /// list begins with number 1.
    #[arg(long)]
    list: PathBuf,
    /// Another operator's key that may have signed the list last.
    #[arg(long)]
    signed_by: Vec<PublicKey>,
    /// A certificate: its id as `delegate` printed it, or the file with its text.
    #[arg(long)]
    delegation: Vec<String>,
    /// Somebody of the people file, also one who was removed.
    #[arg(long, requires = "people")]
    person: Vec<String>,
    /// The people file.
    #[arg(long)]
    people: Option<PathBuf>,
    /// A key, an operator's or an own one: its id, or its public half.
    #[arg(long)]
    key: Vec<String>,
    /// Take them off the list instead: they count again.
    #[arg(long)]
    lift: bool,
    /// Sign the list again though nothing is named, as when the operator's key changes.
    #[arg(long)]
    renew: bool,
    #[command(flatten)]
    output: Output,
}

/// Signs the list that follows.
pub(crate) fn revoke(arguments: Revoke) -> anyhow::Result<ExitCode> {
    let change = Change {
        delegations: ids(&arguments.delegation, delegation)?,
        people: people(arguments.people.as_deref(), &arguments.person)?,
        keys: ids(&arguments.key, key)?,
        is_lifted: arguments.lift,
        is_renewed: arguments.renew,
    };
    let key = arguments
        .opening
        .open(&arguments.key_file, arguments.algorithm)?;
    let mut signers = arguments.signed_by;
    signers.push(key.public());
    let place = || arguments.list.display().to_string();
    let held = revocation::read(&arguments.list, &signers).with_context(place)?;
    let list = revocation::next(&held, &change, clock::now().as_second())?;
    let text = list.sign(&key)?;
    // What is given away without being kept would be signed a second time with other entries.
    files::write_result(&arguments.list, format!("{text}\n"))?;
    writeln!(std::io::stderr(), "{}", words(&list))?;
    arguments.output.give(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn words(list: &Revocations) -> String {
    format!(
        "list {}: {} certificates, {} people, {} keys",
        list.number,
        list.delegations.len(),
        list.people.len(),
        list.keys.len()
    )
}

fn ids(
    words: &[String],
    id: fn(&str) -> anyhow::Result<RevokedId>,
) -> anyhow::Result<Vec<RevokedId>> {
    words
        .iter()
        .map(|word| id(word).with_context(|| word.clone()))
        .collect()
}

fn delegation(word: &str) -> anyhow::Result<RevokedId> {
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let path = Path::new(word);
    if !path.is_file() {
        bail!("neither the id of a certificate (16 hexadecimal digits) nor a file with one");
    }
    Ok(Delegation::id(&code::read_file(path)?)?)
}

fn key(word: &str) -> anyhow::Result<RevokedId> {
    if let Ok(id) = word.parse() {
        return Ok(id);
    }
    let public: PublicKey = word
        .parse()
        .context("neither the id of a key (16 hexadecimal digits) nor a public key")?;
    Ok(RevokedId::of_key(&public))
}

fn people(path: Option<&Path>, names: &[String]) -> anyhow::Result<Vec<RevokedId>> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let people = People::read(path).with_context(|| path.display().to_string())?;
    let id = |name: &String| {
        // A name that was mistyped would revoke nobody, and nobody would notice.
        if !people.is_known(name) {
            people.find(name)?;
        }
        Ok(RevokedId::of_person(name))
    };
    names.iter().map(id).collect()
}

/// Print what is on a list; names of people where the people file has them.
#[derive(Args)]
#[command(after_help = "Example:\n  kiosk-admin revoked --list revoked.txt --people people.json")]
pub(crate) struct RevokedList {
    /// The list.
    #[arg(long)]
    list: PathBuf,
    /// The people file.
    #[arg(long)]
    people: Option<PathBuf>,
}

/// Prints a list.
pub(crate) fn revoked(arguments: &RevokedList) -> anyhow::Result<ExitCode> {
    let place = || arguments.list.display().to_string();
    let list = read_list(&arguments.list)?;
    let people = match &arguments.people {
        Some(path) => People::read(path).with_context(|| path.display().to_string())?,
        None => People::default(),
    };
    let issued_at = jiff::Timestamp::from_second(list.issued_at_s).with_context(place)?;
    say(&format!("{}, issued at {issued_at}", words(&list)))?;
    let names: Vec<&str> = people
        .iter()
        .map(|person| person.name.as_str())
        .chain(people.removed().map(|removed| removed.name.as_str()))
        .collect();
    for (kind, ids) in [
        ("certificate", &list.delegations),
        ("person", &list.people),
        ("key", &list.keys),
    ] {
        for id in ids {
            let is_it = |name: &&&str| kind == "person" && RevokedId::of_person(name) == *id;
            let name = names.iter().find(is_it).copied().unwrap_or_default();
            say(format!("{kind:<12} {id}  {name}").trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a list without asking who signed it: what is on it can be shown, not more.
pub(crate) fn read_list(path: &Path) -> anyhow::Result<Revocations> {
    let place = || path.display().to_string();
    let text = code::read_file(path).with_context(place)?;
    Revocations::parse(&text).with_context(place)
}
