//! What the `printer-state-reasons` of an IPP printer mean to a kiosk (`device-protocols.md` §6.1).
//!
//! The suffix is taken off before matching; a mere report never stops work. Keywords nobody knows
//! are judged by `printer-state` and shown as they are, never refused.

use kiosk_device::{Action, Fault, Status, Supply};

use super::message::Answer;
use crate::state_of;

/// `printer-state` of a printer that does not work.
const STATE_STOPPED: i32 = 5;
/// Level in percent at which toner counts as low when the printer names no threshold. Chosen.
pub(crate) const TONER_LOW_PERCENT: i32 = 10;

/// What one reason says about a supply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Paper(Supply),
    Toner(Supply),
    Other,
}

/// One row: keywords, what they are about, and the fault when work stops.
type Row = (
    &'static [&'static str],
    About,
    Option<(&'static str, Action)>,
);

/// The most serious first: the order of the faults in a status.
const REASONS: &[Row] = &[
    (
        &["fuser-over-temp", "fuser-under-temp"],
        About::Other,
        Some(("printer.fuser", Action::Maintenance)),
    ),
    (
        &["opc-life-over"],
        About::Toner(Supply::Out),
        Some(("printer.drum-empty", Action::Maintenance)),
    ),
    (
        &["media-jam"],
        About::Paper(Supply::Jammed),
        Some(("printer.media-jam", Action::Clear)),
    ),
    (
        &["door-open", "cover-open", "interlock-open"],
        About::Other,
        Some(("printer.cover-open", Action::Clear)),
    ),
    (
        &["media-empty", "media-needed"],
        About::Paper(Supply::Out),
        Some(("printer.media-empty", Action::Clear)),
    ),
    (
        &["input-tray-missing"],
        About::Paper(Supply::Out),
        Some(("printer.input-tray-missing", Action::Clear)),
    ),
    (
        &["toner-empty", "marker-supply-empty", "developer-empty"],
        About::Toner(Supply::Out),
        Some(("printer.toner-empty", Action::Clear)),
    ),
    (
        &["marker-supply-missing"],
        About::Toner(Supply::Out),
        Some(("printer.toner-missing", Action::Clear)),
    ),
    (
        &["marker-waste-full"],
        About::Other,
        Some(("printer.waste-full", Action::Maintenance)),
    ),
    (
        &["output-area-full"],
        About::Other,
        Some(("printer.output-full", Action::Clear)),
    ),
    (
        &["output-tray-missing"],
        About::Other,
        Some(("printer.output-tray-missing", Action::Clear)),
    ),
    (
        &["spool-area-full"],
        About::Other,
        Some(("printer.spool-full", Action::Reset)),
    ),
    (
        &["paused", "moving-to-paused"],
        About::Other,
        Some(("printer.paused", Action::Maintenance)),
    ),
    (
        &["shutdown", "offline", "connecting-to-device", "timed-out"],
        About::Other,
        Some(("printer.offline", Action::Maintenance)),
    ),
    (&["media-low"], About::Paper(Supply::Low), None),
    (
        &[
            "toner-low",
            "marker-supply-low",
            "developer-low",
            "opc-near-eol",
        ],
        About::Toner(Supply::Low),
        None,
    ),
    (
        &[
            "marker-waste-almost-full",
            "output-area-almost-full",
            "none",
        ],
        About::Other,
        None,
    ),
];

/// The status that a Get-Printer-Attributes answer describes. `None` without `printer-state`.
pub fn status(answer: &Answer) -> Option<Status> {
    let is_stopped = answer.number("printer-state")? == STATE_STOPPED;
    let reasons: Vec<&str> = answer.texts("printer-state-reasons").collect();
    let mut status = judge(is_stopped, &reasons);
    worsen(&mut status.toner, toner_level(answer));
    let levels = [
        ("toner-percent", lowest_toner(answer)),
        ("waste-toner-percent", fullest_waste(answer)),
    ];
    for (name, level) in levels {
        if let Some(level) = level {
            status.readings.insert(name.to_owned(), level.to_string());
        }
    }
    Some(status)
}

/// The status that these reasons describe, whoever gave them.
pub(crate) fn judge(is_stopped: bool, reasons: &[&str]) -> Status {
    let mut status = Status::online();
    let reasons: Vec<Reason<'_>> = reasons.iter().map(|text| Reason::parse(text)).collect();
    for (keywords, about, fault) in REASONS {
        for reason in reasons.iter().filter(|r| keywords.contains(&r.keyword)) {
            if reason.is_report && fault.is_some() {
                continue;
            }
            match about {
                About::Paper(supply) => worsen(&mut status.paper, *supply),
                About::Toner(supply) => worsen(&mut status.toner, *supply),
                About::Other => {}
            }
            if let Some((code, action)) = fault
                && status.faults.iter().all(|known| known.code != *code)
            {
                status
                    .faults
                    .push(Fault::new(code, *action, reason.keyword));
            }
        }
    }
    if is_stopped && status.faults.is_empty() {
        status.faults.push(stopped_fault(&reasons));
    }
    status.state = state_of(&status.faults);
    status
}

/// Adds what a second source says about the same printer.
pub(crate) fn merge(status: &mut Status, other: Status) {
    worsen(&mut status.paper, other.paper);
    worsen(&mut status.toner, other.toner);
    status.readings.extend(other.readings);
    // A cause is worth more than the bare news that something stopped.
    if other
        .faults
        .iter()
        .any(|fault| fault.code != "printer.stopped")
    {
        status
            .faults
            .retain(|fault| fault.code != "printer.stopped");
    }
    for fault in other.faults {
        if status.faults.iter().all(|known| known.code != fault.code) {
            status.faults.push(fault);
        }
    }
    status.faults.sort_by_key(|fault| rank(fault.code));
    status.state = state_of(&status.faults);
}

/// Place in the order of seriousness; what has no row (a device that is gone) comes first.
fn rank(code: &str) -> usize {
    REASONS
        .iter()
        .position(|(_, _, fault)| fault.is_some_and(|(known, _)| known == code))
        .map_or(0, |index| index + 1)
}

/// A printer that stopped for a reason nobody knows.
fn stopped_fault(reasons: &[Reason<'_>]) -> Fault {
    let keywords: Vec<&str> = reasons.iter().map(|reason| reason.keyword).collect();
    // A keyword comes from outside: its length is bounded before it reaches a log.
    let detail: String = keywords.join(" ").chars().take(200).collect();
    Fault::new(
        "printer.stopped",
        Action::Maintenance,
        format!("the printer stopped and says: {detail}"),
    )
}

struct Reason<'a> {
    keyword: &'a str,
    is_report: bool,
}

impl<'a> Reason<'a> {
    fn parse(text: &'a str) -> Self {
        let keyword = ["-report", "-warning", "-error"]
            .iter()
            .find_map(|suffix| text.strip_suffix(suffix))
            .unwrap_or(text);
        Self {
            keyword,
            is_report: text.ends_with("-report"),
        }
    }
}

/// Known levels of the markers, in percent, with whether each is a waste container, which counts the
/// other way, and with its own threshold. `marker-levels` may be a set or one number; negative levels
/// are unknown.
fn markers(answer: &Answer) -> Vec<(i32, bool, i32)> {
    let types: Vec<&str> = answer.texts("marker-types").collect();
    let lows: Vec<i32> = answer.numbers("marker-low-levels").collect();
    answer
        .numbers("marker-levels")
        .enumerate()
        .filter(|(_, level)| *level >= 0)
        .map(|(index, level)| {
            let is_waste = types.get(index).is_some_and(|kind| kind.contains("waste"));
            let low = lows.get(index).copied().unwrap_or(TONER_LOW_PERCENT);
            (level, is_waste, low)
        })
        .collect()
}

fn lowest_toner(answer: &Answer) -> Option<i32> {
    let levels = markers(answer).into_iter();
    levels
        .filter(|(_, is_waste, _)| !is_waste)
        .map(|(level, ..)| level)
        .min()
}

fn fullest_waste(answer: &Answer) -> Option<i32> {
    let levels = markers(answer).into_iter();
    levels
        .filter(|(_, is_waste, _)| *is_waste)
        .map(|(level, ..)| level)
        .max()
}

fn toner_level(answer: &Answer) -> Supply {
    let mut worst = Supply::Unknown;
    if answer.values("marker-levels").is_empty() {
        // IPP Everywhere demands `printer-supply` only.
        for percent in answer.texts("printer-supply").filter_map(supply_percent) {
            worsen(&mut worst, supply_at(percent, TONER_LOW_PERCENT));
        }
        return worst;
    }
    for (level, is_waste, low) in markers(answer) {
        if !is_waste {
            worsen(&mut worst, supply_at(level, low));
        }
    }
    worst
}

/// An empty cartridge often prints on, so a level says "low" at worst; only the reasons stop the
/// printer.
pub(crate) fn supply_at(level: i32, low: i32) -> Supply {
    if level <= low {
        Supply::Low
    } else {
        Supply::Full
    }
}

/// The level in percent of one `printer-supply` value, `key=value;` pairs, when it is about toner or
/// ink that is used up and the level is known.
fn supply_percent(text: &str) -> Option<i32> {
    let value = |key: &str| {
        text.split(';')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| (name.trim() == key).then_some(value.trim()))
    };
    let kind = value("type")?;
    let is_used_up = value("class")? == "supplyThatIsConsumed";
    if !is_used_up || !(kind.starts_with("toner") || kind.starts_with("ink")) {
        return None;
    }
    let level: i64 = value("level")?.parse::<i32>().ok()?.into();
    let capacity: i64 = value("maxcapacity")?.parse::<i32>().ok()?.into();
    if level < 0 || capacity <= 0 {
        return None;
    }
    i32::try_from(level.saturating_mul(100) / capacity).ok()
}

pub(crate) fn worsen(supply: &mut Supply, other: Supply) {
    let rank = |supply: Supply| match supply {
        Supply::Unknown => 0,
        Supply::Full => 1,
        Supply::Low => 2,
        Supply::Out => 3,
        Supply::Jammed => 4,
    };
    if rank(other) > rank(*supply) {
        *supply = other;
    }
}

#[cfg(test)]
mod tests {
    use kiosk_device::DeviceState;

    use super::*;
    use crate::ipp::message::tests::fact_sheet_answer;

    /// An answer with that state and those reasons.
    fn answer(state: u8, reasons: &[&str]) -> Answer {
        let mut wire = vec![2, 0, 0, 0, 0, 0, 0, 1, 4];
        let mut put = |tag: u8, name: &str, value: &[u8]| {
            wire.push(tag);
            for part in [name.as_bytes(), value] {
                wire.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                wire.extend(part);
            }
        };
        put(0x23, "printer-state", &[0, 0, 0, state]);
        for (index, reason) in reasons.iter().enumerate() {
            let name = if index == 0 {
                "printer-state-reasons"
            } else {
                ""
            };
            put(0x44, name, reason.as_bytes());
        }
        Answer::parse(&wire).unwrap()
    }

    fn check(state: u8, reasons: &[&str], codes: &[&str], expect: DeviceState) {
        let status = status(&answer(state, reasons)).unwrap();
        let found: Vec<&str> = status.faults.iter().map(|fault| fault.code).collect();
        assert_eq!(
            (found.as_slice(), status.state),
            (codes, expect),
            "{reasons:?}"
        );
    }

    #[test]
    fn every_reason_of_the_fact_sheet_has_its_meaning() {
        use DeviceState::{HardwareError, Offline, Online, UserError};
        check(3, &["none"], &[], Online);
        for (keyword, code, state) in [
            ("media-empty", "printer.media-empty", UserError),
            ("media-needed", "printer.media-empty", UserError),
            (
                "input-tray-missing",
                "printer.input-tray-missing",
                UserError,
            ),
            ("media-jam", "printer.media-jam", UserError),
            ("door-open", "printer.cover-open", UserError),
            ("cover-open", "printer.cover-open", UserError),
            ("interlock-open", "printer.cover-open", UserError),
            ("toner-empty", "printer.toner-empty", UserError),
            ("marker-supply-empty", "printer.toner-empty", UserError),
            ("developer-empty", "printer.toner-empty", UserError),
            ("marker-supply-missing", "printer.toner-missing", UserError),
            ("opc-life-over", "printer.drum-empty", HardwareError),
            ("marker-waste-full", "printer.waste-full", HardwareError),
            ("fuser-over-temp", "printer.fuser", HardwareError),
            ("fuser-under-temp", "printer.fuser", HardwareError),
            ("output-area-full", "printer.output-full", UserError),
            (
                "output-tray-missing",
                "printer.output-tray-missing",
                UserError,
            ),
            ("paused", "printer.paused", Offline),
            ("moving-to-paused", "printer.paused", Offline),
            ("shutdown", "printer.offline", Offline),
            ("offline", "printer.offline", Offline),
            ("connecting-to-device", "printer.offline", Offline),
            ("timed-out", "printer.offline", Offline),
            ("spool-area-full", "printer.spool-full", Offline),
        ] {
            for suffix in ["", "-warning", "-error"] {
                check(5, &[&format!("{keyword}{suffix}")], &[code], state);
            }
            check(3, &[&format!("{keyword}-report")], &[], Online);
        }
        for keyword in [
            "media-low",
            "toner-low",
            "marker-supply-low",
            "developer-low",
            "opc-near-eol",
            "marker-waste-almost-full",
            "output-area-almost-full",
        ] {
            check(3, &[&format!("{keyword}-warning")], &[], Online);
        }
    }

    #[test]
    fn unknown_reasons_stop_only_a_stopped_printer() {
        check(
            3,
            &["other", "vendor-strange-error"],
            &[],
            DeviceState::Online,
        );
        check(
            5,
            &["vendor-strange-error"],
            &["printer.stopped"],
            DeviceState::HardwareError,
        );
        check(5, &[], &["printer.stopped"], DeviceState::HardwareError);
    }

    #[test]
    fn a_second_source_adds_its_causes_in_order() {
        let check = |first: (bool, &[&str]), second: (bool, &[&str]), codes: &[&str]| {
            let mut status = judge(first.0, first.1);
            merge(&mut status, judge(second.0, second.1));
            let found: Vec<&str> = status.faults.iter().map(|fault| fault.code).collect();
            assert_eq!(found, codes);
            assert_eq!(status.state == DeviceState::Online, codes.is_empty());
        };
        check((false, &[]), (false, &["none"]), &[]);
        check(
            (false, &[]),
            (true, &["media-empty"]),
            &["printer.media-empty"],
        );
        check((true, &[]), (true, &["media-jam"]), &["printer.media-jam"]);
        check((true, &[]), (false, &[]), &["printer.stopped"]);
        check(
            (true, &["paused", "media-empty"]),
            (true, &["media-empty", "media-jam"]),
            &["printer.media-jam", "printer.media-empty", "printer.paused"],
        );
    }

    #[test]
    fn waste_counts_the_other_way_and_unknown_levels_say_nothing() {
        let found = |levels: &[i32], types: &[&str]| {
            let mut wire = vec![2, 0, 0, 0, 0, 0, 0, 1, 4];
            wire.extend(b"\x23\0\x0Dprinter-state\0\x04\0\0\0\x03");
            let mut put = |tag: u8, name: &str, value: &[u8]| {
                wire.push(tag);
                for part in [name.as_bytes(), value] {
                    wire.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
                    wire.extend(part);
                }
            };
            for (index, level) in levels.iter().enumerate() {
                let name = if index == 0 { "marker-levels" } else { "" };
                put(0x21, name, &level.to_be_bytes());
            }
            for (index, kind) in types.iter().enumerate() {
                let name = if index == 0 { "marker-types" } else { "" };
                put(0x44, name, kind.as_bytes());
            }
            let status = status(&Answer::parse(&wire).unwrap()).unwrap();
            let reading = |name: &str| status.readings.get(name).cloned();
            (
                status.toner,
                reading("toner-percent"),
                reading("waste-toner-percent"),
            )
        };
        let text = |text: &str| Some(text.to_owned());
        let types = ["toner", "waste-toner"];
        assert_eq!(
            found(&[80, 5], &types),
            (Supply::Full, text("80"), text("5"))
        );
        assert_eq!(found(&[7], &types), (Supply::Low, text("7"), None));
        assert_eq!(found(&[-1, -3], &types), (Supply::Unknown, None, None));
        assert_eq!(
            found(&[-2, 95], &types),
            (Supply::Unknown, None, text("95"))
        );
        assert_eq!(found(&[70], &[]), (Supply::Full, text("70"), None));
    }

    #[test]
    fn supplies_come_from_reasons_and_levels() {
        let found = status(&Answer::parse(&fact_sheet_answer()).unwrap()).unwrap();
        assert_eq!((found.paper, found.toner), (Supply::Out, Supply::Low));
        assert_eq!(found.faults[0].code, "printer.media-empty");
        let low = status(&answer(3, &["media-low-report"])).unwrap();
        assert_eq!((low.paper, low.state), (Supply::Low, DeviceState::Online));
    }

    #[test]
    fn printer_supply_tells_the_toner_of_printers_without_marker_levels() {
        const TONER: &str = "index=1;class=supplyThatIsConsumed;type=toner;unit=tenths;";
        let found = |text: &str| {
            let mut wire = vec![2, 0, 0, 0, 0, 0, 0, 1, 4];
            wire.extend(b"\x23\0\x0Dprinter-state\0\x04\0\0\0\x03");
            wire.extend(b"\x30\0\x0Eprinter-supply");
            wire.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
            wire.extend(text.as_bytes());
            status(&Answer::parse(&wire).unwrap()).unwrap().toner
        };
        for (rest, expect) in [
            ("maxcapacity=2000;level=220;", Supply::Full),
            (
                "maxcapacity=2000;level=200;colorantname=black;",
                Supply::Low,
            ),
            ("maxcapacity=2000;level=0", Supply::Low),
            ("maxcapacity=2000;level=-3;", Supply::Unknown),
            ("maxcapacity=-2;level=70;", Supply::Unknown),
            ("maxcapacity=0;level=70;", Supply::Unknown),
            ("maxcapacity=1;level=2147483647;", Supply::Unknown),
            ("maxcapacity=100;level=99999999999;", Supply::Unknown),
            ("maxcapacity=100;", Supply::Unknown),
        ] {
            assert_eq!(found(&format!("{TONER}{rest}")), expect, "{rest}");
        }
        let waste = "class=receptacleThatIsFilled;type=wasteToner;maxcapacity=100;level=5;";
        assert_eq!(found(waste), Supply::Unknown);
        assert_eq!(found(";;=;\u{fffd}"), Supply::Unknown);
    }

    #[test]
    fn several_faults_stand_with_the_most_serious_first() {
        check(
            5,
            &["media-empty-error", "cover-open-error", "media-jam-error"],
            &[
                "printer.media-jam",
                "printer.cover-open",
                "printer.media-empty",
            ],
            DeviceState::UserError,
        );
    }
}
