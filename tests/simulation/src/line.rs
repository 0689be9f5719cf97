//! The line between terminal and platform: what becomes of one request and of its answer.
//! A village line does all of these in a month.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use kiosk_tests::random::Random;

/// How the line is for some hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// It works.
    Good,
    /// It loses and delays.
    Poor,
    /// It mostly fails.
    Bad,
    /// There is none.
    Down,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It arrives, and so does the answer.
    Answered,
    /// There is no way to the platform.
    Unreachable,
    /// It is lost on the way there; a time-out here.
    LostBefore,
    /// It takes effect and the answer is lost; a time-out here.
    LostAfter,
    /// It takes effect, the answer is cut in half.
    HalfOpen,
    /// It arrives twice; the second answer comes back.
    Twice,
    /// It is lost here, and a copy of it arrives much later.
    Wanders,
    /// Something before the platform answers this status instead, without any effect.
    Refused(u16),
    /// The answer is no answer: the page of a captive portal.
    Portal,
}

/// What becomes of the list of results on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoiling {
    /// Nothing.
    None,
    /// Another order.
    Reordered,
    /// Some results are missing.
    Thinned,
    /// Every result is there twice.
    Doubled,
    /// Results for transactions that nobody sent.
    Foreign,
}

/// What goes wrong on a line, each as likely as the others.
const TROUBLES: [Fate; 14] = [
    Fate::Unreachable,
    Fate::LostBefore,
    Fate::LostAfter,
    Fate::LostAfter,
    Fate::HalfOpen,
    Fate::Twice,
    Fate::Wanders,
    Fate::Refused(500),
    Fate::Refused(503),
    Fate::Refused(429),
    Fate::Refused(401),
    Fate::Refused(403),
    Fate::Refused(413),
    Fate::Portal,
];

/// What goes wrong with a list of results.
const SPOILINGS: [Spoiling; 4] = [
    Spoiling::Reordered,
    Spoiling::Thinned,
    Spoiling::Doubled,
    Spoiling::Foreign,
];

impl Weather {
    /// A weather for the next hours.
    pub(crate) fn drawn(random: &mut Random) -> Self {
        match random.below(10) {
            0..=4 => Self::Good,
            5..=6 => Self::Poor,
            7 => Self::Bad,
            _ => Self::Down,
        }
    }

    /// The fate of one request.
    pub(crate) fn fate(self, random: &mut Random) -> Fate {
        let trouble_per_thousand = match self {
            Self::Good => 15,
            Self::Poor => 250,
            Self::Bad => 700,
            Self::Down => return Fate::Unreachable,
        };
        if !random.happens(trouble_per_thousand) {
            return Fate::Answered;
        }
        TROUBLES[random.index(TROUBLES.len())]
    }

    /// How long a request takes there and back.
    pub(crate) fn latency(self, random: &mut Random) -> Duration {
        let milliseconds = match self {
            Self::Good => random.between(60, 300),
            Self::Poor => random.between(200, 4_000),
            Self::Bad | Self::Down => random.between(1_000, 20_000),
        };
        Duration::from_millis(milliseconds)
    }

    /// What becomes of a list of results.
    pub(crate) fn spoiling(self, random: &mut Random) -> Spoiling {
        let trouble_per_thousand = match self {
            Self::Good => 20,
            Self::Poor | Self::Bad | Self::Down => 150,
        };
        if !random.happens(trouble_per_thousand) {
            return Spoiling::None;
        }
        SPOILINGS[random.index(SPOILINGS.len())]
    }
}

/// Spoils a list of results.
pub(crate) fn spoil(results: &mut Vec<Value>, spoiling: Spoiling, random: &mut Random) {
    match spoiling {
        Spoiling::None => {}
        Spoiling::Reordered => random.shuffle(results),
        Spoiling::Thinned => results.retain(|_| random.happens(500)),
        Spoiling::Doubled => results.extend_from_within(..),
        Spoiling::Foreign => {
            for _ in 0..=results.len() {
                let receipt = json!({
                    "reference": "X-FOREIGN",
                    "accepted_at": "2026-11-22T00:00:00Z",
                    "outcome": "accepted",
                    "message": "",
                });
                let id = Uuid::from_u128(u128::from(random.bits()));
                results.insert(
                    0,
                    json!({ "id": id, "result": "accepted", "receipt": receipt }),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fate_happens_in_a_month_and_none_when_there_is_no_line() {
        let mut random = Random::new(3);
        let seen: Vec<Fate> = (0..5_000)
            .map(|_| Weather::Poor.fate(&mut random))
            .collect();
        for fate in [
            Fate::Answered,
            Fate::LostBefore,
            Fate::LostAfter,
            Fate::HalfOpen,
            Fate::Twice,
            Fate::Wanders,
            Fate::Refused(503),
            Fate::Portal,
        ] {
            assert!(seen.contains(&fate), "{fate:?}");
        }
        assert!((0..50).all(|_| Weather::Down.fate(&mut random) == Fate::Unreachable));
    }

    #[test]
    fn spoiling_keeps_what_it_says_it_keeps() {
        let list: Vec<Value> = (0..20).map(|number| json!({ "id": number })).collect();
        let spoiled = |spoiling| {
            let mut results = list.clone();
            spoil(&mut results, spoiling, &mut Random::new(1));
            results
        };
        assert_eq!(spoiled(Spoiling::None), list);
        assert_eq!(spoiled(Spoiling::Reordered).len(), 20);
        assert_ne!(spoiled(Spoiling::Reordered), list);
        assert!(spoiled(Spoiling::Thinned).len() < 20);
        assert_eq!(spoiled(Spoiling::Doubled).len(), 40);
        assert_eq!(spoiled(Spoiling::Foreign).len(), 41);
    }
}
