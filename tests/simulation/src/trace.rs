//! What happened, in order: a digest of everything and the words of the last events.
//!
//! Lines name transactions by their place in the story and never by id, key or content, so that
//! the same seed gives the same digest and nothing personal can stand in a report.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use kiosk_sealing::Suite;

/// Events kept in words; a failure prints them.
const LAST_MAX: usize = 50;

/// The story so far.
#[derive(Default)]
pub(crate) struct Trace {
    digest: [u8; 32],
    steps: u64,
    last: VecDeque<String>,
    /// Where every event is told besides; the story does not depend on it.
    listener: Option<Box<dyn Write>>,
}

impl Trace {
    /// A story that somebody listens to.
    pub(crate) fn told_to(listener: Option<Box<dyn Write>>) -> Self {
        Self {
            listener,
            ..Self::default()
        }
    }

    /// Writes down one event at a true time since the start.
    pub(crate) fn note(&mut self, since: Duration, what: &str) {
        self.steps += 1;
        let day = since.as_secs() / 86_400 + 1;
        let second = since.as_secs() % 86_400;
        let line = format!(
            "#{} day {day} {:02}:{:02}:{:02}.{:03} {what}",
            self.steps,
            second / 3600,
            second / 60 % 60,
            second % 60,
            since.subsec_millis()
        );
        let mut bytes = self.digest.to_vec();
        bytes.extend_from_slice(line.as_bytes());
        self.digest = Suite::Intl.digest(&bytes);
        if let Some(listener) = &mut self.listener
            && writeln!(listener, "{line}").is_err()
        {
            self.listener = None;
        }
        if self.last.len() == LAST_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// How many events there were.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// The digest over all lines, hexadecimal.
    pub(crate) fn digest(&self) -> String {
        kiosk_sealing::hex(&self.digest)
    }

    /// The last events, oldest first.
    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_covers_every_event_and_its_time() {
        let told = |lines: &[(u64, &str)]| {
            let mut trace = Trace::default();
            for (seconds, line) in lines {
                trace.note(Duration::from_secs(*seconds), line);
            }
            trace.digest()
        };
        let one = told(&[(1, "a"), (2, "b")]);
        assert_eq!(one, told(&[(1, "a"), (2, "b")]));
        assert_ne!(one, told(&[(1, "a"), (3, "b")]));
        assert_ne!(one, told(&[(1, "b"), (2, "a")]));
    }

    #[test]
    fn only_the_last_events_are_kept_in_words() {
        let mut trace = Trace::default();
        for number in 0..200_u64 {
            trace.note(Duration::from_secs(number), "x");
        }
        assert_eq!(trace.last().len(), LAST_MAX);
        assert!(trace.last()[0].starts_with("#151 "));
        assert_eq!(trace.steps(), 200);
    }
}
