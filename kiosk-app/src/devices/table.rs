//! The report as text for a terminal window: one block a device, faults first, with what to do.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Counters, FaultWords, Listed, Report};

impl Report {
    /// The report as lines of text.
    pub fn table(&self) -> String {
        let mut text = String::new();
        if !self.is_terminal_running {
            text.push_str("The terminal does not run: the devices were opened just for this.\n\n");
        }
        for device in &self.devices {
            describe(&mut text, device);
        }
        if self.unknown.is_empty() {
            text.push_str("Nothing is plugged in that is not configured.\n");
        } else {
            text.push_str("Plugged in and not configured:\n");
        }
        for device in &self.unknown {
            let guess = match device.guess.as_str() {
                "" => String::new(),
                guess => format!("  perhaps: {guess}"),
            };
            line(
                &mut text,
                &format!(
                    "  {}  at {}  {}{guess}",
                    device.port, device.path, device.model
                ),
            );
        }
        text
    }

    /// True when every device is ready.
    pub fn is_well(&self) -> bool {
        self.devices.iter().all(Listed::is_well)
    }
}

impl Listed {
    /// True when the device can work.
    pub fn is_well(&self) -> bool {
        matches!(self.state.as_str(), "online" | "device-busy")
    }
}

/// Writing into a string cannot fail.
fn line(text: &mut String, line: &str) {
    writeln!(text, "{}", line.trim_end()).expect("a string takes every line");
}

fn describe(text: &mut String, device: &Listed) {
    let sign = if device.is_well() { " " } else { "!" };
    line(
        text,
        &format!(
            "{sign} {:<18} {:<14} {:<14} {} at {}",
            device.id, device.state, device.class, device.driver, device.port
        ),
    );
    let identity = [
        ("", device.model.as_str()),
        ("serial ", &device.serial),
        ("firmware ", &device.firmware),
    ];
    let identity: Vec<String> = identity
        .into_iter()
        .filter(|(_, word)| !word.is_empty())
        .map(|(label, word)| format!("{label}{word}"))
        .collect();
    optional(text, "is", &identity.join(", "));
    optional(text, "can", &device.abilities.join(" "));
    let supplies = [
        ("media", device.media.as_str()),
        ("paper", &device.paper),
        ("toner", &device.toner),
    ];
    let mut has: Vec<String> = supplies
        .into_iter()
        .filter(|(_, value)| *value != "unknown")
        .map(|(label, value)| format!("{label} {value}"))
        .collect();
    has.extend(
        device
            .readings
            .iter()
            .map(|(name, value)| format!("{name} {value}")),
    );
    optional(text, "tells", &has.join(", "));
    for fault in &device.faults {
        describe_fault(text, "fault", fault);
    }
    if let Some(fault) = &device.last_fault
        && device.faults.is_empty()
    {
        describe_fault(text, "was", fault);
    }
    optional(text, "did", &counted(&device.counters));
    if let Some(level) = &device.log_level {
        optional(text, "logs", level);
    }
    if device.is_recording {
        optional(text, "tap", "its bytes are being recorded");
    }
    text.push('\n');
}

fn optional(text: &mut String, label: &str, words: &str) {
    if !words.is_empty() {
        line(text, &format!("    {label:<6} {words}"));
    }
}

fn describe_fault(text: &mut String, label: &str, fault: &FaultWords) {
    let FaultWords {
        code,
        action,
        title,
        advice,
        detail,
    } = fault;
    optional(text, label, &format!("{code} ({action}): {title}"));
    if label == "fault" {
        optional(text, "", advice);
        optional(text, "", detail);
    }
}

fn counted(counters: &Counters) -> String {
    let Counters {
        opened,
        commands,
        succeeded,
        canceled,
        timed_out,
        ..
    } = counters;
    let (hours, minutes) = (counters.ready_s / 3600, counters.ready_s / 60 % 60);
    let mut words = format!(
        "ready {hours} h {minutes} min, opened {opened}, commands {commands} (done {succeeded}, \
         given up {canceled}, too late {timed_out}{})",
        by_code(", failed ", &counters.failed)
    );
    words.push_str(&by_code(", made ", &counters.made));
    words.push_str(&by_code(", faults ", &counters.faults));
    words.push_str(&by_code(", brought back by ", &counters.recovered));
    words
}

fn by_code(label: &str, counters: &BTreeMap<String, u64>) -> String {
    if counters.is_empty() {
        return String::new();
    }
    let counted: Vec<String> = counters
        .iter()
        .map(|(code, count)| format!("{code} ×{count}"))
        .collect();
    format!("{label}{}", counted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::Unknown;
    use super::*;

    #[test]
    fn a_fault_stands_with_its_action_and_what_to_do() {
        let fault = FaultWords {
            code: "printer.media-empty".to_owned(),
            action: "clear".to_owned(),
            title: "纸用完了".to_owned(),
            advice: "换一卷纸".to_owned(),
            detail: "n4 60".to_owned(),
        };
        let report = Report {
            is_terminal_running: false,
            devices: vec![Listed {
                id: "slips".to_owned(),
                class: "slip-printer".to_owned(),
                role: String::new(),
                driver: "escpos".to_owned(),
                port: "usb:6868:0200".to_owned(),
                state: "user-error".to_owned(),
                media: "unknown".to_owned(),
                paper: "out".to_owned(),
                toner: "unknown".to_owned(),
                readings: BTreeMap::new(),
                model: "GP-58".to_owned(),
                serial: String::new(),
                firmware: String::new(),
                abilities: vec!["cut".to_owned()],
                faults: vec![fault],
                last_fault: None,
                log_level: Some("debug".to_owned()),
                is_recording: true,
                rungs: Vec::new(),
                counters: Counters {
                    commands: 3,
                    succeeded: 2,
                    failed: BTreeMap::from([("printer.cover-open".to_owned(), 1)]),
                    ready_s: 3720,
                    ..Counters::default()
                },
            }],
            unknown: vec![Unknown {
                port: "usb:0400:c35a".to_owned(),
                path: "1-1".to_owned(),
                model: String::new(),
                guess: "id-card, driver sdt".to_owned(),
            }],
        };
        assert!(!report.is_well());
        let text = report.table();
        for expect in [
            "The terminal does not run",
            "! slips              user-error     slip-printer   escpos at usb:6868:0200",
            "    tells  paper out",
            "    fault  printer.media-empty (clear): 纸用完了",
            "           换一卷纸",
            "ready 1 h 2 min, opened 0, commands 3 (done 2, given up 0, too late 0, failed printer.cover-open ×1)",
            "    logs   debug",
            "  usb:0400:c35a  at 1-1    perhaps: id-card, driver sdt",
        ] {
            assert!(text.contains(expect), "{expect:?} is missing in\n{text}");
        }
    }
}
