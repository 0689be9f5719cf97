//! Who takes a release when: a pure function of the release, the terminal and the time. Everybody
//! takes it in the end, nobody before its wave, never during a visit, and a halt holds all who have
//! not. Each release draws the first ones anew by its seed, so that no village is always first.
//!
//! Jitter is drawn twice: inside the wave, and inside the window of off-hours; without the second
//! one, all who waited for the evening would come in the same second.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::manifest::{PLACES, Release, Version, Wave};

/// Longest jitter inside a wave, and the usual one. Chosen: a line of a county is filled by a night,
/// not by an hour; four nights of off-hours would be too long to wait for a repair, half a day is not.
pub const JITTER_MAX: Duration = Duration::from_hours(12);
/// Part of the window that jitter fills, in quarters: the rest is for those who then fetch and test.
const WINDOW_QUARTERS: u32 = 3;
/// When a visit is asked after again. Chosen: a visit takes five minutes.
const VISIT_PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// The waves of Bottlerocket's default: 1 % after one hour, 5 % after four, 10 % after a day, 25 %
/// after three, everybody after six (github.com/bottlerocket-os, `waves/default-waves.toml`).
pub const DEFAULT_WAVES: [Wave; 5] = [
    wave(20, 3600),
    wave(102, 4 * 3600),
    wave(205, 24 * 3600),
    wave(512, 3 * 24 * 3600),
    wave(PLACES, 6 * 24 * 3600),
];

const fn wave(bound: u16, after_s: u64) -> Wave {
    Wave { bound, after_s }
}

/// The hours of the day in which a release may be fetched and brought into force; it may pass
/// midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From this time of the day.
    pub from: Time,
    /// To this time of the day, exclusive. The same as `from` means all day.
    pub until: Time,
}

/// The terminal that asks.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Its number.
    pub terminal: &'a str,
    /// Code of its village.
    pub region: &'a str,
    /// Kind of its hardware.
    pub hardware: &'a str,
    /// What runs; `None` when nothing that came by an update does.
    pub running: Option<Version>,
    /// Its time zone.
    pub zone: &'a TimeZone,
    /// Its off-hours.
    pub window: Option<Window>,
    /// Somebody stands before it.
    pub is_busy: bool,
}

/// What to do about a release now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take it.
    Take,
    /// It runs already, or something newer does.
    UpToDate,
    /// Not before this time.
    Wait {
        /// When to ask again.
        until: Timestamp,
        /// Why.
        why: Wait,
    },
    /// Not at all as it is published now.
    Held(Hold),
}

/// Why a release has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The terminal's wave has not begun.
    Wave,
    /// It is not off-hours, or others come first in them.
    Window,
    /// A visit is under way.
    Visit,
    /// It was taken back although it may not be to blame; it is tried again.
    Doubt,
}

/// Why a release is not for this terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The operator has halted it.
    Halted,
    /// It is for other regions.
    Region,
    /// It is for other hardware.
    Hardware,
    /// What runs is too old to be updated to it directly.
    TooOld,
    /// The platform has ordered this terminal to leave it alone for now.
    Ordered,
}

impl Hold {
    /// Stable problem code. Never reuse or rename one.
    pub fn code(self) -> &'static str {
        match self {
            Self::Halted => "update.halted",
            Self::Region => "update.other-region",
            Self::Hardware => "update.other-hardware",
            Self::TooOld => "update.too-old",
            Self::Ordered => "update.held",
        }
    }
}

/// What the terminal does about the release now.
pub fn decide(release: &Release, place: &Place<'_>, now: Timestamp) -> Decision {
    if place
        .running
        .is_some_and(|running| running >= release.version)
    {
        return Decision::UpToDate;
    }
    if let Some(hold) = hold(release, place) {
        return Decision::Held(hold);
    }
    let starts = start(release, place.terminal);
    if now < starts {
        return Decision::Wait {
            until: starts,
            why: Wait::Wave,
        };
    }
    if let Some(window) = place.window {
        let until = turn(release, place, window, starts, now);
        if now < until {
            let why = Wait::Window;
            return Decision::Wait { until, why };
        }
    }
    if place.is_busy {
        return Decision::Wait {
            until: now.saturating_add(VISIT_PATIENCE).unwrap_or(Timestamp::MAX),
            why: Wait::Visit,
        };
    }
    Decision::Take
}

/// What the terminal does about the release where a technician asked for it: waves and off-hours are set
/// aside, and whoever stands before it is the technician. What holds it holds it all the same.
pub fn decide_attended(release: &Release, place: &Place<'_>) -> Decision {
    if place
        .running
        .is_some_and(|running| running >= release.version)
    {
        return Decision::UpToDate;
    }
    hold(release, place).map_or(Decision::Take, Decision::Held)
}

fn hold(release: &Release, place: &Place<'_>) -> Option<Hold> {
    let is_in_region = release.regions.as_ref().is_none_or(|regions| {
        regions
            .iter()
            .any(|region| place.region.starts_with(region.as_str()))
    });
    let is_for_hardware = release.hardware.iter().any(|name| name == place.hardware);
    let is_too_old = place
        .running
        .is_some_and(|running| running < release.minimum_version);
    if release.is_halted {
        Some(Hold::Halted)
    } else if !is_in_region {
        Some(Hold::Region)
    } else if !is_for_hardware {
        Some(Hold::Hardware)
    } else if is_too_old {
        Some(Hold::TooOld)
    } else {
        None
    }
}

/// The terminal's place among [`PLACES`] in this release: as good as drawn, and always the same.
pub fn place_of(terminal: &str, seed: u32) -> u16 {
    let drawn = draw("place", terminal, &seed.to_le_bytes()) % u64::from(PLACES);
    u16::try_from(drawn).unwrap_or(0)
}

/// When the terminal may take the release at the earliest: its wave's start and jitter inside it.
pub fn start(release: &Release, terminal: &str) -> Timestamp {
    let place = place_of(terminal, release.seed);
    let position = release.waves.iter().position(|wave| place < wave.bound);
    let after_s = position.map_or(0, |position| release.waves[position].after_s);
    let next_s = position
        .and_then(|position| release.waves.get(position + 1))
        .map(|next| next.after_s);
    // No next wave bounds the last one.
    let width_s = next_s.map_or(release.spread_s, |next_s| {
        next_s.saturating_sub(after_s).min(release.spread_s)
    });
    let width = Duration::from_secs(width_s);
    let jitter = part_of(width, draw_for(release, "wave", terminal));
    let after = Duration::from_secs(after_s).saturating_add(jitter);
    later(release.published_at, after)
}

/// When in the window it is the terminal's turn, now or later.
fn turn(
    release: &Release,
    place: &Place<'_>,
    window: Window,
    starts: Timestamp,
    now: Timestamp,
) -> Timestamp {
    let drawn = draw_for(release, "window", place.terminal);
    let Some(night) = Night::at_or_after(window, place.zone, now) else {
        // The clock is at an end of time where no night is; a window cannot be kept there.
        return now;
    };
    // Whose wave begins inside the window has its jitter already.
    if starts >= night.opens {
        return starts.max(night.opens);
    }
    let length = night.closes.duration_since(night.opens);
    let length = Duration::try_from(length).unwrap_or(Duration::ZERO);
    later(night.opens, part_of(length * WINDOW_QUARTERS / 4, drawn))
}

/// True in off-hours.
pub fn is_open(window: Option<Window>, zone: &TimeZone, now: Timestamp) -> bool {
    window.is_none_or(|window| {
        Night::at_or_after(window, zone, now).is_none_or(|night| night.opens <= now)
    })
}

/// When a terminal looks for releases next: at its own moment of each interval, the same all its
/// life, so that a fleet spreads evenly whatever starts it.
pub fn next_look(terminal: &str, interval: Duration, now: Timestamp) -> Timestamp {
    let interval_s = interval.as_secs().max(1);
    let phase_s = draw("look", terminal, &[]) % interval_s;
    let interval_s = i64::try_from(interval_s).unwrap_or(i64::MAX);
    let phase_s = i64::try_from(phase_s).unwrap_or(0);
    let since_s = now
        .as_second()
        .saturating_sub(phase_s)
        .rem_euclid(interval_s);
    let wait_s = interval_s - since_s;
    Timestamp::from_second(now.as_second().saturating_add(wait_s)).unwrap_or(Timestamp::MAX)
}

/// One night of off-hours.
struct Night {
    opens: Timestamp,
    closes: Timestamp,
}

impl Night {
    /// The night that is, or else the next one.
    fn at_or_after(window: Window, zone: &TimeZone, now: Timestamp) -> Option<Self> {
        let today = now.to_zoned(zone.clone()).date();
        let yesterday = today.checked_sub(1.day()).ok()?;
        let tomorrow = today.checked_add(1.day()).ok()?;
        [yesterday, today, tomorrow]
            .into_iter()
            .filter_map(|date| Self::of(window, zone, date))
            .find(|night| now < night.closes)
    }

    /// The night that begins on a date.
    fn of(window: Window, zone: &TimeZone, date: Date) -> Option<Self> {
        let last = if window.until <= window.from {
            date.checked_add(1.day()).ok()?
        } else {
            date
        };
        let at = |date: Date, time: Time| {
            let zoned = date.to_datetime(time).to_zoned(zone.clone()).ok()?;
            Some(zoned.timestamp())
        };
        Some(Self {
            opens: at(date, window.from)?,
            closes: at(last, window.until)?,
        })
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| time.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

/// The part of a length that was drawn, in whole seconds.
fn part_of(length: Duration, drawn: u64) -> Duration {
    Duration::from_secs(drawn % length.as_secs().max(1))
}

fn draw_for(release: &Release, what: &str, terminal: &str) -> u64 {
    draw(
        what,
        terminal,
        format!("{}/{}", release.seed, release.version).as_bytes(),
    )
}

/// A number that is the same for the same words and as good as drawn for others.
fn draw(what: &str, terminal: &str, of: &[u8]) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in [what.as_bytes(), terminal.as_bytes(), of] {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&context.finish().as_ref()[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;

    use super::*;
    use crate::manifest::{Entry, Mode, Sha256};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn release() -> Release {
        let file = Entry {
            path: "bin/kiosk".to_owned(),
            size: 3,
            sha256: Sha256::of(b"abc"),
            mode: Mode::Program,
        };
        Release {
            hardware: vec!["kiosk-21".to_owned()],
            ..Release::new(
                Version::new(2, 0, 0),
                vec![file],
                at("2026-11-01T00:00:00Z"),
            )
        }
    }

    fn place(zone: &TimeZone) -> Place<'_> {
        Place {
            terminal: "T-001",
            region: "440113001005",
            hardware: "kiosk-21",
            running: Some(Version::new(1, 0, 0)),
            zone,
            window: None,
            is_busy: false,
        }
    }

    #[test]
    fn what_is_not_for_the_terminal_is_held() {
        let now = at("2027-01-01T00:00:00Z");
        let zone = TimeZone::UTC;
        let check = |release: &Release, expect| {
            assert_eq!(decide(release, &place(&zone), now), expect);
        };
        check(&release(), Decision::Take);
        let halted = Release {
            is_halted: true,
            ..release()
        };
        check(&halted, Decision::Held(Hold::Halted));
        for (region, expect) in [
            ("44", Decision::Take),
            ("440113001005", Decision::Take),
            ("4402", Decision::Held(Hold::Region)),
        ] {
            let regional = Release {
                regions: Some(vec![region.to_owned()]),
                ..release()
            };
            check(&regional, expect);
        }
        let other = Release {
            hardware: vec!["kiosk-32".to_owned()],
            ..release()
        };
        check(&other, Decision::Held(Hold::Hardware));
        let far = Release {
            minimum_version: Version::new(1, 0, 1),
            ..release()
        };
        check(&far, Decision::Held(Hold::TooOld));
        let old = Release {
            version: Version::new(1, 0, 0),
            ..release()
        };
        check(&old, Decision::UpToDate);
    }

    #[test]
    fn a_visit_is_never_interrupted() {
        let zone = TimeZone::UTC;
        let now = at("2027-01-01T00:00:00Z");
        let busy = Place {
            is_busy: true,
            ..place(&zone)
        };
        assert!(matches!(
            decide(&release(), &busy, now),
            Decision::Wait { why: Wait::Visit, until } if until > now
        ));
    }

    #[test]
    fn off_hours_are_local_and_pass_midnight() {
        let zone = TimeZone::fixed(jiff::tz::offset(8));
        let window = Some(Window {
            from: time(22, 0, 0, 0),
            until: time(6, 0, 0, 0),
        });
        // 13:59 and 14:00 UTC are 21:59 and 22:00 there; 21:59 and 22:00 UTC the end of the night.
        for (now, expect) in [
            ("2026-11-20T13:59:59Z", false),
            ("2026-11-20T14:00:00Z", true),
            ("2026-11-20T16:30:00Z", true),
            ("2026-11-20T21:59:59Z", true),
            ("2026-11-20T22:00:00Z", false),
        ] {
            assert_eq!(is_open(window, &zone, at(now)), expect, "{now}");
        }
        assert!(is_open(None, &zone, at("2026-11-20T03:00:00Z")));
    }

    #[test]
    fn who_waited_for_the_evening_does_not_come_with_all_others() {
        let zone = TimeZone::UTC;
        let window = Window {
            from: time(22, 0, 0, 0),
            until: time(6, 0, 0, 0),
        };
        let noon = at("2026-12-20T12:00:00Z");
        let terminals: Vec<String> = (0..200).map(|number| format!("T-{number:03}")).collect();
        let turns: std::collections::BTreeSet<Timestamp> = terminals
            .iter()
            .map(|terminal| {
                let place = Place {
                    terminal,
                    window: Some(window),
                    ..place(&zone)
                };
                let decision = decide(&release(), &place, noon);
                let Decision::Wait {
                    until,
                    why: Wait::Window,
                } = decision
                else {
                    panic!("{decision:?}");
                };
                assert!(until >= at("2026-12-20T22:00:00Z"));
                assert!(until < at("2026-12-21T04:00:00Z"));
                assert_eq!(decide(&release(), &place, until), Decision::Take);
                until
            })
            .collect();
        assert!(turns.len() > 190, "{} moments", turns.len());
    }

    #[test]
    fn looks_keep_to_their_own_moment_of_each_interval() {
        let hour = Duration::from_hours(1);
        let first = next_look("T-001", hour, at("2026-11-20T12:34:56Z"));
        let second = next_look("T-001", hour, first);
        assert_eq!(second.duration_since(first), SignedDuration::from_hours(1));
        let early = next_look("T-001", hour, at("2026-11-20T12:00:00Z"));
        assert_eq!(first.duration_since(early).as_secs().rem_euclid(3600), 0);
        assert_ne!(first, next_look("T-002", hour, at("2026-11-20T12:34:56Z")));
    }

    #[test]
    fn the_ends_of_time_do_not_stop_the_decision() {
        let zone = TimeZone::UTC;
        let window = Some(Window {
            from: time(22, 0, 0, 0),
            until: time(6, 0, 0, 0),
        });
        let place = Place {
            window,
            ..place(&zone)
        };
        for now in [Timestamp::MIN, Timestamp::MAX] {
            let _decision = decide(&release(), &place, now);
        }
    }
}
