//! What a release costs the static repository: twenty thousand terminals over eight days, with the
//! scheduling that they really use, against a fleet that looks on the hour and takes at once.
//!
//! `cargo run -p kiosk-update --example fleet`

use std::io::{self, Write};
use std::time::Duration;

use jiff::civil::time;
use jiff::tz::{TimeZone, offset};
use jiff::{SignedDuration, Timestamp};
use kiosk_update::manifest::{Entry, Mode, Release, Sha256, Version, Wave};
use kiosk_update::waves::{DEFAULT_WAVES, Decision, Place, Window, decide, next_look};

/// Terminals of the fleet, as the procurement has them.
const TERMINALS: u32 = 20_000;
/// How often each looks; the timer's own interval.
const INTERVAL: Duration = Duration::from_hours(1);
/// Seconds that are simulated: the last wave begins after six days.
const HORIZON_S: usize = 8 * 86_400;
/// Requests of a look that finds nothing new: the next root, which is not there, and the timestamp.
const REQUESTS_OF_LOOK: u32 = 2;
/// More of the look that finds it: snapshot, targets, the release, and the list of chunks.
const REQUESTS_OF_NEWS: u32 = 4;
/// Chunks that a change of a few files needs, one request each, and how many seconds apart they are
/// at a cap of 64 KiB a second.
const CHUNKS: usize = 40;
const CHUNK_S: usize = 1;
/// Clocks that are set by the network differ by less than this.
const SKEW_S: u32 = 2;

/// What the repository sees.
struct Load {
    requests: Vec<u32>,
    taken_at: Vec<usize>,
}

impl Load {
    fn new() -> Self {
        Self {
            requests: vec![0; HORIZON_S],
            taken_at: Vec::new(),
        }
    }

    fn ask(&mut self, second: usize, count: u32) {
        if let Some(requests) = self.requests.get_mut(second) {
            *requests += count;
        }
    }

    fn take(&mut self, second: usize) {
        self.ask(second, REQUESTS_OF_NEWS);
        for chunk in 0..CHUNKS {
            self.ask(second + 1 + chunk * CHUNK_S, 1);
        }
        self.taken_at.push(second);
    }

    /// The busiest second of these days.
    fn peak(&self, days: std::ops::Range<usize>) -> u32 {
        let seconds = &self.requests[days.start * 86_400..days.end * 86_400];
        seconds.iter().copied().max().unwrap_or(0)
    }

    /// Percent of the fleet that has taken it after so many days.
    fn percent(&self, days: usize) -> usize {
        let taken = self
            .taken_at
            .iter()
            .filter(|second| **second < days * 86_400)
            .count();
        taken * 100 / TERMINALS as usize
    }
}

/// A fleet that looks when the hour strikes and takes what it finds.
fn naive() -> Load {
    let mut load = Load::new();
    for number in 0..TERMINALS {
        let skew = (number % SKEW_S) as usize;
        for hour in 0..HORIZON_S / 3600 {
            let second = hour * 3600 + skew;
            load.ask(second, REQUESTS_OF_LOOK);
            if hour == 1 {
                load.take(second);
            }
        }
    }
    load
}

/// The fleet with its own scheduling.
fn scheduled(release: &Release, window: Option<Window>) -> Load {
    let zone = TimeZone::fixed(offset(8));
    let mut load = Load::new();
    for number in 0..TERMINALS {
        let terminal = format!("440113{number:06}");
        let place = Place {
            terminal: &terminal,
            region: "440113001005",
            hardware: "kiosk-21",
            running: Some(Version::new(1, 0, 0)),
            zone: &zone,
            window,
            is_busy: false,
        };
        let mut look = next_look(&terminal, INTERVAL, release.published_at);
        let mut until = Some(release.published_at);
        while let Ok(second) = usize::try_from(look.duration_since(release.published_at).as_secs())
            && second < HORIZON_S
        {
            load.ask(second, REQUESTS_OF_LOOK);
            if until.is_some_and(|until| look >= until) {
                until = match decide(release, &place, look) {
                    Decision::Wait { until, .. } => Some(until),
                    Decision::Take => {
                        load.take(second);
                        None
                    }
                    Decision::UpToDate | Decision::Held(_) => None,
                };
            }
            look = next_look(&terminal, INTERVAL, look);
        }
    }
    load
}

fn release(waves: Vec<Wave>) -> Release {
    let file = Entry {
        path: "bin/kiosk".to_owned(),
        size: 0,
        sha256: Sha256::of(b""),
        mode: Mode::Program,
    };
    // Midnight of the villages.
    let published_at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000 - 8);
    Release {
        waves,
        hardware: vec!["kiosk-21".to_owned()],
        seed: 20_261_120,
        ..Release::new(Version::new(1, 1, 0), vec![file], published_at)
    }
}

fn main() -> io::Result<()> {
    let night = Some(Window {
        from: time(22, 0, 0, 0),
        until: time(6, 0, 0, 0),
    });
    let fleets = [
        ("on the hour, at once", naive()),
        (
            "looks spread, at once, at any hour",
            scheduled(&release(Vec::new()), None),
        ),
        (
            "looks spread, at once, off-hours",
            scheduled(&release(Vec::new()), night),
        ),
        (
            "waves, at any hour",
            scheduled(&release(DEFAULT_WAVES.to_vec()), None),
        ),
        (
            "waves, off-hours",
            scheduled(&release(DEFAULT_WAVES.to_vec()), night),
        ),
    ];
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{TERMINALS} terminals, one release, requests a second in the busiest second"
    )?;
    writeln!(
        out,
        "{:<36} {:>8} {:>10} {:>9} {:>9}",
        "fleet", "day 1", "8 days", "day 1 %", "8 days %"
    )?;
    for (name, load) in &fleets {
        writeln!(
            out,
            "{name:<36} {:>8} {:>10} {:>9} {:>9}",
            load.peak(0..1),
            load.peak(0..8),
            load.percent(1),
            load.percent(8)
        )?;
    }
    Ok(())
}
