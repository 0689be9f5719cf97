//! Log levels that staff have changed on the glass. Each goes back to the configured one when the mode
//! ends; one that was to be kept goes back at its time, which is a day away at most. What is kept
//! survives a restart; a clock that jumps keeps nothing longer than a day.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use offline_cache::{Cache, CacheError};
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::logging::{LEVELS, LevelError, Log};

/// Setting under which the levels that are kept lie.
const KEPT: &str = "log-levels-kept";
/// Longest time that a level is kept. Specified: a day.
const KEEP_HOURS_MAX: u8 = 24;
const KEEP_MAX: Duration = Duration::from_hours(24);

/// Why a level was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HoldError {
    /// The log does not take it.
    #[error(transparent)]
    Log(#[from] LevelError),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] CacheError),
}

impl HoldError {
    /// Stable problem code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Log(_) => "workbench.log-fixed",
            Self::Store(error) => error.code(),
        }
    }
}

/// The levels that differ by the hand of somebody on the glass.
#[derive(Debug)]
pub(super) struct Levels {
    log: Log,
    held: BTreeMap<String, Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    level: &'static str,
    /// Until when; `None` until the mode ends.
    until: Option<Until>,
}

/// One moment by two clocks: written down by the first, measured by the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Until {
    at: Timestamp,
    uptime: Duration,
}

/// A level as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    level: String,
    until_ms: i64,
}

/// How long a level of the glass lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// As long as somebody is inside.
    Visit,
    /// Until then.
    Until(Timestamp),
}

impl Levels {
    /// None is held.
    pub(super) fn new(log: Log) -> Self {
        Self {
            log,
            held: BTreeMap::new(),
        }
    }

    /// Takes up what was kept over the restart, as far as its time is not over.
    pub(super) fn restore(
        &mut self,
        cache: &mut Cache,
        is_known: impl Fn(&str) -> bool,
        now: Moment,
    ) -> Result<(), CacheError> {
        let Some(text) = cache.setting(KEPT)? else {
            return Ok(());
        };
        // What cannot be read is as if nothing had been kept.
        let kept: BTreeMap<String, Kept> = serde_json::from_str(&text).unwrap_or_default();
        let count = kept.len();
        for (device, kept) in kept {
            let level = LEVELS.into_iter().find(|level| *level == kept.level);
            let until = until(kept.until_ms, now).filter(|_| is_known(&device));
            if let (Some(level), Some(until)) = (level, until) {
                if let Err(error) = self.log.set_level(&device, Some(level)) {
                    tracing::warn!(device, %error, "a level that was kept is not in force");
                }
                let until = Some(until);
                self.held.insert(device, Held { level, until });
            }
        }
        if self.held.len() < count {
            self.keep(cache)?;
        }
        Ok(())
    }

    /// Gives a device its own level for `keep_h` hours, a day at most; 0 hours for as long as somebody
    /// is inside. `None` takes it away.
    pub(super) fn set(
        &mut self,
        cache: &mut Cache,
        device: &str,
        level: Option<&'static str>,
        keep_h: u8,
        now: Moment,
    ) -> Result<(), HoldError> {
        self.log.set_level(device, level)?;
        let before = self.held.remove(device);
        if let Some(level) = level {
            let length = Duration::from_hours(u64::from(keep_h.min(KEEP_HOURS_MAX)));
            let until = (keep_h > 0).then(|| Until {
                at: now.at.saturating_add(length).unwrap_or(now.at),
                uptime: now.uptime + length,
            });
            self.held.insert(device.to_owned(), Held { level, until });
        }
        let is_kept = |held: &Held| held.until.is_some();
        let concerns_store =
            before.as_ref().is_some_and(is_kept) || self.held.get(device).is_some_and(is_kept);
        if concerns_store && let Err(error) = self.keep(cache) {
            // What cannot be kept is not half done: the device is quiet again.
            self.take_away(device);
            return Err(error.into());
        }
        Ok(())
    }

    /// How long the level of a device lasts, where somebody has changed it on the glass.
    pub(super) fn lasting(&self, device: &str) -> Option<Lasting> {
        let held = self.held.get(device)?;
        Some(match held.until {
            None => Lasting::Visit,
            Some(until) => Lasting::Until(until.at),
        })
    }

    /// Nobody is inside any more.
    pub(super) fn ended(&mut self) {
        self.take_away_where(|held| held.until.is_none());
    }

    /// Takes away what has been kept for long enough.
    pub(super) fn turn(&mut self, cache: &mut Cache, now: Moment) {
        let is_over = |held: &Held| held.until.is_some_and(|until| now.uptime >= until.uptime);
        if self.take_away_where(is_over)
            && let Err(error) = self.keep(cache)
        {
            // Its time is over by the other clock too, at the next start at the latest.
            tracing::warn!(code = error.code(), %error, "levels that are kept no longer");
        }
    }

    /// True when there was one.
    fn take_away_where(&mut self, is_meant: impl Fn(&Held) -> bool) -> bool {
        let meant: Vec<String> = self
            .held
            .iter()
            .filter(|(_, held)| is_meant(held))
            .map(|(device, _)| device.clone())
            .collect();
        for device in &meant {
            self.take_away(device);
        }
        !meant.is_empty()
    }

    fn take_away(&mut self, device: &str) {
        self.held.remove(device);
        match self.log.set_level(device, None) {
            Ok(()) => tracing::info!(device, "the log level is as configured again"),
            Err(error) => tracing::warn!(device, %error, "the log level stays"),
        }
    }

    fn keep(&self, cache: &mut Cache) -> Result<(), CacheError> {
        let kept: BTreeMap<&str, Kept> = self
            .held
            .iter()
            .filter_map(|(device, held)| {
                let kept = Kept {
                    level: held.level.to_owned(),
                    until_ms: held.until?.at.as_millisecond(),
                };
                Some((device.as_str(), kept))
            })
            .collect();
        let text = serde_json::to_string(&kept).expect("plain words become JSON");
        cache.set_setting(KEPT, &text)
    }
}

/// A time that was written down, by both clocks; `None` when it is over, or further away than
/// anything is kept.
fn until(until_ms: i64, now: Moment) -> Option<Until> {
    let at = Timestamp::from_millisecond(until_ms).ok()?;
    let left = Duration::try_from(at.duration_since(now.at)).ok()?;
    (!left.is_zero() && left <= KEEP_MAX).then(|| Until {
        at,
        uptime: now.uptime + left,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64, uptime_s: u64) -> Moment {
        Moment {
            at: Timestamp::from_second(1_795_311_660 + second).unwrap(),
            uptime: Duration::from_secs(uptime_s),
        }
    }

    /// The level of the reader after a start of the program at this moment.
    fn after_restart(cache: &mut Cache, now: Moment) -> Option<&'static str> {
        let log = Log::changeable();
        let mut levels = Levels::new(log.clone());
        levels.restore(cache, |_| true, now).unwrap();
        log.level_of("reader")
    }

    #[test]
    fn a_level_ends_with_the_mode_and_one_that_is_kept_at_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::open(directory.path(), at(0, 0).at).unwrap();
        let log = Log::changeable();
        let mut levels = Levels::new(log.clone());
        let debug = Some("debug");
        levels
            .set(&mut cache, "reader", debug, 0, at(0, 0))
            .unwrap();
        levels
            .set(&mut cache, "camera", debug, 4, at(0, 0))
            .unwrap();
        assert_eq!(levels.lasting("reader"), Some(Lasting::Visit));
        levels.ended();
        assert_eq!(
            (log.level_of("reader"), log.level_of("camera")),
            (None, debug)
        );
        levels.turn(&mut cache, at(4 * 3600 - 1, 4 * 3600 - 1));
        assert_eq!(log.level_of("camera"), debug);
        // The clock on the wall stands; running time counts.
        levels.turn(&mut cache, at(0, 4 * 3600));
        assert_eq!(log.level_of("camera"), None);
        assert_eq!(levels.lasting("camera"), None);
    }

    #[test]
    fn a_restart_brings_every_level_back_but_the_kept_ones_whose_time_is_not_over() {
        let directory = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::open(directory.path(), at(0, 0).at).unwrap();
        let mut levels = Levels::new(Log::changeable());
        let trace = Some("trace");
        levels
            .set(&mut cache, "reader", trace, 0, at(0, 0))
            .unwrap();
        assert_eq!(after_restart(&mut cache, at(60, 0)), None);
        // Nobody keeps one for longer than a day.
        levels
            .set(&mut cache, "reader", trace, 200, at(0, 0))
            .unwrap();
        assert_eq!(after_restart(&mut cache, at(23 * 3600, 0)), trace);
        assert_eq!(after_restart(&mut cache, at(25 * 3600, 0)), None);
        assert_eq!(
            after_restart(&mut cache, at(60, 0)),
            None,
            "it is forgotten"
        );
        levels
            .set(&mut cache, "reader", trace, 24, at(0, 0))
            .unwrap();
        let year = 365 * 24 * 3600;
        assert_eq!(
            after_restart(&mut cache, at(-year, 0)),
            None,
            "a clock set back"
        );
        levels
            .set(&mut cache, "reader", trace, 24, at(0, 0))
            .unwrap();
        levels.set(&mut cache, "reader", None, 0, at(1, 1)).unwrap();
        assert_eq!(
            after_restart(&mut cache, at(60, 0)),
            None,
            "taken away by hand"
        );
    }

    #[test]
    fn what_lies_in_the_store_and_is_no_level_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let (mut cache, _) = Cache::open(directory.path(), at(0, 0).at).unwrap();
        let soon = at(60, 0).at.as_millisecond();
        for text in [
            "rubbish".to_owned(),
            format!("{{\"reader\":{{\"level\":\"loud\",\"until_ms\":{soon}}}}}"),
            format!(
                "{{\"reader\":{{\"level\":\"debug\",\"until_ms\":{}}}}}",
                i64::MAX
            ),
        ] {
            cache.set_setting(KEPT, &text).unwrap();
            assert_eq!(after_restart(&mut cache, at(0, 0)), None, "{text}");
        }
        let text = format!("{{\"reader\":{{\"level\":\"debug\",\"until_ms\":{soon}}}}}");
        cache.set_setting(KEPT, &text).unwrap();
        let mut levels = Levels::new(Log::changeable());
        levels.restore(&mut cache, |_| false, at(0, 0)).unwrap();
        assert_eq!(levels.lasting("reader"), None, "there is no such device");
    }
}
