//! `verify-certificate`, `verify-page`: certificates of terminals, here and on a telephone.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use kiosk_admin::terminal_keys::TerminalKeys;
use kiosk_admin::{clock, code, files, readiness, verify_page};

use crate::say;

/// Most bytes of the standard input: several times any certificate.
const INPUT_BYTES_MAX: u64 = 64 * 1024;

/// Check a terminal's certificate. Exit status 0: genuine; 1: not to be believed; 2: not checked.
#[derive(Args)]
#[command(after_help = "Example:\n  kiosk-admin verify-certificate photo.png --keys terminals.txt")]
pub(crate) struct VerifyCertificate {
    /// Its text, a file with the text or a picture of the QR symbol, or `-` for the standard input.
    certificate: String,
    /// The list of the terminals' public keys, one `TERMINAL KEY` a line.
    #[arg(long)]
    keys: PathBuf,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

/// Checks a certificate.
pub(crate) fn verify_certificate(arguments: &VerifyCertificate) -> anyhow::Result<ExitCode> {
    let read = TerminalKeys::read(&arguments.keys)
        .with_context(|| arguments.keys.display().to_string())
        .and_then(|keys| Ok((keys, text(&arguments.certificate)?)));
    let (keys, text) = match read {
        Ok(read) => read,
        Err(error) => {
            writeln!(std::io::stderr(), "kiosk-admin: {error:#}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let verdict = readiness::verify(&text, &keys, clock::now());
    if arguments.json {
        say(&readiness::json(&verdict).to_string())?;
    } else {
        say(&readiness::words(&verdict))?;
    }
    Ok(if verdict.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(certificate: &str) -> anyhow::Result<String> {
    if certificate.starts_with("KR1:") {
        return Ok(certificate.to_owned());
    }
    if certificate == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(INPUT_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        return Ok(code::read_content(&bytes)?);
    }
    code::read_file(Path::new(certificate)).with_context(|| certificate.to_owned())
}

/// Write the page that checks certificates on a telephone with no network.
#[derive(Args)]
#[command(
    after_help = "Example:\n  kiosk-admin verify-page --keys terminals.txt --out verify.html"
)]
pub(crate) struct VerifyPage {
    /// The list of the terminals' public keys, one `TERMINAL KEY` a line.
    #[arg(long)]
    keys: PathBuf,
    /// The file.
    #[arg(long)]
    out: PathBuf,
}

/// Writes the page.
pub(crate) fn write_page(arguments: &VerifyPage) -> anyhow::Result<ExitCode> {
    let keys = TerminalKeys::read(&arguments.keys)
        .with_context(|| arguments.keys.display().to_string())?;
    files::write_result(&arguments.out, verify_page::page(&keys))?;
    say(&format!(
        "wrote {} with {} keys",
        arguments.out.display(),
        keys.iter().count()
    ))?;
    Ok(ExitCode::SUCCESS)
}
