//! A terminal's certificate in words and as JSON: what was found to be true of it, or why it is not
//! believed.

use std::fmt::Write as _;

use jiff::Timestamp;
use kiosk_sealing::certificate::{self, CertificateError, Readiness};
use kiosk_sealing::hex;
use serde_json::{Value, json};

use crate::terminal_keys::TerminalKeys;

/// Checks a certificate by a list of keys.
///
/// # Errors
/// [`CertificateError`]: it is not to be believed.
pub fn verify(
    text: &str,
    keys: &TerminalKeys,
    now: Timestamp,
) -> Result<Readiness, CertificateError> {
    certificate::verify(
        text,
        |terminal, key_id| keys.find(terminal, key_id),
        now.as_second(),
    )
}

/// A verdict in words, some lines.
pub fn words(verdict: &Result<Readiness, CertificateError>) -> String {
    let readiness = match verdict {
        Ok(readiness) => readiness,
        Err(error) => return format!("NOT BELIEVED ({}): {error}", error.code()),
    };
    let state = if readiness.is_ready {
        "ready"
    } else {
        "NOT READY"
    };
    let faults = if readiness.open_faults.is_empty() {
        "none".to_owned()
    } else {
        readiness.open_faults.join(", ")
    };
    let mut words = format!(
        "genuine: terminal {}, {}, says that it is {state}\n",
        readiness.terminal, readiness.site
    );
    let lines = [
        ("issued", time(readiness.issued_at_s)),
        ("valid until", time(readiness.valid_until_s)),
        (
            "tests",
            format!(
                "{} passed, {} failed, {} not run",
                readiness.passed, readiness.failed, readiness.not_run
            ),
        ),
        ("open faults", faults),
        ("program", readiness.program.clone()),
        ("program digest", hex(&readiness.program_digest)),
        ("configuration digest", hex(&readiness.configuration_digest)),
        ("items digest", hex(&readiness.items_digest)),
        ("report digest", hex(&readiness.report_digest)),
        (
            "log",
            format!(
                "{}:{}",
                readiness.audit_sequence,
                hex(&readiness.audit_head)
            ),
        ),
    ];
    for (name, value) in lines {
        writeln!(words, "  {name:<21} {value}").expect("a string takes any text");
    }
    words.trim_end().to_owned()
}

/// A verdict as JSON: `verdict` is `valid` or the code of the refusal.
pub fn json(verdict: &Result<Readiness, CertificateError>) -> Value {
    match verdict {
        Ok(readiness) => json!({
            "verdict": "valid",
            "is_ready": readiness.is_ready,
            "terminal": readiness.terminal,
            "site": readiness.site,
            "issued_at": time(readiness.issued_at_s),
            "valid_until": time(readiness.valid_until_s),
            "program": readiness.program,
            "program_digest": hex(&readiness.program_digest),
            "configuration_digest": hex(&readiness.configuration_digest),
            "items_digest": hex(&readiness.items_digest),
            "report_digest": hex(&readiness.report_digest),
            "passed": readiness.passed,
            "failed": readiness.failed,
            "not_run": readiness.not_run,
            "open_faults": readiness.open_faults,
            "audit_sequence": readiness.audit_sequence,
            "audit_head": hex(&readiness.audit_head),
        }),
        Err(error) => json!({ "verdict": error.code(), "words": error.to_string() }),
    }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| format!("{seconds} s after 1970"),
        |time| time.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_all_that_is_signed() {
        let readiness = Readiness {
            terminal: "T001".to_owned(),
            site: "测试村".to_owned(),
            issued_at_s: 1_795_311_660,
            valid_until_s: i64::MAX,
            program: "0.1.0".to_owned(),
            program_digest: [1; 32],
            configuration_digest: [2; 32],
            items_digest: [3; 32],
            report_digest: [4; 32],
            passed: 21,
            failed: 2,
            not_run: 3,
            open_faults: vec!["printer.media-jam".to_owned()],
            audit_sequence: 4711,
            audit_head: [5; 32],
            is_ready: false,
        };
        let verdict = Ok(readiness);
        let (words, json) = (words(&verdict), json(&verdict).to_string());
        for part in [
            "T001",
            "测试村",
            "2026-11-22T01:41:00Z",
            "0.1.0",
            "0101010101",
            "0202020202",
            "0303030303",
            "0404040404",
            "0505050505",
            "21",
            "printer.media-jam",
            "4711",
        ] {
            assert!(words.contains(part) && json.contains(part), "{part}");
        }
        assert!(words.contains("NOT READY") && json.contains("\"is_ready\":false"));
        let refused = Err(CertificateError::Expired);
        assert!(super::words(&refused).contains("certificate.expired"));
        assert_eq!(super::json(&refused)["verdict"], "certificate.expired");
    }
}
