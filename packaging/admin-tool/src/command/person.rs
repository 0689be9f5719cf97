//! `person add`, `person list`: the people file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use kiosk_admin::people::{People, Person};
use kiosk_admin::pin;
use kiosk_sealing::unlock::{PinVerifier, Role};

use crate::say;

/// People who may be permitted to come in.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Add somebody; the PIN is asked twice and not shown.
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
    /// Print names and roles.
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
            if !replace && people.find(&name).is_ok() {
                return Err(kiosk_admin::people::PeopleError::Exists { name }.into());
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
        Command::List { people } => {
            for person in People::read(&people)?.iter() {
                say(&format!("{:<14} {}", person.role.to_string(), person.name))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
