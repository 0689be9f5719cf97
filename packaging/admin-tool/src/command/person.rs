//! `person add`, `person remove`, `person list`: the people file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use jiff::tz::TimeZone;
use kiosk_admin::people::{People, Person};
use kiosk_admin::{clock, pin};
use kiosk_sealing::unlock::{PinVerifier, Role};

use crate::say;

/// People who may be permitted to come in.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add somebody; the PIN is asked twice and not shown.
    #[command(after_help = "\
Examples:
  kiosk-admin person add --people people.json --name wang --role technician
  kiosk-admin person add --people people.json --name wang --role inspector --replace")]
    Add {
        /// The people file; made when there is none.
        #[arg(long)]
        people: PathBuf,
        /// Name of the account.
        #[arg(long)]
        name: String,
        /// village-staff, technician, vendor or inspector.
        #[arg(long)]
        role: Role,
        /// Take the PIN from this file instead.
        #[arg(long)]
        pin_file: Option<PathBuf>,
        /// Give somebody who is there a new role and PIN.
        #[arg(long)]
        replace: bool,
    },
    /// Remove somebody: nothing is signed for them any more; the name and the date stay, for audits.
    #[command(after_help = "\
Example:
  kiosk-admin person remove wang --people people.json
Permissions that they have already end by themselves within the day. A certificate of an own key
ends on its date; revoke --person calls it back.")]
    Remove {
        /// Name of the account.
        name: String,
        /// The people file.
        #[arg(long)]
        people: PathBuf,
    },
    /// Print names and roles, and who was removed when.
    #[command(after_help = "Example:\n  kiosk-admin person list --people people.json")]
    List {
        /// The people file.
        #[arg(long)]
        people: PathBuf,
    },
}

/// Runs one of them.
pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Add {
            people: path,
            name,
            role,
            pin_file,
            replace,
        } => {
            let mut people = People::read_or_begin(&path)?;
            // Said before somebody types a PIN in vain.
            if !(replace && people.find(&name).is_ok()) {
                people.check_new(&name)?;
            }
            let typed = match pin_file {
                Some(path) => pin::from_file(&path)?,
                None => pin::ask(&name)?,
            };
            let person = Person {
                pin: PinVerifier::new(&typed)?,
                name,
                role,
            };
            let words = format!("{} is {role}", person.name);
            people.add(person, replace)?;
            people.write(&path)?;
            say(&words)?;
        }
        Command::Remove { name, people: path } => {
            let mut people = People::read(&path)?;
            let today = clock::now().to_zoned(TimeZone::UTC).date();
            let removed = people.remove(&name, today)?;
            people.write(&path)?;
            say(&format!("{} is removed since {}", removed.name, removed.on))?;
        }
        Command::List { people } => {
            let people = People::read(&people)?;
            for person in people.iter() {
                say(&format!("{:<14} {}", person.role.to_string(), person.name))?;
            }
            for removed in people.removed() {
                let role = removed.role.to_string();
                say(&format!(
                    "{role:<14} {}  removed on {}",
                    removed.name, removed.on
                ))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
