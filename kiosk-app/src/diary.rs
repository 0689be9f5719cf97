//! The devices' diary on disk: what the supervisors have counted since the start becomes, every ten
//! minutes and at the end, more of the same on the day. Nothing is counted twice: what could not be
//! written is written with the next differences.

use std::collections::BTreeMap;
use std::time::Duration;

use offline_cache::{Cache, DiaryCount};

use crate::clock::Moment;
use crate::devices::{Counters, Roster};

/// How often the differences are written; a power cut loses as much. Chosen.
const INTERVAL: Duration = Duration::from_mins(10);

/// How far each counter has been written.
#[derive(Debug)]
pub(crate) struct DeviceDiary {
    written: BTreeMap<(String, String), u64>,
    /// When the next differences are due, on the monotonic clock.
    due_at: Duration,
}

impl DeviceDiary {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            written: BTreeMap::new(),
            due_at: now.uptime + INTERVAL,
        }
    }

    /// Writes when it is due.
    pub(crate) fn turn(&mut self, roster: &Roster, cache: &mut Cache, now: Moment) {
        if now.uptime >= self.due_at {
            self.due_at = now.uptime + INTERVAL;
            self.write(roster.counters(), cache, now);
        }
    }

    /// Writes what has been counted since the last time.
    pub(crate) fn write(
        &mut self,
        devices: Vec<(String, Counters)>,
        cache: &mut Cache,
        now: Moment,
    ) {
        let mut counted = BTreeMap::new();
        for (device, counters) in devices {
            for (what, count) in words(counters) {
                counted.insert((device.clone(), what), count);
            }
        }
        let more: Vec<DiaryCount> = counted
            .iter()
            .filter_map(|(key, count)| {
                let before = self.written.get(key).copied().unwrap_or(0);
                let (device, what) = key.clone();
                (*count > before).then(|| DiaryCount {
                    device,
                    day: now.date(),
                    what,
                    count: count - before,
                })
            })
            .collect();
        if more.is_empty() {
            return;
        }
        match cache.diary_add(&more) {
            Ok(()) => self.written = counted,
            Err(error) => tracing::warn!(code = error.code(), %error, "device diary"),
        }
    }
}

/// A device's counters by the words of the diary.
fn words(counters: Counters) -> Vec<(String, u64)> {
    let Counters {
        opened,
        commands,
        succeeded,
        canceled,
        timed_out,
        failed,
        faults,
        recovered,
        made,
        ready_s,
    } = counters;
    let mut words = vec![
        ("opened".to_owned(), opened),
        ("commands".to_owned(), commands),
        ("succeeded".to_owned(), succeeded),
        ("canceled".to_owned(), canceled),
        ("timed-out".to_owned(), timed_out),
        ("ready-s".to_owned(), ready_s),
    ];
    for (kind, counts) in [
        ("failed", failed),
        ("fault", faults),
        ("recovered", recovered),
        ("made", made),
    ] {
        words.extend(
            counts
                .into_iter()
                .map(|(word, count)| (format!("{kind}:{word}"), count)),
        );
    }
    words
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Moment {
        Moment {
            at: Timestamp::from_second(1_795_311_660 + second).unwrap(),
            uptime: Duration::from_secs(u64::try_from(second).unwrap()),
        }
    }

    fn counters(cards: u64) -> Vec<(String, Counters)> {
        let counters = Counters {
            opened: 1,
            made: BTreeMap::from([("cards".to_owned(), cards)]),
            ..Counters::default()
        };
        vec![("card-reader".to_owned(), counters)]
    }

    #[test]
    fn only_what_is_new_is_added_and_a_restart_goes_on_counting() {
        let directory = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::open(directory.path(), at(0).at).unwrap();
        let mut diary = DeviceDiary::new(at(0));
        diary.write(counters(2), &mut cache, at(1));
        diary.write(counters(2), &mut cache, at(2));
        diary.write(counters(5), &mut cache, at(3));
        let mut after_restart = DeviceDiary::new(at(0));
        after_restart.write(counters(1), &mut cache, at(4));
        let day = at(0).date();
        let counts: BTreeMap<String, u64> = cache
            .diary(day)
            .unwrap()
            .into_iter()
            .map(|count| (count.what, count.count))
            .collect();
        let expected = [("made:cards".to_owned(), 6), ("opened".to_owned(), 2)];
        assert_eq!(counts, BTreeMap::from(expected));
    }
}
