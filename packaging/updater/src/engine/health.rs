//! How well the terminal is, as `kiosk selftest --json` says it, and whether a release took something
//! away. What did not work before is no fault of the release. Reads bytes of another program: bounded,
//! and never panics.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Largest report in bytes. Chosen: forty devices with their figures are a tenth of it.
pub const SUMMARY_BYTES_MAX: usize = 1024 * 1024;
/// Largest list of input devices in bytes.
pub const INPUT_DEVICES_BYTES_MAX: usize = 256 * 1024;
/// Most tests in a report, and the longest name, in bytes.
const TESTS_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 128;
/// The test that sends a heartbeat, and the one of the glass.
const LINE_TEST: &str = "machine.network";
const GLASS_TEST: &str = "glass.screen";
/// The machine has no such sensor. Releases before this code said `passed` there: without this
/// exception each of them would take back the release that tells the truth.
const NO_SENSOR: &str = "test.no-sensor";
/// Bit of a device that is touched where it shows (`INPUT_PROP_DIRECT`, linux/input-event-codes.h).
const PROPERTY_DIRECT: u64 = 1 << 1;
/// Problems of what a printer uses up and what people leave behind in it (problem codes of the drivers).
/// The device itself says so, and no program can mend it.
const FOR_PEOPLE: [&str; 5] = [
    "printer.media-empty",
    "printer.media-jam",
    "printer.cover-open",
    "printer.toner-empty",
    "printer.toner-missing",
];

/// How well the terminal is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The terminal runs and its screen is painted.
    pub is_painted: bool,
    /// Screens that can be touched.
    pub touch_devices: usize,
    /// The platform hears the terminal; `None` when it was not tried.
    pub has_heartbeat: Option<bool>,
    /// Tests that passed, as `device/test`.
    pub passed: BTreeSet<String>,
    /// Tests that failed, with their problem codes.
    pub failed: BTreeMap<String, String>,
    /// Tests of a sensor that the machine says it has not.
    #[serde(default)]
    pub absent: BTreeSet<String>,
}

/// What a release took away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The screen.
    #[error("the screen is not painted")]
    Screen,
    /// The touch screen.
    #[error("the touch screen is not there any more")]
    Touch,
    /// A device or a part of the machine.
    #[error("{test} worked before and does not now: {problem}")]
    Device {
        /// Which test of what.
        test: String,
        /// Problem code, or that it was not run.
        problem: String,
    },
    /// The platform does not hear the terminal although there is a line.
    #[error("there is a line, and the platform does not hear the terminal")]
    Heartbeat,
}

impl Lost {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Screen => "update.not-painted",
            Self::Touch => "update.touch-lost",
            Self::Device { .. } => "update.device-lost",
            Self::Heartbeat => "update.no-heartbeat",
        }
    }
}

#[derive(Deserialize)]
struct Summary {
    is_terminal_running: bool,
    tests: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    test: String,
    device: String,
    verdict: String,
    #[serde(default)]
    problem: String,
}

impl Health {
    /// Reads what `kiosk selftest --json` says; `None` when the bytes are no report.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > SUMMARY_BYTES_MAX {
            return None;
        }
        let summary: Summary = serde_json::from_slice(bytes).ok()?;
        let mut health = Self {
            is_painted: summary.is_terminal_running,
            ..Self::default()
        };
        for outcome in summary.tests.into_iter().take(TESTS_MAX) {
            health.note(outcome);
        }
        Some(health)
    }

    /// Counts a test. Verdicts that this version does not know are as if the test was not run.
    fn note(&mut self, outcome: Outcome) {
        let is_bounded = [&outcome.test, &outcome.device, &outcome.problem]
            .into_iter()
            .all(|name| name.len() <= NAME_BYTES_MAX);
        if !is_bounded {
            return;
        }
        let is_passed = match outcome.verdict.as_str() {
            "passed" => true,
            "failed" => false,
            _ if outcome.problem == NO_SENSOR => {
                let name = format!("{}/{}", outcome.device, outcome.test);
                self.absent.insert(name);
                return;
            }
            _ => return,
        };
        if outcome.test == LINE_TEST {
            self.has_heartbeat = Some(is_passed);
            return;
        }
        if outcome.test == GLASS_TEST && !is_passed {
            self.is_painted = false;
        }
        let name = format!("{}/{}", outcome.device, outcome.test);
        if is_passed {
            self.passed.insert(name);
        } else {
            self.failed.insert(name, outcome.problem);
        }
    }

    /// What of this is lost in `after`; `has_line` says whether anything can be reached at all.
    ///
    /// A printer that worked before and asks for people now is not lost here: see [`Health::doubts`].
    ///
    /// # Errors
    /// [`Lost`] names the first loss.
    pub fn compare(&self, after: &Self, has_line: bool) -> Result<(), Lost> {
        if !after.is_painted {
            return Err(Lost::Screen);
        }
        if self.touch_devices > 0 && after.touch_devices == 0 {
            return Err(Lost::Touch);
        }
        for test in &self.passed {
            if !after.passed.contains(test) {
                if after.asks_for_people(test) || after.absent.contains(test) {
                    continue;
                }
                let problem = after.failed.get(test).filter(|problem| !problem.is_empty());
                return Err(Lost::Device {
                    test: test.clone(),
                    problem: problem.map_or("not run", String::as_str).to_owned(),
                });
            }
        }
        let is_heard = after.has_heartbeat == Some(true);
        if self.has_heartbeat == Some(true) && !is_heard && has_line {
            return Err(Lost::Heartbeat);
        }
        Ok(())
    }

    /// Tests that passed in this and ask for people in `after`. Each examination prints and may be what
    /// ends the roll, and a driver may say so of a full printer: only the release that ran before can tell
    /// the two apart, by passing the test or not.
    pub fn doubts(&self, after: &Self) -> BTreeSet<String> {
        let passed = self.passed.iter();
        passed
            .filter(|test| after.asks_for_people(test))
            .cloned()
            .collect()
    }

    /// True when the device says by itself that people have to do something.
    pub fn asks_for_people(&self, test: &str) -> bool {
        let problem = self.failed.get(test);
        problem.is_some_and(|problem| FOR_PEOPLE.contains(&problem.as_str()))
    }
}

/// How many screens can be touched, from `/proc/bus/input/devices`.
pub fn parse_touch_devices(bytes: &[u8]) -> usize {
    let bytes = &bytes[..bytes.len().min(INPUT_DEVICES_BYTES_MAX)];
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| str::from_utf8(line).ok()?.strip_prefix("B: PROP="))
        .filter_map(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .filter(|bits| bits & PROPERTY_DIRECT != 0)
        .count()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn health(tests: &[(&str, &str, &str)]) -> Health {
        let tests: Vec<_> = tests
            .iter()
            .map(|(device, test, verdict)| {
                json!({"device": device, "test": test, "verdict": verdict, "figures": {},
                    "problem": if *verdict == "failed" { "printer.offline" } else { "" }, "took_ms": 9})
            })
            .collect();
        let summary = json!({"terminal": "T", "at": "2026-11-20T00:00:00Z", "passed": 1, "failed": 0,
            "skipped": 0, "is_terminal_running": true, "tests": tests});
        let mut health = Health::parse(summary.to_string().as_bytes()).unwrap();
        health.touch_devices = 1;
        health
    }

    const PRINTER: (&str, &str, &str) = ("slip", "slip-printer.pattern", "passed");
    const NO_PRINTER: (&str, &str, &str) = ("slip", "slip-printer.pattern", "failed");
    const LINE: (&str, &str, &str) = ("", "machine.network", "passed");
    const NO_LINE: (&str, &str, &str) = ("", "machine.network", "failed");

    #[test]
    fn what_worked_must_work_and_what_did_not_need_not() {
        let check = |before: &[_], after: &[_], code: Option<&str>| {
            let compared = health(before).compare(&health(after), true);
            assert_eq!(
                compared.err().map(|lost| lost.code()),
                code,
                "{before:?} {after:?}"
            );
        };
        check(&[PRINTER], &[PRINTER], None);
        check(&[PRINTER], &[NO_PRINTER], Some("update.device-lost"));
        check(&[PRINTER], &[], Some("update.device-lost"));
        check(
            &[PRINTER],
            &[("slip", "slip-printer.pattern", "skipped")],
            Some("update.device-lost"),
        );
        check(&[NO_PRINTER], &[NO_PRINTER], None);
        check(&[NO_PRINTER], &[PRINTER], None);
        check(&[], &[NO_PRINTER], None);
        check(&[LINE], &[NO_LINE], Some("update.no-heartbeat"));
        check(&[LINE], &[LINE], None);
        check(&[NO_LINE], &[NO_LINE], None);
        check(
            &[PRINTER],
            &[PRINTER, ("", "glass.screen", "failed")],
            Some("update.not-painted"),
        );
    }

    #[test]
    fn a_sensor_that_the_machine_never_had_is_not_lost() {
        let before = health(&[("", "machine.sensors", "passed")]);
        let not_run = health(&[("", "machine.sensors", "skipped")]);
        let compared = before.compare(&not_run, true);
        let code = compared.err().map(|lost| lost.code());
        assert_eq!(code, Some("update.device-lost"));
        let test = json!({"test": "machine.sensors", "device": "", "verdict": "skipped",
            "problem": "test.no-sensor"});
        let told = json!({"is_terminal_running": true, "tests": [test]});
        let mut after = Health::parse(told.to_string().as_bytes()).unwrap();
        after.touch_devices = 1;
        assert_eq!(before.compare(&after, true), Ok(()));
    }

    #[test]
    fn a_line_that_is_down_for_everybody_is_no_fault_of_the_release() {
        assert_eq!(health(&[LINE]).compare(&health(&[NO_LINE]), false), Ok(()));
    }

    #[test]
    fn a_lost_touch_screen_and_a_dark_screen_are_losses() {
        let before = health(&[PRINTER]);
        let untouched = Health {
            touch_devices: 0,
            ..before.clone()
        };
        assert_eq!(before.compare(&untouched, true), Err(Lost::Touch));
        assert_eq!(untouched.compare(&untouched, true), Ok(()));
        let dark = Health {
            is_painted: false,
            ..before.clone()
        };
        assert_eq!(before.compare(&dark, true), Err(Lost::Screen));
    }

    #[test]
    fn paper_that_ran_out_during_the_examination_is_no_lost_printer() {
        let before = health(&[PRINTER]);
        for problem in FOR_PEOPLE {
            let mut after = health(&[NO_PRINTER]);
            for told in after.failed.values_mut() {
                problem.clone_into(told);
            }
            assert_eq!(before.compare(&after, true), Ok(()), "{problem}");
            let doubts = before.doubts(&after);
            assert!(doubts.contains("slip/slip-printer.pattern"), "{problem}");
            assert!(after.doubts(&after).is_empty(), "{problem}");
        }
        let offline = before.compare(&health(&[NO_PRINTER]), true);
        assert_eq!(
            offline.map_err(|lost| lost.code()),
            Err("update.device-lost")
        );
    }

    #[test]
    fn what_is_no_report_is_none() {
        for bytes in [&b""[..], b"[]", b"{}", br#"{"is_terminal_running":true}"#] {
            assert_eq!(Health::parse(bytes), None);
        }
    }

    #[test]
    fn touch_screens_are_told_from_mice_and_keyboards() {
        let text = b"I: Bus=0003 Vendor=0eef Product=c000\nN: Name=\"eGalax touch\"\nB: PROP=2\nB: EV=b\n\n\
            I: Bus=0003\nN: Name=\"mouse\"\nB: PROP=0\n\nN: Name=\"pad\"\nB: PROP=5\n\nB: PROP=zz\n\xff\n";
        assert_eq!(parse_touch_devices(text), 1);
        assert_eq!(parse_touch_devices(b""), 0);
    }
}
