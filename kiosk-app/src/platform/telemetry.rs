//! What this terminal counted, handed to the platform as `OpenMetrics` text: how visits ended and
//! why, how much room the store has, how much memory the program takes. Nothing in it is personal.
//!
//! Counters only grow and are sent whole, so that nothing is kept for a line that is not there and a
//! lost request costs nothing: the next one says it all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use offline_cache::{Cache, CacheError, Cause, VisitEnd, VisitEndCount};

use super::{PlatformError, Shared};
use crate::workbench::host::{self, Host};

/// Time between two reports. Chosen: the numbers are looked at by the day, and a report of eighty
/// items is some 20 kB on what may be a thin line.
const INTERVAL: Duration = Duration::from_hours(1);
/// … and up to this longer, so that a county's do not stay in step.
const SPREAD: Duration = Duration::from_mins(10);
/// The first one follows the line within this: after heartbeat and tickets, which are waited for.
const FIRST_SPREAD: Duration = Duration::from_secs(10);
/// Largest text (`openapi.yaml`).
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Every report ends with it.
const END: &str = "# EOF\n";

/// What is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How visits ended since this terminal began to count.
    pub ends: Vec<VisitEndCount>,
    /// Free bytes of the disk that the store lies on.
    pub store_free_bytes: Option<u64>,
    /// Proportional set size of the program in bytes.
    pub memory_bytes: Option<u64>,
}

impl Counters {
    fn read(cache: &Cache, host: &Host) -> Result<Self, CacheError> {
        Ok(Self {
            ends: cache.visit_ends()?,
            store_free_bytes: cache.free_bytes().ok(),
            memory_bytes: memory_bytes(host),
        })
    }

    /// The report, [`TEXT_BYTES_MAX`] at most: items beyond it are left out whole, the last ones by
    /// their ids.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, bytes) in [
            ("kiosk_store_free_bytes", self.store_free_bytes),
            ("kiosk_memory_bytes", self.memory_bytes),
        ] {
            if let Some(bytes) = bytes {
                let family = format!("# TYPE {name} gauge\n# UNIT {name} bytes\n{name} {bytes}\n");
                text.push_str(&family);
            }
        }
        text.push_str("# TYPE kiosk_visits_abandoned counter\n");
        for cause in Cause::ALL {
            let count = self.sum(|end| end == VisitEnd::Abandoned(cause));
            let word = cause.word();
            let line = format!("kiosk_visits_abandoned_total{{cause=\"{word}\"}} {count}\n");
            text.push_str(&line);
        }
        text.push_str("# TYPE kiosk_item_visits counter\n");
        for (item, outcomes) in self.items() {
            let mut lines = String::new();
            for (outcome, count) in outcomes {
                let line = format!(
                    "kiosk_item_visits_total{{item=\"{item}\",outcome=\"{outcome}\"}} {count}\n"
                );
                lines.push_str(&line);
            }
            if text.len() + lines.len() + END.len() > TEXT_BYTES_MAX {
                break;
            }
            text.push_str(&lines);
        }
        text.push_str(END);
        text
    }

    fn sum(&self, is_it: impl Fn(VisitEnd) -> bool) -> u64 {
        let counts = self.ends.iter().filter(|each| is_it(each.end));
        counts.fold(0, |sum, each| sum.saturating_add(each.count))
    }

    /// Every outcome of every item, those that never happened too: a counter that begins with its
    /// first event hides that event from whoever looks at the difference.
    fn items(&self) -> BTreeMap<&str, [(&'static str, u64); 3]> {
        let outcomes = [
            VisitEnd::Completed,
            VisitEnd::Abandoned(Cause::Canceled),
            VisitEnd::Failed,
        ];
        let none = outcomes.map(|end| (end.outcome(), 0));
        let mut items = BTreeMap::new();
        for each in self.ends.iter().filter(|each| is_plain(&each.item)) {
            let counts = items.entry(each.item.as_str()).or_insert(none);
            for (outcome, count) in counts {
                if *outcome == each.end.outcome() {
                    *count = each.count.saturating_add(*count);
                }
            }
        }
        items
    }
}

/// Ids of the catalogue are plain; another one would need quoting and is none of ours.
fn is_plain(item: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    item.bytes().all(is_part)
}

/// The proportional set size of this process (`proc_pid_smaps(5)`); `None` where the kernel does not
/// tell.
fn memory_bytes(host: &Host) -> Option<u64> {
    let text = host.read("/proc/self/smaps_rollup")?;
    let value = host::field(&text, "Pss")?;
    let count: u64 = value.strip_suffix(" kB")?.trim().parse().ok()?;
    count.checked_mul(1024)
}

/// The task that hands counters in.
pub(super) struct Reporter {
    shared: Arc<Shared>,
    cache: Cache,
}

impl Reporter {
    pub(super) fn new(shared: Arc<Shared>, cache: Cache) -> Self {
        Self { shared, cache }
    }

    /// Reports until the thread ends.
    pub(super) async fn report(self) {
        loop {
            self.shared.online().await;
            tokio::time::sleep(self.shared.client.spread(FIRST_SPREAD)).await;
            let sent = match self.counters() {
                Ok(counters) => self.shared.client.telemetry(counters.text()).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                // No alarm: the next report says the same and more.
                tracing::debug!(code = error.code(), %error, "counters were not handed in");
            }
            tokio::time::sleep(INTERVAL + self.shared.client.spread(SPREAD)).await;
        }
    }

    fn counters(&self) -> Result<Counters, PlatformError> {
        Counters::read(&self.cache, &Host::default()).map_err(PlatformError::Store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(item: &str, end: VisitEnd, count: u64) -> VisitEndCount {
        VisitEndCount {
            item: item.to_owned(),
            end,
            count,
        }
    }

    #[test]
    fn the_report_says_every_cause_and_every_outcome_of_an_item() {
        let counters = Counters {
            ends: vec![
                ended("a", VisitEnd::Completed, 7),
                ended("a", VisitEnd::Abandoned(Cause::Timeout), 2),
                ended("a", VisitEnd::Abandoned(Cause::Line), 1),
                ended("b", VisitEnd::Failed, 4),
                ended("b", VisitEnd::Abandoned(Cause::Line), 5),
                ended("\"}", VisitEnd::Failed, 1),
            ],
            store_free_bytes: Some(9),
            memory_bytes: None,
        };
        let expected = "\
# TYPE kiosk_store_free_bytes gauge
# UNIT kiosk_store_free_bytes bytes
kiosk_store_free_bytes 9
# TYPE kiosk_visits_abandoned counter
kiosk_visits_abandoned_total{cause=\"timeout\"} 2
kiosk_visits_abandoned_total{cause=\"canceled\"} 0
kiosk_visits_abandoned_total{cause=\"device\"} 0
kiosk_visits_abandoned_total{cause=\"line\"} 6
kiosk_visits_abandoned_total{cause=\"not-eligible\"} 0
kiosk_visits_abandoned_total{cause=\"closed\"} 0
# TYPE kiosk_item_visits counter
kiosk_item_visits_total{item=\"a\",outcome=\"completed\"} 7
kiosk_item_visits_total{item=\"a\",outcome=\"abandoned\"} 3
kiosk_item_visits_total{item=\"a\",outcome=\"failed\"} 0
kiosk_item_visits_total{item=\"b\",outcome=\"completed\"} 0
kiosk_item_visits_total{item=\"b\",outcome=\"abandoned\"} 5
kiosk_item_visits_total{item=\"b\",outcome=\"failed\"} 4
# EOF
";
        assert_eq!(counters.text(), expected);
    }

    #[test]
    fn the_report_keeps_its_bound_and_its_end() {
        let item = |number: u32| format!("{number:064}");
        let counters = Counters {
            ends: (0..2000)
                .map(|number| ended(&item(number), VisitEnd::Failed, u64::MAX))
                .collect(),
            ..Counters::default()
        };
        let text = counters.text();
        assert!(text.len() <= TEXT_BYTES_MAX && text.len() > TEXT_BYTES_MAX - 400);
        assert!(text.ends_with(END) && text.contains(&item(0)));
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        assert_eq!(memory_bytes(&host), None);
        let directory = root.path().join("proc/self");
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("smaps_rollup");
        for (text, bytes) in [
            (
                "55d0-7ffd ---p 00000000 00:00 0    [rollup]\nRss:      9000 kB\nPss:      5000 kB\n\
                 Pss_Anon: 1 kB\n",
                Some(5000 * 1024),
            ),
            ("Pss: 18446744073709551615 kB\n", None),
            ("Pss: many kB\n", None),
            ("\u{fffd}", None),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(memory_bytes(&host), bytes, "{text}");
        }
    }
}
