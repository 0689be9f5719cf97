//! `kiosk-updater`: the small process that alone writes what the terminal runs. This file starts
//! it and says how it ended; what it can be asked stands in [`cli`].

mod cli;
mod clock;
mod items_run;
mod run;
mod stick_run;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::run(cli::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing else can be said when even this cannot.
            drop(writeln!(std::io::stderr(), "kiosk-updater: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
