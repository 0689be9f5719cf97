//! Waves over a whole fleet: everybody in the end, nobody early, other villages first each time.

#![expect(
    clippy::unwrap_used,
    reason = "a step of the scene that fails has nothing to prove"
)]

use std::collections::BTreeSet;

use jiff::civil::time;
use jiff::tz::{TimeZone, offset};
use jiff::{SignedDuration, Timestamp};
use kiosk_update::manifest::{Entry, Mode, PLACES, Release, Sha256, Version, Wave};
use kiosk_update::waves::{
    DEFAULT_WAVES, Decision, Hold, JITTER_MAX, Place, Wait, Window, decide, place_of, start,
};
use proptest::prelude::*;

const PUBLISHED: &str = "2026-11-01T00:00:00Z";

fn published() -> Timestamp {
    PUBLISHED.parse().unwrap()
}

fn release(seed: u32, waves: Vec<Wave>) -> Release {
    let file = Entry {
        path: "bin/kiosk".to_owned(),
        size: 0,
        sha256: Sha256::of(b""),
        mode: Mode::Program,
    };
    Release {
        seed,
        waves,
        hardware: vec!["kiosk-21".to_owned()],
        ..Release::new(Version::new(2, 0, 0), vec![file], published())
    }
}

fn terminal(number: u32) -> String {
    format!("440113001{number:06}")
}

fn place<'a>(terminal: &'a str, zone: &'a TimeZone, window: Option<Window>) -> Place<'a> {
    Place {
        terminal,
        region: "440113001005",
        hardware: "kiosk-21",
        running: Some(Version::new(1, 0, 0)),
        zone,
        window,
        is_busy: false,
    }
}

fn waves() -> impl Strategy<Value = Vec<Wave>> {
    let steps = prop::collection::btree_map(0..PLACES, 0..30_u64 * 86_400, 0..6);
    (steps, 0..60_u64 * 86_400).prop_map(|(steps, last)| {
        let mut after: Vec<u64> = steps.values().copied().collect();
        after.sort_unstable();
        let bounds = steps.keys().copied().filter(|bound| *bound < PLACES);
        let mut waves: Vec<Wave> = bounds
            .zip(&after)
            .map(|(bound, after_s)| Wave {
                bound,
                after_s: *after_s,
            })
            .collect();
        let last = last.max(after.last().copied().unwrap_or(0));
        waves.push(Wave {
            bound: PLACES,
            after_s: last,
        });
        waves
    })
}

fn windows() -> impl Strategy<Value = Option<Window>> {
    let hour = || (0..24_i8, 0..60_i8).prop_map(|(hour, minute)| time(hour, minute, 0, 0));
    prop::option::of((hour(), hour()).prop_map(|(from, until)| Window { from, until }))
}

proptest! {
    #[test]
    fn nobody_before_its_wave_and_everybody_in_the_end(
        seed: u32, number: u32, waves in waves(), window in windows(), zone in -12..=14_i8
    ) {
        let release = release(seed, waves.clone());
        prop_assert!(Release::parse(&release.to_bytes().unwrap()).is_ok());
        let terminal = terminal(number);
        let zone = TimeZone::fixed(offset(zone));
        let place = place(&terminal, &zone, window);
        let drawn = place_of(&terminal, seed);
        prop_assert!(drawn < PLACES);
        let mine = waves.iter().find(|wave| drawn < wave.bound).unwrap();
        let begins = published() + SignedDuration::from_secs(i64::try_from(mine.after_s).unwrap());
        let mut now = published();
        let mut asked = 0;
        // Told when to come again, a terminal comes a few times and has it.
        loop {
            match decide(&release, &place, now) {
                Decision::Take => break,
                Decision::Wait { until, why } => {
                    prop_assert!(until > now);
                    prop_assert!(matches!(why, Wait::Wave | Wait::Window));
                    now = until;
                }
                other @ (Decision::UpToDate | Decision::Held(_)) => return Err(TestCaseError::fail(format!("{other:?}"))),
            }
            asked += 1;
            prop_assert!(asked < 6, "it never gets its turn");
        }
        prop_assert!(now >= begins);
        let latest = begins + SignedDuration::try_from(JITTER_MAX).unwrap() + SignedDuration::from_hours(48);
        prop_assert!(now <= latest, "{now} after {latest}");
    }

    #[test]
    fn asking_earlier_than_told_changes_nothing(
        seed: u32, number: u32, waves in waves(), window in windows(), early in 1..100_000_i64
    ) {
        let release = release(seed, waves);
        let terminal = terminal(number);
        let zone = TimeZone::fixed(offset(8));
        let place = place(&terminal, &zone, window);
        let starts = start(&release, &terminal);
        let before = starts - SignedDuration::from_secs(early);
        let is_taken = decide(&release, &place, before) == Decision::Take;
        prop_assert!(!is_taken);
    }

    #[test]
    fn a_halt_holds_all_who_have_not_taken_it(
        seed: u32, number: u32, waves in waves(), window in windows(), after in 0..10_000_000_i64
    ) {
        let release = Release { is_halted: true, ..release(seed, waves) };
        let terminal = terminal(number);
        let zone = TimeZone::fixed(offset(8));
        let place = place(&terminal, &zone, window);
        let now = published() + SignedDuration::from_secs(after);
        prop_assert_eq!(decide(&release, &place, now), Decision::Held(Hold::Halted));
        let has_it = Place { running: Some(Version::new(2, 0, 0)), ..place };
        prop_assert_eq!(decide(&release, &has_it, now), Decision::UpToDate);
    }
}

#[test]
fn an_urgent_release_has_no_more_jitter_than_it_says() {
    let urgent = Release {
        spread_s: 60,
        ..release(7, Vec::new())
    };
    let latest = published() + SignedDuration::from_secs(60);
    let starts = (0..1000).map(|number| start(&urgent, &terminal(number)));
    assert!(starts.clone().all(|starts| starts <= latest));
    assert!(starts.collect::<BTreeSet<_>>().len() > 30, "they spread");
}

/// The terminals of the first wave.
fn first_ones(seed: u32) -> BTreeSet<u32> {
    (0..20_000)
        .filter(|number| place_of(&terminal(*number), seed) < DEFAULT_WAVES[0].bound)
        .collect()
}

#[test]
fn different_seeds_have_different_first_ones() {
    let (one, other) = (first_ones(1), first_ones(2));
    assert!(one.len() > 100 && other.len() > 100);
    let both = one.intersection(&other).count();
    assert!(
        both * 10 < one.len(),
        "{both} of {} are first again",
        one.len()
    );
}

#[test]
fn a_wave_is_as_large_as_it_says() {
    for (percent, wave) in [
        (1, DEFAULT_WAVES[0]),
        (10, DEFAULT_WAVES[2]),
        (25, DEFAULT_WAVES[3]),
    ] {
        let count = (0..20_000)
            .filter(|number| place_of(&terminal(*number), 77) < wave.bound)
            .count();
        let wanted = 200 * percent;
        let tolerance = wanted / 5 + 20;
        assert!(
            count.abs_diff(wanted) < tolerance,
            "{count} instead of {wanted}"
        );
    }
}

#[test]
fn a_terminal_that_was_switched_off_for_weeks_still_waits_for_its_turn_in_the_night() {
    let release = release(3, DEFAULT_WAVES.to_vec());
    let zone = TimeZone::fixed(offset(8));
    let window = Some(Window {
        from: time(22, 0, 0, 0),
        until: time(6, 0, 0, 0),
    });
    let noon: Timestamp = "2027-01-10T04:00:00Z".parse().unwrap();
    let moments: BTreeSet<Timestamp> = (0..500)
        .map(|number| {
            let terminal = terminal(number);
            let decision = decide(&release, &place(&terminal, &zone, window), noon);
            let Decision::Wait {
                until,
                why: Wait::Window,
            } = decision
            else {
                panic!("{decision:?}");
            };
            until
        })
        .collect();
    assert!(
        moments.len() > 480,
        "{} moments for 500 terminals",
        moments.len()
    );
}
