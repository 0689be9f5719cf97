//! `kiosk queue`, `kiosk usage`, `kiosk audit` and `kiosk key`: what staff ask, in words or as JSON. Each goes to the
//! desk of the running terminal, or to one of its own when none runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use kiosk_app::Config;
use kiosk_app::carry::{self, stick};
use kiosk_app::clock;
use kiosk_app::config::Keeper;
use kiosk_app::desk::{Anchor, Answer, Ask, Counter};
use serde_json::json;
use uuid::Uuid;

fn counter(config: &Config) -> anyhow::Result<Counter> {
    Counter::reach(config, clock::now()).map_err(|words| anyhow!(words))
}

/// Asks for an answer of a kind; a refusal is an error with its words.
fn ask(counter: &mut Counter, ask: &Ask, body: &[u8]) -> anyhow::Result<Answer> {
    let answer = counter
        .ask(ask, body, &mut std::io::sink(), clock::now())
        .context("the terminal does not answer")?;
    if let Answer::Refused { code, words } = answer {
        bail!("{words} [{code}]");
    }
    Ok(answer)
}

fn say(words: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{words}")?)
}

fn done(answer: Answer) -> anyhow::Result<ExitCode> {
    let Answer::Done { words } = answer else {
        bail!("the terminal answered something else");
    };
    say(&words)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn list(config: &Config, dead_only: bool, json: bool) -> anyhow::Result<ExitCode> {
    let Answer::Rows { rows } = ask(&mut counter(config)?, &Ask::List { dead_only }, &[])? else {
        bail!("the terminal answered something else");
    };
    let mut out = std::io::stdout().lock();
    for row in &rows {
        if json {
            writeln!(out, "{}", serde_json::to_string(row)?)?;
        } else {
            out.write_all(row.text().as_bytes())?;
        }
    }
    if rows.is_empty() && !json {
        writeln!(out, "Nothing.")?;
    }
    let needs_somebody = rows.iter().any(|row| row.needs_somebody);
    Ok(if needs_somebody {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

pub(crate) fn usage(config: &Config, year: Option<i16>, json: bool) -> anyhow::Result<ExitCode> {
    let now = clock::now();
    let year = year.unwrap_or_else(|| now.date().year());
    let mut counter = Counter::look(config, now).map_err(|words| anyhow!(words))?;
    let Answer::Usage { items } = ask(&mut counter, &Ask::Usage { year }, &[])? else {
        bail!("the terminal answered something else");
    };
    if json {
        say(&json!({ "year": year, "items": items }).to_string())?;
    } else {
        std::io::stdout().write_all(kiosk_app::usage::table(year, &items).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn retry(config: &Config, id: Uuid, by: String) -> anyhow::Result<ExitCode> {
    done(ask(&mut counter(config)?, &Ask::Retry { id, by }, &[])?)
}

pub(crate) fn close(
    config: &Config,
    id: Uuid,
    by: String,
    reason: String,
) -> anyhow::Result<ExitCode> {
    done(ask(
        &mut counter(config)?,
        &Ask::Close { id, by, reason },
        &[],
    )?)
}

pub(crate) fn export(
    config: &Config,
    directory: &Path,
    by: &str,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let now = clock::now();
    let exported = stick::export(&mut counter(config)?, directory, by, stick::mint(now), now)
        .map_err(|error| anyhow!("{error} [{}]", error.code()))?;
    if json {
        let line = json!({
            "files": exported.files, "transactions": exported.transactions,
            "left_out": exported.left_out,
        });
        say(&line.to_string())?;
    } else {
        for file in &exported.files {
            say(&format!("wrote    {}", file.display()))?;
        }
        for id in &exported.left_out {
            say(&format!(
                "left out {id}: damaged or too large; see `kiosk queue list`"
            ))?;
        }
        say(&format!(
            "{} transactions; they stay in the queue until their receipts come, by this stick or by \
             the network",
            exported.transactions
        ))?;
    }
    Ok(if exported.left_out.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) fn import_receipts(
    config: &Config,
    path: &Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let place = || path.display().to_string();
    // A quarter more than the content: it is in base64.
    let bytes_max = carry::RECEIPTS_BYTES_MAX as u64 / 3 * 4;
    let mut bytes = Vec::new();
    File::open(path)
        .with_context(place)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .with_context(place)?;
    if bytes.len() as u64 > bytes_max {
        bail!("{} is no file of receipts: it is too large", place());
    }
    let answer = ask(&mut counter(config)?, &Ask::Receipts {}, &bytes)?;
    let Answer::Imported {
        settled,
        settled_before,
        parked,
        waiting,
        unknown,
    } = answer
    else {
        bail!("the terminal answered something else");
    };
    if json {
        let line = json!({
            "settled": settled, "settled_before": settled_before, "parked": parked,
            "waiting": waiting, "unknown": unknown,
        });
        say(&line.to_string())?;
    } else {
        say(&format!(
            "settled {settled}, settled before {settled_before}, refused by the platform {parked}, \
             wanted again {waiting}, not of this queue {unknown}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn verify(
    config: &Config,
    anchor: Option<Anchor>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let answer = ask(&mut counter(config)?, &Ask::Verify { anchor }, &[])?;
    let Answer::Verdict {
        entries,
        head,
        findings,
    } = answer
    else {
        bail!("the terminal answered something else");
    };
    if json {
        let line = json!({ "entries": entries, "head": head, "findings": findings });
        say(&line.to_string())?;
    } else {
        for finding in &findings {
            say(&format!("wrong  {finding}"))?;
        }
        let head = head.map_or_else(
            || "none".to_owned(),
            |head| format!("{}:{}", head.sequence, head.head),
        );
        let verdict = if findings.is_empty() {
            "whole"
        } else {
            "not whole"
        };
        say(&format!("{verdict}: {entries} entries, head {head}"))?;
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether the platform holds a release back.
pub(crate) fn is_held(config: &Config, version: String) -> anyhow::Result<bool> {
    let Answer::Held { is_held } = ask(&mut counter(config)?, &Ask::Held { version }, &[])? else {
        bail!("the terminal answered something else");
    };
    Ok(is_held)
}

pub(crate) fn export_audit(config: &Config, path: &Path) -> anyhow::Result<ExitCode> {
    let mut counter = counter(config)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    let answer = counter.ask(&Ask::Audit {}, &[], &mut file, clock::now());
    let written = answer.map_err(anyhow::Error::from).and_then(|answer| {
        file.sync_all()?;
        if let Answer::Verdict { entries, .. } = answer {
            return Ok(entries);
        }
        if let Answer::Refused { code, words } = answer {
            bail!("{words} [{code}]");
        }
        bail!("the terminal answered something else")
    });
    if written.is_err() {
        // Half a log would be taken for a cut one.
        std::fs::remove_file(path).ok();
    }
    let entries = written.with_context(|| path.display().to_string())?;
    say(&format!("wrote {entries} entries to {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn key(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let Answer::Key {
        public,
        key_id,
        algorithm,
    } = ask(&mut counter(config)?, &Ask::Key {}, &[])?
    else {
        bail!("the terminal answered something else");
    };
    let source = match config.key.source {
        Keeper::File => "file",
        Keeper::Credential => "credential",
        Keeper::Tpm => "tpm",
    };
    if json {
        let line = json!({
            "public": public, "key_id": key_id, "algorithm": algorithm, "source": source,
        });
        say(&line.to_string())?;
    } else {
        say(&format!(
            "{public}\nid         {key_id}\nalgorithm  {algorithm}\nsource     {source}"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
