//! `lab-guest`: the cases of the hardware lab, run inside the virtual machine by its first process.
//!
//! Here the kernel's devices are real: USB through its virtual host controller, cameras through
//! V4L2, keyboards and pads through its input layer. What is emulated is the device at the far end
//! of the cable and nothing between it and the driver.

use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;

mod case;
mod cases;
mod driven;
mod plug;
mod until;
mod virtual_input;
mod webcam;

use case::{judge, say};

/// Runs the cases of the hardware lab; meant for the virtual machine that `run.sh` boots.
#[derive(Debug, Parser)]
struct Arguments {
    /// The shortest useful part only.
    #[arg(long)]
    smoke: bool,
    /// Only the case of this name; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let cases = if arguments.smoke {
        cases::SMOKE
    } else {
        cases::ALL
    };
    let is_wanted = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|wanted| wanted == name)
    };
    for name in &arguments.only {
        let is_known = cases.iter().any(|case| case.name == name);
        ensure!(is_known, "there is no case {name}");
    }
    let (mut passed, mut failed) = (0, 0);
    for case in cases.iter().filter(|case| is_wanted(case.name)) {
        if judge(*case)? {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    if failed > 0 || passed == 0 {
        say(format_args!(
            "lab: {failed} of {} cases failed",
            passed + failed
        ))?;
        return Ok(ExitCode::FAILURE);
    }
    // The host looks for this line.
    say(format_args!("lab: all {passed} cases passed"))?;
    Ok(ExitCode::SUCCESS)
}
